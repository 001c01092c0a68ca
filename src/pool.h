/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pool.h - where folios come from: one reservation of page frames, descriptors beside it.
 *
 * Both stay mapped and writable from create to destroy (R5 of ref.h: the memory is type-stable). Free folios
 * are kept by a buddy allocator of orders 0..9 under one lock, with a stock of single pages per CPU before
 * it. Every free descriptor is frozen with an odd version; the bit stays until somebody unfreezes.
 */
#ifndef FOLIO_SRC_POOL_H
#define FOLIO_SRC_POOL_H

#include <pthread.h>

#include "folio.h"

#define POOL_NONE        UINT32_MAX

/* folio->queue of a free folio; a queue of evict has other values. */
#define POOL_QUEUE_NONE  0
#define POOL_QUEUE_BUDDY 1
#define POOL_QUEUE_STOCK 2

#define POOL_STOCK_MAX   64

/* Single pages kept for a CPU: most allocations and frees touch nothing but this line and the pages. */
struct pool_stock {
	_Alignas(64) pthread_mutex_t lock;
	uint32_t count; /* guarded by lock */
	uint32_t page[POOL_STOCK_MAX];
};

struct pool {
	/* Set at creation, never changed. */
	struct folio *folios;
	char *data;
	/*
	 * Where a page of a file probably is: for each page of each file a word, shared with others by chance, that says
	 * which folio had it last (hint_make). Never wrong, only useless: the descriptor says what page of what file it is,
	 * and is a descriptor for ever. Written by fills and look-ups; a hit reads it.
	 */
	folio_u32 *hint;
	uint64_t hint_mask;
	uint32_t pages;
	uint32_t stock_max; /* pages in a stock; 0 where the budget is too small for stocks */
	uint32_t stock_count;
	struct pool_stock *stock;
	size_t folios_bytes; /* of descriptors, and behind them hints */
	size_t data_bytes;
	size_t huge_bytes;

	/* Guarded by lock. */
	_Alignas(64) pthread_mutex_t lock;
	uint32_t head[FOLIO_ORDER_MAX + 1];

	/* Free pages, stocks included. Written with the lock of the list that changes; read as a hint. */
	_Alignas(64) folio_u64 free;
};

/*
 * A hint: number of the folio's first page frame, and above it the order, so that a reader knows where the bytes are
 * before it has seen the descriptor: both are fetched side by side. A cache of more than 1 TiB has folios that
 * no hint can name; they get a useless one.
 */
#define HINT_PAGE_BITS 28

static inline uint32_t hint_make(uint64_t page, unsigned order)
{
	return page >> HINT_PAGE_BITS ? 0 : (uint32_t)page | (uint32_t)order << HINT_PAGE_BITS;
}

static inline uint32_t hint_page(uint32_t hint)
{
	return hint & ((UINT32_C(1) << HINT_PAGE_BITS) - 1);
}

static inline unsigned hint_order(uint32_t hint)
{
	return hint >> HINT_PAGE_BITS;
}

/* Reserve. 0, -ENOMEM. id goes into each descriptor. */
int pool_create(struct pool *pool, uint64_t pages, uint16_t id, bool huge_pages);
void pool_destroy(struct pool *pool);

/*
 * Take 2^order pages, naturally aligned. The result is frozen, with order set and queue POOL_QUEUE_NONE; who takes
 * it sets type, owner and index and unfreezes it. NULL when there are none; never evicts. Takes the pool's locks, which
 * are held for a bounded number of steps and under which nothing else is called.
 */
struct folio *pool_alloc(struct pool *pool, unsigned order);

/* Give a frozen folio back; its version is odd. */
void pool_free(struct pool *pool, struct folio *folio);

/* Free pages, as a hint while others allocate. */
static inline uint64_t pool_free_pages(const struct pool *pool)
{
	return folio_u64_load_relaxed(&pool->free);
}

/* Is it a descriptor of this pool? */
static inline bool pool_has(const struct pool *pool, const struct folio *folio)
{
	return (uintptr_t)folio - (uintptr_t)pool->folios < pool->pages * sizeof(*folio);
}

static inline struct folio *pool_folio(const struct pool *pool, uint32_t page)
{
	return &pool->folios[page];
}

static inline uint32_t pool_page(const struct pool *pool, const struct folio *folio)
{
	return (uint32_t)(folio - pool->folios);
}

#endif
