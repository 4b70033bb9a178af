#ifndef CRED_NOTIFY_HOLDERS_H
#define CRED_NOTIFY_HOLDERS_H

#include "core/audience.h"

/* Users as the userdb knows them, asked for over auth-userdb. Nobody waits:
   whoever asks is called back, be it that auth does not answer in time. All
   users are looked at a few at a time. */

struct holders;

struct holders_settings {
	/* strings must stay */
	const struct audience_config *audience;
	/* directory of auth's socket */
	const char *base_dir;
	/* all users are looked at again after this, 0 = never */
	unsigned int refresh_secs;
	/* of users whose userdb does not say; (uid_t)-1 = not known */
	uid_t mail_uid;
};

struct holders_user {
	struct audience_user audience;
	/* of the processes that read their mail; (uid_t)-1 = not known */
	uid_t uid;
};

struct holders *holders_init(const struct holders_settings *set,
			     struct event *event_parent);
void holders_deinit(struct holders **holders);

/* ret: 1, 0 if there is no such user, -1 if userdb did not answer. user:
   audience.name is the name that the userdb has for it; NULL unless ret is 1 */
typedef void holders_lookup_callback_t(int ret, const struct holders_user *user,
				       void *context);

/* What userdb says of a user by now. user's strings are put into pool.
   callback is called once, never before this returns; in holders_deinit() at
   the latest. */
void holders_lookup(struct holders *holders, pool_t pool, const char *name,
		    holders_lookup_callback_t *callback, void *context);

/* ok: FALSE if the users that are known are older ones, or none are */
typedef void holders_callback_t(bool ok, void *context);

/* Look at all users, unless that was done not long ago or is being done.
   force: whenever it was done. callback is called once, never before this
   returns, and in holders_deinit() at the latest. */
void holders_refresh(struct holders *holders, bool force,
		     holders_callback_t *callback, void *context);

/* Names of those who held the capability when they were last looked at, or are
   named by the configuration: candidates, to be looked up again. Valid until
   the next turn. Returns FALSE if users were never looked at though they
   should: it is not known who holds it. */
bool holders_get(struct holders *holders, const char *const **names_r);
/* whether it is time for holders_refresh() */
bool holders_is_stale(const struct holders *holders);

struct holders_stats {
	unsigned int users, holders;
	uint64_t lookups, failed;
	/* not answered yet */
	unsigned int pending;
	/* 0 = never */
	time_t refreshed;
};
void holders_get_stats(const struct holders *holders,
		       struct holders_stats *stats_r);

#endif
