#ifndef IMAPSYNC_PULL_PRIVATE_H
#define IMAPSYNC_PULL_PRIVATE_H

#include "array.h"
#include "inflight.h"
#include "local-folder.h"
#include "pull.h"
#include "imapsync-settings.h"
#include "sink.h"
#include "source-imap.h"
#include "state-db.h"

/* A run, shared by pull.c (the whole), pull-folder.c (one folder) and
   pull-store.c (messages on their way into the sinks). */

struct pull_folder;

/* a message that LMTP said is stored, its slot still taken */
struct pull_unsettled {
	uint32_t uidvalidity, uid;
	const char *remote_folder;
};

struct pull {
	pool_t pool;
	struct pull_settings set;
	const struct account *account;
	struct mail_user *user;
	time_t now;

	struct source_imap *source;
	ARRAY_TYPE(source_folder) folders;
	struct folder_mapped *mapped;

	struct state_db *db;
	/* one syncfs() per batch instead of the storage's own syncs */
	bool batch_fsync;

	struct sink *direct, *lmtp;
	struct inflight *inflight;
	/* what a run that was killed left on its way */
	struct inflight_slot leftovers[INFLIGHT_SLOTS];
	unsigned int leftover_slots[INFLIGHT_SLOTS];
	unsigned int leftover_count;
	ARRAY(struct pull_unsettled) unsettled;
	/* rows written and not committed */
	unsigned int uncommitted;

	/* a sink or the database is out of order, the run ends */
	bool sink_stopped, db_failed;
	/* reading from the server rests until a sink has room */
	bool paused;

	struct pull_result result;
};

/* Keep the worst of what happened. folder may be NULL. */
void pull_set_error(struct pull *pull, enum reply_class class,
		    const char *folder, const char *text);
/* The same of what the server or the connection to it did wrong. */
void pull_set_remote_error(struct pull *pull, const char *folder,
			   const struct remote_imap_error *error);
/* Errors of the database are always ours and always the end. */
int pull_db_failed(struct pull *pull);
bool pull_is_stopped(struct pull *pull);

/* pull-folder.c */

struct pull_folder {
	struct pull *pull;
	pool_t pool;
	const struct source_folder *remote;
	const struct folder_mapped *mapped;
	/* printable remote name */
	const char *name;

	struct sync_policy policy;
	struct sync_visit visit;
	struct sync_status status;
	struct state_folder state;

	/* our side: for what is there already, and for flags */
	struct local_folder *local;
	/* mail in it may be what we are about to fetch */
	bool reconcile;
	bool has_former;
	/* the last visit was cut short: storages may bring back what was on
	   its way then, also later in this visit */
	bool was_dirty;
	/* UIDs settled that the server does not have any more */
	ARRAY_TYPE(uint32_t) gone;
	/* something was left undone that only a look at every message
	   brings up again: the guard kept expunged mail here, or the server
	   passed over a message */
	bool held;
	/* the local mailbox is there for lmtp to deliver into */
	bool lmtp_prepared;

	/* the stretch under way */
	ARRAY_TYPE(sync_step) steps;
	unsigned int total, done;
	/* another process has stored mail of this visit */
	bool lmtp_stored;
	/* for servers that do not say UIDNEXT */
	uint32_t listed_uid_max;
	/* 1 = first */
	unsigned int attempt;
	/* messages that are to be tried again, and why */
	unsigned int later;
	enum reply_class later_class;
	const char *later_text;
};

/* Returns 0, or -1 if the run is over (pull->result says why). */
int pull_folder_run(struct pull *pull, const struct source_folder *remote,
		    const struct folder_mapped *mapped);
/* Messages the folder is likely to bring, from its status alone. */
int pull_folder_estimate(struct pull *pull, const struct source_folder *remote,
			 unsigned int *count_r);

/* pull-store.c */

/* Open the sinks. What the in-flight file of a killed run says is taken over
   first. */
int pull_store_init(struct pull *pull);
void pull_store_deinit(struct pull *pull);
/* Have everything pending answered: the run is over. */
void pull_store_abort(struct pull *pull);
/* A body came in; spool is taken over. */
void pull_store_message(struct pull_folder *folder,
			const struct sync_step *step, struct spool *spool);
/* Push everything, wait for the answers, commit. */
int pull_store_flush(struct pull *pull);
/* The same when something went wrong before: nothing is pending afterwards, if
   need be because the sinks are gone (the run is over then). */
void pull_store_finish(struct pull *pull);
int pull_store_commit(struct pull *pull);
/* Write the row of a message that is settled without being stored now. */
int pull_store_settle(struct pull_folder *folder,
		      const struct sync_message *message,
		      enum sync_known_state state, const char *reason);
/* ... or that is to be asked for again, having been refused since then. */
int pull_store_refused(struct pull_folder *folder,
		       const struct sync_message *message,
		       time_t refused_since, const char *reason);
/* ... or found to be here already. mailbox: NULL = the folder's own. */
int pull_store_adopt(struct pull_folder *folder,
		     const struct sync_message *message,
		     const char *mailbox, const struct local_mail *mail,
		     const unsigned char *hash);
/* Forget leftovers of a folder whose visit ended well. */
int pull_store_clear_leftovers(struct pull_folder *folder);

#endif
