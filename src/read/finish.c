/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * finish.c - step 5 of a fill (read/fill.c): its folios are published, or leave the file.
 */
#include "read/finish.h"

#include <string.h>

#include "base/pause.h"
#include "core/progress.h"
#include "core/queue.h"
#include "cache/dirty.h"
#include "cache/drop.h"
#include "cache/revalidate.h"
#include "cache/size.h"

/* folio->error has 16 bits: the verdict in the upper 4, the errno in the lower 12. */
#define ERROR_BITS 12
#define ERROR_MAX  ((1 << ERROR_BITS) - 1)

_Static_assert(PAGE_FAILED < 1 << (16 - ERROR_BITS), "the last verdict fits into folio->error");

static uint16_t error_pack(enum page_verdict verdict, int error)
{
	return (uint16_t)((unsigned)verdict << ERROR_BITS | (unsigned)-error);
}

enum page_verdict fill_verdict(const struct folio *folio, int *error)
{
	*error = -(folio->error & ERROR_MAX);
	return (enum page_verdict)(folio->error >> ERROR_BITS);
}

/*
 * fill_publish, without the insertion into a queue. A large folio that is not dirty is settling
 * until settle is called.
 */
static bool publish(
	struct inode *inode, struct folio *folio, uint64_t valid, uint64_t size, uint64_t sequence)
{
	uint32_t settling = !size && folio->order > 0 ? FOLIO_SETTLING : 0;
	bool in_tree = true;

	/*
	 * valid is data for readers that copy, and for those that pin the folio and find that the
	 * file has grown (lookup.h).
	 */
	pool_change_begin(&inode->cache->pool, folio);
	folio_u32_store_relaxed(&folio->valid, (uint32_t)valid);
	FOLIO_PAUSE(fill_read, folio);
	if (size) {
		tree_lock(&inode->tree);
		/* Unless another thread has invalidated it since. */
		in_tree = folio_ptr_load_relaxed(&folio->owner) != NULL;
		if (in_tree) {
			dirty_mark_locked(inode, folio);
			dirty_sequence_locked(inode, folio, sequence);
			/*
			 * While it is locked: write-back that finds the folio writes as far as the
			 * size.
			 */
			inode_grow_to(inode, size);
		}
	}
	/*
	 * From here on the folio may be copied. release: pairs with version_read_begin. A written
	 * page is dirty by now, so no thread drops what a reader has already seen.
	 */
	pool_change_end(&inode->cache->pool, folio);
	if (size)
		tree_unlock(&inode->tree);
	FOLIO_PAUSE(fill_settled, folio);
	/*
	 * folio_filled replaces all flags. dirty_mark_locked has set FOLIO_DIRTY already, and it
	 * must not be cleared.
	 */
	folio_filled(folio, FOLIO_UPTODATE | settling | (size && in_tree ? FOLIO_DIRTY : 0));
	FOLIO_PAUSE(fill_unlocked, folio);
	return in_tree;
}

/*
 * The filler is about to put its reference. Returns true if threads wait for that (get_single):
 * they are woken after the put, since a thread that is woken may run at once, in place of this one.
 */
static bool settle(struct folio *folio)
{
	uint32_t flags = folio_u32_load_relaxed(&folio->flags);

	if (!(flags & FOLIO_SETTLING))
		return false;
	/* relaxed: the reference tells whether the folio can be split. */
	while (!folio_u32_cas_relaxed(
		&folio->flags, &flags, flags & ~(FOLIO_SETTLING | FOLIO_WAITERS)))
		continue;
	return flags & FOLIO_WAITERS;
}

bool fill_publish(
	struct inode *inode, struct folio *folio, uint64_t valid, uint64_t size, uint64_t sequence)
{
	struct folio_cache *cache = inode->cache;
	bool in_tree = publish(inode, folio, valid, size, sequence);

	queue_insert(&cache->queues, &cache->pool, &folio, 1);
	return in_tree;
}

/* Step 5 for one folio, failure. @error: with PAGE_FAILED, -errno; else 0. */
static void fill_fail(
	struct inode *inode, struct folio *folio, enum page_verdict verdict, int error)
{
	bool in_tree;

	folio->error = error_pack(verdict, error);
	tree_lock(&inode->tree);
	/* Another thread may have invalidated it since, and dropped the tree's reference. */
	in_tree = folio_ptr_load_relaxed(&folio->owner) != NULL;
	if (in_tree)
		inode_erase_locked(inode, folio);
	tree_unlock(&inode->tree);
	FOLIO_PAUSE(fill_erased, folio);
	folio_filled(folio, FOLIO_ERROR);
	if (in_tree)
		folio_put(folio);
}

/* How many bytes the read must have returned, by the known size of the file. */
static uint64_t fill_expected(const struct fill *fill)
{
	uint64_t size = folio_u64_load_acquire(&fill->inode->size), offset = fill->request.offset;
	uint64_t pages = fill->pages << FOLIO_PAGE_SHIFT;

	if (size > fill->disk_size)
		size = fill->disk_size;

	if (size <= offset)
		return 0;
	return size - offset < pages ? size - offset : pages;
}

/* The verdict on a page whose read failed. */
static enum page_verdict read_failed(const struct fill *fill)
{
	return fill->pages > 1 ? PAGE_READ_SINGLY : PAGE_FAILED;
}

/*
 * Step 5 for one folio. The read returned its first @done bytes, and the file has @size bytes for
 * readers. Returns the verdict on the folio; with PAGE_FAILED, the error is -EIO.
 *
 * A folio that another thread has dropped since is used only by the threads that already wait for
 * it: they get what the file had when it was read. A folio that is still in the tree must have all
 * that the file has now.
 */
static enum page_verdict finish_folio(
	const struct fill *fill, struct folio *folio, uint64_t done, uint64_t size)
{
	struct inode *inode = fill->inode;
	uint64_t disk_size = fill->disk_size;
	uint64_t start = folio->index << FOLIO_PAGE_SHIFT, bytes = folio_size(folio), valid, has;
	enum page_verdict verdict = PAGE_READY;

	/*
	 * During a truncation the file has more bytes than readers may see, and keeps them if the
	 * backend refuses to truncate. After a successful one it no longer has them; if this fill
	 * had sampled the size before, the truncation waits for its end.
	 */
	has = folio_u64_load_acquire(&inode->disk_size);
	if (has == UINT64_MAX || has < size)
		has = size;

	if (done > bytes)
		done = bytes;
	valid = done;
	if (folio_ptr_load_relaxed(&folio->owner)) {
		/*
		 * The file no longer has this page. It must not stay as a page of zeros, which a
		 * reader would find when the file grows.
		 */
		if (start >= size)
			verdict = PAGE_PAST_END;
		/* The backend read too little, and the missing bytes must not become zeros. */
		else if (done < bytes && start + done < (size < disk_size ? size : disk_size))
			verdict = read_failed(fill);
		/*
		 * The cache has made the file longer: past the end of the backend's file it reads
		 * as zeros.
		 */
		else if (size > disk_size)
			valid = bytes < size - start ? bytes : size - start;
		/*
		 * Bytes by which the file has grown are read once the new size is known. If the
		 * file shrinks before that, no thread requests them.
		 */
		else if (valid > has - start)
			valid = has - start;
	}
	if (verdict != PAGE_READY) {
		fill_fail(inode, folio, verdict, verdict == PAGE_FAILED ? -EIO : 0);
		return verdict;
	}
	/*
	 * Past the end of the file the folio reads as zeros. version_write_begin again: it must be
	 * called by the thread that stores the data, which is this one (core/version.h).
	 */
	if (done < bytes) {
		pool_change_begin(&inode->cache->pool, folio);
		memset((char *)folio->data + done, 0, bytes - done);
	}
	publish(inode, folio, valid, 0, 0);
	return PAGE_READY;
}

enum page_verdict fill_finish_folios(
	struct call *call, struct fill *fill, enum page_verdict failed, uint64_t done, bool keep)
{
	struct inode *inode = fill->inode;
	struct folio_cache *cache = inode->cache;
	enum page_verdict first = failed;
	/*
	 * acquire: pairs with inode_revalidate (release). A larger size is seen only with the folio
	 * dropped.
	 */
	uint64_t size = folio_u64_load_acquire(&inode->size);
	bool bad = false;
	int error = call->error;
	uint32_t i;

	for (i = 0; i < fill->count; i++) {
		struct folio *folio = fill->folio[i];
		uint64_t bytes = fill->iov[i].iov_len;
		enum page_verdict verdict = failed;

		if (verdict != PAGE_READY)
			fill_fail(inode, folio, verdict, verdict == PAGE_FAILED ? error : 0);
		else
			verdict = finish_folio(fill, folio, done, size);
		done -= done < bytes ? done : bytes;
		bad = bad || verdict == PAGE_FAILED || verdict == PAGE_READ_SINGLY;
		if (i == 0)
			first = verdict;
	}
	/* All at once, for the lock. Those that have failed are in no file, and are not queued. */
	if (failed == PAGE_READY)
		queue_insert(&cache->queues, &cache->pool, fill->folio, fill->count);
	for (i = 0; i < fill->count; i++) {
		bool waiters = settle(fill->folio[i]);

		if (i > 0 || !keep || first != PAGE_READY) {
			progress_end(&cache->progress, progress_put(fill->folio[i]));
		} else {
			progress_hold(&cache->progress);
			progress_end(&cache->progress, false);
		}
		/* The folio may be in another use by now (folio_filled). */
		if (waiters)
			futex_wake(&fill->folio[i]->flags, INT_MAX);
	}
	if (bad)
		stats_add(call->shard, STAT_FILL_ERRORS, 1);
	if (first == PAGE_FAILED && failed == PAGE_READY)
		call->error = -EIO;
	return first;
}

enum page_verdict fill_finish(struct call *call, struct fill *fill, ssize_t result, bool keep)
{
	enum page_verdict failed = PAGE_READY;
	uint64_t done = result < 0 ? 0 : (uint64_t)result;
	int error = result < 0 ? (int)result : 0;

	/*
	 * The read returned fewer bytes than the file is known to have: the file has shrunk. In
	 * that case this drops the folios, too.
	 */
	if (!error && done < fill_expected(fill))
		error = inode_revalidate(fill->inode, false, call->shard);
	if (error < 0) {
		failed = read_failed(fill);
		/* A backend that returns a number that is no errno has failed all the same. */
		call->error = error < -ERROR_MAX ? -EIO : error;
	}
	return fill_finish_folios(call, fill, failed, done, keep);
}
