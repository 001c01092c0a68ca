/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * folio.h (inside) - flags, lock and wait bits, heat and the words that a tree holds.
 *
 * The life of a descriptor (every arrow out of frozen is an unfreeze, R5):
 *
 *   free        frozen, version odd, type FREE                      in the pool
 *   filling     live, LOCKED, version odd, type FILE                 in a tree; the filler has a reference
 *   good        live, UPTODATE, version even, type FILE             in a tree, in a queue
 *   failed      live, ERROR, version odd, type FILE                 out of the tree; who waited still pins it
 *   evicting    frozen, version odd                                 erased, on its way to the pool
 *   dropped     live, owner NULL                                    out of the tree; who pinned it keeps it
 *
 * and of a good one, in the tree, when its file is written:
 *
 *   writing     LOCKED, UPTODATE, version odd                       by a call, or by the program (folio_lock)
 *   dirty       DIRTY, a reference of the dirty state                eviction cannot freeze it (evict.c, C)
 *   writeback   WRITEBACK, that reference still                      nobody gets the lock; then good, or dirty again
 */
#ifndef FOLIO_SRC_FOLIO_H
#define FOLIO_SRC_FOLIO_H

#include <folio/folio.h>

#include "futex.h"
#include "version.h"

#define likely(x)      __builtin_expect(!!(x), 1)
#define unlikely(x)    __builtin_expect(!!(x), 0)

/* folio->flags */
#define FOLIO_LOCKED   1u /* being filled, or being written by whoever locked it */
#define FOLIO_WAITERS  2u /* somebody sleeps on flags */
#define FOLIO_UPTODATE 4u /* contents good; never set on a folio whose read failed */
#define FOLIO_ERROR    8u /* the read failed; the errno is in error */
#define FOLIO_DIRTY \
	16u /* the file does not have it yet; goes with a reference and the tree's mark */
#define FOLIO_WRITEBACK    32u /* on its way to the file, and stays as it is until then; likewise */

/* folio->type; a program's own begin at FOLIO_TYPE_PROGRAM. */
#define FOLIO_TYPE_FREE    0u
#define FOLIO_TYPE_FILE    1u
#define FOLIO_TYPE_PROGRAM 3u
#define FOLIO_TYPES        (FOLIO_TYPE_PROGRAM + 16u)

/*
 * The heat of a folio: what readers tell eviction. In the lowest bits of the word one of these, above them where in the folio
 * its last reading ended, 0 before the first. What counts is reading again: the first reading is what the folio came for,
 * and who reads on where the last one ended is still at it, be it in pieces of a page or over the pages of a large folio.
 *
 * Below HEAT_HOT a reader stops to raise it; from there on it only reads, so that a hot folio's line stays shared. A lost update
 * costs a little of a hint.
 */
enum {
	HEAT_MARK, /* first folio of a read-ahead window, not reached yet: reaching it starts the next */
	HEAT_COLD,   /* not read again since it came, or since the queue looked last */
	HEAT_WARM,   /* once */
	HEAT_HOT,    /* more than once */
	HEAT_STREAM, /* came by read-ahead: reading it in turn says nothing about reading it again */
};

#define HEAT_BITS       8
#define HEAT_MASK       ((1u << HEAT_BITS) - 1)

/* Bytes of the largest folio. All are aligned to their size, in the file, too: an offset there says the place in the folio. */
#define FOLIO_BYTES_MAX ((uint64_t)FOLIO_PAGE_SIZE << FOLIO_ORDER_MAX)

/* Of a folio's heat word: is eviction to be told of a reading? */
static inline bool heat_wants_touch(uint32_t word)
{
	return (word & HEAT_MASK) < HEAT_HOT;
}

/* What a reading of @len bytes at @offset makes of a word that wants it and has no mark. */
static inline uint32_t heat_touched(uint32_t word, uint64_t offset, size_t len)
{
	uint32_t last = word >> HEAT_BITS, heat = word & HEAT_MASK;
	uint32_t end = (uint32_t)((offset + len - 1) & (FOLIO_BYTES_MAX - 1)) + 1;

	if (last != 0 && last != (offset & (FOLIO_BYTES_MAX - 1)))
		heat++;
	return end << HEAT_BITS | heat;
}

/* A descriptor begins so many bytes after the beginning of a cache line of 64 (folio/folio.h). */
#define FOLIO_SKEW 32

#ifndef FOLIO_ATOMIC_RELACY
_Static_assert(sizeof(struct folio) == 64 && offsetof(struct folio, version) == 64 - FOLIO_SKEW,
	"what pins write and what readers look at are in different lines");
#endif

/*
 * What a tree holds for a folio: the order stands beside the address. Whether the contents are good is said by the folio: by
 * its version to who copies, by its flags to who has it pinned.
 */
#define ENTRY_ORDER_SHIFT 2
#define ENTRY_FOLIO_MASK  (~(uintptr_t)63)

static inline void *entry_of(const struct folio *folio)
{
	return (void *)(((uintptr_t)folio - FOLIO_SKEW) | (uintptr_t)folio->order
								  << ENTRY_ORDER_SHIFT);
}

static inline struct folio *entry_folio(const void *entry)
{
	return (struct folio *)(((uintptr_t)entry & ENTRY_FOLIO_MASK) + FOLIO_SKEW);
}

static inline unsigned entry_order(const void *entry)
{
	return (uintptr_t)entry >> ENTRY_ORDER_SHIFT & 15;
}

/* Neither empty nor a shadow. */
static inline bool entry_is_folio(const void *entry)
{
	return entry && !((uintptr_t)entry & 3);
}

/*
 * Sleep until the flags are not @flags any more, or for no reason, or until @until (futex.h): false. The caller has the
 * folio pinned.
 */
static inline bool folio_flags_wait(
	struct folio *folio, uint32_t flags, const struct timespec *until)
{
	if (!(flags & FOLIO_WAITERS)) {
		if (!folio_u32_cas_relaxed(&folio->flags, &flags, flags | FOLIO_WAITERS))
			return true;
		flags |= FOLIO_WAITERS;
	}
	return futex_wait_until(&folio->flags, flags, until);
}

/*
 * Sleep until the folio's contents are good or never will be. The caller has it pinned, so the descriptor is not reused meanwhile.
 * Returns the flags then, or with neither of the two when the time is up. acquire: pairs with folio_filled; what the filler
 * wrote is seen.
 */
static inline uint32_t folio_wait_unlocked(struct folio *folio, const struct timespec *until)
{
	uint32_t flags;

	while (!((flags = folio_u32_load_acquire(&folio->flags)) & (FOLIO_UPTODATE | FOLIO_ERROR)))
		if (!folio_flags_wait(folio, flags, until))
			break;
	return flags;
}

/*
 * Lock a pinned folio for writing. Waits for who fills it, who writes it, and for its way to the file to end: under I/O
 * it stays as it is. False when the time is up. acquire: pairs with folio_unlocked and folio_written; what was stored under
 * the lock is seen.
 */
static inline bool folio_lock_wait(struct folio *folio, const struct timespec *until)
{
	uint32_t flags = folio_u32_load_relaxed(&folio->flags);

	for (;;) {
		if (!(flags & (FOLIO_LOCKED | FOLIO_WRITEBACK))) {
			if (folio_u32_cas_acquire(&folio->flags, &flags, flags | FOLIO_LOCKED))
				return true;
			continue;
		}
		if (!folio_flags_wait(folio, flags, until))
			return false;
		flags = folio_u32_load_relaxed(&folio->flags);
	}
}

/*
 * Take @clear out of the flags and put @set in, and wake who waits. release: pairs with folio_lock_wait and
 * folio_flags_wait's callers. A wake may be spurious, as folio_filled's.
 */
static inline void folio_flags_change(struct folio *folio, uint32_t clear, uint32_t set)
{
	uint32_t flags = folio_u32_load_relaxed(&folio->flags);

	while (!folio_u32_cas_release(
		&folio->flags, &flags, (flags & ~(clear | FOLIO_WAITERS)) | set))
		continue;
	if (flags & FOLIO_WAITERS)
		futex_wake(&folio->flags, INT_MAX);
}

static inline void folio_unlocked(struct folio *folio)
{
	folio_flags_change(folio, FOLIO_LOCKED, 0);
}

/*
 * End the fill with FOLIO_UPTODATE (perhaps FOLIO_DIRTY) or FOLIO_ERROR and wake who waits. A wake may come when the last waiter
 * has gone and the descriptor serves another life: type-stable memory makes it a spurious one.
 */
static inline void folio_filled(struct folio *folio, uint32_t result)
{
	/* release: pairs with folio_wait_unlocked and with the pinned look-up's load of flags. */
	folio_flags_change(folio, ~UINT32_C(0), result);
}

#endif
