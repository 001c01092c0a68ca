/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * folio.c - types, release, a program's own folios, the reaper.
 *
 * A release runs on whatever thread put last, which need not be one that ever knew the folio as what it
 * is now (ref.h, the race). So it goes by the folio's own type, takes no lock but the pool's, and what a
 * program wants to do at the end of its own folios is done by the reaper thread.
 */
#include <errno.h>
#include <signal.h>

#include "cache.h"

/*
 * R2: type and owner are read here, after the winning CAS (acquire), not before. The version turns odd before the
 * frame can be had again: a copying reader took no reference and may still be at it.
 */
void folio_release(struct folio *folio)
{
	struct folio_cache *cache = cache_of(folio);

	/*
	 * A child of fork puts what its parent had pinned. The pool is not the child's: a thread that the child does not have
	 * may hold its locks. The number in the descriptor may by now be that of a cache of the child's own.
	 */
	if (unlikely(!cache || !pool_has(&cache->pool, folio)))
		return;
	version_break(&folio->version);
	cache->type[folio->type].release(cache, folio);
}

/* A folio of a file: erased and out of the queues before its last reference went (R4). */
static void release_file(struct folio_cache *cache, struct folio *folio)
{
	pool_free(&cache->pool, folio);
}

static void release_private(struct folio_cache *cache, struct folio *folio)
{
	folio_u64_fetch_sub_relaxed(&cache->pages_private, UINT64_C(1) << folio->order);
	pool_free(&cache->pool, folio);
}

/* Push on the reaper's list. next is the link: a program's folio is in no queue. */
static void release_program(struct folio_cache *cache, struct folio *folio)
{
	void *head = folio_ptr_load_relaxed(&cache->reaper_list);

	folio_u32_fetch_add_relaxed(&cache->reaper_queued, 1);
	do
		folio->next = head ? pool_page(&cache->pool, head) : POOL_NONE;
	while (!folio_ptr_cas_release(&cache->reaper_list, &head, folio));
	/* release: pairs with the reaper's load before it takes the list. */
	folio_u32_fetch_add_release(&cache->reaper_wakeup, 1);
	futex_wake(&cache->reaper_wakeup, 1);
}

static void reap(struct folio_cache *cache, struct folio *folio)
{
	const struct type *type = &cache->type[folio->type];

	type->program_release(folio, type->context);
	release_private(cache, folio);
	/* release: pairs with folio_reaper_drain: the pages are back. */
	folio_u32_fetch_add_release(&cache->reaper_done, 1);
	futex_wake(&cache->reaper_done, INT_MAX);
}

static void *reaper(void *arg)
{
	struct folio_cache *cache = arg;

	pthread_setname_np(pthread_self(), "folio-reaper");
	for (;;) {
		uint32_t seen = folio_u32_load_acquire(&cache->reaper_wakeup);
		struct folio *folio = folio_ptr_exchange_acquire(&cache->reaper_list, NULL);

		if (!folio) {
			if (folio_u32_load_acquire(&cache->reaper_stop))
				return NULL;
			futex_wait(&cache->reaper_wakeup, seen);
			continue;
		}
		while (folio) {
			uint32_t next = folio->next;

			reap(cache, folio);
			folio = next == POOL_NONE ? NULL : pool_folio(&cache->pool, next);
		}
	}
}

void folio_types_init(struct folio_cache *cache)
{
	pthread_mutex_init(&cache->types_lock, NULL);
	cache->type[FOLIO_TYPE_FILE] = (struct type){.name = "file", .release = release_file};
	cache->type[FOLIO_TYPE_PRIVATE] =
		(struct type){.name = "private", .release = release_private};
	folio_u32_store_relaxed(&cache->types_count, FOLIO_TYPE_PROGRAM);
}

void folio_reaper_drain(struct folio_cache *cache)
{
	uint32_t done;

	/* acquire: pairs with reap. */
	while ((done = folio_u32_load_acquire(&cache->reaper_done)) !=
		folio_u32_load_relaxed(&cache->reaper_queued))
		futex_wait(&cache->reaper_done, done);
}

void folio_types_destroy(struct folio_cache *cache)
{
	if (cache->reaper_running) {
		folio_u32_store_release(&cache->reaper_stop, 1);
		folio_u32_fetch_add_release(&cache->reaper_wakeup, 1);
		futex_wake(&cache->reaper_wakeup, INT_MAX);
		pthread_join(cache->reaper, NULL);
	}
	pthread_mutex_destroy(&cache->types_lock);
}

int folio_type_register(
	struct folio_cache *cache, const struct folio_type_params *params, unsigned *type)
{
	struct stats_shard *shard = cache ? thread_enter(cache, cache->id) : NULL;
	int r = 0;

	if (!cache || !params || !type || params->size < sizeof(*params) || !params->name ||
		!params->release)
		return -EINVAL;
	if (!shard)
		return thread_error(cache);
	pthread_mutex_lock(&cache->types_lock);
	if (folio_u32_load_relaxed(&cache->types_count) == FOLIO_TYPES) {
		r = -ENOSPC;
	} else if (!cache->reaper_running) {
		sigset_t all, old;

		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &old);
		r = -pthread_create(&cache->reaper, NULL, reaper, cache);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
		cache->reaper_running = r == 0;
	}
	if (!r) {
		uint32_t n = folio_u32_load_relaxed(&cache->types_count);

		cache->type[n] = (struct type){
			.name = params->name,
			.release = release_program,
			.program_release = params->release,
			.context = params->context,
		};
		/* release: pairs with folio_alloc, which takes no type that is not there. */
		folio_u32_store_release(&cache->types_count, n + 1);
		*type = n;
	}
	pthread_mutex_unlock(&cache->types_lock);
	return r == -EAGAIN ? -ENOMEM : r;
}

int folio_alloc(
	struct folio_cache *cache, unsigned order, unsigned type, void *owner, struct folio **folio)
{
	struct stats_shard *shard = cache ? thread_enter(cache, cache->id) : NULL;
	struct timespec until;
	struct folio *taken;
	int r;

	if (!cache || !folio || order > FOLIO_ORDER_MAX || type < FOLIO_TYPE_PRIVATE ||
		type >= folio_u32_load_acquire(&cache->types_count))
		return -EINVAL;
	if (!shard)
		return thread_error(cache);
	r = evict_alloc(cache, &order, false, EVICT_WAIT, wait_limit(cache, &until), shard, &taken);
	if (r)
		return r;
	/* Stays odd: nobody copies it. Before index and owner, as in fill.c. */
	version_break(&taken->version);
	taken->type = (uint8_t)type;
	folio_u64_store_relaxed(&taken->index, 0);
	folio_u32_store_relaxed(&taken->valid, 0);
	folio_ptr_store_relaxed(&taken->owner, owner);
	folio_u32_store_relaxed(&taken->flags, FOLIO_UPTODATE);
	folio_u64_fetch_add_relaxed(&cache->pages_private, UINT64_C(1) << order);
	folio_ref_unfreeze(&taken->ref, 1);
	/* From here on it is the program that is busy with it. */
	evict_busy_end(&cache->evict);
	*folio = taken;
	return 0;
}
