#ifndef IMAPSYNC_WATCH_FSM_H
#define IMAPSYNC_WATCH_FSM_H

/* One connection that waits for news of one account: what to say to the server
   next. Pure: what happened goes in, what to do comes out.

   Three ways to hear of news, by what the server offers and the account wants:
     NOTIFY (RFC 5465): the server tells of all folders by itself. A LIST comes
     before, to know which of them count.
     IDLE (RFC 2177) on one folder.
     LIST-STATUS (RFC 5819) now and then, for all folders: each answer is made
     one number (watch-folders.h), and another number is news.
   The latter two together where NOTIFY is not offered. A way that the server
   refuses is not asked for again on this connection. */

enum watch_mode {
	/* one folder is heard, at once; of the others nothing is known */
	WATCH_MODE_IDLE,
	/* all folders are heard, at once */
	WATCH_MODE_NOTIFY,
	/* all folders are heard: one at once if the server has IDLE, the others
	   at the account's interval */
	WATCH_MODE_POLL,
};

/* "idle", "notify", "poll" */
const char *watch_mode_name(enum watch_mode mode);
/* Returns FALSE if name is none of them. */
bool watch_mode_parse(const char *name, enum watch_mode *mode_r);

/* ways: those the server offers, or those the account wants */
struct watch_ways {
	bool notify, idle, poll;
};

enum watch_input {
	/* logged in */
	WATCH_INPUT_START,
	/* the command that the last action sent was answered: OK; NO or BAD */
	WATCH_INPUT_OK,
	WATCH_INPUT_REFUSED,
	/* the interval is over, or folders come and go under NOTIFY */
	WATCH_INPUT_POLL,
	/* nothing was said for so long that it is time to see whether the
	   other end is there */
	WATCH_INPUT_RENEW,
	/* the server will tell no more by NOTIFY: NOTIFICATIONOVERFLOW */
	WATCH_INPUT_OVERFLOW,
};

enum watch_action {
	/* a command is under way: wait for its answer */
	WATCH_ACTION_NONE,
	/* nothing to say: listen, until POLL or RENEW */
	WATCH_ACTION_LISTEN,
	/* send a command; the next input is its answer, or LISTEN's for IDLE */
	WATCH_ACTION_NOTIFY,
	WATCH_ACTION_LIST,
	WATCH_ACTION_EXAMINE,
	WATCH_ACTION_IDLE,
	WATCH_ACTION_NOOP,
	/* end the IDLE; its answer follows */
	WATCH_ACTION_DONE,
	/* no way is left; what was refused last says why */
	WATCH_ACTION_GIVE_UP,
};

struct watch_fsm {
	/* what can be used, less what was refused */
	struct watch_ways ways;
	/* it has LIST-STATUS, wanted as a way or not */
	bool can_list;
	/* the command that is under way, or LISTEN; DONE after IDLE */
	enum watch_action current;
	/* NOTIFY was accepted, the folder was examined, there is a number to
	   compare the next with */
	bool notifying, examined, listed;
	/* came while a command was under way */
	bool poll_due, renew_due;
	/* the asker was told so */
	bool told;
	enum watch_mode told_mode;
};

/* Returns FALSE if nothing that is wanted is offered. NOTIFY is better than the
   others together. */
bool watch_fsm_init(struct watch_fsm *fsm, const struct watch_ways *wanted,
		    const struct watch_ways *offered);
enum watch_action
watch_fsm_next(struct watch_fsm *fsm, enum watch_input input);
/* TRUE if the asker is to be told now that everything is heard, as far as
   mode_r says: when all is ready for the first time, and again when a refusal
   changed the mode. Ask after each watch_fsm_next(). */
bool watch_fsm_tell(struct watch_fsm *fsm, enum watch_mode *mode_r);

#endif
