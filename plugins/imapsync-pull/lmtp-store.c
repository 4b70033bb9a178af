/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "mail-storage-private.h"
#include "mail-deliver.h"
#include "dovecot-compat.h"
#include "core/trace-header.h"
#include "lmtp-store.h"

/* The delivery that goes on: lmtp does one at a time. */
static struct lmtp_delivery *store_delivery = NULL;

static MODULE_CONTEXT_DEFINE_INIT(lmtp_store_module,
				  &mail_storage_module_register);
#define STORE_CONTEXT(obj) \
	MODULE_CONTEXT_REQUIRE(obj, lmtp_store_module)

bool lmtp_store_sets_guid(struct mailbox *box)
{
	/* Maildir could, but would have to read all of its uidlist under the
	   lock then: slower with every message in the mailbox. */
	return (box->storage->class_flags &
		MAIL_STORAGE_CLASS_FLAG_HAVE_MAIL_SAVE_GUIDS) != 0 &&
		strcmp(box->storage->name, "maildir") != 0;
}

/* A second net: whoever saves a mail that has lost flags and date on the way
   (through a new raw mail, say) gets them here. */
static void store_restore_metadata(struct mail_save_context *ctx,
				   const struct trace_header *header,
				   struct mail *mail)
{
	const char *const *keywords;

	if (ctx->data.received_date == (time_t)-1) {
		mailbox_save_set_received_date(ctx, header->received_time,
					       header->received_tz_mins);
	}
	if (ctx->data.flags != 0 || ctx->data.keywords != NULL ||
	    ctx->copy_src_mail == NULL || mail_get_flags(mail) != 0)
		return;
	keywords = mail_get_keywords(mail);
	if (keywords != NULL && *keywords != NULL)
		return;
	ctx->data.flags = header->flags;
}

/* Scripts may change a message before it is stored. */
static uoff_t
store_get_size(const struct lmtp_delivery *delivery, struct mail *mail)
{
	uoff_t size;

	if (mail == delivery->src_mail && !delivery->size_changed)
		return 0;
	return mail_get_virtual_size(mail, &size) < 0 ? 0 : size;
}

static int
store_note(struct mailbox_transaction_context *trans,
	   struct lmtp_delivery *delivery, struct mail *mail, const char *guid)
{
	struct mailbox *box = trans->box;
	pool_t pool = delivery->ctx->pool;
	struct lmtp_stored *stored;
	const char *error;

	delivery->committing = FALSE;
	stored = array_append_space(&delivery->stored);
	stored->trans = trans;
	stored->store.mailbox = p_strdup(pool, box->vname);
	stored->store.guid = p_strdup(pool, guid);
	stored->store.size = store_get_size(delivery, mail);
	if (inflight_note_store(delivery->inflight, delivery->header->slot,
				&stored->store, &error) < 0) {
		mailbox_set_critical(box, "imapsync-pull: %s", error);
		return -1;
	}
	return 0;
}

/* Sieve and LDA both save by way of copy, and nobody else marks mailboxes as
   used after the session. */
static bool store_is_delivery(struct mailbox *box)
{
	return store_delivery != NULL &&
		(box->flags & MAILBOX_FLAG_POST_SESSION) != 0;
}

/* mdbox appends to files that exist: what it has written of a message may come
   to light again, so the note comes first. */
static int
store_copy_guid(struct mail_save_context *ctx, struct mail *mail,
		struct lmtp_delivery *delivery)
{
	struct mailbox_transaction_context *trans = ctx->transaction;
	union mailbox_module_context *mbox = STORE_CONTEXT(trans->box);

	if (store_note(trans, delivery, mail, delivery->header->guid) < 0) {
		mailbox_save_cancel(&ctx);
		return -1;
	}
	mailbox_save_set_guid(ctx, delivery->header->guid);
	return mbox->super.copy(ctx, mail);
}

/* Maildir's file gets its name when it is written, and nobody sees it before
   the commit. */
static int
store_copy_file(struct mail_save_context *ctx, struct mail *mail,
		struct lmtp_delivery *delivery)
{
	struct mailbox_transaction_context *trans = ctx->transaction;
	union mailbox_module_context *mbox = STORE_CONTEXT(trans->box);
	const char *name;

	if (mbox->super.copy(ctx, mail) < 0 ||
	    mail_get_special(ctx->dest_mail, MAIL_FETCH_STORAGE_ID, &name) < 0)
		return -1;
	return store_note(trans, delivery, mail, name);
}

static int store_copy(struct mail_save_context *ctx, struct mail *mail)
{
	struct mailbox *box = ctx->transaction->box;
	union mailbox_module_context *mbox = STORE_CONTEXT(box);

	if (!store_is_delivery(box))
		return mbox->super.copy(ctx, mail);

	store_restore_metadata(ctx, store_delivery->header, mail);
	return lmtp_store_sets_guid(box) ?
		store_copy_guid(ctx, mail, store_delivery) :
		store_copy_file(ctx, mail, store_delivery);
}

static void
store_transaction_ended(struct mailbox_transaction_context *t, bool committed)
{
	struct lmtp_stored *stored;

	if (store_delivery == NULL)
		return;
	array_foreach_modifiable(&store_delivery->stored, stored) {
		if (stored->trans == t) {
			stored->trans = NULL;
			stored->committed = committed;
		}
	}
}

/* Sieve and LDA copy into all mailboxes before they commit the first: from now
   on what is noted is all there will be. */
static int store_note_commit(struct mailbox *box)
{
	struct lmtp_delivery *delivery = store_delivery;
	const char *error;

	if (!store_is_delivery(box) || delivery->committing)
		return 0;
	if (inflight_note_commit(delivery->inflight, delivery->header->slot,
				 &error) < 0) {
		mailbox_set_critical(box, "imapsync-pull: %s", error);
		return -1;
	}
	delivery->committing = TRUE;
	return 0;
}

static int
store_transaction_commit(struct mailbox_transaction_context *t,
			 struct mail_transaction_commit_changes *changes_r)
{
	union mailbox_module_context *mbox = STORE_CONTEXT(t->box);
	/* only compared: it is freed by the call */
	struct mailbox_transaction_context *old_t = t;
	int ret;

	if (store_note_commit(t->box) < 0) {
		mbox->super.transaction_rollback(t);
		store_transaction_ended(old_t, FALSE);
		return -1;
	}
	ret = mbox->super.transaction_commit(t, changes_r);
	store_transaction_ended(old_t, ret == 0);
	return ret;
}

static void
store_transaction_rollback(struct mailbox_transaction_context *t)
{
	union mailbox_module_context *mbox = STORE_CONTEXT(t->box);

	store_transaction_ended(t, FALSE);
	mbox->super.transaction_rollback(t);
}

void lmtp_store_mailbox_allocated(struct mailbox *box)
{
	struct mailbox_vfuncs *v = box->vlast;
	union mailbox_module_context *mbox;

	if (!store_is_delivery(box))
		return;
	mbox = p_new(box->pool, union mailbox_module_context, 1);
	mbox->super = *v;
	box->vlast = &mbox->super;
	v->copy = store_copy;
	v->transaction_commit = store_transaction_commit;
	v->transaction_rollback = store_transaction_rollback;
	MODULE_CONTEXT_SET_SELF(box, lmtp_store_module, mbox);
}

void lmtp_store_begin(struct lmtp_delivery *delivery)
{
	i_assert(store_delivery == NULL);

	p_array_init(&delivery->stored, delivery->ctx->pool, 2);
	store_delivery = delivery;
}

void lmtp_store_end(void)
{
	store_delivery = NULL;
}

unsigned int lmtp_store_count_committed(const struct lmtp_delivery *delivery)
{
	const struct lmtp_stored *stored;
	unsigned int count = 0;

	array_foreach(&delivery->stored, stored) {
		if (stored->committed)
			count++;
	}
	return count;
}
