/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "str.h"
#include "core/account.h"
#include "core/folder-map.h"
#include "core/watch-folders.h"

#include <check.h>

static pool_t pool;
static struct account account;
static struct watch_folders *folders;

static void account_init(const char *preset)
{
	const char *const settings[] = {
		"host=imap.example.org", "login=anna", preset, NULL
	};
	const char *error;

	ck_assert_int_eq(account_parse(pool, "bob", "work", settings,
				       &account, &error), 0);
	folders = watch_folders_init(&account);
}

static void setup(void)
{
	pool = pool_allocfree_create("test");
}

static void teardown(void)
{
	watch_folders_deinit(&folders);
	pool_unref(&pool);
}

static void add(const char *name, uint64_t uidnext)
{
	const struct folder_listed listed = {
		.remote_name = name, .separator = '/',
		.special_use = strcmp(name, "Gesendet") == 0 ?
			FOLDER_SPECIAL_SENT : 0,
	};
	const uint64_t numbers[] = { 1, uidnext };

	watch_folders_add(folders, &listed);
	watch_folders_add_status(folders, name, numbers, 2);
}

static struct watch_digest end(const char *heard)
{
	struct watch_digest digest;

	watch_folders_end(folders, heard, &digest);
	return digest;
}

/* INBOX, Sent and two others, with what they would give next. */
static struct watch_digest
answer(uint64_t inbox, uint64_t sent, uint64_t lists, const char *heard)
{
	watch_folders_begin(folders);
	add("Lists", lists);
	add("INBOX", inbox);
	add("Gesendet", sent);
	add("Lists/x", 7);
	return end(heard);
}

static bool differs(struct watch_digest a, struct watch_digest b)
{
	return watch_digest_differs(&a, &b, FALSE);
}

START_TEST(folders_that_count)
{
	struct watch_digest old;

	account_init("preset=inbox");
	old = answer(1, 1, 1, NULL);
	ck_assert(!differs(old, answer(1, 1, 1, NULL)));
	ck_assert(differs(old, answer(2, 1, 1, NULL)));
	ck_assert(differs(old, answer(1, 2, 1, NULL)));
	/* it is not pulled */
	ck_assert(!differs(old, answer(1, 1, 2, NULL)));
}
END_TEST

START_TEST(all_folders_count)
{
	struct watch_digest old;

	account_init("preset=backup");
	old = answer(1, 1, 1, NULL);
	ck_assert(!differs(old, answer(1, 1, 1, NULL)));
	ck_assert(differs(old, answer(1, 1, 2, NULL)));
}
END_TEST

START_TEST(folders_named)
{
	account_init("preset=inbox");
	/* nothing is known yet */
	ck_assert(watch_folders_count(folders, "INBOX"));
	ck_assert(watch_folders_count(folders, "Lists"));
	(void)answer(1, 1, 1, NULL);
	ck_assert(watch_folders_count(folders, "INBOX"));
	ck_assert(watch_folders_count(folders, "Gesendet"));
	ck_assert(!watch_folders_count(folders, "Lists"));
	ck_assert(!watch_folders_count(folders, "New"));
}
END_TEST

/* A folder that comes and counts, one that goes, and one that does not. */
START_TEST(folders_come_and_go)
{
	struct watch_digest old, now;

	account_init("folders=INBOX,New*");
	old = answer(1, 1, 1, NULL);
	watch_folders_begin(folders);
	add("INBOX", 1);
	add("New", 1);
	now = end(NULL);
	ck_assert(differs(old, now));
	ck_assert(watch_folders_count(folders, "New"));
	ck_assert(!differs(old, answer(1, 1, 1, NULL)));
	ck_assert(!watch_folders_count(folders, "New"));
	watch_folders_begin(folders);
	add("INBOX", 1);
	add("Other", 1);
	ck_assert(!differs(old, end(NULL)));
}
END_TEST

START_TEST(heard_folder)
{
	struct watch_digest old, now;

	account_init("preset=inbox");
	old = answer(1, 1, 1, "Inbox");
	now = answer(2, 1, 1, "Inbox");
	ck_assert(watch_digest_differs(&old, &now, FALSE));
	ck_assert(!watch_digest_differs(&old, &now, TRUE));
	/* it is waited for: it counts, pulled or not */
	old = answer(1, 1, 1, "Lists");
	now = answer(1, 1, 2, "Lists");
	ck_assert(watch_digest_differs(&old, &now, FALSE));
	ck_assert(!watch_digest_differs(&old, &now, TRUE));
	now = answer(2, 1, 1, "Lists");
	ck_assert(watch_digest_differs(&old, &now, TRUE));
}
END_TEST

/* They may cost any time: here they choose all, and exclude nothing. */
START_TEST(regular_expressions)
{
	account_init("folders=/INBOX/,\\Sent");
	(void)answer(1, 1, 1, NULL);
	ck_assert(watch_folders_count(folders, "INBOX"));
	ck_assert(watch_folders_count(folders, "Lists"));
}
END_TEST

START_TEST(excluded_by_regular_expressions)
{
	account_init("exclude=/Lists/,INBOX");
	watch_folders_deinit(&folders);
	account.folders = (const char *const []){ "*", NULL };
	folders = watch_folders_init(&account);
	(void)answer(1, 1, 1, NULL);
	ck_assert(!watch_folders_count(folders, "INBOX"));
	ck_assert(watch_folders_count(folders, "Lists"));
	ck_assert(watch_folders_count(folders, "Lists/x"));
}
END_TEST

START_TEST(masks_that_take_long)
{
	string_t *str = t_str_new(65536);
	unsigned int i;

	str_append(str, "folders=INBOX");
	while (str_len(str) < 60000)
		str_append(str, ",*x");
	account_init(str_c(str));
	(void)answer(1, 1, 1, NULL);
	ck_assert(!watch_folders_count(folders, "Lists"));
	watch_folders_begin(folders);
	for (i = 0; i < 500; i++)
		add(t_strdup_printf("Lists/%050u", i), 1);
	(void)end(NULL);
	ck_assert(watch_folders_count(folders, "Lists"));
}
END_TEST

/* Masks that make no sense: rather too many runs than none. */
START_TEST(bad_masks)
{
	struct watch_digest old;

	account_init("folders=\\Nonsense");
	old = answer(1, 1, 1, NULL);
	ck_assert(differs(old, answer(1, 1, 2, NULL)));
	ck_assert(watch_folders_count(folders, "Lists"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("watch-folders");
	TCase *tc = tcase_create("watch-folders");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, folders_that_count);
	tcase_add_test(tc, all_folders_count);
	tcase_add_test(tc, folders_named);
	tcase_add_test(tc, folders_come_and_go);
	tcase_add_test(tc, heard_folder);
	tcase_add_test(tc, regular_expressions);
	tcase_add_test(tc, excluded_by_regular_expressions);
	tcase_add_test(tc, masks_that_take_long);
	tcase_add_test(tc, bad_masks);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
