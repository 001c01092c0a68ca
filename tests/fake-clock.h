/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake-clock.h - a clock that only the test moves, for a complete test program.
 *
 * The program defines the functions of libc that read a clock or wait until a time, and the library
 * is linked against them. A wait with a time limit ends when it would end anyway, or when the test
 * moves the clock to its limit. So an hour takes no time, and a test can check until when a thread
 * waits. Waits without a limit are left to libc.
 *
 * The fake is as strict as the kernel: a time with too many nanoseconds is refused. CLOCK_MONOTONIC
 * and CLOCK_REALTIME are decades apart, so a time of one is useless with the other, and the coarse
 * clocks lag behind by up to 4 ms.
 *
 * Times are in nanoseconds of CLOCK_MONOTONIC. Include this file once in a program.
 */
#ifndef FOLIO_TESTS_FAKE_CLOCK_H
#define FOLIO_TESTS_FAKE_CLOCK_H

#include <assert.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MILLISECOND INT64_C(1000000)
#define SECOND      (1000 * MILLISECOND)
#define COARSE_TICK (4 * MILLISECOND)

/* A wait with a time limit. */
struct fake_wait {
	int64_t until;
	void *word;             /* of a futex, or NULL */
	pthread_cond_t *change; /* or NULL; with neither, the thread polls */
	struct fake_wait *next, **link;
};

static struct {
	pthread_mutex_t lock;
	/* Guarded by lock. */
	int64_t now;
	int64_t day; /* by how much CLOCK_REALTIME is ahead */
	struct fake_wait *waits;
	unsigned count;
	uint64_t begun; /* waits so far */
} fake_clock = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.now = 1000 * SECOND,
	.day = 1700000000 * SECOND,
};

static long (*real_syscall)(long number, ...);
static int (*real_gettime)(clockid_t clock, struct timespec *time);

__attribute__((constructor)) static void fake_clock_init(void)
{
	*(void **)&real_syscall = dlsym(RTLD_NEXT, "syscall");
	*(void **)&real_gettime = dlsym(RTLD_NEXT, "clock_gettime");
}

/* ---- for tests ---- */

static inline int64_t clock_now(void)
{
	int64_t now;

	pthread_mutex_lock(&fake_clock.lock);
	now = fake_clock.now;
	pthread_mutex_unlock(&fake_clock.lock);
	return now;
}

/* How many threads wait with a time limit. */
static inline unsigned clock_waits(void)
{
	unsigned count;

	pthread_mutex_lock(&fake_clock.lock);
	count = fake_clock.count;
	pthread_mutex_unlock(&fake_clock.lock);
	return count;
}

/* How many such waits have begun so far. */
static inline uint64_t clock_waits_begun(void)
{
	uint64_t begun;

	pthread_mutex_lock(&fake_clock.lock);
	begun = fake_clock.begun;
	pthread_mutex_unlock(&fake_clock.lock);
	return begun;
}

/* The end of the wait that ends first; INT64_MAX if there is none. */
static inline int64_t clock_next(void)
{
	int64_t next = INT64_MAX;
	struct fake_wait *wait;

	pthread_mutex_lock(&fake_clock.lock);
	for (wait = fake_clock.waits; wait; wait = wait->next)
		if (wait->until < next)
			next = wait->until;
	pthread_mutex_unlock(&fake_clock.lock);
	return next;
}

/* Wake the thread, unless it polls. */
static inline bool fake_wait_wake(const struct fake_wait *wait)
{
	if (wait->word)
		real_syscall(SYS_futex, wait->word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
	if (wait->change)
		pthread_cond_broadcast(wait->change);
	return wait->word || wait->change;
}

/*
 * Move the clock forward to @now. Returns when every wait with a limit up to there has ended. Other
 * waits on the same word or condition may have been woken with them, and begin again.
 */
static inline void clock_move_to(int64_t now)
{
	struct fake_wait *wait;
	bool some;

	pthread_mutex_lock(&fake_clock.lock);
	assert(now >= fake_clock.now);
	fake_clock.now = now;
	/* Again and again: a thread that has begun to wait may not sleep yet. */
	do {
		some = false;
		for (wait = fake_clock.waits; wait; wait = wait->next) {
			if (wait->until > now)
				continue;
			fake_wait_wake(wait);
			some = true;
		}
		pthread_mutex_unlock(&fake_clock.lock);
		sched_yield();
		pthread_mutex_lock(&fake_clock.lock);
	} while (some);
	pthread_mutex_unlock(&fake_clock.lock);
}

/*
 * Wake the threads that wait for a futex or a condition, although nothing has happened. Returns
 * when one of them has ended its wait; it should begin to wait again. Those that poll are left.
 */
static inline void clock_disturb(void)
{
	struct fake_wait *wait;
	uint64_t begun;
	bool some;

	pthread_mutex_lock(&fake_clock.lock);
	begun = fake_clock.begun;
	do {
		some = false;
		for (wait = fake_clock.waits; wait; wait = wait->next)
			some |= fake_wait_wake(wait);
		pthread_mutex_unlock(&fake_clock.lock);
		sched_yield();
		pthread_mutex_lock(&fake_clock.lock);
	} while (some && fake_clock.begun == begun);
	pthread_mutex_unlock(&fake_clock.lock);
}

/* Move the clock forward to the next time that has @nsec nanoseconds after the full second. */
static inline void clock_move_to_nsec(int64_t nsec)
{
	clock_move_to((clock_now() / SECOND + 1) * SECOND + nsec);
}

/* Another process sets CLOCK_REALTIME: it jumps by @by. No wait of the library may notice. */
static inline void clock_set_day(int64_t by)
{
	pthread_mutex_lock(&fake_clock.lock);
	fake_clock.day += by;
	pthread_mutex_unlock(&fake_clock.lock);
}

/* ---- in place of libc ---- */

/* A time of @clock, or an interval (-1), in nanoseconds. The lock is held. */
static inline int64_t fake_clock_time(clockid_t clock, const struct timespec *time)
{
	int64_t since = clock == -1               ? fake_clock.now
			: clock == CLOCK_REALTIME ? -fake_clock.day
						  : 0;

	assert(time->tv_sec >= 0 && time->tv_nsec >= 0 && time->tv_nsec < SECOND);
	return since + time->tv_sec * SECOND + time->tv_nsec;
}

/* Begin a wait until @time of @clock, or for an interval (-1). False if the time has passed. */
static inline bool fake_wait_begin(
	struct fake_wait *wait, clockid_t clock, const struct timespec *time)
{
	bool passed;

	pthread_mutex_lock(&fake_clock.lock);
	wait->until = fake_clock_time(clock, time);
	passed = wait->until <= fake_clock.now;
	if (!passed) {
		wait->link = &fake_clock.waits;
		wait->next = fake_clock.waits;
		if (wait->next)
			wait->next->link = &wait->next;
		fake_clock.waits = wait;
		fake_clock.count++;
		fake_clock.begun++;
	}
	pthread_mutex_unlock(&fake_clock.lock);
	return !passed;
}

static inline bool fake_wait_passed(const struct fake_wait *wait)
{
	return wait->until <= clock_now();
}

/* End the wait. Returns true if its limit has passed. */
static inline bool fake_wait_end(struct fake_wait *wait)
{
	bool passed;

	pthread_mutex_lock(&fake_clock.lock);
	passed = wait->until <= fake_clock.now;
	*wait->link = wait->next;
	if (wait->next)
		wait->next->link = wait->link;
	fake_clock.count--;
	pthread_mutex_unlock(&fake_clock.lock);
	return passed;
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
	bool coarse = clock == CLOCK_MONOTONIC_COARSE || clock == CLOCK_REALTIME_COARSE;
	bool day = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
	int64_t now;

	if (!coarse && !day && clock != CLOCK_MONOTONIC)
		return real_gettime(clock, time);
	pthread_mutex_lock(&fake_clock.lock);
	now = fake_clock.now + (day ? fake_clock.day : 0);
	pthread_mutex_unlock(&fake_clock.lock);
	if (coarse)
		now -= now % COARSE_TICK;
	*time = (struct timespec){.tv_sec = now / SECOND, .tv_nsec = now % SECOND};
	return 0;
}

/* The result of a call that waits with a time limit, for those that set errno. */
static inline long fake_result(long result, bool passed)
{
	if (!passed)
		return result;
	errno = ETIMEDOUT;
	return -1;
}

long syscall(long number, ...)
{
	va_list list;
	void *word;
	int operation;
	uint32_t value, mask;
	const struct timespec *limit;
	struct fake_wait wait = {.word = NULL};
	clockid_t clock = -1;
	long result;

	assert(number == SYS_futex);
	va_start(list, number);
	word = va_arg(list, void *);
	operation = va_arg(list, int);
	value = va_arg(list, uint32_t);
	limit = va_arg(list, const struct timespec *);
	(void)va_arg(list, void *);
	mask = va_arg(list, uint32_t);
	va_end(list);
	if (!limit)
		return real_syscall(number, word, operation, value, NULL, NULL, mask);
	if ((operation & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET)
		clock = operation & FUTEX_CLOCK_REALTIME ? CLOCK_REALTIME : CLOCK_MONOTONIC;
	wait.word = word;
	if (!fake_wait_begin(&wait, clock, limit))
		return fake_result(0, true);
	operation &= ~FUTEX_CLOCK_REALTIME;
	result = real_syscall(number, word, operation, value, NULL, NULL, mask);
	assert(!result || errno == EAGAIN || errno == EINTR);
	return fake_result(result, fake_wait_end(&wait));
}

int pthread_cond_clockwait(pthread_cond_t *change, pthread_mutex_t *lock, clockid_t clock,
	const struct timespec *until)
{
	struct fake_wait wait = {.change = change};

	if (!fake_wait_begin(&wait, clock, until))
		return ETIMEDOUT;
	pthread_cond_wait(change, lock);
	return fake_wait_end(&wait) ? ETIMEDOUT : 0;
}

static inline int fake_try_mutex(void *lock)
{
	return pthread_mutex_trylock(lock);
}

static inline int fake_try_rwlock(void *lock)
{
	return pthread_rwlock_tryrdlock(lock);
}

/* Poll for a lock: @attempt tries to take it. */
static inline int fake_lock(
	int (*attempt)(void *lock), void *lock, clockid_t clock, const struct timespec *until)
{
	int error = attempt(lock);
	struct fake_wait wait = {.word = NULL};

	if (error != EBUSY)
		return error;
	if (!fake_wait_begin(&wait, clock, until))
		return ETIMEDOUT;
	while (error == EBUSY && !fake_wait_passed(&wait)) {
		sched_yield();
		error = attempt(lock);
	}
	fake_wait_end(&wait);
	return error == EBUSY ? ETIMEDOUT : error;
}

int pthread_mutex_clocklock(pthread_mutex_t *lock, clockid_t clock, const struct timespec *until)
{
	return fake_lock(fake_try_mutex, lock, clock, until);
}

int pthread_rwlock_clockrdlock(
	pthread_rwlock_t *lock, clockid_t clock, const struct timespec *until)
{
	return fake_lock(fake_try_rwlock, lock, clock, until);
}

/* What base/deadline.h uses instead of these two with TSan. */
int pthread_mutex_timedlock(pthread_mutex_t *lock, const struct timespec *until)
{
	return fake_lock(fake_try_mutex, lock, CLOCK_REALTIME, until);
}

int pthread_rwlock_timedrdlock(pthread_rwlock_t *lock, const struct timespec *until)
{
	return fake_lock(fake_try_rwlock, lock, CLOCK_REALTIME, until);
}

int nanosleep(const struct timespec *interval, struct timespec *left)
{
	struct fake_wait wait = {.word = NULL};

	(void)left;
	if (!fake_wait_begin(&wait, -1, interval))
		return 0;
	while (!fake_wait_passed(&wait))
		sched_yield();
	fake_wait_end(&wait);
	return 0;
}

#endif
