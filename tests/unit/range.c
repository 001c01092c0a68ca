/* SPDX-License-Identifier: BSD-2-Clause */
/* Write-back of a range without a sync, on a backend that holds writes, or fails them. */
#include <folio/range.h>

#include "write-world.h"

#define HELD_MAX 256

/* ---- a backend whose writes are held, or fail, on command ---- */

static struct {
	pthread_mutex_t lock;
	/* Guarded by lock. */
	bool holds;
	struct folio_io_request *held[HELD_MAX];
	unsigned count;
	void *context; /* of the backend below */
	unsigned writes;
	uint64_t bytes;
	folio_u32 error;
	folio_u32 syncs;
} device = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void device_submit(void *context, struct folio_io_request **requests, unsigned count)
{
	int error = (int)folio_u32_load_relaxed(&device.error);
	unsigned i;

	for (i = 0; i < count; i++) {
		struct folio_io_request *request = requests[i];
		bool hold = false;
		uint32_t j;

		if (request->op == FOLIO_IO_WRITE) {
			pthread_mutex_lock(&device.lock);
			device.writes++;
			for (j = 0; j < request->iov_count; j++)
				device.bytes += request->iov[j].iov_len;
			hold = device.holds;
			if (hold) {
				assert_true(device.count < HELD_MAX);
				device.context = context;
				device.held[device.count++] = request;
			}
			pthread_mutex_unlock(&device.lock);
		}
		if (hold)
			continue;
		if (error && request->op == FOLIO_IO_WRITE)
			request->complete(request, -(ssize_t)error);
		else
			folio_io_threads.submit(context, &request, 1);
	}
}

static int device_sync(void *context, void *handle, unsigned flags)
{
	folio_u32_fetch_add_relaxed(&device.syncs, 1);
	return folio_io_threads.sync(context, handle, flags);
}

static void device_hold(void)
{
	pthread_mutex_lock(&device.lock);
	device.holds = true;
	pthread_mutex_unlock(&device.lock);
}

static void device_release(void)
{
	unsigned i, count;

	pthread_mutex_lock(&device.lock);
	device.holds = false;
	count = device.count;
	device.count = 0;
	pthread_mutex_unlock(&device.lock);
	for (i = 0; i < count; i++)
		folio_io_threads.submit(device.context, &device.held[i], 1);
}

static unsigned device_writes(void)
{
	unsigned writes;

	pthread_mutex_lock(&device.lock);
	writes = device.writes;
	pthread_mutex_unlock(&device.lock);
	return writes;
}

static void device_world_begin(
	struct world *world, unsigned pages, unsigned depth, uint32_t timeout_ms)
{
	static struct folio_io_ops ops;
	struct folio_cache_params params = {
		.size = sizeof(params),
		.bytes = pages * PAGE,
		.dirty_bytes = pages / 2 * PAGE,
		.io = &ops,
		.io_depth = depth,
		.dirty_age_ms = UINT32_MAX,
		.timeout_ms = timeout_ms,
	};
	int fd;

	ops = folio_io_threads;
	ops.submit = device_submit;
	ops.sync = device_sync;
	device.writes = device.count = 0;
	device.bytes = 0;
	device.holds = false;
	folio_u32_store_relaxed(&device.error, 0);
	folio_u32_store_relaxed(&device.syncs, 0);
	memset(world, 0, sizeof(*world));
	snprintf(world->path, sizeof(world->path), "folio-range-XXXXXX");
	fd = mkstemp(world->path);
	assert_true(fd >= 0);
	close(fd);
	world_open(world, &params);
}

static uint64_t pages_dirty(struct world *world)
{
	return cache_stats(world->cache).pages_dirty;
}

/* Writes single pages, not adjacent, from page @first on, as the model has them. */
static void write_pages(struct world *world, uint64_t first, unsigned count)
{
	unsigned i;

	for (i = 0; i < count; i++) {
		uint64_t offset = (first + 2 * i) * PAGE;

		memset(world->model + offset, 'a' + (int)(i % 26), PAGE);
		assert_int_equal(
			folio_file_write(world->file, world->model + offset, PAGE, offset), PAGE);
		if (offset + PAGE > world->size)
			world->size = offset + PAGE;
	}
}

/* ---- tests ---- */

/* The writes of the range, and no others, are started; the call waits for none, and syncs not. */
static void test_starts(void **state)
{
	static struct world world;

	(void)state;
	device_world_begin(&world, 128, 0, 0);
	write_pages(&world, 0, 8);
	device_hold();
	/* One byte of page 2, and the first byte of page 6. */
	assert_int_equal(folio_file_writeback(world.file, 3 * PAGE - 1, 3 * PAGE + 2, 0), 0);
	assert_int_equal(device_writes(), 3);
	assert_int_equal(device.bytes, 3 * PAGE);
	assert_int_equal(cache_stats(world.cache).pages_writeback, 3);
	/* They are on their way: there is nothing more to start. */
	assert_int_equal(folio_file_writeback(world.file, 2 * PAGE, 6 * PAGE, 0), 0);
	assert_int_equal(device_writes(), 3);
	device_release();
	wait_until(pages_dirty(&world) == 5);
	assert_int_equal(device_writes(), 3);
	assert_int_equal(folio_u32_load_relaxed(&device.syncs), 0);
	assert_int_equal(folio_file_writeback(world.file, 0, UINT64_MAX, 0), 0);
	wait_until(pages_dirty(&world) == 0);
	assert_int_equal(device_writes(), 8);
	check_file(&world);
	world_end(&world);
}

/* What the range has is in the file when the call returns; the rest is not written. */
static void test_waits(void **state)
{
	static struct world world;
	char byte;
	int fd;

	(void)state;
	device_world_begin(&world, 128, 0, 0);
	write_pages(&world, 0, 8);
	fd = open(world.path, O_RDONLY);
	assert_true(fd >= 0);
	assert_int_equal(folio_file_writeback(world.file, 4 * PAGE, 1, FOLIO_WRITEBACK_WAIT), 0);
	assert_int_equal(pread(fd, &byte, 1, (off_t)(4 * PAGE)), 1);
	assert_int_equal(byte, 'c');
	assert_int_equal(pages_dirty(&world), 7);
	assert_int_equal(
		folio_file_writeback(world.file, PAGE, UINT64_MAX, FOLIO_WRITEBACK_WAIT), 0);
	assert_int_equal(pages_dirty(&world), 1);
	assert_int_equal(folio_file_writeback(world.file, 0, 0, FOLIO_WRITEBACK_WAIT), 0);
	assert_int_equal(pages_dirty(&world), 1);
	assert_int_equal(folio_file_writeback(world.file, 0, UINT64_MAX, FOLIO_WRITEBACK_WAIT), 0);
	assert_int_equal(pages_dirty(&world), 0);
	assert_int_equal(device_writes(), 8);
	assert_int_equal(folio_u32_load_relaxed(&device.syncs), 0);
	check_file(&world);
	close(fd);
	world_end(&world);
}

/* An error is returned by a call that waits, and still by the sync of each handle. */
static void test_errors(void **state)
{
	static struct world world;
	struct folio_file *other;

	(void)state;
	device_world_begin(&world, 64, 0, 0);
	other = file_open(world.cache, world.path);
	write_pages(&world, 0, 2);
	folio_u32_store_relaxed(&device.error, EIO);
	assert_int_equal(folio_file_writeback(other, 0, PAGE, FOLIO_WRITEBACK_WAIT), -EIO);
	assert_int_equal(pages_dirty(&world), 2);
	folio_u32_store_relaxed(&device.error, 0);
	/* An error from before the call is not its own. */
	assert_int_equal(folio_file_writeback(other, 0, PAGE, FOLIO_WRITEBACK_WAIT), 0);
	assert_int_equal(pages_dirty(&world), 1);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), -EIO);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	assert_int_equal(folio_file_sync(other, NULL, 0), -EIO);
	/* A call that only starts reports none; the next sync does. */
	write_pages(&world, 0, 1);
	folio_u32_store_relaxed(&device.error, ENOSPC);
	assert_int_equal(folio_file_writeback(world.file, 0, PAGE, 0), 0);
	folio_u32_store_relaxed(&device.error, 0);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), -ENOSPC);
	check_file(&world);
	assert_int_equal(folio_file_close(other), 0);
	world_end(&world);
}

static struct {
	folio_u32 locked, unlock;
} holder;

static void *hold_lock(void *arg)
{
	struct world *world = arg;
	struct folio *folio;

	assert_int_equal(folio_file_get(world->file, 0, 0, &folio), 0);
	assert_int_equal(folio_lock(folio), 0);
	folio_u32_store_release(&holder.locked, 1);
	wait_until(folio_u32_load_acquire(&holder.unlock));
	assert_int_equal(folio_unlock(folio), 0);
	folio_put(folio);
	return NULL;
}

/* A call that only starts does not wait for a locked page, and writes the others. */
static void test_locked(void **state)
{
	static struct world world;
	pthread_t thread;

	(void)state;
	device_world_begin(&world, 64, 0, 0);
	write_pages(&world, 0, 3);
	folio_u32_store_relaxed(&holder.locked, 0);
	folio_u32_store_relaxed(&holder.unlock, 0);
	assert_int_equal(pthread_create(&thread, NULL, hold_lock, &world), 0);
	wait_until(folio_u32_load_acquire(&holder.locked));
	assert_int_equal(folio_file_writeback(world.file, 0, 3 * PAGE, 0), 0);
	wait_until(pages_dirty(&world) == 2);
	folio_u32_store_release(&holder.unlock, 1);
	pthread_join(thread, NULL);
	assert_int_equal(folio_file_writeback(world.file, 0, 3 * PAGE, FOLIO_WRITEBACK_WAIT), 0);
	assert_int_equal(pages_dirty(&world), 1);
	world_end(&world);
}

/* More than may be in flight: the call does not wait, and the flusher writes the rest. */
static void test_more_than_runs(void **state)
{
	static struct world world;
	unsigned started;

	(void)state;
	device_world_begin(&world, 256, 4, 0);
	write_pages(&world, 0, 60);
	device_hold();
	assert_int_equal(folio_file_writeback(world.file, 0, UINT64_MAX, 0), 0);
	started = device_writes();
	assert_true(started > 0 && started < 60);
	device_release();
	wait_until(pages_dirty(&world) == 0);
	assert_int_equal(device_writes(), 60);
	check_file(&world);
	world_end(&world);
}

static void test_arguments(void **state)
{
	static struct world world;
	struct folio_file *reader;
	struct folio *folio;

	(void)state;
	device_world_begin(&world, 64, 0, 0);
	assert_int_equal(folio_file_close(world.file), 0);
	/* No handle was opened for writing. */
	reader = file_open(world.cache, world.path);
	assert_int_equal(folio_file_writeback(reader, 0, UINT64_MAX, FOLIO_WRITEBACK_WAIT), 0);
	assert_int_equal(folio_file_open(world.cache, world.path, O_RDWR, 0, &world.file), 0);
	write_pages(&world, 0, 1);
	assert_int_equal(folio_file_writeback(NULL, 0, 1, 0), -EINVAL);
	assert_int_equal(folio_file_writeback(reader, 0, 1, 2), -EINVAL);
	assert_int_equal(folio_file_writeback(reader, 2, UINT64_MAX - 1, 0), -EINVAL);
	assert_int_equal(folio_file_writeback(reader, 1, UINT64_MAX - 1, 0), 0);
	wait_until(pages_dirty(&world) == 0);
	assert_int_equal(folio_file_writeback(reader, UINT64_MAX, UINT64_MAX, 0), 0);
	assert_int_equal(folio_file_get(reader, 0, 0, &folio), 0);
	assert_int_equal(folio_lock(folio), 0);
	assert_int_equal(folio_file_writeback(reader, 0, 1, 0), -EDEADLK);
	assert_int_equal(folio_file_writeback(reader, 0, 1, FOLIO_WRITEBACK_WAIT), -EDEADLK);
	assert_int_equal(folio_unlock(folio), 0);
	folio_put(folio);
	assert_int_equal(folio_file_close(reader), 0);
	check_file(&world);
	world_end(&world);
}

/* A device that is stuck: the caller leaves, and the pages are written when the device goes on. */
static void test_deadline(void **state)
{
	static struct world world;

	(void)state;
	device_world_begin(&world, 64, 0, 20);
	write_pages(&world, 0, 3);
	device_hold();
	assert_int_equal(
		folio_file_writeback(world.file, 0, UINT64_MAX, FOLIO_WRITEBACK_WAIT), -ETIMEDOUT);
	/* It goes on without its caller. */
	wait_until(device_writes() == 3);
	device_release();
	wait_until(pages_dirty(&world) == 0);
	check_file(&world);
	while (folio_file_close(world.file) == -ETIMEDOUT)
		continue;
	assert_int_equal(folio_cache_close(world.cache), 0);
	unlink(world.path);
}

/* Whatever was done before: after a call that waits for all, the file is as the model. */
static void test_model(void **state)
{
	static char buf[8 * FOLIO_PAGE_SIZE];
	static struct world world;
	uint64_t random = test_seed;
	unsigned i, steps = scaled(2000);

	(void)state;
	device_world_begin(&world, 64, 0, 0);
	for (i = 0; i < steps; i++) {
		uint64_t offset = random_below(&random, MODEL_BYTES - sizeof(buf));
		uint64_t len = random_below(&random, sizeof(buf));

		switch (random_below(&random, 8)) {
		case 0:
			assert_int_equal(folio_file_truncate(world.file, offset), 0);
			if (offset < world.size)
				memset(world.model + offset, 0, world.size - offset);
			world.size = offset;
			break;
		case 1:
			assert_int_equal(folio_file_writeback(
						 world.file, 0, UINT64_MAX, FOLIO_WRITEBACK_WAIT),
				0);
			assert_int_equal(pages_dirty(&world), 0);
			check_file(&world);
			break;
		case 2 ... 3:
			assert_int_equal(folio_file_writeback(world.file, offset, len,
						 (unsigned)random_below(&random, 2)),
				0);
			break;
		default:
			memset(buf, (int)random_below(&random, 256), len);
			assert_int_equal(folio_file_write(world.file, buf, len, offset), len);
			memcpy(world.model + offset, buf, len);
			if (len && offset + len > world.size)
				world.size = offset + len;
		}
	}
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_starts),
		cmocka_unit_test(test_waits),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_locked),
		cmocka_unit_test(test_more_than_runs),
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_model),
	};

	test_begin("range");
	return cmocka_run_group_tests_name("range", tests, NULL, NULL);
}
