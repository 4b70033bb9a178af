#ifndef IMAPSYNC_LMTP_VERDICT_H
#define IMAPSYNC_LMTP_VERDICT_H

#include "reply-class.h"

/* What an LMTP server's answer to one message means, and what the sink does
   about it (RFC 2033, RFC 3463). Pure. */

/* Our lmtp plugin's replies that the sink must tell apart (they follow
   "451 4.2.0 "). Everything else it says is a plain temporary failure. */

/* another process is delivering this very message: ask again soon */
#define LMTP_DOOR_REPLY_BUSY "imapsync-pull: being delivered"
/* the key file was replaced, or appeared: ask again soon */
#define LMTP_DOOR_REPLY_KEY "imapsync-pull: reading header key"
/* the signature is good, but the slot does not know the message. Nobody but us
   can sign: a replay, or the plugin sees another state directory than the
   sender. Refused for now, since delivering it might be the second time and
   dropping it might be a loss. */
#define LMTP_DOOR_REPLY_NOT_IN_FLIGHT "imapsync-pull: not in flight"

enum lmtp_step {
	/* no answer: the connection could not be made, or is gone, or the
	   server kept silent for too long */
	LMTP_STEP_LOST,
	LMTP_STEP_MAIL,
	LMTP_STEP_RCPT,
	LMTP_STEP_DATA,
};

enum lmtp_action {
	/* 2xx to the message: the slot says whether it is done */
	LMTP_ACTION_ACCEPTED,
	/* another process delivers this very message: see what it does */
	LMTP_ACTION_WAIT_GHOST,
	/* send the same again in a moment */
	LMTP_ACTION_AGAIN,
	/* send it with an empty sender */
	LMTP_ACTION_NO_SENDER,
	/* perhaps stored: send it again, and let it be looked for first */
	LMTP_ACTION_RETRY,
	/* give this message back for later */
	LMTP_ACTION_LATER,
	/* this message is refused for good */
	LMTP_ACTION_REFUSED,
	/* give everything back for later */
	LMTP_ACTION_STOP,
};

struct lmtp_verdict {
	enum lmtp_action action;
	/* why, unless accepted */
	enum reply_class class;
	/* AGAIN, RETRY, WAIT_GHOST: how long to wait first */
	unsigned int wait_msecs;
};

struct lmtp_answer {
	enum lmtp_step step;
	/* reply code, and enhanced code (0 = none) */
	unsigned int status, enh_class, enh_subject, enh_detail;
	/* raw, never NULL */
	const char *text;
	/* times this message was sent again already, for whatever reason */
	unsigned int tries;
	/* its sender is empty already */
	bool no_sender;
};

void lmtp_verdict_get(const struct lmtp_answer *answer,
		      struct lmtp_verdict *verdict_r);

/* How long to wait for somebody else's delivery of the same message before
   the next look, after so many looks. 0 = no longer. */
unsigned int lmtp_verdict_ghost_msecs(unsigned int looks);

#endif
