#ifndef IMAPSYNC_LOGIN_DOOR_H
#define IMAPSYNC_LOGIN_DOOR_H

struct module;

/* In imap and pop3: tells the service who has logged in, see service-wake.c. It
   waits for nothing, and its failure is nobody's trouble. */

void login_door_init(struct module *module);
void login_door_deinit(void);

#endif
