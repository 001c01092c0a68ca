/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * random.c - tests the random numbers of the benchmarks (tools/folio/random.h): known values, and
 * what is promised of their distribution. Nothing else that the command prints depends on them in a
 * way that a test could see. Prints TAP.
 */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "random.h"

static unsigned tests, failures;

static void check(bool good, const char *name)
{
	tests++;
	failures += !good;
	printf("%sok %u - %s\n", good ? "" : "not ", tests, name);
}

/* The reference values of SplitMix64, and what follows from them. */
static bool known_values(void)
{
	static const struct {
		uint64_t next, below_1000, below_half;
	} known[] = {
		{UINT64_C(6457827717110365317), 350, UINT64_C(3228913858555182658)},
		{UINT64_C(3203168211198807973), 173, UINT64_C(1601584105599403986)},
		{UINT64_C(9817491932198370423), 532, UINT64_C(4908745966099185212)},
		{UINT64_C(4593380528125082431), 249, UINT64_C(2296690264062541215)},
		{UINT64_C(16408922859458223821), 889, UINT64_C(8204461429729111911)},
	};
	uint64_t state = 1234567, again;
	bool good = true;
	unsigned i;

	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		again = state;
		good = good && random_below(&again, 1000) == known[i].below_1000;
		again = state;
		good = good && random_below(&again, (UINT64_C(1) << 63) + 1) == known[i].below_half;
		again = state;
		/* 53 bits of the number, as a fraction. */
		good = good && random_unit(&again) == ldexp((double)(known[i].next >> 11), -53);
		good = good && random_next(&state) == known[i].next && again == state;
	}
	return good;
}

/* Every number once; and known values, by another implementation. */
static bool permutations(void)
{
	static const uint64_t sizes[] = {1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 1000, 4096, 4097};
	static const struct {
		uint64_t n, of[3]; /* 0, 1 and 999 */
	} known[] = {
		{1000, {828, 519, 156}},
		{5000, {4165, 4517, 4090}},
		{UINT64_C(1) << 40,
			{UINT64_C(813244696863), UINT64_C(13411486112), UINT64_C(489185672285)}},
		{(UINT64_C(1) << 63) + 5,
			{UINT64_C(6333825987457238909), UINT64_C(7949703457025400437),
				UINT64_C(9179933615207635822)}},
	};
	bool good = true;
	unsigned s;

	for (s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		bool *seen = calloc(sizes[s], sizeof(*seen));
		uint64_t i, to;

		for (i = 0; seen && i < sizes[s]; i++) {
			to = random_permute(i, sizes[s], s);
			good = good && to < sizes[s] && !seen[to];
			if (to < sizes[s])
				seen[to] = true;
		}
		good = good && seen;
		free(seen);
	}
	for (s = 0; s < sizeof(known) / sizeof(known[0]); s++)
		good = good && random_permute(0, known[s].n, 7) == known[s].of[0] &&
		       random_permute(1, known[s].n, 7) == known[s].of[1] &&
		       random_permute(999, known[s].n, 7) == known[s].of[2];
	return good && random_permute(0, 3, 7) == 1 && random_permute(1, 3, 7) == 2;
}

enum { SAMPLES = 400000 };

/* The area from a to b under x^-exponent. */
static double area(double a, double b, double exponent)
{
	return (pow(b, 1 - exponent) - pow(a, 1 - exponent)) / (1 - exponent);
}

/*
 * Each of the first ranks is as frequent as Zipf's law has it, within five standard deviations, and
 * so are the others together. The number of trials is that of the method: the area that it draws
 * from, divided by what it accepts.
 */
static bool zipf_law(uint64_t n, double exponent)
{
	static uint64_t count[1001];
	uint64_t state = 42, trials = 0, reached = 42, sum = 0, i;
	double weight = 0, ratio;
	struct zipf zipf;
	bool good = true;

	for (i = 1; i <= n; i++) {
		weight += pow((double)i, -exponent);
		count[i] = 0;
	}
	zipf_init(&zipf, n, exponent);
	for (i = 0; i < SAMPLES; i++) {
		uint64_t rank = zipf_next(&zipf, &state);

		if (rank < 1 || rank > n)
			return false;
		count[rank]++;
	}
	for (; reached != state; trials++)
		random_next(&reached);
	for (i = 1; i <= n; i++) {
		double p = pow((double)i, -exponent) / weight;

		sum += count[i];
		good = good && fabs((double)count[i] - p * SAMPLES) <= 5 * sqrt(p * SAMPLES) + 1;
	}
	ratio = (1 + area(1.5, (double)n + 0.5, exponent)) / weight;
	printf("# n %llu, exponent %.2f: %.5f trials, %.5f expected\n", (unsigned long long)n,
		exponent, (double)trials / SAMPLES, ratio);
	return good && sum == SAMPLES && fabs((double)trials / SAMPLES - ratio) < 0.001;
}

int main(void)
{
	check(known_values(), "known values");
	check(permutations(), "permutations");
	check(zipf_law(1000, 0.99), "Zipf's law, exponent 0.99");
	check(zipf_law(1000, 0.5), "Zipf's law, exponent 0.5");
	check(zipf_law(50, 1.5), "Zipf's law, exponent 1.5");
	check(zipf_law(2, 0.99), "Zipf's law of two");
	check(zipf_law(1, 0.99), "Zipf's law of one");
	printf("1..%u\n", tests);
	return failures > 0;
}
