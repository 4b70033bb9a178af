#ifndef IMAPSYNC_LMTP_STORE_H
#define IMAPSYNC_LMTP_STORE_H

#include "inflight.h"

/* What a delivery of a pulled message stores, whoever stores it: noted in the
   in-flight file before it is committed, under a GUID that can be found
   again. */

struct mail;
struct mailbox;
struct mailbox_transaction_context;
struct mail_deliver_context;
struct trace_header;

struct lmtp_stored {
	struct inflight_store store;
	/* its transaction, until that ends */
	struct mailbox_transaction_context *trans;
	bool committed;
};

struct lmtp_delivery {
	struct mail_deliver_context *ctx;
	const struct trace_header *header;
	/* open, with header->slot locked */
	struct inflight *inflight;
	/* what the slot said before this delivery */
	struct inflight_slot slot;
	/* the message without our header, as announced by header->size, or
	   with headers that others added */
	struct mail *src_mail;
	bool size_changed;
	ARRAY(struct lmtp_stored) stored;
	/* the slot says that all of them are noted */
	bool committing;
};

/* From begin to end, what is saved into a mailbox counts as the delivery's. */
void lmtp_store_begin(struct lmtp_delivery *delivery);
void lmtp_store_end(void);

/* Number of stores committed so far. */
unsigned int lmtp_store_count_committed(const struct lmtp_delivery *delivery);

/* TRUE if messages are stored in box under the GUID we give them. */
bool lmtp_store_sets_guid(struct mailbox *box);

/* Hook: a mailbox was allocated. */
void lmtp_store_mailbox_allocated(struct mailbox *box);

#endif
