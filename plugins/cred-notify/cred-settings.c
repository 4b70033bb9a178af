/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "hostpid.h"
#include "ipwd.h"
#include "net.h"
#include "strnum.h"
#include "smtp-submit-settings.h"
#include "dovecot-compat.h"
#include "core/audience.h"
#include "core/notice-rules.h"
#include "cred-settings-private.h"

#define MINUTE 60
#define HOUR (60*60)
#define DAY (24*60*60)

const struct cred_settings cred_default_settings = {
	.cred_notify_dir = "cred-notify",
	.cred_notify_channels = "flash live mail",
	.cred_notify_thresholds = "",
	.cred_notify_attack_networks = 5,
	.cred_notify_attack_users = 5,
	.cred_notify_retry_window = 20,
	.cred_notify_settle = 15*MINUTE,
	.cred_notify_digest = DAY,
	.cred_notify_digest_again = 7*DAY,
	.cred_notify_forget_account = 30*DAY,
	.cred_notify_forget_login = 2*DAY,
	.cred_notify_user_cap = 10,
	.cred_notify_global_cap = 1000,
	.cred_notify_max_subjects = 20000,
	.cred_notify_own_networks = "127.0.0.0/8 ::1",
	.cred_notify_capability_groups = "",
	.cred_notify_capability_users = "",
	.cred_notify_refresh = 10*MINUTE,
	.cred_notify_retry = 30,
	.cred_notify_max_retry = HOUR,
	.cred_notify_give_up = 4*DAY,
	.cred_notify_base_url = "",
	.cred_notify_language = "",
	.cred_notify_lmtp = "lmtp",
	.cred_notify_mail_from = "",
	.cred_notify_webhook_url = "",
	.cred_notify_webhook_secret_file = "",
	.cred_notify_ca_file = "",
	.cred_notify_ca_dir = "/etc/ssl/certs",
	.cred_notify_http_origins = "",
	.cred_notify_http_proxies = "",
	.cred_notify_http_allow_cleartext = FALSE,
	.cred_notify_http_max_streams = 1000,
	.cred_notify_http_max_user_streams = 10,
	.cred_notify_http_token = 5*MINUTE,
	.mail_uid = "",
};

static bool
channels_parse(const char *words, unsigned int *channels_r,
	       const char **error_r)
{
	const char *const *word = t_strsplit_spaces(words, " \t\n");
	enum audience_channel channel;

	*channels_r = 0;
	for (; *word != NULL; word++) {
		if (!audience_channel_parse(*word, &channel)) {
			*error_r = t_strdup_printf(
				"cred_notify_channels: no channel is called %s",
				*word);
			return FALSE;
		}
		*channels_r |= channel;
	}
	return TRUE;
}

static bool
check_networks(const char *name, const char *value, const char **error_r)
{
	const char *const *word = t_strsplit_spaces(value, " \t\n");
	struct ip_addr ip;
	unsigned int bits;

	for (; *word != NULL; word++) {
		if (net_parse_range(*word, &ip, &bits) < 0) {
			*error_r = t_strdup_printf("%s: no network: %s", name,
						   *word);
			return FALSE;
		}
	}
	return TRUE;
}

#define CHECK_NETWORKS(name) check_networks(#name, set->name, error_r)

static bool
check_range(const char *name, unsigned int value, unsigned int least,
	    unsigned int most, const char **error_r)
{
	if (value >= least && value <= most)
		return TRUE;
	*error_r = t_strdup_printf("%s must be %u to %u: %u", name, least,
				   most, value);
	return FALSE;
}

#define CHECK_RANGE(name, least, most) \
	check_range(#name, set->name, least, most, error_r)

static bool
check_ranges(const struct cred_settings *set, const char **error_r)
{
	return CHECK_RANGE(cred_notify_attack_networks, 2,
			   NOTICE_MAX_NETWORKS) &&
		CHECK_RANGE(cred_notify_attack_users, 2,
			    NOTICE_MAX_NETWORKS) &&
		CHECK_RANGE(cred_notify_max_subjects, 1, 10000000) &&
		CHECK_RANGE(cred_notify_retry, 1, DAY) &&
		CHECK_RANGE(cred_notify_max_retry, 1, DAY) &&
		CHECK_RANGE(cred_notify_digest, 1, 365*DAY) &&
		CHECK_RANGE(cred_notify_digest_again, 1, 365*DAY) &&
		CHECK_RANGE(cred_notify_http_token, 1, DAY);
}

static bool
check_rules(const struct cred_settings *set, const char **error_r)
{
	struct notice_limits limits;
	const char *error;

	if (notice_rules_parse(set->cred_notify_thresholds, &limits,
			       &error) == 0)
		return TRUE;
	*error_r = t_strdup_printf("cred_notify_thresholds: %s", error);
	return FALSE;
}

static bool check_webhook(const struct cred_settings *set, const char **error_r)
{
	const char *empty =
		*set->cred_notify_webhook_url == '\0' ?
		"cred_notify_webhook_url" :
		*set->cred_notify_webhook_secret_file == '\0' ?
		"cred_notify_webhook_secret_file" : NULL;

	if (empty == NULL)
		return TRUE;
	*error_r = t_strdup_printf("cred_notify_channels has webhook, but "
				   "%s is empty", empty);
	return FALSE;
}

static bool check_strings(const struct cred_settings *set, const char **error_r)
{
	unsigned int channels;

	if (*set->cred_notify_dir == '\0') {
		*error_r = "cred_notify_dir must not be empty";
		return FALSE;
	}
	if (!channels_parse(set->cred_notify_channels, &channels, error_r))
		return FALSE;
	return (channels & AUDIENCE_WEBHOOK) == 0 ||
		check_webhook(set, error_r);
}

bool cred_settings_check(void *_set, pool_t pool ATTR_UNUSED,
			 const char **error_r)
{
	const struct cred_settings *set = _set;

	return check_strings(set, error_r) && check_rules(set, error_r) &&
		CHECK_NETWORKS(cred_notify_own_networks) &&
		CHECK_NETWORKS(cred_notify_http_proxies) &&
		check_ranges(set, error_r);
}

void cred_settings_complete(pool_t pool, const char *dovecot_state_dir,
			    const struct smtp_submit_settings *submit,
			    struct cred_settings *set)
{
	if (*set->cred_notify_dir != '/') {
		set->cred_notify_dir = p_strconcat(pool, dovecot_state_dir, "/",
						   set->cred_notify_dir, NULL);
	}
	set->hostname = p_strdup(pool, *submit->hostname != '\0' ?
				 submit->hostname : my_hostdomain());
	set->submission_host = p_strdup(pool, submit->submission_host);
	set->submission_ssl = p_strdup(pool, submit->submission_ssl);
	set->sendmail_path = p_strdup(pool, submit->sendmail_path);
	if (*set->cred_notify_mail_from == '\0') {
		set->cred_notify_mail_from =
			p_strconcat(pool, "postmaster@", set->hostname, NULL);
	}
}

void cred_settings_limits(const struct cred_settings *set,
			  struct notice_limits *limits_r)
{
	const char *error;

	notice_limits_default(limits_r);
	if (notice_rules_parse(set->cred_notify_thresholds, limits_r,
			       &error) < 0)
		i_unreached();
	limits_r->attack_networks = set->cred_notify_attack_networks;
	limits_r->attack_users = set->cred_notify_attack_users;
	limits_r->retry_secs[NOTICE_ORIGIN_ACCOUNT] =
		set->cred_notify_retry_window;
	limits_r->retry_secs[NOTICE_ORIGIN_LOGIN] =
		set->cred_notify_retry_window;
	limits_r->settle_secs[NOTICE_ORIGIN_LOGIN] = set->cred_notify_settle;
	limits_r->digest_secs = set->cred_notify_digest;
	limits_r->digest_again_secs = set->cred_notify_digest_again;
	limits_r->forget_secs[NOTICE_ORIGIN_ACCOUNT] =
		set->cred_notify_forget_account;
	limits_r->forget_secs[NOTICE_ORIGIN_LOGIN] =
		set->cred_notify_forget_login;
	limits_r->user_cap = set->cred_notify_user_cap;
	limits_r->global_cap = set->cred_notify_global_cap;
	limits_r->max_subjects = set->cred_notify_max_subjects;
	limits_r->max_sources = set->cred_notify_max_subjects;
}

int cred_settings_mail_uid(const struct cred_settings *set, uid_t *uid_r,
			   const char **error_r)
{
	struct passwd pw;
	int ret;

	*uid_r = (uid_t)-1;
	if (*set->mail_uid == '\0' || str_to_uid(set->mail_uid, uid_r) == 0)
		return 0;
	ret = i_getpwnam(set->mail_uid, &pw);
	if (ret > 0) {
		*uid_r = pw.pw_uid;
		return 0;
	}
	*error_r = ret < 0 ?
		t_strdup_printf("getpwnam(%s) failed: %m", set->mail_uid) :
		t_strdup_printf("nobody is called %s", set->mail_uid);
	return -1;
}

static const char *const *words_split(pool_t pool, const char *words)
{
	return (const char *const *)p_strsplit_spaces(pool, words, " \t\n");
}

void cred_settings_audience(pool_t pool, const struct cred_settings *set,
			    struct audience_config *config_r)
{
	const char *error;

	i_zero(config_r);
	if (!channels_parse(set->cred_notify_channels, &config_r->channels,
			    &error))
		i_unreached();
	config_r->capability_groups =
		words_split(pool, set->cred_notify_capability_groups);
	config_r->capability_users =
		words_split(pool, set->cred_notify_capability_users);
	config_r->own_networks =
		words_split(pool, set->cred_notify_own_networks);
}

void cred_settings_free(const struct cred_settings **_set)
{
	pool_t pool = (*_set)->pool;

	*_set = NULL;
	pool_unref(&pool);
}
