#ifndef CRED_NOTIFY_CRED_SETTINGS_PRIVATE_H
#define CRED_NOTIFY_CRED_SETTINGS_PRIVATE_H

#include "core/notice.h"
#include "cred-settings.h"

struct smtp_submit_settings;

/* What both dialects share. */

/* The default values, the same in both. */
extern const struct cred_settings cred_default_settings;

/* A check_func of Dovecot's settings parser: names setting and value in
   error_r. */
bool cred_settings_check(void *set, pool_t pool, const char **error_r);

/* Puts the directory under Dovecot's and takes over what is Dovecot's own.
   Strings come from pool. */
void cred_settings_complete(pool_t pool, const char *dovecot_state_dir,
			    const struct smtp_submit_settings *submit,
			    struct cred_settings *set);

/* The entries of both tables of definitions, in the order of the struct. */
#define CRED_SETTING_DEFINES(STR) \
	DEF(STR, cred_notify_dir), \
	DEF(STR, cred_notify_channels), \
	DEF(STR, cred_notify_thresholds), \
	DEF(UINT, cred_notify_attack_networks), \
	DEF(UINT, cred_notify_attack_users), \
	DEF(TIME, cred_notify_retry_window), \
	DEF(TIME, cred_notify_settle), \
	DEF(TIME, cred_notify_digest), \
	DEF(TIME, cred_notify_digest_again), \
	DEF(TIME, cred_notify_forget_account), \
	DEF(TIME, cred_notify_forget_login), \
	DEF(UINT, cred_notify_user_cap), \
	DEF(UINT, cred_notify_global_cap), \
	DEF(UINT, cred_notify_max_subjects), \
	DEF(STR, cred_notify_own_networks), \
	DEF(STR, cred_notify_capability_groups), \
	DEF(STR, cred_notify_capability_users), \
	DEF(TIME, cred_notify_refresh), \
	DEF(TIME, cred_notify_retry), \
	DEF(TIME, cred_notify_max_retry), \
	DEF(TIME, cred_notify_give_up), \
	DEF(STR, cred_notify_base_url), \
	DEF(STR, cred_notify_language), \
	DEF(STR, cred_notify_lmtp), \
	DEF(STR, cred_notify_mail_from), \
	DEF(STR, cred_notify_webhook_url), \
	DEF(STR, cred_notify_webhook_secret_file), \
	DEF(STR, cred_notify_ca_file), \
	DEF(STR, cred_notify_ca_dir), \
	DEF(STR, cred_notify_http_origins), \
	DEF(STR, cred_notify_http_proxies), \
	DEF(BOOL, cred_notify_http_allow_cleartext), \
	DEF(UINT, cred_notify_http_max_streams), \
	DEF(UINT, cred_notify_http_max_user_streams), \
	DEF(TIME, cred_notify_http_token), \
	/* of the type that Dovecot gives it */ \
	SETTING_DEFINE_STRUCT_STR("mail_uid", mail_uid, struct cred_settings)

#endif
