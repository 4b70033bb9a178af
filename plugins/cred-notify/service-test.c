/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "ioloop.h"
#include "dovecot-compat.h"
#include "core/notice-text.h"
#include "service-private.h"

/* A notice that is none: that all is well with an account called "Test". It
   leaves no trace in table, outbox and journal. */

struct cred_test;

/* lives until userdb answers */
struct test_lookup {
	/* NULL = nobody wants to know any more */
	struct cred_test *test;
	pool_t pool;
};

/* one channel's telling; lives until it is answered */
struct test_telling {
	/* NULL = nobody wants to know any more */
	struct cred_test *test;
	struct cred_service *service;
	const char *name;
};

struct cred_test {
	struct cred_service *service;
	pool_t pool;
	struct notice notice;
	struct audience_user user;
	unsigned int tells;
	cred_test_callback_t *callback;
	void *context;
	/* what userdb is asked for; gone when it has answered */
	struct test_lookup *lookup;
	ARRAY(struct test_telling *) tellings;
};

static const enum audience_channel pushed[] = {
	AUDIENCE_MAIL,
	AUDIENCE_MAIL_OUTSIDE,
	AUDIENCE_WEBHOOK,
};

/* error: NULL, or why nobody was told */
static void
test_finish(struct cred_test *test, const char *error, bool temporary)
{
	cred_test_callback_t *callback = test->callback;
	void *context = test->context;

	cred_service_test_cancel(&test);
	callback(NULL, error, temporary, context);
}

static void test_forget(struct cred_test *test, struct test_telling *telling)
{
	struct test_telling *const *other;

	array_foreach(&test->tellings, other) {
		if (*other == telling) {
			array_delete(&test->tellings,
				     array_foreach_idx(&test->tellings, other),
				     1);
			break;
		}
	}
}

static void
test_answered(const struct channel_answer *answer, void *context)
{
	struct test_telling *telling = context;
	struct cred_test *test = telling->test;

	telling->service->busy--;
	if (test != NULL) {
		test->callback(telling->name, answer->result == CHANNEL_TOLD ?
			       "told" : answer->error, FALSE, test->context);
		test_forget(test, telling);
		if (array_count(&test->tellings) == 0)
			test_finish(test, NULL, FALSE);
	}
	i_free(telling);
}

static void test_push(struct cred_test *test, enum audience_channel kind)
{
	struct cred_service *service = test->service;
	struct channel *channel = cred_service_channel(service, kind);
	const struct channel_telling what = {
		.notice = &test->notice,
		.user = kind == AUDIENCE_WEBHOOK ? NULL : &test->user,
		.channel = kind,
		.id = cred_service_id(&test->notice),
	};
	struct test_telling *telling;

	if (channel == NULL)
		return;
	telling = i_new(struct test_telling, 1);
	telling->test = test;
	telling->service = service;
	telling->name = audience_channel_name(kind);
	array_push_back(&test->tellings, &telling);
	service->busy++;
	channel->v.tell(channel, &what, test_answered, telling);
}

static void test_live(struct cred_test *test)
{
	const struct feed_notice live = {
		.id = cred_service_id(&test->notice),
		.text = cred_service_line(test->service, &test->notice,
					  &test->user),
		.channel = FEED_LIVE,
	};
	unsigned int count;

	count = feed_tell_user(test->service->feed, test->user.name, &live);
	test->callback("live", t_strdup_printf("%u sessions", count), FALSE,
		       test->context);
}

static void test_run(struct cred_test *test)
{
	unsigned int i;

	if ((test->tells & AUDIENCE_LIVE) != 0)
		test_live(test);
	for (i = 0; i < N_ELEMENTS(pushed); i++) {
		if ((test->tells & pushed[i]) != 0)
			test_push(test, pushed[i]);
	}
	if (array_count(&test->tellings) == 0)
		test_finish(test, NULL, FALSE);
}

static void test_init_notice(struct cred_test *test)
{
	struct notice_state *state = &test->notice.state;

	test->notice.kind = NOTICE_KIND_RECOVERY;
	state->subject.origin = NOTICE_ORIGIN_ACCOUNT;
	state->subject.user = test->user.name;
	state->subject.account = "test";
	state->label = "Test";
	/* no trouble is called that, and no second test */
	state->incident = (uint64_t)ioloop_timeval.tv_sec * 1000000 +
		ioloop_timeval.tv_usec;
	state->said = 0;
	state->first_time = state->last_time = ioloop_time;
	state->ok_time = state->told_time = ioloop_time;
}

static void test_begin(struct cred_test *test)
{
	struct cred_service *service = test->service;

	test_init_notice(test);
	test->tells = (audience_tells(&service->audience, &test->notice,
				      AUDIENCE_GROUP_OWNER, &test->user, TRUE,
				      "") |
		       AUDIENCE_WEBHOOK) & service->audience.channels;
	test_run(test);
}

static void
test_looked_up(int ret, const struct holders_user *user, void *context)
{
	struct test_lookup *lookup = context;
	struct cred_test *test = lookup->test;

	if (test == NULL) {
		pool_unref(&lookup->pool);
		return;
	}
	/* the test's pool is the same one */
	test->lookup = NULL;
	if (ret > 0) {
		test->user = user->audience;
		test_begin(test);
	} else {
		test_finish(test, ret < 0 ? "userdb does not answer" :
			    "there is no such user", ret < 0);
	}
}

struct cred_test *
cred_service_test(struct cred_service *service, const char *user,
		  cred_test_callback_t *callback, void *context)
{
	pool_t pool = pool_alloconly_create("cred test", 1024);
	struct cred_test *test = p_new(pool, struct cred_test, 1);

	test->pool = pool;
	test->service = service;
	test->callback = callback;
	test->context = context;
	i_array_init(&test->tellings, 4);
	test->lookup = p_new(pool, struct test_lookup, 1);
	test->lookup->test = test;
	test->lookup->pool = pool;
	holders_lookup(service->holders, pool, p_strdup(pool, user),
		       test_looked_up, test->lookup);
	return test;
}

void cred_service_test_cancel(struct cred_test **_test)
{
	struct cred_test *test = *_test;
	struct test_telling *const *telling;
	pool_t pool;

	if (test == NULL)
		return;
	*_test = NULL;
	array_foreach(&test->tellings, telling)
		(*telling)->test = NULL;
	array_free(&test->tellings);
	if (test->lookup != NULL) {
		/* its answer comes into this pool */
		test->lookup->test = NULL;
		return;
	}
	pool = test->pool;
	pool_unref(&pool);
}
