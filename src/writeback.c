/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * writeback.c - runs of dirty folios are collected, written, and are clean or dirty again.
 *
 * Needs no memory: the requests are there from the beginning, folios are written where they lie. So write-back runs
 * where everything else finds no page, and what it writes can be evicted.
 */
#include "writeback.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "cache.h"
#include "io.h"
#include "pause.h"

#define AGE_MS_DEFAULT 5000

/* ---- dirty or not ---- */

/* The inode has dirty folios. The tree's lock is held: either the thread sees the mark, or we see that it has unlisted it. */
static void list(struct writeback *writeback, struct inode *inode)
{
	if (folio_u32_load_relaxed(&inode->dirty_listed))
		return;
	pthread_mutex_lock(&writeback->lock);
	inode->dirty_next = NULL;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &inode->dirty_since);
	*writeback->last = inode;
	writeback->last = &inode->dirty_next;
	folio_u32_store_relaxed(&inode->dirty_listed, 1);
	pthread_mutex_unlock(&writeback->lock);
}

static void unlist_locked(struct writeback *writeback, struct inode *inode)
{
	struct inode **at = &writeback->first;

	if (!folio_u32_load_relaxed(&inode->dirty_listed))
		return;
	while (*at != inode)
		at = &(*at)->dirty_next;
	*at = inode->dirty_next;
	if (writeback->last == &inode->dirty_next)
		writeback->last = at;
	folio_u32_store_relaxed(&inode->dirty_listed, 0);
}

void writeback_mark_locked(struct inode *inode, struct folio *folio)
{
	struct writeback *writeback = &inode->cache->writeback;
	uint64_t pages = UINT64_C(1) << folio->order;

	/* Only who has it locked sets or clears it, or the end of its write, which excludes him. */
	if (folio_u32_load_relaxed(&folio->flags) & FOLIO_DIRTY)
		return;
	folio_ref_get(&folio->ref);
	folio_u32_fetch_or_relaxed(&folio->flags, FOLIO_DIRTY);
	tree_mark_set_locked(&inode->tree, folio->index, TREE_DIRTY);
	inode->pages_dirty += pages;
	folio_u64_fetch_add_relaxed(&writeback->pages, pages);
	list(writeback, inode);
}

/* The tree's lock is held. */
static void clean_locked(struct inode *inode, const struct folio *folio)
{
	struct writeback *writeback = &inode->cache->writeback;
	uint64_t pages = UINT64_C(1) << folio->order;

	inode->pages_dirty -= pages;
	folio_u64_fetch_sub_relaxed(&writeback->pages, pages);
	if (writeback->sequence)
		writeback->sequence[pool_page(&inode->cache->pool, folio)] = 0;
}

bool writeback_forget_locked(struct inode *inode, struct folio *folio)
{
	if (!(folio_u32_load_relaxed(&folio->flags) & FOLIO_DIRTY))
		return false;
	folio_flags_change(folio, FOLIO_DIRTY, 0);
	clean_locked(inode, folio);
	return true;
}

/* ---- errors ---- */

uint32_t writeback_errors(struct inode *inode)
{
	struct writeback *writeback = &inode->cache->writeback;
	uint32_t errors;

	pthread_mutex_lock(&writeback->lock);
	errors = inode->errors;
	pthread_mutex_unlock(&writeback->lock);
	return errors;
}

static void fail(struct inode *inode, int error)
{
	struct writeback *writeback = &inode->cache->writeback;

	pthread_mutex_lock(&writeback->lock);
	inode->errors++;
	inode->error = error;
	pthread_mutex_unlock(&writeback->lock);
}

void writeback_lose(struct inode *inode, int error)
{
	struct writeback *writeback = &inode->cache->writeback;

	pthread_mutex_lock(&writeback->lock);
	inode->errors++;
	inode->error = inode->lost = error;
	pthread_mutex_unlock(&writeback->lock);
}

int writeback_tell(struct inode *inode, uint32_t begin, uint32_t *told)
{
	struct writeback *writeback = &inode->cache->writeback;
	int error = 0;

	pthread_mutex_lock(&writeback->lock);
	if (inode->errors != *told || inode->errors != begin)
		error = inode->error;
	if (inode->lost)
		error = inode->lost;
	*told = inode->errors;
	pthread_mutex_unlock(&writeback->lock);
	return error;
}

/* ---- runs ---- */

static struct writeback_run *run_get(struct writeback *writeback)
{
	struct writeback_run *run;

	pthread_mutex_lock(&writeback->lock);
	while (!(run = writeback->free))
		pthread_cond_wait(&writeback->change, &writeback->lock);
	writeback->free = run->next;
	pthread_mutex_unlock(&writeback->lock);
	return run;
}

static void run_put(struct writeback *writeback, struct writeback_run *run)
{
	pthread_mutex_lock(&writeback->lock);
	run->next = writeback->free;
	writeback->free = run;
	pthread_cond_broadcast(&writeback->change);
	pthread_mutex_unlock(&writeback->lock);
}

/* The write has ended: @error is 0, or positive and all folios stay dirty. */
static void run_end(struct writeback_run *run, int error, struct stats_shard *shard)
{
	struct inode *inode = run->inode;
	struct folio_cache *cache = inode->cache;
	struct writeback *writeback = &cache->writeback;
	uint64_t end = run->request.offset + run->bytes;
	folio_u32 *pending = run->pending;
	uint32_t i;

	if (error)
		stats_add(shard, STAT_WRITE_ERRORS, 1);
	tree_lock(&inode->tree);
	/*
	 * Before anybody can see that it has ended: who waited is told. Under the lock: who has been told finds the folios
	 * dirty, and writes them again.
	 */
	if (error) {
		fail(inode, error);
		FOLIO_PAUSE(run_failed, NULL);
	}
	if (!error && end > folio_u64_load_relaxed(&inode->disk_size))
		folio_u64_store_release(&inode->disk_size, end);
	for (i = 0; i < run->count; i++) {
		struct folio *folio = run->folio[i];

		tree_mark_clear_locked(&inode->tree, folio->index, TREE_WRITEBACK);
		if (error)
			tree_mark_set_locked(&inode->tree, folio->index, TREE_DIRTY);
		else
			clean_locked(inode, folio);
		/* release: what is next stored there is stored after it was read for the device. */
		folio_flags_change(folio, FOLIO_WRITEBACK, error ? FOLIO_DIRTY : 0);
	}
	if (error)
		list(writeback, inode);
	tree_unlock(&inode->tree);
	folio_u64_fetch_sub_relaxed(&writeback->pages_under_way, run->pages);
	if (!error)
		for (i = 0; i < run->count; i++)
			folio_put(run->folio[i]);
	run_put(writeback, run);
	if (error)
		evict_busy_cancel(&cache->evict);
	else
		evict_busy_end(&cache->evict);
	/* release: pairs with who waits. The word may be gone after this; a wake for nobody harms nobody (futex.h). */
	if (folio_u32_fetch_sub_release(pending, 1) == 1)
		futex_wake(pending, INT_MAX);
	inode_io_end(inode);
}

/* On a thread of the backend. */
static void run_complete(struct folio_io_request *request, ssize_t result)
{
	struct writeback_run *run =
		(struct writeback_run *)((char *)request - offsetof(struct writeback_run, request));
	struct folio_cache *cache = run->inode->cache;
	struct stats_shard *shard = thread_enter(cache, cache->id);

	if (!shard)
		shard = cache->shard_spare;
	room_give(cache);
	run_end(run, result < 0 ? (int)-result : result < (ssize_t)run->bytes ? EIO : 0, shard);
}

/* The end of a walk through a file: the page after the last one. */
static uint64_t after(const struct folio *folio)
{
	return folio->index + (UINT64_C(1) << folio->order);
}

/*
 * Take dirty folios side by side from page *index on into @run; the tree's lock is held. *index: where to go on. Those that
 * somebody has locked are left out; the first of them ends it with @busy, pinned, if @busy is not NULL.
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
				/* In the tree, whose lock is held: it has a reference. */
				folio_ref_get(&folio->ref);
				*busy = folio;
				return;
			}
			*index = after(folio);
			continue;
		}
		/* It is being truncated, or lies behind the end, which is about to be told. */
		if (after(folio) > inode->gate || start >= folio_u64_load_acquire(&inode->size)) {
			*index = after(folio);
			continue;
		}
		FOLIO_PAUSE(collect_seen, folio);
		/* acquire: pairs with folio_unlocked: what was stored under the lock is written. */
		if (!folio_u32_cas_acquire(
			    &folio->flags, &flags, (flags & ~FOLIO_DIRTY) | FOLIO_WRITEBACK))
			continue;
		tree_mark_clear_locked(&inode->tree, folio->index, TREE_DIRTY);
		tree_mark_set_locked(&inode->tree, folio->index, TREE_WRITEBACK);
		/*
		 * Only now: who made the file longer in this folio did so before he unlocked it. (It becomes shorter behind the
		 * gate only.)
		 */
		bytes = folio_share(folio, folio_u64_load_relaxed(&inode->size));
		/* In place, somebody may have written behind what was the end then: zeros before anything is written. */
		if (unlikely(folio_u32_load_relaxed(&folio->valid) < bytes)) {
			version_break(&folio->version);
			folio_reach(folio, bytes);
			version_settle(&folio->version);
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
		*index = after(folio);
	}
}

/* Write what is dirty of pages first .. last; *pending: runs in flight. */
static void write_range(struct inode *inode, uint64_t first, uint64_t last, bool settle,
	folio_u32 *pending, struct stats_shard *shard)
{
	struct folio_cache *cache = inode->cache;
	struct writeback *writeback = &cache->writeback;
	uint64_t index = first;

	if (last > TREE_INDEX_MAX)
		last = TREE_INDEX_MAX;
	while (index <= last) {
		struct writeback_run *run = run_get(writeback);
		struct folio_io_request *request = &run->request;
		struct folio *busy = NULL;
		int r = 0;

		run->inode = inode;
		run->pending = pending;
		run->bytes = run->pages = run->sequence = 0;
		run->count = 0;
		run->request = (struct folio_io_request){
			.handle = inode->write_handle,
			.iov = run->iov,
			.op = FOLIO_IO_WRITE,
			.complete = run_complete,
		};
		tree_lock(&inode->tree);
		collect(run, inode, &index, last, settle ? &busy : NULL);
		tree_unlock(&inode->tree);
		if (run->count) {
			run->request.iov_count = run->count;
			evict_busy_begin(&cache->evict);
			folio_u64_fetch_add_relaxed(&writeback->pages_under_way, run->pages);
			folio_u32_fetch_add_relaxed(pending, 1);
			inode_io_begin(inode);
			stats_add(shard, STAT_WRITES, 1);
			stats_add(shard, STAT_WRITE_BYTES, run->bytes);
			if (writeback->before)
				r = writeback->before(writeback->before_context, run->sequence);
			if (r) {
				run_end(run, -r, shard);
			} else {
				room_take(cache, true, NULL);
				cache->io->submit(cache->io_context, &request, 1);
			}
		} else {
			run_put(writeback, run);
		}
		if (busy) {
			uint32_t flags = folio_u32_load_relaxed(&busy->flags);

			if (flags & FOLIO_LOCKED)
				folio_flags_wait(busy, flags, NULL);
			folio_put(busy);
		}
	}
}

static void wait_pending(folio_u32 *pending)
{
	uint32_t seen;

	/* acquire: pairs with run_end. */
	while ((seen = folio_u32_load_acquire(pending)))
		futex_wait(pending, seen);
}

void writeback_wait(struct inode *inode, uint64_t first, uint64_t last)
{
	uint64_t index = first;

	if (last > TREE_INDEX_MAX)
		last = TREE_INDEX_MAX;
	while (index <= last) {
		struct folio *folio = NULL;
		uint32_t flags;
		void *entry;

		tree_lock(&inode->tree);
		entry = tree_next_marked_locked(&inode->tree, &index, last, TREE_WRITEBACK);
		if (entry) {
			folio = entry_folio(entry);
			folio_ref_get(&folio->ref);
		}
		tree_unlock(&inode->tree);
		if (!folio)
			break;
		while ((flags = folio_u32_load_acquire(&folio->flags)) & FOLIO_WRITEBACK)
			folio_flags_wait(folio, flags, NULL);
		index = after(folio);
		folio_put(folio);
	}
}

bool writeback_is_dirty(struct inode *inode, uint64_t first, uint64_t last)
{
	void *entry;

	tree_lock(&inode->tree);
	entry = tree_next_marked_locked(&inode->tree, &first, last, TREE_DIRTY);
	tree_unlock(&inode->tree);
	return entry != NULL;
}

void writeback_flush(struct inode *inode, uint64_t first, uint64_t last, struct stats_shard *shard)
{
	folio_u32 pending;

	folio_u32_store_relaxed(&pending, 0);
	write_range(inode, first, last, true, &pending, shard);
	wait_pending(&pending);
	writeback_wait(inode, first, last);
}

int writeback_clean(struct inode *inode, struct stats_shard *shard)
{
	uint64_t dirty;
	int error;

	writeback_flush(inode, 0, UINT64_MAX, shard);
	tree_lock(&inode->tree);
	dirty = inode->pages_dirty;
	tree_unlock(&inode->tree);
	if (!dirty)
		return 0;
	pthread_mutex_lock(&inode->cache->writeback.lock);
	error = inode->error;
	pthread_mutex_unlock(&inode->cache->writeback.lock);
	return error ? -error : -EBUSY;
}

/* ---- the thread ---- */

void writeback_kick(struct folio_cache *cache)
{
	struct writeback *writeback = &cache->writeback;
	uint32_t asleep = 0;

	if (folio_u64_load_relaxed(&writeback->pages) ==
			folio_u64_load_relaxed(&writeback->pages_under_way) ||
		folio_u32_load_relaxed(&writeback->wakeup))
		return;
	/* Counted as busy until the thread has done it: who waits for busy waits for that. */
	evict_busy_begin(&cache->evict);
	if (folio_u32_cas_relaxed(&writeback->wakeup, &asleep, 1))
		futex_wake(&writeback->wakeup, 1);
	else
		evict_busy_cancel(&cache->evict);
}

static bool is_old(const struct writeback *writeback, const struct inode *inode)
{
	struct timespec now;
	int64_t ms;

	if (writeback->age_ms == UINT32_MAX)
		return false;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	ms = (int64_t)(now.tv_sec - inode->dirty_since.tv_sec) * 1000 +
	     (now.tv_nsec - inode->dirty_since.tv_nsec) / 1000000;
	return ms >= (int64_t)writeback->age_ms;
}

/* Once through the inodes that are listed: all of them, or those that have been dirty for long. */
static void write_listed(struct folio_cache *cache, bool all, struct stats_shard *shard)
{
	struct writeback *writeback = &cache->writeback;
	struct inode *inode;
	uint64_t number;
	int error = 0;

	pthread_mutex_lock(&writeback->lock);
	number = ++writeback->walks;
	if (all)
		writeback->begun++;
	/* What could not be written is listed again, behind all others: there it ends. */
	while ((inode = writeback->first) && inode->dirty_walk != number &&
		(all || is_old(writeback, inode))) {
		uint32_t errors = inode->errors;
		bool dirty;

		unlist_locked(writeback, inode);
		inode->dirty_walk = number;
		writeback->current = inode;
		pthread_mutex_unlock(&writeback->lock);

		write_range(inode, 0, UINT64_MAX, false, &writeback->pending, shard);
		wait_pending(&writeback->pending);
		tree_lock(&inode->tree);
		dirty = inode->pages_dirty > 0;
		if (dirty)
			list(writeback, inode);
		tree_unlock(&inode->tree);

		pthread_mutex_lock(&writeback->lock);
		if (inode->errors != errors)
			error = inode->error;
		writeback->current = NULL;
		pthread_cond_broadcast(&writeback->change);
	}
	if (all) {
		writeback->ended++;
		writeback->pass_error = error;
	}
	pthread_cond_broadcast(&writeback->change);
	pthread_mutex_unlock(&writeback->lock);
}

static void *background(void *arg)
{
	struct folio_cache *cache = arg;
	struct writeback *writeback = &cache->writeback;
	struct stats_shard *shard = thread_enter(cache, cache->id);

	pthread_setname_np(pthread_self(), "folio-write");
	if (!shard)
		shard = cache->shard_spare;
	while (!folio_u32_load_acquire(&writeback->stop)) {
		bool all = folio_u32_exchange_acquire(&writeback->wakeup, 0);

		FOLIO_PAUSE(thread_woken, NULL);
		write_listed(cache, all, shard);
		if (all)
			evict_busy_cancel(&cache->evict);
		if (!folio_u32_load_acquire(&writeback->stop))
			futex_wait_for(&writeback->wakeup, 0,
				writeback->age_ms == UINT32_MAX ? UINT32_MAX
								: writeback->age_ms / 4 + 1);
	}
	return NULL;
}

static bool is_full(const struct writeback *writeback)
{
	return folio_u64_load_relaxed(&writeback->pages) >=
	       folio_u64_load_relaxed(&writeback->pages_max);
}

int writeback_throttle(
	struct folio_cache *cache, const struct timespec *until, struct stats_shard *shard)
{
	struct writeback *writeback = &cache->writeback;
	uint64_t pass;
	int r = 0;

	if (likely(folio_u64_load_relaxed(&writeback->pages) <=
		    folio_u64_load_relaxed(&writeback->pages_max) / 2))
		return 0;
	writeback_kick(cache);
	if (!is_full(writeback))
		return 0;
	stats_add(shard, STAT_THROTTLED, 1);
	pthread_mutex_lock(&writeback->lock);
	/* A pass that begins from here on has seen all that is dirty now. */
	pass = writeback->begun + 1;
	while (writeback->ended < pass && is_full(writeback)) {
		/* Under the lock: what is on its way now and makes this do nothing will tell when it has ended. */
		writeback_kick(cache);
		FOLIO_PAUSE(throttle_waits, NULL);
		if (!cond_wait_until(&writeback->change, &writeback->lock, until)) {
			r = ETIMEDOUT;
			break;
		}
	}
	/* Nothing less, and no error: what is dirty was locked by others. Who goes on is bounded by the budget. */
	if (!r && is_full(writeback))
		r = writeback->pass_error;
	pthread_mutex_unlock(&writeback->lock);
	return -r;
}

bool writeback_leave(struct inode *inode, bool wait)
{
	struct writeback *writeback = &inode->cache->writeback;
	bool left;

	pthread_mutex_lock(&writeback->lock);
	left = wait || writeback->current != inode;
	if (left) {
		unlist_locked(writeback, inode);
		while (writeback->current == inode)
			pthread_cond_wait(&writeback->change, &writeback->lock);
		/* The thread may have put it back. */
		unlist_locked(writeback, inode);
	}
	pthread_mutex_unlock(&writeback->lock);
	return left;
}

void writeback_pass(struct inode *inode, const struct timespec *until)
{
	struct writeback *writeback = &inode->cache->writeback;

	pthread_mutex_lock(&writeback->lock);
	while (writeback->current == inode)
		if (!cond_wait_until(&writeback->change, &writeback->lock, until))
			break;
	pthread_mutex_unlock(&writeback->lock);
}

void writeback_set_budget(struct folio_cache *cache, uint64_t budget)
{
	struct writeback *writeback = &cache->writeback;
	uint64_t pages = writeback->pages_wanted ? writeback->pages_wanted : budget / 4;

	/* Something has to be left for what is clean. */
	if (pages > budget / 2)
		pages = budget / 2;
	pthread_mutex_lock(&writeback->lock);
	folio_u64_store_relaxed(&writeback->pages_max, pages < 8 ? 8 : pages);
	/* Who waits may not have to any more. */
	pthread_cond_broadcast(&writeback->change);
	pthread_mutex_unlock(&writeback->lock);
}

int writeback_create(struct folio_cache *cache, const struct folio_cache_params *params)
{
	struct writeback *writeback = &cache->writeback;
	unsigned i;

	writeback->pages_wanted = params->dirty_bytes >> FOLIO_PAGE_SHIFT;
	writeback->age_ms = params->dirty_age_ms ? params->dirty_age_ms : AGE_MS_DEFAULT;
	writeback->before = params->before_writeback;
	writeback->before_context = params->before_writeback_context;
	writeback->last = &writeback->first;
	writeback->runs = calloc(WRITEBACK_RUNS, sizeof(*writeback->runs));
	if (writeback->before)
		writeback->sequence = calloc(cache->pool.pages, sizeof(*writeback->sequence));
	if (!writeback->runs || (writeback->before && !writeback->sequence)) {
		free(writeback->runs);
		free(writeback->sequence);
		return -ENOMEM;
	}
	for (i = 0; i < WRITEBACK_RUNS; i++) {
		writeback->runs[i].next = writeback->free;
		writeback->free = &writeback->runs[i];
	}
	pthread_mutex_init(&writeback->lock, NULL);
	pthread_cond_init(&writeback->change, NULL);
	return 0;
}

int writeback_start(struct folio_cache *cache)
{
	struct writeback *writeback = &cache->writeback;
	int r = 0;

	/* The cache's files_lock is held. */
	if (!writeback->running) {
		r = io_thread_start(&writeback->thread, "folio-write", background, cache);
		writeback->running = r == 0;
	}
	return r;
}

void writeback_destroy(struct folio_cache *cache)
{
	struct writeback *writeback = &cache->writeback;

	if (writeback->running) {
		folio_u32_store_release(&writeback->stop, 1);
		folio_u32_store_release(&writeback->wakeup, 1);
		futex_wake(&writeback->wakeup, 1);
		pthread_join(writeback->thread, NULL);
	}
	pthread_cond_destroy(&writeback->change);
	pthread_mutex_destroy(&writeback->lock);
	free(writeback->sequence);
	free(writeback->runs);
}
