/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "auth-client.h"
#include "http-server.h"
#include "http-url.h"
#include "ioloop.h"
#include "istream.h"
#include "lib-event.h"
#include "llist.h"
#include "randgen.h"
#include "dovecot-compat.h"
#include "core/notice-json.h"
#include "channel-dovecot.h"
#include "channel-http-private.h"

#include <unistd.h>

/* in bytes */
#define MAX_TARGET 2048
#define MAX_HEADER (16 * 1024)
#define MAX_BODY 1024
/* the kernel's; of what a client does not read, it takes megabytes otherwise */
#define SEND_BUFFER (64 * 1024)
/* of them a user has some for each browser */
#define MAX_TOKENS_PER_USER 8
#define MAX_TOKENS 20000
/* notices in one answer */
#define LIST_MAX 100
#define PREFLIGHT_SECS "600"

/*
 * Requests
 */

static void web_body_end(struct web_ask *ask)
{
	io_remove(&ask->io);
	i_stream_unref(&ask->input);
}

static void web_ask_free(struct web_ask *ask)
{
	timeout_remove(&ask->to_free);
	web_body_end(ask);
	web_login_abort(ask);
	web_stream_end(ask);
	DLLIST_REMOVE(&ask->http->asks, ask);
	if (ask->request != NULL)
		(void)http_server_request_unref(&ask->request);
	event_unref(&ask->event);
	i_free(ask->origin);
	i_free(ask->user);
	i_free(ask->last_id);
	buffer_free(&ask->body);
	i_free(ask);
}

/* lib-http calls this inside calls of ours for the same request: what they
   still look at must stay. */
static void web_ask_destroyed(struct web_ask *ask)
{
	ask->gone = TRUE;
	ask->conn = NULL;
	web_body_end(ask);
	web_login_abort(ask);
	if (ask->to_free == NULL && !ask->listing)
		ask->to_free = timeout_add_short(0, web_ask_free, ask);
}

static void web_conn_close(struct web_conn *conn, const char *reason)
{
	struct http_server_connection *server_conn = conn->conn;

	/* NULL if it is closed already, and only requests hold it */
	conn->conn = NULL;
	http_server_connection_close(&server_conn, reason);
}

void web_hang_up(struct web_ask *ask, const char *reason)
{
	if (ask->conn == NULL)
		return;
	e_debug(ask->event, "Hanging up: %s", reason);
	web_conn_close(ask->conn, reason);
}

/*
 * Answers
 */

struct http_server_response *
web_response(struct web_ask *ask, unsigned int status, const char *reason)
{
	struct http_server_response *resp =
		http_server_response_create(ask->request, status, reason);

	http_server_response_add_header(resp, "Cache-Control", "no-store");
	http_server_response_add_header(resp, "X-Content-Type-Options",
					"nosniff");
	http_server_response_add_header(resp, "Vary", "Origin");
	if (*ask->origin != '\0') {
		http_server_response_add_header(resp,
			"Access-Control-Allow-Origin", ask->origin);
	}
	return resp;
}

void web_answer(struct web_ask *ask, unsigned int status, const char *reason,
		const char *body)
{
	struct http_server_response *resp = web_response(ask, status, reason);

	http_server_response_add_header(resp, "Content-Type",
					"application/json");
	http_server_response_set_payload_data(resp,
		(const unsigned char *)body, strlen(body));
	http_server_response_submit(resp);
}

void web_refuse(struct web_ask *ask, unsigned int status, const char *reason,
		const char *why)
{
	string_t *json = t_str_new(128);

	str_append(json, "{\"error\":");
	notice_json_append_string(json, why);
	str_append_c(json, '}');
	web_answer(ask, status, reason, str_c(json));
}

static void web_answer_preflight(struct web_ask *ask)
{
	struct http_server_response *resp;

	if (*ask->origin == '\0') {
		web_refuse(ask, 403, "Forbidden", "not for other sites");
		return;
	}
	resp = web_response(ask, 204, "No Content");
	http_server_response_add_header(resp, "Access-Control-Allow-Methods",
					"GET, POST");
	http_server_response_add_header(resp, "Access-Control-Allow-Headers",
		"Authorization, Content-Type, Last-Event-ID");
	http_server_response_add_header(resp, "Access-Control-Max-Age",
					PREFLIGHT_SECS);
	http_server_response_submit(resp);
}

/*
 * What is asked
 */

void web_list(struct web_ask *ask, channel_http_list_callback_t *callback)
{
	ask->listing = TRUE;
	ask->http->callbacks->list(ask->http->context, ask->user, callback,
				   ask);
}

bool web_listed(struct web_ask *ask, const char *error)
{
	i_assert(ask->listing);
	ask->listing = FALSE;
	if (ask->gone) {
		if (ask->to_free == NULL) {
			ask->to_free = timeout_add_short(0, web_ask_free, ask);
		}
		return FALSE;
	}
	if (error != NULL) {
		e_error(ask->event, "%s", error);
		web_refuse(ask, 503, "Service Unavailable", "try later");
	}
	return error == NULL;
}

static const char *
web_notices_json(struct web_ask *ask, const struct channel_http_item *items,
		 unsigned int count)
{
	struct notice_text_params text = {
		.base_url = ask->http->set.base_url,
	};
	string_t *json = str_new(default_pool, 8192);
	unsigned int i, first = count > LIST_MAX ? count - LIST_MAX : 0;
	const char *result;

	str_append(json, "{\"notices\":[");
	for (i = first; i < count; i++) T_BEGIN {
		if (i > first)
			str_append_c(json, ',');
		text.notice = items[i].notice;
		text.language = items[i].language;
		notice_json_append(json, items[i].id, &text);
	} T_END;
	str_printfa(json, "],\"total\":%u}", count);
	result = t_strdup(str_c(json));
	str_free(&json);
	return result;
}

static void
web_notices_listed(const struct channel_http_item *items, unsigned int count,
		   const char *error, void *context)
{
	struct web_ask *ask = context;
	struct channel_http *http = ask->http;
	unsigned int i;

	if (!web_listed(ask, error))
		return;
	web_answer(ask, 200, "OK", web_notices_json(ask, items, count));
	for (i = count > LIST_MAX ? count - LIST_MAX : 0; i < count; i++)
		http->callbacks->shown(http->context, ask->user, items[i].id);
}

static void web_give_token(struct web_ask *ask)
{
	unsigned char random[HTTP_TOKEN_BYTES];
	const char *token;

	if (ask->by_token) {
		web_refuse(ask, 403, "Forbidden", "a password is needed");
		return;
	}
	random_fill(random, sizeof(random));
	token = http_token_add(ask->http->tokens, random, ask->user,
			       ioloop_time);
	web_answer(ask, 200, "OK", t_strdup_printf(
		"{\"token\":\"%s\",\"expires_in\":%u}", token,
		ask->http->set.token_secs));
}

static const char *web_ack_id(struct web_ask *ask)
{
	const char *id;

	id = channel_dovecot_json_get(pool_datastack_create(), ask->body->data,
				      ask->body->used, "id");
	return id != NULL && http_ask_id_is_valid(id) ? id : NULL;
}

static bool
web_has_item(const struct channel_http_item *items, unsigned int count,
	     const char *id)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		if (strcmp(items[i].id, id) == 0)
			return TRUE;
	}
	return FALSE;
}

/* Who was told once may have no say by now: what stands for the user says. */
static void
web_ack_listed(const struct channel_http_item *items, unsigned int count,
	       const char *error, void *context)
{
	struct web_ask *ask = context;
	struct channel_http *http = ask->http;
	const char *id;
	int ret;

	if (!web_listed(ask, error))
		return;
	id = web_ack_id(ask);
	ret = !web_has_item(items, count, id) ? 0 :
		http->callbacks->ack(http->context, ask->user, id);
	if (ret < 0)
		web_refuse(ask, 503, "Service Unavailable", "try later");
	else if (ret == 0)
		web_refuse(ask, 404, "Not Found", "no such notice");
	else
		web_answer(ask, 200, "OK", t_strdup_printf(
			"{\"id\":\"%s\",\"acked\":true}", id));
}

static void web_ack(struct web_ask *ask)
{
	if (web_ack_id(ask) == NULL) {
		web_refuse(ask, 400, "Bad Request", "no id of a notice");
		return;
	}
	web_list(ask, web_ack_listed);
}

void web_logged_in(struct web_ask *ask)
{
	switch (ask->route) {
	case HTTP_ROUTE_NOTICES:
		web_list(ask, web_notices_listed);
		break;
	case HTTP_ROUTE_EVENTS:
		web_stream_start(ask);
		break;
	case HTTP_ROUTE_TOKEN:
		web_give_token(ask);
		break;
	case HTTP_ROUTE_ACK:
		web_ack(ask);
		break;
	case HTTP_ROUTE_PREFLIGHT:
		i_unreached();
	}
}

/*
 * Who may ask
 */

static void
web_refuse_close(struct web_ask *ask, unsigned int status, const char *reason)
{
	io_remove(&ask->io);
	http_server_request_fail_close(ask->request, status, reason);
	web_body_end(ask);
}

/* Other sites' pages can make browsers send forms, but not this. */
static bool web_is_json(const struct http_request *request)
{
	const char *type = http_request_header_get(request, "Content-Type");

	return type != NULL &&
		strcasecmp(t_str_rtrim(t_strcut(type, ';'), " "),
			   "application/json") == 0;
}

/* lib-http's own way to collect it never ends for an empty one, and panics when
   the client goes away in the middle of it (2.3). */
static void web_body_read(struct web_ask *ask)
{
	const unsigned char *data;
	size_t size;
	int ret;

	while ((ret = i_stream_read_more(ask->input, &data, &size)) > 0) {
		if (ask->body->used + size > MAX_BODY) {
			web_refuse_close(ask, 413, "Payload Too Large");
			return;
		}
		str_append_data(ask->body, data, size);
		i_stream_skip(ask->input, size);
	}
	if (ret == 0) {
		if (ask->io == NULL) {
			ask->io = io_add_istream(ask->input, web_body_read,
						 ask);
		}
	} else if (ask->input->stream_errno != 0) {
		web_refuse_close(ask, 400, "Bad Request");
	} else {
		web_body_end(ask);
		web_login(ask);
	}
}

static void web_proceed(struct web_ask *ask)
{
	const struct http_request *request =
		http_server_request_get(ask->request);

	if (ask->route == HTTP_ROUTE_PREFLIGHT) {
		web_answer_preflight(ask);
	} else if (ask->route != HTTP_ROUTE_ACK) {
		web_login(ask);
	} else if (!web_is_json(request)) {
		web_refuse(ask, 415, "Unsupported Media Type",
			   "application/json is needed");
	} else {
		/* lib-http wants it to be taken by whoever is called first */
		ask->input = http_server_request_get_payload_input(ask->request,
								   FALSE);
		web_body_read(ask);
	}
}

static bool web_check_origin(struct web_ask *ask)
{
	const struct http_request *request =
		http_server_request_get(ask->request);
	const char *origin = http_request_header_get(request, "Origin");

	switch (http_ask_origin(ask->http->set.origins,
				http_request_header_get(request, "Host"),
				origin)) {
	case HTTP_ORIGIN_OWN:
		return TRUE;
	case HTTP_ORIGIN_ALLOWED:
		i_free(ask->origin);
		ask->origin = i_strdup(origin);
		return TRUE;
	case HTTP_ORIGIN_FOREIGN:
		break;
	}
	return FALSE;
}

static struct web_ask *
web_ask_create(struct web_conn *conn, struct http_server_request *request)
{
	struct web_ask *ask = i_new(struct web_ask, 1);

	ask->http = conn->http;
	ask->conn = conn;
	ask->request = request;
	ask->origin = i_strdup("");
	ask->body = buffer_create_dynamic(default_pool, 128);
	ask->event = event_create(conn->http->event);
	event_set_append_log_prefix(ask->event, t_strdup_printf(
		"%s: ", net_ip2addr(&conn->peer.remote_ip)));
	DLLIST_PREPEND(&conn->http->asks, ask);
	http_server_request_ref(request);
	http_server_request_set_destroy_callback(request, web_ask_destroyed,
						 ask);
	return ask;
}

static void
web_handle_request(void *context, struct http_server_request *request)
{
	struct web_conn *conn = context;
	struct web_ask *ask = web_ask_create(conn, request);
	const struct http_request *http_request =
		http_server_request_get(request);
	const char *allow, *path;
	int ret;

	path = http_request->target.url == NULL ? NULL :
		http_request->target.url->path;
	ret = path == NULL ? 0 : http_ask_route(http_request->method, path,
						&ask->route, &allow);
	if (strlen(http_request->target_raw) > MAX_TARGET)
		web_refuse(ask, 414, "URI Too Long", "there is nothing here");
	else if (ret < 0)
		http_server_request_fail_bad_method(request, allow);
	else if (ret == 0)
		web_refuse(ask, 404, "Not Found", "there is nothing here");
	else if (!web_check_origin(ask))
		web_refuse(ask, 403, "Forbidden", "not for other sites");
	else
		web_proceed(ask);
}

/*
 * Connections
 */

static void
web_conn_destroyed(void *context, const char *reason ATTR_UNUSED)
{
	struct web_conn *conn = context;
	struct channel_http *http = conn->http;

	DLLIST_REMOVE(&http->conns, conn);
	http->conns_count--;
	i_free(conn);
	http->callbacks->closed(http->context);
}

static const struct http_server_callbacks web_callbacks = {
	.handle_request = web_handle_request,
	.connection_destroy = web_conn_destroyed,
};

static bool web_peer_is_here(const struct channel_http_peer *peer)
{
	struct ip_addr net;
	unsigned int bits;

	if (net_parse_range(peer->remote_ip.family == AF_INET ? "127.0.0.0/8" :
			    "::1", &net, &bits) < 0)
		i_unreached();
	return net_is_in_network(&peer->remote_ip, &net, bits);
}

void channel_http_accept(struct channel_http *http,
			 const struct channel_http_peer *peer)
{
	struct web_conn *conn;

	if (http->conns_count >= http->set.max_clients) {
		e_debug(http->event, "Too many connections");
		(void)close(peer->fd);
		http->callbacks->closed(http->context);
		return;
	}
	conn = i_new(struct web_conn, 1);
	conn->http = http;
	conn->peer = *peer;
	conn->secured = peer->ssl || web_peer_is_here(peer);
	DLLIST_PREPEND(&http->conns, conn);
	http->conns_count++;
	conn->conn = http_server_connection_create(http->server, peer->fd,
		peer->fd, peer->ssl, &web_callbacks, conn);
}

/*
 * Life
 */

static void http_settings_dup(pool_t pool, struct channel_http_settings *set)
{
	set->auth_socket_path = p_strdup(pool, set->auth_socket_path);
	set->origins = p_strdup(pool, set->origins);
	set->proxies = p_strdup(pool, set->proxies);
	set->base_url = p_strdup(pool, set->base_url);
}

static void http_server_start(struct channel_http *http)
{
	const struct channel_dovecot_server server_set = {
		.idle_msecs = http->set.idle_secs * 1000,
		.max_header = MAX_HEADER,
		.max_payload = MAX_BODY,
		.send_buffer = SEND_BUFFER,
	};
	const struct http_token_limits token_limits = {
		.ttl_secs = http->set.token_secs,
		.max_per_user = MAX_TOKENS_PER_USER,
		.max_all = MAX_TOKENS,
	};

	http->server = channel_dovecot_http_server(&server_set, http->event);
	http->tokens = http_token_table_init(&token_limits);
	http->auth_client = auth_client_init(http->set.auth_socket_path,
					     getpid(), FALSE);
	auth_client_connect(http->auth_client);
	http->to_ping = timeout_add(http->set.ping_secs * 1000,
				    web_streams_ping, http);
}

struct channel_http *
channel_http_init(const struct channel_http_settings *set,
		  const struct channel_http_callbacks *callbacks, void *context,
		  struct event *event_parent)
{
	pool_t pool = pool_alloconly_create("cred-notify http", 1024);
	struct channel_http *http = p_new(pool, struct channel_http, 1);

	http->pool = pool;
	http->set = *set;
	http_settings_dup(pool, &http->set);
	http->callbacks = callbacks;
	http->context = context;
	http->event = event_create(event_parent);
	event_set_append_log_prefix(http->event, "http: ");
	http_server_start(http);
	return http;
}

/* Connections first: their requests then know that nobody waits. */
void channel_http_deinit(struct channel_http **_http)
{
	struct channel_http *http = *_http;
	struct web_conn *conn, *next;

	*_http = NULL;
	timeout_remove(&http->to_ping);
	for (conn = http->conns; conn != NULL; conn = next) {
		next = conn->next;
		web_conn_close(conn, "Service is stopped");
	}
	while (http->asks != NULL)
		web_ask_free(http->asks);
	http_server_deinit(&http->server);
	auth_client_deinit(&http->auth_client);
	http_token_table_deinit(&http->tokens);
	event_unref(&http->event);
	pool_unref(&http->pool);
}
