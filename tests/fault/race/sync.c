/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sync.c - threads that share one sync of the device.
 *
 * A round is one thread that writes all dirty pages and syncs the device, and the threads that wait
 * for it. Two rounds run at the same time: one is in the device, the other one writes.
 */
#include "race.h"

/* Writes a byte and syncs, with the flags task->len. */
static ssize_t write_and_sync_run(struct task *task)
{
	if (folio_file_write(task->file, &task->byte, 1, task->offset) != 1)
		return -1;
	return folio_file_sync(task->file, NULL, (unsigned)task->len);
}

/* The same with a sync of the first page only, which is no part of a round. */
static ssize_t write_and_sync_range_run(struct task *task)
{
	const struct folio_range range = {0, 1};

	if (folio_file_write(task->file, &task->byte, 1, task->offset) != 1)
		return -1;
	return folio_file_sync(task->file, &range, (unsigned)task->len);
}

/* Begin a sync. Returns when it waits at @point: for the device's sync, a round, or its turn. */
static void begin_waiting(struct task *task, struct world *w, enum folio_pause point)
{
	open_gate(&task->gate);
	task_begin(task, w, write_and_sync_run, point);
	wait_until(task_done(task) || folio_u32_load_acquire(&task->gate.arrived));
	assert_false(task_done(task));
}

/* Begin a sync of another page, which stops in the device. */
static void begin_in_device(struct task *task, struct world *w, struct gate *device)
{
	sync_error = 0;
	folio_ptr_store_release(&at_sync, device);
	task_begin(task, w, write_and_sync_run, NOWHERE);
	arrived(device);
}

/*
 *	first                                           63 others
 *	is in the device's sync
 *	                                                write to the cache, and sync: the second
 *	                                                writes its page and waits for the first, the
 *	                                                others wait for the second
 *	ends its sync
 *	                                                one or two sync the device for all
 */
void test_one_sync_for_many(void **state)
{
	static struct task task[64];
	/* So many pages may be dirty that no writer is throttled, which is a wait as well. */
	struct world w = world_begin(1024, 0, 64 * PAGE);
	struct gate device = {.again = false};
	unsigned i;

	(void)state;
	memset(task, 0, sizeof(task));
	for (i = 0; i < 64; i++) {
		task[i].offset = i * PAGE;
		task[i].byte = (char)i;
		task[i].len = FOLIO_SYNC_DATA;
	}
	begin_in_device(&task[0], &w, &device);
	begin_waiting(&task[1], &w, FOLIO_PAUSE_cond_sleep);
	for (i = 2; i < 64; i++)
		begin_waiting(&task[i], &w, FOLIO_PAUSE_cond_sleep);
	open_gate(&device);
	for (i = 0; i < 64; i++) {
		assert_int_equal(task_end(&task[i]), 0);
		assert_int_equal(*disk(&w, i * PAGE, 1), (char)i);
	}
	/* Two if the last round has written its pages before the device begins its second. */
	assert_in_range(sim_calls(w.sim, SIM_SYNC), 2, 3);
	assert_int_equal(folio_u32_load_relaxed(&full_syncs), 0);
	world_end(&w);
}

/*
 *	first                                           second
 *	is in the device's sync
 *	                                                writes its page to the file
 *	ends its sync, which may have begun before
 *	                                                must not be content with it
 */
void test_sync_that_began_before(void **state)
{
	struct world w = world_begin(64, 0, 2 * PAGE);
	struct gate device = {.again = false}, next = {.again = false};
	struct task first = {.byte = 'x'}, second = {.byte = 'y', .offset = PAGE};

	(void)state;
	begin_in_device(&first, &w, &device);
	begin_waiting(&second, &w, FOLIO_PAUSE_cond_sleep);
	/* Its write-back did not wait for the device's sync. */
	assert_int_equal(*disk(&w, PAGE, 1), 'y');
	folio_ptr_store_release(&at_sync, &next);
	open_gate(&device);
	assert_int_equal(task_end(&first), 0);
	wait_until(task_done(&second) || folio_u32_load_acquire(&next.arrived));
	take(&at_sync);
	assert_false(task_done(&second));
	open_gate(&next);
	assert_int_equal(task_end(&second), 0);
	world_end(&w);
}

/*
 *	first                     second                third
 *	is in the device's sync
 *	                          syncs a range, and waits
 *	                                                syncs all pages with another handle,
 *	                                                and waits for the same sync
 *	ends its sync
 *	                          one of them syncs the device, which fails: both report it
 */
void test_error_of_a_shared_sync(void **state)
{
	struct world w = world_begin(64, 0, 4 * PAGE);
	struct gate device = {.again = false}, next = {.again = false};
	struct task first = {.offset = PAGE}, second = {.offset = 0}, third = {.offset = 2 * PAGE};

	(void)state;
	assert_int_equal(folio_file_open(w.cache, "a", O_RDWR, 0, &third.file), 0);
	begin_in_device(&first, &w, &device);
	open_gate(&second.gate);
	task_begin(&second, &w, write_and_sync_range_run, FOLIO_PAUSE_cond_sleep);
	wait_until(task_done(&second) || folio_u32_load_acquire(&second.gate.arrived));
	assert_false(task_done(&second));
	begin_waiting(&third, &w, FOLIO_PAUSE_cond_sleep);
	sync_error = EIO;
	folio_ptr_store_release(&at_sync, &next);
	open_gate(&device);
	/* The next one does not fail before. */
	assert_int_equal(task_end(&first), 0);
	open_gate(&next);
	assert_int_equal(task_end(&second), -EIO);
	assert_int_equal(task_end(&third), -EIO);
	assert_null(take(&at_sync));
	assert_int_equal(sim_calls(w.sim, SIM_SYNC), 1);
	assert_int_equal(folio_file_sync(w.file, NULL, 0), -EIO);
	assert_int_equal(folio_file_close(third.file), 0);
	world_end(&w);
}

/*
 *	first                     second                third, fourth
 *	is in the device's sync
 *	                          syncs the data of a range, and waits
 *	                                                the third syncs all of the file, waits for
 *	                                                the same sync, and the fourth for the next
 *	                                                round
 *	ends its sync
 *	                          if it calls the device, then for all of the file
 */
void test_full_sync_among_others(void **state)
{
	struct world w = world_begin(64, 0, 4 * PAGE);
	struct gate device = {.again = false};
	struct task first = {.offset = PAGE, .len = FOLIO_SYNC_DATA};
	struct task second = {.len = FOLIO_SYNC_DATA};
	struct task third = {.offset = 2 * PAGE};
	struct task fourth = {.offset = 3 * PAGE, .len = FOLIO_SYNC_DATA};

	(void)state;
	begin_in_device(&first, &w, &device);
	open_gate(&second.gate);
	task_begin(&second, &w, write_and_sync_range_run, FOLIO_PAUSE_cond_sleep);
	wait_until(task_done(&second) || folio_u32_load_acquire(&second.gate.arrived));
	assert_false(task_done(&second));
	begin_waiting(&third, &w, FOLIO_PAUSE_cond_sleep);
	begin_waiting(&fourth, &w, FOLIO_PAUSE_cond_sleep);
	open_gate(&device);
	assert_int_equal(task_end(&first), 0);
	assert_int_equal(task_end(&second), 0);
	assert_int_equal(task_end(&third), 0);
	assert_int_equal(task_end(&fourth), 0);
	/* The third's, and that of the fourth if it began before the third's had ended. */
	assert_in_range(folio_u32_load_relaxed(&full_syncs), 1, 2);
	world_end(&w);
}

/*
 *	first                     second                third
 *	syncs all of the file:
 *	is in the device's sync
 *	                          syncs data, waits
 *	ends its sync
 *	                          is in the device's
 *	                          sync, which had to be
 *	                          full
 *	                                                syncs data, waits
 *	                          ends its sync
 *	                                                syncs the data only: the full sync had ended
 *	                                                when its round began
 */
void test_full_sync_before_others(void **state)
{
	struct world w = world_begin(64, 0, 3 * PAGE);
	struct gate device = {.again = false}, next = {.again = false};
	struct task first = {.offset = 0};
	struct task second = {.offset = PAGE, .len = FOLIO_SYNC_DATA};
	struct task third = {.offset = 2 * PAGE, .len = FOLIO_SYNC_DATA};

	(void)state;
	begin_in_device(&first, &w, &device);
	begin_waiting(&second, &w, FOLIO_PAUSE_cond_sleep);
	folio_ptr_store_release(&at_sync, &next);
	open_gate(&device);
	assert_int_equal(task_end(&first), 0);
	arrived(&next);
	assert_int_equal(folio_u32_load_relaxed(&full_syncs), 2);
	begin_waiting(&third, &w, FOLIO_PAUSE_cond_sleep);
	open_gate(&next);
	assert_int_equal(task_end(&second), 0);
	assert_int_equal(task_end(&third), 0);
	assert_int_equal(sim_calls(w.sim, SIM_SYNC), 3);
	assert_int_equal(folio_u32_load_relaxed(&full_syncs), 2);
	world_end(&w);
}

/*
 * With a deadline:
 *
 *	first                                           others
 *	has the turn, and is in the device's sync
 *	                                                write to the cache, and wait for their turn
 *	ends
 *	                                                one of them syncs; the rest need do nothing.
 *	                                                If one needs a full sync, all get it
 */
void test_turns_of_syncs(void **state)
{
	static struct task task[16];
	struct world w = world_begin(64, 0, 16 * PAGE);
	struct gate device;
	unsigned full, i;

	(void)state;
	w.cache->timeout_ms = 1000 * ALARM_SECONDS;
	for (full = 0; full < 2; full++) {
		uint64_t before = sim_calls(w.sim, SIM_SYNC);

		memset(task, 0, sizeof(task));
		for (i = 0; i < 16; i++) {
			task[i].offset = i * PAGE;
			task[i].byte = (char)(i + 16 * full);
			task[i].len = full && i == 8 ? 0 : FOLIO_SYNC_DATA;
		}
		device = (struct gate){.again = false};
		begin_in_device(&task[0], &w, &device);
		for (i = 1; i < 16; i++)
			begin_waiting(&task[i], &w, FOLIO_PAUSE_futex_sleep);
		open_gate(&device);
		for (i = 0; i < 16; i++) {
			assert_int_equal(task_end(&task[i]), 0);
			assert_int_equal(*disk(&w, i * PAGE, 1), task[i].byte);
		}
		assert_int_equal(sim_calls(w.sim, SIM_SYNC) - before, 2);
		assert_int_equal(folio_u32_load_relaxed(&full_syncs), full);
	}
	w.cache->timeout_ms = 0;
	world_end(&w);
}

/*
 *	first                                           others
 *	is in the device's sync
 *	                                                wait for a round, or for their turn
 *	ends
 *	                                                one of them fails to write the pages of all:
 *	                                                each handle reports that, once
 */
void test_error_in_a_round(void **state)
{
	unsigned with_turns, i;

	(void)state;
	for (with_turns = 0; with_turns < 2; with_turns++) {
		struct world w = world_begin(64, 0, 8 * PAGE);
		struct gate device = {.again = false};
		struct task task[5] = {{.offset = 0}};

		if (with_turns)
			w.cache->timeout_ms = 1000 * ALARM_SECONDS;
		for (i = 0; i < 5; i++) {
			task[i].offset = i * PAGE;
			assert_int_equal(
				folio_file_open(w.cache, "a", O_RDWR, 0, &task[i].file), 0);
		}
		begin_in_device(&task[0], &w, &device);
		begin_waiting(&task[1], &w,
			with_turns ? FOLIO_PAUSE_futex_sleep : FOLIO_PAUSE_cond_sleep);
		for (i = 2; i < 5; i++)
			begin_waiting(&task[i], &w,
				with_turns ? FOLIO_PAUSE_futex_sleep : FOLIO_PAUSE_cond_sleep);
		sim_fail(w.sim, SIM_WRITE, 1, EIO, false);
		open_gate(&device);
		task_end(&task[0]);
		task_end(&task[1]);
		for (i = 2; i < 5; i++)
			assert_int_equal(task_end(&task[i]), -EIO);
		assert_in_range(sim_calls(w.sim, SIM_SYNC), 2, with_turns ? 2 : 3);
		for (i = 2; i < 5; i++)
			assert_int_equal(folio_file_sync(task[i].file, NULL, 0), 0);
		assert_true(all_are(disk(&w, 0, 1), 0, 1));
		w.cache->timeout_ms = 0;
		for (i = 0; i < 5; i++)
			assert_int_equal(folio_file_close(task[i].file), 0);
		world_end(&w);
	}
}

/*
 *	first                                           second
 *	finds no dirty page
 *	                                                makes a page dirty, and writes it back
 *	syncs, and does not wait for that write
 */
void test_write_that_began_later(void **state)
{
	struct world w = world_begin(64, 0, 2 * PAGE);
	struct gate device = {.again = false};
	struct task first = {.offset = 0}, second = {.offset = PAGE, .byte = 'y'};

	(void)state;
	written = w.disk;
	sim_observe_writes(w.sim, observe, NULL);
	task_begin(&first, &w, sync_run, FOLIO_PAUSE_run_collected);
	folio_ptr_store_release(&at_write, &device);
	task_begin(&second, &w, write_and_sync_run, NOWHERE);
	arrived(&device);
	open_gate(&first.gate);
	wait_until(task_done(&first) || is_awaited(w.file->inode));
	assert_true(task_done(&first));
	assert_int_equal(task_end(&first), 0);
	assert_false(task_done(&second));
	open_gate(&device);
	assert_int_equal(task_end(&second), 0);
	assert_int_equal(*disk(&w, PAGE, 1), 'y');
	written = NULL;
	world_end(&w);
}
