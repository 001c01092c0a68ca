/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * counters.h - the reference counters that folio/ref.h is measured against.
 *
 * The same word of 32 bits, the same operations, the same orders where an operation is the same; 0 is free.
 */
#ifndef FOLIO_TOOLS_COUNTERS_H
#define FOLIO_TOOLS_COUNTERS_H

#include <folio/atomic.h>

/* A line that nothing else is on; two, since processors fetch them in pairs. */
struct counter_line {
	folio_u32 word;
} __attribute__((aligned(128)));

/* Classic: look, then compare-and-swap until nobody came in between. Fails on 0 without writing. */
static inline bool loop_try_get(folio_u32 *word)
{
	uint32_t value = folio_u32_load_relaxed(word);

	do {
		if (!value)
			return false;
	} while (!folio_u32_cas_acquire(word, &value, value + 1));
	return true;
}

/* The same without the look: 1 is assumed, as of a cached page that nobody else holds. */
static inline bool guess_try_get(folio_u32 *word)
{
	uint32_t value = 1;

	while (!folio_u32_cas_acquire(word, &value, value + 1)) {
		if (!value)
			return false;
	}
	return true;
}

/* Goes with both. True: it was the last, and the caller is to release. */
static inline bool classic_put(folio_u32 *word)
{
	if (folio_u32_fetch_sub_release(word, 1) != 1)
		return false;
	folio_fence_acquire();
	return true;
}

static inline bool classic_try_freeze(folio_u32 *word, uint32_t expected)
{
	return folio_u32_cas_acq_rel(word, &expected, 0);
}

static inline void classic_unfreeze(folio_u32 *word, uint32_t count)
{
	folio_u32_store_release(word, count);
}

/* The limit: a counter that no other thread writes. No locked instruction, no line that travels. */
static inline void own_get(folio_u32 *word)
{
	folio_u32_store_relaxed(word, folio_u32_load_relaxed(word) + 1);
}

static inline void own_put(folio_u32 *word)
{
	folio_u32_store_release(word, folio_u32_load_relaxed(word) - 1);
}

#endif
