/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "crc32.h"
#include "llist.h"
#include "str-sanitize.h"
#include "dovecot-compat.h"
#include "imapsync-settings.h"
#include "scheduler-private.h"

#include <time.h>

/* An account that is watched for everything is run so seldom: the watch may
   have missed something after all. */
#define WATCHED_INTERVAL_SECS (15*60)

/*
 * Accounts
 */

static struct scheduler_user *
scheduler_user_get(struct scheduler *scheduler, const char *name)
{
	struct scheduler_user *user =
		hash_table_lookup(scheduler->users, name);

	if (user == NULL) {
		user = i_new(struct scheduler_user, 1);
		user->name = i_strdup(name);
		hash_table_insert(scheduler->users, user->name, user);
	}
	return user;
}

struct scheduler_account *
scheduler_account_find(struct scheduler *scheduler, const char *user,
		       const char *name)
{
	struct scheduler_user *suser =
		hash_table_lookup(scheduler->users, user);
	struct scheduler_account *account;

	if (suser == NULL)
		return NULL;
	for (account = suser->accounts; account != NULL;
	     account = account->user_next) {
		if (strcmp(account->name, name) == 0)
			return account;
	}
	return NULL;
}

static struct scheduler_account *
scheduler_account_new(struct scheduler *scheduler, const char *user,
		      const char *name)
{
	struct scheduler_account *account = i_new(struct scheduler_account, 1);

	account->scheduler = scheduler;
	account->user = scheduler_user_get(scheduler, user);
	account->name = i_strdup(name);
	account->record.user = account->user->name;
	account->record.account = account->name;
	scheduler_account_set_text(account, "");
	DLLIST_PREPEND(&scheduler->accounts, account);
	DLLIST_PREPEND_FULL(&account->user->accounts, account,
			    user_prev, user_next);
	scheduler->account_count++;
	return account;
}

static void scheduler_account_free(struct scheduler_account *account)
{
	struct scheduler *scheduler = account->scheduler;
	struct scheduler_user *user = account->user;

	/* its end would come to nobody */
	run_abort(&account->run);
	scheduler_watch_stop(account);
	if (account->due != NULL)
		due_remove(&account->due);
	DLLIST_REMOVE(&scheduler->accounts, account);
	DLLIST_REMOVE_FULL(&user->accounts, account, user_prev, user_next);
	scheduler->account_count--;
	if (user->accounts == NULL) {
		hash_table_remove(scheduler->users, user->name);
		i_free(user->name);
		i_free(user);
	}
	i_free(account->name);
	i_free(account->host);
	i_free(account->login);
	i_free(account->text);
	i_free(account);
}

void scheduler_accounts_free(struct scheduler *scheduler)
{
	while (scheduler->accounts != NULL)
		scheduler_account_free(scheduler->accounts);
}

void scheduler_account_set_text(struct scheduler_account *account,
				const char *text)
{
	i_free(account->text);
	account->text = i_strdup(text);
	account->record.text = account->text;
}

/*
 * The file with the records. What it cannot keep is forgotten with us: all
 * accounts are due then, which is no more than a little early.
 */

static void scheduler_db_failed(struct scheduler *scheduler, const char *error)
{
	if (!scheduler->db_error_logged)
		e_error(scheduler->event, "The schedule cannot be kept: %s",
			error);
	scheduler->db_error_logged = TRUE;
}

static void scheduler_db_check(struct scheduler *scheduler, int ret)
{
	if (ret < 0) {
		scheduler_db_failed(scheduler,
				    schedule_db_get_error(scheduler->db));
	} else {
		scheduler->db_error_logged = FALSE;
	}
}

void scheduler_account_save(struct scheduler_account *account)
{
	struct scheduler *scheduler = account->scheduler;

	if (scheduler->db != NULL) {
		scheduler_db_check(scheduler,
			schedule_db_set(scheduler->db, &account->record));
	}
}

static void
scheduler_record_forget(struct scheduler *scheduler, const char *user,
			const char *name)
{
	if (scheduler->db != NULL) {
		scheduler_db_check(scheduler,
			schedule_db_delete(scheduler->db, user, name));
	}
}

static void scheduler_db_open(struct scheduler *scheduler)
{
	const char *error, *path = t_strconcat(
		scheduler->service->set->imapsync_pull_service_dir,
		"/schedule.sqlite", NULL);
	int ret = schedule_db_open(path, &scheduler->db, &error);

	if (ret < 0)
		scheduler_db_failed(scheduler, error);
	else if (ret > 0)
		e_error(scheduler->event, "%s", error);
}

/* It was set: whatever went wrong, went wrong with what is no more. */
static void scheduler_record_renew(struct scheduler_account *account)
{
	struct schedule_record *record = &account->record;

	i_zero(&record->back_off);
	record->hint = REPLY_HINT_NONE;
	record->since = 0;
	record->next_try = time(NULL);
	scheduler_account_set_text(account, "");
	scheduler_account_save(account);
}

static void
scheduler_record_take(struct scheduler *scheduler,
		      const struct schedule_record *record)
{
	struct scheduler_account *account =
		scheduler_account_find(scheduler, record->user,
				       record->account);
	uint32_t fingerprint;

	if (account == NULL) {
		scheduler_record_forget(scheduler, record->user,
					record->account);
		return;
	}
	fingerprint = account->record.fingerprint;
	account->record = *record;
	account->record.user = account->user->name;
	account->record.account = account->name;
	account->record.fingerprint = fingerprint;
	scheduler_account_set_text(account, record->text);
	/* while nobody kept the schedule, or another process did */
	if (record->fingerprint != 0 && record->fingerprint != fingerprint)
		scheduler_record_renew(account);
}

static void scheduler_records_load(struct scheduler *scheduler)
{
	pool_t pool = pool_alloconly_create("imapsync schedule", 64*1024);
	ARRAY_TYPE(schedule_record) records;
	const struct schedule_record *record;
	int ret;

	ret = schedule_db_load(scheduler->db, pool, &records);
	scheduler_db_check(scheduler, ret);
	if (ret == 0) {
		array_foreach(&records, record)
			scheduler_record_take(scheduler, record);
	}
	pool_unref(&pool);
}

/*
 * When they are due
 */

uint64_t scheduler_account_interval(const struct scheduler_account *account)
{
	unsigned int secs = account->interval_secs;

	if (secs != 0 && account->watch.heard &&
	    account->watch.mode != WATCH_MODE_IDLE)
		secs = I_MAX(secs, WATCHED_INTERVAL_SECS);
	return secs * 1000ULL;
}

static void
scheduler_due_settings(const struct scheduler_account *account,
		       struct due_account_settings *set_r)
{
	set_r->host = account->host;
	set_r->interval_msecs = scheduler_account_interval(account);
}

void scheduler_account_interval_changed(struct scheduler_account *account)
{
	struct due_account_settings set;

	if (account->due == NULL)
		return;
	scheduler_due_settings(account, &set);
	due_change(account->due, &set, scheduler_now());
	scheduler_look_later(account->scheduler);
}

/* How long it waits yet, by the record. The clock may have been set since, and
   an interval that was long because the account was watched is not any more:
   it waits no longer than it would have had to. */
static time_t
scheduler_record_wait(const struct scheduler_account *account, time_t now)
{
	const struct schedule_record *record = &account->record;
	time_t wait = record->next_try - now;

	wait = I_MIN(wait, record->next_try - record->last_try);
	if (!back_off_is_on(&record->back_off) && account->interval_secs != 0)
		wait = I_MIN(wait, (time_t)account->interval_secs);
	return I_MIN(wait, I_MAX((time_t)account->interval_secs,
				 BACK_OFF_MAX_ASKED_SECS));
}

static uint64_t
scheduler_account_first_at(const struct scheduler_account *account)
{
	const struct schedule_record *record = &account->record;
	uint64_t now = scheduler_now();
	time_t wait;

	if (record->next_try == 0) {
		/* one that never ended well was stopped */
		return record->last_ok != 0 && account->interval_secs == 0 &&
			!account->idle ? DUE_NEVER : now;
	}
	wait = scheduler_record_wait(account, time(NULL));
	if (wait < 0)
		return now - I_MIN(now, (uint64_t)-wait * 1000);
	return now + (uint64_t)wait * 1000;
}

/* It is due as it has to be, or not at all. */
static void scheduler_account_plan(struct scheduler_account *account)
{
	struct due_account_settings set;

	if (account->host == NULL || !account->enabled) {
		if (account->due != NULL)
			due_remove(&account->due);
	} else if (account->due == NULL) {
		scheduler_due_settings(account, &set);
		account->due = due_add(account->scheduler->due, &set,
			scheduler_account_first_at(account),
			back_off_is_on(&account->record.back_off), account);
		if (account->record.last_ok == 0 ||
		    account->record.msecs >= DUE_LONG_MSECS)
			due_expect_long(account->due);
	} else {
		scheduler_account_interval_changed(account);
	}
}

static void scheduler_account_renew(struct scheduler_account *account)
{
	scheduler_record_renew(account);
	scheduler_watch_stop(account);
	i_zero(&account->watch);
	scheduler_account_plan(account);
	if (account->due != NULL)
		due_wake(account->due, DUE_WAKE_NOW, scheduler_now());
	scheduler_look_later(account->scheduler);
}

/*
 * What the dict says
 */

/* Of everything that was set, secret too. It outlives us: a CRC is the same
   whatever computes it. */
static uint32_t
scheduler_entry_fingerprint(const struct account_entry *entry)
{
	pool_t pool;
	const char *const *settings;
	uint32_t crc;

	if (entry->error != NULL)
		return crc32_str(entry->error);
	pool = pool_alloconly_create("account settings", 2048);
	crc = crc32_str(entry->sealed == NULL ? "" : entry->sealed);
	settings = account_print(pool, &entry->account, FALSE);
	for (; *settings != NULL; settings++)
		crc = crc32_data_more(crc, *settings, strlen(*settings) + 1);
	pool_unref(&pool);
	return crc;
}

static void
scheduler_account_update(struct scheduler_account *account,
			 const struct account_entry *entry)
{
	i_free(account->host);
	i_free(account->login);
	if (entry->error != NULL) {
		e_error(account->scheduler->event, "%s/%s: %s",
			str_sanitize_utf8(account->user->name, 128),
			str_sanitize_utf8(account->name, 64), entry->error);
		account->enabled = FALSE;
		return;
	}
	account->host = i_strdup(entry->account.host);
	account->login = i_strdup(entry->account.login);
	account->interval_secs = entry->account.interval_secs;
	account->enabled = entry->account.enabled;
	account->idle = entry->account.idle[0] != NULL;
}

/* Returns the account if it is new or was changed, else NULL. */
static struct scheduler_account *
scheduler_entry_take(struct scheduler *scheduler,
		     const struct account_entry *entry)
{
	uint32_t fingerprint = scheduler_entry_fingerprint(entry);
	struct scheduler_account *account =
		scheduler_account_find(scheduler, entry->account.user,
				       entry->account.name);
	bool known = account != NULL;

	if (!known) {
		account = scheduler_account_new(scheduler, entry->account.user,
						entry->account.name);
	}
	account->listed = TRUE;
	if (known && account->record.fingerprint == fingerprint)
		return NULL;
	account->record.fingerprint = fingerprint;
	scheduler_account_update(account, entry);
	return account;
}

static void scheduler_accounts_drop(struct scheduler *scheduler)
{
	struct scheduler_account *account, *next;

	for (account = scheduler->accounts; account != NULL; account = next) {
		next = account->next;
		if (!account->listed) T_BEGIN {
			scheduler_account_deleted(scheduler,
				t_strdup(account->user->name),
				t_strdup(account->name));
		} T_END;
	}
}

static void
scheduler_entries_take(struct scheduler *scheduler,
		       const ARRAY_TYPE(account_entry) *entries)
{
	struct scheduler_account *account;
	const struct account_entry *entry;

	for (account = scheduler->accounts; account != NULL;
	     account = account->next)
		account->listed = FALSE;
	array_foreach(entries, entry) T_BEGIN {
		account = scheduler_entry_take(scheduler, entry);
		if (account != NULL && scheduler->active)
			scheduler_account_renew(account);
	} T_END;
	scheduler_accounts_drop(scheduler);
}

int scheduler_accounts_read(struct scheduler *scheduler)
{
	struct pull_service *service = scheduler->service;
	pool_t pool = pool_alloconly_create("imapsync accounts", 64*1024);
	ARRAY_TYPE(account_entry) entries;
	const char *error;
	int ret;

	ret = pull_service_need_store(service, &error);
	if (ret == 0) {
		ret = account_store_list(service->store, pool, "*", &entries,
					 &error);
	}
	if (ret == 0)
		scheduler_entries_take(scheduler, &entries);
	else if (!scheduler->read_error_logged) {
		e_error(scheduler->event, "The accounts cannot be read: %s",
			error);
	}
	scheduler->read_error_logged = ret < 0;
	pool_unref(&pool);
	return ret;
}

int scheduler_accounts_load(struct scheduler *scheduler)
{
	struct scheduler_account *account;

	if (scheduler_accounts_read(scheduler) < 0)
		return -1;
	scheduler_db_open(scheduler);
	if (scheduler->db != NULL)
		scheduler_records_load(scheduler);
	for (account = scheduler->accounts; account != NULL;
	     account = account->next) {
		scheduler_account_plan(account);
		/* what was heard before goes on */
		if (account->record.last_ok != 0 &&
		    !back_off_is_on(&account->record.back_off))
			scheduler_watch_start(account);
	}
	return 0;
}

void scheduler_account_set(struct scheduler *scheduler,
			   const struct account_entry *entry)
{
	struct scheduler_account *account;

	if (!scheduler->active) {
		/* it will be read with all others, and found to be another */
		return;
	}
	account = scheduler_entry_take(scheduler, entry);
	if (account != NULL)
		scheduler_account_renew(account);
}

void scheduler_account_deleted(struct scheduler *scheduler, const char *user,
			       const char *name)
{
	struct scheduler_account *account =
		scheduler_account_find(scheduler, user, name);

	if (account != NULL)
		scheduler_account_free(account);
	if (scheduler->active)
		scheduler_record_forget(scheduler, user, name);
}
