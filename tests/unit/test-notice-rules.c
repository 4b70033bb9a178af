/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "core/notice-rules.h"

#include <check.h>

static const struct {
	const char *words, *error;
} rules[] = {
	{ "", NULL },
	{ "credential=1/0s/5m", NULL },
	{ " login=3/10m/6h\tattack=never ", NULL },
	{ "dns=365/1s/365d", NULL },
	{ "credential", "credential: no =" },
	{ "password=1/0s/5m", "names no class" },
	{ "=1/0s/5m", "names no class" },
	{ "dns=0/0s/5m", "neither" },
	{ "dns=1/0s", "neither" },
	{ "dns=1/0s/0s", "neither" },
	{ "dns=1/0s/5m/1", "neither" },
	{ "dns=1/0/5m", "neither" },
	{ "dns=1/0s/5w", "neither" },
	{ "dns=1/0s/5mm", "neither" },
	{ "dns=-1/0s/5m", "neither" },
	{ "dns=1/0s/366d", "neither" },
	{ "dns=1/0s/4294967295d", "neither" },
	{ "dns=1/0s/4294967296s", "neither" },
	{ "login=never dns=", "dns=: neither" },
};

START_TEST(notice_rules_words)
{
	struct notice_limits limits;
	const char *error = "";
	int ret;

	notice_limits_default(&limits);
	ret = notice_rules_parse(rules[_i].words, &limits, &error);
	ck_assert_int_eq(ret, rules[_i].error == NULL ? 0 : -1);
	ck_assert_msg(ret == 0 || strstr(error, rules[_i].error) != NULL,
		      "%s", error);
}
END_TEST

START_TEST(notice_rules_values)
{
	struct notice_limits limits, before;
	const char *error;

	notice_limits_default(&limits);
	before = limits;
	ck_assert_int_eq(notice_rules_parse(
		"tls=7/2m/3h attack=never login=2/30s/1d", &limits, &error), 0);
	ck_assert_uint_eq(limits.account[NOTICE_CLASS_TLS].count, 7);
	ck_assert_uint_eq(limits.account[NOTICE_CLASS_TLS].span_secs, 120);
	ck_assert_uint_eq(limits.account[NOTICE_CLASS_TLS].window_secs, 10800);
	ck_assert_uint_eq(limits.login[NOTICE_PATTERN_ATTACK].count, 0);
	ck_assert_uint_eq(limits.login[NOTICE_PATTERN_DEVICE].count, 2);
	ck_assert_uint_eq(limits.login[NOTICE_PATTERN_DEVICE].window_secs,
			  86400);
	ck_assert_mem_eq(&limits.account[NOTICE_CLASS_DNS],
			 &before.account[NOTICE_CLASS_DNS],
			 sizeof(struct notice_rule));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("notice-rules");
	TCase *tc = tcase_create("notice-rules");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_loop_test(tc, notice_rules_words, 0, N_ELEMENTS(rules));
	tcase_add_test(tc, notice_rules_values);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
