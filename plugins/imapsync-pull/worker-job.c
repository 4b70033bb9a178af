/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "connection.h"
#include "ioloop.h"
#include "ostream.h"
#include "str.h"
#include "str-sanitize.h"
#include "strnum.h"
#include "dovecot-compat.h"
#include "job.h"
#include "worker-job.h"

/* All worker processes may be busy: the connection then waits for one. */
#define WORKER_HANDSHAKE_MSECS (60*1000)

struct worker_job {
	struct connection conn;
	pool_t request_pool;
	const string_t *request;
	unsigned int silence_msecs;
	struct timeout *to;

	struct worker_job_handlers handlers;
	void *context;

	/* what end() is told; owns the text, NULL = it has not ended */
	struct worker_job_end end;
	char *text;
};

static struct connection_list *worker_jobs = NULL;

static void
worker_job_set_end(struct worker_job *job, enum reply_class class,
		   const char *text)
{
	if (job->text != NULL)
		return;
	job->end.class = class;
	job->end.text = job->text = i_strdup(text);
}

/* The last thing that happens to a job: the handler may start another one. */
static void worker_job_finish(struct worker_job *job)
{
	struct worker_job_handlers handlers = job->handlers;
	void *context = job->context;
	const struct worker_job_end end = job->end;
	char *text = job->text;

	i_assert(text != NULL);

	timeout_remove(&job->to);
	connection_deinit(&job->conn);
	if (job->request_pool != NULL)
		pool_unref(&job->request_pool);
	i_free(job);
	T_BEGIN {
		handlers.end(&end, context);
	} T_END;
	i_free(text);
}

static const char *worker_job_died(struct worker_job *job)
{
	if (!connection_handshake_received(&job->conn))
		return "the worker process did not start: see the server's log";
	return "the worker process died: see the server's log";
}

static void worker_job_destroy(struct connection *conn)
{
	struct worker_job *job = container_of(conn, struct worker_job, conn);

	worker_job_set_end(job, REPLY_CLASS_LOCAL, worker_job_died(job));
	worker_job_finish(job);
}

static void worker_job_timeout(struct worker_job *job)
{
	const char *text = !connection_handshake_received(&job->conn) ?
		"no worker process became free: try again later" :
		"the worker process says nothing any more and was given up";

	worker_job_set_end(job, REPLY_CLASS_LOCAL, text);
	worker_job_finish(job);
}

static void worker_job_send(struct worker_job *job)
{
	struct ostream *output = job->conn.output;

	/* written at once, so that no copy of a secret stays in the stream's
	   buffer */
	o_stream_uncork(output);
	o_stream_nsend(output, str_data(job->request), str_len(job->request));
	o_stream_cork(output);
	job->request = NULL;
	pool_unref(&job->request_pool);
}

static void worker_job_handshake_ready(struct connection *conn)
{
	struct worker_job *job = container_of(conn, struct worker_job, conn);

	worker_job_send(job);
	timeout_remove(&job->to);
	job->to = timeout_add(job->silence_msecs, worker_job_timeout, job);
}

/* Returns 0, or -1 if the numbers are not what they should be. None at all is
   good, too. */
static int
worker_job_end_numbers(struct worker_job_end *end, const char *const *args)
{
	unsigned int *const nums[] = {
		&end->wait_secs, &end->stored, &end->changed, &end->failed,
	};
	unsigned int i;

	if (*args == NULL)
		return 0;
	for (i = 0; i < N_ELEMENTS(nums); i++) {
		if (args[i] == NULL || str_to_uint(args[i], nums[i]) < 0)
			return -1;
	}
	return 0;
}

static int
worker_job_end_parse(struct worker_job_end *end, const char *const *args)
{
	i_zero(end);
	if (args[0] == NULL || args[1] == NULL ||
	    !reply_class_parse(args[0], &end->class))
		return -1;
	if (args[2] == NULL)
		return 0;
	(void)reply_hint_parse(args[2], &end->hint);
	return worker_job_end_numbers(end, args + 3);
}

static void
worker_job_end_line(struct worker_job *job, const struct job_line *line)
{
	struct worker_job_end end;

	if (worker_job_end_parse(&end, line->args) < 0) {
		worker_job_set_end(job, REPLY_CLASS_LOCAL,
				   "the worker process sent a broken end line");
	} else if (job->text == NULL) {
		end.from_worker = TRUE;
		job->end = end;
		worker_job_set_end(job, end.class,
				   str_sanitize_utf8(line->args[1], 1024));
	}
}

static int worker_job_line(struct worker_job *job, const char *text)
{
	struct job_line line;
	const char *error;

	if (job_line_parse(pool_datastack_create(), text, &line, &error) < 0) {
		worker_job_set_end(job, REPLY_CLASS_LOCAL, t_strdup_printf(
			"the worker process sent a broken line: %s", error));
		return -1;
	}
	if (strcmp(line.word, "end") == 0) {
		worker_job_end_line(job, &line);
		return -1;
	}
	job->handlers.answer(&line, job->context);
	return 1;
}

static int worker_job_input_line(struct connection *conn, const char *text)
{
	struct worker_job *job = container_of(conn, struct worker_job, conn);

	if (!connection_handshake_received(conn))
		return connection_input_line_default(conn, text);
	timeout_reset(job->to);
	/* The answer handler may not abort this job: it has no way to. */
	return worker_job_line(job, text);
}

static const struct connection_vfuncs worker_job_vfuncs = {
	.destroy = worker_job_destroy,
	.handshake_ready = worker_job_handshake_ready,
	.input_line = worker_job_input_line,
};

static void worker_job_connect_failed(struct worker_job *job)
{
	worker_job_finish(job);
}

struct worker_job *
worker_job_start(const char *socket_path, pool_t request_pool,
		 const string_t *request, unsigned int silence_secs,
		 const struct worker_job_handlers *handlers, void *context)
{
	struct worker_job *job;

	if (worker_jobs == NULL) {
		worker_jobs = connection_list_init(&job_client_set,
						   &worker_job_vfuncs);
	}
	job = i_new(struct worker_job, 1);
	job->handlers = *handlers;
	job->context = context;
	job->request_pool = request_pool;
	pool_ref(request_pool);
	job->request = request;
	job->silence_msecs = silence_secs * 1000;

	connection_init_client_unix(worker_jobs, &job->conn, socket_path);
	if (connection_client_connect(&job->conn) < 0) {
		worker_job_set_end(job, REPLY_CLASS_LOCAL, t_strdup_printf(
			"no worker process can be reached: connect(%s): %m",
			socket_path));
		job->to = timeout_add_short(0, worker_job_connect_failed, job);
	} else {
		job->to = timeout_add(WORKER_HANDSHAKE_MSECS,
				      worker_job_timeout, job);
	}
	return job;
}

void worker_job_abort(struct worker_job **_job)
{
	struct worker_job *job = *_job;

	if (job == NULL)
		return;
	*_job = NULL;
	worker_job_set_end(job, REPLY_CLASS_STOPPED, "stopped");
	worker_job_finish(job);
}

void worker_jobs_deinit(void)
{
	if (worker_jobs != NULL)
		connection_list_deinit(&worker_jobs);
}
