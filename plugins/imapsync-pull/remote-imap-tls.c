/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "buffer.h"
#include "istream.h"
#include "ostream.h"
#include "hash-method.h"
#include "hex-binary.h"
/* The public header has no way to the peer's certificate, which a pin and a
   short reason need: this one has the SSL object. */
#include "iostream-openssl.h"
#include "dovecot-compat.h"
#include "remote-imap-private.h"

#include <openssl/x509.h>
#include <openssl/x509v3.h>

/* lower case hex SHA-256 of the peer's SubjectPublicKeyInfo, or NULL */
static const char *tls_get_key_hash(SSL *ssl)
{
	const struct hash_method *sha256 = hash_method_lookup("sha256");
	unsigned char *der = NULL;
	X509 *cert = SSL_get_peer_certificate(ssl);
	buffer_t *hash;
	int len;

	if (cert == NULL)
		return NULL;
	len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
	X509_free(cert);
	if (len <= 0)
		return NULL;
	hash = t_hash_data(sha256, der, len);
	OPENSSL_free(der);
	return binary_to_hex(hash->data, hash->used);
}

static int tls_check_pin(struct remote_imap *client, const char **error_r)
{
	const char *hash = tls_get_key_hash(client->ssl->ssl);

	if (hash == NULL) {
		*error_r = "server sent no certificate";
		return -1;
	}
	if (strcasecmp(hash, client->set.tls_pin) != 0) {
		*error_r = t_strdup_printf("server has another public key than "
			"the pinned one: sha256 %s", hash);
		return -1;
	}
	return 0;
}

const char *remote_imap_tls_get_name(const struct remote_imap *client)
{
	struct ip_addr ip;

	return net_addr2ip(client->set.host, &ip) == 0 ? NULL :
		client->set.host;
}

/* Dovecot takes a name in the certificate, "*.0.0.1" say, for an address. Only
   an address is one (RFC 9525, 6.4). */
static bool tls_address_is_right(struct remote_imap *client)
{
	X509 *cert;
	bool right;

	if (remote_imap_tls_get_name(client) != NULL)
		return TRUE;
	cert = SSL_get_peer_certificate(client->ssl->ssl);
	right = cert != NULL &&
		X509_check_ip_asc(cert, client->set.host, 0) == 1;
	X509_free(cert);
	return right;
}

static int tls_check_certificate(struct remote_imap *client,
				 const char **error_r)
{
	long result = SSL_get_verify_result(client->ssl->ssl);
	const char *error;

	if (ssl_iostream_check_cert_validity(client->ssl, client->set.host,
					     &error) == 0 &&
	    tls_address_is_right(client))
		return 0;
	/* the library's own text has the certificate's names in it */
	if (result != X509_V_OK)
		*error_r = X509_verify_cert_error_string(result);
	else if (ssl_iostream_has_valid_client_cert(client->ssl))
		*error_r = "certificate is for another host";
	else
		*error_r = error;
	return -1;
}

static int tls_handshaked(const char **error_r, void *context)
{
	struct remote_imap *client = context;
	const char *error = NULL;
	int ret = 0;

	if (client->set.tls_pin != NULL)
		ret = tls_check_pin(client, &error);
	else if (client->set.tls_verify)
		ret = tls_check_certificate(client, &error);
	if (ret < 0) {
		client->tls_error = p_strdup(client->pool, error);
		*error_r = client->tls_error;
	}
	return ret;
}

bool remote_imap_tls_decides_alone(const struct remote_imap *client)
{
	return !client->set.tls_verify || client->set.tls_pin != NULL;
}

int remote_imap_tls_init(struct remote_imap *client, const char **error_r)
{
	struct istream *input = client->input;
	struct ostream *output = client->output;

	if (remote_imap_ssl_get_context(client, error_r) < 0)
		return -1;
	/* takes our references over, on some failures too */
	i_stream_ref(input);
	o_stream_ref(output);
	if (remote_imap_ssl_start(client, error_r) < 0)
		return -1;
	i_stream_unref(&input);
	o_stream_unref(&output);
	ssl_iostream_set_handshake_callback(client->ssl, tls_handshaked,
					    client);
	return 0;
}

int remote_imap_tls_continue(struct remote_imap *client, const char **error_r)
{
	if (i_stream_read(client->input) == -1) {
		*error_r = client->tls_error;
		if (*error_r == NULL)
			*error_r = ssl_iostream_get_last_error(client->ssl);
		if (*error_r == NULL)
			*error_r = "connection closed in the handshake";
		return -1;
	}
	return ssl_iostream_is_handshaked(client->ssl) ? 1 : 0;
}

const char *remote_imap_tls_get_detail(struct remote_imap *client)
{
	const char *hash = tls_get_key_hash(client->ssl->ssl);

	return t_strdup_printf("%s, key sha256 %s",
		ssl_iostream_get_security_string(client->ssl),
		hash == NULL ? "none" : hash);
}

void remote_imap_tls_deinit(struct remote_imap *client)
{
	ssl_iostream_destroy(&client->ssl);
	if (client->ssl_ctx != NULL)
		ssl_iostream_context_unref(&client->ssl_ctx);
}
