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
#include "core/ip-network.h"
#include "core/login-reason.h"
#include "core/record.h"
#include "core/streak.h"
#include "auth-feed.h"
#include "auth-door.h"

/* Every event of auth passes here twice, a dozen times in a login, and nearly
   all logins end well. So what is done for those is next to nothing:

   - Events are looked at when they are freed, as all are: to have them sent, a
     filter would have to want them, and Dovecot would compare each event with
     it and make messages that nobody reads.
   - What a passdb said is kept here, and is worked out and noted on the
     request's event only when another login comes in between, or when somebody
     asks for it: of a login that ends well, nobody does. A note in each would
     be one field more than fits into the memory that its event has.
   - Whether a user may have a streak is asked before all that costs more. */

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
	/* what a passdb said last, and to whose request; NULL = it is noted */
	struct event *request;
	unsigned int passdb_id;
	enum login_seen answer;
	bool master;
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
 * ends the first, but not the old phone's. Those from before we started, which
 * the service knows of, are of a user in one network.
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

static void door_watch(const char *user, const struct ip_addr *net)
{
	door_streak_add(user, net->family == 0 ? NULL : net_ip2addr(net));
}

static bool door_streak_ends_at(uint64_t key, const char *ip)
{
	return streak_take(door.streaks, streak_key_at(door.streaks, key, ip));
}

static bool door_streak_ends(uint64_t key, const char *ip)
{
	bool ends = streak_take(door.streaks, key);
	struct ip_addr addr;

	if (ip == NULL)
		return ends;
	if (door_streak_ends_at(key, ip))
		ends = TRUE;
	if (net_addr2ip(ip, &addr) < 0)
		return ends;
	addr = ip_network(&addr);
	return door_streak_ends_at(key, net_ip2addr(&addr)) || ends;
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

/* As strcmp(), which is further away than most keys are long. */
static inline bool door_key_is(const struct event_field *field, const char *key)
{
	const char *pos = field->key;

	while (*pos == *key && *pos != '\0')
		pos++, key++;
	return *pos == *key;
}

static const char *door_text(const struct event_field *field)
{
	return field->value_type != EVENT_FIELD_VALUE_TYPE_STR ||
		*field->value.str == '\0' ? NULL : field->value.str;
}

/* The same of one event alone, for what is asked in each login. */
static const char *door_own_field(const struct event *event, const char *key)
{
	const struct event_field *fields;
	unsigned int i, count;

	fields = event_get_fields(event, &count);
	for (i = 0; i < count; i++) {
		if (door_key_is(&fields[i], key))
			break;
	}
	return i == count ? NULL : door_text(&fields[i]);
}

struct door_names {
	const char *user;
	/* a master login's: before and after the master was right */
	const char *login_user, *master;
};

/* Who else is named is named after the user. A request has a dozen fields, and
   the user is one of the last. */
static void
door_get_names(const struct event *request, struct door_names *names_r)
{
	const struct event_field *fields;
	unsigned int i;

	i_zero(names_r);
	fields = event_get_fields(request, &i);
	while (i-- > 0 && names_r->user == NULL) {
		if (door_key_is(&fields[i], "user"))
			names_r->user = door_text(&fields[i]);
		else if (door_key_is(&fields[i], "login_user"))
			names_r->login_user = door_text(&fields[i]);
		else if (door_key_is(&fields[i], "master_user"))
			names_r->master = door_text(&fields[i]);
	}
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
static bool door_passdb_denies(const struct event *request, unsigned int id)
{
	const char *service =
		door_own_field(request, COMPAT_AUTH_EVENT_PROTOCOL);
	struct auth *auth;
	bool deny = FALSE;

	if (compat_auth_find == NULL)
		return FALSE;
	auth = compat_auth_find(service == NULL ? "" : service);
	if (!door_db_denies(auth->masterdbs, id, &deny))
		(void)door_db_denies(auth->passdbs, id, &deny);
	return deny;
}

static ATTR_COLD void door_note(void)
{
	enum login_seen seen;

	seen = login_seen_add(
		door_seen(door.request), door.answer,
		door_passdb_denies(door.request, door.passdb_id), door.master);
	event_add_int(door.request, DOOR_SEEN, seen);
	door.request = NULL;
}

/* The event that is sent is a child of the lookup's, and that of the
   request's, which lives on until the request has finished. */
static void door_passdb_finished(struct event *request, const char *id,
				 const char *result)
{
	struct door_names names;

	if (request == NULL || !auth_feed_is_wanted(door.feed))
		return;
	if (door.request != NULL)
		door_note();
	if (str_to_uint(id, &door.passdb_id) < 0)
		return;
	door.request = request;
	door.answer = login_seen_answer(result);
	/* of a master who is right, that is soon gone */
	door_get_names(request, &names);
	door.master = names.login_user != NULL;
}

static void
door_fill(struct event *request, const struct door_names *names,
	  const char *ip, struct record *record)
{
	record->time = ioloop_time;
	record->service = door_own_field(request, COMPAT_AUTH_EVENT_PROTOCOL);
	record->mechanism = door_own_field(request, "mechanism");
	record->session = door_own_field(request, "session");
	if (ip != NULL && net_addr2ip(ip, &record->ip) < 0)
		i_zero(&record->ip);
	/* before the master is known to be right, he is the user */
	record->master = names->master != NULL ? names->master :
		names->login_user != NULL ? names->user : NULL;
}

static ATTR_COLD void
door_tell_failed(struct event *event, const struct door_names *names)
{
	struct event *request = event->parent;
	enum login_seen seen = door_seen(request);
	const char *error = door_own_field(event, "error");
	const char *policy = door_own_field(event, "policy_result");
	const char *ip = door_field(request, "remote_ip");
	struct record record = {
		.kind = RECORD_LOGIN_FAIL,
		.user = names->user,
	};

	door_fill(request, names, ip, &record);
	record.reason = login_reason(
		seen, record.mechanism,
		error != NULL && strcmp(error, "internal failure") == 0,
		policy != NULL && strcmp(policy, "refused") == 0);
	if (login_user_is_known(seen) && record_user_fits(names->user))
		door_streak_add(names->user, ip);
	else {
		if (record.master == names->user)
			record.master = NULL;
		record.user = NULL;
		record.user_hash = door_user_hash(names->user);
	}
	record_drop_long(&record);
	auth_feed_send(door.feed, &record);
}

static void door_login_failed(struct event *event)
{
	struct door_names names;

	door_get_names(event->parent, &names);
	/* who has no name broke off, or never began */
	if (names.user == NULL || !auth_feed_is_wanted(door.feed))
		return;
	if (door.request != NULL)
		door_note();
	door_tell_failed(event, &names);
}

static ATTR_COLD void
door_tell_worked(struct event *request, const struct door_names *names)
{
	struct record record = {
		.kind = RECORD_LOGIN_OK,
		.user = names->master != NULL ? names->master : names->user,
	};

	door_fill(request, names, door_field(request, "remote_ip"), &record);
	record_drop_long(&record);
	auth_feed_send(door.feed, &record);
}

/* A master's login says that the master's password is right, no other's. */
static void door_login_worked(struct event *request)
{
	struct door_names names;
	uint64_t key;

	if (door.request == request)
		door.request = NULL;
	if (door.streaks == NULL || streak_count(door.streaks) == 0)
		return;
	door_get_names(request, &names);
	if (names.user == NULL)
		return;
	key = streak_key(door.streaks, names.master != NULL ? names.master :
			 names.user);
	if (streak_may_end(door.streaks, key) &&
	    door_streak_ends(key, door_field(request, "remote_ip")))
		door_tell_worked(request, &names);
}

/* Its name has gone: it is known by what it has and what it belongs to. Of a
   login's own event there are no such children but auth_request_finished. */
static __attribute__((noinline)) void door_freed(struct event *event)
{
	struct event *parent = event->parent;
	const char *result = door_own_field(event, "result"), *id;

	if (result != NULL) {
		id = door_own_field(parent, "passdb_id");
		/* not of a userdb */
		if (id != NULL)
			door_passdb_finished(parent->parent, id, result);
	} else if (door_own_field(parent, "mechanism") == NULL) {
		/* not a login's */
	} else if (door_own_field(event, "success") != NULL) {
		door_login_worked(parent);
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
	if (type != EVENT_CALLBACK_TYPE_FREE)
		return TRUE;
	if (event->passthrough && event->parent != NULL)
		door_freed(event);
	else if (event == door.request)
		door.request = NULL;
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
	door.feed = auth_feed_init(RECORD_SOCKET, door_make_secrets(),
				   door_watch);
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
