/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "settings-parser.h"
#include "service-settings.h"
#include "dovecot-compat.h"
#include "job.h"
#include "imapsync-settings.h"

/* Loaded by doveconf and the config process: with it our settings have names
   and defaults, a misspelt one is an error, and our services exist without a
   line of configuration. They start when protocols has imapsync-pull. */

/* imapsync_pull_watch_processes, and those of a service that is about to end */
#define WATCH_PROCESS_LIMIT 64
/* 10,000 connections need about 1 GB */
#define WATCH_VSZ_LIMIT (4ULL*1024*1024*1024)

extern const struct config_service imapsync_pull_settings_services_array[];
extern const struct setting_parser_info *imapsync_pull_settings_set_infos[];
extern const char *imapsync_pull_settings_version;

/* Accounts and keys: there is one, always, and it starts as root to make its
   directory. */
static const struct service_settings pull_service = {
	.name = "imapsync-pull",
	.protocol = "imapsync-pull",
	.type = "",
	.executable = "imapsync-pull",
	.user = "$SET:default_internal_user",
	.group = "",
	.privileged_group = "",
	.chroot = "",

	.process_min_avail = 1,
	.process_limit = 1,
	.process_limit_1 = TRUE,

	.extra_groups = ARRAY_INIT,
	.unix_listeners = ARRAY_INIT,
	.fifo_listeners = ARRAY_INIT,
	.inet_listeners = ARRAY_INIT,
};

static const struct setting_keyvalue pull_service_defaults[] = {
	{ "unix_listener", JOB_SOCKET_SERVICE" "JOB_SOCKET_WAKE },
	{ "unix_listener/"JOB_SOCKET_SERVICE"/path", JOB_SOCKET_SERVICE },
	{ "unix_listener/"JOB_SOCKET_SERVICE"/mode", "0600" },
	/* any mail process may say who has logged in */
	{ "unix_listener/"JOB_SOCKET_WAKE"/path", JOB_SOCKET_WAKE },
	{ "unix_listener/"JOB_SOCKET_WAKE"/mode", "0666" },

	{ NULL, NULL }
};

/* One run, then exit: started as root it becomes the mail user for good. */
static const struct service_settings worker_service = {
	.name = "imapsync-pull-worker",
	.protocol = "imapsync-pull",
	.type = "worker",
	.executable = "imapsync-pull-worker",
	.user = "",
	.group = "",
	.privileged_group = "",
	.chroot = "",

	.client_limit = 1,
	.restart_request_count = 1,

	.extra_groups = ARRAY_INIT,
	.unix_listeners = ARRAY_INIT,
	.fifo_listeners = ARRAY_INIT,
	.inet_listeners = ARRAY_INIT,
};

static const struct setting_keyvalue worker_service_defaults[] = {
	{ "unix_listener", JOB_SOCKET_WORKER },
	{ "unix_listener/"JOB_SOCKET_WORKER"/path", JOB_SOCKET_WORKER },
	{ "unix_listener/"JOB_SOCKET_WORKER"/mode", "0600" },
	{ "unix_listener/"JOB_SOCKET_WORKER"/user",
	  "$SET:default_internal_user" },

	{ NULL, NULL }
};

/* One connection from the service each, and then exit. The user is the one that
   may do least. */
static const struct service_settings watch_service = {
	.name = "imapsync-pull-watch",
	.protocol = "imapsync-pull",
	.type = "",
	.executable = "imapsync-pull-watch",
	.user = "$SET:default_login_user",
	.group = "",
	.privileged_group = "",
	.chroot = "",

	.process_limit = WATCH_PROCESS_LIMIT,
	.client_limit = 1,
	.restart_request_count = 1,
	.vsz_limit = WATCH_VSZ_LIMIT,

	.extra_groups = ARRAY_INIT,
	.unix_listeners = ARRAY_INIT,
	.fifo_listeners = ARRAY_INIT,
	.inet_listeners = ARRAY_INIT,
};

static const struct setting_keyvalue watch_service_defaults[] = {
	{ "unix_listener", JOB_SOCKET_WATCH },
	{ "unix_listener/"JOB_SOCKET_WATCH"/path", JOB_SOCKET_WATCH },
	{ "unix_listener/"JOB_SOCKET_WATCH"/mode", "0600" },
	{ "unix_listener/"JOB_SOCKET_WATCH"/user",
	  "$SET:default_internal_user" },

	{ NULL, NULL }
};

const struct config_service imapsync_pull_settings_services_array[] = {
	{ &pull_service, pull_service_defaults },
	{ &worker_service, worker_service_defaults },
	{ &watch_service, watch_service_defaults },
	{ NULL, NULL }
};

const struct setting_parser_info *imapsync_pull_settings_set_infos[] = {
	&imapsync_setting_parser_info,
	&imapsync_user_setting_parser_info,
	NULL
};

const char *imapsync_pull_settings_version = DOVECOT_ABI_VERSION;
