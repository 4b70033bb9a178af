/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "dovecot-compat.h"
#include "imapsync-settings.h"
#include "remote-account.h"

#include <ifaddrs.h>
#include <netinet/in.h>

static bool own_address(const struct sockaddr *addr, struct ip_addr *ip_r)
{
	i_zero(ip_r);
	if (addr == NULL)
		return FALSE;
	ip_r->family = addr->sa_family;
	if (addr->sa_family == AF_INET)
		ip_r->u.ip4 = ((const struct sockaddr_in *)addr)->sin_addr;
	else if (addr->sa_family == AF_INET6)
		ip_r->u.ip6 = ((const struct sockaddr_in6 *)addr)->sin6_addr;
	else
		return FALSE;
	return TRUE;
}

/* This machine trusts connections from itself more than a remote user should
   be: its own addresses count as private ones. */
static void own_addresses(pool_t pool, struct event *event,
			  struct net_policy *policy)
{
	ARRAY(struct ip_addr) own;
	struct ifaddrs *list, *addr;
	struct ip_addr ip;

	if (getifaddrs(&list) < 0) {
		e_warning(event, "getifaddrs() failed: %m");
		return;
	}
	p_array_init(&own, pool, 8);
	for (addr = list; addr != NULL; addr = addr->ifa_next) {
		if (own_address(addr->ifa_addr, &ip))
			array_push_back(&own, &ip);
	}
	freeifaddrs(list);
	policy->own = array_get(&own, &policy->own_count);
}

int remote_account_policy(pool_t pool, const struct imapsync_settings *set,
			  struct event *event, struct net_policy *policy_r,
			  const char **error_r)
{
	if (net_policy_parse(pool, set->imapsync_pull_allowed_networks,
			     set->imapsync_pull_allowed_ports, policy_r,
			     error_r) < 0)
		return -1;
	own_addresses(pool, event, policy_r);
	return 0;
}

void remote_account_settings(const struct account *account, const char *secret,
			     const struct imapsync_settings *set,
			     const struct net_policy *policy,
			     struct remote_imap_settings *client_r)
{
	i_zero(client_r);
	client_r->host = account->host;
	client_r->port = account->port;
	client_r->security = account->security;
	client_r->tls_verify = account->tls_verify;
	client_r->tls_pin = account->tls_pin;
	client_r->ca_file = set->imapsync_pull_ca_file;
	client_r->login = account->login;
	client_r->secret = secret;
	client_r->master_user = account->master_user;
	client_r->auth_mechanism = account->auth_mechanism;
	client_r->policy = policy;
	client_r->connect_timeout_msecs =
		I_MIN(account->timeout_secs, 30) * 1000;
	client_r->idle_timeout_msecs = account->timeout_secs * 1000;
}
