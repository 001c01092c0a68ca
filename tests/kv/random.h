/* SPDX-License-Identifier: BSD-2-Clause */
/* random.h - random numbers for the tests of the store (splitmix64; G. Steele et al., 2014). */
#ifndef KV_RANDOM_H
#define KV_RANDOM_H

#include <stdint.h>
#include <time.h>
#include <unistd.h>

static inline uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static inline uint64_t random_seed(void)
{
	return (uint64_t)time(NULL) * 1000003u + (uint64_t)getpid();
}

#endif
