#ifndef IMAPSYNC_SOURCE_IMAP_H
#define IMAPSYNC_SOURCE_IMAP_H

#include "remote-imap.h"
#include "core/folder-map.h"
#include "core/sync-plan.h"

/* The remote side of a run: questions to the server, each answered before the
   call returns. Meanwhile the ioloop runs, so that sinks go on. Remote folders
   are only ever examined (read-only).

   Calls return 0, or -1 with source_imap_get_error() set. After an error of
   class folder the connection can be used on; else it is over. */

struct source_imap;
struct spool;

ARRAY_DEFINE_TYPE(sync_message, struct sync_message);

struct source_folder {
	struct folder_listed listed;
	/* uidvalidity 0 = the server did not say; ask source_imap_status() */
	struct sync_status status;
};
ARRAY_DEFINE_TYPE(source_folder, struct source_folder);

/* most folders of one account */
#define SOURCE_MAX_FOLDERS 20000
/* most messages that one listing may bring */
#define SOURCE_MAX_LISTING 40000

struct source_imap_settings {
	struct remote_imap_settings client;
	/* prefix of temporary files for large messages */
	const char *temp_prefix;
	/* larger bodies than announced and allowed are dropped; 0 = any */
	uoff_t max_message_size;
	/* asked whenever the ioloop comes back: TRUE = give up */
	bool (*is_stopped)(void *context);
	/* a step of connecting is over (remote-imap.h), may be NULL */
	void (*step)(enum remote_imap_step step, const char *detail,
		     const struct remote_imap_error *error, void *context);
	void *context;
};

struct source_imap *
source_imap_init(const struct source_imap_settings *set);
void source_imap_deinit(struct source_imap **source);
const struct remote_imap_error *
source_imap_get_error(struct source_imap *source);

/* Connect, log in, enable what is used. */
int source_imap_connect(struct source_imap *source);
/* FALSE = the connection is over. */
bool source_imap_is_alive(struct source_imap *source);
void source_imap_logout(struct source_imap *source);

/* All folders, with their status where the server tells in one go. want_lsub:
   fill in subscribed even if that costs a command. Allocates from pool. */
int source_imap_list(struct source_imap *source, pool_t pool, bool want_lsub,
		     ARRAY_TYPE(source_folder) *folders_r);
/* Fill in the status of these folders, pipelined. One that cannot be had stays
   with uidvalidity 0. */
int source_imap_status(struct source_imap *source,
		       struct source_folder *const *folders,
		       unsigned int count);
bool source_imap_has_condstore(struct source_imap *source);

int source_imap_examine(struct source_imap *source, const char *remote_name,
			struct sync_status *status_r);

struct source_range {
	/* sequence numbers, not UIDs */
	bool by_seq;
	/* last 0 = "*" */
	uint32_t first, last;
	/* only messages whose flags changed since (RFC 7162), 0 = all */
	uint64_t changed_since;
	/* UID and FLAGS only */
	bool flags_only;
};

/* List messages of the examined folder, UIDs rising. Keywords that are no
   atoms or too long are left out. Returns 1 if there are more than
   SOURCE_MAX_LISTING: ask for a smaller range. */
int source_imap_list_messages(struct source_imap *source,
			      const struct source_range *range, pool_t pool,
			      ARRAY_TYPE(sync_message) *messages_r);

enum source_item_result {
	/* no FETCH response came: expunged meanwhile, or refused */
	SOURCE_ITEM_MISSING,
	SOURCE_ITEM_RECEIVED,
	/* the server answered without the body */
	SOURCE_ITEM_NO_BODY,
	/* larger than max_message_size, whatever its RFC822.SIZE said */
	SOURCE_ITEM_TOO_LARGE,
};

struct source_item {
	uint32_t uid;
	uoff_t size;
	enum source_item_result result;
	/* the server said NO or BAD to the command it was in; printable */
	const char *refusal;
	/* ... in words that let hope for another time */
	bool passing;
};
ARRAY_DEFINE_TYPE(source_item, struct source_item);

/* A message is complete. The spool is the callback's to unref. */
typedef void source_message_callback_t(uint32_t uid, struct spool *spool,
				       void *context);

/* Fetch bodies of the examined folder, several commands in flight. items have
   rising UIDs; result and refusal (from pool) are set. */
int source_imap_fetch(struct source_imap *source, pool_t pool,
		      struct source_item *items, unsigned int count,
		      source_message_callback_t *callback, void *context);

/* Back-pressure while source_imap_fetch() runs. */
void source_imap_pause(struct source_imap *source);
void source_imap_resume(struct source_imap *source);
/* Run the ioloop until done() says so. Returns -1 if stopped or the connection
   was lost meanwhile. */
int source_imap_wait(struct source_imap *source, bool (*done)(void *context),
		     void *context);

void source_imap_get_traffic(struct source_imap *source, uoff_t *in_r,
			     uoff_t *out_r);

#endif
