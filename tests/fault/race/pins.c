/* SPDX-License-Identifier: BSD-2-Clause */
/* pins.c - the walk over pins. */
#include "race.h"

#include <folio/pins.h>

#include "core/walk.h"

static bool remember_references(const struct folio_pinned *pinned_folio, void *context)
{
	*(uint32_t *)context = pinned_folio->references;
	return true;
}

/* The references to the one pinned folio; 0: the walk does not list it. */
static ssize_t pins_run(struct task *task)
{
	uint32_t references = 0;

	folio_cache_pins(task->w->cache, remember_references, &references);
	return references;
}

/*
 *	reader                                          other
 *	fills a page: the version is even
 *	                                                pins it
 *	                                                lists pins
 *	sets UPTODATE
 */
void test_pin_before_the_page_is_uptodate(void **state)
{
	struct world w = world_begin(1024, 0, 16 * PAGE);
	struct task reader = {.len = 1, .offset = 5 * PAGE}, walker = {.w = &w};
	struct folio *folio;

	(void)state;
	task_begin(&reader, &w, read_run, FOLIO_PAUSE_fill_settled);
	assert_int_equal(folio_file_get(w.file, 5, FOLIO_GET_NOWAIT, &folio), 0);
	assert_true(pins_run(&walker) >= 1);
	assert_int_equal(task_end(&reader), 1);
	assert_int_equal(pins_run(&walker), 1);
	folio_put(folio);
	world_end(&w);
}

/*
 * Pins a page and starts a walk over pins, which stops after reading the owner and before taking
 * the lock of the owner's tree.
 */
static struct folio *pin_during_walk(struct world *w, struct task *walker)
{
	struct folio *folio;

	assert_int_equal(folio_file_get(w->file, 5, 0, &folio), 0);
	task_begin(walker, w, pins_run, FOLIO_PAUSE_pins_owner);
	return folio;
}

/*
 *	walker                                          other, which has a pin
 *	finds the folio in a file
 *	                                                drops it from the file
 *	counts: the file has no reference to it
 */
void test_page_dropped_while_pins_are_counted(void **state)
{
	struct world w = world_begin(1024, 0, 16 * PAGE);
	struct task walker = {.offset = 0};
	struct folio *folio = pin_during_walk(&w, &walker);

	(void)state;
	assert_int_equal(folio_file_invalidate(w.file, 0, UINT64_MAX), 0);
	assert_true(task_end(&walker) >= 1);
	folio_put(folio);
	world_end(&w);
}

/*
 *	walker                                          other, which has a pin
 *	finds the folio clean
 *	                                                dirties it: one reference more
 *	counts
 */
void test_page_dirtied_while_pins_are_counted(void **state)
{
	struct world w = world_begin(1024, 0, 16 * PAGE);
	struct task walker = {.offset = 0};
	struct folio *folio = pin_during_walk(&w, &walker);

	(void)state;
	assert_int_equal(folio_lock(folio), 0);
	assert_int_equal(folio_mark_dirty(folio, 0), 0);
	folio_unlock(folio);
	assert_int_equal(task_end(&walker), 1);
	folio_put(folio);
	world_end(&w);
}

/*
 *	walker                                          other
 *	examines a folio, with a reference
 *	                                                drops the pin on it
 *	                                                needs a page; all others are pinned: waits
 *	                                                for this one
 *	continues
 */
void test_page_referenced_by_pin_walk(void **state)
{
	struct world w = world_begin(64, 0, 100 * PAGE);
	struct task walker = {.offset = 0}, reader = {.len = 1, .offset = 99 * PAGE};
	struct folio *pin[64], *held;
	unsigned n = 0;

	(void)state;
	assert_int_equal(folio_file_advise(w.file, FOLIO_ADVICE_RANDOM), 0);
	assert_int_equal(folio_file_get(w.file, 0, 0, &held), 0);
	assert_int_equal(folio_order(held), 0);
	while (!folio_alloc(w.cache, 0, FOLIO_TYPE_PRIVATE, NULL, &pin[n]))
		assert_true(++n < 64);
	task_begin(&walker, &w, pins_run, FOLIO_PAUSE_pins_owner);
	folio_put(held);
	task_begin(&reader, &w, read_run, NOWHERE);
	wait_until(folio_u32_load_acquire(&w.cache->progress.waiters) || task_done(&reader));
	task_end(&walker);
	assert_int_equal(task_end(&reader), 1);
	while (n > 0)
		folio_put(pin[--n]);
	world_end(&w);
}

/* ---- the table of a program's pins ---- */

/* As the macros of FOLIO_REF_DEBUG report a pin, which was taken at line @offset. */
static ssize_t note_run(struct task *task)
{
	folio_pin_taken(pinned, "race", (int)task->offset);
	return 0;
}

struct lines {
	uint32_t holders, unknown;
	int line[FOLIO_HOLDERS_MAX];
};

static bool remember_lines(const struct folio_pinned *pinned_folio, void *context)
{
	struct lines *lines = context;
	uint32_t i;

	if (pinned_folio->folio != pinned)
		return true;
	lines->holders = pinned_folio->holders;
	lines->unknown = pinned_folio->unknown;
	for (i = 0; i < lines->holders; i++)
		lines->line[i] = pinned_folio->holder[i].line;
	return false;
}

/*
 *	first                                           second
 *	records the first pin of the program: makes the
 *	table
 *	                                                records a pin, and makes the table, too
 *	must use the table of the second
 */
void test_pins_in_a_new_table(void **state)
{
	struct world w = world_begin(64, 0, PAGE);
	struct task first = {.offset = 1}, second = {.offset = 2};
	struct lines lines = {0};

	(void)state;
	pin_it(&w);
	folio_get(pinned);
	task_begin(&first, &w, note_run, FOLIO_PAUSE_pins_made);
	task_begin(&second, &w, note_run, NOWHERE);
	task_end(&second);
	task_end(&first);
	folio_cache_pins(w.cache, remember_lines, &lines);
	assert_int_equal(lines.holders, 2);
	assert_int_equal(lines.unknown, 0);
	assert_int_equal(lines.line[0] + lines.line[1], 3);
	folio_put(pinned);
	folio_put(pinned);
	world_end(&w);
}

static folio_u32 noted, note_again;

static ssize_t note_twice_run(struct task *task)
{
	folio_pin_taken(pinned, "race", 1);
	folio_u32_store_release(&noted, 1);
	wait_until(folio_u32_load_acquire(&note_again));
	folio_pin_taken(pinned, "race", 1);
	(void)task;
	return 0;
}

/*
 *	first                                           second
 *	has recorded a pin
 *	                                                records one, before that in the list
 *	records a pin at the same line; is about to
 *	take the lock
 *	                                                puts its pin: its entry is free
 *	must find its own entry, under the lock
 */
void test_pin_put_while_one_is_recorded(void **state)
{
	struct world w = world_begin(64, 0, PAGE);
	struct task first = {.gate.again = true};
	struct lines lines = {0};

	(void)state;
	folio_u32_store_relaxed(&noted, 0);
	folio_u32_store_relaxed(&note_again, 0);
	pin_it(&w);
	folio_pin_taken(pinned, "race", 2);
	/* Its first field is the lock. */
	first.gate.at = folio_ptr_load_acquire(&w.cache->pins);
	folio_pin_put(pinned);
	task_begin(&first, &w, note_twice_run, LOCKING);
	open_gate(&first.gate);
	wait_until(folio_u32_load_acquire(&noted));
	folio_pin_taken(pinned, "race", 2);
	folio_u32_store_release(&first.gate.open, 0);
	folio_u32_store_release(&note_again, 1);
	wait_until(folio_u32_load_acquire(&first.gate.arrived) == 2);
	folio_pin_put(pinned);
	task_end(&first);
	folio_get(pinned);
	folio_cache_pins(w.cache, remember_lines, &lines);
	assert_int_equal(lines.holders, 1);
	assert_int_equal(lines.unknown, 0);
	assert_int_equal(lines.line[0], 1);
	folio_put(pinned);
	folio_put(pinned);
	world_end(&w);
}

static ssize_t lines_run(struct task *task)
{
	struct lines lines = {0};

	folio_cache_pins(task->w->cache, remember_lines, &lines);
	return lines.holders ? lines.line[0] : 0;
}

/*
 *	walker                                          program
 *	finds a pinned folio, and its holder
 *	                                                drops the page from its file and puts its
 *	                                                pin; takes the frame for another use, whose
 *	                                                pin it records
 *	reports the folio: with the holder that it had
 */
void test_holders_of_the_same_use(void **state)
{
	struct world w = world_begin(64, 0, PAGE);
	struct folio *taken[64], *next;
	struct task walker = {0};
	unsigned n = 0;

	(void)state;
	w.cache->progress.patience_ms = 1;
	pin_it(&w);
	while (!folio_alloc(w.cache, 0, FOLIO_TYPE_PRIVATE, NULL, &taken[n]))
		assert_true(++n < 64);
	folio_pin_taken(pinned, "race", 1);
	walker.gate.at = pinned;
	task_begin(&walker, &w, lines_run, FOLIO_PAUSE_pins_noted);
	assert_int_equal(folio_file_invalidate(w.file, 0, UINT64_MAX), 0);
	folio_pin_put(pinned);
	folio_put(pinned);
	/* Not while the walk has its reference. */
	if (!folio_alloc(w.cache, 0, FOLIO_TYPE_PRIVATE, NULL, &next)) {
		folio_pin_taken(next, "race", 2);
		taken[n++] = next;
	}
	assert_int_equal(task_end(&walker), 1);
	while (n > 0)
		folio_put(taken[--n]);
	world_end(&w);
}
