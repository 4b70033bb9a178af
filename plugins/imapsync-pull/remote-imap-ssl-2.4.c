/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "iostream-ssl.h"
#include "settings.h"
#include "dovecot-compat.h"
#include "remote-imap-private.h"

/* Dovecot 2.4: the TLS library wants what is in the CA file, and strings, never
   NULL, for what it compares settings by. */

static int
ssl_read_ca(struct ssl_iostream_settings *set, const char *path,
	    const char **error_r)
{
	const char *value;

	set->ca.path = set->ca.content = "";
	if (path == NULL || *path == '\0')
		return 0;
	if (settings_parse_read_file(path, path, set->pool, &value,
				     error_r) < 0)
		return -1;
	settings_file_get(value, set->pool, &set->ca);
	return 0;
}

static struct ssl_iostream_settings *
ssl_settings_create(struct remote_imap *client)
{
	const struct settings_file none = { .path = "", .content = "" };
	pool_t pool = pool_alloconly_create("remote imap ssl settings", 512);
	struct ssl_iostream_settings *set =
		p_new(pool, struct ssl_iostream_settings, 1);

	set->pool = pool;
	set->min_protocol = "TLSv1.2";
	set->cipher_list = set->ciphersuites = set->curve_list = "";
	set->ca_dir = set->crypto_device = "";
	set->cert.cert = set->cert.key = none;
	set->alt_cert.cert = set->alt_cert.key = none;
	set->cert.key_password = set->alt_cert.key_password = "";
	set->dh = none;
	set->cert_username_field = "commonName";
	set->skip_crl_check = TRUE;
	set->verify_remote_cert = TRUE;
	set->allow_invalid_cert = remote_imap_tls_decides_alone(client);
	return set;
}

int remote_imap_ssl_get_context(struct remote_imap *client,
				const char **error_r)
{
	/* the cache of contexts keeps a reference to them */
	struct ssl_iostream_settings *set = ssl_settings_create(client);
	int ret;

	ret = ssl_read_ca(set, client->set.ca_file, error_r);
	if (ret == 0) {
		ret = ssl_iostream_client_context_cache_get(set,
			&client->ssl_ctx, error_r);
	}
	settings_free(set);
	return ret < 0 ? -1 : 0;
}

int remote_imap_ssl_start(struct remote_imap *client, const char **error_r)
{
	return io_stream_create_ssl_client(client->ssl_ctx,
					   remote_imap_tls_get_name(client),
					   client->event, 0, &client->input,
					   &client->output, &client->ssl,
					   error_r);
}
