/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "schedule-db.h"
#include "sqlite-file.h"

enum statement {
	STATEMENT_LOAD,
	STATEMENT_SET,
	STATEMENT_DELETE,
	STATEMENT_COUNT
};

static const char *const statements[STATEMENT_COUNT] = {
	[STATEMENT_LOAD] =
		"SELECT user, account, last_try, last_ok, next_try, since,"
		" class, failures, refusals, hint, text, stored, failed, msecs,"
		" fingerprint FROM schedule",
	[STATEMENT_SET] =
		"INSERT OR REPLACE INTO schedule (user, account, last_try,"
		" last_ok, next_try, since, class, failures, refusals, hint,"
		" text, stored, failed, msecs, fingerprint) VALUES"
		" (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13,"
		" ?14, ?15)",
	[STATEMENT_DELETE] =
		"DELETE FROM schedule WHERE user = ?1 AND account = ?2",
};

/* Classes and hints by name: their numbers are this program's alone. */
static const struct sqlite_file_settings schedule_db_set_file = {
	.pragmas =
		"PRAGMA journal_mode = WAL;"
		"PRAGMA synchronous = NORMAL;"
		"PRAGMA trusted_schema = OFF",
	.schema =
		"CREATE TABLE schedule (user TEXT NOT NULL,"
		" account TEXT NOT NULL, last_try INTEGER NOT NULL,"
		" last_ok INTEGER NOT NULL, next_try INTEGER NOT NULL,"
		" since INTEGER NOT NULL, class TEXT NOT NULL,"
		" failures INTEGER NOT NULL, refusals INTEGER NOT NULL,"
		" hint TEXT NOT NULL, text TEXT NOT NULL,"
		" stored INTEGER NOT NULL, failed INTEGER NOT NULL,"
		" msecs INTEGER NOT NULL,"
		" fingerprint INTEGER NOT NULL,"
		" PRIMARY KEY (user, account)) WITHOUT ROWID;",
	.version = 2,
	.upgrade =
		"ALTER TABLE schedule"
		" ADD COLUMN fingerprint INTEGER NOT NULL DEFAULT 0;",
	.statements = statements,
	.statement_count = STATEMENT_COUNT,
	/* a former process of ours that is about to end */
	.busy_msecs = 2000,
	.check = TRUE,
};

struct schedule_db {
	struct sqlite_file *file;
};

const char *schedule_db_get_error(struct schedule_db *db)
{
	return sqlite_file_get_error(db->file);
}

/* What is lost is when accounts are due: they are run earlier then. */
static int
schedule_db_reopen(const char *path, struct sqlite_file **file_r,
		   const char **error_r)
{
	const char *reason = *error_r;

	if (sqlite_file_put_aside(path, error_r) < 0 ||
	    sqlite_file_open(path, &schedule_db_set_file, file_r,
			     error_r) != SQLITE_FILE_NEW)
		return -1;
	*error_r = t_strdup_printf("%s; moved to %s.aside, schedules begin "
				   "anew", reason, path);
	return 1;
}

int schedule_db_open(const char *path, struct schedule_db **db_r,
		     const char **error_r)
{
	struct sqlite_file *file;
	int ret = 0;

	*db_r = NULL;
	switch (sqlite_file_open(path, &schedule_db_set_file, &file,
				 error_r)) {
	case SQLITE_FILE_NEW:
	case SQLITE_FILE_FOUND:
		break;
	case SQLITE_FILE_UNUSABLE:
		ret = schedule_db_reopen(path, &file, error_r);
		if (ret > 0)
			break;
		return -1;
	case SQLITE_FILE_FAILED:
		return -1;
	}
	*db_r = i_new(struct schedule_db, 1);
	(*db_r)->file = file;
	return ret;
}

void schedule_db_close(struct schedule_db **_db)
{
	struct schedule_db *db = *_db;

	*_db = NULL;
	if (db == NULL)
		return;
	sqlite_file_close(&db->file);
	i_free(db);
}

static void
schedule_read_outcome(sqlite3_stmt *stmt, struct schedule_record *record)
{
	struct back_off *back_off = &record->back_off;
	pool_t pool = pool_datastack_create();

	if (!reply_class_parse(sqlite_file_text(pool, stmt, 6),
			       &back_off->class) ||
	    !reply_hint_parse(sqlite_file_text(pool, stmt, 9), &record->hint))
		return;
	back_off->failures = sqlite3_column_int64(stmt, 7);
	back_off->refusals = sqlite3_column_int64(stmt, 8);
}

static void
schedule_read(pool_t pool, sqlite3_stmt *stmt, struct schedule_record *record_r)
{
	i_zero(record_r);
	record_r->user = sqlite_file_text(pool, stmt, 0);
	record_r->account = sqlite_file_text(pool, stmt, 1);
	record_r->last_try = sqlite3_column_int64(stmt, 2);
	record_r->last_ok = sqlite3_column_int64(stmt, 3);
	record_r->next_try = sqlite3_column_int64(stmt, 4);
	record_r->since = sqlite3_column_int64(stmt, 5);
	T_BEGIN {
		schedule_read_outcome(stmt, record_r);
	} T_END;
	record_r->text = sqlite_file_text(pool, stmt, 10);
	record_r->stored = sqlite3_column_int64(stmt, 11);
	record_r->failed = sqlite3_column_int64(stmt, 12);
	record_r->msecs = sqlite3_column_int64(stmt, 13);
	record_r->fingerprint = sqlite3_column_int64(stmt, 14);
}

int schedule_db_load(struct schedule_db *db, pool_t pool,
		     ARRAY_TYPE(schedule_record) *records_r)
{
	sqlite3_stmt *stmt = sqlite_file_statement(db->file, STATEMENT_LOAD);
	int ret;

	p_array_init(records_r, pool, 64);
	if (stmt == NULL)
		return -1;
	while ((ret = sqlite_file_row(stmt)) > 0)
		schedule_read(pool, stmt, array_append_space(records_r));
	(void)sqlite3_reset(stmt);
	return ret;
}

int schedule_db_set(struct schedule_db *db,
		    const struct schedule_record *record)
{
	const struct back_off *back_off = &record->back_off;
	sqlite3_stmt *stmt = sqlite_file_statement(db->file, STATEMENT_SET);

	if (stmt == NULL)
		return -1;
	sqlite_file_bind_text(stmt, 1, record->user);
	sqlite_file_bind_text(stmt, 2, record->account);
	(void)sqlite3_bind_int64(stmt, 3, record->last_try);
	(void)sqlite3_bind_int64(stmt, 4, record->last_ok);
	(void)sqlite3_bind_int64(stmt, 5, record->next_try);
	(void)sqlite3_bind_int64(stmt, 6, record->since);
	sqlite_file_bind_text(stmt, 7, reply_class_name(back_off->class));
	(void)sqlite3_bind_int64(stmt, 8, back_off->failures);
	(void)sqlite3_bind_int64(stmt, 9, back_off->refusals);
	sqlite_file_bind_text(stmt, 10, reply_hint_name(record->hint));
	sqlite_file_bind_text(stmt, 11, record->text);
	(void)sqlite3_bind_int64(stmt, 12, record->stored);
	(void)sqlite3_bind_int64(stmt, 13, record->failed);
	(void)sqlite3_bind_int64(stmt, 14, record->msecs);
	(void)sqlite3_bind_int64(stmt, 15, record->fingerprint);
	return sqlite_file_run(stmt);
}

int schedule_db_delete(struct schedule_db *db, const char *user,
		       const char *account)
{
	sqlite3_stmt *stmt = sqlite_file_statement(db->file, STATEMENT_DELETE);

	if (stmt == NULL)
		return -1;
	sqlite_file_bind_text(stmt, 1, user);
	sqlite_file_bind_text(stmt, 2, account);
	return sqlite_file_run(stmt);
}
