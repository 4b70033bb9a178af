/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "array.h"
#include "str.h"
#include "strescape.h"
#include "dovecot-compat.h"
#include "core/feed-line.h"

#include <ctype.h>

/* the longest arguments fit into a line, even with every byte escaped */
#if 2*(FEED_MAX_USER + FEED_MAX_SESSION) + 32 > FEED_MAX_LINE || \
	2*(FEED_MAX_ID + FEED_MAX_TEXT) + 32 > FEED_MAX_LINE
#  error FEED_MAX_LINE is too small
#endif

static const struct {
	const char *name;
	/* behind the name */
	unsigned int arg_count;
} feed_words[FEED_WORD_COUNT] = {
	[FEED_SUB] = { "SUB", 4 },
	[FEED_SHOWN] = { "SHOWN", 1 },
	[FEED_NOTICE] = { "NOTICE", 3 },
	[FEED_GONE] = { "GONE", 1 },
};

const char *feed_channel_name(enum feed_channel channel)
{
	return channel == FEED_FLASH ? "flash" : "live";
}

static bool is_control(unsigned char c)
{
	return c < 0x20 || c == 0x7f;
}

static bool is_plain(unsigned char c)
{
	return !is_control(c) && c < 0x80;
}

static bool is_id_char(unsigned char c)
{
	return i_isalnum(c) || c == '.' || c == '-';
}

static bool name_is_valid(const char *value, size_t min_size, size_t max_size)
{
	const char *p;

	for (p = value; *p != '\0'; p++) {
		if (is_control(*p))
			return FALSE;
	}
	return (size_t)(p - value) >= min_size &&
		(size_t)(p - value) <= max_size;
}

static bool id_is_valid(const char *id)
{
	const char *p;

	for (p = id; *p != '\0'; p++) {
		if (!is_id_char(*p))
			return FALSE;
	}
	return p != id && p - id <= FEED_MAX_ID;
}

static bool text_is_valid(const char *text)
{
	const char *p;

	for (p = text; *p != '\0'; p++) {
		if (!is_plain(*p))
			return FALSE;
	}
	return p != text && p - text <= FEED_MAX_TEXT;
}

/* What the word has is there and well-formed. */
static int feed_line_check(const struct feed_line *line, const char **error_r)
{
	*error_r = NULL;
	if (line->word == FEED_SUB) {
		if (line->user == NULL ||
		    !name_is_valid(line->user, 1, FEED_MAX_USER))
			*error_r = "user";
		else if (line->session == NULL ||
			 !name_is_valid(line->session, 0, FEED_MAX_SESSION))
			*error_r = "session";
	} else if (line->id == NULL || !id_is_valid(line->id)) {
		*error_r = "id";
	} else if (line->word == FEED_NOTICE &&
		   (line->text == NULL || !text_is_valid(line->text))) {
		*error_r = "text";
	}
	if (*error_r == NULL)
		return 0;
	*error_r = t_strdup_printf("%s: missing or malformed: %s",
				   feed_words[line->word].name, *error_r);
	return -1;
}

static void feed_arg_append(string_t *dest, const char *arg)
{
	str_append_c(dest, '\t');
	str_append_tabescaped(dest, arg);
}

static const char *yes_no(bool value)
{
	return value ? "yes" : "no";
}

int feed_line_write(string_t *dest, const struct feed_line *line,
		    const char **error_r)
{
	if (feed_line_check(line, error_r) < 0)
		return -1;

	str_append(dest, feed_words[line->word].name);
	if (line->word == FEED_SUB) {
		feed_arg_append(dest, line->user);
		feed_arg_append(dest, line->session);
		feed_arg_append(dest, yes_no(line->secured));
		feed_arg_append(dest, yes_no(line->unhibernated));
	} else {
		feed_arg_append(dest, line->id);
	}
	if (line->word == FEED_NOTICE) {
		feed_arg_append(dest, feed_channel_name(line->channel));
		feed_arg_append(dest, line->text);
	}
	str_append_c(dest, '\n');
	return 0;
}

static int yes_no_parse(const char *arg, bool *value_r)
{
	*value_r = strcmp(arg, "yes") == 0;
	return *value_r || strcmp(arg, "no") == 0 ? 0 : -1;
}

static int channel_parse(const char *arg, enum feed_channel *channel_r)
{
	*channel_r = strcmp(arg, "flash") == 0 ? FEED_FLASH : FEED_LIVE;
	return *channel_r == FEED_FLASH || strcmp(arg, "live") == 0 ? 0 : -1;
}

/* args: behind the word, as many as it has. */
static int
feed_args_parse(const char *const *args, struct feed_line *line_r)
{
	if (line_r->word == FEED_SUB) {
		line_r->user = args[0];
		line_r->session = args[1];
		return yes_no_parse(args[2], &line_r->secured) < 0 ||
			yes_no_parse(args[3], &line_r->unhibernated) < 0 ?
			-1 : 0;
	}
	line_r->id = args[0];
	if (line_r->word != FEED_NOTICE)
		return 0;
	line_r->text = args[2];
	return channel_parse(args[1], &line_r->channel);
}

static int feed_word_parse(const char *name, enum feed_word *word_r)
{
	unsigned int i;

	for (i = 0; i < FEED_WORD_COUNT; i++) {
		if (strcmp(feed_words[i].name, name) == 0) {
			*word_r = i;
			return 0;
		}
	}
	return -1;
}

int feed_line_parse(const char *const *args, struct feed_line *line_r,
		    const char **error_r)
{
	i_zero(line_r);
	if (args[0] == NULL || feed_word_parse(args[0], &line_r->word) < 0) {
		*error_r = "unknown word";
		return -1;
	}
	if (str_array_length(args + 1) < feed_words[line_r->word].arg_count) {
		*error_r = t_strdup_printf("%s: too few arguments", args[0]);
		return -1;
	}
	if (feed_args_parse(args + 1, line_r) < 0) {
		*error_r = t_strdup_printf("%s: not one of the words it may be",
					   args[0]);
		return -1;
	}
	return feed_line_check(line_r, error_r);
}
