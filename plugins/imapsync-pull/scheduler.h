#ifndef IMAPSYNC_SCHEDULER_H
#define IMAPSYNC_SCHEDULER_H

#include "account-store.h"
#include "run-queue.h"
#include "schedule-db.h"
#include "core/due.h"
#include "core/watch-fsm.h"

/* Which account is pulled when: it reads the accounts, hands those that are due
   to the run queue, takes up how their runs ended, and has those watched that
   want to hear of news at once. What it knows outlives the process, see
   schedule-db.h.

   Of all processes of the service one keeps the schedule, whoever holds the
   lock in the service's directory; another one waits for it. Where
   imapsync_pull_schedule is off, it starts nothing, but keeps the records. */

struct pull_service;
struct scheduler;

struct scheduler_status {
	/* what is known of its runs */
	const struct schedule_record *record;
	/* "waiting", "due", "running", "failing", "paused" */
	const char *state;
	/* wall clock, 0 = when woken */
	time_t next_try;
	/* "" or a watch_mode_name() */
	const char *watch;
};

struct scheduler_totals {
	unsigned int accounts, waiting, due, running, failing, paused, watched;
	/* how long the one has been due that has been due for longest */
	uint64_t oldest_msecs;
	/* of those failing */
	unsigned int failing_by_class[REPLY_CLASS_COUNT];
};

/* It begins to work in the main loop. */
struct scheduler *scheduler_init(struct pull_service *service);
/* The runs go on, and count no more: end them before the scheduler, with
   scheduler_stop() before that. */
void scheduler_deinit(struct scheduler **scheduler);
/* Start nothing more. Runs that are stopped from now on are due at once for
   whoever keeps the schedule next. */
void scheduler_stop(struct scheduler *scheduler);

/* FALSE while another process keeps the schedule, or the accounts cannot be
   read: then nothing is known of any. */
bool scheduler_is_active(const struct scheduler *scheduler);

/* An account was written or deleted. It is run at once, unless it is not
   enabled. Runs of one that is deleted must have been ended. */
void scheduler_account_set(struct scheduler *scheduler,
			   const struct account_entry *entry);
void scheduler_account_deleted(struct scheduler *scheduler, const char *user,
			       const char *name);
/* There may be something new for a user: somebody has logged in. Whoever was
   pulled just now is not pulled again for it. */
void scheduler_wake_user(struct scheduler *scheduler, const char *user);
/* A run ended, whoever asked for it. */
void scheduler_run_ended(struct scheduler *scheduler,
			 const struct run_request *request,
			 const struct worker_job_end *end, unsigned int msecs);

/* Returns FALSE if there is no such account. What status_r points to may change
   as soon as the main loop runs. */
bool scheduler_get_status(struct scheduler *scheduler, const char *user,
			  const char *name, struct scheduler_status *status_r);
void scheduler_get_totals(struct scheduler *scheduler,
			  struct scheduler_totals *totals_r);

#endif
