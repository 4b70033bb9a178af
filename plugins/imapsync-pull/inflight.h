#ifndef IMAPSYNC_INFLIGHT_H
#define IMAPSYNC_INFLIGHT_H

/* The in-flight file: one per source, beside its state database, shared by the
   worker that sends messages over LMTP and the lmtp plugin that stores them.
   A fixed number of fixed-size slots, one per message on its way.

   Life of a slot:
     free      -> entered   worker, durably (fdatasync), before it sends
     entered   -> storing   plugin, when it notes where it is about to store
     storing   -> done      plugin, after the last commit
     any       -> free      worker, after its database says the UID is done

   A message whose slot is not entered or storing, or whose nonce differs, has
   no power: that is what stops replays. The plugin holds an OFD lock
   (fcntl(2), F_OFD_SETLK) on the slot's bytes while it delivers, so that a
   second delivery of the same message waits for the ghost of the first. The
   kernel drops it with the process.

   Both sides run as the mail user. The file is only ever read with these
   functions, which trust nothing in it. */

#define INFLIGHT_SLOTS 128

enum inflight_state {
	INFLIGHT_FREE = 0,
	INFLIGHT_ENTERED = 1,
	INFLIGHT_STORING = 2,
	INFLIGHT_DONE = 3,
};

/* One place where the plugin stores the message (two with fileinto :copy). */
struct inflight_store {
	/* vname of the mailbox, UTF-8 */
	const char *mailbox;
	/* the GUID the message has or will have there: on Maildir the base of
	   the coming file name */
	const char *guid;
	/* bytes with CRLF line ends if a script changed the message, 0 = the
	   size it was sent with */
	uoff_t size;
};

struct inflight_slot {
	enum inflight_state state;
	/* names the message: hash of the remote folder's bytes
	   (inflight_folder_hash()), UIDVALIDITY, UID */
	uint64_t folder_hash;
	uint32_t uidvalidity, uid;
	uint64_t nonce;
	/* stores noted so far */
	const struct inflight_store *stores;
	unsigned int store_count;
	/* more stores than the slot could hold, or some could not be read */
	bool stores_incomplete;
	/* the first commit was about to begin: what was stored is among the
	   stores noted. While it is not set, nothing was committed, and what
	   is found nevertheless is debris. */
	bool committing;
};

struct inflight;

uint64_t inflight_folder_hash(const char *remote_folder);

/* Path of the in-flight file of a source: <state_dir>/<source_id>.inflight */
const char *inflight_path(const char *state_dir, const char *source_id);

/* Open the file. With create it is made (0600), its size set and synced, and
   the directory entry too (worker); without, a missing file is an error
   (plugin). Symlinks are not followed; a file that is not a regular file of
   ours, or of another version, is an error.

   Returns 0, or -1 and error_r. */
int inflight_open(const char *path, bool create, struct inflight **inflight_r,
		  const char **error_r);
void inflight_close(struct inflight **inflight);

/* Read one slot; strings from pool. Returns 0, or -1 and error_r if it cannot
   be read or makes no sense. */
int inflight_read(struct inflight *inflight, unsigned int slot, pool_t pool,
		  struct inflight_slot *slot_r, const char **error_r);

/* Worker: write an entered slot, keeping its stores if keep_stores is set (a
   retry of the same message). Not durable before inflight_sync(). */
int inflight_enter(struct inflight *inflight, unsigned int slot,
		   uint64_t folder_hash, uint32_t uidvalidity, uint32_t uid,
		   uint64_t nonce, bool keep_stores, const char **error_r);
/* Worker: mark a slot free. */
int inflight_free(struct inflight *inflight, unsigned int slot,
		  const char **error_r);
/* Worker: make everything written so far durable. */
int inflight_sync(struct inflight *inflight, const char **error_r);

/* Both: lock a slot without waiting (the worker before it enters a retry, so
   that it never writes under a ghost). Returns 1 = locked, 0 = somebody else
   is delivering it right now, -1 and error_r. */
int inflight_lock(struct inflight *inflight, unsigned int slot,
		  const char **error_r);
void inflight_unlock(struct inflight *inflight, unsigned int slot);
/* Plugin: note one store before its commit; the state becomes storing. */
int inflight_note_store(struct inflight *inflight, unsigned int slot,
			const struct inflight_store *store,
			const char **error_r);
/* Plugin: all stores are noted, and now they are committed. A store noted
   later takes it back. */
int inflight_note_commit(struct inflight *inflight, unsigned int slot,
			 const char **error_r);
/* Plugin: everything is committed. stores: where the message really is, NULL =
   everywhere it was noted. */
int inflight_done(struct inflight *inflight, unsigned int slot,
		  const struct inflight_store *stores, unsigned int count,
		  const char **error_r);

#endif
