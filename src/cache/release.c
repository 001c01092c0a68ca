/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * release.c - types of folios, their release, and the reaper.
 *
 * A release runs on the thread that put the last reference. That thread need not ever have known
 * the folio in its present use (folio/ref.h, the reuse race). So a release uses the folio's own
 * type and takes no lock but the pool's. The release function of a user-defined type is called on a
 * separate thread, the reaper.
 */
#include "cache/release.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "base/params.h"
#include "base/spawn.h"
#include "cache/call.h"
#include "cache/table.h"

/*
 * R2: type and owner are read here, after the winning CAS (acquire), not before. The version turns
 * odd before the frame is available again: a reader that copies has no reference and may still be
 * copying.
 */
void folio_release(struct folio *folio)
{
	struct folio_cache *cache = cache_in_process(folio);

	/*
	 * A child of fork puts references to folios that its parent had pinned: that releases
	 * nothing.
	 */
	if (unlikely(!cache))
		return;
	pool_change_begin(&cache->pool, folio);
	cache->type[folio->type].release(cache, folio);
}

/* A folio of a file: it left the tree and the queues before its last reference was put (R4). */
static void release_file(struct folio_cache *cache, struct folio *folio)
{
	pool_free(&cache->pool, folio);
}

static void release_private(struct folio_cache *cache, struct folio *folio)
{
	folio_u64_fetch_sub_relaxed(&cache->pages_private, UINT64_C(1) << folio->order);
	pool_free(&cache->pool, folio);
}

/* Push the folio on the reaper's list, linked by next: a user-defined folio is in no queue. */
static void release_program(struct folio_cache *cache, struct folio *folio)
{
	void *head = folio_ptr_load_relaxed(&cache->reaper_list);

	folio_u32_fetch_add_relaxed(&cache->reaper_queued, 1);
	do
		folio->next = head ? pool_page(&cache->pool, head) : POOL_NONE;
	while (!folio_ptr_cas_release(&cache->reaper_list, &head, folio));
	/* release: pairs with the reaper's load (acquire) before it takes the list. */
	folio_u32_fetch_add_release(&cache->reaper_wakeup, 1);
	futex_wake(&cache->reaper_wakeup, 1);
}

static void reap(struct folio_cache *cache, struct folio *folio)
{
	const struct type *type = &cache->type[folio->type];

	type->program_release(folio, type->context);
	release_private(cache, folio);
	/* release: pairs with folio_reaper_drain (acquire): the pages are free. */
	folio_u32_fetch_add_release(&cache->reaper_done, 1);
	futex_wake(&cache->reaper_done, INT_MAX);
}

static void *reaper(void *arg)
{
	struct folio_cache *cache = arg;

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

	/* acquire: pairs with reap (release). */
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
	struct folio_cache *cache, const struct folio_type_params *given, unsigned *type)
{
	struct folio_type_params all, *params = &all;
	struct call call;
	uint32_t n;
	int r;

	if (!cache || !given || !type ||
		!params_copy(
			&all, sizeof(all), given, offsetof(struct folio_type_params, context)) ||
		!params->name || !params->release)
		return -EINVAL;
	r = call_begin(&call, cache, cache->id, false);
	if (r)
		return r;
	pthread_mutex_lock(&cache->types_lock);
	if (folio_u32_load_relaxed(&cache->types_count) == FOLIO_TYPES) {
		r = -ENOSPC;
	} else if (!cache->reaper_running) {
		r = spawn_thread(&cache->reaper, "folio-reaper", reaper, cache);
		cache->reaper_running = r == 0;
	}
	n = folio_u32_load_relaxed(&cache->types_count);
	if (!r) {
		cache->type[n] = (struct type){
			.name = params->name,
			.release = release_program,
			.program_release = params->release,
			.context = params->context,
		};
		/*
		 * release: pairs with folio_alloc (acquire), which so uses no type that is not set
		 * up.
		 */
		folio_u32_store_release(&cache->types_count, n + 1);
	}
	pthread_mutex_unlock(&cache->types_lock);
	if (!r)
		*type = n;
	return r;
}
