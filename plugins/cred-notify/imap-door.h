#ifndef CRED_NOTIFY_IMAP_DOOR_H
#define CRED_NOTIFY_IMAP_DOOR_H

struct module;

/* In the imap process: shows the user notices, after login and while the
   session is open, as * OK [ALERT] (RFC 3501, 7.1). Without the service's
   socket it does nothing. */

extern const char *imap_cred_notify_plugin_version;
extern const char imap_cred_notify_plugin_binary_dependency[];

void imap_cred_notify_plugin_init(struct module *module);
void imap_cred_notify_plugin_deinit(void);

#endif
