/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * atomic.h - atomic operations with the memory order in their names.
 *
 * All code of folio uses these functions. So `grep release` finds every release, and one text of an
 * algorithm works with two implementations:
 *
 *   - C11 and C++11 (GCC and Clang builtins on plain words; the same layout in both languages);
 *   - Relacy, when FOLIO_ATOMIC_RELACY is defined: the words are rl::atomic and each access is a
 *     scheduling point of the model checker (models/relacy).
 *
 * This file has only the operations that the library uses. A name is
 *
 *   folio_<type>_<operation>_<order>        type: u8, u32, u64, ptr
 *
 * with the C11 orders relaxed, acquire, release, acq_rel. A compare-and-swap takes the expected
 * value by pointer. When it fails, its order is relaxed, and it stores the value that it found
 * through that pointer.
 */
#ifndef FOLIO_ATOMIC_H
#define FOLIO_ATOMIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * For the documented functions of all headers that are inline. A program in C or C++ compiles them
 * itself. One file of the library defines this as "extern inline": the library then exports each of
 * them as well, for programs in other languages (src/api/inline.c).
 */
#ifndef FOLIO_INLINE_
#define FOLIO_INLINE_ static inline
#endif

/* A cast of a pointer, or to one. In C++ it is quiet with -Wold-style-cast. */
#ifdef __cplusplus
#define FOLIO_CAST_(type, value) reinterpret_cast<type>(value)
#else
#define FOLIO_CAST_(type, value) ((type)(value))
#endif

#ifdef FOLIO_ATOMIC_RELACY

/*
 * The harness includes relacy/relacy.hpp first. RL_INFO is Relacy's source position; it makes each
 * access a point where the scheduler may switch threads.
 */
template <typename value_t> struct folio_atomic_relacy : rl::atomic<value_t> {
	/*
	 * In C, a thread that owns the object exclusively can also read and write a word
	 * plainly. Relacy treats that as a relaxed access; models of such data use rl::var, which
	 * reports a race.
	 */
	operator value_t() const
	{
		return this->load(rl::mo_relaxed, RL_INFO);
	}

	value_t operator=(value_t value)
	{
		this->store(value, rl::mo_relaxed, RL_INFO);
		return value;
	}
};

typedef folio_atomic_relacy<uint8_t> folio_u8;
typedef folio_atomic_relacy<uint32_t> folio_u32;
typedef folio_atomic_relacy<uint64_t> folio_u64;
typedef folio_atomic_relacy<void *> folio_ptr;

#define FOLIO_ATOMIC_LOAD_(p, order)     ((p)->load(rl::mo_##order, RL_INFO))
#define FOLIO_ATOMIC_STORE_(p, v, order) ((p)->store((v), rl::mo_##order, RL_INFO))
#define FOLIO_ATOMIC_ADD_(p, v, order)   ((p)->fetch_add((v), rl::mo_##order, RL_INFO))
#define FOLIO_ATOMIC_SUB_(p, v, order)   ((p)->fetch_sub((v), rl::mo_##order, RL_INFO))
#define FOLIO_ATOMIC_OR_(p, v, order)    ((p)->fetch_or((v), rl::mo_##order, RL_INFO))
#define FOLIO_ATOMIC_AND_(p, v, order)   ((p)->fetch_and((v), rl::mo_##order, RL_INFO))
#define FOLIO_ATOMIC_XCHG_(p, v, order)  ((p)->exchange((v), rl::mo_##order, RL_INFO))
#define FOLIO_ATOMIC_CAS_(p, e, v, order) \
	((p)->compare_exchange_strong(*(e), (v), rl::mo_##order, RL_INFO, rl::mo_relaxed, RL_INFO))
#define FOLIO_ATOMIC_FENCE_(order) rl::atomic_thread_fence(rl::mo_##order, RL_INFO)
#define FOLIO_ATOMIC_CONST_        const

#else /* C11 and C++11 */

typedef uint8_t folio_u8;
typedef uint32_t folio_u32;
typedef uint64_t folio_u64;
typedef void *folio_ptr;

#define FOLIO_ATOMIC_ORDER_relaxed       __ATOMIC_RELAXED
#define FOLIO_ATOMIC_ORDER_acquire       __ATOMIC_ACQUIRE
#define FOLIO_ATOMIC_ORDER_release       __ATOMIC_RELEASE
#define FOLIO_ATOMIC_ORDER_acq_rel       __ATOMIC_ACQ_REL
#define FOLIO_ATOMIC_ORDER_seq_cst       __ATOMIC_SEQ_CST

#define FOLIO_ATOMIC_LOAD_(p, order)     __atomic_load_n((p), FOLIO_ATOMIC_ORDER_##order)
#define FOLIO_ATOMIC_STORE_(p, v, order) __atomic_store_n((p), (v), FOLIO_ATOMIC_ORDER_##order)
#define FOLIO_ATOMIC_ADD_(p, v, order)   __atomic_fetch_add((p), (v), FOLIO_ATOMIC_ORDER_##order)
#define FOLIO_ATOMIC_SUB_(p, v, order)   __atomic_fetch_sub((p), (v), FOLIO_ATOMIC_ORDER_##order)
#define FOLIO_ATOMIC_OR_(p, v, order)    __atomic_fetch_or((p), (v), FOLIO_ATOMIC_ORDER_##order)
#define FOLIO_ATOMIC_AND_(p, v, order)   __atomic_fetch_and((p), (v), FOLIO_ATOMIC_ORDER_##order)
#define FOLIO_ATOMIC_XCHG_(p, v, order)  __atomic_exchange_n((p), (v), FOLIO_ATOMIC_ORDER_##order)
#define FOLIO_ATOMIC_CAS_(p, e, v, order) \
	__atomic_compare_exchange_n(      \
		(p), (e), (v), false, FOLIO_ATOMIC_ORDER_##order, __ATOMIC_RELAXED)
#define FOLIO_ATOMIC_FENCE_(order) __atomic_thread_fence(FOLIO_ATOMIC_ORDER_##order)
#define FOLIO_ATOMIC_CONST_        const

#endif

#define FOLIO_ATOMIC_TYPE_(type, value_t)                                                      \
	static inline value_t folio_##type##_load_relaxed(FOLIO_ATOMIC_CONST_ folio_##type *p) \
	{                                                                                      \
		return FOLIO_ATOMIC_LOAD_(p, relaxed);                                         \
	}                                                                                      \
	static inline value_t folio_##type##_load_acquire(FOLIO_ATOMIC_CONST_ folio_##type *p) \
	{                                                                                      \
		return FOLIO_ATOMIC_LOAD_(p, acquire);                                         \
	}                                                                                      \
	static inline void folio_##type##_store_relaxed(folio_##type *p, value_t v)            \
	{                                                                                      \
		FOLIO_ATOMIC_STORE_(p, v, relaxed);                                            \
	}                                                                                      \
	static inline void folio_##type##_store_release(folio_##type *p, value_t v)            \
	{                                                                                      \
		FOLIO_ATOMIC_STORE_(p, v, release);                                            \
	}                                                                                      \
	static inline value_t folio_##type##_exchange_acquire(folio_##type *p, value_t v)      \
	{                                                                                      \
		return FOLIO_ATOMIC_XCHG_(p, v, acquire);                                      \
	}                                                                                      \
	static inline bool folio_##type##_cas_relaxed(                                         \
		folio_##type *p, value_t *expected, value_t v)                                 \
	{                                                                                      \
		return FOLIO_ATOMIC_CAS_(p, expected, v, relaxed);                             \
	}                                                                                      \
	static inline bool folio_##type##_cas_acquire(                                         \
		folio_##type *p, value_t *expected, value_t v)                                 \
	{                                                                                      \
		return FOLIO_ATOMIC_CAS_(p, expected, v, acquire);                             \
	}                                                                                      \
	static inline bool folio_##type##_cas_release(                                         \
		folio_##type *p, value_t *expected, value_t v)                                 \
	{                                                                                      \
		return FOLIO_ATOMIC_CAS_(p, expected, v, release);                             \
	}                                                                                      \
	static inline bool folio_##type##_cas_acq_rel(                                         \
		folio_##type *p, value_t *expected, value_t v)                                 \
	{                                                                                      \
		return FOLIO_ATOMIC_CAS_(p, expected, v, acq_rel);                             \
	}

#define FOLIO_ATOMIC_ARITHMETIC_(type, value_t)                                            \
	static inline value_t folio_##type##_fetch_add_relaxed(folio_##type *p, value_t v) \
	{                                                                                  \
		return FOLIO_ATOMIC_ADD_(p, v, relaxed);                                   \
	}                                                                                  \
	static inline value_t folio_##type##_fetch_add_acquire(folio_##type *p, value_t v) \
	{                                                                                  \
		return FOLIO_ATOMIC_ADD_(p, v, acquire);                                   \
	}                                                                                  \
	static inline value_t folio_##type##_fetch_add_release(folio_##type *p, value_t v) \
	{                                                                                  \
		return FOLIO_ATOMIC_ADD_(p, v, release);                                   \
	}                                                                                  \
	static inline value_t folio_##type##_fetch_sub_relaxed(folio_##type *p, value_t v) \
	{                                                                                  \
		return FOLIO_ATOMIC_SUB_(p, v, relaxed);                                   \
	}                                                                                  \
	static inline value_t folio_##type##_fetch_sub_release(folio_##type *p, value_t v) \
	{                                                                                  \
		return FOLIO_ATOMIC_SUB_(p, v, release);                                   \
	}                                                                                  \
	static inline value_t folio_##type##_fetch_or_relaxed(folio_##type *p, value_t v)  \
	{                                                                                  \
		return FOLIO_ATOMIC_OR_(p, v, relaxed);                                    \
	}                                                                                  \
	static inline value_t folio_##type##_fetch_or_release(folio_##type *p, value_t v)  \
	{                                                                                  \
		return FOLIO_ATOMIC_OR_(p, v, release);                                    \
	}                                                                                  \
	static inline value_t folio_##type##_fetch_and_release(folio_##type *p, value_t v) \
	{                                                                                  \
		return FOLIO_ATOMIC_AND_(p, v, release);                                   \
	}

FOLIO_ATOMIC_TYPE_(u8, uint8_t)
FOLIO_ATOMIC_TYPE_(u32, uint32_t)
FOLIO_ATOMIC_TYPE_(u64, uint64_t)
FOLIO_ATOMIC_TYPE_(ptr, void *)
FOLIO_ATOMIC_ARITHMETIC_(u32, uint32_t)
FOLIO_ATOMIC_ARITHMETIC_(u64, uint64_t)

/*
 * Add to a word that one thread writes and others read: a relaxed load and a relaxed store, without
 * a locked instruction. If the processor has one instruction for both, it is written out, because
 * compilers do not fold atomic accesses; but not under a sanitizer, which does not see what inline
 * assembly writes to.
 */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FOLIO_ATOMIC_SANITIZED_ 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
	__has_feature(memory_sanitizer)
#define FOLIO_ATOMIC_SANITIZED_ 1
#endif
#endif
static inline void folio_u64_add_alone(folio_u64 *p, uint64_t n)
{
#if defined(__x86_64__) && !defined(FOLIO_ATOMIC_RELACY) && !defined(FOLIO_ATOMIC_SANITIZED_)
	__asm__("addq %1, %0" : "+m"(*p) : "er"(n) : "cc");
#else
	folio_u64_store_relaxed(p, folio_u64_load_relaxed(p) + n);
#endif
}

/* Loads before the fence are ordered before loads and stores after it. */
static inline void folio_fence_acquire(void)
{
	FOLIO_ATOMIC_FENCE_(acquire);
}

/* Loads and stores before the fence are ordered before stores after it. */
static inline void folio_fence_release(void)
{
	FOLIO_ATOMIC_FENCE_(release);
}

/* A full fence: stores before it are ordered before loads after it, too. */
static inline void folio_fence_seq_cst(void)
{
	FOLIO_ATOMIC_FENCE_(seq_cst);
}

#endif
