/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "core/http-token.h"

#include <check.h>

static const struct http_token_limits limits = {
	.ttl_secs = 100,
	.max_per_user = 3,
	.max_all = 5,
};
static struct http_token_table *table;

static void setup(void)
{
	table = http_token_table_init(&limits);
}

static void teardown(void)
{
	http_token_table_deinit(&table);
	ck_assert_ptr_null(table);
}

static const char *add(unsigned int seed, const char *user, time_t now)
{
	unsigned char random[HTTP_TOKEN_BYTES];

	memset(random, 0, sizeof(random));
	memcpy(random, &seed, sizeof(seed));
	return http_token_add(table, random, user, now);
}

START_TEST(token_stands_for_user)
{
	const char *anna = add(1, "anna", 1000), *bert = add(2, "bert", 1001);

	ck_assert_uint_eq(strlen(anna), HTTP_TOKEN_LENGTH);
	ck_assert_uint_eq(strspn(anna, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
		"abcdefghijklmnopqrstuvwxyz0123456789-_"), HTTP_TOKEN_LENGTH);
	ck_assert_str_eq(http_token_find(table, anna, 1001), "anna");
	ck_assert_str_eq(http_token_find(table, bert, 1001), "bert");
	/* again, too */
	ck_assert_str_eq(http_token_find(table, anna, 1001), "anna");
}
END_TEST

START_TEST(token_is_one_of_ours)
{
	const char *anna = add(1, "anna", 1000);

	ck_assert_ptr_null(http_token_find(table, "", 1000));
	ck_assert_ptr_null(http_token_find(table, "anna", 1000));
	ck_assert_ptr_null(http_token_find(table, t_strconcat(anna, "A", NULL),
					   1000));
	ck_assert_ptr_null(http_token_find(table, anna + 1, 1000));
}
END_TEST

START_TEST(token_expires)
{
	const char *anna = add(1, "anna", 1000);

	ck_assert_str_eq(http_token_find(table, anna, 1099), "anna");
	ck_assert_ptr_null(http_token_find(table, anna, 1100));
	ck_assert_uint_eq(http_token_count(table), 0);
	ck_assert_ptr_null(http_token_find(table, anna, 1000));
}
END_TEST

/* The clock was set back by a day: it must not live a day longer. */
START_TEST(token_from_the_future)
{
	const char *anna = add(1, "anna", 100000);

	ck_assert_ptr_null(http_token_find(table, anna, 10000));
}
END_TEST

START_TEST(token_oldest_of_user_goes)
{
	const char *first = add(1, "anna", 1000), *bert = add(9, "bert", 1000);
	const char *second = add(2, "anna", 1000);

	(void)add(3, "anna", 1001);
	ck_assert_str_eq(http_token_find(table, first, 1001), "anna");
	(void)add(4, "anna", 1001);
	ck_assert_ptr_null(http_token_find(table, first, 1001));
	ck_assert_str_eq(http_token_find(table, second, 1001), "anna");
	ck_assert_str_eq(http_token_find(table, bert, 1001), "bert");
}
END_TEST

START_TEST(token_table_is_bounded)
{
	const char *first = add(0, "u0", 1000), *last = first;
	unsigned int i;

	for (i = 1; i <= 5; i++)
		last = add(i, t_strdup_printf("u%u", i), 1000);
	ck_assert_uint_eq(http_token_count(table), 5);
	ck_assert_ptr_null(http_token_find(table, first, 1000));
	ck_assert_str_eq(http_token_find(table, last, 1000), "u5");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("http-token");
	TCase *tc = tcase_create("http-token");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, token_stands_for_user);
	tcase_add_test(tc, token_is_one_of_ours);
	tcase_add_test(tc, token_expires);
	tcase_add_test(tc, token_from_the_future);
	tcase_add_test(tc, token_oldest_of_user_goes);
	tcase_add_test(tc, token_table_is_bounded);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
