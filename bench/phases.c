/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * phases - the library's side of fio.py. It has one cache and one file, and reads or writes for a
 * while on command, so that the cache stays full while fio runs.
 *
 *   phases FILE CACHE_MIB [write]
 *
 *   random THREADS SECONDS     4 KiB reads of pages that are not cached; each thread waits for its
 *                              own page
 *   uniform THREADS SECONDS    4 KiB reads at random offsets, drawn independently: some are cached
 *   known DEPTH SECONDS        as random, by one thread that prefetches the next DEPTH pages
 *   batch DEPTH SECONDS        as random, by one thread that reads DEPTH pages in a call
 *   sequential SECONDS         1 MiB reads that continue where the last phase ended
 *   frames THREADS SECONDS     no cache: as random, but each page is read directly into memory of
 *                              the cache's size and copied from there. Any cache that keeps what
 *                              it reads has at least this cost
 *
 * With "write", which overwrites the file:
 *
 *   write-random PAGES SECONDS     4 KiB writes, a sync after each PAGES of them (0: none) and at
 *                                  the end
 *   write-sequential SECONDS       1 MiB writes that continue where the last phase ended, a sync at
 *                                  the end
 *
 * Answers each line of standard input with one line of standard output: bytes read or written,
 * seconds, bytes that the device delivered or took, microseconds of CPU. Random pages, except those
 * of uniform, come in an order in which each comes once before any comes again. A phase of writing
 * ends when the device has all of its data.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <folio/atomic.h>
#include <folio/cache.h>

#include "../tools/folio/random.h"

#define BLOCK       ((size_t)1 << 20)
#define DEPTH_MAX   1024
#define THREADS_MAX 1024

static struct folio_cache *cache;
static struct folio_file *file;
static uint64_t pages, key;
static folio_u64 next_page; /* number in the random order */
static uint64_t offset;     /* of the next sequential access */

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static uint64_t cpu_microseconds(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
	       (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static __attribute__((noreturn)) void fail(const char *what, ssize_t error)
{
	fprintf(stderr, "phases: %s: %s\n", what,
		error < 0 ? strerror((int)-error) : "short transfer");
	exit(1);
}

static uint64_t page_offset(uint64_t number)
{
	return random_permute(number % pages, pages, key) * FOLIO_PAGE_SIZE;
}

static void read_page(char *buffer, uint64_t at)
{
	ssize_t n = folio_file_read(file, buffer, FOLIO_PAGE_SIZE, at);

	if (n != FOLIO_PAGE_SIZE)
		fail("read", n);
}

struct reader {
	pthread_t thread;
	double end;
	uint64_t bytes;
};

static void *read_random(void *arg)
{
	static _Thread_local char buffer[FOLIO_PAGE_SIZE];
	struct reader *reader = arg;

	while (now() < reader->end) {
		read_page(buffer, page_offset(folio_u64_fetch_add_relaxed(&next_page, 1)));
		reader->bytes += FOLIO_PAGE_SIZE;
	}
	return NULL;
}

static void *read_uniform(void *arg)
{
	static _Thread_local char buffer[FOLIO_PAGE_SIZE];
	struct reader *reader = arg;

	while (now() < reader->end) {
		/* Each number is used once in the life of the process. */
		uint64_t state = random_mix(key + folio_u64_fetch_add_relaxed(&next_page, 1));

		read_page(buffer, random_below(&state, pages) * FOLIO_PAGE_SIZE);
		reader->bytes += FOLIO_PAGE_SIZE;
	}
	return NULL;
}

static const char *path;
static char *frames;
static uint64_t frames_bytes;
static int direct;
static folio_u64 frames_read; /* bytes */

static void *read_frames(void *arg)
{
	static _Thread_local char buffer[FOLIO_PAGE_SIZE];
	struct reader *reader = arg;

	while (now() < reader->end) {
		uint64_t number = folio_u64_fetch_add_relaxed(&next_page, 1);
		uint64_t count = frames_bytes / FOLIO_PAGE_SIZE;
		char *frame = frames + random_permute(number % count, count, key) * FOLIO_PAGE_SIZE;
		ssize_t n = pread(direct, frame, FOLIO_PAGE_SIZE, (off_t)page_offset(number));

		if (n != FOLIO_PAGE_SIZE)
			fail("direct read", n < 0 ? -errno : n);
		memcpy(buffer, frame, FOLIO_PAGE_SIZE);
		/* The compiler must not leave the copy out. */
		__asm__ volatile("" : : "r"(buffer) : "memory");
		reader->bytes += FOLIO_PAGE_SIZE;
	}
	folio_u64_fetch_add_relaxed(&frames_read, reader->bytes);
	return NULL;
}

/* In 2 MiB pages, as the cache's, and all of them resident. */
static void frames_begin(void)
{
	if (frames)
		return;
	direct = open(path, O_RDONLY | O_DIRECT);
	if (direct < 0)
		fail(path, -errno);
	frames = mmap(
		NULL, frames_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (frames == MAP_FAILED)
		fail("memory", -errno);
	madvise(frames, frames_bytes, MADV_HUGEPAGE);
	memset(frames, 1, frames_bytes);
}

static uint64_t threads_phase(unsigned threads, double seconds, void *(*read)(void *))
{
	static struct reader reader[THREADS_MAX];
	double end = now() + seconds;
	uint64_t bytes = 0;
	unsigned i;

	for (i = 0; i < threads; i++) {
		reader[i] = (struct reader){.end = end};
		if (pthread_create(&reader[i].thread, NULL, read, &reader[i]))
			fail("thread", -EAGAIN);
	}
	for (i = 0; i < threads; i++) {
		pthread_join(reader[i].thread, NULL);
		bytes += reader[i].bytes;
	}
	return bytes;
}

/* Prefetches in groups of a quarter of the depth, like a program that works through a list. */
static uint64_t known_phase(unsigned depth, double seconds)
{
	static struct folio_range range[DEPTH_MAX];
	static char buffer[FOLIO_PAGE_SIZE];
	unsigned group = (depth + 3) / 4, i;
	double end = now() + seconds;
	uint64_t next = folio_u64_load_relaxed(&next_page), ahead = next, bytes = 0;
	ssize_t n;

	while (now() < end) {
		while (ahead + group <= next + depth) {
			for (i = 0; i < group; i++)
				range[i] = (struct folio_range){
					page_offset(ahead + i), FOLIO_PAGE_SIZE};
			n = folio_file_prefetch(file, range, group);
			if (n < 0)
				fail("prefetch", n);
			ahead += group;
		}
		read_page(buffer, page_offset(next++));
		bytes += FOLIO_PAGE_SIZE;
	}
	folio_u64_store_relaxed(&next_page, ahead);
	return bytes;
}

/* Reads @depth pages in a call; the next call begins when all of them have arrived. */
static uint64_t batch_phase(unsigned depth, double seconds)
{
	static struct folio_read read[DEPTH_MAX];
	static char buffer[DEPTH_MAX][FOLIO_PAGE_SIZE];
	double end = now() + seconds;
	uint64_t next = folio_u64_load_relaxed(&next_page), bytes = 0;
	unsigned i;
	int r;

	while (now() < end) {
		for (i = 0; i < depth; i++)
			read[i] = (struct folio_read){
				buffer[i], FOLIO_PAGE_SIZE, page_offset(next++), 0};
		r = folio_file_read_batch(file, read, depth, 0);
		if (r)
			fail("batch", r);
		for (i = 0; i < depth; i++) {
			if (read[i].result != FOLIO_PAGE_SIZE)
				fail("batch", read[i].result);
		}
		bytes += (uint64_t)depth * FOLIO_PAGE_SIZE;
	}
	folio_u64_store_relaxed(&next_page, next);
	return bytes;
}

static uint64_t sequential_phase(double seconds)
{
	static char buffer[BLOCK] __attribute__((aligned(4096)));
	double end = now() + seconds;
	uint64_t size = pages * FOLIO_PAGE_SIZE, bytes = 0;

	while (now() < end) {
		ssize_t n;

		if (offset + BLOCK > size)
			offset = 0;
		n = folio_file_read(file, buffer, BLOCK, offset);
		if (n != (ssize_t)BLOCK)
			fail("read", n);
		offset += BLOCK;
		bytes += BLOCK;
	}
	return bytes;
}

/* Bytes that differ from phase to phase: no device finds that it has them already. */
static void *fresh_bytes(void *buffer, size_t len)
{
	static uint64_t word;
	size_t i;

	for (i = 0; i < len / sizeof(word); i++)
		((uint64_t *)buffer)[i] = random_mix(++word);
	return buffer;
}

static void sync_all(void)
{
	int r = folio_file_sync(file, NULL, FOLIO_SYNC_DATA);

	if (r)
		fail("sync", r);
}

static void write_all(const void *buffer, size_t len, uint64_t at)
{
	ssize_t n = folio_file_write(file, buffer, len, at);

	if (n != (ssize_t)len)
		fail("write", n);
}

static uint64_t write_random_phase(unsigned group, double seconds)
{
	static char buffer[FOLIO_PAGE_SIZE] __attribute__((aligned(4096)));
	double end = now() + seconds;
	uint64_t next = folio_u64_load_relaxed(&next_page), written = 0;

	fresh_bytes(buffer, sizeof(buffer));
	while (now() < end) {
		write_all(buffer, sizeof(buffer), page_offset(next++));
		if (++written % (group ? group : UINT64_MAX) == 0)
			sync_all();
	}
	sync_all();
	folio_u64_store_relaxed(&next_page, next);
	return written * FOLIO_PAGE_SIZE;
}

static uint64_t write_sequential_phase(double seconds)
{
	static char buffer[BLOCK] __attribute__((aligned(4096)));
	double end = now() + seconds;
	uint64_t bytes = 0;

	fresh_bytes(buffer, sizeof(buffer));
	while (now() < end) {
		if (offset + BLOCK > pages * FOLIO_PAGE_SIZE)
			offset = 0;
		write_all(buffer, sizeof(buffer), offset);
		offset += BLOCK;
		bytes += BLOCK;
	}
	sync_all();
	return bytes;
}

/* Bytes moved between the cache and the device, in either direction. */
static uint64_t moved(void)
{
	struct folio_cache_stats stats = {.size = sizeof(stats)};

	if (folio_cache_stats(cache, &stats))
		fail("statistics", -EINVAL);
	return stats.fill_bytes + stats.write_bytes + folio_u64_load_relaxed(&frames_read);
}

int main(int argc, char **argv)
{
	struct folio_cache_params params = {.size = sizeof(params)};
	char line[128];
	bool write = argc == 4 && !strcmp(argv[3], "write");
	int r;

	if (argc != 3 && !write) {
		fprintf(stderr, "usage: phases FILE CACHE_MIB [write]\n");
		return 2;
	}
	path = argv[1];
	frames_bytes = params.bytes = strtoull(argv[2], NULL, 10) << 20;
	r = folio_cache_open(&params, &cache);
	if (r)
		fail("cache", r);
	r = folio_file_open(cache, argv[1], write ? O_RDWR : O_RDONLY, 0, &file);
	if (r)
		fail(argv[1], r);
	pages = folio_file_size(file) / FOLIO_PAGE_SIZE;
	if (pages * FOLIO_PAGE_SIZE < BLOCK)
		fail(argv[1], 0);
	key = (uint64_t)time(NULL);
	while (fgets(line, sizeof(line), stdin)) {
		uint64_t bytes, before = moved(), cpu = cpu_microseconds();
		double start = now(), seconds;
		unsigned n;

		if (sscanf(line, "random %u %lf", &n, &seconds) == 2 && n && n <= THREADS_MAX)
			bytes = threads_phase(n, seconds, read_random);
		else if (sscanf(line, "uniform %u %lf", &n, &seconds) == 2 && n && n <= THREADS_MAX)
			bytes = threads_phase(n, seconds, read_uniform);
		else if (sscanf(line, "frames %u %lf", &n, &seconds) == 2 && n &&
			 n <= THREADS_MAX) {
			frames_begin();
			bytes = threads_phase(n, seconds, read_frames);
		} else if (sscanf(line, "known %u %lf", &n, &seconds) == 2 && n && n <= DEPTH_MAX)
			bytes = known_phase(n, seconds);
		else if (sscanf(line, "batch %u %lf", &n, &seconds) == 2 && n && n <= DEPTH_MAX)
			bytes = batch_phase(n, seconds);
		else if (sscanf(line, "sequential %lf", &seconds) == 1)
			bytes = sequential_phase(seconds);
		else if (write && sscanf(line, "write-random %u %lf", &n, &seconds) == 2)
			bytes = write_random_phase(n, seconds);
		else if (write && sscanf(line, "write-sequential %lf", &seconds) == 1)
			bytes = write_sequential_phase(seconds);
		else
			fail("no such command", -EINVAL);
		printf("%" PRIu64 " %.6f %" PRIu64 " %" PRIu64 "\n", bytes, now() - start,
			moved() - before, cpu_microseconds() - cpu);
		fflush(stdout);
	}
	r = folio_file_close(file);
	if (r)
		fail("close", r);
	folio_cache_close(cache);
	return 0;
}
