/* SPDX-License-Identifier: BSD-2-Clause */
/* hit.h - the hit of a short read, inlined into the functions that read. */
#ifndef FOLIO_SRC_READ_HIT_H
#define FOLIO_SRC_READ_HIT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/pause.h"
#include "core/heat.h"
#include "cache/thread.h"
#include "read/copy.h"
#include "read/lookup.h"

/* Bytes of the longest read that is copied inline. */
#define SHORT_MAX 128

/*
 * The rare end of a hit: records the folio's heat, and reads the next window ahead if the folio has
 * the mark.
 */
ssize_t read_touch(struct folio_file *file, struct folio *folio, size_t len, uint64_t offset);

/* The same for a read with FOLIO_READ_ONCE, which records no heat. */
ssize_t read_touch_once(struct folio_file *file, struct folio *folio, size_t len, uint64_t offset);

/*
 * A complete hit of a short read, as a leaf function. It uses the hint instead of the tree. All
 * memory that it accesses is type-stable. The descriptor shows whether
 * the folio is the right one: owner, index and valid are stored before the version of a use becomes
 * even, and erase clears the owner. So, between two loads of the same even version (core/version.h,
 * with 3 in place of the second load of the slot):
 *
 *   2     version: even?                acquire
 *   3     owner, index, valid: does the folio have the bytes?
 *   4     copy
 *   5, 6  acquire fence; version still the same?
 *
 * Returns false in all other cases, a useless hint included. Then read_by_tree reads, and updates
 * the hint. *cold: the folio, if its heat is to be recorded (read_touch), else NULL. The caller has
 * checked thread_hit.
 */
static inline __attribute__((always_inline)) bool read_hit(
	struct folio_file *file, void *buf, size_t len, uint64_t offset, struct folio **cold)
{
	uint64_t version, first, in_folio;
	struct inode *inode;
	struct folio *folio;
	uint32_t hint, page;

	if (unlikely(len - 1 >= SHORT_MAX || !buf))
		return false;
	inode = file->inode;
	hint = folio_u32_load_relaxed(hint_slot(file, inode, offset));
	page = hint_page(hint);
	folio = &file->folios[page];
	in_folio = offset & (((uint64_t)FOLIO_PAGE_SIZE << hint_order(hint)) - 1);
	FOLIO_PAUSE(copy_before_version, folio);
	if (unlikely(!version_read_begin(&folio->version, &version)))
		return false;
	FOLIO_PAUSE(copy_before_slot, folio);
	if (unlikely(folio_ptr_load_relaxed(&folio->owner) != inode))
		return false;
	first = folio_u64_load_relaxed(&folio->index) << FOLIO_PAGE_SHIFT;
	if (unlikely(first + in_folio != offset ||
		     in_folio + len > folio_u32_load_relaxed(&folio->valid)))
		return false;
	FOLIO_PAUSE(copy_before_copy, folio);
	copy_short(buf, file->data + ((uint64_t)page << FOLIO_PAGE_SHIFT) + in_folio, len);
	if (unlikely(!version_read_valid(&folio->version, version)))
		return false;
	stats_add(thread_last.shard, STAT_HITS, 1);
	*cold = unlikely(heat_wants_touch(folio_u32_load_relaxed(&folio->heat))) ? folio : NULL;
	return true;
}

#endif
