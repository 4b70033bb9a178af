#ifndef IMAPSYNC_ACCOUNT_DICT_H
#define IMAPSYNC_ACCOUNT_DICT_H

struct dict;
struct event;
struct imapsync_settings;

/* The dict that holds the accounts, as each dialect of Dovecot's settings names
   it: account-dict-2.3.c or account-dict-2.4.c. Dict drivers must have been
   registered. */

/* Open what the admin has chosen, or the file of set->accounts_file. event is
   the service's: 2.4 looks settings up with it. base_dir is Dovecot's, for the
   sockets of some drivers. file_path_r is the file of a file dict, from the
   data stack, else NULL. Returns 0, or -1 and error_r. */
int account_dict_open(struct event *event, const struct imapsync_settings *set,
		      const char *base_dir, struct dict **dict_r,
		      const char **file_path_r, const char **error_r);

/* Open a file as dict, whatever is configured. Returns 0, or -1 and error_r. */
int account_dict_open_file(const char *path, struct dict **dict_r,
			   const char **error_r);

#endif
