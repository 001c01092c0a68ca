/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * thread.h - what a thread needs before it may use a cache, behind one comparison.
 *
 * The first call of a thread on a cache attaches it: it is made known to the room grace, and
 * gets a shard of statistics. A table of the thread's own remembers that; on the hit path one comparison with the cache's
 * number, which is never used twice, says that all of it is in place and that the process is still the one
 * that opened the cache (the table is wiped in a child of fork).
 */
#ifndef FOLIO_SRC_THREAD_H
#define FOLIO_SRC_THREAD_H

#include "folio.h"
#include "stats.h"

#define THREAD_CACHES 8 /* caches that a thread may alternate between without attaching again */

struct thread_cache {
	uint64_t id; /* 0: empty */
	struct stats_shard *shard;
};

extern _Thread_local struct thread_cache thread_caches[THREAD_CACHES];

/* Attach. NULL in a child of the process that opened the cache. */
struct stats_shard *thread_attach(struct folio_cache *cache);

/* The shard of the calling thread, NULL as above. id is that of the cache. */
static inline struct stats_shard *thread_enter(struct folio_cache *cache, uint64_t id)
{
	const struct thread_cache *known = &thread_caches[id % THREAD_CACHES];

	if (likely(known->id == id))
		return known->shard;
	return thread_attach(cache);
}

/* Called once for each cache, before threads use it and after the last has left. */
int thread_cache_register(struct folio_cache *cache);
void thread_cache_unregister(struct folio_cache *cache);

/* Sum the shards of a cache. */
void thread_stats_sum(struct folio_cache *cache, uint64_t count[STATS]);

#endif
