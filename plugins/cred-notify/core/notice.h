#ifndef CRED_NOTIFY_NOTICE_H
#define CRED_NOTIFY_NOTICE_H

#include "array.h"
#include "net.h"

/* The life of a notice: failures and successes of one subject in, what is to
   be said out. quiet -> counting -> told -> cooling -> resolved, which is
   quiet again. Pure: time is an argument, and it may jump. */

enum notice_class {
	NOTICE_CLASS_CREDENTIAL,
	/* the owner must act at the provider: see hint */
	NOTICE_CLASS_USER_ACTION,
	NOTICE_CLASS_TOKEN,
	NOTICE_CLASS_THROTTLED,
	NOTICE_CLASS_SERVER,
	NOTICE_CLASS_NETWORK,
	NOTICE_CLASS_DNS,
	NOTICE_CLASS_TLS,
	/* our side */
	NOTICE_CLASS_LOCAL,

	NOTICE_CLASS_COUNT
};

/* What the owner must do, in our words. Never what a server wrote. */
enum notice_hint {
	NOTICE_HINT_NONE,
	NOTICE_HINT_APP_PASSWORD,
	NOTICE_HINT_WEB_LOGIN,
	NOTICE_HINT_ENABLE_IMAP,
	NOTICE_HINT_CONSENT,
	NOTICE_HINT_BLOCKED,
	NOTICE_HINT_EXPIRED,

	NOTICE_HINT_COUNT
};

enum notice_origin {
	/* a remote account; account = its permanent id */
	NOTICE_ORIGIN_ACCOUNT,
	/* logins of a local user; account = "" */
	NOTICE_ORIGIN_LOGIN,

	NOTICE_ORIGIN_COUNT
};

enum notice_pattern {
	/* one address or few: a device with an old password */
	NOTICE_PATTERN_DEVICE,
	/* many addresses */
	NOTICE_PATTERN_ATTACK,

	NOTICE_PATTERN_COUNT
};

#define NOTICE_MAX_USER 255
#define NOTICE_MAX_ACCOUNT 255
#define NOTICE_MAX_LABEL 255
#define NOTICE_MAX_PROTOCOL 15
#define NOTICE_MAX_NETWORKS 8

struct notice_subject {
	enum notice_origin origin;
	/* owner of the account, or who logs in; "" = the account has none */
	const char *user;
	const char *account;
};

/* Something happened. */
struct notice_fact {
	struct notice_subject subject;
	/* FALSE: a failure, and class and hint say which */
	bool success;
	enum notice_class class;
	enum notice_hint hint;
	/* what the owner calls the account; "" = unknown */
	const char *label;
	/* session or run: what is told twice of it counts once. "" = unknown */
	const char *once;
	/* logins: where from (family 0 = unknown), and "imap", "smtp", ... */
	struct ip_addr ip;
	const char *protocol;
};

/* Told after so many separate failures, the first and the last of which are
   at least span_secs apart, none more than window_secs after the one before.
   count 0 = never. */
struct notice_rule {
	unsigned int count, span_secs, window_secs;
};

struct notice_limits {
	struct notice_rule account[NOTICE_CLASS_COUNT];
	struct notice_rule login[NOTICE_PATTERN_COUNT];
	/* so many networks that fail for one user are an attack, at most
	   NOTICE_MAX_NETWORKS */
	unsigned int attack_networks;
	/* and so is one address that fails for so many users, at most
	   NOTICE_MAX_NETWORKS: it is no owner's device and not counted */
	unsigned int attack_users;
	/* failures of one class nearer than this are retries of one */
	unsigned int retry_secs[NOTICE_ORIGIN_COUNT];
	/* so long nothing may fail after a success before all is well */
	unsigned int settle_secs[NOTICE_ORIGIN_COUNT];
	/* the first digest, and those after it */
	unsigned int digest_secs, digest_again_secs;
	/* told, and neither failure nor success since: forgotten */
	unsigned int forget_secs[NOTICE_ORIGIN_COUNT];
	/* notices per user and day, and altogether per hour; recoveries, which
	   only follow them, are not counted */
	unsigned int user_cap, global_cap;
	/* the memory budget */
	unsigned int max_subjects, max_sources;
};

enum notice_phase {
	NOTICE_PHASE_COUNTING,
	NOTICE_PHASE_TOLD,
	/* a digest was sent, the next will be later */
	NOTICE_PHASE_COOLING,

	NOTICE_PHASE_COUNT
};

struct notice_tally {
	unsigned int count;
	time_t first, last;
};

struct notice_network {
	/* ip_network() */
	struct ip_addr net;
	time_t last;
};

/* All that is known of a subject that is not quiet; what a journal keeps. */
struct notice_state {
	struct notice_subject subject;
	const char *label;
	enum notice_phase phase;
	/* names the trouble from its first failure to its end; with said it
	   names a notice, for good */
	uint64_t incident;
	/* notices told of it */
	unsigned int said;
	/* what was told last, and when */
	enum notice_class told_class;
	enum notice_pattern told_pattern;
	time_t told_time;
	enum notice_hint hint;
	char protocol[NOTICE_MAX_PROTOCOL + 1];
	/* failures in all, and up to the last notice */
	unsigned int count, told_count;
	time_t first_time, last_time;
	/* a success that no failure followed, 0 = none */
	time_t ok_time;
	/* somebody knows: no digests */
	bool acked;
	struct notice_tally tallies[NOTICE_CLASS_COUNT];
	struct notice_network networks[NOTICE_MAX_NETWORKS];
	unsigned int networks_count;
};

ARRAY_DEFINE_TYPE(const_notice_state, const struct notice_state *);

enum notice_kind {
	/* something is wrong, or wrong in another, graver way */
	NOTICE_KIND_TROUBLE,
	/* it still is */
	NOTICE_KIND_DIGEST,
	/* it is well again; the subject is quiet */
	NOTICE_KIND_RECOVERY,
	/* nobody is told: the subject is quiet, and what was not delivered of
	   it yet need not be */
	NOTICE_KIND_FORGOTTEN,

	NOTICE_KIND_COUNT
};

struct notice {
	enum notice_kind kind;
	/* as it was when told: state.told_class and so on are what is said */
	struct notice_state state;
	/* failures since the notice before */
	unsigned int new_count;
};
ARRAY_DEFINE_TYPE(notice, struct notice);

struct notice_stats {
	/* counted; the same again; from addresses that attack */
	uint64_t counted, repeated, hostile;
	/* not told yet for the caps */
	uint64_t held;
	/* forgotten, or not taken up, because the table was full */
	uint64_t evicted, refused;
	/* facts that make no sense */
	uint64_t invalid;
};

/* What is the default if nothing is configured. */
void notice_limits_default(struct notice_limits *limits_r);

/* limits are copied. Incidents are numbered from first_incident on. */
struct notice_table *
notice_table_init(const struct notice_limits *limits, uint64_t first_incident);
void notice_table_deinit(struct notice_table **table);

/* Take up a fact. What is to be told is appended to notices, with strings from
   pool. Afterwards notice_table_find() says what is known of the subject.
   Returns FALSE if nothing changed (a repetition, an attacker, no room). */
bool notice_table_fact(struct notice_table *table,
		       const struct notice_fact *fact, time_t now, pool_t pool,
		       ARRAY_TYPE(notice) *notices);

/* Time went by: digests, recoveries that had to settle, what the caps held
   back. Looks at each subject; once in some seconds is often enough. */
void notice_table_tick(struct notice_table *table, time_t now, pool_t pool,
		       ARRAY_TYPE(notice) *notices);

/* No more digests. Returns FALSE if nothing was told of the subject. */
bool notice_table_ack(struct notice_table *table,
		      const struct notice_subject *subject);
/* The subject is quiet and nobody is told. Returns FALSE if it was. */
bool notice_table_clear(struct notice_table *table,
			const struct notice_subject *subject, pool_t pool,
			ARRAY_TYPE(notice) *notices);

/* Returns NULL if the subject is quiet. Valid until the next call. */
const struct notice_state *
notice_table_find(struct notice_table *table,
		  const struct notice_subject *subject);

/* Put back what a journal kept, or replace what is there by it. Returns FALSE
   if it makes no sense or there is no room. */
bool notice_table_restore(struct notice_table *table,
			  const struct notice_state *state);

/* Append users whose logins failed, max of them at most: those who were told
   first, then those who failed most, and the latest of each first. Valid until
   the next call. */
void notice_table_logins(const struct notice_table *table, unsigned int max,
			 ARRAY_TYPE(const_notice_state) *states);

/* Every subject, in no order. Nothing may change until deinit. */
struct notice_table_iter *notice_table_iter_init(struct notice_table *table);
/* Returns NULL at the end. */
const struct notice_state *
notice_table_iter_next(struct notice_table_iter *iter);
void notice_table_iter_deinit(struct notice_table_iter **iter);

const struct notice_stats *notice_table_stats(const struct notice_table *table);
unsigned int notice_table_count(const struct notice_table *table);
/* The most memory the table ever takes, in bytes, but for malloc's overhead. */
size_t notice_table_max_bytes(const struct notice_limits *limits);

/* "credential", "dns", ... : stable, for machines. */
const char *notice_class_name(enum notice_class class);
bool notice_class_parse(const char *name, enum notice_class *class_r);

/* "trouble", "digest", ... */
const char *notice_kind_name(enum notice_kind kind);

/* "app-password", ... ; "" for NOTICE_HINT_NONE. A name that is none of them
   leaves hint_r as it is. */
const char *notice_hint_name(enum notice_hint hint);
bool notice_hint_parse(const char *name, enum notice_hint *hint_r);

#endif
