/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "http-server.h"
#include "http-url.h"
#include "ioloop.h"
#include "lib-event.h"
#include "llist.h"
#include "ostream.h"
#include "dovecot-compat.h"
#include "core/notice-json.h"
#include "channel-http-private.h"

/* how soon a client that lost the stream comes back, in milliseconds: not all
   of them at once */
#define RETRY_MSECS 2000
#define RETRY_SPREAD_MSECS 3000
/* what a user sees at first; the rest is in the list of ids */
#define EVENTS_MAX 100

/*
 * Writing
 */

/* lib-http may be done with the request inside any call for its output: then
   there is no more. Returns FALSE if so. */
static bool stream_write(struct web_ask *ask, const void *data, size_t size)
{
	if (ask->gone || ask->output == NULL)
		return FALSE;
	if (o_stream_get_buffer_used_size(ask->output) + size >
	    ask->http->set.buffer_size) {
		web_hang_up(ask, "Reads too slowly");
		return FALSE;
	}
	if (o_stream_send(ask->output, data, size) != (ssize_t)size) {
		web_hang_up(ask, "Cannot be written to");
		return FALSE;
	}
	if (!ask->gone)
		(void)o_stream_flush(ask->output);
	return !ask->gone;
}

static bool stream_event(struct web_ask *ask, const char *name, const char *id,
			 const string_t *json)
{
	string_t *str = t_str_new(str_len(json) + 128);

	http_ask_event(str, name, id, str_c((string_t *)json));
	return stream_write(ask, str_data(str), str_len(str));
}

static bool
stream_notice(struct web_ask *ask, const struct channel_http_item *item)
{
	struct channel_http *http = ask->http;
	struct notice_text_params text = {
		.notice = item->notice,
		.language = item->language,
		.base_url = http->set.base_url,
	};
	string_t *json = t_str_new(2048);

	notice_json_append(json, item->id, &text);
	if (!stream_event(ask, "notice", item->id, json))
		return FALSE;
	http->callbacks->shown(http->context, ask->user, item->id);
	return TRUE;
}

/*
 * Beginning
 */

/* What is acknowledged is there to look up, not to be alerted to. */
static bool item_is_acked(const struct channel_http_item *item)
{
	return item->notice->state.acked;
}

static bool
stream_standing(struct web_ask *ask, const struct channel_http_item *items,
		unsigned int count)
{
	string_t *json = t_str_new(256);
	bool first = TRUE;
	unsigned int i;

	str_append(json, "{\"ids\":[");
	for (i = 0; i < count; i++) {
		if (item_is_acked(&items[i]))
			continue;
		if (!first)
			str_append_c(json, ',');
		first = FALSE;
		notice_json_append_string(json, items[i].id);
	}
	str_append(json, "]}");
	return stream_event(ask, "standing", NULL, json);
}

static void stream_begin(struct web_ask *ask)
{
	struct http_server_response *resp = web_response(ask, 200, "OK");
	const char *hello = t_strdup_printf("retry: %u\n\n", RETRY_MSECS +
		i_rand_limit(RETRY_SPREAD_MSECS));

	http_server_response_add_header(resp, "Content-Type",
					"text/event-stream");
	/* nginx would hold back what a page waits for */
	http_server_response_add_header(resp, "X-Accel-Buffering", "no");
	http_server_request_connection_close(ask->request, TRUE);
	ask->started_time = ioloop_time;
	DLLIST_PREPEND_FULL(&ask->http->streams, ask, stream_prev, stream_next);
	ask->http->streams_count++;
	ask->output = http_server_response_get_payload_output(resp,
		ask->http->set.buffer_size, FALSE);
	o_stream_set_no_error_handling(ask->output, TRUE);
	(void)stream_write(ask, hello, strlen(hello));
}

static void
stream_begin_list(struct web_ask *ask, const struct channel_http_item *items,
		  unsigned int count)
{
	const char **ids = t_new(const char *, count + 1);
	unsigned int i;

	for (i = 0; i < count; i++)
		ids[i] = items[i].id;
	if (!stream_standing(ask, items, count))
		return;
	i = http_ask_resume(ids, count, ask->last_id);
	if (count - i > EVENTS_MAX)
		i = count - EVENTS_MAX;
	for (; i < count; i++) {
		bool written;

		if (item_is_acked(&items[i]))
			continue;
		T_BEGIN {
			written = stream_notice(ask, &items[i]);
		} T_END;
		if (!written)
			break;
	}
}

static unsigned int streams_of_user(struct channel_http *http, const char *user)
{
	struct web_ask *ask;
	unsigned int count = 0;

	for (ask = http->streams; ask != NULL; ask = ask->stream_next) {
		if (strcmp(ask->user, user) == 0)
			count++;
	}
	return count;
}

/* Returns TRUE if too many are open: then that was the answer. */
static bool stream_is_refused(struct web_ask *ask)
{
	const struct channel_http_settings *set = &ask->http->set;

	if (ask->http->streams_count < set->max_streams &&
	    streams_of_user(ask->http, ask->user) < set->max_streams_per_user)
		return FALSE;
	web_refuse(ask, 503, "Service Unavailable",
		   "too many streams are open");
	return TRUE;
}

static void
stream_listed(const struct channel_http_item *items, unsigned int count,
	      const char *error, void *context)
{
	struct web_ask *ask = context;

	/* others may have begun while this one waited */
	if (!web_listed(ask, error) || stream_is_refused(ask))
		return;
	stream_begin(ask);
	stream_begin_list(ask, items, count);
}

static const char *stream_last_id(struct web_ask *ask)
{
	const struct http_request *request =
		http_server_request_get(ask->request);
	const char *id = http_request_header_get(request, "Last-Event-ID");

	/* EventSource sends the header only when it comes back by itself */
	if (id == NULL) {
		id = http_ask_query(request->target.url->enc_query,
				    "last_event_id");
	}
	return id != NULL && http_ask_id_is_valid(id) ? id : NULL;
}

void web_stream_start(struct web_ask *ask)
{
	if (stream_is_refused(ask))
		return;
	ask->last_id = i_strdup(stream_last_id(ask));
	web_list(ask, stream_listed);
}

void web_stream_end(struct web_ask *ask)
{
	if (ask->output == NULL)
		return;
	DLLIST_REMOVE_FULL(&ask->http->streams, ask, stream_prev, stream_next);
	ask->http->streams_count--;
	o_stream_unref(&ask->output);
}

/*
 * Later
 */

void web_streams_ping(struct channel_http *http)
{
	static const char ping[] = ": ping\n\n";
	struct web_ask *ask;

	/* asks outlive the loop, also those that are hung up on */
	for (ask = http->streams; ask != NULL; ask = ask->stream_next) {
		if (ioloop_time - ask->started_time >=
		    (time_t)http->set.stream_secs)
			web_hang_up(ask, "Lasted long enough");
		else
			(void)stream_write(ask, ping, strlen(ping));
	}
}

unsigned int channel_http_push(struct channel_http *http, const char *user,
			       const struct channel_http_item *item)
{
	struct web_ask *ask;
	unsigned int count = 0;

	for (ask = http->streams; ask != NULL; ask = ask->stream_next) {
		if (strcmp(ask->user, user) != 0)
			continue;
		T_BEGIN {
			if (stream_notice(ask, item))
				count++;
		} T_END;
	}
	return count;
}

unsigned int channel_http_gone(struct channel_http *http, const char *user,
			       const char *id)
{
	string_t *json = t_str_new(128);
	struct web_ask *ask;
	unsigned int count = 0;

	str_append(json, "{\"id\":");
	notice_json_append_string(json, id);
	str_append_c(json, '}');
	for (ask = http->streams; ask != NULL; ask = ask->stream_next) {
		if (strcmp(ask->user, user) == 0 &&
		    stream_event(ask, "gone", NULL, json))
			count++;
	}
	return count;
}

unsigned int channel_http_streams(const struct channel_http *http)
{
	return http->streams_count;
}
