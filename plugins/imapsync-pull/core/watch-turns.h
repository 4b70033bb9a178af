#ifndef IMAPSYNC_WATCH_TURNS_H
#define IMAPSYNC_WATCH_TURNS_H

/* Who may log in now: so many at once in all, and so many at one host; the
   others wait, in the order they came. Hosts take turns, so that one with many
   accounts does not hold up the others; and a server that does not answer holds
   up its own accounts alone. Pure. */

struct watch_turns;
struct watch_turn;

struct watch_turns *
watch_turns_init(unsigned int max, unsigned int max_per_host);
/* All turns must have ended. */
void watch_turns_deinit(struct watch_turns **turns);

/* Wait for a turn at this host. */
struct watch_turn *
watch_turn_wait(struct watch_turns *turns, const char *host, void *context);
/* It has begun, and takes long: whoever waits for an answer makes no work. It
   keeps its place at its host, but no other host waits for it any longer: ask
   watch_turns_next() again. */
void watch_turn_slow(struct watch_turn *turn);
/* Over, whether it began or still waits: ask watch_turns_next() again. */
void watch_turn_end(struct watch_turn **turn);
/* The context of the next that may log in, whose turn begins, or NULL if none
   may for now. */
void *watch_turns_next(struct watch_turns *turns);

#endif
