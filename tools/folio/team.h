/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * team.h - threads that do the same thing at the same time, and the rate at which they do it.
 *
 * A run is: everybody arrives, works unmeasured for a while (caches and frequency settle, the size of a
 * batch is found), then is measured until told to stop. All are measured from one moment on, each to the
 * end of its own last batch: where threads take turns at a processor, the time in which one of them waits for
 * it is time in which it does nothing. Between batches a thread looks at one flag and at no clock.
 *
 * Where there are as many processors as threads, each thread stays on one of its own.
 */
#ifndef FOLIO_TOOLS_TEAM_H
#define FOLIO_TOOLS_TEAM_H

#include <stdbool.h>
#include <stdint.h>

struct team;

struct worker {
	unsigned index;    /* 0 .. threads - 1 of the run */
	unsigned threads;  /* in this run */
	void *context;     /* of the run */
	uint64_t position; /* the job's own; kept from run to run */
	uint64_t sum;      /* of what was read: makes the reads matter to the compiler */
	uint64_t
		extra; /* a count of the job's own; starts at 0 with the first batch that is measured */
	int error;     /* set before returning 0 from a batch: an errno, or 0 for wrong contents */
} __attribute__((aligned(128)));

/* Does up to n operations; returns how many, 0 when it failed. */
typedef uint64_t team_batch(struct worker *worker, uint64_t n);

struct sample {
	double rate;   /* operations a second, all threads together */
	double leader; /* of those, by thread 0 */
	/* The workers' extra counts by their operations: of all, of thread 0, of the others. */
	double extra, leader_extra, others_extra;
	uint64_t operations;
	bool failed;
	int error;
};

/* NULL and errno when memory or threads are lacking. */
struct team *team_create(unsigned size);
void team_destroy(struct team *team);

struct worker *team_worker(struct team *team, unsigned index);

/* Processors that the process may use, and so the most threads that are kept on one each. */
unsigned team_processors(void);

/* Measure: warm_up seconds unmeasured, then seconds measured. */
struct sample team_measure(struct team *team, unsigned threads, team_batch *batch, void *context,
	double warm_up, double seconds);

/* Call work once on each of threads; false when one returned false (others may have worked on). */
bool team_each(
	struct team *team, unsigned threads, bool (*work)(struct worker *worker), void *context);

/* Whether the job should give up because another thread failed. For work of team_each. */
bool team_failed(const struct worker *worker);

double seconds_now(void);

#endif
