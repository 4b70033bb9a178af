/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "dict.h"
#include "hex-binary.h"
#include "randgen.h"
#include "str.h"
#include "str-sanitize.h"
#include "wildcard-match.h"
#include "dovecot-compat.h"
#include "account-store.h"
#include "job.h"

#include <fcntl.h>
#include <unistd.h>

#define STORE_PREFIX DICT_PATH_SHARED"imapsync/account/"
/* first word of a record, and the version that is written and read here */
#define STORE_WORD "account"
#define STORE_VERSION "1"
#define SOURCE_ID_BYTES 16

struct account_store {
	struct dict *dict;
	/* of a file: dict, else NULL */
	char *file_path;
};

static const struct dict_op_settings store_op_set = { .username = NULL };

struct account_store *
account_store_init(struct dict *dict, const char *file_path)
{
	struct account_store *store = i_new(struct account_store, 1);

	store->dict = dict;
	store->file_path = i_strdup(file_path);
	return store;
}

void account_store_deinit(struct account_store **_store)
{
	struct account_store *store = *_store;

	if (store == NULL)
		return;
	*_store = NULL;
	dict_deinit(&store->dict);
	i_free(store->file_path);
	i_free(store);
}

static const char *store_key(const char *user, const char *name)
{
	return t_strconcat(STORE_PREFIX, dict_escape_string(user), "/",
			   dict_escape_string(name), NULL);
}

/* Returns FALSE if a key is none of ours. */
static bool
store_key_parse(pool_t pool, const char *key, const char **user_r,
		const char **name_r)
{
	const char *rest, *slash;

	if (!str_begins_with(key, STORE_PREFIX))
		return FALSE;
	rest = key + strlen(STORE_PREFIX);
	slash = strchr(rest, '/');
	if (slash == NULL || strchr(slash + 1, '/') != NULL)
		return FALSE;
	*user_r = p_strdup(pool,
		dict_unescape_string(t_strdup_until(rest, slash)));
	*name_r = p_strdup(pool, dict_unescape_string(slash + 1));
	return TRUE;
}

/* The value as account_store_set() writes it. */
static int
store_value_parse(pool_t pool, const char *value, struct account_entry *entry,
		  const char **error_r)
{
	const char *user = entry->account.user, *name = entry->account.name;
	struct job_line line;
	const char *version;

	if (job_line_parse(pool, value, &line, error_r) < 0)
		return -1;
	version = job_line_get(&line, "version");
	if (strcmp(line.word, STORE_WORD) != 0 || version == NULL) {
		*error_r = "not an account record";
		return -1;
	}
	if (strcmp(version, STORE_VERSION) != 0) {
		*error_r = t_strdup_printf("record of version %s was written "
			"by a newer imapsync-pull", str_sanitize(version, 16));
		return -1;
	}
	if (account_parse(pool, user, name,
			  job_line_get_all(pool, &line, "set"),
			  &entry->account, error_r) < 0)
		return -1;
	if (*entry->account.source_id == '\0') {
		*error_r = "record has no source_id";
		return -1;
	}
	entry->sealed = job_line_get(&line, "secret");
	return 0;
}

static void
store_entry_parse(pool_t pool, const char *user, const char *name,
		  const char *value, struct account_entry *entry_r)
{
	const char *error;

	i_zero(entry_r);
	entry_r->account.user = user;
	entry_r->account.name = name;
	if (store_value_parse(pool, value, entry_r, &error) < 0) {
		entry_r->error = p_strdup_printf(pool,
			"the stored account is unusable: %s", error);
		i_zero(&entry_r->account);
		entry_r->account.user = user;
		entry_r->account.name = name;
	}
}

int account_store_get(struct account_store *store, pool_t pool,
		      const char *user, const char *name,
		      struct account_entry *entry_r, const char **error_r)
{
	const char *value, *error = NULL;
	int ret;

	ret = dict_lookup(store->dict, &store_op_set, pool,
			  store_key(user, name), &value, &error);
	if (ret < 0) {
		*error_r = t_strdup_printf("imapsync_pull_dict: %s", error);
		return -1;
	}
	if (ret == 0)
		return 0;
	store_entry_parse(pool, p_strdup(pool, user), p_strdup(pool, name),
			  value, entry_r);
	if (entry_r->error != NULL) {
		*error_r = entry_r->error;
		return -1;
	}
	return 1;
}

static int
account_entry_cmp(const struct account_entry *a, const struct account_entry *b)
{
	int ret = strcmp(a->account.user, b->account.user);

	return ret != 0 ? ret : strcmp(a->account.name, b->account.name);
}

static void
store_list_add(pool_t pool, const char *key, const char *value,
	       const char *user_mask, ARRAY_TYPE(account_entry) *entries)
{
	struct account_entry entry;
	const char *user, *name;

	if (store_key_parse(pool, key, &user, &name) &&
	    wildcard_match(user, user_mask)) {
		store_entry_parse(pool, user, name, value, &entry);
		array_push_back(entries, &entry);
	}
}

static const char *store_list_path(const char *user_mask)
{
	/* one user's accounts are asked for by themselves: there may be a
	   hundred thousand others */
	if (strpbrk(user_mask, "*?") != NULL)
		return STORE_PREFIX;
	return t_strconcat(STORE_PREFIX, dict_escape_string(user_mask), "/",
			   NULL);
}

int account_store_list(struct account_store *store, pool_t pool,
		       const char *user_mask,
		       ARRAY_TYPE(account_entry) *entries_r,
		       const char **error_r)
{
	struct dict_iterate_context *iter;
	const char *key, *value, *error;

	p_array_init(entries_r, pool, 16);
	iter = dict_iterate_init(store->dict, &store_op_set,
				 store_list_path(user_mask),
				 DICT_ITERATE_FLAG_RECURSE);
	while (dict_iterate(iter, &key, &value)) T_BEGIN {
		store_list_add(pool, key, value, user_mask, entries_r);
	} T_END;
	if (dict_iterate_deinit(&iter, &error) < 0) {
		*error_r = t_strdup_printf("imapsync_pull_dict: %s", error);
		return -1;
	}
	array_sort(entries_r, account_entry_cmp);
	return 0;
}

static int store_sync_path(const char *path, int flags, const char **error_r)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | flags);
	int ret = 0;

	if (fd == -1 || fsync(fd) < 0) {
		*error_r = t_strdup_printf("fsync(%s) failed: %m", path);
		ret = -1;
	}
	i_close_fd(&fd);
	return ret;
}

/* The file: driver renames without a sync. */
static int store_sync(struct account_store *store, const char **error_r)
{
	const char *slash;

	if (store->file_path == NULL)
		return 0;
	slash = strrchr(store->file_path, '/');
	if (store_sync_path(store->file_path, 0, error_r) < 0)
		return -1;
	return slash == NULL || slash == store->file_path ? 0 :
		store_sync_path(t_strdup_until(store->file_path, slash),
				O_DIRECTORY, error_r);
}

static int
store_commit(struct account_store *store,
	     struct dict_transaction_context **trans, const char **error_r)
{
	const char *error;

	if (dict_transaction_commit(trans, &error) < 0) {
		*error_r = t_strdup_printf("imapsync_pull_dict: %s", error);
		return -1;
	}
	return store_sync(store, error_r);
}

static const char *
store_value(const struct account *account, const char *sealed)
{
	pool_t pool = pool_alloconly_create("account record", 2048);
	const char *const *settings = account_print(pool, account, FALSE);
	string_t *value = t_str_new(1024);

	job_line_begin(value, STORE_WORD);
	job_line_add(value, "version", STORE_VERSION);
	for (; *settings != NULL; settings++)
		job_line_add(value, "set", *settings);
	if (sealed != NULL)
		job_line_add(value, "secret", sealed);
	pool_unref(&pool);
	return str_c(value);
}

int account_store_set(struct account_store *store,
		      const struct account *account, const char *sealed,
		      const char **error_r)
{
	struct dict_transaction_context *trans;

	i_assert(*account->source_id != '\0');

	trans = dict_transaction_begin(store->dict, &store_op_set);
	dict_set(trans, store_key(account->user, account->name),
		 store_value(account, sealed));
	return store_commit(store, &trans, error_r);
}

static int
store_exists(struct account_store *store, const char *key,
	     const char **error_r)
{
	pool_t pool = pool_alloconly_create("account record", 2048);
	const char *value, *error = NULL;
	int ret;

	ret = dict_lookup(store->dict, &store_op_set, pool, key,
			  &value, &error);
	if (ret < 0)
		*error_r = t_strdup_printf("imapsync_pull_dict: %s", error);
	pool_unref(&pool);
	return ret;
}

int account_store_delete(struct account_store *store, const char *user,
			 const char *name, const char **error_r)
{
	struct dict_transaction_context *trans;
	const char *key = store_key(user, name);
	int ret = store_exists(store, key, error_r);

	if (ret <= 0)
		return ret;
	trans = dict_transaction_begin(store->dict, &store_op_set);
	dict_unset(trans, key);
	return store_commit(store, &trans, error_r) < 0 ? -1 : 1;
}

const char *account_store_mint_source_id(pool_t pool)
{
	unsigned char id[SOURCE_ID_BYTES];

	random_fill(id, sizeof(id));
	return p_strdup(pool, binary_to_hex(id, sizeof(id)));
}
