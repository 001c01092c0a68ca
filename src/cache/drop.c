/* SPDX-License-Identifier: BSD-2-Clause */
/* drop.c - dropping the cached pages of a file. */
#include "cache/drop.h"

#include <stdbool.h>
#include <stdint.h>

#include "base/pause.h"
#include "core/heat.h"
#include "core/walk.h"
#include "cache/dirty.h"
#include "cache/account.h"
#include "cache/limbo.h"
#include "cache/publish.h"

void inode_erase_locked(struct inode *inode, struct folio *folio)
{
	tree_erase_locked(&inode->tree, folio->index, folio->order, NULL);
	inode_account_locked(inode, -(INT64_C(1) << folio->order));
	/* Before queue_remove: an evictor that isolated it must not queue it (evict/evict.c). */
	folio_ptr_store_relaxed(&folio->owner, NULL);
	queue_remove(&inode->cache->queues, &inode->cache->pool, folio);
}

#define DROP_BATCH 64  /* folios that are dropped under one hold of the tree's lock */
#define DROP_LOOKS 512 /* folios that are examined under one hold */

/* Why a folio was left: it is being written back; it is dirty. */
enum { DROP_BUSY = 1, DROP_DIRTY = 2 };

/*
 * Put the tree's references of @n folios that were erased.
 *
 * R4 (folio/ref.h): erased from the tree before the reference is dropped. put is a release: a
 * getter that comes after it sees the erase, so its second load of the slot fails. A thread that
 * has the folio pinned keeps it. If the pin is published, the folio goes to the limbo list (steps
 * D2 to D4 of core/publish.h).
 */
static void put_dropped(
	struct folio_cache *cache, struct folio **dropped, const bool *was_dirty, unsigned n)
{
	struct publish_set set;
	unsigned i, pinned = 0;
	bool freed = false;

	publish_scan(&cache->pool, true, &set);
	for (i = 0; i < n; i++) {
		if (was_dirty[i])
			folio_put(dropped[i]);
		if (publish_has(&set, &cache->pool, dropped[i]))
			dropped[pinned++] = dropped[i];
		else
			freed |= progress_put(dropped[i]);
	}
	limbo_add(cache, dropped, pinned, !set.unknown);
	progress_end(&cache->progress, freed);
}

/*
 * Drop the pages first .. last: clean folios, and with @discard also dirty folios that are entirely
 * in the range. With @held_only, only folios that have a reference besides the tree's, or of which
 * a pin is published; all such pins come before this call. Returns the reasons for which folios
 * were left, or 0.
 */
static unsigned drop(struct inode *inode, uint64_t first, uint64_t last, bool discard,
	bool held_only, struct stats_shard *shard)
{
	struct folio *dropped[DROP_BATCH];
	struct folio_cache *cache = inode->cache;
	uint64_t index = first, pages = 0, unused = 0;
	bool was_dirty[DROP_BATCH], more;
	unsigned n, looks, left = 0;
	struct publish_set held;
	void *entry;

	limbo_look(cache);
	if (held_only)
		publish_scan(&cache->pool, false, &held);
	do {
		n = 0;
		more = false;
		tree_lock(&inode->tree);
		for (looks = 0; (entry = tree_next_locked(&inode->tree, &index, last)); looks++) {
			struct folio *folio = entry_folio(entry);
			uint64_t size = UINT64_C(1) << folio->order;
			/* relaxed: both flags change only under the tree's lock, held here. */
			uint32_t flags = folio_u32_load_relaxed(&folio->flags);

			more = n == DROP_BATCH || looks == DROP_LOOKS;
			if (more)
				break;
			if (held_only && folio_ref_count(&folio->ref) == 1 &&
				!publish_has(&held, &cache->pool, folio)) {
				index = folio->index + size;
				continue;
			}
			if (flags & FOLIO_WRITEBACK ||
				(flags & FOLIO_DIRTY && !(discard && folio->index >= first &&
								last - folio->index >= size - 1))) {
				left |= flags & FOLIO_WRITEBACK ? DROP_BUSY : DROP_DIRTY;
				index = folio->index + size;
				continue;
			}
			/*
			 * It is in the tree and the lock is held: the tree's reference is ours.
			 * This thread is busy while it has folios that are in no queue and not in
			 * the pool.
			 */
			if (n == 0)
				progress_begin(&cache->progress);
			was_dirty[n] = dirty_forget_locked(inode, folio);
			inode_erase_locked(inode, folio);
			pages += size;
			unused += heat_unused_pages(folio);
			dropped[n++] = folio;
		}
		if (!more && !held_only)
			tree_erase_shadows_locked(&inode->tree, first, last);
		tree_unlock(&inode->tree);
		FOLIO_PAUSE(drop_erased, NULL);
		if (n)
			put_dropped(cache, dropped, was_dirty, n);
	} while (more);
	stats_add(shard, STAT_INVALIDATIONS, pages);
	stats_add(shard, STAT_READAHEAD_UNUSED, unused);
	return left;
}

void inode_invalidate(struct inode *inode, uint64_t first, uint64_t last, struct stats_shard *shard)
{
	drop(inode, first, last, false, false, shard);
}

bool inode_discard(struct inode *inode, uint64_t first, uint64_t last, struct stats_shard *shard)
{
	unsigned left;

	do {
		dirty_wait_written(inode, first, last);
		left = drop(inode, first, last, true, false, shard);
	} while (left & DROP_BUSY);
	return !left;
}

void inode_drop_held(struct inode *inode, struct stats_shard *shard)
{
	drop(inode, 0, UINT64_MAX, true, true, shard);
}
