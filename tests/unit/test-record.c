/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "str.h"
#include "core/record.h"

#include <check.h>
#include <limits.h>

static pool_t pool;

static void setup(void)
{
	pool = pool_allocfree_create("test record");
}

static void teardown(void)
{
	pool_unref(&pool);
}

#define FAIL "login-fail\tid=1\ttime=2\treason=password_mismatch"
#define BROKEN "account-fail\tid=1\ttime=2\taccount=anna/work"

/* As they are written, and so read. */
static const char *const lines[] = {
	"producer\tname=auth\tstart=0123456789abcdef",
	FAIL"\tuser=anna",
	FAIL"\tuser_hash=00ff",
	FAIL"\tuser=a\001tb=\001n\0011 \303\244",
	FAIL"\tuser=anna\tmaster=boss\tservice=imap\tmechanism=CRAM-MD5"
		"\tip=192.0.2.1\tsession=x+/",
	FAIL"\tuser=anna\tip=2001:db8::1",
	"login-ok\tid=18446744073709551615\ttime=2\tuser=anna",
	"dropped\tid=1\ttime=2\tcount=9357",
	BROKEN"\towner=anna\tlabel=At work\tclass=auth\tsince=1",
	BROKEN"\tclass=auth\tsince=1",
	BROKEN"\tclass=user_action\tsince=1\thint=app-password",
	"account-clear\tid=1\ttime=2\taccount=anna/work",
	"account-clear\tid=1\ttime=2\taccount=anna/work\towner=anna\tgone=yes",
	"ack\tid=1",
	"watch\tuser=anna",
	"watch\tuser=anna\tip=2001:db8::",
};

START_TEST(record_same_again)
{
	string_t *str = str_new(pool, 256);
	struct record record;
	const char *error = "";

	ck_assert_msg(record_parse(pool, lines[_i], &record, &error) == 0,
		      "%s", error);
	str_append(str, "before");
	ck_assert_msg(record_write(str, &record, &error) == 0, "%s", error);
	ck_assert_str_eq(str_c(str), p_strdup_printf(pool, "before%s\n",
						     lines[_i]));
}
END_TEST

START_TEST(record_values)
{
	struct record record;
	const char *error;

	ck_assert_int_eq(record_parse(pool, lines[4], &record, &error), 0);
	ck_assert_int_eq(record.kind, RECORD_LOGIN_FAIL);
	ck_assert_int_eq(record.reason, RECORD_REASON_PASSWORD);
	ck_assert_str_eq(record.master, "boss");
	ck_assert_str_eq(net_ip2addr(&record.ip), "192.0.2.1");
	ck_assert_uint_eq(record.time, 2);
	ck_assert_int_eq(record_parse(pool, lines[3], &record, &error), 0);
	ck_assert_str_eq(record.user, "a\tb=\n\001 \303\244");
	ck_assert_int_eq(record_parse(pool, "ack\tid=7\tnew=\tid2=x", &record,
				      &error), 0);
	ck_assert_uint_eq(record.id, 7);
}
END_TEST

static const struct {
	const char *line, *error;
} bad_lines[] = {
	{ "", "unknown record" },
	{ "FAIL\tid=1", "unknown record" },
	{ "login-fail", "id: missing" },
	{ "ack\tid", "id: no value" },
	{ "ack\tid=", "id: no number" },
	{ "ack\tid=-1", "id: no number" },
	{ "ack\tid=18446744073709551616", "id: no number" },
	{ "ack\tid=1\tid=1", "id: twice" },
	{ "ack\tid=1\t", "no value" },
	{ FAIL, "user" },
	{ FAIL"\tuser=anna\tuser_hash=00", "user" },
	{ FAIL"\tuser=", "user: empty" },
	{ FAIL"\tuser_hash=0G", "user_hash: not hex" },
	{ FAIL"\tuser=anna\tip=nowhere", "ip: no address" },
	{ FAIL"\tuser=anna\tuser=berta", "user: twice" },
	{ FAIL"\tuser=an\0010na", "escape" },
	{ FAIL"\tuser=anna\001", "escape" },
	{ FAIL"\tuser=anna\rx", "escape" },
	{ FAIL"\tuser=anna\nx", "escape" },
	{ "login-fail\tid=1\ttime=2\treason=bad\tuser=anna", "reason: unk" },
	{ "login-fail\tid=1\ttime=2\treason=\tuser=anna", "reason: unk" },
	{ "login-fail\tid=1\ttime=2\tuser=anna", "reason: missing" },
	{ BROKEN"\tsince=1", "class: missing" },
	{ BROKEN"\tclass=auth\tsince=1\thint=", "hint: empty" },
	{ "dropped\tid=1\ttime=2", "count: missing" },
	{ "producer\tname=auth", "start: missing" },
	{ "watch", "user: missing" },
	{ "watch\tuser=", "user: empty" },
	{ "watch\tip=192.0.2.0", "user: missing" },
	{ "watch\tuser=anna\tip=192.0.2.0/24", "ip: no address" },
	{ "watch\tuser=anna\tuser=ben", "user: twice" },
	{ "watch\tuser=an\0010na", "escape" },
};

START_TEST(record_bad_line)
{
	struct record record;
	const char *error = NULL;

	ck_assert_int_eq(record_parse(pool, bad_lines[_i].line, &record,
				      &error), -1);
	ck_assert_msg(strstr(error, bad_lines[_i].error) != NULL, "%s", error);
}
END_TEST

static char *repeat(char chr, size_t count)
{
	char *text = p_malloc(pool, count + 1);

	memset(text, chr, count);
	return text;
}

START_TEST(record_bad_value)
{
	struct record record = { .kind = RECORD_LOGIN_OK };
	string_t *str = str_new(pool, 256);
	const char *error = NULL;

	str_append(str, "before");
	ck_assert_int_eq(record_write(str, &record, &error), -1);
	ck_assert_ptr_nonnull(strstr(error, "user"));
	record.user = repeat('u', 513);
	ck_assert_int_eq(record_write(str, &record, &error), -1);
	ck_assert_str_eq(error, "user: too long");
	ck_assert(!record_user_fits(record.user));
	record.user = repeat('u', 512);
	ck_assert(record_user_fits(record.user));
	record.kind = RECORD_LOGIN_FAIL;
	ck_assert_int_eq(record_write(str, &record, &error), -1);
	ck_assert_str_eq(error, "reason: missing");
	ck_assert_str_eq(str_c(str), "before");
	record.kind = RECORD_LOGIN_OK;
	ck_assert_int_eq(record_write(str, &record, &error), 0);
}
END_TEST

/* Everything as long as it may be, and every byte escaped. */
START_TEST(record_longest)
{
	struct record record = {
		.id = UINT64_MAX,
		.time = UINT64_MAX,
		.since = UINT64_MAX,
		.user = repeat('\n', 512),
		.master = repeat('\n', 512),
		.service = repeat('\n', 64),
		.mechanism = repeat('\n', 64),
		.session = repeat('\n', 128),
		.account = repeat('\n', 768),
		.owner = repeat('\n', 512),
		.label = repeat('\n', 256),
		.class = repeat('\n', 64),
		.reason = RECORD_REASON_SCHEME,
	};
	string_t *str = str_new(pool, 256);
	struct record again;
	const char *error;

	ck_assert_int_le(RECORD_MAX_LINE, PIPE_BUF);
	(void)net_addr2ip("1111:1111:1111:1111:1111:1111:1111:1111",
			  &record.ip);
	for (record.kind = RECORD_LOGIN_FAIL; record.kind < RECORD_ACK;
	     record.kind++) {
		str_truncate(str, 0);
		ck_assert_int_eq(record_write(str, &record, &error), 0);
		ck_assert_uint_le(str_len(str), RECORD_MAX_LINE);
		str_truncate(str, str_len(str) - 1);
		ck_assert_int_eq(record_parse(pool, str_c(str), &again,
					      &error), 0);
	}
}
END_TEST

START_TEST(record_long_is_dropped)
{
	struct record record = {
		.user = "anna",
		.service = repeat('s', 65),
		.mechanism = "PLAIN",
		.session = "",
	};

	record_drop_long(&record);
	ck_assert_str_eq(record.user, "anna");
	ck_assert_str_eq(record.mechanism, "PLAIN");
	ck_assert_ptr_null(record.service);
	ck_assert_ptr_null(record.session);
}
END_TEST

static const struct {
	const char *line, *error;
} versions[] = {
	{ "VERSION\tcred-notify-producer\t1\t1", NULL },
	{ "VERSION\tcred-notify-producer\t1\t0", NULL },
	{ "VERSION\tcred-notify-producer\t1\t7", NULL },
	{ "VERSION\tcred-notify-producer\t2\t0", "major" },
	{ "VERSION\tcred-notify\t1\t0", "protocol" },
	{ "VERSION\tcred-notify-producer\t1", "no VERSION" },
	{ "VERSION\tcred-notify-producer\tx\t0", "no VERSION" },
	{ "version\tcred-notify-producer\t1\t0", "no VERSION" },
	{ "", "no VERSION" },
};

START_TEST(record_version)
{
	const char *error = "";
	int ret = record_version_check(versions[_i].line, &error);

	ck_assert_int_eq(ret, versions[_i].error == NULL ? 0 : -1);
	ck_assert(ret == 0 || strstr(error, versions[_i].error) != NULL);
	ck_assert_str_eq(record_version_line(), p_strconcat(
		pool, versions[0].line, "\n", NULL));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("record");
	TCase *tc = tcase_create("record");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, record_same_again, 0, N_ELEMENTS(lines));
	tcase_add_test(tc, record_values);
	tcase_add_loop_test(tc, record_bad_line, 0, N_ELEMENTS(bad_lines));
	tcase_add_test(tc, record_bad_value);
	tcase_add_test(tc, record_longest);
	tcase_add_test(tc, record_long_is_dropped);
	tcase_add_loop_test(tc, record_version, 0, N_ELEMENTS(versions));
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
