/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * inflight.h - requests to the backend in flight: how many an inode has, how many more may begin.
 */
#ifndef FOLIO_SRC_CACHE_INFLIGHT_H
#define FOLIO_SRC_CACHE_INFLIGHT_H

#include <stdbool.h>
#include <time.h>

#include "cache/types.h"

#define INODE_CLOSING UINT32_C(0x80000000) /* in inode->fills: a thread waits for zero */

/*
 * Take a request slot, so that the backend's submit does not wait. If no slot is free, returns
 * false without @wait, and with it if there is none before the deadline @until (NULL: none).
 *
 * Without timeout_ms, returns true at once, and submit may wait: as many slots may be taken as
 * threads want, and their number becomes negative.
 */
bool slot_take(struct folio_cache *cache, bool wait, const struct timespec *until);

/*
 * Take a slot for a request that must not wait in submit, if one is free. (It may still wait for
 * one request, if other threads that take slots without this check are faster.)
 */
bool slot_take_free(struct folio_cache *cache);

/*
 * Return a slot when the request has completed; wake one thread that waits for a slot, and call
 * all who wait for one without a thread.
 */
void slot_give(struct folio_cache *cache);

/*
 * Have @waiter->freed called, once, when a slot is free: on the thread that returns it, with
 * slot_waiters.lock held. Returns false if one is free by now: then it is not called.
 */
bool slot_await(struct folio_cache *cache, struct slot_waiter *waiter);

/* End that; when this returns, @waiter->freed is not being called, and will not be. */
void slot_unawait(struct folio_cache *cache, struct slot_waiter *waiter);

/*
 * Wait until no counted request of the inode is in flight, or until the deadline @until (NULL:
 * none). Such requests use the inode's handle, and no caller waits for them.
 */
void inflight_drain(struct inode *inode, const struct timespec *until);

/* Count a request that the inode must outlive, before it is submitted. */
static inline void inflight_begin(struct inode *inode)
{
	folio_u32_fetch_add_relaxed(&inode->fills, 1);
}

/*
 * Such a request has completed. The inode may be that of another file from here on: after the count
 * only its address is used, to wake, and a wake of a word that no thread waits for is harmless
 * (base/futex.h).
 */
void inflight_end(struct inode *inode);

#endif
