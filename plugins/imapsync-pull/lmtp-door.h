#ifndef IMAPSYNC_LMTP_DOOR_H
#define IMAPSYNC_LMTP_DOOR_H

struct module;

/* The plugin: in imap and pop3 it is login-door.h.

   In lmtp it knows pulled messages among those that LMTP delivers, and puts
   back what LMTP loses: folder, flags, keywords, date; and each only once. */

extern const char *imapsync_pull_plugin_version;

void imapsync_pull_plugin_init(struct module *module);
void imapsync_pull_plugin_deinit(void);

#endif
