/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Timeouts, ages and pauses of up to weeks, with a clock that the test moves: until when each kind
 * of call waits, and when dirty pages are written.
 */
#include "timed-world.h"
#include "cache/dirty.h"
#include "cache/inflight.h"
#include "cache/revalidate.h"
#include "io/attempt.h"

/* ---- waits ---- */

static void test_timeouts(void **state)
{
	struct world world;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(timed_ms); i++) {
		world_begin_timed(&world, 128, 16, timed_ms[i], UINT32_MAX);
		device_stop(&world.device);
		clock_move_to_nsec(999999999);
		check_timeout(&world, call_read, 7, timed_ms[i]);
		/* The next calls have their own deadline. The last close waits for the read. */
		check_timeout(&world, call_read, 7, timed_ms[i]);
		check_timeout(&world, call_close, 0, timed_ms[i]);
		device_go(&world.device);
		assert_int_equal(call_read(&world, 7), PAGE);
		world_end(&world);
	}
}

/* Each kind of wait: for a folio, a request slot, a thread, a lock, a condition. */
static void test_kinds(void **state)
{
	unsigned char page[FOLIO_PAGE_SIZE];
	struct world world;
	uint64_t i;

	(void)state;
	world_begin_timed(&world, 128, 16, 1500, UINT32_MAX);
	write_without_copies(world.cache);
	for (i = 0; i < 8; i++)
		write_page(&world, i, 1000 + i);
	clock_move_to_nsec(999999999);
	device_stop(&world.device);
	/* A detached call. It continues, and others wait until it has ended. */
	check_timeout(&world, call_sync, 0, 1500);
	wait_held(&world.device, 1);
	check_timeout(&world, call_sync, 0, 1500);
	check_timeout(&world, call_close, 0, 1500);
	/* A folio that is written back: its lock. */
	check_timeout(&world, call_lock, 3, 1500);
	check_timeout(&world, call_write, 3, 1500);
	/* The share of the file in what may be dirty. */
	fill_page(page, 1);
	for (i = 100; share_has(&world.file->inode->share, SHARE_PAGES) < 18; i++)
		assert_int_equal(folio_file_write(world.file, page, PAGE, i * PAGE), PAGE);
	check_timeout(&world, call_write, i, 1500);
	device_go(&world.device);
	assert_int_equal(call_sync(&world, 0), 0);
	/* A truncation holds map_lock. */
	device_stop(&world.device);
	check_timeout(&world, call_truncate, 300, 1500);
	wait_calls(&world.device, 1);
	check_timeout(&world, call_write, 9, 1500);
	device_go(&world.device);
	wait_until(!folio_u32_load_acquire(&world.file->inode->detached));
	/* All request slots. */
	device_stop(&world.device);
	for (i = 0; i < 16; i++)
		assert_int_equal(
			folio_file_read_nowait(world.file, page, PAGE, (200 + 2 * i) * PAGE),
			-EAGAIN);
	assert_int_equal(folio_u32_load_relaxed(&world.cache->request_slots), 0);
	check_timeout(&world, call_read, 250, 1500);
	device_go(&world.device);
	world_end(&world);
}

/* Read three pages that are far apart in one call. All have the same result. */
static ssize_t call_batch(struct world *world, uint64_t index)
{
	static char buf[3][FOLIO_PAGE_SIZE];
	struct folio_read reads[3];
	unsigned i;
	int r;

	for (i = 0; i < 3; i++)
		reads[i] = (struct folio_read){buf[i], PAGE, (index + 10 * i) * PAGE, 0};
	r = folio_file_read_batch(world->file, reads, 3, 0);
	if (r || reads[0].result != reads[2].result || reads[1].result != reads[2].result)
		return -EBADMSG;
	return reads[2].result;
}

static ssize_t call_write_20(struct world *world, uint64_t index)
{
	static char zeros[20 * FOLIO_PAGE_SIZE];

	return folio_file_write(world->file, zeros, sizeof(zeros), index * PAGE);
}

/* A call that waits several times has one deadline. */
static void test_one_deadline(void **state)
{
	unsigned char page[FOLIO_PAGE_SIZE];
	struct timed_call call;
	struct folio *folio;
	struct world world;
	int64_t end;

	(void)state;
	world_begin_timed(&world, 128, 16, 1500, UINT32_MAX);
	assert_int_equal(folio_file_get(world.file, 12, 0, &folio), 0);
	assert_int_equal(folio_lock(folio), 0);
	device_stop(&world.device);
	check_timeout(&world, call_batch, 50, 1500);
	/* The write waits for the lock of page 12, then for page 25, which is being read. */
	assert_int_equal(folio_file_read_nowait(world.file, page, PAGE, 25 * PAGE), -EAGAIN);
	end = clock_now() + 1500 * MILLISECOND;
	call_start(&call, &world, call_write_20, 10, 1);
	clock_move_to(end - SECOND / 2);
	assert_int_equal(folio_unlock(folio), 0);
	folio_put(folio);
	wait_until(page_cached(world.file, 24) && clock_waits() == 1);
	assert_int_equal(clock_next(), end);
	clock_move_to(end);
	assert_int_equal(call_result(&call), 15 * PAGE);
	device_go(&world.device);
	check_page(&world, 25);
	world_end(&world);
}

/*
 * Two readers of one page. The first gets no request slot and leaves at its deadline. The second
 * has waited for the first; it tries itself, until its own deadline.
 */
static void test_own_deadline(void **state)
{
	unsigned char page[FOLIO_PAGE_SIZE];
	struct timed_call first, second;
	struct world world;
	int64_t start;
	uint64_t i;

	(void)state;
	world_begin_timed(&world, 128, 16, 1500, UINT32_MAX);
	device_stop(&world.device);
	for (i = 0; i < 16; i++)
		assert_int_equal(
			folio_file_read_nowait(world.file, page, PAGE, 2 * i * PAGE), -EAGAIN);
	start = clock_now();
	call_start(&first, &world, call_read, 250, 1);
	clock_move_to(start + SECOND);
	call_start(&second, &world, call_read, 250, 2);
	clock_move_to(start + 1500 * MILLISECOND);
	assert_int_equal(call_result(&first), -ETIMEDOUT);
	wait_until(clock_waits() == 1);
	assert_int_equal(clock_next(), start + 2500 * MILLISECOND);
	assert_int_equal(folio_u32_load_acquire(&second.done), 0);
	device_go(&world.device);
	assert_int_equal(call_result(&second), PAGE);
	world_end(&world);
}

/* ---- waits for memory ---- */

static struct progress others;

/* Wait until the others end, for @ms at most; 0: without a deadline. */
static ssize_t call_progress(struct world *world, uint64_t ms)
{
	struct timespec until = deadline_in((uint32_t)ms);

	(void)world;
	return progress_wait(&others, progress_seen(&others), ms ? &until : NULL);
}

/* A caller that finds no page waits a second for threads that hold one, or until its deadline. */
static void test_patience(void **state)
{
	static const struct {
		uint32_t timeout_ms, end_ms;
		int result;
	} rows[] = {
		{0, 1000, -ENOMEM},
		{999, 999, -ETIMEDOUT},
		{1001, 1000, -ENOMEM},
		{3600000, 1000, -ENOMEM},
	};
	struct timed_call call;
	uint64_t begun;
	int64_t end;
	size_t i;

	(void)state;
	progress_init(&others);
	progress_hold(&others);
	for (i = 0; i < COUNT(rows); i++) {
		clock_move_to_nsec(999999999);
		end = clock_now() + rows[i].end_ms * MILLISECOND;
		call_start(&call, NULL, call_progress, rows[i].timeout_ms, 1);
		assert_int_equal(clock_next(), end);
		clock_move_to(end);
		assert_int_equal(call_result(&call), rows[i].result);
	}
	/* The end of one does not renew the patience with the other. */
	progress_hold(&others);
	end = clock_now() + SECOND;
	call_start(&call, NULL, call_progress, 0, 1);
	clock_move_to(end - SECOND / 2);
	begun = clock_waits_begun();
	progress_unhold(&others, false);
	wait_until(clock_waits_begun() > begun);
	assert_int_equal(clock_next(), end);
	clock_move_to(end);
	assert_int_equal(call_result(&call), -ENOMEM);
	progress_unhold(&others, false);
	/* Busy ones end for certain: it waits until its deadline. */
	progress_begin(&others);
	end = clock_now() + 3600 * SECOND;
	call_start(&call, NULL, call_progress, 3600000, 1);
	assert_int_equal(clock_next(), clock_now() + SECOND);
	clock_move_to(clock_next());
	wait_until(clock_waits() == 1);
	assert_int_equal(clock_next(), end);
	clock_move_to(end);
	assert_int_equal(call_result(&call), -ETIMEDOUT);
	progress_end(&others, false);
}

/* One of the others ends, after a new one has begun: there is always one. */
static void replace_one(void)
{
	uint64_t begun = clock_waits_begun();

	progress_begin(&others);
	progress_end(&others, false);
	wait_until(clock_waits_begun() > begun || !clock_waits());
}

/*
 * Busy threads follow each other without end. For a second a caller waits for them all; then only
 * until as many have ended as there were at first.
 */
static void test_new_ones(void **state)
{
	struct timed_call call;

	(void)state;
	progress_init(&others);
	progress_begin(&others);
	progress_begin(&others);
	call_start(&call, NULL, call_progress, 3600000, 1);
	replace_one();
	wait_until(clock_waits() == 1 || folio_u32_load_acquire(&call.done));
	assert_int_equal(folio_u32_load_acquire(&call.done), 0);
	clock_move_to(clock_next());
	wait_until(clock_waits() == 1);
	replace_one();
	assert_int_equal(clock_waits(), 0);
	assert_int_equal(call_result(&call), -ENOMEM);
}

/* Two calls make the cache smaller: the second waits for the first, each until its deadline. */
static void test_resize(void **state)
{
	struct timed_call first, second;
	unsigned char page[FOLIO_PAGE_SIZE];
	struct world world;
	int64_t start;
	uint64_t i;

	(void)state;
	world_begin_timed(&world, 128, 128, 1500, UINT32_MAX);
	device_stop(&world.device);
	for (i = 0; i < 100; i++)
		assert_int_equal(
			folio_file_read_nowait(world.file, page, PAGE, i * 3 * PAGE), -EAGAIN);
	clock_move_to_nsec(600000000);
	start = clock_now();
	call_start(&first, &world, call_resize, 64, 1);
	assert_int_equal(clock_next(), start + SECOND);
	clock_move_to(start + 500 * MILLISECOND);
	call_start(&second, &world, call_resize, 64, 2);
	clock_move_to(start + SECOND);
	wait_until(clock_waits() == 2);
	assert_int_equal(clock_next(), start + 1500 * MILLISECOND);
	clock_move_to(clock_next());
	assert_int_equal(call_result(&first), -ETIMEDOUT);
	/* The second has the lock now, and half a second left. */
	wait_until(clock_waits() == 1);
	assert_int_equal(clock_next(), start + 2 * SECOND);
	clock_move_to(clock_next());
	assert_int_equal(call_result(&second), -ETIMEDOUT);
	device_go(&world.device);
	assert_int_equal(call_resize(&world, 64), 0);
	world.limits.pages /= 2;
	world.limits.dirty /= 2;
	world_end(&world);
}

/* ---- ages and pauses ---- */

/* The flusher checks the ages at the present time. It waits a quarter of the age, and a bit. */
static void check_ages(struct world *world, uint32_t age_ms)
{
	struct writeback *writeback = &world->cache->writeback;

	dirty_wake_flusher(writeback, WAKE_SOME);
	/* In this order: between the two, it checks. */
	wait_until(!folio_u32_load_acquire(&writeback->wakeup));
	wait_until(clock_waits() == 1);
	assert_int_equal(clock_next(), clock_now() + (age_ms / 4 + 1) * MILLISECOND);
}

static bool is_listed(const struct world *world)
{
	return folio_u32_load_acquire(&world->file->inode->dirty_listed) == DIRTY_LISTED;
}

static void test_dirty_age(void **state)
{
	/* Multiples of a tick. */
	static const uint32_t ages[] = {0, 1000, 1500, 60000, 3600000, UINT32_MAX - 3};
	struct world world;
	size_t i, j;

	(void)state;
	for (i = 0; i < COUNT(ages); i++) {
		uint32_t age_ms = ages[i] ? ages[i] : 5000;
		int64_t due;

		world_begin_timed(&world, 128, 16, 0, ages[i]);
		for (j = 0; j < COUNT(timed_nsec); j++) {
			device_stop(&world.device);
			clock_move_to_nsec(timed_nsec[j]);
			due = clock_now() / COARSE_TICK * COARSE_TICK + age_ms * MILLISECOND;
			write_page(&world, 3, 1000 + j);
			check_ages(&world, age_ms);
			clock_set_day(-86400 * SECOND);
			clock_move_to(due - 1);
			check_ages(&world, age_ms);
			assert_int_equal(device_held(&world.device), 0);
			assert_int_equal(cache_stats(world.cache).pages_dirty, 1);
			clock_move_to(due);
			check_ages(&world, age_ms);
			assert_int_equal(device_held(&world.device), 1);
			clock_set_day(86400 * SECOND);
			device_go(&world.device);
			wait_until(!cache_stats(world.cache).pages_dirty);
			check_file(&world, 3, 1000 + j);
		}
		world_end(&world);
	}
}

/* A page whose write has failed is written again when it is as old as before. */
static void test_age_after_error(void **state)
{
	struct world world;
	int64_t due;

	(void)state;
	world_begin_timed(&world, 128, 16, 0, 1500);
	clock_move_to_nsec(999999999);
	due = clock_now() / COARSE_TICK * COARSE_TICK + 1500 * MILLISECOND;
	write_page(&world, 3, 1003);
	world.device.refuses = true;
	clock_move_to(due);
	check_ages(&world, 1500);
	wait_until(cache_stats(world.cache).write_errors == 1 && is_listed(&world));
	device_stop(&world.device);
	world.device.refuses = false;
	clock_move_to(due + 1500 * MILLISECOND - 1);
	check_ages(&world, 1500);
	assert_int_equal(device_held(&world.device), 0);
	clock_move_to(due + 1500 * MILLISECOND);
	check_ages(&world, 1500);
	assert_int_equal(device_held(&world.device), 1);
	device_go(&world.device);
	wait_until(!cache_stats(world.cache).pages_dirty);
	check_file(&world, 3, 1003);
	assert_int_equal(call_sync(&world, 0), -EIO);
	world_end(&world);
}

/*
 * Two files, one dirty for half a second less than the other: each is written at its time. The
 * first has more runs than may be in flight, so it is still waiting when the second is not due.
 */
static void test_two_ages(void **state)
{
	char path[] = "folio-wait-XXXXXX";
	int fd = mkstemp(path);
	struct folio_file *other;
	struct world world;
	unsigned held;
	uint64_t i;
	int64_t due;

	(void)state;
	assert_true(fd >= 0);
	world_begin_timed(&world, 1024, 16, 0, 1500);
	assert_int_equal(folio_file_open(world.cache, path, O_RDWR, 0, &other), 0);
	device_stop(&world.device);
	clock_move_to_nsec(800000000);
	due = clock_now() + 1500 * MILLISECOND;
	for (i = 0; i < 20; i++)
		write_page(&world, 2 * i, 1000 + i);
	clock_move_to(clock_now() + SECOND / 2);
	assert_int_equal(folio_file_write(other, "x", 1, 0), 1);
	clock_move_to(due);
	check_ages(&world, 1500);
	held = device_held(&world.device);
	assert_in_range(held, 1, 15);
	clock_move_to(due + SECOND / 2 - 1);
	check_ages(&world, 1500);
	assert_int_equal(device_held(&world.device), held);
	clock_move_to(due + SECOND / 2);
	check_ages(&world, 1500);
	assert_int_equal(device_held(&world.device), held + 1);
	device_go(&world.device);
	/* The end of a run makes space for the next. No time passes. */
	wait_until(!cache_stats(world.cache).pages_dirty);
	assert_int_equal(folio_file_close(other), 0);
	world_end(&world);
	close(fd);
	unlink(path);
}

static ssize_t call_pauses(struct world *world, uint64_t arg)
{
	unsigned tries = 0, pauses = 0;

	(void)world;
	(void)arg;
	while (io_pause(&tries))
		pauses++;
	return pauses;
}

/* The pauses between the attempts of one request: 1 ms, 2 ms, and so on, together 127 ms. */
static void test_pauses(void **state)
{
	struct timed_call call;
	unsigned i;

	(void)state;
	clock_move_to_nsec(999999999);
	call_start(&call, NULL, call_pauses, 0, 1);
	for (i = 0; i < 7; i++) {
		wait_until(clock_waits() == 1);
		assert_int_equal(clock_next(), clock_now() + (MILLISECOND << i));
		clock_move_to(clock_next());
	}
	assert_int_equal(call_result(&call), 7);
}

/* Whether a change of a file is recent is decided by the time of day, the clock of its times. */
static void test_recent(void **state)
{
	static const struct {
		int64_t age;
		bool recent;
	} rows[] = {{-3600, true}, {0, true}, {3, false}, {3600, false}};
	struct folio_io_attr attr;
	struct timespec day;
	struct world world;
	bool recent;
	size_t i;

	(void)state;
	world_begin_timed(&world, 128, 16, 0, UINT32_MAX);
	for (i = 0; i < COUNT(rows); i++) {
		assert_int_equal(
			revalidate_attr(world.cache, world.file->inode->handle, 0, &attr, &recent),
			0);
		assert_int_equal(clock_gettime(CLOCK_REALTIME, &day), 0);
		clock_set_day((attr.ctime_sec + rows[i].age - day.tv_sec) * SECOND +
			      attr.ctime_nsec - day.tv_nsec);
		assert_int_equal(
			revalidate_attr(world.cache, world.file->inode->handle, 0, &attr, &recent),
			0);
		assert_int_equal(recent, rows[i].recent);
	}
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_timeouts),
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_one_deadline),
		cmocka_unit_test(test_own_deadline),
		cmocka_unit_test(test_patience),
		cmocka_unit_test(test_new_ones),
		cmocka_unit_test(test_resize),
		cmocka_unit_test(test_dirty_age),
		cmocka_unit_test(test_age_after_error),
		cmocka_unit_test(test_two_ages),
		cmocka_unit_test(test_pauses),
		cmocka_unit_test(test_recent),
	};

	test_begin("clock");
	alarm(300);
	return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
