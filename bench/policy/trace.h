/* SPDX-License-Identifier: BSD-2-Clause */
/* trace.h - sequences of page accesses: workloads, and files with page numbers. */
#ifndef FOLIO_BENCH_POLICY_TRACE_H
#define FOLIO_BENCH_POLICY_TRACE_H

#include <stdbool.h>
#include <stdint.h>

/* An access is a page number, with this bit if the page is written; only reads count as hits. */
#define TRACE_WRITE (UINT32_C(1) << 31)

struct trace {
	const char *name;
	uint32_t *access; /* page numbers are below pages */
	uint64_t count;
	uint64_t most; /* space in access */
	uint64_t pages;
};

/* What folio's hit ratio must reach, in percent. */
struct demand {
	double below_best; /* the best of the simulated policies, less this; or */
	double at_least;   /* this, if it is not 0 */
};

/* The number of workloads, and the name of each. */
unsigned trace_workloads(void);
const char *trace_name(unsigned which);

/*
 * Make workload number @which, of @count accesses, for a cache of @cache pages. The same @seed
 * makes the same accesses. Returns what is required of it.
 */
struct demand trace_make(
	struct trace *trace, unsigned which, uint64_t count, uint64_t cache, uint64_t seed);

/*
 * Read a file of page numbers, one per line. The pages are numbered again, from 0 and in the same
 * order. Exits with a message if the file cannot be used.
 */
void trace_read(struct trace *trace, const char *path);

void trace_free(struct trace *trace);

#endif
