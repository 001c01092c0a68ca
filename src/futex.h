/* SPDX-License-Identifier: BSD-2-Clause */
/* futex.h - wait until a word changes, wake who waits. Within the process. */
#ifndef FOLIO_SRC_FUTEX_H
#define FOLIO_SRC_FUTEX_H

#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <folio/atomic.h>

/* Returns when woken, when *word is not seen any more, or for no reason: the caller looks again. */
static inline void futex_wait(folio_u32 *word, uint32_t seen)
{
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

/* As futex_wait, for @ms milliseconds at most; UINT32_MAX: for ever. */
static inline void futex_wait_for(folio_u32 *word, uint32_t seen, uint32_t ms)
{
	struct timespec limit = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, ms == UINT32_MAX ? NULL : &limit, NULL,
		0);
}

static inline void futex_wake(folio_u32 *word, int count)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

#endif
