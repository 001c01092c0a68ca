/* SPDX-License-Identifier: BSD-2-Clause */
/* type.h - folios for the program's own data, taken from the budget of a cache. */
#ifndef FOLIO_TYPE_H
#define FOLIO_TYPE_H

#include <folio/folio.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct folio_cache;

/**
 * struct folio_type_params - a user-defined type: how its folios are released
 *
 * For folio_type_register.
 */
struct folio_type_params {
	size_t size;      /* sizeof(struct folio_type_params) */
	const char *name; /* shown by folio_cache_pins */
	/*
	 * Called once, when the last reference to @folio is put. It runs on the cache's reaper
	 * thread and on no other, because the thread that puts the last reference may hold any
	 * lock. It may block. During the call the folio's memory still belongs to the program,
	 * counts as pinned, and a thread that finds nothing else to evict gets -ENOMEM; after the
	 * call the memory belongs to the pool. Must not call folio_cache_close.
	 */
	void (*release)(struct folio *folio, void *context);
	void *context; /* passed to release */
};

/**
 * folio_type_register - register a user-defined type
 * @cache: an open cache.
 * @params: size, name and release are required. Copied, except for what name and context point
 *          to.
 * @type: the result, for folio_alloc.
 *
 * Returns 0; -EINVAL; -ENOSPC if 16 types are registered; -ENOMEM if the reaper thread cannot be
 * started; -ESTALE.
 */
int folio_type_register(
	struct folio_cache *cache, const struct folio_type_params *params, unsigned *type);

/* The built-in type for folio_alloc: its folios return straight to the pool. */
#define FOLIO_TYPE_PRIVATE 2u

/**
 * folio_alloc - allocate a folio for the program's own use
 * @cache: an open cache, whose budget the folio counts against.
 * @order: 2^order pages, 0 .. FOLIO_ORDER_MAX; naturally aligned, contents undefined.
 * @type: FOLIO_TYPE_PRIVATE, or the result of folio_type_register.
 * @owner: any pointer, returned by folio_owner; may be NULL.
 * @folio: the result, with one reference.
 *
 * Evicts pages of files if necessary.
 *
 * Returns 0; -EINVAL; -ENOMEM if not enough contiguous pages could be freed; -ESTALE; -ETIMEDOUT.
 */
int folio_alloc(struct folio_cache *cache, unsigned order, unsigned type, void *owner,
	struct folio **folio);

/** folio_owner - the owner that folio_alloc was given; for a folio that the caller has pinned. */
FOLIO_INLINE_ void *folio_owner(const struct folio *folio)
{
	return folio_ptr_load_relaxed(&folio->owner);
}

/* With FOLIO_REF_DEBUG, a pin is recorded with the line of the call (pins.h). */
#if defined(FOLIO_REF_AT_PARAMETERS_) && !defined(FOLIO_LIBRARY)
static inline int folio_alloc_at_(struct folio_cache *cache, unsigned order, unsigned type,
	void *owner, struct folio **folio, struct folio_place_ place)
{
	int r = folio_alloc(cache, order, type, owner, folio);

	if (!r)
		folio_pin_taken(*folio, place.file, place.line);
	return r;
}

#define folio_alloc(...) folio_alloc_at_(__VA_ARGS__, FOLIO_HERE_)
#endif

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
