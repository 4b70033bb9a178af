#ifndef IMAPSYNC_WATCH_DIGEST_H
#define IMAPSYNC_WATCH_DIGEST_H

/* The state of all folders of an account as two numbers: what LIST-STATUS
   answers, remembered for the price of nothing. Pure. Folders may come in any
   order. */

struct watch_digest {
	/* the folder that is heard by IDLE, and all the others */
	uint64_t heard, others;
};

/* Add one folder. name: as the server wrote it. numbers: what STATUS says of
   it, in an order that is always the same. heard: it is the one with IDLE. */
void watch_digest_add(struct watch_digest *digest, const char *name,
		      const uint64_t *numbers, unsigned int count, bool heard);
/* The hash of a name alone. */
uint64_t watch_digest_name(const char *name);
/* Is there news in now? The heard folder does not count if ignore_heard: its
   news was told already. */
bool watch_digest_differs(const struct watch_digest *old,
			  const struct watch_digest *now, bool ignore_heard);

#endif
