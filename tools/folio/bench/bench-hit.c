/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench-hit.c - reads of a cached 64-byte line, by every way to read a file.
 *
 * All contenders walk the same array of offsets, and each continues where the last one stopped.
 * Otherwise pread and mmap, which read the same memory, would find lines that the other has just
 * loaded into the processor's caches.
 */
#include "bench/bench-hit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <folio/peek.h>
#include <folio/pin.h>
#include <folio/ref.h>

#include "bench/bench-eighth.h"
#include "bench/machine.h"
#include "bench/offsets.h"
#include "bench/rounds.h"
#include "command.h"
#include "options.h"
#include "progress.h"

#define CHECKS 1000 /* lines of each contender that are compared before it is measured */

union line {
	uint64_t word[LINE_SIZE / sizeof(uint64_t)];
	char byte[LINE_SIZE];
} __attribute__((aligned(64)));

/* The ways to read the file, and a workload's offsets. Constant while it is measured. */
struct view {
	struct folio_file *file;
	const struct folio_view *in_place;
	const int *fds;
	const char *map;
	const char *array;
	const uint32_t *offsets; /* line numbers */
	uint64_t mask;           /* of the index in offsets, whose length is a power of two */
	uint64_t nothing;        /* 0, but the compiler does not know that */
	struct folio_ref *counter;
	struct bench *bench;
	/* Statistics at the beginning of the last sample. */
	struct folio_cache_stats *before;
};

/*
 * ---- the contenders ----
 *
 * Each copies the line at offset. Returns 0, an errno, or SHORT.
 */

#define SHORT (-4096) /* a short read; not an errno */

static inline int copy_line(
	const struct view *view, const struct worker *worker, uint64_t offset, union line *line)
{
	ssize_t got = folio_file_read(view->file, line, LINE_SIZE, offset);

	return got == LINE_SIZE ? 0 : got < 0 ? (int)-got : SHORT;
}

static inline int pin_line(
	const struct view *view, const struct worker *worker, uint64_t offset, union line *line)
{
	uint64_t index = offset >> FOLIO_PAGE_SHIFT;
	struct folio *folio;
	void *page;
	int result = folio_file_get_page(view->file, index, 0, &folio, &page);

	if (result)
		return -result;
	memcpy(line, (char *)page + offset % FOLIO_PAGE_SIZE, LINE_SIZE);
	folio_put(folio);
	return 0;
}

static inline int publish_line(
	const struct view *view, const struct worker *worker, uint64_t offset, union line *line)
{
	struct folio_pin pin;
	int result = folio_file_pin(view->file, offset >> FOLIO_PAGE_SHIFT, 0, &pin);

	if (result)
		return -result;
	memcpy(line, (char *)pin.page + offset % FOLIO_PAGE_SIZE, LINE_SIZE);
	folio_unpin(&pin);
	return 0;
}

/* In place; by a call where the page is not to be peeked at. */
static inline int peek_line(
	const struct view *view, const struct worker *worker, uint64_t offset, union line *line)
{
	struct folio_peek peek;
	const char *page = folio_peek(view->in_place, offset >> FOLIO_PAGE_SHIFT, &peek);

	if (__builtin_expect(page != NULL, 1)) {
		folio_peek_copy(line, page + offset % FOLIO_PAGE_SIZE, LINE_SIZE);
		if (folio_peek_valid(&peek))
			return 0;
	}
	return copy_line(view, worker, offset, line);
}

/* Reads per call. */
#define BATCH 32

static int batch_line(
	const struct view *view, const struct worker *worker, uint64_t offset, union line *line)
{
	struct folio_read read = {.buf = line, .len = LINE_SIZE, .offset = offset};
	int result = folio_file_read_batch(view->file, &read, 1, 0);

	if (result)
		return -result;
	return read.result == LINE_SIZE ? 0 : read.result < 0 ? (int)-read.result : SHORT;
}

static inline int pread_line(
	const struct view *view, const struct worker *worker, uint64_t offset, union line *line)
{
	ssize_t got = pread(view->fds[worker->index], line, LINE_SIZE, (off_t)offset);

	return got == LINE_SIZE ? 0 : got < 0 ? errno : SHORT;
}

static inline int mmap_line(
	const struct view *view, const struct worker *worker, uint64_t offset, union line *line)
{
	memcpy(line, view->map + offset, LINE_SIZE);
	return 0;
}

static inline int array_line(
	const struct view *view, const struct worker *worker, uint64_t offset, union line *line)
{
	memcpy(line, view->array + offset, LINE_SIZE);
	return 0;
}

typedef int read_line(
	const struct view *view, const struct worker *worker, uint64_t offset, union line *line);

/*
 * The loop around each of them. Inlined, so that one is called directly or inlined as well.
 * chained: the offset of the next line depends on the contents of this one, so that reads cannot
 * overlap, as in a walk down a search tree.
 */
static inline __attribute__((always_inline)) uint64_t read_lines(
	struct worker *worker, uint64_t n, bool chained, read_line *one)
{
	const struct view *view = worker->context;
	const uint32_t *offsets = view->offsets;
	uint64_t mask = view->mask, position = worker->position, sum = worker->sum, i;
	union line line;
	int error;

	for (i = 0; i < n; i++) {
		error = one(view, worker, (uint64_t)offsets[position & mask] * LINE_SIZE, &line);
		if (__builtin_expect(error, 0)) {
			worker->error = error == SHORT ? 0 : error;
			return 0;
		}
		/* The compiler must copy the entire line, although one word of it is used. */
		__asm__ volatile("" : : "m"(line));
		sum += line.word[0];
		position++;
		if (chained)
			position += line.word[0] & view->nothing;
	}
	worker->position = position;
	worker->sum = sum;
	return n;
}

#define LOOPS(name)                                                           \
	static uint64_t name##_independent(struct worker *worker, uint64_t n) \
	{                                                                     \
		return read_lines(worker, n, false, name##_line);             \
	}                                                                     \
	static uint64_t name##_chained(struct worker *worker, uint64_t n)     \
	{                                                                     \
		return read_lines(worker, n, true, name##_line);              \
	}

LOOPS(copy)
LOOPS(peek)
LOOPS(pin)
LOOPS(publish)
LOOPS(pread)
LOOPS(mmap)
LOOPS(array)

/* One call for BATCH lines, which are used after all of them were read. */
static uint64_t batch_independent(struct worker *worker, uint64_t n)
{
	const struct view *view = worker->context;
	uint64_t position = worker->position, sum = worker->sum, done;
	struct folio_read reads[BATCH];
	union line lines[BATCH];
	unsigned i, count;
	int result;

	for (done = 0; done < n; done += count) {
		count = n - done < BATCH ? (unsigned)(n - done) : BATCH;
		for (i = 0; i < count; i++)
			reads[i] = (struct folio_read){.buf = &lines[i],
				.len = LINE_SIZE,
				.offset = (uint64_t)view->offsets[position++ & view->mask] *
					  LINE_SIZE};
		result = folio_file_read_batch(view->file, reads, count, 0);
		for (i = 0; i < count && !result; i++) {
			if (reads[i].result != LINE_SIZE)
				result = reads[i].result < 0 ? (int)reads[i].result : SHORT;
			sum += lines[i].word[0];
		}
		if (result) {
			worker->error = result == SHORT ? 0 : -result;
			return 0;
		}
	}
	worker->position = position;
	worker->sum = sum;
	return n;
}

/* The lower bound for a pin: one addition to the same line and one subtraction. */
static uint64_t count_pairs(struct worker *worker, uint64_t n)
{
	const struct view *view = worker->context;
	uint64_t i, sum = worker->sum;

	for (i = 0; i < n; i++) {
		sum += folio_u32_fetch_add_acquire(&view->counter->word, 1);
		sum += folio_u32_fetch_sub_release(&view->counter->word, 1);
	}
	worker->sum = sum;
	return n;
}

struct contender {
	const char *name;
	enum report_role role;
	worker_batch *independent, *chained; /* NULL: not possible */
	read_line *one;                      /* NULL: it reads nothing */
};

static const struct contender contenders[] = {
	{"folio copy", ROLE_OWN, copy_independent, copy_chained, copy_line},
	{"folio batch", ROLE_OWN, batch_independent, NULL, batch_line},
	{"folio peek", ROLE_OWN, peek_independent, peek_chained, peek_line},
	{"folio pin", ROLE_OWN, pin_independent, pin_chained, pin_line},
	{"folio publish", ROLE_OWN, publish_independent, publish_chained, publish_line},
	{"pread", ROLE_PEER, pread_independent, pread_chained, pread_line},
	{"mmap", ROLE_PEER, mmap_independent, mmap_chained, mmap_line},
	{"bare array", ROLE_LIMIT, array_independent, array_chained, array_line},
	{"add+sub", ROLE_LIMIT, count_pairs, NULL, NULL},
};

#define CONTENDERS (sizeof(contenders) / sizeof(contenders[0]))

/* Too little memory for the array; no reading in place, with an old kernel. */
static bool is_missing(const struct view *view, const struct contender *contender)
{
	return (contender->one == array_line && !view->array) ||
	       (contender->one == peek_line && !view->in_place);
}

/* ---- setting up ---- */

/*
 * The file's contents in plain memory, in huge pages: an upper bound for reads. NULL if there is
 * too little memory: it must not evict the file's pages from the kernel's cache.
 */
static char *load_array(struct bench *bench)
{
	uint64_t done = 0;
	ssize_t got;
	char *array;

	if (bench->part + bench->size > machine_memory_available())
		return NULL;
	array = huge_alloc(bench->part);
	if (!array)
		return NULL;
	progress("loading the file into an array");
	while (done < bench->part) {
		got = pread(bench->fds[0], array + done, bench->part - done, (off_t)done);
		if (got <= 0) {
			huge_free(array, bench->part);
			return NULL;
		}
		done += (uint64_t)got;
	}
	return array;
}

/* Compare each contender's lines at random ones of the offsets with those of pread. */
static bool check_contenders(const struct view *view)
{
	struct bench *bench = view->bench;
	struct worker worker = {.index = 0};
	union line line, expected;
	uint64_t state = 1, offset;
	unsigned i, check;

	for (i = 0; i < CONTENDERS; i++) {
		if (!contenders[i].one || is_missing(view, &contenders[i]))
			continue;
		for (check = 0; check < CHECKS; check++) {
			offset = view->offsets[random_below(&state, view->mask + 1)] *
				 (uint64_t)LINE_SIZE;
			if (pread(bench->fds[0], &expected, LINE_SIZE, (off_t)offset) !=
					LINE_SIZE ||
				contenders[i].one(view, &worker, offset, &line)) {
				complain("%s: can no longer be read at offset %llu", bench->name,
					(unsigned long long)offset);
				return false;
			}
			if (memcmp(&line, &expected, LINE_SIZE)) {
				complain("%s: %s and pread return different bytes at offset %llu",
					bench->name, contenders[i].name,
					(unsigned long long)offset);
				return false;
			}
		}
	}
	return true;
}

enum { HOT, UNIFORM, ZIPF, CHAIN, EIGHTH, WORKLOADS };

static char titles[WORKLOADS][160];

/* views: of the first count workloads. */
static void add_workloads(struct bench *bench, const struct view *views, unsigned count)
{
	static const char *const names[WORKLOADS] = {[HOT] = "hot",
		[UNIFORM] = "uniform",
		[ZIPF] = "zipf",
		[CHAIN] = "chain",
		[EIGHTH] = "eighth"};
	char where[64] = "the file";
	unsigned i, base;

	if (!bench->fits)
		snprintf(where, sizeof(where), "the %s of the file that are cached",
			size_about(bench->part));
	snprintf(titles[HOT], sizeof(titles[HOT]), "64-byte reads of one page");
	snprintf(titles[UNIFORM], sizeof(titles[UNIFORM]), "64-byte reads anywhere in %s", where);
	snprintf(titles[ZIPF], sizeof(titles[ZIPF]),
		"the same, pages chosen by Zipf's law, exponent %.2f", ZIPF_EXPONENT);
	snprintf(titles[CHAIN], sizeof(titles[CHAIN]),
		"as uniform, but each offset depends on the data of the read before");
	snprintf(titles[EIGHTH], sizeof(titles[EIGHTH]),
		"64-byte reads of random pages that a cache of an eighth of the file holds");
	for (i = 0; i < count; i++) {
		struct report_workload workload = {.name = names[i],
			.title = titles[i],
			.unit = "M/s",
			.axis = "millions of reads per second",
			.scale = 1e6,
			.bytes = LINE_SIZE};

		base = 0;
		workload.bases[base++] = "pread";
		workload.bases[base++] = "mmap";
		if (views[i].array)
			workload.bases[base++] = "bare array";
		if (i == HOT)
			workload.bases[base++] = "add+sub";
		report_workload(&bench->report, &workload);
	}
}

/* The cells of a workload: each contender that can do it, with each number of threads. */
static unsigned add_cells(const struct bench *bench, unsigned workload, bool chained, bool hot,
	struct view *view, struct cell *cells)
{
	unsigned thread_counts[THREAD_COUNTS_MAX], counts, i, contender, found = 0;

	counts = rounds_thread_counts(bench->threads, thread_counts);
	for (i = 0; i < counts; i++) {
		for (contender = 0; contender < CONTENDERS; contender++) {
			if (is_missing(view, &contenders[contender]))
				continue;
			if (!contenders[contender].one && !hot)
				continue;
			if (chained && !contenders[contender].chained)
				continue;
			cells[found++] = (struct cell){
				.workload = workload,
				.contender = contenders[contender].name,
				.role = contenders[contender].role,
				.threads = thread_counts[i],
				.batch = chained ? contenders[contender].chained
						 : contenders[contender].independent,
				.context = view,
			};
		}
	}
	return found;
}

/* Cache the part of the file in which hits are measured, and nothing else. */
static bool cache_part(struct bench *bench)
{
	const size_t block = (size_t)1 << 20;
	char *buffer = malloc(block);
	uint64_t offset, misses;
	ssize_t got = 0;
	int pass;

	if (!buffer) {
		complain("out of memory");
		return false;
	}
	progress("caching %s of the file", size_about(bench->part));
	folio_file_invalidate(bench->file, 0, UINT64_MAX);
	/* The cache need not keep pages that were read only once. */
	for (pass = 0; pass < 4; pass++) {
		misses = bench_stats(bench).misses;
		for (offset = 0; offset < bench->part; offset += (uint64_t)got) {
			got = folio_file_read(bench->file, buffer,
				bench->part - offset < block ? bench->part - offset : block,
				offset);
			if (got <= 0)
				break;
		}
		if (got <= 0 || bench_stats(bench).misses == misses)
			break;
	}
	free(buffer);
	if (got <= 0) {
		progress_end();
		complain("%s: %s", bench->name,
			got ? strerror((int)-got) : "the file became shorter");
		return false;
	}
	return true;
}

static void *map_file(struct bench *bench)
{
	void *map;

	/* Pages are mapped in advance, just as those of folio's cache are cached in advance. */
	map = mmap(NULL, bench->size, PROT_READ,
		MAP_SHARED | (bench->size < machine_memory_available() ? MAP_POPULATE : 0),
		bench->fds[0], 0);
	if (map != MAP_FAILED)
		return map;
	progress_end();
	complain("%s: cannot map it: %s", bench->name, strerror(errno));
	return NULL;
}

/* all: of the offsets of uniform. */
static void make_views(const struct view *all, const struct offsets *offsets,
	const struct eighth *eighth, struct view *views)
{
	unsigned i;

	for (i = 0; i < WORKLOADS; i++)
		views[i] = *all;
	views[HOT].offsets = offsets->hot;
	views[HOT].mask = LINES_PER_PAGE - 1;
	views[ZIPF].offsets = offsets->zipf;
	views[EIGHTH].file = eighth->file;
	views[EIGHTH].in_place = eighth->in_place;
	views[EIGHTH].offsets = eighth->offsets;
	/* Its pages are anywhere in the file. */
	if (!all->bench->fits)
		views[EIGHTH].array = NULL;
}

/* With view, which has all ways to read the part of the file that is cached. */
static bool measure_hits(const struct view *view, const struct offsets *offsets,
	const struct eighth *eighth, double seconds)
{
	static struct cell cells[WORKLOADS * THREAD_COUNTS_MAX * CONTENDERS];
	unsigned workloads = eighth->cache ? WORKLOADS : EIGHTH, count = 0, first, i;
	struct bench *bench = view->bench;
	struct folio_cache_stats before, after;
	struct view views[WORKLOADS];

	make_views(view, offsets, eighth, views);
	if (eighth->cache && !check_contenders(&views[EIGHTH]))
		return false;
	first = bench->report.workload_count;
	add_workloads(bench, views, workloads);
	for (i = 0; i < workloads; i++)
		count +=
			add_cells(bench, first + i, i == CHAIN, i == HOT, &views[i], &cells[count]);
	offsets_spread(bench, offsets);

	before = eighth_stats(bench, eighth);
	if (!rounds_run(&bench->report, bench->workers, cells, count, seconds, "bench"))
		return false;
	after = eighth_stats(bench, eighth);
	if (after.misses != before.misses)
		report_note(&bench->report, "Of %llu folio reads that should all hit, %llu missed.",
			(unsigned long long)(after.misses - before.misses + after.hits -
					     before.hits),
			(unsigned long long)(after.misses - before.misses));
	return true;
}

bool bench_hits(struct bench *bench, double seconds)
{
	struct folio_ref counter __attribute__((aligned(128))) = {0};
	struct offsets offsets = {0};
	struct eighth eighth = {0};
	struct view view = {
		.file = bench->file, .fds = bench->fds, .counter = &counter, .bench = bench};
	bool good = false;

	if (!offsets_make(bench, bench->part, &offsets) || (!bench->fits && !cache_part(bench)))
		goto out;
	view.offsets = offsets.uniform;
	view.mask = offsets.count - 1;
	if (folio_file_view(bench->file, FOLIO_VIEW_LAYOUT, &view.in_place))
		view.in_place = NULL;
	view.map = map_file(bench);
	if (!view.map)
		goto out;
	view.array = load_array(bench);
	progress_end();
	if (!view.array)
		report_note(&bench->report,
			"No bare array: there is too little memory for a copy of the file.");
	if (check_contenders(&view) && eighth_open(bench, offsets.count, &eighth)) {
		progress_end();
		good = measure_hits(&view, &offsets, &eighth, seconds);
	}
	eighth_close(&eighth);
	if (view.array)
		huge_free((void *)view.array, bench->part);
	munmap((void *)view.map, bench->size);
out:
	offsets_free(&offsets);
	return good;
}

/* ---- all of a file that does not fit ---- */

static void begin_sample(const struct cell *cell)
{
	struct view *view = cell->context;

	*view->before = bench_stats(view->bench);
}

/* extra: misses divided by reads, in the entire sample with its unmeasured part. */
static bool record_own(struct report *report, const struct cell *cell, const struct sample *sample)
{
	struct view *view = cell->context;
	struct folio_cache_stats after = bench_stats(view->bench);
	uint64_t misses = after.misses - view->before->misses;
	uint64_t hits = after.hits - view->before->hits;

	report_sample(&report->workloads[cell->workload], cell->contender, cell->role,
		cell->threads, sample->rate,
		misses + hits ? (double)misses / (double)(misses + hits) : 0);
	return true;
}

bool bench_whole(struct bench *bench, double seconds)
{
	static const struct report_workload workload = {.name = "whole file",
		.title = "64-byte reads anywhere in it; folio misses, but the kernel's cache may "
			 "hold all of it",
		.unit = "M/s",
		.axis = "millions of reads per second",
		.scale = 1e6,
		.bytes = LINE_SIZE,
		.bases = {"pread", "mmap"},
		.extra = "missed"};
	static struct cell cells[THREAD_COUNTS_MAX * CONTENDERS];
	struct folio_cache_stats before = {0};
	struct offsets offsets = {0};
	struct view view = {
		.file = bench->file, .fds = bench->fds, .bench = bench, .before = &before};
	unsigned i, count;
	bool good = false;

	if (!offsets_make(bench, bench->size, &offsets))
		goto out;
	view.map = map_file(bench);
	if (!view.map)
		goto out;
	progress_end();
	view.offsets = offsets.uniform;
	view.mask = offsets.count - 1;
	offsets_spread(bench, &offsets);
	report_workload(&bench->report, &workload);
	count = add_cells(bench, bench->report.workload_count - 1, false, false, &view, cells);
	for (i = 0; i < count; i++) {
		if (cells[i].role != ROLE_OWN)
			continue;
		cells[i].prepare = begin_sample;
		cells[i].record = record_own;
	}
	good = check_contenders(&view) &&
	       rounds_run(&bench->report, bench->workers, cells, count, seconds, "bench");
	munmap((void *)view.map, bench->size);
out:
	offsets_free(&offsets);
	return good;
}
