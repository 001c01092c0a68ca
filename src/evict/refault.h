/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * refault.h - what evicted pages that are missed again tell about the policy: which queue they
 * enter, and how much each queue should have.
 */
#ifndef FOLIO_SRC_EVICT_REFAULT_H
#define FOLIO_SRC_EVICT_REFAULT_H

#include <stdbool.h>
#include <stdint.h>

#include "cache/types.h"

/*
 * A shadow holds the clock, and in its lowest bit whether the page had been in the main queue. The
 * bit stays set when such a page was refused and left the small queue, so it cannot return to the
 * main queue as a newcomer.
 */
#define SHADOW_MAIN       1u
#define SHADOW_CLOCK_BIT  1

/* evict->trust, at most. */
#define REFAULT_TRUST     1024

/* The unit of evict->small_share, which is at least REFAULT_SMALL_MIN, and of small_evicted. */
#define REFAULT_WHOLE     (UINT64_C(1) << 32)
#define REFAULT_SMALL_MIN (REFAULT_WHOLE / 10)

/*
 * The shadow of a page that is evicted. @main: it was in the main queue, or had been there and was
 * refused when it returned, so it must not enter the main queue as a newcomer.
 */
void *refault_shadow(uint64_t clock, bool main);

/*
 * REFAULT_* of @pages pages that missed, and had left @shadow when they were evicted. If they would
 * still be cached in a queue with more pages, their queue gets more.
 */
uint8_t refault_of(struct folio_cache *cache, const void *shadow, uint64_t pages);

/*
 * A trial has ended: the page was used again before it came to the tail of the main queue, or not.
 * A loop over a little more than the cache has none that succeeds: each page that returns to the
 * main queue displaces one that would be needed before. With little trust, the main queue keeps its
 * pages, and they hit. The queues' lock is held.
 */
void refault_end_trial(struct evict *evict, bool used);

/* @pages pages leave the main queue, or the small one. The queues' lock is held. */
void refault_count(struct evict *evict, bool main, uint64_t pages);

/* The pages that the small queue may have before it is the one that must give pages. */
uint64_t refault_small_target(const struct evict *evict);

#endif
