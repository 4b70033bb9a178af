#ifndef CRED_NOTIFY_CHANNEL_DOVECOT_H
#define CRED_NOTIFY_CHANNEL_DOVECOT_H

#include "channel.h"

struct http_client;
struct http_server;
struct smtp_client;
struct smtp_client_settings;

/* What the two Dovecots' libraries call otherwise in more than names. */

struct channel_dovecot_client {
	struct channel_tls tls;
	/* "" = addresses are looked up by the system, and all else waits */
	const char *dns_client_socket_path;
	unsigned int timeout_msecs;
};

/* An HTTP client that tries once and follows no redirects. */
struct http_client *
channel_dovecot_http_client(const struct channel_dovecot_client *set,
			    struct event *event_parent);

struct channel_dovecot_server {
	unsigned int idle_msecs;
	/* of one request, in bytes */
	unsigned int max_header, max_payload;
	/* of the kernel, for each connection */
	unsigned int send_buffer;
};

struct http_server *
channel_dovecot_http_server(const struct channel_dovecot_server *set,
			    struct event *event_parent);

/* set->ssl is filled in. */
struct smtp_client *
channel_dovecot_smtp_client(struct smtp_client_settings *set,
			    const struct channel_tls *tls);

/* Find a member that is a string in a JSON object. Returned in pool; NULL if
   there is none, or that is no JSON object. */
const char *channel_dovecot_json_get(pool_t pool, const void *json, size_t size,
				     const char *name);

#endif
