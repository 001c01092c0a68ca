/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * errors.c - errors of write-back where threads share a handle. An error that occurs while no sync
 * runs is reported by one of the syncs through each handle, and by no other.
 */
#include "race.h"

#include "cache/dirty.h"
#include "quiet-cache.h"

#define SYNCS 5

/* Syncs that have begun after the error; some share a handle. */
struct crowd {
	struct task task[SYNCS];
};

/* Each sync has flushed, and stops before it reports. */
static void crowd_begin(struct crowd *crowd, struct world *w, struct folio_file *const file[SYNCS])
{
	unsigned i;

	memset(crowd, 0, sizeof(*crowd));
	for (i = 0; i < SYNCS; i++) {
		crowd->task[i].file = file[i];
		task_begin(&crowd->task[i], w, sync_run, FOLIO_PAUSE_sync_ended);
	}
}

static bool all_done(struct crowd *crowd, unsigned first)
{
	while (first < SYNCS && task_done(&crowd->task[first]))
		first++;
	return first == SYNCS;
}

/*
 * The first sync has found the error, and not yet noted that it reports it, when the others come to
 * report. Afterwards, one sync of each handle has returned the error.
 */
static void crowd_end(struct crowd *crowd, struct world *w, int error)
{
	struct gate found = {.point = FOLIO_PAUSE_error_found};
	pthread_mutex_t *lock = &w->cache->writeback.lock;
	unsigned i, k;
	bool locked;

	folio_ptr_store_release(&any_thread, &found);
	open_gate(&crowd->task[0].gate);
	arrived(&found);
	/* No other thread is active. */
	locked = pthread_mutex_trylock(lock) != 0;
	if (!locked)
		pthread_mutex_unlock(lock);
	watch(lock);
	for (i = 1; i < SYNCS; i++)
		open_gate(&crowd->task[i].gate);
	wait_until(
		locked ? folio_u32_load_acquire(&lock_attempts) >= SYNCS - 1 : all_done(crowd, 1));
	open_gate(&found);
	for (i = 0; i < SYNCS; i++) {
		ssize_t r = task_end(&crowd->task[i]);

		assert_true(r == 0 || r == error);
	}
	watch(NULL);
	for (i = 0; i < SYNCS; i++) {
		unsigned reports = 0;

		for (k = 0; k < SYNCS; k++)
			reports += crowd->task[k].file == crowd->task[i].file &&
				   crowd->task[k].result == error;
		assert_int_equal(reports, 1);
	}
}

/* The flusher fails to write the first page. */
static void fail_in_background(struct world *w, int error)
{
	assert_int_equal(write_byte(w, 0, 'x'), 1);
	sim_fail(w->sim, SIM_WRITE, 1, error, false);
	dirty_request_flush(w->cache);
	wait_until(passes_ended(w->cache));
	assert_int_equal(dirty_error_count(w->file->inode), 1);
}

/* Nothing is left to report, the data is in the file, and the cache is as it was at first. */
static void check_end(struct world *w, const struct cache_limits *limits)
{
	assert_int_equal(folio_file_sync(w->file, NULL, 0), 0);
	assert_int_equal(*disk(w, 0, 1), 'x');
	expect_quiet(w->cache, limits);
	world_end(w);
}

/* Three syncs share one handle, two another one. */
void test_syncs_that_share_a_handle(void **state)
{
	struct world w = world_begin(64, 0, PAGE);
	struct cache_limits limits = limits_of(w.cache);
	struct folio_file *other, *late;
	struct crowd crowd;

	(void)state;
	assert_int_equal(folio_file_open(w.cache, "a", O_RDONLY, 0, &other), 0);
	fail_in_background(&w, ENOSPC);
	crowd_begin(&crowd, &w, (struct folio_file *const[]){w.file, other, w.file, other, w.file});
	crowd_end(&crowd, &w, -ENOSPC);
	assert_int_equal(folio_file_sync(other, NULL, 0), 0);
	assert_int_equal(folio_file_open(w.cache, "a", O_RDWR, 0, &late), 0);
	assert_int_equal(folio_file_sync(late, NULL, 0), 0);
	assert_int_equal(folio_file_close(late), 0);
	assert_int_equal(folio_file_close(other), 0);
	check_end(&w, &limits);
}

/* Another handle is closed, and one is opened, while the syncs are about to report. */
void test_syncs_during_closes(void **state)
{
	struct world w = world_begin(64, 0, PAGE);
	struct cache_limits limits = limits_of(w.cache);
	struct folio_file *other, *late;
	struct crowd crowd;

	(void)state;
	assert_int_equal(folio_file_open(w.cache, "a", O_RDWR, 0, &other), 0);
	fail_in_background(&w, EIO);
	crowd_begin(
		&crowd, &w, (struct folio_file *const[]){w.file, w.file, w.file, w.file, w.file});
	assert_int_equal(folio_file_close(other), 0);
	assert_int_equal(folio_file_open(w.cache, "a", O_RDWR, 0, &late), 0);
	assert_int_equal(folio_file_sync(late, NULL, 0), 0);
	assert_int_equal(folio_file_close(late), 0);
	crowd_end(&crowd, &w, -EIO);
	/* A close that fails reports its error, and does not keep it from the next sync. */
	assert_int_equal(write_byte(&w, 0, 'x'), 1);
	sim_fail(w.sim, SIM_WRITE, 1, ENOSPC, false);
	assert_int_equal(folio_file_close(w.file), -ENOSPC);
	crowd_begin(
		&crowd, &w, (struct folio_file *const[]){w.file, w.file, w.file, w.file, w.file});
	crowd_end(&crowd, &w, -ENOSPC);
	check_end(&w, &limits);
}

/* A writer that waits for dirty pages gets the error, too. That is no report of its handle. */
void test_syncs_after_a_throttled_writer(void **state)
{
	struct world w = world_begin(64, 8, 8 * PAGE);
	struct cache_limits limits = limits_of(w.cache);
	struct task writer = {.byte = 'w', .len = 1, .offset = 20 * PAGE};
	struct folio_file *other;
	struct crowd crowd;
	uint64_t i;

	(void)state;
	assert_int_equal(folio_file_open(w.cache, "a", O_RDWR, 0, &other), 0);
	writer.file = other;
	sim_fail_range(w.disk, SIM_WRITE, 0, SIM_FILE_MAX, EIO, true);
	assert_int_equal(write_byte(&w, 0, 'x'), 1);
	for (i = 1; i < 8; i++)
		mark_page(&w, i, 0);
	task_begin(&writer, &w, write_run, FOLIO_PAUSE_cond_sleep);
	assert_int_equal(task_end(&writer), -EIO);
	await_quiet(w.cache);
	queues_unlock(&w.cache->queues);
	sim_fail_range(w.disk, SIM_WRITE, 0, 0, 0, false);
	crowd_begin(&crowd, &w, (struct folio_file *const[]){other, w.file, other, w.file, w.file});
	crowd_end(&crowd, &w, -EIO);
	assert_int_equal(folio_file_close(other), 0);
	check_end(&w, &limits);
}

/* A sync that was left at its deadline reports nothing: one that comes later does, in its place. */
void test_syncs_after_one_that_was_left(void **state)
{
	struct world w = world_begin(64, 0, PAGE);
	struct cache_limits limits = limits_of(w.cache);
	struct gate device = {.again = false};
	struct crowd crowd;

	(void)state;
	written = w.disk;
	sim_observe_writes(w.sim, observe, NULL);
	assert_int_equal(write_byte(&w, 0, 'x'), 1);
	sim_fail(w.sim, SIM_WRITE, 1, EIO, false);
	folio_ptr_store_release(&at_write, &device);
	w.cache->timeout_ms = 1;
	assert_int_equal(folio_file_sync(w.file, NULL, 0), -ETIMEDOUT);
	arrived(&device);
	w.cache->timeout_ms = 1000 * ALARM_SECONDS;
	open_gate(&device);
	wait_until(!folio_u32_load_acquire(&w.file->inode->detached));
	crowd_begin(
		&crowd, &w, (struct folio_file *const[]){w.file, w.file, w.file, w.file, w.file});
	crowd_end(&crowd, &w, -EIO);
	w.cache->timeout_ms = 0;
	check_end(&w, &limits);
	written = NULL;
}

/*
 *	first                                           second, through the same handle
 *	is writing the page
 *	                                                waits for that write
 *	                                                learns that it has failed
 *	reports the error
 *	                                                must report it, too: the page that it was to
 *	                                                make durable is not
 */
void test_error_during_two_syncs(void **state)
{
	struct world w = world_begin(64, 0, PAGE);
	struct cache_limits limits = limits_of(w.cache);
	struct gate device = {.again = false};
	struct task first = {0}, second = {0};
	struct folio_file *other;

	(void)state;
	assert_int_equal(folio_file_open(w.cache, "a", O_RDWR, 0, &other), 0);
	written = w.disk;
	sim_observe_writes(w.sim, observe, NULL);
	assert_int_equal(write_byte(&w, 0, 'x'), 1);
	sim_fail(w.sim, SIM_WRITE, 1, EIO, false);
	folio_ptr_store_release(&at_write, &device);
	task_begin(&first, &w, sync_run, NOWHERE);
	arrived(&device);
	task_begin(&second, &w, sync_run, NOWHERE);
	wait_until(task_done(&second) || is_awaited(w.file->inode));
	open_gate(&device);
	assert_int_equal(task_end(&first), -EIO);
	assert_int_equal(task_end(&second), -EIO);
	assert_int_equal(folio_file_sync(w.file, NULL, 0), 0);
	assert_int_equal(folio_file_sync(other, NULL, 0), -EIO);
	assert_int_equal(folio_file_sync(other, NULL, 0), 0);
	assert_int_equal(folio_file_close(other), 0);
	check_end(&w, &limits);
	written = NULL;
}
