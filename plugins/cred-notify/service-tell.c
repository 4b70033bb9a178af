/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "ioloop.h"
#include "read-full.h"
#include "safe-memset.h"
#include "str.h"
#include "str-sanitize.h"
#include "strnum.h"
#include "master-service.h"
#include "dovecot-compat.h"
#include "core/notice-text.h"
#include "channel-http.h"
#include "channel-mail.h"
#include "channel-webhook.h"
#include "service-private.h"

#include <fcntl.h>
#include <unistd.h>

/* tellings that channels have at one time; the rest waits here */
#define MAX_BUSY 100
#define CHANNEL_TIMEOUT_SECS 60
#define SECRET_MAX 4096

const char *cred_service_id(const struct notice *notice)
{
	return t_strdup_printf("%llu.%u",
			       (unsigned long long)notice->state.incident,
			       notice->state.said);
}

/* Returns FALSE if id names no notice. */
static bool
id_parse(const char *id, uint64_t *incident_r, unsigned int *said_r)
{
	return str_parse_uint64(id, incident_r, &id) == 0 && *id == '.' &&
		str_to_uint(id + 1, said_r) == 0;
}

struct outbox_item *
cred_service_find(struct cred_service *service, const char *id)
{
	struct outbox_item *item;
	uint64_t incident;
	unsigned int said;

	if (!id_parse(id, &incident, &said))
		return NULL;
	item = outbox_find(service->outbox, incident);
	return item != NULL && item->notice.state.said == said ? item : NULL;
}

const char *
cred_service_line(struct cred_service *service, const struct notice *notice,
		  const struct audience_user *user)
{
	const struct notice_text_params params = {
		.notice = notice,
		.language = *user->language != '\0' ? user->language :
			service->set->cred_notify_language,
		.base_url = service->set->cred_notify_base_url,
	};

	return notice_text_line(&params, FALSE);
}

/* Where mail about the trouble would run into it. */
static const char *broken_address(const struct notice *notice)
{
	const struct notice_subject *subject = &notice->state.subject;

	return subject->origin == NOTICE_ORIGIN_LOGIN ? subject->user :
		notice->state.label;
}

unsigned int
cred_service_item_tells(struct cred_service *service,
			const struct outbox_item *item,
			const struct audience_user *user)
{
	return audience_tells(&service->audience, &item->notice, item->groups,
			      user, outbox_was_told(item, user->name),
			      broken_address(&item->notice));
}

/*
 * Channels that are given what they tell
 */

struct service_telling {
	pool_t pool;
	struct cred_service *service;
	uint64_t incident;
	unsigned int said, channel;
	const char *recipient;
};

static struct service_telling *
telling_create(struct cred_service *service, const struct outbox_row *row)
{
	const struct notice_state *state = &row->item->notice.state;
	pool_t pool = pool_alloconly_create("cred-notify telling", 1024);
	struct service_telling *telling =
		p_new(pool, struct service_telling, 1);

	telling->pool = pool;
	telling->service = service;
	telling->incident = state->incident;
	telling->said = state->said;
	telling->channel = row->channel;
	telling->recipient = p_strdup(pool, row->recipient);
	service->busy++;
	return telling;
}

static void telling_free(struct service_telling *telling)
{
	struct cred_service *service = telling->service;

	pool_unref(&telling->pool);
	if (--service->busy == 0 && service->closing)
		io_loop_stop(current_ioloop);
}

/* Returns NULL if its notice made room for a newer one. */
static struct outbox_row *telling_row(const struct service_telling *telling)
{
	return outbox_row_find(telling->service->outbox, telling->incident,
			       telling->said, telling->recipient,
			       telling->channel);
}

static enum journal_result result_get(enum channel_result result)
{
	switch (result) {
	case CHANNEL_TOLD:
		return JOURNAL_RESULT_TOLD;
	case CHANNEL_LATER:
		return JOURNAL_RESULT_WAITING;
	case CHANNEL_FAILED:
		return JOURNAL_RESULT_FAILED;
	}
	i_unreached();
}

static const char *telling_name(const struct service_telling *telling)
{
	return *telling->recipient == '\0' ? "webhook" :
		str_sanitize(telling->recipient, 128);
}

static void
telling_log(const struct service_telling *telling,
	    const struct channel_answer *answer, enum journal_result result)
{
	const char *text;

	text = t_strdup_printf("Notice %llu.%u to %s: %s",
		(unsigned long long)telling->incident, telling->said,
		telling_name(telling),
		answer->error == NULL ? "told" : answer->error);
	if (result == JOURNAL_RESULT_TOLD)
		e_debug(telling->service->event, "%s", text);
	else if (result == JOURNAL_RESULT_WAITING)
		e_warning(telling->service->event, "%s (tried again)", text);
	else
		e_error(telling->service->event, "%s (given up)", text);
}

/* For whoever counts notices. */
static void row_event(struct cred_service *service,
		      const struct outbox_row *row, const char *result)
{
	const struct notice *notice = &row->item->notice;
	const char *channel = audience_channel_name(row->channel);
	struct event_passthrough *e = event_create_passthrough(service->event)->
		set_name("cred_notify_notice_finished")->
		add_str("class", notice_class_name(notice->state.told_class))->
		add_str("kind", notice_kind_name(notice->kind))->
		add_str("channel", channel)->
		add_str("result", result);

	e_debug(e->event(), "Notice %s by %s finished: %s",
		cred_service_id(notice), channel, result);
}

static const char *const finished_names[] = {
	[JOURNAL_RESULT_TOLD] = "told",
	[JOURNAL_RESULT_DROPPED] = "dropped",
	[JOURNAL_RESULT_FAILED] = "failed",
};

static void
row_end(struct cred_service *service, struct outbox_row *row,
	enum journal_result result, unsigned int retry_secs)
{
	outbox_row_end(service->outbox, row, result, retry_secs, ioloop_time);
	service->stats.results[row->result]++;
	cred_service_append_row(service, row);
	if (row->result != JOURNAL_RESULT_WAITING)
		row_event(service, row, finished_names[row->result]);
}

void cred_service_row_end(struct cred_service *service, struct outbox_row *row,
			  enum journal_result result)
{
	T_BEGIN {
		row_end(service, row, result, 0);
	} T_END;
}

/* The notice has made room for a newer one: who was told is remembered. */
static void telling_late(const struct service_telling *telling)
{
	struct cred_service *service = telling->service;
	struct journal_entry entry;

	outbox_told(service->outbox, telling->incident, telling->recipient);
	i_zero(&entry);
	entry.kind = JOURNAL_KIND_SEEN;
	entry.seen.incident = telling->incident;
	entry.seen.said = telling->said;
	entry.seen.recipient = telling->recipient;
	entry.seen.channel = telling->channel;
	entry.seen.result = JOURNAL_RESULT_TOLD;
	entry.seen.time = ioloop_time;
	cred_service_append(service, &entry);
}

/* Returns what became of it. */
static enum journal_result
telling_end(struct service_telling *telling,
	    const struct channel_answer *answer)
{
	struct outbox_row *row = telling_row(telling);
	enum journal_result result = result_get(answer->result);

	/* that is not known, as the journal says */
	if (answer->cut_off)
		return result;
	if (row != NULL && row->busy) {
		row_end(telling->service, row, result, answer->retry_secs);
		/* it may have been the last try */
		return row->result;
	}
	if (result == JOURNAL_RESULT_TOLD)
		telling_late(telling);
	return result;
}

static void
service_answered(const struct channel_answer *answer, void *context)
{
	struct service_telling *telling = context;

	T_BEGIN {
		telling_log(telling, answer, telling_end(telling, answer));
	} T_END;
	telling_free(telling);
}

struct channel *
cred_service_channel(struct cred_service *service, unsigned int kind)
{
	if (service->mail != NULL && (service->mail->kinds & kind) != 0)
		return service->mail;
	if (service->webhook != NULL && (service->webhook->kinds & kind) != 0)
		return service->webhook;
	return NULL;
}

static void
telling_hand_over(struct service_telling *telling, struct outbox_row *row,
		  const struct audience_user *user)
{
	const struct notice *notice = &row->item->notice;
	struct channel *channel =
		cred_service_channel(telling->service, row->channel);
	const struct channel_telling what = {
		.notice = notice,
		.user = user,
		.channel = row->channel,
		.id = cred_service_id(notice),
	};

	if (row->doubtful) {
		e_warning(telling->service->event, "Notice %s to %s may come "
			  "twice: the service ended in the middle of it",
			  what.id, telling_name(telling));
	}
	outbox_row_begin(row);
	/* is on disk before any answer can come */
	cred_service_append_row(telling->service, row);
	channel->v.tell(channel, &what, service_answered, telling);
}

static const char *const *
usable_addresses(const struct audience_user *user, const char *broken)
{
	const char *const *address;
	ARRAY_TYPE(const_string) usable;

	t_array_init(&usable, 4);
	for (address = user->addresses; *address != NULL; address++) {
		if (audience_address_is_usable(*address, broken))
			array_push_back(&usable, address);
	}
	array_append_zero(&usable);
	return array_front(&usable);
}

/* What was true when the notice was made does not count any more: found is what
   userdb says by now. Returns FALSE if the row's user is not to be told; what
   user_r points to is found's or on the data stack. */
static bool
row_user(struct cred_service *service, const struct outbox_row *row,
	 const struct holders_user *found, struct audience_user *user_r)
{
	unsigned int tells;

	*user_r = found->audience;
	/* ours is the name that counts */
	user_r->name = row->recipient;
	user_r->addresses = usable_addresses(user_r,
		broken_address(&row->item->notice));
	tells = cred_service_item_tells(service, row->item, user_r);
	return (tells & row->channel) != 0;
}

/* ret and found: as holders_lookup_callback_t has them */
static void
telling_looked_up(int ret, const struct holders_user *found, void *context)
{
	struct service_telling *telling = context;
	struct cred_service *service = telling->service;
	struct outbox_row *row = telling_row(telling);
	struct audience_user user;

	if (row == NULL || !row->asking) {
		telling_free(telling);
		return;
	}
	row->asking = FALSE;
	if (ret > 0 && row_user(service, row, found, &user)) {
		telling_hand_over(telling, row, &user);
		return;
	}
	if (ret < 0) {
		outbox_row_postpone(row, ioloop_time +
				    CRED_SERVICE_USERDB_RETRY_SECS);
	} else {
		cred_service_row_end(service, row, JOURNAL_RESULT_DROPPED);
	}
	telling_free(telling);
}

static void row_tell(struct cred_service *service, struct outbox_row *row)
{
	struct service_telling *telling = telling_create(service, row);

	if (*row->recipient == '\0') {
		telling_hand_over(telling, row, NULL);
		return;
	}
	row->asking = TRUE;
	holders_lookup(service->holders, telling->pool, telling->recipient,
		       telling_looked_up, telling);
}

static void service_tell_rows(struct cred_service *service)
{
	unsigned int kinds = service->audience.channels &
		(AUDIENCE_MAIL | AUDIENCE_MAIL_OUTSIDE | AUDIENCE_WEBHOOK);
	ARRAY_TYPE(outbox_row) rows;
	struct outbox_row *const *row;

	t_array_init(&rows, 16);
	outbox_due_rows(service->outbox, kinds, ioloop_time, &rows);
	array_foreach(&rows, row) {
		if (service->busy >= MAX_BUSY)
			break;
		T_BEGIN {
			row_tell(service, *row);
		} T_END;
	}
}

void cred_service_tell(struct cred_service *service)
{
	service->tell_wanted = FALSE;
	if (service->closing)
		return;
	cred_service_plan(service);
	T_BEGIN {
		service_tell_rows(service);
	} T_END;
}

/*
 * Sessions
 */

/* A session waits for what userdb says of its user. */
struct service_session {
	pool_t pool;
	struct cred_service *service;
	uint64_t number;
	const char *user;
	uid_t uid;
};

static struct service_session *
session_create(struct cred_service *service, uint64_t number, const char *user)
{
	pool_t pool = pool_alloconly_create("cred-notify session", 1024);
	struct service_session *session =
		p_new(pool, struct service_session, 1);

	session->pool = pool;
	session->service = service;
	session->number = number;
	session->user = p_strdup(pool, user);
	return session;
}

static void service_uid_unknown(struct cred_service *service)
{
	if (service->uid_warned)
		return;
	service->uid_warned = TRUE;
	e_warning(service->event, "IMAP sessions get no notices: userdb says "
		  "no uid, which tells whose they are (set mail_uid)");
}

static void
session_checked(int ret, const struct holders_user *user, void *context)
{
	struct service_session *session = context;

	if (ret > 0 && user->uid == (uid_t)-1)
		service_uid_unknown(session->service);
	feed_admit(session->service->feed, session->number,
		   ret > 0 && user->uid == session->uid);
	pool_unref(&session->pool);
}

static void
service_feed_check(void *context, uint64_t number, const char *name, uid_t uid)
{
	struct cred_service *service = context;
	struct service_session *session = session_create(service, number, name);

	session->uid = uid;
	holders_lookup(service->holders, session->pool, name, session_checked,
		       session);
}

/* found: NULL if userdb knows the user no more */
static void
session_flash(struct service_session *session, struct outbox_row *row,
	      const struct holders_user *found)
{
	struct cred_service *service = session->service;
	struct audience_user user;

	if (found == NULL || !row_user(service, row, found, &user)) {
		cred_service_row_end(service, row, JOURNAL_RESULT_DROPPED);
	} else {
		const struct notice *notice = &row->item->notice;
		const struct feed_notice flash = {
			.id = cred_service_id(notice),
			.text = cred_service_line(service, notice, &user),
			.channel = FEED_FLASH,
		};

		(void)feed_tell(service->feed, session->number, &flash);
	}
}

/* Those that wait to be shown, from row on. */
static struct outbox_row *flash_next(struct outbox_row *row)
{
	while (row != NULL && row->channel != AUDIENCE_FLASH)
		row = row->next;
	return row;
}

static void
session_looked_up(int ret, const struct holders_user *user, void *context)
{
	struct service_session *session = context;
	struct outbox_row *row, *next;

	row = ret < 0 ? NULL : outbox_recipient_rows(session->service->outbox,
						     session->user);
	for (row = flash_next(row); row != NULL; row = next) {
		next = flash_next(row->next);
		T_BEGIN {
			session_flash(session, row, user);
		} T_END;
	}
	pool_unref(&session->pool);
}

static void
service_feed_subscribed(void *context, const struct feed_session_info *info)
{
	struct cred_service *service = context;
	struct service_session *session;

	if (flash_next(outbox_recipient_rows(service->outbox,
					     info->user)) == NULL)
		return;
	session = session_create(service, info->number, info->user);
	holders_lookup(service->holders, session->pool, session->user,
		       session_looked_up, session);
}

/* Live is never waited for: what a session shows of it is known by then. */
static void
service_feed_shown(void *context, const struct feed_session_info *info,
		   const char *id, enum feed_channel feed_channel)
{
	struct cred_service *service = context;
	unsigned int channel = feed_channel == FEED_FLASH ?
		AUDIENCE_FLASH : AUDIENCE_LIVE;
	struct outbox_item *item = cred_service_find(service, id);
	struct outbox_row *row;

	if (item == NULL)
		return;
	outbox_row_add(service->outbox, item, info->user, channel, ioloop_time);
	row = outbox_row_find(service->outbox, item->notice.state.incident,
			      item->notice.state.said, info->user, channel);
	if (row->result == JOURNAL_RESULT_WAITING)
		cred_service_row_end(service, row, JOURNAL_RESULT_TOLD);
}

static void service_feed_closed(void *context ATTR_UNUSED)
{
	master_service_client_connection_destroyed(master_service);
}

const struct feed_callbacks cred_service_feed_callbacks = {
	.check = service_feed_check,
	.subscribed = service_feed_subscribed,
	.shown = service_feed_shown,
	.closed = service_feed_closed,
};

void cred_service_take_back(struct cred_service *service,
			    const struct outbox_item *item)
{
	const char *id = cred_service_id(&item->notice);
	struct outbox_row *const *row;

	array_foreach(&item->rows, row) {
		if ((*row)->channel == AUDIENCE_HTTP && service->http != NULL) {
			(void)channel_http_gone(service->http,
						(*row)->recipient, id);
		} else if (*(*row)->recipient != '\0') {
			feed_gone(service->feed, (*row)->recipient, id);
		}
	}
}

/*
 * Channels
 */

static struct channel_tls service_tls(const struct cred_service *service)
{
	const struct channel_tls tls = {
		.ca_file = service->set->cred_notify_ca_file,
		.ca_dir = service->set->cred_notify_ca_dir,
	};

	return tls;
}

static void service_init_mail(struct cred_service *service)
{
	const struct cred_settings *set = service->set;
	const char *lmtp = set->cred_notify_lmtp, *error;
	const struct channel_mail_settings mail_set = {
		.lmtp_path = *lmtp == '\0' || *lmtp == '/' ? lmtp :
			t_strconcat(service->base_dir, "/", lmtp, NULL),
		.submission_host = set->submission_host,
		.submission_ssl = set->submission_ssl,
		.sendmail_path = set->sendmail_path,
		.tls = service_tls(service),
		.dns_client_socket_path = t_strconcat(service->base_dir,
						      "/dns-client", NULL),
		.from = set->cred_notify_mail_from,
		.hostname = set->hostname,
		.base_url = set->cred_notify_base_url,
		.language = set->cred_notify_language,
		.journal_id = journal_id(service->journal),
		.timeout_secs = CHANNEL_TIMEOUT_SECS,
		.max_in_flight = 5,
	};

	service->mail = channel_mail_init(&mail_set, service->event, &error);
	if (service->mail == NULL)
		e_error(service->event, "No mail is sent: %s", error);
}

/* Returns 0, or -1 and error_r. The secret is without the file's last LF. */
static int secret_read(const char *path, char secret_r[SECRET_MAX + 1],
		       const char **error_r)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t ret;

	if (fd < 0) {
		*error_r = t_strdup_printf("open(%s) failed: %m", path);
		return -1;
	}
	ret = read(fd, secret_r, SECRET_MAX);
	if (ret < 0)
		*error_r = t_strdup_printf("read(%s) failed: %m", path);
	else if (ret == SECRET_MAX)
		*error_r = t_strdup_printf("%s is too long", path);
	i_close_fd(&fd);
	if (ret < 0 || ret == SECRET_MAX)
		return -1;
	secret_r[ret] = '\0';
	secret_r[strcspn(secret_r, "\r\n")] = '\0';
	return 0;
}

static void service_init_webhook(struct cred_service *service)
{
	const struct cred_settings *set = service->set;
	char secret[SECRET_MAX + 1];
	const char *error;
	const struct channel_webhook_settings hook_set = {
		.url = set->cred_notify_webhook_url,
		.secret = secret,
		.language = set->cred_notify_language,
		.base_url = set->cred_notify_base_url,
		.journal_id = journal_id(service->journal),
		.tls = service_tls(service),
		.dns_client_socket_path = t_strconcat(service->base_dir,
						      "/dns-client", NULL),
		.timeout_secs = CHANNEL_TIMEOUT_SECS,
		.max_retry_secs = 60*60,
		.max_in_flight = 5,
	};

	if (secret_read(set->cred_notify_webhook_secret_file, secret,
			&error) == 0) {
		service->webhook = channel_webhook_init(&hook_set,
							service->event, &error);
	}
	safe_memset(secret, 0, sizeof(secret));
	if (service->webhook == NULL)
		e_error(service->event, "The webhook is not called: %s", error);
}

/* A channel that does not work is not waited for. */
void cred_service_init_channels(struct cred_service *service)
{
	unsigned int wanted = service->audience.channels;
	unsigned int mail = AUDIENCE_MAIL | AUDIENCE_MAIL_OUTSIDE;
	unsigned int work = AUDIENCE_FLASH | AUDIENCE_LIVE;

	if ((wanted & mail) != 0)
		service_init_mail(service);
	if ((wanted & AUDIENCE_WEBHOOK) != 0)
		service_init_webhook(service);
	if ((wanted & AUDIENCE_HTTP) != 0) {
		cred_service_init_http(service);
		work |= AUDIENCE_HTTP;
	}
	if (service->mail != NULL)
		work |= service->mail->kinds;
	if (service->webhook != NULL)
		work |= service->webhook->kinds;
	service->audience.channels &= work;
}

void cred_service_deinit_channels(struct cred_service *service)
{
	if (service->http != NULL)
		channel_http_deinit(&service->http);
	if (service->mail != NULL)
		service->mail->v.deinit(service->mail);
	if (service->webhook != NULL)
		service->webhook->v.deinit(service->webhook);
	i_assert(service->busy == 0);
}
