#ifndef IMAPSYNC_SERVICE_H
#define IMAPSYNC_SERVICE_H

struct imapsync_settings;
struct master_service_connection;

/* The service imapsync-pull: accounts, keys and who runs when. It answers
   doveadm over a unix socket in the lines of job.h and hands the work to worker
   processes. It parses no remote byte.

   What is wrong with keys or dict does not keep it from starting: it is said in
   the answer to each command that needs them, until it is mended.

   To job.h it adds: "end" may have a third field, the exit code that doveadm
   should end with in place of the class's; "progress" a fifth, user/account.

   Requests, with their keys:
     account-set     user, name, set..., secret, dry_run
		     row: user, account, status (created, changed, unchanged,
		     needs-secret)
     account-list    user or all
     account-show    user, name
     account-delete  user, name
     account-pause, account-resume
		     user, name; row as for account-set (paused, resumed,
		     unchanged)
     account-test, account-folders, run
		     user or all, name; run: full, dry_run
     status          user or all, name; rows: user, account, state, class,
		     hint, error, since, last_try, last_ok, next_try (seconds
		     since 1970, "" = never), watch, failures, stored, failed,
		     seconds
		     without user: rows: key, value
     stop            user or all, name; rows: user, account, status (stopped,
		     not-running)
   user may be a mask ('*', '?') where all is possible. */

struct pull_service;

/* base_dir: Dovecot's. set must outlive the service. */
struct pull_service *
pull_service_init(const struct imapsync_settings *set, const char *base_dir);
void pull_service_deinit(struct pull_service **service);

/* An accepted connection on one of the service's sockets; it owns the fd. */
void pull_service_connected(struct pull_service *service,
			    const struct master_service_connection *conn);

#endif
