/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * svg.h - a report as a picture.
 */
#ifndef FOLIO_TOOLS_SVG_H
#define FOLIO_TOOLS_SVG_H

#include <stdio.h>

#include "bench/report.h"

/*
 * Horizontal bars on a logarithmic axis, grouped by workload: each contender with the least and the
 * most threads. A bar and its label show the median rate, a line through the bar the quartiles; a
 * column at the right has the ratios. The file is self-contained, and legible on light and dark
 * pages.
 */
void svg_write(const struct report *report, FILE *out);

#endif
