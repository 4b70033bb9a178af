/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "report-db.h"
#include "sqlite-file.h"

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
static const struct sqlite_file_settings report_db_set = {
	.pragmas =
		"PRAGMA journal_mode = WAL;"
		"PRAGMA synchronous = NORMAL",
	.schema =
		"CREATE TABLE failing (account TEXT PRIMARY KEY,"
		" since INTEGER NOT NULL, owner TEXT, label TEXT)"
		" WITHOUT ROWID;"
		"CREATE TABLE report (seq INTEGER PRIMARY KEY AUTOINCREMENT,"
		" kind INTEGER NOT NULL CHECK (kind IN (0, 1, 2)),"
		" time INTEGER NOT NULL, since INTEGER NOT NULL,"
		" account TEXT NOT NULL, owner TEXT, label TEXT, class TEXT,"
		" hint TEXT, CHECK (kind <> 0 OR class IS NOT NULL));"
		"CREATE INDEX report_account ON report (account, seq);",
	.version = 1,
	.statements = statements,
	.statement_count = STATEMENT_COUNT,
	/* a former process of ours that is about to end */
	.busy_msecs = 2000,
	.check = TRUE,
};

struct report_db {
	struct sqlite_file *file;
};

/* What is known of an account that fails. Strings are from the data stack. */
struct failing {
	uint64_t since;
	const char *owner, *label;
};

const char *report_db_get_error(struct report_db *db)
{
	return sqlite_file_get_error(db->file);
}

/* What is lost is said again by the runs to come. */
static int
report_db_reopen(const char *path, struct sqlite_file **file_r,
		 const char **error_r)
{
	const char *reason = *error_r;

	if (sqlite_file_put_aside(path, error_r) < 0 ||
	    sqlite_file_open(path, &report_db_set, file_r,
			     error_r) != SQLITE_FILE_NEW)
		return -1;
	*error_r = t_strdup_printf("%s; moved to %s.aside, reports begin anew",
				   reason, path);
	return 1;
}

int report_db_open(const char *path, struct report_db **db_r,
		   const char **error_r)
{
	struct sqlite_file *file;
	int ret = 0;

	*db_r = NULL;
	switch (sqlite_file_open(path, &report_db_set, &file, error_r)) {
	case SQLITE_FILE_NEW:
	case SQLITE_FILE_FOUND:
		break;
	case SQLITE_FILE_UNUSABLE:
		ret = report_db_reopen(path, &file, error_r);
		if (ret > 0)
			break;
		return -1;
	case SQLITE_FILE_FAILED:
		return -1;
	}
	*db_r = i_new(struct report_db, 1);
	(*db_r)->file = file;
	return ret;
}

void report_db_close(struct report_db **_db)
{
	struct report_db *db = *_db;

	*_db = NULL;
	if (db == NULL)
		return;
	sqlite_file_close(&db->file);
	i_free(db);
}

/*
 * What fails
 */

static int
failing_get(struct report_db *db, const char *account,
	    struct failing *failing_r)
{
	sqlite3_stmt *stmt =
		sqlite_file_statement(db->file, STATEMENT_FAILING_GET);
	int ret;

	i_zero(failing_r);
	if (stmt == NULL)
		return -1;
	sqlite_file_bind_text(stmt, 1, account);
	ret = sqlite_file_row(stmt);
	if (ret > 0) {
		pool_t pool = pool_datastack_create();

		failing_r->since = sqlite3_column_int64(stmt, 0);
		failing_r->owner = sqlite_file_text(pool, stmt, 1);
		failing_r->label = sqlite_file_text(pool, stmt, 2);
	}
	(void)sqlite3_reset(stmt);
	return ret;
}

static int failing_set(struct report_db *db, const struct report *report)
{
	sqlite3_stmt *stmt =
		sqlite_file_statement(db->file, STATEMENT_FAILING_SET);

	if (stmt == NULL)
		return -1;
	sqlite_file_bind_text(stmt, 1, report->account);
	(void)sqlite3_bind_int64(stmt, 2, report->since);
	sqlite_file_bind_text(stmt, 3, report->owner);
	sqlite_file_bind_text(stmt, 4, report->label);
	return sqlite_file_run(stmt);
}

static int failing_drop(struct report_db *db, const char *account)
{
	sqlite3_stmt *stmt =
		sqlite_file_statement(db->file, STATEMENT_FAILING_DROP);

	if (stmt == NULL)
		return -1;
	sqlite_file_bind_text(stmt, 1, account);
	return sqlite_file_run(stmt);
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
	sqlite3_stmt *stmt = sqlite_file_statement(db->file, n);

	if (stmt != NULL) {
		sqlite_file_bind_text(stmt, 1, account);
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
	if (sqlite_file_row(stmt) > 0)
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

	return stmt == NULL ? -1 : sqlite_file_run(stmt);
}

static int
waiting_drop(struct report_db *db, const char *account, const char *owner,
	     uint64_t before_seq)
{
	sqlite3_stmt *stmt = waiting_statement(db, STATEMENT_WAITING_DROP,
					       account, before_seq);

	if (stmt == NULL)
		return -1;
	sqlite_file_bind_text(stmt, 3, owner);
	return sqlite_file_run(stmt);
}

static int report_db_insert(struct report_db *db, const struct report *report)
{
	sqlite3_stmt *stmt = sqlite_file_statement(db->file, STATEMENT_ADD);

	if (stmt == NULL)
		return -1;
	(void)sqlite3_bind_int(stmt, 1, report->kind);
	(void)sqlite3_bind_int64(stmt, 2, report->time);
	(void)sqlite3_bind_int64(stmt, 3, report->since);
	sqlite_file_bind_text(stmt, 4, report->account);
	sqlite_file_bind_text(stmt, 5, report->owner);
	sqlite_file_bind_text(stmt, 6, report->label);
	sqlite_file_bind_text(stmt, 7, report->class);
	sqlite_file_bind_text(stmt, 8, report->hint);
	return sqlite_file_run(stmt);
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

	if (sqlite_file_exec(db->file, "BEGIN IMMEDIATE") < 0)
		return -1;
	ret = report_db_add_locked(db, report, before_seq);
	if (ret < 0 || sqlite_file_exec(db->file, "COMMIT") < 0) {
		(void)sqlite_file_exec(db->file, "ROLLBACK");
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
	report_r->account = sqlite_file_text(pool, stmt, 4);
	report_r->owner = sqlite_file_text(pool, stmt, 5);
	report_r->label = sqlite_file_text(pool, stmt, 6);
	report_r->class = sqlite_file_text(pool, stmt, 7);
	report_r->hint = sqlite_file_text(pool, stmt, 8);
}

int report_db_get(struct report_db *db, pool_t pool, uint64_t min_seq,
		  struct report *report_r, uint64_t *seq_r)
{
	sqlite3_stmt *stmt = sqlite_file_statement(db->file, STATEMENT_GET);
	int ret;

	i_zero(report_r);
	if (stmt == NULL)
		return -1;
	(void)sqlite3_bind_int64(stmt, 1, min_seq);
	ret = sqlite_file_row(stmt);
	if (ret > 0) {
		*seq_r = sqlite3_column_int64(stmt, 0);
		report_read(pool, stmt, report_r);
	}
	(void)sqlite3_reset(stmt);
	return ret;
}

int report_db_ack(struct report_db *db, uint64_t seq)
{
	sqlite3_stmt *stmt = sqlite_file_statement(db->file, STATEMENT_ACK);

	if (stmt == NULL)
		return -1;
	(void)sqlite3_bind_int64(stmt, 1, seq);
	return sqlite_file_run(stmt);
}
