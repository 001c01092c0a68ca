/* SPDX-License-Identifier: BSD-2-Clause */
/* once.c - pages that were fetched by accesses that leave the hot set unchanged. */
#include "evict/once.h"

#include <stdint.h>

#include "core/heat.h"
#include "evict/refault.h"

/* So many parts must be evicted elsewhere after the last such access, before its pages are. */
#define ENDED_PARTS       8

/*
 * A folio has 16 bits for the shadow that it has replaced: the lowest is the shadow's, the others
 * are its clock, in units. 0: it has replaced none. The clock wraps after eight times the pages of
 * the cache.
 */
#define FORMER_CLOCK_MASK 0x7fffu
#define FORMER_PAGES_BITS 12

/* log2 of the clock's unit: the pages of the cache are 2^FORMER_PAGES_BITS units, or less. */
static unsigned former_shift(const struct folio_cache *cache)
{
	unsigned shift = 0;

	while (cache->pool.pages >> shift >> FORMER_PAGES_BITS)
		shift++;
	return shift;
}

static uint16_t former_pack(const struct folio_cache *cache, const void *old)
{
	uint64_t value, clock;

	if (!tree_is_shadow(old))
		return 0;
	value = tree_shadow_value(old);
	clock = value >> SHADOW_CLOCK_BIT >> former_shift(cache) & FORMER_CLOCK_MASK;
	/* One unit earlier, if it would be taken for none: no clock is ahead of the cache's. */
	if (!clock && !(value & SHADOW_MAIN))
		clock = FORMER_CLOCK_MASK;
	return (uint16_t)(clock << SHADOW_CLOCK_BIT | (value & SHADOW_MAIN));
}

void once_begin(struct folio_cache *cache, struct folio *folio, const void *old)
{
	struct evict *evict = &cache->evict;

	folio->refault = REFAULT_ONCE;
	folio->former = former_pack(cache, old);
	folio_u64_store_relaxed(&evict->once_clock, folio_u64_load_relaxed(&evict->clock));
}

void *once_former(const struct folio_cache *cache, const struct folio *folio)
{
	unsigned shift = former_shift(cache);
	uint64_t now = folio_u64_load_relaxed(&cache->evict.clock) >> shift, age;

	if (!folio->former)
		return NULL;
	age = (now - (folio->former >> SHADOW_CLOCK_BIT)) & FORMER_CLOCK_MASK;
	return tree_shadow(
		(now - age) << shift << SHADOW_CLOCK_BIT | (folio->former & SHADOW_MAIN));
}

uint64_t once_part(const struct evict *evict)
{
	uint64_t pages = folio_u64_load_relaxed(&evict->once_pages);
	uint64_t since =
		folio_u64_load_relaxed(&evict->clock) - folio_u64_load_relaxed(&evict->once_clock);

	return since > ENDED_PARTS * pages ? 0 : pages;
}

bool once_adopt(struct folio_cache *cache, struct folio *folio)
{
	void *former;

	if (folio->refault != REFAULT_ONCE ||
		heat_is_untouched(folio_u32_load_relaxed(&folio->heat)))
		return false;
	former = once_former(cache, folio);
	folio->refault =
		former ? refault_of(cache, former, UINT64_C(1) << folio->order) : REFAULT_NONE;
	queue_move(&cache->queues, &cache->pool, folio, queue_entered(folio));
	return true;
}
