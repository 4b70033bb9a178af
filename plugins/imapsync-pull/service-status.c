/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "str.h"
#include "str-sanitize.h"
#include "dovecot-compat.h"
#include "scheduler.h"
#include "service-private.h"

#include <sysexits.h>

/* longest error that is shown */
#define VALUE_MAX_CHARS 1024

static void row_add_num(string_t *row, const char *key, uintmax_t num)
{
	job_line_add(row, key, dec2str(num));
}

static void row_add_time(string_t *row, const char *key, time_t t)
{
	job_line_add(row, key, t == 0 ? "" : dec2str(t));
}

/*
 * status of accounts
 */

static void
status_add_record(string_t *row, const struct schedule_record *record)
{
	const char *hint = record->hint == REPLY_HINT_NONE ? "" :
		reply_hint_name(record->hint);

	job_line_add(row, "class", reply_class_name(record->back_off.class));
	job_line_add(row, "hint", hint);
	job_line_add(row, "error",
		     str_sanitize_utf8(record->text, VALUE_MAX_CHARS));
	row_add_time(row, "since", record->since);
	row_add_time(row, "last_try", record->last_try);
	row_add_time(row, "last_ok", record->last_ok);
	row_add_num(row, "failures", I_MAX(record->back_off.failures,
					   record->back_off.refusals));
	row_add_num(row, "stored", record->stored);
	row_add_num(row, "failed", record->failed);
	job_line_add(row, "seconds", t_strdup_printf("%u.%03u",
		record->msecs / 1000, record->msecs % 1000));
}

/* Its record in the dict cannot be read. */
static void status_add_broken(string_t *row, const char *error)
{
	job_line_add(row, "state", "failing");
	job_line_add(row, "class", reply_class_name(REPLY_CLASS_CONFIG));
	job_line_add(row, "error", str_sanitize_utf8(error, VALUE_MAX_CHARS));
}

static const char *
status_row(struct asker *asker, const struct account_entry *entry)
{
	const struct account *account = &entry->account;
	struct scheduler_status status;
	string_t *row = asker_row_begin();

	job_line_add(row, "user", account->user);
	job_line_add(row, "account", account->name);
	if (entry->error != NULL) {
		status_add_broken(row, entry->error);
	} else if (scheduler_get_status(asker->service->scheduler,
					account->user, account->name,
					&status)) {
		job_line_add(row, "state", status.state);
		row_add_time(row, "next_try", status.next_try);
		job_line_add(row, "watch", status.watch);
		status_add_record(row, status.record);
	} else {
		/* it came into the dict by other means than ours, just now */
		job_line_add(row, "state", "waiting");
		job_line_add(row, "class", reply_class_name(REPLY_CLASS_OK));
	}
	asker_row_send(asker, row);
	return NULL;
}

static void
asker_status_accounts(struct asker *asker, const struct job_line *line)
{
	ARRAY_TYPE(account_entry) entries;

	if (pull_service_find_accounts(asker, line,
				       job_line_get(line, "name") == NULL,
				       &entries))
		asker_send_entries(asker, &entries, status_row);
}

/*
 * status of all
 */

static void
totals_row(struct asker *asker, const char *key, unsigned int value)
{
	string_t *row = asker_row_begin();

	job_line_add(row, "key", key);
	row_add_num(row, "value", value);
	asker_row_send(asker, row);
}

static void asker_status_totals(struct asker *asker)
{
	struct scheduler_totals totals;
	unsigned int i;

	scheduler_get_totals(asker->service->scheduler, &totals);
	totals_row(asker, "accounts", totals.accounts);
	totals_row(asker, "waiting", totals.waiting);
	totals_row(asker, "due", totals.due);
	totals_row(asker, "running", totals.running);
	totals_row(asker, "paused", totals.paused);
	totals_row(asker, "watched", totals.watched);
	totals_row(asker, "oldest_due_secs", totals.oldest_msecs / 1000);
	totals_row(asker, "failing", totals.failing);
	for (i = 0; i < REPLY_CLASS_COUNT; i++) {
		if (totals.failing_by_class[i] != 0) {
			totals_row(asker, t_strconcat("failing_",
				reply_class_name(i), NULL),
				totals.failing_by_class[i]);
		}
	}
	asker_end_ok(asker);
}

void asker_status(struct asker *asker, const struct job_line *line)
{
	if (!scheduler_is_active(asker->service->scheduler)) {
		asker_end_error(asker, REPLY_CLASS_BUSY, EX_TEMPFAIL,
			"the schedule is not read yet, or another process "
			"keeps it: try again, or see the server's log");
	} else if (job_line_get(line, "user") == NULL &&
		   job_line_get(line, "all") == NULL) {
		asker_status_totals(asker);
	} else {
		asker_status_accounts(asker, line);
	}
}

/*
 * stop
 */

static void stop_row(struct asker *asker, const struct account *account)
{
	string_t *row = asker_row_begin();
	bool stopped = run_queue_abort_account(asker->service->queue,
					       account->user,
					       account->name) > 0;

	job_line_add(row, "user", account->user);
	job_line_add(row, "account", account->name);
	job_line_add(row, "status", stopped ? "stopped" : "not-running");
	asker_row_send(asker, row);
}

void asker_stop(struct asker *asker, const struct job_line *line)
{
	ARRAY_TYPE(account_entry) entries;
	const struct account_entry *entry;

	if (!pull_service_find_accounts(asker, line, FALSE, &entries))
		return;
	array_foreach(&entries, entry) T_BEGIN {
		stop_row(asker, &entry->account);
	} T_END;
	asker_end_ok(asker);
}
