/* SPDX-License-Identifier: BSD-2-Clause */
/* Every counter, to the exact number of pages, with folios of every order. */
#include "write-world.h"
#include "cache/release.h"
#include "cache/thread.h"
#include "evict/evict.h"
#include "evict/refault.h"
#include "read/fill.h"

/* The largest order of a folio of a file: no read fills more. */
#define ORDER_MAX 8
_Static_assert(FILL_PAGES_MAX == 1 << ORDER_MAX, "as many pages as one read fills");

/* The smallest budget with folios of this order. */
#define BUDGET     (UINT64_C(32) << ORDER_MAX)
#define FILE_PAGES (8 * BUDGET)

/* ---- a backend that fails on command, and looks at the counters ---- */

static ssize_t read_error, write_error;
static struct folio_cache *watched;
static uint64_t evictor_starts_below; /* free pages, of a cache without a test */
static folio_u64 in_flight;           /* pages_writeback, as of the last write */

static ssize_t failing_read(
	void *context, void *handle, const struct iovec *iov, unsigned count, uint64_t offset)
{
	return read_error ? read_error : folio_io_threads.read(context, handle, iov, count, offset);
}

static void failing_submit(void *context, struct folio_io_request **requests, unsigned count)
{
	unsigned i;

	for (i = 0; i < count; i++) {
		if (requests[i]->op == FOLIO_IO_WRITE)
			folio_u64_store_relaxed(&in_flight, cache_stats(watched).pages_writeback);
		if (requests[i]->op == FOLIO_IO_WRITE && write_error)
			requests[i]->complete(requests[i], write_error);
		else
			folio_io_threads.submit(context, &requests[i], 1);
	}
}

static void orders_begin(struct world *world, uint64_t dirty_pages)
{
	static struct folio_io_ops ops;
	struct folio_cache_params params = {
		.size = sizeof(params),
		.bytes = BUDGET * PAGE,
		.flags =
			FOLIO_CACHE_BUFFERED | FOLIO_CACHE_NO_READAHEAD | FOLIO_CACHE_NO_HUGE_PAGES,
		.io = &ops,
		.dirty_bytes = dirty_pages * PAGE,
		.dirty_age_ms = UINT32_MAX,
	};
	int fd;

	ops = folio_io_threads;
	ops.read = failing_read;
	ops.submit = failing_submit;
	read_error = write_error = 0;
	memset(world, 0, sizeof(*world));
	strcpy(world->path, "folio-orders-XXXXXX");
	fd = mkstemp(world->path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, FILE_PAGES * PAGE), 0);
	close(fd);
	world_open(world, &params);
	watched = world->cache;
	/* Only calls evict. */
	evictor_starts_below = folio_u64_load_relaxed(&world->cache->evict.low);
	folio_u64_store_relaxed(&world->cache->evict.low, 0);
}

static void watched_end(struct world *world)
{
	folio_u64_store_relaxed(&world->cache->evict.low, evictor_starts_below);
	world_end(world);
}

/* ---- how the counters have changed ---- */

#define COUNTER(name)                                           \
	{                                                       \
#name, offsetof(struct folio_cache_stats, name) \
	}
static const struct {
	const char *name;
	size_t at;
} counters[] = {COUNTER(pages), COUNTER(pages_free), COUNTER(pages_file), COUNTER(pages_private),
	COUNTER(huge_bytes), COUNTER(hits), COUNTER(misses), COUNTER(retries), COUNTER(fills),
	COUNTER(fill_bytes), COUNTER(fill_errors), COUNTER(readahead_pages),
	COUNTER(prefetch_pages), COUNTER(evictions), COUNTER(evictions_direct), COUNTER(evict_busy),
	COUNTER(refaults), COUNTER(invalidations), COUNTER(out_of_memory), COUNTER(pages_dirty),
	COUNTER(pages_writeback), COUNTER(writes), COUNTER(write_bytes), COUNTER(write_errors),
	COUNTER(throttled), COUNTER(files_buffered), COUNTER(files_closed),
	COUNTER(readahead_unused)};

/* All of them but bytes_metadata, in which the nodes of the trees count. */
_Static_assert(
	sizeof(counters) / sizeof(counters[0]) + 1 ==
		(sizeof(struct folio_cache_stats) - offsetof(struct folio_cache_stats, pages)) /
			sizeof(uint64_t),
	"a new counter is listed here");

static struct folio_cache_stats seen;

static uint64_t counter(const struct folio_cache_stats *stats, unsigned i)
{
	uint64_t value;

	memcpy(&value, (const char *)stats + counters[i].at, sizeof(value));
	return value;
}

static void expect_changes(struct world *world, const struct folio_cache_stats *expected)
{
	struct folio_cache_stats now = cache_stats(world->cache);
	unsigned i, wrong = 0;

	for (i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
		uint64_t change = counter(&now, i) - counter(&seen, i);

		if (change != counter(expected, i)) {
			print_error("%s: change by %lld, expected %lld\n", counters[i].name,
				(long long)change, (long long)counter(expected, i));
			wrong++;
		}
	}
	assert_int_equal(wrong, 0);
	seen = now;
}

/* The changes since the last EXPECT, or since look: the given ones and no others. */
#define EXPECT(world, ...)                                                \
	do {                                                              \
		const struct folio_cache_stats expected_ = {__VA_ARGS__}; \
                                                                          \
		expect_changes(world, &expected_);                        \
	} while (0)

static void look(struct world *world)
{
	seen = cache_stats(world->cache);
}

/* What the file has, and that the queues and its own count have the same. */
static void expect_file(struct world *world, uint64_t pages, uint64_t dirty)
{
	struct folio_file_stat stat = {.size = sizeof(stat)};
	struct queues *queues = &world->cache->queues;
	struct inode *inode = world->file->inode;

	assert_int_equal(folio_file_stat(world->file, &stat), 0);
	assert_int_equal(stat.bytes, FILE_PAGES * PAGE);
	assert_int_equal(stat.pages, pages);
	assert_int_equal(stat.pages_dirty, dirty);
	assert_int_equal(folio_u64_load_relaxed(&inode->pages), pages);
	assert_int_equal(queues->small.pages + queues->main.pages + queues->parked.pages +
				 queues->ahead.pages,
		pages);
}

/* ---- steps: on the folio of pages 2^order .. 2^(order + 1) - 1 ---- */

static ssize_t read_pages(struct world *world, uint64_t first, uint64_t count)
{
	char *buf = malloc(count * PAGE);
	ssize_t r;

	assert_non_null(buf);
	r = folio_file_read(world->file, buf, count * PAGE, first * PAGE);
	free(buf);
	return r;
}

static struct folio *pin(struct world *world, uint64_t index, unsigned order)
{
	struct folio *folio;

	assert_int_equal(get_unsplit(world->file, index, &folio), 0);
	assert_int_equal(folio_order(folio), order);
	return folio;
}

static void invalidate(struct world *world)
{
	assert_int_equal(folio_file_invalidate(world->file, 0, UINT64_MAX), 0);
}

/* Evicts all that can be. */
static void evict_all(struct world *world, bool direct)
{
	evict_until(world->cache, BUDGET, direct, thread_enter(world->cache, world->cache->id));
}

static void check_reads(struct world *world, unsigned order)
{
	uint64_t n = UINT64_C(1) << order;
	const struct folio_range range = {n * PAGE, n * PAGE};

	look(world);
	assert_int_equal(read_pages(world, n, n), n * PAGE);
	EXPECT(world, .misses = n, .fills = 1, .fill_bytes = n * PAGE, .pages_free = -n,
		.pages_file = n);
	expect_file(world, n, 0);
	assert_int_equal(read_pages(world, n, n), n * PAGE);
	EXPECT(world, .hits = n);
	folio_put(pin(world, 2 * n - 1, order));
	EXPECT(world, .hits = 1);
	assert_int_equal(folio_file_prefetch(world->file, &range, 1), 0);
	EXPECT(world, .hits = 0);
	/* Of a range that is partly in the folio, the complete folio is dropped. */
	assert_int_equal(folio_file_invalidate(world->file, (2 * n - 1) * PAGE, 1), 0);
	EXPECT(world, .invalidations = n, .pages_free = n, .pages_file = -n);
	expect_file(world, 0, 0);
	assert_int_equal(folio_file_prefetch(world->file, &range, 1), n);
	progress_drain(&world->cache->progress);
	EXPECT(world, .prefetch_pages = n, .fills = 1, .fill_bytes = n * PAGE, .pages_free = -n,
		.pages_file = n);
	invalidate(world);
	look(world);
	/* The pages are read together, then the first one alone. */
	read_error = -EIO;
	assert_int_equal(read_pages(world, n, n), -EIO);
	read_error = 0;
	EXPECT(world, .misses = 1, .fills = 1 + (n > 1), .fill_errors = 1 + (n > 1),
		.fill_bytes = (n > 1 ? n + 1 : 1) * PAGE);
	expect_file(world, 0, 0);
}

static void check_eviction(struct world *world, unsigned order, uint64_t *busy)
{
	uint64_t n = UINT64_C(1) << order,
		 clock = folio_u64_load_relaxed(&world->cache->evict.clock);
	struct evict *evict = &world->cache->evict;
	uint64_t all = folio_u64_load_relaxed(&evict->pages);
	struct folio *folio;

	read_pages(world, n, n);
	look(world);
	folio_u64_store_relaxed(&evict->small_evicted, REFAULT_WHOLE / 2);
	evict_all(world, false);
	/* By so many pages of all, the average has moved to what it averages. */
	assert_int_equal(folio_u64_load_relaxed(&evict->small_evicted),
		REFAULT_WHOLE / 2 + REFAULT_WHOLE / 2 / all * n);
	EXPECT(world, .evictions = n, .pages_free = n, .pages_file = -n);
	expect_file(world, 0, 0);
	assert_int_equal(folio_u64_load_relaxed(&world->cache->evict.clock), clock + n);
	assert_int_equal(read_pages(world, n, n), n * PAGE);
	EXPECT(world, .misses = n, .refaults = n, .fills = 1, .fill_bytes = n * PAGE,
		.pages_free = -n, .pages_file = n);
	assert_int_equal(world->cache->queues.main.pages, n);
	evict_all(world, true);
	EXPECT(world, .evictions = n, .evictions_direct = n, .pages_free = n, .pages_file = -n);
	/* The pages are missed one at a time: each is a refault of its own. */
	if (order > 0) {
		assert_int_equal(read_pages(world, n, 1), PAGE);
		EXPECT(world, .misses = 1, .refaults = 1, .fills = 1, .fill_bytes = PAGE,
			.pages_free = -1, .pages_file = 1);
	}
	invalidate(world);
	/* A pinned folio is passed over, however large it is. */
	read_pages(world, n, n);
	folio = pin(world, n, order);
	look(world);
	evict_all(world, true);
	if (order == 0)
		*busy = cache_stats(world->cache).evict_busy - seen.evict_busy;
	assert_true(*busy > 0);
	EXPECT(world, .evict_busy = *busy);
	assert_int_equal(world->cache->queues.parked.pages, n);
	expect_file(world, n, 0);
	/* Dropped, it is no page of the file, but counts until it is put. */
	invalidate(world);
	EXPECT(world, .invalidations = n);
	expect_file(world, 0, 0);
	folio_put(folio);
	EXPECT(world, .pages_free = n, .pages_file = -n);
}

static void mark(struct world *world, uint64_t index, unsigned order)
{
	struct folio *folio = pin(world, index, order);

	assert_int_equal(folio_lock(folio), 0);
	assert_int_equal(folio_mark_dirty(folio, 0), 0);
	assert_int_equal(folio_unlock(folio), 0);
	folio_put(folio);
}

static void check_writes(struct world *world, unsigned order)
{
	uint64_t n = UINT64_C(1) << order;

	read_pages(world, n, n);
	mark(world, n, order);
	look(world);
	seen.pages_dirty -= n;
	mark(world, 2 * n - 1, order);
	EXPECT(world, .hits = 1, .pages_dirty = n);
	expect_file(world, n, n);
	invalidate(world);
	EXPECT(world, .hits = 0);
	write_error = -EIO;
	assert_int_equal(folio_file_sync(world->file, NULL, 0), -EIO);
	EXPECT(world, .writes = 1, .write_bytes = n * PAGE, .write_errors = 1);
	assert_int_equal(folio_u64_load_relaxed(&in_flight), n);
	expect_file(world, n, n);
	write_error = 0;
	assert_int_equal(folio_file_sync(world->file, NULL, 0), 0);
	EXPECT(world, .writes = 1, .write_bytes = n * PAGE, .pages_dirty = -n);
	assert_int_equal(folio_u64_load_relaxed(&in_flight), n);
	expect_file(world, n, 0);
	mark(world, n, order);
	look(world);
	assert_int_equal(folio_file_discard(world->file, n * PAGE, n * PAGE), 0);
	EXPECT(world, .pages_dirty = -n, .invalidations = n, .pages_free = n, .pages_file = -n);
	expect_file(world, 0, 0);
}

/* A write to the last page of a clean folio splits it: only that page is dirty. */
static void check_split(struct world *world, unsigned order)
{
	uint64_t n = UINT64_C(1) << order, last = 2 * n - 1;
	unsigned i;

	/* Often: the folio is hot, which tells nothing of its parts. */
	for (i = 0; i < 4; i++)
		read_pages(world, n, n);
	look(world);
	assert_int_equal(folio_file_write(world->file, "x", 1, last * PAGE), 1);
	/* The look-up after the split is another hit. */
	EXPECT(world, .hits = 1 + (order > 0), .pages_dirty = 1);
	/* Its parts have 1, 1, 2, 4 pages and so on; those of 64 and more count as large. */
	expect_file(world, n, 1);
	for (i = 0; i < order; i++) {
		uint64_t part = 2 * n - (UINT64_C(2) << i);

		assert_int_equal(page_heat(world->file, part), HEAT_COLD);
		folio_put(pin(world, part, i));
	}
	folio_put(pin(world, last, 0));
	look(world);
	assert_int_equal(folio_file_sync(world->file, NULL, 0), 0);
	EXPECT(world, .writes = 1, .write_bytes = PAGE, .pages_dirty = -1);
	invalidate(world);
	EXPECT(world, .invalidations = n, .pages_free = n, .pages_file = -n);
	expect_file(world, 0, 0);
}

static void test_files(void **state)
{
	static struct world world;
	uint64_t busy = 0;
	unsigned order;

	(void)state;
	orders_begin(&world, 0);
	for (order = 0; order <= ORDER_MAX; order++) {
		print_message("# order %u\n", order);
		check_reads(&world, order);
		check_eviction(&world, order, &busy);
		check_writes(&world, order);
		check_split(&world, order);
		look(&world);
		assert_int_equal(seen.pages_free, BUDGET);
		assert_int_equal(seen.pages_file, 0);
	}
	assert_int_equal(seen.files_buffered, 1);
	watched_end(&world);
}

/* ---- folios of the program ---- */

static uint64_t private_in_release;

static void release(struct folio *folio, void *context)
{
	struct world *world = context;

	(void)folio;
	private_in_release = cache_stats(world->cache).pages_private;
}

/* They count until they are released: by the last put, or when the program's function returns. */
static void test_private(void **state)
{
	static struct world world;
	const struct folio_type_params params = {
		.size = sizeof(params), .name = "test", .release = release, .context = &world};
	struct folio *folio;
	unsigned order, type;

	(void)state;
	orders_begin(&world, 0);
	assert_int_equal(folio_type_register(world.cache, &params, &type), 0);
	look(&world);
	for (order = 0; order <= FOLIO_ORDER_MAX; order++) {
		uint64_t n = UINT64_C(1) << order;

		assert_int_equal(
			folio_alloc(world.cache, order, FOLIO_TYPE_PRIVATE, NULL, &folio), 0);
		EXPECT(&world, .pages_private = n, .pages_free = -n);
		folio_put(folio);
		EXPECT(&world, .pages_private = -n, .pages_free = n);
		assert_int_equal(folio_alloc(world.cache, order, type, NULL, &folio), 0);
		EXPECT(&world, .pages_private = n, .pages_free = -n);
		folio_put(folio);
		folio_reaper_drain(world.cache);
		EXPECT(&world, .pages_private = -n, .pages_free = n);
		assert_int_equal(private_in_release, n);
	}
	watched_end(&world);
}

/* Takes all pages of the budget in folios of @order, then calls @then, and frees them. */
static void take_all(struct world *world, unsigned order, void (*then)(struct world *world))
{
	uint64_t count = BUDGET >> order, i;
	struct folio **folio = malloc(count * sizeof(*folio));

	assert_non_null(folio);
	for (i = 0; i < count; i++)
		assert_int_equal(
			folio_alloc(world->cache, order, FOLIO_TYPE_PRIVATE, NULL, &folio[i]), 0);
	EXPECT(world, .pages_private = BUDGET, .pages_free = -BUDGET);
	if (then)
		then(world);
	for (i = 0; i < count; i++)
		folio_put(folio[i]);
	EXPECT(world, .pages_private = -BUDGET, .pages_free = BUDGET);
	free(folio);
}

static void expect_none_left(struct world *world)
{
	struct folio *folio;
	unsigned order;

	assert_int_equal(read_pages(world, 0, 1), -ENOMEM);
	EXPECT(world, .misses = 1, .out_of_memory = 1);
	assert_int_equal(read_pages(world, 0, 256), -ENOMEM);
	EXPECT(world, .misses = 1, .out_of_memory = 1);
	for (order = 0; order <= FOLIO_ORDER_MAX; order++) {
		assert_int_equal(folio_alloc(world->cache, order, FOLIO_TYPE_PRIVATE, NULL, &folio),
			-ENOMEM);
		EXPECT(world, .out_of_memory = 1);
	}
}

/* Single pages go back to a stock first. A larger folio gets them from there, and none is lost. */
static void test_all_by_order(void **state)
{
	static struct world world;
	unsigned order;

	(void)state;
	orders_begin(&world, 0);
	look(&world);
	for (order = 0; order <= FOLIO_ORDER_MAX; order++) {
		take_all(&world, order, expect_none_left);
		take_all(&world, 0, NULL);
	}
	watched_end(&world);
}

/* A folio of the program takes the place of pages of files: what is evicted is what they lose. */
static void test_private_evicts(void **state)
{
	static struct world world;
	struct folio *folio;
	unsigned order;
	uint64_t i;

	(void)state;
	orders_begin(&world, 0);
	for (order = 0; order <= FOLIO_ORDER_MAX; order++) {
		uint64_t n = UINT64_C(1) << order, evicted;

		for (i = 0; i < BUDGET; i += 256)
			read_pages(&world, i, 256);
		look(&world);
		assert_int_equal(seen.pages_free, 0);
		assert_int_equal(
			folio_alloc(world.cache, order, FOLIO_TYPE_PRIVATE, NULL, &folio), 0);
		evicted = cache_stats(world.cache).evictions - seen.evictions;
		/* One folio is enough, or two. */
		assert_int_equal(evicted, n > 256 ? n : 256);
		EXPECT(&world, .pages_private = n, .pages_file = -evicted,
			.pages_free = evicted - n, .evictions = evicted,
			.evictions_direct = evicted);
		folio_put(folio);
		EXPECT(&world, .pages_private = -n, .pages_free = n);
		invalidate(&world);
	}
	watched_end(&world);
}

/* ---- counters of single events ---- */

/*
 * The nodes and the directory of one tree: it has 8 slots from the second leaf on. A folio of 64
 * pages or more has no leaf.
 */
static void test_metadata(void **state)
{
	const uint64_t node = sizeof(struct tree_node), slots = 8 * sizeof(folio_ptr);
	static struct world world;
	uint64_t bytes;

	(void)state;
	orders_begin(&world, 0);
	bytes = cache_stats(world.cache).bytes_metadata;
	assert_in_range(bytes, BUDGET * (64 + 8), BUDGET * (64 + 8) + PAGE);
	assert_int_equal(cache_stats(world.cache).huge_bytes, 0);
	read_pages(&world, 63, 1);
	assert_int_equal(cache_stats(world.cache).bytes_metadata, bytes + node);
	read_pages(&world, 64, 1);
	assert_int_equal(cache_stats(world.cache).bytes_metadata, bytes + 3 * node + slots);
	read_pages(&world, 128, 64);
	read_pages(&world, 256, 256);
	assert_int_equal(cache_stats(world.cache).bytes_metadata, bytes + 3 * node + slots);
	read_pages(&world, 192, 32);
	assert_int_equal(cache_stats(world.cache).bytes_metadata, bytes + 4 * node + slots);
	invalidate(&world);
	assert_int_equal(cache_stats(world.cache).bytes_metadata, bytes + 4 * node);
	watched_end(&world);
}

/* Windows of 256 pages: one that begins after the first page, and one that is a single folio. */
static void test_readahead(void **state)
{
	static struct world world;

	(void)state;
	orders_begin(&world, 0);
	folio_u32_store_relaxed(&world.cache->readahead_pages, 256);
	world.limits = limits_of(world.cache);
	assert_int_equal(folio_file_advise(world.file, FOLIO_ADVICE_SEQUENTIAL), 0);
	look(&world);
	assert_int_equal(read_pages(&world, 0, 1), PAGE);
	progress_drain(&world.cache->progress);
	EXPECT(&world, .misses = 1, .readahead_pages = 255, .fills = 2, .fill_bytes = 256 * PAGE,
		.pages_free = -256, .pages_file = 256);
	assert_int_equal(read_pages(&world, 1, 1), PAGE);
	progress_drain(&world.cache->progress);
	EXPECT(&world, .hits = 1, .readahead_pages = 256, .fills = 1, .fill_bytes = 256 * PAGE,
		.pages_free = -256, .pages_file = 256);
	expect_file(&world, 512, 0);
	/* All but the first two pages, each of which is a folio, leave unread. */
	assert_int_equal(folio_file_invalidate(world.file, 0, UINT64_MAX), 0);
	EXPECT(&world, .invalidations = 512, .readahead_unused = 510, .pages_free = 512,
		.pages_file = -512);
	watched_end(&world);
}

/* A writer waits if the dirty pages, not folios, are too many. */
static void test_throttled(void **state)
{
	static struct world world;
	unsigned order;

	(void)state;
	orders_begin(&world, 512);
	for (order = 0; order <= ORDER_MAX; order++)
		read_pages(&world, UINT64_C(1) << order, UINT64_C(1) << order);
	for (order = 0; order < ORDER_MAX; order++)
		mark(&world, UINT64_C(1) << order, order);
	look(&world);
	assert_int_equal(folio_file_write(world.file, "x", 1, PAGE), 1);
	EXPECT(&world, .hits = 1);
	mark(&world, 256, ORDER_MAX);
	look(&world);
	assert_int_equal(folio_file_write(world.file, "x", 1, PAGE), 1);
	assert_int_equal(cache_stats(world.cache).throttled, seen.throttled + 1);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	assert_int_equal(cache_stats(world.cache).pages_dirty, 0);
	assert_int_equal(cache_stats(world.cache).pages_writeback, 0);
	assert_int_equal(cache_stats(world.cache).throttled, seen.throttled + 1);
	watched_end(&world);
}

/* A period of the shares ends when as many pages were written as may be dirty. */
static void test_periods(void **state)
{
	static struct world world;
	unsigned i;

	(void)state;
	orders_begin(&world, 1024);
	read_pages(&world, 256, 256);
	for (i = 0; i < 12; i++) {
		struct writeback *writeback = &world.cache->writeback;
		struct share *share = &world.file->inode->share;

		assert_int_equal(folio_u64_load_relaxed(&writeback->period), i / 4);
		mark(&world, 256, ORDER_MAX);
		assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
		/* What was written in an earlier period counts half, and so on. */
		assert_int_equal(folio_u64_load_relaxed(&share->written),
			256 * (i % 4 + 1) + (i < 4          ? 0
						    : i < 8 ? 512
							    : 768));
	}
	watched_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_private),
		cmocka_unit_test(test_all_by_order),
		cmocka_unit_test(test_private_evicts),
		cmocka_unit_test(test_metadata),
		cmocka_unit_test(test_readahead),
		cmocka_unit_test(test_throttled),
		cmocka_unit_test(test_periods),
	};

	test_begin("orders");
	return cmocka_run_group_tests_name("orders", tests, NULL, NULL);
}
