#ifndef IMAPSYNC_PULL_H
#define IMAPSYNC_PULL_H

#include "core/account.h"
#include "core/reply-class.h"
#include "remote-imap.h"

/* One run of one account: from the remote source through the plan into the
   sinks. Blocks (the ioloop runs) until it is over. */

struct mail_user;
struct imapsync_settings;
struct folder_mapped;
struct sync_status;

struct pull_settings {
	const struct account *account;
	const char *secret;
	/* TRACE_HEADER_KEY_SIZE bytes */
	const unsigned char *header_key;
	const struct imapsync_settings *set;
	const char *base_dir;
	/* look at every message, retry what is quarantined */
	bool full;
	/* plan and count, change nothing */
	bool dry_run;
	struct event *event;

	/* The mail user, made when first asked for. With no_fsync its storage
	   leaves durability to us: asked for once the run is known to be
	   large, and then not mixed with the other. */
	struct mail_user *(*get_user)(bool no_fsync, void *context);
	/* TRUE = the asker went away or the process is to end */
	bool (*is_stopped)(void *context);
	/* may be NULL; folder is printable UTF-8 */
	void (*progress)(const char *folder, unsigned int done,
			 unsigned int total, uoff_t bytes, void *context);
	void (*step)(enum remote_imap_step step, const char *detail,
		     const struct remote_imap_error *error, void *context);
	/* pull_list_folders(): one mapped folder */
	void (*folder)(const struct folder_mapped *mapped,
		       const struct sync_status *status, void *context);
	void *context;
};

struct pull_counts {
	unsigned int folders;
	/* messages stored now, of them by LMTP and by direct save */
	unsigned int stored, lmtp, direct;
	/* messages found to be there already */
	unsigned int adopted;
	unsigned int flags, expunged, skipped, failed;
	/* read from the server */
	uoff_t bytes;
};

struct pull_result {
	/* OK, or the worst that happened */
	enum reply_class class;
	/* one line with the folder if there is one; "" if all is well */
	const char *text;
	/* more for the log alone, or NULL: struct remote_imap_error */
	const char *detail;
	unsigned int wait_secs;
	/* what the owner must do about it */
	enum reply_hint hint;
	struct pull_counts counts;
};

/* What result_r points to is allocated from pool. */
void pull_run(pool_t pool, const struct pull_settings *set,
	      struct pull_result *result_r);
/* Connect, log in, list: every step and folder is reported by callback. */
void pull_list_folders(pool_t pool, const struct pull_settings *set,
		       struct pull_result *result_r);

#endif
