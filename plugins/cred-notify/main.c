/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "mkdir-parents.h"
#include "restrict-access.h"
#include "master-service.h"
#include "master-service-settings.h"
#include "dovecot-compat.h"
#include "cred-settings.h"
#include "service.h"

#include <sys/stat.h>
#include <unistd.h>

static struct cred_service *cred_service = NULL;

static void client_connected(struct master_service_connection *conn)
{
	master_service_client_connection_accept(conn);
	cred_service_connected(cred_service, conn);
}

static int dir_check(const char *path, uid_t uid, const char **error_r)
{
	struct stat st;

	if (lstat(path, &st) < 0) {
		*error_r = t_strdup_printf("lstat(%s) failed: %m", path);
		return -1;
	}
	if (!S_ISDIR(st.st_mode)) {
		*error_r = t_strdup_printf("%s is not a directory", path);
		return -1;
	}
	if ((st.st_uid != uid && st.st_uid != 0) || (st.st_mode & 022) != 0) {
		*error_r = t_strdup_printf("%s must belong to uid %s, and "
			"nobody else may write to it", path, dec2str(uid));
		return -1;
	}
	return 0;
}

/* Who failed to log in, and from where, is nobody else's business. */
static int dir_make(const char *path, uid_t uid, gid_t gid,
		    const char **error_r)
{
	const char *slash = strrchr(path, '/');

	if (slash != path &&
	    mkdir_parents(t_strdup_until(path, slash), 0755) < 0 &&
	    errno != EEXIST) {
		*error_r = t_strdup_printf("mkdir_parents(%s) failed: %m",
					   path);
		return -1;
	}
	if (mkdir(path, 0700) < 0) {
		if (errno == EEXIST)
			return dir_check(path, uid, error_r);
		*error_r = t_strdup_printf("mkdir(%s) failed: %m", path);
		return -1;
	}
	/* nobody else can have put anything in its place: the directory above
	   is root's */
	if (chown(path, uid, gid) < 0) {
		*error_r = t_strdup_printf("chown(%s) failed: %m", path);
		return -1;
	}
	return 0;
}

/* While this is still root: later it could not. Returns who we are then. */
static uid_t main_preinit(const struct cred_settings *set)
{
	struct restrict_access_settings restrict_set;
	const char *error;
	uid_t uid;

	restrict_access_get_env(&restrict_set);
	uid = restrict_set.uid == (uid_t)-1 ? geteuid() : restrict_set.uid;
	if (dir_make(set->cred_notify_dir, uid, restrict_set.gid, &error) < 0)
		i_error("cred_notify_dir: %s", error);
	restrict_access_by_env(RESTRICT_ACCESS_FLAG_ALLOW_ROOT, NULL);
	return uid;
}

int main(int argc, char *argv[])
{
	const enum master_service_flags service_flags =
		MASTER_SERVICE_FLAG_UPDATE_PROCTITLE |
		MASTER_SERVICE_FLAG_NO_IDLE_DIE;
	const struct master_service_settings *master_set;
	const struct cred_settings *set;
	const char *error;
	uid_t uid;

	master_service = master_service_init("cred-notify", service_flags,
					     &argc, &argv, "");
	if (master_getopt(master_service) > 0)
		return FATAL_DEFAULT;
	if (cred_settings_read(master_service, &set, &error) < 0)
		i_fatal("Error reading configuration: %s", error);
	master_service_init_log(master_service);
	uid = main_preinit(set);

	master_set = master_service_get_service_settings(master_service);
	if (cred_service_init(set, master_set->base_dir, uid, &cred_service,
			      &error) < 0)
		i_fatal("%s", error);
	master_service_init_finish(master_service);
	master_service_run(master_service, client_connected);

	cred_service_deinit(&cred_service);
	cred_settings_free(&set);
	master_service_deinit(&master_service);
	return 0;
}
