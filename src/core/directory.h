/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * directory.h - a mirror of the slots of level 1 of a tree: a look-up reaches its leaf with one
 * load.
 *
 * A slot of level 1 (shift TREE_SHIFT) covers a block of TREE_SLOTS pages. It holds NULL, a leaf, a
 * large entry or a shadow. The directory is an array that has the same words, indexed by block. A
 * walk that finds NULL there, or whose index is past the array, begins at the root. So a word may
 * be missing in the array, but one that is there must be right.
 *
 * Each tree has a directory of one slot of its own, for block 0; if the root is a leaf, that is its
 * word. The tree gets a larger one when a slot past its end is filled and the tree is dense enough:
 * as far as its last slot in use, if it is dense enough for that. It gets a smaller one, or its own
 * again, when it has become sparse (DIRECTORY_DENSE, DIRECTORY_SPARSE). It takes no more than
 * 8 * DIRECTORY_SPARSE bytes for each slot of level 1 in use; without memory for it, the tree keeps
 * the one that it has.
 *
 *      walk (walk.h)                                 change
 *   1  generation                     acquire     A1 unlink the node from its parent     release
 *   2a the directory                  acquire     A2 and from the directory              release
 *   2b its slot, then the leaf's      acquire        or: store another directory         release
 *   3  generation unchanged?          relaxed     B  generation + 1                      release
 *                                                 C  clear the node's slots, reuse it    release
 *                                                    or: give the array back; another
 *                                                    tree stores its own words there     release
 *
 * A reader that stalls between 2a and 2b may load from an array that is another tree's by then. The
 * generation shows it, as for nodes: all stores to an array are releases and come after B. In
 * between the array's pages go back to the system; what a reader loads from it then is NULL, and
 * NULL is never the result of a walk by the directory. For this the array stays mapped until the
 * budget is destroyed: its memory is type-stable.
 */
#ifndef FOLIO_SRC_CORE_DIRECTORY_H
#define FOLIO_SRC_CORE_DIRECTORY_H

#include "core/tree.h"

/* A directory has at most so many slots for each slot of level 1 in use when it is made, */
#define DIRECTORY_DENSE  8u
/* and at most so many as long as it is used. */
#define DIRECTORY_SPARSE 16u

/* The tree's directory. For the holder of the tree's lock. */
static inline struct directory *directory_of(struct tree *tree)
{
	return (struct directory *)folio_ptr_load_relaxed(&tree->directory);
}

/*
 * Step B of walk.h: a node or a directory has been unlinked, and may be changed from here on.
 *
 * release: pairs with the first load of a walk, which then does not reach it; and by the releases
 * of the stores that follow, with the walk's last load.
 */
static inline void generation_next(struct tree *tree)
{
	folio_u64_store_release(&tree->generation, folio_u64_load_relaxed(&tree->generation) + 1);
}

/* The tree, which is empty, has its own directory. No thread uses it yet. */
void directory_init(struct tree *tree);

/*
 * The slot of a node of level 1 has been changed from @old to @entry: count it, and change its
 * mirror. The lock is held, here and below.
 */
void directory_mirror(
	struct tree *tree, const struct tree_node *node, unsigned offset, void *old, void *entry);

/* The root has become @entry, a leaf's word or NULL, and has no slots of level 1. */
void directory_leaf(struct tree *tree, void *entry);

/* Something was stored, whose last page is @last: the tree may need a larger directory. */
void directory_grow(struct tree *tree, uint64_t last);

/* Slots may have become empty: the directory may be too large. */
void directory_shrink(struct tree *tree);

/*
 * The tree becomes empty, or its root a leaf, or its level 1 changes in many places: from here on
 * it has its own directory.
 */
void directory_drop(struct tree *tree);

/* Free the memory of all directories; no tree has one. */
void directories_destroy(struct tree_budget *budget);

#endif
