/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "array.h"
#include "strnum.h"
#include "net-policy.h"

struct net_policy_kind {
	const char *network, *reason;
};

/* Special-purpose addresses: the IANA registries of RFC 6890, and RFC 5771 and
   RFC 4291 for multicast. What is not listed is public. */
static const struct net_policy_kind net_policy_ip4[] = {
	{ "0.0.0.0/8", "unspecified address" },
	{ "10.0.0.0/8", "private address" },
	{ "100.64.0.0/10", "shared address (RFC 6598)" },
	{ "127.0.0.0/8", "loopback address" },
	{ "169.254.0.0/16", "link-local address" },
	{ "172.16.0.0/12", "private address" },
	{ "192.0.0.0/24", "reserved address" },
	{ "192.0.2.0/24", "documentation address" },
	{ "192.31.196.0/24", "reserved address" },
	{ "192.52.193.0/24", "reserved address" },
	{ "192.88.99.0/24", "reserved address" },
	{ "192.168.0.0/16", "private address" },
	{ "192.175.48.0/24", "reserved address" },
	{ "198.18.0.0/15", "benchmarking address" },
	{ "198.51.100.0/24", "documentation address" },
	{ "203.0.113.0/24", "documentation address" },
	{ "224.0.0.0/4", "multicast address" },
	{ "240.0.0.0/4", "reserved address" },
};

/* Looked at in this order. What is not listed is public if it lies in the one
   block that is handed out, 2000::/3. */
static const struct net_policy_kind net_policy_ip6[] = {
	{ "::/128", "unspecified address" },
	{ "::1/128", "loopback address" },
	{ "2001::/23", "reserved address" },
	{ "2001:db8::/32", "documentation address" },
	{ "2620:4f:8000::/48", "reserved address" },
	{ "3ffe::/16", "reserved address" },
	{ "3fff::/20", "documentation address" },
	{ "fc00::/7", "unique local address" },
	{ "fe80::/10", "link-local address" },
	{ "fec0::/10", "site-local address" },
	{ "ff00::/8", "multicast address" },
};

/* IPv6 networks with an IPv4 address inside, and the byte it begins at */
static const struct {
	const char *network;
	unsigned int offset;
} net_policy_wrappers[] = {
	{ "::ffff:0:0/96", 12 },	/* v4-mapped */
	{ "::/96", 12 },		/* v4-compatible */
	{ "64:ff9b::/96", 12 },		/* NAT64 (RFC 6052) */
	{ "2002::/16", 2 },		/* 6to4 (RFC 3056) */
};

static const unsigned char *net_policy_bytes(const struct ip_addr *ip)
{
	return IPADDR_IS_V4(ip) ? (const unsigned char *)&ip->u.ip4 :
		(const unsigned char *)&ip->u.ip6;
}

/* net_is_in_network() looks through v4-mapped addresses, which are told apart
   here. */
static bool
net_policy_range_has(const struct net_policy_range *range,
		     const struct ip_addr *ip)
{
	const unsigned char *a = net_policy_bytes(ip);
	const unsigned char *b = net_policy_bytes(&range->ip);
	unsigned int bytes = range->bits / 8, bits = range->bits % 8;

	if (ip->family != range->ip.family || memcmp(a, b, bytes) != 0)
		return FALSE;
	return bits == 0 || ((a[bytes] ^ b[bytes]) >> (8 - bits)) == 0;
}

static bool net_policy_is_in(const struct ip_addr *ip, const char *network)
{
	struct net_policy_range range;

	if (net_parse_range(network, &range.ip, &range.bits) < 0)
		i_unreached();
	return net_policy_range_has(&range, ip);
}

static bool
net_policy_unwrap(const struct ip_addr *ip, struct ip_addr *ip4_r)
{
	unsigned int i;

	if (!IPADDR_IS_V6(ip) || net_policy_is_in(ip, "::/127"))
		return FALSE;
	for (i = 0; i < N_ELEMENTS(net_policy_wrappers); i++) {
		if (!net_policy_is_in(ip, net_policy_wrappers[i].network))
			continue;
		i_zero(ip4_r);
		ip4_r->family = AF_INET;
		memcpy(&ip4_r->u.ip4, net_policy_bytes(ip) +
		       net_policy_wrappers[i].offset, sizeof(ip4_r->u.ip4));
		return TRUE;
	}
	return FALSE;
}

static const char *
net_policy_kind_find(const struct ip_addr *ip,
		     const struct net_policy_kind *kinds, unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		if (net_policy_is_in(ip, kinds[i].network))
			return kinds[i].reason;
	}
	return NULL;
}

/* Returns NULL if ip is public. */
static const char *net_policy_reason(const struct ip_addr *ip)
{
	struct ip_addr ip4;
	const char *reason;

	if (net_policy_unwrap(ip, &ip4))
		ip = &ip4;
	if (IPADDR_IS_V4(ip)) {
		return net_policy_kind_find(ip, net_policy_ip4,
					    N_ELEMENTS(net_policy_ip4));
	}
	if (!IPADDR_IS_V6(ip))
		return "not an IP address";
	reason = net_policy_kind_find(ip, net_policy_ip6,
				      N_ELEMENTS(net_policy_ip6));
	if (reason == NULL && !net_policy_is_in(ip, "2000::/3"))
		reason = "reserved address";
	return reason;
}

static bool
net_policy_lists(const struct net_policy *policy, const struct ip_addr *ip)
{
	unsigned int i;

	for (i = 0; i < policy->allowed_count; i++) {
		if (net_policy_range_has(&policy->allowed[i], ip))
			return TRUE;
	}
	return FALSE;
}

static bool
net_policy_is_own(const struct net_policy *policy, const struct ip_addr *ip)
{
	unsigned int i;

	for (i = 0; i < policy->own_count; i++) {
		if (net_ip_compare(&policy->own[i], ip))
			return TRUE;
	}
	return FALSE;
}

bool net_policy_allows(const struct net_policy *policy,
		       const struct ip_addr *ip, const char **reason_r)
{
	struct ip_addr ip4;
	const char *reason;
	bool allowed;

	T_BEGIN {
		reason = net_policy_reason(ip);
		/* a v4-mapped address is the IPv4 address to the kernel; the
		   other wrappings lead to somebody else's network, which the
		   admin did not mean by naming the IPv4 one */
		if (net_policy_is_in(ip, "::ffff:0:0/96") &&
		    net_policy_unwrap(ip, &ip4))
			ip = &ip4;
		if (reason == NULL && net_policy_is_own(policy, ip))
			reason = "address of this machine";
		allowed = reason == NULL || net_policy_lists(policy, ip);
	} T_END;
	if (!allowed)
		*reason_r = reason;
	return allowed;
}

static unsigned int
net_policy_find_family(const struct ip_addr *ips, unsigned int count,
		       unsigned int idx, bool ip6)
{
	while (idx < count && IPADDR_IS_V6(&ips[idx]) != ip6)
		idx++;
	return idx;
}

unsigned int net_policy_pick(const struct ip_addr *ips, unsigned int count,
			     unsigned int limit, struct ip_addr *picked_r)
{
	/* where the next one of each family is */
	unsigned int next[2] = {
		net_policy_find_family(ips, count, 0, FALSE),
		net_policy_find_family(ips, count, 0, TRUE),
	};
	unsigned int picked = 0;
	bool ip6 = next[TRUE] < next[FALSE];

	for (; picked < limit && (next[0] < count || next[1] < count);
	     ip6 = !ip6) {
		if (next[ip6] == count)
			continue;
		picked_r[picked++] = ips[next[ip6]];
		next[ip6] = net_policy_find_family(ips, count, next[ip6] + 1,
						   ip6);
	}
	return picked;
}

bool net_policy_allows_port(const struct net_policy *policy, in_port_t port)
{
	const in_port_t *ports = policy->ports;

	if (port == 0)
		return FALSE;
	if (ports == NULL)
		return TRUE;
	while (*ports != 0 && *ports != port)
		ports++;
	return *ports != 0;
}

/* net_parse_range() takes 127.1 and 10 for addresses */
static bool net_policy_is_strict(const char *word, const struct ip_addr *ip)
{
	return !IPADDR_IS_V4(ip) ||
		strcmp(t_strcut(word, '/'), net_ip2addr(ip)) == 0;
}

static int
net_policy_parse_range(const char *word, struct net_policy_range *range_r,
		       const char **error_r)
{
	i_zero(range_r);
	if (net_parse_range(word, &range_r->ip, &range_r->bits) < 0 ||
	    !net_policy_is_strict(word, &range_r->ip)) {
		*error_r = t_strdup_printf("%s is not an address or network",
					   word);
		return -1;
	}
	if (net_policy_is_in(&range_r->ip, "::ffff:0:0/96") &&
	    range_r->bits >= 96) {
		*error_r = t_strdup_printf("%s must be written as an IPv4 "
					   "network", word);
		return -1;
	}
	return 0;
}

static int
net_policy_parse_networks(pool_t pool, const char *networks,
			  struct net_policy *policy, const char **error_r)
{
	const char *const *words = t_strsplit_spaces(networks, " \t");
	ARRAY(struct net_policy_range) ranges;
	struct net_policy_range *range;

	p_array_init(&ranges, pool, 4);
	for (; *words != NULL; words++) {
		range = array_append_space(&ranges);
		if (net_policy_parse_range(*words, range, error_r) < 0)
			return -1;
	}
	policy->allowed = array_get(&ranges, &policy->allowed_count);
	return 0;
}

static int
net_policy_parse_ports(pool_t pool, const char *ports,
		       struct net_policy *policy, const char **error_r)
{
	const char *const *words = t_strsplit_spaces(ports, " \t");
	ARRAY(in_port_t) list;
	in_port_t port;

	if (words[0] != NULL && words[1] == NULL &&
	    strcmp(words[0], "any") == 0)
		return 0;
	p_array_init(&list, pool, 4);
	for (; *words != NULL; words++) {
		if (net_str2port(*words, &port) < 0) {
			*error_r = t_strdup_printf("%s is not a port", *words);
			return -1;
		}
		array_push_back(&list, &port);
	}
	array_append_zero(&list);
	policy->ports = array_idx(&list, 0);
	return 0;
}

int net_policy_parse(pool_t pool, const char *networks, const char *ports,
		     struct net_policy *policy_r, const char **error_r)
{
	i_zero(policy_r);
	if (net_policy_parse_networks(pool, networks, policy_r, error_r) < 0 ||
	    net_policy_parse_ports(pool, ports, policy_r, error_r) < 0)
		return -1;
	return 0;
}
