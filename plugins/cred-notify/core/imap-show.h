#ifndef CRED_NOTIFY_IMAP_SHOW_H
#define CRED_NOTIFY_IMAP_SHOW_H

#include "core/feed-line.h"

/* The notices of one IMAP session: which may be shown, and when. Pure; the
   door does the showing. */

enum imap_show_mode {
	IMAP_SHOW_NO,
	/* after login only */
	IMAP_SHOW_LOGIN,
	/* and in IDLE */
	IMAP_SHOW_IDLE,
	/* and between any commands */
	IMAP_SHOW_ALWAYS
};

enum imap_show_hibernate {
	IMAP_SHOW_HIBERNATE_YES,
	/* not while a notice waits here, or was shown and still holds */
	IMAP_SHOW_HIBERNATE_PENDING,
	IMAP_SHOW_HIBERNATE_NO
};

struct imap_show_settings {
	enum imap_show_mode mode;
	enum imap_show_hibernate hibernate;
	/* also in sessions that are not encrypted (RFC 9051, 7.1: clients
	   should ignore alerts there) */
	bool cleartext;
	/* say it as a warning (untagged NO), not as OK */
	bool warning;
	/* nothing is shown before the session is so old, or in IDLE: what a
	   person looks at stays, webmail and scripts are gone by then */
	unsigned int delay_secs;
	/* NULL-terminated patterns with * and ?, in any case, of the name in
	   ID (RFC 2971) of clients that do not show alerts */
	const char *const *skip_clients;
};

enum imap_show_verdict {
	/* nothing to show */
	IMAP_SHOW_NOTHING,
	/* show what imap_show_next() gave */
	IMAP_SHOW_NOW,
	/* not in the middle of a literal: look again in a moment */
	IMAP_SHOW_BLOCKED,
	/* until the client's next command */
	IMAP_SHOW_WAIT
};

/* The session as it is now. */
struct imap_show_session {
	/* IDLE (RFC 2177) is running */
	bool idling;
	/* it is as old as delay_secs asks for */
	bool settled;
	/* an answer is on its way that must not be broken up */
	bool output_locked;
};

struct imap_show_notice {
	const char *id, *text;
};

/* How long a client that has said nothing has to say who it is: webmail does at
   once. Only asked for if there are patterns. */
#define IMAP_SHOW_ID_WAIT_MSECS 250
/* longest wait for a session to be old enough */
#define IMAP_SHOW_MAX_DELAY_SECS 3600
/* most notices of a session; above that the service is not told that they were
   shown, and has them for the next one */
#define IMAP_SHOW_MAX_NOTICES 32

/* "no", "login", ...; "yes", "pending", "no". Return 0, or -1 if it is none. */
int imap_show_mode_parse(const char *value, enum imap_show_mode *mode_r);
int imap_show_hibernate_parse(const char *value,
			      enum imap_show_hibernate *hibernate_r);

/* Has a session any use for notices? If not, the service is not asked. */
bool imap_show_is_wanted(const struct imap_show_settings *set, bool secured);

/* settings must outlive it. */
struct imap_show *imap_show_init(const struct imap_show_settings *set);
void imap_show_deinit(struct imap_show **show);

/* A notice came. Returns FALSE if this session has shown it before: the
   service does not know yet, and is to be told again. */
bool imap_show_add(struct imap_show *show, enum feed_channel channel,
		   const char *id, const char *text);
/* The service takes it back. */
void imap_show_gone(struct imap_show *show, const char *id);
/* The connection to the service broke: it will say again what holds. What was
   shown is remembered. */
void imap_show_forget_waiting(struct imap_show *show);

/* The client gave a command.
   args: of ID, as Dovecot logs them: ("name" "x" ...) or NIL; else ignored */
void imap_show_command(struct imap_show *show, const char *name,
		       const char *args);
/* It said nothing for IMAP_SHOW_ID_WAIT_MSECS. */
void imap_show_id_timeout(struct imap_show *show);
/* Still not known who it is? */
bool imap_show_waits_for_id(const struct imap_show *show);
/* It is one of those that are skipped: it is shown nothing for good. */
bool imap_show_is_skipped(const struct imap_show *show);

/* What to do now. notice_r is set for IMAP_SHOW_NOW, and valid until the next
   call. */
enum imap_show_verdict
imap_show_next(struct imap_show *show, const struct imap_show_session *session,
	       struct imap_show_notice *notice_r);
/* It was shown. */
void imap_show_done(struct imap_show *show, const char *id);

/* May the session be hibernated, where no notice reaches it? */
bool imap_show_may_hibernate(const struct imap_show *show);

/* How long to wait before the service is tried again. It starts short, for a
   service that is restarted, and grows; sessions that lost it together do not
   come back together.
   failures: since it last answered; random: any number */
unsigned int imap_show_retry_msecs(unsigned int failures, unsigned int random);

#endif
