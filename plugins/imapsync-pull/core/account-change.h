#ifndef IMAPSYNC_ACCOUNT_CHANGE_H
#define IMAPSYNC_ACCOUNT_CHANGE_H

struct account;

/* What "account set" makes of an account: the old one, with what was given put
   in its place. Pure. */

/* old: the account as it is, or NULL if it is a new one
   changes: NULL-terminated "key=value"; "key=" puts the key back to its
	    default; "since=now" means now
   The new account has the source id of the old one if it means the same remote
   mailbox, else "". Everything is allocated from pool.

   Returns 0, or -1 and error_r naming the key that is wrong. */
int account_change_apply(pool_t pool, const char *user, const char *name,
			 const struct account *old, const char *const *changes,
			 time_t now, struct account *account_r,
			 const char **error_r);

/* TRUE if the secret that was given for old must not be sent to where account
   points: another host, another login, a connection that is less
   protected, or a server that is known by another pin. */
bool account_change_needs_secret(const struct account *old,
				 const struct account *account);

#endif
