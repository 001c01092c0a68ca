/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cache.c - mode cache: threads read files by copy and by pin, with a budget that holds a fraction
 * of the files. At the same time the files are prefetched, changed, invalidated, closed and opened
 * again, and private folios are allocated from the same frames.
 *
 * Every byte that is read is checked: file and page exactly, and the generation against the range
 * that the reader may see (backend.h). A pinned page is checked again before the pin is put,
 * perhaps by another thread and long after the file was closed. A private folio is filled with a
 * unique label. It is checked before its last put, and again in its release function on the reaper.
 *
 * Late getters run all the time: they take a reference to a descriptor that was found earlier, and
 * put it. They do what the steps 1 to 4 of a slow look-up do, and they make every thread a releaser
 * of any folio.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache-mode.h"

static const char *const count_names[] = {"reads", "bytes read", "peeks", "peeks that ended",
	"pins", "pins published", "pins converted", "pins passed on", "private folios", "late gets",
	"late gets, failed", "releases by late getters", "prefetches", "invalidations",
	"changes found by revalidation", "resizes", "appends", "opens", "out of memory",
	"would block", "errors of injected failures", NULL};

static const char *const histogram_names[] = {"copies: generations behind at the end of the call",
	"pins: generations behind at the end of the call", "pins: generations behind when put",
	NULL};

struct folio_cache *cache;
struct handle shared[2];
static folio_u64 *uses; /* number of uses begun, by descriptor */
folio_ptr exchange[EXCHANGE];
folio_u64 private_pages, kept_pages;
_Thread_local bool is_worker;
unsigned type_number[TYPES];
folio_u64 type_taken[TYPES], type_released[TYPES];

/* Read before the cache is closed. */
static struct folio_cache_stats stats;
static uint64_t uses_begun;

folio_u64 *cache_use_count(const void *object)
{
	uintptr_t at = (uintptr_t)object - (uintptr_t)cache->pool.folios;

	return at / sizeof(struct folio) < cache->pool.pages ? &uses[at / sizeof(struct folio)]
							     : NULL;
}

static void cache_operation(struct worker *worker)
{
	uint64_t choice = rng_below(&worker->rng, 1024);

	if (choice < 288)
		op_read_short(worker);
	else if (choice < 384)
		op_peek(worker);
	else if (choice < 400)
		op_read_batch(worker);
	else if (choice < 480)
		op_read_long(worker);
	else if (choice < 488)
		op_scan(worker);
	else if (choice < 620)
		op_pin(worker, false);
	else if (choice < 670)
		op_pin(worker, true);
	else if (choice < 700)
		op_put(worker);
	else if (choice < 715)
		op_pass(worker);
	else if (choice < 850)
		op_late(worker);
	else if (choice < 950)
		op_private(worker);
	else if (choice < 965)
		op_prefetch(worker);
	else if (choice < 1005)
		op_invalidate(worker);
	else if (choice < 1010)
		op_change(worker);
	else if (choice < 1015)
		op_size(worker);
	else
		op_reopen(worker);
}

/* ---- begin and end ---- */

static int cache_open(void)
{
	static const char *const type_name[TYPES] = {"a", "b"};
	struct folio_cache_params params = {.size = sizeof(params),
		.bytes = options.budget * FOLIO_PAGE_SIZE,
		.io = &backend_ops,
		.readahead = options.budget * FOLIO_PAGE_SIZE / 8,
		.closed_files_max = FILES / 2};
	const uint64_t bytes[FILES] = {
		137,
		3 * FOLIO_PAGE_SIZE,
		options.budget * FOLIO_PAGE_SIZE / 8 + 1,
		options.budget * FOLIO_PAGE_SIZE / 4 - 1,
		options.budget * FOLIO_PAGE_SIZE / 2,
		options.budget * FOLIO_PAGE_SIZE + 1000,
		2 * options.budget * FOLIO_PAGE_SIZE,
		options.budget * FOLIO_PAGE_SIZE / 3,
	};
	unsigned i;
	int r;

	folio_u64_store_relaxed(&private_pages, 0);
	folio_u64_store_relaxed(&kept_pages, 0);
	r = backend_open_files(FILES, bytes, true);
	if (r)
		return r;
	backend_file(FILE_RESIZED)->is_resized = true;
	r = folio_cache_open(&params, &cache);
	if (r)
		return r;
	uses = calloc(cache->pool.pages, sizeof(*uses));
	if (!uses)
		return -ENOMEM;
	for (i = 0; i < TYPES; i++) {
		struct folio_type_params type = {.size = sizeof(type),
			.name = type_name[i],
			.release = private_released,
			.context = &type_released[i]};

		folio_u64_store_relaxed(&type_taken[i], 0);
		folio_u64_store_relaxed(&type_released[i], 0);
		r = folio_type_register(cache, &type, &type_number[i]);
		if (r)
			return r;
	}
	/*
	 * These stay open. Other files may have no open handle for a while, and then lose all their
	 * pages.
	 */
	open_file(NULL, &shared[0], backend_file(2));
	open_file(NULL, &shared[1], backend_file(FILES - 2));
	return 0;
}

static void cache_begin(struct worker *worker)
{
	struct own *own = aligned_alloc(64, sizeof(*own));
	unsigned i;

	if (!own)
		abort();
	memset(own, 0, sizeof(*own));
	worker->own = own;
	is_worker = true;
	for (i = 0; i < HANDLES; i++)
		open_file(worker, &own->handle[i], backend_file((worker->number + 3 * i) % FILES));
}

static void cache_end(struct worker *worker)
{
	struct own *own = worker->own;
	unsigned i;

	for (i = 0; i < PINS; i++)
		if (own->pin[i].folio)
			pin_put(worker, &own->pin[i], true);
	if (own->private)
		private_put(own->private);
	for (i = 0; i < HANDLES; i++)
		close_file(&own->handle[i]);
	free(own);
}

static void cache_close(void)
{
	static struct worker closer;
	unsigned i;
	int r;

	for (i = 0; i < EXCHANGE; i++) {
		struct pin *pin = folio_ptr_exchange_acquire(&exchange[i], NULL);

		if (pin)
			pin_put(&closer, pin, true);
		free(pin);
	}
	close_file(&shared[0]);
	close_file(&shared[1]);
	stats = (struct folio_cache_stats){.size = sizeof(stats)};
	r = folio_cache_stats(cache, &stats);
	if (r)
		violation(VIOLATION_RESULT, "folio_cache_stats returned %d", r);
	for (i = 0, uses_begun = 0; i < cache->pool.pages; i++)
		uses_begun += folio_u64_load_relaxed(&uses[i]);
	r = folio_cache_close(cache);
	if (r) {
		folio_cache_stats(cache, &stats);
		violation(VIOLATION_LEAK,
			"folio_cache_close returned %d: %lu pages, %lu free, %lu of files, %lu "
			"private",
			r, (unsigned long)stats.pages, (unsigned long)stats.pages_free,
			(unsigned long)stats.pages_file, (unsigned long)stats.pages_private);
	}
	if (backend_handles())
		violation(VIOLATION_LEAK, "%lu handles are open", (unsigned long)backend_handles());
	for (i = 0; i < TYPES; i++)
		if (folio_u64_load_relaxed(&type_taken[i]) !=
			folio_u64_load_relaxed(&type_released[i]))
			violation(VIOLATION_PRIVATE_RELEASE,
				"%lu folios of type %u were allocated, %lu released",
				(unsigned long)folio_u64_load_relaxed(&type_taken[i]), i,
				(unsigned long)folio_u64_load_relaxed(&type_released[i]));
	free(uses);
	backend_close_files();
}

static unsigned cache_more(const char **name, uint64_t *value)
{
	const struct {
		const char *name;
		uint64_t value;
	} more[] = {
		{"uses", uses_begun},
		{"hits", stats.hits},
		{"misses", stats.misses},
		{"retries", stats.retries},
		{"fills", stats.fills},
		{"fills failed", stats.fill_errors},
		{"pages read ahead", stats.readahead_pages},
		{"pages prefetched", stats.prefetch_pages},
		{"pages evicted", stats.evictions},
		{"pages evicted by callers", stats.evictions_direct},
		{"evictions skipped", stats.evict_busy},
		{"refaults", stats.refaults},
		{"pages invalidated", stats.invalidations},
	};
	unsigned i;

	for (i = 0; i < sizeof(more) / sizeof(more[0]); i++) {
		name[i] = more[i].name;
		value[i] = more[i].value;
	}
	return i;
}

const struct mode mode_cache = {
	.name = "cache",
	.counts = count_names,
	.histograms = histogram_names,
	.open = cache_open,
	.begin = cache_begin,
	.operation = cache_operation,
	.end = cache_end,
	.close = cache_close,
	.more = cache_more,
	.use_count = cache_use_count,
};
