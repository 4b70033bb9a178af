/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "core/login-reason.h"

static const struct {
	const char *result;
	enum login_seen seen;
} results[] = {
	{ "ok", LOGIN_SEEN_OK },
	{ "password_mismatch", LOGIN_SEEN_MISMATCH },
	{ "user_unknown", LOGIN_SEEN_UNKNOWN },
	{ "user_disabled", LOGIN_SEEN_DISABLED },
	{ "pass_expired", LOGIN_SEEN_EXPIRED },
	{ "scheme_not_available", LOGIN_SEEN_SCHEME },
	{ "internal_failure", LOGIN_SEEN_INTERNAL },
};

/* Of several passdbs the first of these that any said counts. Those on top end
   the login wherever they come; below, whoever knows the user knows best. */
static const struct {
	enum login_seen seen;
	enum record_reason reason;
} reasons[] = {
	{ LOGIN_SEEN_DENIED | LOGIN_SEEN_DISABLED,
	  RECORD_REASON_USER_DISABLED },
	{ LOGIN_SEEN_EXPIRED, RECORD_REASON_PASS_EXPIRED },
	{ LOGIN_SEEN_INTERNAL, RECORD_REASON_INTERNAL },
	{ LOGIN_SEEN_MISMATCH, RECORD_REASON_PASSWORD },
	{ LOGIN_SEEN_OK, RECORD_REASON_NOT_ALLOWED },
	{ LOGIN_SEEN_SCHEME, RECORD_REASON_SCHEME },
	{ LOGIN_SEEN_UNKNOWN, RECORD_REASON_USER_UNKNOWN },
};

/* Their passdb only hands out what is stored: "ok" says nothing of what the
   client has. */
static bool mechanism_checks_later(const char *mechanism)
{
	static const char *const challenges[] = {
		"APOP", "CRAM-MD5", "DIGEST-MD5", "NTLM", "OTP", "RPA", "SKEY",
	};
	unsigned int i;

	if (mechanism == NULL)
		return FALSE;
	for (i = 0; i < N_ELEMENTS(challenges); i++) {
		if (strcasecmp(mechanism, challenges[i]) == 0)
			return TRUE;
	}
	return strncasecmp(mechanism, "SCRAM-", 6) == 0;
}

enum login_seen login_seen_answer(const char *result)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(results); i++) {
		if (strcmp(result, results[i].result) == 0)
			return results[i].seen;
	}
	return 0;
}

enum login_seen login_seen_add(enum login_seen seen, enum login_seen answer,
			       bool deny, bool master)
{
	if (deny) {
		/* not found there is what should be; the database may know
		   patterns or addresses instead of users */
		if (answer == LOGIN_SEEN_UNKNOWN)
			return seen;
		return seen | (answer == LOGIN_SEEN_INTERNAL ? answer :
			       LOGIN_SEEN_DENIED);
	}
	/* from here on it is about the user, and the master was right */
	if (master && answer == LOGIN_SEEN_OK)
		return 0;
	return seen | answer;
}

enum record_reason login_reason(enum login_seen seen, const char *mechanism,
				bool internal, bool refused)
{
	unsigned int i;

	if (internal)
		return RECORD_REASON_INTERNAL;
	if (refused)
		return RECORD_REASON_POLICY;
	if ((seen & LOGIN_SEEN_OK) != 0 && mechanism_checks_later(mechanism))
		seen |= LOGIN_SEEN_MISMATCH;
	for (i = 0; i < N_ELEMENTS(reasons); i++) {
		if ((seen & reasons[i].seen) != 0)
			return reasons[i].reason;
	}
	return RECORD_REASON_NO_LOOKUP;
}

bool login_user_is_known(enum login_seen seen)
{
	return (seen & (LOGIN_SEEN_OK | LOGIN_SEEN_MISMATCH |
			LOGIN_SEEN_DISABLED | LOGIN_SEEN_EXPIRED)) != 0;
}
