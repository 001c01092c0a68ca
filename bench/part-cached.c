/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * part-cached - what a hit costs while the cache holds an eighth of the data.
 *
 *   part-cached [MIB [ROUNDS]]      budget of the cache (512), rounds (15)
 *
 * The data is on a device that costs nothing. Random reads fill the cache; then only pages that it
 * has are read, in random order, so that each read is a hit. The cases:
 *
 *   whole     a file that the cache holds wholly, for comparison
 *   eighth    a file of eight times the cache
 *   files     a hundred files of eight times the cache together
 *   zipf      the same file as eighth, pages chosen by Zipf's law, exponent 0.99
 *
 * Each case has a cache of its own; all take turns. Prints for each case, by copy of 64 bytes, by
 * counted pin and by published pin, with one thread and with two, the medians over the rounds:
 * nanoseconds for a hit, and the ratio to the case whole within a round, with its quartiles. The
 * device fails by then, so a miss would end the program.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <folio.h>

#include "../tools/folio/random.h"
#include "measure.h"
#include "null-device.h"

#define TIMES       8
#define FILES_MAX   100
#define THREADS_MAX 2
#define ROUNDS_MAX  1001
#define READS       (1u << 18) /* of a thread in a round */

enum way { COPY, PIN, PUBLISH, WAYS };

static const char *const way_names[] = {[COPY] = "copy", [PIN] = "pin", [PUBLISH] = "publish"};

enum case_number { WHOLE, EIGHTH, FILES, ZIPF, CASES };

static const char *const names[] = {
	[WHOLE] = "whole", [EIGHTH] = "eighth", [FILES] = "files", [ZIPF] = "zipf"};

/* A page that the cache has. */
struct place {
	uint32_t file;
	uint32_t index;
};

struct world {
	struct null_device device;
	struct folio_cache *cache;
	struct folio_file *file[FILES_MAX];
	unsigned files;
	uint64_t pages; /* of a file */
	struct place *place;
	uint64_t count;
};

static struct world worlds[CASES];

/* ---- the caches ---- */

/* Returns 0, or -errno. */
static inline int read_place(const struct world *world, struct place place)
{
	uint64_t offset = place.index * (uint64_t)FOLIO_PAGE_SIZE;
	char bytes[64];
	ssize_t r = folio_file_read(world->file[place.file], bytes, sizeof(bytes), offset);

	return r < 0 ? (int)r : 0;
}

/* A random page of all that the device has, by the case's distribution. */
static struct place random_place(
	const struct world *world, enum case_number number, uint64_t *state)
{
	uint64_t all = world->pages * world->files, page;
	static struct zipf zipf;

	if (number == ZIPF) {
		if (!zipf.n)
			zipf_init(&zipf, all, 0.99);
		/* Ranks are spread over the file. */
		page = random_permute(zipf_next(&zipf, state) - 1, all, 1);
	} else {
		page = random_below(state, all);
	}
	return (struct place){(uint32_t)(page % world->files), (uint32_t)(page / world->files)};
}

/* The pages to read: those that random accesses want and the cache has. */
static void choose(struct world *world, enum case_number number)
{
	uint64_t state = 2, wanted = READS;

	world->place = calloc(wanted, sizeof(*world->place));
	if (!world->place)
		check(-ENOMEM, "the list of pages");
	while (world->count < wanted) {
		struct place place = random_place(world, number, &state);

		if (!read_place(world, place))
			world->place[world->count++] = place;
	}
}

static void fill(enum case_number number, uint64_t pages)
{
	struct world *world = &worlds[number];
	struct folio_cache_params params = {
		.size = sizeof(params),
		.bytes = pages * FOLIO_PAGE_SIZE,
		.io = &null_device_ops,
		.io_context = &world->device,
	};
	uint64_t state = 1, i;
	unsigned n;

	world->files = number == FILES ? FILES_MAX : 1;
	world->pages = number == WHOLE ? pages - pages / 8 : pages * TIMES / world->files;
	world->device =
		(struct null_device){.bytes = world->pages * FOLIO_PAGE_SIZE, .touches = true};
	check(folio_cache_open(&params, &world->cache), "folio_cache_open");
	for (n = 0; n < world->files; n++) {
		char path[16];

		snprintf(path, sizeof(path), "%u", n + 1);
		check(folio_file_open(world->cache, path, O_RDONLY, 0, &world->file[n]), path);
		check(folio_file_advise(world->file[n], FOLIO_ADVICE_RANDOM), "advice");
	}
	for (i = 0; number == WHOLE && i < world->pages; i++)
		check(read_place(world, (struct place){0, (uint32_t)i}), "a read");
	for (i = 0; number != WHOLE && i < 3 * pages; i++)
		check(read_place(world, random_place(world, number, &state)), "a read");
	world->device.fails = true;
	choose(world, number);
}

/* ---- the hits ---- */

struct reader {
	pthread_t thread;
	const struct world *world;
	uint64_t first;
	enum way way;
	double ns;
};

static void *run_reader(void *arg)
{
	struct reader *reader = arg;
	const struct world *world = reader->world;
	double begin = nanoseconds(CLOCK_MONOTONIC);
	uint64_t i, at = reader->first;

	for (i = 0; i < READS; i++) {
		struct place place = world->place[at++ % world->count];

		if (reader->way == PUBLISH) {
			struct folio_pin pin;

			check(folio_file_pin(world->file[place.file], place.index, 0, &pin),
				"folio_file_pin");
			(void)*(volatile char *)pin.page;
			folio_unpin(&pin);
		} else if (reader->way == PIN) {
			struct folio *folio;
			void *page;

			check(folio_file_get_page(
				      world->file[place.file], place.index, 0, &folio, &page),
				"folio_file_get_page");
			(void)*(volatile char *)page;
			folio_put(folio);
		} else {
			check(read_place(world, place), "a hit");
		}
	}
	reader->ns = (nanoseconds(CLOCK_MONOTONIC) - begin) / READS;
	return NULL;
}

/* Nanoseconds for a hit, on the slowest of the threads. */
static double measure(enum case_number number, enum way way, unsigned threads)
{
	struct reader readers[THREADS_MAX];
	double slowest = 0;
	unsigned i;

	for (i = 0; i < threads; i++) {
		readers[i] = (struct reader){.world = &worlds[number], .way = way};
		readers[i].first = i * worlds[number].count / threads;
		check(-pthread_create(&readers[i].thread, NULL, run_reader, &readers[i]),
			"pthread_create");
	}
	for (i = 0; i < threads; i++) {
		pthread_join(readers[i].thread, NULL);
		if (readers[i].ns > slowest)
			slowest = readers[i].ns;
	}
	return slowest;
}

/* ---- the table ---- */

static double time_of[CASES][ROUNDS_MAX], ratio[CASES][ROUNDS_MAX];

static void run(enum way way, unsigned threads, unsigned rounds)
{
	unsigned round, i;

	for (round = 0; round < rounds; round++) {
		for (i = 0; i < CASES; i++) {
			enum case_number number = (i + round) % CASES;

			time_of[number][round] = measure(number, way, threads);
		}
		for (i = 0; i < CASES; i++)
			ratio[i][round] = time_of[i][round] / time_of[WHOLE][round];
	}
	for (i = 0; i < CASES; i++) {
		sort(time_of[i], rounds);
		sort(ratio[i], rounds);
		printf("| %s | %s | %u | %.1f | %.2f | %.2f to %.2f |\n", names[i], way_names[way],
			threads, time_of[i][rounds / 2], ratio[i][rounds / 2], ratio[i][rounds / 4],
			ratio[i][rounds * 3 / 4]);
	}
	fflush(stdout);
}

int main(int argc, char **argv)
{
	uint64_t mib = argc > 1 ? strtoull(argv[1], NULL, 10) : 512;
	unsigned rounds = argc > 2 ? (unsigned)atoi(argv[2]) : 15, i, n;

	if (argc > 3 || mib < 8 || mib > 65536 || !rounds || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: part-cached [MIB [ROUNDS]]\n");
		return 2;
	}
	for (i = 0; i < CASES; i++)
		fill(i, mib << 20 >> FOLIO_PAGE_SHIFT);
	printf("| case | way | threads | ns | x whole | quartiles |\n");
	printf("|---|---|---|---|---|---|\n");
	for (i = 1; i <= THREADS_MAX; i++) {
		for (n = 0; n < WAYS; n++)
			run(n, i, rounds);
	}
	for (i = 0; i < CASES; i++) {
		for (n = 0; n < worlds[i].files; n++)
			check(folio_file_close(worlds[i].file[n]), "folio_file_close");
		check(folio_cache_close(worlds[i].cache), "folio_cache_close");
		free(worlds[i].place);
	}
	return 0;
}
