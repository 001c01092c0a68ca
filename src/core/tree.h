/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tree.h - index -> entry: a 64-way radix tree, read without a lock.
 *
 * Entries are words with a tag in the low bits:
 *
 *   0                       empty
 *   folio | order << 2      a folio (the address is 64-byte aligned, so bits 0..5 are free); with
 *                           the order, a reader finds the data without the descriptor
 *   value << 2 | 2          a shadow: what eviction records of a page that it removed
 *   node | 1                inside the tree only
 *
 * An entry of order o is stored at the level where a slot covers 64^(o/6) pages, in 2^(o%6)
 * adjacent slots with the same word: a look-up of any page of the folio finds it without
 * indirection, and the level adds no information to the word.
 *
 *   order 0       one slot of a leaf            order 6       one slot one level up: 64 pages
 *   order 1..5    2..32 slots of a leaf         order 7..11   2..32 such slots
 *
 * For functions named _locked, the caller holds tree->lock. walk.h has the functions for readers,
 * which take no lock.
 *
 * Memory: every node is charged to a tree_budget, which keeps the nodes that are in no tree. Nodes
 * with only shadows below are counted separately and limited: past the limit the oldest ones of the
 * same tree are dropped, or the shadow is not stored. A dense tree of several leaves also has a
 * directory (directory.h), which takes at most 128 bytes for each slot of level 1 in use: for each
 * leaf, each slot of a large entry, and each shadow of one.
 */
#ifndef FOLIO_SRC_CORE_TREE_H
#define FOLIO_SRC_CORE_TREE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <folio/atomic.h>

/* Tests build the tree with a smaller fan-out, so that few entries span several nodes. */
#ifndef TREE_SHIFT
#define TREE_SHIFT 6
#endif
#define TREE_SLOTS       (1u << TREE_SHIFT)

/* The largest index: no uint64_t size in bytes needs more than 2^52 pages. */
#define TREE_INDEX_MAX   ((UINT64_C(1) << 52) - 1)
/* The word has 4 bits for the order. */
#define TREE_ORDER_MAX   15

/* Directories come in so many sizes (directory.h): that of a tree of 2^52 pages is the largest. */
#define TREE_DIRECTORIES (53 - TREE_SHIFT)

#define TREE_NODE        1u
#define TREE_SHADOW      2u

enum tree_mark { TREE_DIRTY, TREE_WRITEBACK, TREE_MARKS };

/* Shared by the trees of a cache: the limits, and the memory of their nodes. */
struct tree_budget {
	folio_u64 nodes;           /* in trees */
	folio_u64 nodes_shadow;    /* of those, with only shadows below */
	folio_u64 allocated;       /* nodes that exist, in a tree or free */
	folio_u64 directory_bytes; /* of the directories in trees */
	/* Set at creation; UINT64_MAX: no limit. */
	uint64_t nodes_max;
	uint64_t nodes_shadow_max;
	bool huge_pages; /* false, or set before the first store: for chunks of that size */
	pthread_mutex_t lock;
	/* Guarded by lock. */
	struct tree_node *free;   /* empty nodes, chained by their parent fields */
	struct tree_node *chunks; /* the first node of each chunk, newest first */
	struct tree_node *fresh;  /* in the newest chunk: nodes that have never been used */
	uint64_t fresh_left;
	struct directory *directories[TREE_DIRECTORIES]; /* free ones, by their size */
};

struct tree_node {
	/*
	 * Guarded by the tree's lock. While the node is in the tree, shift and offset do not
	 * change. (The offset of a root is 0, even after it gets a parent or becomes the root
	 * again.)
	 */
	uint8_t shift;  /* a slot covers 2^shift pages */
	uint8_t offset; /* slot in the parent */
	bool queued;    /* in the queue of the tree's shadow nodes: live is 0 */
	uint16_t count; /* slots that are not empty */
	uint16_t live;  /* of those, slots with a folio, or a node with one below */
	struct tree_node *parent;
	uint64_t mark[TREE_MARKS][(TREE_SLOTS + 63) / 64];
	struct tree_node *older, *newer; /* while queued */
	/* Set at creation. */
	struct tree_budget *budget;
	struct tree_node *chunk; /* in the first node of a chunk: that of the chunk before it */
	/*
	 * Stored with release, under the lock; loaded with acquire, by any thread. On separate
	 * lines: a look-up reads only slots.
	 */
	folio_ptr slot[TREE_SLOTS] __attribute__((aligned(64)));
};

/*
 * An array that mirrors the slots of level 1 (core/directory.h). In a tree or free; it remains a
 * directory, with the same slots, as long as the budget exists.
 */
struct directory {
	/* Set at creation. */
	uint64_t slots;  /* a power of two */
	folio_ptr *slot; /* stored with release, loaded with acquire, as slots of nodes */
	/* Guarded by the budget's lock. */
	struct directory *next; /* while it is free */
};

struct tree {
	folio_ptr root;             /* NULL or tree_root_word; stored and loaded as slots are */
	folio_ptr directory;        /* a struct directory; stored and loaded as slots are */
	folio_u64 generation;       /* atomic, stored under the lock: nodes that have left */
	struct tree_budget *budget; /* set at creation */
	struct directory own;       /* the smallest one; set at creation */
	folio_ptr own_slot;         /* its only slot */
	/* On a separate line: a miss must not take the root's line away from hits. */
	_Alignas(64) pthread_mutex_t lock;
	struct tree_node *shadow_oldest, *shadow_newest; /* guarded by lock */
	uint64_t entries; /* stored, not counting shadows; guarded by lock */
	uint64_t blocks;  /* slots of level 1 that are not empty; guarded by lock */
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
 * The root's word holds the root's shift in the bits that the alignment of a node leaves free: a
 * look-up needs the shift immediately, and so avoids a load that depends on the word. (The top bits
 * of an address are not free: the allocator may tag memory there, as on arm64.)
 */
#define TREE_ROOT_SHIFT 63u

_Static_assert(_Alignof(struct tree_node) > TREE_ROOT_SHIFT,
	"the shift of a root, below 64, fits below the address of a node");

static inline void *tree_root_word(const struct tree_node *root)
{
	return (void *)((uintptr_t)root | root->shift);
}

static inline struct tree_node *tree_root_node(const void *word)
{
	return (struct tree_node *)((uintptr_t)word & ~(uintptr_t)TREE_ROOT_SHIFT);
}

static inline unsigned tree_root_shift(const void *word)
{
	return (uintptr_t)word & TREE_ROOT_SHIFT;
}

/* The order in a folio's word. */
static inline unsigned tree_order(const void *entry)
{
	return (uintptr_t)entry >> 2 & TREE_ORDER_MAX;
}

/* A budget without nodes. Returns 0, or -errno of the lock. */
int tree_budget_init(struct tree_budget *budget, uint64_t nodes_max, uint64_t nodes_shadow_max);

/* Free the nodes. The trees are destroyed, and no reader is in any of them. */
void tree_budget_destroy(struct tree_budget *budget);

/* An empty tree. @budget outlives it. Returns 0, or -errno of the lock. */
int tree_init(struct tree *tree, struct tree_budget *budget);

/* Drop all entries, without releasing folios. No thread stores or erases; readers may walk. */
void tree_clear(struct tree *tree);

/* Clear the tree, and end its use. No thread uses it any longer. */
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
 * 2^order. Shadows in the range are overwritten, sub-trees that hold only shadows are freed.
 *
 * Returns 0; -EEXIST if the range has a folio (the tree is unchanged); -ENOMEM if a node is
 * unavailable (entries and marks are unchanged; old shadows may have been dropped); -EINVAL if
 * @index is past TREE_INDEX_MAX or not a multiple, or @order is past TREE_ORDER_MAX.
 */
int tree_store_locked(struct tree *tree, uint64_t index, unsigned order, void *entry);

/*
 * Erase the entry of 2^order pages at @index, exactly as it was stored, and leave @shadow (NULL:
 * none) in its first slot. Marks are cleared. Nodes that become empty leave the tree, which
 * shrinks. Cannot fail: a shadow that exceeds the budget is dropped.
 *
 * On return, no slot in which a reader can have found the entry still holds it.
 */
void tree_erase_locked(struct tree *tree, uint64_t index, unsigned order, void *shadow);

/*
 * Marks of the entry that covers @index: on all of its slots and, while any is set below, on the
 * path to it. If there is no folio's entry, nothing is set and the test returns false.
 */
void tree_mark_set_locked(struct tree *tree, uint64_t index, enum tree_mark mark);
void tree_mark_clear_locked(struct tree *tree, uint64_t index, enum tree_mark mark);
bool tree_mark_test_locked(struct tree *tree, uint64_t index, enum tree_mark mark);
/* As tree_next_locked (walk.h), over entries that have the mark. */
void *tree_next_marked_locked(
	struct tree *tree, uint64_t *index, uint64_t last, enum tree_mark mark);

/*
 * Drop every shadow that tree_load can find for an index in the range (the file was truncated,
 * invalidated or closed). The cost is proportional to the nodes in the range, not to its length.
 */
void tree_erase_shadows_locked(struct tree *tree, uint64_t index, uint64_t last);

/* Are the trees short of nodes? Then pages must leave, so that nodes become empty. */
static inline bool tree_nodes_are_short(const struct tree_budget *budget)
{
	return folio_u64_load_relaxed(&budget->nodes) > budget->nodes_max - budget->nodes_max / 8;
}

#endif
