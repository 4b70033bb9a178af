/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "str.h"
#include "strfuncs.h"
#include "unichar.h"
#include "core/notice-text.h"
#include "core/text-safe.h"

#include <check.h>

static struct notice test_notice(void)
{
	struct notice notice;

	i_zero(&notice);
	notice.kind = NOTICE_KIND_TROUBLE;
	notice.state.subject.user = "anna";
	notice.state.subject.account = "17";
	notice.state.label = "Work";
	notice.state.incident = 4;
	notice.state.said = 1;
	notice.state.first_time = 1763730000;
	notice.state.last_time = 1763733600;
	notice.new_count = 3;
	return notice;
}

static const struct {
	enum notice_origin origin;
	enum notice_kind kind;
	enum notice_class class;
	enum notice_hint hint;
	enum notice_pattern pattern;
	const char *label, *language, *line;
} lines[] = {
	{ NOTICE_ORIGIN_ACCOUNT, NOTICE_KIND_TROUBLE, NOTICE_CLASS_CREDENTIAL,
	  NOTICE_HINT_NONE, 0, "Work", "en", "Mail of Work cannot be fetched: "
	  "the password was refused. If the password was changed at the "
	  "provider, enter the new one in the settings of this account." },
	{ NOTICE_ORIGIN_ACCOUNT, NOTICE_KIND_TROUBLE, NOTICE_CLASS_USER_ACTION,
	  NOTICE_HINT_ENABLE_IMAP, 0, "Work", "", "Mail of Work cannot be "
	  "fetched: the provider wants you to act. Turn on IMAP in the mail "
	  "settings at the provider." },
	/* a hint of old has nothing to do with the network */
	{ NOTICE_ORIGIN_ACCOUNT, NOTICE_KIND_TROUBLE, NOTICE_CLASS_DNS,
	  NOTICE_HINT_ENABLE_IMAP, 0, "Work", "fr", "Mail of Work cannot be "
	  "fetched: the server's name was not found. Check the server's name "
	  "in the settings of this account. Your password is not the reason." },
	{ NOTICE_ORIGIN_ACCOUNT, NOTICE_KIND_RECOVERY, NOTICE_CLASS_DNS,
	  NOTICE_HINT_NONE, 0, "", "de_AT.UTF-8", "E-Mail von einem "
	  "E-Mail-Konto wird wieder abgeholt. Sie muessen nichts tun." },
	{ NOTICE_ORIGIN_LOGIN, NOTICE_KIND_TROUBLE, NOTICE_CLASS_CREDENTIAL,
	  NOTICE_HINT_NONE, NOTICE_PATTERN_DEVICE, "", "it-IT",
	  "Un dispositivo usa una vecchia password per la casella anna. Cerchi "
	  "un telefono, un tablet o un programma che ha ancora la vecchia "
	  "password e vi inserisca quella nuova." },
	{ NOTICE_ORIGIN_LOGIN, NOTICE_KIND_DIGEST, NOTICE_CLASS_CREDENTIAL,
	  NOTICE_HINT_NONE, NOTICE_PATTERN_ATTACK, "", "en",
	  "Somebody still tries wrong passwords for the mailbox anna. None of "
	  "them got in. If your password is long and you use it nowhere else, "
	  "you need not do anything." },
	/* what somebody else wrote stays a name */
	{ NOTICE_ORIGIN_ACCOUNT, NOTICE_KIND_RECOVERY, NOTICE_CLASS_DNS,
	  NOTICE_HINT_NONE, 0, "a]\r\n* BYE {user} http://evil", "en",
	  "Mail of a) * BYE {user} http:  /evil is fetched again. You need "
	  "not do anything." },
};

START_TEST(text_line)
{
	struct notice notice = test_notice();
	struct notice_text_params params = { &notice, lines[_i].language, "" };

	notice.kind = lines[_i].kind;
	notice.state.subject.origin = lines[_i].origin;
	notice.state.told_class = lines[_i].class;
	notice.state.hint = lines[_i].hint;
	notice.state.told_pattern = lines[_i].pattern;
	notice.state.label = lines[_i].label;
	ck_assert_str_eq(notice_text_line(&params, FALSE), lines[_i].line);
}
END_TEST

static void check_line(const char *line, bool utf8)
{
	ck_assert_uint_le(strlen(line), NOTICE_TEXT_LINE_MAX);
	ck_assert(uni_utf8_str_is_valid(line));
	ck_assert_ptr_null(strpbrk(line, "[]\r\n\t"));
	/* no value was left out */
	ck_assert_ptr_null(strpbrk(line, "{}"));
	for (; *line != '\0' && !utf8; line++)
		ck_assert(*line >= ' ' && *line < 0x7f);
}

/* Every notice there can be, in each language. */
START_TEST(text_all)
{
	static const char *const languages[] = { "en", "de", "it" };
	struct notice notice = test_notice();
	struct notice_text_params params = {
		&notice, languages[_i], "https://mail.example.org/s",
	};
	unsigned int n;

	for (n = 0; n < NOTICE_CLASS_COUNT * NOTICE_HINT_COUNT * 3 * 4; n++)
	T_BEGIN {
		notice.kind = n % 3;
		notice.state.subject.origin = n / 3 % 2;
		notice.state.told_pattern = n / 6 % 2;
		notice.state.told_class = n / 12 % NOTICE_CLASS_COUNT;
		notice.state.hint = n / 12 / NOTICE_CLASS_COUNT;
		check_line(notice_text_line(&params, FALSE), FALSE);
		check_line(notice_text_line(&params, TRUE), TRUE);
		ck_assert_ptr_nonnull(strstr(notice_text_plain(&params),
					     "https://mail.example.org/s"));
		ck_assert_ptr_null(strpbrk(notice_text_plain(&params), "{}"));
	} T_END;
}
END_TEST

/* Names in braces, sorted. */
static const char *placeholders(const char *text)
{
	ARRAY_TYPE(const_string) names;
	const char *end, *name;

	t_array_init(&names, 4);
	while ((text = strchr(text, '{')) != NULL) {
		end = strchr(text, '}');
		ck_assert_ptr_nonnull(end);
		name = t_strdup_until(text, end + 1);
		array_push_back(&names, &name);
		text = end;
	}
	array_sort(&names, i_strcmp_p);
	array_append_zero(&names);
	return t_strarray_join(array_front(&names), " ");
}

/* Everything is translated, and names the same values. */
START_TEST(text_translations)
{
	const char *const *language = notice_text_languages();
	const char *const *english, *text;

	ck_assert_str_eq(t_strarray_join(language, " "), "de it");
	for (; *language != NULL; language++) {
		english = notice_text_messages();
		ck_assert_uint_gt(str_array_length(english), 40);
		for (; *english != NULL; english++) {
			text = notice_text_translate(*language, *english);
			ck_assert_msg(strcmp(text, *english) != 0,
				      "%s: no \"%s\"", *language, *english);
			ck_assert_str_eq(placeholders(text),
					 placeholders(*english));
			ck_assert(uni_utf8_str_is_valid(text));
		}
	}
}
END_TEST

static const struct {
	const char *name, *result;
} names[] = {
	{ "Work", "Work" },
	{ "anna@b\xc3\xbc" "cher.example", "anna@xn--bcher-kva.example" },
	{ "M\xc3\xbcller", "M\xc3\xbcller" },
	{ "Post M\xc3\xbcller.", "Post M\xc3\xbcller." },
	{ "m\xc3\xbcnchen.example", "xn--mnchen-3ya.example" },
	/* RFC 3492, 7.1 (A) */
	{ "a@\xd9\x84\xd9\x8a\xd9\x87\xd9\x85\xd8\xa7\xd8\xa8\xd8\xaa\xd9\x83"
	  "\xd9\x84\xd9\x85\xd9\x88\xd8\xb4\xd8\xb9\xd8\xb1\xd8\xa8\xd9\x8a"
	  "\xd8\x9f", "a@xn--egbpdaj6bu4bxfgehfvwxn" },
	{ "https://evil.example/x", "https:  /evil.example/x" },
	{ "www.evil.example", "www evil.example" },
	{ "mailto:x@evil", "mailto: x@evil" },
	{ "a\r\nBcc: b", "a Bcc: b" },
	{ "\xe2\x80\xae" "cba", "?cba" },
	{ "\xff", "?" },
	{ "0123456789012345678901234567890123456789012345678901234567890123",
	  "0123456789012345678901234567890123456789012345678901234567890123" },
	{ "01234567890123456789012345678901234567890123456789012345678901234",
	  "0123456789012345678901234567890123456789012345678901234567890123"
	  "..." },
};

START_TEST(text_name)
{
	ck_assert_str_eq(text_safe_name(names[_i].name, NOTICE_TEXT_NAME_MAX),
			 names[_i].result);
}
END_TEST

static const char *header(const char *text)
{
	string_t *str = t_str_new(256);

	text_safe_header(str, text);
	return str_c(str);
}

START_TEST(text_header)
{
	ck_assert_str_eq(header("plain text"), "plain text");
	ck_assert_str_eq(header("\xc3\xa4"), "=?utf-8?B?w6Q=?=");
	ck_assert_str_eq(header("=?x"), "=?utf-8?B?PT94?=");
	ck_assert_str_eq(header("a\r\nBcc: x"), "=?utf-8?B?YQ0KQmNjOiB4?=");
	/* cut between characters, and folded */
	ck_assert_str_eq(header("0123456789012345678901234567890123456789"
				"0123\xc3\xa4"),
			 "=?utf-8?B?MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MD"
			 "EyMzQ1Njc4?=\r\n =?utf-8?B?OTAxMjPDpA==?=");
}
END_TEST

START_TEST(text_quoted_printable)
{
	string_t *str = t_str_new(256);

	text_safe_quoted_printable(str, "a=b \xc3\xa4 \n.\nFrom x\n--x\n");
	ck_assert_str_eq(str_c(str), "a=3Db =C3=A4=20\r\n=2E\r\n=46rom x\r\n"
			 "=2D-x\r\n");
	str_truncate(str, 0);
	text_safe_quoted_printable(str, "0123456789012345678901234567890123456"
		"789012345678901234567890123456789012345678");
	ck_assert_ptr_nonnull(strstr(str_c(str), "=\r\n"));
	ck_assert_ptr_eq(strchr(str_c(str), '\r'), str_c(str) + 74);
}
END_TEST

static struct notice_mail test_mail(const struct notice *notice)
{
	struct notice_mail mail = {
		.text = { notice, "de", "https://mail.example.org/?a=1&b" },
		.from = "noreply@example.org", .to = "anna@example.org",
		.host = "mx.example.org", .journal_id = 77,
		.date = 1763733600,
	};

	return mail;
}

/* Lines, their ends and their bytes are what 7 bit transport wants. */
static void check_mail_bytes(const char *text)
{
	size_t column = 0;

	for (; *text != '\0'; text++) {
		ck_assert((unsigned char)*text < 0x80);
		if (*text == '\r') {
			ck_assert_int_eq(text[1], '\n');
			text++;
			column = 0;
			continue;
		}
		ck_assert(*text == '\t' || *text >= ' ');
		ck_assert_uint_le(++column, 78);
	}
	ck_assert_uint_eq(column, 0);
}

START_TEST(text_mail)
{
	struct notice notice = test_notice();
	struct notice_mail mail = test_mail(&notice);
	const char *error = NULL, *text, *html;

	notice.state.label = "<b>\"B\xc3\xbcro\" & Co</b>";
	text = notice_text_mail(&mail, &error);
	ck_assert_ptr_nonnull(text);
	check_mail_bytes(text);
	ck_assert_ptr_eq(strstr(text, "Date: Fri, 21 Nov 2025 14:00:00 +0000"
				"\r\nFrom: <noreply@example.org>\r\n"
				"To: <anna@example.org>\r\n"), text);
	ck_assert_ptr_nonnull(strstr(text,
		"\r\nAuto-Submitted: auto-generated\r\n"));
	ck_assert_ptr_nonnull(strstr(text, "@mx.example.org>\r\n"));
	html = notice_text_html(&mail.text);
	ck_assert_ptr_nonnull(strstr(html, "lang=\"de\""));
	ck_assert_ptr_nonnull(strstr(html, "&lt;b&gt;&quot;B\xc3\xbcro&quot; "
				     "&amp; Co&lt;/b&gt;"));
	ck_assert_ptr_nonnull(strstr(html,
		"href=\"https://mail.example.org/?a=1&amp;b\""));
	ck_assert_ptr_null(strstr(html, "<b>"));
}
END_TEST

/* The same notice to the same recipient is the same mail; another one is not */
START_TEST(text_identity)
{
	struct notice notice = test_notice(), other = test_notice();
	struct notice_mail mail = test_mail(&notice), changed = mail;
	const char *id = notice_text_message_id(&mail), *error, *text;

	changed.text.notice = &other;
	changed.text.language = "it";
	other.state.count++;
	ck_assert_str_eq(notice_text_message_id(&changed), id);
	changed.to = "bert@example.org";
	ck_assert_str_ne(notice_text_message_id(&changed), id);
	changed.to = mail.to;
	changed.journal_id++;
	ck_assert_str_ne(notice_text_message_id(&changed), id);
	changed.journal_id--;
	other.state.said = 2;
	ck_assert_str_ne(notice_text_message_id(&changed), id);
	/* what follows refers to what came first */
	text = notice_text_mail(&changed, &error);
	ck_assert_ptr_nonnull(strstr(text, t_strdup_printf(
		"\r\nReferences: %s\r\n", id)));
}
END_TEST

static const struct {
	const char *from, *to, *host;
	bool ok;
} addresses[] = {
	{ "a@example.org", "anna", "h", TRUE },
	{ "a@example.org\r\nBcc: x@y", "b@example.org", "h", FALSE },
	{ "a@example.org", "b@example.org>, <c@example.org", "h", FALSE },
	{ "a@example.org", "b@example.org,c@example.org", "h", FALSE },
	{ "a@example.org", "", "h", FALSE },
	{ "a@example.org", "b@", "h", FALSE },
	{ "a@example.org", "b@c@d", "h", FALSE },
	{ "a@example.org", "b@\xc3\xbc.org", "h", FALSE },
	{ "a@example.org", "b@example.org", "h>\r\nBcc: x", TRUE },
	{ "a@example.org", "b@example.org", "", TRUE },
};

START_TEST(text_address)
{
	struct notice notice = test_notice();
	struct notice_mail mail = test_mail(&notice);
	const char *error = NULL, *text;

	mail.from = addresses[_i].from;
	mail.to = addresses[_i].to;
	mail.host = addresses[_i].host;
	text = notice_text_mail(&mail, &error);
	ck_assert_int_eq(text != NULL, addresses[_i].ok);
	ck_assert_int_eq(error == NULL, addresses[_i].ok);
	ck_assert(text == NULL || strstr(text, "Bcc") == NULL);
}
END_TEST

static const struct {
	const char *url;
	bool shown;
} urls[] = {
	{ "https://mail.example.org/", TRUE },
	{ "javascript:alert(1)", FALSE },
	{ "https://x\" onclick=\"y", FALSE },
	{ "https://x\r\ny", FALSE },
	{ "", FALSE },
};

START_TEST(text_url)
{
	struct notice notice = test_notice();
	struct notice_text_params params = { &notice, "en", urls[_i].url };

	ck_assert_int_eq(strstr(notice_text_html(&params), "href") != NULL,
			 urls[_i].shown);
	ck_assert_int_eq(strstr(notice_text_plain(&params), "Settings:") !=
			 NULL, urls[_i].shown);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("notice-text");
	TCase *tc = tcase_create("notice-text");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_loop_test(tc, text_line, 0, N_ELEMENTS(lines));
	tcase_add_loop_test(tc, text_all, 0, 3);
	tcase_add_test(tc, text_translations);
	tcase_add_loop_test(tc, text_name, 0, N_ELEMENTS(names));
	tcase_add_test(tc, text_header);
	tcase_add_test(tc, text_quoted_printable);
	tcase_add_test(tc, text_mail);
	tcase_add_test(tc, text_identity);
	tcase_add_loop_test(tc, text_address, 0, N_ELEMENTS(addresses));
	tcase_add_loop_test(tc, text_url, 0, N_ELEMENTS(urls));
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
