#ifndef CRED_NOTIFY_CONTROL_LINE_H
#define CRED_NOTIFY_CONTROL_LINE_H

/* What doveadm and the cred-notify service tell each other over the unix socket
   CONTROL_SOCKET in base_dir: one line each, str_tabescape()d fields parted by
   TABs, ending in LF. Pure.

   both, first:
     VERSION TAB cred-notify-control TAB 1 TAB 0
   doveadm -> service, one for each connection:
     <command> TAB key=value ...
   service -> doveadm, any number, then exactly one end:
     row TAB key=value ...
     end TAB <exit code, sysexits(3)> TAB <text>

   Commands and their keys; "account" is a remote account's permanent id, and
   without one a command is about the user's own logins and all accounts:
     list     [user] [all=yes: what is only counted, too]
	      row: user account label kind(account|login|attack) class hint
		   phase(counting|told|cooling) since last count said acked
		   incident; times in seconds
     ack      user | account		row: the same
     clear    user | account		row: the same
     test     user			row: name value (channel, result)
     stat				row: name value
     refresh				row: name value */

#define CONTROL_SOCKET "cred-notify-control"
#define CONTROL_PROTOCOL_NAME "cred-notify-control"
#define CONTROL_PROTOCOL_MAJOR 1
#define CONTROL_PROTOCOL_MINOR 0
/* doveadm's exit code of its own: nothing is called that */
#define CONTROL_NOT_FOUND 68
/* longest line either side accepts */
#define CONTROL_MAX_LINE (16*1024)

/* args: of a line, unescaped, by t_strsplit_tabescaped(). The value of a key,
   NULL = not there. */
const char *control_line_get(const char *const *args, const char *key);
/* Append TAB key=value. key is one of ours: without "=". */
void control_line_add(string_t *dest, const char *key, const char *value);

#endif
