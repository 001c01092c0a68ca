/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * policy - compares hit ratios of the library with those of other eviction policies.
 *
 *   policy [--cache PAGES] [--accesses COUNT] [--seed N] [--only TEXT] [--csv] [TRACE...]
 *
 *   --cache PAGES      pages of cache; default 4096
 *   --accesses COUNT   accesses of each workload; default 1000000
 *   --seed N           the same seed makes the same workloads; default 1
 *   --only TEXT        only the workloads whose name contains TEXT
 *   --csv              comma-separated values in place of the table
 *   TRACE...           files with one page number on each line; default: the workloads of trace.c
 *
 * The first fifth of the accesses does not count: it fills the cache. OPT knows the future and is
 * an upper bound. folio must reach the column "required". That is a number, or the best of LRU,
 * CLOCK, S3-FIFO, SIEVE and ARC less a number; for a trace, less 1. The exit status is 0 if it does
 * everywhere, 1 if not, 2 after an error.
 *
 * The library evicts on a thread of its own, too, so its figures vary by some hundredths.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "library.h"
#include "memory.h"

/* One line of the table, in percent. */
struct row {
	const char *name;
	double folio, required;
	double ratio[POLICIES];
};

struct options {
	uint64_t cache, accesses, seed;
	const char *only;
	bool csv;
	char **files; /* up to NULL */
};

static double percent(struct hits hits)
{
	return hits.reads ? 100.0 * (double)hits.hits / (double)hits.reads : 0;
}

static struct row measure(const struct trace *trace, struct demand demand, uint64_t pages)
{
	struct row row = {.name = trace->name, .required = demand.at_least};
	uint64_t skip = trace->count / 5;
	double best = 0;
	unsigned i;

	for (i = 0; i < POLICIES; i++) {
		row.ratio[i] = percent(simulate((enum policy)i, trace, pages, skip));
		if (i != OPT && row.ratio[i] > best)
			best = row.ratio[i];
	}
	if (demand.at_least <= 0)
		row.required = best - demand.below_best;
	row.folio = percent(library_hits(trace, pages, skip));
	return row;
}

static bool reaches(const struct row *row)
{
	return row->folio >= row->required;
}

static void print_table(const struct row *row, unsigned rows)
{
	unsigned i, policy;

	printf("%-21s %6s", "hit ratio in %", "folio");
	for (policy = 0; policy < POLICIES; policy++)
		printf(" %*s", policy == S3_FIFO ? 7 : 5, policy_name[policy]);
	printf("  %8s\n", "required");
	for (i = 0; i < rows; i++) {
		printf("%-21.21s %6.1f", row[i].name, row[i].folio);
		for (policy = 0; policy < POLICIES; policy++)
			printf(" %*.1f", policy == S3_FIFO ? 7 : 5, row[i].ratio[policy]);
		printf("  %8.1f%s\n", row[i].required, reaches(&row[i]) ? "" : " no");
	}
}

static void print_csv(const struct row *row, unsigned rows)
{
	unsigned i, policy;

	printf("workload,folio");
	for (policy = 0; policy < POLICIES; policy++)
		printf(",%s", policy_name[policy]);
	printf(",required\n");
	for (i = 0; i < rows; i++) {
		printf("\"%s\",%.3f", row[i].name, row[i].folio);
		for (policy = 0; policy < POLICIES; policy++)
			printf(",%.3f", row[i].ratio[policy]);
		printf(",%.3f\n", row[i].required);
	}
}

/* Measure the files, or the workloads. Returns the number of rows. */
static unsigned measure_all(const struct options *options, struct row *row)
{
	unsigned rows = 0, i;
	struct trace trace;

	for (i = 0; options->files[i]; i++) {
		trace_read(&trace, options->files[i]);
		row[rows++] = measure(&trace, (struct demand){1, 0}, options->cache);
		trace_free(&trace);
	}
	for (i = 0; !options->files[0] && i < trace_workloads(); i++) {
		struct demand demand;

		if (options->only && !strstr(trace_name(i), options->only))
			continue;
		demand = trace_make(&trace, i, options->accesses, options->cache, options->seed);
		row[rows++] = measure(&trace, demand, options->cache);
		trace_free(&trace);
	}
	return rows;
}

static __attribute__((noreturn)) void usage(void)
{
	fprintf(stderr, "usage: policy [--cache PAGES] [--accesses COUNT] [--seed N]"
			" [--only TEXT] [--csv] [TRACE...]\n");
	exit(2);
}

/* The value of an option: a number from @least to @most. */
static uint64_t number(const char *text, uint64_t least, uint64_t most)
{
	char *end;
	uint64_t value = text ? strtoull(text, &end, 10) : 0;

	if (!text || end == text || *end || value < least || value > most)
		usage();
	return value;
}

static struct options parse(char **arg)
{
	struct options options = {.cache = 4096, .accesses = 1000000, .seed = 1};

	for (arg++; *arg && !strncmp(*arg, "--", 2); arg++) {
		if (!strcmp(*arg, "--csv"))
			options.csv = true;
		else if (!strcmp(*arg, "--only") && arg[1])
			options.only = *++arg;
		else if (!strcmp(*arg, "--cache"))
			options.cache = number(*++arg, 64, UINT64_C(1) << 24);
		else if (!strcmp(*arg, "--accesses"))
			options.accesses = number(*++arg, 10, UINT64_C(1) << 28);
		else if (!strcmp(*arg, "--seed"))
			options.seed = number(*++arg, 0, UINT64_MAX);
		else
			usage();
	}
	options.files = arg;
	return options;
}

int main(int argc, char **argv)
{
	struct options options = parse(argv);
	struct row *row = memory_array((uint64_t)argc + trace_workloads(), sizeof(*row));
	unsigned rows = measure_all(&options, row), reached = 0, i;

	for (i = 0; i < rows; i++)
		reached += reaches(&row[i]);
	if (options.csv) {
		print_csv(row, rows);
	} else {
		printf("The library reaches what is required in %u of %u rows.\n", reached, rows);
		printf("Pages of cache: %" PRIu64 ".", options.cache);
		if (!options.files[0])
			printf(" Accesses: %" PRIu64 ". Seed: %" PRIu64 ".", options.accesses,
				options.seed);
		printf("\n\n");
		print_table(row, rows);
	}
	free(row);
	return reached < rows;
}
