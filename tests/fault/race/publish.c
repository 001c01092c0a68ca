/* SPDX-License-Identifier: BSD-2-Clause */
/* publish.c - published pins, and threads that take or drop the page at the same time. */
#include "race.h"

#include <folio/pin.h>
#include <folio/pins.h>

#include "cache/thread.h"
#include "core/walk.h"
#include "evict/evict.h"
#include "evict/scan.h"

static struct folio_pin pin;

/* Pins page 5. Returns 1 if the pin is published, 0 if it is counted. */
static ssize_t pin_run(struct task *task)
{
	int r = folio_file_pin(task->w->file, 5, 0, &pin);

	return r ? r : pin.slot != NULL;
}

/* Evicts all that can be evicted. */
static ssize_t evict_run(struct task *task)
{
	struct folio_cache *cache = task->w->cache;

	evict_until(cache, cache->pool.pages, true, thread_enter(cache, cache->id));
	return 0;
}

/* The file has one page cached: page 5, of this byte. */
static struct world begin(void)
{
	struct world w = world_begin(1024, 0, 16 * PAGE);

	assert_int_equal(folio_file_advise(w.file, FOLIO_ADVICE_RANDOM), 0);
	assert_int_equal(write_byte(&w, 5 * PAGE, 'a'), 1);
	assert_int_equal(folio_file_sync(w.file, NULL, 0), 0);
	/* Only one that evicts is meant to. */
	folio_u64_store_relaxed(&w.cache->evict.low, 0);
	return w;
}

static void *entry_now(struct world *w)
{
	return tree_load(&w->file->inode->tree, 5);
}

static void end(struct world *w)
{
	folio_unpin(&pin);
	world_end(w);
}

/*
 *	pinner                                          other
 *	publishes page 5
 *	                                                drops it, and reads it again: it is
 *	                                                in another folio
 *	looks again: the entry is another one
 *	pins the new folio by count
 */
void test_publication_of_a_dropped_page(void **state)
{
	struct world w = begin();
	struct task pinner = {.len = 1};
	char byte;

	(void)state;
	task_begin(&pinner, &w, pin_run, FOLIO_PAUSE_pin_published);
	assert_int_equal(folio_file_invalidate(w.file, 5 * PAGE, PAGE), 0);
	assert_int_equal(folio_u32_load_relaxed(&w.cache->limbo.folios), 1);
	assert_int_equal(folio_file_read(w.file, &byte, 1, 5 * PAGE), 1);
	assert_int_equal(task_end(&pinner), 0);
	assert_ptr_equal(pin.folio, entry_folio(entry_now(&w)));
	assert_int_equal(*(char *)pin.page, 'a');
	/* The old one is free at the next look. */
	assert_int_equal(folio_file_invalidate(w.file, 0, PAGE), 0);
	assert_int_equal(folio_u32_load_relaxed(&w.cache->limbo.folios), 0);
	end(&w);
}

/*
 *	pinner                                          writer
 *	publishes page 5
 *	                                                writes it
 *	looks again: the version is another one
 */
void test_publication_of_a_written_page(void **state)
{
	struct world w = begin();
	struct task pinner = {.len = 1};

	(void)state;
	task_begin(&pinner, &w, pin_run, FOLIO_PAUSE_pin_published);
	assert_int_equal(write_byte(&w, 5 * PAGE, 'b'), 1);
	assert_int_equal(task_end(&pinner), 0);
	assert_int_equal(*(char *)pin.page, 'b');
	end(&w);
}

/*
 *	pinner                                          evictor
 *	publishes page 5
 *	                                                holds it, finds it published, leaves it
 *	looks again: all is as before
 */
void test_publication_before_the_scan(void **state)
{
	struct world w = begin();
	struct task pinner = {.len = 1}, evictor = {.len = 1};

	(void)state;
	task_begin(&pinner, &w, pin_run, FOLIO_PAUSE_pin_published);
	task_begin(&evictor, &w, evict_run, NOWHERE);
	assert_int_equal(task_end(&evictor), 0);
	assert_int_equal(task_end(&pinner), 1);
	assert_ptr_equal(pin.folio, entry_folio(entry_now(&w)));
	end(&w);
}

static struct task dropper, filler;

static ssize_t drop_run(struct task *task)
{
	return folio_file_invalidate(task->w->file, 5 * PAGE, PAGE);
}

/* The pinner calls this at the first point, and if it comes to it, at the second one. */
static void drop_and_read_again(struct gate *gate)
{
	struct world *w = dropper.w;

	if (gate->point == FOLIO_PAUSE_pin_seen) {
		task_begin(&dropper, w, drop_run, FOLIO_PAUSE_publish_scanned);
		gate->point = FOLIO_PAUSE_pin_looked;
		return;
	}
	assert_int_equal(task_end(&dropper), 0);
	filler.len = 1;
	filler.offset = 5 * PAGE;
	task_begin(&filler, w, read_run, FOLIO_PAUSE_fill_read);
}

/*
 *	pinner                              dropper                     filler
 *	sees page 5 and its version
 *	                                    erases it, barrier, scan
 *	publishes it
 *	looks again: half of the look
 *	                                    frees the page
 *	                                                                takes the same frame for
 *	                                                                page 5, fills it
 *	the other half
 */
void test_publication_of_a_page_that_returns(void **state)
{
	struct world w = world_begin(64, 0, 16 * PAGE);
	struct task pinner = {.gate = {.again = true, .call = drop_and_read_again}};
	struct folio *other[64];
	unsigned n = 0;
	char byte;

	(void)state;
	dropper = filler = (struct task){.w = &w};
	assert_int_equal(folio_file_advise(w.file, FOLIO_ADVICE_RANDOM), 0);
	folio_u64_store_relaxed(&w.cache->evict.low, 0);
	assert_int_equal(folio_file_read(w.file, &byte, 1, 5 * PAGE), 1);
	/* This one keeps the node in the tree. */
	assert_int_equal(folio_file_read(w.file, &byte, 1, 6 * PAGE), 1);
	/* Some thread has published before. */
	assert_int_equal(folio_file_pin(w.file, 5, 0, &pin), 0);
	folio_unpin(&pin);
	/* There is no frame but that of page 5. */
	while (pool_free_pages(&w.cache->pool))
		assert_int_equal(folio_alloc(w.cache, 0, FOLIO_TYPE_PRIVATE, NULL, &other[n++]), 0);
	task_start(&pinner, &w, pin_run, FOLIO_PAUSE_pin_seen);
	assert_int_equal(task_end(&pinner), 0);
	assert_int_equal(*(char *)pin.page, 'o');
	folio_unpin(&pin);
	/* The half that it came to was the entry. */
	assert_int_equal(task_end(&dropper), 0);
	while (n)
		folio_put(other[--n]);
	world_end(&w);
}

/* @stop: where the evictor stops: before the scan, after it. */
static void evict_while_publishing(enum folio_pause stop, bool looks_while_held)
{
	struct world w = begin();
	struct task pinner = {.len = 1}, evictor = {.len = 1};

	/* Some thread has published before. */
	assert_int_equal(folio_file_pin(w.file, 5, 0, &pin), 0);
	assert_non_null(pin.slot);
	folio_unpin(&pin);
	task_begin(&evictor, &w, evict_run, stop);
	if (looks_while_held) {
		task_begin(&pinner, &w, pin_run, NOWHERE);
		assert_int_equal(task_end(&pinner), 0);
		assert_int_equal(task_end(&evictor), 0);
		/* The count keeps it. */
		assert_ptr_equal(pin.folio, entry_folio(entry_now(&w)));
		folio_unpin(&pin);
		task_begin(&pinner, &w, pin_run, NOWHERE);
		assert_int_equal(task_end(&pinner), 1);
	} else {
		assert_int_equal(task_end(&evictor), 0);
		assert_false(entry_is_folio(entry_now(&w)));
		assert_int_equal(folio_file_pin(w.file, 5, 0, &pin), 0);
	}
	end(&w);
}

/*
 *	evictor                                         pinner
 *	holds page 5
 *	                                                finds it held: pins by count
 *	scans
 *	cannot freeze it, and ends the hold
 *	                                                publishes it
 */
void test_pin_of_a_held_page(void **state)
{
	(void)state;
	evict_while_publishing(FOLIO_PAUSE_publish_barrier, true);
}

/* The same after the scan. */
void test_pin_after_the_scan(void **state)
{
	(void)state;
	evict_while_publishing(FOLIO_PAUSE_publish_scanned, true);
}

/* Without a pin, the page is evicted. */
void test_scan_without_pins(void **state)
{
	(void)state;
	evict_while_publishing(FOLIO_PAUSE_publish_scanned, false);
}

/* One batch. */
static ssize_t evict_batch_run(struct task *task)
{
	struct folio_cache *cache = task->w->cache;
	struct scan scan = {.looks = 4};
	uint32_t ends = 0;

	return (ssize_t)evict_batch(cache, 1, &scan, true, &ends, thread_enter(cache, cache->id));
}

/*
 *	evictor                                         other
 *	finds page 5 published, queues it again
 *	                                                unpins it
 *	puts its reference: page 5 can be evicted
 *
 * A thread that waits for memory must hear of it. With @stays, the pin stays.
 */
static void evict_while_unpinning(bool stays)
{
	struct world w = begin();
	struct task evictor = {.len = 1};
	uint32_t seen;

	assert_int_equal(folio_file_pin(w.file, 5, 0, &pin), 0);
	assert_non_null(pin.slot);
	task_begin(&evictor, &w, evict_batch_run, FOLIO_PAUSE_evict_requeued);
	seen = progress_seen(&w.cache->progress);
	if (!stays)
		folio_unpin(&pin);
	assert_int_equal(task_end(&evictor), 0);
	assert_int_equal(progress_seen(&w.cache->progress) != seen, !stays);
	if (!stays)
		assert_int_equal(folio_file_pin(w.file, 5, 0, &pin), 0);
	end(&w);
}

void test_unpin_while_an_evictor_has_the_page(void **state)
{
	(void)state;
	evict_while_unpinning(false);
	evict_while_unpinning(true);
}

static bool sum(const struct folio_pinned *found, void *context)
{
	*(uint32_t *)context += found->references;
	return true;
}

static ssize_t pins_run(struct task *task)
{
	uint32_t references = 0;

	folio_cache_pins(task->w->cache, sum, &references);
	return references;
}

/*
 *	walker                                          other
 *	loads the count of page 5
 *	                                                converts the pin: one reference more, none
 *	                                                in the slot
 *	must find it
 */
void test_pin_converted_while_pins_are_counted(void **state)
{
	struct world w = begin();
	struct task walker = {.len = 1};

	(void)state;
	assert_int_equal(folio_file_pin(w.file, 5, 0, &pin), 0);
	assert_non_null(pin.slot);
	walker.gate.at = &w.file->inode->tree.lock;
	task_begin(&walker, &w, pins_run, UNLOCKED);
	assert_int_equal(folio_pin_convert(&pin), 0);
	assert_int_equal(task_end(&walker), 1);
	assert_int_equal(pins_run(&walker), 1);
	end(&w);
}
