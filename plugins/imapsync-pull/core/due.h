#ifndef IMAPSYNC_DUE_H
#define IMAPSYNC_DUE_H

/* Who is to be pulled next. Pure: time and chance are arguments. Times are
   milliseconds of a clock that never goes back; what it counts from does not
   matter.

   An account waits until it is due, is due until it has a place to run, and
   runs. Who is due starts in this order:
   - hosts take turns: of those that have somebody due and a free place, the one
     that has started nobody for longest;
   - within a host, who was woken with DUE_WAKE_NOW, then who has not started
     for longest.
   Who is expected to run for long (his last run took DUE_LONG_MSECS, or
   due_expect_long() says so) has a lane of his own: the same order, but a
   quarter of all places, and of those of each host, is not for him. So a
   hundred first pulls that take hours, or servers that hang, delay no others.

   While somebody is due, each other host starts at most one account of each
   lane per turn of his host, and each other account of his host and lane starts
   at most once before him (unless it is woken with DUE_WAKE_NOW). Say n
   accounts of his host and h hosts have somebody due in his lane; m is the
   quarter of all places, p that of his host; and no run of those who are not
   expected to run for long takes longer than t. Then, if he is not either, he
   starts within
	t * (n * h / m + n / p + 8)
   however often others are woken. If he is, he waits for others like him. (A
   single place is everybody's: there, one long run delays all.)

   A crowd that is late, because nobody asked for long (an outage, a machine
   that slept), is spread by chance: each over as long as he is late, at most
   over his interval, at most over DUE_SPREAD_MAX_MSECS. So after an outage
   accounts start at the rate they always do. Who is woken is never late.

   All functions are O(log n), but for due_get_stat(), which is O(n). */

#define DUE_SPREAD_MAX_MSECS (5 * 60 * 1000ULL)
/* who is less late than this is no crowd */
#define DUE_LATE_MSECS 1000ULL
/* a run of this length is a long one */
#define DUE_LONG_MSECS (20 * 1000ULL)
/* due when woken, and not before */
#define DUE_NEVER UINT64_MAX

struct due_queue;
struct due_account;

struct due_settings {
	/* how many may run at once, at least 1 */
	unsigned int max_running;
	/* of these on one host, 0 = no limit */
	unsigned int max_per_host;
};

struct due_account_settings {
	/* what max_per_host counts: compared by byte, so give it in lower
	   case; copied */
	const char *host;
	/* 0 = runs only when woken */
	uint64_t interval_msecs;
};

enum due_state {
	DUE_STATE_WAITING,
	DUE_STATE_DUE,
	DUE_STATE_RUNNING,
};

enum due_wake {
	/* there may be something new (a push, a login): does nothing while the
	   account is backed off */
	DUE_WAKE_NEWS,
	/* somebody said so, or the account was set anew: whatever it waits for,
	   and before all others of its host */
	DUE_WAKE_NOW,
};

struct due_stat {
	unsigned int accounts, waiting, due, running;
	/* how long one has been due and not started, the longest of all */
	uint64_t oldest_msecs;
};

/* seed: for spreading */
struct due_queue *
due_queue_init(const struct due_settings *set, uint64_t seed);
/* Removes the accounts that are left. */
void due_queue_deinit(struct due_queue **queue);

/* due_at: may be past, DUE_NEVER = when woken.
   backed_off: it failed, and shall not be tried before without need. */
struct due_account *
due_add(struct due_queue *queue, const struct due_account_settings *set,
	uint64_t due_at, bool backed_off, void *context);
/* Running or not: its place is free then. */
void due_remove(struct due_account **account);

/* Until a run shows it, nobody is expected to run for long: say so of a first
   pull, or if its last run, by another process, took DUE_LONG_MSECS. */
void due_expect_long(struct due_account *account);

/* The settings are others now. One that waits for its interval waits for the
   new one, from when the wait began; one that is backed off goes on waiting;
   one that runs keeps its place on the host where it started. */
void due_change(struct due_account *account,
		const struct due_account_settings *set, uint64_t now);

/* It is due at once; if it runs, it is due again when that run has ended, once,
   however often it was woken. */
void due_wake(struct due_account *account, enum due_wake wake, uint64_t now);

/* Who starts next: it runs from now on, until due_finished(). Call it again
   until it returns NULL, which means that nobody may start now.
   look_again_r: when somebody will be due next: ask again then, and after any
   other call that changes something. DUE_NEVER = only after these. */
struct due_account *
due_next(struct due_queue *queue, uint64_t now, uint64_t *look_again_r);

/* It cannot start after all, since something else has its mailbox: it is due
   again at until, and all else is as it was before due_next(). */
void due_postpone(struct due_account *account, uint64_t until);

/* Its run ended, and it is due next at next_at (DUE_NEVER = when woken). Runs
   that it has missed meanwhile are skipped. Unless it was woken meanwhile: then
   it is due at once (if backed_off, only by DUE_WAKE_NOW).

   An account that does not run may be finished too: it was run by other
   hands. */
void due_finished(struct due_account *account, uint64_t now, uint64_t next_at,
		  bool backed_off);

void *due_context(const struct due_account *account);
enum due_state due_state(const struct due_account *account);
bool due_is_running(const struct due_account *account);
/* When it is due, or since when it was before it started. */
uint64_t due_at(const struct due_account *account);

void due_get_stat(const struct due_queue *queue, uint64_t now,
		  struct due_stat *stat_r);

#endif
