/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue.h - the queues that hold a cache's folios until eviction.
 *
 * S3-FIFO (Yang et al., SOSP 2023): new folios enter a small queue; those that are read again there
 * move to the main queue. Folios enter at the head and leave at the tail. The links are the numbers
 * of pages, in the descriptors.
 *
 * Two side queues hold folios that could not be evicted when they came to the tail. Scans examine
 * them less often than the others, and treat them as if they were still where they came from. One
 * belongs to the main queue: its folios are parked, because they were pinned or dirty. The other
 * belongs to the small queue: its folios wait for write-back. They remain newcomers.
 *
 * The queue once has folios of accesses that leave the others unchanged (evict/once.h).
 *
 * Folios that were read ahead wait in a queue for their reader. It holds what the windows of all
 * streams may have. If it has more, the oldest go: to the queue that they would have entered if
 * they were read on demand, or, if no reader came, to the tail of the small queue. So windows do
 * not lose their pages to others, and a window whose reader has left is evicted first. If nothing
 * more is read ahead, each one leaves when twice as many pages were evicted as the queue may have.
 *
 * The evictor decides which folio leaves (evict/evict.c); this file keeps the lists and their lock.
 */
#ifndef FOLIO_SRC_CORE_QUEUE_H
#define FOLIO_SRC_CORE_QUEUE_H

#include <pthread.h>

#include "core/pool.h"

/* folio->queue of a folio in a file. NONE: being inserted, isolated by an evictor, or dropped. */
#define QUEUE_NONE      POOL_QUEUE_NONE
#define QUEUE_SMALL     (POOL_QUEUE_OUT + 1)
#define QUEUE_MAIN      (POOL_QUEUE_OUT + 2)
#define QUEUE_PARKED    (POOL_QUEUE_OUT + 3)
#define QUEUE_UNWRITTEN (POOL_QUEUE_OUT + 4)
#define QUEUE_ONCE      (POOL_QUEUE_OUT + 5)
#define QUEUE_AHEAD     (POOL_QUEUE_OUT + 6)
/* Of a folio that has left its file, in no queue (cache/limbo.h). */
#define QUEUE_LIMBO     (POOL_QUEUE_OUT + 7)

struct queue {
	uint32_t head, tail; /* page numbers; the newest is at the head, the oldest at the tail */
	uint64_t pages;
	uint64_t folios;
};

struct queues {
	_Alignas(64) pthread_mutex_t lock;
	pthread_mutex_t turn; /* held while waiting for lock; later waiters wait for turn */
	/* Guarded by lock. */
	struct queue small, main, parked, unwritten, once, ahead;
	uint64_t ahead_max; /* pages of ahead; follows from the budget (evict/limits.c) */
	uint64_t ahead_age; /* see queues_age */
};

void queues_init(struct queues *queues);
void queues_destroy(struct queues *queues);

void queues_lock(struct queues *queues);

static inline void queues_unlock(struct queues *queues)
{
	pthread_mutex_unlock(&queues->lock);
}

/*
 * Called with the lock held: let a waiting thread have it, then take it again. A plain unlock and
 * lock is not enough, because the running thread is faster than the one being woken. Here it blocks
 * on turn until the other thread has the lock.
 */
void queues_pass(struct queues *queues);

/* Remove from its queue, or move to the head of a queue. Called with the lock held. */
void queue_unlink(struct queues *queues, struct pool *pool, struct folio *folio);
void queue_move(struct queues *queues, struct pool *pool, struct folio *folio, uint8_t which);

/*
 * Queue a folio again that an evictor had isolated, unless it has left its file since then: see the
 * second race in evict/evict.c. Called with the lock held.
 */
void queue_put_back(struct queues *queues, struct pool *pool, struct folio *folio, uint8_t which);

/*
 * The queue that a folio enters, by its folio->refault. One that was read ahead, and was not read
 * yet, waits for its reader first.
 */
uint8_t queue_entered(const struct folio *folio);

/*
 * Queue @count folios that were stored in a tree, in this order. The caller has a reference to
 * each. Those that have left their file since are not queued. The lock is taken once, for all of
 * them.
 */
void queue_insert(
	struct queues *queues, struct pool *pool, struct folio *const *folios, unsigned count);

/*
 * Called with the lock held when @evicted pages are evicted: folios that were read ahead long ago
 * wait no longer.
 */
void queues_age(struct queues *queues, struct pool *pool, uint64_t evicted);

/*
 * Remove a folio from its queue, if it is in one. Its owner is already NULL, so no thread queues it
 * again.
 */
void queue_remove(struct queues *queues, struct pool *pool, struct folio *folio);

#endif
