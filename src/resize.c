/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * resize.c - more or less memory at run time.
 *
 * All page frames that a cache may ever have are reserved at open (R5: descriptors and frames stay mapped). Those
 * past the budget are out: taken from the pool as by any other who needs pages, frozen for good, and their memory the
 * system's. So a smaller budget is a matter of taking pages out until as many are, which evicts, writes back and waits
 * as every allocation does, and nobody else has to know; a larger one of giving some back.
 *
 * A thread that stalled with a stale pointer may still look at a page that is out: it reads zeros or what was, and finds
 * the version odd and the counter frozen, as for any free page.
 */
#include <errno.h>
#include <sys/mman.h>

#include "cache.h"

/* resize_lock is held, here and below. */
static uint64_t pages_in(const struct folio_cache *cache)
{
	return folio_u64_load_relaxed(&cache->pages);
}

/* What depends on the budget. */
static void set_limits(struct folio_cache *cache, uint64_t pages)
{
	evict_set_budget(cache, pages);
	writeback_set_budget(cache, pages);
	cache_set_readahead(cache, pages);
}

static void push(struct folio_cache *cache, struct folio *folio)
{
	folio->next = cache->out;
	cache->out = pool_page(&cache->pool, folio);
	folio_u64_store_relaxed(&cache->pages, pages_in(cache) - (UINT64_C(1) << folio->order));
}

static struct folio *pop(struct folio_cache *cache)
{
	struct folio *folio = pool_folio(&cache->pool, cache->out);

	cache->out = folio->next;
	folio_u64_store_relaxed(&cache->pages, pages_in(cache) + (UINT64_C(1) << folio->order));
	return folio;
}

/*
 * Pages to take out, @pages at most: free ones, as large as they lie; else such as can be made free, one or a few at a time, which
 * are never larger than a smaller budget bears.
 */
static int find(struct folio_cache *cache, uint64_t pages, const struct timespec *until,
	struct stats_shard *shard, struct folio **folio)
{
	unsigned order = FOLIO_ORDER_MAX, at;
	int r;

	while (UINT64_C(1) << order > pages)
		order--;
	for (at = order + 1; at-- > 0;) {
		unsigned wanted = at;

		if (!evict_alloc(cache, &wanted, false, EVICT_NOTHING, NULL, shard, folio))
			return 0;
	}
	r = evict_alloc(cache, &order, true, EVICT_WAIT, until, shard, folio);
	return r == -ENOMEM ? -EBUSY : r;
}

/* Take up to @pages, more than 0, out of use. 0 or -errno. */
static int take_out(struct folio_cache *cache, uint64_t pages, bool touched,
	const struct timespec *until, struct stats_shard *shard)
{
	struct folio *folio;
	int r = find(cache, pages, until, shard, &folio);

	if (r)
		return r;
	if (touched && madvise(folio->data, folio_size(folio), MADV_DONTNEED))
		r = -errno;
	if (r)
		pool_free(&cache->pool, folio);
	else
		push(cache, folio);
	evict_busy_end(&cache->evict);
	return r;
}

/* Bring @pages that are out back into use. */
static void give_back(struct folio_cache *cache, uint64_t pages)
{
	while (pages) {
		struct folio *folio = pop(cache);

		if (UINT64_C(1) << folio->order > pages) {
			struct folio *half = folio + (UINT64_C(1) << --folio->order);

			half->order = folio->order;
			push(cache, half);
			push(cache, folio);
			continue;
		}
		pages -= UINT64_C(1) << folio->order;
		pool_free(&cache->pool, folio);
	}
}

int resize_pages(struct folio_cache *cache, uint64_t pages, bool touched, struct stats_shard *shard)
{
	struct timespec time;
	const struct timespec *until = wait_limit(cache, &time);
	int r = 0;

	if (!lock_until(&cache->resize_lock, until))
		return -ETIMEDOUT;
	if (pages > pages_in(cache))
		give_back(cache, pages - pages_in(cache));
	/* First: what is wanted for less memory is written and evicted by the limits for less. */
	set_limits(cache, pages);
	while (!r && pages_in(cache) > pages)
		r = time_is_up(until)
			    ? -ETIMEDOUT
			    : take_out(cache, pages_in(cache) - pages, touched, until, shard);
	if (r)
		set_limits(cache, pages_in(cache));
	pthread_mutex_unlock(&cache->resize_lock);
	return r;
}

int folio_cache_resize(struct folio_cache *cache, uint64_t bytes)
{
	struct stats_shard *shard;

	if (!cache || bytes < FOLIO_CACHE_BYTES_MIN)
		return -EINVAL;
	shard = thread_enter(cache, cache->id);
	if (!shard)
		return thread_error(cache);
	if (bytes >> FOLIO_PAGE_SHIFT > cache->pool.pages)
		return -EINVAL;
	return resize_pages(cache, bytes >> FOLIO_PAGE_SHIFT, true, shard);
}
