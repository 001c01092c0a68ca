/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * schedule.h - runs every interleaving of a few short threads on the real code, one at a time.
 *
 * A plan is a handful of functions. Each is run by its own thread, on a small world that begin()
 * sets up and end() checks. Only one thread runs at a time. At each schedule_point() it decides
 * whether to continue or to switch to another thread; over all runs every sequence of decisions is
 * tried once (depth first, the last decision changed first). schedule-atomic.h puts a point before
 * each operation of folio/atomic.h, so the exploration covers the header as shipped, at the
 * granularity of its atomic operations.
 *
 * The exploration is sequentially consistent; models/relacy covers weaker orders. But the switches
 * are hidden from TSan. So TSan knows only the ordering that the code under test makes itself:
 * where an acquire or a release is missing, it reports the unordered plain access, in whichever
 * interleaving shows it.
 *
 * All threads of a plan run on one processor, so that changing threads is a context switch and not
 * a wake-up across cores. Include this file once in a program, before any macro that renames
 * atomics.
 */
#ifndef FOLIO_TESTS_SCHEDULE_H
#define FOLIO_TESTS_SCHEDULE_H

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SCHEDULE_THREADS 4
/* A run with more decisions than this counts as endless. */
#define SCHEDULE_STEPS   512

struct schedule_plan {
	const char *name;
	unsigned threads;
	void (*begin)(void);                  /* before each run, alone */
	void (*body[SCHEDULE_THREADS])(void); /* each on its own thread */
	void (*end)(void); /* after each run, alone; calls schedule_fail on an error */
};

/* The slot in which one thread waits for its turn. */
struct schedule_seat {
	uint32_t turn;
	bool at_first_point;
	bool done;
	pthread_t thread;
	unsigned number;
} __attribute__((aligned(64)));

static struct {
	const struct schedule_plan *plan;
	struct schedule_seat seat[SCHEDULE_THREADS + 1]; /* the last one: the exploring thread */
	/* Decisions of the current run, and the alternatives still to be tried at each. */
	unsigned char chosen[SCHEDULE_STEPS];
	unsigned char untried[SCHEDULE_STEPS]; /* bit mask of threads */
	unsigned steps;
	unsigned replayed; /* decisions repeated from the last run */
	bool quit;
	const char *wrong; /* first violation of the run */
	uint32_t epoch;    /* orders begin() before the bodies */
	uint32_t finished; /* orders the bodies before end() */
} schedule;

static __thread struct schedule_seat *schedule_self;

/*
 * GCC excludes functions with this attribute from TSan: their atomics make no order that TSan
 * knows.
 */
#define SCHEDULE_HIDDEN __attribute__((noinline, no_sanitize("thread")))

SCHEDULE_HIDDEN static void schedule_wait_turn(struct schedule_seat *seat)
{
	while (!__atomic_exchange_n(&seat->turn, 0, __ATOMIC_ACQUIRE))
		syscall(SYS_futex, &seat->turn, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}

SCHEDULE_HIDDEN static void schedule_give_turn(struct schedule_seat *seat)
{
	__atomic_store_n(&seat->turn, 1, __ATOMIC_RELEASE);
	syscall(SYS_futex, &seat->turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

SCHEDULE_HIDDEN static void schedule_print(const char *what)
{
	unsigned i;

	fprintf(stderr, "plan %s: %s; schedule ", schedule.plan->name, what);
	for (i = 0; i < schedule.steps; i++)
		fputc('A' + schedule.chosen[i], stderr);
	fputc('\n', stderr);
}

/* Reports a violation. The current run continues to its end and is the last. */
SCHEDULE_HIDDEN static void schedule_fail(const char *what)
{
	if (!schedule.wrong) {
		schedule.wrong = what;
		schedule_print(what);
	}
}

/* Returns the next thread in this run, or the exploring thread when all are done. */
SCHEDULE_HIDDEN static struct schedule_seat *schedule_choose(struct schedule_seat *self)
{
	unsigned step = schedule.steps;
	unsigned ready = 0;
	unsigned i;

	for (i = 0; i < schedule.plan->threads; i++)
		if (!schedule.seat[i].done)
			ready |= 1u << i;
	if (!ready)
		return &schedule.seat[SCHEDULE_THREADS];
	if (step == SCHEDULE_STEPS) {
		schedule_print("does not end");
		exit(1);
	}
	if (step >= schedule.replayed) {
		/* Try first to continue without a switch. */
		if (self && !self->done)
			schedule.chosen[step] = self->number;
		else
			schedule.chosen[step] = __builtin_ctz(ready);
		schedule.untried[step] = ready & ~(1u << schedule.chosen[step]);
	}
	schedule.steps++;
	return &schedule.seat[schedule.chosen[step]];
}

/* Another thread of the plan may run here. Does nothing on threads that belong to no plan. */
SCHEDULE_HIDDEN static void schedule_point(void)
{
	struct schedule_seat *self = schedule_self;
	struct schedule_seat *next;

	if (!self)
		return;
	/* A thread that was chosen must do its first step, not stop in front of it. */
	if (self->at_first_point) {
		self->at_first_point = false;
		return;
	}
	next = schedule_choose(self);
	if (next != self) {
		schedule_give_turn(next);
		schedule_wait_turn(self);
	}
}

SCHEDULE_HIDDEN static bool schedule_enter(struct schedule_seat *seat)
{
	schedule_wait_turn(seat);
	schedule_self = seat;
	seat->at_first_point = true;
	return !schedule.quit;
}

SCHEDULE_HIDDEN static void schedule_leave(struct schedule_seat *seat)
{
	schedule_self = NULL;
	seat->done = true;
	schedule_give_turn(schedule_choose(seat));
}

static void *schedule_thread(void *argument)
{
	struct schedule_seat *seat = (struct schedule_seat *)argument;

	while (schedule_enter(seat)) {
		__atomic_load_n(&schedule.epoch, __ATOMIC_ACQUIRE);
		schedule.plan->body[seat->number]();
		__atomic_fetch_add(&schedule.finished, 1, __ATOMIC_RELEASE);
		schedule_leave(seat);
	}
	return NULL;
}

SCHEDULE_HIDDEN static void schedule_run(void)
{
	unsigned i;

	for (i = 0; i < schedule.plan->threads; i++)
		schedule.seat[i].done = false;
	schedule.steps = 0;
	schedule_give_turn(schedule_choose(NULL));
	schedule_wait_turn(&schedule.seat[SCHEDULE_THREADS]);
}

/* Changes the last decision that has an alternative. False when all have been tried. */
SCHEDULE_HIDDEN static bool schedule_next(void)
{
	unsigned step = schedule.steps;

	while (step-- > 0) {
		if (schedule.untried[step]) {
			schedule.chosen[step] = __builtin_ctz(schedule.untried[step]);
			schedule.untried[step] &= schedule.untried[step] - 1;
			schedule.replayed = step + 1;
			return true;
		}
	}
	return false;
}

SCHEDULE_HIDDEN static void schedule_quit(void)
{
	unsigned i;

	schedule.quit = true;
	for (i = 0; i < schedule.plan->threads; i++)
		schedule_give_turn(&schedule.seat[i]);
}

/* Tries each interleaving once and returns their number, or 0 after the first with a violation. */
static inline uint64_t schedule_explore(const struct schedule_plan *plan)
{
	cpu_set_t before, one;
	uint64_t runs = 0;
	unsigned i;

	memset(&schedule, 0, sizeof(schedule));
	schedule.plan = plan;
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	sched_getaffinity(0, sizeof(before), &before);
	sched_setaffinity(0, sizeof(one), &one);
	for (i = 0; i < plan->threads; i++) {
		schedule.seat[i].number = i;
		if (pthread_create(
			    &schedule.seat[i].thread, NULL, schedule_thread, &schedule.seat[i]))
			abort();
	}
	do {
		plan->begin();
		__atomic_store_n(&schedule.epoch, (uint32_t)runs, __ATOMIC_RELEASE);
		schedule_run();
		__atomic_load_n(&schedule.finished, __ATOMIC_ACQUIRE);
		plan->end();
		runs++;
	} while (!schedule.wrong && schedule_next());
	schedule_quit();
	for (i = 0; i < plan->threads; i++)
		pthread_join(schedule.seat[i].thread, NULL);
	sched_setaffinity(0, sizeof(before), &before);
	if (schedule.wrong)
		return 0;
	printf("# plan %s: %llu interleavings\n", plan->name, (unsigned long long)runs);
	return runs;
}

#endif
