/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "array.h"
#include "str.h"
#include "hex-binary.h"
#include "sha2.h"
#include "hmac.h"
#include "mail-types.h"
#include "core/trace-header.h"

#include <check.h>
#include <stdlib.h>

static pool_t pool;
static const unsigned char key[TRACE_HEADER_KEY_SIZE] =
	"0123456789abcdef0123456789abcdef";
static const char *const keywords[] = {
	"$Forwarded", "p\xc3\xa4; mac=,", "", "x", NULL
};
static const char *const no_keywords[] = { NULL };

static const struct trace_header example = {
	.user = "anna; x=y@example.org",
	.account = "work",
	.source_id = "00112233445566778899aabbccddeeff",
	.slot = 63,
	.nonce = 0xfedcba9876543210ULL,
	.remote_folder = "Lists.&AOQ-\r\n; uid=1",
	.uidvalidity = UINT32_MAX,
	.uid = 2147483648U,
	.mailbox = "Lists/\xc3\xa4",
	.guid = "ffeeddccbbaa99887766554433221100",
	.size = 200ULL * 1024 * 1024 * 1024,
	.flags = MAIL_SEEN | MAIL_FLAGGED,
	.keywords = keywords + 3,
	.received_time = 1700000000,
	.received_tz_mins = -570,
	.nofx = TRUE,
	.retry = FALSE,
};

static void setup(void)
{
	pool = pool_allocfree_create("test trace header");
}

static void teardown(void)
{
	pool_unref(&pool);
}

static const char *header_value(const char *line)
{
	ck_assert_ptr_nonnull(line);
	ck_assert_int_eq(strncmp(line, TRACE_HEADER_NAME": v1; ",
				 strlen(TRACE_HEADER_NAME) + 6), 0);
	ck_assert_ptr_null(strpbrk(line, "\r\n\t"));
	return line + strlen(TRACE_HEADER_NAME) + 2;
}

static const char *write_value(const struct trace_header *header)
{
	const char *error;

	return header_value(trace_header_write(header, key, &error));
}

static int read_value(const char *value, struct trace_header *header_r,
		      const char **error_r)
{
	return trace_header_read(pool, value, example.user, key,
				 header_r, error_r);
}

static void
check_equal(const struct trace_header *a, const struct trace_header *b)
{
	unsigned int i;

	ck_assert_str_eq(a->user, b->user);
	ck_assert_str_eq(a->account, b->account);
	ck_assert_str_eq(a->source_id, b->source_id);
	ck_assert_uint_eq(a->slot, b->slot);
	ck_assert(a->nonce == b->nonce);
	ck_assert_str_eq(a->remote_folder, b->remote_folder);
	ck_assert_uint_eq(a->uidvalidity, b->uidvalidity);
	ck_assert_uint_eq(a->uid, b->uid);
	ck_assert_str_eq(a->mailbox, b->mailbox);
	ck_assert_str_eq(a->guid, b->guid);
	ck_assert(a->size == b->size);
	ck_assert_int_eq(a->flags, b->flags);
	for (i = 0; a->keywords[i] != NULL && b->keywords[i] != NULL; i++)
		ck_assert_str_eq(a->keywords[i], b->keywords[i]);
	ck_assert_ptr_eq(a->keywords[i], b->keywords[i]);
	ck_assert(a->received_time == b->received_time);
	ck_assert_int_eq(a->received_tz_mins, b->received_tz_mins);
	ck_assert_int_eq(a->nofx, b->nofx);
	ck_assert_int_eq(a->retry, b->retry);
}

START_TEST(trace_roundtrip)
{
	struct trace_header header;
	const char *error;

	ck_assert_int_eq(read_value(write_value(&example), &header, &error),
			 0);
	check_equal(&header, &example);
}
END_TEST

START_TEST(trace_extremes)
{
	struct trace_header header = example, again;
	const char *error;

	header.keywords = no_keywords;
	header.flags = 0;
	header.size = 0;
	header.slot = 0;
	header.nonce = 0;
	header.received_time = -86400LL * 365 * 100;
	header.received_tz_mins = 0;
	header.nofx = FALSE;
	header.retry = TRUE;
	header.uid = header.uidvalidity = 1;
	ck_assert_int_eq(read_value(write_value(&header), &again, &error), 0);
	check_equal(&again, &header);
}
END_TEST

/* \Deleted would expunge it here, \Recent is not ours to set */
START_TEST(trace_flags_dropped)
{
	struct trace_header header = example, again;
	const char *error;

	header.flags = MAIL_FLAGS_MASK;
	ck_assert_int_eq(read_value(write_value(&header), &again, &error), 0);
	ck_assert_int_eq(again.flags, MAIL_ANSWERED | MAIL_FLAGGED |
			 MAIL_SEEN | MAIL_DRAFT);
}
END_TEST

/* a keyword without a character is none */
START_TEST(trace_keywords)
{
	static const char *const read[] = {
		"$Forwarded", "p\xc3\xa4; mac=,", "x", NULL
	};
	struct trace_header header = example, again;
	const char *error;

	header.keywords = keywords;
	ck_assert_int_eq(read_value(write_value(&header), &again, &error), 0);
	header.keywords = read;
	check_equal(&again, &header);
	header.keywords = keywords + 2;
	ck_assert_int_eq(read_value(write_value(&header), &again, &error), 0);
	header.keywords = keywords + 3;
	check_equal(&again, &header);
}
END_TEST

START_TEST(trace_other_user)
{
	struct trace_header header, zero;
	const char *error = "";

	i_zero(&header);
	i_zero(&zero);
	ck_assert_int_eq(trace_header_read(pool, write_value(&example), "bert",
					   key, &header, &error), -1);
	ck_assert_msg(strstr(error, "another user") != NULL, "%s", error);
	ck_assert_int_eq(memcmp(&header, &zero, sizeof(zero)), 0);
}
END_TEST

START_TEST(trace_other_key)
{
	unsigned char other[TRACE_HEADER_KEY_SIZE];
	struct trace_header header;
	const char *error = "";

	memcpy(other, key, sizeof(other));
	other[_i] ^= 0x80;
	ck_assert_int_eq(trace_header_read(pool, write_value(&example),
					   example.user, other,
					   &header, &error), -1);
	ck_assert_msg(strstr(error, "signature") != NULL, "%s", error);
}
END_TEST

/* Every single byte is signed, and so is where the value ends. */
START_TEST(trace_tampered)
{
	const char *value = write_value(&example), *error;
	struct trace_header header, zero;
	size_t i, len = strlen(value);

	i_zero(&zero);
	for (i = 0; i < len; i++) {
		char *changed = p_strdup(pool, value);

		i_zero(&header);
		changed[i] = changed[i] == 'A' ? 'B' : 'A';
		ck_assert_int_eq(read_value(changed, &header, &error), -1);
		changed = p_strndup(pool, value, i);
		ck_assert_int_eq(read_value(changed, &header, &error), -1);
		ck_assert_int_eq(memcmp(&header, &zero, sizeof(zero)), 0);
	}
	ck_assert_int_eq(read_value(t_strconcat(value, "0", NULL), &header,
				    &error), -1);
	ck_assert_int_eq(read_value(t_strconcat(value, "; retry=1", NULL),
				    &header, &error), -1);
	ck_assert_int_eq(read_value(t_strconcat(value, "; ", value, NULL),
				    &header, &error), -1);
	/* one spelling only */
	ck_assert_int_eq(read_value(t_str_ucase(value), &header, &error), -1);
	ck_assert_int_eq(read_value("", &header, &error), -1);
	ck_assert_int_eq(read_value("v1", &header, &error), -1);
	ck_assert_int_eq(read_value("; mac=", &header, &error), -1);
}
END_TEST

static const char *sign(const char *value)
{
	buffer_t *mac = t_hmac_str(&hash_method_sha256, key, sizeof(key),
				   value);

	return t_strdup_printf("%s; mac=%s", value,
			       binary_to_hex(mac->data, mac->used));
}

/* What a right signature does not excuse: another version of ours may have
   written it. */
static const struct {
	const char *from, *to, *error;
} bad_fields[] = {
	{ "v1; ", "v2; ", "version" },
	{ "v1; ", "v1;  ", "user" },
	{ "; uid=2147483648", "", "uid" },
	{ "; uid=2147483648", "; uid=2147483648; uid=2147483648", "mailbox" },
	{ "; uid=2147483648", "; uid=02147483648", "uid" },
	{ "; uid=2147483648", "; uid=+2147483648", "uid" },
	{ "; uid=2147483648", "; uid=4294967296", "uid" },
	{ "; uid=2147483648", "; uid=0", "uid" },
	{ "; uid=2147483648", "; uid=", "uid" },
	{ "; uid=2147483648", "; UID=2147483648", "uid" },
	{ "; uidvalidity=4294967295", "; uidvalidity=0", "uidvalidity" },
	{ "; slot=63", "; slot=65536", "slot" },
	{ "; slot=63", "; slot=-1", "slot" },
	{ "fedcba9876543210", "FEDCBA9876543210", "nonce" },
	{ "fedcba9876543210", "fedcba987654321", "nonce" },
	{ "00112233445566778899aabbccddeeff",
	  "0011223344556677889/aabbccddeeff", "source" },
	{ "ffeeddccbbaa99887766554433221100",
	  "ffeeddccbbaa99887766554433221100x", "guid" },
	{ "ffeeddccbbaa99887766554433221100",
	  "ffeeddccbbaa9988776655443322110", "guid" },
	{ "; flags=FS", "; flags=SF", "flags" },
	{ "; flags=FS", "; flags=FFS", "flags" },
	{ "; flags=FS", "; flags=X", "flags" },
	{ "; flags=FS", "; flags=f", "flags" },
	{ "; keywords=eA", "; keywords=eA,", "keywords" },
	{ "; keywords=eA", "; keywords=,eA", "keywords" },
	{ "; keywords=eA", "; keywords=eA==", "keywords" },
	{ "; keywords=eA", "; keywords=AA", "keywords" },
	{ "; keywords=eA", "; keywords=*", "keywords" },
	{ "; date=1700000000", "; date=1700000000 ", "date" },
	{ "; date=1700000000", "; date=9223372036854775808", "date" },
	{ "; date=1700000000", "; date=-0", "date" },
	{ "; tz=-570", "; tz=-1441", "tz" },
	{ "; tz=-570", "; tz=1441", "tz" },
	{ "; nofx=1", "; nofx=2", "nofx" },
	{ "; nofx=1", "; nofx=", "nofx" },
	{ "; nofx=1", "; nofx=11", "nofx" },
	{ "; retry=0", "; retry=0; more=1", "too many" },
	{ "; retry=0", "; retry=0;", "too many" },
	{ "; size=214748364800", "; size=9223372036854775808", "size" },
};

START_TEST(trace_bad_field)
{
	const char *value = write_value(&example), *pos, *error = "";
	struct trace_header header;

	value = t_strdup_until(value, strstr(value, "; mac="));
	ck_assert_int_eq(read_value(sign(value), &header, &error), 0);
	ck_assert_int_eq(read_value(sign(""), &header, &error), -1);
	ck_assert_int_eq(read_value(sign("v1"), &header, &error), -1);
	pos = strstr(value, bad_fields[_i].from);
	ck_assert_ptr_nonnull(pos);
	value = t_strconcat(t_strdup_until(value, pos), bad_fields[_i].to,
			    pos + strlen(bad_fields[_i].from), NULL);
	ck_assert_int_eq(read_value(sign(value), &header, &error), -1);
	ck_assert_msg(strstr(error, bad_fields[_i].error) != NULL,
		      "%s", error);
}
END_TEST

static const struct {
	/* what a space becomes on the way */
	const char *fold;
	int ret;
} folds[] = {
	{ " ", 0 },
	{ "\r\n ", 0 },
	{ "\n ", 0 },
	{ "\r\n\t", 0 },
	{ "\n\t ", 0 },
	{ " \r\n ", 0 },
	{ "\r\n", -1 },
	{ "\n", -1 },
	{ "\r", -1 },
	{ "\t", -1 },
	{ "  ", -1 },
	{ "", -1 },
};

START_TEST(trace_folded)
{
	const char *value = write_value(&example), *error;
	struct trace_header header;
	string_t *str = t_str_new(2048);

	for (; *value != '\0'; value++) {
		if (*value == ' ')
			str_append(str, folds[_i].fold);
		else
			str_append_c(str, *value);
	}
	ck_assert_int_eq(read_value(str_c(str), &header, &error),
			 folds[_i].ret);
	if (folds[_i].ret == 0)
		check_equal(&header, &example);
	/* white space at either end means nothing */
	ck_assert_int_eq(read_value(t_strconcat(" \t", str_c(str), " \r\n",
						NULL), &header, &error),
			 folds[_i].ret);
}
END_TEST

START_TEST(trace_too_long)
{
	struct trace_header header = example, again;
	ARRAY(const char *) many;
	const char *keyword = "keyword-with-forty-characters-0123456789";
	const char *line, *error = "";
	unsigned int count = 0;

	p_array_init(&many, pool, 256);
	for (;; count++) {
		(void)array_append_space(&many);
		header.keywords = array_front(&many);
		line = trace_header_write(&header, key, &error);
		if (line == NULL)
			break;
		ck_assert_uint_le(strlen(line), TRACE_HEADER_MAX_SIZE);
		ck_assert_int_eq(read_value(header_value(line), &again,
					    &error), 0);
		ck_assert_uint_eq(str_array_length(again.keywords), count);
		*array_idx_modifiable(&many, count) = keyword;
	}
	ck_assert_msg(strstr(error, "limit") != NULL, "%s", error);
	ck_assert_uint_gt(count, 100);
}
END_TEST

static const char *random_word(void)
{
	unsigned int i, len = 1 + random() % 12;
	char *word = t_malloc0(len + 1);

	for (i = 0; i < len; i++)
		word[i] = 1 + random() % 255;
	return word;
}

START_TEST(trace_random)
{
	unsigned int seed = (getenv("TEST_SEED") != NULL ?
			     atoi(getenv("TEST_SEED")) : 1) + _i;
	const char *words[4] = { NULL };
	struct trace_header header = example, again;
	const char *error = "";
	unsigned int i;

	srandom(seed);
	for (i = 0; i < (unsigned int)random() % 4; i++)
		words[i] = random_word();
	header.keywords = words;
	header.remote_folder = random_word();
	header.mailbox = random_word();
	header.account = random_word();
	header.uid = 1 + random();
	header.nonce = ((uint64_t)random() << 33) ^ random();
	header.received_time = random() - 1000000000;
	ck_assert_msg(read_value(write_value(&header), &again, &error) == 0,
		      "seed %u: %s", seed, error);
	check_equal(&again, &header);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("trace-header");
	TCase *tc = tcase_create("trace-header");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, trace_roundtrip);
	tcase_add_test(tc, trace_extremes);
	tcase_add_test(tc, trace_flags_dropped);
	tcase_add_test(tc, trace_keywords);
	tcase_add_test(tc, trace_other_user);
	tcase_add_loop_test(tc, trace_other_key, 0, TRACE_HEADER_KEY_SIZE);
	tcase_add_test(tc, trace_tampered);
	tcase_add_loop_test(tc, trace_bad_field, 0, N_ELEMENTS(bad_fields));
	tcase_add_loop_test(tc, trace_folded, 0, N_ELEMENTS(folds));
	tcase_add_test(tc, trace_too_long);
	tcase_add_loop_test(tc, trace_random, 0, 50);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
