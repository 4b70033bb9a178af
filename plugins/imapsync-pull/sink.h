#ifndef IMAPSYNC_SINK_H
#define IMAPSYNC_SINK_H

#include "mail-types.h"
#include "core/reply-class.h"

/* The local side of a run: takes whole messages, says what became of each.
   Two kinds, sink-direct.c and sink-lmtp.c.

   sink_put() takes a message; sink_flush() pushes what is held back. The
   callback is called exactly once per message, from within these or later,
   with SINK_DONE only when the message is durable on the local side. */

struct spool;
struct sink;

struct sink_message {
	/* owns all below; the sink frees it after the callback */
	pool_t pool;
	/* one reference, owned by the sink once put */
	struct spool *spool;

	/* remote identity */
	const char *remote_folder;
	uint32_t uidvalidity, uid;

	/* local mailbox (vname), and the GUID to store it with */
	const char *mailbox;
	const char *guid;
	enum mail_flags flags;
	const char *const *keywords;
	time_t received_time;
	int received_tz_mins;
	/* LMTP: silence side effects; look first if it was stored before */
	bool nofx, retry;

	/* the asker's */
	void *context;
};

enum sink_result {
	/* durable; mailbox, guid, local_uid say where */
	SINK_DONE,
	/* accepted, but nobody vouches that it is stored: a queue, or an LMTP
	   server without our plugin */
	SINK_HANDED_OVER,
	/* not now: the message is fine, the local side is not. Not stored, or
	   in doubt: it must be retried with retry set */
	SINK_LATER,
	/* this message is refused for good */
	SINK_REFUSED,
};

struct sink_outcome {
	enum sink_result result;
	/* why, unless SINK_DONE */
	enum reply_class class;
	/* one line, printable */
	const char *text;
	/* SINK_DONE: first place it was stored at; mailbox may be NULL
	   (discarded by the user's script), guid NULL = the one given,
	   local_uid 0 = not known */
	const char *mailbox, *guid;
	uint32_t local_uid;
	/* the local side is out of order as a whole: send no more */
	bool stop;
};

typedef void sink_callback_t(const struct sink_message *message,
			     const struct sink_outcome *outcome,
			     void *context);

struct sink_vfuncs {
	void (*put)(struct sink *sink, struct sink_message *message);
	bool (*has_room)(struct sink *sink);
	void (*flush)(struct sink *sink);
	void (*deinit)(struct sink *sink);
};

struct sink {
	const struct sink_vfuncs *v;
	sink_callback_t *callback;
	void *context;
	/* messages put and not yet answered */
	unsigned int pending;
};

void sink_put(struct sink *sink, struct sink_message *message);
/* FALSE = put no more, ask again after callbacks. */
bool sink_has_room(struct sink *sink);
/* Everything put is to be answered soon; answers may come before it returns. */
void sink_flush(struct sink *sink);
/* Messages still pending are answered with SINK_LATER. */
void sink_deinit(struct sink **sink);

/* For sinks: answer a message and free it. */
void sink_answer(struct sink *sink, struct sink_message *message,
		 const struct sink_outcome *outcome);

/* Direct save into the mail user's mailboxes. See sink-direct.c. */
struct mail_user;
struct sink_direct_settings {
	struct mail_user *user;
	/* messages and bytes per transaction */
	unsigned int batch_messages;
	uoff_t batch_bytes;
	/* mail_fsync is "never" for this run and one syncfs() per batch makes
	   it durable */
	bool batch_fsync;
	struct event *event_parent;
};
struct sink *sink_direct_init(const struct sink_direct_settings *set,
			      sink_callback_t *callback, void *context);

/* LMTP (RFC 2033) with the signed header. See sink-lmtp.c. */
struct inflight;
struct sink_lmtp_settings {
	/* unix socket path (relative to base_dir or absolute) or host:port */
	const char *target;
	const char *base_dir;
	unsigned int connections;
	/* recipient: the local user; account name for the header */
	const char *user, *account, *source_id;
	const unsigned char *header_key;
	struct inflight *inflight;
	/* MAIL FROM if the message has no Return-Path, or "" for <> */
	const char *sender;
	struct event *event_parent;
};
struct sink *sink_lmtp_init(const struct sink_lmtp_settings *set,
			    sink_callback_t *callback, void *context);
/* Slots that were left entered, storing or done by a run that was killed are
   the asker's to read (inflight.h) before the first put; a put with retry set
   reuses the slot of the same message. A slot is freed by the asker's word,
   once its database holds the message. */
void sink_lmtp_settled(struct sink *sink, const char *remote_folder,
		       uint32_t uidvalidity, uint32_t uid);
/* Slots that hold no message. There should be SINK_LMTP_BATCH: so many may be
   entered together. */
#define SINK_LMTP_BATCH 32
unsigned int sink_lmtp_free_slots(struct sink *sink);

#endif
