/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * resize.c - changing the budget of a cache at run time.
 *
 * All page frames that a cache may ever have are reserved at open (R5: descriptors and frames stay
 * mapped). The frames past the budget are out: they have been taken from the pool like any other
 * allocation, stay frozen, and their memory is returned to the kernel. So to make the budget
 * smaller is to take pages out until the number fits. This evicts, writes back and waits like every
 * allocation, and no other code needs to know about it. To make the budget larger is to put pages
 * back into the pool. A frame that has never been in the budget is not accessible (pool_admit).
 *
 * A thread that stalled with a stale pointer may still read a page that is out. It reads zeros or
 * the old contents, and finds the version odd and the counter frozen, as for any free page. It has
 * no pointer to a frame that has never been in the budget.
 *
 * The kernel frees whole pages of its own, which may be larger than a frame: the last frame of such
 * a page to go out frees it. A descriptor has POOL_QUEUE_OUT exactly if it is in the list of folios
 * that are out, so the frames of the page are found out by their descriptors.
 */
#include "evict/resize.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <time.h>

#include "cache/call.h"
#include "cache/dirty.h"
#include "cache/thread.h"
#include "evict/evict.h"
#include "evict/limits.h"

#define READAHEAD_BYTES_MAX ((uint64_t)4 << 20)

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

static void set_readahead(struct folio_cache *cache, uint64_t pages)
{
	uint64_t wanted = cache->readahead_wanted;

	if (cache->flags & FOLIO_CACHE_NO_READAHEAD)
		return;
	if (!wanted) {
		wanted = pages / 64;
		if (wanted > READAHEAD_BYTES_MAX >> FOLIO_PAGE_SHIFT)
			wanted = READAHEAD_BYTES_MAX >> FOLIO_PAGE_SHIFT;
	}
	if (wanted > pages / 4)
		wanted = pages / 4;
	folio_u32_store_relaxed(&cache->readahead_pages, (uint32_t)wanted);
}

/* resize_lock is held, here and below. */
static uint64_t pages_in(const struct folio_cache *cache)
{
	return folio_u64_load_relaxed(&cache->pages);
}

/* Set all limits that depend on the budget. */
static void set_limits(struct folio_cache *cache, uint64_t pages)
{
	set_readahead(cache, pages);
	evict_set_budget(cache, pages);
	dirty_set_limit(cache, pages);
}

static bool is_out(const struct folio *folio)
{
	/* relaxed: stored under resize_lock; other threads store other values. */
	return folio_u8_load_relaxed(&folio->queue) == POOL_QUEUE_OUT;
}

static void push(struct folio_cache *cache, struct folio *folio)
{
	folio_u8_store_relaxed(&folio->queue, POOL_QUEUE_OUT);
	folio->next = cache->out;
	cache->out = pool_page(&cache->pool, folio);
	folio_u64_store_relaxed(&cache->pages, pages_in(cache) - (UINT64_C(1) << folio->order));
}

static struct folio *pop(struct folio_cache *cache)
{
	struct folio *folio = pool_folio(&cache->pool, cache->out);

	folio_u8_store_relaxed(&folio->queue, POOL_QUEUE_NONE);
	cache->out = folio->next;
	folio_u64_store_relaxed(&cache->pages, pages_in(cache) + (UINT64_C(1) << folio->order));
	return folio;
}

/*
 * Find pages to take out, at most @pages. Free pages come first, in the largest folios available.
 * If none are free, evicts one or a few pages at a time, in folios no larger than a smaller budget
 * allows.
 */
static int find(struct call *call, uint64_t pages, struct folio **folio)
{
	struct page_request request = {.effort = EVICT_NOTHING};
	unsigned order = FOLIO_ORDER_MAX, at;
	int r;

	while (UINT64_C(1) << order > pages)
		order--;
	for (at = order + 1; at-- > 0;) {
		request.order = at;
		if (!evict_alloc(call, request, folio))
			return 0;
	}
	request = (struct page_request){order, .smaller_ok = true, .effort = EVICT_WAIT};
	r = evict_alloc(call, request, folio);
	return r == -ENOMEM ? -EBUSY : r;
}

/* Return the memory of a folio that is out to the kernel, as far as that is possible. */
static int free_memory(struct pool *pool, struct folio *folio)
{
	uint32_t unit = pool->unit, count = UINT32_C(1) << folio->order, first, page;

	if (count < unit)
		count = unit;
	first = pool_page(pool, folio) & ~(count - 1);
	/* A larger folio contains none of these frames, since it would contain all of them. */
	for (page = first; page < first + count && page < pool->pages;) {
		if (!is_out(pool_folio(pool, page)))
			return 0;
		page += UINT32_C(1) << pool_folio(pool, page)->order;
	}
	folio = pool_folio(pool, first);
	if (!madvise(folio->data, (size_t)count << FOLIO_PAGE_SHIFT, MADV_DONTNEED))
		return 0;
	/* Locked memory. Since Linux 5.18. */
	if (errno == EINVAL &&
		!madvise(folio->data, (size_t)count << FOLIO_PAGE_SHIFT, MADV_DONTNEED_LOCKED))
		return 0;
	return -errno;
}

/* Take up to @pages pages out of use, @pages being more than 0. Returns 0 or -errno. */
static int take_out(struct call *call, uint64_t pages, bool touched)
{
	struct folio_cache *cache = call->cache;
	struct folio *folio;
	int r = find(call, pages, &folio);

	if (r)
		return r;
	push(cache, folio);
	if (touched)
		r = free_memory(&cache->pool, folio);
	if (r)
		pool_free(&cache->pool, pop(cache));
	progress_end(&cache->progress, r != 0);
	return r;
}

/* Put @pages pages that are out back into use. Returns 0 or -ENOMEM. */
static int give_back(struct folio_cache *cache, uint64_t pages)
{
	struct pool *pool = &cache->pool;

	while (pages) {
		struct folio *folio = pop(cache);
		uint32_t size = UINT32_C(1) << folio->order;

		if (size > pages) {
			struct folio *half = folio + (UINT64_C(1) << --folio->order);

			half->order = folio->order;
			push(cache, half);
			push(cache, folio);
			continue;
		}
		if (pool_admit(pool, pool_page(pool, folio), size)) {
			push(cache, folio);
			return -ENOMEM;
		}
		pages -= size;
		pool_free(pool, folio);
	}
	return 0;
}

/* As folio_cache_resize. @touched: pages that are taken out may have memory, which is freed. */
static int resize_pages(struct call *call, uint64_t pages, bool touched)
{
	struct folio_cache *cache = call->cache;
	int r = 0;

	if (!mutex_lock_until(&cache->resize_lock, call->until))
		return -ETIMEDOUT;
	if (pages > pages_in(cache))
		r = give_back(cache, pages - pages_in(cache));
	/* First, so that pages are written back and evicted by the limits of the smaller budget. */
	set_limits(cache, pages);
	while (!r && pages_in(cache) > pages)
		r = deadline_passed(call->until) ? -ETIMEDOUT
						 : take_out(call, pages_in(cache) - pages, touched);
	if (r)
		set_limits(cache, pages_in(cache));
	pthread_mutex_unlock(&cache->resize_lock);
	return r;
}

int resize_first(struct call *call, uint64_t pages)
{
	struct pool *pool = &call->cache->pool;
	int r = resize_pages(call, pages, false);
	uint32_t page = 0, first;

	/* Every frame is in a folio that is free or out. */
	while (!r && page < pool->pages) {
		first = page;
		while (page < pool->pages && !is_out(pool_folio(pool, page)))
			page += UINT32_C(1) << pool_folio(pool, page)->order;
		if (page > first)
			r = pool_admit(pool, first, page - first);
		while (page < pool->pages && is_out(pool_folio(pool, page)))
			page += UINT32_C(1) << pool_folio(pool, page)->order;
	}
	return r;
}

int folio_cache_resize(struct folio_cache *cache, uint64_t bytes)
{
	struct call call;
	int r;

	if (!cache || bytes < FOLIO_CACHE_BYTES_MIN)
		return -EINVAL;
	r = call_begin(&call, cache, cache->id, false);
	if (r)
		return r;
	if (bytes >> FOLIO_PAGE_SHIFT > cache->pool.pages)
		return -EINVAL;
	return resize_pages(&call, bytes >> FOLIO_PAGE_SHIFT, true);
}
