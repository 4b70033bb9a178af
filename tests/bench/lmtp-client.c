/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A bare LMTP client (RFC 2033) that does nothing but keep N connections busy:
   each message's MAIL, RCPT and DATA follow the end of the message before in
   one write (RFC 2920). It is what the sink is measured against, so it knows
   nothing of Dovecot and needs only the C library.

   usage: lmtp-client CONNECTIONS UNIX_SOCKET USER MESSAGES
   MESSAGES holds messages with CRLF line ends one after the other, each
   preceded by a line with its size in bytes. Prints "sum done N", and ends with
   1 if any message was not accepted. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define CONNECTIONS_MAX 64

struct buffer {
	char *data;
	size_t used, size, sent;
};

struct connection {
	int fd;
	struct buffer out;
	char in[4096];
	size_t in_used;
	/* replies that come before the one to the message or to DATA */
	unsigned int skip;
	/* "begin" was sent, its 354 has not come */
	bool wants_data;
	/* a message was sent, its reply has not come */
	bool in_doubt;
	bool finished;
};

static const char *messages, *messages_end, *user;
static unsigned int done, failed;

static void die(const char *what)
{
	perror(what);
	exit(2);
}

static void buffer_append(struct buffer *buf, const char *data, size_t size)
{
	if (buf->used + size > buf->size) {
		buf->size = (buf->used + size) * 2;
		buf->data = realloc(buf->data, buf->size);
		if (buf->data == NULL)
			die("realloc");
	}
	memcpy(buf->data + buf->used, data, size);
	buf->used += size;
}

/* Dots at the start of lines doubled (RFC 5321, 4.5.2). */
static void append_message(struct buffer *buf, const char *data, size_t size)
{
	const char *end = data + size, *p;

	while (data < end) {
		if (*data == '.')
			buffer_append(buf, ".", 1);
		p = memchr(data, '\n', end - data);
		p = p == NULL ? end : p + 1;
		buffer_append(buf, data, p - data);
		data = p;
	}
	if (size == 0 || end[-1] != '\n')
		buffer_append(buf, "\r\n", 2);
	buffer_append(buf, ".\r\n", 3);
}

static bool next_message(const char **data_r, size_t *size_r)
{
	char *line_end;

	if (messages >= messages_end)
		return false;
	*size_r = strtoul(messages, &line_end, 10);
	*data_r = line_end + 1;
	messages = *data_r + *size_r;
	return true;
}

static void append_begin(struct connection *conn)
{
	char text[512];
	int len = snprintf(text, sizeof(text),
			   "MAIL FROM:<bench@example.org>\r\n"
			   "RCPT TO:<%s>\r\nDATA\r\n", user);

	buffer_append(&conn->out, text, len);
	conn->skip += 2;
	conn->wants_data = true;
}

/* 354 came: the message, and right behind it the start of the next. */
static void send_message(struct connection *conn)
{
	const char *data;
	size_t size;

	conn->wants_data = false;
	if (!next_message(&data, &size)) {
		/* DATA cannot be taken back; an empty message could: hang up */
		conn->finished = true;
		return;
	}
	append_message(&conn->out, data, size);
	conn->in_doubt = true;
	if (messages < messages_end)
		append_begin(conn);
}

static void handle_reply(struct connection *conn, const char *line)
{
	bool good = line[0] == '2' || line[0] == '3';

	if (!good) {
		fprintf(stderr, "%s\n", line);
		failed++;
	}
	if (conn->in_doubt) {
		conn->in_doubt = false;
		if (good)
			done++;
	} else if (conn->skip > 0)
		conn->skip--;
	else if (conn->wants_data && good) {
		send_message(conn);
		return;
	}
	if (!good || (!conn->in_doubt && !conn->wants_data))
		conn->finished = true;
}

static void handle_input(struct connection *conn)
{
	ssize_t ret = read(conn->fd, conn->in + conn->in_used,
			   sizeof(conn->in) - 1 - conn->in_used);
	char *line = conn->in, *p;

	if (ret <= 0)
		die("read");
	conn->in_used += ret;
	conn->in[conn->in_used] = '\0';
	while ((p = strstr(line, "\r\n")) != NULL) {
		*p = '\0';
		/* only the last line of a reply counts */
		if (strlen(line) > 3 && line[3] != '-')
			handle_reply(conn, line);
		line = p + 2;
	}
	conn->in_used -= line - conn->in;
	memmove(conn->in, line, conn->in_used);
}

static void handle_output(struct connection *conn)
{
	struct buffer *out = &conn->out;
	ssize_t ret = write(conn->fd, out->data + out->sent,
			    out->used - out->sent);

	if (ret < 0 && errno != EAGAIN)
		die("write");
	if (ret > 0)
		out->sent += ret;
	if (out->sent == out->used)
		out->sent = out->used = 0;
}

static void connection_init(struct connection *conn, const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	conn->fd = socket(AF_UNIX, SOCK_STREAM, 0);
	strncpy(addr.sun_path, path, sizeof(addr.sun_path) - 1);
	if (connect(conn->fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		die(path);
	if (fcntl(conn->fd, F_SETFL, O_NONBLOCK) < 0)
		die("fcntl");
	/* greeting and LHLO */
	conn->skip = 2;
	buffer_append(&conn->out, "LHLO bench\r\n", 12);
	append_begin(conn);
}

static void run(struct connection *conns, unsigned int count)
{
	struct pollfd fds[CONNECTIONS_MAX];
	unsigned int i, busy;

	for (;;) {
		busy = 0;
		for (i = 0; i < count; i++) {
			fds[i].fd = conns[i].finished ? -1 : conns[i].fd;
			fds[i].events = POLLIN |
				(conns[i].out.used > 0 ? POLLOUT : 0);
			busy += !conns[i].finished;
		}
		if (busy == 0)
			break;
		if (poll(fds, count, -1) < 0)
			die("poll");
		for (i = 0; i < count; i++) {
			if (fds[i].fd == -1 || fds[i].revents == 0)
				continue;
			if ((fds[i].revents & POLLOUT) != 0)
				handle_output(&conns[i]);
			if ((fds[i].revents & (POLLIN | POLLHUP)) != 0)
				handle_input(&conns[i]);
			if (conns[i].out.used > 0)
				handle_output(&conns[i]);
		}
	}
}

static void map_messages(const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY);

	if (fd < 0 || fstat(fd, &st) < 0)
		die(path);
	messages = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (messages == MAP_FAILED)
		die("mmap");
	messages_end = messages + st.st_size;
	close(fd);
}

int main(int argc, char *argv[])
{
	static struct connection conns[CONNECTIONS_MAX];
	unsigned int i, count;

	if (argc != 5 || (count = atoi(argv[1])) < 1 ||
	    count > CONNECTIONS_MAX) {
		fprintf(stderr, "usage: lmtp-client CONNECTIONS UNIX_SOCKET "
			"USER MESSAGES\n");
		return 64;
	}
	user = argv[3];
	map_messages(argv[4]);
	for (i = 0; i < count; i++)
		connection_init(&conns[i], argv[2]);
	run(conns, count);
	printf("sum\tdone\t%u\n", done);
	return failed > 0 ? 1 : 0;
}
