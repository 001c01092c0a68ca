/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The counter scaled down to 8 bits: frozen is 0x80, junk is wiped at 0xc0, references past 0x40
 * are refused. What would take 2^30 calls takes 64, so the two limits are reached by calls and in
 * every interleaving.
 */
#define FOLIO_REF_BITS 8

#include "ref-world.h"

static struct world_object *const thing = &world.object[0];
static struct world_slot *const slot_x = &world.slot[TYPE_X];

static void word_is_narrow(void **state)
{
	(void)state;
	assert_int_equal(FOLIO_REF_FROZEN, 0x80);
	assert_int_equal(FOLIO_REF_JUNK_LIMIT, 0xc0);
	assert_int_equal(FOLIO_REF_MAX, 0x40);
	assert_int_equal(FOLIO_REF_COUNT_MAX, 1);
}

static void transitions(void **state)
{
	(void)state;
	assert_int_equal(world_check_transitions(world_transitions,
				 sizeof(world_transitions) / sizeof(world_transitions[0])),
		0);
	assert_int_equal(world_check_reads(), 0);
}

/* However many gets fail, the word stays frozen, and junk is wiped once in 64 of them. */
static void junk_is_bounded(void **state)
{
	struct folio_ref ref;
	unsigned i;

	(void)state;
	world_forget();
	folio_ref_init_frozen(&ref);
	for (i = 1; i <= 64000; i++) {
		assert_false(folio_ref_try_get(&ref));
		assert_true(folio_ref_is_frozen(&ref));
		assert_int_equal(ref.word, 0x80 + i % 64);
	}
	assert_int_equal(world.resets, 1000);
	folio_ref_unfreeze(&ref, 2);
	assert_int_equal(folio_ref_count(&ref), 2);
}

/* References are granted up to the limit, and again after one was put. */
static void references_are_bounded(void **state)
{
	struct folio_ref ref;
	uint32_t given = 1;
	unsigned i;

	(void)state;
	folio_ref_init_frozen(&ref);
	folio_ref_unfreeze(&ref, 1);
	for (i = 0; i < 1000; i++)
		given += folio_ref_try_get(&ref);
	assert_int_equal(given, FOLIO_REF_MAX);
	assert_int_equal(folio_ref_count(&ref), FOLIO_REF_MAX);
	assert_false(folio_ref_put(&ref));
	assert_true(folio_ref_try_get(&ref));
	assert_false(folio_ref_try_get(&ref));
	while (--given)
		assert_false(folio_ref_put(&ref));
	assert_true(folio_ref_put(&ref));
	assert_int_equal(ref.word, FOLIO_REF_FROZEN);
}

/*
 * get cannot refuse: the range between the limit and frozen is for it, and try_get is still refused
 * there.
 */
static void holders_get_past_the_limit(void **state)
{
	struct folio_ref ref;
	unsigned i;

	(void)state;
	folio_ref_init_frozen(&ref);
	folio_ref_unfreeze(&ref, FOLIO_REF_MAX);
	for (i = 1; i < 60; i++) {
		folio_ref_get(&ref);
		assert_false(folio_ref_try_get(&ref));
		assert_int_equal(folio_ref_count(&ref), FOLIO_REF_MAX + i);
	}
	assert_true(folio_ref_put_n(&ref, FOLIO_REF_MAX + 59));
}

/*
 * A getter that saw too much junk stops before its CAS while others continue: on its own thread,
 * for the reason given in ref-race.c.
 */

static struct folio_ref word;
static unsigned pauses;

static void new_life(enum world_pause point)
{
	assert_int_equal(point, PAUSE_junk_reset);
	pauses++;
	folio_ref_unfreeze(&word, 1);
}

static void reset_meets_new_generation(void **state)
{
	(void)state;
	word.word = FOLIO_REF_JUNK_LIMIT - 1;
	pauses = 0;
	world_pause_fn = new_life;
	assert_false(folio_ref_try_get(&word));
	world_pause_fn = NULL;
	assert_int_equal(pauses, 1);
	assert_int_equal(word.word, 1);
	assert_true(folio_ref_put(&word));
}

static void reset_by_another(enum world_pause point)
{
	assert_int_equal(point, PAUSE_junk_reset);
	pauses++;
	world_pause_fn = NULL;
	assert_false(folio_ref_try_get(&word));
	world_pause_fn = reset_by_another;
	assert_int_equal(word.word, FOLIO_REF_FROZEN);
}

/* The reset of the other getter is enough: little junk was added since. */
static void reset_meets_reset(void **state)
{
	(void)state;
	word.word = FOLIO_REF_JUNK_LIMIT - 1;
	pauses = 0;
	world_pause_fn = reset_by_another;
	assert_false(folio_ref_try_get(&word));
	world_pause_fn = NULL;
	assert_int_equal(pauses, 1);
	assert_int_equal(word.word, FOLIO_REF_FROZEN);
}

static void add_some(enum world_pause point)
{
	assert_int_equal(point, PAUSE_junk_reset);
	/* The add of another getter, which also stops before its CAS. */
	if (++pauses < 10)
		word.word++;
}

/* While others add, it tries again; it ends when they stop. */
static void reset_meets_more_junk(void **state)
{
	(void)state;
	word.word = FOLIO_REF_JUNK_LIMIT - 1;
	pauses = 0;
	world_pause_fn = add_some;
	assert_false(folio_ref_try_get(&word));
	world_pause_fn = NULL;
	assert_int_equal(pauses, 10);
	assert_int_equal(word.word, FOLIO_REF_FROZEN);
}

/* Every interleaving; see unit/ref.c. */

static void begin_free(uint32_t junk)
{
	world_begin();
	world_take();
	world_born(thing, TYPE_X, 1);
	world_publish(slot_x, thing);
	world_erase(slot_x);
	world_take();
	thing->ref.word += junk;
}

static void begin_before_limit(void)
{
	begin_free(FOLIO_REF_JUNK_LIMIT - FOLIO_REF_FROZEN - 1);
}

static void begin_at_limit_of_references(void)
{
	world_begin();
	world_take();
	world_born(thing, TYPE_X, FOLIO_REF_MAX);
	world_publish(slot_x, thing);
}

static void stale_get(void)
{
	bool got = world_get(slot_x, thing, 1);

	world_demand(!world_carried(thing), "the word has carried out of its range");
	if (got) {
		world_check_held(thing, TYPE_X);
		world_drop(thing, TYPE_X, 1);
	}
}

static void live_as_y(void)
{
	world_born(thing, TYPE_Y, 1);
	world_check_held(thing, TYPE_Y);
	world_drop(thing, TYPE_Y, 1);
}

static void put_all_but_the_slots(void)
{
	world_drop(thing, TYPE_X, FOLIO_REF_MAX - 1);
}

static void erase_x(void)
{
	world_erase(slot_x);
}

static void explore(const struct schedule_plan *plan)
{
	world_forget();
	assert_true(schedule_explore(plan) > 0);
	printf("# %u refused, %u validated, %u resets tried\n", world.refused, world.validated,
		world.resets);
}

/*
 * Two getters reach the limit while the memory starts a new generation: no reset reaches into it.
 */
static void every_reset_with_new_generation(void **state)
{
	static const struct schedule_plan plan = {
		"two stale gets at the limit of junk, new generation", 3, begin_before_limit,
		{stale_get, stale_get, live_as_y}, world_end_plan};

	(void)state;
	explore(&plan);
	assert_true(world.resets > 0);
	assert_true(world.refused > 0);
}

static void end_all_junk(void)
{
	world_demand(thing->ref.word < FOLIO_REF_JUNK_LIMIT, "junk past the limit is left");
	thing->is_free = true;
	world_end_plan();
}

/* However the resets of three getters interleave, the result is under the limit. */
static void every_reset_with_resets(void **state)
{
	static const struct schedule_plan plan = {"three stale gets at the limit of junk", 3,
		begin_before_limit, {stale_get, stale_get, stale_get}, end_all_junk};

	(void)state;
	explore(&plan);
	assert_int_equal(world.validated, 0);
	assert_true(world.resets > 0);
}

/*
 * Getters past the limit of references while the others are put: a refused getter leaves nothing
 * behind and never releases; one whose reference has become valid in the meantime keeps it, and may
 * be the last.
 */
static void every_refusal_with_puts(void **state)
{
	static const struct schedule_plan gets = {"two gets at the limit of references, put", 3,
		begin_at_limit_of_references, {stale_get, stale_get, put_all_but_the_slots},
		world_end_plan};
	static const struct schedule_plan erase = {"get at the limit of references, put, erase", 3,
		begin_at_limit_of_references, {stale_get, put_all_but_the_slots, erase_x},
		world_end_plan};

	(void)state;
	explore(&gets);
	assert_true(world.refused > 0);
	assert_true(world.validated > 0);
	explore(&erase);
	assert_true(world.refused > 0);
	assert_true(world.validated > 0);
}

/* Mostly failing gets: the limit of junk is often passed, also during new generations. */
static void stress(void **state)
{
	(void)state;
	assert_int_equal(world_stress(world_seed(), world_scaled(100000), 60), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(word_is_narrow),
		cmocka_unit_test(transitions),
		cmocka_unit_test(junk_is_bounded),
		cmocka_unit_test(references_are_bounded),
		cmocka_unit_test(holders_get_past_the_limit),
		cmocka_unit_test(reset_meets_new_generation),
		cmocka_unit_test(reset_meets_reset),
		cmocka_unit_test(reset_meets_more_junk),
		cmocka_unit_test(every_reset_with_new_generation),
		cmocka_unit_test(every_reset_with_resets),
		cmocka_unit_test(every_refusal_with_puts),
		cmocka_unit_test(stress),
	};

	return cmocka_run_group_tests_name("ref-narrow", tests, NULL, NULL);
}
