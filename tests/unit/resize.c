/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A budget that changes while the cache is used: memory is returned to the kernel and used again,
 * pins stay, dirty pages are written first, and no reader notices.
 */
#include <pthread.h>
#include <sys/mman.h>

#include "cache-test.h"
#include "large-pages.h"
#include "quiet-cache.h"

#define MAX_PAGES 1024

static struct folio_cache *open_resizable(
	uint64_t pages, const struct folio_io_ops *io, void *io_context)
{
	struct folio_cache_params params = {
		.size = sizeof(params),
		.bytes = pages * PAGE,
		.bytes_max = MAX_PAGES * PAGE,
		.flags = FOLIO_CACHE_NO_HUGE_PAGES,
		.dirty_age_ms = UINT32_MAX,
		.io = io,
		.io_context = io_context,
	};
	struct folio_cache *cache = NULL;

	assert_int_equal(folio_cache_open(&params, &cache), 0);
	return cache;
}

/* The limits of a cache that was opened with this budget. */
static struct cache_limits limits_at(uint64_t pages)
{
	struct folio_cache *cache = open_resizable(pages, &folio_io_threads, NULL);
	struct cache_limits limits = limits_of(cache);

	assert_int_equal(folio_cache_close(cache), 0);
	return limits;
}

/* No call runs: is the cache as if it had been opened with its present budget? */
static void check_as_new(struct folio_cache *cache)
{
	struct cache_limits limits = limits_at(cache_stats(cache).pages);

	expect_quiet(cache, &limits);
}

/* The number of page frames of the reservation that have memory. */
static uint64_t resident(const struct folio_cache *cache)
{
	static unsigned char map[MAX_PAGES];
	uint64_t n = 0, i;

	assert_int_equal(mincore(cache->pool.data, cache->pool.data_bytes, map), 0);
	for (i = 0; i < cache->pool.pages; i++)
		n += map[i] & 1;
	return n;
}

static void check_read(struct folio_file *file, struct io_fault_file *contents, uint64_t index)
{
	char buf[200];

	assert_int_equal(folio_file_read(file, buf, sizeof(buf), index * PAGE + 100), sizeof(buf));
	assert_true(io_fault_check(contents, index * PAGE + 100, buf, sizeof(buf), NULL, NULL));
}

static void test_arguments(void **state)
{
	struct folio_cache_params params = {.size = sizeof(params), .bytes = 128 * PAGE};
	struct folio_cache *cache;

	(void)state;
	params.bytes_max = 127 * PAGE;
	assert_int_equal(folio_cache_open(&params, &cache), -EINVAL);
	params.bytes_max = 0;
	assert_int_equal(folio_cache_open(&params, &cache), 0);
	assert_int_equal(folio_cache_resize(NULL, 128 * PAGE), -EINVAL);
	assert_int_equal(folio_cache_resize(cache, 129 * PAGE), -EINVAL);
	assert_int_equal(folio_cache_resize(cache, FOLIO_CACHE_BYTES_MIN - 1), -EINVAL);
	assert_int_equal(folio_cache_resize(cache, 100 * PAGE + 1), 0);
	assert_int_equal(cache_stats(cache).pages, 100);
	assert_int_equal(cache_stats(cache).pages_free, 100);
	assert_int_equal(folio_cache_resize(cache, 128 * PAGE), 0);
	assert_int_equal(cache_stats(cache).pages_free, 128);
	assert_int_equal(folio_cache_close(cache), 0);
}

/* Filled, shrunk, grown: never more pages than the budget, and no more memory. */
static void test_memory(void **state)
{
	struct io_fault *io = io_fault_new(test_seed, 2);
	struct io_fault_file *contents = io_fault_add(io, "a", 4 * MAX_PAGES * PAGE);
	struct folio_cache *cache = open_resizable(256, &io_fault_ops, io);
	struct folio_file *file = file_open(cache, "a");
	uint64_t random = test_seed, pages = 256, i;
	unsigned round;

	(void)state;
	for (round = 0; round < 30; round++) {
		struct folio_cache_stats stats;

		for (i = 0; i < 2 * pages; i++)
			check_read(file, contents, i);
		stats = cache_stats(cache);
		assert_int_equal(stats.pages, pages);
		assert_in_range(stats.pages_file, pages / 4, pages);
		assert_in_range(resident(cache), pages / 2, pages);
		pages = 64 + random_below(&random, MAX_PAGES - 63);
		assert_int_equal(folio_cache_resize(cache, pages * PAGE), 0);
		assert_int_equal(cache_stats(cache).pages, pages);
		assert_in_range(resident(cache), 0, pages);
	}
	assert_int_equal(folio_file_close(file), 0);
	/* The evictor may hold a page for a moment after its file has dropped it. */
	wait_until(cache_stats(cache).pages_free == pages);
	assert_int_equal(folio_cache_close(cache), 0);
	io_fault_free(io);
}

/* As small as the pins allow; they keep their contents. */
static void test_pinned(void **state)
{
	struct io_fault *io = io_fault_new(test_seed, 2);
	struct io_fault_file *contents = io_fault_add(io, "a", MAX_PAGES * PAGE);
	struct folio_cache *cache = open_resizable(512, &io_fault_ops, io);
	struct folio_file *file = file_open(cache, "a");
	struct folio *pin[200];
	uint64_t i;

	(void)state;
	assert_int_equal(folio_file_advise(file, FOLIO_ADVICE_RANDOM), 0);
	for (i = 0; i < 200; i++)
		assert_int_equal(folio_file_get(file, 3 * i, 0, &pin[i]), 0);
	assert_int_equal(folio_cache_resize(cache, 100 * PAGE), -EBUSY);
	assert_int_equal(cache_stats(cache).pages, 200);
	for (i = 0; i < 200; i++)
		assert_true(io_fault_check(
			contents, 3 * i * PAGE, folio_page(pin[i], 3 * i), PAGE, NULL, NULL));
	/* No page is left for anything else. */
	assert_int_equal(folio_file_read(file, &i, sizeof(i), 700 * PAGE), -ENOMEM);
	assert_int_equal(folio_cache_resize(cache, 201 * PAGE), 0);
	check_read(file, contents, 700);
	for (i = 0; i < 200; i++)
		folio_put(pin[i]);
	assert_int_equal(folio_cache_resize(cache, 100 * PAGE), 0);
	assert_int_equal(cache_stats(cache).pages, 100);
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(folio_cache_close(cache), 0);
	io_fault_free(io);
}

/*
 * However often a resize ends with -EBUSY, the cache then has the limits of the budget that it has
 * reached. Without the pins it works, and its budget can become smaller and larger.
 */
static void test_after_busy(void **state)
{
	struct io_fault *io = io_fault_new(test_seed, 2);
	struct io_fault_file *contents = io_fault_add(io, "a", MAX_PAGES * PAGE);
	struct folio_cache *cache = open_resizable(512, &io_fault_ops, io);
	struct folio_file *file = file_open(cache, "a");
	struct cache_limits limits = limits_at(200);
	static const uint64_t after[] = {100, 512, 150};
	struct folio *pin[200];
	uint64_t i, k;

	(void)state;
	assert_int_equal(folio_file_advise(file, FOLIO_ADVICE_RANDOM), 0);
	for (i = 0; i < 200; i++)
		assert_int_equal(folio_file_get(file, 3 * i, 0, &pin[i]), 0);
	for (i = 0; i < 65; i++) {
		assert_int_equal(folio_cache_resize(cache, (100 + i) * PAGE), -EBUSY);
		expect_limits(cache, &limits);
		expect_evict_limits(cache);
	}
	for (i = 0; i < 200; i++)
		folio_put(pin[i]);
	check_as_new(cache);
	for (k = 0; k < 3; k++) {
		for (i = 0; i < MAX_PAGES; i++)
			check_read(file, contents, i * 7 % MAX_PAGES);
		check_as_new(cache);
		assert_int_equal(folio_cache_resize(cache, after[k] * PAGE), 0);
		check_as_new(cache);
	}
	assert_int_equal(folio_file_close(file), 0);
	check_as_new(cache);
	assert_int_equal(folio_cache_close(cache), 0);
	io_fault_free(io);
}

/* The library's backend with threads, whose writes fail while refused is set. */
static folio_u32 refused;
static struct folio_io_ops refusing;

static void refusing_submit(void *context, struct folio_io_request **requests, unsigned count)
{
	unsigned i;

	for (i = 0; i < count; i++)
		if (requests[i]->op == FOLIO_IO_WRITE && folio_u32_load_relaxed(&refused))
			requests[i]->complete(requests[i], -EIO);
		else
			folio_io_threads.submit(context, &requests[i], 1);
}

/* Dirty pages are written first; if that fails, they stay. */
static void test_dirty(void **state)
{
	enum { DIRTY = 140 };
	char path[] = "folio-resize-XXXXXX", page[FOLIO_PAGE_SIZE], got[FOLIO_PAGE_SIZE];
	struct folio_cache *cache;
	struct folio_file *file;
	uint64_t i;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	refusing = folio_io_threads;
	refusing.submit = refusing_submit;
	cache = open_resizable(800, &refusing, NULL);
	assert_int_equal(folio_file_open(cache, path, O_RDWR, 0, &file), 0);
	/* Once something was written, the file may have most of what may be dirty: 200 pages. */
	memset(page, 1, sizeof(page));
	assert_int_equal(folio_file_write(file, page, PAGE, 0), PAGE);
	assert_int_equal(folio_file_sync(file, NULL, 0), 0);
	folio_u32_store_relaxed(&refused, 1);
	for (i = 0; i < DIRTY; i++) {
		memset(page, (int)i + 1, sizeof(page));
		assert_int_equal(folio_file_write(file, page, PAGE, i * PAGE), PAGE);
	}
	assert_int_equal(folio_cache_resize(cache, 80 * PAGE), -EBUSY);
	assert_in_range(cache_stats(cache).pages, DIRTY, DIRTY + 64);
	assert_int_equal(cache_stats(cache).pages_dirty, DIRTY);
	check_as_new(cache);
	folio_u32_store_relaxed(&refused, 0);
	assert_int_equal(folio_cache_resize(cache, 80 * PAGE), 0);
	check_as_new(cache);
	assert_in_range(cache_stats(cache).pages_dirty, 0, 80);
	assert_in_range(resident(cache), 0, 80);
	/* The error is reported once; then all data are in the file. */
	assert_int_equal(folio_file_sync(file, NULL, 0), -EIO);
	assert_int_equal(folio_file_sync(file, NULL, 0), 0);
	for (i = 0; i < DIRTY; i++) {
		memset(page, (int)i + 1, sizeof(page));
		assert_int_equal(pread(fd, got, PAGE, (off_t)(i * PAGE)), PAGE);
		assert_memory_equal(got, page, PAGE);
		assert_int_equal(folio_file_read(file, got, PAGE, i * PAGE), PAGE);
		assert_memory_equal(got, page, PAGE);
	}
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(folio_cache_close(cache), 0);
	close(fd);
	unlink(path);
}

/*
 * Where a page of the kernel has 16 frames, shrinking by a few frames at a time frees no page that
 * has a frame in use, and every page that has none. Frames in use keep their contents.
 */
static void test_large_pages(void **state)
{
	struct io_fault *io = io_fault_new(test_seed, 2);
	struct io_fault_file *contents = io_fault_add(io, "a", MAX_PAGES * PAGE);
	uint64_t pages = MAX_PAGES, i, random = test_seed, in_use = 0;
	struct folio *pin[MAX_PAGES];
	struct folio_cache *cache;
	struct folio_file *file;
	bool used[MAX_PAGES / 16] = {false};

	(void)state;
	if (!LARGE_PAGES_WORK) {
		print_message("# skipped: calls for memory cannot be replaced here\n");
		return;
	}
	large_pages_begin();
	cache = open_resizable(MAX_PAGES, &io_fault_ops, io);
	file = file_open(cache, "a");
	assert_int_equal(folio_file_advise(file, FOLIO_ADVICE_RANDOM), 0);
	/* Every frame has memory; few stay in use, scattered over the frames. */
	for (i = 0; i < MAX_PAGES; i++)
		assert_int_equal(folio_file_get(file, i, 0, &pin[i]), 0);
	for (i = MAX_PAGES; i-- > 0;) {
		uint64_t other = random_below(&random, i + 1);
		struct folio *folio = pin[i];

		pin[i] = pin[other];
		pin[other] = folio;
	}
	for (i = 64; i < MAX_PAGES; i++)
		folio_put(pin[i]);
	while (pages > 64) {
		pages -= 1 + random_below(&random, pages - 64 < 40 ? pages - 64 : 40);
		assert_int_equal(folio_cache_resize(cache, pages * PAGE), 0);
		for (i = 0; i < 64; i++)
			assert_true(io_fault_check(contents, folio_index(pin[i]) * PAGE,
				folio_data(pin[i]), PAGE, NULL, NULL));
	}
	for (i = 0; i < 64; i++)
		used[pool_page(&cache->pool, pin[i]) / 16] = true;
	for (i = 0; i < MAX_PAGES / 16; i++)
		in_use += used[i];
	assert_in_range(resident(cache), 64, in_use * 16);
	assert_int_equal(large_refused, 0);
	/* Back in use: the same frames. */
	assert_int_equal(folio_cache_resize(cache, MAX_PAGES * PAGE), 0);
	for (i = 0; i < MAX_PAGES; i++)
		check_read(file, contents, i);
	for (i = 0; i < 64; i++)
		folio_put(pin[i]);
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(folio_cache_close(cache), 0);
	large_pages_end();
	io_fault_free(io);
}

/*
 * A program that locks its memory gets the frames of its budget, and not of the largest budget that
 * it may ask for. It gets them at once, and again less of them when the budget shrinks.
 */
static void test_locked_memory(void **state)
{
	struct folio_cache *cache = NULL;
	struct folio_cache_params params = {.size = sizeof(params),
		.bytes = 256 * PAGE,
		.bytes_max = MAX_PAGES * PAGE,
		.flags = FOLIO_CACHE_NO_HUGE_PAGES};
	unsigned char here = 0;
	bool locked;
	char *probe;
	int r;

	(void)state;
	assert_int_equal(mlockall(MCL_FUTURE), 0);
	/* Sanitizers ignore mlockall. */
	probe = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	locked = probe != MAP_FAILED && !mincore(probe, PAGE, &here) && here & 1;
	r = folio_cache_open(&params, &cache);
	if (r == -ENOMEM || probe == MAP_FAILED) {
		munlockall();
		print_message("# skipped: too little memory may be locked here\n");
		return;
	}
	assert_int_equal(r, 0);
	assert_in_range(resident(cache), locked ? 256 : 0, 256);
	assert_int_equal(folio_cache_resize(cache, 300 * PAGE), 0);
	assert_in_range(resident(cache), locked ? 300 : 0, 300);
	r = folio_cache_resize(cache, 100 * PAGE);
	/* Before Linux 5.18, the kernel keeps locked memory. */
	if (r != -EINVAL) {
		assert_int_equal(r, 0);
		assert_in_range(resident(cache), 0, 100);
	}
	assert_int_equal(munlockall(), 0);
	assert_int_equal(munmap(probe, PAGE), 0);
	assert_int_equal(folio_cache_close(cache), 0);
}

struct crowd {
	struct folio_file *file;
	struct io_fault_file *contents;
	folio_u32 stop;
	folio_u64 reads;
	folio_u32 number;
};

static void *reader(void *arg)
{
	struct crowd *crowd = arg;
	uint64_t random = test_seed + folio_u32_fetch_add_relaxed(&crowd->number, 1) + 1;

	while (!folio_u32_load_relaxed(&crowd->stop)) {
		uint64_t index = random_below(&random, 2 * MAX_PAGES);

		if (random_below(&random, 2)) {
			check_read(crowd->file, crowd->contents, index);
		} else {
			struct folio *folio;

			assert_int_equal(folio_file_get(crowd->file, index, 0, &folio), 0);
			assert_true(io_fault_check(crowd->contents, index * PAGE,
				folio_page(folio, index), PAGE, NULL, NULL));
			folio_put(folio);
		}
		folio_u64_fetch_add_relaxed(&crowd->reads, 1);
	}
	return NULL;
}

static void *resizer(void *arg)
{
	struct folio_cache *cache = arg;
	uint64_t random = test_seed;
	unsigned round;

	for (round = 0; round < scaled(150); round++) {
		uint64_t pages = 64 + random_below(&random, MAX_PAGES - 63);
		int r = folio_cache_resize(cache, pages * PAGE);

		assert_true(r == 0 || r == -EBUSY);
	}
	return NULL;
}

/* Readers do not notice a resize. */
static void test_with_readers(void **state)
{
	struct io_fault *io = io_fault_new(test_seed, 2);
	struct io_fault_file *contents = io_fault_add(io, "a", 2 * MAX_PAGES * PAGE);
	struct folio_cache *cache = open_resizable(512, &io_fault_ops, io);
	struct crowd crowd = {.file = file_open(cache, "a"), .contents = contents};
	pthread_t thread[4], changer[2];
	unsigned i;

	(void)state;
	for (i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, reader, &crowd), 0);
	for (i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&changer[i], NULL, resizer, cache), 0);
	for (i = 0; i < 2; i++)
		pthread_join(changer[i], NULL);
	wait_until(folio_u64_load_relaxed(&crowd.reads) > 1000);
	folio_u32_store_relaxed(&crowd.stop, 1);
	for (i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(folio_cache_resize(cache, 300 * PAGE), 0);
	assert_in_range(resident(cache), 0, 300);
	assert_int_equal(folio_file_close(crowd.file), 0);
	wait_until(cache_stats(cache).pages_free == 300);
	assert_int_equal(folio_cache_close(cache), 0);
	io_fault_free(io);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_pinned),
		cmocka_unit_test(test_after_busy),
		cmocka_unit_test(test_dirty),
		cmocka_unit_test(test_large_pages),
		cmocka_unit_test(test_locked_memory),
		cmocka_unit_test(test_with_readers),
	};

	test_begin("resize");
	return cmocka_run_group_tests_name("resize", tests, NULL, NULL);
}
