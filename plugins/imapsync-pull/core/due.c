/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "hash.h"
#include "llist.h"
#include "priorityq.h"
#include "due.h"

enum due_lane {
	DUE_LANE_SHORT,
	DUE_LANE_LONG,
	DUE_LANE_COUNT
};

/* Those of a host that are due in one lane. */
struct due_line {
	/* first, for priorityq: in queue->round of its lane if somebody may
	   start */
	struct priorityq_item item;
	struct due_host *host;

	struct priorityq *accounts;
	/* how many that started from here run */
	unsigned int running;
	/* number of the last start */
	uint64_t turn;
	bool in_round;
};

/* A host is there as long as it has accounts, or runs of accounts that have
   moved elsewhere since. */
struct due_host {
	struct due_queue *queue;
	char *name;
	unsigned int refcount;
	unsigned int running;
	struct due_line lines[DUE_LANE_COUNT];
};

struct due_account {
	/* first, for priorityq: in queue->waiting or its line */
	struct priorityq_item item;
	struct due_account *prev, *next;
	/* in queue->short_runs */
	struct due_account *prev_run, *next_run;
	struct due_queue *queue;

	struct due_host *host;
	uint64_t interval_msecs;
	void *context;

	enum due_state state;
	uint64_t due_at;
	/* number of its last start, or of the last one before it was added */
	uint64_t turn;
	enum due_lane lane;
	/* while it runs: whose place it has, since when, and what it was
	   before */
	struct due_line *place;
	uint64_t started_at;
	uint64_t former_turn;
	bool was_urgent;
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
	/* lines where somebody may start as far as the host goes, by turn */
	struct priorityq *round[DUE_LANE_COUNT];
	unsigned int running, running_long;
	/* what runs in the short lane, by when it started */
	struct {
		struct due_account *head, *tail;
	} short_runs;
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
	const struct due_line *a = p1, *b = p2;

	return due_cmp(a->turn, b->turn);
}

/*
 * Hosts and their lines
 */

static void due_line_init(struct due_line *line, struct due_host *host)
{
	line->host = host;
	line->accounts = priorityq_init(due_cmp_due, 1);
	line->turn = host->queue->turns;
}

static void due_line_deinit(struct due_line *line)
{
	i_assert(!line->in_round && line->running == 0);
	priorityq_deinit(&line->accounts);
}

static enum due_lane due_line_lane(const struct due_line *line)
{
	return line - line->host->lines;
}

static struct due_host *due_host_get(struct due_queue *queue, const char *name)
{
	struct due_host *host = hash_table_lookup(queue->hosts, name);
	unsigned int i;

	if (host == NULL) {
		host = i_new(struct due_host, 1);
		host->queue = queue;
		host->name = i_strdup(name);
		for (i = 0; i < DUE_LANE_COUNT; i++)
			due_line_init(&host->lines[i], host);
		hash_table_insert(queue->hosts, host->name, host);
	}
	host->refcount++;
	return host;
}

static void due_host_unref(struct due_host **_host)
{
	struct due_host *host = *_host;
	unsigned int i;

	*_host = NULL;
	i_assert(host->refcount > 0);
	if (--host->refcount > 0)
		return;
	for (i = 0; i < DUE_LANE_COUNT; i++)
		due_line_deinit(&host->lines[i]);
	hash_table_remove(host->queue->hosts, host->name);
	i_free(host->name);
	i_free(host);
}

/* How many of so many places long runs may take: not a quarter of them. */
static unsigned int due_long_places(unsigned int places)
{
	return places == 1 ? 1 : places - (places + 3) / 4;
}

static bool due_host_has_place(const struct due_host *host, enum due_lane lane)
{
	unsigned int max = host->queue->set.max_per_host;

	if (max == 0)
		return TRUE;
	return host->running < max &&
		(lane == DUE_LANE_SHORT ||
		 host->lines[lane].running < due_long_places(max));
}

static void due_line_update(struct due_line *line)
{
	enum due_lane lane = due_line_lane(line);
	struct priorityq *round = line->host->queue->round[lane];
	bool may_start = priorityq_count(line->accounts) > 0 &&
		due_host_has_place(line->host, lane);

	if (may_start == line->in_round)
		return;
	line->in_round = may_start;
	if (may_start)
		priorityq_add(round, &line->item);
	else
		priorityq_remove(round, &line->item);
}

/* Who runs here has changed: in or out of the rounds. */
static void due_host_update(struct due_host *host)
{
	unsigned int i;

	for (i = 0; i < DUE_LANE_COUNT; i++)
		due_line_update(&host->lines[i]);
}

static void due_line_set_turn(struct due_line *line, uint64_t turn)
{
	/* out of the round and in again: its order there is by turn */
	if (line->in_round) {
		priorityq_remove(line->host->queue->round[due_line_lane(line)],
				 &line->item);
		line->in_round = FALSE;
	}
	line->turn = turn;
	due_line_update(line);
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

static struct due_line *due_get_line(struct due_account *account)
{
	return &account->host->lines[account->lane];
}

static void due_enter_due(struct due_account *account, uint64_t due_at)
{
	struct due_line *line = due_get_line(account);

	account->state = DUE_STATE_DUE;
	account->due_at = due_at;
	priorityq_add(line->accounts, &account->item);
	due_line_update(line);
}

static void due_leave_due(struct due_account *account)
{
	struct due_line *line = due_get_line(account);

	priorityq_remove(line->accounts, &account->item);
	due_line_update(line);
}

/* by: 1 or -1 */
static void due_line_count(struct due_line *line, int by)
{
	struct due_queue *queue = line->host->queue;

	line->running += by;
	line->host->running += by;
	queue->running += by;
	if (due_line_lane(line) == DUE_LANE_LONG)
		queue->running_long += by;
	due_host_update(line->host);
}

static void due_take_place(struct due_account *account, struct due_line *line)
{
	struct due_queue *queue = account->queue;

	account->place = line;
	line->host->refcount++;
	due_line_count(line, 1);
	if (due_line_lane(line) == DUE_LANE_SHORT) {
		DLLIST2_APPEND_FULL(&queue->short_runs.head,
				    &queue->short_runs.tail, account,
				    prev_run, next_run);
	}
}

static void due_leave_place(struct due_account *account)
{
	struct due_queue *queue = account->queue;
	struct due_host *host = account->place->host;

	if (due_line_lane(account->place) == DUE_LANE_SHORT) {
		DLLIST2_REMOVE_FULL(&queue->short_runs.head,
				    &queue->short_runs.tail, account,
				    prev_run, next_run);
	}
	due_line_count(account->place, -1);
	account->place = NULL;
	due_host_unref(&host);
}

static void due_enter_running(struct due_account *account, uint64_t now)
{
	account->state = DUE_STATE_RUNNING;
	account->started_at = now;
	due_take_place(account, due_get_line(account));
}

static void due_leave(struct due_account *account)
{
	switch (account->state) {
	case DUE_STATE_WAITING:
		priorityq_remove(account->queue->waiting, &account->item);
		break;
	case DUE_STATE_DUE:
		due_leave_due(account);
		break;
	case DUE_STATE_RUNNING:
		due_leave_place(account);
		break;
	}
}

/*
 * Queue and accounts
 */

struct due_queue *due_queue_init(const struct due_settings *set, uint64_t seed)
{
	struct due_queue *queue = i_new(struct due_queue, 1);
	unsigned int i;

	i_assert(set->max_running > 0);

	queue->set = *set;
	queue->random = seed;
	hash_table_create(&queue->hosts, default_pool, 0, str_hash, strcmp);
	queue->waiting = priorityq_init(due_cmp_waiting, 128);
	for (i = 0; i < DUE_LANE_COUNT; i++)
		queue->round[i] = priorityq_init(due_cmp_round, 16);
	return queue;
}

void due_queue_deinit(struct due_queue **_queue)
{
	struct due_queue *queue = *_queue;
	struct due_account *account;
	unsigned int i;

	*_queue = NULL;
	if (queue == NULL)
		return;
	while ((account = queue->accounts) != NULL)
		due_remove(&account);
	priorityq_deinit(&queue->waiting);
	for (i = 0; i < DUE_LANE_COUNT; i++)
		priorityq_deinit(&queue->round[i]);
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

void due_expect_long(struct due_account *account)
{
	bool is_due = account->state == DUE_STATE_DUE;

	if (is_due)
		due_leave(account);
	account->lane = DUE_LANE_LONG;
	if (is_due)
		due_enter_due(account, account->due_at);
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

static bool due_runs_long(const struct due_account *account, uint64_t now)
{
	return now - account->started_at >= DUE_LONG_MSECS;
}

/* Nobody expected that they run for long: they take places of the long lane
   now, so that not too many others start there. */
static void due_change_lanes(struct due_queue *queue, uint64_t now)
{
	struct due_account *account;
	struct due_host *host;

	while ((account = queue->short_runs.head) != NULL &&
	       due_runs_long(account, now)) {
		host = account->place->host;
		host->refcount++;
		due_leave_place(account);
		due_take_place(account, &host->lines[DUE_LANE_LONG]);
		due_host_unref(&host);
	}
}

static struct due_line *
due_first_line(struct due_queue *queue, enum due_lane lane)
{
	return (struct due_line *)priorityq_peek(queue->round[lane]);
}

/* Whose turn it is, or NULL. */
static struct due_line *due_next_line(struct due_queue *queue)
{
	struct due_line *line = due_first_line(queue, DUE_LANE_SHORT);
	struct due_line *line_long = due_first_line(queue, DUE_LANE_LONG);
	unsigned int max = queue->set.max_running;

	if (queue->running >= max)
		return NULL;
	if (line_long == NULL || queue->running_long >= due_long_places(max))
		return line;
	return line == NULL || line_long->turn < line->turn ?
		line_long : line;
}

static void due_start(struct due_account *account, uint64_t now)
{
	due_leave(account);
	account->former_turn = account->turn;
	account->was_urgent = account->urgent;
	account->turn = ++account->queue->turns;
	account->again = account->urgent = account->is_spread = FALSE;
	due_enter_running(account, now);
	due_line_set_turn(account->place, account->turn);
}

struct due_account *
due_next(struct due_queue *queue, uint64_t now, uint64_t *look_again_r)
{
	struct due_line *line;
	struct due_account *account;

	due_change_lanes(queue, now);
	*look_again_r = due_collect(queue, now);
	line = due_next_line(queue);
	if (line == NULL)
		return NULL;
	account = (struct due_account *)priorityq_peek(line->accounts);
	due_start(account, now);
	return account;
}

void due_postpone(struct due_account *account, uint64_t until)
{
	i_assert(account->state == DUE_STATE_RUNNING);

	due_leave(account);
	account->turn = account->former_turn;
	account->urgent = account->urgent || account->was_urgent;
	/* it has waited for its place in a crowd */
	account->is_spread = TRUE;
	due_enter_waiting(account, until);
}

/* The next run will be as long as the last one was. */
static void due_set_lane(struct due_account *account, uint64_t now)
{
	if (account->state == DUE_STATE_RUNNING) {
		account->lane = due_runs_long(account, now) ? DUE_LANE_LONG :
			DUE_LANE_SHORT;
	}
}

void due_finished(struct due_account *account, uint64_t now, uint64_t next_at,
		  bool backed_off)
{
	bool again = account->urgent || (account->again && !backed_off);

	due_leave(account);
	due_set_lane(account, now);
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
