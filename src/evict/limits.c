/* SPDX-License-Identifier: BSD-2-Clause */
/* limits.c - limits of eviction that follow from the number of pages that it may have. */
#include "evict/limits.h"

#include "evict/evict.h"
#include "evict/once.h"

/* Free pages below which the evictor starts in a small cache. */
#define LOW_MIN 32

/* The queues' lock is held, here and below. */
static void set_limits(struct folio_cache *cache, uint64_t pages)
{
	struct evict *evict = &cache->evict;
	uint64_t low;
	unsigned order;

	folio_u64_store_relaxed(&evict->pages, pages);
	folio_u64_store_relaxed(&evict->ghost_pages, pages - pages / 5);
	folio_u64_store_relaxed(&evict->once_pages, pages / 32);
	/*
	 * The evictor starts below 1/128 of the pages, but at least LOW_MIN (at most 1/8 of the
	 * pages), and at most 4096 pages (16 MiB). It stops at twice that. A free page cannot hit,
	 * so a small cache must not have many.
	 */
	low = pages / 128;
	if (low < LOW_MIN)
		low = pages / 8 < LOW_MIN ? pages / 8 : LOW_MIN;
	if (low > 4096)
		low = 4096;
	folio_u64_store_relaxed(&evict->low, low);
	folio_u64_store_relaxed(&evict->high, 2 * low);
	folio_u64_store_relaxed(&evict->readahead, pages / 32);
	/* Each stream has two windows in memory, the one being read and the one ahead. */
	cache->queues.ahead_max = 2 * limits_readahead(cache);
	/* At most 1/32 of the pages. */
	order = FOLIO_ORDER_MAX;
	while (order > 0 && UINT64_C(32) << order > pages)
		order--;
	folio_u32_store_relaxed(&evict->order_max, order);
}

uint64_t limits_readahead(const struct folio_cache *cache)
{
	uint64_t share = folio_u64_load_relaxed(&cache->evict.readahead);
	uint64_t most = folio_u64_load_relaxed(&cache->evict.pages) / 4;
	uint64_t largest = folio_u32_load_relaxed(&cache->readahead_pages);

	/* One stream alone may have the largest window. */
	if (largest > most)
		largest = most;
	return share > largest ? share : largest;
}

static uint64_t pages_not_parked(const struct folio_cache *cache)
{
	uint64_t budget = cache->evict.budget, parked = cache->queues.parked.pages;

	return budget > parked ? budget - parked : 0;
}

void limits_fit(struct folio_cache *cache)
{
	uint64_t set = folio_u64_load_relaxed(&cache->evict.pages), now = pages_not_parked(cache);

	/* An eighth more or less changes no decision. */
	if ((now > set ? now - set : set - now) > set / 8)
		set_limits(cache, now);
}

void limits_refresh(struct folio_cache *cache)
{
	uint64_t set = folio_u64_load_relaxed(&cache->evict.pages);

	if (folio_u64_load_relaxed(&cache->pages) <= set + set / 8)
		return;
	queues_lock(&cache->queues);
	limits_fit(cache);
	queues_unlock(&cache->queues);
}

void evict_set_budget(struct folio_cache *cache, uint64_t pages)
{
	queues_lock(&cache->queues);
	cache->evict.budget = pages;
	folio_u64_store_relaxed(&cache->evict.floors_max, pages / 2);
	set_limits(cache, pages_not_parked(cache));
	queues_unlock(&cache->queues);
}

uint64_t evict_headroom(const struct folio_cache *cache, uint64_t asked, bool once)
{
	const struct evict *evict = &cache->evict;
	uint64_t queue = once ? once_window(evict) : folio_u64_load_relaxed(&evict->pages) / 10;
	uint64_t room = asked ? 0 : 1;
	uint64_t low = folio_u64_load_relaxed(&evict->low), free = pool_free_pages(&cache->pool);

	if (queue > asked && queue - asked > room)
		room = queue - asked;
	if (free > low && free - low > room)
		room = free - low;
	return room;
}
