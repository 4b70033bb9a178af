#ifndef CRED_NOTIFY_RECORD_H
#define CRED_NOTIFY_RECORD_H

#include "net.h"

/* What producers tell the cred-notify service, one line each, over the unix
   socket RECORD_SOCKET in base_dir. There are two: Dovecot's auth process
   (login-*, dropped) and imapsync-pull's service (account-*). Lines are
   <word> TAB key=value ..., str_tabescape()d, and end in LF.

   producer -> service, first:
     VERSION TAB cred-notify-producer TAB 1 TAB 1
     producer    name start
   then any number of:
     login-fail  id time reason user|user_hash [service mechanism ip session
                 master]
     login-ok    id time user|user_hash [service mechanism ip session master]
     dropped     id time count
     account-fail   id time account class since [owner label hint]
     account-clear  id time account [owner label gone]
   service -> producer, whenever it likes, if it likes:
     ack         id
     watch       user [ip]
   ack says that everything up to this id lies on its disk. A producer keeps
   what it can of what was not acknowledged and sends it again, with the same
   ids, when it connects again. watch goes to "auth" alone, from version 1.1 on:
   the user has failed to log in, in that network if it is known, and a success
   is to be told, which an auth that has just started would not know. Ids rise
   by one from 1 for each start (random, hex) of a producer: an id that is not
   above the last one is a repetition.

   Keys that are not known are skipped, so that a later minor version may add
   some. There is no password in any record. A user name that nobody has is
   never in clear: it may be a password typed in the wrong place. Its hash is
   keyed with a key that dies with the producer, so that only hashes of one
   start can be compared. */

#define RECORD_SOCKET "cred-notify-producer"
#define RECORD_PROTOCOL_NAME "cred-notify-producer"
#define RECORD_PROTOCOL_MAJOR 1
#define RECORD_PROTOCOL_MINOR 1
/* who has it understands watch */
#define RECORD_PROTOCOL_MINOR_WATCH 1
/* the name of Dovecot's auth process */
#define RECORD_PRODUCER_AUTH "auth"
/* Longest line with its LF, whatever is escaped in it: below PIPE_BUF, so
   that all of it is sent in one go or nothing */
#define RECORD_MAX_LINE 4000

enum record_kind {
	RECORD_PRODUCER,
	RECORD_LOGIN_FAIL,
	RECORD_LOGIN_OK,
	RECORD_DROPPED,
	RECORD_ACCOUNT_FAIL,
	RECORD_ACCOUNT_CLEAR,
	RECORD_ACK,
	RECORD_WATCH,

	RECORD_KIND_COUNT
};

/* Why a local login failed. */
enum record_reason {
	/* not said */
	RECORD_REASON_NONE,
	/* the user exists, the password is another */
	RECORD_REASON_PASSWORD,
	/* nobody is called that */
	RECORD_REASON_USER_UNKNOWN,
	/* disabled, or found in a deny passdb */
	RECORD_REASON_USER_DISABLED,
	RECORD_REASON_PASS_EXPIRED,
	/* the password is right, but not from there or not now */
	RECORD_REASON_NOT_ALLOWED,
	/* the stored password does not serve this mechanism */
	RECORD_REASON_SCHEME,
	/* refused by the policy server */
	RECORD_REASON_POLICY,
	/* our side's fault */
	RECORD_REASON_INTERNAL,
	/* ended before any passdb was asked: not even SASL was right */
	RECORD_REASON_NO_LOOKUP,

	RECORD_REASON_COUNT
};

/* Only what the kind has; the rest is zero. */
struct record {
	enum record_kind kind;
	uint64_t id;
	/* when it happened, seconds */
	uint64_t time;

	/* producer: "auth", "imapsync-pull"; 16 hex digits */
	const char *name, *start;

	/* whose credentials they were, one of both; the hash is hex */
	const char *user, *user_hash;
	/* a master login, by this user: says nothing of the user's own
	   credentials. The same as user if the master's own were wrong. */
	const char *master;
	/* "imap", "CRAM-MD5", Dovecot's session id */
	const char *service, *mechanism, *session;
	/* family 0 = not known; watch: ip_network() */
	struct ip_addr ip;
	enum record_reason reason;

	/* records that were lost since the last one */
	uint64_t count;

	/* user/name; who it belongs to, NULL = nobody; what the owner calls it;
	   reply_class_name(); notice_hint_name(), NULL = nothing to say */
	const char *account, *owner, *label, *class, *hint;
	/* "yes": the account was deleted or disabled, which is no success */
	const char *gone;
	/* since when it fails, seconds */
	uint64_t since;
};

/* Append the record as a line with its LF, at most RECORD_MAX_LINE bytes.
   Returns 0, or -1 and error_r, which names the field that is missing, too
   long or malformed; then dest is as it was. Fields that the kind does not
   have are left out. */
int record_write(string_t *dest, const struct record *record,
		 const char **error_r);

/* Read a line without its LF. Strings are from pool. Returns 0, or -1 and
   error_r. */
int record_parse(pool_t pool, const char *line, struct record *record_r,
		 const char **error_r);

/* The first line, with its LF; and its check. Returns 0, or -1 and error_r if
   it is none, of another protocol or of another major version. */
const char *record_version_line(void);
int record_version_check(const char *line, const char **error_r);

/* Whether a user name fits into a record. */
bool record_user_fits(const char *user);

/* The others that do not are left out of it: a session or service that long
   is none. */
void record_drop_long(struct record *record);

const char *record_kind_name(enum record_kind kind);
/* "password_mismatch" and so on; "" for RECORD_REASON_NONE */
const char *record_reason_name(enum record_reason reason);

#endif
