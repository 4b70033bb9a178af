/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "hash.h"
#include "llist.h"
#include "strfuncs.h"
#include "dovecot-compat.h"
#include "ip-network.h"
#include "notice.h"

#define MINUTE 60
#define HOUR (60*60)
#define DAY (24*60*60)
/* sessions remembered per subject */
#define ONCE_COUNT 4

/* In the order in which they have to go when there is no room. Told ones never
   have to: caps and forget_secs bound them. */
enum notice_list {
	/* anybody can make a login fail once */
	LIST_LOGIN_ONCE,
	LIST_LOGIN,
	LIST_ACCOUNT,
	LIST_TOLD,

	LIST_COUNT
};

struct notice_entry {
	struct notice_entry *prev, *next;
	enum notice_list list;
	char *key, *user, *account, *label;
	struct notice_state state;
	unsigned int once[ONCE_COUNT], once_next;
};

/* An address, and the users it failed for. */
struct notice_source {
	struct notice_source *prev, *next;
	struct ip_addr ip;
	unsigned int users[NOTICE_MAX_NETWORKS], users_count;
	time_t last;
};

/* A notice told: what the caps count. */
struct notice_telling {
	time_t time;
	unsigned int user;
};

struct notice_table {
	struct notice_limits limits;
	struct notice_stats stats;
	uint64_t next_incident;
	HASH_TABLE(char *, struct notice_entry *) entries;
	/* the one that was quiet for longest comes first */
	struct notice_entry *head[LIST_COUNT], *tail[LIST_COUNT];
	HASH_TABLE(struct ip_addr *, struct notice_source *) sources;
	struct notice_source *sources_head, *sources_tail;
	/* of the last day, oldest first; those before hour_idx are not of the
	   last hour */
	ARRAY(struct notice_telling) tellings;
	unsigned int hour_idx;
	/* how many of them are a user's: what is held back asks that again and
	   again */
	HASH_TABLE(void *, void *) user_tellings;
};

struct notice_table_iter {
	struct hash_iterate_context *ctx;
	struct notice_table *table;
};

/* What takes time and goes away by itself is told late. */
static const struct notice_limits default_limits = {
	.account = {
		[NOTICE_CLASS_CREDENTIAL] = { 3, 10*MINUTE, 2*DAY },
		[NOTICE_CLASS_USER_ACTION] = { 2, MINUTE, 2*DAY },
		[NOTICE_CLASS_TOKEN] = { 2, 5*MINUTE, 2*DAY },
		[NOTICE_CLASS_THROTTLED] = { 6, DAY, 2*DAY },
		[NOTICE_CLASS_SERVER] = { 5, 6*HOUR, DAY },
		[NOTICE_CLASS_NETWORK] = { 5, 2*HOUR, DAY },
		[NOTICE_CLASS_DNS] = { 4, HOUR, DAY },
		[NOTICE_CLASS_TLS] = { 3, 30*MINUTE, DAY },
		[NOTICE_CLASS_LOCAL] = { 5, HOUR, DAY },
	},
	.login = {
		[NOTICE_PATTERN_DEVICE] = { 5, 10*MINUTE, 6*HOUR },
		[NOTICE_PATTERN_ATTACK] = { 30, 10*MINUTE, 6*HOUR },
	},
	.attack_networks = 5,
	.attack_users = 5,
	.retry_secs = { 20, 20 },
	.settle_secs = { 0, 15*MINUTE },
	.digest_secs = DAY,
	.digest_again_secs = 7*DAY,
	.forget_secs = { 30*DAY, 2*DAY },
	.user_cap = 10,
	.global_cap = 1000,
	.max_subjects = 20000,
	.max_sources = 20000,
};

/* What is told over what: a graver trouble is news, a lesser one is not. */
static const struct {
	const char *name;
	unsigned int weight;
} classes[NOTICE_CLASS_COUNT] = {
	[NOTICE_CLASS_CREDENTIAL] = { "credential", 3 },
	[NOTICE_CLASS_USER_ACTION] = { "user_action", 3 },
	[NOTICE_CLASS_TOKEN] = { "token", 3 },
	[NOTICE_CLASS_THROTTLED] = { "throttled", 1 },
	[NOTICE_CLASS_SERVER] = { "server", 1 },
	[NOTICE_CLASS_NETWORK] = { "network", 1 },
	[NOTICE_CLASS_DNS] = { "dns", 1 },
	[NOTICE_CLASS_TLS] = { "tls", 2 },
	[NOTICE_CLASS_LOCAL] = { "local", 0 },
};

/* Which is said if several are due. */
static const enum notice_class class_order[NOTICE_CLASS_COUNT] = {
	NOTICE_CLASS_USER_ACTION, NOTICE_CLASS_TOKEN, NOTICE_CLASS_CREDENTIAL,
	NOTICE_CLASS_TLS, NOTICE_CLASS_DNS, NOTICE_CLASS_NETWORK,
	NOTICE_CLASS_SERVER, NOTICE_CLASS_THROTTLED, NOTICE_CLASS_LOCAL,
};

void notice_limits_default(struct notice_limits *limits_r)
{
	*limits_r = default_limits;
}

const char *notice_class_name(enum notice_class class)
{
	i_assert(class < NOTICE_CLASS_COUNT);
	return classes[class].name;
}

bool notice_class_parse(const char *name, enum notice_class *class_r)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(classes); i++) {
		if (strcmp(classes[i].name, name) == 0) {
			*class_r = i;
			return TRUE;
		}
	}
	return FALSE;
}

static const char *const kind_names[NOTICE_KIND_COUNT] = {
	[NOTICE_KIND_TROUBLE] = "trouble",
	[NOTICE_KIND_DIGEST] = "digest",
	[NOTICE_KIND_RECOVERY] = "recovery",
	[NOTICE_KIND_FORGOTTEN] = "forgotten",
};

const char *notice_kind_name(enum notice_kind kind)
{
	i_assert(kind < NOTICE_KIND_COUNT);
	return kind_names[kind];
}

static const char *const hint_names[NOTICE_HINT_COUNT] = {
	[NOTICE_HINT_NONE] = "",
	[NOTICE_HINT_APP_PASSWORD] = "app-password",
	[NOTICE_HINT_WEB_LOGIN] = "web-login",
	[NOTICE_HINT_ENABLE_IMAP] = "enable-imap",
	[NOTICE_HINT_CONSENT] = "consent",
	[NOTICE_HINT_BLOCKED] = "blocked",
	[NOTICE_HINT_EXPIRED] = "expired",
};

const char *notice_hint_name(enum notice_hint hint)
{
	i_assert(hint < NOTICE_HINT_COUNT);
	return hint_names[hint];
}

bool notice_hint_parse(const char *name, enum notice_hint *hint_r)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(hint_names); i++) {
		if (strcmp(hint_names[i], name) == 0) {
			*hint_r = i;
			return TRUE;
		}
	}
	return FALSE;
}

/*
 * Subjects
 */

static char *subject_key(const struct notice_subject *subject)
{
	return t_strdup_noconst(t_strdup_printf("%u\t%s\t%s", subject->origin,
						subject->user,
						subject->account));
}

/* A tab in a name would make two subjects one. */
static bool subject_is_valid(const struct notice_subject *subject)
{
	bool account = subject->origin == NOTICE_ORIGIN_ACCOUNT;

	return subject->origin < NOTICE_ORIGIN_COUNT &&
		strlen(subject->user) <= NOTICE_MAX_USER &&
		strlen(subject->account) <= NOTICE_MAX_ACCOUNT &&
		strpbrk(subject->user, "\t\r\n") == NULL &&
		strpbrk(subject->account, "\t\r\n") == NULL &&
		(*subject->account != '\0') == account &&
		(*subject->user != '\0' || account);
}

static void entry_unlink(struct notice_table *table, struct notice_entry *entry)
{
	DLLIST2_REMOVE(&table->head[entry->list], &table->tail[entry->list],
		       entry);
}

static enum notice_list entry_list(const struct notice_entry *entry)
{
	if (entry->state.phase != NOTICE_PHASE_COUNTING)
		return LIST_TOLD;
	if (entry->state.subject.origin == NOTICE_ORIGIN_ACCOUNT)
		return LIST_ACCOUNT;
	return entry->state.count > 1 ? LIST_LOGIN : LIST_LOGIN_ONCE;
}

/* It was heard of just now. */
static void entry_link(struct notice_table *table, struct notice_entry *entry)
{
	entry->list = entry_list(entry);
	DLLIST2_APPEND(&table->head[entry->list], &table->tail[entry->list],
		       entry);
}

static void entry_touch(struct notice_table *table, struct notice_entry *entry)
{
	entry_unlink(table, entry);
	entry_link(table, entry);
}

static void entry_free(struct notice_table *table, struct notice_entry *entry)
{
	entry_unlink(table, entry);
	hash_table_remove(table->entries, entry->key);
	i_free(entry->key);
	i_free(entry->user);
	i_free(entry->account);
	i_free(entry->label);
	i_free(entry);
}

static struct notice_entry *
entry_find(struct notice_table *table, const struct notice_subject *subject)
{
	struct notice_entry *entry;

	T_BEGIN {
		entry = hash_table_lookup(table->entries, subject_key(subject));
	} T_END;
	return entry;
}

/* Returns FALSE if nothing may go. */
static bool table_make_room(struct notice_table *table)
{
	unsigned int list;

	if (hash_table_count(table->entries) < table->limits.max_subjects)
		return TRUE;
	for (list = 0; list < LIST_TOLD; list++) {
		if (table->head[list] != NULL) {
			entry_free(table, table->head[list]);
			table->stats.evicted++;
			return TRUE;
		}
	}
	table->stats.refused++;
	return FALSE;
}

static void entry_set_label(struct notice_entry *entry, const char *label)
{
	if (null_strcmp(entry->label, label) == 0)
		return;
	i_free(entry->label);
	entry->label = i_strndup(label, NOTICE_MAX_LABEL);
	entry->state.label = entry->label;
}

/* Returns NULL if there is no room. */
static struct notice_entry *
entry_add(struct notice_table *table, const struct notice_subject *subject)
{
	struct notice_entry *entry;

	if (!table_make_room(table))
		return NULL;
	entry = i_new(struct notice_entry, 1);
	T_BEGIN {
		entry->key = i_strdup(subject_key(subject));
	} T_END;
	entry->user = i_strdup(subject->user);
	entry->account = i_strdup(subject->account);
	entry->state.subject.origin = subject->origin;
	entry->state.subject.user = entry->user;
	entry->state.subject.account = entry->account;
	entry_set_label(entry, "");
	hash_table_insert(table->entries, entry->key, entry);
	entry_link(table, entry);
	return entry;
}

/*
 * Addresses
 */

static struct ip_addr ip_source(const struct ip_addr *ip)
{
	return ip->family == AF_INET6 ? ip_network(ip) : *ip;
}

static void source_free(struct notice_table *table,
			struct notice_source *source)
{
	DLLIST2_REMOVE(&table->sources_head, &table->sources_tail, source);
	hash_table_remove(table->sources, &source->ip);
	i_free(source);
}

static struct notice_source *
source_get(struct notice_table *table, const struct ip_addr *ip)
{
	struct ip_addr key = ip_source(ip);
	struct notice_source *source = hash_table_lookup(table->sources, &key);

	if (source != NULL) {
		DLLIST2_REMOVE(&table->sources_head, &table->sources_tail,
			       source);
	} else {
		if (hash_table_count(table->sources) >=
		    table->limits.max_sources)
			source_free(table, table->sources_head);
		source = i_new(struct notice_source, 1);
		source->ip = key;
		hash_table_insert(table->sources, &source->ip, source);
	}
	DLLIST2_APPEND(&table->sources_head, &table->sources_tail, source);
	return source;
}

static unsigned int
source_find_user(const struct notice_source *source, unsigned int user)
{
	unsigned int i;

	for (i = 0; i < source->users_count; i++) {
		if (source->users[i] == user)
			break;
	}
	return i;
}

/* Returns TRUE if the address fails for too many users to be a device. */
static bool source_fails(struct notice_table *table,
			 const struct notice_fact *fact, time_t now)
{
	struct notice_source *source = source_get(table, &fact->ip);
	unsigned int user = str_hash(fact->subject.user);
	time_t window =
		table->limits.login[NOTICE_PATTERN_DEVICE].window_secs;

	if (now - source->last > window)
		source->users_count = 0;
	source->last = now;
	if (source_find_user(source, user) == source->users_count &&
	    source->users_count < table->limits.attack_users)
		source->users[source->users_count++] = user;
	return source->users_count >= table->limits.attack_users;
}

/* Who gets in from there is at home there: an office behind one address is no
   attacker. */
static void source_succeeds(struct notice_table *table,
			    const struct notice_fact *fact)
{
	struct ip_addr key = ip_source(&fact->ip);
	struct notice_source *source = hash_table_lookup(table->sources, &key);
	unsigned int i;

	if (source == NULL)
		return;
	i = source_find_user(source, str_hash(fact->subject.user));
	if (i < source->users_count)
		source->users[i] = source->users[--source->users_count];
}

static struct notice_network *
state_network(struct notice_state *state, const struct ip_addr *ip)
{
	struct ip_addr net = ip_network(ip);
	unsigned int i;

	for (i = 0; i < state->networks_count; i++) {
		if (net_ip_compare(&state->networks[i].net, &net))
			return &state->networks[i];
	}
	return NULL;
}

/* A new network takes the place of the one that was quiet for longest. */
static void
state_add_network(struct notice_state *state, const struct ip_addr *ip,
		  time_t now)
{
	struct notice_network *network = state_network(state, ip);
	unsigned int i;

	if (network == NULL && state->networks_count < NOTICE_MAX_NETWORKS)
		network = &state->networks[state->networks_count++];
	if (network == NULL) {
		network = &state->networks[0];
		for (i = 1; i < state->networks_count; i++) {
			if (state->networks[i].last < network->last)
				network = &state->networks[i];
		}
	}
	network->net = ip_network(ip);
	network->last = now;
}

static enum notice_pattern
state_pattern(const struct notice_table *table,
	      const struct notice_state *state, time_t now)
{
	time_t window =
		table->limits.login[NOTICE_PATTERN_DEVICE].window_secs;
	unsigned int i, active = 0;

	for (i = 0; i < state->networks_count; i++) {
		if (now - state->networks[i].last <= window)
			active++;
	}
	return active >= table->limits.attack_networks ?
		NOTICE_PATTERN_ATTACK : NOTICE_PATTERN_DEVICE;
}

/*
 * Counting
 */

static const struct notice_rule *
state_rule(const struct notice_table *table, const struct notice_state *state,
	   enum notice_class class, time_t now)
{
	if (state->subject.origin == NOTICE_ORIGIN_ACCOUNT)
		return &table->limits.account[class];
	return &table->limits.login[state_pattern(table, state, now)];
}

/* A session or run that was heard of, or a retry of the last failure. */
static bool
entry_is_repeated(const struct notice_table *table, struct notice_entry *entry,
		  const struct notice_fact *fact, time_t now)
{
	const struct notice_tally *tally = &entry->state.tallies[fact->class];
	unsigned int retry = table->limits.retry_secs[fact->subject.origin];
	unsigned int i, once = str_hash(fact->once);
	bool repeated = FALSE;

	if (*fact->once != '\0') {
		for (i = 0; i < ONCE_COUNT; i++) {
			if (entry->once[i] == once)
				repeated = TRUE;
		}
		entry->once[entry->once_next++ % ONCE_COUNT] = once;
	}
	return repeated || (tally->count > 0 && now >= tally->last &&
			    now - tally->last < (time_t)retry);
}

static void
state_count(const struct notice_table *table, struct notice_state *state,
	    enum notice_class class, time_t now)
{
	struct notice_tally *tally = &state->tallies[class];
	const struct notice_rule *rule = state_rule(table, state, class, now);

	/* a clock that was set back starts anew, too */
	if (tally->count == 0 || now < tally->last ||
	    now - tally->last > (time_t)rule->window_secs) {
		tally->count = 0;
		tally->first = now;
	}
	tally->count++;
	tally->last = now;
	if (state->count++ == 0)
		state->first_time = now;
	state->last_time = now;
	state->ok_time = 0;
}

static bool
state_is_due(const struct notice_table *table, const struct notice_state *state,
	     enum notice_class class, time_t now)
{
	const struct notice_tally *tally = &state->tallies[class];
	const struct notice_rule *rule = state_rule(table, state, class, now);

	return rule->count > 0 && tally->count >= rule->count &&
		tally->last - tally->first >= (time_t)rule->span_secs &&
		now - tally->last <= (time_t)rule->window_secs;
}

/* Returns FALSE if there is nothing to say. */
static bool
state_due_class(const struct notice_table *table,
		const struct notice_state *state, time_t now,
		enum notice_class *class_r)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(class_order); i++) {
		if (state_is_due(table, state, class_order[i], now)) {
			*class_r = class_order[i];
			return TRUE;
		}
	}
	return FALSE;
}

static bool
state_is_graver(const struct notice_state *state, enum notice_class class,
		enum notice_pattern pattern)
{
	if (state->subject.origin == NOTICE_ORIGIN_LOGIN)
		return pattern > state->told_pattern;
	return classes[class].weight > classes[state->told_class].weight;
}

static bool
state_wants_digest(const struct notice_table *table,
		   const struct notice_state *state, time_t now)
{
	unsigned int secs = state->phase == NOTICE_PHASE_TOLD ?
		table->limits.digest_secs : table->limits.digest_again_secs;

	return !state->acked && state->count > state->told_count &&
		now - state->told_time >= (time_t)secs;
}

/*
 * Telling
 */

/* Accounts without owner are counted one by one. */
static unsigned int cap_user(const struct notice_subject *subject)
{
	unsigned int user = str_hash(*subject->user != '\0' ? subject->user :
				     subject->account);

	/* as a pointer, 0 is none */
	return user == 0 ? 1 : user;
}

static unsigned int
table_of_user(const struct notice_table *table, unsigned int user)
{
	return POINTER_CAST_TO(hash_table_lookup(table->user_tellings,
						 POINTER_CAST(user)),
			       unsigned int);
}

static void table_set_of_user(struct notice_table *table, unsigned int user,
			      unsigned int count)
{
	if (count == 0) {
		hash_table_remove(table->user_tellings, POINTER_CAST(user));
	} else {
		hash_table_update(table->user_tellings, POINTER_CAST(user),
				  POINTER_CAST(count));
	}
}

static void table_drop_old_tellings(struct notice_table *table, time_t now)
{
	const struct notice_telling *telling;
	unsigned int old = 0;

	array_foreach(&table->tellings, telling) {
		if (telling->time <= now && now - telling->time < DAY)
			break;
		table_set_of_user(table, telling->user,
				  table_of_user(table, telling->user) - 1);
		old++;
	}
	array_delete(&table->tellings, 0, old);
	table->hour_idx -= I_MIN(table->hour_idx, old);
}

static bool
table_is_of_hour(const struct notice_table *table, unsigned int idx, time_t now)
{
	const struct notice_telling *telling =
		array_idx(&table->tellings, idx);

	return now - telling->time < HOUR;
}

/* From where it was: a step or two, unless the clock was set. */
static unsigned int table_of_hour(struct notice_table *table, time_t now)
{
	unsigned int count = array_count(&table->tellings);

	while (table->hour_idx > 0 &&
	       table_is_of_hour(table, table->hour_idx - 1, now))
		table->hour_idx--;
	while (table->hour_idx < count &&
	       !table_is_of_hour(table, table->hour_idx, now))
		table->hour_idx++;
	return count - table->hour_idx;
}

static bool
table_may_tell(struct notice_table *table,
	       const struct notice_subject *subject, time_t now)
{
	table_drop_old_tellings(table, now);
	if (table_of_hour(table, now) < table->limits.global_cap &&
	    table_of_user(table, cap_user(subject)) < table->limits.user_cap)
		return TRUE;
	table->stats.held++;
	return FALSE;
}

static void table_add_telling(struct notice_table *table,
			      const struct notice_subject *subject, time_t now)
{
	struct notice_telling *telling = array_append_space(&table->tellings);

	telling->time = now;
	telling->user = cap_user(subject);
	table_set_of_user(table, telling->user,
			  table_of_user(table, telling->user) + 1);
}

static void
notice_append(const struct notice_state *state, enum notice_kind kind,
	      pool_t pool, ARRAY_TYPE(notice) *notices)
{
	struct notice *notice = array_append_space(notices);

	notice->kind = kind;
	notice->state = *state;
	notice->state.subject.user = p_strdup(pool, state->subject.user);
	notice->state.subject.account = p_strdup(pool, state->subject.account);
	notice->state.label = p_strdup(pool, state->label);
	notice->new_count = state->count - state->told_count;
}

/* where notices go, and when */
struct notice_output {
	time_t now;
	pool_t pool;
	ARRAY_TYPE(notice) *notices;
};

static void
entry_tell(struct notice_table *table, struct notice_entry *entry,
	   enum notice_kind kind, const struct notice_output *output)
{
	struct notice_state *state = &entry->state;

	state->said++;
	state->told_time = output->now;
	state->phase = kind == NOTICE_KIND_DIGEST ? NOTICE_PHASE_COOLING :
		NOTICE_PHASE_TOLD;
	if (kind != NOTICE_KIND_RECOVERY)
		table_add_telling(table, &state->subject, output->now);
	notice_append(state, kind, output->pool, output->notices);
	state->told_count = state->count;
	entry_touch(table, entry);
}

static void
entry_tell_trouble(struct notice_table *table, struct notice_entry *entry,
		   enum notice_class class, const struct notice_output *output)
{
	struct notice_state *state = &entry->state;
	enum notice_pattern pattern = state_pattern(table, state, output->now);

	if (state->phase != NOTICE_PHASE_COUNTING &&
	    !state_is_graver(state, class, pattern))
		return;
	if (!table_may_tell(table, &state->subject, output->now))
		return;
	state->told_class = class;
	state->told_pattern = pattern;
	/* what was acknowledged was the lesser trouble */
	state->acked = FALSE;
	entry_tell(table, entry, NOTICE_KIND_TROUBLE, output);
}

static void
entry_judge(struct notice_table *table, struct notice_entry *entry,
	    const struct notice_output *output)
{
	struct notice_state *state = &entry->state;
	enum notice_class class;
	unsigned int said = state->said;

	if (state_due_class(table, state, output->now, &class))
		entry_tell_trouble(table, entry, class, output);
	if (state->said == said && state->phase != NOTICE_PHASE_COUNTING &&
	    state_wants_digest(table, state, output->now) &&
	    table_may_tell(table, &state->subject, output->now))
		entry_tell(table, entry, NOTICE_KIND_DIGEST, output);
}

static void
entry_resolve(struct notice_table *table, struct notice_entry *entry,
	      const struct notice_output *output)
{
	if (entry->state.phase != NOTICE_PHASE_COUNTING)
		entry_tell(table, entry, NOTICE_KIND_RECOVERY, output);
	else {
		notice_append(&entry->state, NOTICE_KIND_FORGOTTEN,
			      output->pool, output->notices);
	}
	entry_free(table, entry);
}

/* Returns TRUE if the subject is quiet now. */
static bool
entry_settle(struct notice_table *table, struct notice_entry *entry,
	     const struct notice_output *output)
{
	const struct notice_state *state = &entry->state;
	enum notice_origin origin = state->subject.origin;

	if (state->ok_time == 0 || output->now - state->ok_time <
	    (time_t)table->limits.settle_secs[origin])
		return FALSE;
	entry_resolve(table, entry, output);
	return TRUE;
}

/*
 * Facts
 */

static bool
table_success(struct notice_table *table, const struct notice_fact *fact,
	      const struct notice_output *output)
{
	struct notice_entry *entry = entry_find(table, &fact->subject);
	bool login = fact->subject.origin == NOTICE_ORIGIN_LOGIN;

	if (login && fact->ip.family != 0)
		source_succeeds(table, fact);
	if (entry == NULL)
		return FALSE;
	/* a success elsewhere says nothing of the device that fails */
	if (login && fact->ip.family != 0 && entry->state.networks_count > 0 &&
	    state_network(&entry->state, &fact->ip) == NULL)
		return FALSE;
	if (entry->state.ok_time == 0)
		entry->state.ok_time = output->now;
	(void)entry_settle(table, entry, output);
	return TRUE;
}

static void
entry_fail(struct notice_table *table, struct notice_entry *entry,
	   const struct notice_fact *fact, const struct notice_output *output)
{
	struct notice_state *state = &entry->state;

	if (state->incident == 0)
		state->incident = table->next_incident++;
	entry_set_label(entry, fact->label);
	if (fact->hint != NOTICE_HINT_NONE)
		state->hint = fact->hint;
	i_strocpy(state->protocol, t_strndup(fact->protocol,
					     NOTICE_MAX_PROTOCOL),
		  sizeof(state->protocol));
	if (fact->ip.family != 0)
		state_add_network(state, &fact->ip, output->now);
	state_count(table, state, fact->class, output->now);
	table->stats.counted++;
	entry_touch(table, entry);
	entry_judge(table, entry, output);
}

static bool
table_failure(struct notice_table *table, const struct notice_fact *fact,
	      const struct notice_output *output)
{
	struct notice_entry *entry;

	if (fact->subject.origin == NOTICE_ORIGIN_LOGIN &&
	    fact->ip.family != 0 && source_fails(table, fact, output->now)) {
		table->stats.hostile++;
		return FALSE;
	}
	entry = entry_find(table, &fact->subject);
	if (entry == NULL)
		entry = entry_add(table, &fact->subject);
	if (entry == NULL)
		return FALSE;
	if (entry_is_repeated(table, entry, fact, output->now)) {
		/* it still fails */
		entry->state.ok_time = 0;
		table->stats.repeated++;
		return FALSE;
	}
	T_BEGIN {
		entry_fail(table, entry, fact, output);
	} T_END;
	return TRUE;
}

/* Faults of ours at a local login are the admin's, and in the log. */
static bool fact_is_valid(const struct notice_fact *fact)
{
	if (!subject_is_valid(&fact->subject) ||
	    fact->class >= NOTICE_CLASS_COUNT ||
	    fact->hint >= NOTICE_HINT_COUNT)
		return FALSE;
	return fact->success ||
		fact->subject.origin == NOTICE_ORIGIN_ACCOUNT ||
		fact->class == NOTICE_CLASS_CREDENTIAL ||
		fact->class == NOTICE_CLASS_USER_ACTION;
}

bool notice_table_fact(struct notice_table *table,
		       const struct notice_fact *fact, time_t now, pool_t pool,
		       ARRAY_TYPE(notice) *notices)
{
	const struct notice_output output = { now, pool, notices };

	if (!fact_is_valid(fact)) {
		table->stats.invalid++;
		return FALSE;
	}
	return fact->success ? table_success(table, fact, &output) :
		table_failure(table, fact, &output);
}

/*
 * Time
 */

/* Returns TRUE if nothing of it can ever become a notice, or was heard of one
   for too long. */
static bool
state_is_stale(const struct notice_table *table,
	       const struct notice_state *state, time_t now)
{
	unsigned int i;

	if (state->phase != NOTICE_PHASE_COUNTING) {
		return now - state->last_time >
			(time_t)table->limits.forget_secs[
				state->subject.origin];
	}
	for (i = 0; i < NOTICE_CLASS_COUNT; i++) {
		if (state->tallies[i].count > 0 &&
		    now - state->tallies[i].last <=
		    (time_t)state_rule(table, state, i, now)->window_secs)
			return FALSE;
	}
	return TRUE;
}

static void
entry_tick(struct notice_table *table, struct notice_entry *entry,
	   const struct notice_output *output)
{
	if (entry_settle(table, entry, output))
		return;
	if (state_is_stale(table, &entry->state, output->now)) {
		notice_append(&entry->state, NOTICE_KIND_FORGOTTEN,
			      output->pool, output->notices);
		entry_free(table, entry);
	} else if (entry->state.ok_time == 0)
		entry_judge(table, entry, output);
}

/* The told ones first: an entry that is told now moves to their list. */
void notice_table_tick(struct notice_table *table, time_t now, pool_t pool,
		       ARRAY_TYPE(notice) *notices)
{
	const struct notice_output output = { now, pool, notices };
	struct notice_entry *entry, *next, *last;
	unsigned int list;

	for (list = LIST_COUNT; list-- > 0; ) {
		last = table->tail[list];
		for (entry = table->head[list]; entry != NULL; entry = next) {
			next = entry == last ? NULL : entry->next;
			entry_tick(table, entry, &output);
		}
	}
}

/*
 * Commands, journal
 */

bool notice_table_ack(struct notice_table *table,
		      const struct notice_subject *subject)
{
	struct notice_entry *entry = entry_find(table, subject);

	if (entry == NULL || entry->state.phase == NOTICE_PHASE_COUNTING)
		return FALSE;
	entry->state.acked = TRUE;
	return TRUE;
}

bool notice_table_clear(struct notice_table *table,
			const struct notice_subject *subject, pool_t pool,
			ARRAY_TYPE(notice) *notices)
{
	struct notice_entry *entry = entry_find(table, subject);

	if (entry == NULL)
		return FALSE;
	notice_append(&entry->state, NOTICE_KIND_FORGOTTEN, pool, notices);
	entry_free(table, entry);
	return TRUE;
}

const struct notice_state *
notice_table_find(struct notice_table *table,
		  const struct notice_subject *subject)
{
	struct notice_entry *entry = entry_find(table, subject);

	return entry == NULL ? NULL : &entry->state;
}

static bool state_is_valid(const struct notice_state *state)
{
	return subject_is_valid(&state->subject) &&
		state->phase < NOTICE_PHASE_COUNT &&
		state->told_class < NOTICE_CLASS_COUNT &&
		state->told_pattern < NOTICE_PATTERN_COUNT &&
		state->hint < NOTICE_HINT_COUNT &&
		state->networks_count <= NOTICE_MAX_NETWORKS &&
		state->told_count <= state->count && state->incident != 0 &&
		state->incident < UINT64_MAX;
}

bool notice_table_restore(struct notice_table *table,
			  const struct notice_state *state)
{
	struct notice_entry *entry;
	struct notice_subject subject;

	if (!state_is_valid(state))
		return FALSE;
	entry = entry_find(table, &state->subject);
	if (entry == NULL)
		entry = entry_add(table, &state->subject);
	if (entry == NULL)
		return FALSE;
	subject = entry->state.subject;
	entry->state = *state;
	entry->state.subject = subject;
	entry_set_label(entry, state->label);
	entry->state.label = entry->label;
	if (state->incident >= table->next_incident)
		table->next_incident = state->incident + 1;
	entry_touch(table, entry);
	return TRUE;
}

void notice_table_logins(const struct notice_table *table, unsigned int max,
			 ARRAY_TYPE(const_notice_state) *states)
{
	const struct notice_entry *entry;
	const struct notice_state *state;
	unsigned int list;

	for (list = LIST_COUNT; list-- > 0; ) {
		for (entry = table->tail[list]; entry != NULL;
		     entry = entry->prev) {
			if (array_count(states) >= max)
				return;
			state = &entry->state;
			if (state->subject.origin == NOTICE_ORIGIN_LOGIN)
				array_push_back(states, &state);
		}
	}
}

struct notice_table_iter *notice_table_iter_init(struct notice_table *table)
{
	struct notice_table_iter *iter = i_new(struct notice_table_iter, 1);

	iter->table = table;
	iter->ctx = hash_table_iterate_init(table->entries);
	return iter;
}

const struct notice_state *
notice_table_iter_next(struct notice_table_iter *iter)
{
	struct notice_entry *entry;
	char *key;

	if (!hash_table_iterate(iter->ctx, iter->table->entries, &key, &entry))
		return NULL;
	return &entry->state;
}

void notice_table_iter_deinit(struct notice_table_iter **_iter)
{
	struct notice_table_iter *iter = *_iter;

	*_iter = NULL;
	hash_table_iterate_deinit(&iter->ctx);
	i_free(iter);
}

const struct notice_stats *notice_table_stats(const struct notice_table *table)
{
	return &table->stats;
}

unsigned int notice_table_count(const struct notice_table *table)
{
	return hash_table_count(table->entries);
}

/* The hash tables take a node per entry, and as many buckets again. */
size_t notice_table_max_bytes(const struct notice_limits *limits)
{
	const size_t node = 6 * sizeof(void *);
	const size_t subject = sizeof(struct notice_entry) + node +
		2 * (NOTICE_MAX_USER + NOTICE_MAX_ACCOUNT + 4) +
		NOTICE_MAX_LABEL + 1;
	const size_t source = sizeof(struct notice_source) + node;

	return limits->max_subjects * subject + limits->max_sources * source +
		(size_t)limits->global_cap * 25 *
		(sizeof(struct notice_telling) * 2 + node);
}

struct notice_table *
notice_table_init(const struct notice_limits *limits, uint64_t first_incident)
{
	struct notice_table *table = i_new(struct notice_table, 1);

	i_assert(limits->attack_networks <= NOTICE_MAX_NETWORKS);
	i_assert(limits->attack_users <= NOTICE_MAX_NETWORKS);
	i_assert(limits->max_subjects > 0 && limits->max_sources > 0);
	i_assert(first_incident > 0);

	table->limits = *limits;
	table->next_incident = first_incident;
	hash_table_create(&table->entries, default_pool, 0, str_hash, strcmp);
	hash_table_create(&table->sources, default_pool, 0, net_ip_hash,
			  net_ip_cmp);
	i_array_init(&table->tellings, 64);
	hash_table_create_direct(&table->user_tellings, default_pool, 0);
	return table;
}

void notice_table_deinit(struct notice_table **_table)
{
	struct notice_table *table = *_table;
	unsigned int list;

	*_table = NULL;
	for (list = 0; list < LIST_COUNT; list++) {
		while (table->head[list] != NULL)
			entry_free(table, table->head[list]);
	}
	while (table->sources_head != NULL)
		source_free(table, table->sources_head);
	hash_table_destroy(&table->entries);
	hash_table_destroy(&table->sources);
	array_free(&table->tellings);
	hash_table_destroy(&table->user_tellings);
	i_free(table);
}
