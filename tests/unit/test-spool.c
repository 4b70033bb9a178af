/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "istream.h"
#include "sha2.h"
#include "str.h"
#include "spool.h"

#include <check.h>
#include <stdlib.h>

#define TEMP_PREFIX "/tmp/test-spool."

static const struct {
	const char *text;
	uoff_t lf_size, crlf_size;
	/* what is hashed */
	const char *crlf;
} texts[] = {
	{ "", 0, 0, "" },
	{ "a", 1, 1, "a" },
	{ "a\r\nb\r\n", 4, 6, "a\r\nb\r\n" },
	{ "a\nb\n", 4, 6, "a\r\nb\r\n" },
	{ "\n", 1, 2, "\r\n" },
	{ "\r\n", 1, 2, "\r\n" },
	{ "\r", 1, 1, "\r" },
	{ "a\rb\r\r\n\n", 6, 8, "a\rb\r\r\n\r\n" },
	{ "a\n\r\n\nb", 5, 8, "a\r\n\r\n\r\nb" },
};

static void append(struct spool *spool, const char *text, size_t step)
{
	size_t len = strlen(text), pos, n;

	for (pos = 0; pos < len; pos += n) {
		n = I_MIN(step, len - pos);
		ck_assert_int_eq(spool_append(spool, (const void *)(text + pos),
					      n), 0);
	}
	ck_assert_int_eq(spool_finish(spool), 0);
}

static void check_content(struct spool *spool, const char *text)
{
	struct istream *input = spool_get_stream(spool);
	string_t *got = t_str_new(256);
	const unsigned char *data;
	size_t size;

	while (i_stream_read_more(input, &data, &size) > 0) {
		str_append_data(got, data, size);
		i_stream_skip(input, size);
	}
	ck_assert_int_eq(input->stream_errno, 0);
	i_stream_unref(&input);
	ck_assert_uint_eq(str_len(got), strlen(text));
	ck_assert(memcmp(str_data(got), text, str_len(got)) == 0);
}

/* Sizes and hash do not depend on how the bytes came. */
START_TEST(spool_counts)
{
	const char *text = texts[_i].text;
	unsigned char digest[SHA256_RESULTLEN];
	struct spool *spool = spool_create(TEMP_PREFIX);
	size_t step;

	sha256_get_digest(texts[_i].crlf, strlen(texts[_i].crlf), digest);
	for (step = 1; step <= I_MAX(strlen(text), 1); step++) {
		spool_reset(spool);
		append(spool, text, step);
		ck_assert_uint_eq(spool_size(spool), strlen(text));
		ck_assert_uint_eq(spool_lf_size(spool), texts[_i].lf_size);
		ck_assert_uint_eq(spool_crlf_size(spool),
				  texts[_i].crlf_size);
		ck_assert(memcmp(spool_hash(spool), digest,
				 SPOOL_HASH_SIZE) == 0);
		check_content(spool, text);
	}
	spool_unref(&spool);
}
END_TEST

/* What does not fit into memory goes to a file that nobody can find. */
START_TEST(spool_file)
{
	size_t size = SPOOL_MEMORY_MAX * 3 + 17, i;
	char *text = i_malloc(size + 1);
	struct spool *spool = spool_create(TEMP_PREFIX);

	for (i = 0; i < size; i++)
		text[i] = i % 61 == 60 ? '\n' : 'a' + i % 26;
	append(spool, text, 1000);
	check_content(spool, text);
	/* each stream has its own place */
	check_content(spool, text);
	spool_reset(spool);
	append(spool, "small again", 100);
	check_content(spool, "small again");
	spool_unref(&spool);
	i_free(text);
}
END_TEST

START_TEST(spool_cannot_write)
{
	struct spool *spool = spool_create("/nonexistent/dir/prefix");
	unsigned char data[4096] = { 0 };
	unsigned int i;
	int ret = 0;

	for (i = 0; i <= SPOOL_MEMORY_MAX / sizeof(data) && ret == 0; i++)
		ret = spool_append(spool, data, sizeof(data));
	ck_assert_int_eq(ret, -1);
	ck_assert_ptr_nonnull(strstr(spool_get_error(spool),
				     "/nonexistent/dir/prefix"));
	/* and it stays failed */
	ck_assert_int_eq(spool_append(spool, data, 1), -1);
	ck_assert_int_eq(spool_finish(spool), -1);
	spool_unref(&spool);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("spool");
	TCase *tc = tcase_create("spool");
	SRunner *runner;
	int failed;

	lib_init();
	tcase_add_loop_test(tc, spool_counts, 0, N_ELEMENTS(texts));
	tcase_add_test(tc, spool_file);
	tcase_add_test(tc, spool_cannot_write);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
