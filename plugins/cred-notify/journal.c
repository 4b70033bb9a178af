/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "istream.h"
#include "randgen.h"
#include "str.h"
#include "strescape.h"
#include "strnum.h"
#include "write-full.h"
#include "dovecot-compat.h"
#include "journal.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define JOURNAL_MAGIC "cred-notify-journal"
/* written at this size, synced or not */
#define JOURNAL_BUFFER_SIZE (64*1024)
/* no compaction before there is so much to win */
#define JOURNAL_COMPACT_MIN (1024*1024)
/* a file that another process has is tried again so often */
#define BUSY_MSECS 50

/* A file that is appended to. */
struct journal_file {
	char *path;
	int fd;
	/* of what was written whole */
	uoff_t size;
	string_t *buffer;
	bool unsynced;
	/* NULL, or why it must not be written any more: what fsync() failed
	   for once may be lost although the next one succeeds */
	char *error;
};

struct journal {
	struct journal_file file;
	uint64_t id;
	/* its size when it held nothing old */
	uoff_t compact_size;
	/* while it is opened: another process has it */
	bool busy;
};

struct journal_compact {
	struct journal *journal;
	struct journal_file file;
};

/*
 * Files
 */

static int
file_fail(struct journal_file *file, const char *what, const char **error_r)
{
	if (file->error == NULL) {
		file->error = i_strdup_printf("%s(%s) failed: %m", what,
					      file->path);
	}
	*error_r = t_strdup(file->error);
	return -1;
}

static void file_init(struct journal_file *file, const char *path, int fd)
{
	i_zero(file);
	file->path = i_strdup(path);
	file->fd = fd;
	file->buffer = str_new(default_pool, 1024);
}

static void file_deinit(struct journal_file *file)
{
	i_close_fd(&file->fd);
	str_free(&file->buffer);
	i_free(file->path);
	i_free(file->error);
}

/* Half a line would spoil the next one, so it is taken back. */
static int file_flush(struct journal_file *file, const char **error_r)
{
	size_t size = str_len(file->buffer);

	if (file->error != NULL) {
		*error_r = t_strdup(file->error);
		return -1;
	}
	if (size == 0)
		return 0;
	if (write_full(file->fd, str_data(file->buffer), size) < 0) {
		(void)file_fail(file, "write", error_r);
		if (ftruncate(file->fd, file->size) < 0) {
			*error_r = t_strdup_printf(
				"%s, and the part of a line stays: %m",
				*error_r);
		}
		return -1;
	}
	file->size += size;
	file->unsynced = TRUE;
	str_truncate(file->buffer, 0);
	return 0;
}

static int file_sync(struct journal_file *file, const char **error_r)
{
	if (file_flush(file, error_r) < 0)
		return -1;
	if (!file->unsynced)
		return 0;
	if (fdatasync(file->fd) < 0)
		return file_fail(file, "fdatasync", error_r);
	file->unsynced = FALSE;
	return 0;
}

static int
file_append(struct journal_file *file, const struct journal_entry *entry,
	    const char **error_r)
{
	if (file->error != NULL) {
		*error_r = t_strdup(file->error);
		return -1;
	}
	journal_line_print(file->buffer, entry);
	return str_len(file->buffer) < JOURNAL_BUFFER_SIZE ? 0 :
		file_flush(file, error_r);
}

static void file_add_header(struct journal_file *file, uint64_t id)
{
	str_printfa(file->buffer, JOURNAL_MAGIC"\t%u\t%016llx\n",
		    JOURNAL_LINE_VERSION, (unsigned long long)id);
}

/* A new name is safe only with its directory. */
static int sync_dir(const char *path, const char **error_r)
{
	const char *dir = t_strdup_until(path, strrchr(path, '/') + 1);
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int ret = 0;

	if (fd == -1 || fsync(fd) < 0) {
		*error_r = t_strdup_printf("fsync(%s) failed: %m", dir);
		ret = -1;
	}
	i_close_fd(&fd);
	return ret;
}

/* The kernel gives it back when we die. errno is EWOULDBLOCK if another process
   has it. */
static int file_lock(int fd, const char *path, const char **error_r)
{
	int saved;

	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	saved = errno;
	*error_r = errno == EWOULDBLOCK ?
		t_strdup_printf("%s is in use by another process", path) :
		t_strdup_printf("flock(%s) failed: %m", path);
	errno = saved;
	return -1;
}

/*
 * Reading
 */

struct journal_reader {
	struct istream *input;
	journal_replay_t *replay;
	void *context;
	struct journal_report *report;
	/* cleared for each line */
	pool_t pool;
	/* where the last good line ends */
	uoff_t good_offset;
	/* corrupt lines behind it */
	uint64_t pending_lines;
	uoff_t pending_offset;
	const char *pending_error;
};

static int
header_parse(const char *line, const char *path, uint64_t *id_r,
	     const char **error_r)
{
	const char *const *args = t_strsplit_tabescaped(line);
	unsigned int version;

	if (str_array_length(args) != 3 ||
	    strcmp(args[0], JOURNAL_MAGIC) != 0 ||
	    str_to_uint(args[1], &version) < 0) {
		*error_r = t_strdup_printf("%s is no journal: move it away",
					   path);
		return -1;
	}
	if (version != JOURNAL_LINE_VERSION ||
	    str_to_uint64_hex(args[2], id_r) < 0) {
		*error_r = t_strdup_printf("%s has version %u, and this program"
			" knows only %u", path, version, JOURNAL_LINE_VERSION);
		return -1;
	}
	return 0;
}

static void
reader_bad_line(struct journal_reader *reader, uoff_t offset,
		const char *error)
{
	if (reader->pending_lines++ == 0) {
		reader->pending_offset = offset;
		reader->pending_error = error;
	}
}

/* With a good line behind them, corrupt ones are no torn tail. */
static void reader_good_line(struct journal_reader *reader)
{
	struct journal_report *report = reader->report;

	if (reader->pending_lines > 0 && report->corrupt_lines == 0) {
		report->corrupt_offset = reader->pending_offset;
		report->corrupt_error = reader->pending_error;
	}
	report->corrupt_lines += reader->pending_lines;
	reader->pending_lines = 0;
	reader->good_offset = reader->input->v_offset;
	report->entries++;
}

static void
reader_line(struct journal_reader *reader, const char *line, uoff_t offset)
{
	struct journal_entry entry;
	const char *error;

	p_clear(reader->pool);
	if (journal_line_parse(reader->pool, line, &entry, &error) < 0) {
		reader_bad_line(reader, offset, error);
		return;
	}
	reader_good_line(reader);
	reader->replay(&entry, reader->context);
}

/* Returns FALSE at the end. A line that fills the buffer is too long: what is
   left of it is taken for another bad line. */
static bool reader_next(struct journal_reader *reader)
{
	uoff_t offset = reader->input->v_offset;
	const unsigned char *data;
	const char *line;
	size_t size;

	line = i_stream_next_line(reader->input);
	if (line != NULL) {
		T_BEGIN {
			reader_line(reader, line, offset);
		} T_END;
		return TRUE;
	}
	switch (i_stream_read(reader->input)) {
	case -2:
		data = i_stream_get_data(reader->input, &size);
		i_assert(data != NULL);
		i_stream_skip(reader->input, size);
		reader_bad_line(reader, offset, "line is too long");
		return TRUE;
	case -1:
		return FALSE;
	default:
		return TRUE;
	}
}

static int
reader_run(struct journal_reader *reader, const char *path,
	   const char **error_r)
{
	while (reader_next(reader)) ;
	if (reader->input->stream_errno != 0) {
		*error_r = t_strdup_printf("read(%s) failed: %s", path,
			i_stream_get_error(reader->input));
		return -1;
	}
	return 0;
}

static int
journal_cut_tail(struct journal *journal, const struct journal_reader *reader,
		 uoff_t size, const char **error_r)
{
	struct journal_file *file = &journal->file;

	file->size = reader->good_offset;
	reader->report->torn_bytes = size - reader->good_offset;
	if (reader->report->torn_bytes == 0)
		return 0;
	if (ftruncate(file->fd, file->size) < 0 || fdatasync(file->fd) < 0)
		return file_fail(file, "ftruncate", error_r);
	return 0;
}

static int
journal_read(struct journal *journal, struct journal_reader *reader,
	     uoff_t size, const char **error_r)
{
	const char *path = journal->file.path;
	const char *line = i_stream_read_next_line(reader->input);

	if (line == NULL) {
		*error_r = t_strdup_printf("%s is no journal: move it away",
					   path);
		return -1;
	}
	if (header_parse(line, path, &journal->id, error_r) < 0)
		return -1;
	reader->good_offset = reader->input->v_offset;
	if (reader_run(reader, path, error_r) < 0)
		return -1;
	return journal_cut_tail(journal, reader, size, error_r);
}

static int
journal_replay(struct journal *journal, journal_replay_t *replay,
	       void *context, uoff_t size, struct journal_report *report_r,
	       const char **error_r)
{
	struct journal_reader reader = {
		.replay = replay, .context = context, .report = report_r,
	};
	int ret;

	reader.input = i_stream_create_fd(journal->file.fd, JOURNAL_LINE_MAX);
	reader.pool = pool_alloconly_create("journal line", 4096);
	ret = journal_read(journal, &reader, size, error_r);
	pool_unref(&reader.pool);
	i_stream_destroy(&reader.input);
	return ret;
}

/*
 * Opening
 */

static int
compact_create(const char *path, struct journal_file *file_r,
	       const char **error_r)
{
	const char *new_path = t_strconcat(path, ".new", NULL);
	int fd;

	/* a crash may have left one */
	i_unlink_if_exists(new_path);
	fd = open(new_path, O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC,
		  0600);
	if (fd == -1) {
		*error_r = t_strdup_printf("creat(%s) failed: %m", new_path);
		return -1;
	}
	file_init(file_r, new_path, fd);
	if (file_lock(fd, new_path, error_r) < 0) {
		file_deinit(file_r);
		return -1;
	}
	return 0;
}

/* Makes it the journal. */
static int
compact_rename(struct journal_file *file, const char *path,
	       const char **error_r)
{
	if (file_sync(file, error_r) < 0)
		return -1;
	if (rename(file->path, path) < 0) {
		*error_r = t_strdup_printf("rename(%s, %s) failed: %m",
					   file->path, path);
		return -1;
	}
	i_free(file->path);
	file->path = i_strdup(path);
	return 0;
}

static int
journal_create(struct journal *journal, const char *path, const char **error_r)
{
	if (compact_create(path, &journal->file, error_r) < 0)
		return -1;
	random_fill(&journal->id, sizeof(journal->id));
	file_add_header(&journal->file, journal->id);
	if (compact_rename(&journal->file, path, error_r) < 0 ||
	    sync_dir(path, error_r) < 0) {
		i_unlink_if_exists(journal->file.path);
		file_deinit(&journal->file);
		return -1;
	}
	return 0;
}

/* Another process may have put a new file in its place before it let go. */
static int
journal_lock(struct journal *journal, int fd, const char *path,
	     struct stat *st_r, const char **error_r)
{
	struct stat st;

	if (file_lock(fd, path, error_r) < 0) {
		journal->busy = errno == EWOULDBLOCK;
		return -1;
	}
	if (fstat(fd, st_r) < 0 || stat(path, &st) < 0) {
		*error_r = t_strdup_printf("stat(%s) failed: %m", path);
		return -1;
	}
	if (st.st_ino != st_r->st_ino || st.st_dev != st_r->st_dev) {
		*error_r = t_strdup_printf("%s is in use by another process",
					   path);
		journal->busy = TRUE;
		return -1;
	}
	if (!S_ISREG(st_r->st_mode)) {
		*error_r = t_strdup_printf("%s is not a regular file", path);
		return -1;
	}
	return 0;
}

static int
journal_open_file(struct journal *journal, const char *path, int fd,
		  journal_replay_t *replay, void *context,
		  struct journal_report *report_r, const char **error_r)
{
	struct stat st;

	file_init(&journal->file, path, fd);
	if (journal_lock(journal, fd, path, &st, error_r) < 0 ||
	    journal_replay(journal, replay, context, st.st_size, report_r,
			   error_r) < 0) {
		file_deinit(&journal->file);
		return -1;
	}
	return 0;
}

static int
journal_open_or_create(struct journal *journal, const char *path,
		       journal_replay_t *replay, void *context,
		       struct journal_report *report_r, const char **error_r)
{
	int fd = open(path, O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK |
		      O_CLOEXEC);

	if (fd != -1) {
		return journal_open_file(journal, path, fd, replay, context,
					 report_r, error_r);
	}
	if (errno != ENOENT) {
		*error_r = t_strdup_printf("open(%s) failed: %m", path);
		return -1;
	}
	report_r->created = TRUE;
	return journal_create(journal, path, error_r);
}

/* Returns FALSE if that was long enough. */
static bool busy_wait(unsigned int *wait_msecs)
{
	if (*wait_msecs == 0)
		return FALSE;
	*wait_msecs -= I_MIN(*wait_msecs, BUSY_MSECS);
	(void)usleep(BUSY_MSECS * 1000);
	return TRUE;
}

int journal_open(const char *path, unsigned int wait_msecs,
		 journal_replay_t *replay, void *context,
		 struct journal **journal_r, struct journal_report *report_r,
		 const char **error_r)
{
	struct journal *journal = i_new(struct journal, 1);
	int ret;

	i_assert(*path == '/');

	i_zero(report_r);
	report_r->corrupt_error = "";
	do {
		journal->busy = FALSE;
		ret = journal_open_or_create(journal, path, replay, context,
					     report_r, error_r);
	} while (ret < 0 && journal->busy && busy_wait(&wait_msecs));
	if (ret < 0) {
		i_free(journal);
		return -1;
	}
	/* how much of it is history is not known: half of it */
	journal->compact_size = journal->file.size / 2;
	*journal_r = journal;
	return 0;
}

void journal_close(struct journal **_journal)
{
	struct journal *journal = *_journal;
	const char *error;

	*_journal = NULL;
	/* who needs it safe has synced it */
	(void)file_flush(&journal->file, &error);
	file_deinit(&journal->file);
	i_free(journal);
}

uint64_t journal_id(const struct journal *journal)
{
	return journal->id;
}

int journal_append(struct journal *journal, const struct journal_entry *entry,
		   const char **error_r)
{
	return file_append(&journal->file, entry, error_r);
}

int journal_sync(struct journal *journal, const char **error_r)
{
	return file_sync(&journal->file, error_r);
}

/*
 * Compaction
 */

bool journal_wants_compaction(const struct journal *journal)
{
	return journal->file.error != NULL || journal->file.size >
		journal->compact_size * 2 + JOURNAL_COMPACT_MIN;
}

int journal_compact_begin(struct journal *journal,
			  struct journal_compact **compact_r,
			  const char **error_r)
{
	struct journal_compact *compact = i_new(struct journal_compact, 1);

	compact->journal = journal;
	if (compact_create(journal->file.path, &compact->file, error_r) < 0) {
		i_free(compact);
		return -1;
	}
	file_add_header(&compact->file, journal->id);
	*compact_r = compact;
	return 0;
}

/* The file remembers what went wrong. */
void journal_compact_add(struct journal_compact *compact,
			 const struct journal_entry *entry)
{
	const char *error;

	T_BEGIN {
		(void)file_append(&compact->file, entry, &error);
	} T_END;
}

int journal_compact_commit(struct journal_compact **_compact,
			   const char **error_r)
{
	struct journal_compact *compact = *_compact;
	struct journal *journal = compact->journal;

	if (compact_rename(&compact->file, journal->file.path, error_r) < 0) {
		journal_compact_rollback(_compact);
		return -1;
	}
	*_compact = NULL;
	file_deinit(&journal->file);
	journal->file = compact->file;
	journal->compact_size = journal->file.size;
	i_free(compact);
	return sync_dir(journal->file.path, error_r);
}

void journal_compact_rollback(struct journal_compact **_compact)
{
	struct journal_compact *compact = *_compact;

	*_compact = NULL;
	i_unlink_if_exists(compact->file.path);
	file_deinit(&compact->file);
	i_free(compact);
}
