/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "account.h"
#include "folder-map.h"
#include "watch-folders.h"

/* characters of masks times characters of names: a second or so */
#define MATCH_MAX_STEPS (300ULL * 1000 * 1000)
/* numbers of a folder's state */
#define STATUS_MAX_NUMBERS 8

struct folder_status {
	const char *name;
	uint64_t numbers[STATUS_MAX_NUMBERS];
	unsigned int count;
};

struct watch_folders {
	pool_t account_pool;
	/* as given, but for its regular expressions */
	struct account account;

	/* of the names of the folders that count, rising */
	ARRAY(uint64_t) counting;
	bool all_count;
	/* of what was listed when they were chosen */
	uint64_t listed_digest;

	/* while an answer comes in */
	pool_t pool;
	ARRAY(struct folder_listed) listed;
	ARRAY(struct folder_status) states;
};

/* The masks, with this in the place of regular expressions, or nothing if
   NULL. */
static const char *const *
masks_without_regex(pool_t pool, const char *const *masks, const char *instead)
{
	const char **copy = p_new(pool, const char *,
				  str_array_length(masks) + 1);
	unsigned int count = 0;

	for (; *masks != NULL; masks++) {
		if (!folder_mask_is_regex(*masks))
			copy[count++] = *masks;
		else if (instead != NULL)
			copy[count++] = instead;
	}
	return copy;
}

/* A regular expression costs what its owner and the server's names make it
   cost, and all accounts are watched by one process. Rather too many runs than
   none: it chooses all, and excludes nothing. */
static void
folders_take_account(struct watch_folders *folders,
		     const struct account *account)
{
	pool_t pool = pool_alloconly_create("watch masks", 256);

	folders->account_pool = pool;
	folders->account = *account;
	folders->account.folders =
		masks_without_regex(pool, account->folders, "*");
	folders->account.exclude =
		masks_without_regex(pool, account->exclude, NULL);
}

struct watch_folders *watch_folders_init(const struct account *account)
{
	struct watch_folders *folders = i_new(struct watch_folders, 1);

	folders_take_account(folders, account);
	folders->all_count = TRUE;
	i_array_init(&folders->counting, 4);
	return folders;
}

static void answer_free(struct watch_folders *folders)
{
	if (folders->pool != NULL)
		pool_unref(&folders->pool);
	i_zero(&folders->listed);
	i_zero(&folders->states);
}

void watch_folders_deinit(struct watch_folders **_folders)
{
	struct watch_folders *folders = *_folders;

	*_folders = NULL;
	answer_free(folders);
	array_free(&folders->counting);
	pool_unref(&folders->account_pool);
	i_free(folders);
}

/*
 * The answer
 */

void watch_folders_begin(struct watch_folders *folders)
{
	answer_free(folders);
	folders->pool = pool_alloconly_create("watch folders", 4096);
	p_array_init(&folders->listed, folders->pool, 16);
	p_array_init(&folders->states, folders->pool, 16);
}

void watch_folders_abort(struct watch_folders *folders)
{
	answer_free(folders);
}

void watch_folders_add(struct watch_folders *folders,
		       const struct folder_listed *listed)
{
	struct folder_listed *copy = array_append_space(&folders->listed);

	*copy = *listed;
	copy->remote_name = p_strdup(folders->pool, listed->remote_name);
}

void watch_folders_add_status(struct watch_folders *folders, const char *name,
			      const uint64_t *numbers, unsigned int count)
{
	struct folder_status *status = array_append_space(&folders->states);

	i_assert(count <= STATUS_MAX_NUMBERS);

	status->name = p_strdup(folders->pool, name);
	memcpy(status->numbers, numbers, sizeof(*numbers) * count);
	status->count = count;
}

/*
 * Who counts
 */

/* What folder_map_make() looks at. */
static uint64_t folders_get_listed_digest(struct watch_folders *folders)
{
	struct watch_digest digest;
	const struct folder_listed *listed;

	i_zero(&digest);
	array_foreach(&folders->listed, listed) {
		const uint64_t facts[] = {
			(unsigned char)listed->separator, listed->noselect,
			listed->nonexistent, listed->subscribed,
			listed->special_use,
		};

		watch_digest_add(&digest, listed->remote_name, facts,
				 N_ELEMENTS(facts), FALSE);
	}
	return digest.others;
}

static int hash_cmp(const uint64_t *a, const uint64_t *b)
{
	return *a < *b ? -1 : *a > *b ? 1 : 0;
}

static uint64_t strings_length(const char *const *strings)
{
	uint64_t length = 0;

	for (; *strings != NULL; strings++)
		length += strlen(*strings);
	return length;
}

/* Other accounts wait meanwhile. */
static bool folders_map_takes_long(struct watch_folders *folders)
{
	const struct account *account = &folders->account;
	const struct folder_listed *listed;
	uint64_t names = 0;

	array_foreach(&folders->listed, listed)
		names += strlen(listed->remote_name);
	return names * (strings_length(account->folders) +
			strings_length(account->exclude) +
			strings_length(account->folder_map)) > MATCH_MAX_STEPS;
}

static bool
folders_map(struct watch_folders *folders, struct folder_mapped *mapped)
{
	/* what they are called here is of no interest */
	const struct folder_local local = { .separator = '/', .prefix = "" };
	const struct folder_listed *listed;
	unsigned int count;
	const char *error;

	listed = array_get(&folders->listed, &count);
	return folder_map_make(folders->pool, &folders->account, &local, listed,
			       count, mapped, &error) == 0;
}

static void folders_choose(struct watch_folders *folders)
{
	unsigned int i, count = array_count(&folders->listed);
	struct folder_mapped *mapped =
		p_new(folders->pool, struct folder_mapped, count + 1);
	uint64_t hash;

	array_clear(&folders->counting);
	folders->all_count = folders_map_takes_long(folders) ||
		!folders_map(folders, mapped);
	if (folders->all_count)
		return;
	for (i = 0; i < count; i++) {
		if (!mapped[i].selected)
			continue;
		hash = watch_digest_name(mapped[i].listed->remote_name);
		array_push_back(&folders->counting, &hash);
	}
	array_sort(&folders->counting, hash_cmp);
}

bool watch_folders_count(struct watch_folders *folders, const char *name)
{
	const uint64_t hash = watch_digest_name(name);

	return folders->all_count ||
		array_bsearch(&folders->counting, &hash, hash_cmp) != NULL;
}

/*
 * The end
 */

static bool is_heard(const char *heard, const char *name)
{
	if (heard == NULL)
		return FALSE;
	return strcasecmp(heard, "INBOX") == 0 ?
		strcasecmp(heard, name) == 0 : strcmp(heard, name) == 0;
}

void watch_folders_end(struct watch_folders *folders, const char *heard,
		       struct watch_digest *digest_r)
{
	const struct folder_status *status;
	uint64_t listed_digest = folders_get_listed_digest(folders);

	if (listed_digest != folders->listed_digest || folders->all_count)
		folders_choose(folders);
	folders->listed_digest = listed_digest;

	i_zero(digest_r);
	array_foreach(&folders->states, status) {
		bool is = is_heard(heard, status->name);

		if (is || watch_folders_count(folders, status->name)) {
			watch_digest_add(digest_r, status->name,
					 status->numbers, status->count, is);
		}
	}
	answer_free(folders);
}
