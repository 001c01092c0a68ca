/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stats.h - statistics, in one shard for each thread and cache; a reader sums the shards.
 *
 * A shard has one writer, so an addition is a load and a store, without a locked instruction. The
 * counts of a thread that ends are added to the cache's total (cache/thread.c). The one shard with
 * several writers is cache->shard_spare, which may lose counts.
 *
 * docs/architecture.md, "How do I ...?", lists the steps to add a counter.
 */
#ifndef FOLIO_SRC_CACHE_STATS_H
#define FOLIO_SRC_CACHE_STATS_H

#include <folio/cache.h>

enum counter {
	STAT_HITS,
	STAT_MISSES,
	STAT_RETRIES,
	STAT_FILLS,
	STAT_FILL_BYTES,
	STAT_FILL_ERRORS,
	STAT_READAHEAD_PAGES,
	STAT_PREFETCH_PAGES,
	STAT_EVICTIONS,
	STAT_EVICTIONS_DIRECT,
	STAT_EVICT_BUSY,
	STAT_REFAULTS,
	STAT_INVALIDATIONS,
	STAT_OUT_OF_MEMORY,
	STAT_WRITES,
	STAT_WRITE_BYTES,
	STAT_WRITE_ERRORS,
	STAT_THROTTLED,
	STAT_READAHEAD_UNUSED,
	STATS,
};

struct stats_shard {
	_Alignas(64) folio_u64 count[STATS];
	struct folio_cache *cache; /* set at creation */
	/*
	 * Guarded by threads_lock of cache/thread.c: links of the cache's list and of the thread's.
	 * An _at is the address of the pointer that leads here.
	 */
	struct stats_shard *cache_next, **cache_at;
	struct stats_shard *thread_next, **thread_at;
};

/* Add @n to a counter of @shard, which is the calling thread's. */
static inline void stats_add(struct stats_shard *shard, enum counter counter, uint64_t n)
{
	folio_u64_add_alone(&shard->count[counter], n);
}

#endif
