#ifndef IMAPSYNC_LMTP_RETRY_H
#define IMAPSYNC_LMTP_RETRY_H

struct lmtp_delivery;

/* A message that may have been stored before, by a delivery that was killed
   or whose answer was lost. Costs reading mailboxes, but happens after crashes
   only. */

/* Look for it before it is delivered: where its slot says it was about to be
   stored, and, if the user has moved it since or the slot says nothing, by its
   GUID in all private mailboxes. A mail counts only if its size is right; what
   is debris of the message (a beginning of it, NULs before it) is expunged,
   anything else under its GUID is left alone. Flags that an index rebuild has
   lost are set again. mdbox is rebuilt first if a store was noted.

   Returns 1 if all of it is stored, 0 if it must be delivered (again), -1 and
   error_r if mailboxes cannot be read. stores_r, count_r are set with 1: where
   it is; NULL = where the slot says. */
int lmtp_retry_find(struct lmtp_delivery *delivery,
		    const struct inflight_store **stores_r,
		    unsigned int *count_r, const char **error_r);

/* After it was delivered again: expunge all but one of the copies in each
   mailbox that a delivery stored into. Rebuilds of a mailbox may bring back
   copies of killed deliveries late, so look until there are none. stores_r,
   count_r: where it is now.

   Returns 0, or -1 and error_r. */
int lmtp_retry_dedupe(struct lmtp_delivery *delivery,
		      const struct inflight_store **stores_r,
		      unsigned int *count_r, const char **error_r);

#endif
