/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "strfuncs.h"
#include "journal.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* How long a journal of so many notices takes to write, to replay into a table
   and to compact: notify-journal [COUNT]. Fails if replay takes more than a
   second. */

static struct notice_table *table;
static uint64_t replayed;

static double seconds(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static void
replay(const struct journal_entry *entry, void *context ATTR_UNUSED)
{
	if (entry->kind == JOURNAL_KIND_STATE &&
	    notice_table_restore(table, &entry->notice.state))
		replayed++;
}

static struct journal_entry make_entry(unsigned int num)
{
	struct journal_entry entry;
	struct notice_state *state = &entry.notice.state;

	i_zero(&entry);
	entry.kind = JOURNAL_KIND_STATE;
	state->subject.origin = NOTICE_ORIGIN_ACCOUNT;
	state->subject.user = t_strdup_printf("user%u@example.org", num);
	state->subject.account = t_strdup_printf("%032x", num);
	state->label = "Post bei der Arbeit";
	state->phase = NOTICE_PHASE_TOLD;
	state->incident = num + 1;
	state->said = 1;
	state->told_time = state->first_time = state->last_time = 1763733600;
	state->count = state->told_count = 3;
	state->tallies[0] = (struct notice_tally){ 3, 1763730000, 1763733600 };
	return entry;
}

static struct journal *open_it(const char *path)
{
	struct journal_report report;
	struct journal *journal;
	const char *error;

	if (journal_open(path, 0, replay, NULL, &journal, &report, &error) < 0)
		i_fatal("%s", error);
	return journal;
}

static void fill(struct journal *journal, unsigned int count)
{
	const char *error;
	unsigned int i;

	for (i = 0; i < count; i++) T_BEGIN {
		struct journal_entry entry = make_entry(i);

		if (journal_append(journal, &entry, &error) < 0)
			i_fatal("%s", error);
	} T_END;
	if (journal_sync(journal, &error) < 0)
		i_fatal("%s", error);
}

static void compact(struct journal *journal)
{
	struct notice_table_iter *iter = notice_table_iter_init(table);
	struct journal_entry entry = { .kind = JOURNAL_KIND_STATE };
	struct journal_compact *work;
	const struct notice_state *state;
	const char *error;

	if (journal_compact_begin(journal, &work, &error) < 0)
		i_fatal("%s", error);
	while ((state = notice_table_iter_next(iter)) != NULL) {
		entry.notice.state = *state;
		journal_compact_add(work, &entry);
	}
	notice_table_iter_deinit(&iter);
	if (journal_compact_commit(&work, &error) < 0)
		i_fatal("%s", error);
}

int main(int argc, char *argv[])
{
	char dir[] = "/tmp/notify-journal.XXXXXX";
	unsigned int count = argc > 1 ? atoi(argv[1]) : 100000;
	struct notice_limits limits;
	struct journal *journal;
	double start, replay_secs;
	const char *path;

	lib_init();
	notice_limits_default(&limits);
	limits.max_subjects = I_MAX(count, 1);
	table = notice_table_init(&limits, 1);
	if (mkdtemp(dir) == NULL)
		i_fatal("mkdtemp(%s) failed: %m", dir);
	path = t_strconcat(dir, "/journal", NULL);
	journal = open_it(path);
	start = seconds();
	fill(journal, count);
	printf("%u notices written and synced in %.3f s\n", count,
	       seconds() - start);
	journal_close(&journal);
	start = seconds();
	journal = open_it(path);
	replay_secs = seconds() - start;
	printf("%u notices replayed in %.3f s\n", (unsigned int)replayed,
	       replay_secs);
	start = seconds();
	compact(journal);
	printf("compacted in %.3f s\n", seconds() - start);
	journal_close(&journal);
	notice_table_deinit(&table);
	i_unlink(path);
	(void)rmdir(dir);
	return replayed == count && replay_secs < 1 ? 0 : 1;
}
