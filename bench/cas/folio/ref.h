/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ref.h with the classic counter, for comparison only: frozen and zero are one state, so try_get
 * must never turn 0 into 1, and is a loop of compare-and-swap. It has the names of the real header,
 * and the order of include folders puts it first, so that the same library is built over it
 * (bench/pin-counters.c).
 */
#ifndef FOLIO_REF_H
#define FOLIO_REF_H

#include <folio/atomic.h>

#define FOLIO_REF_MAX (UINT32_C(1) << 30)

struct folio_ref {
	folio_u32 word;
};

static inline void folio_ref_init_frozen(struct folio_ref *ref)
{
	folio_u32_store_relaxed(&ref->word, 0);
}

static inline uint32_t folio_ref_count(const struct folio_ref *ref)
{
	return folio_u32_load_relaxed(&ref->word);
}

static inline bool folio_ref_is_frozen(const struct folio_ref *ref)
{
	return folio_ref_count(ref) == 0;
}

static inline bool folio_ref_try_get(struct folio_ref *ref)
{
	uint32_t value = folio_u32_load_relaxed(&ref->word);

	while (value)
		if (folio_u32_cas_acquire(&ref->word, &value, value + 1))
			return true;
	return false;
}

static inline void folio_ref_get(struct folio_ref *ref)
{
	folio_u32_fetch_add_relaxed(&ref->word, 1);
}

static inline bool folio_ref_put_n(struct folio_ref *ref, uint32_t n)
{
	if (__builtin_expect(folio_u32_fetch_sub_release(&ref->word, n) != n, 1))
		return false;
	folio_fence_acquire();
	return true;
}

static inline bool folio_ref_put(struct folio_ref *ref)
{
	return folio_ref_put_n(ref, 1);
}

static inline bool folio_ref_try_freeze(struct folio_ref *ref, uint32_t expected)
{
	return folio_u32_cas_acq_rel(&ref->word, &expected, 0);
}

static inline void folio_ref_unfreeze(struct folio_ref *ref, uint32_t count)
{
	folio_u32_store_release(&ref->word, count);
}

#endif
