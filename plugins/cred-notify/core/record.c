/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "str.h"
#include "strescape.h"
#include "strnum.h"
#include "core/record.h"

#include <ctype.h>

enum record_type {
	RECORD_TYPE_TEXT,
	RECORD_TYPE_HEX,
	RECORD_TYPE_NUMBER,
	RECORD_TYPE_IP,
	RECORD_TYPE_REASON,
};

struct record_field {
	const char *key;
	enum record_type type;
	size_t offset;
	/* longest text, bytes before escaping */
	unsigned int max;
	/* bits of the kinds that have it, and that cannot do without */
	unsigned int kinds, needed;
};

#define PRODUCER BIT(RECORD_PRODUCER)
#define FAIL BIT(RECORD_LOGIN_FAIL)
#define LOGIN (FAIL | BIT(RECORD_LOGIN_OK))
#define DROPPED BIT(RECORD_DROPPED)
#define BROKEN BIT(RECORD_ACCOUNT_FAIL)
#define CLEARED BIT(RECORD_ACCOUNT_CLEAR)
#define ACCOUNT (BROKEN | CLEARED)
#define HAPPENED (LOGIN | DROPPED | ACCOUNT)
#define NUMBERED (HAPPENED | BIT(RECORD_ACK))
#define WATCH BIT(RECORD_WATCH)

#define FIELD(name, type, max, kinds, needed) \
	{ #name, RECORD_TYPE_##type, offsetof(struct record, name), max, \
	  kinds, needed }

/* In the order they are written. An escaped byte is two: the texts of any one
   kind, doubled, and all its keys must fit into RECORD_MAX_LINE. */
static const struct record_field record_fields[] = {
	FIELD(id, NUMBER, 0, NUMBERED, NUMBERED),
	FIELD(time, NUMBER, 0, HAPPENED, HAPPENED),
	FIELD(name, TEXT, 64, PRODUCER, PRODUCER),
	FIELD(start, HEX, 64, PRODUCER, PRODUCER),
	FIELD(reason, REASON, 0, FAIL, FAIL),
	FIELD(user, TEXT, 512, LOGIN | WATCH, WATCH),
	FIELD(user_hash, HEX, 64, LOGIN, 0),
	FIELD(master, TEXT, 512, LOGIN, 0),
	FIELD(service, TEXT, 64, LOGIN, 0),
	FIELD(mechanism, TEXT, 64, LOGIN, 0),
	FIELD(ip, IP, 0, LOGIN | WATCH, 0),
	FIELD(session, TEXT, 128, LOGIN, 0),
	FIELD(count, NUMBER, 0, DROPPED, DROPPED),
	FIELD(account, TEXT, 768, ACCOUNT, ACCOUNT),
	FIELD(owner, TEXT, 512, ACCOUNT, 0),
	FIELD(label, TEXT, 256, ACCOUNT, 0),
	FIELD(class, TEXT, 64, BROKEN, BROKEN),
	FIELD(since, NUMBER, 0, BROKEN, BROKEN),
	FIELD(hint, TEXT, 32, BROKEN, 0),
	FIELD(gone, TEXT, 3, CLEARED, 0),
};

static const char *const kind_names[RECORD_KIND_COUNT] = {
	"producer",
	"login-fail",
	"login-ok",
	"dropped",
	"account-fail",
	"account-clear",
	"ack",
	"watch",
};

static const char *const reason_names[RECORD_REASON_COUNT] = {
	"",
	"password_mismatch",
	"user_unknown",
	"user_disabled",
	"pass_expired",
	"not_allowed",
	"scheme_not_available",
	"policy_refused",
	"internal_failure",
	"no_lookup",
};

const char *record_kind_name(enum record_kind kind)
{
	i_assert(kind < RECORD_KIND_COUNT);
	return kind_names[kind];
}

const char *record_reason_name(enum record_reason reason)
{
	i_assert(reason < RECORD_REASON_COUNT);
	return reason_names[reason];
}

static void *
record_value(struct record *record, const struct record_field *field)
{
	return PTR_OFFSET(record, field->offset);
}

static bool text_is_hex(const char *text)
{
	const char *pos;

	for (pos = text; *pos != '\0'; pos++) {
		if (!i_isdigit(*pos) && (*pos < 'a' || *pos > 'f'))
			return FALSE;
	}
	return pos != text;
}

/* Returns NULL, or what is wrong with it. */
static const char *
record_text_check(const struct record_field *field, const char *text)
{
	if (strlen(text) > field->max)
		return "too long";
	if (field->type == RECORD_TYPE_HEX && !text_is_hex(text))
		return "not hexadecimal";
	return *text == '\0' ? "empty" : NULL;
}

/*
 * Write
 */

/* The value, NULL if the record has none. A number is always there. */
static const char *
record_print(const struct record_field *field, const void *value)
{
	const struct ip_addr *ip = value;

	switch (field->type) {
	case RECORD_TYPE_TEXT:
	case RECORD_TYPE_HEX:
		return *(const char *const *)value;
	case RECORD_TYPE_NUMBER:
		return dec2str(*(const uint64_t *)value);
	case RECORD_TYPE_IP:
		return ip->family == 0 ? NULL : net_ip2addr(ip);
	case RECORD_TYPE_REASON:
		if (*(const enum record_reason *)value == RECORD_REASON_NONE)
			return NULL;
		return record_reason_name(*(const enum record_reason *)value);
	}
	i_unreached();
}

static const char *
record_write_field(string_t *dest, const struct record_field *field,
		   const struct record *record)
{
	const char *text = record_print(field, CONST_PTR_OFFSET(
		record, field->offset));
	const char *wrong;

	if (text == NULL) {
		return (field->needed & BIT(record->kind)) == 0 ? NULL :
			"missing";
	}
	if (field->max > 0) {
		wrong = record_text_check(field, text);
		if (wrong != NULL)
			return wrong;
	}
	str_append_c(dest, '\t');
	str_append(dest, field->key);
	str_append_c(dest, '=');
	str_append_tabescaped(dest, text);
	return NULL;
}

static bool record_names_user(const struct record *record)
{
	if ((LOGIN & BIT(record->kind)) == 0)
		return TRUE;
	return (record->user == NULL) != (record->user_hash == NULL);
}

int record_write(string_t *dest, const struct record *record,
		 const char **error_r)
{
	size_t begin = str_len(dest);
	const char *wrong = NULL;
	unsigned int i;

	if (!record_names_user(record)) {
		*error_r = "neither user nor user_hash, or both";
		return -1;
	}
	str_append(dest, record_kind_name(record->kind));
	for (i = 0; i < N_ELEMENTS(record_fields) && wrong == NULL; i++) {
		const struct record_field *field = &record_fields[i];

		if ((field->kinds & BIT(record->kind)) == 0)
			continue;
		wrong = record_write_field(dest, field, record);
		if (wrong != NULL)
			*error_r = t_strdup_printf("%s: %s", field->key, wrong);
	}
	if (wrong != NULL) {
		str_truncate(dest, begin);
		return -1;
	}
	str_append_c(dest, '\n');
	i_assert(str_len(dest) - begin <= RECORD_MAX_LINE);
	return 0;
}

/*
 * Read
 */

static int
record_parse_reason(const char *text, enum record_reason *reason_r)
{
	unsigned int i;

	for (i = RECORD_REASON_NONE + 1; i < RECORD_REASON_COUNT; i++) {
		if (strcmp(text, reason_names[i]) == 0) {
			*reason_r = i;
			return 0;
		}
	}
	return -1;
}

/* Returns NULL, or what is wrong with the value. */
static const char *
record_parse_value(const struct record_field *field, const char *text,
		   void *value)
{
	switch (field->type) {
	case RECORD_TYPE_TEXT:
	case RECORD_TYPE_HEX:
		*(const char **)value = text;
		return record_text_check(field, text);
	case RECORD_TYPE_NUMBER:
		return str_to_uint64(text, value) < 0 ? "no number" : NULL;
	case RECORD_TYPE_IP:
		return net_addr2ip(text, value) < 0 ? "no address" : NULL;
	case RECORD_TYPE_REASON:
		return record_parse_reason(text, value) < 0 ? "unknown" : NULL;
	}
	i_unreached();
}

/* Only what str_tabescape() writes. \0010 would unescape to a NUL, which cuts
   the value short behind the back of whoever checked it. */
static bool record_is_escaped(const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '\r' || *text == '\n')
			return FALSE;
		if (*text != '\001')
			continue;
		text++;
		if (*text == '\0' || strchr("1trn", *text) == NULL)
			return FALSE;
	}
	return TRUE;
}

static const struct record_field *
record_field_find(enum record_kind kind, const char *key)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(record_fields); i++) {
		if ((record_fields[i].kinds & BIT(kind)) != 0 &&
		    strcmp(record_fields[i].key, key) == 0)
			return &record_fields[i];
	}
	return NULL;
}

/* seen: bits of the fields that came before */
static const char *
record_parse_field(char *arg, struct record *record, unsigned int *seen)
{
	const struct record_field *field;
	char *text = strchr(arg, '=');
	unsigned int bit;

	if (text == NULL)
		return "no value";
	*text++ = '\0';
	field = record_field_find(record->kind, arg);
	if (field == NULL)
		return NULL;
	bit = BIT(field - record_fields);
	if ((*seen & bit) != 0)
		return "twice";
	*seen |= bit;
	return record_parse_value(field, str_tabunescape(text),
				  record_value(record, field));
}

static int record_parse_kind(const char *word, enum record_kind *kind_r)
{
	unsigned int i;

	for (i = 0; i < RECORD_KIND_COUNT; i++) {
		if (strcmp(word, kind_names[i]) == 0) {
			*kind_r = i;
			return 0;
		}
	}
	return -1;
}

static int
record_check_needed(const struct record *record, unsigned int seen,
		    const char **error_r)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(record_fields); i++) {
		if ((record_fields[i].needed & BIT(record->kind)) != 0 &&
		    (seen & BIT(i)) == 0) {
			*error_r = t_strdup_printf("%s: missing",
						   record_fields[i].key);
			return -1;
		}
	}
	if (!record_names_user(record)) {
		*error_r = "neither user nor user_hash, or both";
		return -1;
	}
	return 0;
}

static int
record_parse_fields(char **args, struct record *record, const char **error_r)
{
	unsigned int seen = 0;
	const char *wrong;

	for (; *args != NULL; args++) {
		wrong = record_parse_field(*args, record, &seen);
		if (wrong != NULL) {
			*error_r = t_strdup_printf("%s: %s", *args, wrong);
			return -1;
		}
	}
	return record_check_needed(record, seen, error_r);
}

int record_parse(pool_t pool, const char *line, struct record *record_r,
		 const char **error_r)
{
	char **args;

	i_zero(record_r);
	if (strlen(line) >= RECORD_MAX_LINE) {
		*error_r = "line too long";
		return -1;
	}
	if (!record_is_escaped(line)) {
		*error_r = "bad escape in line";
		return -1;
	}
	args = p_strsplit(pool, line, "\t");
	if (args[0] == NULL ||
	    record_parse_kind(args[0], &record_r->kind) < 0) {
		*error_r = "unknown record";
		return -1;
	}
	return record_parse_fields(args + 1, record_r, error_r);
}

/*
 * The rest
 */

const char *record_version_line(void)
{
	return t_strdup_printf("VERSION\t%s\t%u\t%u\n", RECORD_PROTOCOL_NAME,
			       RECORD_PROTOCOL_MAJOR, RECORD_PROTOCOL_MINOR);
}

int record_version_check(const char *line, const char **error_r)
{
	const char *const *args = t_strsplit(line, "\t");
	unsigned int major, minor;

	if (str_array_length(args) != 4 || strcmp(args[0], "VERSION") != 0 ||
	    str_to_uint(args[2], &major) < 0 ||
	    str_to_uint(args[3], &minor) < 0) {
		*error_r = "no VERSION line";
		return -1;
	}
	if (strcmp(args[1], RECORD_PROTOCOL_NAME) != 0) {
		*error_r = "another protocol";
		return -1;
	}
	if (major != RECORD_PROTOCOL_MAJOR) {
		*error_r = "another major version";
		return -1;
	}
	return 0;
}

bool record_user_fits(const char *user)
{
	return record_text_check(record_field_find(RECORD_LOGIN_FAIL, "user"),
				 user) == NULL;
}

void record_drop_long(struct record *record)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(record_fields); i++) {
		const struct record_field *field = &record_fields[i];
		const char **text = record_value(record, field);

		if (field->max > 0 && *text != NULL &&
		    (field->needed & BIT(record->kind)) == 0 &&
		    record_text_check(field, *text) != NULL)
			*text = NULL;
	}
}
