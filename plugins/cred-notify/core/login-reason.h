#ifndef CRED_NOTIFY_LOGIN_REASON_H
#define CRED_NOTIFY_LOGIN_REASON_H

#include "core/record.h"

/* What the passdbs that one login went through have said. */
enum login_seen {
	LOGIN_SEEN_OK		= 0x01,
	LOGIN_SEEN_MISMATCH	= 0x02,
	LOGIN_SEEN_UNKNOWN	= 0x04,
	LOGIN_SEEN_DISABLED	= 0x08,
	LOGIN_SEEN_EXPIRED	= 0x10,
	LOGIN_SEEN_SCHEME	= 0x20,
	LOGIN_SEEN_INTERNAL	= 0x40,
	/* found in a deny passdb, whatever it answered */
	LOGIN_SEEN_DENIED	= 0x80,
};

/* result: Dovecot's name of a passdb's answer. Returns 0 for one that says
   nothing. */
enum login_seen login_seen_answer(const char *result);

/* One passdb has answered.

   seen:   what was seen before
   answer: by login_seen_answer()
   deny:   it is a deny passdb
   master: it looked up a master user, who wants to log in as another */
enum login_seen login_seen_add(enum login_seen seen, enum login_seen answer,
			       bool deny, bool master);

/* Why a login that went through those failed.

   mechanism: SASL name, NULL = not known
   internal:  Dovecot said that it is its own fault
   refused:   the policy server refused it */
enum record_reason login_reason(enum login_seen seen, const char *mechanism,
				bool internal, bool refused);

/* Whether a passdb knew the user: else the name must not be told. */
bool login_user_is_known(enum login_seen seen);

#endif
