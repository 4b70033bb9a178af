/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "core/watch-turns.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define HOSTS 5
#define MAX 6
#define MAX_PER_HOST 2

struct login {
	struct watch_turn *turn;
	unsigned int host, number;
	bool begun;
};

static struct watch_turns *turns;
static struct login logins[200];
static unsigned int begun, begun_at[HOSTS], last_number[HOSTS];

static void setup(void)
{
	turns = watch_turns_init(MAX, MAX_PER_HOST);
	i_zero(&logins);
	i_zero(&begun_at);
	i_zero(&last_number);
	begun = 0;
}

static void teardown(void)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(logins); i++)
		watch_turn_end(&logins[i].turn);
	watch_turns_deinit(&turns);
}

/* A host is one, however it is written. */
static void login_wait(struct login *login, unsigned int host)
{
	static unsigned int number = 0;
	char name[] = "host-0";

	name[0] = random() % 2 == 0 ? 'h' : 'H';
	name[5] += host;
	login->host = host;
	login->number = ++number;
	login->begun = FALSE;
	login->turn = watch_turn_wait(turns, name, login);
}

static void login_end(struct login *login)
{
	watch_turn_end(&login->turn);
	ck_assert_ptr_null(login->turn);
	if (login->begun) {
		begun--;
		begun_at[login->host]--;
	}
}

static void login_begin(struct login *login)
{
	ck_assert(!login->begun);
	login->begun = TRUE;
	ck_assert_uint_le(++begun, MAX);
	ck_assert_uint_le(++begun_at[login->host], MAX_PER_HOST);
	/* first come, first served */
	ck_assert_uint_gt(login->number, last_number[login->host]);
	last_number[login->host] = login->number;
}

static void begin_all(void)
{
	struct login *login;

	while ((login = watch_turns_next(turns)) != NULL)
		login_begin(login);
}

/* After begin_all() whoever waits has a reason to. */
static bool all_have_reasons(void)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(logins); i++) {
		if (logins[i].turn != NULL && !logins[i].begun &&
		    begun < MAX && begun_at[logins[i].host] < MAX_PER_HOST)
			return FALSE;
	}
	return TRUE;
}

START_TEST(turns_random)
{
	unsigned int n, i, seed = getenv("TEST_SEED") != NULL ?
		atoi(getenv("TEST_SEED")) : time(NULL);

	printf("watch-turns: seed %u\n", seed);
	srandom(seed);
	for (n = 0; n < 5000; n++) {
		i = random() % N_ELEMENTS(logins);
		if (logins[i].turn != NULL)
			login_end(&logins[i]);
		else
			login_wait(&logins[i], random() % HOSTS);
		begin_all();
		ck_assert(all_have_reasons());
	}
}
END_TEST

/* A host with many does not hold up one with few. */
START_TEST(turns_of_hosts)
{
	unsigned int i;

	for (i = 0; i < 100; i++)
		login_wait(&logins[i], 0);
	login_wait(&logins[100], 1);
	begin_all();
	ck_assert_uint_eq(begun_at[0], MAX_PER_HOST);
	ck_assert(logins[100].begun);
}
END_TEST

/* When all places are taken, hosts take turns. */
START_TEST(turns_are_taken)
{
	unsigned int i, ended;

	for (i = 0; i < 100; i++)
		login_wait(&logins[i], i < 50 ? 0 : 1 + i % 4);
	begin_all();
	ck_assert_uint_eq(begun, MAX);
	for (ended = 0; ended < 20; ended++) {
		for (i = 0; !logins[i].begun || logins[i].turn == NULL; i++) ;
		login_end(&logins[i]);
		begin_all();
	}
	for (i = 1; i < HOSTS; i++)
		ck_assert_uint_gt(last_number[i], 0);
}
END_TEST

/* Those of servers that do not answer: others log in meanwhile, but not there,
   and when they end at last, nothing is free that was not before. */
START_TEST(turns_that_are_slow)
{
	unsigned int i;

	for (i = 0; i < 2 * MAX; i++)
		login_wait(&logins[i], i % 3);
	begin_all();
	ck_assert_uint_eq(begun, MAX);
	login_wait(&logins[100], 3);
	login_wait(&logins[101], 4);
	ck_assert_ptr_null(watch_turns_next(turns));
	watch_turn_slow(logins[0].turn);
	watch_turn_slow(logins[0].turn);
	ck_assert_ptr_eq(watch_turns_next(turns), &logins[100]);
	ck_assert_ptr_null(watch_turns_next(turns));
	watch_turn_end(&logins[0].turn);
	ck_assert_ptr_null(watch_turns_next(turns));
	watch_turn_end(&logins[100].turn);
	ck_assert_ptr_eq(watch_turns_next(turns), &logins[101]);
	ck_assert_ptr_null(watch_turns_next(turns));
	watch_turn_end(&logins[101].turn);
	/* of the first one's host */
	ck_assert_ptr_eq(watch_turns_next(turns), &logins[6]);
	ck_assert_ptr_null(watch_turns_next(turns));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("watch-turns");
	TCase *tc = tcase_create("watch-turns");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, turns_random);
	tcase_add_test(tc, turns_of_hosts);
	tcase_add_test(tc, turns_are_taken);
	tcase_add_test(tc, turns_that_are_slow);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
