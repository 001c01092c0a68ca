/* SPDX-License-Identifier: BSD-2-Clause */
/* stats.c - the statistics of a cache and of a file. */
#include <folio/stats.h>

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "cache/closed.h"
#include "cache/identity.h"
#include "cache/inode.h"
#include "cache/thread.h"

int folio_cache_stats(struct folio_cache *cache, struct folio_cache_stats *stats)
{
	uint64_t count[STATS], pages, free_pages, private_pages;
	struct folio_io_stat io = {.size = sizeof(io)};
	struct folio_cache_stats all;

	if (!cache || !stats || stats->size < sizeof(stats->size))
		return -EINVAL;
	if (!thread_enter(cache, cache->id))
		return -ESTALE;
	io.name = cache->io->name;
	if (cache->io->stat)
		cache->io->stat(cache->io_context, &io);
	thread_stats_sum(cache, count);
	pages = folio_u64_load_relaxed(&cache->pages);
	free_pages = pool_free_pages(&cache->pool);
	private_pages = folio_u64_load_relaxed(&cache->pages_private);
	if (free_pages > pages)
		free_pages = pages;
	all = (struct folio_cache_stats){
		.size = stats->size,
		.io = io.name,
		.pages = pages,
		.pages_free = free_pages,
		.pages_file =
			pages - free_pages > private_pages ? pages - free_pages - private_pages : 0,
		.pages_private = private_pages,
		.bytes_metadata = cache->pool.folios_bytes +
				  folio_u64_load_relaxed(&cache->tree_budget.allocated) *
					  sizeof(struct tree_node) +
				  folio_u64_load_relaxed(&cache->tree_budget.directory_bytes),
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
		.pages_dirty = share_has(&cache->writeback.share, SHARE_PAGES),
		.pages_writeback = folio_u64_load_relaxed(&cache->writeback.pages_in_flight),
		.writes = count[STAT_WRITES],
		.write_bytes = count[STAT_WRITE_BYTES],
		.write_errors = count[STAT_WRITE_ERRORS],
		.throttled = count[STAT_THROTTLED],
		.files_buffered = io.files_buffered,
		.files_closed = closed_count(&cache->closed),
		.readahead_unused = count[STAT_READAHEAD_UNUSED],
	};
	memcpy(stats, &all, stats->size < sizeof(all) ? stats->size : sizeof(all));
	return 0;
}

/* How the backend reads or writes through @handle, NULL if the file has no such handle. */
static unsigned direct_use(struct folio_cache *cache, void *handle)
{
	if (!handle || !cache->io->direct)
		return FOLIO_DIRECT_UNKNOWN;
	return cache->io->direct(cache->io_context, handle);
}

/* Set the fields that the backend knows. Returns 0 or its error. */
static int query(struct folio_cache *cache, void *handle, struct folio_file_stat *all)
{
	struct folio_io_attr attr;
	int r = identity_attr(cache, handle, FOLIO_IO_ATTR_CTIME, &attr);

	if (r)
		return r;
	all->device = attr.device;
	all->inode = attr.inode;
	all->bytes_file = attr.size;
	all->mtime_sec = attr.mtime_sec;
	all->mtime_nsec = attr.mtime_nsec;
	if (attr.fields & FOLIO_IO_ATTR_CTIME) {
		all->ctime_sec = attr.ctime_sec;
		all->ctime_nsec = attr.ctime_nsec;
	}
	return 0;
}

int folio_file_stat(struct folio_file *file, struct folio_file_stat *stat)
{
	struct folio_file_stat all;
	struct folio_cache *cache;
	struct inode *inode;
	int r;

	if (!file || !stat || stat->size < sizeof(stat->size))
		return -EINVAL;
	cache = file->cache;
	if (!thread_enter(cache, file->cache_id))
		return -ESTALE;
	inode = file->inode;
	all = (struct folio_file_stat){
		.size = stat->size,
		.bytes = folio_u64_load_acquire(&inode->size),
		.direct_read = direct_use(cache, inode->handle),
		.direct_write = direct_use(cache, inode_write_handle(inode)),
	};
	/* Programs of version 0.1 have a shorter struct. */
	if (stat->size > offsetof(struct folio_file_stat, device)) {
		r = query(cache, inode->handle, &all);
		if (r)
			return r;
	}
	tree_lock(&inode->tree);
	all.pages = folio_u64_load_relaxed(&inode->pages);
	all.pages_dirty = share_has(&inode->share, SHARE_PAGES);
	tree_unlock(&inode->tree);
	memcpy(stat, &all, stat->size < sizeof(all) ? stat->size : sizeof(all));
	return 0;
}
