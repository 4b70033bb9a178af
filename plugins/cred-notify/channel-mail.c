/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "ioloop.h"
#include "lib-event.h"
#include "llist.h"
#include "smtp-address.h"
#include "smtp-client.h"
#include "str-sanitize.h"
#include "dovecot-compat.h"
#include "core/notice-text.h"
#include "core/text-safe.h"
#include "channel-dovecot.h"
#include "channel-mail-private.h"

#include <ctype.h>

#define ERROR_MAX_LENGTH 512
#define STOPPED "the service is stopped"

static void mail_channel_pump(struct mail_channel *mail);

/*
 * Jobs
 */

static void mail_job_remove(struct mail_job *job)
{
	struct mail_channel *mail = job->mail;

	DLLIST_REMOVE(&mail->busy, job);
	mail->busy_count--;
	mail_send_abort(job);
	timeout_remove(&job->to);
}

/* Says how it ended, and frees it. It is in no list any more. */
static void mail_job_finish(struct mail_job *job)
{
	struct channel_answer answer = {
		.result = job->result,
		.error = job->result == CHANNEL_TOLD ? NULL : job->error,
		.cut_off = job->cut_off && job->result == CHANNEL_LATER,
	};

	job->callback(&answer, job->context);
	pool_unref(&job->pool);
}

static void mail_job_start(struct mail_job *job)
{
	job->answered = FALSE;
	mail_send(job);
}

/* How the letter ended becomes part of how the telling does. */
static void mail_job_merge(struct mail_job *job)
{
	if (!job->answered) {
		job->letter_result = CHANNEL_LATER;
		job->letter_error = "the connection was closed";
	}
	if (job->pos == 0 || job->letter_result <= job->result)
		job->error = job->letter_error;
	job->result = job->pos == 0 ? job->letter_result :
		channel_verdict_merge(job->result, job->letter_result);
}

static void mail_job_next(struct mail_job *job)
{
	struct mail_channel *mail = job->mail;

	/* callbacks of what is aborted find "to" in place, and start none */
	mail_send_abort(job);
	timeout_remove(&job->to);
	mail_job_merge(job);
	if (++job->pos < array_count(&job->letters)) {
		mail_job_start(job);
		return;
	}
	mail_job_remove(job);
	mail_job_finish(job);
	mail_channel_pump(mail);
}

void mail_letter_answered(struct mail_job *job, enum channel_result result,
			  const char *error)
{
	if (job->answered)
		return;
	job->answered = TRUE;
	job->letter_result = result;
	job->letter_error = error == NULL ? NULL :
		p_strdup(job->pool, str_sanitize(error, ERROR_MAX_LENGTH));
}

void mail_letter_done(struct mail_job *job)
{
	if (job->to == NULL)
		job->to = timeout_add_short(0, mail_job_next, job);
}

static void mail_channel_pump(struct mail_channel *mail)
{
	struct mail_job *job;

	while (mail->waiting_head != NULL &&
	       mail->busy_count < mail->set.max_in_flight) {
		job = mail->waiting_head;
		DLLIST2_REMOVE(&mail->waiting_head, &mail->waiting_tail, job);
		mail->waiting_count--;
		DLLIST_PREPEND(&mail->busy, job);
		mail->busy_count++;
		mail_job_start(job);
	}
}

/* Nothing was sent: to be answered when tell() has returned. */
static void mail_job_refuse(struct mail_job *job, enum channel_result result,
			    const char *error)
{
	array_clear(&job->letters);
	DLLIST_PREPEND(&job->mail->busy, job);
	job->mail->busy_count++;
	mail_letter_answered(job, result, error);
	mail_letter_done(job);
}

/*
 * Letters
 */

static bool mail_is_domain(const char *domain)
{
	for (; *domain != '\0'; domain++) {
		if (!i_isalnum(*domain) && strchr(".-_:[]", *domain) == NULL)
			return FALSE;
	}
	return domain[-1] != '@';
}

/* A userdb has all kinds of names. SMTP has ASCII without line ends, which
   lib-smtp takes for granted; it quotes what is left of the domain. */
static struct smtp_address *mail_rcpt(pool_t pool, const char *address)
{
	const char *p, *domain = strrchr(address, '@');

	for (p = address; *p != '\0'; p++) {
		if (*p < 0x20 || *p >= 0x7f)
			return NULL;
	}
	if (*address == '\0' || domain == address)
		return NULL;
	if (domain == NULL)
		return smtp_address_create(pool, address, NULL);
	if (!mail_is_domain(domain + 1))
		return NULL;
	return smtp_address_create(pool, t_strdup_until(address, domain),
				   domain + 1);
}

/* What the header To has: names that fit in none are not shown. */
static const char *
mail_header_to(const struct channel_mail_settings *set, const char *address)
{
	const char *to = strchr(address, '@') != NULL ? address :
		t_strconcat(address, "@", set->hostname, NULL);

	return text_safe_is_address(to) ? to : set->from;
}

static int
mail_write_letter(struct mail_job *job, const struct channel_telling *telling,
		  const char *address, const char **error_r)
{
	const struct channel_mail_settings *set = &job->mail->set;
	const char *language = telling->user->language;
	struct mail_letter letter;
	const char *text;
	struct notice_mail mail = {
		.text.notice = telling->notice,
		.text.language = language != NULL && *language != '\0' ?
			language : set->language,
		.text.base_url = set->base_url,
		.from = set->from,
		.to = mail_header_to(set, address),
		.host = set->hostname,
		.journal_id = set->journal_id,
		.date = telling->notice->state.told_time,
	};

	letter.rcpt = mail_rcpt(job->pool, address);
	if (letter.rcpt == NULL) {
		*error_r = "no address that mail can be sent to";
		return -1;
	}
	text = notice_text_mail(&mail, error_r);
	if (text == NULL)
		return -1;
	letter.text = p_strdup(job->pool, text);
	array_push_back(&job->letters, &letter);
	return 0;
}

/* The job's result is that of what cannot be written, should all be so. */
static void mail_write_letters(struct mail_job *job,
			       const struct channel_telling *telling,
			       const char **error_r)
{
	const char *const *addresses = telling->user->addresses;

	*error_r = "the user has no address";
	if (job->local) {
		(void)mail_write_letter(job, telling, telling->user->name,
					error_r);
		return;
	}
	for (; addresses != NULL && *addresses != NULL; addresses++)
		(void)mail_write_letter(job, telling, *addresses, error_r);
}

/*
 * Channel
 */

static struct mail_job *
mail_job_create(struct mail_channel *mail, channel_callback_t *callback,
		void *context)
{
	pool_t pool = pool_alloconly_create("cred-notify mail", 16 * 1024);
	struct mail_job *job = p_new(pool, struct mail_job, 1);

	job->pool = pool;
	job->mail = mail;
	job->callback = callback;
	job->context = context;
	p_array_init(&job->letters, pool, 1);
	return job;
}

static void
mail_tell(struct channel *channel, const struct channel_telling *telling,
	  channel_callback_t *callback, void *context)
{
	struct mail_channel *mail =
		container_of(channel, struct mail_channel, channel);
	struct mail_job *job = mail_job_create(mail, callback, context);
	const char *error;

	i_assert((telling->channel & channel->kinds) != 0);
	i_assert(telling->user != NULL);

	job->local = telling->channel == AUDIENCE_MAIL;
	if (mail->waiting_count >= CHANNEL_MAX_WAITING) {
		mail_job_refuse(job, CHANNEL_LATER, "too many mails wait");
		return;
	}
	mail_write_letters(job, telling, &error);
	if (array_count(&job->letters) == 0) {
		mail_job_refuse(job, CHANNEL_FAILED, error);
		return;
	}
	DLLIST2_APPEND(&mail->waiting_head, &mail->waiting_tail, job);
	mail->waiting_count++;
	mail_channel_pump(mail);
}

/* What was answered counts, though nobody has taken note of it yet. */
static void mail_job_cut_off(struct mail_job *job)
{
	job->cut_off = !job->answered;
	mail_letter_answered(job, CHANNEL_LATER, STOPPED);
	mail_job_remove(job);
	mail_job_merge(job);
	mail_job_finish(job);
}

static void mail_deinit(struct channel *channel)
{
	struct mail_channel *mail =
		container_of(channel, struct mail_channel, channel);
	struct mail_job *job;

	while ((job = mail->busy) != NULL)
		mail_job_cut_off(job);
	while ((job = mail->waiting_head) != NULL) {
		DLLIST2_REMOVE(&mail->waiting_head, &mail->waiting_tail, job);
		job->result = CHANNEL_LATER;
		job->error = STOPPED;
		mail_job_finish(job);
	}
	smtp_client_deinit(&mail->client);
	event_unref(&channel->event);
	pool_unref(&mail->pool);
}

static void mail_settings_dup(pool_t pool, struct channel_mail_settings *set)
{
	set->lmtp_path = p_strdup(pool, set->lmtp_path);
	set->submission_host = p_strdup(pool, set->submission_host);
	set->submission_ssl = p_strdup(pool, set->submission_ssl);
	set->sendmail_path = p_strdup(pool, set->sendmail_path);
	set->tls.ca_file = p_strdup(pool, set->tls.ca_file);
	set->tls.ca_dir = p_strdup(pool, set->tls.ca_dir);
	set->dns_client_socket_path =
		p_strdup(pool, set->dns_client_socket_path);
	set->from = p_strdup(pool, set->from);
	set->hostname = p_strdup(pool, set->hostname);
	set->base_url = p_strdup(pool, set->base_url);
	set->language = p_strdup(pool, set->language);
}

static struct smtp_client *mail_client_init(struct mail_channel *mail)
{
	struct smtp_client_settings set;

	i_zero(&set);
	set.my_hostname = mail->set.hostname;
	set.connect_timeout_msecs = mail->set.timeout_secs * 1000;
	set.command_timeout_msecs = mail->set.timeout_secs * 1000;
	if (*mail->set.dns_client_socket_path != '\0') {
		set.dns_client_socket_path =
			mail->set.dns_client_socket_path;
	}
	set.event_parent = mail->channel.event;
	return channel_dovecot_smtp_client(&set, &mail->set.tls);
}

static int
mail_settings_check(const struct channel_mail_settings *set,
		    const char **error_r)
{
	const char *host;
	in_port_t port;

	if (!text_safe_is_address(set->from)) {
		*error_r = t_strdup_printf("no plain address: %s", set->from);
		return -1;
	}
	if (*set->submission_host != '\0' &&
	    net_str2hostport(set->submission_host, CHANNEL_MAIL_DEFAULT_PORT,
			     &host, &port) < 0) {
		*error_r = t_strdup_printf("no host and port: %s",
					   set->submission_host);
		return -1;
	}
	return 0;
}

static unsigned int mail_kinds(const struct channel_mail_settings *set)
{
	unsigned int kinds = 0;

	if (*set->lmtp_path != '\0')
		kinds |= AUDIENCE_MAIL;
	if (*set->submission_host != '\0' || *set->sendmail_path != '\0')
		kinds |= AUDIENCE_MAIL_OUTSIDE;
	return kinds;
}

struct channel *
channel_mail_init(const struct channel_mail_settings *set,
		  struct event *event_parent, const char **error_r)
{
	struct mail_channel *mail;
	pool_t pool;

	if (mail_settings_check(set, error_r) < 0)
		return NULL;
	pool = pool_alloconly_create("cred-notify mail channel", 1024);
	mail = p_new(pool, struct mail_channel, 1);
	mail->pool = pool;
	mail->set = *set;
	mail_settings_dup(pool, &mail->set);
	mail->channel.v.name = "mail";
	mail->channel.v.deinit = mail_deinit;
	mail->channel.v.tell = mail_tell;
	mail->channel.kinds = mail_kinds(set);
	mail->channel.event = event_create(event_parent);
	event_set_append_log_prefix(mail->channel.event, "mail: ");
	mail->client = mail_client_init(mail);
	return &mail->channel;
}
