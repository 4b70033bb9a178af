#ifndef CRED_NOTIFY_USERDB_CLIENT_H
#define CRED_NOTIFY_USERDB_CLIENT_H

/* Asks auth about users over its socket auth-userdb: any number of questions,
   all over one connection, and nobody waits in here. (Dovecot's own client
   waits for each answer.) A connection is never given up for being slow: auth
   of Dovecot 2.4.1 crashes when its LDAP server answers and nobody is there
   any more. */

struct userdb_client;

struct userdb_client_settings {
	/* of the socket */
	const char *path;
	/* what auth calls those who ask */
	const char *service;
	/* an answer that took longer is none; of a list: each name */
	unsigned int timeout_secs;
	/* questions that auth has at one time; more of them wait here */
	unsigned int max_in_flight;
};

enum userdb_client_result {
	/* a name of a list; more follow */
	USERDB_CLIENT_NAME,
	/* there is the user; or that was the end of the list */
	USERDB_CLIENT_OK,
	USERDB_CLIENT_UNKNOWN,
	/* auth says that it could not find out */
	USERDB_CLIENT_FAILED,
	/* there was no answer in time, or auth went away */
	USERDB_CLIENT_SILENT,
};

/* values: NULL-terminated, of this call only. NAME: the name. OK of a lookup:
   the user's name, then userdb's fields, "key=value" each. */
typedef void
userdb_client_callback_t(enum userdb_client_result result,
			 const char *const *values, void *context);

/* Strings are copied. */
struct userdb_client *
userdb_client_init(const struct userdb_client_settings *set,
		   struct event *event_parent);
/* What is not answered yet is answered with SILENT. */
void userdb_client_deinit(struct userdb_client **client);

/* Ask for one user. callback is called exactly once, and never before this
   returns. */
void userdb_client_lookup(struct userdb_client *client, const char *name,
			  userdb_client_callback_t *callback, void *context);
/* Ask for all names: called for each with NAME, and once more with another
   result at the end. Auth takes no other question over the same connection
   meanwhile. */
void userdb_client_list(struct userdb_client *client,
			userdb_client_callback_t *callback, void *context);

/* those that nobody has an answer to yet */
unsigned int userdb_client_pending(const struct userdb_client *client);

#endif
