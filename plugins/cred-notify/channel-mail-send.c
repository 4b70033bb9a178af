/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "istream.h"
#include "ostream.h"
#include "smtp-address.h"
#include "smtp-client.h"
#include "smtp-client-connection.h"
#include "smtp-client-private.h"
#include "smtp-client-transaction.h"
#include "smtp-reply.h"
#include "smtp-submit.h"
#include "dovecot-compat.h"
#include "channel-dovecot.h"
#include "channel-mail-private.h"

/* One letter on its way. lib-smtp must not be freed inside its callbacks:
   mail_letter_done() only says that it is over. */

static const struct mail_letter *mail_letter(struct mail_job *job)
{
	return array_idx(&job->letters, job->pos);
}

/*
 * LMTP
 */

static void lmtp_answered(struct mail_job *job, enum channel_smtp_step step,
			  const struct smtp_reply *reply)
{
	/* what follows good answers is the end, and that one counts */
	if (smtp_reply_is_success(reply) && step != CHANNEL_SMTP_DATA)
		return;
	mail_letter_answered(job, channel_verdict_smtp(step, reply->status),
			     smtp_reply_log(reply));
}

static void
lmtp_mail_replied(const struct smtp_reply *reply, struct mail_job *job)
{
	lmtp_answered(job, CHANNEL_SMTP_OPEN, reply);
}

static void
lmtp_rcpt_replied(const struct smtp_reply *reply, struct mail_job *job)
{
	lmtp_answered(job, CHANNEL_SMTP_RCPT, reply);
}

/* LMTP answers once for each recipient: of these there is one. */
static void
lmtp_data_replied(const struct smtp_reply *reply, struct mail_job *job)
{
	lmtp_answered(job, CHANNEL_SMTP_DATA, reply);
}

static void
lmtp_last_replied(const struct smtp_reply *reply ATTR_UNUSED,
		  struct mail_job *job ATTR_UNUSED)
{
}

static void lmtp_transaction_over(struct mail_job *job)
{
	mail_letter_done(job);
}

static void lmtp_transact(struct mail_job *job)
{
	const struct mail_letter *letter = mail_letter(job);
	struct smtp_client_transaction *trans;
	struct istream *input;

	trans = smtp_client_transaction_create(job->lmtp, NULL, NULL, 0,
					       lmtp_transaction_over, job);
	smtp_client_transaction_start(trans, lmtp_mail_replied, job);
	smtp_client_transaction_add_rcpt(trans, letter->rcpt, NULL,
					 lmtp_rcpt_replied, lmtp_data_replied,
					 job);
	input = i_stream_create_from_data(letter->text, strlen(letter->text));
	smtp_client_transaction_send(trans, input, lmtp_last_replied, job);
	i_stream_unref(&input);
}

/* A server that is not there, or that greets us with a refusal, says nothing
   about the recipient. */
static void
lmtp_login_replied(const struct smtp_reply *reply, struct mail_job *job)
{
	if (smtp_reply_is_success(reply)) {
		lmtp_transact(job);
		return;
	}
	lmtp_answered(job, CHANNEL_SMTP_OPEN, reply);
	mail_letter_done(job);
}

static void lmtp_send(struct mail_job *job)
{
	struct mail_channel *mail = job->mail;

	job->lmtp = smtp_client_connection_create_unix(mail->client,
		SMTP_PROTOCOL_LMTP, mail->set.lmtp_path, NULL);
	/* lib-smtp asks whether the address that failed was the last one, also
	   when there are none, and then asserts */
	job->lmtp->ips_count = 1;
	smtp_client_connection_connect(job->lmtp,
		(smtp_client_command_callback_t *)lmtp_login_replied, job);
}

/*
 * Submission
 */

static void
submit_over(const struct smtp_submit_result *result, struct mail_job *job)
{
	enum channel_result told = result->status > 0 ? CHANNEL_TOLD :
		result->status == 0 ? CHANNEL_FAILED : CHANNEL_LATER;

	mail_letter_answered(job, told, result->error);
	mail_letter_done(job);
}

static void submit_send(struct mail_job *job)
{
	const struct channel_mail_settings *set = &job->mail->set;
	const struct mail_letter *letter = mail_letter(job);
	struct smtp_submit_settings submit_set;
	struct smtp_submit_input input;
	struct ostream *output;

	i_zero(&submit_set);
	submit_set.hostname = set->hostname;
	submit_set.submission_host = set->submission_host;
	submit_set.submission_ssl = set->submission_ssl;
	submit_set.submission_timeout = set->timeout_secs;
	submit_set.sendmail_path = set->sendmail_path;
	channel_dovecot_submit_input(&input, &set->tls,
				     job->mail->channel.event);

	job->submit = smtp_submit_init_simple(&input, &submit_set, NULL);
	smtp_submit_add_rcpt(job->submit, letter->rcpt);
	output = smtp_submit_send(job->submit);
	o_stream_nsend_str(output, letter->text);
	smtp_submit_run_async(job->submit, submit_over, job);
}

/*
 * Either
 */

void mail_send(struct mail_job *job)
{
	if (job->local)
		lmtp_send(job);
	else
		submit_send(job);
}

void mail_send_abort(struct mail_job *job)
{
	/* callbacks it still has change nothing: there is an answer */
	if (job->lmtp != NULL)
		smtp_client_connection_close(&job->lmtp);
	if (job->submit != NULL)
		smtp_submit_deinit(&job->submit);
}
