/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench-hit.c - reads of a cached line of 64 bytes, by every way to read a file.
 *
 * Where to read stands in arrays made beforehand, so that no generator is measured. All contenders walk the
 * same array and go on where the last one stopped: nobody finds what another has just pulled into the
 * processor's caches, which pread and mmap otherwise would, since they read the same memory.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <folio/ref.h>

#include "bench.h"
#include "command.h"
#include "machine.h"
#include "random.h"
#include "rounds.h"

#define LINES_PER_PAGE (FOLIO_PAGE_SIZE / LINE_SIZE)

/* So many different places that no processor's cache holds them all: 2^23 lines are 512 MiB. */
#define PLACES_MAX (UINT64_C(1) << 23)
#define PLACES_MIN (UINT64_C(1) << 16)

#define CHECKS 1000 /* whole lines that each contender is compared on before it is measured */

#define ZIPF_EXPONENT 0.99

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
};

/*
 * ---- the contenders ----
 *
 * Each copies the line at offset. 0, or an errno, or SHORT.
 */

#define SHORT (-1)

static inline int copy_line(const struct view *view, const struct worker *worker, uint64_t offset,
	union line *line)
{
	ssize_t got = folio_file_read(view->file, line, LINE_SIZE, offset);

	return got == LINE_SIZE ? 0 : got < 0 ? (int)-got : SHORT;
}

static inline int pin_line(const struct view *view, const struct worker *worker, uint64_t offset,
	union line *line)
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

static inline int pread_line(const struct view *view, const struct worker *worker, uint64_t offset,
	union line *line)
{
	ssize_t got = pread(view->fds[worker->index], line, LINE_SIZE, (off_t)offset);

	return got == LINE_SIZE ? 0 : got < 0 ? errno : SHORT;
}

static inline int mmap_line(const struct view *view, const struct worker *worker, uint64_t offset,
	union line *line)
{
	memcpy(line, view->map + offset, LINE_SIZE);
	return 0;
}

static inline int array_line(const struct view *view, const struct worker *worker, uint64_t offset,
	union line *line)
{
	memcpy(line, view->array + offset, LINE_SIZE);
	return 0;
}

typedef int read_line(const struct view *view, const struct worker *worker, uint64_t offset,
	union line *line);

/*
 * The loop around each of them. Inlined, so that one is called directly or is inlined, too. chained: where
 * the next line is read depends on what was in this one, so that reads cannot overlap, as in a walk down a
 * search tree.
 */
static inline __attribute__((always_inline)) uint64_t read_lines(struct worker *worker, uint64_t n,
	bool chained, read_line *one)
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

#define LOOPS(name)                                                                                \
	static uint64_t name##_independent(struct worker *worker, uint64_t n)                      \
	{                                                                                          \
		return read_lines(worker, n, false, name##_line);                                  \
	}                                                                                          \
	static uint64_t name##_chained(struct worker *worker, uint64_t n)                          \
	{                                                                                          \
		return read_lines(worker, n, true, name##_line);                                   \
	}

LOOPS(copy)
LOOPS(pin)
LOOPS(pread)
LOOPS(mmap)
LOOPS(array)

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
	team_batch *independent, *chained;
	read_line *one; /* NULL: reads nothing */
};

static const struct contender contenders[] = {
	{"folio copy", ROLE_OWN, copy_independent, copy_chained, copy_line},
	{"folio pin", ROLE_OWN, pin_independent, pin_chained, pin_line},
	{"pread", ROLE_PEER, pread_independent, pread_chained, pread_line},
	{"mmap", ROLE_PEER, mmap_independent, mmap_chained, mmap_line},
	{"bare array", ROLE_LIMIT, array_independent, array_chained, array_line},
	{"add+sub", ROLE_LIMIT, count_pairs, NULL, NULL},
};

#define CONTENDERS (sizeof(contenders) / sizeof(contenders[0]))

/* ---- places ---- */

struct places {
	uint32_t *uniform, *zipf;
	uint64_t count;
	uint64_t lines; /* in the part of the file that is read */
	uint64_t pages;
	struct zipf curve;
};

static bool fill_places(struct worker *worker)
{
	struct places *places = worker->context;
	uint64_t first = places->count * worker->index / worker->threads;
	uint64_t last = places->count * (worker->index + 1) / worker->threads;
	uint64_t state = random_mix(worker->index + 1), i, page, line;

	for (i = first; i < last; i++)
		places->uniform[i] = (uint32_t)random_below(&state, places->lines);
	for (i = first; i < last; i++) {
		/* Popular pages lie anywhere, not side by side; the lines of a page are equally popular. */
		do {
			page = random_permute(zipf_next(&places->curve, &state) - 1, places->pages,
				UINT64_C(0xf0110));
			line = page * LINES_PER_PAGE + random_below(&state, LINES_PER_PAGE);
		} while (line >= places->lines);
		places->zipf[i] = (uint32_t)line;
	}
	return true;
}

static bool make_places(struct bench *bench, struct places *places)
{
	places->lines = bench->size / LINE_SIZE;
	if (places->lines > UINT32_MAX) {
		places->lines = UINT32_MAX;
		report_note(&bench->report, "Hits are measured over the first 256 GiB of the file.");
	}
	places->pages = (places->lines + LINES_PER_PAGE - 1) / LINES_PER_PAGE;
	places->count = PLACES_MIN;
	while (places->count < PLACES_MAX && places->count < 4 * places->lines)
		places->count *= 2;
	zipf_init(&places->curve, places->pages, ZIPF_EXPONENT);
	places->uniform = huge_alloc(places->count * sizeof(*places->uniform));
	places->zipf = huge_alloc(places->count * sizeof(*places->zipf));
	if (!places->uniform || !places->zipf) {
		complain("out of memory");
		return false;
	}
	progress("choosing places to read");
	return team_each(bench->team, bench->threads, fill_places, places);
}

static void free_places(struct places *places)
{
	if (places->uniform)
		huge_free(places->uniform, places->count * sizeof(*places->uniform));
	if (places->zipf)
		huge_free(places->zipf, places->count * sizeof(*places->zipf));
}

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

	if (2 * bench->size > machine_memory_available())
		return NULL;
	array = huge_alloc(bench->size);
	if (!array)
		return NULL;
	progress("loading the file into an array");
	while (done < bench->size) {
		got = pread(bench->fds[0], array + done, bench->size - done, (off_t)done);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			huge_free(array, bench->size);
			return NULL;
		}
		done += (uint64_t)got;
	}
	return array;
}

/* Whole lines at random places, by each contender, against pread. */
static bool check_contenders(struct bench *bench, const struct view *view, const struct places *places)
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
			if (pread(bench->fds[0], &expected, LINE_SIZE, (off_t)offset) != LINE_SIZE ||
				contenders[i].one(view, &worker, offset, &line)) {
				complain("%s: cannot be read at offset %llu any more", bench->name,
					(unsigned long long)offset);
				return false;
			}
			if (memcmp(&line, &expected, LINE_SIZE)) {
				complain("%s: %s gives something else than pread at offset %llu",
					bench->name, contenders[i].name, (unsigned long long)offset);
				return false;
			}
		}
	}
	return true;
}

enum { HOT, UNIFORM, ZIPF, CHAIN, WORKLOADS };

static const struct report_workload workloads[WORKLOADS] = {
	[HOT] = {.name = "hot", .title = "64-byte reads of one page"},
	[UNIFORM] = {.name = "uniform", .title = "64-byte reads anywhere in the file"},
	[ZIPF] = {.name = "zipf",
		.title = "64-byte reads, popularity of the pages after Zipf (exponent 0.99)"},
	[CHAIN] = {.name = "chain",
		.title = "64-byte reads anywhere, each place known only when the last read is done"},
};

static void add_workloads(struct bench *bench, bool array)
{
	static const char *const with_misses[WORKLOADS] = {
		[UNIFORM] = "64-byte reads anywhere in the file; the file is larger than the cache, so "
			    "that folio misses",
		[ZIPF] = "64-byte reads, pages after Zipf (exponent 0.99); the file is larger than the "
			 "cache, so that folio misses",
		[CHAIN] = "64-byte reads anywhere, each place known only when the last read is done; "
			  "folio misses",
	};
	unsigned i, base;

	for (i = 0; i < WORKLOADS; i++) {
		struct report_workload *workload = report_workload(&bench->report, &workloads[i]);

		workload->unit = "M/s";
		workload->axis = "millions of reads a second";
		workload->scale = 1e6;
		workload->bytes = LINE_SIZE;
		if (!bench->fits && with_misses[i])
			workload->title = with_misses[i];
		base = 0;
		workload->bases[base++] = "pread";
		workload->bases[base++] = "mmap";
		if (array)
			workload->bases[base++] = "bare array";
		if (i == HOT)
			workload->bases[base++] = "add+sub";
	}
}

static unsigned add_cells(const struct bench *bench, struct view views[WORKLOADS], struct cell *cells)
{
	unsigned thread_counts[THREAD_COUNTS_MAX], thread_count, counts, workload, i, found = 0;

	counts = rounds_thread_counts(bench->threads, thread_counts);
	for (workload = 0; workload < WORKLOADS; workload++) {
		for (thread_count = 0; thread_count < counts; thread_count++) {
			for (i = 0; i < CONTENDERS; i++) {
				if (contenders[i].one == array_line && !views[workload].array)
					continue;
				if (!contenders[i].one && workload != HOT)
					continue;
				cells[found++] = (struct cell){
					.workload = workload,
					.contender = contenders[i].name,
					.role = contenders[i].role,
					.threads = thread_counts[thread_count],
					.batch = workload == CHAIN ? contenders[i].chained
								   : contenders[i].independent,
					.context = &views[workload],
				};
			}
		}
	}
	return found;
}

bool bench_hits(struct bench *bench, double seconds)
{
	static struct cell cells[WORKLOADS * THREAD_COUNTS_MAX * CONTENDERS];
	struct folio_ref counter __attribute__((aligned(128))) = {0};
	uint32_t hot[LINES_PER_PAGE];
	struct places places = {0};
	struct view views[WORKLOADS];
	struct view view = {.file = bench->file, .fds = bench->fds, .counter = &counter};
	struct folio_cache_stats before, after;
	uint64_t page;
	bool good = false;
	unsigned i;
	void *map;

	if (!make_places(bench, &places))
		goto out;
	/* Mapped pages are in place beforehand, as those of the cache are. */
	map = mmap(NULL, bench->size, PROT_READ,
		MAP_SHARED | (bench->size < machine_memory_available() ? MAP_POPULATE : 0),
		bench->fds[0], 0);
	if (map == MAP_FAILED) {
		progress_end();
		complain("%s: cannot map it: %s", bench->name, strerror(errno));
		goto out;
	}
	view.map = map;
	view.array = load_array(bench);
	progress_end();
	if (!view.array)
		report_note(&bench->report, "No bare array: memory is too short for a copy of the file.");
	if (!check_contenders(bench, &view, &places))
		goto out_mapped;

	/* The hot page lies in the middle; the last page of a small file may have fewer lines. */
	page = places.pages / 2;
	for (i = 0; i < LINES_PER_PAGE; i++) {
		hot[i] = (uint32_t)(page * LINES_PER_PAGE + i);
		if (hot[i] >= places.lines)
			hot[i] = (uint32_t)(page * LINES_PER_PAGE);
	}
	for (i = 0; i < WORKLOADS; i++) {
		views[i] = view;
		views[i].places = i == HOT ? hot : i == ZIPF ? places.zipf : places.uniform;
		views[i].mask = i == HOT ? LINES_PER_PAGE - 1 : places.count - 1;
	}
	/* Threads begin in different parts of the arrays. */
	for (i = 0; i < bench->threads; i++)
		team_worker(bench->team, i)->position = places.count / bench->threads * i;

	add_workloads(bench, view.array != NULL);
	before = bench_stats(bench);
	good = rounds_run(&bench->report, bench->team, cells, add_cells(bench, views, cells), seconds,
		"bench");
	after = bench_stats(bench);
	if (good && bench->fits && after.misses != before.misses)
		report_note(&bench->report,
			"Although the file fits, %llu of %llu reads by folio were misses.",
			(unsigned long long)(after.misses - before.misses),
			(unsigned long long)(after.misses - before.misses + after.hits - before.hits));
out_mapped:
	if (view.array)
		huge_free((void *)view.array, bench->size);
	munmap((void *)view.map, bench->size);
out:
	free_places(&places);
	return good;
}
