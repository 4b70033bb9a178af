/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "ioloop.h"
#include "dovecot-compat.h"
#include "service-private.h"

/* Who is told of a notice. Userdb is asked for all who may be, then they are
   told: what it said last, and of how many it said nothing, is in the plan. */

/* notices that userdb is asked for at one time */
#define MAX_PLANS 50
/* who holds the capability is looked for again, if nobody does */
#define NOBODY_RETRY_SECS 60

/* what userdb says of one user */
struct plan_answer {
	struct service_plan *plan;
	const char *name;
	bool known;
	/* as of holders_lookup_callback_t */
	int ret;
	struct holders_user user;
};

struct service_plan {
	pool_t pool;
	struct cred_service *service;
	/* the notice: it may be gone when userdb answers */
	uint64_t incident;
	unsigned int said;

	ARRAY(struct plan_answer *) answers;
	/* of them, not known yet */
	unsigned int asked;
};

/* somebody who is to be told, and by which channels */
struct plan_target {
	struct audience_user user;
	unsigned int tells;
};
ARRAY_DEFINE_TYPE(plan_target, struct plan_target);

/* as far as one can see by now */
enum plan_result {
	/* all targets are known */
	PLAN_WHOLE,
	/* those that are known may be told; the others have to wait */
	PLAN_PART,
	/* userdb is being asked */
	PLAN_ASKED,
};

static void plan_go_on(struct service_plan *plan);

/*
 * Userdb
 */

static void
plan_answered(int ret, const struct holders_user *user, void *context)
{
	struct plan_answer *answer = context;
	struct service_plan *plan = answer->plan;

	answer->known = TRUE;
	answer->ret = ret;
	if (ret > 0)
		answer->user = *user;
	if (--plan->asked == 0)
		plan_go_on(plan);
}

/* What userdb says of a user; it is asked if it was not before. Returns NULL if
   that is not known yet. */
static const struct plan_answer *
plan_ask(struct service_plan *plan, const char *name)
{
	struct plan_answer *const *found, *answer;

	array_foreach(&plan->answers, found) {
		if (strcmp((*found)->name, name) == 0)
			return (*found)->known ? *found : NULL;
	}
	answer = p_new(plan->pool, struct plan_answer, 1);
	answer->plan = plan;
	answer->name = p_strdup(plan->pool, name);
	array_push_back(&plan->answers, &answer);
	plan->asked++;
	holders_lookup(plan->service->holders, plan->pool, answer->name,
		       plan_answered, answer);
	return NULL;
}

/*
 * Who
 */

/* name: what the user is called here; userdb may write it in another way */
static unsigned int
plan_target(struct service_plan *plan, const struct outbox_item *item,
	    const struct plan_answer *answer, const char *name,
	    ARRAY_TYPE(plan_target) *targets)
{
	struct plan_target target = { .user = answer->user.audience };

	target.user.name = name;
	target.tells = cred_service_item_tells(plan->service, item,
					       &target.user);
	if (target.tells != 0)
		array_push_back(targets, &target);
	return target.tells;
}

static enum plan_result
plan_owner(struct service_plan *plan, struct outbox_item *item,
	   ARRAY_TYPE(plan_target) *targets)
{
	const char *owner = item->notice.state.subject.user;
	const struct plan_answer *answer = NULL;
	unsigned int tells;

	if (*owner != '\0') {
		answer = plan_ask(plan, owner);
		if (answer == NULL)
			return PLAN_ASKED;
		if (answer->ret < 0)
			return PLAN_PART;
	}
	item->groups = audience_groups(&item->notice,
				       answer != NULL && answer->ret > 0);
	if ((item->groups & AUDIENCE_GROUP_OWNER) == 0)
		return PLAN_WHOLE;
	tells = plan_target(plan, item, answer, owner, targets);
	if (!audience_is_reachable(&item->notice, tells))
		item->groups |= AUDIENCE_GROUP_HOLDERS;
	return PLAN_WHOLE;
}

/* All of names are asked for at once, but for except. canonical: userdb's names
   are the ones that count. */
static enum plan_result
plan_names(struct service_plan *plan, const struct outbox_item *item,
	   const char *const *names, const char *except, bool canonical,
	   ARRAY_TYPE(plan_target) *targets)
{
	enum plan_result result = PLAN_WHOLE;
	const struct plan_answer *answer;

	for (; *names != NULL; names++) {
		if (strcmp(*names, except) == 0)
			continue;
		answer = plan_ask(plan, *names);
		if (answer == NULL) {
			result = PLAN_ASKED;
		} else if (answer->ret > 0) {
			(void)plan_target(plan, item, answer, canonical ?
					  answer->user.audience.name : *names,
					  targets);
		} else if (answer->ret < 0 && result == PLAN_WHOLE) {
			result = PLAN_PART;
		}
	}
	return result;
}

void cred_service_users_looked_at(bool ok, void *context)
{
	struct cred_service *service = context;
	struct outbox_iter *iter = outbox_iter_init(service->outbox);
	struct outbox_item *item;

	if (!ok)
		service->holders_old_until = ioloop_time + NOBODY_RETRY_SECS;
	while ((item = outbox_iter_next(iter)) != NULL) {
		if (!item->planned)
			item->plan_time = 0;
	}
	outbox_iter_deinit(&iter);
	service->tell_wanted = TRUE;
	cred_service_flush_later(service);
}

static enum plan_result
plan_holders(struct service_plan *plan, struct outbox_item *item,
	     ARRAY_TYPE(plan_target) *targets)
{
	struct cred_service *service = plan->service;
	const char *const *names;
	enum plan_result result;

	if (holders_is_stale(service->holders) &&
	    ioloop_time >= service->holders_old_until) {
		item->plan_time = ioloop_time + NOBODY_RETRY_SECS;
		holders_refresh(service->holders, FALSE,
				cred_service_users_looked_at, service);
		return PLAN_PART;
	}
	/* who is named by the configuration is known in any case */
	(void)holders_get(service->holders, &names);
	/* the owner has been told as owner */
	result = plan_names(plan, item, names, item->notice.state.subject.user,
			    TRUE, targets);
	if (result != PLAN_WHOLE || array_count(targets) > 0 ||
	    (item->groups & AUDIENCE_GROUP_OWNER) != 0)
		return result;
	e_warning(service->event, "Notice %s: nobody holds the capability to "
		  "be told of it (yet)", cred_service_id(&item->notice));
	item->plan_time = ioloop_time + NOBODY_RETRY_SECS;
	return PLAN_PART;
}

/* The end of it is told to those who were told of it. */
static enum plan_result
plan_told(struct service_plan *plan, struct outbox_item *item,
	  ARRAY_TYPE(plan_target) *targets)
{
	ARRAY_TYPE(const_string) names;
	char *const *name;

	item->groups = AUDIENCE_GROUP_OWNER | AUDIENCE_GROUP_HOLDERS;
	t_array_init(&names, array_count(&item->told) + 1);
	array_foreach(&item->told, name)
		array_push_back(&names, (const char *const *)name);
	array_append_zero(&names);
	/* "" is what is told once for all */
	return plan_names(plan, item, array_front(&names), "", FALSE, targets);
}

/* No side effect but on item's groups and plan_time: it is called again when
   userdb has answered. */
static enum plan_result
plan_find(struct service_plan *plan, struct outbox_item *item,
	  ARRAY_TYPE(plan_target) *targets)
{
	enum plan_result result;

	item->plan_time = ioloop_time + CRED_SERVICE_USERDB_RETRY_SECS;
	if (item->notice.kind == NOTICE_KIND_RECOVERY)
		return plan_told(plan, item, targets);
	result = plan_owner(plan, item, targets);
	if (result != PLAN_WHOLE ||
	    (item->groups & AUDIENCE_GROUP_HOLDERS) == 0)
		return result;
	return plan_holders(plan, item, targets);
}

/*
 * Telling
 */

/* Who was told, and those who came later, are told once. */
static const struct outbox_row *
item_row(struct cred_service *service, const struct outbox_item *item,
	 const char *user, unsigned int channel)
{
	return outbox_row_find(service->outbox, item->notice.state.incident,
			       item->notice.state.said, user, channel);
}

/* A session has shown it, while it was open or after its login. */
static bool
item_was_shown(struct cred_service *service, const struct outbox_item *item,
	       const char *user)
{
	const struct outbox_row *flash =
		item_row(service, item, user, AUDIENCE_FLASH);

	return item_row(service, item, user, AUDIENCE_LIVE) != NULL ||
		(flash != NULL && flash->result == JOURNAL_RESULT_TOLD);
}

static void
target_tell_live(struct cred_service *service, struct outbox_item *item,
		 const struct audience_user *user)
{
	const struct feed_notice live = {
		.id = cred_service_id(&item->notice),
		.text = cred_service_line(service, &item->notice, user),
		.channel = FEED_LIVE,
	};

	(void)feed_tell_user(service->feed, user->name, &live);
}

static void
target_tell(struct cred_service *service, struct outbox_item *item,
	    const struct plan_target *target)
{
	static const enum audience_channel pulled[] = {
		AUDIENCE_FLASH, AUDIENCE_MAIL, AUDIENCE_MAIL_OUTSIDE,
	};
	const struct audience_user *user = &target->user;
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(pulled); i++) {
		if ((target->tells & pulled[i]) != 0) {
			outbox_row_add(service->outbox, item, user->name,
				       pulled[i], ioloop_time);
		}
	}
	if ((target->tells & AUDIENCE_LIVE) != 0 &&
	    !item_was_shown(service, item, user->name))
		target_tell_live(service, item, user);
	if ((target->tells & AUDIENCE_HTTP) != 0 &&
	    item_row(service, item, user->name, AUDIENCE_HTTP) == NULL)
		cred_service_http_tell(service, item, user);
}

/*
 * Plans
 */

static bool
item_is_acked(struct cred_service *service, const struct outbox_item *item)
{
	const struct notice_state *state =
		notice_table_find(service->table, &item->notice.state.subject);

	return state != NULL && state->acked &&
		state->incident == item->notice.state.incident;
}

static void plan_free(struct service_plan *plan)
{
	plan->service->plans--;
	pool_unref(&plan->pool);
}

/* Returns FALSE if userdb is being asked. */
static bool plan_try(struct service_plan *plan, struct outbox_item *item)
{
	ARRAY_TYPE(plan_target) targets;
	const struct plan_target *target;
	enum plan_result result;

	t_array_init(&targets, 8);
	result = plan_find(plan, item, &targets);
	if (result == PLAN_ASKED)
		return FALSE;
	array_foreach(&targets, target) T_BEGIN {
		target_tell(plan->service, item, target);
	} T_END;
	item->planned = result == PLAN_WHOLE;
	item->asking = FALSE;
	return TRUE;
}

static void plan_go_on(struct service_plan *plan)
{
	struct cred_service *service = plan->service;
	struct outbox_item *item = outbox_find(service->outbox, plan->incident);
	bool over;

	/* a newer notice has a plan of its own; what was acknowledged has none
	   any more */
	if (item == NULL || item->notice.state.said != plan->said ||
	    !item->asking || item->planned) {
		over = TRUE;
	} else T_BEGIN {
		over = plan_try(plan, item);
	} T_END;
	if (!over)
		return;
	plan_free(plan);
	service->tell_wanted = TRUE;
	cred_service_flush_later(service);
}

static void
service_plan(struct cred_service *service, struct outbox_item *item)
{
	struct service_plan *plan;
	pool_t pool;

	if (item_is_acked(service, item)) {
		outbox_ack(service->outbox, item, ioloop_time);
		return;
	}
	if ((service->audience.channels & AUDIENCE_WEBHOOK) != 0) {
		outbox_row_add(service->outbox, item, "", AUDIENCE_WEBHOOK,
			       ioloop_time);
	}
	pool = pool_alloconly_create("cred-notify plan", 1024);
	plan = p_new(pool, struct service_plan, 1);
	plan->pool = pool;
	plan->service = service;
	plan->incident = item->notice.state.incident;
	plan->said = item->notice.state.said;
	p_array_init(&plan->answers, pool, 4);
	service->plans++;
	item->asking = TRUE;
	if (plan_try(plan, item))
		plan_free(plan);
}

void cred_service_plan(struct cred_service *service)
{
	struct outbox_iter *iter = outbox_iter_init(service->outbox);
	struct outbox_item *item;

	while (service->plans < MAX_PLANS &&
	       (item = outbox_iter_next(iter)) != NULL) {
		if (item->planned || item->asking ||
		    item->plan_time > ioloop_time)
			continue;
		T_BEGIN {
			service_plan(service, item);
		} T_END;
	}
	outbox_iter_deinit(&iter);
}
