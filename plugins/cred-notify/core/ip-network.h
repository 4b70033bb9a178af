#ifndef CRED_NOTIFY_IP_NETWORK_H
#define CRED_NOTIFY_IP_NETWORK_H

#include "net.h"

/* The network that an address is taken to be in: the first 24 bits of IPv4, 64
   of IPv6. One place, as far as logins go. */
static inline struct ip_addr ip_network(const struct ip_addr *ip)
{
	struct ip_addr net = *ip;

	if (net.family == AF_INET)
		net.u.ip4.s_addr &= htonl(0xffffff00);
	else if (net.family == AF_INET6)
		memset(net.u.ip6.s6_addr + 8, 0, 8);
	return net;
}

#endif
