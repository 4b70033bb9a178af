/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "dovecot-compat.h"
#include "doveadm-imapsync.h"

struct module;

extern const char *doveadm_imapsync_pull_plugin_version;
void doveadm_imapsync_pull_plugin_init(struct module *module);
void doveadm_imapsync_pull_plugin_deinit(void);

const char *doveadm_imapsync_pull_plugin_version = DOVECOT_ABI_VERSION;

void doveadm_imapsync_pull_plugin_init(struct module *module ATTR_UNUSED)
{
	doveadm_imapsync_register();
}

void doveadm_imapsync_pull_plugin_deinit(void)
{
}
