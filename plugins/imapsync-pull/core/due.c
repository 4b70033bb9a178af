/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "hash.h"
#include "llist.h"
#include "priorityq.h"
#include "due.h"

/* A host is there as long as it has accounts, or runs of accounts that have
   moved elsewhere since. */
struct due_host {
	/* first, for priorityq: in queue->round if somebody may start here */
	struct priorityq_item item;
	struct due_queue *queue;

	char *name;
	unsigned int refcount;
	/* its accounts that are due */
	struct priorityq *due;
	unsigned int running;
	/* number of the last start here */
	uint64_t turn;
	bool in_round;
};

struct due_account {
	/* first, for priorityq: in queue->waiting or host->due */
	struct priorityq_item item;
	struct due_account *prev, *next;
	struct due_queue *queue;

	struct due_host *host;
	/* whose place it has, NULL = it does not run */
	struct due_host *running_on;
	uint64_t interval_msecs;
	void *context;

	enum due_state state;
	uint64_t due_at;
	/* number of its last start, or of the last one before it was added */
	uint64_t turn;
	/* woken while it runs */
	bool again;
	/* by DUE_WAKE_NOW */
	bool urgent;
	bool backed_off;
	/* was late, and has its place in the crowd */
	bool is_spread;
};

struct due_queue {
	struct due_settings set;
	uint64_t random;

	struct due_account *accounts;
	HASH_TABLE(char *, struct due_host *) hosts;
	/* accounts, by due_at */
	struct priorityq *waiting;
	/* hosts that have somebody due and a free place, by turn */
	struct priorityq *round;
	unsigned int running;
	/* starts so far */
	uint64_t turns;
};

/*
 * Order
 */

static int due_cmp(uint64_t a, uint64_t b)
{
	return a < b ? -1 : (a > b ? 1 : 0);
}

static int due_cmp_waiting(const void *p1, const void *p2)
{
	const struct due_account *a = p1, *b = p2;

	return due_cmp(a->due_at, b->due_at);
}

static int due_cmp_due(const void *p1, const void *p2)
{
	const struct due_account *a = p1, *b = p2;

	if (a->urgent != b->urgent)
		return a->urgent ? -1 : 1;
	if (a->turn != b->turn)
		return due_cmp(a->turn, b->turn);
	/* neither has started yet */
	return due_cmp(a->due_at, b->due_at);
}

static int due_cmp_round(const void *p1, const void *p2)
{
	const struct due_host *a = p1, *b = p2;

	return due_cmp(a->turn, b->turn);
}

/*
 * Hosts
 */

static struct due_host *due_host_get(struct due_queue *queue, const char *name)
{
	struct due_host *host = hash_table_lookup(queue->hosts, name);

	if (host == NULL) {
		host = i_new(struct due_host, 1);
		host->queue = queue;
		host->name = i_strdup(name);
		host->due = priorityq_init(due_cmp_due, 1);
		host->turn = queue->turns;
		hash_table_insert(queue->hosts, host->name, host);
	}
	host->refcount++;
	return host;
}

static void due_host_unref(struct due_host **_host)
{
	struct due_host *host = *_host;

	*_host = NULL;
	i_assert(host->refcount > 0);
	if (--host->refcount > 0)
		return;
	i_assert(!host->in_round && host->running == 0);
	hash_table_remove(host->queue->hosts, host->name);
	priorityq_deinit(&host->due);
	i_free(host->name);
	i_free(host);
}

static bool due_host_may_start(const struct due_host *host)
{
	unsigned int max = host->queue->set.max_per_host;

	return priorityq_count(host->due) > 0 &&
		(max == 0 || host->running < max);
}

/* Who is due or runs here has changed: in or out of the round. */
static void due_host_update(struct due_host *host)
{
	bool may_start = due_host_may_start(host);

	if (may_start == host->in_round)
		return;
	host->in_round = may_start;
	if (may_start)
		priorityq_add(host->queue->round, &host->item);
	else
		priorityq_remove(host->queue->round, &host->item);
}

static void due_host_set_turn(struct due_host *host, uint64_t turn)
{
	if (host->in_round)
		priorityq_remove(host->queue->round, &host->item);
	host->turn = turn;
	if (host->in_round)
		priorityq_add(host->queue->round, &host->item);
}

/*
 * States of an account: it leaves the one before it enters another.
 */

static void due_enter_waiting(struct due_account *account, uint64_t due_at)
{
	account->state = DUE_STATE_WAITING;
	account->due_at = due_at;
	priorityq_add(account->queue->waiting, &account->item);
}

static void due_enter_due(struct due_account *account, uint64_t due_at)
{
	account->state = DUE_STATE_DUE;
	account->due_at = due_at;
	priorityq_add(account->host->due, &account->item);
	due_host_update(account->host);
}

static void due_enter_running(struct due_account *account)
{
	struct due_host *host = account->host;

	account->state = DUE_STATE_RUNNING;
	account->running_on = host;
	host->refcount++;
	host->running++;
	account->queue->running++;
	due_host_update(host);
}

static void due_leave_running(struct due_account *account)
{
	account->running_on->running--;
	account->queue->running--;
	due_host_update(account->running_on);
	due_host_unref(&account->running_on);
}

static void due_leave(struct due_account *account)
{
	switch (account->state) {
	case DUE_STATE_WAITING:
		priorityq_remove(account->queue->waiting, &account->item);
		break;
	case DUE_STATE_DUE:
		priorityq_remove(account->host->due, &account->item);
		due_host_update(account->host);
		break;
	case DUE_STATE_RUNNING:
		due_leave_running(account);
		break;
	}
}

/*
 * Queue and accounts
 */

struct due_queue *due_queue_init(const struct due_settings *set, uint64_t seed)
{
	struct due_queue *queue = i_new(struct due_queue, 1);

	i_assert(set->max_running > 0);
	queue->set = *set;
	queue->random = seed;
	hash_table_create(&queue->hosts, default_pool, 0, str_hash, strcmp);
	queue->waiting = priorityq_init(due_cmp_waiting, 128);
	queue->round = priorityq_init(due_cmp_round, 16);
	return queue;
}

void due_queue_deinit(struct due_queue **_queue)
{
	struct due_queue *queue = *_queue;
	struct due_account *account;

	*_queue = NULL;
	if (queue == NULL)
		return;
	while ((account = queue->accounts) != NULL)
		due_remove(&account);
	priorityq_deinit(&queue->waiting);
	priorityq_deinit(&queue->round);
	hash_table_destroy(&queue->hosts);
	i_free(queue);
}

/* A new one counts as started just now: whoever waits already goes first, so
   that an unending row of new ones starves nobody. */
struct due_account *
due_add(struct due_queue *queue, const struct due_account_settings *set,
	uint64_t due_at, bool backed_off, void *context)
{
	struct due_account *account = i_new(struct due_account, 1);

	account->queue = queue;
	account->host = due_host_get(queue, set->host);
	account->interval_msecs = set->interval_msecs;
	account->context = context;
	account->turn = queue->turns;
	account->backed_off = backed_off;
	DLLIST_PREPEND(&queue->accounts, account);
	due_enter_waiting(account, due_at);
	return account;
}

void due_remove(struct due_account **_account)
{
	struct due_account *account = *_account;

	*_account = NULL;
	if (account == NULL)
		return;
	due_leave(account);
	due_host_unref(&account->host);
	DLLIST_REMOVE(&account->queue->accounts, account);
	i_free(account);
}

static void due_change_host(struct due_account *account, const char *name)
{
	bool is_due = account->state == DUE_STATE_DUE;

	if (strcmp(account->host->name, name) == 0)
		return;
	if (is_due)
		due_leave(account);
	due_host_unref(&account->host);
	account->host = due_host_get(account->queue, name);
	if (is_due)
		due_enter_due(account, account->due_at);
}

/* When it is due if the same wait is one of another interval. */
static uint64_t
due_shift(const struct due_account *account, uint64_t interval, uint64_t now)
{
	if (interval == 0)
		return DUE_NEVER;
	if (account->interval_msecs == 0 || account->due_at == DUE_NEVER)
		return now + interval;
	if (account->due_at + interval < now + account->interval_msecs)
		return now;
	return account->due_at + interval - account->interval_msecs;
}

static void
due_change_interval(struct due_account *account, uint64_t interval,
		    uint64_t now)
{
	if (account->interval_msecs == interval)
		return;
	if (account->state == DUE_STATE_WAITING && !account->backed_off) {
		due_leave(account);
		due_enter_waiting(account, due_shift(account, interval, now));
	}
	account->interval_msecs = interval;
}

void due_change(struct due_account *account,
		const struct due_account_settings *set, uint64_t now)
{
	due_change_host(account, set->host);
	due_change_interval(account, set->interval_msecs, now);
}

static void
due_wake_waiting(struct due_account *account, enum due_wake wake, uint64_t now)
{
	if (wake == DUE_WAKE_NEWS && account->backed_off)
		return;
	due_leave(account);
	account->urgent = wake == DUE_WAKE_NOW;
	due_enter_due(account, now);
}

static void due_wake_due(struct due_account *account, enum due_wake wake)
{
	if (wake == DUE_WAKE_NEWS)
		return;
	due_leave(account);
	account->urgent = TRUE;
	due_enter_due(account, account->due_at);
}

void due_wake(struct due_account *account, enum due_wake wake, uint64_t now)
{
	switch (account->state) {
	case DUE_STATE_WAITING:
		due_wake_waiting(account, wake, now);
		break;
	case DUE_STATE_DUE:
		due_wake_due(account, wake);
		break;
	case DUE_STATE_RUNNING:
		account->again = TRUE;
		if (wake == DUE_WAKE_NOW)
			account->urgent = TRUE;
		break;
	}
}

/*
 * Start and end
 */

/* SplitMix64 (Steele, Lea, Flood 2014): good enough to spread, and the same
   everywhere. */
static uint64_t due_random(struct due_queue *queue, uint64_t limit)
{
	uint64_t z = (queue->random += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return (z ^ (z >> 31)) % limit;
}

/* How long one that is late is spread over, 0 = it is due. */
static uint64_t due_window(const struct due_account *account, uint64_t now)
{
	uint64_t late = now - account->due_at;

	if (account->is_spread || late < DUE_LATE_MSECS)
		return 0;
	if (account->interval_msecs > 0)
		late = I_MIN(late, account->interval_msecs);
	return I_MIN(late, DUE_SPREAD_MAX_MSECS);
}

/* Its time has come. */
static void due_arrive(struct due_account *account, uint64_t now)
{
	uint64_t window = due_window(account, now);

	due_leave(account);
	if (window == 0) {
		due_enter_due(account, account->due_at);
		return;
	}
	account->is_spread = TRUE;
	due_enter_waiting(account, now + due_random(account->queue, window));
}

static struct due_account *due_first_waiting(struct due_queue *queue)
{
	return (struct due_account *)priorityq_peek(queue->waiting);
}

/* Whose time has come, places or not: late is only whom nobody asked for. */
static uint64_t due_collect(struct due_queue *queue, uint64_t now)
{
	struct due_account *account;

	while ((account = due_first_waiting(queue)) != NULL) {
		if (account->due_at > now || account->due_at == DUE_NEVER)
			return account->due_at;
		due_arrive(account, now);
	}
	return DUE_NEVER;
}

static void due_start(struct due_account *account)
{
	due_leave(account);
	account->turn = ++account->queue->turns;
	account->again = account->urgent = account->is_spread = FALSE;
	due_enter_running(account);
	due_host_set_turn(account->host, account->turn);
}

struct due_account *
due_next(struct due_queue *queue, uint64_t now, uint64_t *look_again_r)
{
	struct due_host *host;
	struct due_account *account;

	*look_again_r = due_collect(queue, now);
	if (queue->running >= queue->set.max_running)
		return NULL;
	host = (struct due_host *)priorityq_peek(queue->round);
	if (host == NULL)
		return NULL;
	account = (struct due_account *)priorityq_peek(host->due);
	due_start(account);
	return account;
}

void due_finished(struct due_account *account, uint64_t now, uint64_t next_at,
		  bool backed_off)
{
	bool again = account->urgent || (account->again && !backed_off);

	due_leave(account);
	account->again = account->is_spread = FALSE;
	account->backed_off = backed_off;
	if (again)
		due_enter_due(account, now);
	else
		due_enter_waiting(account, next_at);
}

/*
 * Looking at it
 */

void *due_context(const struct due_account *account)
{
	return account->context;
}

enum due_state due_state(const struct due_account *account)
{
	return account->state;
}

bool due_is_running(const struct due_account *account)
{
	return account->state == DUE_STATE_RUNNING;
}

uint64_t due_at(const struct due_account *account)
{
	return account->due_at;
}

static void
due_stat_add(struct due_stat *stat, const struct due_account *account,
	     uint64_t now)
{
	stat->accounts++;
	if (account->state == DUE_STATE_RUNNING) {
		stat->running++;
	} else if (account->due_at > now || account->due_at == DUE_NEVER) {
		stat->waiting++;
	} else {
		stat->due++;
		stat->oldest_msecs = I_MAX(stat->oldest_msecs,
					   now - account->due_at);
	}
}

void due_get_stat(const struct due_queue *queue, uint64_t now,
		  struct due_stat *stat_r)
{
	const struct due_account *account;

	i_zero(stat_r);
	for (account = queue->accounts; account != NULL;
	     account = account->next)
		due_stat_add(stat_r, account, now);
}
