#ifndef IMAPSYNC_WATCH_FOLDERS_H
#define IMAPSYNC_WATCH_FOLDERS_H

#include "watch-digest.h"

/* Which folders of a watched account count: those that its runs pull. News of
   others are no reason for a run, but for those that only a regular expression
   leaves out: none is matched here. With very many masks and folders all count.
   Pure. What is kept from one LIST to the next is a few bytes for each folder
   that counts. */

struct account;
struct folder_listed;

/* account must outlive this. */
struct watch_folders *watch_folders_init(const struct account *account);
void watch_folders_deinit(struct watch_folders **folders);

/* An answer to LIST comes in: a line for each folder, and its state (as for
   watch_digest_add()), in any order. */
void watch_folders_begin(struct watch_folders *folders);
void watch_folders_add(struct watch_folders *folders,
		       const struct folder_listed *listed);
void watch_folders_add_status(struct watch_folders *folders, const char *name,
			      const uint64_t *numbers, unsigned int count);
/* There will be no end: what came of it is freed. Nothing if none came in. */
void watch_folders_abort(struct watch_folders *folders);
/* It is complete. heard: the folder that is heard by IDLE, or NULL. A change of
   what is listed is a change of what counts. */
void watch_folders_end(struct watch_folders *folders, const char *heard,
		       struct watch_digest *digest_r);
/* FALSE if news of this folder are no reason for a run, by the last answer.
   Before the first one all are. */
bool watch_folders_count(struct watch_folders *folders, const char *name);

#endif
