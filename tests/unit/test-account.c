/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "array.h"
#include "str.h"
#include "core/account.h"

#include <check.h>
#include <stdlib.h>

static pool_t pool;

static void setup(void)
{
	pool = pool_allocfree_create("test account");
}

static void teardown(void)
{
	pool_unref(&pool);
}

/* settings separated by '\n', after a host and a login of their own */
static int
parse(const char *settings, struct account *account_r, const char **error_r)
{
	return account_parse(pool, "anna@local.example", "work",
			     t_strsplit(t_strconcat("host=imap.example.org\n"
					"login=anna", *settings == '\0' ? "" :
					"\n", settings, NULL), "\n"),
			     account_r, error_r);
}

static void parse_ok(const char *settings, struct account *account_r)
{
	const char *error = "";

	ck_assert_msg(parse(settings, account_r, &error) == 0, "%s: %s",
		      settings, error);
}

static const char *
printed(const struct account *account, bool all)
{
	return t_strarray_join(account_print(pool, account, all), "\n");
}

/* Every default of the documentation's table */
static const struct {
	const char *settings, *printed;
} defaults[] = {
	{ "", "address=\nauth_mechanism=auto\ndeliver=lmtp\nenabled=yes\n"
	  "exclude=\nexpunge=keep\nflags=follow\nfolder_map=\n"
	  "folders=INBOX,\\Sent\nguard_percent=20\nhistory=direct\n"
	  "host=imap.example.org\nidle=INBOX\ninitial_age=1y\n"
	  "interval=1m\nlabel=work\nlogin=anna\n"
	  "master_user=\nmax_size=100M\nowner=anna@local.example\nport=993\n"
	  "preset=inbox\nsecurity=tls\nselect=all\nsince=\nsource_id=\n"
	  "subfolder=\nsubscribed_only=no\ntimeout=5m\ntls_pin=\n"
	  "tls_verify=yes" },
	{ "preset=combine\nsubfolder=Work",
	  "address=\nauth_mechanism=auto\ndeliver=lmtp\nenabled=yes\n"
	  "exclude=\nexpunge=keep\nflags=follow\nfolder_map=\n"
	  "folders=INBOX,\\Sent\nguard_percent=20\nhistory=direct\n"
	  "host=imap.example.org\nidle=INBOX\ninitial_age=1y\n"
	  "interval=1m\nlabel=work\nlogin=anna\n"
	  "master_user=\nmax_size=100M\nowner=anna@local.example\nport=993\n"
	  "preset=combine\nsecurity=tls\nselect=all\nsince=\nsource_id=\n"
	  "subfolder=Work\nsubscribed_only=no\ntimeout=5m\ntls_pin=\n"
	  "tls_verify=yes" },
	{ "security=starttls\npreset=backup",
	  "address=\nauth_mechanism=auto\ndeliver=direct\nenabled=yes\n"
	  "exclude=\nexpunge=mirror\nflags=follow\nfolder_map=\n"
	  "folders=*\nguard_percent=20\nhistory=direct\n"
	  "host=imap.example.org\nidle=INBOX\ninitial_age=0\n"
	  "interval=1m\nlabel=work\nlogin=anna\n"
	  "master_user=\nmax_size=100M\nowner=anna@local.example\nport=143\n"
	  "preset=backup\nsecurity=starttls\nselect=all\nsince=\nsource_id=\n"
	  "subfolder=\nsubscribed_only=no\ntimeout=5m\ntls_pin=\n"
	  "tls_verify=yes" },
	{ "preset=migrate\nsecurity=none",
	  "address=\nauth_mechanism=auto\ndeliver=direct\nenabled=yes\n"
	  "exclude=\nexpunge=keep\nflags=follow\nfolder_map=\n"
	  "folders=*\nguard_percent=20\nhistory=direct\n"
	  "host=imap.example.org\nidle=no\ninitial_age=0\n"
	  "interval=none\nlabel=work\nlogin=anna\n"
	  "master_user=\nmax_size=100M\nowner=anna@local.example\nport=143\n"
	  "preset=migrate\nsecurity=none\nselect=all\nsince=\nsource_id=\n"
	  "subfolder=\nsubscribed_only=no\ntimeout=5m\ntls_pin=\n"
	  "tls_verify=yes" },
};

START_TEST(account_defaults)
{
	struct account account;

	parse_ok(defaults[_i].settings, &account);
	ck_assert_str_eq(printed(&account, TRUE), defaults[_i].printed);
}
END_TEST

/* What is given wins over the preset, wherever it stands. */
START_TEST(account_preset_order)
{
	struct account account;

	parse_ok("folders=A\ninitial_age=5d\nport=10143\ndeliver=lmtp\n"
		 "expunge=keep\npreset=backup\nsecurity=starttls", &account);
	ck_assert_str_eq(account.folders[0], "A");
	ck_assert_uint_eq(account.initial_age_secs, 5 * 86400);
	ck_assert_uint_eq(account.port, 10143);
	ck_assert_int_eq(account.deliver, ACCOUNT_DELIVER_LMTP);
	ck_assert_int_eq(account.history, ACCOUNT_DELIVER_DIRECT);
	ck_assert_int_eq(account.expunge, ACCOUNT_EXPUNGE_KEEP);
	ck_assert_str_eq(printed(&account, FALSE),
			 "deliver=lmtp\nexpunge=keep\nfolders=A\n"
			 "host=imap.example.org\ninitial_age=5d\nlogin=anna\n"
			 "port=10143\npreset=backup\nsecurity=starttls");
}
END_TEST

static const struct {
	/* what is written, and what it becomes */
	const char *setting, *printed;
} values[] = {
	{ "timeout=300", "timeout=5m" },
	{ "timeout=90", "timeout=90" },
	{ "timeout=90s", "timeout=90" },
	{ "timeout=1D", "timeout=1d" },
	{ "initial_age=1y", "initial_age=1y" },
	{ "initial_age=365d", "initial_age=1y" },
	{ "initial_age=30d", "initial_age=30d" },
	{ "initial_age=14d", "initial_age=2w" },
	{ "initial_age=36h", "initial_age=36h" },
	{ "initial_age=0", "initial_age=0" },
	{ "initial_age=100y", "initial_age=100y" },
	{ "interval=300", "interval=5m" },
	{ "interval=10s", "interval=10" },
	{ "interval=None", "interval=none" },
	{ "interval=1y", "interval=1y" },
	{ "max_size=0", "max_size=0" },
	{ "max_size=100M", "max_size=100M" },
	{ "max_size=104857600", "max_size=100M" },
	{ "max_size=2g", "max_size=2G" },
	{ "max_size=1025", "max_size=1025" },
	{ "max_size=10B", "max_size=10" },
	{ "since=2024-02-29", "since=2024-02-29" },
	{ "since=1970-01-02", "since=1970-01-02" },
	{ "since=9999-12-31", "since=9999-12-31" },
	{ "since=2000-12-31", "since=2000-12-31" },
	{ "since=1709164800", "since=2024-02-29" },
	{ "since=1709164801", "since=1709164801" },
	{ "since=", "since=" },
	{ "auth_mechanism=scram-sha-256", "auth_mechanism=SCRAM-SHA-256" },
	{ "auth_mechanism=AUTO", "auth_mechanism=auto" },
	{ "owner=none", "owner=none" },
	{ "owner=bert", "owner=bert" },
	{ "address=anna@example.org", "address=anna@example.org" },
	{ "select=unseen", "select=unseen" },
	{ "enabled=NO", "enabled=no" },
	{ "history=skip", "history=skip" },
	{ "flags=none", "flags=none" },
	{ "flags=initial", "flags=initial" },
	{ "guard_percent=0", "guard_percent=0" },
	{ "guard_percent=100", "guard_percent=100" },
	{ "subfolder=Old/Work", "subfolder=Old/Work" },
	{ "master_user=root", "master_user=root" },
	{ "source_id=00112233445566778899aabbccddeeff",
	  "source_id=00112233445566778899aabbccddeeff" },
	{ "tls_pin=AA112233445566778899aabbccddeeff"
	  "00112233445566778899aabbccddeeff",
	  "tls_pin=aa112233445566778899aabbccddeeff"
	  "00112233445566778899aabbccddeeff" },
	/* lists */
	{ "folders= a , b c ,d ", "folders=a,b c,d" },
	{ "folders=a\\,b,\\\\x,\\Sent", "folders=a\\,b,\\x,\\Sent" },
	{ "folders=a\\\\", "folders=a\\\\" },
	{ "folders=a\\\\\\\\b", "folders=a\\\\\\b" },
	{ "folders=\\ a\\ ,b", "folders=\\ a\\ ,b" },
	{ "folders=/^a{1\\,2}$/", "folders=/^a{1\\,2}$/" },
	{ "exclude=", "exclude=" },
	{ "exclude=\\Junk,\\Trash", "exclude=\\Junk,\\Trash" },
	{ "folder_map=a=b,c=d=e", "folder_map=a=b,c=d=e" },
	{ "idle= NO ", "idle=no" },
	{ "idle=INBOX, No, a\\,b", "idle=INBOX,No,a\\,b" },
	{ "folders=p\xc3\xa4", "folders=p\xc3\xa4" },
};

START_TEST(account_value)
{
	struct account account, again;
	const char *all, *error;

	parse_ok(values[_i].setting, &account);
	all = t_strconcat("\n", printed(&account, TRUE), "\n", NULL);
	ck_assert_msg(strstr(all, t_strconcat("\n", values[_i].printed, "\n",
					      NULL)) != NULL, "%s", all);
	ck_assert_int_eq(account_parse(pool, account.user, account.name,
				       account_print(pool, &account, FALSE),
				       &again, &error), 0);
	ck_assert_str_eq(printed(&account, TRUE), printed(&again, TRUE));
}
END_TEST

static const struct {
	const char *host, *parsed;
} hosts[] = {
	{ "IMAP.Example.ORG", "imap.example.org" },
	{ "imap.example.org.", "imap.example.org" },
	{ "mail", "mail" },
	{ "xn--bcher-kva.example", "xn--bcher-kva.example" },
	{ "1.example", "1.example" },
	{ "192.0.2.7", "192.0.2.7" },
	{ "2001:DB8:0::1", "2001:db8::1" },
	{ "[2001:db8::1]", "2001:db8::1" },
};

START_TEST(account_host)
{
	struct account account;
	const char *error = "";
	const char *const settings[] = {
		t_strconcat("host=", hosts[_i].host, NULL), "login=x", NULL
	};

	ck_assert_msg(account_parse(pool, "anna", "work", settings, &account,
				    &error) == 0, "%s", error);
	ck_assert_str_eq(account.host, hosts[_i].parsed);
}
END_TEST

static const struct {
	const char *settings, *error;
} bad[] = {
	{ "colour=red", "unknown key colour" },
	{ "prot=993", "did you mean port?" },
	{ "maxsize=1M", "did you mean max_size?" },
	{ "Folders=x", "did you mean folders?" },
	{ "=x", "unknown key" },
	{ "folders", "key=value" },
	{ "port=993\nport=143", "port is given twice" },
	{ "login=x", "login is given twice" },
	{ "port=0", "port must" },
	{ "port=65536", "port must" },
	{ "port=imap", "port must" },
	{ "security=ssl", "security must be one of: tls, starttls, none" },
	{ "preset=all", "preset must be one of" },
	{ "preset=combine", "subfolder" },
	{ "deliver=skip", "deliver must be one of: lmtp, direct" },
	{ "history=none", "history must be one of: lmtp, direct, skip" },
	{ "flags=yes", "flags must be one of" },
	{ "expunge=yes", "expunge must be one of: keep, mirror" },
	{ "enabled=1", "enabled must be one of: no, yes" },
	{ "tls_verify=", "tls_verify must be one of" },
	{ "select=seen", "select must be one of: all, unseen" },
	{ "guard_percent=101", "guard_percent must" },
	{ "guard_percent=-1", "guard_percent must" },
	{ "initial_age=1x", "initial_age must" },
	{ "initial_age=", "initial_age must" },
	{ "initial_age=101y", "initial_age must" },
	{ "initial_age=99999999999999999999y", "initial_age must" },
	{ "timeout=0", "timeout must" },
	{ "timeout=2d", "timeout must" },
	{ "interval=9s", "interval must" },
	{ "interval=0", "interval must" },
	{ "interval=", "interval must" },
	{ "interval=no", "interval must" },
	{ "interval=53w", "interval must" },
	{ "idle=", "idle must" },
	{ "idle= ", "idle has an empty item" },
	{ "idle=yes", "idle must" },
	{ "idle=a,,b", "idle has an empty item" },
	{ "max_size=1T", "max_size must" },
	{ "max_size=-1", "max_size must" },
	{ "max_size=9223372036854775807G", "max_size must" },
	{ "since=now", "since must" },
	{ "since=2023-02-29", "since must" },
	{ "since=2024-06-31", "since must" },
	{ "since=2024-13-01", "since must" },
	{ "since=2024-00-10", "since must" },
	{ "since=1970-01-01", "since must" },
	{ "since=24-01-01", "since must" },
	{ "since=2024-1-1", "since must" },
	{ "since=20240101", "since must" },
	{ "since=253402300800", "since must" },
	{ "since=-1", "since must" },
	{ "folders=", "folders must not be empty" },
	{ "folders= ", "folders must not be empty" },
	{ "folders=a,,b", "folders has an empty item" },
	{ "exclude=,", "exclude has an empty item" },
	{ "folder_map=a", "folder_map must" },
	{ "folder_map=a=", "folder_map must" },
	{ "folder_map==a", "folder_map must" },
	{ "tls_pin=abc", "tls_pin must be 64 hex digits" },
	{ "source_id=abc", "source_id must be 32 hex digits" },
	{ "auth_mechanism=", "auth_mechanism must" },
	{ "auth_mechanism=PLAIN LOGIN", "auth_mechanism must" },
	{ "address=anna", "address must" },
	{ "address=@x", "address must" },
	{ "address=a@b, c@d", "address must" },
	{ "label=", "label must not be empty" },
	{ "owner=", "owner must" },
	{ "label=a\rb", "label must be UTF-8 without control characters" },
	{ "label=a\tb", "control characters" },
	{ "label=a\177", "control characters" },
	{ "label=a\xc2\x85", "control characters" },
	{ "label=a\xff", "control characters" },
	{ "security=none\ntls_pin=00112233445566778899aabbccddeeff"
	  "00112233445566778899aabbccddeeff", "tls_pin makes no sense" },
	/* not built yet */
	{ "oauth_provider=google", "oauth_provider is not supported yet" },
	{ "deny=x", "deny is not supported yet" },
	{ "sieve=no", "sieve is not supported yet" },
	{ "scan=yes", "scan is not supported yet" },
	{ "archive=yes", "archive is not supported yet" },
	{ "target=x", "target is not supported yet" },
	{ "after=delete", "after is not supported yet" },
	{ "after_days=3", "after_days is not supported yet" },
	{ "max_rate=1", "max_rate is not supported yet" },
	{ "shared_with=x", "shared_with is not supported yet" },
	{ "hook=x", "hook is not supported yet" },
	{ "send=yes", "send is not supported yet" },
	{ "send_as_system=yes", "send_as_system is not supported yet" },
	{ "smtp_host=x", "smtp_host is not supported yet" },
	{ "smtp_port=25", "smtp_port is not supported yet" },
	{ "reply_to=x@y", "reply_to is not supported yet" },
};

START_TEST(account_bad)
{
	struct account account;
	const char *error = "";

	ck_assert_int_eq(parse(bad[_i].settings, &account, &error), -1);
	ck_assert_msg(strstr(error, bad[_i].error) != NULL, "%s: %s",
		      bad[_i].settings, error);
}
END_TEST

static const char *const bad_hosts[] = {
	"", ".", "..", ".example.org", "a..b", "-a.example", "a-.example",
	"a b", "a_b", "imap.example.org:993", "http://example.org", "a/b",
	"b\xc3\xbchl.example", "127.1", "2130706433", "0x7f.1",
	"0x7f000001", "127.0.0.0x1", "1.2.3.4.5", "0177.0.0.01", "fe80::1%eth0",
	"256.256.256.256", "[", "[]", "[127.0.0.1]", "1.2.3.4/8",
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.org",
};

START_TEST(account_bad_host)
{
	const char *const settings[] = {
		t_strconcat("host=", bad_hosts[_i], NULL), "login=x", NULL
	};
	struct account account;
	const char *error = "";

	ck_assert_int_eq(account_parse(pool, "anna", "work", settings,
				       &account, &error), -1);
	ck_assert_msg(strncmp(error, "host ", 5) == 0, "%s", error);
}
END_TEST

START_TEST(account_missing)
{
	static const char *const host[] = { "host=h", NULL };
	static const char *const login[] = { "login=l", NULL };
	struct account account;
	const char *error = "";

	ck_assert_int_eq(account_parse(pool, "anna", "work", login, &account,
				       &error), -1);
	ck_assert_str_eq(error, "host is missing");
	ck_assert_int_eq(account_parse(pool, "anna", "work", host, &account,
				       &error), -1);
	ck_assert_str_eq(error, "login is missing");
}
END_TEST

static const struct {
	const char *name;
	bool valid;
} names[] = {
	{ "work", TRUE }, { "A.b_c-1", TRUE }, { "_", TRUE },
	{ "0123456789012345678901234567890123456789012345678901234567890123",
	  TRUE },
	{ "01234567890123456789012345678901234567890123456789012345678901234",
	  FALSE },
	{ "", FALSE }, { ".", FALSE }, { "..", FALSE }, { "-x", FALSE },
	{ ".x", FALSE }, { "a/b", FALSE }, { "a b", FALSE }, { "a\n", FALSE },
	{ "\xc3\xa4", FALSE }, { "a=b", FALSE },
};

START_TEST(account_name)
{
	static const char *const settings[] = { "host=h", "login=l", NULL };
	struct account account;
	const char *error = NULL;

	ck_assert_int_eq(account_name_is_valid(names[_i].name, &error),
			 names[_i].valid);
	ck_assert_int_eq(error == NULL, names[_i].valid);
	ck_assert_int_eq(account_parse(pool, "anna", names[_i].name, settings,
				       &account, &error),
			 names[_i].valid ? 0 : -1);
}
END_TEST

START_TEST(account_compare)
{
	struct account a, b;

	parse_ok("", &a);
	parse_ok("port=143\nsecurity=starttls\npreset=backup", &b);
	ck_assert(account_same_mailbox(&a, &b));
	b.login = "Anna";
	ck_assert(!account_same_mailbox(&a, &b));
	b.login = a.login;
	b.host = "imap2.example.org";
	ck_assert(!account_same_mailbox(&a, &b));

	ck_assert_str_eq(account_endpoint(&a), "imap.example.org:993");
	a.host = "2001:db8::1";
	ck_assert_str_eq(account_endpoint(&a), "[2001:db8::1]:993");
}
END_TEST

/* The account owns its strings. */
START_TEST(account_memory)
{
	char *strings[] = {
		p_strdup(pool, "host=h"), p_strdup(pool, "login=l"),
		p_strdup(pool, "folders=a,b"), p_strdup(pool, "label=x"), NULL
	};
	char *user = p_strdup(pool, "anna"), *name = p_strdup(pool, "work");
	struct account account;
	const char *error;
	unsigned int i;

	ck_assert_int_eq(account_parse(pool, user, name,
				       (const char *const *)strings,
				       &account, &error), 0);
	for (i = 0; strings[i] != NULL; i++)
		memset(strings[i], '#', strlen(strings[i]));
	memset(user, '#', strlen(user));
	memset(name, '#', strlen(name));
	ck_assert_str_eq(account.user, "anna");
	ck_assert_str_eq(account.name, "work");
	ck_assert_str_eq(account.owner, "anna");
	ck_assert_str_eq(printed(&account, FALSE),
			 "folders=a,b\nhost=h\nlabel=x\nlogin=l");
}
END_TEST

static const char *random_text(void)
{
	static const char *const bits[] = {
		"a", "B", ",", "\\", " ", "=", "\xc3\xa4", "/", "*", "%", "."
	};
	string_t *str = t_str_new(32);
	unsigned int i, count = 1 + random() % 8;

	for (i = 0; i < count; i++)
		str_append(str, bits[random() % N_ELEMENTS(bits)]);
	return str_c(str);
}

static const char *const *random_list(bool empty_allowed, const char *infix)
{
	ARRAY(const char *) list;
	unsigned int i, count = random() % 4 + (empty_allowed ? 0 : 1);

	p_array_init(&list, pool, 4);
	for (i = 0; i < count; i++) {
		const char *item = *infix == '\0' ?
			p_strdup(pool, random_text()) :
			p_strconcat(pool, random_text(), infix,
				    t_str_replace(random_text(), '=', '-'),
				    NULL);
		array_push_back(&list, &item);
	}
	array_append_zero(&list);
	return array_front(&list);
}

static void random_account(struct account *account)
{
	parse_ok(t_strdup_printf("preset=%s\nsubfolder=x\nsecurity=%s",
		random() % 2 == 0 ? "combine" : "backup",
		random() % 2 == 0 ? "tls" : "starttls"), account);
	account->port = 1 + random() % 65535;
	account->login = p_strdup(pool, random_text());
	account->label = p_strdup(pool, random_text());
	account->owner = random() % 2 == 0 ? NULL :
		p_strdup(pool, random_text());
	account->subfolder = p_strdup(pool, random_text());
	account->folders = random_list(FALSE, "");
	account->exclude = random_list(TRUE, "");
	account->folder_map = random_list(TRUE, "=");
	account->subscribed_only = random() % 2 == 0;
	account->unseen_only = random() % 2 == 0;
	account->tls_verify = random() % 2 == 0;
	account->enabled = random() % 2 == 0;
	account->initial_age_secs = random() % 3153600000U;
	account->since = random() % 2 == 0 ? 0 :
		100000000 + (random() % 2000000) * (random() % 86401);
	account->max_size_bytes = (uoff_t)random() << (random() % 32);
	account->timeout_secs = 1 + random() % 86400;
	account->guard_percent = random() % 101;
	account->deliver = random() % 2;
	account->history = random() % 3;
	account->flags = random() % 3;
	account->expunge = random() % 2;
	account->interval_secs = random() % 2 == 0 ? 0 :
		10 + random() % 1000000;
	account->idle = random_list(TRUE, "");
}

START_TEST(account_random)
{
	unsigned int seed = (getenv("TEST_SEED") != NULL ?
			     atoi(getenv("TEST_SEED")) : 1) + _i;
	struct account account, again;
	const char *error = "";
	bool all = _i % 2 == 0;

	srandom(seed);
	random_account(&account);
	ck_assert_msg(account_parse(pool, account.user, account.name,
				    account_print(pool, &account, all),
				    &again, &error) == 0,
		      "seed %u: %s: %s", seed, error, printed(&account, all));
	ck_assert_msg(strcmp(printed(&account, TRUE),
			     printed(&again, TRUE)) == 0, "seed %u", seed);
	ck_assert_str_eq(t_strarray_join(account.folders, "\n"),
			 t_strarray_join(again.folders, "\n"));
	ck_assert_str_eq(t_strarray_join(account.folder_map, "\n"),
			 t_strarray_join(again.folder_map, "\n"));
	ck_assert(account.since == again.since);
	ck_assert(account.max_size_bytes == again.max_size_bytes);
	ck_assert_uint_eq(account.initial_age_secs, again.initial_age_secs);
	ck_assert_str_eq(account.login, again.login);
	ck_assert_int_eq(account.unseen_only, again.unseen_only);
	ck_assert_int_eq(null_strcmp(account.owner, again.owner), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("account");
	TCase *tc = tcase_create("account");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, account_defaults, 0, N_ELEMENTS(defaults));
	tcase_add_test(tc, account_preset_order);
	tcase_add_loop_test(tc, account_value, 0, N_ELEMENTS(values));
	tcase_add_loop_test(tc, account_host, 0, N_ELEMENTS(hosts));
	tcase_add_loop_test(tc, account_bad, 0, N_ELEMENTS(bad));
	tcase_add_loop_test(tc, account_bad_host, 0, N_ELEMENTS(bad_hosts));
	tcase_add_test(tc, account_missing);
	tcase_add_loop_test(tc, account_name, 0, N_ELEMENTS(names));
	tcase_add_test(tc, account_compare);
	tcase_add_test(tc, account_memory);
	tcase_add_loop_test(tc, account_random, 0, 100);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
