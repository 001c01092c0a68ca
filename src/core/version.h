/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * version.h - a folio's version, for readers that copy without taking a reference.
 *
 *   even   the contents are valid and do not change as long as the version does not
 *   odd    free, being filled, being written, frozen: the contents may change at any moment
 *
 * Such a reader has no reference, so a freeze does not keep it out; the version is all it has. Both
 * sides as one protocol, for a folio E that a reader finds in slot S of a tree:
 *
 *      reader                                      writer of the contents
 *   1  entry = S            acquire             A  owns E exclusively: frozen, or locked
 *   2  v = version          acquire; even?      B  version_write_begin: version odd   relaxed,
 *   3  S == entry still?    relaxed                then a release fence
 *   4  copy                                     C  stores the data
 *   5  acquire fence                            D  version_write_end: version even   release
 *   6  version == v still?  relaxed             E  stores the entry in a slot     release
 *
 *   2 with D   the data copied by 4 is at least as new as version v, and 3 sees every change that
 *              was made to S before version v began.
 *   5 with B   if 4 copied one word of C, then 6 sees an odd version or a later one.
 *   3 with E   E returned to S in a later use: 6 sees the version of that use (E is after its B).
 *
 * Step 3 lies between the loads of 2 and 6, because the entry identifies the folio and the version
 * identifies the use of the folio; only both together identify the data that was copied:
 *
 *   no 3, or before 2   1 saw E; E left S and now holds another page, v is that page's version:
 *                       6 succeeds wrongly.
 *   3 after 6           as before, and after 6 E returns to S for S's page: 3 succeeds, too.
 *
 * Step B is a fence and not a store with release: a release orders what comes before the store, and
 * here the store must come before the data. A release fence belongs to its thread. Hence the thread
 * that stores the data calls version_write_begin itself, even if the version is odd already because
 * another thread froze the folio.
 *
 * A fill that another thread, the kernel or the device executes stores data outside that rule: the
 * submitter makes the version odd and hands the request over by a lock or a system call. C11 fences
 * do not cover this case. It relies on a property of the hardware: if a thread has seen a store
 * before it hands over, then every thread that sees a later store of the receiver sees that store,
 * too. x86, arm64 and RISC-V guarantee this for all stores (multi-copy atomicity); POWER does for
 * stores after the full barrier of a system call.
 *
 * A reader that uses the descriptor instead of a slot to check which page it has (read/hit.h)
 * treats owner, index and valid as data: they are stored after B and before D.
 *
 * Callers of version_write_begin and version_write_end exclude each other by what they hold (the
 * frozen state, or the lock). Its hand-over (acquire, release) makes the last value of the version
 * visible to the next owner.
 *
 * Method: a sequence lock. H. Boehm, "Can seqlocks get along with programming language memory
 * models?", MSPC 2012, derives these orders. The slot is needed as its second half because the
 * memory is reused under the reader.
 */
#ifndef FOLIO_SRC_CORE_VERSION_H
#define FOLIO_SRC_CORE_VERSION_H

#include <folio/atomic.h>

/*
 * Step 2. Returns false if the contents must not be read now; else *@seen is the version for
 * version_read_valid to compare with.
 */
static inline bool version_read_begin(folio_u64 *version, uint64_t *seen)
{
	/* acquire: pairs with version_write_end; without it the copy could be older than @seen. */
	*seen = folio_u64_load_acquire(version);
	return !(*seen & 1);
}

/* Steps 5 and 6. Returns true if the data copied since version_read_begin is consistent. */
static inline bool version_read_valid(folio_u64 *version, uint64_t seen)
{
	/*
	 * acquire: pairs with the fence of version_write_begin. If the copy has data stored after
	 * that fence, the load below sees the odd version or a later one.
	 */
	folio_fence_acquire();
	return folio_u64_load_relaxed(version) == seen;
}

/*
 * Step B, before the calling thread's first store to the data. Idempotent: a version that is
 * already odd does not change, and no reader has begun with it. The fence pairs with the one in
 * version_read_valid.
 */
static inline void version_write_begin(folio_u64 *version)
{
	folio_u64_store_relaxed(version, folio_u64_load_relaxed(version) | 1);
	folio_fence_release();
}

/* Step D, by the thread that called version_write_begin, after its last store to the data. */
static inline void version_write_end(folio_u64 *version)
{
	/* release: pairs with version_read_begin; without it an even version could precede data. */
	folio_u64_store_release(version, folio_u64_load_relaxed(version) + 1);
}

#endif
