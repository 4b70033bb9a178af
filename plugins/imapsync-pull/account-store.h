#ifndef IMAPSYNC_ACCOUNT_STORE_H
#define IMAPSYNC_ACCOUNT_STORE_H

#include "net.h"
#include "core/account.h"

/* The accounts in a Dovecot dict: key shared/imapsync/account/<user>/<name>,
   value one line with version, settings and sealed secret. Calls block until
   the dict has answered. Only one process writes: the service. */

struct account_store;
struct dict;

struct account_entry {
	struct account account;
	/* as secret_seal() made it, or NULL if there is none */
	const char *sealed;
	/* NULL, or why the record cannot be used: then account holds only user
	   and name, and sealed is NULL */
	const char *error;
};
ARRAY_DEFINE_TYPE(account_entry, struct account_entry);

/* dict: as account_dict_open() opens it, closed by account_store_deinit();
   file_path: the file of a file dict, else NULL. */
struct account_store *
account_store_init(struct dict *dict, const char *file_path);
void account_store_deinit(struct account_store **store);

/* Returns 1, 0 if there is no such account, -1 and error_r if the dict failed
   or the record cannot be used. The entry is allocated from pool. */
int account_store_get(struct account_store *store, pool_t pool,
		      const char *user, const char *name,
		      struct account_entry *entry_r, const char **error_r);

/* All accounts of the users that mask ('*', '?') matches, sorted by user and
   name. Records that cannot be used are among them. Returns 0, or -1 and
   error_r if the list may be incomplete. */
int account_store_list(struct account_store *store, pool_t pool,
		       const char *user_mask,
		       ARRAY_TYPE(account_entry) *entries_r,
		       const char **error_r);

/* Put the account in place of what is there, in one transaction. source_id
   must be set. sealed may be NULL. Returns 0, or -1 and error_r; then it may or
   may not have been written. */
int account_store_set(struct account_store *store,
		      const struct account *account, const char *sealed,
		      const char **error_r);

/* Returns 1, 0 if there was none, -1 and error_r. */
int account_store_delete(struct account_store *store, const char *user,
			 const char *name, const char **error_r);

/* A source id for an account that has none: 32 random hex digits. */
const char *account_store_mint_source_id(pool_t pool);

#endif
