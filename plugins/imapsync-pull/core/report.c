/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "str.h"
#include "strescape.h"
#include "strnum.h"
#include "unichar.h"
#include "report.h"

/* longest values that the protocol allows, in bytes before escaping */
#define REPORT_MAX_ACCOUNT 768
#define REPORT_MAX_OWNER 512
#define REPORT_MAX_LABEL 256

bool report_judge(enum reply_class class, enum report_kind *kind_r)
{
	switch (class) {
	case REPLY_CLASS_BUSY:
	case REPLY_CLASS_STOPPED:
		return FALSE;
	case REPLY_CLASS_OK:
	/* logged in and pulled, but for some of it */
	case REPLY_CLASS_FOLDER:
	case REPLY_CLASS_MESSAGE:
		*kind_r = REPORT_CLEAR;
		return TRUE;
	default:
		*kind_r = REPORT_FAIL;
		return TRUE;
	}
}

/*
 * Lines
 */

static void report_add(string_t *dest, const char *key, const char *value)
{
	str_printfa(dest, "\t%s=", key);
	str_append_tabescaped(dest, value);
}

static void report_add_num(string_t *dest, const char *key, uint64_t num)
{
	report_add(dest, key, dec2str(num));
}

void report_write_hello(string_t *dest, const char *start)
{
	str_printfa(dest, "VERSION\t%s\t%u\t%u\n", REPORT_PROTOCOL_NAME,
		    REPORT_PROTOCOL_MAJOR, REPORT_PROTOCOL_MINOR);
	str_append(dest, "producer");
	report_add(dest, "name", "imapsync-pull");
	report_add(dest, "start", start);
	str_append_c(dest, '\n');
}

/* Half a name is nobody's, half a label is still a label. */
static void report_add_whose(string_t *dest, const struct report *report)
{
	const char *owner = report->owner, *label = report->label;

	if (owner != NULL && *owner != '\0' &&
	    strlen(owner) <= REPORT_MAX_OWNER)
		report_add(dest, "owner", owner);
	if (label != NULL && *label != '\0') {
		size_t len = uni_utf8_data_truncate(
			(const unsigned char *)label, strlen(label),
			REPORT_MAX_LABEL);

		report_add(dest, "label", t_strndup(label, len));
	}
}

bool report_write(string_t *dest, const struct report *report, uint64_t id)
{
	size_t begin = str_len(dest);

	if (*report->account == '\0' ||
	    strlen(report->account) > REPORT_MAX_ACCOUNT)
		return FALSE;
	str_append(dest, report->kind == REPORT_FAIL ? "account-fail" :
		   "account-clear");
	report_add_num(dest, "id", id);
	report_add_num(dest, "time", report->time);
	report_add(dest, "account", report->account);
	report_add_whose(dest, report);
	if (report->kind == REPORT_FAIL) {
		report_add(dest, "class", report->class);
		report_add_num(dest, "since", report->since);
		if (report->hint != NULL)
			report_add(dest, "hint", report->hint);
	} else if (report->kind == REPORT_GONE) {
		report_add(dest, "gone", "yes");
	}
	str_append_c(dest, '\n');
	i_assert(str_len(dest) - begin <= REPORT_MAX_LINE);
	return TRUE;
}

static int report_parse_version(const char *const *args)
{
	unsigned int major;

	return str_array_length(args) == 4 &&
		strcmp(args[1], REPORT_PROTOCOL_NAME) == 0 &&
		str_to_uint(args[2], &major) == 0 &&
		major == REPORT_PROTOCOL_MAJOR ? 0 : -1;
}

int report_parse(const char *line, uint64_t *id_r)
{
	const char *const *args = t_strsplit(line, "\t");

	if (args[0] == NULL)
		return -1;
	if (strcmp(args[0], "VERSION") == 0)
		return report_parse_version(args);
	/* a later minor version may have more to say */
	if (strcmp(args[0], "ack") != 0)
		return 0;
	for (args++; *args != NULL; args++) {
		if (strncmp(*args, "id=", 3) == 0)
			return str_to_uint64(*args + 3, id_r) < 0 ? -1 : 1;
	}
	return -1;
}

/*
 * Window
 */

void report_window_init(struct report_window *window)
{
	i_zero(window);
	window->first_id = 1;
}

bool report_window_is_full(const struct report_window *window)
{
	return window->count == REPORT_WINDOW;
}

static uint64_t
report_window_seq(const struct report_window *window, unsigned int n)
{
	return window->seqs[(window->first + n) % REPORT_WINDOW];
}

void report_window_add(struct report_window *window, uint64_t seq)
{
	i_assert(!report_window_is_full(window));
	i_assert(seq >= window->next_seq);

	window->seqs[(window->first + window->count) % REPORT_WINDOW] = seq;
	window->count++;
	window->next_seq = seq + 1;
}

bool report_window_next(const struct report_window *window, uint64_t *seq_r,
			uint64_t *id_r)
{
	if (window->sent == window->count)
		return FALSE;
	*seq_r = report_window_seq(window, window->sent);
	*id_r = window->first_id + window->sent;
	return TRUE;
}

void report_window_sent(struct report_window *window)
{
	i_assert(window->sent < window->count);
	window->sent++;
	window->ever_sent = I_MAX(window->ever_sent, window->sent);
}

void report_window_rewind(struct report_window *window)
{
	window->sent = 0;
}

int report_window_ack(struct report_window *window, uint64_t id,
		      uint64_t *seq_r)
{
	unsigned int done;

	if (id < window->first_id)
		return 0;
	/* it may remember what it got on another connection */
	if (id - window->first_id >= window->ever_sent)
		return -1;
	done = id - window->first_id + 1;
	*seq_r = report_window_seq(window, done - 1);
	window->first = (window->first + done) % REPORT_WINDOW;
	window->first_id += done;
	window->count -= done;
	window->ever_sent -= done;
	window->sent -= I_MIN(window->sent, done);
	return 1;
}
