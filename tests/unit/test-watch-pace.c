/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "core/watch-pace.h"

#include <check.h>

/* News every interval_msecs for so long: how often they are told. */
static unsigned int
count_told(struct watch_pace *pace, uint64_t *now, uint64_t interval_msecs,
	   uint64_t msecs)
{
	uint64_t end = *now + msecs;
	unsigned int told = 0;

	for (; *now < end; *now += interval_msecs) {
		if (watch_pace_wait(pace, *now) > 0)
			continue;
		watch_pace_told(pace, *now);
		told++;
	}
	return told;
}

START_TEST(pace_of_a_stream)
{
	struct watch_pace pace = { 0 };
	uint64_t now = 12345;
	unsigned int told;

	/* ten minutes of news every second */
	told = count_told(&pace, &now, 1000, 600*1000);
	ck_assert_uint_ge(told, 60);
	ck_assert_uint_le(told, 60 + WATCH_PACE_BURST);
	/* and all is well again after some silence */
	now += WATCH_PACE_BURST * WATCH_PACE_MSECS;
	ck_assert_uint_eq(count_told(&pace, &now, 1000, 9000), 9);
}
END_TEST

/* Mail as it comes is told as it comes. */
START_TEST(pace_of_mail)
{
	struct watch_pace pace = { 0 };
	uint64_t now = 0;

	ck_assert_uint_eq(count_told(&pace, &now, WATCH_PACE_MSECS,
				     100 * WATCH_PACE_MSECS), 100);
}
END_TEST

/* Who waits as long as is said may tell then, and not before. */
START_TEST(pace_wait)
{
	struct watch_pace pace = { 0 };
	uint64_t now = 5, wait;
	unsigned int i;

	for (i = 0; i < WATCH_PACE_BURST; i++) {
		ck_assert_uint_eq(watch_pace_wait(&pace, now), 0);
		watch_pace_told(&pace, now);
	}
	wait = watch_pace_wait(&pace, now);
	ck_assert_uint_eq(wait, WATCH_PACE_MSECS);
	ck_assert_uint_eq(watch_pace_wait(&pace, now + wait - 1), 1);
	ck_assert_uint_eq(watch_pace_wait(&pace, now + wait), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("watch-pace");
	TCase *tc = tcase_create("watch-pace");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_test(tc, pace_of_a_stream);
	tcase_add_test(tc, pace_of_mail);
	tcase_add_test(tc, pace_wait);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
