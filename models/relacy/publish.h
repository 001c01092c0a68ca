/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * publish.h - a published pin: the steps of docs/words.md in C, for publish.cpp. The rest of a page
 * is the library's: its entry in the tree, and its version.
 */
#ifndef PUBLISH_H
#define PUBLISH_H

#include "model.h"
#include "core/version.h"

/* A flag of the version: a freezer holds the page, and no pin is published. */
#define VERSION_HELD UINT64_C(8)

/*
 * The first look: what the tree has for the page, then the version. Returns false if the page must
 * not be pinned by publication.
 */
static inline bool publish_begin(folio_ptr *entry, folio_u64 *version, void **page, uint64_t *seen)
{
	*page = folio_ptr_load_acquire(entry);
	if (!*page)
		return false;
	*seen = folio_u64_load_acquire(version);
	return !(*seen & (VERSION_CHANGING | VERSION_HELD));
}

/* A freezer begins to hold the page. Returns false if another one holds it. */
static inline bool version_hold(folio_u64 *version)
{
	return !(folio_u64_fetch_or_relaxed(version, VERSION_HELD) & VERSION_HELD);
}

/* The page stays, or is taken and erased. */
static inline void version_unhold(folio_u64 *version)
{
	folio_u64_fetch_and_release(version, ~VERSION_HELD);
}

/*
 * The asymmetric fence: a compiler barrier in the reader, membarrier(2) in the freezer. Here both
 * sides have a full fence. In the reader that is stronger than a compiler barrier, also where no
 * freezer is concerned: there the models leave it out.
 */
static inline void fence_light()
{
	folio_fence_seq_cst();
}

static inline void fence_heavy()
{
	folio_fence_seq_cst();
}

/* Publish a pin of @page. */
static inline void slot_publish(folio_ptr *slot, void *page)
{
	folio_ptr_store_release(slot, page);
}

/* The second look. Calls the publication off if anything has changed since the first one. */
static inline bool slot_confirm(
	folio_ptr *slot, folio_ptr *entry, folio_u64 *version, void *page, uint64_t seen)
{
	if (folio_u64_load_acquire(version) == seen && folio_ptr_load_acquire(entry) == page)
		return true;
	folio_ptr_store_release(slot, NULL);
	return false;
}

static inline bool slot_pin(
	folio_ptr *slot, folio_ptr *entry, folio_u64 *version, void *page, uint64_t seen)
{
	slot_publish(slot, page);
	fence_light();
	return slot_confirm(slot, entry, version, page, seen);
}

/* By the slot's owner, before slot_pin: a pin that was handed over may still be there. */
static inline bool slot_is_free(folio_ptr *slot)
{
	return !folio_ptr_load_acquire(slot);
}

static inline void slot_unpin(folio_ptr *slot)
{
	folio_ptr_store_release(slot, NULL);
}

/* By a freezer. */
static inline bool slot_has(folio_ptr *slot, void *page)
{
	return folio_ptr_load_acquire(slot) == page;
}

#endif
