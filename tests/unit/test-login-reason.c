/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "core/login-reason.h"

#include <check.h>

/* What the passdbs said: in order, with d: a deny passdb, m: of a master */
static const struct {
	const char *said, *mechanism, *reason;
	bool known;
} logins[] = {
	{ "password_mismatch", "PLAIN", "password_mismatch", TRUE },
	{ "user_unknown", "PLAIN", "user_unknown", FALSE },
	{ "user_disabled", "PLAIN", "user_disabled", TRUE },
	{ "pass_expired", "PLAIN", "pass_expired", TRUE },
	{ "internal_failure", "PLAIN", "internal_failure", FALSE },
	{ "scheme_not_available", "CRAM-MD5", "scheme_not_available", FALSE },
	{ "", "PLAIN", "no_lookup", FALSE },
	{ "what_is_that", "PLAIN", "no_lookup", FALSE },
	/* the mechanism says no after the passdb said yes */
	{ "ok", "CRAM-MD5", "password_mismatch", TRUE },
	{ "ok", "scram-sha-256", "password_mismatch", TRUE },
	{ "ok", "SCRAM-SHA-1-PLUS", "password_mismatch", TRUE },
	{ "ok", "PLAIN", "not_allowed", TRUE },
	{ "ok", "LOGIN", "not_allowed", TRUE },
	{ "ok", NULL, "not_allowed", TRUE },
	/* several: who knows the user knows best */
	{ "user_unknown password_mismatch", "PLAIN", "password_mismatch",
	  TRUE },
	{ "password_mismatch user_unknown", "PLAIN", "password_mismatch",
	  TRUE },
	{ "scheme_not_available user_unknown", "CRAM-MD5",
	  "scheme_not_available", FALSE },
	{ "ok user_unknown", "CRAM-MD5", "password_mismatch", TRUE },
	{ "internal_failure password_mismatch", "PLAIN", "internal_failure",
	  TRUE },
	{ "password_mismatch user_disabled", "PLAIN", "user_disabled", TRUE },
	{ "next password_mismatch", "PLAIN", "password_mismatch", TRUE },
	/* found in a deny passdb: it knows no users */
	{ "d:password_mismatch", "PLAIN", "user_disabled", FALSE },
	{ "d:ok", "CRAM-MD5", "user_disabled", FALSE },
	{ "d:user_unknown password_mismatch", "PLAIN", "password_mismatch",
	  TRUE },
	{ "d:user_unknown", "PLAIN", "no_lookup", FALSE },
	{ "d:internal_failure", "PLAIN", "internal_failure", FALSE },
	{ "password_mismatch d:ok", "PLAIN", "user_disabled", TRUE },
	/* a master: after the right one it is about the user */
	{ "m:password_mismatch", "PLAIN", "password_mismatch", TRUE },
	{ "m:user_unknown", "PLAIN", "user_unknown", FALSE },
	{ "m:ok user_unknown", "PLAIN", "user_unknown", FALSE },
	{ "m:user_unknown m:ok user_unknown", "PLAIN", "user_unknown",
	  FALSE },
	{ "m:ok", "PLAIN", "no_lookup", FALSE },
};

static enum login_seen see(const char *said)
{
	const char *const *results = t_strsplit_spaces(said, " ");
	enum login_seen seen = 0;

	for (; *results != NULL; results++) {
		bool deny = strncmp(*results, "d:", 2) == 0;
		bool master = strncmp(*results, "m:", 2) == 0;

		seen = login_seen_add(seen, login_seen_answer(
			*results + (deny || master ? 2 : 0)), deny, master);
	}
	return seen;
}

START_TEST(reason_of_login)
{
	enum login_seen seen = see(logins[_i].said);

	ck_assert_str_eq(record_reason_name(login_reason(
		seen, logins[_i].mechanism, FALSE, FALSE)), logins[_i].reason);
	ck_assert(login_user_is_known(seen) == logins[_i].known);
	/* what Dovecot itself says of the request weighs more */
	ck_assert_int_eq(login_reason(seen, "PLAIN", FALSE, TRUE),
			 RECORD_REASON_POLICY);
	ck_assert_int_eq(login_reason(seen, "PLAIN", TRUE, TRUE),
			 RECORD_REASON_INTERNAL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("login-reason");
	TCase *tc = tcase_create("login-reason");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_loop_test(tc, reason_of_login, 0, N_ELEMENTS(logins));
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
