/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * thread.c - attaching threads to caches, and detecting fork.
 *
 * A shard is on two lists: its cache's, for summing, and its thread's. It is freed when the thread
 * ends or the cache is closed, and not before: a call in progress holds a pointer to it, and a
 * function that the call runs (a backend that reads through another cache) may attach the thread to
 * any number of caches. So thread_caches is only a cache of the thread's list: a shard that has
 * lost its entry there is found in the list again.
 *
 * The head of a thread's list is allocated: no shard points to memory of the thread itself. A
 * thread may end without the destructor of ended_key, if its first call on a cache comes from a
 * destructor of the program in the last round that the C library makes. Then its shards stay until
 * their caches are closed, and the head stays.
 *
 * threads_lock guards both lists. It is taken when a thread attaches to a cache or returns to one
 * that is no longer in thread_caches, when a thread ends, when a cache is opened or closed, for
 * statistics, and around fork.
 */
#include "cache/thread.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/watch.h"
#include "cache/publish.h"
#include "cache/table.h"

#define THREAD_CACHES 8 /* caches that a thread may alternate between without threads_lock */

_Thread_local struct thread_cache thread_last;
_Thread_local struct thread_locks thread_locks;
static _Thread_local struct thread_cache thread_caches[THREAD_CACHES];
struct shard_list {
	struct stats_shard *first;
};

/*
 * The head of the thread's list, or NULL. The list is guarded by threads_lock: closing a cache
 * takes its shards off the lists of other threads.
 */
static _Thread_local struct shard_list *thread_shards;
/* The thread's destructors run: a shard that it attached now would never be freed. */
static _Thread_local bool thread_ending;

static pthread_mutex_t threads_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t next_id = 1;     /* guarded by threads_lock */
static folio_u64 process_number; /* larger by one in a child of fork than in its parent */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t ended_key;
static int once_error;

/* Add a shard's counts to its cache's total and free it. threads_lock is held. */
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

/* Destructor of ended_key: frees the shards of a thread that ends. */
static void thread_ended(void *shards)
{
	struct stats_shard **mine = shards;

	/*
	 * Destructors of the program may call the library after this one. They find thread_last
	 * empty, so each such call runs thread_attach, which returns the spare shard.
	 */
	thread_ending = true;
	thread_last = (struct thread_cache){0};
	publish_thread_ended();
	pthread_mutex_lock(&threads_lock);
	while (*mine)
		fold(*mine);
	pthread_mutex_unlock(&threads_lock);
	free(mine);
}

/*
 * fork: taken before it, so that in the child no other thread holds the lock. The state of the
 * child's only thread is reset, since it refers to caches of the parent.
 */
static void fork_prepare(void)
{
	pthread_mutex_lock(&threads_lock);
	publish_forking();
}

static void fork_parent(void)
{
	publish_forked(false);
	pthread_mutex_unlock(&threads_lock);
}

static void fork_child(void)
{
	unsigned i;

	/* The child does not own its parent's caches, and may open CACHES_MAX of its own. */
	for (i = 0; i < CACHES_MAX; i++) {
		struct folio_cache *cache = folio_ptr_load_relaxed(&cache_table[i]);

		if (cache)
			pool_forked(&cache->pool);
		folio_ptr_store_relaxed(&cache_table[i], NULL);
	}
	memset(thread_caches, 0, sizeof(thread_caches));
	thread_last = (struct thread_cache){0};
	thread_locks.count = 0;
	if (thread_shards)
		thread_shards->first = NULL;
	folio_u64_fetch_add_relaxed(&process_number, 1);
	watch_forked();
	publish_forked(true);
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

/* The calling thread's shard of @cache, or NULL. */
static struct stats_shard *shard_find(const struct folio_cache *cache)
{
	struct stats_shard *shard;

	if (!thread_shards)
		return NULL;
	pthread_mutex_lock(&threads_lock);
	shard = thread_shards->first;
	while (shard && shard->cache != cache)
		shard = shard->thread_next;
	pthread_mutex_unlock(&threads_lock);
	return shard;
}

/* Make the list of the thread, for which thread_ended will run. False: there is no memory. */
static bool list_new(void)
{
	thread_shards = calloc(1, sizeof(*thread_shards));
	if (thread_shards && pthread_setspecific(ended_key, thread_shards)) {
		free(thread_shards);
		thread_shards = NULL;
	}
	return thread_shards;
}

bool thread_will_end(void)
{
	return !thread_ending && (thread_shards || list_new());
}

/* Allocate a shard and put it on both lists. NULL: there is no memory. */
static struct stats_shard *shard_new(struct folio_cache *cache)
{
	struct stats_shard *shard;

	if (!thread_shards && !list_new())
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
	shard->thread_at = &thread_shards->first;
	shard->thread_next = thread_shards->first;
	if (shard->thread_next)
		shard->thread_next->thread_at = &shard->thread_next;
	thread_shards->first = shard;
	pthread_mutex_unlock(&threads_lock);
	return shard;
}

struct stats_shard *thread_attach(struct folio_cache *cache)
{
	struct thread_cache *known = &thread_caches[cache->id % THREAD_CACHES];
	struct stats_shard *shard;

	if (cache->process != folio_u64_load_relaxed(&process_number))
		return NULL;
	if (thread_ending)
		return cache->shard_spare;
	if (known->id != cache->id) {
		shard = shard_find(cache);
		if (!shard)
			shard = shard_new(cache);
		/* Shared by all threads in this state: counts may be lost, nothing else is. */
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
