/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * builds - compares builds of the library: hits of 64 bytes by copy, in one process.
 *
 *   builds FILE LIBRARY LIBRARY...       for example: builds FILE old/libfolio.so new/libfolio.so
 *
 * Each library reads FILE into a cache that holds all of it, in single pages and in large folios.
 * In each round the libraries take turns, each with the same offsets: of one page, uniform, and by
 * Zipf's law with exponent 0.99. Prints nanoseconds of a read, and its ratio to the first library
 * within a round: medians, with quartiles.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>

#include <folio.h>

#include "../tools/folio/random.h"
#include "measure.h"

#define BUILDS  8
#define ROUNDS  41
#define LENGTH  64u
#define OFFSETS (1u << 19)
#define CHUNK   (1u << 20)
#define WARM    6 /* reads of a page after which eviction need not hear of it */
#define ZIPF    0.99

enum pattern { HOT, UNIFORM, POPULAR, PATTERNS };

static const char *const names[PATTERNS] = {"one page", "uniform", "Zipf 0.99"};

struct build {
	const char *path;
	ssize_t (*read)(struct folio_file *, void *, size_t, uint64_t);
	struct folio_file *file[2]; /* in single pages; in large folios */
	double ns[ROUNDS], ratio[ROUNDS];
};

static struct build builds[BUILDS];
static unsigned count;
static uint64_t file_bytes, offsets[OFFSETS];

static void *symbol(void *library, const char *name)
{
	void *found = dlsym(library, name);

	if (!found) {
		fprintf(stderr, "builds: %s\n", dlerror());
		exit(1);
	}
	return found;
}

static void fill(struct build *build, struct folio_file *file, bool large)
{
	static char buffer[CHUNK];
	uint64_t offset;
	unsigned i;

	if (large)
		for (offset = 0; offset < file_bytes; offset += CHUNK)
			check(build->read(file, buffer, CHUNK, offset), "read");
	for (offset = 0; offset < file_bytes; offset += FOLIO_PAGE_SIZE)
		for (i = 0; i < WARM; i++)
			check(build->read(file, buffer, LENGTH, offset), "read");
}

/* The library's functions are found in itself: two builds have the same names. */
static void load(struct build *build, const char *file)
{
	struct folio_cache_params params = {
		.size = sizeof(params), .bytes = file_bytes + file_bytes / 8 + (32u << 20)};
	int (*open_cache)(const struct folio_cache_params *, struct folio_cache **);
	int (*open_file)(struct folio_cache *, const char *, int, mode_t, struct folio_file **);
	int (*advise)(struct folio_file *, enum folio_advice);
	void *library = dlopen(build->path, RTLD_NOW | RTLD_LOCAL);
	struct folio_cache *cache;
	int large;

	if (!library) {
		fprintf(stderr, "builds: %s\n", dlerror());
		exit(1);
	}
	open_cache = symbol(library, "folio_cache_open");
	open_file = symbol(library, "folio_file_open");
	advise = symbol(library, "folio_file_advise");
	build->read = symbol(library, "folio_file_read");
	for (large = 0; large < 2; large++) {
		check(open_cache(&params, &cache), build->path);
		check(open_file(cache, file, O_RDONLY, 0, &build->file[large]), file);
		check(advise(build->file[large],
			      large ? FOLIO_ADVICE_SEQUENTIAL : FOLIO_ADVICE_RANDOM),
			build->path);
		fill(build, build->file[large], large);
	}
}

static void draw(enum pattern pattern)
{
	uint64_t pages = file_bytes / FOLIO_PAGE_SIZE, state = 1, page, i;
	struct zipf zipf;

	zipf_init(&zipf, pages, ZIPF);
	for (i = 0; i < OFFSETS; i++) {
		if (pattern == HOT)
			page = pages / 2;
		else if (pattern == UNIFORM)
			page = random_below(&state, pages);
		else
			page = random_permute(zipf_next(&zipf, &state) - 1, pages, 1);
		offsets[i] = page * FOLIO_PAGE_SIZE +
			     random_below(&state, (FOLIO_PAGE_SIZE - LENGTH) / 8 + 1) * 8;
	}
}

static double time_reads(const struct build *build, bool large)
{
	struct folio_file *file = build->file[large];
	double begin = nanoseconds(CLOCK_MONOTONIC);
	char buffer[LENGTH];
	unsigned i;

	for (i = 0; i < OFFSETS; i++)
		if (build->read(file, buffer, LENGTH, offsets[i]) != LENGTH)
			check(-EIO, build->path);
	return (nanoseconds(CLOCK_MONOTONIC) - begin) / OFFSETS;
}

static void compare(enum pattern pattern, bool large)
{
	unsigned round, i;

	draw(pattern);
	for (round = 0; round < ROUNDS; round++) {
		for (i = 0; i < count; i++) {
			struct build *build = &builds[(i + round) % count];

			build->ns[round] = time_reads(build, large);
		}
		for (i = 0; i < count; i++)
			builds[i].ratio[round] = builds[i].ns[round] / builds[0].ns[round];
	}
	for (i = 0; i < count; i++) {
		struct build *build = &builds[i];

		sort(build->ns, ROUNDS);
		sort(build->ratio, ROUNDS);
		printf("%-9s  %-12s  %8.2f  %6.3f  %.3f..%.3f  %s\n", names[pattern],
			large ? "large folios" : "single pages", build->ns[ROUNDS / 2],
			build->ratio[ROUNDS / 2], build->ratio[ROUNDS / 4],
			build->ratio[3 * ROUNDS / 4], build->path);
	}
}

int main(int argc, char **argv)
{
	struct stat stat_of;
	unsigned pattern;
	int large;

	if (argc < 4 || argc > BUILDS + 2) {
		fprintf(stderr, "usage: builds FILE LIBRARY LIBRARY... (at most %d)\n", BUILDS);
		return 2;
	}
	check(result(stat(argv[1], &stat_of)), argv[1]);
	file_bytes = (uint64_t)stat_of.st_size & ~(uint64_t)(CHUNK - 1);
	if (!file_bytes) {
		fprintf(stderr, "builds: %s has less than 1 MiB\n", argv[1]);
		return 2;
	}
	for (count = 0; count < (unsigned)argc - 2; count++) {
		builds[count].path = argv[count + 2];
		load(&builds[count], argv[1]);
	}
	printf("%-9s  %-12s  %8s  %6s  %-12s  %s\n", "reads", "cached in", "ns", "x", "quartiles",
		"library");
	for (large = 0; large < 2; large++)
		for (pattern = 0; pattern < PATTERNS; pattern++)
			compare(pattern, large);
	return 0;
}
