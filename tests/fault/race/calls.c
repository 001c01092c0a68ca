/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * calls.c - waits of calls: for writes, for the lock of a folio, for detached calls.
 *
 * Requests are in flight until the test runs them.
 */
#include "race.h"

#include "base/deadline.h"
#include "base/futex.h"
#include "cache/detach.h"
#include "cache/dirty.h"

/* Waits until a request is in flight. */
static void submitted(struct world *w)
{
	wait_until(sim_in_flight(w->sim));
}

/* Runs requests until the task has ended. */
static ssize_t run_to_end(struct world *w, struct task *task)
{
	open_gate(&task->gate);
	wait_until(task_done(task) || (sim_step(w->sim, 1), false));
	return task_end(task);
}

/*
 *	call                                            device
 *	has submitted a write
 *	                                                is in the write
 *	checks: it has not ended
 *	                                                ends it, wakes
 *	sleeps: must find that
 *
 * With @sleeps, the call sleeps before the write ends, and is woken.
 */
static void wait_while_written(struct world *w, ssize_t (*run)(struct task *task), bool sleeps)
{
	struct task task = {.len = 0};

	task_begin(&task, w, run, FOLIO_PAUSE_futex_sleep);
	submitted(w);
	if (sleeps) {
		open_gate(&task.gate);
		wait_until(asleep(folio_ptr_load_relaxed(&task.gate.object)) == 1);
	}
	sim_step(w->sim, 1);
	assert_int_equal(run_to_end(w, &task), 0);
}

void test_wait_for_own_write(void **state)
{
	struct world w = world_begin_steps(64, 0, PAGE);

	(void)state;
	assert_int_equal(write_byte(&w, 0, 'x'), 1);
	wait_while_written(&w, sync_run, false);
	assert_int_equal(write_byte(&w, 0, 'y'), 1);
	wait_while_written(&w, sync_run, true);
	assert_int_equal(*disk(&w, 0, 1), 'y');
	world_end(&w);
}

static ssize_t sync_first_page_run(struct task *task)
{
	const struct folio_range range = {0, 1};

	return folio_file_sync(task->file, &range, 0);
}

/*
 * The same with a write that another sync has begun. The word is flights.ended of the file, or the
 * flags of the folio if one page is synced.
 */
static void sync_after_sync(struct world *w, bool one_page, bool sleeps)
{
	struct task first = {.len = 0}, second = {.len = 0};
	struct folio *folio;
	folio_u32 *word;

	assert_int_equal(write_byte(w, 0, 'x'), 1);
	assert_int_equal(folio_file_get(w->file, 0, 0, &folio), 0);
	word = one_page ? &folio->flags : &w->file->inode->flights.ended;
	task_begin(&first, w, sync_run, NOWHERE);
	submitted(w);
	second.gate.at = word;
	task_begin(&second, w, one_page ? sync_first_page_run : sync_run, FOLIO_PAUSE_futex_sleep);
	if (sleeps) {
		open_gate(&second.gate);
		wait_until(asleep(word) == 1);
	}
	sim_step(w->sim, 1);
	assert_int_equal(task_end(&second), 0);
	assert_int_equal(task_end(&first), 0);
	folio_put(folio);
}

void test_wait_for_another_write(void **state)
{
	struct world w = world_begin_steps(64, 0, PAGE);
	unsigned one_page;

	(void)state;
	assert_int_equal(folio_file_sync(w.file, NULL, 0), 0);
	for (one_page = 0; one_page < 2; one_page++) {
		sync_after_sync(&w, one_page, false);
		sync_after_sync(&w, one_page, true);
	}
	world_end(&w);
}

/*
 *	sync                                            program
 *	                                                has a dirty folio locked
 *	finds the folio locked
 *	                                                unlocks it
 *	sleeps: must find that
 */
static void sync_of_locked(struct world *w, bool sleeps)
{
	struct task task = {.len = 0};
	struct folio *folio;

	assert_int_equal(write_byte(w, 0, 'x'), 1);
	assert_int_equal(folio_file_get(w->file, 0, 0, &folio), 0);
	assert_int_equal(folio_lock(folio), 0);
	task.gate.at = &folio->flags;
	task_begin(&task, w, sync_run, FOLIO_PAUSE_futex_sleep);
	if (sleeps) {
		open_gate(&task.gate);
		wait_until(asleep(&folio->flags) == 1);
	}
	folio_unlock(folio);
	assert_int_equal(run_to_end(w, &task), 0);
	folio_put(folio);
}

void test_wait_for_unlock(void **state)
{
	struct world w = world_begin_steps(64, 0, PAGE);

	(void)state;
	sync_of_locked(&w, false);
	sync_of_locked(&w, true);
	world_end(&w);
}

static ssize_t discard_run(struct task *task)
{
	return folio_file_discard(task->file, 6 * PAGE, PAGE);
}

/* A discard writes the other pages of a large folio first. */
static void discard_of_large(bool sleeps)
{
	struct world w = world_begin_steps(256, 0, 16 * PAGE);
	struct task syncer = {.len = 0};
	struct folio *folio;
	char bytes[16 * FOLIO_PAGE_SIZE];

	memset(bytes, 'x', sizeof(bytes));
	assert_int_equal(folio_file_write(w.file, bytes, sizeof(bytes), 0), sizeof(bytes));
	assert_int_equal(folio_file_get(w.file, 6, 0, &folio), 0);
	assert_true(folio_order(folio) > 0);
	folio_put(folio);
	wait_while_written(&w, discard_run, sleeps);
	/* What is dirty is written before the close, which would wait for the test. */
	task_begin(&syncer, &w, sync_run, NOWHERE);
	assert_int_equal(run_to_end(&w, &syncer), 0);
	world_end(&w);
}

void test_wait_for_part(void **state)
{
	(void)state;
	discard_of_large(false);
	discard_of_large(true);
}

/* ---- detached calls ---- */

/* A sync with a deadline in an hour, whose detached call stops in the device. */
struct detached_sync {
	struct task task;
	struct gate device;
};

static void detached_begin(struct world *w, struct detached_sync *sync, enum folio_pause point)
{
	w->cache->timeout_ms = 3600 * 1000;
	sync_error = 0;
	*sync = (struct detached_sync){.task.len = 0};
	folio_ptr_store_release(&at_sync, &sync->device);
	task_begin(&sync->task, w, sync_run, point);
	arrived(&sync->device);
}

/* Opens @gate; the thread that it stops then changes the word, and stops at @wake. */
static void change_without_wake(struct gate *gate, struct gate *wake, const void *word)
{
	*wake = (struct gate){.point = FOLIO_PAUSE_futex_wake, .at = word};
	folio_ptr_store_release(&any_thread, wake);
	open_gate(gate);
	arrived(wake);
}

/*
 *	caller                                          detached call
 *	checks: the call runs
 *	                                                has ended
 *	sleeps: must find that, without a wake
 *	                                                wakes
 */
void test_wait_for_detached_call(void **state)
{
	struct world w = world_begin(64, 0, PAGE);
	struct detached_sync sync;
	struct gate wake;

	(void)state;
	detached_begin(&w, &sync, FOLIO_PAUSE_futex_sleep);
	change_without_wake(&sync.device, &wake, folio_ptr_load_relaxed(&sync.task.gate.object));
	open_gate(&sync.task.gate);
	wait_until(task_done(&sync.task));
	open_gate(&wake);
	assert_int_equal(task_end(&sync.task), 0);
	/* And while it sleeps. */
	detached_begin(&w, &sync, FOLIO_PAUSE_futex_sleep);
	open_gate(&sync.task.gate);
	wait_until(asleep(folio_ptr_load_relaxed(&sync.task.gate.object)) == 1);
	open_gate(&sync.device);
	assert_int_equal(task_end(&sync.task), 0);
	w.cache->timeout_ms = 0;
	world_end(&w);
}

/*
 * Opens the gate at which the caller of a detached call has stopped before its sleep. It sleeps,
 * its deadline passes, and it is woken. Returns its word.
 */
static folio_u32 *deadline_passes(struct detached_sync *sync)
{
	folio_u32 *word = folio_ptr_load_relaxed(&sync->task.gate.object);

	open_gate(&sync->task.gate);
	wait_until(asleep(word) == 1);
	folio_u64_store_release(&clock_ahead, 7200);
	futex_wake(word, 1);
	return word;
}

/*
 *	caller                                          detached call
 *	its deadline passes: leaves
 *	                                                ends, and frees what they shared
 */
void test_detached_call_outlives_caller(void **state)
{
	struct world w = world_begin(64, 0, PAGE);
	struct detached_sync sync;

	(void)state;
	detached_begin(&w, &sync, FOLIO_PAUSE_futex_sleep);
	deadline_passes(&sync);
	assert_int_equal(task_end(&sync.task), -ETIMEDOUT);
	folio_u64_store_release(&clock_ahead, 0);
	open_gate(&sync.device);
	/* A close waits for it. */
	world_end(&w);
}

/*
 *	caller                                          detached call
 *	its deadline passes
 *	                                                has ended
 *	must take the result, and free what they shared
 *	                                                wakes
 */
void test_detached_call_ends_at_the_deadline(void **state)
{
	struct world w = world_begin(64, 0, PAGE);
	struct gate woken = {.point = FOLIO_PAUSE_futex_woken}, wake;
	struct detached_sync sync;
	folio_u32 *word;

	(void)state;
	detached_begin(&w, &sync, FOLIO_PAUSE_futex_sleep);
	woken.at = folio_ptr_load_relaxed(&sync.task.gate.object);
	folio_ptr_store_release(&any_thread, &woken);
	word = deadline_passes(&sync);
	arrived(&woken);
	change_without_wake(&sync.device, &wake, word);
	open_gate(&woken);
	assert_int_equal(task_end(&sync.task), 0);
	folio_u64_store_release(&clock_ahead, 0);
	open_gate(&wake);
	w.cache->timeout_ms = 0;
	world_end(&w);
}

static ssize_t file_close_run(struct task *task)
{
	return folio_file_close(task->file);
}

/*
 *	other                                           detached call
 *	checks: a detached call of the file runs
 *	                                                has ended
 *	sleeps: must find that, without a wake
 *	                                                wakes
 *
 * @run: a sync, which waits for its turn, or a close of another handle.
 */
static void wait_for_turn(struct world *w, ssize_t (*run)(struct task *task), bool sleeps)
{
	struct detached_sync sync;
	folio_u32 *word = &w->file->inode->detached;
	struct task other = {.gate.at = word};
	struct gate wake;

	assert_int_equal(folio_file_open(w->cache, "a", O_RDWR, 0, &other.file), 0);
	detached_begin(w, &sync, NOWHERE);
	task_begin(&other, w, run, FOLIO_PAUSE_futex_sleep);
	if (sleeps) {
		open_gate(&other.gate);
		wait_until(asleep(word) == 1);
		open_gate(&sync.device);
	} else {
		change_without_wake(&sync.device, &wake, word);
		open_gate(&other.gate);
		wait_until(task_done(&other));
		open_gate(&wake);
	}
	assert_int_equal(task_end(&other), 0);
	assert_int_equal(task_end(&sync.task), 0);
	if (run != file_close_run)
		assert_int_equal(folio_file_close(other.file), 0);
}

void test_wait_for_turn(void **state)
{
	struct world w = world_begin(64, 0, PAGE);

	(void)state;
	wait_for_turn(&w, sync_run, false);
	wait_for_turn(&w, sync_run, true);
	w.cache->timeout_ms = 0;
	world_end(&w);
}

void test_close_waits_for_detached_call(void **state)
{
	struct world w = world_begin(64, 0, PAGE);

	(void)state;
	wait_for_turn(&w, file_close_run, false);
	wait_for_turn(&w, file_close_run, true);
	w.cache->timeout_ms = 0;
	world_end(&w);
}
