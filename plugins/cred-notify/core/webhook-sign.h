#ifndef CRED_NOTIFY_WEBHOOK_SIGN_H
#define CRED_NOTIFY_WEBHOOK_SIGN_H

#include "array.h"

/* Signatures as Standard Webhooks 1.0 has them, for which there are verifiers
   in most languages: HMAC-SHA256 (RFC 2104) over "<id>.<time>.<body>". Pure. */

/* shorter secrets are refused, in bytes */
#define WEBHOOK_SECRET_MIN 16

struct webhook_secret {
	const unsigned char *data;
	size_t size;
};
ARRAY_DEFINE_TYPE(webhook_secret, struct webhook_secret);

/* text: secrets separated by spaces, each "whsec_" and base64, or the bytes
   themselves. More than one while they are changed: each signs. What is
   appended to secrets lives in pool; wipe it with the pool.

   Returns 0, or -1 and error_r, which never quotes a secret. */
int webhook_secrets_parse(pool_t pool, const char *text,
			  ARRAY_TYPE(webhook_secret) *secrets,
			  const char **error_r);

/* Value of the header webhook-signature, on the data stack: "v1,<base64>",
   separated by spaces. id and time are those of webhook-id and
   webhook-timestamp. */
const char *webhook_sign(const ARRAY_TYPE(webhook_secret) *secrets,
			 const char *id, time_t time, const char *body);

#endif
