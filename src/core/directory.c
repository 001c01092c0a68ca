/* SPDX-License-Identifier: BSD-2-Clause */
/* directory.c - directories of trees: when a tree has one, its contents, its memory. */
#include "core/directory.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* The smallest array, a power of two. A model sets others. */
#ifndef DIRECTORY_SLOTS_MIN
#define DIRECTORY_SLOTS_OWN     1u
#define DIRECTORY_SLOTS_MIN     8u
/* Is an array of so many bytes one whose pages the system can take back? */
#define DIRECTORY_MAPPED(bytes) ((bytes) >= (size_t)sysconf(_SC_PAGESIZE))
#endif

static size_t bytes_of(const struct directory *directory)
{
	return sizeof(*directory->slot) * directory->slots;
}

static unsigned log_of(const struct directory *directory)
{
	return (unsigned)__builtin_ctzll(directory->slots);
}

/* ---- memory ---- */

/* An array of @bytes, all NULL. NULL: no memory. */
static folio_ptr *array_new(size_t bytes)
{
	void *memory;

	if (!DIRECTORY_MAPPED(bytes))
		return calloc(1, bytes);
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return memory == MAP_FAILED ? NULL : memory;
}

static void array_delete(folio_ptr *slot, size_t bytes)
{
	if (!DIRECTORY_MAPPED(bytes))
		free(slot);
	else
		munmap(slot, bytes);
}

/* A free directory of 2^@log slots, or a new one. All its slots are NULL. NULL: no memory. */
static struct directory *directory_take(struct tree_budget *budget, unsigned log)
{
	struct directory *directory;

	pthread_mutex_lock(&budget->lock);
	directory = budget->directories[log];
	if (directory)
		budget->directories[log] = directory->next;
	pthread_mutex_unlock(&budget->lock);
	if (!directory) {
		directory = malloc(sizeof(*directory));
		if (!directory)
			return NULL;
		directory->slots = UINT64_C(1) << log;
		directory->slot = array_new(bytes_of(directory));
		if (!directory->slot) {
			free(directory);
			return NULL;
		}
	}
	/* relaxed: a count that protects no other memory. */
	folio_u64_fetch_add_relaxed(&budget->directory_bytes, bytes_of(directory));
	return directory;
}

/*
 * Return a directory that was unlinked before the last generation_next. Its address remains an
 * array of slots, because readers may still load from it; its pages, if it has whole ones, go back
 * to the system, because no tree may need an array of this size again. The system refuses that if
 * the program has locked its memory: then the slots are cleared, since the next tree stores only
 * what it has.
 */
static void directory_give(struct tree_budget *budget, struct directory *directory)
{
	unsigned log = log_of(directory);
	size_t bytes = bytes_of(directory), i;

	if (!DIRECTORY_MAPPED(bytes) || madvise(directory->slot, bytes, MADV_DONTNEED))
		for (i = 0; i < directory->slots; i++)
			/* release: as all stores to a slot. */
			folio_ptr_store_release(&directory->slot[i], NULL);
	folio_u64_fetch_sub_relaxed(&budget->directory_bytes, bytes);
	pthread_mutex_lock(&budget->lock);
	directory->next = budget->directories[log];
	budget->directories[log] = directory;
	pthread_mutex_unlock(&budget->lock);
}

void directories_destroy(struct tree_budget *budget)
{
	struct directory *directory;
	unsigned log;

	for (log = 0; log < TREE_DIRECTORIES; log++)
		while ((directory = budget->directories[log])) {
			budget->directories[log] = directory->next;
			array_delete(directory->slot, bytes_of(directory));
			free(directory);
		}
}

/* ---- contents ---- */

/* The first block of the node's first slot. relaxed: for the lock's holder, as all loads here. */
static uint64_t first_block(const struct tree_node *node)
{
	uint64_t index = 0;

	for (; node->parent; node = node->parent)
		index |= (uint64_t)node->offset << node->parent->shift;
	return index >> TREE_SHIFT;
}

/*
 * release: pairs with the acquire of a walk, which then finds the leaf set up; in an array that was
 * another tree's, a walk there that has stalled then finds that tree's generation changed.
 */
static void store(struct directory *directory, uint64_t block, void *entry)
{
	folio_ptr_store_release(&directory->slot[block], entry);
}

void directory_mirror(
	struct tree *tree, const struct tree_node *node, unsigned offset, void *old, void *entry)
{
	struct directory *directory = directory_of(tree);
	uint64_t block = first_block(node) + offset;

	tree->blocks += (uint64_t) !!entry - (uint64_t) !!old;
	if (block < directory->slots)
		store(directory, block, entry);
}

void directory_leaf(struct tree *tree, void *entry)
{
	if (tree->own.slots)
		store(&tree->own, 0, entry);
}

/* Store what the slots of level 1 below @node have. Its first slot has the block @first. */
static void fill(struct directory *directory, struct tree_node *node, uint64_t first)
{
	unsigned offset, shift = node->shift - TREE_SHIFT;
	uint64_t block = first;
	void *entry;

	for (offset = 0; offset < TREE_SLOTS; offset++, block += UINT64_C(1) << shift) {
		if (block >= directory->slots)
			return;
		entry = folio_ptr_load_relaxed(&node->slot[offset]);
		if (shift && tree_is_node(entry))
			fill(directory, tree_to_node(entry), block);
		else if (!shift && entry)
			store(directory, block, entry);
	}
}

/* ---- which one a tree has ---- */

void directory_init(struct tree *tree)
{
	tree->own = (struct directory){.slots = DIRECTORY_SLOTS_OWN, .slot = &tree->own_slot};
	folio_ptr_store_relaxed(&tree->own_slot, NULL);
	folio_ptr_store_relaxed(&tree->directory, &tree->own);
	tree->blocks = 0;
}

/* @with takes the place of the tree's directory. */
static void replace_with(struct tree *tree, struct directory *with)
{
	struct directory *old = directory_of(tree);

	/* release: pairs with the acquire of a walk, which loads the slots from after fill. */
	folio_ptr_store_release(&tree->directory, with);
	generation_next(tree);
	/* Only now: a walk that has the old one finds the generation changed. */
	if (old != &tree->own)
		directory_give(tree->budget, old);
}

static void fill_all(struct tree *tree, struct directory *directory)
{
	void *root = folio_ptr_load_relaxed(&tree->root);

	if (root && tree_root_shift(root) >= TREE_SHIFT)
		fill(directory, tree_root_node(root), 0);
}

/* The own one gets what the tree has now. */
static void own_fill(struct tree *tree)
{
	directory_leaf(tree, NULL);
	fill_all(tree, &tree->own);
}

static void replace_with_own(struct tree *tree)
{
	own_fill(tree);
	replace_with(tree, &tree->own);
}

static struct directory *make(struct tree *tree, unsigned log)
{
	struct directory *directory = directory_take(tree->budget, log);

	if (directory)
		fill_all(tree, directory);
	return directory;
}

/* The smallest number of bits for an array that has @block. */
static unsigned log_for(uint64_t block)
{
	unsigned log = (unsigned)__builtin_ctz(DIRECTORY_SLOTS_MIN);

	while (block >> log)
		log++;
	return log;
}

/* The last slot of level 1 that is in use. The root is above the leaves, and no node is empty. */
static uint64_t last_block(struct tree *tree)
{
	struct tree_node *node = tree_root_node(folio_ptr_load_relaxed(&tree->root));
	unsigned offset;
	void *entry;

	for (;;) {
		for (offset = TREE_SLOTS - 1;; offset--) {
			entry = folio_ptr_load_relaxed(&node->slot[offset]);
			if (entry)
				break;
		}
		if (node->shift == TREE_SHIFT || !tree_is_node(entry))
			return first_block(node) + ((uint64_t)offset << node->shift >> TREE_SHIFT);
		node = tree_to_node(entry);
	}
}

void directory_grow(struct tree *tree, uint64_t last)
{
	struct directory *old = directory_of(tree), *larger;
	uint64_t block = last >> TREE_SHIFT;
	unsigned log, whole;

	if (tree_root_shift(folio_ptr_load_relaxed(&tree->root)) < TREE_SHIFT || block < old->slots)
		return;
	log = log_for(block);
	if (!(tree->blocks * DIRECTORY_DENSE >> log))
		return;
	/* What is further on was stored when the tree was too sparse for it. */
	whole = log_for(last_block(tree));
	if (tree->blocks * DIRECTORY_DENSE >> whole)
		log = whole;
	larger = make(tree, log);
	if (larger)
		replace_with(tree, larger);
}

void directory_shrink(struct tree *tree)
{
	struct directory *old = directory_of(tree), *smaller = NULL;
	unsigned log;

	if (old == &tree->own || tree->blocks * DIRECTORY_SPARSE >= old->slots)
		return;
	/* Not a little smaller: it would soon be too large again. */
	for (log = log_of(old); log > log_for(0) && !smaller;)
		if (tree->blocks * DIRECTORY_DENSE >> --log)
			smaller = make(tree, log);
	if (smaller)
		replace_with(tree, smaller);
	else
		replace_with_own(tree);
}

void directory_drop(struct tree *tree)
{
	if (directory_of(tree) != &tree->own)
		replace_with_own(tree);
	else
		own_fill(tree);
}
