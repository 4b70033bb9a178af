#ifndef IMAPSYNC_LMTP_KEY_H
#define IMAPSYNC_LMTP_KEY_H

/* The header key in an lmtp process. The key file is the service's and root's,
   while a delivery runs as the mail user: so the key is read as the process's
   own user when the plugin is loaded, and read again, between deliveries, when
   the file turns out to be another one. */

/* Read the key; a missing file is not an error yet. path is copied. Call it
   before privileges are dropped. */
void lmtp_key_init(const char *path);
void lmtp_key_deinit(void);

/* Any time. Returns the key (TRACE_HEADER_KEY_SIZE bytes), or NULL and error_r.
   again_r: the file is about to be read again; ask once more after this
   delivery. */
const unsigned char *lmtp_key_get(bool *again_r, const char **error_r);

#endif
