/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "str.h"
#include "base64.h"
#include "redact.h"

#include <check.h>
#include <stdlib.h>

static const struct {
	const char *text, *result;
} texts[] = {
	{ "Invalid credentials (Failure)", "Invalid credentials (Failure)" },
	{ "", "" },
	{ "  a \t\t b\r\n c  ", "a b c" },
	{ "a\r\nMay 1 root: fake line", "a May 1 root: fake line" },
	{ "\033[2J\007x\177y", "?[2J?x?y" },
	{ "gr\xc3\xbc\xc3\x9f dich", "gr\xc3\xbc\xc3\x9f dich" },
	/* broken UTF-8: stray, cut short, overlong, surrogate, too high */
	{ "a\xff" "b", "a?b" },
	{ "a\xc3", "a?" },
	{ "\xc0\xaf", "??" },
	{ "\xed\xa0\x80x", "???x" },
	{ "\xf4\x90\x80\x80", "????" },
	/* C1 controls, NEL among them */
	{ "\xc2\x9b" "31m \xc2\x85", "?31m ?" },
	/* bidi and what cannot be seen */
	{ "\xe2\x80\xae" "gnp.exe", "?gnp.exe" },
	{ "a\xe2\x80\xaa\xe2\x80\xab\xe2\x80\xac\xe2\x80\xad" "b", "a????b" },
	{ "\xe2\x81\xa6\xe2\x81\xa7\xe2\x81\xa8\xe2\x81\xa9", "????" },
	{ "\xe2\x80\x8e\xe2\x80\x8f\xd8\x9c", "???" },
	{ "\xef\xbb\xbf\xe2\x80\x8b\xc2\xad", "???" },
	{ "\xef\xbf\xbe\xef\xbf\xbf", "??" },
	{ "\xf3\xa0\x80\xa1", "?" },
	/* white space of all kinds */
	{ "a\xc2\xa0\xe3\x80\x80\xe2\x80\xa8" "b", "a b" },
};

START_TEST(redact_text)
{
	ck_assert_str_eq(redact_remote_text(texts[_i].text, NULL),
			 texts[_i].result);
}
END_TEST

static const struct {
	const char *text, *secrets[3], *result;
} secrets[] = {
	{ "NO bad password hunter22 for x", { "hunter22" },
	  "NO bad password <secret> for x" },
	{ "hunter22hunter22", { "hunter22" }, "<secret>" },
	{ "xhunter22x", { "hunter22" }, "x<secret>x" },
	{ "Hunter22", { "hunter22" }, "Hunter22" },
	{ "anything", { "" }, "anything" },
	/* one inside another, overlapping: nothing stays behind */
	{ "abcdef", { "abcd", "abcdef" }, "<secret>" },
	{ "xabcdefgh.", { "xabc", "abcdefgh" }, "<secret>." },
	{ "aaaaaa", { "aaaa" }, "<secret>" },
	/* short ones as words */
	{ "the code is 42, not 421 or a42", { "42" },
	  "the code is <secret>, not 421 or a42" },
	{ "a bb a", { "a" }, "<secret> bb <secret>" },
	/* as a quoted string */
	{ "LOGIN anna \"p\\\"a\\\\ss\"", { "p\"a\\ss" },
	  "LOGIN anna \"<secret>\"" },
	/* what tidying makes a secret of */
	{ "it is two\t\twords", { "two words" }, "it is <secret>" },
	{ "two  words", { "two  words" }, "<secret>" },
	{ "p\xc3\xa4ss", { "p\xc3\xa4ss" }, "<secret>" },
	{ "p\xe4ss", { "p\xe4ss" }, "<secret>" },
	{ "line\r\nbreak", { "line\r\nbreak" }, "<secret>" },
};

START_TEST(redact_secret)
{
	ck_assert_str_eq(redact_remote_text(secrets[_i].text,
					    secrets[_i].secrets),
			 secrets[_i].result);
}
END_TEST

/* A server that echoes the SASL response, with logins of all lengths before
   the secret: it begins at each place of a base64 quantum. */
START_TEST(redact_base64)
{
	static const char *const logins[] = { "", "a", "an", "ann", "anna" };
	const char *const list[] = { "T0p!\xc3\xbf\xc3\xbe>?secret", NULL };
	const char *login = logins[_i % N_ELEMENTS(logins)];
	bool url = _i >= (int)N_ELEMENTS(logins);
	string_t *plain = t_str_new(64);
	const char *encoded, *text;

	str_append_c(plain, '\0');
	str_append(plain, login);
	str_append_c(plain, '\0');
	str_append(plain, list[0]);
	encoded = str_c(t_base64_scheme_encode(
		url ? &base64url_scheme : &base64_scheme, 0, 0,
		str_data(plain), str_len(plain)));
	text = t_strdup_printf("AUTHENTICATE PLAIN %s, failed", encoded);
	ck_assert_str_eq(redact_remote_text(text, list),
			 "AUTHENTICATE PLAIN <secret>, failed");
	encoded = str_c(t_base64_encode(0, 0, list[0], strlen(list[0])));
	text = t_strdup_printf("got \"%s\"", encoded);
	ck_assert_str_eq(redact_remote_text(text, list), "got \"<secret>\"");
}
END_TEST

START_TEST(redact_length)
{
	string_t *str = t_str_new(1024);
	const char *result;
	unsigned int i;

	for (i = 0; i < REDACT_MAX_BYTES; i++)
		str_append_c(str, 'x');
	ck_assert_str_eq(redact_remote_text(str_c(str), NULL), str_c(str));
	str_append_c(str, 'y');
	result = redact_remote_text(str_c(str), NULL);
	ck_assert_uint_eq(strlen(result), REDACT_MAX_BYTES);
	ck_assert_str_eq(result + REDACT_MAX_BYTES - 4, "x...");

	/* cut on a character */
	str_truncate(str, 0);
	for (i = 0; i < REDACT_MAX_BYTES; i++)
		str_append(str, "\xe2\x82\xac");
	result = redact_remote_text(str_c(str), NULL);
	ck_assert_uint_le(strlen(result), REDACT_MAX_BYTES);
	ck_assert_uint_gt(strlen(result), REDACT_MAX_BYTES - 4);
	ck_assert(uni_utf8_str_is_valid(result));
}
END_TEST

START_TEST(redact_name)
{
	string_t *str = t_str_new(1024);
	unsigned int i;

	ck_assert_str_eq(redact_remote_name("Lists/\xc3\x84rger"),
			 "Lists/\xc3\x84rger");
	ck_assert_str_eq(redact_remote_name("a\r\nb\033"), "a b?");
	for (i = 0; i < 255; i++)
		str_append_c(str, 'n');
	ck_assert_str_eq(redact_remote_name(str_c(str)), str_c(str));
	str_append_c(str, 'n');
	ck_assert_uint_eq(strlen(redact_remote_name(str_c(str))), 255);
}
END_TEST

static const char *random_text(unsigned int max_len)
{
	static const char bytes[] = "ab \t\r\n\001\033\"\\\xc3\xa4\xe2\x80\xae"
		"\xff\xf0\x9f";
	unsigned int i, len = random() % max_len;
	char *text = t_malloc0(len + 1);

	for (i = 0; i < len; i++)
		text[i] = bytes[random() % (sizeof(bytes) - 1)];
	return text;
}

static void check_plain(const char *text)
{
	unichar_t chr;
	int len;

	for (; *text != '\0'; text += len) {
		len = uni_utf8_get_char(text, &chr);
		ck_assert_int_gt(len, 0);
		ck_assert(!redact_char_is_unsafe(chr));
	}
}

/* Whatever comes in, what goes out is plain, short and stays as it is. */
START_TEST(redact_random)
{
	unsigned int seed = (getenv("TEST_SEED") != NULL ?
			     atoi(getenv("TEST_SEED")) : 1) + _i;
	unsigned int i;

	srandom(seed);
	for (i = 0; i < 200; i++) {
		const char *secret = random_text(8);
		const char *list[] = { secret, NULL };
		const char *text = t_strconcat(random_text(150), secret,
					       random_text(150), NULL);
		const char *once = redact_remote_text(text, list);

		check_plain(once);
		ck_assert_uint_le(strlen(once), REDACT_MAX_BYTES);
		ck_assert_str_eq(redact_remote_text(once, NULL), once);
		ck_assert_msg(strlen(secret) < 4 ||
			      strstr(once, secret) == NULL, "seed %u", seed);
		check_plain(redact_remote_name(text));
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("redact");
	TCase *tc = tcase_create("redact");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_loop_test(tc, redact_text, 0, N_ELEMENTS(texts));
	tcase_add_loop_test(tc, redact_secret, 0, N_ELEMENTS(secrets));
	tcase_add_loop_test(tc, redact_base64, 0, 10);
	tcase_add_test(tc, redact_length);
	tcase_add_test(tc, redact_name);
	tcase_add_loop_test(tc, redact_random, 0, 10);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
