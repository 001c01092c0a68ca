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
 * Drop the pages first .. last: clean folios, and with @discard also dirty folios that are entirely
 * in the range. With @held_only, only folios that have a reference besides the tree's. Returns the
 * reasons for which folios were left, or 0.
 */
static unsigned drop(struct inode *inode, uint64_t first, uint64_t last, bool discard,
	bool held_only, struct stats_shard *shard)
{
	struct folio *dropped[DROP_BATCH];
	uint64_t index = first, pages = 0, unused = 0;
	bool was_dirty[DROP_BATCH];
	unsigned n, i, looks, left = 0;
	bool freed, more;
	void *entry;

	do {
		n = 0;
		freed = more = false;
		tree_lock(&inode->tree);
		for (looks = 0; (entry = tree_next_locked(&inode->tree, &index, last)); looks++) {
			struct folio *folio = entry_folio(entry);
			uint64_t size = UINT64_C(1) << folio->order;
			/* relaxed: both flags change only under the tree's lock, held here. */
			uint32_t flags = folio_u32_load_relaxed(&folio->flags);

			more = n == DROP_BATCH || looks == DROP_LOOKS;
			if (more)
				break;
			if (held_only && folio_ref_count(&folio->ref) == 1) {
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
				progress_begin(&inode->cache->progress);
			was_dirty[n] = dirty_forget_locked(inode, folio);
			inode_erase_locked(inode, folio);
			pages += size;
			unused += heat_unused_pages(folio);
			dropped[n++] = folio;
		}
		if (!more && !held_only)
			tree_erase_shadows_locked(&inode->tree, first, last);
		tree_unlock(&inode->tree);
		/*
		 * R4 (folio/ref.h): erased from the tree before the reference is dropped. put is a
		 * release: a getter that comes after it sees the erase, so its second load of the
		 * slot fails. A thread that has the folio pinned keeps it.
		 */
		FOLIO_PAUSE(drop_erased, NULL);
		for (i = 0; i < n; i++) {
			if (was_dirty[i])
				folio_put(dropped[i]);
			freed |= progress_put(dropped[i]);
		}
		if (n)
			progress_end(&inode->cache->progress, freed);
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
