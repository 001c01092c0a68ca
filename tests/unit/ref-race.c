/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The reuse race of ref.h, step by step, with the counter at its full width. A put of the test
 * stops between its subtraction and its CAS while the pause function does what other threads would
 * do: on the same thread, since a thread that is stopped there holds nothing that others wait for.
 * Only a second putter that must stop there at the same time needs a separate thread.
 */
#include <semaphore.h>

#include "ref-world.h"

static struct world_object *subject;
static uint32_t releases_by_others;

/*
 * A putter on a separate thread, which stops between its subtraction and its CAS until it is
 * released.
 */
static struct {
	pthread_t thread;
	sem_t at_zero, go_on;
	bool running;
	bool won;
} other;

static void other_stands(enum world_pause point)
{
	(void)point;
	sem_post(&other.at_zero);
	sem_wait(&other.go_on);
}

static void *other_thread(void *argument)
{
	world_pause_fn = other_stands;
	other.won = world_put_n((struct world_object *)argument, 1);
	/* If the put never saw zero, no thread may wait for it to stop there. */
	sem_post(&other.at_zero);
	return NULL;
}

static void other_starts_put(void)
{
	sem_init(&other.at_zero, 0, 0);
	sem_init(&other.go_on, 0, 0);
	assert_int_equal(pthread_create(&other.thread, NULL, other_thread, subject), 0);
	other.running = true;
	sem_wait(&other.at_zero);
}

static bool other_ends_put(void)
{
	sem_post(&other.go_on);
	pthread_join(other.thread, NULL);
	sem_destroy(&other.at_zero);
	sem_destroy(&other.go_on);
	other.running = false;
	return other.won;
}

static void begin_race(uint32_t references)
{
	/* A failed story may have left it stopped. */
	if (other.running)
		other_ends_put();
	world_begin();
	subject = world_take();
	world_born(subject, TYPE_X, references);
	releases_by_others = 0;
}

static void end_race(void)
{
	world_end();
	assert_int_equal(world.violations, 0);
}

/* The put of another thread, in the middle of the test's put. */
static bool concurrent_put(void)
{
	struct world_object *putting = world_putting;
	uint32_t life = world_putting_life;
	bool zero = world_putting_zero;
	bool won = world_put_n(subject, 1);

	world_putting = putting;
	world_putting_life = life;
	world_putting_zero = zero;
	return won;
}

static void revive(enum world_pause point)
{
	assert_int_equal(point, PAUSE_put_before_freeze);
	world_pause_fn = NULL;
	assert_int_equal(subject->ref.word, 0);
	assert_true(folio_ref_try_get(&subject->ref));
	assert_int_equal(folio_ref_count(&subject->ref), 1);
}

/* T1 puts 1 -> 0 and stalls; T2 gets 0 -> 1. T1 does nothing more, T2's put releases. */
static void put_revived_between(void **state)
{
	(void)state;
	begin_race(1);
	world_pause_fn = revive;
	assert_false(world_put_n(subject, 1));
	assert_null(world_pause_fn);
	assert_false(folio_ref_is_frozen(&subject->ref));
	assert_int_equal(folio_ref_count(&subject->ref), 1);
	assert_true(world_put_n(subject, 1));
	world_release(subject, TYPE_X);
	end_race();
}

static void revive_and_release(enum world_pause point)
{
	revive(point);
	assert_true(concurrent_put());
	world_release(subject, TYPE_X);
	releases_by_others++;
}

/* ... T2 puts before T1 continues: T2 releases, T1 finds the word frozen. */
static void put_released_between(void **state)
{
	(void)state;
	begin_race(1);
	world_pause_fn = revive_and_release;
	assert_false(world_put_n(subject, 1));
	assert_int_equal(releases_by_others, 1);
	assert_int_equal(subject->ref.word, FOLIO_REF_FROZEN);
	end_race();
}

static void revive_release_fail(enum world_pause point)
{
	revive_and_release(point);
	assert_false(folio_ref_try_get_n(&subject->ref, 3));
}

/* ... and T3 fails to get it: T1 finds the word frozen, with junk. */
static void put_meets_junk(void **state)
{
	(void)state;
	begin_race(1);
	world_pause_fn = revive_release_fail;
	assert_false(world_put_n(subject, 1));
	assert_int_equal(subject->ref.word, FOLIO_REF_FROZEN + 3);
	end_race();
}

static void revive_release_reuse(enum world_pause point)
{
	revive_and_release(point);
	assert_ptr_equal(world_take(), subject);
	world_born(subject, TYPE_Y, 1);
}

/* ... and T3 uses the memory again before T1 continues: T1 leaves it alone. */
static void put_meets_another_generation(void **state)
{
	(void)state;
	begin_race(1);
	world_pause_fn = revive_release_reuse;
	assert_false(world_put_n(subject, 1));
	assert_int_equal(folio_ref_count(&subject->ref), 1);
	assert_int_equal(world.releases[TYPE_Y], 0);
	world_drop(subject, TYPE_Y, 1);
	assert_int_equal(world.releases[TYPE_Y], 1);
	end_race();
}

static void reuse_and_put(enum world_pause point)
{
	revive_release_reuse(point);
	other_starts_put();
	assert_int_equal(subject->ref.word, 0);
}

/*
 * The drawing in ref.h: T1's CAS meets the zero that T3 left. T1 releases, as Y; T3 does nothing
 * more.
 */
static void put_wins_another_generation(void **state)
{
	(void)state;
	begin_race(1);
	world_forget();
	world_pause_fn = reuse_and_put;
	assert_true(world_put_n(subject, 1));
	world_release(subject, TYPE_X);
	assert_int_equal(world.releases[TYPE_X], 1);
	assert_int_equal(world.releases[TYPE_Y], 1);
	assert_int_equal(world.reuse_wins, 1);
	assert_false(other_ends_put());
	end_race();
}

/* ... and T3 also stalls during a reuse: a third generation, in which it has no part. */
static void put_stalls_over_two_generations(void **state)
{
	(void)state;
	begin_race(1);
	world_pause_fn = reuse_and_put;
	assert_true(world_put_n(subject, 1));
	world_release(subject, TYPE_X);
	assert_ptr_equal(world_take(), subject);
	world_born(subject, TYPE_X, 2);
	assert_false(other_ends_put());
	assert_int_equal(folio_ref_count(&subject->ref), 2);
	world_drop(subject, TYPE_X, 2);
	end_race();
}

/* ... and wins there: T3 releases an X, though it put a Y. */
static void other_wins_third_generation(enum world_pause point)
{
	(void)point;
	world_pause_fn = NULL;
	assert_true(other_ends_put());
	world_release(subject, TYPE_Y);
}

static void put_wins_after_two_generations(void **state)
{
	(void)state;
	begin_race(1);
	world_pause_fn = reuse_and_put;
	assert_true(world_put_n(subject, 1));
	world_release(subject, TYPE_X);
	assert_ptr_equal(world_take(), subject);
	world_born(subject, TYPE_X, 2);
	world_pause_fn = other_wins_third_generation;
	assert_false(world_put_n(subject, 2));
	assert_int_equal(world.releases[TYPE_X], 2);
	end_race();
}

static void concurrent_freeze(enum world_pause point)
{
	revive(point);
	/* One reference, T2's own: T2 is alone, although T1 is not done. */
	assert_true(folio_ref_try_freeze(&subject->ref, 1));
}

/* A freezer freezes the zero that a putter left; the putter does not take it from the freezer. */
static void put_meets_freezer(void **state)
{
	(void)state;
	begin_race(1);
	world_pause_fn = concurrent_freeze;
	assert_false(world_put_n(subject, 1));
	assert_true(folio_ref_is_frozen(&subject->ref));
	folio_ref_unfreeze(&subject->ref, 1);
	world_drop(subject, TYPE_X, 1);
	end_race();
}

static void freeze_at_zero(enum world_pause point)
{
	assert_int_equal(point, PAUSE_put_before_freeze);
	world_pause_fn = NULL;
	assert_false(folio_ref_try_freeze(&subject->ref, 1));
}

static void freeze_fails_at_zero(void **state)
{
	(void)state;
	begin_race(1);
	world_pause_fn = freeze_at_zero;
	assert_true(world_put_n(subject, 1));
	world_release(subject, TYPE_X);
	end_race();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(put_revived_between),
		cmocka_unit_test(put_released_between),
		cmocka_unit_test(put_meets_junk),
		cmocka_unit_test(put_meets_another_generation),
		cmocka_unit_test(put_wins_another_generation),
		cmocka_unit_test(put_stalls_over_two_generations),
		cmocka_unit_test(put_wins_after_two_generations),
		cmocka_unit_test(put_meets_freezer),
		cmocka_unit_test(freeze_fails_at_zero),
	};

	return cmocka_run_group_tests_name("ref-race", tests, NULL, NULL);
}
