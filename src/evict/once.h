/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * once.h - pages that were fetched by accesses that leave the hot set unchanged: FOLIO_ADVICE_ONCE,
 * FOLIO_READ_ONCE, FOLIO_WRITE_ONCE.
 *
 * Such a folio has REFAULT_ONCE. It enters a queue of its own, which is evicted before the others
 * as long as it has more than its part, a thirty-second of the pages: the windows of the accesses'
 * read-ahead, and pages that they have written. When the accesses have fetched nothing for so long
 * that eight times that part was evicted elsewhere, they have ended, and the queue has no part.
 *
 * Nothing remains of the folio when it is evicted. The clock of the shadows does not count it, and
 * its slot gets the shadow back that it had before: so a scan neither ages the shadows of other
 * pages, nor erases those of its own.
 *
 * If it was used by an access that counts in the meantime, it becomes what that access would have
 * made of it: a newcomer, or a page that returns to the main queue.
 */
#ifndef FOLIO_SRC_EVICT_ONCE_H
#define FOLIO_SRC_EVICT_ONCE_H

#include <stdbool.h>
#include <stdint.h>

#include "cache/types.h"

/* The folio was fetched by such an access, and replaces @old in its slot: a shadow or nothing. */
void once_begin(struct folio_cache *cache, struct folio *folio, const void *old);

/* What the slot of such a folio gets when the folio is evicted: a shadow, or NULL. */
void *once_former(const struct folio_cache *cache, const struct folio *folio);

/* How many pages the queue of such folios may have before it is evicted first. */
uint64_t once_part(const struct evict *evict);

/*
 * How many pages such an access may fetch before they are read. So the part has four windows of
 * read-ahead at least, and others give up little more than it when so many pages come at a time.
 */
static inline uint64_t once_window(const struct evict *evict)
{
	return folio_u64_load_relaxed(&evict->once_pages) / 4;
}

/*
 * Called for a folio at the tail of a queue. If it is such a folio, and was used by an access that
 * counts, moves it to the queue that it then belongs to and returns true. The queues' lock is held.
 */
bool once_adopt(struct folio_cache *cache, struct folio *folio);

#endif
