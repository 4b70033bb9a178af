/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "dovecot-compat.h"
#include COMPAT_JSON_H
#include "text-safe.h"
#include "notice-json.h"

#include <time.h>

static const char *const hint_names[NOTICE_HINT_COUNT] = {
	[NOTICE_HINT_NONE] = "none",
	[NOTICE_HINT_APP_PASSWORD] = "app-password",
	[NOTICE_HINT_WEB_LOGIN] = "web-login",
	[NOTICE_HINT_ENABLE_IMAP] = "enable-imap",
	[NOTICE_HINT_CONSENT] = "consent",
	[NOTICE_HINT_BLOCKED] = "blocked",
	[NOTICE_HINT_EXPIRED] = "expired",
};

static const char *const pattern_names[NOTICE_PATTERN_COUNT] = {
	[NOTICE_PATTERN_DEVICE] = "device",
	[NOTICE_PATTERN_ATTACK] = "attack",
};

void notice_json_append_string(string_t *str, const char *value)
{
	str_append_c(str, '"');
	json_append_escaped(str, value);
	str_append_c(str, '"');
}

static void append_text(string_t *str, const char *name, const char *value)
{
	str_printfa(str, ",\"%s\":", name);
	notice_json_append_string(str, value);
}

static void append_number(string_t *str, const char *name, long long value)
{
	str_printfa(str, ",\"%s\":%lld", name, value);
}

/* What went wrong: of a remote account its class, of logins their pattern. */
static void append_trouble(string_t *str, const struct notice_state *state)
{
	if (state->subject.origin == NOTICE_ORIGIN_LOGIN) {
		append_text(str, "origin", "login");
		append_text(str, "pattern", pattern_names[state->told_pattern]);
		append_text(str, "protocol", state->protocol);
		return;
	}
	append_text(str, "origin", "account");
	append_text(str, "account", state->subject.account);
	append_text(str, "label", text_safe_name(state->label,
						 NOTICE_TEXT_NAME_MAX));
	append_text(str, "class", notice_class_name(state->told_class));
	append_text(str, "hint", hint_names[state->hint]);
}

static void append_figures(string_t *str, const struct notice *notice)
{
	const struct notice_state *state = &notice->state;

	append_number(str, "count", state->count);
	append_number(str, "new_count", notice->new_count);
	append_number(str, "first_time", state->first_time);
	append_number(str, "last_time", state->last_time);
	append_number(str, "told_time", state->told_time);
	str_printfa(str, ",\"acked\":%s", state->acked ? "true" : "false");
}

void notice_json_append(string_t *str, const char *id,
			const struct notice_text_params *text)
{
	const struct notice *notice = text->notice;

	str_append(str, "{\"id\":");
	notice_json_append_string(str, id);
	append_text(str, "kind", notice_kind_name(notice->kind));
	append_text(str, "user", notice->state.subject.user);
	append_trouble(str, &notice->state);
	append_figures(str, notice);
	append_text(str, "subject", notice_text_subject(text));
	append_text(str, "line", notice_text_line(text, TRUE));
	append_text(str, "text", notice_text_plain(text));
	str_append_c(str, '}');
}

static const char *utc_date(time_t time)
{
	const struct tm *tm = gmtime(&time);

	i_assert(tm != NULL);
	return t_strdup_printf("%04d-%02d-%02dT%02d:%02d:%02dZ",
			       tm->tm_year + 1900, tm->tm_mon + 1, tm->tm_mday,
			       tm->tm_hour, tm->tm_min, tm->tm_sec);
}

const char *
notice_json_webhook(const char *id, const struct notice_text_params *text)
{
	string_t *str = t_str_new(2048);

	str_printfa(str, "{\"type\":\"notice.%s\",\"timestamp\":\"%s\",",
		    notice_kind_name(text->notice->kind),
		    utc_date(text->notice->state.told_time));
	str_append(str, "\"data\":");
	notice_json_append(str, id, text);
	str_append_c(str, '}');
	return str_c(str);
}
