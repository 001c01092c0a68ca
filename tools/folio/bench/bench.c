/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench.c - folio bench FILE: reads the file through the cache and compares it with what the kernel
 * reads; then measures reads through the cache and reads of the same file by other means.
 */
#include "bench/bench.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/bench-file.h"
#include "bench/bench-hit.h"
#include "bench/bench-miss.h"
#include "bench/bench-verify.h"
#include "bench/machine.h"
#include "bench/summarize.h"
#include "bench/text.h"
#include "command.h"
#include "options.h"
#include "progress.h"

/* The least cache for the misses of a file that fits. */
#define MISS_CACHE_MIN (UINT64_C(4) << 20)

static const char help[] =
	"usage: folio bench [FILE] [--cache SIZE] [--threads N] [--seconds S] [--depth N]\n"
	"                   [--all | --json | --csv] [--svg PICTURE]\n"
	"       folio bench write ...\n"
	"       folio bench ref ...\n"
	"\n"
	"Reads FILE through the cache and compares every byte with what the kernel reads.\n"
	"Then measures reads of cached data, compared with pread and mmap of the same\n"
	"file, and reads of uncached data, compared with direct I/O. Without FILE, it\n"
	"creates a file of 256 MiB in $TMPDIR or /var/tmp, which is gone when the command\n"
	"ends.\n"
	"\n"
	"'folio bench write' measures writes, 'folio bench ref' reference counters; both\n"
	"have a --help.\n"
	"\n"
	"  --cache SIZE   memory for pages (default: the size of the file and a tenth\n"
	"                 more, but at most half of the machine's memory)\n"
	"  --threads N    measure with 1, 2, 4 ... N threads (default: one per processor)\n"
	"  --seconds S    approximate time for all measurements (default: 10)\n"
	"  --depth N      reads in flight when misses are measured (default: 32)\n"
	"  --all          print the full tables instead of the summary\n"
	"  --json, --csv  print all results for programs\n"
	"  --svg PICTURE  also write the results as a picture\n";

/* ---- measuring ---- */

static void describe(struct bench *bench)
{
	struct folio_cache_stats stats = bench_stats(bench);
	double cached = (double)bench->dense.pages_file * FOLIO_PAGE_SIZE;
	double metadata = (double)bench->dense.bytes_metadata;

	report_text(&bench->report, "file", "name", "%s", bench->name);
	report_number(&bench->report, "file", "bytes", (double)bench->size);
	report_text(&bench->report, "cache", "io", "%s", stats.io);
	report_number(&bench->report, "cache", "bytes", (double)bench->cache_bytes);
	report_number(&bench->report, "cache", "hit_bytes", (double)bench->part);
	report_number(&bench->report, "cache", "cached_bytes", cached);
	report_number(&bench->report, "cache", "metadata_bytes", metadata);
	report_number(&bench->report, "cache", "metadata_share", metadata / cached);
	report_number(&bench->report, "cache", "huge_bytes", (double)stats.huge_bytes);
	report_number(&bench->report, "cache", "hits", (double)stats.hits);
	report_number(&bench->report, "cache", "misses", (double)stats.misses);
	report_number(&bench->report, "cache", "retries", (double)stats.retries);
	report_number(&bench->report, "cache", "fills", (double)stats.fills);
	report_number(&bench->report, "cache", "evictions", (double)stats.evictions);
	report_number(&bench->report, "cache", "refaults", (double)stats.refaults);
	report_note(&bench->report,
		"Cache: %" PRIu64 " hits, %" PRIu64 " misses, %" PRIu64 " retries, %" PRIu64
		" evictions in total; metadata for %s of cached data took %s (%.2f %%).",
		stats.hits, stats.misses, stats.retries, stats.evictions,
		size_about((uint64_t)cached), size_about(bench->dense.bytes_metadata),
		100 * metadata / cached);
}

bool bench_begin(struct bench *bench, unsigned threads)
{
	bench->workers = workers_create(threads);
	if (!bench->workers) {
		complain("cannot start the threads: %s", strerror(errno));
		return false;
	}
	report_headline(&bench->report, "folio %s, file %s: %s, cache %s, %s", folio_version(),
		text_name(bench->name), size_about(bench->size), size_about(bench->cache_bytes),
		bench_stats(bench).io);
	machine_report(&bench->report);
	if (bench->threads > workers_processors())
		report_warning(&bench->report, "There are more threads than processors: threads "
					       "wait for a processor and for each other.");
	return true;
}

/*
 * Misses of a file that fits the cache: with a second, smaller cache, in which it does not fit.
 * Left out if the file is too small for that.
 */
static bool measure_misses_apart(struct bench *bench, double seconds)
{
	uint64_t least = UINT64_C(4) * FOLIO_PAGE_SIZE * bench->depth, bytes;

	if (least < MISS_CACHE_MIN)
		least = MISS_CACHE_MIN;
	bytes = (bench->size / 4 + (1 << 20) - 1) >> 20 << 20;
	if (bytes < least)
		bytes = least;
	if (bytes > bench->size / 2) {
		report_note(&bench->report, "Misses: not measured, the file is smaller than %s.",
			size_about(2 * least));
		return true;
	}
	bench_cache_close(bench);
	bench->cache_bytes = bytes;
	if (!bench_cache_open(bench))
		return false;
	report_note(&bench->report, "Misses: measured with a cache of %s.", size_about(bytes));
	return bench_misses(bench, seconds);
}

static bool measure(struct bench *bench)
{
	bool good;

	if (!bench_begin(bench, bench->threads > bench->depth ? bench->threads : bench->depth) ||
		!bench_verify(bench))
		return false;
	bench->dense = bench_stats(bench);
	if (bench->fits) {
		good = bench_hits(bench, bench->seconds * 0.75);
		if (good)
			describe(bench);
		return good && measure_misses_apart(bench, bench->seconds * 0.25);
	}
	good = bench_hits(bench, bench->seconds * 0.5) &&
	       bench_whole(bench, bench->seconds * 0.15) &&
	       bench_misses(bench, bench->seconds * 0.35);
	if (good)
		describe(bench);
	return good;
}

/* ---- a file that shrinks while it is mapped ---- */

/* Messages, formatted in advance: a signal handler may call few functions. */
static struct {
	int fd;
	uint64_t size;
	char *shorter, *unreadable;
} lost;

static void report_lost(int signal)
{
	struct stat stat;
	const char *text = lost.unreadable;
	ssize_t written;

	if (!fstat(lost.fd, &stat) && S_ISREG(stat.st_mode) && (uint64_t)stat.st_size < lost.size)
		text = lost.shorter;
	written = write(STDERR_FILENO, text, strlen(text));
	(void)written;
	_exit(STATUS_FAILED);
}

/* Call measure, with a handler that reports it if another process truncates the mapped file. */
static bool measure_guarded(struct bench *bench, bool (*measure_file)(struct bench *bench))
{
	/* Erases a line of progress. */
	const char *start = isatty(STDERR_FILENO) ? "\r\033[K" : "";
	struct sigaction action = {.sa_handler = report_lost}, before;
	bool good = false;

	lost.fd = bench->fds[0];
	lost.size = bench->size;
	if (asprintf(&lost.shorter, "%sfolio: %s: the file became shorter while it was %s\n", start,
		    bench->name, bench->writes ? "written" : "read") < 0)
		lost.shorter = NULL;
	if (asprintf(&lost.unreadable, "%sfolio: %s: a page of it can no longer be read\n", start,
		    bench->name) < 0)
		lost.unreadable = NULL;
	if (lost.shorter && lost.unreadable) {
		sigaction(SIGBUS, &action, &before);
		good = measure_file(bench);
		sigaction(SIGBUS, &before, NULL);
	} else {
		complain("out of memory");
	}
	free(lost.shorter);
	free(lost.unreadable);
	return good;
}

/* ---- the command ---- */

int bench_run(struct bench *bench, struct output *output, const struct bench_job *job)
{
	int status = STATUS_FAILED, own = -1;
	bool measured;

	bench->report.argc = job->argc;
	bench->report.argv = job->argv;
	if (job->path) {
		bench->name = job->path;
		bench->path = strdup(job->path);
		if (!bench->path)
			complain("out of memory");
	} else {
		own = bench_file_make(bench);
	}
	measured = bench->path && bench_file_open(bench) && bench_cache_open(bench) &&
		   measure_guarded(bench, job->measure);
	/* From here on, signals come to this thread (replace.c). */
	if (bench->workers)
		workers_destroy(bench->workers);
	if (measured)
		status = output_write(output, &bench->report);
	output_close(output);
	bench_file_close(bench);
	report_free(&bench->report);
	if (own >= 0)
		close(own);
	return status;
}

int bench_file_command(int argc, char **argv)
{
	struct bench bench = {.threads = bench_threads(), .depth = 32, .seconds = 10};
	struct output output = {0};
	const struct option_spec specs[] = {
		{"--cache", OPTION_SIZE, &bench.cache_bytes, FOLIO_CACHE_BYTES_MIN, INT64_MAX},
		{"--threads", OPTION_COUNT, &bench.threads, 1, THREADS_MAX},
		{"--seconds", OPTION_SECONDS, &bench.seconds, 0, 86400},
		{"--depth", OPTION_COUNT, &bench.depth, 1, DEPTH_MAX},
		{"--all", OPTION_FLAG, &output.all, 0, 0},
		{"--json", OPTION_FLAG, &output.json, 0, 0},
		{"--csv", OPTION_FLAG, &output.csv, 0, 0},
		{"--svg", OPTION_STRING, &output.svg, 0, 0},
		{NULL, OPTION_FLAG, NULL, 0, 0},
	};
	const struct option_set set = {"bench", specs, help, 1};
	struct bench_job job = {.argc = argc, .argv = argv, .measure = measure};
	int status;

	status = options_parse(&set, argc, argv, &job.path);
	if (status < 0)
		status = output_open(&output, job.path);
	if (status >= 0)
		return status;
	bench.report.title = "Reads of a file: folio compared with the kernel's own ways";
	bench.report.command = "folio bench";
	bench.report.summarize = summarize_reads;
	return bench_run(&bench, &output, &job);
}
