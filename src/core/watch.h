/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * watch.h - a call when a folio is no longer locked or being written back, for requests that wait
 * without a thread.
 *
 * A thread that waits sleeps on the folio's flags (folio_flags_wait). A watch is the same for a
 * request of a folio_queue: the thread that ends the state calls it. There is one table of watches
 * for the process, as there is one of the kernel for futexes: the address of the folio is the key.
 *
 *   attach (watch_attach)                      end (folio_flags_change)
 *   1  lock the bucket                        A  CAS: the state ends; FOLIO_WATCHED is cleared, and
 *   2  insert the watch                          was seen or not
 *   3  CAS: FOLIO_WATCHED set, and the        B  if seen: lock the bucket, take out all watches of
 *      state has not ended; else take the        the folio, call them
 *      watch out again
 *   4  unlock
 *
 * Both CASes change one word, so one is first. If it is A, step 3 fails, and the caller looks
 * again. If it is step 3, A sees the flag, and B comes after step 4 and finds the watch.
 *
 * A watch holds no reference. The thread that ends the state has one until after B: so the
 * descriptor is not in another use when the watch is called, and what the fill has left in it can
 * be read (fill_verdict). The caller of watch_attach has the folio pinned until it returns.
 */
#ifndef FOLIO_SRC_CORE_WATCH_H
#define FOLIO_SRC_CORE_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include <folio/folio.h>

struct watch {
	/*
	 * Set by the owner. Called with the lock of the bucket held, @flags being the folio's new
	 * flags: does not block, and begins or ends no watch. The watch is no longer attached.
	 */
	void (*ended)(struct watch *watch, uint32_t flags);
	struct folio *folio; /* the last one that it was attached to, or NULL */
	/* Guarded by the lock of the bucket. */
	struct watch *next;
	struct watch **link; /* the pointer that points to this watch; NULL: not attached */
};

/*
 * Attach @watch to a pinned folio that is locked; @to_lock: that cannot be locked, which write-back
 * may prevent as well. Returns false if it is not by now: a request that can go on does not wait
 * for the device. Called by the owner of @watch, which is not attached.
 */
bool watch_attach(struct watch *watch, struct folio *folio, bool to_lock);

/*
 * Detach @watch if it is attached. When this returns, it is not being called, and will not be.
 * Called by the owner.
 */
void watch_detach(struct watch *watch);

/* Call the watches of a folio. The caller has a reference. @flags: as for ended. */
#ifdef FOLIO_ATOMIC_RELACY
/* These models have none; models/spin/watch.pml has. */
static inline void watch_call(struct folio *, uint32_t)
{
}
#else
void watch_call(struct folio *folio, uint32_t flags);
#endif

/* In a child of fork: forget the watches of the parent. */
void watch_forked(void);

#endif
