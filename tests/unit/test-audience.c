/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "core/audience.h"

#include <check.h>

static pool_t pool;

static const char *const admin_groups[] = { "admins", "it", NULL };
static const char *const named_users[] = { "root", NULL };
static const char *const own_networks[] = {
	"127.0.0.0/8", "::1", "2001:db8::/32", "nonsense", NULL,
};
static const struct audience_config config = {
	.channels = AUDIENCE_ALL & ~AUDIENCE_HTTP,
	.capability_groups = admin_groups,
	.capability_users = named_users,
	.own_networks = own_networks,
};
#define ON (AUDIENCE_FLASH | AUDIENCE_LIVE | AUDIENCE_MAIL)

static const struct {
	const char *name, *fields[4];
	bool holds;
} holders[] = {
	{ "a", { NULL }, FALSE },
	{ "a", { "cred_notify_capabilities=x,"AUDIENCE_CAPABILITY }, TRUE },
	{ "a", { "cred_notify_capabilities="AUDIENCE_CAPABILITY_ALIAS }, TRUE },
	{ "a", { "cred_notify_capabilities="AUDIENCE_CAPABILITY"s" }, FALSE },
	{ "a", { "cred_notify_capabilitiesx="AUDIENCE_CAPABILITY }, FALSE },
	{ "a", { "capabilities="AUDIENCE_CAPABILITY }, FALSE },
	{ "a", { "acl_groups=users, it" }, TRUE },
	{ "a", { "acl_groups=users,admin" }, FALSE },
	{ "a", { "uid=1", "acl_groups", "cred_notify_capabilities" }, FALSE },
	{ "root", { NULL }, TRUE },
	{ "roo", { NULL }, FALSE },
};

START_TEST(audience_capability)
{
	struct audience_user user;

	audience_user_parse(pool, &config, holders[_i].name,
			    holders[_i].fields, &user);
	ck_assert_int_eq(user.holds_capability, holders[_i].holds);
	ck_assert_str_eq(user.name, holders[_i].name);
}
END_TEST

START_TEST(audience_fields)
{
	static const char *const fields[] = {
		"cred_notify_email=a@example.org, evil\r\nBcc: x@y"
		",b@example.org,none,c@d@e,<d@example.org>",
		"cred_notify_off=Flash,nonsense,outside",
		"cred_notify_language=de", NULL,
	};
	struct audience_user user;

	audience_user_parse(pool, &config, "anna", fields, &user);
	ck_assert_uint_eq(user.opt_out, AUDIENCE_FLASH | AUDIENCE_MAIL_OUTSIDE);
	ck_assert_str_eq(user.language, "de");
	ck_assert_str_eq(user.addresses[0], "a@example.org");
	ck_assert_str_eq(user.addresses[1], "b@example.org");
	ck_assert_ptr_null(user.addresses[2]);
}
END_TEST

#define OWNER AUDIENCE_GROUP_OWNER
#define HOLDERS AUDIENCE_GROUP_HOLDERS
#define HOLDS "cred_notify_capabilities="AUDIENCE_CAPABILITY
#define EMAIL "cred_notify_email=a@example.org"

static const struct {
	enum notice_kind kind;
	enum notice_class class;
	/* account "" = logins */
	const char *owner, *account;
	bool owner_exists, was_told;
	const char *user, *fields[4], *broken;
	unsigned int groups, channels;
} rows[] = {
	/* the owner */
	{ NOTICE_KIND_TROUBLE, NOTICE_CLASS_CREDENTIAL, "anna", "17", TRUE,
	  FALSE, "anna", { NULL }, "", OWNER, ON },
	{ NOTICE_KIND_TROUBLE, NOTICE_CLASS_CREDENTIAL, "anna", "17", TRUE,
	  FALSE, "anna", { EMAIL }, "", OWNER, ON | AUDIENCE_MAIL_OUTSIDE },
	/* nobody else, whatever he may */
	{ NOTICE_KIND_TROUBLE, NOTICE_CLASS_CREDENTIAL, "anna", "17", TRUE,
	  FALSE, "bert", { HOLDS }, "", OWNER, 0 },
	/* never into what is broken */
	{ NOTICE_KIND_TROUBLE, NOTICE_CLASS_CREDENTIAL, "anna", "17", TRUE,
	  FALSE, "anna", { EMAIL }, "A@Example.org", OWNER, ON },
	/* no owner, or one who is gone */
	{ NOTICE_KIND_TROUBLE, NOTICE_CLASS_DNS, "", "17", FALSE,
	  FALSE, "bert", { HOLDS }, "", HOLDERS, ON },
	{ NOTICE_KIND_TROUBLE, NOTICE_CLASS_DNS, "", "17", FALSE,
	  FALSE, "bert", { NULL }, "", HOLDERS, 0 },
	{ NOTICE_KIND_TROUBLE, NOTICE_CLASS_DNS, "anna", "17", FALSE,
	  FALSE, "bert", { HOLDS }, "", HOLDERS, ON },
	/* lost the capability meanwhile */
	{ NOTICE_KIND_RECOVERY, NOTICE_CLASS_DNS, "", "17", FALSE,
	  TRUE, "bert", { NULL }, "", HOLDERS, 0 },
	/* our faults are for those who can mend them */
	{ NOTICE_KIND_TROUBLE, NOTICE_CLASS_LOCAL, "anna", "17", TRUE,
	  FALSE, "anna", { NULL }, "", HOLDERS, 0 },
	{ NOTICE_KIND_TROUBLE, NOTICE_CLASS_LOCAL, "anna", "17", TRUE,
	  FALSE, "bert", { HOLDS }, "", HOLDERS, ON },
	/* a recovery is for who was told */
	{ NOTICE_KIND_RECOVERY, NOTICE_CLASS_DNS, "anna", "17", TRUE,
	  TRUE, "anna", { NULL }, "", OWNER, ON },
	{ NOTICE_KIND_RECOVERY, NOTICE_CLASS_DNS, "anna", "17", TRUE,
	  FALSE, "anna", { NULL }, "", OWNER, 0 },
	{ NOTICE_KIND_DIGEST, NOTICE_CLASS_DNS, "anna", "17", TRUE,
	  FALSE, "anna", { NULL }, "", OWNER, ON },
	{ NOTICE_KIND_FORGOTTEN, NOTICE_CLASS_DNS, "anna", "17", TRUE,
	  TRUE, "anna", { NULL }, "", 0, 0 },
	/* logins; a user who is not there is no reason to write to admins */
	{ NOTICE_KIND_TROUBLE, NOTICE_CLASS_CREDENTIAL, "anna", "", TRUE,
	  FALSE, "anna", { NULL }, "", OWNER, ON },
	{ NOTICE_KIND_TROUBLE, NOTICE_CLASS_CREDENTIAL, "anna", "", FALSE,
	  FALSE, "bert", { HOLDS }, "", 0, 0 },
	/* not wanted */
	{ NOTICE_KIND_TROUBLE, NOTICE_CLASS_DNS, "anna", "17", TRUE, FALSE,
	  "anna", { "cred_notify_off=mail" }, "", OWNER,
	  ON & ~AUDIENCE_MAIL },
	{ NOTICE_KIND_TROUBLE, NOTICE_CLASS_DNS, "anna", "17", TRUE, FALSE,
	  "anna", { "cred_notify_off=yes", EMAIL }, "", OWNER, 0 },
};

START_TEST(audience_table)
{
	struct notice notice;
	struct audience_user user;
	unsigned int groups;

	i_zero(&notice);
	notice.kind = rows[_i].kind;
	notice.state.told_class = rows[_i].class;
	notice.state.subject.origin = *rows[_i].account == '\0' ?
		NOTICE_ORIGIN_LOGIN : NOTICE_ORIGIN_ACCOUNT;
	notice.state.subject.user = rows[_i].owner;
	notice.state.subject.account = rows[_i].account;
	audience_user_parse(pool, &config, rows[_i].user, rows[_i].fields,
			    &user);
	groups = audience_groups(&notice, rows[_i].owner_exists);
	ck_assert_uint_eq(groups, rows[_i].groups);
	ck_assert_uint_eq(audience_tells(&config, &notice, groups, &user,
					 rows[_i].was_told, rows[_i].broken),
			  rows[_i].channels);
}
END_TEST

START_TEST(audience_reachable)
{
	struct notice notice;

	i_zero(&notice);
	notice.state.subject.origin = NOTICE_ORIGIN_LOGIN;
	ck_assert(!audience_is_reachable(&notice, AUDIENCE_MAIL));
	ck_assert(!audience_is_reachable(&notice, 0));
	ck_assert(audience_is_reachable(&notice, ON));
	notice.state.subject.origin = NOTICE_ORIGIN_ACCOUNT;
	ck_assert(audience_is_reachable(&notice, AUDIENCE_MAIL));
}
END_TEST

static const struct {
	const char *ip;
	bool own;
} addresses[] = {
	{ "127.0.0.1", TRUE }, { "128.0.0.1", FALSE }, { "::1", TRUE },
	{ "::2", FALSE }, { "2001:db8:1::1", TRUE }, { "192.0.2.1", FALSE },
};

START_TEST(audience_own_address)
{
	struct ip_addr ip;

	ck_assert_int_eq(net_addr2ip(addresses[_i].ip, &ip), 0);
	ck_assert_int_eq(audience_is_own_address(&config, &ip),
			 addresses[_i].own);
	i_zero(&ip);
	ck_assert(!audience_is_own_address(&config, &ip));
}
END_TEST

static void setup(void)
{
	pool = pool_allocfree_create("test audience");
}

static void teardown(void)
{
	pool_unref(&pool);
}

int main(void)
{
	Suite *suite = suite_create("audience");
	TCase *tc = tcase_create("audience");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, audience_capability, 0, N_ELEMENTS(holders));
	tcase_add_test(tc, audience_fields);
	tcase_add_loop_test(tc, audience_table, 0, N_ELEMENTS(rows));
	tcase_add_test(tc, audience_reachable);
	tcase_add_loop_test(tc, audience_own_address, 0,
			    N_ELEMENTS(addresses));
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
