/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "sqlite-file.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct sqlite_file {
	const struct sqlite_file_settings *set;
	sqlite3 *sqlite;
	/* set->statement_count of them, NULL = not used yet */
	sqlite3_stmt **prepared;
	char *path;
};

const char *sqlite_file_get_error(struct sqlite_file *file)
{
	return t_strdup_printf("%s: %s", file->path,
			       sqlite3_errmsg(file->sqlite));
}

/*
 * Open, close
 */

/* Where its directory is without symlinks: SQLite 3.39 and later take a path
   with SQLITE_OPEN_NOFOLLOW only if no part of it is one. */
static int
sqlite_file_resolve(const char *path, const char **path_r, const char **error_r)
{
	const char *name = strrchr(path, '/');
	char *dir;

	if (name == NULL) {
		*path_r = path;
		return 0;
	}
	dir = realpath(t_strdup_until(path, name + 1), NULL);
	if (dir == NULL) {
		*error_r = t_strdup_printf("realpath(%s) failed: %m", path);
		return -1;
	}
	*path_r = t_strconcat(dir, name, NULL);
	free(dir);
	return 0;
}

/* What is in it is nobody else's business: SQLite would go by the umask. */
static int sqlite_file_touch(const char *path, const char **error_r)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd == -1) {
		*error_r = t_strdup_printf("open(%s) failed: %m", path);
		return -1;
	}
	i_close_fd(&fd);
	return 0;
}

static enum sqlite_file_result
sqlite_file_failure(struct sqlite_file *file, const char **error_r)
{
	*error_r = sqlite_file_get_error(file);
	switch (sqlite3_errcode(file->sqlite) & 0xff) {
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return SQLITE_FILE_UNUSABLE;
	default:
		return SQLITE_FILE_FAILED;
	}
}

/* Ask something that is answered with one value. Returns 0, or -1. */
static int
sqlite_file_ask(struct sqlite_file *file, const char *sql, const char **value_r)
{
	sqlite3_stmt *stmt = NULL;
	int ret = -1;

	if (sqlite3_prepare_v2(file->sqlite, sql, -1, &stmt, NULL) != SQLITE_OK)
		return -1;
	if (sqlite_file_row(stmt) > 0) {
		*value_r = sqlite_file_text(pool_datastack_create(), stmt, 0);
		ret = 0;
	}
	(void)sqlite3_finalize(stmt);
	return ret;
}

static enum sqlite_file_result
sqlite_file_check(struct sqlite_file *file, const char **error_r)
{
	const char *found;

	if (sqlite_file_ask(file, "PRAGMA quick_check(1)", &found) < 0)
		return sqlite_file_failure(file, error_r);
	if (strcmp(found, "ok") == 0)
		return SQLITE_FILE_FOUND;
	*error_r = t_strdup_printf("%s is damaged: %s", file->path, found);
	return SQLITE_FILE_UNUSABLE;
}

/* This brings its tables to our version. */
static int sqlite_file_migrate(struct sqlite_file *file, const char *sql)
{
	return sqlite_file_exec(file, t_strdup_printf(
		"BEGIN IMMEDIATE; %s PRAGMA user_version = %d; COMMIT",
		sql, file->set->version));
}

static bool
sqlite_file_is_former(const struct sqlite_file *file, const char *version)
{
	return file->set->upgrade != NULL &&
		strcmp(version, dec2str(file->set->version - 1)) == 0;
}

static enum sqlite_file_result
sqlite_file_init(struct sqlite_file *file, const char **error_r)
{
	const char *version;

	if (sqlite3_open_v2(file->path, &file->sqlite, SQLITE_OPEN_READWRITE |
			    SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_NOMUTEX,
			    NULL) != SQLITE_OK)
		return sqlite_file_failure(file, error_r);
	(void)sqlite3_busy_timeout(file->sqlite, file->set->busy_msecs);
	if (sqlite_file_exec(file, file->set->pragmas) < 0 ||
	    sqlite_file_ask(file, "PRAGMA user_version", &version) < 0)
		return sqlite_file_failure(file, error_r);
	if (strcmp(version, "0") == 0) {
		if (sqlite_file_migrate(file, file->set->schema) < 0)
			return sqlite_file_failure(file, error_r);
		return SQLITE_FILE_NEW;
	}
	if (sqlite_file_is_former(file, version)) {
		if (sqlite_file_migrate(file, file->set->upgrade) < 0)
			return sqlite_file_failure(file, error_r);
	} else if (strcmp(version, dec2str(file->set->version)) != 0) {
		*error_r = t_strdup_printf("%s has version %s: it was written "
			"by a newer imapsync-pull", file->path, version);
		return SQLITE_FILE_UNUSABLE;
	}
	return file->set->check ? sqlite_file_check(file, error_r) :
		SQLITE_FILE_FOUND;
}

enum sqlite_file_result
sqlite_file_open(const char *path, const struct sqlite_file_settings *set,
		 struct sqlite_file **file_r, const char **error_r)
{
	enum sqlite_file_result result;
	struct sqlite_file *file;

	i_assert(set->version > 0);

	*file_r = NULL;
	if (sqlite_file_resolve(path, &path, error_r) < 0 ||
	    sqlite_file_touch(path, error_r) < 0)
		return SQLITE_FILE_FAILED;
	file = i_new(struct sqlite_file, 1);
	file->set = set;
	file->path = i_strdup(path);
	file->prepared = i_new(sqlite3_stmt *, set->statement_count);
	result = sqlite_file_init(file, error_r);
	if (result == SQLITE_FILE_FAILED || result == SQLITE_FILE_UNUSABLE)
		sqlite_file_close(&file);
	*file_r = file;
	return result;
}

void sqlite_file_close(struct sqlite_file **_file)
{
	struct sqlite_file *file = *_file;
	unsigned int i;

	*_file = NULL;
	if (file == NULL)
		return;
	for (i = 0; i < file->set->statement_count; i++)
		(void)sqlite3_finalize(file->prepared[i]);
	(void)sqlite3_close(file->sqlite);
	i_free(file->prepared);
	i_free(file->path);
	i_free(file);
}

static int
sqlite_file_rename(const char *path, const char *suffix, const char **error_r)
{
	const char *from = t_strconcat(path, suffix, NULL);
	const char *to = t_strconcat(path, ".aside", suffix, NULL);

	if (rename(from, to) == 0)
		return 0;
	if (errno == ENOENT) {
		/* the one that lies there belongs to another file */
		i_unlink_if_exists(to);
		return 0;
	}
	*error_r = t_strdup_printf("rename(%s, %s) failed: %m", from, to);
	return -1;
}

/* What the log holds may not be in the file yet. */
int sqlite_file_put_aside(const char *path, const char **error_r)
{
	if (sqlite_file_rename(path, "-wal", error_r) < 0 ||
	    sqlite_file_rename(path, "-journal", error_r) < 0 ||
	    sqlite_file_rename(path, "", error_r) < 0)
		return -1;
	i_unlink_if_exists(t_strconcat(path, "-shm", NULL));
	return 0;
}

/*
 * Statements
 */

int sqlite_file_exec(struct sqlite_file *file, const char *sql)
{
	return sqlite3_exec(file->sqlite, sql, NULL, NULL, NULL) == SQLITE_OK ?
		0 : -1;
}

sqlite3_stmt *sqlite_file_statement(struct sqlite_file *file, unsigned int n)
{
	sqlite3_stmt **stmt = &file->prepared[n];

	i_assert(n < file->set->statement_count);

	if (*stmt == NULL &&
	    sqlite3_prepare_v3(file->sqlite, file->set->statements[n], -1,
			       SQLITE_PREPARE_PERSISTENT, stmt,
			       NULL) != SQLITE_OK)
		return NULL;
	return *stmt;
}

int64_t sqlite_file_last_id(struct sqlite_file *file)
{
	return sqlite3_last_insert_rowid(file->sqlite);
}

void sqlite_file_bind_text(sqlite3_stmt *stmt, int n, const char *text)
{
	(void)sqlite3_bind_text(stmt, n, text, -1, SQLITE_TRANSIENT);
}

const char *sqlite_file_text(pool_t pool, sqlite3_stmt *stmt, int column)
{
	return p_strdup(pool,
			(const char *)sqlite3_column_text(stmt, column));
}

int sqlite_file_run(sqlite3_stmt *stmt)
{
	int ret = sqlite3_step(stmt) == SQLITE_DONE ? 0 : -1;

	if (sqlite3_reset(stmt) != SQLITE_OK)
		ret = -1;
	(void)sqlite3_clear_bindings(stmt);
	return ret;
}

int sqlite_file_row(sqlite3_stmt *stmt)
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
