/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * thread.c - attaching threads, and noticing fork.
 *
 * One lock guards the list of caches, each cache's list of shards, and the folding of shards of threads that
 * end. It is taken when a thread comes to a cache, when it ends, and for statistics.
 */
#include "thread.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache.h"

#define THREAD_CACHES 8 /* caches that a thread may alternate between without attaching again */

_Thread_local struct thread_cache thread_last;
static _Thread_local struct thread_cache thread_caches[THREAD_CACHES];
/* The thread's destructors run: what it attaches now, nobody would detach. */
static _Thread_local bool thread_ending;

static pthread_mutex_t threads_lock = PTHREAD_MUTEX_INITIALIZER;
static struct folio_cache *caches; /* guarded by threads_lock */
static uint64_t next_id = 1;       /* guarded by threads_lock */
static folio_u64 process_number;   /* one more in a child than in its parent */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t ended_key;
static int once_error;

/* Move a shard's counts to its cache and free it. The lock is held. */
static void fold(struct folio_cache *cache, struct stats_shard *shard)
{
	unsigned i;

	for (i = 0; i < STATS; i++)
		cache->ended[i] += folio_u64_load_relaxed(&shard->count[i]);
	if (shard->prev)
		shard->prev->next = shard->next;
	else
		cache->shards = shard->next;
	if (shard->next)
		shard->next->prev = shard->prev;
	free(shard);
}

static struct folio_cache *find_cache(uint64_t id)
{
	struct folio_cache *cache = caches;

	while (cache && cache->id != id)
		cache = cache->next;
	return cache;
}

/* A slot of the thread's table is given up. A cache that was closed has freed its shards itself. */
static void forget(struct thread_cache *known)
{
	struct folio_cache *cache;

	if (!known->id)
		return;
	pthread_mutex_lock(&threads_lock);
	cache = find_cache(known->id);
	if (cache && known->shard != cache->shard_spare)
		fold(cache, known->shard);
	pthread_mutex_unlock(&threads_lock);
	*known = (struct thread_cache){0};
}

static void thread_ended(void *table)
{
	struct thread_cache *known = table;
	unsigned i;

	/*
	 * Other destructors of the program may still call the library. They find nothing remembered, and attach for
	 * each call. (Keys' destructors run in the order of the keys; the key of the room grace is younger.)
	 */
	thread_ending = true;
	thread_last = (struct thread_cache){0};
	for (i = 0; i < THREAD_CACHES; i++)
		forget(&known[i]);
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
	memset(thread_caches, 0, sizeof(thread_caches));
	thread_last = (struct thread_cache){0};
	folio_u64_fetch_add_relaxed(&process_number, 1);
	caches = NULL;
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
	cache->next = caches;
	caches = cache;
	pthread_mutex_unlock(&threads_lock);
	return 0;
}

void thread_cache_unregister(struct folio_cache *cache)
{
	struct folio_cache **at = &caches;

	pthread_mutex_lock(&threads_lock);
	while (*at != cache)
		at = &(*at)->next;
	*at = cache->next;
	while (cache->shards)
		fold(cache, cache->shards);
	pthread_mutex_unlock(&threads_lock);
	free(cache->shard_spare);
}

int thread_error(struct folio_cache *cache)
{
	return cache->process == folio_u64_load_relaxed(&process_number) ? -ENOMEM : -ESTALE;
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
		forget(known);
		/* The destructor runs for threads that have a value. */
		pthread_setspecific(ended_key, thread_caches);
		shard = aligned_alloc(64, sizeof(*shard));
		if (shard) {
			memset(shard, 0, sizeof(*shard));
			shard->cache_id = cache->id;
			pthread_mutex_lock(&threads_lock);
			shard->next = cache->shards;
			if (shard->next)
				shard->next->prev = shard;
			cache->shards = shard;
			pthread_mutex_unlock(&threads_lock);
		} else {
			/* Shared with others like it: counts may be lost, nothing else is. */
			shard = cache->shard_spare;
		}
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
	for (shard = cache->shards; shard; shard = shard->next)
		for (i = 0; i < STATS; i++)
			count[i] += folio_u64_load_relaxed(&shard->count[i]);
	pthread_mutex_unlock(&threads_lock);
}
