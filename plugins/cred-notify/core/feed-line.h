#ifndef CRED_NOTIFY_FEED_LINE_H
#define CRED_NOTIFY_FEED_LINE_H

/* What the cred-notify service and imap processes tell each other over the unix
   socket FEED_SOCKET in base_dir: one line each, <word> TAB <argument> ...,
   str_tabescape()d, ending in LF. Pure.

   both, first:
     VERSION TAB cred-notify-feed TAB 1 TAB 0
   imap -> service:
     SUB    user session secured(yes|no) unhibernated(yes|no)
     SHOWN  id
   service -> imap:
     NOTICE id flash|live text
     GONE   id

   One connection is one IMAP session, and SUB says whose, once. The session
   says it again on the next connection, after one that broke and after
   hibernation, with the same session id: what counts as seen is known to the
   service alone, by SHOWN. GONE says that a notice holds no more: not shown
   yet, it is not to be. More arguments than these are skipped, so that a later
   minor version may add some. */

#define FEED_SOCKET "cred-notify"
#define FEED_PROTOCOL_NAME "cred-notify-feed"
#define FEED_PROTOCOL_MAJOR 1
#define FEED_PROTOCOL_MINOR 0

/* Longest line with its LF, whatever is escaped in it */
#define FEED_MAX_LINE 2048
/* bytes */
#define FEED_MAX_USER 512
#define FEED_MAX_SESSION 128
#define FEED_MAX_ID 64
#define FEED_MAX_TEXT 400

enum feed_word {
	FEED_SUB,
	FEED_SHOWN,
	FEED_NOTICE,
	FEED_GONE,

	FEED_WORD_COUNT
};

enum feed_channel {
	/* for the first session that can show it */
	FEED_FLASH,
	/* for each session that is open when it is made */
	FEED_LIVE
};

/* Only what the word has; the rest is zero. */
struct feed_line {
	enum feed_word word;

	/* "" = a session without id */
	const char *user, *session;
	/* to the client, all the way; back from hibernation */
	bool secured, unhibernated;

	/* letters, digits, dot and hyphen */
	const char *id;
	enum feed_channel channel;
	/* printable ASCII, goes behind "* OK [ALERT] " as it is */
	const char *text;
};

/* Append the line with its LF, at most FEED_MAX_LINE bytes. Returns 0, or -1
   and error_r, which names the argument that is missing, too long or
   malformed; then dest is as it was. */
int feed_line_write(string_t *dest, const struct feed_line *line,
		    const char **error_r);

/* args: of a line without its LF, by t_strsplit_tabescaped(); the strings in
   line_r are those. Returns 0, or -1 and error_r. */
int feed_line_parse(const char *const *args, struct feed_line *line_r,
		    const char **error_r);

/* "flash" or "live" */
const char *feed_channel_name(enum feed_channel channel);

#endif
