/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * folio/atomic.h - replaces the library's header of this name: the part that ref.h needs, as
 * recorded accesses.
 */
#ifndef FOLIO_ATOMIC_H
#define FOLIO_ATOMIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../access.h"

#define FOLIO_INLINE_ static inline

typedef uint32_t folio_u32;

static inline uint32_t folio_u32_load_relaxed(const folio_u32 *word)
{
	return access((folio_u32 *)word, ACCESS_LOAD, ORDER_RELAXED, 0, 0);
}

static inline void folio_u32_store_relaxed(folio_u32 *word, uint32_t value)
{
	access(word, ACCESS_STORE, ORDER_RELAXED, value, 0);
}

static inline void folio_u32_store_release(folio_u32 *word, uint32_t value)
{
	access(word, ACCESS_STORE, ORDER_RELEASE, value, 0);
}

static inline uint32_t folio_u32_fetch_add_relaxed(folio_u32 *word, uint32_t n)
{
	return access(word, ACCESS_ADD, ORDER_RELAXED, n, 0);
}

static inline uint32_t folio_u32_fetch_add_acquire(folio_u32 *word, uint32_t n)
{
	return access(word, ACCESS_ADD, ORDER_ACQUIRE, n, 0);
}

static inline uint32_t folio_u32_fetch_sub_release(folio_u32 *word, uint32_t n)
{
	return access(word, ACCESS_ADD, ORDER_RELEASE, -n, 0);
}

static inline bool cas(folio_u32 *word, uint32_t *expected, uint32_t value, enum access_order order)
{
	uint32_t seen = access(word, ACCESS_CAS, order, value, *expected);
	bool done = seen == *expected;

	*expected = seen;
	return done;
}

static inline bool folio_u32_cas_relaxed(folio_u32 *word, uint32_t *expected, uint32_t value)
{
	return cas(word, expected, value, ORDER_RELAXED);
}

static inline bool folio_u32_cas_acquire(folio_u32 *word, uint32_t *expected, uint32_t value)
{
	return cas(word, expected, value, ORDER_ACQUIRE);
}

static inline bool folio_u32_cas_acq_rel(folio_u32 *word, uint32_t *expected, uint32_t value)
{
	return cas(word, expected, value, ORDER_ACQ_REL);
}

#endif
