/* SPDX-License-Identifier: BSD-2-Clause */
/* inflight.c - counting requests in flight, and waiting for them. */
#include "cache/inflight.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

bool slot_take(struct folio_cache *cache, bool wait, const struct timespec *until)
{
	uint32_t slots;

	if (!cache->timeout_ms)
		return true;
	slots = folio_u32_load_relaxed(&cache->request_slots);
	for (;;) {
		if (slots) {
			if (folio_u32_cas_relaxed(&cache->request_slots, &slots, slots - 1))
				return true;
		} else if (!wait || !futex_wait_until(&cache->request_slots, 0, until)) {
			/* This thread may have used up the wake for a free slot: pass it on. */
			if (wait && folio_u32_load_relaxed(&cache->request_slots))
				futex_wake(&cache->request_slots, 1);
			return false;
		} else {
			slots = folio_u32_load_relaxed(&cache->request_slots);
		}
	}
}

void slot_give(struct folio_cache *cache)
{
	if (!cache->timeout_ms)
		return;
	folio_u32_fetch_add_relaxed(&cache->request_slots, 1);
	futex_wake(&cache->request_slots, 1);
}

void inflight_drain(struct inode *inode, const struct timespec *until)
{
	uint32_t fills;

	folio_u32_fetch_or_relaxed(&inode->fills, INODE_CLOSING);
	/*
	 * acquire: pairs with inflight_end. This also holds if nothing is in flight any longer when
	 * the bit is set: the fetch_or continues the release sequence of the last inflight_end.
	 */
	while ((fills = folio_u32_load_acquire(&inode->fills)) != INODE_CLOSING)
		if (!futex_wait_until(&inode->fills, fills, until))
			break;
}

void inflight_end(struct inode *inode)
{
	/*
	 * release: pairs with inflight_drain and is_settled (api/open.c). A thread that sees zero
	 * sees that the requests have dropped their references to the inode's pages.
	 */
	if (folio_u32_fetch_sub_release(&inode->fills, 1) == (INODE_CLOSING | 1))
		futex_wake(&inode->fills, INT_MAX);
}
