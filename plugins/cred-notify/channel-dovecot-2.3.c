/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "http-client.h"
#include "http-server.h"
#include "iostream-ssl.h"
#include "istream.h"
#include "json-parser.h"
#include "smtp-client.h"
#include "dovecot-compat.h"
#include "channel-dovecot.h"

static const struct ssl_iostream_settings *
ssl_settings(const struct channel_tls *tls)
{
	struct ssl_iostream_settings *set =
		t_new(struct ssl_iostream_settings, 1);

	set->min_protocol = "TLSv1.2";
	if (*tls->ca_file != '\0')
		set->ca_file = tls->ca_file;
	if (*tls->ca_dir != '\0')
		set->ca_dir = tls->ca_dir;
	set->skip_crl_check = TRUE;
	set->verify_remote_cert = TRUE;
	return set;
}

struct http_client *
channel_dovecot_http_client(const struct channel_dovecot_client *set,
			    struct event *event_parent)
{
	struct http_client_settings http_set;

	i_zero(&http_set);
	if (*set->dns_client_socket_path != '\0') {
		http_set.dns_client_socket_path =
			set->dns_client_socket_path;
	}
	http_set.ssl = ssl_settings(&set->tls);
	http_set.user_agent = "cred-notify";
	http_set.max_parallel_connections = 1;
	http_set.no_auto_redirect = TRUE;
	http_set.no_auto_retry = TRUE;
	http_set.max_attempts = 1;
	http_set.max_connect_attempts = 1;
	http_set.connect_timeout_msecs = set->timeout_msecs;
	http_set.request_timeout_msecs = set->timeout_msecs;
	http_set.request_absolute_timeout_msecs = set->timeout_msecs;
	http_set.event_parent = event_parent;
	return http_client_init_private(&http_set);
}

struct http_server *
channel_dovecot_http_server(const struct channel_dovecot_server *set,
			    struct event *event_parent)
{
	struct http_server_settings http_set;

	i_zero(&http_set);
	http_set.max_client_idle_time_msecs = set->idle_msecs;
	http_set.max_pipelined_requests = 1;
	http_set.socket_send_buffer_size = set->send_buffer;
	http_set.request_limits.max_payload_size = set->max_payload;
	http_set.request_limits.header.max_size = set->max_header;
	http_set.request_limits.header.max_field_size = set->max_header;
	http_set.event = event_parent;
	return http_server_init(&http_set);
}

struct smtp_client *
channel_dovecot_smtp_client(struct smtp_client_settings *set,
			    const struct channel_tls *tls)
{
	set->ssl = ssl_settings(tls);
	return smtp_client_init(set);
}

static const char *
json_find(pool_t pool, struct json_parser *parser, const char *name)
{
	const char *text, *value = NULL;
	enum json_type type;
	bool wanted = FALSE;
	int ret;

	while ((ret = json_parse_next(parser, &type, &text)) > 0) {
		if (type == JSON_TYPE_OBJECT_KEY) {
			wanted = value == NULL && strcmp(text, name) == 0;
			if (!wanted)
				json_parse_skip_next(parser);
		} else if (wanted && type == JSON_TYPE_STRING) {
			value = p_strdup(pool, text);
		} else if (type == JSON_TYPE_OBJECT ||
			   type == JSON_TYPE_ARRAY) {
			json_parse_skip(parser);
		}
	}
	i_assert(ret < 0);
	return value;
}

const char *channel_dovecot_json_get(pool_t pool, const void *json, size_t size,
				     const char *name)
{
	struct istream *input = i_stream_create_from_data(json, size);
	struct json_parser *parser = json_parser_init(input);
	const char *value, *error;
	int ret;

	value = json_find(pool, parser, name);
	ret = json_parser_deinit(&parser, &error);
	i_stream_unref(&input);
	return ret < 0 ? NULL : value;
}
