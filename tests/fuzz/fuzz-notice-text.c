/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "strfuncs.h"
#include "unichar.h"
#include "core/notice-text.h"
#include "core/text-safe.h"
#include "fuzz.h"

#define MAX_FIELDS 8

static void check_line(const char *line, bool utf8)
{
	i_assert(strlen(line) <= NOTICE_TEXT_LINE_MAX);
	i_assert(strpbrk(line, "[]\r\n\t") == NULL);
	i_assert(uni_utf8_str_is_valid(line));
	for (; *line != '\0'; line++) {
		i_assert(utf8 || (unsigned char)*line < 0x80);
		i_assert((unsigned char)*line >= ' ' && *line != 0x7f);
	}
}

/* Headers end at the first empty line: as many as there always are, and each
   line starts as one of ours does. */
static void check_mail(const char *mail)
{
	static const char *const starts[] = {
		"Date: ", "From: <", "To: <", "Subject: ", "Message-ID: <",
		"References: <", "Auto-Submitted: ", "X-Auto-Response-",
		"List-Id: <", "MIME-Version: ", "Content-Type: multipart/",
		"\tboundary=", " =?utf-8?B?",
	};
	const char *end = strstr(mail, "\r\n\r\n");
	const char *const *line;
	unsigned int i;

	i_assert(end != NULL);
	line = t_strsplit(t_strdup_until(mail, end), "\n");
	for (; *line != NULL; line++) {
		for (i = 0; i < N_ELEMENTS(starts); i++) {
			if (strncmp(*line, starts[i], strlen(starts[i])) == 0)
				break;
		}
		i_assert(i < N_ELEMENTS(starts));
	}
	for (; *mail != '\0'; mail++)
		i_assert((unsigned char)*mail < 0x80);
}

/* No tag but ours. */
static void check_html(const char *html)
{
	static const char *const tags[] = {
		"!DOCTYPE html>", "html", "/html>", "head>", "/head>", "meta ",
		"title>", "/title>", "body>", "/body>", "p>", "/p>", "small>",
		"/small>", "a href=\"http", "/a>",
	};
	unsigned int i;

	while ((html = strchr(html, '<')) != NULL) {
		html++;
		for (i = 0; i < N_ELEMENTS(tags); i++) {
			if (strncmp(html, tags[i], strlen(tags[i])) == 0)
				break;
		}
		i_assert(i < N_ELEMENTS(tags));
	}
}

static void notice_fill(struct notice *notice, const char *const *fields)
{
	const unsigned char *bytes = (const void *)fields[0];
	size_t len = strlen(fields[0]);

	notice->kind = len > 0 ? bytes[0] % 3 : 0;
	notice->state.subject.origin = len > 1 ? bytes[1] % 2 : 0;
	notice->state.told_class = len > 2 ? bytes[2] % NOTICE_CLASS_COUNT : 0;
	notice->state.hint = len > 3 ? bytes[3] % NOTICE_HINT_COUNT : 0;
	notice->state.told_pattern = len > 4 ? bytes[4] % 2 : 0;
	notice->state.said = len > 5 ? bytes[5] : 1;
	notice->state.label = fields[1];
	notice->state.subject.user = fields[2];
	notice->state.subject.account = "";
	(void)i_strocpy(notice->state.protocol,
			t_strndup(fields[3], NOTICE_MAX_PROTOCOL),
			sizeof(notice->state.protocol));
}

/* A line of choices, then label, user, protocol, language, URL, recipient and
   host. */
static void fuzz_notice_text(const char *text)
{
	const char *fields[MAX_FIELDS] = { "", "", "", "", "", "", "", "" };
	const char *const *lines = t_strsplit(text, "\1");
	struct notice notice;
	struct notice_mail mail;
	const char *error = NULL, *printed;
	unsigned int i;

	for (i = 0; i < MAX_FIELDS && lines[i] != NULL; i++)
		fields[i] = lines[i];
	i_zero(&notice);
	notice_fill(&notice, fields);
	i_zero(&mail);
	mail.text.notice = &notice;
	mail.text.language = fields[4];
	mail.text.base_url = fields[5];
	mail.from = "a@example.org";
	mail.to = fields[6];
	mail.host = fields[7];
	check_line(notice_text_line(&mail.text, FALSE), FALSE);
	check_line(notice_text_line(&mail.text, TRUE), TRUE);
	check_html(notice_text_html(&mail.text));
	printed = notice_text_mail(&mail, &error);
	i_assert((printed == NULL) == (error != NULL));
	if (printed != NULL)
		check_mail(printed);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	fuzz_init();
	T_BEGIN {
		fuzz_notice_text(fuzz_text(data, size));
	} T_END;
	return 0;
}
