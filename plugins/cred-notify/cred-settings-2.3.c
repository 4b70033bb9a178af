/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "settings-parser.h"
#include "var-expand.h"
#include "smtp-submit-settings.h"
#include "master-service.h"
#include "master-service-settings.h"
#include "dovecot-compat.h"
#include "cred-settings-private.h"

#include <stddef.h>

/* Dovecot 2.3: settings are read from the config process by name, all of them
   at once. */

#define DEF(type, name) \
	SETTING_DEFINE_STRUCT_##type(#name, name, struct cred_settings)

static const struct setting_define cred_setting_defines[] = {
	CRED_SETTING_DEFINES(STR),

	SETTING_DEFINE_LIST_END
};

const struct setting_parser_info cred_setting_parser_info = {
	.module_name = "cred-notify",
	.defines = cred_setting_defines,
	.defaults = &cred_default_settings,

	.type_offset = SIZE_MAX,
	.struct_size = sizeof(struct cred_settings),

	.parent_offset = SIZE_MAX,
	.check_func = cred_settings_check,
};

/* Values with variables, though none is known here, have a mark in front. */
static int
submit_settings_get(pool_t pool, void *set,
		    const struct smtp_submit_settings **submit_r,
		    const char **error_r)
{
	static const struct var_expand_table table[] = {
		{ '\0', NULL, NULL }
	};
	void *submit = settings_dup(&smtp_submit_setting_parser_info, set,
				    pool);

	*submit_r = submit;
	return settings_var_expand(&smtp_submit_setting_parser_info, submit,
				   pool, table, error_r) < 0 ? -1 : 0;
}

int cred_settings_read(struct master_service *service,
		       const struct cred_settings **set_r,
		       const char **error_r)
{
	const struct setting_parser_info *const roots[] = {
		&cred_setting_parser_info,
		&smtp_submit_setting_parser_info,
		NULL
	};
	const struct master_service_settings_input input = {
		.roots = roots,
		.module = "cred-notify",
		.extra_modules = (const char *const []) {
			"smtp-submit", NULL
		},
	};
	struct master_service_settings_output output;
	const struct smtp_submit_settings *submit;
	struct cred_settings *set;
	pool_t pool;
	void **sets;

	if (master_service_settings_read(service, &input, &output,
					 error_r) < 0)
		return -1;
	pool = pool_alloconly_create("cred-notify settings", 2048);
	sets = master_service_settings_get_others(service);
	set = settings_dup(&cred_setting_parser_info, sets[0], pool);
	if (submit_settings_get(pool, sets[1], &submit, error_r) < 0) {
		pool_unref(&pool);
		return -1;
	}
	cred_settings_complete(pool,
		master_service_settings_get(service)->state_dir, submit, set);
	set->pool = pool;
	*set_r = set;
	return 0;
}
