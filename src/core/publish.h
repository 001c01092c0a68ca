/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * publish.h - published pins: the steps that a pin and a freezer take on a slot and on a version.
 *
 * A thread pins a folio by storing the address of its descriptor in a slot of its own. It does not
 * write the folio. A freezer, which is a thread that is about to take a folio or to put the tree's
 * reference, looks at the slots of all threads first:
 *
 *      pin                                          freezer of a folio in the tree
 *   S1 entry = the tree's   acquire             H1  a reference, under the queue's lock
 *      v = version          acquire; even,      H2  publish_hold: HELD in the version    relaxed
 *                           and not HELD?       H3  membarrier, one for a batch          fence
 *   S2 slot NULL?           acquire             H4  scan: is the folio in a slot?        acquire
 *   S3 slot = folio         release             H5  no: freeze, version odd, erase
 *   S4 compiler barrier     fence               H6  publish_unhold                       release
 *   S5 entry still?         acquire
 *      version == v still?  acquire                 thread that drops a folio
 *   S6 no: slot = NULL      release             D1  erase, owner = NULL, under the tree's lock
 *                                               D2  membarrier and scan, as H3 and H4
 *   U1 unpin: slot = NULL   release             D3  not in a slot: put the tree's reference
 *                                               D4  in a slot: to the limbo list (cache/limbo.c)
 *
 *   H3 with S4   Every thread executes a full barrier at some moment of the membarrier. If S3 came
 *                before, H4 sees the publication, or what the slot's owner stored later. If not, S5
 *                comes after and sees HELD, or that the entry is gone.
 *   H4 with U1   The frame is used again only after the last read of the pin. S3 and S6 are
 *                releases for the same reason: a slot that goes from one folio to another tells a
 *                scan for the first that its reads have ended.
 *   S5 in order  A drop clears the entry, but changes no version. If S3 comes after H3, S5 finds
 *                the entry cleared, or stored again for another use of the folio: then it sees the
 *                version of that use. With the version first, the folio could return to the same
 *                page in between, and the pin would be one of a page that is being filled.
 *   HELD         from before the barrier until after the freeze. So no pin is published between
 *                scan and freeze, and a folio with a published pin is never frozen.
 *
 * Where the kernel has no membarrier(2), S4 is a full fence and H3 is one.
 *
 * Method: hazard pointers (M. Michael, "Hazard Pointers: Safe Memory Reclamation for Lock-Free
 * Objects", IEEE TPDS 2004) with an asymmetric fence, as in C++26's P2530 and its implementation in
 * folly. That a pin is validated by the version as well, and that a freezer holds the folio instead
 * of testing it again, is ours; docs/words.md says why.
 */
#ifndef FOLIO_SRC_CORE_PUBLISH_H
#define FOLIO_SRC_CORE_PUBLISH_H

#include <stdbool.h>
#include <stdint.h>

#include <folio/atomic.h>

#include "core/version.h"

/*
 * The first pin of a thread (b of cache/publish.c), after in_use is set: pairs with the fence of
 * publish_used. Without it, S1 and S5 could be made before a freezer that has not seen in_use.
 */
static inline void publish_enter(void)
{
	folio_fence_seq_cst();
}

/*
 * c and d, after H2 or D1: what in_use is. If 0, no pin of the batch is published. The fence pairs
 * with publish_enter, and without a membarrier with publish_fence.
 */
static inline uint32_t publish_used(folio_u32 *in_use)
{
	folio_fence_seq_cst();
	return folio_u32_load_relaxed(in_use);
}

/* S1, the version. Returns false if the folio must not be pinned by publication. */
static inline bool publish_begin(folio_u64 *version, uint64_t *seen)
{
	/* acquire: pairs with version_write_end; else the pin could read contents from before. */
	*seen = folio_u64_load_acquire(version);
	return !(*seen & (VERSION_CHANGING | VERSION_HELD));
}

/*
 * S2, by the slot's owner. acquire: pairs with slot_clear by a thread to which the last pin was
 * handed over; without it the new publication would hide the end of that pin from a scan.
 */
static inline bool slot_is_free(folio_ptr *slot)
{
	return !folio_ptr_load_acquire(slot);
}

/* S3. release: pairs with slot_has, as slot_clear. */
static inline void slot_publish(folio_ptr *slot, void *folio)
{
	folio_ptr_store_release(slot, folio);
}

/* S4. @full: the freezers have no membarrier. */
static inline void publish_fence(bool full)
{
	if (full)
		folio_fence_seq_cst();
	else
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/*
 * S5, the version; the loads of the entry are acquires, and come first. acquire: pairs with
 * version_write_end, and the reads of the pin come after it.
 */
static inline bool publish_same(folio_u64 *version, uint64_t seen)
{
	return folio_u64_load_acquire(version) == seen;
}

/* S6 and U1. release: pairs with slot_has; what the pin has read, it has read before. */
static inline void slot_clear(folio_ptr *slot)
{
	folio_ptr_store_release(slot, NULL);
}

/* H4. acquire: pairs with slot_clear and slot_publish. */
static inline bool slot_has(folio_ptr *slot, const void *folio)
{
	return folio_ptr_load_acquire(slot) == folio;
}

/* H2. Returns false if another freezer holds the folio: this one leaves it. */
static inline bool publish_hold(folio_u64 *version)
{
	return !(folio_u64_fetch_or_relaxed(version, VERSION_HELD) & VERSION_HELD);
}

/*
 * H6. release: pairs with publish_begin. A pin that sees the end of the hold sees that the version
 * is odd, or that the folio stays.
 */
static inline void publish_unhold(folio_u64 *version)
{
	folio_u64_fetch_and_release(version, ~VERSION_HELD);
}

#endif
