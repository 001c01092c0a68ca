/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * timed-call.h - calls with a time limit, each on a separate thread, with a clock that the test
 * moves.
 *
 * A test takes one step at a time: it begins a call, waits until the call waits, moves the clock or
 * lets the call continue, and takes the result.
 */
#ifndef FOLIO_TESTS_TIMED_CALL_H
#define FOLIO_TESTS_TIMED_CALL_H

#include <pthread.h>

#include "cache-test.h"
#include "fake-clock.h"

struct world; /* what the calls of a test work on */

struct timed_call {
	struct world *world;
	ssize_t (*run)(struct world *world, uint64_t arg);
	uint64_t arg;
	ssize_t result;
	folio_u32 done;
	pthread_t thread;
};

static inline void *timed_call_thread(void *arg)
{
	struct timed_call *call = arg;

	call->result = call->run(call->world, call->arg);
	folio_u32_store_release(&call->done, 1);
	return NULL;
}

/*
 * Begin a call, and wait until it waits with a time limit. @waits: how many threads do so then,
 * with those of calls before.
 */
static inline void call_start(struct timed_call *call, struct world *world,
	ssize_t (*run)(struct world *world, uint64_t arg), uint64_t arg, unsigned waits)
{
	*call = (struct timed_call){.world = world, .run = run, .arg = arg};
	assert_int_equal(pthread_create(&call->thread, NULL, timed_call_thread, call), 0);
	wait_until(clock_waits() == waits || folio_u32_load_acquire(&call->done));
	assert_int_equal(folio_u32_load_acquire(&call->done), 0);
}

/* The result of a call that ends now. */
static inline ssize_t call_result(struct timed_call *call)
{
	pthread_join(call->thread, NULL);
	return call->result;
}

/*
 * The call waits until its deadline, @ms from now, neither longer nor less, and is not misled by a
 * wake-up without a reason. No other thread waits with a time limit.
 */
static inline void check_timeout(struct world *world,
	ssize_t (*run)(struct world *world, uint64_t arg), uint64_t arg, uint32_t ms)
{
	int64_t end = clock_now() + ms * MILLISECOND;
	struct timed_call call;
	uint64_t begun;
	unsigned i;

	call_start(&call, world, run, arg, 1);
	assert_int_equal(clock_next(), end);
	clock_move_to(end - 1);
	clock_disturb();
	wait_until(clock_waits() == 1 || folio_u32_load_acquire(&call.done));
	/* It sleeps. Were it to poll, it would begin one wait after the other. */
	begun = clock_waits_begun();
	for (i = 0; i < 20; i++)
		sched_yield();
	assert_in_range(clock_waits_begun() - begun, 0, 3);
	assert_int_equal(clock_next(), end);
	clock_move_to(end);
	assert_int_equal(call_result(&call), -ETIMEDOUT);
}

/* Timeouts in milliseconds, and nanoseconds after a full second at which they begin. */
static const uint32_t timed_ms[] = {1, 20, 999, 1000, 1500, 3600000, UINT32_MAX};
static const int64_t timed_nsec[] = {0, 1, 499999999, 500000000, 999999999};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#endif
