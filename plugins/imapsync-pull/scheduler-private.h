#ifndef IMAPSYNC_SCHEDULER_PRIVATE_H
#define IMAPSYNC_SCHEDULER_PRIVATE_H

#include "hash.h"
#include "service-private.h"
#include "scheduler.h"

/* An account that is run on push alone and has no watch at the moment is run
   this often, to get one. */
#define SCHEDULER_UNWATCHED_MSECS (15*60*1000)

struct scheduler_account;

struct scheduler_user {
	/* in scheduler->users */
	char *name;
	struct scheduler_account *accounts;
};

/* One account under watch, or about to be. */
struct scheduler_watch {
	/* of the watch client, 0 = it is not watched */
	unsigned int id;
	/* its connection in the budget of the mailbox; as long as id */
	struct run_hold *hold;
	/* news are heard, as far as mode says */
	bool heard;
	enum watch_mode mode;

	/* when it began; when it may begin again */
	uint64_t began, not_before;
	/* watches in a row that ended soon */
	unsigned int failures;
	/* in scheduler->watch_queue */
	struct scheduler_account *queue_prev, *queue_next;
	bool queued;
};

struct scheduler_account {
	struct scheduler_account *prev, *next, *user_prev, *user_next;
	struct scheduler *scheduler;
	struct scheduler_user *user;

	/* as it was set; host and login are NULL if the record is broken */
	char *name, *host, *login;
	unsigned int interval_secs;
	bool enabled, idle;
	/* found at the last reading */
	bool listed;

	struct schedule_record record;
	/* record.text */
	char *text;
	/* NULL = not to be run: it is not enabled, or broken */
	struct due_account *due;
	/* the run that due waits for, else NULL */
	struct run *run;
	/* what due is told when that ends, see scheduler_run_ended() */
	uint64_t next_at;
	/* when its last run ended, 0 = none has yet, as far as we know */
	uint64_t ended_at;

	struct scheduler_watch watch;
};

struct scheduler {
	struct pull_service *service;
	struct event *event;

	int lock_fd;
	/* tries to get the lock and the accounts; reads them again */
	struct timeout *to_start, *to_read;
	bool active, stopped;
	/* it was said already that there is trouble */
	bool lock_error_logged, read_error_logged, db_error_logged;

	/* NULL if it cannot be opened: then all is forgotten with us */
	struct schedule_db *db;
	HASH_TABLE(char *, struct scheduler_user *) users;
	struct scheduler_account *accounts;
	unsigned int account_count;

	struct due_queue *due;
	/* looks who is due */
	struct timeout *to_look;

	/* NULL = nobody is watched */
	struct watch_client *watches;
	unsigned int last_watch_id, watched_count;
	HASH_TABLE(void *, struct scheduler_account *) watched;
	struct scheduler_account *watch_queue_head, *watch_queue_tail;
	struct timeout *to_watch;
};

/* Milliseconds of a clock that never goes back; large enough to count from
   before the machine was started. */
uint64_t scheduler_now(void);
/* Who is due is looked for, soon. */
void scheduler_look_later(struct scheduler *scheduler);

/* scheduler-account.c: the accounts and what is known of them. Both return 0,
   or -1 after having logged why. _load also reads the records, once. */
int scheduler_accounts_load(struct scheduler *scheduler);
int scheduler_accounts_read(struct scheduler *scheduler);
void scheduler_accounts_free(struct scheduler *scheduler);
/* NULL if there is none */
struct scheduler_account *
scheduler_account_find(struct scheduler *scheduler, const char *user,
		       const char *name);
/* What its interval is now, which depends on whether it is watched. */
uint64_t scheduler_account_interval(const struct scheduler_account *account);
/* due is told of it */
void scheduler_account_interval_changed(struct scheduler_account *account);
void scheduler_account_set_text(struct scheduler_account *account,
				const char *text);
/* The record goes into the file. */
void scheduler_account_save(struct scheduler_account *account);

/* scheduler-watch.c */
void scheduler_watch_init(struct scheduler *scheduler);
void scheduler_watch_deinit(struct scheduler *scheduler);
/* TRUE if the account is to be watched and it is possible */
bool scheduler_watch_is_wanted(const struct scheduler_account *account);
/* Watch it, soon, if it is wanted. */
void scheduler_watch_start(struct scheduler_account *account);
void scheduler_watch_stop(struct scheduler_account *account);

#endif
