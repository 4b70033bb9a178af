#ifndef IMAPSYNC_IMAP_CLIENT_PRIVATE_H
#define IMAPSYNC_IMAP_CLIENT_PRIVATE_H

#include "imap-client.h"

/* Inside of the IMAP client, in four files:
     imap-client.c		commands, deadlines, end of the connection
     imap-client-input.c	what the server says: lines, literals, replies
     imap-client-connect.c	name, addresses, TLS, greeting, STARTTLS
     imap-client-login.c	capabilities, mechanism, SASL, ID
     imap-client-tls.c		the door to the TLS library

   Anything that calls the asker may come back with the client closed or
   deinit'ed: whoever calls imap_client_fail(), imap_client_report_step() or
   one of the callbacks looks at imap_client_is_closed() afterwards. The memory
   stays until the last reference is gone. */

struct ssl_iostream;
struct ssl_iostream_context;
struct dns_lookup;
struct dsasl_client;
struct imap_parser;

/* open lists in one response: FETCH, LIST and NAMESPACE need few, and each
   costs some 400 bytes */
#define IMAP_CLIENT_MAX_LISTS 256
/* capabilities kept, and the longest of them */
#define IMAP_CLIENT_MAX_CAPABILITIES 256
#define IMAP_CLIENT_MAX_CAPABILITY_LEN 64
/* addresses of one name that are tried */
#define IMAP_CLIENT_MAX_ADDRESSES 8
/* challenges of one SASL exchange, and the size of one in base64 */
#define IMAP_CLIENT_MAX_SASL_ROUNDS 8
#define IMAP_CLIENT_MAX_SASL_SIZE 16384
/* a longer initial response goes in a line of its own: some servers take
   command lines of 8 kB at most (RFC 7162, 4) */
#define IMAP_CLIENT_MAX_SASL_IR 4096
/* slower than this for a whole idle timeout, in the middle of a response, is a
   dead or a hostile server */
#define IMAP_CLIENT_MIN_BYTES_PER_MINUTE (16*1024)
/* idle timeouts in a row in which a command may wait with only a trickle of
   small responses coming in ("* OK Still here") */
#define IMAP_CLIENT_MAX_SLOW_WINDOWS 6
/* after LOGOUT and after BYE */
#define IMAP_CLIENT_GOODBYE_MSECS 2000

enum imap_client_state {
	IMAP_CLIENT_STATE_INIT,
	IMAP_CLIENT_STATE_DNS,
	IMAP_CLIENT_STATE_CONNECT,
	IMAP_CLIENT_STATE_TLS,
	IMAP_CLIENT_STATE_GREETING,
	IMAP_CLIENT_STATE_LOGIN,
	IMAP_CLIENT_STATE_READY,
	IMAP_CLIENT_STATE_LOGOUT,
	IMAP_CLIENT_STATE_CLOSED,
};

struct imap_command {
	struct imap_command *prev, *next;

	unsigned int tag;
	enum reply_step step;
	/* all of it without tag and CRLF; wiped when freed */
	char *text;
	size_t size;
	/* bytes of text the server has got */
	size_t sent;
	/* bytes of text behind "sent" that go out when the server says "+" */
	size_t held;
	bool begun, complete;

	imap_client_reply_callback_t *callback;
	void *context;
	/* AUTHENTICATE: gets what follows "+" */
	void (*challenge)(struct imap_client *client, const char *text);
};

enum imap_client_input_mode {
	/* at the first byte of a response */
	IMAP_CLIENT_INPUT_START,
	/* somewhere in one, at the first byte of a line */
	IMAP_CLIENT_INPUT_LINE,
	/* a small literal and then the rest of the line */
	IMAP_CLIENT_INPUT_LITERAL,
	/* bytes of a literal on their way to the asker */
	IMAP_CLIENT_INPUT_STREAM,
};

struct imap_client {
	pool_t pool;
	int refcount;
	struct ioloop *ioloop;
	struct event *event;
	struct imap_client_settings set;
	struct imap_client_callbacks callbacks;
	void *context;

	enum imap_client_state state;
	bool deinited;
	unsigned int pause_count;
	imap_client_reply_callback_t *connect_callback;
	void *connect_context;
	imap_client_reply_callback_t *logout_callback;
	void *logout_context;
	/* what the server said to the login */
	struct imap_client_reply login_reply;

	/* name and addresses */
	struct dns_lookup *dns_lookup;
	ARRAY(struct ip_addr) addresses;
	unsigned int address_idx, addresses_refused;
	/* "192.0.2.7: Connection refused, ..." */
	string_t *address_errors;

	int fd;
	struct io *io;
	struct istream *input;
	struct ostream *output;
	struct ssl_iostream_context *ssl_ctx;
	struct ssl_iostream *ssl;
	const char *tls_error;
	bool tls_done;

	/* deadline of the step of connecting, of LOGOUT and of BYE: input does
	   not push it back */
	struct timeout *to_step;
	/* ready: no byte at all, and too few of them */
	struct timeout *to_idle, *to_rate;
	/* calls the callbacks of what is lost */
	struct timeout *to_lost;
	uoff_t window_bytes;
	unsigned int window_responses, slow_windows;
	bool window_in_response;

	/* before the streams were replaced by TLS, or closed */
	uoff_t bytes_in, bytes_out;

	/* commands without a tagged reply, oldest first */
	struct imap_command *commands, *commands_tail;
	/* the first of them that is not sent completely */
	struct imap_command *sending;
	/* waiting for to_lost */
	struct imap_command *lost, *lost_tail;
	unsigned int tag_counter;

	/* NULL-terminated; replaced whole */
	pool_t capability_pool;
	const char *const *capabilities;
	bool capabilities_known;

	/* SASL */
	struct dsasl_client *sasl;
	const char *mechanism;
	unsigned int sasl_rounds;
	/* first word, when it is too long for the command */
	const char *sasl_held;
	bool token_login, logged_in;
	/* what the mechanism made of the server's last challenge */
	const char *sasl_error;
	/* the secret, and the SASL responses it was sent in */
	ARRAY_TYPE(const_string) secrets;

	/* input */
	struct imap_parser *parser;
	enum imap_client_input_mode mode;
	/* bytes of the unfinished line that were searched for LF */
	size_t scanned;
	uoff_t literal_left;
	bool literal_dropped;
	/* the response being read, while mode is not START; in its own small
	   buffer because lines move */
	char response_name[32];
	uint32_t response_num;
	/* responses read completely */
	unsigned int responses;

	struct imap_client_error error;
	bool failed;
};

static inline bool imap_client_is_closed(const struct imap_client *client)
{
	return client->state == IMAP_CLIENT_STATE_CLOSED;
}

/* imap-client.c */
void imap_client_ref(struct imap_client *client);
void imap_client_unref(struct imap_client **client);
/* End the connection for this reason; text is what went wrong, printable, the
   end point is put before it. detail may be NULL. Only the first reason counts.
   Callbacks of commands follow from the ioloop. */
void imap_client_fail(struct imap_client *client, enum reply_class class,
		      const char *text, const char *detail);
/* A reason that becomes final when the connection ends (BYE). */
void imap_client_set_error(struct imap_client *client, enum reply_class class,
			   unsigned int wait_secs, const char *text,
			   const char *detail);
/* End it because of what imap_client_class_reply() says. */
void imap_client_fail_reply(struct imap_client *client,
			    const struct imap_client_error *error);
/* "host:port: text", data stack */
const char *imap_client_error_text(struct imap_client *client,
				   const char *text);
const char *imap_client_redact(struct imap_client *client, const char *text);
void imap_client_add_secret(struct imap_client *client, const char *secret);
void imap_client_report_step(struct imap_client *client,
			     enum imap_client_step step, const char *detail,
			     const struct imap_client_error *error);
/* Starts the deadline of the next step of connecting. */
void imap_client_start_deadline(struct imap_client *client);
/* The connect callback with this reply. */
void imap_client_connected(struct imap_client *client,
			   const struct imap_client_reply *reply);
/* As imap_client_command(), in any state. */
struct imap_command *
imap_client_command_internal(struct imap_client *client, enum reply_step step,
			     const char *text,
			     imap_client_reply_callback_t *callback,
			     void *context);
/* The command with this tag that may be answered with status now, or NULL. */
struct imap_command *
imap_client_find_command(struct imap_client *client, const char *tag,
			 enum imap_reply_status status);
/* Takes the command off the queue, calls back and frees it. */
void imap_client_finish_command(struct imap_client *client,
				struct imap_command *cmd,
				const struct imap_client_reply *reply);
/* The server says "+". */
void imap_client_continue(struct imap_client *client, const char *text);
/* Start or stop what watches a ready connection. */
void imap_client_update_timers(struct imap_client *client);
void imap_client_update_io(struct imap_client *client);
/* What a NO, BAD or BYE means. Strings from the data stack. */
void imap_client_class_reply(struct imap_client *client, enum reply_step step,
			     const char *status, const char *code,
			     const char *code_args, const char *text,
			     struct imap_client_error *error_r);

/* The server said it will hang up: give it a moment. */
void imap_client_expect_eof(struct imap_client *client);

/* imap-client-input.c */
void imap_client_input(struct imap_client *client);
bool imap_client_in_response(struct imap_client *client);
/* Words of a response code or a CAPABILITY response. */
void imap_client_set_capabilities(struct imap_client *client,
				  const char *const *words);
void imap_client_forget_capabilities(struct imap_client *client);

/* imap-client-connect.c */
void imap_client_connect_start(struct imap_client *client);
void imap_client_connect_timeout(struct imap_client *client);
/* OK, NO, BAD, BYE or PREAUTH in the place of the greeting. */
void imap_client_greeting(struct imap_client *client, const char *status,
			  const char *code, const char *code_args,
			  const char *text);
/* STARTTLS was agreed to: TLS from here on. */
void imap_client_start_tls(struct imap_client *client);

/* imap-client-login.c */
/* The next step between greeting and ready. */
void imap_client_login_continue(struct imap_client *client);

/* imap-client-tls.c */
/* Put TLS on the streams. Returns 0, or -1 and error_r. */
int imap_client_tls_init(struct imap_client *client, const char **error_r);
/* Returns 1 when the handshake is over, 0 if more input is needed, -1 and
   error_r. */
int imap_client_tls_continue(struct imap_client *client, const char **error_r);
/* "TLSv1.3 with cipher ..., key sha256 ...", data stack */
const char *imap_client_tls_get_detail(struct imap_client *client);
void imap_client_tls_deinit(struct imap_client *client);

#endif
