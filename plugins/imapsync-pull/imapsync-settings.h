#ifndef IMAPSYNC_SETTINGS_H
#define IMAPSYNC_SETTINGS_H

struct mail_user;
struct master_service;
struct setting_parser_info;

/* All settings of imapsync-pull, whichever Dovecot dialect they were written
   in: imapsync-settings-2.3.c and imapsync-settings-2.4.c alone read them. They
   are global, written at the top level of Dovecot's configuration
   (90-imapsync-pull.conf), and the same for service, worker and lmtp.

   Paths here are complete: what the configuration gives as a relative path has
   been put under the directory named with each. */
struct imapsync_settings {
	/* Dovecot's own, where settings are reference counted */
	pool_t pool;

	/* dict URI of the accounts, "" = accounts_file. NULL where dicts have
	   blocks of settings instead of URIs: account_dict_open() knows. */
	const char *imapsync_pull_dict;
	/* directory of the service: keys, accounts; relative to Dovecot's
	   state_dir; default imapsync-pull */
	const char *imapsync_pull_service_dir;
	/* file with the sealing keys, made at first use; relative to
	   imapsync_pull_service_dir; default master.key */
	const char *imapsync_pull_key_file;
	/* file with the header key, which lmtp reads too; relative to
	   imapsync_pull_service_dir; default header.key */
	const char *imapsync_pull_header_key_file;
	/* sync state beside the mail: below the user's home, unless said
	   otherwise with the variables of a mail user. Only
	   imapsync_settings_for_user() expands them, and only what it returns
	   may be used; default .imapsync-pull in the home */
	const char *imapsync_pull_state_dir;
	/* LMTP server that gets new mail: unix socket path (relative to
	   base_dir) or host:port; default lmtp */
	const char *imapsync_pull_lmtp;
	/* LMTP connections at once for one run; default 3 */
	unsigned int imapsync_pull_lmtp_connections;
	/* networks that are not public but allowed; default none */
	const char *imapsync_pull_allowed_networks;
	/* ports accounts may name, or "any"; default "143 993" */
	const char *imapsync_pull_allowed_ports;
	/* hosts that may be used with security=none, and with tls_verify=no;
	   space separated host masks; default none */
	const char *imapsync_pull_allow_cleartext;
	const char *imapsync_pull_allow_no_verify;
	/* CA bundle for remote servers; default: the system's */
	const char *imapsync_pull_ca_file;
	/* auto, batch, storage: see the admin guide; default auto */
	const char *imapsync_pull_fsync;
	/* accounts are pulled when they are due; no = only when somebody asks
	   for it; default yes */
	bool imapsync_pull_schedule;
	/* most runs at once, over all accounts, and over those on one host;
	   default 10 and 4 */
	unsigned int imapsync_pull_max_runs;
	unsigned int imapsync_pull_max_runs_per_host;
	/* most connections at once to one remote mailbox (host and login), by
	   runs and watchers together; 1 = it is not watched; default 2 */
	unsigned int imapsync_pull_connections_per_mailbox;
	/* processes that hold the connections over which news are pushed, 0 =
	   there are none; default 1 */
	unsigned int imapsync_pull_watch_processes;
	/* a login by IMAP or POP3 makes the user's accounts due; default no */
	bool imapsync_pull_wake_on_login;

	/* No setting: the file dict that holds the accounts by default,
	   imapsync_pull_service_dir/accounts */
	const char *accounts_file;
};

/* The definition of all of the above for Dovecot's settings parser. */
extern const struct setting_parser_info imapsync_setting_parser_info;
/* 2.4 only: imapsync_pull_state_dir, whose variables only a user can fill. */
extern const struct setting_parser_info imapsync_user_setting_parser_info;

/* For service and worker main(): call after master_getopt() and before
   privileges are dropped (the configuration socket is root's). The first call
   of a process reads, later ones return the same. A process that has read
   Dovecot's settings already keeps them as they are; it must have been started
   with MASTER_SERVICE_FLAG_KEEP_CONFIG_OPEN then, as lmtp is.
   The struct lives as long as the process. Returns 0, or -1 and error_r. */
int imapsync_settings_read(struct master_service *service,
			   const struct imapsync_settings **set_r,
			   const char **error_r);

/* For the lmtp plugin and the worker's user: the settings as the mail user
   sees them, state_dir expanded. Allocated from user->pool. Returns 0, or -1
   and error_r (also when the user has no home and state_dir needs one). */
int imapsync_settings_for_user(struct mail_user *user,
			       const struct imapsync_settings **set_r,
			       const char **error_r);

#endif
