/* SPDX-License-Identifier: BSD-2-Clause */
/* writeback.c - write-back, sync, their errors, and the flusher. */
#include "race.h"

#include "base/futex.h"
#include "cache/dirty.h"

/*
 *	syncer                                          appender
 *	collects the last page: dirty, not locked
 *	                                                appends to it; it is dirty already
 *	clears the mark, writes the page with its old
 *	length
 */
void test_append_during_collection(void **state)
{
	struct world w = world_begin(64, 0, 0);
	struct task syncer = {0};
	char buf[100];

	(void)state;
	memset(buf, 'a', sizeof(buf));
	assert_int_equal(folio_file_write(w.file, buf, sizeof(buf), 0), sizeof(buf));
	task_begin(&syncer, &w, sync_run, FOLIO_PAUSE_collect_seen);
	assert_int_equal(folio_file_write(w.file, buf, sizeof(buf), 100), sizeof(buf));
	assert_int_equal(task_end(&syncer), 0);
	assert_int_equal(folio_file_sync(w.file, NULL, 0), 0);
	assert_int_equal(sim_size(w.disk), 200);
	assert_true(all_are(disk(&w, 0, 200), 'a', 200));
	world_end(&w);
}

/*
 * A sync writes data that was written before it, even if another thread has the page locked by
 * then.
 */
void test_sync_of_locked_page(void **state)
{
	struct world w = world_begin(64, 0, PAGE);
	struct task syncer = {0};
	struct folio *folio;

	(void)state;
	assert_int_equal(write_byte(&w, 0, 'x'), 1);
	assert_int_equal(folio_file_get(w.file, 0, 0, &folio), 0);
	assert_int_equal(folio_lock(folio), 0);
	task_begin(&syncer, &w, sync_run, NOWHERE);
	wait_until(task_done(&syncer) || folio_u32_load_acquire(&folio->flags) & FOLIO_WAITERS);
	assert_false(task_done(&syncer));
	folio_unlock(folio);
	folio_put(folio);
	assert_int_equal(task_end(&syncer), 0);
	assert_int_equal(*disk(&w, 0, 1), 'x');
	world_end(&w);
}

/*
 *	first                                           second
 *	calls the device's sync, which fails
 *	                                                calls it, too: the device reports the error
 *	                                                only once
 *	learns of the failure
 */
void test_two_syncs_of_a_failing_device(void **state)
{
	struct world w = world_begin(64, 0, PAGE);
	struct gate device = {.again = false};
	struct task first = {0}, second = {0};

	(void)state;
	assert_int_equal(folio_file_open(w.cache, "a", O_RDWR, 0, &second.file), 0);
	assert_int_equal(write_byte(&w, 0, 'x'), 1);
	sync_error = EIO;
	folio_ptr_store_release(&at_sync, &device);
	task_begin(&first, &w, sync_run, NOWHERE);
	arrived(&device);
	watch(&w.file->inode->syncs.lock);
	task_begin(&second, &w, sync_run, NOWHERE);
	wait_until(task_done(&second) || folio_u32_load_acquire(&lock_attempts));
	open_gate(&device);
	assert_int_equal(task_end(&first), -EIO);
	assert_int_equal(task_end(&second), -EIO);
	assert_int_equal(folio_file_sync(w.file, NULL, 0), -EIO);
	assert_int_equal(folio_file_close(second.file), 0);
	world_end(&w);
}

static ssize_t sync_twice_run(struct task *task)
{
	struct folio_range range = {5 * PAGE, PAGE};
	ssize_t r = folio_file_sync(task->file, &range, 0);

	task->second = folio_file_sync(task->file, NULL, 0);
	return r;
}

/*
 *	writer                                          syncer
 *	                                                syncs another page, and is in the device's
 *	                                                call
 *	its write has failed; the error is counted
 *	                                                reports the error; syncs again, and must
 *	                                                find something to write
 *	its folios are dirty again
 */
void test_error_reported_before_folios_are_dirty_again(void **state)
{
	struct world w = world_begin(64, 0, 8 * PAGE);
	struct task writer = {0}, syncer = {0};
	struct inode *inode = w.file->inode;
	struct gate device = {.again = false};
	struct folio *folio;
	bool locked;

	(void)state;
	assert_int_equal(folio_file_open(w.cache, "a", O_RDWR, 0, &syncer.file), 0);
	sync_error = 0;
	folio_ptr_store_release(&at_sync, &device);
	task_begin(&syncer, &w, sync_twice_run, NOWHERE);
	arrived(&device);
	assert_int_equal(write_byte(&w, 0, 'x'), 1);
	assert_int_equal(folio_file_get(w.file, 0, 0, &folio), 0);
	sim_fail(w.sim, SIM_WRITE, 1, EIO, false);
	task_begin(&writer, &w, sync_run, FOLIO_PAUSE_run_failed);
	/* No other thread is active. */
	locked = pthread_mutex_trylock(&inode->tree.lock) != 0;
	if (!locked)
		pthread_mutex_unlock(&inode->tree.lock);
	watch(&inode->tree.lock);
	open_gate(&device);
	/*
	 * Either it waits for the lock, or it found nothing to write and waits for writes in
	 * flight.
	 */
	wait_until(locked ? folio_u32_load_acquire(&lock_attempts)
			  : folio_u32_load_acquire(&folio->flags) & FOLIO_WAITERS);
	assert_int_equal(task_end(&writer), -EIO);
	assert_int_equal(task_end(&syncer), -EIO);
	assert_int_equal(syncer.second, 0);
	assert_int_equal(*disk(&w, 0, 1), 'x');
	folio_put(folio);
	assert_int_equal(folio_file_close(syncer.file), 0);
	world_end(&w);
}

/*
 *	flusher                                         other
 *	begins a pass; is writing the first of three
 *	files
 *	                                                abandons the second
 *	failed to write the first and the third, too;
 *	is any file left?
 */
void test_pass_ends(void **state)
{
	struct world w = world_begin(64, 0, 0);
	struct gate device = {.again = false};
	struct folio_file *second, *third;

	(void)state;
	sim_fail_range(sim_add(w.sim, "b", NULL, 0), SIM_WRITE, 0, SIM_FILE_MAX, EIO, true);
	sim_fail_range(sim_add(w.sim, "c", NULL, 0), SIM_WRITE, 0, SIM_FILE_MAX, EIO, true);
	sim_fail_range(w.disk, SIM_WRITE, 0, SIM_FILE_MAX, EIO, true);
	assert_int_equal(folio_file_open(w.cache, "b", O_RDWR, 0, &second), 0);
	assert_int_equal(folio_file_open(w.cache, "c", O_RDWR, 0, &third), 0);
	assert_int_equal(write_byte(&w, 0, 'x'), 1);
	assert_int_equal(folio_file_write(second, "x", 1, 0), 1);
	assert_int_equal(folio_file_write(third, "x", 1, 0), 1);
	written = w.disk;
	folio_u32_store_relaxed(&writes_seen, 0);
	sim_observe_writes(w.sim, observe, NULL);
	folio_ptr_store_release(&at_write, &device);
	dirty_request_flush(w.cache);
	arrived(&device);
	assert_int_equal(folio_file_abandon(second), -EIO);
	open_gate(&device);
	wait_until(passes_ended(w.cache) || folio_u32_load_acquire(&writes_seen) > 1000);
	assert_int_equal(folio_u32_load_acquire(&writes_seen), 1);
	assert_int_equal(folio_file_abandon(third), -EIO);
	sim_fail_range(w.disk, SIM_WRITE, 0, 0, 0, false);
	world_end(&w);
	written = NULL;
}

/*
 *	flusher                                         writer of another file
 *	is in a pass; the first file, which cannot be
 *	written, has all pages that may be dirty
 *	                                                waits for a pass
 *	ends the pass
 *	                                                must keep waiting: that pass began before
 *	ends the next pass
 *	                                                proceeds: its own file has no dirty page
 */
void test_pass_began_before(void **state)
{
	struct world w = world_begin(64, 8, 8 * PAGE);
	struct task writer = {.byte = 'w', .len = 1, .offset = 0};
	struct gate first = {.again = false}, next = {.point = FOLIO_PAUSE_thread_woken};
	struct writeback *writeback = &w.cache->writeback;
	uint32_t looked;
	uint64_t i;

	(void)state;
	sim_add(w.sim, "b", NULL, 0);
	assert_int_equal(folio_file_open(w.cache, "b", O_RDWR, 0, &writer.file), 0);
	sim_fail_range(w.disk, SIM_WRITE, 0, SIM_FILE_MAX, EIO, true);
	for (i = 0; i < 8; i++)
		mark_page(&w, i, 0);
	written = w.disk;
	sim_observe_writes(w.sim, observe, NULL);
	folio_ptr_store_release(&at_write, &first);
	dirty_request_flush(w.cache);
	arrived(&first);
	writer.gate.again = true;
	open_gate(&writer.gate);
	task_begin(&writer, &w, write_run, FOLIO_PAUSE_cond_sleep);
	arrived(&writer.gate);
	folio_ptr_store_release(&any_thread, &next);
	open_gate(&first);
	arrived(&next);
	assert_int_equal(passes_ended(w.cache), 1);
	/* Once more, in case the writer has not seen that yet. */
	pthread_mutex_lock(&writeback->lock);
	looked = folio_u32_load_acquire(&writer.gate.arrived);
	pthread_cond_broadcast(&writeback->change);
	pthread_mutex_unlock(&writeback->lock);
	wait_until(task_done(&writer) || folio_u32_load_acquire(&writer.gate.arrived) > looked);
	assert_false(task_done(&writer));
	open_gate(&next);
	assert_int_equal(task_end(&writer), 1);
	assert_int_equal(folio_file_close(writer.file), 0);
	sim_fail_range(w.disk, SIM_WRITE, 0, 0, 0, false);
	world_end(&w);
	written = NULL;
}

/* Of 64 pages that may be dirty, those of a device that is the only one that has written. */
#define DEVICE_PAGES 56

/* Another file, which has written. */
static struct folio_file *open_written(struct world *w)
{
	struct folio_file *file;

	sim_add(w->sim, "b", NULL, 0);
	assert_int_equal(folio_file_open(w->cache, "b", O_RDWR, 0, &file), 0);
	assert_int_equal(folio_file_write(file, "b", 1, 0), 1);
	assert_int_equal(folio_file_sync(file, NULL, 0), 0);
	return file;
}

/*
 *	writer of a file without dirty pages            flusher
 *	finds that another file, which cannot be
 *	written, has all pages of the device;
 *	requests a pass
 *	                                                begins and ends the pass
 *	must request one more, which begins after it
 *	has looked, and no further one
 */
void test_pass_ended_before(void **state)
{
	struct world w = world_begin(256, 64, DEVICE_PAGES * PAGE);
	folio_u32 *wakeup = &w.cache->writeback.wakeup;
	struct task writer = {.byte = 'w', .len = 1, .gate.at = wakeup};
	uint64_t i;

	(void)state;
	writer.file = open_written(&w);
	sim_fail_range(w.disk, SIM_WRITE, 0, SIM_FILE_MAX, EIO, true);
	for (i = 0; i < DEVICE_PAGES; i++)
		mark_page(&w, i, 0);
	task_begin(&writer, &w, write_run, FOLIO_PAUSE_futex_wake);
	futex_wake(wakeup, 1);
	wait_until(passes_ended(w.cache) == 1);
	assert_int_equal(task_end(&writer), 1);
	wait_until(!folio_u32_load_acquire(wakeup) && asleep(wakeup) == 1);
	assert_int_equal(passes_ended(w.cache), 2);
	assert_int_equal(folio_file_close(writer.file), 0);
	sim_fail_range(w.disk, SIM_WRITE, 0, 0, 0, false);
	world_end(&w);
}

/*
 * A file has used up its share, and its device has not. The program has all of its pages locked, so
 * a visit of the flusher writes none. Its writer waits for that visit, and no longer: no other one
 * may ever come.
 */
void test_visit_without_effect(void **state)
{
	/* The file has not written, so it may have no more of the device's pages than these. */
	enum { PAGES = DEVICE_PAGES - DEVICE_PAGES / 4 };
	struct world w = world_begin(256, 64, PAGES * PAGE);
	struct task writer = {.byte = 'w', .len = 1, .offset = PAGES * PAGE};
	struct folio_cache_stats stats = {.size = sizeof(stats)};
	folio_u32 *wakeup = &w.cache->writeback.wakeup;
	struct folio *folio[PAGES];
	struct folio_file *other = open_written(&w);
	uint64_t visits, i, count = 0;

	(void)state;
	for (i = 0; i < PAGES; i++)
		mark_page(&w, i, 0);
	for (i = 0; i < PAGES; i += UINT64_C(1) << folio[count++]->order) {
		assert_int_equal(folio_file_get(w.file, i, 0, &folio[count]), 0);
		/* In place of as many threads: with folio_lock, a thread locks one at a time. */
		folio_lock_wait(folio[count], NULL);
	}
	visits = w.file->inode->dirty_visits;
	task_begin(&writer, &w, write_run, NOWHERE);
	assert_int_equal(task_end(&writer), 1);
	wait_until(!folio_u32_load_acquire(wakeup) && asleep(wakeup) == 1);
	assert_int_equal(passes_ended(w.cache), 0);
	/*
	 * The one that it has requested at first may have ended before it has looked; and a request
	 * during a visit is for another one.
	 */
	assert_in_range(w.file->inode->dirty_visits - visits, 1, 3);
	assert_int_equal(folio_cache_stats(w.cache, &stats), 0);
	assert_int_equal(stats.throttled, 1);
	while (count) {
		folio_unlocked(folio[--count]);
		folio_put(folio[count]);
	}
	assert_int_equal(folio_file_close(other), 0);
	world_end(&w);
}

static void note_wake(struct gate *gate)
{
	(void)gate;
}

/* The end of a run wakes the flusher only if that has waited for it. The device ends it inline. */
void test_end_of_a_run_that_nothing_waits_for(void **state)
{
	struct world w = world_begin(64, 0, PAGE);
	folio_u32 *wakeup = &w.cache->writeback.wakeup;
	struct task syncer = {.gate = {.at = wakeup, .again = true, .call = note_wake}};

	(void)state;
	assert_int_equal(write_byte(&w, 0, 'x'), 1);
	wait_until(!folio_u32_load_acquire(wakeup) && asleep(wakeup) == 1);
	task_start(&syncer, &w, sync_run, FOLIO_PAUSE_futex_wake);
	assert_int_equal(task_end(&syncer), 0);
	assert_int_equal(folio_u32_load_acquire(&syncer.gate.arrived), 0);
	assert_int_equal(*disk(&w, 0, 1), 'x');
	world_end(&w);
}

static ssize_t write_once_run(struct task *task)
{
	return folio_file_write_flags(task->file, &task->byte, 1, task->offset, FOLIO_WRITE_ONCE);
}

/*
 *	others                                          writer, which leaves the hot set unchanged
 *	have made more pages dirty than such writes may
 *	                                                requests a visit of the flusher, and waits
 *	the flusher writes: a run is in flight
 *	                                                does not wait for its end: others may go on
 *	                                                to write, and one may always be in flight
 */
void test_once_write_among_others(void **state)
{
	struct world w = world_begin_steps(1024, 0, 128 * PAGE);
	struct gate flusher = {.point = FOLIO_PAUSE_thread_woken};
	struct task writer = {.byte = 'w', .offset = 100 * PAGE}, syncer = {0};
	uint64_t i;

	(void)state;
	assert_int_equal(folio_file_advise(w.file, FOLIO_ADVICE_RANDOM), 0);
	for (i = 0; i < 64; i++)
		assert_int_equal(write_byte(&w, i * PAGE, 'o'), 1);
	/* The writer waits for one visit if none has begun before. */
	folio_ptr_store_release(&any_thread, &flusher);
	writer.gate.at = &w.cache->writeback.change;
	task_begin(&writer, &w, write_once_run, FOLIO_PAUSE_cond_sleep);
	arrived(&flusher);
	open_gate(&flusher);
	/* The device ends no write before it is told to. */
	assert_int_equal(task_end(&writer), 1);
	task_begin(&syncer, &w, sync_run, NOWHERE);
	while (!task_done(&syncer))
		if (!sim_step(w.sim, 1))
			sched_yield();
	assert_int_equal(task_end(&syncer), 0);
	world_end(&w);
}
