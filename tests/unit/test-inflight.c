/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "array.h"
#include "str.h"
#include "inflight.h"

#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char dir[] = "/tmp/test-inflight.XXXXXX";
static const char *path;
static struct inflight *inflight;
static const char *error;
static pool_t pool;

#define HASH inflight_folder_hash("INBOX")
#define NONCE 0x0123456789abcdefULL

static void setup(void)
{
	pool = pool_allocfree_create("test");
	memcpy(strrchr(dir, '.'), ".XXXXXX", 7);
	ck_assert(mkdtemp(dir) != NULL);
	path = p_strdup(pool, inflight_path(dir, "0123"));
	if (inflight_open(path, TRUE, &inflight, &error) < 0)
		ck_abort_msg("%s", error);
}

static void teardown(void)
{
	inflight_close(&inflight);
	(void)unlink(path);
	(void)rmdir(dir);
	pool_unref(&pool);
}

static void enter(unsigned int slot, uint32_t uid, uint64_t nonce, bool keep)
{
	ck_assert_int_eq(inflight_enter(inflight, slot, HASH, 7, uid, nonce,
					keep, &error), 0);
}

static void note(unsigned int slot, const char *mailbox, const char *guid,
		 uoff_t size)
{
	const struct inflight_store store = {
		.mailbox = mailbox, .guid = guid, .size = size
	};

	ck_assert_int_eq(inflight_note_store(inflight, slot, &store,
					     &error), 0);
}

static struct inflight_slot slot_read(unsigned int slot)
{
	struct inflight_slot data;

	if (inflight_read(inflight, slot, pool, &data, &error) < 0)
		ck_abort_msg("%s", error);
	return data;
}

START_TEST(test_new_file)
{
	struct stat st;

	ck_assert_str_eq(strrchr(path, '/'), "/0123.inflight");
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_mode & 0777, 0600);
	for (unsigned int i = 0; i < INFLIGHT_SLOTS; i++)
		ck_assert_int_eq(slot_read(i).state, INFLIGHT_FREE);
}
END_TEST

START_TEST(test_life)
{
	const unsigned int last = INFLIGHT_SLOTS - 1;
	struct inflight_slot slot;

	enter(last, 42, NONCE, FALSE);
	slot = slot_read(last);
	ck_assert_int_eq(slot.state, INFLIGHT_ENTERED);
	ck_assert(slot.folder_hash == HASH && slot.uidvalidity == 7 &&
		  slot.uid == 42 && slot.nonce == NONCE);
	ck_assert_int_eq(slot.store_count, 0);
	ck_assert(!slot.stores_incomplete);

	note(last, "Archive/Müller", "abc", 0);
	note(last, "INBOX", "1.M2P3.host", 4711);
	slot = slot_read(last);
	ck_assert_int_eq(slot.state, INFLIGHT_STORING);
	ck_assert_int_eq(slot.store_count, 2);
	ck_assert_str_eq(slot.stores[0].mailbox, "Archive/Müller");
	ck_assert_str_eq(slot.stores[0].guid, "abc");
	ck_assert(slot.stores[0].size == 0 && slot.stores[1].size == 4711);
	ck_assert_str_eq(slot.stores[1].guid, "1.M2P3.host");

	ck_assert(!slot.committing);

	ck_assert_int_eq(inflight_note_commit(inflight, last, &error), 0);
	slot = slot_read(last);
	ck_assert(slot.committing && !slot.stores_incomplete);
	ck_assert_int_eq(slot.store_count, 2);

	ck_assert_int_eq(inflight_sync(inflight, &error), 0);
	ck_assert_int_eq(inflight_done(inflight, last, NULL, 0, &error), 0);
	slot = slot_read(last);
	ck_assert_int_eq(slot.state, INFLIGHT_DONE);
	ck_assert_int_eq(slot.store_count, 2);

	ck_assert_int_eq(inflight_free(inflight, last, &error), 0);
	ck_assert_int_eq(slot_read(last).state, INFLIGHT_FREE);
	ck_assert_int_eq(slot_read(last - 1).state, INFLIGHT_FREE);
}
END_TEST

START_TEST(test_done_elsewhere)
{
	const struct inflight_store there = {
		.mailbox = "There", .guid = "g"
	};
	struct inflight_slot slot;

	enter(0, 1, NONCE, FALSE);
	note(0, "A", "a", 0);
	note(0, "B", "b", 0);
	ck_assert_int_eq(inflight_done(inflight, 0, &there, 1, &error), 0);
	slot = slot_read(0);
	ck_assert_int_eq(slot.store_count, 1);
	ck_assert_str_eq(slot.stores[0].mailbox, "There");
	ck_assert(slot.nonce == NONCE && slot.uid == 1);
	/* nowhere: discarded */
	ck_assert_int_eq(inflight_done(inflight, 0, &there, 0, &error), 0);
	ck_assert_int_eq(slot_read(0).store_count, 0);
}
END_TEST

START_TEST(test_retry_keeps_stores)
{
	struct inflight_slot slot;

	enter(3, 42, NONCE, FALSE);
	note(3, "INBOX", "guid", 9);
	enter(3, 42, NONCE + 1, TRUE);
	slot = slot_read(3);
	ck_assert_int_eq(slot.state, INFLIGHT_ENTERED);
	ck_assert(slot.nonce == NONCE + 1);
	ck_assert_int_eq(slot.store_count, 1);
	ck_assert(slot.stores[0].size == 9);
	/* not those of another message, and not without being asked */
	enter(3, 43, NONCE, TRUE);
	ck_assert_int_eq(slot_read(3).store_count, 0);
	note(3, "INBOX", "guid", 9);
	enter(3, 43, NONCE, FALSE);
	ck_assert_int_eq(slot_read(3).store_count, 0);
}
END_TEST

START_TEST(test_committing)
{
	enter(3, 42, NONCE, FALSE);
	note(3, "INBOX", "guid", 0);
	ck_assert_int_eq(inflight_note_commit(inflight, 3, &error), 0);
	/* a retry is told */
	enter(3, 42, NONCE + 1, TRUE);
	ck_assert(slot_read(3).committing);
	/* there is more to come after all */
	note(3, "Other", "guid", 0);
	ck_assert(!slot_read(3).committing);
	ck_assert_int_eq(slot_read(3).store_count, 2);
	ck_assert_int_eq(inflight_note_commit(inflight, 3, &error), 0);
	enter(3, 42, NONCE, FALSE);
	ck_assert(!slot_read(3).committing);
}
END_TEST

START_TEST(test_too_many_stores)
{
	string_t *name = str_new(pool, 512);
	struct inflight_slot slot;

	for (unsigned int i = 0; i < 400; i++)
		str_append_c(name, 'x');
	enter(1, 1, NONCE, FALSE);
	for (unsigned int i = 0; i < 20; i++)
		note(1, str_c(name), "guid", i);
	slot = slot_read(1);
	ck_assert(slot.stores_incomplete);
	ck_assert_int_gt(slot.store_count, 5);
	ck_assert_int_lt(slot.store_count, 20);
	for (unsigned int i = 0; i < slot.store_count; i++)
		ck_assert(slot.stores[i].size == i);
	/* a name that never fits */
	while (str_len(name) < 70000)
		str_append_c(name, 'y');
	enter(1, 1, NONCE, FALSE);
	note(1, str_c(name), "guid", 0);
	ck_assert(slot_read(1).stores_incomplete);
	/* the neighbours are untouched */
	ck_assert_int_eq(slot_read(0).state, INFLIGHT_FREE);
	ck_assert_int_eq(slot_read(2).state, INFLIGHT_FREE);
}
END_TEST

START_TEST(test_reopen)
{
	struct inflight *other;

	enter(5, 42, NONCE, FALSE);
	note(5, "INBOX", "guid", 0);
	ck_assert_int_eq(inflight_open(path, FALSE, &other, &error), 0);
	inflight_close(&inflight);
	inflight = other;
	ck_assert_int_eq(slot_read(5).store_count, 1);
	/* creating what is there changes nothing */
	ck_assert_int_eq(inflight_open(path, TRUE, &other, &error), 0);
	inflight_close(&other);
	ck_assert_int_eq(slot_read(5).store_count, 1);
}
END_TEST

static void refused(bool create, const char *why)
{
	struct inflight *other;

	ck_assert_int_eq(inflight_open(path, create, &other, &error), -1);
	ck_assert(other == NULL);
	if (strstr(error, why) == NULL)
		ck_abort_msg("\"%s\" does not say \"%s\"", error, why);
}

static void write_file(const void *data, size_t size)
{
	int fd;

	(void)unlink(path);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, data, size), (ssize_t)size);
	close(fd);
}

START_TEST(test_not_ours)
{
	char header[16];

	(void)unlink(path);
	refused(FALSE, "No such file");
	write_file("", 0);
	refused(FALSE, "too short");
	write_file("something else altogether", 25);
	refused(FALSE, "not an in-flight file");
	refused(TRUE, "not an in-flight file");
	memcpy(header, "imsynIF\n\0\0\0\2\0\0\0\100", 16);
	write_file(header, 16);
	refused(FALSE, "another version");
	refused(TRUE, "another version");
	(void)unlink(path);
	ck_assert_int_eq(symlink("/tmp/nowhere", path), 0);
	refused(FALSE, "failed");
	refused(TRUE, "failed");
	(void)unlink(path);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	refused(FALSE, "not a regular file");
}
END_TEST

START_TEST(test_creator_died)
{
	struct inflight *other;
	char page[4096];

	/* before it wrote the header */
	i_zero(&page);
	write_file(page, sizeof(page));
	refused(FALSE, "empty");
	ck_assert_int_eq(inflight_open(path, TRUE, &other, &error), 0);
	inflight_close(&inflight);
	inflight = other;
	enter(INFLIGHT_SLOTS - 1, 1, NONCE, FALSE);
	ck_assert_int_eq(slot_read(INFLIGHT_SLOTS - 1).uid, 1);
}
END_TEST

START_TEST(test_short_file)
{
	struct inflight_slot slot;

	ck_assert_int_eq(truncate(path, 4096 * 2 + 100), 0);
	ck_assert_int_eq(slot_read(0).state, INFLIGHT_FREE);
	ck_assert_int_eq(inflight_read(inflight, 1, pool, &slot, &error), -1);
	ck_assert(strstr(error, "too short") != NULL);
}
END_TEST

static uint32_t random_state;

/* the same numbers on every machine */
static unsigned int next_random(void)
{
	random_state = random_state * 1664525 + 1013904223;
	return random_state >> 16;
}

/* Whatever is in it, reading ends with an answer or an error. */
START_TEST(test_garbage)
{
	unsigned char page[4096];
	struct inflight_slot slot;
	int fd = open(path, O_WRONLY);

	random_state = _i;
	for (unsigned int n = 0; n < 300; n++) {
		for (unsigned int i = 0; i < sizeof(page); i++)
			page[i] = next_random();
		/* mostly past the first checks */
		page[0] &= n % 5 == 0 ? 0xff : 3;
		if (n % 3 != 0)
			page[2] = 0;
		if (n % 2 != 0)
			memset(page + 32 + next_random() % 64, 0, 2);
		ck_assert_int_eq(pwrite(fd, page, sizeof(page), 4096), 4096);
		if (inflight_read(inflight, 0, pool, &slot, &error) < 0) {
			ck_assert(strstr(error, "unknown state") != NULL);
			continue;
		}
		for (unsigned int i = 0; i < slot.store_count; i++) {
			ck_assert_uint_le(strlen(slot.stores[i].mailbox) +
					  strlen(slot.stores[i].guid), 4096);
		}
		note(0, "INBOX", "guid", 0);
		enter(0, 1, NONCE, TRUE);
	}
	close(fd);
}
END_TEST

/* What another process gets: 1, 0 or -1. It dies with the lock, by SIGKILL, as
   an lmtp process may. */
static int lock_in_child(unsigned int slot)
{
	struct inflight *other;
	int fds[2];
	signed char ret = -2;
	pid_t pid;

	ck_assert_int_eq(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		if (inflight_open(path, FALSE, &other, &error) == 0)
			ret = inflight_lock(other, slot, &error);
		if (write(fds[1], &ret, 1) == 1)
			raise(SIGKILL);
		_exit(1);
	}
	close(fds[1]);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	ck_assert_int_eq(read(fds[0], &ret, 1), 1);
	close(fds[0]);
	return ret;
}

START_TEST(test_locks)
{
	struct inflight *other;

	ck_assert_int_eq(inflight_lock(inflight, 4, &error), 1);
	ck_assert_int_eq(lock_in_child(4), 0);
	ck_assert_int_eq(lock_in_child(3), 1);
	ck_assert_int_eq(lock_in_child(5), 1);
	/* another open file of this process is somebody else, too */
	ck_assert_int_eq(inflight_open(path, FALSE, &other, &error), 0);
	ck_assert_int_eq(inflight_lock(other, 4, &error), 0);
	/* and its closing drops nobody else's lock, as fcntl()'s old ones do */
	inflight_close(&other);
	ck_assert_int_eq(lock_in_child(4), 0);
	inflight_unlock(inflight, 4);
	ck_assert_int_eq(lock_in_child(4), 1);
	/* the child died with the lock */
	ck_assert_int_eq(inflight_lock(inflight, 4, &error), 1);
}
END_TEST

START_TEST(test_folder_hash)
{
	ck_assert(inflight_folder_hash("INBOX") !=
		  inflight_folder_hash("inbox"));
	/* it is on disk: never to change (SHA-256, first 8 bytes) */
	ck_assert(inflight_folder_hash("") == 0xe3b0c44298fc1c14ULL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("inflight");
	TCase *tc = tcase_create("all");
	SRunner *runner;
	int failed;

	lib_init();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, test_new_file);
	tcase_add_test(tc, test_life);
	tcase_add_test(tc, test_done_elsewhere);
	tcase_add_test(tc, test_retry_keeps_stores);
	tcase_add_test(tc, test_committing);
	tcase_add_test(tc, test_too_many_stores);
	tcase_add_test(tc, test_reopen);
	tcase_add_test(tc, test_not_ours);
	tcase_add_test(tc, test_creator_died);
	tcase_add_test(tc, test_short_file);
	tcase_add_loop_test(tc, test_garbage, 0, 10);
	tcase_add_test(tc, test_locks);
	tcase_add_test(tc, test_folder_hash);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
