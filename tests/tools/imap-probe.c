/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Runs the IMAP client alone against any server and prints what it tells its
   asker, one event per line: tab-separated, str_tabescape()d fields. The
   secret is the first line of standard input.

     step     <step> ok|fail <detail> [<class> <text>]
     connect  <reply>
     untagged <name> <number> <args> <code> <code args>
     begin    <seq> <size> <args>
     end      <bytes> <sha256>
     reply    <command number> <reply>
     logout   <reply>
     error    <class> <text>			how the connection ended
     stats    key=value ...

   <reply> is: OK|NO|BAD|LOST <code> <code args> <text> <class> <error text>
   <wait seconds> <detail>.

   Exits with 1 if the client broke its word: a callback too many, one missing,
   or one inside the call that asked for it. */

#include "lib.h"
#include "array.h"
#include "hash-method.h"
#include "sha2.h"
#include "hex-binary.h"
#include "imap-util.h"
#include "ioloop.h"
#include "str.h"
#include "strescape.h"
#include "strnum.h"
#include "dovecot-compat.h"
/* Dovecot has an remote-imap.h too */
#include "../../plugins/imapsync-pull/remote-imap.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

struct probe {
	struct remote_imap *client;
	struct remote_imap_settings set;
	/* commands, and for each how often it was answered */
	const char *const *commands;
	unsigned int command_count, *answers;

	/* event at which the client is deinit'ed: "connect", "begin", or with
	   a number: "untagged:3" */
	const char *deinit_at;
	/* every so many callbacks with data: pause for that long */
	unsigned int pause_every, pause_msecs, pause_countdown;
	struct timeout *to_resume;
	unsigned int pauses;
	bool no_logout, quiet, reject_literals, ask_again;

	unsigned char hash_ctx[1024];
	const struct hash_method *hash;
	uoff_t literal_size;
	unsigned int literals, literal_chunks, untagged_count;
	uoff_t max_chunk;

	bool asking, connected, logged_out, deinited, broken;
	struct timeout *to_stop, *to_started;
};

static void print_event(const char *name, const char *const *fields)
{
	string_t *line = t_str_new(256);

	str_append(line, name);
	for (; *fields != NULL; fields++) {
		str_append_c(line, '\t');
		str_append_tabescaped(line, *fields);
	}
	puts(str_c(line));
}

#define PRINT(name, ...) \
	print_event(name, (const char *const []) { __VA_ARGS__, NULL })

static const char *text_or_empty(const char *text)
{
	return text == NULL ? "" : text;
}

static void probe_complain(struct probe *probe, const char *what)
{
	PRINT("broken", what);
	probe->broken = TRUE;
}

static void probe_called(struct probe *probe)
{
	if (probe->asking)
		probe_complain(probe, "callback inside the call");
}

/* Something was read. */
static void probe_received(struct probe *probe)
{
	probe_called(probe);
	if (probe->to_resume != NULL && probe->client != NULL)
		probe_complain(probe, "callback while paused");
}

static void probe_stop(struct probe *probe)
{
	timeout_remove(&probe->to_stop);
	io_loop_stop(current_ioloop);
}

static void probe_stop_soon(struct probe *probe)
{
	if (probe->to_stop == NULL)
		probe->to_stop = timeout_add_short(0, probe_stop, probe);
}

/* Ends everything here and now if this is the event to do it at. */
static void probe_event(struct probe *probe, const char *name, unsigned int num)
{
	if (probe->deinit_at == NULL || probe->client == NULL)
		return;
	if (strcmp(probe->deinit_at, name) != 0 &&
	    strcmp(probe->deinit_at, t_strdup_printf("%s:%u", name, num)) != 0)
		return;
	PRINT("deinit", name);
	remote_imap_deinit(&probe->client);
	probe_stop_soon(probe);
}

static void probe_resume(struct probe *probe)
{
	timeout_remove(&probe->to_resume);
	if (probe->client == NULL)
		return;
	remote_imap_resume(probe->client);
	remote_imap_resume(probe->client);
}

static void probe_maybe_pause(struct probe *probe)
{
	if (probe->pause_every == 0 || probe->client == NULL ||
	    probe->to_resume != NULL || ++probe->pause_countdown <
	    probe->pause_every)
		return;
	probe->pause_countdown = 0;
	probe->pauses++;
	/* twice: pauses nest */
	remote_imap_pause(probe->client);
	remote_imap_pause(probe->client);
	probe->to_resume = timeout_add_short(probe->pause_msecs, probe_resume,
					     probe);
}

static void
print_reply(const char *name, const char *num,
	    const struct remote_imap_reply *reply)
{
	static const char *const names[] = { "OK", "NO", "BAD", "LOST" };
	const struct remote_imap_error *error = reply->error;

	PRINT(name, num, names[reply->status], text_or_empty(reply->code),
	      text_or_empty(reply->code_args), reply->text,
	      error == NULL ? "" : reply_class_name(error->class),
	      error == NULL ? "" : text_or_empty(error->text),
	      error == NULL ? "0" : dec2str(error->wait_secs),
	      error == NULL ? "" : text_or_empty(error->detail));
}

static void
probe_step(enum remote_imap_step step, const char *detail,
	   const struct remote_imap_error *error, void *context)
{
	static const char *const names[] = { "dns", "tcp", "tls", "login" };
	struct probe *probe = context;

	probe_called(probe);
	PRINT("step", names[step], error == NULL ? "ok" : "fail", detail,
	      error == NULL ? "" : reply_class_name(error->class),
	      error == NULL ? "" : error->text);
	probe_event(probe, names[step], 0);
}

static void
probe_untagged(const char *name, uint32_t num, const struct imap_arg *args,
	       const char *code, const char *code_args, void *context)
{
	struct probe *probe = context;

	probe_received(probe);
	if (!probe->quiet) {
		PRINT("untagged", name, dec2str(num),
		      args[0].type == IMAP_ARG_ATOM &&
		      args[1].type == IMAP_ARG_EOL ?
		      imap_arg_as_astring(&args[0]) : imap_args_to_str(args),
		      text_or_empty(code), text_or_empty(code_args));
	}
	probe->untagged_count++;
	probe_event(probe, "untagged", probe->untagged_count);
	probe_maybe_pause(probe);
}

static bool
probe_literal_begin(uint32_t seq, const struct imap_arg *args, uoff_t size,
		    void *context)
{
	struct probe *probe = context;

	probe_received(probe);
	if (!probe->quiet) {
		PRINT("begin", dec2str(seq), dec2str(size),
		      imap_args_to_str(args));
	}
	probe->literal_size = 0;
	if (!probe->quiet)
		probe->hash->init(probe->hash_ctx);
	probe_event(probe, "begin", ++probe->literals);
	return !probe->reject_literals;
}

static void
probe_literal_data(const unsigned char *data, size_t size, void *context)
{
	struct probe *probe = context;

	probe_received(probe);
	probe->literal_size += size;
	probe->literal_chunks++;
	probe->max_chunk = I_MAX(probe->max_chunk, size);
	probe_event(probe, "data", probe->literal_chunks);
	/* the bytes must still be there after a deinit */
	if (!probe->quiet)
		probe->hash->loop(probe->hash_ctx, data, size);
	probe_maybe_pause(probe);
}

static void probe_literal_end(void *context)
{
	struct probe *probe = context;
	unsigned char digest[SHA256_RESULTLEN];

	probe_received(probe);
	if (!probe->quiet) {
		probe->hash->result(probe->hash_ctx, digest);
		PRINT("end", dec2str(probe->literal_size),
		      binary_to_hex(digest, sizeof(digest)));
	}
	probe_event(probe, "end", probe->literals);
}

static void probe_logout_replied(const struct remote_imap_reply *reply,
				 void *context)
{
	struct probe *probe = context;

	probe_called(probe);
	if (probe->logged_out)
		probe_complain(probe, "second answer to logout");
	probe->logged_out = TRUE;
	print_reply("logout", "", reply);
	probe_event(probe, "logout", 0);
	probe_stop_soon(probe);
}

static void probe_logout(struct probe *probe)
{
	probe->asking = TRUE;
	remote_imap_logout(probe->client, probe_logout_replied, probe);
	probe->asking = FALSE;
}

static void probe_second_reply(const struct remote_imap_reply *reply,
			       void *context)
{
	struct probe *probe = context;

	probe_called(probe);
	print_reply("again", "", reply);
	probe_stop_soon(probe);
}

struct probe_command {
	struct probe *probe;
	unsigned int num;
};

static bool probe_is_answered(struct probe *probe)
{
	unsigned int i;

	for (i = 0; i < probe->command_count; i++) {
		if (probe->answers[i] == 0)
			return FALSE;
	}
	return TRUE;
}

static void
probe_command_replied(const struct remote_imap_reply *reply, void *context)
{
	struct probe_command *cmd = context;
	struct probe *probe = cmd->probe;
	unsigned int num = cmd->num;

	i_free(cmd);
	probe_called(probe);
	if (++probe->answers[num] > 1)
		probe_complain(probe, "second answer to a command");
	print_reply("reply", dec2str(num + 1), reply);
	probe_event(probe, "reply", num + 1);
	if (!probe_is_answered(probe))
		return;
	if (probe->client == NULL || probe->no_logout) {
		probe_stop_soon(probe);
	} else if (probe->ask_again) {
		probe->asking = TRUE;
		remote_imap_command(probe->client, REPLY_STEP_OTHER, "NOOP",
				    probe_second_reply, probe);
		probe->asking = FALSE;
	} else {
		probe_logout(probe);
	}
}

/* "EXAMINE <<a name>>": what is in << >> is quoted by the client. */
static const char *probe_command_text(const char *arg)
{
	string_t *str = t_str_new(256);
	const char *open, *close;

	while ((open = strstr(arg, "<<")) != NULL &&
	       (close = strstr(open, ">>")) != NULL) {
		str_append_data(str, arg, open - arg);
		remote_imap_quote(str, t_strdup_until(open + 2, close));
		arg = close + 2;
	}
	str_append(str, arg);
	return str_c(str);
}

static enum reply_step probe_command_step(const char *text)
{
	if (strncasecmp(text, "LIST", 4) == 0)
		return REPLY_STEP_LIST;
	if (strncasecmp(text, "EXAMINE", 7) == 0)
		return REPLY_STEP_SELECT;
	return strstr(text, "FETCH") != NULL ? REPLY_STEP_FETCH :
		REPLY_STEP_OTHER;
}

static void probe_send_commands(struct probe *probe)
{
	unsigned int i;

	probe->asking = TRUE;
	for (i = 0; i < probe->command_count; i++) T_BEGIN {
		struct probe_command *cmd = i_new(struct probe_command, 1);

		cmd->probe = probe;
		cmd->num = i;
		remote_imap_command(probe->client,
			probe_command_step(probe->commands[i]),
			probe_command_text(probe->commands[i]),
			probe_command_replied, cmd);
	} T_END;
	probe->asking = FALSE;
}

static void
probe_connect_replied(const struct remote_imap_reply *reply, void *context)
{
	struct probe *probe = context;

	probe_called(probe);
	if (probe->connected)
		probe_complain(probe, "second answer to connect");
	probe->connected = TRUE;
	print_reply("connect", "", reply);
	probe_event(probe, "connect", 0);
	if (reply->status != IMAP_REPLY_OK || probe->client == NULL) {
		probe_stop_soon(probe);
		return;
	}
	if (probe->command_count > 0)
		probe_send_commands(probe);
	else if (!probe->no_logout)
		probe_logout(probe);
	else
		probe_stop_soon(probe);
	probe_event(probe, "asked", 0);
}

/*
 * Command line
 */

static unsigned int get_number(const char *value)
{
	unsigned int num;

	if (str_to_uint(value, &num) < 0)
		i_fatal("Not a number: %s", value);
	return num;
}

enum {
	OPT_HOST = 256, OPT_PORT, OPT_SECURITY, OPT_LOGIN, OPT_MECHANISM,
	OPT_MASTER, OPT_CA, OPT_NO_VERIFY, OPT_PIN, OPT_CONNECT_TIMEOUT,
	OPT_IDLE_TIMEOUT, OPT_MAX_LINE, OPT_MAX_LITERAL, OPT_BUFFER, OPT_ALLOW,
	OPT_DNS, OPT_DEINIT_AT, OPT_PAUSE_EVERY, OPT_PAUSE_MSECS,
	OPT_NO_LOGOUT, OPT_QUIET, OPT_REJECT, OPT_ASK_AGAIN, OPT_DEBUG,
};

static const struct option options[] = {
	{ "host", required_argument, NULL, OPT_HOST },
	{ "port", required_argument, NULL, OPT_PORT },
	{ "security", required_argument, NULL, OPT_SECURITY },
	{ "login", required_argument, NULL, OPT_LOGIN },
	{ "mechanism", required_argument, NULL, OPT_MECHANISM },
	{ "master", required_argument, NULL, OPT_MASTER },
	{ "ca", required_argument, NULL, OPT_CA },
	{ "no-verify", no_argument, NULL, OPT_NO_VERIFY },
	{ "pin", required_argument, NULL, OPT_PIN },
	{ "connect-timeout", required_argument, NULL, OPT_CONNECT_TIMEOUT },
	{ "idle-timeout", required_argument, NULL, OPT_IDLE_TIMEOUT },
	{ "max-line", required_argument, NULL, OPT_MAX_LINE },
	{ "max-literal", required_argument, NULL, OPT_MAX_LITERAL },
	{ "buffer", required_argument, NULL, OPT_BUFFER },
	{ "allow", required_argument, NULL, OPT_ALLOW },
	{ "dns", required_argument, NULL, OPT_DNS },
	{ "deinit-at", required_argument, NULL, OPT_DEINIT_AT },
	{ "pause-every", required_argument, NULL, OPT_PAUSE_EVERY },
	{ "pause-msecs", required_argument, NULL, OPT_PAUSE_MSECS },
	{ "no-logout", no_argument, NULL, OPT_NO_LOGOUT },
	{ "quiet", no_argument, NULL, OPT_QUIET },
	{ "reject-literals", no_argument, NULL, OPT_REJECT },
	{ "ask-again", no_argument, NULL, OPT_ASK_AGAIN },
	{ "debug", no_argument, NULL, OPT_DEBUG },
	{ NULL, 0, NULL, 0 }
};

static enum account_security get_security(const char *value)
{
	if (strcmp(value, "tls") == 0)
		return ACCOUNT_SECURITY_TLS;
	if (strcmp(value, "starttls") == 0)
		return ACCOUNT_SECURITY_STARTTLS;
	if (strcmp(value, "none") == 0)
		return ACCOUNT_SECURITY_NONE;
	i_fatal("Unknown security: %s", value);
}

static void probe_defaults(struct probe *probe)
{
	struct remote_imap_settings *set = &probe->set;

	set->host = "127.0.0.1";
	set->login = "anna";
	set->auth_mechanism = "auto";
	set->security = ACCOUNT_SECURITY_NONE;
	set->tls_verify = TRUE;
	set->dns_client_socket_path = "/nonexistent/dns-client";
	set->connect_timeout_msecs = set->idle_timeout_msecs = 5000;
	set->max_line_size = 64 * 1024;
	set->input_buffer_size = 128 * 1024;
	probe->pause_msecs = 1;
	probe->hash = hash_method_lookup("sha256");
	i_assert(probe->hash->context_size <= sizeof(probe->hash_ctx));
}

static void
probe_set_option(struct probe *probe, int opt, const char *value,
		 const char **networks)
{
	struct remote_imap_settings *set = &probe->set;

	switch (opt) {
	case OPT_HOST: set->host = value; break;
	case OPT_PORT: set->port = get_number(value); break;
	case OPT_SECURITY: set->security = get_security(value); break;
	case OPT_LOGIN: set->login = value; break;
	case OPT_MECHANISM: set->auth_mechanism = value; break;
	case OPT_MASTER: set->master_user = value; break;
	case OPT_CA: set->ca_file = value; break;
	case OPT_NO_VERIFY: set->tls_verify = FALSE; break;
	case OPT_PIN: set->tls_pin = value; break;
	case OPT_CONNECT_TIMEOUT:
		set->connect_timeout_msecs = get_number(value); break;
	case OPT_IDLE_TIMEOUT:
		set->idle_timeout_msecs = get_number(value); break;
	case OPT_MAX_LINE: set->max_line_size = get_number(value); break;
	case OPT_MAX_LITERAL: set->max_literal_size = get_number(value); break;
	case OPT_BUFFER: set->input_buffer_size = get_number(value); break;
	case OPT_ALLOW: *networks = value; break;
	case OPT_DNS: set->dns_client_socket_path = value; break;
	case OPT_DEINIT_AT: probe->deinit_at = value; break;
	case OPT_PAUSE_EVERY: probe->pause_every = get_number(value); break;
	case OPT_PAUSE_MSECS: probe->pause_msecs = get_number(value); break;
	case OPT_NO_LOGOUT: probe->no_logout = TRUE; break;
	case OPT_QUIET: probe->quiet = TRUE; break;
	case OPT_REJECT: probe->reject_literals = TRUE; break;
	case OPT_ASK_AGAIN: probe->ask_again = TRUE; break;
	case OPT_DEBUG: event_set_forced_debug(set->event_parent, TRUE); break;
	default: exit(64);
	}
}

static const char *read_secret(void)
{
	static char line[64 * 1024];

	if (fgets(line, sizeof(line), stdin) == NULL)
		return "";
	/* "\r" and "\n" in it are written as such */
	line[strcspn(line, "\n")] = '\0';
	return line;
}

/* Peak of this program alone: getrusage() counts what was before exec() too. */
static unsigned int get_max_rss_kb(void)
{
	char line[256];
	unsigned int kb = 0;
	FILE *file = fopen("/proc/self/status", "r");

	if (file == NULL)
		i_fatal("open(/proc/self/status) failed: %m");
	while (fgets(line, sizeof(line), file) != NULL) {
		if (sscanf(line, "VmHWM: %u", &kb) == 1)
			break;
	}
	fclose(file);
	return kb;
}

static void print_stats(struct probe *probe, uoff_t in, uoff_t out)
{
	struct rusage usage;

	if (getrusage(RUSAGE_SELF, &usage) < 0)
		i_fatal("getrusage() failed: %m");
	PRINT("stats",
	      t_strdup_printf("max_rss_kb=%u", get_max_rss_kb()),
	      t_strdup_printf("user_usecs=%lld",
		(long long)usage.ru_utime.tv_sec * 1000000 +
		usage.ru_utime.tv_usec),
	      t_strdup_printf("in=%"PRIuUOFF_T, in),
	      t_strdup_printf("out=%"PRIuUOFF_T, out),
	      t_strdup_printf("literals=%u", probe->literals),
	      t_strdup_printf("chunks=%u", probe->literal_chunks),
	      t_strdup_printf("max_chunk=%"PRIuUOFF_T, probe->max_chunk),
	      t_strdup_printf("untagged=%u", probe->untagged_count),
	      t_strdup_printf("pauses=%u", probe->pauses));
}

static void probe_finish(struct probe *probe)
{
	const struct remote_imap_error *error;
	uoff_t in = 0, out = 0;

	if (probe->client != NULL) {
		remote_imap_get_traffic(probe->client, &in, &out);
		error = remote_imap_get_error(probe->client);
		if (error != NULL) {
			PRINT("error", reply_class_name(error->class),
			      error->text);
		}
		remote_imap_deinit(&probe->client);
	}
	timeout_remove(&probe->to_resume);
	timeout_remove(&probe->to_stop);
	timeout_remove(&probe->to_started);
	if (!probe->connected)
		probe_complain(probe, "connect was never answered");
	print_stats(probe, in, out);
}

/* It waits for something now: a name, or an address. */
static void probe_started(struct probe *probe)
{
	timeout_remove(&probe->to_started);
	probe_event(probe, "started", 0);
}

static void probe_run(struct probe *probe)
{
	static const struct remote_imap_callbacks callbacks = {
		.step = probe_step,
		.untagged = probe_untagged,
		.literal_begin = probe_literal_begin,
		.literal_data = probe_literal_data,
		.literal_end = probe_literal_end,
	};

	probe->client = remote_imap_init(&probe->set, &callbacks, probe);
	probe->asking = TRUE;
	remote_imap_connect(probe->client, probe_connect_replied, probe);
	probe->asking = FALSE;
	probe_event(probe, "start", 0);
	probe->to_started = timeout_add_short(0, probe_started, probe);
	io_loop_run(current_ioloop);
	probe_finish(probe);
}

int main(int argc, char *argv[])
{
	struct ioloop *ioloop;
	struct probe probe;
	struct net_policy policy;
	const char *error, *networks = "127.0.0.0/8 ::1";
	pool_t pool;
	int opt;

	lib_init();
	/* as services of Dovecot do */
	signal(SIGPIPE, SIG_IGN);
	ioloop = io_loop_create();
	pool = pool_alloconly_create("probe", 1024);
	i_zero(&probe);
	probe_defaults(&probe);
	probe.set.event_parent = event_create(NULL);
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1)
		probe_set_option(&probe, opt, optarg, &networks);
	if (net_policy_parse(pool, networks, "any", &policy, &error) < 0)
		i_fatal("--allow: %s", error);
	probe.set.policy = &policy;
	probe.set.secret = read_secret();
	probe.commands = (const char *const *)&argv[optind];
	probe.command_count = argc - optind;
	probe.answers = p_new(pool, unsigned int, probe.command_count + 1);

	probe_run(&probe);

	event_unref(&probe.set.event_parent);
	pool_unref(&pool);
	io_loop_destroy(&ioloop);
	lib_deinit();
	return probe.broken ? 1 : 0;
}
