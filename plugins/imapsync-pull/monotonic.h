#ifndef IMAPSYNC_MONOTONIC_H
#define IMAPSYNC_MONOTONIC_H

#include <time.h>

/* Milliseconds of a clock that nobody sets; what it counts from does not
   matter. */
static inline uint64_t monotonic_msecs(void)
{
	struct timespec ts;

	if (clock_gettime(CLOCK_MONOTONIC, &ts) < 0)
		i_fatal("clock_gettime(CLOCK_MONOTONIC) failed: %m");
	return (uint64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

#endif
