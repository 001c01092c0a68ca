/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * thread.h - what a thread needs before it may use a cache, behind one comparison.
 *
 * The first call of a thread on a cache attaches it: it is made known to the room grace, and
 * gets a shard of statistics. The thread remembers the cache that it used last, by the cache's number, which is never used
 * twice. On the hit path one comparison with it says that all of this is in place, that the process is still the
 * one that opened the cache (a child of fork forgets).
 */
#ifndef FOLIO_SRC_THREAD_H
#define FOLIO_SRC_THREAD_H

#include "folio.h"
#include "stats.h"

struct thread_cache {
	uint64_t id; /* 0: none */
	struct stats_shard *shard;
};

/*
 * The cache that the thread used last, for hits. Few bytes, in the memory that is found without a call also from a
 * shared library.
 */
extern _Thread_local struct thread_cache thread_last __attribute__((tls_model("initial-exec")));

/* Attach, or find what is known already. NULL: thread_error says why. */
struct stats_shard *thread_attach(struct folio_cache *cache);
/* -ESTALE in a child of the process that opened the cache, -ENOMEM where the thread cannot be made known. */
int thread_error(struct folio_cache *cache);

/* The shard of the calling thread, NULL as above. id is that of the cache. */
static inline struct stats_shard *thread_enter(struct folio_cache *cache, uint64_t id)
{
	if (likely(thread_last.id == id))
		return thread_last.shard;
	return thread_attach(cache);
}

/* The same for a hit: may it go on with what thread_last says? If not, ask thread_enter. */
static inline bool thread_hit(uint64_t id)
{
	return likely(thread_last.id == id);
}

/* Called once for each cache, before threads use it and after the last has left. */
int thread_cache_register(struct folio_cache *cache);
void thread_cache_unregister(struct folio_cache *cache);

/* Sum the shards of a cache. */
void thread_stats_sum(struct folio_cache *cache, uint64_t count[STATS]);

#endif
