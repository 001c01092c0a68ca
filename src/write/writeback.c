/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * writeback.c - collecting dirty folios into runs, and writing these.
 *
 * A run is a set of adjacent dirty folios, written by one request. Its folios become clean when the
 * write succeeds, and dirty again when it fails (the state table is in cache/dirty.h).
 *
 * Write-back allocates no memory: the runs are allocated when the cache is opened, and folios are
 * written from their page frames, or from copies in frames of write-back's own (write/bounce.h). So
 * it makes progress when every other thread finds no free page, and the pages that it has written
 * can be evicted.
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
#include "io/attempt.h"
#include "io/file.h"
#include "write/bounce.h"

/* What a thread that writes dirty folios waits for. */
struct flush {
	struct pass pass;
	folio_u32 pending; /* atomic, futex word: runs in flight that the thread has submitted */
	/* The last run of the file that had begun when the thread found no further dirty folio. */
	uint64_t begun;
	bool skip; /* locked folios are skipped */
	bool late; /* folios whose changes have not been logged are taken, too (run_start) */
	bool left; /* out: such a folio was left */
	struct folio *busy; /* out of collect: a folio to wait for, pinned; or NULL */
};

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
 * Take a free run for an inode, within its share; with @wait, wait until there is one. @pending:
 * the counter of a thread that waits for its runs; NULL: for the flusher, which is woken when a run
 * becomes free.
 */
static struct writeback_run *run_get(struct inode *inode, folio_u32 *pending, bool wait)
{
	struct writeback *writeback = &inode->cache->writeback;
	struct writeback_run *run = NULL;

	pthread_mutex_lock(&writeback->lock);
	while (wait && !writeback_may_run(inode->backing, inode))
		cond_wait_until(&writeback->change, &writeback->lock, NULL);
	if (writeback_may_run(inode->backing, inode)) {
		/* Not NULL: runs_max is at most the number of runs. */
		run = writeback->free;
		writeback->free = run->next;
		share_take(&inode->share, SHARE_RUNS, 1);
		run->parity = inode->backing->parity;
		if (!pending)
			inode->backing->pending[run->parity]++;
	} else if (!pending) {
		writeback->blocked = true;
	}
	pthread_mutex_unlock(&writeback->lock);
	if (!run)
		return NULL;
	run->inode = inode;
	run->pending = pending;
	run->bytes = run->pages = 0;
	run->sequences = (struct sequences){.last = 0};
	run->count = run->copies = 0;
	run->here = false;
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
	bounce_put_locked(&writeback->bounce, run);
	run->next = writeback->free;
	writeback->free = run;
	/* The flusher waits for a run, or for the end of a pass (flush_device). */
	wake = writeback->blocked || (device->visited && !device->pending[!device->parity]);
	pthread_cond_broadcast(&writeback->change);
	pthread_mutex_unlock(&writeback->lock);
	if (wake)
		dirty_wake_flusher(writeback, WAKE_SOME);
}

/* A run has been collected. */
static void flights_add_locked(struct flights *flights, struct writeback_run *run)
{
	run->number = ++flights->begun;
	run->later = NULL;
	run->earlier = flights->last;
	if (run->earlier)
		run->earlier->later = run;
	else
		flights->first = run;
	flights->last = run;
}

/* A run has ended. Returns true if the caller must wake the threads that wait for it. */
static bool flights_remove_locked(struct flights *flights, struct writeback_run *run)
{
	bool wake = flights->awaited && flights->first == run;

	if (run->later)
		run->later->earlier = run->earlier;
	else
		flights->last = run->earlier;
	if (run->earlier)
		run->earlier->later = run->later;
	else
		flights->first = run->later;
	if (wake) {
		flights->awaited = false;
		folio_u32_fetch_add_relaxed(&flights->ended, 1);
	}
	return wake;
}

/* Wait until all runs of a file up to run @number have ended. */
static void flights_wait(struct inode *inode, uint64_t number)
{
	struct flights *flights = &inode->flights;

	tree_lock(&inode->tree);
	while (flights->first && flights->first->number <= number) {
		uint32_t seen = folio_u32_load_relaxed(&flights->ended);

		flights->awaited = true;
		tree_unlock(&inode->tree);
		futex_wait(&flights->ended, seen);
		tree_lock(&inode->tree);
	}
	tree_unlock(&inode->tree);
}

/* The write has ended. @error is 0, or a positive errno: then its folios become dirty again. */
static void run_finish(struct writeback_run *run, int error, struct stats_shard *shard)
{
	struct inode *inode = run->inode;
	struct folio_cache *cache = inode->cache;
	uint64_t end = run->request.offset + run->bytes;
	folio_u32 *pending = run->here ? NULL : run->pending;
	bool freed = false, awaited;
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
		bool dirty = error || folio_u32_load_relaxed(&folio->flags) & FOLIO_DIRTY;

		tree_mark_clear_locked(&inode->tree, folio->index, TREE_WRITEBACK);
		if (error) {
			tree_mark_set_locked(&inode->tree, folio->index, TREE_DIRTY);
			dirty_sequence_locked(inode, folio, run->of[i].first);
			dirty_sequence_locked(inode, folio, run->of[i].last);
		}
		/* Its reference is that of the dirty state again, and it may leave at any time. */
		if (dirty)
			run->folio[i] = NULL;
		else
			dirty_clean_locked(inode, folio);
		/* release: pairs with folio_lock_wait: later stores follow the device's reads. */
		folio_flags_change(
			folio, FOLIO_WRITEBACK | FOLIO_COPIED, error ? FOLIO_DIRTY : FOLIO_WRITTEN);
	}
	if (error) {
		dirty_list(inode);
		log_returned_locked(inode, run->sequences.first);
	} else {
		inode->unconfirmed = true;
		inode->unsynced = sequence_first(inode->unsynced, run->sequences.first);
	}
	awaited = flights_remove_locked(&inode->flights, run);
	tree_unlock(&inode->tree);
	if (awaited)
		futex_wake(&inode->flights.ended, INT_MAX);
	folio_u64_fetch_sub_relaxed(&cache->writeback.pages_in_flight, run->pages);
	for (i = 0; i < run->count; i++)
		if (run->folio[i])
			freed |= progress_put(run->folio[i]);
	run_put(run, error ? 0 : run->pages);
	progress_end(&cache->progress, freed);
	/*
	 * release: pairs with write_and_wait. *pending may be gone from here on; a wake of a word
	 * that no thread waits for is harmless (base/futex.h).
	 */
	if (pending && folio_u32_fetch_sub_release(pending, 1) == 1)
		futex_wake(pending, INT_MAX);
	inflight_end(inode);
}

/* The errno of a write with that result, or 0. A short write counts as EIO. */
static int run_error(const struct writeback_run *run, ssize_t result)
{
	return result < 0 ? (int)-result : result < (ssize_t)run->bytes ? EIO : 0;
}

/* Completion of a run's request; called on a thread of the backend. */
static void run_complete(struct folio_io_request *request, ssize_t result)
{
	struct writeback_run *run =
		(struct writeback_run *)((char *)request - offsetof(struct writeback_run, request));
	struct folio_cache *cache = run->inode->cache;
	struct stats_shard *shard = thread_enter(cache, cache->id);

	slot_give(cache);
	run_finish(run, run_error(run, result), shard);
}

/*
 * Must the folio be left for a later pass? Its changes have not been logged, or it is past the
 * fence, in truncation or punch; or past the end of the file: the larger size is about to be
 * published. The caller holds the tree's lock.
 */
static bool must_stay(struct inode *inode, const struct folio *folio, struct flush *flush)
{
	const struct writeback *writeback = &inode->cache->writeback;

	if (folio_next_index(folio) > inode->writeback_fence ||
		folio->index << FOLIO_PAGE_SHIFT >= folio_u64_load_acquire(&inode->size))
		return true;
	if ((flush && flush->late) ||
		log_allows(writeback, dirty_sequences_locked(inode, folio).last))
		return false;
	if (flush)
		flush->left = true;
	return true;
}

/*
 * Collect adjacent dirty folios from page *@index on, up to page @last, into @run. The caller holds
 * the tree's lock. *@index becomes the page at which to continue. A locked folio is skipped; but a
 * thread that waits for it gets the first one in flush->busy, pinned, which ends the run. So it is
 * with one whose copy is being written.
 */
static void collect(struct writeback_run *run, struct inode *inode, uint64_t *index, uint64_t last,
	struct flush *flush)
{
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
		if (flush && !pass_has(&flush->pass, dirty_sequences_locked(inode, folio))) {
			*index = folio_next_index(folio);
			continue;
		}
		start = folio->index << FOLIO_PAGE_SHIFT;
		if (run->count && start != run->request.offset + run->bytes)
			return;
		flags = folio_u32_load_relaxed(&folio->flags);
		/* In write-back, its copy is written: two writes of a page could change places. */
		if (flags & (FOLIO_LOCKED | FOLIO_WRITEBACK)) {
			if (flush && !flush->skip) {
				/* In the tree, whose lock is held: the tree has a reference. */
				progress_hold(&inode->cache->progress);
				folio_ref_get(&folio->ref);
				flush->busy = folio;
				return;
			}
			*index = folio_next_index(folio);
			continue;
		}
		if (must_stay(inode, folio, flush)) {
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
		run->of[run->count] = dirty_sequences_take_locked(inode, folio);
		run->sequences.first =
			sequence_first(run->sequences.first, run->of[run->count].first);
		if (run->sequences.last < run->of[run->count].last)
			run->sequences.last = run->of[run->count].last;
		run->iov[run->count].iov_base = folio->data;
		run->iov[run->count].iov_len = bytes;
		run->folio[run->count++] = folio;
		run->bytes += bytes;
		run->pages += UINT64_C(1) << folio->order;
		*index = folio_next_index(folio);
	}
}

/*
 * Write a run that has folios, or finish it if it is of a late pass and before_writeback refuses
 * it. @here: on this thread,
 * which then waits for the write; otherwise the run is submitted to the backend.
 */
static void run_start(struct writeback_run *run, bool here, struct stats_shard *shard)
{
	struct folio_io_request *request = &run->request;
	struct inode *inode = run->inode;
	struct folio_cache *cache = inode->cache;
	struct writeback *writeback = &cache->writeback;
	int r = 0;

	request->iov_count = run->count;
	run->here = here;
	folio_u64_fetch_add_relaxed(&writeback->pages_in_flight, run->pages);
	if (run->pending && !here)
		folio_u32_fetch_add_relaxed(run->pending, 1);
	inflight_begin(inode);
	stats_add(shard, STAT_WRITES, 1);
	stats_add(shard, STAT_WRITE_BYTES, run->bytes);
	/* Only if the pass is late: else the log is as far by now (must_stay). */
	if (!log_allows(writeback, run->sequences.last))
		r = log_await(writeback, run->sequences.last);
	if (r) {
		run_finish(run, -r, shard);
	} else if (here) {
		run_finish(run, run_error(run, io_file_run_masked(request)), shard);
	} else {
		slot_take(cache, true, NULL);
		cache->io->submit(cache->io_context, &request, 1);
	}
}

/*
 * May a thread that waits write to the file itself? Not where a write may wait for another process,
 * as with FUSE: the program's signals would wait, too.
 */
static bool may_run_here(struct inode *inode)
{
	const struct io_file *file = inode_write_handle(inode);

	return inode->cache->io_runs && !file->blocks;
}

/*
 * Collect the next dirty folios from page *@index on into @run. Returns false if there are none:
 * then the run has been put. @flush: NULL for the flusher.
 */
static bool run_fill(struct writeback_run *run, uint64_t *index, uint64_t last, struct flush *flush)
{
	struct inode *inode = run->inode;
	struct folio_cache *cache = inode->cache;

	/* The references of the dirty state become the run's. */
	progress_begin(&cache->progress);
	tree_lock(&inode->tree);
	collect(run, inode, index, last, flush);
	if (run->count)
		flights_add_locked(&inode->flights, run);
	if (flush)
		flush->begun = inode->flights.begun;
	tree_unlock(&inode->tree);
	FOLIO_PAUSE(run_collected, NULL);
	bounce_copy(run, flush && flush->late);
	if (run->count)
		return true;
	run_put(run, 0);
	progress_end(&cache->progress, false);
	return false;
}

/* Submit the run of write_range that is not started yet, if there is one. */
static void start_held(struct writeback_run **held, struct stats_shard *shard)
{
	if (*held)
		run_start(*held, false, shard);
	*held = NULL;
}

/*
 * One pass of a thread that waits: submits the dirty folios in runs. Waits for locked folios, and
 * for a free run when the share of the file is used up. The thread itself makes the last write, if
 * the backend is one of the library's: that saves two changes of threads.
 */
static void write_all(
	struct inode *inode, uint64_t *index, struct flush *flush, struct stats_shard *shard)
{
	struct folio_cache *cache = inode->cache;
	uint64_t last = flush->pass.last;
	/* Not started: if it is the last one, this thread writes it. */
	struct writeback_run *held = NULL;

	while (*index <= last) {
		struct writeback_run *run = run_get(inode, &flush->pending, !held);
		struct folio *busy;

		if (!run) {
			/* It may be the one that the next run_get waits for. */
			start_held(&held, shard);
			continue;
		}
		flush->busy = NULL;
		if (run_fill(run, index, last, flush)) {
			start_held(&held, shard);
			held = run;
		}
		busy = flush->busy;
		if (busy) {
			uint32_t flags = folio_u32_load_relaxed(&busy->flags);

			/* The thread that has the lock may wait for a page of the run. */
			start_held(&held, shard);
			if (flags & (FOLIO_LOCKED | FOLIO_WRITEBACK))
				folio_flags_wait(busy, flags, NULL);
			progress_unhold(&cache->progress, progress_put(busy));
		}
	}
	if (held)
		run_start(held, may_run_here(inode), shard);
}

bool write_range(struct inode *inode, uint64_t *index, uint64_t last, struct stats_shard *shard)
{
	while (*index <= last) {
		struct writeback_run *run = run_get(inode, NULL, false);

		if (!run)
			return false;
		if (run_fill(run, index, last, NULL))
			run_start(run, false, shard);
	}
	return true;
}

void writeback_help(struct inode *inode, struct stats_shard *shard)
{
	struct flush flush = {.pass = pass_all, .skip = true};
	struct writeback_run *run;
	uint64_t index = 0;

	if (!may_run_here(inode) || log_pass(inode, &pass_all, shard))
		return;
	run = run_get(inode, &flush.pending, false);
	if (run && run_fill(run, &index, TREE_INDEX_MAX, &flush))
		run_start(run, true, shard);
}

/*
 * Passes of a thread that waits. In the last one, folios that were marked again, with a larger
 * number, during each call of before_writeback so far are taken nevertheless: before_writeback is
 * called when they are in write-back, and writers wait for it unless there is a copy (bounce_copy).
 * So the number of passes is bounded.
 */
#define PASSES 3

/*
 * Write dirty folios, in @passes passes at most. Returns when those that the calling thread has
 * submitted are written. With more than one pass, the caller has map_lock, shared: between two
 * passes it is released, since before_writeback may wait for a thread that waits for it.
 */
static struct flush write_and_wait(
	struct inode *inode, const struct pass *pass, unsigned passes, struct stats_shard *shard)
{
	struct flush flush = {.pass = *pass};
	unsigned n = 1;
	uint32_t seen;
	int r;

	folio_u32_store_relaxed(&flush.pending, 0);
	for (;;) {
		uint64_t index = pass->first;

		flush.left = false;
		write_all(inode, &index, &flush, shard);
		if (!flush.left || n++ == passes)
			break;
		pthread_rwlock_unlock(&inode->map_lock);
		r = log_pass(inode, pass, shard);
		pthread_rwlock_rdlock(&inode->map_lock);
		if (r)
			break;
		flush.late = n == PASSES;
	}
	/* acquire: pairs with the release in run_finish. */
	while ((seen = folio_u32_load_acquire(&flush.pending)))
		futex_wait(&flush.pending, seen);
	return flush;
}

void writeback_flush(struct inode *inode, const struct pass *pass, struct stats_shard *shard)
{
	write_and_wait(inode, pass, PASSES, shard);
	dirty_wait_written(inode, pass->first, pass->last);
}

void writeback_flush_logged(struct inode *inode, const struct pass *pass, struct stats_shard *shard)
{
	write_and_wait(inode, pass, 1, shard);
	dirty_wait_written(inode, pass->first, pass->last);
}

void writeback_flush_begun(struct inode *inode, const struct pass *pass, struct stats_shard *shard)
{
	struct flush flush = write_and_wait(inode, pass, PASSES, shard);

	flights_wait(inode, flush.begun);
}

int writeback_clean(struct inode *inode, struct stats_shard *shard)
{
	uint32_t begin = dirty_error_count(inode);
	int error;

	if (!log_pass(inode, &pass_all, shard)) {
		/*
		 * Not during a truncation, whose fence keeps write-back from pages that are then
		 * left dirty.
		 */
		pthread_rwlock_rdlock(&inode->map_lock);
		writeback_flush(inode, &pass_all, shard);
		pthread_rwlock_unlock(&inode->map_lock);
	}
	if (!dirty_any(inode))
		return 0;
	/* An error from before does not count: what is dirty may have been written since. */
	pthread_mutex_lock(&inode->cache->writeback.lock);
	error = inode->errors != begin ? inode->error : EBUSY;
	pthread_mutex_unlock(&inode->cache->writeback.lock);
	return -error;
}
