/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "settings.h"
#include "settings-parser.h"
#include "smtp-submit-settings.h"
#include "master-service.h"
#include "master-service-settings.h"
#include "dovecot-compat.h"
#include "cred-settings-private.h"

#include <stddef.h>

/* Dovecot 2.4: all settings of a process are read at once, and looked up for an
   event. No variable is known here: a % in them is what it is. */

#define DEF(type, name) \
	SETTING_DEFINE_STRUCT_##type(#name, name, struct cred_settings)

static const struct setting_define cred_setting_defines[] = {
	CRED_SETTING_DEFINES(STR_NOVARS),

	SETTING_DEFINE_LIST_END
};

const struct setting_parser_info cred_setting_parser_info = {
	.name = "cred_notify",
	.defines = cred_setting_defines,
	.defaults = &cred_default_settings,
	.struct_size = sizeof(struct cred_settings),
	.pool_offset1 = 1 + offsetof(struct cred_settings, pool),
	.check_func = cred_settings_check,
};

/* A copy that lives longer than Dovecot's. */
static struct cred_settings *
settings_copy(pool_t pool, const struct cred_settings *set)
{
	struct cred_settings *copy = p_memdup(pool, set, sizeof(*set));
	const struct setting_define *def;
	const char **value;

	copy->pool = pool;
	for (def = cred_setting_defines; def->key != NULL; def++) {
		if (def->type != SET_STR_NOVARS && def->type != SET_STR)
			continue;
		value = PTR_OFFSET(copy, def->offset);
		*value = p_strdup(pool, *value);
	}
	return copy;
}

static int
settings_request(struct master_service *service, pool_t pool,
		 struct cred_settings **set_r, const char **error_r)
{
	struct event *event = master_service_get_event(service);
	const struct smtp_submit_settings *submit;
	const struct cred_settings *set;

	if (settings_get(event, &cred_setting_parser_info,
			 SETTINGS_GET_FLAG_NO_EXPAND, &set, error_r) < 0)
		return -1;
	*set_r = settings_copy(pool, set);
	settings_free(set);
	if (settings_get(event, &smtp_submit_setting_parser_info, 0, &submit,
			 error_r) < 0)
		return -1;
	cred_settings_complete(pool,
		master_service_get_service_settings(service)->state_dir, submit,
		*set_r);
	settings_free(submit);
	return 0;
}

int cred_settings_read(struct master_service *service,
		       const struct cred_settings **set_r,
		       const char **error_r)
{
	struct cred_settings *set;
	pool_t pool;

	if (master_service_settings_read_simple(service, error_r) < 0)
		return -1;
	pool = pool_alloconly_create("cred-notify settings", 2048);
	if (settings_request(service, pool, &set, error_r) < 0) {
		pool_unref(&pool);
		return -1;
	}
	*set_r = set;
	return 0;
}
