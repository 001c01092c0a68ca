/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * neighbours.c - one file cannot be written, or its writes do not end; the files next to it are
 * written as if it were not there. On one device, and on one device each.
 *
 * The writes of the file "slow" end when the test releases them, so nothing here depends on time.
 * An alarm ends a test that hangs.
 */
#include <pthread.h>

#include "cache-test.h"
#include "sim.h"

#ifndef ALARM_SECONDS
#define ALARM_SECONDS 50
#endif

/* ---- the device ---- */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t change;
	bool held;
	void *handle; /* of "slow" */
	struct folio_io_request *first;
	unsigned count; /* writes of "slow" that wait */
} device = {.lock = PTHREAD_MUTEX_INITIALIZER, .change = PTHREAD_COND_INITIALIZER};

static int device_open(
	void *context, const char *path, int flags, mode_t mode, unsigned io_flags, void **handle)
{
	int r = sim_ops.open(context, path, flags, mode, io_flags, handle);

	if (!r && strcmp(path, "slow") == 0)
		device.handle = *handle;
	return r;
}

static void device_submit(void *context, struct folio_io_request **requests, unsigned count)
{
	unsigned i;

	for (i = 0; i < count; i++) {
		bool held;

		pthread_mutex_lock(&device.lock);
		held = device.held && requests[i]->handle == device.handle &&
		       requests[i]->op == FOLIO_IO_WRITE;
		if (held) {
			requests[i]->next = device.first;
			device.first = requests[i];
			device.count++;
			pthread_cond_broadcast(&device.change);
		}
		pthread_mutex_unlock(&device.lock);
		if (!held)
			sim_ops.submit(context, &requests[i], 1);
	}
}

static void hold(void)
{
	pthread_mutex_lock(&device.lock);
	device.held = true;
	pthread_mutex_unlock(&device.lock);
}

static void wait_held(unsigned count)
{
	pthread_mutex_lock(&device.lock);
	while (device.count < count)
		pthread_cond_wait(&device.change, &device.lock);
	pthread_mutex_unlock(&device.lock);
}

static void release(struct sim *sim)
{
	struct folio_io_request *request, *next;

	pthread_mutex_lock(&device.lock);
	device.held = false;
	request = device.first;
	device.first = NULL;
	device.count = 0;
	pthread_mutex_unlock(&device.lock);
	for (; request; request = next) {
		next = request->next;
		sim_ops.submit(sim, &request, 1);
	}
}

/* ---- a cache with two files ---- */

struct world {
	struct sim *sim;
	struct sim_file *slow_disk, *fast_disk;
	struct folio_cache *cache;
	struct folio_file *slow, *fast;
	uint64_t pages_max; /* that may be dirty */
	char page[FOLIO_PAGE_SIZE];
};

static void world_begin(struct world *w, bool separate, uint64_t pages)
{
	static struct folio_io_ops ops;
	struct folio_cache_params params = {
		.size = sizeof(params),
		.bytes = pages * PAGE,
		.flags = FOLIO_CACHE_NO_HUGE_PAGES,
		.dirty_age_ms = UINT32_MAX,
		.io = &ops,
	};

	alarm(ALARM_SECONDS);
	ops = sim_ops;
	ops.open = device_open;
	ops.submit = device_submit;
	device.held = false;
	memset(w, 0, sizeof(*w));
	memset(w->page, 'x', PAGE);
	w->pages_max = pages / 4;
	w->sim = params.io_context = sim_new(1, SIM_INLINE);
	w->slow_disk = sim_add(w->sim, "slow", NULL, 0);
	w->fast_disk = sim_add(w->sim, "fast", NULL, 0);
	/* On another device it has the inode number of "slow". */
	if (separate)
		sim_set_device(w->fast_disk, 2);
	assert_int_equal(folio_cache_open(&params, &w->cache), 0);
	assert_int_equal(folio_file_open(w->cache, "slow", O_RDWR, 0, &w->slow), 0);
	assert_int_equal(folio_file_open(w->cache, "fast", O_RDWR, 0, &w->fast), 0);
}

static void world_end(struct world *w)
{
	assert_int_equal(folio_file_close(w->fast), 0);
	if (w->slow)
		assert_int_equal(folio_file_close(w->slow), 0);
	assert_int_equal(folio_cache_close(w->cache), 0);
	if (sim_complaint(w->sim))
		fail_msg("%s", sim_complaint(w->sim));
	sim_free(w->sim);
	alarm(0);
}

static ssize_t write_page(struct world *w, struct folio_file *file, uint64_t index)
{
	return folio_file_write(file, w->page, PAGE, index * PAGE);
}

/* Writes @pages pages of the fast file, with a sync after each 16. None may fail. */
static void write_fast(struct world *w, uint64_t pages)
{
	uint64_t i;

	for (i = 0; i < pages; i++) {
		assert_int_equal(write_page(w, w->fast, i), PAGE);
		assert_true(cache_stats(w->cache).pages_dirty <= w->pages_max);
		if (i % 16 == 15)
			assert_int_equal(folio_file_sync(w->fast, NULL, 0), 0);
	}
	assert_int_equal(folio_file_sync(w->fast, NULL, 0), 0);
	for (i = 0; i < pages; i++)
		assert_true(sim_has(w->fast_disk, w->page, PAGE, i * PAGE, NULL));
}

/* Makes pages dirty in a file whose writes fail with ENOSPC, until it may have no more. */
static void fill(struct world *w, struct folio_file *file)
{
	uint64_t i = 0;
	ssize_t n;

	do
		n = write_page(w, file, i++);
	while (n == (ssize_t)PAGE && i <= w->pages_max);
	assert_int_equal(n, -ENOSPC);
}

/* The slow file is on a full disk. */
static void no_space(bool separate)
{
	static struct world w;
	uint64_t i;

	world_begin(&w, separate, 1024);
	sim_fail_range(w.slow_disk, SIM_WRITE, 0, SIM_FILE_MAX, ENOSPC, true);
	fill(&w, w.slow);
	write_fast(&w, 1000);
	/* Without a sync, so that it is the flusher that writes, and writers wait for it. */
	for (i = 0; i < 1000; i++)
		assert_int_equal(write_page(&w, w.fast, i), PAGE);
	assert_int_equal(folio_file_sync(w.fast, NULL, 0), 0);
	/* Its own writers still get its error, and it has no more than three quarters. */
	fill(&w, w.slow);
	assert_true(cache_stats(w.cache).pages_dirty <= w.pages_max - w.pages_max / 4);
	assert_int_equal(folio_file_abandon(w.slow), -ENOSPC);
	w.slow = NULL;
	world_end(&w);
}

static void test_no_space(void **state)
{
	(void)state;
	no_space(false);
	no_space(true);
}

/* So are many files, one after the other. Also when all that may be dirty is theirs. */
static void test_no_space_for_many(void **state)
{
	enum { FILES = 60 };
	static struct world w;
	struct folio_file *file[FILES];
	char name[FILES][16];
	unsigned i;

	(void)state;
	world_begin(&w, false, 1024);
	for (i = 0; i < FILES; i++) {
		snprintf(name[i], sizeof(name[i]), "full-%u", i);
		sim_fail_range(
			sim_add(w.sim, name[i], NULL, 0), SIM_WRITE, 0, SIM_FILE_MAX, ENOSPC, true);
		assert_int_equal(folio_file_open(w.cache, name[i], O_RDWR, 0, &file[i]), 0);
		fill(&w, file[i]);
		if (i < 10)
			write_fast(&w, 100);
	}
	/* Each file that came too late has one page. */
	assert_in_range(cache_stats(w.cache).pages_dirty, w.pages_max, w.pages_max + FILES);
	for (i = 0; i < 100; i++)
		assert_int_equal(write_page(&w, w.fast, i), PAGE);
	assert_int_equal(folio_file_sync(w.fast, NULL, 0), 0);
	for (i = 0; i < FILES; i++)
		assert_int_equal(folio_file_abandon(file[i]), -ENOSPC);
	world_end(&w);
}

struct writer {
	struct world *w;
	uint64_t pages;
	pthread_t thread;
	folio_u32 done;
};

/* Writes and syncs the slow file. */
static void *write_slow(void *arg)
{
	struct writer *writer = arg;
	uint64_t i, failures = 0;

	for (i = 0; i < writer->pages; i++)
		failures += write_page(writer->w, writer->w->slow, i) != (ssize_t)PAGE;
	failures += folio_file_sync(writer->w->slow, NULL, 0) != 0;
	folio_u32_store_release(&writer->done, 1);
	return failures ? writer : NULL;
}

/* The device does not answer the slow file. Its writer waits, and no other. */
static void no_answer(bool separate, bool answered)
{
	static struct world w;
	struct writer writer = {.w = &w, .pages = 1000};
	void *failed;

	world_begin(&w, separate, 1024);
	if (answered) {
		/* Until now, it was the only one that wrote, so it may have most of the pages. */
		assert_int_equal(write_page(&w, w.slow, 0), PAGE);
		assert_int_equal(folio_file_sync(w.slow, NULL, 0), 0);
	}
	hold();
	assert_int_equal(pthread_create(&writer.thread, NULL, write_slow, &writer), 0);
	wait_until(cache_stats(w.cache).throttled > 0);
	wait_held(1);
	write_fast(&w, 1000);
	assert_false(folio_u32_load_acquire(&writer.done));
	release(w.sim);
	pthread_join(writer.thread, &failed);
	assert_null(failed);
	world_end(&w);
}

static void test_no_answer(void **state)
{
	(void)state;
	no_answer(false, false);
	no_answer(false, true);
	no_answer(true, false);
	no_answer(true, true);
}

static void *sync_slow(void *arg)
{
	struct writer *writer = arg;

	return folio_file_sync(writer->w->slow, NULL, 0) ? writer : NULL;
}

/*
 * A sync of the slow file has more to write than there are runs, and the device does not answer.
 * Enough runs are left for a sync of the other file.
 */
static void no_run_left(bool separate)
{
	static struct world w;
	struct writer writer = {.w = &w};
	void *failed;
	uint64_t i;

	world_begin(&w, separate, 4096);
	/* Each is a run of its own. */
	for (i = 0; i < 200; i++)
		assert_int_equal(write_page(&w, w.slow, 2 * i), PAGE);
	hold();
	assert_int_equal(pthread_create(&writer.thread, NULL, sync_slow, &writer), 0);
	/* All that it gets of 64: three quarters of what its device gets, three quarters, too. */
	wait_held(36);
	for (i = 0; i < 50; i++)
		assert_int_equal(write_page(&w, w.fast, 2 * i), PAGE);
	assert_int_equal(folio_file_sync(w.fast, NULL, 0), 0);
	release(w.sim);
	pthread_join(writer.thread, &failed);
	assert_null(failed);
	world_end(&w);
}

static void test_no_run_left(void **state)
{
	(void)state;
	no_run_left(false);
	no_run_left(true);
}

/*
 * The fast file has dirty pages, its device is idle, and nothing makes it write them, until a
 * writer on the other device needs what they take.
 */
static void test_idle_device_gives_back(void **state)
{
	static struct world w;
	struct writer writer = {.w = &w, .pages = 1000};
	void *failed;
	uint64_t i;

	(void)state;
	world_begin(&w, true, 1024);
	assert_int_equal(write_page(&w, w.slow, 0), PAGE);
	assert_int_equal(folio_file_sync(w.slow, NULL, 0), 0);
	for (i = 0; i < 60; i++)
		assert_int_equal(write_page(&w, w.fast, i), PAGE);
	hold();
	assert_int_equal(pthread_create(&writer.thread, NULL, write_slow, &writer), 0);
	wait_until(sim_has(w.fast_disk, w.page, PAGE, 59 * PAGE, NULL));
	release(w.sim);
	pthread_join(writer.thread, &failed);
	assert_null(failed);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_space),
		cmocka_unit_test(test_no_space_for_many),
		cmocka_unit_test(test_no_answer),
		cmocka_unit_test(test_no_run_left),
		cmocka_unit_test(test_idle_device_gives_back),
	};

	test_begin("neighbours");
	return cmocka_run_group_tests_name("neighbours", tests, NULL, NULL);
}
