/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "ioloop.h"
#include "str.h"
#include "str-sanitize.h"
#include "dovecot-compat.h"
#include "scheduler.h"
#include "secret.h"
#include "service-private.h"
#include "core/account-change.h"

#include <sysexits.h>

/* what the secret of an account is sealed as, see secret.h */
#define SECRET_FIELD "password"

/* One account-set on its way. */
struct account_set {
	struct asker *asker;
	/* as userdb writes it */
	const char *user;
	const char *name;
	const char *secret;
	bool dry_run;

	/* what is stored now; exists = FALSE if nothing is */
	struct account_entry old;
	bool exists;

	struct account account;
	const char *sealed;
};

static const char *account_names(const char *user, const char *name)
{
	return t_strdup_printf("%s/%s", str_sanitize_utf8(user, 128),
			       str_sanitize_utf8(name, 64));
}

static void
account_row_send(struct asker *asker, const char *user, const char *name,
		 const char *status)
{
	string_t *row = asker_row_begin();

	job_line_add(row, "user", user);
	job_line_add(row, "account", name);
	job_line_add(row, "status", status);
	asker_row_send(asker, row);
}

/*
 * account-set
 */

static void
account_set_error(struct account_set *set, enum reply_class class,
		  int exit_code, const char *error)
{
	asker_end_error(set->asker, class, exit_code, "%s: %s",
			account_names(set->user, set->name), error);
}

static bool
account_set_begin(struct account_set *set, const struct job_line *line)
{
	const char *user = job_line_get(line, "user"), *error;
	struct asker_end end;

	set->name = job_line_get(line, "name");
	set->secret = job_line_get(line, "secret");
	set->dry_run = job_line_get(line, "dry_run") != NULL;
	if (user == NULL || set->name == NULL) {
		asker_end_error(set->asker, REPLY_CLASS_CONFIG, EX_USAGE,
				"give a user and the name of an account");
		return FALSE;
	}
	set->user = user;
	if (!account_name_is_valid(set->name, &error)) {
		account_set_error(set, REPLY_CLASS_CONFIG, EX_DATAERR, error);
		return FALSE;
	}
	if (pull_service_need_store(set->asker->service, &error) < 0 ||
	    pull_service_need_keys(set->asker->service, &error) < 0) {
		account_set_error(set, REPLY_CLASS_CONFIG, 0, error);
		return FALSE;
	}
	if (!pull_service_lookup_user(set->asker->service, set->asker->pool,
				      user, &set->user, &end)) {
		asker_end(set->asker, &end);
		return FALSE;
	}
	return TRUE;
}

static bool account_set_load(struct account_set *set)
{
	const char *error;
	int ret;

	ret = account_store_get(set->asker->service->store, set->asker->pool,
				set->user, set->name, &set->old, &error);
	if (ret < 0) {
		account_set_error(set, REPLY_CLASS_LOCAL, 0, error);
		return FALSE;
	}
	set->exists = ret > 0;
	return TRUE;
}

static bool
account_set_change(struct account_set *set, const struct job_line *line)
{
	struct asker *asker = set->asker;
	const char *error;

	if (account_change_apply(asker->pool, set->user, set->name,
				 set->exists ? &set->old.account : NULL,
				 job_line_get_all(asker->pool, line, "set"),
				 ioloop_time, &set->account, &error) < 0) {
		account_set_error(set, REPLY_CLASS_CONFIG, EX_DATAERR, error);
		return FALSE;
	}
	if (!account_policy_allows(&asker->service->policy, &set->account,
				   &error)) {
		account_set_error(set, REPLY_CLASS_POLICY, 0, error);
		return FALSE;
	}
	if (*set->account.source_id == '\0') {
		set->account.source_id =
			account_store_mint_source_id(asker->pool);
	}
	return TRUE;
}

/* Something went in, and line ends would end a command on the wire. */
static const char *secret_check(const char *secret)
{
	if (*secret == '\0')
		return "the secret is empty";
	if (strpbrk(secret, "\r\n") != NULL)
		return "the secret has a line end in it";
	return NULL;
}

static bool account_set_seal(struct account_set *set)
{
	const struct secret_owner owner = {
		.user = set->user,
		.account = set->name,
		.field = SECRET_FIELD,
	};
	const char *error = secret_check(set->secret);

	if (error == NULL &&
	    secret_seal(set->asker->pool, set->asker->service->ring, &owner,
			set->secret, &set->sealed, &error) == 0)
		return TRUE;
	account_set_error(set, REPLY_CLASS_CONFIG, EX_DATAERR, error);
	return FALSE;
}

static bool account_set_ask_secret(struct account_set *set, const char *why)
{
	account_row_send(set->asker, set->user, set->name, "needs-secret");
	account_set_error(set, REPLY_CLASS_CONFIG, EX_DATAERR, why);
	return FALSE;
}

static bool account_set_secret(struct account_set *set)
{
	if (set->secret != NULL)
		return account_set_seal(set);
	if (set->dry_run)
		return TRUE;
	if (!set->exists || set->old.sealed == NULL)
		return account_set_ask_secret(set, "a password is needed");
	if (account_change_needs_secret(&set->old.account, &set->account)) {
		/* whoever may change an account is not thereby told its
		   password, nor is the new host */
		return account_set_ask_secret(set, "the password must be given "
			"again, because host, login or protection changes");
	}
	set->sealed = set->old.sealed;
	return TRUE;
}

static bool account_equal(pool_t pool, const struct account *a,
			  const struct account *b)
{
	const char *const *as = account_print(pool, a, TRUE);
	const char *const *bs = account_print(pool, b, TRUE);
	unsigned int i;

	for (i = 0; as[i] != NULL && bs[i] != NULL; i++) {
		if (strcmp(as[i], bs[i]) != 0)
			return FALSE;
	}
	return as[i] == bs[i];
}

static void account_set_written(struct account_set *set)
{
	struct pull_service *service = set->asker->service;
	const struct account_entry entry = {
		.account = set->account,
		.sealed = set->sealed,
	};

	scheduler_account_set(service->scheduler, &entry);
	if (!set->account.enabled) {
		/* nothing more is pulled for it */
		(void)run_queue_abort_account(service->queue, set->user,
					      set->name);
		service_report_forget(service->report, set->user, set->name);
	}
}

static void account_set_write(struct account_set *set, const char *status)
{
	struct asker *asker = set->asker;
	const char *error;

	if (account_store_set(asker->service->store, &set->account,
			      set->sealed, &error) < 0) {
		account_set_error(set, REPLY_CLASS_LOCAL, 0, error);
		return;
	}
	e_info(asker->service->event, "%s: account %s",
	       account_names(set->user, set->name), status);
	account_set_written(set);
	account_row_send(asker, set->user, set->name, status);
	asker_end_ok(asker);
}

static void account_set_finish(struct account_set *set)
{
	struct asker *asker = set->asker;
	const char *status = set->exists ? "changed" : "created";

	if (set->exists && set->secret == NULL &&
	    account_equal(asker->pool, &set->old.account, &set->account))
		status = "unchanged";
	else if (!set->dry_run) {
		account_set_write(set, status);
		return;
	} else {
		status = set->exists ? "would-change" : "would-create";
	}
	account_row_send(asker, set->user, set->name, status);
	asker_end_ok(asker);
}

void asker_account_set(struct asker *asker, const struct job_line *line)
{
	struct account_set set = { .asker = asker };

	if (account_set_begin(&set, line) &&
	    account_set_load(&set) &&
	    account_set_change(&set, line) &&
	    account_set_secret(&set))
		account_set_finish(&set);
}

/*
 * account-list, account-show
 */

static const char *
settings_value(const char *const *settings, const char *key)
{
	size_t len = strlen(key);

	for (; *settings != NULL; settings++) {
		if (strncmp(*settings, key, len) == 0 &&
		    (*settings)[len] == '=')
			return *settings + len + 1;
	}
	return "";
}

static void
account_list_row(struct asker *asker, const struct account *account)
{
	static const char *const keys[] = {
		"host", "port", "security", "login", "preset", "enabled",
		"owner"
	};
	pool_t pool = pool_alloconly_create("account row", 2048);
	const char *const *settings = account_print(pool, account, TRUE);
	string_t *row = asker_row_begin();
	unsigned int i;

	job_line_add(row, "user", account->user);
	job_line_add(row, "account", account->name);
	for (i = 0; i < N_ELEMENTS(keys); i++)
		job_line_add(row, keys[i], settings_value(settings, keys[i]));
	pool_unref(&pool);
	asker_row_send(asker, row);
}

static const char *account_entry_problem(const struct account_entry *entry)
{
	return t_strdup_printf("%s: %s",
		account_names(entry->account.user, entry->account.name),
		entry->error);
}

static const char *
account_list_entry(struct asker *asker, const struct account_entry *entry)
{
	if (entry->error != NULL)
		return account_entry_problem(entry);
	account_list_row(asker, &entry->account);
	return NULL;
}

void asker_account_list(struct asker *asker, const struct job_line *line)
{
	ARRAY_TYPE(account_entry) entries;

	if (pull_service_find_accounts(asker, line, TRUE, &entries))
		asker_send_entries(asker, &entries, account_list_entry);
}

static void
account_show_row(struct asker *asker, const char *key, const char *value)
{
	string_t *row = asker_row_begin();

	job_line_add(row, "key", key);
	job_line_add(row, "value", value);
	asker_row_send(asker, row);
}

/* Which key opens it, never what it is. */
static const char *account_show_secret(const struct account_entry *entry)
{
	const char *const *parts;

	if (entry->sealed == NULL)
		return "none";
	parts = t_strsplit(entry->sealed, ":");
	return t_strdup_printf("sealed with key %s",
			       parts[1] == NULL ? "?" : parts[1]);
}

static void
account_show_rows(struct asker *asker, const struct account_entry *entry)
{
	const char *const *settings =
		account_print(asker->pool, &entry->account, TRUE);
	const char *value;

	account_show_row(asker, "user", entry->account.user);
	account_show_row(asker, "account", entry->account.name);
	for (; *settings != NULL; settings++) {
		value = strchr(*settings, '=');
		i_assert(value != NULL);
		account_show_row(asker, t_strdup_until(*settings, value),
				 value + 1);
	}
	account_show_row(asker, "secret", account_show_secret(entry));
}

/* Returns the one account that user and name say, or NULL after having ended
   the command. */
static const struct account_entry *
account_find_one(struct asker *asker, const struct job_line *line)
{
	ARRAY_TYPE(account_entry) entries;

	if (job_line_get(line, "name") == NULL) {
		asker_end_error(asker, REPLY_CLASS_CONFIG, EX_USAGE,
				"give a user and the name of an account");
		return NULL;
	}
	if (!pull_service_find_accounts(asker, line, FALSE, &entries))
		return NULL;
	if (array_count(&entries) != 1) {
		asker_end_error(asker, REPLY_CLASS_CONFIG, EX_USAGE,
				"this command is for one account at a time");
		return NULL;
	}
	return array_front(&entries);
}

void asker_account_show(struct asker *asker, const struct job_line *line)
{
	const struct account_entry *entry = account_find_one(asker, line);

	if (entry == NULL)
		return;
	if (entry->error != NULL) {
		asker_end_error(asker, REPLY_CLASS_CONFIG, 0, "%s",
				account_entry_problem(entry));
		return;
	}
	account_show_rows(asker, entry);
	asker_end_ok(asker);
}

/*
 * account-delete
 */

void asker_account_delete(struct asker *asker, const struct job_line *line)
{
	const struct account_entry *entry = account_find_one(asker, line);
	struct pull_service *service = asker->service;
	const char *user, *name, *error;

	if (entry == NULL)
		return;
	user = entry->account.user;
	name = entry->account.name;
	if (account_store_delete(service->store, user, name, &error) < 0) {
		asker_end_error(asker, REPLY_CLASS_LOCAL, 0, "%s: %s",
				account_names(user, name), error);
		return;
	}
	e_info(service->event, "%s: account deleted",
	       account_names(user, name));
	/* nothing more is pulled for it */
	(void)run_queue_abort_account(service->queue, user, name);
	scheduler_account_deleted(service->scheduler, user, name);
	service_report_forget(service->report, user, name);
	account_row_send(asker, user, name, "deleted");
	asker_end_ok(asker);
}

/*
 * account-pause, account-resume: enabled=no and =yes
 */

static void account_pause(struct account_set *set, bool pause)
{
	static const char *const no[] = { "enabled=no", NULL };
	static const char *const yes[] = { "enabled=yes", NULL };
	struct asker *asker = set->asker;
	const char *error;

	if (set->old.account.enabled == !pause) {
		account_row_send(asker, set->user, set->name, "unchanged");
		asker_end_ok(asker);
		return;
	}
	/* what the administrator does not allow any more, may be paused, too;
	   its runs are refused one by one */
	if (account_change_apply(asker->pool, set->user, set->name,
				 &set->old.account, pause ? no : yes,
				 ioloop_time, &set->account, &error) < 0)
		account_set_error(set, REPLY_CLASS_CONFIG, EX_DATAERR, error);
	else
		account_set_write(set, pause ? "paused" : "resumed");
}

void asker_account_pause(struct asker *asker, const struct job_line *line)
{
	const struct account_entry *entry = account_find_one(asker, line);
	struct account_set set = { .asker = asker, .exists = TRUE };

	if (entry == NULL)
		return;
	set.user = entry->account.user;
	set.name = entry->account.name;
	set.old = *entry;
	set.sealed = entry->sealed;
	if (entry->error != NULL)
		account_set_error(&set, REPLY_CLASS_CONFIG, 0, entry->error);
	else
		account_pause(&set, strcmp(line->word, "account-pause") == 0);
}
