/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "array.h"
#include "str.h"
#include "strfuncs.h"
#include "core/notice.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define START 1000000
#define MINUTE 60
#define DAY (24*60*60)

static pool_t pool;
static ARRAY_TYPE(notice) notices;

static struct notice_limits test_limits(void)
{
	struct notice_limits limits;

	notice_limits_default(&limits);
	limits.account[NOTICE_CLASS_CREDENTIAL] =
		(struct notice_rule){ 3, 120, DAY };
	limits.account[NOTICE_CLASS_NETWORK] =
		(struct notice_rule){ 4, 300, DAY };
	limits.login[NOTICE_PATTERN_DEVICE] =
		(struct notice_rule){ 3, 120, DAY };
	limits.login[NOTICE_PATTERN_ATTACK] =
		(struct notice_rule){ 6, 120, DAY };
	limits.attack_networks = 3;
	limits.retry_secs[NOTICE_ORIGIN_ACCOUNT] = 10;
	limits.retry_secs[NOTICE_ORIGIN_LOGIN] = 10;
	return limits;
}

static struct ip_addr test_ip(const char *text)
{
	struct ip_addr ip;

	ck_assert_int_eq(net_addr2ip(text, &ip), 0);
	return ip;
}

/* One step of a story: "c" credential, "n" network, "u" user action and
   "l" local failure, "+" success, "t" tick, "a" ack, "x" clear. address and
   once may be NULL. */
struct step {
	unsigned int secs;
	char what;
	const char *address, *once;
	/* kinds told by it: "T", "D", "R", "F" for forgotten */
	const char *told;
};

static struct notice_fact
step_fact(const struct step *step, enum notice_origin origin)
{
	struct notice_fact fact = {
		.subject = { origin, "anna", origin == NOTICE_ORIGIN_LOGIN ?
			     "" : "17" },
		.label = "Work", .protocol = "imap",
		.once = step->once == NULL ? "" : step->once,
		.success = step->what == '+',
	};

	if (step->what == 'n')
		fact.class = NOTICE_CLASS_NETWORK;
	else if (step->what == 'u')
		fact.class = NOTICE_CLASS_USER_ACTION;
	else if (step->what == 'l')
		fact.class = NOTICE_CLASS_LOCAL;
	if (step->address != NULL)
		fact.ip = test_ip(step->address);
	return fact;
}

static void step_take(struct notice_table *table, const struct step *step,
		      enum notice_origin origin)
{
	struct notice_fact fact = step_fact(step, origin);
	time_t now = START + step->secs;

	switch (step->what) {
	case 't':
		notice_table_tick(table, now, pool, &notices);
		break;
	case 'a':
		ck_assert(notice_table_ack(table, &fact.subject));
		break;
	case 'x':
		ck_assert(notice_table_clear(table, &fact.subject, pool,
					     &notices));
		break;
	default:
		(void)notice_table_fact(table, &fact, now, pool, &notices);
	}
}

static const char *told_kinds(void)
{
	static const char kinds[] = "TDRF";
	const struct notice *notice;
	string_t *str = t_str_new(16);

	array_foreach(&notices, notice)
		str_append_c(str, kinds[notice->kind]);
	return str_c(str);
}

#define MAX_STEPS 16
static const struct {
	const char *name;
	enum notice_origin origin;
	struct step steps[MAX_STEPS];
} stories[] = {
	{ "said once, and its end", NOTICE_ORIGIN_ACCOUNT, {
		{ 0, 'c', NULL, NULL, "" }, { 60, 'c', NULL, NULL, "" },
		{ 120, 'c', NULL, NULL, "T" }, { 180, 'c', NULL, NULL, "" },
		{ 200, 't', NULL, NULL, "" }, { 240, '+', NULL, NULL, "R" },
		{ 300, '+', NULL, NULL, "" } } },
	{ "not confirmed over time", NOTICE_ORIGIN_ACCOUNT, {
		{ 0, 'c', NULL, NULL, "" }, { 20, 'c', NULL, NULL, "" },
		{ 40, 'c', NULL, NULL, "" }, { 60, 'c', NULL, NULL, "" },
		{ 119, 'c', NULL, NULL, "" }, { 130, 'c', NULL, NULL, "T" } } },
	{ "retries and runs count once", NOTICE_ORIGIN_ACCOUNT, {
		{ 0, 'c', NULL, "r1", "" }, { 5, 'c', NULL, NULL, "" },
		{ 130, 'c', NULL, "r1", "" }, { 140, 'c', NULL, "r2", "" },
		{ 145, 'c', NULL, NULL, "" }, { 160, 'c', NULL, "r3", "T" } } },
	{ "a success ends the count", NOTICE_ORIGIN_ACCOUNT, {
		{ 0, 'c', NULL, NULL, "" }, { 60, 'c', NULL, NULL, "" },
		{ 90, '+', NULL, NULL, "F" }, { 120, 'c', NULL, NULL, "" },
		{ 180, 'c', NULL, NULL, "" }, { 240, 'c', NULL, NULL, "T" } } },
	{ "a network fault is no credential", NOTICE_ORIGIN_ACCOUNT, {
		{ 0, 'c', NULL, NULL, "" }, { 60, 'n', NULL, NULL, "" },
		{ 120, 'n', NULL, NULL, "" }, { 180, 'n', NULL, NULL, "" },
		{ 240, 'c', NULL, NULL, "" }, { 360, 'n', NULL, NULL, "T" },
		{ 420, 'c', NULL, NULL, "T" }, { 480, 'n', NULL, NULL, "" },
		{ 540, '+', NULL, NULL, "R" } } },
	{ "digests, later and later", NOTICE_ORIGIN_ACCOUNT, {
		{ 0, 'c', NULL, NULL, "" }, { 60, 'c', NULL, NULL, "" },
		{ 120, 'c', NULL, NULL, "T" }, { 120 + DAY, 't', NULL, NULL,
		"" }, { 130 + DAY, 'c', NULL, NULL, "D" },
		{ 200 + DAY, 'c', NULL, NULL, "" },
		{ 130 + 2 * DAY, 'c', NULL, NULL, "" },
		{ 130 + 8 * DAY, 't', NULL, NULL, "D" } } },
	{ "acknowledged: no digest, but its end", NOTICE_ORIGIN_ACCOUNT, {
		{ 0, 'c', NULL, NULL, "" }, { 60, 'c', NULL, NULL, "" },
		{ 120, 'c', NULL, NULL, "T" }, { 130, 'a', NULL, NULL, "" },
		{ 130 + DAY, 'c', NULL, NULL, "" },
		{ 140 + DAY, '+', NULL, NULL, "R" } } },
	{ "cleared: nobody is told", NOTICE_ORIGIN_ACCOUNT, {
		{ 0, 'c', NULL, NULL, "" }, { 60, 'c', NULL, NULL, "" },
		{ 120, 'c', NULL, NULL, "T" }, { 130, 'x', NULL, NULL, "F" },
		{ 140, '+', NULL, NULL, "" } } },
	{ "told and never heard of again", NOTICE_ORIGIN_ACCOUNT, {
		{ 0, 'c', NULL, NULL, "" }, { 60, 'c', NULL, NULL, "" },
		{ 120, 'c', NULL, NULL, "T" },
		{ 31 * DAY, 't', NULL, NULL, "F" } } },
	{ "counted and never heard of again", NOTICE_ORIGIN_ACCOUNT, {
		{ 0, 'c', NULL, NULL, "" }, { DAY, 't', NULL, NULL, "" },
		{ DAY + 1, 't', NULL, NULL, "F" } } },
	{ "an old phone, while the owner works", NOTICE_ORIGIN_LOGIN, {
		{ 0, 'c', "192.0.2.1", "s1", "" },
		{ 30, '+', "198.51.100.1", "s2", "" },
		{ 60, 'c', "192.0.2.1", "s3", "" },
		{ 90, '+', "198.51.100.1", "s4", "" },
		{ 130, 'c', "192.0.2.9", "s5", "T" },
		{ 200, '+', "198.51.100.1", "s6", "" },
		{ 2000, 't', NULL, NULL, "" },
		{ 2100, '+', "192.0.2.1", "s7", "" },
		{ 2200, 't', NULL, NULL, "" },
		{ 2100 + 15 * MINUTE, 't', NULL, NULL, "R" } } },
	{ "phone and computer behind one address", NOTICE_ORIGIN_LOGIN, {
		{ 0, 'c', "192.0.2.1", NULL, "" },
		{ 30, '+', "192.0.2.1", NULL, "" },
		{ 60, 'c', "192.0.2.1", NULL, "" },
		{ 90, '+', "192.0.2.1", NULL, "" },
		{ 130, 'c', "192.0.2.1", NULL, "T" },
		{ 150, '+', "192.0.2.1", NULL, "" },
		{ 180, 'c', "192.0.2.1", NULL, "" },
		{ 150 + 15 * MINUTE, 't', NULL, NULL, "" } } },
	{ "a retry is a failure after a success, too", NOTICE_ORIGIN_LOGIN, {
		{ 0, 'c', "192.0.2.1", NULL, "" },
		{ 2, '+', "192.0.2.1", NULL, "" },
		{ 4, 'c', "192.0.2.1", NULL, "" },
		{ 2 + 15 * MINUTE, 't', NULL, NULL, "" } } },
	{ "a mistyped password", NOTICE_ORIGIN_LOGIN, {
		{ 0, 'c', "192.0.2.1", NULL, "" },
		{ 20, 'c', "192.0.2.1", NULL, "" },
		{ 40, '+', "192.0.2.1", NULL, "" },
		{ 40 + 15 * MINUTE, 't', NULL, NULL, "F" } } },
	{ "three tries of one session", NOTICE_ORIGIN_LOGIN, {
		{ 0, 'c', "192.0.2.1", "s1", "" },
		{ 60, 'c', "192.0.2.1", "s1", "" },
		{ 130, 'c', "192.0.2.1", "s1", "" } } },
	{ "an attack from many networks", NOTICE_ORIGIN_LOGIN, {
		{ 0, 'c', "192.0.2.1", NULL, "" },
		{ 30, 'c', "198.51.100.1", NULL, "" },
		{ 60, 'c', "203.0.113.1", NULL, "" },
		{ 150, 'c', "2001:db8::1", NULL, "" },
		{ 180, 'c', "2001:db8:1::1", NULL, "" },
		{ 210, 'c', "192.0.2.2", NULL, "T" },
		{ 240, 'c', "192.0.2.2", NULL, "" } } },
	{ "a device, then an attack", NOTICE_ORIGIN_LOGIN, {
		{ 0, 'c', "192.0.2.1", NULL, "" },
		{ 60, 'c', "192.0.2.1", NULL, "" },
		{ 120, 'c', "192.0.2.1", NULL, "T" },
		{ 150, 'c', "198.51.100.1", NULL, "" },
		{ 180, 'c', "203.0.113.1", NULL, "" },
		{ 210, 'c', "203.0.113.1", NULL, "T" },
		{ 240, 'c', "203.0.113.1", NULL, "" } } },
	{ "our own faults at a login", NOTICE_ORIGIN_LOGIN, {
		{ 0, 'l', "192.0.2.1", NULL, "" },
		{ 60, 'l', "192.0.2.1", NULL, "" },
		{ 120, 'l', "192.0.2.1", NULL, "" },
		{ 7200, 'l', "192.0.2.1", NULL, "" },
		{ 9200, 'l', "192.0.2.1", NULL, "" } } },
};

START_TEST(notice_story)
{
	struct notice_limits limits = test_limits();
	struct notice_table *table = notice_table_init(&limits, 1);
	const struct step *step = stories[_i].steps;

	for (; step->what != '\0'; step++) {
		array_clear(&notices);
		step_take(table, step, stories[_i].origin);
		ck_assert_msg(strcmp(told_kinds(), step->told) == 0,
			      "%s: at %u told \"%s\", not \"%s\"",
			      stories[_i].name, step->secs, told_kinds(),
			      step->told);
	}
	notice_table_deinit(&table);
}
END_TEST

static void one_fails(struct notice_table *table, const char *user,
		 const char *account, const char *address, time_t now)
{
	struct notice_fact fact = {
		.subject = { *account == '\0' ? NOTICE_ORIGIN_LOGIN :
			     NOTICE_ORIGIN_ACCOUNT, user, account },
		.label = "", .protocol = "imap", .once = "",
	};

	if (address != NULL)
		fact.ip = test_ip(address);
	(void)notice_table_fact(table, &fact, now, pool, &notices);
}

static void fails_until_told(struct notice_table *table, const char *user,
			    const char *account, time_t now)
{
	unsigned int i;

	for (i = 0; i < 3; i++)
		one_fails(table, user, account, NULL, now + i * 60);
}

START_TEST(notice_values)
{
	struct notice_limits limits = test_limits();
	struct notice_table *table = notice_table_init(&limits, 7);
	const struct notice *notice;

	fails_until_told(table, "anna", "17", START);
	one_fails(table, "anna", "17", NULL, START + 180);
	one_fails(table, "anna", "17", NULL, START + 120 + DAY);
	ck_assert_uint_eq(array_count(&notices), 2);
	notice = array_idx(&notices, 0);
	ck_assert_str_eq(notice->state.subject.user, "anna");
	ck_assert_uint_eq(notice->state.incident, 7);
	ck_assert_uint_eq(notice->state.said, 1);
	ck_assert_uint_eq(notice->new_count, 3);
	ck_assert_int_eq(notice->state.first_time, START);
	ck_assert_int_eq(notice->state.last_time, START + 120);
	notice = array_idx(&notices, 1);
	ck_assert_uint_eq(notice->state.incident, 7);
	ck_assert_uint_eq(notice->state.said, 2);
	ck_assert_uint_eq(notice->new_count, 2);
	notice_table_deinit(&table);
}
END_TEST

/* One user's notices and all notices have a limit; what is held back is told
   when there is room. */
START_TEST(notice_names)
{
	enum notice_hint hint, hint_again = NOTICE_HINT_COUNT;
	enum notice_class class, class_again = NOTICE_CLASS_COUNT;

	for (hint = 0; hint < NOTICE_HINT_COUNT; hint++) {
		ck_assert(notice_hint_parse(notice_hint_name(hint),
					    &hint_again));
		ck_assert_int_eq(hint_again, hint);
	}
	for (class = 0; class < NOTICE_CLASS_COUNT; class++) {
		ck_assert(notice_class_parse(notice_class_name(class),
					     &class_again));
		ck_assert_int_eq(class_again, class);
	}
	ck_assert(!notice_hint_parse("app", &hint_again));
	ck_assert(!notice_class_parse("", &class_again));
	ck_assert_str_eq(notice_hint_name(NOTICE_HINT_APP_PASSWORD),
			 "app-password");
}
END_TEST

START_TEST(notice_caps)
{
	struct notice_limits limits = test_limits();
	struct notice_table *table;
	unsigned int i;

	limits.user_cap = 2;
	limits.global_cap = 4;
	limits.account[NOTICE_CLASS_CREDENTIAL].window_secs = 3 * DAY;
	table = notice_table_init(&limits, 1);
	for (i = 0; i < 3; i++)
		fails_until_told(table, "anna", t_strdup_printf("%u", i),
				 START);
	ck_assert_str_eq(told_kinds(), "TT");
	/* each of those without owner for itself */
	for (i = 10; i < 13; i++)
		fails_until_told(table, "", t_strdup_printf("%u", i), START);
	ck_assert_str_eq(told_kinds(), "TTTT");
	ck_assert_uint_ge(notice_table_stats(table)->held, 2);
	notice_table_tick(table, START + 3800, pool, &notices);
	ck_assert_str_eq(told_kinds(), "TTTTT");
	notice_table_tick(table, START + DAY + 120, pool, &notices);
	ck_assert_str_eq(told_kinds(), "TTTTTT");
	notice_table_deinit(&table);
}
END_TEST

/* What was told, and to whom of USERS. */
#define TELLINGS 3000
#define USERS 6
struct tellings {
	time_t times[TELLINGS];
	unsigned int users[TELLINGS], count;
};

/* As the caps are described, whatever it costs. */
static bool caps_allow(const struct tellings *told, unsigned int user,
		       const struct notice_limits *limits, time_t now)
{
	unsigned int i, of_user = 0, of_hour = 0;

	for (i = 0; i < told->count; i++) {
		if (now - told->times[i] < 60 * MINUTE)
			of_hour++;
		if (now - told->times[i] < DAY && told->users[i] == user)
			of_user++;
	}
	return of_user < limits->user_cap && of_hour < limits->global_cap;
}

START_TEST(notice_caps_random)
{
	struct notice_limits limits = test_limits();
	struct tellings told = { .count = 0 };
	struct notice_table *table;
	unsigned int i, user;
	time_t now = START;
	bool tells;

	srandom(_i + 1);
	limits.user_cap = 5 + random() % 10;
	limits.global_cap = 2 + random() % 8;
	limits.account[NOTICE_CLASS_CREDENTIAL] =
		(struct notice_rule){ 1, 0, DAY };
	table = notice_table_init(&limits, 1);
	for (i = 0; i < TELLINGS; i++) T_BEGIN {
		now += random() % 100 == 0 ? random() % DAY :
			random() % (15 * MINUTE);
		user = random() % USERS;
		tells = caps_allow(&told, user, &limits, now);
		one_fails(table, t_strdup_printf("u%u", user),
			  t_strdup_printf("%u", i), NULL, now);
		if (tells) {
			told.times[told.count] = now;
			told.users[told.count++] = user;
		}
		ck_assert_uint_eq(array_count(&notices), told.count);
	} T_END;
	ck_assert_uint_gt(told.count, 200);
	ck_assert_uint_eq(notice_table_stats(table)->held,
			  TELLINGS - told.count);
	notice_table_deinit(&table);
}
END_TEST

/* What was told in a time that has not come yet does not count. */
START_TEST(notice_caps_clock_set_back)
{
	struct notice_limits limits = test_limits();
	struct notice_table *table;
	unsigned int i;

	limits.global_cap = 2;
	limits.user_cap = 3;
	table = notice_table_init(&limits, 1);
	for (i = 0; i < 3; i++)
		fails_until_told(table, "anna", t_strdup_printf("%u", i),
				 START + 2 * DAY);
	ck_assert_str_eq(told_kinds(), "TT");
	for (i = 3; i < 6; i++)
		fails_until_told(table, "anna", t_strdup_printf("%u", i),
				 START + 2 * DAY - MINUTE * 30);
	for (i = 6; i < 9; i++)
		fails_until_told(table, "anna", t_strdup_printf("%u", i),
				 START);
	ck_assert_str_eq(told_kinds(), "TTTTTT");
	/* an hour that was over is not, if that was wrong */
	fails_until_told(table, "ben", "9", START + 70 * MINUTE);
	fails_until_told(table, "ben", "10", START + 10 * MINUTE);
	ck_assert_str_eq(told_kinds(), "TTTTTTT");
	notice_table_deinit(&table);
}
END_TEST

/* Those whom auth is to watch for. */
START_TEST(notice_logins)
{
	static const char *const expected[] = { "told", "often", "once", "b" };
	struct notice_limits limits = test_limits();
	struct notice_table *table = notice_table_init(&limits, 1);
	ARRAY_TYPE(const_notice_state) states;
	const struct notice_state *state;
	unsigned int i, max;

	fails_until_told(table, "told", "", START);
	for (i = 0; i < 2; i++)
		one_fails(table, "often", "", NULL, START + i * MINUTE);
	one_fails(table, "b", "", NULL, START + 2 * MINUTE);
	one_fails(table, "once", "", NULL, START + 3 * MINUTE);
	fails_until_told(table, "account", "17", START);
	for (max = 0; max < 9; max++) {
		t_array_init(&states, 4);
		notice_table_logins(table, max, &states);
		ck_assert_uint_eq(array_count(&states),
				  I_MIN(max, N_ELEMENTS(expected)));
		for (i = 0; i < array_count(&states); i++) {
			state = array_idx_elem(&states, i);
			ck_assert_str_eq(state->subject.user, expected[i]);
		}
	}
	notice_table_deinit(&table);
}
END_TEST

/* An address that fails for many users is nobody's device. */
START_TEST(notice_hostile_source)
{
	struct notice_limits limits = test_limits();
	struct notice_table *table = notice_table_init(&limits, 1);
	unsigned int i, round;

	for (round = 0; round < 5; round++) {
		for (i = 0; i < 100; i++) {
			one_fails(table, t_strdup_printf("user%u", i), "",
			     "192.0.2.1", START + round * 60);
		}
	}
	ck_assert_uint_eq(array_count(&notices), 0);
	ck_assert_uint_eq(notice_table_count(table), 4);
	ck_assert_uint_eq(notice_table_stats(table)->hostile, 496);
	/* from elsewhere they are counted */
	for (i = 0; i < 3; i++)
		one_fails(table, "user50", "", "198.51.100.1", START + i * 60);
	ck_assert_str_eq(told_kinds(), "T");
	notice_table_deinit(&table);
}
END_TEST

/* Attackers' failures make room for each other before they push out an
   account's, and what was told stays. */
START_TEST(notice_eviction)
{
	struct notice_limits limits = test_limits();
	struct notice_table *table;
	struct notice_subject told = { NOTICE_ORIGIN_LOGIN, "told", "" };
	struct notice_subject account = { NOTICE_ORIGIN_ACCOUNT, "", "17" };
	struct notice_subject twice = { NOTICE_ORIGIN_LOGIN, "twice", "" };
	unsigned int i;

	limits.max_subjects = 10;
	table = notice_table_init(&limits, 1);
	fails_until_told(table, "told", "", START);
	one_fails(table, "", "17", NULL, START);
	one_fails(table, "twice", "", NULL, START);
	one_fails(table, "twice", "", NULL, START + 30);
	for (i = 0; i < 1000; i++) {
		one_fails(table, t_strdup_printf("user%u", i), "", NULL,
		     START + 200);
		ck_assert_uint_le(notice_table_count(table), 10);
	}
	ck_assert_uint_eq(notice_table_stats(table)->evicted, 993);
	ck_assert_ptr_nonnull(notice_table_find(table, &told));
	ck_assert_ptr_nonnull(notice_table_find(table, &account));
	ck_assert_ptr_nonnull(notice_table_find(table, &twice));
	/* when all were told, there is no room */
	for (i = 0; i < 20; i++) {
		fails_until_told(table, t_strdup_printf("v%u", i), "",
				START + 300);
	}
	ck_assert_uint_gt(notice_table_stats(table)->refused, 0);
	ck_assert_uint_eq(notice_table_count(table), 10);
	ck_assert_ptr_nonnull(notice_table_find(table, &told));
	notice_table_deinit(&table);
}
END_TEST

static const struct notice_subject bad_subjects[] = {
	{ NOTICE_ORIGIN_LOGIN, "", "" },
	{ NOTICE_ORIGIN_LOGIN, "anna", "17" },
	{ NOTICE_ORIGIN_ACCOUNT, "anna", "" },
	{ NOTICE_ORIGIN_ACCOUNT, "an\tna", "17" },
	{ NOTICE_ORIGIN_ACCOUNT, "anna", "1\n7" },
	{ NOTICE_ORIGIN_COUNT, "anna", "17" },
};

START_TEST(notice_bad_subject)
{
	struct notice_limits limits = test_limits();
	struct notice_table *table = notice_table_init(&limits, 1);
	struct notice_fact fact = {
		.subject = bad_subjects[_i],
		.label = "", .protocol = "", .once = "",
	};

	ck_assert(!notice_table_fact(table, &fact, START, pool, &notices));
	ck_assert_uint_eq(notice_table_stats(table)->invalid, 1);
	ck_assert_uint_eq(notice_table_count(table), 0);
	notice_table_deinit(&table);
}
END_TEST

/* What a journal kept goes on where it was. */
START_TEST(notice_restore)
{
	struct notice_limits limits = test_limits();
	struct notice_table *old = notice_table_init(&limits, 5);
	struct notice_table *new = notice_table_init(&limits, 1);
	struct notice_table_iter *iter;
	const struct notice_state *state;
	const struct notice *notice;
	struct notice_fact ok = {
		.subject = { NOTICE_ORIGIN_ACCOUNT, "anna", "17" },
		.success = TRUE, .label = "", .protocol = "", .once = "",
	};

	fails_until_told(old, "anna", "17", START);
	one_fails(old, "anna", "18", NULL, START);
	one_fails(old, "anna", "18", NULL, START + 60);
	array_clear(&notices);
	iter = notice_table_iter_init(old);
	while ((state = notice_table_iter_next(iter)) != NULL)
		ck_assert(notice_table_restore(new, state));
	notice_table_iter_deinit(&iter);
	notice_table_deinit(&old);

	one_fails(new, "anna", "17", NULL, START + 180);
	ck_assert_str_eq(told_kinds(), "");
	one_fails(new, "anna", "18", NULL, START + 180);
	ck_assert_str_eq(told_kinds(), "T");
	(void)notice_table_fact(new, &ok, START + 190, pool, &notices);
	ck_assert_str_eq(told_kinds(), "TR");
	/* numbers go on, too */
	fails_until_told(new, "anna", "19", START + 200);
	notice = array_idx(&notices, 2);
	ck_assert_uint_eq(notice->state.incident, 7);
	notice_table_deinit(&new);
}
END_TEST

/*
 * Random stories: whatever happens, promises hold.
 */

#define RANDOM_SUBJECTS 12

/* what is known of a subject from what was told alone */
struct told {
	bool open;
	int weight;
	time_t time;
	uint64_t incident;
	unsigned int said;
};

static int notice_weight(const struct notice *notice)
{
	static const int weights[NOTICE_CLASS_COUNT] = {
		3, 3, 3, 1, 1, 1, 1, 2, 0,
	};

	return notice->state.subject.origin == NOTICE_ORIGIN_LOGIN ?
		(int)notice->state.told_pattern :
		weights[notice->state.told_class];
}

static void check_notice(struct told *told, const struct notice *notice,
			 const struct notice_limits *limits, time_t now)
{
	if (notice->kind == NOTICE_KIND_FORGOTTEN) {
		told->open = FALSE;
		return;
	}
	if (notice->kind == NOTICE_KIND_TROUBLE) {
		ck_assert(!told->open || notice_weight(notice) > told->weight);
	} else {
		ck_assert(told->open);
		ck_assert_uint_eq(notice->state.incident, told->incident);
	}
	if (notice->kind == NOTICE_KIND_DIGEST) {
		ck_assert_int_ge(now - told->time, limits->digest_secs);
		ck_assert_uint_gt(notice->new_count, 0);
	}
	ck_assert(notice->state.incident > told->incident ||
		  notice->state.said == told->said + 1);
	told->open = notice->kind != NOTICE_KIND_RECOVERY;
	told->weight = notice_weight(notice);
	told->time = now;
	told->incident = notice->state.incident;
	told->said = notice->state.said;
}

static struct notice_fact random_fact(unsigned int num)
{
	bool login = num % 2 == 0;
	struct notice_fact fact = {
		.subject = { login ? NOTICE_ORIGIN_LOGIN :
			     NOTICE_ORIGIN_ACCOUNT,
			     num % 4 == 1 ? "" : t_strdup_printf("u%u", num),
			     login ? "" : t_strdup_printf("%u", num) },
		.success = random() % 5 == 0,
		.class = random() % NOTICE_CLASS_COUNT,
		.label = "", .protocol = "imap",
		.once = random() % 2 == 0 ? "" :
			t_strdup_printf("s%ld", random() % 1000),
	};

	if (login && random() % 4 != 0) {
		fact.ip = test_ip(t_strdup_printf("10.0.%ld.1",
						  random() % 6));
	}
	return fact;
}

static void check_notices(struct told *told, unsigned int *today,
			  const struct notice_limits *limits, time_t now)
{
	const struct notice *notice;

	array_foreach(&notices, notice) {
		const struct notice_subject *subject = &notice->state.subject;
		unsigned int num = atoi(*subject->account != '\0' ?
					subject->account : subject->user + 1);

		ck_assert_uint_lt(num, RANDOM_SUBJECTS);
		check_notice(&told[num], notice, limits, now);
		(*today)++;
	}
	array_clear(&notices);
	p_clear(pool);
	p_array_init(&notices, pool, 8);
}

START_TEST(notice_random)
{
	struct told told[RANDOM_SUBJECTS] = { { FALSE, 0, 0, 0, 0 } };
	struct notice_limits limits = test_limits();
	struct notice_table *table;
	unsigned int seed = (getenv("TEST_SEED") != NULL ?
			     atoi(getenv("TEST_SEED")) : 1) + _i;
	unsigned int i, total = 0;
	time_t now = START;

	srandom(seed);
	printf("seed %u\n", seed);
	limits.max_subjects = 6 + random() % 10;
	limits.max_sources = 3;
	table = notice_table_init(&limits, 1);
	for (i = 0; i < 20000; i++) T_BEGIN {
		struct notice_fact fact =
			random_fact(random() % RANDOM_SUBJECTS);

		now += random() % 300 == 0 ? random() % (2 * DAY) :
			random() % 200;
		if (random() % 10 == 0)
			notice_table_tick(table, now, pool, &notices);
		else {
			(void)notice_table_fact(table, &fact, now, pool,
						&notices);
		}
		check_notices(told, &total, &limits, now);
		ck_assert_uint_le(notice_table_count(table),
				  limits.max_subjects);
	} T_END;
	ck_assert_uint_gt(total, 50);
	notice_table_deinit(&table);
}
END_TEST

/* A million failures of 100,000 users: the table stays in its budget, and an
   account's trouble is told in the midst of it. */
START_TEST(notice_flood)
{
	struct notice_limits limits;
	struct notice_table *table;
	unsigned int i, of_accounts = 0;
	const struct notice *notice;

	notice_limits_default(&limits);
	table = notice_table_init(&limits, 1);
	for (i = 0; i < 1000000; i++) T_BEGIN {
		struct notice_fact fact = {
			.subject = { NOTICE_ORIGIN_LOGIN,
				     t_strdup_printf("user%lu",
						     random() % 100000), "" },
			.label = "", .protocol = "imap", .once = "",
		};

		fact.ip.family = AF_INET;
		fact.ip.u.ip4.s_addr = random();
		(void)notice_table_fact(table, &fact, START + i * 60 / 1000000,
					pool, &notices);
		if (i % 100000 == 0) {
			one_fails(table, "anna", "17", NULL,
			     START + i / 100000 * 300);
		}
	} T_END;
	array_foreach(&notices, notice) {
		if (notice->state.subject.origin == NOTICE_ORIGIN_ACCOUNT)
			of_accounts++;
	}
	ck_assert_uint_eq(of_accounts, 1);
	ck_assert_uint_eq(notice_table_count(table), limits.max_subjects);
	ck_assert_uint_lt(notice_table_max_bytes(&limits), 64*1024*1024);
	notice_table_deinit(&table);
}
END_TEST

static void setup(void)
{
	pool = pool_allocfree_create("test notice");
	p_array_init(&notices, pool, 8);
}

static void teardown(void)
{
	pool_unref(&pool);
}

int main(void)
{
	Suite *suite = suite_create("notice");
	TCase *tc = tcase_create("notice");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, notice_story, 0, N_ELEMENTS(stories));
	tcase_add_test(tc, notice_values);
	tcase_add_test(tc, notice_names);
	tcase_add_test(tc, notice_caps);
	tcase_add_loop_test(tc, notice_caps_random, 0, 10);
	tcase_add_test(tc, notice_caps_clock_set_back);
	tcase_add_test(tc, notice_logins);
	tcase_add_test(tc, notice_hostile_source);
	tcase_add_test(tc, notice_eviction);
	tcase_add_loop_test(tc, notice_bad_subject, 0,
			    N_ELEMENTS(bad_subjects));
	tcase_add_test(tc, notice_restore);
	tcase_add_loop_test(tc, notice_random, 0, 10);
	tcase_add_test(tc, notice_flood);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
