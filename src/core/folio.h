/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * folio.h (internal) - flags, lock and wait bits, and the tree's word for a folio.
 *
 * States of a descriptor (every transition out of frozen is an unfreeze; R5 in folio/ref.h):
 *
 *   free        frozen, version odd, type FREE            in the pool
 *   filling     live, LOCKED, version odd, type FILE      in a tree; the filler has a reference
 *   clean       live, UPTODATE, version even, type FILE   in a tree, in a queue
 *   failed      live, ERROR, version odd, type FILE       not in the tree; pinned by its waiters
 *   evicting    frozen, version odd                       erased, about to enter the pool
 *   dropped     live, owner NULL                          not in the tree; pinned by its users
 *
 * States of an up-to-date folio, in the tree, whose file is being written (cache/dirty.h):
 *
 *   writing     LOCKED, UPTODATE, version odd     by a call, or by the program (folio_lock)
 *   dirty       DIRTY, holds a reference          cannot be frozen (step C in evict/evict.c)
 *   writeback   WRITEBACK, the same reference     cannot be locked; then clean, or dirty again
 *   copied      WRITEBACK, COPIED, the same       its copy is written (write/bounce.h): may be
 *               reference, perhaps DIRTY          locked, changed, and dirty again
 */
#ifndef FOLIO_SRC_CORE_FOLIO_H
#define FOLIO_SRC_CORE_FOLIO_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <folio/folio.h>

#include "base/compiler.h"
#include "base/deadline.h"
#include "base/futex.h"
#include "core/watch.h"

/* folio->flags */
#define FOLIO_LOCKED       1u    /* being filled, or being written by the lock's owner */
#define FOLIO_WAITERS      2u    /* a thread sleeps on flags */
#define FOLIO_UPTODATE     4u    /* contents valid; never set on a folio whose read failed */
#define FOLIO_ERROR        8u    /* the read failed; error says why (read/fill.c) */
#define FOLIO_DIRTY        16u   /* not yet in the file; holds a reference, marked in the tree */
#define FOLIO_WRITEBACK    32u   /* being written to the file, must not change; likewise */
#define FOLIO_WRITTEN      64u   /* its file has once taken it from the cache (write/confirm.c) */
#define FOLIO_WATCHED      128u  /* watches wait for flags to change (core/watch.h) */
#define FOLIO_COPIED       256u  /* with WRITEBACK: a copy is written, so it may change */
#define FOLIO_CONTENDED    512u  /* a thread has wanted to change it while it was written */
#define FOLIO_SETTLING     1024u /* large, up to date; its filler still has a reference */

/* folio->refault: whether the page had been evicted a short time ago, and with what result. */
#define REFAULT_NONE       0u
#define REFAULT_NEWCOMER   1u /* from the small queue: it enters the main queue */
#define REFAULT_TRIAL      2u /* from the main queue: it enters it again, on trial */
#define REFAULT_REFUSED    3u /* from the main queue: it enters the small queue */
#define REFAULT_ONCE       4u /* unknown: its access leaves the hot set unchanged (evict/once.h) */

/* folio->type; user-defined types begin at FOLIO_TYPE_PROGRAM. */
#define FOLIO_TYPE_FREE    0u
#define FOLIO_TYPE_FILE    1u
#define FOLIO_TYPE_PROGRAM 3u
#define FOLIO_TYPES        (FOLIO_TYPE_PROGRAM + 16u)

#ifndef FOLIO_ATOMIC_RELACY
/* Where pointers are shorter, folio/folio.h states the reason. */
_Static_assert(sizeof(void *) != 8 || sizeof(struct folio) == 64,
	"a pin takes one cache line, and the tree's word has room for the order");
#endif

/*
 * The tree's word for a folio: its address and its order. The word does not record whether the
 * contents are valid. The folio does: in its version for a copying reader, in its flags for a
 * thread that has it pinned.
 */
#define ENTRY_ORDER_SHIFT 2
#define ENTRY_FOLIO_MASK  (~(uintptr_t)63)

static inline void *entry_of(const struct folio *folio)
{
	return (void *)((uintptr_t)folio | (uintptr_t)folio->order << ENTRY_ORDER_SHIFT);
}

static inline struct folio *entry_folio(const void *entry)
{
	return (struct folio *)((uintptr_t)entry & ENTRY_FOLIO_MASK);
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
 * Sleep until the flags no longer equal @flags; may also wake spuriously (futex.h). Returns false
 * if the deadline @until has passed. The caller has the folio pinned.
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
 * Sleep until the fill has ended. The caller has the folio pinned, so the descriptor is not reused.
 * Returns the flags, with UPTODATE or ERROR set, or with neither if the deadline has passed.
 *
 * acquire: pairs with folio_filled; the caller sees what the filler wrote.
 */
static inline uint32_t folio_wait_unlocked(struct folio *folio, const struct timespec *until)
{
	uint32_t flags;

	while (!((flags = folio_u32_load_acquire(&folio->flags)) & (FOLIO_UPTODATE | FOLIO_ERROR)))
		if (!folio_flags_wait(folio, flags, until))
			break;
	return flags;
}

/* May a folio with these flags be locked? */
static inline bool folio_may_lock(uint32_t flags)
{
	return !(flags & FOLIO_LOCKED) &&
	       (flags & (FOLIO_WRITEBACK | FOLIO_COPIED)) != FOLIO_WRITEBACK;
}

/*
 * Sleep until the filler of a large folio, which waits for no device by now, has put its reference:
 * before that, the folio cannot be split. Returns the flags.
 */
static inline uint32_t folio_wait_settled(struct folio *folio, const struct timespec *until)
{
	uint32_t flags;

	while ((flags = folio_u32_load_relaxed(&folio->flags)) & FOLIO_SETTLING)
		if (!folio_flags_wait(folio, flags, until))
			break;
	return flags;
}

/*
 * Lock a pinned folio for writing, if that needs no wait. Returns false if it is locked or being
 * written back.
 *
 * acquire: as in folio_lock_wait.
 */
static inline bool folio_lock_try(struct folio *folio)
{
	uint32_t flags = folio_u32_load_relaxed(&folio->flags);

	while (folio_may_lock(flags))
		if (folio_u32_cas_acquire(&folio->flags, &flags, flags | FOLIO_LOCKED))
			return true;
	return false;
}

/*
 * Lock a pinned folio for writing. Waits for a fill, for another writer, and for write-back to end:
 * a folio under I/O must not change, unless a copy of it is written. Returns false if the deadline
 * has passed.
 *
 * acquire: pairs with folio_unlocked, and with folio_flags_change at the end of write-back
 * (write/writeback.c); the caller sees what was stored under the lock before.
 */
static inline bool folio_lock_wait(struct folio *folio, const struct timespec *until)
{
	uint32_t flags = folio_u32_load_relaxed(&folio->flags);

	for (;;) {
		if (folio_may_lock(flags)) {
			if (folio_u32_cas_acquire(&folio->flags, &flags, flags | FOLIO_LOCKED))
				return true;
			continue;
		}
		/* relaxed: a hint for the next write-back. */
		if (flags & FOLIO_WRITEBACK && !(flags & FOLIO_CONTENDED)) {
			folio_u32_fetch_or_relaxed(&folio->flags, FOLIO_CONTENDED);
			flags = folio_u32_load_relaxed(&folio->flags);
			continue;
		}
		if (!folio_flags_wait(folio, flags, until))
			return false;
		flags = folio_u32_load_relaxed(&folio->flags);
	}
}

/*
 * Clear @clear, set @set, wake the waiters and call the watches. A wake-up may be spurious, as in
 * folio_filled. The caller has a reference, which the watches need (core/watch.h).
 *
 * release: pairs with the acquire of folio_lock_wait and of folio_flags_wait's callers; without it
 * they could see the flag before the stores that it announces.
 */
static inline void folio_flags_change(struct folio *folio, uint32_t clear, uint32_t set)
{
	uint32_t flags = folio_u32_load_relaxed(&folio->flags);

	clear |= FOLIO_WAITERS | FOLIO_WATCHED;
	while (!folio_u32_cas_release(&folio->flags, &flags, (flags & ~clear) | set))
		continue;
	if (flags & FOLIO_WAITERS)
		futex_wake(&folio->flags, INT_MAX);
	if (unlikely(flags & FOLIO_WATCHED))
		watch_call(folio, (flags & ~clear) | set);
}

static inline void folio_unlocked(struct folio *folio)
{
	folio_flags_change(folio, FOLIO_LOCKED, 0);
}

/*
 * End the fill with FOLIO_UPTODATE (perhaps with FOLIO_DIRTY) or FOLIO_ERROR, and wake the waiters.
 * The wake may come after the last waiter has left and the descriptor is in another use: since
 * the memory is type-stable, it is then only a spurious wake-up.
 */
static inline void folio_filled(struct folio *folio, uint32_t result)
{
	/* release: pairs with folio_wait_unlocked and with the pinned look-up's load of flags. */
	folio_flags_change(folio, ~UINT32_C(0), result);
}

/* The index of the page after the folio: where a walk through a file continues. */
static inline uint64_t folio_next_index(const struct folio *folio)
{
	return folio->index + (UINT64_C(1) << folio->order);
}

#endif
