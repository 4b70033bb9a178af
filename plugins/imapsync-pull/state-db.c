/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "str.h"
#include "mkdir-parents.h"
#include "sqlite-file.h"
#include "state-db.h"

#include <sys/file.h>
#include <unistd.h>
#include <fcntl.h>

enum statement {
	STATEMENT_FOLDER_GET,
	STATEMENT_FOLDER_INSERT,
	STATEMENT_FOLDER_UPDATE,
	STATEMENT_KNOWN,
	STATEMENT_COUNT_DONE,
	STATEMENT_MESSAGE_GET,
	STATEMENT_MESSAGE_PUT,
	STATEMENT_SET_FLAGS,
	STATEMENT_SET_LOCAL_UID,
	STATEMENT_FORGET,
	STATEMENT_FORGET_LOST,
	STATEMENT_GUIDS,
	STATEMENT_FORMER_ADD,
	STATEMENT_FORMER_CLEAR,
	STATEMENT_FORMER_ANY,
	STATEMENT_FORMER_GET,
	STATEMENT_FORMER_REMOVE,
	STATEMENT_FORMER_DROP,
	STATEMENT_COUNT
};

static const char *const statements[STATEMENT_COUNT] = {
	[STATEMENT_FOLDER_GET] =
		"SELECT id, local, uidvalidity, uidnext, messages, modseq,"
		" first_pull, age_floor, live_from, max_size, dirty,"
		" local_uidvalidity, local_uidnext"
		" FROM folder WHERE remote = ?1",
	[STATEMENT_FOLDER_INSERT] =
		"INSERT INTO folder (remote, local, uidvalidity, uidnext,"
		" messages, modseq, first_pull, age_floor, live_from, max_size,"
		" dirty, local_uidvalidity, local_uidnext) VALUES"
		" (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
	[STATEMENT_FOLDER_UPDATE] =
		"UPDATE folder SET local = ?2, uidvalidity = ?3, uidnext = ?4,"
		" messages = ?5, modseq = ?6, first_pull = ?7, age_floor = ?8,"
		" live_from = ?9, max_size = ?10, dirty = ?11,"
		" local_uidvalidity = ?12, local_uidnext = ?13"
		" WHERE remote = ?1",
	[STATEMENT_KNOWN] =
		"SELECT uid, state, flags, keywords, size FROM message"
		" WHERE folder = ?1 AND uid BETWEEN ?2 AND ?3 ORDER BY uid",
	[STATEMENT_COUNT_DONE] =
		"SELECT count(*) FROM message WHERE folder = ?1 AND state = 1",
	[STATEMENT_MESSAGE_GET] =
		"SELECT state, flags, keywords, size, hash, mailbox, guid,"
		" local_uid, reason FROM message"
		" WHERE folder = ?1 AND uid = ?2",
	[STATEMENT_MESSAGE_PUT] =
		"INSERT OR REPLACE INTO message (folder, uid, state, flags,"
		" keywords, size, hash, mailbox, guid, local_uid, reason)"
		" VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
	[STATEMENT_SET_FLAGS] =
		"UPDATE message SET flags = ?3, keywords = ?4"
		" WHERE folder = ?1 AND uid = ?2",
	[STATEMENT_SET_LOCAL_UID] =
		"UPDATE message SET local_uid = ?3"
		" WHERE folder = ?1 AND uid = ?2",
	[STATEMENT_FORGET] =
		"DELETE FROM message WHERE folder = ?1 AND uid = ?2",
	[STATEMENT_FORGET_LOST] =
		"DELETE FROM message WHERE folder = ?1 AND state = 1"
		" AND mailbox IS NULL AND local_uid >= ?2",
	[STATEMENT_GUIDS] =
		"SELECT guid, local_uid FROM message"
		" WHERE folder = ?1 AND guid IS NOT NULL",
	[STATEMENT_FORMER_ADD] =
		"INSERT INTO former (folder, size, hash, mailbox, guid,"
		" local_uid, flags, keywords) SELECT folder, size, hash,"
		" mailbox, guid, local_uid, flags, keywords FROM message"
		" WHERE folder = ?1 AND state = 1 AND hash IS NOT NULL",
	[STATEMENT_FORMER_CLEAR] =
		"DELETE FROM message WHERE folder = ?1",
	[STATEMENT_FORMER_ANY] =
		"SELECT 1 FROM former WHERE folder = ?1 LIMIT 1",
	[STATEMENT_FORMER_GET] =
		"SELECT rowid, mailbox, guid, local_uid, flags, keywords"
		" FROM former WHERE folder = ?1 AND hash = ?2"
		" LIMIT 1",
	[STATEMENT_FORMER_REMOVE] =
		"DELETE FROM former WHERE rowid = ?1",
	[STATEMENT_FORMER_DROP] =
		"DELETE FROM former WHERE folder = ?1",
};

static const char schema[] =
	"CREATE TABLE folder (id INTEGER PRIMARY KEY, remote BLOB NOT NULL"
	" UNIQUE, local TEXT NOT NULL, uidvalidity INTEGER NOT NULL,"
	" uidnext INTEGER NOT NULL, messages INTEGER NOT NULL,"
	" modseq INTEGER NOT NULL, first_pull INTEGER NOT NULL,"
	" age_floor INTEGER NOT NULL, live_from INTEGER NOT NULL,"
	" max_size INTEGER NOT NULL, dirty INTEGER NOT NULL,"
	" local_uidvalidity INTEGER NOT NULL, local_uidnext INTEGER NOT NULL);"
	"CREATE TABLE message (folder INTEGER NOT NULL, uid INTEGER NOT NULL,"
	" state INTEGER NOT NULL, flags INTEGER NOT NULL, keywords TEXT,"
	" size INTEGER NOT NULL, hash BLOB, mailbox TEXT, guid TEXT,"
	" local_uid INTEGER NOT NULL, reason TEXT,"
	" PRIMARY KEY (folder, uid)) WITHOUT ROWID;"
	"CREATE TABLE former (folder INTEGER NOT NULL, size INTEGER NOT NULL,"
	" hash BLOB NOT NULL, mailbox TEXT, guid TEXT,"
	" local_uid INTEGER NOT NULL, flags INTEGER NOT NULL, keywords TEXT);"
	"CREATE INDEX former_content ON former (folder, hash);";

static const struct sqlite_file_settings state_db_set = {
	.pragmas =
		"PRAGMA journal_mode = PERSIST;"
		"PRAGMA synchronous = FULL;"
		"PRAGMA cache_size = -1024;"
		"PRAGMA trusted_schema = OFF",
	.schema = schema,
	.version = 1,
	.statements = statements,
	.statement_count = STATEMENT_COUNT,
};

struct state_db {
	struct sqlite_file *file;
	int lock_fd;
	bool in_transaction;
};

const char *state_db_get_error(struct state_db *db)
{
	return t_strconcat("state database ",
			   sqlite_file_get_error(db->file), NULL);
}

static sqlite3_stmt *state_db_write(struct state_db *db, enum statement n)
{
	if (!db->in_transaction) {
		if (sqlite_file_exec(db->file, "BEGIN IMMEDIATE") < 0)
			return NULL;
		db->in_transaction = TRUE;
	}
	return sqlite_file_statement(db->file, n);
}

static const char *const *
column_keywords(pool_t pool, sqlite3_stmt *stmt, int column)
{
	const char *text = (const char *)sqlite3_column_text(stmt, column);

	return (const char *const *)p_strsplit_spaces(pool,
						      text == NULL ? "" : text,
						      " ");
}

static void
bind_keywords(sqlite3_stmt *stmt, int n, const char *const *keywords)
{
	if (keywords != NULL && keywords[0] != NULL)
		sqlite_file_bind_text(stmt, n, t_strarray_join(keywords, " "));
}

/*
 * Open, close
 */

static int
state_db_lock(const char *path, int *fd_r, const char **error_r)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd == -1) {
		*error_r = t_strdup_printf("open(%s) failed: %m", path);
		return -1;
	}
	/* released by the kernel when its holder dies */
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		bool busy = errno == EWOULDBLOCK;

		*error_r = busy ? "another run of this account is under way" :
			t_strdup_printf("flock(%s) failed: %m", path);
		i_close_fd(&fd);
		return busy ? 0 : -1;
	}
	*fd_r = fd;
	return 1;
}

static enum state_db_open_result
state_db_open_file(struct state_db *db, const char *path, const char **error_r)
{
	switch (sqlite_file_open(path, &state_db_set, &db->file, error_r)) {
	case SQLITE_FILE_NEW:
		return STATE_DB_NEW;
	case SQLITE_FILE_FOUND:
		return STATE_DB_FOUND;
	case SQLITE_FILE_FAILED:
	case SQLITE_FILE_UNUSABLE:
		break;
	}
	*error_r = t_strconcat("state database ", *error_r, NULL);
	return STATE_DB_FAILED;
}

enum state_db_open_result
state_db_open(const char *state_dir, const char *source_id,
	      struct state_db **db_r, const char **error_r)
{
	const char *base = t_strconcat(state_dir, "/", source_id, NULL);
	enum state_db_open_result result;
	struct state_db *db;
	int ret, lock_fd;

	*db_r = NULL;
	if (mkdir_parents(state_dir, 0700) < 0 && errno != EEXIST) {
		*error_r = t_strdup_printf("mkdir(%s) failed: %m", state_dir);
		return STATE_DB_FAILED;
	}
	ret = state_db_lock(t_strconcat(base, ".lock", NULL), &lock_fd,
			    error_r);
	if (ret <= 0)
		return ret < 0 ? STATE_DB_FAILED : STATE_DB_BUSY;

	db = i_new(struct state_db, 1);
	db->lock_fd = lock_fd;
	result = state_db_open_file(db, t_strconcat(base, ".sqlite", NULL),
				    error_r);
	if (result == STATE_DB_FAILED)
		state_db_close(&db);
	*db_r = db;
	return result;
}

void state_db_close(struct state_db **_db)
{
	struct state_db *db = *_db;

	*_db = NULL;
	if (db == NULL)
		return;
	sqlite_file_close(&db->file);
	i_close_fd(&db->lock_fd);
	i_free(db);
}

int state_db_commit(struct state_db *db)
{
	if (!db->in_transaction)
		return 0;
	if (sqlite_file_exec(db->file, "COMMIT") < 0)
		return -1;
	db->in_transaction = FALSE;
	return 0;
}

/*
 * Folders
 */

static void
state_db_read_folder(pool_t pool, sqlite3_stmt *stmt,
		     struct state_folder *folder)
{
	struct sync_state *sync = &folder->sync;

	folder->id = sqlite3_column_int64(stmt, 0);
	folder->local_name = sqlite_file_text(pool, stmt, 1);
	sync->uidvalidity = sqlite3_column_int64(stmt, 2);
	sync->uidnext = sqlite3_column_int64(stmt, 3);
	sync->messages = sqlite3_column_int64(stmt, 4);
	sync->highestmodseq = sqlite3_column_int64(stmt, 5);
	sync->first_pull = sqlite3_column_int64(stmt, 6);
	sync->age_floor = sqlite3_column_int64(stmt, 7);
	sync->live_from = sqlite3_column_int64(stmt, 8);
	sync->max_size_bytes = sqlite3_column_int64(stmt, 9);
	sync->dirty = sqlite3_column_int(stmt, 10) != 0;
	folder->local_uidvalidity = sqlite3_column_int64(stmt, 11);
	folder->local_uidnext = sqlite3_column_int64(stmt, 12);
}

int state_db_folder_get(struct state_db *db, pool_t pool,
			const char *remote_name, struct state_folder *folder_r)
{
	sqlite3_stmt *stmt =
		sqlite_file_statement(db->file, STATEMENT_FOLDER_GET);
	int ret;

	i_zero(folder_r);
	folder_r->remote_name = p_strdup(pool, remote_name);
	if (stmt == NULL)
		return -1;
	sqlite_file_bind_text(stmt, 1, remote_name);
	ret = sqlite3_step(stmt);
	if (ret == SQLITE_ROW)
		state_db_read_folder(pool, stmt, folder_r);
	(void)sqlite3_reset(stmt);
	return ret == SQLITE_ROW ? 1 : (ret == SQLITE_DONE ? 0 : -1);
}

int state_db_folder_put(struct state_db *db, struct state_folder *folder)
{
	const struct sync_state *sync = &folder->sync;
	sqlite3_stmt *stmt = state_db_write(db, folder->id == 0 ?
		STATEMENT_FOLDER_INSERT : STATEMENT_FOLDER_UPDATE);

	if (stmt == NULL)
		return -1;
	sqlite_file_bind_text(stmt, 1, folder->remote_name);
	sqlite_file_bind_text(stmt, 2, folder->local_name);
	(void)sqlite3_bind_int64(stmt, 3, sync->uidvalidity);
	(void)sqlite3_bind_int64(stmt, 4, sync->uidnext);
	(void)sqlite3_bind_int64(stmt, 5, sync->messages);
	(void)sqlite3_bind_int64(stmt, 6, sync->highestmodseq);
	(void)sqlite3_bind_int64(stmt, 7, sync->first_pull);
	(void)sqlite3_bind_int64(stmt, 8, sync->age_floor);
	(void)sqlite3_bind_int64(stmt, 9, sync->live_from);
	(void)sqlite3_bind_int64(stmt, 10, sync->max_size_bytes);
	(void)sqlite3_bind_int(stmt, 11, sync->dirty ? 1 : 0);
	(void)sqlite3_bind_int64(stmt, 12, folder->local_uidvalidity);
	(void)sqlite3_bind_int64(stmt, 13, folder->local_uidnext);
	if (sqlite_file_run(stmt) < 0)
		return -1;
	if (folder->id == 0)
		folder->id = sqlite_file_last_id(db->file);
	return 0;
}

/*
 * Messages
 */

static void
state_db_read_known(pool_t pool, sqlite3_stmt *stmt, struct sync_known *known)
{
	known->uid = sqlite3_column_int64(stmt, 0);
	known->state = sqlite3_column_int(stmt, 1);
	known->flags = sqlite3_column_int(stmt, 2);
	known->keywords = column_keywords(pool, stmt, 3);
	known->size = sqlite3_column_int64(stmt, 4);
}

int state_db_known(struct state_db *db, pool_t pool, int64_t folder_id,
		   uint32_t first_uid, uint32_t last_uid,
		   ARRAY_TYPE(sync_known) *known_r)
{
	sqlite3_stmt *stmt = sqlite_file_statement(db->file, STATEMENT_KNOWN);
	int ret;

	if (stmt == NULL)
		return -1;
	(void)sqlite3_bind_int64(stmt, 1, folder_id);
	(void)sqlite3_bind_int64(stmt, 2, first_uid);
	(void)sqlite3_bind_int64(stmt, 3, last_uid);
	while ((ret = sqlite3_step(stmt)) == SQLITE_ROW) {
		state_db_read_known(pool, stmt,
				    array_append_space(known_r));
	}
	(void)sqlite3_reset(stmt);
	return ret == SQLITE_DONE ? 0 : -1;
}

int state_db_count_done(struct state_db *db, int64_t folder_id,
			unsigned int *count_r)
{
	sqlite3_stmt *stmt =
		sqlite_file_statement(db->file, STATEMENT_COUNT_DONE);
	int ret;

	*count_r = 0;
	if (stmt == NULL)
		return -1;
	(void)sqlite3_bind_int64(stmt, 1, folder_id);
	ret = sqlite3_step(stmt);
	if (ret == SQLITE_ROW)
		*count_r = sqlite3_column_int64(stmt, 0);
	(void)sqlite3_reset(stmt);
	return ret == SQLITE_ROW ? 0 : -1;
}

static void
state_db_read_hash(sqlite3_stmt *stmt, int column,
		   struct state_message *message)
{
	const void *hash = sqlite3_column_blob(stmt, column);

	if (hash == NULL ||
	    sqlite3_column_bytes(stmt, column) != SPOOL_HASH_SIZE)
		return;
	memcpy(message->hash, hash, SPOOL_HASH_SIZE);
	message->has_hash = TRUE;
}

/* What is refused has no mail, but a time. */
static void
state_db_read_local_uid(sqlite3_stmt *stmt, int column,
			struct state_message *message)
{
	int64_t value = sqlite3_column_int64(stmt, column);

	if (message->state == SYNC_KNOWN_REFUSED)
		message->refused_since = value;
	else
		message->local_uid = value;
}

int state_db_message_get(struct state_db *db, pool_t pool, int64_t folder_id,
			 uint32_t uid, struct state_message *message_r)
{
	sqlite3_stmt *stmt =
		sqlite_file_statement(db->file, STATEMENT_MESSAGE_GET);
	int ret;

	i_zero(message_r);
	message_r->uid = uid;
	if (stmt == NULL)
		return -1;
	(void)sqlite3_bind_int64(stmt, 1, folder_id);
	(void)sqlite3_bind_int64(stmt, 2, uid);
	ret = sqlite3_step(stmt);
	if (ret == SQLITE_ROW) {
		message_r->state = sqlite3_column_int(stmt, 0);
		message_r->flags = sqlite3_column_int(stmt, 1);
		message_r->keywords = column_keywords(pool, stmt, 2);
		message_r->size = sqlite3_column_int64(stmt, 3);
		state_db_read_hash(stmt, 4, message_r);
		message_r->mailbox = sqlite_file_text(pool, stmt, 5);
		message_r->guid = sqlite_file_text(pool, stmt, 6);
		state_db_read_local_uid(stmt, 7, message_r);
		message_r->reason = sqlite_file_text(pool, stmt, 8);
	}
	(void)sqlite3_reset(stmt);
	return ret == SQLITE_ROW ? 1 : (ret == SQLITE_DONE ? 0 : -1);
}

int state_db_message_put(struct state_db *db, int64_t folder_id,
			 const struct state_message *message)
{
	sqlite3_stmt *stmt = state_db_write(db, STATEMENT_MESSAGE_PUT);

	if (stmt == NULL)
		return -1;
	(void)sqlite3_bind_int64(stmt, 1, folder_id);
	(void)sqlite3_bind_int64(stmt, 2, message->uid);
	(void)sqlite3_bind_int(stmt, 3, message->state);
	(void)sqlite3_bind_int(stmt, 4, message->flags);
	bind_keywords(stmt, 5, message->keywords);
	(void)sqlite3_bind_int64(stmt, 6, message->size);
	if (message->has_hash) {
		(void)sqlite3_bind_blob(stmt, 7, message->hash,
					SPOOL_HASH_SIZE, SQLITE_TRANSIENT);
	}
	sqlite_file_bind_text(stmt, 8, message->mailbox);
	sqlite_file_bind_text(stmt, 9, message->guid);
	(void)sqlite3_bind_int64(stmt, 10,
		message->state == SYNC_KNOWN_REFUSED ?
		message->refused_since : (int64_t)message->local_uid);
	sqlite_file_bind_text(stmt, 11, message->reason);
	return sqlite_file_run(stmt);
}

int state_db_message_set_flags(struct state_db *db, int64_t folder_id,
			       uint32_t uid, enum mail_flags flags,
			       const char *const *keywords)
{
	sqlite3_stmt *stmt = state_db_write(db, STATEMENT_SET_FLAGS);

	if (stmt == NULL)
		return -1;
	(void)sqlite3_bind_int64(stmt, 1, folder_id);
	(void)sqlite3_bind_int64(stmt, 2, uid);
	(void)sqlite3_bind_int(stmt, 3, flags);
	bind_keywords(stmt, 4, keywords);
	return sqlite_file_run(stmt);
}

int state_db_message_set_local_uid(struct state_db *db, int64_t folder_id,
				   uint32_t uid, uint32_t local_uid)
{
	sqlite3_stmt *stmt = state_db_write(db, STATEMENT_SET_LOCAL_UID);

	if (stmt == NULL)
		return -1;
	(void)sqlite3_bind_int64(stmt, 1, folder_id);
	(void)sqlite3_bind_int64(stmt, 2, uid);
	(void)sqlite3_bind_int64(stmt, 3, local_uid);
	return sqlite_file_run(stmt);
}

int state_db_message_forget(struct state_db *db, int64_t folder_id,
			    uint32_t uid)
{
	sqlite3_stmt *stmt = state_db_write(db, STATEMENT_FORGET);

	if (stmt == NULL)
		return -1;
	(void)sqlite3_bind_int64(stmt, 1, folder_id);
	(void)sqlite3_bind_int64(stmt, 2, uid);
	return sqlite_file_run(stmt);
}

int state_db_forget_from_local_uid(struct state_db *db, int64_t folder_id,
				   uint32_t local_uid)
{
	sqlite3_stmt *stmt = state_db_write(db, STATEMENT_FORGET_LOST);

	if (stmt == NULL)
		return -1;
	(void)sqlite3_bind_int64(stmt, 1, folder_id);
	(void)sqlite3_bind_int64(stmt, 2, local_uid);
	return sqlite_file_run(stmt);
}

int state_db_guids(struct state_db *db, int64_t folder_id,
		   state_db_guid_callback_t *callback, void *context)
{
	sqlite3_stmt *stmt = sqlite_file_statement(db->file, STATEMENT_GUIDS);
	int ret;

	if (stmt == NULL)
		return -1;
	(void)sqlite3_bind_int64(stmt, 1, folder_id);
	while ((ret = sqlite3_step(stmt)) == SQLITE_ROW) {
		callback((const char *)sqlite3_column_text(stmt, 0),
			 sqlite3_column_int64(stmt, 1), context);
	}
	(void)sqlite3_reset(stmt);
	return ret == SQLITE_DONE ? 0 : -1;
}

/*
 * Former messages
 */

static int
state_db_run_folder(struct state_db *db, enum statement n, int64_t folder_id)
{
	sqlite3_stmt *stmt = state_db_write(db, n);

	if (stmt == NULL)
		return -1;
	(void)sqlite3_bind_int64(stmt, 1, folder_id);
	return sqlite_file_run(stmt);
}

int state_db_make_former(struct state_db *db, int64_t folder_id)
{
	if (state_db_run_folder(db, STATEMENT_FORMER_ADD, folder_id) < 0)
		return -1;
	return state_db_run_folder(db, STATEMENT_FORMER_CLEAR, folder_id);
}

int state_db_drop_former(struct state_db *db, int64_t folder_id)
{
	return state_db_run_folder(db, STATEMENT_FORMER_DROP, folder_id);
}

int state_db_has_former(struct state_db *db, int64_t folder_id)
{
	sqlite3_stmt *stmt =
		sqlite_file_statement(db->file, STATEMENT_FORMER_ANY);
	int ret;

	if (stmt == NULL)
		return -1;
	(void)sqlite3_bind_int64(stmt, 1, folder_id);
	ret = sqlite3_step(stmt);
	(void)sqlite3_reset(stmt);
	return ret == SQLITE_ROW ? 1 : (ret == SQLITE_DONE ? 0 : -1);
}

int state_db_former_take(struct state_db *db, pool_t pool, int64_t folder_id,
			 const unsigned char *hash,
			 struct state_message *message_r)
{
	sqlite3_stmt *stmt =
		sqlite_file_statement(db->file, STATEMENT_FORMER_GET);
	int64_t rowid = 0;
	int ret;

	i_zero(message_r);
	if (stmt == NULL)
		return -1;
	(void)sqlite3_bind_int64(stmt, 1, folder_id);
	(void)sqlite3_bind_blob(stmt, 2, hash, SPOOL_HASH_SIZE,
				SQLITE_TRANSIENT);
	ret = sqlite3_step(stmt);
	if (ret == SQLITE_ROW) {
		rowid = sqlite3_column_int64(stmt, 0);
		message_r->mailbox = sqlite_file_text(pool, stmt, 1);
		message_r->guid = sqlite_file_text(pool, stmt, 2);
		message_r->local_uid = sqlite3_column_int64(stmt, 3);
		message_r->flags = sqlite3_column_int(stmt, 4);
		message_r->keywords = column_keywords(pool, stmt, 5);
	}
	(void)sqlite3_reset(stmt);
	if (ret != SQLITE_ROW)
		return ret == SQLITE_DONE ? 0 : -1;
	return state_db_run_folder(db, STATEMENT_FORMER_REMOVE, rowid) < 0 ?
		-1 : 1;
}
