/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "array.h"
#include "hex-binary.h"
#include "sha2.h"
#include "sync-plan.h"

#define SYNC_GUID_SIZE 16
/* a mirror may always expunge this many, if something stays */
#define SYNC_GUARD_MIN_MESSAGES 10

/* \Deleted would make our side expunge, \Recent is no property of the
   message */
#define SYNC_FLAGS_PASSED \
	(MAIL_ANSWERED | MAIL_FLAGGED | MAIL_SEEN | MAIL_DRAFT)

/*
 * The folder
 */

static time_t
sync_age_floor(const struct account *account, time_t first_pull)
{
	time_t age_floor = 0;

	if (account->initial_age_secs != 0 &&
	    first_pull > (time_t)account->initial_age_secs)
		age_floor = first_pull - account->initial_age_secs;
	return I_MAX(age_floor, account->since);
}

/* Some server never say UIDNEXT. What the first visit found is settled by the
   second, so everything from there on came later. */
static uint32_t
sync_live_from(const struct sync_status *status,
	       const struct sync_state *state, bool known)
{
	if (known && state->live_from == SYNC_LIVE_UNKNOWN)
		return state->uidnext == 0 ? SYNC_LIVE_UNKNOWN : state->uidnext;
	if (known && state->live_from != 0)
		return state->live_from;
	return status->uidnext == 0 ? SYNC_LIVE_UNKNOWN : status->uidnext;
}

/* TRUE if messages that were left out before are wanted now. */
static bool
sync_wants_more(const struct account *account, const struct sync_state *state,
		time_t age_floor)
{
	if (age_floor < state->age_floor)
		return TRUE;
	return state->max_size_bytes != 0 &&
		(account->max_size_bytes == 0 ||
		 account->max_size_bytes > state->max_size_bytes);
}

/* Expunges show in the counts only: what arrived, less what is there more. */
static bool
sync_may_have_expunged(const struct sync_status *status,
		       const struct sync_state *state)
{
	uint64_t arrived = status->uidnext == 0 ? 0 :
		status->uidnext - state->uidnext;

	return status->messages != state->messages + arrived;
}

/* With select=unseen they say what is to be pulled. */
static bool sync_follows_flags(const struct account *account)
{
	return account->flags == ACCOUNT_FLAGS_FOLLOW || account->unseen_only;
}

static bool
sync_must_look_at_all(const struct sync_policy *policy,
		      const struct sync_status *status, bool condstore,
		      const struct sync_state *state, time_t age_floor)
{
	const struct account *account = policy->account;
	bool empty = status->messages == 0 && state->messages == 0;

	if (policy->full || state->dirty ||
	    sync_wants_more(account, state, age_floor))
		return TRUE;
	/* none of these are for a server that keeps its promises, but for what
	   a restore or another backend looks like */
	if (status->uidnext != 0 && status->uidnext < state->uidnext)
		return TRUE;
	if (status->uidnext == state->uidnext &&
	    status->messages > state->messages)
		return TRUE;
	if (account->expunge == ACCOUNT_EXPUNGE_MIRROR &&
	    sync_may_have_expunged(status, state))
		return TRUE;
	if (!sync_follows_flags(account) || empty)
		return FALSE;
	return !condstore || status->highestmodseq == 0 ||
		status->highestmodseq < state->highestmodseq ||
		state->highestmodseq == 0;
}

static enum sync_look
sync_look_get(const struct sync_policy *policy,
	      const struct sync_status *status, bool condstore,
	      const struct sync_state *state, time_t age_floor)
{
	if (sync_must_look_at_all(policy, status, condstore, state, age_floor))
		return SYNC_LOOK_ALL;
	if (sync_follows_flags(policy->account) &&
	    status->highestmodseq > state->highestmodseq)
		return SYNC_LOOK_CHANGED;
	if (status->uidnext == 0 ? status->messages > 0 :
	    status->uidnext > state->uidnext)
		return SYNC_LOOK_NEW;
	return SYNC_LOOK_NOTHING;
}

int sync_plan_visit(const struct sync_policy *policy,
		    const struct sync_status *status, bool condstore,
		    const struct sync_state *state, struct sync_visit *visit_r,
		    const char **error_r)
{
	bool known = state->uidvalidity == status->uidvalidity;

	i_zero(visit_r);
	if (status->uidvalidity == 0) {
		*error_r = "the server gives no UIDVALIDITY";
		return -1;
	}
	visit_r->uidvalidity_changed = state->uidvalidity != 0 && !known;
	visit_r->first_pull = state->first_pull != 0 ? state->first_pull :
		policy->now;
	visit_r->age_floor = sync_age_floor(policy->account,
					    visit_r->first_pull);
	visit_r->live_from = sync_live_from(status, state, known);
	visit_r->look = !known ? SYNC_LOOK_ALL :
		sync_look_get(policy, status, condstore, state,
			      visit_r->age_floor);
	visit_r->list_from = !known || visit_r->look == SYNC_LOOK_ALL ? 1 :
		I_MAX(state->uidnext, 1);
	return visit_r->look == SYNC_LOOK_NOTHING ? 0 : 1;
}

/*
 * The messages
 */

struct sync_stretch {
	pool_t pool;
	const struct sync_policy *policy;
	const struct sync_visit *visit;
	bool covers;
	ARRAY_TYPE(sync_step) *steps;
};

static struct sync_step *
sync_step_add(struct sync_stretch *stretch, enum sync_step_kind kind,
	      uint32_t uid, const struct sync_message *message)
{
	struct sync_step *step = array_append_space(stretch->steps);

	step->kind = kind;
	step->uid = uid;
	step->message = message;
	return step;
}

static void
sync_step_add_skip(struct sync_stretch *stretch,
		   const struct sync_message *message,
		   enum sync_known_state skip_state)
{
	sync_step_add(stretch, SYNC_STEP_SKIP, message->uid,
		      message)->skip_state = skip_state;
}

static bool
sync_is_history(const struct sync_stretch *stretch,
		const struct sync_message *message)
{
	return message->uid < stretch->visit->live_from;
}

/* After a UIDVALIDITY change UIDs do not tell what was there from the
   beginning. What came after the first pull may not have been seen yet. */
static bool
sync_is_skipped(const struct sync_stretch *stretch,
		const struct sync_message *message)
{
	if (stretch->policy->account->history != ACCOUNT_DELIVER_SKIP)
		return FALSE;
	if (stretch->visit->uidvalidity_changed)
		return message->received_time != 0 &&
			message->received_time < stretch->visit->first_pull;
	return sync_is_history(stretch, message);
}

/* initial_age limits the first pull: an old message that was filed here since
   is wanted, unless since= says otherwise. A message without a date is kept. */
static bool
sync_is_too_old(const struct sync_stretch *stretch,
		const struct sync_message *message)
{
	time_t floor = stretch->visit->age_floor;

	if (message->received_time == 0)
		return FALSE;
	if (!stretch->visit->uidvalidity_changed &&
	    !sync_is_history(stretch, message))
		floor = stretch->policy->account->since;
	return message->received_time < floor;
}

static enum sync_via
sync_via_get(const struct sync_stretch *stretch,
	     const struct sync_message *message)
{
	const struct account *account = stretch->policy->account;

	if (stretch->policy->filed || stretch->visit->uidvalidity_changed)
		return SYNC_VIA_DIRECT;
	if (stretch->policy->inbox && !sync_is_history(stretch, message))
		return account->deliver == ACCOUNT_DELIVER_LMTP ?
			SYNC_VIA_LMTP : SYNC_VIA_DIRECT;
	return account->history == ACCOUNT_DELIVER_LMTP ?
		SYNC_VIA_LMTP_NOFX : SYNC_VIA_DIRECT;
}

static bool
sync_is_too_large(const struct sync_stretch *stretch,
		  const struct sync_message *message)
{
	uoff_t max = stretch->policy->account->max_size_bytes;

	return max != 0 && message->size > max;
}

/* Left out because of its flags: it may come back. */
static bool
sync_is_unwanted(const struct sync_stretch *stretch, enum mail_flags flags)
{
	return (flags & MAIL_DELETED) != 0 ||
		(stretch->policy->account->unseen_only &&
		 (flags & MAIL_SEEN) != 0);
}

static void
sync_plan_unknown(struct sync_stretch *stretch,
		  const struct sync_message *message)
{
	if (message->flags_only || sync_is_too_old(stretch, message))
		return;
	if (sync_is_unwanted(stretch, message->flags) ||
	    sync_is_skipped(stretch, message))
		sync_step_add_skip(stretch, message, SYNC_KNOWN_SKIPPED);
	else if (sync_is_too_large(stretch, message))
		sync_step_add_skip(stretch, message, SYNC_KNOWN_TOO_LARGE);
	else {
		sync_step_add(stretch, SYNC_STEP_FETCH, message->uid,
			      message)->via = sync_via_get(stretch, message);
	}
}

/* Keywords are compared without case (RFC 3501, 2.3.2 and 9: flag-keyword is
   an atom, and servers differ in whether they keep its case). */
static const char *const *
sync_keywords_without(pool_t pool, const char *const *keywords,
		      const char *const *others)
{
	ARRAY(const char *) result;

	p_array_init(&result, pool, 4);
	for (; *keywords != NULL; keywords++) {
		if (!str_array_icase_find(others, *keywords))
			array_push_back(&result, keywords);
	}
	array_append_zero(&result);
	return array_idx(&result, 0);
}

static bool
sync_keywords_equal(const char *const *a, const char *const *b)
{
	for (; *a != NULL && *b != NULL; a++, b++) {
		if (strcasecmp(*a, *b) != 0)
			return FALSE;
	}
	return *a == NULL && *b == NULL;
}

static void
sync_plan_flags(struct sync_stretch *stretch,
		const struct sync_message *message,
		const struct sync_known *known)
{
	struct sync_step step = {
		.kind = SYNC_STEP_FLAGS,
		.uid = message->uid,
		.message = message,
		.add_flags = message->flags & ~known->flags &
			SYNC_FLAGS_PASSED,
		.remove_flags = known->flags & ~message->flags &
			SYNC_FLAGS_PASSED,
	};
	bool same_keywords = sync_keywords_equal(message->keywords,
						 known->keywords);

	if (stretch->policy->account->flags != ACCOUNT_FLAGS_FOLLOW)
		return;
	if (step.add_flags == 0 && step.remove_flags == 0 && same_keywords)
		return;
	step.add_keywords = sync_keywords_without(stretch->pool,
						  message->keywords,
						  known->keywords);
	step.remove_keywords = sync_keywords_without(stretch->pool,
						     known->keywords,
						     message->keywords);
	/* the same ones in another order */
	if (step.add_flags == 0 && step.remove_flags == 0 &&
	    *step.add_keywords == NULL && *step.remove_keywords == NULL)
		return;
	array_push_back(stretch->steps, &step);
}

static void
sync_plan_known(struct sync_stretch *stretch,
		const struct sync_message *message,
		const struct sync_known *known)
{
	bool again = FALSE;

	switch (known->state) {
	case SYNC_KNOWN_DONE:
		sync_plan_flags(stretch, message, known);
		break;
	case SYNC_KNOWN_TOO_LARGE:
		again = !sync_is_too_large(stretch, message);
		break;
	case SYNC_KNOWN_HANDED_OVER:
		break;
	case SYNC_KNOWN_QUARANTINED:
		again = stretch->policy->full;
		break;
	case SYNC_KNOWN_REFUSED:
		again = TRUE;
		break;
	case SYNC_KNOWN_SKIPPED:
		again = sync_is_unwanted(stretch, known->flags) &&
			!sync_is_unwanted(stretch, message->flags);
		break;
	}
	if (again)
		sync_plan_unknown(stretch, message);
}

static void
sync_plan_missing(struct sync_stretch *stretch, const struct sync_known *known)
{
	if (stretch->covers &&
	    stretch->policy->account->expunge == ACCOUNT_EXPUNGE_MIRROR)
		sync_step_add(stretch, SYNC_STEP_GONE, known->uid, NULL);
}

static int
sync_messages_check(const struct sync_message *messages, unsigned int count,
		    const char **error_r)
{
	uint32_t last_uid = 0;
	unsigned int i;

	for (i = 0; i < count; i++) {
		if (messages[i].uid <= last_uid) {
			*error_r = t_strdup_printf("UID %u after UID %u",
						   messages[i].uid, last_uid);
			return -1;
		}
		last_uid = messages[i].uid;
	}
	return 0;
}

int sync_plan_stretch(pool_t pool, const struct sync_policy *policy,
		      const struct sync_visit *visit,
		      const struct sync_message *messages, unsigned int count,
		      const struct sync_known *known, unsigned int known_count,
		      bool covers, ARRAY_TYPE(sync_step) *steps_r,
		      const char **error_r)
{
	struct sync_stretch stretch = {
		.pool = pool,
		.policy = policy,
		.visit = visit,
		.covers = covers,
		.steps = steps_r,
	};
	unsigned int i = 0, k = 0;

	if (sync_messages_check(messages, count, error_r) < 0)
		return -1;
	while (i < count || k < known_count) {
		if (i == count ||
		    (k < known_count && known[k].uid < messages[i].uid))
			sync_plan_missing(&stretch, &known[k++]);
		else if (k == known_count || messages[i].uid < known[k].uid)
			sync_plan_unknown(&stretch, &messages[i++]);
		else
			sync_plan_known(&stretch, &messages[i++], &known[k++]);
	}
	return 0;
}

bool sync_plan_guard_allows(unsigned int guard_percent, unsigned int gone,
			    unsigned int known)
{
	if (gone == 0)
		return TRUE;
	if (gone <= SYNC_GUARD_MIN_MESSAGES && gone < known)
		return TRUE;
	return (uint64_t)gone * 100 <= (uint64_t)known * guard_percent;
}

static void sync_put_uint32(unsigned char dest[4], uint32_t num)
{
	dest[0] = num >> 24;
	dest[1] = num >> 16;
	dest[2] = num >> 8;
	dest[3] = num;
}

const char *sync_message_guid(const char *source_id, const char *remote_folder,
			      uint32_t uidvalidity, uint32_t uid)
{
	unsigned char numbers[8], digest[SHA256_RESULTLEN];
	struct sha256_ctx ctx;

	/* with their NULs, so that no two sets of parts make the same bytes */
	sync_put_uint32(numbers, uidvalidity);
	sync_put_uint32(numbers + 4, uid);
	sha256_init(&ctx);
	sha256_loop(&ctx, source_id, strlen(source_id) + 1);
	sha256_loop(&ctx, remote_folder, strlen(remote_folder) + 1);
	sha256_loop(&ctx, numbers, sizeof(numbers));
	sha256_result(&ctx, digest);
	return binary_to_hex(digest, SYNC_GUID_SIZE);
}
