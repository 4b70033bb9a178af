/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "ioloop.h"
#include "llist.h"
#include "str-sanitize.h"
#include "dovecot-compat.h"
#include "imapsync-settings.h"
#include "scheduler-private.h"
#include "watch-client.h"

/* So many are begun at once: each needs its record and its secret, and others
   want to be answered too. */
#define WATCH_BATCH 20
#define WATCH_BATCH_MSECS 50
/* A watch that lasts so long is a good one. Providers hang up after 10 to 30
   minutes. */
#define WATCH_GOOD_MSECS (5*60*1000)
/* until the next one, after the second that was not; doubled each time */
#define WATCH_RETRY_MIN_MSECS (30*1000)
#define WATCH_RETRY_MAX_MSECS (60*60*1000)
/* is a watcher alive? */
#define WATCH_PING_MSECS (30*1000)

static const char *watch_label(const struct scheduler_account *account)
{
	return t_strdup_printf("%s/%s",
			       str_sanitize_utf8(account->user->name, 128),
			       account->name);
}

/*
 * What the watchers say
 */

static void
watch_watching(unsigned int id, enum watch_mode mode, void *context)
{
	struct scheduler *scheduler = context;
	struct scheduler_account *account =
		hash_table_lookup(scheduler->watched, POINTER_CAST(id));

	i_assert(account != NULL);

	e_debug(scheduler->event, "%s: watched: %s", watch_label(account),
		watch_mode_name(mode));
	if (!account->watch.heard)
		scheduler->watched_count++;
	account->watch.heard = TRUE;
	account->watch.mode = mode;
	scheduler_account_interval_changed(account);
	/* what came since the last run, and before this */
	if (account->due != NULL)
		due_wake(account->due, DUE_WAKE_NEWS, scheduler_now());
	scheduler_look_later(scheduler);
}

static void watch_changed(unsigned int id, void *context)
{
	struct scheduler *scheduler = context;
	struct scheduler_account *account =
		hash_table_lookup(scheduler->watched, POINTER_CAST(id));

	i_assert(account != NULL);

	if (account->due != NULL)
		due_wake(account->due, DUE_WAKE_NEWS, scheduler_now());
	scheduler_look_later(scheduler);
}

static void watch_forget(struct scheduler_account *account)
{
	struct scheduler *scheduler = account->scheduler;

	hash_table_remove(scheduler->watched, POINTER_CAST(account->watch.id));
	if (account->watch.heard)
		scheduler->watched_count--;
	account->watch.id = 0;
	account->watch.heard = FALSE;
	run_hold_release(&account->watch.hold);
}

static bool watch_is_refused(enum reply_class class)
{
	return class == REPLY_CLASS_CREDENTIAL ||
		class == REPLY_CLASS_USER_ACTION || class == REPLY_CLASS_TOKEN;
}

/* When the next one may begin. */
static void watch_back_off(struct scheduler_watch *watch, bool refused,
			   unsigned int secs)
{
	uint64_t now = scheduler_now(), wait = 0;
	unsigned int i;

	if (now - watch->began >= WATCH_GOOD_MSECS)
		watch->failures = 0;
	else
		watch->failures++;
	if (refused)
		watch->failures = I_MAX(watch->failures, 2);
	if (watch->failures > 1) {
		wait = WATCH_RETRY_MIN_MSECS;
		for (i = 2; i < watch->failures &&
		     wait < WATCH_RETRY_MAX_MSECS; i++)
			wait *= 2;
		wait = I_MIN(wait, WATCH_RETRY_MAX_MSECS);
	}
	secs = I_MIN(secs, BACK_OFF_MAX_ASKED_SECS);
	watch->not_before = now + I_MAX(wait, secs * 1000ULL);
}

/* With the next run that is good. Who is run on push alone has one for it, at
   this time, unless he is due before. */
static void watch_with_run(struct scheduler_account *account, uint64_t at)
{
	if (account->interval_secs != 0 || account->due == NULL ||
	    back_off_is_on(&account->record.back_off) ||
	    due_state(account->due) != DUE_STATE_WAITING ||
	    due_at(account->due) <= at)
		return;
	due_finished(account->due, scheduler_now(), at, FALSE);
	scheduler_look_later(account->scheduler);
}

static void watch_again(struct scheduler_account *account)
{
	if (back_off_is_on(&account->record.back_off))
		return;
	if (scheduler_now() >= account->watch.not_before)
		scheduler_watch_start(account);
	else
		watch_with_run(account, account->watch.not_before);
}

static void
watch_failed(unsigned int id, enum reply_class class, unsigned int wait_secs,
	     const char *text, void *context)
{
	struct scheduler *scheduler = context;
	struct scheduler_account *account =
		hash_table_lookup(scheduler->watched, POINTER_CAST(id));

	i_assert(account != NULL);

	e_debug(scheduler->event, "%s: not watched any more: %s: %s",
		watch_label(account), reply_class_name(class), text);
	watch_back_off(&account->watch, watch_is_refused(class), wait_secs);
	watch_forget(account);
	scheduler_account_interval_changed(account);
	if (!watch_is_refused(class))
		watch_again(account);
	else if (account->due != NULL) {
		/* a run has the last word: it counts how often it is refused,
		   lest the account be locked out */
		due_wake(account->due, DUE_WAKE_NEWS, scheduler_now());
		scheduler_look_later(scheduler);
	}
}

static const struct watch_handlers watch_handlers = {
	.watching = watch_watching,
	.changed = watch_changed,
	.failed = watch_failed,
};

/*
 * Who is watched
 */

bool scheduler_watch_is_wanted(const struct scheduler_account *account)
{
	const struct scheduler *scheduler = account->scheduler;

	return account->idle && account->due != NULL &&
		scheduler->watches != NULL && !scheduler->stopped;
}

/* Returns FALSE if it cannot be watched at the moment. */
static bool watch_try(struct scheduler_account *account)
{
	struct scheduler *scheduler = account->scheduler;
	struct scheduler_watch *watch = &account->watch;
	unsigned int id = scheduler->last_watch_id + 1;
	struct run_job job;
	const char *error;

	watch->hold = run_queue_hold(scheduler->service->queue, account->host,
				     account->login);
	if (watch->hold == NULL)
		return FALSE;
	i_zero(&job);
	if (pull_service_prepare_watch(scheduler->service, account->user->name,
				       account->name, id, &job, &error) < 0) {
		e_debug(scheduler->event, "%s: cannot be watched: %s",
			watch_label(account), error);
		run_hold_release(&watch->hold);
	} else {
		scheduler->last_watch_id = watch->id = id;
		watch->began = scheduler_now();
		hash_table_insert(scheduler->watched, POINTER_CAST(id),
				  account);
		watch_client_add(scheduler->watches, id, job.pool, job.line);
	}
	if (job.pool != NULL)
		pool_unref(&job.pool);
	return watch->id != 0;
}

static void watch_begin(struct scheduler_account *account)
{
	if (!scheduler_watch_is_wanted(account) || account->watch.id != 0)
		return;
	if (!watch_try(account)) {
		watch_with_run(account,
			       scheduler_now() + SCHEDULER_UNWATCHED_MSECS);
	}
}

static void watch_queue_remove(struct scheduler_account *account)
{
	struct scheduler *scheduler = account->scheduler;

	if (!account->watch.queued)
		return;
	account->watch.queued = FALSE;
	DLLIST2_REMOVE_FULL(&scheduler->watch_queue_head,
			    &scheduler->watch_queue_tail, account,
			    watch.queue_prev, watch.queue_next);
}

static void watch_work(struct scheduler *scheduler)
{
	struct scheduler_account *account;
	unsigned int i;

	timeout_remove(&scheduler->to_watch);
	for (i = 0; i < WATCH_BATCH; i++) {
		account = scheduler->watch_queue_head;
		if (account == NULL)
			return;
		watch_queue_remove(account);
		T_BEGIN {
			watch_begin(account);
		} T_END;
	}
	scheduler->to_watch = timeout_add_short(WATCH_BATCH_MSECS, watch_work,
						scheduler);
}

void scheduler_watch_start(struct scheduler_account *account)
{
	struct scheduler *scheduler = account->scheduler;
	struct scheduler_watch *watch = &account->watch;

	if (!scheduler_watch_is_wanted(account) || watch->id != 0 ||
	    watch->queued || scheduler_now() < watch->not_before)
		return;
	watch->queued = TRUE;
	DLLIST2_APPEND_FULL(&scheduler->watch_queue_head,
			    &scheduler->watch_queue_tail, account,
			    watch.queue_prev, watch.queue_next);
	if (scheduler->to_watch == NULL) {
		scheduler->to_watch = timeout_add_short(0, watch_work,
							scheduler);
	}
}

void scheduler_watch_stop(struct scheduler_account *account)
{
	watch_queue_remove(account);
	if (account->watch.id != 0) {
		watch_client_remove(account->scheduler->watches,
				    account->watch.id);
		watch_forget(account);
	}
}

void scheduler_watch_init(struct scheduler *scheduler)
{
	struct pull_service *service = scheduler->service;
	const struct imapsync_settings *set = service->set;

	hash_table_create_direct(&scheduler->watched, default_pool, 0);
	/* with one connection for each mailbox there is none to spare */
	if (!set->imapsync_pull_schedule ||
	    set->imapsync_pull_watch_processes == 0 ||
	    set->imapsync_pull_connections_per_mailbox < 2)
		return;
	scheduler->watches = watch_client_init(
		t_strconcat(service->base_dir, "/"JOB_SOCKET_WATCH, NULL),
		set->imapsync_pull_watch_processes, WATCH_PING_MSECS,
		&watch_handlers, scheduler);
}

void scheduler_watch_deinit(struct scheduler *scheduler)
{
	struct scheduler_account *account;

	for (account = scheduler->accounts; account != NULL;
	     account = account->next)
		scheduler_watch_stop(account);
	timeout_remove(&scheduler->to_watch);
	if (scheduler->watches != NULL)
		watch_client_deinit(&scheduler->watches);
	hash_table_destroy(&scheduler->watched);
}
