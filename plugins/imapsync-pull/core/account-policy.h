#ifndef IMAPSYNC_ACCOUNT_POLICY_H
#define IMAPSYNC_ACCOUNT_POLICY_H

#include "net-policy.h"

struct account;

/* What the admin lets accounts do. Pure. Asked when an account is set and again
   before each run, since the policy may have become stricter meanwhile. */
struct account_policy {
	struct net_policy net;
	/* space separated host masks, '*' and '?', never NULL */
	const char *allow_cleartext, *allow_no_verify;
};

/* Returns FALSE and error_r naming key, value and the setting that would
   allow it. Whether a host name leads to an allowed address is seen only when
   it is connected to. */
bool account_policy_allows(const struct account_policy *policy,
			   const struct account *account,
			   const char **error_r);

#endif
