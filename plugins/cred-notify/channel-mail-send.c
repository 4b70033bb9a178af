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
#include "channel-mail-private.h"

/* One letter on its way. lib-smtp must not be freed inside its callbacks:
   mail_letter_done() only says that it is over. */

static const struct mail_letter *mail_letter(struct mail_job *job)
{
	return array_idx(&job->letters, job->pos);
}

/*
 * LMTP and SMTP
 */

static void smtp_answered(struct mail_job *job, enum channel_smtp_step step,
			  const struct smtp_reply *reply)
{
	/* what follows good answers is the end, and that one counts */
	if (smtp_reply_is_success(reply) && step != CHANNEL_SMTP_DATA)
		return;
	mail_letter_answered(job, channel_verdict_smtp(step, reply->status),
			     smtp_reply_log(reply));
}

static void
smtp_mail_replied(const struct smtp_reply *reply, struct mail_job *job)
{
	smtp_answered(job, CHANNEL_SMTP_OPEN, reply);
}

static void
smtp_rcpt_replied(const struct smtp_reply *reply, struct mail_job *job)
{
	smtp_answered(job, CHANNEL_SMTP_RCPT, reply);
}

/* LMTP answers once for each recipient, SMTP for all: there is one. */
static void
smtp_data_replied(const struct smtp_reply *reply, struct mail_job *job)
{
	smtp_answered(job, CHANNEL_SMTP_DATA, reply);
}

static void
smtp_last_replied(const struct smtp_reply *reply ATTR_UNUSED,
		  struct mail_job *job ATTR_UNUSED)
{
}

/* lib-smtp frees the transaction behind this. */
static void smtp_transaction_over(struct mail_job *job)
{
	job->trans = NULL;
	mail_letter_done(job);
}

static void smtp_transact(struct mail_job *job)
{
	const struct mail_letter *letter = mail_letter(job);
	struct smtp_client_transaction *trans;
	struct istream *input;

	trans = smtp_client_transaction_create(job->conn, NULL, NULL, 0,
					       smtp_transaction_over, job);
	job->trans = trans;
	smtp_client_transaction_start(trans, smtp_mail_replied, job);
	smtp_client_transaction_add_rcpt(trans, letter->rcpt, NULL,
					 smtp_rcpt_replied, smtp_data_replied,
					 job);
	input = i_stream_create_from_data(letter->text, strlen(letter->text));
	smtp_client_transaction_send(trans, input, smtp_last_replied, job);
	i_stream_unref(&input);
}

/* A server that is not there, or that greets us with a refusal, says nothing
   about the recipient. */
static void
smtp_login_replied(const struct smtp_reply *reply, struct mail_job *job)
{
	if (smtp_reply_is_success(reply)) {
		smtp_transact(job);
		return;
	}
	smtp_answered(job, CHANNEL_SMTP_OPEN, reply);
	mail_letter_done(job);
}

/* A connection of 2.4 lets go of its client's settings for TLS without having
   held them; those that are given to itself it holds. */
static const struct smtp_client_settings *
conn_settings(struct mail_channel *mail)
{
	struct smtp_client_settings *set =
		t_new(struct smtp_client_settings, 1);

	set->ssl = mail->client->set.ssl;
	return set;
}

static struct smtp_client_connection *connect_unix(struct mail_channel *mail)
{
	struct smtp_client_connection *conn;

	conn = smtp_client_connection_create_unix(mail->client,
		SMTP_PROTOCOL_LMTP, mail->set.lmtp_path, conn_settings(mail));
	/* lib-smtp asks whether the address that failed was the last one, also
	   when there are none, and then asserts */
	conn->ips_count = 1;
	return conn;
}

static enum smtp_client_connection_ssl_mode ssl_mode(const char *name)
{
	if (strcasecmp(name, "smtps") == 0 ||
	    strcasecmp(name, "submissions") == 0)
		return SMTP_CLIENT_SSL_MODE_IMMEDIATE;
	if (strcasecmp(name, "starttls") == 0)
		return SMTP_CLIENT_SSL_MODE_STARTTLS;
	return SMTP_CLIENT_SSL_MODE_NONE;
}

static struct smtp_client_connection *connect_host(struct mail_channel *mail)
{
	const char *host;
	in_port_t port;

	/* was looked at by channel_mail_init() */
	if (net_str2hostport(mail->set.submission_host,
			     CHANNEL_MAIL_DEFAULT_PORT, &host, &port) < 0)
		i_unreached();
	return smtp_client_connection_create(mail->client, SMTP_PROTOCOL_SMTP,
		host, port, ssl_mode(mail->set.submission_ssl),
		conn_settings(mail));
}

static void smtp_send(struct mail_job *job)
{
	job->conn = job->local ? connect_unix(job->mail) :
		connect_host(job->mail);
	smtp_client_connection_connect(job->conn,
		(smtp_client_command_callback_t *)smtp_login_replied, job);
}

/*
 * Sendmail
 */

/* smtp-submit would also do the former, but it has no way to stop: it asserts
   that a mail on its way came to an end. */

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
	submit_set.submission_timeout = set->timeout_secs;
	submit_set.sendmail_path = set->sendmail_path;
	i_zero(&input);
	input.event_parent = job->mail->channel.event;

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
	if (job->local || *job->mail->set.submission_host != '\0')
		smtp_send(job);
	else
		submit_send(job);
}

void mail_send_abort(struct mail_job *job)
{
	/* callbacks it still has change nothing: there is an answer */
	if (job->trans != NULL)
		smtp_client_transaction_destroy(&job->trans);
	if (job->conn != NULL)
		smtp_client_connection_close(&job->conn);
	if (job->submit != NULL)
		smtp_submit_deinit(&job->submit);
}
