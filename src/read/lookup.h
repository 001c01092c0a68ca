/* SPDX-License-Identifier: BSD-2-Clause */
/* lookup.h - finding a cached page: by copy, and by pin. */
#ifndef FOLIO_SRC_READ_LOOKUP_H
#define FOLIO_SRC_READ_LOOKUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/compiler.h"
#include "base/pause.h"
#include "core/walk.h"
#include "cache/types.h"

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

_Static_assert(FOLIO_PAGE_SIZE % sizeof(struct folio) == 0, "view_data");
_Static_assert(sizeof(struct folio) % sizeof(folio_u64) == 0, "view_version");

/* The version of a folio, by the address of its descriptor alone. */
static inline folio_u64 *view_version(const struct folio_file *file, const struct folio *folio)
{
	uintptr_t words = (uintptr_t)folio / (sizeof(struct folio) / sizeof(folio_u64));

	return (folio_u64 *)(file->view.version_zero + words);
}

/* Its data. So the processor fetches the two in parallel. */
static inline char *view_data(const struct folio_file *file, const struct folio *folio)
{
	uintptr_t bytes = (uintptr_t)folio * (FOLIO_PAGE_SIZE / sizeof(struct folio));

	return (char *)(file->view.data_zero + bytes);
}

/* The same for the folio that @entry is. */
static inline folio_u64 *entry_version(const struct folio_file *file, const void *entry)
{
	return view_version(file, entry_folio(entry));
}

static inline char *entry_data(const struct folio_file *file, const void *entry)
{
	return view_data(file, entry_folio(entry));
}

/* Set up a handle for them. */
static inline void lookup_init(struct folio_file *file, const struct pool *pool)
{
	file->view = (struct folio_view){.tree = (struct folio_view_tree_ *)&file->inode->tree};
	file->view.version_zero =
		(uintptr_t)pool->version - (uintptr_t)view_version(file, pool->folios);
	file->view.data_zero = (uintptr_t)pool->data - (uintptr_t)view_data(file, pool->folios);
}

/* The bytes of a folio, by the order in its entry. Most are single pages. */
static inline uint64_t entry_bytes(const void *entry)
{
	unsigned order = entry_order(entry);

	return likely(!order) ? FOLIO_PAGE_SIZE : (uint64_t)FOLIO_PAGE_SIZE << order;
}

/*
 * What the tree has for a page, for a hit: by its directory, and with @root, if that has nothing,
 * from the root as well (core/walk.h). To be checked with tree_still.
 */
static inline __attribute__((always_inline)) void *hit_walk(
	struct tree *tree, uint64_t index, struct tree_place *place, bool root)
{
	return root ? tree_walk_once(tree, index, place) : tree_walk_directory(tree, index, place);
}

/* A pin that begins: what the tree has for a page, and where. */
struct pin_try {
	void *entry;
	struct tree_place place;
	/* Set by pin_holds. */
	uint64_t version;
	uint64_t in_folio; /* bytes before the page */
};

/*
 * Steps 1 and 2 of a pinned hit (lookup.c): a reference to the folio that the tree has for page
 * @index. NULL: none, or the folio is frozen.
 *
 * The descriptor is loaded only by the get: other threads that pin the same folio compete for its
 * cache line, and a load before the get would be one more transfer of the line.
 */
static inline __attribute__((always_inline)) struct folio *pin_begin(
	struct folio_file *file, uint64_t index, struct pin_try *pin, bool root)
{
	struct folio *folio;

	pin->entry = hit_walk(&file->inode->tree, index, &pin->place, root);
	if (unlikely(!entry_is_folio(pin->entry)))
		return NULL;
	folio = entry_folio(pin->entry);
	FOLIO_PAUSE(pin_before_get, folio);
	/* The version is loaded after the get, which on x86 waits for all that comes before. */
	__builtin_prefetch(entry_version(file, pin->entry));
	return likely(folio_ref_try_get(&folio->ref)) ? folio : NULL;
}

/*
 * Steps 3 and 4: true if @folio, from pin_begin, has page @index, up to date. Else the caller puts
 * it. acquire: pairs with version_write_end; a page that is being filled has an odd version.
 */
static inline __attribute__((always_inline)) bool pin_holds(
	struct folio_file *file, struct folio *folio, uint64_t index, struct pin_try *pin)
{
	FOLIO_PAUSE(pin_before_slot, folio);
	if (unlikely(!tree_still(&file->inode->tree, &pin->place, pin->entry)) ||
		unlikely(!version_read_begin(entry_version(file, pin->entry), &pin->version)))
		return false;
	pin->in_folio = (index << FOLIO_PAGE_SHIFT) & (entry_bytes(pin->entry) - 1);
	return likely(!(pin->version & VERSION_PARTIAL)) ||
	       pin->in_folio < folio_u32_load_relaxed(&folio->valid);
}

/*
 * The program may change the page, which it has got through @file: may the page get a folio of its
 * own (get_single, read.c)? A dirty folio is written as a whole, and is not split. relaxed: a hint.
 */
static inline __attribute__((always_inline)) bool pin_may_split(
	const struct folio_file *file, const struct folio *folio, const struct pin_try *pin)
{
	return unlikely(entry_order(pin->entry)) && file->writable &&
	       !(folio_u32_load_relaxed(&folio->flags) & (FOLIO_DIRTY | FOLIO_WRITEBACK));
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
 * As lookup_find, with the tree's lock: also finds a page whose folio is being split, which for a
 * moment no look-up without the lock finds. NULL as well for a folio that refuses references.
 */
struct folio *lookup_find_locked(struct inode *inode, uint64_t index);

/*
 * The folio that has page @index, up to date, with a reference; NULL if there is none, or if it is
 * being changed. The caller is not counted as a holder, and has entered the cache (cache/thread.h).
 */
struct folio *lookup_ready(struct folio_file *file, uint64_t index, struct stats_shard *shard);

#endif
