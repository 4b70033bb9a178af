/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "ioloop.h"
#include "istream.h"
#include "istream-concat.h"
#include "istream-crlf.h"
#include "str.h"
#include "mail-types.h"
#include "smtp-address.h"
#include "smtp-client.h"
#include "smtp-client-command.h"
#include "smtp-client-connection.h"
#include "smtp-client-private.h"
#include "dovecot-compat.h"
#include "core/trace-header.h"
#include "spool.h"
#include "sink-lmtp-private.h"

#define LMTP_CONNECT_TIMEOUT_MSECS (30 * 1000)
/* longer than a stale lock keeps an lmtp process busy (180 s) */
#define LMTP_REPLY_TIMEOUT_MSECS (300 * 1000)
/* a message of usual size goes in one piece, with no round trip before it */
#define LMTP_CHUNK_SIZE (256 * 1024)
/* a message up to this size goes in one piece of memory */
#define MESSAGE_SMALL_MAX (16 * 1024)
/* what a unix socket takes without being read, and to spare */
#define AT_ONCE_MAX (LMTP_PIPELINE * MESSAGE_SMALL_MAX)
/* how far into a message its Return-Path is looked for */
#define RETURN_PATH_MAX 4096

/* lib-smtp's transactions wait for the answer to a message before they begin
   the next one. Here its commands are used: with CHUNKING (RFC 3030) a message
   is one command like MAIL and RCPT, and all of them follow each other without
   a wait (RFC 2920). */

/*
 * Answers
 */

static void
item_record(struct lmtp_item *item, enum lmtp_step step,
	    const struct smtp_reply *reply)
{
	struct lmtp_answer *answer = &item->answer;

	/* what comes after the first failure follows from it */
	if (item->answered)
		return;
	item->answered = TRUE;
	answer->step = step;
	answer->status = reply->status;
	answer->enh_class = answer->enh_subject = answer->enh_detail = 0;
	if (smtp_reply_has_enhanced_code(reply)) {
		answer->enh_class = reply->enhanced_code.x;
		answer->enh_subject = reply->enhanced_code.y;
		answer->enh_detail = reply->enhanced_code.z;
	}
	/* what goes with success nobody reads */
	answer->text = smtp_reply_is_success(reply) ? "" :
		p_strdup(item->message->pool, smtp_reply_log(reply));

	if (!smtp_reply_is_remote(reply) ||
	    reply->status == SMTP_CLIENT_COMMAND_ERROR_CONNECTION_CLOSED) {
		answer->step = LMTP_STEP_LOST;
		item->conn->dead = TRUE;
	} else if (step != LMTP_STEP_DATA) {
		/* The server is in the middle of a transaction now, and what
		   was sent behind it is out of step. */
		item->conn->dead = TRUE;
		item->conn->dropped = TRUE;
	}
}

static void
conn_mail_replied(const struct smtp_reply *reply, struct lmtp_item *item)
{
	if (!smtp_reply_is_success(reply))
		item_record(item, LMTP_STEP_MAIL, reply);
}

static void
conn_rcpt_replied(const struct smtp_reply *reply, struct lmtp_item *item)
{
	if (!smtp_reply_is_success(reply))
		item_record(item, LMTP_STEP_RCPT, reply);
}

/* The last of an item's commands. */
static void
conn_data_replied(const struct smtp_reply *reply, struct lmtp_item *item)
{
	item_record(item, LMTP_STEP_DATA, reply);
	item->conn->sent--;
	item->conn->sent_bytes -= spool_crlf_size(item->message->spool);
	item->conn->alone = FALSE;
	item->state = LMTP_ITEM_ANSWERED;
	lmtp_pump_later(item->lmtp);
}

/* MAIL, RCPT and BDAT were sent as one command, which is answered thrice. */
static void
conn_all_replied(const struct smtp_reply *reply, struct lmtp_item *item)
{
	switch (++item->replies) {
	case 1:
		conn_mail_replied(reply, item);
		break;
	case 2:
		conn_rcpt_replied(reply, item);
		break;
	default:
		conn_data_replied(reply, item);
		break;
	}
}

/* It ended before its last answer. */
static void conn_all_aborted(void *context)
{
	struct lmtp_item *item = context;
	struct smtp_reply lost;

	if (item->state != LMTP_ITEM_SENT)
		return;
	smtp_reply_init(&lost, SMTP_CLIENT_COMMAND_ERROR_ABORTED,
			"Connection closed");
	conn_data_replied(&lost, item);
}

/*
 * Message
 */

/* Value of the message's first Return-Path, or NULL. */
static const char *find_return_path(struct istream *input)
{
	static const char name[] = "Return-Path:";
	const unsigned char *data;
	const char *line, *header;
	size_t size;

	(void)i_stream_read_bytes(input, &data, &size, RETURN_PATH_MAX);
	header = t_strndup(data, I_MIN(size, RETURN_PATH_MAX));
	for (line = header; line != NULL; line = strchr(line, '\n')) {
		line += line == header ? 0 : 1;
		if (*line == '\r' || *line == '\n' || *line == '\0')
			return NULL;
		if (strncasecmp(line, name, strlen(name)) == 0) {
			line += strlen(name);
			return t_str_trim(t_strcut(t_strcut(line, '\n'), '\r'),
					  " \t");
		}
	}
	return NULL;
}

/* Whom Sieve's envelope tests and vacation are to see. NULL = <> */
static const struct smtp_address *
item_get_sender(struct lmtp_item *item, struct istream *input)
{
	enum smtp_address_parse_flags flags =
		SMTP_ADDRESS_PARSE_FLAG_ALLOW_EMPTY |
		SMTP_ADDRESS_PARSE_FLAG_BRACKETS_OPTIONAL;
	pool_t pool = item->message->pool;
	struct smtp_address *address;
	const char *path;

	if (item->answer.no_sender)
		return NULL;
	path = find_return_path(input);
	i_stream_seek(input, 0);
	if (path != NULL && *path != '\0' &&
	    smtp_address_parse_path(pool, path, flags, &address, NULL) == 0)
		return address;
	if (*item->lmtp->set.sender != '\0' &&
	    smtp_address_parse_path(pool, item->lmtp->set.sender, flags,
				    &address, NULL) == 0)
		return address;
	return NULL;
}

/* Keywords that make the line too long are lost, the last ones first. */
static const char *
item_write_header(struct lmtp_item *item, const char **error_r)
{
	const struct sink_message *message = item->message;
	const struct sink_lmtp_settings *set = &item->lmtp->set;
	const char **keywords = p_strarray_dup(message->pool,
					       message->keywords);
	unsigned int count = str_array_length(keywords);
	struct trace_header header = {
		.user = set->user,
		.account = set->account,
		.source_id = set->source_id,
		.slot = item->slot,
		.nonce = item->nonce,
		.remote_folder = message->remote_folder,
		.uidvalidity = message->uidvalidity,
		.uid = message->uid,
		.mailbox = message->mailbox,
		.guid = message->guid,
		.size = spool_crlf_size(message->spool),
		.flags = message->flags &
			ENUM_NEGATE(MAIL_RECENT | MAIL_DELETED),
		.keywords = keywords,
		.received_time = message->received_time,
		.received_tz_mins = message->received_tz_mins,
		.nofx = message->nofx,
		.retry = item->retry,
	};
	const char *line;

	while ((line = trace_header_write(&header, set->header_key,
					  error_r)) == NULL && count > 0)
		keywords[--count] = NULL;
	return line;
}

/* What goes in one piece, unconverted: most messages. */
static bool item_is_small(const struct lmtp_item *item)
{
	const struct spool *spool = item->message->spool;

	return spool_size(spool) <= MESSAGE_SMALL_MAX &&
		spool_size(spool) == spool_crlf_size(spool);
}

/* In one piece it is read without being copied from stream to stream. */
static struct istream *
message_stream_small(struct lmtp_item *item, const char *header,
		     struct istream *content)
{
	size_t size, header_size = strlen(header);
	const unsigned char *data = i_stream_get_data(content, &size);
	unsigned char *message;

	i_assert(size == spool_size(item->message->spool));
	message = p_malloc(item->message->pool, header_size + size);
	memcpy(message, header, header_size);
	memcpy(message + header_size, data, size);
	return i_stream_create_from_data(message, header_size + size);
}

static struct istream *
message_stream(struct lmtp_item *item, const char *header,
	       struct istream *content)
{
	const struct spool *spool = item->message->spool;
	struct istream *inputs[3], *input, *crlf_input;

	header = t_strconcat(header, "\r\n", NULL);
	if (item_is_small(item))
		return message_stream_small(item, header, content);
	inputs[0] = i_stream_create_copy_from_data(header, strlen(header));
	inputs[1] = content;
	inputs[2] = NULL;
	input = i_stream_create_concat(inputs);
	i_stream_unref(&inputs[0]);
	/* IMAP has CRLF only; a stream of known size is read once */
	if (spool_size(spool) == spool_crlf_size(spool))
		return input;
	crlf_input = i_stream_create_crlf(input);
	i_stream_unref(&input);
	return crlf_input;
}

/*
 * Connections
 */

/* Path of the target's socket, or NULL if it is host:port. */
static const char *lmtp_unix_path(const struct sink_lmtp *lmtp)
{
	const char *host, *target = lmtp->set.target;
	in_port_t port;

	if (strchr(target, '/') == NULL &&
	    net_str2hostport(target, 0, &host, &port) == 0 && port != 0)
		return NULL;
	return *target == '/' ? target :
		t_strdup_printf("%s/%s", lmtp->set.base_dir, target);
}

/* lib-smtp keeps to itself why a unix socket cannot be connected to. */
static const char *
conn_refused_why(struct lmtp_conn *conn, const struct smtp_reply *reply)
{
	const char *path = lmtp_unix_path(conn->lmtp);
	int fd;

	if (reply->status != SMTP_CLIENT_COMMAND_ERROR_CONNECT_FAILED ||
	    path == NULL)
		return smtp_reply_log(reply);
	fd = net_connect_unix(path);
	if (fd == -1)
		return t_strdup_printf("connect() failed: %m");
	i_close_fd(&fd);
	return smtp_reply_log(reply);
}

static void conn_read_capabilities(struct lmtp_conn *conn)
{
	enum smtp_capability caps =
		smtp_client_connection_get_capabilities(conn->conn);

	conn->chunking = (caps & SMTP_CAPABILITY_CHUNKING) != 0;
	conn->at_once = conn->chunking &&
		(caps & SMTP_CAPABILITY_PIPELINING) != 0 &&
		lmtp_unix_path(conn->lmtp) != NULL;
}

static void
conn_login_replied(const struct smtp_reply *reply, struct lmtp_conn *conn)
{
	if (smtp_reply_is_success(reply)) {
		conn->ready = TRUE;
		conn_read_capabilities(conn);
	} else if (!conn->dead) {
		conn->dead = TRUE;
		conn->refused = i_strdup(conn_refused_why(conn, reply));
	}
	lmtp_pump_later(conn->lmtp);
}

static struct smtp_client_connection *
lmtp_connect_unix(struct sink_lmtp *lmtp, const char *path)
{
	struct smtp_client_connection *conn;

	conn = smtp_client_connection_create_unix(lmtp->client,
		SMTP_PROTOCOL_LMTP, path, NULL);
	/* lib-smtp asks whether the address that failed was the last one, also
	   when there are none, and then asserts */
	conn->ips_count = 1;
	return conn;
}

static void lmtp_conn_open(struct lmtp_conn *conn)
{
	struct sink_lmtp *lmtp = conn->lmtp;
	const char *host, *path = lmtp_unix_path(lmtp);
	in_port_t port;

	if (path == NULL) {
		if (net_str2hostport(lmtp->set.target, 0, &host, &port) < 0)
			i_unreached();
		conn->conn = smtp_client_connection_create(lmtp->client,
			SMTP_PROTOCOL_LMTP, host, port,
			SMTP_CLIENT_SSL_MODE_NONE, NULL);
	} else {
		conn->conn = lmtp_connect_unix(lmtp, path);
	}
	smtp_client_connection_connect(conn->conn,
		(smtp_client_command_callback_t *)conn_login_replied, conn);
}

/* What follows a message that does not go in one piece cannot be sent before
   it is answered, and it cannot be sent behind others. */
static bool item_is_alone(const struct lmtp_item *item)
{
	return spool_crlf_size(item->message->spool) +
		TRACE_HEADER_MAX_SIZE + 2 > LMTP_CHUNK_SIZE;
}

static bool
lmtp_conn_takes(const struct lmtp_conn *conn, const struct lmtp_item *item)
{
	if (!conn->ready || conn->dead || conn->alone)
		return FALSE;
	if (!conn->chunking || item_is_alone(item))
		return conn->sent == 0;
	return conn->sent < LMTP_PIPELINE;
}

/* The one with the least to do. */
static struct lmtp_conn *lmtp_conn_pick(struct lmtp_item *item)
{
	struct sink_lmtp *lmtp = item->lmtp;
	struct lmtp_conn *conn, *best = NULL;
	unsigned int i;

	for (i = 0; i < lmtp->set.connections; i++) {
		conn = &lmtp->conns[i];
		if (lmtp_conn_takes(conn, item) &&
		    (best == NULL || conn->sent < best->sent))
			best = conn;
	}
	return best;
}

/* FALSE = the host's name is being looked up, or there is no such socket, which
   lib-smtp tells later (and 2.4 leaks a timeout if it is closed until then). */
static bool lmtp_conn_has_socket(const struct lmtp_conn *conn)
{
	return conn->conn->conn.fd_in != -1;
}

/* Each is a process of the server's: one for every two messages. They take a
   while to start, so all that will have work start together. */
void lmtp_conns_open(struct sink_lmtp *lmtp, unsigned int messages)
{
	struct lmtp_conn *conn;
	unsigned int i, opened = 0;

	for (i = 0; i < lmtp->set.connections; i++) {
		conn = &lmtp->conns[i];
		if (conn->conn == NULL)
			continue;
		if (!lmtp_conn_has_socket(conn))
			return;
		opened++;
	}
	for (i = 0; i < lmtp->set.connections; i++) {
		conn = &lmtp->conns[i];
		if (conn->conn != NULL || messages <= opened * 2)
			continue;
		lmtp_conn_open(conn);
		if (!lmtp_conn_has_socket(conn))
			return;
		opened++;
	}
}

/* Whoever waited for an answer over it waits no more. */
static void lmtp_conn_close(struct lmtp_conn *conn)
{
	struct lmtp_item *item;
	struct smtp_reply lost;

	conn->ready = FALSE;
	if (conn->conn != NULL)
		smtp_client_connection_close(&conn->conn);
	smtp_reply_init(&lost, SMTP_CLIENT_COMMAND_ERROR_ABORTED,
			"Connection closed");
	for (item = conn->lmtp->items_head; item != NULL; item = item->next) {
		if (item->state == LMTP_ITEM_SENT && item->conn == conn)
			conn_data_replied(&lost, item);
	}
	i_assert(conn->sent == 0);
}

void lmtp_conns_reap(struct sink_lmtp *lmtp)
{
	struct lmtp_conn *conn;
	unsigned int i;

	for (i = 0; i < lmtp->set.connections; i++) {
		conn = &lmtp->conns[i];
		if (!conn->dead)
			continue;
		lmtp_conn_close(conn);
		lmtp_conn_closed(conn);
		i_free(conn->refused);
		conn->dead = conn->dropped = FALSE;
	}
}

static void
conn_submit(struct lmtp_item *item, const struct smtp_address *sender,
	    struct istream *input)
{
	struct smtp_client_connection *conn = item->conn->conn;
	const enum smtp_client_command_flags pipeline =
		SMTP_CLIENT_COMMAND_FLAG_PIPELINE;

	smtp_client_command_mail_submit(conn, pipeline, sender, NULL,
					conn_mail_replied, item);
	smtp_client_command_rcpt_submit(conn, pipeline, item->lmtp->rcpt, NULL,
					conn_rcpt_replied, item);
	smtp_client_command_data_submit(conn, item->conn->alone ? 0 : pipeline,
					input, conn_data_replied, item);
}

/* lib-smtp takes no answer to a command before all of it is sent, so that must
   not depend on what the server reads. */
static bool item_goes_at_once(const struct lmtp_item *item)
{
	return item->conn->at_once && item_is_small(item) &&
		item->conn->sent_bytes <= AT_ONCE_MAX;
}

/* The same as one command: each costs lib-smtp more than a short message
   does. */
static void
conn_submit_at_once(struct lmtp_item *item, const struct smtp_address *sender,
		    struct istream *input)
{
	struct smtp_client_command *cmd;
	uoff_t size;

	if (i_stream_get_size(input, TRUE, &size) <= 0)
		i_unreached();
	item->replies = 0;
	cmd = smtp_client_command_new(item->conn->conn,
				      SMTP_CLIENT_COMMAND_FLAG_PIPELINE,
				      conn_all_replied, item);
	smtp_client_command_set_abort_callback(cmd, conn_all_aborted, item);
	smtp_client_command_set_replies(cmd, 3);
	smtp_client_command_set_stream(cmd, input, FALSE);
	smtp_client_command_printf(cmd,
		"MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nBDAT %"PRIuUOFF_T" LAST",
		smtp_address_encode(sender),
		smtp_address_encode(item->lmtp->rcpt), size);
	smtp_client_command_submit(cmd);
}

int lmtp_conn_send(struct lmtp_item *item, const char **error_r)
{
	struct lmtp_conn *conn = lmtp_conn_pick(item);
	const struct smtp_address *sender;
	struct istream *content, *input;
	const char *header;

	if (conn == NULL)
		return 0;
	header = item_write_header(item, error_r);
	if (header == NULL)
		return -1;
	content = spool_get_stream(item->message->spool);
	sender = item_get_sender(item, content);
	input = message_stream(item, header, content);
	i_stream_unref(&content);

	item->conn = conn;
	item->sent_seq = ++item->lmtp->sent_seq;
	item->state = LMTP_ITEM_SENT;
	item->answered = FALSE;
	conn->sent++;
	conn->sent_bytes += spool_crlf_size(item->message->spool);
	conn->alone = !conn->chunking || item_is_alone(item);
	if (item_goes_at_once(item))
		conn_submit_at_once(item, sender, input);
	else
		conn_submit(item, sender, input);
	i_stream_unref(&input);
	return 1;
}

static const struct smtp_address *recipient(pool_t pool, const char *user)
{
	const char *p = strrchr(user, '@');

	/* not parsed: what userdb calls a user need not be an address */
	return p == NULL ? smtp_address_create(pool, user, NULL) :
		smtp_address_create(pool, t_strdup_until(user, p), p + 1);
}

void lmtp_conns_init(struct sink_lmtp *lmtp)
{
	struct smtp_client_settings set = {
		.my_hostname = "localhost",
		.connect_timeout_msecs = LMTP_CONNECT_TIMEOUT_MSECS,
		.command_timeout_msecs = LMTP_REPLY_TIMEOUT_MSECS,
		.max_data_chunk_size = LMTP_CHUNK_SIZE,
		.event_parent = lmtp->event,
	};
	unsigned int i;

	lmtp->client = smtp_client_init(&set);
	lmtp->rcpt = recipient(lmtp->pool, lmtp->set.user);
	lmtp->conns = p_new(lmtp->pool, struct lmtp_conn,
			    lmtp->set.connections);
	for (i = 0; i < lmtp->set.connections; i++)
		lmtp->conns[i].lmtp = lmtp;
}

void lmtp_conns_deinit(struct sink_lmtp *lmtp)
{
	unsigned int i;

	for (i = 0; i < lmtp->set.connections; i++) {
		lmtp_conn_close(&lmtp->conns[i]);
		i_free(lmtp->conns[i].refused);
	}
	smtp_client_deinit(&lmtp->client);
}
