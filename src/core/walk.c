/* SPDX-License-Identifier: BSD-2-Clause */
/* walk.c - reading a tree: walks that begin again, and walks of a range. */
#include "core/walk.h"

#include "base/pause.h"

/* Attempts without the lock. Each fails because a node has left the tree. A model makes fewer. */
#ifndef WALK_TRIES
#define WALK_TRIES 8
#endif

void *tree_walk_again(struct tree *tree, uint64_t index, struct tree_place *place)
{
	unsigned tries;
	void *entry;

	for (tries = 1; tries < WALK_TRIES; tries++) {
		entry = tree_walk_once(tree, index, place);
		if (tree_unchanged(tree, place))
			return entry;
	}
	tree_lock(tree);
	entry = tree_walk_once(tree, index, place);
	tree_unlock(tree);
	return entry;
}

/*
 * The walk of tree_next. Never goes up, and could not: the lock guards parent pointers. At the end
 * of a node it starts again at the root with a larger index. So it terminates, whatever other
 * threads do; and if the tree has become too low for the index, nothing is stored there. This also
 * keeps the index from overflowing, for any @last up to UINT64_MAX.
 *
 * Returns false if a node has left the tree: there is no entry before *@index, and the walk must
 * begin again there. acquire: as in tree_walk_once.
 */
static bool walk_range(struct tree *tree, uint64_t *index, uint64_t last, void **found)
{
	struct tree_place place;
	struct tree_node *node;
	unsigned shift, offset;
	void *entry;

	*found = NULL;
	while (*index <= last) {
		uint64_t i = *index;

		place.generation = folio_u64_load_acquire(&tree->generation);
		entry = folio_ptr_load_acquire(&tree->root);
		if (!entry)
			return true;
		node = tree_root_node(entry);
		shift = tree_root_shift(entry);
		if (i >> shift >> TREE_SHIFT)
			return true;
		do {
			offset = (i >> shift) & (TREE_SLOTS - 1);
			entry = folio_ptr_load_acquire(&node->slot[offset]);
			if (tree_is_node(entry)) {
				if (!shift)
					return false;
				node = tree_to_node(entry);
				shift -= TREE_SHIFT;
				offset = 0;
			} else if (entry && !tree_is_shadow(entry)) {
				*found = entry;
			} else {
				/* To the next slot, which in a high node skips many pages. */
				i = ((i >> shift) + 1) << shift;
			}
		} while (!*found && offset < TREE_SLOTS - 1 && i <= last);
		FOLIO_PAUSE(walk_done, tree);
		if (!tree_unchanged(tree, &place))
			return false;
		*index = i;
		if (*found)
			return true;
	}
	return true;
}

void *tree_next_locked(struct tree *tree, uint64_t *index, uint64_t last)
{
	uint64_t i = *index;
	void *found;

	walk_range(tree, &i, last, &found);
	if (found)
		*index = i;
	return found;
}

bool tree_next_try(struct tree *tree, uint64_t *index, uint64_t last, void **found)
{
	unsigned tries = 0;
	uint64_t i = *index;

	while (!walk_range(tree, &i, last, found))
		if (++tries == WALK_TRIES)
			return false;
	if (*found)
		*index = i;
	return true;
}

void *tree_next(struct tree *tree, uint64_t *index, uint64_t last)
{
	void *found;

	if (tree_next_try(tree, index, last, &found))
		return found;
	tree_lock(tree);
	found = tree_next_locked(tree, index, last);
	tree_unlock(tree);
	return found;
}
