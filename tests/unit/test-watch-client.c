/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "connection.h"
#include "ioloop.h"
#include "net.h"
#include "ostream.h"
#include "str.h"
#include "dovecot-compat.h"
#include "job.h"
#include "watch-client.h"

#include <check.h>
#include <stdlib.h>
#include <unistd.h>

/* The client against a socket that this process serves itself. A watcher does
   what the name of the account says. */

#define TIMEOUT_MSECS 10000
#define PING_MSECS 50

static struct ioloop *ioloop;
static struct timeout *to_hang;
static struct watch_client *client;
static char *dir;
static int listen_fd;
static struct io *listen_io;
static struct connection_list *watchers;
static unsigned int watcher_count, ping_count;
/* pings are not answered */
static bool deaf;
/* what happened, in order */
static string_t *trace;
/* what is waited for */
static const char *awaited;

static void tell(const char *text)
{
	str_printfa(trace, "%s ", text);
	if (awaited != NULL && strstr(str_c(trace), awaited) != NULL)
		io_loop_stop(ioloop);
}

static void watcher_destroy(struct connection *conn)
{
	connection_deinit(conn);
	i_free(conn);
}

static const struct {
	const char *name, *answers;
	bool dies;
} watches[] = {
	{ "fine", "watching\t%u\tidle\nchanged\t%u\n", FALSE },
	{ "refused", "failed\t%u\tcredential\t30\tno\n", FALSE },
	{ "notify", "watching\t%u\tpoll\nwatching\t%u\tnotify\n", FALSE },
	{ "silent", "", FALSE },
	{ "die", "", TRUE },
	{ "garbage", "watching\t%u\tidle\nwatching\t%u\tsleep\n", FALSE },
	{ "short", "failed\t%u\tcredential\n", FALSE },
	{ "stranger", "changed\t%u000\nfailed\t%u000\tlocal\t0\t\n"
	  "changed\t%u\n", FALSE },
};

static void answer(struct connection *conn, const char *answers, const char *id)
{
	string_t *str = t_str_new(128);

	for (; *answers != '\0'; answers++) {
		if (*answers == '%') {
			str_append(str, id);
			answers++;
		} else {
			str_append_c(str, *answers);
		}
	}
	o_stream_nsend(conn->output, str_data(str), str_len(str));
}

static int watcher_watch(struct connection *conn, const struct job_line *line)
{
	const char *name = job_line_get(line, "name");
	const char *id = job_line_get(line, "id");
	unsigned int i;

	tell(t_strdup_printf("<%s", id));
	for (i = 0; strcmp(watches[i].name, name) != 0; i++) ;
	answer(conn, watches[i].answers, id);
	return watches[i].dies ? -1 : 1;
}

static int watcher_ping(struct connection *conn)
{
	if (!deaf)
		o_stream_nsend_str(conn->output, "pong\t77\n");
	if (++ping_count == 5)
		tell("pinged");
	return 1;
}

static int watcher_line(struct connection *conn, const char *text)
{
	struct job_line line;
	const char *error;

	if (!connection_handshake_received(conn))
		return connection_input_line_default(conn, text);
	ck_assert_int_eq(job_line_parse(pool_datastack_create(), text,
					&line, &error), 0);
	if (strcmp(line.word, "watch") == 0)
		return watcher_watch(conn, &line);
	if (strcmp(line.word, "ping") == 0)
		return watcher_ping(conn);
	ck_assert_str_eq(line.word, "forget");
	tell(t_strdup_printf("<-%s", job_line_get(&line, "id")));
	return 1;
}

static void watcher_accept(void *context ATTR_UNUSED)
{
	struct connection *conn = i_new(struct connection, 1);
	int fd = net_accept(listen_fd, NULL, NULL);

	ck_assert_int_ge(fd, 0);
	watcher_count++;
	connection_init_server(watchers, conn, "watcher", fd, fd);
}

static const struct connection_vfuncs watcher_vfuncs = {
	.destroy = watcher_destroy,
	.input_line = watcher_line,
};

static void
watching(unsigned int id, enum watch_mode mode, void *context ATTR_UNUSED)
{
	tell(t_strdup_printf("%u:%s", id, watch_mode_name(mode)));
}

static void changed(unsigned int id, void *context ATTR_UNUSED)
{
	tell(t_strdup_printf("%u:changed", id));
}

static void add(unsigned int id, const char *name)
{
	pool_t pool = pool_alloconly_create_clean("test watch", 256);
	string_t *line = str_new(pool, 128);

	job_line_begin(line, "watch");
	job_line_add(line, "id", t_strdup_printf("%u", id));
	job_line_add(line, "name", name);
	job_line_end(line);
	watch_client_add(client, id, pool, line);
	pool_unref(&pool);
}

static void failed(unsigned int id, enum reply_class class,
		   unsigned int wait_secs, const char *text ATTR_UNUSED,
		   void *context ATTR_UNUSED)
{
	/* handlers may do so */
	watch_client_remove(client, id);
	if (id == 90)
		watch_client_remove(client, 91);
	if (id == 91)
		watch_client_remove(client, 90);
	if (id == 80)
		add(81, "fine");
	tell(t_strdup_printf("%u:%s,%u", id, reply_class_name(class),
			     wait_secs));
}

static const struct watch_handlers handlers = {
	.watching = watching,
	.changed = changed,
	.failed = failed,
};

static void hanging(void *context ATTR_UNUSED)
{
	ck_abort_msg("nothing more happens; so far: %s", str_c(trace));
}

static const char *socket_path(void)
{
	return t_strconcat(dir, "/watch", NULL);
}

static void setup(void)
{
	static char template[64];

	ioloop = io_loop_create();
	trace = str_new(default_pool, 256);
	watcher_count = ping_count = 0;
	deaf = FALSE;
	i_strocpy(template, "/tmp/test-watch-XXXXXX", sizeof(template));
	dir = mkdtemp(template);
	ck_assert_ptr_nonnull(dir);
	listen_fd = net_listen_unix(socket_path(), 16);
	ck_assert_int_ge(listen_fd, 0);
	listen_io = io_add(listen_fd, IO_READ, watcher_accept, NULL);
	watchers = connection_list_init(&job_server_set, &watcher_vfuncs);
	client = watch_client_init(socket_path(), 2, PING_MSECS, &handlers,
				   NULL);
	to_hang = timeout_add(TIMEOUT_MSECS, hanging, NULL);
}

static void teardown(void)
{
	watch_client_deinit(&client);
	connection_list_deinit(&watchers);
	io_remove(&listen_io);
	i_close_fd(&listen_fd);
	timeout_remove(&to_hang);
	i_unlink_if_exists(socket_path());
	ck_assert_int_eq(rmdir(dir), 0);
	io_loop_destroy(&ioloop);
	str_free(&trace);
}

static void await(const char *text)
{
	awaited = text;
	if (strstr(str_c(trace), text) == NULL)
		io_loop_run(ioloop);
	awaited = NULL;
}

static const struct {
	const char *name, *last, *trace;
} single[] = {
	{ "fine", "changed ", "<1 1:idle 1:changed " },
	{ "refused", "credential,30 ", "<1 1:credential,30 " },
	{ "notify", "notify ", "<1 1:poll 1:notify " },
	{ "die", "local,0 ", "<1 1:local,0 " },
	{ "garbage", "local,0 ", "<1 1:idle 1:local,0 " },
	{ "short", "local,0 ", "<1 1:local,0 " },
	{ "stranger", "changed ", "<1 1:changed " },
};

START_TEST(client_single)
{
	add(1, single[_i].name);
	ck_assert_uint_eq(watch_client_count(client), 1);
	/* nothing happens before the main loop runs */
	ck_assert_str_eq(str_c(trace), "");
	await(single[_i].last);
	ck_assert_str_eq(str_c(trace), single[_i].trace);
	ck_assert_uint_eq(watch_client_count(client),
			  strstr(single[_i].last, ",") == NULL ? 1 : 0);
}
END_TEST

START_TEST(client_two_processes)
{
	unsigned int i;

	for (i = 1; i <= 10; i++)
		add(i, "silent");
	add(11, "die");
	await("11:local,0 ");
	ck_assert_uint_eq(watcher_count, 2);
	/* what the other one watches goes on */
	ck_assert_uint_eq(watch_client_count(client), 5);
	ck_assert_ptr_nonnull(strstr(str_c(trace), "3:local,0 "));
	ck_assert_ptr_null(strstr(str_c(trace), " 4:local,0 "));
}
END_TEST

START_TEST(client_remove)
{
	add(1, "silent");
	add(3, "fine");
	watch_client_remove(client, 3);
	watch_client_remove(client, 77);
	await("<1 ");
	watch_client_remove(client, 1);
	await("<-1 ");
	ck_assert_str_eq(str_c(trace), "<1 <-1 ");
	ck_assert_uint_eq(watch_client_count(client), 0);
}
END_TEST

START_TEST(client_comes_back)
{
	add(1, "die");
	await("1:local,0 ");
	/* waits for its turn: not at once */
	add(3, "fine");
	add(5, "silent");
	watch_client_remove(client, 5);
	await("3:changed ");
	ck_assert_str_eq(str_c(trace), "<1 1:local,0 <3 3:idle 3:changed ");
}
END_TEST

/* One of two that are lost together removes the other; a third one adds. */
START_TEST(client_handlers_may_act)
{
	unsigned int heard = 0;
	const char *p;

	add(80, "silent");
	add(90, "silent");
	await("<90 ");
	/* of the same process */
	add(92, "die");
	await("81:changed ");
	p = str_c(trace);
	while ((p = strstr(p, "90:local,0 ")) != NULL)
		p++, heard++;
	ck_assert_uint_eq(heard, 1);
}
END_TEST

START_TEST(client_lost_and_removed)
{
	add(90, "silent");
	add(92, "silent");
	await("<9");
	add(94, "die");
	await("<94 ");
	await("94:local,0 ");
	ck_assert_uint_eq(watch_client_count(client), 0);
}
END_TEST

START_TEST(client_pings)
{
	add(1, "silent");
	await("pinged ");
	ck_assert_str_eq(str_c(trace), "<1 pinged ");
	ck_assert_uint_eq(watch_client_count(client), 1);
}
END_TEST

/* The next process gets what is added then. */
START_TEST(client_hangs)
{
	deaf = TRUE;
	add(1, "silent");
	add(3, "silent");
	await("1:local,0 ");
	await("3:local,0 ");
	ck_assert_uint_eq(ping_count, WATCH_CLIENT_MAX_PINGS);
	ck_assert_uint_eq(watch_client_count(client), 0);
	deaf = FALSE;
	add(5, "fine");
	await("5:changed ");
	ck_assert_uint_eq(watcher_count, 2);
}
END_TEST

START_TEST(client_no_watcher)
{
	i_unlink(socket_path());
	add(1, "fine");
	ck_assert_str_eq(str_c(trace), "");
	await("1:local,0 ");
	ck_assert_uint_eq(watch_client_count(client), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("watch-client");
	TCase *tc = tcase_create("watch-client");
	SRunner *runner = srunner_create(suite);
	int failed_count;

	lib_init();
	tcase_set_timeout(tc, 30);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, client_single, 0, N_ELEMENTS(single));
	tcase_add_test(tc, client_two_processes);
	tcase_add_test(tc, client_remove);
	tcase_add_test(tc, client_comes_back);
	tcase_add_test(tc, client_handlers_may_act);
	tcase_add_test(tc, client_lost_and_removed);
	tcase_add_test(tc, client_pings);
	tcase_add_test(tc, client_hangs);
	tcase_add_test(tc, client_no_watcher);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed_count = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed_count == 0 ? 0 : 1;
}
