#ifndef IMAPSYNC_SERVICE_REPORT_H
#define IMAPSYNC_SERVICE_REPORT_H

#include "core/report.h"

/* Tells cred-notify which accounts fail and which work again. What it has not
   acknowledged is kept in a file and told again, to the next cred-notify as
   well as by the next process of ours. While there is no socket of that name,
   nothing is said about it. Nothing here waits. */

struct account;
struct service_report;

/* The file is opened, or made, when it is first needed. base_dir: Dovecot's. */
struct service_report *
service_report_init(const char *db_path, const char *base_dir,
		    struct event *event_parent);
void service_report_deinit(struct service_report **report);

/* TRUE if a run that ended so has to be told with
   service_report_run_ended(). */
bool service_report_wants(struct service_report *report, const char *user,
			  const char *name, enum reply_class class);
/* A run, test or listing of the account ended. That one which is not enabled
   fails is no news. */
void service_report_run_ended(struct service_report *report,
			      const struct account *account,
			      enum reply_class class, enum reply_hint hint);
/* There is no such account any more, or it is to rest. */
void service_report_forget(struct service_report *report, const char *user,
			   const char *name);

#endif
