/* SPDX-License-Identifier: BSD-2-Clause */
/* close.c - a close, and calls that outlived their deadline. */
#include "race.h"

#include "cache/thread.h"
#include "evict/evict.h"

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

static ssize_t evict_run(struct task *task)
{
	struct folio_cache *cache = task->w->cache;

	return evict_until(cache, cache->pool.pages, true, thread_enter(cache, cache->id));
}

static ssize_t reopen_run(struct task *task)
{
	char byte;

	assert_int_equal(folio_file_open(task->w->cache, "a", O_RDWR, 0, &task->w->file), 0);
	return folio_file_read(task->w->file, &byte, 1, 0);
}

static void keep_one(struct world *w)
{
	char byte;

	w->cache->closed.max = 1;
	assert_int_equal(folio_file_read(w->file, &byte, 1, 0), 1);
	assert_int_equal(folio_file_close(w->file), 0);
	assert_int_equal(w->cache->closed.files, 1);
}

/*
 *	evictor                                         program
 *	                                                closes the file; its page stays
 *	isolates the page, with a reference
 *	                                                opens the file, pins the page for a
 *	                                                moment, and closes it: what others hold
 *	                                                does not stay, and so the inode is freed
 *	                                                opens it again, and reads it
 *	finds that the page has left, and puts the
 *	last reference
 */
void test_close_of_evicted_page(void **state)
{
	struct world w = world_begin(64, 0, PAGE);
	struct task evictor = {.len = 0};
	char byte = 0;

	(void)state;
	keep_one(&w);
	task_begin(&evictor, &w, evict_run, FOLIO_PAUSE_evict_isolated);
	arrived(&evictor.gate);
	assert_int_equal(folio_file_open(w.cache, "a", O_RDONLY, 0, &w.file), 0);
	pin_it(&w);
	folio_put(pinned);
	assert_int_equal(folio_file_close(w.file), 0);
	assert_int_equal(w.cache->closed.files, 0);
	assert_int_equal(w.cache->inodes.values, 0);
	assert_int_equal(folio_file_open(w.cache, "a", O_RDWR, 0, &w.file), 0);
	assert_int_equal(folio_file_read(w.file, &byte, 1, 0), 1);
	assert_int_equal(byte, 'o');
	open_gate(&evictor.gate);
	task_end(&evictor);
	world_end(&w);
}

/*
 *	evictor                                         program
 *	isolates the page of an open file
 *	                                                closes the file; its page stays
 *	takes the page, the last one of the file
 *	                                                opens the file, and reads the page again
 */
void test_eviction_after_close(void **state)
{
	struct world w = world_begin(64, 0, PAGE);
	struct task evictor = {.len = 0};
	char byte = 0;

	(void)state;
	keep_one(&w);
	assert_int_equal(folio_file_open(w.cache, "a", O_RDONLY, 0, &w.file), 0);
	task_begin(&evictor, &w, evict_run, FOLIO_PAUSE_evict_isolated);
	arrived(&evictor.gate);
	assert_int_equal(folio_file_close(w.file), 0);
	assert_int_equal(w.cache->closed.files, 1);
	open_gate(&evictor.gate);
	task_end(&evictor);
	assert_int_equal(w.cache->closed.files, 0);
	assert_non_null(w.cache->closed.emptied.first);
	assert_int_equal(folio_file_open(w.cache, "a", O_RDWR, 0, &w.file), 0);
	assert_null(w.cache->closed.emptied.first);
	assert_int_equal(folio_file_read(w.file, &byte, 1, 0), 1);
	assert_int_equal(byte, 'o');
	world_end(&w);
}

/*
 *	evictor                                         program
 *	                                                closes the file; its page stays
 *	freezes the page; has the tree's lock
 *	                                                opens the file: waits for the lock
 *	erases the last page of the file, which is to
 *	be freed
 *	                                                has opened it, and reads the page again
 */
void test_open_of_evicted_file(void **state)
{
	struct world w = world_begin(64, 0, PAGE);
	struct task evictor = {.len = 0};
	struct task reader = {.len = 1};

	(void)state;
	keep_one(&w);
	task_begin(&evictor, &w, evict_run, FOLIO_PAUSE_evict_frozen);
	arrived(&evictor.gate);
	watch(&w.cache->closed.kept.first->tree.lock);
	task_start(&reader, &w, reopen_run, NOWHERE);
	wait_until(folio_u32_load_acquire(&lock_attempts) > 0);
	open_gate(&evictor.gate);
	task_end(&evictor);
	assert_int_equal(task_end(&reader), 1);
	watch(NULL);
	assert_int_equal(w.cache->closed.files, 0);
	assert_null(w.cache->closed.emptied.first);
	world_end(&w);
}
