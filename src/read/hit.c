/* SPDX-License-Identifier: BSD-2-Clause */
/* hit.c - hits: short reads, and pins. */
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
	if (heat_record(&file->cache->pool, folio, offset, len, once))
		read_ahead(file, offset >> FOLIO_PAGE_SHIFT, once, false,
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

static ssize_t read_other(
	struct folio_file *file, void *buf, size_t len, uint64_t offset, unsigned flags);

static inline __attribute__((always_inline)) ssize_t read_try(
	struct folio_file *file, void *buf, size_t len, uint64_t offset, unsigned flags, bool plain)
{
	struct folio *cold;

	if (unlikely(!file || !thread_hit(file->cache_id)) ||
		unlikely(!read_hit(file, buf, len, offset, &cold, plain)))
		return plain ? read_other(file, buf, len, offset, flags)
			     : read_slow(file, buf, len, offset, flags);
	if (unlikely(cold))
		return flags & FOLIO_READ_ONCE ? read_touch_once(file, cold, len, offset)
					       : read_touch(file, cold, len, offset);
	return (ssize_t)len;
}

/* Any other hit, and then all other reads. */
static __attribute__((noinline)) ssize_t read_other(
	struct folio_file *file, void *buf, size_t len, uint64_t offset, unsigned flags)
{
	return read_try(file, buf, len, offset, flags, false);
}

ssize_t folio_file_read(struct folio_file *file, void *buf, size_t len, uint64_t offset)
{
	return read_try(file, buf, len, offset, 0, true);
}

ssize_t folio_file_read_nowait(struct folio_file *file, void *buf, size_t len, uint64_t offset)
{
	return read_try(file, buf, len, offset, FOLIO_READ_NOWAIT, true);
}

ssize_t folio_file_read_flags(
	struct folio_file *file, void *buf, size_t len, uint64_t offset, unsigned flags)
{
	if (unlikely(flags & ~READ_FLAGS))
		return -EINVAL;
	return read_try(file, buf, len, offset, flags, true);
}

/*
 * The rare ends of a pinned hit: the folio was another one, or has several pages and may be split;
 * or its heat is to be recorded.
 */
static __attribute__((noinline)) int get_undo(struct folio_file *file, uint64_t index,
	unsigned flags, struct folio **result, void **page, struct folio *folio)
{
	folio_put(folio);
	return get_slow(file, index, flags, result, page);
}

__attribute__((noinline)) int get_touch(
	struct folio_file *file, struct folio *folio, uint64_t index)
{
	bool once = streams_once(&file->streams);

	if (heat_record(
		    &file->cache->pool, folio, index << FOLIO_PAGE_SHIFT, FOLIO_PAGE_SIZE, once))
		read_ahead(file, index, once, false, thread_enter(file->cache, file->cache_id));
	return 0;
}

static int get_root(struct folio_file *file, uint64_t index, unsigned flags, struct folio **result,
	void **page);

/* A complete pinned hit, as read_hit: pin_begin and pin_holds of lookup.h. */
static inline __attribute__((always_inline)) int get_any(struct folio_file *file, uint64_t index,
	unsigned flags, struct folio **result, void **page, bool root)
{
	struct pin_try pin;
	struct folio *folio;

	if (unlikely(!file || !result || !page || flags & ~FOLIO_GET_NOWAIT))
		return -EINVAL;
	if (unlikely(!thread_hit(file->cache_id)))
		return get_slow(file, index, flags, result, page);
	folio = pin_begin(file, index, &pin, root);
	if (unlikely(!folio))
		return root ? get_slow(file, index, flags, result, page)
			    : get_root(file, index, flags, result, page);
	if (unlikely(!pin_holds(file, folio, index, &pin)))
		return get_undo(file, index, flags, result, page, folio);
	if (pin_may_split(file, folio, &pin))
		return get_undo(file, index, flags, result, page, folio);
	stats_add(thread_last.shard, STAT_HITS, 1);
	pin_note(file->inode);
	*result = folio;
	*page = entry_data(file, pin.entry) + pin.in_folio;
	if (unlikely(pin.version & VERSION_TOUCH))
		return get_touch(file, folio, index);
	return 0;
}

/* get_any from the root, and then any other get. */
static __attribute__((noinline)) int get_root(
	struct folio_file *file, uint64_t index, unsigned flags, struct folio **result, void **page)
{
	return get_any(file, index, flags, result, page, true);
}

int folio_file_get_page(
	struct folio_file *file, uint64_t index, unsigned flags, struct folio **result, void **page)
{
	return get_any(file, index, flags, result, page, false);
}
