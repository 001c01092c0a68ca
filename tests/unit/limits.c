/* SPDX-License-Identifier: BSD-2-Clause */
/* The limits of eviction: the numbers for a budget, and that they count pages, not folios. */
#include "evict-world.h"
#include "cache/dirty.h"
#include "cache/thread.h"
#include "evict/evict.h"
#include "evict/limits.h"
#include "read/fill.h"

/* The largest order of a folio of a file: no read fills more. */
#define ORDER_MAX 8
_Static_assert(FILL_PAGES_MAX == 1 << ORDER_MAX, "as many pages as one read fills");

static void expect_limits(struct world *world, uint64_t pages, uint64_t low, unsigned order)
{
	struct evict *evict = &world->cache->evict;

	assert_int_equal(folio_u64_load_relaxed(&evict->pages), pages);
	assert_int_equal(folio_u64_load_relaxed(&evict->ghost_pages), pages - pages / 5);
	assert_int_equal(folio_u64_load_relaxed(&evict->low), low);
	assert_int_equal(folio_u64_load_relaxed(&evict->high), 2 * low);
	assert_int_equal(folio_u32_load_relaxed(&evict->order_max), order);
	/* What all windows may have, and then a quarter for one that is larger. */
	assert_int_equal(limits_readahead(world->cache), pages / 32);
	assert_int_equal(world->cache->queues.ahead_max, 2 * (pages / 32));
	folio_u32_store_relaxed(&world->cache->readahead_pages, UINT32_MAX);
	assert_int_equal(limits_readahead(world->cache), pages / 4);
	folio_u32_store_relaxed(&world->cache->readahead_pages, 0);
}

static void test_by_budget(void **state)
{
	static const struct {
		uint64_t pages, low;
		unsigned order;
	} limits[] = {{64, 8, 1}, {100, 12, 1}, {127, 15, 1}, {128, 16, 2}, {255, 31, 2},
		{256, 32, 3}, {1000, 32, 4}, {4096, 32, 7}, {4223, 32, 7}, {4224, 33, 7},
		{8192, 64, 8}, {16383, 127, 8}, {16384, 128, 9}, {65536, 512, 9}, {524287, 4095, 9},
		{524288, 4096, 9}, {1 << 20, 4096, 9}};
	struct world world;
	unsigned i;

	(void)state;
	evict_world_begin(&world, 64);
	expect_limits(&world, 64, 8, 1);
	for (i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		evict_set_budget(world.cache, limits[i].pages);
		expect_limits(&world, limits[i].pages, limits[i].low, limits[i].order);
	}
	evict_set_budget(world.cache, 64);
	world_end(&world);
}

/* Reads pages by one call; they come into as few folios as their number and place allow. */
static void read_pages(struct world *world, uint64_t first, uint64_t count)
{
	expect_read(world, first * PAGE, count * PAGE, 1);
}

/* Evicts all pages that are not pinned. A scan that does not wait examines some parked ones. */
static void evict_all(struct world *world, uint64_t left)
{
	struct folio_cache *cache = world->cache;
	struct stats_shard *shard = thread_enter(cache, cache->id);
	uint64_t pages = cache_stats(cache).pages;
	unsigned i = 0;

	/* A read may return before the last of its fills have queued their folios. */
	progress_drain(&cache->progress);
	do
		evict_until(cache, pages, true, shard);
	while (++i < 200 && cache_stats(cache).pages_free < pages - left);
	assert_int_equal(cache_stats(cache).pages_free, pages - left);
}

/*
 * A folio is missed after as many further pages were evicted as the limit allows, and after one
 * more. Its own pages count.
 */
static void test_ghost_horizon(void **state)
{
	unsigned order, late;

	(void)state;
	for (order = 0; order <= ORDER_MAX; order++) {
		uint64_t n = UINT64_C(1) << order, pages = order > 0 ? 32 * n : 64;
		uint64_t between = pages - pages / 5 - n, refaults = 0;
		struct world world;

		evict_world_begin(&world, pages);
		quiet_background(&world);
		for (late = 0; late < 2; late++) {
			read_pages(&world, n, n);
			assert_int_equal(cache_stats(world.cache).refaults, refaults);
			evict_all(&world, 0);
			read_pages(&world, (1 + late) * 16384, between + late);
			evict_all(&world, 0);
			assert_int_equal(cache_stats(world.cache).refaults, refaults);
			read_pages(&world, n, n);
			refaults += late ? 0 : n;
			assert_int_equal(cache_stats(world.cache).refaults, refaults);
			assert_int_equal(world.cache->queues.main.pages, late ? 0 : n);
			assert_int_equal(world.cache->queues.small.pages, late ? n : 0);
			evict_all(&world, 0);
			assert_int_equal(
				folio_file_invalidate(world.file, 0, FILE_PAGES * PAGE), 0);
		}
		world_end(&world);
	}
}

/* Takes the free pages, then reads a page, for which some folio is evicted. */
static void read_when_full(struct world *world, uint64_t index, struct folio **taken)
{
	struct folio_cache *cache = world->cache;

	while (cache_stats(cache).pages_free)
		assert_int_equal(folio_alloc(cache, 0, FOLIO_TYPE_PRIVATE, NULL,
					 &taken[cache_stats(cache).pages_private]),
			0);
	read_pages(world, index, 1);
}

/*
 * A few folios with more pages than the small queue's part are evicted first, although there are
 * more folios in the main queue; then those of the main queue.
 */
static void test_small_queue(void **state)
{
	enum { PAGES = 32 << ORDER_MAX, LARGE = 4, MAIN = 20 };
	static struct folio *taken[PAGES];
	struct world world;
	uint64_t i, before;

	(void)state;
	evict_world_begin(&world, PAGES);
	quiet_background(&world);
	for (i = 0; i < MAIN; i++)
		read_pages(&world, 2 * i, 1);
	evict_all(&world, 0);
	/* Refaults enter the main queue. */
	for (i = 0; i < MAIN; i++)
		read_pages(&world, 2 * i, 1);
	assert_int_equal(world.cache->queues.main.folios, MAIN);
	for (i = 0; i < LARGE; i++)
		read_pages(&world, 1024 + 256 * i, 256);
	assert_int_equal(world.cache->queues.small.folios, LARGE);
	before = cache_stats(world.cache).evictions;
	read_when_full(&world, 5000, taken);
	assert_int_equal(cache_stats(world.cache).evictions - before, 256);
	assert_int_equal(cached(&world, 0, 2 * MAIN), MAIN);
	assert_int_equal(cached(&world, 1024, 256), 0);
	read_when_full(&world, 6000, taken);
	assert_int_equal(cache_stats(world.cache).evictions - before, 257);
	assert_int_equal(cached(&world, 0, 1), 0);
	assert_int_equal(cached(&world, 1024, LARGE * 256), (LARGE - 1) * 256);
	for (i = cache_stats(world.cache).pages_private; i-- > 0;)
		folio_put(taken[i]);
	world_end(&world);
}

/* A quarter of the budget is pinned: the limits are those of the rest, until it is put. */
static void test_parked(void **state)
{
	enum { PAGES = 32 << ORDER_MAX, PINNED = PAGES / 4, REST = PAGES - PINNED };
	static struct folio *folio[PINNED];
	unsigned order;

	(void)state;
	for (order = 0; order <= ORDER_MAX; order++) {
		uint64_t n = UINT64_C(1) << order, i;
		struct world world;

		evict_world_begin(&world, PAGES);
		quiet_background(&world);
		for (i = 0; i < PINNED; i += n) {
			read_pages(&world, i, n);
			pin(&world, i, &folio[i / n]);
			assert_int_equal(folio_order(folio[i / n]), order);
		}
		assert_int_equal(folio_u64_load_relaxed(&world.cache->evict.pages), PAGES);
		evict_all(&world, PINNED);
		assert_int_equal(world.cache->queues.parked.pages, PINNED);
		assert_int_equal(world.cache->queues.parked.folios, PINNED / n);
		expect_limits(&world, REST, REST / 128, 7);
		quiet_background(&world);
		for (i = 0; i < PINNED; i += n)
			folio_put(folio[i / n]);
		evict_all(&world, 0);
		assert_int_equal(world.cache->queues.parked.pages, 0);
		/* The last few change no decision. */
		assert_in_range(folio_u64_load_relaxed(&world.cache->evict.pages),
			PAGES - PAGES / 8, PAGES);
		world_end(&world);
	}
}

/* A quarter of the budget may be dirty, or what the program asks for, a half at most. */
static void test_dirty(void **state)
{
	static const struct {
		uint64_t wanted, budget, pages;
	} cases[] = {{0, 64, 16}, {0, 16, 8}, {0, 8192, 2048}, {1, 64, 8}, {9, 64, 9}, {32, 64, 32},
		{33, 64, 32}, {(UINT64_C(1) << 32) + 9, 64, 32},
		{UINT64_MAX >> FOLIO_PAGE_SHIFT, 8192, 4096}};
	struct folio_cache_params params = {.size = sizeof(params), .bytes = 64 * PAGE};
	struct folio_cache *cache;
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		params.dirty_bytes = cases[i].wanted * PAGE;
		assert_int_equal(folio_cache_open(&params, &cache), 0);
		dirty_set_limit(cache, cases[i].budget);
		assert_int_equal(
			folio_u64_load_relaxed(&cache->writeback.pages_max), cases[i].pages);
		assert_int_equal(folio_cache_close(cache), 0);
	}
}

/* How much may be requested: the free pages above the mark, or what is left of the small queue. */
static void test_headroom(void **state)
{
	enum { PAGES = 1024, LOW = 32, SMALL = PAGES / 10 };
	struct folio *taken[2];
	struct world world;

	(void)state;
	evict_world_begin(&world, PAGES);
	assert_int_equal(evict_headroom(world.cache, 0, false), PAGES - LOW);
	assert_int_equal(evict_headroom(world.cache, 5000, false), PAGES - LOW);
	assert_int_equal(folio_alloc(world.cache, 9, FOLIO_TYPE_PRIVATE, NULL, &taken[0]), 0);
	assert_int_equal(evict_headroom(world.cache, 5000, false), PAGES / 2 - LOW);
	assert_int_equal(folio_alloc(world.cache, 9, FOLIO_TYPE_PRIVATE, NULL, &taken[1]), 0);
	assert_int_equal(evict_headroom(world.cache, 0, false), SMALL);
	assert_int_equal(evict_headroom(world.cache, 2, false), SMALL - 2);
	assert_int_equal(evict_headroom(world.cache, SMALL, false), 0);
	assert_int_equal(evict_headroom(world.cache, SMALL + 1, false), 0);
	folio_put(taken[0]);
	folio_put(taken[1]);
	world_end(&world);
}

/* A call that wants many pages gets them, but no more than a quarter of the budget. */
static void test_reserve(void **state)
{
	enum { PAGES = 1024 };
	struct stats_shard *shard;
	struct world world;

	(void)state;
	evict_world_begin(&world, PAGES);
	quiet_background(&world);
	touch_all(&world, 0, PAGES, 1);
	assert_int_equal(cache_stats(world.cache).pages_free, 0);
	shard = thread_enter(world.cache, world.cache->id);
	evict_reserve(world.cache, 7, shard);
	assert_int_equal(cache_stats(world.cache).pages_free, 7);
	evict_reserve(world.cache, 7, shard);
	assert_int_equal(cache_stats(world.cache).pages_free, 7);
	evict_reserve(world.cache, PAGES, shard);
	/* In batches. */
	assert_in_range(cache_stats(world.cache).pages_free, PAGES / 4, PAGES / 4 + EVICT_BATCH);
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_by_budget),
		cmocka_unit_test(test_ghost_horizon),
		cmocka_unit_test(test_small_queue),
		cmocka_unit_test(test_parked),
		cmocka_unit_test(test_dirty),
		cmocka_unit_test(test_headroom),
		cmocka_unit_test(test_reserve),
	};

	test_begin("limits");
	return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
