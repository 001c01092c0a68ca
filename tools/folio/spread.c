/* SPDX-License-Identifier: BSD-2-Clause */
#include "spread.h"

#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Linear between the two samples that the quantile falls between. */
static double quantile(const double *sorted, unsigned count, double q)
{
	double position = q * (count - 1);
	unsigned below = (unsigned)position;

	if (below + 1 >= count)
		return sorted[count - 1];
	return sorted[below] + (position - below) * (sorted[below + 1] - sorted[below]);
}

static struct spread spread_of_own(double *samples, unsigned count)
{
	struct spread spread;

	qsort(samples, count, sizeof(*samples), compare);
	spread.median = quantile(samples, count, 0.5);
	spread.low = quantile(samples, count, 0.25);
	spread.high = quantile(samples, count, 0.75);
	spread.min = samples[0];
	spread.max = samples[count - 1];
	return spread;
}

struct spread spread_of(const double *samples, unsigned count)
{
	double own[SAMPLES_MAX];

	memcpy(own, samples, count * sizeof(*own));
	return spread_of_own(own, count);
}

struct spread spread_of_ratio(const double *samples, const double *base, unsigned count)
{
	double own[SAMPLES_MAX];
	unsigned i;

	for (i = 0; i < count; i++)
		own[i] = samples[i] / base[i];
	return spread_of_own(own, count);
}
