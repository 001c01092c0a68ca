/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The counter at its full width: transitions, the reuse race step by step, every interleaving,
 * stress.
 */
#include <semaphore.h>

#include "ref-world.h"

static void word_is_one_word(void **state)
{
	struct folio_ref ref;

	(void)state;
	assert_int_equal(sizeof(ref), 4);
	assert_int_equal(FOLIO_REF_FROZEN, 0x80000000u);
	assert_int_equal(FOLIO_REF_JUNK_LIMIT, 0xc0000000u);
	assert_int_equal(FOLIO_REF_MAX, 0x40000000u);
	memset(&ref, 0, sizeof(ref));
	folio_ref_init_frozen(&ref);
	assert_int_equal(ref.word, FOLIO_REF_FROZEN);
	assert_true(folio_ref_is_frozen(&ref));
	assert_int_equal(folio_ref_count(&ref), 0);
}

static void transitions(void **state)
{
	(void)state;
	assert_int_equal(world_check_transitions(world_transitions,
				 sizeof(world_transitions) / sizeof(world_transitions[0])),
		0);
	assert_int_equal(world_check_reads(), 0);
}

/* Several references by one call; more than the scaled-down counter allows. */
static void transitions_of_n(void **state)
{
	static const struct world_transition rows[] = {
		{OP_TRY_GET, 3, 0, 3, true},
		{OP_TRY_GET, 5, 2, 7, true},
		{OP_TRY_GET, 3, WORLD_MAX - 3, WORLD_MAX, true},
		{OP_TRY_GET, 3, WORLD_MAX - 2, WORLD_MAX - 2, false},
		{OP_TRY_GET, 3, WORLD_MAX - 1, WORLD_MAX - 1, false},
		{OP_TRY_GET, 3, WORLD_MAX, WORLD_MAX, false},
		{OP_TRY_GET, 3, WORLD_MAX + 1, WORLD_MAX + 1, false},
		{OP_TRY_GET, FOLIO_REF_COUNT_MAX, 1, 1 + FOLIO_REF_COUNT_MAX, true},
		{OP_TRY_GET, FOLIO_REF_COUNT_MAX, WORLD_MAX, WORLD_MAX, false},
		{OP_TRY_GET, 3, WORLD_ICE, WORLD_ICE + 3, false},
		{OP_TRY_GET, 3, WORLD_ICE + 2, WORLD_ICE + 5, false},
		{OP_TRY_GET, 3, WORLD_LIMIT - 4, WORLD_LIMIT - 1, false},
		{OP_TRY_GET, 3, WORLD_LIMIT - 3, WORLD_ICE, false},
		{OP_TRY_GET, 3, WORLD_LIMIT - 1, WORLD_ICE, false},
		{OP_TRY_GET, FOLIO_REF_COUNT_MAX, WORLD_LIMIT - 1, WORLD_ICE, false},
		{OP_TRY_GET, FOLIO_REF_COUNT_MAX, 0u - FOLIO_REF_COUNT_MAX - 1, WORLD_ICE, false},
		{OP_GET, 3, 1, 4, true},
		{OP_GET, FOLIO_REF_COUNT_MAX, 2, 2 + FOLIO_REF_COUNT_MAX, true},
		{OP_PUT, FOLIO_REF_COUNT_MAX, FOLIO_REF_COUNT_MAX, WORLD_ICE, true},
		{OP_PUT, FOLIO_REF_COUNT_MAX, FOLIO_REF_COUNT_MAX + 1, 1, false},
		{OP_PUT, 100000, 100000, WORLD_ICE, true},
		{OP_FREEZE, 100000, 100000, WORLD_ICE, true},
		{OP_FREEZE, 100000, 99999, 99999, false},
		{OP_UNFREEZE, 100000, WORLD_ICE + 12345, 100000, true},
	};

	(void)state;
	assert_int_equal(world_check_transitions(rows, sizeof(rows) / sizeof(rows[0])), 0);
}

/* Random legal calls beside a model that keeps the three parts of the word apart. */
static void random_calls_beside_model(void **state)
{
	uint64_t random = world_seed() | 1;
	uint64_t steps = world_scaled(300000);
	bool frozen = true;
	uint32_t references = 0;
	uint32_t junk = 0;
	struct folio_ref ref;

	(void)state;
	folio_ref_init_frozen(&ref);
	while (steps--) {
		uint32_t dice = world_random(&random) >> 33;
		/* Small counts for the most part, now and then those near the limits. */
		uint32_t n =
			dice / 64 % 8 ? 1 + dice / 1024 % 4 : 1 + dice / 1024 % FOLIO_REF_COUNT_MAX;
		bool result;

		switch (dice % 8) {
		case 0:
		case 1:
		case 2:
			result = folio_ref_try_get_n(&ref, n);
			assert_int_equal(result, !frozen && references + n <= FOLIO_REF_MAX);
			if (result)
				references += n;
			else if (frozen)
				junk += n;
			if (junk >= FOLIO_REF_JUNK_LIMIT - FOLIO_REF_FROZEN)
				junk = 0;
			break;
		case 3:
			if (frozen || references + n > FOLIO_REF_MAX)
				break;
			folio_ref_get_n(&ref, n);
			references += n;
			break;
		case 4:
		case 5:
			if (frozen)
				break;
			n = dice / 512 % 4 == 0 || n > references ? references : n;
			result = folio_ref_put_n(&ref, n);
			references -= n;
			assert_int_equal(result, references == 0);
			if (references == 0) {
				frozen = true;
				junk = 0;
			}
			break;
		case 6:
			/* Right half of the time, else by one too many. */
			n = references + (dice / 512 & 1);
			if (n == 0)
				break;
			result = folio_ref_try_freeze(&ref, n);
			assert_int_equal(result, !frozen && n == references);
			if (result) {
				frozen = true;
				references = 0;
				junk = 0;
			}
			break;
		case 7:
			if (!frozen)
				break;
			n = dice / 512 % 4 == 0 ? FOLIO_REF_MAX - n + 1 : n;
			folio_ref_unfreeze(&ref, n);
			frozen = false;
			references = n;
			junk = 0;
			break;
		}
		assert_int_equal(ref.word, frozen ? FOLIO_REF_FROZEN + junk : references);
		assert_int_equal(folio_ref_count(&ref), references);
		assert_int_equal(folio_ref_is_frozen(&ref), frozen);
	}
}

/*
 * The race of ref.h, step by step. A put of the test stands between its subtraction and its CAS
 * while the pause function does what other threads would do meanwhile: on the same thread, since a
 * thread that stands there holds nothing that others wait for. Only a second putter that has to
 * stand there at the same time needs a thread of its own.
 */

static struct world_object *subject;
static uint32_t releases_by_others;

/*
 * A putter on a thread of its own, which stands between its subtraction and its CAS until told to
 * go on.
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
	/* Where the put never saw zero, nobody may wait for it to stand there. */
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

static void begin_story(uint32_t references)
{
	/* A story that failed may have left it standing. */
	if (other.running)
		other_ends_put();
	world_begin();
	subject = world_take();
	world_born(subject, TYPE_X, references);
	releases_by_others = 0;
}

static void end_story(void)
{
	world_end();
	assert_int_equal(world.violations, 0);
}

/* Another thread's put, in the middle of that of the test. */
static bool put_beside(void)
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

/* T1 puts 1 -> 0 and stalls; T2 gets 0 -> 1. T1 walks away, T2's put releases. */
static void put_revived_between(void **state)
{
	(void)state;
	begin_story(1);
	world_pause_fn = revive;
	assert_false(world_put_n(subject, 1));
	assert_null(world_pause_fn);
	assert_false(folio_ref_is_frozen(&subject->ref));
	assert_int_equal(folio_ref_count(&subject->ref), 1);
	assert_true(world_put_n(subject, 1));
	world_release(subject, TYPE_X);
	end_story();
}

static void revive_and_release(enum world_pause point)
{
	revive(point);
	assert_true(put_beside());
	world_release(subject, TYPE_X);
	releases_by_others++;
}

/* ... T2 puts before T1 goes on: T2 releases, T1 walks away from a frozen word. */
static void put_released_between(void **state)
{
	(void)state;
	begin_story(1);
	world_pause_fn = revive_and_release;
	assert_false(world_put_n(subject, 1));
	assert_int_equal(releases_by_others, 1);
	assert_int_equal(subject->ref.word, FOLIO_REF_FROZEN);
	end_story();
}

static void revive_release_fail(enum world_pause point)
{
	revive_and_release(point);
	assert_false(folio_ref_try_get_n(&subject->ref, 3));
}

/* ... and T3 fails to get it: T1 meets a frozen word with junk. */
static void put_meets_junk(void **state)
{
	(void)state;
	begin_story(1);
	world_pause_fn = revive_release_fail;
	assert_false(world_put_n(subject, 1));
	assert_int_equal(subject->ref.word, FOLIO_REF_FROZEN + 3);
	end_story();
}

static void revive_release_reuse(enum world_pause point)
{
	revive_and_release(point);
	assert_ptr_equal(world_take(), subject);
	world_born(subject, TYPE_Y, 1);
}

/* ... and T3 has the memory for another use when T1 goes on: T1 leaves it alone. */
static void put_meets_another_life(void **state)
{
	(void)state;
	begin_story(1);
	world_pause_fn = revive_release_reuse;
	assert_false(world_put_n(subject, 1));
	assert_int_equal(folio_ref_count(&subject->ref), 1);
	assert_int_equal(world.releases[TYPE_Y], 0);
	world_drop(subject, TYPE_Y, 1);
	assert_int_equal(world.releases[TYPE_Y], 1);
	end_story();
}

static void reuse_and_put(enum world_pause point)
{
	revive_release_reuse(point);
	other_starts_put();
	assert_int_equal(subject->ref.word, 0);
}

/* The drawing in ref.h: T1's CAS meets the zero that T3 left. T1 releases, as Y; T3 walks away. */
static void put_wins_another_life(void **state)
{
	(void)state;
	begin_story(1);
	world_forget();
	world_pause_fn = reuse_and_put;
	assert_true(world_put_n(subject, 1));
	world_release(subject, TYPE_X);
	assert_int_equal(world.releases[TYPE_X], 1);
	assert_int_equal(world.releases[TYPE_Y], 1);
	assert_int_equal(world.reuse_wins, 1);
	assert_false(other_ends_put());
	end_story();
}

/* ... and T3, too, sleeps over a reuse: a third life, of which it is no part. */
static void put_sleeps_over_two_lives(void **state)
{
	(void)state;
	begin_story(1);
	world_pause_fn = reuse_and_put;
	assert_true(world_put_n(subject, 1));
	world_release(subject, TYPE_X);
	assert_ptr_equal(world_take(), subject);
	world_born(subject, TYPE_X, 2);
	assert_false(other_ends_put());
	assert_int_equal(folio_ref_count(&subject->ref), 2);
	world_drop(subject, TYPE_X, 2);
	end_story();
}

/* ... and wins there: T3 releases an X, though it put a Y. */
static void other_wins_third_life(enum world_pause point)
{
	(void)point;
	world_pause_fn = NULL;
	assert_true(other_ends_put());
	world_release(subject, TYPE_Y);
}

static void put_wins_after_two_lives(void **state)
{
	(void)state;
	begin_story(1);
	world_pause_fn = reuse_and_put;
	assert_true(world_put_n(subject, 1));
	world_release(subject, TYPE_X);
	assert_ptr_equal(world_take(), subject);
	world_born(subject, TYPE_X, 2);
	world_pause_fn = other_wins_third_life;
	assert_false(world_put_n(subject, 2));
	assert_int_equal(world.releases[TYPE_X], 2);
	end_story();
}

static void freeze_beside(enum world_pause point)
{
	revive(point);
	/* One reference, T2's own: it is alone, although T1 is not done. */
	assert_true(folio_ref_try_freeze(&subject->ref, 1));
}

/*
 * A freezer takes over what a putter had left at zero; the putter does not take it from the
 * freezer.
 */
static void put_meets_freezer(void **state)
{
	(void)state;
	begin_story(1);
	world_pause_fn = freeze_beside;
	assert_false(world_put_n(subject, 1));
	assert_true(folio_ref_is_frozen(&subject->ref));
	folio_ref_unfreeze(&subject->ref, 1);
	world_drop(subject, TYPE_X, 1);
	end_story();
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
	begin_story(1);
	world_pause_fn = freeze_at_zero;
	assert_true(world_put_n(subject, 1));
	world_release(subject, TYPE_X);
	end_story();
}

/*
 * Every interleaving. The bodies of the plans below each run on a thread of their own; a point
 * lies before each atomic operation, the bodies' and the counter's.
 */

static struct world_object *const thing = &world.object[0];
static struct world_slot *const slot_x = &world.slot[TYPE_X];

/* One object of type X in its slot, with as many references more. */
static void begin_with(uint32_t references)
{
	world_begin();
	world_take();
	world_born(thing, TYPE_X, 1 + references);
	world_publish(slot_x, thing);
}

static void begin_0(void)
{
	begin_with(0);
}

static void begin_1(void)
{
	begin_with(1);
}

static void begin_2(void)
{
	begin_with(2);
}

static void drop_one(void)
{
	world_drop(thing, TYPE_X, 1);
}

static void erase_x(void)
{
	world_erase(slot_x);
}

static void look_up_hold_drop(void)
{
	struct world_object *object = world_lookup(slot_x, 1);

	if (!object)
		return;
	world_check_held(object, TYPE_X);
	world_drop(object, TYPE_X, 1);
}

static void stale_get(void)
{
	if (!world_get(slot_x, thing, 1))
		return;
	world_check_held(thing, TYPE_X);
	world_drop(thing, TYPE_X, 1);
}

static void stale_get_two(void)
{
	if (!world_get(slot_x, thing, 2))
		return;
	world_check_held(thing, TYPE_X);
	world_drop(thing, TYPE_X, 1);
	world_drop(thing, TYPE_X, 1);
}

/* The memory's next user, when it is free by then. */
static void reuse_as_y(void)
{
	struct world_object *object = world_take();

	if (object != thing) {
		if (object)
			object->is_free = true;
		return;
	}
	world_born(thing, TYPE_Y, 1);
	world_drop(thing, TYPE_Y, 1);
}

static void live_as_y(void)
{
	world_born(thing, TYPE_Y, 2);
	world_check_held(thing, TYPE_Y);
	world_drop(thing, TYPE_Y, 1);
	world_drop(thing, TYPE_Y, 1);
}

/*
 * Holds the one reference beside the slot's, changes the object when nobody else has it, and
 * erases it.
 */
static void freeze_and_erase(void)
{
	world_freeze_and_change(thing, 2);
	folio_ptr_store_release(&slot_x->object, NULL);
	world_drop(thing, TYPE_X, 2);
}

static void take_more_and_drop(void)
{
	folio_ref_get_n(&thing->ref, 2);
	world_check_held(thing, TYPE_X);
	world_drop(thing, TYPE_X, 3);
}

static uint64_t explore(const struct schedule_plan *plan)
{
	uint64_t runs;

	world_forget();
	runs = schedule_explore(plan);
	assert_true(runs > 0);
	printf("# %u zeros, %u called off, %u frozen by another thread than left the zero, %u of "
	       "them in a "
	       "later life\n",
		world.zeros, world.revivals, world.foreign_wins, world.reuse_wins);
	return runs;
}

static void every_put_beside_getter(void **state)
{
	static const struct schedule_plan plan = {"put, erase, look-up", 3, begin_1,
		{drop_one, erase_x, look_up_hold_drop}, world_end_plan};

	(void)state;
	explore(&plan);
	assert_true(world.revivals > 0);
}

static void every_stale_get(void **state)
{
	static const struct schedule_plan plan = {"put, erase, stale get of two", 3, begin_1,
		{drop_one, erase_x, stale_get_two}, world_end_plan};

	(void)state;
	explore(&plan);
	assert_true(world.revivals > 0);
	assert_true(world.refused > 0);
	assert_true(world.foreign_wins > 0);
}

/* The reuse race: that it is reached is part of what is to be shown. */
static void every_reuse(void **state)
{
	static const struct schedule_plan plan = {"erase, stale get, reuse as Y", 3, begin_0,
		{erase_x, stale_get, reuse_as_y}, world_end_plan};

	(void)state;
	explore(&plan);
	assert_true(world.reuse_wins > 0);
}

static void begin_reuse(void)
{
	begin_with(0);
	world_erase(slot_x);
	world_take();
}

/* One reference, and no slot. */
static void begin_hidden(void)
{
	world_begin();
	world_take();
	world_born(thing, TYPE_X, 1);
}

/* A stale get that finds by its look into the slot that it is too late, whatever it got. */
static void get_and_drop(void)
{
	if (folio_ref_try_get(&thing->ref))
		world_drop(thing, TYPE_X, 1);
}

/* Two getters: whoever of the four freezes may freeze a zero that another has left. */
static void every_reuse_beside_getters(void **state)
{
	static const struct schedule_plan plan = {"put, two stale gets, reuse as Y", 4,
		begin_hidden, {drop_one, get_and_drop, get_and_drop, reuse_as_y}, world_end_plan};

	(void)state;
	explore(&plan);
	assert_true(world.reuse_wins > 0);
}

/* Gets that fail on free memory, with a new life between their add and what they do next. */
static void every_failed_get(void **state)
{
	static const struct schedule_plan plan = {"two stale gets, new life as Y", 3, begin_reuse,
		{stale_get, stale_get, live_as_y}, world_end_plan};

	(void)state;
	explore(&plan);
	assert_true(world.refused > 0);
}

static void every_freeze(void **state)
{
	static const struct schedule_plan plan = {"freeze, change, unfreeze, erase; look-up", 2,
		begin_1, {freeze_and_erase, look_up_hold_drop}, world_end_plan};

	(void)state;
	explore(&plan);
	assert_true(world.frozen > 0);
	assert_true(world.refused > 0);
	assert_true(world.validated > 0);
}

static void every_get_of_holder(void **state)
{
	static const struct schedule_plan plan = {"get of two, put of three; erase; put", 3,
		begin_2, {take_more_and_drop, drop_one, erase_x}, world_end_plan};

	(void)state;
	explore(&plan);
}

static void stress(void **state)
{
	(void)state;
	assert_int_equal(world_stress(world_seed(), world_scaled(100000), 20), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(word_is_one_word),
		cmocka_unit_test(transitions),
		cmocka_unit_test(transitions_of_n),
		cmocka_unit_test(random_calls_beside_model),
		cmocka_unit_test(put_revived_between),
		cmocka_unit_test(put_released_between),
		cmocka_unit_test(put_meets_junk),
		cmocka_unit_test(put_meets_another_life),
		cmocka_unit_test(put_wins_another_life),
		cmocka_unit_test(put_sleeps_over_two_lives),
		cmocka_unit_test(put_wins_after_two_lives),
		cmocka_unit_test(put_meets_freezer),
		cmocka_unit_test(freeze_fails_at_zero),
		cmocka_unit_test(every_put_beside_getter),
		cmocka_unit_test(every_stale_get),
		cmocka_unit_test(every_reuse),
		cmocka_unit_test(every_reuse_beside_getters),
		cmocka_unit_test(every_failed_get),
		cmocka_unit_test(every_freeze),
		cmocka_unit_test(every_get_of_holder),
		cmocka_unit_test(stress),
	};

	return cmocka_run_group_tests_name("ref", tests, NULL, NULL);
}
