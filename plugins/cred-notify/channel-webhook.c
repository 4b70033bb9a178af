/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "http-client.h"
#include "http-url.h"
#include "ioloop.h"
#include "lib-event.h"
#include "llist.h"
#include "str-sanitize.h"
#include "strnum.h"
#include "dovecot-compat.h"
#include "core/notice-json.h"
#include "core/webhook-sign.h"
#include "channel-dovecot.h"
#include "channel-webhook.h"

#define ERROR_MAX_LENGTH 512

struct webhook_channel {
	struct channel channel;
	pool_t pool;
	struct channel_webhook_settings set;
	struct http_url *url;
	ARRAY_TYPE(webhook_secret) secrets;
	struct webhook_job *waiting_head, *waiting_tail, *busy;
	unsigned int waiting_count, busy_count;
};

struct webhook_job {
	struct webhook_job *prev, *next;
	struct webhook_channel *webhook;
	/* One for each POST: lib-http reads answers to their end before it uses
	   a connection again or lets go of it, and some have none. */
	struct http_client *client;
	struct http_client_request *request;
	channel_callback_t *callback;
	void *context;
	char *id, *body;

	enum channel_result result;
	unsigned int retry_secs;
	char *error;
	/* the channel goes, and there is no answer */
	bool cut_off;
	struct timeout *to;
};

static void webhook_pump(struct webhook_channel *webhook);

/*
 * Ends
 */

/* Says how it ended, and frees it. It is in no list any more. */
static void webhook_job_finish(struct webhook_job *job)
{
	struct channel_answer answer = {
		.result = job->result,
		.error = job->error,
		.retry_secs = job->retry_secs,
		.cut_off = job->cut_off,
	};

	job->callback(&answer, job->context);
	i_free(job->error);
	i_free(job->body);
	i_free(job->id);
	i_free(job);
}

static void webhook_job_remove(struct webhook_job *job)
{
	DLLIST_REMOVE(&job->webhook->busy, job);
	job->webhook->busy_count--;
	timeout_remove(&job->to);
	if (job->request != NULL)
		http_client_request_abort(&job->request);
	if (job->client != NULL)
		http_client_deinit(&job->client);
}

static void webhook_job_over(struct webhook_job *job)
{
	struct webhook_channel *webhook = job->webhook;

	webhook_job_remove(job);
	webhook_job_finish(job);
	webhook_pump(webhook);
}

/* lib-http, or tell(), is yet to return. */
static void webhook_job_end(struct webhook_job *job, enum channel_result result,
			    const char *error)
{
	job->result = result;
	if (result != CHANNEL_TOLD)
		job->error = i_strdup(str_sanitize(error, ERROR_MAX_LENGTH));
	job->to = timeout_add_short(0, webhook_job_over, job);
}

static unsigned int
webhook_retry_secs(const struct webhook_channel *webhook,
		   const struct http_response *response)
{
	const char *value = http_response_header_get(response, "Retry-After");
	unsigned int secs = 0;

	/* lib-http looks at it with some statuses only */
	if (response->retry_after != (time_t)-1 &&
	    response->retry_after > ioloop_time)
		secs = response->retry_after - ioloop_time;
	else if (value == NULL || str_to_uint(value, &secs) < 0)
		return 0;
	return I_MIN(secs, webhook->set.max_retry_secs);
}

static void webhook_replied(const struct http_response *response,
			    struct webhook_job *job)
{
	enum channel_result result = channel_verdict_http(response->status);

	job->request = NULL;
	if (result == CHANNEL_LATER)
		job->retry_secs = webhook_retry_secs(job->webhook, response);
	webhook_job_end(job, result, http_response_get_message(response));
}

/*
 * Requests
 */

static struct http_client *webhook_client(struct webhook_channel *webhook)
{
	const struct channel_webhook_settings *set = &webhook->set;
	const struct channel_dovecot_client client_set = {
		.tls = set->tls,
		.dns_client_socket_path = set->dns_client_socket_path,
		.timeout_msecs = set->timeout_secs * 1000,
	};

	return channel_dovecot_http_client(&client_set, webhook->channel.event);
}

static void webhook_post(struct webhook_job *job)
{
	struct webhook_channel *webhook = job->webhook;
	struct http_client_request *request;

	job->client = webhook_client(webhook);
	request = http_client_request_url(job->client, "POST", webhook->url,
					  webhook_replied, job);
	job->request = request;
	http_client_request_add_header(request, "Content-Type",
				       "application/json");
	http_client_request_add_header(request, "Connection", "close");
	http_client_request_add_header(request, "webhook-id", job->id);
	http_client_request_add_header(request, "webhook-timestamp",
				       dec2str(ioloop_time));
	http_client_request_add_header(request, "webhook-signature",
		webhook_sign(&webhook->secrets, job->id, ioloop_time,
			     job->body));
	http_client_request_set_payload_data(request,
		(const unsigned char *)job->body, strlen(job->body));
	http_client_request_submit(request);
}

static void webhook_job_start(struct webhook_job *job)
{
	DLLIST_PREPEND(&job->webhook->busy, job);
	job->webhook->busy_count++;
}

static void webhook_pump(struct webhook_channel *webhook)
{
	struct webhook_job *job;

	while (webhook->waiting_head != NULL &&
	       webhook->busy_count < webhook->set.max_in_flight) {
		job = webhook->waiting_head;
		DLLIST2_REMOVE(&webhook->waiting_head, &webhook->waiting_tail,
			       job);
		webhook->waiting_count--;
		webhook_job_start(job);
		webhook_post(job);
	}
}

static struct webhook_job *
webhook_job_create(struct webhook_channel *webhook,
		   const struct channel_telling *telling)
{
	struct webhook_job *job = i_new(struct webhook_job, 1);
	struct notice_text_params text = {
		.notice = telling->notice,
		.language = webhook->set.language,
		.base_url = webhook->set.base_url,
	};

	job->webhook = webhook;
	job->id = i_strdup_printf("%llx.%s",
		(unsigned long long)webhook->set.journal_id, telling->id);
	job->body = i_strdup(notice_json_webhook(telling->id, &text));
	return job;
}

static void
webhook_tell(struct channel *channel, const struct channel_telling *telling,
	     channel_callback_t *callback, void *context)
{
	struct webhook_channel *webhook =
		container_of(channel, struct webhook_channel, channel);
	struct webhook_job *job = webhook_job_create(webhook, telling);

	i_assert(telling->channel == AUDIENCE_WEBHOOK);

	job->callback = callback;
	job->context = context;
	if (webhook->waiting_count >= CHANNEL_MAX_WAITING) {
		webhook_job_start(job);
		webhook_job_end(job, CHANNEL_LATER, "too many requests wait");
		return;
	}
	DLLIST2_APPEND(&webhook->waiting_head, &webhook->waiting_tail, job);
	webhook->waiting_count++;
	webhook_pump(webhook);
}

/*
 * Channel
 */

static void webhook_job_give_up(struct webhook_job *job)
{
	job->result = CHANNEL_LATER;
	i_free(job->error);
	job->error = i_strdup("the service is stopped");
	webhook_job_finish(job);
}

static void webhook_deinit(struct channel *channel)
{
	struct webhook_channel *webhook =
		container_of(channel, struct webhook_channel, channel);
	struct webhook_job *job;

	while ((job = webhook->busy) != NULL) {
		/* there is no request any more if it was answered */
		job->cut_off = job->request != NULL;
		webhook_job_remove(job);
		if (job->cut_off)
			webhook_job_give_up(job);
		else
			webhook_job_finish(job);
	}
	while ((job = webhook->waiting_head) != NULL) {
		DLLIST2_REMOVE(&webhook->waiting_head, &webhook->waiting_tail,
			       job);
		webhook_job_give_up(job);
	}
	event_unref(&channel->event);
	pool_unref(&webhook->pool);
}

static void
webhook_settings_dup(pool_t pool, struct channel_webhook_settings *set)
{
	/* url and secret are kept as what they mean */
	set->url = set->secret = NULL;
	set->language = p_strdup(pool, set->language);
	set->base_url = p_strdup(pool, set->base_url);
	set->tls.ca_file = p_strdup(pool, set->tls.ca_file);
	set->tls.ca_dir = p_strdup(pool, set->tls.ca_dir);
	set->dns_client_socket_path =
		p_strdup(pool, set->dns_client_socket_path);
}

static int
webhook_settings_parse(struct webhook_channel *webhook,
		       const struct channel_webhook_settings *set,
		       const char **error_r)
{
	const char *error;

	p_array_init(&webhook->secrets, webhook->pool, 2);
	if (http_url_parse(set->url, NULL, HTTP_URL_ALLOW_USERINFO_PART,
			   webhook->pool, &webhook->url, &error) < 0) {
		*error_r = t_strdup_printf("webhook's URL: %s", error);
		return -1;
	}
	if (webhook_secrets_parse(webhook->pool, set->secret,
				  &webhook->secrets, &error) < 0) {
		*error_r = t_strdup_printf("webhook's secret: %s", error);
		return -1;
	}
	return 0;
}

struct channel *
channel_webhook_init(const struct channel_webhook_settings *set,
		     struct event *event_parent, const char **error_r)
{
	pool_t pool = pool_alloconly_create_clean("cred-notify webhook", 1024);
	struct webhook_channel *webhook =
		p_new(pool, struct webhook_channel, 1);

	webhook->pool = pool;
	if (webhook_settings_parse(webhook, set, error_r) < 0) {
		pool_unref(&pool);
		return NULL;
	}
	webhook->set = *set;
	webhook_settings_dup(pool, &webhook->set);
	webhook->channel.v.name = "webhook";
	webhook->channel.v.deinit = webhook_deinit;
	webhook->channel.v.tell = webhook_tell;
	webhook->channel.kinds = AUDIENCE_WEBHOOK;
	webhook->channel.event = event_create(event_parent);
	event_set_append_log_prefix(webhook->channel.event, "webhook: ");
	return &webhook->channel;
}
