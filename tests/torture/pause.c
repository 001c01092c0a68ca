/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pause.c - what happens at a pause point.
 *
 * Mostly nothing; now and then a yield; at the points where a thread holds on to something that may be given
 * another life, a wait until that has happened. The first of these is between a put's subtraction that comes
 * to zero and its CAS:
 *
 *   stalled putter              others
 *   1 -> 0, waits
 *                               a late getter finds it (pause_stalled), 0 -> 1, and puts: 1 -> 0 -> frozen
 *                               release; the object is taken for something else, lives, ends perhaps
 *   CAS
 *
 * That is a reuse race passed. Half of the stalled putters wait for more: until the word is zero again in the
 * later life, which means that another putter is stalled there; then this CAS wins, and releases a life that the
 * thread never had a reference to.
 *
 * A wait is for an event, not for a time, and has two other ends, so that the test cannot wait for itself: enough
 * yields, and nobody left who could bring the event about.
 */
#include <folio/folio.h>

#include "pause.h"
#include "torture.h"

struct pauser {
	struct rng rng;
	bool ready;
	bool passed; /* the put that the thread is in has passed a reuse */
};

static _Thread_local struct pauser self;
static folio_u32 on;
static folio_u32 waiting;
static folio_u64 next_thread;
static folio_u64 *(*life_of)(const void *object);

static struct {
	folio_u64 zeros, stalled, passed, won, lives_passed, junk_resets, late, yields;
} count;

/* Where late getters look. Descriptors and objects are type-stable, so an old entry is as good as a new one. */
#define STALLED 16
static folio_ptr stalled[STALLED];

void pause_seed(uint64_t seed)
{
	self.rng.state = seed;
	self.ready = true;
	self.passed = false;
}

static struct pauser *pauser(void)
{
	if (!self.ready)
		pause_seed(
			mix64(options.seed) ^ mix64(~folio_u64_fetch_add_relaxed(&next_thread, 1)));
	return &self;
}

struct rng *pause_rng(void)
{
	return &pauser()->rng;
}

void pause_begin(const struct mode *mode)
{
	unsigned i;

	for (i = 0; i < STALLED; i++)
		folio_ptr_store_relaxed(&stalled[i], NULL);
	life_of = mode->life;
	count.zeros = count.stalled = count.passed = count.won = count.lives_passed = 0;
	count.junk_resets = count.late = count.yields = 0;
	folio_u32_store_release(&on, 1);
}

void pause_end(void)
{
	folio_u32_store_release(&on, 0);
}

void pause_counts(struct pause_counts *counts)
{
	*counts = (struct pause_counts){
		.zeros = folio_u64_load_relaxed(&count.zeros),
		.stalled = folio_u64_load_relaxed(&count.stalled),
		.passed = folio_u64_load_relaxed(&count.passed),
		.won = folio_u64_load_relaxed(&count.won),
		.lives_passed = folio_u64_load_relaxed(&count.lives_passed),
		.junk_resets = folio_u64_load_relaxed(&count.junk_resets),
		.late = folio_u64_load_relaxed(&count.late),
		.yields = folio_u64_load_relaxed(&count.yields),
	};
}

static void add(folio_u64 *to, uint64_t n)
{
	folio_u64_fetch_add_relaxed(to, n);
}

static void yield(unsigned times)
{
	add(&count.yields, times);
	while (times-- > 0)
		give_way();
}

void *pause_stalled(struct rng *rng)
{
	return folio_ptr_load_relaxed(&stalled[rng_below(rng, STALLED)]);
}

/* Wait until @life is past @seen, for @yields at most. Returns how far it is past it. */
static uint64_t wait_for_life(folio_u64 *life, uint64_t seen, unsigned yields)
{
	uint64_t now = folio_u64_load_relaxed(life);

	if (folio_u32_fetch_add_relaxed(&waiting, 1) + 1 < torture_active()) {
		while (now == seen && yields-- > 0 &&
			folio_u32_load_relaxed(&waiting) < torture_active() &&
			!torture_stopping()) {
			give_way();
			now = folio_u64_load_relaxed(life);
		}
	}
	folio_u32_fetch_sub_relaxed(&waiting, 1);
	return now - seen;
}

/* Wait until @ref is at zero. @yields at most. */
static void wait_for_zero(struct folio_ref *ref, unsigned yields)
{
	if (folio_u32_fetch_add_relaxed(&waiting, 1) + 1 < torture_active()) {
		while (folio_u32_load_relaxed(&ref->word) != 0 && yields-- > 0 &&
			folio_u32_load_relaxed(&waiting) < torture_active() && !torture_stopping())
			give_way();
	}
	folio_u32_fetch_sub_relaxed(&waiting, 1);
}

#define STALL_YIELDS 256

static void at_zero(struct pauser *pauser, struct folio_ref *ref)
{
	uint64_t choice = rng_next(&pauser->rng), seen, lives;
	folio_u64 *life = life_of ? life_of(ref) : NULL;

	pauser->passed = false;
	if (!life)
		return;
	add(&count.zeros, 1);
	seen = folio_u64_load_relaxed(life);
	switch (choice % 8) {
	case 0:
	case 1:
	case 2:
		add(&count.stalled, 1);
		folio_ptr_store_relaxed(&stalled[(choice >> 8) % STALLED], ref);
		lives = wait_for_life(life, seen, STALL_YIELDS);
		if (lives && choice & 16)
			wait_for_zero(ref, STALL_YIELDS);
		break;
	case 3:
		yield(1 + (choice >> 8) % 3);
		break;
	default:
		break;
	}
	lives = folio_u64_load_relaxed(life) - seen;
	if (lives) {
		pauser->passed = true;
		add(&count.passed, 1);
		add(&count.lives_passed, lives);
	}
}

void torture_ref_pause(enum torture_ref_pause point, void *ref)
{
	struct pauser *pauser_self;

	if (!folio_u32_load_relaxed(&on))
		return;
	serial_point();
	pauser_self = pauser();
	if (point == TORTURE_REF_put_before_freeze) {
		at_zero(pauser_self, ref);
	} else {
		add(&count.junk_resets, 1);
		if (rng_one_in(&pauser_self->rng, 2))
			yield(1 + (unsigned)rng_below(&pauser_self->rng, 8));
	}
}

void pause_put_done(bool won)
{
	if (self.passed && won)
		add(&count.won, 1);
	self.passed = false;
}

/* The linker sends the library's calls of folio_release here: the calling thread's CAS has won. */
void __wrap_folio_release(struct folio *folio);
void __real_folio_release(struct folio *folio);

void __wrap_folio_release(struct folio *folio)
{
	pause_put_done(true);
	__real_folio_release(folio);
}

/* Wait across a reuse of what was found: the getter or copier comes late. */
static void come_late(const void *object)
{
	folio_u64 *life = object && life_of ? life_of(object) : NULL;

	if (life && wait_for_life(life, folio_u64_load_relaxed(life), 64))
		add(&count.late, 1);
}

void pause_here(const void *object)
{
	struct pauser *pauser_self;
	uint64_t choice;

	if (!folio_u32_load_relaxed(&on))
		return;
	serial_point();
	pauser_self = pauser();
	choice = rng_next(&pauser_self->rng);
	if (choice % 64 == 0)
		yield(1 + (choice >> 8) % 3);
	else if (choice % 64 == 1)
		come_late(object);
}

void pause_often(void)
{
	uint64_t choice;

	if (!folio_u32_load_relaxed(&on))
		return;
	choice = rng_next(pause_rng());
	if (choice & 1)
		yield(1 + (choice >> 8) % 4);
}

/* How often at each of the library's points, one time in so many; 0: never. */
static const struct {
	uint16_t yield, late;
} often[FOLIO_PAUSES] = {
	[FOLIO_PAUSE_copy_before_version] = {.yield = 64, .late = 256},
	[FOLIO_PAUSE_copy_before_slot] = {.yield = 64, .late = 256},
	[FOLIO_PAUSE_copy_before_copy] = {.yield = 64, .late = 256},
	[FOLIO_PAUSE_pin_before_get] = {.yield = 64, .late = 128},
	[FOLIO_PAUSE_pin_before_slot] = {.yield = 32},
	[FOLIO_PAUSE_evict_isolated] = {.yield = 4},
	[FOLIO_PAUSE_evict_frozen] = {.yield = 16},
	[FOLIO_PAUSE_evict_broken] = {.yield = 16},
	[FOLIO_PAUSE_evict_erased] = {.yield = 16},
	[FOLIO_PAUSE_evict_requeued] = {.yield = 4},
	[FOLIO_PAUSE_fill_unfrozen] = {.yield = 16},
	[FOLIO_PAUSE_fill_read] = {.yield = 16},
	[FOLIO_PAUSE_fill_settled] = {.yield = 16},
	[FOLIO_PAUSE_fill_unlocked] = {.yield = 8},
	[FOLIO_PAUSE_fill_erased] = {.yield = 4},
	[FOLIO_PAUSE_drop_erased] = {.yield = 4},
	[FOLIO_PAUSE_drop_sized] = {.yield = 2},
	[FOLIO_PAUSE_drop_grown] = {.yield = 2},
	[FOLIO_PAUSE_drop_drained] = {.yield = 2},
	[FOLIO_PAUSE_split_stored] = {.yield = 4},
	[FOLIO_PAUSE_copy_measured] = {.yield = 32},
	[FOLIO_PAUSE_write_copied] = {.yield = 16},
	[FOLIO_PAUSE_punch_measured] = {.yield = 4},
	[FOLIO_PAUSE_collect_seen] = {.yield = 16},
	[FOLIO_PAUSE_run_failed] = {.yield = 4},
	[FOLIO_PAUSE_thread_woken] = {.yield = 4},
	[FOLIO_PAUSE_throttle_waits] = {.yield = 4},
	[FOLIO_PAUSE_pins_owner] = {.yield = 4},
};

void folio_torture_pause(enum folio_pause point, const void *folio)
{
	struct pauser *pauser_self;
	folio_u64 *life;
	uint64_t choice;

	/* The one who gives a life says so, before anybody can find the folio by it. */
	if (point == FOLIO_PAUSE_fill_unfrozen && life_of && (life = life_of(folio)))
		folio_u64_fetch_add_relaxed(life, 1);
	if (!folio_u32_load_relaxed(&on))
		return;
	pauser_self = pauser();
	choice = rng_next(&pauser_self->rng);
	if ((choice & 0xffff) % often[point].yield == 0)
		yield(1 + (choice >> 32) % 3);
	else if (often[point].late && (choice >> 16 & 0xffff) % often[point].late == 0)
		come_late(folio);
}
