/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "base64.h"
#include "str.h"
#include "strfuncs.h"
#include "unichar.h"
#include "dovecot-compat.h"
#include "redact.h"
#include "text-safe.h"

#include <ctype.h>

/* RFC 3492, 5 */
#define PUNY_BASE 36
#define PUNY_TMIN 1
#define PUNY_TMAX 26
#define PUNY_SKEW 38
#define PUNY_DAMP 700
#define PUNY_BIAS 72
#define PUNY_N 128
/* RFC 5890, 2.3.1; a longer one is none. It also keeps delta small. */
#define LABEL_MAX 63
#define ADDRESS_MAX 254

/* of an encoded word: base64 makes four of three, and lines with "=?utf-8?B?"
   and "?=" and the header's name have 76 at most (RFC 2047, 2) */
#define WORD_BYTES 39
#define QP_LINE_MAX 76

/*
 * Host names
 */

static bool is_ascii(const char *text)
{
	for (; *text != '\0'; text++) {
		if ((unsigned char)*text >= 0x80)
			return FALSE;
	}
	return TRUE;
}

static unsigned int puny_adapt(unsigned int delta, unsigned int count,
			       bool first)
{
	unsigned int k = 0;

	delta = first ? delta / PUNY_DAMP : delta / 2;
	delta += delta / count;
	while (delta > ((PUNY_BASE - PUNY_TMIN) * PUNY_TMAX) / 2) {
		delta /= PUNY_BASE - PUNY_TMIN;
		k += PUNY_BASE;
	}
	return k + (PUNY_BASE - PUNY_TMIN + 1) * delta / (delta + PUNY_SKEW);
}

static unsigned int puny_threshold(unsigned int k, unsigned int bias)
{
	if (k <= bias + PUNY_TMIN)
		return PUNY_TMIN;
	return k >= bias + PUNY_TMAX ? PUNY_TMAX : k - bias;
}

static void puny_append(string_t *str, unsigned int num, unsigned int bias)
{
	static const char digits[] = "abcdefghijklmnopqrstuvwxyz0123456789";
	unsigned int k, t;

	for (k = PUNY_BASE;; k += PUNY_BASE) {
		t = puny_threshold(k, bias);
		if (num < t)
			break;
		str_append_c(str, digits[t + (num - t) % (PUNY_BASE - t)]);
		num = (num - t) / (PUNY_BASE - t);
	}
	str_append_c(str, digits[num]);
}

static unichar_t
puny_next(const unichar_t *chars, unsigned int count, unichar_t n)
{
	unichar_t next = UINT_MAX;
	unsigned int i;

	for (i = 0; i < count; i++) {
		if (chars[i] >= n && chars[i] < next)
			next = chars[i];
	}
	return next;
}

/* RFC 3492, 6.3; basic characters were written already. */
static void puny_encode(string_t *str, const unichar_t *chars,
			unsigned int count, unsigned int basic)
{
	unsigned int delta = 0, bias = PUNY_BIAS, done = basic, i;
	unichar_t n = PUNY_N, next;

	while (done < count) {
		next = puny_next(chars, count, n);
		delta += (next - n) * (done + 1);
		n = next;
		for (i = 0; i < count; i++) {
			if (chars[i] < n)
				delta++;
			if (chars[i] != n)
				continue;
			puny_append(str, delta, bias);
			bias = puny_adapt(delta, done + 1, done == basic);
			delta = 0;
			done++;
		}
		delta++;
		n++;
	}
}

/* Returns 0 if it is too long to be one. */
static unsigned int
label_chars(const char *label, unichar_t chars[LABEL_MAX])
{
	unsigned int count = 0;
	int len;

	for (; *label != '\0'; label += len) {
		if (count == LABEL_MAX)
			return 0;
		len = uni_utf8_get_char(label, &chars[count++]);
		if (len <= 0)
			return 0;
	}
	return count;
}

static void label_append(string_t *str, const char *label)
{
	unichar_t chars[LABEL_MAX];
	unsigned int i, basic = 0, count = label_chars(label, chars);
	size_t start = str_len(str);

	if (count == 0) {
		str_append_c(str, '?');
		return;
	}
	str_append(str, "xn--");
	for (i = 0; i < count; i++) {
		if (chars[i] < 0x80) {
			chars[i] = i_tolower(chars[i]);
			str_append_c(str, chars[i]);
			basic++;
		}
	}
	if (basic > 0)
		str_append_c(str, '-');
	puny_encode(str, chars, count, basic);
	if (str_len(str) - start > LABEL_MAX) {
		str_truncate(str, start);
		str_append_c(str, '?');
	}
}

const char *text_safe_host(const char *host)
{
	const char *const *labels = t_strsplit(host, ".");
	string_t *str = t_str_new(128);

	for (; *labels != NULL; labels++) {
		if (is_ascii(*labels))
			str_append(str, *labels);
		else
			label_append(str, *labels);
		if (labels[1] != NULL)
			str_append_c(str, '.');
	}
	return str_c(str);
}

/*
 * Names
 */

/* A word that may be a host or an address: a dot with something behind it. */
static void name_append_word(string_t *str, const char *word)
{
	const char *at = strrchr(word, '@');
	const char *host = at == NULL ? word : at + 1;
	const char *dot = strchr(host, '.');

	if (is_ascii(host) ||
	    (at == NULL && (dot == NULL || dot == word || dot[1] == '\0'))) {
		str_append(str, word);
		return;
	}
	str_append_data(str, word, host - word);
	str_append(str, text_safe_host(host));
}

static const char *name_hosts(const char *name)
{
	const char *const *words = t_strsplit(name, " ");
	string_t *str = t_str_new(128);

	for (; *words != NULL; words++) {
		name_append_word(str, *words);
		if (words[1] != NULL)
			str_append_c(str, ' ');
	}
	return str_c(str);
}

/* What mail programs make links of: scheme://, mailto: and www. */
static const char *name_unlink(const char *name)
{
	string_t *str = t_str_new(128);

	for (; *name != '\0'; name++) {
		if (strncmp(name, "//", 2) == 0 || *name == '\\')
			str_append_c(str, ' ');
		else if (strncasecmp(name, "www.", 4) == 0) {
			str_append_data(str, name, 3);
			str_append_c(str, ' ');
			name += 3;
		} else if (*name == ':' && name[1] != ' ')
			str_append(str, ": ");
		else
			str_append_c(str, *name);
	}
	return str_c(str);
}

/* Cut on a character. */
static const char *cut_chars(const char *text, unsigned int max_chars)
{
	const char *p = text;
	unichar_t chr;
	int len;

	for (; *p != '\0' && max_chars > 0; max_chars--) {
		len = uni_utf8_get_char(p, &chr);
		p += len > 0 ? len : 1;
	}
	return *p == '\0' ? text :
		t_strconcat(t_strdup_until(text, p), "...", NULL);
}

const char *text_safe_name(const char *name, unsigned int max_chars)
{
	return cut_chars(name_hosts(name_unlink(redact_remote_name(name))),
			 max_chars);
}

/*
 * Lines
 */

static const struct {
	unichar_t chr;
	const char *ascii;
} letters[] = {
	{ 0xe4, "ae" }, { 0xf6, "oe" }, { 0xfc, "ue" }, { 0xdf, "ss" },
	{ 0xc4, "Ae" }, { 0xd6, "Oe" }, { 0xdc, "Ue" },
	{ 0xe0, "a'" }, { 0xe8, "e'" }, { 0xe9, "e'" }, { 0xec, "i'" },
	{ 0xf2, "o'" }, { 0xf9, "u'" }, { 0xc8, "E'" },
	{ 0x2019, "'" }, { 0x2013, "-" },
};

static const char *letter_ascii(unichar_t chr)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(letters); i++) {
		if (letters[i].chr == chr)
			return letters[i].ascii;
	}
	return "?";
}

/* How one character is written in a line. */
static const char *
line_char(const char *p, unichar_t chr, int len, bool utf8)
{
	if (chr == ']')
		return ")";
	if (chr == '[')
		return "(";
	if (redact_char_is_unsafe(chr))
		return "?";
	if (chr >= 0x80 && !utf8)
		return letter_ascii(chr);
	return t_strndup(p, len);
}

const char *text_safe_line(const char *text, size_t max_bytes, bool utf8)
{
	string_t *str = t_str_new(256);
	const char *out;
	size_t cut = 0;
	unichar_t chr;
	int len;

	i_assert(max_bytes > 3);
	for (; *text != '\0'; text += len) {
		len = uni_utf8_get_char(text, &chr);
		if (len <= 0) {
			len = 1;
			chr = '?';
			out = "?";
		} else
			out = line_char(text, chr, len, utf8);
		if (str_len(str) + strlen(out) > max_bytes) {
			str_truncate(str, cut);
			str_append(str, "...");
			break;
		}
		str_append(str, out);
		if (str_len(str) <= max_bytes - 3)
			cut = str_len(str);
	}
	return str_c(str);
}

/*
 * HTML, headers, bodies
 */

const char *text_safe_html(const char *text)
{
	string_t *str = t_str_new(256);

	for (; *text != '\0'; text++) {
		switch (*text) {
		case '&':
			str_append(str, "&amp;");
			break;
		case '<':
			str_append(str, "&lt;");
			break;
		case '>':
			str_append(str, "&gt;");
			break;
		case '"':
			str_append(str, "&quot;");
			break;
		case '\'':
			str_append(str, "&#39;");
			break;
		default:
			str_append_c(str, *text);
		}
	}
	return str_c(str);
}

/* Bytes of whole characters that fit into one encoded word. */
static size_t word_size(const char *text)
{
	size_t size = 0;

	while (text[size] != '\0') {
		size_t len = uni_utf8_char_bytes((unsigned char)text[size]);

		len = strnlen(text + size, len);
		if (size + len > WORD_BYTES)
			break;
		size += len;
	}
	return size;
}

/* Everything is one kind of encoded word as soon as it has to be: a value that
   looks like one, or is too long for a line, has to. */
static bool header_is_plain(const char *text)
{
	const unsigned char *p = (const void *)text;

	if (strlen(text) > 65 || strstr(text, "=?") != NULL)
		return FALSE;
	for (; *p != '\0'; p++) {
		if (*p < ' ' || *p >= 0x7f)
			return FALSE;
	}
	return TRUE;
}

void text_safe_header(string_t *str, const char *text)
{
	size_t size;

	if (header_is_plain(text)) {
		str_append(str, text);
		return;
	}
	for (; *text != '\0'; text += size) {
		size = word_size(text);
		str_append(str, "=?utf-8?B?");
		base64_encode(text, size, str);
		str_append(str, text[size] == '\0' ? "?=" : "?=\r\n ");
	}
}

/* A blank at the end of a line would be lost, a dot or "From" at the start
   would be changed on the way. */
static bool qp_is_plain(unsigned char chr, unsigned char next, size_t column)
{
	if (chr == ' ')
		return next != '\n' && next != '\0';
	if (column == 0 && (chr == '.' || chr == 'F' || chr == '-'))
		return FALSE;
	return chr > ' ' && chr < 0x7f && chr != '=';
}

void text_safe_quoted_printable(string_t *str, const char *text)
{
	const unsigned char *p = (const void *)text;
	size_t column = 0;
	bool plain;

	for (; *p != '\0'; p++) {
		if (*p == '\n') {
			str_append(str, "\r\n");
			column = 0;
			continue;
		}
		/* with room for "=" */
		if (column + 3 >= QP_LINE_MAX) {
			str_append(str, "=\r\n");
			column = 0;
		}
		plain = qp_is_plain(*p, p[1], column);
		if (plain)
			str_append_c(str, *p);
		else
			str_printfa(str, "=%02X", *p);
		column += plain ? 1 : 3;
	}
}

bool text_safe_is_address(const char *address)
{
	const unsigned char *p = (const void *)address;
	const char *at = strchr(address, '@');

	if (at == address || strlen(address) > ADDRESS_MAX ||
	    *address == '\0' || (at != NULL && at[1] == '\0'))
		return FALSE;
	for (; *p != '\0'; p++) {
		if (*p <= ' ' || *p >= 0x7f ||
		    strchr("<>()[]\\,;:\"", *p) != NULL)
			return FALSE;
	}
	return at == NULL || strchr(at + 1, '@') == NULL;
}

bool text_safe_is_url(const char *url)
{
	const unsigned char *p = (const void *)url;

	if (strncmp(url, "https://", 8) != 0 && strncmp(url, "http://", 7) != 0)
		return FALSE;
	for (; *p != '\0'; p++) {
		if (*p <= ' ' || *p >= 0x7f || strchr("<>\"'\\", *p) != NULL)
			return FALSE;
	}
	return TRUE;
}
