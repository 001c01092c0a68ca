/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench-miss.c - reads of uncached data, compared with direct I/O on the same file.
 *
 * Random reads visit the pages of the file in a random order in which each page is visited once
 * before any page is visited again: a page is evicted long before it is read again. The bytes
 * requested from the device are counted all the same, and shown.
 */
#include "bench/bench-miss.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <liburing.h>

#include "bench/rounds.h"
#include "command.h"
#include "progress.h"
#include "random.h"

#define BLOCK     ((uint64_t)1 << 20) /* of sequential reads */
#define ORDER_KEY UINT64_C(0x0fde4)

struct misses {
	struct bench *bench;
	int direct;     /* the file, opened for direct I/O; -1: not supported */
	uint64_t pages; /* complete ones */
	char *buffers;  /* a page for each thread or request in flight */
	char *block;    /* for sequential reads */

	/* Compare every read of every thread with pread. Set before anything is measured. */
	bool check;
	char *expected; /* like buffers */

	/* Of the single thread: positions in the order in which pages are visited. */
	uint64_t next;  /* to read */
	uint64_t ahead; /* to prefetch */
	struct io_uring ring;
	bool ring_works;
	unsigned in_flight;
	uint64_t *ring_page; /* page that is read into each buffer */

	/* Sequential reads: the offset of each contender, in bytes. */
	uint64_t cache_offset, direct_offset;

	/* Since the beginning of the last sample. */
	uint64_t fill_bytes;
	uint64_t reads;
};

/*
 * The first half of the order is for many threads and the second half for the single thread, so
 * that neither finds pages that the other has read.
 */
static uint64_t page_at(const struct misses *misses, uint64_t number, bool single)
{
	uint64_t half = misses->pages / 2;

	return random_permute(single ? half + number % (misses->pages - half) : number % half,
		misses->pages, ORDER_KEY);
}

/* An errno, 0 for a short read. */
static int error_of(ssize_t got)
{
	return got < 0 ? (int)-got : 0;
}

/* In a check, compare the page read into buffer number buffer with the kernel's. */
static bool good_page(const struct misses *misses, unsigned buffer, uint64_t page)
{
	char *expected = misses->expected + (size_t)buffer * FOLIO_PAGE_SIZE;

	return !misses->check ||
	       (pread(misses->bench->fds[0], expected, FOLIO_PAGE_SIZE,
			(off_t)(page * FOLIO_PAGE_SIZE)) == FOLIO_PAGE_SIZE &&
		       !memcmp(expected, misses->buffers + (size_t)buffer * FOLIO_PAGE_SIZE,
			       FOLIO_PAGE_SIZE));
}

static void count_reads(struct misses *misses, uint64_t n)
{
	__atomic_fetch_add(&misses->reads, n, __ATOMIC_RELAXED);
}

/* ---- many threads, each waits for its own read ---- */

static uint64_t read_pages_cache(struct worker *worker, uint64_t n)
{
	struct misses *misses = worker->context;
	char *buffer = misses->buffers + (size_t)worker->index * FOLIO_PAGE_SIZE;
	uint64_t i, page;
	ssize_t got;

	for (i = 0; i < n; i++) {
		page = page_at(misses, worker->position++, false);
		got = folio_file_read(
			misses->bench->file, buffer, FOLIO_PAGE_SIZE, page * FOLIO_PAGE_SIZE);
		if (got != FOLIO_PAGE_SIZE || !good_page(misses, worker->index, page)) {
			worker->error = error_of(got);
			return 0;
		}
		worker->sum += *(uint64_t *)buffer;
	}
	count_reads(misses, n);
	return n;
}

static uint64_t read_pages_direct(struct worker *worker, uint64_t n)
{
	struct misses *misses = worker->context;
	char *buffer = misses->buffers + (size_t)worker->index * FOLIO_PAGE_SIZE;
	uint64_t i, page;
	ssize_t got;

	for (i = 0; i < n; i++) {
		page = page_at(misses, worker->position++, false);
		got = pread(
			misses->direct, buffer, FOLIO_PAGE_SIZE, (off_t)(page * FOLIO_PAGE_SIZE));
		if (got != FOLIO_PAGE_SIZE || !good_page(misses, worker->index, page)) {
			worker->error = got < 0 ? errno : 0;
			return 0;
		}
		worker->sum += *(uint64_t *)buffer;
	}
	count_reads(misses, n);
	return n;
}

/* ---- one thread that knows the next pages ---- */

/*
 * Prefetches in groups, as a program that works through a list would: one call per page would also
 * be one system call per page.
 */
static uint64_t read_pages_prefetch(struct worker *worker, uint64_t n)
{
	struct misses *misses = worker->context;
	unsigned depth = misses->bench->depth, group = (depth + 3) / 4, i;
	struct folio_range ranges[(DEPTH_MAX + 3) / 4];
	uint64_t done, page;
	ssize_t got;

	/* The contenders with one thread continue in the same order. */
	if (misses->ahead < misses->next)
		misses->ahead = misses->next;
	for (done = 0; done < n; done++) {
		while (misses->ahead + group <= misses->next + depth) {
			for (i = 0; i < group; i++) {
				ranges[i].offset =
					page_at(misses, misses->ahead + i, true) * FOLIO_PAGE_SIZE;
				ranges[i].len = FOLIO_PAGE_SIZE;
			}
			got = folio_file_prefetch(misses->bench->file, ranges, group);
			if (got < 0) {
				worker->error = error_of(got);
				return 0;
			}
			misses->ahead += group;
		}
		page = page_at(misses, misses->next++, true);
		got = folio_file_read(misses->bench->file, misses->buffers, FOLIO_PAGE_SIZE,
			page * FOLIO_PAGE_SIZE);
		if (got != FOLIO_PAGE_SIZE || !good_page(misses, 0, page)) {
			worker->error = error_of(got);
			return 0;
		}
		worker->sum += *(uint64_t *)misses->buffers;
	}
	count_reads(misses, n);
	return n;
}

/*
 * depth reads per call; the next call when all of them are complete. Every call has so many, also
 * if n is 1, as it is if a read takes as long as a device does.
 */
static uint64_t read_pages_batch(struct worker *worker, uint64_t n)
{
	struct misses *misses = worker->context;
	struct folio_read reads[DEPTH_MAX];
	unsigned depth = misses->bench->depth, i;
	uint64_t done;
	int result;

	if (misses->next < misses->ahead)
		misses->next = misses->ahead;
	for (done = 0; done < n; done += depth) {
		for (i = 0; i < depth; i++)
			reads[i] = (struct folio_read){
				.buf = misses->buffers + (size_t)i * FOLIO_PAGE_SIZE,
				.len = FOLIO_PAGE_SIZE,
				.offset =
					page_at(misses, misses->next + i, true) * FOLIO_PAGE_SIZE};
		result = folio_file_read_batch(misses->bench->file, reads, depth, 0);
		if (result) {
			worker->error = -result;
			return 0;
		}
		for (i = 0; i < depth; i++) {
			if (reads[i].result != FOLIO_PAGE_SIZE ||
				!good_page(misses, i, reads[i].offset / FOLIO_PAGE_SIZE)) {
				worker->error = error_of(reads[i].result);
				return 0;
			}
			worker->sum += *(uint64_t *)reads[i].buf;
		}
		misses->next += depth;
	}
	count_reads(misses, done);
	return done;
}

static void ring_request(struct misses *misses, unsigned buffer)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&misses->ring);
	uint64_t page = page_at(misses, misses->next++, true);

	misses->ring_page[buffer] = page;
	io_uring_prep_read(sqe, misses->direct, misses->buffers + (size_t)buffer * FOLIO_PAGE_SIZE,
		FOLIO_PAGE_SIZE, page * FOLIO_PAGE_SIZE);
	io_uring_sqe_set_data64(sqe, buffer);
	misses->in_flight++;
}

/* Keeps the ring full: submits a read for each one that is complete, all in one call. */
static uint64_t read_pages_uring(struct worker *worker, uint64_t n)
{
	struct misses *misses = worker->context;
	struct io_uring_cqe *cqe;
	uint64_t done = 0;
	unsigned buffer, seen, head;
	int result;

	if (misses->next < misses->ahead)
		misses->next = misses->ahead;
	while (misses->in_flight < misses->bench->depth)
		ring_request(misses, misses->in_flight);
	while (done < n) {
		result = io_uring_submit_and_wait(&misses->ring, 1);
		if (result < 0 && result != -EINTR) {
			worker->error = -result;
			return 0;
		}
		seen = 0;
		io_uring_for_each_cqe(&misses->ring, head, cqe)
		{
			buffer = (unsigned)io_uring_cqe_get_data64(cqe);
			seen++;
			misses->in_flight--;
			if (cqe->res != (int)FOLIO_PAGE_SIZE ||
				!good_page(misses, buffer, misses->ring_page[buffer])) {
				worker->error = error_of(cqe->res);
				io_uring_cq_advance(&misses->ring, seen);
				return 0;
			}
			worker->sum +=
				*(uint64_t *)(misses->buffers + (size_t)buffer * FOLIO_PAGE_SIZE);
			ring_request(misses, buffer);
		}
		io_uring_cq_advance(&misses->ring, seen);
		done += seen;
	}
	count_reads(misses, done);
	return done;
}

/* ---- sequential ---- */

static uint64_t read_blocks_cache(struct worker *worker, uint64_t n)
{
	struct misses *misses = worker->context;
	uint64_t i;
	ssize_t got;

	for (i = 0; i < n; i++) {
		if (misses->cache_offset + BLOCK > misses->bench->size) {
			/* Nothing of the last pass may still be cached. */
			folio_file_invalidate(misses->bench->file, 0, UINT64_MAX);
			misses->cache_offset = 0;
		}
		got = folio_file_read(
			misses->bench->file, misses->block, BLOCK, misses->cache_offset);
		if (got != (ssize_t)BLOCK) {
			worker->error = error_of(got);
			return 0;
		}
		misses->cache_offset += BLOCK;
		worker->sum += *(uint64_t *)misses->block;
	}
	count_reads(misses, n * (BLOCK / FOLIO_PAGE_SIZE));
	return n;
}

static uint64_t read_blocks_direct(struct worker *worker, uint64_t n)
{
	struct misses *misses = worker->context;
	uint64_t i;
	ssize_t got;

	for (i = 0; i < n; i++) {
		if (misses->direct_offset + BLOCK > misses->bench->size)
			misses->direct_offset = 0;
		got = pread(misses->direct, misses->block, BLOCK, (off_t)misses->direct_offset);
		if (got != (ssize_t)BLOCK) {
			worker->error = got < 0 ? errno : 0;
			return 0;
		}
		misses->direct_offset += BLOCK;
		worker->sum += *(uint64_t *)misses->block;
	}
	count_reads(misses, n * (BLOCK / FOLIO_PAGE_SIZE));
	return n;
}

/* ---- samples ---- */

static void begin_sample(const struct cell *cell)
{
	struct misses *misses = cell->context;

	misses->fill_bytes = bench_stats(misses->bench).fill_bytes;
	misses->reads = 0;
}

/* Otherwise sequential reads would hit pages that other contenders left in the cache. */
static void begin_emptied_sample(const struct cell *cell)
{
	struct misses *misses = cell->context;

	folio_file_invalidate(misses->bench->file, 0, UINT64_MAX);
	begin_sample(cell);
}

/*
 * extra: bytes read from the device divided by bytes read by the program; 1 for contenders without
 * a cache. In the entire sample with its unmeasured part: the cache counts only that.
 */
static bool record_own(struct report *report, const struct cell *cell, const struct sample *sample)
{
	struct misses *misses = cell->context;
	double filled = (double)(bench_stats(misses->bench).fill_bytes - misses->fill_bytes);

	report_sample(&report->workloads[cell->workload], cell->contender, cell->role,
		cell->threads, sample->rate, filled / ((double)misses->reads * FOLIO_PAGE_SIZE));
	return true;
}

static bool record_peer(struct report *report, const struct cell *cell, const struct sample *sample)
{
	report_sample(&report->workloads[cell->workload], cell->contender, cell->role,
		cell->threads, sample->rate, 1);
	return true;
}

enum { RANDOM, KNOWN, SEQUENTIAL, WORKLOADS };

/* Formatted at run time: they contain the number of reads in flight. */
static char random_title[128], known_title[128];

static const struct report_workload workloads[WORKLOADS] = {
	[RANDOM] = {.name = "miss",
		.title = random_title,
		.unit = "k/s",
		.axis = "thousands of reads per second",
		.scale = 1e3,
		.bytes = FOLIO_PAGE_SIZE,
		.bases = {"pread direct"},
		.extra = "by device"},
	[KNOWN] = {.name = "miss-known",
		.title = known_title,
		.unit = "k/s",
		.axis = "thousands of reads per second",
		.scale = 1e3,
		.bytes = FOLIO_PAGE_SIZE,
		.bases = {"io_uring direct"},
		.extra = "by device"},
	[SEQUENTIAL] = {.name = "sequential",
		.title = "1 MiB reads from start to end, not cached",
		.unit = "MiB/s",
		.axis = "MiB per second",
		.scale = 1,
		.bytes = BLOCK,
		.bases = {"pread direct"},
		.extra = "by device"},
};

/*
 * Compare every way to read random pages with pread, page by page. For sequential reads, the entire
 * file was compared before.
 */
static bool check_contenders(struct misses *misses, const struct cell *cells, unsigned count)
{
	struct sample sample;
	unsigned i;

	misses->check = true;
	for (i = 0; i < count; i++) {
		sample = workers_measure(misses->bench->workers, cells[i].threads, cells[i].batch,
			misses, 0.005, 0.005);
		if (sample.failed) {
			progress_end();
			complain("%s: %s: %s", misses->bench->name, cells[i].contender,
				sample.error ? strerror(sample.error)
					     : "returned other bytes than pread");
			return false;
		}
	}
	misses->check = false;
	return true;
}

static void *page_buffers(size_t size)
{
	return aligned_alloc(FOLIO_PAGE_SIZE, size);
}

/* Wait for the reads in flight, which would write into freed memory. */
static void drain_ring(struct misses *misses)
{
	struct io_uring_cqe *cqe;

	io_uring_submit(&misses->ring);
	while (misses->in_flight && !io_uring_wait_cqe(&misses->ring, &cqe)) {
		io_uring_cqe_seen(&misses->ring, cqe);
		misses->in_flight--;
	}
	io_uring_queue_exit(&misses->ring);
}

/*
 * Fill the cache with the first pages in the order. The pages measured later come after them in the
 * order, so that their reads must evict and find none of them cached. Ends when the cache is full.
 */
static bool fill_cache(struct misses *misses, double seconds)
{
	struct bench *bench = misses->bench;
	double end = seconds_now() + seconds;
	struct folio_cache_stats stats;
	struct sample sample;

	folio_file_invalidate(bench->file, 0, UINT64_MAX);
	do {
		progress("filling the cache with other pages");
		sample = workers_measure(
			bench->workers, bench->depth, read_pages_cache, misses, 0.01, 0.1);
		if (sample.failed) {
			progress_end();
			complain("%s: %s", bench->name,
				sample.error ? strerror(sample.error) : "the file became shorter");
			return false;
		}
		stats = bench_stats(bench);
	} while (stats.pages_free > stats.pages / 16 && seconds_now() < end);
	return true;
}

static bool measure(struct misses *misses, double seconds)
{
	struct bench *bench = misses->bench;
	unsigned first = bench->report.workload_count, count = 0, i;
	struct cell cells[WORKLOADS * 2];

	snprintf(random_title, sizeof(random_title),
		"4 KiB reads anywhere, not cached; %u threads, each waits for its own read",
		bench->depth);
	snprintf(known_title, sizeof(known_title),
		"the same by one thread that knows the next %u pages", bench->depth);
	for (i = 0; i < WORKLOADS; i++)
		report_workload(&bench->report, &workloads[i]);
	cells[count++] = (struct cell){.workload = first + RANDOM,
		.contender = "folio copy",
		.threads = bench->depth,
		.batch = read_pages_cache,
		.record = record_own};
	if (misses->direct >= 0)
		cells[count++] = (struct cell){.workload = first + RANDOM,
			.contender = "pread direct",
			.role = ROLE_PEER,
			.threads = bench->depth,
			.batch = read_pages_direct,
			.record = record_peer};
	cells[count++] = (struct cell){.workload = first + KNOWN,
		.contender = "folio prefetch",
		.threads = 1,
		.batch = read_pages_prefetch,
		.record = record_own};
	cells[count++] = (struct cell){.workload = first + KNOWN,
		.contender = "folio batch",
		.threads = 1,
		.batch = read_pages_batch,
		.record = record_own};
	if (misses->direct >= 0 && misses->ring_works)
		cells[count++] = (struct cell){.workload = first + KNOWN,
			.contender = "io_uring direct",
			.role = ROLE_PEER,
			.threads = 1,
			.batch = read_pages_uring,
			.record = record_peer};
	for (i = 0; i < count; i++) {
		cells[i].prepare = begin_sample;
		cells[i].context = misses;
	}
	if (!fill_cache(misses, 3) || !check_contenders(misses, cells, count) ||
		!rounds_run(&bench->report, bench->workers, cells, count, seconds * 2 / 3, "bench"))
		return false;

	if (bench->size < BLOCK)
		return true;
	count = 0;
	cells[count++] = (struct cell){.workload = first + SEQUENTIAL,
		.contender = "folio copy",
		.threads = 1,
		.batch = read_blocks_cache,
		.context = misses,
		.prepare = begin_emptied_sample,
		.record = record_own};
	if (misses->direct >= 0)
		cells[count++] = (struct cell){.workload = first + SEQUENTIAL,
			.contender = "pread direct",
			.role = ROLE_PEER,
			.threads = 1,
			.batch = read_blocks_direct,
			.context = misses,
			.record = record_peer};
	return rounds_run(&bench->report, bench->workers, cells, count, seconds / 3, "bench");
}

bool bench_misses(struct bench *bench, double seconds)
{
	struct misses misses = {.bench = bench, .pages = bench->size / FOLIO_PAGE_SIZE};
	bool good = false;
	unsigned i;

	misses.direct = open(bench->path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (misses.direct < 0)
		report_warning(&bench->report,
			"No comparison with direct I/O: the file system does not support it (%s).",
			strerror(errno));
	misses.ring_works = !io_uring_queue_init(bench->depth, &misses.ring, 0);
	if (!misses.ring_works)
		report_warning(
			&bench->report, "No comparison with io_uring: the kernel denies it.");
	misses.buffers = page_buffers((size_t)bench->depth * FOLIO_PAGE_SIZE);
	misses.expected = page_buffers((size_t)bench->depth * FOLIO_PAGE_SIZE);
	misses.block = page_buffers(BLOCK);
	misses.ring_page = calloc(bench->depth, sizeof(*misses.ring_page));
	if (!misses.buffers || !misses.expected || !misses.block || !misses.ring_page) {
		complain("out of memory");
		goto out;
	}
	/* Threads begin in different parts of the order. */
	for (i = 0; i < bench->depth; i++)
		workers_get(bench->workers, i)->position = misses.pages / 2 / bench->depth * i;
	good = measure(&misses, seconds);
	report_note(&bench->report,
		"by device: bytes requested from the device, divided by bytes read.");
out:
	if (misses.ring_works)
		drain_ring(&misses);
	if (misses.direct >= 0)
		close(misses.direct);
	free(misses.buffers);
	free(misses.expected);
	free(misses.block);
	free(misses.ring_page);
	return good;
}
