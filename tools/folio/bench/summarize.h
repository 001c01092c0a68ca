/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * summarize.h - what the first screen states about each benchmark.
 */
#ifndef FOLIO_TOOLS_SUMMARIZE_H
#define FOLIO_TOOLS_SUMMARIZE_H

#include "bench/report.h"
#include "bench/summary.h"

void summarize_reads(const struct report *report, struct summary *summary);  /* folio bench */
void summarize_writes(const struct report *report, struct summary *summary); /* folio bench write */
void summarize_counters(const struct report *report, struct summary *summary); /* folio bench ref */

#endif
