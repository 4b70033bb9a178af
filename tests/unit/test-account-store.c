/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "array.h"
#include "dict.h"
#include "ioloop.h"
#include "str.h"
#include "strescape.h"
#include "write-full.h"
#include "dovecot-compat.h"
#include "account-dict.h"
#include "account-store.h"

#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define SOURCE_ID "0123456789abcdef0123456789abcdef"

static pool_t pool;
static struct ioloop *ioloop;
static struct account_store *store;
static char *dir;

static const char *store_path(void)
{
	return t_strconcat(dir, "/accounts", NULL);
}

static void store_open_path(const char *path)
{
	struct dict *dict;
	const char *error = "";

	ck_assert_msg(account_dict_open_file(path, &dict, &error) == 0,
		      "%s", error);
	store = account_store_init(dict, path);
}

static void store_open(void)
{
	store_open_path(store_path());
}

static void setup(void)
{
	static char template[64];

	pool = pool_allocfree_create("test account store");
	i_strocpy(template, "/tmp/test-store-XXXXXX", sizeof(template));
	dir = mkdtemp(template);
	ck_assert_ptr_nonnull(dir);
	ioloop = io_loop_create();
	dict_drivers_register_builtin();
	store_open();
}

static void teardown(void)
{
	account_store_deinit(&store);
	dict_drivers_unregister_builtin();
	io_loop_destroy(&ioloop);
	i_unlink_if_exists(store_path());
	/* fails if a temporary file or a lock was left */
	ck_assert_int_eq(rmdir(dir), 0);
	pool_unref(&pool);
}

static void put(const char *user, const char *name, const char *host,
		const char *sealed)
{
	const char *settings[] = {
		p_strconcat(pool, "host=", host, NULL), "login=a b=c",
		"source_id="SOURCE_ID, NULL
	};
	struct account account;
	const char *error = "";

	ck_assert_msg(account_parse(pool, user, name, settings, &account,
				    &error) == 0, "%s", error);
	ck_assert_msg(account_store_set(store, &account, sealed, &error) == 0,
		      "%s", error);
}

static const char *list(const char *mask)
{
	ARRAY_TYPE(account_entry) entries;
	const struct account_entry *entry;
	string_t *str = str_new(pool, 128);
	const char *error = "";

	ck_assert_msg(account_store_list(store, pool, mask, &entries,
					 &error) == 0, "%s", error);
	array_foreach(&entries, entry) {
		str_printfa(str, "%s|%s%s ", entry->account.user,
			    entry->account.name,
			    entry->error == NULL ? "" : "!");
	}
	return str_c(str);
}

START_TEST(store_set_get_delete)
{
	struct account_entry entry;
	const char *error = "";

	ck_assert_int_eq(account_store_get(store, pool, "anna", "work",
					   &entry, &error), 0);
	put("anna", "work", "one.example.org", "v1:1:xyz");
	put("anna", "work", "two.example.org", "v1:1:abc");
	/* as another process sees it */
	account_store_deinit(&store);
	store_open();
	ck_assert_msg(account_store_get(store, pool, "anna", "work",
					&entry, &error) == 1, "%s", error);
	ck_assert_str_eq(entry.account.host, "two.example.org");
	ck_assert_str_eq(entry.account.login, "a b=c");
	ck_assert_str_eq(entry.account.source_id, SOURCE_ID);
	ck_assert_str_eq(entry.sealed, "v1:1:abc");
	ck_assert_ptr_null(entry.error);

	put("anna", "work", "two.example.org", NULL);
	ck_assert_int_eq(account_store_get(store, pool, "anna", "work",
					   &entry, &error), 1);
	ck_assert_ptr_null(entry.sealed);

	ck_assert_int_eq(account_store_delete(store, "anna", "work",
					      &error), 1);
	ck_assert_int_eq(account_store_delete(store, "anna", "work",
					      &error), 0);
	ck_assert_int_eq(account_store_get(store, pool, "anna", "work",
					   &entry, &error), 0);
}
END_TEST

START_TEST(store_list)
{
	ck_assert_str_eq(list("*"), "");
	put("bert@example.org", "work", "h.example.org", "x");
	put("anna", "work", "h.example.org", "x");
	put("anna", "home", "h.example.org", "x");
	put("annabel", "work", "h.example.org", "x");
	put("a/../b", "work", "h.example.org", "x");
	put("a\\b", "work", "h.example.org", "x");
	ck_assert_str_eq(list("anna"), "anna|home anna|work ");
	ck_assert_str_eq(list("anna*"), "anna|home anna|work annabel|work ");
	ck_assert_str_eq(list("*@example.org"), "bert@example.org|work ");
	ck_assert_str_eq(list("a/../b"), "a/../b|work ");
	ck_assert_str_eq(list("a"), "");
	ck_assert_str_eq(list(""), "");
	ck_assert_str_eq(list("*"), "a/../b|work a\\b|work anna|home anna|work "
			 "annabel|work bert@example.org|work ");
}
END_TEST

static const struct {
	const char *value, *error;
} broken[] = {
	{ "", "word" },
	{ "account", "not an account record" },
	{ "something\tversion=1", "not an account record" },
	{ "account\tversion=2\tset=host=h", "newer" },
	{ "account\tversion=1\tset=host=h.example.org", "login is missing" },
	{ "account\tversion=1\tset=host=h.example.org\tset=login=a",
	  "source_id" },
	{ "account\tversion=1\tset=hots=h", "hots" },
};

/* One record that is broken does not hide the others. */
START_TEST(store_broken)
{
	const char *value = str_tabescape(broken[_i].value), *error = "", *text;
	struct account_entry entry;
	int fd;

	account_store_deinit(&store);
	fd = open(store_path(), O_WRONLY | O_CREAT, 0600);
	text = t_strdup_printf("shared/imapsync/account/anna/work\n%s\n"
			       "shared/imapsync/account/anna\nx\n"
			       "shared/imapsync/account/a/b/c\nx\n"
			       "shared/other/anna/work\nx\n", value);
	ck_assert_int_eq(write_full(fd, text, strlen(text)), 0);
	i_close_fd(&fd);
	store_open();

	put("anna", "good", "h.example.org", "x");
	ck_assert_str_eq(list("*"), "anna|good anna|work! ");
	ck_assert_int_eq(account_store_get(store, pool, "anna", "work",
					   &entry, &error), -1);
	ck_assert_msg(strstr(error, broken[_i].error) != NULL, "%s", error);
	/* and it can be deleted, or be replaced */
	put("anna", "work", "h.example.org", "x");
	ck_assert_str_eq(list("*"), "anna|good anna|work ");
}
END_TEST

START_TEST(store_unreachable)
{
	ARRAY_TYPE(account_entry) entries;
	struct account_entry entry;
	const char *error = NULL;

	/* a directory in the file's place */
	account_store_deinit(&store);
	store_open_path(dir);
	ck_assert_int_eq(account_store_get(store, pool, "anna", "work",
					   &entry, &error), -1);
	ck_assert_ptr_nonnull(error);
	error = NULL;
	ck_assert_int_eq(account_store_list(store, pool, "*", &entries,
					    &error), -1);
	ck_assert_ptr_nonnull(error);
}
END_TEST

START_TEST(store_source_id)
{
	const char *id = account_store_mint_source_id(pool);

	ck_assert_uint_eq(strlen(id), 32);
	ck_assert_uint_eq(strspn(id, "0123456789abcdef"), 32);
	ck_assert_str_ne(id, account_store_mint_source_id(pool));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("account-store");
	TCase *tc = tcase_create("account-store");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, store_set_get_delete);
	tcase_add_test(tc, store_list);
	tcase_add_loop_test(tc, store_broken, 0, N_ELEMENTS(broken));
	tcase_add_test(tc, store_unreachable);
	tcase_add_test(tc, store_source_id);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
