/* SPDX-License-Identifier: BSD-2-Clause */
/* evict.c - callers that find no free page. */
#include "race.h"

#include "base/deadline.h"
#include "evict/bounds.h"

#define BUDGET 64

/*
 * A cache in which page 0 of the file, pinned in *held, is the only cached page, and the program
 * has taken all other page frames.
 */
struct full {
	struct world world;
	struct folio *held, *taken[BUDGET];
	unsigned count;
};

static void full_begin(struct full *full)
{
	full->world = world_begin(BUDGET, 0, 100 * PAGE);
	full->count = 0;
	assert_int_equal(folio_file_advise(full->world.file, FOLIO_ADVICE_RANDOM), 0);
	assert_int_equal(folio_file_get(full->world.file, 0, 0, &full->held), 0);
	assert_int_equal(folio_order(full->held), 0);
	while (!folio_alloc(
		full->world.cache, 0, FOLIO_TYPE_PRIVATE, NULL, &full->taken[full->count]))
		assert_true(++full->count < BUDGET);
}

static void full_end(struct full *full)
{
	while (full->count > 0)
		folio_put(full->taken[--full->count]);
	world_end(&full->world);
}

static struct world *hit_world;

static void hit_as_holder(struct gate *gate)
{
	struct folio *folio;

	/* Enough to fail; then the caller may end. */
	if (folio_u32_load_relaxed(&gate->arrived) > 20)
		return;
	assert_int_equal(folio_file_get(hit_world->file, 0, FOLIO_GET_NOWAIT, &folio), 0);
	folio_put(folio);
	assert_int_equal(folio_cache_pins(hit_world->cache, NULL, NULL), BUDGET);
}

/*
 *	reader of another page                          program
 *	scans: everything is pinned
 *	                                                pins the pinned page again, as a holder
 *	                                                because the page is locked, and puts that
 *	                                                pin; lists all pins
 *	is refused: no page can be evicted now that could not be before
 */
void test_hits_are_no_progress(void **state)
{
	struct task reader = {.len = 1, .offset = 99 * PAGE, .gate.again = true};
	struct full full;

	(void)state;
	full_begin(&full);
	hit_world = &full.world;
	assert_int_equal(folio_lock(full.held), 0);
	reader.gate.call = hit_as_holder;
	task_begin(&reader, &full.world, read_run, FOLIO_PAUSE_evict_isolated);
	assert_int_equal(task_end(&reader), -ENOMEM);
	assert_true(reader.gate.arrived <= 4);
	assert_int_equal(folio_unlock(full.held), 0);
	folio_put(full.held);
	full_end(&full);
}

/*
 *	first reader            second reader           third, of another page
 *	holds the page
 *	                        holds the page
 *	                                                scans: the page is held; waits
 *	puts the page
 *	                        puts the page
 *	                                                evicts it, and does not wait until the
 *	                                                device has nothing more to do
 */
void test_page_held_by_two(void **state)
{
	struct task first = {.len = 200}, second = {.len = 200};
	struct task third = {.len = 1, .offset = 99 * PAGE};
	struct progress *progress;
	struct full full;

	(void)state;
	full_begin(&full);
	progress = &full.world.cache->progress;
	progress->patience_ms = UINT32_MAX;
	progress_begin(progress);
	/* Readers that find the version odd go by the tree, with a reference. */
	assert_int_equal(folio_lock(full.held), 0);
	task_begin(&first, &full.world, read_run, FOLIO_PAUSE_pin_before_slot);
	task_begin(&second, &full.world, read_run, FOLIO_PAUSE_pin_before_slot);
	folio_unlock(full.held);
	folio_put(full.held);
	task_begin(&third, &full.world, read_run, NOWHERE);
	wait_until(folio_u32_load_acquire(&progress->waiters) || task_done(&third));
	assert_int_equal(task_end(&first), 200);
	assert_int_equal(task_end(&second), 200);
	assert_int_equal(task_end(&third), 1);
	progress_end(progress, false);
	full_end(&full);
}

/*
 *	program                         reader                  reader of another page
 *	locks the page
 *	                                holds it, waits for
 *	                                the lock
 *	                                                        scans; waits for the holder, but
 *	                                                        not for ever: is refused
 *	unlocks the page
 */
void test_holder_that_is_delayed(void **state)
{
	struct task reader = {.len = 200};
	struct full full;
	char byte;

	(void)state;
	full_begin(&full);
	full.world.cache->progress.patience_ms = 1;
	assert_int_equal(folio_lock(full.held), 0);
	task_begin(&reader, &full.world, read_run, NOWHERE);
	wait_until(folio_u32_load_acquire(&full.held->flags) & FOLIO_WAITERS);
	assert_int_equal(folio_file_read(full.world.file, &byte, 1, 99 * PAGE), -ENOMEM);
	folio_unlock(full.held);
	assert_int_equal(task_end(&reader), 200);
	folio_put(full.held);
	full_end(&full);
}

/*
 *	reader of another page          others, such as syncs of pinned pages
 *	scans: everything is pinned
 *	waits                           one begins before another one ends, again and again
 *	is refused
 */
void test_always_busy(void **state)
{
	struct task reader = {.len = 1, .offset = 99 * PAGE};
	struct progress *progress;
	struct full full;

	(void)state;
	full_begin(&full);
	progress = &full.world.cache->progress;
	progress->patience_ms = 1;
	progress_begin(progress);
	task_begin(&reader, &full.world, read_run, NOWHERE);
	while (!task_done(&reader)) {
		progress_begin(progress);
		progress_end(progress, false);
	}
	progress_end(progress, false);
	assert_int_equal(task_end(&reader), -ENOMEM);
	folio_put(full.held);
	full_end(&full);
}

/* An activity that waits for a slow device is waited for, however long that takes. */
void test_busy_for_long(void **state)
{
	struct timespec until = deadline_in(20);
	struct progress progress;

	(void)state;
	progress_init(&progress);
	progress.patience_ms = 1;
	progress_begin(&progress);
	assert_int_equal(progress_wait(&progress, progress_seen(&progress), &until), -ETIMEDOUT);
	progress_end(&progress, false);
}

/*
 *	sync                            reader of another page
 *	takes the dirty page for a
 *	write
 *	                                scans: all pages are referenced; must wait for the write
 *	writes
 *	                                evicts the page
 */
void test_page_about_to_be_written(void **state)
{
	struct task syncer = {0}, reader = {.len = 1, .offset = 99 * PAGE};
	struct progress *progress;
	struct full full;

	(void)state;
	full_begin(&full);
	progress = &full.world.cache->progress;
	assert_int_equal(write_byte(&full.world, 0, 'x'), 1);
	folio_put(full.held);
	task_begin(&syncer, &full.world, sync_run, FOLIO_PAUSE_run_collected);
	assert_true(progress_expected(progress, progress_seen(progress)));
	task_begin(&reader, &full.world, read_run, NOWHERE);
	wait_until(folio_u32_load_acquire(&progress->waiters) || task_done(&reader));
	assert_int_equal(task_end(&syncer), 0);
	assert_int_equal(task_end(&reader), 1);
	full_end(&full);
}

/*
 *	reader                                          other, which needs memory
 *	has read its page, and keeps the folio: is a
 *	holder now, and no longer busy
 *	                                                is woken by that: must find the holder
 */
void test_fill_becomes_holder(void **state)
{
	struct world w = world_begin(BUDGET, 0, PAGE);
	struct progress *progress = &w.cache->progress;
	struct task reader = {.len = 1, .gate.at = &progress->event};

	(void)state;
	/* In place of the other. */
	folio_u32_fetch_add_relaxed(&progress->waiters, 1);
	task_begin(&reader, &w, read_run, FOLIO_PAUSE_futex_wake);
	assert_int_equal(folio_u32_load_acquire(&progress->busy), 0);
	assert_true(progress_expected(progress, progress_seen(progress)));
	assert_int_equal(task_end(&reader), 1);
	folio_u32_fetch_sub_relaxed(&progress->waiters, 1);
	world_end(&w);
}

static struct inode *hand_inode;

static void node_leaves(struct gate *gate)
{
	(void)gate;
	folio_u64_fetch_add_relaxed(&hand_inode->tree.generation, 1);
}

/* The hand of a file looks for a page, while this thread also has the lock of the tree. */
static ssize_t hand_run(struct task *task)
{
	struct folio_cache *cache = task->w->cache;
	struct scan scan = {.looks = 5, .own = hand_inode};
	struct folio *folio;

	tree_lock(&hand_inode->tree);
	queues_lock(&cache->queues);
	folio = bounds_next(cache, &scan);
	queues_unlock(&cache->queues);
	tree_unlock(&hand_inode->tree);
	return folio ? -1 : (ssize_t)scan.looks;
}

/*
 * A node leaves the tree in each step of a hand, which has the lock of the queues. It must not take
 * the tree's: a thread that drops pages has that, and waits for the queues.
 */
void test_hand_while_nodes_leave(void **state)
{
	struct world w = world_begin(BUDGET, 0, 8 * PAGE);
	struct task hand = {.gate = {.again = true, .call = node_leaves}};
	char byte;

	(void)state;
	assert_int_equal(folio_file_read(w.file, &byte, 1, 0), 1);
	hand_inode = w.file->inode;
	task_begin(&hand, &w, hand_run, FOLIO_PAUSE_walk_done);
	assert_int_equal(task_end(&hand), 0);
	world_end(&w);
}
