#ifndef CRED_NOTIFY_CRED_SETTINGS_H
#define CRED_NOTIFY_CRED_SETTINGS_H

struct audience_config;
struct master_service;
struct notice_limits;
struct setting_parser_info;

/* of the service: IMAP sessions, above all */
#define CRED_SERVICE_CLIENT_LIMIT 20000

/* All settings of the cred-notify service, whichever Dovecot dialect they were
   written in: cred-settings-2.3.c and cred-settings-2.4.c alone read them. They
   are written at the top level of Dovecot's configuration
   (conf.d/90-cred-notify.conf). Lists are words parted by spaces; times are in
   seconds here. */
struct cred_settings {
	/* Dovecot's own, where settings are reference counted */
	pool_t pool;

	/* directory of the journal; relative to Dovecot's state_dir, complete
	   here */
	const char *cred_notify_dir;
	/* flash live mail outside http webhook */
	const char *cred_notify_channels;

	/* see notice-rules.h; what it does not name has its default */
	const char *cred_notify_thresholds;
	/* networks that fail for one user, and users one address fails for:
	   from so many on it is an attack */
	unsigned int cred_notify_attack_networks, cred_notify_attack_users;
	/* failures nearer than this are retries of one */
	unsigned int cred_notify_retry_window;
	/* so long no login may fail after a good one */
	unsigned int cred_notify_settle;
	unsigned int cred_notify_digest, cred_notify_digest_again;
	unsigned int cred_notify_forget_account, cred_notify_forget_login;
	/* notices: a user's per day, all per hour */
	unsigned int cred_notify_user_cap, cred_notify_global_cap;
	unsigned int cred_notify_max_subjects;

	/* our own services: what fails from there is nobody's device */
	const char *cred_notify_own_networks;
	/* who is told of what belongs to nobody, beside those whom userdb says
	   it of: groups, users */
	const char *cred_notify_capability_groups;
	const char *cred_notify_capability_users;
	/* all users are looked at again after this, 0 = never looked at */
	unsigned int cred_notify_refresh;

	/* first wait after a try that failed, longest wait, and when to stop */
	unsigned int cred_notify_retry, cred_notify_max_retry;
	unsigned int cred_notify_give_up;

	/* see notice-text.h */
	const char *cred_notify_base_url;
	const char *cred_notify_language;

	/* LMTP's socket, relative to base_dir; "" = postmaster at our name */
	const char *cred_notify_lmtp;
	const char *cred_notify_mail_from;

	const char *cred_notify_webhook_url;
	/* holds what signs it; see webhook_secrets_parse() */
	const char *cred_notify_webhook_secret_file;
	/* what certificates of others are checked with */
	const char *cred_notify_ca_file, *cred_notify_ca_dir;

	/* see channel-http.h */
	const char *cred_notify_http_origins, *cred_notify_http_proxies;
	bool cred_notify_http_allow_cleartext;
	unsigned int cred_notify_http_max_streams;
	unsigned int cred_notify_http_max_user_streams;
	unsigned int cred_notify_http_token;

	/* Dovecot's own, of the same names */
	const char *hostname, *submission_host, *submission_ssl, *sendmail_path;
	const char *mail_uid;
};

/* The definition of all of the above, but for what is smtp-submit's, for its
   settings parser. */
extern const struct setting_parser_info cred_setting_parser_info;

/* For main(): call after master_getopt() and before privileges are dropped (the
   configuration socket is root's). Returns 0, or -1 and error_r. */
int cred_settings_read(struct master_service *service,
		       const struct cred_settings **set_r,
		       const char **error_r);
void cred_settings_free(const struct cred_settings **set);

/* What the settings mean. They have been checked when they were read. */
void cred_settings_limits(const struct cred_settings *set,
			  struct notice_limits *limits_r);
/* The uid of users whose userdb says none; (uid_t)-1 = there is no such.
   Returns 0, or -1 and error_r if mail_uid names nobody. */
int cred_settings_mail_uid(const struct cred_settings *set, uid_t *uid_r,
			   const char **error_r);
/* Lists are from pool. */
void cred_settings_audience(pool_t pool, const struct cred_settings *set,
			    struct audience_config *config_r);

#endif
