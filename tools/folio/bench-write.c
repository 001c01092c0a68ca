/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench-write.c - folio bench write: writes through the cache beside those of the kernel.
 *
 * The first half of the file is written through the cache and the second by the others, so that nobody finds pages that
 * another has made stale. In each half what is written in pages and what is written in blocks lie apart, so that blocks do not find
 * pages that were cached one by one. What is written to last is written in groups that end with a sync, and only whole groups are
 * counted: at the end of a sample nothing is left for the next contender's sync to write.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"
#include "command.h"
#include "options.h"
#include "places.h"
#include "progress.h"
#include "rounds.h"

#define BLOCK_MAX \
	((uint64_t)256 << 10) /* of sequential writing: so short that a group fits into a sample */
#define ORDER_KEY UINT64_C(0x3417e)

static const char help[] =
	"usage: folio bench write [FILE --overwrite] [--cache SIZE] [--threads N] [--seconds S]\n"
	"                         [--sync N] [--json | --csv] [--svg FILE]\n"
	"\n"
	"Measures writes through the cache against pwrite of the same file: 64 bytes of what is\n"
	"cached, and writes that are made to last by a sync after every N of them. At the end all\n"
	"of the file is compared with what the kernel reads. Without FILE it makes one of 256 MiB\n"
	"in $TMPDIR or /var/tmp, which is gone when the command ends.\n"
	"\n"
	"  --overwrite    FILE may be written over: what it holds is lost\n"
	"  --cache SIZE   memory for pages (default: the file and a tenth more, but at most half\n"
	"                 of the machine's memory)\n"
	"  --threads N    measure at 1, 2, 4 ... N threads (default: one a processor)\n"
	"  --seconds S    time for the measuring, about (default: 10)\n"
	"  --sync N       writes up to each sync (default: 32)\n"
	"  --json, --csv  results for programs\n"
	"  --svg FILE     results as a picture, too\n";

/* What all contenders write to. Constant while they do. */
struct writes {
	struct bench *bench;
	uint64_t half;  /* bytes; where the others begin */
	uint64_t pages; /* at the start of each half, that are written at random */
	uint64_t rest;  /* bytes; where in each half what is written in blocks begins */
	uint64_t block; /* bytes of a sequential write */
	uint64_t blocks;
	char *map;     /* of the second half */
	char *buffers; /* a block for each thread */
};

static int error_of(ssize_t written, size_t wanted)
{
	return written < 0 ? (int)-written : (size_t)written == wanted ? 0 : EIO;
}

static int error_of_call(ssize_t written, size_t wanted)
{
	return error_of(written < 0 ? -errno : written, wanted);
}

/* ---- lines of what is cached ---- */

struct lines {
	const struct writes *writes;
	const uint32_t *places;
	uint64_t mask; /* of places, whose number is a power of two */
};

/* Each writes a line at offset of its half. 0 or an errno. */
typedef int write_line(const struct writes *writes, const struct worker *worker, uint64_t offset,
	const void *line);

static inline int copy_line(
	const struct writes *writes, const struct worker *worker, uint64_t offset, const void *line)
{
	return error_of(folio_file_write(writes->bench->file, line, LINE_SIZE, offset), LINE_SIZE);
}

static inline int place_line(
	const struct writes *writes, const struct worker *worker, uint64_t offset, const void *line)
{
	struct folio *folio;
	void *page;
	int r;

	r = folio_file_get_page(writes->bench->file, offset >> FOLIO_PAGE_SHIFT, 0, &folio, &page);
	if (r)
		return -r;
	r = folio_lock(folio);
	if (!r) {
		memcpy((char *)page + offset % FOLIO_PAGE_SIZE, line, LINE_SIZE);
		r = folio_mark_dirty(folio, 0);
		folio_unlock(folio);
	}
	folio_put(folio);
	return -r;
}

static inline int pwrite_line(
	const struct writes *writes, const struct worker *worker, uint64_t offset, const void *line)
{
	return error_of_call(pwrite(writes->bench->fds[worker->index], line, LINE_SIZE,
				     (off_t)(writes->half + offset)),
		LINE_SIZE);
}

static inline int mmap_line(
	const struct writes *writes, const struct worker *worker, uint64_t offset, const void *line)
{
	memcpy(writes->map + offset, line, LINE_SIZE);
	return 0;
}

/* The loop around each of them, inlined into it. No two lines are the same. */
static inline __attribute__((always_inline)) uint64_t write_lines(
	struct worker *worker, uint64_t n, write_line *one)
{
	const struct lines *lines = worker->context;
	uint64_t line[LINE_SIZE / sizeof(uint64_t)] __attribute__((aligned(64))) = {0};
	uint64_t i;

	for (i = 0; i < n; i++) {
		uint64_t place = lines->places[worker->position++ & lines->mask];

		line[0] = worker->sum++;
		worker->error = one(lines->writes, worker, place * LINE_SIZE, line);
		if (__builtin_expect(worker->error, 0))
			return 0;
	}
	return n;
}

#define LOOP(name)                                                      \
	static uint64_t name##_lines(struct worker *worker, uint64_t n) \
	{                                                               \
		return write_lines(worker, n, name##_line);             \
	}

LOOP(copy)
LOOP(place)
LOOP(pwrite)
LOOP(mmap)

static const struct {
	const char *name;
	enum report_role role;
	team_batch *batch;
} line_contenders[] = {
	{"folio write", ROLE_OWN, copy_lines},
	{"folio in place", ROLE_OWN, place_lines},
	{"pwrite", ROLE_PEER, pwrite_lines},
	{"mmap", ROLE_PEER, mmap_lines},
};

#define LINE_CONTENDERS (sizeof(line_contenders) / sizeof(line_contenders[0]))

/* ---- writes that last ---- */

struct durable {
	const struct writes *writes;
	bool own; /* through the cache */
	bool sequential; /* blocks, one after the other; else pages, in an order in which each comes once */
};

static int write_next(const struct durable *durable, struct worker *worker)
{
	const struct writes *writes = durable->writes;
	const struct bench *bench = writes->bench;
	char *buffer = writes->buffers + worker->index * writes->block;
	size_t len = durable->sequential ? writes->block : FOLIO_PAGE_SIZE;
	uint64_t offset;

	if (durable->sequential)
		offset = writes->rest + worker->position % writes->blocks * writes->block;
	else
		offset = FOLIO_PAGE_SIZE *
			 random_permute(worker->position % writes->pages, writes->pages, ORDER_KEY);
	worker->position++;
	*(uint64_t *)buffer = worker->sum++;
	if (durable->own)
		return error_of(folio_file_write(bench->file, buffer, len, offset), len);
	return error_of_call(
		pwrite(bench->fds[worker->index], buffer, len, (off_t)(writes->half + offset)),
		len);
}

/* Whole groups, at least one. */
static uint64_t write_groups(struct worker *worker, uint64_t n)
{
	const struct durable *durable = worker->context;
	const struct bench *bench = durable->writes->bench;
	uint64_t done = 0;
	unsigned i;

	do {
		for (i = 0; i < bench->sync; i++) {
			worker->error = write_next(durable, worker);
			if (worker->error)
				return 0;
		}
		if (durable->own)
			worker->error = -folio_file_sync(bench->file, NULL, FOLIO_SYNC_DATA);
		else
			worker->error = fdatasync(bench->fds[worker->index]) ? errno : 0;
		if (worker->error)
			return 0;
		done += bench->sync;
	} while (done < n);
	return done;
}

/* ---- the whole ---- */

enum { HOT, UNIFORM, RANDOM, SEQUENTIAL, WORKLOADS };

static char titles[WORKLOADS][160];

static void add_workloads(const struct writes *writes, uint64_t part)
{
	struct report *report = &writes->bench->report;
	unsigned sync = writes->bench->sync, i;
	struct report_workload workloads[WORKLOADS] = {
		[HOT] = {.name = "hot", .bytes = LINE_SIZE},
		[UNIFORM] = {.name = "uniform", .bytes = LINE_SIZE},
		[RANDOM] = {.name = "random", .bytes = FOLIO_PAGE_SIZE},
		[SEQUENTIAL] = {.name = "sequential", .bytes = writes->block},
	};

	snprintf(titles[HOT], sizeof(titles[HOT]), "64-byte overwrites in one page, no sync");
	snprintf(titles[UNIFORM], sizeof(titles[UNIFORM]),
		"64-byte overwrites anywhere in %s, which are cached, no sync", size_about(part));
	snprintf(titles[RANDOM], sizeof(titles[RANDOM]),
		"4 KiB writes anywhere in %s, a sync after each %u",
		size_about(writes->pages * FOLIO_PAGE_SIZE), sync);
	snprintf(titles[SEQUENTIAL], sizeof(titles[SEQUENTIAL]),
		"%s writes one after the other, a sync after each %u", size_about(writes->block),
		sync);
	for (i = 0; i < WORKLOADS; i++) {
		bool lines = i == HOT || i == UNIFORM;

		workloads[i].title = titles[i];
		workloads[i].unit = lines ? "M/s" : "k/s";
		workloads[i].axis =
			lines ? "millions of writes a second" : "thousands of writes a second";
		workloads[i].scale = lines ? 1e6 : 1e3;
		workloads[i].bases[0] = lines ? "pwrite" : "pwrite+fdatasync";
		workloads[i].bases[1] = lines ? "mmap" : NULL;
		report_workload(report, &workloads[i]);
	}
}

/* Bring the part in that lines are written in, on both sides. */
static bool cache_part(const struct writes *writes, uint64_t part)
{
	struct bench *bench = writes->bench;
	uint64_t offset;
	ssize_t got;

	progress("caching %s of each half", size_about(part));
	for (offset = 0; offset < part; offset += FOLIO_PAGE_SIZE) {
		got = folio_file_read(bench->file, writes->buffers, FOLIO_PAGE_SIZE, offset);
		if (got >= 0 && pread(bench->fds[0], writes->buffers, FOLIO_PAGE_SIZE,
					(off_t)(writes->half + offset)) < 0)
			got = -errno;
		if (got < 0) {
			progress_end();
			complain("%s: %s", bench->name, strerror((int)-got));
			return false;
		}
	}
	return true;
}

static bool measure_lines(const struct writes *writes, const struct places *places, double seconds)
{
	static struct cell cells[2 * THREAD_COUNTS_MAX * LINE_CONTENDERS];
	struct lines lines[2] = {
		[HOT] = {writes, places->hot, LINES_PER_PAGE - 1},
		[UNIFORM] = {writes, places->uniform, places->count - 1},
	};
	struct bench *bench = writes->bench;
	unsigned thread_counts[THREAD_COUNTS_MAX], counts, count = 0, i, j, workload;

	counts = rounds_thread_counts(bench->threads, thread_counts);
	for (workload = HOT; workload <= UNIFORM; workload++)
		for (i = 0; i < counts; i++)
			for (j = 0; j < LINE_CONTENDERS; j++)
				cells[count++] = (struct cell){
					.workload = workload,
					.contender = line_contenders[j].name,
					.role = line_contenders[j].role,
					.threads = thread_counts[i],
					.batch = line_contenders[j].batch,
					.context = &lines[workload],
				};
	places_spread(bench, places);
	return rounds_run(&bench->report, bench->team, cells, count, seconds, "bench write");
}

/* What came before is on the device: the first sync would have to write it. */
static bool settle(const struct bench *bench)
{
	int r = folio_file_sync(bench->file, NULL, 0);

	if (!r && fdatasync(bench->fds[0]))
		r = -errno;
	if (!r)
		return true;
	progress_end();
	complain("%s: %s", bench->name, strerror(-r));
	return false;
}

static bool measure_durable(const struct writes *writes, double seconds)
{
	static struct cell cells[4 * THREAD_COUNTS_MAX];
	struct durable durable[4];
	struct bench *bench = writes->bench;
	unsigned thread_counts[THREAD_COUNTS_MAX], counts, count = 0, i, j;

	counts = rounds_thread_counts(bench->threads, thread_counts);
	for (j = 0; j < 4; j++)
		durable[j] = (struct durable){writes, .own = j % 2 == 0, .sequential = j / 2};
	/* Those that are compared stand beside each other. */
	for (j = 0; j < 4; j += 2)
		for (i = 0; i < 2 * counts; i++)
			cells[count++] = (struct cell){
				.workload = durable[j].sequential ? SEQUENTIAL : RANDOM,
				.contender = i % 2 ? "pwrite+fdatasync" : "folio write+sync",
				.role = i % 2 ? ROLE_PEER : ROLE_OWN,
				.threads = thread_counts[i / 2],
				.batch = write_groups,
				.context = &durable[j + i % 2],
			};
	for (i = 0; i < bench->threads; i++)
		team_worker(bench->team, i)->position = writes->pages / bench->threads * i;
	return rounds_run(&bench->report, bench->team, cells, count, seconds, "bench write");
}

static void describe(struct bench *bench)
{
	struct folio_cache_stats stats = bench_stats(bench);
	struct report *report = &bench->report;

	report_text(report, "file", "name", "%s", bench->name);
	report_number(report, "file", "bytes", (double)bench->size);
	report_number(report, "file", "sync", bench->sync);
	report_text(report, "cache", "io", "%s", stats.io);
	report_number(report, "cache", "bytes", (double)bench->cache_bytes);
	report_number(report, "cache", "writes", (double)stats.writes);
	report_number(report, "cache", "write_bytes", (double)stats.write_bytes);
	report_number(report, "cache", "throttled", (double)stats.throttled);
	report_note(report,
		"Cache: %llu writes of %s in all, %llu calls that had to wait for them.",
		(unsigned long long)stats.writes, size_about(stats.write_bytes),
		(unsigned long long)stats.throttled);
}

static bool run(struct bench *bench)
{
	struct writes writes = {.bench = bench, .map = MAP_FAILED};
	struct places places = {0};
	bool good = false;
	uint64_t part;

	writes.half = bench->size / 2 / FOLIO_PAGE_SIZE * FOLIO_PAGE_SIZE;
	/* Of a half of a single page both have that page. */
	writes.rest = writes.half / 2 / FOLIO_PAGE_SIZE * FOLIO_PAGE_SIZE;
	writes.pages = (writes.rest ? writes.rest : writes.half) / FOLIO_PAGE_SIZE;
	writes.block = writes.half - writes.rest;
	if (writes.block > BLOCK_MAX)
		writes.block = BLOCK_MAX;
	writes.blocks = (writes.half - writes.rest) / writes.block;
	/* A quarter of the cache may be dirty, and write-back is woken at half of that: neither is what overwrites are about. */
	part = bench->cache_bytes / 10 / FOLIO_PAGE_SIZE * FOLIO_PAGE_SIZE;
	if (part > writes.half)
		part = writes.half;
	if (!bench_begin(bench, bench->threads))
		return false;
	writes.buffers = aligned_alloc(FOLIO_PAGE_SIZE, bench->threads * writes.block);
	if (!writes.buffers) {
		complain("out of memory");
		return false;
	}
	memset(writes.buffers, 0x55, bench->threads * writes.block);
	if (!places_make(bench, part, &places) || !cache_part(&writes, part))
		goto out;
	writes.map = mmap(NULL, part, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
		bench->fds[0], (off_t)writes.half);
	if (writes.map == MAP_FAILED) {
		progress_end();
		complain("%s: cannot map it: %s", bench->name, strerror(errno));
		goto out;
	}
	add_workloads(&writes, part);
	good = measure_lines(&writes, &places, bench->seconds * 0.4) && settle(bench) &&
	       measure_durable(&writes, bench->seconds * 0.6) && settle(bench);
	if (!good)
		goto out;
	/* What was read ahead of the others' half is not what they have written since. */
	folio_file_invalidate(bench->file, writes.half, UINT64_MAX);
	good = bench_verify(bench);
	if (good)
		describe(bench);
out:
	if (writes.map != MAP_FAILED)
		munmap(writes.map, part);
	places_free(&places);
	free(writes.buffers);
	return good;
}

int bench_write_command(int argc, char **argv)
{
	struct bench bench = {
		.threads = bench_threads(), .sync = 32, .seconds = 10, .writes = true};
	struct output output = {0};
	bool overwrite = false;
	const struct option_spec specs[] = {
		{"--overwrite", OPTION_FLAG, &overwrite, 0, 0},
		{"--cache", OPTION_SIZE, &bench.cache_bytes, FOLIO_CACHE_BYTES_MIN, INT64_MAX},
		{"--threads", OPTION_COUNT, &bench.threads, 1, THREADS_MAX},
		{"--seconds", OPTION_SECONDS, &bench.seconds, 0, 86400},
		{"--sync", OPTION_COUNT, &bench.sync, 1, 1000000},
		{"--json", OPTION_FLAG, &output.json, 0, 0},
		{"--csv", OPTION_FLAG, &output.csv, 0, 0},
		{"--svg", OPTION_STRING, &output.svg, 0, 0},
		{NULL, OPTION_FLAG, NULL, 0, 0},
	};
	const char *path = NULL;
	int status;

	status = options_parse("bench write", specs, help, argc, argv, &path, 1);
	if (status < 0 && overwrite && !path) {
		complain("--overwrite wants the name of the file that may be lost");
		return STATUS_USAGE;
	}
	if (status < 0 && path && !overwrite) {
		complain("bench write writes over what %s holds: say --overwrite if that may be "
			 "lost",
			path);
		return STATUS_USAGE;
	}
	if (status < 0)
		status = output_open(&output, path);
	if (status >= 0)
		return status;
	bench.report.title = "Writes: folio beside the kernel's own ways";
	bench.report.command = "folio bench write";
	return bench_of_file(&bench, &output, path, argc, argv, run);
}
