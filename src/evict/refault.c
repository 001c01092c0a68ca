/* SPDX-License-Identifier: BSD-2-Clause */
/* refault.c - pages that return. */
#include "evict/refault.h"

#include "core/tree.h"

/* The bits of the clock in a shadow. Where pointers have 32, it wraps after 2 TiB of pages. */
#define SHADOW_CLOCK_MASK (UINTPTR_MAX >> (2 + SHADOW_CLOCK_BIT))

/* So many of REFAULT_TRUST are always tried, so that a change of the workload is noticed. */
#define TRUST_MIN         (REFAULT_TRUST / 64)

/* The small queue may have at most so much, and a queue gets no more for a page than 64. */
#define SMALL_MAX         (REFAULT_WHOLE - REFAULT_SMALL_MIN)
#define STEP_MAX          64

/*
 * Pages have missed that would still be cached if their queue had been larger: @main, the main
 * queue, else the small one. It becomes larger by as much as its evicted pages are rare: the fewer
 * a queue evicts, the more is such a miss worth. So the queues divide the pages by what each would
 * gain from one more, as the lists of ARC do (Megiddo and Modha, FAST 2003).
 *
 * relaxed, and an update may be lost: the next ones make up for it.
 */
static void adapt(struct evict *evict, bool main, uint64_t pages)
{
	uint64_t share = folio_u64_load_relaxed(&evict->small_share);
	uint64_t part = folio_u64_load_relaxed(&evict->small_evicted);
	uint64_t all = folio_u64_load_relaxed(&evict->pages), step;

	if (main)
		part = REFAULT_WHOLE - part;
	if (part < REFAULT_WHOLE / STEP_MAX)
		part = REFAULT_WHOLE / STEP_MAX;
	step = (REFAULT_WHOLE << 16) / part * pages;
	step = all ? (REFAULT_WHOLE >> 16) * step / all : 0;
	if (main)
		share = share > REFAULT_SMALL_MIN + step ? share - step : REFAULT_SMALL_MIN;
	else
		share = share + step < SMALL_MAX ? share + step : SMALL_MAX;
	folio_u64_store_relaxed(&evict->small_share, share);
}

void refault_count(struct evict *evict, bool main, uint64_t pages)
{
	uint64_t part = folio_u64_load_relaxed(&evict->small_evicted);
	uint64_t all = folio_u64_load_relaxed(&evict->pages);

	/* The average moves once while as many pages are evicted as there are. */
	if (pages >= all)
		part = main ? 0 : REFAULT_WHOLE;
	else if (main)
		part -= part / all * pages;
	else
		part += (REFAULT_WHOLE - part) / all * pages;
	folio_u64_store_relaxed(&evict->small_evicted, part);
}

uint64_t refault_small_target(const struct evict *evict)
{
	uint64_t share = folio_u64_load_relaxed(&evict->small_share);

	return (folio_u64_load_relaxed(&evict->pages) * (share >> 12)) >> 20;
}

void *refault_shadow(uint64_t clock, bool main)
{
	return tree_shadow(clock << SHADOW_CLOCK_BIT | (main ? SHADOW_MAIN : 0));
}

uint8_t refault_of(struct folio_cache *cache, const void *shadow, uint64_t pages)
{
	struct evict *evict = &cache->evict;
	uint64_t value = tree_shadow_value(shadow), now = folio_u64_load_relaxed(&evict->clock);
	uint32_t trust, sum;

	if (((now - (value >> SHADOW_CLOCK_BIT)) & SHADOW_CLOCK_MASK) >
		folio_u64_load_relaxed(&evict->ghost_pages))
		return REFAULT_NONE;
	adapt(evict, value & SHADOW_MAIN, pages);
	if (!(value & SHADOW_MAIN))
		return REFAULT_NEWCOMER;
	/* Each time the sum passes a multiple of REFAULT_TRUST, which divides 2^32. */
	trust = folio_u32_load_relaxed(&evict->trust);
	sum = folio_u32_fetch_add_relaxed(&evict->trials, trust);
	return sum % REFAULT_TRUST + trust >= REFAULT_TRUST ? REFAULT_TRIAL : REFAULT_REFUSED;
}

void refault_end_trial(struct evict *evict, bool used)
{
	uint32_t trust = folio_u32_load_relaxed(&evict->trust);

	if (used ? trust < REFAULT_TRUST : trust > TRUST_MIN)
		folio_u32_store_relaxed(&evict->trust, used ? trust + 1 : trust - 1);
}
