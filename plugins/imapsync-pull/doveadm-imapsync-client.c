/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "connection.h"
#include "ioloop.h"
#include "lib-signals.h"
#include "ostream.h"
#include "str.h"
#include "strnum.h"
#include "dovecot-compat.h"
#include "doveadm-imapsync.h"
#include "job.h"

#include <signal.h>

/* how soon ^C is noticed */
#define KILLED_CHECK_MSECS 200
/* the service may be looking something up in userdb */
#define HANDSHAKE_TIMEOUT_SECS 60

static volatile sig_atomic_t client_killed;

struct imapsync_client {
	struct connection conn;
	struct ioloop *ioloop;
	struct timeout *to_killed, *to_handshake;
	const string_t *request;

	const struct imapsync_client_handlers *handlers;
	void *context;

	bool ended:1;
	/* by the service */
	bool answered:1;
	enum reply_class class;
	int exit_code;
	char *text;
};

static void
client_end(struct imapsync_client *client, enum reply_class class,
	   const char *text)
{
	if (client->ended)
		return;
	client->ended = TRUE;
	client->class = class;
	client->exit_code = reply_class_exit_code(class);
	client->text = i_strdup(text);
	io_loop_stop(client->ioloop);
}

/* end TAB class TAB text [TAB exit code] */
static void
client_end_line(struct imapsync_client *client, const char *const *args)
{
	enum reply_class class;
	unsigned int code;

	if (str_array_length(args) < 2 || !reply_class_parse(args[0], &class)) {
		client_end(client, REPLY_CLASS_LOCAL,
			   "imapsync-pull sent a broken answer");
		return;
	}
	client->answered = TRUE;
	client_end(client, class, args[1]);
	if (args[2] != NULL && str_to_uint(args[2], &code) == 0 && code < 256)
		client->exit_code = code;
}

static int client_line(struct imapsync_client *client, const char *text)
{
	struct job_line line;
	const char *error;

	if (job_line_parse(pool_datastack_create(), text, &line, &error) < 0) {
		client_end(client, REPLY_CLASS_LOCAL, t_strdup_printf(
			"imapsync-pull sent a broken line: %s", error));
		return -1;
	}
	if (strcmp(line.word, "row") == 0)
		client->handlers->row(&line, client->context);
	else if (strcmp(line.word, "progress") == 0) {
		if (str_array_length(line.args) >= 5)
			client->handlers->progress(line.args, client->context);
	} else if (strcmp(line.word, "end") == 0) {
		client_end_line(client, line.args);
		return -1;
	}
	return 1;
}

static int client_input_line(struct connection *conn, const char *text)
{
	struct imapsync_client *client =
		container_of(conn, struct imapsync_client, conn);

	if (!connection_handshake_received(conn))
		return connection_input_line_default(conn, text);
	return client_line(client, text);
}

static void client_handshake_ready(struct connection *conn)
{
	struct imapsync_client *client =
		container_of(conn, struct imapsync_client, conn);

	timeout_remove(&client->to_handshake);
	o_stream_nsend(conn->output, str_data(client->request),
		       str_len(client->request));
}

static void client_destroy(struct connection *conn)
{
	struct imapsync_client *client =
		container_of(conn, struct imapsync_client, conn);

	client_end(client, REPLY_CLASS_LOCAL,
		   "imapsync-pull hung up: see the server's log");
}

/* Dovecot's own handlers want the main loop to run, which it does not while
   this one does. */
static void client_signal(const siginfo_t *si ATTR_UNUSED,
			  void *context ATTR_UNUSED)
{
	client_killed = 1;
}

static void client_check_killed(struct imapsync_client *client)
{
	if (client_killed != 0)
		client_end(client, REPLY_CLASS_STOPPED, "stopped");
}

static void client_handshake_timeout(struct imapsync_client *client)
{
	client_end(client, REPLY_CLASS_LOCAL,
		   "imapsync-pull does not answer: see the server's log");
}

static const struct connection_vfuncs client_vfuncs = {
	.destroy = client_destroy,
	.handshake_ready = client_handshake_ready,
	.input_line = client_input_line,
};

static const char *client_connect_error(const char *socket_path)
{
	if (errno == ENOENT || errno == ECONNREFUSED) {
		return t_strdup_printf("imapsync-pull is not running: is it in "
			"protocols? (connect(%s): %m)", socket_path);
	}
	return t_strdup_printf("connect(%s): %m", socket_path);
}

static void
client_run(struct imapsync_client *client, const char *socket_path)
{
	struct connection_list *list =
		connection_list_init(&job_client_set, &client_vfuncs);

	connection_init_client_unix(list, &client->conn, socket_path);
	if (connection_client_connect(&client->conn) < 0) {
		client_end(client, REPLY_CLASS_LOCAL,
			   client_connect_error(socket_path));
	} else {
		client->to_handshake =
			timeout_add(HANDSHAKE_TIMEOUT_SECS * 1000,
				    client_handshake_timeout, client);
		client->to_killed =
			timeout_add_short(KILLED_CHECK_MSECS,
					  client_check_killed, client);
		if (!client->ended)
			io_loop_run(client->ioloop);
	}
	timeout_remove(&client->to_killed);
	timeout_remove(&client->to_handshake);
	connection_deinit(&client->conn);
	connection_list_deinit(&list);
}

void imapsync_client_ask(const char *socket_path, const string_t *request,
			 const struct imapsync_client_handlers *handlers,
			 void *context, struct imapsync_client_end *end_r)
{
	struct imapsync_client client;
	struct ioloop *prev_ioloop = current_ioloop;

	i_zero(&client);
	client.request = request;
	client.handlers = handlers;
	client.context = context;
	client.ioloop = io_loop_create();
	lib_signals_set_handler(SIGINT, 0, client_signal, NULL);
	lib_signals_set_handler(SIGTERM, 0, client_signal, NULL);
	client_run(&client, socket_path);
	lib_signals_unset_handler(SIGTERM, client_signal, NULL);
	lib_signals_unset_handler(SIGINT, client_signal, NULL);
	io_loop_set_current(client.ioloop);
	io_loop_destroy(&client.ioloop);
	io_loop_set_current(prev_ioloop);

	end_r->class = client.class;
	end_r->exit_code = client.exit_code;
	end_r->text = t_strdup(client.text);
	end_r->cut_short = !client.answered;
	i_free(client.text);
}
