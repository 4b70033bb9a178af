#ifndef CRED_NOTIFY_FEED_H
#define CRED_NOTIFY_FEED_H

#include "core/feed-line.h"

/* The service's end of FEED_SOCKET: who listens, and what they are told and
   say. What is pending for whom is known to the caller.

   The socket is open to everybody, as imap processes run as anybody. Root and
   Dovecot's own user are believed; of others it is asked whether they may be
   that user. Connections that were not admitted yet are few and must be quick;
   one that does not read what it is told is closed: it comes back and is told
   again what it did not confirm. */

struct feed;

struct feed_settings {
	/* Dovecot's internal user */
	uid_t trusted_uid;
	/* most connections at one time; half of them before admission */
	unsigned int max_connections;
	/* of one user */
	unsigned int max_sessions;
};

/* Sessions are known by number: one that is gone meanwhile does no harm. */
struct feed_session_info {
	uint64_t number;
	/* as in feed_line */
	const char *user, *session;
	bool secured, unhibernated;
};

struct feed_notice {
	/* as in feed_line */
	const char *id, *text;
	enum feed_channel channel;
};

struct feed_callbacks {
	/* May this uid have that user's notices? Answer with feed_admit(), at
	   once or later. */
	void (*check)(void *context, uint64_t number, const char *user,
		      uid_t uid);
	/* A session listens, or says so again: give it what is pending with
	   feed_tell(). */
	void (*subscribed)(void *context,
			   const struct feed_session_info *info);
	/* A session showed what it was told. */
	void (*shown)(void *context, const struct feed_session_info *info,
		      const char *id, enum feed_channel channel);
	/* A connection that feed_accept() got is no more. */
	void (*closed)(void *context);
};

/* callbacks must outlive it. No callback frees it. */
struct feed *feed_init(const struct feed_settings *set,
		       const struct feed_callbacks *callbacks, void *context,
		       struct event *event_parent);
/* closed() is called for each connection. */
void feed_deinit(struct feed **feed);

/* A connection to the socket. It is the feed's from now on, and may be closed
   at once. */
void feed_accept(struct feed *feed, int fd);

/* The answer to check(). */
void feed_admit(struct feed *feed, uint64_t number, bool may);

/* Tell one session. What it was told already, and did not show yet, it is told
   once only. Returns FALSE if it is gone or has too much to show already. */
bool feed_tell(struct feed *feed, uint64_t number,
	       const struct feed_notice *notice);
/* Tell all sessions of a user. Returns how many there are. */
unsigned int feed_tell_user(struct feed *feed, const char *user,
			    const struct feed_notice *notice);
/* What a user's sessions were told and holds no more. (A flash that one
   session shows is taken back from the others without that.) */
void feed_gone(struct feed *feed, const char *user, const char *id);

unsigned int feed_connection_count(const struct feed *feed);

#endif
