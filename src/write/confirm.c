/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * confirm.c - asking the file system, before a file is closed, whether it has kept the data.
 *
 * Network file systems and FUSE may take a write into the memory of this machine, and find out only
 * at close(2) that the quota is used up or the device full. The data is then gone, and so would be
 * the handle. So the last close asks before (folio_io_ops.flush): if the file system has lost data,
 * the handle stays open, and the pages that were written are dirty again.
 */
#include "write/confirm.h"

#include <pthread.h>
#include <stdint.h>

#include "core/folio.h"
#include "core/walk.h"
#include "cache/dirty.h"
#include "cache/inode.h"
#include "cache/size.h"

/*
 * Has data been written since this was called last? *@first: the smallest sequence number of what
 * may be lost.
 */
static bool take_unconfirmed(struct inode *inode, uint64_t *first)
{
	bool had;

	tree_lock(&inode->tree);
	had = inode->unconfirmed;
	*first = sequence_first(inode->unsynced, inode->syncing);
	inode->unconfirmed = false;
	tree_unlock(&inode->tree);
	return had;
}

bool confirm_needed(struct inode *inode)
{
	bool needed;

	tree_lock(&inode->tree);
	needed = inode->unconfirmed;
	tree_unlock(&inode->tree);
	return needed && inode->cache->io->flush;
}

/*
 * From here to end, an open of the file does not return (inode_await_confirm): the descriptor that
 * is closed would drop the locks that the program takes on it. Returns false if another handle has
 * been opened since the caller found that it has the last one.
 */
static bool begin(struct inode *inode)
{
	bool last;

	pthread_mutex_lock(&inode->cache->files_lock);
	last = inode->opens - inode->opening == 1;
	inode->confirming = last;
	pthread_mutex_unlock(&inode->cache->files_lock);
	return last;
}

static void end(struct inode *inode)
{
	struct folio_cache *cache = inode->cache;

	pthread_mutex_lock(&cache->files_lock);
	inode->confirming = false;
	pthread_cond_broadcast(&cache->files_change);
	pthread_mutex_unlock(&cache->files_lock);
}

/*
 * Pin the next folio from page *index on that was written; NULL at the end of the file. Past it
 * there may be pages left of a folio that was split: they have no bytes to write.
 */
static struct folio *next_written(struct inode *inode, uint64_t *index)
{
	struct folio *found = NULL;
	uint64_t pages;
	void *entry;

	tree_lock(&inode->tree);
	/*
	 * acquire: pairs with truncate_locked, which stores the size before it drops pages: what
	 * becomes dirty past the new end in the meantime is dropped as well.
	 */
	pages = size_pages(folio_u64_load_acquire(&inode->size));
	while (!found && *index < pages &&
		(entry = tree_next_locked(&inode->tree, index, pages - 1))) {
		struct folio *folio = entry_folio(entry);

		/* A frozen one is about to leave the tree. */
		if (folio_u32_load_relaxed(&folio->flags) & FOLIO_WRITTEN &&
			folio_ref_try_get(&folio->ref))
			found = folio;
		*index = folio_next_index(folio);
	}
	tree_unlock(&inode->tree);
	return found;
}

/*
 * What was lost has numbers from @first on: the pages get this number, so that
 * folio_file_oldest_sequence counts them until they are written again and synced. That includes
 * pages that have changed since, and are dirty: their numbers are larger.
 */
static void dirty_written(struct inode *inode, uint64_t first)
{
	struct folio *folio;
	uint64_t index = 0;

	while ((folio = next_written(inode, &index))) {
		folio_lock_wait(folio, NULL);
		tree_lock(&inode->tree);
		/* Unless it has left the file since. */
		if (folio_ptr_load_relaxed(&folio->owner) == inode) {
			dirty_mark_locked(inode, folio);
			dirty_sequence_locked(inode, folio, first);
		}
		tree_unlock(&inode->tree);
		folio_unlocked(folio);
		folio_put(folio);
	}
}

int confirm_written(struct inode *inode)
{
	struct folio_cache *cache = inode->cache;
	uint64_t first = 0;
	int r = 0;

	if (!begin(inode))
		return 0;
	/* Before the query: what is written in its course is not confirmed by it. */
	if (take_unconfirmed(inode, &first))
		r = cache->io->flush(cache->io_context, inode_write_handle(inode));
	if (r) {
		tree_lock(&inode->tree);
		inode->unconfirmed = inode->flush_failed = true;
		/* A sync with a new handle may end before the pages are dirty (log_oldest). */
		first = sequence_first(first, sequence_first(inode->unsynced, inode->syncing));
		inode->lost_first = first;
		tree_unlock(&inode->tree);
	}
	end(inode);
	if (r) {
		dirty_written(inode, first);
		tree_lock(&inode->tree);
		inode->lost_first = 0;
		tree_unlock(&inode->tree);
	}
	return r;
}
