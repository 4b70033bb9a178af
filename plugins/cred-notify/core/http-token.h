#ifndef CRED_NOTIFY_HTTP_TOKEN_H
#define CRED_NOTIFY_HTTP_TOKEN_H

/* Short-lived tokens that stand for a login, for browsers, whose EventSource
   can send no header. Only their SHA-256 is kept. Pure: time and randomness
   are arguments. */

/* of randomness in a token */
#define HTTP_TOKEN_BYTES 32
/* characters: base64url without padding (RFC 4648, section 5) */
#define HTTP_TOKEN_LENGTH 43

struct http_token_limits {
	unsigned int ttl_secs;
	/* over each of them the oldest goes */
	unsigned int max_per_user, max_all;
};

/* limits are copied. */
struct http_token_table *
http_token_table_init(const struct http_token_limits *limits);
void http_token_table_deinit(struct http_token_table **table);

/* Make a token for a user. Returned on the data stack. */
const char *http_token_add(struct http_token_table *table,
			   const unsigned char random[HTTP_TOKEN_BYTES],
			   const char *user, time_t now);

/* Returns whose it is, until the next call, or NULL if it is not one of ours,
   or not any more. */
const char *http_token_find(struct http_token_table *table, const char *token,
			    time_t now);

unsigned int http_token_count(const struct http_token_table *table);

#endif
