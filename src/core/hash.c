/* SPDX-License-Identifier: BSD-2-Clause */
/* hash.c - a hash table from keys to pointers. */
#include "core/hash.h"

#include <errno.h>
#include <stdlib.h>

#define SLOTS_MIN 64

/*
 * The slot at which the search for a key begins. Adjacent keys are often used together (files that
 * were created together have adjacent inode numbers): four of them share a cache line. The rest of
 * the key is multiplied, so that keys with equal low bits are spread.
 */
static uint64_t home_of(const struct hash *hash, uint64_t key)
{
	uint64_t group = (key >> 2) * UINT64_C(0x9e3779b97f4a7c15) >> 32;

	return (group << 2 | (key & 3)) & (hash->slots - 1);
}

void hash_prefetch(const struct hash *hash, uint64_t key)
{
	if (hash->slots)
		__builtin_prefetch(&hash->slot[home_of(hash, key)]);
}

static uint64_t after(const struct hash *hash, uint64_t slot)
{
	return (slot + 1) & (hash->slots - 1);
}

static void put(struct hash *hash, uint64_t key, void *value)
{
	uint64_t i = home_of(hash, key);

	while (hash->slot[i].value)
		i = after(hash, i);
	hash->slot[i] = (struct hash_slot){key, value};
}

/*
 * Double the table when half of it is in use. If there is no memory for that, it fills up to the
 * last slot but one: a search ends at a free slot.
 */
static int grow(struct hash *hash)
{
	struct hash old = *hash;
	uint64_t slots = old.slots ? 2 * old.slots : SLOTS_MIN, i;
	struct hash_slot *slot;

	if (old.values < old.slots / 2)
		return 0;
	slot = calloc(slots, sizeof(*slot));
	if (!slot)
		return old.values + 1 < old.slots ? 0 : -ENOMEM;
	hash->slot = slot;
	hash->slots = slots;
	for (i = 0; i < old.slots; i++)
		if (old.slot[i].value)
			put(hash, old.slot[i].key, old.slot[i].value);
	free(old.slot);
	return 0;
}

int hash_add(struct hash *hash, uint64_t key, void *value)
{
	int r = grow(hash);

	if (r)
		return r;
	put(hash, key, value);
	hash->values++;
	return 0;
}

void hash_remove(struct hash *hash, uint64_t key, const void *value)
{
	uint64_t mask = hash->slots - 1, hole = home_of(hash, key), i;

	while (hash->slot[hole].value != value)
		hole = after(hash, hole);
	/*
	 * A search must not end at the hole before it has reached a value behind it: such a value
	 * moves into the hole if its search begins there or earlier, and leaves a hole itself.
	 */
	for (i = after(hash, hole); hash->slot[i].value; i = after(hash, i)) {
		uint64_t home = home_of(hash, hash->slot[i].key);

		if (((i - home) & mask) < ((i - hole) & mask))
			continue;
		hash->slot[hole] = hash->slot[i];
		hole = i;
	}
	hash->slot[hole].value = NULL;
	hash->values--;
}

void *hash_next(const struct hash *hash, uint64_t key, uint64_t *at)
{
	uint64_t i;

	if (!hash->values)
		return NULL;
	for (;;) {
		i = (home_of(hash, key) + (*at)++) & (hash->slots - 1);
		if (!hash->slot[i].value || hash->slot[i].key == key)
			return hash->slot[i].value;
	}
}

void *hash_each(const struct hash *hash, uint64_t *at)
{
	while (*at < hash->slots) {
		void *value = hash->slot[(*at)++].value;

		if (value)
			return value;
	}
	return NULL;
}

void hash_destroy(struct hash *hash)
{
	free(hash->slot);
}
