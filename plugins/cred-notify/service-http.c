/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "ioloop.h"
#include "master-service.h"
#include "dovecot-compat.h"
#include "channel-http.h"
#include "service-private.h"

#define HTTP_BUFFER_SIZE (64*1024)
#define HTTP_PING_SECS 15
#define HTTP_STREAM_SECS (60*60)
#define HTTP_IDLE_SECS 60

/* Whoever was to be told over HTTP has a row for it, whatever became of it. */
static struct outbox_row *
http_row(struct cred_service *service, const struct outbox_item *item,
	 const char *user)
{
	return outbox_row_find(service->outbox, item->notice.state.incident,
			       item->notice.state.said, user, AUDIENCE_HTTP);
}

static int http_item_cmp(const struct channel_http_item *i1,
			 const struct channel_http_item *i2)
{
	uint64_t n1 = i1->notice->state.incident;
	uint64_t n2 = i2->notice->state.incident;

	return n1 < n2 ? -1 : (n1 > n2 ? 1 : 0);
}

static void
http_find(struct cred_service *service, const struct audience_user *user,
	  ARRAY_TYPE(channel_http_item) *items)
{
	struct outbox_iter *iter = outbox_iter_init(service->outbox);
	struct channel_http_item *found;
	struct outbox_item *item;

	while ((item = outbox_iter_next(iter)) != NULL) {
		if (item->notice.kind == NOTICE_KIND_RECOVERY ||
		    http_row(service, item, user->name) == NULL ||
		    (cred_service_item_tells(service, item, user) &
		     AUDIENCE_HTTP) == 0)
			continue;
		found = array_append_space(items);
		found->notice = &item->notice;
		found->id = cred_service_id(&item->notice);
		found->language = user->language;
	}
	outbox_iter_deinit(&iter);
	array_sort(items, http_item_cmp);
}

/* somebody who asks waits for userdb */
struct http_listing {
	pool_t pool;
	struct cred_service *service;
	const char *user;
	channel_http_list_callback_t *callback;
	void *context;
};

static void
http_looked_up(int ret, const struct holders_user *user, void *context)
{
	struct http_listing *listing = context;
	ARRAY_TYPE(channel_http_item) items;
	struct audience_user audience;

	t_array_init(&items, 8);
	if (ret > 0) {
		audience = user->audience;
		/* the login's name is the one that counts */
		audience.name = listing->user;
		http_find(listing->service, &audience, &items);
	}
	listing->callback(array_is_empty(&items) ? NULL : array_front(&items),
			  array_count(&items), ret < 0 ?
			  "userdb does not answer" : NULL, listing->context);
	pool_unref(&listing->pool);
}

static void
service_http_list(void *context, const char *name,
		  channel_http_list_callback_t *callback, void *list_context)
{
	struct cred_service *service = context;
	pool_t pool = pool_alloconly_create("cred-notify list", 2048);
	struct http_listing *listing = p_new(pool, struct http_listing, 1);

	listing->pool = pool;
	listing->service = service;
	listing->user = p_strdup(pool, name);
	listing->callback = callback;
	listing->context = list_context;
	holders_lookup(service->holders, pool, listing->user, http_looked_up,
		       listing);
}

static void
service_http_shown(void *context, const char *user, const char *id)
{
	struct cred_service *service = context;
	struct outbox_item *item = cred_service_find(service, id);
	struct outbox_row *row;

	row = item == NULL ? NULL : http_row(service, item, user);
	if (row != NULL && row->result == JOURNAL_RESULT_WAITING)
		cred_service_row_end(service, row, JOURNAL_RESULT_TOLD);
}

static int service_http_ack(void *context, const char *user, const char *id)
{
	struct cred_service *service = context;
	struct outbox_item *item = cred_service_find(service, id);

	if (item == NULL || http_row(service, item, user) == NULL ||
	    item->notice.kind == NOTICE_KIND_RECOVERY)
		return 0;
	if (!cred_service_ack(service, &item->notice.state.subject))
		return 0;
	return cred_service_sync(service) ? 1 : -1;
}

static void service_http_closed(void *context ATTR_UNUSED)
{
	master_service_client_connection_destroyed(master_service);
}

static const struct channel_http_callbacks service_http_callbacks = {
	.list = service_http_list,
	.shown = service_http_shown,
	.ack = service_http_ack,
	.closed = service_http_closed,
};

void cred_service_init_http(struct cred_service *service)
{
	const struct cred_settings *set = service->set;
	const struct channel_http_settings http_set = {
		.auth_socket_path = t_strconcat(service->base_dir,
						"/auth-client", NULL),
		.origins = set->cred_notify_http_origins,
		.proxies = set->cred_notify_http_proxies,
		.base_url = set->cred_notify_base_url,
		.allow_cleartext = set->cred_notify_http_allow_cleartext,
		/* those that only ask come and go */
		.max_clients = set->cred_notify_http_max_streams + 100,
		.max_streams = set->cred_notify_http_max_streams,
		.max_streams_per_user = set->cred_notify_http_max_user_streams,
		.buffer_size = HTTP_BUFFER_SIZE,
		.ping_secs = HTTP_PING_SECS,
		.stream_secs = HTTP_STREAM_SECS,
		.idle_secs = HTTP_IDLE_SECS,
		.token_secs = set->cred_notify_http_token,
	};

	service->http = channel_http_init(&http_set, &service_http_callbacks,
					  service, service->event);
}

bool cred_service_http_accept(struct cred_service *service,
			      const struct master_service_connection *conn)
{
	const struct channel_http_peer peer = {
		.fd = conn->fd,
		.ssl = conn->ssl,
		.local_ip = conn->local_ip,
		.remote_ip = conn->remote_ip,
		.local_port = conn->local_port,
		.remote_port = conn->remote_port,
	};

	if (service->http == NULL)
		return FALSE;
	channel_http_accept(service->http, &peer);
	return TRUE;
}

/* The end of a trouble is for those who look on: it does not stand. Who was
   shown it has said so already. */
void cred_service_http_tell(struct cred_service *service,
			    struct outbox_item *item,
			    const struct audience_user *user)
{
	const struct channel_http_item pushed = {
		.notice = &item->notice,
		.id = cred_service_id(&item->notice),
		.language = user->language,
	};
	struct outbox_row *row;

	outbox_row_add(service->outbox, item, user->name, AUDIENCE_HTTP,
		       ioloop_time);
	(void)channel_http_push(service->http, user->name, &pushed);
	row = http_row(service, item, user->name);
	if (item->notice.kind == NOTICE_KIND_RECOVERY &&
	    row->result == JOURNAL_RESULT_WAITING)
		cred_service_row_end(service, row, JOURNAL_RESULT_DROPPED);
}
