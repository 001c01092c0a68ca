/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tree.h - index -> entry: a radix tree, 64-way, read without a lock.
 *
 * Entries are words with a tag in the low bits:
 *
 *   0                       empty
 *   folio | order << 2      a folio (descriptors are 64-byte aligned, so bits 0..5 are free); the
 *                           order stands in the word so that a reader finds the data without the
 *                           descriptor
 *   value << 2 | 2          a shadow: what eviction wants to remember of a page that left
 *   node | 1                inside the tree only
 *
 * An entry of order o sits at the level where a slot is worth 64^(o/6) pages and fills 2^(o%6)
 * neighbouring slots of it, each with the same word: a look-up of any page of the folio finds it
 * with no indirection, and the level tells nothing that the word does not.
 *
 *   order 0       one slot of a leaf            order 6       one slot one level up, worth 64 pages
 *   order 1..5    2..32 slots of a leaf         order 7..11   2..32 such slots
 *
 * Readers (tree_load, tree_walk, tree_next) run inside a grace section beside anything. What they
 * see of a multi-slot entry that is being stored or erased may be part of it; who needs more holds
 * the lock. Functions named _locked: the caller holds tree->lock, and is attached (grace.h), since
 * nodes are freed after a grace period. What a reader finds in a node that has left the tree: see
 * tree.c.
 *
 * Memory: every node is charged to a tree_budget. Nodes under which only shadows are left are
 * counted apart and are bounded: past the limit the oldest of the same tree are dropped, or the
 * shadow is not stored.
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
#define TREE_SLOTS     (1u << TREE_SHIFT)

/* The largest index: files of 2^52 pages, which is more bytes than a uint64_t counts. */
#define TREE_INDEX_MAX ((UINT64_C(1) << 52) - 1)
/* As many orders as the word has room for. */
#define TREE_ORDER_MAX 15

#define TREE_NODE      1u
#define TREE_SHADOW    2u

enum tree_mark { TREE_DIRTY, TREE_WRITEBACK, TREE_MARKS };

/* Shared by the trees of a cache. */
struct tree_budget {
	folio_u64 nodes;        /* allocated, or waiting for their grace period */
	folio_u64 nodes_shadow; /* of those in a tree, with nothing but shadows below */
	/* Set at creation; UINT64_MAX: no limit. */
	uint64_t nodes_max;
	uint64_t nodes_shadow_max;
};

struct tree_node {
	/*
	 * Set before the node is published, never changed while readers can reach it. (The offset
	 * of a root is 0, and stays so when the root gets a parent or becomes root again.)
	 */
	uint8_t shift;  /* a slot is worth 2^shift pages */
	uint8_t offset; /* slot in the parent */
	/* Guarded by the tree's lock. */
	bool queued;    /* among the tree's shadow nodes: live is 0 */
	uint16_t count; /* slots that are not empty */
	uint16_t live;  /* of those, with a folio, or with a node below which there is one */
	struct tree_node *parent;
	uint64_t mark[TREE_MARKS][(TREE_SLOTS + 63) / 64];
	union {
		struct {
			struct tree_node *older, *newer; /* while queued */
		};
		struct grace_head grace; /* once it has left the tree */
	};
	/* Set at creation. */
	struct tree_budget *budget;
	/*
	 * Stored under the lock, release; loaded by anybody, acquire. On lines of their own: a
	 * look-up reads nothing but slots.
	 */
	folio_ptr slot[TREE_SLOTS] __attribute__((aligned(64)));
};

struct tree {
	folio_ptr root;             /* NULL or tree_root_word; stored and loaded as slots are */
	struct tree_budget *budget; /* set at creation */
	/* On a line of its own: a miss must not take the root's line from those who hit. */
	_Alignas(64) pthread_mutex_t lock;
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
 * The root's word has the root's shift in its top bits: a look-up needs it at once, and has it
 * without a load that would have to wait for the word. (No address of a program has these bits.)
 */
#define TREE_ROOT_SHIFT 58

static inline void *tree_root_word(const struct tree_node *root)
{
	return (void *)((uintptr_t)root | (uintptr_t)root->shift << TREE_ROOT_SHIFT);
}

static inline struct tree_node *tree_root_node(const void *word)
{
	return (struct tree_node *)((uintptr_t)word & (((uintptr_t)1 << TREE_ROOT_SHIFT) - 1));
}

static inline unsigned tree_root_shift(const void *word)
{
	return (unsigned)((uintptr_t)word >> TREE_ROOT_SHIFT);
}

/* Of a folio's word. */
static inline unsigned tree_order(const void *entry)
{
	return (uintptr_t)entry >> 2 & TREE_ORDER_MAX;
}

/*
 * Find the entry that covers @index and the slot that it was found in (NULL when the tree does not
 * reach that far), for looking again. Inside a grace section. Returns the entry: NULL, a folio's
 * word or a shadow.
 *
 * acquire, at each step: pairs with the release of the store that published the node or the entry;
 * without it the node's shift and slots, or the folio behind the entry, could be read from before
 * they were set up.
 *
 * Each level's shift follows from the one above: the walk does not read the header of a node, whose
 * line belongs to those who store.
 */
static inline void *tree_walk(struct tree *tree, uint64_t index, folio_ptr **slot)
{
	void *entry = folio_ptr_load_acquire(&tree->root);
	struct tree_node *node;
	unsigned shift;

	*slot = NULL;
	if (!entry)
		return NULL;
	node = tree_root_node(entry);
	shift = tree_root_shift(entry);
	if (index >> shift >> TREE_SHIFT)
		return NULL;
	for (;;) {
		*slot = &node->slot[(index >> shift) & (TREE_SLOTS - 1)];
		entry = folio_ptr_load_acquire(*slot);
		if (!tree_is_node(entry))
			return entry;
		node = tree_to_node(entry);
		shift -= TREE_SHIFT;
	}
}

static inline void *tree_load(struct tree *tree, uint64_t index)
{
	folio_ptr *slot;

	return tree_walk(tree, index, &slot);
}

/*
 * Ask for the lines of the lowest node on the way to @index that a store or an erase there will write: who holds the lock does not
 * wait for them then. Inside a grace section. acquire: as in tree_walk.
 */
static inline void tree_prefetch(struct tree *tree, uint64_t index)
{
	void *entry = folio_ptr_load_acquire(&tree->root);
	struct tree_node *node;
	folio_ptr *slot;
	unsigned shift;

	if (!entry)
		return;
	node = tree_root_node(entry);
	shift = tree_root_shift(entry);
	if (index >> shift >> TREE_SHIFT)
		return;
	for (;;) {
		slot = &node->slot[(index >> shift) & (TREE_SLOTS - 1)];
		if (!shift || !tree_is_node(entry = folio_ptr_load_acquire(slot)))
			break;
		node = tree_to_node(entry);
		shift -= TREE_SHIFT;
	}
	__builtin_prefetch(node, 1);
	__builtin_prefetch(slot, 1);
}

/* An empty tree. The budget outlives it and its nodes' grace periods. 0 or -errno of the lock. */
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
 * Store @entry, a folio's word of @order, for the 2^order pages from @index, which is a multiple of
 * 2^order. Shadows that are there are overwritten, sub-trees of nothing but shadows are freed.
 *
 * Returns 0; -EEXIST when a folio is in the range (the tree is unchanged); -ENOMEM when a node
 * cannot be had (entries and marks are unchanged; old shadows may have been dropped to make room,
 * and that memory comes free after a grace period: who can wait for one may try again); -EINVAL for
 * an index past TREE_INDEX_MAX or not a multiple, or an order past TREE_ORDER_MAX.
 */
int tree_store_locked(struct tree *tree, uint64_t index, unsigned order, void *entry);

/*
 * Erase the entry of 2^order pages at @index, exactly as it was stored, and leave @shadow (NULL:
 * nothing) in its place, in its first slot only. Marks are cleared. Nodes that become empty are
 * unlinked and freed after a grace period, the tree shrinks. Cannot fail: a shadow for which the
 * budget has no room is dropped.
 *
 * Afterwards no slot in which any reader can have found the entry holds it.
 */
void tree_erase_locked(struct tree *tree, uint64_t index, unsigned order, void *shadow);

/*
 * The next folio's entry that covers @*index or lies after it, up to @last: walks a range. Inside a
 * grace section or under the lock. On a find sets @*index to the first page asked for that the
 * entry covers (>= the old value). Returns NULL at the end. Entries present throughout are not
 * missed.
 *
 * To go on, continue after the entry: (*index | ((1 << tree_order(entry)) - 1)) + 1.
 */
void *tree_next(struct tree *tree, uint64_t *index, uint64_t last);

/*
 * Marks of the entry that covers @index, on all of its slots and, as long as any is set below, on
 * the path to it. Where there is no folio's entry nothing is set, and the test says no.
 */
void tree_mark_set_locked(struct tree *tree, uint64_t index, enum tree_mark mark);
void tree_mark_clear_locked(struct tree *tree, uint64_t index, enum tree_mark mark);
bool tree_mark_test_locked(struct tree *tree, uint64_t index, enum tree_mark mark);
/* As tree_next, over entries that have the mark. Under the lock. */
void *tree_next_marked_locked(
	struct tree *tree, uint64_t *index, uint64_t last, enum tree_mark mark);

/*
 * Drop every shadow of the range (the file was truncated, invalidated or closed): all that
 * tree_load finds for any of its indexes. The effort is that of the nodes that there are, not of
 * the range.
 */
void tree_erase_shadows_locked(struct tree *tree, uint64_t index, uint64_t last);

#endif
