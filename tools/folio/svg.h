/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * svg.h - a report as a picture.
 */
#ifndef FOLIO_TOOLS_SVG_H
#define FOLIO_TOOLS_SVG_H

#include <stdio.h>

#include "report.h"

/*
 * Horizontal bars on a logarithmic axis, grouped by workload: each contender at one thread and at the
 * most. One file that needs nothing else, legible on light and dark pages.
 */
void svg_write(const struct report *report, FILE *out);

#endif
