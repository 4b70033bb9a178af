#ifndef IMAPSYNC_REPORT_DB_H
#define IMAPSYNC_REPORT_DB_H

#include "core/report.h"

/* Which accounts fail, and what cred-notify has not acknowledged of that: a
   SQLite file of the service. What was written outlives the process. A crash
   of the machine may take the last of it: the next run finds the account in
   the state it was in before, and says it again.

   Reports are known by their seq, which rises and is never used twice. */

struct report_db;

/* Returns 0, or -1 and error_r. 1 if a file was there that is of no use, for
   it is damaged or written by a newer program: it lies at PATH.aside now, and
   an empty one was opened. error_r says so: worth an error in the log. */
int report_db_open(const char *path, struct report_db **db_r,
		   const char **error_r);
void report_db_close(struct report_db **db);
/* Why the last call failed. */
const char *report_db_get_error(struct report_db *db);

/* Returns 1 if the account failed when it was last heard of, 0, -1. */
int report_db_is_failing(struct report_db *db, const char *account);

/* Take a report up. Its since is not looked at: that is known here.
   before_seq: what has a lower seq may be on its way already and is left as it
   is; of the rest, what this report makes needless is dropped. Returns 1 if
   there is something new to tell, 0 if not (CLEAR or GONE of what did not
   fail), -1. */
int report_db_add(struct report_db *db, const struct report *report,
		  uint64_t before_seq);

/* The first report whose seq is at least this. Strings are from pool. Returns
   1, 0 if there is none, -1. */
int report_db_get(struct report_db *db, pool_t pool, uint64_t min_seq,
		  struct report *report_r, uint64_t *seq_r);
/* All up to this one arrived. Returns 0 or -1. */
int report_db_ack(struct report_db *db, uint64_t seq);

#endif
