/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "str.h"
#include "core/back-off.h"

#include <check.h>

#define SECS(n) ((n) * 1000ULL)
#define MINUTE SECS(60)

/* seconds after each of a row of failures, without jitter */
static const struct {
	enum reply_class class;
	uint64_t interval_msecs;
	const char *waits;
} rows[] = {
	{ REPLY_CLASS_OK, MINUTE, "60 60 60 60 60 60 60 60 60" },
	{ REPLY_CLASS_FOLDER, MINUTE, "60 60 60 60 60 60 60 60 60" },
	{ REPLY_CLASS_MESSAGE, MINUTE, "60 60 60 60 60 60 60 60 60" },
	{ REPLY_CLASS_STOPPED, MINUTE, "60 60 60 60 60 60 60 60 60" },
	{ REPLY_CLASS_NETWORK, MINUTE, "15 30 60 120 300 900 900 900 900" },
	{ REPLY_CLASS_DNS, MINUTE, "15 30 60 120 300 900 900 900 900" },
	{ REPLY_CLASS_SERVER, MINUTE, "15 30 60 120 300 900 900 900 900" },
	{ REPLY_CLASS_PROTOCOL, MINUTE, "15 30 60 120 300 900 900 900 900" },
	{ REPLY_CLASS_TLS, MINUTE, "15 30 60 120 300 900 3600 3600 3600" },
	{ REPLY_CLASS_THROTTLED, MINUTE,
	  "120 240 480 960 1920 3600 3600 3600 3600" },
	{ REPLY_CLASS_CREDENTIAL, MINUTE,
	  "300 900 3600 10800 21600 21600 21600 21600 21600" },
	{ REPLY_CLASS_USER_ACTION, MINUTE,
	  "300 900 3600 10800 21600 21600 21600 21600 21600" },
	{ REPLY_CLASS_TOKEN, MINUTE,
	  "300 900 3600 10800 21600 21600 21600 21600 21600" },
	{ REPLY_CLASS_LOCAL, MINUTE,
	  "60 120 240 480 960 1800 1800 1800 1800" },
	{ REPLY_CLASS_QUOTA, MINUTE,
	  "60 120 240 480 960 1800 1800 1800 1800" },
	{ REPLY_CLASS_CONFIG, MINUTE,
	  "3600 3600 3600 3600 3600 3600 3600 3600 3600" },
	{ REPLY_CLASS_POLICY, MINUTE,
	  "3600 3600 3600 3600 3600 3600 3600 3600 3600" },
	{ REPLY_CLASS_BUSY, MINUTE, "10 20 40 60 60 60 60 60 60" },
	/* quick at first; never more often than it asked for in the end */
	{ REPLY_CLASS_NETWORK, SECS(7200),
	  "15 30 60 120 300 7200 7200 7200 7200" },
	{ REPLY_CLASS_CREDENTIAL, SECS(86400),
	  "300 900 3600 10800 86400 86400 86400 86400 86400" },
	{ REPLY_CLASS_CONFIG, SECS(86400),
	  "86400 86400 86400 86400 86400 86400 86400 86400 86400" },
	/* it was woken for something that is still there */
	{ REPLY_CLASS_OK, 0, "- - - - - - - - -" },
	{ REPLY_CLASS_FOLDER, 0, "- - - - - - - - -" },
	{ REPLY_CLASS_STOPPED, 0, "- - - - - - - - -" },
	{ REPLY_CLASS_NETWORK, 0, "15 30 60 120 300 900 900 900 900" },
};

static void add_wait(string_t *str, uint64_t wait)
{
	if (str_len(str) > 0)
		str_append_c(str, ' ');
	if (wait == UINT64_MAX) {
		str_append_c(str, '-');
	} else {
		ck_assert_uint_eq(wait % 1000, 0);
		str_printfa(str, "%u", (unsigned int)(wait / 1000));
	}
}

START_TEST(row)
{
	string_t *str = t_str_new(64);
	struct back_off state;
	unsigned int i;

	i_zero(&state);
	for (i = 0; i < 9; i++) {
		add_wait(str, back_off_next(&state, rows[_i].class, 0,
					    rows[_i].interval_msecs, 0));
	}
	ck_assert_str_eq(str_c(str), rows[_i].waits);
}
END_TEST

/* Every class has its row: none is forgotten when one is added. */
START_TEST(row_of_each)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(rows); i++) {
		if ((int)rows[i].class == _i)
			return;
	}
	ck_abort_msg("%s", reply_class_name(_i));
}
END_TEST

#define END REPLY_CLASS_COUNT

/* What comes after what: seconds, and "!" while it is backed off. */
static const struct {
	enum reply_class classes[8];
	const char *waits;
} stories[] = {
	/* one good run, and it begins anew */
	{ { REPLY_CLASS_NETWORK, REPLY_CLASS_NETWORK, REPLY_CLASS_OK,
	    REPLY_CLASS_NETWORK, END }, "15! 30! 60 15!" },
	/* the same trouble by other names */
	{ { REPLY_CLASS_NETWORK, REPLY_CLASS_DNS, REPLY_CLASS_SERVER,
	    REPLY_CLASS_PROTOCOL, END }, "15! 30! 60! 120!" },
	{ { REPLY_CLASS_NETWORK, REPLY_CLASS_NETWORK, REPLY_CLASS_LOCAL,
	    REPLY_CLASS_NETWORK, END }, "15! 30! 60! 15!" },
	/* a flapping server makes nobody ask for the password more often */
	{ { REPLY_CLASS_CREDENTIAL, REPLY_CLASS_NETWORK,
	    REPLY_CLASS_CREDENTIAL, REPLY_CLASS_THROTTLED, REPLY_CLASS_TOKEN,
	    REPLY_CLASS_BUSY, REPLY_CLASS_USER_ACTION, END },
	  "300! 15! 900! 120! 3600! 10! 10800!" },
	/* a login that works ends that; one bad folder is no failure */
	{ { REPLY_CLASS_CREDENTIAL, REPLY_CLASS_CREDENTIAL,
	    REPLY_CLASS_FOLDER, REPLY_CLASS_CREDENTIAL, END },
	  "300! 900! 60 300!" },
	/* nothing was learnt */
	{ { REPLY_CLASS_CREDENTIAL, REPLY_CLASS_CREDENTIAL,
	    REPLY_CLASS_STOPPED, REPLY_CLASS_STOPPED, REPLY_CLASS_CREDENTIAL,
	    END },
	  "300! 900! 900! 900! 3600!" },
	{ { REPLY_CLASS_STOPPED, REPLY_CLASS_NETWORK, END }, "60 15!" },
};

START_TEST(story)
{
	const enum reply_class *classes = stories[_i].classes;
	string_t *str = t_str_new(64);
	struct back_off state;
	unsigned int i;

	i_zero(&state);
	for (i = 0; classes[i] != END; i++) {
		add_wait(str, back_off_next(&state, classes[i], 0, MINUTE, 0));
		if (back_off_is_on(&state))
			str_append_c(str, '!');
	}
	ck_assert_str_eq(str_c(str), stories[_i].waits);
}
END_TEST

static const struct {
	enum reply_class class;
	unsigned int wait_secs;
	uint64_t expected;
} asked[] = {
	/* the least it gets, not the most */
	{ REPLY_CLASS_THROTTLED, 299, SECS(299) },
	{ REPLY_CLASS_THROTTLED, 10, SECS(120) },
	{ REPLY_CLASS_SERVER, 299, SECS(299) },
	{ REPLY_CLASS_CREDENTIAL, 1200, SECS(1200) },
	/* one folder's trouble is not the others' */
	{ REPLY_CLASS_FOLDER, 299, MINUTE },
	{ REPLY_CLASS_OK, 299, MINUTE },
	/* nobody is locked out for ever */
	{ REPLY_CLASS_THROTTLED, UINT_MAX, SECS(86400) },
};

START_TEST(wait_asked_for)
{
	struct back_off state;
	uint64_t wait, latest;

	i_zero(&state);
	wait = back_off_next(&state, asked[_i].class, asked[_i].wait_secs,
			     MINUTE, 0);
	ck_assert_uint_eq(wait, asked[_i].expected);
	if (asked[_i].expected != asked[_i].wait_secs * 1000ULL)
		return;
	/* chance only adds */
	i_zero(&state);
	latest = back_off_next(&state, asked[_i].class, asked[_i].wait_secs,
			       MINUTE, UINT32_MAX);
	ck_assert_uint_gt(latest, wait);
	ck_assert_uint_le(latest, wait + wait / 10);
}
END_TEST

START_TEST(jitter)
{
	struct back_off state;
	uint64_t wait;

	i_zero(&state);
	wait = back_off_next(&state, REPLY_CLASS_OK, 0, MINUTE, UINT32_MAX);
	ck_assert_uint_ge(wait, MINUTE - MINUTE / 10);
	ck_assert_uint_lt(wait, MINUTE - MINUTE / 11);
	wait = back_off_next(&state, REPLY_CLASS_OK, 0, MINUTE, 1U << 31);
	ck_assert_uint_eq(wait, MINUTE - MINUTE / 20);
	/* no number is too big, none becomes nothing */
	wait = back_off_next(&state, REPLY_CLASS_OK, 0, 1, UINT32_MAX);
	ck_assert_uint_eq(wait, 1);
	wait = back_off_next(&state, REPLY_CLASS_OK, 0, SECS(86400) * 3650,
			     UINT32_MAX);
	ck_assert_uint_ge(wait, SECS(86400) * 3285);
	ck_assert_uint_le(wait, SECS(86400) * 3286);
}
END_TEST

/* What a database may hold that another program wrote to. */
START_TEST(odd_state)
{
	struct back_off state = { .class = REPLY_CLASS_CREDENTIAL };

	ck_assert_uint_eq(back_off_next(&state, REPLY_CLASS_STOPPED, 0, MINUTE,
					0), SECS(300));
	state.failures = state.refusals = UINT_MAX;
	ck_assert_uint_eq(back_off_next(&state, REPLY_CLASS_CREDENTIAL, 0,
					MINUTE, 0), SECS(21600));
	ck_assert_uint_eq(state.refusals, UINT_MAX);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("back-off");
	TCase *tc = tcase_create("back-off");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_loop_test(tc, row, 0, N_ELEMENTS(rows));
	tcase_add_loop_test(tc, row_of_each, 0, REPLY_CLASS_COUNT);
	tcase_add_loop_test(tc, story, 0, N_ELEMENTS(stories));
	tcase_add_loop_test(tc, wait_asked_for, 0, N_ELEMENTS(asked));
	tcase_add_test(tc, jitter);
	tcase_add_test(tc, odd_state);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
