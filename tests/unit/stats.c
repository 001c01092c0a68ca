/* SPDX-License-Identifier: BSD-2-Clause */
/* Statistics: each page requested is counted once, and each page read is accounted for. */
#include <sys/stat.h>

#include "fault-world.h"
#include "io/file.h"

/* Each page that a read fetches is a miss, also when one request fetches many. */
static void test_misses_counted(void **state)
{
	struct folio_cache_stats stats;
	struct world world;

	(void)state;
	world_begin(&world, 1024, FOLIO_CACHE_NO_READAHEAD, 500 * PAGE);
	expect_read(&world, 300 * PAGE, 10, 1);
	expect_read(&world, 100 * PAGE + 7, 200 * PAGE, 1);
	stats = cache_stats(world.cache);
	assert_int_equal(stats.misses, 1 + 200);
	assert_int_equal(stats.hits, 1);
	expect_read(&world, 100 * PAGE, 201 * PAGE, 1);
	stats = cache_stats(world.cache);
	assert_int_equal(stats.misses, 1 + 200);
	assert_int_equal(stats.hits, 1 + 201);
	/* With more than one request. */
	assert_int_equal(folio_file_invalidate(world.file, 0, UINT64_MAX), 0);
	expect_read(&world, 0, 500 * PAGE, 1);
	stats = cache_stats(world.cache);
	assert_int_equal(stats.misses, 1 + 200 + 500);
	assert_int_equal(stats.hits, 1 + 201);
	world_end(&world);
}

struct waiter {
	struct world *world;
	uint64_t first, pages;
};

static void *read_and_wait(void *arg)
{
	struct waiter *waiter = arg;

	expect_read(waiter->world, waiter->first * PAGE, waiter->pages * PAGE, 1);
	return NULL;
}

/* A read that waits for a folio which another call reads has missed all pages that it needs. */
static void test_misses_of_a_wait(void **state)
{
	struct waiter waiter;
	struct folio *folio;
	struct world world;
	pthread_t thread;
	uint64_t n;

	(void)state;
	world_begin(&world, 32 * 256, FOLIO_CACHE_NO_READAHEAD, 600 * PAGE);
	for (n = 1; n <= 256; n *= 2) {
		const struct folio_range range = {.offset = n * PAGE, .len = n * PAGE};
		struct folio_cache_stats before = cache_stats(world.cache), after;

		io_fault_hold(world.io);
		assert_int_equal(folio_file_prefetch(world.file, &range, 1), n);
		/* All pages but the last, then the last. */
		waiter = (struct waiter){&world, n, n > 1 ? n - 1 : 1};
		assert_int_equal(pthread_create(&thread, NULL, read_and_wait, &waiter), 0);
		folio = entry_folio(tree_load(&world.file->inode->tree, n));
		wait_until(folio_u32_load_relaxed(&folio->flags) & FOLIO_WAITERS);
		io_fault_release(world.io, UINT64_MAX);
		pthread_join(thread, NULL);
		expect_read(&world, (2 * n - 1) * PAGE, PAGE, 1);
		io_fault_wait_idle(world.io);
		after = cache_stats(world.cache);
		assert_int_equal(after.misses - before.misses, waiter.pages);
		assert_int_equal(after.hits - before.hits, 1);
		assert_int_equal(after.fills - before.fills, 1);
		assert_int_equal(after.prefetch_pages - before.prefetch_pages, n);
	}
	world_end(&world);
}

/* A read is counted before the backend has it, whoever waits for it: it may be stuck there. */
static void test_fills_counted_in_flight(void **state)
{
	struct folio_range range = {.offset = 8 * PAGE, .len = 4 * PAGE};
	struct waiter waiter;
	struct world world;
	pthread_t thread;

	(void)state;
	world_begin(&world, 64, FOLIO_CACHE_NO_READAHEAD, 20 * PAGE);
	waiter = (struct waiter){&world, 3, 1};
	io_fault_hold(world.io);
	assert_int_equal(pthread_create(&thread, NULL, read_and_wait, &waiter), 0);
	io_fault_wait_held(world.io, 1);
	assert_int_equal(cache_stats(world.cache).fills, 1);
	assert_int_equal(cache_stats(world.cache).fill_bytes, PAGE);
	assert_int_equal(folio_file_prefetch(world.file, &range, 1), 4);
	assert_int_equal(cache_stats(world.cache).fills, 2);
	assert_int_equal(cache_stats(world.cache).fill_bytes, 5 * PAGE);
	io_fault_release(world.io, UINT64_MAX);
	pthread_join(thread, NULL);
	io_fault_wait_idle(world.io);
	assert_int_equal(cache_stats(world.cache).fills, 2);
	world_end(&world);
}

static void test_statistics(void **state)
{
	struct folio_cache_stats stats;
	uint64_t random = test_seed, i, asked = 0;
	struct world world;

	(void)state;
	world_begin(&world, 64, 0, 1000 * PAGE);
	for (i = scaled(5000); i-- > 0;) {
		uint64_t offset = random_below(&random, 900) * PAGE + random_below(&random, PAGE);
		uint64_t len =
			1 + random_below(&random, random_below(&random, 4) ? 100 : 30 * PAGE);

		/*
		 * The shortest reads count as one page, also where they cross into the next page of
		 * a folio.
		 */
		if (len <= 128 && offset % PAGE + len > PAGE)
			offset -= len;
		if (random_below(&random, 100) == 0)
			folio_file_invalidate(world.file, offset, len);
		expect_read(&world, offset, len, 1);
		asked += (offset + len - 1) / PAGE - offset / PAGE + 1;
	}
	io_fault_wait_idle(world.io);
	wait_until(cache_stats(world.cache).pages_free >= world.cache->evict.low);
	progress_drain(&world.cache->progress);
	stats = cache_stats(world.cache);
	/* Each page requested is one hit or one miss, even if its folio leaves in between. */
	assert_int_equal(stats.hits + stats.misses, asked);
	assert_int_equal(stats.fill_bytes, io_fault_bytes(world.io));
	assert_int_equal(stats.fills, reads(&world));
	assert_int_equal(stats.fill_errors, 0);
	/* Every page read is cached, evicted or invalidated. */
	assert_int_equal(
		stats.fill_bytes / PAGE, stats.evictions + stats.invalidations + stats.pages_file);
	assert_int_equal(stats.pages, 64);
	assert_int_equal(stats.pages_free + stats.pages_file + stats.pages_private, stats.pages);
	assert_true(stats.evictions_direct <= stats.evictions);
	assert_true(stats.misses <= stats.fill_bytes / PAGE);
	assert_true(stats.bytes_metadata > 64 * sizeof(struct folio));
	world_end(&world);
}

/*
 * Pages that were read ahead and leave unread are counted, when they are evicted and when they are
 * dropped; those that were read, or written, are not.
 */
static void test_readahead_unused(void **state)
{
	struct folio_cache_stats stats;
	struct world world;
	uint64_t i, used;
	bool evict;

	(void)state;
	for (evict = false;; evict = true) {
		world_begin(&world, 256, 0, 2000 * PAGE);
		for (i = 0; i < 20; i++)
			expect_read(&world, i * PAGE, PAGE, 1);
		io_fault_wait_idle(world.io);
		stats = cache_stats(world.cache);
		assert_true(stats.readahead_pages > 20);
		assert_int_equal(stats.readahead_unused, 0);
		/* A folio that was read in part is used. */
		for (i = used = 0; page_cached(world.file, i); i++)
			used += page_heat(world.file, i) >= HEAT_COLD;
		assert_true(used >= 20 && used < i);
		assert_int_equal(folio_file_advise(world.file, FOLIO_ADVICE_RANDOM), 0);
		for (i = 0; evict && i < 1000; i++)
			expect_read(&world, (1000 + i) * PAGE, PAGE, 1);
		/* They are evicted although nothing else is read ahead. */
		assert_true(!evict || cache_stats(world.cache).readahead_unused > 0);
		assert_int_equal(folio_file_invalidate(world.file, 0, UINT64_MAX), 0);
		assert_int_equal(
			cache_stats(world.cache).readahead_unused, stats.fill_bytes / PAGE - used);
		world_end(&world);
		if (evict)
			break;
	}
}

static void test_statistics_size(void **state)
{
	struct {
		struct folio_cache_stats stats;
		uint64_t later[4];
	} grown;
	struct world world;

	(void)state;
	world_begin(&world, 64, 0, PAGE);
	/* A program that was built with fewer fields gets those fields. */
	memset(&grown, 0x77, sizeof(grown));
	grown.stats.size = offsetof(struct folio_cache_stats, pages_free);
	assert_int_equal(folio_cache_stats(world.cache, &grown.stats), 0);
	assert_int_equal(grown.stats.pages, 64);
	assert_int_equal(grown.stats.pages_free, UINT64_C(0x7777777777777777));
	/* A program with more fields gets those that this library has. */
	memset(&grown, 0x77, sizeof(grown));
	grown.stats.size = sizeof(grown);
	assert_int_equal(folio_cache_stats(world.cache, &grown.stats), 0);
	assert_int_equal(grown.stats.pages_free, 64);
	assert_int_equal(grown.later[0], UINT64_C(0x7777777777777777));
	grown.stats.size = 0;
	assert_int_equal(folio_cache_stats(world.cache, &grown.stats), -EINVAL);
	world_end(&world);
}

static struct folio_file_stat file_stat(struct folio_file *file)
{
	struct folio_file_stat stat = {.size = sizeof(stat)};

	assert_int_equal(folio_file_stat(file, &stat), 0);
	return stat;
}

/* What is cached of a file. The backend of the test does not report how it reads. */
static void test_file_stat(void **state)
{
	struct folio_file_stat stat = {.size = 0};
	struct world world;

	(void)state;
	world_begin(&world, 64, FOLIO_CACHE_NO_READAHEAD, 20 * PAGE + 7);
	stat = file_stat(world.file);
	assert_int_equal(stat.bytes, 20 * PAGE + 7);
	assert_int_equal(stat.pages, 0);
	expect_read(&world, 3 * PAGE, 5 * PAGE, 1);
	expect_read(&world, 20 * PAGE, 7, 1);
	stat = file_stat(world.file);
	assert_int_equal(stat.pages, 6);
	assert_int_equal(stat.pages_dirty, 0);
	assert_int_equal(stat.direct_read, FOLIO_DIRECT_UNKNOWN);
	assert_int_equal(stat.direct_write, FOLIO_DIRECT_UNKNOWN);
	assert_int_equal(cache_stats(world.cache).files_buffered, 0);

	/* A program that was built with fewer fields gets those fields. */
	memset(&stat, 0x77, sizeof(stat));
	stat.size = offsetof(struct folio_file_stat, pages);
	assert_int_equal(folio_file_stat(world.file, &stat), 0);
	assert_int_equal(stat.bytes, 20 * PAGE + 7);
	assert_int_equal(stat.pages, UINT64_C(0x7777777777777777));
	stat.size = sizeof(stat.size);
	assert_int_equal(folio_file_stat(world.file, &stat), 0);
	stat.size = sizeof(stat.size) - 1;
	assert_int_equal(folio_file_stat(world.file, &stat), -EINVAL);
	assert_int_equal(folio_file_stat(NULL, &stat), -EINVAL);
	assert_int_equal(folio_file_stat(world.file, NULL), -EINVAL);
	world_end(&world);
}

/* Its identity, size and times are those of fstat(2). */
static void test_file_stat_attributes(void **state)
{
	struct folio_cache *cache = cache_open(64, 0, NULL);
	char path[] = "folio-test-XXXXXX";
	struct folio_file_stat stat;
	struct folio_file *file;
	struct stat real;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0 && ftruncate(fd, 5) == 0);
	assert_int_equal(folio_file_open(cache, path, O_RDWR, 0, &file), 0);
	assert_int_equal(folio_file_write(file, "abc", 3, 10), 3);
	stat = file_stat(file);
	assert_int_equal(fstat(fd, &real), 0);
	assert_int_equal(stat.device, real.st_dev);
	assert_int_equal(stat.inode, real.st_ino);
	assert_int_equal(stat.mtime_sec, real.st_mtim.tv_sec);
	assert_int_equal(stat.mtime_nsec, real.st_mtim.tv_nsec);
	assert_int_equal(stat.ctime_sec, real.st_ctim.tv_sec);
	assert_int_equal(stat.ctime_nsec, real.st_ctim.tv_nsec);
	/* What the cache has, and what the file has so far. */
	assert_int_equal(stat.bytes, 13);
	assert_int_equal(stat.bytes_file, 5);
	assert_int_equal(folio_file_sync(file, NULL, 0), 0);
	assert_int_equal(file_stat(file).bytes_file, 13);
	/* The times are those of now. */
	assert_int_equal(futimens(fd, (struct timespec[]){{11, 12}, {13, 14}}), 0);
	stat = file_stat(file);
	assert_int_equal(stat.mtime_sec, 13);
	assert_int_equal(stat.mtime_nsec, 14);
	assert_int_equal(fstat(fd, &real), 0);
	assert_int_equal(stat.ctime_sec, real.st_ctim.tv_sec);
	assert_int_equal(stat.ctime_nsec, real.st_ctim.tv_nsec);
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(folio_cache_close(cache), 0);
	close(fd);
	unlink(path);
}

/* A query that fails; and a program of version 0.1, whose struct ends before, which makes none. */
static void test_file_stat_fails(void **state)
{
	struct folio_file_stat stat = {.size = sizeof(stat), .bytes = 77};
	struct world world;
	uint64_t calls;

	(void)state;
	world_begin(&world, 64, FOLIO_CACHE_NO_READAHEAD, 20 * PAGE + 7);
	io_fault_fail(world.io, IO_FAULT_GETATTR, 1, EIO);
	assert_int_equal(folio_file_stat(world.file, &stat), -EIO);
	assert_int_equal(stat.bytes, 77);
	assert_int_equal(folio_file_stat(world.file, &stat), 0);
	assert_int_equal(stat.bytes_file, 20 * PAGE + 7);
	calls = io_fault_calls(world.io, IO_FAULT_GETATTR);
	stat.size = offsetof(struct folio_file_stat, device);
	io_fault_fail(world.io, IO_FAULT_GETATTR, 1, EIO);
	assert_int_equal(folio_file_stat(world.file, &stat), 0);
	assert_int_equal(io_fault_calls(world.io, IO_FAULT_GETATTR), calls);
	io_fault_fail(world.io, IO_FAULT_GETATTR, 0, 0);
	world_end(&world);
}

/* How a file of the library's backends is read and written, and why not with direct I/O. */
static void expect_direct(const struct folio_io_ops *ops, uint32_t flags)
{
	struct folio_cache_params params = {
		.size = sizeof(params), .bytes = 64 * PAGE, .flags = flags, .io = ops};
	char path[] = "folio-test-XXXXXX", page[FOLIO_PAGE_SIZE] = "";
	struct folio_file *reader, *writer, *generated;
	struct folio_file_stat stat;
	struct folio_cache *cache;
	unsigned wanted, handles;
	int fd = mkstemp(path);

	assert_true(fd >= 0 && ftruncate(fd, (off_t)(9 * PAGE)) == 0);
	assert_int_equal(folio_cache_open(&params, &cache), 0);
	reader = file_open(cache, path);
	wanted = io_file_direct(reader->inode->handle) ? FOLIO_DIRECT_USED
		 : flags & FOLIO_CACHE_BUFFERED        ? FOLIO_DIRECT_DECLINED
						       : FOLIO_DIRECT_UNSUPPORTED;
	stat = file_stat(reader);
	assert_int_equal(stat.direct_read, wanted);
	assert_int_equal(stat.direct_write, FOLIO_DIRECT_UNKNOWN);
	assert_int_equal(cache_stats(cache).files_buffered, wanted == FOLIO_DIRECT_USED ? 0 : 1);

	assert_int_equal(folio_file_open(cache, path, O_RDWR, 0, &writer), 0);
	assert_int_equal(folio_file_write(writer, page, sizeof(page), PAGE), sizeof(page));
	stat = file_stat(reader);
	assert_int_equal(stat.direct_write, wanted);
	assert_int_equal(stat.pages, 1);
	assert_int_equal(stat.pages_dirty, 1);
	handles = (unsigned)cache_stats(cache).files_buffered;

	/* Files of procfs have no direct I/O. */
	generated = file_open(cache, "/proc/version");
	stat = file_stat(generated);
	assert_int_equal(stat.direct_read,
		flags & FOLIO_CACHE_BUFFERED ? FOLIO_DIRECT_DECLINED : FOLIO_DIRECT_UNSUPPORTED);
	/* What is cached of another file does not count. */
	assert_int_equal(stat.pages, 0);
	assert_int_equal(stat.pages_dirty, 0);
	assert_int_equal(cache_stats(cache).files_buffered, handles + 1);

	assert_int_equal(folio_file_close(generated), 0);
	assert_int_equal(folio_file_close(writer), 0);
	assert_int_equal(folio_file_close(reader), 0);
	assert_int_equal(cache_stats(cache).files_buffered, 0);
	assert_int_equal(folio_cache_close(cache), 0);
	close(fd);
	unlink(path);
}

static void test_direct(void **state)
{
	(void)state;
	expect_direct(NULL, 0);
	expect_direct(NULL, FOLIO_CACHE_BUFFERED);
	expect_direct(&folio_io_threads, 0);
	expect_direct(&folio_io_threads, FOLIO_CACHE_BUFFERED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_misses_counted),
		cmocka_unit_test(test_misses_of_a_wait),
		cmocka_unit_test(test_fills_counted_in_flight),
		cmocka_unit_test(test_statistics),
		cmocka_unit_test(test_readahead_unused),
		cmocka_unit_test(test_statistics_size),
		cmocka_unit_test(test_file_stat),
		cmocka_unit_test(test_file_stat_attributes),
		cmocka_unit_test(test_file_stat_fails),
		cmocka_unit_test(test_direct),
	};

	test_begin("stats");
	return cmocka_run_group_tests_name("stats", tests, NULL, NULL);
}
