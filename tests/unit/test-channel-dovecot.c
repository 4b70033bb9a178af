/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "channel-dovecot.h"

#include <check.h>

static const struct {
	const char *json, *value;
} objects[] = {
	{ "{\"id\":\"1.1\"}", "1.1" },
	{ " { \"a\" : 1 , \"id\" : \"1.1\" } ", "1.1" },
	{ "{\"a\":{\"id\":\"2\"},\"id\":\"1\"}", "1" },
	{ "{\"a\":[\"id\",\"2\",{\"id\":\"3\"}],\"id\":\"1\"}", "1" },
	{ "{\"id\":\"1\",\"id\":\"2\"}", "1" },
	{ "{\"id\":\"\\u0031\\n\"}", "1\n" },
	{ "{}", NULL },
	{ "{\"a\":\"id\"}", NULL },
	{ "{\"id\":1}", NULL },
	{ "{\"id\":null}", NULL },
	{ "{\"id\":[\"1\"]}", NULL },
	{ "{\"id\":{\"id\":\"1\"}}", NULL },
	{ "", NULL },
	{ "[\"id\",\"1\"]", NULL },
	{ "\"id\"", NULL },
	{ "{\"id\":\"1\"", NULL },
	{ "{\"id\":\"1", NULL },
	{ "{\"id\":\"1\"}}", NULL },
	{ "id=1", NULL },
};

START_TEST(json_get)
{
	pool_t pool = pool_allocfree_create("test json");
	const char *value;

	value = channel_dovecot_json_get(pool, objects[_i].json,
					 strlen(objects[_i].json), "id");
	ck_assert_pstr_eq(value, objects[_i].value);
	pool_unref(&pool);
}
END_TEST

/* A body that is a NUL is one, and nothing behind size is looked at. */
START_TEST(json_get_bytes)
{
	pool_t pool = pool_allocfree_create("test json");

	ck_assert_ptr_null(channel_dovecot_json_get(pool,
		"\0{\"id\":\"1\"}", 11, "id"));
	ck_assert_pstr_eq(channel_dovecot_json_get(pool,
		"{\"id\":\"1\"}}", 10, "id"), "1");
	pool_unref(&pool);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("channel-dovecot");
	TCase *tc = tcase_create("channel-dovecot");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_loop_test(tc, json_get, 0, N_ELEMENTS(objects));
	tcase_add_test(tc, json_get_bytes);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
