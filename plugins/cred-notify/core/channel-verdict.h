#ifndef CRED_NOTIFY_CHANNEL_VERDICT_H
#define CRED_NOTIFY_CHANNEL_VERDICT_H

/* What the other side's answer means for a telling. Pure. */

enum channel_result {
	CHANNEL_TOLD,
	/* not now: worth another try */
	CHANNEL_LATER,
	/* it would be the same again */
	CHANNEL_FAILED
};

/* What an SMTP or LMTP reply answers (RFC 5321, RFC 2033). */
enum channel_smtp_step {
	/* greeting, LHLO, MAIL: whoever is told has nothing to do with it */
	CHANNEL_SMTP_OPEN,
	CHANNEL_SMTP_RCPT,
	CHANNEL_SMTP_DATA
};

/* status: a reply code; what is none stands for trouble on the way */
enum channel_result
channel_verdict_smtp(enum channel_smtp_step step, unsigned int status);

/* status: of a response (RFC 9110); what is none stands for trouble on the
   way. Redirects are not followed: somebody has to mend the address, and until
   then it is worth another try. */
enum channel_result channel_verdict_http(unsigned int status);

/* Of a telling that goes to several addresses: who was told by one is told. */
enum channel_result
channel_verdict_merge(enum channel_result one, enum channel_result other);

#endif
