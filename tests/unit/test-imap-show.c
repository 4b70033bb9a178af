/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "core/imap-show.h"

#include <check.h>

static const char *const skip_webmail[] = { "Roundcube*", "X?Y", NULL };
static const struct imap_show_session between = { .settled = TRUE };
static const struct imap_show_session young = { .settled = FALSE };
static const struct imap_show_session idling = { .idling = TRUE };
static const struct imap_show_session locked = {
	.idling = TRUE,
	.output_locked = TRUE
};

static struct imap_show_settings set;
static struct imap_show *show;

static void setup(void)
{
	i_zero(&set);
	set.mode = IMAP_SHOW_ALWAYS;
}

static void teardown(void)
{
	if (show != NULL)
		imap_show_deinit(&show);
}

static enum imap_show_verdict next(const struct imap_show_session *session)
{
	struct imap_show_notice notice;

	return imap_show_next(show, session, &notice);
}

#define NOW IMAP_SHOW_NOW
#define WAIT IMAP_SHOW_WAIT
#define NOTHING IMAP_SHOW_NOTHING
#define BLOCKED IMAP_SHOW_BLOCKED

static const struct {
	enum imap_show_mode mode;
	enum feed_channel channel;
	enum imap_show_verdict between, idling;
} modes[] = {
	{ IMAP_SHOW_LOGIN, FEED_FLASH, NOW, NOW },
	{ IMAP_SHOW_LOGIN, FEED_LIVE, NOTHING, NOTHING },
	{ IMAP_SHOW_IDLE, FEED_FLASH, NOW, NOW },
	{ IMAP_SHOW_IDLE, FEED_LIVE, WAIT, NOW },
	{ IMAP_SHOW_ALWAYS, FEED_FLASH, NOW, NOW },
	{ IMAP_SHOW_ALWAYS, FEED_LIVE, NOW, NOW },
};

START_TEST(show_by_mode)
{
	set.mode = modes[_i].mode;
	show = imap_show_init(&set);
	ck_assert_int_eq(next(&idling), NOTHING);
	ck_assert(imap_show_add(show, modes[_i].channel, "1", "text"));
	ck_assert_int_eq(next(&between), modes[_i].between);
	ck_assert_int_eq(next(&idling), modes[_i].idling);
}
END_TEST

/* What is over in a moment is webmail, and nobody looks at it. */
START_TEST(show_not_too_early)
{
	set.mode = modes[_i].mode;
	show = imap_show_init(&set);
	ck_assert_int_eq(next(&young), NOTHING);
	ck_assert(imap_show_add(show, modes[_i].channel, "1", "text"));
	ck_assert_int_eq(next(&young), modes[_i].idling == NOTHING ?
			 NOTHING : WAIT);
	/* what idles stays, however young */
	ck_assert_int_eq(next(&idling), modes[_i].idling);
}
END_TEST

START_TEST(show_not_in_a_literal)
{
	struct imap_show_notice notice;

	show = imap_show_init(&set);
	ck_assert_int_eq(next(&locked), NOTHING);
	(void)imap_show_add(show, FEED_LIVE, "1", "text");
	ck_assert_int_eq(next(&locked), BLOCKED);
	ck_assert_int_eq(imap_show_next(show, &between, &notice), NOW);
	ck_assert_str_eq(notice.id, "1");
	ck_assert_str_eq(notice.text, "text");
}
END_TEST

/* In the order they came, each once, whatever is said again. */
START_TEST(show_once)
{
	struct imap_show_notice notice;

	show = imap_show_init(&set);
	ck_assert(imap_show_add(show, FEED_FLASH, "1", "one"));
	ck_assert(imap_show_add(show, FEED_LIVE, "2", "two"));
	ck_assert(imap_show_add(show, FEED_FLASH, "1", "one"));
	ck_assert_int_eq(imap_show_next(show, &between, &notice), NOW);
	ck_assert_str_eq(notice.id, "1");
	imap_show_done(show, "1");
	ck_assert_int_eq(imap_show_next(show, &between, &notice), NOW);
	ck_assert_str_eq(notice.id, "2");
	imap_show_done(show, "2");
	ck_assert_int_eq(next(&between), NOTHING);
	ck_assert(!imap_show_add(show, FEED_FLASH, "1", "one"));
	ck_assert_int_eq(next(&between), NOTHING);
}
END_TEST

START_TEST(show_gone)
{
	show = imap_show_init(&set);
	(void)imap_show_add(show, FEED_LIVE, "1", "one");
	imap_show_gone(show, "2");
	ck_assert_int_eq(next(&between), NOW);
	imap_show_gone(show, "1");
	ck_assert_int_eq(next(&between), NOTHING);
}
END_TEST

/* The connection broke: what was shown is not shown again. */
START_TEST(show_after_break)
{
	show = imap_show_init(&set);
	(void)imap_show_add(show, FEED_LIVE, "1", "one");
	imap_show_done(show, "1");
	(void)imap_show_add(show, FEED_LIVE, "2", "two");
	(void)imap_show_add(show, FEED_LIVE, "3", "three");
	imap_show_forget_waiting(show);
	ck_assert_int_eq(next(&between), NOTHING);
	ck_assert(!imap_show_add(show, FEED_LIVE, "1", "one"));
	ck_assert(imap_show_add(show, FEED_LIVE, "2", "two"));
	ck_assert_int_eq(next(&between), NOW);
}
END_TEST

START_TEST(show_is_bounded)
{
	unsigned int i, count = 0;
	struct imap_show_notice notice;

	show = imap_show_init(&set);
	for (i = 0; i < 2 * IMAP_SHOW_MAX_NOTICES; i++) {
		(void)imap_show_add(show, FEED_LIVE,
				    t_strdup_printf("%u", i), "text");
	}
	while (imap_show_next(show, &between, &notice) == NOW) {
		imap_show_done(show, t_strdup(notice.id));
		count++;
	}
	ck_assert_uint_eq(count, IMAP_SHOW_MAX_NOTICES);
	/* those that were shown make room */
	(void)imap_show_add(show, FEED_LIVE, "new", "text");
	ck_assert_int_eq(next(&between), NOW);
}
END_TEST

static const struct {
	const char *name, *args;
	enum imap_show_verdict verdict;
} commands[] = {
	{ "ID", "(\"name\" \"Roundcube\" \"version\" \"1.6.5\")", NOTHING },
	/* as 1.6.5 says it, with imap_debug */
	{ "ID", "(\"name\" \"Roundcube\" \"version\" \"1.6.5\" "
		"\"php\" \"8.2.36\" \"os\" \"Linux\" "
		"\"command\" \"/?_task=mail&_action=refresh\")", NOTHING },
	{ "id", "(\"version\" \"1\" \"NAME\" \"roundcube Webmail\")", NOTHING },
	{ "ID", "(name Roundcube)", NOTHING },
	{ "ID", "(\"os\" NIL \"name\" \"x\\\\y\")", NOTHING },
	{ "ID", "(\"name\" \"Thunderbird\" \"vendor\" \"Roundcube\")", NOW },
	{ "ID", "(\"vendor\" \"Roundcube\")", NOW },
	{ "ID", "(\"name\" NIL)", NOW },
	{ "ID", "NIL", NOW },
	{ "ID", "", NOW },
	{ "ID", NULL, NOW },
	{ "ID", "(\"name\"", NOW },
	{ "ID", "(\"name\" \"Roundcube", NOW },
	{ "ID", "(\"a\" ()", NOW },
	{ "SELECT", "INBOX", NOW },
	{ "IDLE", "", NOW },
	{ "CAPABILITY", "", WAIT },
	{ "enable", "QRESYNC", WAIT },
	{ "COMPRESS", "DEFLATE", WAIT },
};

START_TEST(show_by_client)
{
	set.skip_clients = skip_webmail;
	show = imap_show_init(&set);
	ck_assert(imap_show_waits_for_id(show));
	(void)imap_show_add(show, FEED_FLASH, "1", "one");
	ck_assert_int_eq(next(&between), WAIT);
	imap_show_command(show, commands[_i].name, commands[_i].args);
	ck_assert_int_eq(next(&between), commands[_i].verdict);
	ck_assert(imap_show_is_skipped(show) ==
		  (commands[_i].verdict == NOTHING));
	ck_assert(imap_show_waits_for_id(show) ==
		  (commands[_i].verdict == WAIT));
	imap_show_id_timeout(show);
	ck_assert_int_eq(next(&between), commands[_i].verdict == NOTHING ?
			 NOTHING : NOW);
}
END_TEST

/* Nobody waits for what does not matter. */
START_TEST(show_without_patterns)
{
	static const char *const none[] = { NULL };

	set.skip_clients = none;
	show = imap_show_init(&set);
	ck_assert(!imap_show_waits_for_id(show));
	imap_show_command(show, "ID", "(\"name\" \"Roundcube\")");
	(void)imap_show_add(show, FEED_FLASH, "1", "one");
	ck_assert_int_eq(next(&between), NOW);
}
END_TEST

START_TEST(show_is_wanted)
{
	ck_assert(imap_show_is_wanted(&set, TRUE));
	ck_assert(!imap_show_is_wanted(&set, FALSE));
	set.cleartext = TRUE;
	ck_assert(imap_show_is_wanted(&set, FALSE));
	set.mode = IMAP_SHOW_NO;
	ck_assert(!imap_show_is_wanted(&set, TRUE));
}
END_TEST

START_TEST(show_hibernates)
{
	set.skip_clients = skip_webmail;
	show = imap_show_init(&set);
	set.hibernate = IMAP_SHOW_HIBERNATE_NO;
	ck_assert(!imap_show_may_hibernate(show));
	set.hibernate = IMAP_SHOW_HIBERNATE_PENDING;
	ck_assert(imap_show_may_hibernate(show));
	(void)imap_show_add(show, FEED_LIVE, "1", "one");
	ck_assert(!imap_show_may_hibernate(show));
	imap_show_done(show, "1");
	ck_assert(!imap_show_may_hibernate(show));
	set.hibernate = IMAP_SHOW_HIBERNATE_YES;
	ck_assert(imap_show_may_hibernate(show));
	set.hibernate = IMAP_SHOW_HIBERNATE_PENDING;
	imap_show_gone(show, "1");
	ck_assert(imap_show_may_hibernate(show));
	/* one that is skipped sleeps as it likes */
	set.hibernate = IMAP_SHOW_HIBERNATE_NO;
	imap_show_command(show, "ID", "(\"name\" \"Roundcube\")");
	ck_assert(imap_show_may_hibernate(show));
}
END_TEST

START_TEST(show_settings_words)
{
	enum imap_show_mode mode;
	enum imap_show_hibernate hibernate;

	ck_assert_int_eq(imap_show_mode_parse("always", &mode), 0);
	ck_assert_int_eq(mode, IMAP_SHOW_ALWAYS);
	ck_assert_int_eq(imap_show_mode_parse("no", &mode), 0);
	ck_assert_int_eq(mode, IMAP_SHOW_NO);
	ck_assert_int_eq(imap_show_mode_parse("yes", &mode), -1);
	ck_assert_int_eq(mode, IMAP_SHOW_NO);
	ck_assert_int_eq(imap_show_hibernate_parse("pending", &hibernate), 0);
	ck_assert_int_eq(hibernate, IMAP_SHOW_HIBERNATE_PENDING);
	ck_assert_int_eq(imap_show_hibernate_parse("", &hibernate), -1);
}
END_TEST

static const struct {
	unsigned int failures, random, msecs;
} retries[] = {
	{ 0, 0, 250 },
	{ 0, 499, 749 },
	{ 1, 0, 500 },
	{ 6, 0, 16000 },
	{ 6, 31999, 47999 },
	{ 100, 0, 16000 },
	{ 100, 4294967295U, 16000 + 4294967295U % 32000 },
};

START_TEST(show_retry)
{
	ck_assert_uint_eq(imap_show_retry_msecs(retries[_i].failures,
						retries[_i].random),
			  retries[_i].msecs);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("imap-show");
	TCase *tc = tcase_create("imap-show");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, show_by_mode, 0, N_ELEMENTS(modes));
	tcase_add_loop_test(tc, show_not_too_early, 0, N_ELEMENTS(modes));
	tcase_add_test(tc, show_not_in_a_literal);
	tcase_add_test(tc, show_once);
	tcase_add_test(tc, show_gone);
	tcase_add_test(tc, show_after_break);
	tcase_add_test(tc, show_is_bounded);
	tcase_add_loop_test(tc, show_by_client, 0, N_ELEMENTS(commands));
	tcase_add_test(tc, show_without_patterns);
	tcase_add_test(tc, show_is_wanted);
	tcase_add_test(tc, show_hibernates);
	tcase_add_test(tc, show_settings_words);
	tcase_add_loop_test(tc, show_retry, 0, N_ELEMENTS(retries));
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
