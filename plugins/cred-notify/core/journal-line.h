#ifndef CRED_NOTIFY_JOURNAL_LINE_H
#define CRED_NOTIFY_JOURNAL_LINE_H

#include "notice.h"

/* One line of the journal: a word, values, and a CRC-32 of what is before it,
   all str_tabescape()d and parted by TABs. Pure. */

#define JOURNAL_LINE_VERSION 1
/* with its LF; a longer one is corrupt */
#define JOURNAL_LINE_MAX 8192
/* bytes of a producer's name, and of its start; longer ones are not kept */
#define JOURNAL_MAX_PRODUCER 128

enum journal_kind {
	/* what is known of a subject, in place of what was */
	JOURNAL_KIND_STATE,
	/* the subject is quiet */
	JOURNAL_KIND_QUIET,
	/* a notice that has to be told */
	JOURNAL_KIND_NOTICE,
	/* how far a channel got with a notice and a recipient */
	JOURNAL_KIND_SEEN,
	/* the notice needs nothing more */
	JOURNAL_KIND_DONE,
	/* how far a producer was heard */
	JOURNAL_KIND_PRODUCER,

	JOURNAL_KIND_COUNT
};

enum journal_result {
	JOURNAL_RESULT_WAITING,
	JOURNAL_RESULT_TOLD,
	/* not wanted any more: acknowledged, revoked, resolved */
	JOURNAL_RESULT_DROPPED,
	JOURNAL_RESULT_FAILED,
	/* a channel has it: what became of it nobody knows, if nothing
	   follows */
	JOURNAL_RESULT_SENDING,

	JOURNAL_RESULT_COUNT
};

/* NOTICE, SEEN and DONE name a notice by incident and said. */
struct journal_seen {
	uint64_t incident;
	unsigned int said;
	/* user name, or "" for what is told once for all */
	const char *recipient;
	/* one of enum audience_channel */
	unsigned int channel;
	enum journal_result result;
	unsigned int tries;
	/* of the last try, or of the next */
	time_t time;
};

struct journal_producer {
	const char *name, *start;
	/* of its last record that was taken up */
	uint64_t last_id;
};

struct journal_entry {
	enum journal_kind kind;
	/* STATE: notice.state. QUIET: notice.state.subject.
	   NOTICE: all of it. */
	struct notice notice;
	/* SEEN: all of it. DONE: incident and said. */
	struct journal_seen seen;
	/* PRODUCER */
	struct journal_producer producer;
};

/* Append the line with its LF to str. */
void journal_line_print(string_t *str, const struct journal_entry *entry);

/* line is without LF. Strings in entry_r live in pool; what its kind does not
   use is zero, and strings are never NULL. Returns -1 and error_r if the line
   is broken, a constant that never quotes it. */
int journal_line_parse(pool_t pool, const char *line,
		       struct journal_entry *entry_r, const char **error_r);

#endif
