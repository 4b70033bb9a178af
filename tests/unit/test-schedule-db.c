/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "array.h"
#include "str.h"
#include "schedule-db.h"

#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char *dir, *path;
static struct schedule_db *db;

static void db_open(int expected, const char *expected_error)
{
	const char *error = "";

	ck_assert_msg(schedule_db_open(path, &db, &error) == expected, "%s",
		      error);
	ck_assert_ptr_nonnull(strstr(error, expected_error));
}

static void setup(void)
{
	static char template[64];

	i_strocpy(template, "/tmp/test-schedule-XXXXXX", sizeof(template));
	dir = mkdtemp(template);
	ck_assert_ptr_nonnull(dir);
	path = i_strconcat(dir, "/schedule.sqlite", NULL);
	db_open(0, "");
}

static void teardown(void)
{
	schedule_db_close(&db);
	ck_assert_int_eq(unlink(path), 0);
	i_unlink_if_exists(t_strconcat(path, ".aside", NULL));
	i_unlink_if_exists(t_strconcat(path, ".aside-wal", NULL));
	/* SQLite removes its other files with the last connection */
	ck_assert_int_eq(rmdir(dir), 0);
	i_free(path);
}

static const struct schedule_record failing = {
	.user = "anna@example.org", .account = "work",
	.last_try = 1700000100, .last_ok = 1699990000,
	.next_try = 1700003700, .since = 1699999999,
	.back_off = {
		.class = REPLY_CLASS_CREDENTIAL, .failures = 2, .refusals = 5,
	},
	.hint = REPLY_HINT_APP_PASSWORD,
	.text = "login refused: it's \"wrong\"",
	.stored = 7, .failed = 1, .msecs = 4000000000U,
	.fingerprint = 0xfedcba98,
};

static void set(const char *user, const char *account, time_t next_try)
{
	const struct schedule_record record = {
		.user = user, .account = account, .next_try = next_try,
		.text = "",
	};

	ck_assert_msg(schedule_db_set(db, &record) == 0, "%s",
		      schedule_db_get_error(db));
}

static void
load(ARRAY_TYPE(schedule_record) *records_r, unsigned int count)
{
	ck_assert_msg(schedule_db_load(db, pool_datastack_create(),
				       records_r) == 0, "%s",
		      schedule_db_get_error(db));
	ck_assert_uint_eq(array_count(records_r), count);
}

static int
record_cmp(const struct schedule_record *r1, const struct schedule_record *r2)
{
	int ret = strcmp(r1->user, r2->user);

	return ret != 0 ? ret : strcmp(r1->account, r2->account);
}

/* "user/account next_try" of all */
static const char *all(void)
{
	ARRAY_TYPE(schedule_record) records;
	const struct schedule_record *record;
	string_t *str = t_str_new(128);

	ck_assert_int_eq(schedule_db_load(db, pool_datastack_create(),
					  &records), 0);
	array_sort(&records, record_cmp);
	array_foreach(&records, record) {
		str_printfa(str, "%s%s/%s %d", str_len(str) == 0 ? "" : ", ",
			    record->user, record->account,
			    (int)record->next_try);
	}
	return str_c(str);
}

START_TEST(db_set_load)
{
	ARRAY_TYPE(schedule_record) records;
	const struct schedule_record *record;

	load(&records, 0);
	ck_assert_int_eq(schedule_db_set(db, &failing), 0);
	load(&records, 1);
	record = array_front(&records);
	ck_assert_str_eq(record->user, failing.user);
	ck_assert_str_eq(record->account, failing.account);
	ck_assert_int_eq(record->last_try, failing.last_try);
	ck_assert_int_eq(record->last_ok, failing.last_ok);
	ck_assert_int_eq(record->next_try, failing.next_try);
	ck_assert_int_eq(record->since, failing.since);
	ck_assert_int_eq(record->back_off.class, failing.back_off.class);
	ck_assert_uint_eq(record->back_off.failures, 2);
	ck_assert_uint_eq(record->back_off.refusals, 5);
	ck_assert_int_eq(record->hint, failing.hint);
	ck_assert_str_eq(record->text, failing.text);
	ck_assert_uint_eq(record->stored, 7);
	ck_assert_uint_eq(record->failed, 1);
	ck_assert_uint_eq(record->msecs, failing.msecs);
	ck_assert_uint_eq(record->fingerprint, failing.fingerprint);
}
END_TEST

START_TEST(db_replace_delete)
{
	set("anna", "home", 10);
	set("anna", "work", 20);
	set("bob", "work", 30);
	set("anna", "work", 40);
	ck_assert_str_eq(all(), "anna/home 10, anna/work 40, bob/work 30");
	ck_assert_int_eq(schedule_db_delete(db, "anna", "work"), 0);
	ck_assert_int_eq(schedule_db_delete(db, "anna", "none"), 0);
	ck_assert_str_eq(all(), "anna/home 10, bob/work 30");
}
END_TEST

START_TEST(db_reopened)
{
	struct stat st;

	set("anna", "work", 20);
	schedule_db_close(&db);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_mode & 0777, 0600);
	db_open(0, "");
	ck_assert_str_eq(all(), "anna/work 20");
}
END_TEST

static void wait_killed(pid_t pid)
{
	int status;

	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status));
}

/* In a process with the database open, which is killed after that. */
static void do_and_die(void (*func)(void))
{
	int fds[2];
	char byte;
	pid_t pid;

	schedule_db_close(&db);
	ck_assert_int_eq(pipe(fds), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		db_open(0, "");
		func();
		(void)!write(fds[1], "x", 1);
		(void)pause();
		_exit(1);
	}
	i_close_fd(&fds[1]);
	ck_assert_int_eq(read(fds[0], &byte, 1), 1);
	i_close_fd(&fds[0]);
	wait_killed(pid);
}

static void set_some(void)
{
	set("anna", "work", 20);
	set("bob", "work", 30);
}

/* Nothing is forgotten that was set before. */
START_TEST(db_killed)
{
	do_and_die(set_some);
	db_open(0, "");
	ck_assert_str_eq(all(), "anna/work 20, bob/work 30");
}
END_TEST

static void spoil_overwrite(off_t offset, const void *data, size_t size)
{
	int fd = open(path, O_WRONLY);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, data, size, offset), (ssize_t)size);
	i_close_fd(&fd);
}

static void spoil_header(void)
{
	static const char text[] = "this is no database";

	spoil_overwrite(0, text, sizeof(text));
}

/* The first page, which is the schema, is whole. */
static void spoil_middle(void)
{
	static const unsigned char garbage[512] = { 0xff, 1, 2, 3 };

	spoil_overwrite(4096, garbage, sizeof(garbage));
}

static void spoil_version(void)
{
	sqlite3 *sqlite;

	ck_assert_int_eq(sqlite3_open(path, &sqlite), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(sqlite, "PRAGMA user_version = 4711",
				      NULL, NULL, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_close(sqlite), SQLITE_OK);
}

static const struct {
	void (*spoil)(void);
	const char *error;
} spoilt[] = {
	{ spoil_header, "not a database" },
	{ spoil_middle, "damaged" },
	{ spoil_version, "version 4711" },
};

START_TEST(db_put_aside)
{
	struct stat st;

	set("anna", "work", 20);
	schedule_db_close(&db);
	spoilt[_i].spoil();
	db_open(1, spoilt[_i].error);
	ck_assert_int_eq(stat(t_strconcat(path, ".aside", NULL), &st), 0);
	ck_assert_str_eq(all(), "");
	set("bob", "work", 30);
	schedule_db_close(&db);
	db_open(0, "");
	ck_assert_str_eq(all(), "bob/work 30");
}
END_TEST

static const char former_file[] =
	"CREATE TABLE schedule (user TEXT NOT NULL, account TEXT NOT NULL,"
	" last_try INTEGER NOT NULL, last_ok INTEGER NOT NULL,"
	" next_try INTEGER NOT NULL, since INTEGER NOT NULL,"
	" class TEXT NOT NULL, failures INTEGER NOT NULL,"
	" refusals INTEGER NOT NULL, hint TEXT NOT NULL, text TEXT NOT NULL,"
	" stored INTEGER NOT NULL, failed INTEGER NOT NULL,"
	" msecs INTEGER NOT NULL, PRIMARY KEY (user, account)) WITHOUT ROWID;"
	"INSERT INTO schedule VALUES ('anna', 'work', 1, 2, 20, 4, 'server', 5,"
	" 6, 'none', 'x', 7, 8, 9);"
	"PRAGMA user_version = 1;";

START_TEST(db_upgraded)
{
	ARRAY_TYPE(schedule_record) records;
	const struct schedule_record *record;
	sqlite3 *sqlite;

	schedule_db_close(&db);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(sqlite3_open(path, &sqlite), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(sqlite, former_file, NULL, NULL, NULL),
			 SQLITE_OK);
	ck_assert_int_eq(sqlite3_close(sqlite), SQLITE_OK);
	db_open(0, "");
	ck_assert_str_eq(all(), "anna/work 20");
	load(&records, 1);
	record = array_front(&records);
	ck_assert_uint_eq(record->fingerprint, 0);
	ck_assert_uint_eq(record->back_off.refusals, 6);
	/* once */
	set("anna", "work", 30);
	schedule_db_close(&db);
	db_open(0, "");
	ck_assert_str_eq(all(), "anna/work 30");
}
END_TEST

static int count_rows(const char *file)
{
	sqlite3 *sqlite;
	sqlite3_stmt *stmt;
	int count = -1;

	ck_assert_int_eq(sqlite3_open(file, &sqlite), SQLITE_OK);
	ck_assert_int_eq(sqlite3_prepare_v2(sqlite,
		"SELECT count(*) FROM schedule", -1, &stmt, NULL), SQLITE_OK);
	if (sqlite3_step(stmt) == SQLITE_ROW)
		count = sqlite3_column_int(stmt, 0);
	ck_assert_int_eq(sqlite3_finalize(stmt), SQLITE_OK);
	ck_assert_int_eq(sqlite3_close(sqlite), SQLITE_OK);
	return count;
}

static void set_some_newer(void)
{
	set_some();
	spoil_version();
}

/* A process that is killed leaves a log: what is put aside has what was in it,
   for whoever wants to know. */
START_TEST(db_put_aside_with_log)
{
	do_and_die(set_some_newer);
	db_open(1, "version 4711");
	ck_assert_int_eq(count_rows(t_strconcat(path, ".aside", NULL)), 2);
	ck_assert_str_eq(all(), "");
}
END_TEST

START_TEST(db_failed)
{
	const char *error, *link = t_strconcat(dir, "/link", NULL);
	struct schedule_db *other;

	ck_assert_int_eq(schedule_db_open(t_strconcat(dir, "/no/x", NULL),
					  &other, &error), -1);
	ck_assert_ptr_nonnull(strstr(error, "/no/x"));
	ck_assert_ptr_null(other);
	/* what a link points to is not ours, nor to be made */
	ck_assert_int_eq(symlink(t_strconcat(dir, "/target", NULL), link), 0);
	ck_assert_int_eq(schedule_db_open(link, &other, &error), -1);
	ck_assert_int_eq(access(t_strconcat(dir, "/target", NULL), F_OK), -1);
	ck_assert_int_eq(unlink(link), 0);
}
END_TEST

/* Above the file, links are the administrator's business. */
START_TEST(db_symlinked_directory)
{
	const char *error = "", *link = t_strconcat(dir, "/link", NULL);

	set("anna", "work", 20);
	schedule_db_close(&db);
	ck_assert_int_eq(symlink(".", link), 0);
	ck_assert_msg(schedule_db_open(t_strconcat(link, "/schedule.sqlite",
						   NULL), &db, &error) == 0,
		      "%s", error);
	ck_assert_str_eq(all(), "anna/work 20");
	ck_assert_int_eq(unlink(link), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("schedule-db");
	TCase *tc = tcase_create("schedule-db");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, db_set_load);
	tcase_add_test(tc, db_replace_delete);
	tcase_add_test(tc, db_reopened);
	tcase_add_test(tc, db_killed);
	tcase_add_loop_test(tc, db_put_aside, 0, N_ELEMENTS(spoilt));
	tcase_add_test(tc, db_put_aside_with_log);
	tcase_add_test(tc, db_upgraded);
	tcase_add_test(tc, db_failed);
	tcase_add_test(tc, db_symlinked_directory);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
