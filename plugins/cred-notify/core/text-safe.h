#ifndef CRED_NOTIFY_TEXT_SAFE_H
#define CRED_NOTIFY_TEXT_SAFE_H

#include "str.h"

/* Text made safe for the place it goes to. Results are on the data stack.
   Pure. */

/* A name somebody chose, as one line of plain UTF-8: nothing that a mail
   program would make a link of, host names as A-labels (RFC 5890), cut after
   max_chars characters. */
const char *text_safe_name(const char *name, unsigned int max_chars);

/* A host name as A-labels: "b\u00fccher.example" -> "xn--bcher-kva.example".
   Nothing is normalised but ASCII's case. A label that cannot be written so
   is "?". */
const char *text_safe_host(const char *host);

/* One line without control characters and "]", at most max_bytes. utf8 FALSE:
   ASCII, letters written with those it has. */
const char *text_safe_line(const char *text, size_t max_bytes, bool utf8);

/* For text and quoted attributes. */
const char *text_safe_html(const char *text);

/* Append a header's value, encoded and folded (RFC 2047, RFC 5322). */
void text_safe_header(string_t *str, const char *text);

/* Append text with LF as lines with CRLF (RFC 2045, 6.7). */
void text_safe_quoted_printable(string_t *str, const char *text);

/* TRUE for an ASCII address that needs no quoting and is one address only. */
bool text_safe_is_address(const char *address);
/* TRUE for http and https of printable ASCII. */
bool text_safe_is_url(const char *url);

#endif
