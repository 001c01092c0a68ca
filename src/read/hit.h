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
 * A complete hit of a short read: steps 1 to 6 of core/version.h, in one attempt. All memory that
 * it accesses is type-stable. Returns false in all other cases. *cold: the folio, if its heat is to
 * be recorded (read_touch), else NULL. The caller has checked thread_hit.
 *
 * @plain: only of one page that the tree's directory leads to, wholly valid: the most frequent hit,
 * as a leaf function. What waits for memory occupies the processor's queues, and so limits how many
 * hits it has in flight. Hence few instructions depend on the entry, and few values live at the
 * same time.
 *
 * The size of the file is not needed: a folio has no more valid bytes than the file had when it was
 * filled, and it leaves the tree, or becomes shorter, when the file does.
 */
static inline __attribute__((always_inline)) bool read_hit(struct folio_file *file, void *buf,
	size_t len, uint64_t offset, struct folio **cold, bool plain)
{
	uint64_t seen, bytes = FOLIO_PAGE_SIZE, in_folio = offset & (FOLIO_PAGE_SIZE - 1);
	struct tree *tree = &file->inode->tree;
	struct tree_place place;
	struct folio *folio;
	folio_u64 *version;
	void *entry;

	if (unlikely(len - 1 >= SHORT_MAX) || (plain && unlikely(in_folio + len > bytes)) ||
		unlikely(!buf))
		return false;
	entry = hit_walk(tree, offset >> FOLIO_PAGE_SHIFT, &place, !plain);
	folio = entry;
	/* One test for most entries: neither a tag nor an order. */
	if (unlikely((uintptr_t)entry & ~ENTRY_FOLIO_MASK)) {
		if (!entry_is_folio(entry))
			return false;
		folio = entry_folio(entry);
		bytes = entry_bytes(entry);
		in_folio = offset & (bytes - 1);
	}
	if (unlikely(!folio) || (!plain && unlikely(in_folio + len > bytes)))
		return false;
	version = view_version(file, folio);
	FOLIO_PAUSE(copy_before_version, folio);
	if (unlikely(!version_read_whole(version, &seen))) {
		if (plain || seen & VERSION_CHANGING ||
			in_folio + len > folio_u32_load_relaxed(&folio->valid))
			return false;
	}
	FOLIO_PAUSE(copy_before_slot, folio);
	if (unlikely(!tree_still(tree, &place, entry)))
		return false;
	FOLIO_PAUSE(copy_before_copy, folio);
	copy_short(buf, view_data(file, folio) + in_folio, len);
	if (unlikely(!version_read_valid(version, seen)))
		return false;
	stats_add(thread_last.shard, STAT_HITS, 1);
	*cold = unlikely(seen & VERSION_TOUCH) ? folio : NULL;
	return true;
}

#endif
