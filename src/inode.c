/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * inode.c - a file, once for all who have it open: its tree, its size, dropping its pages.
 */
#include <errno.h>
#include <fcntl.h>
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

enum { DROP_BUSY = 1, DROP_DIRTY = 2 };

/*
 * Drop the pages first .. last: what is clean, and with @discard also dirty folios that lie in the range as a whole. Returns why
 * something was left: it is on its way to the file, it is dirty.
 */
static unsigned drop(
	struct inode *inode, uint64_t first, uint64_t last, bool discard, struct stats_shard *shard)
{
	struct folio *dropped[DROP_BATCH];
	uint64_t index = first, pages = 0;
	bool was_dirty[DROP_BATCH];
	unsigned n, i, left = 0;
	void *entry;

	do {
		n = 0;
		/* Between the queue and the pool the pages are in our hands. */
		evict_busy_begin(&inode->cache->evict);
		tree_lock(&inode->tree);
		while (n < DROP_BATCH && (entry = tree_next(&inode->tree, &index, last))) {
			struct folio *folio = entry_folio(entry);
			uint64_t size = UINT64_C(1) << folio->order;
			/* Both change under this lock. */
			uint32_t flags = folio_u32_load_relaxed(&folio->flags);

			if (flags & FOLIO_WRITEBACK ||
				(flags & FOLIO_DIRTY && !(discard && folio->index >= first &&
								last - folio->index >= size - 1))) {
				left |= flags & FOLIO_WRITEBACK ? DROP_BUSY : DROP_DIRTY;
				index = folio->index + size;
				if (index > last)
					break;
				continue;
			}
			/* In the tree and its lock is held: the tree's reference is ours to drop. */
			was_dirty[n] = writeback_forget_locked(inode, folio);
			inode_erase_locked(inode, folio);
			pages += size;
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
		for (i = 0; i < n; i++) {
			if (was_dirty[i])
				folio_put(dropped[i]);
			folio_put(dropped[i]);
		}
		if (n)
			evict_busy_end(&inode->cache->evict);
		else
			evict_busy_cancel(&inode->cache->evict);
	} while (n == DROP_BATCH);
	stats_add(shard, STAT_INVALIDATIONS, pages);
	return left;
}

void inode_invalidate(struct inode *inode, uint64_t first, uint64_t last, struct stats_shard *shard)
{
	drop(inode, first, last, false, shard);
}

bool inode_discard(struct inode *inode, uint64_t first, uint64_t last, struct stats_shard *shard)
{
	unsigned left;

	do {
		writeback_wait(inode, first, last);
		left = drop(inode, first, last, true, shard);
	} while (left & DROP_BUSY);
	return !left;
}

/* One of the folios that @whole becomes; frozen, and ours alone. False: there is no node for it. */
static bool store_piece(struct inode *inode, struct folio *folio, const struct folio *whole,
	uint64_t index, unsigned order, uint64_t valid)
{
	uint64_t bytes = (uint64_t)FOLIO_PAGE_SIZE << order;

	version_break(&folio->version);
	folio->type = FOLIO_TYPE_FILE;
	folio->order = (uint8_t)order;
	folio->refault = 0;
	folio_u64_store_relaxed(&folio->index, index);
	folio_u32_store_relaxed(&folio->valid, (uint32_t)(valid < bytes ? valid : bytes));
	folio_u32_store_relaxed(&folio->heat, HEAT_COLD);
	/* The first stays locked. The queue of the others is the pool's still. */
	if (folio != whole) {
		folio_u32_store_relaxed(&folio->flags, FOLIO_UPTODATE);
		folio_u8_store_relaxed(&folio->queue, EVICT_QUEUE_NONE);
	}
	folio_ptr_store_relaxed(&folio->owner, inode);
	version_settle(&folio->version);
	if (tree_store_locked(&inode->tree, index, order, entry_of(folio)) == 0) {
		inode_count_locked(inode, folio, INT64_C(1) << order);
		return true;
	}
	version_break(&folio->version);
	folio_ptr_store_relaxed(&folio->owner, NULL);
	return false;
}

/*
 * Frozen at the caller's reference and the tree's: nobody else has it, nobody gets it, and the version keeps out who
 * copies. Between the erase and the stores who looks for a page finds none, and waits for the tree's lock when he wants to
 * fill it. Each piece has a reference of ours until it is queued, so that it has this life still when it is.
 */
bool inode_split(struct inode *inode, struct folio *folio, uint64_t index)
{
	struct folio_cache *cache = inode->cache;
	uint64_t first = folio->index, start = first, valid = folio_u32_load_relaxed(&folio->valid);
	unsigned order = folio->order, whole_order = order, n = 0, i;
	struct {
		uint64_t index;
		unsigned order;
		bool stored;
	} piece[FOLIO_ORDER_MAX + 1];

	grace_read_lock();
	tree_lock(&inode->tree);
	/* A dirty folio has one more. */
	if (folio_ptr_load_relaxed(&folio->owner) != inode ||
		!folio_ref_try_freeze(&folio->ref, 2)) {
		tree_unlock(&inode->tree);
		grace_read_unlock();
		return false;
	}
	version_break(&folio->version);
	evict_remove(cache, folio);
	tree_erase_locked(&inode->tree, first, whole_order, NULL);
	inode_count_locked(inode, folio, -(INT64_C(1) << whole_order));
	/* The halves in which the page is not, and in the end the page. */
	while (order > 0) {
		uint64_t half = UINT64_C(1) << --order;

		piece[n].order = order;
		if (index - start < half) {
			piece[n++].index = start + half;
		} else {
			piece[n++].index = start;
			start += half;
		}
	}
	piece[n].order = 0;
	piece[n++].index = start;
	for (i = 0; i < n; i++) {
		uint64_t offset = (piece[i].index - first) << FOLIO_PAGE_SHIFT;
		struct folio *part = folio + (piece[i].index - first);

		piece[i].stored = store_piece(inode, part, folio, piece[i].index, piece[i].order,
			valid > offset ? valid - offset : 0);
		/* The caller's, the tree's and ours. Without a place in the tree the first is a folio that was dropped. */
		if (part == folio || piece[i].stored)
			folio_ref_unfreeze(&part->ref, (part == folio) + 2 * piece[i].stored);
	}
	tree_unlock(&inode->tree);
	grace_read_unlock();
	FOLIO_PAUSE(split_stored, folio);
	for (i = 0; i < n; i++) {
		struct folio *part = folio + (piece[i].index - first);

		if (piece[i].stored) {
			evict_insert(cache, part, false);
			folio_put(part);
		} else if (part != folio) {
			pool_free(&cache->pool, part);
		}
	}
	return true;
}

/*
 * The page that had the end once more, now that the new size is seen: it may have been filled meanwhile, by the old one. Who has still
 * loaded that one had stored his entry before. (He is at the end of his fill; the next one goes by the new size.)
 */
static void drop_end(struct inode *inode, struct stats_shard *shard)
{
	uint64_t index = inode->attr_size >> FOLIO_PAGE_SHIFT;

	inode_invalidate(inode, index, index, shard);
}

int inode_revalidate(struct inode *inode, bool growth_only, struct stats_shard *shard)
{
	struct folio_cache *cache = inode->cache;
	struct folio_io_attr attr;
	bool changed;
	int r;

	pthread_mutex_lock(&inode->attr_lock);
	/* What is opened for writing is the cache's: it knows more than the system. */
	if (inode->write_handle) {
		pthread_mutex_unlock(&inode->attr_lock);
		return 0;
	}
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
		folio_u64_store_release(&inode->size, attr.size);
		drop_end(inode, shard);
		inode->attr_size = attr.size;
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
			if (attr.size > inode->attr_size)
				drop_end(inode, shard);
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
	pthread_rwlockattr_t fair;
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
		.gate = UINT64_MAX,
		.attr_size = attr->size,
		.attr_mtime_sec = attr->mtime_sec,
		.attr_mtime_nsec = attr->mtime_nsec,
	};
	r = tree_init(&inode->tree, &cache->tree_budget);
	if (r) {
		free(inode);
		return r;
	}
	pthread_rwlockattr_init(&fair);
	pthread_rwlockattr_setkind_np(&fair, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&inode->map_lock, &fair);
	pthread_rwlockattr_destroy(&fair);
	pthread_mutex_init(&inode->attr_lock, NULL);
	pthread_mutex_init(&inode->size_lock, NULL);
	pthread_mutex_init(&inode->sync_lock, NULL);
	folio_u64_store_relaxed(&inode->size, attr->size);
	/* Whoever else makes the file longer writes what is in it. */
	folio_u64_store_relaxed(&inode->disk_size, UINT64_MAX);
	inode->next = cache->inodes;
	cache->inodes = inode;
	*result = inode;
	return 0;
}

/* The first open for writing, just after the system was asked for the size. */
static void become_writable(struct inode *inode, void *handle)
{
	pthread_mutex_lock(&inode->attr_lock);
	inode->write_handle = handle;
	folio_u64_store_release(&inode->disk_size, folio_u64_load_relaxed(&inode->size));
	pthread_mutex_unlock(&inode->attr_lock);
}

int inode_get(struct folio_cache *cache, const char *path, int flags, mode_t mode,
	struct stats_shard *shard, struct inode **result)
{
	unsigned io_flags = cache->flags & FOLIO_CACHE_BUFFERED ? FOLIO_IO_BUFFERED : 0;
	bool writable = (flags & O_ACCMODE) == O_RDWR;
	struct folio_io_attr attr;
	struct inode *inode;
	bool keep = false;
	void *handle;
	int r;

	if (writable) {
		if (!cache->io->sync || !cache->io->truncate || !cache->io->punch)
			return -EROFS;
		/* Before there may be a new file. */
		pthread_mutex_lock(&cache->files_lock);
		r = writeback_start(cache);
		pthread_mutex_unlock(&cache->files_lock);
		if (r)
			return r;
	}
	/*
	 * Opened also when we have it: whether this caller may is the system's to say. Without the lock: it may take its time
	 * (a lease, a file system of the network), and others open and close other files meanwhile.
	 */
	r = cache->io->open(cache->io_context, path, flags, mode, io_flags, &handle);
	if (r < 0)
		return r;
	pthread_mutex_lock(&cache->files_lock);
	/* Under the lock: nobody opens the file, writes to it and closes it between this and what is made of it. */
	r = cache->io->getattr(cache->io_context, handle, &attr);
	if (r < 0)
		goto out;
	inode = find(cache, &attr);
	if (inode) {
		r = inode_revalidate(inode, false, shard);
		if (r < 0)
			goto out;
		r = 0;
		inode->opens++;
	} else {
		r = create(cache, handle, &attr, &inode);
		if (r)
			goto out;
		inode->opens = 1;
		keep = true;
	}
	if (writable && !inode->write_handle) {
		become_writable(inode, handle);
		keep = true;
	}
	cache->files_open++;
	*result = inode;
out:
	pthread_mutex_unlock(&cache->files_lock);
	if (!keep)
		cache->io->close(cache->io_context, handle);
	return r;
}

void inode_drain(struct inode *inode, const struct timespec *until)
{
	uint32_t fills;

	folio_u32_fetch_or_relaxed(&inode->fills, INODE_CLOSING);
	/* acquire: pairs with inode_io_end, also where nothing was in flight any more: the bit continues what it released. */
	while ((fills = folio_u32_load_acquire(&inode->fills)) != INODE_CLOSING)
		if (!futex_wait_until(&inode->fills, fills, until))
			break;
}

void inode_io_end(struct inode *inode)
{
	/* release: pairs with drain: what was in flight has let go of the inode's pages. */
	if (folio_u32_fetch_sub_release(&inode->fills, 1) == (INODE_CLOSING | 1))
		futex_wake(&inode->fills, INT_MAX);
}

static void inode_free(struct grace_head *head)
{
	struct inode *inode = (struct inode *)((char *)head - offsetof(struct inode, grace));

	pthread_rwlock_destroy(&inode->map_lock);
	pthread_mutex_destroy(&inode->size_lock);
	pthread_mutex_destroy(&inode->sync_lock);
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
	if (inode->write_handle)
		writeback_leave(inode, true);
	inode_drain(inode, NULL);
	FOLIO_PAUSE(drop_drained, NULL);
	inode_discard(inode, 0, UINT64_MAX, shard);
	cache->io->close(cache->io_context, inode->handle);
	if (inode->write_handle && inode->write_handle != inode->handle)
		cache->io->close(cache->io_context, inode->write_handle);
	/* An evictor may still stand on the tree's lock; a last fill may still say goodbye. */
	grace_defer(&inode->grace, inode_free);
}
