/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "watch-digest.h"

/* FNV-1a, 64 bits. A server that looks for collisions hides its own mail. */
#define FNV_OFFSET 0xcbf29ce484222325ULL
#define FNV_PRIME 0x100000001b3ULL

static uint64_t hash_bytes(uint64_t hash, const void *data, size_t size)
{
	const unsigned char *bytes = data;
	size_t i;

	for (i = 0; i < size; i++)
		hash = (hash ^ bytes[i]) * FNV_PRIME;
	return hash;
}

/* Every bit of the hash changes with every bit that went in: sums of hashes
   that are alike would cancel out (splitmix64). */
static uint64_t hash_finish(uint64_t hash)
{
	hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9ULL;
	hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebULL;
	return hash ^ (hash >> 31);
}

/* With the NUL, so that no number is taken for part of the name. */
static uint64_t hash_name(const char *name)
{
	return hash_bytes(FNV_OFFSET, name, strlen(name) + 1);
}

uint64_t watch_digest_name(const char *name)
{
	return hash_finish(hash_name(name));
}

void watch_digest_add(struct watch_digest *digest, const char *name,
		      const uint64_t *numbers, unsigned int count, bool heard)
{
	uint64_t hash = hash_bytes(hash_name(name), numbers,
				   sizeof(*numbers) * count);

	/* a sum knows no order */
	if (heard)
		digest->heard += hash_finish(hash);
	else
		digest->others += hash_finish(hash);
}

bool watch_digest_differs(const struct watch_digest *old,
			  const struct watch_digest *now, bool ignore_heard)
{
	return old->others != now->others ||
		(!ignore_heard && old->heard != now->heard);
}
