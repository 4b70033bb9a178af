/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "ioloop.h"
#include "istream.h"
#include "ostream.h"
#include "safe-memset.h"
#include "str.h"
#include "master-service.h"
#include "auth-master.h"
#include "dovecot-compat.h"
#include "imapsync-settings.h"
#include "scheduler.h"
#include "service-private.h"

#include <sysexits.h>

/* What doveadm has not read yet. Progress is dropped first; somebody who does
   not read his rows at all loses the connection. */
#define ASKER_PROGRESS_BUFFER (64*1024)
/* rows of accounts are made when there is less than this */
#define ASKER_ENTRIES_BUFFER (64*1024)
#define ASKER_MAX_BUFFER (32*1024*1024)
#define USERDB_TIMEOUT_MSECS (10*1000)

static const struct {
	const char *name;
	asker_command_t *func;
} asker_commands[] = {
	{ "account-set", asker_account_set },
	{ "account-list", asker_account_list },
	{ "account-show", asker_account_show },
	{ "account-delete", asker_account_delete },
	{ "account-test", asker_run },
	{ "account-folders", asker_run },
	{ "account-pause", asker_account_pause },
	{ "account-resume", asker_account_pause },
	{ "run", asker_run },
	{ "status", asker_status },
	{ "stop", asker_stop },
};

string_t *asker_row_begin(void)
{
	string_t *row = t_str_new(256);

	job_line_begin(row, "row");
	return row;
}

static void asker_send(struct asker *asker, const string_t *line)
{
	struct connection *conn = &asker->conn;

	o_stream_nsend(conn->output, str_data(line), str_len(line));
	if (o_stream_get_buffer_used_size(conn->output) > ASKER_MAX_BUFFER &&
	    !conn->input->closed) {
		/* The caller still uses asker: it goes when the main loop sees
		   the closed stream. */
		e_error(asker->event, "Does not read its answers");
		i_stream_close(conn->input);
		io_set_pending(conn->io);
	}
}

void asker_row_send(struct asker *asker, string_t *row)
{
	job_line_end(row);
	asker_send(asker, row);
}

void asker_progress_send(struct asker *asker, const string_t *line)
{
	if (o_stream_get_buffer_used_size(asker->conn.output) <
	    ASKER_PROGRESS_BUFFER)
		asker_send(asker, line);
}

void asker_end(struct asker *asker, const struct asker_end *end)
{
	string_t *line = t_str_new(128);

	i_assert(asker->runs == NULL);

	job_line_begin(line, "end");
	job_line_add_arg(line, reply_class_name(end->class));
	job_line_add_arg(line, end->text);
	if (end->exit_code != 0)
		job_line_add_arg(line, dec2str(end->exit_code));
	job_line_end(line);
	asker_send(asker, line);
	pool_unref(&asker->pool);
}

void asker_end_ok(struct asker *asker)
{
	const struct asker_end end = { .class = REPLY_CLASS_OK, .text = "" };

	asker_end(asker, &end);
}

void asker_end_error(struct asker *asker, enum reply_class class,
		     int exit_code, const char *text_format, ...)
{
	struct asker_end end = { .class = class, .exit_code = exit_code };
	va_list args;

	va_start(args, text_format);
	end.text = t_strdup_vprintf(text_format, args);
	va_end(args);
	asker_end(asker, &end);
}

/*
 * Rows of many accounts
 */

struct asker_entries {
	ARRAY_TYPE(account_entry) entries;
	unsigned int next;
	asker_entry_row_t *row;
	/* of the last account that has no row, else NULL */
	const char *error;
};

static void asker_entries_end(struct asker *asker)
{
	const char *error = asker->entries->error;

	asker->entries = NULL;
	if (error == NULL)
		asker_end_ok(asker);
	else
		asker_end_error(asker, REPLY_CLASS_CONFIG, 0, "%s", error);
}

static void asker_entries_next(struct asker *asker)
{
	struct asker_entries *entries = asker->entries;
	const char *error;

	if (entries->next == array_count(&entries->entries)) {
		asker_entries_end(asker);
		return;
	}
	error = entries->row(asker, array_idx(&entries->entries,
					      entries->next++));
	if (error != NULL)
		entries->error = p_strdup(asker->pool, error);
}

static int asker_output(struct asker *asker)
{
	struct ostream *output = asker->conn.output;

	if (o_stream_flush(output) < 0)
		return 1;
	while (asker->entries != NULL &&
	       o_stream_get_buffer_used_size(output) < ASKER_ENTRIES_BUFFER) {
		T_BEGIN {
			asker_entries_next(asker);
		} T_END;
	}
	return asker->entries == NULL ? 1 : 0;
}

void asker_send_entries(struct asker *asker,
			const ARRAY_TYPE(account_entry) *entries,
			asker_entry_row_t *row)
{
	asker->entries = p_new(asker->pool, struct asker_entries, 1);
	asker->entries->entries = *entries;
	asker->entries->row = row;
	o_stream_set_flush_callback(asker->conn.output, asker_output, asker);
	o_stream_set_flush_pending(asker->conn.output, TRUE);
}

/*
 * Commands
 */

static void asker_command(struct asker *asker, const struct job_line *line)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(asker_commands); i++) {
		if (strcmp(asker_commands[i].name, line->word) == 0) {
			asker_commands[i].func(asker, line);
			return;
		}
	}
	asker_end_error(asker, REPLY_CLASS_CONFIG, EX_USAGE,
			"the service knows no command %s (is it older than "
			"doveadm's plugin?)", line->word);
}

static int asker_line(struct asker *asker, const char *text)
{
	struct job_line line;
	const char *error;

	if (asker->pool != NULL) {
		e_error(asker->event, "Sent a command during a command");
		return -1;
	}
	asker->pool = pool_alloconly_create_clean("imapsync command", 4096);
	if (job_line_parse(asker->pool, text, &line, &error) < 0) {
		asker_end_error(asker, REPLY_CLASS_CONFIG, EX_USAGE,
				"bad request: %s", error);
		return 1;
	}
	asker_command(asker, &line);
	return 1;
}

static int asker_input_line(struct connection *conn, const char *text)
{
	struct asker *asker = container_of(conn, struct asker, conn);
	int ret;

	if (!connection_handshake_received(conn))
		return connection_input_line_default(conn, text);
	ret = asker_line(asker, text);
	/* The text lies in the stream's own buffer, which lives on. There may
	   have been a secret in it. */
	safe_memset((char *)text, 0, strlen(text));
	return ret;
}

static void asker_destroy(struct connection *conn)
{
	struct asker *asker = container_of(conn, struct asker, conn);

	asker_runs_abort(asker);
	connection_deinit(conn);
	if (asker->pool != NULL)
		pool_unref(&asker->pool);
	event_unref(&asker->event);
	i_free(asker);
	master_service_client_connection_destroyed(master_service);
}

static const struct connection_vfuncs asker_vfuncs = {
	.destroy = asker_destroy,
	.input_line = asker_input_line,
};

void pull_service_connected(struct pull_service *service,
			    const struct master_service_connection *conn)
{
	struct asker *asker;

	if (strcmp(conn->name, JOB_SOCKET_WAKE) == 0) {
		pull_service_waker_connected(service, conn->fd);
		return;
	}
	asker = i_new(struct asker, 1);
	asker->service = service;
	asker->event = event_create(service->event);
	connection_init_server(service->askers, &asker->conn, conn->name,
			       conn->fd, conn->fd);
}

/* The settings have been checked when they were read. */
static void pull_service_init_policy(struct pull_service *service)
{
	const struct imapsync_settings *set = service->set;
	const char *error;

	if (net_policy_parse(service->pool, set->imapsync_pull_allowed_networks,
			     set->imapsync_pull_allowed_ports,
			     &service->policy.net, &error) < 0)
		i_fatal("Invalid settings: %s", error);
	service->policy.allow_cleartext = set->imapsync_pull_allow_cleartext;
	service->policy.allow_no_verify = set->imapsync_pull_allow_no_verify;
}

static void pull_service_open(struct pull_service *service)
{
	const char *error;

	/* so that the log says it before somebody asks */
	if (pull_service_need_store(service, &error) < 0 ||
	    pull_service_need_keys(service, &error) < 0)
		e_error(service->event, "%s", error);
}

struct pull_service *
pull_service_init(const struct imapsync_settings *set, const char *base_dir)
{
	const struct run_limits limits = {
		.max_runs = set->imapsync_pull_max_runs,
		.max_per_host = set->imapsync_pull_max_runs_per_host,
		.max_per_mailbox =
			set->imapsync_pull_connections_per_mailbox,
	};
	struct pull_service *service;
	pool_t pool;

	pool = pool_alloconly_create("imapsync-pull service", 1024);
	service = p_new(pool, struct pull_service, 1);
	service->pool = pool;
	service->set = set;
	service->base_dir = p_strdup(pool, base_dir);
	service->event = event_create(NULL);
	pull_service_init_policy(service);
	service->askers = connection_list_init(&job_server_set, &asker_vfuncs);
	service->auth = auth_master_init(
		t_strconcat(base_dir, "/auth-userdb", NULL), 0);
	auth_master_set_timeout(service->auth, USERDB_TIMEOUT_MSECS);
	service->queue = run_queue_init(
		t_strconcat(base_dir, "/"JOB_SOCKET_WORKER, NULL),
		&limits, pull_service_prepare_run, service);
	run_queue_set_ended(service->queue, pull_service_run_ended);
	service->report = service_report_init(
		t_strconcat(set->imapsync_pull_service_dir, "/reports.sqlite",
			    NULL), base_dir, service->event);
	pull_service_open(service);
	service->scheduler = scheduler_init(service);
	return service;
}

void pull_service_deinit(struct pull_service **_service)
{
	struct pull_service *service = *_service;

	if (service == NULL)
		return;
	*_service = NULL;
	pull_service_wakers_deinit(service);
	scheduler_stop(service->scheduler);
	/* ends the runs of each */
	connection_list_deinit(&service->askers);
	run_queue_deinit(&service->queue);
	worker_jobs_deinit();
	scheduler_deinit(&service->scheduler);
	service_report_deinit(&service->report);
	auth_master_deinit(&service->auth);
	pull_service_keys_deinit(service);
	event_unref(&service->event);
	pool_unref(&service->pool);
}
