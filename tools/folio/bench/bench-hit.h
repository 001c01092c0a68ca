/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench-hit.h - 64-byte reads of cached data, compared with pread, mmap and a plain array.
 */
#ifndef FOLIO_TOOLS_BENCH_HIT_H
#define FOLIO_TOOLS_BENCH_HIT_H

#include "bench/bench-base.h"

/*
 * Hot, uniform, Zipf and chained reads in the first part bytes, and reads with a second cache of an
 * eighth of the file. False after a complaint.
 */
bool bench_hits(struct bench *bench, double seconds);

/* Reads at any offset of a file that does not fit the cache. False after a complaint. */
bool bench_whole(struct bench *bench, double seconds);

#endif
