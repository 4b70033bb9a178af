/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "array.h"
#include "ioloop.h"
#include "istream.h"
#include "net.h"
#include "str.h"
#include "strescape.h"
#include "dovecot-compat.h"
#include "feed.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/stat.h>

/* Stands in the cred-notify service's place: its end of the feed, and what is
   pending in memory. For tests. Reads from standard input, one line each,
   fields with tabs between them:
     notice USER ID flash|live TEXT   tell those who listen; a flash stays
				      pending until it is shown
     gone USER ID
     uid USER UID                     what the userdb would say
     count                            of connections
   and writes what happens:
     sub USER SESSION secured|insecure unhibernated|new
     shown USER ID flash|live SESSION
     refused USER UID
     told COUNT, count COUNT          answers to notice and count
   It ends with its standard input. */

static const char usage_text[] =
"usage: cred-feed SOCKET MAX_CONNECTIONS MAX_SESSIONS\n";

struct pending {
	char *user, *id, *text;
};

struct user_uid {
	char *user;
	uid_t uid;
};

struct tool {
	struct feed *feed;
	ARRAY(struct pending) pending;
	ARRAY(struct user_uid) uids;
	struct istream *input;
	int fd_listen;
};

static void tool_check(void *context, uint64_t number, const char *user,
		       uid_t uid)
{
	struct tool *tool = context;
	const struct user_uid *known;
	bool may = FALSE;

	array_foreach(&tool->uids, known) {
		if (strcmp(known->user, user) == 0)
			may = known->uid == uid;
	}
	if (!may)
		printf("refused\t%s\t%ld\n", user, (long)uid);
	feed_admit(tool->feed, number, may);
}

static void
tool_subscribed(void *context, const struct feed_session_info *info)
{
	struct tool *tool = context;
	const struct pending *pending;

	printf("sub\t%s\t%s\t%s\t%s\n", info->user, info->session,
	       info->secured ? "secured" : "insecure",
	       info->unhibernated ? "unhibernated" : "new");
	array_foreach(&tool->pending, pending) {
		const struct feed_notice notice = {
			.id = pending->id,
			.text = pending->text,
			.channel = FEED_FLASH,
		};

		if (strcmp(pending->user, info->user) == 0)
			(void)feed_tell(tool->feed, info->number, &notice);
	}
}

static void tool_forget(struct tool *tool, const char *user, const char *id)
{
	struct pending *pending;

	array_foreach_modifiable(&tool->pending, pending) {
		if (strcmp(pending->user, user) != 0 ||
		    strcmp(pending->id, id) != 0)
			continue;
		i_free(pending->user);
		i_free(pending->id);
		i_free(pending->text);
		array_delete(&tool->pending,
			     array_ptr_to_idx(&tool->pending, pending), 1);
		return;
	}
}

static void tool_shown(void *context, const struct feed_session_info *info,
		       const char *id, enum feed_channel channel)
{
	struct tool *tool = context;

	printf("shown\t%s\t%s\t%s\t%s\n", info->user, id,
	       feed_channel_name(channel), info->session);
	if (channel == FEED_FLASH)
		tool_forget(tool, info->user, id);
}

static void tool_closed(void *context ATTR_UNUSED)
{
}

static const struct feed_callbacks callbacks = {
	.check = tool_check,
	.subscribed = tool_subscribed,
	.shown = tool_shown,
	.closed = tool_closed,
};

static void tool_notice(struct tool *tool, const char *const *args)
{
	const struct feed_notice notice = {
		.id = args[1],
		.channel = strcmp(args[2], "flash") == 0 ?
			FEED_FLASH : FEED_LIVE,
		.text = args[3],
	};
	struct pending *pending;

	if (notice.channel == FEED_FLASH) {
		pending = array_append_space(&tool->pending);
		pending->user = i_strdup(args[0]);
		pending->id = i_strdup(notice.id);
		pending->text = i_strdup(notice.text);
	}
	printf("told\t%u\n", feed_tell_user(tool->feed, args[0], &notice));
}

static void tool_uid(struct tool *tool, const char *const *args)
{
	struct user_uid *known = array_append_space(&tool->uids);

	known->user = i_strdup(args[0]);
	known->uid = strtoul(args[1], NULL, 10);
}

static void tool_line(struct tool *tool, const char *const *args)
{
	unsigned int count = str_array_length(args);

	if (count == 5 && strcmp(args[0], "notice") == 0)
		tool_notice(tool, args + 1);
	else if (count == 3 && strcmp(args[0], "gone") == 0) {
		tool_forget(tool, args[1], args[2]);
		feed_gone(tool->feed, args[1], args[2]);
	} else if (count == 3 && strcmp(args[0], "uid") == 0)
		tool_uid(tool, args + 1);
	else if (count == 1 && strcmp(args[0], "count") == 0)
		printf("count\t%u\n", feed_connection_count(tool->feed));
	else
		i_fatal("unknown: %s", t_strarray_join(args, " "));
}

static void tool_input(struct tool *tool)
{
	const char *line;

	if (i_stream_read(tool->input) < 0) {
		io_loop_stop(current_ioloop);
		return;
	}
	while ((line = i_stream_next_line(tool->input)) != NULL) T_BEGIN {
		tool_line(tool, t_strsplit(line, "\t"));
	} T_END;
}

static void tool_accept(struct tool *tool)
{
	int fd = net_accept(tool->fd_listen, NULL, NULL);

	if (fd >= 0)
		feed_accept(tool->feed, fd);
}

static void tool_run(struct tool *tool)
{
	struct io *io_listen, *io_input;

	io_listen = io_add(tool->fd_listen, IO_READ, tool_accept, tool);
	tool->input = i_stream_create_fd(STDIN_FILENO, 64*1024);
	io_input = io_add_istream(tool->input, tool_input, tool);
	puts("ready");
	io_loop_run(current_ioloop);
	io_remove(&io_input);
	io_remove(&io_listen);
	i_stream_destroy(&tool->input);
}

static void tool_free(struct tool *tool)
{
	const struct pending *pending;
	struct user_uid *known;

	feed_deinit(&tool->feed);
	while (array_count(&tool->pending) > 0) {
		pending = array_front(&tool->pending);
		tool_forget(tool, t_strdup(pending->user),
			    t_strdup(pending->id));
	}
	array_foreach_modifiable(&tool->uids, known)
		i_free(known->user);
	array_free(&tool->pending);
	array_free(&tool->uids);
	i_close_fd(&tool->fd_listen);
}

int main(int argc, char *argv[])
{
	struct tool tool;
	struct ioloop *ioloop;
	/* nobody, so that the uids of users count */
	struct feed_settings set = { .trusted_uid = 65534 };

	if (argc != 4) {
		fputs(usage_text, stderr);
		return 64;
	}
	lib_init();
	/* as in every service of the master's */
	(void)signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	ioloop = io_loop_create();
	i_zero(&tool);
	i_array_init(&tool.pending, 16);
	i_array_init(&tool.uids, 16);
	set.max_connections = strtoul(argv[2], NULL, 10);
	set.max_sessions = strtoul(argv[3], NULL, 10);
	tool.fd_listen = net_listen_unix_unlink_stale(argv[1], 512);
	if (tool.fd_listen == -1 || chmod(argv[1], 0666) < 0)
		i_fatal("%s: %m", argv[1]);
	tool.feed = feed_init(&set, &callbacks, &tool, NULL);
	tool_run(&tool);
	tool_free(&tool);
	io_loop_destroy(&ioloop);
	lib_deinit();
	return 0;
}
