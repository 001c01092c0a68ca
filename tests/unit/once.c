/* SPDX-License-Identifier: BSD-2-Clause */
/* Accesses that leave the hot set unchanged: the pages that they fetch leave first. */
#include "cache/thread.h"
#include "evict/evict.h"
#include "evict/once.h"
#include "evict/refault.h"
#include "evict-world.h"

#define PAGES 256
#define SMALL (PAGES / 10)
#define PART  (PAGES / 32)
#define HOT   (PAGES - SMALL - PART - PART / 4)
#define SCAN  1000 /* where the scans begin */

/* The hot pages are in the main queue. The second handle has the advice. */
static void begin(struct world *world, struct folio_file **once)
{
	evict_world_begin(world, PAGES);
	quiet_background(world);
	touch_all(world, 0, HOT, 3);
	touch_all(world, 60000, 2 * PAGES, 1);
	assert_int_equal(cached(world, 0, HOT), HOT);
	*once = file_open(world->cache, "a");
	assert_int_equal(folio_file_advise(*once, FOLIO_ADVICE_ONCE), 0);
}

static void end(struct world *world, struct folio_file *once)
{
	assert_int_equal(folio_file_close(once), 0);
	world_end(world);
}

static void scan(struct folio_file *file, uint64_t first, uint64_t count)
{
	static char buf[FOLIO_PAGE_SIZE];
	uint64_t i;

	for (i = first; i < first + count; i++)
		assert_int_equal(folio_file_read(file, buf, PAGE, i * PAGE), PAGE);
}

static struct folio *folio_at(struct folio_file *file, uint64_t index)
{
	return entry_folio(tree_load(&file->inode->tree, index));
}

static uint32_t heat_word(struct folio_file *file, uint64_t index)
{
	return folio_u32_load_relaxed(&folio_at(file, index)->heat);
}

static unsigned queue_of(struct folio_file *file, uint64_t index)
{
	return folio_u8_load_relaxed(&folio_at(file, index)->queue);
}

/* ---- what the calls refuse ---- */

static void test_flags(void **state)
{
	struct folio_read read = {.len = 0};
	struct folio_file *once;
	struct world world;
	char buf[8];

	(void)state;
	begin(&world, &once);
	assert_int_equal(
		folio_file_advise(once, (enum folio_advice)(FOLIO_ADVICE_ONCE + 1)), -EINVAL);
	assert_int_equal(folio_file_read_flags(once, buf, 8, 0, 4), -EINVAL);
	assert_int_equal(folio_file_read_flags(NULL, buf, 8, 0, 0), -EINVAL);
	assert_int_equal(folio_file_read_flags(once, buf, 8, 0, FOLIO_READ_ONCE), 8);
	assert_int_equal(folio_file_read_flags(once, buf, 8, 0, 0), 8);
	assert_int_equal(folio_file_read_batch(once, &read, 1, 4), -EINVAL);
	assert_int_equal(folio_file_write_flags(once, buf, 8, 0, 4), -EINVAL);
	assert_int_equal(folio_file_write_flags(once, buf, 8, 0, FOLIO_WRITE_ONCE), -EBADF);
	/* Of a page that is not cached, with both flags: it is read for the next call. */
	io_fault_hold(world.io);
	assert_int_equal(folio_file_read_flags(
				 once, buf, 8, SCAN * PAGE, FOLIO_READ_NOWAIT | FOLIO_READ_ONCE),
		-EAGAIN);
	io_fault_release(world.io, UINT64_MAX);
	assert_int_equal(folio_file_read(once, buf, 8, SCAN * PAGE), 8);
	wait_until(queue_of(once, SCAN) == QUEUE_ONCE);
	end(&world, once);
}

/* ---- the hot set ---- */

/* Every way to read a page through the handle, or with the flag. */
static void use_page(struct folio_file *file, uint64_t index, unsigned flags)
{
	static char buf[FOLIO_PAGE_SIZE];
	struct folio_read batch[2] = {
		{.buf = buf, .len = 16, .offset = index * PAGE + 8},
		{.buf = buf + 100, .len = 200, .offset = index * PAGE + 300},
	};

	assert_int_equal(folio_file_read_flags(file, buf, 32, index * PAGE + 40, flags), 32);
	assert_int_equal(folio_file_read_flags(file, buf, PAGE, index * PAGE, flags), PAGE);
	assert_int_equal(folio_file_read_batch(file, batch, 2, flags), 0);
	assert_int_equal(batch[0].result, 16);
	assert_int_equal(batch[1].result, 200);
	if (!flags) {
		struct folio *folio;

		assert_int_equal(folio_file_get(file, index, 0, &folio), 0);
		folio_put(folio);
	}
}

/* Pages that were cached before keep heat and queue, those that are still cold as well. */
static void test_cached_pages_stay(void **state)
{
	const uint64_t cold = 60000 + 2 * PAGES - 1, warm = cold - 1;
	uint64_t page[3] = {0, cold, warm};
	struct folio_file *once;
	struct world world;
	unsigned i;

	(void)state;
	begin(&world, &once);
	touch(&world, warm);
	assert_int_equal(page_heat(once, cold), HEAT_COLD);
	assert_int_equal(page_heat(once, warm), HEAT_WARM);
	for (i = 0; i < 3; i++) {
		uint32_t heat = heat_word(once, page[i]);
		unsigned queue = queue_of(once, page[i]);

		use_page(once, page[i], 0);
		use_page(world.file, page[i], FOLIO_READ_ONCE);
		assert_int_equal(heat_word(once, page[i]), heat);
		assert_int_equal(queue_of(once, page[i]), queue);
	}
	end(&world, once);
}

/* A scan over eight times the cache, by each kind of call. */
static void test_scan(void **state)
{
	const struct folio_range range = {SCAN * PAGE, 32 * PAGES * PAGE};
	uint64_t clock, newest = 60000 + 2 * PAGES - SMALL + 2, i;
	struct folio_file *once;
	struct world world;

	(void)state;
	begin(&world, &once);
	clock = folio_u64_load_relaxed(&world.cache->evict.clock);
	assert_int_equal(cached(&world, newest, SMALL - 2), SMALL - 2);
	scan(once, SCAN, 8 * PAGES);
	for (i = 0; i < 8 * PAGES; i++) {
		use_page(once, SCAN + 10000 + i, 0);
		use_page(world.file, SCAN + 20000 + i, FOLIO_READ_ONCE);
	}
	assert_true(folio_file_prefetch(once, &range, 1) <= PART / 4);
	io_fault_wait_idle(world.io);
	assert_int_equal(cached(&world, 0, HOT), HOT);
	/* The small queue has given up the part of the others at most, and shadows are as young. */
	assert_true(cached(&world, newest, SMALL - 2) + PART + 1 >= SMALL - 2);
	clock = folio_u64_load_relaxed(&world.cache->evict.clock) - clock;
	assert_true(clock <= PART + PART / 4);
	assert_true(cached(&world, SCAN, 40000) <= PART + PART / 4);
	end(&world, once);
}

/* Batches start to read no more pages than stay until they are read: each is read once. */
static void test_batches(void **state)
{
	enum { COUNT = 64, BATCHES = 8 * PAGES / COUNT };

	static char buf[COUNT][FOLIO_PAGE_SIZE];
	struct folio_read batch[COUNT];
	struct folio_file *once;
	struct world world;
	unsigned n, i, handle;
	uint64_t bytes;

	(void)state;
	begin(&world, &once);
	bytes = cache_stats(world.cache).fill_bytes;
	for (n = 0; n < 2 * BATCHES; n++) {
		handle = n % 2;
		for (i = 0; i < COUNT; i++)
			batch[i] = (struct folio_read){.buf = buf[i],
				.len = PAGE,
				.offset = (SCAN + (n * COUNT + i) * UINT64_C(3)) * PAGE};
		assert_int_equal(folio_file_read_batch(handle ? once : world.file, batch, COUNT,
					 handle ? 0 : FOLIO_READ_ONCE),
			0);
		for (i = 0; i < COUNT; i++)
			assert_true(batch[i].result == PAGE &&
				    io_fault_check(world.contents, batch[i].offset, buf[i], PAGE,
					    NULL, NULL));
	}
	io_fault_wait_idle(world.io);
	assert_int_equal(cache_stats(world.cache).fill_bytes - bytes, 2 * BATCHES * COUNT * PAGE);
	assert_true(cached(&world, 0, HOT) + PART / 2 >= HOT);
	end(&world, once);
}

/* Without the advice, the same scan evicts the newcomers: the test above would notice. */
static void test_other_scan(void **state)
{
	struct folio_file *once;
	struct world world;

	(void)state;
	begin(&world, &once);
	assert_int_equal(folio_file_advise(once, FOLIO_ADVICE_NORMAL), 0);
	scan(once, SCAN, 8 * PAGES);
	assert_int_equal(cached(&world, 60000, 2 * PAGES), 0);
	assert_true(cached(&world, SCAN, 8 * PAGES) >= SMALL);
	end(&world, once);
}

/* What a scan has left when it has ended leaves before other pages, although it is its part. */
static void test_scan_has_ended(void **state)
{
	struct folio_file *once;
	struct world world;

	(void)state;
	begin(&world, &once);
	scan(once, SCAN, 4 * PAGES);
	touch_all(&world, 10000, PART, 1);
	assert_true(cached(&world, SCAN, 4 * PAGES) >= PART);
	touch_all(&world, 20000, 8 * PART + 2, 1);
	assert_int_equal(cached(&world, SCAN, 4 * PAGES), 0);
	assert_int_equal(cached(&world, 0, HOT), HOT);
	end(&world, once);
}

/* ---- pages that others use, too ---- */

/* The first use that counts makes the page a newcomer, and further ones make it hot. */
static void test_first_use(void **state)
{
	struct folio_file *once;
	struct world world;

	(void)state;
	begin(&world, &once);
	scan(once, SCAN, 2);
	scan(once, SCAN, 2);
	assert_int_equal(heat_word(once, SCAN), HEAT_COLD);
	touch(&world, SCAN);
	assert_int_equal(page_heat(once, SCAN), HEAT_COLD);
	touch_all(&world, SCAN + 1, 1, 3);
	scan(once, 2 * SCAN, 2 * PAGES);
	assert_int_equal(queue_of(once, SCAN), QUEUE_SMALL);
	assert_int_equal(queue_of(once, SCAN + 1), QUEUE_SMALL);
	touch_all(&world, 10000, PAGES, 1);
	assert_false(page_cached(once, SCAN));
	assert_int_equal(queue_of(once, SCAN + 1), QUEUE_MAIN);
	end(&world, once);
}

static uint64_t refaults(struct world *world)
{
	return cache_stats(world->cache).refaults;
}

/*
 * A scan leaves no shadow, and erases none: a page that had been evicted before returns to the main
 * queue when it is read again, with or without a scan over it in between.
 */
static void test_shadows(void **state)
{
	const uint64_t evicted = 60000 + 2 * PAGES - 100;
	struct folio_file *once;
	struct world world;
	uint64_t before;

	(void)state;
	begin(&world, &once);
	assert_int_equal(cached(&world, evicted, 3), 0);
	scan(once, evicted, 2);
	scan(once, SCAN, PAGES);
	assert_int_equal(cached(&world, evicted, 3), 0);
	before = refaults(&world);
	touch(&world, evicted);
	assert_int_equal(refaults(&world), before + 1);
	assert_int_equal(queue_of(once, evicted), QUEUE_MAIN);
	/* A page of the scan itself is new, and so is one that only the scan had read. */
	touch(&world, SCAN);
	assert_int_equal(refaults(&world), before + 1);
	assert_int_equal(queue_of(once, SCAN), QUEUE_SMALL);
	/* One that is used while the scan has it cached returns as well. */
	scan(once, evicted + 2, 1);
	touch(&world, evicted + 2);
	scan(once, 2 * SCAN, PAGES);
	assert_int_equal(queue_of(once, evicted + 2), QUEUE_MAIN);
	end(&world, once);
}

/* A shadow that is kept in the folio is as old as before, at any clock, with its other bit. */
static void test_former(void **state)
{
	uint64_t random = test_seed, unit, i;
	struct folio folio = {.refault = 0};
	struct folio_cache *cache = calloc(1, sizeof(*cache));

	(void)state;
	assert_non_null(cache);
	for (i = 0; i < scaled(100000); i++) {
		uint64_t clock = random_next(&random) >> 8 >> random_below(&random, 40), age;
		unsigned main = random_below(&random, 2);
		void *former;

		cache->pool.pages =
			(uint32_t)(random_next(&random) >> 33 >> random_below(&random, 25));
		unit = cache->pool.pages / 2048 + 1;
		age = random_below(&random, 7 * (uint64_t)cache->pool.pages + 1);
		clock += age;
		folio_u64_store_relaxed(&cache->evict.clock, clock - age / 2);
		once_begin(cache, &folio, tree_shadow((clock - age) << SHADOW_CLOCK_BIT | main));
		assert_int_equal(folio.refault, REFAULT_ONCE);
		folio_u64_store_relaxed(&cache->evict.clock, clock);
		former = once_former(cache, &folio);
		assert_true(tree_is_shadow(former));
		assert_int_equal(tree_shadow_value(former) & SHADOW_MAIN, main);
		if (clock - age >= unit)
			assert_in_range(clock - (tree_shadow_value(former) >> SHADOW_CLOCK_BIT),
				age, age + 2 * unit);
	}
	once_begin(cache, &folio, NULL);
	assert_null(once_former(cache, &folio));
	free(cache);
}

/* A pin through the handle keeps the page, and does not make it one of the main queue. */
static void test_pinned(void **state)
{
	struct folio *folio[20];
	struct folio_file *once;
	struct world world;
	unsigned i;

	(void)state;
	begin(&world, &once);
	for (i = 0; i < 20; i++)
		assert_int_equal(folio_file_get(once, SCAN + i, 0, &folio[i]), 0);
	scan(once, 2 * SCAN, PAGES);
	assert_int_equal(cached(&world, SCAN, 20), 20);
	assert_int_equal(queue_of(once, SCAN), QUEUE_PARKED);
	for (i = 0; i < 20; i++)
		folio_put(folio[i]);
	touch_all(&world, 20000, PAGES, 1);
	assert_int_equal(cached(&world, SCAN, 20), 0);
	end(&world, once);
}

/* ---- read-ahead ---- */

/* Windows that a scan has not read yet are not evicted for others; so each page is read once. */
static void test_windows_stay(void **state)
{
	const uint64_t pages = 4096, count = 4 * pages;
	struct folio_file *once;
	struct world world;
	uint64_t i, bytes, others = 0;

	(void)state;
	world.io = io_fault_new(test_seed, 2);
	world.contents = io_fault_add(world.io, "a", FILE_PAGES * PAGE);
	world.cache = cache_open(pages, FOLIO_CACHE_NO_HUGE_PAGES, world.io);
	world.file = file_open(world.cache, "a");
	assert_int_equal(folio_file_advise(world.file, FOLIO_ADVICE_RANDOM), 0);
	quiet_background(&world);
	touch_all(&world, 40000, 2 * pages, 1);
	once = file_open(world.cache, "a");
	assert_int_equal(folio_file_advise(once, FOLIO_ADVICE_ONCE), 0);
	bytes = cache_stats(world.cache).fill_bytes;
	for (i = 0; i < count; i++) {
		scan(once, i, 1);
		touch(&world, 40000 + others++ % 20000);
	}
	io_fault_wait_idle(world.io);
	bytes = cache_stats(world.cache).fill_bytes - bytes;
	/* All of it by windows, up to the end of the last one; the others always miss. */
	assert_true(cache_stats(world.cache).readahead_pages >= count - 16);
	assert_true(bytes / PAGE <= count + count + pages / 32);
	end(&world, once);
}

/* ---- hit ratios ---- */

#define ZIPF_PAGES 32768

static double zipf_sum[ZIPF_PAGES];

static void zipf_init(void)
{
	double sum = 0;
	unsigned i;

	for (i = 0; i < ZIPF_PAGES; i++)
		zipf_sum[i] = sum += 1.0 / (i + 1);
}

/* A page by Zipf's law; the pages of similar ranks are far apart. */
static uint64_t zipf_page(uint64_t *random)
{
	double at = (double)(random_next(random) >> 11) / (1 << 26) / (1 << 27) *
		    zipf_sum[ZIPF_PAGES - 1];
	unsigned low = 0, high = ZIPF_PAGES - 1;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (zipf_sum[middle] < at)
			low = middle + 1;
		else
			high = middle;
	}
	return low * UINT64_C(0x9e3b) % ZIPF_PAGES;
}

#define ZIPF_CACHE 4096

/*
 * Hits of @count reads by Zipf's law, after as many that fill the cache, per @count. With @once, a
 * scan over @once pages runs next to them, by the same file; it begins at page @first.
 */
static double zipf_hits(unsigned count, uint64_t first, unsigned once)
{
	uint64_t random = test_seed, missed = 0, done = 0;
	struct folio_file *scanner;
	struct world world;
	unsigned i;

	world.io = io_fault_new(test_seed, 2);
	world.contents = io_fault_add(world.io, "a", 4 * ZIPF_PAGES * PAGE);
	world.cache = cache_open(ZIPF_CACHE, FOLIO_CACHE_NO_HUGE_PAGES, world.io);
	world.file = file_open(world.cache, "a");
	scanner = file_open(world.cache, "a");
	assert_int_equal(folio_file_advise(world.file, FOLIO_ADVICE_RANDOM), 0);
	assert_int_equal(folio_file_advise(scanner, FOLIO_ADVICE_ONCE), 0);
	quiet_background(&world);
	for (i = 0; i < 2 * count; i++) {
		folio_u64 *misses;
		uint64_t before;
		char buf[16];

		if (i < count || i == count)
			missed = 0;
		for (; i >= count && done < (uint64_t)once * (i - count) / count; done++)
			scan(scanner, first + done, 1);
		folio_file_size(world.file); /* thread_last is the cache */
		misses = &thread_last.shard->count[STAT_MISSES];
		before = folio_u64_load_relaxed(misses);
		assert_int_equal(
			folio_file_read(world.file, buf, sizeof(buf), zipf_page(&random) * PAGE),
			sizeof(buf));
		missed += folio_u64_load_relaxed(misses) - before;
	}
	end(&world, scanner);
	return 1 - (double)missed / count;
}

/*
 * A scan, over eight times the cache without FOLIO_TEST_SCALE, costs others half a point of hit
 * ratio at most.
 */
static void test_hit_ratio(void **state)
{
	const unsigned count = 1000 * scaled(200), once = count / 6;
	double alone, same, other;

	(void)state;
	zipf_init();
	alone = zipf_hits(count, 0, 0);
	same = zipf_hits(count, 0, once);
	other = zipf_hits(count, ZIPF_PAGES, once);
	printf("# hits %.4f alone, %.4f next to a scan of their pages, %.4f of others\n", alone,
		same, other);
	assert_true(same >= alone - 0.005);
	assert_true(other >= alone - 0.005);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_cached_pages_stay),
		cmocka_unit_test(test_scan),
		cmocka_unit_test(test_batches),
		cmocka_unit_test(test_other_scan),
		cmocka_unit_test(test_scan_has_ended),
		cmocka_unit_test(test_first_use),
		cmocka_unit_test(test_shadows),
		cmocka_unit_test(test_former),
		cmocka_unit_test(test_pinned),
		cmocka_unit_test(test_windows_stay),
		cmocka_unit_test(test_hit_ratio),
	};

	test_begin("once");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
