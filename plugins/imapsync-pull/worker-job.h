#ifndef IMAPSYNC_WORKER_JOB_H
#define IMAPSYNC_WORKER_JOB_H

#include "core/reply-class.h"

struct job_line;

/* One job on one connection to a worker process: sends the request, hears the
   answers. */

struct worker_job_end {
	enum reply_class class;
	/* what the owner must do */
	enum reply_hint hint;
	/* for people, "" if all is well */
	const char *text;
	/* what the server asked to wait, 0 = nothing */
	unsigned int wait_secs;
	/* messages: stored, otherwise changed here (flags, expunged), failed */
	unsigned int stored, changed, failed;
	/* the worker said all this itself, and has logged it */
	bool from_worker;
};

struct worker_job_handlers {
	/* a progress or row line; it lives only during the call */
	void (*answer)(const struct job_line *line, void *context);
	/* Once for each job: it ended, failed or was aborted. Never called by
	   worker_job_start(). What it is given lives only during the call. */
	void (*end)(const struct worker_job_end *end, void *context);
};

/* Connect to the worker socket and send request, a whole line from job.h that
   may hold secrets: request_pool, in which it lives, is referenced until it is
   sent. silence_secs: a worker that says nothing for so long is given up. */
struct worker_job *
worker_job_start(const char *socket_path, pool_t request_pool,
		 const string_t *request, unsigned int silence_secs,
		 const struct worker_job_handlers *handlers, void *context);
/* Hang up, which stops the worker, and call end() with REPLY_CLASS_STOPPED. */
void worker_job_abort(struct worker_job **job);

/* Frees what all jobs share; there must be no job left. */
void worker_jobs_deinit(void);

#endif
