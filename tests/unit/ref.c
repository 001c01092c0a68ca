/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The counter at its full width: transitions, every interleaving, stress. ref-race.c has the reuse
 * race step by step.
 */
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

/* Several references in one call; more than the scaled-down counter allows. */
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

/* Random legal calls, compared with a model that keeps the three parts of the word apart. */
static void random_calls(void **state)
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
		/* Mostly small counts, sometimes counts near the limits. */
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
			/* Correct half of the time, else one too many. */
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
 * Every interleaving. Each body of the plans below runs on a separate thread; a point is before
 * each atomic operation of the bodies and of the counter.
 */

static struct world_object *const thing = &world.object[0];
static struct world_slot *const slot_x = &world.slot[TYPE_X];

/* One object of type X in its slot, with this many more references. */
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

/* The next user of the memory, if it is free by then. */
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
 * Holds the only reference but the slot's, changes the object when no other thread has it, and
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
	printf("# %u zeros, %u revived, %u frozen by another thread than the one that left the "
	       "zero, "
	       "%u of them in a later generation\n",
		world.zeros, world.revivals, world.foreign_wins, world.reuse_wins);
	return runs;
}

static void every_put_with_getter(void **state)
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

/* The reuse race: the test also shows that it is reached. */
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

/* A stale get that detects, when it reads the slot again, that it is too late. */
static void get_and_drop(void)
{
	if (folio_ref_try_get(&thing->ref))
		world_drop(thing, TYPE_X, 1);
}

/* Two getters: any of the four threads that freezes may freeze a zero that another thread left. */
static void every_reuse_with_getters(void **state)
{
	static const struct schedule_plan plan = {"put, two stale gets, reuse as Y", 4,
		begin_hidden, {drop_one, get_and_drop, get_and_drop, reuse_as_y}, world_end_plan};

	(void)state;
	explore(&plan);
	assert_true(world.reuse_wins > 0);
}

/* Gets that fail on free memory, with a new generation between their add and their next step. */
static void every_failed_get(void **state)
{
	static const struct schedule_plan plan = {"two stale gets, new generation as Y", 3,
		begin_reuse, {stale_get, stale_get, live_as_y}, world_end_plan};

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
		cmocka_unit_test(random_calls),
		cmocka_unit_test(every_put_with_getter),
		cmocka_unit_test(every_stale_get),
		cmocka_unit_test(every_reuse),
		cmocka_unit_test(every_reuse_with_getters),
		cmocka_unit_test(every_failed_get),
		cmocka_unit_test(every_freeze),
		cmocka_unit_test(every_get_of_holder),
		cmocka_unit_test(stress),
	};

	return cmocka_run_group_tests_name("ref", tests, NULL, NULL);
}
