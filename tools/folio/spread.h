/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * spread.h - what is said about a set of samples: the middle and how far they lie apart, never the best.
 */
#ifndef FOLIO_TOOLS_SPREAD_H
#define FOLIO_TOOLS_SPREAD_H

/* No set of samples is larger. */
#define SAMPLES_MAX 99

struct spread {
	double median;
	double low, high; /* first and third quartile */
	double min, max;
};

/* Of count samples, 1 .. SAMPLES_MAX. */
struct spread spread_of(const double *samples, unsigned count);

/* Of the quotients of samples taken in the same round: what disturbed the round disturbs both. */
struct spread spread_of_ratio(const double *samples, const double *base, unsigned count);

#endif
