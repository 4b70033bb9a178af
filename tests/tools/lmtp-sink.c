/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "hex-binary.h"
#include "buffer.h"
#include "ioloop.h"
#include "istream.h"
#include "sha2.h"
#include "str.h"
#include "master-service.h"
#include "mail-types.h"
#include "dovecot-compat.h"
#include "core/trace-header.h"
#include "inflight.h"
#include "sink.h"
#include "spool.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include <sys/time.h>

/* Pushes the messages of a file through the LMTP sink, as a run does, and
   prints one line for each: what became of it. For tests and benchmarks.

   The file holds messages one after the other, each preceded by a line with its
   size in bytes. UIDs count from 1. */

static const char usage_text[] =
"usage: lmtp-sink [-C CONNECTIONS] [-f FIRST_UID] [-m MAILBOX] [-w KEYWORD]\n"
"                 [-u UID_OF_OS] [-r] [-x] [-q]\n"
"                 TARGET USER STATE_DIR KEY_FILE MESSAGES\n"
"  -r retry, -x nofx, -q only the sums\n"
"prints UID, result, class, stop, mailbox, guid, text; then the sums\n";

struct tool {
	struct sink *sink;
	struct inflight *inflight;
	pool_t pool;
	FILE *input;
	const char *mailbox;
	const char *keywords[2];
	uint32_t next_uid;
	bool retry, nofx, quiet, stopped;
	unsigned int results[4];
	struct timeout *to_feed;
};

static const char *const result_names[] = {
	"done", "handed-over", "later", "refused"
};

static const char *or_dash(const char *str)
{
	return str == NULL || *str == '\0' ? "-" : str;
}

static const char *make_guid(uint32_t uid)
{
	unsigned char digest[SHA256_RESULTLEN];
	const char *id = t_strdup_printf("lmtp-sink/%u", uid);

	sha256_get_digest(id, strlen(id), digest);
	return binary_to_hex(digest, 16);
}

/* The next message, or NULL at the end. */
static struct spool *read_spool(struct tool *tool)
{
	struct spool *spool;
	unsigned char block[8192];
	unsigned long left;
	size_t size;

	if (fscanf(tool->input, "%lu\n", &left) != 1)
		return NULL;
	spool = spool_create("/tmp/lmtp-sink.");
	for (; left > 0; left -= size) {
		size = fread(block, 1, I_MIN(left, sizeof(block)),
			     tool->input);
		if (size == 0)
			i_fatal("message is cut off");
		if (spool_append(spool, block, size) < 0)
			i_fatal("%s", spool_get_error(spool));
	}
	if (spool_finish(spool) < 0)
		i_fatal("%s", spool_get_error(spool));
	return spool;
}

static struct sink_message *make_message(struct tool *tool, struct spool *spool)
{
	pool_t pool = pool_alloconly_create("message", 512);
	struct sink_message *message = p_new(pool, struct sink_message, 1);

	message->pool = pool;
	message->spool = spool;
	message->remote_folder = "INBOX";
	message->uidvalidity = 1;
	message->uid = tool->next_uid++;
	message->mailbox = tool->mailbox;
	message->guid = p_strdup(pool, make_guid(message->uid));
	message->flags = MAIL_SEEN;
	message->keywords = tool->keywords;
	message->received_time = 1000000000 + message->uid;
	message->nofx = tool->nofx;
	message->retry = tool->retry;
	return message;
}

static void tool_feed(struct tool *tool)
{
	struct spool *spool;

	timeout_remove(&tool->to_feed);
	while (!tool->stopped && sink_has_room(tool->sink)) {
		if ((spool = read_spool(tool)) == NULL)
			break;
		sink_put(tool->sink, make_message(tool, spool));
	}
	sink_flush(tool->sink);
	if (tool->sink->pending == 0)
		io_loop_stop(current_ioloop);
}

static void
tool_callback(const struct sink_message *message,
	      const struct sink_outcome *outcome, void *context)
{
	struct tool *tool = context;

	tool->results[outcome->result]++;
	if (outcome->stop)
		tool->stopped = TRUE;
	if (!tool->quiet || outcome->result != SINK_DONE) {
		printf("%u\t%s\t%s\t%s\t%s\t%s\t%s\n", message->uid,
		       result_names[outcome->result],
		       reply_class_name(outcome->class),
		       outcome->stop ? "stop" : "-",
		       or_dash(outcome->mailbox), or_dash(outcome->guid),
		       or_dash(outcome->text));
	}
	if (outcome->result != SINK_LATER) {
		sink_lmtp_settled(tool->sink, message->remote_folder,
				  message->uidvalidity, message->uid);
	}
	if (tool->to_feed == NULL)
		tool->to_feed = timeout_add_short(0, tool_feed, tool);
}

static void read_key(const char *path, unsigned char *key_r)
{
	char text[TRACE_HEADER_KEY_SIZE * 2 + 1];
	buffer_t *bin = t_buffer_create(TRACE_HEADER_KEY_SIZE);
	FILE *f = fopen(path, "r");

	if (f == NULL || fscanf(f, "%64s", text) != 1 ||
	    hex_to_binary(text, bin) < 0 || bin->used != TRACE_HEADER_KEY_SIZE)
		i_fatal("%s: no key", path);
	memcpy(key_r, bin->data, TRACE_HEADER_KEY_SIZE);
	fclose(f);
}

static void tool_run(struct tool *tool, char *argv[], unsigned int connections,
		     uid_t uid)
{
	static unsigned char key[TRACE_HEADER_KEY_SIZE];
	struct sink_lmtp_settings set = {
		.target = argv[0],
		.base_dir = "/",
		.connections = connections,
		.user = argv[1],
		.account = "work",
		.source_id = "0123456789abcdef0123456789abcdef",
		.header_key = key,
		.sender = "",
	};
	const char *error;

	read_key(argv[3], key);
	if ((tool->input = fopen(argv[4], "r")) == NULL)
		i_fatal("fopen(%s) failed: %m", argv[4]);
	if (uid != 0 && setuid(uid) < 0)
		i_fatal("setuid() failed: %m");
	if (inflight_open(inflight_path(argv[2], set.source_id), TRUE,
			  &tool->inflight, &error) < 0)
		i_fatal("%s", error);
	set.inflight = tool->inflight;
	tool->sink = sink_lmtp_init(&set, tool_callback, tool);
	tool->to_feed = timeout_add_short(0, tool_feed, tool);
	io_loop_run(current_ioloop);
	timeout_remove(&tool->to_feed);
	sink_deinit(&tool->sink);
	inflight_close(&tool->inflight);
	fclose(tool->input);
}

int main(int argc, char *argv[])
{
	struct tool tool = { .mailbox = "INBOX", .next_uid = 1 };
	unsigned int i, connections = 1;
	uid_t uid = 0;
	int c;

	master_service = master_service_init("lmtp-sink",
		MASTER_SERVICE_FLAG_STANDALONE |
		MASTER_SERVICE_FLAG_DONT_SEND_STATS |
		MASTER_SERVICE_FLAG_NO_CONFIG_SETTINGS,
		&argc, &argv, "+C:f:m:w:u:rxq");
	while ((c = master_getopt(master_service)) > 0) {
		switch (c) {
		case 'C': connections = atoi(optarg); break;
		case 'f': tool.next_uid = atol(optarg); break;
		case 'm': tool.mailbox = optarg; break;
		case 'w': tool.keywords[0] = optarg; break;
		case 'u': uid = atol(optarg); break;
		case 'r': tool.retry = TRUE; break;
		case 'x': tool.nofx = TRUE; break;
		case 'q': tool.quiet = TRUE; break;
		default: fputs(usage_text, stderr); return 64;
		}
	}
	if (argc - optind != 5) {
		fputs(usage_text, stderr);
		return 64;
	}
	master_service_init_log(master_service);
	master_service_init_finish(master_service);
	tool_run(&tool, argv + optind, connections, uid);
	for (i = 0; i < N_ELEMENTS(result_names); i++)
		printf("sum\t%s\t%u\n", result_names[i], tool.results[i]);
	master_service_deinit(&master_service);
	return 0;
}
