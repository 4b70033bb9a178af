/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "base64.h"
#include "buffer.h"
#include "safe-memset.h"
#include "hmac.h"
#include "sha2.h"
#include "str.h"
#include "dovecot-compat.h"
#include "webhook-sign.h"

#define SECRET_PREFIX "whsec_"

static int
secret_parse(pool_t pool, const char *text, struct webhook_secret *secret_r,
	     const char **error_r)
{
	buffer_t *data = buffer_create_dynamic(pool, strlen(text) + 1);

	if (!str_begins_with(text, SECRET_PREFIX)) {
		buffer_append(data, text, strlen(text));
	} else {
		text += strlen(SECRET_PREFIX);
		if (base64_scheme_decode(&base64_scheme, 0, text, strlen(text),
					 data) < 0) {
			*error_r = "what follows "SECRET_PREFIX" is no base64";
			return -1;
		}
	}
	if (data->used < WEBHOOK_SECRET_MIN) {
		*error_r = t_strdup_printf("a secret has less than %d bytes",
					   WEBHOOK_SECRET_MIN);
		return -1;
	}
	secret_r->data = data->data;
	secret_r->size = data->used;
	return 0;
}

int webhook_secrets_parse(pool_t pool, const char *text,
			  ARRAY_TYPE(webhook_secret) *secrets,
			  const char **error_r)
{
	const char *const *words = t_strsplit_spaces(text, " ");
	struct webhook_secret secret;

	if (*words == NULL) {
		*error_r = "no secret";
		return -1;
	}
	for (; *words != NULL; words++) {
		if (secret_parse(pool, *words, &secret, error_r) < 0)
			return -1;
		array_push_back(secrets, &secret);
	}
	return 0;
}

static void
append_signature(string_t *str, const struct webhook_secret *secret,
		 const char *signed_text)
{
	unsigned char digest[SHA256_RESULTLEN];
	struct hmac_context ctx;

	hmac_init(&ctx, secret->data, secret->size, &hash_method_sha256);
	hmac_update(&ctx, signed_text, strlen(signed_text));
	hmac_final(&ctx, digest);
	if (str_len(str) > 0)
		str_append_c(str, ' ');
	str_append(str, "v1,");
	base64_encode(digest, sizeof(digest), str);
	i_zero_safe(&ctx);
}

const char *webhook_sign(const ARRAY_TYPE(webhook_secret) *secrets,
			 const char *id, time_t time, const char *body)
{
	const char *text = t_strdup_printf("%s.%lld.%s", id, (long long)time,
					   body);
	string_t *str = t_str_new(128);
	const struct webhook_secret *secret;

	array_foreach(secrets, secret)
		append_signature(str, secret, text);
	return str_c(str);
}
