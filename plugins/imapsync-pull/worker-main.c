/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "connection.h"
#include "hex-binary.h"
#include "ioloop.h"
#include "ostream.h"
#include "restrict-access.h"
#include "safe-memset.h"
#include "str.h"
#include "time-util.h"
#include "settings.h"
#include "mail-storage-service.h"
#include "mail-user.h"
#include "master-service.h"
#include "master-service-settings.h"
#include "dovecot-compat.h"
#include "redact.h"
#include "core/folder-map.h"
#include "core/sync-plan.h"
#include "core/trace-header.h"
#include "job.h"
#include "pull.h"
#include "imapsync-settings.h"

#include <sys/prctl.h>
#include <unistd.h>

/* One run at a time, as the mail user. Everything a remote server says is read
   here and in the watcher, in processes that have given up all other
   rights for good. */

/* a live display needs no more */
#define PROGRESS_INTERVAL_MSECS 100

struct worker_job {
	struct connection conn;
	/* the request; holds a secret */
	pool_t pool;
	struct job_line line;
	/* the asker hung up */
	bool gone;

	struct account account;
	const char *secret;
	unsigned char header_key[TRACE_HEADER_KEY_SIZE];

	struct mail_storage_service_user *service_user, *bulk_service_user;
	struct mail_user *user, *bulk_user;
	struct event *event;
	struct timeval start, last_progress;
};

static struct mail_storage_service_ctx *storage_service;
static struct connection_list *connections;
/* the request that ended master_service_run() */
static struct worker_job *ready_job;
static bool started_as_root;
/* tells the master that the last run is over */
static struct timeout *to_closed;

/*
 * Answers
 */

static void worker_send(struct worker_job *job, const string_t *str)
{
	if (!job->gone && job->conn.output != NULL)
		o_stream_nsend(job->conn.output, str_data(str), str_len(str));
}

static void
worker_send_end(struct worker_job *job, const struct pull_result *result)
{
	const struct pull_counts *counts = &result->counts;
	string_t *str = t_str_new(256);

	job_line_begin(str, "end");
	job_line_add_arg(str, reply_class_name(result->class));
	job_line_add_arg(str, result->text);
	job_line_add_arg(str, reply_hint_name(result->hint));
	job_line_add_arg(str, dec2str(result->wait_secs));
	job_line_add_arg(str, dec2str(counts->stored));
	job_line_add_arg(str, dec2str(counts->flags + counts->expunged));
	job_line_add_arg(str, dec2str(counts->failed));
	job_line_end(str);
	worker_send(job, str);
}

static string_t *worker_row_begin(struct worker_job *job)
{
	string_t *str = t_str_new(512);

	job_line_begin(str, "row");
	job_line_add(str, "user", job->account.user);
	job_line_add(str, "account", job->account.name);
	return str;
}

static void row_add_num(string_t *str, const char *key, uintmax_t num)
{
	job_line_add(str, key, dec2str(num));
}

static void worker_row_end(struct worker_job *job, string_t *str)
{
	job_line_end(str);
	worker_send(job, str);
}

static void
worker_progress(const char *folder, unsigned int done, unsigned int total,
		uoff_t bytes, void *context)
{
	struct worker_job *job = context;
	struct timeval now;
	string_t *str;

	i_gettimeofday(&now);
	if (done < total &&
	    timeval_diff_msecs(&now, &job->last_progress) <
	    PROGRESS_INTERVAL_MSECS)
		return;
	job->last_progress = now;
	str = t_str_new(128);
	job_line_begin(str, "progress");
	job_line_add_arg(str, folder);
	job_line_add_arg(str, dec2str(done));
	job_line_add_arg(str, dec2str(total));
	job_line_add_arg(str, dec2str(bytes));
	job_line_end(str);
	worker_send(job, str);
}

/* What went wrong, and what the owner can do about it. Data stack. */
static const char *worker_with_hint(const char *text, enum reply_hint hint)
{
	const char *advice = reply_hint_text(hint);

	return advice == NULL ? text :
		t_strdup_printf("%s (%s)", text, advice);
}

static const char *worker_status_name(const struct pull_result *result)
{
	if (result->class == REPLY_CLASS_OK)
		return "ok";
	return reply_class_is_contained(result->class) ||
		result->counts.stored > 0 ? "partial" : "failed";
}

static void
worker_run_row(struct worker_job *job, const struct pull_result *result)
{
	const struct pull_counts *counts = &result->counts;
	string_t *str = worker_row_begin(job);
	struct timeval now;

	i_gettimeofday(&now);
	job_line_add(str, "status", worker_status_name(result));
	job_line_add(str, "class", reply_class_name(result->class));
	row_add_num(str, "folders", counts->folders);
	row_add_num(str, "new", counts->stored);
	row_add_num(str, "lmtp", counts->lmtp);
	row_add_num(str, "direct", counts->direct);
	row_add_num(str, "adopted", counts->adopted);
	row_add_num(str, "flags", counts->flags);
	row_add_num(str, "expunged", counts->expunged);
	row_add_num(str, "skipped", counts->skipped);
	row_add_num(str, "failed", counts->failed);
	row_add_num(str, "bytes", counts->bytes);
	job_line_add(str, "seconds", t_strdup_printf("%.3f",
		timeval_diff_usecs(&now, &job->start) / 1000000.0));
	job_line_add(str, "error", result->text);
	worker_row_end(job, str);
}

static void
worker_step_row(struct worker_job *job, const char *step, const char *detail,
		enum reply_class class)
{
	string_t *str = worker_row_begin(job);

	job_line_add(str, "step", step);
	job_line_add(str, "result", class == REPLY_CLASS_OK ? "ok" : "failed");
	job_line_add(str, "class", reply_class_name(class));
	job_line_add(str, "detail", detail);
	worker_row_end(job, str);
}

static void
worker_step(enum remote_imap_step step, const char *detail,
	    const struct remote_imap_error *error, void *context)
{
	static const char *const names[] = {
		[REMOTE_IMAP_STEP_DNS] = "dns",
		[REMOTE_IMAP_STEP_TCP] = "tcp",
		[REMOTE_IMAP_STEP_TLS] = "tls",
		[REMOTE_IMAP_STEP_LOGIN] = "login",
	};

	if (error != NULL) {
		worker_step_row(context, names[step],
				worker_with_hint(error->text, error->hint),
				error->class);
	} else {
		worker_step_row(context, names[step], detail, REPLY_CLASS_OK);
	}
}

static void
worker_folder_row(const struct folder_mapped *mapped,
		  const struct sync_status *status, void *context)
{
	struct worker_job *job = context;
	string_t *str = worker_row_begin(job);

	job_line_add(str, "remote",
		     redact_remote_name(mapped->listed->remote_name));
	job_line_add(str, "local", mapped->local_name == NULL ? "" :
		     mapped->local_name);
	job_line_add(str, "special_use",
		     folder_special_use_name(mapped->special_use));
	row_add_num(str, "messages", status->messages);
	job_line_add(str, "selected", mapped->selected ? "yes" : "no");
	job_line_add(str, "reason",
		     mapped->reason == NULL ? "" : mapped->reason);
	worker_row_end(job, str);
}

/*
 * The mail user
 */

/* From here on nothing can bring rights back. */
static void worker_check_privileges(void)
{
	if (geteuid() == 0 || getuid() == 0 || setuid(0) == 0)
		i_fatal("privileges were not dropped: is the mail uid 0?");
	/* a core would hold the account's password */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		i_fatal("prctl() failed: %m");
}

static int worker_lookup_user(struct worker_job *job, const char **error_r)
{
	struct mail_storage_service_input input;
	int ret;

	i_zero(&input);
	input.compat_protocol = input.service = "imapsync-pull";
	input.username = job->account.user;
	input.event_parent = job->event;
	ret = mail_storage_service_lookup(storage_service, &input,
					  &job->service_user, error_r);
	if (ret == 0)
		*error_r = "there is no such local user";
	return ret > 0 ? 0 : -1;
}

static int
worker_next_user(struct mail_storage_service_user *service_user,
		 struct mail_user **user_r, const char **error_r)
{
	if (mail_storage_service_next(storage_service, service_user,
				      user_r, error_r) < 0)
		return -1;
	worker_check_privileges();
	return 0;
}

static struct mail_user *worker_get_user(bool no_fsync, void *context)
{
	struct worker_job *job = context;
	const char *error;

	if (!no_fsync || job->bulk_user != NULL)
		return no_fsync ? job->bulk_user : job->user;
	job->bulk_service_user =
		mail_storage_service_user_dup(job->service_user);
	settings_override(mail_storage_service_user_get_settings_instance(
				job->bulk_service_user),
			  "mail_fsync", "never", SETTINGS_OVERRIDE_TYPE_CODE);
	if (worker_next_user(job->bulk_service_user, &job->bulk_user,
			     &error) < 0) {
		mail_storage_service_user_unref(&job->bulk_service_user);
		e_error(job->event, "mail user for a bulk run: %s", error);
		return NULL;
	}
	return job->bulk_user;
}

static void worker_free_users(struct worker_job *job)
{
	if (job->bulk_user != NULL)
		mail_user_deinit(&job->bulk_user);
	if (job->user != NULL)
		mail_user_deinit(&job->user);
	if (job->bulk_service_user != NULL)
		mail_storage_service_user_unref(&job->bulk_service_user);
	/* the asker may have gone before it asked for anything */
	if (job->service_user != NULL)
		mail_storage_service_user_unref(&job->service_user);
}

/*
 * Jobs
 */

static int worker_parse_header_key(struct worker_job *job)
{
	const char *hex = job_line_get(&job->line, "header_key");
	buffer_t buf;

	if (hex == NULL || strlen(hex) != sizeof(job->header_key) * 2)
		return -1;
	buffer_create_from_data(&buf, job->header_key,
				sizeof(job->header_key));
	return hex_to_binary(hex, &buf);
}

static int worker_parse_job(struct worker_job *job, const char **error_r)
{
	const struct job_line *line = &job->line;
	const char *user = job_line_get(line, "user");
	const char *name = job_line_get(line, "name");

	job->secret = job_line_get(line, "secret");
	if (user == NULL || name == NULL || job->secret == NULL) {
		*error_r = "the job lacks user, name or secret";
		return -1;
	}
	if (worker_parse_header_key(job) < 0) {
		*error_r = "the job has no valid header_key";
		return -1;
	}
	return account_parse(job->pool, user, name,
			     job_line_get_all(job->pool, line, "set"),
			     &job->account, error_r);
}

static bool worker_is_stopped(void *context)
{
	struct worker_job *job = context;

	return job->gone || master_service_is_killed(master_service);
}

static const char *worker_log_text(const struct pull_result *result)
{
	const struct pull_counts *counts = &result->counts;

	return t_strdup_printf("%s: %u stored (%u lmtp, %u direct), "
		"%u here already, %u flag changes, %u expunged, "
		"%u failed%s%s%s%s",
		worker_status_name(result), counts->stored, counts->lmtp,
		counts->direct, counts->adopted, counts->flags,
		counts->expunged, counts->failed,
		result->text[0] == '\0' ? "" : ": ", result->text,
		result->detail == NULL ? "" : ": ",
		result->detail == NULL ? "" : result->detail);
}

/* One line for each run. Most runs find nothing to do: who is pulled each
   minute shall not fill the log with that. */
static void worker_log(struct worker_job *job, const struct pull_result *result)
{
	const struct pull_counts *counts = &result->counts;
	struct event_passthrough *e = event_create_passthrough(job->event)->
		set_name("imapsync_pull_run_finished")->
		add_str("class", reply_class_name(result->class))->
		add_str("result", worker_status_name(result))->
		add_int("stored", counts->stored)->
		add_int("bytes", counts->bytes);

	if (result->class != REPLY_CLASS_OK)
		e->add_str("error", result->text);
	if (result->class != REPLY_CLASS_OK || counts->failed > 0 ||
	    counts->stored + counts->adopted > 0 ||
	    counts->flags + counts->expunged > 0)
		e_info(e->event(), "%s", worker_log_text(result));
	else
		e_debug(e->event(), "%s", worker_log_text(result));
}

static void worker_job_list(struct worker_job *job, struct pull_settings *set,
			    struct pull_result *result_r)
{
	bool test = strcmp(job->line.word, "test") == 0;

	if (test)
		set->step = worker_step;
	else
		set->folder = worker_folder_row;
	pull_list_folders(job->pool, set, result_r);
	if (result_r->detail != NULL)
		e_info(job->event, "%s: %s", result_r->text, result_r->detail);
	result_r->text = worker_with_hint(result_r->text, result_r->hint);
	if (!test)
		return;
	if (result_r->class == REPLY_CLASS_OK) {
		worker_step_row(job, "list", t_strdup_printf("%u folders",
				result_r->counts.folders), REPLY_CLASS_OK);
	} else if (result_r->counts.folders > 0 ||
		   reply_class_is_contained(result_r->class)) {
		worker_step_row(job, "list", result_r->text, result_r->class);
	}
}

static void worker_job_run(struct worker_job *job, struct pull_settings *set,
			   struct pull_result *result_r)
{
	set->full = job_line_get(&job->line, "full") != NULL;
	set->dry_run = job_line_get(&job->line, "dry_run") != NULL;
	set->progress = worker_progress;
	pull_run(job->pool, set, result_r);
	result_r->text = worker_with_hint(result_r->text, result_r->hint);
	worker_run_row(job, result_r);
	worker_log(job, result_r);
}

static void
worker_job_failed(struct worker_job *job, enum reply_class class,
		  const char *error)
{
	struct pull_result result = { .class = class, .text = error };

	if (strcmp(job->line.word, "run") == 0 && job->account.name != NULL) {
		worker_run_row(job, &result);
		worker_log(job, &result);
	}
	worker_send_end(job, &result);
}

static void worker_job_perform(struct worker_job *job)
{
	struct pull_result result = { .class = REPLY_CLASS_OK, .text = "" };
	struct pull_settings set;
	const char *error;

	i_zero(&set);
	if (imapsync_settings_for_user(job->user, &set.set, &error) < 0) {
		worker_job_failed(job, REPLY_CLASS_CONFIG, error);
		return;
	}
	set.account = &job->account;
	set.secret = job->secret;
	set.header_key = job->header_key;
	set.base_dir = job->user->set->base_dir;
	set.event = job->event;
	set.get_user = worker_get_user;
	set.is_stopped = worker_is_stopped;
	set.context = job;
	if (strcmp(job->line.word, "run") == 0)
		worker_job_run(job, &set, &result);
	else
		worker_job_list(job, &set, &result);
	worker_send_end(job, &result);
}

static void worker_job_event(struct worker_job *job)
{
	job->event = event_create(NULL);
	if (job->account.name == NULL)
		return;
	event_set_append_log_prefix(job->event, t_strdup_printf(
		"%s/%s: ", job->account.user, job->account.name));
	event_add_str(job->event, "user", job->account.user);
	event_add_str(job->event, "account", job->account.name);
}

static void worker_job_do(struct worker_job *job)
{
	const char *error;
	int ret = worker_parse_job(job, &error);

	worker_job_event(job);
	if (ret < 0) {
		worker_job_failed(job, REPLY_CLASS_CONFIG, error);
		return;
	}
	if (worker_lookup_user(job, &error) < 0 ||
	    worker_next_user(job->service_user, &job->user, &error) < 0) {
		worker_job_failed(job, REPLY_CLASS_LOCAL, error);
		return;
	}
	worker_job_perform(job);
}

/*
 * Connections
 */

static void worker_job_free(struct worker_job *job)
{
	if (job->conn.output != NULL)
		(void)o_stream_flush(job->conn.output);
	connection_deinit(&job->conn);
	worker_free_users(job);
	event_unref(&job->event);
	pool_unref(&job->pool);
	safe_memset(job->header_key, 0, sizeof(job->header_key));
	i_free(job);
}

static void worker_conn_closed(void *context ATTR_UNUSED)
{
	timeout_remove(&to_closed);
	master_service_client_connection_destroyed(master_service);
}

static void worker_conn_destroy(struct connection *conn)
{
	struct worker_job *job = container_of(conn, struct worker_job, conn);

	if (job == ready_job) {
		/* a run is under way: it sees this and stops */
		job->gone = TRUE;
		connection_disconnect(conn);
		io_loop_stop(current_ioloop);
		return;
	}
	worker_job_free(job);
	worker_conn_closed(NULL);
}

static int worker_conn_input_line(struct connection *conn, const char *text)
{
	struct worker_job *job = container_of(conn, struct worker_job, conn);
	const char *error;

	if (!connection_handshake_received(conn))
		return connection_input_line_default(conn, text);
	if (ready_job != NULL)
		return -1;
	if (job_line_parse(job->pool, p_strdup(job->pool, text), &job->line,
			   &error) < 0) {
		e_error(conn->event, "broken job: %s", error);
		return -1;
	}
	/* not from within the ioloop: a run waits in it */
	ready_job = job;
	io_loop_stop(current_ioloop);
	return 1;
}

static const struct connection_vfuncs worker_conn_vfuncs = {
	.destroy = worker_conn_destroy,
	.input_line = worker_conn_input_line,
};

static void client_connected(struct master_service_connection *conn)
{
	struct worker_job *job = i_new(struct worker_job, 1);

	master_service_client_connection_accept(conn);
	job->pool = pool_alloconly_create_clean("worker job", 8192);
	i_gettimeofday(&job->start);
	job->last_progress = job->start;
	connection_init_server(connections, &job->conn, "service", conn->fd,
			       conn->fd);
}

static void worker_run_ready_job(void)
{
	struct worker_job *job = ready_job;

	T_BEGIN {
		worker_job_do(job);
	} T_END;
	ready_job = NULL;
	worker_job_free(job);
}

static void worker_main_loop(void)
{
	for (;;) {
		ready_job = NULL;
		master_service_run(master_service, client_connected);
		if (ready_job == NULL)
			break;
		worker_run_ready_job();
		/* what became a mail user cannot serve another one */
		if (started_as_root)
			break;
		to_closed = timeout_add_short(0, worker_conn_closed, NULL);
	}
	timeout_remove(&to_closed);
}

int main(int argc, char *argv[])
{
	const enum mail_storage_service_flags storage_flags =
		MAIL_STORAGE_SERVICE_FLAG_USERDB_LOOKUP |
		MAIL_STORAGE_SERVICE_FLAG_NO_LOG_INIT |
		MAIL_STORAGE_SERVICE_FLAG_NO_IDLE_TIMEOUT;
	const struct imapsync_settings *set;
	const char *error;

	master_service = master_service_init("imapsync-pull-worker",
		COMPAT_KEEP_CONFIG_OPEN, &argc, &argv, "");
	if (master_getopt(master_service) > 0)
		return FATAL_DEFAULT;
	/* the configuration socket is root's */
	if (imapsync_settings_read(master_service, &set, &error) < 0)
		i_fatal("%s", error);
	restrict_access_by_env(RESTRICT_ACCESS_FLAG_ALLOW_ROOT, NULL);
	started_as_root = geteuid() == 0;
	master_service_init_log_with_pid(master_service);

	storage_service = mail_storage_service_init(master_service,
						    storage_flags);
	connections = connection_list_init(&job_server_set,
					   &worker_conn_vfuncs);
	master_service_init_finish(master_service);
	worker_main_loop();

	connection_list_deinit(&connections);
	mail_storage_service_deinit(&storage_service);
	master_service_deinit(&master_service);
	return 0;
}
