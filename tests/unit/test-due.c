/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "str.h"
#include "core/due.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define MINUTE 60000ULL

static struct due_queue *queue;
static uint64_t look_again;

static void queue_init(unsigned int max_running, unsigned int max_per_host)
{
	const struct due_settings set = {
		.max_running = max_running, .max_per_host = max_per_host,
	};

	queue = due_queue_init(&set, 1);
}

static void teardown(void)
{
	due_queue_deinit(&queue);
	ck_assert_ptr_null(queue);
}

/* An account called name. */
static struct due_account *
add(const char *name, const char *host, uint64_t at)
{
	const struct due_account_settings set = {
		.host = host, .interval_msecs = MINUTE,
	};

	return due_add(queue, &set, at, FALSE, (void *)name);
}

static void
change(struct due_account *account, const char *host, uint64_t interval,
       uint64_t now)
{
	const struct due_account_settings set = {
		.host = host, .interval_msecs = interval,
	};

	due_change(account, &set, now);
}

/* Names of those that start now, in order. */
static const char *start(uint64_t now)
{
	string_t *str = t_str_new(64);
	struct due_account *account;

	while ((account = due_next(queue, now, &look_again)) != NULL) {
		ck_assert(due_is_running(account));
		ck_assert_int_eq(due_state(account), DUE_STATE_RUNNING);
		if (str_len(str) > 0)
			str_append_c(str, ' ');
		str_append(str, due_context(account));
	}
	return str_c(str);
}

static void check_stat(uint64_t now, const char *expected)
{
	struct due_stat stat;

	due_get_stat(queue, now, &stat);
	ck_assert_str_eq(t_strdup_printf("%u: %u %u %u, %u", stat.accounts,
					 stat.waiting, stat.due, stat.running,
					 (unsigned int)stat.oldest_msecs),
			 expected);
}

START_TEST(in_time)
{
	struct due_account *a, *b;

	queue_init(10, 0);
	ck_assert_str_eq(start(0), "");
	ck_assert_uint_eq(look_again, DUE_NEVER);
	a = add("a", "x", 1000);
	b = add("b", "x", 500);
	(void)add("never", "x", DUE_NEVER);
	ck_assert_str_eq(start(0), "");
	ck_assert_uint_eq(look_again, 500);
	ck_assert_str_eq(start(499), "");
	ck_assert_str_eq(start(500), "b");
	ck_assert_uint_eq(look_again, 1000);
	ck_assert_uint_eq(due_at(a), 1000);
	ck_assert_int_eq(due_state(a), DUE_STATE_WAITING);
	check_stat(500, "3: 2 0 1, 0");
	ck_assert_str_eq(start(1000), "a");
	ck_assert_uint_eq(look_again, DUE_NEVER);
	due_finished(b, 1100, 2000, FALSE);
	ck_assert(!due_is_running(b));
	ck_assert_str_eq(start(1100), "");
	ck_assert_uint_eq(look_again, 2000);
	ck_assert_str_eq(start(2000), "b");
}
END_TEST

/* It is skipped that it would have run meanwhile. */
START_TEST(overtaken)
{
	struct due_account *a;

	queue_init(10, 0);
	a = add("a", "x", 0);
	ck_assert_str_eq(start(0), "a");
	ck_assert_str_eq(start(10 * MINUTE), "");
	due_finished(a, 10 * MINUTE, 11 * MINUTE, FALSE);
	ck_assert_str_eq(start(10 * MINUTE), "");
	ck_assert_str_eq(start(11 * MINUTE), "a");
	ck_assert_str_eq(start(11 * MINUTE), "");
}
END_TEST

START_TEST(places)
{
	struct due_account *a1, *b1;

	queue_init(3, 2);
	a1 = add("a1", "a", 0);
	(void)add("a2", "a", 1);
	(void)add("a3", "a", 2);
	b1 = add("b1", "b", 3);
	(void)add("b2", "b", 4);
	ck_assert_str_eq(start(0), "a1");
	ck_assert_str_eq(start(1), "a2");
	/* no third one there */
	ck_assert_str_eq(start(2), "");
	ck_assert_str_eq(start(3), "b1");
	/* no fourth one anywhere */
	ck_assert_str_eq(start(4), "");
	check_stat(10, "5: 0 2 3, 8");
	due_finished(b1, 10, DUE_NEVER, FALSE);
	ck_assert_str_eq(start(10), "b2");
	due_finished(a1, 11, DUE_NEVER, FALSE);
	ck_assert_str_eq(start(11), "a3");
	check_stat(11, "5: 2 0 3, 0");
}
END_TEST

/* Places that are taken make nobody late: who is not asked for is late. */
START_TEST(full_is_not_late)
{
	struct due_account *a;

	queue_init(1, 0);
	a = add("a", "x", 0);
	(void)add("b", "y", 10);
	ck_assert_str_eq(start(0), "a");
	ck_assert_uint_eq(look_again, 10);
	ck_assert_str_eq(start(look_again), "");
	ck_assert_uint_eq(look_again, DUE_NEVER);
	due_finished(a, MINUTE, 2 * MINUTE, FALSE);
	ck_assert_str_eq(start(MINUTE), "b");
}
END_TEST

/* The same where there is one place, each ending at once, to wait for ever. */
static const char *serve(uint64_t now)
{
	string_t *str = t_str_new(64);
	struct due_account *account;

	while ((account = due_next(queue, now, &look_again)) != NULL) {
		ck_assert_ptr_null(due_next(queue, now, &look_again));
		if (str_len(str) > 0)
			str_append_c(str, ' ');
		str_append(str, due_context(account));
		due_finished(account, now, DUE_NEVER, FALSE);
	}
	return str_c(str);
}

static void wake(struct due_account *account, uint64_t now)
{
	due_wake(account, DUE_WAKE_NEWS, now);
}

START_TEST(least_recently_served)
{
	struct due_account *a, *b, *c, *new;

	queue_init(1, 0);
	a = add("a", "x", DUE_NEVER);
	b = add("b", "x", DUE_NEVER);
	c = add("c", "x", DUE_NEVER);
	wake(c, 0);
	ck_assert_str_eq(serve(0), "c");
	wake(b, 0);
	ck_assert_str_eq(serve(0), "b");
	wake(a, 0);
	ck_assert_str_eq(serve(0), "a");
	/* however long they have been due */
	wake(a, 1);
	wake(b, 2);
	wake(c, 3);
	/* one that comes anew does not go before who was there */
	new = add("new", "x", DUE_NEVER);
	wake(new, 0);
	due_remove(&a);
	a = add("a", "x", DUE_NEVER);
	ck_assert_str_eq(serve(4), "c b new");
	wake(new, 5);
	wake(c, 5);
	ck_assert_str_eq(serve(5), "c new");
	/* of those that never ran, who has been due for longest */
	due_remove(&b);
	b = add("b", "x", 7);
	(void)add("d", "x", 6);
	(void)add("e", "x", 8);
	ck_assert_str_eq(serve(8), "d b e");
}
END_TEST

START_TEST(hosts_take_turns)
{
	static const struct { const char *name, *host; } all[] = {
		{ "a", "other" }, { "b", "other" }, { "c", "third" },
		{ "1", "big" }, { "2", "big" }, { "3", "big" }, { "4", "big" },
	};
	struct due_account *accounts[N_ELEMENTS(all)];
	unsigned int i;

	queue_init(1, 0);
	for (i = 0; i < N_ELEMENTS(all); i++) {
		accounts[i] = add(all[i].name, all[i].host, DUE_NEVER);
		wake(accounts[i], 0);
		ck_assert_str_eq(serve(0), all[i].name);
	}
	for (i = N_ELEMENTS(all); i > 0; i--)
		wake(accounts[i - 1], 20 - i);
	/* how many one host has due, and since when, does not count */
	ck_assert_str_eq(serve(20), "a c 1 b 2 3 4");
}
END_TEST

START_TEST(wake_waiting)
{
	struct due_account *a;

	queue_init(10, 0);
	a = add("a", "x", MINUTE);
	due_wake(a, DUE_WAKE_NEWS, 1000);
	ck_assert_int_eq(due_state(a), DUE_STATE_DUE);
	ck_assert_uint_eq(due_at(a), 1000);
	/* a burst is one run */
	due_wake(a, DUE_WAKE_NEWS, 1001);
	due_wake(a, DUE_WAKE_NOW, 1002);
	ck_assert_uint_eq(due_at(a), 1000);
	ck_assert_str_eq(start(1002), "a");
	due_finished(a, 1003, MINUTE, FALSE);
	ck_assert_str_eq(start(1003), "");
	ck_assert_uint_eq(look_again, MINUTE);
}
END_TEST

START_TEST(wake_backed_off)
{
	const struct due_account_settings set = { .host = "x" };
	struct due_account *a, *b;

	queue_init(10, 0);
	a = add("a", "x", 0);
	ck_assert_str_eq(start(0), "a");
	due_finished(a, 1, MINUTE, TRUE);
	due_wake(a, DUE_WAKE_NEWS, 2);
	ck_assert_str_eq(start(2), "");
	due_wake(a, DUE_WAKE_NOW, 3);
	ck_assert_str_eq(start(3), "a");
	due_finished(a, 4, 5, TRUE);
	ck_assert_str_eq(start(5), "a");
	due_finished(a, 6, MINUTE, FALSE);
	due_wake(a, DUE_WAKE_NEWS, 7);
	ck_assert_str_eq(start(7), "a");
	/* as it was when the last process ended */
	b = due_add(queue, &set, MINUTE, TRUE, "b");
	due_wake(b, DUE_WAKE_NEWS, 8);
	ck_assert_str_eq(start(8), "");
	ck_assert_str_eq(start(MINUTE), "b");
}
END_TEST

/* woken while it runs, by what; does it run again at once? */
static const struct {
	unsigned int news, now;
	bool backed_off, again;
} meanwhile[] = {
	{ 0, 0, FALSE, FALSE },
	{ 1, 0, FALSE, TRUE },
	{ 5, 0, FALSE, TRUE },
	{ 0, 1, FALSE, TRUE },
	/* what the news is about will not be had now */
	{ 5, 0, TRUE, FALSE },
	/* but this is about why it failed */
	{ 5, 1, TRUE, TRUE },
	{ 0, 1, TRUE, TRUE },
};

START_TEST(wake_running)
{
	struct due_account *a;
	unsigned int i;

	queue_init(10, 0);
	a = add("a", "x", 0);
	ck_assert_str_eq(start(0), "a");
	for (i = 0; i < meanwhile[_i].now; i++)
		due_wake(a, DUE_WAKE_NOW, 1);
	for (i = 0; i < meanwhile[_i].news; i++)
		due_wake(a, DUE_WAKE_NEWS, 1);
	/* never two at once */
	ck_assert_str_eq(start(2), "");
	due_finished(a, 3, MINUTE, meanwhile[_i].backed_off);
	ck_assert_str_eq(start(3), meanwhile[_i].again ? "a" : "");
	if (!meanwhile[_i].again) {
		ck_assert_uint_eq(look_again, MINUTE);
		return;
	}
	/* and only once */
	due_finished(a, 4, MINUTE, FALSE);
	ck_assert_str_eq(start(4), "");
	ck_assert_uint_eq(look_again, MINUTE);
}
END_TEST

START_TEST(wake_now_goes_first)
{
	struct due_account *a, *b, *c;

	queue_init(1, 0);
	a = add("a", "x", DUE_NEVER);
	b = add("b", "x", DUE_NEVER);
	c = add("c", "x", DUE_NEVER);
	wake(c, 0);
	ck_assert_str_eq(serve(0), "c");
	wake(b, 1);
	wake(a, 1);
	due_wake(c, DUE_WAKE_NOW, 2);
	ck_assert_ptr_eq(due_next(queue, 2, &look_again), c);
	/* it was no more than that once */
	wake(c, 3);
	due_finished(c, 3, DUE_NEVER, FALSE);
	due_remove(&a);
	ck_assert_str_eq(serve(3), "b c");
	/* due already, and pushed to the front */
	wake(b, 4);
	wake(c, 4);
	due_wake(c, DUE_WAKE_NOW, 4);
	ck_assert_str_eq(serve(4), "c b");
}
END_TEST

/* a run by hand takes the turn of one that waits or is due */
START_TEST(run_by_other_hands)
{
	struct due_account *a;

	queue_init(10, 0);
	a = add("a", "x", 10);
	due_finished(a, 5, MINUTE, FALSE);
	ck_assert_str_eq(start(10), "");
	ck_assert_uint_eq(look_again, MINUTE);
	wake(a, 11);
	due_finished(a, 12, MINUTE, FALSE);
	ck_assert_str_eq(start(12), "");
	ck_assert_uint_eq(look_again, MINUTE);
	check_stat(12, "1: 1 0 0, 0");
}
END_TEST

START_TEST(postponed)
{
	struct due_account *a, *b, *c;

	queue_init(1, 0);
	a = add("a", "x", DUE_NEVER);
	b = add("b", "x", DUE_NEVER);
	c = add("c", "x", DUE_NEVER);
	wake(b, 0);
	ck_assert_str_eq(serve(0), "b");
	wake(a, 1);
	ck_assert_str_eq(start(1), "a");
	due_postpone(a, 10);
	ck_assert_uint_eq(due_at(a), 10);
	ck_assert_str_eq(serve(1), "");
	ck_assert_uint_eq(look_again, 10);
	/* it has not had its turn yet */
	wake(b, 9);
	due_finished(c, 9, 9, FALSE);
	ck_assert_ptr_eq(due_next(queue, 9, &look_again), c);
	due_finished(c, 10, DUE_NEVER, FALSE);
	ck_assert_str_eq(serve(10), "a b");
	/* nor is it forgotten what it was woken for */
	due_wake(a, DUE_WAKE_NOW, 20);
	ck_assert_ptr_eq(due_next(queue, 20, &look_again), a);
	due_postpone(a, 21);
	wake(c, 20);
	wake(b, 20);
	ck_assert_str_eq(serve(5 * MINUTE), "a c b");
}
END_TEST

/* backed off or not, long or not, it stays so */
START_TEST(postponed_as_it_was)
{
	const struct due_account_settings set = {
		.host = "x", .interval_msecs = MINUTE,
	};
	struct due_account *a, *b;

	queue_init(10, 2);
	a = due_add(queue, &set, 0, TRUE, "a");
	due_expect_long(a);
	ck_assert_str_eq(start(0), "a");
	due_postpone(a, 1000);
	wake(a, 1);
	ck_assert_str_eq(start(1), "");
	b = add("b", "x", 1);
	due_expect_long(b);
	ck_assert_str_eq(start(1), "b");
	ck_assert_str_eq(start(1000), "");
	check_stat(1000, "2: 0 1 1, 0");
}
END_TEST

START_TEST(change_host)
{
	struct due_account *a1, *a2, *b;

	queue_init(10, 1);
	a1 = add("a1", "a", 0);
	a2 = add("a2", "a", 0);
	b = add("b", "b", 0);
	ck_assert_str_eq(start(0), "a1 b");
	/* it runs where it ran */
	change(a1, "c", MINUTE, 1);
	ck_assert_str_eq(start(1), "");
	change(a2, "c", MINUTE, 2);
	ck_assert_str_eq(start(2), "a2");
	wake(a1, 3);
	due_finished(a1, 4, MINUTE, FALSE);
	/* it is due at c, where a2 runs */
	ck_assert_str_eq(start(4), "");
	change(a1, "b", MINUTE, 5);
	ck_assert_str_eq(start(5), "");
	due_finished(b, 6, MINUTE, FALSE);
	ck_assert_str_eq(start(6), "a1");
	due_finished(a2, 7, MINUTE, FALSE);
	/* a waiting one takes its wait along */
	change(a2, "a", MINUTE, 8);
	ck_assert_str_eq(start(MINUTE), "a2");
}
END_TEST

static const struct {
	uint64_t old_interval, due_at, now, new_interval, expected;
	bool backed_off;
} intervals[] = {
	/* a tenth of a second is jitter */
	{ MINUTE, 59900, 10000, 2 * MINUTE, 119900, FALSE },
	{ 2 * MINUTE, 119900, 10000, MINUTE, 59900, FALSE },
	/* the new one is over already */
	{ 10 * MINUTE, 10 * MINUTE, 2 * MINUTE, MINUTE, 2 * MINUTE, FALSE },
	{ 10 * MINUTE, 5, 2, MINUTE, 2, FALSE },
	{ MINUTE, MINUTE, 10000, 0, DUE_NEVER, FALSE },
	{ 0, DUE_NEVER, 10000, MINUTE, MINUTE + 10000, FALSE },
	{ MINUTE, DUE_NEVER, 10000, 2 * MINUTE, 2 * MINUTE + 10000, FALSE },
	{ MINUTE, 59900, 10000, MINUTE, 59900, FALSE },
	/* it waits for something else */
	{ MINUTE, 59900, 10000, 2 * MINUTE, 59900, TRUE },
	{ MINUTE, 59900, 10000, 0, 59900, TRUE },
};

START_TEST(change_interval)
{
	const struct due_account_settings set = {
		.host = "x", .interval_msecs = intervals[_i].old_interval,
	};
	struct due_account *a;

	queue_init(10, 0);
	a = due_add(queue, &set, intervals[_i].due_at,
		    intervals[_i].backed_off, "a");
	change(a, "x", intervals[_i].new_interval, intervals[_i].now);
	ck_assert_uint_eq(due_at(a), intervals[_i].expected);
	/* the same again changes nothing */
	change(a, "x", intervals[_i].new_interval, intervals[_i].now);
	ck_assert_uint_eq(due_at(a), intervals[_i].expected);
}
END_TEST

START_TEST(change_is_no_wake)
{
	struct due_account *a, *b;

	queue_init(1, 0);
	a = add("a", "x", 0);
	b = add("b", "x", 0);
	ck_assert_str_eq(start(0), "a");
	change(b, "x", 2 * MINUTE, 1);
	ck_assert_int_eq(due_state(b), DUE_STATE_DUE);
	change(a, "x", 2 * MINUTE, 1);
	ck_assert_int_eq(due_state(a), DUE_STATE_RUNNING);
	due_finished(a, 2, 10, FALSE);
	ck_assert_str_eq(start(2), "b");
}
END_TEST

START_TEST(removed)
{
	struct due_account *a, *b, *c;

	queue_init(10, 1);
	a = add("a", "x", 0);
	b = add("b", "x", 0);
	c = add("c", "x", 0);
	ck_assert_str_eq(start(0), "a");
	/* due, waiting, running */
	due_remove(&b);
	ck_assert_ptr_null(b);
	due_remove(&b);
	due_finished(a, 1, MINUTE, FALSE);
	due_remove(&a);
	check_stat(1, "1: 0 1 0, 1");
	ck_assert_str_eq(start(1), "c");
	(void)add("d", "x", 1);
	ck_assert_str_eq(start(1), "");
	due_remove(&c);
	ck_assert_str_eq(start(1), "d");
	/* the last one of a host that has moved away while it runs */
	a = add("a", "y", 1);
	ck_assert_str_eq(start(1), "a");
	change(a, "z", MINUTE, 2);
	due_remove(&a);
	check_stat(2, "1: 0 0 1, 0");
}
END_TEST

#define CROWD 1000

/* late by how much, with which interval; over how long are they spread? */
static const struct {
	uint64_t late, interval, window;
} crowds[] = {
	{ 0, MINUTE, 0 },
	{ DUE_LATE_MSECS - 1, MINUTE, 0 },
	{ 10000, MINUTE, 10000 },
	{ 10 * MINUTE, MINUTE, MINUTE },
	{ 2 * MINUTE, 60 * MINUTE, 2 * MINUTE },
	{ 1000 * MINUTE, 60 * MINUTE, DUE_SPREAD_MAX_MSECS },
	{ 1000 * MINUTE, 0, DUE_SPREAD_MAX_MSECS },
};

static unsigned int count_starts(uint64_t now)
{
	unsigned int count = 0;

	while (due_next(queue, now, &look_again) != NULL)
		count++;
	return count;
}

START_TEST(crowd)
{
	const uint64_t now = 1000 * MINUTE, window = crowds[_i].window;
	const struct due_account_settings set = {
		.host = "x", .interval_msecs = crowds[_i].interval,
	};
	struct due_account *woken;
	unsigned int i, started;

	queue_init(CROWD, 0);
	for (i = 0; i < CROWD; i++) {
		woken = due_add(queue, &set, now - crowds[_i].late, FALSE,
				NULL);
	}
	/* who is woken is not one of them */
	due_wake(woken, DUE_WAKE_NEWS, now);
	if (window == 0) {
		ck_assert_uint_eq(count_starts(now), CROWD);
		return;
	}
	ck_assert_uint_eq(count_starts(now), 1);
	ck_assert(due_is_running(woken));
	/* each tenth of the window has about a tenth of them */
	for (i = 1, started = 1; i <= 10; i++) {
		started += count_starts(now + window * i / 10);
		ck_assert_uint_ge(started, i * CROWD / 10 - CROWD / 20);
		ck_assert_uint_le(started, i * CROWD / 10 + CROWD / 20);
	}
	ck_assert_uint_eq(started, CROWD);
}
END_TEST

/* Nobody is put off twice. */
START_TEST(crowd_once)
{
	unsigned int i;

	queue_init(CROWD, 0);
	for (i = 0; i < CROWD; i++)
		(void)add("a", "x", 0);
	ck_assert_uint_eq(count_starts(100 * MINUTE), 0);
	ck_assert_uint_eq(count_starts(200 * MINUTE), CROWD);
}
END_TEST

/* Long runs leave places to others, on their host and in all. */
START_TEST(long_runs)
{
	static const char *const names[] = { "1", "2", "3", "4", "5" };
	struct due_account *accounts[N_ELEMENTS(names)], *a;
	unsigned int i;

	queue_init(8, 4);
	for (i = 0; i < N_ELEMENTS(names); i++) {
		accounts[i] = add(names[i], "x", i);
		due_expect_long(accounts[i]);
	}
	ck_assert_str_eq(start(10), "1 2 3");
	a = add("a", "x", 10);
	(void)add("b", "x", 10);
	ck_assert_str_eq(start(10), "a");
	/* it was said while it was due */
	due_remove(&accounts[4]);
	accounts[4] = add("5", "y", 10);
	ck_assert_str_eq(start(10), "5");
	due_finished(accounts[4], 10, 11, FALSE);
	change(a, "y", MINUTE, 10);
	ck_assert_str_eq(start(11), "5");
	due_finished(a, 12, DUE_NEVER, FALSE);
	/* a place, but not for a long one */
	ck_assert_str_eq(start(12), "b");
	due_finished(accounts[0], 13, 13, FALSE);
	ck_assert_str_eq(start(13), "4");
}
END_TEST

static const struct {
	uint64_t duration;
	bool is_long;
} durations[] = {
	{ 0, FALSE },
	{ DUE_LONG_MSECS - 1, FALSE },
	{ DUE_LONG_MSECS, TRUE },
	{ 60 * MINUTE, TRUE },
};

/* The last run tells how long the next one will be. */
START_TEST(long_run_is_learnt)
{
	struct due_account *learner, *other;

	queue_init(10, 2);
	learner = add("learner", "x", 0);
	if (_i % 2 == 0)
		due_expect_long(learner);
	ck_assert_str_eq(start(0), "learner");
	due_finished(learner, durations[_i].duration, DUE_NEVER, FALSE);
	other = add("other", "x", DUE_NEVER);
	due_expect_long(other);
	wake(other, 0);
	ck_assert_str_eq(start(durations[_i].duration), "other");
	wake(learner, 0);
	ck_assert_str_eq(start(durations[_i].duration),
			 durations[_i].is_long ? "" : "learner");
}
END_TEST

/* What goes on for longer than anybody expected has places of the others. */
START_TEST(long_run_is_seen)
{
	struct due_account *first, *expected;

	queue_init(8, 4);
	first = add("1", "x", 0);
	(void)add("2", "x", 1);
	(void)add("3", "x", 2);
	ck_assert_str_eq(start(2), "1 2 3");
	/* one that moves away has its place where it started */
	change(first, "y", MINUTE, 3);
	expected = add("expected", "x", DUE_NEVER);
	due_expect_long(expected);
	ck_assert_str_eq(start(DUE_LONG_MSECS + 2), "");
	wake(expected, DUE_LONG_MSECS + 2);
	ck_assert_str_eq(start(DUE_LONG_MSECS + 2), "");
	wake(add("short", "x", DUE_NEVER), DUE_LONG_MSECS + 2);
	ck_assert_str_eq(start(DUE_LONG_MSECS + 2), "short");
	due_finished(first, DUE_LONG_MSECS + 3, DUE_NEVER, FALSE);
	ck_assert_str_eq(start(DUE_LONG_MSECS + 3), "expected");
}
END_TEST

/* Random trouble: who is due starts within the time that due.h promises, and
   nobody is overtaken twice by the same one. */

#define MAX_HOSTS 8
#define MAX_ACCOUNTS 40
#define TICK 1000ULL
/* in ticks */
#define SHORT_RUN 15
#define LONG_RUN 100

struct rival {
	struct due_account *account;
	unsigned int host;
	bool is_long;
	/* UINT64_MAX = not due, not running */
	uint64_t due_since, runs_until;
	/* how often it has overtaken each of the others since they are due */
	unsigned char overtook[MAX_ACCOUNTS];
};

static struct {
	unsigned int hosts, accounts, places, places_per_host;
	struct rival rivals[MAX_ACCOUNTS];
} race;

static unsigned int chance(unsigned int limit)
{
	return random() % limit;
}

static void race_add(struct rival *rival)
{
	const char *name;

	i_zero(rival);
	rival->host = chance(race.hosts);
	rival->is_long = chance(3) == 0;
	rival->due_since = rival->runs_until = UINT64_MAX;
	name = t_strdup_printf("host%u", rival->host);
	rival->account = add((void *)rival, name, DUE_NEVER);
	if (rival->is_long)
		due_expect_long(rival->account);
}

static void race_init(void)
{
	unsigned int i;

	race.hosts = 1 + chance(MAX_HOSTS);
	race.accounts = 1 + chance(MAX_ACCOUNTS);
	race.places = 2 + chance(8);
	race.places_per_host = 2 + chance(4);
	queue_init(race.places, race.places_per_host);
	for (i = 0; i < race.accounts; i++)
		race_add(&race.rivals[i]);
}

/* They are in one line. */
static bool race_is_same(const struct rival *a, const struct rival *b)
{
	return a->host == b->host && a->is_long == b->is_long;
}

/* t * (n * h / m + n / p + 8), and t a tick more, for that is how often
   somebody looks */
static uint64_t race_bound(const struct rival *rival)
{
	unsigned int m = (race.places + 3) / 4;
	unsigned int p = (race.places_per_host + 3) / 4;
	unsigned int i, n = 0;

	for (i = 0; i < race.accounts; i++) {
		if (race_is_same(&race.rivals[i], rival))
			n++;
	}
	return (SHORT_RUN + 1) * TICK * (n * race.hosts / m + n / p + 8);
}

static void race_start(struct rival *rival, uint64_t now)
{
	unsigned int i;

	if (!rival->is_long)
		ck_assert_uint_le(now - rival->due_since, race_bound(rival));
	rival->due_since = UINT64_MAX;
	rival->runs_until = now + TICK * (rival->is_long ?
		DUE_LONG_MSECS / TICK + chance(LONG_RUN) :
		1 + chance(SHORT_RUN));
	for (i = 0; i < race.accounts; i++) {
		struct rival *other = &race.rivals[i];

		other->overtook[rival - race.rivals] = 0;
		if (other->due_since != UINT64_MAX &&
		    race_is_same(rival, other))
			ck_assert_uint_eq(rival->overtook[i]++, 0);
	}
}

static void race_wake(struct rival *rival, uint64_t now)
{
	if (rival->due_since != UINT64_MAX || rival->runs_until != UINT64_MAX)
		return;
	rival->due_since = now;
	wake(rival->account, now);
}

static void race_step(uint64_t now, unsigned int busy)
{
	struct due_account *account;
	unsigned int i;

	for (i = 0; i < race.accounts; i++) {
		struct rival *rival = &race.rivals[i];

		if (rival->runs_until <= now) {
			rival->runs_until = UINT64_MAX;
			due_finished(rival->account, now, DUE_NEVER, FALSE);
		}
		if (chance(100) < busy)
			race_wake(rival, now);
	}
	while ((account = due_next(queue, now, &look_again)) != NULL)
		race_start(due_context(account), now);
}

START_TEST(nobody_starves)
{
	unsigned int seed = (getenv("TEST_SEED") != NULL ?
			     atoi(getenv("TEST_SEED")) : 1) + _i;
	struct due_stat stat;
	unsigned int busy;
	uint64_t tick;

	srandom(seed);
	printf("seed %u\n", seed);
	race_init();
	busy = 1 + chance(100);
	for (tick = 1; tick < 3000; tick++)
		race_step(tick * TICK, busy);
	/* and at last nobody is left */
	for (; tick < 10000; tick++)
		race_step(tick * TICK, 0);
	due_get_stat(queue, tick * TICK, &stat);
	ck_assert_uint_eq(stat.waiting, race.accounts);
}
END_TEST

/* Any calls in any order: the limits hold, and whoever can start does. */

struct guest {
	struct due_account *account;
	/* by its settings */
	unsigned int host;
	/* where it runs, -1 = it does not */
	int place;
};

static struct {
	struct guest guests[MAX_ACCOUNTS];
	unsigned int running, running_on[MAX_HOSTS];
} inn;

#define INN_PLACES 6
#define INN_PLACES_PER_HOST 3

static void inn_leave(struct guest *guest)
{
	if (guest->place < 0)
		return;
	inn.running--;
	inn.running_on[guest->place]--;
	guest->place = -1;
}

static void
inn_settings(struct guest *guest, struct due_account_settings *set_r)
{
	guest->host = chance(MAX_HOSTS);
	set_r->host = t_strdup_printf("host%u", guest->host);
	set_r->interval_msecs = chance(3) * MINUTE;
}

static void inn_toggle(struct guest *guest, uint64_t now)
{
	struct due_account_settings set;

	if (guest->account != NULL) {
		inn_leave(guest);
		due_remove(&guest->account);
		return;
	}
	inn_settings(guest, &set);
	guest->place = -1;
	guest->account = due_add(queue, &set, now + chance(2 * MINUTE) -
				 chance(MINUTE), chance(3) == 0, guest);
}

static void inn_do(struct guest *guest, uint64_t now)
{
	struct due_account_settings set;

	switch (chance(6)) {
	case 0:
		due_wake(guest->account, DUE_WAKE_NEWS, now);
		break;
	case 1:
		due_wake(guest->account, DUE_WAKE_NOW, now);
		break;
	case 2:
		due_expect_long(guest->account);
		break;
	case 3:
		inn_settings(guest, &set);
		due_change(guest->account, &set, now);
		break;
	case 4:
		inn_leave(guest);
		due_finished(guest->account, now, chance(5) == 0 ? DUE_NEVER :
			     now + chance(MINUTE), chance(3) == 0);
		break;
	case 5:
		if (guest->place >= 0) {
			inn_leave(guest);
			due_postpone(guest->account, now + chance(1000));
		}
		break;
	}
}

static void inn_start(struct guest *guest)
{
	ck_assert_int_eq(guest->place, -1);
	guest->place = guest->host;
	ck_assert_uint_le(++inn.running, INN_PLACES);
	ck_assert_uint_le(++inn.running_on[guest->place], INN_PLACES_PER_HOST);
}

/* Nobody is due where all is free, unless long runs have all places but those
   that are not for them. */
static bool inn_is_in_order(const struct guest *guest)
{
	return guest->account == NULL ||
		(due_is_running(guest->account) == (guest->place >= 0) &&
		 (due_state(guest->account) != DUE_STATE_DUE ||
		  inn.running_on[guest->host] > 0 ||
		  inn.running >= INN_PLACES - (INN_PLACES + 3) / 4));
}

static void inn_check(uint64_t now)
{
	struct due_stat stat;
	unsigned int i;

	due_get_stat(queue, now, &stat);
	ck_assert_uint_eq(stat.running, inn.running);
	for (i = 0; i < MAX_ACCOUNTS; i++) {
		if (!inn_is_in_order(&inn.guests[i]))
			ck_abort_msg("guest %u at %u", i, (unsigned int)now);
	}
}

START_TEST(any_calls)
{
	unsigned int seed = (getenv("TEST_SEED") != NULL ?
			     atoi(getenv("TEST_SEED")) : 1) + _i;
	struct due_account *account;
	uint64_t now = 10 * MINUTE;
	unsigned int i;

	srandom(seed);
	printf("seed %u\n", seed);
	queue_init(INN_PLACES, INN_PLACES_PER_HOST);
	i_zero(&inn);
	for (i = 0; i < 5000; i++) T_BEGIN {
		struct guest *guest = &inn.guests[chance(MAX_ACCOUNTS)];

		if (guest->account == NULL || chance(30) == 0)
			inn_toggle(guest, now);
		else
			inn_do(guest, now);
		while ((account = due_next(queue, now, &look_again)) != NULL)
			inn_start(due_context(account));
		ck_assert_uint_gt(look_again, now);
		inn_check(now);
		now += chance(3) * chance(2000);
	} T_END;
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("due");
	TCase *tc = tcase_create("due");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_checked_fixture(tc, NULL, teardown);
	tcase_add_test(tc, in_time);
	tcase_add_test(tc, overtaken);
	tcase_add_test(tc, places);
	tcase_add_test(tc, full_is_not_late);
	tcase_add_test(tc, least_recently_served);
	tcase_add_test(tc, hosts_take_turns);
	tcase_add_test(tc, wake_waiting);
	tcase_add_test(tc, wake_backed_off);
	tcase_add_loop_test(tc, wake_running, 0, N_ELEMENTS(meanwhile));
	tcase_add_test(tc, wake_now_goes_first);
	tcase_add_test(tc, run_by_other_hands);
	tcase_add_test(tc, postponed);
	tcase_add_test(tc, postponed_as_it_was);
	tcase_add_test(tc, change_host);
	tcase_add_loop_test(tc, change_interval, 0, N_ELEMENTS(intervals));
	tcase_add_test(tc, change_is_no_wake);
	tcase_add_test(tc, removed);
	tcase_add_loop_test(tc, crowd, 0, N_ELEMENTS(crowds));
	tcase_add_test(tc, crowd_once);
	tcase_add_test(tc, long_runs);
	tcase_add_test(tc, long_run_is_seen);
	tcase_add_loop_test(tc, long_run_is_learnt, 0, N_ELEMENTS(durations));
	tcase_add_loop_test(tc, nobody_starves, 0, 50);
	tcase_add_loop_test(tc, any_calls, 0, 10);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
