#ifndef CRED_NOTIFY_CHANNEL_HTTP_H
#define CRED_NOTIFY_CHANNEL_HTTP_H

#include "array.h"
#include "net.h"
#include "core/notice.h"

/* Notices over HTTP, for whoever logs in as Dovecot's user and for this user
   alone. All answers are JSON; errors are {"error":"..."}.

   GET /v1/notices   {"notices":[...],"total":n}, the newest ones, oldest first
   GET /v1/events    Server-Sent Events (HTML, 9.2): "standing", data
		     {"ids":[...]} of all that stands and is not acknowledged,
		     first; "notice" with an id, data as in /v1/notices; "gone",
		     data {"id":"..."}, also of what is acknowledged. After
		     Last-Event-ID (or ?last_event_id=) what came later.
   POST /v1/token    {"token":"...","expires_in":secs}: stands for the login, as
		     Authorization: Bearer, or as ?token=. Not for new ones.
   POST /v1/ack      {"id":"..."}, as application/json

   Logins are HTTP Basic (RFC 7617), over TLS or from this machine. */

struct auth_client;
struct channel_http;

/* Strings are copied. */
struct channel_http_settings {
	/* of auth's clients: "auth-client" */
	const char *auth_socket_path;
	/* pages that may ask, separated by spaces: https://mail.example.org;
	   "" = those of our own host name only */
	const char *origins;
	/* networks of proxies whose X-Forwarded-For is believed, separated by
	   spaces */
	const char *proxies;
	/* see notice-text.h */
	const char *base_url;
	/* logins also without TLS from elsewhere */
	bool allow_cleartext;
	/* connections; those that stay open for events, in all and per user */
	unsigned int max_clients, max_streams, max_streams_per_user;
	/* what may wait for one client that reads slowly, in bytes */
	unsigned int buffer_size;
	/* a sign of life so often; the end of a stream after so long: clients
	   come back, and log in again */
	unsigned int ping_secs, stream_secs;
	/* connections on which nothing is asked */
	unsigned int idle_secs;
	unsigned int token_secs;
};

/* Something a user may see. All is copied. */
struct channel_http_item {
	const struct notice *notice;
	/* see channel.h */
	const char *id;
	/* the user's: "de"; "" = English */
	const char *language;
};

ARRAY_DEFINE_TYPE(channel_http_item, struct channel_http_item);

/* The answer to list(): oldest first. error: for the log, NULL if there is
   none; the client is asked to come back later then. */
typedef void
channel_http_list_callback_t(const struct channel_http_item *items,
			     unsigned int count, const char *error,
			     void *context);

struct channel_http_callbacks {
	/* What stands for a user by now: told or not, acknowledged or not, but
	   not what is well again. To be answered once, at once or later, but
	   not after channel_http_deinit(). */
	void (*list)(void *context, const char *user,
		     channel_http_list_callback_t *callback,
		     void *list_context);
	/* A client got it. May be said again. */
	void (*shown)(void *context, const char *user, const char *id);
	/* Only for what list() has just given. Returns 1; 0 if the user has no
	   such notice; -1 if not now. */
	int (*ack)(void *context, const char *user, const char *id);
	/* A connection that was given to channel_http_accept() is closed. */
	void (*closed)(void *context);
};

/* callbacks must stay. */
struct channel_http *
channel_http_init(const struct channel_http_settings *set,
		  const struct channel_http_callbacks *callbacks, void *context,
		  struct event *event_parent);
/* Closes all connections. */
void channel_http_deinit(struct channel_http **http);

struct channel_http_peer {
	int fd;
	/* TLS is to be spoken, by Dovecot's settings */
	bool ssl;
	struct ip_addr local_ip, remote_ip;
	in_port_t local_port, remote_port;
};
/* Takes fd over. */
void channel_http_accept(struct channel_http *http,
			 const struct channel_http_peer *peer);

/* A notice is new, or no longer stands, for the user. Returns how many of the
   user's clients were told. */
unsigned int channel_http_push(struct channel_http *http, const char *user,
			       const struct channel_http_item *item);
unsigned int channel_http_gone(struct channel_http *http, const char *user,
			       const char *id);

/* Open streams of events. */
unsigned int channel_http_streams(const struct channel_http *http);

#endif
