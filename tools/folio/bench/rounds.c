/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/rounds.h"

#include <string.h>

#include "command.h"
#include "progress.h"

#define ROUNDS_MIN          5
#define ROUNDS_MAX          25
/* A shorter sample is dominated by what the one before left in caches and clock frequency. */
#define SAMPLE_SECONDS_MIN  0.003
#define SAMPLE_SECONDS_GOOD 0.030
/* The unmeasured part of a sample's time. */
#define WARM_UP_SHARE       0.2

unsigned rounds_thread_counts(unsigned most, unsigned counts[THREAD_COUNTS_MAX])
{
	unsigned threads, found = 0;

	for (threads = 1; threads < most && found < THREAD_COUNTS_MAX - 1; threads *= 2)
		counts[found++] = threads;
	counts[found++] = most;
	return found;
}

/* Number of cells, from first on, that are compared with each other. */
static unsigned group_length(const struct cell *cells, unsigned first, unsigned count)
{
	unsigned last = first;

	while (last < count && cells[last].workload == cells[first].workload &&
		cells[last].threads == cells[first].threads)
		last++;
	return last - first;
}

static bool measure_cell(struct report *report, struct workers *workers, const struct cell *cell,
	double warm_up, double slice, const char *command)
{
	struct report_workload *workload = &report->workloads[cell->workload];
	struct sample sample;

	if (cell->prepare)
		cell->prepare(cell);
	sample =
		workers_measure(workers, cell->threads, cell->batch, cell->context, warm_up, slice);
	workload->slice = slice;
	if (sample.failed) {
		progress_end();
		complain("%s: %s, %s: %s", command, workload->name, cell->contender,
			sample.error ? strerror(sample.error) : "a read or write was short");
		return false;
	}
	if (cell->record) {
		if (!cell->record(report, cell, &sample)) {
			progress_end();
			complain("%s: %s, %s: the counters are wrong", command, workload->name,
				cell->contender);
			return false;
		}
		return true;
	}
	report_sample(
		workload, cell->contender, cell->role, cell->threads, sample.rate, sample.extra);
	return true;
}

bool rounds_run(struct report *report, struct workers *workers, const struct cell *cells,
	unsigned count, double seconds, const char *command)
{
	unsigned rounds, round, first, length, i;
	double each;

	if (!count)
		return true;
	rounds = (unsigned)(seconds / (count * SAMPLE_SECONDS_GOOD));
	if (rounds < ROUNDS_MIN)
		rounds = ROUNDS_MIN;
	if (rounds > ROUNDS_MAX)
		rounds = ROUNDS_MAX;
	each = seconds / (count * rounds);
	if (each < SAMPLE_SECONDS_MIN)
		each = SAMPLE_SECONDS_MIN;

	for (round = 0; round < rounds; round++) {
		for (first = 0; first < count; first += length) {
			length = group_length(cells, first, count);
			progress("measuring: round %u of %u, %s", round + 1, rounds,
				report->workloads[cells[first].workload].name);
			for (i = 0; i < length; i++) {
				if (!measure_cell(report, workers,
					    &cells[first + (i + round) % length],
					    each * WARM_UP_SHARE, each * (1 - WARM_UP_SHARE),
					    command))
					return false;
			}
		}
	}
	progress_end();
	return true;
}
