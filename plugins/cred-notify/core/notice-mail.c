/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "hex-binary.h"
#include "sha2.h"
#include "str.h"
#include "strfuncs.h"
#include "dovecot-compat.h"
#include "text-safe.h"
#include "notice-text.h"

#include <ctype.h>
#include <time.h>

/* bytes of the identity that are shown */
#define IDENTITY_BYTES 12

/* strftime() would speak the process's language */
static const char *mail_date(time_t time)
{
	static const char days[][4] = {
		"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat",
	};
	static const char months[][4] = {
		"Jan", "Feb", "Mar", "Apr", "May", "Jun",
		"Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
	};
	const struct tm *tm = gmtime(&time);

	i_assert(tm != NULL);
	return t_strdup_printf("%s, %02d %s %04d %02d:%02d:%02d +0000",
			       days[tm->tm_wday], tm->tm_mday,
			       months[tm->tm_mon], tm->tm_year + 1900,
			       tm->tm_hour, tm->tm_min, tm->tm_sec);
}

static const char *mail_host(const struct notice_mail *mail)
{
	const char *p = mail->host;

	for (; *p != '\0'; p++) {
		if (!i_isalnum(*p) && *p != '-' && *p != '.')
			return "localhost";
	}
	return *mail->host == '\0' || *mail->host == '.' || p[-1] == '.' ?
		"localhost" : mail->host;
}

static const char *mail_identity(const struct notice_mail *mail)
{
	const struct notice_state *state = &mail->text.notice->state;
	unsigned char digest[SHA256_RESULTLEN];
	const char *name = t_strdup_printf("%llx\t%llx\t%u\t%s",
		(unsigned long long)mail->journal_id,
		(unsigned long long)state->incident, state->said, mail->to);

	sha256_get_digest(name, strlen(name), digest);
	return binary_to_hex(digest, IDENTITY_BYTES);
}

const char *notice_text_message_id(const struct notice_mail *mail)
{
	return t_strdup_printf("<cred-notify.%s@%s>", mail_identity(mail),
			       mail_host(mail));
}

/* A reply would go to a thread of its own otherwise. */
static void
append_references(string_t *str, const struct notice_mail *mail)
{
	struct notice_mail first = *mail;
	struct notice notice = *mail->text.notice;

	if (notice.state.said <= 1)
		return;
	notice.state.said = 1;
	first.text.notice = &notice;
	str_printfa(str, "References: %s\r\n", notice_text_message_id(&first));
}

static void append_headers(string_t *str, const struct notice_mail *mail)
{
	str_printfa(str, "Date: %s\r\n", mail_date(mail->date));
	str_printfa(str, "From: <%s>\r\n", mail->from);
	str_printfa(str, "To: <%s>\r\n", mail->to);
	str_append(str, "Subject: ");
	text_safe_header(str, notice_text_subject(&mail->text));
	str_append(str, "\r\n");
	str_printfa(str, "Message-ID: %s\r\n", notice_text_message_id(mail));
	append_references(str, mail);
	str_append(str, "Auto-Submitted: auto-generated\r\n"
		   "X-Auto-Response-Suppress: All\r\n");
	str_printfa(str, "List-Id: <cred-notify.%s>\r\n", mail_host(mail));
	str_append(str, "MIME-Version: 1.0\r\n");
}

static void
append_part(string_t *str, const char *boundary, const char *type,
	    const char *text)
{
	str_printfa(str, "--%s\r\nContent-Type: %s; charset=utf-8\r\n"
		    "Content-Transfer-Encoding: quoted-printable\r\n\r\n",
		    boundary, type);
	text_safe_quoted_printable(str, text);
	str_append(str, "\r\n");
}

const char *
notice_text_mail(const struct notice_mail *mail, const char **error_r)
{
	string_t *str = t_str_new(8192);
	const char *boundary;

	if (!text_safe_is_address(mail->from) ||
	    !text_safe_is_address(mail->to)) {
		*error_r = "sender or recipient is no plain address";
		return NULL;
	}
	boundary = t_strconcat("=_", mail_identity(mail), NULL);
	append_headers(str, mail);
	str_printfa(str, "Content-Type: multipart/alternative;\r\n"
		    "\tboundary=\"%s\"\r\n\r\n", boundary);
	append_part(str, boundary, "text/plain",
		    notice_text_plain(&mail->text));
	append_part(str, boundary, "text/html", notice_text_html(&mail->text));
	str_printfa(str, "--%s--\r\n", boundary);
	return str_c(str);
}
