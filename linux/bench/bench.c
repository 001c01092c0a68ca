// SPDX-License-Identifier: GPL-2.0-only
/*
 * bench.c - measures the cost of page references on a real machine, in the manner of will-it-scale:
 * 1, 2, 4 ... processes repeat one operation for a while, each bound to its processor. Several
 * rounds of each; the result is the median of the rounds.
 *
 *   bench [--work read|read-own|free] [--processes N] [--seconds N] [--rounds N] [--file FILE]
 *
 *   read       64-byte preads of the same page of one file: the cache line with the count bounces
 *   read-own   the same, each process with its own file: the cost without contention
 *   free       map, touch and unmap one page: one release of a page with a single reference
 *
 * The file should be on a disk's file system: tmpfs locks the page that it reads, which hides the
 * cost of the count.
 *
 * Prints a table as comma-separated values: work, processes, operations per second (median, least,
 * most). ../README.md describes how to compare two kernels with it.
 */

#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE   4096
#define ROUNDS 99

struct slot {
	uint64_t operations;
	char line[128 - sizeof(uint64_t)]; /* no two processes share a line or adjacent lines */
};

static struct {
	bool ready;
	char line[127];
	bool stop;
} * shared;

static struct slot *slots;
static const char *file = "folio-bench.data";

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static int open_file(int own)
{
	char path[4096], page[PAGE];
	int fd;

	if (snprintf(path, sizeof(path), own < 0 ? "%s" : "%s.%d", file, own) >= (int)sizeof(path))
		exit(2);
	memset(page, 'f', sizeof(page));
	fd = open(path, O_RDWR | O_CREAT, 0600);
	if (fd < 0 || pwrite(fd, page, PAGE, 0) != PAGE)
		fail(path);
	if (own >= 0)
		unlink(path);
	return fd;
}

static void read_page(int fd, uint64_t *operations)
{
	char data[64];

	while (!__atomic_load_n(&shared->stop, __ATOMIC_RELAXED)) {
		if (pread(fd, data, sizeof(data), 0) != sizeof(data))
			fail("pread");
		++*operations;
	}
}

static void free_page(int fd, uint64_t *operations)
{
	(void)fd;
	while (!__atomic_load_n(&shared->stop, __ATOMIC_RELAXED)) {
		char *memory = mmap(
			NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (memory == MAP_FAILED)
			fail("mmap");
		*memory = 1;
		munmap(memory, PAGE);
		++*operations;
	}
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

/* The nth processor that this process may use. */
static void bind_to(int n)
{
	cpu_set_t all, one;

	if (sched_getaffinity(0, sizeof(all), &all) < 0)
		fail("sched_getaffinity");
	n %= CPU_COUNT(&all);
	for (int i = 0; i < CPU_SETSIZE; i++) {
		if (!CPU_ISSET(i, &all) || n--)
			continue;
		CPU_ZERO(&one);
		CPU_SET(i, &one);
		if (sched_setaffinity(0, sizeof(one), &one) < 0)
			fail("sched_setaffinity");
		return;
	}
}

/* Operations per second of all processes. */
static double round_of(const char *work, int processes, double seconds)
{
	struct timespec time = {(time_t)seconds, (seconds - (time_t)seconds) * 1e9};
	uint64_t operations = 0;
	double begin;
	int status;

	shared->ready = shared->stop = false;
	for (int i = 0; i < processes; i++) {
		pid_t child = fork();

		if (child < 0)
			fail("fork");
		if (!child) {
			int fd = open_file(strcmp(work, "read-own") ? -1 : i);

			bind_to(i);
			slots[i].operations = 0;
			while (!__atomic_load_n(&shared->ready, __ATOMIC_ACQUIRE))
				sched_yield();
			(strcmp(work, "free") ? read_page : free_page)(fd, &slots[i].operations);
			_exit(0);
		}
	}
	begin = now();
	__atomic_store_n(&shared->ready, true, __ATOMIC_RELEASE);
	nanosleep(&time, NULL);
	__atomic_store_n(&shared->stop, true, __ATOMIC_RELAXED);
	seconds = now() - begin;
	while (wait(&status) > 0) {
		if (status) {
			fprintf(stderr, "a process failed\n");
			exit(1);
		}
	}
	for (int i = 0; i < processes; i++)
		operations += slots[i].operations;
	return operations / seconds;
}

static int by_number(const void *a, const void *b)
{
	double difference = *(const double *)a - *(const double *)b;

	return difference < 0 ? -1 : difference > 0;
}

int main(int argc, char **argv)
{
	int most = sysconf(_SC_NPROCESSORS_ONLN), rounds = 7;
	const char *work = "read";
	double seconds = 2, rates[ROUNDS];

	for (int i = 1; i < argc; i += 2) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";

		if (!strcmp(argv[i], "--work"))
			work = value;
		else if (!strcmp(argv[i], "--processes"))
			most = atoi(value);
		else if (!strcmp(argv[i], "--seconds"))
			seconds = atof(value);
		else if (!strcmp(argv[i], "--rounds"))
			rounds = atoi(value);
		else if (!strcmp(argv[i], "--file"))
			file = value;
		else
			most = 0;
	}
	if (most < 1 || rounds < 1 || rounds > ROUNDS || seconds <= 0 ||
		(strcmp(work, "read") && strcmp(work, "read-own") && strcmp(work, "free"))) {
		fprintf(stderr,
			"usage: %s [--work read|read-own|free] [--processes N] [--seconds N] "
			"[--rounds 1..%d] [--file FILE]\n",
			argv[0], ROUNDS);
		return 2;
	}
	shared = mmap(NULL, sizeof(*shared) + PAGE, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	slots = mmap(NULL, most * sizeof(*slots), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED || slots == MAP_FAILED)
		fail("mmap");
	close(open_file(-1));
	printf("work,processes,operations_per_second,least,most\n");
	for (int processes = 1;; processes = processes * 2 < most ? processes * 2 : most) {
		for (int i = 0; i < rounds; i++)
			rates[i] = round_of(work, processes, seconds);
		qsort(rates, rounds, sizeof(rates[0]), by_number);
		printf("%s,%d,%.0f,%.0f,%.0f\n", work, processes, rates[rounds / 2], rates[0],
			rates[rounds - 1]);
		fflush(stdout);
		if (processes == most)
			break;
	}
	unlink(file);
	return 0;
}
