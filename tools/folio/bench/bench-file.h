/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench-file.h - the file that a benchmark measures, and the cache it is read through.
 */
#ifndef FOLIO_TOOLS_BENCH_FILE_H
#define FOLIO_TOOLS_BENCH_FILE_H

#include "bench/bench-base.h"

/*
 * Create a file of 256 MiB without a name, which is gone however the command ends, and set name and
 * path of bench. Returns a descriptor of it, which the caller closes; -1 after a complaint.
 */
int bench_file_make(struct bench *bench);

/* Open path: sets fds and size. False after a complaint. */
bool bench_file_open(struct bench *bench);

/*
 * Open a cache of cache_bytes, or of a default size if that is 0, and the file in it: sets
 * cache_bytes, cache, file, fits and part. False after a complaint.
 */
bool bench_cache_open(struct bench *bench);

/* Close the file in the cache, without a last write-back, and the cache. */
void bench_cache_close(struct bench *bench);

/* Close everything that the two functions above opened. */
void bench_file_close(struct bench *bench);

#endif
