/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "str.h"
#include "ioloop.h"
#include "net.h"
#include "fd-util.h"
#include "dovecot-compat.h"
#include "core/record-queue.h"
#include "auth-feed.h"

#include <unistd.h>
#include <sys/socket.h>

#define FEED_MAX_BYTES (64*1024)
/* Records that come in this time are one write, and one acknowledgement: both
   cost more than a record does. Nobody waits for one. */
#define FEED_GATHER_MSECS 50
/* but as many bytes are not kept waiting */
#define FEED_GATHER_BYTES (16*1024)
#define FEED_RETRY_MIN_MSECS 100
#define FEED_RETRY_MAX_MSECS 10000
/* as long as any line the service has to say; and not more at one time */
#define FEED_MAX_INPUT RECORD_MAX_LINE

struct auth_feed {
	char *path, *start;
	auth_feed_watch_t *watch;
	struct record_queue *queue;
	/* -1 = not connected */
	int fd;
	struct io *io_in, *io_out;
	struct timeout *to_gather, *to_retry;
	unsigned int retry_msecs;
	/* before that, a socket that is not there is not looked for again */
	time_t next_look;

	/* a line that has not come to its end */
	unsigned char input[FEED_MAX_INPUT];
	size_t input_used;
	/* there was a service once */
	bool configured:1;
};

static bool auth_feed_connect(struct auth_feed *feed);

static void auth_feed_retry(struct auth_feed *feed)
{
	(void)auth_feed_connect(feed);
}

static void auth_feed_retry_later(struct auth_feed *feed)
{
	feed->to_retry = timeout_add(feed->retry_msecs, auth_feed_retry, feed);
	feed->retry_msecs = I_MIN(feed->retry_msecs * 2, FEED_RETRY_MAX_MSECS);
}

static void auth_feed_disconnect(struct auth_feed *feed)
{
	timeout_remove(&feed->to_gather);
	io_remove(&feed->io_in);
	io_remove(&feed->io_out);
	i_close_fd(&feed->fd);
	feed->input_used = 0;
	record_queue_rewind(feed->queue);
	auth_feed_retry_later(feed);
}

/* Returns 1 if all was sent, 0 if there is more than the socket takes, -1 if
   it is broken. */
static int auth_feed_flush(struct auth_feed *feed)
{
	const unsigned char *data;
	size_t size;
	ssize_t ret;

	for (;;) {
		data = record_queue_next(feed->queue, ioloop_time, &size);
		if (size == 0)
			return 1;
		ret = send(feed->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (ret < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -1;
		record_queue_sent(feed->queue, ret);
	}
}

static void auth_feed_output(struct auth_feed *feed)
{
	int ret;

	T_BEGIN {
		ret = auth_feed_flush(feed);
	} T_END;
	if (ret < 0)
		auth_feed_disconnect(feed);
	else if (ret > 0)
		io_remove(&feed->io_out);
}

/* Returns -1 if the service speaks another language. */
static int auth_feed_line(struct auth_feed *feed, const char *line)
{
	struct record record;
	const char *error;

	if (str_begins_with(line, "VERSION\t"))
		return record_version_check(line, &error);
	if (record_parse(pool_datastack_create(), line, &record, &error) < 0)
		return -1;
	if (record.kind == RECORD_ACK)
		record_queue_ack(feed->queue, record.id);
	else if (record.kind == RECORD_WATCH)
		feed->watch(record.user, &record.ip);
	else
		return -1;
	return 0;
}

static int auth_feed_lines(struct auth_feed *feed)
{
	unsigned char *end;
	size_t size;
	int ret = 0;

	while (ret == 0 && (end = memchr(feed->input, '\n',
					 feed->input_used)) != NULL) {
		size = end - feed->input;
		T_BEGIN {
			ret = auth_feed_line(feed, t_strndup(feed->input,
							     size));
		} T_END;
		feed->input_used -= size + 1;
		memmove(feed->input, end + 1, feed->input_used);
	}
	return feed->input_used == sizeof(feed->input) ? -1 : ret;
}

static void auth_feed_input(struct auth_feed *feed)
{
	ssize_t ret = recv(feed->fd, feed->input + feed->input_used,
			   sizeof(feed->input) - feed->input_used,
			   MSG_DONTWAIT);

	if (ret < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (ret > 0)
		feed->input_used += ret;
	if (ret <= 0 || auth_feed_lines(feed) < 0) {
		auth_feed_disconnect(feed);
		return;
	}
	/* it is alive */
	feed->retry_msecs = FEED_RETRY_MIN_MSECS;
}

/* The first bytes on a new socket: they fit. */
static int auth_feed_hello(struct auth_feed *feed)
{
	const struct record hello = {
		.kind = RECORD_PRODUCER,
		.name = RECORD_PRODUCER_AUTH,
		.start = feed->start,
	};
	string_t *str = t_str_new(128);
	const char *error;

	str_append(str, record_version_line());
	if (record_write(str, &hello, &error) < 0)
		i_unreached();
	return send(feed->fd, str_data(str), str_len(str),
		    MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)str_len(str) ?
		0 : -1;
}

static void auth_feed_want_output(struct auth_feed *feed)
{
	timeout_remove(&feed->to_gather);
	feed->io_out = io_add(feed->fd, IO_WRITE, auth_feed_output, feed);
}

static void auth_feed_gather(struct auth_feed *feed)
{
	if (feed->fd == -1 || feed->io_out != NULL)
		return;
	if (record_queue_unsent(feed->queue) >= FEED_GATHER_BYTES)
		auth_feed_want_output(feed);
	else if (feed->to_gather == NULL) {
		feed->to_gather = timeout_add_short(
			FEED_GATHER_MSECS, auth_feed_want_output, feed);
	}
}

/* Returns FALSE if nobody has ever made the socket. */
static bool auth_feed_connect(struct auth_feed *feed)
{
	int ret;

	timeout_remove(&feed->to_retry);
	feed->fd = net_connect_unix(feed->path);
	if (feed->fd == -1) {
		/* a full queue of connections is somebody, too */
		if (errno == EAGAIN || errno == ECONNREFUSED)
			feed->configured = TRUE;
		if (feed->configured)
			auth_feed_retry_later(feed);
		return feed->configured;
	}
	feed->configured = TRUE;
	fd_close_on_exec(feed->fd, TRUE);
	feed->io_in = io_add(feed->fd, IO_READ, auth_feed_input, feed);
	T_BEGIN {
		ret = auth_feed_hello(feed);
	} T_END;
	if (ret < 0)
		auth_feed_disconnect(feed);
	else
		auth_feed_want_output(feed);
	return TRUE;
}

bool auth_feed_is_wanted(struct auth_feed *feed)
{
	if (feed->configured)
		return TRUE;
	if (ioloop_time < feed->next_look)
		return FALSE;
	feed->next_look = ioloop_time + 1;
	return auth_feed_connect(feed);
}

void auth_feed_send(struct auth_feed *feed, struct record *record)
{
	record_queue_add(feed->queue, record);
	auth_feed_gather(feed);
}

struct auth_feed *auth_feed_init(const char *path, const char *start,
				 auth_feed_watch_t *watch)
{
	struct auth_feed *feed = i_new(struct auth_feed, 1);

	feed->path = i_strdup(path);
	feed->start = i_strdup(start);
	feed->watch = watch;
	feed->queue = record_queue_create(FEED_MAX_BYTES);
	feed->fd = -1;
	feed->retry_msecs = FEED_RETRY_MIN_MSECS;
	/* whom to watch for is to be known before the first of them comes */
	feed->to_retry = timeout_add_short(0, auth_feed_retry, feed);
	return feed;
}

/* What can be sent at once still is. */
void auth_feed_deinit(struct auth_feed **_feed)
{
	struct auth_feed *feed = *_feed;

	*_feed = NULL;
	if (feed->fd != -1) T_BEGIN {
		(void)auth_feed_flush(feed);
	} T_END;
	timeout_remove(&feed->to_gather);
	timeout_remove(&feed->to_retry);
	io_remove(&feed->io_in);
	io_remove(&feed->io_out);
	i_close_fd(&feed->fd);
	record_queue_free(&feed->queue);
	i_free(feed->path);
	i_free(feed->start);
	i_free(feed);
}
