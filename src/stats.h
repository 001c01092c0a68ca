/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stats.h - counters, sharded: each thread adds to a shard of its own, a reader sums.
 *
 * A shard has one writer, so an addition is a load and a store, without a locked instruction. Shards of
 * threads that ended are folded into the cache's total.
 */
#ifndef FOLIO_SRC_STATS_H
#define FOLIO_SRC_STATS_H

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
	STATS,
};

struct stats_shard {
	_Alignas(64) folio_u64 count[STATS];
	struct folio_cache *cache; /* set at creation */
	/* Guarded by the threads' lock: the next of the same cache and of the same thread, and what points here. */
	struct stats_shard *cache_next, **cache_at;
	struct stats_shard *thread_next, **thread_at;
};

/* On the shard of the calling thread. */
static inline void stats_add(struct stats_shard *shard, enum counter counter, uint64_t n)
{
	folio_u64_add_alone(&shard->count[counter], n);
}

#endif
