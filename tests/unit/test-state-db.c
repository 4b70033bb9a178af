/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "array.h"
#include "strfuncs.h"
#include "unlink-directory.h"
#include "state-db.h"

#include <check.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define SOURCE "00112233445566778899aabbccddeeff"

static pool_t pool;
static char template[64];
static const char *dir;

static void setup(void)
{
	pool = pool_allocfree_create("test state-db");
	i_strocpy(template, "/tmp/test-state-XXXXXX", sizeof(template));
	dir = mkdtemp(template);
	ck_assert_ptr_nonnull(dir);
}

static void teardown(void)
{
	const char *error;

	ck_assert_int_eq(unlink_directory(dir, UNLINK_DIRECTORY_FLAG_RMDIR,
					  &error), 1);
	pool_unref(&pool);
}

static struct state_db *open_db(enum state_db_open_result wanted)
{
	struct state_db *db;
	const char *error = "";

	ck_assert_int_eq(state_db_open(dir, SOURCE, &db, &error), wanted);
	ck_assert((db == NULL) == (error[0] != '\0'));
	return db;
}

static int64_t add_folder(struct state_db *db, const char *name)
{
	struct state_folder folder = {
		.remote_name = name, .local_name = "Local",
		.sync = { .uidvalidity = 4294967295U, .uidnext = 4294967295U,
			  .messages = 7, .highestmodseq = 1ULL << 62,
			  .first_pull = 1700000000, .age_floor = 5,
			  .live_from = 9, .max_size_bytes = 1ULL << 40,
			  .dirty = TRUE },
		.local_uidvalidity = 3, .local_uidnext = 4294967295U,
	};

	ck_assert_int_eq(state_db_folder_put(db, &folder), 0);
	ck_assert(folder.id != 0);
	return folder.id;
}

static void add_message(struct state_db *db, int64_t folder, uint32_t uid,
			unsigned char content)
{
	static const char *const keywords[] = { "$Forwarded", "work", NULL };
	struct state_message message = {
		.uid = uid, .state = SYNC_KNOWN_DONE,
		.flags = MAIL_SEEN | MAIL_FLAGGED, .keywords = keywords,
		.size = 1000 + content, .hash = { content }, .has_hash = TRUE,
		.guid = t_strdup_printf("guid-%u", uid), .local_uid = uid + 10,
	};

	ck_assert_int_eq(state_db_message_put(db, folder, &message), 0);
}

START_TEST(folder_round_trip)
{
	/* bytes of a server's name are kept, whatever they are */
	const char *name = "M&APw-ll'er\xff\";--";
	struct state_folder folder;
	struct state_db *db = open_db(STATE_DB_NEW);
	int64_t id = add_folder(db, name);

	ck_assert_int_eq(state_db_commit(db), 0);
	state_db_close(&db);
	db = open_db(STATE_DB_FOUND);
	ck_assert_int_eq(state_db_folder_get(db, pool, name, &folder), 1);
	ck_assert(folder.id == id);
	ck_assert_str_eq(folder.local_name, "Local");
	ck_assert_uint_eq(folder.sync.uidvalidity, 4294967295U);
	ck_assert_uint_eq(folder.sync.uidnext, 4294967295U);
	ck_assert_uint_eq(folder.sync.highestmodseq, 1ULL << 62);
	ck_assert_uint_eq(folder.sync.max_size_bytes, 1ULL << 40);
	ck_assert_int_eq(folder.sync.live_from, 9);
	ck_assert(folder.sync.dirty);
	ck_assert_uint_eq(folder.local_uidnext, 4294967295U);
	folder.sync.dirty = FALSE;
	folder.local_name = "Other";
	ck_assert_int_eq(state_db_folder_put(db, &folder), 0);
	ck_assert_int_eq(state_db_folder_get(db, pool, name, &folder), 1);
	ck_assert_str_eq(folder.local_name, "Other");
	ck_assert(!folder.sync.dirty);
	ck_assert_int_eq(state_db_folder_get(db, pool, "no", &folder), 0);
	ck_assert(folder.id == 0);
	state_db_close(&db);
}
END_TEST

START_TEST(message_round_trip)
{
	struct state_db *db = open_db(STATE_DB_NEW);
	int64_t id = add_folder(db, "INBOX");
	struct state_message message;
	ARRAY_TYPE(sync_known) known;
	const struct sync_known *second;
	unsigned int count;

	add_message(db, id, 4294967295U, 1);
	add_message(db, id, 5, 2);
	add_message(db, id, 7, 3);
	ck_assert_int_eq(state_db_message_get(db, pool, id, 4294967295U,
					      &message), 1);
	ck_assert_int_eq(message.flags, MAIL_SEEN | MAIL_FLAGGED);
	ck_assert_str_eq(message.keywords[0], "$Forwarded");
	ck_assert_str_eq(message.keywords[1], "work");
	ck_assert_ptr_null(message.keywords[2]);
	ck_assert(message.has_hash && message.hash[0] == 1);
	ck_assert_str_eq(message.guid, "guid-4294967295");
	ck_assert_ptr_null(message.mailbox);

	p_array_init(&known, pool, 4);
	ck_assert_int_eq(state_db_known(db, pool, id, 6, UINT32_MAX,
					&known), 0);
	ck_assert_uint_eq(array_count(&known), 2);
	second = array_idx(&known, 0);
	ck_assert_uint_eq(second->uid, 7);
	ck_assert_int_eq(state_db_message_forget(db, id, 7), 0);
	ck_assert_int_eq(state_db_message_get(db, pool, id, 7, &message), 0);
	ck_assert_int_eq(state_db_count_done(db, id, &count), 0);
	ck_assert_uint_eq(count, 2);
	ck_assert_int_eq(state_db_message_set_flags(db, id, 5, MAIL_DRAFT,
						    NULL), 0);
	ck_assert_int_eq(state_db_message_get(db, pool, id, 5, &message), 1);
	ck_assert_int_eq(message.flags, MAIL_DRAFT);
	ck_assert_ptr_null(message.keywords[0]);
	state_db_close(&db);
}
END_TEST

/* It has a time and no mail: nothing that looks for mail finds it. */
START_TEST(refused_message)
{
	struct state_message message = {
		.uid = 5, .state = SYNC_KNOWN_REFUSED, .reason = "not now",
		.refused_since = 1700000000000,
	};
	struct state_db *db = open_db(STATE_DB_NEW);
	int64_t id = add_folder(db, "INBOX");

	ck_assert_int_eq(state_db_message_put(db, id, &message), 0);
	ck_assert_int_eq(state_db_forget_from_local_uid(db, id, 1), 0);
	ck_assert_int_eq(state_db_message_get(db, pool, id, 5, &message), 1);
	ck_assert_int_eq(message.state, SYNC_KNOWN_REFUSED);
	ck_assert(message.refused_since == 1700000000000);
	ck_assert_uint_eq(message.local_uid, 0);
	ck_assert_str_eq(message.reason, "not now");
	state_db_close(&db);
}
END_TEST

/* What was not committed was never there. */
START_TEST(close_rolls_back)
{
	struct state_db *db = open_db(STATE_DB_NEW);
	struct state_message message;
	int64_t id = add_folder(db, "INBOX");

	ck_assert_int_eq(state_db_commit(db), 0);
	add_message(db, id, 1, 1);
	state_db_close(&db);
	db = open_db(STATE_DB_FOUND);
	ck_assert_int_eq(state_db_message_get(db, pool, id, 1, &message), 0);
	state_db_close(&db);
}
END_TEST

/* Two messages of the same content are two. */
START_TEST(former_messages)
{
	static const unsigned char hash[SPOOL_HASH_SIZE] = { 9 };
	struct state_db *db = open_db(STATE_DB_NEW);
	int64_t id = add_folder(db, "INBOX");
	struct state_message message;

	add_message(db, id, 1, 9);
	add_message(db, id, 2, 9);
	add_message(db, id, 3, 8);
	ck_assert_int_eq(state_db_has_former(db, id), 0);
	ck_assert_int_eq(state_db_make_former(db, id), 0);
	ck_assert_int_eq(state_db_has_former(db, id), 1);
	ck_assert_int_eq(state_db_message_get(db, pool, id, 1, &message), 0);
	ck_assert_int_eq(state_db_former_take(db, pool, id, hash, &message), 1);
	ck_assert(strncmp(message.guid, "guid-", 5) == 0);
	ck_assert_int_eq(state_db_former_take(db, pool, id, hash, &message), 1);
	ck_assert_int_eq(state_db_former_take(db, pool, id, hash, &message), 0);
	ck_assert_int_eq(state_db_has_former(db, id), 1);
	ck_assert_int_eq(state_db_drop_former(db, id), 0);
	ck_assert_int_eq(state_db_has_former(db, id), 0);
	state_db_close(&db);
}
END_TEST

START_TEST(lost_messages)
{
	struct state_db *db = open_db(STATE_DB_NEW);
	int64_t id = add_folder(db, "INBOX");
	struct state_message message;

	add_message(db, id, 1, 1);	/* local UID 11 */
	add_message(db, id, 2, 2);
	add_message(db, id, 3, 3);
	ck_assert_int_eq(state_db_forget_from_local_uid(db, id, 12), 0);
	ck_assert_int_eq(state_db_message_get(db, pool, id, 1, &message), 1);
	ck_assert_int_eq(state_db_message_get(db, pool, id, 2, &message), 0);
	ck_assert_int_eq(state_db_message_get(db, pool, id, 3, &message), 0);
	state_db_close(&db);
}
END_TEST

/* One run at a time, and a dead one holds nothing. */
START_TEST(lock)
{
	struct state_db *db = open_db(STATE_DB_NEW);
	struct state_db *second;
	const char *error;
	int status;
	pid_t pid;

	ck_assert_int_eq(state_db_open(dir, SOURCE, &second, &error),
			 STATE_DB_BUSY);
	state_db_close(&db);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		(void)state_db_open(dir, SOURCE, &second, &error);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	db = open_db(STATE_DB_FOUND);
	state_db_close(&db);
}
END_TEST

START_TEST(newer_version)
{
	const char *path = t_strconcat(dir, "/"SOURCE".sqlite", NULL);
	struct state_db *db = open_db(STATE_DB_NEW);
	const char *error;
	sqlite3 *sqlite;

	state_db_close(&db);
	ck_assert_int_eq(sqlite3_open(path, &sqlite), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(sqlite, "PRAGMA user_version = 99", NULL,
				      NULL, NULL), SQLITE_OK);
	sqlite3_close(sqlite);
	ck_assert_int_eq(state_db_open(dir, SOURCE, &db, &error),
			 STATE_DB_FAILED);
	ck_assert_ptr_nonnull(strstr(error, "version 99"));
}
END_TEST

START_TEST(garbage)
{
	const char *path = t_strconcat(dir, "/"SOURCE".sqlite", NULL);
	const char *error;
	struct state_db *db;
	FILE *file = fopen(path, "w");

	ck_assert_ptr_nonnull(file);
	fputs("this was never a database, and it is long enough to tell", file);
	fclose(file);
	ck_assert_int_eq(state_db_open(dir, SOURCE, &db, &error),
			 STATE_DB_FAILED);
	ck_assert_ptr_nonnull(strstr(error, path));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("state-db");
	TCase *tc = tcase_create("state-db");
	SRunner *runner;
	int failed;

	lib_init();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, folder_round_trip);
	tcase_add_test(tc, message_round_trip);
	tcase_add_test(tc, refused_message);
	tcase_add_test(tc, close_rolls_back);
	tcase_add_test(tc, former_messages);
	tcase_add_test(tc, lost_messages);
	tcase_add_test(tc, lock);
	tcase_add_test(tc, newer_version);
	tcase_add_test(tc, garbage);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
