/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "back-off.h"

/* chance takes or adds 1/this at most */
#define BACK_OFF_JITTER_PART 10

/* seconds, ended by 0 */
static const unsigned int quick_steps[] = { 15, 30, 60, 120, 300, 900, 0 };
static const unsigned int tls_steps[] = {
	15, 30, 60, 120, 300, 900, 3600, 0
};
static const unsigned int throttled_steps[] = {
	120, 240, 480, 960, 1920, 3600, 0
};
static const unsigned int refused_steps[] = {
	300, 900, 3600, 3 * 3600, 6 * 3600, 0
};
static const unsigned int local_steps[] = { 60, 120, 240, 480, 960, 1800, 0 };
static const unsigned int settings_steps[] = { 3600, 0 };
static const unsigned int busy_steps[] = { 10, 20, 40, 60, 0 };

/* NULL = no failure of the account */
static const unsigned int *const class_steps[REPLY_CLASS_COUNT] = {
	[REPLY_CLASS_CREDENTIAL] = refused_steps,
	[REPLY_CLASS_USER_ACTION] = refused_steps,
	[REPLY_CLASS_TOKEN] = refused_steps,
	[REPLY_CLASS_THROTTLED] = throttled_steps,
	[REPLY_CLASS_SERVER] = quick_steps,
	[REPLY_CLASS_NETWORK] = quick_steps,
	[REPLY_CLASS_DNS] = quick_steps,
	[REPLY_CLASS_TLS] = tls_steps,
	[REPLY_CLASS_PROTOCOL] = quick_steps,
	[REPLY_CLASS_POLICY] = settings_steps,
	[REPLY_CLASS_LOCAL] = local_steps,
	[REPLY_CLASS_QUOTA] = local_steps,
	[REPLY_CLASS_CONFIG] = settings_steps,
	[REPLY_CLASS_BUSY] = busy_steps,
};

/* Returns at most a BACK_OFF_JITTER_PART of msecs, by chance. */
static uint64_t back_off_jitter(uint64_t msecs, uint32_t chance)
{
	return (msecs / BACK_OFF_JITTER_PART * (chance >> 16)) >> 16;
}

/* The count-th of the steps, and the last one from then on. */
static uint64_t
back_off_step(const unsigned int *steps, unsigned int count,
	      uint64_t interval_msecs)
{
	unsigned int i = 0;

	while (i + 1 < count && steps[i + 1] != 0)
		i++;
	if (steps[i + 1] != 0)
		return steps[i] * 1000ULL;
	return I_MAX(steps[i] * 1000ULL, interval_msecs);
}

/* Take up how a run ended. */
static void back_off_count(struct back_off *state, enum reply_class class)
{
	const unsigned int *steps = class_steps[class];

	if (class == REPLY_CLASS_STOPPED)
		return;
	if (steps == NULL)
		i_zero(state);
	else if (steps != class_steps[state->class])
		state->failures = 1;
	else if (state->failures < UINT_MAX)
		state->failures++;
	if (steps == refused_steps && state->refusals < UINT_MAX)
		state->refusals++;
	state->class = class;
}

static uint64_t
back_off_wait(const struct back_off *state, uint64_t interval_msecs)
{
	const unsigned int *steps = class_steps[state->class];

	if (steps == NULL)
		return interval_msecs;
	return back_off_step(steps, steps == refused_steps ? state->refusals :
			     state->failures, interval_msecs);
}

uint64_t back_off_next(struct back_off *state, enum reply_class class,
		       unsigned int wait_secs, uint64_t interval_msecs,
		       uint32_t chance)
{
	uint64_t wait, asked;

	i_assert(class < REPLY_CLASS_COUNT);

	back_off_count(state, class);
	wait = back_off_wait(state, interval_msecs);
	if (wait == 0)
		return UINT64_MAX;
	wait -= back_off_jitter(wait, chance);
	if (!back_off_is_on(state))
		return wait;
	asked = I_MIN(wait_secs, BACK_OFF_MAX_ASKED_SECS) * 1000ULL;
	asked += back_off_jitter(asked, chance);
	return I_MAX(wait, asked);
}

bool back_off_is_on(const struct back_off *state)
{
	return class_steps[state->class] != NULL;
}
