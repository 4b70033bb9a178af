#ifndef CRED_NOTIFY_CHANNEL_MAIL_H
#define CRED_NOTIFY_CHANNEL_MAIL_H

#include "channel.h"

/* E-mail: into the local INBOX by LMTP, and to addresses elsewhere by
   submission. What cannot be told now is for later; all mails of one notice to
   one recipient are the same mail, with the same Message-ID.

   Of several addresses elsewhere each gets a mail of its own, and the user is
   told if one of them took it. The caller leaves out those that are the trouble
   itself (audience_address_is_usable()). */

/* Strings are copied. */
struct channel_mail_settings {
	/* path of LMTP's socket; "" = no mail into local INBOXes */
	const char *lmtp_path;
	/* as in Dovecot's settings of these names: mail elsewhere goes to the
	   host if there is one, else through the program; both "" = none */
	const char *submission_host, *submission_ssl, *sendmail_path;
	struct channel_tls tls;
	/* of Dovecot's dns-client; "" = the system looks addresses up, and all
	   else waits */
	const char *dns_client_socket_path;
	/* of the header From */
	const char *from;
	/* our name; what Message-IDs end in, and users without a domain */
	const char *hostname;
	/* see notice-text.h */
	const char *base_url;
	/* of users who have none: "de" */
	const char *language;
	uint64_t journal_id;
	/* for each answer */
	unsigned int timeout_secs;
	/* mails on their way at once */
	unsigned int max_in_flight;
};

/* Returns NULL and error_r if from or submission_host is no address. */
struct channel *
channel_mail_init(const struct channel_mail_settings *set,
		  struct event *event_parent, const char **error_r);

#endif
