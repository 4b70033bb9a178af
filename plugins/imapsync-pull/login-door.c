/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "net.h"
#include "str.h"
#include "module-dir.h"
#include "master-service.h"
#include "mail-user.h"
#include "mail-storage-hooks.h"
#include "dovecot-compat.h"
#include "job.h"
#include "login-door.h"

#include <unistd.h>

static bool login_door_open = FALSE;

static void login_door_wake(struct mail_user *user)
{
	const char *path = t_strconcat(user->set->base_dir,
				       "/"JOB_SOCKET_WAKE, NULL);
	string_t *line = t_str_new(128);
	/* does not block: a full socket is an error */
	int fd = net_connect_unix(path);

	if (fd == -1) {
		e_debug(user->event, "imapsync-pull: connect(%s) failed: %m",
			path);
		return;
	}
	job_line_begin(line, "wake");
	job_line_add_arg(line, user->username);
	job_line_end(line);
	if (write(fd, str_data(line), str_len(line)) < 0)
		e_debug(user->event, "imapsync-pull: write(%s) failed: %m",
			path);
	net_disconnect(fd);
}

/* Not for the owners of shared folders, nor for a session that wakes up from
   hibernation. */
static void login_door_mail_user_created(struct mail_user *user)
{
	if (!user->autocreated && !user->session_restored)
		login_door_wake(user);
}

static struct mail_storage_hooks login_door_hooks = {
	.mail_user_created = login_door_mail_user_created,
};

void login_door_init(struct module *module)
{
	const char *name = master_service_get_name(master_service);

	if (strcmp(name, "imap") != 0 && strcmp(name, "pop3") != 0)
		return;
	mail_storage_hooks_add(module, &login_door_hooks);
	login_door_open = TRUE;
}

void login_door_deinit(void)
{
	if (!login_door_open)
		return;
	mail_storage_hooks_remove(&login_door_hooks);
	login_door_open = FALSE;
}
