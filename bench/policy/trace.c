/* SPDX-License-Identifier: BSD-2-Clause */
/* trace.c - workloads, and files with page numbers. */
#include "trace.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../tools/folio/random.h"
#include "memory.h"

/* What a workload is made with. */
struct maker {
	struct trace *trace;
	uint64_t random;
	uint64_t cache;
	uint64_t fresh; /* the first page number that was not used yet */
};

static bool is_full(const struct maker *maker)
{
	return maker->trace->count == maker->trace->most;
}

static void add(struct maker *maker, uint64_t access)
{
	uint64_t page = access & ~(uint64_t)TRACE_WRITE;

	if (is_full(maker))
		return;
	maker->trace->access[maker->trace->count++] = (uint32_t)access;
	if (maker->trace->pages <= page)
		maker->trace->pages = page + 1;
}

/* A page by Zipf's law; the popular ones are anywhere in the file. @key: of the permutation. */
static uint64_t popular(struct maker *maker, const struct zipf *zipf, uint64_t key)
{
	return random_permute(zipf_next(zipf, &maker->random) - 1, zipf->n, key);
}

/* ---- the workloads ---- */

static void make_zipf(struct maker *maker, double exponent)
{
	struct zipf zipf;

	zipf_init(&zipf, 65536, exponent);
	while (!is_full(maker))
		add(maker, popular(maker, &zipf, 1));
}

static void make_zipf_99(struct maker *maker)
{
	make_zipf(maker, 0.99);
}

static void make_zipf_70(struct maker *maker)
{
	make_zipf(maker, 0.7);
}

/* Of each @period accesses, the last @scan read pages that are not read again. */
static void make_scans(struct maker *maker, uint64_t period, uint64_t scan)
{
	struct zipf zipf;
	uint64_t i;

	zipf_init(&zipf, 65536, 0.99);
	maker->fresh = 65536;
	for (i = 0; !is_full(maker); i++)
		add(maker, i % period < period - scan ? popular(maker, &zipf, 1) : maker->fresh++);
}

static void make_scans_apart(struct maker *maker)
{
	make_scans(maker, 100000, 8192);
}

static void make_scan_steady(struct maker *maker)
{
	make_scans(maker, 10, 3);
}

static void make_loop(struct maker *maker)
{
	uint64_t pages = maker->cache * 11 / 10, i;

	for (i = 0; !is_full(maker); i++)
		add(maker, i % pages);
}

/* Uniform among 3,500 pages, which are others after each 100,000 accesses. */
static void make_uniform_shifts(struct maker *maker)
{
	uint64_t i;

	for (i = 0; !is_full(maker); i++)
		add(maker, i / 100000 * 3500 + random_below(&maker->random, 3500));
}

/* After each 50,000 accesses, other pages of the same file are popular. */
static void make_zipf_shifts(struct maker *maker)
{
	struct zipf zipf;
	uint64_t i;

	zipf_init(&zipf, 16384, 0.9);
	for (i = 0; !is_full(maker); i++)
		add(maker, popular(maker, &zipf, i / 50000));
}

/* Runs of 16 pages, as often as single pages by Zipf's law; the runs are anywhere. */
static void make_runs(struct maker *maker)
{
	struct zipf zipf;
	unsigned i;

	zipf_init(&zipf, 65536, 0.99);
	while (!is_full(maker)) {
		uint64_t run = random_below(&maker->random, 65536 / 16) * 16;

		for (i = 0; i < 16; i++)
			add(maker, popular(maker, &zipf, 1));
		for (i = 0; i < 16; i++)
			add(maker, run + i);
	}
}

/* Look-ups in a tree of one root, 256 nodes and 65,536 leaves, which are chosen by Zipf's law. */
static void make_tree(struct maker *maker)
{
	struct zipf zipf;

	zipf_init(&zipf, 65536, 0.8);
	while (!is_full(maker)) {
		uint64_t leaf = popular(maker, &zipf, 1);

		add(maker, 0);
		add(maker, 1 + leaf / 256);
		add(maker, 257 + leaf);
	}
}

/* After each second read of a page by Zipf's law, one page is written that is not read. */
static void make_written_once(struct maker *maker)
{
	struct zipf zipf;

	zipf_init(&zipf, 16384, 0.99);
	maker->fresh = 16384;
	while (!is_full(maker)) {
		add(maker, popular(maker, &zipf, 1));
		add(maker, popular(maker, &zipf, 1));
		add(maker, TRACE_WRITE | maker->fresh++);
	}
}

/*
 * Each twentieth access is to a new page. The others are to pages whose age is distributed
 * exponentially, with a mean of 1,500 pages.
 */
static void make_ages(struct maker *maker)
{
	for (maker->fresh = 65536; !is_full(maker);) {
		uint64_t age = (uint64_t)(-1500 * log(1 - random_unit(&maker->random)));

		if (random_below(&maker->random, 20) == 0)
			add(maker, maker->fresh++);
		else
			add(maker, age < maker->fresh ? maker->fresh - 1 - age : 0);
	}
}

/* Half of the accesses are writes of complete pages. */
static void make_rewritten(struct maker *maker)
{
	struct zipf zipf;

	zipf_init(&zipf, 65536, 0.99);
	while (!is_full(maker)) {
		uint64_t page = popular(maker, &zipf, 1);

		add(maker, random_below(&maker->random, 2) ? page : page | TRACE_WRITE);
	}
}

/* ---- a workload that is defined by the last accesses ---- */

#define RECENT_PAGES 65536

/*
 * Pages in the order of their last access: each has a time, and a Fenwick tree counts the pages
 * whose time is in a range.
 */
struct recency {
	uint32_t *sum;     /* Fenwick tree over times */
	uint32_t *page_at; /* the page whose last access was at that time */
	uint64_t times;    /* a power of two */
};

static void recency_add(struct recency *recency, uint64_t time, uint32_t value)
{
	for (time++; time <= recency->times; time += time & -time)
		recency->sum[time] += value;
}

/* The time of the page number @rank, from 0, by age: the oldest first. */
static uint64_t recency_find(const struct recency *recency, uint64_t rank)
{
	uint64_t time = 0, step;

	for (step = recency->times; step; step /= 2) {
		if (time + step <= recency->times && recency->sum[time + step] <= rank) {
			time += step;
			rank -= recency->sum[time];
		}
	}
	return time;
}

/* How many pages were accessed since the page that is accessed next. Its logarithm is normal. */
static double distance(uint64_t *random)
{
	double radius = sqrt(-2 * log(1 - random_unit(random)));

	return exp(log(500) + 2 * radius * cos(2 * 3.141592653589793 * random_unit(random)));
}

static void make_stack(struct maker *maker)
{
	struct recency recency = {.times = 1};
	uint64_t now;

	while (recency.times < RECENT_PAGES + maker->trace->most)
		recency.times *= 2;
	recency.sum = memory_array(recency.times + 1, sizeof(*recency.sum));
	recency.page_at = memory_array(recency.times, sizeof(*recency.page_at));
	for (now = 0; now < RECENT_PAGES; now++) {
		recency.page_at[now] = (uint32_t)random_permute(now, RECENT_PAGES, 1);
		recency_add(&recency, now, 1);
	}
	for (; !is_full(maker); now++) {
		double back = distance(&maker->random);
		uint64_t time;

		/* Too far: any page. */
		if (back >= RECENT_PAGES)
			back = (double)random_below(&maker->random, RECENT_PAGES);
		time = recency_find(&recency, RECENT_PAGES - 1 - (uint64_t)back);
		recency.page_at[now] = recency.page_at[time];
		recency_add(&recency, time, UINT32_MAX);
		recency_add(&recency, now, 1);
		add(maker, recency.page_at[now]);
	}
	free(recency.page_at);
	free(recency.sum);
}

/* ---- all of them ---- */

static const struct workload {
	const char *name;
	void (*make)(struct maker *maker);
	struct demand demand;
} workload[] = {
	{"zipf 0.99", make_zipf_99, {0.5, 0}},
	{"zipf 0.7", make_zipf_70, {0.5, 0}},
	{"zipf and scans", make_scans_apart, {0.5, 0}},
	{"zipf and steady scan", make_scan_steady, {0.5, 0}},
	{"loop 1.1", make_loop, {0, 75}},
	{"uniform, shifts", make_uniform_shifts, {0, 95.5}},
	{"zipf 0.9, shifts", make_zipf_shifts, {0.5, 0}},
	{"recency, exponential", make_ages, {1, 0}},
	{"recency, lognormal", make_stack, {1, 0}},
	{"pages and runs", make_runs, {0.5, 0}},
	{"B-tree", make_tree, {0.5, 0}},
	{"written once", make_written_once, {0, 83}},
	{"half written", make_rewritten, {0.5, 0}},
};

unsigned trace_workloads(void)
{
	return sizeof(workload) / sizeof(workload[0]);
}

const char *trace_name(unsigned which)
{
	return workload[which].name;
}

struct demand trace_make(
	struct trace *trace, unsigned which, uint64_t count, uint64_t cache, uint64_t seed)
{
	struct maker maker = {.trace = trace, .random = seed, .cache = cache};

	*trace = (struct trace){.name = workload[which].name, .most = count};
	trace->access = memory_array(count, sizeof(*trace->access));
	workload[which].make(&maker);
	return workload[which].demand;
}

/* ---- files ---- */

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Number the pages of @trace again; @number has the page number of each access. */
static void number_again(struct trace *trace, const uint64_t *number)
{
	uint64_t *sorted = memory_array(trace->count, sizeof(*sorted)), i;

	memcpy(sorted, number, trace->count * sizeof(*sorted));
	qsort(sorted, trace->count, sizeof(*sorted), by_value);
	for (i = 0; i < trace->count; i++) {
		if (i == 0 || sorted[i] != sorted[i - 1])
			sorted[trace->pages++] = sorted[i];
	}
	trace->access = memory_array(trace->count, sizeof(*trace->access));
	for (i = 0; i < trace->count; i++)
		trace->access[i] = (uint32_t)((uint64_t *)bsearch(&number[i], sorted, trace->pages,
						      sizeof(*sorted), by_value) -
					      sorted);
	free(sorted);
}

static __attribute__((noreturn)) void refuse(const char *path, uint64_t line, const char *why)
{
	fprintf(stderr, "policy: %s:%" PRIu64 ": %s\n", path, line, why);
	exit(2);
}

void trace_read(struct trace *trace, const char *path)
{
	FILE *file = fopen(path, "r");
	uint64_t *number = NULL;
	char line[64], *end;

	*trace = (struct trace){.name = path};
	if (!file)
		refuse(path, 0, strerror(errno));
	while (fgets(line, sizeof(line), file)) {
		if (trace->count == trace->most)
			number = memory_more(number, &trace->most, sizeof(*number));
		errno = 0;
		number[trace->count++] = strtoull(line, &end, 10);
		if (end == line || (*end && *end != '\n') || errno)
			refuse(path, trace->count, "not a page number");
	}
	if (ferror(file) || !trace->count)
		refuse(path, trace->count, ferror(file) ? "cannot be read" : "no page number");
	/* The highest bit is TRACE_WRITE, and the simulations have lists of their own. */
	if (trace->count >= TRACE_WRITE / 2)
		refuse(path, trace->count, "too many accesses");
	fclose(file);
	number_again(trace, number);
	free(number);
}

void trace_free(struct trace *trace)
{
	free(trace->access);
}
