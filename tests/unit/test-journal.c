/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "str.h"
#include "strfuncs.h"
#include "write-full.h"
#include "core/journal-line.h"
#include "journal.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/test-journal.XXXXXX";
static char path[64];
/* what replay saw: kinds and incidents */
static string_t *seen;
static struct journal *journal;
static struct journal_report report;
static const char *error;

static struct journal_entry test_state(uint64_t incident)
{
	struct journal_entry entry;
	struct notice_state *state = &entry.notice.state;

	i_zero(&entry);
	entry.kind = JOURNAL_KIND_STATE;
	state->subject.origin = NOTICE_ORIGIN_ACCOUNT;
	state->subject.user = "an\tna\n\001";
	state->subject.account = "17";
	state->label = "Work \xc3\xa4";
	state->phase = NOTICE_PHASE_TOLD;
	state->incident = incident;
	state->said = 2;
	state->told_class = NOTICE_CLASS_TLS;
	state->told_pattern = NOTICE_PATTERN_ATTACK;
	state->told_time = 1000;
	state->hint = NOTICE_HINT_EXPIRED;
	memcpy(state->protocol, "imap", 5);
	state->count = 5;
	state->told_count = 3;
	state->first_time = 1;
	state->last_time = 2000;
	state->ok_time = 3;
	state->acked = TRUE;
	state->tallies[NOTICE_CLASS_TLS] = (struct notice_tally){ 5, 1, 2000 };
	state->tallies[NOTICE_CLASS_LOCAL] = (struct notice_tally){ 1, 7, 7 };
	(void)net_addr2ip("192.0.2.0", &state->networks[0].net);
	(void)net_addr2ip("2001:db8::", &state->networks[1].net);
	state->networks[1].last = 99;
	state->networks_count = 2;
	return entry;
}

static struct journal_entry test_seen(uint64_t incident)
{
	struct journal_entry entry = {
		.kind = JOURNAL_KIND_SEEN,
		.seen = { incident, 3, "bert", 4, JOURNAL_RESULT_TOLD, 2, 77 },
	};

	return entry;
}

static const char *print(const struct journal_entry *entry)
{
	string_t *str = t_str_new(256);

	journal_line_print(str, entry);
	ck_assert_int_eq(str_c(str)[str_len(str) - 1], '\n');
	ck_assert_ptr_eq(strchr(str_c(str), '\n'),
			 str_c(str) + str_len(str) - 1);
	return t_strndup(str_data(str), str_len(str) - 1);
}

START_TEST(journal_line_kinds)
{
	struct journal_entry entry = test_state(12), again;
	pool_t pool = pool_allocfree_create("test line");
	const char *line;

	entry.kind = _i;
	entry.notice.kind = NOTICE_KIND_DIGEST;
	entry.notice.new_count = 4;
	entry.seen = test_seen(UINT64_MAX - 1).seen;
	entry.producer = (struct journal_producer){ "au\tth", "00ff", 77 };
	line = print(&entry);
	ck_assert_int_eq(journal_line_parse(pool, line, &again, &error), 0);
	ck_assert_int_eq(again.kind, entry.kind);
	ck_assert_str_eq(print(&again), line);
	if (_i == JOURNAL_KIND_STATE) {
		ck_assert_str_eq(again.notice.state.subject.user,
				 "an\tna\n\001");
		ck_assert_int_eq(memcmp(again.notice.state.tallies,
					entry.notice.state.tallies,
					sizeof(entry.notice.state.tallies)), 0);
		ck_assert(again.notice.state.acked);
		ck_assert_int_eq(again.notice.state.networks[1].last, 99);
	} else if (_i == JOURNAL_KIND_SEEN) {
		ck_assert_str_eq(again.seen.recipient, "bert");
		ck_assert_int_eq(again.seen.time, 77);
	} else if (_i == JOURNAL_KIND_PRODUCER) {
		ck_assert_str_eq(again.producer.name, "au\tth");
		ck_assert_str_eq(again.producer.start, "00ff");
		ck_assert_uint_eq(again.producer.last_id, 77);
	}
	pool_unref(&pool);
}
END_TEST

/* Whichever byte is changed or missing, the line is not taken. */
START_TEST(journal_line_damage)
{
	struct journal_entry entry = test_state(12), again;
	pool_t pool = pool_allocfree_create("test line");
	const char *line = print(&entry);
	char *bad = t_strdup_noconst(line);
	size_t i, len = strlen(line);

	for (i = 0; i < len; i++) {
		bad[i] ^= 1;
		ck_assert_int_eq(journal_line_parse(pool, bad, &again, &error),
				 -1);
		bad[i] ^= 1;
		ck_assert_int_eq(journal_line_parse(pool, t_strndup(line, i),
						    &again, &error), -1);
	}
	pool_unref(&pool);
}
END_TEST

static void
note_entry(const struct journal_entry *entry, void *context ATTR_UNUSED)
{
	if (entry->kind == JOURNAL_KIND_STATE) {
		str_printfa(seen, "s%d ",
			    (int)entry->notice.state.incident);
	} else
		str_printfa(seen, "n%d ", (int)entry->seen.incident);
}

static void open_journal(void)
{
	str_truncate(seen, 0);
	ck_assert_msg(journal_open(path, 0, note_entry, NULL, &journal, &report,
				   &error) == 0, "%s", error);
}

static void append(const struct journal_entry *entry)
{
	ck_assert_int_eq(journal_append(journal, entry, &error), 0);
}

static void append_states(unsigned int first, unsigned int count)
{
	unsigned int i;

	for (i = first; i < first + count; i++) {
		struct journal_entry entry = test_state(i);

		append(&entry);
	}
	ck_assert_int_eq(journal_sync(journal, &error), 0);
}

static off_t file_size(void)
{
	struct stat st;

	ck_assert_int_eq(stat(path, &st), 0);
	return st.st_size;
}

static void append_raw(const char *data)
{
	int fd = open(path, O_WRONLY | O_APPEND);

	ck_assert_int_eq(write_full(fd, data, strlen(data)), 0);
	ck_assert_int_eq(close(fd), 0);
}

START_TEST(journal_again)
{
	struct journal_entry entry = test_seen(9);
	uint64_t id;

	open_journal();
	ck_assert(report.created);
	id = journal_id(journal);
	append_states(1, 3);
	append(&entry);
	journal_close(&journal);
	open_journal();
	ck_assert_str_eq(str_c(seen), "s1 s2 s3 n9 ");
	ck_assert_uint_eq(report.entries, 4);
	ck_assert_uint_eq(report.torn_bytes, 0);
	ck_assert_uint_eq(report.corrupt_lines, 0);
	ck_assert(!report.created);
	ck_assert_uint_eq(journal_id(journal), id);
	journal_close(&journal);
}
END_TEST

/* Cut at each byte of the last line: the others stay, and what is written then
   is whole. */
START_TEST(journal_torn)
{
	struct journal_entry entry = test_state(2);
	off_t good, full, cut;

	open_journal();
	append_states(1, 1);
	good = file_size();
	append_states(2, 1);
	full = file_size();
	journal_close(&journal);
	for (cut = full - 1; cut >= good; cut--) {
		ck_assert_int_eq(truncate(path, cut), 0);
		open_journal();
		ck_assert_str_eq(str_c(seen), "s1 ");
		ck_assert_uint_eq(report.torn_bytes, cut - good);
		ck_assert_uint_eq(report.corrupt_lines, 0);
		ck_assert_int_eq(file_size(), good);
		append(&entry);
		journal_close(&journal);
		open_journal();
		ck_assert_str_eq(str_c(seen), "s1 s2 ");
		ck_assert_uint_eq(report.torn_bytes, 0);
		journal_close(&journal);
	}
}
END_TEST

static const char *long_line(void)
{
	char *line = t_malloc0(3 * JOURNAL_LINE_MAX);

	memset(line, 'x', 3 * JOURNAL_LINE_MAX - 2);
	line[3 * JOURNAL_LINE_MAX - 2] = '\n';
	return line;
}

/* In the middle it is reported, and passed over. */
START_TEST(journal_corrupt)
{
	static const char *const lines[] = {
		"garbage\n", "\n", "state\t1\t00000000\n", NULL,
	};
	const char *line = lines[_i] == NULL ? long_line() : lines[_i];
	off_t offset, size;

	open_journal();
	append_states(1, 1);
	offset = file_size();
	append_raw(line);
	append_raw(line);
	append_states(2, 1);
	size = file_size();
	journal_close(&journal);
	open_journal();
	ck_assert_str_eq(str_c(seen), "s1 s2 ");
	ck_assert_uint_ge(report.corrupt_lines, 2);
	ck_assert_uint_eq(report.corrupt_offset, offset);
	ck_assert_str_ne(report.corrupt_error, "");
	ck_assert_uint_eq(report.torn_bytes, 0);
	ck_assert_int_eq(file_size(), size);
	/* at the end it is a torn tail */
	append_raw(line);
	journal_close(&journal);
	open_journal();
	ck_assert_uint_eq(report.torn_bytes, strlen(line));
	ck_assert_int_eq(file_size(), size);
	journal_close(&journal);
}
END_TEST

static const struct {
	const char *data, *error;
} no_journals[] = {
	{ "", "no journal" },
	{ "hello\n", "no journal" },
	{ "cred-notify-journal\t1", "no journal" },
	{ "cred-notify-journal\t2\t0123456789abcdef\n", "version 2" },
};

START_TEST(journal_refused)
{
	int fd = creat(path, 0600);

	ck_assert_int_eq(close(fd), 0);
	append_raw(no_journals[_i].data);
	ck_assert_int_eq(journal_open(path, 0, note_entry, NULL, &journal,
				      &report, &error), -1);
	ck_assert_ptr_nonnull(strstr(error, no_journals[_i].error));
	ck_assert_int_eq(file_size(), strlen(no_journals[_i].data));
}
END_TEST

START_TEST(journal_locked)
{
	struct journal *other;

	open_journal();
	ck_assert_int_eq(journal_open(path, 0, note_entry, NULL, &other, &report,
				      &error), -1);
	ck_assert_ptr_nonnull(strstr(error, "another process"));
	journal_close(&journal);
	open_journal();
	journal_close(&journal);
}
END_TEST

START_TEST(journal_compacts)
{
	struct journal_entry entry = test_state(42);
	struct journal_compact *compact;
	uint64_t id;
	off_t size;

	open_journal();
	id = journal_id(journal);
	ck_assert(!journal_wants_compaction(journal));
	append_states(1, 8000);
	ck_assert(journal_wants_compaction(journal));
	size = file_size();
	/* thought better of it */
	ck_assert_int_eq(journal_compact_begin(journal, &compact, &error), 0);
	journal_compact_add(compact, &entry);
	journal_compact_rollback(&compact);
	ck_assert_int_eq(file_size(), size);

	ck_assert_int_eq(journal_compact_begin(journal, &compact, &error), 0);
	journal_compact_add(compact, &entry);
	ck_assert_int_eq(journal_compact_commit(&compact, &error), 0);
	ck_assert_int_lt(file_size(), 1000);
	ck_assert(!journal_wants_compaction(journal));
	append_states(43, 1);
	/* the new file is locked as well */
	ck_assert_int_eq(journal_open(path, 0, note_entry, NULL, &journal,
				      &report, &error), -1);
	journal_close(&journal);
	open_journal();
	ck_assert_str_eq(str_c(seen), "s42 s43 ");
	ck_assert_uint_eq(journal_id(journal), id);
	journal_close(&journal);
}
END_TEST

/* A crash in compaction leaves the old file, and the next one works. */
START_TEST(journal_compact_crash)
{
	const char *new_path = t_strconcat(path, ".new", NULL);
	struct journal_compact *compact;
	int fd = creat(new_path, 0600);

	ck_assert_int_eq(close(fd), 0);
	open_journal();
	append_states(1, 2);
	fd = creat(new_path, 0600);
	ck_assert_int_eq(close(fd), 0);
	ck_assert_int_eq(journal_compact_begin(journal, &compact, &error), 0);
	ck_assert_int_eq(journal_compact_commit(&compact, &error), 0);
	ck_assert_int_eq(access(new_path, F_OK), -1);
	journal_close(&journal);
	open_journal();
	ck_assert_str_eq(str_c(seen), "");
	journal_close(&journal);
}
END_TEST

/* What cannot be written stops the journal until it is compacted; nothing of
   it stays behind. */
START_TEST(journal_full)
{
	struct journal_entry entry = test_state(3);
	struct journal_compact *compact;
	struct rlimit limit, old;

	open_journal();
	append_states(1, 2);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
	limit = old;
	limit.rlim_cur = file_size() + 10;
	(void)signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	append(&entry);
	ck_assert_int_eq(journal_sync(journal, &error), -1);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
	ck_assert_int_eq(file_size(), limit.rlim_cur - 10);
	ck_assert_int_eq(journal_sync(journal, &error), -1);
	ck_assert_int_eq(journal_append(journal, &entry, &error), -1);
	ck_assert(journal_wants_compaction(journal));
	ck_assert_int_eq(journal_compact_begin(journal, &compact, &error), 0);
	journal_compact_add(compact, &entry);
	ck_assert_int_eq(journal_compact_commit(&compact, &error), 0);
	append_states(4, 1);
	journal_close(&journal);
	open_journal();
	ck_assert_str_eq(str_c(seen), "s3 s4 ");
	journal_close(&journal);
}
END_TEST

static void setup(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
	i_snprintf(path, sizeof(path), "%s/journal", dir);
	seen = str_new(default_pool, 256);
}

static void teardown(void)
{
	i_unlink_if_exists(path);
	(void)rmdir(dir);
	memcpy(dir + strlen(dir) - 6, "XXXXXX", 6);
	str_free(&seen);
}

static void add_tests(TCase *tc)
{
	tcase_add_loop_test(tc, journal_line_kinds, 0, JOURNAL_KIND_COUNT);
	tcase_add_test(tc, journal_line_damage);
	tcase_add_test(tc, journal_again);
	tcase_add_test(tc, journal_torn);
	tcase_add_loop_test(tc, journal_corrupt, 0, 4);
	tcase_add_loop_test(tc, journal_refused, 0, N_ELEMENTS(no_journals));
	tcase_add_test(tc, journal_locked);
	tcase_add_test(tc, journal_compacts);
	tcase_add_test(tc, journal_compact_crash);
	tcase_add_test(tc, journal_full);
}

int main(void)
{
	Suite *suite = suite_create("journal");
	TCase *tc = tcase_create("journal");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	add_tests(tc);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
