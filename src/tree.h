/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tree.h - index -> entry: a radix tree, 64-way, read without a lock.
 *
 * Entries are words with a tag in the low bits:
 *
 *   0                       empty
 *   folio | order << 2      a folio (descriptors are 64-byte aligned, so bits 0..5 are free); the order stands
 *                           in the word so that a reader finds the data without the descriptor
 *   value << 2 | 2          a shadow: what eviction wants to remember of a page that left
 *   node | 1                inside the tree only
 *
 * An entry of order o sits at the level where a slot is worth 64^(o/6) pages and fills 2^(o%6)
 * neighbouring slots of it, each with the same word: a look-up of any page of the folio finds it with no
 * indirection, and the level tells nothing that the word does not.
 *
 * Readers (tree_load, tree_walk, tree_next) run inside a grace section beside anything. What they see of a
 * multi-slot entry that is being stored or erased may be part of it; who needs more holds the lock.
 * Functions named _locked: the caller holds tree->lock. Nodes are freed after a grace period; a
 * reader that still stands in one sees its slots as they were left: empty.
 *
 * Memory: every node is charged to a tree_budget. Nodes in which only shadows are left are counted apart and
 * are bounded: past the limit the oldest of the same tree are dropped, or the shadow is not stored.
 */
#ifndef FOLIO_SRC_TREE_H
#define FOLIO_SRC_TREE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <folio/atomic.h>

#include "grace.h"

/* Tests build the tree with a smaller fan-out, so that few entries cross a node's border. */
#ifndef TREE_SHIFT
#define TREE_SHIFT 6
#endif
#define TREE_SLOTS (1u << TREE_SHIFT)

#define TREE_NODE   1u
#define TREE_SHADOW 2u

enum tree_mark { TREE_DIRTY, TREE_WRITEBACK, TREE_MARKS };

/* Shared by the trees of a cache. */
struct tree_budget {
	folio_u64 nodes;         /* allocated, or waiting for their grace period */
	folio_u64 nodes_shadow;  /* of those, holding nothing but shadows */
	uint64_t nodes_max;      /* set at creation */
	uint64_t nodes_shadow_max;
};

struct tree_node {
	/* Set before the node is published, never changed while readers can see it. */
	uint8_t shift; /* a slot is worth 2^shift pages */
	uint8_t offset; /* slot in the parent */
	struct tree_node *parent;
	/* Guarded by the tree's lock. */
	uint16_t count;  /* slots that are not empty */
	uint16_t shadows; /* of those, with shadows */
	struct tree_node *shadow_next, *shadow_prev; /* queue of nodes with nothing but shadows, by age */
	uint64_t mark[TREE_MARKS][(TREE_SLOTS + 63) / 64]; /* read without the lock by tree_next_marked: see there */
	struct grace_head grace;
	/* Stored under the lock, release; loaded by anybody, acquire. */
	folio_ptr slot[TREE_SLOTS];
};

struct tree {
	folio_ptr root; /* node | 1, or NULL */
	pthread_mutex_t lock;
	struct tree_budget *budget;
	struct tree_node *shadow_oldest, *shadow_newest; /* guarded by lock */
	uint64_t entries; /* stored, not counting shadows; guarded by lock */
};

static inline bool tree_is_node(const void *entry)
{
	return (uintptr_t)entry & TREE_NODE;
}

static inline bool tree_is_shadow(const void *entry)
{
	return (uintptr_t)entry & TREE_SHADOW;
}

static inline void *tree_shadow(uintptr_t value)
{
	return (void *)(value << 2 | TREE_SHADOW);
}

static inline uintptr_t tree_shadow_value(const void *entry)
{
	return (uintptr_t)entry >> 2;
}

static inline struct tree_node *tree_to_node(const void *entry)
{
	return (struct tree_node *)((uintptr_t)entry - TREE_NODE);
}

/*
 * Find the entry that covers @index and the slot that it was found in (NULL when the tree does not reach that
 * far), for looking again. Inside a grace section. Returns the entry: NULL, a folio's word or a shadow.
 *
 * acquire, at each step: pairs with the release of the store that published the node or the
 * entry; without it the node's shift and slots, or the folio behind the entry, could be read from before
 * they were set up.
 */
static inline void *tree_walk(struct tree *tree, uint64_t index, folio_ptr **slot)
{
	void *entry = folio_ptr_load_acquire(&tree->root);
	struct tree_node *node;

	*slot = NULL;
	if (!entry)
		return NULL;
	node = tree_to_node(entry);
	if (node->shift + TREE_SHIFT < 64 && index >> (node->shift + TREE_SHIFT))
		return NULL;
	for (;;) {
		*slot = &node->slot[(index >> node->shift) & (TREE_SLOTS - 1)];
		entry = folio_ptr_load_acquire(*slot);
		if (!tree_is_node(entry))
			return entry;
		node = tree_to_node(entry);
	}
}

static inline void *tree_load(struct tree *tree, uint64_t index)
{
	folio_ptr *slot;

	return tree_walk(tree, index, &slot);
}

/* An empty tree. The budget outlives it. */
int tree_init(struct tree *tree, struct tree_budget *budget);

/* Nobody reads or writes it any more. Drops whatever is left in it (entries are not released). */
void tree_destroy(struct tree *tree);

static inline void tree_lock(struct tree *tree)
{
	pthread_mutex_lock(&tree->lock);
}

static inline void tree_unlock(struct tree *tree)
{
	pthread_mutex_unlock(&tree->lock);
}

/*
 * Store @entry (not NULL, not a node) for the 2^order pages from @index, which is a multiple of 2^order.
 * Shadows that are there are overwritten, sub-trees of nothing but shadows are freed.
 * Returns 0; -EEXIST when a folio is in the range (the tree is unchanged); -ENOMEM when a node cannot be
 * had (entries are unchanged); -EINVAL for an index past the tree's range (2^52 pages).
 */
int tree_store_locked(struct tree *tree, uint64_t index, unsigned order, void *entry);

/*
 * Erase the entry of 2^order pages at @index, exactly as it was stored, and leave @shadow (NULL: nothing) in its
 * place, in its first slot only. Marks are cleared. Nodes that become empty are unlinked and freed after a grace period, the
 * tree shrinks. Cannot fail: a shadow for which the budget has no room is dropped.
 */
void tree_erase_locked(struct tree *tree, uint64_t index, unsigned order, void *shadow);

/*
 * The next folio's entry that covers @*index or lies after it, up to @last: walks a range. Inside a grace
 * section or under the lock. On a find sets @*index to the first page asked for that the entry covers
 * (>= the old value). Returns NULL at the end. Entries present throughout are not missed.
 */
void *tree_next(struct tree *tree, uint64_t *index, uint64_t last);

/* Marks of an entry, on all of its slots and, as long as any is set below, on the path to it. */
void tree_mark_set_locked(struct tree *tree, uint64_t index, enum tree_mark mark);
void tree_mark_clear_locked(struct tree *tree, uint64_t index, enum tree_mark mark);
bool tree_mark_test_locked(struct tree *tree, uint64_t index, enum tree_mark mark);
/* As tree_next, over entries that have the mark. Under the lock. */
void *tree_next_marked_locked(struct tree *tree, uint64_t *index, uint64_t last, enum tree_mark mark);

/* Drop every shadow of the range (the file was truncated, invalidated or closed). */
void tree_erase_shadows_locked(struct tree *tree, uint64_t index, uint64_t last);

#endif
