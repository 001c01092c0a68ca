/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cells.c - what folio bench measures, without measuring it: the code of the benchmarks with
 * workers and rounds that call each contender once, one thread after another. Prints to standard
 * error what each of them was asked for and what it did; it is the same each time. For cells.py.
 *
 *   cells bench|write|ref ARGUMENT...
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <folio/pin.h>
#include <folio/ref.h>
#include <folio/write.h>
#include <liburing.h>

#include "bench/bench-ref.h"
#include "bench/bench-write.h"
#include "bench/bench.h"
#include "bench/counters.h"
#include "bench/rounds.h"
#include "progress.h"

#define ROUNDS 5

struct workers {
	unsigned size;
	struct worker *all;
};

/* Of workers_each, workers_measure and cells so far. */
static unsigned events;

/* A hash of the ranges that were prefetched. */
static uint64_t prefetched;

/* How few reads a call of folio_file_read_batch had, and how many; both 0 without a call. */
static unsigned reads_least, reads_most;

/* ---- calls that fail, by the linker's --wrap ---- */

/*
 * CELLS_FAULT="FUNCTION KIND EVENT": from an event on, a call of the function fails. KIND: error,
 * short (half of what was asked for), end (nothing), byte (one is wrong), result (of one
 * read of several), cold (what it reads is no longer cached).
 */
static bool fails(const char *function, const char *kind)
{
	const char *fault = getenv("CELLS_FAULT");
	char name[64], how[16];
	unsigned from;

	return fault && sscanf(fault, "%63s %15s %u", name, how, &from) == 3 &&
	       !strcmp(name, function) && !strcmp(how, kind) && events > from;
}

/* Calls that return a number of bytes. failure: what they return for an error. */
#define WRAP(name, parameters, arguments, failure)              \
	ssize_t __real_##name parameters;                       \
	ssize_t __wrap_##name parameters;                       \
	ssize_t __wrap_##name parameters                        \
	{                                                       \
		ssize_t done;                                   \
                                                                \
		errno = ENOSPC;                                 \
		if (fails(#name, "error"))                      \
			return failure;                         \
		done = __real_##name arguments;                 \
		if (done > 0 && fails(#name, "byte"))           \
			++*(char *)buf;                         \
		if (fails(#name, "end"))                        \
			return 0;                               \
		return fails(#name, "short") ? done / 2 : done; \
	}

WRAP(folio_file_read, (struct folio_file * file, void *buf, size_t len, uint64_t offset),
	(file, buf, len, offset), -ENOSPC)
WRAP(folio_file_write, (struct folio_file * file, const void *buf, size_t len, uint64_t offset),
	(file, buf, len, offset), -ENOSPC)
WRAP(pread64, (int fd, void *buf, size_t len, off_t offset), (fd, buf, len, offset), -1)
WRAP(pwrite64, (int fd, const void *buf, size_t len, off_t offset), (fd, buf, len, offset), -1)

/* And those that return 0 or an error; kind memory: -ENOMEM. */
#define WRAP_CALL(name, parameters, arguments, failure) \
	int __real_##name parameters;                   \
	int __wrap_##name parameters;                   \
	int __wrap_##name parameters                    \
	{                                               \
		errno = ENOSPC;                         \
		if (fails(#name, "error"))              \
			return failure;                 \
		if (fails(#name, "memory"))             \
			return -ENOMEM;                 \
		return __real_##name arguments;         \
	}

WRAP_CALL(folio_cache_open, (const struct folio_cache_params *params, struct folio_cache **cache),
	(params, cache), -ENOSPC)
WRAP_CALL(folio_file_open,
	(struct folio_cache * cache, const char *path, int flags, mode_t mode,
		struct folio_file **file),
	(cache, path, flags, mode, file), -ENOSPC)
WRAP_CALL(folio_file_get_page,
	(struct folio_file * file, uint64_t index, unsigned flags, struct folio **folio,
		void **data),
	(file, index, flags, folio, data), -ENOSPC)
WRAP_CALL(folio_file_pin,
	(struct folio_file * file, uint64_t index, unsigned flags, struct folio_pin *pin),
	(file, index, flags, pin), -ENOSPC)
WRAP_CALL(folio_mark_dirty, (struct folio * folio, uint64_t lsn), (folio, lsn), -ENOSPC)
WRAP_CALL(folio_file_sync,
	(struct folio_file * file, const struct folio_range *range, unsigned flags),
	(file, range, flags), -ENOSPC)
WRAP_CALL(fdatasync, (int fd), (fd), -1)

ssize_t __real_folio_file_prefetch(
	struct folio_file *file, const struct folio_range *ranges, unsigned count);
ssize_t __wrap_folio_file_prefetch(
	struct folio_file *file, const struct folio_range *ranges, unsigned count);
ssize_t __wrap_folio_file_prefetch(
	struct folio_file *file, const struct folio_range *ranges, unsigned count)
{
	unsigned i;

	if (fails("folio_file_prefetch", "error"))
		return -ENOSPC;
	for (i = 0; i < count; i++)
		prefetched = prefetched * 31 + ranges[i].offset + ranges[i].len;
	return __real_folio_file_prefetch(file, ranges, count);
}

void *__real_mmap64(void *at, size_t len, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *at, size_t len, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *at, size_t len, int protection, int flags, int fd, off_t offset)
{
	errno = ENOSPC;
	if (fails("mmap64", flags & MAP_SHARED ? "file" : "memory"))
		return MAP_FAILED;
	return __real_mmap64(at, len, protection, flags, fd, offset);
}

int __real_folio_file_read_batch(
	struct folio_file *file, struct folio_read *reads, unsigned count, unsigned flags);
int __wrap_folio_file_read_batch(
	struct folio_file *file, struct folio_read *reads, unsigned count, unsigned flags);
int __wrap_folio_file_read_batch(
	struct folio_file *file, struct folio_read *reads, unsigned count, unsigned flags)
{
	int result;

	if (!reads_most || count < reads_least)
		reads_least = count;
	if (count > reads_most)
		reads_most = count;
	if (fails("folio_file_read_batch", "error"))
		return -ENOSPC;
	if (fails("folio_file_read_batch", "cold"))
		folio_file_invalidate(file, 0, UINT64_MAX);
	result = __real_folio_file_read_batch(file, reads, count, flags);
	if (fails("folio_file_read_batch", "byte"))
		++*(char *)reads[count - 1].buf;
	if (fails("folio_file_read_batch", "short"))
		reads[count - 1].result /= 2;
	if (fails("folio_file_read_batch", "end"))
		reads[count - 1].result = 0;
	if (fails("folio_file_read_batch", "result"))
		reads[count - 1].result = -EDOM;
	return result;
}

/* Kind none: nothing is available. */
uint64_t __real_machine_memory_available(void);
uint64_t __wrap_machine_memory_available(void);
uint64_t __wrap_machine_memory_available(void)
{
	return fails("machine_memory_available", "none") ? 0 : __real_machine_memory_available();
}

/* All that are in flight are complete at once: how many come at a time is the kernel's choice. */
static unsigned ring_size;

int __real_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
	ring_size = entries;
	return __real_io_uring_queue_init(entries, ring, flags);
}

int __real_io_uring_submit_and_wait(struct io_uring *ring, unsigned count);
int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned count);
int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned count)
{
	if (fails("io_uring_submit_and_wait", "error"))
		return -ENOSPC;
	return __real_io_uring_submit_and_wait(ring, ring_size);
}

void __real_io_uring_queue_exit(struct io_uring *ring);
void __wrap_io_uring_queue_exit(struct io_uring *ring);
void __wrap_io_uring_queue_exit(struct io_uring *ring)
{
	fprintf(stderr, "ring closed, %u in flight\n", ring->sq.sqe_tail - *ring->cq.khead);
	__real_io_uring_queue_exit(ring);
}

/* ---- instead of progress.c ---- */

static bool line_left;

void progress(const char *format, ...)
{
	va_list list;

	fprintf(stderr, "~ ");
	va_start(list, format);
	vfprintf(stderr, format, list);
	va_end(list);
	fprintf(stderr, "\n");
	line_left = true;
}

void progress_end(void)
{
	if (line_left)
		fprintf(stderr, "~\n");
	line_left = false;
}

/* ---- instead of workers.c ---- */

double seconds_now(void)
{
	static double now;

	return now += 0.25;
}

unsigned workers_processors(void)
{
	return 2;
}

struct workers *workers_create(unsigned size)
{
	struct workers *workers = calloc(1, sizeof(*workers));

	fprintf(stderr, "%u threads\n", size);
	workers->size = size;
	workers->all = aligned_alloc(128, size * sizeof(*workers->all));
	memset(workers->all, 0, size * sizeof(*workers->all));
	return workers;
}

void workers_destroy(struct workers *workers)
{
	free(workers->all);
	free(workers);
}

struct worker *workers_get(struct workers *workers, unsigned index)
{
	return &workers->all[index];
}

bool workers_failed(const struct worker *worker)
{
	return false;
}

static struct worker *begin(
	struct workers *workers, unsigned index, unsigned threads, void *context)
{
	struct worker *worker = &workers->all[index];

	worker->index = index;
	worker->threads = threads;
	worker->context = context;
	worker->extra = 0;
	worker->error = 0;
	return worker;
}

bool workers_each(struct workers *workers, unsigned threads, bool (*work)(struct worker *worker),
	void *context)
{
	bool good = true;
	unsigned i;

	fprintf(stderr, "%u: each of %u threads\n", events++, threads);
	for (i = 0; i < threads; i++)
		good = work(begin(workers, i, threads, context)) && good;
	return good;
}

/* Each thread does n operations, from the same place in each call. */
static struct sample sample_of(struct workers *workers, unsigned threads, worker_batch *batch,
	void *context, uint64_t n, bool show)
{
	struct sample sample = {0};
	uint64_t done, position, sum, extra = 0, others = 0;
	struct worker *worker;
	unsigned i;

	for (i = 0; i < threads; i++) {
		worker = begin(workers, i, threads, context);
		position = worker->position;
		sum = worker->sum;
		done = batch(worker, n);
		if (show && (i < 3 || i == threads - 1))
			fprintf(stderr, "  %u: %d done, from %d to %d, sum %016llx, extra %d\n", i,
				(int)done, (int)position, (int)worker->position,
				(unsigned long long)(worker->sum - sum), (int)worker->extra);
		sample.operations += done;
		extra += worker->extra;
		others += i ? worker->extra : 0;
		if (!i)
			sample.leader_extra = (double)extra / (double)n;
		worker->position = position;
		if (!done) {
			sample.failed = true;
			sample.error = worker->error;
			return sample;
		}
	}
	sample.extra = (double)extra / (double)(threads * n);
	if (threads > 1)
		sample.others_extra = (double)others / (double)((threads - 1) * n);
	return sample;
}

struct sample workers_measure(struct workers *workers, unsigned threads, worker_batch *batch,
	void *context, double warm_up, double seconds)
{
	/* How often the cache is filled depends on its own threads. */
	if (warm_up == 0.005)
		fprintf(stderr, "%u: %u threads, %g and %g seconds\n", events++, threads, warm_up,
			seconds);
	return sample_of(workers, threads, batch, context, 100, false);
}

/* ---- instead of rounds.c ---- */

unsigned rounds_thread_counts(unsigned most, unsigned counts[THREAD_COUNTS_MAX])
{
	counts[0] = 1;
	counts[1] = most;
	return most > 1 ? 2 : 1;
}

static uint64_t hash_of(const char *data, size_t len)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325), word;
	size_t i;

	/* A half is whole pages. */
	for (i = 0; i < len; i += sizeof(word)) {
		memcpy(&word, data + i, sizeof(word));
		hash = (hash ^ word) * UINT64_C(0x100000001b3);
		hash ^= hash >> 29;
	}
	return hash;
}

/* What the cache and the kernel have of both halves of a file that is written. */
static void show_file(const struct bench *bench)
{
	uint64_t half = bench->size / 2 / FOLIO_PAGE_SIZE * FOLIO_PAGE_SIZE;
	char *data = malloc(bench->size);

	if (folio_file_read(bench->file, data, half, 0) == (ssize_t)half)
		fprintf(stderr, "  first half %016llx", (unsigned long long)hash_of(data, half));
	if (pread(bench->fds[0], data, half, (off_t)half) == (ssize_t)half)
		fprintf(stderr, ", second half %016llx\n", (unsigned long long)hash_of(data, half));
	free(data);
}

/* The beginning of struct counters in bench-ref.c. */
struct all_counters {
	struct counter_line shared, gone;
	struct counter_line *own, *slots;
};

/* Faults of the counters themselves: a reference that was lost, or put too often. */
static void spoil(struct all_counters *counters, unsigned threads)
{
	if (fails("counters", "shared"))
		counters->shared.word++;
	if (fails("counters", "gone"))
		counters->gone.word = 1;
	if (fails("counters", "junk"))
		counters->gone.word = FOLIO_REF_JUNK_LIMIT + threads + 1;
	if (fails("counters", "own"))
		counters->own[threads - 1].word = 1;
	if (fails("counters", "slots"))
		counters->slots[threads - 1].word = 1;
}

bool rounds_run(struct report *report, struct workers *workers, const struct cell *cells,
	unsigned count, double seconds, const char *command)
{
	const bool writes = !strcmp(command, "bench write"), file = strcmp(command, "bench ref");
	struct report_workload *workload;
	struct sample sample;
	unsigned i, round;

	fprintf(stderr, "%s: %u cells in %g seconds\n", command, count, seconds);
	for (i = 0; i < count; i++) {
		const struct cell *cell = &cells[i];

		workload = &report->workloads[cell->workload];
		fprintf(stderr, "%u: %s, %s, role %d, %u threads\n", events++, workload->name,
			cell->contender, (int)cell->role, cell->threads);
		if (!i || cell->workload != cells[i - 1].workload)
			fprintf(stderr, "  %s; %s, %s, %g\n", workload->title, workload->unit,
				workload->axis, workload->scale);
		if (cell->prepare)
			cell->prepare(cell);
		reads_least = reads_most = 0;
		if (!file && fails("counters", "live"))
			((struct all_counters *)cell->context)->gone.word = 1;
		if (!file && fails("counters", "free"))
			((struct all_counters *)cell->context)->shared.word = 0;
		sample = sample_of(workers, cell->threads, cell->batch, cell->context,
			workload->bytes > 4096 || (writes && workload->bytes == 4096) ? 11 : 70,
			true);
		if (sample.failed) {
			fprintf(stderr, "  failed: %s\n", strerror(sample.error));
			return false;
		}
		if (prefetched)
			fprintf(stderr, "  prefetched %016llx\n", (unsigned long long)prefetched);
		prefetched = 0;
		if (reads_most)
			fprintf(stderr, "  %u to %u reads in a call\n", reads_least, reads_most);
		if (!file)
			spoil(cell->context, cell->threads);
		if (writes)
			show_file((const struct bench *)report);
		for (round = 0; round < ROUNDS; round++) {
			sample.rate = (double)(i + 1) * 1e5 * (1 + round / 100.0);
			sample.leader = sample.rate / 2;
			workload->slice = 0.01;
			if (!cell->record)
				report_sample(workload, cell->contender, cell->role, cell->threads,
					sample.rate, sample.extra);
			else if (!cell->record(report, cell, &sample)) {
				fprintf(stderr, "  the counters are wrong\n");
				return false;
			}
		}
	}
	return !file || ((const struct bench *)report)->file;
}

int main(int argc, char **argv)
{
	_Static_assert(!offsetof(struct bench, report), "a report is the beginning of a benchmark");

	if (argc < 2)
		return 2;
	if (!strcmp(argv[1], "ref"))
		return bench_ref_command(argc - 1, argv + 1);
	if (!strcmp(argv[1], "write"))
		return bench_write_command(argc - 1, argv + 1);
	return bench_file_command(argc - 1, argv + 1);
}
