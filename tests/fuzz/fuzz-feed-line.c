/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "str.h"
#include "strescape.h"
#include "core/feed-line.h"
#include "fuzz.h"

/* Without its LF. */
static const char *write_line(const struct feed_line *line)
{
	string_t *str = t_str_new(256);
	const char *error;

	if (feed_line_write(str, line, &error) < 0)
		i_panic("%s", error);
	i_assert(str_len(str) <= FEED_MAX_LINE);
	i_assert(strchr(str_c(str), '\n') == str_c(str) + str_len(str) - 1);
	str_truncate(str, str_len(str) - 1);
	return str_c(str);
}

/* What parses is written, parses again, and is the same. */
static void fuzz_feed_line(const char *text)
{
	struct feed_line line;
	const char *written, *error = NULL;

	if (feed_line_parse(t_strsplit_tabescaped(text), &line, &error) < 0) {
		i_assert(error != NULL);
		return;
	}
	written = write_line(&line);
	if (feed_line_parse(t_strsplit_tabescaped(written), &line, &error) < 0)
		i_panic("not read again: %s", error);
	i_assert(strcmp(write_line(&line), written) == 0);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	fuzz_init();
	T_BEGIN {
		fuzz_feed_line(fuzz_text(data, size));
	} T_END;
	return 0;
}
