/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "ioloop.h"
#include "randgen.h"
#include "time-util.h"
#include "dovecot-compat.h"
#include "imapsync-settings.h"
#include "monotonic.h"
#include "scheduler-private.h"

#include <fcntl.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

/* While another process holds the lock, or the accounts cannot be read. After a
   reload the old process is about to end. */
#define LOCK_RETRY_MSECS 100
#define START_RETRY_MSECS (10*1000)
/* The accounts are read in full now and then: somebody may have changed the
   dict by other means. */
#define READ_INTERVAL_MSECS (10*60*1000)
/* Longest sleep */
#define LOOK_MAX_MSECS (60*60*1000)
/* The account is being pulled by hand, or another one has its mailbox. */
#define TAKEN_RETRY_MSECS 1000
/* A user who opens ten connections at once has logged in once. Any local
   process may say that he has: no account is pulled for it more often than so,
   or than its interval allows. The second one is for those without. */
#define WAKE_MSECS (60*1000)
#define WAKE_PUSHED_MSECS (5*60*1000)
/* before the machine was started */
#define CLOCK_OFFSET_MSECS (1000ULL*365*24*3600*1000)
/* A pull that was stopped, of an account that has no interval to wait for: what
   it was to bring is not here yet. */
#define STOPPED_MSECS (5*60*1000)

uint64_t scheduler_now(void)
{
	return CLOCK_OFFSET_MSECS + monotonic_msecs();
}

/*
 * Runs
 */

static void
scheduler_run_answer(const struct job_line *line ATTR_UNUSED,
		     void *context ATTR_UNUSED)
{
}

static void
scheduler_run_end(const struct worker_job_end *end ATTR_UNUSED, void *context)
{
	struct scheduler_account *account = context;

	account->run = NULL;
	if (account->due != NULL) {
		due_finished(account->due, scheduler_now(), account->next_at,
			     back_off_is_on(&account->record.back_off));
	}
	scheduler_look_later(account->scheduler);
}

static const struct worker_job_handlers scheduler_run_handlers = {
	.answer = scheduler_run_answer,
	.end = scheduler_run_end,
};

static void scheduler_run_start(struct scheduler_account *account)
{
	struct run_queue *queue = account->scheduler->service->queue;
	uint64_t now = scheduler_now();
	const struct run_request request = {
		.command = RUN_COMMAND_RUN,
		.user = account->user->name,
		.account = account->name,
		.host = account->host,
		.login = account->login,
		.scheduled = TRUE,
	};

	if (run_queue_would_wait(queue, &request)) {
		/* it would take the place of one that can run */
		due_postpone(account->due, now + TAKEN_RETRY_MSECS);
		return;
	}
	/* if nothing else is said, because it is stopped */
	account->next_at = now;
	account->run = run_queue_add(queue, &request, &scheduler_run_handlers,
				     account);
}

static void scheduler_look(struct scheduler *scheduler)
{
	struct due_account *due;
	uint64_t now = scheduler_now(), again;

	timeout_remove(&scheduler->to_look);
	while ((due = due_next(scheduler->due, now, &again)) != NULL)
		scheduler_run_start(due_context(due));
	if (again != DUE_NEVER) {
		scheduler->to_look = timeout_add(
			I_MIN(again - I_MIN(again, now), LOOK_MAX_MSECS),
			scheduler_look, scheduler);
	}
}

void scheduler_look_later(struct scheduler *scheduler)
{
	timeout_remove(&scheduler->to_look);
	if (scheduler->active && !scheduler->stopped &&
	    scheduler->service->set->imapsync_pull_schedule) {
		scheduler->to_look = timeout_add_short(0, scheduler_look,
						       scheduler);
	}
}

static void
scheduler_account_take_end(struct scheduler_account *account,
			   const struct worker_job_end *end, unsigned int msecs)
{
	struct schedule_record *record = &account->record;
	time_t now = time(NULL);

	record->last_try = now - msecs / 1000;
	if (end->class == REPLY_CLASS_STOPPED) {
		/* how it is, is not known anew */
		return;
	}
	if (end->class != record->back_off.class || record->since == 0)
		record->since = now;
	if (end->class == REPLY_CLASS_OK ||
	    reply_class_is_contained(end->class))
		record->last_ok = now;
	record->hint = end->hint;
	scheduler_account_set_text(account, end->text);
	record->stored = end->stored;
	record->failed = end->failed;
	record->msecs = msecs;
}

/* When it is run next, and the record with it. */
static void
scheduler_account_wait(struct scheduler_account *account,
		       enum reply_class class, uint64_t msecs)
{
	if (msecs == UINT64_MAX && class == REPLY_CLASS_STOPPED)
		msecs = STOPPED_MSECS;
	if (msecs == UINT64_MAX && scheduler_watch_is_wanted(account) &&
	    account->watch.id == 0)
		msecs = SCHEDULER_UNWATCHED_MSECS;
	if (msecs == UINT64_MAX) {
		account->next_at = DUE_NEVER;
		account->record.next_try = 0;
	} else {
		account->next_at = scheduler_now() + msecs;
		account->record.next_try = time(NULL) + msecs / 1000;
	}
}

/* A run that its asker stopped says nothing about the account. One that ends
   with us, or is ended by "stop" from the schedule, is another matter. */
static bool
scheduler_run_counts(const struct scheduler *scheduler,
		     const struct run_request *request, enum reply_class class)
{
	if (request->command != RUN_COMMAND_RUN || request->dry_run)
		return FALSE;
	return class != REPLY_CLASS_STOPPED ||
		(request->scheduled && !scheduler->stopped);
}

void scheduler_run_ended(struct scheduler *scheduler,
			 const struct run_request *request,
			 const struct worker_job_end *end, unsigned int msecs)
{
	struct scheduler_account *account =
		scheduler_account_find(scheduler, request->user,
				       request->account);
	struct schedule_record *record;

	/* one that is not enabled is refused: that is not how it is */
	if (account == NULL || !account->enabled ||
	    !scheduler_run_counts(scheduler, request, end->class))
		return;
	record = &account->record;
	account->ended_at = scheduler_now();
	scheduler_account_take_end(account, end, msecs);
	scheduler_account_wait(account, end->class,
		back_off_next(&record->back_off, end->class, end->wait_secs,
			      scheduler_account_interval(account),
			      i_rand()));
	scheduler_account_save(account);
	/* else due_finished() comes with the end of the scheduled run: this
	   one, or one that waits for this one */
	if (account->run == NULL && account->due != NULL) {
		due_finished(account->due, scheduler_now(), account->next_at,
			     back_off_is_on(&record->back_off));
		scheduler_look_later(scheduler);
	}
	if (!back_off_is_on(&record->back_off))
		scheduler_watch_start(account);
}

/* Whoever has neither interval nor push is pulled once, logins or not. */
static bool
scheduler_account_may_wake(const struct scheduler_account *account,
			   uint64_t now)
{
	uint64_t msecs = WAKE_PUSHED_MSECS;

	if (account->due == NULL || due_is_running(account->due) ||
	    (account->interval_secs == 0 && !account->idle))
		return FALSE;
	if (account->interval_secs != 0)
		msecs = I_MIN(account->interval_secs * 1000ULL, WAKE_MSECS);
	return now - account->ended_at > msecs;
}

void scheduler_wake_user(struct scheduler *scheduler, const char *user)
{
	struct scheduler_user *suser =
		hash_table_lookup(scheduler->users, user);
	struct scheduler_account *account;
	uint64_t now = scheduler_now();

	if (suser == NULL)
		return;
	for (account = suser->accounts; account != NULL;
	     account = account->user_next) {
		if (scheduler_account_may_wake(account, now))
			due_wake(account->due, DUE_WAKE_NEWS, now);
	}
	scheduler_look_later(scheduler);
}

/*
 * What is said of it
 */

static const char *
scheduler_account_state(const struct scheduler_account *account)
{
	const struct pull_service *service = account->scheduler->service;
	const char *user = account->user->name;

	if (run_queue_is_running(service->queue, user, account->name))
		return "running";
	if (run_queue_has_run(service->queue, user, account->name))
		return "due";
	if (account->host != NULL && !account->enabled)
		return "paused";
	if (account->due == NULL)
		return "failing";
	if (service->set->imapsync_pull_schedule &&
	    due_state(account->due) == DUE_STATE_DUE)
		return "due";
	return back_off_is_on(&account->record.back_off) ?
		"failing" : "waiting";
}

static time_t scheduler_account_next(const struct scheduler_account *account)
{
	uint64_t now = scheduler_now(), at;
	struct timeval tv;

	if (account->due == NULL ||
	    !account->scheduler->service->set->imapsync_pull_schedule)
		return 0;
	at = due_at(account->due);
	if (at == DUE_NEVER)
		return 0;
	i_gettimeofday(&tv);
	/* not a second more now and a second less then */
	return tv.tv_sec + (tv.tv_usec / 1000 +
			    (at > now ? at - now : 0)) / 1000;
}

bool scheduler_get_status(struct scheduler *scheduler, const char *user,
			  const char *name, struct scheduler_status *status_r)
{
	const struct scheduler_account *account =
		scheduler_account_find(scheduler, user, name);

	i_zero(status_r);
	if (account == NULL)
		return FALSE;
	status_r->record = &account->record;
	status_r->state = scheduler_account_state(account);
	status_r->next_try = scheduler_account_next(account);
	status_r->watch = account->watch.heard ?
		watch_mode_name(account->watch.mode) : "";
	return TRUE;
}

static void
scheduler_count(const struct scheduler_account *account,
		struct scheduler_totals *totals)
{
	const char *state = scheduler_account_state(account);
	const struct {
		const char *state;
		unsigned int *count;
	} counts[] = {
		{ "waiting", &totals->waiting }, { "due", &totals->due },
		{ "running", &totals->running }, { "paused", &totals->paused },
	};
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(counts); i++) {
		if (strcmp(state, counts[i].state) == 0)
			(*counts[i].count)++;
	}
	/* whatever it does at the moment */
	if (account->host == NULL) {
		totals->failing++;
		totals->failing_by_class[REPLY_CLASS_CONFIG]++;
	} else if (account->enabled &&
		   back_off_is_on(&account->record.back_off)) {
		totals->failing++;
		totals->failing_by_class[account->record.back_off.class]++;
	}
}

void scheduler_get_totals(struct scheduler *scheduler,
			  struct scheduler_totals *totals_r)
{
	const struct scheduler_account *account;
	struct due_stat stat;

	i_zero(totals_r);
	for (account = scheduler->accounts; account != NULL;
	     account = account->next) T_BEGIN {
		scheduler_count(account, totals_r);
	} T_END;
	totals_r->accounts = scheduler->account_count;
	totals_r->watched = scheduler->watched_count;
	if (scheduler->service->set->imapsync_pull_schedule) {
		due_get_stat(scheduler->due, scheduler_now(), &stat);
		totals_r->oldest_msecs = stat.oldest_msecs;
	}
}

/*
 * Its life
 */

/* Returns 1 if the schedule is ours, 0 if another process has it, -1 after
   having logged why it is not to be had. */
static int scheduler_lock(struct scheduler *scheduler)
{
	const char *path = t_strconcat(
		scheduler->service->set->imapsync_pull_service_dir,
		"/schedule.lock", NULL);

	if (scheduler->active)
		return 1;
	if (scheduler->lock_fd == -1) {
		scheduler->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC,
					  0600);
	}
	if (scheduler->lock_fd != -1 &&
	    flock(scheduler->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return 1;
	if (scheduler->lock_fd != -1 && errno == EWOULDBLOCK)
		return 0;
	if (!scheduler->lock_error_logged) {
		e_error(scheduler->event, "Nothing is pulled by itself: "
			"cannot lock %s: %m", path);
	}
	scheduler->lock_error_logged = TRUE;
	return -1;
}

static void scheduler_read(struct scheduler *scheduler)
{
	(void)scheduler_accounts_read(scheduler);
	scheduler_look_later(scheduler);
}

static void scheduler_start(struct scheduler *scheduler)
{
	int ret = scheduler_lock(scheduler);

	timeout_remove(&scheduler->to_start);
	if (ret == 0) {
		scheduler->to_start = timeout_add_short(LOCK_RETRY_MSECS,
							scheduler_start,
							scheduler);
	} else if (ret < 0 || scheduler_accounts_load(scheduler) < 0) {
		scheduler->to_start = timeout_add(START_RETRY_MSECS,
						  scheduler_start, scheduler);
	} else {
		scheduler->active = TRUE;
		scheduler->to_read = timeout_add(READ_INTERVAL_MSECS,
						 scheduler_read, scheduler);
		scheduler_look_later(scheduler);
	}
}

struct scheduler *scheduler_init(struct pull_service *service)
{
	const struct due_settings due_set = {
		.max_running = service->set->imapsync_pull_max_runs,
		.max_per_host = service->set->imapsync_pull_max_runs_per_host,
	};
	struct scheduler *scheduler = i_new(struct scheduler, 1);

	scheduler->service = service;
	scheduler->event = event_create(service->event);
	scheduler->lock_fd = -1;
	hash_table_create(&scheduler->users, default_pool, 0, str_hash, strcmp);
	scheduler->due = due_queue_init(&due_set, (uint64_t)i_rand() << 32 |
					i_rand());
	scheduler_watch_init(scheduler);
	scheduler->to_start = timeout_add_short(0, scheduler_start, scheduler);
	return scheduler;
}

void scheduler_stop(struct scheduler *scheduler)
{
	scheduler->stopped = TRUE;
	timeout_remove(&scheduler->to_start);
	timeout_remove(&scheduler->to_read);
	timeout_remove(&scheduler->to_look);
	scheduler_watch_deinit(scheduler);
}

void scheduler_deinit(struct scheduler **_scheduler)
{
	struct scheduler *scheduler = *_scheduler;

	if (scheduler == NULL)
		return;
	*_scheduler = NULL;
	i_assert(scheduler->stopped);
	scheduler_accounts_free(scheduler);
	due_queue_deinit(&scheduler->due);
	hash_table_destroy(&scheduler->users);
	if (scheduler->db != NULL)
		schedule_db_close(&scheduler->db);
	/* the lock goes with it */
	i_close_fd(&scheduler->lock_fd);
	event_unref(&scheduler->event);
	i_free(scheduler);
}

bool scheduler_is_active(const struct scheduler *scheduler)
{
	return scheduler->active;
}
