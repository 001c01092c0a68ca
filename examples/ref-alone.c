/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ref-alone.c - the counter of folio without the library: a small cache that is read without locks.
 *     cc -Iinclude -pthread examples/ref-alone.c && ./a.out
 * The slots are type-stable: a reader that comes too late finds a frozen counter, not memory in
 * another use. The directory maps a key to its slot and owns one reference to it. One thread writes
 * the directory.
 */
#include <pthread.h>
#include <stdio.h>
#include <folio/ref.h>

enum { KEYS = 32, SLOTS = 8, READERS = 3, HITS = 100000 };

static struct object {
	struct folio_ref ref;
	folio_u32 is_free;    /* 1: may be taken; handed over by release and acquire */
	uint32_t key, square; /* the cached data */
} slots[SLOTS];
static folio_ptr directory[KEYS];
static folio_u32 hits, wrong, uses, freed;

static void put(struct object *object)
{
	if (!folio_ref_put(&object->ref))
		return; /* other threads hold it or have released it: do not access it any longer */
	/* This thread releases it: it is frozen, so no get succeeds, and not in the directory. */
	folio_u32_fetch_add_relaxed(&freed, 1);
	folio_u32_store_release(&object->is_free, 1);
}

/* Returns a reference to the object of a key, or NULL if none is cached. */
static struct object *lookup(uint32_t key)
{
	struct object *object = (struct object *)folio_ptr_load_acquire(&directory[key]);

	if (!object || !folio_ref_try_get(&object->ref)) /* one add; fails when frozen */
		return NULL;
	if (folio_ptr_load_acquire(&directory[key]) == object)
		return object; /* still the object of the key, and the reference keeps it */
	put(object);           /* replaced between the load and the get; this put may be the last */
	return NULL;
}

static void *reader(void *unused)
{
	for (uint32_t key = 0; folio_u32_load_relaxed(&hits) < HITS; key = (key + 1) % KEYS) {
		struct object *object = lookup(key);

		if (!object)
			continue;
		if (object->key != key || object->square != key * key)
			folio_u32_fetch_add_relaxed(&wrong, 1);
		put(object);
		folio_u32_fetch_add_relaxed(&hits, 1);
	}
	return unused;
}

/* Returns true if the object was free, or cached without readers: the caller owns it, frozen. */
static bool take(struct object *object)
{
	uint32_t yes = 1;

	if (folio_u32_cas_acquire(&object->is_free, &yes, 0))
		return true;
	/* If it is not in the directory, a single reference is a reader's: do not freeze it. */
	if (directory[object->key] != object || !folio_ref_try_freeze(&object->ref, 1))
		return false;
	folio_ptr_store_release(&directory[object->key], NULL);
	folio_u32_fetch_add_relaxed(&freed, 1);
	return true;
}

static void replace(uint32_t key, struct object *object)
{
	struct object *old = (struct object *)folio_ptr_exchange_acquire(&directory[key], NULL);

	if (old)
		put(old); /* after it left the directory (R4); a reader's put may be the last */
	if (!object || !take(object))
		return;
	object->key = key;
	object->square = key * key;
	folio_u32_fetch_add_relaxed(&uses, 1);
	folio_ref_unfreeze(&object->ref, 1); /* the directory's reference: a store, not a get */
	folio_ptr_store_release(&directory[key], object);
}

int main(void)
{
	pthread_t threads[READERS];
	uint32_t i;

	for (i = 0; i < SLOTS; i++) {
		folio_ref_init_frozen(&slots[i].ref);
		slots[i].is_free = 1;
	}
	for (i = 0; i < READERS; i++)
		pthread_create(&threads[i], NULL, reader, NULL);
	for (i = 0; folio_u32_load_relaxed(&hits) < HITS; i++)
		replace(i * 5 % KEYS, &slots[i % SLOTS]);
	for (i = 0; i < READERS; i++)
		pthread_join(threads[i], NULL);
	for (i = 0; i < KEYS; i++)
		replace(i, NULL);
	printf("ref-alone: %u uses, %u freed, %u hits, %u wrong\n", uses, freed, hits, wrong);
	return uses != freed || wrong;
}
