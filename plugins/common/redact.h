#ifndef IMAPSYNC_REDACT_H
#define IMAPSYNC_REDACT_H

#include "unichar.h"

/* Words of a remote server made safe to log, to show or to store: the one way
   they may leave the process. */

/* longest text returned, in bytes */
#define REDACT_MAX_BYTES 200

/* Returns text as one line of valid UTF-8 from the data stack: control, bidi
   and format characters and broken UTF-8 become '?', runs of white space one
   space, and it is cut at REDACT_MAX_BYTES on a character, with "..." at the
   end. Each of the NULL-terminated secrets that occurs in it becomes
   "<secret>": as it is, as an IMAP quoted string, or inside base64 (then the
   whole run of base64). Secrets shorter than 4 bytes are looked for as whole
   words. secrets may be NULL. */
const char *redact_remote_text(const char *text, const char *const *secrets);

/* The same for a name (folder, mailbox): nothing is a secret, and what is
   longer than 255 bytes is cut to that. */
const char *redact_remote_name(const char *name);

/* TRUE for what has no business in one line of text: control, bidi and format
   characters, surrogates, code points that are no characters. */
bool redact_char_is_unsafe(unichar_t chr);

#endif
