#ifndef IMAPSYNC_NET_POLICY_H
#define IMAPSYNC_NET_POLICY_H

#include "net.h"

/* Which addresses and ports a remote account may be reached at. Pure. */

struct net_policy {
	/* networks allowed though they are not public */
	const struct net_policy_range *allowed;
	unsigned int allowed_count;
	/* addresses of this machine, public or not: whoever connects from here
	   to here is trusted more than a remote user. Not set by
	   net_policy_parse(); may be NULL. */
	const struct ip_addr *own;
	unsigned int own_count;
	/* 0-terminated, NULL = any */
	const in_port_t *ports;
};

struct net_policy_range {
	struct ip_addr ip;
	unsigned int bits;
};

/* networks: space separated addresses and CIDR ranges; ports: space separated
   numbers, or "any"; none = no port at all. Allocates from pool. Returns 0, or
   -1 and error_r naming the word that is wrong. */
int net_policy_parse(pool_t pool, const char *networks, const char *ports,
		     struct net_policy *policy_r, const char **error_r);

/* TRUE if ip may be connected to. Everything that is not plainly public
   unicast (loopback, RFC 1918, 100.64/10, link-local, unique local, multicast,
   unspecified, documentation, benchmarking, reserved; also when wrapped as
   v4-mapped, v4-compatible, NAT64 64:ff9b::/96 or 6to4) must be listed, and so
   must the machine's own addresses. Listing an IPv4 network covers its
   v4-mapped form, not the other wrappings. On FALSE reason_r says which kind
   it is ("loopback address"). */
bool net_policy_allows(const struct net_policy *policy,
		       const struct ip_addr *ip, const char **reason_r);

/* Up to limit of the addresses of one name, in the order they are to be tried:
   IPv6 and IPv4 take turns (RFC 8305, 4), or many addresses of the one that
   does not work here would keep us from the other. picked_r has room for limit
   addresses. Returns how many there are in it. */
unsigned int net_policy_pick(const struct ip_addr *ips, unsigned int count,
			     unsigned int limit, struct ip_addr *picked_r);

bool net_policy_allows_port(const struct net_policy *policy, in_port_t port);

#endif
