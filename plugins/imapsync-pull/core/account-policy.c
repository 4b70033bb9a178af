/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "net.h"
#include "wildcard-match.h"
#include "dovecot-compat.h"
#include "account.h"
#include "account-policy.h"

static bool host_matches(const char *host, const char *masks)
{
	const char *const *mask = t_strsplit_spaces(masks, " ,");

	for (; *mask != NULL; mask++) {
		if (wildcard_match_icase(host, *mask))
			return TRUE;
	}
	return FALSE;
}

static bool
policy_allows_address(const struct account_policy *policy,
		      const struct account *account, const char **error_r)
{
	const char *reason;
	struct ip_addr ip;

	if (net_addr2ip(account->host, &ip) < 0 ||
	    net_policy_allows(&policy->net, &ip, &reason))
		return TRUE;
	*error_r = t_strdup_printf("host %s is a %s and not listed in "
		"imapsync_pull_allowed_networks", account->host, reason);
	return FALSE;
}

bool account_policy_allows(const struct account_policy *policy,
			   const struct account *account,
			   const char **error_r)
{
	if (!net_policy_allows_port(&policy->net, account->port)) {
		*error_r = t_strdup_printf("port %u is not listed in "
			"imapsync_pull_allowed_ports", account->port);
		return FALSE;
	}
	if (account->security == ACCOUNT_SECURITY_NONE &&
	    !host_matches(account->host, policy->allow_cleartext)) {
		*error_r = t_strdup_printf("security none: %s is not listed in "
			"imapsync_pull_allow_cleartext", account->host);
		return FALSE;
	}
	if (!account->tls_verify &&
	    !host_matches(account->host, policy->allow_no_verify)) {
		*error_r = t_strdup_printf("tls_verify no: %s is not listed in "
			"imapsync_pull_allow_no_verify", account->host);
		return FALSE;
	}
	return policy_allows_address(policy, account, error_r);
}
