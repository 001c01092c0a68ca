/* SPDX-License-Identifier: BSD-2-Clause */
/* Sync, close and the dirty limit on a backend whose writes and syncs fail on command. */
#include <sys/stat.h>

#include "write-world.h"
#include "io/attempt.h"
#include "write/writeback.h"

static folio_u32 write_error, sync_error, truncate_error;
static folio_u32 write_missing; /* bytes that each write reports too few */
static folio_u32 writes_failed;
static void (*before_write)(void); /* called once */

static void failing_submit(void *context, struct folio_io_request **requests, unsigned count)
{
	uint32_t error = folio_u32_load_relaxed(&write_error);
	uint32_t missing = folio_u32_load_relaxed(&write_missing);
	void (*before)(void) = before_write;
	unsigned i;

	before_write = NULL;
	if (before)
		before();
	for (i = 0; i < count; i++) {
		if (error && requests[i]->op == FOLIO_IO_WRITE) {
			folio_u32_fetch_add_relaxed(&writes_failed, 1);
			requests[i]->complete(requests[i], -(ssize_t)error);
		} else if (missing && requests[i]->op == FOLIO_IO_WRITE) {
			size_t bytes = io_length(requests[i]->iov, requests[i]->iov_count);

			requests[i]->complete(requests[i], (ssize_t)(bytes - missing));
		} else {
			folio_io_threads.submit(context, &requests[i], 1);
		}
	}
}

static int failing_sync(void *context, void *handle, unsigned flags)
{
	uint32_t error = folio_u32_load_relaxed(&sync_error);

	return error ? -(int)error : folio_io_threads.sync(context, handle, flags);
}

static int failing_truncate(void *context, void *handle, uint64_t size)
{
	uint32_t error = folio_u32_load_relaxed(&truncate_error);

	return error ? -(int)error : folio_io_threads.truncate(context, handle, size);
}

static void failing_world_begin(struct world *world, unsigned pages,
	int (*before)(void *context, uint64_t sequence), void *context)
{
	static struct folio_io_ops ops;
	struct folio_cache_params params = {
		.size = sizeof(params),
		.bytes = pages * PAGE,
		.io = &ops,
		.dirty_age_ms = UINT32_MAX,
		.before_writeback = before,
		.before_writeback_context = context,
	};
	int fd;

	ops = folio_io_threads;
	ops.submit = failing_submit;
	ops.sync = failing_sync;
	ops.truncate = failing_truncate;
	folio_u32_store_relaxed(&write_error, 0);
	folio_u32_store_relaxed(&write_missing, 0);
	folio_u32_store_relaxed(&sync_error, 0);
	folio_u32_store_relaxed(&truncate_error, 0);
	memset(world, 0, sizeof(*world));
	snprintf(world->path, sizeof(world->path), "folio-write-XXXXXX");
	fd = mkstemp(world->path);
	assert_true(fd >= 0);
	close(fd);
	world_open(world, &params);
}

static uint64_t pages_dirty(struct world *world)
{
	return cache_stats(world->cache).pages_dirty;
}

/*
 * Each handle that was open reports an error once, a handle opened later does not; the page stays
 * dirty, and the next sync writes it.
 */
static void test_error_reported_once(void **state)
{
	static struct world world;
	struct folio_file *other, *late;

	(void)state;
	failing_world_begin(&world, 64, NULL, NULL);
	assert_int_equal(folio_file_open(world.cache, world.path, O_RDONLY, 0, &other), 0);
	memset(world.model, 'e', 2 * PAGE);
	world.size = 2 * PAGE;
	assert_int_equal(folio_file_write(world.file, world.model, 2 * PAGE, 0), 2 * PAGE);
	folio_u32_store_relaxed(&write_error, EIO);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), -EIO);
	assert_int_equal(pages_dirty(&world), 2);
	/* Reported again, since the write failed again. */
	folio_u32_store_relaxed(&write_error, ENOSPC);
	assert_int_equal(folio_file_sync(world.file, NULL, FOLIO_SYNC_DATA), -ENOSPC);
	assert_int_equal(pages_dirty(&world), 2);
	folio_u32_store_relaxed(&write_error, 0);
	assert_int_equal(folio_file_open(world.cache, world.path, O_RDWR, 0, &late), 0);
	/*
	 * Written now: the first handle reports nothing, the other one reports the earlier error,
	 * once.
	 */
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	assert_int_equal(pages_dirty(&world), 0);
	check_file(&world);
	assert_int_equal(folio_file_sync(other, NULL, 0), -ENOSPC);
	assert_int_equal(folio_file_sync(other, NULL, 0), 0);
	assert_int_equal(folio_file_sync(late, NULL, 0), 0);
	assert_int_equal(folio_file_close(late), 0);
	assert_int_equal(folio_file_close(other), 0);
	world_end(&world);
}

/* A backend that writes fewer bytes than it should has failed, and the page stays dirty. */
static void test_short_write(void **state)
{
	static const uint32_t missing[] = {1, PAGE, 2 * PAGE};
	static struct world world;
	unsigned i;

	(void)state;
	failing_world_begin(&world, 64, NULL, NULL);
	memset(world.model, 's', 2 * PAGE);
	world.size = 2 * PAGE;
	assert_int_equal(folio_file_write(world.file, world.model, 2 * PAGE, 0), 2 * PAGE);
	for (i = 0; i < 3; i++) {
		folio_u32_store_relaxed(&write_missing, missing[i]);
		assert_int_equal(folio_file_sync(world.file, NULL, 0), -EIO);
		assert_int_equal(pages_dirty(&world), 2);
		assert_int_equal(cache_stats(world.cache).write_errors, i + 1);
	}
	folio_u32_store_relaxed(&write_missing, 0);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	check_file(&world);
	world_end(&world);
}

static struct world *counted_world;

static void look_at_counts(void)
{
	struct folio_cache_stats stats = cache_stats(counted_world->cache);

	assert_int_equal(stats.writes, 1);
	assert_int_equal(stats.write_bytes, PAGE + 1);
	assert_int_equal(stats.pages_writeback, 2);
	assert_int_equal(stats.pages_dirty, 2);
}

/* A write is counted before the backend has it: it may be stuck there. */
static void test_counted_in_flight(void **state)
{
	static struct world world;

	(void)state;
	failing_world_begin(&world, 64, NULL, NULL);
	counted_world = &world;
	memset(world.model, 'c', PAGE + 1);
	world.size = PAGE + 1;
	assert_int_equal(folio_file_write(world.file, world.model, PAGE + 1, 0), PAGE + 1);
	before_write = look_at_counts;
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	assert_null(before_write);
	check_file(&world);
	world_end(&world);
}

/*
 * If write-back fails, the last close returns the error and loses nothing; abandoning the file
 * loses the data and returns the error too.
 */
static void test_close_refuses(void **state)
{
	static struct world world;

	(void)state;
	failing_world_begin(&world, 64, NULL, NULL);
	assert_int_equal(folio_file_write(world.file, "x", 1, 0), 1);
	folio_u32_store_relaxed(&write_error, EIO);
	assert_int_equal(folio_file_close(world.file), -EIO);
	folio_u32_store_relaxed(&write_error, 0);
	world.model[0] = 'x';
	world.size = 1;
	assert_int_equal(folio_file_sync(world.file, NULL, 0), -EIO);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	check_file(&world);
	assert_int_equal(folio_file_write(world.file, "y", 1, 0), 1);
	folio_u32_store_relaxed(&write_error, EIO);
	assert_int_equal(folio_file_abandon(world.file), -EIO);
	check_file(&world);
	assert_int_equal(folio_cache_close(world.cache), 0);
	unlink(world.path);
}

static struct world *contended;

static void *write_and_close(void *arg)
{
	struct folio_file *other;

	assert_int_equal(folio_file_open(contended->cache, contended->path, O_RDWR, 0, &other), 0);
	assert_int_equal(folio_file_write(other, arg, PAGE, PAGE), PAGE);
	assert_int_equal(folio_file_close(other), 0);
	return NULL;
}

static void write_in_another_thread(void)
{
	pthread_t thread;

	assert_int_equal(
		pthread_create(&thread, NULL, write_and_close, contended->model + PAGE), 0);
	pthread_join(thread, NULL);
}

/*
 * While the last handle is closed, another thread opens the file, writes and closes: its data is
 * written as well, whether the handle is closed or abandoned, and whatever has failed earlier.
 */
static void test_written_during_close(void **state)
{
	static struct world world;
	unsigned abandon;
	int r;

	(void)state;
	for (abandon = 0; abandon < 2; abandon++) {
		failing_world_begin(&world, 64, NULL, NULL);
		memset(world.model, 'a', 6 * PAGE);
		world.size = 6 * PAGE;
		assert_int_equal(folio_file_write(world.file, world.model, 6 * PAGE, 0), 6 * PAGE);
		folio_u32_store_relaxed(&write_error, EIO);
		assert_int_equal(folio_file_sync(world.file, NULL, 0), -EIO);
		folio_u32_store_relaxed(&write_error, 0);
		assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
		world.model[5 * PAGE] = 'b';
		assert_int_equal(folio_file_write(world.file, "b", 1, 5 * PAGE), 1);
		memset(world.model + PAGE, 'c', PAGE);
		contended = &world;
		before_write = write_in_another_thread;
		r = abandon ? folio_file_abandon(world.file) : folio_file_close(world.file);
		assert_int_equal(r, 0);
		check_file(&world);
		assert_int_equal(folio_cache_close(world.cache), 0);
		unlink(world.path);
	}
}

/* A device that never has memory does not keep a file from being abandoned. */
static void test_abandon_on_enomem(void **state)
{
	static struct world world;

	(void)state;
	failing_world_begin(&world, 64, NULL, NULL);
	assert_int_equal(folio_file_write(world.file, "x", 1, 0), 1);
	folio_u32_store_relaxed(&write_error, ENOMEM);
	assert_int_equal(folio_file_close(world.file), -EIO);
	assert_int_equal(folio_file_abandon(world.file), -EIO);
	assert_int_equal(folio_cache_close(world.cache), 0);
	unlink(world.path);
}

static unsigned log_calls;

static int count_log_calls(void *context, uint64_t sequence)
{
	(void)context;
	(void)sequence;
	log_calls++;
	return 0;
}

/* Of several handles only the last to be closed writes dirty pages back. */
static void test_close_of_one_of_several(void **state)
{
	static struct world world;
	struct folio_file *reader, *writer;
	uint64_t i;

	(void)state;
	failing_world_begin(&world, 64, count_log_calls, NULL);
	log_calls = 0;
	assert_int_equal(folio_file_open(world.cache, world.path, O_RDONLY, 0, &reader), 0);
	assert_int_equal(folio_file_open(world.cache, world.path, O_RDWR, 0, &writer), 0);
	for (i = 0; i < 5; i++)
		assert_int_equal(folio_file_write(world.file, "x", 1, 2 * i * PAGE), 1);
	assert_int_equal(folio_file_close(reader), 0);
	assert_int_equal(folio_file_close(writer), 0);
	assert_int_equal(folio_file_open(world.cache, world.path, O_RDONLY, 0, &reader), 0);
	assert_int_equal(folio_file_abandon(reader), 0);
	assert_int_equal(pages_dirty(&world), 5);
	assert_int_equal(cache_stats(world.cache).writes, 0);
	assert_int_equal(log_calls, 0);
	/* The last handle may be one that cannot write. */
	assert_int_equal(folio_file_open(world.cache, world.path, O_RDONLY, 0, &reader), 0);
	assert_int_equal(folio_file_close(world.file), 0);
	assert_int_equal(pages_dirty(&world), 5);
	world.file = reader;
	for (i = 0; i < 5; i++)
		world.model[2 * i * PAGE] = 'x';
	world.size = 8 * PAGE + 1;
	assert_int_equal(folio_file_close(world.file), 0);
	assert_int_equal(log_calls, 1);
	check_file(&world);
	assert_int_equal(folio_cache_close(world.cache), 0);
	unlink(world.path);
}

/*
 * The device accepts no write: at the dirty limit, writers get the error, and nothing that they
 * wrote is lost.
 */
static void test_dirty_limit(void **state)
{
	static struct world world;
	uint64_t offset = 0;
	ssize_t n;

	(void)state;
	failing_world_begin(&world, 256, NULL, NULL);
	folio_u32_store_relaxed(&write_error, EIO);
	memset(world.model, 'd', MODEL_BYTES);
	while ((n = folio_file_write(world.file, world.model, 2 * PAGE, offset)) == 2 * PAGE) {
		offset += 2 * PAGE;
		assert_true(offset < 100 * PAGE);
	}
	assert_true(n == -EIO || n == PAGE);
	world.size = folio_file_size(world.file);
	assert_true(pages_dirty(&world) * PAGE >= world.size);
	folio_u32_store_relaxed(&write_error, 0);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), -EIO);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	check_file(&world);
	world_end(&world);
}

/*
 * A write past the end leaves a gap without dirty pages. After a sync of a range in it the file has
 * all bytes of the range, also if the written page comes later.
 */
static void test_range_in_a_gap(void **state)
{
	const struct folio_range range = {10 * PAGE, PAGE}, first = {0, 1};
	static struct world world;
	struct stat st;

	(void)state;
	failing_world_begin(&world, 64, NULL, NULL);
	world.size = 100 * PAGE + 1;
	world.model[0] = 'a';
	world.model[100 * PAGE] = 'x';
	assert_int_equal(folio_file_write(world.file, "a", 1, 0), 1);
	assert_int_equal(folio_file_write(world.file, "x", 1, 100 * PAGE), 1);
	folio_u32_store_relaxed(&truncate_error, ENOSPC);
	assert_int_equal(folio_file_sync(world.file, &range, 0), -ENOSPC);
	/* A page that cannot be written does not make the file longer. */
	folio_u32_store_relaxed(&truncate_error, 0);
	folio_u32_store_relaxed(&write_error, EIO);
	assert_int_equal(folio_file_sync(world.file, &first, 0), -EIO);
	assert_int_equal(stat(world.path, &st), 0);
	assert_int_equal(st.st_size, 0);
	folio_u32_store_relaxed(&write_error, 0);
	assert_int_equal(folio_file_sync(world.file, &range, FOLIO_SYNC_DATA), 0);
	assert_int_equal(stat(world.path, &st), 0);
	assert_true((uint64_t)st.st_size >= 11 * PAGE);
	assert_int_equal(pages_dirty(&world), 2);
	/* The file is long enough by now. */
	folio_u32_store_relaxed(&truncate_error, ENOSPC);
	assert_int_equal(folio_file_sync(world.file, &range, FOLIO_SYNC_DATA), 0);
	folio_u32_store_relaxed(&truncate_error, 0);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	check_file(&world);
	world_end(&world);
}

/* After a sync failed, the state on the device is unknown: no later sync succeeds. */
static void test_sync_fails(void **state)
{
	static struct world world;

	(void)state;
	failing_world_begin(&world, 64, NULL, NULL);
	assert_int_equal(folio_file_write(world.file, "x", 1, 0), 1);
	folio_u32_store_relaxed(&sync_error, EIO);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), -EIO);
	folio_u32_store_relaxed(&sync_error, 0);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), -EIO);
	assert_int_equal(folio_file_close(world.file), 0);
	assert_int_equal(folio_file_open(world.cache, world.path, O_RDWR, 0, &world.file), 0);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	world.model[0] = 'x';
	world.size = 1;
	world_end(&world);
}

/* The log of a database comes first: no page is written before its sequence number was logged. */
static uint64_t log_written;
static int log_error;

static int flush_log(void *context, uint64_t sequence)
{
	(void)context;
	if (log_error)
		return log_error;
	if (sequence > log_written)
		log_written = sequence;
	return 0;
}

static void test_log_first(void **state)
{
	static struct world world;
	struct folio *folio;
	void *page;
	uint64_t i;

	(void)state;
	failing_world_begin(&world, 64, flush_log, NULL);
	log_written = 0;
	memset(world.model, 0, 4 * PAGE);
	world.size = 4 * PAGE;
	assert_int_equal(folio_file_truncate(world.file, world.size), 0);
	for (i = 0; i < 4; i++) {
		assert_int_equal(folio_file_get_page(world.file, i, 0, &folio, &page), 0);
		assert_int_equal(folio_lock(folio), 0);
		memset(page, 'a' + (int)i, PAGE);
		memset(world.model + i * PAGE, 'a' + (int)i, PAGE);
		assert_int_equal(folio_mark_dirty(folio, 100 + i), 0);
		folio_unlock(folio);
		folio_put(folio);
	}
	assert_int_equal(log_written, 0);
	log_error = -ENOSPC;
	assert_int_equal(folio_file_sync(world.file, NULL, 0), -ENOSPC);
	assert_int_equal(pages_dirty(&world), 4);
	log_error = 0;
	assert_int_equal(
		folio_file_sync(world.file, &(struct folio_range){.offset = 0, .len = PAGE}, 0), 0);
	assert_int_equal(log_written, 100);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	assert_int_equal(log_written, 103);
	check_file(&world);
	world_end(&world);
}

static void test_arguments(void **state)
{
	const struct folio_range wraps = {PAGE, UINT64_MAX - 1}, empty = {5, 0};
	const struct folio_range rest = {PAGE, UINT64_MAX}, last = {UINT64_MAX, UINT64_MAX};
	static struct world world;
	struct folio_file *reader;
	char other[80];

	(void)state;
	world_begin(&world, 64, 0);
	assert_int_equal(folio_file_write(world.file, "a", 1, 0), 1);
	assert_int_equal(folio_file_write(world.file, "x", 1, 2 * PAGE), 1);
	assert_int_equal(folio_file_sync(NULL, NULL, 0), -EINVAL);
	assert_int_equal(folio_file_sync(world.file, NULL, ~0u), -EINVAL);
	assert_int_equal(folio_file_sync(world.file, &wraps, 0), -EINVAL);
	assert_int_equal(folio_file_sync(world.file, &empty, 0), 0);
	/* Of a file that no handle has open for writing. */
	snprintf(other, sizeof(other), "%s.read", world.path);
	assert_int_equal(symlink("/proc/self/exe", other), 0);
	reader = file_open(world.cache, other);
	assert_int_equal(folio_file_sync(reader, NULL, 0), 0);
	assert_int_equal(folio_file_close(reader), 0);
	unlink(other);
	assert_int_equal(folio_file_sync(world.file, &last, 0), 0);
	assert_int_equal(cache_stats(world.cache).writes, 0);
	/* From an offset to the end. */
	assert_int_equal(folio_file_sync(world.file, &rest, 0), 0);
	assert_int_equal(cache_stats(world.cache).pages_dirty, 1);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	world.model[0] = 'a';
	world.model[2 * PAGE] = 'x';
	world.size = 2 * PAGE + 1;
	check_file(&world);
	world_end(&world);
}

/* What a device has written counts less with each period, also after 2^32 of them. */
static void test_periods(void **state)
{
	static struct world world;
	struct writeback_device *device;
	struct writeback *writeback;
	unsigned i;

	(void)state;
	failing_world_begin(&world, 64, NULL, NULL);
	writeback = &world.cache->writeback;
	device = world.file->inode->backing;
	assert_true(writeback->runs_max >= 16);
	share_take(&device->share, SHARE_RUNS, writeback->runs_max / 2);
	share_take(&writeback->share, SHARE_RUNS, writeback->runs_max / 4);
	for (i = 0; i < 2; i++) {
		pthread_mutex_lock(&writeback->lock);
		folio_u64_store_relaxed(&writeback->period, i ? (UINT64_C(1) << 32) + 5 : 5);
		if (!i)
			share_wrote(&device->share, 100, 5);
		assert_int_equal(writeback_may_run(device, NULL), !i);
		pthread_mutex_unlock(&writeback->lock);
	}
	share_give(&writeback->share, SHARE_RUNS, writeback->runs_max / 4);
	share_give(&device->share, SHARE_RUNS, writeback->runs_max / 2);
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_error_reported_once),
		cmocka_unit_test(test_short_write),
		cmocka_unit_test(test_counted_in_flight),
		cmocka_unit_test(test_close_refuses),
		cmocka_unit_test(test_abandon_on_enomem),
		cmocka_unit_test(test_close_of_one_of_several),
		cmocka_unit_test(test_written_during_close),
		cmocka_unit_test(test_dirty_limit),
		cmocka_unit_test(test_range_in_a_gap),
		cmocka_unit_test(test_sync_fails),
		cmocka_unit_test(test_log_first),
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_periods),
	};

	test_begin("sync");
	return cmocka_run_group_tests_name("sync", tests, NULL, NULL);
}
