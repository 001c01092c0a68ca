/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * counter.c - mode counter: the counter alone, used by its rules (R1 to R5 of ref.h), under the
 * heaviest load possible.
 *
 * There is an array of objects that is never unmapped; a list of free objects, newest first, so
 * that a released object is soon in use again; and slots through which objects are found. An object
 * has a type, which determines its release, and a payload that is a function of its number, its use
 * and its type. The payload is plain memory, written by the thread that has the object frozen. So
 * TSan checks the counter's memory order, and every reader checks every word.
 *
 * A thread chooses at random among:
 *
 *   find      load a slot, get, check the slot again (R3); check the payload; perhaps keep the
 *             reference
 *   late      get an object that was found earlier, or never; put. Whatever it was, it is no longer
 *             there
 *   publish   take a free object, give it a type that is found through a slot
 *   own       take a free object, give it a type that no slot leads to, pass references around, put
 *   erase     clear the slot's entry, then put the slot's reference (R4)
 *   change    freeze at the exact count, change type and payload, unfreeze
 *   evict     freeze, empty the slot, release without a put
 *   burst     keep an object frozen while the gets of all threads fail on it, until the junk is
 *             reset
 *   pile      take references until they are refused, and put them back
 */
#include <stdlib.h>
#include <string.h>

#include <folio/ref.h>

#include "torture.h"

enum count {
	COUNT_USES,
	COUNT_GETS,          /* succeeded and checked */
	COUNT_GETS_LATE,     /* succeeded on an object that was no longer there */
	COUNT_GETS_FAILED,   /* the object was frozen */
	COUNT_REFUSED,       /* too many references */
	COUNT_RELEASES,      /* by a put */
	COUNT_RELEASES_LATE, /* of those, by a late getter's put */
	COUNT_FREEZES,
	COUNT_FREEZES_FAILED,
	COUNT_EVICTIONS, /* releases by a freezer */
	COUNT_NO_FREE,   /* no object was free */
};

static const char *const count_names[] = {"uses", "gets", "gets, late", "gets, failed",
	"gets, refused", "releases", "releases by late getters", "freezes", "freezes, failed",
	"evictions", "nothing free", NULL};

enum { HISTOGRAM_LATE };

static const char *const histogram_names[] = {
	"uses begun between finding an object and getting it", NULL};

enum state { STATE_FREE, STATE_LIVE, STATE_RELEASED };

/* Types. The release of each type knows what an object of the type must look like. */
enum type { TYPE_FREE, TYPE_SLOT_A, TYPE_SLOT_B, TYPE_OWN_A, TYPE_OWN_B, TYPES };

#define PAYLOAD 5

struct object {
	_Alignas(64) struct folio_ref ref;
	/* For checks only; no decision of the counter depends on these. */
	folio_u32 state;
	folio_u32 holders; /* checked references */
	folio_u64 use_count;
	/*
	 * Plain: written by the thread that has it frozen; read by holders and by the releasing
	 * thread.
	 */
	uint32_t type;
	uint32_t slot;
	uint64_t born; /* number of the use, as in the payload */
	uint64_t change;
	uint64_t payload[PAYLOAD];
	struct object *next; /* guarded by free_lock */
};

struct slot {
	_Alignas(64) folio_ptr entry;
	pthread_mutex_t lock; /* guards everything except loads of entry */
};

/* A checked reference that a worker keeps. */
struct kept {
	struct object *object;
	uint64_t born, change;
	bool checked; /* counted in holders */
};
#define KEPT 4

struct own {
	struct kept kept[KEPT];
};

static unsigned objects;
static struct object *object;
static unsigned slots;
static struct slot *slot;

static pthread_mutex_t free_lock = PTHREAD_MUTEX_INITIALIZER;
static struct object *free_list;

/* References to TYPE_OWN objects, to be taken over by other threads. */
#define PASSED 8
static folio_ptr passed[PASSED];

/* The object that a thread keeps frozen for a burst. */
static folio_ptr burst;

/* Live objects by type, for comparison with the releases by type. */
static folio_u64 live[TYPES];

static folio_u64 *use_count(const void *ref)
{
	return &((struct object *)ref)->use_count;
}

static uint64_t payload_word(const struct object *of, unsigned i)
{
	return mix64((uint64_t)(of - object) << 48 ^ (uint64_t)of->type << 40 ^ of->born << 8 ^
		     of->change << 3 ^ i);
}

/* The caller has it frozen. */
static void payload_fill(struct object *of)
{
	unsigned i;

	for (i = 0; i < PAYLOAD; i++)
		of->payload[i] = payload_word(of, i);
}

static bool payload_intact(const struct object *of)
{
	unsigned i;

	for (i = 0; i < PAYLOAD; i++)
		if (of->payload[i] != payload_word(of, i))
			return false;
	return true;
}

/* ---- uses ---- */

/* Returns a free object, frozen, or NULL. */
static struct object *take(struct worker *worker)
{
	struct object *taken;

	torture_lock(&free_lock);
	taken = free_list;
	if (taken)
		free_list = taken->next;
	pthread_mutex_unlock(&free_lock);
	if (!taken) {
		worker_add(worker, COUNT_NO_FREE, 1);
		return NULL;
	}
	if (!folio_ref_is_frozen(&taken->ref))
		violation(VIOLATION_NOT_FROZEN, "object %ld is free, its counter %#x",
			taken - object, folio_u32_load_relaxed(&taken->ref.word));
	return taken;
}

static void begin_use(struct worker *worker, struct object *taken, enum type type, uint32_t in_slot,
	uint32_t references)
{
	taken->type = type;
	taken->slot = in_slot;
	taken->born = folio_u64_fetch_add_relaxed(&taken->use_count, 1) + 1;
	taken->change = 0;
	payload_fill(taken);
	folio_u32_store_relaxed(&taken->state, STATE_LIVE);
	folio_u64_fetch_add_relaxed(&live[type], 1);
	worker_add(worker, COUNT_USES, 1);
	folio_ref_unfreeze(&taken->ref, references);
}

static void free_object(struct object *of)
{
	of->type = TYPE_FREE;
	memset(of->payload, 0xee, sizeof(of->payload));
	folio_u32_store_relaxed(&of->state, STATE_FREE);
	torture_lock(&free_lock);
	of->next = free_list;
	free_list = of;
	pthread_mutex_unlock(&free_lock);
}

static void release_slot(struct object *of)
{
	if (folio_ptr_load_relaxed(&slot[of->slot].entry) == of)
		violation(VIOLATION_RELEASED_VISIBLE, "object %ld use %lu, slot %u", of - object,
			(unsigned long)of->born, of->slot);
}

static void release_own(struct object *of)
{
	if (of->slot != slots)
		violation(VIOLATION_RELEASED_AS_OTHER, "private object %ld use %lu has slot %u",
			of - object, (unsigned long)of->born, of->slot);
}

/* R2: by the object's own type. */
static void (*const release_type[TYPES])(struct object *of) = {
	[TYPE_SLOT_A] = release_slot,
	[TYPE_SLOT_B] = release_slot,
	[TYPE_OWN_A] = release_own,
	[TYPE_OWN_B] = release_own,
};

/* The caller's put or freeze ended the use. */
static void release(struct object *of)
{
	uint32_t state = folio_u32_exchange_acquire(&of->state, STATE_RELEASED);
	uint32_t type = of->type;

	if (state != STATE_LIVE) {
		violation(VIOLATION_RELEASED_TWICE, "object %ld use %lu, state %u", of - object,
			(unsigned long)folio_u64_load_relaxed(&of->use_count), state);
		return;
	}
	if (folio_u32_load_relaxed(&of->holders))
		violation(VIOLATION_RELEASED_IN_USE, "object %ld use %lu, %u holders", of - object,
			(unsigned long)of->born, folio_u32_load_relaxed(&of->holders));
	if (type >= TYPES || !release_type[type] || !payload_intact(of) ||
		of->born != folio_u64_load_relaxed(&of->use_count))
		violation(VIOLATION_RELEASED_AS_OTHER,
			"object %ld use %lu type %u, counted use %lu", of - object,
			(unsigned long)of->born, type,
			(unsigned long)folio_u64_load_relaxed(&of->use_count));
	else
		release_type[type](of);
	folio_u64_fetch_sub_relaxed(&live[type % TYPES], 1);
	free_object(of);
}

static bool put_n(struct worker *worker, struct object *of, uint32_t n)
{
	bool won = folio_ref_put_n(&of->ref, n);

	pause_put_done(won);
	if (won) {
		worker_add(worker, COUNT_RELEASES, 1);
		release(of);
	}
	return won;
}

static bool try_get_n(struct worker *worker, struct object *of, uint32_t n)
{
	if (folio_ref_try_get_n(&of->ref, n))
		return true;
	worker_add(worker, folio_ref_is_frozen(&of->ref) ? COUNT_GETS_FAILED : COUNT_REFUSED, 1);
	return false;
}

/* ---- checked references ---- */

static void check_held(const struct kept *kept, const char *when)
{
	const struct object *of = kept->object;

	if (of->born != kept->born || of->change != kept->change || !payload_intact(of))
		violation(VIOLATION_HELD_CHANGED, "object %ld %s: use %lu.%lu was %lu.%lu, type %u",
			of - object, when, (unsigned long)of->born, (unsigned long)of->change,
			(unsigned long)kept->born, (unsigned long)kept->change, of->type);
	if (folio_ref_is_frozen(&of->ref))
		violation(VIOLATION_RELEASED_IN_USE, "object %ld use %lu %s: counter %#x",
			of - object, (unsigned long)kept->born, when,
			folio_u32_load_relaxed(&of->ref.word));
}

/* The caller has checked the reference again, or got it from a thread that had. */
static void hold(struct kept *kept, struct object *of)
{
	folio_u32_fetch_add_relaxed(&of->holders, 1);
	*kept = (struct kept){
		.object = of, .born = of->born, .change = of->change, .checked = true};
	check_held(kept, "when got");
}

static void drop_kept(struct worker *worker, struct kept *kept)
{
	struct object *of = kept->object;

	check_held(kept, "before put");
	folio_u32_fetch_sub_relaxed(&of->holders, 1);
	kept->object = NULL;
	put_n(worker, of, 1);
}

/* Steps 1 to 4 of a look-up. NULL: the slot is empty, or the object was lost. */
static struct object *find(struct worker *worker, unsigned in_slot, uint32_t n)
{
	struct object *of = folio_ptr_load_acquire(&slot[in_slot].entry);
	uint64_t found;

	if (!of)
		return NULL;
	found = folio_u64_load_relaxed(&of->use_count);
	pause_here(of);
	if (!try_get_n(worker, of, n))
		return NULL;
	histogram_add(
		&worker->histogram[HISTOGRAM_LATE], folio_u64_load_relaxed(&of->use_count) - found);
	pause_here(NULL);
	if (folio_ptr_load_acquire(&slot[in_slot].entry) != of) {
		worker_add(worker, COUNT_GETS_LATE, 1);
		if (put_n(worker, of, n))
			worker_add(worker, COUNT_RELEASES_LATE, 1);
		return NULL;
	}
	worker_add(worker, COUNT_GETS, 1);
	if (of->slot != in_slot || (of->type != TYPE_SLOT_A && of->type != TYPE_SLOT_B))
		violation(VIOLATION_HELD_FOREIGN,
			"object %ld use %lu type %u slot %u was found in slot %u", of - object,
			(unsigned long)of->born, of->type, of->slot, in_slot);
	return of;
}

/* ---- operations ---- */

static unsigned any_slot(struct worker *worker)
{
	return (unsigned)rng_below(&worker->rng, slots);
}

static void op_find(struct worker *worker)
{
	struct own *own = worker->own;
	struct kept kept;
	uint32_t n = rng_one_in(&worker->rng, 8) ? 3 : 1;
	struct object *of = find(worker, any_slot(worker), n);

	if (!of)
		return;
	hold(&kept, of);
	if (n == 3)
		put_n(worker, of, 2);
	if (rng_one_in(&worker->rng, 4)) {
		folio_ref_get(&of->ref);
		pause_here(NULL);
		check_held(&kept, "with two references");
		put_n(worker, of, 1);
	}
	if (rng_one_in(&worker->rng, 4)) {
		unsigned i = (unsigned)rng_below(&worker->rng, KEPT);

		if (own->kept[i].object)
			drop_kept(worker, &own->kept[i]);
		own->kept[i] = kept;
	} else {
		pause_here(NULL);
		drop_kept(worker, &kept);
	}
}

static void op_drop_kept(struct worker *worker)
{
	struct own *own = worker->own;
	unsigned i = (unsigned)rng_below(&worker->rng, KEPT);

	if (own->kept[i].object)
		drop_kept(worker, &own->kept[i]);
}

static void op_late(struct worker *worker)
{
	struct object *of = folio_ptr_load_acquire(&burst);
	uint32_t n = 1;
	unsigned times = 1;

	if (of) {
		n = FOLIO_REF_COUNT_MAX;
		times = 64;
	} else {
		of = rng_one_in(&worker->rng, 2) ? pause_stalled(&worker->rng) : NULL;
		if (!of)
			of = &object[rng_below(&worker->rng, objects)];
	}
	while (times-- > 0) {
		if (!try_get_n(worker, of, n))
			continue;
		worker_add(worker, COUNT_GETS_LATE, 1);
		pause_here(NULL);
		if (put_n(worker, of, n))
			worker_add(worker, COUNT_RELEASES_LATE, 1);
	}
}

static void op_publish(struct worker *worker)
{
	unsigned in_slot = any_slot(worker);
	struct object *taken;
	struct kept kept;

	if (folio_ptr_load_relaxed(&slot[in_slot].entry))
		return;
	taken = take(worker);
	if (!taken)
		return;
	/* One reference for the slot, one for this thread. */
	begin_use(
		worker, taken, rng_one_in(&worker->rng, 2) ? TYPE_SLOT_A : TYPE_SLOT_B, in_slot, 2);
	hold(&kept, taken);
	pause_here(NULL);
	torture_lock(&slot[in_slot].lock);
	if (!folio_ptr_load_relaxed(&slot[in_slot].entry)) {
		folio_ptr_store_release(&slot[in_slot].entry, taken);
		pthread_mutex_unlock(&slot[in_slot].lock);
	} else {
		pthread_mutex_unlock(&slot[in_slot].lock);
		put_n(worker, taken, 1);
	}
	drop_kept(worker, &kept);
}

/* A use that no slot leads to. Two plain puts and a late getter are enough for a reuse race. */
static void op_own(struct worker *worker)
{
	uint32_t references = 1 + (uint32_t)rng_below(&worker->rng, 3), left = references;
	struct object *taken = take(worker);
	unsigned i;

	if (!taken)
		return;
	begin_use(worker, taken, rng_one_in(&worker->rng, 2) ? TYPE_OWN_A : TYPE_OWN_B, slots,
		references);
	if (references > 1 && rng_one_in(&worker->rng, 2)) {
		struct kept kept;
		void *theirs;

		/*
		 * One reference goes to the next thread that comes here; the one found here is now
		 * ours.
		 */
		i = (unsigned)rng_below(&worker->rng, PASSED);
		theirs = folio_ptr_load_relaxed(&passed[i]);
		while (!folio_ptr_cas_acq_rel(&passed[i], &theirs, taken))
			continue;
		left--;
		if (theirs) {
			hold(&kept, theirs);
			drop_kept(worker, &kept);
		}
	}
	if (!rng_one_in(&worker->rng, 4)) {
		struct kept kept;

		hold(&kept, taken);
		pause_here(NULL);
		check_held(&kept, "as own object");
		folio_u32_fetch_sub_relaxed(&taken->holders, 1);
	}
	while (left-- > 0)
		put_n(worker, taken, 1);
}

static void op_erase(struct worker *worker)
{
	struct slot *in = &slot[any_slot(worker)];
	struct object *of;

	torture_lock(&in->lock);
	of = folio_ptr_load_relaxed(&in->entry);
	folio_ptr_store_relaxed(&in->entry, NULL);
	pthread_mutex_unlock(&in->lock);
	if (!of)
		return;
	pause_here(NULL);
	/*
	 * R4: the release order of the put orders the erase before anything that a late getter
	 * sees.
	 */
	put_n(worker, of, 1);
}

/*
 * Freezes the object in a slot, at the slot's reference and ours. The slot's lock keeps the slot's
 * reference in place.
 */
static void op_freeze(struct worker *worker, bool evict)
{
	unsigned in_slot = any_slot(worker);
	struct slot *in = &slot[in_slot];
	struct object *of = find(worker, in_slot, 1);
	bool frozen;

	if (!of)
		return;
	torture_lock(&in->lock);
	frozen = folio_ptr_load_relaxed(&in->entry) == of && folio_ref_try_freeze(&of->ref, 2);
	if (frozen) {
		if (folio_u32_load_relaxed(&of->holders))
			violation(VIOLATION_RELEASED_IN_USE,
				"object %ld use %lu is frozen with %u holders", of - object,
				(unsigned long)of->born, folio_u32_load_relaxed(&of->holders));
		if (!payload_intact(of))
			violation(VIOLATION_HELD_CHANGED, "object %ld use %lu when frozen",
				of - object, (unsigned long)of->born);
		pause_here(NULL);
		if (!folio_ref_is_frozen(&of->ref))
			violation(VIOLATION_NOT_FROZEN, "object %ld use %lu, counter %#x",
				of - object, (unsigned long)of->born,
				folio_u32_load_relaxed(&of->ref.word));
		if (evict) {
			folio_ptr_store_relaxed(&in->entry, NULL);
		} else {
			folio_u64_fetch_sub_relaxed(&live[of->type], 1);
			of->type = of->type == TYPE_SLOT_A ? TYPE_SLOT_B : TYPE_SLOT_A;
			of->change++;
			payload_fill(of);
			folio_u64_fetch_add_relaxed(&live[of->type], 1);
			folio_ref_unfreeze(&of->ref, 2);
		}
	}
	pthread_mutex_unlock(&in->lock);
	worker_add(worker, frozen ? COUNT_FREEZES : COUNT_FREEZES_FAILED, 1);
	if (frozen && evict) {
		worker_add(worker, COUNT_EVICTIONS, 1);
		release(of);
	} else {
		put_n(worker, of, 1);
	}
}

/*
 * Three quarters of the range, in steps of the largest get: enough to reset junk, or to be refused.
 */
#define STEPS_MAX (FOLIO_REF_JUNK_LIMIT / FOLIO_REF_COUNT_MAX)

static void op_burst(struct worker *worker)
{
	unsigned steps =
		(unsigned)rng_below(&worker->rng, 2 * (FOLIO_REF_MAX / FOLIO_REF_COUNT_MAX));
	struct object *taken = take(worker);
	void *none = NULL;

	if (!taken)
		return;
	if (!folio_ptr_cas_release(&burst, &none, taken)) {
		free_object(taken);
		return;
	}
	while (steps-- > 0 && !torture_stopping()) {
		if (try_get_n(worker, taken, FOLIO_REF_COUNT_MAX)) {
			violation(VIOLATION_NOT_FROZEN,
				"a get of frozen object %ld succeeded, counter %#x", taken - object,
				folio_u32_load_relaxed(&taken->ref.word));
			break;
		}
	}
	/* Begin a new use, while gets still arrive. */
	begin_use(worker, taken, TYPE_OWN_A, slots, 1);
	folio_ptr_store_release(&burst, NULL);
	pause_here(NULL);
	put_n(worker, taken, 1);
}

static void op_pile(struct worker *worker)
{
	struct object *of = find(worker, any_slot(worker), 1);
	struct kept kept;
	unsigned got = 0;

	if (!of)
		return;
	hold(&kept, of);
	while (got < STEPS_MAX && try_get_n(worker, of, FOLIO_REF_COUNT_MAX))
		got++;
	if (got == STEPS_MAX)
		violation(VIOLATION_RESULT, "object %ld gave more references than the limit",
			of - object);
	check_held(&kept, "with very many references");
	while (got-- > 0)
		put_n(worker, of, FOLIO_REF_COUNT_MAX);
	drop_kept(worker, &kept);
}

static void counter_operation(struct worker *worker)
{
	uint64_t choice = rng_below(&worker->rng, 1024);

	if (choice < 300)
		op_find(worker);
	else if (choice < 400)
		op_drop_kept(worker);
	else if (choice < 560)
		op_late(worker);
	else if (choice < 700)
		op_publish(worker);
	else if (choice < 850)
		op_own(worker);
	else if (choice < 920)
		op_erase(worker);
	else if (choice < 970)
		op_freeze(worker, false);
	else if (choice < 1023)
		op_freeze(worker, true);
	else if (rng_one_in(&worker->rng, 4))
		op_burst(worker);
	else if (rng_one_in(&worker->rng, 8))
		op_pile(worker);
}

/* ---- begin and end ---- */

static int counter_open(void)
{
	unsigned i;

	/*
	 * Enough objects that some are free although references are kept and passed; few enough
	 * that a free one is soon in use again.
	 */
	objects = 2 * options.threads + PASSED + 8;
	slots = options.threads / 2 + 2;
	object = aligned_alloc(64, objects * sizeof(*object));
	slot = aligned_alloc(64, slots * sizeof(*slot));
	if (!object || !slot)
		return -1;
	memset(object, 0, objects * sizeof(*object));
	free_list = NULL;
	for (i = 0; i < objects; i++) {
		folio_ref_init_frozen(&object[i].ref);
		object[i].next = free_list;
		free_list = &object[i];
	}
	for (i = 0; i < slots; i++) {
		folio_ptr_store_relaxed(&slot[i].entry, NULL);
		pthread_mutex_init(&slot[i].lock, NULL);
	}
	for (i = 0; i < TYPES; i++)
		folio_u64_store_relaxed(&live[i], 0);
	return 0;
}

static void counter_begin(struct worker *worker)
{
	worker->own = calloc(1, sizeof(struct own));
	if (!worker->own)
		abort();
}

static void counter_end(struct worker *worker)
{
	struct own *own = worker->own;
	unsigned i;

	for (i = 0; i < KEPT; i++)
		if (own->kept[i].object)
			drop_kept(worker, &own->kept[i]);
	free(own);
}

static void counter_close(void)
{
	struct worker worker = {.number = WORKERS_MAX};
	unsigned i, free_objects = 0;
	struct object *of;

	for (i = 0; i < slots; i++) {
		of = folio_ptr_load_relaxed(&slot[i].entry);
		folio_ptr_store_relaxed(&slot[i].entry, NULL);
		if (of)
			put_n(&worker, of, 1);
		pthread_mutex_destroy(&slot[i].lock);
	}
	for (i = 0; i < PASSED; i++) {
		of = folio_ptr_exchange_acquire(&passed[i], NULL);
		if (of)
			put_n(&worker, of, 1);
	}
	for (of = free_list; of && free_objects <= objects; of = of->next)
		free_objects++;
	if (free_objects != objects)
		violation(VIOLATION_LEAK, "%u of %u objects are free", free_objects, objects);
	for (i = 0; i < objects; i++)
		if (!folio_ref_is_frozen(&object[i].ref))
			violation(VIOLATION_NOT_FROZEN, "object %u, counter %#x", i,
				folio_u32_load_relaxed(&object[i].ref.word));
	for (i = 0; i < TYPES; i++)
		if (folio_u64_load_relaxed(&live[i]))
			violation(VIOLATION_LEAK,
				"%ld more objects of type %u were taken than released",
				(long)folio_u64_load_relaxed(&live[i]), i);
	free(object);
	free(slot);
}

const struct mode mode_counter = {
	.name = "counter",
	.counts = count_names,
	.histograms = histogram_names,
	.open = counter_open,
	.begin = counter_begin,
	.operation = counter_operation,
	.end = counter_end,
	.close = counter_close,
	.use_count = use_count,
};
