#ifndef IMAPSYNC_LOCAL_FOLDER_H
#define IMAPSYNC_LOCAL_FOLDER_H

#include "mail-types.h"
#include "core/reply-class.h"

/* One local mailbox during a run: opened or made, searched for mail that is
   already there, its flags changed, mail expunged. Mail is recognised by GUID
   first and by content second; each local mail answers for one remote message
   only ("taken"). */

struct mail_user;
struct mailbox;
struct local_folder;

struct local_error {
	enum reply_class class;
	/* one line, for the admin */
	const char *text;
};

/* Open vname; with create it is made and subscribed if it is missing.
   Returns 1, 0 if it does not exist and create is FALSE, or -1 and error_r. */
int local_folder_open(struct mail_user *user, const char *vname, bool create,
		      struct local_folder **folder_r,
		      struct local_error *error_r);
void local_folder_close(struct local_folder **folder);

struct mailbox *local_folder_get_box(struct local_folder *folder);
const char *local_folder_get_name(struct local_folder *folder);
/* See what others did since. Returns 0, or -1 and error_r. */
int local_folder_sync(struct local_folder *folder, struct local_error *error_r);
void local_folder_get_status(struct local_folder *folder,
			     uint32_t *uidvalidity_r, uint32_t *uidnext_r);

/* UIDVALIDITY and UIDNEXT of a mailbox. Without sync, as its index has them:
   quick, and enough to see that it was restored from a backup. Mail that a
   crash left outside the index shows with sync only. Returns 1, 0 if there is
   no such mailbox, -1 and error_r. */
int local_folder_peek(struct mail_user *user, const char *vname, bool sync,
		      uint32_t *uidvalidity_r, uint32_t *uidnext_r,
		      struct local_error *error_r);
/* Content hash of a mail (spool.h). FALSE if it cannot be read. */
bool local_folder_get_hash(struct local_folder *folder, uint32_t uid,
			   unsigned char *hash_r);

/* Index the mail from first_uid on (0 = all), for the functions below. Replaces
   an earlier index. Returns 0, or -1 and error_r. */
int local_folder_scan(struct local_folder *folder, uint32_t first_uid,
		      struct local_error *error_r);
/* Anything in the index that is not taken? */
bool local_folder_has_untaken(struct local_folder *folder);

struct local_mail {
	uint32_t uid;
	/* as the storage says it, from the data stack */
	const char *guid;
	/* bytes with CRLF line ends */
	uoff_t size;
};

/* Take the mail with this GUID, if its size is size. Returns TRUE and
   mail_r. */
bool local_folder_take_guid(struct local_folder *folder, const char *guid,
			    uoff_t size, struct local_mail *mail_r);
/* Expunge every mail in the index that has this GUID and is not taken: copies
   that a crash left, cut short or brought back by a rebuilt index. */
void local_folder_drop_guid(struct local_folder *folder, const char *guid);
/* Take a mail with this size and content hash (spool.h). */
bool local_folder_take_content(struct local_folder *folder, uoff_t size,
			       const unsigned char *hash,
			       struct local_mail *mail_r);
/* Take the mail of a message that is settled: of several with its GUID the one
   that was stored as local_uid. */
void local_folder_take_known(struct local_folder *folder, const char *guid,
			     uint32_t local_uid);

/* A process that was killed while it saved into Maildir may have left keywords
   without their names: give a mail that has such those that it should have.
   Committed by local_folder_commit(). */
void local_folder_repair_keywords(struct local_folder *folder, uint32_t uid,
				  const char *const *keywords);

/* Find a mail by a UID that may be outdated, and GUID. Returns its UID, or 0
   if it is gone (moved or expunged by the user). */
uint32_t local_folder_find(struct local_folder *folder, uint32_t uid_hint,
			   const char *guid);

/* Changes are collected and made by local_folder_commit(). */
void local_folder_change_flags(struct local_folder *folder, uint32_t uid,
			       enum mail_flags add, enum mail_flags remove,
			       const char *const *add_keywords,
			       const char *const *remove_keywords);
void local_folder_expunge(struct local_folder *folder, uint32_t uid);
bool local_folder_has_changes(struct local_folder *folder);
int local_folder_commit(struct local_folder *folder,
			struct local_error *error_r);

/* What the storage's last error on this mailbox means for us. */
void local_error_from_box(struct mailbox *box, const char *what,
			  struct local_error *error_r);

/* GUID to save a message with, so that a crash cannot lose it: on Maildir the
   whole base of the file name, elsewhere guid itself. Data stack. */
const char *local_folder_save_guid(struct local_folder *folder,
				   const char *guid, time_t received_time,
				   uoff_t lf_size, uoff_t crlf_size);

#endif
