/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pause.c - the actions at a pause point.
 *
 * Usually nothing happens; sometimes the thread yields. At points where a thread holds an object
 * that may begin another use, it sometimes waits until that has happened. The most important of
 * these points is between a put's subtraction that reaches zero and its CAS:
 *
 *   stalled putter              others
 *   1 -> 0, waits
 *                               a late getter finds it (pause_stalled), 0 -> 1, and puts: 1 -> 0 ->
 *                               frozen
 *                               release; the object begins another use, which perhaps ends
 *   CAS
 *
 * This is a reuse race passed. Half of the stalled putters wait for more: until the word is zero
 * again in the later use, which means that another putter is stalled there. Then this CAS wins, and
 * releases a use to which the thread never had a reference.
 *
 * A wait is for an event, not for a time. It also ends after enough yields, or when no thread is
 * left that could cause the event, so the test cannot deadlock on itself.
 */
#include <folio/folio.h>

#include "base/pause.h"
#include "torture.h"

struct pauser {
	struct rng rng;
	bool ready;
	bool passed; /* the put in progress has passed a reuse */
};

static _Thread_local struct pauser self;
static folio_u32 on;
static folio_u32 waiting;
static folio_u64 next_thread;
static folio_u64 *(*use_count_of)(const void *object);

static struct {
	folio_u64 zeros, stalled, passed, won, uses_passed, junk_resets, late, yields;
} count;

/*
 * Late getters take objects from here. Descriptors and objects are type-stable, so an old entry is
 * as useful as a new one.
 */
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
	use_count_of = mode->use_count;
	count.zeros = count.stalled = count.passed = count.won = count.uses_passed = 0;
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
		.uses_passed = folio_u64_load_relaxed(&count.uses_passed),
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
		yield_turn();
}

void *pause_stalled(struct rng *rng)
{
	return folio_ptr_load_relaxed(&stalled[rng_below(rng, STALLED)]);
}

/* Waits until @use_count is past @seen, for at most @yields. Returns the difference. */
static uint64_t wait_for_use(folio_u64 *use_count, uint64_t seen, unsigned yields)
{
	uint64_t now = folio_u64_load_relaxed(use_count);

	if (folio_u32_fetch_add_relaxed(&waiting, 1) + 1 < torture_active()) {
		while (now == seen && yields-- > 0 &&
			folio_u32_load_relaxed(&waiting) < torture_active() &&
			!torture_stopping()) {
			yield_turn();
			now = folio_u64_load_relaxed(use_count);
		}
	}
	folio_u32_fetch_sub_relaxed(&waiting, 1);
	return now - seen;
}

/* Waits until @ref is zero, for at most @yields. */
static void wait_for_zero(struct folio_ref *ref, unsigned yields)
{
	if (folio_u32_fetch_add_relaxed(&waiting, 1) + 1 < torture_active()) {
		while (folio_u32_load_relaxed(&ref->word) != 0 && yields-- > 0 &&
			folio_u32_load_relaxed(&waiting) < torture_active() && !torture_stopping())
			yield_turn();
	}
	folio_u32_fetch_sub_relaxed(&waiting, 1);
}

#define STALL_YIELDS 256

static void at_zero(struct pauser *pauser, struct folio_ref *ref)
{
	uint64_t choice = rng_next(&pauser->rng), seen, uses;
	folio_u64 *use_count = use_count_of ? use_count_of(ref) : NULL;

	pauser->passed = false;
	if (!use_count)
		return;
	add(&count.zeros, 1);
	seen = folio_u64_load_relaxed(use_count);
	switch (choice % 8) {
	case 0:
	case 1:
	case 2:
		add(&count.stalled, 1);
		folio_ptr_store_relaxed(&stalled[(choice >> 8) % STALLED], ref);
		uses = wait_for_use(use_count, seen, STALL_YIELDS);
		if (uses && choice & 16)
			wait_for_zero(ref, STALL_YIELDS);
		break;
	case 3:
		yield(1 + (choice >> 8) % 3);
		break;
	default:
		break;
	}
	uses = folio_u64_load_relaxed(use_count) - seen;
	if (uses) {
		pauser->passed = true;
		add(&count.passed, 1);
		add(&count.uses_passed, uses);
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

/* Waits for a reuse of the object found, so that the get or copy comes late. */
static void come_late(const void *object)
{
	folio_u64 *use_count = object && use_count_of ? use_count_of(object) : NULL;

	if (use_count && wait_for_use(use_count, folio_u64_load_relaxed(use_count), 64))
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

/* At each of the library's points: one in so many times; 0: never. */
static const struct {
	uint16_t yield, late;
} often[FOLIO_PAUSES] = {
	[FOLIO_PAUSE_copy_before_version] = {.yield = 64, .late = 256},
	[FOLIO_PAUSE_copy_before_slot] = {.yield = 64, .late = 256},
	[FOLIO_PAUSE_copy_before_copy] = {.yield = 64, .late = 256},
	[FOLIO_PAUSE_pin_before_get] = {.yield = 64, .late = 128},
	[FOLIO_PAUSE_pin_before_slot] = {.yield = 32},
	[FOLIO_PAUSE_pin_seen] = {.yield = 32, .late = 256},
	[FOLIO_PAUSE_pin_published] = {.yield = 32, .late = 256},
	[FOLIO_PAUSE_pin_looked] = {.yield = 32, .late = 256},
	[FOLIO_PAUSE_publish_barrier] = {.yield = 4},
	[FOLIO_PAUSE_publish_scanned] = {.yield = 4},
	[FOLIO_PAUSE_evict_isolated] = {.yield = 4},
	[FOLIO_PAUSE_evict_frozen] = {.yield = 16},
	[FOLIO_PAUSE_evict_broken] = {.yield = 16},
	[FOLIO_PAUSE_evict_erased] = {.yield = 16},
	[FOLIO_PAUSE_evict_requeued] = {.yield = 4},
	[FOLIO_PAUSE_thread_started] = {.yield = 1},
	[FOLIO_PAUSE_fill_unfrozen] = {.yield = 16},
	[FOLIO_PAUSE_fill_read] = {.yield = 16},
	[FOLIO_PAUSE_fill_settled] = {.yield = 16},
	[FOLIO_PAUSE_fill_unlocked] = {.yield = 8},
	[FOLIO_PAUSE_fill_erased] = {.yield = 4},
	[FOLIO_PAUSE_watch_insert] = {.yield = 4},
	[FOLIO_PAUSE_watch_call] = {.yield = 4},
	[FOLIO_PAUSE_async_stepped] = {.yield = 4},
	[FOLIO_PAUSE_drop_erased] = {.yield = 4},
	[FOLIO_PAUSE_drop_sized] = {.yield = 2},
	[FOLIO_PAUSE_drop_grown] = {.yield = 2},
	[FOLIO_PAUSE_drop_drained] = {.yield = 2},
	[FOLIO_PAUSE_split_erased] = {.yield = 4},
	[FOLIO_PAUSE_split_stored] = {.yield = 4},
	[FOLIO_PAUSE_split_found] = {.yield = 4},
	[FOLIO_PAUSE_copy_measured] = {.yield = 32},
	[FOLIO_PAUSE_write_copied] = {.yield = 16},
	[FOLIO_PAUSE_punch_measured] = {.yield = 4},
	[FOLIO_PAUSE_close_checked] = {.yield = 4},
	[FOLIO_PAUSE_bounce_copied] = {.yield = 4},
	[FOLIO_PAUSE_log_looked] = {.yield = 2},
	[FOLIO_PAUSE_log_called] = {.yield = 2},
	[FOLIO_PAUSE_log_written] = {.yield = 2},
	[FOLIO_PAUSE_collect_seen] = {.yield = 16},
	[FOLIO_PAUSE_run_collected] = {.yield = 4},
	[FOLIO_PAUSE_run_failed] = {.yield = 4},
	[FOLIO_PAUSE_thread_woken] = {.yield = 4},
	[FOLIO_PAUSE_sync_ended] = {.yield = 4},
	[FOLIO_PAUSE_error_found] = {.yield = 4},
	[FOLIO_PAUSE_pins_owner] = {.yield = 4},
	[FOLIO_PAUSE_pins_made] = {.yield = 1},
	[FOLIO_PAUSE_pins_noted] = {.yield = 4},
	[FOLIO_PAUSE_walk_done] = {.yield = 256},
	[FOLIO_PAUSE_futex_sleep] = {.yield = 4},
	[FOLIO_PAUSE_futex_woken] = {.yield = 4},
	[FOLIO_PAUSE_futex_wake] = {.yield = 4},
	[FOLIO_PAUSE_cond_sleep] = {.yield = 16},
	[FOLIO_PAUSE_ring_sleep] = {.yield = 4},
	[FOLIO_PAUSE_ring_wake] = {.yield = 4},
};

void folio_torture_pause(enum folio_pause point, const void *object)
{
	struct pauser *pauser_self;
	folio_u64 *use_count;
	uint64_t choice;

	/* The thread that begins a use counts it before any other thread can find the folio. */
	if (point == FOLIO_PAUSE_fill_unfrozen && use_count_of &&
		(use_count = use_count_of(object)))
		folio_u64_fetch_add_relaxed(use_count, 1);
	/* acquire: pairs with pause_begin; threads of the cache run before it. */
	if (!folio_u32_load_acquire(&on))
		return;
	pauser_self = pauser();
	choice = rng_next(&pauser_self->rng);
	if ((choice & 0xffff) % often[point].yield == 0)
		yield(1 + (choice >> 32) % 3);
	else if (often[point].late && (choice >> 16 & 0xffff) % often[point].late == 0)
		come_late(object);
}
