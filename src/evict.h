/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * evict.h - who leaves.
 *
 * S3-FIFO (Yang et al., SOSP 2023): a small queue takes what is new, the main queue what was read again there,
 * shadows in the trees remember what left: a page that is missed again soon goes straight to the main queue. A scan
 * passes through the small queue and leaves the main queue alone.
 *
 * A thread in the background keeps free pages above a water mark; a caller that finds none evicts for itself, with
 * bounded effort. Evicting works in batches: one pass through the queue's lock, one freeze after the other, one pass
 * through the pool's.
 */
#ifndef FOLIO_SRC_EVICT_H
#define FOLIO_SRC_EVICT_H

#include <pthread.h>

#include "folio.h"
#include "stats.h"

/* folio->queue while in a file. */
#define EVICT_QUEUE_NONE  0 /* not in a queue: being inserted, isolated by an evictor, or dropped */
#define EVICT_QUEUE_SMALL 3
#define EVICT_QUEUE_MAIN  4

struct evict_queue {
	uint32_t head, tail; /* page numbers; new at the head, old at the tail */
	uint64_t pages;
	uint64_t folios;
};

struct evict {
	/* What follows from the budget (evict_set_budget). */
	folio_u64 small_target; /* pages: the small queue gives when it has more */
	folio_u64 ghost_pages;  /* how many evicted pages ago still counts as "soon" */
	folio_u64 low,
		high; /* free pages: below low the background thread starts, at high it stops */
	/* Of folios that may be smaller: one page that is pinned must not take the budget along. */
	folio_u32 order_max;
	pthread_t thread;

	_Alignas(64) pthread_mutex_t lock;
	pthread_mutex_t turn; /* held while waiting for lock, behind another who waits (evict.c) */
	struct evict_queue small, main; /* guarded by lock */

	_Alignas(64) folio_u64 clock; /* pages evicted so far; what a shadow holds */
	folio_u32 wakeup; /* futex word of the thread: 0 it sleeps or is about to, 1 it has work */
	folio_u32 stop;
	folio_u32
		started; /* futex word of who creates it: 1 the thread is known and runs, 2 it has ended again */
	folio_u32 stuck; /* the last pass found everything pinned: no use in waking the thread */
	folio_u32 making_nodes; /* 1: somebody evicts for nodes (evict_nodes) */

	/*
	 * Folios that are held for a moment, by fills in flight, by copying readers, by evictors with a
	 * batch: who finds no page waits for these to end before it says that everything is pinned.
	 */
	_Alignas(64) folio_u32 busy; /* how many */
	folio_u32 progress;          /* how many have ended that held something */
	folio_u32 waiters;
	folio_u32 ended; /* futex word of the waiters: changes with every end while there are any */
};

int evict_create(struct folio_cache *cache);
void evict_destroy(struct folio_cache *cache);
/* The budget is @pages from now on. */
void evict_set_budget(struct folio_cache *cache, uint64_t pages);

/* Queue a folio that was stored in a tree. refault: it was evicted not long ago. */
void evict_insert(struct folio_cache *cache, struct folio *folio, bool refault);

/* Take a folio out of its queue, if it is in one. Its owner is NULL already, so nobody queues it again. */
void evict_remove(struct folio_cache *cache, struct folio *folio);

/*
 * A caller is about to hold folios, and will let go of them without anybody's help but the device's. Begins before
 * the first reference is taken and ends after the last is put.
 */
static inline void evict_busy_begin(struct evict *evict)
{
	folio_u32_fetch_add_relaxed(&evict->busy, 1);
}

void evict_busy_end(struct evict *evict);

/*
 * The same for one that held nothing after all. It is no reason to look for a page again: otherwise callers that
 * all find everything pinned would keep each other looking.
 */
void evict_busy_cancel(struct evict *evict);

/*
 * For who does not wait: was anything let go of since @seen (of evict_progress, from before memory was looked for), or
 * will it be? acquire, busy first: pairs with evict_busy_end, which tells progress before the number goes down.
 */
static inline uint32_t evict_progress(const struct evict *evict)
{
	return folio_u32_load_acquire(&evict->progress);
}

static inline bool evict_is_moving(const struct evict *evict, uint32_t seen)
{
	return folio_u32_load_acquire(&evict->busy) || evict_progress(evict) != seen;
}

/* Wait until nobody is busy. Nobody begins meanwhile but the background thread, which finds nothing to hold. */
void evict_settle(struct folio_cache *cache);

/*
 * Take a frozen folio of 2^*order pages or, where there is none and smaller is allowed, of fewer (*order says how many).
 * 0: the caller is counted as busy (evict_busy_begin); -ENOMEM; -ETIMEDOUT when it waited until @until (futex.h).
 */
enum evict_effort {
	EVICT_NOTHING, /* free pages only */
	EVICT_CALLER,  /* evict on the calling thread, with bounded effort */
	EVICT_WAIT,    /* as well wait for what is busy; the caller is not counted as busy itself */
};
int evict_alloc(struct folio_cache *cache, unsigned *order, bool smaller, enum evict_effort effort,
	const struct timespec *until, struct stats_shard *shard, struct folio **folio);

/*
 * The trees have no more nodes (nodes_are_short), while pages may be free. Waits for the grace period of those that have left a tree,
 * and if that is not it, evicts an eighth of what there is: pages that are far apart have nodes of their own. 0: try again; else as
 * evict_alloc with EVICT_WAIT.
 */
int evict_nodes(struct folio_cache *cache, const struct timespec *until, struct stats_shard *shard);

/* The same for who does not wait: by the thread in the background. */
void evict_nodes_later(struct folio_cache *cache);

/* Make it likely that @pages are free, evicting on the calling thread if need be. */
void evict_reserve(struct folio_cache *cache, uint64_t pages, struct stats_shard *shard);

/*
 * How many more pages may now be asked for by who has asked for @asked that nobody has read: so many that the last do not push the
 * first out. They come into the queue of new ones, and pages leave that one first where it has more than its part; or nobody
 * has to leave. The first may in any case.
 */
uint64_t evict_room(const struct folio_cache *cache, uint64_t asked);

/* Was what left @shadow evicted not long ago? */
bool evict_is_refault(struct folio_cache *cache, const void *shadow);

#endif
