/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "dovecot-compat.h"
#include "core/net-policy.h"
#include "imapsync-settings-private.h"

/* more make one run a burden for lmtp without making it faster */
#define LMTP_CONNECTIONS_MAX 16
/* process_limit of service imapsync-pull-watch; one holds thousands */
#define WATCH_PROCESSES_MAX 16

static bool
check_not_empty(const char *name, const char *value, const char **error_r)
{
	if (*value != '\0')
		return TRUE;
	*error_r = t_strdup_printf("%s must not be empty", name);
	return FALSE;
}

static bool
check_net_policy(const char *name, const char *networks, const char *ports,
		 const char **error_r)
{
	pool_t pool = pool_alloconly_create("net policy", 1024);
	struct net_policy policy;
	const char *error;
	bool ok;

	ok = net_policy_parse(pool, networks, ports, &policy, &error) == 0;
	if (!ok)
		*error_r = t_strdup_printf("%s: %s", name, error);
	pool_unref(&pool);
	return ok;
}

/* each by itself, so that the complaint can name the setting */
static bool
check_network(const struct imapsync_settings *set, const char **error_r)
{
	return check_net_policy("imapsync_pull_allowed_networks",
				set->imapsync_pull_allowed_networks, "any",
				error_r) &&
		check_net_policy("imapsync_pull_allowed_ports", "",
				 set->imapsync_pull_allowed_ports, error_r);
}

static bool
check_range(const char *name, unsigned int value, unsigned int min,
	    unsigned int max, const char **error_r)
{
	if (value >= min && value <= max)
		return TRUE;
	*error_r = max == UINT_MAX ?
		t_strdup_printf("%s must be at least %u: %u", name, min,
				value) :
		t_strdup_printf("%s must be %u to %u: %u", name, min, max,
				value);
	return FALSE;
}

static bool
check_counts(const struct imapsync_settings *set, const char **error_r)
{
	return check_range("imapsync_pull_lmtp_connections",
			   set->imapsync_pull_lmtp_connections, 1,
			   LMTP_CONNECTIONS_MAX, error_r) &&
		check_range("imapsync_pull_max_runs",
			    set->imapsync_pull_max_runs, 1, UINT_MAX,
			    error_r) &&
		check_range("imapsync_pull_max_runs_per_host",
			    set->imapsync_pull_max_runs_per_host, 1, UINT_MAX,
			    error_r) &&
		check_range("imapsync_pull_connections_per_mailbox",
			    set->imapsync_pull_connections_per_mailbox, 1,
			    UINT_MAX, error_r) &&
		check_range("imapsync_pull_watch_processes",
			    set->imapsync_pull_watch_processes, 0,
			    WATCH_PROCESSES_MAX, error_r);
}

static bool
check_fsync(const struct imapsync_settings *set, const char **error_r)
{
	static const char *const modes[] = { "auto", "batch", "storage", NULL };

	if (str_array_find(modes, set->imapsync_pull_fsync))
		return TRUE;
	*error_r = t_strdup_printf("imapsync_pull_fsync must be auto, batch or "
				   "storage: %s", set->imapsync_pull_fsync);
	return FALSE;
}

bool imapsync_settings_check(void *_set, pool_t pool ATTR_UNUSED,
			     const char **error_r)
{
	const struct imapsync_settings *set = _set;

	return check_not_empty("imapsync_pull_service_dir",
			       set->imapsync_pull_service_dir, error_r) &&
		check_not_empty("imapsync_pull_key_file",
				set->imapsync_pull_key_file, error_r) &&
		check_not_empty("imapsync_pull_header_key_file",
				set->imapsync_pull_header_key_file, error_r) &&
		check_not_empty("imapsync_pull_lmtp",
				set->imapsync_pull_lmtp, error_r) &&
		check_fsync(set, error_r) &&
		check_network(set, error_r) &&
		check_counts(set, error_r);
}

static const char *path_under(pool_t pool, const char *dir, const char *path)
{
	return *path == '/' ? path : p_strconcat(pool, dir, "/", path, NULL);
}

void imapsync_settings_complete(pool_t pool, const char *dovecot_state_dir,
				struct imapsync_settings *set)
{
	const char *dir;

	dir = path_under(pool, dovecot_state_dir,
			 set->imapsync_pull_service_dir);
	set->imapsync_pull_service_dir = dir;
	set->imapsync_pull_key_file =
		path_under(pool, dir, set->imapsync_pull_key_file);
	set->imapsync_pull_header_key_file =
		path_under(pool, dir, set->imapsync_pull_header_key_file);
	set->accounts_file = p_strconcat(pool, dir, "/accounts", NULL);
}

int imapsync_settings_check_state_dir(const char *path, const char **error_r)
{
	if (*path == '/')
		return 0;
	*error_r = t_strdup_printf("imapsync_pull_state_dir: "
				   "not an absolute path: %s", path);
	return -1;
}
