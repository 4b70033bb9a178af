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

/* Every event of auth passes here twice, a dozen times in a login, and all but
   a few logins only end well. So what is done for those is next to nothing:

   - Events are looked at when they are freed, as all are: to have them sent, a
     filter would have to want them, and Dovecot would compare each event with
     it and make messages that nobody reads.
   - What a passdb said is worked out and noted only once it is needed: until
     then its event is held. Most often that is until the login ends well, which
     nobody asks of why. A note in each login would be one field more than fits
     into the memory of its event.
   - Whether a user has a streak at all is asked before all that costs more. */

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
	/* NULL, or the last lookup whose answer is not noted yet, held */
	struct event *lookup;
	enum login_seen answer;
	bool answer_of_master;
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
	uint64_t key;

	if (door.streaks == NULL) {
		door.streaks = streak_table_create(door.streak_pool,
						   DOOR_STREAK_BUCKETS,
						   door.streak_seed);
	}
	key = streak_key(door.streaks, user);
	streak_add(door.streaks, key);
	if (ip != NULL) {
		streak_add(door.streaks,
			   streak_key_at(door.streaks, key, ip));
	}
}

static bool door_streak_ends(uint64_t key, const char *ip)
{
	bool ends = streak_take(door.streaks, key);

	if (ip != NULL &&
	    streak_take(door.streaks, streak_key_at(door.streaks, key, ip)))
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
	const struct event_field *fields;
	unsigned int i, count;

	fields = event_get_fields(event, &count);
	for (i = 0; i < count; i++) {
		if (*fields[i].key == *key && strcmp(fields[i].key, key) == 0)
			break;
	}
	return i == count ||
		fields[i].value_type != EVENT_FIELD_VALUE_TYPE_STR ||
		*fields[i].value.str == '\0' ? NULL : fields[i].value.str;
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

static void door_forget(void)
{
	event_unref(&door.lookup);
}

/* The lookup's event is a child of the request's, which lives on until the
   request has finished. */
static void door_note(void)
{
	struct event *request;

	if (door.lookup == NULL)
		return;
	request = door.lookup->parent;
	event_add_int(request, DOOR_SEEN, login_seen_add(
		door_seen(request), door.answer,
		door_passdb_denies(request, door.lookup),
		door.answer_of_master));
	door_forget();
}

/* The event that is sent is a child of the lookup's. */
static void door_passdb_finished(struct event *event, const char *result)
{
	struct event *lookup = event->parent;

	if (lookup->parent == NULL || !auth_feed_is_wanted(door.feed))
		return;
	door_note();
	door.lookup = event_ref(lookup);
	door.answer = login_seen_answer(result);
	/* of a master who is right, it is soon gone */
	door.answer_of_master =
		door_own_field(lookup->parent, "login_user") != NULL;
}

static void
door_fill(struct event *request, const char *ip, struct record *record)
{
	record->time = ioloop_time;
	record->service = door_own_field(request, COMPAT_AUTH_EVENT_PROTOCOL);
	record->mechanism = door_own_field(request, "mechanism");
	record->session = door_own_field(request, "session");
	if (ip != NULL && net_addr2ip(ip, &record->ip) < 0)
		i_zero(&record->ip);
	/* before the master is known to be right, he is the user */
	record->master = door_own_field(request, "master_user");
	if (record->master == NULL &&
	    door_own_field(request, "login_user") != NULL)
		record->master = record->user;
}

static void door_tell_failed(struct event *event, const char *user)
{
	struct event *request = event->parent;
	enum login_seen seen = door_seen(request);
	const char *error = door_own_field(event, "error");
	const char *policy = door_own_field(event, "policy_result");
	const char *ip = door_field(request, "remote_ip");
	struct record record = {
		.kind = RECORD_LOGIN_FAIL,
		.user = user,
	};

	door_fill(request, ip, &record);
	record.reason = login_reason(
		seen, record.mechanism,
		error != NULL && strcmp(error, "internal failure") == 0,
		policy != NULL && strcmp(policy, "refused") == 0);
	if (login_user_is_known(seen) && record_user_fits(user))
		door_streak_add(user, ip);
	else {
		if (record.master == user)
			record.master = NULL;
		record.user = NULL;
		record.user_hash = door_user_hash(user);
	}
	record_drop_long(&record);
	auth_feed_send(door.feed, &record);
}

static void door_login_failed(struct event *event)
{
	const char *user = door_own_field(event->parent, "user");

	/* who has no name broke off, or never began */
	if (user == NULL || !auth_feed_is_wanted(door.feed))
		return;
	door_note();
	door_tell_failed(event, user);
}

static void door_tell_worked(struct event *request, const char *user)
{
	const char *ip = door_field(request, "remote_ip");
	struct record record = {
		.kind = RECORD_LOGIN_OK,
		.user = user,
	};

	door_fill(request, ip, &record);
	record_drop_long(&record);
	auth_feed_send(door.feed, &record);
}

/* A master's login says that the master's password is right, no other's. */
static void door_login_worked(struct event *request)
{
	const char *user;
	uint64_t key;

	if (door.lookup != NULL && door.lookup->parent == request)
		door_forget();
	if (door.streaks == NULL || streak_count(door.streaks) == 0)
		return;
	user = door_own_field(request, "master_user");
	if (user == NULL)
		user = door_own_field(request, "user");
	if (user == NULL)
		return;
	key = streak_key(door.streaks, user);
	if (streak_may_end(door.streaks, key) &&
	    door_streak_ends(key, door_field(request, "remote_ip")))
		door_tell_worked(request, user);
}

/* Its name has gone: it is known by what it has and what it belongs to. Of a
   login's own event there are no such children but auth_request_finished. */
static void door_freed(struct event *event)
{
	const char *result = door_own_field(event, "result");

	if (result != NULL) {
		/* not of a userdb */
		if (door_own_field(event->parent, "passdb_id") != NULL)
			door_passdb_finished(event, result);
	} else if (door_own_field(event->parent, "mechanism") == NULL) {
		/* not a login's */
	} else if (door_own_field(event, "success") != NULL) {
		door_login_worked(event->parent);
	} else {
		door_login_failed(event);
	}
}

/* Who calls has a data stack frame round it. */
static bool
door_event(struct event *event, enum event_callback_type type,
	   struct failure_context *ctx ATTR_UNUSED,
	   const char *fmt ATTR_UNUSED, va_list args ATTR_UNUSED)
{
	if (type == EVENT_CALLBACK_TYPE_FREE && event->passthrough &&
	    event->parent != NULL)
		door_freed(event);
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
	door_forget();
	auth_feed_deinit(&door.feed);
	door.streaks = NULL;
	pool_unref(&door.streak_pool);
	i_zero(&door);
}
