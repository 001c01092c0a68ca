/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * thread.h - attaching a thread to a cache, and checking it with one comparison on the hit path.
 *
 * The first call of a thread on a cache attaches the thread: it gets a shard of statistics. The
 * thread remembers the cache that it used last by the cache's id, which is never reused. On the hit
 * path, one comparison with that id shows that the thread is attached, and that the process is
 * still the one that opened the cache (in a child of fork, the remembered id is reset).
 */
#ifndef FOLIO_SRC_CACHE_THREAD_H
#define FOLIO_SRC_CACHE_THREAD_H

#include "base/compiler.h"
#include "cache/table.h"
#include "cache/types.h"

struct thread_cache {
	uint64_t id; /* of the cache; 0: none */
	struct stats_shard *shard;
};

/*
 * The cache that the thread used last, for hits. It is small enough for initial-exec, with which
 * also a shared library reaches it without a function call.
 */
extern _Thread_local struct thread_cache thread_last __attribute__((tls_model("initial-exec")));

/* Locks of a thread for which no memory is allocated. */
#define THREAD_LOCKS 4

/* A folio that the thread has locked with folio_lock. */
struct thread_lock {
	struct folio *folio;
	uint64_t number; /* of its file: inode->open_number */
	uint32_t times;  /* 1; of a folio with several pages, perhaps as many */
};

/* All of them, in ascending order of (number, index), in which a thread may wait for locks. */
struct thread_locks {
	unsigned count, room;     /* room: 0 before the first lock, or entries of lock */
	struct thread_lock *lock; /* first, or allocated until count is 0 again */
	struct thread_lock first[THREAD_LOCKS];
};

extern _Thread_local struct thread_locks thread_locks __attribute__((tls_model("initial-exec")));

/* True if the calling thread has a folio of @cache locked. */
static inline bool thread_has_lock(const struct folio_cache *cache)
{
	unsigned i;

	for (i = 0; unlikely(i < thread_locks.count); i++)
		if (cache_of(thread_locks.lock[i].folio) == cache)
			return true;
	return false;
}

/*
 * Attach the calling thread to @cache, or find its shard if it is attached already. If there is no
 * memory for a shard, or the thread is ending, returns cache->shard_spare. Returns NULL in a child
 * of the process that opened the cache: the error of the call is -ESTALE.
 */
struct stats_shard *thread_attach(struct folio_cache *cache);

/*
 * The shard of the calling thread in @cache, whose id is @id; the thread is attached if need be.
 * NULL as for thread_attach.
 */
static inline struct stats_shard *thread_enter(struct folio_cache *cache, uint64_t id)
{
	if (likely(thread_last.id == id))
		return thread_last.shard;
	return thread_attach(cache);
}

/*
 * For a hit: true if thread_last is the cache with @id, so that the hit may use thread_last.shard.
 * Otherwise the caller must call thread_enter.
 */
static inline bool thread_hit(uint64_t id)
{
	return likely(thread_last.id == id);
}

/*
 * Give a new cache its id, its process number and its spare shard, before any thread uses it.
 * Returns 0, -ENOMEM, or the error of pthread_key_create (-EAGAIN: no key is left).
 */
int thread_cache_register(struct folio_cache *cache);

/*
 * True if the end of the calling thread will be noticed (publish_thread_ended): it is not ending
 * already, and there is memory for the list of its shards.
 */
bool thread_will_end(void);

/* Free all shards of a cache. No call on it is running, and none follows. */
void thread_cache_unregister(struct folio_cache *cache);

/* Sum all shards of a cache, those of ended threads included, into @count. */
void thread_stats_sum(struct folio_cache *cache, uint64_t count[STATS]);

#endif
