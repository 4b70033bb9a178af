/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "base64.h"
#include "str.h"
#include "dovecot-compat.h"
#include "core/http-ask.h"

#include <check.h>

static const struct {
	const char *method, *path;
	int ret;
	enum http_route route;
} paths[] = {
	{ "GET", "/v1/notices", 1, HTTP_ROUTE_NOTICES },
	{ "GET", "/v1/events", 1, HTTP_ROUTE_EVENTS },
	{ "POST", "/v1/token", 1, HTTP_ROUTE_TOKEN },
	{ "POST", "/v1/ack", 1, HTTP_ROUTE_ACK },
	{ "OPTIONS", "/v1/ack", 1, HTTP_ROUTE_PREFLIGHT },
	{ "POST", "/v1/notices", -1, 0 },
	{ "GET", "/v1/ack", -1, 0 },
	{ "get", "/v1/notices", -1, 0 },
	{ "GET", "/v1/notices/", 0, 0 },
	{ "GET", "/v1", 0, 0 },
	{ "GET", "", 0, 0 },
	{ "OPTIONS", "*", 0, 0 },
};

START_TEST(ask_route)
{
	enum http_route route;
	const char *allow;

	ck_assert_int_eq(http_ask_route(paths[_i].method, paths[_i].path,
					&route, &allow), paths[_i].ret);
	if (paths[_i].ret > 0)
		ck_assert_int_eq(route, paths[_i].route);
	ck_assert_int_eq(*allow != '\0', paths[_i].ret != 0);
}
END_TEST

START_TEST(ask_query)
{
	ck_assert_str_eq(http_ask_query("token=abc", "token"), "abc");
	ck_assert_str_eq(http_ask_query("a=1&token=abc&token=d", "token"),
			 "abc");
	ck_assert_str_eq(http_ask_query("token=", "token"), "");
	ck_assert_ptr_null(http_ask_query("tokens=abc", "token"));
	ck_assert_ptr_null(http_ask_query("xtoken=abc", "token"));
	ck_assert_ptr_null(http_ask_query("token", "token"));
	ck_assert_ptr_null(http_ask_query("", "token"));
	ck_assert_ptr_null(http_ask_query(NULL, "token"));
}
END_TEST

static const char *basic(const void *data, size_t size)
{
	return str_c(t_base64_encode(0, SIZE_MAX, data, size));
}

static const struct {
	const char *scheme, *data, *query;
	enum http_login login;
	const char *secret;
} logins[] = {
	{ NULL, NULL, NULL, HTTP_LOGIN_NONE, "" },
	{ NULL, NULL, "a=b", HTTP_LOGIN_NONE, "" },
	{ NULL, NULL, "token=abc", HTTP_LOGIN_TOKEN, "abc" },
	{ "Bearer", "abc", NULL, HTTP_LOGIN_TOKEN, "abc" },
	/* what a header says counts */
	{ "bearer", "abc", "token=def", HTTP_LOGIN_TOKEN, "abc" },
	{ "Bearer", NULL, "token=def", HTTP_LOGIN_BAD, "" },
	{ "Digest", "x", "token=def", HTTP_LOGIN_BAD, "" },
	{ "Basic", NULL, NULL, HTTP_LOGIN_BAD, "" },
	{ "Basic", "", NULL, HTTP_LOGIN_BAD, "" },
	{ "Basic", "!!!!", NULL, HTTP_LOGIN_BAD, "" },
	/* anna:secret; NUL anna NUL secret */
	{ "Basic", "YW5uYTpzZWNyZXQ=", NULL, HTTP_LOGIN_BASIC,
	  "AGFubmEAc2VjcmV0" },
	{ "bAsIc", "YW5uYTpzZWNyZXQ=", "token=x", HTTP_LOGIN_BASIC,
	  "AGFubmEAc2VjcmV0" },
};

START_TEST(ask_login)
{
	const char *secret;

	ck_assert_int_eq(http_ask_login(logins[_i].scheme, logins[_i].data,
					logins[_i].query, &secret),
			 logins[_i].login);
	ck_assert_str_eq(secret, logins[_i].secret);
}
END_TEST

static const struct {
	const char *basic;
	size_t size;
	const char *plain;
} passwords[] = {
	{ "a:", 2, "\0a\0" },
	{ "a:b:c", 5, "\0a\0b:c" },
	{ "a@b:\xc3\xa4", 6, "\0a@b\0\xc3\xa4" },
	{ ":b", 2, NULL },
	{ "ab", 2, NULL },
	/* would be taken for somebody else's login */
	{ "a\0b:c", 5, NULL },
	{ "a:b\0c", 5, NULL },
};

START_TEST(ask_login_basic)
{
	const char *secret, *plain = passwords[_i].plain;
	enum http_login login = http_ask_login("Basic",
		basic(passwords[_i].basic, passwords[_i].size), NULL, &secret);

	if (plain == NULL) {
		ck_assert_int_eq(login, HTTP_LOGIN_BAD);
		return;
	}
	ck_assert_int_eq(login, HTTP_LOGIN_BASIC);
	ck_assert_str_eq(secret, basic(plain, passwords[_i].size + 1));
}
END_TEST

START_TEST(ask_login_huge)
{
	string_t *str = t_str_new(8192);
	const char *secret;

	str_append(str, "a:");
	while (str_len(str) < 4096)
		str_append_c(str, 'x');
	ck_assert_int_eq(http_ask_login("Basic",
		basic(str_data(str), str_len(str)), NULL, &secret),
		HTTP_LOGIN_BAD);
}
END_TEST

#define ALLOWED "https://mail.example.org http://localhost:8080"
static const struct {
	const char *origins, *host, *origin;
	enum http_origin result;
} origins[] = {
	{ "", "h", NULL, HTTP_ORIGIN_OWN },
	{ "", "h", "https://h", HTTP_ORIGIN_OWN },
	{ "", "H:8080", "http://h:8080", HTTP_ORIGIN_OWN },
	{ "", "h:8080", "http://h", HTTP_ORIGIN_FOREIGN },
	{ "", "h", "https://h.evil.example", HTTP_ORIGIN_FOREIGN },
	{ "", "h", "null", HTTP_ORIGIN_FOREIGN },
	{ "", "h", "", HTTP_ORIGIN_FOREIGN },
	{ "", "", "https://", HTTP_ORIGIN_FOREIGN },
	{ "", NULL, "https://h", HTTP_ORIGIN_FOREIGN },
	{ ALLOWED, "h", "https://mail.example.org", HTTP_ORIGIN_ALLOWED },
	{ ALLOWED, "h", "http://localhost:8080", HTTP_ORIGIN_ALLOWED },
	{ ALLOWED, "h", "http://mail.example.org", HTTP_ORIGIN_FOREIGN },
	{ ALLOWED, "h", "https://mail.example.org.evil.example",
	  HTTP_ORIGIN_FOREIGN },
	{ "null", "h", "null", HTTP_ORIGIN_ALLOWED },
};

START_TEST(ask_origin)
{
	ck_assert_int_eq(http_ask_origin(origins[_i].origins, origins[_i].host,
					 origins[_i].origin),
			 origins[_i].result);
}
END_TEST

static const struct {
	const char *networks, *peer, *forwarded, *client;
} clients[] = {
	{ "", "127.0.0.1", "192.0.2.1", "127.0.0.1" },
	{ "127.0.0.0/8", "127.0.0.1", NULL, "127.0.0.1" },
	{ "127.0.0.0/8", "127.0.0.1", "", "127.0.0.1" },
	{ "127.0.0.0/8", "127.0.0.1", "192.0.2.1", "192.0.2.1" },
	{ "127.0.0.0/8", "127.0.0.1", "2001:db8::1", "2001:db8::1" },
	/* who is no proxy says what it likes */
	{ "127.0.0.0/8", "198.51.100.1", "192.0.2.1", "198.51.100.1" },
	{ "127.0.0.0/8", "127.0.0.1", "198.51.100.9, 192.0.2.1", "192.0.2.1" },
	{ "127.0.0.0/8", "127.0.0.1", "198.51.100.9,,192.0.2.1 ,",
	  "192.0.2.1" },
	/* one proxy behind another */
	{ "127.0.0.0/8 10.0.0.0/8", "127.0.0.1", "192.0.2.1, 10.1.1.1",
	  "192.0.2.1" },
	{ "127.0.0.0/8 10.0.0.0/8", "127.0.0.1", "10.2.2.2, 10.1.1.1",
	  "10.2.2.2" },
	{ "127.0.0.0/8 10.0.0.0/8", "127.0.0.1", "192.0.2.1, x, 10.1.1.1",
	  "10.1.1.1" },
	{ "127.0.0.0/8", "127.0.0.1", "unknown", "127.0.0.1" },
	{ "127.0.0.0/8", "127.0.0.1", "192.0.2.1:80", "127.0.0.1" },
	{ "::1", "::1", "192.0.2.1", "192.0.2.1" },
};

START_TEST(ask_client)
{
	struct ip_addr ip;

	ck_assert_int_eq(net_addr2ip(clients[_i].peer, &ip), 0);
	http_ask_client(clients[_i].networks, clients[_i].forwarded, &ip);
	ck_assert_str_eq(net_ip2addr(&ip), clients[_i].client);
}
END_TEST

START_TEST(ask_id)
{
	ck_assert(http_ask_id_is_valid("12.1"));
	ck_assert(http_ask_id_is_valid("a"));
	ck_assert(!http_ask_id_is_valid(""));
	ck_assert(!http_ask_id_is_valid("12 1"));
	ck_assert(!http_ask_id_is_valid("12.1\n"));
	ck_assert(!http_ask_id_is_valid("12/1"));
	ck_assert(http_ask_id_is_valid(t_strdup_printf("%064d", 1)));
	ck_assert(!http_ask_id_is_valid(t_strdup_printf("%065d", 1)));
}
END_TEST

START_TEST(ask_resume)
{
	static const char *const ids[] = { "1.1", "2.1", "2.2" };

	ck_assert_uint_eq(http_ask_resume(ids, 3, NULL), 0);
	ck_assert_uint_eq(http_ask_resume(ids, 3, "1.1"), 1);
	ck_assert_uint_eq(http_ask_resume(ids, 3, "2.2"), 3);
	ck_assert_uint_eq(http_ask_resume(ids, 3, "7.1"), 0);
	ck_assert_uint_eq(http_ask_resume(ids, 0, "1.1"), 0);
}
END_TEST

START_TEST(ask_event)
{
	string_t *str = t_str_new(64);

	http_ask_event(str, "notice", "1.1", "{}");
	http_ask_event(str, "gone", NULL, "[]");
	ck_assert_str_eq(str_c(str), "event: notice\nid: 1.1\ndata: {}\n\n"
			 "event: gone\ndata: []\n\n");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("http-ask");
	TCase *tc = tcase_create("http-ask");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_loop_test(tc, ask_route, 0, N_ELEMENTS(paths));
	tcase_add_test(tc, ask_query);
	tcase_add_loop_test(tc, ask_login, 0, N_ELEMENTS(logins));
	tcase_add_loop_test(tc, ask_login_basic, 0, N_ELEMENTS(passwords));
	tcase_add_test(tc, ask_login_huge);
	tcase_add_loop_test(tc, ask_origin, 0, N_ELEMENTS(origins));
	tcase_add_loop_test(tc, ask_client, 0, N_ELEMENTS(clients));
	tcase_add_test(tc, ask_id);
	tcase_add_test(tc, ask_resume);
	tcase_add_test(tc, ask_event);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
