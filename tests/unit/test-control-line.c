/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "str.h"
#include "strescape.h"
#include "core/control-line.h"

#include <check.h>

static const struct {
	/* NULL = not there */
	const char *line, *key, *value;
} lookups[] = {
	{ "user=anna\taccount=work", "user", "anna" },
	{ "user=anna\taccount=work", "account", "work" },
	{ "user=anna\taccount=work", "all", NULL },
	{ "user=\taccount=work", "user", "" },
	{ "user=a=b=c", "user", "a=b=c" },
	{ "user=an\001tna\001n\0011", "user", "an\tna\n\001" },
	/* a longer or shorter key is another one */
	{ "username=anna\tuser=berta", "user", "berta" },
	{ "use=anna", "user", NULL },
	{ "user", "user", NULL },
	{ "USER=anna", "user", NULL },
	/* a value is no key */
	{ "account=user=anna", "user", NULL },
	{ "account=a\001tuser=anna", "user", NULL },
	/* the first counts */
	{ "user=anna\tuser=berta", "user", "anna" },
	{ "", "user", NULL },
	{ "\t\t", "user", NULL },
};

START_TEST(control_line_lookup)
{
	const char *value =
		control_line_get(t_strsplit_tabescaped(lookups[_i].line),
				 lookups[_i].key);

	if (lookups[_i].value == NULL)
		ck_assert_ptr_null(value);
	else
		ck_assert_pstr_eq(value, lookups[_i].value);
}
END_TEST

/* Whatever is in a value, it stays in there. */
static const char *const values[] = {
	"", "anna", "a b", "\t", "\n", "\r\n", "\001", "\001t", "x\tuser=root",
	"end\t0", "=", "user=root", "\xc3\xa4\xff",
};

START_TEST(control_line_round_trip)
{
	string_t *line = t_str_new(64);
	const char *const *args;

	str_append(line, "row");
	control_line_add(line, "name", values[_i]);
	control_line_add(line, "value", "7");
	ck_assert_ptr_null(strchr(str_c(line), '\n'));
	args = t_strsplit_tabescaped(str_c(line));
	ck_assert_uint_eq(str_array_length(args), 3);
	ck_assert_str_eq(args[0], "row");
	ck_assert_pstr_eq(control_line_get(args + 1, "name"), values[_i]);
	ck_assert_pstr_eq(control_line_get(args + 1, "value"), "7");
	ck_assert_ptr_null(control_line_get(args + 1, "user"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("control-line");
	TCase *tc = tcase_create("control-line");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_loop_test(tc, control_line_lookup, 0, N_ELEMENTS(lookups));
	tcase_add_loop_test(tc, control_line_round_trip, 0,
			    N_ELEMENTS(values));
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
