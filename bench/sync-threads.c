/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sync-threads - measures threads that write a page each and sync, again and again, with
 * folio_file_write and folio_file_sync, and with pwrite and fdatasync.
 *
 *   sync-threads FOLDER [SYNCS [ROUNDS]]      default: 640 15
 *
 * In each round, each contender makes SYNCS syncs with 1, 4, 16 and 64 threads, alternately, in a
 * file of its own of 64 MiB. Prints a table: medians of the syncs per second, of the ratio within a
 * round, with quartiles, and of how many syncs of folio's threads share one of the device.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include <folio.h>

#include "measure.h"

#define PAGES       16384
#define ROUNDS_MAX  1001
#define THREADS_MAX 64

static const unsigned thread_counts[] = {1, 4, 16, 64};
#define COUNTS (sizeof(thread_counts) / sizeof(thread_counts[0]))

enum contender { KERNEL, FOLIO, CONTENDERS };

static int fd;
static struct folio_file *file;
static unsigned syncs_each;
static atomic_uint device_syncs;

static int counted_sync(void *context, void *handle, unsigned flags)
{
	atomic_fetch_add(&device_syncs, 1);
	/* All local backends have the same. */
	return folio_io_threads.sync(context, handle, flags);
}

/* A page of the file, a different one for each thread. */
static uint64_t next_page(uint64_t *state, unsigned thread)
{
	*state = *state * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (*state >> 40) % (PAGES / THREADS_MAX) * THREADS_MAX + thread;
}

static void *kernel_thread(void *arg)
{
	unsigned self = *(unsigned *)arg, i;
	static const char page[FOLIO_PAGE_SIZE];
	uint64_t state = self;

	for (i = 0; i < syncs_each; i++) {
		off_t offset = (off_t)(next_page(&state, self) * FOLIO_PAGE_SIZE);

		check(result(pwrite(fd, page, sizeof(page), offset)), "pwrite");
		check(result(fdatasync(fd)), "fdatasync");
	}
	return NULL;
}

static void *folio_thread(void *arg)
{
	unsigned self = *(unsigned *)arg, i;
	static const char page[FOLIO_PAGE_SIZE];
	uint64_t state = self;

	for (i = 0; i < syncs_each; i++) {
		uint64_t offset = next_page(&state, self) * FOLIO_PAGE_SIZE;

		check(folio_file_write(file, page, sizeof(page), offset), "folio_file_write");
		check(folio_file_sync(file, NULL, FOLIO_SYNC_DATA), "folio_file_sync");
	}
	return NULL;
}

/* Syncs per second. */
static double measure(enum contender contender, unsigned threads, unsigned syncs)
{
	pthread_t thread[THREADS_MAX];
	unsigned self[THREADS_MAX], i;
	double begin = nanoseconds(CLOCK_MONOTONIC);

	syncs_each = syncs / threads ? syncs / threads : 1;
	for (i = 0; i < threads; i++) {
		self[i] = i;
		check(-pthread_create(&thread[i], NULL,
			      contender == FOLIO ? folio_thread : kernel_thread, &self[i]),
			"pthread_create");
	}
	for (i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
	return syncs_each * threads * 1e9 / (nanoseconds(CLOCK_MONOTONIC) - begin);
}

/* A file whose blocks are allocated and written. */
static int make_file(const char *path)
{
	static const char bytes[64 * FOLIO_PAGE_SIZE];
	int made = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	unsigned i;

	check(result(made), path);
	for (i = 0; i < PAGES / 64; i++)
		check(result(write(made, bytes, sizeof(bytes))), path);
	check(result(fsync(made)), path);
	return made;
}

static struct folio_cache *open_cache(void)
{
	static struct folio_io_ops ops;
	struct folio_cache_params params = {
		.size = sizeof(params),
		.bytes = UINT64_C(2) * PAGES * FOLIO_PAGE_SIZE,
		.dirty_age_ms = UINT32_MAX,
		.io = &ops,
	};
	struct folio_cache *cache;
	int r;

	ops = folio_io_uring;
	ops.sync = counted_sync;
	r = folio_cache_open(&params, &cache);
	if (r) {
		ops = folio_io_threads;
		ops.sync = counted_sync;
		r = folio_cache_open(&params, &cache);
	}
	check(r, "folio_cache_open");
	return cache;
}

static double rate[COUNTS][CONTENDERS][ROUNDS_MAX], ratio[COUNTS][ROUNDS_MAX];
static double shared[COUNTS][ROUNDS_MAX];

static void run_round(unsigned round, unsigned syncs)
{
	unsigned n, i;

	for (n = 0; n < COUNTS; n++) {
		atomic_store(&device_syncs, 0);
		for (i = 0; i < CONTENDERS; i++) {
			enum contender contender = (i + round) % CONTENDERS;

			rate[n][contender][round] = measure(contender, thread_counts[n], syncs);
		}
		ratio[n][round] = rate[n][FOLIO][round] / rate[n][KERNEL][round];
		shared[n][round] = (double)syncs_each * thread_counts[n] / device_syncs;
	}
}

static void print_table(unsigned rounds)
{
	unsigned n;

	printf("| threads | pwrite, fdatasync: syncs/s | folio: syncs/s | ratio | quartiles |"
	       " syncs for each of the device |\n|---|---|---|---|---|---|\n");
	for (n = 0; n < COUNTS; n++) {
		sort(rate[n][KERNEL], rounds);
		sort(rate[n][FOLIO], rounds);
		sort(ratio[n], rounds);
		sort(shared[n], rounds);
		printf("| %u | %.0f | %.0f | ", thread_counts[n], rate[n][KERNEL][rounds / 2],
			rate[n][FOLIO][rounds / 2]);
		printf("%.2f | %.2f to %.2f | %.1f |\n", ratio[n][rounds / 2], ratio[n][rounds / 4],
			ratio[n][rounds * 3 / 4], shared[n][rounds / 2]);
	}
}

int main(int argc, char **argv)
{
	unsigned syncs = argc > 2 ? (unsigned)atoi(argv[2]) : 640;
	unsigned rounds = argc > 3 ? (unsigned)atoi(argv[3]) : 15, round;
	struct folio_cache *cache;

	if (argc < 2 || !syncs || !rounds || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: sync-threads FOLDER [SYNCS [ROUNDS]]\n");
		return 2;
	}
	check(result(chdir(argv[1])), argv[1]);
	close(make_file("sync-threads.folio"));
	fd = make_file("sync-threads.kernel");
	cache = open_cache();
	check(folio_file_open(cache, "sync-threads.folio", O_RDWR, 0, &file), "folio_file_open");
	for (round = 0; round < rounds; round++)
		run_round(round, syncs);
	print_table(rounds);
	check(folio_file_close(file), "folio_file_close");
	check(folio_cache_close(cache), "folio_cache_close");
	close(fd);
	unlink("sync-threads.folio");
	unlink("sync-threads.kernel");
	return 0;
}
