/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench-miss.h - reads of data that is not cached, compared with direct I/O.
 */
#ifndef FOLIO_TOOLS_BENCH_MISS_H
#define FOLIO_TOOLS_BENCH_MISS_H

#include "bench/bench-base.h"

/* Random and sequential reads of uncached data. False after a complaint. */
bool bench_misses(struct bench *bench, double seconds);

#endif
