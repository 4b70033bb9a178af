#ifndef IMAPSYNC_STATE_DB_H
#define IMAPSYNC_STATE_DB_H

#include "core/sync-plan.h"
#include "spool.h"

/* Sync state of one source: an SQLite file beside the mail, held by one run at
   a time. It answers "which remote UIDs are settled, and where is their mail".

   Every function returns -1 with state_db_get_error() set when the database
   fails; nothing written since the last commit is kept then. */

struct state_db;

struct state_folder {
	/* 0 = not in the database yet */
	int64_t id;
	/* as the server wrote it */
	const char *remote_name;
	/* vname of the local mailbox */
	const char *local_name;
	struct sync_state sync;
	/* the local mailbox when the last pull left it: mail with a UID from
	   local_uidnext on was put there since, perhaps by a run that was
	   killed. 0 = never opened. */
	uint32_t local_uidvalidity, local_uidnext;
};

struct state_message {
	uint32_t uid;
	enum sync_known_state state;
	/* remote flags as last seen; keywords sorted, NULL-terminated */
	enum mail_flags flags;
	const char *const *keywords;
	uoff_t size;
	/* content identity (spool.h), has_hash = it is known */
	unsigned char hash[SPOOL_HASH_SIZE];
	bool has_hash;
	/* where the mail is: NULL mailbox = the folder's local_name; NULL
	   guid = the user's script discarded it; 0 = UID not known */
	const char *mailbox, *guid;
	uint32_t local_uid;
	/* of SYNC_KNOWN_REFUSED alone, which is nowhere here */
	time_t refused_since;
	/* why it is quarantined or refused, printable; NULL otherwise */
	const char *reason;
};

ARRAY_DEFINE_TYPE(sync_known, struct sync_known);

enum state_db_open_result {
	STATE_DB_FAILED = -1,
	/* made now: nothing is known */
	STATE_DB_NEW = 0,
	STATE_DB_FOUND = 1,
	/* another run holds it */
	STATE_DB_BUSY = 2,
};

/* Lock, open and check. state_dir is made if it is missing (0700). The files
   are <state_dir>/<source_id>.lock and .sqlite. error_r is set for FAILED and
   BUSY. */
enum state_db_open_result
state_db_open(const char *state_dir, const char *source_id,
	      struct state_db **db_r, const char **error_r);
/* Rolls back what is not committed. */
void state_db_close(struct state_db **db);
const char *state_db_get_error(struct state_db *db);

/* A transaction is begun by the first write. */
int state_db_commit(struct state_db *db);

/* Returns 1, 0 if the folder is not known (folder_r is zeroed but for
   remote_name) or -1. Strings from pool. */
int state_db_folder_get(struct state_db *db, pool_t pool,
			const char *remote_name, struct state_folder *folder_r);
/* Insert or update; sets folder->id. */
int state_db_folder_put(struct state_db *db, struct state_folder *folder);

/* Messages between two UIDs, rising. */
int state_db_known(struct state_db *db, pool_t pool, int64_t folder_id,
		   uint32_t first_uid, uint32_t last_uid,
		   ARRAY_TYPE(sync_known) *known_r);
/* How many messages of a folder are done. */
int state_db_count_done(struct state_db *db, int64_t folder_id,
			unsigned int *count_r);

/* Returns 1, 0 if not known, or -1. */
int state_db_message_get(struct state_db *db, pool_t pool, int64_t folder_id,
			 uint32_t uid, struct state_message *message_r);
int state_db_message_put(struct state_db *db, int64_t folder_id,
			 const struct state_message *message);
int state_db_message_set_flags(struct state_db *db, int64_t folder_id,
			       uint32_t uid, enum mail_flags flags,
			       const char *const *keywords);
int state_db_message_set_local_uid(struct state_db *db, int64_t folder_id,
				   uint32_t uid, uint32_t local_uid);
/* Forget done messages of the folder's own mailbox whose mail got this local
   UID or a higher one. */
int state_db_forget_from_local_uid(struct state_db *db, int64_t folder_id,
				   uint32_t local_uid);
typedef void state_db_guid_callback_t(const char *guid, uint32_t local_uid,
				      void *context);
/* GUIDs of all done messages of a folder. */
int state_db_guids(struct state_db *db, int64_t folder_id,
		   state_db_guid_callback_t *callback, void *context);
int state_db_message_forget(struct state_db *db, int64_t folder_id,
			    uint32_t uid);

/* The remote UIDVALIDITY changed: UIDs mean nothing any more, contents do.
   Turns the folder's messages into former ones. */
int state_db_make_former(struct state_db *db, int64_t folder_id);
/* Returns 1 if former messages of the folder are left, 0 or -1. */
int state_db_has_former(struct state_db *db, int64_t folder_id);
/* Forget the former messages that are left. */
int state_db_drop_former(struct state_db *db, int64_t folder_id);
/* Take one former message with this content; sizes are as servers count them,
   and another one may count otherwise. Returns 1 and where its mail is
   (mailbox, guid, local_uid, flags), 0 if there is none, or -1. */
int state_db_former_take(struct state_db *db, pool_t pool, int64_t folder_id,
			 const unsigned char *hash,
			 struct state_message *message_r);

#endif
