/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hash.h - a hash table from keys to pointers; several may have one key. The caller has a lock.
 *
 * Open addressing with linear probing. A slot has the key, so a look-up loads one cache line in
 * most cases, and no object of another key.
 */
#ifndef FOLIO_SRC_CORE_HASH_H
#define FOLIO_SRC_CORE_HASH_H

#include <stdint.h>

struct hash_slot {
	uint64_t key;
	void *value; /* NULL: the slot is free */
};

/* All zero: an empty table. */
struct hash {
	struct hash_slot *slot;
	uint64_t slots; /* a power of two, or 0 */
	uint64_t values;
};

void hash_destroy(struct hash *hash);

/* Start to load what a search for @key needs. */
void hash_prefetch(const struct hash *hash, uint64_t key);

/* @value is not NULL, and not in the table. Returns 0 or -ENOMEM. */
int hash_add(struct hash *hash, uint64_t key, void *value);

/* @value is in the table, with @key. */
void hash_remove(struct hash *hash, uint64_t key, const void *value);

/*
 * Walk through the values of a key: *at is 0 at first. Returns the next value, or NULL at the end.
 * The table must not change in between.
 */
void *hash_next(const struct hash *hash, uint64_t key, uint64_t *at);

/* The same for all values, in any order. */
void *hash_each(const struct hash *hash, uint64_t *at);

#endif
