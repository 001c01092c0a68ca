/* SPDX-License-Identifier: BSD-2-Clause */
/* cache-pin.c - mode cache: pins, pins that other threads put, and late getters. */
#include <errno.h>
#include <stdlib.h>

#include "cache-mode.h"

static void pin_check(const struct pin *pin)
{
	struct label label = {pin->of->number, pin->index, pin->generation}, found = {0};
	const char *data = folio_page(pin->folio, pin->index);
	size_t matching = label_check(data, 0, pin->contents, label);

	if (matching == pin->contents && all_zero(data + matching, FOLIO_PAGE_SIZE - matching))
		return;
	label_of(*(const uint64_t *)data, &found);
	violation(VIOLATION_HELD_CHANGED,
		"pinned file %u page %lu generation %lu, byte %zu: now file %u page %lu generation "
		"%lu",
		pin->of->number, (unsigned long)pin->index, (unsigned long)pin->generation,
		matching, found.file, (unsigned long)found.index, (unsigned long)found.generation);
}

/*
 * A pin that is kept pins all of its folio. Kept pins together leave most of the budget free, so
 * that -ENOMEM stays rare. False: do not keep this one.
 */
static bool pin_keep(const struct pin *pin)
{
	uint64_t pages = UINT64_C(1) << folio_order(pin->folio);

	if (folio_u64_fetch_add_relaxed(&kept_pages, pages) + pages <= options.budget / 3)
		return true;
	folio_u64_fetch_sub_relaxed(&kept_pages, pages);
	return false;
}

void pin_put(struct worker *worker, struct pin *pin, bool kept)
{
	pin_check(pin);
	if (kept)
		folio_u64_fetch_sub_relaxed(&kept_pages, UINT64_C(1) << folio_order(pin->folio));
	histogram_add(
		&worker->histogram[HISTOGRAM_AGE], now_of(pin->of, pin->index) - pin->generation);
	pin->folio = NULL;
	folio_unpin(&pin->pin);
}

/* By publication, where that is possible, or by count. */
static int pin_any(struct worker *worker, struct folio_file *file, uint64_t index, unsigned flags,
	struct folio_pin *pin)
{
	int r;

	if (rng_one_in(&worker->rng, 2)) {
		r = folio_file_pin(file, index, flags, pin);
		if (!r && pin->slot)
			worker_add(worker, COUNT_PINS_PUBLISHED, 1);
		return r;
	}
	pin->slot = NULL;
	return folio_file_get_page(file, index, flags, &pin->folio, &pin->page);
}

/*
 * Pins a page and checks it, and, in a larger folio, checks another page, too. False: nothing was
 * pinned.
 */
static bool pin_get(struct worker *worker, struct handle *handle, uint64_t index, struct pin *pin)
{
	const struct file *of = handle->of;
	unsigned flags = rng_one_in(&worker->rng, 8) ? FOLIO_GET_NOWAIT : 0;
	uint64_t other, start;
	struct view seen;
	size_t contents;
	bool strict;
	int r;

	view(&seen, of, index, index);
	r = pin_any(worker, handle->file, index, flags, &pin->pin);
	pin->folio = pin->pin.folio;
	strict = size_unchanged(&seen);
	if (r) {
		pin->folio = NULL;
		if (!error_allowed(worker, r, flags) &&
			!(r == -ENODATA && (!strict || index * FOLIO_PAGE_SIZE >= seen.size)))
			violation(VIOLATION_RESULT, "a get of file %u page %lu returned %d",
				of->number, (unsigned long)index, r);
		return false;
	}
	worker_add(worker, COUNT_PINS, 1);
	pin->of = of;
	pin->index = index;
	start = folio_index(pin->folio);
	if (start > index || index - start >= UINT64_C(1) << folio_order(pin->folio)) {
		violation(VIOLATION_FOREIGN_INDEX,
			"a get of file %u page %lu returned %lu pages from %lu", of->number,
			(unsigned long)index, 1ul << folio_order(pin->folio), (unsigned long)start);
		folio_unpin(&pin->pin);
		return false;
	}
	contents = seen.size - index * FOLIO_PAGE_SIZE < FOLIO_PAGE_SIZE
			   ? seen.size - index * FOLIO_PAGE_SIZE
			   : FOLIO_PAGE_SIZE;
	if (!strict) {
		/* The end may be anywhere. The bytes found now must stay. */
		const char *data = folio_page(pin->folio, index);

		for (contents = FOLIO_PAGE_SIZE; contents > 0 && !data[contents - 1];)
			contents--;
	}
	pin->generation = check_page("pin", &seen, index, folio_page(pin->folio, index), 0,
		FOLIO_PAGE_SIZE, contents, strict);
	if (pin->generation == UINT64_MAX) {
		folio_unpin(&pin->pin);
		return false;
	}
	pin->contents = label_check(folio_page(pin->folio, index), 0, FOLIO_PAGE_SIZE,
		(struct label){of->number, index, pin->generation});
	histogram_add(&worker->histogram[HISTOGRAM_PIN], now_of(of, index) - pin->generation);
	other = start + rng_below(&worker->rng, UINT64_C(1) << folio_order(pin->folio));
	if (other != index && strict && (other + 1) * FOLIO_PAGE_SIZE <= seen.size &&
		!(all_zero(folio_page(pin->folio, other), FOLIO_PAGE_SIZE) &&
			backend_denied(of, other, oldest_of(&seen, other))))
		check_page("pin of another page", &seen, other, folio_page(pin->folio, other), 0,
			FOLIO_PAGE_SIZE, FOLIO_PAGE_SIZE, true);
	return true;
}

void op_pin(struct worker *worker, bool keep)
{
	struct own *own = worker->own;
	struct handle *handle = any_handle(worker);
	struct pin pin;

	if (!pin_get(worker, handle, any_page(worker, handle->of), &pin))
		return;
	if (rng_one_in(&worker->rng, 4)) {
		folio_get(pin.folio);
		pause_here(NULL);
		folio_put(pin.folio);
	}
	if (pin.pin.slot && rng_one_in(&worker->rng, 8)) {
		if (folio_pin_convert(&pin.pin))
			violation(VIOLATION_RESULT, "a pin could not be converted");
		worker_add(worker, COUNT_PINS_CONVERTED, 1);
	}
	if (keep && pin_keep(&pin)) {
		struct pin *to = &own->pin[rng_below(&worker->rng, PINS)];

		if (to->folio)
			pin_put(worker, to, true);
		*to = pin;
	} else {
		pause_here(NULL);
		pin_put(worker, &pin, false);
	}
}

void op_put(struct worker *worker)
{
	struct own *own = worker->own;
	struct pin *from = &own->pin[rng_below(&worker->rng, PINS)];

	if (from->folio)
		pin_put(worker, from, true);
}

/*
 * Leaves a pin for another thread to put, now or much later, and puts the pin that another thread
 * left.
 */
void op_pass(struct worker *worker)
{
	struct own *own = worker->own;
	struct pin *from = &own->pin[rng_below(&worker->rng, PINS)], *pin = NULL;
	folio_ptr *at = &exchange[rng_below(&worker->rng, EXCHANGE)];
	void *theirs;

	if (from->folio) {
		pin = malloc(sizeof(*pin));
		if (!pin)
			return;
		*pin = *from;
		from->folio = NULL;
	}
	theirs = folio_ptr_load_relaxed(at);
	while (!folio_ptr_cas_acq_rel(at, &theirs, pin))
		continue;
	if (!theirs)
		return;
	pin_put(worker, theirs, true);
	free(theirs);
	worker_add(worker, COUNT_PINS_PASSED, 1);
}

/* Takes a reference to a descriptor that may be used for anything by now. */
void op_late(struct worker *worker)
{
	struct folio *folio = rng_one_in(&worker->rng, 2) ? pause_stalled(&worker->rng) : NULL;

	if (!folio)
		folio = &cache->pool.folios[rng_below(&worker->rng, cache->pool.pages)];
	if (!folio_ref_try_get(&folio->ref)) {
		worker_add(worker, COUNT_LATE_GETS_FAILED, 1);
		return;
	}
	worker_add(worker, COUNT_LATE_GETS, 1);
	pause_here(NULL);
	if (folio_ref_put(&folio->ref)) {
		worker_add(worker, COUNT_LATE_RELEASES, 1);
		folio_release(folio);
	}
}
