/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "str.h"
#include "core/record-queue.h"

struct record_queue {
	/* lines, those that wait from start on, of them sent up to sent */
	string_t *data;
	size_t start, sent, max_bytes;
	/* of the line at start; of the line that comes next */
	uint64_t first_id, next_id;
	uint64_t dropped;
};

struct record_queue *record_queue_create(size_t max_bytes)
{
	struct record_queue *queue = i_new(struct record_queue, 1);

	queue->data = str_new(default_pool, 1024);
	queue->max_bytes = max_bytes;
	queue->first_id = queue->next_id = 1;
	return queue;
}

void record_queue_free(struct record_queue **_queue)
{
	struct record_queue *queue = *_queue;

	*_queue = NULL;
	str_free(&queue->data);
	i_free(queue);
}

/* Moving the rest down costs: only when as much is free as is left. */
static void record_queue_compact(struct record_queue *queue)
{
	if (queue->start < str_len(queue->data) - queue->start)
		return;
	str_delete(queue->data, 0, queue->start);
	queue->sent -= queue->start;
	queue->start = 0;
}

static size_t record_queue_first_size(const struct record_queue *queue)
{
	const unsigned char *data = str_data(queue->data);
	const unsigned char *end =
		memchr(data + queue->start, '\n',
		       str_len(queue->data) - queue->start);

	i_assert(end != NULL);
	return end + 1 - (data + queue->start);
}

/* Forget the oldest line if all of it was sent. */
static bool record_queue_forget(struct record_queue *queue)
{
	size_t size;

	if (queue->sent == queue->start)
		return FALSE;
	size = record_queue_first_size(queue);
	if (queue->start + size > queue->sent)
		return FALSE;
	queue->start += size;
	queue->first_id++;
	return TRUE;
}

static bool record_queue_make_room(struct record_queue *queue, size_t size)
{
	while (str_len(queue->data) - queue->start + size > queue->max_bytes) {
		if (!record_queue_forget(queue))
			return FALSE;
	}
	record_queue_compact(queue);
	return TRUE;
}

static bool
record_queue_try_add(struct record_queue *queue, struct record *record)
{
	string_t *line = t_str_new(256);
	const char *error;

	record->id = queue->next_id;
	if (record_write(line, record, &error) < 0 ||
	    !record_queue_make_room(queue, str_len(line)))
		return FALSE;
	str_append_str(queue->data, line);
	queue->next_id++;
	return TRUE;
}

static void record_queue_report_dropped(struct record_queue *queue, time_t now)
{
	struct record record = {
		.kind = RECORD_DROPPED,
		.time = now,
		.count = queue->dropped,
	};

	if (queue->dropped > 0 && record_queue_try_add(queue, &record))
		queue->dropped = 0;
}

void record_queue_add(struct record_queue *queue, struct record *record)
{
	if (!record_queue_try_add(queue, record))
		queue->dropped++;
}

size_t record_queue_unsent(const struct record_queue *queue)
{
	return str_len(queue->data) - queue->sent;
}

const unsigned char *
record_queue_next(struct record_queue *queue, time_t now, size_t *size_r)
{
	record_queue_report_dropped(queue, now);
	*size_r = record_queue_unsent(queue);
	return str_data(queue->data) + queue->sent;
}

void record_queue_sent(struct record_queue *queue, size_t size)
{
	i_assert(size <= str_len(queue->data) - queue->sent);
	queue->sent += size;
}

void record_queue_ack(struct record_queue *queue, uint64_t id)
{
	while (queue->first_id <= id && record_queue_forget(queue))
		;
	record_queue_compact(queue);
}

void record_queue_rewind(struct record_queue *queue)
{
	queue->sent = queue->start;
}

uint64_t record_queue_dropped(const struct record_queue *queue)
{
	return queue->dropped;
}
