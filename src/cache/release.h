/* SPDX-License-Identifier: BSD-2-Clause */
/* release.h - types of folios, their release, and the thread that releases user-defined ones. */
#ifndef FOLIO_SRC_CACHE_RELEASE_H
#define FOLIO_SRC_CACHE_RELEASE_H

#include "cache/types.h"

void folio_types_init(struct folio_cache *cache);
/* Wait until all folios that were queued for the reaper are released. */
void folio_reaper_drain(struct folio_cache *cache);
void folio_types_destroy(struct folio_cache *cache);

#endif
