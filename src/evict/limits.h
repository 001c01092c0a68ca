/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * limits.h - limits of eviction that follow from the number of pages that it may have: the budget
 * without the parked pages.
 */
#ifndef FOLIO_SRC_EVICT_LIMITS_H
#define FOLIO_SRC_EVICT_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "cache/types.h"

/* Set the limits for a budget of @pages pages. resize_lock is held. */
void evict_set_budget(struct folio_cache *cache, uint64_t pages);

/*
 * Set the limits again if the number of parked pages has changed by so much that it matters. The
 * queues' lock is held.
 */
void limits_fit(struct folio_cache *cache);

/*
 * As limits_fit, for a caller that does not hold the lock, and only if the limits take pages for
 * parked. No scan may follow that would find that those pages have been dropped.
 */
void limits_refresh(struct folio_cache *cache);

/* Pages that the windows of all streams may have, one window for each stream (struct pace). */
uint64_t limits_readahead(const struct folio_cache *cache);

/*
 * How many more pages a caller may request that has requested @asked pages which have not been read
 * yet. The bound keeps the last of them from evicting the first. They enter the small queue, from
 * which pages are evicted first if it has more than its part, or with @once the queue of
 * evict/once.h; or there are free pages, and none is evicted. The first page may always be
 * requested.
 */
uint64_t evict_headroom(const struct folio_cache *cache, uint64_t asked, bool once);

#endif
