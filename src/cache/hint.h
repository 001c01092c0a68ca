/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hint.h - the table of hints: in which page frame a page of a file was last seen.
 *
 * Fills and look-ups write hints, hits read them. A hint is a guess: the frame's descriptor
 * confirms or refutes it.
 */
#ifndef FOLIO_SRC_CACHE_HINT_H
#define FOLIO_SRC_CACHE_HINT_H

#include <stdint.h>

#include "base/compiler.h"
#include "cache/closed.h"
#include "cache/types.h"

/*
 * A hint holds the number of the folio's first page frame and, in the 4 bits above it, the folio's
 * order. So a reader knows the address of the data before it has read the descriptor, and the
 * processor fetches both in parallel. A cache of more than 1 TiB has frames that no hint can name;
 * folios in them get the hint 0, which does not lead to them.
 */
#define HINT_PAGE_BITS 28

static inline uint32_t hint_make(uint64_t page, unsigned order)
{
	return page >> HINT_PAGE_BITS ? 0 : (uint32_t)page | (uint32_t)order << HINT_PAGE_BITS;
}

static inline uint32_t hint_page(uint32_t hint)
{
	return hint & ((UINT32_C(1) << HINT_PAGE_BITS) - 1);
}

static inline unsigned hint_order(uint32_t hint)
{
	return hint >> HINT_PAGE_BITS;
}

#define HINT_ORDER 6 /* in a file of mostly large folios, a hint is for 2^6 pages */

/*
 * Account for @folio, which enters the tree with @pages pages, or leaves it (@pages is negative).
 * The caller holds the tree's lock. Chooses how many pages share a hint: if most pages of the file
 * are in large folios, one hint for each 64 pages is as good, and the hints in use fit into the
 * CPU's first caches. If the file is closed, and this was its last page, it may be freed.
 *
 * A change makes all earlier hints of the file useless; each is written again by the first reader
 * that misses it. So the choice has hysteresis and stays while the numbers of large and small pages
 * are similar: between two changes, a sixth of the pages must enter or leave, which costs more than
 * the hints.
 */
static inline void inode_account_locked(
	struct inode *inode, const struct folio *folio, int64_t pages)
{
	uint8_t shift = folio_u8_load_relaxed(&inode->hint_shift);
	uint64_t large = folio_u64_load_relaxed(&inode->pages_large);
	uint64_t small = folio_u64_load_relaxed(&inode->pages_small);

	if (folio->order >= HINT_ORDER)
		large += (uint64_t)pages;
	else
		small += (uint64_t)pages;
	folio_u64_store_relaxed(&inode->pages_large, large);
	folio_u64_store_relaxed(&inode->pages_small, small);
	if (large > 2 * small)
		shift = FOLIO_PAGE_SHIFT + HINT_ORDER;
	else if (large < small)
		shift = FOLIO_PAGE_SHIFT;
	if (folio_u8_load_relaxed(&inode->hint_shift) != shift)
		folio_u8_store_relaxed(&inode->hint_shift, shift);
	if (unlikely(inode->closed) && !inode->pages_large && !inode->pages_small)
		closed_emptied_locked(inode);
}

/* Index, before hint_mask is applied, of the hint for byte @offset. @start: inode->hint_start. */
static inline uint64_t hint_at(const struct inode *inode, uint64_t start, uint64_t offset)
{
	return start + (offset >> (folio_u8_load_relaxed(&inode->hint_shift) & 63));
}

/*
 * Write the hints of all pages of @folio, for readers that copy. The caller has filled the folio
 * and holds a reference to it.
 */
void hint_publish(const struct inode *inode, const struct folio *folio);

/* The hint for byte @offset of @file, whose inode is @inode. Other offsets may share it. */
static inline folio_u32 *hint_slot(
	const struct folio_file *file, const struct inode *inode, uint64_t offset)
{
	return &file->hint[hint_at(inode, file->hint_start, offset) & file->hint_mask];
}

/*
 * Set the hint for byte @offset to @folio, which has @order. The hint is loaded first, and stored
 * only if it differs, which is rare: readers that hit share its cache line.
 */
static inline void hint_update(
	const struct folio_file *file, uint64_t offset, const struct folio *folio, unsigned order)
{
	folio_u32 *at = hint_slot(file, file->inode, offset);
	uint32_t hint = hint_make((uint64_t)(folio - file->folios), order);

	if (folio_u32_load_relaxed(at) != hint)
		folio_u32_store_relaxed(at, hint);
}

#endif
