/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "ioloop.h"
#include "mail-namespace.h"
#include "mail-storage-private.h"
#include "mail-storage-settings.h"
#include "mail-user.h"
#include "redact.h"
#include "spool.h"
#include "core/trace-header.h"
#include "pull-private.h"

/* Messages on their way from the source into a sink, and what the database
   says of them. The order is always: stored, durable, row committed, slot
   freed. */

#define DIRECT_BATCH_MESSAGES 1000
#define DIRECT_BATCH_BYTES (64*1024*1024)
/* LMTP: so many slots that wait for a commit are worth one, when the sink is
   about to run out of them */
#define UNSETTLED_MIN 32
/* direct save: an uncommitted row costs one look at the mailbox, not a mail */
#define UNCOMMITTED_MAX 2000

/* what the callback needs once the sink has let go of the spool */
struct pull_message {
	struct pull_folder *folder;
	const struct sync_message *listed;
	uoff_t size;
	unsigned char hash[SPOOL_HASH_SIZE];
	enum sync_via via;
};

/*
 * Rows
 */

int pull_store_commit(struct pull *pull)
{
	const struct pull_unsettled *unsettled;

	if (pull->set.dry_run)
		return 0;
	if (state_db_commit(pull->db) < 0)
		return pull_db_failed(pull);
	pull->uncommitted = 0;
	array_foreach(&pull->unsettled, unsettled) {
		if (pull->lmtp == NULL)
			break;
		sink_lmtp_settled(pull->lmtp, unsettled->remote_folder,
				  unsettled->uidvalidity, unsettled->uid);
	}
	array_clear(&pull->unsettled);
	return 0;
}

/* Some may be taken by what a killed run left in other folders: then there are
   not many, but whatever waits for the last one gets it. */
static bool pull_slots_are_short(struct pull *pull)
{
	unsigned int free_slots, unsettled = array_count(&pull->unsettled);

	if (unsettled == 0 || pull->lmtp == NULL)
		return FALSE;
	free_slots = sink_lmtp_free_slots(pull->lmtp);
	return free_slots == 0 || (unsettled >= UNSETTLED_MIN &&
				   free_slots < SINK_LMTP_BATCH);
}

static int pull_store_row(struct pull *pull, int64_t folder_id,
			  const struct state_message *row)
{
	if (state_db_message_put(pull->db, folder_id, row) < 0)
		return pull_db_failed(pull);
	if (++pull->uncommitted < UNCOMMITTED_MAX &&
	    !pull_slots_are_short(pull))
		return 0;
	return pull_store_commit(pull);
}

static void pull_row_init(const struct sync_message *message,
			  enum sync_known_state state,
			  struct state_message *row_r)
{
	i_zero(row_r);
	row_r->uid = message->uid;
	row_r->state = state;
	row_r->flags = message->flags;
	row_r->keywords = message->keywords;
	row_r->size = message->size;
}

int pull_store_settle(struct pull_folder *folder,
		      const struct sync_message *message,
		      enum sync_known_state state, const char *reason)
{
	struct state_message row;

	pull_row_init(message, state, &row);
	row.reason = reason;
	return pull_store_row(folder->pull, folder->state.id, &row);
}

int pull_store_refused(struct pull_folder *folder,
		       const struct sync_message *message,
		       time_t refused_since, const char *reason)
{
	struct state_message row;

	pull_row_init(message, SYNC_KNOWN_REFUSED, &row);
	row.reason = reason;
	row.refused_since = refused_since;
	return pull_store_row(folder->pull, folder->state.id, &row);
}

int pull_store_adopt(struct pull_folder *folder,
		     const struct sync_message *message,
		     const char *mailbox, const struct local_mail *mail,
		     const unsigned char *hash)
{
	struct state_message row;

	pull_row_init(message, SYNC_KNOWN_DONE, &row);
	row.mailbox = mailbox;
	row.guid = mail->guid;
	row.local_uid = mail->uid;
	if (hash != NULL) {
		memcpy(row.hash, hash, SPOOL_HASH_SIZE);
		row.has_hash = TRUE;
	}
	folder->pull->result.counts.adopted++;
	return pull_store_row(folder->pull, folder->state.id, &row);
}

/*
 * Answers of the sinks
 */

static const char *
pull_message_error(const struct pull_message *message, const char *text)
{
	return t_strdup_printf("UID %u: %s", message->listed->uid, text);
}

/* LMTP does not tell: the mail's UID is at least this, which is enough to know
   what a restored mailbox has lost. */
static void pull_row_local_uid(const struct state_folder *folder,
			       struct state_message *row)
{
	if (row->local_uid == 0 && row->mailbox == NULL)
		row->local_uid = folder->local_uidnext;
}

static void pull_row_where(struct pull_folder *folder,
			   const struct sink_outcome *outcome,
			   struct state_message *row)
{
	if (outcome->mailbox != NULL &&
	    strcmp(outcome->mailbox, folder->mapped->local_name) != 0)
		row->mailbox = outcome->mailbox;
	row->guid = outcome->guid;
	row->local_uid = outcome->local_uid;
	pull_row_local_uid(&folder->state, row);
}

/* For whoever counts messages. result: "stored" or a class's name. */
static void pull_message_event(struct pull_folder *folder,
			       const struct pull_message *message,
			       const char *result)
{
	struct event_passthrough *e =
		event_create_passthrough(folder->pull->set.event)->
		set_name("imapsync_pull_message_finished")->
		add_str("result", result)->
		add_str("via", message->via == SYNC_VIA_DIRECT ?
			"direct" : "lmtp")->
		add_int("bytes", message->listed->size);

	e_debug(e->event(), "UID %u finished: %s", message->listed->uid,
		result);
}

static void pull_count_stored(struct pull_folder *folder,
			      const struct pull_message *message)
{
	struct pull_counts *counts = &folder->pull->result.counts;

	pull_message_event(folder, message, "stored");
	counts->stored++;
	if (message->via == SYNC_VIA_DIRECT)
		counts->direct++;
	else {
		counts->lmtp++;
		folder->lmtp_stored = TRUE;
	}
}

static void pull_slot_unsettled(struct pull_folder *folder,
				const struct pull_message *message)
{
	struct pull_unsettled *unsettled;

	if (message->via == SYNC_VIA_DIRECT)
		return;
	unsettled = array_append_space(&folder->pull->unsettled);
	unsettled->remote_folder = folder->remote->listed.remote_name;
	unsettled->uidvalidity = folder->status.uidvalidity;
	unsettled->uid = message->listed->uid;
}

static int
pull_message_settled(struct pull_folder *folder,
		     const struct pull_message *message,
		     const struct sink_outcome *outcome,
		     enum sync_known_state state, const char *reason)
{
	struct state_message row;

	pull_row_init(message->listed, state, &row);
	row.reason = reason;
	row.has_hash = TRUE;
	memcpy(row.hash, message->hash, SPOOL_HASH_SIZE);
	if (state == SYNC_KNOWN_DONE)
		pull_row_where(folder, outcome, &row);
	pull_slot_unsettled(folder, message);
	return pull_store_row(folder->pull, folder->state.id, &row);
}

static void pull_message_failed(struct pull_folder *folder,
				const struct pull_message *message,
				const struct sink_outcome *outcome)
{
	struct pull *pull = folder->pull;
	const char *text = pull_message_error(message, outcome->text);

	if (outcome->stop)
		pull->sink_stopped = TRUE;
	if (outcome->result == SINK_LATER && !outcome->stop) {
		/* may come right with the next attempt */
		folder->later++;
		folder->later_class = outcome->class;
		folder->later_text = p_strdup(folder->pool, text);
		return;
	}
	pull->result.counts.failed++;
	pull_message_event(folder, message, reply_class_name(outcome->class));
	pull_set_error(pull, outcome->class, folder->name, text);
}

static void pull_progress(struct pull_folder *folder)
{
	struct pull *pull = folder->pull;
	uoff_t in, out;

	folder->done++;
	if (pull->set.progress == NULL)
		return;
	source_imap_get_traffic(pull->source, &in, &out);
	pull->set.progress(folder->name, folder->done, folder->total, in,
			   pull->set.context);
}

/* Room again: go on reading. */
static void pull_resume(struct pull *pull)
{
	if (pull->paused && sink_has_room(pull->lmtp)) {
		pull->paused = FALSE;
		source_imap_resume(pull->source);
	}
}

static void
pull_sink_callback(const struct sink_message *sent,
		   const struct sink_outcome *outcome, void *context)
{
	struct pull *pull = context;
	const struct pull_message *message = sent->context;
	struct pull_folder *folder = message->folder;
	int ret = 0;

	switch (outcome->result) {
	case SINK_DONE:
		pull_count_stored(folder, message);
		ret = pull_message_settled(folder, message, outcome,
					   SYNC_KNOWN_DONE, NULL);
		pull_progress(folder);
		break;
	case SINK_HANDED_OVER:
		ret = pull_message_settled(folder, message, outcome,
					   SYNC_KNOWN_HANDED_OVER,
					   outcome->text);
		break;
	case SINK_REFUSED:
		ret = pull_message_settled(folder, message, outcome,
					   SYNC_KNOWN_QUARANTINED,
					   outcome->text);
		break;
	case SINK_LATER:
		break;
	}
	if (outcome->result != SINK_DONE)
		pull_message_failed(folder, message, outcome);
	if (ret < 0)
		pull->sink_stopped = TRUE;
	pull_resume(pull);
	io_loop_stop(current_ioloop);
}

/*
 * Messages
 */

static bool pull_is_leftover(struct pull_folder *folder, uint32_t uid)
{
	struct pull *pull = folder->pull;
	uint64_t hash;
	unsigned int i;

	if (pull->leftover_count == 0)
		return FALSE;
	hash = inflight_folder_hash(folder->remote->listed.remote_name);
	for (i = 0; i < pull->leftover_count; i++) {
		const struct inflight_slot *slot = &pull->leftovers[i];

		if (slot->uid == uid && slot->folder_hash == hash &&
		    slot->uidvalidity == folder->status.uidvalidity)
			return TRUE;
	}
	return FALSE;
}

static const char *
pull_message_guid(struct pull_folder *folder, uint32_t uid)
{
	return sync_message_guid(folder->pull->account->source_id,
				 folder->remote->listed.remote_name,
				 folder->status.uidvalidity, uid);
}

static struct sink_message *
pull_sink_message(struct pull_folder *folder, const struct sync_step *step,
		  struct spool *spool)
{
	const struct sync_message *listed = step->message;
	pool_t pool = pool_alloconly_create("sink message", 512);
	struct sink_message *message = p_new(pool, struct sink_message, 1);
	struct pull_message *context = p_new(pool, struct pull_message, 1);

	message->pool = pool;
	message->spool = spool;
	message->remote_folder = folder->remote->listed.remote_name;
	message->uidvalidity = folder->status.uidvalidity;
	message->uid = listed->uid;
	message->mailbox = folder->mapped->local_name;
	message->guid = p_strdup(pool, pull_message_guid(folder, listed->uid));
	if (folder->pull->account->flags != ACCOUNT_FLAGS_NONE) {
		message->flags = listed->flags & ENUM_NEGATE(MAIL_DELETED);
		message->keywords = listed->keywords;
	}
	message->received_time = listed->received_time;
	message->received_tz_mins = listed->received_tz_mins;
	message->nofx = step->via == SYNC_VIA_LMTP_NOFX;
	message->retry = folder->attempt > 1 ||
		pull_is_leftover(folder, listed->uid);
	message->context = context;

	context->folder = folder;
	context->listed = listed;
	context->size = spool_crlf_size(spool);
	memcpy(context->hash, spool_hash(spool), SPOOL_HASH_SIZE);
	context->via = step->via;
	return message;
}

/* Was it here before the UIDVALIDITY changed? Returns 1, 0 or -1. */
static int pull_adopt_former(struct pull_folder *folder,
			     const struct sync_step *step, struct spool *spool)
{
	struct pull *pull = folder->pull;
	struct state_message former;
	struct local_mail mail;
	int ret;

	ret = state_db_former_take(pull->db, folder->pool, folder->state.id,
				   spool_hash(spool), &former);
	if (ret < 0)
		return pull_db_failed(pull);
	if (ret == 0)
		return 0;
	mail.guid = former.guid;
	mail.uid = former.local_uid;
	return pull_store_adopt(folder, step->message, former.mailbox, &mail,
				spool_hash(spool)) < 0 ? -1 : 1;
}

/* Was the content here before under another name? Returns 1, 0 or -1. */
static int pull_adopt_content(struct pull_folder *folder,
			      const struct sync_step *step,
			      struct spool *spool)
{
	struct local_mail mail;
	int ret;

	if (folder->has_former) {
		ret = pull_adopt_former(folder, step, spool);
		if (ret != 0)
			return ret;
	}
	if (!folder->reconcile || pull_is_leftover(folder, step->uid))
		return 0;
	if (local_folder_take_content(folder->local, spool_crlf_size(spool),
				      spool_hash(spool), &mail)) {
		return pull_store_adopt(folder, step->message, NULL, &mail,
					spool_hash(spool)) < 0 ? -1 : 1;
	}
	/* one that has its GUID and not its content was cut off by a power
	   failure */
	local_folder_drop_guid(folder->local, pull_message_guid(folder,
								step->uid));
	return 0;
}

/* Several lmtp processes that make the same mailbox at once get in each other's
   way (2.3: "uidvalidity=0, but next_uid=2", "Mailbox doesn't exist"), so it is
   there before the first of them is asked. Should it fail, they say why. */
static void pull_lmtp_prepare(struct pull_folder *folder)
{
	struct local_folder *local;
	struct local_error error;

	if (folder->lmtp_prepared)
		return;
	folder->lmtp_prepared = TRUE;
	if (local_folder_open(folder->pull->user, folder->mapped->local_name,
			      TRUE, &local, &error) > 0)
		local_folder_close(&local);
}

void pull_store_message(struct pull_folder *folder,
			const struct sync_step *step, struct spool *spool)
{
	struct pull *pull = folder->pull;
	struct sink *sink =
		step->via == SYNC_VIA_DIRECT ? pull->direct : pull->lmtp;
	int ret = pull_adopt_content(folder, step, spool);

	if (ret != 0) {
		spool_unref(&spool);
		if (ret > 0)
			pull_progress(folder);
		else {
			pull->sink_stopped = TRUE;
			io_loop_stop(current_ioloop);
		}
		return;
	}
	if (sink == pull->lmtp)
		pull_lmtp_prepare(folder);
	sink_put(sink, pull_sink_message(folder, step, spool));
	if (!pull->paused && !sink_has_room(sink)) {
		pull->paused = TRUE;
		source_imap_pause(pull->source);
	}
}

static bool pull_sinks_are_idle(struct pull *pull)
{
	return pull->direct->pending == 0 && pull->lmtp->pending == 0;
}

/* Whatever becomes of the remote side: sinks have deadlines of their own. */
static void pull_wait_sinks(struct pull *pull)
{
	struct ioloop_context *ioctx =
		io_loop_get_current_context(current_ioloop);

	while (!pull_sinks_are_idle(pull) &&
	       !pull->set.is_stopped(pull->set.context))
		io_loop_run(current_ioloop);
	if (ioctx != NULL)
		io_loop_context_switch(ioctx);
}

int pull_store_flush(struct pull *pull)
{
	sink_flush(pull->direct);
	sink_flush(pull->lmtp);
	pull_wait_sinks(pull);
	if (pull_store_commit(pull) < 0)
		return -1;
	if (pull_sinks_are_idle(pull))
		return pull->sink_stopped ? -1 : 0;
	pull_set_error(pull, REPLY_CLASS_STOPPED, NULL,
		       "the run was stopped");
	return -1;
}

void pull_store_finish(struct pull *pull)
{
	if (pull_store_flush(pull) < 0 && !pull_sinks_are_idle(pull))
		pull_store_abort(pull);
}

/*
 * Leftovers of a run that was killed
 */

static const struct source_folder *
pull_folder_by_hash(struct pull *pull, uint64_t hash)
{
	const struct source_folder *folder;

	array_foreach(&pull->folders, folder) {
		if (inflight_folder_hash(folder->listed.remote_name) == hash)
			return folder;
	}
	return NULL;
}

/* No visit of its folder will ever free it. */
static bool
pull_slot_is_orphan(struct pull *pull, const struct inflight_slot *slot)
{
	const struct source_folder *folder =
		pull_folder_by_hash(pull, slot->folder_hash);
	unsigned int i;

	if (folder == NULL)
		return TRUE;
	i = array_foreach_idx(&pull->folders, folder);
	return !pull->mapped[i].selected;
}

/* Returns 1 if the slot is free now, 0 if somebody delivers for it, or -1. */
static int pull_free_orphan(struct pull *pull, unsigned int n)
{
	const char *error;
	int ret = inflight_lock(pull->inflight, n, &error);

	if (ret > 0) {
		if (inflight_free(pull->inflight, n, &error) < 0)
			ret = -1;
		inflight_unlock(pull->inflight, n);
	}
	if (ret < 0)
		pull_set_error(pull, REPLY_CLASS_LOCAL, NULL, error);
	return ret;
}

static void pull_recovered_row(const struct state_folder *folder,
			       const struct inflight_slot *slot,
			       struct state_message *row_r)
{
	i_zero(row_r);
	row_r->uid = slot->uid;
	row_r->state = SYNC_KNOWN_DONE;
	if (slot->store_count > 0) {
		row_r->guid = slot->stores[0].guid;
		if (strcmp(slot->stores[0].mailbox, folder->local_name) != 0)
			row_r->mailbox = slot->stores[0].mailbox;
	}
	pull_row_local_uid(folder, row_r);
}

/* The plugin said done, and the worker died before it freed the slot, or even
   before it wrote that down. */
static int
pull_recover_done(struct pull *pull, const struct inflight_slot *slot)
{
	const struct source_folder *remote =
		pull_folder_by_hash(pull, slot->folder_hash);
	struct state_folder folder;
	struct state_message row;
	int ret;

	if (remote == NULL)
		return 0;
	if (state_db_folder_get(pull->db, pull->pool,
				remote->listed.remote_name, &folder) < 0)
		return pull_db_failed(pull);
	if (folder.id == 0 || folder.sync.uidvalidity != slot->uidvalidity)
		return 0;
	ret = state_db_message_get(pull->db, pull->pool, folder.id, slot->uid,
				   &row);
	if (ret < 0)
		return pull_db_failed(pull);
	/* what was written says more than the slot */
	if (ret > 0 && row.state == SYNC_KNOWN_DONE)
		return 0;
	pull_recovered_row(&folder, slot, &row);
	return pull_store_row(pull, folder.id, &row);
}

static int pull_recover_slot(struct pull *pull, unsigned int n)
{
	struct inflight_slot *slot = &pull->leftovers[pull->leftover_count];
	const char *error;

	if (inflight_read(pull->inflight, n, pull->pool, slot, &error) < 0) {
		/* nonsense has no power: the plugin would refuse it too */
		slot->state = INFLIGHT_FREE;
		if (inflight_free(pull->inflight, n, &error) < 0) {
			pull_set_error(pull, REPLY_CLASS_LOCAL, NULL, error);
			return -1;
		}
	}
	if (slot->state == INFLIGHT_DONE)
		return pull_recover_done(pull, slot);
	if (slot->state != INFLIGHT_FREE)
		pull->leftover_slots[pull->leftover_count++] = n;
	return 0;
}

/* A folder that a server left out once may be there again: what is known of its
   mail is given up only where others need the room. */
static int pull_free_orphans(struct pull *pull)
{
	unsigned int i, kept = 0;
	int ret = 0;

	if (pull->leftover_count <= INFLIGHT_SLOTS / 2)
		return 0;
	for (i = 0; i < pull->leftover_count && ret >= 0; i++) {
		ret = !pull_slot_is_orphan(pull, &pull->leftovers[i]) ? 0 :
			pull_free_orphan(pull, pull->leftover_slots[i]);
		if (ret > 0)
			continue;
		pull->leftovers[kept] = pull->leftovers[i];
		pull->leftover_slots[kept++] = pull->leftover_slots[i];
	}
	pull->leftover_count = kept;
	return ret < 0 ? -1 : 0;
}

static int pull_store_recover(struct pull *pull)
{
	ARRAY(unsigned int) done;
	struct inflight_slot slot;
	const unsigned int *np;
	const char *error;
	unsigned int n;

	t_array_init(&done, INFLIGHT_SLOTS);
	for (n = 0; n < INFLIGHT_SLOTS; n++) {
		if (pull_recover_slot(pull, n) < 0)
			return -1;
		if (inflight_read(pull->inflight, n, pull->pool, &slot,
				  &error) == 0 && slot.state == INFLIGHT_DONE)
			array_push_back(&done, &n);
	}
	if (pull->set.dry_run)
		return 0;
	if (pull_free_orphans(pull) < 0 || pull_store_commit(pull) < 0)
		return -1;
	array_foreach(&done, np) {
		if (inflight_free(pull->inflight, *np, &error) < 0) {
			pull_set_error(pull, REPLY_CLASS_LOCAL, NULL, error);
			return -1;
		}
	}
	return 0;
}

int pull_store_clear_leftovers(struct pull_folder *folder)
{
	struct pull *pull = folder->pull;
	uint64_t hash =
		inflight_folder_hash(folder->remote->listed.remote_name);
	struct inflight_slot slot;
	const char *error;
	unsigned int i, n;

	for (i = 0; i < pull->leftover_count; i++) {
		n = pull->leftover_slots[i];
		if (pull->leftovers[i].folder_hash != hash ||
		    inflight_read(pull->inflight, n, folder->pool, &slot,
				  &error) < 0 ||
		    slot.nonce != pull->leftovers[i].nonce)
			continue;
		if (inflight_free(pull->inflight, n, &error) < 0) {
			pull_set_error(pull, REPLY_CLASS_LOCAL, NULL, error);
			return -1;
		}
	}
	return 0;
}

/*
 * Sinks
 */

static void pull_direct_init(struct pull *pull)
{
	struct sink_direct_settings set = {
		.user = pull->user,
		.batch_messages = DIRECT_BATCH_MESSAGES,
		.batch_bytes = DIRECT_BATCH_BYTES,
		.batch_fsync = pull->batch_fsync,
		.event_parent = pull->set.event,
	};

	pull->direct = sink_direct_init(&set, pull_sink_callback, pull);
}

/* When an lmtp process dies while it writes into an m.* file that another one
   writes into as well, mdbox may take what it left for a message. */
static unsigned int pull_lmtp_connections(struct pull *pull)
{
	struct mail_namespace *ns =
		mail_namespace_find_inbox(pull->user->namespaces);

	return strcmp(ns->storage->name, "mdbox") == 0 ? 1 :
		pull->set.set->imapsync_pull_lmtp_connections;
}

static void pull_lmtp_init(struct pull *pull)
{
	struct sink_lmtp_settings set = {
		.target = pull->set.set->imapsync_pull_lmtp,
		.base_dir = pull->set.base_dir,
		.connections = pull_lmtp_connections(pull),
		.user = pull->user->username,
		.account = pull->account->name,
		.source_id = pull->account->source_id,
		.header_key = pull->set.header_key,
		.inflight = pull->inflight,
		.sender = "",
		.event_parent = pull->set.event,
	};

	pull->lmtp = sink_lmtp_init(&set, pull_sink_callback, pull);
}

int pull_store_init(struct pull *pull)
{
	const char *error, *path;

	i_array_init(&pull->unsettled, INFLIGHT_SLOTS);
	path = inflight_path(pull->set.set->imapsync_pull_state_dir,
			     pull->account->source_id);
	if (inflight_open(path, TRUE, &pull->inflight, &error) < 0) {
		pull_set_error(pull, REPLY_CLASS_LOCAL, NULL, error);
		return -1;
	}
	/* the sink takes over the slots that are still in use after this */
	if (pull_store_recover(pull) < 0)
		return -1;
	pull_direct_init(pull);
	pull_lmtp_init(pull);
	return 0;
}

void pull_store_abort(struct pull *pull)
{
	/* answers that come now have nothing to wake */
	pull->paused = FALSE;
	sink_deinit(&pull->direct);
	sink_deinit(&pull->lmtp);
}

void pull_store_deinit(struct pull *pull)
{
	pull_store_abort(pull);
	/* what is done stays done, however the run ended */
	if (!pull->set.dry_run)
		(void)state_db_commit(pull->db);
	if (pull->inflight != NULL)
		inflight_close(&pull->inflight);
	array_free(&pull->unsettled);
}
