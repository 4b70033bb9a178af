/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "base64.h"
#include "buffer.h"
#include "safe-memset.h"
#include "dovecot-compat.h"
#include "http-ask.h"

#include <ctype.h>

#define ID_MAX_LENGTH 64
/* of user and password together */
#define BASIC_MAX_BYTES 2048

/*
 * Paths
 */

static const struct {
	const char *path, *method, *allow;
	enum http_route route;
} routes[] = {
	{ "/v1/notices", "GET", "GET, OPTIONS", HTTP_ROUTE_NOTICES },
	{ "/v1/events", "GET", "GET, OPTIONS", HTTP_ROUTE_EVENTS },
	{ "/v1/token", "POST", "POST, OPTIONS", HTTP_ROUTE_TOKEN },
	{ "/v1/ack", "POST", "POST, OPTIONS", HTTP_ROUTE_ACK },
};

int http_ask_route(const char *method, const char *path,
		   enum http_route *route_r, const char **allow_r)
{
	unsigned int i;

	*route_r = HTTP_ROUTE_NOTICES;
	*allow_r = "";
	for (i = 0; i < N_ELEMENTS(routes); i++) {
		if (strcmp(routes[i].path, path) != 0)
			continue;
		*allow_r = routes[i].allow;
		*route_r = routes[i].route;
		if (strcmp(method, "OPTIONS") == 0)
			*route_r = HTTP_ROUTE_PREFLIGHT;
		else if (strcmp(method, routes[i].method) != 0)
			return -1;
		return 1;
	}
	return 0;
}

const char *http_ask_query(const char *query, const char *name)
{
	const char *const *params;
	size_t len = strlen(name);

	if (query == NULL)
		return NULL;
	for (params = t_strsplit(query, "&"); *params != NULL; params++) {
		if (strncmp(*params, name, len) == 0 && (*params)[len] == '=')
			return *params + len + 1;
	}
	return NULL;
}

/*
 * Logins
 */

/* user ":" password (RFC 7617) becomes NUL user NUL password. */
static bool
plain_from_basic(const unsigned char *data, size_t size, string_t *plain)
{
	const unsigned char *colon = memchr(data, ':', size);

	if (colon == NULL || colon == data || memchr(data, '\0', size) != NULL)
		return FALSE;
	str_append_c(plain, '\0');
	str_append_data(plain, data, colon - data);
	str_append_c(plain, '\0');
	str_append_data(plain, colon + 1, size - (colon + 1 - data));
	return TRUE;
}

static void wipe(buffer_t *buffer)
{
	size_t size;
	void *data = buffer_get_modifiable_data(buffer, &size);

	safe_memset(data, 0, size);
}

static enum http_login login_basic(const char *data, const char **secret_r)
{
	buffer_t *basic = t_buffer_create(BASIC_MAX_BYTES);
	string_t *plain = t_str_new(BASIC_MAX_BYTES + 2), *encoded;
	bool good;

	if (data == NULL ||
	    strlen(data) > MAX_BASE64_ENCODED_SIZE(BASIC_MAX_BYTES))
		return HTTP_LOGIN_BAD;
	good = base64_scheme_decode(&base64_scheme, 0, data, strlen(data),
				    basic) >= 0 &&
		plain_from_basic(basic->data, basic->used, plain);
	encoded = t_str_new(MAX_BASE64_ENCODED_SIZE(str_len(plain)) + 1);
	base64_encode(str_data(plain), str_len(plain), encoded);
	wipe(basic);
	wipe(plain);
	if (!good)
		return HTTP_LOGIN_BAD;
	*secret_r = str_c(encoded);
	return HTTP_LOGIN_BASIC;
}

enum http_login http_ask_login(const char *scheme, const char *data,
			       const char *query, const char **secret_r)
{
	const char *token;

	*secret_r = "";
	if (scheme != NULL && strcasecmp(scheme, "Basic") == 0)
		return login_basic(data, secret_r);
	if (scheme != NULL && strcasecmp(scheme, "Bearer") != 0)
		return HTTP_LOGIN_BAD;
	token = scheme != NULL ? data : http_ask_query(query, "token");
	if (token == NULL)
		return scheme != NULL ? HTTP_LOGIN_BAD : HTTP_LOGIN_NONE;
	*secret_r = t_strdup(token);
	return HTTP_LOGIN_TOKEN;
}

/*
 * Pages of other sites
 */

enum http_origin
http_ask_origin(const char *origins, const char *host, const char *origin)
{
	const char *const *allowed, *rest;

	if (origin == NULL)
		return HTTP_ORIGIN_OWN;
	for (allowed = t_strsplit_spaces(origins, " "); *allowed != NULL;
	     allowed++) {
		if (strcasecmp(*allowed, origin) == 0)
			return HTTP_ORIGIN_ALLOWED;
	}
	/* "null" and the like are nobody's */
	rest = strstr(origin, "://");
	if (rest == NULL || host == NULL || *host == '\0')
		return HTTP_ORIGIN_FOREIGN;
	return strcasecmp(rest + 3, host) == 0 ? HTTP_ORIGIN_OWN :
		HTTP_ORIGIN_FOREIGN;
}

/*
 * Events
 */

static bool
ip_is_in(const char *const *networks, const struct ip_addr *ip)
{
	struct ip_addr net;
	unsigned int bits;

	for (; *networks != NULL; networks++) {
		if (net_parse_range(*networks, &net, &bits) == 0 &&
		    net_is_in_network(ip, &net, bits))
			return TRUE;
	}
	return FALSE;
}

/* What is no address is where nobody can be believed any more. */
static void
client_find(const char *const *networks, const char *forwarded,
	    struct ip_addr *ip)
{
	const char *const *names = t_strsplit_spaces(forwarded, ", \t");
	unsigned int count = str_array_length(names);
	struct ip_addr next;

	while (count > 0 && ip_is_in(networks, ip)) {
		if (net_addr2ip(names[--count], &next) < 0)
			return;
		*ip = next;
	}
}

void http_ask_client(const char *networks, const char *forwarded,
		     struct ip_addr *ip)
{
	if (*networks == '\0' || forwarded == NULL)
		return;
	T_BEGIN {
		client_find(t_strsplit_spaces(networks, " \t\n"), forwarded,
			    ip);
	} T_END;
}

bool http_ask_id_is_valid(const char *id)
{
	size_t i;

	for (i = 0; id[i] != '\0'; i++) {
		if (i == ID_MAX_LENGTH || (!i_isalnum(id[i]) && id[i] != '.'))
			return FALSE;
	}
	return i > 0;
}

unsigned int http_ask_resume(const char *const *ids, unsigned int count,
			     const char *last_id)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		if (last_id != NULL && strcmp(ids[i], last_id) == 0)
			return i + 1;
	}
	return 0;
}

void http_ask_event(string_t *str, const char *event, const char *id,
		    const char *data)
{
	i_assert(strpbrk(data, "\r\n") == NULL);
	i_assert(id == NULL || http_ask_id_is_valid(id));

	str_printfa(str, "event: %s\n", event);
	if (id != NULL)
		str_printfa(str, "id: %s\n", id);
	str_printfa(str, "data: %s\n\n", data);
}
