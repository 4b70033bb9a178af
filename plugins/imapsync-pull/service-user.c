/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "auth-master.h"
#include "str-sanitize.h"
#include "dovecot-compat.h"
#include "service-private.h"

#include <sysexits.h>

bool pull_service_lookup_user(struct pull_service *service, pool_t pool,
			      const char *user, const char **canonical_r,
			      struct asker_end *end_r)
{
	const struct auth_user_info info = {
		.compat_auth_user_info_protocol = "imapsync-pull",
	};
	const char *const *fields;
	int ret;

	i_zero(end_r);
	ret = auth_master_user_lookup(service->auth, user, &info, pool,
				      canonical_r, &fields);
	if (ret > 0)
		return TRUE;
	if (ret == 0) {
		end_r->class = REPLY_CLASS_CONFIG;
		end_r->exit_code = EX_NOUSER;
		end_r->text = t_strdup_printf("user %s does not exist",
					      str_sanitize_utf8(user, 128));
	} else {
		end_r->class = REPLY_CLASS_LOCAL;
		end_r->text = t_strdup_printf("userdb does not answer for user "
			"%s: try again later, see the server's log",
			str_sanitize_utf8(user, 128));
	}
	return FALSE;
}

static bool user_is_mask(const char *user)
{
	return strpbrk(user, "*?") != NULL;
}

static int
find_entries(struct asker *asker, const char *user, const char *name,
	     ARRAY_TYPE(account_entry) *entries_r, const char **error_r)
{
	const struct account_entry *entry;
	ARRAY_TYPE(account_entry) all;

	if (account_store_list(asker->service->store, asker->pool, user,
			       &all, error_r) < 0)
		return -1;
	p_array_init(entries_r, asker->pool, array_count(&all));
	array_foreach(&all, entry) {
		if (name == NULL || strcmp(entry->account.name, name) == 0)
			array_push_back(entries_r, entry);
	}
	return array_count(entries_r) > 0 ? 1 : 0;
}

/* Who asks may write a user's name in another way than userdb does. But a user
   whom userdb has lost keeps his accounts until somebody deletes them: hence
   the stored names are tried first. */
static int
find_canonical(struct asker *asker, const char *user, const char *name,
	       ARRAY_TYPE(account_entry) *entries_r, struct asker_end *end_r)
{
	const char *canonical, *error = NULL;
	int ret;

	i_zero(end_r);
	ret = find_entries(asker, user, name, entries_r, &error);
	if (ret == 0 && !user_is_mask(user)) {
		if (!pull_service_lookup_user(asker->service, asker->pool,
					      user, &canonical, end_r))
			return -1;
		if (strcmp(canonical, user) != 0) {
			ret = find_entries(asker, canonical, name, entries_r,
					   &error);
		}
	}
	if (ret < 0) {
		end_r->class = REPLY_CLASS_LOCAL;
		end_r->text = error;
	}
	return ret;
}

bool pull_service_find_accounts(struct asker *asker,
				const struct job_line *line, bool unknown_ok,
				ARRAY_TYPE(account_entry) *entries_r)
{
	const char *user = job_line_get(line, "user");
	const char *name = job_line_get(line, "name");
	bool all = job_line_get(line, "all") != NULL;
	struct asker_end end;
	const char *error;
	int ret;

	if (all == (user != NULL)) {
		asker_end_error(asker, REPLY_CLASS_CONFIG, EX_USAGE,
				"give either a user or -A");
		return FALSE;
	}
	if (pull_service_need_store(asker->service, &error) < 0) {
		asker_end_error(asker, REPLY_CLASS_CONFIG, 0, "%s", error);
		return FALSE;
	}
	ret = find_canonical(asker, all ? "*" : user, name, entries_r, &end);
	if (ret < 0) {
		asker_end(asker, &end);
		return FALSE;
	}
	if (ret == 0 && !unknown_ok && !all) {
		asker_end_error(asker, REPLY_CLASS_CONFIG, EXIT_NOT_FOUND,
			name != NULL ? "%s has no account %s" :
			"%s has no accounts", str_sanitize_utf8(user, 128),
			name == NULL ? "" : str_sanitize_utf8(name, 64));
		return FALSE;
	}
	return TRUE;
}
