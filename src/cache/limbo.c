/* SPDX-License-Identifier: BSD-2-Clause */
/* limbo.c - the list of folios that have left their file while a pin of them was published. */
#include "cache/limbo.h"

#include <pthread.h>

#include "base/compiler.h"
#include "cache/publish.h"

void limbo_init(struct limbo *limbo)
{
	pthread_mutex_init(&limbo->lock, NULL);
	limbo->first = POOL_NONE;
	limbo->unordered = false;
	folio_u32_store_relaxed(&limbo->folios, 0);
}

void limbo_destroy(struct limbo *limbo)
{
	pthread_mutex_destroy(&limbo->lock);
}

void limbo_add(struct folio_cache *cache, struct folio *const *folios, unsigned count, bool ordered)
{
	struct limbo *limbo = &cache->limbo;
	unsigned i;

	if (!count)
		return;
	pthread_mutex_lock(&limbo->lock);
	limbo->unordered |= !ordered;
	for (i = 0; i < count; i++) {
		/* Nothing else uses next: the folio is in no queue, and owner keeps it out. */
		folio_u8_store_relaxed(&folios[i]->queue, QUEUE_LIMBO);
		folios[i]->next = limbo->first;
		limbo->first = pool_page(&cache->pool, folios[i]);
	}
	folio_u32_store_relaxed(&limbo->folios, folio_u32_load_relaxed(&limbo->folios) + count);
	pthread_mutex_unlock(&limbo->lock);
}

/*
 * The entry of each folio was cleared before the barrier of its drop: no publication of it has
 * succeeded since, and those before are visible to the scan (D5). So there is no other barrier,
 * unless the kernel refused that one. @alone: as limbo_look_alone.
 */
static void look(struct folio_cache *cache, bool alone)
{
	struct limbo *limbo = &cache->limbo;
	struct pool *pool = &cache->pool;
	struct publish_set set;
	uint32_t page, next, left = 0;
	bool freed = false;

	/*
	 * A hint: a folio that is added now is for the next look. acquire: pairs with the store
	 * below; a thread that finds none finds those free that were in it (folio_cache_close).
	 */
	if (likely(!folio_u32_load_acquire(&limbo->folios)))
		return;
	progress_begin(&cache->progress);
	pthread_mutex_lock(&limbo->lock);
	publish_scan(pool, limbo->unordered && !alone, &set);
	limbo->unordered = set.unknown;
	page = limbo->first;
	limbo->first = POOL_NONE;
	for (; page != POOL_NONE; page = next) {
		struct folio *folio = pool_folio(pool, page);

		next = folio->next;
		if (publish_has(&set, pool, folio)) {
			folio->next = limbo->first;
			limbo->first = page;
			left++;
			continue;
		}
		folio_u8_store_relaxed(&folio->queue, QUEUE_NONE);
		freed |= progress_put(folio);
	}
	folio_u32_store_release(&limbo->folios, left);
	pthread_mutex_unlock(&limbo->lock);
	progress_end(&cache->progress, freed);
}

void limbo_look(struct folio_cache *cache)
{
	look(cache, false);
}

void limbo_look_alone(struct folio_cache *cache)
{
	look(cache, true);
}

uint32_t limbo_references(struct folio_cache *cache, const struct folio *folio, uint32_t *count)
{
	uint32_t listed;

	/* The reference is put under the lock, so the two belong together. */
	pthread_mutex_lock(&cache->limbo.lock);
	listed = folio_u8_load_relaxed(&folio->queue) == QUEUE_LIMBO;
	*count = folio_ref_count(&folio->ref);
	pthread_mutex_unlock(&cache->limbo.lock);
	return listed;
}
