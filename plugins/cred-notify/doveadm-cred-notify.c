/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "str.h"
#include "strescape.h"
#include "strnum.h"
#include "net.h"
#include "write-full.h"
#include "master-service.h"
#include "master-service-settings.h"
#include "doveadm.h"
#include "doveadm-print.h"
#include "dovecot-compat.h"
#include "core/control-line.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <sysexits.h>
#include <unistd.h>

/* Commands are clients of the service: they send one line, print the rows that
   come back, and turn its end into an exit code. */

/* looking at all users takes its time */
#define ANSWER_TIMEOUT_SECS 300

struct module;

extern const char *doveadm_cred_notify_plugin_version;
void doveadm_cred_notify_plugin_init(struct module *module);
void doveadm_cred_notify_plugin_deinit(void);

struct column {
	/* of the row, and the title */
	const char *key;
	bool number;
};

static const struct column notice_columns[] = {
	{ "user", FALSE }, { "account", FALSE }, { "label", FALSE },
	{ "kind", FALSE }, { "class", FALSE }, { "hint", FALSE },
	{ "phase", FALSE }, { "since", TRUE }, { "last", TRUE },
	{ "count", TRUE }, { "said", TRUE }, { "acked", FALSE },
	{ "incident", TRUE }, { NULL, FALSE }
};
static const struct column pair_columns[] = {
	{ "name", FALSE }, { "value", FALSE }, { NULL, FALSE }
};

static const struct {
	const char *name;
	const struct column *columns;
} commands[] = {
	{ "list", notice_columns },
	{ "ack", notice_columns },
	{ "clear", notice_columns },
	{ "test", pair_columns },
	{ "stat", pair_columns },
	{ "refresh", pair_columns },
};

struct cred_cmd {
	const struct column *columns;
	int fd;
	buffer_t *input;
};

/*
 * Rows
 */

static void cmd_print_headers(const struct column *column)
{
	for (; column->key != NULL; column++) {
		doveadm_print_header(column->key, column->key, column->number ?
			DOVEADM_PRINT_HEADER_FLAG_NUMBER |
			DOVEADM_PRINT_HEADER_FLAG_RIGHT_JUSTIFY : 0);
	}
}

static void
cmd_print_row(const struct column *column, const char *const *args)
{
	const char *value;

	for (; column->key != NULL; column++) {
		value = control_line_get(args, column->key);
		if (value == NULL)
			value = column->number ? "0" : "";
		doveadm_print(value);
	}
}

/*
 * The service
 */

static int cmd_connect(const char *path, const char **error_r)
{
	const struct timeval timeout = { .tv_sec = ANSWER_TIMEOUT_SECS };
	int fd = net_connect_unix(path);

	if (fd < 0 && (errno == ENOENT || errno == ECONNREFUSED)) {
		*error_r = t_strdup_printf("cred-notify is not running: is it "
			"in protocols? (connect(%s): %m)", path);
	} else if (fd < 0) {
		*error_r = t_strdup_printf("connect(%s): %m", path);
	} else {
		net_set_nonblock(fd, FALSE);
		if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout,
			       sizeof(timeout)) < 0)
			i_fatal("setsockopt(SO_RCVTIMEO) failed: %m");
	}
	return fd;
}

/* Returns the next line, on the data stack and without its LF, or NULL and
   error_r. */
static const char *cmd_read_line(struct cred_cmd *cmd, const char **error_r)
{
	char buf[4096];
	const char *lf, *line;
	ssize_t ret;

	while ((lf = memchr(cmd->input->data, '\n', cmd->input->used)) ==
	       NULL) {
		ret = read(cmd->fd, buf, sizeof(buf));
		if (ret <= 0) {
			*error_r = ret < 0 ? "cred-notify does not answer" :
				"cred-notify hung up: see the server's log";
			return NULL;
		}
		buffer_append(cmd->input, buf, ret);
	}
	line = t_strdup_until(cmd->input->data, lf);
	buffer_delete(cmd->input, 0, lf + 1 - (const char *)cmd->input->data);
	return line;
}

/* end TAB code TAB text. Returns the exit code. */
static int cmd_end(const char *const *args, const char **error_r)
{
	unsigned int code;

	if (str_array_length(args) < 2 || str_to_uint(args[0], &code) < 0) {
		*error_r = "cred-notify sent a broken answer";
		return EX_PROTOCOL;
	}
	*error_r = args[1];
	return code;
}

/* Returns the exit code, or -1 to go on. */
static int
cmd_line(struct cred_cmd *cmd, const char *line, const char **error_r)
{
	const char *const *args = t_strsplit_tabescaped(line);

	if (args[0] == NULL)
		return -1;
	if (strcmp(args[0], "end") == 0)
		return cmd_end(args + 1, error_r);
	if (strcmp(args[0], "row") == 0)
		cmd_print_row(cmd->columns, args + 1);
	return -1;
}

/* Returns the exit code. */
static int
cmd_answers(struct cred_cmd *cmd, const char **error_r)
{
	const char *line;
	int code = -1;

	while (code < 0) {
		line = cmd_read_line(cmd, error_r);
		if (line == NULL)
			return EX_TEMPFAIL;
		code = cmd_line(cmd, line, error_r);
	}
	return code;
}

static int
cmd_ask(const char *path, const string_t *request,
	const struct column *columns, const char **error_r)
{
	struct cred_cmd cmd = { .columns = columns };
	int code = EX_TEMPFAIL;

	cmd.fd = cmd_connect(path, error_r);
	if (cmd.fd < 0)
		return EX_TEMPFAIL;
	cmd.input = t_buffer_create(4096);
	if (write_full(cmd.fd, str_data(request), str_len(request)) < 0)
		*error_r = t_strdup_printf("write(%s) failed: %m", path);
	else
		code = cmd_answers(&cmd, error_r);
	i_close_fd(&cmd.fd);
	return code;
}

/*
 * Commands
 */

static void
request_add_str(struct doveadm_cmd_context *cctx, string_t *request,
		const char *param)
{
	const char *value;

	if (doveadm_cmd_param_str(cctx, param, &value))
		control_line_add(request, param, value);
}

static const string_t *
request_make(struct doveadm_cmd_context *cctx, const char *command)
{
	string_t *request = t_str_new(256);
	bool all;

	str_printfa(request, "VERSION\t%s\t%u\t%u\n%s", CONTROL_PROTOCOL_NAME,
		    CONTROL_PROTOCOL_MAJOR, CONTROL_PROTOCOL_MINOR, command);
	request_add_str(cctx, request, "user");
	request_add_str(cctx, request, "account");
	if (doveadm_cmd_param_bool(cctx, "all", &all) && all)
		control_line_add(request, "all", "yes");
	str_append_c(request, '\n');
	return request;
}

static const struct column *command_columns(const char *name)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(commands); i++) {
		if (strcmp(commands[i].name, name) == 0)
			return commands[i].columns;
	}
	i_unreached();
}

static void cmd_cred_notify(struct doveadm_cmd_context *cctx)
{
	/* behind "cred-notify " */
	const char *command = strchr(cctx->cmd->name, ' ') + 1;
	const struct column *columns = command_columns(command);
	const char *error = "", *path;
	int code;

	path = t_strconcat(doveadm_settings->base_dir, "/"CONTROL_SOCKET, NULL);
	doveadm_print_init(DOVEADM_PRINT_TYPE_TABLE);
	cmd_print_headers(columns);
	code = cmd_ask(path, request_make(cctx, command), columns, &error);
	if (code == EX_OK)
		return;
	i_error("%s: %s", cctx->cmd->name, error);
	doveadm_exit_code = code;
}

#define COMMAND(command, text) \
	.name = "cred-notify "command, \
	.cmd = cmd_cred_notify, \
	.usage = text

static struct doveadm_cmd_ver2 cred_notify_cmds[] = { {
	COMMAND("list", "[-a] [-i <account>] [<user>]"),
DOVEADM_CMD_PARAMS_START
DOVEADM_CMD_PARAM('a', "all", CMD_PARAM_BOOL, 0)
DOVEADM_CMD_PARAM('i', "account", CMD_PARAM_STR, 0)
DOVEADM_CMD_PARAM('\0', "user", CMD_PARAM_STR, CMD_PARAM_FLAG_POSITIONAL)
DOVEADM_CMD_PARAMS_END
}, {
	COMMAND("ack", "[-i <account>] [<user>]"),
DOVEADM_CMD_PARAMS_START
DOVEADM_CMD_PARAM('i', "account", CMD_PARAM_STR, 0)
DOVEADM_CMD_PARAM('\0', "user", CMD_PARAM_STR, CMD_PARAM_FLAG_POSITIONAL)
DOVEADM_CMD_PARAMS_END
}, {
	COMMAND("clear", "[-i <account>] [<user>]"),
DOVEADM_CMD_PARAMS_START
DOVEADM_CMD_PARAM('i', "account", CMD_PARAM_STR, 0)
DOVEADM_CMD_PARAM('\0', "user", CMD_PARAM_STR, CMD_PARAM_FLAG_POSITIONAL)
DOVEADM_CMD_PARAMS_END
}, {
	COMMAND("test", "<user>"),
DOVEADM_CMD_PARAMS_START
DOVEADM_CMD_PARAM('\0', "user", CMD_PARAM_STR, CMD_PARAM_FLAG_POSITIONAL)
DOVEADM_CMD_PARAMS_END
}, {
	COMMAND("stat", ""),
DOVEADM_CMD_PARAMS_START
DOVEADM_CMD_PARAMS_END
}, {
	COMMAND("refresh", ""),
DOVEADM_CMD_PARAMS_START
DOVEADM_CMD_PARAMS_END
} };

const char *doveadm_cred_notify_plugin_version = DOVECOT_ABI_VERSION;

void doveadm_cred_notify_plugin_init(struct module *module ATTR_UNUSED)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(cred_notify_cmds); i++)
		doveadm_cmd_register_ver2(&cred_notify_cmds[i]);
}

void doveadm_cred_notify_plugin_deinit(void)
{
}
