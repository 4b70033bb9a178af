/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "str.h"
#include "core/net-policy.h"

#include <check.h>
#include <stdlib.h>

static pool_t pool;

static void setup(void)
{
	pool = pool_allocfree_create("test net policy");
}

static void teardown(void)
{
	pool_unref(&pool);
}

static void
policy_init(const char *networks, const char *ports, struct net_policy *policy)
{
	const char *error = "";

	ck_assert_msg(net_policy_parse(pool, networks, ports, policy,
				       &error) == 0, "%s", error);
}

static struct ip_addr addr(const char *text)
{
	struct ip_addr ip;

	i_zero(&ip);
	ck_assert_msg(net_addr2ip(text, &ip) == 0, "%s", text);
	return ip;
}

/* The first and the last of each kind, and what lies beyond them */
static const struct {
	const char *ip, *reason;
} kinds[] = {
	{ "0.0.0.0", "unspecified" },
	{ "0.255.255.255", "unspecified" },
	{ "1.0.0.0", NULL },
	{ "9.255.255.255", NULL },
	{ "10.0.0.0", "private" },
	{ "10.255.255.255", "private" },
	{ "11.0.0.0", NULL },
	{ "100.63.255.255", NULL },
	{ "100.64.0.0", "shared" },
	{ "100.127.255.255", "shared" },
	{ "100.128.0.0", NULL },
	{ "126.255.255.255", NULL },
	{ "127.0.0.1", "loopback" },
	{ "127.255.255.255", "loopback" },
	{ "128.0.0.0", NULL },
	{ "169.253.255.255", NULL },
	{ "169.254.0.0", "link-local" },
	{ "169.254.169.254", "link-local" },
	{ "169.255.0.0", NULL },
	{ "172.15.255.255", NULL },
	{ "172.16.0.0", "private" },
	{ "172.31.255.255", "private" },
	{ "172.32.0.0", NULL },
	{ "192.0.0.8", "reserved" },
	{ "192.0.1.0", NULL },
	{ "192.0.2.7", "documentation" },
	{ "192.0.3.0", NULL },
	{ "192.31.196.1", "reserved" },
	{ "192.52.193.1", "reserved" },
	{ "192.88.99.1", "reserved" },
	{ "192.167.255.255", NULL },
	{ "192.168.0.0", "private" },
	{ "192.168.255.255", "private" },
	{ "192.169.0.0", NULL },
	{ "192.175.48.1", "reserved" },
	{ "198.17.255.255", NULL },
	{ "198.18.0.0", "benchmarking" },
	{ "198.19.255.255", "benchmarking" },
	{ "198.20.0.0", NULL },
	{ "198.51.100.1", "documentation" },
	{ "203.0.113.255", "documentation" },
	{ "223.255.255.255", NULL },
	{ "224.0.0.0", "multicast" },
	{ "239.255.255.255", "multicast" },
	{ "240.0.0.0", "reserved" },
	{ "255.255.255.255", "reserved" },
	{ "8.8.8.8", NULL },

	{ "::", "unspecified" },
	{ "::1", "loopback" },
	{ "2606:4700::1111", NULL },
	{ "2a00:1450::5", NULL },
	{ "2001::1", "reserved" },		/* Teredo */
	{ "2001:2::1", "reserved" },
	{ "2001:1ff:ffff::", "reserved" },
	{ "2001:200::1", NULL },
	{ "2001:db8::1", "documentation" },
	{ "2001:db9::1", NULL },
	{ "2620:4f:8000::1", "reserved" },
	{ "3ffe::1", "reserved" },
	{ "3fff::1", "documentation" },
	{ "3fff:1000::1", NULL },
	{ "fbff::1", "reserved" },
	{ "fc00::1", "unique local" },
	{ "fdff:ffff::1", "unique local" },
	{ "fe00::1", "reserved" },
	{ "fe80::1", "link-local" },
	{ "febf::1", "link-local" },
	{ "fec0::1", "site-local" },
	{ "ff00::", "multicast" },
	{ "ff02::1", "multicast" },
	{ "100::1", "reserved" },		/* discard only */
	{ "1fff::1", "reserved" },
	{ "4000::1", "reserved" },
	{ "5f00::1", "reserved" },
	{ "64:ff9b:1::7f00:1", "reserved" },	/* local NAT64 (RFC 8215) */

	/* IPv4 in IPv6 clothes */
	{ "::ffff:127.0.0.1", "loopback" },
	{ "::ffff:10.1.2.3", "private" },
	{ "::ffff:169.254.169.254", "link-local" },
	{ "::ffff:8.8.8.8", NULL },
	{ "::ffff:0:127.0.0.1", "reserved" },
	{ "::127.0.0.1", "loopback" },
	{ "::10.0.0.1", "private" },
	{ "::2", "unspecified" },
	{ "::8.8.8.8", NULL },
	{ "64:ff9b::127.0.0.1", "loopback" },
	{ "64:ff9b::192.168.1.1", "private" },
	{ "64:ff9b::8.8.8.8", NULL },
	{ "2002:7f00:1::", "loopback" },
	{ "2002:c0a8:101::1", "private" },
	{ "2002:a00::1", "private" },
	{ "2002:808:808::1", NULL },
	{ "2003::1", NULL },
};

START_TEST(net_policy_kind)
{
	struct net_policy policy;
	struct ip_addr ip = addr(kinds[_i].ip);
	const char *reason = NULL;
	bool allowed;

	policy_init("", "993", &policy);
	allowed = net_policy_allows(&policy, &ip, &reason);
	ck_assert_msg(allowed == (kinds[_i].reason == NULL), "%s",
		      kinds[_i].ip);
	if (!allowed)
		ck_assert_msg(strstr(reason, kinds[_i].reason) != NULL,
			      "%s: %s", kinds[_i].ip, reason);
}
END_TEST

static const struct {
	const char *networks, *ip;
	bool allowed;
} lists[] = {
	{ "127.0.0.0/8", "127.1.2.3", TRUE },
	{ "127.0.0.0/8", "::1", FALSE },
	{ "127.0.0.0/8", "10.0.0.1", FALSE },
	{ "127.0.0.1", "127.0.0.1", TRUE },
	{ "127.0.0.1", "127.0.0.2", FALSE },
	{ "127.0.0.1", "::ffff:127.0.0.1", TRUE },
	{ "127.0.0.1", "::127.0.0.1", FALSE },
	{ "127.0.0.1", "64:ff9b::127.0.0.1", FALSE },
	{ "127.0.0.1", "2002:7f00:1::", FALSE },
	{ "64:ff9b::/96", "64:ff9b::127.0.0.1", TRUE },
	{ "2002::/16", "2002:7f00:1::", TRUE },
	{ "10.1.2.3/8", "10.9.9.9", TRUE },
	{ "10.0.0.0/9", "10.127.255.255", TRUE },
	{ "10.0.0.0/9", "10.128.0.0", FALSE },
	{ "10.0.0.0/31", "10.0.0.1", TRUE },
	{ "10.0.0.0/31", "10.0.0.2", FALSE },
	{ "0.0.0.0/0", "10.0.0.1", TRUE },
	{ "0.0.0.0/0", "fd00::1", FALSE },
	{ "::/0", "fd00::1", TRUE },
	{ "::/0", "10.0.0.1", FALSE },
	{ "fd00::/8 10.0.0.0/8", "fdab::1", TRUE },
	{ "fd00::/8\t10.0.0.0/8", "10.0.0.1", TRUE },
	{ "fd00:1::/33", "fd00:1:7fff::", TRUE },
	{ "fd00:1::/33", "fd00:1:8000::", FALSE },
	{ "fd00::1", "fd00::1", TRUE },
	{ "fd00::1/128", "fd00::2", FALSE },
	{ "[::1]", "::1", TRUE },
	{ "10.0.0.0/8", "8.8.8.8", TRUE },
};

START_TEST(net_policy_listed)
{
	struct net_policy policy;
	struct ip_addr ip = addr(lists[_i].ip);
	const char *reason;

	policy_init(lists[_i].networks, "993", &policy);
	ck_assert_msg(net_policy_allows(&policy, &ip, &reason) ==
		      lists[_i].allowed, "%s in %s", lists[_i].ip,
		      lists[_i].networks);
}
END_TEST

START_TEST(net_policy_own)
{
	const struct ip_addr own[] = {
		addr("8.8.8.8"), addr("2606:4700::1111"), addr("127.0.0.1")
	};
	struct ip_addr ip = addr("::ffff:8.8.8.8");
	struct net_policy policy;
	const char *reason = "";

	policy_init("127.0.0.1", "993", &policy);
	policy.own = own;
	policy.own_count = N_ELEMENTS(own);
	ck_assert(!net_policy_allows(&policy, &own[0], &reason));
	ck_assert_str_eq(reason, "address of this machine");
	ck_assert(!net_policy_allows(&policy, &ip, &reason));
	ck_assert(!net_policy_allows(&policy, &own[1], &reason));
	/* the admin's word counts more */
	ck_assert(net_policy_allows(&policy, &own[2], &reason));
	ip = addr("8.8.4.4");
	ck_assert(net_policy_allows(&policy, &ip, &reason));
	policy_init("8.8.8.0/24", "993", &policy);
	policy.own = own;
	policy.own_count = N_ELEMENTS(own);
	ck_assert(net_policy_allows(&policy, &own[0], &reason));
}
END_TEST

START_TEST(net_policy_no_ip)
{
	struct net_policy policy;
	struct ip_addr ip;
	const char *reason = "";

	policy_init("0.0.0.0/0 ::/0", "any", &policy);
	i_zero(&ip);
	ck_assert(!net_policy_allows(&policy, &ip, &reason));
	ck_assert_str_eq(reason, "not an IP address");
}
END_TEST

static const struct {
	const char *ports;
	in_port_t port;
	bool allowed;
} port_lists[] = {
	{ "143 993", 143, TRUE },
	{ "143 993", 993, TRUE },
	{ "143 993", 25, FALSE },
	{ "143 993", 0, FALSE },
	{ " 993 ", 993, TRUE },
	{ "65535", 65535, TRUE },
	{ "", 993, FALSE },
	{ "any", 1, TRUE },
	{ " any ", 65535, TRUE },
	{ "any", 0, FALSE },
};

START_TEST(net_policy_port)
{
	struct net_policy policy;

	policy_init("", port_lists[_i].ports, &policy);
	ck_assert_int_eq(net_policy_allows_port(&policy, port_lists[_i].port),
			 port_lists[_i].allowed);
}
END_TEST

static const struct {
	const char *networks, *ports, *error;
} bad[] = {
	{ "10.0.0.0/33", "993", "10.0.0.0/33" },
	{ "10.0.0.0/", "993", "10.0.0.0/" },
	{ "10.0.0.0/8 foo", "993", "foo" },
	{ "10", "993", "10" },
	{ "127.1", "993", "127.1" },
	{ "10.0/8", "993", "10.0/8" },
	{ "0x7f.0.0.1", "993", "0x7f.0.0.1" },
	{ "::1/129", "993", "::1/129" },
	{ "::ffff:10.0.0.0/104", "993", "IPv4" },
	{ "10.0.0.0/8,::1", "993", "10.0.0.0/8,::1" },
	{ "", "0", "0" },
	{ "", "993 65536", "65536" },
	{ "", "993 any", "any" },
	{ "", "143,993", "143,993" },
	{ "", "-1", "-1" },
};

START_TEST(net_policy_bad)
{
	struct net_policy policy;
	const char *error = "";

	ck_assert_int_eq(net_policy_parse(pool, bad[_i].networks,
					  bad[_i].ports, &policy, &error), -1);
	ck_assert_msg(strstr(error, bad[_i].error) != NULL, "%s", error);
}
END_TEST

static const struct {
	const char *ips;
	unsigned int limit;
	const char *picked;
} picks[] = {
	{ "", 3, "" },
	{ "192.0.2.1 192.0.2.2", 0, "" },
	{ "192.0.2.1 192.0.2.2", 1, "192.0.2.1" },
	{ "192.0.2.1 192.0.2.2", 2, "192.0.2.1 192.0.2.2" },
	{ "192.0.2.1 192.0.2.2", 9, "192.0.2.1 192.0.2.2" },
	{ "::2 ::3 ::4", 2, "::2 ::3" },
	{ "::2 ::3 ::4 192.0.2.1 192.0.2.2", 3, "::2 192.0.2.1 ::3" },
	{ "::2 ::3 ::4 192.0.2.1", 4, "::2 192.0.2.1 ::3 ::4" },
	{ "192.0.2.1 192.0.2.2 ::2", 2, "192.0.2.1 ::2" },
	{ "192.0.2.1 ::2 192.0.2.2 ::3", 9, "192.0.2.1 ::2 192.0.2.2 ::3" },
	/* the name server may say one twice */
	{ "::2 ::2 192.0.2.1", 3, "::2 192.0.2.1 ::2" },
};

START_TEST(net_policy_picks)
{
	const char *const *words = t_strsplit_spaces(picks[_i].ips, " ");
	unsigned int i, count = str_array_length(words);
	struct ip_addr *ips = t_new(struct ip_addr, count + 1);
	/* of its exact size, for the sanitizers to watch */
	struct ip_addr *picked = malloc(picks[_i].limit * sizeof(*picked));
	string_t *str = t_str_new(64);

	for (i = 0; i < count; i++)
		ips[i] = addr(words[i]);
	count = net_policy_pick(ips, count, picks[_i].limit, picked);
	for (i = 0; i < count; i++) {
		str_printfa(str, "%s%s", i == 0 ? "" : " ",
			    net_ip2addr(&picked[i]));
	}
	free(picked);
	ck_assert_str_eq(str_c(str), picks[_i].picked);
}
END_TEST

/* No wrapping lets through what is denied bare. */
START_TEST(net_policy_random)
{
	unsigned int seed = (getenv("TEST_SEED") != NULL ?
			     atoi(getenv("TEST_SEED")) : 1) + _i;
	struct net_policy policy;
	struct ip_addr ip;
	const char *reason;
	unsigned int i;

	policy_init("", "993", &policy);
	srandom(seed);
	for (i = 0; i < 200; i++) {
		unsigned int a = random() % 256, b = random() % 256;
		unsigned int c = random() % 256, d = random() % 256;
		const char *forms[] = {
			t_strdup_printf("%u.%u.%u.%u", a, b, c, d),
			t_strdup_printf("::ffff:%u.%u.%u.%u", a, b, c, d),
			t_strdup_printf("64:ff9b::%u.%u.%u.%u", a, b, c, d),
			t_strdup_printf("2002:%02x%02x:%02x%02x::1",
					a, b, c, d),
		};
		unsigned int j, allowed = 0;

		for (j = 0; j < N_ELEMENTS(forms); j++) {
			ip = addr(forms[j]);
			if (net_policy_allows(&policy, &ip, &reason))
				allowed++;
		}
		ck_assert_msg(allowed == 0 || allowed == N_ELEMENTS(forms),
			      "seed %u: %s", seed, forms[0]);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("net-policy");
	TCase *tc = tcase_create("net-policy");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, net_policy_kind, 0, N_ELEMENTS(kinds));
	tcase_add_loop_test(tc, net_policy_listed, 0, N_ELEMENTS(lists));
	tcase_add_test(tc, net_policy_own);
	tcase_add_test(tc, net_policy_no_ip);
	tcase_add_loop_test(tc, net_policy_port, 0, N_ELEMENTS(port_lists));
	tcase_add_loop_test(tc, net_policy_bad, 0, N_ELEMENTS(bad));
	tcase_add_loop_test(tc, net_policy_picks, 0, N_ELEMENTS(picks));
	tcase_add_loop_test(tc, net_policy_random, 0, 10);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
