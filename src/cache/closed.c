/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * closed.c - files that no handle has open, and whose pages stay for the next open.
 *
 * Such a file holds no descriptor: it can be deleted, and its file system unmounted. Its inode
 * stays in the table of files, with its tree. The next open finds it by device and inode number. It
 * is the same file if the file handle, or the time of creation, is the same as at the close: the
 * inode number alone may be that of a new file by now. The mount must be the same, too: another
 * image may be mounted on the same device, with a file of the same handle, size and times. Then the
 * open compares size and times, as for a file that another handle has open (revalidate.h).
 *
 * So a file is kept only if its time of change proves that it has not changed. It does if every
 * change after the last query has another time: the change that it shows must be older than the
 * clock of the file system is coarse (revalidate_is_recent). The query is that of the last open or
 * revalidation, or, for a file that the cache has written, one at its close.
 *
 * The pages leave as those of open files do: an evictor, which has the tree's lock, moves an inode
 * that loses its last page to the list of those that the next open or close frees. It does so in
 * the same hold of that lock in which it accounts for the page, and closed_leave takes the lock: so
 * when an inode is freed, the evictor has left it.
 *
 * What the program has pinned does not stay: it may have locked the page to change it in place. The
 * pages of a file are examined for that only if the program has pinned one since the open.
 */
#include "cache/closed.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "cache/dirty.h"
#include "cache/drop.h"
#include "cache/identity.h"
#include "cache/inode.h"
#include "cache/revalidate.h"

static void list_init(struct inode_list *list)
{
	list->first = NULL;
	list->last = &list->first;
}

/* Append an inode to a list. The lock is held, here and below. */
static void append(struct inode_list *list, struct inode *inode)
{
	inode->closed_next = NULL;
	inode->closed_link = list->last;
	*list->last = inode;
	list->last = &inode->closed_next;
}

static void unlink_from(struct inode_list *list, struct inode *inode)
{
	*inode->closed_link = inode->closed_next;
	if (inode->closed_next)
		inode->closed_next->closed_link = inode->closed_link;
	else
		list->last = inode->closed_link;
}

void closed_init(struct closed_files *closed, uint64_t max)
{
	closed->max = max;
	pthread_mutex_init(&closed->lock, NULL);
	list_init(&closed->kept);
	list_init(&closed->emptied);
}

void closed_destroy(struct closed_files *closed)
{
	pthread_mutex_destroy(&closed->lock);
}

/*
 * Get what identifies the file, and record its attributes if the cache has written it. Returns
 * false if the next open could not prove that the file is the same and unchanged.
 */
static bool can_prove(struct inode *inode, struct folio_io_attr *identity)
{
	bool recent;

	if (revalidate_attr(inode->cache, inode->handle, IDENTITY_CLOSED, identity, &recent) < 0 ||
		!(identity->fields & FOLIO_IO_ATTR_CTIME) ||
		!(identity->fields & FOLIO_IO_ATTR_MOUNT) ||
		!(identity->fields & (FOLIO_IO_ATTR_HANDLE | FOLIO_IO_ATTR_BTIME)))
		return false;
	/* No other thread has the inode, so the lock of the attributes is not needed. */
	if (!inode_write_handle(inode))
		return !inode->attr_recent && !revalidate_differs(inode, identity);
	if (identity->size != folio_u64_load_relaxed(&inode->size) ||
		(!inode->changed && revalidate_differs(inode, identity)))
		return false;
	revalidate_record(inode, identity, recent);
	return !recent;
}

/* The inode is as a new one, except for what its pages need. The tree's lock is held. */
static void rest_locked(struct inode *inode)
{
	inode->handle = NULL;
	folio_ptr_store_relaxed(&inode->write_handle, NULL);
	folio_u64_store_relaxed(&inode->disk_size, UINT64_MAX);
	folio_u64_store_relaxed(&inode->writable_to, 0);
	folio_u8_store_relaxed(&inode->pinned, 0);
	inode->unconfirmed = inode->changed = false;
	inode->unsynced = inode->syncing = inode->never_synced = 0;
	inode->spares = NULL;
	inode->dirty_index = 0;
	folio_u32_store_relaxed(&inode->dirty_wanted, 0);
	folio_u32_store_relaxed(&inode->dirty_listed, DIRTY_UNLISTED);
	folio_u32_store_relaxed(&inode->fills, 0);
}

bool closed_keep(struct inode *inode, struct stats_shard *shard)
{
	struct closed_files *closed = &inode->cache->closed;
	struct folio_io_attr *identity;

	/*
	 * The file may have lost what the pages have: after a failed sync, and if a page was
	 * written, evicted and read again before the file system lost it.
	 */
	if (!closed->max || inode->lost || inode->flush_failed)
		return false;
	identity = malloc(sizeof(*identity));
	if (!identity || !can_prove(inode, identity)) {
		free(identity);
		return false;
	}
	/* The walk takes long in a large file. relaxed: pins of a handle end before its close. */
	if (folio_u8_load_relaxed(&inode->pinned))
		inode_drop_held(inode, shard);
	tree_lock(&inode->tree);
	/* A page that was changed in place, but could not be marked, has what the file has not. */
	inode->closed = !inode->unmarked && inode->pages;
	if (inode->closed) {
		rest_locked(inode);
		pthread_mutex_lock(&closed->lock);
		append(&closed->kept, inode);
		closed->files++;
		pthread_mutex_unlock(&closed->lock);
	}
	tree_unlock(&inode->tree);
	if (!inode->closed) {
		free(identity);
		return false;
	}
	inode->identity = identity;
	return true;
}

void closed_leave(struct inode *inode)
{
	struct closed_files *closed = &inode->cache->closed;

	tree_lock(&inode->tree);
	pthread_mutex_lock(&closed->lock);
	if (inode->pages) {
		unlink_from(&closed->kept, inode);
		closed->files--;
	} else {
		unlink_from(&closed->emptied, inode);
	}
	pthread_mutex_unlock(&closed->lock);
	inode->closed = false;
	tree_unlock(&inode->tree);
	free(inode->identity);
	inode->identity = NULL;
}

struct inode *closed_excess(struct folio_cache *cache, uint64_t max)
{
	struct closed_files *closed = &cache->closed;
	struct inode *inode;

	/* Only the caller, which has files_lock, frees an inode that it finds here. */
	pthread_mutex_lock(&closed->lock);
	inode = closed->emptied.first;
	if (!inode && closed->files > max)
		inode = closed->kept.first;
	pthread_mutex_unlock(&closed->lock);
	if (inode)
		closed_leave(inode);
	return inode;
}

void closed_emptied_locked(struct inode *inode)
{
	struct closed_files *closed = &inode->cache->closed;

	pthread_mutex_lock(&closed->lock);
	unlink_from(&closed->kept, inode);
	append(&closed->emptied, inode);
	closed->files--;
	pthread_mutex_unlock(&closed->lock);
}

uint64_t closed_count(struct closed_files *closed)
{
	uint64_t files;

	pthread_mutex_lock(&closed->lock);
	files = closed->files;
	pthread_mutex_unlock(&closed->lock);
	return files;
}
