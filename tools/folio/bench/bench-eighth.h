/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench-eighth.h - a second cache of the file, an eighth of its size, and random pages in it.
 */
#ifndef FOLIO_TOOLS_BENCH_EIGHTH_H
#define FOLIO_TOOLS_BENCH_EIGHTH_H

#include "bench/bench-base.h"

struct eighth {
	struct folio_cache *cache; /* NULL: this is not measured */
	struct folio_file *file;
	const struct folio_view *in_place; /* NULL: not possible */
	uint32_t *offsets;                 /* numbers of lines in the cached pages */
	uint64_t count;                    /* entries of offsets */
	uint64_t pages;                    /* of the file, complete ones */
	uint64_t cached;                   /* so many of them are read */
};

/*
 * Open the cache and the file in it, choose count random lines of random pages, with all threads,
 * and cache these pages. If the file is too small, or if there is too little memory, cache is NULL
 * after a note in the report. False after a complaint. Call eighth_close in each case.
 */
bool eighth_open(struct bench *bench, uint64_t count, struct eighth *eighth);
void eighth_close(struct eighth *eighth);

/* Those of the bench's cache; hits and misses are the sums of both caches. */
struct folio_cache_stats eighth_stats(const struct bench *bench, const struct eighth *eighth);

#endif
