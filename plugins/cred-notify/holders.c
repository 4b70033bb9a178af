/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "ioloop.h"
#include "strnum.h"
#include "time-util.h"
#include "dovecot-compat.h"
#include "holders.h"
#include "userdb-client.h"

/* An auth that lost its LDAP server says so after 4 to 7 seconds. */
#define LOOKUP_TIMEOUT_SECS 8
/* and may take long before it has the first of all names, or the next */
#define LIST_TIMEOUT_SECS 60
/* Failure after more than this is of all users, not of one: that is said with
   a delay of up to 3 seconds. */
#define SLOW_MSECS 3500
/* questions that auth has at one time; and those of them that are of looking
   at all users, which must not keep the others waiting */
#define MAX_IN_FLIGHT 100
#define MAX_REFRESH_IN_FLIGHT 20
/* how often it is said that lookups fail */
#define FAILED_SAY_SECS 60

struct holders_waiter {
	holders_callback_t *callback;
	void *context;
};

struct holders {
	struct holders_settings set;
	struct event *event;
	/* auth takes no question while it lists names */
	struct userdb_client *lookups, *list;
	time_t failed_said;

	/* candidates, NULL-terminated; NULL = not known */
	pool_t pool;
	const char *const *names;
	struct holders_stats stats;

	/* while all are looked at: all users, those who hold it, how far we
	   are, lookups that are not answered, and whether it is in vain */
	pool_t run_pool;
	ARRAY_TYPE(const_string) users, found;
	unsigned int pos, run_in_flight;
	bool run_failed;
	struct timeout *to;
	ARRAY(struct holders_waiter) waiters;
};

struct holders_lookup {
	struct holders *holders;
	pool_t pool;
	holders_lookup_callback_t *callback;
	void *context;
	struct timeval start;
};

static struct userdb_client *
client_init(struct holders *holders, unsigned int timeout_secs)
{
	const struct userdb_client_settings set = {
		.path = t_strconcat(holders->set.base_dir, "/auth-userdb",
				    NULL),
		.service = "cred-notify",
		.timeout_secs = timeout_secs,
		.max_in_flight = MAX_IN_FLIGHT,
	};

	return userdb_client_init(&set, holders->event);
}

struct holders *
holders_init(const struct holders_settings *set, struct event *event_parent)
{
	struct holders *holders = i_new(struct holders, 1);

	holders->set = *set;
	holders->event = event_create(event_parent);
	event_set_append_log_prefix(holders->event, "userdb: ");
	i_array_init(&holders->waiters, 4);
	holders->lookups = client_init(holders, LOOKUP_TIMEOUT_SECS);
	holders->list = client_init(holders, LIST_TIMEOUT_SECS);
	return holders;
}

/*
 * One user
 */

static void holders_failed(struct holders *holders, const char *what,
			   enum userdb_client_result result)
{
	holders->stats.failed++;
	if (ioloop_time - holders->failed_said < FAILED_SAY_SECS)
		return;
	holders->failed_said = ioloop_time;
	e_error(holders->event, "%s failed: %s (tried again later)", what,
		result == USERDB_CLIENT_SILENT ? "auth does not answer" :
		"auth says so");
}

/* Dovecot's mail_uid setting holds where the userdb says nothing. */
static uid_t
fields_uid(const struct holders *holders, const char *const *fields)
{
	uid_t uid;

	for (; *fields != NULL; fields++) {
		if (strncmp(*fields, "uid=", 4) == 0) {
			return str_to_uid(*fields + 4, &uid) == 0 ? uid :
				(uid_t)-1;
		}
	}
	return holders->set.mail_uid;
}

/* values: as of USERDB_CLIENT_OK */
static void
user_parse(struct holders *holders, pool_t pool, const char *const *values,
	   struct holders_user *user_r)
{
	i_zero(user_r);
	audience_user_parse(pool, holders->set.audience,
			    p_strdup(pool, values[0]), values + 1,
			    &user_r->audience);
	user_r->uid = fields_uid(holders, values + 1);
}

/* Returns as holders_lookup_callback_t has it. */
static int
lookup_result(struct holders *holders, enum userdb_client_result result)
{
	switch (result) {
	case USERDB_CLIENT_OK:
		return 1;
	case USERDB_CLIENT_UNKNOWN:
		return 0;
	case USERDB_CLIENT_FAILED:
	case USERDB_CLIENT_SILENT:
		holders_failed(holders, "lookup", result);
		return -1;
	case USERDB_CLIENT_NAME:
		break;
	}
	i_unreached();
}

static void
holders_answered(enum userdb_client_result result, const char *const *values,
		 void *context)
{
	struct holders_lookup *lookup = context;
	int ret = lookup_result(lookup->holders, result);
	struct holders_user user;

	T_BEGIN {
		if (ret > 0) {
			user_parse(lookup->holders, lookup->pool, values,
				   &user);
		}
		lookup->callback(ret, ret > 0 ? &user : NULL, lookup->context);
	} T_END;
	i_free(lookup);
}

void holders_lookup(struct holders *holders, pool_t pool, const char *name,
		    holders_lookup_callback_t *callback, void *context)
{
	struct holders_lookup *lookup = i_new(struct holders_lookup, 1);

	lookup->holders = holders;
	lookup->pool = pool;
	lookup->callback = callback;
	lookup->context = context;
	holders->stats.lookups++;
	userdb_client_lookup(holders->lookups, name, holders_answered, lookup);
}

/*
 * All of them
 */

static void holders_finish(struct holders *holders, bool ok)
{
	const struct holders_waiter *waiter;
	ARRAY(struct holders_waiter) waiters;

	timeout_remove(&holders->to);
	pool_unref(&holders->run_pool);
	/* who is called may ask for more */
	t_array_init(&waiters, array_count(&holders->waiters));
	array_append_array(&waiters, &holders->waiters);
	array_clear(&holders->waiters);
	array_foreach(&waiters, waiter)
		waiter->callback(ok, waiter->context);
}

static void holders_add(struct holders *holders, const char *name)
{
	const char *const *found;

	array_foreach(&holders->found, found) {
		if (strcmp(*found, name) == 0)
			return;
	}
	name = p_strdup(holders->run_pool, name);
	array_push_back(&holders->found, &name);
}

static void holders_succeed(struct holders *holders)
{
	const char *const *name = holders->set.audience->capability_users;

	for (; *name != NULL; name++)
		holders_add(holders, *name);
	holders->stats.users = array_count(&holders->users);
	holders->stats.holders = array_count(&holders->found);
	holders->stats.refreshed = ioloop_time;
	array_append_zero(&holders->found);
	pool_unref(&holders->pool);
	holders->pool = holders->run_pool;
	holders->names = array_front(&holders->found);
	holders->run_pool = NULL;
	holders_finish(holders, TRUE);
}

static void holders_run(struct holders *holders);

/* Trouble with one user must not hide the others. */
static bool
failure_is_of_all(const struct holders_lookup *lookup,
		  enum userdb_client_result result)
{
	return result == USERDB_CLIENT_SILENT ||
		timeval_diff_msecs(&ioloop_timeval, &lookup->start) >
		SLOW_MSECS;
}

static void
holders_looked_at(enum userdb_client_result result, const char *const *values,
		  void *context)
{
	struct holders_lookup *lookup = context;
	struct holders *holders = lookup->holders;
	pool_t pool = pool_alloconly_create("holders user", 1024);
	int ret = lookup_result(holders, result);
	struct holders_user user;

	if (ret > 0) {
		user_parse(holders, pool, values, &user);
		if (user.audience.holds_capability)
			holders_add(holders, user.audience.name);
	} else if (ret < 0 && failure_is_of_all(lookup, result)) {
		holders->run_failed = TRUE;
	}
	pool_unref(&pool);
	i_free(lookup);
	holders->run_in_flight--;
	holders_run(holders);
}

static void holders_look(struct holders *holders, const char *name)
{
	struct holders_lookup *lookup = i_new(struct holders_lookup, 1);

	lookup->holders = holders;
	lookup->start = ioloop_timeval;
	holders->stats.lookups++;
	holders->run_in_flight++;
	userdb_client_lookup(holders->lookups, name, holders_looked_at, lookup);
}

/* Lookups that are under way are waited for, whatever became of the others:
   they are of this run. */
static void holders_run(struct holders *holders)
{
	unsigned int count = array_count(&holders->users);

	while (!holders->run_failed && holders->pos < count &&
	       holders->run_in_flight < MAX_REFRESH_IN_FLIGHT) {
		holders_look(holders, array_idx_elem(&holders->users,
						     holders->pos++));
	}
	if (holders->run_in_flight > 0)
		return;
	if (holders->run_failed)
		holders_finish(holders, FALSE);
	else
		holders_succeed(holders);
}

static void
holders_listed(enum userdb_client_result result, const char *const *values,
	       void *context)
{
	struct holders *holders = context;
	const char *name;

	if (result == USERDB_CLIENT_NAME) {
		name = p_strdup(holders->run_pool, values[0]);
		array_push_back(&holders->users, &name);
		return;
	}
	if (result != USERDB_CLIENT_OK) {
		holders_failed(holders, "listing users", result);
		holders->run_failed = TRUE;
	}
	holders_run(holders);
}

static void holders_start(struct holders *holders)
{
	timeout_remove(&holders->to);
	if (holders->set.refresh_secs > 0)
		userdb_client_list(holders->list, holders_listed, holders);
	else
		holders_run(holders);
}

static void holders_fresh(struct holders *holders)
{
	holders_finish(holders, TRUE);
}

bool holders_is_stale(const struct holders *holders)
{
	if (holders->names == NULL || ioloop_time < holders->stats.refreshed)
		return TRUE;
	return holders->set.refresh_secs > 0 &&
		ioloop_time - holders->stats.refreshed >=
		(time_t)holders->set.refresh_secs;
}

void holders_refresh(struct holders *holders, bool force,
		     holders_callback_t *callback, void *context)
{
	struct holders_waiter *waiter = array_append_space(&holders->waiters);

	waiter->callback = callback;
	waiter->context = context;
	if (holders->to != NULL || holders->run_pool != NULL)
		return;
	if (!force && !holders_is_stale(holders)) {
		holders->to = timeout_add_short(0, holders_fresh, holders);
		return;
	}
	holders->pos = 0;
	holders->run_failed = FALSE;
	holders->run_pool = pool_alloconly_create("holders", 4096);
	p_array_init(&holders->users, holders->run_pool, 64);
	p_array_init(&holders->found, holders->run_pool, 8);
	holders->to = timeout_add_short(0, holders_start, holders);
}

bool holders_get(struct holders *holders, const char *const **names_r)
{
	*names_r = holders->names != NULL ? holders->names :
		holders->set.audience->capability_users;
	return holders->names != NULL;
}

void holders_get_stats(const struct holders *holders,
		       struct holders_stats *stats_r)
{
	*stats_r = holders->stats;
	stats_r->pending = userdb_client_pending(holders->lookups);
}

/* Who is called back finds nothing of it closed yet, and gets no answer. */
void holders_deinit(struct holders **_holders)
{
	struct holders *holders = *_holders;

	if (holders == NULL)
		return;
	*_holders = NULL;
	userdb_client_deinit(&holders->list);
	userdb_client_deinit(&holders->lookups);
	if (array_count(&holders->waiters) > 0)
		holders_finish(holders, FALSE);
	i_assert(holders->to == NULL);
	array_free(&holders->waiters);
	pool_unref(&holders->pool);
	event_unref(&holders->event);
	i_free(holders);
}
