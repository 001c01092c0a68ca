/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * evict.h - which pages are evicted, and allocation that evicts.
 *
 * The policy is S3-FIFO (Yang et al., SOSP 2023). A small queue takes new folios. The main queue
 * takes those that were read again in the small one. Shadows in the trees record which pages were
 * evicted: a page that is missed again soon goes straight to the main queue; one that had been
 * there does so on trial, as often as such trials succeed. Folios that were read ahead wait for
 * their reader in a bounded queue before they enter one of these. So a scan of a file passes
 * through the small queue and leaves the main queue alone. Pinned and dirty folios are set aside in
 * queues of their own, so that a scan need not pass them.
 *
 * The evictor, a background thread, keeps the number of free pages above a water mark. A caller
 * that finds no free page evicts on its own thread, with bounded effort. Eviction works in batches:
 * it takes the queue lock once for a batch, then freezes and frees the folios one at a time.
 */
#ifndef FOLIO_SRC_EVICT_EVICT_H
#define FOLIO_SRC_EVICT_EVICT_H

#include <stdbool.h>
#include <stdint.h>

#include "cache/call.h"

/*
 * Folios in one batch of an evictor, at most. Once pins are published, each batch costs a
 * membarrier (cache/publish.h), some 4 us if other threads run: as much as ten evictions.
 */
#define EVICT_BATCH 128

enum evict_effort {
	EVICT_NOTHING, /* take free pages only */
	EVICT_CALLER,  /* evict on the calling thread, with bounded effort */
	EVICT_WAIT,    /* also wait for transient references; the caller holds none itself */
};

struct page_request {
	unsigned order;
	bool smaller_ok; /* if no folio of that order is free, take a smaller one */
	enum evict_effort effort;
};

/*
 * Take a frozen folio of 2^order pages, or a smaller one with smaller_ok; folio->order is the order
 * taken. Returns 0, with the caller counted as busy (progress_begin); -ENOMEM; or -ETIMEDOUT if it
 * waited until the deadline of @call.
 */
int evict_alloc(struct call *call, struct page_request request, struct folio **folio);

/*
 * Called if the trees are short of nodes (tree_nodes_are_short). That may happen although pages are
 * free: pages that are far apart need nodes of their own. Evicts pages, an eighth of all at most.
 * Returns 0: try again; else an error as evict_alloc with EVICT_WAIT.
 */
int evict_for_nodes(struct call *call);

/* As evict_for_nodes, for a caller that does not wait: the evictor does it in the background. */
void evict_nodes_later(struct folio_cache *cache);

/*
 * Make it likely that @pages are free; evicts on the calling thread if they are not. At least one
 * is free afterwards, unless everything is pinned or other threads take what is freed.
 */
void evict_reserve(struct folio_cache *cache, uint64_t pages, struct stats_shard *shard);

/* Evict until @pages are free, or until the bounded effort is spent. True if they are free. */
bool evict_until(struct folio_cache *cache, uint64_t pages, bool direct, struct stats_shard *shard);

/*
 * Evict until the trees are no longer short of nodes, an eighth of the queued pages at most.
 * Returns true if there may be free nodes again. *ends as in evict_batch.
 */
bool reclaim_nodes(
	struct folio_cache *cache, bool direct, uint32_t *ends, struct stats_shard *shard);

#endif
