/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * futex.h - sleep until a word changes, and wake the sleepers. Private to the process.
 *
 * Wake-ups may be spurious: every caller checks the word again. Waking a word on which no thread
 * sleeps, or whose memory has been reused since, is harmless.
 */
#ifndef FOLIO_SRC_BASE_FUTEX_H
#define FOLIO_SRC_BASE_FUTEX_H

#include <linux/futex.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <folio/atomic.h>

#include "base/pause.h"

/* Returns when woken, when *word no longer equals @seen, or spuriously: the caller checks again. */
static inline void futex_wait(folio_u32 *word, uint32_t seen)
{
	FOLIO_PAUSE(futex_sleep, word);
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
	FOLIO_PAUSE(futex_woken, word);
}

/* As futex_wait, for at most @ms milliseconds; UINT32_MAX means no limit. */
static inline void futex_wait_for(folio_u32 *word, uint32_t seen, uint32_t ms)
{
	struct timespec limit = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	FOLIO_PAUSE(futex_sleep, word);
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, ms == UINT32_MAX ? NULL : &limit, NULL,
		0);
	FOLIO_PAUSE(futex_woken, word);
}

static inline void futex_wake(folio_u32 *word, int count)
{
	FOLIO_PAUSE(futex_wake, word);
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

#endif
