/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * serial.c - --serial: one thread runs at a time, and the next one is drawn from the seed.
 *
 * A turn ends where a thread would yield or wait, and sometimes at a pause point. Between two of
 * these points the thread runs alone. So the complete run is a function of the seed, and a failure
 * repeats at the same turn. In return, serial mode does not show what happens between two pause
 * points, nor any effect of the hardware.
 *
 * It works for mode counter only: the other modes have threads of the library, and locks that are
 * held across a pause point.
 */
#include <errno.h>
#include <sched.h>
#include <semaphore.h>

#include "torture.h"

/* Guarded by the turn. */
static struct rng serial_rng;
static uint64_t turns;
static unsigned running[WORKERS_MAX], running_count;

/* Posted when the worker's turn begins. */
static sem_t turn[WORKERS_MAX];

static _Thread_local unsigned self;

static void wait_for_turn(void)
{
	while (sem_wait(&turn[self]) && errno == EINTR)
		continue;
}

static unsigned draw(void)
{
	turns++;
	return running[rng_below(&serial_rng, running_count)];
}

void serial_begin(void)
{
	unsigned i;

	serial_rng.state = mix64(options.seed);
	turns = 0;
	running_count = options.threads;
	for (i = 0; i < running_count; i++) {
		running[i] = i;
		sem_init(&turn[i], 0, 0);
	}
	sem_post(&turn[draw()]);
}

void serial_enter(unsigned number)
{
	self = number;
	if (options.serial)
		wait_for_turn();
}

void serial_leave(void)
{
	unsigned i = 0;

	if (!options.serial)
		return;
	while (running[i] != self)
		i++;
	running[i] = running[--running_count];
	if (running_count)
		sem_post(&turn[draw()]);
}

void yield_turn(void)
{
	unsigned next;

	/* Without workers there is only the thread that sets up and cleans up. */
	if (!options.serial || !running_count) {
		sched_yield();
		return;
	}
	next = draw();
	if (next != self) {
		sem_post(&turn[next]);
		wait_for_turn();
	}
}

void serial_point(void)
{
	if (options.serial && rng_one_in(&serial_rng, 4))
		yield_turn();
}

void torture_lock(pthread_mutex_t *lock)
{
	if (!options.serial)
		pthread_mutex_lock(lock);
	else
		while (pthread_mutex_trylock(lock))
			yield_turn();
}

uint64_t serial_turns(void)
{
	return turns;
}
