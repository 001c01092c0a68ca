/* SPDX-License-Identifier: BSD-2-Clause */
/* Files that another program changes: they shrink, grow, or do both while a page is being read. */
#include "fault-world.h"
#include "cache/revalidate.h"

/* The file shrinks. A read that reaches the new end returns fewer bytes, and no zeros. */
static void test_shrinks(void **state)
{
	struct folio *folio = NULL;
	struct world world;
	char buf[4 * FOLIO_PAGE_SIZE];
	uint64_t i;

	(void)state;
	world_begin(&world, 256, FOLIO_CACHE_NO_READAHEAD, 20 * PAGE);
	expect_read(&world, 0, 2 * PAGE, 1);
	io_fault_resize(world.contents, 5 * PAGE + 100);
	assert_int_equal(folio_file_size(world.file), 20 * PAGE);
	/* A part of the page is left. */
	assert_int_equal(folio_file_read(world.file, buf, 200, 5 * PAGE), 100);
	assert_true(io_fault_check(world.contents, 5 * PAGE, buf, 100, NULL, NULL));
	assert_int_equal(folio_file_size(world.file), 5 * PAGE + 100);

	io_fault_resize(world.contents, 20 * PAGE);
	assert_int_equal(folio_file_revalidate(world.file), 1);
	io_fault_resize(world.contents, 5 * PAGE);
	/* Nothing of the page is left. */
	assert_int_equal(folio_file_read(world.file, buf, 200, 7 * PAGE), 0);
	assert_int_equal(folio_file_size(world.file), 5 * PAGE);

	io_fault_resize(world.contents, 20 * PAGE);
	assert_int_equal(folio_file_revalidate(world.file), 1);
	io_fault_resize(world.contents, 5 * PAGE);
	assert_int_equal(folio_file_get(world.file, 7, 0, &folio), -ENODATA);
	assert_null(folio);
	assert_int_equal(folio_file_size(world.file), 5 * PAGE);

	io_fault_resize(world.contents, 20 * PAGE);
	assert_int_equal(folio_file_revalidate(world.file), 1);
	io_fault_resize(world.contents, 5 * PAGE + 10);
	/* A long read across the new end. */
	assert_int_equal(folio_file_read(world.file, buf, sizeof(buf), 4 * PAGE), PAGE + 10);
	assert_true(io_fault_check(world.contents, 4 * PAGE, buf, PAGE + 10, NULL, NULL));

	/* The file grows again, and no page that was missing reads as zeros. */
	io_fault_resize(world.contents, 20 * PAGE);
	for (i = 0; i < 20; i++) {
		if (i == 0)
			assert_int_equal(folio_file_revalidate(world.file), 1);
		expect_read(&world, i * PAGE, PAGE, 1);
	}
	/* To no bytes, and back. */
	io_fault_resize(world.contents, 0);
	assert_int_equal(folio_file_revalidate(world.file), 1);
	assert_int_equal(folio_file_read(world.file, buf, sizeof(buf), 0), 0);
	assert_int_equal(folio_file_get(world.file, 0, 0, &folio), -ENODATA);
	io_fault_resize(world.contents, 3 * PAGE);
	expect_read(&world, 0, 3 * PAGE, 1);
	world_end(&world);
}

/*
 * The file grows. A read at the end detects it, and the old last page keeps no zeros past its old
 * end.
 */
static void test_grows(void **state)
{
	static const uint64_t sizes[] = {1, 100, 4095, 4096, 4097, 9000, 40000, 40960, 50000};
	struct world world;
	struct folio *folio;
	char buf[FOLIO_PAGE_SIZE];
	uint64_t before;
	unsigned s;

	(void)state;
	world_begin(&world, 64, 0, 0);
	assert_int_equal(folio_file_read(world.file, buf, 1, 0), 0);
	assert_int_equal(folio_file_get(world.file, 0, 0, &folio), -ENODATA);
	for (s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		before = folio_file_size(world.file);
		io_fault_resize(world.contents, sizes[s]);
		/* The cache does not know before a read at the end. */
		assert_int_equal(folio_file_size(world.file), before);
		if (s % 2) {
			expect_read(&world, before, 1, 1);
		} else {
			assert_int_equal(
				folio_file_get(world.file, (sizes[s] - 1) / PAGE, 0, &folio), 0);
			folio_put(folio);
			if (before / PAGE == (sizes[s] - 1) / PAGE)
				/* The page was cached: a pin does not query the size. */
				assert_int_equal(folio_file_revalidate(world.file), 1);
		}
		assert_int_equal(folio_file_size(world.file), sizes[s]);
		expect_read(&world, 0, sizes[s], 1);
		assert_int_equal(folio_file_read(world.file, buf, sizeof(buf), sizes[s]), 0);
	}
	world_end(&world);
}

/* A backend whose read calls a hook after it has the data and before it returns. */
static void (*after_read)(void *);
static void *after_read_arg;

static ssize_t hooked_read(
	void *context, void *handle, const struct iovec *iov, unsigned iov_count, uint64_t offset)
{
	ssize_t result = io_fault_ops.read(context, handle, iov, iov_count, offset);
	void (*hook)(void *) = after_read;

	after_read = NULL;
	if (hook)
		hook(after_read_arg);
	return result;
}

static void hooked_world_begin(struct world *world, struct folio_io_ops *ops, uint64_t size)
{
	*ops = io_fault_ops;
	ops->read = hooked_read;
	world_begin_over(world, ops, 1, 64, size);
	after_read_arg = world;
}

static void grow_and_revalidate(void *arg)
{
	struct world *world = arg;

	io_fault_resize(world->contents, 3 * PAGE);
	assert_int_equal(folio_file_revalidate(world->file), 1);
}

static void cut_and_write(void *arg)
{
	struct world *world = arg;

	io_fault_resize(world->contents, 3 * PAGE);
	io_fault_change(world->contents);
}

static void cut_write_and_revalidate(void *arg)
{
	struct world *world = arg;

	cut_and_write(world);
	assert_int_equal(folio_file_revalidate(world->file), 1);
}

static void shrink_revalidate_and_grow(void *arg)
{
	struct world *world = arg;

	io_fault_resize(world->contents, PAGE);
	assert_int_equal(folio_file_revalidate(world->file), 1);
	io_fault_resize(world->contents, 3 * PAGE);
	assert_int_equal(folio_file_revalidate(world->file), 1);
}

/*
 * The file changes after the device was read and before the filler examines the data. Data that are
 * short by the new size were complete by the old one: this is no error of the device.
 */
static void test_changes_during_read(void **state)
{
	struct folio_io_ops ops;
	struct world world;
	char buf[3 * FOLIO_PAGE_SIZE];
	ssize_t n;

	(void)state;
	/* The file grows, and the cache has detected it. */
	hooked_world_begin(&world, &ops, PAGE + 100);
	after_read = grow_and_revalidate;
	n = folio_file_read(world.file, buf, PAGE, PAGE);
	assert_true(n == 100 || n == (ssize_t)PAGE);
	assert_true(io_fault_check(world.contents, PAGE, buf, (size_t)n, NULL, NULL));
	expect_read(&world, 0, 3 * PAGE, 1);
	world_end(&world);

	/* Truncated, read short, and extended to its old size. */
	hooked_world_begin(&world, &ops, 3 * PAGE);
	io_fault_resize(world.contents, 100);
	after_read = cut_and_write;
	expect_read(&world, 0, 3 * PAGE, 1);
	world_end(&world);

	/* The same, and the cache has detected it. */
	hooked_world_begin(&world, &ops, 3 * PAGE);
	io_fault_resize(world.contents, 100);
	after_read = cut_write_and_revalidate;
	expect_read(&world, 0, 3 * PAGE, 1);
	world_end(&world);

	/* The data read were cut off, and the file was extended again. */
	hooked_world_begin(&world, &ops, 3 * PAGE);
	after_read = shrink_revalidate_and_grow;
	expect_read(&world, PAGE, 2 * PAGE, 1);
	expect_read(&world, 0, 3 * PAGE, 1);
	assert_int_equal(cache_stats(world.cache).fill_errors, 0);
	world_end(&world);
}

/*
 * A page is being read. When the read returns, the file no longer has the page; later it has it
 * again.
 */
static void *read_page_9(void *arg)
{
	struct world *world = arg;
	char buf[64];
	ssize_t n = folio_file_read(world->file, buf, sizeof(buf), 9 * PAGE);

	if (n > 0 && !io_fault_check(world->contents, 9 * PAGE, buf, (size_t)n, NULL, NULL))
		n = -1;
	return (void *)n;
}

static void test_shrinks_during_read(void **state)
{
	struct world world;
	pthread_t thread;
	unsigned revalidated;
	void *n;

	(void)state;
	for (revalidated = 0; revalidated < 2; revalidated++) {
		world_begin(&world, 64, FOLIO_CACHE_NO_READAHEAD, 10 * PAGE);
		io_fault_hold(world.io);
		assert_int_equal(pthread_create(&thread, NULL, read_page_9, &world), 0);
		io_fault_wait_held(world.io, 1);
		io_fault_resize(world.contents, 5 * PAGE);
		if (revalidated)
			assert_int_equal(folio_file_revalidate(world.file), 1);
		io_fault_release(world.io, UINT64_MAX);
		pthread_join(thread, &n);
		assert_int_equal((ssize_t)n, 0);
		assert_int_equal(folio_file_size(world.file), 5 * PAGE);
		io_fault_resize(world.contents, 10 * PAGE);
		expect_read(&world, 9 * PAGE, PAGE, 1);
		world_end(&world);
	}
}

/* ---- changes that the times of a file do not show ---- */

/* What the backend reports: the file's own size, and these times. */
static struct {
	int64_t mtime_sec, ctime_sec;
	uint32_t ctime_nsec;
	bool has_ctime;
} times;

static int timed_getattr(void *context, void *handle, struct folio_io_attr *attr)
{
	uint32_t struct_size = attr->struct_size;
	int r = io_fault_ops.getattr(context, handle, attr);

	attr->struct_size = struct_size;
	attr->mtime_sec = times.mtime_sec;
	attr->ctime_sec = times.ctime_sec;
	attr->ctime_nsec = times.ctime_nsec;
	attr->fields = times.has_ctime ? FOLIO_IO_ATTR_CTIME : 0;
	return r;
}

static void timed_world_begin(struct world *world, struct folio_io_ops *ops)
{
	*ops = io_fault_ops;
	ops->getattr = timed_getattr;
	world_begin_over(world, ops, 1, 64, 4 * PAGE);
}

static int64_t now_sec(void)
{
	struct timespec now;

	assert_int_equal(clock_gettime(CLOCK_REALTIME, &now), 0);
	return now.tv_sec;
}

/*
 * The file is read as soon as it has changed, and changes again within the same tick of the clock:
 * its times stay the same. An hour ahead stands for now, whatever time the test takes.
 */
static void test_changes_in_one_tick(void **state)
{
	struct folio_io_ops ops;
	struct folio_file *second;
	struct world world;

	times.has_ctime = true;
	times.mtime_sec = times.ctime_sec = now_sec() + 3600;
	times.ctime_nsec = 1;
	timed_world_begin(&world, &ops);
	/* Nothing was read, so nothing is old. */
	assert_int_equal(folio_file_revalidate(world.file), 0);
	expect_read(&world, 0, 2 * PAGE, 1);
	io_fault_change(world.contents);
	assert_int_equal(folio_file_revalidate(world.file), 1);
	expect_read(&world, 0, 2 * PAGE, 2);
	/* The next open finds it as well. */
	io_fault_change(world.contents);
	second = file_open(world.cache, "a");
	expect_read(&world, 0, 2 * PAGE, 3);
	assert_int_equal(folio_file_close(second), 0);

	/* The last change was long ago: another one would have another time. */
	times.mtime_sec = times.ctime_sec = 1000;
	assert_int_equal(folio_file_revalidate(world.file), 1);
	expect_read(&world, 0, 2 * PAGE, 3);
	assert_int_equal(folio_file_revalidate(world.file), 0);
	/* The old time of the contents was restored, but not that of the inode. */
	io_fault_change(world.contents);
	times.ctime_nsec++;
	assert_int_equal(folio_file_revalidate(world.file), 1);
	expect_read(&world, 0, 2 * PAGE, 4);
	world_end(&world);

	/* A backend without this time: as in version 0.1, only the other one counts. */
	times.has_ctime = false;
	times.mtime_sec = now_sec() + 3600;
	timed_world_begin(&world, &ops);
	expect_read(&world, 0, 2 * PAGE, 1);
	assert_int_equal(folio_file_revalidate(world.file), 0);
	world_end(&world);
}

/* How old a change must be that its time tells from a later one. */
static void test_recent(void **state)
{
	static const struct {
		int64_t sec;
		uint32_t nsec;
		int64_t now_sec;
		long now_nsec;
		bool recent;
	} rows[] = {
		/* Nanoseconds, taken from a clock with ticks of 4 ms. */
		{100, 500000001, 100, 504000001, true},
		{100, 500000001, 100, 504000002, false},
		{100, 999999999, 101, 3999999, true},
		{100, 999999999, 101, 4000000, false},
		{101, 1, 100, 999999999, true},
		/* Hundredths of a second. */
		{100, 500000000, 100, 600000000, true},
		{100, 500000000, 100, 600000001, false},
		{100, 510000000, 100, 520000000, true},
		{100, 510000000, 100, 520000001, false},
		/* Seconds, perhaps every second one only. */
		{100, 0, 102, 0, true},
		{100, 0, 102, 1, false},
		/* Far away. */
		{100, 0, 104, 0, false},
		{104, 0, 100, 0, true},
		{INT64_MIN + 200, 0, 100, 0, false},
		{INT64_MAX, 0, 100, 0, true},
	};
	const struct timespec tick = {.tv_nsec = 4000000};
	unsigned i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct timespec now = {rows[i].now_sec, rows[i].now_nsec};
		struct folio_io_attr attr = {.fields = FOLIO_IO_ATTR_CTIME,
			.ctime_sec = rows[i].sec,
			.ctime_nsec = rows[i].nsec};

		if (revalidate_is_recent(&attr, &now, &tick) != rows[i].recent)
			print_message("# row %u\n", i);
		assert_int_equal(revalidate_is_recent(&attr, &now, &tick), rows[i].recent);
		attr.fields = 0;
		assert_false(revalidate_is_recent(&attr, &now, &tick));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shrinks),
		cmocka_unit_test(test_grows),
		cmocka_unit_test(test_changes_during_read),
		cmocka_unit_test(test_shrinks_during_read),
		cmocka_unit_test(test_changes_in_one_tick),
		cmocka_unit_test(test_recent),
	};

	test_begin("revalidate");
	return cmocka_run_group_tests_name("revalidate", tests, NULL, NULL);
}
