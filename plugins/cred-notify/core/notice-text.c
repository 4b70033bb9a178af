/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "str.h"
#include "strfuncs.h"
#include "unichar.h"
#include "dovecot-compat.h"
#include "redact.h"
#include "text-safe.h"
#include "notice-catalogue.h"
#include "notice-text.h"

#include <ctype.h>
#include <time.h>

/* for xgettext: po/update */
#define N_(text) text

static const char *const reasons[NOTICE_CLASS_COUNT] = {
	[NOTICE_CLASS_CREDENTIAL] = N_("the password was refused"),
	[NOTICE_CLASS_USER_ACTION] = N_("the provider wants you to act"),
	[NOTICE_CLASS_TOKEN] =
		N_("the permission to fetch it has expired or was withdrawn"),
	[NOTICE_CLASS_THROTTLED] = N_("the provider limits access"),
	[NOTICE_CLASS_SERVER] = N_("the provider's server has a fault"),
	[NOTICE_CLASS_NETWORK] =
		N_("the provider's server cannot be reached"),
	[NOTICE_CLASS_DNS] = N_("the server's name was not found"),
	[NOTICE_CLASS_TLS] = N_("a secure connection is not possible"),
	[NOTICE_CLASS_LOCAL] = N_("there is a fault on our side"),
};

static const char *const advices[NOTICE_CLASS_COUNT] = {
	[NOTICE_CLASS_CREDENTIAL] =
		N_("If the password was changed at the provider, enter the "
		   "new one in the settings of this account."),
	[NOTICE_CLASS_USER_ACTION] =
		N_("Log in at the provider with a web browser and follow what "
		   "is asked there."),
	[NOTICE_CLASS_TOKEN] =
		N_("Connect this account with the provider once more."),
	[NOTICE_CLASS_THROTTLED] =
		N_("You need not do anything: fetching goes on when the "
		   "provider allows it."),
	[NOTICE_CLASS_SERVER] =
		N_("You need not do anything: fetching goes on when the "
		   "server works again. Your password is not the reason."),
	[NOTICE_CLASS_NETWORK] =
		N_("If the provider has changed its server, enter the new one "
		   "in the settings. Your password is not the reason."),
	[NOTICE_CLASS_DNS] =
		N_("Check the server's name in the settings of this account. "
		   "Your password is not the reason."),
	[NOTICE_CLASS_TLS] =
		N_("Check the server's name and the kind of encryption in the "
		   "settings. Your password was not sent."),
	[NOTICE_CLASS_LOCAL] =
		N_("An administrator should look into the server's log."),
};

static const char *const hints[NOTICE_HINT_COUNT] = {
	[NOTICE_HINT_APP_PASSWORD] =
		N_("The provider wants an app password: make one in the "
		   "security settings there and enter it here in place of "
		   "your usual password."),
	[NOTICE_HINT_WEB_LOGIN] =
		N_("Log in at the provider with a web browser once, and "
		   "confirm that it was you. The password may be right."),
	[NOTICE_HINT_ENABLE_IMAP] =
		N_("Turn on IMAP in the mail settings at the provider."),
	[NOTICE_HINT_CONSENT] =
		N_("The provider does not take passwords any more: connect "
		   "this account with it once more."),
	[NOTICE_HINT_BLOCKED] =
		N_("The provider has blocked the account: log in there with a "
		   "web browser, or ask its support."),
	[NOTICE_HINT_EXPIRED] =
		N_("The password has expired: set a new one."),
};

#define TEXT_ACCOUNT_TROUBLE \
	N_("Mail of {account} cannot be fetched: {reason}")
#define TEXT_ACCOUNT_DIGEST \
	N_("Mail of {account} still cannot be fetched: {reason}")
#define TEXT_ACCOUNT_RECOVERY N_("Mail of {account} is fetched again")
#define TEXT_DEVICE \
	N_("A device uses an old password for the mailbox {user}")
#define TEXT_DEVICE_DIGEST \
	N_("A device still uses an old password for the mailbox {user}")
#define TEXT_REFUSED N_("Logins to the mailbox {user} are refused")
#define TEXT_ATTACK \
	N_("Somebody tries wrong passwords for the mailbox {user}")
#define TEXT_ATTACK_DIGEST \
	N_("Somebody still tries wrong passwords for the mailbox {user}")
#define TEXT_LOGIN_RECOVERY \
	N_("The logins to the mailbox {user} that failed work again")
#define TEXT_ADVICE_DEVICE \
	N_("Look for a phone, a tablet or a program that still has the old " \
	   "password, and enter the new one there.")
#define TEXT_ADVICE_REFUSED \
	N_("The password has expired or the account was disabled: ask your " \
	   "administrator.")
#define TEXT_ADVICE_ATTACK \
	N_("None of them got in. If your password is long and you use it " \
	   "nowhere else, you need not do anything.")
#define TEXT_ADVICE_RECOVERY N_("You need not do anything.")
#define TEXT_UNNAMED N_("a mail account")
#define TEXT_COUNT N_("Failures since the last notice: {count}")
#define TEXT_SINCE N_("First failure: {since}")
#define TEXT_LAST N_("Last failure: {last}")
#define TEXT_NETWORKS N_("From: {networks}")
#define TEXT_PROTOCOL N_("By: {protocol}")
#define TEXT_OWNERLESS \
	N_("You are told because this account belongs to nobody and you may " \
	   "look after it.")
#define TEXT_SETTINGS N_("Settings: {url}")
#define TEXT_AUTOMATIC \
	N_("This message was made by a program. Nobody reads answers to it.")

static const char *const other_messages[] = {
	TEXT_ACCOUNT_TROUBLE, TEXT_ACCOUNT_DIGEST, TEXT_ACCOUNT_RECOVERY,
	TEXT_DEVICE, TEXT_DEVICE_DIGEST, TEXT_REFUSED, TEXT_ATTACK,
	TEXT_ATTACK_DIGEST, TEXT_LOGIN_RECOVERY, TEXT_ADVICE_DEVICE,
	TEXT_ADVICE_REFUSED, TEXT_ADVICE_ATTACK, TEXT_ADVICE_RECOVERY,
	TEXT_UNNAMED, TEXT_COUNT, TEXT_SINCE, TEXT_LAST, TEXT_NETWORKS,
	TEXT_PROTOCOL, TEXT_OWNERLESS, TEXT_SETTINGS, TEXT_AUTOMATIC,
};

/*
 * Languages
 */

/* "de" of "de_AT.UTF-8" */
static bool language_is(const char *name, const char *wanted)
{
	size_t len = strlen(name);

	return strncasecmp(name, wanted, len) == 0 &&
		strchr("-_.@", wanted[len]) != NULL;
}

const char *notice_text_translate(const char *language, const char *english)
{
	const struct notice_language *lang;
	const struct notice_words *words;

	for (lang = notice_languages; lang->name != NULL; lang++) {
		if (language_is(lang->name, language))
			break;
	}
	if (lang->name == NULL)
		return english;
	for (words = lang->words; words->english != NULL; words++) {
		if (strcmp(words->english, english) == 0)
			return words->translated;
	}
	return english;
}

/* What we can say of ourselves in Content-Language. */
static const char *language_name(const char *language)
{
	const struct notice_language *lang;

	for (lang = notice_languages; lang->name != NULL; lang++) {
		if (language_is(lang->name, language))
			return lang->name;
	}
	return "en";
}

const char *const *notice_text_languages(void)
{
	ARRAY_TYPE(const_string) names;
	const struct notice_language *lang;

	t_array_init(&names, 4);
	for (lang = notice_languages; lang->name != NULL; lang++)
		array_push_back(&names, &lang->name);
	array_append_zero(&names);
	return array_front(&names);
}

static void
append_messages(ARRAY_TYPE(const_string) *messages, const char *const *list,
		unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		if (list[i] != NULL)
			array_push_back(messages, &list[i]);
	}
}

const char *const *notice_text_messages(void)
{
	ARRAY_TYPE(const_string) messages;

	t_array_init(&messages, 64);
	append_messages(&messages, reasons, N_ELEMENTS(reasons));
	append_messages(&messages, advices, N_ELEMENTS(advices));
	append_messages(&messages, hints, N_ELEMENTS(hints));
	append_messages(&messages, other_messages, N_ELEMENTS(other_messages));
	array_append_zero(&messages);
	return array_front(&messages);
}

/*
 * Values
 */

/* No zone is right for everybody. */
static const char *value_time(time_t time)
{
	const struct tm *tm = gmtime(&time);

	if (tm == NULL)
		return "?";
	return t_strdup_printf("%04d-%02d-%02d %02d:%02d UTC",
			       tm->tm_year + 1900, tm->tm_mon + 1, tm->tm_mday,
			       tm->tm_hour, tm->tm_min);
}

static const char *value_networks(const struct notice_state *state)
{
	string_t *str = t_str_new(128);
	unsigned int i;

	for (i = 0; i < state->networks_count; i++) {
		const struct ip_addr *net = &state->networks[i].net;

		str_printfa(str, "%s%s/%d", i == 0 ? "" : ", ",
			    net_ip2addr(net), IPADDR_IS_V4(net) ? 24 : 64);
	}
	return str_c(str);
}

static const char *value_protocol(const struct notice_state *state)
{
	const char *p = state->protocol;

	for (; *p != '\0'; p++) {
		if (!i_isalnum(*p) && *p != '-')
			return "";
	}
	return state->protocol;
}

static const char *text(const struct notice_text_params *params,
			const char *english)
{
	return notice_text_translate(params->language, english);
}

static const char *value_account(const struct notice_text_params *params)
{
	const char *label = text_safe_name(params->notice->state.label,
					   NOTICE_TEXT_NAME_MAX);

	return *label != '\0' ? label : text(params, TEXT_UNNAMED);
}

/* Returns NULL if there is no such value. */
static const char *
value_get(const struct notice_text_params *params, const char *name)
{
	const struct notice *notice = params->notice;
	const struct notice_state *state = &notice->state;

	if (strcmp(name, "account") == 0)
		return value_account(params);
	if (strcmp(name, "user") == 0)
		return text_safe_name(state->subject.user,
				      NOTICE_TEXT_NAME_MAX);
	if (strcmp(name, "reason") == 0)
		return text(params, reasons[state->told_class]);
	if (strcmp(name, "count") == 0)
		return t_strdup_printf("%u", notice->new_count);
	if (strcmp(name, "since") == 0)
		return value_time(state->first_time);
	if (strcmp(name, "last") == 0)
		return value_time(state->last_time);
	if (strcmp(name, "networks") == 0)
		return value_networks(state);
	if (strcmp(name, "protocol") == 0)
		return value_protocol(state);
	return strcmp(name, "url") == 0 ? params->base_url : NULL;
}

/* Values are not looked into: a name may hold braces. */
static void
expand(string_t *str, const struct notice_text_params *params,
       const char *english)
{
	const char *p = text(params, english), *end, *value;

	for (; *p != '\0'; p++) {
		end = *p == '{' ? strchr(p, '}') : NULL;
		value = end == NULL ? NULL :
			value_get(params, t_strdup_until(p + 1, end));
		if (value == NULL)
			str_append_c(str, *p);
		else {
			str_append(str, value);
			p = end;
		}
	}
}

static const char *
expanded(const struct notice_text_params *params, const char *english)
{
	string_t *str = t_str_new(256);

	expand(str, params, english);
	return str_c(str);
}

/*
 * What is said
 */

static const char *account_headline(enum notice_kind kind)
{
	switch (kind) {
	case NOTICE_KIND_DIGEST:
		return TEXT_ACCOUNT_DIGEST;
	case NOTICE_KIND_RECOVERY:
		return TEXT_ACCOUNT_RECOVERY;
	default:
		return TEXT_ACCOUNT_TROUBLE;
	}
}

static const char *login_headline(const struct notice *notice)
{
	bool digest = notice->kind == NOTICE_KIND_DIGEST;

	if (notice->kind == NOTICE_KIND_RECOVERY)
		return TEXT_LOGIN_RECOVERY;
	if (notice->state.told_class == NOTICE_CLASS_USER_ACTION)
		return TEXT_REFUSED;
	if (notice->state.told_pattern == NOTICE_PATTERN_ATTACK)
		return digest ? TEXT_ATTACK_DIGEST : TEXT_ATTACK;
	return digest ? TEXT_DEVICE_DIGEST : TEXT_DEVICE;
}

static const char *headline(const struct notice *notice)
{
	return notice->state.subject.origin == NOTICE_ORIGIN_LOGIN ?
		login_headline(notice) : account_headline(notice->kind);
}

static const char *login_advice(const struct notice_state *state)
{
	if (state->told_class == NOTICE_CLASS_USER_ACTION)
		return TEXT_ADVICE_REFUSED;
	return state->told_pattern == NOTICE_PATTERN_ATTACK ?
		TEXT_ADVICE_ATTACK : TEXT_ADVICE_DEVICE;
}

/* A hint belongs to what the owner can mend. */
static const char *advice(const struct notice *notice)
{
	const struct notice_state *state = &notice->state;
	bool hinted = state->told_class == NOTICE_CLASS_CREDENTIAL ||
		state->told_class == NOTICE_CLASS_USER_ACTION ||
		state->told_class == NOTICE_CLASS_TOKEN;

	if (notice->kind == NOTICE_KIND_RECOVERY)
		return TEXT_ADVICE_RECOVERY;
	if (hinted && hints[state->hint] != NULL)
		return hints[state->hint];
	return state->subject.origin == NOTICE_ORIGIN_LOGIN ?
		login_advice(state) : advices[state->told_class];
}

static bool is_ownerless(const struct notice_state *state)
{
	return state->subject.origin == NOTICE_ORIGIN_ACCOUNT &&
		*state->subject.user == '\0';
}

static void params_check(const struct notice_text_params *params)
{
	const struct notice *notice = params->notice;

	i_assert(notice->kind < NOTICE_KIND_COUNT);
	i_assert(notice->state.told_class < NOTICE_CLASS_COUNT);
	i_assert(notice->state.hint < NOTICE_HINT_COUNT);
}

const char *notice_text_subject(const struct notice_text_params *params)
{
	params_check(params);
	return expanded(params, headline(params->notice));
}

const char *
notice_text_line(const struct notice_text_params *params, bool utf8)
{
	string_t *str = t_str_new(256);

	params_check(params);
	expand(str, params, headline(params->notice));
	str_append(str, ". ");
	expand(str, params, advice(params->notice));
	return text_safe_line(str_c(str), NOTICE_TEXT_LINE_MAX, utf8);
}

/* The lines of the mail; "" parts paragraphs. */
static const char *const *
mail_lines(const struct notice_text_params *params)
{
	const struct notice *notice = params->notice;
	ARRAY_TYPE(const_string) lines;
	const char *english[12], *line;
	unsigned int i, count = 0;

	english[count++] = headline(notice);
	english[count++] = "";
	english[count++] = advice(notice);
	english[count++] = "";
	if (notice->kind != NOTICE_KIND_RECOVERY)
		english[count++] = TEXT_COUNT;
	english[count++] = TEXT_SINCE;
	english[count++] = TEXT_LAST;
	if (notice->state.networks_count > 0)
		english[count++] = TEXT_NETWORKS;
	if (*value_protocol(&notice->state) != '\0')
		english[count++] = TEXT_PROTOCOL;
	english[count++] = "";
	t_array_init(&lines, 16);
	for (i = 0; i < count; i++) {
		line = expanded(params, english[i]);
		array_push_back(&lines, &line);
	}
	if (is_ownerless(&notice->state)) {
		line = text(params, TEXT_OWNERLESS);
		array_push_back(&lines, &line);
	}
	array_append_zero(&lines);
	return array_front(&lines);
}

static bool has_url(const struct notice_text_params *params)
{
	return text_safe_is_url(params->base_url);
}

const char *notice_text_plain(const struct notice_text_params *params)
{
	string_t *str = t_str_new(1024);
	const char *const *line;

	params_check(params);
	for (line = mail_lines(params); *line != NULL; line++) {
		str_append(str, *line);
		str_append_c(str, '\n');
	}
	if (has_url(params)) {
		expand(str, params, TEXT_SETTINGS);
		str_append_c(str, '\n');
	}
	str_append_c(str, '\n');
	str_append(str, text(params, TEXT_AUTOMATIC));
	str_append_c(str, '\n');
	return str_c(str);
}

static void
html_append_link(string_t *str, const struct notice_text_params *params)
{
	const char *url = text_safe_html(params->base_url);

	str_printfa(str, "<p><a href=\"%s\">%s</a></p>\n", url,
		    text_safe_html(expanded(params, TEXT_SETTINGS)));
}

const char *notice_text_html(const struct notice_text_params *params)
{
	string_t *str = t_str_new(2048);
	const char *const *line;

	params_check(params);
	str_printfa(str, "<!DOCTYPE html>\n<html lang=\"%s\"><head>"
		    "<meta charset=\"utf-8\"><title>%s</title></head><body>\n",
		    language_name(params->language),
		    text_safe_html(notice_text_subject(params)));
	for (line = mail_lines(params); *line != NULL; line++) {
		if (**line != '\0')
			str_printfa(str, "<p>%s</p>\n", text_safe_html(*line));
	}
	if (has_url(params))
		html_append_link(str, params);
	str_printfa(str, "<p><small>%s</small></p>\n</body></html>\n",
		    text_safe_html(text(params, TEXT_AUTOMATIC)));
	return str_c(str);
}
