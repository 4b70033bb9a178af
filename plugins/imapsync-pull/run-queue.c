/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "ioloop.h"
#include "llist.h"
#include "dovecot-compat.h"
#include "run-queue.h"

/* places that runs cannot take */
#define RUN_QUEUE_INTERACTIVE_PLACES 4

struct run {
	struct run *prev, *next;
	struct run_queue *queue;

	pool_t pool;
	struct run_request request;
	struct worker_job_handlers handlers;
	void *context;

	/* NULL = waits for its turn */
	struct worker_job *job;
};

struct run_list {
	struct run *head, *tail;
};

struct run_queue {
	char *socket_path;
	unsigned int max_runs;
	run_prepare_t *prepare;
	/* may be NULL */
	run_ended_t *ended;
	void *context;

	/* somebody looks at the screen; the others */
	struct run_list waiting_interactive, waiting_runs;
	struct run_list active;
	unsigned int active_count, active_runs;

	/* starts what may start, from the main loop */
	struct timeout *to_start;
	bool deinit:1;
};

static const char *const run_command_names[] = { "run", "test", "folders" };

const char *run_command_name(enum run_command command)
{
	i_assert(command < N_ELEMENTS(run_command_names));

	return run_command_names[command];
}

struct run_queue *
run_queue_init(const char *worker_socket_path, unsigned int max_runs,
	       run_prepare_t *prepare, void *context)
{
	struct run_queue *queue;

	i_assert(max_runs > 0);

	queue = i_new(struct run_queue, 1);
	queue->socket_path = i_strdup(worker_socket_path);
	queue->max_runs = max_runs;
	queue->prepare = prepare;
	queue->context = context;
	return queue;
}

void run_queue_set_ended(struct run_queue *queue, run_ended_t *ended)
{
	queue->ended = ended;
}

static struct run_list *run_list_waiting(struct run *run)
{
	return run->request.command == RUN_COMMAND_RUN ?
		&run->queue->waiting_runs : &run->queue->waiting_interactive;
}

static void run_list_append(struct run_list *list, struct run *run)
{
	DLLIST2_APPEND(&list->head, &list->tail, run);
}

static void run_list_remove(struct run_list *list, struct run *run)
{
	DLLIST2_REMOVE(&list->head, &list->tail, run);
}

static void run_queue_start_later(struct run_queue *queue);

static void run_activate(struct run *run)
{
	struct run_queue *queue = run->queue;

	run_list_remove(run_list_waiting(run), run);
	run_list_append(&queue->active, run);
	queue->active_count++;
	if (run->request.command == RUN_COMMAND_RUN)
		queue->active_runs++;
}

static void run_deactivate(struct run *run)
{
	struct run_queue *queue = run->queue;

	run_list_remove(&queue->active, run);
	queue->active_count--;
	if (run->request.command == RUN_COMMAND_RUN)
		queue->active_runs--;
	run_queue_start_later(queue);
}

/* The run must be in no list. */
static void
run_end(struct run *run, const struct worker_job_end *end)
{
	struct run_queue *queue = run->queue;
	struct worker_job_handlers handlers = run->handlers;
	void *context = run->context;

	if (queue->ended != NULL)
		queue->ended(&run->request, end, queue->context);
	pool_unref(&run->pool);
	handlers.end(end, context);
}

static void run_job_answer(const struct job_line *line, void *context)
{
	struct run *run = context;

	run->handlers.answer(line, run->context);
}

static void
run_job_end(const struct worker_job_end *end, void *context)
{
	struct run *run = context;

	run->job = NULL;
	run_deactivate(run);
	run_end(run, end);
}

static const struct worker_job_handlers run_job_handlers = {
	.answer = run_job_answer,
	.end = run_job_end,
};

static void run_start(struct run *run)
{
	struct run_queue *queue = run->queue;
	struct worker_job_end end = { .hint = REPLY_HINT_NONE };
	struct run_job job;
	int ret;

	i_zero(&job);
	run_activate(run);
	ret = queue->prepare(&run->request, &job, &end.class, &end.text,
			     queue->context);
	if (ret < 0) {
		run_deactivate(run);
		run_end(run, &end);
	} else {
		run->job = worker_job_start(queue->socket_path, job.pool,
					    job.line, job.silence_secs,
					    &run_job_handlers, run);
	}
	if (job.pool != NULL)
		pool_unref(&job.pool);
}

static struct run *run_queue_next(struct run_queue *queue)
{
	if (queue->waiting_interactive.head != NULL &&
	    queue->active_count <
	    queue->max_runs + RUN_QUEUE_INTERACTIVE_PLACES)
		return queue->waiting_interactive.head;
	if (queue->active_runs < queue->max_runs)
		return queue->waiting_runs.head;
	return NULL;
}

static void run_queue_start(struct run_queue *queue)
{
	struct run *run = run_queue_next(queue);

	timeout_remove(&queue->to_start);
	if (run == NULL)
		return;
	T_BEGIN {
		run_start(run);
	} T_END;
	/* one at a time: making a job may block a little, and others want to
	   be answered too */
	run_queue_start_later(queue);
}

static void run_queue_start_later(struct run_queue *queue)
{
	if (queue->to_start == NULL && !queue->deinit &&
	    run_queue_next(queue) != NULL)
		queue->to_start = timeout_add_short(0, run_queue_start, queue);
}

struct run *
run_queue_add(struct run_queue *queue, const struct run_request *request,
	      const struct worker_job_handlers *handlers, void *context)
{
	struct run *run;
	pool_t pool;

	pool = pool_alloconly_create("run", 256);
	run = p_new(pool, struct run, 1);
	run->pool = pool;
	run->queue = queue;
	run->request = *request;
	run->request.user = p_strdup(pool, request->user);
	run->request.account = p_strdup(pool, request->account);
	run->handlers = *handlers;
	run->context = context;
	run_list_append(run_list_waiting(run), run);
	run_queue_start_later(queue);
	return run;
}

void run_abort(struct run **_run)
{
	const struct worker_job_end end = {
		.class = REPLY_CLASS_STOPPED, .text = "stopped",
	};
	struct run *run = *_run;

	if (run == NULL)
		return;
	*_run = NULL;
	if (run->job != NULL) {
		/* calls run_job_end() */
		worker_job_abort(&run->job);
	} else {
		run_list_remove(run_list_waiting(run), run);
		run_end(run, &end);
	}
}

static void
run_list_abort_account(struct run_list *list, const char *user,
		       const char *account)
{
	struct run *run, *next;

	for (run = list->head; run != NULL; run = next) {
		next = run->next;
		if (strcmp(run->request.user, user) == 0 &&
		    strcmp(run->request.account, account) == 0)
			run_abort(&run);
	}
}

void run_queue_abort_account(struct run_queue *queue, const char *user,
			     const char *account)
{
	run_list_abort_account(&queue->waiting_interactive, user, account);
	run_list_abort_account(&queue->waiting_runs, user, account);
	run_list_abort_account(&queue->active, user, account);
}

static void run_list_abort_all(struct run_list *list)
{
	struct run *run;

	while ((run = list->head) != NULL)
		run_abort(&run);
}

void run_queue_deinit(struct run_queue **_queue)
{
	struct run_queue *queue = *_queue;

	if (queue == NULL)
		return;
	*_queue = NULL;
	queue->deinit = TRUE;
	timeout_remove(&queue->to_start);
	run_list_abort_all(&queue->waiting_interactive);
	run_list_abort_all(&queue->waiting_runs);
	run_list_abort_all(&queue->active);
	i_free(queue->socket_path);
	i_free(queue);
}
