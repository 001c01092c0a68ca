/* SPDX-License-Identifier: BSD-2-Clause */
/* truncate.c - truncation, holes, and opens that truncate. */
#include "race.h"

#include "cache/dirty.h"

static ssize_t punch_run(struct task *task)
{
	return folio_file_punch(task->file, 100, 100000);
}

/*
 *	puncher                                         other
 *	has seen that the file has 90001 bytes
 *	                                                truncates it to 50
 *	writes zeros, punches a hole
 */
void test_punch_during_truncation(void **state)
{
	struct world w = world_begin(64, 0, 90001);
	struct task puncher = {0};

	(void)state;
	task_begin(&puncher, &w, punch_run, FOLIO_PAUSE_punch_measured);
	assert_int_equal(folio_file_truncate(w.file, 50), 0);
	assert_int_equal(task_end(&puncher), 0);
	assert_int_equal(folio_file_size(w.file), 50);
	assert_int_equal(folio_file_sync(w.file, NULL, 0), 0);
	assert_int_equal(sim_size(w.disk), 50);
	assert_true(all_are(disk(&w, 0, 50), 'o', 50));
	world_end(&w);
}

static ssize_t truncate_run(struct task *task)
{
	return folio_file_truncate(task->file, task->len);
}

/*
 *	other                                           flusher
 *	truncates, and is in the device's call; the
 *	size in memory is the smaller one
 *	                                                writes dirty pages, but not the page with
 *	                                                the new end
 *	the device refuses: the page is dirty as before
 */
void test_refused_truncation_during_flush(void **state)
{
	struct world w = world_begin(64, 0, 0);
	struct task other = {.len = 100};
	struct gate device = {.again = false};
	char page[FOLIO_PAGE_SIZE];
	uint64_t passes;

	(void)state;
	memset(page, 'd', PAGE);
	assert_int_equal(folio_file_write(w.file, page, PAGE, 0), PAGE);
	sim_fail(w.sim, SIM_TRUNCATE, 1, EPERM, false);
	folio_ptr_store_release(&at_truncate, &device);
	task_begin(&other, &w, truncate_run, NOWHERE);
	arrived(&device);
	passes = passes_ended(w.cache);
	dirty_request_flush(w.cache);
	wait_until(passes_ended(w.cache) > passes);
	open_gate(&device);
	assert_int_equal(task_end(&other), -EPERM);
	assert_int_equal(folio_file_sync(w.file, NULL, 0), 0);
	assert_int_equal(sim_size(w.disk), PAGE);
	assert_true(all_are(disk(&w, 0, PAGE), 'd', PAGE));
	world_end(&w);
}

/*
 *	other                                           reader
 *	truncates, and is in the device's call; the
 *	size in memory is the smaller one
 *	                                                fills the page with the new end and keeps it
 *	                                                pinned
 *	the device refuses
 *	                                                locks the page and writes to it
 *
 * The complete page is still part of the file.
 */
void test_pin_during_refused_truncation(void **state)
{
	struct world w = world_begin(64, 0, 2 * PAGE);
	struct task other = {.len = 100};
	struct gate device = {.again = false};

	(void)state;
	sim_fail(w.sim, SIM_TRUNCATE, 1, EPERM, false);
	folio_ptr_store_release(&at_truncate, &device);
	task_begin(&other, &w, truncate_run, NOWHERE);
	arrived(&device);
	pin_it(&w);
	open_gate(&device);
	assert_int_equal(task_end(&other), -EPERM);
	write_in_place(&w);
	assert_true(all_are(disk(&w, 10, 2 * PAGE - 10), 'o', 2 * PAGE - 10));
	world_end(&w);
}

static ssize_t open_truncated_run(struct task *task)
{
	return folio_file_open(task->w->cache, "a", O_RDWR | O_TRUNC, 0, &task->file);
}

static ssize_t close_run(struct task *task)
{
	return folio_file_close(task->file);
}

/*
 * @closes: what the close returns when the first write that it causes fails with @write_error.
 *
 *	other                                           writer
 *	                                                writes
 *	opens with O_TRUNC, and is in the device's call
 *	                                                closes: no handle takes over its dirty pages
 *	the device refuses: no handle of other's
 *	                                                writes them, or stays open
 */
static void refused_open_with_truncation(int write_error, int closes)
{
	struct world w = world_begin(64, 0, 2 * PAGE);
	struct gate device = {.again = false}, checked = {.point = FOLIO_PAUSE_close_checked};
	struct task other = {0}, writer = {0};
	char page[FOLIO_PAGE_SIZE];

	memset(page, 'd', PAGE);
	assert_int_equal(folio_file_write(w.file, page, PAGE, 0), PAGE);
	sim_fail(w.sim, SIM_TRUNCATE, 1, EPERM, false);
	sim_fail(w.sim, SIM_WRITE, write_error != 0, write_error, false);
	folio_ptr_store_release(&at_truncate, &device);
	task_begin(&other, &w, open_truncated_run, NOWHERE);
	arrived(&device);
	folio_ptr_store_release(&any_thread, &checked);
	task_begin(&writer, &w, close_run, NOWHERE);
	wait_until(task_done(&writer) || folio_u32_load_acquire(&checked.arrived));
	watch(&w.file->inode->map_lock);
	open_gate(&checked);
	wait_until(task_done(&writer) || folio_u32_load_acquire(&lock_attempts));
	open_gate(&device);
	assert_int_equal(task_end(&other), -EPERM);
	assert_int_equal(task_end(&writer), closes);
	take(&any_thread);
	if (closes)
		assert_int_equal(folio_file_close(w.file), 0);
	assert_true(all_are(disk(&w, 0, PAGE), 'd', PAGE));
	assert_true(all_are(disk(&w, PAGE, PAGE), 'o', PAGE));
	assert_int_equal(folio_file_open(w.cache, "a", O_RDWR, 0, &w.file), 0);
	world_end(&w);
}

void test_refused_open_with_truncation(void **state)
{
	(void)state;
	refused_open_with_truncation(0, 0);
}

void test_refused_open_with_truncation_and_failing_write(void **state)
{
	(void)state;
	refused_open_with_truncation(EIO, -EIO);
}

static ssize_t hole_run(struct task *task)
{
	return folio_file_punch(task->file, PAGE, PAGE);
}

/*
 *	other                                           flusher
 *	punches; a dirty page there cannot be written
 *	                                                can write it now
 *	makes the hole
 *	                                                its write arrives in the hole
 *
 * So instead of making a hole, the library writes zeros.
 */
void test_hole_during_flush(void **state)
{
	struct world w = world_begin(64, 0, 3 * PAGE);
	struct gate punch = {.again = false}, write = {.again = false};
	struct task other = {0};
	char page[FOLIO_PAGE_SIZE];

	(void)state;
	memset(page, 'd', PAGE);
	assert_int_equal(folio_file_write(w.file, page, PAGE, PAGE), PAGE);
	sim_fail_range(w.disk, SIM_WRITE, 0, SIM_FILE_MAX, EIO, true);
	folio_ptr_store_release(&at_punch, &punch);
	task_begin(&other, &w, hole_run, NOWHERE);
	wait_until(task_done(&other) || folio_u32_load_acquire(&punch.arrived));
	sim_fail_range(w.disk, SIM_WRITE, 0, 0, 0, false);
	if (!task_done(&other)) {
		written = w.disk;
		sim_observe_writes(w.sim, observe, NULL);
		folio_ptr_store_release(&at_write, &write);
		dirty_request_flush(w.cache);
		arrived(&write);
		open_gate(&punch);
		wait_until(sim_calls(w.sim, SIM_PUNCH));
		open_gate(&write);
	}
	assert_int_equal(task_end(&other), 0);
	take(&at_punch);
	written = NULL;
	assert_int_equal(folio_file_sync(w.file, NULL, 0), -EIO);
	assert_int_equal(folio_file_sync(w.file, NULL, 0), 0);
	assert_true(all_are(disk(&w, PAGE, PAGE), 0, PAGE));
	world_end(&w);
}

/* A thread that gets a page, to change it, while a truncation passes a point. */
static struct task splitter;

static ssize_t get_run(struct task *task)
{
	struct folio *folio;
	int r = folio_file_get(task->file, task->offset >> FOLIO_PAGE_SHIFT, 0, &folio);

	if (!r)
		folio_put(folio);
	return r;
}

/* The truncation has put the lock of the tree: from the device's call on, the split begins. */
static void split_meanwhile(struct gate *gate)
{
	struct inode *inode = splitter.file->inode;

	/* Once: the gate is passed once more after this. */
	if (splitter.run || folio_u64_load_relaxed(&inode->disk_size) != splitter.offset)
		return;
	gate->again = false;
	task_begin(&splitter, NULL, get_run, FOLIO_PAUSE_split_erased);
	watch(&inode->tree.lock);
}

/*
 *	truncation                                      other
 *	the file ends in the middle of page 3
 *	                                                gets page 3, and splits its folio: neither
 *	                                                the folio nor the pieces are in the tree
 *	looks for the page, whose tail is to be zeros
 *
 * The file grows again. What it had there before must not return.
 */
void test_truncation_during_split(void **state)
{
	static char buf[64 * FOLIO_PAGE_SIZE];
	struct world w = world_begin(1024, 0, sizeof(buf));
	struct task other = {.len = 3 * PAGE + 100};

	(void)state;
	assert_int_equal(folio_file_read(w.file, buf, sizeof(buf), 0), sizeof(buf));
	splitter = (struct task){.file = w.file, .offset = other.len};
	other.gate = (struct gate){
		.at = &w.file->inode->tree.lock, .again = true, .call = split_meanwhile};
	/* Not what an earlier test has watched. */
	watch(NULL);
	task_start(&other, &w, truncate_run, UNLOCKED);
	wait_until(folio_u32_load_acquire(&lock_attempts));
	assert_int_equal(task_end(&splitter), 0);
	assert_int_equal(task_end(&other), 0);
	assert_int_equal(folio_file_truncate(w.file, 4 * PAGE), 0);
	assert_int_equal(folio_file_read(w.file, buf, PAGE, 3 * PAGE), PAGE);
	assert_true(all_are(buf, 'o', 100));
	assert_true(all_are(buf + 100, 0, PAGE - 100));
	world_end(&w);
}
