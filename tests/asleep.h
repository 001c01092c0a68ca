/* SPDX-License-Identifier: BSD-2-Clause */
/* asleep.h - how many threads sleep on a futex word, so that a test can wait for that. */
#ifndef FOLIO_TESTS_ASLEEP_H
#define FOLIO_TESTS_ASLEEP_H

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <folio/atomic.h>

/* The kernel counts the threads that it moves to another word, here the same one. */
static inline long asleep(void *word)
{
	return syscall(SYS_futex, word, FUTEX_REQUEUE_PRIVATE, 0, INT_MAX, word, 0);
}

/* Wait until a background thread has done what it was woken for, and sleeps on @wakeup again. */
static inline void wait_asleep(folio_u32 *wakeup)
{
	while (folio_u32_load_acquire(wakeup) || asleep(wakeup) != 1)
		sched_yield();
}

#endif
