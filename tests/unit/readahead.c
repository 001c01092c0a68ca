/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Read-ahead: sequential reading is detected and windows grow ahead of it; random reading opens
 * none. First the rule alone, then with a cache, counted at the backend.
 */
#include "cache-test.h"

/* ---- the rule ---- */

static bool power_of_two(uint64_t x)
{
	return x && !(x & (x - 1));
}

/* What every answer satisfies. */
static void expect_sane(struct window window, uint64_t index, uint64_t pages, uint64_t max)
{
	assert_int_equal(window.demand_end, index + pages);
	assert_true(window.end >= window.demand_end);
	assert_true(window.end - window.demand_end <= max);
}

static void test_first_miss(void **state)
{
	static const uint64_t places[] = {0, 1, 7, 1000, UINT64_C(1) << 40};
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		struct streams streams;
		struct window window;

		streams_init(&streams);
		window = streams_miss(&streams, places[i], 3, 1024);
		expect_sane(window, places[i], 3, 1024);
		assert_int_equal(window.end, window.demand_end);
		streams_destroy(&streams);
	}
}

/* A reader of single pages: the second miss opens a window, and from then on marks continue it. */
static void follow(uint64_t begin, uint64_t pages, uint64_t max)
{
	uint64_t start, end, mark, last = 0, largest = 0;
	struct streams streams;
	struct window window;
	unsigned i;

	streams_init(&streams);
	streams_miss(&streams, begin, pages, max);
	window = streams_miss(&streams, begin + pages, pages, max);
	expect_sane(window, begin + pages, pages, max);
	assert_true(window.end > window.demand_end);
	mark = window.demand_end;
	end = window.end;
	for (i = 0; i < 30; i++) {
		uint64_t before = end;

		assert_true(streams_mark(&streams, mark, max, &start, &end));
		/*
		 * It starts where the last window ended, is not empty, not too large, and no
		 * smaller than the last one.
		 */
		assert_int_equal(start, before);
		assert_true(end > start);
		assert_true(end - start <= max);
		if (i > 1)
			assert_true(end - start >= last);
		last = end - start;
		if (last > largest)
			largest = last;
		mark = start;
	}
	/* It has grown to the largest power of two, and ends where folios of its size do. */
	assert_true(power_of_two(largest));
	assert_true(largest <= max && largest * 2 > max);
	assert_int_equal(last, largest);
	assert_int_equal(end % largest, 0);
	streams_destroy(&streams);
}

static void test_sequential(void **state)
{
	static const uint64_t begins[] = {0, 1, 13, 64, 4095, UINT64_C(1) << 40};
	static const uint64_t maxima[] = {1, 2, 3, 16, 100, 256, 1000, 1024, 4096};
	static const uint64_t sizes[] = {1, 2, 5, 16, 33};
	unsigned b, m, s;

	(void)state;
	for (b = 0; b < sizeof(begins) / sizeof(begins[0]); b++)
		for (m = 0; m < sizeof(maxima) / sizeof(maxima[0]); m++)
			for (s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
				follow(begins[b], sizes[s], maxima[m]);
}

/* Consecutive misses, as when marks get lost: windows also double. */
static void test_sequential_misses(void **state)
{
	struct streams streams;
	uint64_t index = 0, last = 0, window_pages;
	unsigned i;

	(void)state;
	streams_init(&streams);
	for (i = 0; i < 20; i++) {
		struct window window = streams_miss(&streams, index, 1, 256);

		expect_sane(window, index, 1, 256);
		window_pages = window.end - window.demand_end;
		if (i > 0)
			assert_true(window_pages > 0);
		if (i > 2 && last < 128)
			assert_true(window_pages > last);
		last = window_pages;
		index = window.end;
	}
	assert_true(last >= 128);
	streams_destroy(&streams);
}

static void test_off(void **state)
{
	uint64_t start, end, i;
	struct streams streams;

	(void)state;
	streams_init(&streams);
	for (i = 0; i < 100; i++) {
		struct window window = streams_miss(&streams, i, 1, 0);

		assert_int_equal(window.end, window.demand_end);
		assert_false(streams_mark(&streams, i, 0, &start, &end));
	}
	streams_destroy(&streams);
	streams_init(&streams);
	folio_u32_store_relaxed(&streams.advice, FOLIO_ADVICE_RANDOM);
	for (i = 0; i < 100; i++) {
		struct window window = streams_miss(&streams, i, 1, 1024);

		assert_int_equal(window.end, window.demand_end);
		assert_false(streams_mark(&streams, i, 1024, &start, &end));
	}
	streams_destroy(&streams);
}

/* A reader that advises sequential access gets the largest window at once, at any offset. */
static void test_advised(void **state)
{
	struct streams streams;
	uint64_t start, end;
	struct window window;

	(void)state;
	streams_init(&streams);
	folio_u32_store_relaxed(&streams.advice, FOLIO_ADVICE_SEQUENTIAL);
	window = streams_miss(&streams, 4096, 1, 1024);
	expect_sane(window, 4096, 1, 1024);
	assert_true(window.end - window.demand_end >= 512);
	assert_true(streams_mark(&streams, window.demand_end, 1024, &start, &end));
	assert_int_equal(start, window.end);
	assert_int_equal(end - start, 1024);
	streams_destroy(&streams);
}

/* Random reading in a large file reads nothing ahead, however long it continues. */
static void test_random(void **state)
{
	uint64_t random = test_seed, start, end;
	struct streams streams;
	unsigned i;

	(void)state;
	streams_init(&streams);
	for (i = scaled(200000); i-- > 0;) {
		uint64_t index = random_below(&random, UINT64_C(1) << 45);
		struct window window = streams_miss(&streams, index, 1, 1024);

		expect_sane(window, index, 1, 1024);
		assert_int_equal(window.end, window.demand_end);
		/* The mark of a reader from long ago. */
		index = random_below(&random, UINT64_C(1) << 45);
		assert_false(streams_mark(&streams, index, 1024, &start, &end));
	}
	streams_destroy(&streams);
}

/*
 * As many streams as are remembered continue in parallel, in any order, also with random misses
 * between them.
 */
static void test_interleaved(void **state)
{
	uint64_t random = test_seed, mark[STREAMS], ends[STREAMS], start;
	struct streams streams;
	unsigned i, s;

	(void)state;
	streams_init(&streams);
	for (s = 0; s < STREAMS; s++)
		streams_miss(&streams, s * UINT64_C(1000000), 1, 64);
	for (s = 0; s < STREAMS; s++) {
		struct window window = streams_miss(&streams, s * UINT64_C(1000000) + 1, 1, 64);

		assert_true(window.end > window.demand_end);
		mark[s] = window.demand_end;
		ends[s] = window.end;
	}
	for (i = 0; i < 1000; i++) {
		uint64_t before;

		s = (unsigned)random_below(&random, STREAMS);
		before = ends[s];
		assert_true(streams_mark(&streams, mark[s], 64, &start, &ends[s]));
		assert_int_equal(start, before);
		mark[s] = start;
	}
	streams_destroy(&streams);
}

/* For any calls, answers stay within the request. */
static void test_anything(void **state)
{
	uint64_t random = test_seed, place = 0, start, end;
	struct streams streams;
	unsigned i;

	(void)state;
	streams_init(&streams);
	for (i = scaled(200000); i-- > 0;) {
		uint64_t max = random_below(&random, 3) ? 1024 : random_below(&random, 200);
		uint64_t pages = 1 + random_below(&random, random_below(&random, 4) ? 4 : 600);

		if (random_below(&random, 20) == 0)
			folio_u32_store_relaxed(
				&streams.advice, (uint32_t)random_below(&random, 3));
		if (random_below(&random, 3) == 0)
			place = random_below(&random, 5000);
		if (random_below(&random, 2)) {
			struct window window = streams_miss(&streams, place, pages, max);

			expect_sane(window, place, pages, max);
			place = random_below(&random, 2) ? window.end : window.demand_end;
		} else if (streams_mark(&streams, place, max, &start, &end)) {
			assert_true(end > start);
			assert_true(end - start <= max);
			place = random_below(&random, 2) ? start : end;
		}
	}
	streams_destroy(&streams);
}

/* ---- in a cache ---- */

#define FILE_PAGES 4096

struct world {
	struct io_fault *io;
	struct io_fault_file *contents;
	struct folio_cache *cache;
	struct folio_file *file;
};

static int world_begin(void **state)
{
	struct world *world = calloc(1, sizeof(*world));

	world->io = io_fault_new(test_seed, 2);
	world->contents = io_fault_add(world->io, "a", FILE_PAGES * PAGE);
	world->cache = cache_open(1024, FOLIO_CACHE_NO_HUGE_PAGES, world->io);
	world->file = file_open(world->cache, "a");
	*state = world;
	return 0;
}

static int world_end(void **state)
{
	struct world *world = *state;

	assert_int_equal(folio_file_close(world->file), 0);
	assert_int_equal(folio_cache_close(world->cache), 0);
	io_fault_free(world->io);
	free(world);
	return 0;
}

static void read_right(struct world *world, uint64_t offset, size_t len)
{
	static char buf[64 * FOLIO_PAGE_SIZE];

	assert_int_equal(folio_file_read(world->file, buf, len, offset), len);
	assert_true(io_fault_check(world->contents, offset, buf, len, NULL, NULL));
}

/*
 * Every page is read once, by far fewer and larger requests than there are pages, and some pages
 * are read ahead.
 */
static void read_through(struct world *world, size_t len)
{
	uint64_t calls = io_fault_calls(world->io, IO_FAULT_READ),
		 bytes = io_fault_bytes(world->io), offset;

	for (offset = 0; offset < FILE_PAGES * PAGE; offset += len)
		read_right(world, offset, len);
	io_fault_wait_idle(world->io);
	calls = io_fault_calls(world->io, IO_FAULT_READ) - calls;
	bytes = io_fault_bytes(world->io) - bytes;
	assert_true(calls <= FILE_PAGES / 8);
	assert_true(bytes <= FILE_PAGES * PAGE + 64 * PAGE);
}

static void test_cache_sequential(void **state)
{
	static const size_t sizes[] = {64, 4096, 16384, 65536, 64 * 4096};
	struct world *world = *state;
	unsigned i;

	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct folio_cache_stats before = cache_stats(world->cache), after;

		read_through(world, sizes[i]);
		after = cache_stats(world->cache);
		assert_true(after.readahead_pages - before.readahead_pages >= FILE_PAGES / 4);
		assert_int_equal(folio_file_invalidate(world->file, 0, UINT64_MAX), 0);
	}
}

static void test_cache_sequential_get(void **state)
{
	struct world *world = *state;
	uint64_t index;

	for (index = 0; index < FILE_PAGES; index++) {
		struct folio *folio;
		void *page;

		assert_int_equal(folio_file_get_page(world->file, index, 0, &folio, &page), 0);
		assert_true(io_fault_check(world->contents, index * PAGE, page, PAGE, NULL, NULL));
		folio_put(folio);
	}
	assert_true(io_fault_calls(world->io, IO_FAULT_READ) <= FILE_PAGES / 8);
	assert_true(cache_stats(world->cache).readahead_pages >= FILE_PAGES / 2);
}

/* Read-ahead uses large folios: there are fewer descriptors in use than pages. */
static void test_cache_large_folios(void **state)
{
	struct world *world = *state;
	uint64_t index, large = 0;

	for (index = 0; index < 1024; index++)
		read_right(world, index * PAGE, PAGE);
	for (index = 512; index < 1024; index++) {
		struct folio *folio;

		assert_int_equal(folio_file_get(world->file, index, 0, &folio), 0);
		large += folio_order(folio) >= 2;
		folio_put(folio);
	}
	assert_true(large >= 256);
}

static void test_cache_random(void **state)
{
	uint64_t random = test_seed, i, last = 0;
	struct world *world = *state;

	for (i = 0; i < 3000; i++) {
		uint64_t index = random_below(&random, FILE_PAGES);

		/* Two pages in a row by chance are no random reading. */
		if (index - last + 2 <= 4)
			continue;
		last = index;
		read_right(world, index * PAGE + random_below(&random, PAGE - 64), 64);
	}
	io_fault_wait_idle(world->io);
	/* A random miss next to a remembered one opens a window now and then. */
	assert_true(cache_stats(world->cache).readahead_pages <= 3000 / 4);
}

static void test_cache_advised_random(void **state)
{
	struct world *world = *state;
	uint64_t index;

	assert_int_equal(folio_file_advise(world->file, FOLIO_ADVICE_RANDOM), 0);
	for (index = 0; index < 500; index++)
		read_right(world, index * PAGE, 64);
	assert_int_equal(cache_stats(world->cache).readahead_pages, 0);
	assert_int_equal(io_fault_calls(world->io, IO_FAULT_READ), 500);
	assert_int_equal(io_fault_bytes(world->io), 500 * PAGE);
}

static void test_cache_advised_sequential(void **state)
{
	struct world *world = *state;

	assert_int_equal(folio_file_advise(world->file, FOLIO_ADVICE_SEQUENTIAL), 0);
	read_right(world, 2048 * PAGE, 64);
	io_fault_wait_idle(world->io);
	/* The largest window is 1/32 of the budget. */
	assert_true(cache_stats(world->cache).readahead_pages >= 16);
}

static void test_cache_without(void **state)
{
	struct io_fault *io = io_fault_new(test_seed, 2);
	struct world world = {.io = io, .contents = io_fault_add(io, "a", 100 * PAGE)};
	uint64_t index;

	(void)state;
	world.cache = cache_open(1024, FOLIO_CACHE_NO_READAHEAD, io);
	world.file = file_open(world.cache, "a");
	for (index = 0; index < 100; index++)
		read_right(&world, index * PAGE, 64);
	assert_int_equal(cache_stats(world.cache).readahead_pages, 0);
	assert_int_equal(io_fault_calls(io, IO_FAULT_READ), 100);
	assert_int_equal(folio_file_close(world.file), 0);
	assert_int_equal(folio_cache_close(world.cache), 0);
	io_fault_free(io);
}

/* The parameter: rounded up to pages, a quarter of the budget at most, however large it is. */
static void test_cache_parameter(void **state)
{
	static const struct {
		uint64_t bytes, pages;
	} cases[] = {{0, 32}, {1, 1}, {PAGE, 1}, {PAGE + 1, 2}, {255 * PAGE, 255},
		{256 * PAGE, 256}, {257 * PAGE, 256}, {INT64_MAX, 256}, {UINT64_MAX - PAGE, 256},
		{UINT64_MAX - PAGE + 2, 256}, {UINT64_MAX, 256}};
	struct folio_cache_params params = {.size = sizeof(params), .bytes = 1024 * PAGE};
	struct folio_cache *cache;
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		params.readahead = cases[i].bytes;
		assert_int_equal(folio_cache_open(&params, &cache), 0);
		assert_int_equal(folio_u32_load_relaxed(&cache->readahead_pages), cases[i].pages);
		assert_int_equal(folio_cache_close(cache), 0);
	}
}

/* Without it: a part of the budget, up to 4 MiB. */
static void test_cache_by_budget(void **state)
{
	static const struct {
		uint64_t pages, window;
	} cases[] = {{64, 2}, {16384, 512}, {32768, 1024}, {65536, 1024}};
	struct folio_cache *cache;
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cache = cache_open(cases[i].pages, FOLIO_CACHE_NO_HUGE_PAGES, NULL);
		assert_int_equal(folio_u32_load_relaxed(&cache->readahead_pages), cases[i].window);
		assert_int_equal(folio_cache_close(cache), 0);
	}
}

/* The next window is being read while the reader is in the present one: it does not wait for it. */
static void test_cache_ahead_is_not_waited_for(void **state)
{
	struct world *world = *state;
	uint64_t index;

	read_right(world, 0, 64);
	read_right(world, PAGE, 64);
	io_fault_wait_idle(world->io);
	/* The cached pages are a window; reaching its mark submits the next one, which is held. */
	io_fault_hold(world->io);
	for (index = 2; page_cached(world->file, index) && page_references(world->file, index) == 1;
		index++)
		read_right(world, index * PAGE, 64);
	assert_true(index > 4);
	io_fault_wait_held(world->io, 1);
	io_fault_release(world->io, UINT64_MAX);
}

#define in_world(test) cmocka_unit_test_setup_teardown(test, world_begin, world_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_miss),
		cmocka_unit_test(test_sequential),
		cmocka_unit_test(test_sequential_misses),
		cmocka_unit_test(test_off),
		cmocka_unit_test(test_advised),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_interleaved),
		cmocka_unit_test(test_anything),
		in_world(test_cache_sequential),
		in_world(test_cache_sequential_get),
		in_world(test_cache_large_folios),
		in_world(test_cache_random),
		in_world(test_cache_advised_random),
		in_world(test_cache_advised_sequential),
		cmocka_unit_test(test_cache_without),
		cmocka_unit_test(test_cache_parameter),
		cmocka_unit_test(test_cache_by_budget),
		in_world(test_cache_ahead_is_not_waited_for),
	};

	test_begin("readahead");
	return cmocka_run_group_tests_name("readahead", tests, NULL, NULL);
}
