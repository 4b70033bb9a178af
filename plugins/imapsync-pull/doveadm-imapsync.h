#ifndef IMAPSYNC_DOVEADM_IMAPSYNC_H
#define IMAPSYNC_DOVEADM_IMAPSYNC_H

#include "core/reply-class.h"

struct doveadm_cmd_context;
struct job_line;

/* How the service ended a command. */
struct imapsync_client_end {
	enum reply_class class;
	/* sysexits(3) */
	int exit_code;
	/* data stack, "" if all is well */
	const char *text;
	/* it was not the service that ended it: something kept it from that */
	bool cut_short;
};

struct imapsync_client_handlers {
	/* the line lives only during the call */
	void (*row)(const struct job_line *line, void *context);
	/* where, done, total, bytes, user/account */
	void (*progress)(const char *const *args, void *context);
};

/* Ask the service and wait for the end of its answer. request is a whole line
   of job.h. What keeps the service from answering is an end too. Stops when
   doveadm is told to, which stops the command. */
void imapsync_client_ask(const char *socket_path, const string_t *request,
			 const struct imapsync_client_handlers *handlers,
			 void *context, struct imapsync_client_end *end_r);

/* The secret for an account, on a command line: asked for twice on a terminal,
   else the first line of standard input. pool should be one that is wiped.
   Returns 0, or -1 and error_r. */
int imapsync_secret_ask(pool_t pool, const char *label, const char **secret_r,
			const char **error_r);
/* The same from --secret-file, NULL if it was not given. Over HTTP the
   parameter is the secret itself. */
int imapsync_secret_read(struct doveadm_cmd_context *cctx, pool_t pool,
			 const char *label, const char **secret_r,
			 const char **error_r);

/* One live line on the terminal; nothing if standard error is none. */
void imapsync_progress_show(const char *const *args);
void imapsync_progress_clear(void);

/* doveadm-imapsync-cmd.c */
void doveadm_imapsync_register(void);

#endif
