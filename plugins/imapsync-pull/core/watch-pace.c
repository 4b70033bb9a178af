/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "watch-pace.h"

/* what may be owed at most when one more is told */
#define PACE_CREDIT_MSECS ((uint64_t)(WATCH_PACE_BURST - 1) * WATCH_PACE_MSECS)

uint64_t watch_pace_wait(const struct watch_pace *pace, uint64_t now)
{
	if (pace->full_at <= now + PACE_CREDIT_MSECS)
		return 0;
	return pace->full_at - now - PACE_CREDIT_MSECS;
}

void watch_pace_told(struct watch_pace *pace, uint64_t now)
{
	pace->full_at = I_MAX(pace->full_at, now) + WATCH_PACE_MSECS;
}
