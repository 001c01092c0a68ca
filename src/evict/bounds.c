/* SPDX-License-Identifier: BSD-2-Clause */
/* bounds.c - the floor and the ceiling of a file. */
#include "evict/bounds.h"

#include <errno.h>

#include <folio/file.h>

#include "core/heat.h"
#include "core/walk.h"
#include "evict/evict.h"

/* Folios that the hand of a file examines for one fill, besides four for each page. */
#define HAND_LOOKS 256

/* ---- floors ---- */

/* What the floor of a file is by the present budget, in pages. */
static uint64_t floor_now(const struct inode *inode)
{
	const struct evict *evict = &inode->cache->evict;
	uint64_t floor = folio_u64_load_relaxed(&inode->floor);
	uint64_t sum = folio_u64_load_relaxed(&evict->floors);
	uint64_t max = folio_u64_load_relaxed(&evict->floors_max);

	/* Both factors have 32 bits: a cache has fewer pages than POOL_NONE. */
	return sum > max ? floor * max / sum : floor;
}

bool bounds_keep(const struct folio *folio)
{
	/* acquire: as the first load of evict_one. The file stays open, as in set_aside. */
	const struct inode *inode = folio_ptr_load_acquire(&((struct folio *)folio)->owner);
	uint64_t floor = inode ? floor_now(inode) : 0;

	return floor && bounds_cached(inode) < floor + (UINT64_C(1) << folio->order);
}

/* ---- ceilings ---- */

struct folio *bounds_next(struct folio_cache *cache, struct scan *scan)
{
	struct inode *inode = scan->own;

	for (; scan->looks > 0; scan->looks--) {
		uint64_t index;
		struct folio *folio;
		uint32_t word, dirty;
		void *entry;

		if (scan->looks % SCAN_LOCKED == 0)
			queues_pass(&cache->queues);
		index = inode->hand;
		/* The tree's lock comes before the queues' lock. If nodes leave, look again. */
		if (!tree_next_try(&inode->tree, &index, TREE_INDEX_MAX, &entry))
			continue;
		if (!entry) {
			if (!inode->hand)
				return NULL;
			inode->hand = 0;
			continue;
		}
		inode->hand = (index | ((UINT64_C(1) << entry_order(entry)) - 1)) + 1;
		folio = entry_folio(entry);
		/*
		 * It may have left the tree since. While it is queued and has the owner, it is a
		 * folio of the file: the lock is held.
		 */
		if (folio_u8_load_relaxed(&folio->queue) <= POOL_QUEUE_OUT ||
			folio_ptr_load_relaxed(&folio->owner) != inode)
			continue;
		word = folio_u32_load_relaxed(&folio->heat);
		dirty = folio_u32_load_relaxed(&folio->flags) & (FOLIO_DIRTY | FOLIO_WRITEBACK);
		if (!(word & HEAT_PASSED))
			heat_set(&cache->pool, folio, word | HEAT_PASSED);
		else if (folio_ref_count(&folio->ref) <= (dirty ? 2 : 1))
			return folio;
	}
	return NULL;
}

/* Evict pages of the file until it has @pages fewer than its ceiling, with at most @looks. */
static void evict_own(struct call *call, struct inode *inode, uint64_t pages, uint64_t looks)
{
	uint64_t ceiling = folio_u64_load_relaxed(&inode->ceiling), has;
	struct scan scan = {.looks = looks, .own = inode};
	uint32_t ends = 0;

	while (ceiling && scan.looks > 0 && (has = bounds_cached(inode) + pages) > ceiling) {
		uint64_t before = scan.looks;

		if (!evict_batch(call->cache, has - ceiling, &scan, true, &ends, call->shard) &&
			scan.looks == before)
			break;
	}
}

void bounds_make_space(struct call *call, struct inode *inode, unsigned order)
{
	uint64_t pages = UINT64_C(1) << order;

	if (likely(!folio_u64_load_relaxed(&inode->ceiling)))
		return;
	evict_own(call, inode, pages, HAND_LOOKS + 4 * pages);
}

/* ---- setting them ---- */

static uint64_t pages_of(uint64_t bytes)
{
	return (bytes >> FOLIO_PAGE_SHIFT) + !!(bytes & (FOLIO_PAGE_SIZE - 1));
}

/* Set the floor and the ceiling of a file, in pages, together. 0 or -ENOSPC. */
static int set_bounds(struct inode *inode, uint64_t floor, uint64_t ceiling)
{
	struct evict *evict = &inode->cache->evict;
	uint64_t had, others;
	int r = 0;

	queues_lock(&inode->cache->queues);
	had = folio_u64_load_relaxed(&inode->floor);
	others = folio_u64_load_relaxed(&evict->floors) - had;
	/* A smaller one is set in any case: the budget may have become smaller, too. */
	if (floor > had && (floor > folio_u64_load_relaxed(&evict->floors_max) ||
				   others + floor > folio_u64_load_relaxed(&evict->floors_max))) {
		r = -ENOSPC;
	} else {
		folio_u64_store_relaxed(&inode->floor, floor);
		folio_u64_store_relaxed(&evict->floors, others + floor);
		folio_u64_store_relaxed(&inode->ceiling, ceiling);
	}
	queues_unlock(&inode->cache->queues);
	return r;
}

int folio_file_set_share(struct folio_file *file, uint64_t floor, uint64_t ceiling)
{
	struct inode *inode;
	struct call call;
	int r;

	if (!file || (ceiling && floor > ceiling))
		return -EINVAL;
	r = call_begin(&call, file->cache, file->cache_id, false);
	if (r)
		return r;
	inode = file->inode;
	r = set_bounds(inode, pages_of(floor), pages_of(ceiling));
	if (r)
		return r;
	/* Two rounds of the hand, and one for each degree of heat. */
	evict_own(&call, inode, 0, 4 * bounds_cached(inode) + EVICT_BATCH);
	return 0;
}
