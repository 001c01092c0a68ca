/* SPDX-License-Identifier: BSD-2-Clause */
/* async.c - requests of a completion queue that are set aside while what they wait for ends. */
#include "race.h"

#include <folio/queue.h>

#include "async/request.h"

static struct folio_queue *queue;

static ssize_t read_async_run(struct task *task)
{
	static char buf[FOLIO_PAGE_SIZE];
	ssize_t r;

	memset(buf, 0, sizeof(buf));
	r = folio_file_read_async(task->file, buf, task->len, task->offset, queue, 1);
	task->second = buf[task->len - 1];
	return r;
}

static struct world begin(void)
{
	struct world w = world_begin_steps(64, 0, 8 * PAGE);

	assert_int_equal(folio_file_advise(w.file, FOLIO_ADVICE_RANDOM), 0);
	assert_int_equal(folio_queue_open(w.cache, NULL, &queue), 0);
	return w;
}

static void end(struct world *w)
{
	assert_int_equal(folio_queue_close(queue), 0);
	world_end(w);
}

static void end_fill(struct world *w)
{
	while (sim_step(w->sim, 1))
		continue;
}

static void read_while_the_fill_ends(enum folio_pause point)
{
	struct world w = begin();
	struct task reader = {.len = PAGE};
	struct folio_queue_entry entry;

	task_begin(&reader, &w, read_async_run, point);
	end_fill(&w);
	assert_int_equal(task_end(&reader), PAGE);
	assert_int_equal(reader.second, 'o');
	/* Nothing is left: no entry, no wake-up. */
	assert_false(queue->signalled);
	assert_int_equal(folio_queue_reap(queue, &entry, 1, 0), 0);
	end(&w);
}

/*
 *	reader                                          fill
 *	finds the page locked; its watch is in the list
 *	                                                ends, and finds no flag
 *	finds that it has ended
 */
void test_fill_ends_before_the_flag(void **state)
{
	(void)state;
	read_while_the_fill_ends(FOLIO_PAUSE_watch_insert);
}

/*
 *	reader                                          fill
 *	attaches its watch
 *	                                                ends, and calls the watch
 *	is about to set the request aside: continues
 */
void test_fill_ends_before_waiting(void **state)
{
	(void)state;
	read_while_the_fill_ends(FOLIO_PAUSE_async_stepped);
}

static ssize_t step_run(struct task *task)
{
	end_fill(task->w);
	return 0;
}

/*
 *	fill                                            reader
 *	                                                attaches its watch
 *	ends; is about to call it
 *	                                                is cancelled, and reaped: not in use any
 *	                                                more, or by another read
 *	finds no watch
 */
void test_watch_called_late(void **state)
{
	static char buf[FOLIO_PAGE_SIZE];
	struct world w = begin();
	struct task fill = {.len = 0};
	struct folio_queue_entry entry;

	(void)state;
	assert_int_equal(folio_file_read_async(w.file, buf, PAGE, 0, queue, 1), -EINPROGRESS);
	task_begin(&fill, &w, step_run, FOLIO_PAUSE_watch_call);
	assert_int_equal(folio_queue_cancel(queue, 1), 1);
	assert_int_equal(folio_queue_reap(queue, &entry, 1, 0), 1);
	assert_int_equal(entry.result, -ECANCELED);
	assert_int_equal(task_end(&fill), 0);
	/* Nothing has been called for a request that is not in use. */
	assert_int_equal(queue->requests[0].state, REQUEST_FREE);
	assert_false(queue->requests[0].woken);
	assert_null(queue->requests[0].watch.link);
	end(&w);
}
