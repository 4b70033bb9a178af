/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "auth-common.h"
#include "hex-binary.h"
#include "hmac.h"
#include "ioloop.h"
#include "lib-event-private.h"
#include "passdb.h"
#include "randgen.h"
#include "safe-memset.h"
#include "dovecot-compat.h"
#include "core/login-reason.h"
#include "core/record.h"
#include "core/streak.h"
#include "auth-feed.h"
#include "auth-door.h"

/* Events are looked at when they are freed, as all are: to have them sent, a
   filter would have to want them, and Dovecot would compare each event with it
   and make messages that nobody reads. */

/* what the passdbs of a request said, enum login_seen; on its event */
#define DOOR_SEEN "cred_notify_seen"
/* times four keys of eight bytes are 512 KiB */
#define DOOR_STREAK_BUCKETS (16*1024)

/* In the program that loads us (dlsym() of our handle does not look there).
   Should a later one lack them, auth comes up all the same. */
extern bool worker __attribute__((weak));
struct auth *compat_auth_find(const char *name) __attribute__((weak));

const char *auth_cred_notify_version = DOVECOT_ABI_VERSION;

static struct {
	struct auth_feed *feed;
	/* NULL until somebody fails */
	struct streak_table *streaks;
	pool_t streak_pool;
	uint64_t streak_seed;
	/* with the key of this process */
	struct hmac_context hmac;
} door;

/*
 * Names that nobody has
 */

static const char *door_user_hash(const char *user)
{
	/* begun once: half of the work is in the key */
	struct hmac_context ctx = door.hmac;
	unsigned char hash[SHA256_RESULTLEN];

	hmac_update(&ctx, user, strlen(user));
	hmac_final(&ctx, hash);
	return binary_to_hex(hash, 16);
}

/*
 * Streaks: of a user, and of a user at one address. Who logs in from elsewhere
 * ends the first, but not the old phone's.
 */

static void door_streak_add(const char *user, const char *ip)
{
	if (door.streaks == NULL) {
		door.streaks = streak_table_create(door.streak_pool,
						   DOOR_STREAK_BUCKETS,
						   door.streak_seed);
	}
	streak_add(door.streaks, streak_key(door.streaks, user, NULL));
	if (ip != NULL)
		streak_add(door.streaks, streak_key(door.streaks, user, ip));
}

static bool door_streak_ends(const char *user, const char *ip)
{
	bool ends;

	ends = streak_take(door.streaks, streak_key(door.streaks, user, NULL));
	if (ip != NULL &&
	    streak_take(door.streaks, streak_key(door.streaks, user, ip)))
		ends = TRUE;
	return ends;
}

/*
 * Events
 */

static const char *door_field(struct event *event, const char *key)
{
	const char *value = event_find_field_recursive_str(event, key);

	/* a field that was cleared is still there */
	return value == NULL || *value == '\0' ? NULL : value;
}

/* The same of one event alone, for what is asked in each login. */
static const char *door_own_field(const struct event *event, const char *key)
{
	const struct event_field *field =
		event_find_field_nonrecursive(event, key);

	return field == NULL ||
		field->value_type != EVENT_FIELD_VALUE_TYPE_STR ||
		*field->value.str == '\0' ? NULL : field->value.str;
}

static enum login_seen door_seen(const struct event *request)
{
	const struct event_field *field =
		event_find_field_nonrecursive(request, DOOR_SEEN);

	return field == NULL ? 0 : field->value.intmax;
}

static bool
door_db_denies(const struct auth_passdb *db, unsigned int id, bool *deny_r)
{
	for (; db != NULL; db = db->next) {
		if (db->passdb->id == id) {
			*deny_r = db->set->deny;
			return TRUE;
		}
	}
	return FALSE;
}

/* The event does not say whether its passdb is a deny passdb. */
static bool
door_passdb_denies(const struct event *request, const struct event *lookup)
{
	const char *service =
		door_own_field(request, COMPAT_AUTH_EVENT_PROTOCOL);
	const char *id_text = door_own_field(lookup, "passdb_id");
	struct auth *auth;
	unsigned int id;
	bool deny = FALSE;

	if (compat_auth_find == NULL || id_text == NULL ||
	    str_to_uint(id_text, &id) < 0)
		return FALSE;
	auth = compat_auth_find(service == NULL ? "" : service);
	if (!door_db_denies(auth->masterdbs, id, &deny))
		(void)door_db_denies(auth->passdbs, id, &deny);
	return deny;
}

/* The event that is sent is a child of the lookup's, and that of the
   request's, which lives on until the request has finished. */
static void door_passdb_finished(struct event *event, const char *result)
{
	struct event *lookup = event->parent;
	struct event *request = lookup == NULL ? NULL : lookup->parent;

	if (request == NULL || !auth_feed_is_wanted(door.feed))
		return;
	event_add_int(request, DOOR_SEEN, login_seen_add(
		door_seen(request), result,
		door_passdb_denies(request, lookup),
		door_own_field(request, "login_user") != NULL));
}

static void door_fill(struct event *event, struct record *record)
{
	const char *ip = door_field(event, "remote_ip");

	record->time = ioloop_time;
	record->service = door_field(event, COMPAT_AUTH_EVENT_PROTOCOL);
	record->mechanism = door_field(event, "mechanism");
	record->session = door_field(event, "session");
	if (ip != NULL && net_addr2ip(ip, &record->ip) < 0)
		i_zero(&record->ip);
	/* before the master is known to be right, he is the user */
	record->master = door_field(event, "master_user");
	if (record->master == NULL && door_field(event, "login_user") != NULL)
		record->master = record->user;
}

static void door_login_failed(struct event *event, const char *user)
{
	enum login_seen seen = event->parent == NULL ? 0 :
		door_seen(event->parent);
	const char *error = door_own_field(event, "error");
	const char *policy = door_field(event, "policy_result");
	struct record record = {
		.kind = RECORD_LOGIN_FAIL,
		.user = user,
	};

	door_fill(event, &record);
	record.reason = login_reason(
		seen, record.mechanism,
		error != NULL && strcmp(error, "internal failure") == 0,
		policy != NULL && strcmp(policy, "refused") == 0);
	if (login_user_is_known(seen) && record_user_fits(user))
		door_streak_add(user, door_field(event, "remote_ip"));
	else {
		if (record.master == user)
			record.master = NULL;
		record.user = NULL;
		record.user_hash = door_user_hash(user);
	}
	record_drop_long(&record);
	auth_feed_send(door.feed, &record);
}

/* A master's login says that the master's password is right, no other's. */
static void door_login_worked(struct event *event, const char *user)
{
	const char *master = door_field(event, "master_user");
	struct record record = {
		.kind = RECORD_LOGIN_OK,
		.user = master != NULL ? master : user,
	};

	if (!door_streak_ends(record.user, door_field(event, "remote_ip")))
		return;
	door_fill(event, &record);
	record_drop_long(&record);
	auth_feed_send(door.feed, &record);
}

static bool
door_has_own(const struct event *event, const char *key, const char *value)
{
	const char *own = door_own_field(event, key);

	return own != NULL && (value == NULL || strcmp(own, value) == 0);
}

static void door_login_finished(struct event *event, bool worked)
{
	const char *user = door_field(event, "user");

	/* who has no name broke off, or never began */
	if (user == NULL)
		return;
	if (worked)
		door_login_worked(event, user);
	else if (auth_feed_is_wanted(door.feed))
		door_login_failed(event, user);
}

/* Its name has gone: it is known by what it has and what it belongs to. Of a
   login's own event there are no such children but auth_request_finished. */
static void door_freed(struct event *event)
{
	const char *result = door_own_field(event, "result");

	if (result != NULL) {
		/* not of a userdb */
		if (door_has_own(event->parent, "passdb_id", NULL))
			door_passdb_finished(event, result);
	} else if (!door_has_own(event->parent, "mechanism", NULL)) {
		/* not a login's */
	} else if (!door_has_own(event, "success", "yes")) {
		door_login_finished(event, FALSE);
	} else if (door.streaks != NULL && streak_count(door.streaks) > 0) {
		door_login_finished(event, TRUE);
	}
}

static bool
door_event(struct event *event, enum event_callback_type type,
	   struct failure_context *ctx ATTR_UNUSED,
	   const char *fmt ATTR_UNUSED, va_list args ATTR_UNUSED)
{
	if (type == EVENT_CALLBACK_TYPE_FREE && event->passthrough &&
	    event->parent != NULL) T_BEGIN {
		door_freed(event);
	} T_END;
	return TRUE;
}

/*
 * Module
 */

static const char *door_make_secrets(void)
{
	unsigned char key[SHA256_RESULTLEN], start[8];

	random_fill(key, sizeof(key));
	hmac_init(&door.hmac, key, sizeof(key), &hash_method_sha256);
	safe_memset(key, 0, sizeof(key));
	random_fill(&door.streak_seed, sizeof(door.streak_seed));
	random_fill(start, sizeof(start));
	return binary_to_hex(start, sizeof(start));
}

void auth_cred_notify_init(struct module *module ATTR_UNUSED)
{
	if (&worker != NULL && worker)
		return;
	door.streak_pool = pool_alloconly_create("cred-notify streaks", 1024);
	door.feed = auth_feed_init(RECORD_SOCKET, door_make_secrets());
	event_register_callback(door_event);
}

void auth_cred_notify_deinit(void)
{
	if (door.feed == NULL)
		return;
	event_unregister_callback(door_event);
	auth_feed_deinit(&door.feed);
	door.streaks = NULL;
	pool_unref(&door.streak_pool);
	i_zero(&door);
}
