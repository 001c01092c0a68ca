/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pool.h - the folio allocator: one reservation of page frames and one of their descriptors.
 *
 * Both stay mapped from create to destroy (R5 of folio/ref.h: the memory is type-stable). The
 * descriptors are writable from the start, and a frame from the moment at which it is first
 * admitted. A buddy allocator of orders 0..9 under one lock keeps the free folios; in front of it,
 * each CPU has a stock of single pages. Every free descriptor is frozen with an odd version; it
 * stays frozen until its allocator unfreezes it.
 */
#ifndef FOLIO_SRC_CORE_POOL_H
#define FOLIO_SRC_CORE_POOL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <folio/atomic.h>
#include "core/folio.h"
#include "core/version.h"

#define POOL_NONE        UINT32_MAX

/* folio->queue of a folio in no file. The eviction queues use the values after the last one. */
#define POOL_QUEUE_NONE  0
#define POOL_QUEUE_BUDDY 1
#define POOL_QUEUE_STOCK 2
#define POOL_QUEUE_OUT   3 /* past the budget (evict/resize.c) */

#define POOL_STOCK_MAX   64

/*
 * The stock of single pages of one CPU. Most allocations and frees touch only the stock and the
 * pages themselves.
 */
struct pool_stock {
	_Alignas(64) pthread_mutex_t lock;
	uint32_t count; /* guarded by lock */
	uint32_t page[POOL_STOCK_MAX];
};

struct pool {
	/* Set at creation, never changed. */
	struct folio *folios;
	char *data;
	folio_u64 *version; /* of each folio: a word of core/version.h */
	bool version_wiped; /* in a child of fork they are 0, for which a peek fails */
	uint32_t pages;
	uint32_t stock_max; /* pages in a stock; 0 if the budget is too small for stocks */
	uint32_t stock_count;
	struct pool_stock *stock;
	uint32_t unit;       /* frames in a page of the kernel, a power of two */
	size_t folios_bytes; /* descriptors, followed by the versions; whole pages of the kernel */
	size_t data_bytes;   /* likewise */
	size_t huge_bytes;

	/* Guarded by lock. */
	_Alignas(64) pthread_mutex_t lock;
	uint32_t head[FOLIO_ORDER_MAX + 1];

	/* Free pages, including those in stocks. Atomic; read as a hint. */
	_Alignas(64) folio_u64 free;
};

/* The size of the kernel's pages in bytes; 0: ask it. Tests set another before pool_create. */
extern size_t pool_kernel_page;

/*
 * Reserve memory for @pages page frames and their descriptors; @id is stored in each descriptor. No
 * frame may be used before it is admitted. Returns 0, -EINVAL (no pages, or POOL_NONE pages or
 * more) or -ENOMEM.
 */
int pool_create(struct pool *pool, uint64_t pages, uint16_t id, bool huge_pages);
void pool_destroy(struct pool *pool);

/*
 * In a child of fork, for a pool of its parent, which may be half made: reserve the addresses of
 * the frames, which the child has not inherited. Memory that the child maps later would otherwise
 * get them, and a read of a page that the parent had pinned would find that memory.
 */
void pool_forked(const struct pool *pool);

/*
 * Make @pages frames from @first on accessible, as they then stay. The memory of other frames is
 * not there: it is neither charged to the process nor, if the process locks all of its memory
 * (mlockall(2)), filled by the kernel. Frames may be admitted more than once. Returns 0 or -ENOMEM.
 */
int pool_admit(struct pool *pool, uint32_t first, uint32_t pages);

/*
 * Allocate 2^@order pages, naturally aligned. The folio is frozen, with order set and queue
 * POOL_QUEUE_NONE; the caller sets type, owner and index and unfreezes it. Returns NULL if there
 * are none; never evicts. Takes the pool's locks, which are held for a bounded number of steps and
 * under which no other function is called.
 */
struct folio *pool_alloc(struct pool *pool, unsigned order);

/* Return a frozen folio, whose version is odd, to the pool. */
void pool_free(struct pool *pool, struct folio *folio);

/* The number of free pages; only a hint while other threads allocate. */
static inline uint64_t pool_free_pages(const struct pool *pool)
{
	return folio_u64_load_relaxed(&pool->free);
}

/* Is @folio a descriptor of this pool? */
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

static inline folio_u64 *pool_version(const struct pool *pool, const struct folio *folio)
{
	return &pool->version[pool_page(pool, folio)];
}

/* A change of the contents begins (step B of version.h). The caller has the folio for itself. */
static inline void pool_change_begin(const struct pool *pool, const struct folio *folio)
{
	version_write_begin(pool_version(pool, folio));
}

/*
 * Put a free descriptor to a new use: the folio is frozen and the caller's alone. The version turns
 * odd first, by this thread: valid is data for a reader that copies (version.h). The caller adds
 * heat and flags and unfreezes it; until then no thread finds it by this use.
 */
static inline void pool_begin_use(
	const struct pool *pool, struct folio *folio, uint8_t type, void *owner, uint64_t index)
{
	pool_change_begin(pool, folio);
	folio->type = type;
	folio->refault = 0;
	folio_u64_store_relaxed(&folio->index, index);
	folio_u32_store_relaxed(&folio->valid, 0);
	folio_ptr_store_relaxed(&folio->owner, owner);
}

/* A change has ended (step D): the contents and folio->valid are those of the file again. */
static inline void pool_change_end(const struct pool *pool, const struct folio *folio)
{
	version_write_end(pool_version(pool, folio),
		folio_u32_load_relaxed(&folio->valid) < folio_size(folio) ? VERSION_PARTIAL : 0);
}

#endif
