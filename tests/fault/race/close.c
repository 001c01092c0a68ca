/* SPDX-License-Identifier: BSD-2-Clause */
/* close.c - a close, and calls that outlived their deadline. */
#include "race.h"

static ssize_t close_run(struct task *task)
{
	return folio_file_close(task->file);
}

/*
 *	a punch that outlived its caller                closes the last handle
 *	has measured the range
 *	                                                is a detached call running?
 *	writes its zeros into the cache, and ends
 *	                                                are pages dirty? They must be written
 */
void test_close_after_detached_punch(void **state)
{
	struct world w = world_begin(64, 0, PAGE);
	struct task closer = {.len = 0};
	struct gate punch = {.point = FOLIO_PAUSE_punch_measured};

	(void)state;
	w.cache->timeout_ms = 1;
	folio_ptr_store_release(&any_thread, &punch);
	assert_int_equal(folio_file_punch(w.file, 100, 200), -ETIMEDOUT);
	arrived(&punch);
	w.cache->timeout_ms = 1000 * ALARM_SECONDS;
	task_begin(&closer, &w, close_run, FOLIO_PAUSE_close_checked);
	arrived(&closer.gate);
	open_gate(&punch);
	wait_until(!folio_u32_load_acquire(&w.file->inode->detached));
	open_gate(&closer.gate);
	assert_int_equal(task_end(&closer), 0);
	assert_true(all_are(disk(&w, 0, 100), 'o', 100));
	assert_true(all_are(disk(&w, 100, 200), 0, 200));
	w.cache->timeout_ms = 0;
	assert_int_equal(folio_file_open(w.cache, "a", O_RDWR, 0, &w.file), 0);
	world_end(&w);
}
