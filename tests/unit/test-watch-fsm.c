/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "str.h"
#include "core/watch-fsm.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Inputs and actions as letters. An action is followed by the mode that the
   asker is told, if any. */
static const char input_letters[] = {
	[WATCH_INPUT_START] = 's',
	[WATCH_INPUT_OK] = 'o',
	[WATCH_INPUT_REFUSED] = 'r',
	[WATCH_INPUT_POLL] = 'p',
	[WATCH_INPUT_RENEW] = 'n',
	[WATCH_INPUT_OVERFLOW] = 'v',
};

static const char *const action_names[] = {
	[WATCH_ACTION_NONE] = "-",
	[WATCH_ACTION_LISTEN] = "listen",
	[WATCH_ACTION_NOTIFY] = "notify",
	[WATCH_ACTION_LIST] = "list",
	[WATCH_ACTION_EXAMINE] = "examine",
	[WATCH_ACTION_IDLE] = "idle",
	[WATCH_ACTION_NOOP] = "noop",
	[WATCH_ACTION_DONE] = "done",
	[WATCH_ACTION_GIVE_UP] = "over",
};

static enum watch_input input_find(char letter)
{
	const char *pos = memchr(input_letters, letter, sizeof(input_letters));

	ck_assert_ptr_nonnull(pos);
	return pos - input_letters;
}

static struct watch_ways ways(const char *names)
{
	const struct watch_ways found = {
		.notify = strchr(names, 'n') != NULL,
		.idle = strchr(names, 'i') != NULL,
		.poll = strchr(names, 'p') != NULL,
	};
	return found;
}

static bool init(struct watch_fsm *fsm, const char *wanted, const char *offered)
{
	const struct watch_ways want = ways(wanted), offer = ways(offered);

	return watch_fsm_init(fsm, &want, &offer);
}

static const struct {
	const char *wanted, *offered, *inputs, *actions;
} runs[] = {
	/* each way alone */
	{ "nip", "i", "sono", "examine idle=idle done idle" },
	{ "nip", "p", "sopo", "list listen=poll list listen" },
	{ "nip", "n", "sono", "notify listen=notify noop listen" },
	/* IDLE with polls */
	{ "nip", "ip", "soopoo", "examine list idle=poll done list idle" },
	/* NOTIFY is better than both */
	{ "nip", "nip", "soono", "list notify listen=notify noop listen" },
	{ "i", "nip", "so", "examine idle=idle" },
	{ "ni", "nip", "soopo", "list notify listen=notify list listen" },
	{ "ni", "nip", "soro", "list notify examine idle=idle" },
	{ "np", "nip", "so", "list notify" },
	/* folders come and go */
	{ "nip", "nip", "soopo", "list notify listen=notify list listen" },
	/* without LIST-STATUS nothing is known of them */
	{ "nip", "ni", "sop", "notify listen=notify listen" },
	{ "nip", "nip", "sro", "list notify listen=notify" },
	{ "ip", "nip", "soo", "examine list idle=poll" },
	/* a poll that is due while something is under way waits for it */
	{ "nip", "p", "spo", "list - listen=poll" },
	{ "nip", "ip", "sopo", "examine list - idle=poll" },
	{ "nip", "ip", "soonpoo",
	  "examine list idle=poll done - list idle" },
	/* any answer shows that the server is there */
	{ "nip", "p", "sopno", "list listen=poll list - listen" },
	/* what is refused is not asked for again */
	{ "nip", "nip", "soroopoo",
	  "list notify examine list idle=poll done list idle" },
	{ "nip", "ip", "srono", "examine list listen=poll noop listen" },
	{ "nip", "ip", "sor", "examine list idle=idle" },
	{ "nip", "ip", "soopor",
	  "examine list idle=poll done list idle=idle" },
	{ "nip", "ip", "soorpo", "examine list idle=poll listen list listen" },
	{ "nip", "i", "sr", "examine over" },
	{ "nip", "i", "sor", "examine idle=idle over" },
	{ "nip", "p", "sr", "list over" },
	{ "nip", "p", "sopr", "list listen=poll list over" },
	{ "nip", "p", "sonr", "list listen=poll noop over" },
	/* IDLE that ends by itself is none */
	{ "nip", "i", "soo", "examine idle=idle over" },
	{ "nip", "ip", "sooop", "examine list idle=poll listen list" },
	/* NOTIFY that ends */
	{ "nip", "nip", "soovoo",
	  "list notify listen=notify examine list idle=poll" },
	{ "nip", "n", "sov", "notify listen=notify over" },
	{ "nip", "nip", "soonvoo",
	  "list notify listen=notify noop - examine list" },
};

static void run(unsigned int n, string_t *trace)
{
	struct watch_fsm fsm;
	enum watch_mode mode;
	const char *p;

	ck_assert(init(&fsm, runs[n].wanted, runs[n].offered));
	for (p = runs[n].inputs; *p != '\0'; p++) {
		if (str_len(trace) > 0)
			str_append_c(trace, ' ');
		str_append(trace, action_names[
			watch_fsm_next(&fsm, input_find(*p))]);
		if (watch_fsm_tell(&fsm, &mode))
			str_printfa(trace, "=%s", watch_mode_name(mode));
		ck_assert(!watch_fsm_tell(&fsm, &mode));
	}
}

START_TEST(fsm_run)
{
	string_t *trace = str_new(default_pool, 128);

	run(_i, trace);
	ck_assert_msg(strcmp(str_c(trace), runs[_i].actions) == 0,
		      "%s of %s, %s:\n%s\nnot\n%s", runs[_i].wanted,
		      runs[_i].offered, runs[_i].inputs, str_c(trace),
		      runs[_i].actions);
	str_free(&trace);
}
END_TEST

START_TEST(fsm_no_way)
{
	struct watch_fsm fsm;

	ck_assert(!init(&fsm, "nip", ""));
	ck_assert(!init(&fsm, "n", "ip"));
	ck_assert(!init(&fsm, "ni", "p"));
	ck_assert(!init(&fsm, "", "nip"));
	ck_assert(!init(&fsm, "p", "i"));
}
END_TEST

static bool is_command(enum watch_action action)
{
	return action != WATCH_ACTION_NONE && action != WATCH_ACTION_LISTEN &&
		action != WATCH_ACTION_GIVE_UP;
}

/* Whatever happens: one command at a time, an answer to each is waited for, an
   IDLE is ended before anything else is said, and refusals come to an end. */
static void random_run(void)
{
	struct watch_fsm fsm;
	struct watch_ways want = {
		random() % 2, random() % 2, random() % 2
	}, offer = { random() % 2, random() % 2, random() % 2 };
	enum watch_action action, waiting = WATCH_ACTION_NONE;
	unsigned int i, refused = 0;

	if (!watch_fsm_init(&fsm, &want, &offer))
		return;
	action = watch_fsm_next(&fsm, WATCH_INPUT_START);
	for (i = 0; i < 200 && action != WATCH_ACTION_GIVE_UP; i++) {
		enum watch_input input = WATCH_INPUT_OK + random() % 5;
		bool answer = input == WATCH_INPUT_OK ||
			input == WATCH_INPUT_REFUSED;

		if (is_command(action))
			waiting = action;
		/* there is no answer without a question */
		if (answer && waiting == WATCH_ACTION_NONE)
			continue;
		if (input == WATCH_INPUT_REFUSED)
			refused++;
		action = watch_fsm_next(&fsm, input);
		if (answer)
			waiting = WATCH_ACTION_NONE;
		else if (waiting == WATCH_ACTION_IDLE)
			ck_assert_int_eq(action, WATCH_ACTION_DONE);
		else if (waiting != WATCH_ACTION_NONE)
			ck_assert_int_eq(action, WATCH_ACTION_NONE);
		ck_assert(action != WATCH_ACTION_DONE ||
			  waiting == WATCH_ACTION_IDLE);
		ck_assert_uint_le(refused, 3);
	}
}

START_TEST(fsm_random)
{
	unsigned int i, seed = getenv("TEST_SEED") != NULL ?
		atoi(getenv("TEST_SEED")) : time(NULL);

	printf("watch-fsm: seed %u\n", seed);
	srandom(seed);
	for (i = 0; i < 500; i++)
		random_run();
}
END_TEST

START_TEST(mode_names)
{
	enum watch_mode mode, parsed;

	for (mode = WATCH_MODE_IDLE; mode <= WATCH_MODE_POLL; mode++) {
		ck_assert(watch_mode_parse(watch_mode_name(mode), &parsed));
		ck_assert_int_eq(parsed, mode);
	}
	ck_assert(!watch_mode_parse("", &parsed));
	ck_assert(!watch_mode_parse("idler", &parsed));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("watch-fsm");
	TCase *tc = tcase_create("watch-fsm");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_loop_test(tc, fsm_run, 0, N_ELEMENTS(runs));
	tcase_add_test(tc, fsm_no_way);
	tcase_add_test(tc, fsm_random);
	tcase_add_test(tc, mode_names);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
