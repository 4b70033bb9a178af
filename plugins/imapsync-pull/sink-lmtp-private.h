#ifndef IMAPSYNC_SINK_LMTP_PRIVATE_H
#define IMAPSYNC_SINK_LMTP_PRIVATE_H

#include "inflight.h"
#include "core/lmtp-verdict.h"
#include "sink.h"

/* sink-lmtp.c knows what is to become of a message, sink-lmtp-conn.c how to
   say it to an LMTP server. */

struct smtp_address;
struct smtp_client;
struct smtp_reply;

/* messages on their way per connection: enough that the server never waits
   for us, few enough that little is in doubt when a connection is lost */
#define LMTP_PIPELINE 4

enum lmtp_item_state {
	/* needs a slot, or a look at the one it has */
	LMTP_ITEM_WAITING,
	/* its slot is entered, durably */
	LMTP_ITEM_READY,
	LMTP_ITEM_SENT,
	/* item->answer says what the server said */
	LMTP_ITEM_ANSWERED,
	/* will be WAITING or READY again when its timeout comes */
	LMTP_ITEM_DELAYED,
};

struct lmtp_item {
	struct lmtp_item *prev, *next;
	struct sink_lmtp *lmtp;
	struct sink_message *message;
	enum lmtp_item_state state;

	/* INFLIGHT_SLOTS = none yet */
	unsigned int slot;
	uint64_t nonce;
	/* may have been stored: have it looked for */
	bool retry;

	struct timeout *to_delay;
	enum lmtp_item_state state_after_delay;
	/* looks at a ghost */
	unsigned int looks;

	/* where it was sent, and when compared to others */
	struct lmtp_conn *conn;
	unsigned int sent_seq;
	struct lmtp_answer answer;
	/* to a transaction that was sent as one command */
	unsigned int replies;
	bool answered;
	/* it may be the reason why its connection was lost */
	bool suspect;
};

struct lmtp_conn {
	struct sink_lmtp *lmtp;
	/* NULL = not open */
	struct smtp_client_connection *conn;
	/* logged in, and the server can do CHUNKING */
	bool ready, chunking;
	/* whole transactions can be sent without waiting: also PIPELINING, and
	   over a unix socket */
	bool at_once;
	/* items SENT over it, and their messages' bytes */
	unsigned int sent;
	uoff_t sent_bytes;
	/* one of them must not be followed by others */
	bool alone;
	/* to be closed; why: by us, to get into step again, or the server
	   could not be reached (what it said) */
	bool dead, dropped;
	char *refused;
};

struct lmtp_slot {
	bool used;
	uint64_t folder_hash;
	uint32_t uidvalidity, uid;
};

struct sink_lmtp {
	struct sink sink;
	struct sink_lmtp_settings set;
	pool_t pool;
	struct event *event;

	struct smtp_client *client;
	const struct smtp_address *rcpt;
	struct lmtp_conn *conns;
	unsigned int sent_seq;

	/* in the order they were put */
	struct lmtp_item *items_head, *items_tail;
	struct lmtp_slot slots[INFLIGHT_SLOTS];

	/* it had no room, and not half of the messages were answered since */
	bool full;

	struct timeout *to_pump;
	/* connections that were lost or refused since the last good answer */
	unsigned int losses;
	bool holding;
	/* a message went all the way, so the plugin is there */
	bool proven;
	bool closing;
	/* class OK = not stopped */
	enum reply_class stop_class;
	char *stop_text;
};

/* Call lmtp_pump() soon. */
void lmtp_pump_later(struct sink_lmtp *lmtp);

/*
 * sink-lmtp-conn.c
 */

void lmtp_conns_init(struct sink_lmtp *lmtp);
/* Messages sent and not answered are answered as lost. */
void lmtp_conns_deinit(struct sink_lmtp *lmtp);
/* Close what is dead. Not within a callback of lib-smtp. */
void lmtp_conns_reap(struct sink_lmtp *lmtp);

/* See to it that there are connections enough for so many messages. */
void lmtp_conns_open(struct sink_lmtp *lmtp, unsigned int messages);
/* Send a READY item if a connection has room; it becomes ANSWERED then, and
   lmtp_pump_later() is called. Returns 1 if sent, 0 if there is no room yet, -1
   and error_r: its header cannot be written. */
int lmtp_conn_send(struct lmtp_item *item, const char **error_r);

/*
 * sink-lmtp.c
 */

/* A dead connection was closed; who was sent over it is ANSWERED as lost. */
void lmtp_conn_closed(struct lmtp_conn *conn);

#endif
