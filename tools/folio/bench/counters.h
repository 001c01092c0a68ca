/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * counters.h - the reference counters that folio/ref.h is compared with.
 *
 * The same 32-bit word and the same operations, with the same memory orders where an operation is
 * the same; 0 is free.
 */
#ifndef FOLIO_TOOLS_COUNTERS_H
#define FOLIO_TOOLS_COUNTERS_H

#include <folio/atomic.h>

/* A counter alone on its cache line; on two lines, since processors fetch them in pairs. */
struct counter_line {
	folio_u32 word;
} __attribute__((aligned(128)));

/* Classic: load, then compare-and-swap until it succeeds. Fails on 0 without writing. */
static inline bool loop_try_get(folio_u32 *word)
{
	uint32_t value = folio_u32_load_relaxed(word);

	do {
		if (!value)
			return false;
	} while (!folio_u32_cas_acquire(word, &value, value + 1));
	return true;
}

/* The same without the load: assumes 1, the count of a cached page without other references. */
static inline bool guess_try_get(folio_u32 *word)
{
	uint32_t value = 1;

	while (!folio_u32_cas_acquire(word, &value, value + 1)) {
		if (!value)
			return false;
	}
	return true;
}

/* For both. True: it was the last reference, and the caller must release the object. */
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

/* The limit: a counter that no other thread writes. No locked instruction, no shared line. */
static inline void own_get(folio_u32 *word)
{
	folio_u32_store_relaxed(word, folio_u32_load_relaxed(word) + 1);
}

static inline void own_put(folio_u32 *word)
{
	folio_u32_store_release(word, folio_u32_load_relaxed(word) - 1);
}

#endif
