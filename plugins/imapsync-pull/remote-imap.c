/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "ioloop.h"
#include "istream.h"
#include "llist.h"
#include "ostream.h"
#include "safe-memset.h"
#include "str.h"
#include "strnum.h"
#include "imap-parser.h"
#include "dns-lookup.h"
#include "dsasl-client.h"
#include "dovecot-compat.h"
#include "redact.h"
#include "remote-imap-private.h"

static const char *const step_names[] = {
	[REPLY_STEP_GREETING] = "greeting",
	[REPLY_STEP_STARTTLS] = "STARTTLS",
	[REPLY_STEP_LOGIN] = "login",
	[REPLY_STEP_LIST] = "list",
	[REPLY_STEP_SELECT] = "select",
	[REPLY_STEP_FETCH] = "fetch",
	[REPLY_STEP_OTHER] = "command",
};

/*
 * Life
 */

static void
client_copy_settings(struct remote_imap *client,
		     const struct remote_imap_settings *set)
{
	struct remote_imap_settings *copy = &client->set;
	pool_t pool = client->pool;

	*copy = *set;
	copy->host = p_strdup(pool, set->host);
	copy->tls_pin = p_strdup_empty(pool, set->tls_pin);
	copy->ca_file = p_strdup_empty(pool, set->ca_file);
	copy->login = p_strdup(pool, set->login);
	copy->secret = p_strdup(pool, set->secret);
	copy->master_user = p_strdup_empty(pool, set->master_user);
	copy->auth_mechanism = p_strdup(pool, set->auth_mechanism);
	copy->dns_client_socket_path =
		p_strdup(pool, set->dns_client_socket_path);
}

static const char *client_endpoint(const struct remote_imap *client)
{
	const char *host = client->set.host;

	if (strchr(host, ':') != NULL)
		host = t_strdup_printf("[%s]", host);
	return t_strdup_printf("%s:%u", host, client->set.port);
}

struct remote_imap *
remote_imap_init(const struct remote_imap_settings *set,
		 const struct remote_imap_callbacks *callbacks, void *context)
{
	pool_t pool = pool_alloconly_create_clean("imap client", 2048);
	struct remote_imap *client = p_new(pool, struct remote_imap, 1);

	i_assert(set->policy != NULL);

	client->pool = pool;
	client->refcount = 1;
	client->ioloop = current_ioloop;
	client->fd = -1;
	client->callbacks = *callbacks;
	client->context = context;
	client_copy_settings(client, set);
	client->address_errors = str_new(pool, 128);
	p_array_init(&client->addresses, pool, 4);
	p_array_init(&client->secrets, pool, 8);
	client->capability_pool =
		pool_alloconly_create("imap capabilities", 1024);
	remote_imap_forget_capabilities(client);
	remote_imap_add_secret(client, client->set.secret);

	client->event = event_create(set->event_parent);
	event_set_append_log_prefix(client->event,
		t_strconcat(client_endpoint(client), ": ", NULL));
	dsasl_clients_init();
	return client;
}

void remote_imap_ref(struct remote_imap *client)
{
	i_assert(client->refcount > 0);
	client->refcount++;
}

void remote_imap_unref(struct remote_imap **_client)
{
	struct remote_imap *client = *_client;

	*_client = NULL;
	i_assert(client->refcount > 0);
	if (--client->refcount > 0)
		return;

	i_assert(client->commands == NULL && client->lost == NULL);
	if (client->parser != NULL)
		imap_parser_unref(&client->parser);
	o_stream_unref(&client->output);
	i_stream_unref(&client->input);
	dsasl_client_free(&client->sasl);
	dsasl_clients_deinit();
	event_unref(&client->event);
	pool_unref(&client->capability_pool);
	pool_unref(&client->pool);
}

static void command_free(struct imap_command *cmd)
{
	safe_memset(cmd->text, 0, cmd->size);
	i_free(cmd->text);
	i_free(cmd);
}

/* Calls back one thing that is lost. Returns FALSE if there is none. */
static bool client_flush_one(struct remote_imap *client)
{
	struct remote_imap_reply reply = client->login_reply;
	struct imap_command *cmd = client->lost;

	reply.error = &client->error;
	if (client->connect_callback != NULL) {
		remote_imap_connected(client, &reply);
		return TRUE;
	}
	if (cmd == NULL && client->tell_closed) {
		client->tell_closed = FALSE;
		client->callbacks.closed(client->context);
		return TRUE;
	}
	if (cmd == NULL)
		return FALSE;

	i_zero(&reply);
	reply.status = IMAP_REPLY_LOST;
	reply.text = "";
	reply.error = &client->error;
	DLLIST2_REMOVE(&client->lost, &client->lost_tail, cmd);
	if (cmd->callback != NULL)
		cmd->callback(&reply, cmd->context);
	command_free(cmd);
	return TRUE;
}

static void client_flush_lost(struct remote_imap *client)
{
	timeout_remove(&client->to_lost);
	remote_imap_ref(client);
	while (client_flush_one(client)) ;
	remote_imap_unref(&client);
}

static void client_schedule_lost(struct remote_imap *client)
{
	if (client->to_lost != NULL)
		return;
	if (client->lost == NULL && client->connect_callback == NULL &&
	    !client->tell_closed)
		return;
	client->to_lost = timeout_add_short_to(client->ioloop, 0,
					       client_flush_lost, client);
}

static void client_lose_commands(struct remote_imap *client)
{
	struct imap_command *cmd;

	client->sending = client->idle = NULL;
	while ((cmd = client->commands) != NULL) {
		DLLIST2_REMOVE(&client->commands, &client->commands_tail, cmd);
		DLLIST2_APPEND(&client->lost, &client->lost_tail, cmd);
	}
}

static void client_close_streams(struct remote_imap *client)
{
	io_remove(&client->io);
	if (client->input != NULL) {
		client->bytes_in += client->input->v_offset +
			i_stream_get_data_size(client->input);
		client->bytes_out += client->output->offset;
	}
	remote_imap_tls_deinit(client);
	/* their buffers may be in a caller's hands: closed now, freed with the
	   last reference */
	if (client->input != NULL) {
		i_stream_close(client->input);
		o_stream_close(client->output);
	}
	if (client->fd != -1)
		net_disconnect(client->fd);
	client->fd = -1;
}

/* The end of the connection is told to whoever waits for a command. */
static bool client_is_waited_for(const struct remote_imap *client)
{
	const struct imap_command *cmd;

	for (cmd = client->commands; cmd != NULL; cmd = cmd->next) {
		if (cmd->callback != NULL)
			return TRUE;
	}
	return FALSE;
}

static void client_close(struct remote_imap *client)
{
	client->tell_closed = client->callbacks.closed != NULL &&
		client->state == REMOTE_IMAP_STATE_READY &&
		!client_is_waited_for(client);
	client->state = REMOTE_IMAP_STATE_CLOSED;
	if (client->dns_lookup != NULL)
		dns_lookup_abort(&client->dns_lookup);
	client_close_streams(client);
	timeout_remove(&client->to_step);
	timeout_remove(&client->to_idle);
	timeout_remove(&client->to_rate);
	client_lose_commands(client);
	client_schedule_lost(client);
}

void remote_imap_deinit(struct remote_imap **_client)
{
	struct remote_imap *client = *_client;

	*_client = NULL;
	client->deinited = TRUE;
	remote_imap_fail(client, REPLY_CLASS_STOPPED, "stopped", NULL);
	client->tell_closed = FALSE;
	client_flush_lost(client);
	remote_imap_unref(&client);
}

/*
 * Errors
 */

void remote_imap_add_secret(struct remote_imap *client, const char *secret)
{
	const char *copy = p_strdup(client->pool, secret);

	if (copy != NULL && *copy != '\0')
		array_push_back(&client->secrets, &copy);
}

const char *remote_imap_redact(struct remote_imap *client, const char *text)
{
	ARRAY_TYPE(const_string) secrets;

	t_array_init(&secrets, 16);
	array_append_array(&secrets, &client->secrets);
	array_append_zero(&secrets);
	return redact_remote_text(text, array_front(&secrets));
}

const char *remote_imap_error_text(struct remote_imap *client,
				   const char *text)
{
	return t_strdup_printf("%s: %s", client_endpoint(client), text);
}

void remote_imap_set_error(struct remote_imap *client,
			   const struct remote_imap_error *error)
{
	if (client->failed)
		return;
	client->failed = TRUE;
	client->error = *error;
	client->error.text = p_strdup(client->pool, error->text);
	client->error.detail = p_strdup(client->pool, error->detail);
	e_debug(client->event, "%s%s%s", error->text,
		error->detail == NULL ? "" : ": ",
		error->detail == NULL ? "" : error->detail);
}

/* The step of connecting that a failure now belongs to. Returns FALSE if none:
   the connection was ready. */
static bool
client_current_step(struct remote_imap *client, enum remote_imap_step *step_r)
{
	switch (client->state) {
	case REMOTE_IMAP_STATE_INIT:
	case REMOTE_IMAP_STATE_DNS:
		*step_r = REMOTE_IMAP_STEP_DNS;
		return TRUE;
	case REMOTE_IMAP_STATE_CONNECT:
		*step_r = REMOTE_IMAP_STEP_TCP;
		return TRUE;
	case REMOTE_IMAP_STATE_TLS:
		*step_r = REMOTE_IMAP_STEP_TLS;
		return TRUE;
	case REMOTE_IMAP_STATE_GREETING:
	case REMOTE_IMAP_STATE_LOGIN:
		*step_r = client->tls_done ||
			client->set.security == ACCOUNT_SECURITY_NONE ?
			REMOTE_IMAP_STEP_LOGIN : REMOTE_IMAP_STEP_TLS;
		return TRUE;
	case REMOTE_IMAP_STATE_READY:
	case REMOTE_IMAP_STATE_LOGOUT:
	case REMOTE_IMAP_STATE_CLOSED:
		break;
	}
	return FALSE;
}

void remote_imap_fail(struct remote_imap *client, enum reply_class class,
		      const char *text, const char *detail)
{
	const struct remote_imap_error error = {
		.class = class,
		.text = remote_imap_error_text(client, text),
		.detail = detail,
	};
	enum remote_imap_step step;
	bool connecting;

	if (remote_imap_is_closed(client))
		return;
	connecting = client_current_step(client, &step);
	remote_imap_set_error(client, &error);
	client_close(client);
	if (connecting && !client->deinited)
		remote_imap_report_step(client, step, "", &client->error);
}

void remote_imap_fail_reply(struct remote_imap *client,
			    const struct remote_imap_error *error)
{
	remote_imap_set_error(client, error);
	remote_imap_fail(client, error->class, error->text, NULL);
}

void remote_imap_report_step(struct remote_imap *client,
			     enum remote_imap_step step, const char *detail,
			     const struct remote_imap_error *error)
{
	if (client->callbacks.step != NULL)
		client->callbacks.step(step, detail, error, client->context);
}

const struct remote_imap_error *
remote_imap_get_error(struct remote_imap *client)
{
	return remote_imap_is_closed(client) ? &client->error : NULL;
}

void remote_imap_class_reply(struct remote_imap *client, enum reply_step step,
			     const char *status, const char *code,
			     const char *code_args, const char *text,
			     struct remote_imap_error *error_r)
{
	const struct reply reply = {
		.step = step, .status = status, .code = code, .text = text,
		.token_login = client->token_login,
	};
	string_t *words = t_str_new(128);
	struct reply_advice advice;

	i_zero(error_r);
	error_r->class = reply_class_get(&reply, &advice);
	error_r->wait_secs = advice.wait_secs;
	error_r->hint = advice.hint;
	error_r->passing = advice.passing;
	if (error_r->class == REPLY_CLASS_OK)
		error_r->class = REPLY_CLASS_SERVER;

	if (code != NULL && code_args != NULL)
		str_printfa(words, "[%s %s] ", code, code_args);
	else if (code != NULL)
		str_printfa(words, "[%s] ", code);
	str_append(words, text);
	error_r->text = remote_imap_error_text(client,
		t_strdup_printf("%s: %s %s", step_names[step], status,
				remote_imap_redact(client, str_c(words))));
}

/*
 * Connecting
 */

void remote_imap_connect(struct remote_imap *client,
			 remote_imap_reply_callback_t *callback, void *context)
{
	i_assert(client->state == REMOTE_IMAP_STATE_INIT);
	i_assert(client->connect_callback == NULL);

	client->login_reply.status = IMAP_REPLY_LOST;
	client->login_reply.text = "";
	client->connect_callback = callback;
	client->connect_context = context;
	client->to_step = timeout_add_short_to(client->ioloop, 0,
					       remote_imap_connect_start,
					       client);
}

/* For whoever counts logins: never more than the class of a failure. */
static void remote_imap_login_event(struct remote_imap *client,
				    const struct remote_imap_reply *reply)
{
	enum reply_class class = reply->error == NULL ? REPLY_CLASS_OK :
		reply->error->class;
	struct event_passthrough *e = event_create_passthrough(client->event)->
		set_name("imapsync_pull_login_finished")->
		add_str("class", reply_class_name(class));

	if (class != REPLY_CLASS_OK)
		e->add_str("error", reply->error->text);
	e_debug(e->event(), "Login finished: %s", reply_class_name(class));
}

void remote_imap_connected(struct remote_imap *client,
			   const struct remote_imap_reply *reply)
{
	remote_imap_reply_callback_t *callback = client->connect_callback;

	remote_imap_login_event(client, reply);
	client->connect_callback = NULL;
	callback(reply, client->connect_context);
}

void remote_imap_start_deadline(struct remote_imap *client)
{
	timeout_remove(&client->to_step);
	client->to_step = timeout_add_short_to(client->ioloop,
					 client->set.connect_timeout_msecs,
					 remote_imap_connect_timeout, client);
}

/*
 * Commands
 */

/* The literal whose "{size}" ends at cr: remote_imap_quote() wrote it. */
static size_t command_literal_size(const char *start, const char *cr)
{
	const char *p = cr;
	uintmax_t size;

	i_assert(p > start && p[-1] == '}' && p[1] == '\n');
	for (p--; p > start && p[-1] != '{'; p--) ;
	if (str_parse_uintmax(p, &size, &p) < 0 || *p != '}')
		i_unreached();
	return size;
}

static bool
client_literal_needs_no_wait(struct remote_imap *client, size_t size)
{
	return remote_imap_has_capability(client, "LITERAL+") ||
		(size <= 4096 &&
		 remote_imap_has_capability(client, "LITERAL-"));
}

/* Sends what can be sent without waiting for "+". */
static void command_send_more(struct remote_imap *client,
			      struct imap_command *cmd)
{
	const char *start = cmd->text + cmd->sent;
	const char *cr = memchr(start, '\r', cmd->size - cmd->sent);
	size_t size, line;

	if (cr == NULL) {
		o_stream_nsend(client->output, start, cmd->size - cmd->sent);
		o_stream_nsend(client->output, "\r\n", 2);
		cmd->sent = cmd->size;
		cmd->complete = TRUE;
		return;
	}
	size = command_literal_size(start, cr);
	line = cr + 2 - start;
	i_assert(size <= cmd->size - cmd->sent - line);
	if (client_literal_needs_no_wait(client, size)) {
		o_stream_nsend(client->output, start, line - 3);
		o_stream_nsend(client->output, "+}\r\n", 4);
		o_stream_nsend(client->output, start + line, size);
		cmd->sent += line + size;
	} else {
		o_stream_nsend(client->output, start, line);
		cmd->sent += line;
		cmd->held = size;
	}
}

static void client_send(struct remote_imap *client)
{
	struct imap_command *cmd;

	if (remote_imap_is_closed(client) || client->sending == NULL)
		return;
	o_stream_cork(client->output);
	while ((cmd = client->sending) != NULL && cmd->held == 0) {
		if (!cmd->begun) {
			T_BEGIN {
				o_stream_nsend_str(client->output,
					t_strdup_printf("A%u ", cmd->tag));
			} T_END;
			cmd->begun = TRUE;
		}
		command_send_more(client, cmd);
		if (cmd->complete)
			client->sending = cmd->next;
	}
	o_stream_uncork(client->output);
}

void remote_imap_continue(struct remote_imap *client, const char *text)
{
	struct imap_command *cmd = client->sending;

	if (cmd != NULL && cmd->held > 0) {
		o_stream_nsend(client->output, cmd->text + cmd->sent,
			       cmd->held);
		cmd->sent += cmd->held;
		cmd->held = 0;
		client_send(client);
		return;
	}
	cmd = client->commands;
	if (cmd != NULL && cmd->complete && cmd->challenge != NULL) {
		cmd->challenge(client, text);
		return;
	}
	remote_imap_fail(client, REPLY_CLASS_PROTOCOL,
			 "server sent \"+\" that nothing waited for", NULL);
}

struct imap_command *
remote_imap_command_internal(struct remote_imap *client, enum reply_step step,
			     const char *text,
			     remote_imap_reply_callback_t *callback,
			     void *context)
{
	struct imap_command *cmd = i_new(struct imap_command, 1);

	cmd->text = i_strdup(text);
	cmd->size = strlen(text);
	cmd->step = step;
	cmd->callback = callback;
	cmd->context = context;
	if (remote_imap_is_closed(client)) {
		DLLIST2_APPEND(&client->lost, &client->lost_tail, cmd);
		client_schedule_lost(client);
		return cmd;
	}
	cmd->tag = ++client->tag_counter;
	DLLIST2_APPEND(&client->commands, &client->commands_tail, cmd);
	if (client->sending == NULL)
		client->sending = cmd;
	client_send(client);
	remote_imap_update_timers(client);
	return cmd;
}

void remote_imap_command(struct remote_imap *client, enum reply_step step,
			 const char *command,
			 remote_imap_reply_callback_t *callback, void *context)
{
	i_assert(client->state == REMOTE_IMAP_STATE_READY ||
		 remote_imap_is_closed(client));
	i_assert(client->idle == NULL);

	(void)remote_imap_command_internal(client, step, command, callback,
					   context);
}

/*
 * IDLE
 */

static bool client_is_idle(const struct remote_imap *client)
{
	return client->idle != NULL && client->idle_begun && !client->idle_done;
}

static void idle_send_done(struct remote_imap *client)
{
	o_stream_nsend_str(client->output, "DONE\r\n");
}

static void
idle_continue(struct remote_imap *client, const char *text ATTR_UNUSED)
{
	if (client->idle_begun) {
		remote_imap_fail(client, REPLY_CLASS_PROTOCOL,
				 "server sent \"+\" twice", NULL);
		return;
	}
	client->idle_begun = TRUE;
	if (client->idle_done)
		idle_send_done(client);
	remote_imap_update_timers(client);
}

void remote_imap_idle(struct remote_imap *client,
		      remote_imap_reply_callback_t *callback, void *context)
{
	struct imap_command *cmd;

	i_assert(client->state == REMOTE_IMAP_STATE_READY ||
		 remote_imap_is_closed(client));
	i_assert(client->idle == NULL);

	cmd = remote_imap_command_internal(client, REPLY_STEP_OTHER, "IDLE",
					   callback, context);
	if (remote_imap_is_closed(client))
		return;
	cmd->challenge = idle_continue;
	client->idle = cmd;
	client->idle_begun = client->idle_done = FALSE;
}

void remote_imap_idle_done(struct remote_imap *client)
{
	if (remote_imap_is_closed(client))
		return;
	i_assert(client->idle != NULL && !client->idle_done);

	client->idle_done = TRUE;
	if (client->idle_begun)
		idle_send_done(client);
	remote_imap_update_timers(client);
}

struct imap_command *
remote_imap_find_command(struct remote_imap *client, const char *tag,
			 enum imap_reply_status status)
{
	struct imap_command *cmd;
	unsigned int num;

	if (tag[0] != 'A' || tag[1] == '0' || str_to_uint(tag + 1, &num) < 0)
		return NULL;
	for (cmd = client->commands; cmd != NULL; cmd = cmd->next) {
		if (cmd->tag != num)
			continue;
		/* a command can be refused, but not done, before its literal
		   was sent */
		if (cmd->complete ||
		    (cmd->begun && status != IMAP_REPLY_OK))
			return cmd;
		break;
	}
	return NULL;
}

void remote_imap_finish_command(struct remote_imap *client,
				struct imap_command *cmd,
				const struct remote_imap_reply *reply)
{
	DLLIST2_REMOVE(&client->commands, &client->commands_tail, cmd);
	if (client->sending == cmd)
		client->sending = cmd->next;
	if (client->idle == cmd)
		client->idle = NULL;
	if (cmd->callback != NULL)
		cmd->callback(reply, cmd->context);
	command_free(cmd);
	client_send(client);
	remote_imap_update_timers(client);
}

static bool value_can_be_quoted(const char *value)
{
	size_t i;

	for (i = 0; value[i] != '\0'; i++) {
		if (i == 1024 || (unsigned char)value[i] < 0x20 ||
		    (unsigned char)value[i] >= 0x7f)
			return FALSE;
	}
	return TRUE;
}

void remote_imap_quote(string_t *dest, const char *value)
{
	if (!value_can_be_quoted(value)) {
		str_printfa(dest, "{%zu}\r\n%s", strlen(value), value);
		return;
	}
	str_append_c(dest, '"');
	for (; *value != '\0'; value++) {
		if (*value == '"' || *value == '\\')
			str_append_c(dest, '\\');
		str_append_c(dest, *value);
	}
	str_append_c(dest, '"');
}

bool remote_imap_has_capability(struct remote_imap *client, const char *name)
{
	return str_array_icase_find(client->capabilities, name);
}

/*
 * Waiting
 */

static void idle_timeout(struct remote_imap *client)
{
	remote_imap_fail(client, REPLY_CLASS_NETWORK,
		t_strdup_printf("no answer for %u seconds",
				client->set.idle_timeout_msecs / 1000), NULL);
}

static void rate_start_window(struct remote_imap *client)
{
	remote_imap_get_traffic(client, &client->window_bytes, NULL);
	client->window_responses = client->responses;
	client->window_in_response = remote_imap_in_response(client);
}

/* A server that sends a byte now and then is never idle. */
static void rate_timeout(struct remote_imap *client)
{
	uoff_t bytes, min_bytes;
	bool stuck = client->window_in_response &&
		client->window_responses == client->responses;

	remote_imap_get_traffic(client, &bytes, NULL);
	min_bytes = (uoff_t)REMOTE_IMAP_MIN_BYTES_PER_MINUTE *
		client->set.idle_timeout_msecs / 60000;
	if (bytes - client->window_bytes >= min_bytes)
		client->slow_windows = 0;
	else if (stuck ||
		 ++client->slow_windows == REMOTE_IMAP_MAX_SLOW_WINDOWS) {
		remote_imap_fail(client, REPLY_CLASS_NETWORK,
				 "server sends too slowly", NULL);
		return;
	}
	rate_start_window(client);
}

void remote_imap_update_timers(struct remote_imap *client)
{
	if (client->state != REMOTE_IMAP_STATE_READY ||
	    client->commands == NULL || client->pause_count > 0 ||
	    client_is_idle(client)) {
		timeout_remove(&client->to_idle);
		timeout_remove(&client->to_rate);
		return;
	}
	if (client->to_idle != NULL)
		return;
	client->to_idle = timeout_add_short_to(client->ioloop,
					 client->set.idle_timeout_msecs,
					 idle_timeout, client);
	client->to_rate = timeout_add_short_to(client->ioloop,
					 client->set.idle_timeout_msecs,
					 rate_timeout, client);
	client->slow_windows = 0;
	rate_start_window(client);
}

void remote_imap_update_io(struct remote_imap *client)
{
	if (remote_imap_is_closed(client))
		return;
	if (client->pause_count > 0) {
		io_remove(&client->io);
		return;
	}
	if (client->io != NULL)
		return;
	client->io = io_add_istream_to(client->ioloop, client->input,
				       remote_imap_input, client);
	/* what is in the buffer already makes no fd readable */
	i_stream_set_input_pending(client->input, TRUE);
}

void remote_imap_pause(struct remote_imap *client)
{
	i_assert(client->state >= REMOTE_IMAP_STATE_READY);

	if (client->pause_count++ > 0)
		return;
	remote_imap_update_io(client);
	remote_imap_update_timers(client);
}

void remote_imap_resume(struct remote_imap *client)
{
	i_assert(client->pause_count > 0);

	if (--client->pause_count > 0)
		return;
	client->resumed = TRUE;
	remote_imap_update_io(client);
	remote_imap_update_timers(client);
}

void remote_imap_get_traffic(struct remote_imap *client, uoff_t *in_r,
			     uoff_t *out_r)
{
	uoff_t in = client->bytes_in, out = client->bytes_out;

	if (client->input != NULL && !remote_imap_is_closed(client)) {
		in += client->input->v_offset +
			i_stream_get_data_size(client->input);
		out += client->output->offset;
	}
	if (in_r != NULL)
		*in_r = in;
	if (out_r != NULL)
		*out_r = out;
}

/*
 * Goodbye
 */

static void logout_replied(const struct remote_imap_reply *reply, void *context)
{
	struct remote_imap *client = context;
	remote_imap_reply_callback_t *callback = client->logout_callback;

	client->logout_callback = NULL;
	remote_imap_ref(client);
	callback(reply, client->logout_context);
	remote_imap_fail(client, REPLY_CLASS_STOPPED, "logged out", NULL);
	remote_imap_unref(&client);
}

static void goodbye_timeout(struct remote_imap *client)
{
	remote_imap_fail(client, REPLY_CLASS_NETWORK,
			 "server did not hang up", NULL);
}

void remote_imap_expect_eof(struct remote_imap *client)
{
	timeout_remove(&client->to_step);
	client->to_step = timeout_add_short_to(client->ioloop,
					 REMOTE_IMAP_GOODBYE_MSECS,
					 goodbye_timeout, client);
}

void remote_imap_logout(struct remote_imap *client,
			remote_imap_reply_callback_t *callback, void *context)
{
	i_assert(client->state == REMOTE_IMAP_STATE_READY ||
		 remote_imap_is_closed(client));
	i_assert(client->logout_callback == NULL);

	client->logout_callback = callback;
	client->logout_context = context;
	if (!remote_imap_is_closed(client)) {
		client->state = REMOTE_IMAP_STATE_LOGOUT;
		remote_imap_expect_eof(client);
	}
	(void)remote_imap_command_internal(client, REPLY_STEP_OTHER, "LOGOUT",
					   logout_replied, client);
}
