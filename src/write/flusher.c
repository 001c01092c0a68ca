/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * flusher.c - the thread that writes back in the background, and throttling of writers.
 *
 * The flusher waits for no device. It visits the inodes that are due, starts runs for their dirty
 * folios as far as their shares of the runs go (core/share.h), and sleeps; the end of a run wakes
 * it if it has more to do. So a file whose writes take long does not delay the others.
 *
 * A pass over a device tells a waiting writer that nothing more will come. It has two stages: the
 * flusher visits all inodes that are listed when the pass begins; then it waits until the runs that
 * it has started so far have ended. These are told from later ones by their parity. In the
 * meantime, it visits the inodes that are due for another reason.
 *
 * A writer is throttled if at least half of what may be dirty is dirty, and its file has used up
 * its share of that. The writer waits for its own file, or its own device if that has used up its
 * share, too. It gets no error but that of its own file.
 */
#include "write/flusher.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "base/pause.h"
#include "base/spawn.h"
#include "cache/dirty.h"
#include "cache/thread.h"
#include "write/bounce.h"
#include "write/log.h"
#include "write/writeback.h"

#define AGE_MS_DEFAULT 5000

/* Pages that a write which leaves the hot set unchanged may make dirty, however small the cache. */
#define ONCE_PAGES_MIN 8

/* ---- the flusher ---- */

/* writeback->lock is held, here and in the functions below. */
static bool in_pass(const struct writeback_device *device)
{
	return device->begun != device->ended;
}

/* True if the inode has been listed for dirty_age_ms. */
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

/*
 * True if the flusher is to visit a listed inode now. In both lists, those that are due come first:
 * all wanted ones are, and the other list is in the order of age, except that an inode whose visit
 * is not finished is at its head. A pass visits what was listed when it began.
 */
static bool is_due(const struct writeback *writeback, const struct inode *inode)
{
	return folio_u32_load_relaxed(&inode->dirty_wanted) ||
	       (in_pass(inode->backing) && inode->dirty_pass == inode->backing->begun) ||
	       is_old(writeback, inode);
}

/*
 * The next inode in the list that is due and for which there is a run, or NULL. Those that are
 * skipped have runs in flight, so they are few.
 */
static struct inode *next_due(struct writeback *writeback, struct inode_list *list)
{
	struct inode *inode = list->first;
	bool may_run = inode && writeback_may_run(inode->backing, NULL);

	for (; inode && is_due(writeback, inode); inode = inode->dirty_next) {
		if (may_run && writeback_may_run(inode->backing, inode))
			return inode;
		writeback->blocked = true;
		if (!may_run)
			break;
	}
	return NULL;
}

/* Visit one inode of the list, if one is due. Releases the lock in the meantime. */
static bool visit_next(
	struct writeback *writeback, struct inode_list *list, struct stats_shard *shard)
{
	struct inode *inode = next_due(writeback, list);
	struct dirty_visit visit;
	bool done;

	if (!inode)
		return false;
	visit = dirty_visit_begin_locked(inode);
	pthread_mutex_unlock(&writeback->lock);
	/* A visit that continues has called before_writeback already. */
	done = (!inode->dirty_index && log_pass(inode, &pass_all, shard)) ||
	       write_range(inode, &inode->dirty_index, TREE_INDEX_MAX, shard);
	/*
	 * Folios that were locked, that were marked where the visit had been already, or whose
	 * changes have not been logged.
	 */
	if (done && dirty_in_range(inode, 0, UINT64_MAX))
		dirty_list(inode);
	pthread_mutex_lock(&writeback->lock);
	dirty_visit_end_locked(inode, visit, done);
	return true;
}

static void begin_pass(struct writeback_device *device)
{
	struct inode *inode;
	unsigned i;

	progress_begin(&device->cache->progress);
	device->begun++;
	device->unvisited = 0;
	for (i = 0; i < DIRTY_LISTS; i++) {
		for (inode = device->list[i].first; inode; inode = inode->dirty_next) {
			inode->dirty_pass = device->begun;
			device->unvisited++;
			/* An unfinished visit begins again: there may be dirty folios behind it. */
			inode->dirty_index = 0;
		}
	}
}

/* End a pass; another one begins if it was requested in the meantime. */
static void end_pass(struct writeback *writeback, struct writeback_device *device)
{
	device->ended = device->begun;
	device->visited = false;
	pthread_cond_broadcast(&writeback->change);
	/* First begin, then end: a thread that waits with progress_wait must not see the gap. */
	if (folio_u32_exchange_acquire(&device->wanted, 0)) {
		begin_pass(device);
		dirty_wake_flusher(writeback, WAKE_SOME);
	}
	progress_end(&device->cache->progress, false);
}

/* Do the next step for a device. Returns true if there may be more to do now. */
static bool flush_device(
	struct writeback *writeback, struct writeback_device *device, struct stats_shard *shard)
{
	bool more = false;
	unsigned i;

	if (!in_pass(device) && folio_u32_exchange_acquire(&device->wanted, 0))
		begin_pass(device);
	/* One of each, so that neither list, nor a device, has to wait until another is done. */
	for (i = 0; i < DIRTY_LISTS; i++)
		more |= visit_next(writeback, &device->list[i], shard);
	if (in_pass(device) && !device->visited && !device->unvisited) {
		device->visited = true;
		device->parity = !device->parity;
	}
	/* If not, the end of a run wakes the flusher (run_put). */
	if (device->visited && !device->pending[!device->parity])
		end_pass(writeback, device);
	return more;
}

/* The flusher. */
static void *background(void *arg)
{
	struct folio_cache *cache = arg;
	struct writeback *writeback = &cache->writeback;
	struct stats_shard *shard = thread_enter(cache, cache->id);

	while (!folio_u32_load_acquire(&writeback->stop)) {
		/* acquire: pairs with dirty_wake_flusher. */
		bool all = folio_u32_exchange_acquire(&writeback->wakeup, 0) & WAKE_ALL;
		struct writeback_device *device;
		bool more = false;

		FOLIO_PAUSE(thread_woken, NULL);
		pthread_mutex_lock(&writeback->lock);
		writeback->blocked = false;
		/* A device stays while the lock is held, or its inode is current. */
		for (device = writeback->devices; device; device = device->next) {
			if (all)
				folio_u32_store_relaxed(&device->wanted, 1);
			more |= flush_device(writeback, device, shard);
		}
		pthread_mutex_unlock(&writeback->lock);
		if (all)
			progress_end(&cache->progress, false);
		if (!more && !folio_u32_load_acquire(&writeback->stop))
			futex_wait_for(&writeback->wakeup, 0,
				writeback->age_ms == UINT32_MAX ? UINT32_MAX
								: writeback->age_ms / 4 + 1);
	}
	return NULL;
}

/* ---- throttling ---- */

/* What the shares of a file and of its device allow. */
struct allowance {
	uint64_t pages;   /* that the file may still make dirty */
	bool file_half;   /* the file has more than half of what it may have */
	bool device_most; /* the device has more than three quarters of what it may have */
	bool device_full; /* the device has all of it */
	bool once_full; /* the file might have more, but not for a write of this kind (most_for) */
};

/*
 * Dirty pages that a file may have for a write that leaves the hot set unchanged: as many as such
 * pages are not evicted first (evict/once.h). Further ones would take the place of others, since
 * they cannot be evicted before they are written.
 */
static uint64_t most_for(const struct call *call)
{
	uint64_t pages;

	if (likely(!call->once))
		return UINT64_MAX;
	pages = folio_u64_load_relaxed(&call->cache->evict.once_pages);
	return pages > ONCE_PAGES_MIN ? pages : ONCE_PAGES_MIN;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static struct allowance allowance(const struct call *call, const struct inode *inode)
{
	const struct writeback *writeback = &inode->cache->writeback;
	const struct share *share = &inode->share, *parent = share->parent;
	uint64_t all = folio_u64_load_relaxed(&writeback->pages_max);
	uint64_t period = folio_u64_load_relaxed(&writeback->period);
	uint64_t has = share_has(share, SHARE_PAGES), limit;
	uint64_t device_has = share_has(parent, SHARE_PAGES), most = most_for(call);

	all = share_limit(parent, SHARE_PAGES, all, period);
	limit = share_limit(share, SHARE_PAGES, all, period);
	return (struct allowance){
		.pages = least(limit, most) > has ? least(limit, most) - has : 0,
		.once_full = limit > has && most <= has,
		.file_half = has > least(limit, most) / 2,
		.device_most = device_has > all - all / 4,
		.device_full = device_has >= all,
	};
}

/*
 * Have the devices written that have more pages than they may have now: they are idle, or others
 * have become faster. Without that they would keep the pages until they are old.
 */
static void request_excess(struct writeback *writeback)
{
	uint64_t most = folio_u64_load_relaxed(&writeback->pages_max);
	uint64_t period = folio_u64_load_relaxed(&writeback->period);
	struct writeback_device *device;

	for (device = writeback->devices; device; device = device->next)
		if (share_has(&device->share, SHARE_PAGES) >
			share_limit(&device->share, SHARE_PAGES, most, period))
			dirty_request_pass(device);
}

/*
 * Returns true if a writer need not wait any longer, although its file has no pages left: what the
 * writer can cause was done. Its file has had @visits visits; or, if the device is full, pass @pass
 * over the device has ended. Otherwise requests it. Others may go on to write to the file, so that
 * a run is always in flight: a writer that has no pages only because it leaves the hot set
 * unchanged does not wait for that.
 */
static bool has_settled(
	struct inode *inode, const struct allowance *allowed, uint64_t visits, uint64_t pass)
{
	struct writeback_device *device = inode->backing;

	if (!allowed->device_full) {
		if (inode->dirty_visits < visits)
			dirty_request_visit_locked(inode);
		return inode->dirty_visits >= visits &&
		       (allowed->once_full || !share_has(&inode->share, SHARE_RUNS));
	}
	if (device->begun < pass)
		dirty_request_pass(device);
	return device->ended >= pass;
}

/* Wait until the file may make pages dirty, see flusher_throttle. Returns how many, or -errno. */
static int64_t wait_for_pages(const struct call *call, struct inode *inode)
{
	struct writeback *writeback = &call->cache->writeback;
	uint64_t visits, pass;
	uint32_t errors;
	int64_t r = 0;

	stats_add(call->shard, STAT_THROTTLED, 1);
	pthread_mutex_lock(&writeback->lock);
	request_excess(writeback);
	errors = inode->errors;
	/* Visits and passes that begin from here on find every folio that is dirty now. */
	visits = inode->dirty_visits + 1;
	if (writeback->current == inode || inode->dirty_index)
		visits++;
	pass = inode->backing->begun + 1;
	while (!r) {
		struct allowance allowed = allowance(call, inode);

		if (allowed.pages)
			r = (int64_t)allowed.pages;
		else if (inode->errors != errors)
			r = -inode->error;
		/*
		 * All folios of the file were written, or are locked by other threads. Others keep
		 * what is missing, and may for ever.
		 */
		else if (has_settled(inode, &allowed, visits, pass))
			r = 1;
		if (r)
			break;
		if (call->nowait)
			r = -EAGAIN;
		else if (!cond_wait_until(&writeback->change, &writeback->lock, call->until))
			r = -ETIMEDOUT;
	}
	pthread_mutex_unlock(&writeback->lock);
	return r;
}

int flusher_throttle(const struct call *call, struct inode *inode, uint64_t *pages)
{
	const struct writeback *writeback = &call->cache->writeback;
	struct allowance allowed;
	int64_t r;

	*pages = UINT64_MAX;
	/* A device has three quarters at rest, and a file three quarters of that (core/share.h). */
	if (likely(share_has(&writeback->share, SHARE_PAGES) <
		    folio_u64_load_relaxed(&writeback->pages_max) / 2) &&
		share_has(&inode->share, SHARE_PAGES) < most_for(call) / 2)
		return 0;
	allowed = allowance(call, inode);
	if (allowed.file_half)
		dirty_request_visit(inode);
	if (allowed.device_most)
		dirty_request_pass(inode->backing);
	*pages = allowed.pages;
	if (likely(allowed.pages))
		return 0;
	r = wait_for_pages(call, inode);
	if (r < 0)
		return (int)r;
	*pages = (uint64_t)r;
	return 0;
}

/* ---- creation ---- */

int flusher_create(struct folio_cache *cache, const struct folio_cache_params *params)
{
	struct writeback *writeback = &cache->writeback;
	unsigned i;

	writeback->pages_wanted = params->dirty_bytes >> FOLIO_PAGE_SHIFT;
	writeback->age_ms = params->dirty_age_ms ? params->dirty_age_ms : AGE_MS_DEFAULT;
	writeback->before = params->before_writeback;
	writeback->before_context = params->before_writeback_context;
	writeback->runs_max = params->io_depth < WRITEBACK_RUNS ? params->io_depth : WRITEBACK_RUNS;
	writeback->runs = calloc(WRITEBACK_RUNS, sizeof(*writeback->runs));
	if (writeback->before)
		writeback->sequences = calloc(cache->pool.pages, sizeof(*writeback->sequences));
	if (!writeback->runs || (writeback->before && !writeback->sequences) ||
		bounce_init(&writeback->bounce, cache->pool.pages)) {
		free(writeback->runs);
		free(writeback->sequences);
		return -ENOMEM;
	}
	for (i = 0; i < WRITEBACK_RUNS; i++) {
		writeback->runs[i].next = writeback->free;
		writeback->free = &writeback->runs[i];
	}
	log_init(&writeback->log);
	pthread_mutex_init(&writeback->lock, NULL);
	pthread_cond_init(&writeback->change, NULL);
	return 0;
}

int flusher_start(struct folio_cache *cache)
{
	struct writeback *writeback = &cache->writeback;
	int r = 0;

	if (!writeback->running) {
		r = spawn_thread(&writeback->thread, "folio-write", background, cache);
		writeback->running = r == 0;
	}
	return r;
}

void flusher_destroy(struct folio_cache *cache)
{
	struct writeback *writeback = &cache->writeback;

	if (writeback->running) {
		folio_u32_store_release(&writeback->stop, 1);
		dirty_wake_flusher(writeback, WAKE_SOME);
		pthread_join(writeback->thread, NULL);
	}
	pthread_cond_destroy(&writeback->change);
	pthread_mutex_destroy(&writeback->lock);
	log_destroy(&writeback->log);
	bounce_destroy(&writeback->bounce);
	free(writeback->sequences);
	free(writeback->runs);
}
