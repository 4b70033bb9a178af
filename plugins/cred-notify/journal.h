#ifndef CRED_NOTIFY_JOURNAL_H
#define CRED_NOTIFY_JOURNAL_H

#include "core/journal-line.h"

struct journal;
struct journal_compact;

/* What the service knows, on disk: lines are only ever appended, and now and
   then written anew to another file that takes the old one's place. One
   process at a time has it open. */

/* What was found when it was opened. */
struct journal_report {
	/* lines that were good */
	uint64_t entries;
	/* at the end, and cut off: a crash while writing */
	uoff_t torn_bytes;
	/* lines in the middle that were passed over: a disk's or a person's
	   doing. They are gone after the next compaction. */
	uint64_t corrupt_lines;
	/* where the first of them began, and what was wrong with it: a
	   constant, never NULL */
	uoff_t corrupt_offset;
	const char *corrupt_error;
	/* there was none */
	bool created;
};

/* entry is valid for this call. */
typedef void journal_replay_t(const struct journal_entry *entry,
			      void *context);

/* Open or create path, an absolute one, and call replay for each good line, in
   the order of writing.
   wait_msecs: so long another process that has it may take to let go of it; we
   sleep meanwhile.
   Returns -1 and error_r if the file cannot be used, belongs to a later
   version, or is another process's; it is left as it was then. */
int journal_open(const char *path, unsigned int wait_msecs,
		 journal_replay_t *replay, void *context,
		 struct journal **journal_r, struct journal_report *report_r,
		 const char **error_r);
/* What was not synced is written, and may be lost in a crash. */
void journal_close(struct journal **journal);

/* A random number that names this journal, and outlives compaction. */
uint64_t journal_id(const struct journal *journal);

/* Put an entry behind the others, in memory or in the file: it is safe only
   after journal_sync(). Returns -1 and error_r if the file cannot be written;
   then nothing more can be, until a compaction succeeds. */
int journal_append(struct journal *journal, const struct journal_entry *entry,
		   const char **error_r);
/* All that was appended survives a power cut from here on. What one turn of
   the service appends is synced at once. No work if nothing was appended. */
int journal_sync(struct journal *journal, const char **error_r);

/* More than half of it is history, or it cannot be written any more. */
bool journal_wants_compaction(const struct journal *journal);

/* Write everything that is to be known to a new file. The old one is in use,
   and may be appended to, until commit; what is appended meanwhile is lost
   with it. Returns -1 and error_r if it cannot be created. */
int journal_compact_begin(struct journal *journal,
			  struct journal_compact **compact_r,
			  const char **error_r);
void journal_compact_add(struct journal_compact *compact,
			 const struct journal_entry *entry);
/* Returns -1 and error_r if anything went wrong since begin: the old file is
   still in use then. If only the directory could not be synced, the new file
   is in use, though -1 is returned. compact is freed in any case. */
int journal_compact_commit(struct journal_compact **compact,
			   const char **error_r);
void journal_compact_rollback(struct journal_compact **compact);

#endif
