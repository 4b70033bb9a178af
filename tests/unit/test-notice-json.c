/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "str.h"
#include "dovecot-compat.h"
#include "core/notice-json.h"

#include <check.h>

static struct notice notice;
static struct notice_text_params text = {
	.notice = &notice,
	.language = "",
	.base_url = "",
};

static void setup(void)
{
	i_zero(&notice);
	notice.kind = NOTICE_KIND_TROUBLE;
	notice.new_count = 2;
	notice.state.subject.origin = NOTICE_ORIGIN_ACCOUNT;
	notice.state.subject.user = "anna";
	notice.state.subject.account = "a1";
	notice.state.label = "Work";
	notice.state.told_class = NOTICE_CLASS_USER_ACTION;
	notice.state.hint = NOTICE_HINT_APP_PASSWORD;
	notice.state.told_time = 1700000000;
	notice.state.first_time = 1;
	notice.state.last_time = 2;
	notice.state.count = 3;
}

static const char *json(void)
{
	string_t *str = t_str_new(1024);

	notice_json_append(str, "5.1", &text);
	return str_c(str);
}

START_TEST(json_of_account)
{
	ck_assert(str_begins_with(json(),
		"{\"id\":\"5.1\",\"kind\":\"trouble\",\"user\":\"anna\",\"origin\":\"account\",\"account\":\"a1\","
		"\"label\":\"Work\",\"class\":\"user_action\","
		"\"hint\":\"app-password\",\"count\":3,\"new_count\":2,"
		"\"first_time\":1,\"last_time\":2,\"told_time\":1700000000,"
		"\"acked\":false,\"subject\":\""));
}
END_TEST

START_TEST(json_of_login)
{
	notice.state.subject.origin = NOTICE_ORIGIN_LOGIN;
	notice.state.subject.account = "";
	notice.state.told_pattern = NOTICE_PATTERN_ATTACK;
	memcpy(notice.state.protocol, "imap", sizeof("imap"));
	ck_assert_ptr_nonnull(strstr(json(), ",\"origin\":\"login\","
		"\"pattern\":\"attack\",\"protocol\":\"imap\",\"count\":"));
}
END_TEST

/* One line, whatever is in it: an event must not end early. */
START_TEST(json_is_one_line)
{
	notice.state.subject.user = "a\"b\\c\r\n\td\001\xe2\x80\xa8";
	notice.state.subject.account = "</script>\xff";
	notice.state.label = "x\r\nevent: gone\n\n";
	ck_assert_ptr_null(strpbrk(json(), "\r\n\t\001\xff"));
	ck_assert_ptr_null(strstr(json(), "\xe2\x80\xa8"));
	ck_assert_ptr_nonnull(strstr(json(), "a\\\"b\\\\c\\r\\n\\td"));
}
END_TEST

START_TEST(json_of_label_has_no_link)
{
	notice.state.label = "https://evil.example/";
	ck_assert_ptr_null(strstr(json(), "https://evil"));
}
END_TEST

START_TEST(json_of_webhook)
{
	const char *body = notice_json_webhook("5.1", &text);

	ck_assert(str_begins_with(body, "{\"type\":\"notice.trouble\","
		"\"timestamp\":\"2023-11-14T22:13:20Z\","
		"\"data\":{\"id\":\"5.1\","));
	ck_assert_str_eq(body + strlen(body) - 3, "\"}}");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("notice-json");
	TCase *tc = tcase_create("notice-json");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_add_test(tc, json_of_account);
	tcase_add_test(tc, json_of_login);
	tcase_add_test(tc, json_is_one_line);
	tcase_add_test(tc, json_of_label_has_no_link);
	tcase_add_test(tc, json_of_webhook);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
