/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "array.h"
#include "settings-parser.h"
#include "mail-user.h"
#include "dovecot-compat.h"
#include "cred-settings-imap.h"

/* Dovecot 2.3: plugin {}, which the config process does not check. */

static const char *
plugin_setting(struct mail_user *user, const char *name, const char *value)
{
	const char *given = mail_user_plugin_getenv(user, name);

	return given == NULL ? value : given;
}

static int cred_settings_error(const char *name, const char *value,
			       const char *words, const char **error_r)
{
	*error_r = t_strdup_printf("%s: %s: it is one of %s", name, value,
				   words);
	return -1;
}

static int cred_settings_bool(struct mail_user *user, const char *name,
			      bool *value_r, const char **error_r)
{
	const char *value = plugin_setting(user, name, "no");

	*value_r = strcmp(value, "yes") == 0;
	if (*value_r || strcmp(value, "no") == 0)
		return 0;
	return cred_settings_error(name, value, "yes, no", error_r);
}

static int cred_settings_delay(struct mail_user *user, unsigned int *secs_r,
			       const char **error_r)
{
	const char *name = "cred_notify_imap_delay";
	const char *value = mail_user_plugin_getenv(user, name);
	const char *error;

	*secs_r = CRED_SETTINGS_IMAP_DELAY_SECS;
	if (value == NULL || settings_get_time(value, secs_r, &error) == 0)
		return 0;
	return cred_settings_error(name, value, "0, 5 secs, 1 mins, ...",
				   error_r);
}

static int cred_settings_switches(struct mail_user *user,
				  struct imap_show_settings *set_r,
				  const char **error_r)
{
	if (cred_settings_bool(user, "cred_notify_imap_cleartext",
			       &set_r->cleartext, error_r) < 0)
		return -1;
	return cred_settings_bool(user, "cred_notify_imap_warning",
				  &set_r->warning, error_r);
}

int cred_settings_imap_get(pool_t pool, struct mail_user *user,
			   struct imap_show_settings *set_r,
			   const char **error_r)
{
	const char *name, *value;

	i_zero(set_r);
	name = "cred_notify_imap";
	value = plugin_setting(user, name, CRED_SETTINGS_IMAP_MODE);
	if (imap_show_mode_parse(value, &set_r->mode) < 0)
		return cred_settings_error(name, value,
					   "no, login, idle, always", error_r);
	name = "cred_notify_imap_hibernate";
	value = plugin_setting(user, name, CRED_SETTINGS_IMAP_HIBERNATE);
	if (imap_show_hibernate_parse(value, &set_r->hibernate) < 0)
		return cred_settings_error(name, value, "yes, pending, no",
					   error_r);
	value = plugin_setting(user, "cred_notify_imap_skip_clients",
			       CRED_SETTINGS_IMAP_SKIP_CLIENTS);
	set_r->skip_clients = (const char *const *)
		p_strsplit_spaces(pool, value, " ");
	if (cred_settings_delay(user, &set_r->delay_secs, error_r) < 0)
		return -1;
	return cred_settings_switches(user, set_r, error_r);
}
