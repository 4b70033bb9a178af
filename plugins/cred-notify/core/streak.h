#ifndef CRED_NOTIFY_STREAK_H
#define CRED_NOTIFY_STREAK_H

/* Who has failed to log in since the last success. Of bounded size, whoever
   attacks: where it is full, the streak that grew longest ago is forgotten. */
struct streak_table;

/* buckets: a power of two, of four keys each. Memory is 32 bytes a bucket,
   from pool. */
struct streak_table *
streak_table_create(pool_t pool, unsigned int buckets);

/* key: 64 bits of a keyed hash, so that nobody can aim at a bucket */
void streak_add(struct streak_table *table, uint64_t key);
/* Returns TRUE, and forgets it, if it was there. */
bool streak_take(struct streak_table *table, uint64_t key);
/* Keys that are remembered. */
unsigned int streak_count(const struct streak_table *table);

#endif
