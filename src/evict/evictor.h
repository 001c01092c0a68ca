/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * evictor.h - the background thread that keeps pages free.
 */
#ifndef FOLIO_SRC_EVICT_EVICTOR_H
#define FOLIO_SRC_EVICT_EVICTOR_H

#include <stdint.h>

#include "cache/types.h"

/*
 * Initialize queues, progress and eviction of a new cache, and start the evictor; returns when it
 * runs. 0, or -ENOMEM if there is no thread, or no memory for it.
 */
int evict_create(struct folio_cache *cache);

/* Stop the evictor, and destroy the queues. No call on the cache is running, and none follows. */
void evict_destroy(struct folio_cache *cache);

#endif
