/* SPDX-License-Identifier: GPL-2.0-only */
/* linux/atomic.h - the part of the kernel's that page_ref.h needs, as recorded accesses. */
#ifndef LINUX_ATOMIC_H
#define LINUX_ATOMIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../access.h"

typedef struct {
	uint32_t counter;
} atomic_t;

static inline int atomic_read(const atomic_t *v)
{
	return access((uint32_t *)&v->counter, ACCESS_LOAD, ORDER_RELAXED, 0, 0);
}

static inline void atomic_set(atomic_t *v, int value)
{
	access(&v->counter, ACCESS_STORE, ORDER_RELAXED, value, 0);
}

static inline void atomic_set_release(atomic_t *v, int value)
{
	access(&v->counter, ACCESS_STORE, ORDER_RELEASE, value, 0);
}

/*
 * Operations without a result are relaxed, those with a result are fully ordered, unless their name
 * states another order.
 */
static inline void atomic_add(int n, atomic_t *v)
{
	access(&v->counter, ACCESS_ADD, ORDER_RELAXED, n, 0);
}

static inline void atomic_sub(int n, atomic_t *v)
{
	atomic_add(-n, v);
}

static inline void atomic_inc(atomic_t *v)
{
	atomic_add(1, v);
}

static inline void atomic_dec(atomic_t *v)
{
	atomic_add(-1, v);
}

/*
 * Recorded as a load and a store, which correct code never makes here: the recorded accesses have
 * no OR.
 */
static inline int atomic_fetch_or(int bits, atomic_t *v)
{
	uint32_t seen = access(&v->counter, ACCESS_LOAD, ORDER_RELAXED, 0, 0);

	access(&v->counter, ACCESS_STORE, ORDER_FULL, seen | (uint32_t)bits, 0);
	return seen;
}

static inline int atomic_add_return(int n, atomic_t *v)
{
	return access(&v->counter, ACCESS_ADD, ORDER_FULL, n, 0) + (uint32_t)n;
}

static inline int atomic_add_return_relaxed(int n, atomic_t *v)
{
	return access(&v->counter, ACCESS_ADD, ORDER_RELAXED, n, 0) + (uint32_t)n;
}

static inline int atomic_sub_return(int n, atomic_t *v)
{
	return atomic_add_return(-n, v);
}

static inline int atomic_sub_return_relaxed(int n, atomic_t *v)
{
	return atomic_add_return_relaxed(-n, v);
}

static inline int atomic_inc_return(atomic_t *v)
{
	return atomic_add_return(1, v);
}

static inline int atomic_dec_return(atomic_t *v)
{
	return atomic_add_return(-1, v);
}

static inline bool atomic_sub_and_test(int n, atomic_t *v)
{
	return !atomic_sub_return(n, v);
}

static inline bool atomic_dec_and_test(atomic_t *v)
{
	return !atomic_dec_return(v);
}

static inline int atomic_cmpxchg(atomic_t *v, int expected, int value)
{
	return access(&v->counter, ACCESS_CAS, ORDER_FULL, value, expected);
}

static inline bool cmpxchg(atomic_t *v, int *expected, int value, enum access_order order)
{
	int seen = access(&v->counter, ACCESS_CAS, order, value, *expected);
	bool done = seen == *expected;

	*expected = seen;
	return done;
}

static inline bool atomic_try_cmpxchg_relaxed(atomic_t *v, int *expected, int value)
{
	return cmpxchg(v, expected, value, ORDER_RELAXED);
}

static inline bool atomic_try_cmpxchg_acquire(atomic_t *v, int *expected, int value)
{
	return cmpxchg(v, expected, value, ORDER_ACQUIRE);
}

#endif
