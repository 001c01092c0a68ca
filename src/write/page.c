/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * page.c - changing one locked folio.
 *
 * A write changes one folio at a time, each with the folio locked:
 *
 *   0  the next part of the data, in a buffer of the library: from here on, no page fault of the
 *      program's memory can occur
 *   1  the folio of the page: found; or filled, if only a part of it is written; or new, if it is
 *      written in full
 *   2  lock: no other writer, and no write-back in flight (stable pages)
 *   3  still in the file?  no: begin again
 *   4  version odd, the data, valid, version even    a reader that copies sees all of it or none
 *   5  dirty: mark and flag under the tree lock, if it is still in the file; else begin again
 *   6  the size, if it grew                          before 7: write-back goes as far as the size
 *   7  unlock
 *
 * map_lock, shared: no page is truncated in the meantime. size_lock, if the file grows: one writer
 * at a time.
 *
 * In the folio that contains the end of the file, the bytes past the end are zeros (zero_tail), and
 * its valid ends there. A thread that makes the file longer first fills that folio up, and then
 * stores the size.
 */
#include "write/page.h"

#include <string.h>

#include "base/compiler.h"
#include "base/pause.h"
#include "core/heat.h"
#include "cache/dirty.h"
#include "cache/drop.h"
#include "cache/size.h"
#include "cache/split.h"
#include "read/fill.h"
#include "read/lookup.h"

static void advance(struct write_op *op, size_t len)
{
	op->part += len;
	op->part_left -= len;
	op->left -= len;
	op->offset += len;
}

/* Steps 5 to 7. Returns false if the folio has left the file; then it is only unlocked. */
static bool finish_write(struct inode *inode, struct folio *folio, uint64_t size, uint64_t sequence)
{
	bool in_file = true;

	if (sequence || !(folio_u32_load_relaxed(&folio->flags) & FOLIO_DIRTY)) {
		tree_lock(&inode->tree);
		in_file = folio_ptr_load_relaxed(&folio->owner) == inode;
		if (in_file) {
			dirty_mark_locked(inode, folio);
			dirty_sequence_locked(inode, folio, sequence);
		}
		tree_unlock(&inode->tree);
	}
	if (in_file)
		inode_grow_to(inode, size);
	folio_unlocked(folio);
	return in_file;
}

/* Step 3; also checks that the byte at @offset is in the folio. */
static bool can_write(struct inode *inode, struct folio *folio, uint64_t offset)
{
	uint64_t start = folio->index << FOLIO_PAGE_SHIFT;

	return folio_ptr_load_relaxed(&folio->owner) == inode &&
	       folio_u32_load_relaxed(&folio->flags) & FOLIO_UPTODATE && offset >= start &&
	       offset < start + folio_size(folio);
}

enum page_verdict write_folio(struct write_op *op, struct folio *folio)
{
	struct inode *inode = op->file->inode;
	uint64_t bytes, in_folio, end, offset = op->offset;
	size_t len = op->part_left;
	bool all;

	if (unlikely(folio->order > 0))
		folio_wait_settled(folio, op->call->until);
	if (!folio_lock_wait(folio, op->call->until))
		return page_failed(op->call, -ETIMEDOUT);
	if (!can_write(inode, folio, offset)) {
		folio_unlocked(folio);
		return PAGE_CHANGED;
	}
	bytes = folio_size(folio);
	in_folio = offset - (folio->index << FOLIO_PAGE_SHIFT);
	if (len > bytes - in_folio)
		len = bytes - in_folio;
	/* The write replaces the folio, if not in one part. */
	all = in_folio == 0 && op->left >= bytes;
	if (unlikely(folio->order > 0 && !all) &&
		!(folio_u32_load_relaxed(&folio->flags) & FOLIO_DIRTY) &&
		inode_split(inode, folio, offset >> FOLIO_PAGE_SHIFT)) {
		folio_unlocked(folio);
		return PAGE_CHANGED;
	}
	end = folio_bytes_in_file(folio, folio_u64_load_acquire(&inode->size));
	/*
	 * The folio was filled before the file grew, and the thread that made the file longer did
	 * not find it here (read/fill.c). It must be read again.
	 */
	if (unlikely(folio_u32_load_relaxed(&folio->valid) < end) &&
		!(folio_u32_load_relaxed(&folio->flags) & (FOLIO_DIRTY | FOLIO_WRITEBACK))) {
		folio_unlocked(folio);
		inode_invalidate(inode, folio->index, folio->index, op->call->shard);
		return PAGE_CHANGED;
	}
	pool_change_begin(&inode->cache->pool, folio);
	folio_zero_to(folio, in_folio > end ? in_folio : end);
	memcpy((char *)folio->data + in_folio, op->part, len);
	FOLIO_PAUSE(write_copied, folio);
	if (in_folio + len > folio_u32_load_relaxed(&folio->valid))
		folio_u32_store_relaxed(&folio->valid, (uint32_t)(in_folio + len));
	pool_change_end(&inode->cache->pool, folio);
	heat_record_write(&op->call->cache->pool, folio, offset, len, op->call->once);
	if (!finish_write(inode, folio, offset + len, op->sequence))
		return PAGE_CHANGED;
	advance(op, len);
	return PAGE_READY;
}

enum page_verdict write_new(struct write_op *op, size_t len)
{
	struct inode *inode = op->file->inode;
	uint64_t index = op->offset >> FOLIO_PAGE_SHIFT;
	uint64_t in_folio = op->offset & (FOLIO_PAGE_SIZE - 1), bytes;
	struct page_range range = {index, index + ((in_folio + len) >> FOLIO_PAGE_SHIFT)};
	enum page_verdict verdict;
	struct folio *folio;

	if (range.end == index)
		range.end++;
	verdict = fill_new(op->call, inode, range, &folio);
	if (verdict != PAGE_READY)
		return verdict;
	bytes = folio_size(folio);
	if (len > bytes - in_folio)
		len = bytes - in_folio;
	pool_change_begin(&inode->cache->pool, folio);
	memset(folio->data, 0, in_folio);
	memcpy((char *)folio->data + in_folio, op->part, len);
	memset((char *)folio->data + in_folio + len, 0, bytes - in_folio - len);
	heat_record_write(&op->call->cache->pool, folio, op->offset, len, op->call->once);
	if (fill_publish(inode, folio, in_folio + len, op->offset + len, op->sequence))
		advance(op, len);
	else
		verdict = PAGE_CHANGED;
	progress_end(&inode->cache->progress, progress_put(folio));
	return verdict;
}

int extend_tail(struct call *call, struct folio_file *file, uint64_t size)
{
	struct inode *inode = file->inode;
	uint64_t had = folio_u64_load_relaxed(&inode->size);
	struct folio *folio;
	int error, r = 0;

	if (!had)
		return 0;
	folio = lookup_find(file, (had - 1) >> FOLIO_PAGE_SHIFT, call->shard, &error);
	if (!folio)
		return 0;
	if (!folio_lock_wait(folio, call->until)) {
		r = -ETIMEDOUT;
		goto put;
	}
	/*
	 * A clean folio that has fewer bytes than the file had must be read again; write_folio and
	 * bytes_readable detect that.
	 */
	if (folio_ptr_load_relaxed(&folio->owner) == inode &&
		folio_u32_load_relaxed(&folio->flags) & FOLIO_UPTODATE &&
		(folio_u32_load_relaxed(&folio->flags) & (FOLIO_DIRTY | FOLIO_WRITEBACK) ||
			folio_u32_load_relaxed(&folio->valid) >= folio_bytes_in_file(folio, had))) {
		pool_change_begin(&inode->cache->pool, folio);
		folio_zero_to(folio, folio_bytes_in_file(folio, size));
		pool_change_end(&inode->cache->pool, folio);
		r = 1;
	}
	folio_unlocked(folio);
put:
	progress_unhold(&inode->cache->progress, progress_put(folio));
	return r;
}

/*
 * The caller has the folio locked: its bytes from @from on become zeros, and its valid ends there.
 */
static void zero_from(const struct pool *pool, struct folio *folio, uint64_t from)
{
	pool_change_begin(pool, folio);
	memset((char *)folio->data + from, 0, folio_size(folio) - from);
	if (folio_u32_load_relaxed(&folio->valid) > from)
		folio_u32_store_relaxed(&folio->valid, (uint32_t)from);
	pool_change_end(pool, folio);
}

void zero_tail(struct folio_file *file, uint64_t size)
{
	struct inode *inode = file->inode;
	uint64_t index = size >> FOLIO_PAGE_SHIFT, start;
	struct folio *folio;
	bool split;

	do {
		split = false;
		/* With the lock: a get may be splitting the folio (get_single). */
		folio = lookup_find_locked(inode, index);
		if (!folio)
			return;
		folio_lock_wait(folio, NULL);
		start = folio->index << FOLIO_PAGE_SHIFT;
		if (folio_ptr_load_relaxed(&folio->owner) == inode && start < size &&
			size - start < folio_size(folio)) {
			if (folio->order > 0)
				split = inode_split(inode, folio, index);
			if (!split)
				zero_from(&inode->cache->pool, folio, size - start);
		}
		folio_unlocked(folio);
		progress_unhold(&inode->cache->progress, progress_put(folio));
	} while (split);
}
