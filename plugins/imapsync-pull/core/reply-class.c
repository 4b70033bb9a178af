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

static const struct { const char *name, *text; } reply_hints[] = {
	[REPLY_HINT_NONE] = { "none", NULL },
	[REPLY_HINT_APP_PASSWORD] = { "app-password",
		"the provider wants an app password: make one there and set "
		"it here" },
	[REPLY_HINT_WEB_LOGIN] = { "web-login",
		"log in at the provider with a web browser once and confirm "
		"that it was you" },
	[REPLY_HINT_ENABLE_IMAP] = { "enable-imap",
		"IMAP may have to be turned on in the settings at the "
		"provider" },
	[REPLY_HINT_CONSENT] = { "consent",
		"the provider does not take passwords, or no longer consents" },
	[REPLY_HINT_BLOCKED] = { "blocked",
		"the provider has blocked the account or where we come from: "
		"ask there" },
	[REPLY_HINT_EXPIRED] = { "expired",
		"the password has expired: make a new one at the provider and "
		"set it here" },
};

struct reply_rule {
	/* response code, or a part of the text; compared without case */
	const char *match;
	enum reply_class class;
	/* one bad folder or message makes servers say this too: while the
	   connection lives, it reaches no further than what was asked for */
	bool narrow;
	enum reply_hint hint;
};

#define WIDE(match, class) \
	{ match, REPLY_CLASS_##class, FALSE, REPLY_HINT_NONE }
#define NARROW(match, class) \
	{ match, REPLY_CLASS_##class, TRUE, REPLY_HINT_NONE }
#define HINTED(match, class, hint) \
	{ match, REPLY_CLASS_##class, FALSE, REPLY_HINT_##hint }

/* RFC 5530 and what providers add */
static const struct reply_rule temporary_codes[] = {
	WIDE("UNAVAILABLE", SERVER),
	WIDE("TEMPFAIL", SERVER),
	WIDE("THROTTLED", THROTTLED),
	WIDE("OVERQUOTA", THROTTLED),
	NARROW("INUSE", SERVER),
	NARROW("SERVERBUG", SERVER),
	NARROW("CORRUPTION", SERVER),
};

/* "too often" at login, "too big" elsewhere */
static const struct reply_rule temporary_login_codes[] = {
	WIDE("LIMIT", THROTTLED),
};

/* Before ALERT and AUTHENTICATIONFAILED are looked at: providers send both
   with these. What is narrower comes first. */
static const struct reply_rule temporary_texts[] = {
	WIDE("[THROTTLED]", THROTTLED),
	WIDE("Request is throttled", THROTTLED),
	WIDE("Suggested Backoff Time", THROTTLED),
	WIDE("Too many simultaneous connections", THROTTLED),
	WIDE("Too many connections", THROTTLED),
	WIDE("Maximum number of connections", THROTTLED),
	WIDE("Too many bad login attempts", THROTTLED),
	WIDE("Too many login", THROTTLED),
	WIDE("Too many failures", THROTTLED),
	WIDE("Too many failed", THROTTLED),
	WIDE("Too many attempts", THROTTLED),
	WIDE("Rate limit", THROTTLED),
	WIDE("bandwidth limits", THROTTLED),
	WIDE("Session expired, please login again", THROTTLED),
	WIDE("is authenticated but not connected", SERVER),
	WIDE("Temporary authentication failure", SERVER),
	WIDE("Temporary System Error", SERVER),
	WIDE("Temporary failure", SERVER),
	WIDE("Temporary unavailable", SERVER),
	WIDE("temporarily unavailable", SERVER),
	WIDE("temporarily not available", SERVER),
	NARROW("System Error", SERVER),
	NARROW("Server error", SERVER),
	NARROW("Internal error", SERVER),
	NARROW("try again later", SERVER),
	NARROW("OCF12", SERVER),
};

static const struct reply_rule user_texts[] = {
	/* either may be wrong: ask for the password first */
	HINTED("Invalid credentials or IMAP is disabled", CREDENTIAL,
	       ENABLE_IMAP),
	/* of providers that never take the password of their web pages */
	HINTED("LOGIN Invalid credentials", CREDENTIAL, APP_PASSWORD),
	HINTED("AUTHENTICATE Invalid credentials", CREDENTIAL, APP_PASSWORD),
	HINTED("Application-specific password", USER_ACTION, APP_PASSWORD),
	/* before what it tells to do about it */
	HINTED("Account is blocked", USER_ACTION, BLOCKED),
	HINTED("Web login required", USER_ACTION, WEB_LOGIN),
	HINTED("via your web browser", USER_ACTION, WEB_LOGIN),
	HINTED("via a web browser", USER_ACTION, WEB_LOGIN),
	HINTED("not enabled for IMAP use", USER_ACTION, ENABLE_IMAP),
	HINTED("IMAP access is disabled", USER_ACTION, ENABLE_IMAP),
	HINTED("IMAP is disabled", USER_ACTION, ENABLE_IMAP),
	HINTED("Basic authentication is disabled", USER_ACTION, CONSENT),
	HINTED("invalid_grant", USER_ACTION, CONSENT),
	HINTED("Unsafe Login", USER_ACTION, BLOCKED),
	HINTED("IS BLACKLISTED", USER_ACTION, BLOCKED),
};

/* at login only */
static const struct reply_rule login_codes[] = {
	WIDE("AUTHENTICATIONFAILED", CREDENTIAL),
	WIDE("AUTHORIZATIONFAILED", CREDENTIAL),
	HINTED("EXPIRED", CREDENTIAL, EXPIRED),
};

static const struct reply_rule other_codes[] = {
	HINTED("WEBALERT", USER_ACTION, WEB_LOGIN),
	WIDE("CONTACTADMIN", USER_ACTION),
	WIDE("PRIVACYREQUIRED", CONFIG),
};

#undef WIDE
#undef NARROW
#undef HINTED

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

#define FIND_CODE(rules, reply) \
	reply_rule_find_code(rules, N_ELEMENTS(rules), (reply)->code)
#define FIND_TEXT(rules, reply) \
	reply_rule_find_text(rules, N_ELEMENTS(rules), (reply)->text)

static const struct reply_rule *
reply_rule_find_temporary(const struct reply *reply)
{
	const struct reply_rule *rule = FIND_CODE(temporary_codes, reply);

	if (rule == NULL && reply->step == REPLY_STEP_LOGIN)
		rule = FIND_CODE(temporary_login_codes, reply);
	return rule != NULL ? rule : FIND_TEXT(temporary_texts, reply);
}

/* Nobody has looked at the password: there was none yet, or the command was
   not understood. */
static bool reply_is_before_login(const struct reply *reply)
{
	return reply->step == REPLY_STEP_GREETING ||
		(reply->step == REPLY_STEP_LOGIN &&
		 strcasecmp(reply->status, "BAD") == 0);
}

static const struct reply_rule *reply_rule_find(const struct reply *reply)
{
	const struct reply_rule *rule = reply_rule_find_temporary(reply);

	if (rule != NULL || reply_is_before_login(reply))
		return rule;
	rule = FIND_TEXT(user_texts, reply);
	if (rule == NULL && reply->step == REPLY_STEP_LOGIN)
		rule = FIND_CODE(login_codes, reply);
	return rule != NULL ? rule : FIND_CODE(other_codes, reply);
}

/* Only an answer to the login, which a BYE is not, speaks of the password. */
static bool
reply_rule_applies(const struct reply_rule *rule, const struct reply *reply)
{
	if (rule->class == REPLY_CLASS_CREDENTIAL) {
		return reply->step == REPLY_STEP_LOGIN &&
			strcasecmp(reply->status, "BYE") != 0;
	}
	return !rule->narrow || (reply->step != REPLY_STEP_SELECT &&
				 reply->step != REPLY_STEP_FETCH);
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
				 struct reply_advice *advice_r)
{
	const struct reply_rule *rule = reply_rule_find(reply);
	enum reply_class class;

	i_zero(advice_r);
	advice_r->wait_secs = reply_wait_secs(reply->text);
	if (rule != NULL && reply_rule_applies(rule, reply)) {
		class = rule->class;
		advice_r->hint = rule->hint;
	} else {
		class = reply_class_by_step(reply);
		advice_r->passing = rule != NULL && rule->narrow &&
			reply_class_is_contained(class);
	}
	/* a token is refreshed once before anybody is bothered */
	if (class == REPLY_CLASS_CREDENTIAL && reply->token_login) {
		class = REPLY_CLASS_TOKEN;
		advice_r->hint = REPLY_HINT_NONE;
	}
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

const char *reply_hint_name(enum reply_hint hint)
{
	i_assert(hint < REPLY_HINT_COUNT);
	return reply_hints[hint].name;
}

bool reply_hint_parse(const char *name, enum reply_hint *hint_r)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(reply_hints); i++) {
		if (strcmp(reply_hints[i].name, name) == 0) {
			*hint_r = i;
			return TRUE;
		}
	}
	return FALSE;
}

const char *reply_hint_text(enum reply_hint hint)
{
	i_assert(hint < REPLY_HINT_COUNT);
	return reply_hints[hint].text;
}
