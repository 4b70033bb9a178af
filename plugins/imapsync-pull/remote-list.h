#ifndef IMAPSYNC_REMOTE_LIST_H
#define IMAPSYNC_REMOTE_LIST_H

struct imap_arg;
struct folder_listed;

/* A LIST response (RFC 5258) as values. The name is that of args, and lives as
   long. Returns FALSE if it is none, or if the name is longer than
   FOLDER_REMOTE_NAME_MAX: then nobody should keep it. */
bool remote_list_parse(const struct imap_arg *args,
		       struct folder_listed *listed_r);

#endif
