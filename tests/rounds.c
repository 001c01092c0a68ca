/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rounds.c - tests the rounds of the benchmarks (tools/folio/bench/rounds.h) with workers that do
 * nothing: how many rounds there are, how long a sample is, in which order the cells are measured,
 * and what is said if one fails. Prints TAP.
 */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "bench/rounds.h"
#include "command.h"
#include "progress.h"

static char order[4096]; /* the contenders as they are measured; "|" for each line of progress */
static char said[512];
static unsigned samples, failing_sample, lines_left;
static int failing_error;
static double warm_ups, slices;

void progress(const char *format, ...)
{
	strcat(order, "|");
	lines_left = 1;
}

void progress_end(void)
{
	lines_left = 0;
}

void complain(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vsnprintf(said, sizeof(said), lines_left ? "in a line of progress" : format, list);
	va_end(list);
}

struct sample workers_measure(struct workers *workers, unsigned threads, worker_batch *batch,
	void *context, double warm_up, double seconds)
{
	char name[16];

	snprintf(name, sizeof(name), "%s%u", (const char *)context, threads);
	strcat(order, name);
	warm_ups += warm_up;
	slices += seconds;
	samples++;
	return (struct sample){.rate = samples,
		.extra = 0.5,
		.failed = samples == failing_sample,
		.error = failing_error};
}

static unsigned prepared, recorded;

static void prepare(const struct cell *cell)
{
	prepared += cell->threads;
}

static bool record(struct report *report, const struct cell *cell, const struct sample *sample)
{
	recorded++;
	return recorded < 3;
}

static unsigned tests, failures;

static void check(bool good, const char *name)
{
	tests++;
	failures += !good;
	printf("%sok %u - %s\n", good ? "" : "not ", tests, name);
}

static bool near(double a, double b)
{
	printf("# %.9g, %.9g expected\n", a, b);
	return fabs(a - b) <= 1e-9 * fabs(b);
}

static struct report report;

/* Three cells of one group, two that differ in the number of threads, one of another workload. */
static bool run(unsigned count, double seconds)
{
	static const struct cell cells[] = {
		{0, "a", ROLE_OWN, 1, NULL, "a", prepare, NULL},
		{0, "b", ROLE_PEER, 1, NULL, "b", NULL, NULL},
		{0, "c", ROLE_LIMIT, 1, NULL, "c", NULL, NULL},
		{0, "a", ROLE_OWN, 2, NULL, "a", NULL, NULL},
		{0, "b", ROLE_PEER, 2, NULL, "b", NULL, NULL},
		{1, "d", ROLE_OWN, 2, NULL, "d", NULL, NULL},
		{1, "e", ROLE_OWN, 9, NULL, "e", NULL, record},
	};
	const struct report_workload hot = {.name = "hot"}, cold = {.name = "cold"};

	report_free(&report);
	report = (struct report){0};
	report_workload(&report, &hot);
	report_workload(&report, &cold);
	order[0] = said[0] = '\0';
	samples = prepared = recorded = 0;
	warm_ups = slices = 0;
	return rounds_run(&report, NULL, cells, count, seconds, "bench it");
}

/* The cells of a group are adjacent, and each round begins with another one. */
static bool rotation(void)
{
	const char *expected = "|a1b1c1|a2b2|d2"
			       "|b1c1a1|b2a2|d2"
			       "|c1a1b1|a2b2|d2"
			       "|a1b1c1|b2a2|d2"
			       "|b1c1a1|a2b2|d2";
	const struct report_row *row;
	bool good = run(6, 0.6);

	printf("# %s\n", order);
	row = report_find(&report.workloads[0], "b", 2);
	return good && !strcmp(order, expected) && !lines_left && prepared == 5 && row &&
	       row->count == 5 && row->role == ROLE_PEER && row->extra[4] == 0.5 &&
	       row->rate[1] == 10 && row->threads == 2;
}

/* 30 ms for a sample, of which a fifth is unmeasured; 5 to 25 rounds; no sample below 3 ms. */
static bool lengths(void)
{
	static const struct {
		double seconds;
		unsigned rounds;
		double each;
	} cases[] = {{0.001, 5, 0.003}, {0.5, 5, 0.1 / 6}, {1.85, 10, 1.85 / 60},
		{100, 25, 100 / 150.0}};
	bool good = run(0, 1) && samples == 0;
	unsigned i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		double all = cases[i].each * cases[i].rounds * 6;

		good = run(6, cases[i].seconds) && good && samples == cases[i].rounds * 6 &&
		       near(warm_ups, 0.2 * all) && near(slices, 0.8 * all) &&
		       near(report.workloads[1].slice, 0.8 * cases[i].each);
	}
	return good;
}

static bool failing(void)
{
	bool good;

	failing_sample = 8;
	failing_error = EDOM;
	good = !run(6, 0.5) && samples == 8 &&
	       !strcmp(said, "bench it: hot, c: Numerical argument out of domain");
	failing_error = 0;
	good = good && !run(6, 0.5) && !strcmp(said, "bench it: hot, c: a read or write was short");
	failing_sample = 0;
	/* The third time, the counters are wrong. */
	return good && !run(7, 0.5) && recorded == 3 &&
	       !strcmp(said, "bench it: cold, e: the counters are wrong");
}

static bool counts(void)
{
	unsigned found[THREAD_COUNTS_MAX];

	return rounds_thread_counts(1, found) == 1 && found[0] == 1 &&
	       rounds_thread_counts(2, found) == 2 && found[1] == 2 &&
	       rounds_thread_counts(3, found) == 3 && found[1] == 2 && found[2] == 3 &&
	       rounds_thread_counts(512, found) == 10 && found[8] == 256 && found[9] == 512;
}

int main(void)
{
	check(counts(), "the numbers of threads");
	check(rotation(), "each round begins with another cell");
	check(lengths(), "the number of rounds and the length of a sample");
	check(failing(), "a sample that fails");
	report_free(&report);
	printf("1..%u\n", tests);
	return failures > 0;
}
