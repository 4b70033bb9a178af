/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "istream.h"
#include "seq-range-array.h"
#include "mail-storage-private.h"
#include "mail-user.h"
#include "spool.h"
#include "local-folder.h"
#include "sink.h"

#include <sys/stat.h>
#include <unistd.h>
#include <fcntl.h>

/* Saves messages in large transactions. With batch_fsync the storage does not
   sync anything itself; one syncfs() per batch makes the files of this batch
   and the commit of the one before it durable, so that a commit never names
   files that a power failure could take back. */

struct direct_saved {
	struct sink_message *message;
	const char *guid;
	uint32_t uid;
};

ARRAY_DEFINE_TYPE(direct_saved, struct direct_saved);

struct sink_direct {
	struct sink sink;
	struct sink_direct_settings set;

	struct local_folder *folder;
	/* one descriptor per file system that the mailbox lives on */
	ARRAY(int) sync_fds;

	struct mailbox_transaction_context *t;
	/* saved in t, and committed but perhaps not durable */
	ARRAY_TYPE(direct_saved) saved, committed;
	uoff_t saved_bytes;
	/* a message could not be saved: one per transaction from now on */
	bool careful;
};

/*
 * Answers
 */

static void
direct_answer_done(struct sink_direct *direct, struct direct_saved *saved)
{
	struct sink_outcome outcome = {
		.result = SINK_DONE,
		.mailbox = saved->message->mailbox,
		.guid = saved->guid,
		.local_uid = saved->uid,
	};

	sink_answer(&direct->sink, saved->message, &outcome);
}

static void
direct_answer_error(struct sink_direct *direct, struct sink_message *message,
		    const struct local_error *error, bool stop)
{
	struct sink_outcome outcome = {
		.result = SINK_LATER,
		.class = error->class,
		.text = error->text,
		.stop = stop || error->class == REPLY_CLASS_QUOTA,
	};

	sink_answer(&direct->sink, message, &outcome);
}

static void direct_committed_done(struct sink_direct *direct)
{
	struct direct_saved *saved;

	array_foreach_modifiable(&direct->committed, saved) T_BEGIN {
		direct_answer_done(direct, saved);
	} T_END;
	array_clear(&direct->committed);
}

static void
direct_batch_failed(struct sink_direct *direct, ARRAY_TYPE(direct_saved) *batch,
		    const struct local_error *error)
{
	struct direct_saved *saved;

	array_foreach_modifiable(batch, saved)
		direct_answer_error(direct, saved->message, error, FALSE);
	array_clear(batch);
}

/*
 * Durability
 */

static void direct_close_fds(struct sink_direct *direct)
{
	int *fd;

	array_foreach_modifiable(&direct->sync_fds, fd)
		i_close_fd(fd);
	array_clear(&direct->sync_fds);
}

static bool direct_has_device(struct sink_direct *direct, dev_t dev)
{
	struct stat st;
	const int *fd;

	array_foreach(&direct->sync_fds, fd) {
		if (fstat(*fd, &st) == 0 && st.st_dev == dev)
			return TRUE;
	}
	return FALSE;
}

static void
direct_add_fd(struct sink_direct *direct, enum mailbox_list_path_type type)
{
	struct mailbox *box = local_folder_get_box(direct->folder);
	const char *path;
	struct stat st;
	int fd;

	if (mailbox_get_path_to(box, type, &path) <= 0)
		return;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1)
		return;
	if (fstat(fd, &st) < 0 || direct_has_device(direct, st.st_dev))
		i_close_fd(&fd);
	else
		array_push_back(&direct->sync_fds, &fd);
}

static int direct_sync(struct sink_direct *direct, struct local_error *error_r)
{
	const int *fd;

	if (!direct->set.batch_fsync)
		return 0;
	array_foreach(&direct->sync_fds, fd) {
		if (syncfs(*fd) == 0)
			continue;
		error_r->class = REPLY_CLASS_LOCAL;
		error_r->text = t_strdup_printf("local mailbox %s: "
			"syncfs() failed: %m",
			local_folder_get_name(direct->folder));
		return -1;
	}
	return 0;
}

/*
 * Transactions
 */

static void
direct_set_uids(struct sink_direct *direct,
		const struct mail_transaction_commit_changes *changes)
{
	struct direct_saved *saved;
	struct seq_range_iter iter;
	unsigned int n = 0;
	uint32_t uid;

	if (seq_range_count(&changes->saved_uids) !=
	    array_count(&direct->saved))
		return;
	seq_range_array_iter_init(&iter, &changes->saved_uids);
	array_foreach_modifiable(&direct->saved, saved) {
		if (seq_range_array_iter_nth(&iter, n++, &uid))
			saved->uid = uid;
	}
}

static int
direct_commit_storage(struct sink_direct *direct, struct local_error *error_r)
{
	struct mail_transaction_commit_changes changes;

	if (mailbox_transaction_commit_get_changes(&direct->t, &changes) < 0) {
		local_error_from_box(local_folder_get_box(direct->folder),
				     "commit", error_r);
		return -1;
	}
	direct_set_uids(direct, &changes);
	pool_unref(&changes.pool);
	return 0;
}

static void direct_commit(struct sink_direct *direct)
{
	struct local_error error;

	if (direct->t == NULL)
		return;
	direct->saved_bytes = 0;
	if (direct_sync(direct, &error) < 0) {
		mailbox_transaction_rollback(&direct->t);
		direct_batch_failed(direct, &direct->committed, &error);
		direct_batch_failed(direct, &direct->saved, &error);
		return;
	}
	direct_committed_done(direct);
	if (direct_commit_storage(direct, &error) < 0) {
		direct_batch_failed(direct, &direct->saved, &error);
		return;
	}
	array_append_array(&direct->committed, &direct->saved);
	array_clear(&direct->saved);
	if (!direct->set.batch_fsync)
		direct_committed_done(direct);
}

static void direct_flush(struct sink *sink)
{
	struct sink_direct *direct = container_of(sink, struct sink_direct,
						  sink);
	struct local_error error;

	direct_commit(direct);
	if (array_count(&direct->committed) == 0)
		return;
	if (direct_sync(direct, &error) < 0)
		direct_batch_failed(direct, &direct->committed, &error);
	else
		direct_committed_done(direct);
}

static void direct_leave_folder(struct sink_direct *direct)
{
	direct_flush(&direct->sink);
	direct_close_fds(direct);
	local_folder_close(&direct->folder);
}

static int direct_enter_folder(struct sink_direct *direct, const char *vname,
			       struct local_error *error_r)
{
	if (direct->folder != NULL &&
	    strcmp(local_folder_get_name(direct->folder), vname) == 0)
		return 0;
	direct_leave_folder(direct);
	if (local_folder_open(direct->set.user, vname, TRUE, &direct->folder,
			      error_r) < 0)
		return -1;
	direct_add_fd(direct, MAILBOX_LIST_PATH_TYPE_MAILBOX);
	direct_add_fd(direct, MAILBOX_LIST_PATH_TYPE_INDEX);
	return 0;
}

/*
 * Saving
 */

static struct mail_save_context *
direct_save_alloc(struct sink_direct *direct,
		  const struct sink_message *message, const char *guid)
{
	struct mailbox *box = local_folder_get_box(direct->folder);
	struct mail_save_context *ctx;
	struct mail_keywords *keywords = NULL;

	if (direct->t == NULL) {
		direct->t = mailbox_transaction_begin(box,
			MAILBOX_TRANSACTION_FLAG_EXTERNAL |
			MAILBOX_TRANSACTION_FLAG_ASSIGN_UIDS,
			"imapsync-pull");
	}
	if (message->keywords != NULL && message->keywords[0] != NULL) {
		keywords = mailbox_keywords_create_valid(box,
							 message->keywords);
	}
	ctx = mailbox_save_alloc(direct->t);
	mailbox_save_set_flags(ctx, message->flags & ENUM_NEGATE(MAIL_RECENT),
			       keywords);
	if (keywords != NULL)
		mailbox_keywords_unref(&keywords);
	if (message->received_time != 0) {
		mailbox_save_set_received_date(ctx, message->received_time,
					       message->received_tz_mins);
	}
	mailbox_save_set_guid(ctx, guid);
	return ctx;
}

static int direct_save_stream(struct mail_save_context **ctx,
			      struct istream *input)
{
	ssize_t ret;

	if (mailbox_save_begin(ctx, input) < 0)
		return -1;
	do {
		ret = i_stream_read(input);
		i_assert(ret != 0);
		if (mailbox_save_continue(*ctx) < 0 ||
		    input->stream_errno != 0) {
			mailbox_save_cancel(ctx);
			return -1;
		}
	} while (ret != -1);
	return mailbox_save_finish(ctx);
}

static int direct_save(struct sink_direct *direct,
		       struct sink_message *message, const char *guid,
		       struct local_error *error_r)
{
	struct mail_save_context *ctx =
		direct_save_alloc(direct, message, guid);
	struct istream *input = spool_get_stream(message->spool);
	int ret = direct_save_stream(&ctx, input);

	if (ret < 0) {
		local_error_from_box(local_folder_get_box(direct->folder),
				     "save", error_r);
	}
	i_stream_unref(&input);
	return ret;
}

static void direct_saved_add(struct sink_direct *direct,
			     struct sink_message *message, const char *guid)
{
	struct direct_saved *saved = array_append_space(&direct->saved);

	saved->message = message;
	saved->guid = p_strdup(message->pool, guid);
	direct->saved_bytes += spool_size(message->spool);
	/* the storage has it now; a batch must not keep it in memory */
	spool_unref(&message->spool);
	if (direct->careful ||
	    array_count(&direct->saved) >= direct->set.batch_messages ||
	    direct->saved_bytes >= direct->set.batch_bytes)
		direct_commit(direct);
}

/* A transaction in which a save failed must not be committed: sdbox loses what
   else was in it. It is rolled back, and all of it may come again, each message
   by itself then, so that only the bad one is left. */
static void
direct_save_failed(struct sink_direct *direct, struct sink_message *message,
		   struct local_error *error)
{
	bool alone = array_count(&direct->saved) == 0;

	mailbox_transaction_rollback(&direct->t);
	direct->saved_bytes = 0;
	direct->careful = TRUE;
	if (!alone) {
		/* said again, with the class it deserves, if it stays so */
		error->class = REPLY_CLASS_LOCAL;
		direct_batch_failed(direct, &direct->saved, error);
	}
	direct_answer_error(direct, message, error, FALSE);
}

static void direct_put(struct sink *sink, struct sink_message *message)
{
	struct sink_direct *direct = container_of(sink, struct sink_direct,
						  sink);
	struct local_error error;
	const char *guid;

	if (direct_enter_folder(direct, message->mailbox, &error) < 0) {
		direct_answer_error(direct, message, &error, FALSE);
		return;
	}
	guid = local_folder_save_guid(direct->folder, message->guid,
				      message->received_time,
				      spool_lf_size(message->spool),
				      spool_crlf_size(message->spool));
	if (direct_save(direct, message, guid, &error) < 0)
		direct_save_failed(direct, message, &error);
	else
		direct_saved_add(direct, message, guid);
}

static bool direct_has_room(struct sink *sink ATTR_UNUSED)
{
	return TRUE;
}

static void direct_deinit(struct sink *sink)
{
	struct sink_direct *direct = container_of(sink, struct sink_direct,
						  sink);
	struct local_error error = {
		.class = REPLY_CLASS_STOPPED,
		.text = "stopped before it was saved",
	};

	if (direct->t != NULL)
		mailbox_transaction_rollback(&direct->t);
	direct_batch_failed(direct, &direct->committed, &error);
	direct_batch_failed(direct, &direct->saved, &error);
	direct_close_fds(direct);
	local_folder_close(&direct->folder);
	array_free(&direct->sync_fds);
	array_free(&direct->saved);
	array_free(&direct->committed);
	i_free(direct);
}

static const struct sink_vfuncs sink_direct_vfuncs = {
	.put = direct_put,
	.has_room = direct_has_room,
	.flush = direct_flush,
	.deinit = direct_deinit,
};

struct sink *sink_direct_init(const struct sink_direct_settings *set,
			      sink_callback_t *callback, void *context)
{
	struct sink_direct *direct = i_new(struct sink_direct, 1);

	direct->sink.v = &sink_direct_vfuncs;
	direct->sink.callback = callback;
	direct->sink.context = context;
	direct->set = *set;
	i_array_init(&direct->sync_fds, 4);
	i_array_init(&direct->saved, 64);
	i_array_init(&direct->committed, 64);
	return &direct->sink;
}
