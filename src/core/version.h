/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * version.h - a folio's version, for readers that copy without taking a reference.
 *
 * The words of all folios are in one array (core/pool.h): eight of them share a cache line, so that
 * a reader needs few lines, and none that a pin writes. A word has a number and these flags:
 *
 *   CHANGING   free, being filled, being written, frozen: the contents may change at any moment.
 *              Without it, they are valid and do not change as long as the word does not
 *   PARTIAL    the file has fewer bytes than the folio: folio->valid says how many
 *   TOUCH      eviction wants to hear of a read (core/heat.h); any thread may set or clear it
 *   HELD       a freezer holds the folio: no pin is published (core/publish.h). Only the freezer
 *              that has set it clears it; a change of the contents leaves it as it is
 *
 * A version is called odd while it has the flag CHANGING, else even.
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
 * A reader that needs folio->valid treats it as data: it is stored after B and before D.
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

#include <stdbool.h>
#include <stdint.h>

#include <folio/atomic.h>

#define VERSION_CHANGING UINT64_C(1)
#define VERSION_PARTIAL  UINT64_C(2)
#define VERSION_TOUCH    UINT64_C(4)
#define VERSION_HELD     UINT64_C(8)
/* One change more. */
#define VERSION_STEP     UINT64_C(16)

/*
 * Step 2. Returns false if the contents must not be read now; else *@seen is the version for
 * version_read_valid to compare with.
 */
static inline bool version_read_begin(folio_u64 *version, uint64_t *seen)
{
	/* acquire: pairs with version_write_end; without it the copy could be older than @seen. */
	*seen = folio_u64_load_acquire(version);
	return !(*seen & VERSION_CHANGING);
}

/*
 * The same, and false as well if the folio is not wholly valid. *@seen has the flags either way; if
 * it is only PARTIAL, the caller may read as far as folio->valid, as data.
 */
static inline bool version_read_whole(folio_u64 *version, uint64_t *seen)
{
	/* acquire: as in version_read_begin. */
	*seen = folio_u64_load_acquire(version);
	return !(*seen & (VERSION_CHANGING | VERSION_PARTIAL));
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
 * version_read_valid. A read-modify-write, since other threads change TOUCH.
 */
static inline void version_write_begin(folio_u64 *version)
{
	if (!(folio_u64_load_relaxed(version) & VERSION_CHANGING))
		folio_u64_fetch_or_relaxed(version, VERSION_CHANGING);
	folio_fence_release();
}

/*
 * Step D, by the thread that called version_write_begin, after its last store to the data. @partial
 * is VERSION_PARTIAL or 0, from here on. The loop is repeated only if another thread has set or
 * cleared TOUCH in between, which changes only with the heat: a few times in a pass of eviction.
 */
static inline void version_write_end(folio_u64 *version, uint64_t partial)
{
	uint64_t word = folio_u64_load_relaxed(version);

	/* release: pairs with version_read_begin; without it an even version could precede data. */
	while (!folio_u64_cas_release(version, &word,
		(word & ~(VERSION_CHANGING | VERSION_PARTIAL)) + VERSION_STEP + partial))
		continue;
}

/*
 * Eviction wants to hear of the next read. relaxed: a hint. A thread that comes late may set it for
 * the next use of the folio: one read more is recorded then.
 */
static inline void version_touch_set(folio_u64 *version)
{
	if (!(folio_u64_load_relaxed(version) & VERSION_TOUCH))
		folio_u64_fetch_or_relaxed(version, VERSION_TOUCH);
}

/* It no longer does, if the word is still @seen: a later use may have the flag for a new reason. */
static inline void version_touch_clear(folio_u64 *version, uint64_t seen)
{
	folio_u64_cas_relaxed(version, &seen, seen & ~VERSION_TOUCH);
}

#endif
