/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * progress.h - transient references of the cache itself, and waiting for them to be dropped.
 *
 * Two kinds of activities hold references to folios for a while. One kind ends without any help
 * from the program: a fill, a write-back, an evictor with a batch. At most, it waits for the
 * device. It is counted in busy. The other kind is a thread that holds a folio while it copies, or
 * waits for its lock, which the program can have (folio_lock). It is counted in holders. Each is
 * counted from before its first reference until after its last put. A thread that finds no free
 * page waits for both kinds before it reports that everything is pinned. It waits for holders no
 * longer than PROGRESS_PATIENCE_MS. New activities must not keep it waiting, such as writes of
 * pinned pages that are always in flight: after PROGRESS_PATIENCE_MS it only waits until as many
 * have ended as there were at first.
 */
#ifndef FOLIO_SRC_CORE_PROGRESS_H
#define FOLIO_SRC_CORE_PROGRESS_H

#include <stdbool.h>
#include <time.h>

#include <folio/atomic.h>

#include "core/folio.h"

#define PROGRESS_PATIENCE_MS 1000

struct progress {
	_Alignas(64) folio_u32 busy; /* activities that hold references, and end by themselves */
	folio_u32 holders;           /* threads that hold a folio, and may be delayed */
	folio_u32 released;          /* ends after which a folio was evictable or free */
	folio_u32 ended;             /* ends of busy activities */
	folio_u32 waiters;
	folio_u32 event; /* futex word of the waiters: while there are any, each end changes it */
	uint32_t patience_ms; /* set at creation, and by tests */
};

void progress_init(struct progress *progress);

/*
 * The caller is about to take references, and will drop them without help from the program; it may
 * wait for the device. Call it before the first reference is taken, and progress_end after the last
 * one is put.
 *
 * release: pairs with the fence in progress_wait. A thread that has seen the reference sees the
 * caller counted.
 */
static inline void progress_begin(struct progress *progress)
{
	folio_u32_fetch_add_relaxed(&progress->busy, 1);
	folio_fence_release();
}

/*
 * As progress_begin, for a thread that takes one reference and holds it while it copies;
 * progress_unhold ends it. A thread that changes from busy to holder calls this first.
 */
static inline void progress_hold(struct progress *progress)
{
	folio_u32_fetch_add_relaxed(&progress->holders, 1);
	folio_fence_release();
}

/*
 * Put a transient reference. Returns true if the folio is evictable or free now: the only reference
 * left is that of a file's tree, or none is left. False if there are others: the program's, for
 * which no thread waits, or those of activities that are counted, of which the last one gets true.
 */
bool progress_put(struct folio *folio);

/*
 * The end of what progress_begin, or progress_hold, began. @freed: a folio that the caller had is
 * evictable or free now. Only that is a reason for waiters to scan again; otherwise threads that
 * hit pinned folios would keep them scanning for ever.
 */
void progress_end(struct progress *progress, bool freed);
void progress_unhold(struct progress *progress, bool freed);

/*
 * The count that progress_wait and progress_expected compare with. Load it before a scan for
 * memory. acquire: pairs with progress_end.
 */
static inline uint32_t progress_seen(const struct progress *progress)
{
	return folio_u32_load_acquire(&progress->released);
}

/*
 * For a caller that does not wait: has any folio been released since @seen, or may one be? The
 * order of the loads is that of progress_wait.
 */
static inline bool progress_expected(const struct progress *progress, uint32_t seen)
{
	return folio_u32_load_acquire(&progress->busy) ||
	       folio_u32_load_acquire(&progress->holders) || progress_seen(progress) != seen;
}

/*
 * Called after a scan, begun at count @seen, found every folio referenced. Sleeps until a folio is
 * released (returns 0), until no thread is busy and no holder is left or the time for them is over
 * (-ENOMEM: the other references are the program's pins, which may last for ever), or until the
 * deadline @until (-ETIMEDOUT).
 */
int progress_wait(struct progress *progress, uint32_t seen, const struct timespec *until);

/*
 * Wait until no activity is busy. The caller makes sure that none begins in the meantime, except
 * the evictor's, which finds no folio to reference; and that there are no holders.
 */
void progress_drain(struct progress *progress);

#endif
