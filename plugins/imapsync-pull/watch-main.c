/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "connection.h"
#include "hash.h"
#include "ioloop.h"
#include "ostream.h"
#include "restrict-access.h"
#include "str.h"
#include "strnum.h"
#include "master-service.h"
#include "master-service-settings.h"
#include "dovecot-compat.h"
#include "core/watch-turns.h"
#include "imapsync-settings.h"
#include "job.h"
#include "remote-account.h"
#include "watch.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

/* Waits for news of many accounts, for the one service that it is connected to.
   What remote servers say is read here, so this process has no rights: it runs
   as a user that owns nothing, and gets the secrets of the accounts it watches
   and no other. */

/* logins at once: in all, and at one host */
#define LOGINS_MAX 16
#define LOGINS_PER_HOST_MAX 4
/* until others may log in beside it, elsewhere */
#define LOGIN_SLOW_MSECS 2000
/* each watch is a connection */
#define FD_LIMIT 65536
/* this machine may get another address meanwhile */
#define POLICY_MAX_AGE_SECS 60

struct watch_entry {
	unsigned int id;
	/* the request, with its secret, until the login begins */
	pool_t pool;
	struct account account;
	const char *secret;
	/* waits for the login, or is at it */
	struct watch_turn *turn;
	struct timeout *to_slow;
	struct watch *watch;
};

static const struct imapsync_settings *settings;
static char *dns_client_socket_path;
static struct event *watch_event;
static struct connection_list *connections;
static struct connection *service_conn = NULL;
static struct watch_turns *turns;
/* starts whose turn it is, from the ioloop */
static struct timeout *to_turns = NULL;
static HASH_TABLE(void *, struct watch_entry *) entries;

static struct net_policy policy;
static pool_t policy_pool;
static time_t policy_time = 0;

static void entry_fail(struct watch_entry *entry,
		       const struct remote_imap_error *error);

/*
 * Answers
 */

static string_t *answer_begin(const char *word, unsigned int id)
{
	string_t *str = t_str_new(128);

	job_line_begin(str, word);
	job_line_add_arg(str, dec2str(id));
	return str;
}

static void answer_send(string_t *str)
{
	job_line_end(str);
	if (service_conn != NULL && service_conn->output != NULL) {
		o_stream_nsend(service_conn->output, str_data(str),
			       str_len(str));
	}
}

static void
answer_failed(unsigned int id, const struct remote_imap_error *error)
{
	string_t *str = answer_begin("failed", id);

	job_line_add_arg(str, reply_class_name(error->class));
	job_line_add_arg(str, dec2str(error->wait_secs));
	job_line_add_arg(str, error->text);
	answer_send(str);
}

/*
 * Accounts
 */

static void turns_changed(void);

static void entry_end_turn(struct watch_entry *entry)
{
	if (entry->turn == NULL)
		return;
	timeout_remove(&entry->to_slow);
	watch_turn_end(&entry->turn);
	turns_changed();
}

static void entry_free(struct watch_entry *entry)
{
	hash_table_remove(entries, POINTER_CAST(entry->id));
	entry_end_turn(entry);
	if (entry->watch != NULL)
		watch_deinit(&entry->watch);
	if (entry->pool != NULL)
		pool_unref(&entry->pool);
	i_free(entry);
}

static void
entry_fail(struct watch_entry *entry, const struct remote_imap_error *error)
{
	T_BEGIN {
		answer_failed(entry->id, error);
	} T_END;
	entry_free(entry);
}

static void entry_fail_config(struct watch_entry *entry, const char *text)
{
	const struct remote_imap_error error = {
		.class = REPLY_CLASS_CONFIG, .text = text,
	};

	entry_fail(entry, &error);
}

static void entry_slow(struct watch_entry *entry)
{
	timeout_remove(&entry->to_slow);
	watch_turn_slow(entry->turn);
	turns_changed();
}

static void entry_logged_in(void *context)
{
	entry_end_turn(context);
}

static void entry_watching(enum watch_mode mode, void *context)
{
	struct watch_entry *entry = context;
	string_t *str;

	T_BEGIN {
		str = answer_begin("watching", entry->id);
		job_line_add_arg(str, watch_mode_name(mode));
		answer_send(str);
	} T_END;
}

static void entry_changed(void *context)
{
	struct watch_entry *entry = context;

	T_BEGIN {
		answer_send(answer_begin("changed", entry->id));
	} T_END;
}

static void
entry_failed(const struct remote_imap_error *error, void *context)
{
	entry_fail(context, error);
}

static const struct watch_callbacks entry_callbacks = {
	.logged_in = entry_logged_in,
	.watching = entry_watching,
	.changed = entry_changed,
	.failed = entry_failed,
};

/* Connections look at it while they connect, and not from one call to the
   next: it may be made anew between them. */
static int policy_refresh(const char **error_r)
{
	if (policy_time + POLICY_MAX_AGE_SECS > ioloop_time)
		return 0;
	p_clear(policy_pool);
	i_zero(&policy);
	if (remote_account_policy(policy_pool, settings,
				  watch_event, &policy, error_r) < 0)
		return -1;
	policy_time = ioloop_time;
	return 0;
}

static void entry_start(struct watch_entry *entry)
{
	struct remote_imap_settings set;
	const char *error;

	if (policy_refresh(&error) < 0) {
		entry_fail_config(entry, error);
		return;
	}
	remote_account_settings(&entry->account, entry->secret, settings,
				&policy, &set);
	set.dns_client_socket_path = dns_client_socket_path;
	entry->to_slow = timeout_add(LOGIN_SLOW_MSECS, entry_slow, entry);
	entry->watch = watch_init(&entry->account, &set, &entry_callbacks,
				  entry);
	i_zero(&entry->account);
	entry->secret = NULL;
	pool_unref(&entry->pool);
}

static void turns_start(void *context ATTR_UNUSED)
{
	struct watch_entry *entry;

	timeout_remove(&to_turns);
	while ((entry = watch_turns_next(turns)) != NULL) T_BEGIN {
		entry_start(entry);
	} T_END;
}

static void turns_changed(void)
{
	if (to_turns == NULL)
		to_turns = timeout_add_short(0, turns_start, NULL);
}

/*
 * Requests
 */

static int
entry_parse(struct watch_entry *entry, const struct job_line *line,
	    const char **error_r)
{
	const char *user = job_line_get(line, "user");
	const char *name = job_line_get(line, "name");

	entry->secret = job_line_get(line, "secret");
	if (user == NULL || name == NULL || entry->secret == NULL) {
		*error_r = "the watch lacks user, name or secret";
		return -1;
	}
	return account_parse(entry->pool, user, name,
			     job_line_get_all(entry->pool, line, "set"),
			     &entry->account, error_r);
}

static void request_forget(unsigned int id)
{
	struct watch_entry *entry =
		hash_table_lookup(entries, POINTER_CAST(id));

	/* it may have failed meanwhile */
	if (entry != NULL)
		entry_free(entry);
}

static void
request_watch(unsigned int id, pool_t pool, const struct job_line *line)
{
	struct watch_entry *entry;
	const char *error;

	request_forget(id);
	entry = i_new(struct watch_entry, 1);
	entry->id = id;
	entry->pool = pool;
	pool_ref(pool);
	hash_table_insert(entries, POINTER_CAST(id), entry);
	if (entry_parse(entry, line, &error) < 0) {
		entry_fail_config(entry, error);
		return;
	}
	entry->turn = watch_turn_wait(turns, entry->account.host, entry);
	turns_changed();
}

static int
request_handle_id(pool_t pool, const struct job_line *line,
		  const char **error_r)
{
	const char *id_text = job_line_get(line, "id");
	unsigned int id;

	if (id_text == NULL || str_to_uint(id_text, &id) < 0 || id == 0) {
		*error_r = "no id";
		return -1;
	}
	if (strcmp(line->word, "watch") == 0) {
		request_watch(id, pool, line);
	} else if (strcmp(line->word, "forget") == 0) {
		request_forget(id);
	} else {
		*error_r = "unknown request";
		return -1;
	}
	return 0;
}

static void request_ping(void)
{
	string_t *str = t_str_new(16);

	job_line_begin(str, "pong");
	job_line_add_arg(str, dec2str(getpid()));
	answer_send(str);
}

static int
request_handle(pool_t pool, const char *text, const char **error_r)
{
	struct job_line line;

	if (job_line_parse(pool, text, &line, error_r) < 0)
		return -1;
	if (strcmp(line.word, "ping") != 0)
		return request_handle_id(pool, &line, error_r);
	request_ping();
	return 0;
}

static int service_input_line(struct connection *conn, const char *text)
{
	const char *error;
	pool_t pool;
	int ret;

	if (!connection_handshake_received(conn))
		return connection_input_line_default(conn, text);
	pool = pool_alloconly_create_clean("watch request", 2048);
	ret = request_handle(pool, text, &error);
	pool_unref(&pool);
	if (ret < 0)
		e_error(conn->event, "broken request: %s", error);
	return ret < 0 ? -1 : 1;
}

/*
 * The service
 */

static void entries_free(void)
{
	struct hash_iterate_context *iter = hash_table_iterate_init(entries);
	struct watch_entry *entry;
	void *key;

	while (hash_table_iterate(iter, entries, &key, &entry))
		entry_free(entry);
	hash_table_iterate_deinit(&iter);
}

static void service_destroy(struct connection *conn)
{
	entries_free();
	connection_deinit(conn);
	i_free(conn);
	service_conn = NULL;
	master_service_client_connection_destroyed(master_service);
}

static const struct connection_vfuncs service_vfuncs = {
	.destroy = service_destroy,
	.input_line = service_input_line,
};

static void client_connected(struct master_service_connection *conn)
{
	i_assert(service_conn == NULL);

	master_service_client_connection_accept(conn);
	service_conn = i_new(struct connection, 1);
	connection_init_server(connections, service_conn, "service", conn->fd,
			       conn->fd);
}

/*
 * Life
 */

/* The limit of whatever started the master may be low. Without the right to
   more than its own maximum, that has to do. */
static void raise_fd_limit(void)
{
	struct rlimit old, limit;

	if (getrlimit(RLIMIT_NOFILE, &old) < 0)
		i_fatal("getrlimit() failed: %m");
	limit.rlim_cur = limit.rlim_max = I_MAX(old.rlim_max, FD_LIMIT);
	if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
		return;
	old.rlim_cur = old.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &old) < 0)
		i_error("setrlimit(RLIMIT_NOFILE) failed: %m");
}

/* From here on nothing can bring rights back. */
static void drop_privileges(void)
{
	restrict_access_by_env(0, NULL);
	if (geteuid() == 0 || getuid() == 0 || setuid(0) == 0)
		i_fatal("privileges were not dropped: service "
			"imapsync-pull-watch needs a user");
	/* a core would hold passwords */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		i_fatal("prctl() failed: %m");
}

static void main_init(void)
{
	const char *base_dir =
		master_service_get_service_settings(master_service)->base_dir;

	watch_event = event_create(NULL);
	dns_client_socket_path = i_strconcat(base_dir, "/dns-client", NULL);
	connections = connection_list_init(&job_server_set, &service_vfuncs);
	turns = watch_turns_init(LOGINS_MAX, LOGINS_PER_HOST_MAX);
	hash_table_create_direct(&entries, default_pool, 0);
	policy_pool = pool_alloconly_create("watch policy", 1024);
}

static void main_deinit(void)
{
	entries_free();
	/* calls service_destroy() */
	connection_list_deinit(&connections);
	timeout_remove(&to_turns);
	watch_turns_deinit(&turns);
	hash_table_destroy(&entries);
	pool_unref(&policy_pool);
	event_unref(&watch_event);
	i_free(dns_client_socket_path);
}

int main(int argc, char *argv[])
{
	const char *error;

	master_service = master_service_init("imapsync-pull-watch", 0,
					     &argc, &argv, "");
	if (master_getopt(master_service) > 0)
		return FATAL_DEFAULT;
	/* the configuration socket is root's */
	if (imapsync_settings_read(master_service, &settings, &error) < 0)
		i_fatal("%s", error);
	master_service_init_log_with_pid(master_service);
	raise_fd_limit();
	drop_privileges();

	main_init();
	master_service_init_finish(master_service);
	master_service_run(master_service, client_connected);
	main_deinit();
	master_service_deinit(&master_service);
	return 0;
}
