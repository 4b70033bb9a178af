#ifndef CRED_NOTIFY_PRODUCERS_H
#define CRED_NOTIFY_PRODUCERS_H

#include "core/record.h"

/* The service's end of RECORD_SOCKET: who tells it what happened. Lines are
   checked here, and what a producer says twice is left out. */

struct producers;
struct producer;

struct producers_callbacks {
	/* Take up a record that happened. producer: its name and start, which
	   make its ids unique. */
	void (*record)(void *context, const struct record *producer,
		       const struct record *record);
	/* Auth has said who it is, perhaps for the first time since it started:
	   whom it is to watch for is to be said with producers_watch(), before
	   this returns. */
	void (*auth_is_back)(void *context, struct producer *producer);
	/* Connections have something to be acknowledged: call
	   producers_ack() once all of it is on disk. */
	void (*pending)(void *context);
	/* A connection is no more. */
	void (*closed)(void *context);
};

/* callbacks must outlive it. */
struct producers *
producers_init(const struct producers_callbacks *callbacks, void *context,
	       struct event *event_parent);
void producers_deinit(struct producers **producers);

/* A connection to the socket; it is ours from now on. */
void producers_accept(struct producers *producers, int fd);

/* The last record of a producer's start that was taken up, as
   producers_each() told it. */
void producers_restore(struct producers *producers, const char *name,
		       const char *start, uint64_t last_id);
/* Call func for each start of which something was taken up; since the last such
   call, or all of them. */
void producers_each(struct producers *producers, bool all,
		    void (*func)(const char *name, const char *start,
				 uint64_t last_id, void *context),
		    void *context);

/* All records that were given to record() so far are on disk. */
void producers_ack(struct producers *producers);

/* The user's next good login is to be told. net: where logins failed,
   ip_network(); family 0 = not known */
void producers_watch(struct producer *producer, const char *user,
		     const struct ip_addr *net);

unsigned int producers_count(const struct producers *producers);

#endif
