/* SPDX-License-Identifier: BSD-2-Clause */
/* Deadlines, and each kind of wait (base/deadline.h), with a clock that the test moves. */
#include "timed-call.h"
#include "base/deadline.h"
#include "base/futex.h"

static int64_t time_of(struct timespec time)
{
	assert_in_range(time.tv_nsec, 0, SECOND - 1);
	return time.tv_sec * SECOND + time.tv_nsec;
}

static void test_deadline_in(void **state)
{
	struct timespec until;
	size_t i, j;

	(void)state;
	for (i = 0; i < COUNT(timed_ms); i++) {
		for (j = 0; j < COUNT(timed_nsec); j++) {
			int64_t end;

			clock_move_to_nsec(timed_nsec[j]);
			end = clock_now() + timed_ms[i] * MILLISECOND;
			until = deadline_in(timed_ms[i]);
			assert_int_equal(time_of(until), end);
			assert_false(deadline_passed(&until));
			clock_move_to(end - 1);
			assert_false(deadline_passed(&until));
			clock_move_to(end);
			assert_true(deadline_passed(&until));
			clock_move_to_nsec(0);
			assert_true(deadline_passed(&until));
			clock_move_to(end + 2000 * SECOND);
			assert_true(deadline_passed(&until));
		}
	}
	assert_false(deadline_passed(NULL));
}

static void test_deadline_first(void **state)
{
	static const struct timespec times[] = {{1, 1}, {1, 999999999}, {2, 0}, {2, 1}, {3, 0}};
	size_t i, j;

	(void)state;
	for (i = 0; i < COUNT(times); i++) {
		assert_ptr_equal(deadline_first(&times[i], NULL), &times[i]);
		assert_ptr_equal(deadline_first(NULL, &times[i]), &times[i]);
		for (j = 0; j < COUNT(times); j++)
			assert_int_equal(time_of(*deadline_first(&times[i], &times[j])),
				time_of(times[i < j ? i : j]));
	}
	assert_null(deadline_first(NULL, NULL));
}

/* ---- waits ---- */

struct world {
	folio_u32 word;
	pthread_mutex_t mutex;
	pthread_rwlock_t rwlock;
	pthread_cond_t change;
	bool changed;
};

/* Each waits for at most @ms. Returns 0 or -ETIMEDOUT. */

static ssize_t wait_futex(struct world *world, uint64_t ms)
{
	struct timespec until = deadline_in((uint32_t)ms);

	while (!folio_u32_load_acquire(&world->word))
		if (!futex_wait_until(&world->word, 0, &until))
			return -ETIMEDOUT;
	return 0;
}

/* A wait that does not say why it has ended. */
static ssize_t wait_futex_for(struct world *world, uint64_t ms)
{
	int64_t end = clock_now() + (int64_t)ms * MILLISECOND;

	futex_wait_for(&world->word, 0, (uint32_t)ms);
	return clock_now() >= end ? -ETIMEDOUT : 0;
}

static ssize_t wait_mutex(struct world *world, uint64_t ms)
{
	struct timespec until = deadline_in((uint32_t)ms);

	if (!mutex_lock_until(&world->mutex, &until))
		return -ETIMEDOUT;
	pthread_mutex_unlock(&world->mutex);
	return 0;
}

static ssize_t wait_rwlock(struct world *world, uint64_t ms)
{
	struct timespec until = deadline_in((uint32_t)ms);

	if (!rwlock_rdlock_until(&world->rwlock, &until))
		return -ETIMEDOUT;
	pthread_rwlock_unlock(&world->rwlock);
	return 0;
}

static ssize_t wait_condition(struct world *world, uint64_t ms)
{
	struct timespec until = deadline_in((uint32_t)ms);
	bool in_time = true;

	pthread_mutex_lock(&world->mutex);
	while (in_time && !world->changed)
		in_time = cond_wait_until(&world->change, &world->mutex, &until);
	pthread_mutex_unlock(&world->mutex);
	return in_time ? 0 : -ETIMEDOUT;
}

static void world_begin(struct world *world)
{
	memset(world, 0, sizeof(*world));
	pthread_mutex_init(&world->mutex, NULL);
	pthread_rwlock_init(&world->rwlock, NULL);
	pthread_cond_init(&world->change, NULL);
}

static void world_end(struct world *world)
{
	pthread_cond_destroy(&world->change);
	pthread_rwlock_destroy(&world->rwlock);
	pthread_mutex_destroy(&world->mutex);
}

static void test_until_deadline(void **state)
{
	struct world world;
	size_t i, j;

	(void)state;
	world_begin(&world);
	for (i = 0; i < COUNT(timed_ms); i++) {
		for (j = 0; j < COUNT(timed_nsec); j++) {
			uint32_t ms = timed_ms[i];

			clock_move_to_nsec(timed_nsec[j]);
			check_timeout(&world, wait_futex, ms, ms);
			check_timeout(&world, wait_condition, ms, ms);
			pthread_mutex_lock(&world.mutex);
			check_timeout(&world, wait_mutex, ms, ms);
			pthread_mutex_unlock(&world.mutex);
			pthread_rwlock_wrlock(&world.rwlock);
			check_timeout(&world, wait_rwlock, ms, ms);
			pthread_rwlock_unlock(&world.rwlock);
		}
	}
	world_end(&world);
}

/* A wait for an interval; UINT32_MAX is no limit here. */
static void test_interval(void **state)
{
	struct timed_call call;
	struct world world;
	size_t i;

	(void)state;
	world_begin(&world);
	for (i = 0; i < COUNT(timed_ms) && timed_ms[i] != UINT32_MAX; i++) {
		int64_t end = clock_now() + timed_ms[i] * MILLISECOND;

		call_start(&call, &world, wait_futex_for, timed_ms[i], 1);
		assert_int_equal(clock_next(), end);
		clock_move_to(end);
		assert_int_equal(call_result(&call), -ETIMEDOUT);
	}
	world_end(&world);
}

/* What a thread waits for comes in time, or was there already. */
static void test_in_time(void **state)
{
	struct timed_call call[4];
	struct world world;
	int64_t end;
	unsigned i;

	(void)state;
	world_begin(&world);
	end = clock_now() + 3600 * SECOND;
	call_start(&call[0], &world, wait_condition, 3600000, 1);
	call_start(&call[1], &world, wait_futex, 3600000, 2);
	pthread_mutex_lock(&world.mutex);
	pthread_rwlock_wrlock(&world.rwlock);
	call_start(&call[2], &world, wait_mutex, 3600000, 3);
	call_start(&call[3], &world, wait_rwlock, 3600000, 4);
	clock_move_to(end - 1);
	assert_int_equal(clock_waits(), 4);
	folio_u32_store_release(&world.word, 1);
	futex_wake(&world.word, INT_MAX);
	pthread_rwlock_unlock(&world.rwlock);
	world.changed = true;
	pthread_cond_broadcast(&world.change);
	pthread_mutex_unlock(&world.mutex);
	for (i = 0; i < 4; i++)
		assert_int_equal(call_result(&call[i]), 0);
	assert_int_equal(wait_mutex(&world, 1), 0);
	assert_int_equal(wait_rwlock(&world, 1), 0);
	assert_int_equal(wait_condition(&world, 1), 0);
	assert_int_equal(wait_futex(&world, 1), 0);
	/* Without a deadline. */
	assert_true(mutex_lock_until(&world.mutex, NULL));
	assert_int_equal(pthread_mutex_trylock(&world.mutex), EBUSY);
	pthread_mutex_unlock(&world.mutex);
	assert_true(rwlock_rdlock_until(&world.rwlock, NULL));
	assert_int_equal(pthread_rwlock_trywrlock(&world.rwlock), EBUSY);
	pthread_rwlock_unlock(&world.rwlock);
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_deadline_in),
		cmocka_unit_test(test_deadline_first),
		cmocka_unit_test(test_until_deadline),
		cmocka_unit_test(test_interval),
		cmocka_unit_test(test_in_time),
	};

	test_begin("waits");
	alarm(300);
	return cmocka_run_group_tests_name("waits", tests, NULL, NULL);
}
