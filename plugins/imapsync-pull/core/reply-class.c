/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "strnum.h"
#include "reply-class.h"

#include <ctype.h>

#define REPLY_WAIT_MAX_SECS (24U * 3600)

/* sysexits(3), with doveadm's meanings */
enum {
	EXIT_OK = 0,
	EXIT_LATER = 75,
	EXIT_REFUSED = 77,
	EXIT_CONFIG = 78,
};

static const struct { const char *name; int exit_code; } reply_classes[] = {
	[REPLY_CLASS_OK] = { "ok", EXIT_OK },
	[REPLY_CLASS_CREDENTIAL] = { "credential", EXIT_REFUSED },
	[REPLY_CLASS_USER_ACTION] = { "user_action", EXIT_REFUSED },
	[REPLY_CLASS_TOKEN] = { "token", EXIT_REFUSED },
	[REPLY_CLASS_THROTTLED] = { "throttled", EXIT_LATER },
	[REPLY_CLASS_SERVER] = { "server", EXIT_LATER },
	[REPLY_CLASS_NETWORK] = { "network", EXIT_LATER },
	[REPLY_CLASS_DNS] = { "dns", EXIT_LATER },
	[REPLY_CLASS_TLS] = { "tls", EXIT_LATER },
	[REPLY_CLASS_PROTOCOL] = { "protocol", EXIT_LATER },
	[REPLY_CLASS_POLICY] = { "policy", EXIT_REFUSED },
	[REPLY_CLASS_FOLDER] = { "folder", EXIT_LATER },
	[REPLY_CLASS_MESSAGE] = { "message", EXIT_LATER },
	[REPLY_CLASS_LOCAL] = { "local", EXIT_LATER },
	[REPLY_CLASS_QUOTA] = { "quota", EXIT_LATER },
	[REPLY_CLASS_CONFIG] = { "config", EXIT_CONFIG },
	[REPLY_CLASS_BUSY] = { "busy", EXIT_LATER },
	[REPLY_CLASS_STOPPED] = { "stopped", EXIT_LATER },
};

struct reply_rule {
	/* response code, or a part of the text; compared without case */
	const char *match;
	enum reply_class class;
	/* one bad folder or message makes servers say this too: while the
	   connection lives, it reaches no further than what was asked for */
	bool narrow;
};

/* RFC 5530 and what providers add. LIMIT is not here: it means "too often" at
   login and "too big" elsewhere. */
static const struct reply_rule temporary_codes[] = {
	{ "UNAVAILABLE", REPLY_CLASS_SERVER, FALSE },
	{ "TEMPFAIL", REPLY_CLASS_SERVER, FALSE },
	{ "THROTTLED", REPLY_CLASS_THROTTLED, FALSE },
	{ "OVERQUOTA", REPLY_CLASS_THROTTLED, FALSE },
	{ "INUSE", REPLY_CLASS_SERVER, TRUE },
	{ "SERVERBUG", REPLY_CLASS_SERVER, TRUE },
	{ "CORRUPTION", REPLY_CLASS_SERVER, TRUE },
};

/* Before ALERT and AUTHENTICATIONFAILED are looked at: providers send both
   with these. What is narrower comes first. */
static const struct reply_rule temporary_texts[] = {
	{ "[THROTTLED]", REPLY_CLASS_THROTTLED, FALSE },
	{ "Request is throttled", REPLY_CLASS_THROTTLED, FALSE },
	{ "Suggested Backoff Time", REPLY_CLASS_THROTTLED, FALSE },
	{ "Too many simultaneous connections", REPLY_CLASS_THROTTLED, FALSE },
	{ "Too many connections", REPLY_CLASS_THROTTLED, FALSE },
	{ "Maximum number of connections", REPLY_CLASS_THROTTLED, FALSE },
	{ "Too many bad login attempts", REPLY_CLASS_THROTTLED, FALSE },
	{ "Too many login", REPLY_CLASS_THROTTLED, FALSE },
	{ "Too many failures", REPLY_CLASS_THROTTLED, FALSE },
	{ "Too many failed", REPLY_CLASS_THROTTLED, FALSE },
	{ "Too many attempts", REPLY_CLASS_THROTTLED, FALSE },
	{ "Rate limit", REPLY_CLASS_THROTTLED, FALSE },
	{ "bandwidth limits", REPLY_CLASS_THROTTLED, FALSE },
	{ "Session expired, please login again", REPLY_CLASS_THROTTLED,
	  FALSE },
	{ "is authenticated but not connected", REPLY_CLASS_SERVER, FALSE },
	{ "Temporary authentication failure", REPLY_CLASS_SERVER, FALSE },
	{ "Temporary System Error", REPLY_CLASS_SERVER, FALSE },
	{ "Temporary failure", REPLY_CLASS_SERVER, FALSE },
	{ "Temporary unavailable", REPLY_CLASS_SERVER, FALSE },
	{ "temporarily unavailable", REPLY_CLASS_SERVER, FALSE },
	{ "temporarily not available", REPLY_CLASS_SERVER, FALSE },
	{ "System Error", REPLY_CLASS_SERVER, TRUE },
	{ "Server error", REPLY_CLASS_SERVER, TRUE },
	{ "Internal error", REPLY_CLASS_SERVER, TRUE },
	{ "try again later", REPLY_CLASS_SERVER, TRUE },
	{ "OCF12", REPLY_CLASS_SERVER, TRUE },
};

static const struct reply_rule user_texts[] = {
	/* either may be wrong: ask for the password first */
	{ "Invalid credentials or IMAP is disabled", REPLY_CLASS_CREDENTIAL,
	  FALSE },
	{ "Application-specific password", REPLY_CLASS_USER_ACTION, FALSE },
	{ "Web login required", REPLY_CLASS_USER_ACTION, FALSE },
	{ "via your web browser", REPLY_CLASS_USER_ACTION, FALSE },
	{ "via a web browser", REPLY_CLASS_USER_ACTION, FALSE },
	{ "not enabled for IMAP use", REPLY_CLASS_USER_ACTION, FALSE },
	{ "IMAP access is disabled", REPLY_CLASS_USER_ACTION, FALSE },
	{ "IMAP is disabled", REPLY_CLASS_USER_ACTION, FALSE },
	{ "Basic authentication is disabled", REPLY_CLASS_USER_ACTION, FALSE },
	{ "Account is blocked", REPLY_CLASS_USER_ACTION, FALSE },
	{ "invalid_grant", REPLY_CLASS_USER_ACTION, FALSE },
	{ "Unsafe Login", REPLY_CLASS_USER_ACTION, FALSE },
	{ "IS BLACKLISTED", REPLY_CLASS_USER_ACTION, FALSE },
};

/* at login only */
static const struct reply_rule login_codes[] = {
	{ "AUTHENTICATIONFAILED", REPLY_CLASS_CREDENTIAL, FALSE },
	{ "AUTHORIZATIONFAILED", REPLY_CLASS_CREDENTIAL, FALSE },
	{ "EXPIRED", REPLY_CLASS_CREDENTIAL, FALSE },
	{ "LIMIT", REPLY_CLASS_THROTTLED, FALSE },
};

static const struct reply_rule other_codes[] = {
	{ "WEBALERT", REPLY_CLASS_USER_ACTION, FALSE },
	{ "CONTACTADMIN", REPLY_CLASS_USER_ACTION, FALSE },
	{ "PRIVACYREQUIRED", REPLY_CLASS_CONFIG, FALSE },
};

static const struct reply_rule *
reply_rule_find_code(const struct reply_rule *rules, unsigned int count,
		     const char *code)
{
	unsigned int i;

	for (i = 0; code != NULL && i < count; i++) {
		if (strcasecmp(rules[i].match, code) == 0)
			return &rules[i];
	}
	return NULL;
}

static const char *reply_find_icase(const char *text, const char *part)
{
	size_t len = strlen(part);

	for (; *text != '\0'; text++) {
		if (strncasecmp(text, part, len) == 0)
			return text;
	}
	return NULL;
}

static const struct reply_rule *
reply_rule_find_text(const struct reply_rule *rules, unsigned int count,
		     const char *text)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		if (reply_find_icase(text, rules[i].match) != NULL)
			return &rules[i];
	}
	return NULL;
}

static const struct reply_rule *reply_rule_find(const struct reply *reply)
{
	const struct reply_rule *rule;
	bool login = reply->step == REPLY_STEP_LOGIN;

	rule = reply_rule_find_code(temporary_codes,
				    N_ELEMENTS(temporary_codes), reply->code);
	if (rule == NULL)
		rule = reply_rule_find_text(temporary_texts,
					    N_ELEMENTS(temporary_texts),
					    reply->text);
	if (rule == NULL)
		rule = reply_rule_find_text(user_texts, N_ELEMENTS(user_texts),
					    reply->text);
	if (rule == NULL && login)
		rule = reply_rule_find_code(login_codes,
					    N_ELEMENTS(login_codes),
					    reply->code);
	if (rule == NULL)
		rule = reply_rule_find_code(other_codes,
					    N_ELEMENTS(other_codes),
					    reply->code);
	return rule;
}

/* What only the step can tell. A BAD at login is no answer to the password,
   a BYE is no answer at all. */
static enum reply_class reply_class_by_step(const struct reply *reply)
{
	if (reply->step == REPLY_STEP_STARTTLS)
		return REPLY_CLASS_TLS;
	if (strcasecmp(reply->status, "BYE") == 0)
		return REPLY_CLASS_SERVER;
	switch (reply->step) {
	case REPLY_STEP_LOGIN:
		return strcasecmp(reply->status, "BAD") == 0 ?
			REPLY_CLASS_SERVER : REPLY_CLASS_CREDENTIAL;
	case REPLY_STEP_SELECT:
		return REPLY_CLASS_FOLDER;
	case REPLY_STEP_FETCH:
		return REPLY_CLASS_MESSAGE;
	case REPLY_STEP_GREETING:
	case REPLY_STEP_STARTTLS:
	case REPLY_STEP_LIST:
	case REPLY_STEP_OTHER:
		break;
	}
	return REPLY_CLASS_SERVER;
}

static unsigned int reply_wait_factor_msecs(const char *unit)
{
	static const struct {
		const char *name;
		unsigned int msecs;
	} units[] = {
		{ "millisecond", 1 }, { "ms", 1 }, { "second", 1000 },
		{ "sec", 1000 }, { "minute", 60000 }, { "min", 60000 },
		{ "hour", 3600000 },
	};
	unsigned int i;

	while (*unit == ' ')
		unit++;
	for (i = 0; i < N_ELEMENTS(units); i++) {
		if (strncasecmp(unit, units[i].name,
				strlen(units[i].name)) == 0)
			return units[i].msecs;
	}
	return 0;
}

/* "Suggested Backoff Time: 299961 milliseconds", "try again in 5 minutes" */
static unsigned int reply_wait_secs(const char *text)
{
	static const char *const hints[] = {
		"Backoff Time:", "try again in", "retry after",
		"retry in", "try again after",
	};
	const char *pos = NULL;
	uint64_t num, factor;
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(hints) && pos == NULL; i++) {
		pos = reply_find_icase(text, hints[i]);
		if (pos != NULL)
			pos += strlen(hints[i]);
	}
	if (pos == NULL)
		return 0;
	while (*pos == ' ')
		pos++;
	if (!i_isdigit(*pos))
		return 0;
	/* more digits than a number can hold are a long time too */
	if (str_parse_uint64(pos, &num, &pos) < 0)
		return REPLY_WAIT_MAX_SECS;
	factor = reply_wait_factor_msecs(pos);
	if (factor == 0)
		return 0;
	if (num >= REPLY_WAIT_MAX_SECS * 1000ULL / factor)
		return REPLY_WAIT_MAX_SECS;
	return (num * factor + 999) / 1000;
}

enum reply_class reply_class_get(const struct reply *reply,
				 unsigned int *wait_secs_r)
{
	const struct reply_rule *rule = reply_rule_find(reply);
	enum reply_class class;

	*wait_secs_r = reply_wait_secs(reply->text);
	if (rule == NULL ||
	    (rule->narrow && (reply->step == REPLY_STEP_SELECT ||
			      reply->step == REPLY_STEP_FETCH)))
		class = reply_class_by_step(reply);
	else
		class = rule->class;
	/* once logged in, nothing is the password's fault */
	if (class == REPLY_CLASS_CREDENTIAL && reply->step != REPLY_STEP_LOGIN)
		class = reply_class_by_step(reply);
	/* a token is refreshed once before anybody is bothered */
	if (class == REPLY_CLASS_CREDENTIAL && reply->token_login)
		class = REPLY_CLASS_TOKEN;
	return class;
}

const char *reply_class_name(enum reply_class class)
{
	i_assert(class < REPLY_CLASS_COUNT);
	return reply_classes[class].name;
}

bool reply_class_parse(const char *name, enum reply_class *class_r)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(reply_classes); i++) {
		if (strcmp(reply_classes[i].name, name) == 0) {
			*class_r = i;
			return TRUE;
		}
	}
	return FALSE;
}

int reply_class_exit_code(enum reply_class class)
{
	i_assert(class < REPLY_CLASS_COUNT);
	return reply_classes[class].exit_code;
}

bool reply_class_is_contained(enum reply_class class)
{
	return class == REPLY_CLASS_FOLDER || class == REPLY_CLASS_MESSAGE;
}
