/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "core/audience.h"
#include "core/outbox.h"

#include <check.h>

#define START ((time_t)1700000000)

static const struct outbox_limits limits = {
	.retry_secs = 10, .max_retry_secs = 60, .give_up_secs = 1000,
};

static pool_t pool;
static struct outbox *outbox;

static void setup(void)
{
	pool = pool_allocfree_create("test outbox");
	outbox = outbox_init(&limits);
}

static void teardown(void)
{
	outbox_deinit(&outbox);
	pool_unref(&pool);
}

static struct outbox_item *
add(uint64_t incident, unsigned int said, enum notice_kind kind)
{
	const struct notice notice = {
		.kind = kind,
		.state = {
			.subject = { NOTICE_ORIGIN_ACCOUNT, "anna", "anna/x" },
			.label = "At work",
			.incident = incident, .said = said,
			.told_time = START,
		},
	};

	return outbox_add(outbox, &notice);
}

static unsigned int due(unsigned int channels, time_t now)
{
	ARRAY_TYPE(outbox_row) rows;

	p_array_init(&rows, pool, 4);
	outbox_due_rows(outbox, channels, now, &rows);
	return array_count(&rows);
}

static struct outbox_row *
find(unsigned int said, const char *recipient, unsigned int channel)
{
	return outbox_row_find(outbox, 7, said, recipient, channel);
}

START_TEST(outbox_back_off)
{
	static const unsigned int waits[] = { 10, 20, 40, 60, 60, 60 };
	struct outbox_item *item = add(7, 1, NOTICE_KIND_TROUBLE);
	struct outbox_row *row;
	time_t now = START;
	unsigned int i;

	outbox_row_add(outbox, item, "anna", AUDIENCE_MAIL, now);
	outbox_row_add(outbox, item, "anna", AUDIENCE_MAIL, now);
	ck_assert_uint_eq(due(AUDIENCE_WEBHOOK, now), 0);
	for (i = 0; i < N_ELEMENTS(waits); i++) {
		ck_assert_uint_eq(due(AUDIENCE_ALL, now - 1), 0);
		ck_assert_uint_eq(due(AUDIENCE_ALL, now), 1);
		row = find(1, "anna", AUDIENCE_MAIL);
		outbox_row_begin(row);
		ck_assert_uint_eq(due(AUDIENCE_ALL, now), 0);
		outbox_row_end(outbox, row, JOURNAL_RESULT_WAITING, 0, now);
		now += waits[i];
	}
	outbox_row_begin(row);
	/* the other side knows better */
	outbox_row_end(outbox, row, JOURNAL_RESULT_WAITING, 300, now);
	ck_assert_int_eq(row->time, now + 300);
	outbox_row_begin(row);
	outbox_row_end(outbox, row, JOURNAL_RESULT_WAITING, 0, START + 1001);
	ck_assert_int_eq(row->result, JOURNAL_RESULT_FAILED);
	ck_assert_uint_eq(due(AUDIENCE_ALL, now * 2), 0);
	ck_assert_ptr_null(outbox_recipient_rows(outbox, "anna"));
}
END_TEST

static unsigned int rows_of(const char *recipient)
{
	struct outbox_row *row = outbox_recipient_rows(outbox, recipient);
	unsigned int count = 0;

	for (; row != NULL; row = row->next) {
		ck_assert_str_eq(row->recipient, recipient);
		count++;
	}
	return count;
}

START_TEST(outbox_recipients)
{
	struct outbox_item *one = add(7, 1, NOTICE_KIND_TROUBLE);
	struct outbox_item *other = add(8, 1, NOTICE_KIND_TROUBLE);

	outbox_row_add(outbox, one, "anna", AUDIENCE_FLASH, START);
	outbox_row_add(outbox, one, "berta", AUDIENCE_FLASH, START);
	outbox_row_add(outbox, other, "anna", AUDIENCE_FLASH, START);
	ck_assert_uint_eq(rows_of("anna"), 2);
	ck_assert_uint_eq(rows_of("berta"), 1);
	ck_assert_uint_eq(rows_of("carla"), 0);
	outbox_row_end(outbox, find(1, "anna", AUDIENCE_FLASH),
		       JOURNAL_RESULT_TOLD, 0, START);
	ck_assert_uint_eq(rows_of("anna"), 1);
	outbox_ack(outbox, other, START);
	ck_assert(other->notice.state.acked && !one->notice.state.acked);
	ck_assert_uint_eq(rows_of("anna"), 0);
	outbox_remove(outbox, &one);
	ck_assert_uint_eq(rows_of("berta"), 0);
	ck_assert_ptr_null(outbox_find(outbox, 7));
}
END_TEST

/* Who heard of the trouble hears of its end, and nobody else. */
START_TEST(outbox_remembers_told)
{
	struct outbox_item *item = add(7, 1, NOTICE_KIND_TROUBLE);

	outbox_row_add(outbox, item, "anna", AUDIENCE_MAIL, START);
	outbox_row_add(outbox, item, "berta", AUDIENCE_MAIL, START);
	outbox_row_add(outbox, item, "carla", AUDIENCE_MAIL, START);
	outbox_row_add(outbox, item, "dora", AUDIENCE_MAIL, START);
	outbox_row_end(outbox, find(1, "anna", AUDIENCE_MAIL),
		       JOURNAL_RESULT_TOLD, 0, START);
	/* on its way when the next notice is made */
	outbox_row_begin(find(1, "berta", AUDIENCE_MAIL));
	item = add(7, 2, NOTICE_KIND_DIGEST);
	ck_assert_ptr_null(find(1, "anna", AUDIENCE_MAIL));
	ck_assert(!item->planned);
	ck_assert_uint_eq(due(AUDIENCE_ALL, START * 2), 0);
	outbox_told(outbox, 7, "dora");
	item = add(7, 3, NOTICE_KIND_RECOVERY);
	ck_assert(outbox_was_told(item, "anna"));
	ck_assert(outbox_was_told(item, "berta"));
	ck_assert(!outbox_was_told(item, "carla"));
	ck_assert(outbox_was_told(item, "dora"));
	ck_assert_ptr_null(add(7, 3, NOTICE_KIND_FORGOTTEN));
	ck_assert_ptr_null(outbox_find(outbox, 7));
}
END_TEST

START_TEST(outbox_done)
{
	struct outbox_item *item = add(7, 1, NOTICE_KIND_TROUBLE);

	item->planned = TRUE;
	ck_assert(!outbox_item_is_done(outbox, item, START * 2));
	item = add(7, 2, NOTICE_KIND_RECOVERY);
	ck_assert(!outbox_item_is_done(outbox, item, START));
	outbox_row_add(outbox, item, "anna", AUDIENCE_FLASH, START);
	item->planned = TRUE;
	ck_assert(!outbox_item_is_done(outbox, item, START + 1000));
	/* nobody came for it */
	ck_assert(outbox_item_is_done(outbox, item, START + 1001));
	outbox_row_begin(find(2, "anna", AUDIENCE_FLASH));
	ck_assert(!outbox_item_is_done(outbox, item, START + 1001));
	outbox_row_end(outbox, find(2, "anna", AUDIENCE_FLASH),
		       JOURNAL_RESULT_TOLD, 0, START);
	ck_assert(outbox_item_is_done(outbox, item, START));
}
END_TEST

static void restore(const struct journal_entry *entry, void *context)
{
	outbox_restore(context, entry);
}

/* What is saved and restored is the same, but for what a channel had. */
START_TEST(outbox_saved)
{
	struct outbox_item *item = add(7, 1, NOTICE_KIND_TROUBLE);
	struct outbox *old = outbox;
	struct journal_entry done = {
		.kind = JOURNAL_KIND_DONE, .seen = { .incident = 7 },
	};
	struct outbox_row *row;

	outbox_row_add(outbox, item, "anna", AUDIENCE_MAIL, START);
	outbox_row_end(outbox, find(1, "anna", AUDIENCE_MAIL),
		       JOURNAL_RESULT_TOLD, 0, START);
	item = add(7, 2, NOTICE_KIND_DIGEST);
	outbox_row_add(outbox, item, "berta", AUDIENCE_MAIL, START);
	outbox_row_begin(find(2, "berta", AUDIENCE_MAIL));
	outbox_row_end(outbox, find(2, "berta", AUDIENCE_MAIL),
		       JOURNAL_RESULT_WAITING, 0, START);
	outbox_row_begin(find(2, "berta", AUDIENCE_MAIL));
	outbox_row_add(outbox, item, "", AUDIENCE_WEBHOOK, START);
	outbox_row_end(outbox, find(2, "", AUDIENCE_WEBHOOK),
		       JOURNAL_RESULT_FAILED, 0, START + 5);

	outbox = outbox_init(&limits);
	outbox_item_save(item, restore, outbox);
	outbox_deinit(&old);

	item = outbox_find(outbox, 7);
	ck_assert_str_eq(item->notice.state.label, "At work");
	ck_assert_str_eq(item->notice.state.subject.user, "anna");
	ck_assert_int_eq(item->notice.kind, NOTICE_KIND_DIGEST);
	ck_assert(outbox_was_told(item, "anna"));
	ck_assert(!outbox_was_told(item, "berta"));
	row = find(2, "berta", AUDIENCE_MAIL);
	ck_assert_uint_eq(row->tries, 1);
	ck_assert_int_eq(row->time, START + 10);
	ck_assert(!row->busy && row->doubtful);
	ck_assert_uint_eq(due(AUDIENCE_ALL, START + 10), 1);
	outbox_row_begin(row);
	outbox_row_end(outbox, row, JOURNAL_RESULT_WAITING, 0, START + 10);
	ck_assert(!row->doubtful);
	row = find(2, "", AUDIENCE_WEBHOOK);
	ck_assert_int_eq(row->result, JOURNAL_RESULT_FAILED);
	ck_assert_int_eq(row->time, START + 5);
	outbox_restore(outbox, &done);
	ck_assert_ptr_null(outbox_find(outbox, 7));
}
END_TEST

static unsigned int tells(const struct outbox_item *item, const char *name,
			  bool holds_capability)
{
	static const char *const nothing[] = { NULL };
	const struct audience_config config = { .channels = AUDIENCE_MAIL };
	const struct audience_user user = {
		.name = name,
		.holds_capability = holds_capability,
		.addresses = nothing,
		.language = "",
	};

	return audience_tells(&config, &item->notice, item->groups, &user,
			      outbox_was_told(item, name), "");
}

/* Who has a row was meant: before that is found out again, it still holds. */
START_TEST(outbox_restored_is_meant)
{
	struct outbox_item *item = add(7, 1, NOTICE_KIND_TROUBLE);
	struct outbox *old = outbox;

	item->groups = AUDIENCE_GROUP_OWNER;
	outbox_row_add(outbox, item, "anna", AUDIENCE_MAIL, START);
	outbox = outbox_init(&limits);
	outbox_item_save(item, restore, outbox);
	outbox_deinit(&old);

	item = outbox_find(outbox, 7);
	ck_assert(!item->planned);
	ck_assert_uint_eq(due(AUDIENCE_ALL, START), 1);
	ck_assert_uint_eq(tells(item, "anna", FALSE), AUDIENCE_MAIL);
	ck_assert_uint_eq(tells(item, "berta", TRUE), AUDIENCE_MAIL);
	ck_assert_uint_eq(tells(item, "berta", FALSE), 0);
}
END_TEST

START_TEST(outbox_counted)
{
	struct outbox_item *item = add(7, 1, NOTICE_KIND_TROUBLE);
	struct outbox_counts counts;

	(void)add(8, 1, NOTICE_KIND_TROUBLE);
	item->planned = TRUE;
	outbox_row_add(outbox, item, "anna", AUDIENCE_MAIL, START);
	outbox_row_add(outbox, item, "anna", AUDIENCE_FLASH, START);
	outbox_row_add(outbox, item, "", AUDIENCE_WEBHOOK, START);
	outbox_row_begin(find(1, "anna", AUDIENCE_MAIL));
	outbox_row_end(outbox, find(1, "", AUDIENCE_WEBHOOK),
		       JOURNAL_RESULT_TOLD, 0, START);
	outbox_count(outbox, &counts);
	ck_assert_uint_eq(counts.notices, 2);
	ck_assert_uint_eq(counts.unplanned, 1);
	ck_assert_uint_eq(counts.waiting, 1);
	ck_assert_uint_eq(counts.busy, 1);
	ck_assert_uint_eq(counts.told, 1);
	ck_assert_uint_eq(counts.dropped + counts.failed, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("outbox");
	TCase *tc = tcase_create("outbox");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, outbox_back_off);
	tcase_add_test(tc, outbox_recipients);
	tcase_add_test(tc, outbox_remembers_told);
	tcase_add_test(tc, outbox_done);
	tcase_add_test(tc, outbox_saved);
	tcase_add_test(tc, outbox_restored_is_meant);
	tcase_add_test(tc, outbox_counted);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
