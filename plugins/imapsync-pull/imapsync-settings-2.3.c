/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "settings-parser.h"
#include "master-service-private.h"
#include "master-service-settings.h"
#include "dovecot-compat.h"
#include "imapsync-settings-private.h"

#include <stddef.h>

/* Dovecot 2.3: settings are read from the config process by name, all of them
   at once. */

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
	DEF(BOOL, imapsync_pull_schedule),
	DEF(UINT, imapsync_pull_max_runs),
	DEF(UINT, imapsync_pull_max_runs_per_host),
	DEF(UINT, imapsync_pull_connections_per_mailbox),
	DEF(UINT, imapsync_pull_watch_processes),
	DEF(BOOL, imapsync_pull_wake_on_login),

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
	.imapsync_pull_schedule = TRUE,
	.imapsync_pull_max_runs = 10,
	.imapsync_pull_max_runs_per_host = 4,
	.imapsync_pull_connections_per_mailbox = 2,
	.imapsync_pull_watch_processes = 1,
	.imapsync_pull_wake_on_login = FALSE,
};

const struct setting_parser_info imapsync_setting_parser_info = {
	.module_name = "imapsync-pull",
	.defines = imapsync_setting_defines,
	.defaults = &imapsync_default_settings,

	.type_offset = SIZE_MAX,
	.struct_size = sizeof(struct imapsync_settings),

	.parent_offset = SIZE_MAX,
	.check_func = imapsync_settings_check,
};

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
		imapsync_settings_complete(pool,
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
