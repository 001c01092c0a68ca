/* SPDX-License-Identifier: BSD-2-Clause */
/* cache-private.c - mode cache: private folios and user-defined types. */
#include <stdlib.h>

#include "cache-mode.h"

/* Numbers the labels of private folios, so that each is unique. */
static folio_u64 private_generation;

static bool private_intact(const struct private *private, const struct folio *folio)
{
	struct label label = private->label;
	unsigned page;

	for (page = 0; page < 1u << folio_order(folio); page++, label.index++)
		if (label_check((char *)folio_data(folio) + page * FOLIO_PAGE_SIZE, 0,
			    FOLIO_PAGE_SIZE, label) < FOLIO_PAGE_SIZE)
			return false;
	return true;
}

/* Runs on the reaper, never on a thread that puts. @context identifies the type. */
void private_released(struct folio *folio, void *context)
{
	unsigned type = (unsigned)((folio_u64 *)context - type_released);
	struct private *private = folio_owner(folio);

	if (is_worker)
		violation(VIOLATION_PRIVATE_RELEASE,
			"folio %p is released by a thread of the program", (void *)folio);
	else if (private->folio != folio || private->type != type)
		violation(VIOLATION_PRIVATE_RELEASE,
			"folio %p is released as type %u, but is %p of type %u", (void *)folio,
			type, (void *)private->folio, private->type);
	else if (folio_u32_load_acquire(&private->held))
		violation(VIOLATION_PRIVATE_RELEASE, "folio %p is released while it is held",
			(void *)folio);
	else if (!private_intact(private, folio))
		violation(VIOLATION_PRIVATE, "folio %p has changed before its release",
			(void *)folio);
	folio_u64_fetch_add_relaxed(context, 1);
	pause_here(NULL);
	free(private);
}

void private_put(struct private *private)
{
	struct folio *folio = private->folio;
	bool reaped = private->type < TYPES;

	if (!private_intact(private, folio))
		violation(VIOLATION_PRIVATE, "folio %p has changed", (void *)folio);
	folio_u64_fetch_sub_relaxed(&private_pages, UINT64_C(1) << folio_order(folio));
	folio_u32_store_release(&private->held, 0);
	/* The put may free it. */
	folio_put(folio);
	if (!reaped)
		free(private);
}

void op_private(struct worker *worker)
{
	struct own *own = worker->own;
	unsigned order = rng_one_in(&worker->rng, 8) ? (unsigned)rng_below(&worker->rng, 4) : 0,
		 page;
	uint64_t pages = UINT64_C(1) << order;
	struct private *private;
	struct label label;
	unsigned type;
	int r;

	if (own->private) {
		private_put(own->private);
		own->private = NULL;
		return;
	}
	if (folio_u64_fetch_add_relaxed(&private_pages, pages) + pages > options.budget / 6)
		goto none;
	private = calloc(1, sizeof(*private));
	if (!private)
		goto none;
	type = (unsigned)rng_below(&worker->rng, TYPES + 1);
	private->type = type;
	private->label = (struct label){FILE_PRIVATE, rng_below(&worker->rng, INDEX_MAX - 16),
		folio_u64_fetch_add_relaxed(&private_generation, 1)};
	folio_u32_store_relaxed(&private->held, 1);
	r = folio_alloc(cache, order, type < TYPES ? type_number[type] : FOLIO_TYPE_PRIVATE,
		private, &private->folio);
	if (r) {
		free(private);
		if (!error_allowed(worker, r, false))
			violation(
				VIOLATION_RESULT, "folio_alloc of order %u returned %d", order, r);
		goto none;
	}
	folio_u64_fetch_add_relaxed(cache_use_count(private->folio), 1);
	if (type < TYPES)
		folio_u64_fetch_add_relaxed(&type_taken[type], 1);
	for (page = 0, label = private->label; page < pages; page++, label.index++)
		label_fill((char *)folio_data(private->folio) + page * FOLIO_PAGE_SIZE,
			FOLIO_PAGE_SIZE, label);
	worker_add(worker, COUNT_PRIVATE, 1);
	if (rng_one_in(&worker->rng, 2))
		own->private = private;
	else
		private_put(private);
	return;
none:
	folio_u64_fetch_sub_relaxed(&private_pages, pages);
}
