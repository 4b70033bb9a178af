#ifndef CRED_NOTIFY_CHANNEL_MAIL_PRIVATE_H
#define CRED_NOTIFY_CHANNEL_MAIL_PRIVATE_H

#include "channel-mail.h"

/* as Dovecot's submission_host has it */
#define CHANNEL_MAIL_DEFAULT_PORT 25

struct smtp_address;
struct smtp_client;
struct smtp_client_connection;
struct smtp_client_transaction;
struct smtp_submit;

/* one mail to one address */
struct mail_letter {
	const struct smtp_address *rcpt;
	const char *text;
};
ARRAY_DEFINE_TYPE(mail_letter, struct mail_letter);

/* one telling */
struct mail_job {
	struct mail_job *prev, *next;
	pool_t pool;
	struct mail_channel *mail;
	channel_callback_t *callback;
	void *context;

	ARRAY_TYPE(mail_letter) letters;
	/* which of them is on its way */
	unsigned int pos;
	bool local;

	/* of the letter on its way: what came first */
	bool answered;
	enum channel_result letter_result;
	const char *letter_error;
	/* of those before it */
	enum channel_result result;
	const char *error;
	/* the channel goes */
	bool cut_off;

	struct smtp_client_connection *conn;
	struct smtp_client_transaction *trans;
	/* by sendmail_path */
	struct smtp_submit *submit;
	/* frees what cannot be freed where its end is heard of, and goes on */
	struct timeout *to;
};

struct mail_channel {
	struct channel channel;
	pool_t pool;
	struct channel_mail_settings set;
	struct smtp_client *client;
	struct mail_job *waiting_head, *waiting_tail, *busy;
	unsigned int waiting_count, busy_count;
};

/* channel-mail-send.c */

/* Hand the letter at job->pos over. Ends in one call of mail_letter_done(), or
   in mail_send_abort(). */
void mail_send(struct mail_job *job);
void mail_send_abort(struct mail_job *job);

/* Take down an answer about the letter on its way, if it is the first one.
   error: of others, is sanitised here */
void mail_letter_answered(struct mail_job *job, enum channel_result result,
			  const char *error);
/* No more is to be heard of it. */
void mail_letter_done(struct mail_job *job);

#endif
