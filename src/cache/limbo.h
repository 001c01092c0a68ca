/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * limbo.h - folios that have left their file while a pin of them was published.
 *
 * Such a folio is in no tree and in no queue, and keeps the reference that the tree had. An unpin
 * writes nothing but its slot, so it releases nothing: later batches of eviction and of drops, and
 * the close of the cache, look whether the pin is still there. The list holds no more than what is
 * published, and what was unpinned since the last look.
 */
#ifndef FOLIO_SRC_CACHE_LIMBO_H
#define FOLIO_SRC_CACHE_LIMBO_H

#include <stdbool.h>
#include <stdint.h>

#include "cache/types.h"

void limbo_init(struct limbo *limbo);
void limbo_destroy(struct limbo *limbo);

/*
 * D4 of core/publish.h for @count folios, which the caller has erased before its barrier: the list
 * takes over the tree's references. @ordered: the kernel has executed the barrier.
 */
void limbo_add(
	struct folio_cache *cache, struct folio *const *folios, unsigned count, bool ordered);

/*
 * Release the folios of the list of which no pin is published any more. The caller holds no lock.
 * Without a folio in the list, costs a load.
 */
void limbo_look(struct folio_cache *cache);

/* The same if no other call on the cache is running, and all pins come before this one. */
void limbo_look_alone(struct folio_cache *cache);

/*
 * The references of a folio that are not the program's, for one that has left its file: 1 if it is
 * in the list, else 0; *count: all references at that moment. The caller has one of them.
 */
uint32_t limbo_references(struct folio_cache *cache, const struct folio *folio, uint32_t *count);

#endif
