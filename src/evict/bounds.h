/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bounds.h - the floor and the ceiling of a file: how many of its pages stay cached, and how many
 * may be.
 *
 * Floor. A folio that would be evicted, of a file with no more pages than its floor, is parked: it
 * is found there when the file has more. So it takes no more looks than a pinned one. The floors of
 * all files are half of the budget at most. If the budget has become smaller since they were set,
 * each is smaller in proportion. A scan that would otherwise find no page ignores them.
 *
 * Ceiling. Before a fill would exceed it, the filler evicts pages of the file itself. It finds them
 * by a hand that goes round the file's tree in the order of the pages (Corbato's CLOCK, 1968), and
 * treats them as if each were at the tail of its queue. The first time, the hand only leaves a mark
 * (HEAT_PASSED), which the next use removes. So it passes each page twice before it evicts it, and
 * a page stays while half of the ceiling is fetched after it, wherever the hand is. Pages that were
 * read ahead are read in that time: windows are an eighth of the ceiling.
 */
#ifndef FOLIO_SRC_EVICT_BOUNDS_H
#define FOLIO_SRC_EVICT_BOUNDS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "cache/call.h"
#include "evict/scan.h"

/* The pages that the file has cached, or is reading. Exact with the tree's lock. */
static inline uint64_t bounds_cached(const struct inode *inode)
{
	return folio_u64_load_relaxed(&inode->pages);
}

/* Has any file a floor? */
static inline bool bounds_any_floor(const struct folio_cache *cache)
{
	return unlikely(folio_u64_load_relaxed(&cache->evict.floors) != 0);
}

/*
 * True if the file of the folio would have fewer pages than its floor without the folio. The caller
 * holds the queues' lock, and the folio is queued; or the tree's lock, and the folio is in it.
 */
bool bounds_keep(const struct folio *folio);

/*
 * How many pages of the file a call may fetch before they are read: of a file with a ceiling, an
 * eighth of that.
 */
static inline uint64_t bounds_window(const struct inode *inode)
{
	uint64_t ceiling = folio_u64_load_relaxed(&inode->ceiling);

	if (likely(!ceiling))
		return UINT64_MAX;
	return ceiling / 8 ? ceiling / 8 : 1;
}

/* How many more pages the file may have before its ceiling evicts some of it. */
static inline uint64_t bounds_space(const struct inode *inode)
{
	uint64_t ceiling = folio_u64_load_relaxed(&inode->ceiling), has = bounds_cached(inode);

	if (!ceiling)
		return UINT64_MAX;
	return ceiling > has ? ceiling - has : 0;
}

/* Evict pages of a file with a ceiling, if it would exceed that by a folio of 2^order pages. */
void bounds_make_space(struct call *call, struct inode *inode, unsigned order);

/*
 * The next folio of scan->own by its hand, queued and not pinned, or NULL. The lock is held, and
 * passed to other threads in the course of many looks.
 */
struct folio *bounds_next(struct folio_cache *cache, struct scan *scan);

#endif
