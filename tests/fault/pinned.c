/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pinned.c - pins nearly all of the budget. Readers and writers must still make progress with the
 * rest; prints how long their calls take.
 *
 *	pinned                            as a test: with nothing pinned, and with 99 %
 *	pinned --operations 100000 --threads 8 --percent 99.9 --folder /mnt
 *
 * The threads read and write a file of four times the budget, one page at a time, at random. Each
 * page holds its number and how often it was written. Every call must do all of the requested work.
 * The times are only for people to read: a slow machine is not a failure.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <folio/cache.h>

#define PAGE         ((uint64_t)FOLIO_PAGE_SIZE)
#define HANG_SECONDS 250
#define THREADS_MAX  64

static struct {
	uint64_t pages, operations, threads, seed;
	double percent;
	const char *folder;
} options = {.pages = 4096, .operations = 4000, .threads = 4, .percent = 99, .folder = "."};

static struct folio_file *file;
static uint64_t file_pages;

struct worker {
	pthread_t thread;
	uint64_t number, random, operations;
	uint64_t *took[2]; /* nanoseconds of each read and of each write */
	uint64_t count[2];
	uint32_t *written; /* by page of this thread: number of writes */
};

static __attribute__((noreturn)) void wrong(const char *what, int64_t r)
{
	printf("pinned: %s: %s\n", what, r < 0 ? strerror((int)-r) : "incomplete");
	fflush(stdout);
	_exit(1);
}

static void *must(void *memory)
{
	if (!memory) {
		fprintf(stderr, "pinned: no memory\n");
		exit(3);
	}
	return memory;
}

static void hang(int signal)
{
	static const char text[] = "pinned: hangs\n";

	(void)signal;
	if (write(STDOUT_FILENO, text, sizeof(text) - 1) < 0)
		_exit(2);
	_exit(1);
}

static uint64_t next_random(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void fill(uint64_t *word, uint64_t page, uint32_t times)
{
	uint64_t i;

	for (i = 0; i < PAGE / 8; i++)
		word[i] = times ? (page << 32 | times) + i : 0;
}

/* The pages of a thread are those whose number modulo options.threads is the thread's number. */
static void *run_worker(void *arg)
{
	uint64_t found[FOLIO_PAGE_SIZE / 8], right[FOLIO_PAGE_SIZE / 8], i;
	struct worker *w = arg;

	for (i = 0; i < w->operations; i++) {
		uint64_t slot = next_random(&w->random) % (file_pages / options.threads);
		uint64_t page = slot * options.threads + w->number, begin;
		bool writes = next_random(&w->random) & 1;
		ssize_t n;

		if (writes)
			fill(right, page, ++w->written[slot]);
		begin = now();
		n = writes ? folio_file_write(file, right, PAGE, page * PAGE)
			   : folio_file_read(file, found, PAGE, page * PAGE);
		w->took[writes][w->count[writes]++] = now() - begin;
		if (n != (ssize_t)PAGE)
			wrong(writes ? "a write" : "a read", n);
		if (writes)
			continue;
		fill(right, page, w->written[slot]);
		if (memcmp(found, right, PAGE) != 0) {
			printf("pinned: page %llu differs from what was written\n",
				(unsigned long long)page);
			fflush(stdout);
			_exit(1);
		}
	}
	return NULL;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void print(const char *what, struct worker *worker, unsigned kind, double percent)
{
	static const double at[] = {50, 90, 99, 99.9};
	uint64_t *all, count = 0, i;

	for (i = 0; i < options.threads; i++)
		count += worker[i].count[kind];
	all = must(malloc((count + 1) * sizeof(*all)));
	for (count = i = 0; i < options.threads; i++) {
		memcpy(all + count, worker[i].took[kind], worker[i].count[kind] * sizeof(*all));
		count += worker[i].count[kind];
	}
	qsort(all, count, sizeof(*all), by_value);
	printf("pinned: %4.1f %% pinned, %llu %s, microseconds:", percent,
		(unsigned long long)count, what);
	for (i = 0; count && i < sizeof(at) / sizeof(*at); i++)
		printf("  p%g %.1f", at[i],
			(double)all[(uint64_t)((double)(count - 1) * at[i] / 100)] / 1000);
	printf("  most %.1f\n", count ? (double)all[count - 1] / 1000 : 0);
	free(all);
}

static void run(struct folio_cache *cache, struct worker *worker, double percent)
{
	struct folio_cache_stats before = {.size = sizeof(before)}, after = before;
	uint64_t i, begin = now();

	folio_cache_stats(cache, &before);
	for (i = 0; i < options.threads; i++) {
		worker[i].operations = options.operations / options.threads;
		worker[i].count[0] = worker[i].count[1] = 0;
		if (pthread_create(&worker[i].thread, NULL, run_worker, &worker[i]))
			wrong("a thread", -EAGAIN);
	}
	for (i = 0; i < options.threads; i++)
		pthread_join(worker[i].thread, NULL);
	begin = now() - begin;
	folio_cache_stats(cache, &after);
	print("reads", worker, 0, percent);
	print("writes", worker, 1, percent);
	printf("pinned: %4.1f %% pinned, %.0f calls a second, %llu evictions, %llu times no page "
	       "was free\n",
		percent, (double)options.operations * 1e9 / (double)begin,
		(unsigned long long)(after.evictions - before.evictions),
		(unsigned long long)(after.out_of_memory - before.out_of_memory));
	if (after.out_of_memory != before.out_of_memory)
		wrong("a call found no page", -ENOMEM);
}

static double number(const char *name, const char *value, double min, double max)
{
	char *end;
	double n = value ? strtod(value, &end) : 0;

	if (!value || end == value || *end || n < min || n > max) {
		fprintf(stderr, "pinned: %s needs a number in its range\n", name);
		exit(2);
	}
	return n;
}

static void parse(int argc, char **argv)
{
	const char *seed = getenv("FOLIO_SEED");
	int a;

	options.seed = seed ? strtoull(seed, NULL, 0)
			    : (uint64_t)time(NULL) * 1000003 % 1000000000 + (uint64_t)getpid();
	for (a = 1; a < argc; a += 2) {
		if (strcmp(argv[a], "--pages") == 0) {
			options.pages = (uint64_t)number(argv[a], argv[a + 1], 64, 1 << 24);
		} else if (strcmp(argv[a], "--operations") == 0) {
			options.operations = (uint64_t)number(argv[a], argv[a + 1], 1, 1e12);
		} else if (strcmp(argv[a], "--threads") == 0) {
			options.threads = (uint64_t)number(argv[a], argv[a + 1], 1, THREADS_MAX);
		} else if (strcmp(argv[a], "--percent") == 0) {
			options.percent = number(argv[a], argv[a + 1], 0, 100);
		} else if (strcmp(argv[a], "--seed") == 0) {
			options.seed = (uint64_t)number(argv[a], argv[a + 1], 0, 1e15);
		} else if (strcmp(argv[a], "--folder") == 0 && argv[a + 1]) {
			options.folder = argv[a + 1];
		} else {
			fprintf(stderr,
				"pinned [--pages N] [--operations N] [--threads N] [--percent P] "
				"[--seed N] [--folder PATH]\n");
			exit(2);
		}
	}
}

int main(int argc, char **argv)
{
	static struct worker worker[THREADS_MAX];
	struct folio_cache_params params = {.size = sizeof(params)};
	struct folio_file *holder;
	struct folio_cache *cache;
	struct folio **pin;
	char path[2][4096];
	uint64_t i, pins;
	int fd, r, k;

	parse(argc, argv);
	printf("pinned: seed %llu, %llu pages, %llu threads\n", (unsigned long long)options.seed,
		(unsigned long long)options.pages, (unsigned long long)options.threads);
	fflush(stdout);
	signal(SIGALRM, hang);
	alarm(HANG_SECONDS);
	file_pages = options.pages * 4;
	for (k = 0; k < 2; k++) {
		snprintf(path[k], sizeof(path[k]), "%s/folio-pinned-XXXXXX", options.folder);
		fd = mkstemp(path[k]);
		if (fd < 0 || ftruncate(fd, (off_t)(file_pages * PAGE)) < 0) {
			perror("pinned");
			return 3;
		}
		close(fd);
	}
	params.bytes = options.pages * PAGE;
	r = folio_cache_open(&params, &cache);
	if (!r)
		r = folio_file_open(cache, path[0], O_RDWR, 0, &file);
	if (!r)
		r = folio_file_open(cache, path[1], O_RDONLY, 0, &holder);
	if (r)
		wrong("open", r);
	for (i = 0; i < 2; i++)
		unlink(path[i]);
	for (i = 0; i < options.threads; i++) {
		worker[i].number = i;
		worker[i].random = options.seed + i;
		worker[i].written = must(calloc(file_pages, sizeof(uint32_t)));
		for (k = 0; k < 2; k++)
			worker[i].took[k] = must(calloc(options.operations, sizeof(uint64_t)));
	}
	run(cache, worker, 0);
	/* One page per folio, so that each pin pins one page. */
	folio_file_advise(holder, FOLIO_ADVICE_RANDOM);
	pins = (uint64_t)((double)options.pages * options.percent / 100);
	pin = must(calloc(pins + 1, sizeof(struct folio *)));
	for (i = 0; i < pins; i++) {
		r = folio_file_get(holder, i, 0, &pin[i]);
		if (r)
			wrong("a pin", r);
	}
	run(cache, worker, options.percent);
	r = folio_file_sync(file, NULL, 0);
	if (r)
		wrong("sync", r);
	while (pins)
		folio_put(pin[--pins]);
	r = folio_file_close(file);
	if (!r)
		r = folio_file_close(holder);
	if (!r)
		r = folio_cache_close(cache);
	if (r)
		wrong("close", r);
	for (i = 0; i < options.threads; i++) {
		free(worker[i].written);
		free(worker[i].took[0]);
		free(worker[i].took[1]);
	}
	free(pin);
	return 0;
}
