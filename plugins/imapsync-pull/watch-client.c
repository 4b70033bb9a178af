/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "connection.h"
#include "hash.h"
#include "ioloop.h"
#include "llist.h"
#include "ostream.h"
#include "str.h"
#include "str-sanitize.h"
#include "strnum.h"
#include "dovecot-compat.h"
#include "job.h"
#include "watch-client.h"

/* All processes may be taken, by a service that is about to end: the connection
   then waits for one. */
#define HANDSHAKE_MSECS (60*1000)
/* A process that died is not asked again before this: it may die of what it
   gets. */
#define RECONNECT_MSECS 1000
/* What the watcher says is shown and logged. */
#define TEXT_MAX_CHARS 1024

struct watched {
	struct watched *prev, *next;
	unsigned int id;
	struct watch_process *process;
	/* not sent yet; line lives in pool */
	pool_t pool;
	const string_t *line;
};

struct watch_process {
	struct connection conn;
	struct watch_client *client;
	struct watched *watched;

	bool connecting, ready;
	/* handshake; or until it is asked again */
	struct timeout *to_handshake, *to_reconnect;
	/* 0 = not known yet */
	unsigned int pid;
	/* pings since its last answer */
	unsigned int pings;
	struct timeout *to_ping;
	/* tells what became of its accounts, from the ioloop */
	struct timeout *to_lost;
	ARRAY(unsigned int) lost;
	const char *lost_text;
};

struct watch_client {
	char *socket_path;
	struct connection_list *connections;
	struct watch_process *processes;
	unsigned int process_count, ping_msecs;
	HASH_TABLE(void *, struct watched *) watched;

	struct watch_handlers handlers;
	void *context;
};

static void process_connect(struct watch_process *process);

/*
 * Watches
 */

static void watched_sent(struct watched *watched)
{
	watched->line = NULL;
	if (watched->pool != NULL)
		pool_unref(&watched->pool);
}

static void watched_free(struct watched *watched)
{
	hash_table_remove(watched->process->client->watched,
			  POINTER_CAST(watched->id));
	DLLIST_REMOVE(&watched->process->watched, watched);
	watched_sent(watched);
	i_free(watched);
}

static struct watched *
watched_find(struct watch_client *client, unsigned int id)
{
	return hash_table_lookup(client->watched, POINTER_CAST(id));
}

/*
 * Processes
 */

static void process_tell_lost(struct watch_process *process)
{
	struct watch_client *client = process->client;
	unsigned int id, count;

	timeout_remove(&process->to_lost);
	/* the handler may remove others, and add them anew: those wait for
	   the next process */
	while ((count = array_count(&process->lost)) > 0) T_BEGIN {
		id = *array_idx(&process->lost, count - 1);
		array_delete(&process->lost, count - 1, 1);
		client->handlers.failed(id, REPLY_CLASS_LOCAL, 0,
					process->lost_text, client->context);
	} T_END;
}

static void process_reconnect(struct watch_process *process)
{
	timeout_remove(&process->to_reconnect);
	if (process->watched != NULL)
		process_connect(process);
}

/* All that it watched is lost. text is static. */
static void process_lost(struct watch_process *process, const char *text)
{
	process->connecting = process->ready = FALSE;
	timeout_remove(&process->to_handshake);
	timeout_remove(&process->to_ping);
	while (process->watched != NULL) {
		array_push_back(&process->lost, &process->watched->id);
		watched_free(process->watched);
	}
	process->lost_text = text;
	if (process->to_lost == NULL)
		process->to_lost = timeout_add_short(0, process_tell_lost,
						     process);
	if (process->to_reconnect == NULL)
		process->to_reconnect = timeout_add(RECONNECT_MSECS,
						    process_reconnect, process);
}

static void process_conn_destroy(struct connection *conn)
{
	struct watch_process *process =
		container_of(conn, struct watch_process, conn);
	bool ready = process->ready;

	connection_deinit(conn);
	process_lost(process, ready ?
		"the watcher process died: see the server's log" :
		"the watcher process did not start: see the server's log");
}

static void process_handshake_timeout(struct watch_process *process)
{
	connection_deinit(&process->conn);
	process_lost(process, "no watcher process became free");
}

static void process_connect(struct watch_process *process)
{
	struct watch_client *client = process->client;

	connection_init_client_unix(client->connections, &process->conn,
				    client->socket_path);
	if (connection_client_connect(&process->conn) < 0) {
		e_error(process->conn.event, "connect(%s) failed: %m",
			client->socket_path);
		connection_deinit(&process->conn);
		process_lost(process, "no watcher process can be reached: "
			     "see the server's log");
		return;
	}
	process->connecting = TRUE;
	process->to_handshake = timeout_add(HANDSHAKE_MSECS,
					    process_handshake_timeout, process);
}

/* Written at once as long as the socket takes it, so that copies of secrets are
   rare. */
static void process_send(struct watch_process *process, struct watched *watched)
{
	struct ostream *output = process->conn.output;
	bool corked = o_stream_is_corked(output);

	o_stream_uncork(output);
	o_stream_nsend(output, str_data(watched->line), str_len(watched->line));
	if (corked)
		o_stream_cork(output);
	watched_sent(watched);
}

/* It cannot be killed from here. Hung up on, it ends when it wakes up; until
   then it counts as one of its service's processes. */
static void process_hangs(struct watch_process *process)
{
	e_error(process->conn.event, "watcher process %u hangs: another one is "
		"asked for. Until it is killed it takes one of process_limit "
		"of service "JOB_SOCKET_WATCH, process->pid);
	connection_deinit(&process->conn);
	process_lost(process, "the watcher process hangs: see the server's "
		     "log");
}

static void process_ping(struct watch_process *process)
{
	if (process->pings == WATCH_CLIENT_MAX_PINGS) {
		process_hangs(process);
		return;
	}
	process->pings++;
	o_stream_nsend_str(process->conn.output, "ping\n");
}

static void process_handshake_ready(struct connection *conn)
{
	struct watch_process *process =
		container_of(conn, struct watch_process, conn);
	struct watched *watched;

	process->ready = TRUE;
	timeout_remove(&process->to_handshake);
	process->pid = process->pings = 0;
	process_ping(process);
	process->to_ping = timeout_add(process->client->ping_msecs,
				       process_ping, process);
	for (watched = process->watched; watched != NULL;
	     watched = watched->next)
		process_send(process, watched);
}

/*
 * What they say
 */

static bool
line_watching(struct watch_client *client, unsigned int id,
	      const struct job_line *line)
{
	enum watch_mode mode;

	if (line->args[1] == NULL || !watch_mode_parse(line->args[1], &mode))
		return FALSE;
	if (watched_find(client, id) != NULL)
		client->handlers.watching(id, mode, client->context);
	return TRUE;
}

static bool
line_changed(struct watch_client *client, unsigned int id,
	     const struct job_line *line ATTR_UNUSED)
{
	if (watched_find(client, id) != NULL)
		client->handlers.changed(id, client->context);
	return TRUE;
}

static bool
line_failed(struct watch_client *client, unsigned int id,
	    const struct job_line *line)
{
	const char *const *args = line->args;
	struct watched *watched = watched_find(client, id);
	enum reply_class class;
	unsigned int wait_secs;

	if (str_array_length(args) != 4 ||
	    !reply_class_parse(args[1], &class) ||
	    str_to_uint(args[2], &wait_secs) < 0)
		return FALSE;
	if (watched == NULL)
		return TRUE;
	watched_free(watched);
	client->handlers.failed(id, class, wait_secs,
				str_sanitize_utf8(args[3], TEXT_MAX_CHARS),
				client->context);
	return TRUE;
}

static const struct {
	const char *word;
	bool (*handle)(struct watch_client *client, unsigned int id,
		       const struct job_line *line);
} line_handlers[] = {
	{ "watching", line_watching },
	{ "changed", line_changed },
	{ "failed", line_failed },
};

static bool line_handle(struct watch_client *client, const char *text)
{
	struct job_line line;
	const char *error;
	unsigned int i, id;

	if (job_line_parse(pool_datastack_create(), text, &line, &error) < 0 ||
	    line.args[0] == NULL || str_to_uint(line.args[0], &id) < 0)
		return FALSE;
	for (i = 0; i < N_ELEMENTS(line_handlers); i++) {
		if (strcmp(line_handlers[i].word, line.word) == 0)
			return line_handlers[i].handle(client, id, &line);
	}
	return FALSE;
}

/* Returns FALSE if it is something else. */
static bool process_pong(struct watch_process *process, const char *text)
{
	if (strncmp(text, "pong\t", 5) != 0 ||
	    str_to_uint(text + 5, &process->pid) < 0)
		return FALSE;
	process->pings = 0;
	return TRUE;
}

static int process_input_line(struct connection *conn, const char *text)
{
	struct watch_process *process =
		container_of(conn, struct watch_process, conn);

	if (!connection_handshake_received(conn))
		return connection_input_line_default(conn, text);
	if (process_pong(process, text) || line_handle(process->client, text))
		return 1;
	e_error(conn->event, "the watcher process sent a broken line");
	return -1;
}

static const struct connection_vfuncs process_vfuncs = {
	.destroy = process_conn_destroy,
	.handshake_ready = process_handshake_ready,
	.input_line = process_input_line,
};

/*
 * Life
 */

struct watch_client *
watch_client_init(const char *socket_path, unsigned int processes,
		  unsigned int ping_msecs,
		  const struct watch_handlers *handlers, void *context)
{
	struct watch_client *client = i_new(struct watch_client, 1);
	unsigned int i;

	i_assert(processes > 0);

	client->socket_path = i_strdup(socket_path);
	client->handlers = *handlers;
	client->context = context;
	client->connections = connection_list_init(&job_client_set,
						   &process_vfuncs);
	hash_table_create_direct(&client->watched, default_pool, 0);
	client->process_count = processes;
	client->ping_msecs = ping_msecs;
	client->processes = i_new(struct watch_process, processes);
	for (i = 0; i < processes; i++) {
		client->processes[i].client = client;
		i_array_init(&client->processes[i].lost, 1);
	}
	return client;
}

static void process_deinit(struct watch_process *process)
{
	if (process->connecting || process->ready)
		connection_deinit(&process->conn);
	while (process->watched != NULL)
		watched_free(process->watched);
	timeout_remove(&process->to_handshake);
	timeout_remove(&process->to_ping);
	timeout_remove(&process->to_reconnect);
	timeout_remove(&process->to_lost);
	array_free(&process->lost);
}

void watch_client_deinit(struct watch_client **_client)
{
	struct watch_client *client = *_client;
	unsigned int i;

	if (client == NULL)
		return;
	*_client = NULL;
	for (i = 0; i < client->process_count; i++)
		process_deinit(&client->processes[i]);
	connection_list_deinit(&client->connections);
	hash_table_destroy(&client->watched);
	i_free(client->processes);
	i_free(client->socket_path);
	i_free(client);
}

void watch_client_add(struct watch_client *client, unsigned int id, pool_t pool,
		      const string_t *line)
{
	struct watch_process *process =
		&client->processes[id % client->process_count];
	struct watched *watched = i_new(struct watched, 1);

	i_assert(id > 0 && watched_find(client, id) == NULL);

	watched->id = id;
	watched->process = process;
	watched->pool = pool;
	watched->line = line;
	pool_ref(pool);
	hash_table_insert(client->watched, POINTER_CAST(id), watched);
	DLLIST_PREPEND(&process->watched, watched);
	if (process->ready)
		process_send(process, watched);
	else if (!process->connecting && process->to_reconnect == NULL)
		process_connect(process);
}

void watch_client_remove(struct watch_client *client, unsigned int id)
{
	struct watched *watched = watched_find(client, id);
	struct watch_process *process;
	unsigned int i, count;
	const unsigned int *lost;

	process = &client->processes[id % client->process_count];
	lost = array_get(&process->lost, &count);
	for (i = 0; i < count; i++) {
		if (lost[i] == id) {
			array_delete(&process->lost, i, 1);
			return;
		}
	}
	if (watched == NULL)
		return;
	if (watched->line == NULL) T_BEGIN {
		o_stream_nsend_str(process->conn.output, t_strdup_printf(
			"forget\tid=%u\n", id));
	} T_END;
	watched_free(watched);
}

unsigned int watch_client_count(const struct watch_client *client)
{
	return hash_table_count(client->watched);
}
