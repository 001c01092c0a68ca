/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pin-counters - measures a complete hit by pin (folio_file_get_page, 64 bytes, folio_put) over the
 * counter of ref.h and over the classic counter (cas/folio/ref.h), and for comparison a bare
 * fetch-add and fetch-sub on one cache line. The library is built twice, into two modules;
 * contenders alternate within each round.
 *
 *   pin-counters FOLDER [ROUNDS [MILLISECONDS]]      FOLDER: where the modules are
 *
 * Prints a table: medians of the ns per operation and thread, and of the ratios within a round.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <folio/atomic.h>

#include "pin-loop.h"

#define ROUNDS_MAX  101
#define THREADS_MAX 64
#define CHUNK       1024

enum contender { BIT, CAS, PAIR, CONTENDERS };
static const char *const name[CONTENDERS] = {
	"pin, frozen bit", "pin, CAS loop", "bare fetch-add pair"};

static const struct pin_loop *loop[CONTENDERS];
static void *file[CONTENDERS];
static _Alignas(128) folio_u32 bare = 1;
static _Alignas(128) folio_u32 stop, ready;
static uint64_t volatile sink;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

struct job {
	enum contender contender;
	int cpu;
	uint32_t threads;
	uint64_t done;
	double ns;
};

static uint64_t pairs(uint64_t count)
{
	uint64_t i, sum = 0;

	for (i = 0; i < count; i++) {
		sum += folio_u32_fetch_add_acquire(&bare, 1);
		folio_u32_fetch_sub_release(&bare, 1);
	}
	return sum;
}

static void *work(void *arg)
{
	struct job *job = arg;
	cpu_set_t set;
	uint64_t sum = 0;

	CPU_ZERO(&set);
	CPU_SET(job->cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
	folio_u32_fetch_add_release(&ready, 1);
	while (folio_u32_load_acquire(&ready) < job->threads)
		continue;
	job->ns = -now();
	while (!folio_u32_load_relaxed(&stop)) {
		sum += job->contender == PAIR
			       ? pairs(CHUNK)
			       : loop[job->contender]->run(file[job->contender], CHUNK);
		job->done += CHUNK;
	}
	job->ns += now();
	sink = sum;
	return NULL;
}

/* Returns the ns that one operation takes a thread: the mean over the threads. */
static double measure(enum contender contender, unsigned threads, double milliseconds)
{
	struct timespec t = {.tv_nsec = (long)(milliseconds * 1e6) % 1000000000,
		.tv_sec = (time_t)(milliseconds / 1e3)};
	struct job job[THREADS_MAX] = {0};
	pthread_t thread[THREADS_MAX];
	double sum = 0;
	unsigned i;

	folio_u32_store_relaxed(&stop, 0);
	folio_u32_store_relaxed(&ready, 0);
	for (i = 0; i < threads; i++) {
		job[i] = (struct job){.contender = contender, .cpu = (int)i, .threads = threads};
		pthread_create(&thread[i], NULL, work, &job[i]);
	}
	nanosleep(&t, NULL);
	folio_u32_store_relaxed(&stop, 1);
	for (i = 0; i < threads; i++) {
		pthread_join(thread[i], NULL);
		sum += job[i].ns / (double)job[i].done;
	}
	return sum / threads;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(const double *value, unsigned count, double *low, double *high)
{
	double sorted[ROUNDS_MAX];

	memcpy(sorted, value, count * sizeof(*value));
	qsort(sorted, count, sizeof(*sorted), compare);
	*low = sorted[count / 4];
	*high = sorted[count * 3 / 4];
	return sorted[count / 2];
}

static int open_module(
	const char *folder, const char *module, const char *data, enum contender contender)
{
	char path[4096];
	void *handle;
	int r;

	snprintf(path, sizeof(path), "%s/%s", folder, module);
	/* Local: both modules define the same names. */
	handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!handle) {
		fprintf(stderr, "pin-counters: %s\n", dlerror());
		return -1;
	}
	loop[contender] = dlsym(handle, "pin_loop");
	r = loop[contender]->open(data, &file[contender]);
	if (r)
		fprintf(stderr, "pin-counters: %s: %s\n", data, strerror(-r));
	return r;
}

int main(int argc, char **argv)
{
	unsigned rounds = argc > 2 ? (unsigned)atoi(argv[2]) : 21;
	double milliseconds = argc > 3 ? atof(argv[3]) : 100;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	char data[] = "/var/tmp/pin-counters-XXXXXX";
	static char page[4096];
	unsigned threads;
	int fd;

	if (argc < 2 || rounds < 1 || rounds > ROUNDS_MAX || milliseconds <= 0) {
		fprintf(stderr,
			"pin-counters: usage: pin-counters FOLDER [ROUNDS [MILLISECONDS]]\n");
		return 2;
	}
	fd = mkstemp(data);
	if (fd < 0 || write(fd, page, sizeof(page)) != sizeof(page)) {
		perror("pin-counters");
		return 1;
	}
	if (open_module(argv[1], "libpin-bit.so", data, BIT) ||
		open_module(argv[1], "libpin-cas.so", data, CAS))
		return 1;
	unlink(data);
	printf("%-8s %-22s %10s %18s   %s\n", "threads", "contender", "ns/op", "quartiles",
		"times 'pin, frozen bit'");
	for (threads = 1; threads <= (unsigned)cpus && threads <= THREADS_MAX; threads *= 2) {
		double ns[CONTENDERS][ROUNDS_MAX], ratio[ROUNDS_MAX], low, high, mid;
		unsigned r, c;

		for (r = 0; r < rounds; r++)
			for (c = 0; c < CONTENDERS; c++) {
				enum contender turn = (enum contender)((c + r) % CONTENDERS);

				ns[turn][r] = measure(turn, threads, milliseconds);
			}
		for (c = 0; c < CONTENDERS; c++) {
			mid = median(ns[c], rounds, &low, &high);
			printf("%-8u %-22s %10.2f %8.2f..%-8.2f", threads, name[c], mid, low, high);
			for (r = 0; r < rounds; r++)
				ratio[r] = ns[c][r] / ns[BIT][r];
			mid = median(ratio, rounds, &low, &high);
			printf("   %.2f (%.2f..%.2f)\n", mid, low, high);
		}
	}
	return 0;
}
