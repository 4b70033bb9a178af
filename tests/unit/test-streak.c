/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "core/streak.h"

#include <check.h>

static pool_t pool;

static void setup(void)
{
	pool = pool_allocfree_create("test streak");
}

static void teardown(void)
{
	pool_unref(&pool);
}

START_TEST(streak_ends_once)
{
	struct streak_table *table = streak_table_create(pool, 16, 7);

	ck_assert(!streak_take(table, 0));
	ck_assert(!streak_take(table, 5));
	streak_add(table, 5);
	streak_add(table, 5);
	streak_add(table, 0);
	ck_assert_uint_eq(streak_count(table), 2);
	ck_assert(!streak_take(table, 5 + 16));
	ck_assert(streak_take(table, 5));
	ck_assert(!streak_take(table, 5));
	ck_assert(streak_take(table, 0));
	ck_assert_uint_eq(streak_count(table), 0);
}
END_TEST

/* Five in a bucket of four: the one that grew longest ago goes. */
START_TEST(streak_forgets_the_oldest)
{
	struct streak_table *table = streak_table_create(pool, 1, 7);
	uint64_t key;

	for (key = 1; key <= 4; key++)
		streak_add(table, key);
	streak_add(table, 1);
	streak_add(table, 5);
	ck_assert_uint_eq(streak_count(table), 4);
	ck_assert(!streak_take(table, 2));
	ck_assert(streak_take(table, 3));
	ck_assert(streak_take(table, 1));
	ck_assert(streak_take(table, 4));
	ck_assert(streak_take(table, 5));
	ck_assert_uint_eq(streak_count(table), 0);
}
END_TEST

START_TEST(streak_is_bounded)
{
	struct streak_table *table = streak_table_create(pool, 64, 7);
	uint64_t key;

	for (key = 0; key < 100000; key++)
		streak_add(table, key * 0x9e3779b97f4a7c15ULL);
	ck_assert_uint_le(streak_count(table), 64 * 4);
	ck_assert_uint_ge(streak_count(table), 64);
}
END_TEST

START_TEST(streak_keys)
{
	struct streak_table *table =
		streak_table_create(pool, 1, 0x123456789abcdef0ULL);
	struct streak_table *other =
		streak_table_create(pool, 1, 0x123456799abcdef1ULL);
	uint64_t anna = streak_key(table, "anna");
	uint64_t anna_there = streak_key_at(table, anna, "::1");

	ck_assert(anna == streak_key(table, "anna"));
	ck_assert(anna != streak_key(other, "anna"));
	ck_assert(anna != streak_key(table, "annb"));
	ck_assert(anna != streak_key_at(table, anna, ""));
	ck_assert(anna_there == streak_key_at(table, anna, "::1"));
	ck_assert(anna_there != streak_key_at(table, anna, "::2"));
	ck_assert(anna_there != streak_key(table, "anna::1"));
	ck_assert(anna_there !=
		  streak_key_at(table, streak_key(table, "anna:"), ":1"));
	ck_assert(streak_key(table, "") != streak_key(table, "\001"));
}
END_TEST

/* It says so for a user as long as any of the user's keys is there, whether
   they were taken or made room. */
START_TEST(streak_may_end_knows_users)
{
	struct streak_table *table =
		streak_table_create(pool, 1, 0x123456789abcdef0ULL);
	uint64_t anna = streak_key(table, "anna");
	uint64_t berta = streak_key(table, "berta");
	uint64_t anna_there = streak_key_at(table, anna, "::1");

	ck_assert(!streak_may_end(table, anna));
	streak_add(table, anna);
	streak_add(table, anna);
	streak_add(table, anna_there);
	ck_assert(streak_may_end(table, anna));
	ck_assert(!streak_may_end(table, berta));
	ck_assert(streak_take(table, anna));
	ck_assert(!streak_take(table, anna));
	ck_assert(streak_may_end(table, anna));
	ck_assert(streak_take(table, anna_there));
	ck_assert(!streak_may_end(table, anna));

	streak_add(table, anna);
	streak_add(table, berta);
	streak_add(table, streak_key_at(table, berta, "::1"));
	streak_add(table, streak_key_at(table, berta, "::2"));
	ck_assert(streak_may_end(table, anna));
	streak_add(table, streak_key_at(table, berta, "::3"));
	ck_assert(!streak_may_end(table, anna));
	ck_assert(streak_may_end(table, berta));
}
END_TEST

/* Ten thousand users at one address have keys and buckets of their own. */
START_TEST(streak_keys_spread)
{
	struct streak_table *table =
		streak_table_create(pool, 16384, 0xfedcba9876543210ULL);
	unsigned int i;

	for (i = 0; i < 10000; i++) T_BEGIN {
		streak_add(table, streak_key_at(
			table, streak_key(table, t_strdup_printf("user%u", i)),
			"192.0.2.1"));
	} T_END;
	ck_assert_uint_gt(streak_count(table), 9950);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("streak");
	TCase *tc = tcase_create("streak");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, streak_ends_once);
	tcase_add_test(tc, streak_forgets_the_oldest);
	tcase_add_test(tc, streak_is_bounded);
	tcase_add_test(tc, streak_keys);
	tcase_add_test(tc, streak_may_end_knows_users);
	tcase_add_test(tc, streak_keys_spread);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
