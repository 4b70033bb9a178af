/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "iostream-ssl.h"
#include "dovecot-compat.h"
#include "remote-imap-private.h"

/* Dovecot 2.3: the TLS library takes the name of a CA file, and wants the
   settings again with each stream. */

static void
ssl_settings_fill(struct remote_imap *client, struct ssl_iostream_settings *set)
{
	i_zero(set);
	set->min_protocol = "TLSv1.2";
	set->ca_file = client->set.ca_file;
	set->skip_crl_check = TRUE;
	set->verify_remote_cert = TRUE;
	set->allow_invalid_cert = remote_imap_tls_decides_alone(client);
}

int remote_imap_ssl_get_context(struct remote_imap *client,
				const char **error_r)
{
	struct ssl_iostream_settings set;

	ssl_settings_fill(client, &set);
	return ssl_iostream_client_context_cache_get(&set, &client->ssl_ctx,
						     error_r) < 0 ? -1 : 0;
}

int remote_imap_ssl_start(struct remote_imap *client, const char **error_r)
{
	struct ssl_iostream_settings set;

	ssl_settings_fill(client, &set);
	return io_stream_create_ssl_client(client->ssl_ctx,
					   remote_imap_tls_get_name(client),
					   &set, &client->input,
					   &client->output, &client->ssl,
					   error_r);
}
