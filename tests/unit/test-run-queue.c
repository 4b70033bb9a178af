/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "connection.h"
#include "ioloop.h"
#include "net.h"
#include "ostream.h"
#include "str.h"
#include "dovecot-compat.h"
#include "job.h"
#include "run-queue.h"

#include <check.h>
#include <stdlib.h>
#include <unistd.h>

/* The queue against a worker socket that this process serves itself. A worker
   does what the name of the account says. */

#define MAX_RUNS 2
#define MAX_PER_HOST 3
#define MAX_PER_MAILBOX 2
#define TIMEOUT_MSECS 10000

static struct ioloop *ioloop;
static struct timeout *to_hang;
static struct run_queue *queue;
static char *dir;
static int listen_fd;
static struct io *listen_io;
static struct connection_list *workers;
/* what happened, in order */
static string_t *trace;
static unsigned int worker_count, worker_max, ended, expected, seen;
static unsigned int started, expected_started;

static void tell(const char *what, const char *name)
{
	str_printfa(trace, "%s:%s ", what, name);
}

static void worker_destroy(struct connection *conn)
{
	worker_count--;
	connection_deinit(conn);
	i_free(conn);
}

static int worker_line(struct connection *conn, const char *text)
{
	struct job_line line;
	const char *error, *name;

	if (!connection_handshake_received(conn))
		return connection_input_line_default(conn, text);
	ck_assert_int_eq(job_line_parse(pool_datastack_create(), text,
					&line, &error), 0);
	name = job_line_get(&line, "name");
	tell("start", name);
	if (++started == expected_started)
		io_loop_stop(ioloop);
	if (strncmp(name, "die", 3) == 0)
		return -1;
	if (strncmp(name, "hang", 4) == 0)
		return 1;
	o_stream_nsend_str(conn->output, "row\tkey=value\n");
	if (strncmp(name, "garbage", 7) == 0)
		o_stream_nsend_str(conn->output, "\001x\n");
	else if (strncmp(name, "badend", 6) == 0)
		o_stream_nsend_str(conn->output, "end\tnoclass\tx\n");
	else if (strncmp(name, "badnumber", 9) == 0)
		o_stream_nsend_str(conn->output, "end\tok\t\tnone\t1\t2\n");
	else if (strncmp(name, "refused", 7) == 0)
		o_stream_nsend_str(conn->output,
				   "end\tcredential\tno\tweb-login\n");
	else if (strncmp(name, "numbers", 7) == 0)
		o_stream_nsend_str(conn->output,
				   "end\tok\t\tnone\t1\t2\t3\t4\n");
	else
		o_stream_nsend_str(conn->output, "end\tok\t\nrow\tlate=1\n");
	return 1;
}

static void worker_accept(void *context ATTR_UNUSED)
{
	struct connection *conn = i_new(struct connection, 1);
	int fd = net_accept(listen_fd, NULL, NULL);

	ck_assert_int_ge(fd, 0);
	worker_count++;
	worker_max = I_MAX(worker_max, worker_count);
	connection_init_server(workers, conn, "worker", fd, fd);
}

static const struct connection_vfuncs worker_vfuncs = {
	.destroy = worker_destroy,
	.input_line = worker_line,
};

static int prepare(const struct run_request *request, struct run_job *job_r,
		   enum reply_class *class_r, const char **error_r,
		   void *context ATTR_UNUSED)
{
	job_r->pool = pool_alloconly_create_clean("test job", 256);
	if (strncmp(request->account, "gone", 4) == 0) {
		*class_r = REPLY_CLASS_CONFIG;
		*error_r = "gone";
		return -1;
	}
	job_r->silence_secs = strncmp(request->account, "hang", 4) == 0 ?
		1 : 60;
	job_r->line = str_new(job_r->pool, 128);
	job_line_begin(job_r->line, run_command_name(request->command));
	job_line_add(job_r->line, "name", request->account);
	job_line_end(job_r->line);
	return 0;
}

/* Every run is seen before who asked for it is told. */
static void
run_ended(const struct run_request *request, const struct worker_job_end *end,
	  unsigned int msecs, void *context ATTR_UNUSED)
{
	bool numbers = strncmp(request->account, "numbers", 7) == 0;

	ck_assert_str_eq(request->user, "anna");
	ck_assert_uint_lt(msecs, TIMEOUT_MSECS);
	ck_assert_uint_eq(end->wait_secs, numbers ? 1 : 0);
	ck_assert_uint_eq(end->stored, numbers ? 2 : 0);
	ck_assert_uint_eq(end->changed, numbers ? 3 : 0);
	ck_assert_uint_eq(end->failed, numbers ? 4 : 0);
	ck_assert(!numbers || end->from_worker);
	if (end->hint != REPLY_HINT_NONE)
		tell(reply_hint_name(end->hint), request->account);
	seen++;
	ck_assert_uint_eq(seen, ended + 1);
}

static void hanging(void *context ATTR_UNUSED)
{
	ck_abort_msg("nothing more happens; so far: %s", str_c(trace));
}

static const char *socket_path(void)
{
	return t_strconcat(dir, "/worker", NULL);
}

static void start_queue(unsigned int max_runs)
{
	const struct run_limits limits = {
		.max_runs = max_runs,
		.max_per_host = MAX_PER_HOST,
		.max_per_mailbox = MAX_PER_MAILBOX,
	};

	queue = run_queue_init(socket_path(), &limits, prepare, NULL);
	run_queue_set_ended(queue, run_ended);
}

static void setup(void)
{
	static char template[64];

	ioloop = io_loop_create();
	trace = str_new(default_pool, 256);
	worker_count = worker_max = ended = expected = seen = 0;
	started = expected_started = 0;
	i_strocpy(template, "/tmp/test-queue-XXXXXX", sizeof(template));
	dir = mkdtemp(template);
	ck_assert_ptr_nonnull(dir);
	listen_fd = net_listen_unix(socket_path(), 16);
	ck_assert_int_ge(listen_fd, 0);
	listen_io = io_add(listen_fd, IO_READ, worker_accept, NULL);
	workers = connection_list_init(&job_server_set, &worker_vfuncs);
	start_queue(MAX_RUNS);
	to_hang = timeout_add(TIMEOUT_MSECS, hanging, NULL);
}

static void teardown(void)
{
	timeout_remove(&to_hang);
	run_queue_deinit(&queue);
	worker_jobs_deinit();
	connection_list_deinit(&workers);
	io_remove(&listen_io);
	i_close_fd(&listen_fd);
	i_unlink_if_exists(socket_path());
	ck_assert_int_eq(rmdir(dir), 0);
	str_free(&trace);
	io_loop_destroy(&ioloop);
}

static void
answer(const struct job_line *line, void *context)
{
	ck_assert_ptr_null(job_line_get(line, "late"));
	tell(line->word, context);
}

static void end(const struct worker_job_end *end, void *context)
{
	tell(reply_class_name(end->class), context);
	ck_assert((end->class == REPLY_CLASS_OK) == (*end->text == '\0'));
	if (++ended == expected)
		io_loop_stop(ioloop);
}

static const struct worker_job_handlers handlers = { answer, end };

static struct run *add_command(enum run_command command, const char *name)
{
	const struct run_request request = {
		.command = command, .user = "anna", .account = name,
	};

	return run_queue_add(queue, &request, &handlers, (void *)name);
}

/* a run of an account whose name is kept apart by what it is called for */
static struct run *
add_at(const char *host, const char *login, const char *name, const char *label)
{
	const struct run_request request = {
		.command = RUN_COMMAND_RUN, .user = "anna", .account = name,
		.host = host, .login = login,
	};

	return run_queue_add(queue, &request, &handlers, (void *)label);
}

static struct run *add(const char *name)
{
	return add_command(RUN_COMMAND_RUN, name);
}

static void run_until_ended(unsigned int count)
{
	expected = count;
	if (ended < expected)
		io_loop_run(ioloop);
	ck_assert_uint_eq(ended, count);
}

static void run_until_started(unsigned int count)
{
	expected_started = count;
	if (started < expected_started)
		io_loop_run(ioloop);
	ck_assert_uint_eq(started, count);
}

static const struct {
	const char *name, *trace;
} single[] = {
	{ "fine", "start:fine row:fine ok:fine " },
	{ "refused", "start:refused row:refused web-login:refused "
	  "credential:refused " },
	{ "die", "start:die local:die " },
	{ "garbage", "start:garbage row:garbage local:garbage " },
	{ "badend", "start:badend row:badend local:badend " },
	{ "badnumber", "start:badnumber row:badnumber local:badnumber " },
	{ "numbers", "start:numbers row:numbers ok:numbers " },
	{ "gone", "config:gone " },
	/* given up after a second */
	{ "hang", "start:hang local:hang " },
};

START_TEST(queue_single)
{
	(void)add(single[_i].name);
	/* nothing happens before the main loop runs */
	ck_assert_str_eq(str_c(trace), "");
	run_until_ended(1);
	ck_assert_str_eq(str_c(trace), single[_i].trace);
}
END_TEST

START_TEST(queue_limit)
{
	static const char *const names[] = {
		"a", "b", "gone", "c", "die", "d", "e", "f"
	};
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(names); i++)
		(void)add(names[i]);
	run_until_ended(N_ELEMENTS(names));
	ck_assert_uint_le(worker_max, MAX_RUNS);
	/* in the order they came, two at a time */
	ck_assert_ptr_nonnull(strstr(str_c(trace), "start:a"));
	ck_assert(strstr(str_c(trace), "start:a") <
		  strstr(str_c(trace), "start:c"));
	ck_assert(strstr(str_c(trace), "start:e") <
		  strstr(str_c(trace), "start:f"));
}
END_TEST

/* Who looks at the screen does not wait for runs. */
START_TEST(queue_interactive)
{
	(void)add("hang1");
	(void)add("hang2");
	run_until_started(2);
	(void)add("last");
	(void)add_command(RUN_COMMAND_TEST, "test");
	(void)add_command(RUN_COMMAND_FOLDERS, "folders");
	run_until_ended(2);
	ck_assert_ptr_nonnull(strstr(str_c(trace), "ok:test"));
	ck_assert_ptr_nonnull(strstr(str_c(trace), "ok:folders"));
	ck_assert_ptr_null(strstr(str_c(trace), "start:last"));
	run_until_ended(5);
	ck_assert_ptr_nonnull(strstr(str_c(trace), "ok:last"));
}
END_TEST

static void more_places(void)
{
	run_queue_deinit(&queue);
	start_queue(10);
}

static bool traced(const char *what)
{
	return strstr(str_c(trace), what) != NULL;
}

/* A second run of an account waits for the first, a test of it does not, and
   others pass by. */
START_TEST(queue_one_of_an_account)
{
	struct run *first;

	more_places();
	ck_assert(!run_queue_has_run(queue, "anna", "hang1"));
	first = add("hang1");
	ck_assert(run_queue_has_run(queue, "anna", "hang1"));
	ck_assert(!run_queue_has_run(queue, "bert", "hang1"));
	ck_assert(!run_queue_is_running(queue, "anna", "hang1"));
	run_until_started(1);
	ck_assert(run_queue_is_running(queue, "anna", "hang1"));
	(void)add_at(NULL, NULL, "hang1", "second");
	(void)add("other");
	(void)add_command(RUN_COMMAND_TEST, "test");
	run_until_ended(2);
	ck_assert(traced("ok:other") && traced("ok:test"));
	ck_assert_uint_eq(started, 3);
	run_abort(&first);
	run_until_started(4);
	run_until_ended(4);
	ck_assert(traced("local:second"));
	ck_assert(!run_queue_has_run(queue, "anna", "hang1"));
}
END_TEST

START_TEST(queue_host_limit)
{
	struct run *first;

	more_places();
	first = add_at("h", "1", "hang1", "hang1");
	(void)add_at("h", "2", "hang2", "hang2");
	(void)add_at("h", "3", "hang3", "hang3");
	run_until_started(MAX_PER_HOST);
	(void)add_at("h", "4", "late", "late");
	(void)add_at("other", "4", "fine", "fine");
	(void)add_at(NULL, NULL, "broken", "broken");
	run_until_ended(2);
	ck_assert(traced("ok:fine") && traced("ok:broken"));
	ck_assert(!traced("start:late"));
	run_abort(&first);
	run_until_ended(4);
	ck_assert(traced("ok:late"));
}
END_TEST

/* Two accounts of one mailbox, and its other name is another mailbox. */
START_TEST(queue_mailbox_limit)
{
	const struct run_request bert = {
		.command = RUN_COMMAND_RUN, .user = "anna", .account = "new",
		.host = "h", .login = "bert",
	};
	struct run *first;

	more_places();
	ck_assert(!run_queue_would_wait(queue, &bert));
	first = add_at("h", "bert", "hang1", "hang1");
	ck_assert(!run_queue_would_wait(queue, &bert));
	(void)add_at("h", "bert", "hang2", "hang2");
	/* before they have begun */
	ck_assert(run_queue_would_wait(queue, &bert));
	run_until_started(MAX_PER_MAILBOX);
	(void)add_at("h", "bert", "late", "late");
	(void)add_at("h", "Bert", "fine", "fine");
	run_until_ended(1);
	ck_assert(traced("ok:fine") && !traced("start:late"));
	run_abort(&first);
	run_until_ended(3);
	ck_assert(traced("ok:late"));
}
END_TEST

START_TEST(queue_hold)
{
	struct run_hold *hold, *other;

	more_places();
	hold = run_queue_hold(queue, "h", "bert");
	ck_assert_ptr_nonnull(hold);
	/* nothing would be left for runs */
	ck_assert_ptr_null(run_queue_hold(queue, "h", "bert"));
	other = run_queue_hold(queue, "other", "bert");
	ck_assert_ptr_nonnull(other);
	run_hold_release(&other);

	(void)add_at("h", "bert", "hang1", "hang1");
	run_until_started(1);
	(void)add_at("h", "bert", "late", "late");
	(void)add_at("h", "anna", "fine", "fine");
	run_until_ended(1);
	ck_assert(traced("ok:fine") && !traced("start:late"));
	run_hold_release(&hold);
	ck_assert_ptr_null(hold);
	run_until_started(3);
	/* both connections are in use */
	ck_assert(traced("start:late"));
	run_until_ended(3);
}
END_TEST

START_TEST(queue_hold_full)
{
	struct run_hold *hold;

	more_places();
	(void)add_at("h", "bert", "hang1", "hang1");
	(void)add_at("h", "bert", "hang2", "hang2");
	run_until_started(MAX_PER_MAILBOX);
	ck_assert_ptr_null(run_queue_hold(queue, "h", "bert"));
	run_until_ended(MAX_PER_MAILBOX);
	hold = run_queue_hold(queue, "h", "bert");
	ck_assert_ptr_nonnull(hold);
	run_hold_release(&hold);
}
END_TEST

START_TEST(queue_abort)
{
	struct run *active = add("hang1"), *waiting;

	(void)add("hang2");
	waiting = add("never");
	(void)add("next");
	(void)add_command(RUN_COMMAND_TEST, "test");
	run_until_ended(1);
	run_abort(&waiting);
	ck_assert_ptr_null(waiting);
	ck_assert_uint_eq(ended, 2);
	run_abort(&active);
	ck_assert_uint_eq(ended, 3);
	ck_assert_ptr_nonnull(strstr(str_c(trace), "stopped:hang1"));
	/* its place is free now, long before hang2 is given up */
	run_until_ended(4);
	ck_assert_ptr_nonnull(strstr(str_c(trace), "ok:next"));
	ck_assert_ptr_null(strstr(str_c(trace), "start:never"));
	ck_assert_uint_eq(run_queue_abort_account(queue, "bert", "hang2"), 0);
	ck_assert_uint_eq(ended, 4);
	ck_assert_uint_eq(run_queue_abort_account(queue, "anna", "hang2"), 1);
	ck_assert_uint_eq(ended, 5);
}
END_TEST

START_TEST(queue_deinit_ends_all)
{
	(void)add("hang1");
	(void)add("hang2");
	(void)add("waits");
	(void)add_command(RUN_COMMAND_TEST, "test");
	run_until_ended(1);
	run_queue_deinit(&queue);
	ck_assert_uint_eq(ended, 4);
}
END_TEST

START_TEST(queue_no_worker)
{
	i_unlink(socket_path());
	(void)add("fine");
	run_until_ended(1);
	ck_assert_str_eq(str_c(trace), "local:fine ");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("run-queue");
	TCase *tc = tcase_create("run-queue");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_set_timeout(tc, 30);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, queue_single, 0, N_ELEMENTS(single));
	tcase_add_test(tc, queue_limit);
	tcase_add_test(tc, queue_interactive);
	tcase_add_test(tc, queue_one_of_an_account);
	tcase_add_test(tc, queue_host_limit);
	tcase_add_test(tc, queue_mailbox_limit);
	tcase_add_test(tc, queue_hold);
	tcase_add_test(tc, queue_hold_full);
	tcase_add_test(tc, queue_abort);
	tcase_add_test(tc, queue_deinit_ends_all);
	tcase_add_test(tc, queue_no_worker);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
