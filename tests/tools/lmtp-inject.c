/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "str.h"
#include "hex-binary.h"
#include "randgen.h"
#include "sha2.h"
#include "mail-types.h"
#include "dovecot-compat.h"
#include "core/trace-header.h"
#include "inflight.h"

#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>
#include <sys/socket.h>
#include <sys/un.h>

/* Does by hand what the sink does for the worker: enters a slot, signs a
   header, hands one message to LMTP, and tells what came of it. For tests of
   the lmtp plugin, which want to get it wrong on purpose, too. */

static const char usage_text[] =
"usage: lmtp-inject [options] < message\n"
"  --socket PATH --user NAME --state-dir DIR --key FILE      (needed)\n"
"  --as UID                   own the in-flight file as this uid\n"
"  --source-id HEX --account NAME --slot N --folder NAME\n"
"  --uidvalidity N --uid N --mailbox NAME --guid HEX\n"
"  --flags 'SF' (A D F S) --keywords 'a b' --date SECS --nofx --retry\n"
"  --from ADDR                MAIL FROM\n"
"  --reuse                    the slot's own nonce; enter nothing\n"
"  --keep                     enter, but keep the stores noted\n"
"  --enter-only               enter, send nothing\n"
"  --not-in-flight            enter nothing, any nonce\n"
"  --forge                    break the signature\n"
"  --no-header                ordinary mail\n"
"  --header-user NAME         sign for somebody else\n"
"  --also NAME                one more recipient\n"
"  --above TEXT               a header line above ours\n"
"  --hang-up                  close after the last byte, wait for no reply\n"
"prints the last reply, then \"slot STATE MAILBOX GUID ...\"\n";

static struct {
	const char *socket, *state_dir, *key, *from, *also, *above;
	const char *header_user;
	uid_t as;
	bool reuse, keep, enter_only, not_in_flight, forge, no_header, hang_up;
	struct trace_header header;
} opt = {
	.from = "sender@example.org",
	.as = (uid_t)-1,
	.header = {
		.account = "work",
		.source_id = "0123456789abcdef0123456789abcdef",
		.remote_folder = "INBOX",
		.uidvalidity = 1,
		.uid = 1,
		.mailbox = "INBOX",
		.received_time = 1000000000,
	},
};

static void ATTR_NORETURN ATTR_FORMAT(1, 2) die(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	exit(2);
}

static enum mail_flags parse_flags(const char *letters)
{
	static const char all[] = "ADFS";
	static const enum mail_flags flags[] = {
		MAIL_ANSWERED, MAIL_DRAFT, MAIL_FLAGGED, MAIL_SEEN
	};
	enum mail_flags ret = 0;
	const char *p;

	for (; *letters != '\0'; letters++) {
		if ((p = strchr(all, *letters)) == NULL)
			die("no such flag: %c", *letters);
		ret |= flags[p - all];
	}
	return ret;
}

enum {
	OPT_SOCKET = 1, OPT_USER, OPT_STATE_DIR, OPT_KEY, OPT_AS,
	OPT_SOURCE_ID, OPT_ACCOUNT, OPT_SLOT, OPT_FOLDER, OPT_UIDVALIDITY,
	OPT_UID, OPT_MAILBOX, OPT_GUID, OPT_FLAGS, OPT_KEYWORDS, OPT_DATE,
	OPT_NOFX, OPT_RETRY, OPT_FROM, OPT_REUSE, OPT_KEEP, OPT_ENTER_ONLY,
	OPT_NOT_IN_FLIGHT, OPT_FORGE, OPT_NO_HEADER, OPT_HEADER_USER,
	OPT_ALSO, OPT_ABOVE, OPT_HANG_UP
};

static const struct option options[] = {
	{ "socket", required_argument, NULL, OPT_SOCKET },
	{ "user", required_argument, NULL, OPT_USER },
	{ "state-dir", required_argument, NULL, OPT_STATE_DIR },
	{ "key", required_argument, NULL, OPT_KEY },
	{ "as", required_argument, NULL, OPT_AS },
	{ "source-id", required_argument, NULL, OPT_SOURCE_ID },
	{ "account", required_argument, NULL, OPT_ACCOUNT },
	{ "slot", required_argument, NULL, OPT_SLOT },
	{ "folder", required_argument, NULL, OPT_FOLDER },
	{ "uidvalidity", required_argument, NULL, OPT_UIDVALIDITY },
	{ "uid", required_argument, NULL, OPT_UID },
	{ "mailbox", required_argument, NULL, OPT_MAILBOX },
	{ "guid", required_argument, NULL, OPT_GUID },
	{ "flags", required_argument, NULL, OPT_FLAGS },
	{ "keywords", required_argument, NULL, OPT_KEYWORDS },
	{ "date", required_argument, NULL, OPT_DATE },
	{ "nofx", no_argument, NULL, OPT_NOFX },
	{ "retry", no_argument, NULL, OPT_RETRY },
	{ "from", required_argument, NULL, OPT_FROM },
	{ "reuse", no_argument, NULL, OPT_REUSE },
	{ "keep", no_argument, NULL, OPT_KEEP },
	{ "enter-only", no_argument, NULL, OPT_ENTER_ONLY },
	{ "not-in-flight", no_argument, NULL, OPT_NOT_IN_FLIGHT },
	{ "forge", no_argument, NULL, OPT_FORGE },
	{ "no-header", no_argument, NULL, OPT_NO_HEADER },
	{ "header-user", required_argument, NULL, OPT_HEADER_USER },
	{ "also", required_argument, NULL, OPT_ALSO },
	{ "above", required_argument, NULL, OPT_ABOVE },
	{ "hang-up", no_argument, NULL, OPT_HANG_UP },
	{ NULL, 0, NULL, 0 }
};

static void option_header(int c, const char *arg)
{
	struct trace_header *header = &opt.header;

	switch (c) {
	case OPT_USER: header->user = arg; break;
	case OPT_SOURCE_ID: header->source_id = arg; break;
	case OPT_ACCOUNT: header->account = arg; break;
	case OPT_SLOT: header->slot = atoi(arg); break;
	case OPT_FOLDER: header->remote_folder = arg; break;
	case OPT_UIDVALIDITY: header->uidvalidity = atol(arg); break;
	case OPT_UID: header->uid = atol(arg); break;
	case OPT_MAILBOX: header->mailbox = arg; break;
	case OPT_GUID: header->guid = arg; break;
	case OPT_FLAGS: header->flags = parse_flags(arg); break;
	case OPT_KEYWORDS:
		header->keywords = t_strsplit_spaces(arg, " ");
		break;
	case OPT_DATE: header->received_time = atol(arg); break;
	case OPT_NOFX: header->nofx = TRUE; break;
	case OPT_RETRY: header->retry = TRUE; break;
	default: die("%s", usage_text);
	}
}

static void option_set(int c, const char *arg)
{
	switch (c) {
	case OPT_SOCKET: opt.socket = arg; break;
	case OPT_STATE_DIR: opt.state_dir = arg; break;
	case OPT_KEY: opt.key = arg; break;
	case OPT_AS: opt.as = atol(arg); break;
	case OPT_FROM: opt.from = arg; break;
	case OPT_REUSE: opt.reuse = TRUE; break;
	case OPT_KEEP: opt.keep = TRUE; break;
	case OPT_ENTER_ONLY: opt.enter_only = TRUE; break;
	case OPT_NOT_IN_FLIGHT: opt.not_in_flight = TRUE; break;
	case OPT_FORGE: opt.forge = TRUE; break;
	case OPT_NO_HEADER: opt.no_header = TRUE; break;
	case OPT_HEADER_USER: opt.header_user = arg; break;
	case OPT_ALSO: opt.also = arg; break;
	case OPT_ABOVE: opt.above = arg; break;
	case OPT_HANG_UP: opt.hang_up = TRUE; break;
	default: option_header(c, arg);
	}
}

static void parse_options(int argc, char *argv[])
{
	static const char *const none[] = { NULL };
	int c;

	opt.header.keywords = none;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		option_set(c, optarg);
	if (opt.socket == NULL || opt.header.user == NULL ||
	    (!opt.no_header && (opt.state_dir == NULL || opt.key == NULL)))
		die("%s", usage_text);
}

/*
 * Message
 */

/* With CRLF line ends. */
static void read_message(string_t *message)
{
	int c, prev = '\n';

	while ((c = getchar()) != EOF) {
		if (c == '\n' && prev != '\r')
			str_append_c(message, '\r');
		str_append_c(message, c);
		prev = c;
	}
}

static void read_key(unsigned char key_r[TRACE_HEADER_KEY_SIZE])
{
	char text[TRACE_HEADER_KEY_SIZE * 2 + 1];
	buffer_t *bin = t_buffer_create(TRACE_HEADER_KEY_SIZE);
	FILE *f = fopen(opt.key, "r");

	if (f == NULL || fscanf(f, "%64s", text) != 1 ||
	    hex_to_binary(text, bin) < 0 || bin->used != TRACE_HEADER_KEY_SIZE)
		die("%s: no key", opt.key);
	memcpy(key_r, bin->data, TRACE_HEADER_KEY_SIZE);
	fclose(f);
}

/* The same identity, the same GUID. */
static const char *make_guid(const struct trace_header *header)
{
	unsigned char digest[SHA256_RESULTLEN];
	const char *id = t_strdup_printf("%s/%s/%u/%u", header->source_id,
		header->remote_folder, header->uidvalidity, header->uid);

	sha256_get_digest(id, strlen(id), digest);
	return binary_to_hex(digest, 16);
}

static const char *sign_header(uoff_t message_size)
{
	unsigned char key[TRACE_HEADER_KEY_SIZE];
	struct trace_header header = opt.header;
	const char *line, *error;
	char *broken;

	header.size = message_size;
	if (opt.header_user != NULL)
		header.user = opt.header_user;
	read_key(key);
	line = trace_header_write(&header, key, &error);
	if (line == NULL)
		die("%s", error);
	if (opt.forge) {
		broken = t_strdup_noconst(line);
		broken[strlen(line) - 1] = line[strlen(line) - 1] == '0' ?
			'1' : '0';
		line = broken;
	}
	return line;
}

/*
 * Slot
 */

static struct inflight *open_inflight(void)
{
	struct inflight *inflight;
	const char *error;

	if (inflight_open(inflight_path(opt.state_dir, opt.header.source_id),
			  TRUE, &inflight, &error) < 0)
		die("%s", error);
	return inflight;
}

static void enter_slot(struct inflight *inflight)
{
	struct trace_header *header = &opt.header;
	struct inflight_slot slot;
	const char *error;

	if (opt.reuse) {
		if (inflight_read(inflight, header->slot,
				  pool_datastack_create(), &slot, &error) < 0)
			die("%s", error);
		header->nonce = slot.nonce;
		return;
	}
	random_fill(&header->nonce, sizeof(header->nonce));
	if (opt.not_in_flight)
		return;
	if (inflight_enter(inflight, header->slot,
			   inflight_folder_hash(header->remote_folder),
			   header->uidvalidity, header->uid, header->nonce,
			   opt.keep, &error) < 0 ||
	    inflight_sync(inflight, &error) < 0)
		die("%s", error);
}

static void print_slot(struct inflight *inflight)
{
	static const char *const states[] = {
		"free", "entered", "storing", "done"
	};
	struct inflight_slot slot;
	const char *error;
	unsigned int i;

	if (inflight_read(inflight, opt.header.slot, pool_datastack_create(),
			  &slot, &error) < 0)
		die("%s", error);
	printf("slot\t%s", states[slot.state]);
	for (i = 0; i < slot.store_count; i++) {
		printf("\t%s\t%s", slot.stores[i].mailbox,
		       slot.stores[i].guid);
	}
	putchar('\n');
}

/*
 * LMTP
 */

static int lmtp_connect(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (i_strocpy(addr.sun_path, opt.socket, sizeof(addr.sun_path)) < 0 ||
	    connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		die("connect(%s) failed: %m", opt.socket);
	return fd;
}

/* A server that hung up is noticed when it does not answer. */
static void lmtp_send(FILE *conn, const char *text)
{
	(void)fputs(text, conn);
	(void)fflush(conn);
}

/* The last line of a reply. NULL = the server is gone. */
static const char *lmtp_reply(FILE *conn)
{
	static char line[4096];

	do {
		if (fgets(line, sizeof(line), conn) == NULL)
			return NULL;
	} while (strlen(line) > 3 && line[3] == '-');
	line[strcspn(line, "\r\n")] = '\0';
	return line;
}

static const char *lmtp_command(FILE *conn, const char *command, char expect)
{
	const char *reply;

	lmtp_send(conn, t_strconcat(command, "\r\n", NULL));
	reply = lmtp_reply(conn);
	if (reply == NULL || reply[0] != expect) {
		printf("reply\t%s\n", reply == NULL ? "-" : reply);
		return NULL;
	}
	return reply;
}

static void lmtp_send_data(FILE *conn, const char *header, string_t *message)
{
	const char *p = str_c(message), *end = p + str_len(message);
	bool line_start = TRUE;

	if (opt.above != NULL)
		fprintf(conn, "%s\r\n", opt.above);
	if (header != NULL)
		fprintf(conn, "%s\r\n", header);
	for (; p < end; p++) {
		if (line_start && *p == '.')
			fputc('.', conn);
		fputc(*p, conn);
		line_start = *p == '\n';
	}
	lmtp_send(conn, line_start ? ".\r\n" : "\r\n.\r\n");
}

static bool lmtp_begin(FILE *conn)
{
	(void)lmtp_reply(conn);
	return lmtp_command(conn, "LHLO inject", '2') != NULL &&
		lmtp_command(conn, t_strdup_printf("MAIL FROM:<%s>",
						   opt.from), '2') != NULL &&
		lmtp_command(conn, t_strdup_printf("RCPT TO:<%s>",
				opt.header.user), '2') != NULL &&
		(opt.also == NULL ||
		 lmtp_command(conn, t_strdup_printf("RCPT TO:<%s>",
				opt.also), '2') != NULL) &&
		lmtp_command(conn, "DATA", '3') != NULL;
}

/* Returns TRUE if the server answered to the message. */
static bool lmtp_inject(const char *header, string_t *message)
{
	FILE *conn = fdopen(lmtp_connect(), "r+");
	unsigned int replies = opt.also == NULL ? 1 : 2;
	const char *reply = NULL;

	if (!lmtp_begin(conn))
		return TRUE;
	lmtp_send_data(conn, header, message);
	if (opt.hang_up) {
		fclose(conn);
		return TRUE;
	}
	while (replies-- > 0) {
		reply = lmtp_reply(conn);
		printf("reply\t%s\n", reply == NULL ? "-" : reply);
	}
	fclose(conn);
	return reply != NULL;
}

int main(int argc, char *argv[])
{
	struct inflight *inflight = NULL;
	const char *header = NULL;
	string_t *message;
	bool answered = TRUE;

	lib_init();
	(void)signal(SIGPIPE, SIG_IGN);
	parse_options(argc, argv);
	message = str_new(default_pool, 4096);
	read_message(message);

	if (!opt.no_header) {
		if (opt.header.guid == NULL)
			opt.header.guid = make_guid(&opt.header);
		if (opt.as != (uid_t)-1 && seteuid(opt.as) < 0)
			die("seteuid() failed: %m");
		inflight = open_inflight();
		enter_slot(inflight);
		if (seteuid(getuid()) < 0)
			die("seteuid() failed: %m");
		header = sign_header(str_len(message));
	}
	if (!opt.enter_only)
		answered = lmtp_inject(header, message);
	if (inflight != NULL) {
		print_slot(inflight);
		inflight_close(&inflight);
	}
	str_free(&message);
	lib_deinit();
	return answered ? 0 : 1;
}
