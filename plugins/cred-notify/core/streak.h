#ifndef CRED_NOTIFY_STREAK_H
#define CRED_NOTIFY_STREAK_H

/* Who has failed to log in since the last success. Of bounded size, whoever
   attacks: where it is full, the streak that grew longest ago is forgotten. */
struct streak_table;

/* buckets: a power of two, of four keys each. Memory is 32 bytes a bucket
   and 16 KiB, from pool. seed: random and secret, so that nobody can aim at a
   bucket. */
struct streak_table *
streak_table_create(pool_t pool, unsigned int buckets, uint64_t seed);

/* The key of a user's streak; and, from that one, of a user's at one
   address. */
uint64_t streak_key(const struct streak_table *table, const char *user);
uint64_t streak_key_at(const struct streak_table *table, uint64_t user_key,
		       const char *ip);

/* FALSE if neither the user's key nor any of the user's at an address is
   there, which most of the time is all that is asked. */
bool streak_may_end(const struct streak_table *table, uint64_t user_key);
void streak_add(struct streak_table *table, uint64_t key);
/* Returns TRUE, and forgets it, if it was there. */
bool streak_take(struct streak_table *table, uint64_t key);
/* Keys that are remembered. */
unsigned int streak_count(const struct streak_table *table);

#endif
