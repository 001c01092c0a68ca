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
 * Slots exist only with timeout_ms. Without it, returns true at once, and submit may wait.
 */
bool slot_take(struct folio_cache *cache, bool wait, const struct timespec *until);

/* Return a slot when the request has completed, and wake one thread that waits for a slot. */
void slot_give(struct folio_cache *cache);

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
