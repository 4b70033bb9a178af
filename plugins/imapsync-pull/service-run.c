/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "llist.h"
#include "str.h"
#include "str-sanitize.h"
#include "dovecot-compat.h"
#include "scheduler.h"
#include "secret.h"
#include "service-private.h"

#include <sysexits.h>

/* A worker talks while it works. Longer than any step it may take in silence:
   one command to the server, one message to LMTP. */
#define SILENCE_MIN_SECS (30*60)
/* What a worker says is shown on a terminal: no control characters, and no
   more than fits a table. */
#define VALUE_MAX_CHARS 1024

/* One run for an asker. */
struct asker_run {
	struct asker_run *prev, *next;
	struct asker_runs *runs;
	struct run *run;
	const char *user, *account;
	/* rows have been sent for it */
	bool rows;
};

/* The runs of one command. */
struct asker_runs {
	struct asker *asker;
	enum run_command command;
	struct asker_run *pending;

	/* what became of those that ended */
	unsigned int ok_count, failed_count;
	enum reply_class class;
	bool mixed;
	/* of the first that failed */
	const char *text;
};

static bool
run_command_parse(const char *word, enum run_command *command_r)
{
	if (strcmp(word, "run") == 0)
		*command_r = RUN_COMMAND_RUN;
	else if (strcmp(word, "account-test") == 0)
		*command_r = RUN_COMMAND_TEST;
	else if (strcmp(word, "account-folders") == 0)
		*command_r = RUN_COMMAND_FOLDERS;
	else
		return FALSE;
	return TRUE;
}

/*
 * The job
 */

static int
prepare_check(struct pull_service *service, const struct run_request *request,
	      const struct account_entry *entry, enum reply_class *class_r,
	      const char **error_r)
{
	*class_r = REPLY_CLASS_CONFIG;
	if (request->command == RUN_COMMAND_RUN && !entry->account.enabled) {
		*error_r = "the account is not enabled";
		return -1;
	}
	if (entry->sealed == NULL) {
		*error_r = "the account has no password";
		return -1;
	}
	if (!account_policy_allows(&service->policy, &entry->account,
				   error_r)) {
		*class_r = REPLY_CLASS_POLICY;
		return -1;
	}
	return 0;
}

static int
prepare_load(struct pull_service *service, pool_t pool,
	     const struct run_request *request, struct account_entry *entry_r,
	     enum reply_class *class_r, const char **error_r)
{
	int ret;

	*class_r = REPLY_CLASS_CONFIG;
	if (pull_service_need_store(service, error_r) < 0 ||
	    pull_service_need_keys(service, error_r) < 0)
		return -1;
	ret = account_store_get(service->store, pool, request->user,
				request->account, entry_r, error_r);
	if (ret == 0) {
		*error_r = "the account was deleted meanwhile";
		return -1;
	}
	if (ret < 0) {
		if (entry_r->error == NULL)
			*class_r = REPLY_CLASS_LOCAL;
		return -1;
	}
	return prepare_check(service, request, entry_r, class_r, error_r);
}

static int
prepare_secret(struct pull_service *service, pool_t pool,
	       const struct account_entry *entry, const char **secret_r,
	       const char **error_r)
{
	const struct secret_owner owner = {
		.user = entry->account.user,
		.account = entry->account.name,
		.field = "password",
	};

	if (secret_open(pool, service->ring, &owner, entry->sealed,
			secret_r, error_r) == 0)
		return 0;
	*error_r = t_strdup_printf("stored password: %s", *error_r);
	e_error(service->event, "%s/%s: %s", owner.user, owner.account,
		*error_r);
	return -1;
}

static void
prepare_line(struct pull_service *service, const struct run_request *request,
	     const struct account_entry *entry, const char *secret,
	     struct run_job *job)
{
	const char *const *settings =
		account_print(job->pool, &entry->account, FALSE);

	/* large enough never to be moved, which would leave a copy behind */
	job->line = str_new(job->pool, JOB_MAX_LINE);
	job_line_begin(job->line, run_command_name(request->command));
	job_line_add(job->line, "user", entry->account.user);
	job_line_add(job->line, "name", entry->account.name);
	if (request->full)
		job_line_add(job->line, "full", "1");
	if (request->dry_run)
		job_line_add(job->line, "dry_run", "1");
	job_line_add(job->line, "header_key", service->header_key);
	job_line_add(job->line, "secret", secret);
	for (; *settings != NULL; settings++)
		job_line_add(job->line, "set", *settings);
	job_line_end(job->line);
}

int pull_service_prepare_run(const struct run_request *request,
			     struct run_job *job_r, enum reply_class *class_r,
			     const char **error_r, void *context)
{
	struct pull_service *service = context;
	struct account_entry entry;
	const char *secret;

	i_zero(&entry);
	job_r->pool = pool_alloconly_create_clean("imapsync job", 1024);
	if (prepare_load(service, job_r->pool, request, &entry,
			 class_r, error_r) < 0)
		return -1;
	if (prepare_secret(service, job_r->pool, &entry, &secret,
			   error_r) < 0) {
		*class_r = REPLY_CLASS_CONFIG;
		return -1;
	}
	job_r->silence_secs = I_MAX(SILENCE_MIN_SECS,
				    3 * entry.account.timeout_secs);
	prepare_line(service, request, &entry, secret, job_r);
	return 0;
}

static void
prepare_watch_line(const struct account_entry *entry, unsigned int id,
		   const char *secret, struct run_job *job)
{
	const char *const *settings =
		account_print(job->pool, &entry->account, FALSE);

	job->line = str_new(job->pool, JOB_MAX_LINE);
	job_line_begin(job->line, "watch");
	job_line_add(job->line, "id", dec2str(id));
	job_line_add(job->line, "user", entry->account.user);
	job_line_add(job->line, "name", entry->account.name);
	job_line_add(job->line, "secret", secret);
	for (; *settings != NULL; settings++)
		job_line_add(job->line, "set", *settings);
	job_line_end(job->line);
}

int pull_service_prepare_watch(struct pull_service *service, const char *user,
			       const char *name, unsigned int id,
			       struct run_job *job_r, const char **error_r)
{
	const struct run_request request = {
		.command = RUN_COMMAND_RUN, .user = user, .account = name,
	};
	struct account_entry entry;
	enum reply_class class;
	const char *secret;

	i_zero(&entry);
	job_r->pool = pool_alloconly_create_clean("imapsync watch", 1024);
	if (prepare_load(service, job_r->pool, &request, &entry, &class,
			 error_r) < 0 ||
	    prepare_secret(service, job_r->pool, &entry, &secret, error_r) < 0)
		return -1;
	prepare_watch_line(&entry, id, secret, job_r);
	return 0;
}

/* A run that no worker tells of. Who asked for it by hand is told why. */
static void run_finished_event(struct pull_service *service,
			       const struct run_request *request,
			       const struct worker_job_end *end)
{
	struct event *event = event_create(service->event);
	struct event_passthrough *e;

	event_add_str(event, "user", request->user);
	event_add_str(event, "account", request->account);
	e = event_create_passthrough(event)->
		set_name("imapsync_pull_run_finished")->
		add_str("class", reply_class_name(end->class))->
		add_str("result", "failed")->
		add_int("stored", 0)->
		add_int("bytes", 0)->
		add_str("error", end->text);
	if (request->scheduled && end->class != REPLY_CLASS_STOPPED) {
		e_info(e->event(), "%s/%s: failed: %s",
		       str_sanitize_utf8(request->user, 128),
		       request->account, end->text);
	} else {
		e_debug(e->event(), "%s/%s: %s",
			str_sanitize_utf8(request->user, 128),
			request->account, end->text);
	}
	event_unref(&event);
}

/* The schedule and cred-notify hear of it, whoever asked for the run. */
void pull_service_run_ended(const struct run_request *request,
			    const struct worker_job_end *end,
			    unsigned int msecs, void *context)
{
	struct pull_service *service = context;
	struct account_entry entry;
	const char *error;
	pool_t pool;

	if (request->command == RUN_COMMAND_RUN && !end->from_worker)
		run_finished_event(service, request, end);
	scheduler_run_ended(service->scheduler, request, end, msecs);
	if (!service_report_wants(service->report, request->user,
				  request->account, end->class))
		return;
	pool = pool_alloconly_create("imapsync account", 1024);
	/* If it was deleted meanwhile, nobody misses it. If the dict is out of
	   order, that has been said. */
	if (pull_service_need_store(service, &error) == 0 &&
	    account_store_get(service->store, pool, request->user,
			      request->account, &entry, &error) > 0) {
		service_report_run_ended(service->report, &entry.account,
					 end->class, end->hint);
	}
	pool_unref(&pool);
}

/*
 * The answers
 */

static void
asker_run_row(struct asker_run *run, const struct job_line *line)
{
	string_t *row = asker_row_begin();
	unsigned int i;

	/* whose row it is, is not the worker's to say */
	job_line_add(row, "user", run->user);
	job_line_add(row, "account", run->account);
	for (i = 0; i < line->field_count; i++) {
		const struct job_field *field = &line->fields[i];

		if (strcmp(field->key, "user") != 0 &&
		    strcmp(field->key, "account") != 0) {
			job_line_add(row, field->key,
				str_sanitize_utf8(field->value,
						  VALUE_MAX_CHARS));
		}
	}
	run->rows = TRUE;
	asker_row_send(run->runs->asker, row);
}

static void
asker_run_progress(struct asker_run *run, const struct job_line *line)
{
	string_t *dest = t_str_new(128);
	unsigned int i;

	if (str_array_length(line->args) < 4)
		return;
	job_line_begin(dest, "progress");
	for (i = 0; i < 4; i++) {
		job_line_add_arg(dest, str_sanitize_utf8(line->args[i],
							 VALUE_MAX_CHARS));
	}
	job_line_add_arg(dest, t_strdup_printf("%s/%s", run->user,
					       run->account));
	job_line_end(dest);
	asker_progress_send(run->runs->asker, dest);
}

static void asker_run_answer(const struct job_line *line, void *context)
{
	struct asker_run *run = context;

	if (strcmp(line->word, "row") == 0)
		asker_run_row(run, line);
	else if (strcmp(line->word, "progress") == 0)
		asker_run_progress(run, line);
}

/* Each account has a row, whatever became of it. */
static void
asker_run_failed_row(struct asker_run *run, enum reply_class class,
		     const char *text)
{
	string_t *row;

	if (run->rows || run->runs->command == RUN_COMMAND_FOLDERS)
		return;
	row = asker_row_begin();
	job_line_add(row, "user", run->user);
	job_line_add(row, "account", run->account);
	job_line_add(row, "class", reply_class_name(class));
	if (run->runs->command == RUN_COMMAND_TEST) {
		job_line_add(row, "step", "start");
		job_line_add(row, "result", "failed");
		job_line_add(row, "detail", text);
	} else {
		job_line_add(row, "status", "failed");
		job_line_add(row, "error", text);
	}
	asker_row_send(run->runs->asker, row);
}

static void
asker_runs_count(struct asker_runs *runs, const struct asker_run *run,
		 enum reply_class class, const char *text)
{
	if (class == REPLY_CLASS_OK) {
		runs->ok_count++;
		return;
	}
	if (runs->failed_count++ == 0) {
		runs->class = class;
		runs->text = p_strdup_printf(runs->asker->pool, "%s/%s: %s",
					     run->user, run->account, text);
	} else if (runs->class != class) {
		runs->mixed = TRUE;
	}
}

static void asker_runs_end(struct asker_runs *runs)
{
	struct asker *asker = runs->asker;
	int exit_code = 0;

	i_assert(runs->pending == NULL);

	asker->runs = NULL;
	if (runs->failed_count == 0) {
		asker_end_ok(asker);
		return;
	}
	/* partly done, or more than one reason: trying again helps some */
	if (runs->ok_count > 0 || runs->mixed)
		exit_code = EX_TEMPFAIL;
	if (runs->failed_count == 1) {
		asker_end_error(asker, runs->class, exit_code, "%s",
				runs->text);
	} else {
		asker_end_error(asker, runs->class, exit_code,
				"%s (and %u more)", runs->text,
				runs->failed_count - 1);
	}
}

static void
asker_run_end(const struct worker_job_end *end, void *context)
{
	struct asker_run *run = context;
	struct asker_runs *runs = run->runs;

	run->run = NULL;
	DLLIST_REMOVE(&runs->pending, run);
	if (end->class != REPLY_CLASS_OK)
		asker_run_failed_row(run, end->class, end->text);
	asker_runs_count(runs, run, end->class, end->text);
	if (runs->pending == NULL)
		asker_runs_end(runs);
}

static const struct worker_job_handlers asker_run_handlers = {
	.answer = asker_run_answer,
	.end = asker_run_end,
};

static void
asker_runs_say_waits(struct asker *asker, const struct account *account)
{
	static const char *const args[] = {
		"waits until the pull that is under way has ended",
		"0", "0", "0"
	};
	string_t *line = t_str_new(128);
	unsigned int i;

	job_line_begin(line, "progress");
	for (i = 0; i < N_ELEMENTS(args); i++)
		job_line_add_arg(line, args[i]);
	job_line_add_arg(line, t_strdup_printf("%s/%s", account->user,
					       account->name));
	job_line_end(line);
	asker_progress_send(asker, line);
}

static void
asker_runs_add(struct asker_runs *runs, const struct account *account,
	       const struct job_line *line)
{
	const struct run_request request = {
		.command = runs->command,
		.user = account->user,
		.account = account->name,
		.host = account->host,
		.login = account->login,
		.full = job_line_get(line, "full") != NULL,
		.dry_run = job_line_get(line, "dry_run") != NULL,
	};
	struct run_queue *queue = runs->asker->service->queue;
	struct asker_run *run;

	if (runs->command == RUN_COMMAND_RUN &&
	    run_queue_has_run(queue, account->user, account->name))
		asker_runs_say_waits(runs->asker, account);
	run = p_new(runs->asker->pool, struct asker_run, 1);
	run->runs = runs;
	run->user = account->user;
	run->account = account->name;
	DLLIST_PREPEND(&runs->pending, run);
	run->run = run_queue_add(queue, &request, &asker_run_handlers, run);
}

/* Whoever names an account means it; else those that are not enabled, are left
   alone. Those that are broken are reported when their turn comes. */
static bool
asker_runs_wants(const struct asker_runs *runs,
		 const struct account_entry *entry, const char *name)
{
	return name != NULL || runs->command != RUN_COMMAND_RUN ||
		entry->error != NULL || entry->account.enabled;
}

void asker_run(struct asker *asker, const struct job_line *line)
{
	const char *name = job_line_get(line, "name");
	ARRAY_TYPE(account_entry) entries;
	const struct account_entry *entry;
	struct asker_runs *runs;

	if (!pull_service_find_accounts(asker, line, FALSE, &entries))
		return;
	runs = p_new(asker->pool, struct asker_runs, 1);
	runs->asker = asker;
	if (!run_command_parse(line->word, &runs->command))
		i_unreached();
	array_foreach(&entries, entry) {
		if (asker_runs_wants(runs, entry, name))
			asker_runs_add(runs, &entry->account, line);
	}
	if (runs->pending != NULL) {
		asker->runs = runs;
		return;
	}
	if (job_line_get(line, "all") != NULL)
		asker_end_ok(asker);
	else {
		asker_end_error(asker, REPLY_CLASS_CONFIG, EXIT_NOT_FOUND,
				"%s has no account that is enabled",
				str_sanitize_utf8(job_line_get(line, "user"),
						  128));
	}
}

void asker_runs_abort(struct asker *asker)
{
	struct asker_runs *runs = asker->runs;
	struct asker_run *run, *next;

	if (runs == NULL)
		return;
	/* the last one frees runs */
	for (run = runs->pending; run != NULL; run = next) {
		next = run->next;
		run_abort(&run->run);
	}
}
