/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Read-side sections: what is deferred waits for them, threads come and go by themselves, and a
 * child of fork can use all of it.
 */
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <folio/atomic.h>

#include "grace.h"

#define ALIVE UINT64_C(0x11feb0a7)
#define DEAD  UINT64_C(0xdeadbeef)

static unsigned scaled(unsigned work)
{
	const char *scale = getenv("FOLIO_TEST_SCALE");
	double factor = scale ? atof(scale) : 1;

	return factor * work > 1 ? (unsigned)(factor * work) : 1;
}

/* Freed by writing DEAD into it and keeping it, so that who reads it too late can tell. */
struct object {
	uint64_t state;
	struct object *next; /* all there were, to be freed at the end */
	struct grace_head grace;
};

static folio_u64 objects_freed;

static void object_free(struct grace_head *head)
{
	struct object *object = caa_container_of(head, struct object, grace);

	object->state = DEAD;
	folio_u64_fetch_add_relaxed(&objects_freed, 1);
}

static struct object *object_new(struct object *next)
{
	struct object *object = calloc(1, sizeof(*object));

	assert_non_null(object);
	object->state = ALIVE;
	object->next = next;
	return object;
}

static void objects_drop(struct object *object)
{
	struct object *next;

	for (; object; object = next) {
		next = object->next;
		free(object);
	}
}

static void test_attach_is_idempotent(void **state)
{
	assert_int_equal(grace_thread_attach(), 0);
	assert_int_equal(grace_thread_attach(), 0);
	grace_read_lock();
	assert_int_equal(grace_thread_attach(), 0);
	grace_read_unlock();
}

/*
 * Everything deferred before has been called when the barrier returns; what a callback defers
 * itself, at the next.
 */
static void defer_again(struct grace_head *head)
{
	grace_defer(head, object_free);
}

static void test_barrier(void **state)
{
	uint64_t before = folio_u64_load_relaxed(&objects_freed);
	struct object *objects = NULL;
	unsigned i;

	for (i = 0; i < 1000; i++) {
		objects = object_new(objects);
		grace_defer(&objects->grace, object_free);
	}
	grace_barrier();
	assert_int_equal(folio_u64_load_relaxed(&objects_freed), before + 1000);
	objects_drop(objects);

	objects = object_new(NULL);
	/* From inside a section, too. */
	grace_read_lock();
	grace_defer(&objects->grace, defer_again);
	grace_read_unlock();
	grace_barrier();
	grace_barrier();
	assert_int_equal(folio_u64_load_relaxed(&objects_freed), before + 1001);
	assert_int_equal(objects->state, DEAD);
	objects_drop(objects);
	/* Nothing to wait for. */
	grace_barrier();
}

/*
 * A section in this thread, nested; a callback has every chance to come too early: another thread
 * defers it and waits at a barrier, while this one looks at the object all the time until the other
 * stands there.
 */
struct waiter {
	struct object *object;
	folio_u32 deferred, done;
};

static void *waiter_run(void *argument)
{
	struct waiter *waiter = argument;

	if (grace_thread_attach())
		return "attach";
	grace_defer(&waiter->object->grace, object_free);
	folio_u32_store_release(&waiter->deferred, 1);
	grace_barrier();
	/* release: pairs with the load in the test. */
	folio_u32_store_release(&waiter->done, 1);
	return NULL;
}

static void test_section_holds_up(void **state)
{
	struct waiter waiter = {.object = object_new(NULL)};
	void *failed;
	pthread_t thread;
	unsigned i;

	grace_read_lock();
	grace_read_lock();
	assert_int_equal(pthread_create(&thread, NULL, waiter_run, &waiter), 0);
	while (!folio_u32_load_acquire(&waiter.deferred))
		sched_yield();
	grace_read_unlock();
	/* The inner section's end is not the end. */
	for (i = 0; i < 10000; i++) {
		assert_int_equal(__atomic_load_n(&waiter.object->state, __ATOMIC_RELAXED), ALIVE);
		assert_int_equal(folio_u32_load_acquire(&waiter.done), 0);
		sched_yield();
	}
	grace_read_unlock();
	pthread_join(thread, &failed);
	assert_null(failed);
	assert_int_equal(waiter.done, 1);
	assert_int_equal(waiter.object->state, DEAD);
	objects_drop(waiter.object);
}

/*
 * Readers follow a pointer that a writer keeps replacing; what they found stays as it was until the
 * end of their section.
 */
struct race {
	folio_ptr current;
	folio_u64 violations, looks;
	folio_u32 stop;
};

static void *race_reader(void *argument)
{
	struct race *race = argument;
	struct object *object;
	unsigned i;

	if (grace_thread_attach())
		folio_u64_fetch_add_relaxed(&race->violations, 1);
	while (!folio_u32_load_relaxed(&race->stop)) {
		grace_read_lock();
		/* acquire: pairs with the release that published the object. */
		object = folio_ptr_load_acquire(&race->current);
		for (i = 0; i < 20; i++) {
			if (object->state != ALIVE)
				folio_u64_fetch_add_relaxed(&race->violations, 1);
			if (i == 10)
				sched_yield();
		}
		grace_read_unlock();
		folio_u64_fetch_add_relaxed(&race->looks, 1);
	}
	return NULL;
}

static void test_race(void **state)
{
	struct object *objects = object_new(NULL), *old;
	unsigned i, steps = scaled(2000);
	struct race race = {0};
	pthread_t thread[2];

	folio_ptr_store_release(&race.current, objects);
	for (i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, race_reader, &race), 0);
	for (i = 0; i < steps || folio_u64_load_relaxed(&race.looks) < 100; i++) {
		old = objects;
		objects = object_new(objects);
		folio_ptr_store_release(&race.current, objects);
		grace_defer(&old->grace, object_free);
		if (i % 256 == 0)
			grace_barrier();
		if (i % 16 == 0)
			sched_yield();
	}
	folio_u32_store_relaxed(&race.stop, 1);
	for (i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(folio_u64_load_relaxed(&race.violations), 0);
	grace_barrier();
	objects_drop(objects);
}

/*
 * A thread leaves liburcu's list when it ends, and again when another key's destructor has used the
 * library after that. Destructors run in rounds, for the keys that have a value; a destructor that
 * sets its own value again runs in the next round, too.
 */
static pthread_key_t late_key;
/* Atomic: to TSan the thread has ended before its destructors run. */
static folio_u32 late_round, registered_in_round[8];

static void late(void *value)
{
	uint32_t round = folio_u32_fetch_add_relaxed(&late_round, 1) + 1;

	folio_u32_store_relaxed(&registered_in_round[round], URCU_TLS(urcu_memb_reader).registered);
	if (round == 2)
		grace_thread_attach();
	if (round < 4)
		pthread_setspecific(late_key, value);
}

static void *late_run(void *argument)
{
	pthread_setspecific(late_key, &late_key);
	if (grace_thread_attach())
		return "attach";
	grace_read_lock();
	grace_read_unlock();
	return NULL;
}

static void test_thread_ends(void **state)
{
	pthread_t thread;
	void *failed;

	assert_int_equal(pthread_key_create(&late_key, late), 0);
	assert_int_equal(pthread_create(&thread, NULL, late_run, NULL), 0);
	pthread_join(thread, &failed);
	assert_null(failed);
	assert_int_equal(folio_u32_load_relaxed(&late_round), 4);
	assert_int_equal(folio_u32_load_relaxed(&registered_in_round[2]), 0);
	assert_int_equal(folio_u32_load_relaxed(&registered_in_round[4]), 0);
	pthread_key_delete(late_key);
}

/* Threads by the hundred, one after the other and side by side, with the memory of those before. */
static void *brief(void *argument)
{
	struct object *object = argument;

	if (grace_thread_attach())
		return "attach";
	grace_read_lock();
	grace_defer(&object->grace, object_free);
	grace_read_unlock();
	return NULL;
}

static struct object *brief_threads(unsigned rounds)
{
	struct object *objects = NULL;
	pthread_t thread[8];
	void *failed;
	unsigned i;

	while (rounds--) {
		for (i = 0; i < 8; i++) {
			objects = object_new(objects);
			assert_int_equal(pthread_create(&thread[i], NULL, brief, objects), 0);
		}
		for (i = 0; i < 8; i++) {
			pthread_join(thread[i], &failed);
			assert_null(failed);
		}
	}
	return objects;
}

static void test_many_threads(void **state)
{
	uint64_t before = folio_u64_load_relaxed(&objects_freed);
	unsigned rounds = scaled(30);
	struct object *objects = brief_threads(rounds);

	grace_barrier();
	assert_int_equal(folio_u64_load_relaxed(&objects_freed), before + rounds * 8);
	objects_drop(objects);
}

/*
 * A thread that is registered with liburcu by somebody else is not registered again, and is left as
 * it was.
 */
static void *foreign(void *argument)
{
	urcu_memb_register_thread();
	if (grace_thread_attach())
		return "attach";
	grace_read_lock();
	grace_read_unlock();
	urcu_memb_unregister_thread();
	return NULL;
}

static void test_registered_by_others(void **state)
{
	pthread_t thread;
	void *failed;

	assert_int_equal(pthread_create(&thread, NULL, foreign, NULL), 0);
	pthread_join(thread, &failed);
	assert_null(failed);
	grace_barrier();
}

/*
 * fork, with a thread in a section and one that is attached only. Neither exists in the child,
 * which opens sections, starts threads (in the memory of those two) and waits for grace periods.
 */
struct bystander {
	pthread_t thread;
	bool in_section;
	sem_t ready, leave;
};

static void *bystander_run(void *argument)
{
	struct bystander *bystander = argument;

	if (grace_thread_attach())
		abort();
	if (bystander->in_section)
		grace_read_lock();
	sem_post(&bystander->ready);
	while (sem_wait(&bystander->leave))
		;
	if (bystander->in_section)
		grace_read_unlock();
	return NULL;
}

static int child_main(void)
{
	uint64_t before = folio_u64_load_relaxed(&objects_freed);
	struct object *objects;

	alarm(60); /* should a grace period wait for a thread that is not there */
	/* The reclaimer is not here; what it left undone is no business of the child's. */
	if (grace_open())
		return 2;
	grace_barrier();
	if (folio_u64_load_relaxed(&objects_freed) != before)
		return 5;
	objects = object_new(NULL);
	grace_read_lock();
	grace_defer(&objects->grace, object_free);
	grace_read_unlock();
	grace_barrier();
	if (objects->state != DEAD)
		return 3;
	objects_drop(objects);
	objects = brief_threads(3);
	grace_barrier();
	objects_drop(objects);
	if (folio_u64_load_relaxed(&objects_freed) != before + 25)
		return 4;
	grace_close();
	return 0;
}

static void test_fork(void **state)
{
	struct bystander bystander[2] = {{.in_section = true}, {.in_section = false}};
	struct object *object, *pending;
	unsigned i, round;
	int status;
	pid_t pid;

#ifdef GRACE_TSAN
	/* TSan refuses threads in the child of a process with threads. */
	print_message("# left out: not under this sanitizer\n");
	return;
#endif
	for (round = 0; round < 3; round++) {
		/*
		 * No grace period runs while the section is open: fork would wait for it.
		 */
		grace_barrier();
		pending = object_new(NULL);
		grace_defer(&pending->grace, object_free);
		for (i = 0; i < 2; i++) {
			sem_init(&bystander[i].ready, 0, 0);
			sem_init(&bystander[i].leave, 0, 0);
			assert_int_equal(pthread_create(&bystander[i].thread, NULL, bystander_run,
						 &bystander[i]),
				0);
			while (sem_wait(&bystander[i].ready))
				;
		}
		fflush(NULL);
		pid = fork();
		if (!pid)
			_exit(child_main());
		assert_true(pid > 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 0);
		/* The parent goes on as before. */
		for (i = 0; i < 2; i++) {
			sem_post(&bystander[i].leave);
			pthread_join(bystander[i].thread, NULL);
			sem_destroy(&bystander[i].ready);
			sem_destroy(&bystander[i].leave);
		}
		object = object_new(NULL);
		grace_defer(&object->grace, object_free);
		grace_barrier();
		assert_int_equal(object->state, DEAD);
		objects_drop(object);
		assert_int_equal(pending->state, DEAD);
		objects_drop(pending);
	}
}

/* One after the other, oldest first, however many of them wait for the same grace period. */
static struct ordered {
	struct grace_head grace;
	unsigned number;
} ordered[1000];
static unsigned ordered_next; /* the reclaimer's, until the barrier */

static void ordered_call(struct grace_head *head)
{
	struct ordered *one = caa_container_of(head, struct ordered, grace);

	if (one->number == ordered_next)
		ordered_next++;
}

static void test_order(void **state)
{
	unsigned i;

	ordered_next = 0;
	for (i = 0; i < 1000; i++) {
		ordered[i].number = i;
		grace_defer(&ordered[i].grace, ordered_call);
	}
	grace_barrier();
	assert_int_equal(ordered_next, 1000);
}

/*
 * Memory does not pile up when nobody ever asks for a barrier: after so many defers somebody is called. The wait is
 * for that.
 */
static void test_without_barrier(void **state)
{
	uint64_t before = folio_u64_load_relaxed(&objects_freed);
	struct object *objects = NULL;
	unsigned i;

	for (i = 0; i < 1000; i++) {
		objects = object_new(objects);
		grace_defer(&objects->grace, object_free);
	}
	while (folio_u64_load_relaxed(&objects_freed) < before + 900)
		sched_yield();
	grace_barrier();
	assert_int_equal(folio_u64_load_relaxed(&objects_freed), before + 1000);
	objects_drop(objects);
}

/* Barriers of many threads at once, which all end. */
static void *barriers(void *argument)
{
	struct object *objects = NULL;
	unsigned i, rounds = scaled(200);

	if (grace_thread_attach())
		return "attach";
	for (i = 0; i < rounds; i++) {
		objects = object_new(objects);
		grace_defer(&objects->grace, object_free);
		grace_barrier();
		if (objects->state != DEAD)
			return "not called";
	}
	objects_drop(objects);
	return NULL;
}

static void test_barriers_side_by_side(void **state)
{
	pthread_t thread[4];
	void *failed;
	unsigned i;

	for (i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, barriers, NULL), 0);
	for (i = 0; i < 4; i++) {
		pthread_join(thread[i], &failed);
		assert_null(failed);
	}
}

/* The room is closed by the last who has it open, and what is deferred by then is called, also what that defers. */
static void test_close(void **state)
{
	struct object *objects;
	unsigned round;

	for (round = 0; round < 100; round++) {
		assert_int_equal(grace_open(), 0);
		grace_close();
		objects = object_new(NULL);
		grace_defer(&objects->grace, defer_again);
		grace_close();
		assert_int_equal(objects->state, DEAD);
		objects_drop(objects);
		assert_int_equal(grace_open(), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_attach_is_idempotent),
		cmocka_unit_test(test_barrier),
		cmocka_unit_test(test_section_holds_up),
		cmocka_unit_test(test_race),
		cmocka_unit_test(test_thread_ends),
		cmocka_unit_test(test_many_threads),
		cmocka_unit_test(test_registered_by_others),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_without_barrier),
		cmocka_unit_test(test_barriers_side_by_side),
		cmocka_unit_test(test_close),
		cmocka_unit_test(test_fork),
	};

	if (grace_open())
		return 1;
	return cmocka_run_group_tests_name("grace", tests, NULL, NULL);
}
