#ifndef IMAPSYNC_SERVICE_PRIVATE_H
#define IMAPSYNC_SERVICE_PRIVATE_H

#include "connection.h"
#include "account-store.h"
#include "job.h"
#include "run-queue.h"
#include "service.h"
#include "service-report.h"
#include "core/account-policy.h"

/* doveadm's "not found" among the codes of sysexits(3) */
#define EXIT_NOT_FOUND EX_NOHOST

struct pull_service {
	pool_t pool;
	const struct imapsync_settings *set;
	const char *base_dir;
	struct event *event;

	struct account_policy policy;
	struct run_queue *queue;
	struct connection_list *askers;
	struct auth_master_connection *auth;
	struct service_report *report;
	struct scheduler *scheduler;
	/* who is about to say that somebody has logged in */
	struct pull_waker *wakers;
	unsigned int waker_count;

	/* NULL until they could be opened, see service-keys.c */
	struct account_store *store;
	struct secret_ring *ring;
	/* hex */
	const char *header_key;
};

/* doveadm on the other end. One command at a time. */
struct asker {
	struct connection conn;
	struct pull_service *service;
	struct event *event;

	/* of the command in progress; wiped when it ends */
	pool_t pool;
	struct asker_runs *runs;
	/* rows that are yet to be made, see asker_send_entries() */
	struct asker_entries *entries;
};

/* why a command ended */
struct asker_end {
	enum reply_class class;
	/* sysexits(3) code, 0 = that of the class */
	int exit_code;
	/* for people; may be from the data stack */
	const char *text;
};

/* A command: what it may do at once it answers and ends with asker_end().
   Others end later; they must stop when the asker is gone. */
typedef void asker_command_t(struct asker *asker, const struct job_line *line);

/* Begin a row, add to it with job_line_add(), send it. */
string_t *asker_row_begin(void);
void asker_row_send(struct asker *asker, string_t *row);
/* Sends the row of an account, and returns NULL, or returns why it has none;
   that may be from the data stack. */
typedef const char *
asker_entry_row_t(struct asker *asker, const struct account_entry *entry);
/* The rows of all entries, which are from asker's pool, and then the end of the
   command: an error, if one has no row. Rows are made as fast as they are
   read. */
void asker_send_entries(struct asker *asker,
			const ARRAY_TYPE(account_entry) *entries,
			asker_entry_row_t *row);
/* A line that need not arrive. */
void asker_progress_send(struct asker *asker, const string_t *line);
/* The last line of a command. */
void asker_end(struct asker *asker, const struct asker_end *end);
void asker_end_ok(struct asker *asker);
/* text_format in printf style */
void asker_end_error(struct asker *asker, enum reply_class class,
		     int exit_code, const char *text_format, ...)
	ATTR_FORMAT(4, 5);

/* service-keys.c: open what the service lives on, unless that was done. Each
   returns 0, or -1 and error_r with class CONFIG. */
int pull_service_need_store(struct pull_service *service,
			    const char **error_r);
int pull_service_need_keys(struct pull_service *service,
			   const char **error_r);
void pull_service_keys_deinit(struct pull_service *service);

/* service-user.c: the canonical name of a user, from pool. Returns FALSE with
   end_r when there is none or userdb does not answer. */
bool pull_service_lookup_user(struct pull_service *service, pool_t pool,
			      const char *user, const char **canonical_r,
			      struct asker_end *end_r);
/* The accounts that a request speaks of: user or all, name. With unknown_ok, no
   account is an answer too, if the user exists. Returns FALSE after having
   ended the command. */
bool pull_service_find_accounts(struct asker *asker,
				const struct job_line *line, bool unknown_ok,
				ARRAY_TYPE(account_entry) *entries_r);

/* service-account.c */
asker_command_t asker_account_set;
asker_command_t asker_account_list;
asker_command_t asker_account_show;
asker_command_t asker_account_delete;
asker_command_t asker_account_pause;

/* service-run.c */
asker_command_t asker_run;
run_prepare_t pull_service_prepare_run;
run_ended_t pull_service_run_ended;
/* The line that has an account watched; job_r as for run_prepare_t, without
   silence_secs. Returns 0, or -1 and error_r. */
int pull_service_prepare_watch(struct pull_service *service, const char *user,
			       const char *name, unsigned int id,
			       struct run_job *job_r, const char **error_r);
/* The asker is gone, or the service: end what runs for it. */
void asker_runs_abort(struct asker *asker);

/* service-wake.c: an accepted connection on the socket for that; owns fd. */
void pull_service_waker_connected(struct pull_service *service, int fd);
void pull_service_wakers_deinit(struct pull_service *service);

/* service-status.c */
asker_command_t asker_status;
asker_command_t asker_stop;

#endif
