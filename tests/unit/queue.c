/* SPDX-License-Identifier: BSD-2-Clause */
/* The S3-FIFO queues: which pages are evicted, compared with models of S3-FIFO and LRU. */
#include "evict-world.h"
#include "evict/refault.h"

/* Pages read three times stay while a scan of sixteen budgets passes. An LRU keeps none. */
static void test_scan(void **state)
{
	struct world world;
	uint64_t misses;
	unsigned round;

	(void)state;
	evict_world_begin(&world, 256);
	touch_all(&world, 0, 100, 3);
	for (round = 1; round <= 4; round++) {
		touch_all(&world, 10000 * round, 4096, 1);
		assert_int_equal(cached(&world, 0, 100), 100);
		misses = cache_stats(world.cache).misses;
		touch_all(&world, 0, 100, 1);
		assert_int_equal(cache_stats(world.cache).misses, misses);
	}
	assert_true(cache_stats(world.cache).evictions >= 4 * 4096 - 256);
	world_end(&world);
}

/* Pages read once or twice are not hot, and a scan evicts them. */
static void test_one_hit(void **state)
{
	struct world world;

	(void)state;
	evict_world_begin(&world, 256);
	quiet_background(&world);
	touch_all(&world, 0, 40, 3);
	touch_all(&world, 100, 40, 2);
	touch_all(&world, 200, 40, 1);
	touch_all(&world, 10000, 1000, 1);
	assert_int_equal(cached(&world, 0, 40), 40);
	assert_int_equal(cached(&world, 100, 40), 0);
	assert_int_equal(cached(&world, 200, 40), 0);
	/* The last pages read are cached. */
	assert_int_equal(cached(&world, 10900, 100), 100);
	world_end(&world);
}

/* A page read twice gets a second chance in the small queue; one that was read once does not. */
static void test_second_chance(void **state)
{
	enum { PAGES = 256 };
	struct world world;

	(void)state;
	evict_world_begin(&world, PAGES);
	quiet_background(&world);
	touch_all(&world, 0, 5, 1);
	touch_all(&world, 100, 5, 2);
	touch_all(&world, 10000, PAGES, 1);
	assert_int_equal(cached(&world, 0, 5), 0);
	assert_int_equal(cached(&world, 100, 5), 5);
	assert_int_equal(world.cache->queues.main.folios, 0);
	touch_all(&world, 20000, PAGES, 1);
	assert_int_equal(cached(&world, 100, 5), 0);
	world_end(&world);
}

/* What was read ahead and not read yet waits with its like, also if it had been evicted before. */
static void test_entered(void **state)
{
	struct folio folio = {0};
	unsigned refault;

	(void)state;
	for (refault = REFAULT_NONE; refault <= REFAULT_TRIAL; refault++) {
		folio.refault = (uint8_t)refault;
		folio_u32_store_relaxed(&folio.heat, HEAT_WORD_AHEAD);
		assert_int_equal(
			queue_entered(&folio), refault == REFAULT_ONCE ? QUEUE_ONCE : QUEUE_AHEAD);
		folio_u32_store_relaxed(&folio.heat, HEAT_COLD);
		if (refault == REFAULT_NEWCOMER || refault == REFAULT_TRIAL)
			assert_int_equal(queue_entered(&folio), QUEUE_MAIN);
		else if (refault != REFAULT_ONCE)
			assert_int_equal(queue_entered(&folio), QUEUE_SMALL);
	}
}

/* A hot page begins cold in the main queue: it stays for good only if it is read there again. */
static void test_hot_becomes_cold(void **state)
{
	struct world world;

	(void)state;
	evict_world_begin(&world, 64);
	quiet_background(&world);
	touch_all(&world, 0, 1, 3);
	assert_int_equal(page_heat(world.file, 0), HEAT_HOT);
	touch_all(&world, 1000, 100, 1);
	assert_int_equal(world.cache->queues.main.folios, 1);
	assert_int_equal(page_heat(world.file, 0), HEAT_COLD);
	world_end(&world);
}

/*
 * A page that is missed again soon after its eviction goes to the main queue, which a scan leaves
 * alone. Missed later than that, it counts as new.
 */
static void test_refault(void **state)
{
	struct world world;

	(void)state;
	evict_world_begin(&world, 256);
	quiet_background(&world);
	touch_all(&world, 0, 20, 1);
	touch_all(&world, 1000, 300, 1);
	assert_int_equal(cached(&world, 0, 20), 0);
	assert_int_equal(cache_stats(world.cache).refaults, 0);
	touch_all(&world, 0, 20, 1);
	assert_int_equal(cache_stats(world.cache).refaults, 20);
	touch_all(&world, 2000, 3000, 1);
	assert_int_equal(cached(&world, 0, 20), 20);
	assert_int_equal(cache_stats(world.cache).refaults, 20);

	/* The scan was too long ago: its pages are no refaults. */
	touch_all(&world, 1000, 100, 1);
	assert_int_equal(cache_stats(world.cache).refaults, 20);
	touch_all(&world, 6000, 1000, 1);
	assert_int_equal(cached(&world, 1000, 100), 0);
	world_end(&world);
}

/* Dropping a page drops its shadow. */
static void test_no_refault_after_invalidate(void **state)
{
	struct world world;

	(void)state;
	evict_world_begin(&world, 256);
	quiet_background(&world);
	touch_all(&world, 0, 20, 1);
	touch_all(&world, 1000, 300, 1);
	assert_int_equal(cached(&world, 0, 20), 0);
	assert_int_equal(folio_file_invalidate(world.file, 0, 20 * PAGE), 0);
	touch_all(&world, 0, 20, 1);
	assert_int_equal(cache_stats(world.cache).refaults, 0);
	world_end(&world);
}

/* Hot pages are evicted when the program turns to other pages. */
static void test_new_working_set(void **state)
{
	struct world world;
	unsigned round;

	(void)state;
	evict_world_begin(&world, 256);
	touch_all(&world, 0, 200, 10);
	assert_int_equal(cached(&world, 0, 200), 200);
	for (round = 0; round < 20 && cached(&world, 1000, 200) < 200; round++)
		touch_all(&world, 1000, 200, 1);
	assert_int_equal(cached(&world, 1000, 200), 200);
	world_end(&world);
}

static uint64_t small_share(struct world *world)
{
	return folio_u64_load_relaxed(&world->cache->evict.small_share);
}

/* Reads random pages of @count from @first on. Returns the misses. */
static uint64_t touch_random(
	struct world *world, uint64_t *random, uint64_t first, uint64_t count, unsigned times)
{
	uint64_t misses = cache_stats(world->cache).misses;

	while (times-- > 0)
		touch(world, first + random_below(random, count));
	return cache_stats(world->cache).misses - misses;
}

/*
 * The working set changes: each of its pages would leave a small queue of fixed size before it is
 * read again, and miss twice. The small queue grows, and few do. A scan does not make it larger.
 * It becomes small again when what returns had been in the main queue.
 */
static void test_shift(void **state)
{
	enum { PAGES = 1024, SET = 900, READS = 20 * SET };
	uint64_t random = test_seed, grown;
	struct world world;
	unsigned i;

	(void)state;
	evict_world_begin(&world, PAGES);
	quiet_background(&world);
	touch_all(&world, 0, SET, 4);
	touch_all(&world, 10000, 4 * PAGES, 1);
	assert_true(small_share(&world) == REFAULT_SMALL_MIN);
	for (i = 1; i <= 3; i++)
		assert_true(touch_random(&world, &random, 1000 * i, SET, READS) <=
			    (i == 1 ? SET * 3 / 2 : SET * 9 / 8));
	grown = small_share(&world);
	assert_true(grown > 3 * REFAULT_SMALL_MIN && grown <= REFAULT_WHOLE - REFAULT_SMALL_MIN);
	/* Two sets in turn, of pages that were read often. */
	for (i = 0; i < 200 && small_share(&world) >= grown; i++)
		touch_random(&world, &random, 1000 * (2 + i % 2), SET, 2 * SET);
	assert_true(small_share(&world) < grown);
	world_end(&world);
}

/*
 * A loop over a tenth more than the cache: most of the accesses hit. An LRU has no hit, nor has a
 * cache in which each page that returns displaces one of the main queue. A shift of the working set
 * afterwards is noticed.
 */
static void test_loop(void **state)
{
	enum { PAGES = 256, LOOP = PAGES * 11 / 10, LAPS = 20 };
	struct world world;
	uint64_t misses;
	unsigned round;

	(void)state;
	evict_world_begin(&world, PAGES);
	quiet_background(&world);
	touch_all(&world, 0, LOOP, 2 * LAPS);
	misses = cache_stats(world.cache).misses;
	touch_all(&world, 0, LOOP, LAPS);
	assert_true(cache_stats(world.cache).misses - misses <= LAPS * LOOP / 3);
	for (round = 0; round < 20 && cached(&world, 1000, 200) < 200; round++)
		touch_all(&world, 1000, 200, 1);
	assert_int_equal(cached(&world, 1000, 200), 200);
	world_end(&world);
}

/*
 * Traces, compared with two models of caches of the same size: S3-FIFO as in its paper, and LRU.
 * The cache must come close to the former and, where scans disturb, beat the latter.
 */
struct fifo {
	uint32_t *page;
	uint32_t size, begin, count;
};

static void fifo_push(struct fifo *fifo, uint32_t page)
{
	fifo->page[(fifo->begin + fifo->count++) % fifo->size] = page;
}

static uint32_t fifo_pop(struct fifo *fifo)
{
	uint32_t page = fifo->page[fifo->begin];

	fifo->begin = (fifo->begin + 1) % fifo->size;
	fifo->count--;
	return page;
}

struct model {
	uint32_t budget;
	struct fifo small, main;
	uint8_t in[FILE_PAGES];    /* 0 nowhere, 1 small, 2 main */
	uint8_t uses[FILE_PAGES];  /* 0 .. 2 */
	uint64_t left[FILE_PAGES]; /* clock of eviction, 0 if never */
	uint64_t clock;
	uint64_t hits;
	/* LRU: time of last use, searched in full. */
	uint64_t used[FILE_PAGES];
	uint32_t lru[4096];
	uint32_t lru_count;
	uint64_t now, lru_hits;
};

static void model_evict(struct model *model)
{
	while (model->small.count + model->main.count >= model->budget) {
		bool small = model->small.count > model->budget / 10 || !model->main.count;
		uint32_t page = fifo_pop(small ? &model->small : &model->main);

		if (small && model->uses[page] > 1) {
			model->in[page] = 2;
			model->uses[page] = 0;
			fifo_push(&model->main, page);
		} else if (!small && model->uses[page]) {
			model->uses[page]--;
			fifo_push(&model->main, page);
		} else {
			model->in[page] = 0;
			model->left[page] = ++model->clock;
		}
	}
}

static void model_touch(struct model *model, uint32_t page)
{
	uint32_t i, oldest = 0;

	if (model->in[page]) {
		model->hits++;
		if (model->uses[page] < 2)
			model->uses[page]++;
	} else {
		bool again = model->left[page] &&
			     model->clock - model->left[page] < model->budget - model->budget / 10;

		model_evict(model);
		model->in[page] = again ? 2 : 1;
		model->uses[page] = 0;
		fifo_push(again ? &model->main : &model->small, page);
	}
	model->now++;
	if (model->used[page]) {
		model->lru_hits++;
	} else if (model->lru_count < model->budget) {
		model->lru[model->lru_count++] = page;
	} else {
		for (i = 1; i < model->lru_count; i++)
			if (model->used[model->lru[i]] < model->used[model->lru[oldest]])
				oldest = i;
		model->used[model->lru[oldest]] = 0;
		model->lru[oldest] = page;
	}
	model->used[page] = model->now;
}

/* Small numbers are far more likely than large ones. */
static uint32_t skewed(uint64_t *random, uint32_t limit)
{
	uint32_t bound = limit, i;

	for (i = 0; i < 4; i++)
		bound = 1 + (uint32_t)random_below(random, bound);
	return bound - 1;
}

/*
 * @pins: pages that are pinned, in addition to the budget; the cache does with the rest what it
 * does with a budget of that size.
 */
static void trace(uint32_t budget, uint32_t pins, uint32_t hot, bool scans, bool beats_lru)
{
	struct model *model = calloc(1, sizeof(*model));
	struct folio **pinned = calloc(pins + 1, sizeof(struct folio *));
	uint64_t random = test_seed, hits, touches = 0;
	struct folio_cache_stats before, after;
	struct world world;
	uint32_t i, j, scan = hot;

	model->budget = budget;
	model->small.size = model->main.size = budget + 1;
	model->small.page = calloc(budget + 1, sizeof(uint32_t));
	model->main.page = calloc(budget + 1, sizeof(uint32_t));
	evict_world_begin(&world, budget + pins);
	for (i = 0; i < pins; i++)
		pin(&world, FILE_PAGES - 1 - i, &pinned[i]);
	/* They are parked, and then the cache is as it would be without them. */
	for (i = 0; pins && i < 4 * (budget + pins); i++)
		touch(&world, hot + i);
	assert_int_equal(folio_file_invalidate(world.file, 0, FILE_PAGES / 2 * PAGE), 0);
	quiet_background(&world);
	before = cache_stats(world.cache);
	for (i = 0; i < 20000; i++) {
		uint32_t page = skewed(&random, hot);

		/* As pages are parked, the limits are set again. */
		quiet_background(&world);
		model_touch(model, page);
		touch(&world, page);
		touches++;
		if (!scans || i % 2000)
			continue;
		for (j = 0; j < 3 * budget; j++, touches++) {
			model_touch(model, scan);
			touch(&world, scan);
			scan = scan + 1 < FILE_PAGES ? scan + 1 : hot;
		}
	}
	after = cache_stats(world.cache);
	hits = after.hits - before.hits;
	assert_int_equal(hits + after.misses - before.misses, touches);
	if (hits + touches / 50 < model->hits || (beats_lru && hits <= model->lru_hits)) {
		print_error("%u pages of %u hot, %u pins: hits %llu, S3-FIFO %llu, LRU %llu\n",
			budget, hot, pins, (unsigned long long)hits,
			(unsigned long long)model->hits, (unsigned long long)model->lru_hits);
		fail();
	}
	for (i = 0; i < pins; i++)
		folio_put(pinned[i]);
	world_end(&world);
	free(pinned);
	free(model->small.page);
	free(model->main.page);
	free(model);
}

static void test_trace(void **state)
{
	(void)state;
	trace(64, 0, 1000, false, false);
	trace(256, 0, 4000, false, false);
	trace(1000, 0, 20000, false, false);
}

static void test_trace_with_scans(void **state)
{
	(void)state;
	trace(64, 0, 200, true, true);
	trace(256, 0, 1000, true, true);
	trace(512, 0, 4000, true, true);
}

static void test_trace_among_pins(void **state)
{
	(void)state;
	trace(256, 768, 4000, false, false);
	trace(256, 4096, 1000, true, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scan),
		cmocka_unit_test(test_one_hit),
		cmocka_unit_test(test_second_chance),
		cmocka_unit_test(test_entered),
		cmocka_unit_test(test_hot_becomes_cold),
		cmocka_unit_test(test_refault),
		cmocka_unit_test(test_no_refault_after_invalidate),
		cmocka_unit_test(test_new_working_set),
		cmocka_unit_test(test_shift),
		cmocka_unit_test(test_loop),
		cmocka_unit_test(test_trace),
		cmocka_unit_test(test_trace_with_scans),
		cmocka_unit_test(test_trace_among_pins),
	};

	test_begin("queue");
	return cmocka_run_group_tests_name("queue", tests, NULL, NULL);
}
