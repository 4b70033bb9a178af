/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "base64.h"
#include "buffer.h"
#include "hex-binary.h"
#include "str.h"
#include "write-full.h"
#include "dovecot-compat.h"
#include "key-file.h"
#include "secret.h"

#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct secret_owner anna = { "anna", "work", "password" };

static const unsigned char key_a[SECRET_KEY_SIZE] = { 1, 2, 3 };
static const unsigned char key_b[SECRET_KEY_SIZE] = { 4, 5, 6 };

static pool_t pool;
static struct secret_ring *ring;
static char *dir;

static void setup(void)
{
	static char template[64];
	const char *error;

	pool = pool_allocfree_create("test secret");
	ring = secret_ring_init();
	ck_assert_int_eq(secret_ring_add(ring, "1", key_a, &error), 0);
	i_strocpy(template, "/tmp/test-secret-XXXXXX", sizeof(template));
	dir = mkdtemp(template);
	ck_assert_ptr_nonnull(dir);
}

static const char *file(const char *name)
{
	return t_strconcat(dir, "/", name, NULL);
}

static void teardown(void)
{
	i_unlink_if_exists(file("master.key"));
	i_unlink_if_exists(file("header.key"));
	/* fails if anything else was left in it */
	ck_assert_int_eq(rmdir(dir), 0);
	secret_ring_deinit(&ring);
	pool_unref(&pool);
}

static const char *seal(const struct secret_owner *owner, const char *secret)
{
	const char *sealed, *error;

	ck_assert_int_eq(secret_seal(pool, ring, owner, secret,
				     &sealed, &error), 0);
	return sealed;
}

static const char *open_error(const struct secret_owner *owner,
			      const char *sealed)
{
	const char *secret = "unset", *error = NULL;

	ck_assert_int_eq(secret_open(pool, ring, owner, sealed,
				     &secret, &error), -1);
	ck_assert_ptr_null(secret);
	ck_assert_ptr_nonnull(error);
	return error;
}

static void assert_opens(const struct secret_owner *owner, const char *sealed,
			 const char *expected)
{
	const char *secret, *error = "";

	ck_assert_msg(secret_open(pool, ring, owner, sealed, &secret,
				  &error) == 0, "%s", error);
	ck_assert_str_eq(secret, expected);
}

/*
 * Sealing
 */

static const char *const secrets[] = {
	"", "x", "correct horse battery staple",
	"\"quotes\\ \001\t p\xc3\xa4ss {5}",
	"sixteen bytes...", "seventeen bytes..",
};

START_TEST(secret_roundtrip)
{
	const char *sealed = seal(&anna, secrets[_i]);

	ck_assert(strncmp(sealed, "v1:1:", 5) == 0);
	ck_assert(*secrets[_i] == '\0' || strstr(sealed, secrets[_i]) == NULL ||
		  strlen(secrets[_i]) == 1);
	assert_opens(&anna, sealed, secrets[_i]);
}
END_TEST

START_TEST(secret_is_never_sealed_the_same)
{
	ck_assert_str_ne(seal(&anna, "same"), seal(&anna, "same"));
}
END_TEST

static const struct secret_owner others[] = {
	{ "bert", "work", "password" },
	{ "anna", "home", "password" },
	{ "anna", "work", "token" },
	{ "annawork", "", "password" },
	{ "anna\twork", "password", "" },
	{ "", "anna\twork", "password" },
};

START_TEST(secret_of_somebody_else)
{
	ck_assert_ptr_nonnull(strstr(open_error(&others[_i],
						seal(&anna, "s3cret")),
				     "belongs to another"));
}
END_TEST

/* Each bit of nonce, ciphertext and tag. */
START_TEST(secret_bit_flip)
{
	const char *sealed = seal(&anna, "s3cret");
	buffer_t *bin = t_base64_decode_str(sealed + 5);
	unsigned char *data = buffer_get_modifiable_data(bin, NULL);
	unsigned int bit;

	ck_assert_uint_eq(bin->used, 12 + 6 + 16);
	for (bit = 0; bit < bin->used * 8; bit++) {
		string_t *changed = str_new(pool, 128);

		data[bit / 8] ^= 1 << (bit % 8);
		str_append(changed, "v1:1:");
		base64_encode(bin->data, bin->used, changed);
		ck_assert_ptr_nonnull(strstr(open_error(&anna, str_c(changed)),
					     "was changed"));
		data[bit / 8] ^= 1 << (bit % 8);
	}
}
END_TEST

START_TEST(secret_truncated)
{
	const char *sealed = seal(&anna, "s3cret");
	size_t len;

	for (len = 0; len < strlen(sealed); len++)
		(void)open_error(&anna, p_strndup(pool, sealed, len));
	(void)open_error(&anna, p_strconcat(pool, sealed, "AAAA", NULL));
}
END_TEST

static const struct {
	const char *sealed, *error;
} malformed[] = {
	{ "", "version" },
	{ "s3cret", "version" },
	{ "v2:1:AAAA", "version" },
	{ "v1:1", "version" },
	{ "v1:1:AAAA:AAAA", "version" },
	{ "v1:1:", "truncated" },
	{ "v1:1:AAAAAAAAAAAAAAAAAAAA", "truncated" },
	{ "v1:1:????????????????????????????????????????", "base64" },
	{ "v1:2:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "key '2'" },
	{ "v1::AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "key ''" },
};

START_TEST(secret_malformed)
{
	ck_assert_ptr_nonnull(strstr(open_error(&anna, malformed[_i].sealed),
				     malformed[_i].error));
}
END_TEST

START_TEST(secret_limits)
{
	string_t *large = str_new(pool, SECRET_MAX_SIZE + 1);
	const char *sealed, *error;

	while (str_len(large) < SECRET_MAX_SIZE)
		str_append_c(large, 'x');
	assert_opens(&anna, seal(&anna, str_c(large)), str_c(large));
	str_append_c(large, 'x');
	ck_assert_int_eq(secret_seal(pool, ring, &anna, str_c(large),
				     &sealed, &error), -1);
	ck_assert_ptr_null(sealed);
}
END_TEST

/* A new key seals, the old one still opens. */
START_TEST(secret_rotation)
{
	const char *old = seal(&anna, "old"), *new, *error;
	struct secret_ring *new_ring;

	ck_assert_int_eq(secret_ring_add(ring, "2024-b", key_b, &error), 0);
	ck_assert_str_eq(secret_ring_current(ring), "2024-b");
	new = seal(&anna, "new");
	ck_assert(strncmp(new, "v1:2024-b:", 10) == 0);
	assert_opens(&anna, old, "old");
	assert_opens(&anna, new, "new");

	/* the id is not taken for the key: another key by that name fails */
	new_ring = secret_ring_init();
	ck_assert_int_eq(secret_ring_add(new_ring, "1", key_b, &error), 0);
	secret_ring_deinit(&ring);
	ring = new_ring;
	(void)open_error(&anna, old);
	(void)open_error(&anna, new);
}
END_TEST

static const char *const bad_ids[] = {
	"", "12345678901234567", "a b", "a:b", "a/b", "\xc3\xa4", "1",
};

START_TEST(secret_key_id)
{
	const char *error = NULL;

	ck_assert_int_eq(secret_ring_add(ring, bad_ids[_i], key_b, &error), -1);
	ck_assert_ptr_nonnull(error);
	ck_assert_str_eq(secret_ring_current(ring), "1");
}
END_TEST

START_TEST(secret_no_key)
{
	struct secret_ring *empty = secret_ring_init();
	const char *sealed, *error;

	ck_assert_ptr_null(secret_ring_current(empty));
	ck_assert_int_eq(secret_seal(pool, empty, &anna, "x",
				     &sealed, &error), -1);
	secret_ring_deinit(&empty);
}
END_TEST

/*
 * Key files
 */

static void write_file(const char *name, const char *text, mode_t mode)
{
	int fd = open(file(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	ck_assert_int_ne(fd, -1);
	ck_assert_int_eq(fchmod(fd, mode), 0);
	ck_assert_int_eq(write_full(fd, text, strlen(text)), 0);
	i_close_fd(&fd);
}

START_TEST(key_file_made_once)
{
	unsigned char first[KEY_FILE_HEADER_KEY_SIZE];
	unsigned char second[KEY_FILE_HEADER_KEY_SIZE];
	struct secret_ring *read = secret_ring_init();
	const char *error = "";
	struct stat st;

	ck_assert_int_eq(key_file_create_master(file("master.key"), &error), 1);
	ck_assert_int_eq(stat(file("master.key"), &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	ck_assert_uint_eq(st.st_nlink, 1);
	ck_assert_int_eq(key_file_create_master(file("master.key"), &error), 0);
	ck_assert_msg(key_file_read_master(file("master.key"), read,
					   &error) == 0, "%s", error);
	ck_assert_str_eq(secret_ring_current(read), "1");
	secret_ring_deinit(&read);

	ck_assert_int_eq(key_file_create_header(file("header.key"), &error), 1);
	ck_assert_int_eq(key_file_read_header(file("header.key"), first,
					      &error), 0);
	ck_assert_int_eq(key_file_create_header(file("header.key"), &error), 0);
	ck_assert_int_eq(key_file_read_header(file("header.key"), second,
					      &error), 0);
	ck_assert_mem_eq(first, second, sizeof(first));
	memset(second, 0, sizeof(second));
	ck_assert_mem_ne(first, second, sizeof(first));
}
END_TEST

#define HEX64 "00112233445566778899aabbccddeeff" \
	"00112233445566778899aabbccddeeff"
#define HEX64_B "ff112233445566778899aabbccddeeff" \
	"00112233445566778899aabbccddeeff"

static const struct {
	const char *text;
	mode_t mode;
	/* NULL = good */
	const char *error;
} master_files[] = {
	{ "1 "HEX64"\n", 0600, NULL },
	{ "1 "HEX64, 0400, NULL },
	{ "# rotated\n1 "HEX64"\n\n2 "HEX64_B"\n", 0600, NULL },
	{ "", 0600, "is empty" },
	{ "\n", 0600, "holds no key" },
	{ "# nothing\n", 0600, "holds no key" },
	{ "1 ", 0600, "line 1: not 64 hex digits" },
	{ "1 00112233", 0600, "line 1: not 64 hex digits" },
	{ "1 "HEX64"\n2 0011", 0600, "line 2: not 64 hex digits" },
	{ "1 "HEX64"00\n", 0600, "not 64 hex digits" },
	{ "1 zz112233445566778899aabbccddeeff"
	  "00112233445566778899aabbccddeeff\n", 0600, "not 64 hex digits" },
	{ HEX64"\n", 0600, "line 1: not '<id> <key>'" },
	{ "1 "HEX64"\n1 "HEX64_B"\n", 0600, "occurs twice" },
	{ "1 "HEX64"\n", 0640, "chmod 0600" },
	{ "1 "HEX64"\n", 0604, "chmod 0600" },
	{ "1 "HEX64"\n", 0620, "chmod 0600" },
};

START_TEST(key_file_master)
{
	struct secret_ring *read = secret_ring_init();
	const char *error = "";
	int ret;

	write_file("master.key", master_files[_i].text, master_files[_i].mode);
	ret = key_file_read_master(file("master.key"), read, &error);
	ck_assert_int_eq(ret, master_files[_i].error == NULL ? 0 : -1);
	if (ret < 0) {
		ck_assert_msg(strstr(error, master_files[_i].error) != NULL,
			      "%s", error);
		ck_assert_ptr_nonnull(strstr(error, "master.key"));
		/* whatever is wrong, the key itself is not told */
		ck_assert_ptr_null(strstr(error, "112233"));
	}
	/* what is there is left as it is */
	ck_assert_int_eq(key_file_create_master(file("master.key"), &error), 0);
	secret_ring_deinit(&read);
}
END_TEST

static const struct {
	const char *text;
	mode_t mode;
	const char *error;
} header_files[] = {
	{ HEX64"\n", 0600, NULL },
	{ HEX64"\n", 0640, NULL },
	{ HEX64, 0440, NULL },
	{ "", 0600, "is empty" },
	{ "0011\n", 0600, "not 64 hex digits" },
	{ HEX64"\nmore\n", 0600, "not 64 hex digits" },
	{ "1 "HEX64"\n", 0600, "not 64 hex digits" },
	{ HEX64"\n", 0644, "chmod 0600" },
	{ HEX64"\n", 0660, "chmod 0600" },
	{ HEX64"\n", 0602, "chmod 0600" },
};

START_TEST(key_file_header)
{
	unsigned char key[KEY_FILE_HEADER_KEY_SIZE];
	const char *error = "";
	int ret;

	write_file("header.key", header_files[_i].text, header_files[_i].mode);
	ret = key_file_read_header(file("header.key"), key, &error);
	ck_assert_int_eq(ret, header_files[_i].error == NULL ? 0 : -1);
	if (ret < 0) {
		ck_assert_msg(strstr(error, header_files[_i].error) != NULL,
			      "%s", error);
		ck_assert_uint_eq(key[0] | key[1] | key[31], 0);
	} else {
		ck_assert_str_eq(binary_to_hex(key, sizeof(key)), HEX64);
	}
}
END_TEST

START_TEST(key_file_other_kinds)
{
	struct secret_ring *read = secret_ring_init();
	const char *error = "";

	ck_assert_int_eq(key_file_read_master(file("master.key"), read,
					      &error), -1);
	ck_assert_ptr_nonnull(strstr(error, "No such file"));
	/* returns at once instead of waiting for a writer */
	ck_assert_int_eq(mkfifo(file("master.key"), 0600), 0);
	ck_assert_int_eq(key_file_read_master(file("master.key"), read,
					      &error), -1);
	ck_assert_ptr_nonnull(strstr(error, "not a regular file"));
	ck_assert_int_eq(key_file_create_master("/nonexistent/dir/key",
						&error), -1);
	secret_ring_deinit(&read);
}
END_TEST

static void add_seal_tests(TCase *tc)
{
	tcase_add_loop_test(tc, secret_roundtrip, 0, N_ELEMENTS(secrets));
	tcase_add_test(tc, secret_is_never_sealed_the_same);
	tcase_add_loop_test(tc, secret_of_somebody_else, 0, N_ELEMENTS(others));
	tcase_add_test(tc, secret_bit_flip);
	tcase_add_test(tc, secret_truncated);
	tcase_add_loop_test(tc, secret_malformed, 0, N_ELEMENTS(malformed));
	tcase_add_test(tc, secret_limits);
	tcase_add_test(tc, secret_rotation);
	tcase_add_loop_test(tc, secret_key_id, 0, N_ELEMENTS(bad_ids));
	tcase_add_test(tc, secret_no_key);
}

static void add_file_tests(TCase *tc)
{
	tcase_add_test(tc, key_file_made_once);
	tcase_add_loop_test(tc, key_file_master, 0, N_ELEMENTS(master_files));
	tcase_add_loop_test(tc, key_file_header, 0, N_ELEMENTS(header_files));
	tcase_add_test(tc, key_file_other_kinds);
}

int main(void)
{
	Suite *suite = suite_create("secret");
	TCase *tc = tcase_create("secret");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_checked_fixture(tc, setup, teardown);
	add_seal_tests(tc);
	add_file_tests(tc);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
