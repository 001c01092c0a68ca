/* SPDX-License-Identifier: BSD-2-Clause */
/* Many ranges in one call: prefetch and folio_file_read_batch. */
#include "asleep.h"
#include "fault-world.h"
#include "read/fill.h"

static void test_prefetch(void **state)
{
	struct folio_range range[] = {
		{.offset = 10 * PAGE + 4000, .len = 200}, /* two pages */
		{.offset = 20 * PAGE, .len = 0}, {.offset = 30 * PAGE, .len = 16 * PAGE},
		{.offset = 95 * PAGE, .len = 20 * PAGE}, /* the file has five pages of it */
		{.offset = 200 * PAGE, .len = PAGE}, {.offset = UINT64_MAX, .len = UINT64_MAX},
		{.offset = 32 * PAGE, .len = 10 * PAGE}, /* cached already */
	};
	struct folio_range all = {.offset = 0, .len = UINT64_MAX}, some[3];
	struct folio_cache_stats after;
	struct world world;
	unsigned i;
	char buf[64];

	(void)state;
	world_begin(&world, 256, FOLIO_CACHE_NO_READAHEAD, 100 * PAGE);
	assert_int_equal(folio_file_prefetch(world.file, range, 7), 2 + 16 + 5);
	io_fault_wait_idle(world.io);
	assert_int_equal(reads(&world), 3);
	after = cache_stats(world.cache);
	assert_int_equal(after.prefetch_pages, 23);
	assert_int_equal(after.fill_bytes, 23 * PAGE);
	assert_int_equal(after.pages_file, 23);
	assert_int_equal(
		folio_file_read_nowait(world.file, buf, sizeof(buf), 45 * PAGE), sizeof(buf));
	assert_true(io_fault_check(world.contents, 45 * PAGE, buf, sizeof(buf), NULL, NULL));
	assert_int_equal(folio_file_prefetch(world.file, range, 7), 0);
	assert_int_equal(folio_file_prefetch(world.file, &all, 1), 100 - 23);
	io_fault_wait_idle(world.io);
	expect_read(&world, 0, 100 * PAGE, 1);
	assert_int_equal(io_fault_bytes(world.io), 100 * PAGE);
	world_end(&world);

	/*
	 * More than there is memory for: the free pages but for an eighth of the cache, in any
	 * number of ranges, and nothing is evicted.
	 */
	world_begin(&world, 64, FOLIO_CACHE_NO_READAHEAD, 1000 * PAGE);
	assert_int_equal(folio_file_prefetch(world.file, &all, 1), 56);
	io_fault_wait_idle(world.io);
	assert_int_equal(cache_stats(world.cache).evictions, 0);
	for (i = 0; i < 56; i++)
		assert_true(page_cached(world.file, i));
	assert_int_equal(folio_file_invalidate(world.file, 0, UINT64_MAX), 0);
	for (i = 0; i < 3; i++)
		some[i] = (struct folio_range){.offset = 100 * i * PAGE, .len = 20 * PAGE};
	assert_int_equal(folio_file_prefetch(world.file, some, 3), 56);
	io_fault_wait_idle(world.io);
	assert_true(page_cached(world.file, 215));
	assert_false(page_cached(world.file, 216));
	assert_int_equal(cache_stats(world.cache).evictions, 0);
	world_end(&world);
}

/* Ranges that are adjacent, or overlap, are read together, however many they are. */
static void test_prefetch_adjacent(void **state)
{
	struct folio_range range[104];
	struct world world;
	unsigned i;

	(void)state;
	world_begin(&world, 1024, FOLIO_CACHE_NO_READAHEAD, 500 * PAGE);
	for (i = 0; i < 64; i++)
		range[i] = (struct folio_range){.offset = i * PAGE, .len = PAGE};
	assert_int_equal(folio_file_prefetch(world.file, range, 64), 64);
	io_fault_wait_idle(world.io);
	assert_int_equal(reads(&world), 1);
	assert_int_equal(io_fault_bytes(world.io), 64 * PAGE);
	/* Pieces of pages; a gap of a page; the last one is in the file before. */
	for (i = 0; i < 100; i++)
		range[i] = (struct folio_range){.offset = 100 * PAGE + i * 1000, .len = 1500};
	range[100] = (struct folio_range){.offset = 126 * PAGE, .len = PAGE};
	range[101] = (struct folio_range){.offset = 127 * PAGE, .len = 2 * PAGE};
	range[102] = (struct folio_range){.offset = 127 * PAGE, .len = PAGE};
	range[103] = (struct folio_range){.offset = 99 * PAGE, .len = PAGE};
	assert_int_equal(folio_file_prefetch(world.file, range, 104), 25 + 3 + 1);
	io_fault_wait_idle(world.io);
	assert_int_equal(reads(&world), 1 + 3);
	expect_read(&world, 99 * PAGE, 26 * PAGE, 1);
	expect_read(&world, 126 * PAGE, 3 * PAGE, 1);
	assert_int_equal(reads(&world), 1 + 3);
	world_end(&world);
}

/*
 * With hot pages in the cache, the pages that one prefetch starts stay until they are read, and are
 * evicted after one reading. A program that prefetches a part, reads it and continues does not
 * displace the hot pages of others.
 */
static void test_prefetch_when_warm(void **state)
{
	enum { HOT = 100, SCAN = 500 };
	struct world world;
	uint64_t before;
	ssize_t n, at, i;

	(void)state;
	world_begin(&world, 256, FOLIO_CACHE_NO_READAHEAD, (SCAN + HOT) * PAGE);
	for (i = 0; i < 4 * HOT; i++)
		expect_read(&world, (SCAN + i % HOT) * PAGE, 64, 1);
	before = io_fault_bytes(world.io);
	for (at = 0; at < SCAN; at += n) {
		struct folio_range rest = {.offset = at * PAGE, .len = (SCAN - at) * PAGE};

		n = folio_file_prefetch(world.file, &rest, 1);
		assert_true(n > 0);
		io_fault_wait_idle(world.io);
		/* Else it could find that only hot pages have been read, later, among new ones. */
		wait_asleep(&world.cache->evict.wakeup);
		/* Each page is read in four pieces. */
		for (i = 0; i < 4 * n; i++)
			expect_read(&world, at * PAGE + i * (PAGE / 4), PAGE / 4, 1);
	}
	assert_int_equal(io_fault_bytes(world.io) - before, SCAN * PAGE);
	for (i = 0; i < HOT; i++)
		expect_read(&world, (SCAN + i) * PAGE, 64, 1);
	assert_int_equal(io_fault_bytes(world.io) - before, SCAN * PAGE);
	world_end(&world);
}

static struct folio_file *nested_file; /* prefetched inside a submit, once */
static ssize_t nested_started;
static struct folio_file *nested_drop; /* all its pages are dropped inside a submit, once */

static void nested_submit(void *context, struct folio_io_request **requests, unsigned count)
{
	const struct folio_range all = {.offset = 1000 * PAGE, .len = 1000 * PAGE};
	struct folio_file *file = nested_file;

	nested_file = NULL;
	if (file)
		nested_started = folio_file_prefetch(file, &all, 1);
	file = nested_drop;
	nested_drop = NULL;
	if (file)
		assert_int_equal(folio_file_invalidate(file, 0, UINT64_MAX), 0);
	io_fault_ops.submit(context, requests, count);
}

/* A cache whose requests go to @submit, and @count ranges that are not adjacent. */
static struct world nested_world_begin(struct folio_io_ops *ops, struct folio_range *range,
	unsigned count, void (*submit)(void *, struct folio_io_request **, unsigned))
{
	struct world world;
	unsigned i;

	*ops = io_fault_ops;
	ops->submit = submit;
	world_begin_over(&world, ops, 0, 256, 2000 * PAGE);
	for (i = 0; i < count; i++)
		range[i] = (struct folio_range){.offset = 2 * i * PAGE, .len = PAGE};
	return world;
}

/*
 * Pages that become free during a prefetch do not extend it, just as evicted ones do not: they may
 * be its own first pages.
 */
static void test_prefetch_during_drop(void **state)
{
	struct folio_io_ops ops;
	struct folio_range range[200];
	struct world world = nested_world_begin(&ops, range, 200, nested_submit);
	struct folio_file *other;
	char buf[64];
	uint64_t i;

	(void)state;
	io_fault_add(world.io, "b", 200 * PAGE);
	other = file_open(world.cache, "b");
	for (i = 0; i < 120; i++)
		assert_int_equal(folio_file_read(other, buf, sizeof(buf), i * PAGE), sizeof(buf));
	nested_drop = other;
	/* An eighth stays free. */
	assert_int_equal(folio_file_prefetch(world.file, range, 200), 256 - 120 - 256 / 8);
	assert_null(nested_drop);
	assert_int_equal(cache_stats(world.cache).pages_free, 120 + 256 / 8);
	assert_int_equal(folio_file_close(other), 0);
	world_end(&world);
}

/* Another prefetch takes the free pages while the first one runs: the first stops there. */
static void test_prefetch_during_prefetch(void **state)
{
	struct folio_io_ops ops;
	struct folio_range range[200];
	struct world world = nested_world_begin(&ops, range, 200, nested_submit);

	(void)state;
	nested_file = world.file;
	/*
	 * The first request is submitted together with others, before the next ranges are copied.
	 * The last of them waits for these: they may be adjacent. An eighth of the cache stays
	 * free.
	 */
	assert_int_equal(folio_file_prefetch(world.file, range, 200), FILL_BATCH - 1);
	assert_int_equal(nested_started, 256 - 256 / 8 - (FILL_BATCH - 1));
	io_fault_wait_idle(world.io);
	assert_int_equal(cache_stats(world.cache).evictions, 0);
	world_end(&world);
}

/* ---- read of one call ---- */

static char batch_buf[200][FOLIO_PAGE_SIZE];

/* @count reads of one page each, @step pages apart. */
static void batch_pages(struct folio_read *read, unsigned count, uint64_t first, uint64_t step)
{
	unsigned i;

	for (i = 0; i < count; i++)
		read[i] = (struct folio_read){batch_buf[i], PAGE, (first + i * step) * PAGE, 12345};
}

static void expect_batch(const struct world *world, const struct folio_read *read, unsigned count)
{
	unsigned i;

	for (i = 0; i < count; i++) {
		assert_int_equal(read[i].result, read[i].len);
		assert_true(io_fault_check(
			world->contents, read[i].offset, read[i].buf, read[i].len, NULL, NULL));
	}
}

struct batch {
	struct world *world;
	struct folio_read *read;
	unsigned count, flags;
	int result;
};

static void *run_batch(void *arg)
{
	struct batch *batch = arg;

	batch->result =
		folio_file_read_batch(batch->world->file, batch->read, batch->count, batch->flags);
	return NULL;
}

static void test_batch(void **state)
{
	static struct folio_read read[600];
	struct folio_cache_stats before, after;
	struct world world;
	unsigned i;

	(void)state;
	world_begin(&world, 256, FOLIO_CACHE_NO_READAHEAD, 400 * PAGE + 100);
	batch_pages(read, 2, 0, 1);
	assert_int_equal(folio_file_read_batch(NULL, read, 2, 0), -EINVAL);
	assert_int_equal(folio_file_read_batch(world.file, NULL, 1, 0), -EINVAL);
	assert_int_equal(folio_file_read_batch(world.file, read, 2, 4), -EINVAL);
	assert_int_equal(read[0].result, 12345);
	assert_int_equal(folio_file_read_batch(world.file, NULL, 0, 0), 0);
	assert_int_equal(reads(&world), 0);

	batch_pages(read, 50, 1, 3);
	assert_int_equal(folio_file_read_batch(world.file, read, 50, 0), 0);
	expect_batch(&world, read, 50);
	assert_int_equal(cache_stats(world.cache).prefetch_pages, 50);

	/*
	 * Hits and misses, each as a single read would be: at the end of the file, of length 0,
	 * invalid.
	 */
	batch_pages(read, 40, 0, 3);
	for (i = 0; i < 40; i++)
		read[i].len = i + 1;
	read[3].offset += PAGE;
	read[10].len = 0;
	read[11].buf = NULL;
	read[12].offset = 400 * PAGE + 60;
	read[12].len = 100;
	read[13].offset = 400 * PAGE + 100;
	read[14].offset = UINT64_MAX;
	read[15].len = SIZE_MAX;
	read[16].offset = (uint64_t)INT64_MAX - 3;
	assert_int_equal(folio_file_read_batch(world.file, read, 40, 0), 0);
	assert_int_equal(read[10].result, 0);
	assert_int_equal(read[11].result, -EINVAL);
	assert_int_equal(read[12].result, 40);
	assert_int_equal(read[13].result, 0);
	assert_int_equal(read[14].result, -EINVAL);
	assert_int_equal(read[15].result, -EINVAL);
	assert_int_equal(read[16].result, -EINVAL);
	assert_true(io_fault_check(world.contents, read[12].offset, read[12].buf, 40, NULL, NULL));
	for (i = 0; i < 40; i++)
		if (i < 10 || i > 16)
			expect_batch(&world, &read[i], 1);
	/* All pages are cached: one hit for each read that has a page. */
	before = cache_stats(world.cache);
	assert_int_equal(folio_file_read_batch(world.file, read, 10, 0), 0);
	expect_batch(&world, read, 10);
	after = cache_stats(world.cache);
	assert_int_equal(after.hits - before.hits, 10);
	assert_int_equal(after.misses, before.misses);
	assert_int_equal(after.prefetch_pages, before.prefetch_pages);

	/* Only the read that fails gets the error. */
	assert_int_equal(folio_file_invalidate(world.file, 0, UINT64_MAX), 0);
	io_fault_fail_range(world.contents, 30 * PAGE, 1, EIO);
	batch_pages(read, 40, 0, 3);
	assert_int_equal(folio_file_read_batch(world.file, read, 40, 0), 0);
	assert_int_equal(read[10].result, -EIO);
	expect_batch(&world, read, 10);
	expect_batch(&world, &read[11], 29);
	io_fault_fail_range(world.contents, 0, 0, 0);
	assert_int_equal(folio_file_read_batch(world.file, read, 40, 0), 0);
	expect_batch(&world, read, 40);

	/* More than a byte can count. */
	for (i = 0; i < 600; i++)
		read[i] = (struct folio_read){batch_buf[0], PAGE, i % 40 * 3 * PAGE, 12345};
	assert_int_equal(folio_file_read_batch(world.file, read, 600, 0), 0);
	for (i = 0; i < 600; i++)
		assert_int_equal(read[i].result, PAGE);
	world_end(&world);
}

/* All misses are submitted before the call waits for one. */
static void test_batch_together(void **state)
{
	struct folio_read read[50];
	struct world world;
	struct batch batch = {.world = &world, .read = read, .count = 50};
	pthread_t thread;

	(void)state;
	world_begin(&world, 1024, FOLIO_CACHE_NO_READAHEAD, 400 * PAGE);
	batch_pages(read, 50, 1, 3);
	io_fault_hold(world.io);
	assert_int_equal(pthread_create(&thread, NULL, run_batch, &batch), 0);
	io_fault_wait_held(world.io, 50);
	io_fault_release(world.io, UINT64_MAX);
	pthread_join(thread, NULL);
	assert_int_equal(batch.result, 0);
	expect_batch(&world, read, 50);
	world_end(&world);
}

/* Without waiting: all misses are submitted, and a later call returns them. */
static void test_batch_nowait(void **state)
{
	struct folio_read read[60];
	struct world world;
	unsigned i;

	(void)state;
	world_begin(&world, 256, FOLIO_CACHE_NO_READAHEAD, 400 * PAGE);
	expect_read(&world, 5 * 3 * PAGE, PAGE, 1);
	batch_pages(read, 60, 0, 3);
	io_fault_hold(world.io);
	assert_int_equal(folio_file_read_batch(world.file, read, 60, FOLIO_READ_NOWAIT), 0);
	for (i = 0; i < 60; i++) {
		if (i == 5)
			expect_batch(&world, &read[i], 1);
		else
			assert_int_equal(read[i].result, -EAGAIN);
	}
	io_fault_wait_held(world.io, 59);
	assert_int_equal(folio_file_read_batch(world.file, read, 60, FOLIO_READ_NOWAIT), 0);
	assert_int_equal(read[4].result, -EAGAIN);
	io_fault_release(world.io, UINT64_MAX);
	io_fault_wait_idle(world.io);
	assert_int_equal(reads(&world), 60);
	assert_int_equal(folio_file_read_batch(world.file, read, 60, FOLIO_READ_NOWAIT), 0);
	expect_batch(&world, read, 60);
	world_end(&world);
}

/*
 * More than there is memory for, with hot pages in the cache, from a device that completes at once:
 * no page is evicted before it is read, so each is read once.
 */
static void test_batch_larger_than_cache(void **state)
{
	struct io_fault *io = io_fault_new(test_seed, 0);
	struct folio_read read[200];
	struct world world = {.io = io};
	uint64_t before;
	unsigned i;

	(void)state;
	world.contents = io_fault_add(io, "a", 2000 * PAGE);
	world.cache = cache_open(256, FOLIO_CACHE_NO_READAHEAD, io);
	world.file = file_open(world.cache, "a");
	for (i = 0; i < 4 * 220; i++)
		expect_read(&world, (1200 + i % 220) * PAGE, 64, 1);
	before = io_fault_bytes(io);
	batch_pages(read, 200, 0, 5);
	assert_int_equal(folio_file_read_batch(world.file, read, 200, 0), 0);
	expect_batch(&world, read, 200);
	assert_int_equal(io_fault_bytes(io) - before, 200 * PAGE);
	world_end(&world);
}

/* Hits of a batch heat a page as other hits do. */
static void test_batch_heats(void **state)
{
	struct folio_read read[2];
	struct world world;
	unsigned i;

	(void)state;
	world_begin(&world, 64, FOLIO_CACHE_NO_READAHEAD, 100 * PAGE);
	expect_read(&world, 7 * PAGE, 64, 1);
	assert_int_equal(page_heat(world.file, 7), HEAT_COLD);
	batch_pages(read, 2, 7, 0);
	for (i = 0; i < 2; i++)
		read[i].len = 64;
	assert_int_equal(folio_file_read_batch(world.file, read, 2, 0), 0);
	expect_batch(&world, read, 2);
	assert_int_equal(page_heat(world.file, 7), HEAT_HOT);
	world_end(&world);
}

/*
 * A hit of a batch that reaches the mark of a window starts the next window; the other reads of the
 * batch are hits as before.
 */
static void test_batch_reads_ahead(void **state)
{
	struct folio_read read[3];
	struct folio_cache_stats before;
	struct world world;
	uint64_t page = 0;
	unsigned i;

	(void)state;
	world_begin(&world, 1024, 0, 500 * PAGE);
	for (i = 0; i < 3; i++)
		expect_read(&world, i * PAGE, PAGE, 1);
	io_fault_wait_idle(world.io);
	while (page_cached(world.file, page) && page_heat(world.file, page) != HEAT_MARK)
		page++;
	assert_true(page_cached(world.file, page));
	before = cache_stats(world.cache);
	assert_true(before.readahead_pages > 0);
	batch_pages(read, 3, 0, 1);
	for (i = 0; i < 3; i++)
		read[i].len = 64;
	read[1].offset = page * PAGE;
	assert_int_equal(folio_file_read_batch(world.file, read, 3, 0), 0);
	expect_batch(&world, read, 3);
	io_fault_wait_idle(world.io);
	assert_int_equal(page_heat(world.file, page), HEAT_COLD);
	assert_true(cache_stats(world.cache).readahead_pages > before.readahead_pages);
	assert_int_equal(cache_stats(world.cache).hits, before.hits + 3);
	assert_int_equal(cache_stats(world.cache).misses, before.misses);
	world_end(&world);
}

/* Sequential reading is detected, whichever call the program uses. */
static void test_batch_of_one(void **state)
{
	struct folio_read read;
	struct world world;
	uint64_t i;

	(void)state;
	world_begin(&world, 256, 0, 200 * PAGE);
	for (i = 0; i < 100; i++) {
		batch_pages(&read, 1, i, 1);
		assert_int_equal(folio_file_read_batch(world.file, &read, 1, 0), 0);
		expect_batch(&world, &read, 1);
	}
	assert_true(cache_stats(world.cache).readahead_pages > 0);
	assert_int_equal(cache_stats(world.cache).prefetch_pages, 0);
	assert_true(reads(&world) < 50);
	world_end(&world);
}

/*
 * More requests than the depth: prefetch waits for free slots, and the device never has more than
 * the depth.
 */
static void test_depth(void **state)
{
	struct io_fault *io = io_fault_new(test_seed, 2);
	struct folio_cache_params params = {.size = sizeof(params),
		.bytes = 1024 * PAGE,
		.io_depth = 3,
		.io = &io_fault_ops,
		.io_context = io};
	struct folio_range range[100];
	struct world world = {.io = io};
	unsigned i;

	(void)state;
	world.contents = io_fault_add(io, "a", 1000 * PAGE);
	assert_int_equal(folio_cache_open(&params, &world.cache), 0);
	world.file = file_open(world.cache, "a");
	for (i = 0; i < 100; i++)
		range[i] = (struct folio_range){.offset = i * 10 * PAGE, .len = PAGE};
	assert_int_equal(folio_file_prefetch(world.file, range, 100), 100);
	io_fault_wait_idle(io);
	assert_true(io_fault_in_flight_max(io) <= 3);
	for (i = 0; i < 100; i++)
		expect_read(&world, i * 10 * PAGE, PAGE, 1);
	assert_int_equal(reads(&world), 100);
	world_end(&world);
}

/* A prefetch of many pages is made of reads of 256 pages at most. */
static void test_prefetch_of_many(void **state)
{
	struct folio_range range = {0, 1024 * PAGE};
	struct world world;

	(void)state;
	world_begin(
		&world, 4096, FOLIO_CACHE_NO_READAHEAD | FOLIO_CACHE_NO_HUGE_PAGES, 2000 * PAGE);
	assert_int_equal(folio_file_prefetch(world.file, &range, 1), 1024);
	io_fault_wait_idle(world.io);
	assert_int_equal(cache_stats(world.cache).fills, 4);
	assert_int_equal(reads(&world), 4);
	assert_int_equal(io_fault_bytes(world.io), 1024 * PAGE);
	expect_read(&world, 0, 1024 * PAGE, 1);
	assert_int_equal(reads(&world), 4);
	range = (struct folio_range){1024 * PAGE, (256 + 256 + 1) * PAGE};
	assert_int_equal(folio_file_prefetch(world.file, &range, 1), 256 + 256 + 1);
	io_fault_wait_idle(world.io);
	assert_int_equal(reads(&world), 4 + 3);
	world_end(&world);
}

static unsigned submits, largest_submit;

static void counting_submit(void *context, struct folio_io_request **requests, unsigned count)
{
	submits++;
	if (count > largest_submit)
		largest_submit = count;
	io_fault_ops.submit(context, requests, count);
}

/* The reads of a prefetch are submitted 32 at a time. */
static void test_submitted_together(void **state)
{
	struct folio_io_ops ops;
	struct folio_range range[96];
	struct world world = nested_world_begin(&ops, range, 96, counting_submit);

	(void)state;
	submits = largest_submit = 0;
	assert_int_equal(folio_file_prefetch(world.file, range, 96), 96);
	/* The last range of a group waits for the first of the next one: they may be adjacent. */
	assert_int_equal(submits, 4);
	assert_int_equal(largest_submit, 32);
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prefetch),
		cmocka_unit_test(test_prefetch_of_many),
		cmocka_unit_test(test_submitted_together),
		cmocka_unit_test(test_prefetch_adjacent),
		cmocka_unit_test(test_prefetch_when_warm),
		cmocka_unit_test(test_prefetch_during_drop),
		cmocka_unit_test(test_prefetch_during_prefetch),
		cmocka_unit_test(test_batch),
		cmocka_unit_test(test_batch_together),
		cmocka_unit_test(test_batch_nowait),
		cmocka_unit_test(test_batch_larger_than_cache),
		cmocka_unit_test(test_batch_heats),
		cmocka_unit_test(test_batch_reads_ahead),
		cmocka_unit_test(test_batch_of_one),
		cmocka_unit_test(test_depth),
	};

	test_begin("batch");
	return cmocka_run_group_tests_name("batch", tests, NULL, NULL);
}
