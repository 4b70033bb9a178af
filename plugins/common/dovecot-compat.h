#ifndef IMAPSYNC_DOVECOT_COMPAT_H
#define IMAPSYNC_DOVECOT_COMPAT_H

/* The code is written for Dovecot 2.4. What 2.3 calls otherwise is lifted here,
   with macros alone: no other file asks which Dovecot this is. (Where the two
   differ in more than names, as in settings, there is one file for each,
   *-2.3.c and *-2.4.c, and configure chooses.) Include it after Dovecot's
   headers and before any of ours: the names of functions are replaced here. */

#include "net.h"

#if !DOVECOT_PREREQ(2, 4, 0)
#  define array_bsearch_modifiable(array, key, cmp) \
	array_bsearch(array, key, cmp)
#  define connection_handshake_received(conn) ((conn)->handshake_received)
#  define mail_storage_service_init(service, flags) \
	mail_storage_service_init(service, NULL, flags)
#  define master_service_get_service_settings(service) \
	master_service_settings_get(service)
#  define net_ipport2str(ip, port) \
	({ const char *compat_str; \
	   if (net_ipport2str(ip, port, &compat_str) < 0) \
		i_unreached(); \
	   compat_str; })
#  define parsed_mailboxes mailboxes
/* lists are words in one string */
#  define settings_boollist_get(value) \
	((const char *const *)t_strsplit_spaces(*(value), " "))
#  define str_begins_with(haystack, needle) str_begins(haystack, needle)

/* A service user is its own settings instance. What is overridden counts for
   the mail users that are made of it from then on, so that it need not be
   copied. */
#  define mail_storage_service_user_dup(user) \
	({ mail_storage_service_user_ref(user); (user); })
#  define mail_storage_service_user_get_settings_instance(user) (user)
#  define SETTINGS_OVERRIDE_TYPE_CODE 0
#  define settings_override(user, key, value, type) \
	STMT_START { \
		const char *compat_error = "unknown setting"; \
		if (mail_storage_service_user_set_setting(user, key, value, \
							  &compat_error) <= 0) \
			i_panic("%s: %s", key, compat_error); \
	} STMT_END

/* who asks, in struct auth_user_info */
#  define compat_auth_user_info_protocol service
/* in struct mail_storage_service_input */
#  define compat_protocol module
/* the settings of each user are asked for by the process that serves it */
#  define COMPAT_KEEP_CONFIG_OPEN MASTER_SERVICE_FLAG_KEEP_CONFIG_OPEN
/* in struct auth_request_info */
#  define compat_auth_request_info_protocol service
#  define AUTH_REQUEST_FLAG_CONN_SECURED AUTH_REQUEST_FLAG_SECURED
#  define AUTH_REQUEST_FLAG_CONN_SECURED_TLS \
	AUTH_REQUEST_FLAG_TRANSPORT_SECURITY_TLS
/* where json_append_escaped() is */
#  define COMPAT_JSON_H "json-parser.h"
/* the field of auth's events, and what finds its databases by it */
#  define COMPAT_AUTH_EVENT_PROTOCOL "service"
#  define compat_auth_find auth_find_service
/* an IMAP session: 2.3 takes one from this machine to be as good as
   encrypted */
#  define compat_conn_is_secured(conn) ((conn)->secured)
#else
#  define compat_auth_user_info_protocol protocol
#  define compat_protocol protocol
#  define COMPAT_KEEP_CONFIG_OPEN 0
#  define compat_auth_request_info_protocol protocol
#  define COMPAT_JSON_H "json-generator.h"
#  define COMPAT_AUTH_EVENT_PROTOCOL "protocol"
#  define compat_auth_find auth_find_protocol
#  define compat_conn_is_secured(conn) ((conn)->end_client_tls_secured)
#endif

/* Debian's security update of 2.3.19 (deb12u6) gave imap_parser_create() the
   parameters that 2.4.3 has: configure found out which it is. */
#ifdef HAVE_IMAP_PARSER_CREATE_PARAMS
#  define compat_imap_parser_create(input, output, max_line_size) \
	imap_parser_create(input, output, max_line_size, NULL)
#else
#  define compat_imap_parser_create(input, output, max_line_size) \
	imap_parser_create(input, output, max_line_size)
#endif

/* The same with a limit on the lists of one line, where there is one. */
#ifdef HAVE_IMAP_PARSER_CREATE_PARAMS
#  define compat_imap_parser_create_limited(input, output, max_size, lists) \
	imap_parser_create(input, output, max_size, \
		&(const struct imap_parser_params){ .list_count_limit = lists })
#else
#  define compat_imap_parser_create_limited(input, output, max_size, lists) \
	imap_parser_create(input, output, max_size)
#endif

#endif
