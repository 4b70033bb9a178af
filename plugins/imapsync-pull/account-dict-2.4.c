/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "dict.h"
#include "settings.h"
#include "dovecot-compat.h"
#include "imapsync-settings.h"
#include "account-dict.h"

/* Dovecot 2.4: a dict is a block,
   imapsync_pull_dict { dict DRIVER { ... } }. */

#define DICT_FILTER "imapsync_pull_dict"

/* the file driver's own, which no header declares */
extern const struct setting_parser_info dict_file_setting_parser_info;

/* the beginning of any settings */
struct any_settings {
	pool_t pool;
};

/* The path of a file dict, from the data stack. Returns 0, or -1 and
   error_r. */
static int
dict_file_get_path(struct event *event, const char **path_r,
		   const char **error_r)
{
	const struct setting_parser_info *info = &dict_file_setting_parser_info;
	const struct any_settings *set;
	unsigned int idx;

	if (!setting_parser_info_find_key(info, "dict_file_path", &idx)) {
		*error_r = "the file driver has no dict_file_path";
		return -1;
	}
	if (settings_get(event, info, 0, &set, error_r) < 0)
		return -1;
	*path_r = t_strdup(*(const char *const *)
		CONST_PTR_OFFSET(set, info->defines[idx].offset));
	settings_free(set);
	return 0;
}

/* The same for whichever driver was chosen: NULL if there is no file. event has
   the filter of our dict. */
static int
dict_get_file_path(struct event *event, const char **path_r,
		   const char **error_r)
{
	const struct dict_settings *set;
	const char *name;
	int ret = 0;

	*path_r = NULL;
	if (settings_get(event, &dict_setting_parser_info, 0, &set,
			 error_r) < 0)
		return -1;
	name = array_is_empty(&set->dicts) ? NULL :
		t_strdup(array_idx_elem(&set->dicts, 0));
	settings_free(set);
	if (name == NULL)
		return 0;

	event = event_create(event);
	settings_event_add_list_filter_name(event, "dict", name);
	ret = settings_get(event, &dict_setting_parser_info, 0, &set, error_r);
	if (ret == 0) {
		if (strcmp(set->dict_driver, "file") == 0)
			ret = dict_file_get_path(event, path_r, error_r);
		settings_free(set);
	}
	event_unref(&event);
	return ret;
}

int account_dict_open_file(const char *path, struct dict **dict_r,
			   const char **error_r)
{
	/* A killed process must not leave a dotlock behind that everybody
	   then waits for: hence flock. */
	const char *const settings[] = {
		"dict", "file",
		"dict/file/dict_driver", "file",
		"dict_file_path", path,
		"dict_file_lock_method", "flock",
		NULL
	};
	struct settings_simple simple;
	const char *error;
	int ret;

	settings_simple_init(&simple, settings);
	ret = dict_init_auto(simple.event, dict_r, &error);
	if (ret <= 0) {
		*error_r = t_strdup_printf("imapsync_pull_dict: %s", error);
		ret = -1;
	}
	settings_simple_deinit(&simple);
	return ret < 0 ? -1 : 0;
}

int account_dict_open(struct event *event, const struct imapsync_settings *set,
		      const char *base_dir ATTR_UNUSED, struct dict **dict_r,
		      const char **file_path_r, const char **error_r)
{
	const char *error;
	int ret;

	event = event_create(event);
	settings_event_add_filter_name(event, DICT_FILTER);
	ret = dict_get_file_path(event, file_path_r, &error);
	if (ret == 0)
		ret = dict_init_auto(event, dict_r, &error);
	event_unref(&event);
	if (ret < 0) {
		*error_r = t_strdup_printf("imapsync_pull_dict: %s", error);
		return -1;
	}
	if (ret > 0)
		return 0;
	*file_path_r = set->accounts_file;
	return account_dict_open_file(set->accounts_file, dict_r, error_r);
}
