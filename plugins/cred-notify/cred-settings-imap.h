#ifndef CRED_NOTIFY_CRED_SETTINGS_IMAP_H
#define CRED_NOTIFY_CRED_SETTINGS_IMAP_H

#include "core/imap-show.h"

struct mail_user;

/* What the imap plugin is told to do, for one user:
     cred_notify_imap              no|login|idle|always
     cred_notify_imap_cleartext    yes|no
     cred_notify_imap_delay        how long, an hour at most
     cred_notify_imap_hibernate    yes|pending|no
     cred_notify_imap_skip_clients patterns, space-separated
     cred_notify_imap_warning      yes|no
   In 2.3 they stand in plugin {}; in both a userdb may give them. */

#define CRED_SETTINGS_IMAP_MODE "idle"
#define CRED_SETTINGS_IMAP_HIBERNATE "yes"
/* Webmail asks for each page in a session of its own, of milliseconds, and
   shows no alert of any: the user would never see what counts as seen. */
#define CRED_SETTINGS_IMAP_DELAY_SECS 5
/* Its sessions that take longer. It says its name only with imap_debug, or if a
   plugin of its own makes it. */
#define CRED_SETTINGS_IMAP_SKIP_CLIENTS "Roundcube*"

/* Returns 0, or -1 and error_r, which names setting and value. What is in set_r
   lives in pool. */
int cred_settings_imap_get(pool_t pool, struct mail_user *user,
			   struct imap_show_settings *set_r,
			   const char **error_r);

#endif
