#ifndef CRED_NOTIFY_IMAP_FEED_H
#define CRED_NOTIFY_IMAP_FEED_H

#include "core/feed-line.h"

/* An IMAP session's connection to the cred-notify service. It is made when it
   can be, and made again when it breaks: without a service nobody is told, and
   nobody is kept waiting. */

struct imap_feed;

struct imap_feed_callbacks {
	/* A notice, or that one is gone. */
	void (*line)(void *context, const struct feed_line *line);
	/* It broke: the service will say again what holds. */
	void (*lost)(void *context);
};

/* sub: what the service is told; copied. */
struct imap_feed *
imap_feed_init(const char *path, const struct feed_line *sub,
	       struct event *event_parent,
	       const struct imap_feed_callbacks *callbacks, void *context);
void imap_feed_deinit(struct imap_feed **feed);

/* Tell the service that a notice was shown. Without a connection it is not
   told, and says it again. */
void imap_feed_shown(struct imap_feed *feed, const char *id);

void imap_feeds_init(void);
void imap_feeds_deinit(void);

#endif
