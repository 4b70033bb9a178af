/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "str.h"
#include "core/record.h"
#include "fuzz.h"

/* Without its LF. */
static const char *write_line(pool_t pool, const struct record *record)
{
	string_t *str = str_new(pool, 256);
	const char *error;

	if (record_write(str, record, &error) < 0)
		i_panic("%s", error);
	i_assert(str_len(str) <= RECORD_MAX_LINE);
	i_assert(strchr(str_c(str), '\n') == str_c(str) + str_len(str) - 1);
	str_truncate(str, str_len(str) - 1);
	return str_c(str);
}

/* What parses is written, parses again, and is the same. */
static void fuzz_record(pool_t pool, const char *text)
{
	struct record record;
	const char *line, *error = NULL;

	if (record_version_check(text, &error) < 0)
		i_assert(error != NULL);
	error = NULL;
	if (record_parse(pool, text, &record, &error) < 0) {
		i_assert(error != NULL);
		return;
	}
	line = write_line(pool, &record);
	if (record_parse(pool, line, &record, &error) < 0)
		i_panic("not read again: %s", error);
	i_assert(strcmp(write_line(pool, &record), line) == 0);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	fuzz_init();
	T_BEGIN {
		pool_t pool = pool_allocfree_create("fuzz record");

		fuzz_record(pool, fuzz_text(data, size));
		pool_unref(&pool);
	} T_END;
	return 0;
}
