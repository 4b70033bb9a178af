#ifndef IMAPSYNC_SETTINGS_PRIVATE_H
#define IMAPSYNC_SETTINGS_PRIVATE_H

#include "imapsync-settings.h"

/* What both dialects share. imapsync-settings-2.3.c and -2.4.c read; configure
   chooses which of them is built. */

/* A check_func of Dovecot's settings parser: names setting and value in
   error_r. The state directory is checked by who expands it. */
bool imapsync_settings_check(void *set, pool_t pool, const char **error_r);

/* Puts relative paths under their directories and sets what is no setting.
   Strings come from pool; dovecot_state_dir is copied. */
void imapsync_settings_complete(pool_t pool, const char *dovecot_state_dir,
				struct imapsync_settings *set);

/* Checks a state directory that has its variables expanded. */
int imapsync_settings_check_state_dir(const char *path, const char **error_r);

#endif
