#ifndef CRED_NOTIFY_CHANNEL_H
#define CRED_NOTIFY_CHANNEL_H

#include "core/audience.h"
#include "core/channel-verdict.h"
#include "core/notice.h"

/* A way to tell somebody something. It tries once: trying again, giving up, who
   is told and who was is for whoever asks. */

/* more tellings wait in no channel; what comes on top is for later */
#define CHANNEL_MAX_WAITING 1000

/* One telling. All pointers are valid until tell() returns: copy. */
struct channel_telling {
	const struct notice *notice;
	/* NULL: told once for all (webhook) */
	const struct audience_user *user;
	/* enum audience_channel, one bit */
	unsigned int channel;
	/* stable id of the notice for people and machines:
	   "<incident>.<said>" */
	const char *id;
};

struct channel_answer {
	enum channel_result result;
	/* for the log, NULL if told. Sanitised: the other side's words may be
	   in it */
	const char *error;
	/* CHANNEL_LATER: how long the other side asked to be left alone, 0 = it
	   did not */
	unsigned int retry_secs;
	/* CHANNEL_LATER: it was on its way when the channel went, and may have
	   arrived */
	bool cut_off;
};
/* Called exactly once, never before tell() returns. */
typedef void
channel_callback_t(const struct channel_answer *answer, void *context);

struct channel;

struct channel_vfuncs {
	const char *name;
	/* What is not told yet is answered with CHANNEL_LATER. */
	void (*deinit)(struct channel *channel);
	/* Start one telling. */
	void (*tell)(struct channel *channel,
		     const struct channel_telling *telling,
		     channel_callback_t *callback, void *context);
};

struct channel {
	struct channel_vfuncs v;
	/* enum audience_channel: what it can tell by now */
	unsigned int kinds;
	struct event *event;
};

/* Certificates of others are always verified. Paths; "" = none */
struct channel_tls {
	const char *ca_file, *ca_dir;
};

#endif
