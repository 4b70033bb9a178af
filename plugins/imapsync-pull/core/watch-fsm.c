/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "watch-fsm.h"

static const char *const mode_names[] = {
	[WATCH_MODE_IDLE] = "idle",
	[WATCH_MODE_NOTIFY] = "notify",
	[WATCH_MODE_POLL] = "poll",
};

const char *watch_mode_name(enum watch_mode mode)
{
	i_assert(mode < N_ELEMENTS(mode_names));

	return mode_names[mode];
}

bool watch_mode_parse(const char *name, enum watch_mode *mode_r)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(mode_names); i++) {
		if (strcmp(mode_names[i], name) == 0) {
			*mode_r = i;
			return TRUE;
		}
	}
	return FALSE;
}

static bool ways_are_left(const struct watch_ways *ways)
{
	return ways->notify || ways->idle || ways->poll;
}

bool watch_fsm_init(struct watch_fsm *fsm, const struct watch_ways *wanted,
		    const struct watch_ways *offered)
{
	i_zero(fsm);
	fsm->current = WATCH_ACTION_LISTEN;
	fsm->ways.notify = wanted->notify && offered->notify;
	fsm->ways.idle = wanted->idle && offered->idle;
	fsm->ways.poll = wanted->poll && offered->poll;
	fsm->can_list = offered->poll;
	return ways_are_left(&fsm->ways);
}

/* What is still to be said before there is silence. */
static enum watch_action fsm_speak(const struct watch_fsm *fsm)
{
	const struct watch_ways *ways = &fsm->ways;

	if (!ways_are_left(ways))
		return WATCH_ACTION_GIVE_UP;
	if (ways->notify) {
		/* it says what there is, and which of it counts */
		if (fsm->can_list && (!fsm->listed || fsm->poll_due))
			return WATCH_ACTION_LIST;
		if (!fsm->notifying)
			return WATCH_ACTION_NOTIFY;
		return fsm->renew_due ? WATCH_ACTION_NOOP :
			WATCH_ACTION_LISTEN;
	}
	/* a message that comes between the two is told twice, not missed */
	if (ways->idle && !fsm->examined)
		return WATCH_ACTION_EXAMINE;
	if (ways->poll && (!fsm->listed || fsm->poll_due))
		return WATCH_ACTION_LIST;
	if (ways->idle)
		return WATCH_ACTION_IDLE;
	return fsm->renew_due ? WATCH_ACTION_NOOP : WATCH_ACTION_LISTEN;
}

static void fsm_answered(struct watch_fsm *fsm)
{
	switch (fsm->current) {
	case WATCH_ACTION_NOTIFY:
		fsm->notifying = TRUE;
		break;
	case WATCH_ACTION_EXAMINE:
		fsm->examined = TRUE;
		break;
	case WATCH_ACTION_LIST:
		fsm->listed = TRUE;
		fsm->poll_due = FALSE;
		break;
	case WATCH_ACTION_IDLE:
		/* it ended by itself: asked again it would do so again */
		fsm->ways.idle = FALSE;
		break;
	default:
		break;
	}
	/* it has shown that it is there */
	fsm->renew_due = FALSE;
}

/* Begin anew with the others. */
static void fsm_lose_notify(struct watch_fsm *fsm)
{
	fsm->ways.notify = fsm->notifying = FALSE;
	fsm->listed = FALSE;
}

static void fsm_refused(struct watch_fsm *fsm)
{
	switch (fsm->current) {
	case WATCH_ACTION_NOTIFY:
		fsm_lose_notify(fsm);
		break;
	case WATCH_ACTION_EXAMINE:
	case WATCH_ACTION_IDLE:
	case WATCH_ACTION_DONE:
		fsm->ways.idle = FALSE;
		break;
	case WATCH_ACTION_LIST:
		fsm->can_list = fsm->ways.poll = FALSE;
		break;
	default:
		/* NOOP cannot be refused by anything that works */
		i_zero(&fsm->ways);
		break;
	}
}

static bool fsm_is_silent(const struct watch_fsm *fsm)
{
	return fsm->current == WATCH_ACTION_LISTEN;
}

/* Returns TRUE if it is the answer to what was under way. */
static bool fsm_take_input(struct watch_fsm *fsm, enum watch_input input)
{
	switch (input) {
	case WATCH_INPUT_START:
		return TRUE;
	case WATCH_INPUT_OK:
		fsm_answered(fsm);
		return TRUE;
	case WATCH_INPUT_REFUSED:
		fsm_refused(fsm);
		return TRUE;
	case WATCH_INPUT_POLL:
		fsm->poll_due = TRUE;
		break;
	case WATCH_INPUT_RENEW:
		fsm->renew_due = TRUE;
		break;
	case WATCH_INPUT_OVERFLOW:
		fsm_lose_notify(fsm);
		break;
	}
	return FALSE;
}

enum watch_action
watch_fsm_next(struct watch_fsm *fsm, enum watch_input input)
{
	bool answer = fsm_take_input(fsm, input);
	enum watch_action action;

	if (!answer && fsm->current == WATCH_ACTION_IDLE)
		action = WATCH_ACTION_DONE;
	else if (answer || fsm_is_silent(fsm))
		action = fsm_speak(fsm);
	else
		return WATCH_ACTION_NONE;
	fsm->current = action;
	return action;
}

static bool fsm_is_ready(const struct watch_fsm *fsm)
{
	const struct watch_ways *ways = &fsm->ways;

	if (!ways_are_left(ways))
		return FALSE;
	if (ways->notify)
		return fsm->notifying && (!fsm->can_list || fsm->listed);
	return (!ways->idle || fsm->examined) && (!ways->poll || fsm->listed);
}

bool watch_fsm_tell(struct watch_fsm *fsm, enum watch_mode *mode_r)
{
	if (!fsm_is_ready(fsm))
		return FALSE;
	*mode_r = fsm->ways.notify ? WATCH_MODE_NOTIFY :
		fsm->ways.poll ? WATCH_MODE_POLL : WATCH_MODE_IDLE;
	if (fsm->told && fsm->told_mode == *mode_r)
		return FALSE;
	fsm->told = TRUE;
	fsm->told_mode = *mode_r;
	return TRUE;
}
