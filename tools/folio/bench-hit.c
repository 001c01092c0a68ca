/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench-hit.c - reads of a cached line of 64 bytes, by every way to read a file.
 *
 * All contenders walk the same array of places and go on where the last one stopped: nobody finds what another has just pulled into the
 * processor's caches, which pread and mmap otherwise would, since they read the same memory.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <folio/ref.h>

#include "bench.h"
#include "command.h"
#include "machine.h"
#include "options.h"
#include "places.h"
#include "progress.h"
#include "rounds.h"

#define CHECKS 1000 /* whole lines that each contender is compared on before it is measured */

union line {
	uint64_t word[LINE_SIZE / sizeof(uint64_t)];
	char byte[LINE_SIZE];
} __attribute__((aligned(64)));

/* What a workload reads: the means, and the places. Constant while it is measured. */
struct view {
	struct folio_file *file;
	const int *fds;
	const char *map;
	const char *array;
	const uint32_t *places; /* line numbers */
	uint64_t mask;          /* of places, whose number is a power of two */
	uint64_t nothing;       /* 0, which the compiler does not know */
	struct folio_ref *counter;
	struct bench *bench;
	/* When the last sample began. */
	struct folio_cache_stats *before;
};

/*
 * ---- the contenders ----
 *
 * Each copies the line at offset. 0, or an errno, or SHORT.
 */

#define SHORT (-4096) /* no errno */

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

/* As many reads as are worth a call of their own. */
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
 * The loop around each of them. Inlined, so that one is called directly or is inlined, too. chained: where
 * the next line is read depends on what was in this one, so that reads cannot overlap, as in a walk down a
 * search tree.
 */
static inline __attribute__((always_inline)) uint64_t read_lines(
	struct worker *worker, uint64_t n, bool chained, read_line *one)
{
	const struct view *view = worker->context;
	const uint32_t *places = view->places;
	uint64_t mask = view->mask, position = worker->position, sum = worker->sum, i;
	union line line;
	int error;

	for (i = 0; i < n; i++) {
		error = one(view, worker, (uint64_t)places[position & mask] * LINE_SIZE, &line);
		if (__builtin_expect(error, 0)) {
			worker->error = error == SHORT ? 0 : error;
			return 0;
		}
		/* All of the line is wanted, although one word of it is looked at. */
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
LOOPS(pin)
LOOPS(pread)
LOOPS(mmap)
LOOPS(array)

/* A call for so many lines, which are looked at when all have come. */
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
				.offset = (uint64_t)view->places[position++ & view->mask] *
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

/* The least that a pin can cost: one add and one subtraction on the same line, and nothing else. */
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
	team_batch *independent, *chained; /* NULL: does not apply */
	read_line *one;                    /* NULL: reads nothing */
};

static const struct contender contenders[] = {
	{"folio copy", ROLE_OWN, copy_independent, copy_chained, copy_line},
	{"folio batch", ROLE_OWN, batch_independent, NULL, batch_line},
	{"folio pin", ROLE_OWN, pin_independent, pin_chained, pin_line},
	{"pread", ROLE_PEER, pread_independent, pread_chained, pread_line},
	{"mmap", ROLE_PEER, mmap_independent, mmap_chained, mmap_line},
	{"bare array", ROLE_LIMIT, array_independent, array_chained, array_line},
	{"add+sub", ROLE_LIMIT, count_pairs, NULL, NULL},
};

#define CONTENDERS (sizeof(contenders) / sizeof(contenders[0]))

/* ---- setting up ---- */

/*
 * The file's contents in plain memory in huge pages: what reading cannot be faster than. NULL where memory
 * is too short for it: the file's pages in the kernel's cache must not be pushed out for it.
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
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			huge_free(array, bench->part);
			return NULL;
		}
		done += (uint64_t)got;
	}
	return array;
}

/* Whole lines at random places, by each contender, against pread. */
static bool check_contenders(
	struct bench *bench, const struct view *view, const struct places *places)
{
	struct worker worker = {.index = 0};
	union line line, expected;
	uint64_t state = 1, offset;
	unsigned i, check;

	for (i = 0; i < CONTENDERS; i++) {
		if (!contenders[i].one || (contenders[i].one == array_line && !view->array))
			continue;
		for (check = 0; check < CHECKS; check++) {
			offset = random_below(&state, places->lines) * LINE_SIZE;
			if (pread(bench->fds[0], &expected, LINE_SIZE, (off_t)offset) !=
					LINE_SIZE ||
				contenders[i].one(view, &worker, offset, &line)) {
				complain("%s: cannot be read at offset %llu any more", bench->name,
					(unsigned long long)offset);
				return false;
			}
			if (memcmp(&line, &expected, LINE_SIZE)) {
				complain("%s: %s gives something else than pread at offset %llu",
					bench->name, contenders[i].name,
					(unsigned long long)offset);
				return false;
			}
		}
	}
	return true;
}

enum { HOT, UNIFORM, ZIPF, CHAIN, WORKLOADS };

static char titles[WORKLOADS][160];

static void add_workloads(struct bench *bench, bool array)
{
	static const char *const names[WORKLOADS] = {
		[HOT] = "hot", [UNIFORM] = "uniform", [ZIPF] = "zipf", [CHAIN] = "chain"};
	char where[64] = "the file";
	unsigned i, base;

	if (!bench->fits)
		snprintf(where, sizeof(where), "%s of the file, which are cached",
			size_about(bench->part));
	snprintf(titles[HOT], sizeof(titles[HOT]), "64-byte reads of one page");
	snprintf(titles[UNIFORM], sizeof(titles[UNIFORM]), "64-byte reads anywhere in %s", where);
	snprintf(titles[ZIPF], sizeof(titles[ZIPF]),
		"the same, the pages' popularity after Zipf, exponent %.2f", ZIPF_EXPONENT);
	snprintf(titles[CHAIN], sizeof(titles[CHAIN]),
		"as uniform, but each place is known only when the last read is done");
	for (i = 0; i < WORKLOADS; i++) {
		struct report_workload workload = {.name = names[i],
			.title = titles[i],
			.unit = "M/s",
			.axis = "millions of reads a second",
			.scale = 1e6,
			.bytes = LINE_SIZE};

		base = 0;
		workload.bases[base++] = "pread";
		workload.bases[base++] = "mmap";
		if (array)
			workload.bases[base++] = "bare array";
		if (i == HOT)
			workload.bases[base++] = "add+sub";
		report_workload(&bench->report, &workload);
	}
}

/* A workload's cells: each contender that can do it, at each number of threads. */
static unsigned add_cells(const struct bench *bench, unsigned workload, bool chained, bool hot,
	struct view *view, struct cell *cells)
{
	unsigned thread_counts[THREAD_COUNTS_MAX], counts, i, contender, found = 0;

	counts = rounds_thread_counts(bench->threads, thread_counts);
	for (i = 0; i < counts; i++) {
		for (contender = 0; contender < CONTENDERS; contender++) {
			if (contenders[contender].one == array_line && !view->array)
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

/* Bring in the part of the file that hits are measured in, and nothing else. */
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
	/* A cache may well not keep what was read only once. */
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
		complain(
			"%s: %s", bench->name, got ? strerror((int)-got) : "it has become shorter");
		return false;
	}
	return true;
}

static void *map_file(struct bench *bench)
{
	void *map;

	/* Mapped pages are in place beforehand, as those of the cache are. */
	map = mmap(NULL, bench->size, PROT_READ,
		MAP_SHARED | (bench->size < machine_memory_available() ? MAP_POPULATE : 0),
		bench->fds[0], 0);
	if (map != MAP_FAILED)
		return map;
	progress_end();
	complain("%s: cannot map it: %s", bench->name, strerror(errno));
	return NULL;
}

bool bench_hits(struct bench *bench, double seconds)
{
	static struct cell cells[WORKLOADS * THREAD_COUNTS_MAX * CONTENDERS];
	struct folio_ref counter __attribute__((aligned(128))) = {0};
	struct places places = {0};
	struct view views[WORKLOADS];
	struct view view = {
		.file = bench->file, .fds = bench->fds, .counter = &counter, .bench = bench};
	struct folio_cache_stats before, after;
	unsigned i, first = bench->report.workload_count, count = 0;
	bool good = false;

	if (!places_make(bench, bench->part, &places) || (!bench->fits && !cache_part(bench)))
		goto out;
	view.map = map_file(bench);
	if (!view.map)
		goto out;
	view.array = load_array(bench);
	progress_end();
	if (!view.array)
		report_note(&bench->report,
			"No bare array: memory is too short for a copy of the file.");
	if (!check_contenders(bench, &view, &places))
		goto out_mapped;

	add_workloads(bench, view.array != NULL);
	for (i = 0; i < WORKLOADS; i++) {
		views[i] = view;
		views[i].places = i == HOT ? places.hot : i == ZIPF ? places.zipf : places.uniform;
		views[i].mask = i == HOT ? LINES_PER_PAGE - 1 : places.count - 1;
		count +=
			add_cells(bench, first + i, i == CHAIN, i == HOT, &views[i], &cells[count]);
	}
	places_spread(bench, &places);

	before = bench_stats(bench);
	good = rounds_run(&bench->report, bench->team, cells, count, seconds, "bench");
	after = bench_stats(bench);
	if (good && after.misses != before.misses)
		report_note(&bench->report, "Of %llu reads by folio that were to hit, %llu missed.",
			(unsigned long long)(after.misses - before.misses + after.hits -
					     before.hits),
			(unsigned long long)(after.misses - before.misses));
out_mapped:
	if (view.array)
		huge_free((void *)view.array, bench->part);
	munmap((void *)view.map, bench->size);
out:
	places_free(&places);
	return good;
}

/* ---- the whole of a file that does not fit ---- */

static void begin_sample(const struct cell *cell)
{
	struct view *view = cell->context;

	*view->before = bench_stats(view->bench);
}

/* extra: misses by all reads, of the whole sample with its unmeasured part. */
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
		.title = "64-byte reads anywhere in it; folio misses, while the kernel's cache may "
			 "hold all",
		.unit = "M/s",
		.axis = "millions of reads a second",
		.scale = 1e6,
		.bytes = LINE_SIZE,
		.bases = {"pread", "mmap"},
		.extra = "missed"};
	static struct cell cells[THREAD_COUNTS_MAX * CONTENDERS];
	struct folio_cache_stats before = {0};
	struct places places = {0};
	struct view view = {
		.file = bench->file, .fds = bench->fds, .bench = bench, .before = &before};
	unsigned i, count;
	bool good = false;

	if (!places_make(bench, bench->size, &places))
		goto out;
	view.map = map_file(bench);
	if (!view.map)
		goto out;
	progress_end();
	view.places = places.uniform;
	view.mask = places.count - 1;
	places_spread(bench, &places);
	report_workload(&bench->report, &workload);
	count = add_cells(bench, bench->report.workload_count - 1, false, false, &view, cells);
	for (i = 0; i < count; i++) {
		if (cells[i].role != ROLE_OWN)
			continue;
		cells[i].prepare = begin_sample;
		cells[i].record = record_own;
	}
	good = check_contenders(bench, &view, &places) &&
	       rounds_run(&bench->report, bench->team, cells, count, seconds, "bench");
	munmap((void *)view.map, bench->size);
out:
	places_free(&places);
	return good;
}
