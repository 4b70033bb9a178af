/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "crc32.h"
#include "str.h"
#include "strescape.h"
#include "strfuncs.h"
#include "strnum.h"
#include "dovecot-compat.h"
#include "journal-line.h"

#define CRC_DIGITS 8

static const char *const kind_words[JOURNAL_KIND_COUNT] = {
	[JOURNAL_KIND_STATE] = "state",
	[JOURNAL_KIND_QUIET] = "quiet",
	[JOURNAL_KIND_NOTICE] = "notice",
	[JOURNAL_KIND_SEEN] = "seen",
	[JOURNAL_KIND_DONE] = "done",
	[JOURNAL_KIND_PRODUCER] = "producer",
};

/*
 * Writing
 */

static void add_text(string_t *str, const char *text)
{
	str_append_c(str, '\t');
	str_append_tabescaped(str, text);
}

static void add_num(string_t *str, uint64_t num)
{
	str_printfa(str, "\t%llu", (unsigned long long)num);
}

/* no time of ours lies before 1970 */
static void add_time(string_t *str, time_t time)
{
	add_num(str, time < 0 ? 0 : time);
}

static void
add_subject(string_t *str, const struct notice_subject *subject)
{
	add_num(str, subject->origin);
	add_text(str, subject->user);
	add_text(str, subject->account);
}

static void add_tallies(string_t *str, const struct notice_state *state)
{
	const struct notice_tally *tally;
	unsigned int i;

	str_append_c(str, '\t');
	for (i = 0; i < NOTICE_CLASS_COUNT; i++) {
		tally = &state->tallies[i];
		if (tally->count == 0)
			continue;
		str_printfa(str, "%s:%u:%lld:%lld,", notice_class_name(i),
			    tally->count, (long long)tally->first,
			    (long long)tally->last);
	}
}

static void add_networks(string_t *str, const struct notice_state *state)
{
	unsigned int i;

	str_append_c(str, '\t');
	for (i = 0; i < state->networks_count; i++) {
		str_printfa(str, "%s/%lld,",
			    net_ip2addr(&state->networks[i].net),
			    (long long)state->networks[i].last);
	}
}

static void add_state(string_t *str, const struct notice_state *state)
{
	add_subject(str, &state->subject);
	add_text(str, state->label);
	add_num(str, state->phase);
	add_num(str, state->incident);
	add_num(str, state->said);
	add_text(str, notice_class_name(state->told_class));
	add_num(str, state->told_pattern);
	add_time(str, state->told_time);
	add_num(str, state->hint);
	add_text(str, state->protocol);
	add_num(str, state->count);
	add_num(str, state->told_count);
	add_time(str, state->first_time);
	add_time(str, state->last_time);
	add_time(str, state->ok_time);
	add_num(str, state->acked ? 1 : 0);
	add_tallies(str, state);
	add_networks(str, state);
}

static void add_seen(string_t *str, const struct journal_seen *seen)
{
	add_text(str, seen->recipient);
	add_num(str, seen->channel);
	add_num(str, seen->result);
	add_num(str, seen->tries);
	add_time(str, seen->time);
}

static void add_entry(string_t *str, const struct journal_entry *entry)
{
	switch (entry->kind) {
	case JOURNAL_KIND_NOTICE:
		add_num(str, entry->notice.kind);
		add_num(str, entry->notice.new_count);
		/* fall through */
	case JOURNAL_KIND_STATE:
		add_state(str, &entry->notice.state);
		break;
	case JOURNAL_KIND_QUIET:
		add_subject(str, &entry->notice.state.subject);
		break;
	case JOURNAL_KIND_SEEN:
	case JOURNAL_KIND_DONE:
		add_num(str, entry->seen.incident);
		add_num(str, entry->seen.said);
		if (entry->kind == JOURNAL_KIND_SEEN)
			add_seen(str, &entry->seen);
		break;
	case JOURNAL_KIND_PRODUCER:
		add_text(str, entry->producer.name);
		add_text(str, entry->producer.start);
		add_num(str, entry->producer.last_id);
		break;
	case JOURNAL_KIND_COUNT:
		i_unreached();
	}
}

void journal_line_print(string_t *str, const struct journal_entry *entry)
{
	size_t start = str_len(str);

	i_assert(entry->kind < JOURNAL_KIND_COUNT);
	str_append(str, kind_words[entry->kind]);
	T_BEGIN {
		add_entry(str, entry);
	} T_END;
	str_printfa(str, "\t%08x\n", crc32_data(str_data(str) + start,
						str_len(str) - start));
	i_assert(str_len(str) - start <= JOURNAL_LINE_MAX);
}

/*
 * Reading
 */

/* The values left to read. What is missing or wrong makes it bad; the rest is
   read as zero then. */
struct line_reader {
	const char *const *args;
	pool_t pool;
	bool bad;
};

static const char *read_arg(struct line_reader *reader)
{
	if (*reader->args == NULL) {
		reader->bad = TRUE;
		return "";
	}
	return *reader->args++;
}

static const char *read_text(struct line_reader *reader, size_t max_bytes)
{
	const char *text = read_arg(reader);

	if (strlen(text) > max_bytes)
		reader->bad = TRUE;
	return p_strdup(reader->pool, text);
}

static uint64_t read_num(struct line_reader *reader, uint64_t max)
{
	uint64_t num = 0;

	if (str_to_uint64(read_arg(reader), &num) < 0 || num > max) {
		reader->bad = TRUE;
		return 0;
	}
	return num;
}

static unsigned int read_uint(struct line_reader *reader)
{
	return read_num(reader, UINT_MAX);
}

/* an enum of so many values */
static unsigned int read_enum(struct line_reader *reader, unsigned int count)
{
	return read_num(reader, count - 1);
}

static time_t read_time(struct line_reader *reader)
{
	return read_num(reader, INT32_MAX * 16LL);
}

static enum notice_class read_class(struct line_reader *reader)
{
	enum notice_class class = NOTICE_CLASS_CREDENTIAL;

	if (!notice_class_parse(read_arg(reader), &class))
		reader->bad = TRUE;
	return class;
}

static void
read_subject(struct line_reader *reader, struct notice_subject *subject_r)
{
	subject_r->origin = read_enum(reader, NOTICE_ORIGIN_COUNT);
	subject_r->user = read_text(reader, NOTICE_MAX_USER);
	subject_r->account = read_text(reader, NOTICE_MAX_ACCOUNT);
}

/* class:count:first:last */
static void
read_tally(struct line_reader *reader, const char *text,
	   struct notice_state *state)
{
	struct line_reader part = { .args = t_strsplit(text, ":") };
	enum notice_class class = read_class(&part);
	struct notice_tally *tally = &state->tallies[class];

	tally->count = read_uint(&part);
	tally->first = read_time(&part);
	tally->last = read_time(&part);
	if (part.bad || tally->count == 0 || *part.args != NULL)
		reader->bad = TRUE;
}

static void
read_tallies(struct line_reader *reader, struct notice_state *state)
{
	const char *const *list = t_strsplit_spaces(read_arg(reader), ",");

	for (; *list != NULL; list++)
		read_tally(reader, *list, state);
}

/* address/time */
static void
read_network(struct line_reader *reader, const char *text,
	     struct notice_state *state)
{
	struct line_reader part = { .args = t_strsplit(text, "/") };
	struct notice_network *network;

	if (state->networks_count == NOTICE_MAX_NETWORKS) {
		reader->bad = TRUE;
		return;
	}
	network = &state->networks[state->networks_count++];
	if (net_addr2ip(read_arg(&part), &network->net) < 0)
		reader->bad = TRUE;
	network->last = read_time(&part);
	if (part.bad || *part.args != NULL)
		reader->bad = TRUE;
}

static void
read_networks(struct line_reader *reader, struct notice_state *state)
{
	const char *const *list = t_strsplit_spaces(read_arg(reader), ",");

	for (; *list != NULL; list++)
		read_network(reader, *list, state);
}

static void
read_state(struct line_reader *reader, struct notice_state *state)
{
	const char *protocol;

	read_subject(reader, &state->subject);
	state->label = read_text(reader, NOTICE_MAX_LABEL);
	state->phase = read_enum(reader, NOTICE_PHASE_COUNT);
	state->incident = read_num(reader, UINT64_MAX - 1);
	state->said = read_uint(reader);
	state->told_class = read_class(reader);
	state->told_pattern = read_enum(reader, NOTICE_PATTERN_COUNT);
	state->told_time = read_time(reader);
	state->hint = read_enum(reader, NOTICE_HINT_COUNT);
	protocol = read_text(reader, NOTICE_MAX_PROTOCOL);
	(void)i_strocpy(state->protocol, protocol, sizeof(state->protocol));
	state->count = read_uint(reader);
	state->told_count = read_uint(reader);
	state->first_time = read_time(reader);
	state->last_time = read_time(reader);
	state->ok_time = read_time(reader);
	state->acked = read_num(reader, 1) != 0;
	read_tallies(reader, state);
	read_networks(reader, state);
}

static void
read_seen(struct line_reader *reader, struct journal_seen *seen)
{
	seen->recipient = read_text(reader, NOTICE_MAX_USER);
	seen->channel = read_uint(reader);
	seen->result = read_enum(reader, JOURNAL_RESULT_COUNT);
	seen->tries = read_uint(reader);
	seen->time = read_time(reader);
}

static void
read_producer(struct line_reader *reader, struct journal_producer *producer)
{
	producer->name = read_text(reader, JOURNAL_MAX_PRODUCER);
	producer->start = read_text(reader, JOURNAL_MAX_PRODUCER);
	producer->last_id = read_num(reader, UINT64_MAX - 1);
}

static void
read_entry(struct line_reader *reader, struct journal_entry *entry)
{
	switch (entry->kind) {
	case JOURNAL_KIND_NOTICE:
		entry->notice.kind = read_enum(reader, NOTICE_KIND_COUNT);
		entry->notice.new_count = read_uint(reader);
		/* fall through */
	case JOURNAL_KIND_STATE:
		read_state(reader, &entry->notice.state);
		break;
	case JOURNAL_KIND_QUIET:
		read_subject(reader, &entry->notice.state.subject);
		break;
	case JOURNAL_KIND_SEEN:
	case JOURNAL_KIND_DONE:
		entry->seen.incident = read_num(reader, UINT64_MAX - 1);
		entry->seen.said = read_uint(reader);
		if (entry->kind == JOURNAL_KIND_SEEN)
			read_seen(reader, &entry->seen);
		break;
	case JOURNAL_KIND_PRODUCER:
		read_producer(reader, &entry->producer);
		break;
	case JOURNAL_KIND_COUNT:
		i_unreached();
	}
	/* more values would be another version's */
	if (*reader->args != NULL)
		reader->bad = TRUE;
}

static bool kind_parse(const char *word, enum journal_kind *kind_r)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(kind_words); i++) {
		if (strcmp(word, kind_words[i]) == 0) {
			*kind_r = i;
			return TRUE;
		}
	}
	return FALSE;
}

static bool crc_is_right(const char *line, const char *end)
{
	const char *crc = t_strdup_printf("%08x", crc32_data(line,
							     end - line));

	return strcmp(crc, end + 1) == 0;
}

static int
line_parse(pool_t pool, const char *line, struct journal_entry *entry_r,
	   const char **error_r)
{
	const char *end = strrchr(line, '\t');
	struct line_reader reader = { .pool = pool };

	if (end == NULL || !crc_is_right(line, end)) {
		*error_r = "checksum is wrong";
		return -1;
	}
	reader.args = t_strsplit_tabescaped(t_strdup_until(line, end));
	if (!kind_parse(read_arg(&reader), &entry_r->kind)) {
		*error_r = "unknown kind of line";
		return -1;
	}
	read_entry(&reader, entry_r);
	if (reader.bad) {
		*error_r = "values are wrong";
		return -1;
	}
	return 0;
}

static void entry_init(struct journal_entry *entry)
{
	i_zero(entry);
	entry->notice.state.subject.user = "";
	entry->notice.state.subject.account = "";
	entry->notice.state.label = "";
	entry->seen.recipient = "";
	entry->producer.name = entry->producer.start = "";
}

int journal_line_parse(pool_t pool, const char *line,
		       struct journal_entry *entry_r, const char **error_r)
{
	int ret;

	entry_init(entry_r);
	T_BEGIN {
		ret = line_parse(pool, line, entry_r, error_r);
	} T_END;
	return ret;
}
