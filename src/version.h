/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * version.h - the folio's version, for those who copy without taking a reference.
 *
 *   even   the contents are good and stay as they are while the version does
 *   odd    free, being filled, being written, frozen: the contents may change at any moment
 *
 * A reader takes no reference, so no freeze keeps it out; the version is all it has. Both sides as one
 * protocol, for a folio E that a reader finds in slot S of a tree:
 *
 *      reader                                      who changes the contents
 *   1  entry = S            acquire             A  has E for himself: frozen, or locked
 *   2  v = version          acquire; even?      B  version_break: version odd     relaxed, then
 *   3  S == entry still?    relaxed                a release fence
 *   4  copy                                     C  stores the data
 *   5  acquire fence                            D  version_settle: version even   release
 *   6  version == v still?  relaxed             E  stores the entry in a slot     release
 *
 *   2 with D   what 4 copies is at least as new as the contents of version v, and whatever was done to S
 *              before version v began is seen by 3.
 *   5 with B   if 4 copied one word of C, then 6 sees an odd version or a later one.
 *   3 with E   E came back to S in a later life: 6 sees that life's version (E is after its B).
 *
 * Step 3 stands between the loads of 2 and 6, because the entry says which folio and the version says
 * which life of the folio; only together do they say what was copied:
 *
 *   no 3, or before 2   1 saw E; E left S, holds another page now, v is that page's: 6 is content.
 *   3 after 6           as before, and after 6 E returns to S for S's page: 3 is content, too.
 *
 * Step B is a fence, and not a store with release: release orders what came before a store, and here the
 * store has to come before the data. A release fence belongs to its thread; hence the thread that stores
 * the data calls version_break itself, even if the version is odd already from the one who froze.
 *
 * A fill that another thread, the kernel or the device runs stores data outside of that rule: who submits breaks the
 * version, and hands the request over by a lock or a system call. What C11 says of fences ends there; what is relied
 * on is that a store that was seen by who hands on is seen by whoever sees what the receiver stores afterwards, which
 * x86, arm64 and RISC-V promise of all stores (multi-copy atomic), and POWER of stores behind the full barrier of a
 * system call.
 *
 * Where a reader asks the descriptor instead of a slot which page it has (file.c), owner, index and valid are data, too:
 * stored after B and before D.
 *
 * Callers of version_break and version_settle exclude each other by what they hold (frozen, or the lock), whose
 * hand-over (acquire, release) makes the version's last value known to the next.
 *
 * Method: a sequence lock; why its orders are these: H. Boehm, "Can seqlocks get along with programming
 * language memory models?", MSPC 2012. The slot as its second half is needed because the memory is
 * reused under the reader.
 */
#ifndef FOLIO_SRC_VERSION_H
#define FOLIO_SRC_VERSION_H

#include <folio/atomic.h>

/*
 * Step 2. Returns false when the contents are not to be read now; else *@seen is what version_recheck
 * compares with.
 */
static inline bool version_load_begin(folio_u64 *version, uint64_t *seen)
{
	/* acquire: pairs with version_settle. */
	*seen = folio_u64_load_acquire(version);
	return !(*seen & 1);
}

/* Steps 5 and 6. True when what was copied since version_load_begin belongs together. */
static inline bool version_recheck(folio_u64 *version, uint64_t seen)
{
	/* Pairs with the fence of version_break: data that was copied from after it makes the break seen. */
	folio_fence_acquire();
	return folio_u64_load_relaxed(version) == seen;
}

/*
 * Step B, before the calling thread's first store to the data. Idempotent: a version that is odd
 * already stays as it is, and no reader began with it.
 */
static inline void version_break(folio_u64 *version)
{
	folio_u64_store_relaxed(version, folio_u64_load_relaxed(version) | 1);
	folio_fence_release();
}

/* Step D, by who called version_break, after the last store to the data. */
static inline void version_settle(folio_u64 *version)
{
	/* release: pairs with version_load_begin. */
	folio_u64_store_release(version, folio_u64_load_relaxed(version) + 1);
}

#endif
