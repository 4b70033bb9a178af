/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "settings-parser.h"
#include "dovecot-compat.h"
#include "cred-settings-imap-2.4.h"

/* Loaded by doveconf and the config process: with it the imap plugin's settings
   have names and defaults, whether or not the service is installed. */

extern const struct setting_parser_info *cred_notify_imap_settings_set_infos[];
extern const char *cred_notify_imap_settings_version;

const struct setting_parser_info *cred_notify_imap_settings_set_infos[] = {
	&cred_imap_setting_parser_info,
	NULL
};

const char *cred_notify_imap_settings_version = DOVECOT_ABI_VERSION;
