/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * spread.h - a set of samples in five numbers: the median, the quartiles and the extremes.
 */
#ifndef FOLIO_TOOLS_SPREAD_H
#define FOLIO_TOOLS_SPREAD_H

#include <stdbool.h>

/* No set of samples is larger. */
#define SAMPLES_MAX 99

struct spread {
	double median;
	double low, high; /* first and third quartile */
	double min, max;
};

/* Of count samples, 1 .. SAMPLES_MAX. */
struct spread spread_of(const double *samples, unsigned count);

/*
 * Of the quotients of two samples from the same round: a disturbance of the round affects both, and
 * cancels out.
 */
struct spread spread_of_ratio(const double *samples, const double *base, unsigned count);

/* Distance between the quartiles, in percent of the median. */
double spread_percent(const struct spread *spread);

/*
 * True if the quartiles are so far apart, by more than 20 % of the median, that the median is
 * noise.
 */
bool spread_is_wide(const struct spread *spread);

#endif
