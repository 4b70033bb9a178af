/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "hash.h"
#include "llist.h"
#include "watch-turns.h"

struct watch_turn {
	struct watch_turn *prev, *next;
	struct watch_host *host;
	void *context;
	bool begun;
	/* has no place but at its host */
	bool slow;
};

/* exists while it has turns */
struct watch_host {
	/* among those whose next may begin, as far as the host goes */
	struct watch_host *prev, *next;
	struct watch_turns *turns;
	char *name;
	unsigned int begun;
	struct watch_turn *waiting, *waiting_tail;
	bool listed;
};

struct watch_turns {
	unsigned int max, max_per_host, begun;
	HASH_TABLE(char *, struct watch_host *) hosts;
	struct watch_host *ready, *ready_tail;
};

struct watch_turns *
watch_turns_init(unsigned int max, unsigned int max_per_host)
{
	struct watch_turns *turns = i_new(struct watch_turns, 1);

	i_assert(max > 0 && max_per_host > 0);

	turns->max = max;
	turns->max_per_host = max_per_host;
	hash_table_create(&turns->hosts, default_pool, 0,
			  strcase_hash, strcasecmp);
	return turns;
}

void watch_turns_deinit(struct watch_turns **_turns)
{
	struct watch_turns *turns = *_turns;

	*_turns = NULL;
	i_assert(hash_table_count(turns->hosts) == 0);
	hash_table_destroy(&turns->hosts);
	i_free(turns);
}

static struct watch_host *
watch_host_get(struct watch_turns *turns, const char *name)
{
	struct watch_host *host = hash_table_lookup(turns->hosts, name);

	if (host != NULL)
		return host;
	host = i_new(struct watch_host, 1);
	host->turns = turns;
	host->name = i_strdup(name);
	hash_table_insert(turns->hosts, host->name, host);
	return host;
}

static void watch_host_unlist(struct watch_host *host)
{
	struct watch_turns *turns = host->turns;

	if (host->listed)
		DLLIST2_REMOVE(&turns->ready, &turns->ready_tail, host);
	host->listed = FALSE;
}

/* Put it where it belongs now. Frees it if nothing is left of it. */
static void watch_host_update(struct watch_host *host)
{
	struct watch_turns *turns = host->turns;

	if (host->waiting == NULL || host->begun == turns->max_per_host) {
		watch_host_unlist(host);
	} else if (!host->listed) {
		DLLIST2_APPEND(&turns->ready, &turns->ready_tail, host);
		host->listed = TRUE;
	}
	if (host->waiting == NULL && host->begun == 0) {
		hash_table_remove(turns->hosts, host->name);
		i_free(host->name);
		i_free(host);
	}
}

struct watch_turn *
watch_turn_wait(struct watch_turns *turns, const char *host_name, void *context)
{
	struct watch_host *host = watch_host_get(turns, host_name);
	struct watch_turn *turn = i_new(struct watch_turn, 1);

	turn->host = host;
	turn->context = context;
	DLLIST2_APPEND(&host->waiting, &host->waiting_tail, turn);
	watch_host_update(host);
	return turn;
}

void watch_turn_slow(struct watch_turn *turn)
{
	i_assert(turn->begun);

	if (turn->slow)
		return;
	turn->slow = TRUE;
	turn->host->turns->begun--;
}

void watch_turn_end(struct watch_turn **_turn)
{
	struct watch_turn *turn = *_turn;
	struct watch_host *host;

	if (turn == NULL)
		return;
	*_turn = NULL;
	host = turn->host;
	if (turn->begun) {
		watch_turn_slow(turn);
		host->begun--;
	} else {
		DLLIST2_REMOVE(&host->waiting, &host->waiting_tail, turn);
	}
	i_free(turn);
	watch_host_update(host);
}

void *watch_turns_next(struct watch_turns *turns)
{
	struct watch_host *host = turns->ready;
	struct watch_turn *turn;

	if (host == NULL || turns->begun == turns->max)
		return NULL;
	turn = host->waiting;
	DLLIST2_REMOVE(&host->waiting, &host->waiting_tail, turn);
	turn->begun = TRUE;
	host->begun++;
	turns->begun++;
	/* behind the others */
	watch_host_unlist(host);
	watch_host_update(host);
	return turn->context;
}
