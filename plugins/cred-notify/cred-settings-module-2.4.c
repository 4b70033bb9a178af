/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "settings-parser.h"
#include "service-settings.h"
#include "dovecot-compat.h"
#include "core/control-line.h"
#include "core/feed-line.h"
#include "core/record.h"
#include "cred-settings.h"

/* Loaded by doveconf and the config process: with it our settings have names
   and defaults, a misspelt one is an error, and the service exists without a
   line of configuration. It starts when protocols has cred-notify. */

extern const struct service_settings cred_notify_settings_service_settings;
extern const struct setting_keyvalue
	cred_notify_settings_service_settings_defaults[];
extern const struct setting_parser_info *cred_notify_settings_set_infos[];
extern const char *cred_notify_settings_version;

/* There is one, always: it is of use without anybody asking it. It starts as
   root to make its directory. */
const struct service_settings cred_notify_settings_service_settings = {
	.name = "cred-notify",
	.protocol = "cred-notify",
	.type = "",
	.executable = "cred-notify",
	.user = "$SET:default_internal_user",
	.group = "",
	.privileged_group = "",
	.chroot = "",

	.process_min_avail = 1,
	.process_limit = 1,
	.process_limit_1 = TRUE,
	.client_limit = CRED_SERVICE_CLIENT_LIMIT,

	.extra_groups = ARRAY_INIT,
	.unix_listeners = ARRAY_INIT,
	.fifo_listeners = ARRAY_INIT,
	.inet_listeners = ARRAY_INIT,
};

#define LISTENER(socket, key) "unix_listener/"socket"/"key

/* auth and imapsync-pull run as the internal user, or as root; imap processes
   are of any user: the service looks who they are. */
const struct setting_keyvalue
cred_notify_settings_service_settings_defaults[] = {
	{ "unix_listener", RECORD_SOCKET" "FEED_SOCKET" "CONTROL_SOCKET },
	{ LISTENER(RECORD_SOCKET, "path"), RECORD_SOCKET },
	{ LISTENER(RECORD_SOCKET, "mode"), "0600" },
	{ LISTENER(RECORD_SOCKET, "user"), "$SET:default_internal_user" },
	{ LISTENER(FEED_SOCKET, "path"), FEED_SOCKET },
	{ LISTENER(FEED_SOCKET, "mode"), "0666" },
	{ LISTENER(CONTROL_SOCKET, "path"), CONTROL_SOCKET },
	{ LISTENER(CONTROL_SOCKET, "mode"), "0600" },

	{ NULL, NULL }
};

const struct setting_parser_info *cred_notify_settings_set_infos[] = {
	&cred_setting_parser_info,
	NULL
};

const char *cred_notify_settings_version = DOVECOT_ABI_VERSION;
