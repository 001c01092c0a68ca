/* SPDX-License-Identifier: BSD-2-Clause */
/* stats.h - the counters of a cache, and what is cached of a file. */
#ifndef FOLIO_STATS_H
#define FOLIO_STATS_H

#include <stddef.h>
#include <stdint.h>

#include <folio/io.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct folio_cache;
struct folio_file;

/**
 * struct folio_cache_stats - counters of a cache
 *
 * Counters start at 0 in folio_cache_open. They are exact while no thread is inside a call;
 * otherwise they may lag by the calls in flight. One exception: a thread that found no memory for
 * its counters, or that is ending, shares counters with other such threads, and these may lose
 * counts. Pinned pages are not counted; folio_cache_pins scans for them.
 */
struct folio_cache_stats {
	size_t size;    /* set by the caller: sizeof(struct folio_cache_stats) */
	const char *io; /* name of the backend that executes requests now */

	/* Memory: */

	uint64_t pages;          /* page frames in the budget, now */
	uint64_t pages_free;     /* of those, free now */
	uint64_t pages_file;     /* of those, cached in a file now, or dropped and still pinned */
	uint64_t pages_private;  /* of those, allocated by the program (folio_alloc) */
	uint64_t bytes_metadata; /* next to the data: descriptors, versions, and trees, bytes */
	uint64_t huge_bytes;     /* reserved with a request for 2 MiB pages, bytes */

	/* Reading and eviction: */

	uint64_t hits;             /* pages that a read or a get found cached and valid */
	uint64_t misses;           /* pages that a read or a get had to fill or to wait for */
	uint64_t retries;          /* lookups repeated because the folio moved during the lookup */
	uint64_t fills;            /* reads submitted to the backend */
	uint64_t fill_bytes;       /* bytes that these reads requested */
	uint64_t fill_errors;      /* reads that failed */
	uint64_t readahead_pages;  /* pages filled because sequential reading was detected */
	uint64_t prefetch_pages;   /* pages that a prefetch, a batch or a list started to read */
	uint64_t evictions;        /* pages evicted */
	uint64_t evictions_direct; /* of those, by a caller that found no free page */
	uint64_t evict_busy;       /* folios that eviction skipped because they were pinned */
	uint64_t refaults;         /* misses of recently evicted pages; most enter the main queue */
	uint64_t invalidations;    /* pages dropped by invalidation, revalidation or close */
	uint64_t out_of_memory;    /* calls that found every page pinned */

	/* Writing: */

	uint64_t pages_dirty;     /* pages with changes that their file does not have yet, now */
	uint64_t pages_writeback; /* of those, being written back, now */
	uint64_t writes;          /* writes submitted to the backend */
	uint64_t write_bytes;     /* bytes of these writes */
	uint64_t write_errors;    /* writes that failed */
	uint64_t throttled;       /* calls that waited because too much was dirty */

	/* Files: */

	uint64_t files_buffered; /* open handles of the backend that use buffered I/O, now */
	uint64_t files_closed;   /* files with cached pages that no handle has open, now */

	/* Read-ahead: */

	uint64_t readahead_unused; /* of readahead_pages, those that left before they were read */
};

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow" /* C++: a struct has the name of the function */
/**
 * folio_cache_stats - read the counters
 * @cache: an open cache.
 * @stats: size must be set; as many fields as fit into that size are filled in.
 *
 * Returns 0; -EINVAL; -ESTALE after fork.
 */
int folio_cache_stats(struct folio_cache *cache, struct folio_cache_stats *stats);
#pragma GCC diagnostic pop

/** struct folio_file_stat - the state of one file */
struct folio_file_stat {
	size_t size;           /* set by the caller: sizeof(struct folio_file_stat) */
	uint64_t bytes;        /* size of the file, as folio_file_size */
	uint64_t pages;        /* pages cached, or being read, now */
	uint64_t pages_dirty;  /* of those, with changes that the file does not have yet, now */
	uint32_t direct_read;  /* enum folio_direct (folio/io.h): how pages are read */
	uint32_t direct_write; /* likewise: how they are written; 0 if no handle may write */

	/* As the backend reports the file now; it does not know of dirty pages: */

	uint64_t device;     /* device and inode identify the file, as for fstat(2) */
	uint64_t inode;      /* likewise */
	uint64_t bytes_file; /* size without what is not written back yet */
	int64_t mtime_sec;   /* time of the last change of the contents: seconds */
	int64_t ctime_sec;   /* time of the last change of contents or inode: seconds, or 0 */
	uint32_t mtime_nsec; /* and nanoseconds, of mtime */
	uint32_t ctime_nsec; /* and nanoseconds, of ctime */
};

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow" /* C++: a struct has the name of the function */
/**
 * folio_file_stat - query a file: size, identity, times, cached pages, use of direct I/O
 * @file: an open file.
 * @stat: size must be set; as many fields as fit into that size are filled in.
 *
 * All handles of a file get the same result. If a file does not use direct I/O, direct_read and
 * direct_write state the reason.
 *
 * The backend is queried for the fields from device on, by one fstat(2) on the calling thread,
 * which folio_cache_params.timeout_ms does not bound. If size ends before them, nothing is queried.
 * With a write, a truncation or write-back at the same time, each field is of some moment of the
 * call, not all of the same.
 *
 * Returns 0; -EINVAL; -ESTALE after fork; or the error of the query (fstat(2)), with @stat
 * unchanged.
 */
int folio_file_stat(struct folio_file *file, struct folio_file_stat *stat);
#pragma GCC diagnostic pop

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
