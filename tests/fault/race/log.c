/* SPDX-License-Identifier: BSD-2-Clause */
/* log.c - sequence numbers that move while a thread looks for the smallest one. */
#include "race.h"

#include <folio/range.h>
#include <folio/sequence.h>

static uint64_t oldest(struct folio_file *file)
{
	uint64_t sequence = 0;

	assert_int_equal(folio_file_oldest_sequence(file, &sequence), 0);
	return sequence;
}

static ssize_t oldest_run(struct task *task)
{
	return (ssize_t)oldest(task->file);
}

/*
 *	writer                    looks for the oldest      syncs another page
 *	has taken the page
 *	                          has found no dirty page
 *	its write fails: the page
 *	is dirty again
 *	                                                    succeeds
 *	                          must find the number
 */
void test_oldest_during_a_failing_write(void **state)
{
	struct world w = world_begin_logged(64, 0, 2 * PAGE);
	struct task writer = {.byte = 0}, looker = {.byte = 0};
	const struct folio_range other = {PAGE, PAGE};

	(void)state;
	mark_page(&w, 0, 5);
	sim_fail(w.sim, SIM_WRITE, 1, EIO, false);
	task_begin(&writer, &w, sync_run, FOLIO_PAUSE_run_collected);
	task_begin(&looker, &w, oldest_run, FOLIO_PAUSE_log_looked);
	assert_int_equal(task_end(&writer), -EIO);
	assert_int_equal(folio_file_sync(w.file, &other, 0), 0);
	assert_int_equal(oldest(w.file), 5);
	/* What the first thread must find, the next one must not. */
	assert_int_equal(folio_file_sync(w.file, NULL, 0), 0);
	assert_int_equal(oldest(w.file), UINT64_MAX);
	assert_int_equal(task_end(&looker), 5);
	world_end(&w);
}

static ssize_t close_run(struct task *task)
{
	return folio_file_close(task->file);
}

static int losing_flush(void *context, void *handle)
{
	(void)context;
	(void)handle;
	return -EDQUOT;
}

static ssize_t sync_last_page_run(struct task *task)
{
	const struct folio_range last = {2 * PAGE, PAGE};

	return folio_file_sync(task->file, &last, 0);
}

/*
 *	closes the file                                 has locked the first page
 *	learns that the file system has lost what was
 *	written: waits for the page, to mark it
 *	                                                opens the file, and changes the second page
 *	                                                syncs the third one
 *	                                                must find the numbers that were lost
 *	marks both
 *	                                                must find them still
 */
void test_oldest_while_lost_pages_become_dirty(void **state)
{
	struct world w = world_begin_logged(64, 0, 3 * PAGE);
	struct task closer = {.byte = 0}, syncer = {.byte = 0};
	const struct folio_range first = {0, PAGE};
	struct folio *page;

	(void)state;
	mark_page(&w, 0, 6);
	mark_page(&w, 1, 5);
	assert_int_equal(folio_file_writeback(w.file, 0, UINT64_MAX, FOLIO_WRITEBACK_WAIT), 0);
	assert_int_equal(folio_file_get(w.file, 0, 0, &page), 0);
	assert_int_equal(folio_lock(page), 0);
	closer.gate.at = &page->flags;
	w.cache->program_io.flush = losing_flush;
	task_begin(&closer, &w, close_run, FOLIO_PAUSE_futex_sleep);
	w.cache->program_io.flush = NULL;
	/* By now the open need not wait. */
	assert_int_equal(folio_file_open(w.cache, "a", O_RDWR, 0, &syncer.file), 0);
	/* The other thread is at its gate. */
	folio_unlock(page);
	folio_put(page);
	w.file = syncer.file;
	mark_page(&w, 1, 9);
	task_begin(&syncer, &w, sync_last_page_run, NOWHERE);
	assert_int_equal(task_end(&syncer), 0);
	assert_int_equal(oldest(syncer.file), 5);
	/* It is not the last one any longer: the other handle has the dirty pages. */
	assert_int_equal(task_end(&closer), 0);
	assert_int_equal(oldest(syncer.file), 5);
	/* Also the page that was dirty already. */
	assert_int_equal(folio_file_sync(syncer.file, &first, 0), 0);
	assert_int_equal(oldest(syncer.file), 5);
	assert_int_equal(folio_file_sync(syncer.file, NULL, 0), 0);
	assert_int_equal(oldest(syncer.file), UINT64_MAX);
	world_end(&w);
}
