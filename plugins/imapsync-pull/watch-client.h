#ifndef IMAPSYNC_WATCH_CLIENT_H
#define IMAPSYNC_WATCH_CLIENT_H

#include "core/reply-class.h"
#include "core/watch-fsm.h"

/* The service's side of the watchers: processes that hold a connection for each
   watched account and say when something has changed there. Each account is
   with one of them, chosen by its id. A process is connected to, and so
   started, when it gets its first account. */

struct watch_client;

/* Called from the ioloop only, never from within a function of this file. They
   may add and remove whatever they like. What they are given lives only during
   the call. */
struct watch_handlers {
	/* From now on every change is heard, as far as mode says. Run the
	   account once after this, unless that has just been done. May come
	   again with another mode. */
	void (*watching)(unsigned int id, enum watch_mode mode, void *context);
	/* Something changed: at once, then at most once a second while it goes
	   on, and more rarely if it goes on for long (watch-pace.h). */
	void (*changed)(unsigned int id, void *context);
	/* The watch is over and forgotten: the id is free of it already. text
	   is printable. wait_secs: the next try should not come earlier, 0 =
	   nothing is known. The process died: class local. */
	void (*failed)(unsigned int id, enum reply_class class,
		       unsigned int wait_secs, const char *text, void *context);
};

/* processes: how many share the accounts, at least 1. ping_msecs: a process is
   asked so often whether it is alive; if it has not answered
   WATCH_CLIENT_MAX_PINGS in a row by then, all goes on as if it had died. */
#define WATCH_CLIENT_MAX_PINGS 2
struct watch_client *
watch_client_init(const char *socket_path, unsigned int processes,
		  unsigned int ping_msecs,
		  const struct watch_handlers *handlers, void *context);
/* Forgets all watches, without a word to the handlers. */
void watch_client_deinit(struct watch_client **client);

/* Watch an account. line is a whole watch line of job.h, with this id, and
   holds a secret: pool, in which it lives, is referenced until it is sent. An
   id is not 0 and used once: for the next watch of the same account, take
   another one. (Else what was said of the old watch would be taken for the
   new.) */
void watch_client_add(struct watch_client *client, unsigned int id, pool_t pool,
		      const string_t *line);
/* The handlers hear nothing more of it. An unknown id (a watch that failed) is
   no error. */
void watch_client_remove(struct watch_client *client, unsigned int id);

/* How many accounts are with the processes now. */
unsigned int watch_client_count(const struct watch_client *client);

#endif
