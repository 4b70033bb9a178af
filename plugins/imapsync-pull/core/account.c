/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "array.h"
#include "str.h"
#include "strnum.h"
#include "net.h"
#include "unichar.h"
#include "account.h"

#include <ctype.h>
#include <stddef.h>

#define ACCOUNT_NAME_MAX 64
#define ACCOUNT_HOST_MAX 253
#define ACCOUNT_LABEL_MAX 63
#define ACCOUNT_VALUE_MAX 65536
#define ACCOUNT_TIME_MAX_SECS (100U * 365 * 24 * 3600)
#define ACCOUNT_TIMEOUT_MAX_SECS (24U * 3600)
/* servers are asked no more often than this: many lock those out who are */
#define ACCOUNT_INTERVAL_MIN_SECS 10
#define ACCOUNT_INTERVAL_MAX_SECS (365U * 24 * 3600)
/* smaller numbers in since= are dates written without dashes */
#define ACCOUNT_SINCE_MIN 100000000
/* 9999-12-31 23:59:59 */
#define ACCOUNT_SINCE_MAX 253402300799LL

#define DAY_SECS (24 * 3600)

struct account_key;

/* Sets the field a key stands for. Returns NULL, or what is wrong with the
   value. */
typedef const char *
account_parse_func_t(pool_t pool, const struct account_key *key,
		     const char *value, struct account *account);
/* The value as account_parse_func_t reads it. Data stack. */
typedef const char *
account_print_func_t(const struct account_key *key,
		     const struct account *account);

struct account_key {
	const char *name;
	account_parse_func_t *parse;
	account_print_func_t *print;
	/* of the field in struct account */
	size_t offset;
	/* for words: the value at the index of each, NULL-terminated */
	const char *const *words;
	/* printed although it equals the default */
	bool always;
};

#define FIELD(account, key, type) \
	((type *)PTR_OFFSET(account, (key)->offset))
#define CONST_FIELD(account, key, type) \
	((type const *)CONST_PTR_OFFSET(account, (key)->offset))

static const char *const security_words[] = { "tls", "starttls", "none", NULL };
static const char *const preset_words[] = {
	"inbox", "combine", "backup", "migrate", NULL
};
static const char *const deliver_words[] = { "lmtp", "direct", NULL };
static const char *const history_words[] = { "lmtp", "direct", "skip", NULL };
static const char *const flags_words[] = { "follow", "initial", "none", NULL };
static const char *const expunge_words[] = { "keep", "mirror", NULL };
static const char *const bool_words[] = { "no", "yes", NULL };
static const char *const select_words[] = { "all", "unseen", NULL };

/* Keys of the documentation whose feature does not exist yet. */
static const char *const account_later_keys[] = {
	"oauth_provider", "deny", "sieve", "scan", "archive", "target",
	"after", "after_days", "max_rate", "shared_with", "hook", "send",
	"send_as_system", "reply_to", NULL
};

static const char *const account_none[] = { NULL };

/*
 * Text
 */

static bool account_text_is_clean(const char *text)
{
	unichar_t chr;
	int len;

	for (; *text != '\0'; text += len) {
		len = uni_utf8_get_char(text, &chr);
		if (len <= 0 || chr < 0x20 || (chr >= 0x7f && chr < 0xa0))
			return FALSE;
	}
	return TRUE;
}

static const char *
parse_text(pool_t pool, const struct account_key *key,
	   const char *value, struct account *account)
{
	if (*value == '\0')
		return "must not be empty";
	*FIELD(account, key, const char *) = p_strdup(pool, value);
	return NULL;
}

static const char *
parse_optional_text(pool_t pool, const struct account_key *key,
		    const char *value, struct account *account)
{
	*FIELD(account, key, const char *) = p_strdup_empty(pool, value);
	return NULL;
}

static const char *
print_text(const struct account_key *key, const struct account *account)
{
	const char *text = *CONST_FIELD(account, key, const char *);

	return text == NULL ? "" : text;
}

static const char *
parse_hex(pool_t pool, const struct account_key *key, const char *value,
	  struct account *account, unsigned int digits)
{
	value = t_str_lcase(value);
	if (*value != '\0' &&
	    (strlen(value) != digits ||
	     strspn(value, "0123456789abcdef") != digits))
		return t_strdup_printf("must be %u hex digits", digits);
	*FIELD(account, key, const char *) = p_strdup(pool, value);
	return NULL;
}

static const char *
parse_source_id(pool_t pool, const struct account_key *key,
		const char *value, struct account *account)
{
	return parse_hex(pool, key, value, account, 32);
}

static const char *
parse_tls_pin(pool_t pool, const struct account_key *key,
	      const char *value, struct account *account)
{
	const char *error = parse_hex(pool, key, value, account, 64);

	if (error == NULL && *account->tls_pin == '\0')
		account->tls_pin = NULL;
	return error;
}

static const char *
parse_mechanism(pool_t pool, const struct account_key *key ATTR_UNUSED,
		const char *value, struct account *account)
{
	value = t_str_ucase(value);
	if (strcmp(value, "AUTO") == 0)
		value = "auto";
	else if (*value == '\0' || strlen(value) > 20 ||
		 value[strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
			      "0123456789-_")] != '\0')
		return "must be the name of a SASL mechanism, or auto";
	account->auth_mechanism = p_strdup(pool, value);
	return NULL;
}

static const char *
parse_owner(pool_t pool, const struct account_key *key ATTR_UNUSED,
	    const char *value, struct account *account)
{
	if (*value == '\0')
		return "must be a user, or none";
	account->owner = strcmp(value, "none") == 0 ? NULL :
		p_strdup(pool, value);
	return NULL;
}

static const char *
print_owner(const struct account_key *key ATTR_UNUSED,
	    const struct account *account)
{
	return account->owner == NULL ? "none" : account->owner;
}

static const char *
parse_address(pool_t pool, const struct account_key *key ATTR_UNUSED,
	      const char *value, struct account *account)
{
	const char *at = strrchr(value, '@');

	if (*value != '\0' &&
	    (at == NULL || at == value || at[1] == '\0' ||
	     strpbrk(value, " <>,;\"") != NULL))
		return "must be an address like anna@example.org";
	account->address = p_strdup_empty(pool, value);
	return NULL;
}

/*
 * Host and port
 */

static bool account_host_label_is_valid(const char *label, size_t len)
{
	size_t i;

	if (len == 0 || len > ACCOUNT_LABEL_MAX ||
	    label[0] == '-' || label[len - 1] == '-')
		return FALSE;
	for (i = 0; i < len; i++) {
		if (!i_isalnum(label[i]) && label[i] != '-')
			return FALSE;
	}
	return TRUE;
}

/* 127.1, 0x7f.0.0.1 and 2130706433 are addresses to some resolvers */
static bool account_host_looks_numeric(const char *host)
{
	const char *last = strrchr(host, '.');

	last = last == NULL ? host : last + 1;
	if (last[0] == '0' && last[1] == 'x')
		return last[2 + strspn(last + 2, "0123456789abcdef")] == '\0';
	return last[strspn(last, "0123456789")] == '\0';
}

static const char *account_host_name_check(const char *host)
{
	const char *end;

	if (*host == '\0' || strlen(host) > ACCOUNT_HOST_MAX)
		return "must be a host name or an IP address";
	for (end = host; *end != '\0'; end++) {
		if ((unsigned char)*end >= 0x80)
			return "must be ASCII: write the name in its "
				"xn-- form";
	}
	if (account_host_looks_numeric(host))
		return "is neither a host name nor an IP address";
	for (;; host = end + 1) {
		end = host + strcspn(host, ".");
		if (!account_host_label_is_valid(host, end - host))
			return "is neither a host name nor an IP address";
		if (*end == '\0')
			return NULL;
	}
}

static bool account_host_is_ip(const char *host, const char **ip_r)
{
	struct ip_addr ip;

	/* net_addr2ip() may take fe80::1%eth0, and drop the interface */
	if (strchr(host, '%') != NULL || net_addr2ip(host, &ip) < 0)
		return FALSE;
	*ip_r = net_ip2addr(&ip);
	/* 127.1 is good enough for it, too */
	return IPADDR_IS_V6(&ip) || strcmp(*ip_r, host) == 0;
}

static const char *
parse_host(pool_t pool, const struct account_key *key ATTR_UNUSED,
	   const char *value, struct account *account)
{
	const char *host = t_str_lcase(value), *error;
	size_t len = strlen(host);

	if (len > 1 && host[len - 1] == '.')
		host = t_strndup(host, len - 1);
	if (!account_host_is_ip(host, &host)) {
		error = account_host_name_check(host);
		if (error != NULL)
			return error;
	}
	account->host = p_strdup(pool, host);
	return NULL;
}

static const char *
parse_port(pool_t pool ATTR_UNUSED, const struct account_key *key ATTR_UNUSED,
	   const char *value, struct account *account)
{
	return net_str2port(value, &account->port) == 0 ? NULL :
		"must be a number from 1 to 65535";
}

static const char *
print_port(const struct account_key *key ATTR_UNUSED,
	   const struct account *account)
{
	return dec2str(account->port);
}

/*
 * Words and numbers
 */

static const char *
account_find_word(const struct account_key *key, const char *value,
		  unsigned int *idx_r)
{
	unsigned int i;

	for (i = 0; key->words[i] != NULL; i++) {
		if (strcasecmp(key->words[i], value) == 0) {
			*idx_r = i;
			return NULL;
		}
	}
	return t_strdup_printf("must be one of: %s",
			       t_strarray_join(key->words, ", "));
}

/* All enums of struct account are counted from 0 in the order of their
   words. */
static const char *
parse_word(pool_t pool ATTR_UNUSED, const struct account_key *key,
	   const char *value, struct account *account)
{
	unsigned int idx;
	const char *error = account_find_word(key, value, &idx);

	if (error == NULL)
		*FIELD(account, key, unsigned int) = idx;
	return error;
}

static const char *
print_word(const struct account_key *key, const struct account *account)
{
	return key->words[*CONST_FIELD(account, key, unsigned int)];
}

static const char *
parse_bool(pool_t pool ATTR_UNUSED, const struct account_key *key,
	   const char *value, struct account *account)
{
	unsigned int idx;
	const char *error = account_find_word(key, value, &idx);

	if (error == NULL)
		*FIELD(account, key, bool) = idx == 1;
	return error;
}

static const char *
print_bool(const struct account_key *key, const struct account *account)
{
	return key->words[*CONST_FIELD(account, key, bool) ? 1 : 0];
}

static const char *
parse_percent(pool_t pool ATTR_UNUSED,
	      const struct account_key *key ATTR_UNUSED,
	      const char *value, struct account *account)
{
	unsigned int num;

	if (str_to_uint(value, &num) < 0 || num > 100)
		return "must be a number from 0 to 100";
	account->guard_percent = num;
	return NULL;
}

static const char *
print_percent(const struct account_key *key ATTR_UNUSED,
	      const struct account *account)
{
	return dec2str(account->guard_percent);
}

struct account_unit {
	const char *suffix;
	uint64_t factor;
};

/* largest first, for printing */
static const struct account_unit time_units[] = {
	{ "y", 365 * DAY_SECS }, { "w", 7 * DAY_SECS }, { "d", DAY_SECS },
	{ "h", 3600 }, { "m", 60 }, { "s", 1 }, { "", 1 }
};
static const struct account_unit size_units[] = {
	{ "G", 1024 * 1024 * 1024 }, { "M", 1024 * 1024 }, { "K", 1024 },
	{ "B", 1 }, { "", 1 }
};

/* Returns FALSE if value is no number with one of the suffixes, or over
   max. */
static bool
account_parse_units(const char *value, const struct account_unit *units,
		    uint64_t max, uint64_t *num_r)
{
	const char *suffix;
	uint64_t num;

	if (str_parse_uint64(value, &num, &suffix) < 0)
		return FALSE;
	while (strcasecmp(units->suffix, suffix) != 0) {
		if (*units->suffix == '\0')
			return FALSE;
		units++;
	}
	if (num > max / units->factor)
		return FALSE;
	*num_r = num * units->factor;
	return TRUE;
}

static const char *
account_print_units(uint64_t num, const struct account_unit *units)
{
	if (num == 0)
		return "0";
	while (num % units->factor != 0)
		units++;
	if (units->factor == 1)
		return dec2str(num);
	return t_strdup_printf("%"PRIu64"%s", num / units->factor,
			       units->suffix);
}

static bool
parse_secs(const struct account_key *key, const char *value,
	   uint64_t max_secs, struct account *account)
{
	uint64_t secs;

	if (!account_parse_units(value, time_units, max_secs, &secs))
		return FALSE;
	*FIELD(account, key, unsigned int) = secs;
	return TRUE;
}

static const char *
parse_age(pool_t pool ATTR_UNUSED, const struct account_key *key,
	  const char *value, struct account *account)
{
	return parse_secs(key, value, ACCOUNT_TIME_MAX_SECS, account) ? NULL :
		"must be a time like 1y, 30d or 12h, 0 for everything";
}

static const char *
parse_timeout(pool_t pool ATTR_UNUSED, const struct account_key *key,
	      const char *value, struct account *account)
{
	return parse_secs(key, value, ACCOUNT_TIMEOUT_MAX_SECS, account) &&
		account->timeout_secs != 0 ? NULL :
		"must be a time like 30s or 5m, at most a day";
}

static const char *
print_secs(const struct account_key *key, const struct account *account)
{
	return account_print_units(*CONST_FIELD(account, key, unsigned int),
				   time_units);
}

static const char *
parse_interval(pool_t pool ATTR_UNUSED, const struct account_key *key,
	       const char *value, struct account *account)
{
	if (strcasecmp(value, "none") == 0)
		account->interval_secs = 0;
	else if (!parse_secs(key, value, ACCOUNT_INTERVAL_MAX_SECS, account) ||
		 account->interval_secs < ACCOUNT_INTERVAL_MIN_SECS)
		return "must be a time like 1m or 6h, from 10s to 1y, or none";
	return NULL;
}

static const char *
print_interval(const struct account_key *key, const struct account *account)
{
	return account->interval_secs == 0 ? "none" :
		print_secs(key, account);
}

static const char *
parse_max_size(pool_t pool ATTR_UNUSED,
	       const struct account_key *key ATTR_UNUSED,
	       const char *value, struct account *account)
{
	uint64_t size;

	if (!account_parse_units(value, size_units, INT64_MAX, &size))
		return "must be a size like 100M, 0 for no limit";
	account->max_size_bytes = size;
	return NULL;
}

static const char *
print_max_size(const struct account_key *key ATTR_UNUSED,
	       const struct account *account)
{
	return account_print_units(account->max_size_bytes, size_units);
}

/*
 * Dates
 */

/* Days from 1970-01-01 in the Gregorian calendar. The year begins in March
   here, so that a leap day is its last one. */
static int64_t account_date_to_days(int year, int month, int day)
{
	int64_t y = month <= 2 ? year - 1 : year;
	int64_t month_days = (153 * ((month + 9) % 12) + 2) / 5;

	return y * 365 + y / 4 - y / 100 + y / 400 + month_days + day - 1 -
		719468;
}

static void
account_days_to_date(int64_t days, int *year_r, int *month_r, int *day_r)
{
	int month = 1;

	/* one too late at most */
	*year_r = 1970 + days / 365;
	while (account_date_to_days(*year_r, 1, 1) > days)
		(*year_r)--;
	while (month < 12 &&
	       account_date_to_days(*year_r, month + 1, 1) <= days)
		month++;
	*month_r = month;
	*day_r = days - account_date_to_days(*year_r, month, 1) + 1;
}

static bool account_parse_date(const char *value, int64_t *days_r)
{
	int year, month, day, y, m, d;

	if (strlen(value) != 10 || value[4] != '-' || value[7] != '-' ||
	    str_to_int(t_strndup(value, 4), &year) < 0 ||
	    str_to_int(t_strndup(value + 5, 2), &month) < 0 ||
	    str_to_int(value + 8, &day) < 0 ||
	    year < 1970 || month < 1 || month > 12 || day < 1 || day > 31)
		return FALSE;
	*days_r = account_date_to_days(year, month, day);
	/* 31 June comes back as 1 July */
	account_days_to_date(*days_r, &y, &m, &d);
	return y == year && m == month && d == day && *days_r > 0;
}

static const char *
parse_since(pool_t pool ATTR_UNUSED, const struct account_key *key ATTR_UNUSED,
	    const char *value, struct account *account)
{
	int64_t days;
	unsigned long long secs;

	if (*value == '\0') {
		account->since = 0;
	} else if (account_parse_date(value, &days)) {
		account->since = days * DAY_SECS;
	} else if (str_to_ullong(value, &secs) == 0 &&
		   secs >= ACCOUNT_SINCE_MIN && secs <= ACCOUNT_SINCE_MAX) {
		account->since = secs;
	} else {
		return "must be a date like 2024-12-31, or seconds since "
			"1970-01-01";
	}
	return NULL;
}

static const char *
print_since(const struct account_key *key ATTR_UNUSED,
	    const struct account *account)
{
	int year, month, day;

	if (account->since == 0)
		return "";
	if (account->since % DAY_SECS != 0)
		return t_strdup_printf("%lld", (long long)account->since);
	account_days_to_date(account->since / DAY_SECS, &year, &month, &day);
	return t_strdup_printf("%04d-%02d-%02d", year, month, day);
}

/*
 * Lists: items with commas between them, white space round an item does not
 * count. A backslash takes the meaning from a comma, a space and another
 * backslash; before anything else it is itself, so \Sent needs no more.
 */

static bool account_list_is_escape(const char *pos)
{
	return *pos == '\\' && (pos[1] == ',' || pos[1] == '\\' ||
				pos[1] == ' ');
}

static const char *
account_list_next(const char **pos, string_t *item)
{
	const char *p = *pos;
	size_t end = 0;

	str_truncate(item, 0);
	for (; *p == ' '; p++) ;
	for (; *p != '\0' && *p != ','; p++) {
		bool space = *p == ' ';

		if (account_list_is_escape(p))
			p++;
		str_append_c(item, *p);
		if (!space)
			end = str_len(item);
	}
	str_truncate(item, end);
	*pos = *p == ',' ? p + 1 : NULL;
	return str_c(item);
}

static const char *
parse_list(pool_t pool, const struct account_key *key,
	   const char *value, struct account *account)
{
	const char *pos = *value == '\0' ? NULL : value, *item;
	string_t *str = t_str_new(64);
	ARRAY(const char *) items;

	p_array_init(&items, pool, 8);
	while (pos != NULL) {
		item = p_strdup(pool, account_list_next(&pos, str));
		if (*item == '\0')
			return "has an empty item";
		array_push_back(&items, &item);
	}
	array_append_zero(&items);
	*FIELD(account, key, const char *const *) = array_idx(&items, 0);
	return NULL;
}

static const char *
parse_folders(pool_t pool, const struct account_key *key,
	      const char *value, struct account *account)
{
	if (value[strspn(value, " ")] == '\0')
		return "must not be empty";
	return parse_list(pool, key, value, account);
}

static const char *
parse_idle(pool_t pool, const struct account_key *key,
	   const char *value, struct account *account)
{
	const char *error = parse_list(pool, key, value, account);
	const char *const *idle = account->idle;

	if (error != NULL)
		return error;
	if (idle[0] == NULL)
		return "must be a list of folders, or no";
	if (idle[1] != NULL)
		return NULL;
	if (strcasecmp(idle[0], "yes") == 0)
		return "must be a list of folders, or no";
	if (strcasecmp(idle[0], "no") == 0)
		account->idle = account_none;
	return NULL;
}

static const char *
parse_folder_map(pool_t pool, const struct account_key *key,
		 const char *value, struct account *account)
{
	const char *error, *const *item, *sep;

	error = parse_list(pool, key, value, account);
	if (error != NULL)
		return error;
	for (item = account->folder_map; *item != NULL; item++) {
		sep = strrchr(*item, '=');
		if (sep == NULL || sep == *item || sep[1] == '\0')
			return "must be a list of remote=local";
	}
	return NULL;
}

static void account_list_append(string_t *dest, const char *item)
{
	const char *p;
	size_t len = strlen(item);

	for (p = item; *p != '\0'; p++) {
		bool edge = p == item || p == item + len - 1;

		if (*p == ',' || (*p == ' ' && edge) ||
		    (*p == '\\' && (p[1] == '\0' || p[1] == ',' ||
				    p[1] == ' ' || p[1] == '\\')))
			str_append_c(dest, '\\');
		str_append_c(dest, *p);
	}
}

static const char *
print_list(const struct account_key *key, const struct account *account)
{
	const char *const *items =
		*CONST_FIELD(account, key, const char *const *);
	string_t *str = t_str_new(64);

	for (; *items != NULL; items++) {
		if (str_len(str) > 0)
			str_append_c(str, ',');
		account_list_append(str, *items);
	}
	return str_c(str);
}

static const char *
print_idle(const struct account_key *key, const struct account *account)
{
	return account->idle[0] == NULL ? "no" : print_list(key, account);
}

/*
 * The keys, sorted
 */

#define KEY(name, parse, print, words) \
	{ #name, parse, print, offsetof(struct account, name), words, FALSE }
#define KEY_ALWAYS(name, parse, print) \
	{ #name, parse, print, offsetof(struct account, name), NULL, TRUE }

static const struct account_key account_keys[] = {
	KEY(address, parse_address, print_text, NULL),
	KEY(auth_mechanism, parse_mechanism, print_text, NULL),
	KEY(deliver, parse_word, print_word, deliver_words),
	KEY(enabled, parse_bool, print_bool, bool_words),
	KEY(exclude, parse_list, print_list, NULL),
	KEY(expunge, parse_word, print_word, expunge_words),
	KEY(flags, parse_word, print_word, flags_words),
	KEY(folder_map, parse_folder_map, print_list, NULL),
	KEY(folders, parse_folders, print_list, NULL),
	KEY(guard_percent, parse_percent, print_percent, NULL),
	KEY(history, parse_word, print_word, history_words),
	KEY_ALWAYS(host, parse_host, print_text),
	KEY(idle, parse_idle, print_idle, NULL),
	{ "initial_age", parse_age, print_secs,
	  offsetof(struct account, initial_age_secs), NULL, FALSE },
	{ "interval", parse_interval, print_interval,
	  offsetof(struct account, interval_secs), NULL, FALSE },
	KEY(label, parse_text, print_text, NULL),
	KEY_ALWAYS(login, parse_text, print_text),
	KEY(master_user, parse_optional_text, print_text, NULL),
	{ "max_size", parse_max_size, print_max_size, 0, NULL, FALSE },
	KEY(owner, parse_owner, print_owner, NULL),
	KEY(port, parse_port, print_port, NULL),
	KEY(preset, parse_word, print_word, preset_words),
	KEY(security, parse_word, print_word, security_words),
	{ "select", parse_bool, print_bool,
	  offsetof(struct account, unseen_only), select_words, FALSE },
	KEY(since, parse_since, print_since, NULL),
	KEY(source_id, parse_source_id, print_text, NULL),
	KEY(subfolder, parse_optional_text, print_text, NULL),
	KEY(subscribed_only, parse_bool, print_bool, bool_words),
	{ "timeout", parse_timeout, print_secs,
	  offsetof(struct account, timeout_secs), NULL, FALSE },
	KEY(tls_pin, parse_tls_pin, print_text, NULL),
	KEY(tls_verify, parse_bool, print_bool, bool_words),
};

/*
 * Accounts
 */

static const struct account_key *account_key_find(const char *name)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(account_keys); i++) {
		if (strcmp(account_keys[i].name, name) == 0)
			return &account_keys[i];
	}
	return NULL;
}

/* Typing mistakes needed to get from one to the other (Levenshtein) */
static unsigned int account_key_distance(const char *a, const char *b)
{
	size_t i, j, len = strlen(b);
	unsigned int *row = t_new(unsigned int, len + 1);
	unsigned int diagonal, above;

	for (j = 0; j <= len; j++)
		row[j] = j;
	for (i = 0; a[i] != '\0'; i++) {
		diagonal = row[0]++;
		for (j = 0; j < len; j++) {
			above = row[j + 1];
			row[j + 1] = I_MIN(I_MIN(above, row[j]) + 1,
					   diagonal + (a[i] == b[j] ? 0 : 1));
			diagonal = above;
		}
	}
	return row[len];
}

static const char *account_key_unknown(const char *name)
{
	unsigned int i, distance, best = 3;
	const char *nearest = NULL;

	if (strlen(name) > ACCOUNT_NAME_MAX || !account_text_is_clean(name))
		return "unknown key";
	for (i = 0; i < N_ELEMENTS(account_keys); i++) {
		distance = account_key_distance(name, account_keys[i].name);
		if (distance < best) {
			best = distance;
			nearest = account_keys[i].name;
		}
	}
	return nearest == NULL ? t_strdup_printf("unknown key %s", name) :
		t_strdup_printf("unknown key %s: did you mean %s?",
				name, nearest);
}

static bool account_key_is_later(const char *name)
{
	return str_array_find(account_later_keys, name) ||
		strncmp(name, "smtp_", 5) == 0;
}

static void account_defaults_inbox(struct account *account)
{
	static const char *const folders[] = { "INBOX", "\\Sent", NULL };
	static const char *const idle[] = { "INBOX", NULL };

	account->folders = folders;
	account->initial_age_secs = 365 * DAY_SECS;
	account->deliver = ACCOUNT_DELIVER_LMTP;
	account->history = ACCOUNT_DELIVER_DIRECT;
	account->interval_secs = 60;
	account->idle = idle;
}

static void account_defaults_preset(struct account *account)
{
	static const char *const folders[] = { "*", NULL };

	account_defaults_inbox(account);
	if (account->preset == ACCOUNT_PRESET_BACKUP)
		account->expunge = ACCOUNT_EXPUNGE_MIRROR;
	if (account->preset == ACCOUNT_PRESET_MIGRATE) {
		/* once, and whenever somebody asks for it */
		account->interval_secs = 0;
		account->idle = account_none;
	}
	if (account->preset == ACCOUNT_PRESET_BACKUP ||
	    account->preset == ACCOUNT_PRESET_MIGRATE) {
		account->folders = folders;
		account->initial_age_secs = 0;
		account->deliver = ACCOUNT_DELIVER_DIRECT;
	}
}

static in_port_t account_default_port(enum account_security security)
{
	return security == ACCOUNT_SECURITY_TLS ? 993 : 143;
}

/* preset and security decide what the others default to */
static void
account_defaults(const char *user, const char *name,
		 enum account_preset preset, enum account_security security,
		 struct account *account_r)
{
	i_zero(account_r);
	account_r->user = user;
	account_r->name = name;
	account_r->source_id = "";
	account_r->host = account_r->login = "";
	account_r->security = security;
	account_r->port = account_default_port(security);
	account_r->auth_mechanism = "auto";
	account_r->tls_verify = TRUE;
	account_r->enabled = TRUE;
	account_r->owner = user;
	account_r->label = name;
	account_r->preset = preset;
	account_r->exclude = account_r->folder_map = account_none;
	account_r->max_size_bytes = 100 * 1024 * 1024;
	account_r->flags = ACCOUNT_FLAGS_FOLLOW;
	account_r->expunge = ACCOUNT_EXPUNGE_KEEP;
	account_r->guard_percent = 20;
	account_r->timeout_secs = 5 * 60;
	account_defaults_preset(account_r);
}

static int
account_parse_setting(pool_t pool, const char *setting,
		      struct account *account,
		      const struct account_key **key_r, const char **error_r)
{
	const char *value = strchr(setting, '='), *name, *error;

	if (value == NULL) {
		*error_r = "a setting must be key=value";
		return -1;
	}
	name = t_strdup_until(setting, value++);
	*key_r = account_key_find(name);
	if (*key_r == NULL) {
		*error_r = account_key_is_later(name) ?
			t_strdup_printf("%s is not supported yet", name) :
			account_key_unknown(name);
		return -1;
	}
	if (strlen(value) > ACCOUNT_VALUE_MAX)
		error = "is too long";
	else if (!account_text_is_clean(value))
		error = "must be UTF-8 without control characters";
	else
		error = (*key_r)->parse(pool, *key_r, value, account);
	if (error != NULL) {
		*error_r = t_strdup_printf("%s %s", name, error);
		return -1;
	}
	return 0;
}

static int
account_parse_all(pool_t pool, const char *const *settings,
		  struct account *account, const char **error_r)
{
	bool seen[N_ELEMENTS(account_keys)] = { FALSE };
	const struct account_key *key;

	for (; *settings != NULL; settings++) {
		if (account_parse_setting(pool, *settings, account,
					  &key, error_r) < 0)
			return -1;
		if (seen[key - account_keys]) {
			*error_r = t_strdup_printf("%s is given twice",
						   key->name);
			return -1;
		}
		seen[key - account_keys] = TRUE;
	}
	return 0;
}

static int account_check(const struct account *account, const char **error_r)
{
	if (*account->host == '\0')
		*error_r = "host is missing";
	else if (*account->login == '\0')
		*error_r = "login is missing";
	else if (account->preset == ACCOUNT_PRESET_COMBINE &&
		 account->subfolder == NULL)
		*error_r = "preset combine needs subfolder";
	else if (account->security == ACCOUNT_SECURITY_NONE &&
		 account->tls_pin != NULL)
		*error_r = "tls_pin makes no sense with security none";
	else
		return 0;
	return -1;
}

int account_parse(pool_t pool, const char *user, const char *name,
		  const char *const *settings, struct account *account_r,
		  const char **error_r)
{
	struct account account;

	i_zero(account_r);
	if (!account_name_is_valid(name, error_r))
		return -1;
	/* the first time for preset and security alone */
	account_defaults(user, name, ACCOUNT_PRESET_INBOX,
			 ACCOUNT_SECURITY_TLS, &account);
	if (account_parse_all(unsafe_data_stack_pool, settings, &account,
			      error_r) < 0)
		return -1;
	account_defaults(p_strdup(pool, user), p_strdup(pool, name),
			 account.preset, account.security, &account);
	if (account_parse_all(pool, settings, &account, error_r) < 0 ||
	    account_check(&account, error_r) < 0)
		return -1;
	*account_r = account;
	return 0;
}

const char *const *
account_print(pool_t pool, const struct account *account, bool all)
{
	ARRAY(const char *) settings;
	struct account plain, defaults;
	unsigned int i;

	/* preset and security set the defaults of the others and are
	   themselves measured by the plain ones */
	account_defaults(account->user, account->name, ACCOUNT_PRESET_INBOX,
			 ACCOUNT_SECURITY_TLS, &plain);
	account_defaults(account->user, account->name, account->preset,
			 account->security, &defaults);
	defaults.preset = plain.preset;
	defaults.security = plain.security;
	p_array_init(&settings, pool, N_ELEMENTS(account_keys) + 1);
	for (i = 0; i < N_ELEMENTS(account_keys); i++) T_BEGIN {
		const struct account_key *key = &account_keys[i];
		const char *value = key->print(key, account), *setting;

		if (all || key->always ||
		    strcmp(value, key->print(key, &defaults)) != 0) {
			setting = p_strconcat(pool, key->name, "=", value,
					      NULL);
			array_push_back(&settings, &setting);
		}
	} T_END;
	array_append_zero(&settings);
	return array_idx(&settings, 0);
}

bool account_name_is_valid(const char *name, const char **error_r)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
		"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	size_t len = strlen(name);

	if (len > 0 && len <= ACCOUNT_NAME_MAX &&
	    strspn(name, allowed) == len && *name != '.' && *name != '-')
		return TRUE;
	*error_r = "an account name has 1 to 64 letters, digits, '.', '_' or "
		"'-', and does not begin with '.' or '-'";
	return FALSE;
}

bool account_same_mailbox(const struct account *a, const struct account *b)
{
	return strcasecmp(a->host, b->host) == 0 &&
		strcmp(a->login, b->login) == 0;
}

const char *account_endpoint(const struct account *account)
{
	return strchr(account->host, ':') == NULL ?
		t_strdup_printf("%s:%u", account->host, account->port) :
		t_strdup_printf("[%s]:%u", account->host, account->port);
}
