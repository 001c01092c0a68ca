/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rounds.h - contenders measured in alternation.
 *
 * Disturbances of a machine (other work, heat, the host of a virtual machine) last longer than a
 * sample. Therefore no contender gets its samples in one go: each round takes one sample of each
 * contender. Contenders that are compared are measured one after another, in an order that rotates
 * from round to round, and ratios are taken within a round.
 */
#ifndef FOLIO_TOOLS_ROUNDS_H
#define FOLIO_TOOLS_ROUNDS_H

#include <stdbool.h>

#include "bench/report.h"
#include "bench/workers.h"

/* One contender with one number of threads. Cells that are compared are adjacent in the array. */
struct cell {
	unsigned workload; /* index in the report */
	const char *contender;
	enum report_role role;
	unsigned threads;
	worker_batch *batch;
	void *context;
	/* Called before each sample, unless NULL. */
	void (*prepare)(const struct cell *cell);
	/*
	 * Called with each sample, instead of recording its rate. False: the sample shows an error.
	 */
	bool (*record)(struct report *report, const struct cell *cell, const struct sample *sample);
};

/*
 * Measure for approximately so many seconds in total, in 5 rounds or more. command: for messages
 * and progress. False after a complaint.
 */
bool rounds_run(struct report *report, struct workers *workers, const struct cell *cells,
	unsigned count, double seconds, const char *command);

/* The most numbers of threads that are measured. */
#define THREAD_COUNTS_MAX 16

/* Stores 1, 2, 4, ... and most itself; returns how many. */
unsigned rounds_thread_counts(unsigned most, unsigned counts[THREAD_COUNTS_MAX]);

#endif
