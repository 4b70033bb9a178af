/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "dict.h"
#include "mkdir-parents.h"
#include "restrict-access.h"
#include "master-service.h"
#include "master-service-settings.h"
#include "dovecot-compat.h"
#include "service.h"
#include "imapsync-settings.h"

#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

static struct pull_service *pull_service = NULL;

static void client_connected(struct master_service_connection *conn)
{
	master_service_client_connection_accept(conn);
	pull_service_connected(pull_service, conn);
}

static int
service_dir_check(const char *path, uid_t uid, const char **error_r)
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
			"nobody else may write to it: it holds keys",
			path, dec2str(uid));
		return -1;
	}
	return 0;
}

/* Others may pass through it to the header key, but not look around. */
static int
service_dir_make(const char *path, const struct restrict_access_settings *set,
		 const char **error_r)
{
	const char *slash = strrchr(path, '/');
	uid_t uid = set->uid == (uid_t)-1 ? geteuid() : set->uid;

	if (slash != path &&
	    mkdir_parents(t_strdup_until(path, slash), 0755) < 0 &&
	    errno != EEXIST) {
		*error_r = t_strdup_printf("mkdir_parents(%s) failed: %m",
					   path);
		return -1;
	}
	if (mkdir(path, 0711) < 0) {
		if (errno == EEXIST)
			return service_dir_check(path, uid, error_r);
		*error_r = t_strdup_printf("mkdir(%s) failed: %m", path);
		return -1;
	}
	/* nobody else can have put anything in its place: the directory above
	   is root's. mkdir() was subject to the umask. */
	if (chmod(path, 0711) < 0 || chown(path, uid, set->gid) < 0) {
		*error_r = t_strdup_printf("chown(%s) failed: %m", path);
		return -1;
	}
	return 0;
}

/* While this is still root: later it could not. */
static void main_preinit(const struct imapsync_settings *set)
{
	struct restrict_access_settings restrict_set;
	const char *error;

	restrict_access_get_env(&restrict_set);
	if (service_dir_make(set->imapsync_pull_service_dir, &restrict_set,
			     &error) < 0)
		i_error("imapsync_pull_service_dir: %s", error);
	restrict_access_by_env(RESTRICT_ACCESS_FLAG_ALLOW_ROOT, NULL);
	/* no core and no debugger: the memory holds keys */
	if (prctl(PR_SET_DUMPABLE, 0) < 0)
		i_error("prctl(PR_SET_DUMPABLE) failed: %m");
}

int main(int argc, char *argv[])
{
	const enum master_service_flags service_flags =
		MASTER_SERVICE_FLAG_UPDATE_PROCTITLE |
		MASTER_SERVICE_FLAG_NO_IDLE_DIE;
	const struct imapsync_settings *set;
	const char *error;

	master_service = master_service_init("imapsync-pull", service_flags,
					     &argc, &argv, "");
	if (master_getopt(master_service) > 0)
		return FATAL_DEFAULT;
	if (imapsync_settings_read(master_service, &set, &error) < 0)
		i_fatal("Error reading configuration: %s", error);
	master_service_init_log(master_service);
	main_preinit(set);

	dict_drivers_register_builtin();
	pull_service = pull_service_init(set,
		master_service_get_service_settings(master_service)->base_dir);
	master_service_init_finish(master_service);
	master_service_run(master_service, client_connected);

	pull_service_deinit(&pull_service);
	dict_drivers_unregister_builtin();
	master_service_deinit(&master_service);
	return 0;
}
