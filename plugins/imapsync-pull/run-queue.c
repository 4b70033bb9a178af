/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "hash.h"
#include "ioloop.h"
#include "llist.h"
#include "dovecot-compat.h"
#include "monotonic.h"
#include "run-queue.h"

/* places that runs cannot take */
#define RUN_QUEUE_INTERACTIVE_PLACES 4

/* What runs have in common, and only so many of them may have at once. */
enum run_place_kind {
	RUN_PLACE_ACCOUNT,
	RUN_PLACE_MAILBOX,
	RUN_PLACE_HOST,

	RUN_PLACE_KINDS
};

/* An account, a mailbox or a host that somebody refers to. */
struct run_place {
	struct run_queue *queue;
	/* in queue->places */
	char *name;
	unsigned int refcount;
	/* runs that have begun and holds; of these the holds */
	unsigned int used, held;
};

struct run_hold {
	struct run_place *mailbox;
};

struct run {
	struct run *prev, *next;
	struct run_queue *queue;

	pool_t pool;
	struct run_request request;
	struct worker_job_handlers handlers;
	void *context;
	/* NULL = it has no such limit */
	struct run_place *places[RUN_PLACE_KINDS];

	/* NULL = waits for its turn */
	struct worker_job *job;
	/* monotonic_msecs() when it began */
	uint64_t began;
};

struct run_list {
	struct run *head, *tail;
};

struct run_queue {
	char *socket_path;
	struct run_limits limits;
	run_prepare_t *prepare;
	/* may be NULL */
	run_ended_t *ended;
	void *context;

	/* somebody looks at the screen; the others */
	struct run_list waiting_interactive, waiting_runs;
	struct run_list active;
	unsigned int active_count, active_runs;
	/* name => place */
	HASH_TABLE(char *, struct run_place *) places;

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
run_queue_init(const char *worker_socket_path, const struct run_limits *limits,
	       run_prepare_t *prepare, void *context)
{
	struct run_queue *queue;

	i_assert(limits->max_runs > 0 && limits->max_per_host > 0 &&
		 limits->max_per_mailbox > 0);

	queue = i_new(struct run_queue, 1);
	queue->socket_path = i_strdup(worker_socket_path);
	queue->limits = *limits;
	hash_table_create(&queue->places, default_pool, 0, str_hash, strcmp);
	queue->prepare = prepare;
	queue->context = context;
	return queue;
}

void run_queue_set_ended(struct run_queue *queue, run_ended_t *ended)
{
	queue->ended = ended;
}

static void run_queue_start_later(struct run_queue *queue);

/*
 * Places
 */

static const char *
run_place_name(enum run_place_kind kind, const char *a, const char *b)
{
	/* in accounts, hosts and logins are no control characters */
	return t_strdup_printf("%u\t%s\t%s", kind, a, b);
}

static struct run_place *
run_place_ref(struct run_queue *queue, const char *name)
{
	struct run_place *place = hash_table_lookup(queue->places, name);

	if (place == NULL) {
		place = i_new(struct run_place, 1);
		place->queue = queue;
		place->name = i_strdup(name);
		hash_table_insert(queue->places, place->name, place);
	}
	place->refcount++;
	return place;
}

static void run_place_unref(struct run_place **_place)
{
	struct run_place *place = *_place;

	*_place = NULL;
	if (place == NULL || --place->refcount > 0)
		return;
	i_assert(place->used == 0);
	hash_table_remove(place->queue->places, place->name);
	i_free(place->name);
	i_free(place);
}

static unsigned int
run_place_limit(const struct run_queue *queue, enum run_place_kind kind)
{
	switch (kind) {
	case RUN_PLACE_ACCOUNT:
		return 1;
	case RUN_PLACE_MAILBOX:
		return queue->limits.max_per_mailbox;
	case RUN_PLACE_HOST:
		return queue->limits.max_per_host;
	case RUN_PLACE_KINDS:
		break;
	}
	i_unreached();
}

static void run_places_ref(struct run *run)
{
	const struct run_request *request = &run->request;

	if (request->command != RUN_COMMAND_RUN)
		return;
	run->places[RUN_PLACE_ACCOUNT] = run_place_ref(run->queue,
		run_place_name(RUN_PLACE_ACCOUNT, request->user,
			       request->account));
	if (request->host == NULL)
		return;
	run->places[RUN_PLACE_MAILBOX] = run_place_ref(run->queue,
		run_place_name(RUN_PLACE_MAILBOX, request->host,
			       request->login));
	run->places[RUN_PLACE_HOST] = run_place_ref(run->queue,
		run_place_name(RUN_PLACE_HOST, request->host, ""));
}

static void run_places_unref(struct run *run)
{
	unsigned int i;

	for (i = 0; i < RUN_PLACE_KINDS; i++)
		run_place_unref(&run->places[i]);
}

static bool run_places_are_free(const struct run *run)
{
	unsigned int i;

	for (i = 0; i < RUN_PLACE_KINDS; i++) {
		if (run->places[i] != NULL &&
		    run->places[i]->used >= run_place_limit(run->queue, i))
			return FALSE;
	}
	return TRUE;
}

static void run_places_take(struct run *run)
{
	unsigned int i;

	for (i = 0; i < RUN_PLACE_KINDS; i++) {
		if (run->places[i] != NULL)
			run->places[i]->used++;
	}
}

static void run_places_leave(struct run *run)
{
	unsigned int i;

	for (i = 0; i < RUN_PLACE_KINDS; i++) {
		if (run->places[i] != NULL)
			run->places[i]->used--;
	}
}

struct run_hold *
run_queue_hold(struct run_queue *queue, const char *host, const char *login)
{
	unsigned int limit = queue->limits.max_per_mailbox;
	struct run_place *place;
	struct run_hold *hold;

	place = run_place_ref(queue, run_place_name(RUN_PLACE_MAILBOX, host,
						    login));
	if (place->used >= limit || place->held + 1 >= limit) {
		run_place_unref(&place);
		return NULL;
	}
	place->used++;
	place->held++;
	hold = i_new(struct run_hold, 1);
	hold->mailbox = place;
	return hold;
}

void run_hold_release(struct run_hold **_hold)
{
	struct run_hold *hold = *_hold;
	struct run_place *place;

	if (hold == NULL)
		return;
	*_hold = NULL;
	place = hold->mailbox;
	place->used--;
	place->held--;
	run_queue_start_later(place->queue);
	run_place_unref(&place);
	i_free(hold);
}

/*
 * Runs
 */

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

static void run_activate(struct run *run)
{
	struct run_queue *queue = run->queue;

	run->began = monotonic_msecs();
	run_places_take(run);
	run_list_remove(run_list_waiting(run), run);
	run_list_append(&queue->active, run);
	queue->active_count++;
	if (run->request.command == RUN_COMMAND_RUN)
		queue->active_runs++;
}

static void run_deactivate(struct run *run)
{
	struct run_queue *queue = run->queue;

	run_places_leave(run);
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
	unsigned int msecs = run->began == 0 ? 0 :
		monotonic_msecs() - run->began;

	if (queue->ended != NULL)
		queue->ended(&run->request, end, msecs, queue->context);
	run_places_unref(run);
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
	struct run *run;

	if (queue->waiting_interactive.head != NULL &&
	    queue->active_count <
	    queue->limits.max_runs + RUN_QUEUE_INTERACTIVE_PLACES)
		return queue->waiting_interactive.head;
	if (queue->active_runs >= queue->limits.max_runs)
		return NULL;
	for (run = queue->waiting_runs.head; run != NULL; run = run->next) {
		if (run_places_are_free(run))
			return run;
	}
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
	/* who may start is looked for once, however many were added */
	if (queue->to_start == NULL && !queue->deinit &&
	    (queue->waiting_interactive.head != NULL ||
	     queue->waiting_runs.head != NULL))
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
	run->request.host = p_strdup(pool, request->host);
	run->request.login = p_strdup(pool, request->login);
	run_places_ref(run);
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

static unsigned int
run_list_abort_account(struct run_list *list, const char *user,
		       const char *account)
{
	struct run *run, *next;
	unsigned int count = 0;

	for (run = list->head; run != NULL; run = next) {
		next = run->next;
		if (strcmp(run->request.user, user) == 0 &&
		    strcmp(run->request.account, account) == 0) {
			run_abort(&run);
			count++;
		}
	}
	return count;
}

unsigned int
run_queue_abort_account(struct run_queue *queue, const char *user,
			const char *account)
{
	struct run_list *const lists[] = {
		&queue->waiting_interactive, &queue->waiting_runs,
		&queue->active,
	};
	unsigned int i, count = 0;

	for (i = 0; i < N_ELEMENTS(lists); i++)
		count += run_list_abort_account(lists[i], user, account);
	return count;
}

static const struct run_place *
run_queue_find_account(struct run_queue *queue, const char *user,
		       const char *account)
{
	return hash_table_lookup(queue->places,
		run_place_name(RUN_PLACE_ACCOUNT, user, account));
}

bool run_queue_has_run(struct run_queue *queue, const char *user,
		       const char *account)
{
	return run_queue_find_account(queue, user, account) != NULL;
}

bool run_queue_is_running(struct run_queue *queue, const char *user,
			  const char *account)
{
	const struct run_place *place =
		run_queue_find_account(queue, user, account);

	return place != NULL && place->used > 0;
}

bool run_queue_would_wait(struct run_queue *queue,
			  const struct run_request *request)
{
	const struct run_place *place;

	if (run_queue_has_run(queue, request->user, request->account))
		return TRUE;
	place = hash_table_lookup(queue->places,
		run_place_name(RUN_PLACE_MAILBOX, request->host,
			       request->login));
	return place != NULL &&
		place->refcount >= run_place_limit(queue, RUN_PLACE_MAILBOX);
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
	i_assert(hash_table_count(queue->places) == 0);
	hash_table_destroy(&queue->places);
	i_free(queue->socket_path);
	i_free(queue);
}
