/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "auth-client.h"
#include "http-server.h"
#include "http-url.h"
#include "ioloop.h"
#include "lib-event.h"
#include "str-sanitize.h"
#include "dovecot-compat.h"
#include "channel-http-private.h"

#define REALM "cred-notify"
/* Auth's answer to who may log in, but not here: for "proxy" it need not have
   looked at the password, which the other server does. (proxy_maybe it has made
   proxy, or nothing, by then.) */
static const char *const elsewhere_fields[] = { "nologin", "proxy" };

static void login_fail(struct web_ask *ask, enum http_login kind)
{
	struct http_server_response *resp =
		web_response(ask, 401, "Unauthorized");
	static const char body[] = "{\"error\":\"not logged in\"}";

	/* a browser that shows a dialog for a page's token helps nobody */
	if (kind == HTTP_LOGIN_TOKEN)
		http_server_response_add_header(resp, "WWW-Authenticate",
						"Bearer");
	else
		http_server_response_add_auth_basic(resp, REALM);
	http_server_response_add_header(resp, "Content-Type",
					"application/json");
	http_server_response_set_payload_data(resp,
		(const unsigned char *)body, strlen(body));
	http_server_response_submit(resp);
}

static void login_token(struct web_ask *ask, const char *token)
{
	const char *user =
		http_token_find(ask->http->tokens, token, ioloop_time);

	if (user == NULL) {
		login_fail(ask, HTTP_LOGIN_TOKEN);
		return;
	}
	ask->user = i_strdup(user);
	ask->by_token = TRUE;
	web_logged_in(ask);
}

static const char *args_get(const char *const *args, const char *key)
{
	size_t len = strlen(key);

	for (; args != NULL && *args != NULL; args++) {
		if (strncmp(*args, key, len) == 0 &&
		    ((*args)[len] == '=' || (*args)[len] == '\0'))
			return (*args)[len] == '=' ? *args + len + 1 : "";
	}
	return NULL;
}

static bool login_is_elsewhere(const char *const *args)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(elsewhere_fields); i++) {
		if (args_get(args, elsewhere_fields[i]) != NULL)
			return TRUE;
	}
	return FALSE;
}

static void login_accepted(struct web_ask *ask, const char *const *args)
{
	const char *user = args_get(args, "user");

	if (user == NULL || *user == '\0') {
		e_error(ask->event, "auth gave no user name");
		web_refuse(ask, 503, "Service Unavailable", "try later");
	} else if (login_is_elsewhere(args)) {
		web_refuse(ask, 403, "Forbidden", "no logins for this user");
	} else {
		ask->user = i_strdup(user);
		web_logged_in(ask);
	}
}

static void
login_answered(struct auth_client_request *request ATTR_UNUSED,
	       enum auth_request_status status,
	       const char *data_base64 ATTR_UNUSED, const char *const *args,
	       void *context)
{
	struct web_ask *ask = context;
	const char *code = args_get(args, "code");

	/* PLAIN has one step, and what has more is not asked for */
	if (status == AUTH_REQUEST_STATUS_CONTINUE) {
		web_login_abort(ask);
		web_refuse(ask, 503, "Service Unavailable", "try later");
		return;
	}
	ask->auth = NULL;
	if (ask->gone)
		return;
	if (status == AUTH_REQUEST_STATUS_OK)
		login_accepted(ask, args);
	else if (status != AUTH_REQUEST_STATUS_FAIL ||
		 args_get(args, "temp") != NULL ||
		 (code != NULL && strcmp(code, "temp_fail") == 0))
		web_refuse(ask, 503, "Service Unavailable", "try later");
	else
		login_fail(ask, HTTP_LOGIN_BASIC);
}

/* Whoever asks may have put one of them there: the proxy's is the last. */
static const char *ask_forwarded(struct web_ask *ask)
{
	const struct http_request *request =
		http_server_request_get(ask->request);
	const struct http_header_field *field;
	string_t *forwarded = NULL;

	array_foreach(http_header_get_fields(request->header), field) {
		if (strcasecmp(field->name, "X-Forwarded-For") != 0)
			continue;
		if (forwarded == NULL)
			forwarded = t_str_new(128);
		str_printfa(forwarded, "%s,", field->value);
	}
	return forwarded == NULL ? NULL : str_c(forwarded);
}

static void login_plain(struct web_ask *ask, const char *response)
{
	const struct channel_http_peer *peer = &ask->conn->peer;
	struct auth_request_info info;

	if (!auth_client_is_connected(ask->http->auth_client)) {
		auth_client_connect(ask->http->auth_client);
		web_refuse(ask, 503, "Service Unavailable", "try later");
		return;
	}
	i_zero(&info);
	info.mech = "PLAIN";
	info.compat_auth_request_info_protocol = "cred-notify";
	info.local_ip = info.real_local_ip = peer->local_ip;
	info.remote_ip = info.real_remote_ip = peer->remote_ip;
	http_ask_client(ask->http->set.proxies, ask_forwarded(ask),
			&info.remote_ip);
	info.local_port = info.real_local_port = peer->local_port;
	info.real_remote_port = peer->remote_port;
	/* whose port a proxy does not say */
	if (net_ip_compare(&info.remote_ip, &info.real_remote_ip))
		info.remote_port = peer->remote_port;
	if (ask->conn->secured)
		info.flags |= AUTH_REQUEST_FLAG_CONN_SECURED;
	if (peer->ssl)
		info.flags |= AUTH_REQUEST_FLAG_CONN_SECURED_TLS;
	info.initial_resp_base64 = response;
	ask->auth = auth_client_request_new(ask->http->auth_client, &info,
					    login_answered, ask);
}

void web_login(struct web_ask *ask)
{
	const struct http_request *request =
		http_server_request_get(ask->request);
	struct http_auth_credentials credentials;
	const char *secret;
	enum http_login kind;
	int ret;

	i_zero(&credentials);
	ret = http_server_request_get_auth(ask->request, &credentials);
	kind = ret < 0 ? HTTP_LOGIN_BAD :
		http_ask_login(credentials.scheme, credentials.data,
			       request->target.url->enc_query, &secret);
	if (kind == HTTP_LOGIN_TOKEN)
		login_token(ask, secret);
	else if (kind != HTTP_LOGIN_BASIC)
		login_fail(ask, kind);
	else if (!ask->conn->secured && !ask->http->set.allow_cleartext)
		web_refuse(ask, 403, "Forbidden", "passwords need https");
	else
		login_plain(ask, secret);
}

void web_login_abort(struct web_ask *ask)
{
	if (ask->auth != NULL)
		auth_client_request_abort(&ask->auth, "Disconnected");
}
