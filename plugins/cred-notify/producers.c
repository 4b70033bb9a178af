/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "hash.h"
#include "str.h"
#include "str-sanitize.h"
#include "connection.h"
#include "ostream.h"
#include "dovecot-compat.h"
#include "producers.h"

/* starts whose last id is remembered; producers are two */
#define MAX_STARTS 64
/* what is said of a line that is wrong */
#define SHOWN_NAME 64

/* of a start: lives on when its connection is gone */
struct producer_start {
	/* name TAB start, and there is no TAB in that */
	char *key;
	uint64_t last_id;
	/* producers_each() has not told that yet */
	bool changed;
	/* for who has to go: when it was heard of last */
	uint64_t used;
};

struct producer {
	struct connection conn;
	struct producers *producers;
	/* RECORD_PRODUCER; name NULL until it said so */
	pool_t pool;
	struct record hello;
	struct producer_start *start;
	/* taken up, and acknowledged */
	uint64_t taken_id, acked_id;
};

struct producers {
	const struct producers_callbacks *callbacks;
	void *context;
	struct event *event;
	struct connection_list *conns;
	HASH_TABLE(char *, struct producer_start *) starts;
	uint64_t clock;
};

/*
 * Starts
 */

static void start_free(struct producers *producers,
		       struct producer_start *start)
{
	hash_table_remove(producers->starts, start->key);
	i_free(start->key);
	i_free(start);
}

static bool start_is_open(struct producers *producers,
			  const struct producer_start *start)
{
	struct connection *conn = producers->conns->connections;

	const struct producer *producer;

	for (; conn != NULL; conn = conn->next) {
		producer = container_of(conn, struct producer, conn);
		if (producer->start == start)
			return TRUE;
	}
	return FALSE;
}

static void starts_make_room(struct producers *producers)
{
	struct hash_iterate_context *iter;
	struct producer_start *start, *oldest = NULL;
	char *key;

	if (hash_table_count(producers->starts) < MAX_STARTS)
		return;
	iter = hash_table_iterate_init(producers->starts);
	while (hash_table_iterate(iter, producers->starts, &key, &start)) {
		if ((oldest == NULL || start->used < oldest->used) &&
		    !start_is_open(producers, start))
			oldest = start;
	}
	hash_table_iterate_deinit(&iter);
	if (oldest != NULL)
		start_free(producers, oldest);
}

static struct producer_start *
start_get(struct producers *producers, const char *name, const char *start_id)
{
	const char *key = t_strconcat(name, "\t", start_id, NULL);
	struct producer_start *start =
		hash_table_lookup(producers->starts, key);

	if (start == NULL) {
		starts_make_room(producers);
		start = i_new(struct producer_start, 1);
		start->key = i_strdup(key);
		hash_table_insert(producers->starts, start->key, start);
	}
	start->used = ++producers->clock;
	return start;
}

void producers_restore(struct producers *producers, const char *name,
		       const char *start_id, uint64_t last_id)
{
	struct producer_start *start = start_get(producers, name, start_id);

	start->last_id = I_MAX(start->last_id, last_id);
}

void producers_each(struct producers *producers, bool all,
		    void (*func)(const char *name, const char *start,
				 uint64_t last_id, void *context),
		    void *context)
{
	struct hash_iterate_context *iter =
		hash_table_iterate_init(producers->starts);
	struct producer_start *start;
	char *key;

	while (hash_table_iterate(iter, producers->starts, &key, &start)) {
		if (!all && !start->changed)
			continue;
		start->changed = FALSE;
		T_BEGIN {
			const char *tab = strrchr(key, '\t');

			func(t_strdup_until(key, tab), tab + 1, start->last_id,
			     context);
		} T_END;
	}
	hash_table_iterate_deinit(&iter);
}

/*
 * Connections
 */

static void producer_destroy(struct connection *conn)
{
	struct producer *producer = container_of(conn, struct producer, conn);
	struct producers *producers = producer->producers;

	connection_deinit(conn);
	pool_unref(&producer->pool);
	i_free(producer);
	producers->callbacks->closed(producers->context);
}

void producers_watch(struct producer *producer, const char *user,
		     const struct ip_addr *net)
{
	const struct record watch = {
		.kind = RECORD_WATCH,
		.user = user,
		.ip = *net,
	};
	const char *error;

	T_BEGIN {
		string_t *line = t_str_new(128);

		/* the journal may have kept a name that we would not take */
		if (record_write(line, &watch, &error) == 0) {
			o_stream_nsend(producer->conn.output, str_data(line),
				       str_len(line));
		}
	} T_END;
}

static bool producer_watches(const struct producer *producer)
{
	return producer->conn.minor_version >= RECORD_PROTOCOL_MINOR_WATCH &&
		strcmp(producer->hello.name, RECORD_PRODUCER_AUTH) == 0;
}

static void producer_hello(struct producer *producer,
			   const struct record *record)
{
	producer->hello.name = p_strdup(producer->pool, record->name);
	producer->hello.start = p_strdup(producer->pool, record->start);
	producer->start = start_get(producer->producers, record->name,
				    record->start);
	event_set_append_log_prefix(producer->conn.event, t_strdup_printf(
		"producer %s: ", str_sanitize(record->name, SHOWN_NAME)));
	if (producer_watches(producer)) {
		producer->producers->callbacks->auth_is_back(
			producer->producers->context, producer);
	}
}

static void producer_record(struct producer *producer,
			    const struct record *record)
{
	struct producers *producers = producer->producers;

	producer->taken_id = I_MAX(producer->taken_id, record->id);
	if (record->id > producer->start->last_id) {
		producer->start->last_id = record->id;
		producer->start->changed = TRUE;
		producers->callbacks->record(producers->context,
					     &producer->hello, record);
	}
	/* a repetition is on disk, or will be by then */
	producers->callbacks->pending(producers->context);
}

/* One that says nonsense is our own of another version: what can be understood
   is. It will not say the other things better when it is asked again, so they
   count as taken up. */
static int producer_line(struct producer *producer, const char *line)
{
	pool_t pool = pool_alloconly_create("producer record", 512);
	struct record record;
	const char *error;

	if (record_parse(pool, line, &record, &error) < 0) {
		e_error(producer->conn.event, "Bad record: %s",
			str_sanitize(error, 256));
	} else if (record.kind == RECORD_PRODUCER) {
		if (producer->start == NULL)
			producer_hello(producer, &record);
	} else if (record.kind >= RECORD_ACK || producer->start == NULL) {
		e_error(producer->conn.event, "Unexpected record: %s",
			record_kind_name(record.kind));
	} else {
		producer_record(producer, &record);
	}
	pool_unref(&pool);
	return 1;
}

static int producer_input_line(struct connection *conn, const char *line)
{
	struct producer *producer = container_of(conn, struct producer, conn);

	if (!connection_handshake_received(conn))
		return connection_input_line_default(conn, line);
	return producer_line(producer, line);
}

static const struct connection_vfuncs producer_vfuncs = {
	.destroy = producer_destroy,
	.input_line = producer_input_line,
};

static const struct connection_settings producer_set = {
	.service_name_in = RECORD_PROTOCOL_NAME,
	.service_name_out = RECORD_PROTOCOL_NAME,
	.major_version = RECORD_PROTOCOL_MAJOR,
	.minor_version = RECORD_PROTOCOL_MINOR,
	/* many at once, so that they share one sync */
	.input_max_size = 16 * RECORD_MAX_LINE,
	.output_max_size = SIZE_MAX,
};

struct producers *
producers_init(const struct producers_callbacks *callbacks, void *context,
	       struct event *event_parent)
{
	struct producers *producers = i_new(struct producers, 1);

	producers->callbacks = callbacks;
	producers->context = context;
	producers->event = event_create(event_parent);
	producers->conns = connection_list_init(&producer_set,
						&producer_vfuncs);
	hash_table_create(&producers->starts, default_pool, 0, str_hash,
			  strcmp);
	return producers;
}

void producers_deinit(struct producers **_producers)
{
	struct producers *producers = *_producers;
	struct hash_iterate_context *iter;
	struct producer_start *start;
	char *key;

	if (producers == NULL)
		return;
	*_producers = NULL;
	connection_list_deinit(&producers->conns);
	iter = hash_table_iterate_init(producers->starts);
	while (hash_table_iterate(iter, producers->starts, &key, &start)) {
		i_free(start->key);
		i_free(start);
	}
	hash_table_iterate_deinit(&iter);
	hash_table_destroy(&producers->starts);
	event_unref(&producers->event);
	i_free(producers);
}

void producers_accept(struct producers *producers, int fd)
{
	struct producer *producer = i_new(struct producer, 1);

	producer->producers = producers;
	producer->pool = pool_alloconly_create("producer", 256);
	producer->hello.kind = RECORD_PRODUCER;
	producer->conn.event_parent = producers->event;
	connection_init_server(producers->conns, &producer->conn,
			       RECORD_SOCKET, fd, fd);
}

static void producer_ack(struct producer *producer)
{
	const struct record ack = {
		.kind = RECORD_ACK,
		.id = producer->taken_id,
	};
	string_t *line = t_str_new(64);
	const char *error;

	if (producer->taken_id <= producer->acked_id)
		return;
	producer->acked_id = producer->taken_id;
	if (record_write(line, &ack, &error) < 0)
		i_unreached();
	o_stream_nsend(producer->conn.output, str_data(line), str_len(line));
}

void producers_ack(struct producers *producers)
{
	struct connection *conn = producers->conns->connections;

	for (; conn != NULL; conn = conn->next) T_BEGIN {
		producer_ack(container_of(conn, struct producer, conn));
	} T_END;
}

unsigned int producers_count(const struct producers *producers)
{
	return producers->conns->connections_count;
}
