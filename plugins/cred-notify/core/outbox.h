#ifndef CRED_NOTIFY_OUTBOX_H
#define CRED_NOTIFY_OUTBOX_H

#include "array.h"
#include "journal-line.h"

/* What still has to be told to whom by which channel, and who heard of what.
   One item per incident: a newer notice takes the place of an older one, which
   nobody needs any more, but who was told of the incident is remembered, for
   only they are told of its end. Pure: time is an argument. */

struct outbox;

/* One recipient, one channel. */
struct outbox_row {
	/* of the recipient's rows that wait */
	struct outbox_row *prev, *next;
	struct outbox_item *item;
	/* "" = told once for all */
	const char *recipient;
	/* one of enum audience_channel */
	unsigned int channel;
	enum journal_result result;
	/* failed ones */
	unsigned int tries;
	/* waiting: not before that; else of the last change */
	time_t time;
	/* a channel has it */
	bool busy;
	/* before that: somebody finds out whether it may have it */
	bool asking;
	/* a channel had it when we died: it may have been told */
	bool doubtful;
};
ARRAY_DEFINE_TYPE(outbox_row, struct outbox_row *);

struct outbox_item {
	struct notice notice;
	/* who is told is known: rows are complete; or is being found out */
	bool planned, asking;
	/* not before that */
	time_t plan_time;
	/* enum audience_group; all of them before that is found out: rows that
	   a journal kept are of people who were meant */
	unsigned int groups;
	/* for good until the next notice of the incident: read only */
	ARRAY_TYPE(outbox_row) rows;

	/* the rest is the outbox's own */
	pool_t pool;
	char *key;
	/* recipients that earlier notices of the incident reached */
	ARRAY(char *) told;
};

struct outbox_limits {
	/* seconds before the second try; it doubles from try to try up to
	   max_retry_secs */
	unsigned int retry_secs, max_retry_secs;
	/* so old a notice is not tried any more by channels that fail; nor is
	   it kept for those who do not log in once the trouble is over */
	unsigned int give_up_secs;
};

struct outbox *outbox_init(const struct outbox_limits *limits);
void outbox_deinit(struct outbox **outbox);

/* Put in a copy of a notice, in place of the last one of its incident. One of
   kind FORGOTTEN only takes that away.
   Returns the item, or NULL if there is none now. */
struct outbox_item *
outbox_add(struct outbox *outbox, const struct notice *notice);
/* Returns NULL if it is not there. */
struct outbox_item *outbox_find(struct outbox *outbox, uint64_t incident);
/* Rows and item are gone. */
void outbox_remove(struct outbox *outbox, struct outbox_item **item);

/* Somebody is to be told, unless that is in there already. */
void outbox_row_add(struct outbox *outbox, struct outbox_item *item,
		    const char *recipient, unsigned int channel, time_t now);
/* It was acknowledged: nobody is to be told of it any more. */
void outbox_ack(struct outbox *outbox, struct outbox_item *item, time_t now);

/* A channel takes it. That is for the journal, too (outbox_row_entry()). */
void outbox_row_begin(struct outbox_row *row);
/* WAITING: it failed, and is tried again after retry_secs, if that is more
   than the limits say; or is FAILED if it is too old. */
void outbox_row_end(struct outbox *outbox, struct outbox_row *row,
		    enum journal_result result, unsigned int retry_secs,
		    time_t now);
/* Later, without that having been a try. */
void outbox_row_postpone(struct outbox_row *row, time_t time);
/* The same for a row known by name: it may be gone, with its notice, while a
   channel had it. That it was told is remembered nevertheless. Returns NULL
   then. */
struct outbox_row *
outbox_row_find(struct outbox *outbox, uint64_t incident, unsigned int said,
		const char *recipient, unsigned int channel);
void outbox_told(struct outbox *outbox, uint64_t incident,
		 const char *recipient);

/* A notice of the incident reached this user, or is about to. */
bool outbox_was_told(const struct outbox_item *item, const char *recipient);

/* Nothing of it needs anything any more: the trouble is over, and so is the
   telling. What nobody came for in time counts as that. */
bool outbox_item_is_done(const struct outbox *outbox,
			 const struct outbox_item *item, time_t now);

/* The recipient's first row that waits; go on with next. NULL = none. */
struct outbox_row *
outbox_recipient_rows(struct outbox *outbox, const char *recipient);

/* Append all rows that channels (enum audience_channel) could begin with. */
void outbox_due_rows(struct outbox *outbox, unsigned int channels, time_t now,
		     ARRAY_TYPE(outbox_row) *rows);

struct outbox_iter;
/* Every item. The one that was returned last may be removed meanwhile. */
struct outbox_iter *outbox_iter_init(struct outbox *outbox);
struct outbox_item *outbox_iter_next(struct outbox_iter *iter);
void outbox_iter_deinit(struct outbox_iter **iter);

/* Put back what a journal kept: NOTICE, SEEN and DONE; others are ignored. */
void outbox_restore(struct outbox *outbox, const struct journal_entry *entry);
/* Call add for all that restores the item. */
void outbox_item_save(const struct outbox_item *item,
		      void (*add)(const struct journal_entry *entry,
				  void *context), void *context);
void outbox_row_entry(const struct outbox_row *row,
		      struct journal_entry *entry_r);

struct outbox_counts {
	unsigned int notices, unplanned, waiting, busy, told, dropped, failed;
};
void outbox_count(struct outbox *outbox, struct outbox_counts *counts_r);

#endif
