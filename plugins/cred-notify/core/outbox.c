/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "hash.h"
#include "llist.h"
#include "strfuncs.h"
#include "dovecot-compat.h"
#include "audience.h"
#include "outbox.h"

/* the rows of a recipient that wait; gone with the last of them */
struct outbox_recipient {
	char *name;
	struct outbox_row *rows;
};

struct outbox {
	struct outbox_limits limits;
	HASH_TABLE(char *, struct outbox_item *) items;
	HASH_TABLE(char *, struct outbox_recipient *) recipients;
};

struct outbox_iter {
	struct hash_iterate_context *ctx;
	struct outbox *outbox;
};

struct outbox *outbox_init(const struct outbox_limits *limits)
{
	struct outbox *outbox = i_new(struct outbox, 1);

	i_assert(limits->retry_secs > 0);

	outbox->limits = *limits;
	hash_table_create(&outbox->items, default_pool, 0, str_hash, strcmp);
	hash_table_create(&outbox->recipients, default_pool, 0, str_hash,
			  strcmp);
	return outbox;
}

/*
 * Recipients
 */

static void
recipient_link(struct outbox *outbox, struct outbox_row *row)
{
	struct outbox_recipient *recipient =
		hash_table_lookup(outbox->recipients, row->recipient);

	if (recipient == NULL) {
		recipient = i_new(struct outbox_recipient, 1);
		recipient->name = i_strdup(row->recipient);
		hash_table_insert(outbox->recipients, recipient->name,
				  recipient);
	}
	DLLIST_PREPEND(&recipient->rows, row);
}

static void
recipient_unlink(struct outbox *outbox, struct outbox_row *row)
{
	struct outbox_recipient *recipient =
		hash_table_lookup(outbox->recipients, row->recipient);

	DLLIST_REMOVE(&recipient->rows, row);
	if (recipient->rows != NULL)
		return;
	hash_table_remove(outbox->recipients, recipient->name);
	i_free(recipient->name);
	i_free(recipient);
}

static void
row_set(struct outbox *outbox, struct outbox_row *row,
	enum journal_result result)
{
	if (row->result == JOURNAL_RESULT_WAITING)
		recipient_unlink(outbox, row);
	row->result = result;
	row->asking = FALSE;
	if (result == JOURNAL_RESULT_WAITING)
		recipient_link(outbox, row);
}

struct outbox_row *
outbox_recipient_rows(struct outbox *outbox, const char *recipient)
{
	struct outbox_recipient *found =
		hash_table_lookup(outbox->recipients, recipient);

	return found == NULL ? NULL : found->rows;
}

/*
 * Items
 */

static char *incident_key(uint64_t incident)
{
	return t_strdup_noconst(dec2str(incident));
}

struct outbox_item *outbox_find(struct outbox *outbox, uint64_t incident)
{
	struct outbox_item *item;

	T_BEGIN {
		item = hash_table_lookup(outbox->items, incident_key(incident));
	} T_END;
	return item;
}

static bool item_told_has(const struct outbox_item *item, const char *recipient)
{
	char *const *told;

	array_foreach(&item->told, told) {
		if (strcmp(*told, recipient) == 0)
			return TRUE;
	}
	return FALSE;
}

static void item_told_add(struct outbox_item *item, const char *recipient)
{
	char *name;

	if (item_told_has(item, recipient))
		return;
	name = i_strdup(recipient);
	array_push_back(&item->told, &name);
}

static bool row_is_told(const struct outbox_row *row)
{
	return row->result == JOURNAL_RESULT_TOLD || row->busy;
}

/* The notice and its rows go, what they did stays. */
static void item_clear(struct outbox *outbox, struct outbox_item *item)
{
	struct outbox_row *const *row;

	array_foreach(&item->rows, row) {
		if (row_is_told(*row))
			item_told_add(item, (*row)->recipient);
		row_set(outbox, *row, JOURNAL_RESULT_DROPPED);
	}
	pool_unref(&item->pool);
}

/* A notice of an unknown account or user has no strings but these. */
static void item_set(struct outbox_item *item, const struct notice *notice)
{
	struct notice_state *state = &item->notice.state;

	item->pool = pool_alloconly_create("outbox item", 512);
	item->notice = *notice;
	state->subject.user = p_strdup(item->pool, state->subject.user);
	state->subject.account = p_strdup(item->pool, state->subject.account);
	state->label = p_strdup(item->pool, state->label);
	p_array_init(&item->rows, item->pool, 4);
	item->planned = FALSE;
	item->asking = FALSE;
	item->plan_time = 0;
	item->groups = AUDIENCE_GROUP_OWNER | AUDIENCE_GROUP_HOLDERS;
}

static struct outbox_item *item_new(struct outbox *outbox, uint64_t incident)
{
	struct outbox_item *item = i_new(struct outbox_item, 1);

	item->key = i_strdup(dec2str(incident));
	i_array_init(&item->told, 2);
	hash_table_insert(outbox->items, item->key, item);
	return item;
}

static void item_free(struct outbox *outbox, struct outbox_item *item)
{
	char **told;

	item_clear(outbox, item);
	array_foreach_modifiable(&item->told, told)
		i_free(*told);
	array_free(&item->told);
	i_free(item->key);
	i_free(item);
}

void outbox_remove(struct outbox *outbox, struct outbox_item **_item)
{
	struct outbox_item *item = *_item;

	*_item = NULL;
	hash_table_remove(outbox->items, item->key);
	item_free(outbox, item);
}

struct outbox_item *
outbox_add(struct outbox *outbox, const struct notice *notice)
{
	struct outbox_item *item = outbox_find(outbox, notice->state.incident);

	if (notice->kind == NOTICE_KIND_FORGOTTEN) {
		if (item != NULL)
			outbox_remove(outbox, &item);
		return NULL;
	}
	if (item != NULL)
		item_clear(outbox, item);
	else T_BEGIN {
		item = item_new(outbox, notice->state.incident);
	} T_END;
	item_set(item, notice);
	return item;
}

void outbox_deinit(struct outbox **_outbox)
{
	struct outbox *outbox = *_outbox;
	struct hash_iterate_context *iter;
	struct outbox_item *item;
	char *key;

	if (outbox == NULL)
		return;
	*_outbox = NULL;
	iter = hash_table_iterate_init(outbox->items);
	while (hash_table_iterate(iter, outbox->items, &key, &item))
		item_free(outbox, item);
	hash_table_iterate_deinit(&iter);
	hash_table_destroy(&outbox->items);
	hash_table_destroy(&outbox->recipients);
	i_free(outbox);
}

bool outbox_was_told(const struct outbox_item *item, const char *recipient)
{
	struct outbox_row *const *row;

	array_foreach(&item->rows, row) {
		if (row_is_told(*row) &&
		    strcmp((*row)->recipient, recipient) == 0)
			return TRUE;
	}
	return item_told_has(item, recipient);
}

void outbox_told(struct outbox *outbox, uint64_t incident,
		 const char *recipient)
{
	struct outbox_item *item = outbox_find(outbox, incident);

	if (item != NULL)
		item_told_add(item, recipient);
}

static bool item_is_old(const struct outbox *outbox,
			const struct outbox_item *item, time_t now)
{
	return now - item->notice.state.told_time >
		(time_t)outbox->limits.give_up_secs;
}

bool outbox_item_is_done(const struct outbox *outbox,
			 const struct outbox_item *item, time_t now)
{
	bool old = item_is_old(outbox, item, now);
	struct outbox_row *const *row;

	if (item->notice.kind != NOTICE_KIND_RECOVERY ||
	    (!item->planned && !old))
		return FALSE;
	array_foreach(&item->rows, row) {
		if ((*row)->busy ||
		    ((*row)->result == JOURNAL_RESULT_WAITING && !old))
			return FALSE;
	}
	return TRUE;
}

/*
 * Rows
 */

static struct outbox_row *
item_row_find(const struct outbox_item *item, const char *recipient,
	      unsigned int channel)
{
	struct outbox_row *const *row;

	array_foreach(&item->rows, row) {
		if ((*row)->channel == channel &&
		    strcmp((*row)->recipient, recipient) == 0)
			return *row;
	}
	return NULL;
}

static struct outbox_row *
item_row_new(struct outbox *outbox, struct outbox_item *item,
	     const char *recipient, unsigned int channel)
{
	struct outbox_row *row = p_new(item->pool, struct outbox_row, 1);

	row->item = item;
	row->recipient = p_strdup(item->pool, recipient);
	row->channel = channel;
	row->result = JOURNAL_RESULT_WAITING;
	recipient_link(outbox, row);
	array_push_back(&item->rows, &row);
	return row;
}

void outbox_row_add(struct outbox *outbox, struct outbox_item *item,
		    const char *recipient, unsigned int channel, time_t now)
{
	if (item_row_find(item, recipient, channel) == NULL)
		item_row_new(outbox, item, recipient, channel)->time = now;
}

void outbox_ack(struct outbox *outbox, struct outbox_item *item, time_t now)
{
	struct outbox_row *const *row;

	item->notice.state.acked = TRUE;
	item->planned = TRUE;
	array_foreach(&item->rows, row) {
		if ((*row)->result == JOURNAL_RESULT_WAITING && !(*row)->busy) {
			row_set(outbox, *row, JOURNAL_RESULT_DROPPED);
			(*row)->time = now;
		}
	}
}

void outbox_row_begin(struct outbox_row *row)
{
	i_assert(row->result == JOURNAL_RESULT_WAITING && !row->busy);

	row->busy = TRUE;
}

/* Seconds to wait after so many failed tries. */
static unsigned int
outbox_backoff(const struct outbox_limits *limits, unsigned int tries)
{
	unsigned int secs = limits->retry_secs;

	while (--tries > 0 && secs < limits->max_retry_secs)
		secs *= 2;
	return I_MIN(secs, limits->max_retry_secs);
}

void outbox_row_end(struct outbox *outbox, struct outbox_row *row,
		    enum journal_result result, unsigned int retry_secs,
		    time_t now)
{
	unsigned int secs;

	row->busy = FALSE;
	row->doubtful = FALSE;
	row->time = now;
	if (result == JOURNAL_RESULT_WAITING) {
		row->tries++;
		secs = outbox_backoff(&outbox->limits, row->tries);
		row->time = now + I_MAX(secs, retry_secs);
		if (item_is_old(outbox, row->item, now))
			result = JOURNAL_RESULT_FAILED;
	}
	row_set(outbox, row, result);
}

void outbox_row_postpone(struct outbox_row *row, time_t time)
{
	row->time = time;
}

struct outbox_row *
outbox_row_find(struct outbox *outbox, uint64_t incident, unsigned int said,
		const char *recipient, unsigned int channel)
{
	struct outbox_item *item = outbox_find(outbox, incident);

	if (item == NULL || item->notice.state.said != said)
		return NULL;
	return item_row_find(item, recipient, channel);
}

static void
item_due_rows(const struct outbox_item *item, unsigned int channels,
	      time_t now, ARRAY_TYPE(outbox_row) *rows)
{
	struct outbox_row *const *row;

	array_foreach(&item->rows, row) {
		if ((*row)->result == JOURNAL_RESULT_WAITING &&
		    !(*row)->busy && !(*row)->asking &&
		    ((*row)->channel & channels) != 0 &&
		    (*row)->time <= now)
			array_push_back(rows, row);
	}
}

void outbox_due_rows(struct outbox *outbox, unsigned int channels, time_t now,
		     ARRAY_TYPE(outbox_row) *rows)
{
	struct outbox_iter *iter = outbox_iter_init(outbox);
	struct outbox_item *item;

	while ((item = outbox_iter_next(iter)) != NULL)
		item_due_rows(item, channels, now, rows);
	outbox_iter_deinit(&iter);
}

/*
 * All of them
 */

struct outbox_iter *outbox_iter_init(struct outbox *outbox)
{
	struct outbox_iter *iter = i_new(struct outbox_iter, 1);

	iter->outbox = outbox;
	iter->ctx = hash_table_iterate_init(outbox->items);
	return iter;
}

struct outbox_item *outbox_iter_next(struct outbox_iter *iter)
{
	struct outbox_item *item;
	char *key;

	if (!hash_table_iterate(iter->ctx, iter->outbox->items, &key, &item))
		return NULL;
	return item;
}

void outbox_iter_deinit(struct outbox_iter **_iter)
{
	struct outbox_iter *iter = *_iter;

	*_iter = NULL;
	hash_table_iterate_deinit(&iter->ctx);
	i_free(iter);
}

static void
count_row(const struct outbox_row *row, struct outbox_counts *counts)
{
	switch (row->result) {
	case JOURNAL_RESULT_WAITING:
		if (row->busy)
			counts->busy++;
		else
			counts->waiting++;
		break;
	case JOURNAL_RESULT_TOLD:
		counts->told++;
		break;
	case JOURNAL_RESULT_DROPPED:
		counts->dropped++;
		break;
	case JOURNAL_RESULT_FAILED:
		counts->failed++;
		break;
	case JOURNAL_RESULT_SENDING:
	case JOURNAL_RESULT_COUNT:
		i_unreached();
	}
}

void outbox_count(struct outbox *outbox, struct outbox_counts *counts_r)
{
	struct outbox_iter *iter = outbox_iter_init(outbox);
	struct outbox_row *const *row;
	struct outbox_item *item;

	i_zero(counts_r);
	while ((item = outbox_iter_next(iter)) != NULL) {
		counts_r->notices++;
		if (!item->planned)
			counts_r->unplanned++;
		array_foreach(&item->rows, row)
			count_row(*row, counts_r);
	}
	outbox_iter_deinit(&iter);
}

/*
 * Journal
 */

/* What an older notice of the incident did counts for who was told. */
static void
outbox_restore_seen(struct outbox *outbox, const struct journal_seen *seen)
{
	struct outbox_item *item = outbox_find(outbox, seen->incident);
	struct outbox_row *row;

	if (item == NULL)
		return;
	if (item->notice.state.said != seen->said) {
		if (seen->result == JOURNAL_RESULT_TOLD ||
		    seen->result == JOURNAL_RESULT_SENDING)
			item_told_add(item, seen->recipient);
		return;
	}
	row = item_row_find(item, seen->recipient, seen->channel);
	if (row == NULL) {
		row = item_row_new(outbox, item, seen->recipient,
				   seen->channel);
	}
	row->doubtful = seen->result == JOURNAL_RESULT_SENDING;
	row_set(outbox, row, row->doubtful ? JOURNAL_RESULT_WAITING :
		seen->result);
	row->tries = seen->tries;
	row->time = seen->time;
}

void outbox_restore(struct outbox *outbox, const struct journal_entry *entry)
{
	struct outbox_item *item;

	switch (entry->kind) {
	case JOURNAL_KIND_NOTICE:
		(void)outbox_add(outbox, &entry->notice);
		break;
	case JOURNAL_KIND_SEEN:
		outbox_restore_seen(outbox, &entry->seen);
		break;
	case JOURNAL_KIND_DONE:
		item = outbox_find(outbox, entry->seen.incident);
		if (item != NULL)
			outbox_remove(outbox, &item);
		break;
	case JOURNAL_KIND_STATE:
	case JOURNAL_KIND_QUIET:
	case JOURNAL_KIND_PRODUCER:
	case JOURNAL_KIND_COUNT:
		break;
	}
}

static void
entry_init(const struct outbox_item *item, enum journal_kind kind,
	   struct journal_entry *entry_r)
{
	i_zero(entry_r);
	entry_r->kind = kind;
	entry_r->notice = item->notice;
	entry_r->seen.incident = item->notice.state.incident;
	entry_r->seen.said = item->notice.state.said;
	entry_r->seen.recipient = "";
}

void outbox_row_entry(const struct outbox_row *row,
		      struct journal_entry *entry_r)
{
	entry_init(row->item, JOURNAL_KIND_SEEN, entry_r);
	entry_r->seen.recipient = row->recipient;
	entry_r->seen.channel = row->channel;
	entry_r->seen.result = row->busy || row->doubtful ?
		JOURNAL_RESULT_SENDING : row->result;
	entry_r->seen.tries = row->tries;
	entry_r->seen.time = row->time;
}

void outbox_item_save(const struct outbox_item *item,
		      void (*add)(const struct journal_entry *entry,
				  void *context), void *context)
{
	struct outbox_row *const *row;
	struct journal_entry entry;
	char *const *told;

	entry_init(item, JOURNAL_KIND_NOTICE, &entry);
	add(&entry, context);
	entry.kind = JOURNAL_KIND_SEEN;
	/* of the one before, whichever that was */
	entry.seen.said--;
	entry.seen.result = JOURNAL_RESULT_TOLD;
	array_foreach(&item->told, told) {
		entry.seen.recipient = *told;
		add(&entry, context);
	}
	array_foreach(&item->rows, row) {
		outbox_row_entry(*row, &entry);
		add(&entry, context);
	}
}
