#ifndef CRED_NOTIFY_AUTH_DOOR_H
#define CRED_NOTIFY_AUTH_DOOR_H

struct module;

/* Loaded by every auth process: tells the cred-notify service of logins that
   fail, and of the successes that end a streak of failures. Does nothing in
   auth workers, and nothing where there is no such service. */

extern const char *auth_cred_notify_version;

void auth_cred_notify_init(struct module *module);
void auth_cred_notify_deinit(void);

#endif
