#ifndef IMAPSYNC_WATCH_PACE_H
#define IMAPSYNC_WATCH_PACE_H

/* How often an account's news may be told: each time it is, somebody logs in
   to the server. A few at once are told as they come; an account that goes on
   and on is told of now and then. Pure. Times are milliseconds of a clock that
   never goes back. */

/* so many may come at once ... */
#define WATCH_PACE_BURST 10
/* ... and then one in so long, which also is how fast the right to a burst
   comes back */
#define WATCH_PACE_MSECS 10000

/* zeroed: nothing was told yet */
struct watch_pace {
	/* when the whole burst is there again */
	uint64_t full_at;
};

/* How long to wait before the next is told, 0 = not at all. */
uint64_t watch_pace_wait(const struct watch_pace *pace, uint64_t now);
/* It is told now. */
void watch_pace_told(struct watch_pace *pace, uint64_t now);

#endif
