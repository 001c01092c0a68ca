/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * inode.c - a file, once for all who have it open: its tree, its size, dropping its pages.
 */
#include <errno.h>
#include <stdlib.h>

#include "cache.h"
#include "pause.h"

void inode_erase_locked(struct inode *inode, struct folio *folio)
{
	tree_erase_locked(&inode->tree, folio->index, folio->order, NULL);
	inode_count_locked(inode, folio, -(INT64_C(1) << folio->order));
	/* Before evict_remove: an evictor that has it isolated must not queue it again (evict.c). */
	folio_ptr_store_relaxed(&folio->owner, NULL);
	evict_remove(inode->cache, folio);
}

#define DROP_BATCH 64

void inode_invalidate(struct inode *inode, uint64_t first, uint64_t last, struct stats_shard *shard)
{
	struct folio *dropped[DROP_BATCH];
	uint64_t index = first, pages = 0;
	unsigned n, i;
	void *entry;

	do {
		n = 0;
		/* Between the queue and the pool the pages are in our hands. */
		evict_busy_begin(&inode->cache->evict);
		tree_lock(&inode->tree);
		while (n < DROP_BATCH && (entry = tree_next(&inode->tree, &index, last))) {
			struct folio *folio = entry_folio(entry);

			/* In the tree and its lock is held: the tree's reference is ours to drop. */
			inode_erase_locked(inode, folio);
			pages += UINT64_C(1) << folio->order;
			dropped[n++] = folio;
		}
		if (n < DROP_BATCH)
			tree_erase_shadows_locked(&inode->tree, first, last);
		tree_unlock(&inode->tree);
		/*
		 * R4: out of the tree before the reference goes. The release of put orders the erase before
		 * whatever a late getter sees, so its second look fails. Whoever pins the folio keeps it.
		 */
		FOLIO_PAUSE(drop_erased, NULL);
		for (i = 0; i < n; i++)
			folio_put(dropped[i]);
		if (n)
			evict_busy_end(&inode->cache->evict);
		else
			evict_busy_cancel(&inode->cache->evict);
	} while (n == DROP_BATCH);
	stats_add(shard, STAT_INVALIDATIONS, pages);
}

int inode_revalidate(struct inode *inode, bool growth_only, struct stats_shard *shard)
{
	struct folio_cache *cache = inode->cache;
	struct folio_io_attr attr;
	bool changed;
	int r;

	pthread_mutex_lock(&inode->attr_lock);
	r = cache->io->getattr(cache->io_context, inode->handle, &attr);
	if (r < 0) {
		pthread_mutex_unlock(&inode->attr_lock);
		return r;
	}
	changed = attr.size != inode->attr_size;
	if (changed && growth_only && attr.size > inode->attr_size) {
		/*
		 * The page that had the end reads as zero behind it: it goes before the new size is seen, and so does
		 * whatever a fill that began before the file shrank may have put behind the end. Pairs with the
		 * acquire of who reads the size before he looks a page up, or looks it up again.
		 */
		inode_invalidate(inode, inode->attr_size >> FOLIO_PAGE_SHIFT, UINT64_MAX, shard);
		FOLIO_PAUSE(drop_grown, NULL);
		inode->attr_size = attr.size;
		folio_u64_store_release(&inode->size, attr.size);
	} else if (!growth_only || attr.size < inode->attr_size) {
		changed = changed || attr.mtime_sec != inode->attr_mtime_sec ||
			  attr.mtime_nsec != inode->attr_mtime_nsec;
		if (changed) {
			/* A smaller size first, so that nobody fills behind the end; a larger one after. */
			if (attr.size < inode->attr_size)
				folio_u64_store_release(&inode->size, attr.size);
			FOLIO_PAUSE(drop_sized, NULL);
			inode_invalidate(inode, 0, UINT64_MAX, shard);
			folio_u64_store_release(&inode->size, attr.size);
		}
		inode->attr_size = attr.size;
		inode->attr_mtime_sec = attr.mtime_sec;
		inode->attr_mtime_nsec = attr.mtime_nsec;
	}
	pthread_mutex_unlock(&inode->attr_lock);
	return changed;
}

static struct inode *find(struct folio_cache *cache, const struct folio_io_attr *attr)
{
	struct inode *inode = cache->inodes;

	while (inode && (inode->device != attr->device || inode->number != attr->inode))
		inode = inode->next;
	return inode;
}

static int create(struct folio_cache *cache, void *handle, const struct folio_io_attr *attr,
	struct inode **result)
{
	struct inode *inode = aligned_alloc(64, (sizeof(*inode) + 63) & ~(size_t)63);
	int r;

	if (!inode)
		return -ENOMEM;
	*inode = (struct inode){
		.cache = cache,
		.handle = handle,
		.device = attr->device,
		.number = attr->inode,
		/* Anywhere, but for files side by side not in the same place. */
		.hint_start = (attr->inode + attr->device) * UINT64_C(0x9e3779b97f4a7c15) >> 20,
		.hint_shift = FOLIO_PAGE_SHIFT,
		.attr_size = attr->size,
		.attr_mtime_sec = attr->mtime_sec,
		.attr_mtime_nsec = attr->mtime_nsec,
	};
	r = tree_init(&inode->tree, &cache->tree_budget);
	if (r) {
		free(inode);
		return r;
	}
	pthread_mutex_init(&inode->attr_lock, NULL);
	folio_u64_store_relaxed(&inode->size, attr->size);
	inode->next = cache->inodes;
	cache->inodes = inode;
	*result = inode;
	return 0;
}

int inode_get(struct folio_cache *cache, const char *path, int flags, mode_t mode,
	struct stats_shard *shard, struct inode **result)
{
	unsigned io_flags = cache->flags & FOLIO_CACHE_BUFFERED ? FOLIO_IO_BUFFERED : 0;
	struct folio_io_attr attr;
	struct inode *inode;
	void *handle;
	int r;

	/* Opened also when we have it: whether this caller may is the system's to say. */
	r = cache->io->open(cache->io_context, path, flags, mode, io_flags, &handle);
	if (r < 0)
		return r;
	r = cache->io->getattr(cache->io_context, handle, &attr);
	if (r < 0)
		goto close;
	inode = find(cache, &attr);
	if (inode) {
		r = inode_revalidate(inode, false, shard);
		if (r < 0)
			goto close;
		inode->opens++;
		*result = inode;
		r = 0;
		goto close;
	}
	r = create(cache, handle, &attr, &inode);
	if (r)
		goto close;
	inode->opens = 1;
	*result = inode;
	return 0;
close:
	cache->io->close(cache->io_context, handle);
	return r;
}

/* Wait until fills that nobody waits for have ended: they read through the handle. */
static void drain(struct inode *inode)
{
	uint32_t fills = folio_u32_fetch_or_relaxed(&inode->fills, INODE_CLOSING) | INODE_CLOSING;

	/* acquire: pairs with fill_complete, also where nothing is in flight any more. */
	folio_fence_acquire();

	while (fills != INODE_CLOSING) {
		futex_wait(&inode->fills, fills);
		/* acquire: pairs with fill_complete. */
		fills = folio_u32_load_acquire(&inode->fills);
	}
}

static void inode_free(struct grace_head *head)
{
	struct inode *inode = (struct inode *)((char *)head - offsetof(struct inode, grace));

	pthread_mutex_destroy(&inode->attr_lock);
	tree_destroy(&inode->tree);
	free(inode);
}

void inode_put(struct inode *inode, struct stats_shard *shard)
{
	struct folio_cache *cache = inode->cache;
	struct inode **at = &cache->inodes;

	if (--inode->opens > 0)
		return;
	while (*at != inode)
		at = &(*at)->next;
	*at = inode->next;
	drain(inode);
	FOLIO_PAUSE(drop_drained, NULL);
	inode_invalidate(inode, 0, UINT64_MAX, shard);
	cache->io->close(cache->io_context, inode->handle);
	/* An evictor may still stand on the tree's lock; a last fill may still say goodbye. */
	grace_defer(&inode->grace, inode_free);
}
