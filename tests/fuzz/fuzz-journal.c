/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "crc32.h"
#include "str.h"
#include "core/journal-line.h"
#include "fuzz.h"

static void check_restore(const struct notice_state *state)
{
	struct notice_limits limits;
	struct notice_table *table;

	notice_limits_default(&limits);
	table = notice_table_init(&limits, 1);
	if (notice_table_restore(table, state)) {
		i_assert(notice_table_find(table, &state->subject) != NULL);
		i_assert(notice_table_count(table) == 1);
	}
	notice_table_deinit(&table);
}

/* As it is, hardly anything is read; with a right checksum, what is read is
   printed and read again alike. */
static void fuzz_journal(pool_t pool, const char *text)
{
	struct journal_entry entry, again;
	string_t *first = str_new(pool, 256), *second = str_new(pool, 256);
	const char *error, *line;

	(void)journal_line_parse(pool, text, &entry, &error);
	line = t_strdup_printf("%s\t%08x", text,
			       crc32_data(text, strlen(text)));
	if (journal_line_parse(pool, line, &entry, &error) < 0)
		return;
	journal_line_print(first, &entry);
	str_truncate(first, str_len(first) - 1);
	if (journal_line_parse(pool, str_c(first), &again, &error) < 0)
		i_panic("%s", error);
	journal_line_print(second, &again);
	str_truncate(second, str_len(second) - 1);
	i_assert(strcmp(str_c(first), str_c(second)) == 0);
	if (entry.kind == JOURNAL_KIND_STATE)
		check_restore(&entry.notice.state);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	pool_t pool;

	fuzz_init();
	pool = pool_allocfree_create("fuzz");
	T_BEGIN {
		fuzz_journal(pool, fuzz_text(data, size));
	} T_END;
	pool_unref(&pool);
	return 0;
}
