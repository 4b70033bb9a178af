#ifndef IMAPSYNC_TRACE_HEADER_H
#define IMAPSYNC_TRACE_HEADER_H

#include "mail-types.h"

/* The signed header line that goes first in every message handed to LMTP. It
   carries what LMTP (RFC 2033) has no words for. One line, never folded when
   written; unfolded before it is verified. */

#define TRACE_HEADER_NAME "X-Imapsync-Pull"
/* bytes of the HMAC-SHA256 key */
#define TRACE_HEADER_KEY_SIZE 32
/* longest line written or accepted, without CRLF */
#define TRACE_HEADER_MAX_SIZE 8192

struct trace_header {
	/* local user the message is for; the MAC binds it */
	const char *user;
	const char *account;
	/* 32 hex digits, see account.h */
	const char *source_id;
	/* slot in the in-flight file of that source, and the nonce entered
	   there: the header has power only while both agree (inflight.h) */
	unsigned int slot;
	uint64_t nonce;

	/* remote side: folder name as the server wrote it, UIDVALIDITY, UID */
	const char *remote_folder;
	uint32_t uidvalidity, uid;

	/* local side: where keep puts it (UTF-8, local separator), how */
	const char *mailbox;
	/* GUID to store it with on dbox formats, 32 hex digits */
	const char *guid;
	/* bytes of the message after the header line, CRLF line ends */
	uoff_t size;
	/* system flags, without \Recent and \Deleted */
	enum mail_flags flags;
	/* NULL-terminated, never NULL */
	const char *const *keywords;
	/* INTERNALDATE: seconds since the epoch and minutes east of UTC */
	time_t received_time;
	int received_tz_mins;

	/* history: vacation, redirect, reject and notify stay silent */
	bool nofx;
	/* may have been stored before: look first */
	bool retry;
};

/* Write the whole line with its MAC, without CRLF. Returns it from the data
   stack, or NULL and error_r when it would be longer than the limit (too many
   keywords: the caller may drop some). */
const char *
trace_header_write(const struct trace_header *header,
		   const unsigned char key[TRACE_HEADER_KEY_SIZE],
		   const char **error_r);

/* Read and verify the value of such a header (what follows "name:").

   user: whom the message is being delivered to; another one in the header is
	 an error.
   Strings are allocated from pool.

   Returns 0, or -1 and error_r: malformed, unknown version, bad MAC (compared
   in constant time), wrong user. Nothing is set in header_r then. */
int trace_header_read(pool_t pool, const char *value, const char *user,
		      const unsigned char key[TRACE_HEADER_KEY_SIZE],
		      struct trace_header *header_r, const char **error_r);

#endif
