#ifndef CRED_NOTIFY_RECORD_QUEUE_H
#define CRED_NOTIFY_RECORD_QUEUE_H

#include "core/record.h"

/* Records on their way to the service, in bounded memory. It keeps what was
   sent until that is acknowledged, so that it can be sent again to the next
   service, as long as nothing newer needs the room. What finds no room is
   counted, and the count is sent as a record once there is. */
struct record_queue;

/* max_bytes: of lines that wait, sent or not */
struct record_queue *record_queue_create(size_t max_bytes);
void record_queue_free(struct record_queue **queue);

/* Give the record its id and put it in. One that cannot be written or finds no
   room is counted as dropped. */
void record_queue_add(struct record_queue *queue, struct record *record);

/* What is to be sent now; size_r 0 if nothing. now: seconds, for a count of
   dropped records. Valid until the next call. */
const unsigned char *
record_queue_next(struct record_queue *queue, time_t now, size_t *size_r);
/* Bytes of records that were not sent yet. */
size_t record_queue_unsent(const struct record_queue *queue);
/* So much of it was sent. */
void record_queue_sent(struct record_queue *queue, size_t size);

/* The service has everything up to this id. */
void record_queue_ack(struct record_queue *queue, uint64_t id);
/* Another connection: everything that is not acknowledged is sent again. */
void record_queue_rewind(struct record_queue *queue);

/* Dropped and not yet said so. */
uint64_t record_queue_dropped(const struct record_queue *queue);

#endif
