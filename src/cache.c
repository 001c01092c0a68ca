/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cache.c - opening and closing of a cache, statistics.
 */
#include "cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"

folio_ptr cache_table[CACHES_MAX];

#define READAHEAD_BYTES_MAX ((uint64_t)4 << 20)
#define IO_DEPTH_DEFAULT    128
#define IO_DEPTH_MAX        4096

const char *folio_version(void)
{
	return FOLIO_VERSION;
}

/* What a cache cannot do without, and of the rest all or none. */
static bool ops_are_whole(const struct folio_io_ops *io)
{
	return io->size >= sizeof(*io) && io->name && io->create && io->destroy && io->open &&
	       io->close && io->getattr && io->read && io->submit && !io->sync == !io->truncate &&
	       !io->sync == !io->punch;
}

/* Also fills in what follows from the rest. */
static int check(struct folio_cache_params *params)
{
	const uint32_t flags =
		FOLIO_CACHE_BUFFERED | FOLIO_CACHE_NO_HUGE_PAGES | FOLIO_CACHE_NO_READAHEAD;

	if (params->flags & ~flags || params->bytes < FOLIO_CACHE_BYTES_MIN ||
		params->io_depth > IO_DEPTH_MAX || (params->io && !ops_are_whole(params->io)))
		return -EINVAL;
	if (!params->bytes_max)
		params->bytes_max = params->bytes;
	if (params->bytes_max < params->bytes || params->bytes_max >> FOLIO_PAGE_SHIFT >= POOL_NONE)
		return -EINVAL;
	return 0;
}

void cache_set_readahead(struct folio_cache *cache, uint64_t pages)
{
	uint64_t wanted = cache->readahead_wanted;

	if (cache->flags & FOLIO_CACHE_NO_READAHEAD)
		return;
	/*
	 * Two windows are in memory for each stream, the one being read and the one ahead; they stay well inside
	 * the small queue, a tenth of the budget.
	 */
	if (!wanted) {
		wanted = pages / 32;
		if (wanted > READAHEAD_BYTES_MAX >> FOLIO_PAGE_SHIFT)
			wanted = READAHEAD_BYTES_MAX >> FOLIO_PAGE_SHIFT;
	}
	if (wanted > pages / 4)
		wanted = pages / 4;
	folio_u32_store_relaxed(&cache->readahead_pages, (uint32_t)wanted);
}

/*
 * A leaf for every page, were they that far apart, and one above it, twice, since nodes wait for their grace period: a bound.
 * Pages that are farther apart, in files of many TiB, need more, and are fewer then (evict_nodes). What holds only shadows gets a
 * thirty-second of the pages.
 */
static void budget_init(struct tree_budget *budget, uint64_t pages)
{
	budget->nodes_max = 4 * pages + 1024;
	budget->nodes_shadow_max = pages / 32 + 16;
}

static int table_insert(struct folio_cache *cache)
{
	int i;

	for (i = 0; i < CACHES_MAX; i++) {
		void *empty = NULL;

		if (folio_ptr_cas_release(&cache_table[i], &empty, cache))
			return i;
	}
	return -EMFILE;
}

int folio_cache_open(const struct folio_cache_params *given, struct folio_cache **result)
{
	/* A program may know fewer of them: the rest is 0. */
	struct folio_cache_params all = {0}, *params = &all;
	struct folio_cache *cache;
	unsigned depth;
	int r, slot;

	if (!given || !result || given->size < offsetof(struct folio_cache_params, dirty_bytes))
		return -EINVAL;
	memcpy(&all, given, given->size < sizeof(all) ? given->size : sizeof(all));
	r = check(params);
	if (r)
		return r;
	cache = aligned_alloc(64, (sizeof(*cache) + 63) & ~(size_t)63);
	if (!cache)
		return -ENOMEM;
	memset(cache, 0, sizeof(*cache));
	cache->flags = params->flags;
	cache->readahead_wanted =
		params->readahead ? (params->readahead + FOLIO_PAGE_SIZE - 1) >> FOLIO_PAGE_SHIFT
				  : 0;
	cache->timeout_ms = params->timeout_ms;
	depth = params->io_depth ? params->io_depth : IO_DEPTH_DEFAULT;
	folio_u32_store_relaxed(&cache->room, depth);
	/*
	 * Room is given back inside of complete, and a backend counts a request until that, or a batch of them, has returned. Twice
	 * the requests that there may be: nobody finds the backend full for what has completed.
	 */
	if (cache->timeout_ms)
		depth *= 2;
	budget_init(&cache->tree_budget, params->bytes_max >> FOLIO_PAGE_SHIFT);
	cache->out = POOL_NONE;
	pthread_mutex_init(&cache->files_lock, NULL);
	pthread_mutex_init(&cache->resize_lock, NULL);
	folio_types_init(cache);
	/*
	 * Before grace_open: of a thread that ends, what it knows goes first, then its place among readers. And before
	 * the table is written to, which a child of fork finds empty from here on.
	 */
	r = thread_cache_register(cache);
	if (r)
		goto free_cache;
	slot = table_insert(cache);
	if (slot < 0) {
		r = slot;
		goto unregister;
	}
	r = pool_create(&cache->pool, params->bytes_max >> FOLIO_PAGE_SHIFT, (uint16_t)slot,
		!(params->flags & FOLIO_CACHE_NO_HUGE_PAGES));
	if (r)
		goto leave_table;
	r = grace_open();
	if (r)
		goto destroy_pool;
	cache->io = params->io;
	cache->io_context = params->io_context;
	if (cache->io)
		r = cache->io->create(&cache->io_context, depth);
	else
		r = io_choose(&cache->io, &cache->io_context, depth);
	if (r)
		goto close_grace;
	r = writeback_create(cache, params);
	if (r)
		goto destroy_io;
	r = evict_create(cache);
	if (r)
		goto destroy_writeback;
	folio_u64_store_relaxed(&cache->pages, cache->pool.pages);
	r = resize_pages(cache, params->bytes >> FOLIO_PAGE_SHIFT, false, cache->shard_spare);
	if (r)
		goto destroy_evict;
	*result = cache;
	return 0;

destroy_evict:
	evict_destroy(cache);
destroy_writeback:
	writeback_destroy(cache);
destroy_io:
	cache->io->destroy(cache->io_context);
close_grace:
	grace_close();
destroy_pool:
	pool_destroy(&cache->pool);
leave_table:
	folio_ptr_store_relaxed(&cache_table[slot], NULL);
unregister:
	thread_cache_unregister(cache);
free_cache:
	folio_types_destroy(cache);
	pthread_mutex_destroy(&cache->resize_lock);
	pthread_mutex_destroy(&cache->files_lock);
	free(cache);
	return r;
}

int folio_cache_close(struct folio_cache *cache)
{
	if (!cache)
		return -EINVAL;
	if (!thread_enter(cache, cache->id))
		return thread_error(cache);
	/* No other call is running, so nothing is in flight but the reaper's work. */
	folio_reaper_drain(cache);
	/* But for the evictor, which may hold a page that its file has let go of. */
	if (!cache->files_open)
		evict_settle(cache);
	if (cache->files_open || pool_free_pages(&cache->pool) != cache->pages)
		return -EBUSY;
	evict_destroy(cache);
	writeback_destroy(cache);
	cache->io->destroy(cache->io_context);
	/* Nodes and inodes that still wait for their grace period are charged to the budget in here. */
	grace_barrier();
	grace_close();
	folio_types_destroy(cache);
	thread_cache_unregister(cache);
	folio_ptr_store_relaxed(&cache_table[cache->pool.folios->pool], NULL);
	pins_destroy(cache);
	pool_destroy(&cache->pool);
	pthread_mutex_destroy(&cache->resize_lock);
	pthread_mutex_destroy(&cache->files_lock);
	free(cache);
	return 0;
}

int folio_cache_stats(struct folio_cache *cache, struct folio_cache_stats *stats)
{
	uint64_t count[STATS], pages, free_pages, private_pages;
	struct folio_cache_stats all;

	if (!cache || !stats || stats->size < sizeof(stats->size))
		return -EINVAL;
	if (!thread_enter(cache, cache->id))
		return thread_error(cache);
	thread_stats_sum(cache, count);
	pages = folio_u64_load_relaxed(&cache->pages);
	free_pages = pool_free_pages(&cache->pool);
	private_pages = folio_u64_load_relaxed(&cache->pages_private);
	if (free_pages > pages)
		free_pages = pages;
	all = (struct folio_cache_stats){
		.size = stats->size,
		.io = cache->io->name,
		.pages = pages,
		.pages_free = free_pages,
		.pages_file =
			pages - free_pages > private_pages ? pages - free_pages - private_pages : 0,
		.pages_private = private_pages,
		.bytes_metadata = cache->pool.folios_bytes +
				  folio_u64_load_relaxed(&cache->tree_budget.nodes) *
					  sizeof(struct tree_node),
		.huge_bytes = cache->pool.huge_bytes,
		.hits = count[STAT_HITS],
		.misses = count[STAT_MISSES],
		.retries = count[STAT_RETRIES],
		.fills = count[STAT_FILLS],
		.fill_bytes = count[STAT_FILL_BYTES],
		.fill_errors = count[STAT_FILL_ERRORS],
		.readahead_pages = count[STAT_READAHEAD_PAGES],
		.prefetch_pages = count[STAT_PREFETCH_PAGES],
		.evictions = count[STAT_EVICTIONS],
		.evictions_direct = count[STAT_EVICTIONS_DIRECT],
		.evict_busy = count[STAT_EVICT_BUSY],
		.refaults = count[STAT_REFAULTS],
		.invalidations = count[STAT_INVALIDATIONS],
		.out_of_memory = count[STAT_OUT_OF_MEMORY],
		.pages_dirty = folio_u64_load_relaxed(&cache->writeback.pages),
		.pages_writeback = folio_u64_load_relaxed(&cache->writeback.pages_under_way),
		.writes = count[STAT_WRITES],
		.write_bytes = count[STAT_WRITE_BYTES],
		.write_errors = count[STAT_WRITE_ERRORS],
		.throttled = count[STAT_THROTTLED],
	};
	memcpy(stats, &all, stats->size < sizeof(all) ? stats->size : sizeof(all));
	return 0;
}
