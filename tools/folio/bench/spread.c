/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/spread.h"

#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Interpolated linearly between the two nearest samples. */
static double quantile(const double *sorted, unsigned count, double q)
{
	double position = q * (count - 1);
	unsigned below = (unsigned)position;

	if (below + 1 >= count)
		return sorted[count - 1];
	return sorted[below] + (position - below) * (sorted[below + 1] - sorted[below]);
}

static struct spread sort_and_summarize(double *samples, unsigned count)
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
	double copy[SAMPLES_MAX];

	memcpy(copy, samples, count * sizeof(*copy));
	return sort_and_summarize(copy, count);
}

struct spread spread_of_ratio(const double *samples, const double *base, unsigned count)
{
	double copy[SAMPLES_MAX];
	unsigned i;

	for (i = 0; i < count; i++)
		copy[i] = samples[i] / base[i];
	return sort_and_summarize(copy, count);
}

double spread_percent(const struct spread *spread)
{
	return 100 * (spread->high - spread->low) / spread->median;
}

bool spread_is_wide(const struct spread *spread)
{
	return spread_percent(spread) > 20;
}
