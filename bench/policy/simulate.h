/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * simulate.h - reference simulations of eviction policies: which accesses of a trace hit, if the
 * cache has a given number of pages and nothing else matters.
 */
#ifndef FOLIO_BENCH_POLICY_SIMULATE_H
#define FOLIO_BENCH_POLICY_SIMULATE_H

#include <stdint.h>

#include "trace.h"

enum policy { LRU, CLOCK, S3_FIFO, SIEVE, ARC, OPT, POLICIES };

extern const char *const policy_name[POLICIES];

/* Reads of a trace that count, and those of them that hit. */
struct hits {
	uint64_t reads, hits;
};

/* The hits of @trace among @pages pages of cache. The first @skip accesses do not count. */
struct hits simulate(enum policy policy, const struct trace *trace, uint64_t pages, uint64_t skip);

#endif
