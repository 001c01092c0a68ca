/* SPDX-License-Identifier: BSD-2-Clause */
/* measure.h - what the benchmark programs share: errors that end them, clocks, medians. */
#ifndef FOLIO_BENCH_MEASURE_H
#define FOLIO_BENCH_MEASURE_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Ends the program if @r is -errno. @what: what was tried. */
static inline void check(int64_t r, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror((int)-r));
	exit(1);
}

/* The result of a system call, as check wants it. */
static inline int64_t result(int64_t r)
{
	return r < 0 ? -errno : r;
}

static inline double nanoseconds(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static inline int measure_compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Sorts, so that values[count / 2] is the median, and values[count / 4] a quartile. */
static inline void sort(double *values, size_t count)
{
	qsort(values, count, sizeof(*values), measure_compare);
}

#endif
