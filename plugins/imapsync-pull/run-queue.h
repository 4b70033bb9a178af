#ifndef IMAPSYNC_RUN_QUEUE_H
#define IMAPSYNC_RUN_QUEUE_H

#include "worker-job.h"

/* Jobs that wait for a worker, and those that have one. No more than max_runs
   at once; test and folders go before runs and have a few places of their own,
   since somebody is looking at the screen. */

enum run_command {
	RUN_COMMAND_RUN,
	RUN_COMMAND_TEST,
	RUN_COMMAND_FOLDERS,
};

struct run_request {
	enum run_command command;
	const char *user, *account;
	bool full, dry_run;
};

/* What a worker is sent, made when its turn has come. */
struct run_job {
	/* wiped when freed; freed by the queue */
	pool_t pool;
	string_t *line;
	unsigned int silence_secs;
};

/* Make the job of a request: the account as it is now. Returns 0, or -1 with
   class_r and error_r, which become the end of the run. job_r->pool may be NULL
   then. */
typedef int
run_prepare_t(const struct run_request *request, struct run_job *job_r,
	      enum reply_class *class_r, const char **error_r, void *context);

struct run_queue;
struct run;

struct run_queue *
run_queue_init(const char *worker_socket_path, unsigned int max_runs,
	       run_prepare_t *prepare, void *context);
/* Called for every run that ended, before its own end(), with the context of
   prepare. */
typedef void
run_ended_t(const struct run_request *request, const struct worker_job_end *end,
	    void *context);
void run_queue_set_ended(struct run_queue *queue, run_ended_t *ended);
/* Ends all runs. */
void run_queue_deinit(struct run_queue **queue);

/* The request is copied. handlers are those of a worker_job: end() is called
   once, never by this function. */
struct run *
run_queue_add(struct run_queue *queue, const struct run_request *request,
	      const struct worker_job_handlers *handlers, void *context);
/* End the run now, waiting or not: end() gets REPLY_CLASS_STOPPED. */
void run_abort(struct run **run);
/* End all runs of an account. */
void run_queue_abort_account(struct run_queue *queue, const char *user,
			     const char *account);

/* "run", "test", "folders" */
const char *run_command_name(enum run_command command);

#endif
