#ifndef IMAPSYNC_SCHEDULE_DB_H
#define IMAPSYNC_SCHEDULE_DB_H

#include "core/back-off.h"

/* When each account was run, how that ended and when it is run next: a SQLite
   file of the service. What was set outlives the process, at whatever instant
   it is killed. A crash of the machine may take the last of it: accounts are
   run earlier than they had to be then. */

struct schedule_db;

/* Times are wall clock, seconds; 0 = never. */
struct schedule_record {
	const char *user, *account;
	time_t last_try, last_ok;
	/* 0 = when woken. The clock may have jumped since: whoever loads it
	   decides what is too far off to be true. */
	time_t next_try;
	/* since when the class has been what it is */
	time_t since;
	struct back_off back_off;
	enum reply_hint hint;
	/* what went wrong, printable; "" if all is well */
	const char *text;
	/* of the last run: messages stored, messages that failed, its length */
	unsigned int stored, failed, msecs;
	/* of the settings and the secret all this was found with, 0 = not
	   known */
	uint32_t fingerprint;
};
ARRAY_DEFINE_TYPE(schedule_record, struct schedule_record);

/* Returns 0, or -1 and error_r. 1 if a file was there that is of no use, for
   it is damaged or written by a newer program: it lies at PATH.aside now, and
   an empty one was opened. error_r says so: worth an error in the log. */
int schedule_db_open(const char *path, struct schedule_db **db_r,
		     const char **error_r);
void schedule_db_close(struct schedule_db **db);
/* Why the last call failed. */
const char *schedule_db_get_error(struct schedule_db *db);

/* All records, in no order; array and strings are from pool. Returns 0 or
   -1. */
int schedule_db_load(struct schedule_db *db, pool_t pool,
		     ARRAY_TYPE(schedule_record) *records_r);
/* Insert or replace. Returns 0 or -1. */
int schedule_db_set(struct schedule_db *db,
		    const struct schedule_record *record);
/* Returns 0, there or not, or -1. */
int schedule_db_delete(struct schedule_db *db, const char *user,
		       const char *account);

#endif
