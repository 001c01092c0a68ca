/* SPDX-License-Identifier: BSD-2-Clause */
/* split.h - splitting a large folio into smaller ones. */
#ifndef FOLIO_SRC_CACHE_SPLIT_H
#define FOLIO_SRC_CACHE_SPLIT_H

#include <stdbool.h>
#include <stdint.h>

#include "cache/types.h"

/*
 * Split a large folio by halves, so that page @index is in a folio of its own. The caller has the
 * folio pinned and locked; afterwards it has the lock and a pin on the first of the new ones.
 * Returns false if the folio is pinned by others, dirty, or has left its file; then it is
 * unchanged.
 */
bool inode_split(struct inode *inode, struct folio *folio, uint64_t index);

/*
 * The same for a caller that has the folio pinned and not locked, and does not wait for its lock.
 * Also returns false if another thread has it locked, or if it is being written back. Afterwards
 * the caller has a pin on the first of the new ones. *@published: not split, since a pin of it is
 * published (core/publish.h).
 */
bool inode_split_unlocked(
	struct inode *inode, struct folio *folio, uint64_t index, bool *published);

#endif
