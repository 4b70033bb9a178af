#ifndef IMAPSYNC_DOVECOT_COMPAT_H
#define IMAPSYNC_DOVECOT_COMPAT_H

/* The code is written for Dovecot 2.4. What 2.3 calls otherwise is lifted here,
   with macros alone: no other file asks which Dovecot this is. Include it after
   lib.h and before any other header of ours. */

#if !DOVECOT_PREREQ(2, 4, 0)
#  define str_begins_with(haystack, needle) str_begins(haystack, needle)
#  define master_service_get_service_settings(service) \
	master_service_settings_get(service)
/* who asks, in struct auth_user_info */
#  define compat_auth_user_info_protocol service
#else
#  define compat_auth_user_info_protocol protocol
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
