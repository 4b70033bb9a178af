#ifndef IMAPSYNC_RUN_QUEUE_H
#define IMAPSYNC_RUN_QUEUE_H

#include "worker-job.h"

/* Jobs that wait for a worker, and those that have one. Runs start in the order
   they came, except that one waits, and lets others by, while its account is
   being pulled, or its remote mailbox or host has as many runs as it may. So no
   account is ever pulled twice at once.

   test and folders go before runs and have a few places of their own, since
   somebody is looking at the screen; they are over in seconds and are not
   counted. */

struct run_limits {
	/* runs at once: in all, on one host; at least 1 */
	unsigned int max_runs, max_per_host;
	/* connections at once to one remote mailbox, by runs and those that
	   run_queue_hold() lets be kept open; at least 1 */
	unsigned int max_per_mailbox;
};

enum run_command {
	RUN_COMMAND_RUN,
	RUN_COMMAND_TEST,
	RUN_COMMAND_FOLDERS,
};

struct run_request {
	enum run_command command;
	const char *user, *account;
	/* of the remote mailbox, host in lower case; NULL = not known, the
	   account's record is broken */
	const char *host, *login;
	bool full, dry_run;
	/* nobody asked for it: the account is due */
	bool scheduled;
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
run_queue_init(const char *worker_socket_path, const struct run_limits *limits,
	       run_prepare_t *prepare, void *context);
/* Called for every run that ended, before its own end(), with the context of
   prepare. msecs: how long it took, without the wait for its turn. */
typedef void
run_ended_t(const struct run_request *request, const struct worker_job_end *end,
	    unsigned int msecs, void *context);
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
/* End all runs of an account. Returns how many there were. */
unsigned int
run_queue_abort_account(struct run_queue *queue, const char *user,
			const char *account);
/* TRUE if a run (not test, not folders) of the account waits or has begun. */
bool run_queue_has_run(struct run_queue *queue, const char *user,
		       const char *account);
/* TRUE if it has begun. */
bool run_queue_is_running(struct run_queue *queue, const char *user,
			  const char *account);

/* TRUE if a run would have to wait for another one of its account or remote
   mailbox, be they few or many that wait already. */
bool run_queue_would_wait(struct run_queue *queue,
			  const struct run_request *request);

/* A connection to a remote mailbox that is kept open. */
struct run_hold;
/* Returns NULL if there are as many connections as there may be, or none would
   be left for runs. */
struct run_hold *
run_queue_hold(struct run_queue *queue, const char *host, const char *login);
/* All must be released before run_queue_deinit(). */
void run_hold_release(struct run_hold **hold);

/* "run", "test", "folders" */
const char *run_command_name(enum run_command command);

#endif
