/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "dovecot-compat.h"
#include "lmtp-verdict.h"

/* A message that is answered with "try later" is tried so often before it is
   given back: an index rebuild answers so once, and is over then. */
#define LATER_MAX_TRIES 3
/* each of several lmtp processes may have to read a new key */
#define KEY_MAX_TRIES 20
#define KEY_WAIT_MSECS 20
/* A killed lmtp process's stale lock is found out in two or three seconds;
   without dotlock_use_excl=no it takes two minutes. */
#define GHOST_FIRST_MSECS 20
#define GHOST_MAX_MSECS 2000
#define GHOST_MAX_LOOKS 90

static const unsigned int later_wait_msecs[LATER_MAX_TRIES] = {
	100, 1000, 3000
};

static bool answer_is_quota(const struct lmtp_answer *answer)
{
	if (answer->enh_class == 0)
		return answer->status == 452 || answer->status == 552;
	return (answer->enh_class == 4 || answer->enh_class == 5) &&
		answer->enh_subject == 2 && answer->enh_detail == 2;
}

static bool text_has(const struct lmtp_answer *answer, const char *words)
{
	return strstr(answer->text, words) != NULL;
}

static void
verdict_set(struct lmtp_verdict *verdict, enum lmtp_action action,
	    enum reply_class class, unsigned int wait_msecs)
{
	verdict->action = action;
	verdict->class = class;
	verdict->wait_msecs = wait_msecs;
}

static void
verdict_lost(const struct lmtp_answer *answer, struct lmtp_verdict *verdict)
{
	/* once: a message that kills its server must not do so for ever */
	if (answer->tries == 0) {
		verdict_set(verdict, LMTP_ACTION_RETRY, REPLY_CLASS_LOCAL,
			    later_wait_msecs[0]);
	} else {
		verdict_set(verdict, LMTP_ACTION_LATER, REPLY_CLASS_LOCAL, 0);
	}
}

static void
verdict_temporary(const struct lmtp_answer *answer,
		  struct lmtp_verdict *verdict)
{
	if (text_has(answer, LMTP_DOOR_REPLY_NOT_IN_FLIGHT))
		verdict_set(verdict, LMTP_ACTION_STOP, REPLY_CLASS_CONFIG, 0);
	else if (text_has(answer, LMTP_DOOR_REPLY_BUSY)) {
		verdict_set(verdict, LMTP_ACTION_WAIT_GHOST,
			    REPLY_CLASS_LOCAL, GHOST_FIRST_MSECS);
	} else if (text_has(answer, LMTP_DOOR_REPLY_KEY) &&
		   answer->tries < KEY_MAX_TRIES) {
		verdict_set(verdict, LMTP_ACTION_AGAIN, REPLY_CLASS_LOCAL,
			    KEY_WAIT_MSECS);
	} else if (answer->tries < LATER_MAX_TRIES) {
		verdict_set(verdict, answer->step == LMTP_STEP_DATA ?
			    LMTP_ACTION_RETRY : LMTP_ACTION_AGAIN,
			    REPLY_CLASS_LOCAL,
			    later_wait_msecs[answer->tries]);
	} else {
		verdict_set(verdict, LMTP_ACTION_LATER, REPLY_CLASS_LOCAL, 0);
	}
}

static void
verdict_permanent(const struct lmtp_answer *answer,
		  struct lmtp_verdict *verdict)
{
	if (answer->step == LMTP_STEP_DATA) {
		verdict_set(verdict, LMTP_ACTION_REFUSED,
			    REPLY_CLASS_MESSAGE, 0);
	} else if (answer->step == LMTP_STEP_MAIL && !answer->no_sender) {
		/* somebody else's address, and not worth a message */
		verdict_set(verdict, LMTP_ACTION_NO_SENDER,
			    REPLY_CLASS_MESSAGE, 0);
	} else {
		/* the recipient is the same for all */
		verdict_set(verdict, LMTP_ACTION_STOP, REPLY_CLASS_CONFIG, 0);
	}
}

void lmtp_verdict_get(const struct lmtp_answer *answer,
		      struct lmtp_verdict *verdict_r)
{
	if (answer->step == LMTP_STEP_LOST)
		verdict_lost(answer, verdict_r);
	else if (answer->status / 100 == 2) {
		verdict_set(verdict_r, LMTP_ACTION_ACCEPTED,
			    REPLY_CLASS_OK, 0);
	} else if (answer_is_quota(answer))
		verdict_set(verdict_r, LMTP_ACTION_STOP, REPLY_CLASS_QUOTA, 0);
	else if (answer->status / 100 == 4)
		verdict_temporary(answer, verdict_r);
	else
		verdict_permanent(answer, verdict_r);
}

unsigned int lmtp_verdict_ghost_msecs(unsigned int looks)
{
	unsigned int msecs = GHOST_FIRST_MSECS;

	if (looks >= GHOST_MAX_LOOKS)
		return 0;
	while (looks-- > 0 && msecs < GHOST_MAX_MSECS)
		msecs *= 2;
	return I_MIN(msecs, GHOST_MAX_MSECS);
}
