/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "core/channel-verdict.h"

#include <check.h>

static const struct {
	enum channel_smtp_step step;
	unsigned int status;
	enum channel_result result;
} smtp[] = {
	{ CHANNEL_SMTP_DATA, 250, CHANNEL_TOLD },
	{ CHANNEL_SMTP_RCPT, 550, CHANNEL_FAILED },
	{ CHANNEL_SMTP_RCPT, 451, CHANNEL_LATER },
	{ CHANNEL_SMTP_RCPT, 421, CHANNEL_LATER },
	{ CHANNEL_SMTP_DATA, 452, CHANNEL_LATER },
	{ CHANNEL_SMTP_DATA, 554, CHANNEL_FAILED },
	/* refused as such: not the recipient's fault */
	{ CHANNEL_SMTP_OPEN, 554, CHANNEL_LATER },
	{ CHANNEL_SMTP_OPEN, 421, CHANNEL_LATER },
	/* what lib-smtp says of itself */
	{ CHANNEL_SMTP_RCPT, 9002, CHANNEL_LATER },
	{ CHANNEL_SMTP_DATA, 9008, CHANNEL_LATER },
	{ CHANNEL_SMTP_DATA, 0, CHANNEL_LATER },
	{ CHANNEL_SMTP_DATA, 354, CHANNEL_LATER },
};

START_TEST(verdict_smtp)
{
	ck_assert_int_eq(channel_verdict_smtp(smtp[_i].step, smtp[_i].status),
			 smtp[_i].result);
}
END_TEST

static const struct {
	unsigned int status;
	enum channel_result result;
} http[] = {
	{ 200, CHANNEL_TOLD },
	{ 204, CHANNEL_TOLD },
	{ 299, CHANNEL_TOLD },
	{ 301, CHANNEL_LATER },
	{ 308, CHANNEL_LATER },
	{ 400, CHANNEL_FAILED },
	{ 401, CHANNEL_FAILED },
	{ 408, CHANNEL_LATER },
	{ 410, CHANNEL_FAILED },
	{ 429, CHANNEL_LATER },
	{ 500, CHANNEL_LATER },
	{ 503, CHANNEL_LATER },
	/* what lib-http says of itself */
	{ 9000, CHANNEL_LATER },
	{ 9007, CHANNEL_LATER },
	{ 0, CHANNEL_LATER },
};

START_TEST(verdict_http)
{
	ck_assert_int_eq(channel_verdict_http(http[_i].status),
			 http[_i].result);
}
END_TEST

START_TEST(verdict_merge)
{
	ck_assert_int_eq(channel_verdict_merge(CHANNEL_FAILED, CHANNEL_TOLD),
			 CHANNEL_TOLD);
	ck_assert_int_eq(channel_verdict_merge(CHANNEL_LATER, CHANNEL_TOLD),
			 CHANNEL_TOLD);
	ck_assert_int_eq(channel_verdict_merge(CHANNEL_LATER, CHANNEL_FAILED),
			 CHANNEL_LATER);
	ck_assert_int_eq(channel_verdict_merge(CHANNEL_FAILED, CHANNEL_FAILED),
			 CHANNEL_FAILED);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("channel-verdict");
	TCase *tc = tcase_create("channel-verdict");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_loop_test(tc, verdict_smtp, 0, N_ELEMENTS(smtp));
	tcase_add_loop_test(tc, verdict_http, 0, N_ELEMENTS(http));
	tcase_add_test(tc, verdict_merge);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
