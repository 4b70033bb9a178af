/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "ioloop.h"
#include "redact.h"
#include "mail-user.h"
#include "spool.h"
#include "pull-private.h"

/* One visit of one folder: ask, plan, carry out, remember. */

/* messages wanted in one listing */
#define STRETCH_MESSAGES 5000
/* a storage that had to rebuild its index after a crash refuses one commit */
#define MAX_ATTEMPTS 3
#define MAX_DROP_ROUNDS 5
/* so many messages of a stretch stand for all of it */
#define SAMPLE_MESSAGES 10
/* what the server cannot give for so long it cannot give at all */
#define REFUSED_MAX_SECS (3*24*3600)

static int folder_failed(struct pull_folder *folder)
{
	pull_set_remote_error(folder->pull, folder->name,
			      source_imap_get_error(folder->pull->source));
	return -1;
}

static int folder_local_failed(struct pull_folder *folder,
			       const struct local_error *error)
{
	pull_set_error(folder->pull, error->class, folder->name, error->text);
	return -1;
}

/*
 * What is here already
 */

static int folder_open_local(struct pull_folder *folder, bool create)
{
	struct local_error error;
	int ret;

	if (folder->local != NULL)
		return 1;
	ret = local_folder_open(folder->pull->user, folder->mapped->local_name,
				create, &folder->local, &error);
	return ret < 0 ? folder_local_failed(folder, &error) : ret;
}

/* Our side was restored from a backup: what was stored after that backup is
   gone, and is to come again. What the user deleted before stays deleted. */
static int folder_forget_lost(struct pull_folder *folder, uint32_t uidnext)
{
	struct pull *pull = folder->pull;

	if (state_db_forget_from_local_uid(pull->db, folder->state.id,
					   uidnext) < 0)
		return pull_db_failed(pull);
	folder->state.sync.uidnext = 1;
	folder->state.sync.dirty = TRUE;
	return 0;
}

/* Compare our side with what the last visit left. Mail that was put there
   since may be ours: from a run that was killed, or from before the state was
   lost. Sets folder->reconcile and the first UID to look at. sync: what the
   index says is not enough. */
static int folder_peek_local(struct pull_folder *folder, bool sync,
			     uint32_t *first_uid_r)
{
	const struct state_folder *state = &folder->state;
	uint32_t uidvalidity, uidnext;
	struct local_error error;
	int ret;

	*first_uid_r = 1;
	ret = local_folder_peek(folder->pull->user, folder->mapped->local_name,
				sync, &uidvalidity, &uidnext, &error);
	if (ret < 0)
		return folder_local_failed(folder, &error);
	if (ret == 0)
		return 0;
	if (state->local_uidvalidity == 0 ||
	    state->local_uidvalidity != uidvalidity) {
		folder->reconcile = uidnext > 1;
	} else if (uidnext < state->local_uidnext) {
		/* or only the index was lost */
		if (!sync)
			return folder_peek_local(folder, TRUE, first_uid_r);
		folder->reconcile = TRUE;
		return folder_forget_lost(folder, uidnext);
	} else if (uidnext > state->local_uidnext) {
		folder->reconcile = TRUE;
		*first_uid_r = state->local_uidnext;
	}
	return 0;
}

/* Mail of a message that is settled must not answer for another. */
static void
folder_take_guid(const char *guid, uint32_t local_uid, void *context)
{
	struct pull_folder *folder = context;

	local_folder_take_known(folder->local, guid, local_uid);
}

static void
folder_drop_guid(const char *guid, uint32_t local_uid, void *context)
{
	struct pull_folder *folder = context;

	local_folder_take_known(folder->local, guid, local_uid);
	local_folder_drop_guid(folder->local, guid);
}

static int folder_scan_local(struct pull_folder *folder, uint32_t first_uid)
{
	struct local_error error;
	int ret = folder_open_local(folder, FALSE);

	if (ret <= 0) {
		folder->reconcile = FALSE;
		return ret;
	}
	if (local_folder_scan(folder->local, first_uid, &error) < 0)
		return folder_local_failed(folder, &error);
	if (state_db_guids(folder->pull->db, folder->state.id,
			   folder_take_guid, folder) < 0)
		return pull_db_failed(folder->pull);
	folder->reconcile = local_folder_has_untaken(folder->local);
	return 0;
}

/*
 * Carrying out a stretch
 */

static int step_uid_cmp(const uint32_t *uid, const struct sync_step *step)
{
	return *uid < step->uid ? -1 : (*uid > step->uid ? 1 : 0);
}

static const struct sync_step *
folder_find_step(struct pull_folder *folder, uint32_t uid)
{
	const struct sync_step *step =
		array_bsearch(&folder->steps, &uid, step_uid_cmp);

	i_assert(step != NULL && step->kind == SYNC_STEP_FETCH);
	return step;
}

static void
folder_message_callback(uint32_t uid, struct spool *spool, void *context)
{
	struct pull_folder *folder = context;

	T_BEGIN {
		pull_store_message(folder, folder_find_step(folder, uid),
				   spool);
	} T_END;
}

/* Mail of a run that was killed may have come back without its flags: sdbox and
   mdbox forget them when they rebuild an index, Maildir what its keyword
   letters mean. */
static void folder_repair(struct pull_folder *folder,
			  const struct sync_message *message,
			  const struct local_mail *mail)
{
	if (folder->pull->account->flags == ACCOUNT_FLAGS_NONE)
		return;
	local_folder_repair_keywords(folder->local, mail->uid,
				     message->keywords);
	if (folder->was_dirty) {
		local_folder_change_flags(folder->local, mail->uid,
			message->flags & ENUM_NEGATE(MAIL_DELETED), 0,
			message->keywords, NULL);
	}
}

static int folder_adopt(struct pull_folder *folder,
			const struct sync_message *message, const char *guid,
			const struct local_mail *mail)
{
	unsigned char hash[SPOOL_HASH_SIZE];
	bool have_hash = local_folder_get_hash(folder->local, mail->uid, hash);

	/* A crash leaves copies; so does a user who copies mail within a
	   folder, and what is the user's stays. */
	if (folder->was_dirty)
		local_folder_drop_guid(folder->local, guid);
	folder_repair(folder, message, mail);
	return pull_store_adopt(folder, message, NULL, mail,
				have_hash ? hash : NULL);
}

/* GUIDs tell at once which of the messages are here. */
static int
folder_adopt_guids(struct pull_folder *folder,
		   ARRAY_TYPE(source_item) *items)
{
	const struct sync_step *step;
	struct source_item *item;
	struct local_mail mail;
	const char *guid;
	struct local_error error;
	int ret = 0;

	array_foreach(&folder->steps, step) {
		if (step->kind != SYNC_STEP_FETCH)
			continue;
		guid = sync_message_guid(folder->pull->account->source_id,
					 folder->remote->listed.remote_name,
					 folder->status.uidvalidity, step->uid);
		if (folder->reconcile &&
		    local_folder_take_guid(folder->local, guid,
					   step->message->size, &mail)) {
			ret = folder_adopt(folder, step->message, guid, &mail);
			if (ret < 0)
				break;
			continue;
		}
		item = array_append_space(items);
		item->uid = step->uid;
		item->size = step->message->size;
	}
	/* before the rows that say so */
	if (ret == 0 && folder->local != NULL &&
	    local_folder_commit(folder->local, &error) < 0)
		ret = folder_local_failed(folder, &error);
	return ret;
}

/* Sets since_r to when it was refused first, 0 if it never was. */
static int folder_refused_since(struct pull_folder *folder, uint32_t uid,
				time_t *since_r)
{
	struct state_message row;

	*since_r = 0;
	if (state_db_message_get(folder->pull->db, folder->pool,
				 folder->state.id, uid, &row) < 0)
		return pull_db_failed(folder->pull);
	*since_r = row.refused_since;
	return 0;
}

/* A fault that passes gets its time, so that it costs no mail, and an end to
   it: a message to be asked for again is a folder to be listed again. */
static int folder_refused(struct pull_folder *folder, uint32_t uid,
			  const char *reason, bool passing)
{
	const struct sync_message *message =
		folder_find_step(folder, uid)->message;
	struct pull *pull = folder->pull;
	time_t since;

	if (folder_refused_since(folder, uid, &since) < 0)
		return -1;
	if (folder->attempt == 1 || since == 0)
		pull->result.counts.failed++;
	pull_set_error(pull, REPLY_CLASS_MESSAGE, folder->name,
		       t_strdup_printf("UID %u: %s", uid, reason));
	if (since == 0)
		since = pull->now;
	if (!passing || pull->now - since >= REFUSED_MAX_SECS) {
		return pull_store_settle(folder, message,
					 SYNC_KNOWN_QUARANTINED, reason);
	}
	folder->held = TRUE;
	return pull_store_refused(folder, message, since, reason);
}

/* alone: the server gives what comes behind it */
static int
folder_item_result(struct pull_folder *folder, const struct source_item *item,
		   bool alone)
{
	switch (item->result) {
	case SOURCE_ITEM_RECEIVED:
		return 0;
	case SOURCE_ITEM_NO_BODY:
		return folder_refused(folder, item->uid,
			"the server answers without the message", !alone);
	case SOURCE_ITEM_TOO_LARGE:
		folder->pull->result.counts.skipped++;
		return pull_store_settle(folder,
			folder_find_step(folder, item->uid)->message,
			SYNC_KNOWN_TOO_LARGE, NULL);
	case SOURCE_ITEM_MISSING:
		/* Without a word: expunged since it was listed. The next run
		   sees whether that is so. */
		if (item->refusal == NULL) {
			folder->held = TRUE;
			return 0;
		}
		return folder_refused(folder, item->uid, item->refusal,
				      item->passing || !alone);
	}
	i_unreached();
}

static bool item_is_given(const struct source_item *item)
{
	return item->result == SOURCE_ITEM_RECEIVED ||
		item->result == SOURCE_ITEM_TOO_LARGE;
}

/* Index behind the last one given, 0 if none was. */
static unsigned int items_given_end(const ARRAY_TYPE(source_item) *items)
{
	unsigned int end;

	for (end = array_count(items); end > 0; end--) {
		if (item_is_given(array_idx(items, end - 1)))
			break;
	}
	return end;
}

static int
folder_fetch_again(struct pull_folder *folder, struct source_item *item)
{
	item->refusal = NULL;
	item->passing = FALSE;
	if (source_imap_fetch(folder->pull->source, folder->pool, item, 1,
			      folder_message_callback, folder) < 0)
		return folder_failed(folder);
	return 0;
}

/* Returns 1 if the message is refused and was not before, 0 if not, or -1. */
static int
folder_fetch_sample(struct pull_folder *folder, struct source_item *item)
{
	time_t since;

	if (folder_refused_since(folder, item->uid, &since) < 0 ||
	    folder_fetch_again(folder, item) < 0)
		return -1;
	if (since != 0 || item_is_given(item))
		return 0;
	return item->result == SOURCE_ITEM_NO_BODY || item->refusal != NULL ?
		1 : 0;
}

/* Where nothing came at all, the folder may be out of order and not the
   messages. Before each of them is asked for, some are, from all over the
   stretch: if those are refused too, the next run asks, and nothing is written
   of any of them. */
static int folder_fetch_samples(struct pull_folder *folder,
				ARRAY_TYPE(source_item) *items)
{
	unsigned int i, count;
	struct source_item *item, *list = array_get_modifiable(items, &count);
	int ret;

	if (count < SAMPLE_MESSAGES || items_given_end(items) > 0)
		return 0;
	for (i = 0; i < SAMPLE_MESSAGES; i++) {
		item = &list[(count - 1) * i / (SAMPLE_MESSAGES - 1)];
		ret = folder_fetch_sample(folder, item);
		if (ret <= 0)
			return ret;
	}
	pull_set_error(folder->pull, REPLY_CLASS_FOLDER, folder->name,
		t_strdup_printf("none of %u messages can be had: %s", count,
				item->refusal != NULL ? item->refusal :
				"the server answers without them"));
	return -1;
}

/* One bad message spoils the command it is in: ask for each that did not come
   alone. */
static int folder_fetch_alone(struct pull_folder *folder,
			      ARRAY_TYPE(source_item) *items)
{
	struct source_item *item;
	unsigned int given_end;

	if (folder_fetch_samples(folder, items) < 0)
		return -1;
	array_foreach_modifiable(items, item) {
		if ((item->result == SOURCE_ITEM_MISSING ||
		     item->result == SOURCE_ITEM_NO_BODY) &&
		    folder_fetch_again(folder, item) < 0)
			return -1;
	}
	given_end = items_given_end(items);
	array_foreach_modifiable(items, item) {
		if (folder_item_result(folder, item,
				array_foreach_idx(items, item) < given_end) < 0)
			return -1;
	}
	return 0;
}

static int folder_fetch(struct pull_folder *folder)
{
	ARRAY_TYPE(source_item) items;
	int ret = 0;

	i_array_init(&items, 256);
	if (folder_adopt_guids(folder, &items) < 0)
		ret = -1;
	else if (array_count(&items) > 0) {
		ret = source_imap_fetch(folder->pull->source, folder->pool,
					array_front_modifiable(&items),
					array_count(&items),
					folder_message_callback, folder);
		ret = ret < 0 ? folder_failed(folder) :
			folder_fetch_alone(folder, &items);
	}
	array_free(&items);
	return ret;
}

static int
folder_skip(struct pull_folder *folder, const struct sync_step *step)
{
	folder->pull->result.counts.skipped++;
	return pull_store_settle(folder, step->message, step->skip_state,
				 NULL);
}

/* The mailbox that a settled message is in: nearly always the folder's. */
static struct local_folder *
folder_of_row(struct pull_folder *folder, const struct state_message *row,
	      struct local_folder **other)
{
	struct local_error error;

	if (row->mailbox == NULL) {
		return folder_open_local(folder, FALSE) > 0 ?
			folder->local : NULL;
	}
	if (*other != NULL &&
	    strcmp(local_folder_get_name(*other), row->mailbox) == 0)
		return *other;
	if (*other != NULL)
		(void)local_folder_commit(*other, &error);
	local_folder_close(other);
	return local_folder_open(folder->pull->user, row->mailbox, FALSE,
				 other, &error) > 0 ? *other : NULL;
}

/* Where a settled message is now. Returns 1, 0 if nowhere, or -1. */
static int
folder_find_settled(struct pull_folder *folder, uint32_t uid,
		    struct local_folder **other, struct local_folder **local_r,
		    uint32_t *local_uid_r)
{
	struct pull *pull = folder->pull;
	struct state_message row;
	int ret;

	ret = state_db_message_get(pull->db, folder->pool, folder->state.id,
				   uid, &row);
	if (ret < 0)
		return pull_db_failed(pull);
	*local_r = ret == 0 || row.guid == NULL ? NULL :
		folder_of_row(folder, &row, other);
	if (*local_r == NULL)
		return 0;
	*local_uid_r = local_folder_find(*local_r, row.local_uid, row.guid);
	if (*local_uid_r == 0)
		return 0;
	if (*local_uid_r != row.local_uid &&
	    state_db_message_set_local_uid(pull->db, folder->state.id, uid,
					   *local_uid_r) < 0)
		return pull_db_failed(pull);
	return 1;
}

static int
folder_change_flags(struct pull_folder *folder, const struct sync_step *step,
		    struct local_folder **other)
{
	struct pull *pull = folder->pull;
	struct local_folder *local;
	uint32_t local_uid;
	int ret;

	ret = folder_find_settled(folder, step->uid, other, &local, &local_uid);
	if (ret < 0)
		return -1;
	if (ret > 0) {
		local_folder_change_flags(local, local_uid, step->add_flags,
					  step->remove_flags,
					  step->add_keywords,
					  step->remove_keywords);
		pull->result.counts.flags++;
	}
	if (state_db_message_set_flags(pull->db, folder->state.id, step->uid,
				       step->message->flags,
				       step->message->keywords) < 0)
		return pull_db_failed(pull);
	return 0;
}

/* A Maildir on a full disk takes messages in without a word of what their
   keyword letters mean. The visit after the one that met it says so. */
static int
folder_mend_keywords(struct pull_folder *folder,
		     const ARRAY_TYPE(sync_known) *known_list,
		     struct local_folder **other)
{
	const struct sync_known *known;
	struct local_folder *local;
	uint32_t local_uid;
	int ret;

	if (!folder->was_dirty ||
	    folder->pull->account->flags == ACCOUNT_FLAGS_NONE)
		return 0;
	array_foreach(known_list, known) {
		if (known->state != SYNC_KNOWN_DONE ||
		    known->keywords[0] == NULL)
			continue;
		ret = folder_find_settled(folder, known->uid, other, &local,
					  &local_uid);
		if (ret < 0)
			return -1;
		if (ret > 0) {
			local_folder_repair_keywords(local, local_uid,
						     known->keywords);
		}
	}
	return 0;
}

static int folder_commit_local(struct pull_folder *folder,
			       struct local_folder *local)
{
	struct local_error error;

	if (local == NULL || local_folder_commit(local, &error) == 0)
		return 0;
	return folder_local_failed(folder, &error);
}

static int
folder_other_steps(struct pull_folder *folder,
		   const ARRAY_TYPE(sync_known) *known)
{
	struct local_folder *other = NULL;
	const struct sync_step *step;
	int ret;

	ret = folder_mend_keywords(folder, known, &other);
	array_foreach(&folder->steps, step) {
		if (ret < 0)
			break;
		if (step->kind == SYNC_STEP_SKIP)
			ret = folder_skip(folder, step);
		else if (step->kind == SYNC_STEP_FLAGS)
			ret = folder_change_flags(folder, step, &other);
		else if (step->kind == SYNC_STEP_GONE)
			array_push_back(&folder->gone, &step->uid);
	}
	/* flags first, then the rows that say so are committed */
	if (ret == 0)
		ret = folder_commit_local(folder, other);
	if (ret == 0)
		ret = folder_commit_local(folder, folder->local);
	local_folder_close(&other);
	return ret;
}

static void folder_count_fetches(struct pull_folder *folder)
{
	const struct sync_step *step;

	array_foreach(&folder->steps, step) {
		if (step->kind == SYNC_STEP_FETCH)
			folder->total++;
	}
}

static void folder_dry_run(struct pull_folder *folder)
{
	struct pull_counts *counts = &folder->pull->result.counts;
	const struct sync_step *step;

	array_foreach(&folder->steps, step) {
		switch (step->kind) {
		case SYNC_STEP_FETCH:
			counts->stored++;
			if (step->via == SYNC_VIA_DIRECT)
				counts->direct++;
			else
				counts->lmtp++;
			break;
		case SYNC_STEP_SKIP:
			counts->skipped++;
			break;
		case SYNC_STEP_FLAGS:
			counts->flags++;
			break;
		case SYNC_STEP_GONE:
			counts->expunged++;
			break;
		}
	}
}

static int
folder_run_stretch(struct pull_folder *folder, pool_t pool,
		   const struct source_range *range,
		   const ARRAY_TYPE(sync_message) *messages)
{
	struct pull *pull = folder->pull;
	ARRAY_TYPE(sync_known) known;
	unsigned int count, known_count;
	uint32_t last = range->last == 0 ? UINT32_MAX : range->last;
	const struct sync_known *known_list;
	const struct sync_message *list = array_get(messages, &count);
	const char *error;

	if (count > 0) {
		folder->listed_uid_max = I_MAX(folder->listed_uid_max,
					       list[count - 1].uid);
	}
	p_array_init(&known, pool, 64);
	if (state_db_known(pull->db, pool, folder->state.id, range->first,
			   last, &known) < 0)
		return pull_db_failed(pull);
	known_list = array_get(&known, &known_count);
	p_array_init(&folder->steps, pool, count);
	if (sync_plan_stretch(pool, &folder->policy, &folder->visit, list,
			      count, known_list, known_count,
			      range->changed_since == 0, &folder->steps,
			      &error) < 0) {
		pull_set_error(pull, REPLY_CLASS_FOLDER, folder->name, error);
		return -1;
	}
	if (pull->set.dry_run) {
		folder_dry_run(folder);
		return 0;
	}
	folder_count_fetches(folder);
	if (folder_fetch(folder) < 0 || pull_store_flush(pull) < 0)
		return -1;
	return folder_other_steps(folder, &known);
}

/* Returns 1 if the range holds too many messages for one listing. */
static int
folder_stretch(struct pull_folder *folder, const struct source_range *range)
{
	pool_t pool = pool_alloconly_create("stretch", 16*1024);
	ARRAY_TYPE(sync_message) messages;
	int ret;

	p_array_init(&messages, pool, 256);
	ret = source_imap_list_messages(folder->pull->source, range, pool,
					&messages);
	if (ret < 0)
		(void)folder_failed(folder);
	else if (ret == 0) {
		ret = folder_run_stretch(folder, pool, range, &messages);
		/* messages under way refer to the stretch */
		if (ret < 0)
			pull_store_finish(folder->pull);
	}
	i_zero(&folder->steps);
	pool_unref(&pool);
	return ret;
}

/* UIDs of one listing, so that it holds about STRETCH_MESSAGES. */
static uint64_t
folder_stretch_width(const struct pull_folder *folder, uint32_t from)
{
	const struct sync_status *status = &folder->status;

	if (status->uidnext <= from ||
	    status->uidnext - from <= STRETCH_MESSAGES ||
	    status->messages <= STRETCH_MESSAGES)
		return UINT32_MAX;
	return (uint64_t)STRETCH_MESSAGES *
		I_MAX(1, status->uidnext / status->messages);
}

/* All UIDs from one on, a stretch at a time. UIDs are often thin in old mail
   and dense in new, so that the width is a guess. */
static int folder_stretches(struct pull_folder *folder, uint32_t from)
{
	uint64_t width = folder_stretch_width(folder, from);
	struct source_range range = { .first = from };
	uint64_t last;
	int ret;

	for (;;) {
		last = range.first + width - 1;
		range.last = last >= folder->status.uidnext - 1U ? 0 : last;
		ret = folder_stretch(folder, &range);
		if (ret < 0)
			return -1;
		if (ret > 0 && width > SOURCE_MAX_LISTING &&
		    folder->status.uidnext != 0) {
			width = I_MIN(width, folder->status.uidnext) / 2 + 1;
			continue;
		}
		if (ret > 0) {
			pull_set_error(folder->pull, REPLY_CLASS_FOLDER,
				       folder->name, "the server lists more "
				       "messages than there are UIDs");
			return -1;
		}
		if (range.last == 0)
			return 0;
		range.first = range.last + 1;
	}
}

/* All is asked for, not only the flags: a message that was left out because of
   them may be wanted now. */
static int folder_changed_flags(struct pull_folder *folder)
{
	struct source_range range = {
		.first = 1,
		.last = folder->visit.list_from - 1,
		.changed_since = folder->state.sync.highestmodseq,
	};
	int ret;

	if (folder->visit.look != SYNC_LOOK_CHANGED || range.last == 0)
		return 0;
	ret = folder_stretch(folder, &range);
	if (ret <= 0)
		return ret;
	/* nearly everything changed: look at all of it */
	range.changed_since = 0;
	return folder_stretches(folder, 1);
}

/*
 * Mirror
 */

static int folder_expunge_one(struct pull_folder *folder, uint32_t remote_uid,
			      struct local_folder **other)
{
	struct pull *pull = folder->pull;
	struct local_folder *local = NULL;
	struct state_message row;
	uint32_t uid;
	int ret;

	ret = state_db_message_get(pull->db, folder->pool, folder->state.id,
				   remote_uid, &row);
	if (ret < 0)
		return pull_db_failed(pull);
	if (ret > 0 && row.guid != NULL)
		local = folder_of_row(folder, &row, other);
	uid = local == NULL ? 0 :
		local_folder_find(local, row.local_uid, row.guid);
	if (uid != 0) {
		local_folder_expunge(local, uid);
		pull->result.counts.expunged++;
	}
	if (state_db_message_forget(pull->db, folder->state.id,
				    remote_uid) < 0)
		return pull_db_failed(pull);
	return 0;
}

static int folder_expunge(struct pull_folder *folder)
{
	struct local_folder *other = NULL;
	const uint32_t *uid;
	int ret = 0;

	array_foreach(&folder->gone, uid) {
		ret = folder_expunge_one(folder, *uid, &other);
		if (ret < 0)
			break;
	}
	if (ret == 0)
		ret = folder_commit_local(folder, other);
	if (ret == 0)
		ret = folder_commit_local(folder, folder->local);
	local_folder_close(&other);
	return ret;
}

static int folder_mirror(struct pull_folder *folder)
{
	struct pull *pull = folder->pull;
	unsigned int done, gone = array_count(&folder->gone);

	if (gone == 0)
		return 0;
	if (state_db_count_done(pull->db, folder->state.id, &done) < 0)
		return pull_db_failed(pull);
	if (sync_plan_guard_allows(pull->account->guard_percent, gone, done))
		return folder_expunge(folder);
	/* asked again in the next run, however the answer changes */
	folder->held = TRUE;
	pull_set_error(pull, REPLY_CLASS_FOLDER, folder->name,
		t_strdup_printf("%u of %u messages are gone from the server: "
				"more than guard_percent=%u, nothing is "
				"expunged here", gone, done,
				pull->account->guard_percent));
	return 0;
}

/*
 * The visit
 */

/* Returns 1 if there is something to do, 0 if not, -1 if the folder cannot be
   visited. */
static int folder_plan(struct pull_folder *folder)
{
	const char *error;
	int ret;

	ret = sync_plan_visit(&folder->policy, &folder->status,
			      source_imap_has_condstore(folder->pull->source),
			      &folder->state.sync, &folder->visit, &error);
	if (ret < 0) {
		pull_set_error(folder->pull, REPLY_CLASS_FOLDER, folder->name,
			       error);
	}
	return ret;
}

static int folder_examine(struct pull_folder *folder)
{
	struct sync_status status;

	if (source_imap_examine(folder->pull->source,
				folder->remote->listed.remote_name,
				&status) < 0)
		return folder_failed(folder);
	/* some servers tell this in STATUS only */
	if (status.uidnext == 0)
		status.uidnext = folder->status.uidnext;
	folder->status = status;
	return 0;
}

/* After a crash mdbox and sdbox find messages that were half stored and put
   them into the mailbox, when something is saved or later. They have our GUID:
   of those that came since the last good visit each is kept once. */
static int folder_drop_copies_once(struct pull_folder *folder, bool *found_r)
{
	struct local_error error;
	int ret;

	*found_r = FALSE;
	local_folder_close(&folder->local);
	ret = folder_open_local(folder, FALSE);
	if (ret <= 0)
		return ret;
	if (local_folder_scan(folder->local, folder->state.local_uidnext,
			      &error) < 0)
		return folder_local_failed(folder, &error);
	if (state_db_guids(folder->pull->db, folder->state.id,
			   folder_drop_guid, folder) < 0)
		return pull_db_failed(folder->pull);
	*found_r = local_folder_has_changes(folder->local);
	return folder_commit_local(folder, folder->local);
}

static int folder_drop_copies(struct pull_folder *folder)
{
	unsigned int n;
	bool found = folder->was_dirty || folder->attempt > 1;

	/* what is expunged can be brought back by the next rebuild */
	for (n = 0; found && n < MAX_DROP_ROUNDS; n++) {
		if (folder_drop_copies_once(folder, &found) < 0)
			return -1;
	}
	return 0;
}

/* What must be on disk before the first message: where new mail begins, and
   that UIDs of another UIDVALIDITY are forgotten. */
static int folder_begin(struct pull_folder *folder)
{
	struct pull *pull = folder->pull;
	struct sync_state *sync = &folder->state.sync;
	int ret;

	if (folder->visit.uidvalidity_changed && folder->state.id != 0 &&
	    state_db_make_former(pull->db, folder->state.id) < 0)
		return pull_db_failed(pull);
	if (sync->uidvalidity != folder->status.uidvalidity) {
		sync->uidvalidity = folder->status.uidvalidity;
		sync->uidnext = sync->messages = 0;
		sync->highestmodseq = 0;
	}
	sync->first_pull = folder->visit.first_pull;
	sync->live_from = folder->visit.live_from;
	folder->was_dirty = sync->dirty;
	sync->dirty = TRUE;
	folder->state.local_name = folder->mapped->local_name;
	if (state_db_folder_put(pull->db, &folder->state) < 0)
		return pull_db_failed(pull);
	if (pull_store_commit(pull) < 0)
		return -1;
	ret = state_db_has_former(pull->db, folder->state.id);
	folder->has_former = ret > 0;
	/* a visit that was cut short goes on as what it was */
	if (folder->has_former)
		folder->visit.uidvalidity_changed = TRUE;
	return ret < 0 ? pull_db_failed(pull) : 0;
}

static int folder_end(struct pull_folder *folder)
{
	struct pull *pull = folder->pull;
	struct sync_state *sync = &folder->state.sync;
	struct local_error error;

	sync->uidnext = folder->status.uidnext != 0 ?
		folder->status.uidnext : I_MAX(sync->uidnext,
					       folder->listed_uid_max + 1);
	sync->messages = folder->status.messages;
	sync->highestmodseq = folder->status.highestmodseq;
	sync->age_floor = folder->visit.age_floor;
	sync->max_size_bytes = pull->account->max_size_bytes;
	/* Who died while it delivered may have left mail whose keywords have no
	   names, also behind the back of who found it: the next visit sees. */
	sync->dirty = folder->held || folder->attempt > 1;
	/* what lmtp stored is behind the index that we have open */
	if (local_folder_peek(pull->user, folder->mapped->local_name,
			      folder->lmtp_stored,
			      &folder->state.local_uidvalidity,
			      &folder->state.local_uidnext, &error) < 0)
		return folder_local_failed(folder, &error);
	/* everything was looked at: what was not found again is gone */
	if (folder->has_former &&
	    state_db_drop_former(pull->db, folder->state.id) < 0)
		return pull_db_failed(pull);
	if (state_db_folder_put(pull->db, &folder->state) < 0)
		return pull_db_failed(pull);
	if (pull_store_commit(pull) < 0)
		return -1;
	return pull_store_clear_leftovers(folder);
}

static int folder_attempt(struct pull_folder *folder)
{
	uint32_t first_uid;

	folder->later = 0;
	folder->reconcile = FALSE;
	array_clear(&folder->gone);
	local_folder_close(&folder->local);
	if (folder_peek_local(folder, TRUE, &first_uid) < 0)
		return -1;
	if (folder->reconcile && folder_scan_local(folder, first_uid) < 0)
		return -1;
	if (folder_stretches(folder, folder->visit.look == SYNC_LOOK_ALL ?
			     1 : folder->visit.list_from) < 0)
		return -1;
	return folder_changed_flags(folder);
}

static int folder_visit(struct pull_folder *folder)
{
	bool dry_run = folder->pull->set.dry_run;

	if (!dry_run && folder_begin(folder) < 0)
		return -1;
	for (folder->attempt = 1;; folder->attempt++) {
		if (folder_attempt(folder) < 0)
			return -1;
		if (folder->later == 0 || folder->attempt == MAX_ATTEMPTS)
			break;
	}
	if (dry_run)
		return 0;
	if (folder->later > 0) {
		folder->pull->result.counts.failed += folder->later;
		pull_set_error(folder->pull, folder->later_class,
			       folder->name, folder->later_text);
		return -1;
	}
	if (folder_drop_copies(folder) < 0 || folder_mirror(folder) < 0)
		return -1;
	return folder_end(folder);
}

static int folder_run(struct pull_folder *folder)
{
	struct pull *pull = folder->pull;
	uint32_t first_uid;
	int ret;

	if (state_db_folder_get(pull->db, folder->pool,
				folder->remote->listed.remote_name,
				&folder->state) < 0)
		return pull_db_failed(pull);
	if (folder->state.id != 0 &&
	    folder_peek_local(folder, FALSE, &first_uid) < 0)
		return -1;
	if (folder->status.uidvalidity != 0) {
		ret = folder_plan(folder);
		if (ret <= 0)
			return ret;
	}
	if (folder_examine(folder) < 0)
		return -1;
	ret = folder_plan(folder);
	return ret <= 0 ? ret : folder_visit(folder);
}

static void
folder_init(struct pull_folder *folder, struct pull *pull,
	    const struct source_folder *remote,
	    const struct folder_mapped *mapped)
{
	i_zero(folder);
	folder->pull = pull;
	folder->pool = pool_alloconly_create("pull folder", 4096);
	folder->remote = remote;
	folder->mapped = mapped;
	folder->name = p_strdup(folder->pool, redact_remote_name(
		remote->listed.remote_name));
	folder->status = remote->status;
	folder->policy.account = pull->account;
	folder->policy.inbox = mapped->inbox;
	folder->policy.filed =
		folder_special_use_is_filed(mapped->special_use);
	folder->policy.full = pull->set.full;
	folder->policy.now = pull->now;
	p_array_init(&folder->gone, folder->pool, 16);
}

static void folder_deinit(struct pull_folder *folder)
{
	local_folder_close(&folder->local);
	pool_unref(&folder->pool);
}

int pull_folder_run(struct pull *pull, const struct source_folder *remote,
		    const struct folder_mapped *mapped)
{
	struct pull_folder folder;
	int ret;

	folder_init(&folder, pull, remote, mapped);
	T_BEGIN {
		ret = folder_run(&folder);
	} T_END;
	folder_deinit(&folder);
	/* trouble of one folder is not the others' */
	if (ret < 0 && !pull->db_failed && !pull_is_stopped(pull) &&
	    source_imap_is_alive(pull->source))
		ret = 0;
	return ret;
}

int pull_folder_estimate(struct pull *pull, const struct source_folder *remote,
			 unsigned int *count_r)
{
	struct state_folder state;

	*count_r = remote->status.messages;
	if (state_db_folder_get(pull->db, pool_datastack_create(),
				remote->listed.remote_name, &state) < 0)
		return pull_db_failed(pull);
	if (state.sync.uidvalidity == remote->status.uidvalidity &&
	    remote->status.uidnext >= state.sync.uidnext) {
		*count_r = I_MIN(remote->status.messages,
				 remote->status.uidnext - state.sync.uidnext);
	}
	return 0;
}
