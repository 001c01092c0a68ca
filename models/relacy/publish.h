/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * publish.h - a published pin, for publish.cpp: the steps of core/publish.h in their order. The
 * rest of a page is the library's: its entry in the tree, and its version.
 */
#ifndef PUBLISH_H
#define PUBLISH_H

#include "model.h"
#include "core/publish.h"

/*
 * The first look: what the tree has for the page, then the version. Returns false if the page must
 * not be pinned by publication.
 */
static inline bool look_first(folio_ptr *entry, folio_u64 *version, void **page, uint64_t *seen)
{
	*page = folio_ptr_load_acquire(entry);
	return *page && publish_begin(version, seen);
}

/*
 * The asymmetric fence: a compiler barrier in the reader, membarrier(2) in the freezer. Here both
 * sides have a full fence. In the reader that is stronger than a compiler barrier, also where no
 * freezer is concerned: there the models leave it out.
 */
static inline void fence_light()
{
	publish_fence(true);
}

static inline void fence_heavy()
{
	folio_fence_seq_cst();
}

/* The second look. Calls the publication off if anything has changed since the first one. */
static inline bool slot_confirm(
	folio_ptr *slot, folio_ptr *entry, folio_u64 *version, void *page, uint64_t seen)
{
	if (folio_ptr_load_acquire(entry) == page && publish_same(version, seen))
		return true;
	slot_clear(slot);
	return false;
}

static inline bool slot_pin(
	folio_ptr *slot, folio_ptr *entry, folio_u64 *version, void *page, uint64_t seen)
{
	slot_publish(slot, page);
	fence_light();
	return slot_confirm(slot, entry, version, page, seen);
}

#endif
