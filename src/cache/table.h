/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * table.h - the caches of this process, indexed by the cache number in a folio's descriptor.
 */
#ifndef FOLIO_SRC_CACHE_TABLE_H
#define FOLIO_SRC_CACHE_TABLE_H

#include "cache/types.h"

#define CACHES_MAX 64

/* Indexed by folio->pool; NULL: free. In a child of fork, it is empty (cache/thread.c). */
extern folio_ptr cache_table[CACHES_MAX];

/*
 * The cache of a folio of this process. (In a child of fork, a folio of the parent may have the
 * number of a cache of the child's own, or of none: see folio_release.)
 */
static inline struct folio_cache *cache_of(const struct folio *folio)
{
	return (struct folio_cache *)folio_ptr_load_relaxed(&cache_table[folio->pool]);
}

/*
 * The cache of a folio that this process may use, or NULL. After fork the child has its parent's
 * descriptors, and nothing that they lead to: the pool's locks may be held by a thread that the
 * child does not have, and the number in the descriptor may be that of a cache that the child has
 * opened since.
 */
static inline struct folio_cache *cache_in_process(const struct folio *folio)
{
	struct folio_cache *cache = cache_of(folio);

	return cache && pool_has(&cache->pool, folio) ? cache : NULL;
}

/* Add a cache that is being opened. Returns its number, or -EMFILE if the table is full. */
int table_add(struct folio_cache *cache);

#endif
