/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "array.h"
#include "core/sync-plan.h"

#include <check.h>
#include <stdlib.h>

#define DAY (24 * 3600)
#define NOW 1700000000

static pool_t pool;
static const char *const none[] = { NULL };
static const char *const kw_a[] = { "a", NULL };
static const char *const kw_ab[] = { "A", "b", NULL };
static const char *const kw_ba[] = { "b", "a", NULL };

static struct account account;
static struct sync_policy policy;

/* An account with nothing special: INBOX by LMTP, the rest directly. */
static void setup(void)
{
	pool = pool_allocfree_create("test sync plan");
	i_zero(&account);
	account.flags = ACCOUNT_FLAGS_FOLLOW;
	account.deliver = ACCOUNT_DELIVER_LMTP;
	account.history = ACCOUNT_DELIVER_DIRECT;
	account.max_size_bytes = 1000;
	i_zero(&policy);
	policy.account = &account;
	policy.inbox = TRUE;
	policy.now = NOW;
}

static void teardown(void)
{
	pool_unref(&pool);
}

/*
 * The visit
 */

/* as the last pull left it: UIDs up to 10, 8 of them there */
static const struct sync_state settled = {
	.uidvalidity = 5, .uidnext = 11, .messages = 8, .highestmodseq = 100,
	.first_pull = NOW - DAY, .live_from = 7, .max_size_bytes = 1000,
};
static const struct sync_status unchanged = {
	.uidvalidity = 5, .uidnext = 11, .messages = 8, .highestmodseq = 100,
};

#define FOLLOW .flags = ACCOUNT_FLAGS_FOLLOW

static const struct visit_case {
	const char *what;
	struct sync_status status;
	enum sync_look look;
	bool no_condstore;
	enum account_flags_mode flags;
	enum account_expunge expunge;
	bool unseen_only;
} visits[] = {
	{ "unchanged", { 5, 11, 8, 100 }, SYNC_LOOK_NOTHING, FOLLOW },
	{ "new mail", { 5, 12, 9, 101 }, SYNC_LOOK_CHANGED, FOLLOW },
	{ "new mail, old modseq", { 5, 12, 9, 100 }, SYNC_LOOK_NEW,
	  FOLLOW },
	{ "flags", { 5, 11, 8, 101 }, SYNC_LOOK_CHANGED, FOLLOW },
	{ "flags, initial", { 5, 11, 8, 101 }, SYNC_LOOK_NOTHING,
	  .flags = ACCOUNT_FLAGS_INITIAL },
	{ "flags, none", { 5, 11, 8, 101 }, SYNC_LOOK_NOTHING,
	  .flags = ACCOUNT_FLAGS_NONE },
	{ "flags, initial, unseen only", { 5, 11, 8, 101 }, SYNC_LOOK_CHANGED,
	  .flags = ACCOUNT_FLAGS_INITIAL, .unseen_only = TRUE },
	{ "no condstore, none, unseen only", { 5, 11, 8, 0 }, SYNC_LOOK_ALL,
	  TRUE, .flags = ACCOUNT_FLAGS_NONE, .unseen_only = TRUE },
	{ "new mail, none", { 5, 12, 9, 101 }, SYNC_LOOK_NEW,
	  .flags = ACCOUNT_FLAGS_NONE },
	{ "no condstore", { 5, 11, 8, 0 }, SYNC_LOOK_ALL, TRUE, FOLLOW },
	{ "condstore gone", { 5, 11, 8, 100 }, SYNC_LOOK_ALL, TRUE,
	  FOLLOW },
	{ "no condstore, initial", { 5, 11, 8, 0 }, SYNC_LOOK_NOTHING, TRUE,
	  .flags = ACCOUNT_FLAGS_INITIAL },
	{ "no condstore, initial, new", { 5, 12, 9, 0 }, SYNC_LOOK_NEW, TRUE,
	  .flags = ACCOUNT_FLAGS_INITIAL },
	{ "modseq lower", { 5, 11, 8, 99 }, SYNC_LOOK_ALL, FOLLOW },
	{ "modseq gone", { 5, 11, 8, 0 }, SYNC_LOOK_ALL, FOLLOW },
	{ "uidnext lower", { 5, 10, 8, 100 }, SYNC_LOOK_ALL, FOLLOW },
	{ "uidnext lower, initial", { 5, 10, 8, 100 }, SYNC_LOOK_ALL,
	  .flags = ACCOUNT_FLAGS_INITIAL },
	{ "uidnext not said", { 5, 0, 8, 100 }, SYNC_LOOK_NEW, FOLLOW },
	{ "more messages, same uidnext", { 5, 11, 9, 100 }, SYNC_LOOK_ALL,
	  FOLLOW },
	{ "fewer messages", { 5, 11, 7, 100 }, SYNC_LOOK_NOTHING,
	  FOLLOW },
	{ "fewer messages, mirror", { 5, 11, 7, 100 }, SYNC_LOOK_ALL,
	  FOLLOW, .expunge = ACCOUNT_EXPUNGE_MIRROR },
	{ "one came, one went, mirror", { 5, 12, 8, 101 }, SYNC_LOOK_ALL,
	  FOLLOW, .expunge = ACCOUNT_EXPUNGE_MIRROR },
	{ "one came, mirror", { 5, 12, 9, 101 }, SYNC_LOOK_CHANGED,
	  FOLLOW, .expunge = ACCOUNT_EXPUNGE_MIRROR },
	{ "unchanged, mirror", { 5, 11, 8, 100 }, SYNC_LOOK_NOTHING,
	  FOLLOW, .expunge = ACCOUNT_EXPUNGE_MIRROR },
};

START_TEST(sync_visit_look)
{
	const struct visit_case *test = &visits[_i];
	struct sync_visit visit;
	const char *error = "";

	account.flags = test->flags;
	account.expunge = test->expunge;
	account.unseen_only = test->unseen_only;
	ck_assert_int_eq(sync_plan_visit(&policy, &test->status,
					 !test->no_condstore, &settled, &visit,
					 &error),
			 test->look == SYNC_LOOK_NOTHING ? 0 : 1);
	ck_assert_msg(visit.look == test->look, "%s: %d", test->what,
		      visit.look);
	ck_assert(!visit.uidvalidity_changed);
	ck_assert_uint_eq(visit.list_from,
			  test->look == SYNC_LOOK_ALL ? 1 : 11);
	ck_assert_uint_eq(visit.live_from, 7);
	ck_assert_int_eq(visit.first_pull, NOW - DAY);
}
END_TEST

static enum sync_look look(const struct sync_state *state)
{
	struct sync_visit visit;
	const char *error = "";

	ck_assert_int_ge(sync_plan_visit(&policy, &unchanged, TRUE, state,
					 &visit, &error), 0);
	return visit.look;
}

/* What the account or the state alone can ask for */
START_TEST(sync_visit_reasons)
{
	struct sync_state state = settled;

	ck_assert_int_eq(look(&state), SYNC_LOOK_NOTHING);
	policy.full = TRUE;
	ck_assert_int_eq(look(&state), SYNC_LOOK_ALL);
	policy.full = FALSE;
	state.dirty = TRUE;
	ck_assert_int_eq(look(&state), SYNC_LOOK_ALL);
	state.dirty = FALSE;

	account.max_size_bytes = 1001;
	ck_assert_int_eq(look(&state), SYNC_LOOK_ALL);
	account.max_size_bytes = 0;
	ck_assert_int_eq(look(&state), SYNC_LOOK_ALL);
	account.max_size_bytes = 999;
	ck_assert_int_eq(look(&state), SYNC_LOOK_NOTHING);
	state.max_size_bytes = 0;
	ck_assert_int_eq(look(&state), SYNC_LOOK_NOTHING);
	account.max_size_bytes = state.max_size_bytes = 1000;

	/* initial_age counts from the first pull, not from now */
	account.initial_age_secs = 30 * DAY;
	state.age_floor = NOW - DAY - 30 * DAY;
	ck_assert_int_eq(look(&state), SYNC_LOOK_NOTHING);
	policy.now += 1000 * DAY;
	ck_assert_int_eq(look(&state), SYNC_LOOK_NOTHING);
	account.initial_age_secs = 31 * DAY;
	ck_assert_int_eq(look(&state), SYNC_LOOK_ALL);
	account.initial_age_secs = 0;
	ck_assert_int_eq(look(&state), SYNC_LOOK_ALL);
	account.initial_age_secs = 29 * DAY;
	ck_assert_int_eq(look(&state), SYNC_LOOK_NOTHING);
	account.initial_age_secs = 31 * DAY;
	account.since = state.age_floor;
	ck_assert_int_eq(look(&state), SYNC_LOOK_NOTHING);
	account.since--;
	ck_assert_int_eq(look(&state), SYNC_LOOK_ALL);
}
END_TEST

START_TEST(sync_visit_empty)
{
	static const struct sync_state state = { .uidvalidity = 5,
		.uidnext = 1, .first_pull = NOW, .live_from = 1 };
	static const struct sync_status status = { .uidvalidity = 5,
		.uidnext = 1 };
	struct sync_visit visit;
	const char *error = "";

	ck_assert_int_eq(sync_plan_visit(&policy, &status, FALSE, &state,
					 &visit, &error), 0);
}
END_TEST

START_TEST(sync_visit_first)
{
	static const struct sync_state never;
	struct sync_status status = unchanged;
	struct sync_visit visit;
	const char *error = "";

	account.initial_age_secs = DAY;
	ck_assert_int_eq(sync_plan_visit(&policy, &status, TRUE, &never,
					 &visit, &error), 1);
	ck_assert_int_eq(visit.look, SYNC_LOOK_ALL);
	ck_assert(!visit.uidvalidity_changed);
	ck_assert_uint_eq(visit.list_from, 1);
	ck_assert_int_eq(visit.first_pull, NOW);
	ck_assert_int_eq(visit.age_floor, NOW - DAY);
	ck_assert_uint_eq(visit.live_from, 11);

	account.since = NOW - 5;
	ck_assert_int_eq(sync_plan_visit(&policy, &status, TRUE, &never,
					 &visit, &error), 1);
	ck_assert_int_eq(visit.age_floor, NOW - 5);

	status.uidvalidity = 0;
	ck_assert_int_eq(sync_plan_visit(&policy, &status, TRUE, &never,
					 &visit, &error), -1);
	ck_assert_msg(strstr(error, "UIDVALIDITY") != NULL, "%s", error);
}
END_TEST

/* A server without UIDNEXT: the first visit finds history alone, what comes
   after it is new. */
START_TEST(sync_visit_no_uidnext)
{
	struct sync_state state;
	struct sync_status status = unchanged;
	struct sync_visit visit;
	const char *error = "";

	i_zero(&state);
	status.uidnext = 0;
	ck_assert_int_eq(sync_plan_visit(&policy, &status, TRUE, &state,
					 &visit, &error), 1);
	ck_assert_uint_eq(visit.live_from, SYNC_LIVE_UNKNOWN);
	state = settled;
	state.live_from = visit.live_from;
	ck_assert_int_eq(sync_plan_visit(&policy, &status, TRUE, &state,
					 &visit, &error), 1);
	ck_assert_uint_eq(visit.live_from, 11);
}
END_TEST

START_TEST(sync_visit_uidvalidity)
{
	struct sync_status status = unchanged;
	struct sync_visit visit;
	const char *error = "";

	/* a smaller one is no less a change */
	status.uidvalidity = _i == 0 ? 4 : 6;
	ck_assert_int_eq(sync_plan_visit(&policy, &status, TRUE, &settled,
					 &visit, &error), 1);
	ck_assert_int_eq(visit.look, SYNC_LOOK_ALL);
	ck_assert(visit.uidvalidity_changed);
	ck_assert_uint_eq(visit.list_from, 1);
	ck_assert_uint_eq(visit.live_from, 11);
	ck_assert_int_eq(visit.first_pull, settled.first_pull);
}
END_TEST

/*
 * The stretch
 */

static struct sync_visit visit_of(uint32_t live_from)
{
	struct sync_visit visit = {
		.look = SYNC_LOOK_ALL, .list_from = 1, .first_pull = NOW,
		.live_from = live_from,
	};
	return visit;
}

static const struct sync_step *
plan_visit_one(const struct sync_visit *visit,
	       const struct sync_message *message,
	       const struct sync_known *known, unsigned int *count_r)
{
	ARRAY_TYPE(sync_step) steps;
	const char *error = "";

	p_array_init(&steps, pool, 4);
	ck_assert_int_eq(sync_plan_stretch(pool, &policy, visit, message,
					   message == NULL ? 0 : 1, known,
					   known == NULL ? 0 : 1, TRUE,
					   &steps, &error), 0);
	return array_get(&steps, count_r);
}

/* The one step for a message, or NULL; live_from is 100. */
static const struct sync_step *
plan_one(const struct sync_message *message, const struct sync_known *known)
{
	struct sync_visit visit = visit_of(100);
	const struct sync_step *steps;
	unsigned int count;

	steps = plan_visit_one(&visit, message, known, &count);
	ck_assert_uint_le(count, 1);
	return count == 0 ? NULL : steps;
}

static struct sync_message message_of(uint32_t uid)
{
	struct sync_message message = {
		.uid = uid, .keywords = none, .received_time = NOW - 10,
		.size = 500,
	};
	return message;
}

static struct sync_known known_of(uint32_t uid, enum sync_known_state state)
{
	struct sync_known known = {
		.uid = uid, .state = state, .keywords = none, .size = 500,
	};
	return known;
}

#define LMTP ACCOUNT_DELIVER_LMTP
#define DIRECT ACCOUNT_DELIVER_DIRECT
#define SKIP ACCOUNT_DELIVER_SKIP
#define STEP_SKIP -1

/* Decision 9 of the design, whole */
static const struct {
	bool inbox, filed;
	enum account_deliver deliver, history;
	/* enum sync_via, below and from live_from on */
	int old, new;
} ways[] = {
	{ TRUE, FALSE, LMTP, DIRECT, SYNC_VIA_DIRECT, SYNC_VIA_LMTP },
	{ TRUE, FALSE, LMTP, LMTP, SYNC_VIA_LMTP_NOFX, SYNC_VIA_LMTP },
	{ TRUE, FALSE, LMTP, SKIP, STEP_SKIP, SYNC_VIA_LMTP },
	{ TRUE, FALSE, DIRECT, DIRECT, SYNC_VIA_DIRECT, SYNC_VIA_DIRECT },
	{ TRUE, FALSE, DIRECT, LMTP, SYNC_VIA_LMTP_NOFX, SYNC_VIA_DIRECT },
	{ TRUE, FALSE, DIRECT, SKIP, STEP_SKIP, SYNC_VIA_DIRECT },
	{ FALSE, FALSE, LMTP, DIRECT, SYNC_VIA_DIRECT, SYNC_VIA_DIRECT },
	{ FALSE, FALSE, LMTP, LMTP, SYNC_VIA_LMTP_NOFX, SYNC_VIA_LMTP_NOFX },
	{ FALSE, FALSE, LMTP, SKIP, STEP_SKIP, SYNC_VIA_DIRECT },
	{ FALSE, TRUE, LMTP, DIRECT, SYNC_VIA_DIRECT, SYNC_VIA_DIRECT },
	{ FALSE, TRUE, LMTP, LMTP, SYNC_VIA_DIRECT, SYNC_VIA_DIRECT },
	{ FALSE, TRUE, LMTP, SKIP, STEP_SKIP, SYNC_VIA_DIRECT },
};

START_TEST(sync_way)
{
	unsigned int i;

	policy.inbox = ways[_i].inbox;
	policy.filed = ways[_i].filed;
	account.deliver = ways[_i].deliver;
	account.history = ways[_i].history;
	for (i = 0; i < 2; i++) {
		struct sync_message message = message_of(99 + i);
		const struct sync_step *step = plan_one(&message, NULL);
		int way = i == 0 ? ways[_i].old : ways[_i].new;

		ck_assert_ptr_nonnull(step);
		ck_assert_uint_eq(step->uid, 99 + i);
		ck_assert_ptr_eq(step->message, &message);
		if (way == STEP_SKIP) {
			ck_assert_int_eq(step->kind, SYNC_STEP_SKIP);
			ck_assert_int_eq(step->skip_state, SYNC_KNOWN_SKIPPED);
		} else {
			ck_assert_int_eq(step->kind, SYNC_STEP_FETCH);
			ck_assert_int_eq(step->via, way);
		}
	}
}
END_TEST

/* After a UIDVALIDITY change all is direct, and only what was there at the
   first pull is skipped. */
START_TEST(sync_way_uidvalidity)
{
	struct sync_visit visit = visit_of(100);
	struct sync_message message = message_of(200);
	const struct sync_step *step;
	unsigned int i, count;

	visit.uidvalidity_changed = TRUE;
	for (i = 0; i < 3; i++) {
		account.history = i;
		message.received_time = NOW + 10;
		step = plan_visit_one(&visit, &message, NULL, &count);
		ck_assert_uint_eq(count, 1);
		ck_assert_int_eq(step->kind, SYNC_STEP_FETCH);
		ck_assert_int_eq(step->via, SYNC_VIA_DIRECT);
		message.received_time = NOW - 10;
		step = plan_visit_one(&visit, &message, NULL, &count);
		ck_assert_uint_eq(count, 1);
		ck_assert_int_eq(step->kind, account.history == SKIP ?
				 SYNC_STEP_SKIP : SYNC_STEP_FETCH);
	}
}
END_TEST

START_TEST(sync_left_out)
{
	struct sync_visit visit = visit_of(1);
	struct sync_message message = message_of(5);
	const struct sync_step *step;
	unsigned int count;

	visit.age_floor = NOW - DAY;
	visit.live_from = 6;
	message.received_time = NOW - DAY;
	(void)plan_visit_one(&visit, &message, NULL, &count);
	ck_assert_uint_eq(count, 1);
	message.received_time--;
	(void)plan_visit_one(&visit, &message, NULL, &count);
	ck_assert_uint_eq(count, 0);
	/* filed after the first pull: only since= leaves it out */
	visit.live_from = 5;
	(void)plan_visit_one(&visit, &message, NULL, &count);
	ck_assert_uint_eq(count, 1);
	account.since = NOW - DAY;
	(void)plan_visit_one(&visit, &message, NULL, &count);
	ck_assert_uint_eq(count, 0);
	account.since = 0;
	/* UIDs do not tell any more */
	visit.uidvalidity_changed = TRUE;
	(void)plan_visit_one(&visit, &message, NULL, &count);
	ck_assert_uint_eq(count, 0);
	visit.uidvalidity_changed = FALSE;
	visit.live_from = 6;
	/* no date is no reason to lose mail */
	message.received_time = 0;
	step = plan_visit_one(&visit, &message, NULL, &count);
	ck_assert_uint_eq(count, 1);
	ck_assert_int_eq(step->kind, SYNC_STEP_FETCH);

	message.size = 1000;
	ck_assert_int_eq(plan_one(&message, NULL)->kind, SYNC_STEP_FETCH);
	message.size = 1001;
	step = plan_one(&message, NULL);
	ck_assert_int_eq(step->kind, SYNC_STEP_SKIP);
	ck_assert_int_eq(step->skip_state, SYNC_KNOWN_TOO_LARGE);
	account.max_size_bytes = 0;
	ck_assert_int_eq(plan_one(&message, NULL)->kind, SYNC_STEP_FETCH);

	message.flags = MAIL_SEEN;
	ck_assert_int_eq(plan_one(&message, NULL)->kind, SYNC_STEP_FETCH);
	account.unseen_only = TRUE;
	step = plan_one(&message, NULL);
	ck_assert_int_eq(step->kind, SYNC_STEP_SKIP);
	ck_assert_int_eq(step->skip_state, SYNC_KNOWN_SKIPPED);
	account.unseen_only = FALSE;
	message.flags = MAIL_DELETED;
	step = plan_one(&message, NULL);
	ck_assert_int_eq(step->kind, SYNC_STEP_SKIP);
	ck_assert_int_eq(step->skip_state, SYNC_KNOWN_SKIPPED);

	message.flags = 0;
	message.flags_only = TRUE;
	ck_assert_ptr_null(plan_one(&message, NULL));
}
END_TEST

static const struct {
	enum mail_flags old, new;
	const char *const *old_keywords, *const *new_keywords;
	enum mail_flags add, remove;
	const char *add_keywords, *remove_keywords;
	bool nothing;
} flag_changes[] = {
	{ 0, 0, none, none, 0, 0, "", "", TRUE },
	{ 0, MAIL_SEEN, none, none, MAIL_SEEN, 0, "", "", FALSE },
	{ MAIL_SEEN, 0, none, none, 0, MAIL_SEEN, "", "", FALSE },
	{ MAIL_SEEN | MAIL_DRAFT, MAIL_ANSWERED | MAIL_FLAGGED | MAIL_DRAFT,
	  none, none, MAIL_ANSWERED | MAIL_FLAGGED, MAIL_SEEN, "", "", FALSE },
	{ 0, MAIL_DELETED, none, none, 0, 0, "", "", TRUE },
	{ MAIL_DELETED, 0, none, none, 0, 0, "", "", TRUE },
	{ 0, MAIL_RECENT, none, none, 0, 0, "", "", TRUE },
	{ 0, MAIL_DELETED | MAIL_SEEN, none, none, MAIL_SEEN, 0, "", "",
	  FALSE },
	{ 0, 0, none, kw_a, 0, 0, "a", "", FALSE },
	{ 0, 0, kw_a, none, 0, 0, "", "a", FALSE },
	{ 0, 0, kw_a, kw_ab, 0, 0, "b", "", FALSE },
	{ 0, 0, kw_ab, kw_a, 0, 0, "", "b", FALSE },
	{ 0, 0, kw_ab, kw_ba, 0, 0, "", "", TRUE },
	{ 0, MAIL_SEEN, kw_a, kw_a, MAIL_SEEN, 0, "", "", FALSE },
};

START_TEST(sync_flag_change)
{
	struct sync_message message = message_of(5);
	struct sync_known known = known_of(5, SYNC_KNOWN_DONE);
	const struct sync_step *step;

	message.flags_only = TRUE;
	message.flags = flag_changes[_i].new;
	message.keywords = flag_changes[_i].new_keywords;
	known.flags = flag_changes[_i].old;
	known.keywords = flag_changes[_i].old_keywords;
	step = plan_one(&message, &known);
	ck_assert_int_eq(step == NULL, flag_changes[_i].nothing);
	if (step != NULL) {
		ck_assert_int_eq(step->kind, SYNC_STEP_FLAGS);
		ck_assert_int_eq(step->add_flags, flag_changes[_i].add);
		ck_assert_int_eq(step->remove_flags, flag_changes[_i].remove);
		ck_assert_str_eq(t_strarray_join(step->add_keywords, " "),
				 flag_changes[_i].add_keywords);
		ck_assert_str_eq(t_strarray_join(step->remove_keywords, " "),
				 flag_changes[_i].remove_keywords);
		ck_assert_ptr_eq(step->message, &message);
	}
	account.flags = ACCOUNT_FLAGS_INITIAL;
	ck_assert_ptr_null(plan_one(&message, &known));
	account.flags = ACCOUNT_FLAGS_NONE;
	ck_assert_ptr_null(plan_one(&message, &known));
}
END_TEST

/* Known, and not to be had or not wanted: left alone until its reason is
   gone. */
START_TEST(sync_known_states)
{
	struct sync_message message = message_of(5);
	struct sync_known known;
	const struct sync_step *step;

	message.flags = MAIL_SEEN;
	known = known_of(5, SYNC_KNOWN_HANDED_OVER);
	ck_assert_ptr_null(plan_one(&message, &known));

	known.state = SYNC_KNOWN_QUARANTINED;
	ck_assert_ptr_null(plan_one(&message, &known));
	policy.full = TRUE;
	ck_assert_int_eq(plan_one(&message, &known)->kind, SYNC_STEP_FETCH);
	known.state = SYNC_KNOWN_DONE;
	known.flags = MAIL_SEEN;
	ck_assert_ptr_null(plan_one(&message, &known));
	policy.full = FALSE;

	known.state = SYNC_KNOWN_REFUSED;
	ck_assert_int_eq(plan_one(&message, &known)->kind, SYNC_STEP_FETCH);

	known.state = SYNC_KNOWN_TOO_LARGE;
	message.size = 1001;
	ck_assert_ptr_null(plan_one(&message, &known));
	account.max_size_bytes = 1001;
	ck_assert_int_eq(plan_one(&message, &known)->kind, SYNC_STEP_FETCH);
	message.flags_only = TRUE;
	message.size = 0;
	ck_assert_ptr_null(plan_one(&message, &known));
	message.flags_only = FALSE;
	message.size = 500;

	/* left out as history: for good */
	known.state = SYNC_KNOWN_SKIPPED;
	ck_assert_ptr_null(plan_one(&message, &known));
	/* as deleted: until it is restored */
	known.flags = MAIL_DELETED;
	ck_assert_int_eq(plan_one(&message, &known)->kind, SYNC_STEP_FETCH);
	message.flags = MAIL_DELETED | MAIL_SEEN;
	ck_assert_ptr_null(plan_one(&message, &known));
	/* as seen: until it is unseen */
	account.unseen_only = TRUE;
	known.flags = MAIL_SEEN;
	message.flags = MAIL_SEEN;
	ck_assert_ptr_null(plan_one(&message, &known));
	message.flags = 0;
	ck_assert_int_eq(plan_one(&message, &known)->kind, SYNC_STEP_FETCH);
	/* still history, though */
	account.history = ACCOUNT_DELIVER_SKIP;
	step = plan_one(&message, &known);
	ck_assert_int_eq(step->kind, SYNC_STEP_SKIP);
	ck_assert_int_eq(step->skip_state, SYNC_KNOWN_SKIPPED);
}
END_TEST

START_TEST(sync_gone)
{
	static const enum sync_known_state states[] = {
		SYNC_KNOWN_DONE, SYNC_KNOWN_TOO_LARGE, SYNC_KNOWN_HANDED_OVER,
		SYNC_KNOWN_QUARANTINED, SYNC_KNOWN_SKIPPED,
		SYNC_KNOWN_REFUSED,
	};
	struct sync_known known = known_of(5, states[_i]);
	struct sync_visit visit = visit_of(1);
	ARRAY_TYPE(sync_step) steps;
	const struct sync_step *step;
	const char *error;

	ck_assert_ptr_null(plan_one(NULL, &known));
	account.expunge = ACCOUNT_EXPUNGE_MIRROR;
	step = plan_one(NULL, &known);
	ck_assert_int_eq(step->kind, SYNC_STEP_GONE);
	ck_assert_uint_eq(step->uid, 5);
	ck_assert_ptr_null(step->message);
	/* not listed is not gone */
	p_array_init(&steps, pool, 4);
	ck_assert_int_eq(sync_plan_stretch(pool, &policy, &visit, NULL, 0,
					   &known, 1, FALSE, &steps, &error),
			 0);
	ck_assert_uint_eq(array_count(&steps), 0);
}
END_TEST

static const struct {
	uint32_t uids[3];
	int ret;
} orders[] = {
	{ { 1, 2, 3 }, 0 }, { { 1, 2147483648U, 4294967295U }, 0 },
	{ { 0, 1, 2 }, -1 }, { { 1, 1, 2 }, -1 }, { { 1, 3, 2 }, -1 },
	{ { 1, 2, 0 }, -1 },
};

START_TEST(sync_order)
{
	struct sync_message messages[3];
	struct sync_visit visit = visit_of(1);
	ARRAY_TYPE(sync_step) steps;
	const char *error = "";
	unsigned int i;

	for (i = 0; i < 3; i++)
		messages[i] = message_of(orders[_i].uids[i]);
	p_array_init(&steps, pool, 4);
	ck_assert_int_eq(sync_plan_stretch(pool, &policy, &visit, messages, 3,
					   NULL, 0, TRUE, &steps, &error),
			 orders[_i].ret);
	ck_assert_uint_eq(array_count(&steps), orders[_i].ret == 0 ? 3 : 0);
	ck_assert_int_eq(*error == '\0', orders[_i].ret == 0);
}
END_TEST

static const struct {
	unsigned int percent, gone, known;
	bool allowed;
} guards[] = {
	{ 20, 0, 0, TRUE }, { 0, 0, 100, TRUE },
	{ 20, 20, 100, TRUE }, { 20, 21, 100, FALSE },
	{ 20, 10, 11, TRUE }, { 20, 11, 12, FALSE },
	{ 20, 10, 10, FALSE }, { 20, 1, 1, FALSE }, { 99, 1, 1, FALSE },
	{ 100, 1, 1, TRUE }, { 100, 5000, 5000, TRUE },
	{ 0, 10, 100, TRUE }, { 0, 11, 100, FALSE },
	{ 20, 4000000000U, 4000000000U, FALSE },
	{ 50, 2000000000U, 4000000000U, TRUE },
	{ 100, 2, 1, FALSE },
};

START_TEST(sync_guard)
{
	ck_assert_msg(sync_plan_guard_allows(guards[_i].percent,
					     guards[_i].gone,
					     guards[_i].known) ==
		      guards[_i].allowed, "%u of %u", guards[_i].gone,
		      guards[_i].known);
}
END_TEST

START_TEST(sync_guid)
{
	const char *guid = sync_message_guid("s", "INBOX", 1, 2);

	/* printf 's\0INBOX\0\0\0\0\1\0\0\0\2' | sha256sum */
	ck_assert_str_eq(guid, "5a660adb999f5c73fc1d084f3f689fe3");
	ck_assert_str_ne(guid, sync_message_guid("t", "INBOX", 1, 2));
	ck_assert_str_ne(guid, sync_message_guid("s", "inbox", 1, 2));
	ck_assert_str_ne(guid, sync_message_guid("s", "INBOX", 2, 1));
	ck_assert_str_ne(guid, sync_message_guid("s", "INBOX", 1, 3));
	ck_assert_str_ne(sync_message_guid("ab", "c", 1, 2),
			 sync_message_guid("a", "bc", 1, 2));
}
END_TEST

/*
 * The promises, on a server that does as it likes
 */

#define MODEL_UIDS 60

struct model_message {
	bool exists;
	enum mail_flags flags;
	bool keyword;
	time_t received_time;
	uoff_t size;
	uint64_t modseq;
};

/* The remote folder, what the state knows of it, and what was stored here. */
struct model {
	struct model_message remote[MODEL_UIDS];
	uint32_t uidnext;
	uint64_t modseq;
	bool condstore;

	struct sync_state state;
	struct sync_known known[MODEL_UIDS];	/* state 0 = not known */
	unsigned int stored[MODEL_UIDS];
	enum sync_via via[MODEL_UIDS];
	enum mail_flags local_flags[MODEL_UIDS];
	bool local_keyword[MODEL_UIDS];
};

static unsigned int model_seed;

static void model_arrive(struct model *model)
{
	struct model_message *message;

	if (model->uidnext >= MODEL_UIDS - 2)
		return;
	model->uidnext += random() % 2;
	message = &model->remote[model->uidnext++];
	message->exists = TRUE;
	message->flags = random() % 4 == 0 ? random() & MAIL_FLAGS_NONRECENT :
		0;
	message->keyword = random() % 4 == 0;
	message->received_time = random() % 8 == 0 ? 0 :
		NOW - random() % (60 * DAY);
	message->size = random() % 1200;
	message->modseq = ++model->modseq;
}

static void model_change(struct model *model)
{
	struct model_message *message =
		&model->remote[random() % model->uidnext];

	switch (random() % 4) {
	case 0:
		model_arrive(model);
		break;
	case 1:
		message->flags ^= 1 << (random() % 5);
		message->modseq = ++model->modseq;
		break;
	case 2:
		message->keyword = !message->keyword;
		message->modseq = ++model->modseq;
		break;
	case 3:
		if (message->exists)
			model->modseq++;
		message->exists = FALSE;
		break;
	}
}

static struct sync_status model_status(const struct model *model)
{
	struct sync_status status = {
		.uidvalidity = 7, .uidnext = model->uidnext,
		.highestmodseq = model->condstore ? model->modseq : 0,
	};
	unsigned int i;

	for (i = 0; i < MODEL_UIDS; i++)
		status.messages += model->remote[i].exists ? 1 : 0;
	return status;
}

static bool model_lists(const struct model *model,
			const struct sync_visit *visit, unsigned int uid,
			bool *flags_only_r)
{
	*flags_only_r = FALSE;
	if (!model->remote[uid].exists)
		return FALSE;
	if (visit->look == SYNC_LOOK_ALL || uid >= visit->list_from)
		return TRUE;
	/* the puller asks for the whole listing of what changed, or for flags
	   alone */
	return visit->look == SYNC_LOOK_CHANGED &&
		model->remote[uid].modseq > model->state.highestmodseq;
}

static void
model_list(const struct model *model, const struct sync_visit *visit,
	   unsigned int first, unsigned int last,
	   struct sync_message *messages, unsigned int *count_r)
{
	unsigned int uid;
	bool flags_only;

	*count_r = 0;
	for (uid = first; uid <= last; uid++) {
		const struct model_message *remote = &model->remote[uid];
		struct sync_message *message = &messages[*count_r];

		if (!model_lists(model, visit, uid, &flags_only))
			continue;
		i_zero(message);
		message->uid = uid;
		message->flags = remote->flags;
		message->keywords = remote->keyword ? kw_a : none;
		message->flags_only = flags_only;
		message->received_time = remote->received_time;
		message->size = remote->size;
		(*count_r)++;
	}
}

static void
model_know(struct model *model, const struct sync_step *step,
	   enum sync_known_state state)
{
	struct sync_known *known = &model->known[step->uid];

	known->uid = step->uid;
	known->state = state;
	known->flags = step->message->flags;
	known->keywords = step->message->keywords;
	known->size = step->message->size;
}

static void model_apply_flags(struct model *model,
			      const struct sync_step *step)
{
	model->local_flags[step->uid] |= step->add_flags;
	model->local_flags[step->uid] &= ~step->remove_flags;
	if (*step->add_keywords != NULL)
		model->local_keyword[step->uid] = TRUE;
	if (*step->remove_keywords != NULL)
		model->local_keyword[step->uid] = FALSE;
	model_know(model, step, SYNC_KNOWN_DONE);
}

static void model_apply(struct model *model, const struct sync_step *step)
{
	switch (step->kind) {
	case SYNC_STEP_FETCH:
		model->stored[step->uid]++;
		model->via[step->uid] = step->via;
		model->local_flags[step->uid] = step->message->flags;
		model->local_keyword[step->uid] =
			*step->message->keywords != NULL;
		model_know(model, step, SYNC_KNOWN_DONE);
		break;
	case SYNC_STEP_SKIP:
		model_know(model, step, step->skip_state);
		break;
	case SYNC_STEP_FLAGS:
		model_apply_flags(model, step);
		break;
	case SYNC_STEP_GONE:
		i_zero(&model->known[step->uid]);
		break;
	}
}

/* Plan UIDs first..last and carry out at most *limit steps. */
static void
model_run_stretch(struct model *model, const struct sync_visit *visit,
		  unsigned int first, unsigned int last, unsigned int *limit,
		  unsigned int *steps_r)
{
	struct sync_message messages[MODEL_UIDS];
	struct sync_known known[MODEL_UIDS];
	unsigned int uid, count, known_count = 0;
	ARRAY_TYPE(sync_step) steps;
	const struct sync_step *step;
	const char *error = "";
	uint32_t last_uid = 0;

	model_list(model, visit, first, last, messages, &count);
	for (uid = first; uid <= last; uid++) {
		if (model->known[uid].state != 0)
			known[known_count++] = model->known[uid];
	}
	p_array_init(&steps, pool, 16);
	ck_assert_int_eq(sync_plan_stretch(pool, &policy, visit, messages,
					   count, known, known_count,
					   visit->look == SYNC_LOOK_ALL,
					   &steps, &error), 0);
	array_foreach(&steps, step) {
		ck_assert_uint_gt(step->uid, last_uid);
		last_uid = step->uid;
		if (*limit == 0)
			break;
		(*limit)--;
		(*steps_r)++;
		model_apply(model, step);
	}
}

/* One visit, cut short after limit steps. Returns the steps done. */
static unsigned int model_run(struct model *model, unsigned int limit)
{
	struct sync_status status = model_status(model);
	struct sync_visit visit;
	const char *error = "";
	unsigned int uid, width = 1 + random() % MODEL_UIDS, steps = 0;

	if (sync_plan_visit(&policy, &status, model->condstore,
			    &model->state, &visit, &error) == 0)
		return 0;
	model->state.uidvalidity = status.uidvalidity;
	model->state.first_pull = visit.first_pull;
	model->state.live_from = visit.live_from;
	model->state.dirty = TRUE;
	for (uid = 1; uid < MODEL_UIDS; uid += width) {
		model_run_stretch(model, &visit, uid,
				  I_MIN(uid + width, MODEL_UIDS) - 1,
				  &limit, &steps);
	}
	if (limit == 0)
		return steps;
	model->state.uidnext = status.uidnext;
	model->state.messages = status.messages;
	model->state.highestmodseq = status.highestmodseq;
	model->state.age_floor = visit.age_floor;
	model->state.max_size_bytes = account.max_size_bytes;
	model->state.dirty = FALSE;
	return steps;
}

static bool model_is_wanted(const struct model *model, unsigned int uid)
{
	const struct model_message *message = &model->remote[uid];

	return message->exists &&
		(message->received_time == 0 || uid >= model->state.live_from ||
		 message->received_time >= model->state.age_floor) &&
		(message->flags & MAIL_DELETED) == 0 &&
		!(account.unseen_only && (message->flags & MAIL_SEEN) != 0) &&
		!(account.history == SKIP && uid < model->state.live_from) &&
		message->size <= account.max_size_bytes;
}

#define MODEL_FLAGS (MAIL_ANSWERED | MAIL_FLAGGED | MAIL_SEEN | MAIL_DRAFT)

static void model_check(const struct model *model)
{
	unsigned int uid;

	for (uid = 1; uid < MODEL_UIDS; uid++) {
		const struct model_message *message = &model->remote[uid];

		ck_assert_msg(model->stored[uid] <= 1,
			      "seed %u: UID %u twice", model_seed, uid);
		ck_assert_msg(model->stored[uid] == 1 ||
			      !model_is_wanted(model, uid),
			      "seed %u: UID %u lost", model_seed, uid);
		if (model->known[uid].state != 0 && !message->exists)
			ck_assert_msg(account.expunge ==
				      ACCOUNT_EXPUNGE_KEEP,
				      "seed %u: UID %u stays", model_seed,
				      uid);
		if (model->stored[uid] == 0 || !message->exists ||
		    account.flags != ACCOUNT_FLAGS_FOLLOW)
			continue;
		ck_assert_msg((model->local_flags[uid] & MODEL_FLAGS) ==
			      (message->flags & MODEL_FLAGS) &&
			      model->local_keyword[uid] == message->keyword,
			      "seed %u: flags of UID %u", model_seed, uid);
	}
}

static void model_init(struct model *model)
{
	unsigned int i, count = random() % 40;

	i_zero(model);
	model->uidnext = 1;
	model->modseq = 10;
	model->condstore = random() % 2 == 0;
	for (i = 0; i < count; i++)
		model_arrive(model);
	policy.inbox = random() % 2 == 0;
	account.deliver = random() % 2;
	account.history = random() % 3;
	account.flags = random() % 2 == 0 ? ACCOUNT_FLAGS_FOLLOW :
		random() % 3;
	account.expunge = random() % 2;
	account.unseen_only = random() % 4 == 0;
	account.initial_age_secs = random() % 2 == 0 ? 0 : 30 * DAY;
}

static void model_seed_set(int i)
{
	model_seed = (getenv("TEST_SEED") != NULL ?
		      atoi(getenv("TEST_SEED")) : 1) + i;
	srandom(model_seed);
}

/* Apply the plan, plan again: nothing to do. After whatever the server did. */
START_TEST(sync_random_rounds)
{
	struct model model;
	unsigned int round, i;

	model_seed_set(_i);
	model_init(&model);
	for (round = 0; round < 8; round++) {
		(void)model_run(&model, UINT_MAX);
		/* with flags not followed, the flag that makes a message
		   wanted again is not looked for */
		if (account.flags == ACCOUNT_FLAGS_FOLLOW)
			model_check(&model);
		ck_assert_msg(model_run(&model, UINT_MAX) == 0,
			      "seed %u: round %u is not over", model_seed,
			      round);
		policy.full = TRUE;
		(void)model_run(&model, UINT_MAX);
		model_check(&model);
		ck_assert_msg(model_run(&model, UINT_MAX) == 0,
			      "seed %u: round %u is not over (full)",
			      model_seed, round);
		policy.full = FALSE;
		for (i = random() % 10; i > 0; i--)
			model_change(&model);
		if (random() % 4 == 0)
			account.max_size_bytes += 100;
		if (random() % 4 == 0)
			account.initial_age_secs += 15 * DAY;
		if (random() % 8 == 0)
			account.initial_age_secs = 0;
		policy.now += DAY;
	}
}
END_TEST

static void model_check_same(const struct model *a, const struct model *b)
{
	unsigned int uid;

	ck_assert_int_eq(memcmp(&a->state, &b->state, sizeof(a->state)), 0);
	for (uid = 0; uid < MODEL_UIDS; uid++) {
		ck_assert_msg(a->known[uid].state == b->known[uid].state &&
			      a->known[uid].flags == b->known[uid].flags &&
			      a->stored[uid] == b->stored[uid] &&
			      a->via[uid] == b->via[uid] &&
			      a->local_flags[uid] == b->local_flags[uid] &&
			      a->local_keyword[uid] == b->local_keyword[uid],
			      "seed %u: UID %u", model_seed, uid);
	}
}

/* Stop after any step, go on: the same end, nothing twice, nothing lost. */
START_TEST(sync_random_resume)
{
	struct model start, whole, model;
	unsigned int i, stop, steps;

	model_seed_set(_i);
	model_init(&start);
	if (_i % 2 == 0) {
		(void)model_run(&start, UINT_MAX);
		for (i = 0; i < 12; i++)
			model_change(&start);
	}
	whole = start;
	steps = model_run(&whole, UINT_MAX);
	for (stop = 0; stop <= steps; stop++) {
		model = start;
		(void)model_run(&model, stop);
		if (random() % 2 == 0)
			(void)model_run(&model, random() % 5);
		(void)model_run(&model, UINT_MAX);
		model_check_same(&model, &whole);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sync-plan");
	TCase *tc = tcase_create("sync-plan");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, sync_visit_look, 0, N_ELEMENTS(visits));
	tcase_add_test(tc, sync_visit_reasons);
	tcase_add_test(tc, sync_visit_empty);
	tcase_add_test(tc, sync_visit_first);
	tcase_add_test(tc, sync_visit_no_uidnext);
	tcase_add_loop_test(tc, sync_visit_uidvalidity, 0, 2);
	tcase_add_loop_test(tc, sync_way, 0, N_ELEMENTS(ways));
	tcase_add_test(tc, sync_way_uidvalidity);
	tcase_add_test(tc, sync_left_out);
	tcase_add_loop_test(tc, sync_flag_change, 0,
			    N_ELEMENTS(flag_changes));
	tcase_add_test(tc, sync_known_states);
	tcase_add_loop_test(tc, sync_gone, 0, 6);
	tcase_add_loop_test(tc, sync_order, 0, N_ELEMENTS(orders));
	tcase_add_loop_test(tc, sync_guard, 0, N_ELEMENTS(guards));
	tcase_add_test(tc, sync_guid);
	tcase_add_loop_test(tc, sync_random_rounds, 0, 80);
	tcase_add_loop_test(tc, sync_random_resume, 0, 30);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
