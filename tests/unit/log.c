/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The log goes first: before_writeback is called before pages are in write-back and with no lock
 * held, once for all threads that wait, and again for a page that is marked in the meantime.
 */
#include <folio/range.h>

#include "write-world.h"

#define FILE_PAGES 40
#define WAITERS    3

/* What the device and the log have, in the order of time. */
static folio_u64 logged;       /* the largest number for which before_writeback has returned 0 */
static folio_u32 log_count;    /* calls of before_writeback that have begun */
static folio_u64 log_asked[8]; /* their numbers */
static folio_u32 log_running;  /* it must never run twice at a time */
static folio_u32 log_overlaps;
static folio_u64 number[FILE_PAGES + 1]; /* by page: the largest number that was marked */
static folio_u32 written_early;          /* writes of a page before its number was logged */
static int log_error;

/* Called in before_writeback, on its thread; with the number of the call, from 0. */
static void (*in_log)(unsigned call);

static int write_log(void *context, uint64_t sequence)
{
	unsigned call = folio_u32_fetch_add_relaxed(&log_count, 1);
	int r;

	(void)context;
	if (folio_u32_fetch_add_relaxed(&log_running, 1))
		folio_u32_fetch_add_relaxed(&log_overlaps, 1);
	if (call < 8)
		folio_u64_store_relaxed(&log_asked[call], sequence);
	if (in_log)
		in_log(call);
	r = log_error;
	if (!r && sequence > folio_u64_load_relaxed(&logged))
		folio_u64_store_release(&logged, sequence);
	folio_u32_fetch_sub_relaxed(&log_running, 1);
	return r;
}

/*
 * Compares each page of a write with the log. Its bytes are its number: it may have been marked
 * again since it was copied.
 */
static void watch(const struct folio_io_request *request)
{
	uint64_t page = request->offset / PAGE;
	size_t at;
	unsigned i;

	for (i = 0; i < request->iov_count; i++) {
		const unsigned char *data = request->iov[i].iov_base;

		for (at = 0; at < request->iov[i].iov_len; at += PAGE, page++)
			if (folio_u64_load_relaxed(&number[page]) &&
				data[at] > folio_u64_load_acquire(&logged))
				folio_u32_fetch_add_relaxed(&written_early, 1);
	}
}

static void watching_submit(void *context, struct folio_io_request **requests, unsigned count)
{
	unsigned i;

	for (i = 0; i < count; i++)
		if (requests[i]->op == FOLIO_IO_WRITE)
			watch(requests[i]);
	folio_io_threads.submit(context, requests, count);
}

static void watched_begin(struct world *world, uint32_t timeout_ms)
{
	static struct folio_io_ops ops;
	struct folio_cache_params params = {
		.size = sizeof(params),
		.bytes = 512 * PAGE,
		.io = &ops,
		.dirty_age_ms = UINT32_MAX,
		/* So many that the flusher leaves them to the syncs. */
		.dirty_bytes = 256 * PAGE,
		.timeout_ms = timeout_ms,
		.before_writeback = write_log,
	};
	unsigned i;
	int fd;

	ops = folio_io_threads;
	ops.submit = watching_submit;
	folio_u64_store_relaxed(&logged, 0);
	folio_u32_store_relaxed(&log_count, 0);
	folio_u32_store_relaxed(&log_overlaps, 0);
	folio_u32_store_relaxed(&written_early, 0);
	for (i = 0; i < FILE_PAGES; i++)
		folio_u64_store_relaxed(&number[i], 0);
	in_log = NULL;
	log_error = 0;
	memset(world, 0, sizeof(*world));
	strcpy(world->path, "folio-log-XXXXXX");
	fd = mkstemp(world->path);
	assert_true(fd >= 0);
	world->size = FILE_PAGES * PAGE;
	assert_int_equal(ftruncate(fd, (off_t)world->size), 0);
	close(fd);
	world_open(world, &params);
	assert_int_equal(folio_file_advise(world->file, FOLIO_ADVICE_RANDOM), 0);
}

static void watched_end(struct world *world)
{
	in_log = NULL;
	assert_int_equal(folio_u32_load_relaxed(&written_early), 0);
	assert_int_equal(folio_u32_load_relaxed(&log_overlaps), 0);
	check_file(world);
	world_end(world);
}

/* Changes a page in place, and gives it a number. */
static void change(struct world *world, uint64_t index, uint64_t sequence)
{
	struct folio *folio;
	void *page;
	int r;

	/* Some caches have a time limit, which the device may need. */
	do
		r = folio_file_get_page(world->file, index, 0, &folio, &page);
	while (r == -ETIMEDOUT);
	assert_int_equal(r, 0);
	assert_int_equal(folio_lock(folio), 0);
	folio_u64_store_relaxed(&number[index], sequence);
	memset(page, (int)sequence, PAGE);
	memset(world->model + index * PAGE, (int)sequence, PAGE);
	assert_int_equal(folio_mark_dirty(folio, sequence), 0);
	assert_int_equal(folio_unlock(folio), 0);
	folio_put(folio);
}

static uint64_t asked(unsigned call)
{
	return folio_u64_load_relaxed(&log_asked[call]);
}

static unsigned calls(void)
{
	return folio_u32_load_relaxed(&log_count);
}

/* One call for all pages that a sync writes, however scattered they are. */
static void test_one_call(void **state)
{
	static struct world world;
	uint64_t i;

	(void)state;
	watched_begin(&world, 0);
	for (i = 0; i < FILE_PAGES; i += 2)
		change(&world, i, 1 + (i * 7) % 41);
	assert_int_equal(folio_file_sync(world.file, NULL, FOLIO_SYNC_DATA), 0);
	assert_int_equal(calls(), 1);
	assert_true(cache_stats(world.cache).writes >= FILE_PAGES / 2);
	watched_end(&world);
}

/* ---- in the course of a call ---- */

static struct world *changed_world;
static unsigned changes; /* calls of before_writeback in which the page is changed again */
static int fail_last;    /* what the call after these returns */

static void *change_again(void *arg)
{
	uint64_t call = (uint64_t)(uintptr_t)arg;

	/* Neither page nor file is locked, so each of these calls returns. */
	change(changed_world, 5, 100 + call);
	assert_int_equal(folio_file_write(changed_world->file, "y", 1, 20 * PAGE), 1);
	changed_world->model[20 * PAGE] = 'y';
	if (call == 0) {
		assert_int_equal(
			folio_file_truncate(changed_world->file, (FILE_PAGES + 1) * PAGE), 0);
		changed_world->size = (FILE_PAGES + 1) * PAGE;
	}
	return NULL;
}

static void change_in_log(unsigned call)
{
	pthread_rwlock_t *lock = &changed_world->file->inode->map_lock;
	pthread_t thread;

	if (call > 3)
		return;
	/* Reads internals: the file is not locked, so it can be truncated, but in the last call. */
	assert_int_equal(pthread_rwlock_trywrlock(lock), call < 3 ? 0 : EBUSY);
	if (call < 3)
		pthread_rwlock_unlock(lock);
	else
		assert_true(folio_u64_load_relaxed(
				    &changed_world->cache->writeback.pages_in_flight) > 0);
	if (call == changes)
		log_error = fail_last;
	if (call >= changes)
		return;
	assert_int_equal(pthread_create(&thread, NULL, change_again, (void *)(uintptr_t)call), 0);
	pthread_join(thread, NULL);
}

/*
 * A page is marked with a larger number while the log is written: it is not written before that one
 * is logged, too, and yet by the same sync: it has data from before the sync. The other calls of
 * other threads return in the meantime.
 */
static void test_marked_again(void **state)
{
	static struct world world;

	(void)state;
	watched_begin(&world, 0);
	change(&world, 5, 7);
	change(&world, 9, 3);
	changed_world = &world;
	changes = 1;
	in_log = change_in_log;
	assert_int_equal(folio_file_sync(world.file, NULL, FOLIO_SYNC_DATA), 0);
	assert_int_equal(calls(), 2);
	assert_int_equal(asked(0), 7);
	assert_int_equal(asked(1), 100);
	assert_int_equal(cache_stats(world.cache).pages_dirty, 0);
	watched_end(&world);
}

/* The flusher leaves such a page to its next visit. */
static void test_marked_again_in_background(void **state)
{
	static struct world world;

	(void)state;
	watched_begin(&world, 0);
	change(&world, 5, 7);
	change(&world, 9, 3);
	changed_world = &world;
	changes = 1;
	in_log = change_in_log;
	assert_int_equal(folio_file_writeback(world.file, 0, UINT64_MAX, 0), 0);
	wait_until(cache_stats(world.cache).pages_writeback == 0);
	assert_int_equal(calls(), 1);
	assert_int_equal(asked(0), 7);
	/* Page 5, and page 20 unless its write came first. */
	assert_in_range(cache_stats(world.cache).pages_dirty, 1, 2);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	assert_int_equal(asked(1), 100);
	watched_end(&world);
}

/* Calls @times are those in which the page is marked again, and one more; the last one fails. */
static void mark_always(unsigned times, int error)
{
	static struct world world;
	unsigned i;

	watched_begin(&world, 0);
	change(&world, 5, 7);
	changed_world = &world;
	changes = times;
	fail_last = error;
	in_log = change_in_log;
	assert_int_equal(folio_file_sync(world.file, NULL, FOLIO_SYNC_DATA), error);
	assert_int_equal(calls(), times + 1);
	for (i = 1; i <= times; i++)
		assert_int_equal(asked(i), 99 + i);
	assert_int_equal(cache_stats(world.cache).pages_dirty, error ? 1 : 0);
	in_log = NULL;
	fail_last = log_error = 0;
	assert_int_equal(folio_file_sync(world.file, NULL, FOLIO_SYNC_DATA), 0);
	watched_end(&world);
}

/* However often the page is marked again, the sync ends, and writes what was marked. */
static void test_marked_always(void **state)
{
	(void)state;
	mark_always(2, 0);
	mark_always(3, 0);
}

/* In the last call a copy of the page is to be written, and even then the page can be changed. */
static void test_marked_in_last_call(void **state)
{
	static struct world world;

	(void)state;
	watched_begin(&world, 0);
	change(&world, 5, 7);
	changed_world = &world;
	changes = 4;
	in_log = change_in_log;
	assert_int_equal(folio_file_sync(world.file, NULL, FOLIO_SYNC_DATA), 0);
	assert_int_equal(calls(), 4);
	assert_int_equal(asked(1), 100);
	assert_int_equal(asked(2), 101);
	assert_int_equal(asked(3), 102);
	/* It has what was changed in that call. */
	assert_in_range(cache_stats(world.cache).pages_dirty, 1, 2);
	changes = 0;
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	assert_int_equal(asked(4), 103);
	watched_end(&world);
}

static void test_marked_always_refused(void **state)
{
	(void)state;
	mark_always(2, -ENOSPC);
	mark_always(3, -ENOSPC);
}

/* ---- threads that share a call ---- */

static folio_u32 gate_open, at_gate;

static void wait_at_gate(unsigned call)
{
	if (call)
		return;
	folio_u32_store_release(&at_gate, 1);
	wait_until(folio_u32_load_acquire(&gate_open));
}

struct sync_task {
	struct world *world;
	uint64_t page;
	folio_u32 done;
	int result;
	pthread_t thread;
};

static void *sync_page(void *arg)
{
	struct sync_task *task = arg;
	const struct folio_range range = {task->page * PAGE, PAGE};

	task->result = folio_file_sync(task->world->file, &range, FOLIO_SYNC_DATA);
	folio_u32_store_release(&task->done, 1);
	return NULL;
}

static void begin_sync(struct sync_task *task, struct world *world, uint64_t page)
{
	*task = (struct sync_task){.world = world, .page = page};
	assert_int_equal(pthread_create(&task->thread, NULL, sync_page, task), 0);
}

/* How many threads wait for a call of before_writeback. Reads internals. */
static unsigned waiting(struct world *world, bool now)
{
	struct log_calls *log = &world->cache->writeback.log;
	struct wait_list {
		uint64_t sequence;
		int result;
		bool done;
		struct wait_list *next;
	} * wait;
	unsigned n = 0;

	pthread_mutex_lock(&log->lock);
	for (wait = (struct wait_list *)(now ? log->now : log->next); wait; wait = wait->next)
		n++;
	pthread_mutex_unlock(&log->lock);
	return n;
}

/*
 * The first thread is in a call for number 10. Those that need no more wait for that call; the
 * others share the next one.
 */
static void share_calls(int error)
{
	static struct world world;
	struct sync_task task[2 * WAITERS + 1];
	unsigned i;

	watched_begin(&world, 0);
	folio_u32_store_relaxed(&gate_open, 0);
	folio_u32_store_relaxed(&at_gate, 0);
	in_log = wait_at_gate;
	log_error = error;
	change(&world, 0, 10);
	begin_sync(&task[0], &world, 0);
	wait_until(folio_u32_load_acquire(&at_gate));
	for (i = 1; i <= WAITERS; i++) {
		change(&world, 2 * i, 10 - i);
		begin_sync(&task[i], &world, 2 * i);
	}
	wait_until(waiting(&world, true) == 1 + WAITERS);
	for (; i <= 2 * WAITERS; i++) {
		change(&world, 2 * i, 10 + i);
		begin_sync(&task[i], &world, 2 * i);
	}
	wait_until(waiting(&world, false) == WAITERS);
	assert_int_equal(calls(), 1);
	assert_int_equal(cache_stats(world.cache).writes, 0);
	folio_u32_store_release(&gate_open, 1);
	for (i = 0; i <= 2 * WAITERS; i++) {
		pthread_join(task[i].thread, NULL);
		assert_int_equal(task[i].result, error);
	}
	assert_int_equal(calls(), 2);
	assert_int_equal(asked(0), 10);
	assert_int_equal(asked(1), 10 + 2 * WAITERS);
	log_error = 0;
	if (error) {
		assert_int_equal(cache_stats(world.cache).writes, 0);
		assert_int_equal(cache_stats(world.cache).pages_dirty, 2 * WAITERS + 1);
	}
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	watched_end(&world);
}

static void test_shared_calls(void **state)
{
	(void)state;
	share_calls(0);
}

static void test_shared_refusal(void **state)
{
	(void)state;
	share_calls(-ENOSPC);
}

/* A page without a number: a call that had begun before does not count. */
static void test_no_number(void **state)
{
	static struct world world;
	struct sync_task task[2];

	(void)state;
	watched_begin(&world, 0);
	folio_u32_store_relaxed(&gate_open, 0);
	folio_u32_store_relaxed(&at_gate, 0);
	in_log = wait_at_gate;
	change(&world, 0, 10);
	begin_sync(&task[0], &world, 0);
	wait_until(folio_u32_load_acquire(&at_gate));
	change(&world, 4, 0);
	begin_sync(&task[1], &world, 4);
	wait_until(waiting(&world, false) == 1);
	folio_u32_store_release(&gate_open, 1);
	pthread_join(task[0].thread, NULL);
	pthread_join(task[1].thread, NULL);
	assert_int_equal(task[0].result, 0);
	assert_int_equal(task[1].result, 0);
	assert_int_equal(calls(), 2);
	assert_int_equal(asked(1), 0);
	watched_end(&world);
}

/* With a time limit, a sync ends while before_writeback does not return. */
static void test_timeout(void **state)
{
	static struct world world;

	(void)state;
	watched_begin(&world, 1);
	folio_u32_store_relaxed(&gate_open, 0);
	in_log = wait_at_gate;
	change(&world, 0, 10);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), -ETIMEDOUT);
	folio_u32_store_release(&gate_open, 1);
	wait_until(cache_stats(world.cache).pages_dirty == 0);
	while (folio_file_close(world.file) == -ETIMEDOUT)
		sched_yield();
	assert_int_equal(folio_u32_load_relaxed(&written_early), 0);
	assert_int_equal(folio_cache_close(world.cache), 0);
	unlink(world.path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_call),
		cmocka_unit_test(test_marked_again),
		cmocka_unit_test(test_marked_again_in_background),
		cmocka_unit_test(test_marked_always),
		cmocka_unit_test(test_marked_always_refused),
		cmocka_unit_test(test_marked_in_last_call),
		cmocka_unit_test(test_shared_calls),
		cmocka_unit_test(test_shared_refusal),
		cmocka_unit_test(test_no_number),
		cmocka_unit_test(test_timeout),
	};

	test_begin("log");
	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
