/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "strfuncs.h"
#include "strnum.h"
#include "dovecot-compat.h"
#include "notice-rules.h"

/* longer ones are a mistake, and must not overflow */
#define RULE_MAX_SECS (365*24*60*60)

static const struct {
	char letter;
	unsigned int secs;
} units[] = {
	{ 's', 1 },
	{ 'm', 60 },
	{ 'h', 60*60 },
	{ 'd', 24*60*60 },
};

/* Returns NULL if it names no rule. */
static struct notice_rule *
rule_find(struct notice_limits *limits, const char *name)
{
	enum notice_class class;

	if (strcmp(name, "login") == 0)
		return &limits->login[NOTICE_PATTERN_DEVICE];
	if (strcmp(name, "attack") == 0)
		return &limits->login[NOTICE_PATTERN_ATTACK];
	if (notice_class_parse(name, &class))
		return &limits->account[class];
	return NULL;
}

static bool secs_parse(const char *text, unsigned int *secs_r)
{
	unsigned int i, num;
	const char *unit;

	if (str_parse_uint(text, &num, &unit) < 0 || *unit == '\0' ||
	    unit[1] != '\0')
		return FALSE;
	for (i = 0; i < N_ELEMENTS(units); i++) {
		if (units[i].letter == *unit) {
			*secs_r = num * units[i].secs;
			return num <= RULE_MAX_SECS / units[i].secs;
		}
	}
	return FALSE;
}

static bool rule_parse(const char *text, struct notice_rule *rule_r)
{
	const char *const *parts = t_strsplit(text, "/");

	if (strcmp(text, "never") == 0) {
		i_zero(rule_r);
		return TRUE;
	}
	/* "never" is written in one way only */
	return str_array_length(parts) == 3 &&
		str_to_uint(parts[0], &rule_r->count) == 0 &&
		rule_r->count > 0 &&
		secs_parse(parts[1], &rule_r->span_secs) &&
		secs_parse(parts[2], &rule_r->window_secs) &&
		rule_r->window_secs > 0;
}

static int
rule_word(const char *word, struct notice_limits *limits, const char **error_r)
{
	const char *value = strchr(word, '=');
	struct notice_rule *rule, parsed;

	if (value == NULL) {
		*error_r = t_strdup_printf("%s: no =", word);
		return -1;
	}
	rule = rule_find(limits, t_strdup_until(word, value));
	if (rule == NULL) {
		*error_r = t_strdup_printf("%s: names no class", word);
		return -1;
	}
	if (!rule_parse(value + 1, &parsed)) {
		*error_r = t_strdup_printf(
			"%s: neither <count>/<span>/<window> nor never", word);
		return -1;
	}
	*rule = parsed;
	return 0;
}

int notice_rules_parse(const char *words, struct notice_limits *limits,
		       const char **error_r)
{
	const char *const *word = t_strsplit_spaces(words, " \t\n");

	for (; *word != NULL; word++) {
		if (rule_word(*word, limits, error_r) < 0)
			return -1;
	}
	return 0;
}
