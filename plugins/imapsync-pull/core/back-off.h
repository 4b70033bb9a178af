#ifndef IMAPSYNC_BACK_OFF_H
#define IMAPSYNC_BACK_OFF_H

#include "reply-class.h"

/* How long an account waits after a run, by how the run ended. Pure.

   | class                          | waits                            |
   |--------------------------------|----------------------------------|
   | ok, folder, message            | its interval                     |
   | network, dns, server, protocol | 15 s, 30 s, 1, 2, 5, 15 min      |
   | tls                            | the same, then 1 h               |
   | throttled                      | 2 min, doubling up to 1 h        |
   | credential, user_action, token | 5 min, 15 min, 1 h, 3 h, 6 h     |
   | local, quota                   | 1 min, doubling up to 30 min     |
   | config, policy                 | 1 h                              |
   | busy                           | 10 s, doubling up to 1 min       |
   | stopped                        | what it waited for before        |

   The last of these goes on for ever: nothing disables an account. An account
   whose interval is longer than the last of these waits for its interval
   then. What a server asked to wait is the least it gets.

   Chance takes up to a tenth off each wait, so that what failed together does
   not come back together; to what a server asked for, it adds that much.

   A refused login is tried 6 times in the first 10 hours and 4 times a day from
   then on, which locks nobody out; it counts on across failures of other
   kinds, until a login works. */

/* No wait asked for is longer than this. */
#define BACK_OFF_MAX_ASKED_SECS (24 * 3600)

/* Zeroed: all is well. Zero it when the account is set anew. */
struct back_off {
	/* how the last run ended; one that was stopped does not count */
	enum reply_class class;
	/* runs in a row that failed and wait in the same way */
	unsigned int failures;
	/* logins refused since the last one that worked */
	unsigned int refusals;
};

/* A run ended.

   wait_secs: what the server asked for, 0 = nothing
   interval_msecs: of the account, 0 = it runs only when woken
   chance: any number, each as likely

   Returns milliseconds to wait from the end of the run, UINT64_MAX = until it
   is woken (never after a failure). */
uint64_t back_off_next(struct back_off *state, enum reply_class class,
		       unsigned int wait_secs, uint64_t interval_msecs,
		       uint32_t chance);

/* TRUE if it waits because it failed. */
bool back_off_is_on(const struct back_off *state);

#endif
