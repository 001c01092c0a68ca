/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conditions.c - waits for a condition, under a lock.
 *
 *	waiter                                          other
 *	finds under the lock that it must wait
 *	                                                is about to take the lock, to change that
 *	sleeps, and so releases the lock
 *	                                                changes it, wakes
 *	must proceed
 *
 * A change without the lock, or without a wake, leaves the waiter asleep.
 */
#include "race.h"

#include "cache/dirty.h"

/* The waiter has stopped before its sleep, the other thread at @change. */
static void change_under_lock(pthread_mutex_t *lock, struct gate *change, struct task *waiter)
{
	watch(lock);
	open_gate(change);
	wait_until(folio_u32_load_acquire(&lock_attempts));
	watch(NULL);
	open_gate(&waiter->gate);
}

/* ---- for the flusher ---- */

/* The flusher is in a visit of the file, and stops at the gate in a write. */
static struct world flusher_in_write(uint64_t dirty, struct gate *device)
{
	struct world w = world_begin(64, dirty, 16 * PAGE);

	assert_int_equal(write_byte(&w, 0, 'x'), 1);
	written = w.disk;
	sim_observe_writes(w.sim, observe, NULL);
	folio_ptr_store_release(&at_write, device);
	dirty_request_flush(w.cache);
	arrived(device);
	written = NULL;
	return w;
}

static ssize_t await_run(struct task *task)
{
	dirty_wait_flusher(task->file->inode, NULL);
	return task->w->cache->writeback.current == task->file->inode;
}

static ssize_t detach_run_(struct task *task)
{
	return dirty_detach(task->file->inode, true) ? 0 : -EBUSY;
}

static void wait_for_flusher(ssize_t (*run)(struct task *task))
{
	struct gate device = {.again = false};
	struct world w = flusher_in_write(0, &device);
	struct task waiter = {.gate.at = &w.cache->writeback.change};

	task_begin(&waiter, &w, run, FOLIO_PAUSE_cond_sleep);
	change_under_lock(&w.cache->writeback.lock, &device, &waiter);
	assert_int_equal(task_end(&waiter), 0);
	assert_int_equal(*disk(&w, 0, 1), 'x');
	world_end(&w);
}

void test_wait_for_flusher(void **state)
{
	(void)state;
	wait_for_flusher(await_run);
}

void test_detach_from_flusher(void **state)
{
	(void)state;
	wait_for_flusher(detach_run_);
}

static ssize_t close_run(struct task *task)
{
	return folio_file_close(task->file);
}

/* The flusher visits a file that is clean by now, and the last close waits for it. */
void test_close_waits_for_flusher(void **state)
{
	struct world w = world_begin(64, 0, PAGE);
	pthread_mutex_t *lock = &w.cache->writeback.lock;
	struct gate woken = {.point = FOLIO_PAUSE_thread_woken}, visit = {.point = UNLOCKED};
	struct task closer = {.gate.at = &w.cache->writeback.change};

	(void)state;
	visit.at = lock;
	assert_int_equal(write_byte(&w, 0, 'x'), 1);
	folio_ptr_store_release(&any_thread, &woken);
	dirty_request_flush(w.cache);
	arrived(&woken);
	folio_ptr_store_release(&any_thread, &visit);
	open_gate(&woken);
	arrived(&visit);
	assert_int_equal(folio_file_sync(w.file, NULL, 0), 0);
	task_begin(&closer, &w, close_run, FOLIO_PAUSE_cond_sleep);
	change_under_lock(lock, &visit, &closer);
	assert_int_equal(task_end(&closer), 0);
	assert_int_equal(*disk(&w, 0, 1), 'x');
	assert_int_equal(folio_cache_close(w.cache), 0);
	world_closed(&w);
}

/* ---- for dirty pages and runs ---- */

static ssize_t write_many(struct task *task)
{
	uint64_t i;

	for (i = 1; i < 16; i++)
		if (folio_file_write(task->file, "w", 1, i * PAGE) != 1)
			return -EIO;
	return 0;
}

/* A writer has used up what may be dirty, and the flusher is writing. */
void test_wait_for_dirty_pages(void **state)
{
	struct gate device = {.again = false};
	struct world w = flusher_in_write(8, &device);
	struct task writer = {.gate.at = &w.cache->writeback.change};

	(void)state;
	task_begin(&writer, &w, write_many, FOLIO_PAUSE_cond_sleep);
	change_under_lock(&w.cache->writeback.lock, &device, &writer);
	assert_int_equal(task_end(&writer), 0);
	world_end(&w);
}

static ssize_t step_run(struct task *task)
{
	wait_until(folio_u32_load_acquire(&task->gate.open));
	return sim_step(task->w->sim, 1);
}

/* A sync has the only run, another one needs it. */
void test_wait_for_run(void **state)
{
	struct world w = world_begin_steps(64, 0, 8 * PAGE);
	struct task first = {.len = 0}, second = {.gate.at = &w.cache->writeback.change};
	struct task device = {.len = 0};

	(void)state;
	w.cache->writeback.runs_max = 1;
	assert_int_equal(write_byte(&w, 0, 'x'), 1);
	task_begin(&first, &w, sync_run, NOWHERE);
	wait_until(sim_in_flight(w.sim));
	assert_int_equal(write_byte(&w, 5 * PAGE, 'y'), 1);
	task_begin(&second, &w, sync_run, FOLIO_PAUSE_cond_sleep);
	task_begin(&device, &w, step_run, NOWHERE);
	change_under_lock(&w.cache->writeback.lock, &device.gate, &second);
	assert_int_equal(task_end(&device), 1);
	wait_until(task_done(&second) || (sim_step(w.sim, 1), false));
	assert_int_equal(task_end(&second), 0);
	assert_int_equal(task_end(&first), 0);
	assert_int_equal(*disk(&w, 5 * PAGE, 1), 'y');
	world_end(&w);
}

/* ---- for a close that asks the file system ---- */

static struct gate in_flush;

static int gated_flush(void *context, void *handle)
{
	(void)context;
	(void)handle;
	folio_u32_fetch_add_release(&in_flush.arrived, 1);
	wait_until(folio_u32_load_acquire(&in_flush.open));
	return 0;
}

static ssize_t open_run(struct task *task)
{
	return folio_file_open(task->w->cache, "a", O_RDWR, 0, &task->file);
}

void test_open_waits_for_confirmation(void **state)
{
	struct world w = world_begin(64, 0, PAGE);
	struct task closer = {.len = 0}, opener = {.gate.at = &w.cache->files_change};

	(void)state;
	w.cache->program_io.flush = gated_flush;
	in_flush = (struct gate){.again = false};
	assert_int_equal(write_byte(&w, 0, 'x'), 1);
	task_begin(&closer, &w, close_run, NOWHERE);
	arrived(&in_flush);
	task_begin(&opener, &w, open_run, FOLIO_PAUSE_cond_sleep);
	change_under_lock(&w.cache->files_lock, &in_flush, &opener);
	assert_int_equal(task_end(&opener), 0);
	assert_int_equal(task_end(&closer), 0);
	w.file = opener.file;
	world_end(&w);
}
