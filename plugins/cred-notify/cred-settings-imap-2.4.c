/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "array.h"
#include "settings.h"
#include "settings-parser.h"
#include "mail-user.h"
#include "dovecot-compat.h"
#include "cred-settings-imap.h"
#include "cred-settings-imap-2.4.h"

#include <stddef.h>

/* Dovecot 2.4: the config process has checked the words. */

struct cred_imap_settings {
	pool_t pool;
	const char *cred_notify_imap;
	const char *cred_notify_imap_hibernate;
	ARRAY_TYPE(const_string) cred_notify_imap_skip_clients;
	unsigned int cred_notify_imap_delay;
	bool cred_notify_imap_cleartext;
	bool cred_notify_imap_warning;
};

#define DEF(type, name) \
	SETTING_DEFINE_STRUCT_##type(#name, name, struct cred_imap_settings)

static const struct setting_define cred_imap_setting_defines[] = {
	DEF(ENUM, cred_notify_imap),
	DEF(ENUM, cred_notify_imap_hibernate),
	DEF(BOOLLIST, cred_notify_imap_skip_clients),
	DEF(TIME, cred_notify_imap_delay),
	DEF(BOOL, cred_notify_imap_cleartext),
	DEF(BOOL, cred_notify_imap_warning),

	SETTING_DEFINE_LIST_END
};

/* the first word is the default */
static const struct cred_imap_settings cred_imap_default_settings = {
	.cred_notify_imap = CRED_SETTINGS_IMAP_MODE":no:login:always",
	.cred_notify_imap_hibernate =
		CRED_SETTINGS_IMAP_HIBERNATE":pending:no",
	.cred_notify_imap_skip_clients = ARRAY_INIT,
	.cred_notify_imap_delay = CRED_SETTINGS_IMAP_DELAY_SECS,
	.cred_notify_imap_cleartext = FALSE,
	.cred_notify_imap_warning = FALSE,
};

static const struct setting_keyvalue cred_imap_default_keyvalues[] = {
	{ "cred_notify_imap_skip_clients", CRED_SETTINGS_IMAP_SKIP_CLIENTS },
	{ NULL, NULL }
};

const struct setting_parser_info cred_imap_setting_parser_info = {
	.name = "cred_notify_imap",
	.defines = cred_imap_setting_defines,
	.defaults = &cred_imap_default_settings,
	.default_settings = cred_imap_default_keyvalues,
	.struct_size = sizeof(struct cred_imap_settings),
	.pool_offset1 = 1 + offsetof(struct cred_imap_settings, pool),
};

int cred_settings_imap_get(pool_t pool, struct mail_user *user,
			   struct imap_show_settings *set_r,
			   const char **error_r)
{
	const struct cred_imap_settings *set;

	i_zero(set_r);
	if (settings_get(user->event, &cred_imap_setting_parser_info, 0, &set,
			 error_r) < 0)
		return -1;
	if (imap_show_mode_parse(set->cred_notify_imap, &set_r->mode) < 0 ||
	    imap_show_hibernate_parse(set->cred_notify_imap_hibernate,
				      &set_r->hibernate) < 0)
		i_unreached();
	set_r->delay_secs = set->cred_notify_imap_delay;
	set_r->cleartext = set->cred_notify_imap_cleartext;
	set_r->warning = set->cred_notify_imap_warning;
	set_r->skip_clients = p_strarray_dup(pool,
		settings_boollist_get(&set->cred_notify_imap_skip_clients));
	settings_free(set);
	return 0;
}
