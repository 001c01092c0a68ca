/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Write-back of copies: a page may be changed while its copy is written, is written again then, and
 * never twice at a time.
 */
#include <pthread.h>

#include <folio/range.h>
#include <folio/sequence.h>

#include "write-world.h"
#include "io/attempt.h"
#include "read/fill.h"

#define HELD_MAX 80

/* A backend that keeps write requests, while it is stopped, and fails them on command. */
static struct {
	pthread_mutex_t lock;
	bool stopped;
	void *context;
	unsigned held;
	struct folio_io_request *request[HELD_MAX];
} device = {.lock = PTHREAD_MUTEX_INITIALIZER};

static folio_u32 held_twice; /* requests for a page of which another one was held */

static void hold(struct folio_io_request *request)
{
	unsigned i;

	for (i = 0; i < device.held; i++)
		if (device.request[i]->offset == request->offset)
			folio_u32_fetch_add_relaxed(&held_twice, 1);
	assert_true(device.held < HELD_MAX);
	device.request[device.held++] = request;
}

static void holding_submit(void *context, struct folio_io_request **requests, unsigned count)
{
	unsigned i;

	for (i = 0; i < count; i++) {
		bool held;

		pthread_mutex_lock(&device.lock);
		device.context = context;
		held = device.stopped && requests[i]->op == FOLIO_IO_WRITE;
		if (held)
			hold(requests[i]);
		pthread_mutex_unlock(&device.lock);
		if (!held)
			folio_io_threads.submit(context, &requests[i], 1);
	}
}

static unsigned held(void)
{
	unsigned n;

	pthread_mutex_lock(&device.lock);
	n = device.held;
	pthread_mutex_unlock(&device.lock);
	return n;
}

static void stop(void)
{
	pthread_mutex_lock(&device.lock);
	device.stopped = true;
	pthread_mutex_unlock(&device.lock);
}

/* Continue, and let the requests that were held fail with @error, unless that is 0. */
static void go(int error)
{
	struct folio_io_request *request[HELD_MAX];
	unsigned i, n;
	void *context;

	pthread_mutex_lock(&device.lock);
	context = device.context;
	device.stopped = false;
	n = device.held;
	device.held = 0;
	memcpy(request, device.request, sizeof(request));
	pthread_mutex_unlock(&device.lock);
	for (i = 0; i < n; i++) {
		if (error)
			request[i]->complete(request[i], -error);
		else
			folio_io_threads.submit(context, &request[i], 1);
	}
}

static int accept_log(void *context, uint64_t sequence)
{
	(void)context;
	(void)sequence;
	return 0;
}

static void bounce_begin(struct world *world, unsigned pages)
{
	static struct folio_io_ops ops;
	struct folio_cache_params params = {
		.size = sizeof(params),
		.bytes = pages * PAGE,
		.io = &ops,
		.dirty_age_ms = UINT32_MAX,
		.dirty_bytes = pages / 2 * PAGE,
		.before_writeback = accept_log,
	};
	int fd;

	ops = folio_io_threads;
	ops.submit = holding_submit;
	folio_u32_store_relaxed(&held_twice, 0);
	memset(world, 0, sizeof(*world));
	strcpy(world->path, "folio-bounce-XXXXXX");
	fd = mkstemp(world->path);
	assert_true(fd >= 0);
	world->size = MODEL_BYTES;
	assert_int_equal(ftruncate(fd, (off_t)world->size), 0);
	close(fd);
	world_open(world, &params);
	assert_int_equal(folio_file_advise(world->file, FOLIO_ADVICE_RANDOM), 0);
}

static void bounce_end(struct world *world)
{
	assert_int_equal(folio_file_sync(world->file, NULL, 0), 0);
	assert_int_equal(folio_u32_load_relaxed(&held_twice), 0);
	check_file(world);
	world_end(world);
}

static void put(struct world *world, uint64_t index, char byte, uint64_t sequence)
{
	memset(world->model + index * PAGE, byte, PAGE);
	assert_int_equal(folio_file_write_logged(world->file, world->model + index * PAGE, PAGE,
				 index * PAGE, 0, sequence),
		PAGE);
}

static void change_in_place(struct world *world, uint64_t index, char byte)
{
	struct folio *folio;
	void *page;

	assert_int_equal(folio_file_get_page(world->file, index, 0, &folio, &page), 0);
	assert_int_equal(folio_lock(folio), 0);
	memset(page, byte, PAGE);
	memset(world->model + index * PAGE, byte, PAGE);
	assert_int_equal(folio_mark_dirty(folio, 0), 0);
	assert_int_equal(folio_unlock(folio), 0);
	folio_put(folio);
}

struct sync_task {
	struct world *world;
	const struct folio_range *range;
	folio_u32 done;
	int result;
	pthread_t thread;
};

static void *sync_run(void *arg)
{
	struct sync_task *task = arg;

	task->result = folio_file_sync(task->world->file, task->range, 0);
	folio_u32_store_release(&task->done, 1);
	return NULL;
}

static void begin_sync(struct sync_task *task, struct world *world)
{
	*task = (struct sync_task){.world = world, .range = task->range};
	assert_int_equal(pthread_create(&task->thread, NULL, sync_run, task), 0);
}

static int end_sync(struct sync_task *task)
{
	pthread_join(task->thread, NULL);
	return task->result;
}

/* The device has the old contents of page @index, in request @n. */
static void check_held(unsigned n, uint64_t index, char byte)
{
	const struct folio_io_request *request;
	size_t i;

	pthread_mutex_lock(&device.lock);
	request = device.request[n];
	assert_int_equal(request->offset, index * PAGE);
	assert_int_equal(io_length(request->iov, request->iov_count), PAGE);
	for (i = 0; i < PAGE; i++)
		assert_int_equal(((const char *)request->iov[0].iov_base)[i], byte);
	pthread_mutex_unlock(&device.lock);
}

/* Writers, by copy and in place, do not wait for the device, whose data does not change. */
static void test_changed_in_flight(void **state)
{
	static struct world world;
	struct sync_task task = {.range = NULL};

	(void)state;
	bounce_begin(&world, 64);
	put(&world, 3, 'a', 0);
	put(&world, 7, 'b', 0);
	stop();
	begin_sync(&task, &world);
	wait_until(held() == 2);
	assert_int_equal(cache_stats(world.cache).pages_writeback, 2);
	put(&world, 3, 'c', 0);
	change_in_place(&world, 7, 'd');
	put(&world, 7, 'e', 0);
	check_held(0, 3, 'a');
	check_held(1, 7, 'b');
	/* Each page counts once, whichever states it has. */
	assert_int_equal(cache_stats(world.cache).pages_dirty, 2);
	go(0);
	assert_int_equal(end_sync(&task), 0);
	assert_int_equal(cache_stats(world.cache).pages_dirty, 2);
	bounce_end(&world);
}

/* No write of the page begins before the one of its copy has ended. */
static void test_one_write_at_a_time(void **state)
{
	const struct folio_range range = {3 * PAGE, PAGE};
	struct sync_task task = {.range = NULL}, other = {.range = NULL}, part = {.range = &range};
	static struct world world;
	unsigned i;

	(void)state;
	bounce_begin(&world, 64);
	put(&world, 3, 'a', 0);
	stop();
	begin_sync(&task, &world);
	wait_until(held() == 1);
	put(&world, 3, 'b', 0);
	put(&world, 5, 'c', 0);
	/* In the background: the page is left. */
	assert_int_equal(folio_file_writeback(world.file, 0, UINT64_MAX, 0), 0);
	assert_int_equal(held(), 2);
	begin_sync(&other, &world);
	begin_sync(&part, &world);
	for (i = 0; i < 100; i++)
		sched_yield();
	assert_int_equal(held(), 2);
	assert_int_equal(folio_u32_load_acquire(&other.done), 0);
	assert_int_equal(folio_u32_load_acquire(&part.done), 0);
	go(0);
	assert_int_equal(end_sync(&task), 0);
	assert_int_equal(end_sync(&other), 0);
	assert_int_equal(end_sync(&part), 0);
	assert_int_equal(cache_stats(world.cache).pages_dirty, 0);
	bounce_end(&world);
}

/* The write of a copy fails: the page is dirty, with its new contents if it was changed. */
static void test_failed_copy(void **state)
{
	struct sync_task task = {.range = NULL};
	static struct world world;
	uint64_t oldest;

	(void)state;
	bounce_begin(&world, 64);
	put(&world, 3, 'a', 5);
	put(&world, 3, 'a', 9);
	put(&world, 7, 'b', 8);
	stop();
	begin_sync(&task, &world);
	wait_until(held() == 2);
	put(&world, 3, 'c', 12);
	assert_int_equal(folio_file_oldest_sequence(world.file, &oldest), 0);
	assert_int_equal(oldest, 5);
	go(EIO);
	assert_int_equal(end_sync(&task), -EIO);
	assert_int_equal(cache_stats(world.cache).pages_dirty, 2);
	/* A sync of the device alone changes nothing. */
	assert_int_equal(folio_file_sync(world.file, &(struct folio_range){10 * PAGE, PAGE}, 0), 0);
	assert_int_equal(folio_file_oldest_sequence(world.file, &oldest), 0);
	assert_int_equal(oldest, 5);
	assert_int_equal(folio_file_checkpoint(world.file, 5), 0);
	assert_int_equal(folio_file_oldest_sequence(world.file, &oldest), 0);
	assert_int_equal(oldest, 8);
	bounce_end(&world);
}

/* A change after the copy has the number of its own. */
static void test_numbers(void **state)
{
	struct sync_task task = {.range = NULL};
	static struct world world;
	uint64_t oldest;

	(void)state;
	bounce_begin(&world, 64);
	put(&world, 3, 'a', 5);
	stop();
	begin_sync(&task, &world);
	wait_until(held() == 1);
	put(&world, 3, 'b', 7);
	go(0);
	assert_int_equal(end_sync(&task), 0);
	assert_int_equal(folio_file_oldest_sequence(world.file, &oldest), 0);
	assert_int_equal(oldest, 7);
	bounce_end(&world);
}

static unsigned copies(void)
{
	unsigned i, n = 0;

	pthread_mutex_lock(&device.lock);
	for (i = 0; i < device.held; i++) {
		struct writeback_run *run =
			(struct writeback_run *)((char *)device.request[i] -
						 offsetof(struct writeback_run, request));

		n += run->copies;
	}
	pthread_mutex_unlock(&device.lock);
	return n;
}

static void *lock_page(void *arg)
{
	change_in_place(arg, 0, 'z');
	return NULL;
}

/*
 * Half of the frames are for any page, the rest for pages for which a thread has waited. Large
 * folios are not copied.
 */
static void test_frames(void **state)
{
	enum { FRAMES = 8 };
	struct sync_task task = {.range = NULL};
	static struct world world;
	pthread_t thread;
	uint64_t i;

	(void)state;
	bounce_begin(&world, 128);
	assert_int_equal(world.cache->writeback.bounce.count, FRAMES);
	for (i = 0; i < 2 * FRAMES; i++)
		put(&world, 2 * i, 'a', 0);
	stop();
	begin_sync(&task, &world);
	wait_until(held() == 2 * FRAMES);
	assert_int_equal(copies(), FRAMES / 2);
	/* Those become dirty again; then they, too, take frames of the other half. */
	for (i = 0; i < FRAMES / 2; i++)
		put(&world, 2 * i, 'b', 0);
	go(0);
	assert_int_equal(end_sync(&task), 0);
	for (i = FRAMES / 2; i < 2 * FRAMES; i++)
		put(&world, 2 * i, 'c', 0);
	stop();
	begin_sync(&task, &world);
	wait_until(held() == 2 * FRAMES);
	assert_int_equal(copies(), FRAMES / 2);
	go(0);
	assert_int_equal(end_sync(&task), 0);
	for (i = 2 * FRAMES; i-- > 0;)
		put(&world, 2 * i, 'd', 0);
	/* A page for which a thread has waited. */
	write_without_copies(world.cache);
	stop();
	begin_sync(&task, &world);
	wait_until(held() == 2 * FRAMES);
	assert_int_equal(copies(), 0);
	assert_int_equal(pthread_create(&thread, NULL, lock_page, &world), 0);
	for (i = 0; i < 100; i++)
		sched_yield();
	go(0);
	pthread_join(thread, NULL);
	assert_int_equal(end_sync(&task), 0);
	bounce_end(&world);
}

/* A truncation waits for the write of a copy, and the page is never written again. */
static void *truncate_run(void *arg)
{
	struct world *world = arg;

	assert_int_equal(folio_file_truncate(world->file, 4 * PAGE), 0);
	return NULL;
}

static void test_truncated(void **state)
{
	struct sync_task task = {.range = NULL};
	static struct world world;
	pthread_t thread;
	unsigned i;

	(void)state;
	bounce_begin(&world, 64);
	put(&world, 9, 'a', 0);
	stop();
	begin_sync(&task, &world);
	wait_until(held() == 1);
	put(&world, 9, 'b', 0);
	assert_int_equal(pthread_create(&thread, NULL, truncate_run, &world), 0);
	for (i = 0; i < 100; i++)
		sched_yield();
	go(0);
	pthread_join(thread, NULL);
	assert_int_equal(end_sync(&task), 0);
	assert_int_equal(cache_stats(world.cache).pages_dirty, 0);
	world.size = 4 * PAGE;
	bounce_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_changed_in_flight),
		cmocka_unit_test(test_one_write_at_a_time),
		cmocka_unit_test(test_failed_copy),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_frames),
		cmocka_unit_test(test_truncated),
	};

	test_begin("bounce");
	return cmocka_run_group_tests_name("bounce", tests, NULL, NULL);
}
