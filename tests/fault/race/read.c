/* SPDX-License-Identifier: BSD-2-Clause */
/* read.c - readers and writers of one page: copies, fills, a large folio that is split. */
#include "race.h"

#include <folio/pin.h>

#include "base/compiler.h"
#include "core/walk.h"

/*
 *	writer                                          reader
 *	has copied new bytes into a page
 *	                                                must copy nothing from it: the page is
 *	                                                neither all old nor all new
 *	ends
 *	                                                copies all of it
 */
void test_copy_during_write(void **state)
{
	struct world w = world_begin(64, 0, 2 * PAGE);
	struct task writer = {.byte = 'n', .len = PAGE};
	char page[FOLIO_PAGE_SIZE], buf[64];

	(void)state;
	assert_int_equal(folio_file_read(w.file, page, PAGE, 0), PAGE);
	assert_int_equal(folio_file_read_nowait(w.file, buf, sizeof(buf), 0), sizeof(buf));
	task_begin(&writer, &w, write_run, FOLIO_PAUSE_write_copied);
	assert_int_equal(folio_file_read_nowait(w.file, buf, sizeof(buf), 0), -EAGAIN);
	assert_int_equal(folio_file_read_nowait(w.file, page, PAGE, 0), -EAGAIN);
	assert_int_equal(task_end(&writer), PAGE);
	assert_int_equal(folio_file_read_nowait(w.file, buf, sizeof(buf), 0), sizeof(buf));
	assert_int_equal(folio_file_read_nowait(w.file, page, PAGE, 0), PAGE);
	assert_int_equal(buf[63], 'n');
	assert_int_equal(page[PAGE - 1], 'n');
	world_end(&w);
}

/*
 *	reader                                          other
 *	has pinned the page, knows that 4096 bytes of
 *	it are valid
 *	                                                truncates the file to 100: the rest is zeros
 *	copies
 */
void test_copy_during_truncation(void **state)
{
	struct world w = world_begin(64, 0, PAGE);
	struct task reader = {.len = PAGE};

	(void)state;
	task_begin(&reader, &w, read_run, FOLIO_PAUSE_copy_measured);
	assert_int_equal(folio_file_truncate(w.file, 100), 0);
	assert_int_equal(task_end(&reader), 100);
	assert_int_equal(reader.second, 'o');
	world_end(&w);
}

static struct world *rewritten;

/* A write to the page that a reader is about to copy; later than that, none. */
static void write_again(struct gate *gate)
{
	uint32_t n = folio_u32_load_relaxed(&gate->arrived);
	char page[FOLIO_PAGE_SIZE];

	memset(page, (char)('a' + n), sizeof(page));
	if (n <= 16)
		assert_int_equal(folio_file_write(rewritten->file, page, PAGE, 0), PAGE);
}

static ssize_t read_nowait_run(struct task *task)
{
	char buf[FOLIO_PAGE_SIZE];

	return folio_file_read_nowait(task->file, buf, task->len, task->offset);
}

/*
 *	reader                                          writer
 *	has pinned the page
 *	                                                writes it
 *	copies, sees the change, copies again
 *	                                                writes it, 16 times in all
 *	takes the lock of the page, and copies what
 *	the last write has left
 *
 * One that does not wait takes no lock either.
 */
void test_copy_among_writes(void **state)
{
	struct world w = world_begin(64, 0, PAGE);
	struct task reader = {.len = PAGE, .gate = {.again = true, .open = 1, .call = write_again}};
	struct task other = reader;

	(void)state;
	rewritten = &w;
	task_begin(&reader, &w, read_run, FOLIO_PAUSE_copy_measured);
	assert_int_equal(task_end(&reader), PAGE);
	assert_int_equal(folio_u32_load_relaxed(&reader.gate.arrived), 17);
	assert_int_equal(reader.second, 'a' + 16);
	assert_int_equal(folio_file_sync(w.file, NULL, 0), 0);
	assert_int_equal(folio_file_invalidate(w.file, 0, PAGE), 0);
	task_begin(&other, &w, read_nowait_run, FOLIO_PAUSE_copy_measured);
	assert_int_equal(task_end(&other), -EAGAIN);
	assert_int_equal(folio_u32_load_relaxed(&other.gate.arrived), 16);
	world_end(&w);
}

/*
 *	reader                                          other
 *	has read the page from the file
 *	                                                invalidates it and overwrites all of it, in
 *	                                                another folio
 *	must return the new contents
 *
 * The data that the reader fetched may be half of what the other has begun to write back. (The
 * program workers once found this with seeds 7 and 593.)
 */
void test_read_overtaken(void **state)
{
	struct world w = world_begin(64, 0, PAGE);
	struct task reader = {.len = PAGE};
	char page[FOLIO_PAGE_SIZE];

	(void)state;
	task_begin(&reader, &w, read_run, FOLIO_PAUSE_fill_settled);
	assert_int_equal(folio_file_invalidate(w.file, 0, PAGE), 0);
	memset(page, 'n', sizeof(page));
	assert_int_equal(folio_file_write(w.file, page, PAGE, 0), PAGE);
	assert_int_equal(task_end(&reader), PAGE);
	assert_int_equal(reader.second, 'n');
	world_end(&w);
}

/*
 *	writer                                          other
 *	has filled a new page with its data
 *	                                                cannot read it yet, and drops it: it is not
 *	                                                dirty yet
 *	finds it dropped from its file, and starts over
 */
void test_written_page_dropped(void **state)
{
	struct world w = world_begin(64, 0, 2 * PAGE);
	struct task writer = {.byte = 'n', .len = PAGE};
	char byte;

	(void)state;
	task_begin(&writer, &w, write_run, FOLIO_PAUSE_fill_read);
	assert_int_equal(folio_file_read_nowait(w.file, &byte, 1, 0), -EAGAIN);
	assert_int_equal(folio_file_invalidate(w.file, 0, PAGE), 0);
	assert_int_equal(task_end(&writer), PAGE);
	assert_int_equal(folio_file_read(w.file, &byte, 1, 0), 1);
	assert_int_equal(byte, 'n');
	assert_int_equal(folio_file_sync(w.file, NULL, 0), 0);
	assert_int_equal(*disk(&w, 0, 1), 'n');
	world_end(&w);
}

/*
 *	writer                                          other
 *	splits a folio: its pieces are in the tree
 *	                                                drops them: their queue field still has the
 *	                                                value that the pool left in it
 *	queues the pieces
 */
void test_piece_dropped_before_it_is_queued(void **state)
{
	static char buf[64 * FOLIO_PAGE_SIZE];
	struct world w = world_begin(1024, 0, sizeof(buf));
	struct task writer = {.byte = 'w', .len = 1, .offset = 3 * PAGE};
	struct folio *folio;
	unsigned i;

	(void)state;
	assert_int_equal(folio_file_read(w.file, buf, sizeof(buf), 0), sizeof(buf));
	/* Through a handle for writing, the page would get a folio of its own. */
	w.file->writable = false;
	assert_int_equal(folio_file_get(w.file, 3, 0, &folio), 0);
	w.file->writable = true;
	assert_true(folio_order(folio) >= 2);
	/* The descriptors after the first hold whatever the pool left in them. */
	for (i = 1; i < 1u << folio_order(folio); i++) {
		folio_u8_store_relaxed(&folio[i].queue, POOL_QUEUE_STOCK);
		folio[i].next = folio[i].prev = POOL_NONE;
	}
	folio_put(folio);
	task_begin(&writer, &w, write_run, FOLIO_PAUSE_split_stored);
	assert_int_equal(folio_file_invalidate(w.file, 0, UINT64_MAX), 0);
	assert_int_equal(task_end(&writer), 1);
	assert_int_equal(folio_file_sync(w.file, NULL, 0), 0);
	assert_int_equal(*disk(&w, 3 * PAGE, 1), 'w');
	assert_int_equal(folio_file_invalidate(w.file, 0, UINT64_MAX), 0);
	progress_drain(&w.cache->progress);
	assert_int_equal(w.cache->queues.main.folios + w.cache->queues.small.folios, 0);
	assert_int_equal(w.cache->queues.main.pages + w.cache->queues.small.pages, 0);
	world_end(&w);
}

static struct task filler;

/* Called by the thread that splits, first when it has split, then when it has found the page. */
static void overtake(struct gate *gate)
{
	struct folio_file *file = filler.file;
	char page[FOLIO_PAGE_SIZE];

	if (gate->point == FOLIO_PAUSE_split_stored) {
		gate->point = FOLIO_PAUSE_split_found;
		assert_int_equal(folio_file_invalidate(file, 0, UINT64_MAX), 0);
		task_begin(&filler, NULL, read_run, FOLIO_PAUSE_fill_read);
		return;
	}
	gate->point = NOWHERE;
	assert_int_equal(folio_file_invalidate(file, 0, UINT64_MAX), 0);
	assert_int_equal(task_end(&filler), 200);
	memset(page, 'n', PAGE);
	assert_int_equal(folio_file_write(file, page, PAGE, filler.offset), PAGE);
}

/* Gets a page: ->second is its first byte. */
static ssize_t get_byte_run(struct task *task)
{
	struct folio *folio;
	void *page;
	int r = folio_file_get_page(task->file, task->offset >> FOLIO_PAGE_SHIFT, 0, &folio, &page);

	if (r)
		return r;
	task->second = *(char *)page;
	folio_put(folio);
	return 0;
}

/*
 *	thread that gets a page                         others
 *	splits its folio
 *	                                                drop the pieces, and fill the page again
 *	finds it, being filled
 *	                                                drop it; the fill ends; write the page
 *	must not take what the fill has read
 */
void test_split_page_overtaken(void **state)
{
	static char buf[64 * FOLIO_PAGE_SIZE];
	struct world w = world_begin(1024, 0, sizeof(buf));
	struct task getter = {.offset = 3 * PAGE, .gate = {.again = true, .call = overtake}};

	(void)state;
	assert_int_equal(folio_file_read(w.file, buf, sizeof(buf), 0), sizeof(buf));
	filler = (struct task){.file = w.file, .len = 200, .offset = 3 * PAGE};
	task_start(&getter, &w, get_byte_run, FOLIO_PAUSE_split_stored);
	assert_int_equal(task_end(&getter), 0);
	assert_int_equal(filler.done, 1);
	assert_int_equal(getter.second, 'n');
	world_end(&w);
}

static void pass_by(struct gate *gate)
{
	(void)gate;
}

/* As get_byte_run, for a thread that has used the cache: a hit takes the short path. */
static ssize_t get_hit_run(struct task *task)
{
	folio_file_size(task->file);
	return get_byte_run(task);
}

/* How often a get of page 3 passes the point. */
static uint32_t passes(struct world *w, enum folio_pause point)
{
	struct task getter = {.offset = 3 * PAGE, .gate = {.again = true, .call = pass_by}};

	task_start(&getter, w, get_hit_run, point);
	assert_int_equal(task_end(&getter), 0);
	return getter.gate.arrived;
}

/*
 * A get asks for its page once, if the folio is dirty, and is not split therefore; and interrupts
 * all threads once, if a pin of the folio is published.
 */
void test_get_that_need_not_split(void **state)
{
	static char buf[64 * FOLIO_PAGE_SIZE];
	struct world w = world_begin(1024, 0, sizeof(buf));
	struct folio_pin pin;

	(void)state;
	assert_int_equal(folio_file_write(w.file, buf, sizeof(buf), 0), sizeof(buf));
	assert_int_equal(passes(&w, FOLIO_PAUSE_pin_before_get), 1);
	assert_int_equal(folio_file_sync(w.file, NULL, 0), 0);
	assert_int_equal(folio_file_pin(w.file, 4, 0, &pin), 0);
	assert_true(folio_order(pin.folio) > 0);
	assert_int_equal(passes(&w, FOLIO_PAUSE_publish_scanned), 1);
	folio_unpin(&pin);
	world_end(&w);
}

/*
 *	reader                                          other
 *	stands in the tree, at the entry of a page
 *	                                                reads pages far apart, until all nodes have
 *	                                                been used several times, and the page and
 *	                                                its node are gone; writes the page
 *	looks at the entry again, and at the page
 */
void test_look_up_that_stalls(void **state)
{
	enum { APART = 64, COUNT = 24 };
	struct world w = world_begin(1024, 0, COUNT * APART * PAGE);
	struct task reader = {.len = 200, .offset = 0};
	unsigned round, i;
	char byte;

	(void)state;
#ifndef __SANITIZE_THREAD__
	/* The evictor may read it. */
	w.cache->tree_budget.nodes_max = COUNT / 2;
#endif
	assert_int_equal(folio_file_advise(w.file, FOLIO_ADVICE_RANDOM), 0);
	assert_int_equal(folio_file_read(w.file, &byte, 1, 0), 1);
	task_begin(&reader, &w, read_run, FOLIO_PAUSE_copy_before_slot);
	for (round = 0; round < 3; round++)
		for (i = 1; i < COUNT; i++)
			assert_int_equal(folio_file_read(w.file, &byte, 1, i * APART * PAGE), 1);
	for (i = 0; i < 200; i++)
		assert_int_equal(write_byte(&w, i, 'n'), 1);
	assert_int_equal(task_end(&reader), 200);
	assert_int_equal(reader.second, 'n');
	world_end(&w);
}

static ssize_t get_run(struct task *task)
{
	struct folio *folio;
	int r = folio_file_get(task->file, 0, 0, &folio);

	if (!r)
		folio_put(folio);
	return r;
}

/*
 *	freezer                                         reader
 *	has frozen a page, and holds the tree's lock
 *	                                                looks it up 16 times, then waits for
 *	                                                the lock
 *	unfreezes the page
 *	                                                finds it
 */
void test_look_up_of_a_frozen_page(void **state)
{
	struct world w = world_begin(64, 0, PAGE);
	struct folio_cache_stats stats = {.size = sizeof(stats)};
	struct tree *tree = &w.file->inode->tree;
	struct task reader = {.len = 0};
	struct folio *folio;
	char byte;

	(void)state;
	assert_int_equal(folio_file_read(w.file, &byte, 1, 0), 1);
	folio = entry_folio(tree_load(tree, 0));
	tree_lock(tree);
	assert_true(folio_ref_try_freeze(&folio->ref, 1));
	watch(&tree->lock);
	task_begin(&reader, &w, get_run, NOWHERE);
	wait_until(folio_u32_load_acquire(&lock_attempts));
	assert_int_equal(folio_cache_stats(w.cache, &stats), 0);
	assert_int_equal(stats.retries, 16);
	folio_ref_unfreeze(&folio->ref, 1);
	tree_unlock(tree);
	assert_int_equal(task_end(&reader), 0);
	world_end(&w);
}

/* Unlocks the pinned page when another thread sleeps until then. */
static ssize_t unlock_run(struct task *task)
{
	(void)task;
	assert_int_equal(folio_lock(pinned), 0);
	pinned_page[0] = 'n';
	wait_until(asleep(&pinned->flags) == 1);
	return folio_unlock(pinned);
}

static ssize_t lock_run(struct task *task)
{
	(void)task;
	wait_until(folio_u32_load_acquire(&pinned->flags) & FOLIO_LOCKED);
	assert_int_equal(folio_lock(pinned), 0);
	return folio_unlock(pinned);
}

/*
 *	changes a page in place                         waits for its lock
 *	unlocks it: the change has ended before another thread can begin one
 *	                                                is woken
 */
void test_change_ends_before_the_unlock(void **state)
{
	struct world w = world_begin(64, 0, PAGE);
	struct task first = {.len = 0}, second = {.len = 0};

	(void)state;
	pin_it(&w);
	first.gate.at = &pinned->flags;
	task_start(&second, &w, lock_run, NOWHERE);
	task_begin(&first, &w, unlock_run, FOLIO_PAUSE_futex_wake);
	assert_false(folio_u32_load_acquire(&pinned->flags) & FOLIO_LOCKED);
	assert_false(
		folio_u64_load_acquire(pool_version(&w.cache->pool, pinned)) & VERSION_CHANGING);
	assert_int_equal(task_end(&first), 0);
	assert_int_equal(task_end(&second), 0);
	folio_put(pinned);
	world_end(&w);
}
