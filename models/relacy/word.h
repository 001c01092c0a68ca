/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * word.h - the word of a page, and the slot of a published pin, for word.cpp and publish.cpp. The
 * steps, their orders and what each pairs with are in docs/words.md.
 */
#ifndef WORD_H
#define WORD_H

#include "model.h"
#include "core/version.h"

/* version(32) | frame(28) | flags(4). 0: the page is not cached. */
enum { WORD_PRESENT = 1, WORD_TOUCH = 2 };

static inline uint64_t word_make(uint64_t version, uint64_t frame, unsigned flags)
{
	return version << 32 | frame << 4 | flags;
}

static inline uint64_t word_frame(uint64_t word)
{
	return (uint32_t)word >> 4;
}

static inline bool word_is_present(uint64_t word)
{
	return (word & (WORD_PRESENT | WORD_TOUCH)) == WORD_PRESENT;
}

/* Does the word name this use of the frame? */
static inline bool word_names(uint64_t word, uint64_t version, uint64_t frame)
{
	return word >> 4 == word_make(version, frame, 0) >> 4;
}

/* A reader's first look. */
static inline bool word_read_begin(folio_u64 *word, uint64_t *seen)
{
	*seen = folio_u64_load_acquire(word);
	return word_is_present(*seen);
}

/* A copying reader's second look. */
static inline bool word_read_valid(folio_u64 *word, uint64_t seen)
{
	folio_fence_acquire();
	return folio_u64_load_relaxed(word) == seen;
}

/* A pin by count: returns true with a reference to the frame's folio. */
static inline bool word_pin_check(folio_u64 *word, uint64_t seen)
{
	return folio_u64_load_relaxed(word) >> 4 == seen >> 4;
}

/*
 * By a fill, under the tree's lock: the frame has its place, and is being filled. relaxed: no
 * reader uses a busy word. It becomes a release where the word is also the entry of the tree.
 */
static inline void word_insert_locked(folio_u64 *word, folio_u64 *version, uint64_t frame)
{
	folio_u64_store_relaxed(word, word_make(folio_u64_load_relaxed(version), frame, 0));
}

/* The page leaves, under the tree's lock. */
static inline void word_erase_locked(folio_u64 *word)
{
	folio_u64_store_relaxed(word, 0);
}

/* The caller has the folio locked, and will store contents. */
static inline void word_break(
	folio_u64 *word, folio_u64 *version, uint64_t frame, struct lock *tree_lock)
{
	uint64_t now = folio_u64_load_relaxed(version), seen = folio_u64_load_relaxed(word);
	bool won = false;

	while (!won && word_names(seen, now, frame)) {
		bool held = !(seen & WORD_PRESENT);

		if (held)
			tree_lock->acquire();
		won = folio_u64_cas_relaxed(word, &seen, word_make(now | 1, frame, 0));
		if (held)
			tree_lock->release();
	}
	version_write_begin(version);
}

/* The contents are complete: a fill or a write publishes them, if the page has not left. */
static inline bool word_settle(folio_u64 *word, folio_u64 *version, uint64_t frame)
{
	uint64_t busy = word_make(folio_u64_load_relaxed(version), frame, 0), now;

	version_write_end(version, 0);
	now = folio_u64_load_relaxed(version);
	return folio_u64_cas_release(word, &busy, word_make(now, frame, WORD_PRESENT));
}

/* An evictor holds the word: no new pin is published. Returns false if the page is busy. */
static inline bool word_hold(folio_u64 *word, uint64_t *held)
{
	uint64_t seen = folio_u64_load_relaxed(word);

	*held = seen & ~(uint64_t)WORD_PRESENT;
	return word_is_present(seen) && folio_u64_cas_relaxed(word, &seen, *held);
}

/* The evictor did not take the page. */
static inline void word_unhold(folio_u64 *word, uint64_t held)
{
	folio_u64_cas_relaxed(word, &held, held | WORD_PRESENT);
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

/* The second look; the word was @seen. Calls the publication off if it has changed since. */
static inline bool slot_confirm(folio_ptr *slot, folio_u64 *word, uint64_t seen)
{
	if (folio_u64_load_acquire(word) == seen)
		return true;
	folio_ptr_store_release(slot, NULL);
	return false;
}

static inline bool slot_pin(folio_ptr *slot, void *page, folio_u64 *word, uint64_t seen)
{
	slot_publish(slot, page);
	fence_light();
	return slot_confirm(slot, word, seen);
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
