/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "base64.h"
#include "buffer.h"
#include "hash.h"
#include "llist.h"
#include "sha2.h"
#include "str.h"
#include "http-token.h"

struct http_token {
	/* oldest first */
	struct http_token *prev, *next;
	unsigned char digest[SHA256_RESULTLEN];
	time_t made_time;
	char *user;
};

struct http_token_table {
	struct http_token_limits limits;
	HASH_TABLE(const unsigned char *, struct http_token *) tokens;
	struct http_token *oldest, *newest;
};

/* What is hashed here is a digest already. */
static unsigned int digest_hash(const unsigned char *digest)
{
	unsigned int hash;

	memcpy(&hash, digest, sizeof(hash));
	return hash;
}

static int
digest_cmp(const unsigned char *digest1, const unsigned char *digest2)
{
	return memcmp(digest1, digest2, SHA256_RESULTLEN);
}

struct http_token_table *
http_token_table_init(const struct http_token_limits *limits)
{
	struct http_token_table *table = i_new(struct http_token_table, 1);

	i_assert(limits->max_per_user > 0 && limits->max_all > 0);
	table->limits = *limits;
	hash_table_create(&table->tokens, default_pool, 0, digest_hash,
			  digest_cmp);
	return table;
}

static void token_remove(struct http_token_table *table,
			 struct http_token *token)
{
	hash_table_remove(table->tokens, (const unsigned char *)token->digest);
	DLLIST2_REMOVE(&table->oldest, &table->newest, token);
	i_free(token->user);
	i_free(token);
}

void http_token_table_deinit(struct http_token_table **_table)
{
	struct http_token_table *table = *_table;

	*_table = NULL;
	while (table->oldest != NULL)
		token_remove(table, table->oldest);
	hash_table_destroy(&table->tokens);
	i_free(table);
}

/* Of a token from the future the clock was set back: nobody knows how far. */
static bool token_is_expired(const struct http_token_table *table,
			     const struct http_token *token, time_t now)
{
	return token->made_time > now ||
		now - token->made_time >= (time_t)table->limits.ttl_secs;
}

static void table_expire(struct http_token_table *table, time_t now)
{
	while (table->oldest != NULL &&
	       token_is_expired(table, table->oldest, now))
		token_remove(table, table->oldest);
}

/* The user's oldest token if that is one too many, or NULL. */
static struct http_token *
table_find_surplus(const struct http_token_table *table, const char *user)
{
	struct http_token *token, *first = NULL;
	unsigned int count = 0;

	for (token = table->oldest; token != NULL; token = token->next) {
		if (strcmp(token->user, user) != 0)
			continue;
		count++;
		if (first == NULL)
			first = token;
	}
	return count >= table->limits.max_per_user ? first : NULL;
}

static void table_make_room(struct http_token_table *table, const char *user,
			    time_t now)
{
	struct http_token *surplus;

	table_expire(table, now);
	surplus = table_find_surplus(table, user);
	if (surplus != NULL)
		token_remove(table, surplus);
	if (http_token_count(table) >= table->limits.max_all)
		token_remove(table, table->oldest);
}

static const char *token_text(const unsigned char random[HTTP_TOKEN_BYTES])
{
	string_t *str = t_str_new(HTTP_TOKEN_LENGTH + 1);

	base64_scheme_encode(&base64url_scheme, BASE64_ENCODE_FLAG_NO_PADDING,
			     SIZE_MAX, random, HTTP_TOKEN_BYTES, str);
	i_assert(str_len(str) == HTTP_TOKEN_LENGTH);
	return str_c(str);
}

const char *http_token_add(struct http_token_table *table,
			   const unsigned char random[HTTP_TOKEN_BYTES],
			   const char *user, time_t now)
{
	const char *text = token_text(random);
	struct http_token *token;

	table_make_room(table, user, now);
	token = i_new(struct http_token, 1);
	sha256_get_digest(text, strlen(text), token->digest);
	token->made_time = now;
	token->user = i_strdup(user);
	hash_table_insert(table->tokens, (const unsigned char *)token->digest,
			  token);
	DLLIST2_APPEND(&table->oldest, &table->newest, token);
	return text;
}

const char *http_token_find(struct http_token_table *table, const char *text,
			    time_t now)
{
	unsigned char digest[SHA256_RESULTLEN];
	struct http_token *token;

	table_expire(table, now);
	sha256_get_digest(text, strlen(text), digest);
	token = hash_table_lookup(table->tokens, (const unsigned char *)digest);
	if (token == NULL || token_is_expired(table, token, now))
		return NULL;
	return token->user;
}

unsigned int http_token_count(const struct http_token_table *table)
{
	return hash_table_count(table->tokens);
}
