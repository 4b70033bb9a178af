/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "connection.h"
#include "ostream.h"
#include "str.h"
#include "str-sanitize.h"
#include "strescape.h"
#include "master-service.h"
#include "dovecot-compat.h"
#include "control.h"
#include "core/control-line.h"
#include "service-private.h"

#include <sysexits.h>

/* somebody who does not read his rows loses the connection */
#define MAX_OUTPUT (32*1024*1024)

/* What we are asked to wait for may come when the asker is gone. */
struct control_refresh {
	struct cred_service *service;
	struct asker *asker;
};

struct asker {
	struct connection conn;
	struct cred_service *service;
	bool asked;
	struct cred_test *test;
	struct control_refresh *refresh;
};

struct control {
	struct cred_service *service;
	struct connection_list *askers;
};

/*
 * Answers
 */

static string_t *row_begin(void)
{
	string_t *row = t_str_new(256);

	str_append(row, "row");
	return row;
}

static void row_send(struct asker *asker, string_t *row)
{
	str_append_c(row, '\n');
	o_stream_nsend(asker->conn.output, str_data(row), str_len(row));
}

static void
row_send_pair(struct asker *asker, const char *name, const char *value)
{
	string_t *row = row_begin();

	control_line_add(row, "name", name);
	control_line_add(row, "value", value);
	row_send(asker, row);
}

static void asker_end(struct asker *asker, int exit_code, const char *text)
{
	string_t *line = t_str_new(128);

	str_printfa(line, "end\t%d\t", exit_code);
	str_append_tabescaped(line, text);
	str_append_c(line, '\n');
	o_stream_nsend(asker->conn.output, str_data(line), str_len(line));
}

/*
 * list, ack, clear
 */

static const char *phase_name(const struct notice_state *state)
{
	switch (state->phase) {
	case NOTICE_PHASE_COUNTING:
		return "counting";
	case NOTICE_PHASE_TOLD:
		return "told";
	case NOTICE_PHASE_COOLING:
		return "cooling";
	case NOTICE_PHASE_COUNT:
		break;
	}
	i_unreached();
}

/* What was told; or, before that, what was counted last. */
static enum notice_class state_class(const struct notice_state *state)
{
	enum notice_class class, last = NOTICE_CLASS_CREDENTIAL;

	if (state->phase != NOTICE_PHASE_COUNTING)
		return state->told_class;
	for (class = 0; class < NOTICE_CLASS_COUNT; class++) {
		if (state->tallies[class].last > state->tallies[last].last)
			last = class;
	}
	return last;
}

static const char *kind_name(const struct notice_state *state)
{
	if (state->subject.origin == NOTICE_ORIGIN_ACCOUNT)
		return "account";
	return state->told_pattern == NOTICE_PATTERN_ATTACK ? "attack" :
		"login";
}

/* in the order of the struct's field, for control_line_add() */
static void state_send(struct asker *asker, const struct notice_state *state)
{
	string_t *row = row_begin();

	control_line_add(row, "user", state->subject.user);
	control_line_add(row, "account", state->subject.account);
	control_line_add(row, "label", state->label);
	control_line_add(row, "kind", kind_name(state));
	control_line_add(row, "class", notice_class_name(state_class(state)));
	control_line_add(row, "hint", notice_hint_name(state->hint));
	control_line_add(row, "phase", phase_name(state));
	control_line_add(row, "since", dec2str(state->first_time));
	control_line_add(row, "last", dec2str(state->last_time));
	control_line_add(row, "count", dec2str(state->count));
	control_line_add(row, "said", dec2str(state->said));
	control_line_add(row, "acked", state->acked ? "yes" : "no");
	control_line_add(row, "incident",
			 t_strdup_printf("%llu",
				(unsigned long long)state->incident));
	row_send(asker, row);
}

struct control_filter {
	/* NULL = any */
	const char *user, *account;
	/* what is only counted, too */
	bool all;
};

static bool filter_matches(const struct control_filter *filter,
			   const struct notice_state *state)
{
	const struct notice_subject *subject = &state->subject;

	return (filter->all || state->phase != NOTICE_PHASE_COUNTING) &&
		(filter->user == NULL ||
		 strcmp(filter->user, subject->user) == 0) &&
		(filter->account == NULL ||
		 strcmp(filter->account, subject->account) == 0);
}

static int state_cmp(const struct notice_state *const *s1,
		     const struct notice_state *const *s2)
{
	if ((*s1)->incident == (*s2)->incident)
		return 0;
	return (*s1)->incident < (*s2)->incident ? -1 : 1;
}

static void
control_find(struct asker *asker, const struct control_filter *filter,
	     ARRAY_TYPE(const_notice_state) *states)
{
	struct notice_table_iter *iter =
		notice_table_iter_init(asker->service->table);
	const struct notice_state *state;

	while ((state = notice_table_iter_next(iter)) != NULL) {
		if (filter_matches(filter, state))
			array_push_back(states, &state);
	}
	notice_table_iter_deinit(&iter);
	array_sort(states, state_cmp);
}

static void control_list(struct asker *asker, const char *const *args)
{
	const struct control_filter filter = {
		.user = control_line_get(args, "user"),
		.account = control_line_get(args, "account"),
		.all = control_line_get(args, "all") != NULL,
	};
	const struct notice_state *state;
	ARRAY_TYPE(const_notice_state) states;

	t_array_init(&states, 64);
	control_find(asker, &filter, &states);
	array_foreach_elem(&states, state) T_BEGIN {
		state_send(asker, state);
	} T_END;
	asker_end(asker, EX_OK, "");
}

typedef bool control_act_t(struct cred_service *service,
			   const struct notice_subject *subject);

/* all: what is only counted, too */
static void control_act(struct asker *asker, const char *const *args,
			bool all, control_act_t *act)
{
	const struct control_filter filter = {
		.user = control_line_get(args, "user"),
		.account = control_line_get(args, "account"),
		.all = all,
	};
	const struct notice_state *state;
	ARRAY_TYPE(const_notice_state) states;
	unsigned int count;

	if (filter.user == NULL && filter.account == NULL) {
		asker_end(asker, EX_USAGE, "give a user or an account");
		return;
	}
	t_array_init(&states, 4);
	control_find(asker, &filter, &states);
	count = array_count(&states);
	array_foreach_elem(&states, state) T_BEGIN {
		state_send(asker, state);
		(void)act(asker->service, &state->subject);
	} T_END;
	asker_end(asker, count > 0 ? EX_OK : CONTROL_NOT_FOUND,
		  count > 0 ? "" : "there is no such notice");
}

static void control_ack(struct asker *asker, const char *const *args)
{
	control_act(asker, args, FALSE, cred_service_ack);
}

static void control_clear(struct asker *asker, const char *const *args)
{
	control_act(asker, args, TRUE, cred_service_clear);
}

/*
 * stat
 */

static void stat_send(struct asker *asker, const char *name, uint64_t value)
{
	T_BEGIN {
		row_send_pair(asker, name, t_strdup_printf("%llu",
			(unsigned long long)value));
	} T_END;
}

static void stat_records(struct asker *asker)
{
	const struct cred_service_stats *stats = &asker->service->stats;
	unsigned int i;

	stat_send(asker, "producers",
		  producers_count(asker->service->producers));
	for (i = RECORD_LOGIN_FAIL; i < RECORD_ACK; i++) {
		stat_send(asker, t_strconcat("records-", record_kind_name(i),
					     NULL), stats->records[i]);
	}
	stat_send(asker, "records-ignored", stats->ignored);
	stat_send(asker, "lost", stats->dropped);
}

static void stat_notices(struct asker *asker)
{
	struct cred_service *service = asker->service;
	const struct notice_stats *stats = notice_table_stats(service->table);

	stat_send(asker, "subjects", notice_table_count(service->table));
	stat_send(asker, "counted", stats->counted);
	stat_send(asker, "repeated", stats->repeated);
	stat_send(asker, "hostile", stats->hostile);
	stat_send(asker, "held", stats->held);
	stat_send(asker, "evicted", stats->evicted);
	stat_send(asker, "refused", stats->refused);
	stat_send(asker, "invalid", stats->invalid);
}

static void stat_outbox(struct asker *asker)
{
	struct cred_service *service = asker->service;
	const uint64_t *results = service->stats.results;
	struct outbox_counts counts;

	outbox_count(service->outbox, &counts);
	stat_send(asker, "notices", counts.notices);
	stat_send(asker, "notices-unplanned", counts.unplanned);
	stat_send(asker, "waiting", counts.waiting);
	stat_send(asker, "busy", counts.busy);
	stat_send(asker, "told", results[JOURNAL_RESULT_TOLD]);
	stat_send(asker, "retried", results[JOURNAL_RESULT_WAITING]);
	stat_send(asker, "dropped", results[JOURNAL_RESULT_DROPPED]);
	stat_send(asker, "failed", results[JOURNAL_RESULT_FAILED]);
	stat_send(asker, "sessions", feed_connection_count(service->feed));
	row_send_pair(asker, "journal", service->journal_broken ? "broken" :
		      "ok");
}

static void stat_holders(struct asker *asker)
{
	struct holders_stats stats;

	holders_get_stats(asker->service->holders, &stats);
	stat_send(asker, "users", stats.users);
	stat_send(asker, "holders", stats.holders);
	stat_send(asker, "refreshed", stats.refreshed);
	stat_send(asker, "lookups", stats.lookups);
	stat_send(asker, "lookups-failed", stats.failed);
	stat_send(asker, "lookups-pending", stats.pending);
}

static void
control_stat(struct asker *asker, const char *const *args ATTR_UNUSED)
{
	stat_records(asker);
	stat_notices(asker);
	stat_outbox(asker);
	stat_holders(asker);
	asker_end(asker, EX_OK, "");
}

/*
 * refresh, test
 */

static void control_refreshed(bool ok, void *context)
{
	struct control_refresh *refresh = context;
	struct asker *asker = refresh->asker;

	cred_service_users_looked_at(ok, refresh->service);
	i_free(refresh);
	if (asker == NULL)
		return;
	asker->refresh = NULL;
	T_BEGIN {
		stat_holders(asker);
		asker_end(asker, ok ? EX_OK : EX_TEMPFAIL, ok ? "" :
			  "userdb does not list its users: see the "
			  "server's log");
	} T_END;
}

static void
control_refresh(struct asker *asker, const char *const *args ATTR_UNUSED)
{
	asker->refresh = i_new(struct control_refresh, 1);
	asker->refresh->service = asker->service;
	asker->refresh->asker = asker;
	holders_refresh(asker->service->holders, TRUE, control_refreshed,
			asker->refresh);
}

static void
control_tested(const char *name, const char *result, bool temporary,
	       void *context)
{
	struct asker *asker = context;

	T_BEGIN {
		if (name == NULL) {
			asker->test = NULL;
			asker_end(asker, result == NULL ? EX_OK :
				  temporary ? EX_TEMPFAIL : EX_NOUSER,
				  result == NULL ? "" : result);
		} else {
			row_send_pair(asker, name, result);
		}
	} T_END;
}

static void control_test(struct asker *asker, const char *const *args)
{
	const char *user = control_line_get(args, "user");

	if (user == NULL) {
		asker_end(asker, EX_USAGE, "give a user");
		return;
	}
	asker->test = cred_service_test(asker->service, user, control_tested,
					asker);
}

/*
 * Connections
 */

static const struct {
	const char *name;
	void (*func)(struct asker *asker, const char *const *args);
} commands[] = {
	{ "list", control_list },
	{ "ack", control_ack },
	{ "clear", control_clear },
	{ "stat", control_stat },
	{ "refresh", control_refresh },
	{ "test", control_test },
};

static void asker_command(struct asker *asker, const char *const *args)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(commands); i++) {
		if (null_strcmp(commands[i].name, args[0]) == 0) {
			commands[i].func(asker, args + 1);
			return;
		}
	}
	asker_end(asker, EX_USAGE, "the service knows no such command (is it "
		  "older than doveadm's plugin?)");
}

static int asker_input_line(struct connection *conn, const char *line)
{
	struct asker *asker = container_of(conn, struct asker, conn);

	if (!connection_handshake_received(conn))
		return connection_input_line_default(conn, line);
	if (asker->asked) {
		e_error(conn->event, "Sent a second command");
		return -1;
	}
	asker->asked = TRUE;
	asker_command(asker, t_strsplit_tabescaped(line));
	return 1;
}

static void asker_destroy(struct connection *conn)
{
	struct asker *asker = container_of(conn, struct asker, conn);

	cred_service_test_cancel(&asker->test);
	if (asker->refresh != NULL)
		asker->refresh->asker = NULL;
	connection_deinit(conn);
	i_free(asker);
	master_service_client_connection_destroyed(master_service);
}

static const struct connection_vfuncs asker_vfuncs = {
	.destroy = asker_destroy,
	.input_line = asker_input_line,
};

static const struct connection_settings asker_set = {
	.service_name_in = CONTROL_PROTOCOL_NAME,
	.service_name_out = CONTROL_PROTOCOL_NAME,
	.major_version = CONTROL_PROTOCOL_MAJOR,
	.minor_version = CONTROL_PROTOCOL_MINOR,
	.input_max_size = CONTROL_MAX_LINE,
	.output_max_size = MAX_OUTPUT,
};

struct control *control_init(struct cred_service *service)
{
	struct control *control = i_new(struct control, 1);

	control->service = service;
	control->askers = connection_list_init(&asker_set, &asker_vfuncs);
	return control;
}

void control_deinit(struct control **_control)
{
	struct control *control = *_control;

	if (control == NULL)
		return;
	*_control = NULL;
	connection_list_deinit(&control->askers);
	i_free(control);
}

void control_accept(struct control *control, int fd)
{
	struct asker *asker = i_new(struct asker, 1);

	asker->service = control->service;
	asker->conn.event_parent = control->service->event;
	connection_init_server(control->askers, &asker->conn, CONTROL_SOCKET,
			       fd, fd);
}
