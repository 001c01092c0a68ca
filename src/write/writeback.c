/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * writeback.c - collecting dirty folios into runs, and writing these.
 *
 * A run is a set of adjacent dirty folios, written by one request. Its folios become clean when the
 * write succeeds, and dirty again when it fails (the state table is in cache/dirty.h).
 *
 * Write-back allocates no memory: the runs are allocated when the cache is opened, and folios are
 * written from their page frames. So it makes progress when every other thread finds no free page,
 * and the pages that it has written can be evicted.
 *
 * A thread takes a run only within the share of its file (core/share.h), so no file, however slow,
 * keeps the others from being written.
 */
#include "write/writeback.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/deadline.h"
#include "base/futex.h"
#include "base/pause.h"
#include "cache/dirty.h"
#include "cache/inflight.h"
#include "cache/inode.h"
#include "cache/size.h"
#include "cache/thread.h"

static void run_complete(struct folio_io_request *request, ssize_t result);

bool writeback_may_run(const struct writeback_device *device, const struct inode *inode)
{
	const struct writeback *writeback = &device->cache->writeback;
	uint64_t period = folio_u64_load_relaxed(&writeback->period), limit;

	limit = share_limit(&device->share, SHARE_RUNS, writeback->runs_max, period);
	if (share_has(&device->share, SHARE_RUNS) >= limit)
		return false;
	return !inode || share_has(&inode->share, SHARE_RUNS) <
				 share_limit(&inode->share, SHARE_RUNS, limit, period);
}

/*
 * Take a free run for an inode, within its share. @pending: as in write_range; NULL: for the
 * flusher, which does not wait: it gets NULL if there is none, and is woken when one becomes free.
 */
static struct writeback_run *run_get(struct inode *inode, folio_u32 *pending)
{
	struct writeback *writeback = &inode->cache->writeback;
	struct writeback_run *run = NULL;

	pthread_mutex_lock(&writeback->lock);
	while (pending && !writeback_may_run(inode->backing, inode))
		cond_wait_until(&writeback->change, &writeback->lock, NULL);
	if (pending || writeback_may_run(inode->backing, inode)) {
		/* Not NULL: runs_max is at most the number of runs. */
		run = writeback->free;
		writeback->free = run->next;
		share_take(&inode->share, SHARE_RUNS, 1);
		run->parity = inode->backing->parity;
		if (!pending)
			inode->backing->pending[run->parity]++;
	} else {
		writeback->blocked = true;
	}
	pthread_mutex_unlock(&writeback->lock);
	if (!run)
		return NULL;
	run->inode = inode;
	run->pending = pending;
	run->bytes = run->pages = run->sequence = 0;
	run->count = 0;
	run->request = (struct folio_io_request){
		.handle = inode_write_handle(inode),
		.iov = run->iov,
		.op = FOLIO_IO_WRITE,
		.complete = run_complete,
	};
	return run;
}

/*
 * Count pages written for the shares. In one period, as many are written as may be dirty.
 * writeback->lock is held.
 */
static void count_written(struct writeback *writeback, struct inode *inode, uint64_t pages)
{
	uint64_t period = folio_u64_load_relaxed(&writeback->period);

	share_wrote(&inode->share, pages, period);
	writeback->pages_written += pages;
	if (writeback->pages_written >= folio_u64_load_relaxed(&writeback->pages_max)) {
		writeback->pages_written = 0;
		folio_u64_store_relaxed(&writeback->period, period + 1);
	}
}

/* Return a run that has written @pages pages. */
static void run_put(struct writeback_run *run, uint64_t pages)
{
	struct writeback_device *device = run->inode->backing;
	struct writeback *writeback = &run->inode->cache->writeback;
	bool wake;

	pthread_mutex_lock(&writeback->lock);
	share_give(&run->inode->share, SHARE_RUNS, 1);
	if (pages)
		count_written(writeback, run->inode, pages);
	if (!run->pending)
		device->pending[run->parity]--;
	run->next = writeback->free;
	writeback->free = run;
	/* The flusher waits for a run, or for the end of a pass (flush_device). */
	wake = writeback->blocked || (device->visited && !device->pending[!device->parity]);
	pthread_cond_broadcast(&writeback->change);
	pthread_mutex_unlock(&writeback->lock);
	if (wake)
		dirty_wake_flusher(writeback, WAKE_SOME);
}

/* The write has ended. @error is 0, or a positive errno: then its folios become dirty again. */
static void run_finish(struct writeback_run *run, int error, struct stats_shard *shard)
{
	struct inode *inode = run->inode;
	struct folio_cache *cache = inode->cache;
	uint64_t end = run->request.offset + run->bytes;
	folio_u32 *pending = run->pending;
	bool freed = false;
	uint32_t i;

	if (error)
		stats_add(shard, STAT_WRITE_ERRORS, 1);
	tree_lock(&inode->tree);
	/*
	 * The error is recorded before any thread can see that the write has ended, so that it is
	 * reported to each that waited; and under the tree's lock, so that a thread to which it was
	 * reported finds the folios dirty, and can write them again.
	 */
	if (error) {
		dirty_record_error(inode, error);
		FOLIO_PAUSE(run_failed, NULL);
	}
	if (!error && end > folio_u64_load_relaxed(&inode->disk_size))
		/* release: pairs with sample_size (read/fill.c), whose read finds this data. */
		folio_u64_store_release(&inode->disk_size, end);
	for (i = 0; i < run->count; i++) {
		struct folio *folio = run->folio[i];

		tree_mark_clear_locked(&inode->tree, folio->index, TREE_WRITEBACK);
		if (error)
			tree_mark_set_locked(&inode->tree, folio->index, TREE_DIRTY);
		else
			dirty_clean_locked(inode, folio);
		/* release: pairs with folio_lock_wait: later stores follow the device's reads. */
		folio_flags_change(folio, FOLIO_WRITEBACK, error ? FOLIO_DIRTY : FOLIO_WRITTEN);
	}
	if (error)
		dirty_list(inode);
	else
		inode->unconfirmed = true;
	tree_unlock(&inode->tree);
	folio_u64_fetch_sub_relaxed(&cache->writeback.pages_in_flight, run->pages);
	if (!error)
		for (i = 0; i < run->count; i++)
			freed |= progress_put(run->folio[i]);
	run_put(run, error ? 0 : run->pages);
	progress_end(&cache->progress, freed);
	/*
	 * release: pairs with wait_pending. *pending may be gone from here on; a wake of a word
	 * that no thread waits for is harmless (base/futex.h).
	 */
	if (pending && folio_u32_fetch_sub_release(pending, 1) == 1)
		futex_wake(pending, INT_MAX);
	inflight_end(inode);
}

/* Completion of a run's request; called on a thread of the backend. A short write counts as EIO. */
static void run_complete(struct folio_io_request *request, ssize_t result)
{
	struct writeback_run *run =
		(struct writeback_run *)((char *)request - offsetof(struct writeback_run, request));
	struct folio_cache *cache = run->inode->cache;
	struct stats_shard *shard = thread_enter(cache, cache->id);

	slot_give(cache);
	run_finish(run, result < 0 ? (int)-result : result < (ssize_t)run->bytes ? EIO : 0, shard);
}

/*
 * Collect adjacent dirty folios from page *@index on, up to page @last, into @run. The caller holds
 * the tree's lock. *@index becomes the page at which to continue. A locked folio is skipped; but if
 * @busy is not NULL, the first one ends the run and is returned in *@busy, pinned.
 */
static void collect(struct writeback_run *run, struct inode *inode, uint64_t *index, uint64_t last,
	struct folio **busy)
{
	struct writeback *writeback = &inode->cache->writeback;

	while (run->count < WRITEBACK_FOLIOS && run->pages < WRITEBACK_PAGES && *index <= last) {
		uint64_t at = *index, start, bytes;
		void *entry = tree_next_marked_locked(&inode->tree, &at, last, TREE_DIRTY);
		struct folio *folio;
		uint32_t flags;

		if (!entry) {
			*index = last + 1;
			return;
		}
		folio = entry_folio(entry);
		start = folio->index << FOLIO_PAGE_SHIFT;
		if (run->count && start != run->request.offset + run->bytes)
			return;
		flags = folio_u32_load_relaxed(&folio->flags);
		if (flags & FOLIO_LOCKED) {
			if (busy) {
				/* In the tree, whose lock is held: the tree has a reference. */
				progress_hold(&inode->cache->progress);
				folio_ref_get(&folio->ref);
				*busy = folio;
				return;
			}
			*index = folio_next_index(folio);
			continue;
		}
		/*
		 * Past the fence: in truncation or punch. Past the end of the file: the larger size
		 * is about to be published. Both stay dirty.
		 */
		if (folio_next_index(folio) > inode->writeback_fence ||
			start >= folio_u64_load_acquire(&inode->size)) {
			*index = folio_next_index(folio);
			continue;
		}
		FOLIO_PAUSE(collect_seen, folio);
		/* acquire: pairs with folio_unlocked: the data stored under the lock is written. */
		if (!folio_u32_cas_acquire(
			    &folio->flags, &flags, (flags & ~FOLIO_DIRTY) | FOLIO_WRITEBACK))
			continue;
		tree_mark_clear_locked(&inode->tree, folio->index, TREE_DIRTY);
		tree_mark_set_locked(&inode->tree, folio->index, TREE_WRITEBACK);
		/*
		 * The size is loaded after the CAS: a writer that made the file longer in this
		 * folio stored the size before it unlocked the folio. (The file only becomes
		 * shorter past the fence.)
		 */
		bytes = folio_bytes_in_file(folio, folio_u64_load_relaxed(&inode->size));
		/*
		 * A program that changed the page in place may have stored data past the end that
		 * the file had then: it becomes zeros before it is written.
		 */
		if (unlikely(folio_u32_load_relaxed(&folio->valid) < bytes)) {
			pool_change_begin(&inode->cache->pool, folio);
			folio_zero_to(folio, bytes);
			pool_change_end(&inode->cache->pool, folio);
		}
		if (!run->count)
			run->request.offset = start;
		if (writeback->sequence) {
			uint64_t sequence =
				writeback->sequence[pool_page(&inode->cache->pool, folio)];

			if (sequence > run->sequence)
				run->sequence = sequence;
		}
		run->iov[run->count].iov_base = folio->data;
		run->iov[run->count].iov_len = bytes;
		run->folio[run->count++] = folio;
		run->bytes += bytes;
		run->pages += UINT64_C(1) << folio->order;
		*index = folio_next_index(folio);
	}
}

/* Submit a run that has folios, or finish it if before_writeback refuses it. */
static void run_start(struct writeback_run *run, struct stats_shard *shard)
{
	struct folio_io_request *request = &run->request;
	struct inode *inode = run->inode;
	struct folio_cache *cache = inode->cache;
	struct writeback *writeback = &cache->writeback;
	int r = 0;

	request->iov_count = run->count;
	folio_u64_fetch_add_relaxed(&writeback->pages_in_flight, run->pages);
	if (run->pending)
		folio_u32_fetch_add_relaxed(run->pending, 1);
	inflight_begin(inode);
	stats_add(shard, STAT_WRITES, 1);
	stats_add(shard, STAT_WRITE_BYTES, run->bytes);
	if (writeback->before)
		r = writeback->before(writeback->before_context, run->sequence);
	if (r) {
		run_finish(run, -r, shard);
	} else {
		slot_take(cache, true, NULL);
		cache->io->submit(cache->io_context, &request, 1);
	}
}

bool write_range(struct inode *inode, uint64_t *index, uint64_t last, folio_u32 *pending,
	struct stats_shard *shard)
{
	struct folio_cache *cache = inode->cache;

	if (last > TREE_INDEX_MAX)
		last = TREE_INDEX_MAX;
	while (*index <= last) {
		struct writeback_run *run = run_get(inode, pending);
		struct folio *busy = NULL;

		if (!run)
			return false;
		/* The references of the dirty state become the run's. */
		progress_begin(&cache->progress);
		tree_lock(&inode->tree);
		collect(run, inode, index, last, pending ? &busy : NULL);
		tree_unlock(&inode->tree);
		FOLIO_PAUSE(run_collected, NULL);
		if (run->count) {
			run_start(run, shard);
		} else {
			run_put(run, 0);
			progress_end(&cache->progress, false);
		}
		if (busy) {
			uint32_t flags = folio_u32_load_relaxed(&busy->flags);

			if (flags & FOLIO_LOCKED)
				folio_flags_wait(busy, flags, NULL);
			progress_unhold(&cache->progress, progress_put(busy));
		}
	}
	return true;
}

void wait_pending(folio_u32 *pending)
{
	uint32_t seen;

	/* acquire: pairs with the release in run_finish. */
	while ((seen = folio_u32_load_acquire(pending)))
		futex_wait(pending, seen);
}

void writeback_flush(struct inode *inode, uint64_t first, uint64_t last, struct stats_shard *shard)
{
	uint64_t index = first;
	folio_u32 pending;

	folio_u32_store_relaxed(&pending, 0);
	write_range(inode, &index, last, &pending, shard);
	wait_pending(&pending);
	dirty_wait_written(inode, first, last);
}

int writeback_clean(struct inode *inode, struct stats_shard *shard)
{
	uint32_t begin = dirty_error_count(inode);
	int error;

	/*
	 * Not during a truncation, whose fence keeps write-back from pages that are then left
	 * dirty.
	 */
	pthread_rwlock_rdlock(&inode->map_lock);
	writeback_flush(inode, 0, UINT64_MAX, shard);
	pthread_rwlock_unlock(&inode->map_lock);
	if (!dirty_any(inode))
		return 0;
	/* An error from before does not count: what is dirty may have been written since. */
	pthread_mutex_lock(&inode->cache->writeback.lock);
	error = inode->errors != begin ? inode->error : EBUSY;
	pthread_mutex_unlock(&inode->cache->writeback.lock);
	return -error;
}
