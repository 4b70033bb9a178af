/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "settings-parser.h"
#include "master-service-private.h"
#include "master-service-settings.h"
#include "dovecot-compat.h"
#include "core/net-policy.h"
#include "settings.h"

#include <stddef.h>

/* more make one run a burden for lmtp without making it faster */
#define LMTP_CONNECTIONS_MAX 16

#define DEF(type, name) \
	SETTING_DEFINE_STRUCT_##type(#name, name, struct imapsync_settings)

static const struct setting_define imapsync_setting_defines[] = {
	DEF(STR, imapsync_pull_dict),
	DEF(STR, imapsync_pull_service_dir),
	DEF(STR, imapsync_pull_key_file),
	DEF(STR, imapsync_pull_header_key_file),
	DEF(STR, imapsync_pull_state_dir),
	DEF(STR, imapsync_pull_lmtp),
	DEF(UINT, imapsync_pull_lmtp_connections),
	DEF(STR, imapsync_pull_allowed_networks),
	DEF(STR, imapsync_pull_allowed_ports),
	DEF(STR, imapsync_pull_allow_cleartext),
	DEF(STR, imapsync_pull_allow_no_verify),
	DEF(STR, imapsync_pull_ca_file),
	DEF(STR, imapsync_pull_fsync),
	DEF(UINT, imapsync_pull_max_runs),

	SETTING_DEFINE_LIST_END
};

static const struct imapsync_settings imapsync_default_settings = {
	.imapsync_pull_dict = "",
	.imapsync_pull_service_dir = "imapsync-pull",
	.imapsync_pull_key_file = "master.key",
	.imapsync_pull_header_key_file = "header.key",
	.imapsync_pull_state_dir = "%h/.imapsync-pull",
	.imapsync_pull_lmtp = "lmtp",
	.imapsync_pull_lmtp_connections = 3,
	.imapsync_pull_allowed_networks = "",
	.imapsync_pull_allowed_ports = "143 993",
	.imapsync_pull_allow_cleartext = "",
	.imapsync_pull_allow_no_verify = "",
	.imapsync_pull_ca_file = "",
	.imapsync_pull_fsync = "auto",
	.imapsync_pull_max_runs = 10,
};

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
check_counts(const struct imapsync_settings *set, const char **error_r)
{
	if (set->imapsync_pull_lmtp_connections == 0 ||
	    set->imapsync_pull_lmtp_connections > LMTP_CONNECTIONS_MAX) {
		*error_r = t_strdup_printf(
			"imapsync_pull_lmtp_connections must be 1 to %u: %u",
			LMTP_CONNECTIONS_MAX,
			set->imapsync_pull_lmtp_connections);
		return FALSE;
	}
	if (set->imapsync_pull_max_runs == 0) {
		*error_r = "imapsync_pull_max_runs must be at least 1: 0";
		return FALSE;
	}
	return TRUE;
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

static bool
imapsync_settings_check(void *_set, pool_t pool ATTR_UNUSED,
			const char **error_r)
{
	const struct imapsync_settings *set = _set;

	return check_not_empty("imapsync_pull_service_dir",
			       set->imapsync_pull_service_dir, error_r) &&
		check_not_empty("imapsync_pull_key_file",
				set->imapsync_pull_key_file, error_r) &&
		check_not_empty("imapsync_pull_header_key_file",
				set->imapsync_pull_header_key_file, error_r) &&
		check_not_empty("imapsync_pull_state_dir",
				set->imapsync_pull_state_dir, error_r) &&
		check_not_empty("imapsync_pull_lmtp",
				set->imapsync_pull_lmtp, error_r) &&
		check_fsync(set, error_r) &&
		check_network(set, error_r) &&
		check_counts(set, error_r);
}

const struct setting_parser_info imapsync_setting_parser_info = {
	.module_name = "imapsync-pull",
	.defines = imapsync_setting_defines,
	.defaults = &imapsync_default_settings,

	.type_offset = SIZE_MAX,
	.struct_size = sizeof(struct imapsync_settings),

	.parent_offset = SIZE_MAX,
	.check_func = imapsync_settings_check,
};

static const char *path_under(pool_t pool, const char *dir, const char *path)
{
	return *path == '/' ? path : p_strconcat(pool, dir, "/", path, NULL);
}

static void
settings_complete(pool_t pool, const char *dovecot_state_dir,
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
	/* A killed process must not leave a dotlock behind that everybody
	   then waits for: hence lock=flock. */
	if (*set->imapsync_pull_dict == '\0') {
		set->imapsync_pull_dict = p_strconcat(pool, "file:", dir,
			"/accounts:lock=flock", NULL);
	}
}

/* What lib-master remembers of the settings it has read. Reading again throws
   them away, but in lmtp they are in use when our plugin is loaded. */
struct settings_borrow {
	pool_t pool;
	const struct master_service_settings *set;
	struct setting_parser_context *parser;
};

static void
settings_borrow_begin(struct master_service *service,
		      struct settings_borrow *borrow_r)
{
	borrow_r->pool = service->set_pool;
	borrow_r->set = service->set;
	borrow_r->parser = service->set_parser;
	service->set_pool = NULL;
	service->set = NULL;
	service->set_parser = NULL;
}

static void
settings_borrow_end(struct master_service *service,
		    struct settings_borrow *borrow)
{
	if (borrow->parser == NULL) {
		/* ours are the first: the process goes on with them */
		return;
	}
	if (service->set_parser != NULL)
		settings_parser_deinit(&service->set_parser);
	pool_unref(&service->set_pool);
	service->set_pool = borrow->pool;
	service->set = borrow->set;
	service->set_parser = borrow->parser;
}

static int
settings_request(struct master_service *service, pool_t pool,
		 struct imapsync_settings **set_r, const char **error_r)
{
	const struct setting_parser_info *const roots[] = {
		&imapsync_setting_parser_info,
		NULL
	};
	const struct master_service_settings_input input = {
		.roots = roots,
		.module = "imapsync-pull",
		/* doveconf would exec this program once more */
		.never_exec = service->set_parser != NULL,
	};
	struct master_service_settings_output output;
	struct settings_borrow borrow;
	void **sets;
	int ret;

	settings_borrow_begin(service, &borrow);
	ret = master_service_settings_read(service, &input, &output, error_r);
	if (ret == 0) {
		sets = master_service_settings_get_others(service);
		*set_r = settings_dup(&imapsync_setting_parser_info,
				      sets[0], pool);
		settings_complete(pool,
			master_service_settings_get(service)->state_dir,
			*set_r);
	}
	settings_borrow_end(service, &borrow);
	return ret;
}

int imapsync_settings_read(struct master_service *service,
			   const struct imapsync_settings **set_r,
			   const char **error_r)
{
	/* live as long as the process */
	static pool_t process_pool;
	static struct imapsync_settings *process_set = NULL;

	if (process_set == NULL) {
		struct imapsync_settings *set = NULL;

		process_pool = pool_alloconly_create("imapsync-pull settings",
						     1024);
		if (settings_request(service, process_pool, &set,
				     error_r) < 0) {
			pool_unref(&process_pool);
			return -1;
		}
		process_set = set;
	}
	*set_r = process_set;
	return 0;
}
