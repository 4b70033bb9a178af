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

/* What the owner must do, as far as the server's words tell. cred-notify has
   the same names. */
enum reply_hint {
	REPLY_HINT_NONE,
	REPLY_HINT_APP_PASSWORD,	/* make one, use it here */
	REPLY_HINT_WEB_LOGIN,		/* log in with a browser */
	REPLY_HINT_ENABLE_IMAP,		/* it is switched off there */
	REPLY_HINT_CONSENT,		/* no password helps: OAuth */
	REPLY_HINT_BLOCKED,		/* ask the provider */
	REPLY_HINT_EXPIRED,		/* the password */

	REPLY_HINT_COUNT
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

struct reply_advice {
	/* what the server asked to wait, 0 = it did not, at most a day */
	unsigned int wait_secs;
	enum reply_hint hint;
	/* the class is folder or message, and the words are those of a fault
	   that passes */
	bool passing;
};

/* Order: temporary codes, temporary texts, whatever was said before the
   password was looked at (a greeting, BAD), user-must-act texts, credential
   codes, then the step. */
enum reply_class reply_class_get(const struct reply *reply,
				 struct reply_advice *advice_r);

/* "credential", "dns", ... : stable, for machines. */
const char *reply_class_name(enum reply_class class);
/* Returns FALSE if name is none of them. */
bool reply_class_parse(const char *name, enum reply_class *class_r);

/* "none", "app-password", ... : stable, for machines. */
const char *reply_hint_name(enum reply_hint hint);
/* Returns FALSE if name is none of them. */
bool reply_hint_parse(const char *name, enum reply_hint *hint_r);
/* The same for people, to stand behind what went wrong; NULL for none. */
const char *reply_hint_text(enum reply_hint hint);

/* sysexits(3) code doveadm ends with when this was the worst: 0, 75, 77 or
   78. What is contained is 75: the rest was done. */
int reply_class_exit_code(enum reply_class class);

/* TRUE if the rest of the account can go on (folder and message trouble). */
bool reply_class_is_contained(enum reply_class class);

#endif
