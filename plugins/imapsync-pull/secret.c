/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "base64.h"
#include "buffer.h"
#include "randgen.h"
#include "safe-memset.h"
#include "str.h"
#include "str-sanitize.h"
#include "strescape.h"
#include "dovecot-compat.h"
#include "secret.h"

#include <openssl/evp.h>
#include <openssl/kdf.h>

#define SECRET_VERSION "v1"
/* SP 800-38D, 8.2: 96 random bits, new for each sealing */
#define SECRET_NONCE_SIZE 12
#define SECRET_TAG_SIZE 16
/* one sub-key per purpose: the master key itself seals nothing */
#define SECRET_PURPOSE "imapsync-pull account secret v1"

struct secret_key {
	char id[SECRET_KEY_ID_MAX + 1];
	/* derived from the master key for SECRET_PURPOSE */
	unsigned char sub[SECRET_KEY_SIZE];
};

struct secret_ring {
	pool_t pool;
	ARRAY(struct secret_key *) keys;
};

struct secret_ring *secret_ring_init(void)
{
	struct secret_ring *ring;
	pool_t pool;

	pool = pool_alloconly_create_clean("secret ring", 1024);
	ring = p_new(pool, struct secret_ring, 1);
	ring->pool = pool;
	p_array_init(&ring->keys, pool, 2);
	return ring;
}

void secret_ring_deinit(struct secret_ring **_ring)
{
	struct secret_ring *ring = *_ring;

	if (ring == NULL)
		return;
	*_ring = NULL;
	pool_unref(&ring->pool);
}

static const struct secret_key *
secret_ring_find(const struct secret_ring *ring, const char *id)
{
	struct secret_key *key;

	array_foreach_elem(&ring->keys, key) {
		if (strcmp(key->id, id) == 0)
			return key;
	}
	return NULL;
}

static const struct secret_key *secret_ring_last(const struct secret_ring *ring)
{
	unsigned int count = array_count(&ring->keys);

	return count == 0 ? NULL : array_idx_elem(&ring->keys, count - 1);
}

const char *secret_ring_current(const struct secret_ring *ring)
{
	const struct secret_key *key = secret_ring_last(ring);

	return key == NULL ? NULL : key->id;
}

static bool secret_key_id_is_valid(const char *id)
{
	size_t len = strlen(id);

	return len > 0 && len <= SECRET_KEY_ID_MAX &&
		strspn(id, "abcdefghijklmnopqrstuvwxyz"
		       "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == len;
}

static int
secret_derive(const unsigned char key[SECRET_KEY_SIZE],
	      unsigned char sub_r[SECRET_KEY_SIZE], const char **error_r)
{
	const unsigned char *info = (const unsigned char *)SECRET_PURPOSE;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, NULL);
	size_t size = SECRET_KEY_SIZE;
	bool ok;

	/* no salt: the master key is random already (RFC 5869, 3.1) */
	ok = ctx != NULL && EVP_PKEY_derive_init(ctx) > 0 &&
		EVP_PKEY_CTX_set_hkdf_md(ctx, EVP_sha256()) > 0 &&
		EVP_PKEY_CTX_set1_hkdf_key(ctx, key, SECRET_KEY_SIZE) > 0 &&
		EVP_PKEY_CTX_add1_hkdf_info(ctx, info,
					    strlen(SECRET_PURPOSE)) > 0 &&
		EVP_PKEY_derive(ctx, sub_r, &size) > 0 &&
		size == SECRET_KEY_SIZE;
	EVP_PKEY_CTX_free(ctx);
	if (!ok)
		*error_r = "OpenSSL has no usable HKDF-SHA256";
	return ok ? 0 : -1;
}

int secret_ring_add(struct secret_ring *ring, const char *id,
		    const unsigned char key[SECRET_KEY_SIZE],
		    const char **error_r)
{
	struct secret_key *new_key;

	if (!secret_key_id_is_valid(id)) {
		*error_r = t_strdup_printf("key id '%s' is not 1 to %d "
			"letters, digits, '-' and '_'", str_sanitize(id, 32),
			SECRET_KEY_ID_MAX);
		return -1;
	}
	if (secret_ring_find(ring, id) != NULL) {
		*error_r = t_strdup_printf("key id '%s' occurs twice", id);
		return -1;
	}
	new_key = p_new(ring->pool, struct secret_key, 1);
	i_strocpy(new_key->id, id, sizeof(new_key->id));
	if (secret_derive(key, new_key->sub, error_r) < 0)
		return -1;
	array_push_back(&ring->keys, &new_key);
	return 0;
}

/* Tab-escaped, so that no two owners have the same text. */
static string_t *
secret_aad(const struct secret_owner *owner, const char *key_id)
{
	string_t *aad = t_str_new(128);

	str_append(aad, SECRET_VERSION);
	str_append_c(aad, '\t');
	str_append_tabescaped(aad, owner->user);
	str_append_c(aad, '\t');
	str_append_tabescaped(aad, owner->account);
	str_append_c(aad, '\t');
	str_append_tabescaped(aad, owner->field);
	str_append_c(aad, '\t');
	str_append_tabescaped(aad, key_id);
	return aad;
}

/* dest_r: nonce, ciphertext, tag */
static bool
secret_encrypt(const struct secret_key *key, const string_t *aad,
	       const unsigned char *plain, size_t size, buffer_t *dest)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	unsigned char *nonce, *data, *tag;
	int len;
	bool ok;

	nonce = buffer_append_space_unsafe(dest, SECRET_NONCE_SIZE + size +
					   SECRET_TAG_SIZE);
	data = nonce + SECRET_NONCE_SIZE;
	tag = data + size;
	random_fill(nonce, SECRET_NONCE_SIZE);

	ok = ctx != NULL &&
		EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL,
				   key->sub, nonce) > 0 &&
		EVP_EncryptUpdate(ctx, NULL, &len, str_data(aad),
				  str_len(aad)) > 0 &&
		EVP_EncryptUpdate(ctx, data, &len, plain, size) > 0 &&
		EVP_EncryptFinal_ex(ctx, tag, &len) > 0 &&
		EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG,
				    SECRET_TAG_SIZE, tag) > 0;
	EVP_CIPHER_CTX_free(ctx);
	return ok;
}

static bool
secret_decrypt(const struct secret_key *key, const string_t *aad,
	       const buffer_t *sealed, unsigned char *plain_r)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	const unsigned char *nonce = sealed->data;
	const unsigned char *data = nonce + SECRET_NONCE_SIZE;
	size_t size = sealed->used - SECRET_NONCE_SIZE - SECRET_TAG_SIZE;
	unsigned char tag[SECRET_TAG_SIZE];
	int len;
	bool ok;

	memcpy(tag, data + size, sizeof(tag));
	ok = ctx != NULL &&
		EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL,
				   key->sub, nonce) > 0 &&
		EVP_DecryptUpdate(ctx, NULL, &len, str_data(aad),
				  str_len(aad)) > 0 &&
		EVP_DecryptUpdate(ctx, plain_r, &len, data, size) > 0 &&
		EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG,
				    sizeof(tag), tag) > 0 &&
		EVP_DecryptFinal_ex(ctx, plain_r + size, &len) > 0;
	EVP_CIPHER_CTX_free(ctx);
	return ok;
}

int secret_seal(pool_t pool, const struct secret_ring *ring,
		const struct secret_owner *owner, const char *secret,
		const char **sealed_r, const char **error_r)
{
	const struct secret_key *key = secret_ring_last(ring);
	size_t size = strlen(secret);
	buffer_t *bin;
	string_t *text;

	*sealed_r = NULL;
	if (key == NULL) {
		*error_r = "there is no key to seal with";
		return -1;
	}
	if (size > SECRET_MAX_SIZE) {
		*error_r = t_strdup_printf("longer than %d bytes",
					   SECRET_MAX_SIZE);
		return -1;
	}
	bin = t_buffer_create(size + 64);
	if (!secret_encrypt(key, secret_aad(owner, key->id),
			    (const unsigned char *)secret, size, bin)) {
		*error_r = "OpenSSL refuses AES-256-GCM";
		return -1;
	}
	text = str_new(pool, bin->used * 2);
	str_printfa(text, SECRET_VERSION":%s:", key->id);
	base64_encode(bin->data, bin->used, text);
	*sealed_r = str_c(text);
	return 0;
}

/* "v1:<key id>:<base64>" -> key id and bytes. Data stack. */
static int
secret_parse(const char *sealed, const char **key_id_r, buffer_t **bin_r,
	     const char **error_r)
{
	const char *const *parts = t_strsplit(sealed, ":");

	if (str_array_length(parts) != 3 ||
	    strcmp(parts[0], SECRET_VERSION) != 0) {
		*error_r = "not a sealed secret of a version known here";
		return -1;
	}
	if (strlen(parts[2]) > SECRET_MAX_SIZE * 2) {
		*error_r = "sealed secret is too long";
		return -1;
	}
	*key_id_r = parts[1];
	*bin_r = t_buffer_create(strlen(parts[2]));
	if (base64_scheme_decode(&base64_scheme, 0, parts[2],
				 strlen(parts[2]), *bin_r) < 0) {
		*error_r = "sealed secret is not base64";
		return -1;
	}
	if ((*bin_r)->used < SECRET_NONCE_SIZE + SECRET_TAG_SIZE) {
		*error_r = "sealed secret is truncated";
		return -1;
	}
	return 0;
}

int secret_open(pool_t pool, const struct secret_ring *ring,
		const struct secret_owner *owner, const char *sealed,
		const char **secret_r, const char **error_r)
{
	const struct secret_key *key;
	const char *key_id;
	unsigned char *plain;
	buffer_t *bin;
	size_t size;

	*secret_r = NULL;
	if (secret_parse(sealed, &key_id, &bin, error_r) < 0)
		return -1;
	key = secret_ring_find(ring, key_id);
	if (key == NULL) {
		*error_r = t_strdup_printf("sealed with key '%s', which is not "
			"in the key file", str_sanitize(key_id, 32));
		return -1;
	}
	size = bin->used - SECRET_NONCE_SIZE - SECRET_TAG_SIZE;
	plain = p_malloc(pool, size + 1);
	if (!secret_decrypt(key, secret_aad(owner, key->id), bin, plain)) {
		/* what came out before the tag was checked is nobody's */
		safe_memset(plain, 0, size + 1);
		*error_r = "sealed secret was changed, or belongs to another "
			"user or account, or was sealed with another key";
		return -1;
	}
	plain[size] = '\0';
	if (memchr(plain, '\0', size) != NULL) {
		safe_memset(plain, 0, size + 1);
		*error_r = "sealed secret holds a NUL byte";
		return -1;
	}
	*secret_r = (const char *)plain;
	return 0;
}
