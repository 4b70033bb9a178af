/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "str.h"
#include "core/record-queue.h"

#include <check.h>

#define MAX_BYTES 1024
/* room for some twenty of those */
#define RECORD "login-ok\tid=%"PRIu64"\ttime=7\tuser=anna\n"

static struct record_queue *queue;

static void setup(void)
{
	queue = record_queue_create(MAX_BYTES);
}

static void teardown(void)
{
	record_queue_free(&queue);
}

static void add(unsigned int count)
{
	for (; count > 0; count--) {
		struct record record = {
			.kind = RECORD_LOGIN_OK,
			.time = 7,
			.user = "anna",
		};

		record_queue_add(queue, &record);
	}
}

/* What would be sent, as much as size. */
static const char *sent(size_t size)
{
	const unsigned char *data;
	const char *text;
	size_t have;

	data = record_queue_next(queue, 9, &have);
	text = t_strndup(data, I_MIN(size, have));
	record_queue_sent(queue, I_MIN(size, have));
	return text;
}

static const char *records(uint64_t first, uint64_t last)
{
	string_t *str = t_str_new(1024);

	for (; first <= last; first++)
		str_printfa(str, RECORD, first);
	return str_c(str);
}

START_TEST(queue_sends_once)
{
	ck_assert_str_eq(sent(SIZE_MAX), "");
	add(3);
	ck_assert_str_eq(sent(SIZE_MAX), records(1, 3));
	ck_assert_str_eq(sent(SIZE_MAX), "");
	add(1);
	ck_assert_str_eq(sent(SIZE_MAX), records(4, 4));
}
END_TEST

START_TEST(queue_sends_again)
{
	add(4);
	(void)sent(strlen(records(1, 2)) + 5);
	record_queue_ack(queue, 1);
	record_queue_rewind(queue);
	ck_assert_str_eq(sent(SIZE_MAX), records(2, 4));
	record_queue_ack(queue, 4);
	record_queue_rewind(queue);
	ck_assert_str_eq(sent(SIZE_MAX), "");
}
END_TEST

/* Nothing that was not sent can have arrived. */
START_TEST(queue_disbelieves)
{
	add(3);
	record_queue_ack(queue, UINT64_MAX);
	ck_assert_str_eq(sent(strlen(records(1, 1)) + 1),
			 t_strconcat(records(1, 1), "l", NULL));
	record_queue_ack(queue, UINT64_MAX);
	record_queue_rewind(queue);
	ck_assert_str_eq(sent(SIZE_MAX), records(2, 3));
	record_queue_ack(queue, 0);
	record_queue_rewind(queue);
	ck_assert_str_eq(sent(SIZE_MAX), records(2, 3));
}
END_TEST

START_TEST(queue_counts_what_it_drops)
{
	const char *text;
	unsigned int fit = 0;

	while (record_queue_dropped(queue) == 0) {
		add(1);
		fit++;
	}
	fit--;
	ck_assert_uint_gt(fit, MAX_BYTES / strlen(records(10, 10)) - 2);
	add(9);
	ck_assert_uint_eq(record_queue_dropped(queue), 10);
	ck_assert_str_eq(sent(SIZE_MAX), records(1, fit));
	/* what was sent makes room for it */
	text = sent(SIZE_MAX);
	ck_assert_str_eq(text, t_strdup_printf(
		"dropped\tid=%u\ttime=9\tcount=10\n", fit + 1));
	ck_assert_uint_eq(record_queue_dropped(queue), 0);
}
END_TEST

/* The newest are kept to be sent again. */
START_TEST(queue_forgets_the_oldest)
{
	const char *text;
	unsigned int i;

	for (i = 1; i <= 1000; i++) {
		add(1);
		ck_assert_str_eq(sent(SIZE_MAX), records(i, i));
	}
	ck_assert_uint_eq(record_queue_dropped(queue), 0);
	record_queue_rewind(queue);
	text = sent(SIZE_MAX);
	ck_assert_uint_le(strlen(text), MAX_BYTES);
	ck_assert_uint_gt(strlen(text), MAX_BYTES - 2 * strlen(records(1, 1)));
	ck_assert_str_eq(text, records(1001 - strlen(text) /
				       strlen(records(999, 999)), 1000));
}
END_TEST

START_TEST(queue_counts_what_cannot_be_written)
{
	struct record record = { .kind = RECORD_LOGIN_OK };

	record_queue_add(queue, &record);
	ck_assert_uint_eq(record_queue_dropped(queue), 1);
	ck_assert_str_eq(sent(SIZE_MAX), "dropped\tid=1\ttime=9\tcount=1\n");
}
END_TEST

static unsigned int next_random(unsigned int *seed)
{
	*seed = *seed * 1103515245 + 12345;
	return *seed >> 16;
}

/* Reads whole lines off got: records that are new, and what they count. */
static uint64_t read_lines(string_t *got, uint64_t *last)
{
	uint64_t count = 0;
	const char *end;

	while ((end = strchr(str_c(got), '\n')) != NULL) {
		const char *error, *line = t_strdup_until(str_c(got), end);
		struct record record;

		if (record_parse(pool_datastack_create(), line, &record,
				 &error) < 0)
			i_panic("%s: %s", line, error);
		str_delete(got, 0, strlen(line) + 1);
		if (record.id <= *last)
			continue;
		if (record.id != *last + 1)
			i_panic("a gap at %s", line);
		*last = record.id;
		count += record.kind == RECORD_DROPPED ? record.count : 1;
	}
	return count;
}

/* Whatever happens, ids are read in order and without a gap, and everything is
   read or counted. */
START_TEST(queue_at_random)
{
	uint64_t added = 0, told = 0, last = 0;
	string_t *got = str_new(default_pool, 4096);
	unsigned int seed = _i + 1, i, count;

	for (i = 0; i < 3000; i++) T_BEGIN {
		switch (next_random(&seed) % 16) {
		case 0:
			str_truncate(got, 0);
			record_queue_rewind(queue);
			break;
		case 1:
			record_queue_ack(queue, last);
			break;
		default:
			count = next_random(&seed) % 8;
			add(count);
			added += count;
			str_append(got, sent(next_random(&seed) % 300));
		}
		told += read_lines(got, &last);
	} T_END;
	str_truncate(got, 0);
	record_queue_rewind(queue);
	/* the second has the count for which the first made room */
	str_append(got, sent(SIZE_MAX));
	str_append(got, sent(SIZE_MAX));
	told += read_lines(got, &last);
	ck_assert_uint_eq(told, added);
	str_free(&got);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("record-queue");
	TCase *tc = tcase_create("record-queue");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, queue_sends_once);
	tcase_add_test(tc, queue_sends_again);
	tcase_add_test(tc, queue_disbelieves);
	tcase_add_test(tc, queue_counts_what_it_drops);
	tcase_add_test(tc, queue_forgets_the_oldest);
	tcase_add_test(tc, queue_counts_what_cannot_be_written);
	tcase_add_loop_test(tc, queue_at_random, 0, 20);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
