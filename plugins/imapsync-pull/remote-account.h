#ifndef IMAPSYNC_REMOTE_ACCOUNT_H
#define IMAPSYNC_REMOTE_ACCOUNT_H

#include "remote-imap.h"

/* What worker and watcher have in common when they connect to an account. */

struct imapsync_settings;

/* Where may be connected to: by the settings, and never to this machine's own
   addresses unless they allow it. policy_r lives in pool. Returns 0, or -1 and
   error_r. */
int remote_account_policy(pool_t pool, const struct imapsync_settings *set,
			  struct event *event, struct net_policy *policy_r,
			  const char **error_r);

/* What account and settings say of the connection, and all deadlines; limits
   and buffer sizes stay 0. Points to what it is given. */
void remote_account_settings(const struct account *account, const char *secret,
			     const struct imapsync_settings *set,
			     const struct net_policy *policy,
			     struct remote_imap_settings *client_r);

#endif
