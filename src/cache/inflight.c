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

	if (!cache->timeout_ms) {
		folio_u32_fetch_sub_relaxed(&cache->request_slots, 1);
		return true;
	}
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

bool slot_take_free(struct folio_cache *cache)
{
	uint32_t slots = folio_u32_load_relaxed(&cache->request_slots);

	while ((int32_t)slots > 0)
		if (folio_u32_cas_relaxed(&cache->request_slots, &slots, slots - 1))
			return true;
	return false;
}

/* slot_waiters.lock is held. */
static void take_out(struct slot_waiters *waiters, struct slot_waiter *waiter)
{
	*waiter->link = waiter->next;
	if (waiter->next)
		waiter->next->link = waiter->link;
	waiter->link = NULL;
	folio_u32_fetch_sub_relaxed(&waiters->count, 1);
}

static __attribute__((noinline)) void call_stalled(struct slot_waiters *waiters)
{
	pthread_mutex_lock(&waiters->lock);
	while (waiters->first) {
		struct slot_waiter *waiter = waiters->first;

		take_out(waiters, waiter);
		waiter->freed(waiter);
	}
	pthread_mutex_unlock(&waiters->lock);
}

void slot_give(struct folio_cache *cache)
{
	folio_u32_fetch_add_relaxed(&cache->request_slots, 1);
	if (cache->timeout_ms)
		futex_wake(&cache->request_slots, 1);
	/*
	 * seq_cst: pairs with the fence in slot_await. Either this thread sees the count of those
	 * who wait, or they see the slot.
	 */
	folio_fence_seq_cst();
	if (folio_u32_load_relaxed(&cache->slot_waiters.count))
		call_stalled(&cache->slot_waiters);
}

bool slot_await(struct folio_cache *cache, struct slot_waiter *waiter)
{
	struct slot_waiters *waiters = &cache->slot_waiters;
	bool waits = true;

	pthread_mutex_lock(&waiters->lock);
	waiter->next = waiters->first;
	waiter->link = &waiters->first;
	if (waiter->next)
		waiter->next->link = &waiter->next;
	waiters->first = waiter;
	folio_u32_fetch_add_relaxed(&waiters->count, 1);
	/* seq_cst: pairs with the fence in slot_give. */
	folio_fence_seq_cst();
	if ((int32_t)folio_u32_load_relaxed(&cache->request_slots) > 0) {
		take_out(waiters, waiter);
		waits = false;
	}
	pthread_mutex_unlock(&waiters->lock);
	return waits;
}

void slot_unawait(struct folio_cache *cache, struct slot_waiter *waiter)
{
	pthread_mutex_lock(&cache->slot_waiters.lock);
	if (waiter->link)
		take_out(&cache->slot_waiters, waiter);
	pthread_mutex_unlock(&cache->slot_waiters.lock);
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
