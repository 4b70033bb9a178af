/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "connection.h"
#include "ioloop.h"
#include "lib-event.h"
#include "llist.h"
#include "ostream.h"
#include "str.h"
#include "strescape.h"
#include "strnum.h"
#include "dovecot-compat.h"
#include "userdb-client.h"

#define PROTOCOL_NAME "auth-master"
#define PROTOCOL_MAJOR 1
#define PROTOCOL_MINOR 1
/* auth of Dovecot 2.3 hangs up on a line of 1024 bytes; no user is called
   that */
#define MAX_NAME 800
#define MAX_INPUT_BYTES (64*1024)
/* deadlines are looked at so often, and auth is looked for if it is away */
#define CHECK_MSECS 1000
/* an answer that auth still owes after this has been forgotten */
#define LOST_SECS (10*60)

struct userdb_request {
	struct userdb_request *prev, *next;
	unsigned int id;
	/* without id and LF; NULL = of a user whom nobody can have */
	const char *command;
	char *args;
	time_t deadline;
	/* NULL = nobody waits any more, but auth may still answer */
	userdb_client_callback_t *callback;
	void *context;
};

struct userdb_list {
	struct userdb_request *head, *tail;
	unsigned int count;
};

struct userdb_client {
	struct connection conn;
	struct connection_list *conns;
	/* its strings are these */
	struct userdb_client_settings set;
	char *path, *service;
	struct event *event;
	bool connected, connect_failed;

	/* not sent yet, and sent: both in the order of asking */
	struct userdb_list waiting, sent;
	unsigned int last_id;
	/* whose callback is not called yet */
	unsigned int pending;
	struct timeout *to, *to_send;
};

static void client_send(struct userdb_client *client);

/*
 * Requests
 */

static void list_add(struct userdb_list *list, struct userdb_request *request)
{
	DLLIST2_APPEND(&list->head, &list->tail, request);
	list->count++;
}

static void
list_remove(struct userdb_list *list, struct userdb_request *request)
{
	DLLIST2_REMOVE(&list->head, &list->tail, request);
	list->count--;
}

static void request_free(struct userdb_request *request)
{
	i_free(request->args);
	i_free(request);
}

static void
request_answer(struct userdb_client *client, struct userdb_request *request,
	       enum userdb_client_result result, const char *const *values)
{
	userdb_client_callback_t *callback = request->callback;

	if (callback == NULL)
		return;
	if (result != USERDB_CLIENT_NAME) {
		request->callback = NULL;
		client->pending--;
	}
	callback(result, values, request->context);
}

/* Those who are called may ask again: that is not of this list any more. */
static void
client_drop(struct userdb_client *client, struct userdb_list *list)
{
	struct userdb_list dropped = *list;
	struct userdb_request *request;

	i_zero(list);
	while ((request = dropped.head) != NULL) {
		list_remove(&dropped, request);
		request_answer(client, request, USERDB_CLIENT_SILENT, NULL);
		request_free(request);
	}
}

/*
 * Connection
 */

static void client_destroyed(struct connection *conn)
{
	struct userdb_client *client =
		container_of(conn, struct userdb_client, conn);

	connection_disconnect(conn);
	client->connected = FALSE;
	client_drop(client, &client->sent);
}

static int client_handshake_line(struct connection *conn, const char *line)
{
	const char *const *args = t_strsplit_tabescaped(line);
	unsigned int major, minor;

	if (strcmp(args[0], "SPID") == 0)
		return 1;
	if (strcmp(args[0], "VERSION") != 0)
		return 0;
	if (args[1] == NULL || args[2] == NULL ||
	    str_to_uint(args[1], &major) < 0 ||
	    str_to_uint(args[2], &minor) < 0) {
		e_error(conn->event, "auth sent no version");
		return -1;
	}
	return connection_verify_version(conn, PROTOCOL_NAME, major, minor);
}

static struct userdb_request *
client_find(struct userdb_client *client, const char *id)
{
	struct userdb_request *request = client->sent.head;
	unsigned int num;

	if (id == NULL || str_to_uint(id, &num) < 0)
		return NULL;
	while (request != NULL && request->id != num)
		request = request->next;
	return request;
}

static const struct {
	const char *word;
	enum userdb_client_result result;
} replies[] = {
	{ "USER", USERDB_CLIENT_OK },
	{ "NOTFOUND", USERDB_CLIENT_UNKNOWN },
	{ "FAIL", USERDB_CLIENT_FAILED },
	{ "LIST", USERDB_CLIENT_NAME },
	{ "DONE", USERDB_CLIENT_OK },
};

/* Returns FALSE if it is none. */
static bool
reply_parse(const char *const *args, enum userdb_client_result *result_r)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(replies); i++) {
		if (strcmp(args[0], replies[i].word) != 0)
			continue;
		*result_r = replies[i].result;
		if (strcmp(args[0], "DONE") == 0 &&
		    null_strcmp(args[2], "fail") == 0)
			*result_r = USERDB_CLIENT_FAILED;
		return TRUE;
	}
	return FALSE;
}

static int client_input_args(struct connection *conn, const char *const *args)
{
	struct userdb_client *client =
		container_of(conn, struct userdb_client, conn);
	enum userdb_client_result result;
	struct userdb_request *request = args[0] == NULL ? NULL :
		client_find(client, args[1]);

	if (request == NULL || !reply_parse(args, &result) ||
	    ((result == USERDB_CLIENT_NAME ||
	      strcmp(args[0], "USER") == 0) && args[2] == NULL)) {
		e_error(client->event, "auth sent what it was not asked for");
		return -1;
	}
	if (result == USERDB_CLIENT_NAME) {
		request->deadline = ioloop_time + client->set.timeout_secs;
		request_answer(client, request, result, args + 2);
		return 1;
	}
	list_remove(&client->sent, request);
	request_answer(client, request, result, args + 2);
	request_free(request);
	client_send(client);
	return 1;
}

static const struct connection_vfuncs client_vfuncs = {
	.destroy = client_destroyed,
	.handshake_line = client_handshake_line,
	.input_args = client_input_args,
};

/* Auth says its version without a protocol's name: that is for us to do. */
static const struct connection_settings client_conn_set = {
	.service_name_in = PROTOCOL_NAME,
	.service_name_out = PROTOCOL_NAME,
	.major_version = PROTOCOL_MAJOR,
	.minor_version = PROTOCOL_MINOR,
	.dont_send_version = TRUE,
	.input_max_size = MAX_INPUT_BYTES,
	.output_max_size = SIZE_MAX,
	.client = TRUE,
};

/* Without waiting: a queue of connections that is full is tried again. */
static void client_connect(struct userdb_client *client)
{
	const char *remedy;

	if (client->connected)
		return;
	if (connection_client_connect(&client->conn) < 0) {
		if (!client->connect_failed) {
			remedy = errno != EACCES ? "" : " (it must be open to "
				"the group of default_internal_user: group "
				"and mode of that unix_listener)";
			e_error(client->event, "connect(%s) failed: %m%s",
				client->set.path, remedy);
		}
		client->connect_failed = TRUE;
		return;
	}
	client->connected = TRUE;
	client->connect_failed = FALSE;
	o_stream_nsend_str(client->conn.output, t_strdup_printf(
		"VERSION\t%u\t%u\n", PROTOCOL_MAJOR, PROTOCOL_MINOR));
}

/*
 * Asking
 */

static void
client_send_one(struct userdb_client *client, struct userdb_request *request)
{
	list_remove(&client->waiting, request);
	if (request->command == NULL) {
		request_answer(client, request, USERDB_CLIENT_UNKNOWN, NULL);
		request_free(request);
		return;
	}
	list_add(&client->sent, request);
	T_BEGIN {
		o_stream_nsend_str(client->conn.output, t_strdup_printf(
			"%s\t%u\t%s\n", request->command, request->id,
			request->args));
	} T_END;
}

static void client_send(struct userdb_client *client)
{
	timeout_remove(&client->to_send);
	if (client->waiting.head == NULL)
		return;
	client_connect(client);
	if (!client->connected)
		return;
	o_stream_cork(client->conn.output);
	while (client->waiting.head != NULL &&
	       client->sent.count < client->set.max_in_flight)
		client_send_one(client, client->waiting.head);
	o_stream_uncork(client->conn.output);
}

/* An answer to a request that is late is passed over when it comes. */
static void client_check_sent(struct userdb_client *client)
{
	struct userdb_request *request, *next;

	for (request = client->sent.head; request != NULL; request = next) {
		next = request->next;
		if (request->callback != NULL &&
		    ioloop_time >= request->deadline) {
			request_answer(client, request, USERDB_CLIENT_SILENT,
				       NULL);
		}
	}
}

static void client_check_waiting(struct userdb_client *client)
{
	struct userdb_request *request;

	while ((request = client->waiting.head) != NULL &&
	       ioloop_time >= request->deadline) {
		list_remove(&client->waiting, request);
		request_answer(client, request, USERDB_CLIENT_SILENT, NULL);
		request_free(request);
	}
}

static bool client_has_lost_one(const struct userdb_client *client)
{
	const struct userdb_request *oldest = client->sent.head;

	return oldest != NULL && oldest->callback == NULL &&
		ioloop_time >= oldest->deadline + LOST_SECS;
}

static void client_check(struct userdb_client *client)
{
	client_check_sent(client);
	client_check_waiting(client);
	if (client_has_lost_one(client)) {
		e_error(client->event, "auth has left a question unanswered: "
			"connecting anew");
		client_destroyed(&client->conn);
	}
	client_send(client);
	if (client->waiting.head == NULL && client->sent.head == NULL)
		timeout_remove(&client->to);
}

static void
client_ask(struct userdb_client *client, const char *command, const char *args,
	   userdb_client_callback_t *callback, void *context)
{
	struct userdb_request *request = i_new(struct userdb_request, 1);

	request->id = ++client->last_id;
	request->command = command;
	request->args = i_strdup(args);
	request->deadline = ioloop_time + client->set.timeout_secs;
	request->callback = callback;
	request->context = context;
	client->pending++;
	list_add(&client->waiting, request);
	if (client->to_send == NULL)
		client->to_send = timeout_add_short(0, client_send, client);
	if (client->to == NULL)
		client->to = timeout_add(CHECK_MSECS, client_check, client);
}

static void
client_ask_about(struct userdb_client *client, const char *command,
		 const char *what, userdb_client_callback_t *callback,
		 void *context)
{
	string_t *args = t_str_new(128);

	str_append(args, what);
	str_append(args, "\tservice=");
	str_append_tabescaped(args, client->set.service);
	client_ask(client, command, str_c(args), callback, context);
}

void userdb_client_lookup(struct userdb_client *client, const char *name,
			  userdb_client_callback_t *callback, void *context)
{
	const char *escaped = str_tabescape(name);
	bool possible = *escaped != '\0' && strlen(escaped) <= MAX_NAME;

	client_ask_about(client, possible ? "USER" : NULL, escaped, callback,
			 context);
}

/* an empty mask was once answered with nobody */
void userdb_client_list(struct userdb_client *client,
			userdb_client_callback_t *callback, void *context)
{
	client_ask_about(client, "LIST", "user=*", callback, context);
}

unsigned int userdb_client_pending(const struct userdb_client *client)
{
	return client->pending;
}

/*
 * Beginning and end
 */

struct userdb_client *
userdb_client_init(const struct userdb_client_settings *set,
		   struct event *event_parent)
{
	struct userdb_client *client = i_new(struct userdb_client, 1);

	i_assert(set->max_in_flight > 0);

	client->set = *set;
	client->set.path = client->path = i_strdup(set->path);
	client->set.service = client->service = i_strdup(set->service);
	client->event = event_create(event_parent);
	client->conns = connection_list_init(&client_conn_set, &client_vfuncs);
	client->conn.event_parent = client->event;
	connection_init_client_unix(client->conns, &client->conn, set->path);
	return client;
}

void userdb_client_deinit(struct userdb_client **_client)
{
	struct userdb_client *client = *_client;

	if (client == NULL)
		return;
	*_client = NULL;
	connection_disconnect(&client->conn);
	client->connected = FALSE;
	client_drop(client, &client->sent);
	client_drop(client, &client->waiting);
	i_assert(client->pending == 0);
	timeout_remove(&client->to);
	timeout_remove(&client->to_send);
	connection_deinit(&client->conn);
	connection_list_deinit(&client->conns);
	event_unref(&client->event);
	i_free(client->path);
	i_free(client->service);
	i_free(client);
}
