/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * library.c - waits of the library's threads: the evictor, the flusher, the reaper.
 *
 * Each sleeps on a word when it has nothing to do. Work, or the request to stop, comes between its
 * last check and its sleep, or while it sleeps.
 */
#include "race.h"

#include "base/futex.h"
#include "cache/dirty.h"
#include "cache/release.h"

static ssize_t close_run(struct task *task)
{
	return folio_cache_close(task->w->cache);
}

/*
 *	thread of the library                           closes the cache
 *	checks the word, is about to sleep at @gate
 *	                                                stores the request to stop
 *	must find it, without a wake, and end
 *	                                                wakes
 */
static void stop_before_the_sleep(struct world *w, struct gate *gate)
{
	struct task closer = {.file = w->file, .gate.at = gate->at};
	struct gate found = {.point = FOLIO_PAUSE_futex_woken, .at = gate->at};

	arrived(gate);
	task_begin(&closer, w, close_run, FOLIO_PAUSE_futex_wake);
	folio_ptr_store_release(&any_thread, &found);
	open_gate(gate);
	arrived(&found);
	open_gate(&found);
	assert_int_equal(task_end(&closer), 0);
	world_closed(w);
}

/* ---- the evictor ---- */

static struct folio_cache_params small_cache(struct sim *sim)
{
	return (struct folio_cache_params){
		.size = sizeof(struct folio_cache_params),
		.bytes = 64 * PAGE,
		.flags = FOLIO_CACHE_NO_HUGE_PAGES,
		.io = &sim_ops,
		.io_context = sim,
	};
}

static ssize_t open_run(struct task *task)
{
	struct folio_cache_params params = small_cache(task->w->sim);

	return folio_cache_open(&params, &task->w->cache);
}

/*
 *	opens a cache                                   evictor
 *	checks whether the evictor runs
 *	                                                stores that it does
 *	sleeps: must find that, without a wake
 *	                                                wakes
 *
 * With @sleeps, the opener sleeps before the evictor stores that, and is woken.
 */
static void open_while_the_evictor_starts(bool sleeps)
{
	struct gate start = {.point = FOLIO_PAUSE_thread_started};
	struct gate wake = {.point = FOLIO_PAUSE_futex_wake};
	struct world w = {.sim = sim_new(1, SIM_INLINE)};
	struct task opener = {.len = 0};

	alarm(ALARM_SECONDS);
	folio_ptr_store_release(&any_thread, &start);
	task_begin(&opener, &w, open_run, FOLIO_PAUSE_futex_sleep);
	arrived(&start);
	wake.at = folio_ptr_load_relaxed(&opener.gate.object);
	if (sleeps) {
		open_gate(&opener.gate);
		wait_until(asleep((void *)wake.at) == 1);
		open_gate(&start);
	} else {
		folio_ptr_store_release(&any_thread, &wake);
		open_gate(&start);
		arrived(&wake);
		open_gate(&opener.gate);
		wait_until(task_done(&opener));
		open_gate(&wake);
	}
	assert_int_equal(task_end(&opener), 0);
	assert_int_equal(folio_cache_close(w.cache), 0);
	world_closed(&w);
}

void test_evictor_starts(void **state)
{
	(void)state;
	open_while_the_evictor_starts(false);
	open_while_the_evictor_starts(true);
}

/* Has the evictor wake up, find nothing to do, and arrive at the gate. */
static void evictor_about_to_sleep(struct world *w, struct gate *gate)
{
	folio_u32 *word = &w->cache->evict.wakeup;

	wait_until(asleep(word) == 1);
	gate->point = FOLIO_PAUSE_futex_sleep;
	gate->at = word;
	folio_ptr_store_release(&any_thread, gate);
	folio_u32_store_release(word, 1);
	futex_wake(word, 1);
	arrived(gate);
}

static bool is_short(struct world *w)
{
	return pool_free_pages(&w->cache->pool) < folio_u64_load_relaxed(&w->cache->evict.low);
}

static void read_page(struct world *w, uint64_t *index)
{
	char byte;

	assert_int_equal(folio_file_read(w->file, &byte, 1, (*index)++ * PAGE), 1);
}

/*
 *	evictor                                         reader
 *	finds enough free pages
 *	                                                takes pages, wakes the evictor
 *	sleeps: must find that there is work
 */
void test_work_for_the_evictor(void **state)
{
	struct world w = world_begin(256, 0, 1024 * PAGE);
	struct gate gate = {.again = false}, woken = {.point = FOLIO_PAUSE_futex_woken};
	uint64_t index = 0;

	(void)state;
	assert_true(folio_u64_load_relaxed(&w.cache->evict.low) > 1);
	assert_int_equal(folio_file_advise(w.file, FOLIO_ADVICE_RANDOM), 0);
	evictor_about_to_sleep(&w, &gate);
	while (!is_short(&w))
		read_page(&w, &index);
	open_gate(&gate);
	wait_until(!is_short(&w));
	/* And while it sleeps. */
	wait_until(asleep(&w.cache->evict.wakeup) == 1);
	woken.at = &w.cache->evict.wakeup;
	folio_ptr_store_release(&any_thread, &woken);
	while (!is_short(&w))
		read_page(&w, &index);
	arrived(&woken);
	open_gate(&woken);
	world_end(&w);
}

void test_stop_of_the_evictor(void **state)
{
	struct world w = world_begin(64, 0, 0);
	struct gate gate = {.again = false};

	(void)state;
	assert_int_equal(folio_file_close(w.file), 0);
	evictor_about_to_sleep(&w, &gate);
	stop_before_the_sleep(&w, &gate);
}

/* ---- the flusher ---- */

/* Has the flusher wake up, find nothing to do, and arrive at the gate. */
static void flusher_about_to_sleep(struct world *w, struct gate *gate)
{
	folio_u32 *word = &w->cache->writeback.wakeup;

	/* Otherwise it may arrive before it is woken, and then find that wake. */
	wait_until(asleep(word) == 1);
	gate->point = FOLIO_PAUSE_futex_sleep;
	gate->at = word;
	folio_ptr_store_release(&any_thread, gate);
	dirty_wake_flusher(&w->cache->writeback, WAKE_SOME);
	arrived(gate);
}

/*
 *	flusher                                         other
 *	has done all that was requested
 *	                                                makes a page dirty, requests a flush
 *	sleeps: must find the request
 */
void test_work_for_the_flusher(void **state)
{
	struct world w = world_begin(64, 0, PAGE);
	struct gate gate = {.again = false};

	(void)state;
	flusher_about_to_sleep(&w, &gate);
	assert_int_equal(write_byte(&w, 0, 'x'), 1);
	dirty_request_flush(w.cache);
	open_gate(&gate);
	wait_until(passes_ended(w.cache) == 1);
	/* And while it sleeps. */
	wait_until(asleep(&w.cache->writeback.wakeup) == 1);
	assert_int_equal(write_byte(&w, 0, 'y'), 1);
	dirty_request_flush(w.cache);
	wait_until(passes_ended(w.cache) == 2);
	assert_int_equal(*disk(&w, 0, 1), 'y');
	world_end(&w);
}

void test_stop_of_the_flusher(void **state)
{
	struct world w = world_begin(64, 0, PAGE);
	struct gate gate = {.again = false};

	(void)state;
	assert_int_equal(folio_file_close(w.file), 0);
	flusher_about_to_sleep(&w, &gate);
	stop_before_the_sleep(&w, &gate);
}

/* ---- the reaper ---- */

static folio_u32 reaped;
static struct gate in_release; /* in the release function of the type */

static void reap(struct folio *folio, void *context)
{
	(void)folio;
	(void)context;
	folio_u32_fetch_add_release(&in_release.arrived, 1);
	wait_until(folio_u32_load_acquire(&in_release.open));
	folio_u32_fetch_add_release(&reaped, 1);
}

/* Registers a type, which starts the reaper. It stops when it has found nothing to release. */
static unsigned reaper_about_to_sleep(struct world *w, struct gate *gate)
{
	struct folio_type_params params = {.size = sizeof(params), .name = "own", .release = reap};
	unsigned type;

	folio_u32_store_relaxed(&reaped, 0);
	folio_u32_store_relaxed(&in_release.arrived, 0);
	open_gate(&in_release);
	gate->point = FOLIO_PAUSE_futex_sleep;
	gate->at = &w->cache->reaper_wakeup;
	folio_ptr_store_release(&any_thread, gate);
	assert_int_equal(folio_type_register(w->cache, &params, &type), 0);
	arrived(gate);
	return type;
}

static void release_one(struct world *w, unsigned type)
{
	struct folio *folio;

	assert_int_equal(folio_alloc(w->cache, 0, type, NULL, &folio), 0);
	folio_put(folio);
}

/*
 *	reaper                                          other
 *	finds nothing to release
 *	                                                puts the last reference of a folio
 *	sleeps: must find that there is one
 */
void test_work_for_the_reaper(void **state)
{
	struct world w = world_begin(64, 0, 0);
	struct gate gate = {.again = false};
	unsigned type;

	(void)state;
	type = reaper_about_to_sleep(&w, &gate);
	release_one(&w, type);
	open_gate(&gate);
	wait_until(folio_u32_load_acquire(&reaped) == 1);
	/* And while it sleeps. */
	wait_until(asleep(&w.cache->reaper_wakeup) == 1);
	release_one(&w, type);
	wait_until(folio_u32_load_acquire(&reaped) == 2);
	world_end(&w);
}

static ssize_t drain_run(struct task *task)
{
	folio_reaper_drain(task->w->cache);
	return folio_u32_load_acquire(&reaped);
}

/*
 *	waits for the reaper                            reaper
 *	                                                is in the release function
 *	checks: a folio is not released yet
 *	                                                has released it
 *	sleeps: must find that, without a wake
 *	                                                wakes
 *
 * Without @wake, it sleeps before the folio is released, and is woken.
 */
static void drain_while_released(struct world *w, unsigned type, struct gate *wake)
{
	folio_u32 *done = &w->cache->reaper_done;
	struct task drainer = {.gate.at = done};
	uint32_t before = folio_u32_load_acquire(&reaped);

	folio_u32_store_relaxed(&in_release.arrived, 0);
	folio_u32_store_release(&in_release.open, 0);
	release_one(w, type);
	arrived(&in_release);
	if (!wake) {
		task_begin(&drainer, w, drain_run, NOWHERE);
		wait_until(asleep(done) == 1);
		open_gate(&in_release);
	} else {
		task_begin(&drainer, w, drain_run, FOLIO_PAUSE_futex_sleep);
		wake->point = FOLIO_PAUSE_futex_wake;
		wake->at = done;
		folio_ptr_store_release(&any_thread, wake);
		open_gate(&in_release);
		arrived(wake);
		open_gate(&drainer.gate);
		wait_until(task_done(&drainer));
		open_gate(wake);
	}
	assert_int_equal(task_end(&drainer), before + 1);
}

void test_wait_for_the_reaper(void **state)
{
	struct world w = world_begin(64, 0, 0);
	struct gate gate = {.again = false}, wake = {.again = false};
	unsigned type;

	(void)state;
	type = reaper_about_to_sleep(&w, &gate);
	open_gate(&gate);
	drain_while_released(&w, type, &wake);
	drain_while_released(&w, type, NULL);
	world_end(&w);
}

void test_stop_of_the_reaper(void **state)
{
	struct world w = world_begin(64, 0, 0);
	struct gate gate = {.again = false};

	(void)state;
	assert_int_equal(folio_file_close(w.file), 0);
	reaper_about_to_sleep(&w, &gate);
	stop_before_the_sleep(&w, &gate);
}
