/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "core/watch-digest.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct folder {
	const char *name;
	uint64_t numbers[2];
	bool heard;
};

static struct watch_digest
digest(const struct folder *folders, unsigned int count)
{
	struct watch_digest made;
	unsigned int i;

	i_zero(&made);
	for (i = 0; i < count; i++) {
		watch_digest_add(&made, folders[i].name, folders[i].numbers,
				 2, folders[i].heard);
	}
	return made;
}

#define DIGEST(...) \
	({ const struct folder made[] = { __VA_ARGS__ }; \
	   digest(made, N_ELEMENTS(made)); })
#define INBOX { "INBOX", { 7, 9 }, TRUE }

static bool differs(struct watch_digest a, struct watch_digest b, bool ignore)
{
	bool first = watch_digest_differs(&a, &b, ignore);

	ck_assert(watch_digest_differs(&b, &a, ignore) == first);
	return first;
}

START_TEST(digest_order)
{
	ck_assert(!differs(DIGEST(INBOX, { "a", { 1, 2 } }, { "b", { 3, 4 } }),
			   DIGEST({ "b", { 3, 4 } }, INBOX, { "a", { 1, 2 } }),
			   FALSE));
}
END_TEST

START_TEST(digest_changes)
{
	struct watch_digest old = DIGEST(INBOX, { "a", { 1, 2 } });

	ck_assert(differs(old, DIGEST(INBOX, { "a", { 1, 3 } }), FALSE));
	ck_assert(differs(old, DIGEST(INBOX, { "b", { 1, 2 } }), FALSE));
	ck_assert(differs(old, DIGEST(INBOX, { "a", { 2, 1 } }), FALSE));
	ck_assert(differs(old, DIGEST(INBOX), FALSE));
	ck_assert(differs(old, DIGEST({ "a", { 1, 2 } }), FALSE));
	ck_assert(differs(old, DIGEST(INBOX, { "a", { 1, 2 } },
				      { "a", { 1, 2 } }), FALSE));
	/* numbers that move from one folder to the other */
	ck_assert(differs(DIGEST({ "a", { 1, 5 } }, { "b", { 1, 6 } }),
			  DIGEST({ "a", { 1, 6 } }, { "b", { 1, 5 } }), FALSE));
}
END_TEST

START_TEST(digest_heard)
{
	struct watch_digest old = DIGEST(INBOX, { "a", { 1, 2 } });
	struct watch_digest now = DIGEST({ "INBOX", { 7, 10 }, TRUE },
					 { "a", { 1, 2 } });

	ck_assert(differs(old, now, FALSE));
	ck_assert(!differs(old, now, TRUE));
	now = DIGEST({ "INBOX", { 7, 10 }, TRUE }, { "a", { 1, 3 } });
	ck_assert(differs(old, now, TRUE));
}
END_TEST

/* Small changes of small numbers: what real folders are. */
START_TEST(digest_random)
{
	struct folder folders[50];
	struct watch_digest old, now;
	unsigned int i, n, seed = getenv("TEST_SEED") != NULL ?
		atoi(getenv("TEST_SEED")) : time(NULL);
	char names[N_ELEMENTS(folders)][8];

	printf("watch-digest: seed %u\n", seed);
	srandom(seed);
	i_zero(&folders);
	for (i = 0; i < N_ELEMENTS(folders); i++) {
		i_snprintf(names[i], sizeof(names[i]), "f%u", i);
		folders[i].name = names[i];
	}
	for (n = 0; n < 5000; n++) {
		old = digest(folders, N_ELEMENTS(folders));
		i = random() % N_ELEMENTS(folders);
		folders[i].numbers[random() % 2] += 1 + random() % 3;
		now = digest(folders, N_ELEMENTS(folders));
		ck_assert(differs(old, now, FALSE));
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("watch-digest");
	TCase *tc = tcase_create("watch-digest");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_test(tc, digest_order);
	tcase_add_test(tc, digest_changes);
	tcase_add_test(tc, digest_heard);
	tcase_add_test(tc, digest_random);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
