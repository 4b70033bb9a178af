/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "core/streak.h"

#define STREAK_WAYS 4
/* a Mersenne prime, 2^31 - 1: products of two below it fit into 62 bits */
#define STREAK_PRIME_BITS 31
#define STREAK_PRIME ((1ULL << STREAK_PRIME_BITS) - 1)
/* below, the first bytes would not be mixed */
#define STREAK_BASE_MIN 0x10000ULL
/* All keys of a user have these bits of the user's own key. The lower ones
   choose the bucket. */
#define STREAK_USER_SHIFT 50
#define STREAK_USER_MASK 0xfffULL

struct streak_table {
	/* STREAK_WAYS keys for each bucket, youngest first, 0 = free */
	uint64_t *keys;
	unsigned int mask, count;
	/* how many keys there are of each streak_user() */
	uint32_t users[STREAK_USER_MASK + 1];
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

static uint64_t streak_reduce(uint64_t hash)
{
	/* 2^31 is 1 modulo the prime */
	hash = (hash & STREAK_PRIME) + (hash >> STREAK_PRIME_BITS);
	return hash < STREAK_PRIME ? hash : hash - STREAK_PRIME;
}

/* The text as a polynomial at a secret place, modulo a prime: two texts of n
   bytes meet at n places at most, and nobody knows ours. Two of them make that
   as rare as it must be, at a tenth of what a cryptographic hash costs in each
   login; side by side, as neither needs the other. */
static uint64_t
streak_step(const struct streak_table *table, uint64_t key, unsigned int value)
{
	uint64_t high = key >> STREAK_PRIME_BITS, low = key & STREAK_PRIME;

	high = streak_reduce(high * table->bases[0] + value);
	low = streak_reduce(low * table->bases[1] + value);
	return high << STREAK_PRIME_BITS | low;
}

static uint64_t streak_polynomial(const struct streak_table *table,
				  uint64_t key, const char *text)
{
	for (; *text != '\0'; text++)
		key = streak_step(table, key, (unsigned char)*text + 1);
	return key;
}

uint64_t streak_key(const struct streak_table *table, const char *user)
{
	return streak_polynomial(table, 1ULL << STREAK_PRIME_BITS | 1, user);
}

uint64_t streak_key_at(const struct streak_table *table, uint64_t user_key,
		       const char *ip)
{
	const uint64_t bits = STREAK_USER_MASK << STREAK_USER_SHIFT;
	/* no byte of a name is 0 */
	uint64_t key = streak_step(table, user_key, 0);

	key = streak_polynomial(table, key, ip);
	return (key & ~bits) | (user_key & bits);
}

static unsigned int streak_user(uint64_t key)
{
	return (key >> STREAK_USER_SHIFT) & STREAK_USER_MASK;
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
		table->users[streak_user(key)]--;
		return TRUE;
	}
	return FALSE;
}

void streak_add(struct streak_table *table, uint64_t key)
{
	uint64_t *bucket, oldest;

	(void)streak_take(table, key);
	key = streak_slot(key);
	bucket = streak_bucket(table, key);
	oldest = bucket[STREAK_WAYS - 1];
	if (oldest == 0)
		table->count++;
	else
		table->users[streak_user(oldest)]--;
	table->users[streak_user(key)]++;
	memmove(bucket + 1, bucket, (STREAK_WAYS - 1) * sizeof(*bucket));
	bucket[0] = key;
}

bool streak_may_end(const struct streak_table *table, uint64_t user_key)
{
	return table->users[streak_user(user_key)] > 0;
}

unsigned int streak_count(const struct streak_table *table)
{
	return table->count;
}
