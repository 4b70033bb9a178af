/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "ioloop.h"
#include "llist.h"
#include "randgen.h"
#include "dovecot-compat.h"
#include "redact.h"
#include "spool.h"
#include "sink-lmtp-private.h"

/* Hands messages to LMTP, each with a signed header, and takes the lmtp
   plugin's word in the in-flight file, not the server's 250, for done.

   A message's way: put -> its slot entered (many at once, one fdatasync) ->
   sent -> answered -> the slot read -> callback. All of it happens in
   lmtp_pump(), which runs from the main loop alone: no callback of lib-smtp
   or of ours is entered twice. */

/* put and not answered: enough to fill the usual pipelines twice. Then more is
   asked for, which is read in one piece and entered together. */
#define LMTP_PENDING_LOW 24
#define LMTP_PENDING_MAX (LMTP_PENDING_LOW + SINK_LMTP_BATCH)
/* connections that may fail one after the other */
#define LMTP_LOSSES_MAX 4
#define LMTP_HOLD_MSECS 100

static void lmtp_pump(struct sink_lmtp *lmtp);

static struct sink_lmtp *sink_lmtp_get(struct sink *sink)
{
	return container_of(sink, struct sink_lmtp, sink);
}

/*
 * Answers
 */

static void item_free(struct lmtp_item *item)
{
	DLLIST2_REMOVE(&item->lmtp->items_head, &item->lmtp->items_tail, item);
	timeout_remove(&item->to_delay);
	i_free(item);
}

static void
item_answer(struct lmtp_item *item, const struct sink_outcome *outcome)
{
	struct sink_message *message = item->message;
	struct sink *sink = &item->lmtp->sink;

	item_free(item);
	sink_answer(sink, message, outcome);
}

/* Nothing was stored, nothing will be: the slot is of no more use. */
static void item_release_slot(struct lmtp_item *item)
{
	struct sink_lmtp *lmtp = item->lmtp;
	struct inflight_slot slot;
	const char *error;

	if (item->slot >= INFLIGHT_SLOTS || item->retry)
		return;
	if (inflight_read(lmtp->set.inflight, item->slot,
			  pool_datastack_create(), &slot, &error) == 0 &&
	    slot.state == INFLIGHT_ENTERED && slot.store_count == 0 &&
	    inflight_free(lmtp->set.inflight, item->slot, &error) == 0)
		lmtp->slots[item->slot].used = FALSE;
}

static void
item_fail(struct lmtp_item *item, enum sink_result result,
	  enum reply_class class, const char *text, bool stop)
{
	struct sink_outcome outcome = {
		.result = result,
		.class = class,
		.text = text,
		.stop = stop,
	};

	item_answer(item, &outcome);
}

static void
item_done(struct lmtp_item *item, const struct inflight_slot *slot)
{
	struct sink_outcome outcome = { .result = SINK_DONE };

	if (slot->store_count > 0) {
		outcome.mailbox = slot->stores[0].mailbox;
		outcome.guid = slot->stores[0].guid;
	}
	item_answer(item, &outcome);
}

/* What the server said, for people. */
static const char *item_text(const struct lmtp_item *item)
{
	return t_strdup_printf("LMTP %s: %s", item->lmtp->set.target,
			       redact_remote_text(item->answer.text, NULL));
}

static void
lmtp_stop(struct sink_lmtp *lmtp, enum reply_class class, const char *text)
{
	if (lmtp->stop_class != REPLY_CLASS_OK)
		return;
	lmtp->stop_class = class;
	lmtp->stop_text = p_strdup(lmtp->pool, text);
}

/*
 * Slots
 */

static bool
slot_is(const struct lmtp_slot *slot, uint64_t folder_hash,
	uint32_t uidvalidity, uint32_t uid)
{
	return slot->used && slot->uid == uid &&
		slot->uidvalidity == uidvalidity &&
		slot->folder_hash == folder_hash;
}

static struct lmtp_slot *
slot_find(struct sink_lmtp *lmtp, const char *remote_folder,
	  uint32_t uidvalidity, uint32_t uid)
{
	uint64_t hash = inflight_folder_hash(remote_folder);
	unsigned int i;

	for (i = 0; i < INFLIGHT_SLOTS; i++) {
		if (slot_is(&lmtp->slots[i], hash, uidvalidity, uid))
			return &lmtp->slots[i];
	}
	return NULL;
}

static struct lmtp_slot *slot_find_free(struct sink_lmtp *lmtp)
{
	unsigned int i;

	for (i = 0; i < INFLIGHT_SLOTS; i++) {
		if (!lmtp->slots[i].used)
			return &lmtp->slots[i];
	}
	return NULL;
}

/* What earlier runs left. */
static void slots_init(struct sink_lmtp *lmtp)
{
	struct inflight_slot slot;
	const char *error;
	unsigned int i;

	for (i = 0; i < INFLIGHT_SLOTS; i++) T_BEGIN {
		/* what makes no sense is overwritten */
		if (inflight_read(lmtp->set.inflight, i,
				  pool_datastack_create(),
				  &slot, &error) == 0 &&
		    slot.state != INFLIGHT_FREE) {
			lmtp->slots[i].used = TRUE;
			lmtp->slots[i].folder_hash = slot.folder_hash;
			lmtp->slots[i].uidvalidity = slot.uidvalidity;
			lmtp->slots[i].uid = slot.uid;
		}
	} T_END;
}

unsigned int sink_lmtp_free_slots(struct sink *sink)
{
	struct sink_lmtp *lmtp = sink_lmtp_get(sink);
	unsigned int i, count = 0;

	for (i = 0; i < INFLIGHT_SLOTS; i++) {
		if (!lmtp->slots[i].used)
			count++;
	}
	return count;
}

void sink_lmtp_settled(struct sink *sink, const char *remote_folder,
		       uint32_t uidvalidity, uint32_t uid)
{
	struct sink_lmtp *lmtp = sink_lmtp_get(sink);
	struct lmtp_slot *slot;
	const char *error;

	slot = slot_find(lmtp, remote_folder, uidvalidity, uid);
	if (slot == NULL)
		return;
	if (inflight_free(lmtp->set.inflight, slot - lmtp->slots,
			  &error) < 0) {
		/* the next run finds it done, and frees it */
		lmtp_stop(lmtp, REPLY_CLASS_LOCAL, error);
	} else {
		slot->used = FALSE;
	}
	lmtp_pump_later(lmtp);
}

static int item_enter(struct lmtp_item *item, bool keep, const char **error_r)
{
	struct lmtp_slot *slot = &item->lmtp->slots[item->slot];

	random_fill(&item->nonce, sizeof(item->nonce));
	return inflight_enter(item->lmtp->set.inflight, item->slot,
			      slot->folder_hash, slot->uidvalidity, slot->uid,
			      item->nonce, keep, error_r);
}

static int item_enter_new(struct lmtp_item *item, const char **error_r)
{
	const struct sink_message *message = item->message;
	struct lmtp_slot *slot = slot_find_free(item->lmtp);

	if (slot == NULL)
		return 0;
	slot->used = TRUE;
	slot->folder_hash = inflight_folder_hash(message->remote_folder);
	slot->uidvalidity = message->uidvalidity;
	slot->uid = message->uid;
	item->slot = slot - item->lmtp->slots;
	return item_enter(item, FALSE, error_r) < 0 ? -1 : 1;
}

static void
item_delay(struct lmtp_item *item, unsigned int msecs,
	   enum lmtp_item_state state_after);

/* A slot of this very message: some process may still be delivering it. */
static int item_enter_again(struct lmtp_item *item, const char **error_r)
{
	struct inflight *inflight = item->lmtp->set.inflight;
	struct inflight_slot slot;
	unsigned int msecs;
	int ret;

	ret = inflight_lock(inflight, item->slot, error_r);
	if (ret < 0)
		return -1;
	if (ret == 0) {
		msecs = lmtp_verdict_ghost_msecs(item->looks++);
		if (msecs != 0)
			item_delay(item, msecs, LMTP_ITEM_WAITING);
		else {
			item_fail(item, SINK_LATER, REPLY_CLASS_LOCAL,
				  "another process has been delivering this "
				  "message for minutes", FALSE);
		}
		return 0;
	}
	ret = inflight_read(inflight, item->slot, item->message->pool,
			    &slot, error_r);
	if (ret == 0 && slot.state == INFLIGHT_DONE) {
		inflight_unlock(inflight, item->slot);
		item_done(item, &slot);
		return 0;
	}
	item->retry = TRUE;
	/* a slot that cannot be read says nothing worth keeping */
	ret = item_enter(item, ret == 0, error_r);
	inflight_unlock(inflight, item->slot);
	return ret < 0 ? -1 : 1;
}

/* Returns 1 if entered, 0 if it must wait or was answered, -1 on error. */
static int item_prepare(struct lmtp_item *item, const char **error_r)
{
	const struct sink_message *message = item->message;
	struct lmtp_slot *slot = slot_find(item->lmtp, message->remote_folder,
					   message->uidvalidity, message->uid);

	if (slot == NULL)
		return item_enter_new(item, error_r);
	item->slot = slot - item->lmtp->slots;
	return item_enter_again(item, error_r);
}

/*
 * From put to sent
 */

static unsigned int
lmtp_count(struct sink_lmtp *lmtp, enum lmtp_item_state state)
{
	struct lmtp_item *item;
	unsigned int count = 0;

	for (item = lmtp->items_head; item != NULL; item = item->next) {
		if (item->state == state)
			count++;
	}
	return count;
}

/* Enter all that wait, and sync once. */
static void lmtp_enter_waiting(struct sink_lmtp *lmtp)
{
	struct lmtp_item *item, *next;
	const char *error = NULL;
	unsigned int entered = 0;
	int ret;

	for (item = lmtp->items_head; item != NULL; item = next) {
		next = item->next;
		if (item->state != LMTP_ITEM_WAITING)
			continue;
		ret = item_prepare(item, &error);
		if (ret < 0) {
			lmtp_stop(lmtp, REPLY_CLASS_LOCAL, error);
			return;
		}
		if (ret > 0) {
			item->state = LMTP_ITEM_READY;
			entered++;
		}
	}
	if (entered > 0 && inflight_sync(lmtp->set.inflight, &error) < 0)
		lmtp_stop(lmtp, REPLY_CLASS_LOCAL, error);
}

/* A message that may have been stored goes alone, and first. What a killed
   process left may have its mailbox rebuilt, and mdbox's rebuild takes the
   half of a message that another process is just storing for a whole one. */
static bool lmtp_is_in_doubt(struct sink_lmtp *lmtp)
{
	struct lmtp_item *item;

	for (item = lmtp->items_head; item != NULL; item = item->next) {
		if (item->retry)
			return TRUE;
	}
	return FALSE;
}

static unsigned int lmtp_window(struct sink_lmtp *lmtp, bool in_doubt)
{
	/* the first goes alone, too: it finds out what is wrong for all */
	return lmtp->proven && !in_doubt ?
		lmtp->set.connections * LMTP_PIPELINE : 1;
}

static void lmtp_send_ready(struct sink_lmtp *lmtp)
{
	unsigned int sent = lmtp_count(lmtp, LMTP_ITEM_SENT);
	bool in_doubt = lmtp_is_in_doubt(lmtp);
	struct lmtp_item *item, *next;
	const char *error;
	int ret;

	for (item = lmtp->items_head; item != NULL; item = next) {
		next = item->next;
		if (item->state != LMTP_ITEM_READY ||
		    (in_doubt && !item->retry))
			continue;
		if (sent >= lmtp_window(lmtp, in_doubt))
			break;
		ret = lmtp_conn_send(item, &error);
		if (ret == 0)
			break;
		if (ret > 0)
			sent++;
		else {
			item_release_slot(item);
			item_fail(item, SINK_REFUSED, REPLY_CLASS_MESSAGE,
				  error, FALSE);
		}
	}
}

/* All slots hold messages that nobody settles: say so, rather than wait. */
static void lmtp_check_slots(struct sink_lmtp *lmtp)
{
	if (lmtp_count(lmtp, LMTP_ITEM_WAITING) > 0 &&
	    lmtp_count(lmtp, LMTP_ITEM_WAITING) == lmtp->sink.pending) {
		lmtp_stop(lmtp, REPLY_CLASS_LOCAL,
			  "the in-flight file is full");
	}
}

/*
 * From answered to callback
 */

static void item_delay_over(struct lmtp_item *item)
{
	timeout_remove(&item->to_delay);
	item->state = item->state_after_delay;
	lmtp_pump_later(item->lmtp);
}

static void
item_delay(struct lmtp_item *item, unsigned int msecs,
	   enum lmtp_item_state state_after)
{
	item->state = LMTP_ITEM_DELAYED;
	item->state_after_delay = state_after;
	item->to_delay = timeout_add_short(msecs, item_delay_over, item);
}

static void item_accepted(struct lmtp_item *item)
{
	struct sink_lmtp *lmtp = item->lmtp;
	struct inflight_slot slot;
	const char *error;

	if (inflight_read(lmtp->set.inflight, item->slot, item->message->pool,
			  &slot, &error) < 0) {
		lmtp_stop(lmtp, REPLY_CLASS_LOCAL, error);
		item_fail(item, SINK_LATER, REPLY_CLASS_LOCAL, error, TRUE);
	} else if (slot.state == INFLIGHT_DONE && slot.nonce == item->nonce) {
		lmtp->proven = TRUE;
		lmtp->losses = 0;
		item_done(item, &slot);
	} else {
		error = t_strdup_printf("LMTP %s accepted a message, but our "
			"plugin did not see it: is imapsync_pull in "
			"mail_plugins of protocol lmtp?", lmtp->set.target);
		lmtp_stop(lmtp, REPLY_CLASS_CONFIG, error);
		item_fail(item, SINK_HANDED_OVER, REPLY_CLASS_CONFIG, error,
			  TRUE);
	}
}

static bool item_is_lost(const struct lmtp_item *item)
{
	return item->state == LMTP_ITEM_ANSWERED &&
		item->answer.step == LMTP_STEP_LOST;
}

static void lmtp_hold_over(struct sink_lmtp *lmtp)
{
	lmtp->holding = FALSE;
	lmtp_pump(lmtp);
}

/* A moment of rest before the next connection. Returns FALSE if there were
   too many already. */
static bool lmtp_hold(struct sink_lmtp *lmtp)
{
	if (++lmtp->losses > LMTP_LOSSES_MAX)
		return FALSE;
	lmtp->holding = TRUE;
	timeout_remove(&lmtp->to_pump);
	lmtp->to_pump = timeout_add_short(LMTP_HOLD_MSECS << lmtp->losses,
					  lmtp_hold_over, lmtp);
	return TRUE;
}

/* Of what was lost with a connection only the message that the server was
   busy with can be the reason: the first. */
static void lmtp_conn_suspect(struct lmtp_conn *conn)
{
	struct lmtp_item *item, *first = NULL;

	for (item = conn->lmtp->items_head; item != NULL; item = item->next) {
		if (item->conn != conn || !item_is_lost(item))
			continue;
		item->suspect = FALSE;
		if (first == NULL || item->sent_seq < first->sent_seq)
			first = item;
	}
	if (first != NULL && !conn->dropped)
		first->suspect = TRUE;
}

void lmtp_conn_closed(struct lmtp_conn *conn)
{
	struct sink_lmtp *lmtp = conn->lmtp;
	const char *why = conn->refused != NULL ? conn->refused :
		"connection lost";

	if (lmtp->closing)
		return;
	lmtp_conn_suspect(conn);
	if (!conn->dropped && !lmtp->holding && !lmtp_hold(lmtp)) T_BEGIN {
		lmtp_stop(lmtp, REPLY_CLASS_LOCAL, t_strdup_printf(
			"LMTP %s: %s", lmtp->set.target,
			redact_remote_text(why, NULL)));
	} T_END;
}

static void item_lost(struct lmtp_item *item)
{
	struct lmtp_verdict verdict;

	item->retry = TRUE;
	item->state = LMTP_ITEM_WAITING;
	if (!item->suspect)
		return;
	lmtp_verdict_get(&item->answer, &verdict);
	item->answer.tries++;
	if (verdict.action == LMTP_ACTION_LATER) {
		item_fail(item, SINK_LATER, verdict.class, item_text(item),
			  FALSE);
	}
}

static void
item_act(struct lmtp_item *item, const struct lmtp_verdict *verdict)
{
	switch (verdict->action) {
	case LMTP_ACTION_ACCEPTED:
		item_accepted(item);
		break;
	case LMTP_ACTION_WAIT_GHOST:
		item->retry = TRUE;
		item_delay(item, verdict->wait_msecs, LMTP_ITEM_WAITING);
		break;
	case LMTP_ACTION_AGAIN:
		item->answer.tries++;
		item_delay(item, verdict->wait_msecs, LMTP_ITEM_READY);
		break;
	case LMTP_ACTION_NO_SENDER:
		item->answer.no_sender = TRUE;
		item->state = LMTP_ITEM_READY;
		break;
	case LMTP_ACTION_RETRY:
		item->answer.tries++;
		item->retry = TRUE;
		item_delay(item, verdict->wait_msecs, LMTP_ITEM_WAITING);
		break;
	case LMTP_ACTION_LATER:
		item_release_slot(item);
		item_fail(item, SINK_LATER, verdict->class, item_text(item),
			  FALSE);
		break;
	case LMTP_ACTION_REFUSED:
		item_fail(item, SINK_REFUSED, verdict->class, item_text(item),
			  FALSE);
		break;
	case LMTP_ACTION_STOP:
		lmtp_stop(item->lmtp, verdict->class, item_text(item));
		item_release_slot(item);
		item_fail(item, SINK_LATER, verdict->class, item_text(item),
			  TRUE);
		break;
	}
}

static void lmtp_settle_answered(struct sink_lmtp *lmtp)
{
	struct lmtp_item *item, *next;
	struct lmtp_verdict verdict;

	for (item = lmtp->items_head; item != NULL; item = next) {
		next = item->next;
		if (item->state != LMTP_ITEM_ANSWERED)
			continue;
		T_BEGIN {
			if (item_is_lost(item))
				item_lost(item);
			else {
				lmtp_verdict_get(&item->answer, &verdict);
				item_act(item, &verdict);
			}
		} T_END;
	}
}

/* Everything that is not with the server goes back. */
static void lmtp_give_back(struct sink_lmtp *lmtp)
{
	struct lmtp_item *item, *next;

	for (item = lmtp->items_head; item != NULL; item = next) {
		next = item->next;
		if (item->state == LMTP_ITEM_SENT ||
		    item->state == LMTP_ITEM_ANSWERED)
			continue;
		item_release_slot(item);
		item_fail(item, SINK_LATER, lmtp->stop_class, lmtp->stop_text,
			  TRUE);
	}
}

/*
 * The sink
 */

static void lmtp_pump(struct sink_lmtp *lmtp)
{
	timeout_remove(&lmtp->to_pump);
	lmtp_conns_reap(lmtp);
	lmtp_settle_answered(lmtp);
	if (lmtp->stop_class != REPLY_CLASS_OK) {
		lmtp_give_back(lmtp);
		return;
	}
	if (lmtp->holding)
		return;
	if (lmtp_count(lmtp, LMTP_ITEM_READY) < lmtp->set.connections ||
	    lmtp_is_in_doubt(lmtp))
		lmtp_enter_waiting(lmtp);
	if (lmtp->stop_class == REPLY_CLASS_OK &&
	    lmtp_count(lmtp, LMTP_ITEM_READY) > 0) {
		lmtp_conns_open(lmtp, lmtp_is_in_doubt(lmtp) ?
				1 : lmtp->sink.pending);
		lmtp_send_ready(lmtp);
	}
	lmtp_check_slots(lmtp);
	if (lmtp->stop_class != REPLY_CLASS_OK)
		lmtp_give_back(lmtp);
}

void lmtp_pump_later(struct sink_lmtp *lmtp)
{
	if (lmtp->to_pump == NULL && !lmtp->closing)
		lmtp->to_pump = timeout_add_short(0, lmtp_pump, lmtp);
}

static void lmtp_put(struct sink *sink, struct sink_message *message)
{
	struct sink_lmtp *lmtp = sink_lmtp_get(sink);
	struct lmtp_item *item = i_new(struct lmtp_item, 1);

	item->lmtp = lmtp;
	item->message = message;
	item->slot = INFLIGHT_SLOTS;
	item->retry = message->retry;
	item->answer.text = "";
	DLLIST2_APPEND(&lmtp->items_head, &lmtp->items_tail, item);
	lmtp_pump_later(lmtp);
}

static bool lmtp_has_room(struct sink *sink)
{
	struct sink_lmtp *lmtp = sink_lmtp_get(sink);

	if (sink->pending >= LMTP_PENDING_MAX)
		lmtp->full = TRUE;
	else if (sink->pending <= LMTP_PENDING_LOW)
		lmtp->full = FALSE;
	return !lmtp->full;
}

static void lmtp_flush(struct sink *sink)
{
	lmtp_pump_later(sink_lmtp_get(sink));
}

static void lmtp_deinit(struct sink *sink)
{
	struct sink_lmtp *lmtp = sink_lmtp_get(sink);

	lmtp->closing = TRUE;
	timeout_remove(&lmtp->to_pump);
	lmtp_conns_deinit(lmtp);
	while (lmtp->items_head != NULL) {
		item_fail(lmtp->items_head, SINK_LATER, REPLY_CLASS_STOPPED,
			  "the run ended before LMTP had answered", TRUE);
	}
	timeout_remove(&lmtp->to_pump);
	event_unref(&lmtp->event);
	pool_unref(&lmtp->pool);
}

static const struct sink_vfuncs lmtp_vfuncs = {
	.put = lmtp_put,
	.has_room = lmtp_has_room,
	.flush = lmtp_flush,
	.deinit = lmtp_deinit,
};

struct sink *sink_lmtp_init(const struct sink_lmtp_settings *set,
			    sink_callback_t *callback, void *context)
{
	pool_t pool = pool_alloconly_create("sink lmtp", 8192);
	struct sink_lmtp *lmtp = p_new(pool, struct sink_lmtp, 1);

	lmtp->pool = pool;
	lmtp->sink.v = &lmtp_vfuncs;
	lmtp->sink.callback = callback;
	lmtp->sink.context = context;
	lmtp->set = *set;
	lmtp->stop_class = REPLY_CLASS_OK;
	lmtp->event = event_create(set->event_parent);
	slots_init(lmtp);
	lmtp_conns_init(lmtp);
	return &lmtp->sink;
}
