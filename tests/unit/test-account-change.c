/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "net.h"
#include "dovecot-compat.h"
#include "core/account.h"
#include "core/account-change.h"
#include "core/account-policy.h"

#include <check.h>

#define NOW 1700000001
#define SOURCE_ID "0123456789abcdef0123456789abcdef"

#define PIN "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define PIN_UPPER \
	"0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF"
#define PIN_OTHER \
	"1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static pool_t pool;
static struct account old;

static void setup(void)
{
	static const char *const settings[] = {
		"host=imap.example.org", "login=anna", "max_size=5M",
		"source_id="SOURCE_ID, NULL
	};
	const char *error = "";

	pool = pool_allocfree_create("test account change");
	ck_assert_msg(account_parse(pool, "anna", "work", settings,
				    &old, &error) == 0, "%s", error);
}

static void teardown(void)
{
	pool_unref(&pool);
}

static const char *const *changes_split(const char *changes)
{
	return (const char *const *)p_strsplit_spaces(pool, changes, " ");
}

static int apply(const struct account *from, const char *changes,
		 struct account *account_r, const char **error_r)
{
	return account_change_apply(pool, "anna", "work", from,
				    changes_split(changes), NOW,
				    account_r, error_r);
}

static const struct {
	const char *changes;
	/* part of the error, NULL = fine */
	const char *error;
	/* of the result */
	const char *source_id;
	bool needs_secret;
} changes[] = {
	{ "", NULL, SOURCE_ID, FALSE },
	{ "max_size=7M", NULL, SOURCE_ID, FALSE },
	{ "max_size=", NULL, SOURCE_ID, FALSE },
	{ "port=1993", NULL, SOURCE_ID, FALSE },
	{ "security=starttls", NULL, SOURCE_ID, FALSE },
	{ "host=IMAP.example.org", NULL, SOURCE_ID, FALSE },
	{ "enabled=no preset=backup", NULL, SOURCE_ID, FALSE },
	{ "host=imap.example.com", NULL, "", TRUE },
	{ "login=Anna", NULL, "", TRUE },
	{ "master_user=root", NULL, SOURCE_ID, TRUE },
	{ "security=none", NULL, SOURCE_ID, TRUE },
	{ "tls_verify=no", NULL, SOURCE_ID, TRUE },

	{ "tls_pin="PIN, NULL, SOURCE_ID, TRUE },

	{ "host=", "host is missing", NULL, FALSE },
	{ "max_size", "key=value", NULL, FALSE },
	{ "max_size=1M max_size=2M", "max_size is given twice", NULL, FALSE },
	{ "max_size= max_size=2M", "max_size is given twice", NULL, FALSE },
	{ "maxsize=1M", "maxsize", NULL, FALSE },
	{ "maxsize=", "maxsize", NULL, FALSE },
	{ "=", "unknown key", NULL, FALSE },
	{ "source_id="SOURCE_ID, "source_id", NULL, FALSE },
	{ "source_id=", "source_id", NULL, FALSE },
	{ "port=0", "port", NULL, FALSE },
};

START_TEST(account_changes)
{
	struct account account;
	const char *error = "";
	int ret = apply(&old, changes[_i].changes, &account, &error);

	ck_assert_msg((ret == 0) == (changes[_i].error == NULL), "%s", error);
	if (ret < 0) {
		ck_assert_msg(strstr(error, changes[_i].error) != NULL,
			      "%s", error);
		return;
	}
	ck_assert_str_eq(account.source_id, changes[_i].source_id);
	ck_assert_int_eq(account_change_needs_secret(&old, &account),
			 changes[_i].needs_secret);
}
END_TEST

static const struct {
	const char *before, *changes;
	bool needs_secret;
} pins[] = {
	{ "tls_pin="PIN, "label=x", FALSE },
	{ "tls_pin="PIN, "tls_pin="PIN, FALSE },
	{ "tls_pin="PIN, "tls_pin="PIN_UPPER, FALSE },
	{ "tls_pin="PIN, "tls_pin="PIN_OTHER, TRUE },
	/* the authorities vouch for it then, or nobody */
	{ "tls_pin="PIN, "tls_pin=", FALSE },
	{ "tls_pin="PIN, "tls_pin= tls_verify=no", TRUE },
	{ "tls_pin="PIN" tls_verify=no", "tls_pin=", TRUE },
	{ "tls_pin="PIN" tls_verify=no", "tls_pin= tls_verify=", FALSE },
	{ "tls_verify=no", "label=x", FALSE },
	{ "tls_verify=no", "tls_pin="PIN, TRUE },
};

START_TEST(account_change_pin)
{
	struct account before, after;
	const char *error = "";

	ck_assert_int_eq(apply(&old, pins[_i].before, &before, &error), 0);
	ck_assert_int_eq(apply(&before, pins[_i].changes, &after, &error), 0);
	ck_assert_int_eq(account_change_needs_secret(&before, &after),
			 pins[_i].needs_secret);
}
END_TEST

START_TEST(account_change_keeps_the_rest)
{
	struct account account;
	const char *error;

	ck_assert_int_eq(apply(&old, "label=Work", &account, &error), 0);
	ck_assert_uint_eq(account.max_size_bytes, 5*1024*1024);
	ck_assert_str_eq(account.host, "imap.example.org");
	ck_assert_str_eq(account.label, "Work");
	ck_assert_int_eq(apply(&account, "max_size=", &account, &error), 0);
	ck_assert_uint_eq(account.max_size_bytes, 100*1024*1024);
	ck_assert_str_eq(account.label, "Work");
}
END_TEST

START_TEST(account_change_since_now)
{
	struct account account;
	const char *error;

	ck_assert_int_eq(apply(&old, "since=now", &account, &error), 0);
	ck_assert_int_eq(account.since, NOW);
	/* it is the time of the command, not of each run */
	ck_assert_int_eq(apply(&account, "label=x", &account, &error), 0);
	ck_assert_int_eq(account.since, NOW);
}
END_TEST

START_TEST(account_change_new)
{
	struct account account;
	const char *error;

	ck_assert_int_eq(apply(NULL, "host=h.example.org login=a", &account,
			       &error), 0);
	ck_assert_str_eq(account.source_id, "");
	ck_assert_int_eq(apply(NULL, "host=h.example.org", &account, &error),
			 -1);
	ck_assert_ptr_nonnull(strstr(error, "login"));
}
END_TEST

static const struct {
	const char *settings;
	/* what the complaint names, NULL = allowed */
	const char *error;
} policies[] = {
	{ "host=imap.example.org", NULL },
	{ "host=imap.example.org port=143", NULL },
	{ "host=imap.example.org port=25", "imapsync_pull_allowed_ports" },
	{ "host=10.1.2.3", NULL },
	{ "host=127.0.0.1", "imapsync_pull_allowed_networks" },
	{ "host=::1", "imapsync_pull_allowed_networks" },
	{ "host=192.168.0.1", "imapsync_pull_allowed_networks" },
	{ "host=imap.example.org security=none",
	  "imapsync_pull_allow_cleartext" },
	{ "host=old.example.net security=none", NULL },
	{ "host=OLD.example.net security=none", NULL },
	{ "host=old.example.net.evil.org security=none",
	  "imapsync_pull_allow_cleartext" },
	{ "host=a.lab.example.net security=none", NULL },
	{ "host=old.example.net tls_verify=no",
	  "imapsync_pull_allow_no_verify" },
	{ "host=self.example.net tls_verify=no", NULL },
};

START_TEST(account_policy)
{
	struct account_policy policy = {
		.allow_cleartext = "old.example.net  *.lab.example.net",
		.allow_no_verify = "self.example.net",
	};
	struct account account;
	const char *error = "";
	bool allowed;

	ck_assert_int_eq(net_policy_parse(pool, "10.0.0.0/8", "143 993",
					  &policy.net, &error), 0);
	ck_assert_msg(account_change_apply(pool, "anna", "work", NULL,
		changes_split(p_strconcat(pool, "login=a ",
					  policies[_i].settings, NULL)),
		NOW, &account, &error) == 0, "%s", error);
	allowed = account_policy_allows(&policy, &account, &error);
	ck_assert_msg(allowed == (policies[_i].error == NULL), "%s", error);
	ck_assert_msg(allowed || strstr(error, policies[_i].error) != NULL,
		      "%s", error);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("account-change");
	TCase *tc = tcase_create("account-change");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, account_changes, 0, N_ELEMENTS(changes));
	tcase_add_loop_test(tc, account_change_pin, 0, N_ELEMENTS(pins));
	tcase_add_test(tc, account_change_keeps_the_rest);
	tcase_add_test(tc, account_change_since_now);
	tcase_add_test(tc, account_change_new);
	tcase_add_loop_test(tc, account_policy, 0, N_ELEMENTS(policies));
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
