/* SPDX-License-Identifier: BSD-2-Clause */
/* split.c - splitting a large folio into smaller ones. */
#include "cache/split.h"

#include <stdbool.h>
#include <stdint.h>

#include "base/pause.h"
#include "core/heat.h"
#include "cache/account.h"
#include "cache/publish.h"

/*
 * Store one of the folios that @whole is split into; it is frozen, and ours alone. @valid: bytes
 * that the file has from the beginning of this folio on. Returns false if there is no node for it.
 */
static bool store_piece(struct inode *inode, struct folio *folio, const struct folio *whole,
	uint64_t index, unsigned order, uint64_t valid)
{
	uint64_t bytes = (uint64_t)FOLIO_PAGE_SIZE << order;
	struct pool *pool = &inode->cache->pool;

	pool_begin_use(pool, folio, FOLIO_TYPE_FILE, inode, index);
	folio->order = (uint8_t)order;
	folio_u32_store_relaxed(&folio->valid, (uint32_t)(valid < bytes ? valid : bytes));
	heat_set(pool, folio, HEAT_COLD);
	/* The first stays locked. In the others, queue still has the value from the pool. */
	if (folio != whole) {
		folio_u32_store_relaxed(&folio->flags,
			FOLIO_UPTODATE | (folio_u32_load_relaxed(&whole->flags) & FOLIO_WRITTEN));
		folio_u8_store_relaxed(&folio->queue, QUEUE_NONE);
	}
	pool_change_end(pool, folio);
	if (tree_store_locked(&inode->tree, index, order, entry_of(folio)) == 0) {
		inode_account_locked(inode, INT64_C(1) << order);
		return true;
	}
	pool_change_begin(pool, folio);
	folio_ptr_store_relaxed(&folio->owner, NULL);
	return false;
}

/*
 * Freeze the folio, with the caller's reference and the tree's, and lock the tree. Returns false if
 * it stays as it is: it is pinned, dirty, or has left its file; or an evictor holds it.
 * *@published: a pin of it is published.
 */
static bool freeze(struct inode *inode, struct folio *folio, bool *published)
{
	struct pool *pool = &inode->cache->pool;
	struct publish_set set;
	bool frozen = false;

	*published = false;
	if (!publish_hold(pool_version(pool, folio)))
		return false;
	publish_scan(pool, true, &set);
	*published = publish_has(&set, pool, folio);
	if (!*published) {
		tree_lock(&inode->tree);
		/* A dirty folio has one more reference, so this fails. */
		frozen = folio_ptr_load_relaxed(&folio->owner) == inode &&
			 folio_ref_try_freeze(&folio->ref, 2);
		if (frozen)
			pool_change_begin(pool, folio);
		else
			tree_unlock(&inode->tree);
	}
	/* Odd from here on: that keeps new pins out as well. */
	publish_unhold(pool_version(pool, folio));
	return frozen;
}

/*
 * The folio is frozen at two references, the caller's and the tree's: no other thread has or gets
 * it, and the odd version turns readers that copy away. Between the erase and the stores a look-up
 * finds no page; a thread that then fills the page waits for the tree lock. Each piece has a
 * reference of ours until it is queued, so that it cannot be put to another use before.
 */
static bool split(struct inode *inode, struct folio *folio, uint64_t index, bool *published)
{
	struct folio_cache *cache = inode->cache;
	uint64_t first = folio->index, start = first, valid = folio_u32_load_relaxed(&folio->valid);
	unsigned order = folio->order, whole_order = order, n = 0, i;
	bool once;
	struct {
		uint64_t index;
		unsigned order;
		bool stored;
	} piece[FOLIO_ORDER_MAX + 1];

	if (!freeze(inode, folio, published))
		return false;
	queue_remove(&cache->queues, &cache->pool, folio);
	once = folio->refault == REFAULT_ONCE &&
	       heat_is_untouched(folio_u32_load_relaxed(&folio->heat));
	tree_erase_locked(&inode->tree, first, whole_order, NULL);
	inode_account_locked(inode, -(INT64_C(1) << whole_order));
	FOLIO_PAUSE(split_erased, folio);
	/* The halves that do not contain the page, then the page itself. */
	while (order > 0) {
		uint64_t half = UINT64_C(1) << --order;

		piece[n].order = order;
		if (index - start < half) {
			piece[n++].index = start + half;
		} else {
			piece[n++].index = start;
			start += half;
		}
	}
	piece[n].order = 0;
	piece[n++].index = start;
	for (i = 0; i < n; i++) {
		uint64_t offset = (piece[i].index - first) << FOLIO_PAGE_SHIFT;
		struct folio *part = folio + (piece[i].index - first);

		piece[i].stored = store_piece(inode, part, folio, piece[i].index, piece[i].order,
			valid > offset ? valid - offset : 0);
		/*
		 * The caller's reference (of the first piece), the tree's and ours. If the first
		 * piece could not be stored, only the caller's is left: it is a dropped folio.
		 */
		if (part == folio || piece[i].stored)
			folio_ref_unfreeze(&part->ref, (part == folio) + 2 * piece[i].stored);
	}
	tree_unlock(&inode->tree);
	FOLIO_PAUSE(split_stored, folio);
	for (i = 0; i < n; i++) {
		struct folio *part = folio + (piece[i].index - first);

		if (piece[i].stored) {
			part->refault = once ? REFAULT_ONCE : REFAULT_NONE;
			part->former = 0;
			queue_insert(&cache->queues, &cache->pool, &part, 1);
			folio_put(part);
		} else if (part != folio) {
			pool_free(&cache->pool, part);
		}
	}
	return true;
}

bool inode_split(struct inode *inode, struct folio *folio, uint64_t index)
{
	bool published;

	return split(inode, folio, index, &published);
}

bool inode_split_unlocked(struct inode *inode, struct folio *folio, uint64_t index, bool *published)
{
	bool done;

	*published = false;
	/* Before a scan of all published pins: another thread has it pinned, or it is dirty. */
	if (folio_ref_count(&folio->ref) != 2 || !folio_lock_try(folio))
		return false;
	done = folio_u32_load_relaxed(&folio->flags) & FOLIO_UPTODATE && folio->order > 0 &&
	       split(inode, folio, index, published);
	folio_unlocked(folio);
	return done;
}
