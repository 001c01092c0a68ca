/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rounds.h - contenders measured in turns.
 *
 * What disturbs a machine (other work, heat, a guest's host) lasts longer than a sample. So no contender
 * gets its samples in one go: a round gives one to each, those that are compared one after the other, in an
 * order that rotates from round to round; ratios are taken within a round.
 */
#ifndef FOLIO_TOOLS_ROUNDS_H
#define FOLIO_TOOLS_ROUNDS_H

#include <stdbool.h>

#include "report.h"
#include "team.h"

/* One contender at one number of threads. Cells that are compared stand beside each other. */
struct cell {
	unsigned workload; /* index in the report */
	const char *contender;
	enum report_role role;
	unsigned threads;
	team_batch *batch;
	void *context;
	/* Called before a sample, where not NULL. */
	void (*prepare)(const struct cell *cell);
	/* Called with a sample, instead of writing down its rate. False: the sample shows an error. */
	bool (*record)(struct report *report, const struct cell *cell, const struct sample *sample);
};

/*
 * Measure for about this many seconds in all, in 5 rounds or more. command: for messages and progress.
 * False after a complaint.
 */
bool rounds_run(struct report *report, struct team *team, const struct cell *cells, unsigned count,
	double seconds, const char *command);

/* Most numbers of threads that are measured. */
#define THREAD_COUNTS_MAX 16

/* 1, 2, 4, ... and most itself; how many. */
unsigned rounds_thread_counts(unsigned most, unsigned counts[THREAD_COUNTS_MAX]);

#endif
