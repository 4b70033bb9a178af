#ifndef IMAPSYNC_REPLY_CLASS_H
#define IMAPSYNC_REPLY_CLASS_H

/* What went wrong, how far it reaches and what to do: from a step, a response
   code (RFC 5530, RFC 3501 7.1) and a server's words. Pure. */

enum reply_class {
	REPLY_CLASS_OK,
	REPLY_CLASS_CREDENTIAL,		/* login refused */
	REPLY_CLASS_USER_ACTION,	/* the owner must act at the provider */
	REPLY_CLASS_TOKEN,		/* OAuth token refused */
	REPLY_CLASS_THROTTLED,		/* too much, too often, too many */
	REPLY_CLASS_SERVER,		/* the server has a fault of its own */
	REPLY_CLASS_NETWORK,		/* refused, unreachable, timeout, EOF */
	REPLY_CLASS_DNS,
	REPLY_CLASS_TLS,
	REPLY_CLASS_PROTOCOL,		/* the server broke the protocol */
	REPLY_CLASS_POLICY,		/* the admin's policy forbids it */
	REPLY_CLASS_FOLDER,		/* this folder only */
	REPLY_CLASS_MESSAGE,		/* this message only */
	REPLY_CLASS_LOCAL,		/* our side: LMTP down, disk, storage */
	REPLY_CLASS_QUOTA,		/* local quota */
	REPLY_CLASS_CONFIG,		/* account or settings are wrong */
	REPLY_CLASS_BUSY,		/* another run holds the account */
	REPLY_CLASS_STOPPED,		/* somebody stopped the run */

	REPLY_CLASS_COUNT
};

/* where the answer was given */
enum reply_step {
	REPLY_STEP_GREETING,
	REPLY_STEP_STARTTLS,
	REPLY_STEP_LOGIN,
	REPLY_STEP_LIST,
	REPLY_STEP_SELECT,
	REPLY_STEP_FETCH,
	REPLY_STEP_OTHER,
};

struct reply {
	enum reply_step step;
	/* "NO", "BAD", "BYE" */
	const char *status;
	/* response code without brackets and arguments, or NULL */
	const char *code;
	/* the words, raw, never NULL */
	const char *text;
	/* the login used a token (XOAUTH2, OAUTHBEARER) */
	bool token_login;
};

/* Order: temporary codes, temporary texts, user-must-act texts, credential
   codes, then the step. wait_secs_r: what the server asked to wait, 0 = it
   did not, at most a day. */
enum reply_class reply_class_get(const struct reply *reply,
				 unsigned int *wait_secs_r);

/* "credential", "dns", ... : stable, for machines. */
const char *reply_class_name(enum reply_class class);
/* Returns FALSE if name is none of them. */
bool reply_class_parse(const char *name, enum reply_class *class_r);

/* sysexits(3) code doveadm ends with when this was the worst: 0, 75, 77 or
   78. What is contained is 75: the rest was done. */
int reply_class_exit_code(enum reply_class class);

/* TRUE if the rest of the account can go on (folder and message trouble). */
bool reply_class_is_contained(enum reply_class class);

#endif
