/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pinned-misses - measures a miss while the program has most of the cache pinned. The device costs
 * nothing: the backend returns at once, so what is measured is the cache's own work.
 *
 *   pinned-misses [MIB [MISSES]]      budget of the cache; misses for each row
 *
 * For each share of pinned pages, four ways to miss, each in a cache that has just been filled:
 *
 *   read           64 bytes by folio_file_read
 *   pin            folio_file_get_page and folio_put
 *   pins pass      the same, but each page stays pinned while others are read: as many as a
 *                  quarter of the pages that are not pinned at the start
 *   pins change    the page stays pinned, and another one of the pinned pages, at random, is put
 *
 * Each miss is of a page that was never cached, in random order. Prints for each row, in
 * microseconds: the processor time of the process for a miss, which includes that of the threads of
 * the cache and is the least disturbed by other programs; mean and percentiles of the duration of a
 * call.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>

#include <folio/cache.h>

#include "../tools/folio/random.h"
#include "measure.h"
#include "null-device.h"

#define FILE_PAGES ((uint64_t)1 << 24)

/* ---- the cache, and its pins ---- */

enum way { READ, PIN, PINS_PASS, PINS_CHANGE, WAYS };
static const char *const way_name[WAYS] = {"read", "pin", "pins pass", "pins change"};

static struct folio_cache *cache;
static struct folio_file *file;
static struct folio **pinned, **passing;
static uint64_t pages, pins, unpinned, next;

static struct folio *pin(uint64_t index)
{
	struct folio *folio;
	void *page;

	check(folio_file_get_page(file, index, 0, &folio, &page), "a pin");
	return folio;
}

static void read_bytes(uint64_t index)
{
	char bytes[64];

	check(folio_file_read(file, bytes, sizeof(bytes), index * FOLIO_PAGE_SIZE), "a read");
}

/* Fills the cache with pages of which @percent are pinned; the others are in between. */
static void begin(uint64_t mib, double percent)
{
	static struct null_device device = {.bytes = FILE_PAGES * FOLIO_PAGE_SIZE, .touches = true};
	struct folio_cache_params params = {.size = sizeof(params),
		.bytes = mib << 20,
		.io = &null_device_ops,
		.io_context = &device};
	uint64_t i;

	check(folio_cache_open(&params, &cache), "the cache");
	check(folio_file_open(cache, "1", O_RDONLY, 0, &file), "the file");
	check(folio_file_advise(file, FOLIO_ADVICE_RANDOM), "advice");
	pages = (mib << 20) / FOLIO_PAGE_SIZE;
	for (i = pins = 0; i < pages; i++) {
		if ((double)(pins + 1) <= (double)(i + 1) * percent / 100)
			pinned[pins++] = pin(i);
		else
			read_bytes(i);
	}
	unpinned = pages - pins;
	next = 0;
}

static void end(void)
{
	while (pins > 0)
		folio_put(pinned[--pins]);
	check(folio_file_close(file), "close");
	check(folio_cache_close(cache), "close");
}

static uint64_t next_page(void)
{
	uint64_t count = FILE_PAGES - pages;

	return pages + random_permute(next++ % count, count, 1);
}

static void exchange(struct folio **place, struct folio **folio)
{
	struct folio *other = *place;

	*place = *folio;
	*folio = other;
}

/* One call; returns its nanoseconds. @passing_count: pages that stay pinned. */
static double miss(enum way way, uint64_t number, uint64_t passing_count)
{
	uint64_t page = next_page();
	double start = nanoseconds(CLOCK_MONOTONIC);
	struct folio *folio;

	if (way == READ) {
		read_bytes(page);
	} else {
		folio = pin(page);
		if (way == PINS_PASS)
			exchange(&passing[number % passing_count], &folio);
		else if (way == PINS_CHANGE && pins)
			exchange(&pinned[random_mix(number) % pins], &folio);
		if (folio)
			folio_put(folio);
	}
	return nanoseconds(CLOCK_MONOTONIC) - start;
}

/* In microseconds, of sorted nanoseconds: @part of them are shorter. */
static double at(const double *took, uint64_t count, double part)
{
	uint64_t index = (uint64_t)((double)count * part);

	return took[index < count ? index : count - 1] / 1e3;
}

static void measure(enum way way, double percent, double *took, uint64_t misses)
{
	uint64_t count = unpinned / 4 ? unpinned / 4 : 1, i;
	double cpu, sum = 0;

	for (i = 0; i < count; i++)
		passing[i] = NULL;
	cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
	for (i = 0; i < misses; i++)
		sum += took[i] = miss(way, i, count);
	cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	if (way == PINS_PASS) {
		for (i = 0; i < count; i++) {
			if (passing[i])
				folio_put(passing[i]);
		}
	}
	sort(took, misses);
	printf("%5.1f %%  %-11s %8" PRIu64 " %8.2f %8.2f %8.2f %8.2f %8.2f %9.2f\n", percent,
		way_name[way], unpinned, cpu / (double)misses / 1e3, sum / (double)misses / 1e3,
		at(took, misses, 0.5), at(took, misses, 0.99), at(took, misses, 0.999),
		at(took, misses, 1));
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static const double percent[] = {0, 50, 90, 95, 99, 99.9};
	uint64_t mib = argc > 1 ? strtoull(argv[1], NULL, 10) : 1024;
	uint64_t misses = argc > 2 ? strtoull(argv[2], NULL, 10) : 200000;
	double *took;
	unsigned p, way;

	if (argc > 3 || mib < 1 || mib > 32768 || !misses) {
		fprintf(stderr, "usage: pinned-misses [MIB [MISSES]]\n");
		return 2;
	}
	pages = (mib << 20) / FOLIO_PAGE_SIZE;
	pinned = calloc(pages, sizeof(struct folio *));
	passing = calloc(pages, sizeof(struct folio *));
	took = calloc(misses, sizeof(*took));
	if (!pinned || !passing || !took)
		check(-ENOMEM, "memory");
	else
		memset(took, 1, misses * sizeof(*took));
	printf("budget %" PRIu64 " MiB, %" PRIu64 " misses each; microseconds\n", mib, misses);
	printf("%7s  %-11s %8s %8s %8s %8s %8s %8s %9s\n", "pinned", "miss by", "unpinned", "cpu",
		"mean", "median", "99 %", "99.9 %", "most");
	for (p = 0; p < sizeof(percent) / sizeof(percent[0]); p++) {
		for (way = 0; way < WAYS; way++) {
			begin(mib, percent[p]);
			measure((enum way)way, percent[p], took, misses);
			end();
		}
	}
	free(took);
	free(passing);
	free(pinned);
	return 0;
}
