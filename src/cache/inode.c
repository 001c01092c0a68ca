/* SPDX-License-Identifier: BSD-2-Clause */
/* inode.c - finding, creating and freeing inodes. */
#include "cache/inode.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "base/deadline.h"
#include "base/pause.h"
#include "cache/closed.h"
#include "cache/device.h"
#include "cache/dirty.h"
#include "cache/drop.h"
#include "cache/identity.h"
#include "cache/inflight.h"
#include "cache/revalidate.h"

/* The key of a file in cache->inodes. */
static uint64_t inode_key(uint64_t device, uint64_t number)
{
	return number + device * UINT64_C(0xd1342543de82ef95);
}

struct inode *inode_next(
	const struct folio_cache *cache, uint64_t device, uint64_t number, uint64_t *at)
{
	struct inode *inode;

	while ((inode = hash_next(&cache->inodes, inode_key(device, number), at)))
		if (inode->device == device && inode->number == number)
			break;
	return inode;
}

/*
 * Find the inode of the file of @handle, which has @attr; *result is NULL if there is none. Returns
 * 0; -EBUSY as find_or_create; or an error of the backend.
 */
static int find(struct folio_cache *cache, void *handle, const struct folio_io_attr *attr,
	bool writable, struct inode **result)
{
	bool other_writer = false;
	struct inode *inode;
	uint64_t at = 0;
	int r;

	*result = NULL;
	while ((inode = inode_next(cache, attr->device, attr->inode, &at))) {
		r = inode->closed ? identity_compare_closed(cache, inode->identity, handle)
				  : identity_compare(cache, inode->handle, handle, attr);
		if (r < 0)
			return r;
		/* An open one comes first: it may have pages that the file does not have yet. */
		if (r == IDENTITY_SAME && (!*result || !inode->closed))
			*result = inode;
		if (r == IDENTITY_DOUBT && inode_write_handle(inode))
			other_writer = true;
	}
	if (*result && inode_write_handle(*result))
		return 0;
	return writable && other_writer ? -EBUSY : 0;
}

/*
 * Take memory that is an inode until the cache is closed, with an empty tree: of a file that is
 * closed, or new. NULL: no memory. files_lock is held.
 */
static struct inode *inode_take(struct folio_cache *cache)
{
	struct inode *inode = cache->inodes_free;

	if (inode) {
		cache->inodes_free = inode->next_free;
		return inode;
	}
	inode = aligned_alloc(64, (sizeof(*inode) + 63) & ~(size_t)63);
	if (inode && tree_init(&inode->tree, &cache->tree_budget)) {
		free(inode);
		inode = NULL;
	}
	return inode;
}

/*
 * Initialize the inode of a file that no handle has open: all but the tree, and what inode_add
 * sets.
 */
static void inode_init(struct inode *inode, struct folio_cache *cache, void *handle,
	const struct folio_io_attr *attr, bool recent)
{
	pthread_rwlockattr_t fair;
	unsigned i;

	memset(&inode->size, 0, sizeof(*inode) - offsetof(struct inode, size));
	inode->cache = cache;
	inode->handle = handle;
	inode->device = attr->device;
	inode->number = attr->inode;
	inode->writeback_fence = UINT64_MAX;
	revalidate_record(inode, attr, recent);
	/* Truncation, which takes it exclusively, must not starve behind a stream of writes. */
	pthread_rwlockattr_init(&fair);
	pthread_rwlockattr_setkind_np(&fair, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&inode->map_lock, &fair);
	pthread_rwlockattr_destroy(&fair);
	pthread_mutex_init(&inode->attr_lock, NULL);
	pthread_mutex_init(&inode->append_lock, NULL);
	pthread_mutex_init(&inode->size_lock, NULL);
	pthread_mutex_init(&inode->syncs.lock, NULL);
	for (i = 0; i < 2; i++)
		pthread_cond_init(&inode->syncs.change[i], NULL);
	for (i = 0; i < 3; i++)
		pthread_cond_init(&inode->syncs.round_change[i], NULL);
	folio_u64_store_relaxed(&inode->size, attr->size);
	/*
	 * No limit until the cache writes the file: another process that makes it longer writes the
	 * contents as well.
	 */
	folio_u64_store_relaxed(&inode->disk_size, UINT64_MAX);
}

/* Add an inode to its device and to the table of open files. 0 or -ENOMEM. files_lock is held. */
static int inode_add(struct inode *inode)
{
	struct folio_cache *cache = inode->cache;
	int r;

	inode->backing = device_get(cache, inode->device);
	if (!inode->backing)
		return -ENOMEM;
	share_init(&inode->share, &inode->backing->share);
	r = hash_add(&cache->inodes, inode_key(inode->device, inode->number), inode);
	if (r)
		device_put(inode->backing);
	return r;
}

/* The opposite of inode_init, and of inode_take. files_lock is held. */
static void inode_give(struct inode *inode)
{
	struct folio_cache *cache = inode->cache;
	unsigned i;

	pthread_rwlock_destroy(&inode->map_lock);
	pthread_mutex_destroy(&inode->append_lock);
	pthread_mutex_destroy(&inode->size_lock);
	pthread_mutex_destroy(&inode->syncs.lock);
	for (i = 0; i < 2; i++)
		pthread_cond_destroy(&inode->syncs.change[i]);
	for (i = 0; i < 3; i++)
		pthread_cond_destroy(&inode->syncs.round_change[i]);
	pthread_mutex_destroy(&inode->attr_lock);
	tree_clear(&inode->tree);
	inode->next_free = cache->inodes_free;
	cache->inodes_free = inode;
}

/* No handle has the file open, and nothing of it is in flight. files_lock is held. */
static void inode_forget(struct inode *inode, struct stats_shard *shard)
{
	hash_remove(&inode->cache->inodes, inode_key(inode->device, inode->number), inode);
	inode_discard(inode, 0, UINT64_MAX, shard);
	device_put(inode->backing);
	inode_give(inode);
}

/* Free the inodes of closed files that are not to stay, of which @max may. files_lock is held. */
static void forget_excess(struct folio_cache *cache, uint64_t max, struct stats_shard *shard)
{
	struct inode *inode;

	while ((inode = closed_excess(cache, max)))
		inode_forget(inode, shard);
}

void inodes_forget_closed(struct folio_cache *cache, struct stats_shard *shard)
{
	pthread_mutex_lock(&cache->files_lock);
	forget_excess(cache, 0, shard);
	pthread_mutex_unlock(&cache->files_lock);
}

void inodes_destroy(struct folio_cache *cache)
{
	struct inode *inode;

	while ((inode = cache->inodes_free)) {
		cache->inodes_free = inode->next_free;
		tree_destroy(&inode->tree);
		free(inode);
	}
	hash_destroy(&cache->inodes);
}

/*
 * Find the inode of the file of @handle, which has @attr, or create it. Returns -EBUSY if the file
 * is to become @writable, and may be one that another inode has open for writing: the two would
 * overwrite each other's pages. @recent is that of revalidate_attr. files_lock is held.
 */
static int find_or_create(struct folio_cache *cache, void *handle, const struct folio_io_attr *attr,
	bool recent, bool writable, struct inode **result)
{
	uint64_t key = inode_key(attr->device, attr->inode);
	struct inode *fresh, *found;
	int r;

	/* The new inode is made in the time that the table's cache line takes to arrive. */
	hash_prefetch(&cache->inodes, key);
	fresh = inode_take(cache);
	if (!fresh)
		return -ENOMEM;
	inode_init(fresh, cache, handle, attr, recent);
	r = find(cache, handle, attr, writable, &found);
	if (!r && !found)
		r = inode_add(fresh);
	if (r || found)
		inode_give(fresh);
	*result = found ? found : fresh;
	return r;
}

/* The first open for writing. The size has just been queried from the operating system. */
static void become_writable(struct inode *inode, void *handle)
{
	pthread_mutex_lock(&inode->attr_lock);
	folio_u64_store_release(&inode->disk_size, folio_u64_load_relaxed(&inode->size));
	/* release: pairs with inode_write_handle. */
	folio_ptr_store_release(&inode->write_handle, handle);
	pthread_mutex_unlock(&inode->attr_lock);
}

/* ---- opening ---- */

/* A handle of the backend that is not used, and is closed with the file. */
struct spare {
	struct spare *next;
	void *handle;
};

/* Open a file with the backend; @io_flags are added to those of the cache. */
static int backend_open(struct folio_cache *cache, const struct file_source *source,
	unsigned io_flags, void **handle)
{
	int flags = source->flags & ~O_TRUNC;

	if (cache->flags & FOLIO_CACHE_BUFFERED)
		io_flags |= FOLIO_IO_BUFFERED;
	if (!source->path)
		return cache->io->open_fd(cache->io_context, source->fd, flags, io_flags, handle);
	if (io_flags & FOLIO_IO_PROBE)
		flags &= ~O_CREAT;
	return cache->io->open(
		cache->io_context, source->path, flags, source->mode, io_flags, handle);
}

bool inode_await_confirm(struct inode *inode)
{
	struct folio_cache *cache = inode->cache;

	if (!inode->confirming)
		return false;
	cond_wait_until(&cache->files_change, &cache->files_lock, NULL);
	return true;
}

static folio_u64 opened; /* files, by all caches of the process */

/*
 * Count one more handle. @is_open: the inode has others already. Returns 0, or an error of the
 * backend. files_lock is held.
 */
static int add_open(struct inode *inode, const struct file_source *source, bool is_open,
	struct stats_shard *shard)
{
	int r = is_open ? inode_revalidate(inode, false, shard) : 0;

	if (r < 0)
		return r;
	/* relaxed: of all caches, and only to be unique. */
	if (!inode->opens)
		inode->open_number = folio_u64_fetch_add_relaxed(&opened, 1) + 1;
	inode->opens++;
	inode->opening += (source->flags & O_TRUNC) != 0;
	inode->cache->files_open++;
	return 0;
}

/*
 * Find a file that the cache has open with the access that the caller needs, and do not open it
 * again: to close the second descriptor would drop the POSIX locks that the program has on the
 * file, and to keep all of them would use them up. The backend checks whether the caller may open
 * the file. Returns 0; -ENOENT if the file must be opened; or -errno.
 */
static int get_open(struct folio_cache *cache, const struct file_source *source,
	struct stats_shard *shard, struct inode **result)
{
	bool writable = (source->flags & O_ACCMODE) == O_RDWR;
	struct folio_io_attr attr;
	struct inode *inode;
	void *probe;
	int r;

	/* Errors of the probe are left to the open. */
	if (backend_open(cache, source, FOLIO_IO_PROBE, &probe) < 0)
		return -ENOENT;
	pthread_mutex_lock(&cache->files_lock);
	do {
		inode = NULL;
		r = identity_attr(cache, probe, 0, &attr);
		if (!r)
			r = find(cache, probe, &attr, writable, &inode);
	} while (inode && inode_await_confirm(inode));
	if (r != -EBUSY) {
		if (!r && inode && !inode->closed && (!writable || inode_write_handle(inode)) &&
			!identity_attr(cache, probe, FOLIO_IO_ATTR_ACCESS, &attr) &&
			attr.fields & FOLIO_IO_ATTR_ACCESS)
			r = add_open(inode, source, true, shard);
		else
			r = -ENOENT;
	}
	*result = inode;
	pthread_mutex_unlock(&cache->files_lock);
	cache->io->close(cache->io_context, probe);
	return r;
}

/*
 * The backend has opened a closed file again: its pages stay unless it has changed. Returns 0 or an
 * error of the backend; then the inode is freed. files_lock is held.
 */
static int reopen(struct inode *inode, const struct file_source *source, void *handle,
	struct stats_shard *shard)
{
	int r;

	closed_leave(inode);
	inode->handle = handle;
	r = inode_revalidate_closed(inode, shard);
	if (r >= 0)
		r = add_open(inode, source, false, shard);
	if (r)
		inode_forget(inode, shard);
	return r;
}

/*
 * Find or create the inode of a file that the backend has opened, and give it the handle if it
 * needs one. *used: it has taken it. Returns 0 or -errno. files_lock is held.
 */
static int get_opened(struct folio_cache *cache, const struct file_source *source, void *handle,
	struct stats_shard *shard, struct inode **result, bool *used)
{
	bool writable = (source->flags & O_ACCMODE) == O_RDWR, recent;
	struct folio_io_attr attr;
	struct inode *inode;
	int r;

	forget_excess(cache, cache->closed.max, shard);
	/*
	 * Under the lock: between this and the use of its result, no other thread opens the file,
	 * writes to it and closes it.
	 */
	do {
		r = revalidate_attr(cache, handle, 0, &attr, &recent);
		if (r < 0)
			return r;
		r = find_or_create(cache, handle, &attr, recent, writable, &inode);
		if (r)
			return r;
	} while (inode_await_confirm(inode));
	*used = !inode->opens;
	r = inode->closed ? reopen(inode, source, handle, shard)
			  : add_open(inode, source, !*used, shard);
	if (r) {
		*used = false;
		return r;
	}
	if (writable && !inode_write_handle(inode)) {
		become_writable(inode, handle);
		*used = true;
	}
	*result = inode;
	return 0;
}

int inode_get(struct folio_cache *cache, const struct file_source *source,
	struct stats_shard *shard, struct inode **result)
{
	bool probes = cache->io->features & FOLIO_IO_CAN_PROBE, used = false;
	struct spare *spare;
	void *handle;
	int r;

	if (probes && !(source->flags & O_EXCL)) {
		r = get_open(cache, source, shard, result);
		if (r != -ENOENT)
			return r;
	}
	spare = malloc(sizeof(*spare));
	if (!spare)
		return -ENOMEM;
	/*
	 * Without the lock: open may take long (a lease, a network file system), and other threads
	 * open and close other files in the meantime.
	 */
	r = backend_open(cache, source, 0, &handle);
	if (r < 0) {
		free(spare);
		return r;
	}
	pthread_mutex_lock(&cache->files_lock);
	r = get_opened(cache, source, handle, shard, result, &used);
	/* Another thread has opened the file since the probe: the locks must stay. */
	if (!r && !used && probes) {
		*spare = (struct spare){(*result)->spares, handle};
		(*result)->spares = spare;
		spare = NULL;
		used = true;
	}
	pthread_mutex_unlock(&cache->files_lock);
	free(spare);
	if (!used)
		cache->io->close(cache->io_context, handle);
	return r;
}

/*
 * The file's part of the floors of all files (evict/bounds.h) is for others from here on. A closed
 * file has no bounds.
 */
static void drop_bounds(struct inode *inode)
{
	struct folio_cache *cache = inode->cache;
	folio_u64 *floors = &cache->evict.floors;

	queues_lock(&cache->queues);
	folio_u64_store_relaxed(
		floors, folio_u64_load_relaxed(floors) - folio_u64_load_relaxed(&inode->floor));
	folio_u64_store_relaxed(&inode->floor, 0);
	folio_u64_store_relaxed(&inode->ceiling, 0);
	queues_unlock(&cache->queues);
}

void inode_put(struct inode *inode, bool keep, struct stats_shard *shard)
{
	struct folio_cache *cache = inode->cache;
	void *handle = inode->handle, *write_handle = inode_write_handle(inode);
	struct spare *spares = inode->spares, *spare;

	if (--inode->opens > 0)
		return;
	if (write_handle)
		dirty_detach(inode, true);
	inflight_drain(inode, NULL);
	FOLIO_PAUSE(drop_drained, NULL);
	drop_bounds(inode);
	if (!keep || !closed_keep(inode, shard))
		inode_forget(inode, shard);
	forget_excess(cache, cache->closed.max, shard);
	cache->io->close(cache->io_context, handle);
	if (write_handle && write_handle != handle)
		cache->io->close(cache->io_context, write_handle);
	while ((spare = spares)) {
		spares = spare->next;
		cache->io->close(cache->io_context, spare->handle);
		free(spare);
	}
}
