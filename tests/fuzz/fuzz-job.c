/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "str.h"
#include "job.h"
#include "fuzz.h"

/* What parses is written, parses again, and is the same. */
static void fuzz_job(pool_t pool, const char *text)
{
	struct job_line line, again;
	string_t *str = t_str_new(256);
	const char *error = NULL;
	unsigned int i;

	if (job_line_parse(pool, text, &line, &error) < 0) {
		i_assert(error != NULL);
		return;
	}
	job_line_begin(str, line.word);
	for (i = 0; line.args[i] != NULL; i++)
		job_line_add_arg(str, line.args[i]);
	job_line_end(str);
	i_assert(strchr(str_c(str), '\n') == str_c(str) + str_len(str) - 1);
	str_truncate(str, str_len(str) - 1);
	if (job_line_parse(pool, str_c(str), &again, &error) < 0)
		i_panic("%s", error);
	i_assert(strcmp(line.word, again.word) == 0);
	i_assert(line.field_count == again.field_count);
	for (i = 0; line.args[i] != NULL; i++) {
		i_assert(again.args[i] != NULL &&
			 strcmp(line.args[i], again.args[i]) == 0);
	}
	i_assert(again.args[i] == NULL);
	for (i = 0; i < line.field_count; i++) {
		i_assert(job_line_get(&again, line.fields[i].key) != NULL);
		(void)job_line_get_all(pool, &line, line.fields[i].key);
	}
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	fuzz_init();
	T_BEGIN {
		pool_t pool = pool_allocfree_create("fuzz job");

		fuzz_job(pool, fuzz_text(data, size));
		pool_unref(&pool);
	} T_END;
	return 0;
}
