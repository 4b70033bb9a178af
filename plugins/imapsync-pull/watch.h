#ifndef IMAPSYNC_WATCH_H
#define IMAPSYNC_WATCH_H

#include "remote-imap.h"
#include "core/watch-fsm.h"

/* One account under watch: a connection that waits for news. */

struct watch;

/* Called from the ioloop only. All but logged_in may deinit the watch. */
struct watch_callbacks {
	/* The login is over, and was good: others may log in now. */
	void (*logged_in)(void *context);
	/* From now on every change is heard, as far as mode says; again if the
	   mode changes. */
	void (*watching)(enum watch_mode mode, void *context);
	/* Something changed: at once, then at most once a second, and more
	   rarely if it goes on (watch-pace.h). */
	void (*changed)(void *context);
	/* The watch is over. error lives until this returns. */
	void (*failed)(const struct remote_imap_error *error, void *context);
};

/* Connects at once. client_set: limits and buffer sizes are set here. Account
   and settings are not needed any more when this returns, but for what
   remote_imap_init() says. */
struct watch *
watch_init(const struct account *account,
	   const struct remote_imap_settings *client_set,
	   const struct watch_callbacks *callbacks, void *context);
/* Hangs up. */
void watch_deinit(struct watch **watch);

#endif
