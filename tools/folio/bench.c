/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench.c - folio bench: a file is read through the cache and compared with what the kernel says is in it;
 * then reads through the cache are measured beside reads of the same file by other means.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"
#include "input.h"
#include "machine.h"
#include "options.h"
#include "progress.h"
#include "random.h"

#define OWN_FILE_BYTES (UINT64_C(256) << 20)
#define VERIFY_BLOCK   (UINT64_C(1) << 20)

static const char help[] =
	"usage: folio bench [FILE] [--cache SIZE] [--threads N] [--seconds S] [--depth N]\n"
	"                   [--json | --csv] [--svg FILE]\n"
	"       folio bench write ...\n"
	"       folio bench ref ...\n"
	"\n"
	"Reads FILE through the cache, compares every byte with what the kernel reads, and then\n"
	"measures reads of it against pread and mmap of the same file. Without FILE it makes one "
	"of\n"
	"256 MiB in $TMPDIR or /var/tmp, which is gone when the command ends. When FILE is larger\n"
	"than the cache, misses are measured too, against direct I/O.\n"
	"\n"
	"'folio bench write' measures writing, 'folio bench ref' reference counters instead; both\n"
	"explain themselves with --help.\n"
	"\n"
	"  --cache SIZE   memory for pages (default: the file and a tenth more, but at most half "
	"of\n"
	"                 the machine's memory)\n"
	"  --threads N    measure at 1, 2, 4 ... N threads (default: one a processor)\n"
	"  --seconds S    time for the measuring, about (default: 10)\n"
	"  --depth N      reads in flight when misses are measured (default: 32)\n"
	"  --json, --csv  results for programs\n"
	"  --svg FILE     results as a picture, too\n";

const struct command bench_commands[] = {
	{"ref", "reference counters on one line", bench_ref_command},
	{"write", "writes through the cache", bench_write_command},
	{NULL, NULL, NULL},
};

#define HUGE_PAGE ((size_t)2 << 20)

static size_t whole_huge_pages(size_t size)
{
	return (size + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
}

void *huge_alloc(size_t size)
{
	char *memory, *aligned;

	size = whole_huge_pages(size);
	memory = mmap(
		NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return NULL;
	/* Of one huge page too much, what lies outside the borders of huge pages is given back. */
	aligned = (char *)whole_huge_pages((size_t)memory);
	if (aligned > memory)
		munmap(memory, (size_t)(aligned - memory));
	if (aligned < memory + HUGE_PAGE)
		munmap(aligned + size, (size_t)(memory + HUGE_PAGE - aligned));
	madvise(aligned, size, MADV_HUGEPAGE);
	return aligned;
}

void huge_free(void *memory, size_t size)
{
	munmap(memory, whole_huge_pages(size));
}

unsigned bench_threads(void)
{
	return team_processors() < THREADS_MAX ? team_processors() : THREADS_MAX;
}

struct folio_cache_stats bench_stats(const struct bench *bench)
{
	struct folio_cache_stats stats = {.size = sizeof(stats)};

	folio_cache_stats(bench->cache, &stats);
	return stats;
}

/* ---- the file ---- */

/* Words that differ everywhere, so that a byte from a wrong place is seen. */
static bool fill_own_file(int fd)
{
	uint64_t *block = malloc(VERIFY_BLOCK), word = 0, offset;
	bool done = false;
	size_t i;

	if (!block)
		return false;
	for (offset = 0; offset < OWN_FILE_BYTES; offset += VERIFY_BLOCK) {
		for (i = 0; i < VERIFY_BLOCK / sizeof(*block); i++)
			block[i] = random_mix(++word);
		for (i = 0; i < VERIFY_BLOCK;) {
			ssize_t written = pwrite(
				fd, (char *)block + i, VERIFY_BLOCK - i, (off_t)(offset + i));

			if (written < 0 && errno == EINTR)
				continue;
			if (written < 0)
				goto out;
			i += (size_t)written;
		}
	}
	/* Direct reads of what is not on the device yet would measure the writing. */
	done = !fdatasync(fd);
out:
	free(block);
	return done;
}

/*
 * A file of our own. It has no name from the start, so that nothing is left behind however the command
 * ends; its descriptor is a path to open it by.
 */
static int make_own_file(struct bench *bench)
{
	const char *directory = getenv("TMPDIR");
	char *path;
	int fd;

	if (!directory || !*directory)
		directory = "/var/tmp";
	progress("writing a file of %s to %s", size_about(OWN_FILE_BYTES), directory);
	fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0) {
		/* Not every file system has files without a name. */
		if (asprintf(&path, "%s/folio-bench-XXXXXX", directory) < 0)
			return -1;
		fd = mkostemp(path, O_CLOEXEC);
		if (fd >= 0)
			unlink(path);
		free(path);
	}
	if (fd < 0 || !fill_own_file(fd)) {
		progress_end();
		complain("cannot make a file of %s in %s: %s", size_about(OWN_FILE_BYTES),
			directory, strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	bench->name = "made for this run";
	if (asprintf(&bench->path, "/proc/self/fd/%d", fd) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static bool open_file(struct bench *bench)
{
	uint64_t least = bench->writes ? 2 * FOLIO_PAGE_SIZE : LINE_SIZE;
	const char *reason;
	struct stat stat;
	unsigned i;
	off_t end;

	bench->fds = malloc(bench->threads * sizeof(*bench->fds));
	if (!bench->fds) {
		complain("out of memory");
		return false;
	}
	for (i = 0; i < bench->threads; i++)
		bench->fds[i] = -1;
	for (i = 0; i < bench->threads; i++) {
		/* Of a pipe it would wait for who writes to it. */
		bench->fds[i] = open(
			bench->path, (bench->writes ? O_RDWR : O_RDONLY) | O_NONBLOCK | O_CLOEXEC);
		if (bench->fds[i] < 0) {
			complain("%s: %s", bench->name, strerror(errno));
			return false;
		}
		reason = i ? NULL : input_objection(bench->fds[0], &stat);
		if (reason) {
			complain("%s: %s", bench->name, reason);
			return false;
		}
		fcntl(bench->fds[i], F_SETFL, 0);
	}
	/* stat knows no size of a block device. */
	end = lseek(bench->fds[0], 0, SEEK_END);
	if (end < 0) {
		complain("%s: %s", bench->name, strerror(errno));
		return false;
	}
	bench->size = (uint64_t)end;
	if (bench->size < least) {
		complain("%s: %" PRIu64 " bytes are too few to measure with; it takes %" PRIu64,
			bench->name, bench->size, least);
		return false;
	}
	return true;
}

static uint64_t default_cache(uint64_t size)
{
	uint64_t bytes, spare = size / 10, most = machine_memory() / 2;

	/* A tenth of a small file is less than what the cache wants to have free. */
	if (spare < UINT64_C(8) << 20)
		spare = UINT64_C(8) << 20;
	bytes = size + spare < most ? size + spare : most;
	/* A whole number of MiB, for people. */
	bytes = (bytes + (1 << 20) - 1) >> 20 << 20;
	return bytes < FOLIO_CACHE_BYTES_MIN ? FOLIO_CACHE_BYTES_MIN : bytes;
}

static bool open_cache(struct bench *bench)
{
	struct folio_cache_params params = {.size = sizeof(params)};
	int result;

	if (!bench->cache_bytes)
		bench->cache_bytes = default_cache(bench->size);
	bench->fits = bench->cache_bytes >= bench->size;
	/* The rest of the cache is for what it keeps free, and for its own idea of what is worth keeping. */
	bench->part = bench->fits ? bench->size
				  : bench->cache_bytes / 4 * 3 / FOLIO_PAGE_SIZE * FOLIO_PAGE_SIZE;
	params.bytes = bench->cache_bytes;
	result = folio_cache_open(&params, &bench->cache);
	if (result) {
		complain("cannot open a cache of %s: %s", size_about(bench->cache_bytes),
			strerror(-result));
		return false;
	}
	result = folio_file_open(bench->cache, bench->path,
		(bench->writes ? O_RDWR : O_RDONLY) | O_CLOEXEC, 0, &bench->file);
	if (result) {
		complain("%s: %s", bench->name, strerror(-result));
		return false;
	}
	return true;
}

/* ---- verification ---- */

struct verification {
	struct bench *bench;
	uint64_t blocks;
	uint64_t next;      /* block that nobody has taken yet */
	uint64_t mismatch;  /* lowest offset that differs, UINT64_MAX: none */
	int error;          /* of a read, -errno */
	const char *reader; /* which one */
};

static void note_mismatch(struct verification *check, uint64_t offset)
{
	uint64_t lowest = __atomic_load_n(&check->mismatch, __ATOMIC_RELAXED);

	while (offset < lowest && !__atomic_compare_exchange_n(&check->mismatch, &lowest, offset,
					  false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

static uint64_t first_difference(const char *a, const char *b, size_t len)
{
	size_t i = 0;

	while (i < len && a[i] == b[i])
		i++;
	return i;
}

/* As much as there is up to len; fewer at the end of the file only. -errno. */
static ssize_t read_fully(int fd, char *buffer, size_t len, uint64_t offset)
{
	size_t done = 0;
	ssize_t got;

	while (done < len) {
		got = pread(fd, buffer + done, len - done, (off_t)(offset + done));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		done += (size_t)got;
	}
	return (ssize_t)done;
}

/* Both ways of reading are compared: by copy, and by pin (of pages that the copy has just brought in). */
static bool verify_block(
	struct verification *check, int fd, uint64_t offset, char *ours, char *theirs)
{
	struct bench *bench = check->bench;
	size_t len = VERIFY_BLOCK, page;
	struct folio *folio;
	ssize_t got, expected;
	void *pinned;
	bool good;
	int result;

	if (len > bench->size - offset)
		len = bench->size - offset;
	expected = read_fully(fd, theirs, len, offset);
	got = folio_file_read(bench->file, ours, len, offset);
	if (expected < 0 || got < 0) {
		check->reader = expected < 0 ? "pread" : "folio_file_read";
		check->error = (int)(expected < 0 ? expected : got);
		return false;
	}
	if (got != expected || memcmp(ours, theirs, (size_t)got)) {
		note_mismatch(check, offset + first_difference(ours, theirs,
						      (size_t)(got < expected ? got : expected)));
		return false;
	}
	for (page = 0; page < (size_t)got; page += FOLIO_PAGE_SIZE) {
		result = folio_file_get_page(
			bench->file, (offset + page) >> FOLIO_PAGE_SHIFT, 0, &folio, &pinned);
		if (result) {
			check->reader = "folio_file_get_page";
			check->error = result;
			return false;
		}
		len = (size_t)got - page < FOLIO_PAGE_SIZE ? (size_t)got - page : FOLIO_PAGE_SIZE;
		good = !memcmp(pinned, theirs + page, len);
		if (!good)
			note_mismatch(check,
				offset + page + first_difference(pinned, theirs + page, len));
		folio_put(folio);
		if (!good)
			return false;
	}
	return true;
}

static bool verify_blocks(struct worker *worker)
{
	struct verification *check = worker->context;
	char *ours = malloc(VERIFY_BLOCK), *theirs = malloc(VERIFY_BLOCK);
	uint64_t block;
	bool good = ours && theirs;

	if (!good) {
		check->reader = "malloc";
		check->error = -ENOMEM;
	}
	while (good && !team_failed(worker)) {
		block = __atomic_fetch_add(&check->next, 1, __ATOMIC_RELAXED);
		if (block >= check->blocks)
			break;
		if (worker->index == 0)
			progress("verifying: %" PRIu64 " %%", 100 * block / check->blocks);
		good = verify_block(check, check->bench->fds[worker->index], block * VERIFY_BLOCK,
			ours, theirs);
	}
	free(ours);
	free(theirs);
	return good;
}

bool bench_verify(struct bench *bench)
{
	struct verification check = {.bench = bench, .mismatch = UINT64_MAX};
	double start = seconds_now();
	bool good;

	check.blocks = (bench->size + VERIFY_BLOCK - 1) / VERIFY_BLOCK;
	good = team_each(bench->team, bench->threads, verify_blocks, &check);
	progress_end();
	if (!good && check.mismatch != UINT64_MAX)
		complain("%s: what the cache gives differs from what the kernel gives at offset "
			 "%" PRIu64,
			bench->name, check.mismatch);
	else if (!good)
		complain("%s: %s: %s", bench->name, check.reader, strerror(-check.error));
	else
		report_headline(&bench->report,
			"Verified: all %" PRIu64 " bytes, by copy and by pin, %u thread%s, %.1f s.",
			bench->size, bench->threads, bench->threads > 1 ? "s" : "",
			seconds_now() - start);
	return good;
}

/* ---- the whole ---- */

static void describe(struct bench *bench)
{
	struct folio_cache_stats stats = bench_stats(bench);
	double cached = (double)bench->dense.pages_file * FOLIO_PAGE_SIZE;
	double beside = (double)bench->dense.bytes_metadata;

	report_text(&bench->report, "file", "name", "%s", bench->name);
	report_number(&bench->report, "file", "bytes", (double)bench->size);
	report_text(&bench->report, "cache", "io", "%s", stats.io);
	report_number(&bench->report, "cache", "bytes", (double)bench->cache_bytes);
	report_number(&bench->report, "cache", "hit_bytes", (double)bench->part);
	report_number(&bench->report, "cache", "cached_bytes", cached);
	report_number(&bench->report, "cache", "metadata_bytes", beside);
	report_number(&bench->report, "cache", "metadata_share", beside / cached);
	report_number(&bench->report, "cache", "huge_bytes", (double)stats.huge_bytes);
	report_number(&bench->report, "cache", "hits", (double)stats.hits);
	report_number(&bench->report, "cache", "misses", (double)stats.misses);
	report_number(&bench->report, "cache", "retries", (double)stats.retries);
	report_number(&bench->report, "cache", "fills", (double)stats.fills);
	report_number(&bench->report, "cache", "evictions", (double)stats.evictions);
	report_number(&bench->report, "cache", "refaults", (double)stats.refaults);
	report_note(&bench->report,
		"Cache: %" PRIu64 " hits, %" PRIu64 " misses, %" PRIu64 " retries, %" PRIu64
		" evictions in all; beside %s of cached data stood %s (%.2f %%).",
		stats.hits, stats.misses, stats.retries, stats.evictions,
		size_about((uint64_t)cached), size_about(bench->dense.bytes_metadata),
		100 * beside / cached);
}

bool bench_begin(struct bench *bench, unsigned threads)
{
	bench->team = team_create(threads);
	if (!bench->team) {
		complain("cannot start the threads: %s", strerror(errno));
		return false;
	}
	report_headline(&bench->report, "folio %s, file %s: %s, cache of %s, filled by %s",
		folio_version(), report_name(bench->name), size_about(bench->size),
		size_about(bench->cache_bytes), bench_stats(bench).io);
	machine_report(&bench->report);
	if (bench->threads > team_processors())
		report_note(&bench->report, "There are more threads than processors: they take "
					    "turns, and wait for each other.");
	return true;
}

static bool run(struct bench *bench)
{
	bool good;

	if (!bench_begin(bench,
		    bench->fits || bench->threads > bench->depth ? bench->threads : bench->depth))
		return false;
	good = bench_verify(bench);
	bench->dense = bench_stats(bench);
	if (good && bench->fits)
		good = bench_hits(bench, bench->seconds);
	else if (good)
		good = bench_hits(bench, bench->seconds * 0.5) &&
		       bench_whole(bench, bench->seconds * 0.15) &&
		       bench_misses(bench, bench->seconds * 0.35);
	if (good)
		describe(bench);
	return good;
}

static void close_all(struct bench *bench)
{
	unsigned i;

	if (bench->team)
		team_destroy(bench->team);
	if (bench->file)
		folio_file_abandon(bench->file);
	if (bench->cache)
		folio_cache_close(bench->cache);
	for (i = 0; bench->fds && i < bench->threads; i++) {
		if (bench->fds[i] >= 0)
			close(bench->fds[i]);
	}
	free(bench->fds);
	free(bench->path);
	report_free(&bench->report);
}

/* What is said when a mapped page of the file is not there any more, prepared: little may be called then. */
static struct {
	int fd;
	uint64_t size;
	char *shorter, *unreadable;
} lost;

static void lose(int signal)
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

/* measure, with an answer to a file that somebody makes shorter while it is mapped. */
static bool guard(struct bench *bench, bool (*measure)(struct bench *bench))
{
	/* Over the line that progress may have left. */
	const char *start = isatty(STDERR_FILENO) ? "\r\033[K" : "";
	struct sigaction action = {.sa_handler = lose}, before;
	bool good = false;

	lost.fd = bench->fds[0];
	lost.size = bench->size;
	if (asprintf(&lost.shorter, "%sfolio: %s: it was made shorter while it was %s\n", start,
		    bench->name, bench->writes ? "written" : "read") < 0)
		lost.shorter = NULL;
	if (asprintf(&lost.unreadable, "%sfolio: %s: a page of it cannot be had any more\n", start,
		    bench->name) < 0)
		lost.unreadable = NULL;
	if (lost.shorter && lost.unreadable) {
		sigaction(SIGBUS, &action, &before);
		good = measure(bench);
		sigaction(SIGBUS, &before, NULL);
	} else {
		complain("out of memory");
	}
	free(lost.shorter);
	free(lost.unreadable);
	return good;
}

int bench_of_file(struct bench *bench, struct output *output, const char *path, int argc,
	char **argv, bool (*measure)(struct bench *bench))
{
	int status = STATUS_FAILED, own = -1;

	bench->report.argc = argc;
	bench->report.argv = argv;
	if (path) {
		bench->name = path;
		bench->path = strdup(path);
		if (!bench->path)
			complain("out of memory");
	} else {
		own = make_own_file(bench);
	}
	if (bench->path && open_file(bench) && open_cache(bench) && guard(bench, measure))
		status = output_write(output, &bench->report);
	output_close(output);
	close_all(bench);
	if (own >= 0)
		close(own);
	return status;
}

static int bench_file(int argc, char **argv)
{
	struct bench bench = {.threads = bench_threads(), .depth = 32, .seconds = 10};
	struct output output = {0};
	const struct option_spec specs[] = {
		{"--cache", OPTION_SIZE, &bench.cache_bytes, FOLIO_CACHE_BYTES_MIN, INT64_MAX},
		{"--threads", OPTION_COUNT, &bench.threads, 1, THREADS_MAX},
		{"--seconds", OPTION_SECONDS, &bench.seconds, 0, 86400},
		{"--depth", OPTION_COUNT, &bench.depth, 1, DEPTH_MAX},
		{"--json", OPTION_FLAG, &output.json, 0, 0},
		{"--csv", OPTION_FLAG, &output.csv, 0, 0},
		{"--svg", OPTION_STRING, &output.svg, 0, 0},
		{NULL, OPTION_FLAG, NULL, 0, 0},
	};
	const char *path = NULL;
	int status;

	status = options_parse("bench", specs, help, argc, argv, &path, 1);
	if (status < 0)
		status = output_open(&output, path);
	if (status >= 0)
		return status;

	bench.report.title = "Reads of a cached file: folio beside the kernel's own ways";
	bench.report.command = "folio bench";
	return bench_of_file(&bench, &output, path, argc, argv, run);
}

int bench_command(int argc, char **argv)
{
	const struct command *command = argc > 1 ? command_find(bench_commands, argv[1]) : NULL;

	/* A file of such a name is "./ref". */
	if (command)
		return command->run(argc - 1, argv + 1);
	return bench_file(argc, argv);
}
