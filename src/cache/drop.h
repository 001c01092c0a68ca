/* SPDX-License-Identifier: BSD-2-Clause */
/* drop.h - dropping the cached pages of a file. */
#ifndef FOLIO_SRC_CACHE_DROP_H
#define FOLIO_SRC_CACHE_DROP_H

#include <stdbool.h>
#include <stdint.h>

#include "cache/types.h"

/*
 * Take a folio out of @inode: erase it from the tree, clear its owner, remove it from its queue.
 * The caller holds the tree's lock and knows that the folio is in the tree. It drops the tree's
 * reference after it has released the lock (R4 of folio/ref.h).
 */
void inode_erase_locked(struct inode *inode, struct folio *folio);

/*
 * Drop the pages first .. last, except those that are dirty or being written back. The caller
 * holds neither a tree's lock nor that of the queues. Counts the dropped pages in @shard.
 */
void inode_invalidate(
	struct inode *inode, uint64_t first, uint64_t last, struct stats_shard *shard);

/*
 * Drop the pages first .. last, dirty ones included; waits for writes in flight. Returns false if a
 * dirty folio was left because it extends past the range.
 */
bool inode_discard(struct inode *inode, uint64_t first, uint64_t last, struct stats_shard *shard);

/*
 * Drop the pages that the program has pinned, and those that another thread holds for a moment,
 * dirty ones included. No handle has the file open, and none of its pages is being written back.
 */
void inode_drop_held(struct inode *inode, struct stats_shard *shard);

#endif
