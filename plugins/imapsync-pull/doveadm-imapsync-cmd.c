/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "str.h"
#include "strnum.h"
#include "time-util.h"
#include "doveadm.h"
#include "doveadm-print.h"
#include "dovecot-compat.h"
#include "doveadm-imapsync.h"
#include "job.h"

/* Commands are clients of the service: they send one line, print the rows that
   come back, and turn its end into an exit code. */

enum column_flags {
	COLUMN_NUMBER = 0x01,
	COLUMN_EXPAND = 0x02,
	/* seconds since 1970, "" = never */
	COLUMN_TIME = 0x04,
};

struct column {
	/* of the row, and the title */
	const char *key;
	enum column_flags flags;
};

static const struct column set_columns[] = {
	{ "user", 0 }, { "account", 0 }, { "status", 0 }, { NULL, 0 }
};
static const struct column list_columns[] = {
	{ "user", 0 }, { "account", 0 }, { "host", 0 },
	{ "port", COLUMN_NUMBER }, { "security", 0 }, { "login", 0 },
	{ "preset", 0 }, { "enabled", 0 }, { "owner", 0 }, { NULL, 0 }
};
static const struct column show_columns[] = {
	{ "key", 0 }, { "value", COLUMN_EXPAND }, { NULL, 0 }
};
static const struct column test_columns[] = {
	{ "user", 0 }, { "account", 0 }, { "step", 0 }, { "result", 0 },
	{ "class", 0 }, { "detail", COLUMN_EXPAND }, { NULL, 0 }
};
static const struct column folders_columns[] = {
	{ "user", 0 }, { "account", 0 }, { "remote", 0 }, { "local", 0 },
	{ "special_use", 0 }, { "messages", COLUMN_NUMBER },
	{ "selected", 0 }, { "reason", COLUMN_EXPAND }, { NULL, 0 }
};
static const struct column run_columns[] = {
	{ "user", 0 }, { "account", 0 }, { "status", 0 }, { "class", 0 },
	{ "folders", COLUMN_NUMBER }, { "new", COLUMN_NUMBER },
	{ "lmtp", COLUMN_NUMBER }, { "direct", COLUMN_NUMBER },
	{ "adopted", COLUMN_NUMBER },
	{ "flags", COLUMN_NUMBER }, { "expunged", COLUMN_NUMBER },
	{ "skipped", COLUMN_NUMBER }, { "failed", COLUMN_NUMBER },
	{ "bytes", COLUMN_NUMBER }, { "seconds", COLUMN_NUMBER },
	{ "error", COLUMN_EXPAND }, { NULL, 0 }
};
static const struct column account_status_columns[] = {
	{ "user", 0 }, { "account", 0 }, { "state", 0 }, { "class", 0 },
	{ "hint", 0 }, { "since", COLUMN_TIME }, { "last_try", COLUMN_TIME },
	{ "last_ok", COLUMN_TIME }, { "next_try", COLUMN_TIME },
	{ "watch", 0 }, { "failures", COLUMN_NUMBER },
	{ "stored", COLUMN_NUMBER }, { "failed", COLUMN_NUMBER },
	{ "seconds", COLUMN_NUMBER }, { "error", COLUMN_EXPAND }, { NULL, 0 }
};
static const struct column totals_columns[] = {
	{ "key", 0 }, { "value", COLUMN_NUMBER }, { NULL, 0 }
};
/* what every answer has that is not on a command line, where the exit code
   cannot say it */
static const struct column status_columns[] = {
	{ "status", 0 }, { "class", 0 }, { "error", COLUMN_EXPAND }, { NULL, 0 }
};

struct imapsync_cmd {
	struct doveadm_cmd_context *cctx;
	const struct column *columns;
	/* the rows tell of each account that failed */
	bool rows_tell;
	/* there is somebody to ask for a secret */
	bool can_ask;

	unsigned int row_count;
	/* the service wants the secret */
	bool needs_secret;
};

static bool cmd_is_cli(const struct imapsync_cmd *cmd)
{
	return cmd->cctx->conn_type == DOVEADM_CONNECTION_TYPE_CLI;
}

/*
 * Rows
 */

static bool columns_have(const struct column *columns, const char *key)
{
	for (; columns->key != NULL; columns++) {
		if (strcmp(columns->key, key) == 0)
			return TRUE;
	}
	return FALSE;
}

/* Is a column of the status part printed after the command's own? */
static bool
cmd_adds_column(const struct imapsync_cmd *cmd, const struct column *column)
{
	return !cmd_is_cli(cmd) && !columns_have(cmd->columns, column->key);
}

static void cmd_print_header(const struct column *column)
{
	enum doveadm_print_header_flags flags = 0;

	if ((column->flags & COLUMN_NUMBER) != 0) {
		flags |= DOVEADM_PRINT_HEADER_FLAG_NUMBER |
			DOVEADM_PRINT_HEADER_FLAG_RIGHT_JUSTIFY;
	}
	if ((column->flags & COLUMN_EXPAND) != 0)
		flags |= DOVEADM_PRINT_HEADER_FLAG_EXPAND;
	doveadm_print_header(column->key, column->key, flags);
}

static void cmd_print_headers(const struct imapsync_cmd *cmd)
{
	const struct column *column;

	for (column = cmd->columns; column->key != NULL; column++)
		cmd_print_header(column);
	for (column = status_columns; column->key != NULL; column++) {
		if (cmd_adds_column(cmd, column))
			cmd_print_header(column);
	}
}

/* JSON prints numbers as they come: then they had better be some. */
static bool value_is_number(const char *value)
{
	size_t digits = strspn(value, "0123456789");

	if (digits > 0 && value[digits] == '.' && value[digits + 1] != '\0')
		digits += 1 + strspn(value + digits + 1, "0123456789");
	return digits > 0 && value[digits] == '\0';
}

/* RFC 3339, in the local zone: for people and programs. Data stack. */
static const char *value_to_time(const char *value)
{
	const char *text;
	time_t secs;

	if (str_to_time(value, &secs) < 0 || secs == 0)
		return "";
	text = t_strflocaltime("%Y-%m-%dT%H:%M:%S%z", secs);
	/* +0100 becomes +01:00 */
	return t_strconcat(t_strndup(text, strlen(text) - 2), ":",
			   text + strlen(text) - 2, NULL);
}

static void
cmd_print_value(const struct column *column, const char *value)
{
	if (value == NULL)
		value = "";
	if ((column->flags & COLUMN_TIME) != 0)
		value = value_to_time(value);
	if ((column->flags & COLUMN_NUMBER) != 0 && !value_is_number(value))
		value = "0";
	doveadm_print(value);
}

static void
cmd_print_row(struct imapsync_cmd *cmd, const struct job_line *line)
{
	const struct column *column;

	if (cmd->row_count++ == 0)
		cmd_print_headers(cmd);
	for (column = cmd->columns; column->key != NULL; column++)
		cmd_print_value(column, job_line_get(line, column->key));
	for (column = status_columns; column->key != NULL; column++) {
		const char *value = job_line_get(line, column->key);

		if (!cmd_adds_column(cmd, column))
			continue;
		if (value == NULL && strcmp(column->key, "error") != 0)
			value = "ok";
		cmd_print_value(column, value);
	}
}

static void cmd_row(const struct job_line *line, void *context)
{
	struct imapsync_cmd *cmd = context;
	const char *status = job_line_get(line, "status");

	if (status != NULL && strcmp(status, "needs-secret") == 0) {
		cmd->needs_secret = TRUE;
		return;
	}
	imapsync_progress_clear();
	cmd_print_row(cmd, line);
}

static void cmd_progress(const char *const *args, void *context)
{
	const struct imapsync_cmd *cmd = context;

	if (cmd_is_cli(cmd))
		imapsync_progress_show(args);
}

static const struct imapsync_client_handlers cmd_handlers = {
	.row = cmd_row,
	.progress = cmd_progress,
};

/*
 * Ends
 */

static void
cmd_failed_row(struct imapsync_cmd *cmd, const struct imapsync_client_end *end)
{
	const struct job_field fields[] = {
		{ "status", "failed" },
		{ "result", "failed" },
		{ "class", reply_class_name(end->class) },
		{ "error", end->text },
		{ "detail", end->text },
	};
	const struct job_line line = {
		.word = "row",
		.fields = fields,
		.field_count = N_ELEMENTS(fields),
	};

	cmd_print_row(cmd, &line);
}

static void
cmd_finish(struct imapsync_cmd *cmd, const struct imapsync_client_end *end)
{
	bool told = cmd->rows_tell && cmd->row_count > 0 && !end->cut_short;

	imapsync_progress_clear();
	if (end->class != REPLY_CLASS_OK && !told) {
		if (cmd_is_cli(cmd))
			i_error("%s", end->text);
		else
			cmd_failed_row(cmd, end);
	}
	if (cmd_is_cli(cmd))
		doveadm_exit_code = end->exit_code;
	else if (cmd->row_count == 0) {
		/* an empty answer still has to be one */
		cmd_print_headers(cmd);
	}
}

static void cmd_fail(struct imapsync_cmd *cmd, int exit_code, const char *text)
{
	const struct imapsync_client_end end = {
		.class = REPLY_CLASS_CONFIG,
		.exit_code = exit_code,
		.text = text,
	};

	cmd_finish(cmd, &end);
}

/* Only on a command line may the usage be printed: that ends the process. */
static void cmd_usage(struct imapsync_cmd *cmd, const char *text)
{
	if (cmd_is_cli(cmd))
		help_ver2(cmd->cctx->cmd);
	cmd_fail(cmd, EX_USAGE, text);
}

static void
cmd_ask(struct imapsync_cmd *cmd, string_t *request,
	struct imapsync_client_end *end_r)
{
	const char *path = t_strconcat(doveadm_settings->base_dir,
				       "/"JOB_SOCKET_SERVICE, NULL);

	imapsync_client_ask(path, request, &cmd_handlers, cmd, end_r);
}

static void
cmd_init(struct imapsync_cmd *cmd, struct doveadm_cmd_context *cctx,
	 const struct column *columns)
{
	i_zero(cmd);
	cmd->cctx = cctx;
	cmd->columns = columns;
	doveadm_print_init(DOVEADM_PRINT_TYPE_TABLE);
}

/*
 * Requests
 */

static bool cmd_flag(const struct imapsync_cmd *cmd, const char *name)
{
	bool value;

	return doveadm_cmd_param_bool(cmd->cctx, name, &value) && value;
}

static const char *cmd_param(const struct imapsync_cmd *cmd, const char *name)
{
	const char *value;

	return doveadm_cmd_param_str(cmd->cctx, name, &value) ? value : NULL;
}

static void
request_add_param(string_t *request, const struct imapsync_cmd *cmd,
		  const char *name)
{
	const char *value = cmd_param(cmd, name);

	if (value != NULL)
		job_line_add(request, name, value);
}

static void
request_add_flag(string_t *request, const struct imapsync_cmd *cmd,
		 const char *name, const char *key)
{
	if (cmd_flag(cmd, name))
		job_line_add(request, key, "1");
}

/* -u, -A, name and the flags of a command that has no more than these */
static void
cmd_simple(struct doveadm_cmd_context *cctx, const char *word,
	   const struct column *columns, bool rows_tell)
{
	string_t *request = t_str_new(256);
	struct imapsync_client_end end;
	struct imapsync_cmd cmd;

	cmd_init(&cmd, cctx, columns);
	cmd.rows_tell = rows_tell;
	if ((cmd_param(&cmd, "user") != NULL) == cmd_flag(&cmd, "all-users")) {
		cmd_usage(&cmd, "give either user or all-users");
		return;
	}
	job_line_begin(request, word);
	request_add_param(request, &cmd, "user");
	request_add_param(request, &cmd, "name");
	request_add_flag(request, &cmd, "all-users", "all");
	request_add_flag(request, &cmd, "full", "full");
	request_add_flag(request, &cmd, "dry-run", "dry_run");
	job_line_end(request);
	cmd_ask(&cmd, request, &end);
	cmd_finish(&cmd, &end);
}

static void cmd_account_list(struct doveadm_cmd_context *cctx)
{
	cmd_simple(cctx, "account-list", list_columns, FALSE);
}

static void
cmd_one_account(struct doveadm_cmd_context *cctx, const char *word,
		const struct column *columns)
{
	struct imapsync_cmd cmd;

	cmd_init(&cmd, cctx, columns);
	if (cmd_param(&cmd, "user") == NULL || cmd_param(&cmd, "name") == NULL)
		cmd_usage(&cmd, "give user and name");
	else
		cmd_simple(cctx, word, columns, FALSE);
}

static void cmd_account_show(struct doveadm_cmd_context *cctx)
{
	cmd_one_account(cctx, "account-show", show_columns);
}

static void cmd_account_delete(struct doveadm_cmd_context *cctx)
{
	cmd_one_account(cctx, "account-delete", set_columns);
}

static void cmd_account_test(struct doveadm_cmd_context *cctx)
{
	cmd_simple(cctx, "account-test", test_columns, TRUE);
}

static void cmd_account_folders(struct doveadm_cmd_context *cctx)
{
	cmd_simple(cctx, "account-folders", folders_columns, FALSE);
}

static void cmd_account_pause(struct doveadm_cmd_context *cctx)
{
	cmd_one_account(cctx, "account-pause", set_columns);
}

static void cmd_account_resume(struct doveadm_cmd_context *cctx)
{
	cmd_one_account(cctx, "account-resume", set_columns);
}

static void cmd_stop(struct doveadm_cmd_context *cctx)
{
	cmd_simple(cctx, "stop", set_columns, FALSE);
}

static void cmd_status_totals(struct imapsync_cmd *cmd)
{
	string_t *request = t_str_new(32);
	struct imapsync_client_end end;

	job_line_begin(request, "status");
	job_line_end(request);
	cmd_ask(cmd, request, &end);
	cmd_finish(cmd, &end);
}

static void cmd_status(struct doveadm_cmd_context *cctx)
{
	struct imapsync_cmd cmd;

	cmd_init(&cmd, cctx, totals_columns);
	if (cmd_param(&cmd, "user") != NULL || cmd_flag(&cmd, "all-users"))
		cmd_simple(cctx, "status", account_status_columns, FALSE);
	else if (cmd_param(&cmd, "name") != NULL)
		cmd_usage(&cmd, "give user and name");
	else
		cmd_status_totals(&cmd);
}

static void cmd_run(struct doveadm_cmd_context *cctx)
{
	cmd_simple(cctx, "run", run_columns, TRUE);
}

/*
 * account set
 */

static string_t *
set_request(pool_t pool, const struct imapsync_cmd *cmd, const char *secret)
{
	/* from the pool that is wiped, and never moved */
	string_t *request = str_new(pool, JOB_MAX_LINE);
	const char *const *settings;

	job_line_begin(request, "account-set");
	request_add_param(request, cmd, "user");
	request_add_param(request, cmd, "name");
	request_add_flag(request, cmd, "dry-run", "dry_run");
	if (doveadm_cmd_param_array(cmd->cctx, "settings", &settings)) {
		for (; *settings != NULL; settings++)
			job_line_add(request, "set", *settings);
	}
	if (secret != NULL)
		job_line_add(request, "secret", secret);
	job_line_end(request);
	return request;
}

static void account_set(struct imapsync_cmd *cmd, pool_t pool)
{
	const char *label = t_strdup_printf("%s/%s", cmd_param(cmd, "user"),
					    cmd_param(cmd, "name"));
	struct imapsync_client_end end;
	const char *secret, *error;

	if (imapsync_secret_read(cmd->cctx, pool, label,
				 &secret, &error) < 0) {
		cmd_fail(cmd, EX_DATAERR, error);
		return;
	}
	cmd_ask(cmd, set_request(pool, cmd, secret), &end);
	if (cmd->needs_secret && cmd_is_cli(cmd)) {
		/* everything else is good: now it makes sense to ask */
		if (imapsync_secret_ask(pool, label, &secret, &error) < 0) {
			cmd_fail(cmd, EX_DATAERR, error);
			return;
		}
		cmd_ask(cmd, set_request(pool, cmd, secret), &end);
	}
	cmd_finish(cmd, &end);
}

static void cmd_account_set(struct doveadm_cmd_context *cctx)
{
	struct imapsync_cmd cmd;
	pool_t pool;

	cmd_init(&cmd, cctx, set_columns);
	if (cmd_param(&cmd, "user") == NULL ||
	    cmd_param(&cmd, "name") == NULL) {
		cmd_usage(&cmd, "give user and name");
		return;
	}
	pool = pool_alloconly_create_clean("imapsync account set", 1024);
	account_set(&cmd, pool);
	pool_unref(&pool);
}

/*
 * The table. A name that begins another one's must come after it.
 */

#define PARAM_USER \
	DOVEADM_CMD_PARAM('u', "user", CMD_PARAM_STR, 0)
#define PARAM_USERS \
	PARAM_USER \
	DOVEADM_CMD_PARAM('A', "all-users", CMD_PARAM_BOOL, 0)
#define PARAM_NAME \
	DOVEADM_CMD_PARAM('\0', "name", CMD_PARAM_STR, \
			  CMD_PARAM_FLAG_POSITIONAL)

static struct doveadm_cmd_ver2 imapsync_commands[] = {
{
	.name = "imapsync account set",
	.cmd = cmd_account_set,
	.usage = "-u <user> [--dry-run] [--secret-file <path>|-] "
		"<name> <key>=<value> [...]",
DOVEADM_CMD_PARAMS_START
PARAM_USER
DOVEADM_CMD_PARAM('\0', "dry-run", CMD_PARAM_BOOL, 0)
DOVEADM_CMD_PARAM('\0', "secret-file", CMD_PARAM_ISTREAM, 0)
PARAM_NAME
DOVEADM_CMD_PARAM('\0', "settings", CMD_PARAM_ARRAY, CMD_PARAM_FLAG_POSITIONAL)
DOVEADM_CMD_PARAMS_END
}, {
	.name = "imapsync account list",
	.cmd = cmd_account_list,
	.usage = "-u <user mask>|-A",
DOVEADM_CMD_PARAMS_START
PARAM_USERS
DOVEADM_CMD_PARAMS_END
}, {
	.name = "imapsync account show",
	.cmd = cmd_account_show,
	.usage = "-u <user> <name>",
DOVEADM_CMD_PARAMS_START
PARAM_USER
PARAM_NAME
DOVEADM_CMD_PARAMS_END
}, {
	.name = "imapsync account delete",
	.cmd = cmd_account_delete,
	.usage = "-u <user> <name>",
DOVEADM_CMD_PARAMS_START
PARAM_USER
PARAM_NAME
DOVEADM_CMD_PARAMS_END
}, {
	.name = "imapsync account test",
	.cmd = cmd_account_test,
	.usage = "-u <user mask>|-A [<name>]",
DOVEADM_CMD_PARAMS_START
PARAM_USERS
PARAM_NAME
DOVEADM_CMD_PARAMS_END
}, {
	.name = "imapsync account folders",
	.cmd = cmd_account_folders,
	.usage = "-u <user mask>|-A [<name>]",
DOVEADM_CMD_PARAMS_START
PARAM_USERS
PARAM_NAME
DOVEADM_CMD_PARAMS_END
}, {
	.name = "imapsync account pause",
	.cmd = cmd_account_pause,
	.usage = "-u <user> <name>",
DOVEADM_CMD_PARAMS_START
PARAM_USER
PARAM_NAME
DOVEADM_CMD_PARAMS_END
}, {
	.name = "imapsync account resume",
	.cmd = cmd_account_resume,
	.usage = "-u <user> <name>",
DOVEADM_CMD_PARAMS_START
PARAM_USER
PARAM_NAME
DOVEADM_CMD_PARAMS_END
}, {
	.name = "imapsync run",
	.cmd = cmd_run,
	.usage = "-u <user mask>|-A [--full] [--dry-run] [<name>]",
DOVEADM_CMD_PARAMS_START
PARAM_USERS
DOVEADM_CMD_PARAM('\0', "full", CMD_PARAM_BOOL, 0)
DOVEADM_CMD_PARAM('\0', "dry-run", CMD_PARAM_BOOL, 0)
PARAM_NAME
DOVEADM_CMD_PARAMS_END
}, {
	.name = "imapsync status",
	.cmd = cmd_status,
	.usage = "[-u <user mask>|-A [<name>]]",
DOVEADM_CMD_PARAMS_START
PARAM_USERS
PARAM_NAME
DOVEADM_CMD_PARAMS_END
}, {
	.name = "imapsync stop",
	.cmd = cmd_stop,
	.usage = "-u <user mask>|-A [<name>]",
DOVEADM_CMD_PARAMS_START
PARAM_USERS
PARAM_NAME
DOVEADM_CMD_PARAMS_END
},
};

void doveadm_imapsync_register(void)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(imapsync_commands); i++)
		doveadm_cmd_register_ver2(&imapsync_commands[i]);
}
