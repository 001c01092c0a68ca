/* SPDX-License-Identifier: BSD-2-Clause */
/* hit.c - hits: short reads and pins by the hint. */
#include "read/hit.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "read/demand.h"
#include "read/read.h"

static ssize_t record(
	struct folio_file *file, struct folio *folio, size_t len, uint64_t offset, bool once)
{
	/*
	 * The descriptor may be in use for another page by now. Then the heat of that page is
	 * updated, which is only a useless hint.
	 */
	if (heat_record(folio, offset, len, once))
		read_ahead(file, offset >> FOLIO_PAGE_SHIFT, once,
			thread_enter(file->cache, file->cache_id));
	return (ssize_t)len;
}

__attribute__((noinline)) ssize_t read_touch(
	struct folio_file *file, struct folio *folio, size_t len, uint64_t offset)
{
	return record(file, folio, len, offset, streams_once(&file->streams));
}

__attribute__((noinline)) ssize_t read_touch_once(
	struct folio_file *file, struct folio *folio, size_t len, uint64_t offset)
{
	return record(file, folio, len, offset, true);
}

static inline __attribute__((always_inline)) ssize_t read_any(
	struct folio_file *file, void *buf, size_t len, uint64_t offset, unsigned flags)
{
	struct folio *cold;

	if (unlikely(!file || !thread_hit(file->cache_id)) ||
		unlikely(!read_hit(file, buf, len, offset, &cold)))
		return read_slow(file, buf, len, offset, flags);
	if (unlikely(cold))
		return flags & FOLIO_READ_ONCE ? read_touch_once(file, cold, len, offset)
					       : read_touch(file, cold, len, offset);
	return (ssize_t)len;
}

ssize_t folio_file_read(struct folio_file *file, void *buf, size_t len, uint64_t offset)
{
	return read_any(file, buf, len, offset, 0);
}

ssize_t folio_file_read_nowait(struct folio_file *file, void *buf, size_t len, uint64_t offset)
{
	return read_any(file, buf, len, offset, FOLIO_READ_NOWAIT);
}

ssize_t folio_file_read_flags(
	struct folio_file *file, void *buf, size_t len, uint64_t offset, unsigned flags)
{
	if (unlikely(flags & ~READ_FLAGS))
		return -EINVAL;
	return read_any(file, buf, len, offset, flags);
}

/* The rare ends of a pinned hit: the folio was another one, or its heat is to be recorded. */
static __attribute__((noinline)) int get_undo(struct folio_file *file, uint64_t index,
	unsigned flags, struct folio **result, void **page, struct folio *folio)
{
	folio_put(folio);
	return get_slow(file, index, flags, result, page);
}

static __attribute__((noinline)) int get_touch(
	struct folio_file *file, struct folio *folio, uint64_t index)
{
	bool once = streams_once(&file->streams);

	if (heat_record(folio, index << FOLIO_PAGE_SHIFT, FOLIO_PAGE_SIZE, once))
		read_ahead(file, index, once, thread_enter(file->cache, file->cache_id));
	return 0;
}

/*
 * A complete pinned hit, as a leaf function and by the hint, like read_hit. Instead of the slot
 * (R3) it checks the descriptor. owner, index and valid are stored before the version of a use
 * becomes even, and do not change while there is a reference; except for the owner, which erase
 * clears before it puts the tree's reference. So, in place of steps 1 to 4 of lookup.c:
 *
 *   1  the hint: any folio
 *   2  try_get                             acquire
 *   3  version even (up to date) acquire; owner, index, valid: does the folio have the page?
 *   4  no: put, and use the tree
 *
 * The descriptor is loaded only after the get: other threads that pin the same folio compete for
 * its cache line, and a load before the get would be one more transfer of the line.
 */
int folio_file_get_page(
	struct folio_file *file, uint64_t index, unsigned flags, struct folio **result, void **page)
{
	struct folio *folio;
	uint32_t hint;

	if (unlikely(!file || !result || !page || flags & ~FOLIO_GET_NOWAIT))
		return -EINVAL;
	if (unlikely(!thread_hit(file->cache_id)))
		return get_slow(file, index, flags, result, page);
	hint = folio_u32_load_relaxed(hint_slot(file, file->inode, index << FOLIO_PAGE_SHIFT));
	folio = &file->folios[hint_page(hint)];
	FOLIO_PAUSE(pin_before_get, folio);
	if (unlikely(!folio_ref_try_get(&folio->ref)))
		return get_slow(file, index, flags, result, page);
	FOLIO_PAUSE(pin_before_slot, folio);
	if (unlikely(!pin_matches(file, folio, hint, index)))
		return get_undo(file, index, flags, result, page, folio);
	stats_add(thread_last.shard, STAT_HITS, 1);
	pin_note(file->inode);
	*result = folio;
	*page = file->data + ((hint_page(hint) + (index & ((UINT64_C(1) << hint_order(hint)) - 1)))
				     << FOLIO_PAGE_SHIFT);
	if (unlikely(heat_wants_touch(folio_u32_load_relaxed(&folio->heat))))
		return get_touch(file, folio, index);
	return 0;
}
