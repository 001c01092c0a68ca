/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench-write.c - folio bench write: writes through the cache, compared with the kernel's.
 *
 * The first half of the file is written through the cache and the second half by the other
 * contenders, so that no contender finds pages that another has made stale. In each half, page
 * writes and block writes go to different parts, so that block writes do not find pages that were
 * cached one at a time. Durable writes are done in groups that end with a sync, and only complete
 * groups are counted: at the end of a sample nothing is left for the next contender's sync to
 * write.
 */
#include "bench/bench-write.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench/bench.h"
#include "bench/bench-verify.h"
#include "bench/offsets.h"
#include "bench/rounds.h"
#include "bench/summarize.h"
#include "command.h"
#include "options.h"
#include "progress.h"

/* Of sequential writes: so small that a group fits in a sample. */
#define BLOCK_MAX ((uint64_t)256 << 10)
#define ORDER_KEY UINT64_C(0x3417e)

static const char help[] =
	"usage: folio bench write [FILE --overwrite] [--cache SIZE] [--threads N]\n"
	"                         [--seconds S] [--sync N] [--all | --json | --csv]\n"
	"                         [--svg PICTURE]\n"
	"\n"
	"Measures writes through the cache, compared with pwrite to the same file:\n"
	"64-byte writes to cached data, and writes that are made durable by a sync after\n"
	"every N of them. At the end, the entire file is compared with what the kernel\n"
	"reads. Without FILE, it creates a file of 256 MiB in $TMPDIR or /var/tmp, which\n"
	"is gone when the command ends.\n"
	"\n"
	"  --overwrite    FILE may be overwritten: its contents are lost\n"
	"  --cache SIZE   memory for pages (default: the size of the file and a tenth\n"
	"                 more, but at most half of the machine's memory)\n"
	"  --threads N    measure with 1, 2, 4 ... N threads (default: one per processor)\n"
	"  --seconds S    approximate time for all measurements (default: 10)\n"
	"  --sync N       writes before each sync (default: 32)\n"
	"  --all          print the full tables instead of the summary\n"
	"  --json, --csv  print all results for programs\n"
	"  --svg PICTURE  also write the results as a picture\n";

/* The file that all contenders write. Constant while they do. */
struct writes {
	struct bench *bench;
	uint64_t half;  /* offset of the second half */
	uint64_t pages; /* written at random, from the start of each half */
	uint64_t rest;  /* offset in each half from which blocks are written */
	uint64_t block; /* bytes of a sequential write */
	uint64_t blocks;
	char *map;     /* maps the second half */
	char *buffers; /* one block for each thread */
};

static int error_of(ssize_t written, size_t expected)
{
	return written < 0 ? (int)-written : (size_t)written == expected ? 0 : EIO;
}

static int error_of_call(ssize_t written, size_t expected)
{
	return error_of(written < 0 ? -errno : written, expected);
}

/* ---- lines of cached data ---- */

struct lines {
	const struct writes *writes;
	const uint32_t *offsets;
	uint64_t mask; /* of the index in offsets, whose length is a power of two */
};

/* Writes a line at offset of its half. Returns 0 or an errno. */
typedef int write_line(const struct writes *writes, const struct worker *worker, uint64_t offset,
	const void *line);

static inline int copy_line(
	const struct writes *writes, const struct worker *worker, uint64_t offset, const void *line)
{
	return error_of(folio_file_write(writes->bench->file, line, LINE_SIZE, offset), LINE_SIZE);
}

static inline int in_place_line(
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

/* The loop around each of them; one is inlined. No two lines are equal. */
static inline __attribute__((always_inline)) uint64_t write_lines(
	struct worker *worker, uint64_t n, write_line *one)
{
	const struct lines *lines = worker->context;
	uint64_t line[LINE_SIZE / sizeof(uint64_t)] __attribute__((aligned(64))) = {0};
	uint64_t i;

	for (i = 0; i < n; i++) {
		uint64_t number = lines->offsets[worker->position++ & lines->mask];

		line[0] = worker->sum++;
		worker->error = one(lines->writes, worker, number * LINE_SIZE, line);
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
LOOP(in_place)
LOOP(pwrite)
LOOP(mmap)

static const struct {
	const char *name;
	enum report_role role;
	worker_batch *batch;
} line_contenders[] = {
	{"folio write", ROLE_OWN, copy_lines},
	{"folio in place", ROLE_OWN, in_place_lines},
	{"pwrite", ROLE_PEER, pwrite_lines},
	{"mmap", ROLE_PEER, mmap_lines},
};

#define LINE_CONTENDERS (sizeof(line_contenders) / sizeof(line_contenders[0]))

/* ---- durable writes ---- */

struct durable {
	const struct writes *writes;
	bool own; /* through the cache */
	/* Blocks in sequence; else pages, in an order in which each occurs once. */
	bool sequential;
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

/* Complete groups, at least one. */
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

/* ---- the benchmark ---- */

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
		"64-byte overwrites anywhere in %s of cached data, no sync", size_about(part));
	snprintf(titles[RANDOM], sizeof(titles[RANDOM]),
		"4 KiB writes anywhere in %s, a sync after every %u",
		size_about(writes->pages * FOLIO_PAGE_SIZE), sync);
	snprintf(titles[SEQUENTIAL], sizeof(titles[SEQUENTIAL]),
		"%s writes in sequence, a sync after every %u", size_about(writes->block), sync);
	for (i = 0; i < WORKLOADS; i++) {
		bool lines = i == HOT || i == UNIFORM;

		workloads[i].title = titles[i];
		workloads[i].unit = lines ? "M/s" : "k/s";
		workloads[i].axis =
			lines ? "millions of writes per second" : "thousands of writes per second";
		workloads[i].scale = lines ? 1e6 : 1e3;
		workloads[i].bases[0] = lines ? "pwrite" : "pwrite+fdatasync";
		workloads[i].bases[1] = lines ? "mmap" : NULL;
		report_workload(report, &workloads[i]);
	}
}

/* Cache the part in which lines are written, in both halves: in folio and in the kernel. */
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

static bool measure_lines(
	const struct writes *writes, const struct offsets *offsets, double seconds)
{
	static struct cell cells[2 * THREAD_COUNTS_MAX * LINE_CONTENDERS];
	struct lines lines[2] = {
		[HOT] = {writes, offsets->hot, LINES_PER_PAGE - 1},
		[UNIFORM] = {writes, offsets->uniform, offsets->count - 1},
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
	offsets_spread(bench, offsets);
	return rounds_run(&bench->report, bench->workers, cells, count, seconds, "bench write");
}

/* Sync earlier writes: otherwise the first measured sync would write them. */
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
	/* Cells that are compared must be adjacent. */
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
		workers_get(bench->workers, i)->position = writes->pages / bench->threads * i;
	return rounds_run(&bench->report, bench->workers, cells, count, seconds, "bench write");
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
	report_note(report, "Cache: %llu writes of %s in total, %llu calls had to wait for them.",
		(unsigned long long)stats.writes, size_about(stats.write_bytes),
		(unsigned long long)stats.throttled);
}

static bool measure(struct bench *bench)
{
	struct writes writes = {.bench = bench, .map = MAP_FAILED};
	struct offsets offsets = {0};
	bool good = false;
	uint64_t part;

	writes.half = bench->size / 2 / FOLIO_PAGE_SIZE * FOLIO_PAGE_SIZE;
	/* In a half of one page, both parts are that page. */
	writes.rest = writes.half / 2 / FOLIO_PAGE_SIZE * FOLIO_PAGE_SIZE;
	writes.pages = (writes.rest ? writes.rest : writes.half) / FOLIO_PAGE_SIZE;
	writes.block = writes.half - writes.rest;
	if (writes.block > BLOCK_MAX)
		writes.block = BLOCK_MAX;
	writes.blocks = (writes.half - writes.rest) / writes.block;
	/*
	 * A quarter of the cache may be dirty, and write-back starts at half of that. Overwrites
	 * must measure neither.
	 */
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
	if (!offsets_make(bench, part, &offsets) || !cache_part(&writes, part))
		goto out;
	writes.map = mmap(NULL, part, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
		bench->fds[0], (off_t)writes.half);
	if (writes.map == MAP_FAILED) {
		progress_end();
		complain("%s: cannot map it: %s", bench->name, strerror(errno));
		goto out;
	}
	add_workloads(&writes, part);
	good = measure_lines(&writes, &offsets, bench->seconds * 0.4) && settle(bench) &&
	       measure_durable(&writes, bench->seconds * 0.6) && settle(bench);
	if (!good)
		goto out;
	/* Read-ahead may have cached pages of the second half before they were written. */
	folio_file_invalidate(bench->file, writes.half, UINT64_MAX);
	good = bench_verify(bench);
	if (good)
		describe(bench);
out:
	if (writes.map != MAP_FAILED)
		munmap(writes.map, part);
	offsets_free(&offsets);
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
		{"--all", OPTION_FLAG, &output.all, 0, 0},
		{"--json", OPTION_FLAG, &output.json, 0, 0},
		{"--csv", OPTION_FLAG, &output.csv, 0, 0},
		{"--svg", OPTION_STRING, &output.svg, 0, 0},
		{NULL, OPTION_FLAG, NULL, 0, 0},
	};
	const struct option_set set = {"bench write", specs, help, 1};
	struct bench_job job = {.argc = argc, .argv = argv, .measure = measure};
	int status;

	status = options_parse(&set, argc, argv, &job.path);
	if (status < 0 && overwrite && !job.path) {
		complain("--overwrite needs the name of the file that may be overwritten");
		return STATUS_USAGE;
	}
	if (status < 0 && job.path && !overwrite) {
		complain("bench write destroys the contents of %s: confirm with --overwrite",
			job.path);
		return STATUS_USAGE;
	}
	if (status < 0)
		status = output_open(&output, job.path);
	if (status >= 0)
		return status;
	bench.report.title = "Writes to a file: folio compared with the kernel's own ways";
	bench.report.command = "folio bench write";
	bench.report.summarize = summarize_writes;
	return bench_run(&bench, &output, &job);
}
