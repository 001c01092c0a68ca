/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench-base.h - the state that the parts of "folio bench FILE" and "folio bench write" share.
 */
#ifndef FOLIO_TOOLS_BENCH_BASE_H
#define FOLIO_TOOLS_BENCH_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <folio/cache.h>

#include "bench/report.h"
#include "bench/workers.h"

#define LINE_SIZE   64 /* bytes of one small read or write */
#define THREADS_MAX 512
#define DEPTH_MAX   1024

struct bench {
	struct report report;
	struct workers *workers;
	unsigned threads; /* the most threads that hits are measured with */
	unsigned depth;   /* reads in flight when misses are measured */
	unsigned sync;    /* writes between two syncs, in the durable workloads */
	double seconds;   /* for all measurements together */
	bool writes;      /* the benchmark overwrites the file */

	const char *name; /* of the file, for messages */
	char *path;       /* to open it by */
	uint64_t size;    /* bytes */
	int *fds;         /* one for each thread: a shared one has a contended reference counter */

	uint64_t cache_bytes;
	struct folio_cache *cache;
	struct folio_file *file;
	bool fits;     /* the cache holds the entire file */
	uint64_t part; /* hits are measured in the first part bytes, all of which the cache holds */
	/* Taken after the file was read once, when the cache is as full as it gets. */
	struct folio_cache_stats dense;
};

/* One thread per processor, but at most THREADS_MAX. */
unsigned bench_threads(void);

/* The cache's statistics now. Cannot fail: the cache is open. */
struct folio_cache_stats bench_stats(const struct bench *bench);

/* Zeroed memory, in huge pages if the kernel has some. NULL if there is no memory. */
void *huge_alloc(size_t size);
void huge_free(void *memory, size_t size);

#endif
