#ifndef CRED_NOTIFY_NOTICE_TEXT_H
#define CRED_NOTIFY_NOTICE_TEXT_H

#include "notice.h"

/* The words of a notice, in the recipient's language. All of them are ours,
   but for the names of account and user, which are made harmless: no control
   or bidi characters, no links, no markup, international host names as
   A-labels. Pure. */

/* RFC 3501 allows lines of any length; users' screens and other people's
   parsers do not */
#define NOTICE_TEXT_LINE_MAX 200
/* characters of an account's or user's name that are shown */
#define NOTICE_TEXT_NAME_MAX 64

struct notice_text_params {
	const struct notice *notice;
	/* "de", "de_AT.UTF-8", "it-IT"; what we cannot speak is English */
	const char *language;
	/* the admin's page for settings, https or http; "" = none. It is the
	   only link ever shown. */
	const char *base_url;
};

/* One line to show in a session: no line ends, control characters or "]",
   at most NOTICE_TEXT_LINE_MAX bytes (RFC 3501, resp-text).
   utf8: the client enabled UTF8=ACCEPT (RFC 6855); else it is ASCII. */
const char *
notice_text_line(const struct notice_text_params *params, bool utf8);

/* The subject, without header name and not encoded. */
const char *notice_text_subject(const struct notice_text_params *params);
/* UTF-8 with LF. */
const char *notice_text_plain(const struct notice_text_params *params);
/* The same as one HTML document, nothing in which is loaded from elsewhere. */
const char *notice_text_html(const struct notice_text_params *params);

struct notice_mail {
	struct notice_text_params text;
	/* addresses as SMTP has them; shown and part of the identity */
	const char *from, *to;
	/* what our Message-IDs end in: a host name */
	const char *host;
	/* what makes the incidents of two journals two */
	uint64_t journal_id;
	/* of the Date header: when the notice was made, so that a repeated
	   mail is the same mail */
	time_t date;
};

/* The same notice to the same recipient has the same one: <...>. */
const char *notice_text_message_id(const struct notice_mail *mail);

/* The whole mail with CRLF: 7 bit, text and HTML, with the headers that keep
   other automatons from answering (RFC 3834). The envelope sender is to be
   empty. Returns NULL and error_r if from or to is no address for a header. */
const char *
notice_text_mail(const struct notice_mail *mail, const char **error_r);

/* Exported for the test of translations: NULL-terminated lists. */
const char *const *notice_text_languages(void);
const char *const *notice_text_messages(void);
const char *notice_text_translate(const char *language, const char *english);

#endif
