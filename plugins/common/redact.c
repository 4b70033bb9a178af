/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "array.h"
#include "str.h"
#include "base64.h"
#include "redact.h"

#include <ctype.h>

#define REDACT_NAME_MAX_BYTES 255
#define REDACT_MARK "<secret>"
/* shorter secrets are looked for as whole words only */
#define REDACT_SUBSTRING_MIN 4
/* shorter pieces of base64 turn up in ordinary words */
#define REDACT_BASE64_MIN 5

/* What has no business in one line of text, besides C0 and C1 controls: bidi
   controls reorder what the reader sees, the others are not seen at all. */
static const struct { unichar_t first, last; } redact_hidden[] = {
	{ 0x00ad, 0x00ad }, { 0x034f, 0x034f }, { 0x0600, 0x0605 },
	{ 0x061c, 0x061c }, { 0x06dd, 0x06dd }, { 0x070f, 0x070f },
	{ 0x08e2, 0x08e2 }, { 0x115f, 0x1160 }, { 0x17b4, 0x17b5 },
	{ 0x180b, 0x180e }, { 0x200b, 0x200f }, { 0x202a, 0x202e },
	{ 0x2060, 0x206f }, { 0x3164, 0x3164 }, { 0xd800, 0xdfff },
	{ 0xfdd0, 0xfdef }, { 0xfeff, 0xfeff }, { 0xffa0, 0xffa0 },
	{ 0xfff0, 0xfffb }, { 0xfffe, 0xffff }, { 0x110bd, 0x110bd },
	{ 0x1bca0, 0x1bca3 }, { 0x1d173, 0x1d17a }, { 0xe0000, 0xe0fff },
};

static bool redact_is_space(unichar_t chr)
{
	return chr == ' ' || (chr >= '\t' && chr <= '\r') || chr == 0xa0 ||
		chr == 0x1680 || (chr >= 0x2000 && chr <= 0x200a) ||
		chr == 0x2028 || chr == 0x2029 || chr == 0x202f ||
		chr == 0x205f || chr == 0x3000;
}

bool redact_char_is_unsafe(unichar_t chr)
{
	unsigned int i;

	if (chr < 0x20 || (chr >= 0x7f && chr < 0xa0))
		return TRUE;
	for (i = 0; i < N_ELEMENTS(redact_hidden); i++) {
		if (chr >= redact_hidden[i].first &&
		    chr <= redact_hidden[i].last)
			return TRUE;
	}
	/* the last two code points of every plane are no characters */
	return (chr & 0xfffe) == 0xfffe;
}

static const char *redact_one_line(const char *text)
{
	string_t *str = t_str_new(128);
	bool space = FALSE;
	unichar_t chr;
	int len;

	for (; *text != '\0'; text += len) {
		len = uni_utf8_get_char(text, &chr);
		if (len > 0 && redact_is_space(chr)) {
			if (!space)
				str_append_c(str, ' ');
			space = TRUE;
			continue;
		}
		space = FALSE;
		if (len <= 0 || redact_char_is_unsafe(chr)) {
			str_append_c(str, '?');
			len = I_MAX(len, 1);
		} else {
			str_append_data(str, text, len);
		}
	}
	return str_c(str);
}

static const char *redact_cut(const char *text, size_t max_bytes)
{
	size_t len = strlen(text);

	if (len <= max_bytes)
		return text;
	len = uni_utf8_data_truncate((const unsigned char *)text, len,
				     max_bytes - 3);
	return t_strconcat(t_strndup(text, len), "...", NULL);
}

static bool redact_is_word_char(char c)
{
	return i_isalnum(c) || (unsigned char)c >= 0x80;
}

static bool redact_is_whole_word(const char *text, size_t start, size_t end)
{
	return (start == 0 || !redact_is_word_char(text[start - 1])) &&
		!redact_is_word_char(text[end]);
}

static void
redact_mark(const char *text, const char *needle, unsigned char *marks)
{
	size_t start, len = strlen(needle);
	const char *pos = text;

	if (len == 0)
		return;
	for (; (pos = strstr(pos, needle)) != NULL; pos++) {
		start = pos - text;
		if (len >= REDACT_SUBSTRING_MIN ||
		    redact_is_whole_word(text, start, start + len))
			memset(marks + start, 1, len);
	}
}

static bool redact_is_base64(char c)
{
	return base64_is_valid_char(c) || base64url_is_valid_char(c) ||
		c == '=';
}

/* The whole run of base64 that holds it: what stands around the secret is a
   SASL response, and the characters at its edges carry bits of it. */
static void
redact_mark_base64(const char *text, const char *needle, unsigned char *marks)
{
	const char *pos = text;
	size_t start, end;

	for (; (pos = strstr(pos, needle)) != NULL; pos = text + end) {
		start = pos - text;
		end = start + strlen(needle);
		while (start > 0 && redact_is_base64(text[start - 1]))
			start--;
		while (redact_is_base64(text[end]))
			end++;
		memset(marks + start, 1, end - start);
	}
}

/* Inside a longer response (PLAIN: NUL login NUL secret) the secret can begin
   at any of three places within a base64 quantum. Looked for are the
   characters that depend on nothing but the secret. */
static void
redact_mark_encoded(const char *text, const char *secret,
		    const struct base64_scheme *scheme, unsigned char *marks)
{
	static const unsigned int skip[] = { 0, 2, 3 };
	size_t secret_len = strlen(secret);
	unsigned int shift;

	for (shift = 0; shift < N_ELEMENTS(skip); shift++) T_BEGIN {
		string_t *plain = t_str_new(64);
		size_t chars = (shift + secret_len) * 8 / 6;
		const char *encoded;

		str_append_data(plain, "\0\0", shift);
		str_append(plain, secret);
		encoded = str_c(t_base64_scheme_encode(scheme, 0, 0,
						       str_data(plain),
						       str_len(plain)));
		encoded = t_strndup(encoded + skip[shift],
				    chars - skip[shift]);
		if (strlen(encoded) >= REDACT_BASE64_MIN)
			redact_mark_base64(text, encoded, marks);
	} T_END;
}

/* As an IMAP quoted string writes it (RFC 3501, 9) */
static const char *redact_quoted(const char *secret)
{
	string_t *str = t_str_new(64);

	for (; *secret != '\0'; secret++) {
		if (*secret == '"' || *secret == '\\')
			str_append_c(str, '\\');
		str_append_c(str, *secret);
	}
	return str_c(str);
}

static void
redact_mark_secret(const char *text, const char *secret, unsigned char *marks)
{
	redact_mark(text, secret, marks);
	redact_mark(text, redact_quoted(secret), marks);
	redact_mark(text, redact_one_line(secret), marks);
	redact_mark_encoded(text, secret, &base64_scheme, marks);
	redact_mark_encoded(text, secret, &base64url_scheme, marks);
}

/* All places are marked before the first is replaced: secrets may overlap, and
   half of one is not to stay behind. */
static const char *
redact_secrets(const char *text, const char *const *secrets)
{
	size_t i, len = strlen(text);
	unsigned char *marks = t_malloc0(len + 1);
	string_t *str = t_str_new(len + 32);

	for (; *secrets != NULL; secrets++) {
		if (**secrets != '\0')
			redact_mark_secret(text, *secrets, marks);
	}
	for (i = 0; i < len; i++) {
		if (marks[i] == 0)
			str_append_c(str, text[i]);
		else if (i == 0 || marks[i - 1] == 0)
			str_append(str, REDACT_MARK);
	}
	return str_c(str);
}

const char *redact_remote_text(const char *text, const char *const *secrets)
{
	/* a second time in the tidied text: tidying may have made a secret of
	   what was none, a double space becoming a single one */
	if (secrets != NULL)
		text = redact_secrets(text, secrets);
	text = redact_one_line(text);
	if (secrets != NULL)
		text = redact_secrets(text, secrets);
	return redact_cut(t_str_trim(text, " "), REDACT_MAX_BYTES);
}

const char *redact_remote_name(const char *name)
{
	return redact_cut(redact_one_line(name), REDACT_NAME_MAX_BYTES);
}
