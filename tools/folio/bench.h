/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench.h - what the parts of "folio bench" share.
 */
#ifndef FOLIO_TOOLS_BENCH_H
#define FOLIO_TOOLS_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <folio/cache.h>

#include "report.h"
#include "team.h"

#define LINE_SIZE   64 /* what a hit reads, or writes */
#define THREADS_MAX 512
#define DEPTH_MAX   1024

/* How the results are given. Shared by all benchmarks. */
struct output {
	bool json, csv;
	const char *svg;
	/* Of output.c. */
	char *place; /* svg, or where it is a link, what it leads to */
	mode_t mode; /* for the picture */
};

struct bench {
	struct report report;
	struct team *team;
	unsigned threads; /* the most that hits are measured with */
	unsigned depth;   /* reads in flight when misses are measured */
	unsigned sync;    /* writes up to each sync, where what is written is made to last */
	double seconds;   /* for all measuring together */
	bool writes;      /* to the file: what it held is lost */

	const char *name; /* of the file, for people */
	char *path;       /* to open it by */
	uint64_t size;    /* bytes */
	int *fds;         /* one for each thread: one shared by all would be a contended counter */

	uint64_t cache_bytes;
	struct folio_cache *cache;
	struct folio_file *file;
	bool fits; /* all of the file is cached at once */
	uint64_t
		part; /* bytes from the start on in which hits are measured: such as are cached at once */
	struct folio_cache_stats
		dense; /* when all was read, so that the cache was as full as it gets */
};

/*
 * bench.c: what every benchmark of a file begins and ends with. Opens path (NULL: a file that is made for this run) and a cache for it,
 * measures, writes the results, and gives everything back. The exit status.
 */
int bench_of_file(struct bench *bench, struct output *output, const char *path, int argc,
	char **argv, bool (*measure)(struct bench *bench));

/* Start the team, and the report with what has to be known of any run. False after a complaint. */
bool bench_begin(struct bench *bench, unsigned threads);

/* Compare all of the file, by copy and by pin, with what the kernel says is in it. False after a complaint. */
bool bench_verify(struct bench *bench);

/* As many threads as processors, within what the command takes. */
unsigned bench_threads(void);

/* bench-hit.c: hot, uniform, zipf and chained reads of a line that is cached. False after a complaint. */
bool bench_hits(struct bench *bench, double seconds);

/* bench-hit.c: reads of a line anywhere in a file that does not fit. False after a complaint. */
bool bench_whole(struct bench *bench, double seconds);

/* bench-miss.c: random and sequential reads of what is not cached. False after a complaint. */
bool bench_misses(struct bench *bench, double seconds);

/* The statistics now; they cannot fail for an open cache. */
struct folio_cache_stats bench_stats(const struct bench *bench);

/* Memory in huge pages where they can be had, zeroed; NULL when there is none. */
void *huge_alloc(size_t size);
void huge_free(void *memory, size_t size);

/*
 * Check the choice and whether the results can be written, before anything is measured or made. measured: the file that is to
 * be measured, which the picture must not take the place of, or NULL.
 * Returns -1 to go on, otherwise the exit status, after a complaint.
 */
int output_open(struct output *output, const char *measured);

/* Write all of it; the exit status. */
int output_write(const struct output *output, const struct report *report);

/* Called after output_write, or instead of it when there is nothing to write. */
void output_close(struct output *output);

#endif
