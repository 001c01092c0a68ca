/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * futex.h - the kernel's side of futex(2) and of the clock, for the models: the scheduler does the
 * waiting. The library's side is src/base/futex.h and src/base/deadline.h themselves.
 *
 * A thread that is never woken is a deadlock, which Relacy reports. The kernel also wakes threads
 * spuriously; that only makes the caller check again, and is left out so that searches end.
 *
 * Time passes only in waits: any wait that has a deadline may end at it, and a thread that was
 * woken may run after its deadline. Deadlines that are very far away are never reached.
 */
#ifndef MODEL_FUTEX_H
#define MODEL_FUTEX_H

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "model.h"

#define CLOCK_START 1
#define CLOCK_NEVER 1000000 /* seconds */

static struct timespec model_clock;
static void (*clock_hook)(); /* called when a thread reads the clock; NULL: nothing */

/* Called first in each execution in which a deadline may pass. */
static inline void clock_begin()
{
	model_clock = {CLOCK_START, 0};
	clock_hook = NULL;
}

static inline int kernel_clock(struct timespec *time)
{
	if (clock_hook)
		clock_hook();
	*time = model_clock;
	return 0;
}

/* Memory that was freed in this execution. A wake of a word in it wakes no thread. */
static const char *freed_from, *freed_to;

static inline void kernel_wait(folio_u32 *word, uint32_t seen, const struct timespec *until)
{
	bool timed = until && until->tv_sec < CLOCK_NEVER;
	rl::context &context = rl::ctx();
	rl::unpark_reason reason = rl::unpark_reason_normal;

	context.sched();
	if (word->debug_value() == seen) {
		/* No switch between the check and the wait: the kernel holds a lock over both. */
		reason = word->wait(context, timed, false, RL_INFO);
	} else {
		/*
		 * The kernel read the newest value on this thread, so the thread's next load
		 * returns nothing older. A failing compare-and-swap tells Relacy so.
		 */
		rl::preemption_disabler no_switch(context);

		folio_u32_cas_relaxed(word, &seen, seen);
	}
	if (timed && (reason == rl::unpark_reason_timeout || rl::rand(2)))
		model_clock = *until;
}

static inline long kernel_futex(
	folio_u32 *word, int op, uint32_t value, const struct timespec *time)
{
	if (op == FUTEX_WAKE_PRIVATE) {
		rl::ctx().sched();
		if ((const char *)word >= freed_from && (const char *)word < freed_to)
			return 0;
		return word->wake(rl::ctx(), value, RL_INFO);
	}
	/* The deadline of FUTEX_WAIT is relative; no model has one. */
	CLAIM(op == FUTEX_WAIT_BITSET_PRIVATE || (op == FUTEX_WAIT_PRIVATE && !time),
		"unknown call");
	kernel_wait(word, value, time);
	return 0;
}

#define syscall(number, word, op, value, time, ...)    kernel_futex(word, op, value, time)
#define clock_gettime(clock, time)                     kernel_clock(time)
#define pthread_mutex_clocklock(lock, clock, until)    pthread_mutex_timedlock(lock, until)
#define pthread_rwlock_clockrdlock(lock, clock, until) ((void)(until), pthread_rwlock_rdlock(lock))
#define pthread_cond_clockwait(change, lock, clock, until) \
	pthread_cond_timedwait(change, lock, until)

#include "base/deadline.h"
#include "base/futex.h"

#endif
