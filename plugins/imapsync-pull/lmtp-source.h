#ifndef IMAPSYNC_LMTP_SOURCE_H
#define IMAPSYNC_LMTP_SOURCE_H

/* The message as LMTP hands it over, and the message as scripts and mailboxes
   get to see it: without our header line and with what LMTP has no words for.
   Everything that is stored of a mail comes from its source mail, so that is
   what is replaced. */

struct mail;
struct mail_deliver_context;
struct trace_header;

/* Where our header line is in the message. */
struct lmtp_place {
	/* first byte of its line, and first byte after it */
	uoff_t start, end;
	/* somebody besides our own LMTP server added headers above it: a spam
	   filter, a mail server */
	bool others_above;
	/* what follows "name:", as it is, without the last line end */
	const char *value;
};

/* Look for our header line. Costs a look at the header, which is in memory.
   value is from the data stack. Returns TRUE if there is one. */
bool lmtp_source_find(struct mail *mail, struct lmtp_place *place_r);

struct lmtp_source {
	struct mail_deliver_context *ctx;
	/* LMTP's, put back at the end; ours */
	struct mail *orig_mail, *mail;
};

/* Make ctx->src_mail a mail without our header.

   header: the verified one; its flags, keywords, date and nofx become the
   mail's, and those of copies that scripts make of it while the delivery
   lasts. What LMTP put above it goes too, so that the message is stored as the
   remote has it, unless others added to it. NULL = ordinary mail: only the
   header goes.

   One at a time. */
void lmtp_source_replace(struct lmtp_source *source,
			 struct mail_deliver_context *ctx,
			 const struct lmtp_place *place,
			 const struct trace_header *header);
void lmtp_source_restore(struct lmtp_source *source);

/* Hook: a mail was allocated. Sieve's filter puts the message into a new raw
   mail, which would know nothing of flags and date. */
void lmtp_source_mail_allocated(struct mail *mail);

#endif
