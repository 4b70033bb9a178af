#ifndef CRED_NOTIFY_NOTICE_JSON_H
#define CRED_NOTIFY_NOTICE_JSON_H

#include "str.h"
#include "notice-text.h"

/* A notice for machines: one JSON object (RFC 8259) on one line. Names that
   people chose are made harmless as notice-text does; nothing in it was written
   by a server. Pure. */

/* id: see channel.h */
void notice_json_append(string_t *str, const char *id,
			const struct notice_text_params *text);

/* What a webhook gets: {"type":"notice.trouble","timestamp":"...","data":{}}.
   On the data stack. */
const char *
notice_json_webhook(const char *id, const struct notice_text_params *text);

/* Append a string with its quotes. */
void notice_json_append_string(string_t *str, const char *value);

#endif
