#ifndef IMAPSYNC_REPORT_H
#define IMAPSYNC_REPORT_H

#include "reply-class.h"

/* What the cred-notify service is told of accounts that fail and of those that
   work again, over the unix socket REPORT_SOCKET in base_dir: its protocol for
   producers, of which this side writes these lines

     VERSION TAB cred-notify-producer TAB 1 TAB 0
     producer       name start
     account-fail   id time account class since [owner label hint]
     account-clear  id time account [owner label gone]

   and reads "ack id": everything up to this id lies on its disk. Fields are
   key=value, str_tabescape()d. Ids rise by one from 1 for each start. Pure. */

#define REPORT_SOCKET "cred-notify-producer"
#define REPORT_PROTOCOL_NAME "cred-notify-producer"
#define REPORT_PROTOCOL_MAJOR 1
#define REPORT_PROTOCOL_MINOR 0
/* longest line, with its LF, whatever is escaped in it */
#define REPORT_MAX_LINE 4000

/* Each failed run is told, since only repetition over time makes a notice of
   it. While nobody listens so many of an account are kept: the first, for since
   when it is so, and the last. */
#define REPORT_MAX_WAITING 8
/* on their way at once */
#define REPORT_WINDOW 64

enum report_kind {
	/* the last run failed */
	REPORT_FAIL,
	/* it did not, but one before it had */
	REPORT_CLEAR,
	/* there is no such account any more, it rests, or it is somebody
	   else's: forget it, and tell nobody */
	REPORT_GONE,
};

struct report {
	enum report_kind kind;
	/* seconds; since: the first failure after the last success */
	uint64_t time, since;
	/* user/name */
	const char *account;
	/* who is told about it, or NULL = nobody in particular */
	const char *owner;
	/* what the owner calls it */
	const char *label;
	/* reply_class_name() and reply_hint_name(); NULL unless it is a FAIL,
	   hint also if there is none */
	const char *class, *hint;
};

/* What the end of a run says of the account. Returns FALSE if nothing: it was
   stopped, or another one holds the account. kind_r is FAIL or CLEAR. */
bool report_judge(enum reply_class class, enum report_kind *kind_r);

/* The first lines of a connection. start: 16 hex digits. */
void report_write_hello(string_t *dest, const char *start);
/* Append a report as a line with its LF. What is too long of owner or label is
   left out or cut. Returns FALSE if the account's name does not fit. */
bool report_write(string_t *dest, const struct report *report, uint64_t id);

/* A line of cred-notify without its LF. Returns 1 and id_r if it is an ack, 0
   if there is nothing to do about it, -1 if it does not speak this protocol. */
int report_parse(const char *line, uint64_t *id_r);

/* Reports on their way. Outside they are known by numbers that rise, with
   gaps, and outlive the process: seq. */
struct report_window {
	/* in a ring, the oldest at first */
	uint64_t seqs[REPORT_WINDOW];
	unsigned int first, count;
	/* id of the oldest */
	uint64_t first_id;
	/* how many of them were sent on this connection, and on any */
	unsigned int sent, ever_sent;
	/* above the highest seq ever added */
	uint64_t next_seq;
};

void report_window_init(struct report_window *window);
bool report_window_is_full(const struct report_window *window);
/* Take one in, to be sent. */
void report_window_add(struct report_window *window, uint64_t seq);
/* What is to be sent now. Returns FALSE if all of it was. */
bool report_window_next(const struct report_window *window, uint64_t *seq_r,
			uint64_t *id_r);
/* It was. */
void report_window_sent(struct report_window *window);
/* Another connection: send all again. */
void report_window_rewind(struct report_window *window);
/* Returns 1 and the highest seq that is done with, 0 if it says nothing new,
   -1 if that was never sent. */
int report_window_ack(struct report_window *window, uint64_t id,
		      uint64_t *seq_r);

#endif
