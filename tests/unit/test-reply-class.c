/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "core/reply-class.h"

#include <check.h>

#define LOGIN REPLY_STEP_LOGIN
#define SELECT REPLY_STEP_SELECT
#define FETCH REPLY_STEP_FETCH
#define GREETING REPLY_STEP_GREETING
#define NO_HINT REPLY_HINT_NONE

struct reply_case {
	enum reply_step step;
	const char *status, *code, *text;
	enum reply_class class;
	unsigned int wait_secs;
	enum reply_hint hint;
};

/* What providers were seen to answer when the credentials are bad or the
   owner must act there */
static const struct reply_case owner_cases[] = {
	{ LOGIN, "NO", "AUTHENTICATIONFAILED", "Invalid credentials (Failure)",
	  REPLY_CLASS_CREDENTIAL, 0, NO_HINT },
	{ LOGIN, "NO", "ALERT", "Application-specific password required: "
	  "https://support.google.com/accounts/answer/185833 (Failure)",
	  REPLY_CLASS_USER_ACTION, 0, REPLY_HINT_APP_PASSWORD },
	{ LOGIN, "NO", "WEBALERT", "Web login required.",
	  REPLY_CLASS_USER_ACTION, 0, REPLY_HINT_WEB_LOGIN },
	{ LOGIN, "NO", "ALERT", "Please log in via your web browser: "
	  "https://support.google.com/mail/accounts/answer/78754 (Failure)",
	  REPLY_CLASS_USER_ACTION, 0, REPLY_HINT_WEB_LOGIN },
	{ LOGIN, "NO", "ALERT", "Your account is not enabled for IMAP use. "
	  "(Failure)", REPLY_CLASS_USER_ACTION, 0, REPLY_HINT_ENABLE_IMAP },
	{ LOGIN, "NO", "AUTHENTICATIONFAILED", "IMAP access is disabled for "
	  "your domain.", REPLY_CLASS_USER_ACTION, 0, REPLY_HINT_ENABLE_IMAP },
	{ LOGIN, "NO", NULL, "invalid_grant: Token has been expired or "
	  "revoked.", REPLY_CLASS_USER_ACTION, 0, REPLY_HINT_CONSENT },
	{ LOGIN, "NO", NULL, "AUTHENTICATE failed.",
	  REPLY_CLASS_CREDENTIAL, 0, NO_HINT },
	{ LOGIN, "NO", NULL, "LOGIN failed.",
	  REPLY_CLASS_CREDENTIAL, 0, NO_HINT },
	{ LOGIN, "NO", NULL, "Basic authentication is disabled.",
	  REPLY_CLASS_USER_ACTION, 0, REPLY_HINT_CONSENT },
	{ LOGIN, "BYE", NULL, "Basic authentication is disabled.",
	  REPLY_CLASS_USER_ACTION, 0, REPLY_HINT_CONSENT },
	{ LOGIN, "NO", NULL, "LOGIN failed. Account is blocked. Login to your "
	  "account via a web browser to verify your identity.",
	  REPLY_CLASS_USER_ACTION, 0, REPLY_HINT_BLOCKED },
	/* temporary first: it has many reasons, throttling among them */
	{ REPLY_STEP_LIST, "BAD", NULL, "User is authenticated but not "
	  "connected.", REPLY_CLASS_SERVER, 0, NO_HINT },
	{ SELECT, "BAD", NULL, "User is authenticated but not connected.",
	  REPLY_CLASS_SERVER, 0, NO_HINT },
	{ LOGIN, "NO", "AUTHENTICATIONFAILED", "LOGIN Invalid credentials",
	  REPLY_CLASS_CREDENTIAL, 0, REPLY_HINT_APP_PASSWORD },
	{ LOGIN, "NO", "AUTHENTICATIONFAILED", "AUTHENTICATE Invalid "
	  "credentials", REPLY_CLASS_CREDENTIAL, 0, REPLY_HINT_APP_PASSWORD },
	{ LOGIN, "NO", "AUTHENTICATIONFAILED", "LOGIN Invalid credentials or "
	  "IMAP is disabled sc=x",
	  REPLY_CLASS_CREDENTIAL, 0, REPLY_HINT_ENABLE_IMAP },
	{ LOGIN, "NO", "AUTHENTICATIONFAILED", "Incorrect username, password "
	  "or access token.", REPLY_CLASS_CREDENTIAL, 0, NO_HINT },
	{ SELECT, "NO", NULL, "SELECT Unsafe Login. Please contact "
	  "kefu@188.com for help",
	  REPLY_CLASS_USER_ACTION, 0, REPLY_HINT_BLOCKED },
	{ SELECT, "NO", NULL, "EXAMINE Unsafe Login. Please contact "
	  "kefu@188.com for help",
	  REPLY_CLASS_USER_ACTION, 0, REPLY_HINT_BLOCKED },
	{ LOGIN, "NO", "AUTHENTICATIONFAILED", "Authentication failed.",
	  REPLY_CLASS_CREDENTIAL, 0, NO_HINT },
	{ LOGIN, "NO", "ALERT", "LOGIN DENIED -- COUNTRY IS BLACKLISTED",
	  REPLY_CLASS_USER_ACTION, 0, REPLY_HINT_BLOCKED },
	{ LOGIN, "NO", NULL, "authentication failed",
	  REPLY_CLASS_CREDENTIAL, 0, NO_HINT },
	{ LOGIN, "NO", NULL, "IMAP is disabled for this class of service",
	  REPLY_CLASS_USER_ACTION, 0, REPLY_HINT_ENABLE_IMAP },
};

/* ... and when it is temporary, too much or too often */
static const struct reply_case temporary_cases[] = {
	{ LOGIN, "NO", "ALERT", "Too many simultaneous connections. (Failure)",
	  REPLY_CLASS_THROTTLED, 0, NO_HINT },
	{ FETCH, "NO", "OVERQUOTA", "Account exceeded command or bandwidth "
	  "limits.", REPLY_CLASS_THROTTLED, 0, NO_HINT },
	{ LOGIN, "NO", "AUTHENTICATIONFAILED", "Account exceeded command or "
	  "bandwidth limits.", REPLY_CLASS_THROTTLED, 0, NO_HINT },
	{ FETCH, "NO", NULL, "Some messages could not be fetched [THROTTLED]",
	  REPLY_CLASS_THROTTLED, 0, NO_HINT },
	{ FETCH, "NO", "THROTTLED", "slow down",
	  REPLY_CLASS_THROTTLED, 0, NO_HINT },
	{ FETCH, "BYE", NULL, "Session expired, please login again",
	  REPLY_CLASS_THROTTLED, 0, NO_HINT },
	/* one message or the server: skipped and tried again, or later */
	{ FETCH, "NO", NULL, "System Error (Failure)",
	  REPLY_CLASS_MESSAGE, 0, NO_HINT },
	{ LOGIN, "NO", NULL, "System Error (Failure)",
	  REPLY_CLASS_SERVER, 0, NO_HINT },
	{ FETCH, "BYE", NULL, "System Error", REPLY_CLASS_SERVER, 0, NO_HINT },
	{ LOGIN, "NO", "UNAVAILABLE", "Temporary System Error (Failure)",
	  REPLY_CLASS_SERVER, 0, NO_HINT },
	{ FETCH, "BAD", NULL, "Request is throttled. Suggested Backoff Time: "
	  "299961 milliseconds", REPLY_CLASS_THROTTLED, 300, NO_HINT },
	{ FETCH, "BYE", NULL, "Connection closed. 14",
	  REPLY_CLASS_SERVER, 0, NO_HINT },
	{ FETCH, "NO", "UNAVAILABLE", "UID FETCH Service is temporarily not "
	  "available", REPLY_CLASS_SERVER, 0, NO_HINT },
	{ FETCH, "NO", "TEMPFAIL", "UID FETCH Temporary failure on server "
	  "[CODE: WBL]", REPLY_CLASS_SERVER, 0, NO_HINT },
	{ FETCH, "NO", NULL, "UID FETCH Temporary failure on server [CODE: "
	  "WBL]", REPLY_CLASS_SERVER, 0, NO_HINT },
	{ FETCH, "NO", NULL, "UID FETCH Server error - Please try again later",
	  REPLY_CLASS_MESSAGE, 0, NO_HINT },
	{ FETCH, "NO", NULL, "UID FETCH failed: OCF12",
	  REPLY_CLASS_MESSAGE, 0, NO_HINT },
	{ LOGIN, "NO", NULL, "OCF12", REPLY_CLASS_SERVER, 0, NO_HINT },
	{ LOGIN, "NO", "LIMIT", "LOGIN Rate limit hit.",
	  REPLY_CLASS_THROTTLED, 0, NO_HINT },
	{ LOGIN, "NO", "LIMIT", "LOGIN", REPLY_CLASS_THROTTLED, 0, NO_HINT },
	{ LOGIN, "NO", "UNAVAILABLE", "LOGIN failure. Server error",
	  REPLY_CLASS_SERVER, 0, NO_HINT },
	{ LOGIN, "NO", NULL, "LOGIN failure. Server error",
	  REPLY_CLASS_SERVER, 0, NO_HINT },
	{ LOGIN, "NO", "AUTHENTICATIONFAILED", "Too many bad login attempts",
	  REPLY_CLASS_THROTTLED, 0, NO_HINT },
	{ LOGIN, "BAD", "UNAVAILABLE", "Service temporarily unavailable",
	  REPLY_CLASS_SERVER, 0, NO_HINT },
	{ LOGIN, "NO", "UNAVAILABLE", "Temporary authentication failure.",
	  REPLY_CLASS_SERVER, 0, NO_HINT },
	{ LOGIN, "NO", "AUTHENTICATIONFAILED", "Temporary authentication "
	  "failure.", REPLY_CLASS_SERVER, 0, NO_HINT },
	{ LOGIN, "NO", NULL, "Temporary unavailable",
	  REPLY_CLASS_SERVER, 0, NO_HINT },
	{ LOGIN, "NO", NULL, "Maximum number of connections from user+IP "
	  "exceeded", REPLY_CLASS_THROTTLED, 0, NO_HINT },
	{ LOGIN, "NO", "ALERT", "LOGIN DENIED -- TOO MANY FAILURES",
	  REPLY_CLASS_THROTTLED, 0, NO_HINT },
	{ GREETING, "BYE", NULL, "Server is shutting down",
	  REPLY_CLASS_SERVER, 0, NO_HINT },
	{ GREETING, "BYE", NULL, "Too many connections from your host",
	  REPLY_CLASS_THROTTLED, 0, NO_HINT },
};

/* Codes of RFC 5530, in any case, and what the step alone tells */
static const struct reply_case code_cases[] = {
	{ LOGIN, "NO", "unavailable", "", REPLY_CLASS_SERVER, 0, NO_HINT },
	{ LOGIN, "NO", "InUse", "", REPLY_CLASS_SERVER, 0, NO_HINT },
	{ LOGIN, "NO", "SERVERBUG", "", REPLY_CLASS_SERVER, 0, NO_HINT },
	{ SELECT, "NO", "SERVERBUG", "Internal error",
	  REPLY_CLASS_FOLDER, 0, NO_HINT },
	{ FETCH, "NO", "SERVERBUG", "Internal error",
	  REPLY_CLASS_MESSAGE, 0, NO_HINT },
	{ FETCH, "BYE", "SERVERBUG", "Internal error",
	  REPLY_CLASS_SERVER, 0, NO_HINT },
	{ SELECT, "NO", "CORRUPTION", "", REPLY_CLASS_FOLDER, 0, NO_HINT },
	{ SELECT, "NO", "INUSE", "", REPLY_CLASS_FOLDER, 0, NO_HINT },
	{ LOGIN, "NO", "CORRUPTION", "", REPLY_CLASS_SERVER, 0, NO_HINT },
	{ LOGIN, "NO", "OVERQUOTA", "", REPLY_CLASS_THROTTLED, 0, NO_HINT },
	{ LOGIN, "NO", "EXPIRED", "", REPLY_CLASS_CREDENTIAL, 0,
	  REPLY_HINT_EXPIRED },
	{ LOGIN, "NO", "AUTHORIZATIONFAILED", "",
	  REPLY_CLASS_CREDENTIAL, 0, NO_HINT },
	{ LOGIN, "NO", "PRIVACYREQUIRED", "", REPLY_CLASS_CONFIG, 0, NO_HINT },
	{ LOGIN, "NO", "CONTACTADMIN", "",
	  REPLY_CLASS_USER_ACTION, 0, NO_HINT },
	/* the size of something, not of our patience */
	{ FETCH, "NO", "LIMIT", "", REPLY_CLASS_MESSAGE, 0, NO_HINT },
	{ SELECT, "NO", "LIMIT", "", REPLY_CLASS_FOLDER, 0, NO_HINT },
	{ SELECT, "NO", "NONEXISTENT", "", REPLY_CLASS_FOLDER, 0, NO_HINT },
	{ SELECT, "NO", "NOPERM", "", REPLY_CLASS_FOLDER, 0, NO_HINT },
	{ SELECT, "NO", NULL, "LOGIN failed", REPLY_CLASS_FOLDER, 0, NO_HINT },
	{ SELECT, "NO", "AUTHENTICATIONFAILED", "",
	  REPLY_CLASS_FOLDER, 0, NO_HINT },
	{ FETCH, "NO", "EXPIRED", "", REPLY_CLASS_MESSAGE, 0, NO_HINT },
	{ SELECT, "NO", NULL, "Invalid credentials or IMAP is disabled",
	  REPLY_CLASS_FOLDER, 0, NO_HINT },
	{ SELECT, "BAD", NULL, "", REPLY_CLASS_FOLDER, 0, NO_HINT },
	{ SELECT, "BYE", NULL, "", REPLY_CLASS_SERVER, 0, NO_HINT },
	{ FETCH, "NO", NULL, "", REPLY_CLASS_MESSAGE, 0, NO_HINT },
	{ FETCH, "BAD", NULL, "", REPLY_CLASS_MESSAGE, 0, NO_HINT },
	{ FETCH, "BYE", NULL, "", REPLY_CLASS_SERVER, 0, NO_HINT },
	{ LOGIN, "BAD", NULL, "", REPLY_CLASS_SERVER, 0, NO_HINT },
	{ LOGIN, "BAD", "UNKNOWN", "", REPLY_CLASS_SERVER, 0, NO_HINT },
	{ LOGIN, "BYE", NULL, "", REPLY_CLASS_SERVER, 0, NO_HINT },
	{ LOGIN, "no", "ALERT", "", REPLY_CLASS_CREDENTIAL, 0, NO_HINT },
	{ REPLY_STEP_STARTTLS, "NO", NULL, "", REPLY_CLASS_TLS, 0, NO_HINT },
	{ REPLY_STEP_STARTTLS, "BAD", NULL, "", REPLY_CLASS_TLS, 0, NO_HINT },
	{ REPLY_STEP_STARTTLS, "BYE", NULL, "", REPLY_CLASS_TLS, 0, NO_HINT },
	{ REPLY_STEP_STARTTLS, "NO", "UNAVAILABLE", "",
	  REPLY_CLASS_SERVER, 0, NO_HINT },
	{ REPLY_STEP_LIST, "NO", NULL, "", REPLY_CLASS_SERVER, 0, NO_HINT },
	{ REPLY_STEP_OTHER, "NO", NULL, "", REPLY_CLASS_SERVER, 0, NO_HINT },
	{ GREETING, "NO", NULL, "", REPLY_CLASS_SERVER, 0, NO_HINT },
	{ GREETING, "BAD", NULL, "", REPLY_CLASS_SERVER, 0, NO_HINT },
};

/* What is said in several ways at once: the order decides */
static const struct reply_case order_cases[] = {
	/* before the password was looked at, it cannot be wrong */
	{ GREETING, "BYE", "AUTHENTICATIONFAILED", "Invalid credentials",
	  REPLY_CLASS_SERVER, 0, NO_HINT },
	{ GREETING, "BYE", "ALERT", "LOGIN DENIED -- COUNTRY IS BLACKLISTED",
	  REPLY_CLASS_SERVER, 0, NO_HINT },
	{ LOGIN, "BYE", "AUTHENTICATIONFAILED", "Invalid credentials",
	  REPLY_CLASS_SERVER, 0, NO_HINT },
	{ LOGIN, "BYE", NULL, "LOGIN Invalid credentials",
	  REPLY_CLASS_SERVER, 0, NO_HINT },
	/* any BAD is temporary, and still says how */
	{ LOGIN, "BAD", "AUTHENTICATIONFAILED", "Invalid credentials",
	  REPLY_CLASS_SERVER, 0, NO_HINT },
	{ LOGIN, "BAD", "ALERT", "Application-specific password required",
	  REPLY_CLASS_SERVER, 0, NO_HINT },
	{ LOGIN, "bad", "EXPIRED", "", REPLY_CLASS_SERVER, 0, NO_HINT },
	{ LOGIN, "BAD", "LIMIT", "LOGIN Rate limit hit.",
	  REPLY_CLASS_THROTTLED, 0, NO_HINT },
	{ LOGIN, "BAD", NULL, "Request is throttled. Suggested Backoff Time: "
	  "60000 milliseconds", REPLY_CLASS_THROTTLED, 60, NO_HINT },
	/* temporary codes and texts before what the owner must do */
	{ LOGIN, "NO", "UNAVAILABLE", "Please log in via your web browser",
	  REPLY_CLASS_SERVER, 0, NO_HINT },
	{ LOGIN, "NO", "ALERT", "Too many login attempts, please log in via "
	  "your web browser", REPLY_CLASS_THROTTLED, 0, NO_HINT },
	{ LOGIN, "NO", "LIMIT", "Application-specific password required",
	  REPLY_CLASS_THROTTLED, 0, NO_HINT },
	/* what the owner must do before AUTHENTICATIONFAILED and EXPIRED */
	{ LOGIN, "NO", "AUTHENTICATIONFAILED", "Application-specific password "
	  "required", REPLY_CLASS_USER_ACTION, 0, REPLY_HINT_APP_PASSWORD },
	{ LOGIN, "NO", "EXPIRED", "Basic authentication is disabled.",
	  REPLY_CLASS_USER_ACTION, 0, REPLY_HINT_CONSENT },
	/* the first text of two */
	{ LOGIN, "NO", "WEBALERT", "IMAP access is disabled",
	  REPLY_CLASS_USER_ACTION, 0, REPLY_HINT_ENABLE_IMAP },
	/* after the login it is no credential error, and has no such hint */
	{ REPLY_STEP_LIST, "NO", NULL, "LOGIN Invalid credentials",
	  REPLY_CLASS_SERVER, 0, NO_HINT },
	{ SELECT, "NO", "EXPIRED", "", REPLY_CLASS_FOLDER, 0, NO_HINT },
};

static const struct {
	const char *text;
	unsigned int secs;
} waits[] = {
	{ "Suggested Backoff Time: 299961 milliseconds", 300 },
	{ "suggested backoff time:1 milliseconds", 1 },
	{ "Suggested Backoff Time: 0 milliseconds", 0 },
	{ "Suggested Backoff Time: 30 seconds", 30 },
	{ "Suggested Backoff Time: 30", 0 },
	{ "Suggested Backoff Time: -5 seconds", 0 },
	{ "Suggested Backoff Time: soon", 0 },
	{ "Suggested Backoff Time:", 0 },
	{ "Please try again in 5 minutes", 300 },
	{ "retry after 2 hours", 7200 },
	{ "retry after 25 hours", 86400 },
	{ "Suggested Backoff Time: 99999999999999999999999 milliseconds",
	  86400 },
	{ "Suggested Backoff Time: 18446744073709551615 hours", 86400 },
	{ "Suggested Backoff Time: 18446744073709551615 milliseconds", 86400 },
	{ "Try again later", 0 },
	{ "", 0 },
};

static void check_case(const struct reply_case *test)
{
	const struct reply reply = {
		.step = test->step,
		.status = test->status,
		.code = test->code,
		.text = test->text,
	};
	struct reply_advice advice = { 12345, REPLY_HINT_COUNT };
	enum reply_class class = reply_class_get(&reply, &advice);

	ck_assert_msg(class == test->class, "%s [%s] %s: %s, not %s",
		      test->status, test->code == NULL ? "" : test->code,
		      test->text, reply_class_name(class),
		      reply_class_name(test->class));
	ck_assert_uint_eq(advice.wait_secs, test->wait_secs);
	ck_assert_msg(advice.hint == test->hint, "%s: hint %s", test->text,
		      reply_hint_name(advice.hint));
}

START_TEST(reply_owner)
{
	check_case(&owner_cases[_i]);
}
END_TEST

START_TEST(reply_temporary)
{
	check_case(&temporary_cases[_i]);
}
END_TEST

START_TEST(reply_code)
{
	check_case(&code_cases[_i]);
}
END_TEST

START_TEST(reply_order)
{
	check_case(&order_cases[_i]);
}
END_TEST

/* Nothing of what a temporary trouble looks like may be taken for a bad
   password, whatever the server's code. */
START_TEST(reply_never_credential)
{
	struct reply_case test = temporary_cases[_i];
	struct reply reply = {
		.step = LOGIN, .status = "NO", .text = test.text,
		.code = "AUTHENTICATIONFAILED",
	};
	struct reply_advice advice;
	enum reply_class class = reply_class_get(&reply, &advice);
	bool only_code = test.step == GREETING || *test.text == '\0' ||
		strcmp(test.text, "LOGIN") == 0 ||
		strcmp(test.text, "slow down") == 0 ||
		strcmp(test.text, "Connection closed. 14") == 0;

	ck_assert_msg(only_code || class == REPLY_CLASS_THROTTLED ||
		      class == REPLY_CLASS_SERVER, "%s: %s", test.text,
		      reply_class_name(class));
}
END_TEST

/* One that reaches no further than its message or folder tells whether it is
   for good. */
START_TEST(reply_passing)
{
	struct reply reply = {
		.step = FETCH, .status = "NO", .text = "failed",
	};
	struct reply_advice advice;

	(void)reply_class_get(&reply, &advice);
	ck_assert(!advice.passing);
	reply.code = "SERVERBUG";
	(void)reply_class_get(&reply, &advice);
	ck_assert(advice.passing);
	reply.step = SELECT;
	(void)reply_class_get(&reply, &advice);
	ck_assert(advice.passing);
	/* of the server itself */
	reply.step = LOGIN;
	(void)reply_class_get(&reply, &advice);
	ck_assert(!advice.passing);
	reply.step = FETCH;
	reply.status = "BYE";
	(void)reply_class_get(&reply, &advice);
	ck_assert(!advice.passing);
	reply.status = "NO";
	reply.code = "CANNOT";
	(void)reply_class_get(&reply, &advice);
	ck_assert(!advice.passing);
	reply.text = "Please try again later";
	(void)reply_class_get(&reply, &advice);
	ck_assert(advice.passing);
}
END_TEST

START_TEST(reply_token)
{
	struct reply reply = {
		.step = LOGIN, .status = "NO", .token_login = TRUE,
		.code = "AUTHENTICATIONFAILED",
		.text = "Invalid credentials (Failure)",
	};
	struct reply_advice advice;

	ck_assert_int_eq(reply_class_get(&reply, &advice), REPLY_CLASS_TOKEN);
	/* there is no password to be made anew */
	reply.text = "AUTHENTICATE Invalid credentials";
	ck_assert_int_eq(reply_class_get(&reply, &advice), REPLY_CLASS_TOKEN);
	ck_assert_int_eq(advice.hint, REPLY_HINT_NONE);
	reply.code = NULL;
	reply.text = "AUTHENTICATE failed.";
	ck_assert_int_eq(reply_class_get(&reply, &advice), REPLY_CLASS_TOKEN);
	/* status 400 in the challenge comes with this one too */
	reply.text = "Too many simultaneous connections. (Failure)";
	ck_assert_int_eq(reply_class_get(&reply, &advice),
			 REPLY_CLASS_THROTTLED);
	reply.text = "invalid_grant";
	ck_assert_int_eq(reply_class_get(&reply, &advice),
			 REPLY_CLASS_USER_ACTION);
	reply.code = "UNAVAILABLE";
	ck_assert_int_eq(reply_class_get(&reply, &advice),
			 REPLY_CLASS_SERVER);
}
END_TEST

START_TEST(reply_wait)
{
	const struct reply reply = {
		.step = FETCH, .status = "BAD", .text = waits[_i].text,
	};
	struct reply_advice advice = { 12345, REPLY_HINT_COUNT };

	(void)reply_class_get(&reply, &advice);
	ck_assert_msg(advice.wait_secs == waits[_i].secs, "%s: %u",
		      waits[_i].text, advice.wait_secs);
}
END_TEST

/* stable: scripts read them */
static const struct {
	enum reply_class class;
	const char *name;
	int exit_code;
	bool contained;
} classes[] = {
	{ REPLY_CLASS_OK, "ok", 0, FALSE },
	{ REPLY_CLASS_CREDENTIAL, "credential", 77, FALSE },
	{ REPLY_CLASS_USER_ACTION, "user_action", 77, FALSE },
	{ REPLY_CLASS_TOKEN, "token", 77, FALSE },
	{ REPLY_CLASS_THROTTLED, "throttled", 75, FALSE },
	{ REPLY_CLASS_SERVER, "server", 75, FALSE },
	{ REPLY_CLASS_NETWORK, "network", 75, FALSE },
	{ REPLY_CLASS_DNS, "dns", 75, FALSE },
	{ REPLY_CLASS_TLS, "tls", 75, FALSE },
	{ REPLY_CLASS_PROTOCOL, "protocol", 75, FALSE },
	{ REPLY_CLASS_POLICY, "policy", 77, FALSE },
	{ REPLY_CLASS_FOLDER, "folder", 75, TRUE },
	{ REPLY_CLASS_MESSAGE, "message", 75, TRUE },
	{ REPLY_CLASS_LOCAL, "local", 75, FALSE },
	{ REPLY_CLASS_QUOTA, "quota", 75, FALSE },
	{ REPLY_CLASS_CONFIG, "config", 78, FALSE },
	{ REPLY_CLASS_BUSY, "busy", 75, FALSE },
	{ REPLY_CLASS_STOPPED, "stopped", 75, FALSE },
};

START_TEST(reply_names)
{
	enum reply_class class;

	ck_assert_uint_eq(N_ELEMENTS(classes), REPLY_CLASS_COUNT);
	ck_assert_str_eq(reply_class_name(classes[_i].class),
			 classes[_i].name);
	ck_assert(reply_class_parse(classes[_i].name, &class));
	ck_assert_int_eq(class, classes[_i].class);
	ck_assert_int_eq(reply_class_exit_code(class), classes[_i].exit_code);
	ck_assert_int_eq(reply_class_is_contained(class),
			 classes[_i].contained);
	ck_assert(!reply_class_parse(t_strconcat(classes[_i].name, "x", NULL),
				     &class));
	ck_assert(!reply_class_parse("", &class));
}
END_TEST

/* stable, too: cred-notify reads them */
static const struct { enum reply_hint hint; const char *name; } hints[] = {
	{ REPLY_HINT_NONE, "none" },
	{ REPLY_HINT_APP_PASSWORD, "app-password" },
	{ REPLY_HINT_WEB_LOGIN, "web-login" },
	{ REPLY_HINT_ENABLE_IMAP, "enable-imap" },
	{ REPLY_HINT_CONSENT, "consent" },
	{ REPLY_HINT_BLOCKED, "blocked" },
	{ REPLY_HINT_EXPIRED, "expired" },
};

START_TEST(reply_hints)
{
	enum reply_hint hint = hints[_i].hint;

	ck_assert_uint_eq(N_ELEMENTS(hints), REPLY_HINT_COUNT);
	ck_assert_str_eq(reply_hint_name(hint), hints[_i].name);
	ck_assert(reply_hint_parse(hints[_i].name, &hint));
	ck_assert_int_eq(hint, hints[_i].hint);
	ck_assert((reply_hint_text(hint) == NULL) ==
		  (hint == REPLY_HINT_NONE));
	ck_assert(!reply_hint_parse(t_strconcat(hints[_i].name, "x", NULL),
				    &hint));
	ck_assert(!reply_hint_parse("", &hint));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("reply-class");
	TCase *tc = tcase_create("reply-class");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_loop_test(tc, reply_owner, 0, N_ELEMENTS(owner_cases));
	tcase_add_loop_test(tc, reply_temporary, 0,
			    N_ELEMENTS(temporary_cases));
	tcase_add_loop_test(tc, reply_code, 0, N_ELEMENTS(code_cases));
	tcase_add_loop_test(tc, reply_order, 0, N_ELEMENTS(order_cases));
	tcase_add_loop_test(tc, reply_never_credential, 0,
			    N_ELEMENTS(temporary_cases));
	tcase_add_test(tc, reply_passing);
	tcase_add_test(tc, reply_token);
	tcase_add_loop_test(tc, reply_wait, 0, N_ELEMENTS(waits));
	tcase_add_loop_test(tc, reply_names, 0, N_ELEMENTS(classes));
	tcase_add_loop_test(tc, reply_hints, 0, N_ELEMENTS(hints));
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
