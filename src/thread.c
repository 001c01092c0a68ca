/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * thread.c - attaching threads, and noticing fork.
 *
 * A shard is on two lists: its cache's, for who sums, and its thread's. It is freed when the thread ends or the
 * cache closes, and never before: a call that is under way has it, and what it calls (a backend that reads through
 * another cache) may bring the thread to any number of caches. So the table, which is what a thread looks at, only
 * remembers some of the thread's list; what has no place in it is found in the list again.
 *
 * One lock guards both lists. It is taken when a thread comes to a cache, when it ends, and for statistics.
 */
#include "thread.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache.h"

#define THREAD_CACHES 8 /* caches that a thread may alternate between without a look at its list */

_Thread_local struct thread_cache thread_last;
static _Thread_local struct thread_cache thread_caches[THREAD_CACHES];
/* Guarded by threads_lock: who closes a cache takes its shards off the lists of other threads. */
static _Thread_local struct stats_shard *thread_shards;
/* The thread's destructors run: what it attaches now, nobody would detach. */
static _Thread_local bool thread_ending;

static pthread_mutex_t threads_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t next_id = 1;     /* guarded by threads_lock */
static folio_u64 process_number; /* one more in a child than in its parent */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t ended_key;
static int once_error;

/* Move a shard's counts to its cache and free it. The lock is held. */
static void fold(struct stats_shard *shard)
{
	struct folio_cache *cache = shard->cache;
	unsigned i;

	for (i = 0; i < STATS; i++)
		cache->ended[i] += folio_u64_load_relaxed(&shard->count[i]);
	*shard->cache_at = shard->cache_next;
	if (shard->cache_next)
		shard->cache_next->cache_at = shard->cache_at;
	*shard->thread_at = shard->thread_next;
	if (shard->thread_next)
		shard->thread_next->thread_at = shard->thread_at;
	free(shard);
}

static void thread_ended(void *shards)
{
	struct stats_shard **mine = shards;

	/*
	 * Other destructors of the program may still call the library. They find nothing remembered, and attach for
	 * each call. (Keys' destructors run in the order of the keys; the key of the room grace is younger.)
	 */
	thread_ending = true;
	thread_last = (struct thread_cache){0};
	pthread_mutex_lock(&threads_lock);
	while (*mine)
		fold(*mine);
	pthread_mutex_unlock(&threads_lock);
}

/* fork: nobody else holds the lock in the child, and what the child's only thread knew is void. */
static void fork_prepare(void)
{
	pthread_mutex_lock(&threads_lock);
}

static void fork_parent(void)
{
	pthread_mutex_unlock(&threads_lock);
}

static void fork_child(void)
{
	unsigned i;

	/* The parent's caches are not the child's, which may open as many. */
	for (i = 0; i < CACHES_MAX; i++)
		folio_ptr_store_relaxed(&cache_table[i], NULL);
	memset(thread_caches, 0, sizeof(thread_caches));
	thread_last = (struct thread_cache){0};
	thread_shards = NULL;
	folio_u64_fetch_add_relaxed(&process_number, 1);
	pthread_mutex_unlock(&threads_lock);
}

static void start(void)
{
	once_error = -pthread_key_create(&ended_key, thread_ended);
	if (!once_error)
		once_error = -pthread_atfork(fork_prepare, fork_parent, fork_child);
}

int thread_cache_register(struct folio_cache *cache)
{
	pthread_once(&once, start);
	if (once_error)
		return once_error;
	cache->shard_spare = aligned_alloc(64, sizeof(*cache->shard_spare));
	if (!cache->shard_spare)
		return -ENOMEM;
	memset(cache->shard_spare, 0, sizeof(*cache->shard_spare));
	pthread_mutex_lock(&threads_lock);
	cache->id = next_id++;
	cache->process = folio_u64_load_relaxed(&process_number);
	pthread_mutex_unlock(&threads_lock);
	return 0;
}

void thread_cache_unregister(struct folio_cache *cache)
{
	pthread_mutex_lock(&threads_lock);
	while (cache->shards)
		fold(cache->shards);
	pthread_mutex_unlock(&threads_lock);
	free(cache->shard_spare);
}

int thread_error(struct folio_cache *cache)
{
	return cache->process == folio_u64_load_relaxed(&process_number) ? -ENOMEM : -ESTALE;
}

/* The thread's shard of the cache, if it has one. */
static struct stats_shard *shard_find(const struct folio_cache *cache)
{
	struct stats_shard *shard;

	pthread_mutex_lock(&threads_lock);
	shard = thread_shards;
	while (shard && shard->cache != cache)
		shard = shard->thread_next;
	pthread_mutex_unlock(&threads_lock);
	return shard;
}

static struct stats_shard *shard_new(struct folio_cache *cache)
{
	struct stats_shard *shard;

	/* The destructor runs for threads that have a value. Without it the list would outlive the thread. */
	if (pthread_setspecific(ended_key, &thread_shards))
		return NULL;
	shard = aligned_alloc(64, sizeof(*shard));
	if (!shard)
		return NULL;
	memset(shard, 0, sizeof(*shard));
	shard->cache = cache;
	pthread_mutex_lock(&threads_lock);
	shard->cache_at = &cache->shards;
	shard->cache_next = cache->shards;
	if (shard->cache_next)
		shard->cache_next->cache_at = &shard->cache_next;
	cache->shards = shard;
	shard->thread_at = &thread_shards;
	shard->thread_next = thread_shards;
	if (shard->thread_next)
		shard->thread_next->thread_at = &shard->thread_next;
	thread_shards = shard;
	pthread_mutex_unlock(&threads_lock);
	return shard;
}

struct stats_shard *thread_attach(struct folio_cache *cache)
{
	struct thread_cache *known = &thread_caches[cache->id % THREAD_CACHES];
	struct stats_shard *shard;

	if (cache->process != folio_u64_load_relaxed(&process_number))
		return NULL;
	/* Fails where the process has no more thread keys, or no memory for one. */
	if (grace_thread_attach())
		return NULL;
	if (thread_ending)
		return cache->shard_spare;
	if (known->id != cache->id) {
		shard = shard_find(cache);
		if (!shard)
			shard = shard_new(cache);
		/* Shared with others like it: counts may be lost, nothing else is. */
		if (!shard)
			shard = cache->shard_spare;
		known->id = cache->id;
		known->shard = shard;
	}
	thread_last = (struct thread_cache){known->id, known->shard};
	return known->shard;
}

void thread_stats_sum(struct folio_cache *cache, uint64_t count[STATS])
{
	const struct stats_shard *shard;
	unsigned i;

	pthread_mutex_lock(&threads_lock);
	for (i = 0; i < STATS; i++)
		count[i] = cache->ended[i] + folio_u64_load_relaxed(&cache->shard_spare->count[i]);
	for (shard = cache->shards; shard; shard = shard->cache_next)
		for (i = 0; i < STATS; i++)
			count[i] += folio_u64_load_relaxed(&shard->count[i]);
	pthread_mutex_unlock(&threads_lock);
}
