/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/bench-eighth.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include <folio/peek.h>

#include "bench/machine.h"
#include "bench/offsets.h"
#include "command.h"
#include "options.h"
#include "progress.h"

#define PARTS     8
#define CACHE_MIN (UINT64_C(2) * FOLIO_CACHE_BYTES_MIN)
#define PAGES_KEY UINT64_C(0xe1647)
#define BATCH     32 /* reads in flight while pages are cached; a quarter of the smallest cache */

/* Page number i of those that are read. */
static uint64_t page_at(const struct eighth *eighth, uint64_t i)
{
	return random_permute(i, eighth->pages, PAGES_KEY);
}

static bool fill_offsets(struct worker *worker)
{
	struct eighth *eighth = worker->context;
	uint64_t first = eighth->count * worker->index / worker->threads;
	uint64_t last = eighth->count * (worker->index + 1) / worker->threads;
	uint64_t state = random_mix(worker->index + 1), page, i;

	for (i = first; i < last; i++) {
		page = page_at(eighth, random_below(&state, eighth->cached));
		eighth->offsets[i] =
			(uint32_t)(page * LINES_PER_PAGE + random_below(&state, LINES_PER_PAGE));
	}
	return true;
}

/* Read a line of each page. Returns 0, -errno, or LINE_SIZE if the file became shorter. */
static int read_pages(const struct eighth *eighth)
{
	struct folio_read reads[BATCH];
	char lines[BATCH][LINE_SIZE];
	uint64_t done;
	unsigned count, i;
	int result;

	for (done = 0; done < eighth->cached; done += count) {
		count = eighth->cached - done < BATCH ? (unsigned)(eighth->cached - done) : BATCH;
		for (i = 0; i < count; i++)
			reads[i] = (struct folio_read){.buf = lines[i],
				.len = LINE_SIZE,
				.offset = page_at(eighth, done + i) * FOLIO_PAGE_SIZE};
		result = folio_file_read_batch(eighth->file, reads, count, 0);
		if (result)
			return result;
		for (i = 0; i < count; i++)
			if (reads[i].result != LINE_SIZE)
				return reads[i].result < 0 ? (int)reads[i].result : LINE_SIZE;
	}
	return 0;
}

struct folio_cache_stats eighth_stats(const struct bench *bench, const struct eighth *eighth)
{
	struct folio_cache_stats stats = bench_stats(bench), more = {.size = sizeof(more)};

	if (eighth->cache) {
		folio_cache_stats(eighth->cache, &more);
		stats.hits += more.hits;
		stats.misses += more.misses;
	}
	return stats;
}

/* The cache need not keep pages that were read only once. */
static bool cache_pages(const struct bench *bench, const struct eighth *eighth)
{
	uint64_t misses;
	int pass, result;

	progress("caching random pages, %s of the file",
		size_about(eighth->cached * FOLIO_PAGE_SIZE));
	for (pass = 0; pass < 4; pass++) {
		misses = eighth_stats(bench, eighth).misses;
		result = read_pages(eighth);
		if (result) {
			progress_end();
			complain("%s: %s", bench->name,
				result < 0 ? strerror(-result) : "the file became shorter");
			return false;
		}
		if (eighth_stats(bench, eighth).misses == misses)
			break;
	}
	return true;
}

/* Returns 0 or -errno. */
static int open_cache(const struct bench *bench, uint64_t bytes, struct eighth *eighth)
{
	struct folio_cache_params params = {.size = sizeof(params), .bytes = bytes};
	int result;

	if (bytes > machine_memory_available())
		return -ENOMEM;
	result = folio_cache_open(&params, &eighth->cache);
	if (!result)
		result = folio_file_open(
			eighth->cache, bench->path, O_RDONLY | O_CLOEXEC, 0, &eighth->file);
	if (result)
		return result;
	folio_file_advise(eighth->file, FOLIO_ADVICE_RANDOM);
	if (folio_file_view(eighth->file, FOLIO_VIEW_LAYOUT, &eighth->in_place))
		eighth->in_place = NULL;
	eighth->offsets = huge_alloc(eighth->count * sizeof(*eighth->offsets));
	return eighth->offsets ? 0 : -ENOMEM;
}

bool eighth_open(struct bench *bench, uint64_t count, struct eighth *eighth)
{
	uint64_t bytes;
	int result;

	*eighth = (struct eighth){.count = count, .pages = bench->size / FOLIO_PAGE_SIZE};
	/* Line numbers have 32 bits: offsets_make reports that. */
	if (eighth->pages > UINT32_MAX / LINES_PER_PAGE)
		eighth->pages = UINT32_MAX / LINES_PER_PAGE;
	/* The cache keeps some pages free, and chooses itself which of the others to keep. */
	eighth->cached = eighth->pages / PARTS * 3 / 4;
	bytes = eighth->pages / PARTS * FOLIO_PAGE_SIZE;
	if (bytes < CACHE_MIN) {
		report_note(&bench->report, "Eighth: not measured, the file is smaller than %s.",
			size_about(PARTS * CACHE_MIN));
		return true;
	}
	result = open_cache(bench, bytes, eighth);
	if (result == -ENOMEM) {
		report_note(&bench->report,
			"Eighth: not measured, there is too little memory for a cache of %s.",
			size_about(bytes));
		eighth_close(eighth);
		return true;
	}
	if (result) {
		progress_end();
		complain("cannot open %s in a cache of %s: %s", bench->name, size_about(bytes),
			strerror(-result));
		return false;
	}
	report_note(&bench->report, "Eighth: measured with a cache of %s, %s of which are read.",
		size_about(bytes), size_about(eighth->cached * FOLIO_PAGE_SIZE));
	progress("choosing offsets");
	return workers_each(bench->workers, bench->threads, fill_offsets, eighth) &&
	       cache_pages(bench, eighth);
}

void eighth_close(struct eighth *eighth)
{
	if (eighth->offsets)
		huge_free(eighth->offsets, eighth->count * sizeof(*eighth->offsets));
	if (eighth->file)
		folio_file_abandon(eighth->file);
	if (eighth->cache)
		folio_cache_close(eighth->cache);
	*eighth = (struct eighth){0};
}
