/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "dict.h"
#include "dovecot-compat.h"
#include "imapsync-settings.h"
#include "account-dict.h"

/* Dovecot 2.3: a dict is an URI. */

static int
dict_open(const char *uri, const char *base_dir, struct dict **dict_r,
	  const char **error_r)
{
	const struct dict_settings set = { .base_dir = base_dir };
	const char *error;

	if (dict_init(uri, &set, dict_r, &error) < 0) {
		*error_r = t_strdup_printf("imapsync_pull_dict: %s", error);
		return -1;
	}
	return 0;
}

int account_dict_open_file(const char *path, struct dict **dict_r,
			   const char **error_r)
{
	/* A killed process must not leave a dotlock behind that everybody
	   then waits for: hence lock=flock. */
	return dict_open(t_strdup_printf("file:%s:lock=flock", path), "",
			 dict_r, error_r);
}

int account_dict_open(struct event *event ATTR_UNUSED,
		      const struct imapsync_settings *set,
		      const char *base_dir, struct dict **dict_r,
		      const char **file_path_r, const char **error_r)
{
	const char *uri = set->imapsync_pull_dict;

	*file_path_r = NULL;
	if (*uri == '\0') {
		*file_path_r = set->accounts_file;
		return account_dict_open_file(set->accounts_file, dict_r,
					      error_r);
	}
	if (str_begins_with(uri, "file:"))
		*file_path_r = t_strcut(uri + strlen("file:"), ':');
	return dict_open(uri, base_dir, dict_r, error_r);
}
