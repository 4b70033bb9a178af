/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "ioloop.h"
#include "istream.h"
#include "lib-event.h"
#include "lib-signals.h"
#include "master-service.h"
#include "net.h"
#include "str.h"
#include "strescape.h"
#include "strnum.h"
#include "dovecot-compat.h"
#include "channel-http.h"
#include "channel-mail.h"
#include "channel-webhook.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

/* cred-notify's channels, driven by lines on standard input. For tests.

   Arguments are settings, NAME=VALUE (see options). Lines, words separated by
   tabs:
     tell NUMBER mail|outside|webhook USER ADDRESSES INCIDENT SAID LANGUAGE
     notice USER INCIDENT SAID	it stands, and is pushed
     gone USER ID		it does no longer
     list now|later|never|fail	how lists are answered from now on
     drop			answer to the lists that were asked for "later"
     quit
   Said on standard output: "ready PORT", "answer NUMBER RESULT RETRY ERROR",
   "pushed ID COUNT", "listing USER", "shown USER ID", "ack USER ID", "closed",
   "end". */

#define STANDING_MAX 2000

struct standing {
	char *user;
	char *id;
	struct notice notice;
};

struct list_waiting {
	char *user;
	channel_http_list_callback_t *callback;
	void *context;
};

struct telling {
	char *number;
};

struct tool {
	struct event *event;
	struct channel_mail_settings mail_set;
	struct channel_webhook_settings webhook_set;
	struct channel_http_settings http_set;
	bool http_wanted;

	struct channel *mail, *webhook;
	struct channel_http *http;
	int listen_fd;
	struct io *io_listen, *io_input;
	struct istream *input;

	struct standing standing[STANDING_MAX];
	unsigned int standing_count;
	const char *list_mode;
	ARRAY(struct list_waiting) waiting;
};

static void say(const char *const *words)
{
	printf("%s\n", t_strarray_join(words, "\t"));
	fflush(stdout);
}
#define SAY(...) say((const char *const []){ __VA_ARGS__, NULL })

/*
 * Notices
 */

static void make_notice(struct notice *notice, const char *user,
			unsigned int incident, unsigned int said)
{
	i_zero(notice);
	notice->kind = said == 1 ? NOTICE_KIND_TROUBLE : NOTICE_KIND_RECOVERY;
	notice->state.subject.origin = NOTICE_ORIGIN_ACCOUNT;
	notice->state.subject.user = user;
	notice->state.subject.account = "a1";
	notice->state.label = "Work <b>http://evil.example/</b>";
	notice->state.incident = incident;
	notice->state.said = said;
	notice->state.told_class = NOTICE_CLASS_CREDENTIAL;
	notice->state.told_time = 1700000000 + incident;
	notice->state.first_time = 1700000000;
	notice->state.last_time = 1700000000;
	notice->state.count = notice->new_count = 3;
}

static unsigned int get_uint(const char *text)
{
	unsigned int value;

	if (str_to_uint(text, &value) < 0)
		i_fatal("no number: %s", text);
	return value;
}

/*
 * Channels that are told
 */

static void told(const struct channel_answer *answer, void *context)
{
	static const char *const names[] = { "told", "later", "failed" };
	struct telling *telling = context;

	SAY("answer", telling->number, names[answer->result],
	    dec2str(answer->retry_secs),
	    answer->error == NULL ? "-" : answer->error);
	i_free(telling->number);
	i_free(telling);
}

static void cmd_tell(struct tool *tool, const char *const *args)
{
	struct telling *telling = i_new(struct telling, 1);
	struct audience_user user = {
		.name = args[2],
		.addresses = t_strsplit_spaces(args[3], ","),
		.language = args[6],
	};
	struct notice notice;
	struct channel_telling channel_telling = {
		.notice = &notice,
		.user = &user,
		.id = t_strconcat(args[4], ".", args[5], NULL),
		.channel = AUDIENCE_MAIL,
	};
	struct channel *channel = tool->mail;

	make_notice(&notice, args[2], get_uint(args[4]), get_uint(args[5]));
	if (strcmp(args[1], "outside") == 0)
		channel_telling.channel = AUDIENCE_MAIL_OUTSIDE;
	if (strcmp(args[1], "webhook") == 0) {
		channel_telling.channel = AUDIENCE_WEBHOOK;
		channel_telling.user = NULL;
		channel = tool->webhook;
	}
	telling->number = i_strdup(args[0]);
	channel->v.tell(channel, &channel_telling, told, telling);
}

/*
 * HTTP
 */

static void
list_answer(struct tool *tool, const char *user,
	    channel_http_list_callback_t *callback, void *context)
{
	struct channel_http_item *items =
		t_new(struct channel_http_item, tool->standing_count + 1);
	unsigned int i, count = 0;

	if (strcmp(tool->list_mode, "fail") == 0) {
		callback(NULL, 0, "the test says so", context);
		return;
	}
	for (i = 0; i < tool->standing_count; i++) {
		if (strcmp(tool->standing[i].user, user) != 0)
			continue;
		items[count].notice = &tool->standing[i].notice;
		items[count].id = tool->standing[i].id;
		items[count++].language = "en";
	}
	callback(items, count, NULL, context);
}

static void tool_list(void *context, const char *user,
		      channel_http_list_callback_t *callback,
		      void *list_context)
{
	struct tool *tool = context;
	struct list_waiting waiting = {
		.callback = callback,
		.context = list_context,
	};

	if (strcmp(tool->list_mode, "later") != 0) {
		list_answer(tool, user, callback, list_context);
		return;
	}
	waiting.user = i_strdup(user);
	array_push_back(&tool->waiting, &waiting);
	SAY("listing", user);
}

static void cmd_drop(struct tool *tool, const char *const *args ATTR_UNUSED)
{
	struct list_waiting *waiting;

	array_foreach_modifiable(&tool->waiting, waiting) {
		list_answer(tool, waiting->user, waiting->callback,
			    waiting->context);
		i_free(waiting->user);
	}
	array_clear(&tool->waiting);
}

static void tool_shown(void *context ATTR_UNUSED, const char *user,
		       const char *id)
{
	SAY("shown", user, id);
}

static int tool_ack(void *context, const char *user, const char *id)
{
	struct tool *tool = context;
	unsigned int i;

	if (strcmp(tool->list_mode, "fail") == 0)
		return -1;
	for (i = 0; i < tool->standing_count; i++) {
		if (strcmp(tool->standing[i].user, user) == 0 &&
		    strcmp(tool->standing[i].id, id) == 0) {
			tool->standing[i].notice.state.acked = TRUE;
			SAY("ack", user, id);
			return 1;
		}
	}
	return 0;
}

static void tool_closed(void *context ATTR_UNUSED)
{
	SAY("closed");
}

static const struct channel_http_callbacks http_callbacks = {
	.list = tool_list,
	.shown = tool_shown,
	.ack = tool_ack,
	.closed = tool_closed,
};

static void cmd_notice(struct tool *tool, const char *const *args)
{
	struct standing *standing;
	struct channel_http_item item = { .language = "en" };

	if (tool->standing_count == STANDING_MAX)
		i_fatal("too many notices");
	standing = &tool->standing[tool->standing_count++];
	standing->user = i_strdup(args[0]);
	standing->id = i_strconcat(args[1], ".", args[2], NULL);
	make_notice(&standing->notice, standing->user, get_uint(args[1]),
		    get_uint(args[2]));
	item.notice = &standing->notice;
	item.id = standing->id;
	SAY("pushed", item.id, dec2str(channel_http_push(tool->http, args[0],
							 &item)));
}

static void cmd_gone(struct tool *tool, const char *const *args)
{
	unsigned int i;

	for (i = 0; i < tool->standing_count; i++) {
		struct standing *standing = &tool->standing[i];

		if (strcmp(standing->user, args[0]) == 0 &&
		    strcmp(standing->id, args[1]) == 0)
			break;
	}
	if (i == tool->standing_count)
		i_fatal("no such notice: %s", args[1]);
	i_free(tool->standing[i].user);
	i_free(tool->standing[i].id);
	tool->standing_count--;
	memmove(&tool->standing[i], &tool->standing[i + 1],
		sizeof(tool->standing[0]) * (tool->standing_count - i));
	SAY("pushed", args[1], dec2str(channel_http_gone(tool->http, args[0],
							 args[1])));
}

static void cmd_list(struct tool *tool, const char *const *args)
{
	static const char *const modes[] = { "now", "later", "fail", NULL };
	unsigned int i;

	for (i = 0; modes[i] != NULL && strcmp(modes[i], args[0]) != 0; i++) ;
	if (modes[i] == NULL)
		i_fatal("no way to list: %s", args[0]);
	tool->list_mode = modes[i];
	SAY("listed", modes[i]);
}

static void cmd_quit(struct tool *tool ATTR_UNUSED,
		     const char *const *args ATTR_UNUSED)
{
	io_loop_stop(current_ioloop);
}

static void tool_accept(struct tool *tool)
{
	struct channel_http_peer peer;

	i_zero(&peer);
	peer.fd = net_accept(tool->listen_fd, &peer.remote_ip,
			     &peer.remote_port);
	if (peer.fd < 0)
		return;
	net_set_nonblock(peer.fd, TRUE);
	if (net_getsockname(peer.fd, &peer.local_ip, &peer.local_port) < 0)
		i_fatal("getsockname() failed: %m");
	channel_http_accept(tool->http, &peer);
}

/*
 * Lines
 */

static const struct {
	const char *name;
	unsigned int args;
	void (*run)(struct tool *tool, const char *const *args);
} commands[] = {
	{ "tell", 7, cmd_tell },
	{ "notice", 3, cmd_notice },
	{ "gone", 2, cmd_gone },
	{ "list", 1, cmd_list },
	{ "drop", 0, cmd_drop },
	{ "quit", 0, cmd_quit },
};

static void tool_run_line(struct tool *tool, const char *line)
{
	const char *const *words = t_strsplit(line, "\t");
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(commands); i++) {
		if (strcmp(words[0], commands[i].name) == 0 &&
		    str_array_length(words + 1) == commands[i].args) {
			commands[i].run(tool, words + 1);
			return;
		}
	}
	i_fatal("not understood: %s", line);
}

static void tool_read(struct tool *tool)
{
	const char *line;
	ssize_t ret = i_stream_read(tool->input);

	while ((line = i_stream_next_line(tool->input)) != NULL) T_BEGIN {
		tool_run_line(tool, line);
	} T_END;
	if (ret == -1)
		io_loop_stop(current_ioloop);
}

/*
 * Settings
 */

struct option {
	const char *name;
	/* where in struct tool */
	size_t offset;
	enum { OPTION_STR, OPTION_UINT, OPTION_BOOL } type;
};
#define OPTION(name, type, member) \
	{ name, offsetof(struct tool, member), OPTION_##type }

static const struct option options[] = {
	OPTION("lmtp", STR, mail_set.lmtp_path),
	OPTION("submission_host", STR, mail_set.submission_host),
	OPTION("submission_ssl", STR, mail_set.submission_ssl),
	OPTION("sendmail", STR, mail_set.sendmail_path),
	OPTION("ca", STR, mail_set.tls.ca_file),
	OPTION("from", STR, mail_set.from),
	OPTION("timeout", UINT, mail_set.timeout_secs),
	OPTION("in_flight", UINT, mail_set.max_in_flight),
	OPTION("url", STR, webhook_set.url),
	OPTION("secret", STR, webhook_set.secret),
	OPTION("auth", STR, http_set.auth_socket_path),
	OPTION("origins", STR, http_set.origins),
	OPTION("proxies", STR, http_set.proxies),
	OPTION("cleartext", BOOL, http_set.allow_cleartext),
	OPTION("max_clients", UINT, http_set.max_clients),
	OPTION("max_streams", UINT, http_set.max_streams),
	OPTION("per_user", UINT, http_set.max_streams_per_user),
	OPTION("buffer", UINT, http_set.buffer_size),
	OPTION("ping", UINT, http_set.ping_secs),
	OPTION("stream", UINT, http_set.stream_secs),
	OPTION("idle", UINT, http_set.idle_secs),
	OPTION("token", UINT, http_set.token_secs),
	OPTION("http", BOOL, http_wanted),
};

static void tool_set_default(struct tool *tool)
{
	tool->list_mode = "now";
	tool->mail_set = (struct channel_mail_settings){
		.lmtp_path = "", .submission_host = "", .submission_ssl = "",
		.sendmail_path = "", .tls.ca_file = "", .tls.ca_dir = "",
		.dns_client_socket_path = "",
		.from = "postmaster@example.org", .hostname = "mx.example.org",
		.base_url = "https://admin.example.org/", .language = "en",
		.journal_id = 0x1234, .timeout_secs = 10, .max_in_flight = 5,
	};
	tool->webhook_set = (struct channel_webhook_settings){
		.url = "", .secret = "", .language = "en",
		.base_url = "https://admin.example.org/",
		.journal_id = 0x1234, .dns_client_socket_path = "",
		.max_retry_secs = 3600,
	};
	tool->http_set = (struct channel_http_settings){
		.auth_socket_path = "", .origins = "", .proxies = "",
		.base_url = "https://admin.example.org/",
		.max_clients = 1000, .max_streams = 1000,
		.max_streams_per_user = 10, .buffer_size = 256 * 1024,
		.ping_secs = 15, .stream_secs = 3600, .idle_secs = 60,
		.token_secs = 600,
	};
}

static void tool_set(struct tool *tool, const char *arg)
{
	const char *value = strchr(arg, '=');
	const char *name = value == NULL ? arg : t_strdup_until(arg, value);
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(options); i++) {
		void *member = PTR_OFFSET(tool, options[i].offset);

		if (value == NULL || strcmp(options[i].name, name) != 0)
			continue;
		if (options[i].type == OPTION_STR)
			*(const char **)member = value + 1;
		else if (options[i].type == OPTION_UINT)
			*(unsigned int *)member = get_uint(value + 1);
		else
			*(bool *)member = strcmp(value + 1, "yes") == 0;
		return;
	}
	i_fatal("no such setting: %s", arg);
}

/*
 * Life
 */

static void tool_listen(struct tool *tool)
{
	struct ip_addr ip;
	in_port_t port = 0;

	if (net_addr2ip("127.0.0.1", &ip) < 0)
		i_unreached();
	tool->listen_fd = net_listen(&ip, &port, 512);
	if (tool->listen_fd < 0)
		i_fatal("listen() failed: %m");
	tool->io_listen = io_add(tool->listen_fd, IO_READ, tool_accept, tool);
	tool->http = channel_http_init(&tool->http_set, &http_callbacks, tool,
				       tool->event);
	SAY("ready", dec2str(port));
}

static void tool_start(struct tool *tool)
{
	const char *error;

	tool->webhook_set.tls = tool->mail_set.tls;
	tool->webhook_set.timeout_secs = tool->mail_set.timeout_secs;
	tool->webhook_set.max_in_flight = tool->mail_set.max_in_flight;
	tool->mail = channel_mail_init(&tool->mail_set, tool->event, &error);
	if (tool->mail == NULL)
		i_fatal("%s", error);
	if (*tool->webhook_set.url != '\0') {
		tool->webhook = channel_webhook_init(&tool->webhook_set,
						     tool->event, &error);
		if (tool->webhook == NULL)
			i_fatal("%s", error);
	}
	tool->input = i_stream_create_fd(STDIN_FILENO, 64 * 1024);
	tool->io_input = io_add_istream(tool->input, tool_read, tool);
	if (tool->http_wanted)
		tool_listen(tool);
	else
		SAY("ready", "0");
}

static void tool_stop(struct tool *tool)
{
	struct list_waiting *waiting;
	unsigned int i;

	io_remove(&tool->io_listen);
	io_remove(&tool->io_input);
	i_stream_unref(&tool->input);
	if (tool->http != NULL)
		channel_http_deinit(&tool->http);
	i_close_fd(&tool->listen_fd);
	tool->mail->v.deinit(tool->mail);
	if (tool->webhook != NULL)
		tool->webhook->v.deinit(tool->webhook);
	for (i = 0; i < tool->standing_count; i++) {
		i_free(tool->standing[i].user);
		i_free(tool->standing[i].id);
	}
	array_foreach_modifiable(&tool->waiting, waiting)
		i_free(waiting->user);
	array_free(&tool->waiting);
	event_unref(&tool->event);
	SAY("end");
}

int main(int argc, char *argv[])
{
	const enum master_service_flags flags = MASTER_SERVICE_FLAG_STANDALONE |
		MASTER_SERVICE_FLAG_DONT_SEND_STATS |
		MASTER_SERVICE_FLAG_NO_CONFIG_SETTINGS |
		MASTER_SERVICE_FLAG_NO_SSL_INIT;
	struct tool *tool;
	int i;

	master_service = master_service_init("cred-channel", flags, &argc,
					     &argv, "");
	if (master_getopt(master_service) > 0)
		return FATAL_DEFAULT;
	master_service_init_log(master_service);
	master_service_init_finish(master_service);
	signal(SIGPIPE, SIG_IGN);

	tool = i_new(struct tool, 1);
	tool->listen_fd = -1;
	tool->event = event_create(NULL);
	i_array_init(&tool->waiting, 4);
	tool_set_default(tool);
	for (i = optind; i < argc; i++)
		tool_set(tool, argv[i]);
	tool_start(tool);
	io_loop_run(current_ioloop);
	tool_stop(tool);
	i_free(tool);
	master_service_deinit(&master_service);
	return 0;
}
