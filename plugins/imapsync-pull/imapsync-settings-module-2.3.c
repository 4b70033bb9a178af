/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "buffer.h"
#include "service-settings.h"
#include "settings-parser.h"
#include "mail-storage-settings.h"
#include "job.h"
#include "imapsync-settings.h"

/* Loaded by doveconf, the config process and the master: with it our settings
   have names and defaults, a misspelt one is an error, and our services exist
   without a line of configuration. They start when protocols names
   imapsync-pull. */

/* imapsync_pull_watch_processes, and those of a service that is about to end */
#define WATCH_PROCESS_LIMIT 64
/* 10,000 connections need about 1 GB */
#define WATCH_VSZ_LIMIT (4ULL*1024*1024*1024)

extern struct service_settings *imapsync_pull_settings_service_settings_array[];
extern const struct setting_parser_info *imapsync_pull_settings_set_roots[];
extern const char *imapsync_pull_settings_version;

static struct file_listener_settings service_listener = {
	JOB_SOCKET_SERVICE, 0600, "", ""
};
/* any mail process may say who has logged in */
static struct file_listener_settings wake_listener = {
	JOB_SOCKET_WAKE, 0666, "", ""
};
static struct file_listener_settings *service_listeners[] = {
	&service_listener, &wake_listener
};
static buffer_t service_listeners_buf = {
	{ { service_listeners, sizeof(service_listeners) } }
};

static struct file_listener_settings worker_listener = {
	JOB_SOCKET_WORKER, 0600, "$default_internal_user", ""
};
static struct file_listener_settings *worker_listeners[] = {
	&worker_listener
};
static buffer_t worker_listeners_buf = {
	{ { worker_listeners, sizeof(worker_listeners) } }
};

static struct file_listener_settings watch_listener = {
	JOB_SOCKET_WATCH, 0600, "$default_internal_user", ""
};
static struct file_listener_settings *watch_listeners[] = {
	&watch_listener
};
static buffer_t watch_listeners_buf = {
	{ { watch_listeners, sizeof(watch_listeners) } }
};

/* Accounts and keys: there is one, always, and it starts as root to make its
   directory. */
static struct service_settings pull_service = {
	.name = "imapsync-pull",
	.protocol = "imapsync-pull",
	.type = "",
	.executable = "imapsync-pull",
	.user = "$default_internal_user",
	.group = "",
	.privileged_group = "",
	.extra_groups = "",
	.chroot = "",

	.process_min_avail = 1,
	.process_limit = 1,
	.client_limit = 0,
	.service_count = 0,
	.idle_kill = 0,
	.vsz_limit = UOFF_T_MAX,

	.unix_listeners = { { &service_listeners_buf,
			      sizeof(service_listeners[0]) } },
	.fifo_listeners = ARRAY_INIT,
	.inet_listeners = ARRAY_INIT
};

/* One run, then exit: started as root it becomes the mail user for good. */
static struct service_settings worker_service = {
	.name = "imapsync-pull-worker",
	.protocol = "imapsync-pull",
	.type = "worker",
	.executable = "imapsync-pull-worker",
	.user = "",
	.group = "",
	.privileged_group = "",
	.extra_groups = "",
	.chroot = "",

	.process_min_avail = 0,
	.process_limit = 0,
	.client_limit = 1,
	.service_count = 1,
	.idle_kill = 0,
	.vsz_limit = UOFF_T_MAX,

	.unix_listeners = { { &worker_listeners_buf,
			      sizeof(worker_listeners[0]) } },
	.fifo_listeners = ARRAY_INIT,
	.inet_listeners = ARRAY_INIT
};

/* One connection from the service each, and then exit. The user is the one that
   may do least. */
static struct service_settings watch_service = {
	.name = "imapsync-pull-watch",
	.protocol = "imapsync-pull",
	.type = "",
	.executable = "imapsync-pull-watch",
	.user = "$default_login_user",
	.group = "",
	.privileged_group = "",
	.extra_groups = "",
	.chroot = "",

	.process_min_avail = 0,
	.process_limit = WATCH_PROCESS_LIMIT,
	.client_limit = 1,
	.service_count = 1,
	.idle_kill = 0,
	.vsz_limit = WATCH_VSZ_LIMIT,

	.unix_listeners = { { &watch_listeners_buf,
			      sizeof(watch_listeners[0]) } },
	.fifo_listeners = ARRAY_INIT,
	.inet_listeners = ARRAY_INIT
};

struct service_settings *imapsync_pull_settings_service_settings_array[] = {
	&pull_service,
	&worker_service,
	&watch_service,
	NULL
};

/* Without a setting of its own: the worker asks for the settings of module
   imapsync-pull, and gets those of a mail user with them. It is apart from
   imapsync_setting_parser_info because the service knows no mail users. */
static const struct setting_define worker_setting_defines[] = {
	SETTING_DEFINE_LIST_END
};
static const char worker_default_settings;
static const struct setting_parser_info *const worker_dependencies[] = {
	&mail_user_setting_parser_info,
	NULL
};
static const struct setting_parser_info worker_setting_parser_info = {
	.module_name = "imapsync-pull",
	.defines = worker_setting_defines,
	.defaults = &worker_default_settings,

	.type_offset = SIZE_MAX,
	.struct_size = sizeof(worker_default_settings),

	.parent_offset = SIZE_MAX,
	.dependencies = worker_dependencies,
};

const struct setting_parser_info *imapsync_pull_settings_set_roots[] = {
	&imapsync_setting_parser_info,
	&worker_setting_parser_info,
	NULL
};

const char *imapsync_pull_settings_version = DOVECOT_ABI_VERSION;
