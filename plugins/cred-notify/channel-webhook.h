#ifndef CRED_NOTIFY_CHANNEL_WEBHOOK_H
#define CRED_NOTIFY_CHANNEL_WEBHOOK_H

#include "channel.h"

/* Each notice as a POST of JSON to one URL, signed (see core/webhook-sign.h).
   Its headers webhook-id, webhook-timestamp and webhook-signature are those of
   Standard Webhooks; the id stays the same when it is tried again, so that a
   receiver can drop what it has. Certificates are verified, redirects not
   followed, and of the answer only the status and Retry-After are looked at. */

/* Strings are copied. */
struct channel_webhook_settings {
	/* https or http */
	const char *url;
	/* see webhook_secrets_parse() */
	const char *secret;
	/* of the texts: "de" */
	const char *language;
	/* see notice-text.h */
	const char *base_url;
	/* what makes the ids of two servers two */
	uint64_t journal_id;
	struct channel_tls tls;
	/* of Dovecot's dns-client; "" = the system looks addresses up, and all
	   else waits */
	const char *dns_client_socket_path;
	/* for each POST in all */
	unsigned int timeout_secs;
	/* longest Retry-After that is believed */
	unsigned int max_retry_secs;
	/* POSTs on their way at once */
	unsigned int max_in_flight;
};

/* Returns NULL and error_r if url or secret make no sense. */
struct channel *
channel_webhook_init(const struct channel_webhook_settings *set,
		     struct event *event_parent, const char **error_r);

#endif
