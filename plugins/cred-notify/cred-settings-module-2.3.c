/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "buffer.h"
#include "service-settings.h"
#include "settings-parser.h"
#include "core/control-line.h"
#include "core/feed-line.h"
#include "core/record.h"
#include "cred-settings.h"

/* Loaded by doveconf, the config process and the master: with it our settings
   have names and defaults, a misspelt one is an error, and the service exists
   without a line of configuration. It starts when protocols names
   cred-notify. */

extern struct service_settings cred_notify_settings_service_settings;
extern const struct setting_parser_info *cred_notify_settings_set_roots[];
extern const char *cred_notify_settings_version;

/* auth and imapsync-pull run as this user, or as root */
static struct file_listener_settings record_listener = {
	RECORD_SOCKET, 0600, "$default_internal_user", ""
};
/* imap processes are of any user: the service looks who they are */
static struct file_listener_settings feed_listener = {
	FEED_SOCKET, 0666, "", ""
};
static struct file_listener_settings control_listener = {
	CONTROL_SOCKET, 0600, "", ""
};
static struct file_listener_settings *cred_listeners[] = {
	&record_listener,
	&feed_listener,
	&control_listener
};
static buffer_t cred_listeners_buf = {
	{ { cred_listeners, sizeof(cred_listeners) } }
};

/* There is one, always: it is of use without anybody asking it. It starts as
   root to make its directory. */
struct service_settings cred_notify_settings_service_settings = {
	.name = "cred-notify",
	.protocol = "cred-notify",
	.type = "",
	.executable = "cred-notify",
	.user = "$default_internal_user",
	.group = "",
	.privileged_group = "",
	.extra_groups = "",
	.chroot = "",

	.process_min_avail = 1,
	.process_limit = 1,
	.client_limit = CRED_SERVICE_CLIENT_LIMIT,
	.service_count = 0,
	.idle_kill = 0,
	.vsz_limit = UOFF_T_MAX,

	.unix_listeners = { { &cred_listeners_buf,
			      sizeof(cred_listeners[0]) } },
	.fifo_listeners = ARRAY_INIT,
	.inet_listeners = ARRAY_INIT
};

const struct setting_parser_info *cred_notify_settings_set_roots[] = {
	&cred_setting_parser_info,
	NULL
};

const char *cred_notify_settings_version = DOVECOT_ABI_VERSION;
