/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * output.h - where the results of a benchmark go: standard output, and a picture.
 */
#ifndef FOLIO_TOOLS_OUTPUT_H
#define FOLIO_TOOLS_OUTPUT_H

#include <stdbool.h>

#include "bench/report.h"
#include "replace.h"

/* The choice of format, as the options set it. Shared by all benchmarks. */
struct output {
	bool all, json, csv; /* at most one; none: the summary */
	const char *svg;     /* name of the picture, or NULL */
	/* Private to output.c. */
	struct replacement picture; /* the file that becomes the picture */
	bool exists;                /* it replaces an old picture */
};

/*
 * Check the choice, and whether the results can be written, before anything is measured or made.
 * measured: the file to be measured, which the picture must not replace; or NULL.
 * Returns -1 to continue, otherwise the exit status, after a complaint.
 */
int output_open(struct output *output, const char *measured);

/* Write all results. Returns the exit status. */
int output_write(struct output *output, const struct report *report);

/* Call it after output_write, or instead of it if there is nothing to write. */
void output_close(struct output *output);

#endif
