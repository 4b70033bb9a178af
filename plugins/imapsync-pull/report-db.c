/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "report-db.h"

#include <sqlite3.h>
#include <fcntl.h>
#include <unistd.h>

#define REPORT_DB_VERSION 1
/* a former process of ours that is about to end */
#define REPORT_DB_BUSY_MSECS 2000

enum statement {
	STATEMENT_FAILING_GET,
	STATEMENT_FAILING_SET,
	STATEMENT_FAILING_DROP,
	STATEMENT_WAITING_COUNT,
	STATEMENT_WAITING_DROP_LAST,
	STATEMENT_WAITING_DROP,
	STATEMENT_ADD,
	STATEMENT_GET,
	STATEMENT_ACK,
	STATEMENT_COUNT
};

static const char *const statements[STATEMENT_COUNT] = {
	[STATEMENT_FAILING_GET] =
		"SELECT since, owner, label FROM failing WHERE account = ?1",
	[STATEMENT_FAILING_SET] =
		"INSERT OR REPLACE INTO failing (account, since, owner, label)"
		" VALUES (?1, ?2, ?3, ?4)",
	[STATEMENT_FAILING_DROP] =
		"DELETE FROM failing WHERE account = ?1",
	[STATEMENT_WAITING_COUNT] =
		"SELECT count(*) FROM report"
		" WHERE account = ?1 AND seq >= ?2 AND kind = 0",
	[STATEMENT_WAITING_DROP_LAST] =
		"DELETE FROM report WHERE seq = (SELECT max(seq) FROM report"
		" WHERE account = ?1 AND seq >= ?2 AND kind = 0)",
	[STATEMENT_WAITING_DROP] =
		"DELETE FROM report"
		" WHERE account = ?1 AND seq >= ?2 AND owner IS ?3",
	[STATEMENT_ADD] =
		"INSERT INTO report (kind, time, since, account, owner, label,"
		" class, hint) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
	[STATEMENT_GET] =
		"SELECT seq, kind, time, since, account, owner, label, class,"
		" hint FROM report WHERE seq >= ?1 ORDER BY seq LIMIT 1",
	[STATEMENT_ACK] =
		"DELETE FROM report WHERE seq <= ?1",
};

/* kind is an enum report_kind */
static const char *const schema =
	"CREATE TABLE failing (account TEXT PRIMARY KEY,"
	" since INTEGER NOT NULL, owner TEXT, label TEXT) WITHOUT ROWID;"
	"CREATE TABLE report (seq INTEGER PRIMARY KEY AUTOINCREMENT,"
	" kind INTEGER NOT NULL CHECK (kind IN (0, 1, 2)),"
	" time INTEGER NOT NULL, since INTEGER NOT NULL,"
	" account TEXT NOT NULL, owner TEXT, label TEXT, class TEXT,"
	" hint TEXT, CHECK (kind <> 0 OR class IS NOT NULL));"
	"CREATE INDEX report_account ON report (account, seq);";

struct report_db {
	sqlite3 *sqlite;
	sqlite3_stmt *prepared[STATEMENT_COUNT];
	char *path;
};

/* What is known of an account that fails. Strings are from the data stack. */
struct failing {
	uint64_t since;
	const char *owner, *label;
};

const char *report_db_get_error(struct report_db *db)
{
	return t_strdup_printf("%s: %s", db->path, sqlite3_errmsg(db->sqlite));
}

/*
 * Open, close
 */

static int report_db_exec(struct report_db *db, const char *sql)
{
	return sqlite3_exec(db->sqlite, sql, NULL, NULL, NULL) == SQLITE_OK ?
		0 : -1;
}

/* User names are in it: nobody else reads it. */
static int report_db_create_file(const char *path, const char **error_r)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd == -1) {
		*error_r = t_strdup_printf("open(%s) failed: %m", path);
		return -1;
	}
	i_close_fd(&fd);
	return 0;
}

static int report_db_get_version(struct report_db *db, int *version_r)
{
	sqlite3_stmt *stmt = NULL;
	int ret = -1;

	if (sqlite3_prepare_v2(db->sqlite, "PRAGMA user_version", -1, &stmt,
			       NULL) != SQLITE_OK)
		return -1;
	if (sqlite3_step(stmt) == SQLITE_ROW) {
		*version_r = sqlite3_column_int(stmt, 0);
		ret = 0;
	}
	(void)sqlite3_finalize(stmt);
	return ret;
}

static int report_db_init(struct report_db *db, const char **error_r)
{
	int version;

	(void)sqlite3_busy_timeout(db->sqlite, REPORT_DB_BUSY_MSECS);
	if (report_db_exec(db, "PRAGMA journal_mode = WAL;"
			   "PRAGMA synchronous = NORMAL") < 0 ||
	    report_db_get_version(db, &version) < 0) {
		*error_r = report_db_get_error(db);
		return -1;
	}
	if (version == REPORT_DB_VERSION)
		return 0;
	if (version != 0) {
		*error_r = t_strdup_printf("%s has version %d: it was written "
			"by a newer imapsync-pull", db->path, version);
		return -1;
	}
	if (report_db_exec(db, t_strdup_printf(
			"BEGIN IMMEDIATE; %s PRAGMA user_version = %d; COMMIT",
			schema, REPORT_DB_VERSION)) < 0) {
		*error_r = report_db_get_error(db);
		return -1;
	}
	return 0;
}

int report_db_open(const char *path, struct report_db **db_r,
		   const char **error_r)
{
	struct report_db *db;

	*db_r = NULL;
	if (report_db_create_file(path, error_r) < 0)
		return -1;
	db = i_new(struct report_db, 1);
	db->path = i_strdup(path);
	if (sqlite3_open_v2(path, &db->sqlite, SQLITE_OPEN_READWRITE |
			    SQLITE_OPEN_NOFOLLOW, NULL) != SQLITE_OK) {
		*error_r = report_db_get_error(db);
		report_db_close(&db);
		return -1;
	}
	if (report_db_init(db, error_r) < 0) {
		report_db_close(&db);
		return -1;
	}
	*db_r = db;
	return 0;
}

void report_db_close(struct report_db **_db)
{
	struct report_db *db = *_db;
	unsigned int i;

	*_db = NULL;
	if (db == NULL)
		return;
	for (i = 0; i < STATEMENT_COUNT; i++)
		(void)sqlite3_finalize(db->prepared[i]);
	(void)sqlite3_close(db->sqlite);
	i_free(db->path);
	i_free(db);
}

/*
 * Statements
 */

/* Returns the statement ready to bind, or NULL. */
static sqlite3_stmt *report_db_statement(struct report_db *db, enum statement n)
{
	sqlite3_stmt **stmt = &db->prepared[n];

	if (*stmt == NULL &&
	    sqlite3_prepare_v3(db->sqlite, statements[n], -1,
			       SQLITE_PREPARE_PERSISTENT, stmt,
			       NULL) != SQLITE_OK)
		return NULL;
	return *stmt;
}

static void bind_text(sqlite3_stmt *stmt, int n, const char *text)
{
	(void)sqlite3_bind_text(stmt, n, text, -1, SQLITE_TRANSIENT);
}

static const char *
column_dup(pool_t pool, sqlite3_stmt *stmt, int column)
{
	return p_strdup(pool,
			(const char *)sqlite3_column_text(stmt, column));
}

/* Run a statement that returns no rows. */
static int statement_run(sqlite3_stmt *stmt)
{
	int ret = sqlite3_step(stmt) == SQLITE_DONE ? 0 : -1;

	if (sqlite3_reset(stmt) != SQLITE_OK)
		ret = -1;
	(void)sqlite3_clear_bindings(stmt);
	return ret;
}

/* Returns 1 if there is a row to read, 0 if not, -1. Reset it afterwards. */
static int statement_row(sqlite3_stmt *stmt)
{
	switch (sqlite3_step(stmt)) {
	case SQLITE_ROW:
		return 1;
	case SQLITE_DONE:
		return 0;
	default:
		return -1;
	}
}

/*
 * What fails
 */

static int
failing_get(struct report_db *db, const char *account,
	    struct failing *failing_r)
{
	sqlite3_stmt *stmt = report_db_statement(db, STATEMENT_FAILING_GET);
	int ret;

	i_zero(failing_r);
	if (stmt == NULL)
		return -1;
	bind_text(stmt, 1, account);
	ret = statement_row(stmt);
	if (ret > 0) {
		pool_t pool = pool_datastack_create();

		failing_r->since = sqlite3_column_int64(stmt, 0);
		failing_r->owner = column_dup(pool, stmt, 1);
		failing_r->label = column_dup(pool, stmt, 2);
	}
	(void)sqlite3_reset(stmt);
	return ret;
}

static int failing_set(struct report_db *db, const struct report *report)
{
	sqlite3_stmt *stmt = report_db_statement(db, STATEMENT_FAILING_SET);

	if (stmt == NULL)
		return -1;
	bind_text(stmt, 1, report->account);
	(void)sqlite3_bind_int64(stmt, 2, report->since);
	bind_text(stmt, 3, report->owner);
	bind_text(stmt, 4, report->label);
	return statement_run(stmt);
}

static int failing_drop(struct report_db *db, const char *account)
{
	sqlite3_stmt *stmt = report_db_statement(db, STATEMENT_FAILING_DROP);

	if (stmt == NULL)
		return -1;
	bind_text(stmt, 1, account);
	return statement_run(stmt);
}

int report_db_is_failing(struct report_db *db, const char *account)
{
	struct failing failing;

	return failing_get(db, account, &failing);
}

/*
 * What is to be told
 */

static sqlite3_stmt *
waiting_statement(struct report_db *db, enum statement n, const char *account,
		  uint64_t before_seq)
{
	sqlite3_stmt *stmt = report_db_statement(db, n);

	if (stmt != NULL) {
		bind_text(stmt, 1, account);
		(void)sqlite3_bind_int64(stmt, 2, before_seq);
	}
	return stmt;
}

/* Returns the number of failures that wait, or -1. */
static int
waiting_count(struct report_db *db, const char *account, uint64_t before_seq)
{
	sqlite3_stmt *stmt = waiting_statement(db, STATEMENT_WAITING_COUNT,
					       account, before_seq);
	int ret = -1;

	if (stmt == NULL)
		return -1;
	if (statement_row(stmt) > 0)
		ret = sqlite3_column_int(stmt, 0);
	(void)sqlite3_reset(stmt);
	return ret;
}

static int
waiting_drop_last(struct report_db *db, const char *account,
		  uint64_t before_seq)
{
	sqlite3_stmt *stmt = waiting_statement(db, STATEMENT_WAITING_DROP_LAST,
					       account, before_seq);

	return stmt == NULL ? -1 : statement_run(stmt);
}

static int
waiting_drop(struct report_db *db, const char *account, const char *owner,
	     uint64_t before_seq)
{
	sqlite3_stmt *stmt = waiting_statement(db, STATEMENT_WAITING_DROP,
					       account, before_seq);

	if (stmt == NULL)
		return -1;
	bind_text(stmt, 3, owner);
	return statement_run(stmt);
}

static int report_db_insert(struct report_db *db, const struct report *report)
{
	sqlite3_stmt *stmt = report_db_statement(db, STATEMENT_ADD);

	if (stmt == NULL)
		return -1;
	(void)sqlite3_bind_int(stmt, 1, report->kind);
	(void)sqlite3_bind_int64(stmt, 2, report->time);
	(void)sqlite3_bind_int64(stmt, 3, report->since);
	bind_text(stmt, 4, report->account);
	bind_text(stmt, 5, report->owner);
	bind_text(stmt, 6, report->label);
	bind_text(stmt, 7, report->class);
	bind_text(stmt, 8, report->hint);
	return statement_run(stmt);
}

/* It does not fail any more: whatever nobody has heard of yet need not be told,
   an end before that included. Whose it was is known from when it failed. */
static int
report_db_add_clear(struct report_db *db, const struct report *report,
		    const struct failing *failing, uint64_t before_seq)
{
	struct report clear = *report;

	clear.since = failing->since;
	clear.owner = failing->owner;
	clear.label = failing->label;
	clear.class = clear.hint = NULL;
	if (failing_drop(db, report->account) < 0 ||
	    waiting_drop(db, report->account, clear.owner, before_seq) < 0)
		return -1;
	return report_db_insert(db, &clear);
}

static int
report_db_add_fail(struct report_db *db, const struct report *report,
		   const struct failing *failing, uint64_t before_seq)
{
	struct report fail = *report;
	int count;

	fail.since = failing == NULL ? report->time : failing->since;
	count = waiting_count(db, report->account, before_seq);
	if (count < 0 ||
	    (count >= REPORT_MAX_WAITING &&
	     waiting_drop_last(db, report->account, before_seq) < 0) ||
	    failing_set(db, &fail) < 0)
		return -1;
	return report_db_insert(db, &fail);
}

static int
report_db_add_locked(struct report_db *db, const struct report *report,
		     uint64_t before_seq)
{
	struct failing failing;
	int ret = failing_get(db, report->account, &failing);

	if (ret < 0)
		return -1;
	if (report->kind != REPORT_FAIL) {
		if (ret == 0)
			return 0;
		return report_db_add_clear(db, report, &failing,
					   before_seq) < 0 ? -1 : 1;
	}
	if (ret > 0 && null_strcmp(failing.owner, report->owner) != 0) {
		/* to its former owner it is no trouble any more */
		struct report gone = *report;

		gone.kind = REPORT_GONE;
		if (report_db_add_clear(db, &gone, &failing, before_seq) < 0)
			return -1;
	}
	return report_db_add_fail(db, report, ret == 0 ? NULL : &failing,
				  before_seq) < 0 ? -1 : 1;
}

int report_db_add(struct report_db *db, const struct report *report,
		  uint64_t before_seq)
{
	int ret;

	if (report_db_exec(db, "BEGIN IMMEDIATE") < 0)
		return -1;
	ret = report_db_add_locked(db, report, before_seq);
	if (ret < 0 || report_db_exec(db, "COMMIT") < 0) {
		(void)report_db_exec(db, "ROLLBACK");
		return -1;
	}
	return ret;
}

static void
report_read(pool_t pool, sqlite3_stmt *stmt, struct report *report_r)
{
	report_r->kind = sqlite3_column_int(stmt, 1);
	report_r->time = sqlite3_column_int64(stmt, 2);
	report_r->since = sqlite3_column_int64(stmt, 3);
	report_r->account = column_dup(pool, stmt, 4);
	report_r->owner = column_dup(pool, stmt, 5);
	report_r->label = column_dup(pool, stmt, 6);
	report_r->class = column_dup(pool, stmt, 7);
	report_r->hint = column_dup(pool, stmt, 8);
}

int report_db_get(struct report_db *db, pool_t pool, uint64_t min_seq,
		  struct report *report_r, uint64_t *seq_r)
{
	sqlite3_stmt *stmt = report_db_statement(db, STATEMENT_GET);
	int ret;

	i_zero(report_r);
	if (stmt == NULL)
		return -1;
	(void)sqlite3_bind_int64(stmt, 1, min_seq);
	ret = statement_row(stmt);
	if (ret > 0) {
		*seq_r = sqlite3_column_int64(stmt, 0);
		report_read(pool, stmt, report_r);
	}
	(void)sqlite3_reset(stmt);
	return ret;
}

int report_db_ack(struct report_db *db, uint64_t seq)
{
	sqlite3_stmt *stmt = report_db_statement(db, STATEMENT_ACK);

	if (stmt == NULL)
		return -1;
	(void)sqlite3_bind_int64(stmt, 1, seq);
	return statement_run(stmt);
}
