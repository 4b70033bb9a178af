/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "str.h"
#include "ioloop.h"
#include "ostream.h"
#include "connection.h"
#include "dovecot-compat.h"
#include "core/imap-show.h"
#include "imap-feed.h"

/* SUB and a few SHOWN */
#define FEED_MAX_OUTPUT (16*1024)

struct imap_feed {
	struct connection conn;
	const struct imap_feed_callbacks *callbacks;
	void *context;
	/* SUB, with its LF */
	string_t *sub;
	struct timeout *to_retry;
	/* since the service last said something */
	unsigned int failures;
};

static struct connection_list *feed_conns;

static void imap_feed_send(struct imap_feed *feed, const string_t *line)
{
	struct ostream *output = feed->conn.output;

	/* a service that does not read will be told by the next one */
	if (output != NULL && o_stream_get_buffer_used_size(output) +
	    str_len(line) <= FEED_MAX_OUTPUT)
		o_stream_nsend(output, str_data(line), str_len(line));
}

static void imap_feed_retry(struct imap_feed *feed);

static void imap_feed_retry_later(struct imap_feed *feed)
{
	unsigned int msecs =
		imap_show_retry_msecs(feed->failures, i_rand());

	feed->failures++;
	timeout_remove(&feed->to_retry);
	feed->to_retry = timeout_add(msecs, imap_feed_retry, feed);
}

static void imap_feed_connect(struct imap_feed *feed)
{
	if (connection_client_connect(&feed->conn) < 0)
		imap_feed_retry_later(feed);
	else
		imap_feed_send(feed, feed->sub);
}

static void imap_feed_retry(struct imap_feed *feed)
{
	timeout_remove(&feed->to_retry);
	imap_feed_connect(feed);
}

static void imap_feed_destroy(struct connection *conn)
{
	struct imap_feed *feed = container_of(conn, struct imap_feed, conn);

	connection_disconnect(conn);
	imap_feed_retry_later(feed);
	feed->callbacks->lost(feed->context);
}

static int
imap_feed_input_args(struct connection *conn, const char *const *args)
{
	struct imap_feed *feed = container_of(conn, struct imap_feed, conn);
	struct feed_line line;
	const char *error = "out of place";

	if (feed_line_parse(args, &line, &error) < 0 ||
	    (line.word != FEED_NOTICE && line.word != FEED_GONE)) {
		e_error(conn->event, "The service said: %s", error);
		return -1;
	}
	feed->failures = 0;
	feed->callbacks->line(feed->context, &line);
	/* the line may have been the last this session wanted to hear */
	return 1;
}

static const struct connection_settings feed_conn_settings = {
	.service_name_in = FEED_PROTOCOL_NAME,
	.service_name_out = FEED_PROTOCOL_NAME,
	.major_version = FEED_PROTOCOL_MAJOR,
	.minor_version = FEED_PROTOCOL_MINOR,
	.input_max_size = FEED_MAX_LINE,
	/* imap_feed_send() keeps below it */
	.output_max_size = SIZE_MAX,
	.client = TRUE,
};

static const struct connection_vfuncs feed_conn_vfuncs = {
	.destroy = imap_feed_destroy,
	.input_args = imap_feed_input_args,
};

struct imap_feed *
imap_feed_init(const char *path, const struct feed_line *sub,
	       struct event *event_parent,
	       const struct imap_feed_callbacks *callbacks, void *context)
{
	struct imap_feed *feed;
	string_t *line = t_str_new(256);
	const char *error;

	if (feed_line_write(line, sub, &error) < 0) {
		e_debug(event_parent, "cred-notify: Not asked: %s", error);
		return NULL;
	}
	feed = i_new(struct imap_feed, 1);
	feed->callbacks = callbacks;
	feed->context = context;
	feed->sub = str_new(default_pool, str_len(line));
	str_append_str(feed->sub, line);
	feed->conn.event_parent = event_parent;
	connection_init_client_unix(feed_conns, &feed->conn, path);
	imap_feed_connect(feed);
	return feed;
}

void imap_feed_deinit(struct imap_feed **_feed)
{
	struct imap_feed *feed = *_feed;

	*_feed = NULL;
	timeout_remove(&feed->to_retry);
	connection_deinit(&feed->conn);
	str_free(&feed->sub);
	i_free(feed);
}

void imap_feed_shown(struct imap_feed *feed, const char *id)
{
	const struct feed_line shown = {
		.word = FEED_SHOWN,
		.id = id,
	};
	string_t *line = t_str_new(64);
	const char *error;

	if (feed_line_write(line, &shown, &error) < 0)
		i_unreached();
	imap_feed_send(feed, line);
}

void imap_feeds_init(void)
{
	feed_conns = connection_list_init(&feed_conn_settings,
					  &feed_conn_vfuncs);
}

void imap_feeds_deinit(void)
{
	connection_list_deinit(&feed_conns);
}
