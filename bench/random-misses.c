/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * random-misses - what a random miss costs, by the size of the cache. The device costs nothing, and
 * the file has eight times the size of the cache, so that nearly each read evicts a page.
 *
 *   random-misses [MIB [READS [PINS]]]   budget of the cache; reads of 64 bytes that are measured;
 *                                        published pins that are held all the time, at most 8, or
 *                                        -1: another thread publishes pins all the time
 *
 * Twice as many reads as the cache has pages come first. Prints misses, and for each miss the
 * processor time of the process and of the calling thread alone, in microseconds.
 *
 * Instructions of the calling thread, which do not depend on the machine:
 *
 *   valgrind --tool=callgrind --toggle-collect='measured_reads*' random-misses 256 200000
 */
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <folio.h>

#include "../tools/folio/random.h"
#include "measure.h"
#include "null-device.h"

#define FILE_TIMES 8

static struct folio_file *file;
static uint64_t file_pages;

static void reads(uint64_t first, uint64_t count)
{
	char bytes[64];
	uint64_t i;

	for (i = first; i < first + count; i++)
		check(folio_file_read(file, bytes, sizeof(bytes),
			      random_mix(i) % file_pages * FOLIO_PAGE_SIZE),
			"a read");
}

/* A function of its own, for callgrind. */
__attribute__((noinline)) static void measured_reads(uint64_t first, uint64_t count)
{
	reads(first, count);
}

static folio_u32 stop;

/* Pins one page and unpins it, as fast as it can. */
static void *pinner(void *arg)
{
	struct folio_pin pin;

	while (!folio_u32_load_relaxed(&stop)) {
		check(folio_file_pin(file, 0, 0, &pin), "a pin");
		folio_unpin(&pin);
	}
	return arg;
}

int main(int argc, char **argv)
{
	long pins = argc > 3 ? atol(argv[3]) : 0, i;
	struct folio_pin pin[FOLIO_PINS_PUBLISHED];
	pthread_t thread;
	uint64_t mib = argc > 1 ? strtoull(argv[1], NULL, 10) : 256;
	uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000;
	struct null_device device = {.bytes = mib * FILE_TIMES << 20, .touches = true};
	struct folio_cache_params params = {.size = sizeof(params),
		.bytes = mib << 20,
		.io = &null_device_ops,
		.io_context = &device};
	struct folio_cache_stats before = {.size = sizeof(before)}, after = before;
	struct folio_cache *cache;
	double all, own, misses;

	if (argc > 4 || mib < 1 || mib > 65536 || !count || pins < -1 ||
		pins > (long)FOLIO_PINS_PUBLISHED) {
		fprintf(stderr, "usage: random-misses [MIB [READS [PINS]]]\n");
		return 2;
	}
	file_pages = device.bytes / FOLIO_PAGE_SIZE;
	check(folio_cache_open(&params, &cache), "the cache");
	check(folio_file_open(cache, "1", O_RDONLY, 0, &file), "the file");
	check(folio_file_advise(file, FOLIO_ADVICE_RANDOM), "advice");
	reads(0, file_pages / FILE_TIMES * 2);
	for (i = 0; i < pins; i++) {
		/* The first one reads the page. */
		check(folio_file_pin(file, (uint64_t)i, 0, &pin[i]), "a pin");
		folio_unpin(&pin[i]);
		check(folio_file_pin(file, (uint64_t)i, 0, &pin[i]), "a pin");
	}
	if (pins < 0)
		check(-pthread_create(&thread, NULL, pinner, NULL), "a thread");
	check(folio_cache_stats(cache, &before), "statistics");
	all = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
	own = nanoseconds(CLOCK_THREAD_CPUTIME_ID);
	measured_reads(UINT64_C(1) << 40, count);
	own = nanoseconds(CLOCK_THREAD_CPUTIME_ID) - own;
	all = nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - all;
	check(folio_cache_stats(cache, &after), "statistics");
	folio_u32_store_relaxed(&stop, 1);
	if (pins < 0)
		pthread_join(thread, NULL);
	for (i = 0; i < pins; i++)
		folio_unpin(&pin[i]);
	misses = (double)(after.misses - before.misses);
	printf("%" PRIu64 " MiB: %.0f misses, %.2f us each, %.2f on the calling thread\n", mib,
		misses, all / misses / 1e3, own / misses / 1e3);
	check(folio_file_close(file), "close");
	check(folio_cache_close(cache), "close");
	return 0;
}
