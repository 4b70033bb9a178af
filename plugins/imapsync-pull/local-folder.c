/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "bsearch-insert-pos.h"
#include "hex-binary.h"
#include "buffer.h"
#include "istream.h"
#include "istream-crlf.h"
#include "sha2.h"
#include "mail-storage-private.h"
#include "mail-namespace.h"
#include "mail-user.h"
#include "dovecot-compat.h"
#include "spool.h"
#include "local-folder.h"

#include <ctype.h>
#include <openssl/evp.h>

#define GUID_KEY_SIZE 16
/* mark in a Maildir file name that is followed by the GUID in hex */
#define MAILDIR_GUID_MARK ".IS"

struct local_entry {
	unsigned char key[GUID_KEY_SIZE];
	uint32_t uid;
	bool taken;
};

struct local_size {
	uoff_t size;
	unsigned int entry_idx;
};

struct local_folder {
	struct mail_user *user;
	struct mailbox *box;

	/* sorted by key */
	ARRAY(struct local_entry) entries;
	/* the untaken ones by size; made when first asked for by content */
	ARRAY(struct local_size) sizes;
	bool scanned, sized;
	/* the whole mailbox is indexed */
	bool scanned_all;

	struct mailbox_transaction_context *changes;
	struct mail *changing;
};

/*
 * Errors
 */

static enum reply_class local_error_class(enum mail_error error)
{
	switch (error) {
	case MAIL_ERROR_NOQUOTA:
		return REPLY_CLASS_QUOTA;
	case MAIL_ERROR_PERM:
	case MAIL_ERROR_PARAMS:
	case MAIL_ERROR_NOTPOSSIBLE:
	case MAIL_ERROR_EXISTS:
	case MAIL_ERROR_NOTFOUND:
		return REPLY_CLASS_FOLDER;
	default:
		return REPLY_CLASS_LOCAL;
	}
}

void local_error_from_box(struct mailbox *box, const char *what,
			  struct local_error *error_r)
{
	enum mail_error error;
	const char *text = mailbox_get_last_internal_error(box, &error);

	error_r->class = local_error_class(error);
	error_r->text = t_strdup_printf("local mailbox %s: %s: %s",
					mailbox_get_vname(box), what, text);
}

/*
 * Open, close
 */

static struct mailbox *
local_box_alloc(struct mail_user *user, const char *vname)
{
	struct mail_namespace *ns =
		mail_namespace_find(user->namespaces, vname);

	return mailbox_alloc(ns->list, vname, 0);
}

static int local_box_create(struct mailbox *box, struct local_error *error_r)
{
	if (mailbox_create(box, NULL, FALSE) < 0 &&
	    mailbox_get_last_mail_error(box) != MAIL_ERROR_EXISTS) {
		local_error_from_box(box, "create", error_r);
		return -1;
	}
	if (mailbox_set_subscribed(box, TRUE) < 0) {
		local_error_from_box(box, "subscribe", error_r);
		return -1;
	}
	return 0;
}

static int
local_box_open(struct mailbox *box, bool create, struct local_error *error_r)
{
	if (mailbox_open(box) == 0)
		return 1;
	if (mailbox_get_last_mail_error(box) != MAIL_ERROR_NOTFOUND) {
		local_error_from_box(box, "open", error_r);
		return -1;
	}
	if (!create)
		return 0;
	if (local_box_create(box, error_r) < 0)
		return -1;
	if (mailbox_open(box) < 0) {
		local_error_from_box(box, "open", error_r);
		return -1;
	}
	return 1;
}

int local_folder_open(struct mail_user *user, const char *vname, bool create,
		      struct local_folder **folder_r,
		      struct local_error *error_r)
{
	struct mailbox *box = local_box_alloc(user, vname);
	struct local_folder *folder;
	int ret = local_box_open(box, create, error_r);

	*folder_r = NULL;
	if (ret <= 0) {
		mailbox_free(&box);
		return ret;
	}
	folder = i_new(struct local_folder, 1);
	folder->user = user;
	folder->box = box;
	i_array_init(&folder->entries, 64);
	i_array_init(&folder->sizes, 64);
	if (local_folder_sync(folder, error_r) < 0) {
		local_folder_close(&folder);
		return -1;
	}
	*folder_r = folder;
	return 1;
}

void local_folder_close(struct local_folder **_folder)
{
	struct local_folder *folder = *_folder;

	*_folder = NULL;
	if (folder == NULL)
		return;
	if (folder->changes != NULL) {
		mail_free(&folder->changing);
		mailbox_transaction_rollback(&folder->changes);
	}
	mailbox_free(&folder->box);
	array_free(&folder->entries);
	array_free(&folder->sizes);
	i_free(folder);
}

struct mailbox *local_folder_get_box(struct local_folder *folder)
{
	return folder->box;
}

const char *local_folder_get_name(struct local_folder *folder)
{
	return mailbox_get_vname(folder->box);
}

int local_folder_sync(struct local_folder *folder, struct local_error *error_r)
{
	if (mailbox_sync(folder->box, 0) == 0)
		return 0;
	local_error_from_box(folder->box, "sync", error_r);
	return -1;
}

void local_folder_get_status(struct local_folder *folder,
			     uint32_t *uidvalidity_r, uint32_t *uidnext_r)
{
	struct mailbox_status status;

	mailbox_get_open_status(folder->box,
				STATUS_UIDVALIDITY | STATUS_UIDNEXT, &status);
	*uidvalidity_r = status.uidvalidity;
	*uidnext_r = status.uidnext;
}

int local_folder_peek(struct mail_user *user, const char *vname, bool sync,
		      uint32_t *uidvalidity_r, uint32_t *uidnext_r,
		      struct local_error *error_r)
{
	const enum mailbox_status_items items =
		STATUS_UIDVALIDITY | STATUS_UIDNEXT;
	struct mailbox *box = local_box_alloc(user, vname);
	struct mailbox_status status = { .uidvalidity = 0 };
	int ret = local_box_open(box, FALSE, error_r);

	/* A sync makes Maildir read its directories, a full one even when they
	   seem to be as they were: lmtp may have put a mail there in the
	   very second in which somebody looked. */
	if (ret > 0 && !sync)
		mailbox_get_open_status(box, items, &status);
	/* an index that was just made knows nothing */
	if (ret > 0 && status.uidvalidity == 0) {
		if (mailbox_sync(box, MAILBOX_SYNC_FLAG_FULL_READ) == 0)
			mailbox_get_open_status(box, items, &status);
		else {
			local_error_from_box(box, "sync", error_r);
			ret = -1;
		}
	}
	*uidvalidity_r = status.uidvalidity;
	*uidnext_r = status.uidnext;
	mailbox_free(&box);
	return ret;
}

/*
 * GUIDs
 */

static bool guid_from_hex(const char *hex, unsigned char *key_r)
{
	buffer_t buf;
	unsigned int i;

	for (i = 0; i < GUID_KEY_SIZE * 2; i++) {
		if (!i_isxdigit(hex[i]))
			return FALSE;
	}
	buffer_create_from_data(&buf, key_r, GUID_KEY_SIZE);
	return hex_to_binary(t_strndup(hex, GUID_KEY_SIZE * 2), &buf) == 0;
}

/* What two spellings of one GUID have in common: our own hash, bare or within a
   Maildir file name; of foreign GUIDs a digest. What follows a comma are the
   sizes that Maildir adds to a name once the file is complete: lmtp notes the
   name before that. */
static void guid_to_key(const char *guid, unsigned char *key_r)
{
	const char *mark = strstr(guid, MAILDIR_GUID_MARK);
	unsigned char digest[SHA256_RESULTLEN];

	if (mark != NULL &&
	    guid_from_hex(mark + strlen(MAILDIR_GUID_MARK), key_r))
		return;
	if (strlen(guid) == GUID_KEY_SIZE * 2 && guid_from_hex(guid, key_r))
		return;
	sha256_get_digest(guid, strcspn(guid, ","), digest);
	memcpy(key_r, digest, GUID_KEY_SIZE);
}

const char *local_folder_save_guid(struct local_folder *folder,
				   const char *guid, time_t received_time,
				   uoff_t lf_size, uoff_t crlf_size)
{
	struct mail_storage *storage = folder->box->storage;

	if (strcmp(storage->name, "maildir") != 0)
		return guid;
	/* a GUID that holds the right sizes becomes the file name itself, and
	   then needs no dovecot-uidlist to be found again */
	return t_strdup_printf("%"PRIdTIME_T MAILDIR_GUID_MARK
			       "%s.imapsync,S=%"PRIuUOFF_T",W=%"PRIuUOFF_T,
			       received_time, guid,
			       storage->set->mail_save_crlf ?
			       crlf_size : lf_size, crlf_size);
}

/*
 * Index of the mail that is there
 */

static int
local_entry_cmp(const struct local_entry *a, const struct local_entry *b)
{
	return memcmp(a->key, b->key, GUID_KEY_SIZE);
}

static int
local_entry_key_cmp(const unsigned char *key, const struct local_entry *entry)
{
	return memcmp(key, entry->key, GUID_KEY_SIZE);
}

static int
local_size_cmp(const struct local_size *a, const struct local_size *b)
{
	return a->size < b->size ? -1 : (a->size > b->size ? 1 : 0);
}

static void local_scan_mail(struct local_folder *folder, struct mail *mail)
{
	struct local_entry *entry;
	const char *guid;

	if (mail_get_special(mail, MAIL_FETCH_GUID, &guid) < 0)
		return;
	entry = array_append_space(&folder->entries);
	entry->uid = mail->uid;
	guid_to_key(guid, entry->key);
}

static struct mailbox_transaction_context *
local_read_begin(struct local_folder *folder, enum mail_fetch_field fields,
		 struct mail **mail_r)
{
	struct mailbox_transaction_context *t =
		mailbox_transaction_begin(folder->box, 0, "imapsync-pull");

	*mail_r = mail_alloc(t, fields, NULL);
	return t;
}

static void local_read_end(struct mailbox_transaction_context **t,
			   struct mail **mail)
{
	mail_free(mail);
	/* keeps what was added to the cache; nothing else was changed */
	(void)mailbox_transaction_commit(t);
}

int local_folder_scan(struct local_folder *folder, uint32_t first_uid,
		      struct local_error *error_r)
{
	struct mailbox_transaction_context *t;
	struct mail *mail;
	uint32_t seq, seq1, seq2;

	array_clear(&folder->entries);
	array_clear(&folder->sizes);
	folder->sized = FALSE;
	/* With changes under way the mailbox stays as they found it. */
	if (folder->changes == NULL &&
	    mailbox_sync(folder->box, MAILBOX_SYNC_FLAG_FULL_READ) < 0) {
		local_error_from_box(folder->box, "sync", error_r);
		return -1;
	}
	folder->scanned = TRUE;
	folder->scanned_all = first_uid <= 1;
	mailbox_get_seq_range(folder->box, I_MAX(first_uid, 1), (uint32_t)-1,
			      &seq1, &seq2);
	if (seq1 == 0)
		return 0;
	t = local_read_begin(folder, MAIL_FETCH_GUID, &mail);
	for (seq = seq1; seq <= seq2; seq++) T_BEGIN {
		mail_set_seq(mail, seq);
		local_scan_mail(folder, mail);
	} T_END;
	local_read_end(&t, &mail);
	array_sort(&folder->entries, local_entry_cmp);
	return 0;
}

bool local_folder_has_untaken(struct local_folder *folder)
{
	const struct local_entry *entry;

	array_foreach(&folder->entries, entry) {
		if (!entry->taken)
			return TRUE;
	}
	return FALSE;
}

/* First entry with this GUID; further ones follow it. */
static struct local_entry *
local_entry_find(struct local_folder *folder, const char *guid)
{
	unsigned char key[GUID_KEY_SIZE];
	const unsigned char *wanted = key;
	struct local_entry *first, *entry;

	guid_to_key(guid, key);
	entry = array_bsearch_modifiable(&folder->entries, wanted,
					 local_entry_key_cmp);
	if (entry == NULL)
		return NULL;
	first = array_front_modifiable(&folder->entries);
	while (entry > first && local_entry_key_cmp(key, entry - 1) == 0)
		entry--;
	return entry;
}

/* The next one with the same GUID, or NULL. */
static struct local_entry *
local_entry_next(struct local_folder *folder, struct local_entry *entry)
{
	struct local_entry *end;
	unsigned int count;

	end = array_get_modifiable(&folder->entries, &count) + count;
	return entry + 1 < end && local_entry_cmp(entry, entry + 1) == 0 ?
		entry + 1 : NULL;
}

static bool
local_mail_get(struct local_folder *folder, uint32_t uid,
	       struct local_mail *mail_r)
{
	struct mailbox_transaction_context *t;
	struct mail *mail;
	const char *guid;
	bool ret;

	i_zero(mail_r);
	mail_r->uid = uid;
	t = local_read_begin(folder, MAIL_FETCH_GUID | MAIL_FETCH_VIRTUAL_SIZE,
			     &mail);
	ret = mail_set_uid(mail, uid) &&
		mail_get_special(mail, MAIL_FETCH_GUID, &guid) == 0 &&
		mail_get_virtual_size(mail, &mail_r->size) == 0;
	if (ret)
		mail_r->guid = t_strdup(guid);
	local_read_end(&t, &mail);
	return ret;
}

bool local_folder_take_guid(struct local_folder *folder, const char *guid,
			    uoff_t size, struct local_mail *mail_r)
{
	struct local_entry *entry = local_entry_find(folder, guid);

	for (; entry != NULL; entry = local_entry_next(folder, entry)) {
		if (!entry->taken &&
		    local_mail_get(folder, entry->uid, mail_r) &&
		    mail_r->size == size) {
			entry->taken = TRUE;
			return TRUE;
		}
	}
	return FALSE;
}

void local_folder_drop_guid(struct local_folder *folder, const char *guid)
{
	struct local_entry *entry = local_entry_find(folder, guid);

	for (; entry != NULL; entry = local_entry_next(folder, entry)) {
		if (!entry->taken) {
			entry->taken = TRUE;
			local_folder_expunge(folder, entry->uid);
		}
	}
}

void local_folder_take_known(struct local_folder *folder, const char *guid,
			     uint32_t local_uid)
{
	struct local_entry *entry = local_entry_find(folder, guid);
	struct local_entry *known = entry;

	for (; entry != NULL; entry = local_entry_next(folder, entry)) {
		if (entry->uid == local_uid)
			known = entry;
	}
	if (known != NULL)
		known->taken = TRUE;
}

/*
 * Content
 */

static void local_folder_size_entries(struct local_folder *folder)
{
	struct mailbox_transaction_context *t;
	struct local_entry *entries;
	struct local_size *size;
	struct mail *mail;
	unsigned int i, count;
	uoff_t vsize;

	folder->sized = TRUE;
	entries = array_get_modifiable(&folder->entries, &count);
	t = local_read_begin(folder, MAIL_FETCH_VIRTUAL_SIZE, &mail);
	for (i = 0; i < count; i++) T_BEGIN {
		if (!entries[i].taken && mail_set_uid(mail, entries[i].uid) &&
		    mail_get_virtual_size(mail, &vsize) == 0) {
			size = array_append_space(&folder->sizes);
			size->size = vsize;
			size->entry_idx = i;
		}
	} T_END;
	local_read_end(&t, &mail);
	array_sort(&folder->sizes, local_size_cmp);
}

static bool local_stream_hash(struct istream *input, unsigned char *hash_r)
{
	EVP_MD_CTX *digest = EVP_MD_CTX_new();
	const unsigned char *data;
	unsigned char result[EVP_MAX_MD_SIZE];
	size_t size;
	bool ok = digest != NULL &&
		EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1;

	while (ok && i_stream_read_more(input, &data, &size) > 0) {
		ok = EVP_DigestUpdate(digest, data, size) == 1;
		i_stream_skip(input, size);
	}
	ok = ok && input->stream_errno == 0 &&
		EVP_DigestFinal_ex(digest, result, NULL) == 1;
	EVP_MD_CTX_free(digest);
	if (ok)
		memcpy(hash_r, result, SPOOL_HASH_SIZE);
	return ok;
}

static bool local_mail_hash(struct mail *mail, unsigned char *hash_r)
{
	struct istream *input, *crlf_input;
	bool ok;

	if (mail_get_stream(mail, NULL, NULL, &input) < 0)
		return FALSE;
	crlf_input = i_stream_create_crlf(input);
	ok = local_stream_hash(crlf_input, hash_r);
	i_stream_unref(&crlf_input);
	return ok;
}

static bool local_mail_has_content(struct mail *mail, const unsigned char *hash)
{
	unsigned char local_hash[SPOOL_HASH_SIZE];

	return local_mail_hash(mail, local_hash) &&
		memcmp(local_hash, hash, SPOOL_HASH_SIZE) == 0;
}

bool local_folder_get_hash(struct local_folder *folder, uint32_t uid,
			   unsigned char *hash_r)
{
	struct mailbox_transaction_context *t;
	struct mail *mail;
	bool ok;

	t = local_read_begin(folder, MAIL_FETCH_STREAM_HEADER |
			     MAIL_FETCH_STREAM_BODY, &mail);
	ok = mail_set_uid(mail, uid) && local_mail_hash(mail, hash_r);
	local_read_end(&t, &mail);
	return ok;
}

static struct local_entry *
local_folder_find_content(struct local_folder *folder, uoff_t size,
			  const unsigned char *hash)
{
	struct mailbox_transaction_context *t;
	struct local_entry *entry, *found = NULL;
	const struct local_size *sizes;
	struct local_size key = { .size = size };
	struct mail *mail;
	unsigned int i, count;

	sizes = array_get(&folder->sizes, &count);
	(void)array_bsearch_insert_pos(&folder->sizes, &key, local_size_cmp,
				       &i);
	/* any of several equal sizes was found */
	while (i > 0 && sizes[i - 1].size == size)
		i--;
	if (i == count || sizes[i].size != size)
		return NULL;
	t = local_read_begin(folder, MAIL_FETCH_STREAM_HEADER |
			     MAIL_FETCH_STREAM_BODY, &mail);
	for (; found == NULL && i < count && sizes[i].size == size; i++) {
		entry = array_idx_modifiable(&folder->entries,
					     sizes[i].entry_idx);
		if (!entry->taken && mail_set_uid(mail, entry->uid) &&
		    local_mail_has_content(mail, hash))
			found = entry;
	}
	local_read_end(&t, &mail);
	return found;
}

bool local_folder_take_content(struct local_folder *folder, uoff_t size,
			       const unsigned char *hash,
			       struct local_mail *mail_r)
{
	struct local_entry *entry;

	if (array_count(&folder->entries) == 0)
		return FALSE;
	if (!folder->sized)
		local_folder_size_entries(folder);
	entry = local_folder_find_content(folder, size, hash);
	if (entry == NULL || !local_mail_get(folder, entry->uid, mail_r))
		return FALSE;
	entry->taken = TRUE;
	return TRUE;
}

/*
 * Changes
 */

uint32_t local_folder_find(struct local_folder *folder, uint32_t uid_hint,
			   const char *guid)
{
	unsigned char key[GUID_KEY_SIZE], found_key[GUID_KEY_SIZE];
	const struct local_entry *entry;
	struct local_mail mail;
	struct local_error error;

	if (uid_hint != 0 && local_mail_get(folder, uid_hint, &mail)) {
		guid_to_key(guid, key);
		guid_to_key(mail.guid, found_key);
		if (memcmp(key, found_key, GUID_KEY_SIZE) == 0)
			return uid_hint;
	}
	if (!folder->scanned_all && local_folder_scan(folder, 1, &error) < 0)
		return 0;
	entry = local_entry_find(folder, guid);
	return entry == NULL ? 0 : entry->uid;
}

static struct mail *local_changing(struct local_folder *folder, uint32_t uid)
{
	if (folder->changes == NULL) {
		/* not external: that would tell the storage that its files
		   say the same already, and leave them as they are */
		folder->changes = mailbox_transaction_begin(folder->box, 0,
							    "imapsync-pull");
		folder->changing = mail_alloc(folder->changes, 0, NULL);
	}
	return mail_set_uid(folder->changing, uid) ? folder->changing : NULL;
}

static void
local_change_keywords(struct mail *mail, enum modify_type type,
		      const char *const *names)
{
	struct mail_keywords *keywords;

	if (names == NULL || names[0] == NULL)
		return;
	keywords = mailbox_keywords_create_valid(mail->box, names);
	mail_update_keywords(mail, type, keywords);
	mailbox_keywords_unref(&keywords);
}

void local_folder_change_flags(struct local_folder *folder, uint32_t uid,
			       enum mail_flags add, enum mail_flags remove,
			       const char *const *add_keywords,
			       const char *const *remove_keywords)
{
	struct mail *mail = local_changing(folder, uid);

	if (mail == NULL)
		return;
	if (add != 0)
		mail_update_flags(mail, MODIFY_ADD, add);
	if (remove != 0)
		mail_update_flags(mail, MODIFY_REMOVE, remove);
	local_change_keywords(mail, MODIFY_ADD, add_keywords);
	local_change_keywords(mail, MODIFY_REMOVE, remove_keywords);
}

/* Maildir's file names are final before dovecot-keywords says what the letters
   in them mean. Whoever reads them then calls them unknown-<n>. */
static const char *const *local_unknown_keywords(struct mail *mail)
{
	ARRAY_TYPE(const_string) unknown;
	const char *const *names;

	t_array_init(&unknown, 8);
	for (names = mail_get_keywords(mail); *names != NULL; names++) {
		if (str_begins_with(*names, "unknown-"))
			array_push_back(&unknown, names);
	}
	array_append_zero(&unknown);
	return array_front(&unknown);
}

void local_folder_repair_keywords(struct local_folder *folder, uint32_t uid,
				  const char *const *keywords)
{
	const char *const *unknown;
	struct mail *mail;

	if (strcmp(folder->box->storage->name, "maildir") != 0)
		return;
	mail = local_changing(folder, uid);
	if (mail == NULL)
		return;
	unknown = local_unknown_keywords(mail);
	if (unknown[0] == NULL)
		return;
	local_change_keywords(mail, MODIFY_ADD, keywords);
	local_change_keywords(mail, MODIFY_REMOVE, unknown);
}

void local_folder_expunge(struct local_folder *folder, uint32_t uid)
{
	struct mail *mail = local_changing(folder, uid);

	if (mail != NULL)
		mail_expunge(mail);
}

bool local_folder_has_changes(struct local_folder *folder)
{
	return folder->changes != NULL;
}

int local_folder_commit(struct local_folder *folder,
			struct local_error *error_r)
{
	if (folder->changes == NULL)
		return 0;
	mail_free(&folder->changing);
	if (mailbox_transaction_commit(&folder->changes) < 0) {
		local_error_from_box(folder->box, "commit", error_r);
		return -1;
	}
	return local_folder_sync(folder, error_r);
}
