/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "net.h"
#include "strnum.h"
#include "dovecot-compat.h"
#include "account.h"
#include "account-change.h"

static const char *setting_key(const char *setting)
{
	return t_strcut(setting, '=');
}

static const char *
settings_find(const char *const *settings, const char *key)
{
	size_t len = strlen(key);

	for (; *settings != NULL; settings++) {
		if (strncmp(*settings, key, len) == 0 &&
		    (*settings)[len] == '=')
			return *settings;
	}
	return NULL;
}

static int
changes_check(const char *const *changes, const char **error_r)
{
	const char *const *change, *key;

	for (change = changes; *change != NULL; change++) {
		if (strchr(*change, '=') == NULL) {
			*error_r = "a setting must be key=value";
			return -1;
		}
		key = setting_key(*change);
		if (strcmp(key, "source_id") == 0) {
			*error_r = "source_id is made by the service and "
				"cannot be set";
			return -1;
		}
		if (settings_find(change + 1, key) != NULL) {
			*error_r = t_strdup_printf("%s is given twice", key);
			return -1;
		}
	}
	return 0;
}

static const char *
change_resolve(pool_t pool, const char *change, time_t now)
{
	if (strcmp(change, "since=now") != 0)
		return p_strdup(pool, change);
	return p_strdup_printf(pool, "since=%lld", (long long)now);
}

static const char *const *
changes_merge(pool_t pool, const char *const *old, const char *const *changes,
	      time_t now)
{
	ARRAY(const char *) merged;
	const char *setting;

	p_array_init(&merged, pool, 16);
	for (; *old != NULL; old++) {
		if (settings_find(changes, setting_key(*old)) == NULL)
			array_push_back(&merged, old);
	}
	for (; *changes != NULL; changes++) {
		if (strchr(*changes, '=')[1] == '\0') {
			/* left out, it gets its default */
			continue;
		}
		setting = change_resolve(pool, *changes, now);
		array_push_back(&merged, &setting);
	}
	array_append_zero(&merged);
	return array_front(&merged);
}

/* A key that was left out has not been seen by account_parse(). */
static int
changes_check_resets(pool_t pool, const char *const *changes,
		     const struct account *account, const char **error_r)
{
	const char *const *known = account_print(pool, account, TRUE);
	const char *key;

	for (; *changes != NULL; changes++) {
		key = setting_key(*changes);
		if (settings_find(known, key) == NULL) {
			*error_r = t_strdup_printf("unknown key %s", key);
			return -1;
		}
	}
	return 0;
}

int account_change_apply(pool_t pool, const char *user, const char *name,
			 const struct account *old, const char *const *changes,
			 time_t now, struct account *account_r,
			 const char **error_r)
{
	static const char *const none[] = { NULL };
	const char *const *merged;

	if (changes_check(changes, error_r) < 0)
		return -1;
	merged = changes_merge(pool, old == NULL ? none :
			       account_print(pool, old, FALSE), changes, now);
	if (account_parse(pool, user, name, merged, account_r, error_r) < 0 ||
	    changes_check_resets(pool, changes, account_r, error_r) < 0)
		return -1;
	account_r->source_id =
		old != NULL && account_same_mailbox(old, account_r) ?
		p_strdup(pool, old->source_id) : "";
	return 0;
}

/* Whoever has the pinned key is sent the secret, whatever his certificate. */
static bool
account_change_moves_pin(const struct account *old,
			 const struct account *account)
{
	if (account->tls_pin == NULL)
		return old->tls_pin != NULL && !account->tls_verify;
	return old->tls_pin == NULL ||
		strcasecmp(old->tls_pin, account->tls_pin) != 0;
}

bool account_change_needs_secret(const struct account *old,
				 const struct account *account)
{
	return !account_same_mailbox(old, account) ||
		null_strcmp(old->master_user, account->master_user) != 0 ||
		(account->security == ACCOUNT_SECURITY_NONE &&
		 old->security != ACCOUNT_SECURITY_NONE) ||
		(!account->tls_verify && old->tls_verify) ||
		account_change_moves_pin(old, account);
}
