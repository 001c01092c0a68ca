/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Eviction: pinned pages are passed over, and when all pages are pinned callers are refused. Pages
 * are also evicted for the nodes of the trees.
 */
#include "evict-world.h"
#include "cache/thread.h"
#include "evict/evict.h"

/*
 * Pinned pages are passed over, whatever part of the budget they are and whichever queue they are
 * in.
 */
static void test_pinned(void **state)
{
	static const unsigned counts[] = {1, 6, 7, 32, 57, 58, 60, 62, 63};
	struct folio *folio[64];
	unsigned c, i, hot;

	(void)state;
	for (hot = 0; hot < 2; hot++) {
		for (c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
			struct world world;

			evict_world_begin(&world, 64);
			for (i = 0; i < counts[c]; i++) {
				pin(&world, 7 * i, &folio[i]);
				touch_all(&world, 7 * i, 1, hot ? 3 : 0);
			}
			touch_all(&world, 1000, 500, 1);
			for (i = 0; i < counts[c]; i++)
				expect_intact(&world, 7 * i, folio[i]);
			for (i = 0; i < counts[c]; i++)
				folio_put(folio[i]);
			touch_all(&world, 2000, 500, 1);
			assert_int_equal(cache_stats(world.cache).out_of_memory, 0);
			world_end(&world);
		}
	}
}

/*
 * With everything pinned, every call that needs a page fails soon; hits still work; any one page
 * that is put is enough.
 */
static void test_all_pinned(void **state)
{
	struct folio_range range = {.offset = 3000 * PAGE, .len = 10 * PAGE};
	struct folio_cache_stats before, after;
	struct folio *folio[64], *more = NULL;
	struct world world;
	char buf[2 * FOLIO_PAGE_SIZE];
	unsigned i;

	(void)state;
	evict_world_begin(&world, 64);
	for (i = 0; i < 64; i++)
		pin(&world, 3 * i, &folio[i]);
	assert_int_equal(cache_stats(world.cache).pages_free, 0);
	for (i = 0; i < 100; i++) {
		before = cache_stats(world.cache);
		assert_int_equal(folio_file_read(world.file, buf, 64, (1000 + i) * PAGE), -ENOMEM);
		after = cache_stats(world.cache);
		assert_int_equal(after.out_of_memory, before.out_of_memory + 1);
		/*
		 * The effort: this thread, and perhaps the background thread, examines each folio a
		 * few times.
		 */
		assert_true(after.evict_busy - before.evict_busy <= 2 * (4 * 64 + 64));
		assert_int_equal(after.evictions, before.evictions);
		assert_int_equal(folio_file_get(world.file, 1000 + i, 0, &more), -ENOMEM);
		assert_int_equal(
			folio_file_get(world.file, 1000 + i, FOLIO_GET_NOWAIT, &more), -ENOMEM);
		assert_int_equal(
			folio_file_read_nowait(world.file, buf, 64, (1000 + i) * PAGE), -ENOMEM);
		assert_int_equal(folio_file_prefetch(world.file, &range, 1), 0);
		assert_int_equal(
			folio_alloc(world.cache, 0, FOLIO_TYPE_PRIVATE, NULL, &more), -ENOMEM);
		assert_null(more);
		touch(&world, 3 * (i % 64));
	}
	/* Cached bytes are returned before the error. */
	assert_int_equal(folio_file_read(world.file, buf, sizeof(buf), 0), PAGE);
	assert_true(io_fault_check(world.contents, 0, buf, PAGE, NULL, NULL));
	for (i = 0; i < 64; i++) {
		folio_put(folio[i]);
		touch_all(&world, 5000 + 20 * i, 10, 1);
		pin(&world, 3 * i, &folio[i]);
		assert_int_equal(folio_file_read(world.file, buf, 64, 2000 * PAGE), -ENOMEM);
	}
	for (i = 0; i < 64; i++) {
		expect_intact(&world, 3 * i, folio[i]);
		folio_put(folio[i]);
	}
	touch_all(&world, 1000, 200, 1);
	world_end(&world);
}

/*
 * Pins come and go on every page while others read: no pinned page is reused, and all others are.
 */
static void *pin_and_check(void *arg)
{
	struct worker *worker = arg;
	struct shared *shared = worker->shared;
	struct folio *mine[8];
	uint64_t index[8];
	unsigned count = 0, i;

	for (i = 0; i < shared->steps; i++) {
		if (count < 8 && random_below(&worker->random, 2)) {
			index[count] = random_below(&worker->random, 300);
			if (folio_file_get(shared->world.file, index[count], 0, &mine[count]))
				folio_u32_fetch_add_relaxed(&shared->failures, 1);
			else
				count++;
		} else if (count) {
			unsigned which = (unsigned)random_below(&worker->random, count);

			if (!io_fault_check(shared->world.contents, index[which] * PAGE,
				    folio_page(mine[which], index[which]), PAGE, NULL, NULL))
				folio_u32_fetch_add_relaxed(&shared->failures, 1);
			folio_put(mine[which]);
			mine[which] = mine[--count];
			index[which] = index[count];
		}
	}
	while (count)
		folio_put(mine[--count]);
	return NULL;
}

static void test_pins_come_and_go(void **state)
{
	struct shared shared = {.steps = scaled(20000)};
	struct worker worker[THREADS];
	unsigned i;

	(void)state;
	evict_world_begin(&shared.world, 64);
	for (i = 0; i < THREADS; i++) {
		worker[i] = (struct worker){.shared = &shared, .random = test_seed + i};
		assert_int_equal(pthread_create(&worker[i].thread, NULL,
					 i ? pin_and_check : read_one_page_each, &worker[i]),
			0);
	}
	for (i = 0; i < THREADS; i++)
		pthread_join(worker[i].thread, NULL);
	assert_int_equal(folio_u32_load_relaxed(&shared.failures), 0);
	world_end(&shared.world);
}

/*
 * Long reads are cached in large folios, but in none so large that one pinned page holds the
 * complete budget: in a small cache other readers still find memory, wherever the pin is.
 */
static void test_one_pin_is_bounded(void **state)
{
	static char buf[256 * FOLIO_PAGE_SIZE];
	uint64_t pages = 256, index;
	struct folio *folio;
	struct world world;
	void *page;

	(void)state;
	evict_world_begin(&world, pages);
	for (index = 0; index < 8 * pages; index += 37) {
		assert_int_equal(
			folio_file_read(world.file, buf, sizeof(buf), index / pages * pages * PAGE),
			sizeof(buf));
		assert_int_equal(folio_file_get_page(world.file, index, 0, &folio, &page), 0);
		assert_true(UINT64_C(32) << folio_order(folio) <= pages);
		assert_int_equal(folio_file_read(world.file, buf, sizeof(buf), 16 * pages * PAGE),
			sizeof(buf));
		folio_put(folio);
	}
	world_end(&world);
}

/*
 * Nearly everything is pinned: what a miss costs does not depend on the number of pins. Pages that
 * are put later are evicted like others.
 */
static void test_pins_are_parked(void **state)
{
	enum { PAGES = 4096, PINS = PAGES * 19 / 20, MISSES = 4000 };
	struct folio **folio = malloc(PINS * sizeof(*folio));
	struct world world;
	uint64_t i, before;

	(void)state;
	assert_non_null(folio);
	evict_world_begin(&world, PAGES);
	for (i = 0; i < PINS; i++)
		pin(&world, i, &folio[i]);
	touch_all(&world, 10000, MISSES, 1);
	before = cache_stats(world.cache).evict_busy;
	touch_all(&world, 20000, MISSES, 1);
	assert_true(cache_stats(world.cache).evict_busy - before <= 4 * MISSES);
	for (i = 0; i < PINS; i++)
		if (i % 3)
			folio_put(folio[i]);
	touch_all(&world, 30000, 3 * PAGES, 1);
	for (i = 0; i < PINS; i++) {
		assert_int_equal(page_cached(world.file, i), i % 3 == 0);
		if (i % 3 == 0)
			folio_put(folio[i]);
	}
	assert_int_equal(cache_stats(world.cache).out_of_memory, 0);
	free(folio);
	world_end(&world);
}

/* The order of the folio in which a long read caches its first page. */
static unsigned order_of_read(struct world *world, uint64_t index)
{
	enum { LEN = 64 * PAGE };
	char *buf = malloc(LEN);
	struct folio *folio;
	unsigned order;

	assert_non_null(buf);
	assert_int_equal(folio_file_read(world->file, buf, LEN, index * PAGE), LEN);
	pin(world, index, &folio);
	order = folio_order(folio);
	folio_put(folio);
	free(buf);
	return order;
}

/* Pages that were parked are put and dropped: no scan finds them, but no limit counts them. */
static void test_parked_are_dropped(void **state)
{
	enum { PAGES = 4096, PINS = PAGES * 19 / 20 };
	struct folio **folio = malloc(PINS * sizeof(*folio));
	struct world world;
	unsigned order;
	uint64_t i;

	(void)state;
	assert_non_null(folio);
	evict_world_begin(&world, PAGES);
	order = order_of_read(&world, 8192);
	for (i = 0; i < PINS; i++)
		pin(&world, i, &folio[i]);
	touch_all(&world, 10000, PAGES, 1);
	for (i = 0; i < PINS; i++)
		folio_put(folio[i]);
	assert_int_equal(folio_file_invalidate(world.file, 0, FILE_PAGES * PAGE), 0);
	assert_int_equal(order_of_read(&world, 8192), order);
	free(folio);
	world_end(&world);
}

/* A page that is put is found, wherever it is among pinned ones, also by calls that do not wait. */
static void test_one_put_is_enough(void **state)
{
	enum { PINS = 2048 };
	struct folio **folio = malloc(PINS * sizeof(*folio));
	uint64_t random = test_seed, i;
	struct world world;
	char buf[32];

	(void)state;
	assert_non_null(folio);
	evict_world_begin(&world, PINS);
	for (i = 0; i < PINS; i++)
		pin(&world, i, &folio[i]);
	for (i = 0; i < 40; i++) {
		uint64_t which = random_below(&random, PINS), absent = (20000 + i) * PAGE;

		assert_int_equal(folio_file_read(world.file, buf, sizeof(buf), absent), -ENOMEM);
		folio_put(folio[which]);
		if (i % 2)
			touch(&world, 20000 + i);
		else
			wait_until(folio_file_read_nowait(world.file, buf, sizeof(buf), absent) !=
				   -EAGAIN);
		assert_int_equal(
			folio_file_read(world.file, buf, sizeof(buf), absent), sizeof(buf));
		pin(&world, which, &folio[which]);
	}
	for (i = 0; i < PINS; i++)
		folio_put(folio[i]);
	free(folio);
	world_end(&world);
}

/* The queues are locked for a part of a scan at a time: other threads get the lock in between. */
struct passer {
	struct queues *queues;
	folio_u64 *looks; /* counter of the thread that evicts */
	/* Before the first scan; of the two scans of each call, the first one and both. */
	uint64_t before, first, both;
	folio_u32 between, stop;
};

static void *look_between(void *arg)
{
	struct passer *passer = arg;

	while (!folio_u32_load_relaxed(&passer->stop)) {
		uint64_t looks;

		pthread_mutex_lock(&passer->queues->turn);
		pthread_mutex_lock(&passer->queues->lock);
		pthread_mutex_unlock(&passer->queues->turn);
		looks = (folio_u64_load_relaxed(passer->looks) - passer->before) % passer->both;
		if (looks && looks != passer->first)
			folio_u32_store_relaxed(&passer->between, 1);
		pthread_mutex_unlock(&passer->queues->lock);
		sched_yield();
	}
	return NULL;
}

static void test_long_pass(void **state)
{
	enum { PINS = 1600 };
	struct folio **folio = malloc(PINS * sizeof(*folio));
	struct stats_shard *shard;
	struct passer passer = {0};
	struct world world;
	pthread_t thread;
	char byte;
	uint64_t i;

	(void)state;
	assert_non_null(folio);
	evict_world_begin(&world, PINS);
	for (i = 0; i < PINS; i++)
		pin(&world, i, &folio[i]);
	/* Parks all of them. The background thread finds nothing to do, too. */
	assert_int_equal(folio_file_read(world.file, &byte, 1, 5000 * PAGE), -ENOMEM);
	shard = thread_enter(world.cache, world.cache->id);
	passer.queues = &world.cache->queues;
	passer.looks = &shard->count[STAT_EVICT_BUSY];
	passer.before = folio_u64_load_relaxed(passer.looks);
	evict_until(world.cache, 1, true, shard);
	passer.first = folio_u64_load_relaxed(passer.looks) - passer.before;
	passer.before += passer.first;
	/* No page is free, so this scans once more, and all. */
	evict_reserve(world.cache, 1, shard);
	passer.both = folio_u64_load_relaxed(passer.looks) - passer.before;
	passer.before += passer.both;
	assert_true(passer.first < PINS / 2 && passer.both >= PINS);
	assert_int_equal(pthread_create(&thread, NULL, look_between, &passer), 0);
	for (i = 0; i < 50000 && !folio_u32_load_relaxed(&passer.between); i++)
		evict_reserve(world.cache, 1, shard);
	folio_u32_store_relaxed(&passer.stop, 1);
	pthread_join(thread, NULL);
	assert_int_equal(folio_u32_load_relaxed(&passer.between), 1);
	for (i = 0; i < PINS; i++)
		folio_put(folio[i]);
	free(folio);
	world_end(&world);
}

/*
 * Pages so far apart that each has three nodes of its tree, and a budget of nodes that is used up
 * before the pages are. Nodes are reclaimed for further pages, also for a caller that does not wait
 * and for another file.
 */
static void test_far_apart(void **state)
{
	enum { APART = 31, PAGES = 3000 };
	struct folio_file *near;
	struct world world;
	char buf[64];
	ssize_t n;
	uint64_t i;

	(void)state;
#ifdef __SANITIZE_THREAD__
	print_message("# skipped under TSan: another thread may read a limit that the test sets\n");
	return;
#endif
	world_begin(&world, 1024, FOLIO_CACHE_NO_READAHEAD, (uint64_t)2 * PAGES << APART);
	world.cache->tree_budget.nodes_max = 1500;
	io_fault_add(world.io, "near", 100 * PAGE);
	for (i = 0; i < PAGES; i++)
		expect_read(&world, i << APART, 64, 1);
	for (; i < 2 * PAGES; i++) {
		while ((n = folio_file_read_nowait(world.file, buf, sizeof(buf), i << APART)) ==
			-EAGAIN)
			sched_yield();
		assert_int_equal(n, 64);
	}
	/* For lack of nodes, not of pages. */
	assert_true(cache_stats(world.cache).evictions > 0);
	assert_true(cache_stats(world.cache).pages_free > 0);
	assert_int_equal(folio_file_open(world.cache, "near", O_RDONLY, 0, &near), 0);
	for (i = 0; i < 100; i++)
		assert_int_equal(folio_file_read(near, buf, sizeof(buf), i * PAGE), 64);
	assert_int_equal(cache_stats(world.cache).out_of_memory, 0);
	assert_int_equal(folio_file_close(near), 0);
	world_end(&world);
}

/* All nodes belong to pinned pages: callers are refused until a page is put. */
static void test_nodes_of_pinned(void **state)
{
	enum { APART = 31, PAGES = 200 };
	struct folio *folio[PAGES];
	struct world world;
	unsigned count = 0;
	char buf[64];
	int r;

	(void)state;
#ifdef __SANITIZE_THREAD__
	print_message("# skipped under TSan: another thread may read a limit that the test sets\n");
	return;
#endif
	world_begin(&world, 1024, FOLIO_CACHE_NO_READAHEAD, (uint64_t)2 * PAGES << APART);
	world.cache->tree_budget.nodes_max = 20 * (28 / TREE_SHIFT + 1);
	while ((r = folio_file_get(
			world.file, (uint64_t)count << (APART - 12), 0, &folio[count])) == 0)
		assert_true(++count < PAGES);
	assert_int_equal(r, -ENOMEM);
	assert_true(count > 0);
	assert_true(cache_stats(world.cache).pages_free > 0);
	assert_true(cache_stats(world.cache).out_of_memory <= 1);
	/* The evictor might make some. */
	assert_int_equal(
		folio_file_read_nowait(world.file, buf, sizeof(buf), (uint64_t)count << APART),
		-EAGAIN);
	expect_read(&world, 0, 64, 1);
	folio_put(folio[--count]);
	folio_put(folio[--count]);
	expect_read(&world, (uint64_t)(count + 3) << APART, 64, 1);
	while (count > 0)
		folio_put(folio[--count]);
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pinned),
		cmocka_unit_test(test_all_pinned),
		cmocka_unit_test(test_pins_come_and_go),
		cmocka_unit_test(test_one_pin_is_bounded),
		cmocka_unit_test(test_pins_are_parked),
		cmocka_unit_test(test_parked_are_dropped),
		cmocka_unit_test(test_one_put_is_enough),
		cmocka_unit_test(test_long_pass),
		cmocka_unit_test(test_far_apart),
		cmocka_unit_test(test_nodes_of_pinned),
	};

	test_begin("evict");
	return cmocka_run_group_tests_name("evict", tests, NULL, NULL);
}
