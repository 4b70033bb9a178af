/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "array.h"
#include "str.h"
#include "strnum.h"
#include "base64.h"
#include "hex-binary.h"
#include "sha2.h"
#include "hmac.h"
#include "mail-types.h"
#include "trace-header.h"

/* v1; user=..; account=..; source=..; slot=..; nonce=..; folder=..;
   uidvalidity=..; uid=..; mailbox=..; guid=..; size=..; flags=..;
   keywords=..; date=..; tz=..; nofx=..; retry=..; mac=..

   Text is unpadded base64url, so that no value can hold a separator, a line
   break or white space: whatever folds the line on its way can be undone. */
#define TRACE_VERSION "v1"
#define TRACE_SEPARATOR "; "
#define TRACE_MAC_PREFIX "; mac="
#define TRACE_MAC_DIGITS (SHA256_RESULTLEN * 2)
#define TRACE_ID_DIGITS 32
#define TRACE_NONCE_DIGITS 16
#define TRACE_SLOT_MAX 65535
#define TRACE_TZ_MAX_MINS (24 * 60)

struct trace_parser {
	pool_t pool;
	struct trace_header *header;
};

struct trace_field {
	const char *name;
	void (*write)(string_t *dest, const struct trace_header *header);
	bool (*read)(struct trace_parser *parser, const char *value);
};

static const struct { char letter; enum mail_flags flag; } trace_flags[] = {
	{ 'A', MAIL_ANSWERED },
	{ 'D', MAIL_DRAFT },
	{ 'F', MAIL_FLAGGED },
	{ 'S', MAIL_SEEN },
};

static void trace_write_text(string_t *dest, const char *text)
{
	base64url_encode(BASE64_ENCODE_FLAG_NO_PADDING, 0,
			 text, strlen(text), dest);
}

static bool
trace_read_text(struct trace_parser *parser, const char *value,
		const char **text_r)
{
	buffer_t *text = t_buffer_create(128);

	if (base64url_decode(BASE64_DECODE_FLAG_NO_WHITESPACE |
			     BASE64_DECODE_FLAG_NO_PADDING,
			     value, strlen(value), text) < 0 ||
	    memchr(text->data, '\0', text->used) != NULL)
		return FALSE;
	*text_r = p_strndup(parser->pool, text->data, text->used);
	return TRUE;
}

/* One spelling per number: no sign, no leading zero. */
static bool
trace_read_uint(const char *value, uint64_t min, uint64_t max, uint64_t *num_r)
{
	if (str_to_uint64(value, num_r) < 0 ||
	    (value[0] == '0' && value[1] != '\0'))
		return FALSE;
	return *num_r >= min && *num_r <= max;
}

static bool
trace_read_int(const char *value, int64_t min, int64_t max, int64_t *num_r)
{
	long long num;

	if (str_to_llong(value, &num) < 0 || num < min || num > max)
		return FALSE;
	*num_r = num;
	return strcmp(t_strdup_printf("%lld", num), value) == 0;
}

static bool trace_is_hex(const char *value, unsigned int digits)
{
	return strlen(value) == digits &&
		strspn(value, "0123456789abcdef") == digits;
}

static bool
trace_read_hex(struct trace_parser *parser, const char *value,
	       unsigned int digits, const char **hex_r)
{
	if (!trace_is_hex(value, digits))
		return FALSE;
	*hex_r = p_strdup(parser->pool, value);
	return TRUE;
}

static bool trace_read_bool(const char *value, bool *bool_r)
{
	*bool_r = value[0] == '1';
	return (value[0] == '0' || value[0] == '1') && value[1] == '\0';
}

static bool trace_read_uid(const char *value, uint32_t *uid_r)
{
	uint64_t num;

	if (!trace_read_uint(value, 1, UINT32_MAX, &num))
		return FALSE;
	*uid_r = num;
	return TRUE;
}

static void write_user(string_t *dest, const struct trace_header *header)
{
	trace_write_text(dest, header->user);
}

static bool read_user(struct trace_parser *parser, const char *value)
{
	return trace_read_text(parser, value, &parser->header->user);
}

static void write_account(string_t *dest, const struct trace_header *header)
{
	trace_write_text(dest, header->account);
}

static bool read_account(struct trace_parser *parser, const char *value)
{
	return trace_read_text(parser, value, &parser->header->account);
}

static void write_source(string_t *dest, const struct trace_header *header)
{
	i_assert(trace_is_hex(header->source_id, TRACE_ID_DIGITS));
	str_append(dest, header->source_id);
}

static bool read_source(struct trace_parser *parser, const char *value)
{
	return trace_read_hex(parser, value, TRACE_ID_DIGITS,
			      &parser->header->source_id);
}

static void write_slot(string_t *dest, const struct trace_header *header)
{
	i_assert(header->slot <= TRACE_SLOT_MAX);
	str_printfa(dest, "%u", header->slot);
}

static bool read_slot(struct trace_parser *parser, const char *value)
{
	uint64_t num;

	if (!trace_read_uint(value, 0, TRACE_SLOT_MAX, &num))
		return FALSE;
	parser->header->slot = num;
	return TRUE;
}

static void write_nonce(string_t *dest, const struct trace_header *header)
{
	str_printfa(dest, "%016"PRIx64, header->nonce);
}

static bool read_nonce(struct trace_parser *parser, const char *value)
{
	return trace_is_hex(value, TRACE_NONCE_DIGITS) &&
		str_to_uint64_hex(value, &parser->header->nonce) == 0;
}

static void write_folder(string_t *dest, const struct trace_header *header)
{
	trace_write_text(dest, header->remote_folder);
}

static bool read_folder(struct trace_parser *parser, const char *value)
{
	return trace_read_text(parser, value, &parser->header->remote_folder);
}

static void write_uidvalidity(string_t *dest, const struct trace_header *header)
{
	i_assert(header->uidvalidity != 0);
	str_printfa(dest, "%u", header->uidvalidity);
}

static bool read_uidvalidity(struct trace_parser *parser, const char *value)
{
	return trace_read_uid(value, &parser->header->uidvalidity);
}

static void write_uid(string_t *dest, const struct trace_header *header)
{
	i_assert(header->uid != 0);
	str_printfa(dest, "%u", header->uid);
}

static bool read_uid(struct trace_parser *parser, const char *value)
{
	return trace_read_uid(value, &parser->header->uid);
}

static void write_mailbox(string_t *dest, const struct trace_header *header)
{
	trace_write_text(dest, header->mailbox);
}

static bool read_mailbox(struct trace_parser *parser, const char *value)
{
	return *value != '\0' &&
		trace_read_text(parser, value, &parser->header->mailbox);
}

static void write_guid(string_t *dest, const struct trace_header *header)
{
	i_assert(trace_is_hex(header->guid, TRACE_ID_DIGITS));
	str_append(dest, header->guid);
}

static bool read_guid(struct trace_parser *parser, const char *value)
{
	return trace_read_hex(parser, value, TRACE_ID_DIGITS,
			      &parser->header->guid);
}

static void write_size(string_t *dest, const struct trace_header *header)
{
	str_printfa(dest, "%"PRIuUOFF_T, header->size);
}

static bool read_size(struct trace_parser *parser, const char *value)
{
	uint64_t num;

	if (!trace_read_uint(value, 0, INT64_MAX, &num))
		return FALSE;
	parser->header->size = num;
	return TRUE;
}

static void write_flags(string_t *dest, const struct trace_header *header)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(trace_flags); i++) {
		if ((header->flags & trace_flags[i].flag) != 0)
			str_append_c(dest, trace_flags[i].letter);
	}
}

static bool read_flags(struct trace_parser *parser, const char *value)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(trace_flags); i++) {
		if (*value == trace_flags[i].letter) {
			parser->header->flags |= trace_flags[i].flag;
			value++;
		}
	}
	return *value == '\0';
}

static void write_keywords(string_t *dest, const struct trace_header *header)
{
	const char *const *kw, *separator = "";

	for (kw = header->keywords; *kw != NULL; kw++) {
		if (**kw == '\0')
			continue;
		str_append(dest, separator);
		trace_write_text(dest, *kw);
		separator = ",";
	}
}

static bool read_keywords(struct trace_parser *parser, const char *value)
{
	const char *const *encoded = t_strsplit(value, ",");
	ARRAY(const char *) keywords;
	const char *keyword;

	p_array_init(&keywords, parser->pool, 8);
	for (; *value != '\0' && *encoded != NULL; encoded++) {
		if (**encoded == '\0' ||
		    !trace_read_text(parser, *encoded, &keyword))
			return FALSE;
		array_push_back(&keywords, &keyword);
	}
	array_append_zero(&keywords);
	parser->header->keywords = array_idx(&keywords, 0);
	return TRUE;
}

static void write_date(string_t *dest, const struct trace_header *header)
{
	str_printfa(dest, "%lld", (long long)header->received_time);
}

static bool read_date(struct trace_parser *parser, const char *value)
{
	int64_t num;

	if (!trace_read_int(value, INT64_MIN, INT64_MAX, &num))
		return FALSE;
	parser->header->received_time = num;
	return parser->header->received_time == num;
}

static void write_tz(string_t *dest, const struct trace_header *header)
{
	i_assert(header->received_tz_mins >= -TRACE_TZ_MAX_MINS &&
		 header->received_tz_mins <= TRACE_TZ_MAX_MINS);
	str_printfa(dest, "%d", header->received_tz_mins);
}

static bool read_tz(struct trace_parser *parser, const char *value)
{
	int64_t num;

	if (!trace_read_int(value, -TRACE_TZ_MAX_MINS, TRACE_TZ_MAX_MINS, &num))
		return FALSE;
	parser->header->received_tz_mins = num;
	return TRUE;
}

static void write_nofx(string_t *dest, const struct trace_header *header)
{
	str_append_c(dest, header->nofx ? '1' : '0');
}

static bool read_nofx(struct trace_parser *parser, const char *value)
{
	return trace_read_bool(value, &parser->header->nofx);
}

static void write_retry(string_t *dest, const struct trace_header *header)
{
	str_append_c(dest, header->retry ? '1' : '0');
}

static bool read_retry(struct trace_parser *parser, const char *value)
{
	return trace_read_bool(value, &parser->header->retry);
}

/* every field, once, in this order */
static const struct trace_field trace_fields[] = {
	{ "user", write_user, read_user },
	{ "account", write_account, read_account },
	{ "source", write_source, read_source },
	{ "slot", write_slot, read_slot },
	{ "nonce", write_nonce, read_nonce },
	{ "folder", write_folder, read_folder },
	{ "uidvalidity", write_uidvalidity, read_uidvalidity },
	{ "uid", write_uid, read_uid },
	{ "mailbox", write_mailbox, read_mailbox },
	{ "guid", write_guid, read_guid },
	{ "size", write_size, read_size },
	{ "flags", write_flags, read_flags },
	{ "keywords", write_keywords, read_keywords },
	{ "date", write_date, read_date },
	{ "tz", write_tz, read_tz },
	{ "nofx", write_nofx, read_nofx },
	{ "retry", write_retry, read_retry },
};

static void
trace_mac(const void *data, size_t size,
	  const unsigned char key[TRACE_HEADER_KEY_SIZE],
	  unsigned char mac_r[SHA256_RESULTLEN])
{
	struct hmac_context ctx;

	hmac_init(&ctx, key, TRACE_HEADER_KEY_SIZE, &hash_method_sha256);
	hmac_update(&ctx, data, size);
	hmac_final(&ctx, mac_r);
}

const char *
trace_header_write(const struct trace_header *header,
		   const unsigned char key[TRACE_HEADER_KEY_SIZE],
		   const char **error_r)
{
	static const char name[] = TRACE_HEADER_NAME": ";
	const size_t name_len = sizeof(name) - 1;
	unsigned char mac[SHA256_RESULTLEN];
	string_t *line = t_str_new(1024);
	unsigned int i;

	str_append(line, name);
	str_append(line, TRACE_VERSION);
	for (i = 0; i < N_ELEMENTS(trace_fields); i++) {
		str_printfa(line, TRACE_SEPARATOR"%s=", trace_fields[i].name);
		trace_fields[i].write(line, header);
	}
	trace_mac(str_data(line) + name_len, str_len(line) - name_len,
		  key, mac);
	str_append(line, TRACE_MAC_PREFIX);
	binary_to_hex_append(line, mac, sizeof(mac));
	if (str_len(line) > TRACE_HEADER_MAX_SIZE) {
		*error_r = t_strdup_printf("trace header of %zu bytes is over "
			"the limit of %d", str_len(line),
			TRACE_HEADER_MAX_SIZE);
		return NULL;
	}
	return str_c(line);
}

/* RFC 5322, 2.2.3. White space with a line break in it stands for the single
   space that was there: some fold with a tab. Returns FALSE for a line break
   that folds nothing. */
static bool trace_unfold(const char *value, string_t *dest)
{
	size_t len;

	for (; *value != '\0'; value += len) {
		len = strspn(value, " \t\r\n");
		if (len == 0) {
			len = strcspn(value, " \t\r\n");
			str_append_data(dest, value, len);
		} else if (str_len(dest) == 0 || value[len] == '\0') {
			continue;
		} else if (strcspn(value, "\r\n") >= len) {
			str_append_data(dest, value, len);
		} else if (value[len - 1] == ' ' || value[len - 1] == '\t') {
			str_append_c(dest, ' ');
		} else {
			return FALSE;
		}
	}
	return TRUE;
}

/* Returns TRUE and cuts the MAC off the value, if it is right. */
static bool
trace_verify(string_t *value, const unsigned char key[TRACE_HEADER_KEY_SIZE])
{
	const size_t prefix_len = strlen(TRACE_MAC_PREFIX);
	unsigned char mac[SHA256_RESULTLEN];
	buffer_t *claimed = t_buffer_create(SHA256_RESULTLEN);
	const char *tail;
	size_t signed_len;

	if (str_len(value) < prefix_len + TRACE_MAC_DIGITS)
		return FALSE;
	signed_len = str_len(value) - prefix_len - TRACE_MAC_DIGITS;
	tail = str_c(value) + signed_len;
	if (strncmp(tail, TRACE_MAC_PREFIX, prefix_len) != 0 ||
	    !trace_is_hex(tail + prefix_len, TRACE_MAC_DIGITS) ||
	    hex_to_binary(tail + prefix_len, claimed) < 0)
		return FALSE;
	trace_mac(str_data(value), signed_len, key, mac);
	if (!mem_equals_timing_safe(mac, claimed->data, sizeof(mac)))
		return FALSE;
	str_truncate(value, signed_len);
	return TRUE;
}

static int
trace_parse(struct trace_parser *parser, const char *value,
	    const char **error_r)
{
	const char *const *words = t_strsplit(value, ";");
	unsigned int i;

	if (words[0] == NULL || strcmp(words[0], TRACE_VERSION) != 0) {
		*error_r = "trace header has an unknown version";
		return -1;
	}
	for (i = 0; i < N_ELEMENTS(trace_fields); i++) {
		const struct trace_field *field = &trace_fields[i];
		const char *prefix = t_strdup_printf(" %s=", field->name);
		size_t len = strlen(prefix);

		words++;
		if (*words == NULL || strncmp(*words, prefix, len) != 0 ||
		    !field->read(parser, *words + len)) {
			*error_r = t_strdup_printf("trace header: bad %s",
						   field->name);
			return -1;
		}
	}
	if (words[1] != NULL) {
		*error_r = "trace header has too many fields";
		return -1;
	}
	return 0;
}

int trace_header_read(pool_t pool, const char *value, const char *user,
		      const unsigned char key[TRACE_HEADER_KEY_SIZE],
		      struct trace_header *header_r, const char **error_r)
{
	struct trace_header header;
	struct trace_parser parser = { .pool = pool, .header = &header };
	string_t *unfolded;

	i_zero(&header);
	unfolded = t_str_new(1024);
	/* folding may have made it longer than it was written */
	if (strlen(value) > TRACE_HEADER_MAX_SIZE * 2 ||
	    !trace_unfold(value, unfolded) ||
	    str_len(unfolded) > TRACE_HEADER_MAX_SIZE) {
		*error_r = "trace header is malformed or too long";
		return -1;
	}
	if (!trace_verify(unfolded, key)) {
		*error_r = "trace header has a bad signature";
		return -1;
	}
	if (trace_parse(&parser, str_c(unfolded), error_r) < 0)
		return -1;
	if (strcmp(header.user, user) != 0) {
		*error_r = "trace header is for another user";
		return -1;
	}
	*header_r = header;
	return 0;
}
