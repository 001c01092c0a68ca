/* SPDX-License-Identifier: BSD-2-Clause */
/* library.h - a trace through the library, on a device that costs nothing. */
#ifndef FOLIO_BENCH_POLICY_LIBRARY_H
#define FOLIO_BENCH_POLICY_LIBRARY_H

#include "simulate.h"

/* As simulate, of a cache of the library without read-ahead. Exits with a message on an error. */
struct hits library_hits(const struct trace *trace, uint64_t pages, uint64_t skip);

#endif
