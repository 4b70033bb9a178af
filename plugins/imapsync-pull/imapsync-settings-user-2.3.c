/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "str.h"
#include "var-expand.h"
#include "master-service.h"
#include "mail-user.h"
#include "dovecot-compat.h"
#include "imapsync-settings-private.h"

/* Apart from imapsync-settings-2.3.c, so that doveconf and the service need no
   storage library. */

static int
state_dir_expand(struct mail_user *user, const char *value,
		 const char **path_r, const char **error_r)
{
	string_t *str = t_str_new(128);
	const char *home, *error;

	/* a user without a home is wrong only if the path needs one */
	if (var_has_key(value, 'h', "home") &&
	    mail_user_get_home(user, &home) <= 0) {
		*error_r = "imapsync_pull_state_dir: "
			"userdb gives this user no home directory";
		return -1;
	}
	if (var_expand_with_funcs(str, value, mail_user_var_expand_table(user),
				  mail_user_var_expand_func_table, user,
				  &error) <= 0) {
		*error_r = t_strdup_printf("imapsync_pull_state_dir: %s: %s",
					   value, error);
		return -1;
	}
	if (imapsync_settings_check_state_dir(str_c(str), error_r) < 0)
		return -1;
	*path_r = p_strdup(user->pool, str_c(str));
	return 0;
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
	if (state_dir_expand(user, set->imapsync_pull_state_dir,
			     &user_set->imapsync_pull_state_dir, error_r) < 0)
		return -1;
	*set_r = user_set;
	return 0;
}
