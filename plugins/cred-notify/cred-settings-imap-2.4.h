#ifndef CRED_NOTIFY_CRED_SETTINGS_IMAP_2_4_H
#define CRED_NOTIFY_CRED_SETTINGS_IMAP_2_4_H

/* For the settings module: what the config process has to know. */
extern const struct setting_parser_info cred_imap_setting_parser_info;

#endif
