/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "priorityq.h"
#include "core/back-off.h"
#include "core/due.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

/* Ten hours of 10,000 accounts on 50 hosts, a tenth of them failing in
   different ways: the queue and the back-off together, with pushes, long runs
   foreseen or not, a restart, an outage, a clock that jumps, and five hundred
   first pulls at once. */

#define ACCOUNTS 10000
#define HOSTS 50
#define MAX_RUNNING 100
#define MAX_PER_HOST 4

#define SECOND 1000ULL
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DURATION (10 * HOUR)

#define LONG_RUN (10 * MINUTE)
/* How long one may have been due when it starts. Most of it is the rare host
   where runs that nobody expected to be long have all places. */
#define USUAL_BOUND (5 * MINUTE)
/* While first pulls have all places of a host but one, such a run that has that
   one delays the others until it ends. */
#define PULLS_BOUND LONG_RUN
/* one of the first pulls: 500 of them at once, and 3 places on a host */
#define LONG_BOUND (2 * HOUR)

struct sim_account {
	/* first, for priorityq: in sim.runs, by end */
	struct priorityq_item item;
	struct due_account *due;
	struct due_account_settings set;
	unsigned int host;

	/* how it fails, and how often of a hundred runs */
	enum reply_class trouble;
	unsigned int trouble_percent;
	struct back_off back_off;

	bool running;
	/* of a run */
	uint64_t begin, end;
	/* expected to run for long */
	bool is_long;
	/* pulls its mailbox for the first time */
	bool first_pull;
	/* it must not start before, and shall start soon after */
	uint64_t earliest, latest;
	bool woken_meanwhile;
};

static struct {
	uint64_t now, random, bound;
	struct due_queue *queue;
	struct priorityq *runs;
	struct sim_account accounts[ACCOUNTS];
	unsigned int running, running_on[HOSTS];
	uint64_t next_push;
	/* what came out */
	unsigned int starts, pushes, long_runs, most_running, most_on_host;
	uint64_t worst_wait, worst_long_wait;
	/* starts in the current second, and the most there were in one since
	   that was last set to 0 */
	uint64_t second;
	unsigned int in_second, most_in_second;
} sim;

static const enum reply_class troubles[] = {
	REPLY_CLASS_CREDENTIAL, REPLY_CLASS_USER_ACTION, REPLY_CLASS_TOKEN,
	REPLY_CLASS_THROTTLED, REPLY_CLASS_SERVER, REPLY_CLASS_NETWORK,
	REPLY_CLASS_DNS, REPLY_CLASS_TLS, REPLY_CLASS_PROTOCOL,
	REPLY_CLASS_POLICY, REPLY_CLASS_FOLDER, REPLY_CLASS_MESSAGE,
	REPLY_CLASS_LOCAL, REPLY_CLASS_QUOTA, REPLY_CLASS_CONFIG,
	REPLY_CLASS_BUSY, REPLY_CLASS_STOPPED,
};

/* xorshift64* (Vigna 2016) */
static uint64_t sim_random(void)
{
	sim.random ^= sim.random >> 12;
	sim.random ^= sim.random << 25;
	sim.random ^= sim.random >> 27;
	return sim.random * 0x2545f4914f6cdd1dULL;
}

static uint64_t chance(uint64_t limit)
{
	return (sim_random() >> 16) % limit;
}

static int run_cmp(const void *p1, const void *p2)
{
	const struct sim_account *a = p1, *b = p2;

	return a->end < b->end ? -1 : (a->end > b->end ? 1 : 0);
}

/* ck_assert() tells its parent each time that it is still there: too slow for
   millions. */
static void sim_expect(bool ok, const char *what)
{
	if (!ok) {
		ck_abort_msg("%s at %u ms", what,
			     (unsigned int)(sim.now - HOUR));
	}
}

/*
 * The world
 */

static void sim_queue_init(void)
{
	const struct due_settings set = {
		.max_running = MAX_RUNNING, .max_per_host = MAX_PER_HOST,
	};

	sim.queue = due_queue_init(&set, sim_random());
}

/* A third each: polled every minute, every five, and watched. A few run only
   when something comes. */
static uint64_t sim_interval(unsigned int i)
{
	static const uint64_t intervals[] = {
		MINUTE, 5 * MINUTE, 15 * MINUTE
	};

	return i % 100 == 99 ? 0 : intervals[i % N_ELEMENTS(intervals)];
}

static void sim_account_init(struct sim_account *account, unsigned int i)
{
	static char names[HOSTS][16];

	/* hosts are of different sizes */
	account->host = I_MIN(chance(HOSTS), chance(HOSTS));
	(void)i_snprintf(names[account->host], sizeof(names[0]), "host%u",
			 account->host);
	account->set.host = names[account->host];
	account->set.interval_msecs = sim_interval(i);
	if (i % 10 == 0) {
		account->trouble = troubles[(i / 10) % N_ELEMENTS(troubles)];
		/* always, or now and then */
		account->trouble_percent = i % 20 == 0 ? 100 : 30;
	}
}

static void sim_account_add(struct sim_account *account, uint64_t due_at)
{
	account->due = due_add(sim.queue, &account->set, due_at,
			       back_off_is_on(&account->back_off), account);
	if (account->is_long)
		due_expect_long(account->due);
}

static void sim_init(unsigned int seed)
{
	unsigned int i;

	i_zero(&sim);
	sim.now = sim.next_push = HOUR;
	sim.random = seed + 1;
	sim.bound = USUAL_BOUND;
	sim.runs = priorityq_init(run_cmp, MAX_RUNNING);
	sim_queue_init();
	for (i = 0; i < ACCOUNTS; i++) {
		struct sim_account *account = &sim.accounts[i];

		sim_account_init(account, i);
		account->earliest = account->latest = sim.now + chance(MINUTE);
		sim_account_add(account, account->earliest);
	}
}

static void sim_deinit(void)
{
	due_queue_deinit(&sim.queue);
	priorityq_deinit(&sim.runs);
}

/*
 * Runs
 */

/* Most runs are short; a dead server takes its time, and some mailboxes are
   big. */
static uint64_t sim_run_time(const struct sim_account *account)
{
	if (account->trouble == REPLY_CLASS_NETWORK)
		return 30 * SECOND;
	if (account->first_pull || chance(5000) == 0) {
		sim.long_runs++;
		return LONG_RUN;
	}
	return 40 + chance(300);
}

static void sim_count_start(const struct sim_account *account)
{
	uint64_t wait = account->latest > sim.now ? 0 :
		sim.now - account->latest;
	uint64_t *worst = account->is_long ? &sim.worst_long_wait :
		&sim.worst_wait;

	sim.starts++;
	*worst = I_MAX(*worst, wait);
	sim.most_running = I_MAX(sim.most_running, sim.running);
	sim.most_on_host = I_MAX(sim.most_on_host,
				 sim.running_on[account->host]);
	if (sim.second != sim.now / SECOND) {
		sim.second = sim.now / SECOND;
		sim.in_second = 0;
	}
	sim.in_second++;
	sim.most_in_second = I_MAX(sim.most_in_second, sim.in_second);
}

static bool sim_is_late(const struct sim_account *account)
{
	return account->latest != DUE_NEVER &&
		sim.now > account->latest +
			  (account->is_long ? LONG_BOUND : sim.bound);
}

static void sim_start(struct sim_account *account)
{
	sim_expect(!account->running, "two runs of one account");
	sim_expect(sim.now >= account->earliest, "too early");
	sim_expect(!sim_is_late(account), "too late");
	sim_expect(++sim.running <= MAX_RUNNING, "too many runs");
	sim_expect(++sim.running_on[account->host] <= MAX_PER_HOST,
		   "too many runs on a host");
	sim_count_start(account);
	account->running = TRUE;
	account->woken_meanwhile = FALSE;
	account->begin = sim.now;
	account->end = sim.now + sim_run_time(account);
	priorityq_add(sim.runs, &account->item);
}

static void sim_run_ended(struct sim_account *account)
{
	sim.running--;
	sim.running_on[account->host]--;
	account->running = FALSE;
}

static uint64_t sim_next_at(struct sim_account *account)
{
	enum reply_class class = chance(100) < account->trouble_percent ?
		account->trouble : REPLY_CLASS_OK;
	uint64_t wait = back_off_next(&account->back_off, class,
				      class == REPLY_CLASS_THROTTLED ?
				      chance(300) : 0,
				      account->set.interval_msecs,
				      sim_random());

	return wait == UINT64_MAX ? DUE_NEVER : sim.now + wait;
}

static void sim_finish(struct sim_account *account)
{
	uint64_t next_at = sim_next_at(account);
	bool backed_off = back_off_is_on(&account->back_off);

	sim_run_ended(account);
	account->is_long = sim.now - account->begin >= DUE_LONG_MSECS;
	account->first_pull = FALSE;
	due_finished(account->due, sim.now, next_at, backed_off);
	if (account->woken_meanwhile && !backed_off)
		next_at = sim.now;
	account->earliest = account->latest = next_at;
}

static void sim_push(struct sim_account *account)
{
	sim.pushes++;
	due_wake(account->due, DUE_WAKE_NEWS, sim.now);
	if (account->running) {
		account->woken_meanwhile = TRUE;
	} else if (!back_off_is_on(&account->back_off)) {
		account->earliest = I_MIN(account->earliest, sim.now);
		account->latest = I_MIN(account->latest, sim.now);
	}
}

/* To anybody, now and then in bursts; so soon after each other that many of
   them meet a run. */
static void sim_push_some(void)
{
	struct sim_account *account = &sim.accounts[chance(ACCOUNTS)];
	unsigned int i, count = chance(20) == 0 ? 50 : 1;

	for (i = 0; i < count; i++)
		sim_push(account);
	sim.next_push = sim.now + chance(100);
}

/*
 * Time
 */

static struct sim_account *sim_first_run(void)
{
	return (struct sim_account *)priorityq_peek(sim.runs);
}

static uint64_t sim_start_all(void)
{
	struct due_account *account;
	uint64_t look_again;

	while ((account = due_next(sim.queue, sim.now, &look_again)) != NULL)
		sim_start(due_context(account));
	sim_expect(look_again > sim.now, "nothing left to ask for");
	return look_again;
}

static void sim_run_until(uint64_t until)
{
	struct sim_account *account;

	while (sim.now < until) {
		uint64_t next = I_MIN(sim_start_all(), sim.next_push);

		account = sim_first_run();
		if (account != NULL)
			next = I_MIN(next, account->end);
		sim.now = I_MIN(next, until);
		while ((account = sim_first_run()) != NULL &&
		       account->end <= sim.now) {
			(void)priorityq_pop(sim.runs);
			sim_finish(account);
		}
		if (sim.next_push <= sim.now)
			sim_push_some();
	}
}

/* Nobody asked from then until now: who should have run meanwhile may take a
   place by chance, as due.h says. */
static void sim_was_late(void)
{
	unsigned int i;

	for (i = 0; i < ACCOUNTS; i++) {
		struct sim_account *account = &sim.accounts[i];
		uint64_t late = sim.now - account->latest, window;

		if (account->running || account->latest >= sim.now)
			continue;
		window = account->set.interval_msecs == 0 ?
			DUE_SPREAD_MAX_MSECS : account->set.interval_msecs;
		window = I_MIN(window, DUE_SPREAD_MAX_MSECS);
		account->latest = sim.now + I_MIN(window, late);
	}
}

/* The service is killed, and started again later: what it knows is when each
   account was due, and how it failed. */
static void sim_restart(uint64_t after)
{
	struct sim_account *account;
	unsigned int i;

	while ((account = (void *)priorityq_pop(sim.runs)) != NULL)
		sim_run_ended(account);
	due_queue_deinit(&sim.queue);
	sim.now += after;
	sim.next_push = sim.now;
	sim_queue_init();
	for (i = 0; i < ACCOUNTS; i++)
		sim_account_add(&sim.accounts[i], sim.accounts[i].earliest);
	sim_was_late();
}

/* The machine slept. */
static void sim_sleep(uint64_t duration)
{
	sim.now += duration;
	sim.next_push = sim.now;
	sim_was_late();
}

/* They come in by a list, and all of them are to be had at once. */
static void sim_first_pulls(void)
{
	unsigned int i;

	for (i = 0; i < ACCOUNTS; i += 20) {
		struct sim_account *account = &sim.accounts[i + 1];

		if (account->running)
			continue;
		account->first_pull = account->is_long = TRUE;
		account->earliest = account->latest = sim.now;
		due_remove(&account->due);
		sim_account_add(account, sim.now);
	}
}

/* Nobody was forgotten. */
static void sim_check_all(void)
{
	unsigned int i;

	for (i = 0; i < ACCOUNTS; i++) {
		struct sim_account *account = &sim.accounts[i];

		sim_expect(account->running == due_is_running(account->due),
			   "who runs");
		sim_expect(account->running || !sim_is_late(account),
			   "forgotten");
	}
}

static void sim_check_stat(void)
{
	struct due_stat stat;

	due_get_stat(sim.queue, sim.now, &stat);
	ck_assert_uint_eq(stat.accounts, ACCOUNTS);
	ck_assert_uint_eq(stat.running, sim.running);
	ck_assert_uint_eq(stat.waiting + stat.due + stat.running, ACCOUNTS);
	ck_assert_uint_le(stat.oldest_msecs, LONG_BOUND);
}

static void sim_go_on(const char *what, uint64_t until)
{
	unsigned int starts = sim.starts;
	uint64_t begin = sim.now;

	sim.most_in_second = 0;
	sim.worst_wait = sim.worst_long_wait = 0;
	sim_run_until(until);
	sim_check_all();
	sim_check_stat();
	printf("%s: %.1f starts a second, at most %u; worst wait %.1f s, "
	       "of long runs %.1f s\n", what,
	       (double)(sim.starts - starts) * SECOND / (until - begin),
	       sim.most_in_second, sim.worst_wait / 1000.0,
	       sim.worst_long_wait / 1000.0);
}

static void sim_say(void)
{
	printf("%u starts, %u pushes, %u long runs; at most %u ran, "
	       "%u on one host\n", sim.starts, sim.pushes, sim.long_runs,
	       sim.most_running, sim.most_on_host);
}

START_TEST(ten_hours)
{
	unsigned int seed = getenv("TEST_SEED") != NULL ?
		atoi(getenv("TEST_SEED")) : 1;
	unsigned int usual;

	printf("seed %u\n", seed);
	sim_init(seed);
	sim_go_on("begin", 2 * HOUR);
	sim_go_on("as usual", 4 * HOUR);
	usual = sim.most_in_second;
	sim_restart(2 * SECOND);
	sim_go_on("restart", 5 * HOUR);
	sim_first_pulls();
	sim.bound = PULLS_BOUND;
	sim_go_on("first pulls", 7 * HOUR);
	sim.bound = USUAL_BOUND;
	/* a crowd of nearly all, and it does not come at once */
	sim_restart(HOUR);
	sim_go_on("outage", 9 * HOUR);
	ck_assert_uint_le(sim.most_in_second, 2 * usual);
	sim_sleep(HOUR / 2);
	sim_go_on("sleep", HOUR + DURATION);
	ck_assert_uint_le(sim.most_in_second, 2 * usual);
	/* the limits were felt */
	ck_assert_uint_eq(sim.most_on_host, MAX_PER_HOST);
	sim_say();
	sim_deinit();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("due-simulation");
	TCase *tc = tcase_create("due-simulation");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	/* under valgrind it is not a matter of seconds */
	tcase_set_timeout(tc, 600);
	tcase_add_test(tc, ten_hours);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
