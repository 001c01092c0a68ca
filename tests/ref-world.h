/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ref-world.h - objects under the counter, users that follow the rules R1-R5 of folio/ref.h, and
 * bookkeeping that detects violations. tests/unit/ref.c (32 bits) and tests/unit/ref-narrow.c (8
 * bits) share it. It defines the pause hook of ref.h, so it must be included before any other
 * header that includes ref.h.
 *
 * The bookkeeping uses relaxed atomics, and the payload of an object is plain memory. So when the
 * tests are built with TSan, TSan checks that the counter alone orders the payload.
 */
#ifndef FOLIO_TESTS_REF_WORLD_H
#define FOLIO_TESTS_REF_WORLD_H

#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "schedule.h"
#include "schedule-atomic.h"

enum world_pause { PAUSE_put_before_freeze, PAUSE_junk_reset };

static void world_pause(enum world_pause point);

/* These tests do things that the checks of the debug build would stop. */
#undef FOLIO_REF_DEBUG
#define FOLIO_REF_PAUSE(point) world_pause(PAUSE_##point)
#include <folio/ref.h>

/* Types of objects. A thread that looked for one type cannot use an object of the other. */
enum world_type { TYPE_X, TYPE_Y, WORLD_TYPES };

#define WORLD_OBJECTS 4
#define WORLD_SLOTS   4
#define WORLD_DATA    6

struct world_object {
	struct folio_ref ref;

	/* Written while frozen; read by holders and by the releasing thread. */
	enum world_type type;
	uint32_t data[WORLD_DATA]; /* all equal */

	/* Bookkeeping, relaxed. */
	uint32_t alive;     /* between the unfreeze that begins a use and its release */
	uint32_t born_as;   /* type at the beginning of the use */
	uint32_t exclusive; /* a thread has it frozen and is changing it */
	uint32_t life;

	/* The allocator's; guarded by world.lock, or accessed by one thread alone. */
	bool is_free;
};

/* Look-ups go through slots. A slot holds objects of one type. */
struct world_slot {
	folio_ptr object;
	enum world_type type; /* set at creation */
	/* held to erase: until then the slot keeps its reference to its object */
	pthread_mutex_t lock;
};

static struct {
	struct world_object object[WORLD_OBJECTS];
	struct world_slot slot[WORLD_SLOTS];
	pthread_mutex_t lock; /* the allocator's */

	/* Relaxed. */
	uint32_t lives[WORLD_TYPES];
	uint32_t releases[WORLD_TYPES];
	uint32_t violations;
	uint32_t zeros;      /* puts that saw zero */
	uint32_t revivals;   /* ... and did not freeze */
	uint32_t reuse_wins; /* ... and froze a later use than the one that was put */
	/* ... and froze a zero left by another thread; under schedule.h only */
	uint32_t foreign_wins;
	uint32_t frozen;    /* freezes that succeeded */
	uint32_t validated; /* look-ups that succeeded */
	uint32_t refused;   /* gets that failed */
	uint32_t resets;    /* iterations of the loop that resets junk */
} world = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* The current test's hook for the pause points, on this thread. */
static __thread void (*world_pause_fn)(enum world_pause point);
/* The put that this thread is executing. */
static __thread struct world_object *world_putting;
static __thread uint32_t world_putting_life;
static __thread bool world_putting_zero;
static __thread char world_me; /* its address identifies the thread */
static void *world_last_zero;

static uint32_t ghost_load(const uint32_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static uint32_t ghost_exchange(uint32_t *p, uint32_t value)
{
	return __atomic_exchange_n(p, value, __ATOMIC_RELAXED);
}

static void ghost_count(uint32_t *p)
{
	__atomic_fetch_add(p, 1, __ATOMIC_RELAXED);
}

static void world_violation(const char *what)
{
	ghost_count(&world.violations);
	if (schedule_self)
		schedule_fail(what);
	else if (ghost_load(&world.violations) <= 10)
		fprintf(stderr, "violation: %s\n", what);
}

static void world_demand(bool condition, const char *what)
{
	if (!condition)
		world_violation(what);
}

static void world_pause(enum world_pause point)
{
	if (point == PAUSE_put_before_freeze) {
		ghost_count(&world.zeros);
		world_putting_zero = true;
		if (world_putting)
			world_putting_life = ghost_load(&world_putting->life);
		__atomic_store_n(&world_last_zero, (void *)&world_me, __ATOMIC_RELAXED);
	} else {
		ghost_count(&world.resets);
	}
	if (world_pause_fn)
		world_pause_fn(point);
}

/* All objects free, all slots empty. */
static void world_begin(void)
{
	unsigned i;

	world_pause_fn = NULL;
	for (i = 0; i < WORLD_OBJECTS; i++) {
		struct world_object *object = &world.object[i];

		memset(object, 0, sizeof(*object));
		folio_ref_init_frozen(&object->ref);
		object->is_free = true;
	}
	for (i = 0; i < WORLD_SLOTS; i++) {
		folio_ptr_store_relaxed(&world.slot[i].object, NULL);
		world.slot[i].type = i % WORLD_TYPES;
		pthread_mutex_init(&world.slot[i].lock, NULL);
	}
	memset(world.lives, 0, sizeof(world.lives));
	memset(world.releases, 0, sizeof(world.releases));
	world.violations = 0;
}

/* For the coverage counts of a test, which may begin many worlds. */
static void world_forget(void)
{
	world.zeros = world.revivals = world.reuse_wins = world.foreign_wins = 0;
	world.frozen = world.validated = world.refused = world.resets = 0;
}

/*
 * The caller has frozen the object and no other thread knows of it. Begins a new use with @count
 * references.
 */
static void world_born(struct world_object *object, enum world_type type, uint32_t count)
{
	unsigned i;

	world_demand(folio_ref_is_frozen(&object->ref), "an allocated object is not frozen");
	object->type = type;
	ghost_count(&object->life);
	for (i = 0; i < WORLD_DATA; i++)
		object->data[i] = ghost_load(&object->life);
	ghost_count(&world.lives[type]);
	ghost_exchange(&object->born_as, type);
	if (ghost_exchange(&object->alive, 1))
		world_violation("a second use before the first was released");
	folio_ref_unfreeze(&object->ref, count);
}

/*
 * Called by the thread whose put returned true. @believed: the type that the caller assumed; R2
 * says to ignore it.
 */
static void world_release(struct world_object *object, enum world_type believed)
{
	enum world_type type;

	(void)believed;
	schedule_point();
	if (!ghost_exchange(&object->alive, 0)) {
		/* Not returned to the allocator: another thread has it already. */
		world_violation("released twice");
		return;
	}
	type = object->type;
	world_demand(
		type == ghost_load(&object->born_as), "released as a type that it does not have");
	world_demand(folio_ref_is_frozen(&object->ref), "not frozen while it is released");
	world_demand(
		!ghost_load(&object->exclusive), "released while another thread has it frozen");
	ghost_count(&world.releases[type]);
	pthread_mutex_lock(&world.lock);
	object->is_free = true;
	pthread_mutex_unlock(&world.lock);
}

/* Returns a free object, frozen, or NULL. */
static struct world_object *world_take(void)
{
	struct world_object *object = NULL;
	unsigned i;

	schedule_point();
	pthread_mutex_lock(&world.lock);
	for (i = 0; i < WORLD_OBJECTS && !object; i++) {
		if (world.object[i].is_free) {
			object = &world.object[i];
			object->is_free = false;
		}
	}
	pthread_mutex_unlock(&world.lock);
	return object;
}

static bool world_put_n(struct world_object *object, uint32_t n)
{
	bool won;

	world_putting = object;
	world_putting_zero = false;
	won = folio_ref_put_n(&object->ref, n);
	if (world_putting_zero && !won)
		ghost_count(&world.revivals);
	if (won && ghost_load(&object->life) != world_putting_life)
		ghost_count(&world.reuse_wins);
	if (won && __atomic_load_n(&world_last_zero, __ATOMIC_RELAXED) != (void *)&world_me)
		ghost_count(&world.foreign_wins);
	world_putting = NULL;
	return won;
}

static void world_drop(struct world_object *object, enum world_type believed, uint32_t n)
{
	if (world_put_n(object, n))
		world_release(object, believed);
}

/*
 * Checks a validated reference: the object has the slot's type, is consistent, and no thread has
 * exclusive access.
 */
static void world_check_held(struct world_object *object, enum world_type type)
{
	uint32_t first;
	unsigned i;

	schedule_point();
	world_demand(!folio_ref_is_frozen(&object->ref), "a held object is frozen");
	world_demand(ghost_load(&object->alive), "a held object is free");
	world_demand(
		!ghost_load(&object->exclusive), "a held object is being changed by a freezer");
	world_demand(object->type == type, "a held object has another type");
	first = object->data[0];
	for (i = 1; i < WORLD_DATA; i++)
		world_demand(object->data[i] == first, "the data of a held object change");
}

/* An optimistic reference to an object that was seen in @slot some time ago. */
static bool world_get(struct world_slot *slot, struct world_object *object, uint32_t n)
{
	if (!folio_ref_try_get_n(&object->ref, n)) {
		ghost_count(&world.refused);
		return false;
	}
	/*
	 * R3: the object may be gone or have another type now. acquire: sees what the thread that
	 * stored it in the slot has set up.
	 */
	if (folio_ptr_load_acquire(&slot->object) != object) {
		world_drop(object, slot->type, n);
		return false;
	}
	ghost_count(&world.validated);
	return true;
}

static struct world_object *world_lookup(struct world_slot *slot, uint32_t n)
{
	struct world_object *object = (struct world_object *)folio_ptr_load_acquire(&slot->object);

	if (object && world_get(slot, object, n))
		return object;
	return NULL;
}

/* One of the caller's references becomes the slot's. False: the slot is in use. */
static bool world_publish(struct world_slot *slot, struct world_object *object)
{
	void *empty = NULL;

	return folio_ptr_cas_release(&slot->object, &empty, object);
}

/* R4: out of the slot first, then drop the reference. */
static void world_erase(struct world_slot *slot)
{
	struct world_object *object;

	pthread_mutex_lock(&slot->lock);
	object = (struct world_object *)folio_ptr_exchange_acquire(&slot->object, NULL);
	pthread_mutex_unlock(&slot->lock);
	if (object)
		world_drop(object, slot->type, 1);
}

/* The caller holds @expected references and freezes the object if there is no other. */
static bool world_freeze_and_change(struct world_object *object, uint32_t expected)
{
	uint32_t value;
	unsigned i;

	if (!folio_ref_try_freeze(&object->ref, expected))
		return false;
	ghost_count(&world.frozen);
	if (ghost_exchange(&object->exclusive, 1))
		world_violation("two threads have it frozen");
	value = object->data[0] + 0x10000;
	for (i = 0; i < WORLD_DATA; i++) {
		object->data[i] = value;
		if (i == WORLD_DATA / 2)
			schedule_point();
	}
	world_demand(ghost_load(&object->alive), "a frozen object is free");
	world_demand(folio_ref_is_frozen(&object->ref), "not frozen after a freeze");
	ghost_exchange(&object->exclusive, 0);
	folio_ref_unfreeze(&object->ref, expected);
	return true;
}

/* Above the scaled-down counter the word has spare bits, which must stay unused. */
static bool world_carried(struct world_object *object)
{
	uint32_t range = FOLIO_REF_FROZEN | (FOLIO_REF_FROZEN - 1);

	return ghost_load(&object->ref.word) & ~range;
}

/*
 * All threads have stopped, and only slots own references. Each use must have been released once.
 */
static void world_end(void)
{
	unsigned i;

	for (i = 0; i < WORLD_SLOTS; i++)
		world_erase(&world.slot[i]);
	for (i = 0; i < WORLD_OBJECTS; i++) {
		world_demand(world.object[i].is_free, "an object was never released");
		world_demand(
			folio_ref_is_frozen(&world.object[i].ref), "an object is left unfrozen");
		world_demand(folio_ref_count(&world.object[i].ref) == 0,
			"an object is left with references");
		world_demand(
			!world_carried(&world.object[i]), "a word has carried out of its range");
	}
	for (i = 0; i < WORLD_TYPES; i++)
		world_demand(world.lives[i] == world.releases[i], "uses and releases differ");
}

/* end() of a plan of schedule.h. */
static inline void world_end_plan(void)
{
	world_end();
	if (world.violations)
		schedule_fail("the final state is wrong");
}

/*
 * The stress test: threads look up, hold, freeze, insert, erase, and take references through stale
 * pointers. There are so few objects that each is reused all the time.
 */

#define STRESS_THREADS 4

struct stress_thread {
	pthread_t thread;
	uint64_t random;
	uint64_t steps;
	unsigned stale_percent;
};

static __thread uint64_t stress_pause_random;

static uint64_t world_random(uint64_t *state)
{
	/* xorshift64*: any state but 0. */
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717);
}

static inline uint64_t world_seed(void)
{
	const char *given = getenv("FOLIO_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) << 20 | getpid();

	printf("# FOLIO_SEED=%llu\n", (unsigned long long)seed);
	return seed;
}

static inline uint64_t world_scaled(uint64_t amount)
{
	const char *scale = getenv("FOLIO_TEST_SCALE");
	double product = (double)amount * (scale ? strtod(scale, NULL) : 1.0);

	return product < 1 ? 1 : (uint64_t)product;
}

/* Widens the windows: usually a short spin, sometimes a yield to other threads. */
static void stress_pause(enum world_pause point)
{
	uint64_t random = world_random(&stress_pause_random) >> 40;
	volatile unsigned spin;

	(void)point;
	if (random % 16 == 0)
		sched_yield();
	else
		for (spin = 0; spin < random % 64; spin++)
			;
}

static void stress_step(struct stress_thread *self)
{
	uint64_t random = world_random(&self->random) >> 16;
	struct world_slot *slot = &world.slot[random % WORLD_SLOTS];
	unsigned what = random / WORLD_SLOTS % 100;
	uint32_t n = 1 + random / 1024 % (FOLIO_REF_COUNT_MAX < 3 ? FOLIO_REF_COUNT_MAX : 3);
	struct world_object *object;

	if (what < self->stale_percent) {
		object = &world.object[random / 4096 % WORLD_OBJECTS];
		if (!world_get(slot, object, n))
			return;
		world_check_held(object, slot->type);
		world_drop(object, slot->type, n);
	} else if (what < 70) {
		object = world_lookup(slot, n);
		if (!object)
			return;
		world_check_held(object, slot->type);
		folio_ref_get(&object->ref);
		world_check_held(object, slot->type);
		world_drop(object, slot->type, n);
		world_check_held(object, slot->type);
		world_drop(object, slot->type, 1);
	} else if (what < 80) {
		object = world_lookup(slot, n);
		if (!object)
			return;
		/*
		 * This thread's references and the slot's, which cannot be dropped while the lock
		 * is held.
		 */
		pthread_mutex_lock(&slot->lock);
		if (folio_ptr_load_relaxed(&slot->object) == object)
			world_freeze_and_change(object, n + 1);
		pthread_mutex_unlock(&slot->lock);
		world_check_held(object, slot->type);
		world_drop(object, slot->type, n);
	} else if (what < 90) {
		object = world_take();
		if (!object)
			return;
		world_born(object, slot->type, 2);
		if (!world_publish(slot, object))
			world_drop(object, slot->type, 1);
		world_check_held(object, slot->type);
		world_drop(object, slot->type, 1);
	} else {
		world_erase(slot);
	}
}

static void *stress_thread(void *argument)
{
	struct stress_thread *self = (struct stress_thread *)argument;

	stress_pause_random = self->random | 1;
	world_pause_fn = stress_pause;
	while (self->steps-- && !ghost_load(&world.violations))
		stress_step(self);
	return NULL;
}

/* Returns the number of violations. */
static inline uint32_t world_stress(uint64_t seed, uint64_t steps, unsigned stale_percent)
{
	struct stress_thread threads[STRESS_THREADS];
	unsigned i;

	world_begin();
	world_forget();
	for (i = 0; i < STRESS_THREADS; i++) {
		threads[i].random = seed + (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
		if (!threads[i].random)
			threads[i].random = 1;
		threads[i].steps = steps;
		threads[i].stale_percent = stale_percent;
		if (pthread_create(&threads[i].thread, NULL, stress_thread, &threads[i]))
			abort();
	}
	for (i = 0; i < STRESS_THREADS; i++)
		pthread_join(threads[i].thread, NULL);
	world_end();
	printf("# stress: %u uses, %u look-ups, %u refused gets, %u freezes, %u zeros, "
	       "%u cancelled, %u won in a later use, %u resets; %u violations\n",
		world.lives[TYPE_X] + world.lives[TYPE_Y], world.validated, world.refused,
		world.frozen, world.zeros, world.revivals, world.reuse_wins, world.resets,
		world.violations);
	return world.violations;
}

/*
 * One row per transition: the word before, the operation, the word after. These hold for any width.
 */

enum world_op { OP_TRY_GET, OP_GET, OP_PUT, OP_FREEZE, OP_UNFREEZE };

struct world_transition {
	enum world_op op;
	uint32_t n;
	uint32_t before, after;
	bool result;
};

#define WORLD_MAX   FOLIO_REF_MAX
#define WORLD_ICE   FOLIO_REF_FROZEN
#define WORLD_LIMIT FOLIO_REF_JUNK_LIMIT

static const struct world_transition world_transitions[] = {
	/* Live: one more, up to the limit. The transient zero counts as live. */
	{OP_TRY_GET, 1, 0, 1, true},
	{OP_TRY_GET, 1, 1, 2, true},
	{OP_TRY_GET, 1, WORLD_MAX - 2, WORLD_MAX - 1, true},
	{OP_TRY_GET, 1, WORLD_MAX - 1, WORLD_MAX, true},
	/* Past the limit: refused, and the word is unchanged. */
	{OP_TRY_GET, 1, WORLD_MAX, WORLD_MAX, false},
	{OP_TRY_GET, 1, WORLD_MAX + 1, WORLD_MAX + 1, false},
	{OP_TRY_GET, 1, WORLD_MAX + WORLD_MAX / 2, WORLD_MAX + WORLD_MAX / 2, false},
	{OP_TRY_GET, 1, WORLD_ICE - 2, WORLD_ICE - 2, false},
	/* Frozen: refused, and junk is left, up to the limit at which it is reset. */
	{OP_TRY_GET, 1, WORLD_ICE, WORLD_ICE + 1, false},
	{OP_TRY_GET, 1, WORLD_ICE + 1, WORLD_ICE + 2, false},
	{OP_TRY_GET, 1, WORLD_ICE + 20, WORLD_ICE + 21, false},
	{OP_TRY_GET, 1, WORLD_LIMIT - 2, WORLD_LIMIT - 1, false},
	{OP_TRY_GET, 1, WORLD_LIMIT - 1, WORLD_ICE, false},
	{OP_TRY_GET, 1, WORLD_LIMIT, WORLD_ICE, false},
	{OP_TRY_GET, 1, WORLD_LIMIT + WORLD_MAX / 2, WORLD_ICE, false},
	{OP_TRY_GET, 1, WORLD_LIMIT + WORLD_MAX - 2, WORLD_ICE, false},

	{OP_GET, 1, 1, 2, true},
	{OP_GET, 1, 7, 8, true},
	{OP_GET, 1, WORLD_MAX - 1, WORLD_MAX, true},

	/* The put that leaves zero freezes. */
	{OP_PUT, 1, 1, WORLD_ICE, true},
	{OP_PUT, 1, 2, 1, false},
	{OP_PUT, 2, 2, WORLD_ICE, true},
	{OP_PUT, 2, 3, 1, false},
	{OP_PUT, 9, 9, WORLD_ICE, true},
	{OP_PUT, 9, 11, 2, false},
	{OP_PUT, 1, WORLD_MAX, WORLD_MAX - 1, false},
	{OP_PUT, WORLD_MAX - 1, WORLD_MAX, 1, false},
	{OP_PUT, WORLD_MAX, WORLD_MAX, WORLD_ICE, true},
	{OP_PUT, 1, WORLD_MAX + 3, WORLD_MAX + 2, false},
	{OP_PUT, WORLD_MAX + 3, WORLD_MAX + 3, WORLD_ICE, true},

	/* Only a live word with exactly the expected count. */
	{OP_FREEZE, 1, 1, WORLD_ICE, true},
	{OP_FREEZE, 5, 5, WORLD_ICE, true},
	{OP_FREEZE, WORLD_MAX, WORLD_MAX, WORLD_ICE, true},
	{OP_FREEZE, 1, 0, 0, false},
	{OP_FREEZE, 1, 2, 2, false},
	{OP_FREEZE, 2, 1, 1, false},
	{OP_FREEZE, 2, 3, 3, false},
	{OP_FREEZE, 1, WORLD_ICE, WORLD_ICE, false},
	{OP_FREEZE, 1, WORLD_ICE + 1, WORLD_ICE + 1, false},

	/* A store, so junk is gone. */
	{OP_UNFREEZE, 1, WORLD_ICE, 1, true},
	{OP_UNFREEZE, 3, WORLD_ICE, 3, true},
	{OP_UNFREEZE, WORLD_MAX, WORLD_ICE, WORLD_MAX, true},
	{OP_UNFREEZE, 1, WORLD_ICE + 1, 1, true},
	{OP_UNFREEZE, 2, WORLD_ICE + 33, 2, true},
	{OP_UNFREEZE, 1, WORLD_LIMIT - 1, 1, true},
	{OP_UNFREEZE, WORLD_MAX, WORLD_LIMIT + 5, WORLD_MAX, true},
};

static const char *const world_op_name[] = {"try_get", "get", "put", "try_freeze", "unfreeze"};

static bool world_apply(struct folio_ref *ref, enum world_op op, uint32_t n)
{
	switch (op) {
	case OP_TRY_GET:
		return n == 1 ? folio_ref_try_get(ref) : folio_ref_try_get_n(ref, n);
	case OP_GET:
		if (n == 1)
			folio_ref_get(ref);
		else
			folio_ref_get_n(ref, n);
		return true;
	case OP_PUT:
		return n == 1 ? folio_ref_put(ref) : folio_ref_put_n(ref, n);
	case OP_FREEZE:
		return folio_ref_try_freeze(ref, n);
	case OP_UNFREEZE:
		folio_ref_unfreeze(ref, n);
		return true;
	}
	return false;
}

/* Prints the rows with another outcome and returns their number. */
static inline unsigned world_check_transitions(const struct world_transition *row, size_t rows)
{
	unsigned wrong = 0;

	for (; rows--; row++) {
		struct folio_ref ref;
		bool result;

		ref.word = row->before;
		result = world_apply(&ref, row->op, row->n);
		if (result == row->result && ref.word == row->after)
			continue;
		wrong++;
		fprintf(stderr, "%s(%u) of 0x%x: 0x%x and %d, not 0x%x and %d\n",
			world_op_name[row->op], row->n, row->before, ref.word, result, row->after,
			row->result);
	}
	return wrong;
}

/* The two read-only operations. Returns how many words were read wrongly. */
static inline unsigned world_check_reads(void)
{
	static const struct {
		uint32_t word, count;
		bool frozen;
	} rows[] = {
		{0, 0, false},
		{1, 1, false},
		{2, 2, false},
		{WORLD_MAX, WORLD_MAX, false},
		{WORLD_MAX + 1, WORLD_MAX + 1, false},
		{WORLD_ICE - 1, WORLD_ICE - 1, false},
		{WORLD_ICE, 0, true},
		{WORLD_ICE + 1, 0, true},
		{WORLD_LIMIT - 1, 0, true},
		{WORLD_LIMIT, 0, true},
		{WORLD_ICE + (WORLD_ICE - 1), 0, true},
	};
	unsigned wrong = 0;
	unsigned i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct folio_ref ref;

		ref.word = rows[i].word;
		if (folio_ref_count(&ref) == rows[i].count &&
			folio_ref_is_frozen(&ref) == rows[i].frozen && ref.word == rows[i].word)
			continue;
		wrong++;
		fprintf(stderr, "0x%x reads as %u, frozen %d\n", rows[i].word,
			folio_ref_count(&ref), folio_ref_is_frozen(&ref));
	}
	return wrong;
}

#endif
