/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * delays.c - a library to preload: threads start late, and stop for a moment around their locks and
 * futexes. A test that relies on which thread is first then fails (run.py).
 *
 * FOLIO_DELAYS=SEED,RATE,LONGEST: a thread stops at RATE of 1,000 places, at most LONGEST
 * microseconds. Of four threads, one stops five times as often. After COUNT_MAX delays the process
 * continues without: a test that takes many locks ends, too.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COUNT_MAX 1500
#define START_MAX 20000 /* microseconds by which a thread starts late */

static _Atomic uint64_t state;
static atomic_uint count;
static unsigned rate, longest;
static _Thread_local unsigned bias;

__attribute__((constructor)) static void begin(void)
{
	const char *given = getenv("FOLIO_DELAYS");
	unsigned long long seed = 0;

	if (given && sscanf(given, "%llu,%u,%u", &seed, &rate, &longest) == 3 && longest)
		atomic_store(&state, seed);
	else
		rate = 0;
}

/* splitmix64 */
static uint64_t next(void)
{
	uint64_t x = atomic_fetch_add(&state, UINT64_C(0x9e3779b97f4a7c15));

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static void delay(void)
{
	int error = errno;

	if (!rate || atomic_load_explicit(&count, memory_order_relaxed) >= COUNT_MAX)
		return;
	if (!bias)
		bias = next() % 4 ? 1 : 5;
	if (next() % 1000 < (uint64_t)rate * bias) {
		atomic_fetch_add(&count, 1);
		usleep((useconds_t)(next() % longest));
	}
	errno = error;
}

/* The function of the C library that this one replaces. */
static void *real(void **cached, const char *name, const char *version)
{
	void *found = __atomic_load_n(cached, __ATOMIC_RELAXED);

	if (!found) {
		found = version ? dlvsym(RTLD_NEXT, name, version) : NULL;
		if (!found)
			found = dlsym(RTLD_NEXT, name);
		if (!found)
			abort();
		__atomic_store_n(cached, found, __ATOMIC_RELAXED);
	}
	return found;
}

#define REPLACE(name, version, parameters, arguments)                            \
	int name parameters                                                      \
	{                                                                        \
		static void *cached;                                             \
		int r;                                                           \
                                                                                 \
		delay();                                                         \
		r = ((int(*) parameters)real(&cached, #name, version))arguments; \
		delay();                                                         \
		return r;                                                        \
	}

REPLACE(pthread_mutex_lock, NULL, (pthread_mutex_t * mutex), (mutex))
REPLACE(pthread_mutex_trylock, NULL, (pthread_mutex_t * mutex), (mutex))
REPLACE(pthread_mutex_unlock, NULL, (pthread_mutex_t * mutex), (mutex))
/*
 * With the oldest version, which dlsym would return on x86, a waiter is not woken. Where glibc does
 * not have this one, it has only one.
 */
REPLACE(pthread_cond_wait, "GLIBC_2.3.2", (pthread_cond_t * cond, pthread_mutex_t *mutex),
	(cond, mutex))

long syscall(long number, ...)
{
	static void *cached;
	long argument[6], r;
	va_list list;
	int i;

	va_start(list, number);
	for (i = 0; i < 6; i++)
		argument[i] = va_arg(list, long);
	va_end(list);
	if (number == SYS_futex)
		delay();
	r = ((long (*)(long, ...))real(&cached, "syscall", NULL))(number, argument[0], argument[1],
		argument[2], argument[3], argument[4], argument[5]);
	if (number == SYS_futex)
		delay();
	return r;
}

struct start {
	void *(*function)(void *);
	void *argument;
};

static void *start_late(void *arg)
{
	struct start start = *(struct start *)arg;

	free(arg);
	if (rate && next() % 4 == 0)
		usleep((useconds_t)(next() % START_MAX));
	return start.function(start.argument);
}

int pthread_create(
	pthread_t *thread, const pthread_attr_t *attr, void *(*function)(void *), void *argument)
{
	static void *cached;
	struct start *start = malloc(sizeof(*start));
	int r;

	if (!start)
		return EAGAIN;
	*start = (struct start){function, argument};
	r = ((int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))real(
		&cached, "pthread_create", NULL))(thread, attr, start_late, start);
	if (r)
		free(start);
	delay();
	return r;
}
