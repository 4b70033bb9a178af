/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "array.h"
#include "dovecot-compat.h"
#include "core/webhook-sign.h"

#include <check.h>

static pool_t pool;
static ARRAY_TYPE(webhook_secret) secrets;

static void setup(void)
{
	pool = pool_allocfree_create("test webhook sign");
	p_array_init(&secrets, pool, 1);
}

static void teardown(void)
{
	pool_unref(&pool);
}

/* the example that Standard Webhooks' own libraries are tested with */
START_TEST(webhook_sign_as_others)
{
	const char *error;

	ck_assert_int_eq(webhook_secrets_parse(pool,
		"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &secrets,
		&error), 0);
	ck_assert_str_eq(webhook_sign(&secrets, "msg_p5jXN8AQM9LWM0D4loKWxJek",
				      1614265330, "{\"test\": 2432232314}"),
		"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}
END_TEST

START_TEST(webhook_sign_with_two)
{
	const char *first, *both, *error;

	ck_assert_int_eq(webhook_secrets_parse(pool, "0123456789abcdef",
					       &secrets, &error), 0);
	first = webhook_sign(&secrets, "1.1", 1, "{}");
	array_clear(&secrets);
	ck_assert_int_eq(webhook_secrets_parse(pool,
		" 0123456789abcdef  fedcba9876543210 ", &secrets, &error), 0);
	both = webhook_sign(&secrets, "1.1", 1, "{}");
	ck_assert_uint_eq(array_count(&secrets), 2);
	ck_assert_ptr_nonnull(strstr(both, first));
	ck_assert_uint_eq(strlen(both), strlen(first) * 2 + 1);
}
END_TEST

START_TEST(webhook_sign_covers_all)
{
	const char *sign, *error;

	ck_assert_int_eq(webhook_secrets_parse(pool, "0123456789abcdef",
					       &secrets, &error), 0);
	sign = webhook_sign(&secrets, "1.1", 1, "{}");
	ck_assert_str_ne(sign, webhook_sign(&secrets, "1.2", 1, "{}"));
	ck_assert_str_ne(sign, webhook_sign(&secrets, "1.1", 2, "{}"));
	ck_assert_str_ne(sign, webhook_sign(&secrets, "1.1", 1, "{ }"));
}
END_TEST

static const struct { const char *text, *error; } bad[] = {
	{ "", "no secret" },
	{ "  ", "no secret" },
	{ "0123456789abcde", "16 bytes" },
	{ "0123456789abcdef short", "16 bytes" },
	{ "whsec_MfKQ9r8GKYqr", "16 bytes" },
	{ "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS", "base64" },
	{ "whsec_!!", "base64" },
};

START_TEST(webhook_secrets_bad)
{
	const char *error = "";

	ck_assert_int_eq(webhook_secrets_parse(pool, bad[_i].text, &secrets,
					       &error), -1);
	ck_assert_ptr_nonnull(strstr(error, bad[_i].error));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("webhook-sign");
	TCase *tc = tcase_create("webhook-sign");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, webhook_sign_as_others);
	tcase_add_test(tc, webhook_sign_with_two);
	tcase_add_test(tc, webhook_sign_covers_all);
	tcase_add_loop_test(tc, webhook_secrets_bad, 0, N_ELEMENTS(bad));
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
