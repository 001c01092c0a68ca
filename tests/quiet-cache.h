/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * quiet-cache.h - what must be true of a cache while no call of the program runs, whatever calls
 * have failed before.
 *
 *	struct cache_limits limits = limits_of(cache);   of a cache in which no call has failed
 *	...                                              calls fail
 *	expect_quiet(cache, &limits);
 *
 * Each count is compared with what it counts: page frames with the pool and the queues, cached and
 * dirty folios with the trees, the shares of files with those of devices, nodes with their budget.
 * All locks are free. Nothing is in flight, pinned or held.
 *
 * Files may be open and have dirty pages, if these are not written by age. The program has no pin
 * and no private page. A lock that is never released makes the test hang; use an alarm.
 */
#ifndef FOLIO_TESTS_QUIET_CACHE_H
#define FOLIO_TESTS_QUIET_CACHE_H

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <folio/pins.h>
#include <folio/stats.h>

#include "cache/dirty.h"
#include "cache/inflight.h"
#include "cache/release.h"
#include "cache/thread.h"
#include "evict/limits.h"
#include "quiet-memory.h"

/* ---- limits ---- */

/* Limits that follow from the parameters and the budget alone. */
struct cache_limits {
	uint64_t pages, dirty, readahead, runs, slots, nodes, shadow_nodes;
};

static inline struct cache_limits limits_of(struct folio_cache *cache)
{
	return (struct cache_limits){
		.pages = folio_u64_load_relaxed(&cache->pages),
		.dirty = folio_u64_load_relaxed(&cache->writeback.pages_max),
		.readahead = folio_u32_load_relaxed(&cache->readahead_pages),
		.runs = cache->writeback.runs_max,
		.slots = folio_u32_load_relaxed(&cache->request_slots),
		.nodes = cache->tree_budget.nodes_max,
		.shadow_nodes = cache->tree_budget.nodes_shadow_max,
	};
}

static inline void expect_limits(struct folio_cache *cache, const struct cache_limits *expected)
{
	struct cache_limits now = limits_of(cache);

	assert_int_equal(now.pages, expected->pages);
	assert_int_equal(now.dirty, expected->dirty);
	assert_int_equal(now.readahead, expected->readahead);
	assert_int_equal(now.runs, expected->runs);
	assert_int_equal(now.slots, expected->slots);
	assert_int_equal(now.nodes, expected->nodes);
	assert_int_equal(now.shadow_nodes, expected->shadow_nodes);
}

/* Those of eviction follow from the pages that are not parked, give or take an eighth. */
static inline void expect_evict_limits(struct folio_cache *cache)
{
	const struct evict *evict = &cache->evict, *right;
	uint64_t pages, expected;
	struct folio_cache fresh;

	/* The next allocation would do that first. */
	limits_refresh(cache);
	queues_lock(&cache->queues);
	expected = folio_u64_load_relaxed(&cache->pages);
	assert_int_equal(evict->budget, expected);
	expected -= cache->queues.parked.pages;
	pages = folio_u64_load_relaxed(&evict->pages);
	queues_unlock(&cache->queues);
	assert_true((pages > expected ? pages - expected : expected - pages) <= pages / 8);

	right = &fresh.evict;
	queues_init(&fresh.queues);
	folio_u32_store_relaxed(
		&fresh.readahead_pages, folio_u32_load_relaxed(&cache->readahead_pages));
	evict_set_budget(&fresh, pages);
	queues_destroy(&fresh.queues);
#define EXPECT_SAME(field) \
	assert_int_equal(  \
		folio_u64_load_relaxed(&evict->field), folio_u64_load_relaxed(&right->field))
	EXPECT_SAME(ghost_pages);
	EXPECT_SAME(once_pages);
	EXPECT_SAME(low);
	EXPECT_SAME(high);
	EXPECT_SAME(readahead);
#undef EXPECT_SAME
	assert_int_equal(folio_u32_load_relaxed(&evict->order_max),
		folio_u32_load_relaxed(&right->order_max));
}

/* The floors of the open files, and what they may be. */
static inline void expect_floors(struct folio_cache *cache)
{
	uint64_t at = 0, floors = 0;
	struct inode *inode;

	while ((inode = next_open(cache, &at)))
		floors += folio_u64_load_relaxed(&inode->floor);
	assert_int_equal(folio_u64_load_relaxed(&cache->evict.floors), floors);
	assert_int_equal(folio_u64_load_relaxed(&cache->evict.floors_max),
		folio_u64_load_relaxed(&cache->pages) / 2);
}

/* ---- locks ---- */

/* A lock that only calls take. */
#define EXPECT_UNLOCKED(lock)                                     \
	do {                                                      \
		assert_int_equal(pthread_mutex_trylock(lock), 0); \
		pthread_mutex_unlock(lock);                       \
	} while (0)

/* A lock that threads of the library hold for a moment. */
static inline void expect_unlocked_soon(pthread_mutex_t *lock)
{
	pthread_mutex_lock(lock);
	pthread_mutex_unlock(lock);
}

static inline void expect_locks(struct folio_cache *cache)
{
	struct inode *inode;
	uint64_t at = 0;
	unsigned i;

	assert_int_equal(thread_locks.count, 0);
	EXPECT_UNLOCKED(&cache->resize_lock);
	EXPECT_UNLOCKED(&cache->files_lock);
	EXPECT_UNLOCKED(&cache->types_lock);
	while ((inode = next_open(cache, &at))) {
		assert_int_equal(pthread_rwlock_trywrlock(&inode->map_lock), 0);
		pthread_rwlock_unlock(&inode->map_lock);
		EXPECT_UNLOCKED(&inode->size_lock);
		EXPECT_UNLOCKED(&inode->syncs.lock);
		assert_int_equal(inode->syncs.begun, inode->syncs.ended);
		assert_int_equal(inode->syncs.rounds, inode->syncs.rounds_done);
		EXPECT_UNLOCKED(&inode->attr_lock);
		expect_unlocked_soon(&inode->tree.lock);
	}
	for (inode = cache->inodes_free; inode; inode = inode->next_free)
		expect_unlocked_soon(&inode->tree.lock);
	expect_unlocked_soon(&cache->tree_budget.lock);
	expect_unlocked_soon(&cache->queues.turn);
	expect_unlocked_soon(&cache->queues.lock);
	expect_unlocked_soon(&cache->writeback.lock);
	expect_unlocked_soon(&cache->pool.lock);
	for (i = 0; i < cache->pool.stock_count; i++)
		expect_unlocked_soon(&cache->pool.stock[i].lock);
}

/* No change of a folio has begun and not ended: readers would find its version odd for ever. */
static inline void expect_versions(const struct folio_cache *cache)
{
	struct inode *inode;
	uint64_t at = 0;

	while ((inode = next_open(cache, &at))) {
		uint64_t index = 0;
		void *entry;

		tree_lock(&inode->tree);
		while ((entry = tree_next_locked(&inode->tree, &index, TREE_INDEX_MAX))) {
			const struct folio *folio = entry_folio(entry);

			assert_false(folio_u64_load_relaxed(pool_version(&cache->pool, folio)) &
				     VERSION_CHANGING);
			index = folio_next_index(folio);
		}
		tree_unlock(&inode->tree);
	}
}

/* ---- what still runs ---- */

static inline bool flusher_is_idle(struct folio_cache *cache)
{
	struct writeback *writeback = &cache->writeback;
	struct writeback_device *device;
	bool idle;

	pthread_mutex_lock(&writeback->lock);
	idle = !writeback->current && !share_has(&writeback->share, SHARE_RUNS);
	for (device = writeback->devices; device; device = device->next)
		idle = idle && !folio_u32_load_relaxed(&device->wanted) &&
		       device->begun == device->ended && !device->list[DIRTY_WANTED].first;
	pthread_mutex_unlock(&writeback->lock);
	return idle && !(folio_u32_load_acquire(&writeback->wakeup) & WAKE_ALL);
}

/* No request is in flight, and no call that has outlived its caller runs. */
static inline bool files_are_idle(const struct folio_cache *cache)
{
	struct inode *inode;
	uint64_t at = 0;

	while ((inode = next_open(cache, &at)))
		if (folio_u32_load_acquire(&inode->detached) ||
			folio_u32_load_acquire(&inode->fills) & ~INODE_CLOSING)
			return false;
	return true;
}

/*
 * Waits until nothing is in flight, and returns with the queues' lock held: the evictor takes it
 * before it touches a folio.
 */
static inline void await_quiet(struct folio_cache *cache)
{
	folio_reaper_drain(cache);
	for (;;) {
		bool idle = flusher_is_idle(cache) && files_are_idle(cache);

		queues_lock(&cache->queues);
		if (idle && !folio_u32_load_acquire(&cache->progress.busy))
			return;
		queues_unlock(&cache->queues);
		sched_yield();
	}
}

/* ---- write-back ---- */

/* The lists of a device have the files that say so. Returns the number of its dirty pages. */
static inline uint64_t expect_device(
	const struct folio_cache *cache, const struct writeback_device *device)
{
	uint64_t at = 0, files = 0, listed = 0, dirty = 0;
	struct inode *inode;
	unsigned i;

	for (i = 0; i < DIRTY_LISTS; i++) {
		struct inode *const *last = &device->list[i].first;

		for (; *last; last = &(*last)->dirty_next, listed++)
			assert_ptr_equal((*last)->dirty_link, last);
		assert_ptr_equal(device->list[i].last, last);
	}
	assert_int_equal(device->pending[0] + device->pending[1], 0);
	while ((inode = next_open(cache, &at))) {
		if (inode->backing != device)
			continue;
		files++;
		dirty += share_has(&inode->share, SHARE_PAGES);
		listed -= folio_u32_load_relaxed(&inode->dirty_listed) == DIRTY_LISTED;
	}
	assert_int_equal(device->inodes, files);
	assert_int_equal(listed, 0);
	assert_int_equal(device->unvisited, 0);
	assert_false(device->visited);
	assert_int_equal(share_has(&device->share, SHARE_PAGES), dirty);
	assert_int_equal(share_has(&device->share, SHARE_RUNS), 0);
	return dirty;
}

/* Returns the number of dirty pages. */
static inline uint64_t expect_writeback(struct folio_cache *cache)
{
	struct writeback *writeback = &cache->writeback;
	const struct writeback_device *device;
	const struct writeback_run *run;
	uint64_t runs = 0, dirty = 0;

	for (run = writeback->free; run; run = run->next)
		runs++;
	assert_int_equal(runs, 64);
	for (device = writeback->devices; device; device = device->next)
		dirty += expect_device(cache, device);
	assert_int_equal(share_has(&writeback->share, SHARE_PAGES), dirty);
	assert_int_equal(folio_u64_load_relaxed(&writeback->pages_in_flight), 0);
	assert_int_equal(writeback->bounce.free_count, writeback->bounce.count);
	return dirty;
}

/* @limits: of a cache of the same parameters and budget in which no call has failed. */
static inline void expect_quiet(struct folio_cache *cache, const struct cache_limits *limits)
{
	struct folio_cache_stats stats = {.size = sizeof(stats)};
	uint64_t pages, dirty;

	await_quiet(cache);
	queues_unlock(&cache->queues);
	/* Not under the queues' lock: those of trees come before it. */
	expect_locks(cache);
	expect_versions(cache);
	await_quiet(cache);
	pages = expect_frames(cache);
	expect_files(cache, pages);
	dirty = expect_writeback(cache);
	queues_unlock(&cache->queues);
	assert_int_equal(folio_u32_load_relaxed(&cache->progress.holders), 0);
	assert_int_equal(folio_u32_load_relaxed(&cache->progress.waiters), 0);
	expect_limits(cache, limits);
	expect_evict_limits(cache);
	expect_floors(cache);
	assert_int_equal(folio_cache_stats(cache, &stats), 0);
	assert_int_equal(stats.pages, limits->pages);
	assert_int_equal(stats.pages_private, 0);
	assert_int_equal(stats.pages_dirty, dirty);
	assert_int_equal(stats.pages_writeback, 0);
	/* The evictor may have references for a moment. */
	while (folio_cache_pins(cache, NULL, NULL))
		sched_yield();
}

#endif
