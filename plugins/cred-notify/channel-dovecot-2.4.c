/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "http-client.h"
#include "http-server.h"
#include "iostream-ssl.h"
#include "istream.h"
#include "json-istream.h"
#include "settings.h"
#include "smtp-client.h"
#include "dovecot-compat.h"
#include "channel-dovecot.h"

/* Strings, never NULL, for what settings are compared by. */
static const struct ssl_iostream_settings *
ssl_settings_create(const struct channel_tls *tls)
{
	const struct settings_file none = { .path = "", .content = "" };
	pool_t pool = pool_alloconly_create("channel ssl settings", 512);
	struct ssl_iostream_settings *set =
		p_new(pool, struct ssl_iostream_settings, 1);
	const char *value, *error;

	set->pool = pool;
	set->min_protocol = "TLSv1.2";
	set->cipher_list = set->ciphersuites = set->curve_list = "";
	set->crypto_device = "";
	set->ca = none;
	set->ca_dir = p_strdup(pool, tls->ca_dir);
	set->cert.cert = set->cert.key = none;
	set->alt_cert.cert = set->alt_cert.key = none;
	set->cert.key_password = set->alt_cert.key_password = "";
	set->dh = none;
	set->cert_username_field = "commonName";
	set->skip_crl_check = TRUE;
	set->verify_remote_cert = TRUE;
	if (*tls->ca_file == '\0')
		return set;
	if (settings_parse_read_file(tls->ca_file, tls->ca_file, pool, &value,
				     &error) < 0)
		i_error("%s", error);
	else
		settings_file_get(value, pool, &set->ca);
	return set;
}

struct http_client *
channel_dovecot_http_client(const struct channel_dovecot_client *set,
			    struct event *event_parent)
{
	pool_t pool = pool_alloconly_create("channel http settings", 512);
	struct http_client_settings *http_set =
		p_new(pool, struct http_client_settings, 1);
	const struct ssl_iostream_settings *ssl_set;
	struct http_client *client;

	http_client_settings_init(pool, http_set);
	http_set->dns_client_socket_path =
		p_strdup(pool, set->dns_client_socket_path);
	http_set->user_agent = "cred-notify";
	http_set->auto_redirect = FALSE;
	http_set->auto_retry = FALSE;
	http_set->request_max_attempts = 1;
	/* each address of a host once */
	http_set->max_connect_attempts = 0;
	http_set->connect_timeout_msecs = set->timeout_msecs;
	http_set->request_timeout_msecs = set->timeout_msecs;
	http_set->request_absolute_timeout_msecs = set->timeout_msecs;
	client = http_client_init_private(http_set, event_parent);
	settings_free(http_set);
	ssl_set = ssl_settings_create(&set->tls);
	http_client_set_ssl_settings(client, ssl_set);
	settings_free(ssl_set);
	return client;
}

struct http_server *
channel_dovecot_http_server(const struct channel_dovecot_server *set,
			    struct event *event_parent)
{
	pool_t pool = pool_alloconly_create("channel http server", 512);
	struct http_server_settings *http_set =
		p_new(pool, struct http_server_settings, 1);
	struct http_server *server;

	http_server_settings_init(pool, http_set);
	http_set->max_client_idle_time_msecs = set->idle_msecs;
	http_set->max_pipelined_requests = 1;
	http_set->socket_send_buffer_size = set->send_buffer;
	http_set->request_max_payload_size = set->max_payload;
	http_set->request_hdr_max_size = set->max_header;
	http_set->request_hdr_max_field_size = set->max_header;
	server = http_server_init(http_set, event_parent);
	settings_free(http_set);
	return server;
}

struct smtp_client *
channel_dovecot_smtp_client(struct smtp_client_settings *set,
			    const struct channel_tls *tls)
{
	const struct ssl_iostream_settings *ssl_set = ssl_settings_create(tls);
	struct smtp_client *client;

	set->ssl = ssl_set;
	client = smtp_client_init(set);
	settings_free(ssl_set);
	return client;
}

static const char *
json_find(pool_t pool, struct json_istream *input, const char *name)
{
	const char *value = NULL;
	struct json_node node;

	while (json_istream_read_next(input, &node) > 0) {
		if (value == NULL && node.name != NULL &&
		    strcmp(node.name, name) == 0 && json_node_is_string(&node))
			value = p_strdup(pool, json_node_get_str(&node));
	}
	return value;
}

const char *channel_dovecot_json_get(pool_t pool, const void *json, size_t size,
				     const char *name)
{
	struct istream *data = i_stream_create_from_data(json, size);
	struct json_istream *input =
		json_istream_create_object(data, NULL, 0);
	const char *value, *error;
	int ret;

	value = json_find(pool, input, name);
	ret = json_istream_finish(&input, &error);
	i_assert(ret != 0);
	i_stream_unref(&data);
	return ret < 0 ? NULL : value;
}
