/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "core/lmtp-verdict.h"

#include <check.h>

static const struct verdict_case {
	enum lmtp_step step;
	unsigned int status, x, y, z;
	const char *text;
	unsigned int tries;
	bool no_sender;
	enum lmtp_action action;
	enum reply_class class;
} cases[] = {
	{ LMTP_STEP_DATA, 250, 2, 0, 0, "<anna> x Saved", 0, FALSE,
	  LMTP_ACTION_ACCEPTED, REPLY_CLASS_OK },

	/* our plugin's words */
	{ LMTP_STEP_DATA, 451, 4, 2, 0, "<anna> " LMTP_DOOR_REPLY_BUSY, 0,
	  FALSE, LMTP_ACTION_WAIT_GHOST, REPLY_CLASS_LOCAL },
	{ LMTP_STEP_DATA, 451, 4, 2, 0, "<anna> " LMTP_DOOR_REPLY_KEY, 7,
	  FALSE, LMTP_ACTION_AGAIN, REPLY_CLASS_LOCAL },
	{ LMTP_STEP_DATA, 451, 4, 2, 0, "<anna> " LMTP_DOOR_REPLY_KEY, 99,
	  FALSE, LMTP_ACTION_LATER, REPLY_CLASS_LOCAL },
	{ LMTP_STEP_DATA, 451, 4, 2, 0,
	  "<anna> " LMTP_DOOR_REPLY_NOT_IN_FLIGHT, 0,
	  FALSE, LMTP_ACTION_STOP, REPLY_CLASS_CONFIG },

	/* an index that is rebuilt says so once */
	{ LMTP_STEP_DATA, 451, 4, 2, 0, "Internal error occurred", 0, FALSE,
	  LMTP_ACTION_RETRY, REPLY_CLASS_LOCAL },
	{ LMTP_STEP_DATA, 451, 4, 2, 0, "Internal error occurred", 3, FALSE,
	  LMTP_ACTION_LATER, REPLY_CLASS_LOCAL },
	{ LMTP_STEP_RCPT, 451, 4, 3, 0, "Too many concurrent deliveries", 0,
	  FALSE, LMTP_ACTION_AGAIN, REPLY_CLASS_LOCAL },
	{ LMTP_STEP_RCPT, 451, 4, 3, 0, "Too many concurrent deliveries", 3,
	  FALSE, LMTP_ACTION_LATER, REPLY_CLASS_LOCAL },

	/* quota, with either kind of code, at either step */
	{ LMTP_STEP_DATA, 552, 5, 2, 2, "Quota exceeded", 0, FALSE,
	  LMTP_ACTION_STOP, REPLY_CLASS_QUOTA },
	{ LMTP_STEP_DATA, 452, 4, 2, 2, "Quota exceeded", 0, FALSE,
	  LMTP_ACTION_STOP, REPLY_CLASS_QUOTA },
	{ LMTP_STEP_RCPT, 552, 5, 2, 2, "Quota exceeded", 0, FALSE,
	  LMTP_ACTION_STOP, REPLY_CLASS_QUOTA },
	{ LMTP_STEP_DATA, 552, 0, 0, 0, "mailbox full", 0, FALSE,
	  LMTP_ACTION_STOP, REPLY_CLASS_QUOTA },
	/* but not what only looks like it */
	{ LMTP_STEP_DATA, 552, 5, 2, 0, "rejected", 0, FALSE,
	  LMTP_ACTION_REFUSED, REPLY_CLASS_MESSAGE },
	{ LMTP_STEP_DATA, 552, 5, 2, 3, "message too big", 0, FALSE,
	  LMTP_ACTION_REFUSED, REPLY_CLASS_MESSAGE },

	{ LMTP_STEP_DATA, 554, 5, 6, 0, "no", 0, FALSE,
	  LMTP_ACTION_REFUSED, REPLY_CLASS_MESSAGE },
	{ LMTP_STEP_RCPT, 550, 5, 1, 1, "User doesn't exist: anna", 0, FALSE,
	  LMTP_ACTION_STOP, REPLY_CLASS_CONFIG },
	{ LMTP_STEP_MAIL, 501, 5, 5, 4, "Invalid FROM", 0, FALSE,
	  LMTP_ACTION_NO_SENDER, REPLY_CLASS_MESSAGE },
	{ LMTP_STEP_MAIL, 550, 5, 7, 1, "go away", 0, TRUE,
	  LMTP_ACTION_STOP, REPLY_CLASS_CONFIG },

	/* a message that kills its server does so once more at most */
	{ LMTP_STEP_LOST, 9005, 0, 0, 0, "Lost connection", 0, FALSE,
	  LMTP_ACTION_RETRY, REPLY_CLASS_LOCAL },
	{ LMTP_STEP_LOST, 9005, 0, 0, 0, "Lost connection", 1, FALSE,
	  LMTP_ACTION_LATER, REPLY_CLASS_LOCAL },
};

START_TEST(test_verdict)
{
	const struct verdict_case *c = &cases[_i];
	const struct lmtp_answer answer = {
		.step = c->step, .status = c->status, .enh_class = c->x,
		.enh_subject = c->y, .enh_detail = c->z, .text = c->text,
		.tries = c->tries, .no_sender = c->no_sender,
	};
	struct lmtp_verdict verdict;

	lmtp_verdict_get(&answer, &verdict);
	ck_assert_int_eq(verdict.action, c->action);
	ck_assert_int_eq(verdict.class, c->class);
	/* who is to come again waits, but not for long */
	if (c->action == LMTP_ACTION_AGAIN || c->action == LMTP_ACTION_RETRY ||
	    c->action == LMTP_ACTION_WAIT_GHOST) {
		ck_assert_int_gt(verdict.wait_msecs, 0);
		ck_assert_int_le(verdict.wait_msecs, 5000);
	} else {
		ck_assert_int_eq(verdict.wait_msecs, 0);
	}
}
END_TEST

/* Whatever a server answers, a message is not sent for ever. */
START_TEST(test_ends)
{
	unsigned int tries;
	struct lmtp_verdict verdict;
	struct lmtp_answer answer = { .text = "451 " LMTP_DOOR_REPLY_KEY };

	for (unsigned int status = 200; status < 600; status++) {
		answer.status = status;
		answer.step = LMTP_STEP_LOST + status % 4;
		answer.no_sender = FALSE;
		for (tries = 0; tries < 100; tries++) {
			answer.tries = tries;
			lmtp_verdict_get(&answer, &verdict);
			if (verdict.action == LMTP_ACTION_NO_SENDER)
				answer.no_sender = TRUE;
			else if (verdict.action != LMTP_ACTION_AGAIN &&
				 verdict.action != LMTP_ACTION_RETRY)
				break;
		}
		ck_assert_int_lt(tries, 100);
	}
}
END_TEST

START_TEST(test_ghost)
{
	unsigned int looks = 0, msecs, total = 0, last = 0;

	while ((msecs = lmtp_verdict_ghost_msecs(looks++)) != 0) {
		ck_assert_int_ge(msecs, last);
		last = msecs;
		total += msecs;
	}
	/* longer than a stale lock lives, shorter than anybody waits */
	ck_assert_int_gt(total, 120 * 1000);
	ck_assert_int_lt(total, 300 * 1000);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("lmtp-verdict");
	TCase *tc = tcase_create("all");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(tc, test_verdict, 0, N_ELEMENTS(cases));
	tcase_add_test(tc, test_ends);
	tcase_add_test(tc, test_ghost);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
