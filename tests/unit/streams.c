/* SPDX-License-Identifier: BSD-2-Clause */
/* Read-ahead in a cache, counted at the backend. readahead.c tests the rule alone. */
#include "cache-test.h"

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

/* What was read last stays, although it came by read-ahead, in a cache of 1024 pages. */
static void test_cache_recent_stays(void **state)
{
	struct world *world = *state;
	uint64_t bytes, index;

	read_through(world, PAGE);
	bytes = io_fault_bytes(world->io);
	for (index = FILE_PAGES - 256; index < FILE_PAGES; index++)
		read_right(world, index * PAGE, PAGE);
	assert_int_equal(io_fault_bytes(world->io), bytes);
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
	/* The largest window is 1/64 of the budget. */
	assert_true(cache_stats(world->cache).readahead_pages >= 8);
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
	} cases[] = {{0, 16}, {1, 1}, {PAGE, 1}, {PAGE + 1, 2}, {255 * PAGE, 255},
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
	} cases[] = {{64, 1}, {16384, 256}, {32768, 512}, {65536, 1024}, {131072, 1024}};
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
	assert_int_equal(index, 4);
	io_fault_wait_held(world->io, 1);
	io_fault_release(world->io, UINT64_MAX);
}

/* ---- many streams ---- */

#define STREAM_FILE (UINT64_C(1) << 22) /* pages */

/* How streams are read: pages for a read, and pages from the beginning of one to the next. */
struct pattern {
	unsigned streams;
	bool one_handle;
	uint64_t chunk;
	int64_t step;
	uint64_t reads; /* of each stream */
	enum folio_advice advice;
	uint64_t ceiling; /* of the file, in pages; 0: none */
	bool full;        /* the cache is full of pages of another file, which were used often */
};

struct cost {
	double device;  /* pages read for each page used */
	uint64_t waits; /* reads that found a page missing */
};

/* Read by @pattern, the streams in turn, in a new cache of @pages pages. */
static struct cost cost_of(uint64_t pages, uint32_t flags, struct pattern pattern)
{
	static char buf[64 * FOLIO_PAGE_SIZE];
	struct io_fault *io = io_fault_new(test_seed, 0);
	struct io_fault_file *contents = io_fault_add(io, "a", STREAM_FILE * PAGE);
	struct folio_cache *cache = cache_open(pages, flags | FOLIO_CACHE_NO_HUGE_PAGES, io);
	struct folio_file *file[256], *other;
	struct cost cost = {0, 0};
	uint64_t before;
	uint64_t i;
	unsigned s;

	for (s = 0; s < pattern.streams; s++)
		file[s] = s && pattern.one_handle ? file[0] : file_open(cache, "a");
	for (s = 0; s < pattern.streams; s++)
		assert_int_equal(folio_file_advise(file[s], pattern.advice), 0);
	assert_int_equal(folio_file_set_share(file[0], 0, pattern.ceiling * PAGE), 0);
	io_fault_add(io, "b", pages * PAGE);
	other = file_open(cache, "b");
	assert_int_equal(folio_file_advise(other, FOLIO_ADVICE_RANDOM), 0);
	for (i = 0; pattern.full && i < 4 * pages; i++)
		assert_int_equal(folio_file_read(other, buf, 64, i % pages * PAGE), 64);
	before = io_fault_bytes(io);
	for (i = 0; i < pattern.reads; i++) {
		for (s = 0; s < pattern.streams; s++) {
			uint64_t begin = STREAM_FILE / pattern.streams * s, index;
			uint64_t misses = cache_stats(cache).misses;

			if (pattern.step < 0)
				begin += pattern.reads * (uint64_t)-pattern.step;
			index = begin + i * (uint64_t)pattern.step;
			assert_int_equal(
				folio_file_read(file[s], buf, pattern.chunk * PAGE, index * PAGE),
				pattern.chunk * PAGE);
			assert_true(io_fault_check(contents, index * PAGE, buf, 64, NULL, NULL));
			cost.waits += cache_stats(cache).misses > misses;
		}
	}
	cost.device = (double)(io_fault_bytes(io) - before) /
		      (double)(pattern.streams * pattern.reads * pattern.chunk * PAGE);
	for (s = 0; s < (pattern.one_handle ? 1 : pattern.streams); s++)
		assert_int_equal(folio_file_close(file[s]), 0);
	assert_int_equal(folio_file_close(other), 0);
	assert_int_equal(folio_cache_close(cache), 0);
	io_fault_free(io);
	return cost;
}

/* However many streams share the cache, pages are read about once, and most before their reader. */
static void test_streams_share(void **state)
{
	static const struct {
		unsigned streams;
		double most;
	} cases[] = {{1, 1.1}, {16, 1.2}, {24, 1.2}, {32, 1.3}, {48, 1.3}, {64, 1.3}, {200, 1.3}};
	unsigned i, one;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (one = 0; one < 2 && cases[i].streams * one <= 64; one++) {
			uint64_t reads = cases[i].streams > 1 ? 512 : 4096;
			struct pattern pattern = {cases[i].streams, one, 1, 1, reads};
			struct cost cost = cost_of(16384, 0, pattern);

			assert_true(cost.device <= cases[i].most);
			assert_true(cost.waits <= cases[i].streams * reads / 16);
		}
	}
}

/* So they are in the space that is for them: a part of the cache, or what a file may have. */
static void test_streams_share_less(void **state)
{
	unsigned i;

	(void)state;
	for (i = 16; i <= 64; i *= 2) {
		struct pattern once = {i, false, 1, 1, 512, FOLIO_ADVICE_ONCE, 0, true};
		struct pattern below = {i, false, 1, 1, 512, FOLIO_ADVICE_NORMAL, 1024, false};

		assert_true(cost_of(16384, 0, once).device <= 1.1);
		assert_true(cost_of(16384, 0, below).device <= 1.1);
	}
}

/* Streams for which there is no space read nothing ahead. */
static void test_streams_without_space(void **state)
{
	struct cost cost = cost_of(4096, 0, (struct pattern){200, false, 16, 16, 16});

	(void)state;
	assert_true(cost.device <= 1.3);
}

/* Readers with gaps, and backward, wait for the device until they are recognized. */
static void test_streams_with_gaps(void **state)
{
	static const struct {
		uint64_t chunk;
		int64_t step;
	} cases[] = {{1, 2}, {1, 16}, {16, 256}, {1, -1}, {16, -16}, {1, -2}, {16, -256}};
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pattern pattern = {1, false, cases[i].chunk, cases[i].step, 256};
		struct cost cost = cost_of(16384, 0, pattern);

		assert_int_equal(cost_of(16384, FOLIO_CACHE_NO_READAHEAD, pattern).waits, 256);
		assert_int_equal(cost.waits, 3);
		assert_true(cost.device <= 1.3);
	}
}

/* Runs of 16 pages at random offsets, between single ones: little is read past their ends. */
static void test_runs_among_random_reads(void **state)
{
	uint64_t random = test_seed, bytes = 0, accesses = 0, k;
	struct io_fault *io = io_fault_new(test_seed, 0);
	struct io_fault_file *contents = io_fault_add(io, "a", 65536 * PAGE);
	struct folio_cache *cache = cache_open(4096, FOLIO_CACHE_NO_HUGE_PAGES, io);
	struct world world = {io, contents, cache, file_open(cache, "a")};
	unsigned i;

	(void)state;
	for (k = 0; k < 4000; k++) {
		uint64_t run = random_below(&random, 65536 / 16) * 16;

		if (k == 1000) {
			bytes = io_fault_bytes(io);
			accesses = 0;
		}
		for (i = 0; i < 16; i++)
			read_right(&world, random_below(&random, 65536) * PAGE, PAGE);
		for (i = 0; i < 16; i++)
			read_right(&world, (run + i) * PAGE, PAGE);
		accesses += 32;
	}
	bytes = io_fault_bytes(io) - bytes;
	/* Of uniformly random pages, 94 % miss, and as many of the runs. */
	assert_true(bytes / PAGE <= accesses + accesses / 10);
	assert_int_equal(folio_file_close(world.file), 0);
	assert_int_equal(folio_cache_close(cache), 0);
	io_fault_free(io);
}

/*
 * A loop over nearly as many pages as the cache can have. Read-ahead goes past its end once. The
 * pages read there leave before those of the loop, which stay although they came by read-ahead.
 */
static void test_loop(void **state)
{
	enum { LOOP = 4096 * 98 / 100, LAPS = 20 };
	struct io_fault *io = io_fault_new(test_seed, 0);
	struct io_fault_file *contents = io_fault_add(io, "a", 65536 * PAGE);
	struct folio_cache *cache = cache_open(4096, FOLIO_CACHE_NO_HUGE_PAGES, io);
	struct world world = {io, contents, cache, file_open(cache, "a")};
	uint64_t i;

	(void)state;
	for (i = 0; i < LOOP * LAPS; i++)
		read_right(&world, i % LOOP * PAGE, PAGE);
	assert_true(cache_stats(cache).readahead_pages >= LOOP / 2);
	assert_true(io_fault_bytes(io) / PAGE < LOOP * 5 / 4);
	assert_true(cache_stats(cache).readahead_unused <= 256);
	assert_int_equal(folio_file_close(world.file), 0);
	assert_int_equal(folio_cache_close(cache), 0);
	io_fault_free(io);
}

#define in_world(test) cmocka_unit_test_setup_teardown(test, world_begin, world_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		in_world(test_cache_sequential),
		in_world(test_cache_recent_stays),
		in_world(test_cache_sequential_get),
		in_world(test_cache_large_folios),
		in_world(test_cache_random),
		in_world(test_cache_advised_random),
		in_world(test_cache_advised_sequential),
		cmocka_unit_test(test_cache_without),
		cmocka_unit_test(test_cache_parameter),
		cmocka_unit_test(test_cache_by_budget),
		in_world(test_cache_ahead_is_not_waited_for),
		cmocka_unit_test(test_streams_share),
		cmocka_unit_test(test_streams_share_less),
		cmocka_unit_test(test_streams_without_space),
		cmocka_unit_test(test_streams_with_gaps),
		cmocka_unit_test(test_runs_among_random_reads),
		cmocka_unit_test(test_loop),
	};

	test_begin("streams");
	return cmocka_run_group_tests_name("streams", tests, NULL, NULL);
}
