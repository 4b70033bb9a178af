/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "str.h"
#include "strescape.h"
#include "core/feed-line.h"

#include <check.h>

static int parse(const char *text, struct feed_line *line_r,
		 const char **error_r)
{
	return feed_line_parse(t_strsplit_tabescaped(text), line_r, error_r);
}

/* Read, and written the same. */
static const char *const lines[] = {
	"SUB\tanna\tsession1\tyes\tno",
	"SUB\tanna@example.org\t\tno\tyes",
	"SUB\t\xc3\xa4nna\ts\tyes\tno",
	"SHOWN\t12.1",
	"NOTICE\t12.1\tflash\tThe password of work is refused.",
	"NOTICE\tA-1.0\tlive\t~ [x] \\ \"y\"",
	"GONE\t12.1",
};

START_TEST(feed_line_round_trip)
{
	string_t *str = t_str_new(128);
	struct feed_line line;
	const char *error = "";
	int ret;

	ret = parse(lines[_i], &line, &error);
	ck_assert_msg(ret == 0, "%s", error);
	ck_assert_int_eq(feed_line_write(str, &line, &error), 0);
	ck_assert_str_eq(str_c(str), t_strconcat(lines[_i], "\n", NULL));
}
END_TEST

START_TEST(feed_line_fields)
{
	struct feed_line line;
	const char *error = "";

	ck_assert_int_eq(parse("SUB\tanna\ts1\tyes\tno\tmore", &line, &error),
			 0);
	ck_assert_int_eq(line.word, FEED_SUB);
	ck_assert_str_eq(line.user, "anna");
	ck_assert_str_eq(line.session, "s1");
	ck_assert(line.secured);
	ck_assert(!line.unhibernated);
	ck_assert_ptr_null(line.id);

	ck_assert_int_eq(parse("NOTICE\t1.2\tlive\ttext", &line, &error), 0);
	ck_assert_int_eq(line.word, FEED_NOTICE);
	ck_assert_int_eq(line.channel, FEED_LIVE);
	ck_assert_str_eq(line.id, "1.2");
	ck_assert_str_eq(line.text, "text");
	ck_assert_ptr_null(line.user);
}
END_TEST

static const struct {
	const char *line, *error;
} bad_lines[] = {
	{ "", "unknown word" },
	{ "sub\tanna\ts1\tyes\tno", "unknown word" },
	{ "SUB\tanna\ts1\tyes", "too few" },
	{ "SUB\t\ts1\tyes\tno", "user" },
	{ "SUB\tan\001nna\ts1\tyes\tno", "user" },
	{ "SUB\tanna\ts\001t1\tyes\tno", "session" },
	{ "SUB\tanna\ts1\tYES\tno", "words" },
	{ "SUB\tanna\ts1\tyes\t", "words" },
	{ "SHOWN", "too few" },
	{ "SHOWN\t", "id" },
	{ "SHOWN\t1 2", "id" },
	{ "GONE\t1\xc3\xa4", "id" },
	{ "NOTICE\t1\tflash", "too few" },
	{ "NOTICE\t1\tmail\ttext", "words" },
	{ "NOTICE\t1\tflash\t", "text" },
	{ "NOTICE\t1\tflash\ttwo\001nlines", "text" },
	{ "NOTICE\t1\tflash\ttwo\001rlines", "text" },
	{ "NOTICE\t1\tflash\tdel\x7f", "text" },
	{ "NOTICE\t1\tflash\t\xc3\xa4", "text" },
};

START_TEST(feed_line_bad)
{
	struct feed_line line;
	const char *error = "";

	ck_assert_int_eq(parse(bad_lines[_i].line, &line, &error), -1);
	ck_assert_msg(strstr(error, bad_lines[_i].error) != NULL, "%s", error);
}
END_TEST

static const char *repeat(char c, unsigned int count)
{
	char *str = t_malloc0(count + 1);

	memset(str, c, count);
	return str;
}

START_TEST(feed_line_limits)
{
	struct feed_line line = { .word = FEED_SUB, .session = "" };
	string_t *str = t_str_new(FEED_MAX_LINE);
	const char *error = "";

	line.user = repeat('u', FEED_MAX_USER);
	ck_assert_int_eq(feed_line_write(str, &line, &error), 0);
	str_truncate(str, 0);
	line.user = repeat('u', FEED_MAX_USER + 1);
	ck_assert_int_eq(feed_line_write(str, &line, &error), -1);
	ck_assert_uint_eq(str_len(str), 0);

	i_zero(&line);
	line.word = FEED_NOTICE;
	line.id = repeat('i', FEED_MAX_ID);
	line.text = repeat('t', FEED_MAX_TEXT);
	ck_assert_int_eq(feed_line_write(str, &line, &error), 0);
	line.text = repeat('t', FEED_MAX_TEXT + 1);
	ck_assert_int_eq(feed_line_write(str, &line, &error), -1);
	line.text = "t";
	line.id = repeat('i', FEED_MAX_ID + 1);
	ck_assert_int_eq(feed_line_write(str, &line, &error), -1);
	line.id = NULL;
	ck_assert_int_eq(feed_line_write(str, &line, &error), -1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("feed-line");
	TCase *tc = tcase_create("feed-line");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_loop_test(tc, feed_line_round_trip, 0, N_ELEMENTS(lines));
	tcase_add_test(tc, feed_line_fields);
	tcase_add_loop_test(tc, feed_line_bad, 0, N_ELEMENTS(bad_lines));
	tcase_add_test(tc, feed_line_limits);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
