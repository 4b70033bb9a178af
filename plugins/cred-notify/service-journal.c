/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "ioloop.h"
#include "dovecot-compat.h"
#include "service-private.h"

/* a full disk is tried again so often */
#define RETRY_SECS 10
/* The service before us lets go of the journal when what is on its way to
   somebody has come to an end (see cred_service_deinit()). Nobody may be told
   before that, and the master waits 30 seconds for us. */
#define JOURNAL_WAIT_MSECS 15000

/* While the journal is read: incidents are not known yet. */
struct replay {
	struct cred_service *service;
	struct notice_table *table;
};

static void replay_incident(struct replay *replay, uint64_t incident)
{
	struct cred_service *service = replay->service;

	service->top_incident = I_MAX(service->top_incident, incident);
}

static void replay_quiet(struct replay *replay,
			 const struct notice_subject *subject)
{
	ARRAY_TYPE(notice) notices;

	cred_service_notices_init(replay->service, &notices);
	(void)notice_table_clear(replay->table, subject,
				 replay->service->notices_pool, &notices);
}

static void replay_entry(const struct journal_entry *entry, void *context)
{
	struct replay *replay = context;

	replay_incident(replay, entry->notice.state.incident);
	replay_incident(replay, entry->seen.incident);
	if (entry->kind == JOURNAL_KIND_STATE) {
		(void)notice_table_restore(replay->table,
					   &entry->notice.state);
	} else if (entry->kind == JOURNAL_KIND_QUIET) {
		replay_quiet(replay, &entry->notice.state.subject);
	} else if (entry->kind == JOURNAL_KIND_PRODUCER) {
		producers_restore(replay->service->producers,
				  entry->producer.name, entry->producer.start,
				  entry->producer.last_id);
	} else {
		outbox_restore(replay->service->outbox, entry);
	}
}

/* A table knows from its beginning which incident is the first of its own:
   hence a second one. */
static void replay_finish(struct replay *replay,
			  const struct notice_limits *limits)
{
	struct cred_service *service = replay->service;
	const struct notice_state *state;
	struct notice_table_iter *iter;

	service->table = notice_table_init(limits, service->top_incident + 1);
	iter = notice_table_iter_init(replay->table);
	while ((state = notice_table_iter_next(iter)) != NULL)
		(void)notice_table_restore(service->table, state);
	notice_table_iter_deinit(&iter);
}

static void report_say(struct cred_service *service,
		       const struct journal_report *report)
{
	e_debug(service->event, "journal: %llu entries",
		(unsigned long long)report->entries);
	if (report->torn_bytes > 0) {
		e_warning(service->event, "journal: the last %llu bytes were "
			  "not written completely, and are cut off",
			  (unsigned long long)report->torn_bytes);
	}
	if (report->corrupt_lines > 0) {
		e_error(service->event, "journal: %llu lines passed over, the "
			"first at offset %llu: %s",
			(unsigned long long)report->corrupt_lines,
			(unsigned long long)report->corrupt_offset,
			report->corrupt_error);
	}
}

int cred_service_open_journal(struct cred_service *service,
			      const struct notice_limits *limits,
			      const char **error_r)
{
	const char *path = t_strconcat(service->set->cred_notify_dir,
				       "/journal", NULL);
	struct replay replay = { .service = service };
	struct journal_report report;
	int ret;

	replay.table = notice_table_init(limits, 1);
	ret = journal_open(path, JOURNAL_WAIT_MSECS, replay_entry, &replay,
			   &service->journal, &report, error_r);
	if (ret == 0) {
		report_say(service, &report);
		replay_finish(&replay, limits);
	}
	notice_table_deinit(&replay.table);
	return ret;
}

/*
 * Writing
 */

static void service_journal_failed(struct cred_service *service,
				   const char *error)
{
	if (!service->journal_broken) {
		e_error(service->event, "journal: %s (what happens is "
			"remembered and told, but not acknowledged)", error);
	}
	service->journal_broken = TRUE;
	service->journal_retry_time = ioloop_time + RETRY_SECS;
}

void cred_service_append(struct cred_service *service,
			 const struct journal_entry *entry)
{
	const char *error;

	/* compaction writes it, once it succeeds */
	if (!service->journal_broken &&
	    journal_append(service->journal, entry, &error) < 0)
		service_journal_failed(service, error);
	cred_service_flush_later(service);
}

void cred_service_append_row(struct cred_service *service,
			     const struct outbox_row *row)
{
	struct journal_entry entry;

	outbox_row_entry(row, &entry);
	cred_service_append(service, &entry);
}

static void
entry_init_done(struct journal_entry *entry_r, uint64_t incident,
		unsigned int said)
{
	i_zero(entry_r);
	entry_r->kind = JOURNAL_KIND_DONE;
	entry_r->seen.incident = incident;
	entry_r->seen.said = said;
	entry_r->seen.recipient = "";
}

void cred_service_append_done(struct cred_service *service, uint64_t incident,
			      unsigned int said)
{
	struct journal_entry entry;

	entry_init_done(&entry, incident, said);
	cred_service_append(service, &entry);
}

static void
entry_init_producer(struct journal_entry *entry_r, const char *name,
		    const char *start, uint64_t last_id)
{
	i_zero(entry_r);
	entry_r->kind = JOURNAL_KIND_PRODUCER;
	entry_r->seen.recipient = "";
	entry_r->producer.name = name;
	entry_r->producer.start = start;
	entry_r->producer.last_id = last_id;
}

static void
append_producer(const char *name, const char *start, uint64_t last_id,
		void *context)
{
	struct journal_entry entry;

	entry_init_producer(&entry, name, start, last_id);
	cred_service_append(context, &entry);
}

static void compact_add(const struct journal_entry *entry, void *context)
{
	journal_compact_add(context, entry);
}

static void compact_table(struct cred_service *service,
			  struct journal_compact *compact)
{
	struct notice_table_iter *iter = notice_table_iter_init(service->table);
	const struct notice_state *state;
	struct journal_entry entry;

	i_zero(&entry);
	entry.kind = JOURNAL_KIND_STATE;
	entry.seen.recipient = "";
	while ((state = notice_table_iter_next(iter)) != NULL) {
		service->top_incident = I_MAX(service->top_incident,
					      state->incident);
		entry.notice.state = *state;
		journal_compact_add(compact, &entry);
	}
	notice_table_iter_deinit(&iter);
}

static void compact_outbox(struct cred_service *service,
			   struct journal_compact *compact)
{
	struct outbox_iter *iter = outbox_iter_init(service->outbox);
	struct outbox_item *item;

	while ((item = outbox_iter_next(iter)) != NULL)
		outbox_item_save(item, compact_add, compact);
	outbox_iter_deinit(&iter);
}

static void
compact_producer(const char *name, const char *start, uint64_t last_id,
		 void *context)
{
	struct journal_entry entry;

	entry_init_producer(&entry, name, start, last_id);
	journal_compact_add(context, &entry);
}

/* All of it in one turn: what was appended meanwhile would be lost. The last
   incident is kept, whatever became of it: a number used twice would make one
   mail of two. */
static int service_compact(struct cred_service *service, const char **error_r)
{
	struct journal_compact *compact;
	struct journal_entry top;

	if (journal_compact_begin(service->journal, &compact, error_r) < 0)
		return -1;
	compact_table(service, compact);
	compact_outbox(service, compact);
	producers_each(service->producers, TRUE, compact_producer, compact);
	entry_init_done(&top, service->top_incident, 0);
	/* DONE would take its notice away */
	if (service->top_incident > 0 &&
	    outbox_find(service->outbox, service->top_incident) == NULL)
		journal_compact_add(compact, &top);
	return journal_compact_commit(&compact, error_r);
}

static void service_compact_if_wanted(struct cred_service *service)
{
	const char *error;
	int ret;

	if ((!service->journal_broken &&
	     !journal_wants_compaction(service->journal)) ||
	    ioloop_time < service->journal_retry_time)
		return;
	T_BEGIN {
		ret = service_compact(service, &error);
		if (ret < 0)
			service_journal_failed(service, error);
	} T_END;
	if (ret < 0)
		return;
	if (service->journal_broken)
		e_info(service->event, "journal: can be written again");
	service->journal_broken = FALSE;
	service->journal_retry_time = 0;
}

/* A record behind which its id is missing would be counted again, should its
   producer say it again. */
bool cred_service_sync(struct cred_service *service)
{
	const char *error;

	producers_each(service->producers, FALSE, append_producer, service);
	if (!service->journal_broken &&
	    journal_sync(service->journal, &error) < 0)
		service_journal_failed(service, error);
	service_compact_if_wanted(service);
	return !service->journal_broken;
}
