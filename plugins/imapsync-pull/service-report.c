/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "connection.h"
#include "hex-binary.h"
#include "ioloop.h"
#include "ostream.h"
#include "randgen.h"
#include "str.h"
#include "dovecot-compat.h"
#include "core/account.h"
#include "report-db.h"
#include "service-report.h"

#define REPORT_RETRY_MIN_MSECS 100
#define REPORT_RETRY_MAX_MSECS (10*1000)
/* so long after the last ack something is wrong with the other end */
#define REPORT_ACK_MSECS (60*1000)
#define REPORT_MAX_INPUT 1024

struct service_report {
	struct event *event;
	char *db_path, *socket_path;
	/* NULL until it could be opened */
	struct report_db *db;

	struct connection_list *connections;
	/* used if connected */
	struct connection conn;
	bool connected;
	struct report_window window;
	/* names what our ids count, hex */
	char start[16 + 1];

	/* connects or sends what there is */
	struct timeout *to_work;
	struct timeout *to_ack;
	unsigned int retry_msecs;
	/* it was said already that there is trouble */
	bool socket_error_logged, db_error_logged;
};

static const struct connection_settings report_connection_set = {
	.client = TRUE,
	.input_max_size = REPORT_MAX_INPUT,
	.output_max_size = SIZE_MAX,
};

static void report_work(struct service_report *report);

/*
 * The file
 */

static void report_db_failed(struct service_report *report, const char *error)
{
	if (!report->db_error_logged)
		e_error(report->event, "What cred-notify should be told cannot "
			"be kept: %s", error);
	report->db_error_logged = TRUE;
}

static bool report_need_db(struct service_report *report)
{
	const char *error;
	int ret;

	if (report->db != NULL)
		return TRUE;
	ret = report_db_open(report->db_path, &report->db, &error);
	if (ret < 0)
		report_db_failed(report, error);
	else if (ret > 0)
		e_error(report->event, "%s", error);
	return ret >= 0;
}

/* Returns ret after having looked at it. */
static int report_db_check(struct service_report *report, int ret)
{
	if (ret < 0)
		report_db_failed(report, report_db_get_error(report->db));
	else
		report->db_error_logged = FALSE;
	return ret;
}

/* Count ids from 1: whatever is in the file is to be told, and is new to
   cred-notify. */
static void report_start(struct service_report *report)
{
	unsigned char random[(sizeof(report->start) - 1) / 2];

	random_fill(random, sizeof(random));
	i_strocpy(report->start, binary_to_hex(random, sizeof(random)),
		  sizeof(report->start));
	report_window_init(&report->window);
}

/*
 * When
 */

static void report_work_after(struct service_report *report, unsigned int msecs)
{
	timeout_remove(&report->to_work);
	report->to_work = timeout_add_short(msecs, report_work, report);
}

/* Something new is to be told. A wait before the next attempt goes on. */
static void report_wake(struct service_report *report)
{
	if (report->to_work == NULL)
		report_work_after(report, 0);
}

static void report_retry_later(struct service_report *report)
{
	report_work_after(report, report->retry_msecs);
	report->retry_msecs = I_MIN(report->retry_msecs * 2,
				    REPORT_RETRY_MAX_MSECS);
}

/*
 * Connection
 */

static void report_disconnect(struct service_report *report)
{
	i_assert(report->connected);

	report->connected = FALSE;
	timeout_remove(&report->to_ack);
	connection_deinit(&report->conn);
	report_window_rewind(&report->window);
	report_retry_later(report);
}

static void report_conn_destroy(struct connection *conn)
{
	report_disconnect(container_of(conn, struct service_report, conn));
}

static void report_ack_timeout(struct service_report *report)
{
	e_warning(report->event, "%s acknowledges nothing: connecting again",
		  report->socket_path);
	report_disconnect(report);
}

/* It is awaited as long as something is on its way. */
static void report_await_ack(struct service_report *report)
{
	timeout_remove(&report->to_ack);
	if (report->window.sent > 0) {
		report->to_ack = timeout_add(REPORT_ACK_MSECS,
					     report_ack_timeout, report);
	}
}

static int report_acked(struct service_report *report, uint64_t id)
{
	uint64_t seq;
	int ret = report_window_ack(&report->window, id, &seq);

	if (ret < 0) {
		e_error(report->event, "%s acknowledges what was never sent",
			report->socket_path);
		return -1;
	}
	/* it is alive */
	report->retry_msecs = REPORT_RETRY_MIN_MSECS;
	if (ret == 0)
		return 1;
	/* if this fails, it is told twice, by the next process */
	(void)report_db_check(report, report_db_ack(report->db, seq));
	report_await_ack(report);
	report_wake(report);
	return 1;
}

static int report_conn_line(struct connection *conn, const char *line)
{
	struct service_report *report =
		container_of(conn, struct service_report, conn);
	uint64_t id;

	switch (report_parse(line, &id)) {
	case 0:
		return 1;
	case 1:
		return report_acked(report, id);
	default:
		e_error(report->event, "%s does not speak our protocol",
			report->socket_path);
		return -1;
	}
}

static const struct connection_vfuncs report_conn_vfuncs = {
	.destroy = report_conn_destroy,
	.input_line = report_conn_line,
};

/* That there is no socket is how it is where nobody wants to know. */
static void report_connect_failed(struct service_report *report)
{
	if (errno == ENOENT)
		return;
	if (!report->socket_error_logged) {
		e_warning(report->event, "connect(%s) failed: %m",
			  report->socket_path);
	}
	report->socket_error_logged = TRUE;
}

static bool report_connect(struct service_report *report)
{
	string_t *hello = t_str_new(128);

	i_zero(&report->conn);
	connection_init_client_unix(report->connections, &report->conn,
				    report->socket_path);
	if (connection_client_connect(&report->conn) < 0) {
		report_connect_failed(report);
		connection_deinit(&report->conn);
		return FALSE;
	}
	report->connected = TRUE;
	report->socket_error_logged = FALSE;
	report_write_hello(hello, report->start);
	o_stream_nsend(report->conn.output, str_data(hello), str_len(hello));
	return TRUE;
}

/*
 * Sending
 */

/* Returns 1 if there is a report that fits into the window, 0 if not, -1. */
static int report_find_next(struct service_report *report, uint64_t *seq_r)
{
	struct report next;

	if (report_window_is_full(&report->window))
		return 0;
	return report_db_check(report, report_db_get(
		report->db, pool_datastack_create(), report->window.next_seq,
		&next, seq_r));
}

static int
report_send_one(struct service_report *report, uint64_t seq, uint64_t id)
{
	string_t *line = t_str_new(256);
	struct report next;
	uint64_t found;
	int ret;

	ret = report_db_check(report, report_db_get(
		report->db, pool_datastack_create(), seq, &next, &found));
	if (ret < 0)
		return -1;
	if (ret == 0 || found != seq || !report_write(line, &next, id)) {
		/* somebody else has had his hands on the file: what it holds
		   now is the truth */
		report_start(report);
		return -1;
	}
	o_stream_nsend(report->conn.output, str_data(line), str_len(line));
	report_window_sent(&report->window);
	return 0;
}

/* Returns 1 if one was sent, 0 if there is nothing more to send now, -1. */
static int report_send_next(struct service_report *report)
{
	uint64_t seq, id;
	int ret;

	if (!report_window_next(&report->window, &seq, &id)) {
		ret = report_find_next(report, &seq);
		if (ret <= 0)
			return ret;
		report_window_add(&report->window, seq);
		if (!report_window_next(&report->window, &seq, &id))
			i_unreached();
	}
	return report_send_one(report, seq, id) < 0 ? -1 : 1;
}

static int report_send_all(struct service_report *report)
{
	int ret;

	do T_BEGIN {
		ret = report_send_next(report);
	} T_END; while (ret > 0);
	return ret;
}

/* What is not on its way stays out of the window until it can be: it may
   become needless before. */
static bool report_is_anything_to_send(struct service_report *report)
{
	uint64_t seq, id;

	return report_window_next(&report->window, &seq, &id) ||
		report_find_next(report, &seq) > 0;
}

static void report_send(struct service_report *report)
{
	unsigned int sent = report->window.sent;
	int ret;

	o_stream_cork(report->conn.output);
	ret = report_send_all(report);
	o_stream_uncork(report->conn.output);
	if (report->window.sent > sent && report->to_ack == NULL)
		report_await_ack(report);
	if (ret < 0)
		report_disconnect(report);
}

static void report_work(struct service_report *report)
{
	timeout_remove(&report->to_work);
	if (!report_need_db(report) || !report_is_anything_to_send(report))
		return;
	if (!report->connected) T_BEGIN {
		if (!report_connect(report))
			report_retry_later(report);
	} T_END;
	if (report->connected)
		report_send(report);
}

/*
 * What happened
 */

static const char *report_account_id(const char *user, const char *name)
{
	return t_strdup_printf("%s/%s", user, name);
}

static void
report_add(struct service_report *report, const struct report *what)
{
	int ret;

	if (!report_write(t_str_new(256), what, 1)) {
		e_warning(report->event, "%s: the name is too long to tell "
			  "cred-notify of it", what->account);
		return;
	}
	if (!report_need_db(report))
		return;
	ret = report_db_check(report, report_db_add(report->db, what,
						    report->window.next_seq));
	if (ret > 0)
		report_wake(report);
}

bool service_report_wants(struct service_report *report, const char *user,
			  const char *name, enum reply_class class)
{
	enum report_kind kind;

	if (!report_judge(class, &kind) || !report_need_db(report))
		return FALSE;
	return kind == REPORT_FAIL || report_db_check(report,
		report_db_is_failing(report->db,
				     report_account_id(user, name))) > 0;
}

void service_report_run_ended(struct service_report *report,
			      const struct account *account,
			      enum reply_class class, enum reply_hint hint)
{
	struct report what = {
		.time = ioloop_time,
		.account = report_account_id(account->user, account->name),
		.owner = account->owner,
		.label = account->label,
	};

	if (!report_judge(class, &what.kind) ||
	    (what.kind == REPORT_FAIL && !account->enabled))
		return;
	if (what.kind == REPORT_FAIL) {
		what.class = reply_class_name(class);
		if (hint != REPLY_HINT_NONE)
			what.hint = reply_hint_name(hint);
	}
	report_add(report, &what);
}

void service_report_forget(struct service_report *report, const char *user,
			   const char *name)
{
	const struct report what = {
		.kind = REPORT_GONE,
		.time = ioloop_time,
		.account = report_account_id(user, name),
	};

	report_add(report, &what);
}

/*
 * Its life
 */

struct service_report *
service_report_init(const char *db_path, const char *base_dir,
		    struct event *event_parent)
{
	struct service_report *report = i_new(struct service_report, 1);

	report->event = event_create(event_parent);
	report->db_path = i_strdup(db_path);
	report->socket_path = i_strconcat(base_dir, "/"REPORT_SOCKET, NULL);
	report->retry_msecs = REPORT_RETRY_MIN_MSECS;
	report_start(report);
	report->connections = connection_list_init(&report_connection_set,
						   &report_conn_vfuncs);
	/* what the last process did not bring to its end */
	report_wake(report);
	return report;
}

void service_report_deinit(struct service_report **_report)
{
	struct service_report *report = *_report;

	if (report == NULL)
		return;
	*_report = NULL;
	if (report->connected)
		report_disconnect(report);
	timeout_remove(&report->to_work);
	connection_list_deinit(&report->connections);
	report_db_close(&report->db);
	event_unref(&report->event);
	i_free(report->socket_path);
	i_free(report->db_path);
	i_free(report);
}
