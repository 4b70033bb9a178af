#ifndef IMAPSYNC_SQLITE_FILE_H
#define IMAPSYNC_SQLITE_FILE_H

#include <sqlite3.h>

/* A SQLite file of ours: opened, made, its version checked, its statements
   prepared once each. Functions that return -1 leave the reason to
   sqlite_file_get_error(). */

struct sqlite_file;

struct sqlite_file_settings {
	/* said each time the file is opened: "PRAGMA x = y; ..." */
	const char *pragmas;
	/* what makes the tables of a new file, each ended by ";" */
	const char *schema;
	/* of the schema, above 0: a file of another one is not touched */
	int version;
	/* what makes the tables of the version before this one into these; NULL
	   = that is no version of ours */
	const char *upgrade;
	/* known by their number; prepared when first used */
	const char *const *statements;
	unsigned int statement_count;
	/* how long to wait while another process writes */
	int busy_msecs;
	/* read all of it and look for damage when it is opened */
	bool check;
};

enum sqlite_file_result {
	/* not now: the file system or another process is in the way */
	SQLITE_FILE_FAILED = -1,
	/* made now, empty */
	SQLITE_FILE_NEW = 0,
	SQLITE_FILE_FOUND = 1,
	/* never: damaged, no database, or written by a newer program */
	SQLITE_FILE_UNUSABLE = 2,
};

/* Open or make a file (0600); its directory may be reached by symlinks, it may
   not be one. set must outlive it.
   file_r is NULL and error_r set for FAILED and UNUSABLE. */
enum sqlite_file_result
sqlite_file_open(const char *path, const struct sqlite_file_settings *set,
		 struct sqlite_file **file_r, const char **error_r);
/* Rolls back what is not committed. */
void sqlite_file_close(struct sqlite_file **file);
/* Why the last call failed, with the path. */
const char *sqlite_file_get_error(struct sqlite_file *file);

/* Rename a file that is not open, and its log with it, to PATH.aside, which it
   replaces. Returns 0, or -1 and error_r. */
int sqlite_file_put_aside(const char *path, const char **error_r);

/* Statements that need no values. Returns 0 or -1. */
int sqlite_file_exec(struct sqlite_file *file, const char *sql);
/* The statement with this number, ready to bind, or NULL. */
sqlite3_stmt *sqlite_file_statement(struct sqlite_file *file, unsigned int n);
/* Of the last row inserted. */
int64_t sqlite_file_last_id(struct sqlite_file *file);

/* text may be NULL; it is copied. */
void sqlite_file_bind_text(sqlite3_stmt *stmt, int n, const char *text);
/* A column of a row, or NULL. */
const char *sqlite_file_text(pool_t pool, sqlite3_stmt *stmt, int column);
/* Run a statement that returns no rows, and reset it. Returns 0 or -1. */
int sqlite_file_run(sqlite3_stmt *stmt);
/* Go to the next row. Returns 1, 0 if there is none, -1. Reset the statement
   when no more is read of it (sqlite3_reset()). */
int sqlite_file_row(sqlite3_stmt *stmt);

#endif
