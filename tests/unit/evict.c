/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who leaves: a scan does not take what is hot; a page that comes back soon stays; pins are passed over, and
 * when nothing but pins is left callers are told so after a bounded effort, while one page that is let go of is
 * enough for all of them.
 */
#include <pthread.h>

#include "cache-test.h"

#define FILE_PAGES 65536

struct world {
	struct io_fault *io;
	struct io_fault_file *contents;
	struct folio_cache *cache;
	struct folio_file *file;
	uint64_t pages;
};

static void world_begin(struct world *world, uint64_t pages)
{
	world->pages = pages;
	world->io = io_fault_new(test_seed, 2);
	world->contents = io_fault_add(world->io, "a", FILE_PAGES * PAGE);
	world->cache =
		cache_open(pages, FOLIO_CACHE_NO_READAHEAD | FOLIO_CACHE_NO_HUGE_PAGES, world->io);
	world->file = file_open(world->cache, "a");
}

static void world_end(struct world *world)
{
	assert_int_equal(folio_file_close(world->file), 0);
	assert_int_equal(folio_cache_close(world->cache), 0);
	io_fault_free(world->io);
}

/*
 * Nothing is evicted in the background, so that what is evicted depends on nothing but the order of calls. The thread
 * reads the mark as it starts, and finds enough free pages by either value.
 */
static void quiet_background(struct world *world)
{
	folio_u64_store_relaxed(&world->cache->evict.low, 0);
}

static void touch(struct world *world, uint64_t index)
{
	char buf[32];

	assert_int_equal(
		folio_file_read(world->file, buf, sizeof(buf), index * PAGE + 40), sizeof(buf));
	assert_true(
		io_fault_check(world->contents, index * PAGE + 40, buf, sizeof(buf), NULL, NULL));
}

static void touch_all(struct world *world, uint64_t first, uint64_t count, unsigned times)
{
	uint64_t i;

	while (times-- > 0)
		for (i = 0; i < count; i++)
			touch(world, first + i);
}

static uint64_t cached(struct world *world, uint64_t first, uint64_t count)
{
	uint64_t found = 0;

	while (count-- > 0)
		found += page_cached(world->file, first + count);
	return found;
}

/* ---- S3-FIFO ---- */

/* Read three times, then not while a scan of sixteen times the budget passes: all there. An LRU would have none. */
static void test_scan(void **state)
{
	struct world world;
	uint64_t misses;
	unsigned round;

	(void)state;
	world_begin(&world, 256);
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

/* Pages read once or twice do not count as hot, and do not outlast a scan. */
static void test_one_hit(void **state)
{
	struct world world;

	(void)state;
	world_begin(&world, 256);
	quiet_background(&world);
	touch_all(&world, 0, 40, 3);
	touch_all(&world, 100, 40, 2);
	touch_all(&world, 200, 40, 1);
	touch_all(&world, 10000, 1000, 1);
	assert_int_equal(cached(&world, 0, 40), 40);
	assert_int_equal(cached(&world, 100, 40), 0);
	assert_int_equal(cached(&world, 200, 40), 0);
	/* What came last is there. */
	assert_int_equal(cached(&world, 10900, 100), 100);
	world_end(&world);
}

/* Missed again soon after it left: main queue, which a scan leaves alone. Later than that it is like new. */
static void test_refault(void **state)
{
	struct world world;

	(void)state;
	world_begin(&world, 256);
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

	/* The scan is long past: its pages are no refaults. */
	touch_all(&world, 1000, 100, 1);
	assert_int_equal(cache_stats(world.cache).refaults, 20);
	touch_all(&world, 6000, 1000, 1);
	assert_int_equal(cached(&world, 1000, 100), 0);
	world_end(&world);
}

/* Dropping a page drops what is remembered of it. */
static void test_no_refault_after_invalidate(void **state)
{
	struct world world;

	(void)state;
	world_begin(&world, 256);
	quiet_background(&world);
	touch_all(&world, 0, 20, 1);
	touch_all(&world, 1000, 300, 1);
	assert_int_equal(cached(&world, 0, 20), 0);
	assert_int_equal(folio_file_invalidate(world.file, 0, 20 * PAGE), 0);
	touch_all(&world, 0, 20, 1);
	assert_int_equal(cache_stats(world.cache).refaults, 0);
	world_end(&world);
}

/* What was hot gives way when the program turns to something else. */
static void test_change_of_mind(void **state)
{
	struct world world;
	unsigned round;

	(void)state;
	world_begin(&world, 256);
	touch_all(&world, 0, 200, 10);
	assert_int_equal(cached(&world, 0, 200), 200);
	for (round = 0; round < 20 && cached(&world, 1000, 200) < 200; round++)
		touch_all(&world, 1000, 200, 1);
	assert_int_equal(cached(&world, 1000, 200), 200);
	world_end(&world);
}

/*
 * Traces against two models of caches of the same size: S3-FIFO as its paper has it, and LRU. Ours has to come close
 * to the one and, where a scan disturbs, to beat the other.
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
	uint64_t left[FILE_PAGES]; /* clock of eviction, 0 for never */
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

static void trace(uint32_t budget, uint32_t hot, bool scans, bool beats_lru)
{
	struct model *model = calloc(1, sizeof(*model));
	uint64_t random = test_seed, hits, touches = 0;
	struct folio_cache_stats before, after;
	struct world world;
	uint32_t i, j, scan = hot;

	model->budget = budget;
	model->small.size = model->main.size = budget + 1;
	model->small.page = calloc(budget + 1, sizeof(uint32_t));
	model->main.page = calloc(budget + 1, sizeof(uint32_t));
	world_begin(&world, budget);
	quiet_background(&world);
	before = cache_stats(world.cache);
	for (i = 0; i < 20000; i++) {
		uint32_t page = skewed(&random, hot);

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
		print_error("%u pages of %u hot: hits %llu, S3-FIFO %llu, LRU %llu\n", budget, hot,
			(unsigned long long)hits, (unsigned long long)model->hits,
			(unsigned long long)model->lru_hits);
		fail();
	}
	world_end(&world);
	free(model->small.page);
	free(model->main.page);
	free(model);
}

static void test_trace(void **state)
{
	(void)state;
	trace(64, 1000, false, false);
	trace(256, 4000, false, false);
	trace(1000, 20000, false, false);
}

static void test_trace_with_scans(void **state)
{
	(void)state;
	trace(64, 200, true, true);
	trace(256, 1000, true, true);
	trace(512, 4000, true, true);
}

/* ---- water marks ---- */

/* Free pages come back without anybody asking: that is the background thread. */
static void test_background(void **state)
{
	struct world world;
	unsigned round;

	(void)state;
	world_begin(&world, 1024);
	assert_true(world.cache->evict.low > 0);
	for (round = 0; round < 10; round++) {
		touch_all(&world, round * 1500, 1500, 1);
		wait_until(cache_stats(world.cache).pages_free >= world.cache->evict.low);
	}
	/* And it leaves the rest alone. */
	assert_true(cache_stats(world.cache).pages_file >= 1024 / 2);
	world_end(&world);
}

/* ---- pins ---- */

static void pin(struct world *world, uint64_t index, struct folio **folio)
{
	*folio = NULL;
	assert_int_equal(folio_file_get(world->file, index, 0, folio), 0);
}

static void expect_intact(struct world *world, uint64_t index, struct folio *folio)
{
	assert_true(io_fault_check(
		world->contents, index * PAGE, folio_page(folio, index), PAGE, NULL, NULL));
	assert_true(page_references(world->file, index) >= 2);
}

/* Passed over, whatever part of the budget is pinned, and how: in the small queue, the main queue, from a few on. */
static void test_pinned(void **state)
{
	static const unsigned counts[] = {1, 6, 7, 32, 57, 58, 60, 62, 63};
	struct folio *folio[64];
	unsigned c, i, hot;

	(void)state;
	for (hot = 0; hot < 2; hot++) {
		for (c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
			struct world world;

			world_begin(&world, 64);
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

/* Everything pinned: every way to ask for a page says so, soon; hits go on; any one page let go of is enough. */
static void test_all_pinned(void **state)
{
	struct folio_range range = {.offset = 3000 * PAGE, .len = 10 * PAGE};
	struct folio_cache_stats before, after;
	struct folio *folio[64], *more = NULL;
	struct world world;
	char buf[2 * FOLIO_PAGE_SIZE];
	unsigned i;

	(void)state;
	world_begin(&world, 64);
	for (i = 0; i < 64; i++)
		pin(&world, 3 * i, &folio[i]);
	assert_int_equal(cache_stats(world.cache).pages_free, 0);
	for (i = 0; i < 100; i++) {
		before = cache_stats(world.cache);
		assert_int_equal(folio_file_read(world.file, buf, 64, (1000 + i) * PAGE), -ENOMEM);
		after = cache_stats(world.cache);
		assert_int_equal(after.out_of_memory, before.out_of_memory + 1);
		/* The effort: a few looks at each folio, by us and perhaps by the background thread. */
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
	/* What is there is told before the error. */
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

/* ---- many threads ---- */

#define THREADS 4

struct shared {
	struct world world;
	folio_u32 failures;
	folio_u32 stop;
	folio_u32 missed; /* expected -ENOMEM seen */
	unsigned steps;
};

struct worker {
	struct shared *shared;
	pthread_t thread;
	uint64_t random;
};

static void *read_one_page_each(void *arg)
{
	struct worker *worker = arg;
	struct shared *shared = worker->shared;
	char buf[64];
	unsigned i;

	for (i = 0; i < shared->steps; i++) {
		uint64_t offset = (1000 + random_below(&worker->random, 60000)) * PAGE;

		if (folio_file_read(shared->world.file, buf, sizeof(buf), offset) != sizeof(buf) ||
			!io_fault_check(
				shared->world.contents, offset, buf, sizeof(buf), NULL, NULL))
			folio_u32_fetch_add_relaxed(&shared->failures, 1);
	}
	return NULL;
}

/* One page is enough for any number of readers of other pages, one after the other: none of them is refused. */
static void test_one_page_for_all(void **state)
{
	static const unsigned left[] = {1, 2, 3};
	struct folio *folio[64];
	struct worker worker[THREADS];
	unsigned i, l;

	(void)state;
	for (l = 0; l < sizeof(left) / sizeof(left[0]); l++) {
		struct shared shared = {.steps = scaled(3000)};

		world_begin(&shared.world, 64);
		for (i = 0; i < 64 - left[l]; i++)
			pin(&shared.world, i, &folio[i]);
		for (i = 0; i < THREADS; i++) {
			worker[i] = (struct worker){.shared = &shared, .random = test_seed + i};
			assert_int_equal(pthread_create(&worker[i].thread, NULL, read_one_page_each,
						 &worker[i]),
				0);
		}
		for (i = 0; i < THREADS; i++)
			pthread_join(worker[i].thread, NULL);
		assert_int_equal(folio_u32_load_relaxed(&shared.failures), 0);
		assert_int_equal(cache_stats(shared.world.cache).out_of_memory, 0);
		for (i = 0; i < 64 - left[l]; i++) {
			expect_intact(&shared.world, i, folio[i]);
			folio_put(folio[i]);
		}
		world_end(&shared.world);
	}
}

static void *read_and_be_refused(void *arg)
{
	struct worker *worker = arg;
	struct shared *shared = worker->shared;
	char buf[64];
	unsigned i;

	for (i = 0; i < shared->steps; i++) {
		uint64_t offset = (1000 + random_below(&worker->random, 60000)) * PAGE;

		if (folio_file_read(shared->world.file, buf, sizeof(buf), offset) != -ENOMEM)
			folio_u32_fetch_add_relaxed(&shared->failures, 1);
		folio_u32_fetch_add_relaxed(&shared->missed, 1);
	}
	return NULL;
}

static void *read_pinned(void *arg)
{
	struct worker *worker = arg;
	struct shared *shared = worker->shared;
	char buf[512];

	while (!folio_u32_load_relaxed(&shared->stop)) {
		uint64_t offset = random_below(&worker->random, 64) * PAGE + 8;
		struct folio *folio;

		if (folio_file_read(shared->world.file, buf, sizeof(buf), offset) != sizeof(buf) ||
			!io_fault_check(
				shared->world.contents, offset, buf, sizeof(buf), NULL, NULL) ||
			folio_file_get(shared->world.file, offset / PAGE, 0, &folio))
			folio_u32_fetch_add_relaxed(&shared->failures, 1);
		else
			folio_put(folio);
	}
	return NULL;
}

/*
 * Several callers find everything pinned at the same time. Each is told so: none takes the others' search for a
 * reason to go on with its own. Those who read what is there go on meanwhile.
 */
static void test_all_refused(void **state)
{
	struct shared shared = {.steps = scaled(2000)};
	struct folio *folio[64];
	struct worker worker[THREADS];
	unsigned i;

	(void)state;
	world_begin(&shared.world, 64);
	for (i = 0; i < 64; i++)
		pin(&shared.world, i, &folio[i]);
	for (i = 0; i < THREADS; i++) {
		worker[i] = (struct worker){.shared = &shared, .random = test_seed + i};
		assert_int_equal(pthread_create(&worker[i].thread, NULL,
					 i == 0 ? read_pinned : read_and_be_refused, &worker[i]),
			0);
	}
	for (i = 1; i < THREADS; i++)
		pthread_join(worker[i].thread, NULL);
	folio_u32_store_relaxed(&shared.stop, 1);
	pthread_join(worker[0].thread, NULL);
	assert_int_equal(folio_u32_load_relaxed(&shared.failures), 0);
	for (i = 0; i < 64; i++) {
		expect_intact(&shared.world, i, folio[i]);
		folio_put(folio[i]);
	}
	world_end(&shared.world);
}

static void *read_one(void *arg)
{
	struct worker *worker = arg;
	char buf[64];

	if (folio_file_read(worker->shared->world.file, buf, sizeof(buf), 500 * PAGE) !=
			sizeof(buf) ||
		!io_fault_check(
			worker->shared->world.contents, 500 * PAGE, buf, sizeof(buf), NULL, NULL))
		folio_u32_fetch_add_relaxed(&worker->shared->failures, 1);
	return NULL;
}

/* Pages that are being read are not pins: who needs one waits for the device and is not refused. */
static void test_waits_for_fills(void **state)
{
	struct shared shared = {0};
	struct worker worker[THREADS];
	struct evict *evict;
	uint64_t started = 0;
	unsigned i;

	(void)state;
	world_begin(&shared.world, 64);
	evict = &shared.world.cache->evict;
	io_fault_hold(shared.world.io);
	for (i = 0; i < 64 && cache_stats(shared.world.cache).pages_free; i++) {
		struct folio_range range = {.offset = i * PAGE, .len = PAGE};

		started += (uint64_t)folio_file_prefetch(shared.world.file, &range, 1);
	}
	assert_int_equal(started, 64);
	for (i = 0; i < THREADS; i++) {
		worker[i] = (struct worker){.shared = &shared, .random = test_seed + i};
		assert_int_equal(pthread_create(&worker[i].thread, NULL, read_one, &worker[i]), 0);
	}
	wait_until(folio_u32_load_relaxed(&evict->waiters) == THREADS);
	io_fault_release(shared.world.io, UINT64_MAX);
	for (i = 0; i < THREADS; i++)
		pthread_join(worker[i].thread, NULL);
	assert_int_equal(folio_u32_load_relaxed(&shared.failures), 0);
	assert_int_equal(cache_stats(shared.world.cache).out_of_memory, 0);
	world_end(&shared.world);
}

/* Pins come and go on every page while others read: nobody gets a page that was pinned, all pages are used again. */
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
	world_begin(&shared.world, 64);
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
 * A file is closed and its cache after it, while the background thread has some of its pages in its hands: close
 * waits for it, and does not take its references for pins.
 */
static void test_close_beside_background(void **state)
{
	unsigned i, rounds = scaled(300);

	(void)state;
	for (i = 0; i < rounds; i++) {
		struct world world;

		world_begin(&world, 64);
		touch_all(&world, 0, 57 + i % 10, 1);
		world_end(&world);
	}
}

/*
 * Long reads are cached in large folios, but never in so large ones that a single pinned page keeps the whole budget: in a
 * small cache others still find memory, wherever the pin is.
 */
static void test_one_pin_is_not_all(void **state)
{
	static char buf[256 * FOLIO_PAGE_SIZE];
	uint64_t pages = 256, index;
	struct folio *folio;
	struct world world;
	void *page;

	(void)state;
	world_begin(&world, pages);
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

/* The queues are held for a part of a pass at a time: who waits for them is let in between. */
struct passer {
	struct evict *evict;
	folio_u64 *looks; /* of the thread that evicts */
	uint64_t before, pass;
	folio_u32 between, stop;
};

static void *look_between(void *arg)
{
	struct passer *passer = arg;

	while (!folio_u32_load_relaxed(&passer->stop)) {
		pthread_mutex_lock(&passer->evict->turn);
		pthread_mutex_lock(&passer->evict->lock);
		pthread_mutex_unlock(&passer->evict->turn);
		if ((folio_u64_load_relaxed(passer->looks) - passer->before) % passer->pass)
			folio_u32_store_relaxed(&passer->between, 1);
		pthread_mutex_unlock(&passer->evict->lock);
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
	uint64_t i;

	(void)state;
	assert_non_null(folio);
	world_begin(&world, 2048);
	for (i = 0; i < PINS; i++)
		pin(&world, i, &folio[i]);
	shard = thread_enter(world.cache, world.cache->id);
	passer.evict = &world.cache->evict;
	passer.looks = &shard->count[STAT_EVICT_BUSY];
	passer.before = cache_stats(world.cache).evict_busy;
	/* More than are free, so that it looks for some, and more are free than where the background thread begins. */
	evict_reserve(world.cache, 512, shard);
	passer.pass = cache_stats(world.cache).evict_busy - passer.before;
	assert_true(passer.pass > PINS);
	assert_int_equal(pthread_create(&thread, NULL, look_between, &passer), 0);
	for (i = 0; i < 50000 && !folio_u32_load_relaxed(&passer.between); i++)
		evict_reserve(world.cache, 512, shard);
	folio_u32_store_relaxed(&passer.stop, 1);
	pthread_join(thread, NULL);
	assert_int_equal(folio_u32_load_relaxed(&passer.between), 1);
	for (i = 0; i < PINS; i++)
		folio_put(folio[i]);
	free(folio);
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scan),
		cmocka_unit_test(test_one_hit),
		cmocka_unit_test(test_refault),
		cmocka_unit_test(test_no_refault_after_invalidate),
		cmocka_unit_test(test_change_of_mind),
		cmocka_unit_test(test_trace),
		cmocka_unit_test(test_trace_with_scans),
		cmocka_unit_test(test_background),
		cmocka_unit_test(test_pinned),
		cmocka_unit_test(test_all_pinned),
		cmocka_unit_test(test_one_page_for_all),
		cmocka_unit_test(test_all_refused),
		cmocka_unit_test(test_waits_for_fills),
		cmocka_unit_test(test_pins_come_and_go),
		cmocka_unit_test(test_close_beside_background),
		cmocka_unit_test(test_one_pin_is_not_all),
		cmocka_unit_test(test_long_pass),
	};

	test_begin("evict");
	return cmocka_run_group_tests_name("evict", tests, NULL, NULL);
}
