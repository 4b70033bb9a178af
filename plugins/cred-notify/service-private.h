#ifndef CRED_NOTIFY_SERVICE_PRIVATE_H
#define CRED_NOTIFY_SERVICE_PRIVATE_H

#include "channel.h"
#include "core/outbox.h"
#include "core/record.h"
#include "cred-settings.h"
#include "feed.h"
#include "holders.h"
#include "journal.h"
#include "producers.h"
#include "service.h"

/* a userdb that did not answer is asked again after this */
#define CRED_SERVICE_USERDB_RETRY_SECS 10

struct channel_http;
struct control;

struct cred_service_stats {
	uint64_t records[RECORD_KIND_COUNT];
	/* of logins: not a user's own credentials, or from our own networks */
	uint64_t ignored;
	/* records that producers had to drop */
	uint64_t dropped;
	/* tellings that ended, by what they ended in */
	uint64_t results[JOURNAL_RESULT_COUNT];
};

struct cred_service {
	pool_t pool;
	const struct cred_settings *set;
	const char *base_dir;
	struct event *event;
	/* channels: those that work */
	struct audience_config audience;

	struct notice_table *table;
	struct outbox *outbox;
	struct journal *journal;
	/* the last one that was ever given to a trouble */
	uint64_t top_incident;
	struct holders *holders;
	struct producers *producers;
	struct feed *feed;
	struct control *control;

	struct channel *mail, *webhook;
	struct channel_http *http;
	/* tellings that a channel has, or userdb is asked for */
	unsigned int busy;
	/* notices for which userdb is asked who is told */
	unsigned int plans;

	/* of the notices that one call makes */
	pool_t notices_pool;
	struct timeout *to_tick, *to_flush;
	/* it ends: nothing new is told */
	bool closing;
	/* there may be something to tell at the end of this turn */
	bool tell_wanted;
	/* the journal could not be written: not before that */
	bool journal_broken;
	time_t journal_retry_time;
	/* users could not be looked at: who is known by now has to do */
	time_t holders_old_until;
	time_t dropped_warned;
	bool uid_warned;
	struct cred_service_stats stats;
};

/* service.c */

/* Where notices go that are taken down at once. */
void cred_service_notices_init(struct cred_service *service,
			       ARRAY_TYPE(notice) *notices_r);
/* Take down what happened to subjects: notices (may be empty), and what is
   known of subject now. */
void cred_service_keep(struct cred_service *service,
		       const struct notice_subject *subject);
void cred_service_notices(struct cred_service *service,
			  const ARRAY_TYPE(notice) *notices);
/* The same for commands. Return FALSE if nothing is known of subject. */
bool cred_service_ack(struct cred_service *service,
		      const struct notice_subject *subject);
bool cred_service_clear(struct cred_service *service,
			const struct notice_subject *subject);
/* What was appended is to be synced at the end of this turn, then producers
   hear of it, then others do. */
void cred_service_flush_later(struct cred_service *service);

/* service-journal.c */

int cred_service_open_journal(struct cred_service *service,
			      const struct notice_limits *limits,
			      const char **error_r);
void cred_service_append(struct cred_service *service,
			 const struct journal_entry *entry);
void cred_service_append_row(struct cred_service *service,
			     const struct outbox_row *row);
/* The incident needs nothing more. */
void cred_service_append_done(struct cred_service *service, uint64_t incident,
			      unsigned int said);
/* Returns FALSE if what was appended is not safe. */
bool cred_service_sync(struct cred_service *service);

/* service-tell.c */

extern const struct feed_callbacks cred_service_feed_callbacks;

void cred_service_init_channels(struct cred_service *service);
void cred_service_deinit_channels(struct cred_service *service);
/* Look who is to be told, and tell whoever can be told now. */
void cred_service_tell(struct cred_service *service);
/* Sessions were told of it, and it holds no more. */
void cred_service_take_back(struct cred_service *service,
			    const struct outbox_item *item);
/* The notice in one line, on the data stack. */
const char *
cred_service_line(struct cred_service *service, const struct notice *notice,
		  const struct audience_user *user);
/* The one that tells kind. Returns NULL if there is none. */
struct channel *
cred_service_channel(struct cred_service *service, unsigned int kind);
/* "<incident>.<said>" on the data stack */
const char *cred_service_id(const struct notice *notice);

/* enum audience_channel */
unsigned int
cred_service_item_tells(struct cred_service *service,
			const struct outbox_item *item,
			const struct audience_user *user);
/* The notice that is called so. Returns NULL if there is none by now. */
struct outbox_item *
cred_service_find(struct cred_service *service, const char *id);
/* A telling of a channel that answers by itself ended. */
void cred_service_row_end(struct cred_service *service, struct outbox_row *row,
			  enum journal_result result);

/* service-plan.c */

/* Find out who is to be told of new notices. */
void cred_service_plan(struct cred_service *service);
/* After all users were looked at: a holders_callback_t, context is the
   service. */
void cred_service_users_looked_at(bool ok, void *context);

/* service-http.c */

void cred_service_init_http(struct cred_service *service);
/* Returns FALSE if there is no such channel. */
bool cred_service_http_accept(struct cred_service *service,
			      const struct master_service_connection *conn);
/* A user is to be told. */
void cred_service_http_tell(struct cred_service *service,
			    struct outbox_item *item,
			    const struct audience_user *user);

/* service-test.c */

/* Tell a user, by all of the user's channels, a notice that is none. Calls
   back for each with its name, once, and with name NULL at the end: result is
   NULL then, or says why nobody was told, and temporary whether a later try may
   do better. Never before this returns, and not
   after cancel. */
struct cred_test;
typedef void cred_test_callback_t(const char *name, const char *result,
				  bool temporary, void *context);
struct cred_test *
cred_service_test(struct cred_service *service, const char *user,
		  cred_test_callback_t *callback, void *context);
void cred_service_test_cancel(struct cred_test **test);

#endif
