/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "istream.h"
#include "istream-crlf.h"
#include "message-size.h"
#include "mail-namespace.h"
#include "mail-search-build.h"
#include "mail-storage-private.h"
#include "mailbox-list-iter.h"
#include "mail-deliver.h"
#include "dovecot-compat.h"
#include "core/trace-header.h"
#include "lmtp-store.h"
#include "lmtp-retry.h"

/* rebuilds that follow each other */
#define DEDUPE_MAX_PASSES 5

struct retry {
	struct lmtp_delivery *delivery;
	/* where the message is */
	ARRAY(struct inflight_store) stores;
	const char *error;
};

/* A mail that is a copy of the message. */
struct hit {
	uint32_t uid;
	const char *guid;
};

/* One mailbox, and what was found in it. */
struct place {
	struct retry *retry;
	struct mailbox *box;
	ARRAY(struct hit) hits;
	/* mails under our GUID that are not of the right size */
	ARRAY_TYPE(uint32_t) odd_uids;
};

/*
 * One mail
 */

/* The size by content, not by what an index remembers of it. */
static int mail_read_size(struct mail *mail, uoff_t *size_r)
{
	struct message_size hdr_size, body_size;
	struct istream *input;

	if (mail_get_stream(mail, &hdr_size, &body_size, &input) < 0)
		return -1;
	*size_r = hdr_size.virtual_size + body_size.virtual_size;
	return 0;
}

static bool size_is_right(uoff_t size, uoff_t wanted)
{
	/* LMTP ends the last line if the message does not */
	return size == wanted || size == wanted + 2;
}

static void stream_skip_nuls(struct istream *input)
{
	const unsigned char *data;
	size_t size, i;

	while (i_stream_read_more(input, &data, &size) > 0) {
		for (i = 0; i < size && data[i] == '\0'; i++) ;
		i_stream_skip(input, i);
		if (i < size)
			break;
	}
}

/* Does whole begin with all of part? */
static bool
stream_is_beginning(struct istream *part, struct istream *whole)
{
	const unsigned char *data1, *data2;
	size_t size1, size2, size;

	while (i_stream_read_more(part, &data1, &size1) > 0) {
		if (i_stream_read_more(whole, &data2, &size2) <= 0)
			return FALSE;
		size = I_MIN(size1, size2);
		if (memcmp(data1, data2, size) != 0)
			return FALSE;
		i_stream_skip(part, size);
		i_stream_skip(whole, size);
	}
	return part->stream_errno == 0;
}

/* What a killed process or a power failure leaves of a message: a beginning of
   it; and mdbox's rebuild takes a record whose header was not written yet for
   a message that begins with as many NULs. */
static bool mail_is_debris(struct mail *mail, struct mail *whole)
{
	struct istream *input1, *input2;
	bool ret;

	if (mail_get_stream(mail, NULL, NULL, &input1) < 0 ||
	    mail_get_stream(whole, NULL, NULL, &input2) < 0)
		return FALSE;
	input1 = i_stream_create_crlf(input1);
	input2 = i_stream_create_crlf(input2);
	stream_skip_nuls(input1);
	ret = stream_is_beginning(input1, input2);
	i_stream_unref(&input1);
	i_stream_unref(&input2);
	return ret;
}

/* An index rebuild keeps a mail but forgets its flags: who has neither flags
   nor keywords lost them so, or by a script that cleared them all; the latter
   is the rarer by far. Maildir puts letters for keywords into a file's name
   before it writes down what they stand for. */
static bool mail_has_lost_flags(struct mail *mail)
{
	const char *const *keywords = mail_get_keywords(mail);

	if (*keywords == NULL)
		return (mail_get_flags(mail) & MAIL_FLAGS_NONRECENT) == 0;
	for (; *keywords != NULL; keywords++) {
		if (str_begins_with(*keywords, "unknown-"))
			return TRUE;
	}
	return FALSE;
}

static void
mail_repair_flags(struct mail *mail, const struct trace_header *header)
{
	struct mail_keywords *kw;

	if (!mail_has_lost_flags(mail))
		return;
	if (header->flags != 0)
		mail_update_flags(mail, MODIFY_ADD, header->flags);
	kw = mailbox_keywords_create_valid(mail->box, header->keywords);
	mail_update_keywords(mail, MODIFY_REPLACE, kw);
	mailbox_keywords_unref(&kw);
}

static void
place_check_mail(struct place *place, struct mail *mail,
		 const struct inflight_store *store)
{
	struct lmtp_delivery *delivery = place->retry->delivery;
	uoff_t size, wanted = store->size != 0 ? store->size :
		delivery->header->size;
	struct hit *hit;

	/* what cannot be read is no copy */
	if (mail_read_size(mail, &size) < 0)
		return;
	if (size_is_right(size, wanted)) {
		mail_repair_flags(mail, delivery->header);
		hit = array_append_space(&place->hits);
		hit->uid = mail->uid;
		hit->guid = store->guid;
	} else {
		array_push_back(&place->odd_uids, &mail->uid);
	}
}

/*
 * One mailbox
 */

static int place_fail(struct place *place, const char *what)
{
	place->retry->error = p_strdup_printf(
		place->retry->delivery->ctx->pool, "%s %s: %s", what,
		place->box->vname,
		mailbox_get_last_internal_error(place->box, NULL));
	return -1;
}

/* Returns 1 if open, 0 if it is none that we could look into. */
static int
place_open(struct place *place, struct retry *retry, const char *vname)
{
	enum mail_error error;

	i_zero(place);
	place->retry = retry;
	t_array_init(&place->hits, 4);
	t_array_init(&place->odd_uids, 4);
	place->box = mailbox_alloc_for_user(retry->delivery->ctx->rcpt_user,
					    vname, 0);
	if (mailbox_open(place->box) == 0)
		return 1;
	(void)mailbox_get_last_error(place->box, &error);
	return error == MAIL_ERROR_NOTFOUND || error == MAIL_ERROR_PERM ?
		0 : place_fail(place, "opening");
}

/* A file name was noted before sizes were appended to it. */
static bool mail_is_file(struct mail *mail, const char *name)
{
	size_t len = strlen(name);
	const char *id;

	return mail_get_special(mail, MAIL_FETCH_STORAGE_ID, &id) == 0 &&
		strncmp(id, name, len) == 0 &&
		(id[len] == '\0' || id[len] == ',');
}

static int
place_search(struct place *place, const struct inflight_store *store)
{
	bool by_guid = lmtp_store_sets_guid(place->box);
	struct mailbox_transaction_context *trans;
	struct mail_search_context *ctx;
	struct mail_search_args *args;
	struct mail *mail;
	int ret;

	args = mail_search_build_init();
	if (by_guid) {
		mail_search_build_add(args, SEARCH_GUID)->value.str =
			p_strdup(args->pool, store->guid);
	} else {
		mail_search_build_add_all(args);
	}
	trans = mailbox_transaction_begin(place->box, 0, __func__);
	ctx = mailbox_search_init(trans, args, NULL, 0, NULL);
	mail_search_args_unref(&args);
	while (mailbox_search_next(ctx, &mail)) {
		if (by_guid || mail_is_file(mail, store->guid))
			place_check_mail(place, mail, store);
	}
	ret = mailbox_search_deinit(&ctx);
	if (mailbox_transaction_commit(&trans) < 0)
		ret = -1;
	return ret < 0 ? place_fail(place, "searching") : 0;
}

static bool
store_is_known(const struct inflight_store *stores, unsigned int count,
	       const struct inflight_store *store)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		if (strcmp(stores[i].mailbox, store->mailbox) == 0 &&
		    strcmp(stores[i].guid, store->guid) == 0)
			return TRUE;
	}
	return FALSE;
}

static bool place_is_mdbox(const struct place *place)
{
	return strcmp(place->box->storage->name, "mdbox") == 0;
}

static int place_sync(struct place *place, enum mailbox_sync_flags flags)
{
	array_clear(&place->hits);
	array_clear(&place->odd_uids);
	if (mailbox_sync(place->box, MAILBOX_SYNC_FLAG_FULL_READ | flags) < 0)
		return place_fail(place, "syncing");
	return 0;
}

/* Look for all stores that are in this mailbox; those in the list twice,
   once. */
static int
place_search_all(struct place *place, const struct inflight_store *stores,
		 unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		if (strcmp(stores[i].mailbox, place->box->vname) != 0 ||
		    store_is_known(stores, i, &stores[i]))
			continue;
		if (place_search(place, &stores[i]) < 0)
			return -1;
	}
	return 0;
}

static int hit_cmp(const struct hit *h1, const struct hit *h2)
{
	return h1->uid < h2->uid ? -1 : (h1->uid > h2->uid ? 1 : 0);
}

/* Expunge all hits but the first. Returns how many. */
static unsigned int
place_expunge_hits(struct place *place, struct mail *mail)
{
	const struct hit *hits;
	unsigned int i, count, expunged = 0;

	array_sort(&place->hits, hit_cmp);
	hits = array_get(&place->hits, &count);
	for (i = 1; i < count; i++) {
		if (hits[i].uid != hits[0].uid &&
		    mail_set_uid(mail, hits[i].uid)) {
			mail_expunge(mail);
			expunged++;
		}
	}
	return expunged;
}

/* Expunge what is debris of the message: as it is stored, scripts may have
   changed it, or else as it came. Returns how many. */
static unsigned int
place_expunge_debris(struct place *place, struct mail *mail,
		     struct mail *stored)
{
	struct lmtp_delivery *delivery = place->retry->delivery;
	struct mail *whole = delivery->src_mail;
	const struct hit *hits;
	unsigned int count, expunged = 0;
	const uint32_t *uid;

	hits = array_get(&place->hits, &count);
	if (count > 0 && mail_set_uid(stored, hits[0].uid))
		whole = stored;
	array_foreach(&place->odd_uids, uid) {
		if (!mail_set_uid(mail, *uid) || !mail_is_debris(mail, whole))
			continue;
		e_warning(delivery->ctx->event, "imapsync-pull: Expunging "
			  "UID %u in %s: debris of a delivery that was killed",
			  *uid, place->box->vname);
		mail_expunge(mail);
		expunged++;
	}
	return expunged;
}

/* Returns how many mails were expunged, or -1. */
static int place_clean(struct place *place)
{
	struct mailbox_transaction_context *trans;
	struct mail *mail, *stored;
	unsigned int expunged;

	if (array_count(&place->hits) < 2 &&
	    array_count(&place->odd_uids) == 0)
		return 0;
	trans = mailbox_transaction_begin(place->box, 0, __func__);
	mail = mail_alloc(trans, 0, NULL);
	stored = mail_alloc(trans, 0, NULL);
	expunged = place_expunge_hits(place, mail);
	expunged += place_expunge_debris(place, mail, stored);
	mail_free(&stored);
	mail_free(&mail);
	if (mailbox_transaction_commit(&trans) < 0)
		return place_fail(place, "expunging from");
	return expunged;
}

/*
 * Before delivering
 */

/* Returns 1 if there is a copy. */
static int
place_look(struct place *place, const struct inflight_store *store,
	   enum mailbox_sync_flags flags)
{
	if (place_sync(place, flags) < 0 ||
	    place_search_all(place, store, 1) < 0 || place_clean(place) < 0)
		return -1;
	return array_count(&place->hits) > 0 ? 1 : 0;
}

/* What a killed process appended to one of mdbox's files comes back when the
   storage is rebuilt, and who saves into it next will have it rebuilt. Now,
   while nobody of ours is delivering, is better than later. */
static int
place_find(struct place *place, const struct inflight_store *store,
	   bool may_rebuild)
{
	return place_look(place, store, may_rebuild && place_is_mdbox(place) ?
			  MAILBOX_SYNC_FLAG_FORCE_RESYNC : 0);
}

/* Returns 1 if there is a copy in mailbox, which is added to stores then. */
static int retry_find_in(struct retry *retry, const char *mailbox,
			 const struct inflight_store *store, bool may_rebuild)
{
	struct inflight_store there = *store;
	struct place place;
	int ret;

	there.mailbox = p_strdup(retry->delivery->ctx->pool, mailbox);
	T_BEGIN {
		ret = place_open(&place, retry, mailbox);
		if (ret > 0)
			ret = place_find(&place, &there, may_rebuild);
		if (ret > 0)
			array_push_back(&retry->stores, &there);
		mailbox_free(&place.box);
	} T_END;
	return ret;
}

static bool
mailbox_is_known(const struct inflight_store *stores, unsigned int count,
		 const char *mailbox)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		if (strcmp(stores[i].mailbox, mailbox) == 0)
			return TRUE;
	}
	return FALSE;
}

/* The user may have moved it; but what is in the mailbox of another store is
   that store's copy. */
static int retry_find_elsewhere(struct retry *retry,
				const struct inflight_store *store)
{
	static const char *const patterns[] = { "*", NULL };
	const struct inflight_slot *slot = &retry->delivery->slot;
	struct mail_user *user = retry->delivery->ctx->rcpt_user;
	struct mailbox_list_iterate_context *iter;
	const struct mailbox_info *info;
	int ret = 0;

	iter = mailbox_list_iter_init_namespaces(user->namespaces, patterns,
		MAIL_NAMESPACE_TYPE_PRIVATE, MAILBOX_LIST_ITER_SKIP_ALIASES |
		MAILBOX_LIST_ITER_NO_AUTO_BOXES);
	while (ret == 0 && (info = mailbox_list_iter_next(iter)) != NULL) {
		if ((info->flags & (MAILBOX_NOSELECT |
				    MAILBOX_NONEXISTENT)) == 0 &&
		    strcmp(info->vname, store->mailbox) != 0 &&
		    !mailbox_is_known(slot->stores, slot->store_count,
				      info->vname))
			ret = retry_find_in(retry, info->vname, store,
					    FALSE);
	}
	if (mailbox_list_iter_deinit(&iter) < 0 && ret == 0) {
		retry->error = "mailboxes cannot be listed";
		ret = -1;
	}
	return ret;
}

static int
retry_find_store(struct retry *retry, const struct inflight_store *store)
{
	/* without a note, nothing was written */
	bool noted = retry->delivery->slot.store_count > 0;
	int ret = retry_find_in(retry, store->mailbox, store, noted);

	return ret != 0 ? ret : retry_find_elsewhere(retry, store);
}

/* A delivery that was killed before its first commit stored nothing, but what
   it had written may be there: it is deduplicated after the next. */
static int retry_find_noted(struct retry *retry)
{
	const struct inflight_slot *slot = &retry->delivery->slot;
	unsigned int i, found = 0;
	int ret;

	for (i = 0; i < slot->store_count; i++) {
		ret = retry_find_store(retry, &slot->stores[i]);
		if (ret < 0)
			return -1;
		found += ret;
	}
	return slot->committing && !slot->stores_incomplete &&
		found == slot->store_count ? 1 : 0;
}

int lmtp_retry_find(struct lmtp_delivery *delivery,
		    const struct inflight_store **stores_r,
		    unsigned int *count_r, const char **error_r)
{
	struct retry retry = { .delivery = delivery };
	const struct inflight_store unnoted = {
		.mailbox = delivery->header->mailbox,
		.guid = delivery->header->guid,
	};
	int ret;

	p_array_init(&retry.stores, delivery->ctx->pool, 2);
	/* No note and yet a mail: power was lost, and the note with it. */
	if (delivery->slot.store_count > 0)
		ret = retry_find_noted(&retry);
	else
		ret = retry_find_store(&retry, &unnoted);
	*error_r = retry.error;
	if (ret > 0)
		*stores_r = array_get(&retry.stores, count_r);
	return ret;
}

/*
 * After delivering
 */

static int
retry_dedupe_mailbox(struct retry *retry, const struct inflight_store *store,
		     const struct inflight_store *stores, unsigned int count)
{
	struct inflight_store there = *store;
	const struct hit *kept;
	struct place place;
	unsigned int pass = 0;
	int ret;

	ret = place_open(&place, retry, store->mailbox);
	if (ret > 0) do {
		ret = place_sync(&place, 0);
		if (ret == 0)
			ret = place_search_all(&place, stores, count);
		if (ret == 0)
			ret = place_clean(&place);
	} while (ret > 0 && ++pass < DEDUPE_MAX_PASSES);
	if (ret >= 0 && array_count(&place.hits) > 0) {
		kept = array_front(&place.hits);
		there.guid = kept->guid;
		array_push_back(&retry->stores, &there);
	}
	mailbox_free(&place.box);
	return ret < 0 ? -1 : 0;
}

int lmtp_retry_dedupe(struct lmtp_delivery *delivery,
		      const struct inflight_store **stores_r,
		      unsigned int *count_r, const char **error_r)
{
	struct retry retry = { .delivery = delivery };
	ARRAY(struct inflight_store) all;
	const struct inflight_store *stores;
	const struct lmtp_stored *stored;
	unsigned int i, count;
	int ret = 0;

	p_array_init(&retry.stores, delivery->ctx->pool, 2);
	p_array_init(&all, delivery->ctx->pool, 4);
	array_append(&all, delivery->slot.stores, delivery->slot.store_count);
	array_foreach(&delivery->stored, stored) {
		if (stored->committed)
			array_push_back(&all, &stored->store);
	}
	stores = array_get(&all, &count);
	for (i = 0; i < count && ret == 0; i++) {
		if (mailbox_is_known(stores, i, stores[i].mailbox))
			continue;
		T_BEGIN {
			ret = retry_dedupe_mailbox(&retry, &stores[i],
						   stores, count);
		} T_END;
	}
	*error_r = retry.error;
	*stores_r = array_get(&retry.stores, count_r);
	return ret;
}
