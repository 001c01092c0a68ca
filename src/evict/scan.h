/* SPDX-License-Identifier: BSD-2-Clause */
/* scan.h - one scan for pages to evict: which folios it examines, and how many. */
#ifndef FOLIO_SRC_EVICT_SCAN_H
#define FOLIO_SRC_EVICT_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "cache/types.h"

/*
 * Folios that a scan examines before it passes the queue lock to a thread that waits for it. This
 * takes some microseconds.
 */
#define SCAN_LOCKED 256

/* What a caller may still do. */
struct scan {
	uint64_t looks;     /* folios that it may examine */
	uint64_t parked;    /* of those, parked ones */
	uint64_t unwritten; /* of those, newcomers that wait for write-back */
	bool floors;        /* files keep as many pages as their floors (evict/bounds.h) */
	struct inode *own;  /* only this file's pages, by its hand; NULL: those at the tails */
};

/*
 * Evict one batch. Returns the number of pages freed. *ends is incremented if the only folios that
 * the caller has released are those: they are not what another thread has released.
 */
uint64_t evict_batch(struct folio_cache *cache, uint64_t pages, struct scan *scan, bool direct,
	uint32_t *ends, struct stats_shard *shard);

#endif
