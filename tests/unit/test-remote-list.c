/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "istream.h"
#include "str.h"
#include "imap-arg.h"
#include "imap-parser.h"
#include "dovecot-compat.h"
#include "core/folder-map.h"
#include "remote-list.h"

#include <check.h>

/* What becomes of a LIST response, given without its name. */
static bool parse(const char *line, struct folder_listed *listed_r)
{
	struct istream *input = i_stream_create_from_data(line, strlen(line));
	struct imap_parser *parser =
		compat_imap_parser_create(input, NULL, SIZE_MAX);
	const struct imap_arg *args;
	bool ret;

	ck_assert_int_gt(imap_parser_finish_line(parser, 0, 0, &args), 0);
	ret = remote_list_parse(args, listed_r);
	/* the name is the parser's */
	if (ret)
		listed_r->remote_name = t_strdup(listed_r->remote_name);
	imap_parser_unref(&parser);
	i_stream_unref(&input);
	return ret;
}

static bool parse_name(size_t length)
{
	struct folder_listed listed;
	string_t *line = t_str_new(2048);

	str_append(line, "() NIL \"");
	for (; length > 0; length--)
		str_append_c(line, 'n');
	str_append(line, "\"\r\n");
	return parse(str_c(line), &listed);
}

START_TEST(list_facts)
{
	struct folder_listed listed;

	ck_assert(parse("(\\Sent \\noselect \\Odd) \"/\" Sent\r\n", &listed));
	ck_assert_str_eq(listed.remote_name, "Sent");
	ck_assert_int_eq(listed.separator, '/');
	ck_assert(listed.noselect && !listed.nonexistent && !listed.subscribed);
	ck_assert_int_eq(listed.special_use, FOLDER_SPECIAL_SENT);
}
END_TEST

START_TEST(list_is_none)
{
	struct folder_listed listed;

	ck_assert(!parse("() NIL\r\n", &listed));
	ck_assert(!parse("INBOX NIL INBOX\r\n", &listed));
	ck_assert(!parse("() NIL (INBOX)\r\n", &listed));
}
END_TEST

START_TEST(list_long_names)
{
	ck_assert(parse_name(FOLDER_REMOTE_NAME_MAX));
	ck_assert(!parse_name(FOLDER_REMOTE_NAME_MAX + 1));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("remote-list");
	TCase *tc = tcase_create("remote-list");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_test(tc, list_facts);
	tcase_add_test(tc, list_is_none);
	tcase_add_test(tc, list_long_names);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
