/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "core/streak.h"

#define STREAK_WAYS 4
/* products of two such fit into 64 bits */
#define STREAK_PRIME 0x7fffffffULL
/* below, the first bytes would not be mixed */
#define STREAK_BASE_MIN 0x10000ULL

struct streak_table {
	/* STREAK_WAYS keys for each bucket, youngest first, 0 = free */
	uint64_t *keys;
	unsigned int mask, count;
	/* of the two halves of a key */
	uint64_t bases[2];
};

struct streak_table *
streak_table_create(pool_t pool, unsigned int buckets, uint64_t seed)
{
	struct streak_table *table = p_new(pool, struct streak_table, 1);

	i_assert(buckets > 0 && (buckets & (buckets - 1)) == 0);
	table->keys = p_new(pool, uint64_t, (size_t)buckets * STREAK_WAYS);
	table->mask = buckets - 1;
	table->bases[0] = STREAK_BASE_MIN +
		(seed & 0xffffffff) % (STREAK_PRIME - STREAK_BASE_MIN);
	table->bases[1] = STREAK_BASE_MIN +
		(seed >> 32) % (STREAK_PRIME - STREAK_BASE_MIN);
	return table;
}

/* The text as a polynomial at a secret place, modulo a prime: two texts of n
   bytes meet at n places at most, and nobody knows ours. Two of them make that
   as rare as it must be, at a tenth of what a cryptographic hash costs in each
   login. */
static uint64_t
streak_polynomial(uint64_t hash, uint64_t base, const char *text)
{
	for (; *text != '\0'; text++) {
		hash = (hash * base + (unsigned char)*text + 1) %
			STREAK_PRIME;
	}
	return hash;
}

static uint64_t
streak_half(uint64_t base, const char *user, const char *ip)
{
	uint64_t hash = streak_polynomial(1, base, user);

	if (ip != NULL) {
		/* no byte of a name is 0 */
		hash = (hash * base) % STREAK_PRIME;
		hash = streak_polynomial(hash, base, ip);
	}
	return hash;
}

uint64_t streak_key(const struct streak_table *table, const char *user,
		    const char *ip)
{
	return streak_half(table->bases[0], user, ip) << 31 |
		streak_half(table->bases[1], user, ip);
}

/* 0 means free: that key shares with another */
static uint64_t streak_slot(uint64_t key)
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

	key = streak_slot(key);
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
	key = streak_slot(key);
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
