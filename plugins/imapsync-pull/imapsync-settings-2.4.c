/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "settings.h"
#include "mail-user.h"
#include "master-service.h"
#include "master-service-settings.h"
#include "dovecot-compat.h"
#include "imapsync-settings-private.h"

#include <stddef.h>

/* Dovecot 2.4: all settings of a process are read at once, and looked up for an
   event. Lists of hosts, ports and networks know no variables: a % in them is
   what it is. */

#define DEF(type, name) \
	SETTING_DEFINE_STRUCT_##type(#name, name, struct imapsync_settings)

static const struct setting_define imapsync_setting_defines[] = {
	{ .type = SET_FILTER_NAME, .key = "imapsync_pull_dict",
	  .required_setting = "dict" },
	DEF(STR, imapsync_pull_service_dir),
	DEF(STR, imapsync_pull_key_file),
	DEF(STR, imapsync_pull_header_key_file),
	DEF(STR, imapsync_pull_lmtp),
	DEF(UINT, imapsync_pull_lmtp_connections),
	DEF(STR_NOVARS, imapsync_pull_allowed_networks),
	DEF(STR_NOVARS, imapsync_pull_allowed_ports),
	DEF(STR_NOVARS, imapsync_pull_allow_cleartext),
	DEF(STR_NOVARS, imapsync_pull_allow_no_verify),
	DEF(STR, imapsync_pull_ca_file),
	DEF(STR_NOVARS, imapsync_pull_fsync),
	DEF(BOOL, imapsync_pull_schedule),
	DEF(UINT, imapsync_pull_max_runs),
	DEF(UINT, imapsync_pull_max_runs_per_host),
	DEF(UINT, imapsync_pull_connections_per_mailbox),
	DEF(UINT, imapsync_pull_watch_processes),
	DEF(BOOL, imapsync_pull_wake_on_login),

	SETTING_DEFINE_LIST_END
};

static const struct imapsync_settings imapsync_default_settings = {
	.imapsync_pull_service_dir = "imapsync-pull",
	.imapsync_pull_key_file = "master.key",
	.imapsync_pull_header_key_file = "header.key",
	.imapsync_pull_lmtp = "lmtp",
	.imapsync_pull_lmtp_connections = 3,
	.imapsync_pull_allowed_networks = "",
	.imapsync_pull_allowed_ports = "143 993",
	.imapsync_pull_allow_cleartext = "",
	.imapsync_pull_allow_no_verify = "",
	.imapsync_pull_ca_file = "",
	.imapsync_pull_fsync = "auto",
	.imapsync_pull_schedule = TRUE,
	.imapsync_pull_max_runs = 10,
	.imapsync_pull_max_runs_per_host = 4,
	.imapsync_pull_connections_per_mailbox = 2,
	.imapsync_pull_watch_processes = 1,
	.imapsync_pull_wake_on_login = FALSE,
};

const struct setting_parser_info imapsync_setting_parser_info = {
	.name = "imapsync_pull",
	.defines = imapsync_setting_defines,
	.defaults = &imapsync_default_settings,
	.struct_size = sizeof(struct imapsync_settings),
	.pool_offset1 = 1 + offsetof(struct imapsync_settings, pool),
	.check_func = imapsync_settings_check,
};

static const struct setting_define imapsync_user_setting_defines[] = {
	DEF(STR, imapsync_pull_state_dir),

	SETTING_DEFINE_LIST_END
};

static const struct imapsync_settings imapsync_user_default_settings = {
	.imapsync_pull_state_dir = "%{home}/.imapsync-pull",
};

const struct setting_parser_info imapsync_user_setting_parser_info = {
	.name = "imapsync_pull_user",
	.defines = imapsync_user_setting_defines,
	.defaults = &imapsync_user_default_settings,
	.struct_size = sizeof(struct imapsync_settings),
	.pool_offset1 = 1 + offsetof(struct imapsync_settings, pool),
};

/* A process that has read Dovecot's settings, as lmtp has, has ours too. */
static bool settings_are_read(struct master_service *service)
{
	struct settings_root *root =
		settings_root_find(master_service_get_event(service));

	return root != NULL && settings_has_mmap(root);
}

/* A copy that lives longer than Dovecot's. */
static struct imapsync_settings *
settings_copy(pool_t pool, const struct imapsync_settings *set)
{
	struct imapsync_settings *copy = p_memdup(pool, set, sizeof(*set));
	const struct setting_define *def;
	const char **value;

	copy->pool = pool;
	for (def = imapsync_setting_defines; def->key != NULL; def++) {
		if (def->type != SET_STR && def->type != SET_STR_NOVARS)
			continue;
		value = PTR_OFFSET(copy, def->offset);
		*value = p_strdup(pool, *value);
	}
	return copy;
}

/* The worker is of the service's protocol: without that the settings of
   "protocol imapsync-pull" would be dropped, quota among them. */
static int
settings_read_all(struct master_service *service, const char **error_r)
{
	const struct master_service_settings_input input = {
		.protocol = "imapsync-pull",
	};
	struct master_service_settings_output output;

	return master_service_settings_read(service, &input, &output, error_r);
}

static int
settings_request(struct master_service *service,
		 struct imapsync_settings **set_r, const char **error_r)
{
	const struct imapsync_settings *set;

	if (!settings_are_read(service) &&
	    settings_read_all(service, error_r) < 0)
		return -1;
	if (settings_get(master_service_get_event(service),
			 &imapsync_setting_parser_info, 0, &set, error_r) < 0)
		return -1;
	*set_r = settings_copy(pool_alloconly_create("imapsync-pull settings",
						     1024), set);
	settings_free(set);
	imapsync_settings_complete((*set_r)->pool,
		master_service_get_service_settings(service)->state_dir,
		*set_r);
	return 0;
}

int imapsync_settings_read(struct master_service *service,
			   const struct imapsync_settings **set_r,
			   const char **error_r)
{
	/* lives as long as the process */
	static struct imapsync_settings *process_set = NULL;

	if (process_set == NULL &&
	    settings_request(service, &process_set, error_r) < 0)
		return -1;
	*set_r = process_set;
	return 0;
}

static int
state_dir_get(struct mail_user *user, const char **path_r, const char **error_r)
{
	const struct imapsync_settings *set;
	int ret;

	if (settings_get(user->event, &imapsync_user_setting_parser_info, 0,
			 &set, error_r) < 0)
		return -1;
	ret = imapsync_settings_check_state_dir(set->imapsync_pull_state_dir,
						error_r);
	*path_r = p_strdup(user->pool, set->imapsync_pull_state_dir);
	settings_free(set);
	return ret;
}

int imapsync_settings_for_user(struct mail_user *user,
			       const struct imapsync_settings **set_r,
			       const char **error_r)
{
	const struct imapsync_settings *set;
	struct imapsync_settings *user_set;

	if (imapsync_settings_read(master_service, &set, error_r) < 0)
		return -1;
	user_set = p_memdup(user->pool, set, sizeof(*set));
	if (state_dir_get(user, &user_set->imapsync_pull_state_dir,
			  error_r) < 0)
		return -1;
	*set_r = user_set;
	return 0;
}
