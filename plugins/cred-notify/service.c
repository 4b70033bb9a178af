/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "ioloop.h"
#include "str-sanitize.h"
#include "master-service.h"
#include "dovecot-compat.h"
#include "control.h"
#include "core/control-line.h"
#include "service-private.h"

#define TICK_MSECS 1000
/* a record younger than this is of now, whatever its clock says */
#define RECORD_FRESH_SECS 60
/* How long we stay for what is on its way to somebody. Less than what the next
   service waits for the journal; and Dovecot's end is not kept waiting. */
#define DRAIN_MSECS 4000
/* how often it is said that producers had to drop something */
#define DROPPED_WARN_SECS 60
/* users that auth is told to watch for: that is said at one time */
#define MAX_WATCHED 1000

/*
 * Notices
 */

void cred_service_keep(struct cred_service *service,
		       const struct notice_subject *subject)
{
	const struct notice_state *state =
		notice_table_find(service->table, subject);
	struct journal_entry entry;

	i_zero(&entry);
	entry.seen.recipient = "";
	if (state == NULL) {
		entry.kind = JOURNAL_KIND_QUIET;
		entry.notice.state.subject = *subject;
		entry.notice.state.label = "";
	} else {
		entry.kind = JOURNAL_KIND_STATE;
		entry.notice.state = *state;
		service->top_incident = I_MAX(service->top_incident,
					      state->incident);
	}
	cred_service_append(service, &entry);
}

/* What the incident's last notice told of holds no more. */
static void
service_put(struct cred_service *service, const struct notice *notice)
{
	const struct notice_state *state = &notice->state;
	struct outbox_item *item =
		outbox_find(service->outbox, state->incident);

	if (item != NULL)
		cred_service_take_back(service, item);
	if (outbox_add(service->outbox, notice) == NULL && item != NULL) {
		cred_service_append_done(service, state->incident,
					 state->said);
	}
}

/* A state that says "told" is worth nothing without its notice: that comes
   first. */
static void
service_notice(struct cred_service *service, const struct notice *notice)
{
	struct journal_entry entry;

	i_zero(&entry);
	entry.kind = JOURNAL_KIND_NOTICE;
	entry.notice = *notice;
	entry.seen.recipient = "";
	if (notice->kind != NOTICE_KIND_FORGOTTEN)
		cred_service_append(service, &entry);
	service_put(service, notice);
	cred_service_keep(service, &notice->state.subject);
	service->tell_wanted = TRUE;
}

void cred_service_notices_init(struct cred_service *service,
			       ARRAY_TYPE(notice) *notices_r)
{
	p_clear(service->notices_pool);
	p_array_init(notices_r, service->notices_pool, 4);
}

void cred_service_notices(struct cred_service *service,
			  const ARRAY_TYPE(notice) *notices)
{
	const struct notice *notice;

	array_foreach(notices, notice) T_BEGIN {
		service_notice(service, notice);
	} T_END;
}

bool cred_service_ack(struct cred_service *service,
		      const struct notice_subject *subject)
{
	const struct notice_state *state;
	struct outbox_item *item;

	if (!notice_table_ack(service->table, subject))
		return FALSE;
	cred_service_keep(service, subject);
	state = notice_table_find(service->table, subject);
	item = outbox_find(service->outbox, state->incident);
	if (item != NULL) {
		cred_service_take_back(service, item);
		outbox_ack(service->outbox, item, ioloop_time);
	}
	return TRUE;
}

bool cred_service_clear(struct cred_service *service,
			const struct notice_subject *subject)
{
	ARRAY_TYPE(notice) notices;
	bool found;

	cred_service_notices_init(service, &notices);
	found = notice_table_clear(service->table, subject,
				   service->notices_pool, &notices);
	cred_service_notices(service, &notices);
	return found;
}

/*
 * Facts
 */

/* What was sent again after we died may have been taken up before that. */
static bool
fact_is_repeated(struct cred_service *service, const struct notice_fact *fact,
		 time_t now)
{
	const struct notice_state *state =
		notice_table_find(service->table, &fact->subject);

	return state != NULL && !fact->success && now < ioloop_time &&
		now <= state->last_time;
}

static void
service_fact(struct cred_service *service, const struct notice_fact *fact,
	     time_t now)
{
	ARRAY_TYPE(notice) notices;

	if (fact_is_repeated(service, fact, now))
		return;
	cred_service_notices_init(service, &notices);
	if (notice_table_fact(service->table, fact, now,
			      service->notices_pool, &notices))
		cred_service_keep(service, &fact->subject);
	cred_service_notices(service, &notices);
}

/* Records wait while we are away: then the time they name counts. */
static time_t record_time(const struct record *record)
{
	time_t now = ioloop_time;

	if (record->time + RECORD_FRESH_SECS > (uint64_t)now)
		return now;
	return record->time;
}

/* Returns FALSE for what says nothing of what the user has to do. */
static bool
reason_parse(enum record_reason reason, struct notice_fact *fact_r)
{
	switch (reason) {
	case RECORD_REASON_PASSWORD:
		fact_r->class = NOTICE_CLASS_CREDENTIAL;
		return TRUE;
	case RECORD_REASON_PASS_EXPIRED:
		fact_r->class = NOTICE_CLASS_USER_ACTION;
		fact_r->hint = NOTICE_HINT_EXPIRED;
		return TRUE;
	case RECORD_REASON_USER_DISABLED:
		fact_r->class = NOTICE_CLASS_USER_ACTION;
		fact_r->hint = NOTICE_HINT_BLOCKED;
		return TRUE;
	case RECORD_REASON_NONE:
	case RECORD_REASON_USER_UNKNOWN:
	case RECORD_REASON_NOT_ALLOWED:
	case RECORD_REASON_SCHEME:
	case RECORD_REASON_POLICY:
	case RECORD_REASON_INTERNAL:
	case RECORD_REASON_NO_LOOKUP:
	case RECORD_REASON_COUNT:
		break;
	}
	return FALSE;
}

static const char *text_or_empty(const char *text)
{
	return text == NULL ? "" : text;
}

/* A master who logs in as somebody says nothing of that user's own
   credentials. */
static bool login_fact(struct cred_service *service,
		       const struct record *record, struct notice_fact *fact_r)
{
	if (record->user == NULL || (record->master != NULL &&
				     strcmp(record->master, record->user) != 0))
		return FALSE;
	fact_r->subject.origin = NOTICE_ORIGIN_LOGIN;
	fact_r->subject.user = record->user;
	fact_r->subject.account = "";
	fact_r->success = record->kind == RECORD_LOGIN_OK;
	fact_r->label = "";
	fact_r->once = text_or_empty(record->session);
	fact_r->ip = record->ip;
	fact_r->protocol = text_or_empty(record->service);
	return fact_r->success ||
		(!audience_is_own_address(&service->audience, &record->ip) &&
		 reason_parse(record->reason, fact_r));
}

/* What imapsync-pull calls otherwise (reply_class_name()). */
static const struct {
	const char *name;
	enum notice_class class;
} reply_classes[] = {
	{ "protocol", NOTICE_CLASS_SERVER },
	{ "policy", NOTICE_CLASS_LOCAL },
	{ "folder", NOTICE_CLASS_SERVER },
	{ "message", NOTICE_CLASS_SERVER },
	{ "quota", NOTICE_CLASS_LOCAL },
	{ "config", NOTICE_CLASS_LOCAL },
	{ "busy", NOTICE_CLASS_LOCAL },
	{ "stopped", NOTICE_CLASS_LOCAL },
};

/* One we do not know is of a later version: ours are the admin's. */
static enum notice_class class_get(const char *name)
{
	enum notice_class class;
	unsigned int i;

	if (notice_class_parse(name, &class))
		return class;
	for (i = 0; i < N_ELEMENTS(reply_classes); i++) {
		if (strcmp(reply_classes[i].name, name) == 0)
			return reply_classes[i].class;
	}
	return NOTICE_CLASS_LOCAL;
}

/* A failure is known by when it was: said again, it is the same. */
static bool
account_fact(const struct record *record, struct notice_fact *fact_r)
{
	fact_r->subject.origin = NOTICE_ORIGIN_ACCOUNT;
	fact_r->subject.user = text_or_empty(record->owner);
	fact_r->subject.account = record->account;
	fact_r->success = record->kind == RECORD_ACCOUNT_CLEAR;
	fact_r->label = text_or_empty(record->label);
	fact_r->once = dec2str(record->time);
	fact_r->protocol = "";
	if (!fact_r->success) {
		fact_r->class = class_get(record->class);
		/* a hint we do not know is none */
		(void)notice_hint_parse(text_or_empty(record->hint),
					&fact_r->hint);
	}
	return TRUE;
}

static void service_dropped(struct cred_service *service,
			    const struct record *record,
			    const struct record *producer)
{
	service->stats.dropped += record->count;
	if (ioloop_time - service->dropped_warned < DROPPED_WARN_SECS)
		return;
	service->dropped_warned = ioloop_time;
	e_warning(service->event, "producer %s had no room for %llu records",
		  str_sanitize(producer->name, 64),
		  (unsigned long long)record->count);
}

/* Returns FALSE if nobody's credentials are in question. */
static bool
record_fact(struct cred_service *service, const struct record *record,
	    struct notice_fact *fact_r)
{
	switch (record->kind) {
	case RECORD_LOGIN_FAIL:
	case RECORD_LOGIN_OK:
		return login_fact(service, record, fact_r);
	case RECORD_ACCOUNT_FAIL:
	case RECORD_ACCOUNT_CLEAR:
		return account_fact(record, fact_r);
	case RECORD_DROPPED:
	case RECORD_PRODUCER:
	case RECORD_ACK:
	case RECORD_WATCH:
	case RECORD_KIND_COUNT:
		break;
	}
	return FALSE;
}

static void
service_record(void *context, const struct record *producer,
	       const struct record *record)
{
	struct cred_service *service = context;
	struct notice_fact fact;

	service->stats.records[record->kind]++;
	i_zero(&fact);
	T_BEGIN {
		if (record->kind == RECORD_DROPPED)
			service_dropped(service, record, producer);
		else if (!record_fact(service, record, &fact))
			service->stats.ignored++;
		else if (record->gone != NULL)
			(void)cred_service_clear(service, &fact.subject);
		else
			service_fact(service, &fact, record_time(record));
	} T_END;
}

static void
service_watch(struct producer *producer, const struct notice_state *state)
{
	static const struct ip_addr unknown = { .family = 0 };
	unsigned int i;

	if (state->networks_count == 0)
		producers_watch(producer, state->subject.user, &unknown);
	for (i = 0; i < state->networks_count; i++) {
		producers_watch(producer, state->subject.user,
				&state->networks[i].net);
	}
}

/* It knows of no failure from before it started, and tells successes only of
   those who failed. */
static void
service_auth_is_back(void *context, struct producer *producer)
{
	struct cred_service *service = context;
	const struct notice_state *const *state;

	T_BEGIN {
		ARRAY_TYPE(const_notice_state) states;

		t_array_init(&states, 64);
		notice_table_logins(service->table, MAX_WATCHED, &states);
		array_foreach(&states, state)
			service_watch(producer, *state);
	} T_END;
}

/*
 * Turns
 */

static void service_flush(struct cred_service *service)
{
	timeout_remove(&service->to_flush);
	if (cred_service_sync(service))
		producers_ack(service->producers);
	if (service->tell_wanted)
		cred_service_tell(service);
	/* what telling wrote may wait, but not for nobody */
	if (service->to_flush != NULL) {
		timeout_remove(&service->to_flush);
		(void)cred_service_sync(service);
	}
}

void cred_service_flush_later(struct cred_service *service)
{
	if (service->to_flush != NULL)
		return;
	service->to_flush = timeout_add_short(0, service_flush, service);
}

static void service_pending(void *context)
{
	cred_service_flush_later(context);
}

static void service_closed(void *context ATTR_UNUSED)
{
	master_service_client_connection_destroyed(master_service);
}

static const struct producers_callbacks service_producers = {
	.record = service_record,
	.auth_is_back = service_auth_is_back,
	.pending = service_pending,
	.closed = service_closed,
};

static void service_drop_done(struct cred_service *service)
{
	struct outbox_iter *iter = outbox_iter_init(service->outbox);
	struct outbox_item *item;

	while ((item = outbox_iter_next(iter)) != NULL) {
		if (!outbox_item_is_done(service->outbox, item, ioloop_time))
			continue;
		cred_service_take_back(service, item);
		cred_service_append_done(service, item->notice.state.incident,
					 item->notice.state.said);
		outbox_remove(service->outbox, &item);
	}
	outbox_iter_deinit(&iter);
}

static void service_tick(struct cred_service *service)
{
	ARRAY_TYPE(notice) notices;

	cred_service_notices_init(service, &notices);
	notice_table_tick(service->table, ioloop_time, service->notices_pool,
			  &notices);
	cred_service_notices(service, &notices);
	service_drop_done(service);
	service->tell_wanted = TRUE;
	cred_service_flush_later(service);
}

void cred_service_connected(struct cred_service *service,
			    const struct master_service_connection *conn)
{
	int fd = conn->fd;

	if (strcmp(conn->name, RECORD_SOCKET) == 0)
		producers_accept(service->producers, conn->fd);
	else if (strcmp(conn->name, FEED_SOCKET) == 0)
		feed_accept(service->feed, conn->fd);
	else if (strcmp(conn->name, CONTROL_SOCKET) == 0)
		control_accept(service->control, conn->fd);
	else if (!cred_service_http_accept(service, conn)) {
		e_error(service->event, "Listener %s: cred_notify_channels "
			"does not have http", conn->name);
		i_close_fd(&fd);
		service_closed(service);
	}
}

/*
 * Beginning and end
 */

static void service_init_outbox(struct cred_service *service)
{
	const struct cred_settings *set = service->set;
	const struct outbox_limits limits = {
		.retry_secs = set->cred_notify_retry,
		.max_retry_secs = I_MAX(set->cred_notify_max_retry,
					set->cred_notify_retry),
		.give_up_secs = set->cred_notify_give_up,
	};

	service->outbox = outbox_init(&limits);
}

static void service_init_holders(struct cred_service *service)
{
	struct holders_settings set = {
		.audience = &service->audience,
		.base_dir = service->base_dir,
		.refresh_secs = service->set->cred_notify_refresh,
	};
	const char *error;

	if (cred_settings_mail_uid(service->set, &set.mail_uid, &error) < 0)
		e_error(service->event, "mail_uid: %s", error);
	service->holders = holders_init(&set, service->event);
}

static void service_init_feed(struct cred_service *service, uid_t trusted_uid)
{
	const struct feed_settings set = {
		.trusted_uid = trusted_uid,
		.max_connections = CRED_SERVICE_CLIENT_LIMIT / 2,
		.max_sessions = 1000,
	};

	service->feed = feed_init(&set, &cred_service_feed_callbacks, service,
				  service->event);
}

int cred_service_init(const struct cred_settings *set, const char *base_dir,
		      uid_t trusted_uid, struct cred_service **service_r,
		      const char **error_r)
{
	struct cred_service *service;
	struct notice_limits limits;
	pool_t pool;

	pool = pool_alloconly_create("cred-notify service", 1024);
	service = p_new(pool, struct cred_service, 1);
	service->pool = pool;
	service->set = set;
	service->base_dir = p_strdup(pool, base_dir);
	service->event = event_create(NULL);
	service->notices_pool = pool_alloconly_create("cred-notify notices",
						      1024);
	cred_settings_audience(pool, set, &service->audience);
	cred_settings_limits(set, &limits);
	service_init_outbox(service);
	*service_r = service;
	service->producers = producers_init(&service_producers, service,
					    service->event);
	if (cred_service_open_journal(service, &limits, error_r) < 0) {
		cred_service_deinit(service_r);
		return -1;
	}
	service_init_holders(service);
	cred_service_init_channels(service);
	service_init_feed(service, trusted_uid);
	service->control = control_init(service);
	service->to_tick = timeout_add(TICK_MSECS, service_tick, service);
	/* before sessions are back: they have been told of what is old */
	cred_service_tell(service);
	return 0;
}

static void drain_timeout(struct cred_service *service)
{
	timeout_remove(&service->to_tick);
	io_loop_stop(current_ioloop);
}

/* What channels have is waited for: a mail that is cut off may have arrived,
   and would be sent again by the service after us. That one waits for our
   journal. */
static void service_drain(struct cred_service *service)
{
	service->closing = TRUE;
	timeout_remove(&service->to_tick);
	if (service->busy == 0)
		return;
	master_service_stop_new_connections(master_service);
	service->to_tick = timeout_add(DRAIN_MSECS, drain_timeout, service);
	while (service->busy > 0 && service->to_tick != NULL)
		io_loop_run(current_ioloop);
	timeout_remove(&service->to_tick);
}

/* Channels answer what they have when they go: the rest is still there then. */
void cred_service_deinit(struct cred_service **_service)
{
	struct cred_service *service = *_service;

	if (service == NULL)
		return;
	service_drain(service);
	*_service = NULL;
	control_deinit(&service->control);
	/* who waits for userdb needs the others */
	holders_deinit(&service->holders);
	if (service->feed != NULL)
		feed_deinit(&service->feed);
	cred_service_deinit_channels(service);
	if (service->journal != NULL && cred_service_sync(service))
		producers_ack(service->producers);
	producers_deinit(&service->producers);
	timeout_remove(&service->to_flush);
	if (service->journal != NULL)
		journal_close(&service->journal);
	if (service->table != NULL)
		notice_table_deinit(&service->table);
	outbox_deinit(&service->outbox);
	event_unref(&service->event);
	pool_unref(&service->notices_pool);
	pool_unref(&service->pool);
}
