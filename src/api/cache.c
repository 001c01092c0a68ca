/* SPDX-License-Identifier: BSD-2-Clause */
/* cache.c - opening and closing a cache. */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/params.h"
#include "io/file.h"
#include "cache/closed.h"
#include "cache/inode.h"
#include "cache/limbo.h"
#include "cache/release.h"
#include "cache/size.h"
#include "cache/table.h"
#include "cache/thread.h"
#include "evict/evictor.h"
#include "evict/resize.h"
#include "write/flusher.h"
#include "api/pins.h"

#define IO_DEPTH_DEFAULT 128
#define IO_DEPTH_MAX     4096

const char *folio_version(void)
{
	return FOLIO_VERSION;
}

/* True if a backend has all mandatory functions, and either all or none of those for writing. */
static bool ops_are_complete(const struct folio_io_ops *io)
{
	return io->name && io->create && io->destroy && io->open && io->close && io->getattr &&
	       io->read && io->submit && !io->sync == !io->truncate && !io->sync == !io->punch;
}

/*
 * Check the parameters, and fill in the defaults that follow from other parameters. The program's
 * backend is copied to *ops. 0 or -EINVAL.
 */
static int check(struct folio_cache_params *params, struct folio_io_ops *ops)
{
	const uint32_t flags =
		FOLIO_CACHE_BUFFERED | FOLIO_CACHE_NO_HUGE_PAGES | FOLIO_CACHE_NO_READAHEAD;

	if (params->flags & ~flags || params->bytes < FOLIO_CACHE_BYTES_MIN ||
		params->io_depth > IO_DEPTH_MAX)
		return -EINVAL;
	if (params->io) {
		if (!params_copy(
			    ops, sizeof(*ops), params->io, offsetof(struct folio_io_ops, sync)) ||
			!ops_are_complete(ops))
			return -EINVAL;
		params->io = ops;
	}
	if (!params->bytes_max)
		params->bytes_max = params->bytes;
	if (!params->io_depth)
		params->io_depth = IO_DEPTH_DEFAULT;
	if (params->bytes_max < params->bytes || params->bytes_max >> FOLIO_PAGE_SHIFT >= POOL_NONE)
		return -EINVAL;
	return 0;
}

/*
 * Set the bound on nodes: for each page a leaf and a node above it, in case the pages are that far
 * apart; a quarter more, since trees count as short of nodes before the last one is taken. Pages
 * that are farther apart, in files of many TiB, need more nodes; then fewer pages are cached
 * (evict_for_nodes). Nodes that hold only shadows get a thirty-second of the number of pages.
 */
static int budget_init(struct tree_budget *budget, uint64_t pages)
{
	return tree_budget_init(budget, 2 * pages + pages / 2 + 1024, pages / 32 + 16);
}

/*
 * Allocate a cache, and set what follows from the parameters alone; nothing is open or registered
 * yet. NULL: no memory.
 */
static struct folio_cache *cache_new(const struct folio_cache_params *params)
{
	struct folio_cache *cache = aligned_alloc(64, (sizeof(*cache) + 63) & ~(size_t)63);

	if (!cache)
		return NULL;
	memset(cache, 0, sizeof(*cache));
	if (budget_init(&cache->tree_budget, params->bytes_max >> FOLIO_PAGE_SHIFT)) {
		free(cache);
		return NULL;
	}
	cache->flags = params->flags;
	cache->tree_budget.huge_pages = !(params->flags & FOLIO_CACHE_NO_HUGE_PAGES);
	cache->readahead_wanted = size_pages(params->readahead);
	cache->timeout_ms = params->timeout_ms;
	closed_init(&cache->closed, params->closed_files_max);
	folio_u32_store_relaxed(&cache->request_slots, params->io_depth);
	cache->out = POOL_NONE;
	pthread_mutex_init(&cache->files_lock, NULL);
	pthread_cond_init(&cache->files_change, NULL);
	pthread_mutex_init(&cache->resize_lock, NULL);
	limbo_init(&cache->limbo);
	pthread_mutex_init(&cache->slot_waiters.lock, NULL);
	folio_types_init(cache);
	return cache;
}

static void cache_free(struct folio_cache *cache)
{
	pthread_mutex_destroy(&cache->resize_lock);
	pthread_cond_destroy(&cache->files_change);
	pthread_mutex_destroy(&cache->files_lock);
	inodes_destroy(cache);
	closed_destroy(&cache->closed);
	pthread_mutex_destroy(&cache->slot_waiters.lock);
	limbo_destroy(&cache->limbo);
	tree_budget_destroy(&cache->tree_budget);
	free(cache);
}

static int open_backend(struct folio_cache *cache, const struct folio_cache_params *params)
{
	unsigned depth = params->io_depth;

	/*
	 * A slot is returned inside complete, but a backend counts a request until complete has
	 * returned, or a batch of them. The backend is created for twice as many requests as there
	 * are slots, so no thread finds it full of requests that have completed. Without timeout_ms
	 * it is only for those that take a slot if one is free; a seventh more is enough for them:
	 * a batch of the ring is an eighth of its depth.
	 */
	if (cache->timeout_ms)
		depth *= 2;
	else
		depth += depth / 7;
	cache->io_context = params->io_context;
	if (params->io) {
		cache->program_io = *params->io;
		cache->io = &cache->program_io;
		cache->io_runs = io_runs_requests(cache->io);
		return cache->io->create(&cache->io_context, depth);
	}
	cache->io_runs = true;
	return io_choose(&cache->io, &cache->io_context, depth);
}

/* Set the budget at open. No other thread has the cache yet, so nothing is waited for. */
static int set_budget(struct folio_cache *cache, const struct folio_cache_params *params)
{
	struct call call = {.cache = cache, .shard = cache->shard_spare};

	folio_u64_store_relaxed(&cache->pages, cache->pool.pages);
	return resize_first(&call, params->bytes >> FOLIO_PAGE_SHIFT);
}

int folio_cache_open(const struct folio_cache_params *given, struct folio_cache **result)
{
	struct folio_cache_params all, *params = &all;
	struct folio_io_ops ops;
	struct folio_cache *cache;
	int r, slot;

	if (!given || !result ||
		!params_copy(
			&all, sizeof(all), given, offsetof(struct folio_cache_params, dirty_bytes)))
		return -EINVAL;
	r = check(params, &ops);
	if (r)
		return r;
	cache = cache_new(params);
	if (!cache)
		return -ENOMEM;
	/* Before the table is written to: from here on, a child of fork finds the table empty. */
	r = thread_cache_register(cache);
	if (r)
		goto free_cache;
	slot = table_add(cache);
	if (slot < 0) {
		r = slot;
		goto unregister;
	}
	r = pool_create(&cache->pool, params->bytes_max >> FOLIO_PAGE_SHIFT, (uint16_t)slot,
		!(params->flags & FOLIO_CACHE_NO_HUGE_PAGES));
	if (r)
		goto leave_table;
	r = open_backend(cache, params);
	if (r)
		goto destroy_pool;
	r = flusher_create(cache, params);
	if (r)
		goto destroy_io;
	r = evict_create(cache);
	if (r)
		goto destroy_flusher;
	r = set_budget(cache, params);
	if (r)
		goto destroy_evict;
	*result = cache;
	return 0;

destroy_evict:
	evict_destroy(cache);
destroy_flusher:
	flusher_destroy(cache);
destroy_io:
	cache->io->destroy(cache->io_context);
destroy_pool:
	pool_destroy(&cache->pool);
leave_table:
	folio_ptr_store_relaxed(&cache_table[slot], NULL);
unregister:
	thread_cache_unregister(cache);
free_cache:
	folio_types_destroy(cache);
	cache_free(cache);
	return r;
}

int folio_cache_close(struct folio_cache *cache)
{
	struct stats_shard *shard;

	if (!cache)
		return -EINVAL;
	shard = thread_enter(cache, cache->id);
	if (!shard)
		return -ESTALE;
	/* acquire: pairs with folio_queue_close (release). */
	if (folio_u32_load_acquire(&cache->completion_queues))
		return -EBUSY;
	if (!cache->files_open)
		inodes_forget_closed(cache, shard);
	/* No other call is running, so nothing is in flight except the work of the reaper. */
	folio_reaper_drain(cache);
	/* The evictor may also hold a page that has left its file. */
	if (!cache->files_open)
		progress_drain(&cache->progress);
	/* What the program has unpinned since the last look. */
	limbo_look_alone(cache);
	if (cache->files_open || pool_free_pages(&cache->pool) != cache->pages)
		return -EBUSY;
	evict_destroy(cache);
	flusher_destroy(cache);
	cache->io->destroy(cache->io_context);
	folio_types_destroy(cache);
	thread_cache_unregister(cache);
	folio_ptr_store_relaxed(&cache_table[cache->pool.folios->pool], NULL);
	pins_destroy(cache);
	pool_destroy(&cache->pool);
	cache_free(cache);
	return 0;
}
