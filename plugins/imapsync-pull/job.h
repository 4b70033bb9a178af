#ifndef IMAPSYNC_JOB_H
#define IMAPSYNC_JOB_H

/* The line protocol between doveadm, service, worker and watcher, over unix
   sockets in base_dir. Lines are tab-separated, str_tabescape()d fields and end
   in LF.

   doveadm -> service (socket imapsync-pull):
     <command> TAB key=value ...
   service -> worker (socket imapsync-pull-worker):
     <command> TAB key=value ...	command: run, test, folders
   Answers, both ways back, any number, then exactly one end:
     progress TAB <folder> TAB <done> TAB <total> TAB <bytes>
     row TAB key=value ...
     end TAB <class> TAB <text> [TAB <hint> [TAB <wait_secs> TAB <stored> TAB
         <changed> TAB <failed>]]
   class is a reply_class_name(). From workers only: hint, a reply_hint_name();
   what the server asked to wait; messages that were stored, otherwise changed
   (flags, expunged), and failed.
   The asker hangs up to stop a command; an answerer that hangs up before end
   has died.

   service -> watcher (socket imapsync-pull-watch), as long as both live:
     watch TAB id=N TAB user=U TAB name=A TAB secret=S TAB set=key=value ...
     forget TAB id=N
     ping
   watcher -> service:
     watching TAB N TAB <mode>
     changed TAB N
     failed TAB N TAB <class> TAB <wait_secs> TAB <text>
     pong TAB <pid>
   id is the service's, and used for one watch only. mode is a
   watch_mode_name(). watching: from now on every change is heard; it comes
   again if the mode changes. changed: at once, then at most once a second while
   it goes on, later once in ten seconds. failed: the watch is over and
   forgotten; wait_secs is what the server, or sense, asks to wait before the
   next try, 0 = nothing. pong answers ping, with the watcher's process id: if
   it does not come, the watcher hangs. No answer follows a forget, but answers
   sent before it may still come.

   any mail process -> service (socket imapsync-pull-wake), without a handshake:
     wake TAB <user>
   There is no answer: the user has logged in.

   Request keys: user, name (account), full=1, dry_run=1, all=1, secret (job and
   account-set only), header_key (hex, job only), and for jobs and account-set
   set=key=value once per account setting (account_print(), account_parse()). */

#define JOB_SOCKET_SERVICE "imapsync-pull"
#define JOB_SOCKET_WORKER "imapsync-pull-worker"
#define JOB_SOCKET_WATCH "imapsync-pull-watch"
#define JOB_SOCKET_WAKE "imapsync-pull-wake"
#define JOB_PROTOCOL_NAME "imapsync-pull"
#define JOB_PROTOCOL_MAJOR 1
#define JOB_PROTOCOL_MINOR 0
/* longest line either side accepts */
#define JOB_MAX_LINE (256*1024)

struct connection_settings;

/* either end of a connection */
extern const struct connection_settings job_client_set, job_server_set;

struct job_field {
	const char *key, *value;
};

struct job_line {
	/* first field */
	const char *word;
	/* the other fields that hold a '=' ; key once or more */
	const struct job_field *fields;
	unsigned int field_count;
	/* all fields after the word, as they are; NULL-terminated */
	const char *const *args;
};

/* Returns 0, or -1 and error_r. Everything from pool. */
int job_line_parse(pool_t pool, const char *line, struct job_line *line_r,
		   const char **error_r);
/* First value of a key, or NULL. */
const char *job_line_get(const struct job_line *line, const char *key);
/* All values of a key, NULL-terminated, from pool. */
const char *const *
job_line_get_all(pool_t pool, const struct job_line *line, const char *key);

/* Append "word", then "TAB key=value" or "TAB value" fields, then LF. */
void job_line_begin(string_t *dest, const char *word);
void job_line_add(string_t *dest, const char *key, const char *value);
void job_line_add_arg(string_t *dest, const char *value);
void job_line_end(string_t *dest);

#endif
