/* SPDX-License-Identifier: BSD-2-Clause */
/* asleep.h - how many threads sleep on a futex word, so that a test can wait for that. */
#ifndef FOLIO_TESTS_ASLEEP_H
#define FOLIO_TESTS_ASLEEP_H

#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The kernel counts the threads that it moves to another word, here the same one. */
static inline long asleep(void *word)
{
	return syscall(SYS_futex, word, FUTEX_REQUEUE_PRIVATE, 0, INT_MAX, word, 0);
}

#endif
