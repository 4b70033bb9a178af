#ifndef IMAPSYNC_REMOTE_IMAP_H
#define IMAPSYNC_REMOTE_IMAP_H

#include "net.h"
#include "imap-arg.h"
#include "core/net-policy.h"
#include "core/reply-class.h"
#include "core/account.h"

/* One IMAP connection to a server that is not trusted. Commands are pipelined,
   literals of message bodies are streamed, every wait has a deadline, every
   size a limit. Runs in the ioloop that was current at remote_imap_init(), and
   opens one connection in its life.

   A callback is never called before the call that asked for it returns, and
   exactly once: on success, failure and abort alike. Any callback may deinit
   the client; what it was given stays valid until it returns.

   The process must ignore SIGPIPE, as Dovecot's services do. (Dovecot installs
   an remote-imap.h of its own: outside this directory include ours by path.) */

struct remote_imap;

struct remote_imap_settings {
	const char *host;
	in_port_t port;
	enum account_security security;
	/* issuer, dates and host name of the certificate must be right */
	bool tls_verify;
	/* hex SHA-256 of the SubjectPublicKeyInfo, or NULL. It names the one
	   key that is right: nothing else is asked of the certificate then (as
	   RFC 7671, 5.1 has it), and no other certificate is good enough. */
	const char *tls_pin;
	/* CA bundle, NULL or "" = the system's */
	const char *ca_file;

	const char *login, *secret;
	/* SASL authentication id if it is not login (login is authzid then) */
	const char *master_user;
	/* SASL mechanism, or "auto": the safest one for passwords that both
	   sides have, else the LOGIN command unless LOGINDISABLED */
	const char *auth_mechanism;

	/* addresses that may be connected to; the one checked is the one
	   connected to. Must outlive the client. */
	const struct net_policy *policy;
	/* dns-client socket, absolute path */
	const char *dns_client_socket_path;

	/* DNS, TCP connect (per address), TLS handshake, greeting, each command
	   of the login: all of it, however the bytes drip in */
	unsigned int connect_timeout_msecs;
	/* no byte from the server while a command waits; also the stretch over
	   which an unfinished response must come in at 16 kB a minute */
	unsigned int idle_timeout_msecs;
	/* longest line outside streamed literals, longest response without
	   them, and largest literal that is not a message body. The input
	   buffer grows to twice this if it must. */
	size_t max_line_size;
	/* largest streamed literal accepted, 0 = any; a bigger announcement
	   ends the connection */
	uoff_t max_literal_size;
	/* input buffer: the largest piece a literal comes in */
	size_t input_buffer_size;
	/* a silent connection is probed so often (TCP keepalive), 0 = never */
	unsigned int keepalive_secs;
	struct event *event_parent;
};

/* Why the connection, or one command, failed. Strings live until the callback
   returns, those of remote_imap_get_error() as long as the client. */
struct remote_imap_error {
	enum reply_class class;
	/* for the admin, one line, remote words already redacted:
	   "imap.example.org:993: TLS: certificate has expired" */
	const char *text;
	/* more for the admin's log alone, or NULL: which addresses were tried
	   and why each of them failed */
	const char *detail;
	/* what the server asked to wait, 0 = it did not */
	unsigned int wait_secs;
	/* what the owner must do */
	enum reply_hint hint;
	/* of class folder or message: may come right by itself */
	bool passing;
};

enum imap_reply_status {
	IMAP_REPLY_OK,
	IMAP_REPLY_NO,
	IMAP_REPLY_BAD,
	/* connection ended before the tagged reply */
	IMAP_REPLY_LOST,
};

struct remote_imap_reply {
	enum imap_reply_status status;
	/* response code name in upper case or NULL, and its arguments, raw */
	const char *code, *code_args;
	/* the words behind the code, raw, never NULL: only for reply_class and
	   redact */
	const char *text;
	/* set unless status is OK: classed by the step of the command */
	const struct remote_imap_error *error;
};

typedef void remote_imap_reply_callback_t(const struct remote_imap_reply *reply,
					  void *context);

/* Steps of connecting, for account test; each is reported when it is over. */
enum remote_imap_step {
	REMOTE_IMAP_STEP_DNS,
	REMOTE_IMAP_STEP_TCP,
	REMOTE_IMAP_STEP_TLS,
	REMOTE_IMAP_STEP_LOGIN,
};

struct remote_imap_callbacks {
	/* One step of connecting is over. error is NULL on success; detail
	   says what was reached ("192.0.2.7:993", "TLSv1.3 ..."), never NULL,
	   printable. May be NULL. */
	void (*step)(enum remote_imap_step step, const char *detail,
		     const struct remote_imap_error *error, void *context);

	/* Untagged response. name is upper case ("FETCH", "LIST", "EXISTS",
	   "OK", ...). num is the number before the name, or 0. args follow the
	   name, as sent: nothing is known of them but that they parse (and that
	   FETCH has one list of name-value pairs). For OK/NO/BAD/BYE args hold
	   the text as one atom, and code, code_args are set. For FETCH with a
	   streamed literal: called once, after the literal, with the literal
	   itself missing from args (its BODY[...] item followed by an empty
	   string). Responses from before the end of the login are not shown. */
	void (*untagged)(const char *name, uint32_t num,
			 const struct imap_arg *args,
			 const char *code, const char *code_args,
			 void *context);

	/* A message body literal (BODY[...] or RFC822 item of a FETCH) begins;
	   size is exact. args_before are those of untagged() as far as they
	   came, ending in the item itself and an empty string. A body sent as
	   a quoted string that is not empty takes this way too. Return FALSE
	   to have it read and thrown away: no literal_data(), no
	   literal_end(). */
	bool (*literal_begin)(uint32_t seq, const struct imap_arg *args_before,
			      uoff_t size, void *context);
	/* Its next bytes. */
	void (*literal_data)(const unsigned char *data, size_t size,
			     void *context);
	/* All announced bytes are there. Whether the announcement was true is
	   known at the untagged() of this response, and what is needed to
	   accept the message, the UID say, may still follow there: do not
	   accept it before. A connection that dies in the middle calls nothing
	   more than the pending reply callbacks with LOST. */
	void (*literal_end)(void *context);

	/* The connection ended after the login, and no command waited that
	   could say so; see remote_imap_get_error(). May be NULL. */
	void (*closed)(void *context);
};

struct remote_imap *
remote_imap_init(const struct remote_imap_settings *set,
		 const struct remote_imap_callbacks *callbacks, void *context);
/* Disconnects without goodbye and aborts what is pending: the callbacks are
   called with LOST before this returns. */
void remote_imap_deinit(struct remote_imap **client);

/* Resolve, check, connect, TLS, greeting, login. callback gets OK or the
   failure: NO or BAD with code and words if the server refused the login, else
   LOST; the connection is closed then. After OK the capabilities are those
   announced after login. */
void remote_imap_connect(struct remote_imap *client,
			 remote_imap_reply_callback_t *callback, void *context);

/* TRUE if the server announced it (case-insensitive). */
bool remote_imap_has_capability(struct remote_imap *client, const char *name);

/* Queue a command, without tag and CRLF. Sent at once behind those before it;
   LOST if the connection is closed. Not before the connect callback said OK.
   step classes its failure. A command may hold arguments written by
   remote_imap_quote() only: never raw remote or user bytes. callback may be
   NULL: nobody waits for the answer. */
void remote_imap_command(struct remote_imap *client, enum reply_step step,
			 const char *command,
			 remote_imap_reply_callback_t *callback, void *context);
/* IDLE (RFC 2177), behind the commands before it. Its deadline rests between
   the server's "+" and remote_imap_idle_done(), which ends it. The next command
   has to wait for its callback. A server may end it by itself. */
void remote_imap_idle(struct remote_imap *client,
		      remote_imap_reply_callback_t *callback, void *context);
/* Once, and not after the callback. */
void remote_imap_idle_done(struct remote_imap *client);
/* Append an astring: quoted if it can be, else a literal, which the client
   sends when the server asks for it (or at once with LITERAL+ / LITERAL-,
   RFC 7888). */
void remote_imap_quote(string_t *dest, const char *value);

/* Stop and go on reading from the server: back-pressure. Deadlines rest while
   paused. Pauses nest. Nothing is read while paused, from within a callback
   too: what is buffered waits for the ioloop after the resume (only a body that
   came as a quoted string is given to its end). Not before the connect callback
   said OK. */
void remote_imap_pause(struct remote_imap *client);
void remote_imap_resume(struct remote_imap *client);

/* What ended the connection, or NULL while it lives. */
const struct remote_imap_error *
remote_imap_get_error(struct remote_imap *client);

/* LOGOUT; callback after the server's answer, EOF or 2 seconds. */
void remote_imap_logout(struct remote_imap *client,
			remote_imap_reply_callback_t *callback, void *context);

/* Bytes read from and written to the server so far, TLS payload. */
void remote_imap_get_traffic(struct remote_imap *client, uoff_t *in_r,
			     uoff_t *out_r);

#endif
