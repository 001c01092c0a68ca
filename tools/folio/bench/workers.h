/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * workers.h - threads that do the same work at the same time, and the rate at which they do it.
 *
 * A run: all threads arrive; they work unmeasured for a while, in which caches and clock frequency
 * settle and the size of a batch is found; then they are measured until they are stopped. The
 * measurement of all threads starts at the same moment and ends, for each, with its last batch.
 * Where threads take turns on a processor, the time that a thread waits for one counts as time in
 * which it does nothing. Between batches a thread checks one flag, and no clock.
 *
 * If there are at least as many processors as threads, each thread is bound to its own processor.
 */
#ifndef FOLIO_TOOLS_WORKERS_H
#define FOLIO_TOOLS_WORKERS_H

#include <stdbool.h>
#include <stdint.h>

struct workers;

struct worker {
	unsigned index;    /* 0 .. threads - 1 of the run */
	unsigned threads;  /* in this run */
	void *context;     /* of the run */
	uint64_t position; /* for the work to use; kept from run to run */
	uint64_t sum;      /* of the data read, so that the compiler must not drop the reads */
	uint64_t extra;    /* a count for the work to use; 0 when the first measured batch begins */
	int error; /* set before a batch returns 0: an errno, or 0 if the contents are wrong */
} __attribute__((aligned(128)));

/* Does up to n operations. Returns how many it did; 0 if it failed. */
typedef uint64_t worker_batch(struct worker *worker, uint64_t n);

struct sample {
	double rate;   /* operations per second, all threads together */
	double leader; /* the part of it done by thread 0 */
	/*
	 * The extra counts of the workers divided by their operations: all, thread 0, the others.
	 */
	double extra, leader_extra, others_extra;
	uint64_t operations;
	bool failed;
	int error;
};

/* NULL and errno if there is no memory or no thread can be started. */
struct workers *workers_create(unsigned size);
void workers_destroy(struct workers *workers);

struct worker *workers_get(struct workers *workers, unsigned index);

/* Processors that the process may use: the most threads that get a processor each. */
unsigned workers_processors(void);

/* Work for warm_up seconds unmeasured, then for so many seconds measured. */
struct sample workers_measure(struct workers *workers, unsigned threads, worker_batch *batch,
	void *context, double warm_up, double seconds);

/*
 * Call work once in each thread. False if one call returned false; the others may have continued.
 */
bool workers_each(struct workers *workers, unsigned threads, bool (*work)(struct worker *worker),
	void *context);

/* For the work of workers_each: true if another thread failed and the work should stop. */
bool workers_failed(const struct worker *worker);

double seconds_now(void);

#endif
