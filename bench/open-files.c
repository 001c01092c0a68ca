/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * open-files - measures what opening, dirtying, syncing and closing a file cost while few or many
 * other files are open, all of them dirty. The backend does nothing, so that the figures are those
 * of the library.
 *
 *   open-files [FEW [MANY [ROUNDS]]]      default: 100 100000 51
 *
 * Prints a table: medians of the ns per call, and of the ratios within a round. MANY files need
 * about MANY * 6 KiB of memory.
 */
#include <fcntl.h>

#include <folio.h>

#include "measure.h"
#include "null-device.h"

#define ROUNDS_MAX 20001
#define BATCH      64

enum step { OPEN, WRITE, SYNC, CLOSE, STEPS };
static const char *const name[STEPS] = {
	"folio_file_open", "folio_file_write", "folio_file_sync", "folio_file_close"};

/* A cache with files open, each of them with one dirty page. */
struct crowd {
	struct folio_cache *cache;
	struct folio_file **file;
	uint64_t files;
	uint64_t next; /* number of the next file */
	double ns[STEPS][ROUNDS_MAX];
};

static struct folio_file *open_next(struct crowd *crowd)
{
	struct folio_file *file;
	char path[24];

	snprintf(path, sizeof(path), "%llu", (unsigned long long)++crowd->next);
	check(folio_file_open(crowd->cache, path, O_RDWR, 0, &file), name[OPEN]);
	return file;
}

/* @pages: the budget. */
static void crowd_open(struct crowd *crowd, uint64_t files, uint64_t pages)
{
	static struct null_device device;
	struct folio_cache_params params = {
		.size = sizeof(params),
		.bytes = pages * FOLIO_PAGE_SIZE,
		/* Neither the age nor the number of dirty pages wakes the flusher. */
		.dirty_bytes = UINT64_MAX,
		.dirty_age_ms = UINT32_MAX,
		.io = &null_device_ops,
		.io_context = &device,
	};
	uint64_t i;

	check(folio_cache_open(&params, &crowd->cache), "folio_cache_open");
	crowd->files = files;
	crowd->file = calloc(files, sizeof(struct folio_file *));
	check(crowd->file ? 0 : -ENOMEM, "calloc");
	for (i = 0; i < files; i++) {
		crowd->file[i] = open_next(crowd);
		check(folio_file_write(crowd->file[i], "x", 1, 0), name[WRITE]);
	}
}

static void crowd_close(struct crowd *crowd)
{
	uint64_t i;

	for (i = 0; i < crowd->files; i++)
		check(folio_file_close(crowd->file[i]), name[CLOSE]);
	check(folio_cache_close(crowd->cache), "folio_cache_close");
	free(crowd->file);
}

static void measure(struct crowd *crowd, unsigned round)
{
	struct folio_file *file[BATCH];
	double at[STEPS + 1];
	unsigned i, step;

	at[OPEN] = nanoseconds(CLOCK_MONOTONIC);
	for (i = 0; i < BATCH; i++)
		file[i] = open_next(crowd);
	at[WRITE] = nanoseconds(CLOCK_MONOTONIC);
	for (i = 0; i < BATCH; i++)
		check(folio_file_write(file[i], "x", 1, 0), name[WRITE]);
	at[SYNC] = nanoseconds(CLOCK_MONOTONIC);
	for (i = 0; i < BATCH; i++)
		check(folio_file_sync(file[i], NULL, 0), name[SYNC]);
	at[CLOSE] = nanoseconds(CLOCK_MONOTONIC);
	for (i = 0; i < BATCH; i++)
		check(folio_file_close(file[i]), name[CLOSE]);
	at[STEPS] = nanoseconds(CLOCK_MONOTONIC);
	for (step = 0; step < STEPS; step++)
		crowd->ns[step][round] = (at[step + 1] - at[step]) / BATCH;
}

/* Sorts the values. */
static double median(double *value, unsigned count)
{
	sort(value, count);
	return value[count / 2];
}

int main(int argc, char **argv)
{
	uint64_t few = argc > 1 ? strtoull(argv[1], NULL, 10) : 100;
	uint64_t many = argc > 2 ? strtoull(argv[2], NULL, 10) : 100000, pages;
	unsigned rounds = argc > 3 ? (unsigned)atoi(argv[3]) : 51, round, step;
	static struct crowd crowd[2];
	double ratio[ROUNDS_MAX];

	if (!few || !many || !rounds || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: open-files [FEW [MANY [ROUNDS]]]\n");
		return 2;
	}
	pages = 5 * ((few > many ? few : many) + BATCH);
	crowd_open(&crowd[0], few, pages);
	crowd_open(&crowd[1], many, pages);
	for (round = 0; round < rounds; round++) {
		measure(&crowd[round & 1], round);
		measure(&crowd[~round & 1], round);
	}
	printf("| call | ns, %llu files open | ns, %llu files open | ratio |\n|---|---|---|---|\n",
		(unsigned long long)few, (unsigned long long)many);
	for (step = 0; step < STEPS; step++) {
		for (round = 0; round < rounds; round++)
			ratio[round] = crowd[1].ns[step][round] / crowd[0].ns[step][round];
		printf("| %s | %.0f | ", name[step], median(crowd[0].ns[step], rounds));
		printf("%.0f | %.2f |\n", median(crowd[1].ns[step], rounds), median(ratio, rounds));
	}
	crowd_close(&crowd[0]);
	crowd_close(&crowd[1]);
	return 0;
}
