/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * futex.h - wait until a word changes, wake who waits. Within the process.
 *
 * until: a point of CLOCK_MONOTONIC, or NULL: for ever.
 */
#ifndef FOLIO_SRC_FUTEX_H
#define FOLIO_SRC_FUTEX_H

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdbool.h>
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

static inline bool time_is_up(const struct timespec *until)
{
	struct timespec now;

	if (!until)
		return false;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec > until->tv_sec ||
	       (now.tv_sec == until->tv_sec && now.tv_nsec >= until->tv_nsec);
}

/* As futex_wait. Returns false when the time is up, also for who is woken again and again. */
static inline bool futex_wait_until(folio_u32 *word, uint32_t seen, const struct timespec *until)
{
	syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, seen, until, NULL,
		FUTEX_BITSET_MATCH_ANY);
	return !time_is_up(until);
}

#if defined(__SANITIZE_THREAD__)
/* TSan does not know the locks that take a clock, but those that go by the time of day. */
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

/* Locks, and the wait for a condition. False when the time is up; then the lock is not held, but that of the condition. */
static inline bool lock_until(pthread_mutex_t *lock, const struct timespec *until)
{
	if (until)
		return mutex_clocklock(lock, until) == 0;
	pthread_mutex_lock(lock);
	return true;
}

static inline bool read_lock_until(pthread_rwlock_t *lock, const struct timespec *until)
{
	if (until)
		return rwlock_clockrdlock(lock, until) == 0;
	pthread_rwlock_rdlock(lock);
	return true;
}

static inline bool cond_wait_until(
	pthread_cond_t *change, pthread_mutex_t *lock, const struct timespec *until)
{
	if (until)
		return pthread_cond_clockwait(change, lock, CLOCK_MONOTONIC, until) == 0;
	pthread_cond_wait(change, lock);
	return true;
}

static inline void futex_wake(folio_u32 *word, int count)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

#endif
