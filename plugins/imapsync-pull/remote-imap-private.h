#ifndef IMAPSYNC_REMOTE_IMAP_PRIVATE_H
#define IMAPSYNC_REMOTE_IMAP_PRIVATE_H

#include "remote-imap.h"

/* Inside of the IMAP client, in four files:
     remote-imap.c		commands, deadlines, end of the connection
     remote-imap-input.c	what the server says: lines, literals, replies
     remote-imap-connect.c	name, addresses, TLS, greeting, STARTTLS
     remote-imap-login.c	capabilities, mechanism, SASL, ID
     remote-imap-tls.c		the door to the TLS library
     remote-imap-ssl-*.c	its settings, as each Dovecot names them

   Anything that calls the asker may come back with the client closed or
   deinit'ed: whoever calls remote_imap_fail(), remote_imap_report_step() or
   one of the callbacks looks at remote_imap_is_closed() afterwards. The memory
   stays until the last reference is gone. */

struct ssl_iostream;
struct ssl_iostream_context;
struct dns_lookup;
struct dsasl_client;
struct imap_parser;

/* open lists in one response: FETCH, LIST and NAMESPACE need few, and each
   costs some 400 bytes */
#define REMOTE_IMAP_MAX_LISTS 256
/* capabilities kept, and the longest of them */
#define REMOTE_IMAP_MAX_CAPABILITIES 256
#define REMOTE_IMAP_MAX_CAPABILITY_LEN 64
/* addresses of one name that are tried */
#define REMOTE_IMAP_MAX_ADDRESSES 8
/* challenges of one SASL exchange, and the size of one in base64 */
#define REMOTE_IMAP_MAX_SASL_ROUNDS 8
#define REMOTE_IMAP_MAX_SASL_SIZE 16384
/* a longer initial response goes in a line of its own: some servers take
   command lines of 8 kB at most (RFC 7162, 4) */
#define REMOTE_IMAP_MAX_SASL_IR 4096
/* slower than this for a whole idle timeout, in the middle of a response, is a
   dead or a hostile server */
#define REMOTE_IMAP_MIN_BYTES_PER_MINUTE (16*1024)
/* idle timeouts in a row in which a command may wait with only a trickle of
   small responses coming in ("* OK Still here") */
#define REMOTE_IMAP_MAX_SLOW_WINDOWS 6
/* after LOGOUT and after BYE */
#define REMOTE_IMAP_GOODBYE_MSECS 2000

enum remote_imap_state {
	REMOTE_IMAP_STATE_INIT,
	REMOTE_IMAP_STATE_DNS,
	REMOTE_IMAP_STATE_CONNECT,
	REMOTE_IMAP_STATE_TLS,
	REMOTE_IMAP_STATE_GREETING,
	REMOTE_IMAP_STATE_LOGIN,
	REMOTE_IMAP_STATE_READY,
	REMOTE_IMAP_STATE_LOGOUT,
	REMOTE_IMAP_STATE_CLOSED,
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

	/* or NULL: nobody waits for it */
	remote_imap_reply_callback_t *callback;
	void *context;
	/* AUTHENTICATE, IDLE: gets what follows "+" */
	void (*challenge)(struct remote_imap *client, const char *text);
};

enum remote_imap_input_mode {
	/* at the first byte of a response */
	REMOTE_IMAP_INPUT_START,
	/* somewhere in one, at the first byte of a line */
	REMOTE_IMAP_INPUT_LINE,
	/* a small literal and then the rest of the line */
	REMOTE_IMAP_INPUT_LITERAL,
	/* bytes of a literal on their way to the asker */
	REMOTE_IMAP_INPUT_STREAM,
};

struct remote_imap {
	pool_t pool;
	int refcount;
	struct ioloop *ioloop;
	struct event *event;
	struct remote_imap_settings set;
	struct remote_imap_callbacks callbacks;
	void *context;

	enum remote_imap_state state;
	bool deinited;
	unsigned int pause_count;
	/* the buffer may hold what came before a pause */
	bool resumed;
	remote_imap_reply_callback_t *connect_callback;
	void *connect_context;
	remote_imap_reply_callback_t *logout_callback;
	void *logout_context;
	/* what the server said to the login */
	struct remote_imap_reply login_reply;

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
	/* the IDLE under way, its "+" was seen, it is to end */
	struct imap_command *idle;
	bool idle_begun, idle_done;

	/* NULL-terminated; replaced whole */
	pool_t capability_pool;
	const char *const *capabilities;
	bool capabilities_known;

	/* SASL */
	struct dsasl_client *sasl;
	const char *mechanism;
	unsigned int sasl_rounds;
	/* challenges the mechanism must be given before it can have succeeded,
	   0 = it is not that strict, and those that it was given of them */
	unsigned int sasl_expected, sasl_given;
	/* first word, when it is too long for the command */
	const char *sasl_held;
	bool token_login, logged_in;
	/* what the mechanism made of the server's last challenge */
	const char *sasl_error;
	/* the secret, and the SASL responses it was sent in */
	ARRAY_TYPE(const_string) secrets;

	/* input */
	struct imap_parser *parser;
	enum remote_imap_input_mode mode;
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

	struct remote_imap_error error;
	bool failed;
	/* closed() is to be called */
	bool tell_closed;
};

static inline bool remote_imap_is_closed(const struct remote_imap *client)
{
	return client->state == REMOTE_IMAP_STATE_CLOSED;
}

/* remote-imap.c */
void remote_imap_ref(struct remote_imap *client);
void remote_imap_unref(struct remote_imap **client);
/* End the connection for this reason; text is what went wrong, printable, the
   end point is put before it. detail may be NULL. Only the first reason counts.
   Callbacks of commands follow from the ioloop. */
void remote_imap_fail(struct remote_imap *client, enum reply_class class,
		      const char *text, const char *detail);
/* A reason that becomes final when the connection ends (BYE). */
void remote_imap_set_error(struct remote_imap *client,
			   const struct remote_imap_error *error);
/* End it because of what remote_imap_class_reply() says. */
void remote_imap_fail_reply(struct remote_imap *client,
			    const struct remote_imap_error *error);
/* "host:port: text", data stack */
const char *remote_imap_error_text(struct remote_imap *client,
				   const char *text);
const char *remote_imap_redact(struct remote_imap *client, const char *text);
void remote_imap_add_secret(struct remote_imap *client, const char *secret);
void remote_imap_report_step(struct remote_imap *client,
			     enum remote_imap_step step, const char *detail,
			     const struct remote_imap_error *error);
/* Starts the deadline of the next step of connecting. */
void remote_imap_start_deadline(struct remote_imap *client);
/* The connect callback with this reply. */
void remote_imap_connected(struct remote_imap *client,
			   const struct remote_imap_reply *reply);
/* As remote_imap_command(), in any state. */
struct imap_command *
remote_imap_command_internal(struct remote_imap *client, enum reply_step step,
			     const char *text,
			     remote_imap_reply_callback_t *callback,
			     void *context);
/* The command with this tag that may be answered with status now, or NULL. */
struct imap_command *
remote_imap_find_command(struct remote_imap *client, const char *tag,
			 enum imap_reply_status status);
/* Takes the command off the queue, calls back and frees it. */
void remote_imap_finish_command(struct remote_imap *client,
				struct imap_command *cmd,
				const struct remote_imap_reply *reply);
/* The server says "+". */
void remote_imap_continue(struct remote_imap *client, const char *text);
/* Start or stop what watches a ready connection. */
void remote_imap_update_timers(struct remote_imap *client);
void remote_imap_update_io(struct remote_imap *client);
/* What a NO, BAD or BYE means. Strings from the data stack. */
void remote_imap_class_reply(struct remote_imap *client, enum reply_step step,
			     const char *status, const char *code,
			     const char *code_args, const char *text,
			     struct remote_imap_error *error_r);

/* The server said it will hang up: give it a moment. */
void remote_imap_expect_eof(struct remote_imap *client);

/* remote-imap-input.c */
void remote_imap_input(struct remote_imap *client);
bool remote_imap_in_response(struct remote_imap *client);
/* Words of a response code or a CAPABILITY response. */
void remote_imap_set_capabilities(struct remote_imap *client,
				  const char *const *words);
void remote_imap_forget_capabilities(struct remote_imap *client);

/* remote-imap-connect.c */
void remote_imap_connect_start(struct remote_imap *client);
void remote_imap_connect_timeout(struct remote_imap *client);
/* OK, NO, BAD, BYE or PREAUTH in the place of the greeting. */
void remote_imap_greeting(struct remote_imap *client, const char *status,
			  const char *code, const char *code_args,
			  const char *text);
/* STARTTLS was agreed to: TLS from here on. */
void remote_imap_start_tls(struct remote_imap *client);

/* remote-imap-login.c */
/* The next step between greeting and ready. */
void remote_imap_login_continue(struct remote_imap *client);

/* remote-imap-tls.c */
/* The server's name, which it is told in the handshake; NULL if an address is
   all we have, which is not for there (RFC 6066, 3). */
const char *remote_imap_tls_get_name(const struct remote_imap *client);
/* Put TLS on the streams. Returns 0, or -1 and error_r. */
int remote_imap_tls_init(struct remote_imap *client, const char **error_r);
/* Returns 1 when the handshake is over, 0 if more input is needed, -1 and
   error_r. */
int remote_imap_tls_continue(struct remote_imap *client, const char **error_r);
/* "TLSv1.3 with cipher ..., key sha256 ...", data stack */
const char *remote_imap_tls_get_detail(struct remote_imap *client);
void remote_imap_tls_deinit(struct remote_imap *client);
/* Is our own check of the certificate the only one that counts? */
bool remote_imap_tls_decides_alone(const struct remote_imap *client);

/* remote-imap-ssl-2.3.c or remote-imap-ssl-2.4.c */
/* Set client->ssl_ctx. Returns 0, or -1 and error_r. */
int remote_imap_ssl_get_context(struct remote_imap *client,
				const char **error_r);
/* Put TLS on the streams; takes over the references to the old ones, on some
   failures too. Returns 0, or -1 and error_r. */
int remote_imap_ssl_start(struct remote_imap *client, const char **error_r);

#endif
