/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "hex-binary.h"
#include "buffer.h"
#include "ioloop.h"
#include "safe-memset.h"
#include "mail-types.h"
#include "core/trace-header.h"
#include "lmtp-key.h"

#include <fcntl.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

/* hex digits and a line end */
#define KEY_FILE_MAX (TRACE_HEADER_KEY_SIZE * 2 + 2)
/* what was read this recently need not be doubted */
#define KEY_FRESH_SECS 10

static struct {
	char *path;
	unsigned char key[TRACE_HEADER_KEY_SIZE];
	bool have_key;
	char *error;

	/* the file the key is from, kept open: its link count and change time
	   tell a mail user, who may not even look into its directory, that it
	   was replaced */
	int fd;
	struct stat st;
	time_t read_time;

	/* wakes the main loop, where the process is itself again */
	int wake_fd;
	struct io *wake_io;
	/* it was woken and has not run yet */
	bool wake_pending;
	/* a missing key was answered with "again" already */
	bool again_told;
} lmtp_key = { .fd = -1, .wake_fd = -1 };

static void lmtp_key_set_error(const char *error)
{
	i_free(lmtp_key.error);
	lmtp_key.error = i_strdup(error);
	lmtp_key.have_key = FALSE;
}

static bool
lmtp_key_parse(const char *text, unsigned char key_r[TRACE_HEADER_KEY_SIZE])
{
	buffer_t *bin = t_buffer_create(TRACE_HEADER_KEY_SIZE);
	const char *hex = t_strcut(text, '\n');

	if (strlen(hex) != TRACE_HEADER_KEY_SIZE * 2 ||
	    hex_to_binary(hex, bin) < 0)
		return FALSE;
	memcpy(key_r, bin->data, TRACE_HEADER_KEY_SIZE);
	safe_memset(buffer_get_modifiable_data(bin, NULL), 0, bin->used);
	safe_memset((char *)hex, 0, strlen(hex));
	return TRUE;
}

static void lmtp_key_read_fd(void)
{
	char text[KEY_FILE_MAX + 1];
	ssize_t ret;

	i_zero(&text);
	lmtp_key.read_time = ioloop_time;
	if (fstat(lmtp_key.fd, &lmtp_key.st) < 0 ||
	    (ret = pread(lmtp_key.fd, text, KEY_FILE_MAX, 0)) < 0) {
		lmtp_key_set_error(t_strdup_printf(
			"header key %s cannot be read: %m", lmtp_key.path));
		return;
	}
	T_BEGIN {
		lmtp_key.have_key = lmtp_key_parse(text, lmtp_key.key);
	} T_END;
	safe_memset(text, 0, sizeof(text));
	if (!lmtp_key.have_key) {
		lmtp_key_set_error(t_strdup_printf(
			"header key %s does not hold %d hex digits",
			lmtp_key.path, TRACE_HEADER_KEY_SIZE * 2));
	}
}

static void lmtp_key_open(void)
{
	int fd = open(lmtp_key.path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	lmtp_key.read_time = ioloop_time;
	if (fd == -1) {
		lmtp_key_set_error(t_strdup_printf(
			"header key: open(%s) failed: %m", lmtp_key.path));
		return;
	}
	i_close_fd(&lmtp_key.fd);
	lmtp_key.fd = fd;
	lmtp_key_read_fd();
}

static void lmtp_key_wake(void *context ATTR_UNUSED)
{
	uint64_t count;

	lmtp_key.wake_pending = FALSE;
	if (read(lmtp_key.wake_fd, &count, sizeof(count)) > 0) T_BEGIN {
		lmtp_key_open();
	} T_END;
}

void lmtp_key_init(const char *path)
{
	lmtp_key.path = i_strdup(path);
	lmtp_key_open();

	/* A timeout made during a delivery would carry the mail user's
	   context into the main loop; this io is made before there is one. */
	lmtp_key.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (lmtp_key.wake_fd == -1)
		i_error("imapsync-pull: eventfd() failed: %m");
	else {
		lmtp_key.wake_io = io_add(lmtp_key.wake_fd, IO_READ,
					  lmtp_key_wake, NULL);
	}
}

void lmtp_key_deinit(void)
{
	io_remove(&lmtp_key.wake_io);
	i_close_fd(&lmtp_key.wake_fd);
	i_close_fd(&lmtp_key.fd);
	i_free(lmtp_key.path);
	i_free(lmtp_key.error);
	safe_memset(lmtp_key.key, 0, sizeof(lmtp_key.key));
	lmtp_key.have_key = FALSE;
}

/* Have the file opened again once the delivery is over. */
static void lmtp_key_ask_again(void)
{
	const uint64_t one = 1;

	lmtp_key.wake_pending = lmtp_key.wake_io != NULL &&
		write(lmtp_key.wake_fd, &one, sizeof(one)) == sizeof(one);
}

/* FALSE = the file must be opened again. */
static bool lmtp_key_check(void)
{
	struct stat st;

	if (lmtp_key.fd == -1 || fstat(lmtp_key.fd, &st) < 0 ||
	    st.st_nlink == 0)
		return FALSE;
	if (st.st_mtime != lmtp_key.st.st_mtime ||
	    st.st_ctime != lmtp_key.st.st_ctime ||
	    st.st_size != lmtp_key.st.st_size)
		lmtp_key_read_fd();
	return lmtp_key.have_key;
}

/* Somebody else's message may carry such a header, too. It may wait once, but
   not for a key that never comes. */
static bool lmtp_key_is_awaited(bool had_key)
{
	if (lmtp_key.wake_pending)
		return TRUE;
	if (!had_key && (lmtp_key.again_told ||
			 ioloop_time - lmtp_key.read_time < KEY_FRESH_SECS)) {
		lmtp_key.again_told = FALSE;
		return FALSE;
	}
	lmtp_key_ask_again();
	lmtp_key.again_told = lmtp_key.wake_pending;
	return lmtp_key.wake_pending;
}

const unsigned char *lmtp_key_get(bool *again_r, const char **error_r)
{
	bool had_key = lmtp_key.have_key;

	*again_r = FALSE;
	if (lmtp_key_check()) {
		lmtp_key.again_told = FALSE;
		return lmtp_key.key;
	}
	if (had_key) {
		/* the old key must not be used any more */
		lmtp_key_set_error(t_strdup_printf(
			"header key %s was replaced", lmtp_key.path));
	}
	*again_r = lmtp_key_is_awaited(had_key);
	*error_r = lmtp_key.error != NULL ? lmtp_key.error :
		"the header key has not been read";
	return NULL;
}
