/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * deadline.h - waits that end at a deadline.
 *
 * A deadline (@until) is an absolute time on CLOCK_MONOTONIC. NULL means no deadline.
 */
#ifndef FOLIO_SRC_BASE_DEADLINE_H
#define FOLIO_SRC_BASE_DEADLINE_H

#include <linux/futex.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <folio/atomic.h>

#include "base/pause.h"

/* The time @ms milliseconds from now. */
static inline struct timespec deadline_in(uint32_t ms)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	time.tv_sec += ms / 1000;
	time.tv_nsec += (long)(ms % 1000) * 1000000;
	if (time.tv_nsec >= 1000000000) {
		time.tv_sec++;
		time.tv_nsec -= 1000000000;
	}
	return time;
}

/* The earlier of two deadlines. */
static inline const struct timespec *deadline_first(
	const struct timespec *a, const struct timespec *b)
{
	if (!a || !b)
		return a ? a : b;
	return a->tv_sec < b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec < b->tv_nsec) ? a : b;
}

static inline bool deadline_passed(const struct timespec *until)
{
	struct timespec now;

	if (!until)
		return false;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec > until->tv_sec ||
	       (now.tv_sec == until->tv_sec && now.tv_nsec >= until->tv_nsec);
}

/*
 * As futex_wait, but returns false if the deadline has passed. The clock is checked after every
 * wake-up, so a thread that is woken again and again does not outlive its deadline.
 */
static inline bool futex_wait_until(folio_u32 *word, uint32_t seen, const struct timespec *until)
{
	FOLIO_PAUSE(futex_sleep, word);
	syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, seen, until, NULL,
		FUTEX_BITSET_MATCH_ANY);
	FOLIO_PAUSE(futex_woken, word);
	return !deadline_passed(until);
}

#if defined(__SANITIZE_THREAD__)
/*
 * TSan does not intercept pthread_mutex_clocklock and pthread_rwlock_clockrdlock; it does intercept
 * the timed locks, which take a CLOCK_REALTIME deadline. Convert @until to that clock.
 */
static inline struct timespec time_of_day(const struct timespec *until)
{
	struct timespec now, day;

	clock_gettime(CLOCK_MONOTONIC, &now);
	clock_gettime(CLOCK_REALTIME, &day);
	day.tv_sec += until->tv_sec - now.tv_sec;
	day.tv_nsec += until->tv_nsec - now.tv_nsec;
	if (day.tv_nsec < 0 || day.tv_nsec >= 1000000000) {
		int carry = day.tv_nsec < 0 ? -1 : 1;

		day.tv_sec += carry;
		day.tv_nsec -= carry * 1000000000L;
	}
	return day;
}

static inline int mutex_clocklock(pthread_mutex_t *lock, const struct timespec *until)
{
	struct timespec day = time_of_day(until);

	return pthread_mutex_timedlock(lock, &day);
}

static inline int rwlock_clockrdlock(pthread_rwlock_t *lock, const struct timespec *until)
{
	struct timespec day = time_of_day(until);

	return pthread_rwlock_timedrdlock(lock, &day);
}
#else
static inline int mutex_clocklock(pthread_mutex_t *lock, const struct timespec *until)
{
	return pthread_mutex_clocklock(lock, CLOCK_MONOTONIC, until);
}

static inline int rwlock_clockrdlock(pthread_rwlock_t *lock, const struct timespec *until)
{
	return pthread_rwlock_clockrdlock(lock, CLOCK_MONOTONIC, until);
}
#endif

/*
 * Take a lock, or wait for a condition, until the deadline. Return false if it has passed. After a
 * failed mutex_lock_until or rwlock_rdlock_until the lock is not held; after cond_wait_until it
 * always is.
 */
static inline bool mutex_lock_until(pthread_mutex_t *lock, const struct timespec *until)
{
	if (until)
		return mutex_clocklock(lock, until) == 0;
	pthread_mutex_lock(lock);
	return true;
}

static inline bool rwlock_rdlock_until(pthread_rwlock_t *lock, const struct timespec *until)
{
	if (until)
		return rwlock_clockrdlock(lock, until) == 0;
	pthread_rwlock_rdlock(lock);
	return true;
}

static inline bool cond_wait_until(
	pthread_cond_t *change, pthread_mutex_t *lock, const struct timespec *until)
{
	FOLIO_PAUSE(cond_sleep, change);
	if (until)
		return pthread_cond_clockwait(change, lock, CLOCK_MONOTONIC, until) == 0;
	pthread_cond_wait(change, lock);
	return true;
}

#endif
