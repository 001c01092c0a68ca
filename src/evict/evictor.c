/* SPDX-License-Identifier: BSD-2-Clause */
/* evictor.c - the background thread that keeps pages free. */
#include "evict/evictor.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/pause.h"
#include "base/spawn.h"
#include "cache/thread.h"
#include "evict/evict.h"
#include "evict/refault.h"

/* The evictor. */
static void *background(void *arg)
{
	struct folio_cache *cache = arg;
	struct evict *evict = &cache->evict;
	struct stats_shard *shard = thread_enter(cache, cache->id);

	FOLIO_PAUSE(thread_started, NULL);
	folio_u32_store_release(&evict->started, 1);
	futex_wake(&evict->started, 1);
	while (!folio_u32_load_acquire(&evict->stop)) {
		/*
		 * A waker sets wakeup from 0 to 1 (wake_evictor) after it has seen few free pages
		 * or nodes. It is cleared here before they are checked, so a wake during the pass
		 * is not lost: futex_wait then finds 1 and returns.
		 */
		folio_u32_exchange_acquire(&evict->wakeup, 0);
		if (pool_free_pages(&cache->pool) < folio_u64_load_relaxed(&evict->low)) {
			bool enough = evict_until(
				cache, folio_u64_load_relaxed(&evict->high), false, shard);

			folio_u32_store_relaxed(&evict->stuck,
				!enough && pool_free_pages(&cache->pool) <
						   folio_u64_load_relaxed(&evict->low));
		}
		if (tree_nodes_are_short(&cache->tree_budget)) {
			uint32_t ends = 0;

			reclaim_nodes(cache, false, &ends, shard);
		}
		if (!folio_u32_load_acquire(&evict->stop))
			futex_wait(&evict->wakeup, 0);
	}
	return NULL;
}

int evict_create(struct folio_cache *cache)
{
	struct evict *evict = &cache->evict;
	int r;

	queues_init(&cache->queues);
	progress_init(&cache->progress);
	folio_u64_store_relaxed(&evict->clock, 0);
	folio_u64_store_relaxed(&evict->once_clock, 0);
	folio_u64_store_relaxed(&evict->floors, 0);
	folio_u32_store_relaxed(&evict->wakeup, 0);
	folio_u32_store_relaxed(&evict->stop, 0);
	folio_u32_store_relaxed(&evict->stuck, 0);
	folio_u32_store_relaxed(&evict->started, 0);
	folio_u32_store_relaxed(&evict->trust, REFAULT_TRUST);
	folio_u64_store_relaxed(&evict->small_share, REFAULT_SMALL_MIN);
	folio_u64_store_relaxed(&evict->small_evicted, REFAULT_WHOLE);
	folio_u32_store_relaxed(&evict->trials, 0);
	r = spawn_thread(&evict->thread, "folio-evict", background, cache);
	/* Until it has started: the program may restrict its system calls after this call. */
	while (!r && !folio_u32_load_acquire(&evict->started))
		futex_wait(&evict->started, 0);
	if (r)
		queues_destroy(&cache->queues);
	return r;
}

void evict_destroy(struct folio_cache *cache)
{
	struct evict *evict = &cache->evict;

	folio_u32_store_release(&evict->stop, 1);
	folio_u32_store_release(&evict->wakeup, 1);
	futex_wake(&evict->wakeup, 1);
	pthread_join(evict->thread, NULL);
	queues_destroy(&cache->queues);
}
