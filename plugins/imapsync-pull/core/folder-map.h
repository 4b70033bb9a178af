#ifndef IMAPSYNC_FOLDER_MAP_H
#define IMAPSYNC_FOLDER_MAP_H

/* Remote folder <-> local mailbox: which are pulled, and what each is called
   here. Pure. */

struct account;

enum folder_special_use {		/* RFC 6154, 2 */
	FOLDER_SPECIAL_NONE	= 0,
	FOLDER_SPECIAL_ALL	= 0x01,
	FOLDER_SPECIAL_ARCHIVE	= 0x02,
	FOLDER_SPECIAL_DRAFTS	= 0x04,
	FOLDER_SPECIAL_FLAGGED	= 0x08,
	FOLDER_SPECIAL_JUNK	= 0x10,
	FOLDER_SPECIAL_SENT	= 0x20,
	FOLDER_SPECIAL_TRASH	= 0x40,
	FOLDER_SPECIAL_IMPORTANT = 0x80,	/* RFC 8457 */
};

/* A longer remote name is never mapped: modified UTF-7 of the longest local
   one, generously. */
#define FOLDER_REMOTE_NAME_MAX 1024

/* One LIST response, as values. */
struct folder_listed {
	/* name as the server wrote it: its bytes are the identity */
	const char *remote_name;
	/* hierarchy separator, '\0' = NIL (flat) */
	char separator;
	bool noselect, nonexistent, subscribed;
	enum folder_special_use special_use;
	/* the name is UTF-8 (UTF8=ACCEPT), not modified UTF-7 */
	bool utf8;
};

struct folder_mapped {
	const struct folder_listed *listed;
	bool selected;
	/* vname of the local mailbox: UTF-8 (NFC as given), hierarchy levels
	   joined by the local separator. Set whenever the name can be mapped,
	   selected or not; NULL otherwise. */
	const char *local_name;
	/* why it is not selected or not mapped, for the admin; printable */
	const char *reason;
	/* what it is by SPECIAL-USE, else by well-known name */
	enum folder_special_use special_use;
	bool inbox;
};

struct folder_local {
	/* separator of the namespace the mail goes to, and its prefix ("" or
	   "INBOX." and the like; INBOX itself takes no prefix) */
	char separator;
	const char *prefix;
	/* local mailboxes by special use (user's own \Sent etc.), NULL = use
	   the well-known English name */
	const char *sent, *drafts, *junk, *trash, *archive;
};

/* Map every listed folder, in the order given, into pool. count may be 0: then
   only the account's masks and names are checked.

   Names come from a hostile server: empty, "." and ".." levels, leading '~'
   or '/', control characters, bad modified UTF-7 and names over 255 bytes are
   not mapped, nor is what is listed twice. INBOX is matched without case at
   top level only.

   The local name, first match:
   - INBOX is INBOX
   - folder_map: the UTF-8 remote name, or \Special
   - the Sent, Drafts, Junk, Trash, Archive folder (one of each) is the local
     one of local, or of that English name; not with preset backup, which
     keeps the names as they are
   - the levels of the remote name. Where everything is below INBOX (Courier,
     Cyrus), that level is left out. '/' and the local separator inside a level
     become '_', and so do bidi and format characters.
   With subfolder all of them, INBOX too, are below it. The names an account
   gives (folder_map, subfolder) separate levels by '/' or the local separator;
   the prefix is added where it is missing.

   Two remote folders that would become one local mailbox get a suffix that
   depends only on the remote name ("-" and 8 hex digits). The one that keeps
   its name: INBOX, else the only one that folder_map or its special use named,
   else the only one whose name needed no change.

   masks (account->folders, exclude): '*' and '%' as in LIST with the remote
   separator, a slash-enclosed regular expression (POSIX extended, whole name;
   without back-references, and without much that is repeated in what is
   repeated: compiling stays cheap, but matching may take some milliseconds and
   megabytes for each name),
   or \Special; exclude wins. Matching is on the UTF-8 remote name, with INBOX
   as its first level in capitals. \Special in folders means one folder: the
   first with the attribute, or without any the best well-known name; in exclude
   it means all of them. \All, \Flagged and \Important folders hold the mail
   of other folders and are selected only by their full name or \Special.
   INBOX counts as subscribed.

   Returns 0, or -1 and error_r for a bad mask, folder_map line or
   subfolder. */
int folder_map_make(pool_t pool, const struct account *account,
		    const struct folder_local *local,
		    const struct folder_listed *listed, unsigned int count,
		    struct folder_mapped *mapped_r, const char **error_r);

/* SPECIAL-USE attribute ("\\Sent", case-insensitive) or none. */
enum folder_special_use folder_special_use_parse(const char *attribute);
/* "\\Sent" and so on; "" for none. */
const char *folder_special_use_name(enum folder_special_use use);

/* TRUE if the item of folders or exclude is a regular expression. */
bool folder_mask_is_regex(const char *mask);

/* TRUE if the folder's mail never meets Sieve: Sent, Drafts, Junk, Trash. */
bool folder_special_use_is_filed(enum folder_special_use use);

#endif
