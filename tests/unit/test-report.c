/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "str.h"
#include "core/report.h"

#include <check.h>

static const struct {
	enum reply_class class;
	bool told;
	enum report_kind kind;
} verdicts[] = {
	{ REPLY_CLASS_OK, TRUE, REPORT_CLEAR },
	{ REPLY_CLASS_CREDENTIAL, TRUE, REPORT_FAIL },
	{ REPLY_CLASS_USER_ACTION, TRUE, REPORT_FAIL },
	{ REPLY_CLASS_TOKEN, TRUE, REPORT_FAIL },
	{ REPLY_CLASS_THROTTLED, TRUE, REPORT_FAIL },
	{ REPLY_CLASS_SERVER, TRUE, REPORT_FAIL },
	{ REPLY_CLASS_NETWORK, TRUE, REPORT_FAIL },
	{ REPLY_CLASS_DNS, TRUE, REPORT_FAIL },
	{ REPLY_CLASS_TLS, TRUE, REPORT_FAIL },
	{ REPLY_CLASS_PROTOCOL, TRUE, REPORT_FAIL },
	{ REPLY_CLASS_POLICY, TRUE, REPORT_FAIL },
	{ REPLY_CLASS_FOLDER, TRUE, REPORT_CLEAR },
	{ REPLY_CLASS_MESSAGE, TRUE, REPORT_CLEAR },
	{ REPLY_CLASS_LOCAL, TRUE, REPORT_FAIL },
	{ REPLY_CLASS_QUOTA, TRUE, REPORT_FAIL },
	{ REPLY_CLASS_CONFIG, TRUE, REPORT_FAIL },
	{ REPLY_CLASS_BUSY, FALSE, 0 },
	{ REPLY_CLASS_STOPPED, FALSE, 0 },
};

START_TEST(judge)
{
	enum report_kind kind;
	bool told = report_judge(verdicts[_i].class, &kind);

	ck_assert_uint_eq(N_ELEMENTS(verdicts), REPLY_CLASS_COUNT);
	ck_assert(told == verdicts[_i].told);
	ck_assert(!told || kind == verdicts[_i].kind);
}
END_TEST

/* The other end is written by others: byte for byte. */
static const struct {
	struct report report;
	uint64_t id;
	const char *line;
} lines[] = {
	{ { .kind = REPORT_FAIL, .time = 1700000100, .since = 1700000000,
	    .account = "bob/work", .owner = "bob", .label = "My work",
	    .class = "user_action", .hint = "app-password" }, 7,
	  "account-fail\tid=7\ttime=1700000100\taccount=bob/work\towner=bob\t"
	  "label=My work\tclass=user_action\tsince=1700000000\t"
	  "hint=app-password\n" },
	/* nobody's, and nothing to do about it */
	{ { .kind = REPORT_FAIL, .time = 2, .since = 1,
	    .account = "bob@example.org/x", .class = "dns" }, 1,
	  "account-fail\tid=1\ttime=2\taccount=bob@example.org/x\tclass=dns\t"
	  "since=1\n" },
	{ { .kind = REPORT_CLEAR, .time = 3, .since = 1,
	    .account = "bob/work", .owner = "anna", .label = "L" }, 18,
	  "account-clear\tid=18\ttime=3\taccount=bob/work\towner=anna\t"
	  "label=L\n" },
	{ { .kind = REPORT_GONE, .time = 3, .account = "bob/work",
	    .owner = "anna" }, UINT64_MAX,
	  "account-clear\tid=18446744073709551615\ttime=3\taccount=bob/work\t"
	  "owner=anna\tgone=yes\n" },
	/* an empty value is none */
	{ { .kind = REPORT_CLEAR, .time = 3, .account = "b/w", .owner = "",
	    .label = "" }, 1,
	  "account-clear\tid=1\ttime=3\taccount=b/w\n" },
	/* what would end a field or the line */
	{ { .kind = REPORT_CLEAR, .time = 3, .account = "b\tx/w",
	    .owner = "o\n", .label = "a\001b\r=" }, 1,
	  "account-clear\tid=1\ttime=3\taccount=b\001tx/w\towner=o\001n\t"
	  "label=a\0011b\001r=\n" },
};

START_TEST(write_line)
{
	string_t *str = t_str_new(64);

	ck_assert(report_write(str, &lines[_i].report, lines[_i].id));
	ck_assert_str_eq(str_c(str), lines[_i].line);
}
END_TEST

START_TEST(write_hello)
{
	string_t *str = t_str_new(64);

	report_write_hello(str, "0123456789abcdef");
	ck_assert_str_eq(str_c(str), "VERSION\tcred-notify-producer\t1\t0\n"
			 "producer\tname=imapsync-pull\t"
			 "start=0123456789abcdef\n");
}
END_TEST

static const char *repeat(const char *text, unsigned int count)
{
	string_t *str = t_str_new(1024);

	while (count-- > 0)
		str_append(str, text);
	return str_c(str);
}

START_TEST(write_long)
{
	struct report report = {
		.kind = REPORT_FAIL, .time = UINT64_MAX, .since = UINT64_MAX,
		.account = repeat("\t", 768), .owner = repeat("\t", 512),
		.label = repeat("\t", 300), .class = "user_action",
		.hint = "app-password",
	};
	string_t *str = t_str_new(64);

	ck_assert(report_write(str, &report, UINT64_MAX));
	ck_assert_uint_le(str_len(str), REPORT_MAX_LINE);
	ck_assert_ptr_nonnull(strstr(str_c(str), t_strdup_printf(
		"\towner=%s\tlabel=%s\tclass=", repeat("\001t", 512),
		repeat("\001t", 256))));

	/* half a user is another user */
	report.owner = repeat("o", 513);
	/* half a character is none */
	report.label = t_strconcat(repeat("l", 255), "\xc3\xa4", NULL);
	str_truncate(str, 0);
	ck_assert(report_write(str, &report, 1));
	ck_assert_ptr_null(strstr(str_c(str), "owner="));
	ck_assert_ptr_nonnull(strstr(str_c(str), t_strdup_printf(
		"\tlabel=%s\tclass=", repeat("l", 255))));

	report.account = repeat("a", 769);
	str_truncate(str, 0);
	ck_assert(!report_write(str, &report, 1));
	ck_assert_uint_eq(str_len(str), 0);
}
END_TEST

static const struct {
	const char *line;
	int ret;
	uint64_t id;
} heard[] = {
	{ "ack\tid=5", 1, 5 },
	{ "ack\tlater=x\tid=18446744073709551615", 1, UINT64_MAX },
	{ "ack\tid=", -1, 0 },
	{ "ack\tid=-1", -1, 0 },
	{ "ack\tid=5x", -1, 0 },
	{ "ack\tid=18446744073709551616", -1, 0 },
	{ "ack", -1, 0 },
	{ "ack\tidx=5", -1, 0 },
	{ "VERSION\tcred-notify-producer\t1\t7", 0, 0 },
	{ "VERSION\tcred-notify-producer\t2\t0", -1, 0 },
	{ "VERSION\tcred-notify-feed\t1\t0", -1, 0 },
	{ "VERSION\tcred-notify-producer\t1", -1, 0 },
	{ "news\tid=5", 0, 0 },
	{ "", -1, 0 },
};

START_TEST(parse)
{
	uint64_t id = 0;

	ck_assert_int_eq(report_parse(heard[_i].line, &id), heard[_i].ret);
	ck_assert(heard[_i].ret != 1 || id == heard[_i].id);
}
END_TEST

static void send_all(struct report_window *window)
{
	uint64_t seq, id;

	while (report_window_next(window, &seq, &id))
		report_window_sent(window);
}

START_TEST(window_order)
{
	struct report_window window;
	uint64_t seq, id;

	report_window_init(&window);
	ck_assert(!report_window_next(&window, &seq, &id));
	ck_assert_int_eq(report_window_ack(&window, 0, &seq), 0);
	/* nothing was sent */
	ck_assert_int_eq(report_window_ack(&window, 1, &seq), -1);
	report_window_add(&window, 10);
	report_window_add(&window, 17);
	report_window_add(&window, 18);
	ck_assert_uint_eq(window.next_seq, 19);
	ck_assert_int_eq(report_window_ack(&window, 1, &seq), -1);
	ck_assert(report_window_next(&window, &seq, &id));
	ck_assert_uint_eq(seq, 10);
	ck_assert_uint_eq(id, 1);
	report_window_sent(&window);
	ck_assert(report_window_next(&window, &seq, &id));
	ck_assert_uint_eq(seq, 17);
	ck_assert_uint_eq(id, 2);
	report_window_sent(&window);
	/* the third was not sent */
	ck_assert_int_eq(report_window_ack(&window, 3, &seq), -1);
	ck_assert_int_eq(report_window_ack(&window, 1, &seq), 1);
	ck_assert_uint_eq(seq, 10);
	ck_assert_int_eq(report_window_ack(&window, 1, &seq), 0);
	ck_assert(report_window_next(&window, &seq, &id));
	ck_assert_uint_eq(id, 3);
	ck_assert_uint_eq(seq, 18);
}
END_TEST

START_TEST(window_rewind)
{
	struct report_window window;
	uint64_t seq, id;

	report_window_init(&window);
	report_window_add(&window, 4);
	report_window_add(&window, 5);
	report_window_add(&window, 6);
	send_all(&window);
	report_window_add(&window, 7);
	report_window_rewind(&window);
	/* the same with the same ids */
	ck_assert(report_window_next(&window, &seq, &id));
	ck_assert_uint_eq(seq, 4);
	ck_assert_uint_eq(id, 1);
	/* the other end has kept them from before, but not what is new */
	ck_assert_int_eq(report_window_ack(&window, 4, &seq), -1);
	ck_assert_int_eq(report_window_ack(&window, 2, &seq), 1);
	ck_assert_uint_eq(seq, 5);
	ck_assert(report_window_next(&window, &seq, &id));
	ck_assert_uint_eq(seq, 6);
	ck_assert_uint_eq(id, 3);
	send_all(&window);
	ck_assert_int_eq(report_window_ack(&window, 4, &seq), 1);
	ck_assert_uint_eq(seq, 7);
	ck_assert_uint_eq(window.count, 0);
}
END_TEST

START_TEST(window_round)
{
	struct report_window window;
	uint64_t next = 1, acked = 0, seq;
	unsigned int i;

	report_window_init(&window);
	for (i = 0; i < 10 * REPORT_WINDOW; i++) {
		while (!report_window_is_full(&window))
			report_window_add(&window, next++);
		ck_assert_uint_eq(window.count, REPORT_WINDOW);
		send_all(&window);
		acked += 1 + i % REPORT_WINDOW;
		ck_assert_int_eq(report_window_ack(&window, acked, &seq), 1);
		/* here they happen to be the same */
		ck_assert_uint_eq(seq, acked);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("report");
	TCase *tc = tcase_create("report");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_loop_test(tc, judge, 0, N_ELEMENTS(verdicts));
	tcase_add_loop_test(tc, write_line, 0, N_ELEMENTS(lines));
	tcase_add_test(tc, write_hello);
	tcase_add_test(tc, write_long);
	tcase_add_loop_test(tc, parse, 0, N_ELEMENTS(heard));
	tcase_add_test(tc, window_order);
	tcase_add_test(tc, window_rewind);
	tcase_add_test(tc, window_round);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
