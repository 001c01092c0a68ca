/* SPDX-License-Identifier: BSD-2-Clause */
#include "random.h"

#include <math.h>

uint64_t random_permute(uint64_t index, uint64_t n, uint64_t key)
{
	unsigned half = 1, round;
	uint64_t left, right, next, mask;

	while (half < 32 && (UINT64_C(1) << (2 * half)) < n)
		half++;
	mask = (UINT64_C(1) << half) - 1;
	do {
		left = index >> half;
		right = index & mask;
		for (round = 0; round < 4; round++) {
			next = left ^ (random_mix(right + key + round) & mask);
			left = right;
			right = next;
		}
		index = left << half | right;
	} while (index >= n);
	return index;
}

/* The area under x^-exponent up to x, except for a constant. */
static double zipf_area(const struct zipf *zipf, double x)
{
	return pow(x, 1 - zipf->exponent) / (1 - zipf->exponent);
}

static double zipf_area_inverse(const struct zipf *zipf, double area)
{
	return pow(area * (1 - zipf->exponent), 1 / (1 - zipf->exponent));
}

void zipf_init(struct zipf *zipf, uint64_t n, double exponent)
{
	zipf->n = n;
	zipf->exponent = exponent;
	/*
	 * Rank k has the area from k - 1/2 to k + 1/2, of which k^-exponent (at the right end) is
	 * accepted. The curve is convex, so each strip has at least that area. Rank 1, which has no
	 * bound on the left, gets exactly that area.
	 */
	zipf->low = zipf_area(zipf, 1.5) - 1;
	zipf->high = zipf_area(zipf, (double)n + 0.5);
	zipf->sure = 2 - zipf_area_inverse(zipf, zipf_area(zipf, 2.5) - pow(2, -exponent));
}

uint64_t zipf_next(const struct zipf *zipf, uint64_t *state)
{
	double area, x, rank;

	for (;;) {
		area = zipf->low + random_unit(state) * (zipf->high - zipf->low);
		x = zipf_area_inverse(zipf, area);
		rank = floor(x + 0.5);
		if (rank < 1)
			rank = 1;
		if (rank > (double)zipf->n)
			rank = (double)zipf->n;
		if (rank - x <= zipf->sure ||
			area >= zipf_area(zipf, rank + 0.5) - pow(rank, -zipf->exponent))
			return (uint64_t)rank;
	}
}
