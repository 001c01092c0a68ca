/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * random.h - random numbers for benchmarks: fast, repeatable, of known distribution. Not for
 * secrets.
 */
#ifndef FOLIO_TOOLS_RANDOM_H
#define FOLIO_TOOLS_RANDOM_H

#include <stdint.h>

/* Mixes all bits of value into all bits of the result (the finaliser of SplitMix64). */
static inline uint64_t random_mix(uint64_t value)
{
	value ^= value >> 30;
	value *= UINT64_C(0xbf58476d1ce4e5b9);
	value ^= value >> 27;
	value *= UINT64_C(0x94d049bb133111eb);
	return value ^ value >> 31;
}

/* SplitMix64 (Steele, Lea, Flood, 2014): any seeds are fine, also adjacent ones. */
static inline uint64_t random_next(uint64_t *state)
{
	*state += UINT64_C(0x9e3779b97f4a7c15);
	return random_mix(*state);
}

/* Uniform in 0 .. n-1. The bias is under n / 2^64. */
static inline uint64_t random_below(uint64_t *state, uint64_t n)
{
	return (uint64_t)(((unsigned __int128)random_next(state) * n) >> 64);
}

/* Uniform in [0, 1). */
static inline double random_unit(uint64_t *state)
{
	return (double)(random_next(state) >> 11) * 0x1p-53;
}

/*
 * A pseudo-random bijection of 0 .. n-1: a walk over 0 .. n-1 visits every number once, without a
 * table. A Feistel network over the smallest even number of bits that holds n. A result past n is
 * permuted again, which keeps it a bijection; that takes under four rounds on average.
 */
uint64_t random_permute(uint64_t index, uint64_t n, uint64_t key);

/*
 * Zipf's law: rank k of 1 .. n with probability proportional to k^-exponent, exponent > 0 and not
 * 1. Sampled by rejection from the integral of the curve (Hormann and Derflinger, 1996): without a
 * table, in about one trial.
 */
struct zipf {
	uint64_t n;
	double exponent;
	double low, high; /* of the area under the curve, from which samples are drawn */
	double sure;      /* a sample no further than this from its rank needs no test */
};

void zipf_init(struct zipf *zipf, uint64_t n, double exponent);
uint64_t zipf_next(const struct zipf *zipf, uint64_t *state);

#endif
