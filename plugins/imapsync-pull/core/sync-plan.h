#ifndef IMAPSYNC_SYNC_PLAN_H
#define IMAPSYNC_SYNC_PLAN_H

#include "mail-types.h"
#include "account.h"

/* What one pull of one folder should do, decided from values. Two questions:
   must the folder be visited at all, and what is to be done with a stretch of
   its messages. Pure. */

/* What the server says of a folder (RFC 3501, 6.3.10; RFC 7162, 3.1.2). */
struct sync_status {
	uint32_t uidvalidity;
	/* 0 = not said */
	uint32_t uidnext;
	uint32_t messages;
	/* 0 = not said, or NOMODSEQ */
	uint64_t highestmodseq;
};

#define SYNC_LIVE_UNKNOWN UINT32_MAX

/* What the last pull left; zeroed = never pulled. When a visit begins, the new
   uidvalidity, first_pull and live_from are stored with dirty set; the rest
   when it ended well. */
struct sync_state {
	uint32_t uidvalidity;
	/* every UID below is settled: done, skipped or gone */
	uint32_t uidnext;
	uint32_t messages;
	/* flags of settled messages are known up to here, 0 = not */
	uint64_t highestmodseq;
	/* when the folder was first pulled, 0 = never */
	time_t first_pull;
	/* messages received before this were left out, 0 = none were */
	time_t age_floor;
	/* UIDs from here on are new, below is history (UIDNEXT of the first
	   good connection). SYNC_LIVE_UNKNOWN if the server did not say it:
	   then all that the first visit found is history. */
	uint32_t live_from;
	/* max_size of the last pull, 0 = no limit */
	uoff_t max_size_bytes;
	/* the last pull of this folder did not end well */
	bool dirty;
};

/* What the account, the folder and the clock ask for. */
struct sync_policy {
	const struct account *account;
	bool inbox;
	/* Sent, Drafts, Junk, Trash: never meets Sieve */
	bool filed;
	/* look at everything, whatever the state says (--full) */
	bool full;
	time_t now;
};

enum sync_look {
	SYNC_LOOK_NOTHING,
	/* UIDs from list_from on */
	SYNC_LOOK_NEW,
	/* those, and flags changed since state.highestmodseq (RFC 7162) */
	SYNC_LOOK_CHANGED,
	/* every message */
	SYNC_LOOK_ALL,
};

struct sync_visit {
	enum sync_look look;
	/* the remote UIDVALIDITY changed: nothing known by UID counts, known
	   messages are recognised by content. A puller that resumes such a
	   visit sets it again: the state cannot tell any more. */
	bool uidvalidity_changed;
	uint32_t list_from;
	/* what the folder's state is to say when the visit is over */
	time_t first_pull, age_floor;
	uint32_t live_from;
};

/* Must the folder be visited, and how?

   condstore: the server can tell changed flags by MODSEQ.
   A lower highestmodseq than before, or none where there was one, counts as
   unknown (full flag comparison). A lower uidnext makes it SYNC_LOOK_ALL, and
   so does anything else that may concern old messages: a dirty state, a longer
   initial_age, a larger max_size, expunges in mirror mode.

   Returns 1 and visit_r, 0 if there is nothing to do (visit_r says
   SYNC_LOOK_NOTHING), -1 and error_r if status makes no sense (UIDVALIDITY
   0). */
int sync_plan_visit(const struct sync_policy *policy,
		    const struct sync_status *status, bool condstore,
		    const struct sync_state *state, struct sync_visit *visit_r,
		    const char **error_r);

/* One message as the server lists it. */
struct sync_message {
	uint32_t uid;
	/* without \Recent */
	enum mail_flags flags;
	/* sorted, NULL-terminated, never NULL */
	const char *const *keywords;
	/* INTERNALDATE; 0 = missing or senseless */
	time_t received_time;
	int received_tz_mins;
	uoff_t size;
	/* only flags were listed: received_time and size are unset, and the
	   message is never fetched because of this */
	bool flags_only;
};

enum sync_known_state {
	SYNC_KNOWN_DONE = 1,
	/* too large when it was seen */
	SYNC_KNOWN_TOO_LARGE = 2,
	/* accepted by a queue or a server without our plugin */
	SYNC_KNOWN_HANDED_OVER = 3,
	/* cannot be had: see quarantine reason */
	SYNC_KNOWN_QUARANTINED = 4,
	/* left out as history=skip, \Deleted, or seen (select=unseen). Flags
	   must be stored with it: one left out for \Deleted or seen is taken
	   up again when that flag is gone. */
	SYNC_KNOWN_SKIPPED = 5,
	/* refused, perhaps not for good: asked for in every look at it */
	SYNC_KNOWN_REFUSED = 6,
};

/* One message as the state knows it. */
struct sync_known {
	uint32_t uid;
	enum sync_known_state state;
	/* remote flags as last seen */
	enum mail_flags flags;
	const char *const *keywords;
	uoff_t size;
};

enum sync_step_kind {
	SYNC_STEP_FETCH,
	/* known from now on, not fetched; new state in skip_state */
	SYNC_STEP_SKIP,
	/* flags changed remotely: apply the difference */
	SYNC_STEP_FLAGS,
	/* gone from the remote (only with SYNC_LOOK_ALL) */
	SYNC_STEP_GONE,
};

enum sync_via {
	SYNC_VIA_DIRECT,
	SYNC_VIA_LMTP,
	/* by LMTP, with side effects silenced */
	SYNC_VIA_LMTP_NOFX,
};

struct sync_step {
	enum sync_step_kind kind;
	uint32_t uid;
	/* the message listed; NULL for GONE */
	const struct sync_message *message;
	/* FETCH */
	enum sync_via via;
	/* SKIP */
	enum sync_known_state skip_state;
	/* FLAGS: what the remote changed; \Deleted is never passed on */
	enum mail_flags add_flags, remove_flags;
	const char *const *add_keywords, *const *remove_keywords;
};

ARRAY_DEFINE_TYPE(sync_step, struct sync_step);

/* Plan one stretch of a folder.

   messages: what the server lists, UIDs rising, none twice
   known:    what the state knows of this UIDVALIDITY in the stretch, UIDs
	     rising
   covers:   messages are all there are in the stretch, so known ones that are
	     missing are gone
   Messages with \Deleted are not fetched. Messages older than the age floor
   are left out without a step (raising initial_age finds them again), but for
   those from visit.live_from on only since= counts: they were filed after the
   first pull, however old they are. The
   steps are appended to steps_r, UIDs rising; they refer to messages and pool.

   Ways: new INBOX mail by deliver, all other by history (by LMTP only with
   side effects silenced), filed folders directly. history=skip leaves out what
   is below visit.live_from, in every folder. After a UIDVALIDITY change
   everything goes directly, and what arrived since the first pull is not
   skipped: it may be new. With flags=none messages are to be stored without
   flags, which the puller sees to.

   Returns 0, or -1 and error_r if the list contradicts itself (UIDs not
   rising, UID 0). */
int sync_plan_stretch(pool_t pool, const struct sync_policy *policy,
		      const struct sync_visit *visit,
		      const struct sync_message *messages, unsigned int count,
		      const struct sync_known *known, unsigned int known_count,
		      bool covers, ARRAY_TYPE(sync_step) *steps_r,
		      const char **error_r);

/* May a mirror expunge gone of known messages? At most guard_percent, but
   always up to 10 messages unless all would go. */
bool sync_plan_guard_allows(unsigned int guard_percent, unsigned int gone,
			    unsigned int known);

/* GUID of a message: first 16 bytes, in hex, of SHA-256 over source id, remote
   folder bytes, UIDVALIDITY and UID. 32 digits, data stack. */
const char *sync_message_guid(const char *source_id, const char *remote_folder,
			      uint32_t uidvalidity, uint32_t uid);

#endif
