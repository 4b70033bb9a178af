#ifndef CRED_NOTIFY_HTTP_ASK_H
#define CRED_NOTIFY_HTTP_ASK_H

#include "net.h"
#include "str.h"

/* What is asked over HTTP, and by whom: the part of a request that is ours to
   understand. Pure. */

enum http_route {
	HTTP_ROUTE_NOTICES,
	HTTP_ROUTE_EVENTS,
	HTTP_ROUTE_TOKEN,
	HTTP_ROUTE_ACK,
	/* a browser asks whether a page may ask (CORS) */
	HTTP_ROUTE_PREFLIGHT
};

/* path: decoded. Returns 1; 0 if there is no such path; -1 if there is, but not
   by that method: allow_r is for the header Allow then. */
int http_ask_route(const char *method, const char *path,
		   enum http_route *route_r, const char **allow_r);

/* Value of the first parameter of that name in a query as it came, not decoded
   (what we give out needs no encoding), on the data stack. NULL if there is
   none. query may be NULL. */
const char *http_ask_query(const char *query, const char *name);

enum http_login {
	/* nobody says who asks */
	HTTP_LOGIN_NONE,
	HTTP_LOGIN_BASIC,
	HTTP_LOGIN_TOKEN,
	/* not understood */
	HTTP_LOGIN_BAD
};

/* Who asks: a header Authorization (RFC 9110, 11.4), or the parameter "token".

   scheme, data: of the header, NULL without one; data may be NULL
   secret_r: BASIC: SASL's PLAIN response (RFC 4616) in base64; TOKEN: the
	     token. On the data stack. */
enum http_login http_ask_login(const char *scheme, const char *data,
			       const char *query, const char **secret_r);

enum http_origin {
	/* no page of another site, as far as the browser says */
	HTTP_ORIGIN_OWN,
	/* a page of a site that may ask */
	HTTP_ORIGIN_ALLOWED,
	HTTP_ORIGIN_FOREIGN
};

/* origins: what the admin allows, separated by spaces: https://mail.example.org
   host, origin: headers Host and Origin, NULL without one */
enum http_origin
http_ask_origin(const char *origins, const char *host, const char *origin);

/* Who asks through a proxy: each one adds to X-Forwarded-For, at its end, who
   asked it. Only proxies in networks (separated by spaces, as
   net_parse_range() reads them) are believed.

   forwarded: the header, all of its lines joined by ","; NULL without one
   ip: in: who is connected; out: the first from the end who is no such proxy */
void http_ask_client(const char *networks, const char *forwarded,
		     struct ip_addr *ip);

/* TRUE for what can be the id of a notice: "<incident>.<said>". */
bool http_ask_id_is_valid(const char *id);

/* Index of the first of ids that a client has not got whose last one was
   last_id (Last-Event-ID). One that is not among them has got none. */
unsigned int http_ask_resume(const char *const *ids, unsigned int count,
			     const char *last_id);

/* Append a Server-Sent Event (HTML, 9.2.6). id NULL: the client's last id stays
   what it is. data is one line. */
void http_ask_event(string_t *str, const char *event, const char *id,
		    const char *data);

#endif
