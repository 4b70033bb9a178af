#ifndef IMAPSYNC_ACCOUNT_H
#define IMAPSYNC_ACCOUNT_H

#include "net.h"

/* One remote account: what the admin or owner said about it. Pure: text in,
   struct out, and back. Never holds a secret. */

enum account_security {
	ACCOUNT_SECURITY_TLS,		/* TLS from the first byte (RFC 8314) */
	ACCOUNT_SECURITY_STARTTLS,	/* RFC 3501, 6.2.1; never falls back */
	ACCOUNT_SECURITY_NONE,
};

enum account_preset {
	ACCOUNT_PRESET_INBOX,		/* INBOX and Sent */
	ACCOUNT_PRESET_COMBINE,		/* the same, under subfolder */
	ACCOUNT_PRESET_BACKUP,		/* all folders, mirrored */
	ACCOUNT_PRESET_MIGRATE,		/* all folders, once */
};

enum account_deliver {
	ACCOUNT_DELIVER_LMTP,
	ACCOUNT_DELIVER_DIRECT,
	ACCOUNT_DELIVER_SKIP,		/* for history only */
};

enum account_flags_mode {
	ACCOUNT_FLAGS_FOLLOW,		/* remote changes are applied here */
	ACCOUNT_FLAGS_INITIAL,		/* only when a message is stored */
	ACCOUNT_FLAGS_NONE,		/* no flags are taken over */
};

enum account_expunge {
	ACCOUNT_EXPUNGE_KEEP,
	ACCOUNT_EXPUNGE_MIRROR,
};

struct account {
	/* the local user whose mail it becomes, and the account's name */
	const char *user, *name;
	/* random and permanent, 32 hex digits; minted anew when host or login
	   changes. "" until account_store mints it. */
	const char *source_id;

	const char *host, *login;
	in_port_t port;
	enum account_security security;
	/* SASL mechanism name in upper case, or "auto" */
	const char *auth_mechanism;
	/* SASL authentication identity when logging in as somebody else
	   (login is then the authorization identity); NULL = none */
	const char *master_user;
	bool tls_verify;
	/* lower case hex SHA-256 of the server's SubjectPublicKeyInfo, or
	   NULL */
	const char *tls_pin;

	bool enabled;
	/* the user who is told about trouble, or NULL = "none" */
	const char *owner;
	const char *label, *address;

	enum account_preset preset;
	/* masks, NULL-terminated, never NULL; see folder-map.h */
	const char *const *folders, *const *exclude;
	bool subscribed_only;
	/* NULL-terminated "remote=local" pairs, never NULL */
	const char *const *folder_map;
	/* local folder above all others, or NULL */
	const char *subfolder;

	bool unseen_only;		/* select=unseen */
	/* messages that arrived longer ago than this before the first pull of
	   a folder are left out, 0 = everything */
	unsigned int initial_age_secs;
	/* absolute date (UTC) before which nothing is pulled, 0 = none */
	time_t since;
	/* largest message pulled, 0 = no limit */
	uoff_t max_size_bytes;

	enum account_deliver deliver, history;
	enum account_flags_mode flags;
	enum account_expunge expunge;
	/* mirror stops when it would expunge more than this share of a
	   folder */
	unsigned int guard_percent;

	/* from one pull to the next, 0 = only when asked or pushed */
	unsigned int interval_secs;
	/* names of remote folders whose news are waited for over a connection
	   that stays open; NULL-terminated, never NULL, empty = none */
	const char *const *idle;

	unsigned int timeout_secs;
};

/* Fill an account with the defaults of its preset, then apply the settings.

   settings: NULL-terminated "key=value" strings, in any order. A key given
	     twice, an unknown key, a key whose feature is not built yet and a
	     bad value are errors that name key and reason. Masks and local
	     names are looked at by folder_map_make() only: call it with no
	     folders to check them.
   Everything returned is allocated from pool.

   Lists are separated by commas; white space round an item does not count. A
   backslash makes a comma, a space or another backslash part of the item, and
   is itself before anything else: folders=INBOX,\Sent,a\,b. An item of
   folder_map is split at its last '='. An empty value means "not set" where
   a key may be unset.

   interval is a time or "none", idle a list or "no".

   since is a date (2024-12-31, UTC) or seconds since 1970-01-01. There is no
   clock here: whoever takes "now" from a user replaces it by the time.

   Returns 0, or -1 and error_r. */
int account_parse(pool_t pool, const char *user, const char *name,
		  const char *const *settings, struct account *account_r,
		  const char **error_r);

/* Print the account as sorted, NULL-terminated "key=value" strings that
   account_parse() reads back to an equal account. source_id is included.
   Keys that equal their default are left out unless all is TRUE. */
const char *const *
account_print(pool_t pool, const struct account *account, bool all);

/* Account names: 1-64 bytes of letters, digits, '.', '_', '-', not starting
   with '.' or '-'. Returns FALSE and error_r if name is not one. */
bool account_name_is_valid(const char *name, const char **error_r);

/* TRUE if both mean the same remote mailbox (host and login), so that what was
   pulled from one was pulled from the other; port and security do not count. */
bool account_same_mailbox(const struct account *a, const struct account *b);

/* host:port for messages; IPv6 addresses in brackets. Data stack. */
const char *account_endpoint(const struct account *account);

#endif
