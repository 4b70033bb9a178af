/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "channel-verdict.h"

enum channel_result
channel_verdict_smtp(enum channel_smtp_step step, unsigned int status)
{
	if (status / 100 == 2)
		return CHANNEL_TOLD;
	if (status / 100 == 5 && step != CHANNEL_SMTP_OPEN)
		return CHANNEL_FAILED;
	return CHANNEL_LATER;
}

enum channel_result channel_verdict_http(unsigned int status)
{
	if (status / 100 == 2)
		return CHANNEL_TOLD;
	/* Request Timeout and Too Many Requests (RFC 6585) */
	if (status / 100 == 4 && status != 408 && status != 429)
		return CHANNEL_FAILED;
	return CHANNEL_LATER;
}

enum channel_result
channel_verdict_merge(enum channel_result one, enum channel_result other)
{
	return I_MIN(one, other);
}
