/* SPDX-License-Identifier: BSD-2-Clause */
/* lookup.h - finding a cached page: by copy, by pin through the tree, by pin through the hint. */
#ifndef FOLIO_SRC_READ_LOOKUP_H
#define FOLIO_SRC_READ_LOOKUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/compiler.h"
#include "core/version.h"
#include "cache/hint.h"

/*
 * The end of the valid bytes of a folio that begins at byte @start of the file and has @valid bytes
 * of it, for a reader that has loaded @size as the size of the file. If the file has grown since
 * the folio was filled, only complete pages count: in the page that contained the old end, the
 * bytes past that end are of another moment.
 */
static inline uint64_t valid_end(uint64_t start, uint64_t valid, uint64_t size)
{
	uint64_t end = start + valid;

	if (likely(end == size))
		return end;
	return end < size ? end & ~(uint64_t)(FOLIO_PAGE_SIZE - 1) : size;
}

/*
 * Step 3 of a pinned hit (folio_file_get_page): true if @folio has page @index, up to date. @hint
 * led to the folio, and the caller has a reference to it.
 */
static inline __attribute__((always_inline)) bool pin_matches(
	struct folio_file *file, struct folio *folio, uint32_t hint, uint64_t index)
{
	uint64_t version, in_folio = index & ((UINT64_C(1) << hint_order(hint)) - 1);

	return version_read_begin(&folio->version, &version) &&
	       folio_ptr_load_relaxed(&folio->owner) == file->inode &&
	       folio_u64_load_relaxed(&folio->index) + in_folio == index &&
	       in_folio << FOLIO_PAGE_SHIFT < folio_u32_load_relaxed(&folio->valid);
}

/*
 * Note that the program gets a pin of a page of the file. relaxed: closed_keep loads it after the
 * close of the handle, which the program orders after this call.
 */
static inline __attribute__((always_inline)) void pin_note(struct inode *inode)
{
	if (unlikely(!folio_u8_load_relaxed(&inode->pinned)))
		folio_u8_store_relaxed(&inode->pinned, 1);
}

/*
 * Copy up to @len bytes from @offset, as far as the folio there and the file reach. Returns the
 * number of bytes copied; 0 if the page is not cached, or being changed; -1 if it was changed
 * during the copy. *marked: the caller must read the next window ahead. @once: as for heat_record.
 *
 * During the copy the caller holds nothing, neither a lock nor a reference: @buf may be memory
 * whose page faults another call on the cache must serve.
 */
ssize_t copy_cached(
	struct folio_file *file, void *buf, size_t len, uint64_t offset, bool once, bool *marked);

/*
 * Steps 1 to 4 of lookup.c. Returns the folio that has page @index, up to date or not, with a
 * reference that the caller holds (progress_hold); NULL if there is none. *refused: a folio was
 * found that has as many references as the counter allows.
 */
struct folio *lookup_pin(
	struct inode *inode, uint64_t index, bool *refused, struct stats_shard *shard);

/*
 * The same for a handle. NULL: the page is not cached, and *error is 0; or *error is -EOVERFLOW,
 * for a folio that refuses references.
 */
struct folio *lookup_find(
	struct folio_file *file, uint64_t index, struct stats_shard *shard, int *error);

/*
 * The folio that has page @index, up to date, with a reference, if the hint leads to it; else NULL.
 * The caller is not counted as a holder, and has entered the cache (cache/thread.h).
 */
struct folio *lookup_hinted(struct folio_file *file, uint64_t index, struct stats_shard *shard);

#endif
