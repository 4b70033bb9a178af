/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "str.h"
#include "module-dir.h"
#include "master-service.h"
#include "mail-namespace.h"
#include "mail-storage-private.h"
#include "mail-storage-hooks.h"
#include "mail-deliver.h"
#include "dovecot-compat.h"
#include "redact.h"
#include "core/lmtp-verdict.h"
#include "core/trace-header.h"
#include "imapsync-settings.h"
#include "lmtp-key.h"
#include "lmtp-source.h"
#include "lmtp-store.h"
#include "lmtp-retry.h"
#include "lmtp-door.h"
#include "login-door.h"

const char *imapsync_pull_plugin_version = DOVECOT_ABI_VERSION;

struct door_user {
	union mail_user_module_context module_ctx;
};

static MODULE_CONTEXT_DEFINE_INIT(door_user_module,
				  &mail_user_module_register);
#define DOOR_USER_CONTEXT(obj) \
	MODULE_CONTEXT(obj, door_user_module)

static deliver_mail_func_t *next_deliver_mail;
/* only the lmtp process has a key and delivers */
static bool door_open = FALSE;

static int
deliver_next(struct mail_deliver_context *ctx, struct mail_storage **storage_r)
{
	/* 0 = nobody cared: LDA saves to the default mailbox */
	return next_deliver_mail == NULL ? 0 :
		next_deliver_mail(ctx, storage_r);
}

static bool
delivery_tempfailed(struct mail_deliver_context *ctx,
		    struct mail_storage *storage)
{
	enum mail_error error = MAIL_ERROR_NONE;

	if (ctx->tempfail_error != NULL)
		return TRUE;
	if (storage != NULL)
		(void)mail_storage_get_last_error(storage, &error);
	return error == MAIL_ERROR_TEMP;
}

static int
delivery_fail(struct mail_deliver_context *ctx, const char *reply)
{
	ctx->tempfail_error = p_strdup(ctx->pool, reply);
	/* what was saved is found when the message comes again */
	ctx->saved_mail = FALSE;
	return -1;
}

/*
 * A header that is not ours
 */

/* Stripped, and otherwise as LDA would: it must not get its hands on the
   original, so its own fall-back is done here. */
static int
deliver_untrusted(struct mail_deliver_context *ctx,
		  const struct lmtp_place *place,
		  struct mail_storage **storage_r)
{
	struct lmtp_source source;
	int ret;

	lmtp_source_replace(&source, ctx, place, NULL);
	ret = deliver_next(ctx, storage_r);
	if (ret <= 0 && !ctx->saved_mail && !ctx->tried_default_save &&
	    !delivery_tempfailed(ctx, *storage_r)) {
		ret = mail_deliver_save(ctx, ctx->rcpt_default_mailbox, 0,
					NULL, storage_r) < 0 ? -1 : 1;
	}
	lmtp_source_restore(&source);
	return ret;
}

/*
 * A pulled message
 */

static int target_create(struct mailbox *box, const char **error_r)
{
	enum mail_error error;

	if (mailbox_create(box, NULL, FALSE) < 0) {
		*error_r = mailbox_get_last_internal_error(box, &error);
		if (error != MAIL_ERROR_EXISTS)
			return -1;
	}
	if (mailbox_set_subscribed(box, TRUE) < 0) {
		*error_r = mailbox_get_last_internal_error(box, NULL);
		return -1;
	}
	return 0;
}

/* A keep into a mailbox that is missing would fail unless
   lda_mailbox_autocreate is set, and its default is no. */
static int target_ensure(struct mail_deliver_context *ctx, const char *vname,
			 const char **error_r)
{
	enum mailbox_existence existence;
	struct mailbox *box;
	int ret = 0;

	if (strcasecmp(vname, "INBOX") == 0)
		return 0;
	box = mailbox_alloc_for_user(ctx->rcpt_user, vname, 0);
	if (mailbox_exists(box, TRUE, &existence) < 0) {
		*error_r = mailbox_get_last_internal_error(box, NULL);
		ret = -1;
	} else if (existence != MAILBOX_EXISTENCE_SELECT) {
		ret = target_create(box, error_r);
	}
	if (ret < 0)
		*error_r = t_strdup_printf("%s: %s", vname, *error_r);
	mailbox_free(&box);
	return ret;
}

/* Let scripts run, and see to it that what they keep is kept. */
static int
delivery_run(struct lmtp_delivery *delivery, struct mail_storage **storage_r)
{
	struct mail_deliver_context *ctx = delivery->ctx;
	const struct trace_header *header = delivery->header;
	bool quiet_loss;
	int ret;

	ret = deliver_next(ctx, storage_r);
	if (lmtp_store_count_committed(delivery) > 0)
		return 1;
	/* A script that stored nothing did so on purpose: it is the user's
	   word for new mail, but history is not to vanish by a redirect that
	   was silenced. */
	quiet_loss = ret > 0 && header->nofx;
	if ((ret <= 0 && !ctx->tried_default_save &&
	     !delivery_tempfailed(ctx, *storage_r)) || quiet_loss) {
		ret = mail_deliver_save(ctx, header->mailbox, header->flags,
					header->keywords, storage_r) < 0 ?
			-1 : 1;
	}
	return ret;
}

/* Keep LDA from storing the message, with our header in it and without flags,
   into INBOX after all; it still says what went wrong. */
static int
delivery_run_failed(struct mail_deliver_context *ctx,
		    struct mail_storage *storage)
{
	enum mail_error error = MAIL_ERROR_TEMP;
	const char *errstr = "Delivery failed";

	if (storage != NULL)
		errstr = mail_storage_get_last_error(storage, &error);
	if (error != MAIL_ERROR_NOQUOTA && ctx->tempfail_error == NULL)
		return delivery_fail(ctx, errstr);
	ctx->tried_default_save = TRUE;
	ctx->rcpt_default_mailbox = "INBOX";
	ctx->saved_mail = FALSE;
	return -1;
}

static int
delivery_done(struct lmtp_delivery *delivery,
	      const struct inflight_store *stores, unsigned int count)
{
	const char *error;

	if (inflight_done(delivery->inflight, delivery->header->slot,
			  stores, count, &error) == 0)
		return 1;
	e_error(delivery->ctx->event, "imapsync-pull: %s", error);
	return delivery_fail(delivery->ctx, "Temporary internal error");
}

/* Leave out of the slot what was noted but rolled back. */
static int delivery_done_committed(struct lmtp_delivery *delivery)
{
	ARRAY(struct inflight_store) stores;
	const struct lmtp_stored *stored;

	if (delivery->slot.store_count == 0 &&
	    lmtp_store_count_committed(delivery) ==
	    array_count(&delivery->stored))
		return delivery_done(delivery, NULL, 0);

	t_array_init(&stores, 4);
	array_foreach(&delivery->stored, stored) {
		if (stored->committed)
			array_push_back(&stores, &stored->store);
	}
	if (array_count(&stores) == 0) {
		/* NULL would mean all of them */
		array_append_zero(&stores);
		return delivery_done(delivery, array_front(&stores), 0);
	}
	return delivery_done(delivery, array_front(&stores),
			     array_count(&stores));
}

static int
delivery_execute(struct lmtp_delivery *delivery, bool look,
		 struct mail_storage **storage_r)
{
	struct mail_deliver_context *ctx = delivery->ctx;
	const struct inflight_store *stores;
	unsigned int count;
	const char *error;
	int ret;

	lmtp_store_begin(delivery);
	ret = delivery_run(delivery, storage_r);
	lmtp_store_end();
	if (ret <= 0)
		return delivery_run_failed(ctx, *storage_r);
	if (!look)
		return delivery_done_committed(delivery);

	if (lmtp_retry_dedupe(delivery, &stores, &count, &error) < 0) {
		e_error(ctx->event, "imapsync-pull: %s", error);
		return delivery_fail(ctx, "Temporary internal error");
	}
	return delivery_done(delivery, stores, count);
}

/* Returns 1 if it is stored already and that is all, 0 if not, -1 on error. */
static int delivery_look(struct lmtp_delivery *delivery)
{
	const struct inflight_store *stores;
	unsigned int count;
	const char *error;
	int ret;

	ret = lmtp_retry_find(delivery, &stores, &count, &error);
	if (ret > 0) {
		e_info(delivery->ctx->event,
		       "imapsync-pull: was stored before");
		return delivery_done(delivery, stores, count);
	}
	if (ret < 0) {
		e_error(delivery->ctx->event, "imapsync-pull: %s", error);
		return delivery_fail(delivery->ctx,
				     "Temporary internal error");
	}
	return 0;
}

/* The slot is ours: do the delivery. */
static int
delivery_claimed(struct lmtp_delivery *delivery,
		 struct mail_storage **storage_r)
{
	const char *error;
	/* a script may have been interrupted, whoever tells us */
	bool look = delivery->header->retry ||
		delivery->slot.state == INFLIGHT_STORING ||
		delivery->slot.store_count > 0;
	int ret;

	if (look && (ret = delivery_look(delivery)) != 0)
		return ret;
	if (target_ensure(delivery->ctx, delivery->header->mailbox,
			  &error) < 0) {
		e_error(delivery->ctx->event,
			"imapsync-pull: cannot create mailbox %s", error);
		return delivery_fail(delivery->ctx, "Cannot create mailbox");
	}
	delivery->ctx->rcpt_default_mailbox = delivery->header->mailbox;
	return delivery_execute(delivery, look, storage_r);
}

static int
delivery_with_source(struct lmtp_delivery *delivery,
		     const struct lmtp_place *place,
		     struct mail_storage **storage_r)
{
	struct lmtp_source source;
	int ret;

	lmtp_source_replace(&source, delivery->ctx, place, delivery->header);
	delivery->src_mail = source.mail;
	delivery->size_changed = place->others_above;
	ret = delivery_claimed(delivery, storage_r);
	lmtp_source_restore(&source);
	return ret;
}

static bool
slot_matches(const struct inflight_slot *slot,
	     const struct trace_header *header)
{
	return slot->state != INFLIGHT_FREE && slot->nonce == header->nonce &&
		slot->uid == header->uid &&
		slot->uidvalidity == header->uidvalidity &&
		slot->folder_hash ==
			inflight_folder_hash(header->remote_folder);
}

static int
delivery_not_in_flight(struct mail_deliver_context *ctx, const char *why)
{
	e_warning(ctx->event, "imapsync-pull: a signed message is not in "
		  "flight: %s", why);
	return delivery_fail(ctx, LMTP_DOOR_REPLY_NOT_IN_FLIGHT);
}

/* Returns 1 = locked and to be delivered, 0 = it was delivered, -1 = refused */
static int delivery_claim(struct lmtp_delivery *delivery)
{
	struct mail_deliver_context *ctx = delivery->ctx;
	const struct trace_header *header = delivery->header;
	const char *error;
	int ret;

	if (header->slot >= INFLIGHT_SLOTS)
		return delivery_not_in_flight(ctx, "no such slot");
	ret = inflight_lock(delivery->inflight, header->slot, &error);
	if (ret == 0)
		return delivery_fail(ctx, LMTP_DOOR_REPLY_BUSY);
	if (ret < 0 || inflight_read(delivery->inflight, header->slot,
				     ctx->pool, &delivery->slot, &error) < 0)
		return delivery_not_in_flight(ctx, error);
	if (!slot_matches(&delivery->slot, header))
		return delivery_not_in_flight(ctx, "its slot holds another");
	return delivery->slot.state == INFLIGHT_DONE ? 0 : 1;
}

static int
deliver_pulled(struct mail_deliver_context *ctx,
	       const struct lmtp_place *place,
	       const struct trace_header *header,
	       struct mail_storage **storage_r)
{
	struct lmtp_delivery delivery = { .ctx = ctx, .header = header };
	const struct imapsync_settings *set;
	const char *path, *error;
	int ret;

	if (ctx->save_dest_mail) {
		/* the MAC names one user */
		return delivery_fail(ctx,
			"imapsync-pull: one recipient per transaction");
	}
	if (imapsync_settings_for_user(ctx->rcpt_user, &set, &error) < 0)
		return delivery_not_in_flight(ctx, error);
	path = inflight_path(set->imapsync_pull_state_dir, header->source_id);
	if (inflight_open(path, FALSE, &delivery.inflight, &error) < 0)
		return delivery_not_in_flight(ctx, error);
	ret = delivery_claim(&delivery);
	if (ret > 0)
		ret = delivery_with_source(&delivery, place, storage_r);
	else if (ret == 0) {
		e_info(ctx->event, "imapsync-pull: was delivered before");
		ret = 1;
	}
	/* drops the lock */
	inflight_close(&delivery.inflight);
	return ret;
}

/*
 * Hooks
 */

static int
deliver_with_header(struct mail_deliver_context *ctx,
		    const struct lmtp_place *place,
		    struct mail_storage **storage_r)
{
	struct trace_header header;
	const unsigned char *key;
	const char *error;
	bool again;

	key = lmtp_key_get(&again, &error);
	if (again)
		return delivery_fail(ctx, LMTP_DOOR_REPLY_KEY);
	if (key == NULL) {
		e_error(ctx->event, "imapsync-pull: "
			"Cannot tell whether a message is ours: %s", error);
		return deliver_untrusted(ctx, place, storage_r);
	}
	if (trace_header_read(ctx->pool, place->value,
			      ctx->rcpt_user->username, key,
			      &header, &error) < 0) {
		e_warning(ctx->event, "imapsync-pull: Header ignored: %s",
			  redact_remote_text(error, NULL));
		return deliver_untrusted(ctx, place, storage_r);
	}
	return deliver_pulled(ctx, place, &header, storage_r);
}

static int
door_deliver_mail(struct mail_deliver_context *ctx,
		  struct mail_storage **storage_r)
{
	struct lmtp_place place;

	if (DOOR_USER_CONTEXT(ctx->rcpt_user) == NULL ||
	    !lmtp_source_find(ctx->src_mail, &place))
		return deliver_next(ctx, storage_r);
	return deliver_with_header(ctx, &place, storage_r);
}

static void door_mail_user_created(struct mail_user *user)
{
	struct door_user *duser;

	if (!door_open)
		return;
	duser = p_new(user->pool, struct door_user, 1);
	MODULE_CONTEXT_SET(user, door_user_module, duser);

	/* Sieve never calls the hook it replaced. If it was loaded after us,
	   by a user's own mail_plugins, we are out: come first again. */
	if (deliver_mail != door_deliver_mail)
		next_deliver_mail = mail_deliver_hook_set(door_deliver_mail);
}

static struct mail_storage_hooks door_hooks = {
	.mail_user_created = door_mail_user_created,
	.mailbox_allocated = lmtp_store_mailbox_allocated,
	.mail_allocated = lmtp_source_mail_allocated,
};

void imapsync_pull_plugin_init(struct module *module)
{
	const struct imapsync_settings *set;
	const char *error;

	login_door_init(module);
	/* harmless elsewhere: mail_plugins may be global */
	if (strcmp(master_service_get_name(master_service), "lmtp") != 0)
		return;
	/* Modules are loaded before privileges are dropped: now or never. */
	if (imapsync_settings_read(master_service, &set, &error) < 0) {
		i_error("imapsync-pull: %s", error);
		return;
	}
	lmtp_key_init(set->imapsync_pull_header_key_file);
	next_deliver_mail = mail_deliver_hook_set(door_deliver_mail);
	mail_storage_hooks_add(module, &door_hooks);
	door_open = TRUE;
}

void imapsync_pull_plugin_deinit(void)
{
	login_door_deinit();
	if (!door_open)
		return;
	mail_storage_hooks_remove(&door_hooks);
	if (deliver_mail == door_deliver_mail)
		(void)mail_deliver_hook_set(next_deliver_mail);
	lmtp_key_deinit();
	door_open = FALSE;
}
