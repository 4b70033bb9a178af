#ifndef CRED_NOTIFY_CHANNEL_HTTP_PRIVATE_H
#define CRED_NOTIFY_CHANNEL_HTTP_PRIVATE_H

#include "str.h"
#include "core/http-ask.h"
#include "core/http-token.h"
#include "channel-http.h"

struct auth_client_request;
struct http_server_connection;
struct http_server_request;

struct web_conn {
	struct web_conn *prev, *next;
	struct channel_http *http;
	/* NULL while it is destroyed */
	struct http_server_connection *conn;
	struct channel_http_peer peer;
	/* nobody can listen in */
	bool secured;
};

/* One request, until all is sent; a stream of events, too. */
struct web_ask {
	struct web_ask *prev, *next;
	struct channel_http *http;
	struct web_conn *conn;
	struct http_server_request *request;
	struct event *event;

	enum http_route route;
	/* the page's site, if it may ask; "" = none was named */
	char *origin;
	/* whoever logged in, NULL = nobody yet */
	char *user;
	bool by_token;
	/* what was sent along, once it is read */
	string_t *body;
	struct istream *input;
	struct io *io;
	struct auth_client_request *auth;

	/* a stream is open, and in http->streams */
	struct web_ask *stream_prev, *stream_next;
	struct ostream *output;
	char *last_id;
	time_t started_time;

	/* list() is to be answered */
	bool listing;
	/* lib-http is done with it */
	bool gone;
	struct timeout *to_free;
};

struct channel_http {
	pool_t pool;
	struct channel_http_settings set;
	const struct channel_http_callbacks *callbacks;
	void *context;
	struct event *event;

	struct http_server *server;
	struct auth_client *auth_client;
	struct http_token_table *tokens;
	struct timeout *to_ping;

	struct web_conn *conns;
	struct web_ask *asks, *streams;
	unsigned int conns_count, streams_count;
};

/* channel-http.c */

/* Answer, once. body: JSON */
void web_answer(struct web_ask *ask, unsigned int status, const char *reason,
		const char *body);
void web_refuse(struct web_ask *ask, unsigned int status, const char *reason,
		const char *why);
/* Headers that all answers have. */
struct http_server_response *
web_response(struct web_ask *ask, unsigned int status, const char *reason);
/* Whoever asks is ask->user. */
void web_logged_in(struct web_ask *ask);
/* Ask for what stands for ask->user. */
void web_list(struct web_ask *ask, channel_http_list_callback_t *callback);
/* To be called by that, with its error. Returns FALSE if there is no more to
   do: nobody waits for it any more, or the error was the answer. */
bool web_listed(struct web_ask *ask, const char *error);
/* Hang up, whatever is asked. */
void web_hang_up(struct web_ask *ask, const char *reason);

/* channel-http-login.c */

/* Ends in web_logged_in(), or in a refusal. */
void web_login(struct web_ask *ask);
void web_login_abort(struct web_ask *ask);

/* channel-http-events.c */

void web_stream_start(struct web_ask *ask);
/* No more is written to it. */
void web_stream_end(struct web_ask *ask);
void web_streams_ping(struct channel_http *http);

#endif
