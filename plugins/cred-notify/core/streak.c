/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "core/streak.h"

#define STREAK_WAYS 4

struct streak_table {
	/* STREAK_WAYS keys for each bucket, youngest first, 0 = free */
	uint64_t *keys;
	unsigned int mask, count;
};

struct streak_table *
streak_table_create(pool_t pool, unsigned int buckets)
{
	struct streak_table *table = p_new(pool, struct streak_table, 1);

	i_assert(buckets > 0 && (buckets & (buckets - 1)) == 0);
	table->keys = p_new(pool, uint64_t, (size_t)buckets * STREAK_WAYS);
	table->mask = buckets - 1;
	return table;
}

/* 0 means free: that key shares with another */
static uint64_t streak_key(uint64_t key)
{
	return key == 0 ? 1 : key;
}

static uint64_t *streak_bucket(struct streak_table *table, uint64_t key)
{
	return table->keys + (size_t)(key & table->mask) * STREAK_WAYS;
}

bool streak_take(struct streak_table *table, uint64_t key)
{
	uint64_t *bucket;
	unsigned int i;

	key = streak_key(key);
	bucket = streak_bucket(table, key);
	for (i = 0; i < STREAK_WAYS; i++) {
		if (bucket[i] != key)
			continue;
		memmove(bucket + i, bucket + i + 1,
			(STREAK_WAYS - 1 - i) * sizeof(*bucket));
		bucket[STREAK_WAYS - 1] = 0;
		table->count--;
		return TRUE;
	}
	return FALSE;
}

void streak_add(struct streak_table *table, uint64_t key)
{
	uint64_t *bucket;

	(void)streak_take(table, key);
	key = streak_key(key);
	bucket = streak_bucket(table, key);
	if (bucket[STREAK_WAYS - 1] == 0)
		table->count++;
	memmove(bucket + 1, bucket, (STREAK_WAYS - 1) * sizeof(*bucket));
	bucket[0] = key;
}

unsigned int streak_count(const struct streak_table *table)
{
	return table->count;
}
