/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "str.h"
#include "job.h"

#include <check.h>

static pool_t pool;

static void setup(void)
{
	pool = pool_allocfree_create("test job");
}

static void teardown(void)
{
	pool_unref(&pool);
}

START_TEST(job_roundtrip)
{
	string_t *str = str_new(pool, 64);
	struct job_line line;
	const char *error, *const *values;

	job_line_begin(str, "account-set");
	job_line_add(str, "user", "anna@example.org");
	job_line_add(str, "set", "login=a=b\tc");
	job_line_add(str, "secret", "\001\t\r\n\\ p\xc3\xa4ss=");
	job_line_add(str, "set", "");
	job_line_add_arg(str, "Lists/x y");
	job_line_end(str);

	ck_assert_uint_eq(str_data(str)[str_len(str) - 1], '\n');
	ck_assert_ptr_eq(strchr(str_c(str), '\n') + 1,
			 str_c(str) + str_len(str));
	str_truncate(str, str_len(str) - 1);
	ck_assert_int_eq(job_line_parse(pool, str_c(str), &line, &error), 0);
	ck_assert_str_eq(line.word, "account-set");
	ck_assert_str_eq(job_line_get(&line, "user"), "anna@example.org");
	ck_assert_str_eq(job_line_get(&line, "secret"),
			 "\001\t\r\n\\ p\xc3\xa4ss=");
	ck_assert_ptr_null(job_line_get(&line, "Lists/x y"));
	ck_assert_ptr_null(job_line_get(&line, "use"));
	ck_assert_uint_eq(line.field_count, 4);
	ck_assert_str_eq(line.args[4], "Lists/x y");
	ck_assert_ptr_null(line.args[5]);

	values = job_line_get_all(pool, &line, "set");
	ck_assert_str_eq(values[0], "login=a=b\tc");
	ck_assert_str_eq(values[1], "");
	ck_assert_ptr_null(values[2]);
	ck_assert_ptr_null(job_line_get_all(pool, &line, "none")[0]);
}
END_TEST

static const struct {
	const char *line, *error;
} bad_lines[] = {
	{ "", "word" },
	{ "\tuser=anna", "word" },
	{ "Run\tuser=anna", "word" },
	{ "run user=anna", "word" },
	{ "run=1", "word" },
	{ "run\tuser=anna\001", "escape" },
	{ "run\tsecret=half\0010other", "escape" },
	{ "run\tsecret=\001x", "escape" },
	{ "run\tuser=anna\rrow", "escape" },
	{ "run\tuser=anna\nend\tok\t", "escape" },
};

START_TEST(job_bad_line)
{
	struct job_line line;
	const char *error = NULL;

	ck_assert_int_eq(job_line_parse(pool, bad_lines[_i].line, &line,
					&error), -1);
	ck_assert_msg(strstr(error, bad_lines[_i].error) != NULL,
		      "%s", error);
}
END_TEST

START_TEST(job_no_fields)
{
	struct job_line line;
	const char *error;

	ck_assert_int_eq(job_line_parse(pool, "end\tok\t\t=x\t", &line,
					&error), 0);
	ck_assert_str_eq(line.word, "end");
	ck_assert_uint_eq(line.field_count, 0);
	ck_assert_str_eq(line.args[0], "ok");
	ck_assert_str_eq(line.args[1], "");
	ck_assert_str_eq(line.args[2], "=x");
	ck_assert_str_eq(line.args[3], "");
	ck_assert_ptr_null(line.args[4]);
	ck_assert_int_eq(job_line_parse(pool, "run", &line, &error), 0);
	ck_assert_ptr_null(line.args[0]);
}
END_TEST

START_TEST(job_line_limit)
{
	string_t *str = str_new(pool, JOB_MAX_LINE + 16);
	struct job_line line;
	const char *error;

	str_append(str, "run\tx=");
	while (str_len(str) < JOB_MAX_LINE)
		str_append_c(str, 'x');
	ck_assert_int_eq(job_line_parse(pool, str_c(str), &line, &error), 0);
	ck_assert_uint_eq(strlen(job_line_get(&line, "x")), JOB_MAX_LINE - 6);
	str_append_c(str, 'x');
	ck_assert_int_eq(job_line_parse(pool, str_c(str), &line, &error), -1);
	ck_assert_str_eq(error, "line too long");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("job");
	TCase *tc = tcase_create("job");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, job_roundtrip);
	tcase_add_loop_test(tc, job_bad_line, 0, N_ELEMENTS(bad_lines));
	tcase_add_test(tc, job_no_fields);
	tcase_add_test(tc, job_line_limit);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
