/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "hex-binary.h"
#include "safe-memset.h"
#include "dovecot-compat.h"
#include "account-dict.h"
#include "key-file.h"
#include "secret.h"
#include "imapsync-settings.h"
#include "service-private.h"

#include <unistd.h>

int pull_service_need_store(struct pull_service *service, const char **error_r)
{
	const char *file_path;
	struct dict *dict;

	if (service->store != NULL)
		return 0;
	if (account_dict_open(service->event, service->set, service->base_dir,
			      &dict, &file_path, error_r) < 0)
		return -1;
	service->store = account_store_init(dict, file_path);
	return 0;
}

/* Returns 1 if some account has a sealed secret, 0 if none, -1 and error_r. */
static int
pull_service_has_secrets(struct pull_service *service, const char **error_r)
{
	pool_t pool = pool_alloconly_create("imapsync accounts", 4096);
	ARRAY_TYPE(account_entry) entries;
	const struct account_entry *entry;
	int ret;

	ret = account_store_list(service->store, pool, "*", &entries, error_r);
	if (ret == 0) {
		array_foreach(&entries, entry) {
			/* one that cannot be read may hold a secret too */
			if (entry->sealed != NULL || entry->error != NULL)
				ret = 1;
		}
	}
	pool_unref(&pool);
	return ret;
}

/* A new key in place of a lost one would only hide the loss. */
static int
pull_service_create_master_key(struct pull_service *service,
			       const char **error_r)
{
	const char *path = service->set->imapsync_pull_key_file;
	int ret;

	if (access(path, F_OK) == 0)
		return 0;
	if (pull_service_need_store(service, error_r) < 0 ||
	    (ret = pull_service_has_secrets(service, error_r)) < 0)
		return -1;
	if (ret > 0) {
		*error_r = t_strdup_printf("%s is missing, but there are "
			"passwords sealed with it: put back the file from your "
			"backup, or delete the accounts", path);
		return -1;
	}
	ret = key_file_create_master(path, error_r);
	if (ret > 0)
		e_info(service->event, "Made the sealing key %s", path);
	return ret < 0 ? -1 : 0;
}

static int
pull_service_read_master_key(struct pull_service *service,
			     const char **error_r)
{
	if (pull_service_create_master_key(service, error_r) < 0)
		return -1;
	service->ring = secret_ring_init();
	if (key_file_read_master(service->set->imapsync_pull_key_file,
				 service->ring, error_r) < 0) {
		secret_ring_deinit(&service->ring);
		return -1;
	}
	return 0;
}

static int
pull_service_read_header_key(struct pull_service *service,
			     const char **error_r)
{
	const char *path = service->set->imapsync_pull_header_key_file;
	unsigned char key[KEY_FILE_HEADER_KEY_SIZE];
	int ret;

	ret = key_file_create_header(path, error_r);
	if (ret > 0)
		e_info(service->event, "Made the header key %s", path);
	if (ret < 0 || key_file_read_header(path, key, error_r) < 0)
		return -1;
	service->header_key = p_strdup(service->pool,
				       binary_to_hex(key, sizeof(key)));
	safe_memset(key, 0, sizeof(key));
	return 0;
}

int pull_service_need_keys(struct pull_service *service, const char **error_r)
{
	if (service->ring == NULL &&
	    pull_service_read_master_key(service, error_r) < 0)
		return -1;
	if (service->header_key == NULL &&
	    pull_service_read_header_key(service, error_r) < 0)
		return -1;
	return 0;
}

void pull_service_keys_deinit(struct pull_service *service)
{
	secret_ring_deinit(&service->ring);
	account_store_deinit(&service->store);
}
