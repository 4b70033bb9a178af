/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "array.h"
#include "hash.h"
#include "llist.h"
#include "str.h"
#include "net.h"
#include "ostream.h"
#include "connection.h"
#include "dovecot-compat.h"
#include "feed.h"

#include <unistd.h>

#define FEED_MAX_OUTPUT (64*1024)
/* by then it has said who it is, and the userdb has answered */
#define FEED_ADMIT_SECS 10
/* told and not confirmed, of one session */
#define FEED_MAX_TOLD 64

enum feed_state {
	/* has not said SUB */
	FEED_STATE_NEW,
	/* may it? */
	FEED_STATE_CHECKING,
	FEED_STATE_ADMITTED
};

struct feed_told {
	char *id;
	enum feed_channel channel;
};

struct feed_conn {
	struct connection conn;
	struct feed *feed;
	/* of one user, once admitted */
	struct feed_conn *prev, *next;

	uint64_t number;
	uid_t uid;
	enum feed_state state;
	struct timeout *to_close;
	bool doomed;

	/* by SUB */
	char *user, *session;
	bool secured, unhibernated;

	ARRAY(struct feed_told) told;
};

struct feed_user {
	char *name;
	struct feed_conn *sessions;
	unsigned int count;
};

struct feed {
	struct feed_settings set;
	const struct feed_callbacks *callbacks;
	void *context;
	struct event *event;

	struct connection_list *conns;
	uint64_t last_number;
	unsigned int strangers;
	HASH_TABLE(char *, struct feed_user *) users;
	/* by number */
	HASH_TABLE(void *, struct feed_conn *) sessions;
};

static void *number_key(uint64_t number)
{
	/* a pointer's width of numbers is not used up */
	return POINTER_CAST(number);
}

static struct feed_user *feed_user_get(struct feed *feed, const char *name)
{
	struct feed_user *user = hash_table_lookup(feed->users, name);

	if (user == NULL) {
		user = i_new(struct feed_user, 1);
		user->name = i_strdup(name);
		hash_table_insert(feed->users, user->name, user);
	}
	return user;
}

static void feed_user_remove(struct feed *feed, struct feed_conn *session)
{
	struct feed_user *user = hash_table_lookup(feed->users, session->user);

	DLLIST_REMOVE(&user->sessions, session);
	if (--user->count > 0)
		return;
	hash_table_remove(feed->users, user->name);
	i_free(user->name);
	i_free(user);
}

static void told_delete(struct feed_conn *session, struct feed_told *told)
{
	unsigned int idx = array_ptr_to_idx(&session->told, told);

	i_free(told->id);
	array_delete(&session->told, idx, 1);
}

static void feed_conn_leave(struct feed_conn *session)
{
	struct feed *feed = session->feed;

	if (session->state == FEED_STATE_ADMITTED)
		feed_user_remove(feed, session);
	else
		feed->strangers--;
	hash_table_remove(feed->sessions, number_key(session->number));
}

static void feed_conn_destroy(struct connection *conn)
{
	struct feed_conn *session =
		container_of(conn, struct feed_conn, conn);
	struct feed *feed = session->feed;

	feed_conn_leave(session);
	timeout_remove(&session->to_close);
	connection_deinit(conn);
	while (array_count(&session->told) > 0)
		told_delete(session, array_front_modifiable(&session->told));
	array_free(&session->told);
	i_free(session->user);
	i_free(session->session);
	i_free(session);
	feed->callbacks->closed(feed->context);
}

static void feed_conn_close(struct feed_conn *session)
{
	feed_conn_destroy(&session->conn);
}

/* Not at once: whoever calls may go on with it. Until then it is deaf. */
static void feed_conn_doom(struct feed_conn *session, const char *reason)
{
	if (session->doomed)
		return;
	session->doomed = TRUE;
	e_debug(session->conn.event, "Closing: %s", reason);
	timeout_remove(&session->to_close);
	session->to_close = timeout_add_short(0, feed_conn_close, session);
}

static struct feed_told *
told_find(struct feed_conn *session, const char *id)
{
	struct feed_told *told;

	array_foreach_modifiable(&session->told, told) {
		if (strcmp(told->id, id) == 0)
			return told;
	}
	return NULL;
}

/* The only way to a client. */
static void
feed_conn_send(struct feed_conn *session, const struct feed_line *line)
{
	struct ostream *output = session->conn.output;
	string_t *str = t_str_new(256);
	const char *error;

	if (session->doomed)
		return;
	if (feed_line_write(str, line, &error) < 0) {
		e_error(session->conn.event, "BUG: %s", error);
		return;
	}
	if (o_stream_get_buffer_used_size(output) + str_len(str) >
	    FEED_MAX_OUTPUT)
		feed_conn_doom(session, "it does not read");
	else
		o_stream_nsend(output, str_data(str), str_len(str));
}

static void feed_conn_send_gone(struct feed_conn *session, const char *id)
{
	const struct feed_line line = {
		.word = FEED_GONE,
		.id = id,
	};

	T_BEGIN {
		feed_conn_send(session, &line);
	} T_END;
}

static bool
feed_conn_tell(struct feed_conn *session, const struct feed_notice *notice)
{
	const struct feed_line line = {
		.word = FEED_NOTICE,
		.id = notice->id,
		.channel = notice->channel,
		.text = notice->text,
	};
	struct feed_told *told;

	if (told_find(session, notice->id) != NULL)
		return TRUE;
	if (session->doomed || array_count(&session->told) >= FEED_MAX_TOLD)
		return FALSE;
	told = array_append_space(&session->told);
	told->id = i_strdup(notice->id);
	told->channel = notice->channel;
	T_BEGIN {
		feed_conn_send(session, &line);
	} T_END;
	return TRUE;
}

static void feed_conn_info(const struct feed_conn *session,
			   struct feed_session_info *info_r)
{
	i_zero(info_r);
	info_r->number = session->number;
	info_r->user = session->user;
	info_r->session = session->session;
	info_r->secured = session->secured;
	info_r->unhibernated = session->unhibernated;
}

static void feed_conn_admit(struct feed_conn *session)
{
	struct feed *feed = session->feed;
	struct feed_user *user = feed_user_get(feed, session->user);
	struct feed_session_info info;

	timeout_remove(&session->to_close);
	feed->strangers--;
	session->state = FEED_STATE_ADMITTED;
	DLLIST_PREPEND(&user->sessions, session);
	if (++user->count > feed->set.max_sessions) {
		feed_conn_doom(session, "the user has too many");
		return;
	}
	feed_conn_info(session, &info);
	feed->callbacks->subscribed(feed->context, &info);
}

/* Returns -1 if it has said so before. */
static int
feed_conn_sub(struct feed_conn *session, const struct feed_line *line)
{
	struct feed *feed = session->feed;

	if (session->state != FEED_STATE_NEW)
		return -1;
	session->user = i_strdup(line->user);
	session->session = i_strdup(line->session);
	session->secured = line->secured;
	session->unhibernated = line->unhibernated;
	session->state = FEED_STATE_CHECKING;
	if (session->uid == 0 || session->uid == feed->set.trusted_uid) {
		feed_conn_admit(session);
	} else {
		feed->callbacks->check(feed->context, session->number,
				       session->user, session->uid);
	}
	return 0;
}

/* It was shown, for once and all: not to be seen elsewhere again. */
static void feed_take_back(struct feed_conn *shower, const char *id)
{
	struct feed_user *user =
		hash_table_lookup(shower->feed->users, shower->user);
	struct feed_conn *session;
	struct feed_told *told;

	for (session = user->sessions; session != NULL;
	     session = session->next) {
		told = told_find(session, id);
		if (told == NULL || told->channel != FEED_FLASH)
			continue;
		told_delete(session, told);
		feed_conn_send_gone(session, id);
	}
}

/* What it was not told, or was taken back on the way, does not count. */
static void feed_conn_shown(struct feed_conn *session, const char *id)
{
	struct feed *feed = session->feed;
	struct feed_session_info info;
	struct feed_told *told = told_find(session, id);
	enum feed_channel channel;

	if (told == NULL)
		return;
	channel = told->channel;
	told_delete(session, told);
	if (channel == FEED_FLASH)
		feed_take_back(session, id);
	feed_conn_info(session, &info);
	feed->callbacks->shown(feed->context, &info, id, channel);
}

static int
feed_conn_line(struct feed_conn *session, const struct feed_line *line)
{
	switch (line->word) {
	case FEED_SUB:
		return feed_conn_sub(session, line);
	case FEED_SHOWN:
		feed_conn_shown(session, line->id);
		return 0;
	default:
		return -1;
	}
}

static int
feed_conn_input_args(struct connection *conn, const char *const *args)
{
	struct feed_conn *session =
		container_of(conn, struct feed_conn, conn);
	struct feed_line line;
	const char *error = "out of place";

	if (session->doomed)
		return 1;
	if (feed_line_parse(args, &line, &error) < 0 ||
	    feed_conn_line(session, &line) < 0) {
		e_debug(conn->event, "uid %ld: %s", (long)session->uid, error);
		return -1;
	}
	return 1;
}

void feed_accept(struct feed *feed, int fd)
{
	struct feed_conn *session;
	struct net_unix_cred cred;

	if (feed_connection_count(feed) >= feed->set.max_connections ||
	    feed->strangers >= (feed->set.max_connections + 1) / 2 ||
	    net_getunixcred(fd, &cred) < 0) {
		net_disconnect(fd);
		feed->callbacks->closed(feed->context);
		return;
	}
	net_set_nonblock(fd, TRUE);
	session = i_new(struct feed_conn, 1);
	session->feed = feed;
	session->number = ++feed->last_number;
	session->uid = cred.uid;
	i_array_init(&session->told, 4);
	session->to_close = timeout_add(FEED_ADMIT_SECS * 1000,
					feed_conn_close, session);
	hash_table_insert(feed->sessions, number_key(session->number),
			  session);
	feed->strangers++;
	session->conn.event_parent = feed->event;
	connection_init_server(feed->conns, &session->conn, NULL, fd, fd);
}

static struct feed_conn *
feed_session_find(struct feed *feed, uint64_t number)
{
	return hash_table_lookup(feed->sessions, number_key(number));
}

void feed_admit(struct feed *feed, uint64_t number, bool may)
{
	struct feed_conn *session = feed_session_find(feed, number);

	if (session == NULL || session->state != FEED_STATE_CHECKING ||
	    session->doomed)
		return;
	if (may)
		feed_conn_admit(session);
	else
		feed_conn_doom(session, "it may not be that user");
}

bool feed_tell(struct feed *feed, uint64_t number,
	       const struct feed_notice *notice)
{
	struct feed_conn *session = feed_session_find(feed, number);

	return session != NULL && session->state == FEED_STATE_ADMITTED &&
		feed_conn_tell(session, notice);
}

unsigned int feed_tell_user(struct feed *feed, const char *name,
			    const struct feed_notice *notice)
{
	struct feed_user *user = hash_table_lookup(feed->users, name);
	struct feed_conn *session;

	if (user == NULL)
		return 0;
	for (session = user->sessions; session != NULL;
	     session = session->next)
		(void)feed_conn_tell(session, notice);
	return user->count;
}

void feed_gone(struct feed *feed, const char *name, const char *id)
{
	struct feed_user *user = hash_table_lookup(feed->users, name);
	struct feed_conn *session;
	struct feed_told *told;

	if (user == NULL)
		return;
	for (session = user->sessions; session != NULL;
	     session = session->next) {
		told = told_find(session, id);
		if (told != NULL)
			told_delete(session, told);
		/* one that showed it knows that it no longer holds */
		feed_conn_send_gone(session, id);
	}
}

unsigned int feed_connection_count(const struct feed *feed)
{
	return feed->conns->connections_count;
}

static const struct connection_settings feed_conn_settings = {
	.service_name_in = FEED_PROTOCOL_NAME,
	.service_name_out = FEED_PROTOCOL_NAME,
	.major_version = FEED_PROTOCOL_MAJOR,
	.minor_version = FEED_PROTOCOL_MINOR,
	.input_max_size = FEED_MAX_LINE,
	/* feed_conn_send() keeps below it */
	.output_max_size = SIZE_MAX,
	.client = FALSE,
};

static const struct connection_vfuncs feed_conn_vfuncs = {
	.destroy = feed_conn_destroy,
	.input_args = feed_conn_input_args,
};

struct feed *feed_init(const struct feed_settings *set,
		       const struct feed_callbacks *callbacks, void *context,
		       struct event *event_parent)
{
	struct feed *feed = i_new(struct feed, 1);

	feed->set = *set;
	feed->callbacks = callbacks;
	feed->context = context;
	feed->event = event_create(event_parent);
	event_set_append_log_prefix(feed->event, "feed: ");
	feed->conns = connection_list_init(&feed_conn_settings,
					   &feed_conn_vfuncs);
	hash_table_create(&feed->users, default_pool, 0, str_hash, strcmp);
	hash_table_create_direct(&feed->sessions, default_pool, 0);
	return feed;
}

void feed_deinit(struct feed **_feed)
{
	struct feed *feed = *_feed;

	*_feed = NULL;
	/* each connection's destroy() is called */
	connection_list_deinit(&feed->conns);
	hash_table_destroy(&feed->users);
	hash_table_destroy(&feed->sessions);
	event_unref(&feed->event);
	i_free(feed);
}
