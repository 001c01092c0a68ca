/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * walk.h - reading a tree.
 *
 * Readers take no lock and wait for no thread. They may see a part of a multi-slot entry that is
 * being stored or erased; a caller that needs more holds the tree's lock.
 *
 * A node that leaves its tree may be used again at once, also by another tree, while readers are
 * still in it. Its memory remains a node as long as the budget exists, and tree->generation counts
 * the nodes that have left: a walk that finds the generation unchanged at its end was in no such
 * node. Otherwise it begins again, after a few attempts with the lock. So a reader that stalls
 * anywhere holds up no thread, and what it has read is discarded.
 *
 *      walk                                          change (tree.c)
 *   1  generation                     acquire     A  unlink the node                     release
 *   2  by the directory, or from      acquire     B  generation + 1                      release
 *      the root, slot by slot
 *   3  generation unchanged?          relaxed     C  clear its slots; any tree stores    release
 *
 *   1 before B   If 2 has loaded a value of C, it has acquired B, and 3 sees that.
 *   1 after B    1 has acquired A: 2 does not reach the node by that path.
 *
 * What a walk returns was thus stored at some moment of the walk. tree.c documents why.
 */
#ifndef FOLIO_SRC_CORE_WALK_H
#define FOLIO_SRC_CORE_WALK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "core/directory.h"
#include "core/tree.h"

/* Where a walk has found an entry, so that the caller can check it again. */
struct tree_place {
	folio_ptr *slot; /* NULL: the tree does not reach that far */
	uint64_t generation;
};

/* Step 3. Returns true if no node has left the tree since the walk began. */
static inline bool tree_unchanged(struct tree *tree, const struct tree_place *place)
{
	return folio_u64_load_relaxed(&tree->generation) == place->generation;
}

/*
 * Steps 1 and 2 by the tree's directory alone. NULL: it does not reach that far, or has nothing.
 *
 * acquire: as below.
 */
static inline __attribute__((always_inline)) void *tree_walk_directory(
	struct tree *tree, uint64_t index, struct tree_place *place)
{
	uint64_t block = index >> TREE_SHIFT;
	struct directory *directory;
	void *entry;

	/* acquire: pairs with generation_next; the nodes that have left by then are unlinked. */
	place->generation = folio_u64_load_acquire(&tree->generation);
	directory = (struct directory *)folio_ptr_load_acquire(&tree->directory);
	if (unlikely(block >= directory->slots))
		return NULL;
	place->slot = &directory->slot[block];
	entry = folio_ptr_load_acquire(place->slot);
	if (unlikely(!tree_is_node(entry)))
		return entry;
	place->slot = &tree_to_node(entry)->slot[index & (TREE_SLOTS - 1)];
	return folio_ptr_load_acquire(place->slot);
}

/*
 * Steps 1 and 2. What is returned is valid only if tree_unchanged is true after it. A tree is
 * entered by its directory (directory.h), unless that has nothing there.
 *
 * acquire, at each step: pairs with the release of the store that published the node or the entry
 * (slot_store, grow); without it, the slots of the node, or the folio, could be read from before
 * they were set up.
 *
 * Each level's shift follows from the one above: the walk does not read the header of a node, whose
 * line is written by stores. If there is a node below the lowest level, its parent is in another
 * use; the walk ends there, and step 3 fails.
 */
static inline void *tree_walk_once(struct tree *tree, uint64_t index, struct tree_place *place)
{
	struct tree_node *node;
	unsigned shift;
	void *entry = tree_walk_directory(tree, index, place);

	if (likely(entry))
		return entry;
	/* The generation is that from before the directory. */
	place->slot = NULL;
	entry = folio_ptr_load_acquire(&tree->root);
	if (!entry)
		return NULL;
	node = tree_root_node(entry);
	shift = tree_root_shift(entry);
	if (index >> shift >> TREE_SHIFT)
		return NULL;
	for (;;) {
		place->slot = &node->slot[(index >> shift) & (TREE_SLOTS - 1)];
		entry = folio_ptr_load_acquire(place->slot);
		if (!tree_is_node(entry) || unlikely(!shift))
			return entry;
		node = tree_to_node(entry);
		shift -= TREE_SHIFT;
	}
}

/* tree_walk, after the first attempt has failed. Takes the lock if others fail as well. */
void *tree_walk_again(struct tree *tree, uint64_t index, struct tree_place *place);

/*
 * Find the entry that covers @index, and its place. Returns NULL, a folio's word or a shadow: what
 * was stored at some moment of the call. A caller that holds the lock finds what is stored now.
 */
static inline void *tree_walk(struct tree *tree, uint64_t index, struct tree_place *place)
{
	void *entry = tree_walk_once(tree, index, place);

	if (likely(tree_unchanged(tree, place)))
		return entry;
	return tree_walk_again(tree, index, place);
}

/*
 * Is @entry still where a walk has found it? If the node is in another use by now, the slot is that
 * of the new use, and the load of the generation shows it. acquire: pairs with slot_store in that
 * use, which comes after generation_next.
 */
static inline bool tree_still(struct tree *tree, const struct tree_place *place, const void *entry)
{
	return likely(folio_ptr_load_acquire(place->slot) == entry) &&
	       likely(tree_unchanged(tree, place));
}

static inline void *tree_load(struct tree *tree, uint64_t index)
{
	struct tree_place place;

	return tree_walk(tree, index, &place);
}

/*
 * Prefetch the lines that a store or an erase at @index will write in the lowest node on its path,
 * so that the lock's holder need not wait for them. A hint: the node may have left the tree.
 * acquire: as in tree_walk.
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

/*
 * Walk a range: returns the next folio's entry that covers @*index or follows it, up to @last, and
 * sets @*index to the first page from the old @*index on that it covers; NULL at the end. An entry
 * that is stored throughout is not missed.
 *
 * To continue after the entry: (*index | ((1 << tree_order(entry)) - 1)) + 1.
 */
void *tree_next(struct tree *tree, uint64_t *index, uint64_t last);
/*
 * For a caller that holds a lock which is taken after the tree's, and so may not take that. Returns
 * false if nodes have left the tree during each of some attempts. Else *@found is the result.
 */
bool tree_next_try(struct tree *tree, uint64_t *index, uint64_t last, void **found);
void *tree_next_locked(struct tree *tree, uint64_t *index, uint64_t last);

#endif
