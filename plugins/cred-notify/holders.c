/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "ioloop.h"
#include "strnum.h"
#include "time-util.h"
#include "auth-master.h"
#include "dovecot-compat.h"
#include "holders.h"

/* A lookup that takes longer is of an auth process that hangs. One that lost
   its LDAP server says so after 4 to 7 seconds. We must not be gone by then:
   that of Dovecot 2.4.1 crashes if it has nobody to answer. */
#define LOOKUP_TIMEOUT_MSECS 8000
/* Failure after more than this is of all users, not of one: that is said with
   a delay of up to 3 seconds. */
#define SLOW_MSECS 3500
/* then it is left alone so long */
#define DOWN_SECS 10
/* users that are looked up in one go */
#define PORTION 200
#define PORTION_MSECS 5

struct holders_waiter {
	holders_callback_t *callback;
	void *context;
};

struct holders {
	struct holders_settings set;
	struct event *event;
	struct auth_master_connection *auth;
	time_t down_until;

	/* candidates, NULL-terminated; NULL = not known */
	pool_t pool;
	const char *const *names;
	struct holders_stats stats;

	/* while all are looked at: all users, those who hold it, and how far
	   we are */
	pool_t run_pool;
	ARRAY_TYPE(const_string) users, found;
	unsigned int pos;
	struct timeout *to;
	ARRAY(struct holders_waiter) waiters;
};

struct holders *
holders_init(const struct holders_settings *set, struct event *event_parent)
{
	struct holders *holders = i_new(struct holders, 1);

	holders->set = *set;
	holders->event = event_create(event_parent);
	event_set_append_log_prefix(holders->event, "userdb: ");
	i_array_init(&holders->waiters, 4);
	holders->auth = auth_master_init(
		t_strconcat(set->base_dir, "/auth-userdb", NULL), 0);
	auth_master_set_timeout(holders->auth, LOOKUP_TIMEOUT_MSECS);
	return holders;
}

void holders_deinit(struct holders **_holders)
{
	struct holders *holders = *_holders;

	if (holders == NULL)
		return;
	*_holders = NULL;
	timeout_remove(&holders->to);
	auth_master_deinit(&holders->auth);
	array_free(&holders->waiters);
	pool_unref(&holders->run_pool);
	pool_unref(&holders->pool);
	event_unref(&holders->event);
	i_free(holders);
}

/*
 * One user
 */

static bool holders_is_down(struct holders *holders)
{
	return ioloop_time < holders->down_until;
}

static void holders_set_down(struct holders *holders, const char *what)
{
	/* the clock stood still while we waited */
	io_loop_time_refresh();
	e_error(holders->event, "%s failed: left alone for %u seconds", what,
		DOWN_SECS);
	holders->down_until = ioloop_time + DOWN_SECS;
	holders->stats.failed++;
}

/* -1: auth did not answer, -2: it said that it failed */
static void
holders_lookup_failed(struct holders *holders, int ret,
		      const struct timeval *start)
{
	io_loop_time_refresh();
	if (ret == -1 ||
	    timeval_diff_msecs(&ioloop_timeval, start) > SLOW_MSECS)
		holders_set_down(holders, "lookup");
}

static uid_t fields_uid(const char *const *fields)
{
	uid_t uid;

	for (; *fields != NULL; fields++) {
		if (strncmp(*fields, "uid=", 4) == 0 &&
		    str_to_uid(*fields + 4, &uid) == 0)
			return uid;
	}
	return (uid_t)-1;
}

int holders_lookup(struct holders *holders, pool_t pool, const char *name,
		   struct holders_user *user_r)
{
	const struct auth_user_info info = {
		.compat_auth_user_info_protocol = "cred-notify",
	};
	const char *const *fields, *username;
	struct timeval start = ioloop_timeval;
	int ret;

	i_zero(user_r);
	if (holders_is_down(holders))
		return -1;
	holders->stats.lookups++;
	ret = auth_master_user_lookup(holders->auth, name, &info, pool,
				      &username, &fields);
	if (ret < 0)
		holders_lookup_failed(holders, ret, &start);
	if (ret <= 0)
		return ret < 0 ? -1 : 0;
	audience_user_parse(pool, holders->set.audience, username, fields,
			    &user_r->audience);
	user_r->uid = fields_uid(fields);
	return 1;
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

/* Returns FALSE if the userdb does not answer. */
static bool holders_look(struct holders *holders, const char *name)
{
	struct holders_user user;
	pool_t pool = pool_alloconly_create("holders user", 1024);
	int ret;

	T_BEGIN {
		ret = holders_lookup(holders, pool, name, &user);
		if (ret > 0 && user.audience.holds_capability)
			holders_add(holders, user.audience.name);
	} T_END;
	pool_unref(&pool);
	/* trouble with one user must not hide the others */
	return ret >= 0 || !holders_is_down(holders);
}

static void holders_portion(struct holders *holders)
{
	unsigned int end = holders->pos + PORTION;

	end = I_MIN(end, array_count(&holders->users));
	for (; holders->pos < end; holders->pos++) {
		const char *const *name =
			array_idx(&holders->users, holders->pos);

		if (!holders_look(holders, *name)) {
			holders_finish(holders, FALSE);
			return;
		}
	}
	if (end == array_count(&holders->users))
		holders_succeed(holders);
}

static int holders_list(struct holders *holders)
{
	const struct auth_user_info info = {
		.compat_auth_user_info_protocol = "cred-notify",
	};
	struct auth_master_user_list_ctx *ctx;
	const char *name;

	if (holders_is_down(holders))
		return -1;
	/* an empty mask was once answered with nobody */
	ctx = auth_master_user_list_init(holders->auth, "*", &info);
	while ((name = auth_master_user_list_next(ctx)) != NULL) {
		name = p_strdup(holders->run_pool, name);
		array_push_back(&holders->users, &name);
	}
	if (auth_master_user_list_deinit(&ctx) < 0) {
		holders_set_down(holders, "listing users");
		return -1;
	}
	return 0;
}

static void holders_start(struct holders *holders)
{
	timeout_remove(&holders->to);
	if (holders->set.refresh_secs > 0 && holders_list(holders) < 0) {
		holders_finish(holders, FALSE);
		return;
	}
	holders->to = timeout_add_short(PORTION_MSECS, holders_portion,
					holders);
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
	if (holders->to != NULL)
		return;
	if (!force && !holders_is_stale(holders)) {
		holders->to = timeout_add_short(0, holders_fresh, holders);
		return;
	}
	holders->pos = 0;
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
}
