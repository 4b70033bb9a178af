/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "str.h"
#include "report-db.h"

#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char *dir, *path;
static struct report_db *db;

static void setup(void)
{
	static char template[64];
	const char *error;

	i_strocpy(template, "/tmp/test-report-XXXXXX", sizeof(template));
	dir = mkdtemp(template);
	ck_assert_ptr_nonnull(dir);
	path = i_strconcat(dir, "/reports.sqlite", NULL);
	ck_assert_int_eq(report_db_open(path, &db, &error), 0);
}

static void teardown(void)
{
	report_db_close(&db);
	ck_assert_int_eq(unlink(path), 0);
	i_unlink_if_exists(t_strconcat(path, ".aside", NULL));
	/* SQLite removes its other files with the last connection */
	ck_assert_int_eq(rmdir(dir), 0);
	i_free(path);
}

static int
add_for(const char *owner, enum report_kind kind, const char *account,
	uint64_t time, uint64_t before_seq)
{
	const struct report report = {
		.kind = kind, .time = time, .since = 12345,
		.account = account, .owner = owner, .label = "Label",
		.class = kind == REPORT_FAIL ? "credential" : NULL,
		.hint = kind == REPORT_FAIL ? "expired" : NULL,
	};
	int ret = report_db_add(db, &report, before_seq);

	ck_assert_msg(ret >= 0, "%s", report_db_get_error(db));
	return ret;
}

static int
add(enum report_kind kind, const char *account, uint64_t time,
    uint64_t before_seq)
{
	return add_for("bob", kind, account, time, before_seq);
}

/* "seq kind account time since owner" of all that is to be told */
static const char *all(void)
{
	static const char *const kinds[] = { "fail", "clear", "gone" };
	string_t *str = t_str_new(256);
	struct report report;
	uint64_t seq = 0;
	int ret;

	while ((ret = report_db_get(db, pool_datastack_create(), seq, &report,
				    &seq)) > 0) {
		str_printfa(str, "%s%d %s %s %d %d %s", str_len(str) == 0 ?
			    "" : ", ", (int)seq, kinds[report.kind],
			    report.account, (int)report.time,
			    (int)report.since, report.owner == NULL ? "-" :
			    report.owner);
		seq++;
	}
	ck_assert_int_eq(ret, 0);
	return str_c(str);
}

START_TEST(db_fail_clear)
{
	struct report report;
	uint64_t seq;

	ck_assert_int_eq(report_db_is_failing(db, "a"), 0);
	/* it never failed */
	ck_assert_int_eq(add(REPORT_CLEAR, "a", 1, 0), 0);
	ck_assert_int_eq(add(REPORT_GONE, "a", 1, 0), 0);
	ck_assert_str_eq(all(), "");
	ck_assert_int_eq(add(REPORT_FAIL, "a", 10, 0), 1);
	ck_assert_int_eq(add(REPORT_FAIL, "a", 20, 0), 1);
	ck_assert_int_eq(add(REPORT_FAIL, "b", 25, 0), 1);
	ck_assert_str_eq(all(), "1 fail a 10 10 bob, 2 fail a 20 10 bob, "
			 "3 fail b 25 25 bob");
	ck_assert_int_eq(report_db_get(db, pool_datastack_create(), 2, &report,
				       &seq), 1);
	ck_assert_str_eq(report.class, "credential");
	ck_assert_str_eq(report.hint, "expired");
	ck_assert_str_eq(report.label, "Label");
	ck_assert_int_eq(report_db_is_failing(db, "a"), 1);

	/* the first is on its way: it stays, the other is not worth it */
	ck_assert_int_eq(add(REPORT_CLEAR, "a", 30, 2), 1);
	ck_assert_str_eq(all(), "1 fail a 10 10 bob, 3 fail b 25 25 bob, "
			 "4 clear a 30 10 bob");
	ck_assert_int_eq(report_db_is_failing(db, "a"), 0);
	ck_assert_int_eq(report_db_is_failing(db, "b"), 1);
	/* once */
	ck_assert_int_eq(add(REPORT_CLEAR, "a", 40, 2), 0);
	/* another trouble, another beginning */
	ck_assert_int_eq(add(REPORT_FAIL, "a", 50, 2), 1);
	ck_assert_int_eq(report_db_ack(db, 3), 0);
	ck_assert_str_eq(all(), "4 clear a 30 10 bob, 5 fail a 50 50 bob");
	ck_assert_int_eq(report_db_ack(db, 5), 0);
	ck_assert_str_eq(all(), "");
	/* it is known that it fails, and no number is used twice */
	ck_assert_int_eq(add(REPORT_CLEAR, "a", 60, 6), 1);
	ck_assert_str_eq(all(), "6 clear a 60 50 bob");
}
END_TEST

START_TEST(db_bounded)
{
	unsigned int i;

	for (i = 0; i < 1000; i++)
		ck_assert_int_eq(add(REPORT_FAIL, "a", 100 + i, 0), 1);
	/* the first ones, and the last */
	ck_assert_str_eq(all(), "1 fail a 100 100 bob, 2 fail a 101 100 bob, "
		"3 fail a 102 100 bob, 4 fail a 103 100 bob, "
		"5 fail a 104 100 bob, 6 fail a 105 100 bob, "
		"7 fail a 106 100 bob, 1000 fail a 1099 100 bob");
	/* that one account is full is no other's trouble */
	ck_assert_int_eq(add(REPORT_FAIL, "b", 7, 0), 1);
	ck_assert_ptr_nonnull(strstr(all(), "1001 fail b 7 7 bob"));
	for (i = 0; i < 1000; i++) {
		(void)add(REPORT_CLEAR, "a", 2000 + i, 0);
		(void)add(REPORT_FAIL, "a", 2000 + i, 0);
	}
	/* nobody wants to hear all of that */
	ck_assert_str_eq(all(), "1001 fail b 7 7 bob, 3000 clear a 2999 2998 "
			 "bob, 3001 fail a 2999 2999 bob");
}
END_TEST

START_TEST(db_owner)
{
	(void)add_for("anna", REPORT_FAIL, "a", 10, 0);
	(void)add_for("anna", REPORT_FAIL, "a", 20, 2);
	/* it is bob's now: anna shall not wait for its end */
	(void)add_for("bob", REPORT_FAIL, "a", 30, 2);
	ck_assert_str_eq(all(), "1 fail a 10 10 anna, 3 gone a 30 10 anna, "
			 "4 fail a 30 10 bob");
	(void)add_for(NULL, REPORT_FAIL, "a", 40, 5);
	(void)add_for(NULL, REPORT_FAIL, "a", 50, 5);
	ck_assert_int_eq(report_db_ack(db, 4), 0);
	ck_assert_str_eq(all(), "5 gone a 40 10 bob, 6 fail a 40 10 -, "
			 "7 fail a 50 10 -");
	ck_assert_int_eq(report_db_ack(db, 7), 0);
	/* it ends for whom it began, whoever owns it when it does */
	(void)add_for("anna", REPORT_CLEAR, "a", 60, 8);
	ck_assert_str_eq(all(), "8 clear a 60 10 -");
}
END_TEST

START_TEST(db_reopened)
{
	const char *error;
	struct stat st;

	(void)add(REPORT_FAIL, "a", 10, 0);
	(void)add(REPORT_FAIL, "a", 20, 0);
	ck_assert_int_eq(report_db_ack(db, 1), 0);
	report_db_close(&db);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_mode & 0777, 0600);
	ck_assert_int_eq(report_db_open(path, &db, &error), 0);
	ck_assert_str_eq(all(), "2 fail a 20 10 bob");
	(void)add(REPORT_FAIL, "a", 30, 0);
	ck_assert_str_eq(all(), "2 fail a 20 10 bob, 3 fail a 30 10 bob");
}
END_TEST

START_TEST(db_failed)
{
	struct report_db *other;
	const char *error;

	ck_assert_int_eq(report_db_open(t_strconcat(dir, "/no/x", NULL),
					&other, &error), -1);
	ck_assert_ptr_nonnull(strstr(error, "/no/x"));
	ck_assert_ptr_null(other);
}
END_TEST

static const struct {
	off_t offset;
	const char *error;
} spoilt[] = {
	{ 0, "not a database" },
	/* the first page, which is the schema, is whole */
	{ 4096, "damaged" },
};

static void spoil(off_t offset)
{
	static const unsigned char garbage[512] = { 0xff, 1, 2, 3 };
	int fd = open(path, O_WRONLY);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, garbage, sizeof(garbage), offset),
			 (ssize_t)sizeof(garbage));
	i_close_fd(&fd);
}

START_TEST(db_put_aside)
{
	const char *error = "";
	struct stat st;

	(void)add(REPORT_FAIL, "a", 10, 0);
	report_db_close(&db);
	spoil(spoilt[_i].offset);
	ck_assert_msg(report_db_open(path, &db, &error) == 1, "%s", error);
	ck_assert_ptr_nonnull(strstr(error, spoilt[_i].error));
	ck_assert_int_eq(stat(t_strconcat(path, ".aside", NULL), &st), 0);
	ck_assert_str_eq(all(), "");
	(void)add(REPORT_FAIL, "a", 10, 0);
	report_db_close(&db);
	ck_assert_int_eq(report_db_open(path, &db, &error), 0);
	ck_assert_str_eq(all(), "1 fail a 10 10 bob");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("report-db");
	TCase *tc = tcase_create("report-db");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, db_fail_clear);
	tcase_add_test(tc, db_bounded);
	tcase_add_test(tc, db_owner);
	tcase_add_test(tc, db_reopened);
	tcase_add_test(tc, db_failed);
	tcase_add_loop_test(tc, db_put_aside, 0, N_ELEMENTS(spoilt));
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
