/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tree.c - the locked side of the tree: growth, shrinking, marks and shadows.
 *
 * States of a node:
 *
 *   charged, taken         by a store that has computed how many it needs, before it changes
 *                          anything: from the budget's free nodes, or allocated
 *   linked                 published with a release store in its parent's slot, or as the root
 *   live <-> queued        live: a folio is stored somewhere below. When the last one is erased and
 *                          shadows are left, the node joins the queue of the tree's shadow nodes; a
 *                          store below removes it from the queue
 *   unlinked               its last slot became empty, or a store replaced it by a large entry, or
 *                          it was a root whose only child became the root
 *   free, uncharged        at once: empty, in the budget's list. Readers may still be in it
 *
 * Invariants whenever no thread holds the lock:
 *
 *   I1  No node is empty, and the root does not lead only to a node in slot 0: the tree has as few
 *       nodes as its content needs, and equal content makes equal trees.
 *   I2  count, live and the marks of a node follow from its slots and its children; a node is
 *       queued exactly if live is 0.
 *   I3  A queued node is younger in the queue than each of its children.
 *   I4  The budget's shadow nodes are within their limit, or this tree has none of them.
 *
 * What a reader may see. A reader may be in a node while the tree around it changes, or while the
 * node itself leaves the tree. Three facts make that harmless:
 *
 *   1. A node covers the same indexes as long as it is in the tree: growth adds nodes above the
 *      root and shrinking removes them there; neither moves an entry, and shift and offset do not
 *      change. So by whatever path a reader reached a slot, it is the slot for its index.
 *
 *   2. An entry is in the slots of one node from its store to its erase: the old and the new root
 *      share nodes and never copy them. So an erase, which clears these slots before it returns,
 *      clears the entry wherever a reader can have found it, and the reader notices when it checks
 *      the same slot again.
 *
 *   3. A node that has left the tree is first counted in tree->generation, and only then changed:
 *      its slots are cleared, and a tree stores other entries there. So a reader that finds
 *      anything else in it than the tree had there also finds the generation changed, and discards
 *      it all (walk.h). This includes an empty slot in a root that shrinking replaced:
 *
 *     reader at index 0              writer
 *     loads the generation, and
 *     the root: R
 *                                    erases the far page: R leads to slot 0 alone
 *                                    the child C becomes the root; generation + 1
 *                                    clears R's slot 0
 *     loads R's slot 0: empty        (page 0 is stored, in C)
 *     the generation has changed
 *
 * A reader thus sees, for its index, what was stored at some moment since it loaded the generation.
 *
 * Order: every store to a slot or to the root is a release. It pairs with the acquire of each step
 * of tree_walk and tree_next. Without it, a reader could follow a node's word to slots that are not
 * initialized, or a folio's word to a folio that the storing thread had not set up. Stores of NULL
 * publish nothing and could be relaxed; one rule is easier to keep than two. The counter, not the
 * tree, orders an erase before the drop of the tree's reference (folio/ref.h, R4).
 *
 * Shadow nodes. A node with live == 0 exists only for shadows: it costs as much as 9 descriptors,
 * and eviction does not free it. These nodes are counted in the budget, whatever their level, and
 * each tree keeps its own in a queue by age, oldest first. A parent becomes a shadow node after the
 * last of its children did, and stops being one before any of them can become one again: this is
 * I3. Hence the oldest node has only shadows in its slots, and dropping it empties a single node.
 *
 * Lock order: tree->lock, then the budget's, for its list of free nodes (cache/types.h has the
 * complete order). The budget is shared by trees under different locks; its counters are atomic.
 */
#include "core/tree.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/directory.h"
#include "core/walk.h"

_Static_assert(TREE_SHIFT >= 1 && TREE_SHIFT <= 8, "count and live have 16 bits");
_Static_assert(
	offsetof(struct tree_node, slot) == 64 || TREE_SHIFT > 6, "one line before the slots");

#define LAST_OFFSET (TREE_SLOTS - 1)

/* The largest chunk of nodes: a huge page. */
#define CHUNK_BYTES ((size_t)2 << 20)

/* ---- words, slots and levels ---- */

/*
 * The level at which entries of @order are stored: 2^order_shift pages for each slot, and
 * order_slots slots for each entry.
 */
static unsigned order_shift(unsigned order)
{
	return order / TREE_SHIFT * TREE_SHIFT;
}

static unsigned order_slots(unsigned order)
{
	return 1u << order % TREE_SHIFT;
}

static unsigned offset_of(uint64_t index, unsigned shift)
{
	return (index >> shift) & LAST_OFFSET;
}

/* Does the tree below @root reach @index? Any index is allowed, even past TREE_INDEX_MAX. */
static bool covers(const struct tree_node *root, uint64_t index)
{
	return !(index >> root->shift >> TREE_SHIFT);
}

/* relaxed: for the lock's holder, which reads its own stores or those of a former holder. */
static void *slot_entry(struct tree_node *node, unsigned offset)
{
	return folio_ptr_load_relaxed(&node->slot[offset]);
}

static struct tree_node *root_of(struct tree *tree)
{
	void *entry = folio_ptr_load_relaxed(&tree->root);

	return tree_root_node(entry);
}

static void *node_entry(struct tree_node *node)
{
	return (char *)node + TREE_NODE;
}

static void slot_store(struct tree *tree, struct tree_node *node, unsigned offset, void *entry)
{
	void *old = slot_entry(node, offset);

	/* release: pairs with the acquire of each step of a walk; see "Order" above. */
	folio_ptr_store_release(&node->slot[offset], entry);
	if (node->shift == TREE_SHIFT)
		directory_mirror(tree, node, offset, old, entry);
}

/* Store @entry as the root: a node's word or NULL. */
static void root_store(struct tree *tree, void *entry)
{
	bool leaf = !entry || tree_to_node(entry)->shift < TREE_SHIFT;

	if (leaf)
		directory_drop(tree);
	/* release: as in slot_store; from here on, readers enter through the new root. */
	folio_ptr_store_release(&tree->root, entry ? tree_root_word(tree_to_node(entry)) : NULL);
	if (leaf)
		directory_leaf(tree, entry);
}

/* Store @entry in place of @node: in its parent's slot, or as the root. */
static void replace(struct tree *tree, struct tree_node *node, void *entry)
{
	if (node->parent) {
		slot_store(tree, node->parent, node->offset, entry);
		return;
	}
	root_store(tree, entry);
}

/*
 * ---- marks ----
 *
 * One bit per slot. A node's bit in its parent is set exactly if any bit of the node is, so a
 * search for marked entries descends only where it will find one. Marks are never read without the
 * lock: threads that search for dirty pages are about to change their state.
 */

static bool mark_get(const struct tree_node *node, enum tree_mark mark, unsigned offset)
{
	return node->mark[mark][offset / 64] >> offset % 64 & 1;
}

static void mark_put(struct tree_node *node, enum tree_mark mark, unsigned offset, bool set)
{
	uint64_t bit = UINT64_C(1) << offset % 64;

	if (set)
		node->mark[mark][offset / 64] |= bit;
	else
		node->mark[mark][offset / 64] &= ~bit;
}

/* The first slot from @offset on that has the mark; TREE_SLOTS if none has. */
static unsigned mark_next(const struct tree_node *node, enum tree_mark mark, unsigned offset)
{
	unsigned word = offset / 64;
	uint64_t bits = node->mark[mark][word] >> offset % 64 << offset % 64;

	while (!bits) {
		if (++word == sizeof(node->mark[mark]) / sizeof(bits))
			return TREE_SLOTS;
		bits = node->mark[mark][word];
	}
	return word * 64 + (unsigned)__builtin_ctzll(bits);
}

static bool mark_any(const struct tree_node *node, enum tree_mark mark)
{
	return mark_next(node, mark, 0) < TREE_SLOTS;
}

/* Propagates up to the first node that already has the mark: the nodes above it have it, too. */
static void mark_set(struct tree_node *node, enum tree_mark mark, unsigned offset, unsigned slots)
{
	unsigned i;

	for (i = 0; i < slots; i++)
		mark_put(node, mark, offset + i, true);
	for (; node->parent && !mark_get(node->parent, mark, node->offset); node = node->parent)
		mark_put(node->parent, mark, node->offset, true);
}

/*
 * Propagates up to the first node that keeps the mark for another slot. The marks of a node that
 * leaves the tree have been cleared this way before, so unlinking has none to clear.
 */
static void mark_clear(struct tree_node *node, enum tree_mark mark, unsigned offset, unsigned slots)
{
	unsigned i;

	for (i = 0; i < slots; i++)
		mark_put(node, mark, offset + i, false);
	for (; node->parent && !mark_any(node, mark); node = node->parent)
		mark_put(node->parent, mark, node->offset, false);
}

/* ---- nodes and their budget ---- */

int tree_budget_init(struct tree_budget *budget, uint64_t nodes_max, uint64_t nodes_shadow_max)
{
	unsigned log;

	folio_u64_store_relaxed(&budget->nodes, 0);
	folio_u64_store_relaxed(&budget->nodes_shadow, 0);
	folio_u64_store_relaxed(&budget->allocated, 0);
	folio_u64_store_relaxed(&budget->directory_bytes, 0);
	budget->nodes_max = nodes_max;
	budget->nodes_shadow_max = nodes_shadow_max;
	budget->huge_pages = false;
	budget->free = NULL;
	budget->chunks = NULL;
	budget->fresh = NULL;
	budget->fresh_left = 0;
	for (log = 0; log < TREE_DIRECTORIES; log++)
		budget->directories[log] = NULL;
	return -pthread_mutex_init(&budget->lock, NULL);
}

void tree_budget_destroy(struct tree_budget *budget)
{
	struct tree_node *node;

	while ((node = budget->chunks)) {
		budget->chunks = node->chunk;
		free(node);
	}
	directories_destroy(budget);
	pthread_mutex_destroy(&budget->lock);
}

/* Return an empty node that no new reader can reach, and uncharge it. */
static void node_give(struct tree_node *node)
{
	struct tree_budget *budget = node->budget;

	node->offset = 0;
	node->count = 0;
	node->live = 0;
	memset(node->mark, 0, sizeof(node->mark));
	pthread_mutex_lock(&budget->lock);
	node->parent = budget->free;
	budget->free = node;
	pthread_mutex_unlock(&budget->lock);
	/* relaxed: a count that protects no other memory. */
	folio_u64_fetch_sub_relaxed(&budget->nodes, 1);
}

/*
 * Allocate a chunk of nodes where @allocated exist. It has a thirty-second of that number, so that
 * little memory is unused, and one node at least. A large cache gets chunks of a huge page: its
 * nodes are visited in random order, and each visit would miss the processor's cache of addresses.
 * The lock is held. Aligned to a cache line: the low bits of a node's address are free, and 8 slots
 * share a line.
 */
static void chunk_add(struct tree_budget *budget, uint64_t allocated)
{
	const size_t align = _Alignof(struct tree_node), bytes = sizeof(struct tree_node);
	uint64_t count = allocated / 32;
	struct tree_node *node = NULL;

	if (count > budget->nodes_max - allocated)
		count = budget->nodes_max - allocated;
	if (count >= CHUNK_BYTES / bytes) {
		count = CHUNK_BYTES / bytes;
		node = aligned_alloc(CHUNK_BYTES, CHUNK_BYTES);
		/* A hint: ignore a failure. */
		if (node && budget->huge_pages)
			madvise(node, CHUNK_BYTES, MADV_HUGEPAGE);
	} else if (count > 1) {
		node = aligned_alloc(align, count * bytes);
	}
	if (!node) {
		count = 1;
		node = aligned_alloc(align, bytes);
	}
	if (!node)
		return;
	node->chunk = budget->chunks;
	budget->chunks = budget->fresh = node;
	budget->fresh_left = count;
}

/* A node that has never been used; NULL: no memory. The lock is held. */
static struct tree_node *fresh_take(struct tree_budget *budget)
{
	/* relaxed: stored under the lock, like here. */
	uint64_t allocated = folio_u64_fetch_add_relaxed(&budget->allocated, 1);
	struct tree_node *node, *chunk;

	if (!budget->fresh_left)
		chunk_add(budget, allocated);
	if (!budget->fresh_left) {
		folio_u64_fetch_sub_relaxed(&budget->allocated, 1);
		return NULL;
	}
	budget->fresh_left--;
	node = budget->fresh++;
	chunk = node == budget->chunks ? node->chunk : NULL;
	memset(node, 0, sizeof(*node));
	node->chunk = chunk;
	node->budget = budget;
	return node;
}

/*
 * An empty node: the free one that was used last, or a new one. NULL: no memory. Allocated under
 * the tree's lock, like all of a store: a second plan after an allocation without the lock would
 * cost more.
 */
static struct tree_node *node_take(struct tree_budget *budget)
{
	struct tree_node *node;

	pthread_mutex_lock(&budget->lock);
	node = budget->free;
	if (node)
		budget->free = node->parent;
	else
		node = fresh_take(budget);
	pthread_mutex_unlock(&budget->lock);
	return node;
}

/*
 * Take @needed nodes, chained by their parent fields. A store changes the tree only after it
 * has all nodes that it needs, so a failure has nothing to undo. The budget is charged first, so
 * that trees that allocate at the same time do not exceed the limit together.
 */
static int nodes_reserve(struct tree_budget *budget, unsigned needed, struct tree_node **spare)
{
	struct tree_node *node;
	unsigned have;

	*spare = NULL;
	if (!needed)
		return 0;
	/* relaxed: the count is exact in any order, and protects no other memory. */
	if (folio_u64_fetch_add_relaxed(&budget->nodes, needed) + needed > budget->nodes_max) {
		folio_u64_fetch_sub_relaxed(&budget->nodes, needed);
		return -ENOMEM;
	}
	for (have = 0; have < needed; have++) {
		node = node_take(budget);
		if (!node)
			break;
		node->parent = *spare;
		*spare = node;
	}
	if (have == needed)
		return 0;
	folio_u64_fetch_sub_relaxed(&budget->nodes, needed - have);
	while (*spare) {
		node = *spare;
		*spare = node->parent;
		node_give(node);
	}
	return -ENOMEM;
}

/* The node is initialized as a root: no parent, offset 0. Callers set both for other nodes. */
static struct tree_node *spare_take(struct tree_node **spare, unsigned shift)
{
	struct tree_node *node = *spare;

	*spare = node->parent;
	node->parent = NULL;
	node->shift = (uint8_t)shift;
	return node;
}

/* ---- the queue of shadow nodes ---- */

/* Append @node at the newest end. Its children are in the queue already (I3). */
static void queue_add(struct tree *tree, struct tree_node *node)
{
	node->queued = true;
	node->newer = NULL;
	node->older = tree->shadow_newest;
	if (node->older)
		node->older->newer = node;
	else
		tree->shadow_oldest = node;
	tree->shadow_newest = node;
	folio_u64_fetch_add_relaxed(&tree->budget->nodes_shadow, 1);
}

static void queue_remove(struct tree *tree, struct tree_node *node)
{
	node->queued = false;
	if (node->older)
		node->older->newer = node->newer;
	else
		tree->shadow_oldest = node->newer;
	if (node->newer)
		node->newer->older = node->older;
	else
		tree->shadow_newest = node->older;
	folio_u64_fetch_sub_relaxed(&tree->budget->nodes_shadow, 1);
}

/* ---- unlinking and shrinking ---- */

/* Return an empty node that was unlinked before the last generation_next. */
static void retire(struct tree *tree, struct tree_node *node)
{
	if (node->queued)
		queue_remove(tree, node);
	node_give(node);
}

/* Unlink an empty node. Its parent may be empty after that: see prune. */
static void unlink_node(struct tree *tree, struct tree_node *node)
{
	assert(!node->count && !node->live);
	replace(tree, node, NULL);
	if (node->parent)
		node->parent->count--;
	generation_next(tree);
	retire(tree, node);
}

/* Unlink @node and its ancestors as long as they are empty, one at a time, from the bottom up. */
static void prune(struct tree *tree, struct tree_node *node)
{
	struct tree_node *parent;

	for (; node && !node->count; node = parent) {
		parent = node->parent;
		unlink_node(tree, node);
	}
}

/* While the root's only entry is a node in slot 0, make that child the root. Fit the directory. */
static void shrink(struct tree *tree)
{
	struct tree_node *root;
	void *entry;

	while ((root = root_of(tree)) && root->count == 1) {
		entry = slot_entry(root, 0);
		if (!tree_is_node(entry))
			break;
		tree_to_node(entry)->parent = NULL;
		replace(tree, root, entry);
		generation_next(tree);
		/* Only now (fact 3): page 0 is still stored. */
		slot_store(tree, root, 0, NULL);
		retire(tree, root);
		if (tree_to_node(entry)->shift < TREE_SHIFT)
			directory_leaf(tree, entry);
	}
	directory_shrink(tree);
}

/* Return @node and all nodes below it; it was unlinked before the last generation_next. */
static void retire_below(struct tree *tree, struct tree_node *node)
{
	unsigned offset;
	void *entry;

	for (offset = 0; offset < TREE_SLOTS; offset++) {
		entry = slot_entry(node, offset);
		if (!entry)
			continue;
		slot_store(tree, node, offset, NULL);
		if (tree_is_node(entry))
			retire_below(tree, tree_to_node(entry));
	}
	retire(tree, node);
}

/* ---- limits on shadows ---- */

/* Drop the node with the oldest shadows. It has no child nodes, which would be older (I3). */
static void drop_oldest(struct tree *tree)
{
	struct tree_node *node = tree->shadow_oldest;
	unsigned offset;

	for (offset = 0; offset < TREE_SLOTS; offset++) {
		if (!slot_entry(node, offset))
			continue;
		assert(tree_is_shadow(slot_entry(node, offset)));
		slot_store(tree, node, offset, NULL);
	}
	/* The parent has other entries, or it was queued later than @node and is empty now. */
	node->count = 0;
	prune(tree, node);
	shrink(tree);
}

/*
 * Called after a change that may have created shadow nodes. The shadow that this change stored is
 * the youngest, and dropped only if the tree has no older one. The load may miss a concurrent
 * change by another tree, which enforces the limit on its own nodes.
 */
static void limit_shadows(struct tree *tree)
{
	struct tree_budget *budget = tree->budget;

	while (tree->shadow_oldest &&
		folio_u64_load_relaxed(&budget->nodes_shadow) > budget->nodes_shadow_max)
		drop_oldest(tree);
}

/*
 * If @needed more nodes exceed the budget, drop the tree's oldest shadow nodes, which are free at
 * once. Returns true if the tree has changed.
 */
static bool make_room(struct tree *tree, unsigned needed)
{
	struct tree_budget *budget = tree->budget;
	bool dropped = false;

	while (tree->shadow_oldest &&
		folio_u64_load_relaxed(&budget->nodes) + needed > budget->nodes_max) {
		drop_oldest(tree);
		dropped = true;
	}
	return dropped;
}

/* ---- creation and destruction ---- */

int tree_init(struct tree *tree, struct tree_budget *budget)
{
	folio_ptr_store_relaxed(&tree->root, NULL);
	directory_init(tree);
	folio_u64_store_relaxed(&tree->generation, 0);
	tree->budget = budget;
	tree->shadow_oldest = NULL;
	tree->shadow_newest = NULL;
	tree->entries = 0;
	return -pthread_mutex_init(&tree->lock, NULL);
}

void tree_clear(struct tree *tree)
{
	struct tree_node *root = root_of(tree);

	if (!root)
		return;
	replace(tree, root, NULL);
	generation_next(tree);
	retire_below(tree, root);
	tree->entries = 0;
}

void tree_destroy(struct tree *tree)
{
	tree_clear(tree);
	pthread_mutex_destroy(&tree->lock);
}

/*
 * ---- storing ----
 *
 * Three parts: examine the path (plan), reserve nodes (make_room, nodes_reserve), change the tree
 * (grow, descend, and the slots). Only the last part changes stored entries, and it cannot fail.
 */

/* The lowest level at which a root reaches @last. */
static unsigned root_shift(uint64_t last)
{
	unsigned shift = 0;

	while (last >> shift >> TREE_SHIFT)
		shift += TREE_SHIFT;
	return shift;
}

/*
 * The lowest level that the root must have for a store of @order at @index. Since the entry is
 * aligned, it is in the root's slot 0 only if its index is 0 or the root is above its level.
 */
static unsigned top_shift(uint64_t index, unsigned order)
{
	unsigned reach = root_shift(index + (UINT64_C(1) << order) - 1);
	unsigned level = order_shift(order);

	return reach > level ? reach : level;
}

/*
 * May an entry be stored, and how many nodes are missing on the path to its level? The cases:
 *
 *   the tree is empty      a node for each level from the root's down to the entry's
 *   the root is too low    it grows by one node per level. An entry at index 0 then covers all of
 *                          the old tree, on the new root's own level; any other entry goes into an
 *                          empty slot of the new root, next to the old tree, and needs a path down
 *                          from there
 *   the path ends early    a node for each level below its end, which is empty or a shadow; if it
 *                          ends at a folio, that folio covers the index: -EEXIST
 *   the path is complete   none, if the slots hold neither a folio nor a node with one below; else
 *                          -EEXIST
 *
 * live alone answers for everything below a node, so a large entry costs no more than a small one.
 */
static int plan(struct tree *tree, uint64_t index, unsigned order, unsigned *needed)
{
	unsigned level = order_shift(order), top = top_shift(index, order), i;
	struct tree_node *node = root_of(tree);
	void *entry;

	*needed = 0;
	if (!node) {
		*needed = (top - level) / TREE_SHIFT + 1;
		return 0;
	}
	if (node->shift < top) {
		*needed = (top - node->shift) / TREE_SHIFT;
		if (index)
			*needed += (top - level) / TREE_SHIFT;
		else if (node->live)
			return -EEXIST;
		return 0;
	}
	while (node->shift > level) {
		entry = slot_entry(node, offset_of(index, node->shift));
		if (!tree_is_node(entry)) {
			*needed = (node->shift - level) / TREE_SHIFT;
			return entry && !tree_is_shadow(entry) ? -EEXIST : 0;
		}
		node = tree_to_node(entry);
	}
	for (i = 0; i < order_slots(order); i++) {
		entry = slot_entry(node, offset_of(index, level) + i);
		if (tree_is_node(entry) ? tree_to_node(entry)->live > 0
					: entry && !tree_is_shadow(entry))
			return -EEXIST;
	}
	return 0;
}

/*
 * Add nodes above the root until it is at level @top. Each leads to the old root in slot 0 before
 * it is published, so that readers find the same entries through either.
 */
static struct tree_node *grow(struct tree *tree, unsigned top, struct tree_node **spare)
{
	struct tree_node *root = root_of(tree), *above;
	enum tree_mark mark;

	if (!root) {
		root = spare_take(spare, top);
		root_store(tree, node_entry(root));
	}
	while (root->shift < top) {
		above = spare_take(spare, root->shift + TREE_SHIFT);
		slot_store(tree, above, 0, node_entry(root));
		above->count = 1;
		above->live = root->live > 0;
		for (mark = 0; mark < TREE_MARKS; mark++)
			mark_put(above, mark, 0, mark_any(root, mark));
		/*
		 * add_live removes those that end up above the new entry from the queue again.
		 */
		if (!above->live)
			queue_add(tree, above);
		root->parent = above;
		root_store(tree, node_entry(above));
		root = above;
	}
	return root;
}

/*
 * Descend from @node to @level on the path of @index, and link the missing nodes. A shadow on the
 * path is dropped.
 */
static struct tree_node *descend(struct tree *tree, struct tree_node *node, uint64_t index,
	unsigned level, struct tree_node **spare)
{
	struct tree_node *child;
	unsigned offset;
	void *entry;

	for (; node->shift > level; node = child) {
		offset = offset_of(index, node->shift);
		entry = slot_entry(node, offset);
		if (tree_is_node(entry)) {
			child = tree_to_node(entry);
			continue;
		}
		child = spare_take(spare, node->shift - TREE_SHIFT);
		child->offset = (uint8_t)offset;
		child->parent = node;
		if (!entry)
			node->count++;
		slot_store(tree, node, offset, node_entry(child));
	}
	return node;
}

/*
 * @slots of @node have got a folio: update live of each ancestor for which it is the first. Those
 * nodes leave the queue, the entry's node first; nodes just built are in no queue.
 */
static void add_live(struct tree *tree, struct tree_node *node, unsigned slots)
{
	bool first;

	do {
		first = !node->live;
		node->live += slots;
		if (node->queued)
			queue_remove(tree, node);
		node = node->parent;
		slots = 1;
	} while (first && node);
}

int tree_store_locked(struct tree *tree, uint64_t index, unsigned order, void *entry)
{
	struct tree_node *spare, *node;
	unsigned needed, offset, i;
	void *old;
	int err;

	if (order > TREE_ORDER_MAX || index > TREE_INDEX_MAX ||
		index & ((UINT64_C(1) << order) - 1))
		return -EINVAL;
	assert(entry && !tree_is_node(entry) && !tree_is_shadow(entry) &&
		tree_order(entry) == order);
	err = plan(tree, index, order, &needed);
	/*
	 * make_room may remove nodes on which the plan relied. It removes no folios, so only the
	 * number of missing nodes changes.
	 */
	while (!err && needed && make_room(tree, needed))
		err = plan(tree, index, order, &needed);
	if (!err)
		err = nodes_reserve(tree->budget, needed, &spare);
	if (err)
		return err;

	node = grow(tree, top_shift(index, order), &spare);
	node = descend(tree, node, index, order_shift(order), &spare);
	assert(!spare);
	offset = offset_of(index, node->shift);
	for (i = 0; i < order_slots(order); i++) {
		old = slot_entry(node, offset + i);
		slot_store(tree, node, offset + i, entry);
		if (!old) {
			node->count++;
		} else if (tree_is_node(old)) {
			/* Only shadows are below it. */
			if (tree_to_node(old)->shift)
				directory_drop(tree);
			generation_next(tree);
			retire_below(tree, tree_to_node(old));
		}
	}
	add_live(tree, node, order_slots(order));
	tree->entries++;
	directory_grow(tree, index + (UINT64_C(1) << order) - 1);
	/* Growth above a tree of shadows queues a node on each level in between. */
	limit_shadows(tree);
	return 0;
}

/* ---- erasing ---- */

/*
 * The node on @level that has the slot for @index; NULL if the tree has none. For an entry that the
 * caller knows to be stored: its order determines the level, so the entries above are not checked.
 */
static struct tree_node *find_node(struct tree *tree, uint64_t index, unsigned level)
{
	struct tree_node *node = root_of(tree);
	void *entry;

	if (!node || !covers(node, index) || node->shift < level)
		return NULL;
	while (node->shift > level) {
		entry = slot_entry(node, offset_of(index, node->shift));
		if (!tree_is_node(entry))
			return NULL;
		node = tree_to_node(entry);
	}
	return node;
}

/*
 * @slots of @node have lost their folio. Walk up the path as long as it was the last folio below:
 * unlink a node that is empty, queue a node with shadows left, children before parents.
 */
static void sub_live(struct tree *tree, struct tree_node *node, unsigned slots)
{
	struct tree_node *parent;
	bool last;

	do {
		parent = node->parent;
		node->live -= slots;
		last = !node->live;
		if (!node->count)
			unlink_node(tree, node);
		else if (last)
			queue_add(tree, node);
		node = parent;
		slots = 1;
	} while (last && node);
}

/*
 * The slots are cleared before any other change to the node, so that fact 2 holds if the node
 * stays, and fact 3 if it leaves. The shadow is one of these stores: a reader finds the entry, the
 * shadow or nothing.
 */
void tree_erase_locked(struct tree *tree, uint64_t index, unsigned order, void *shadow)
{
	struct tree_node *node = find_node(tree, index, order_shift(order));
	unsigned slots = order_slots(order), offset, i;
	enum tree_mark mark;

	assert(node);
	offset = offset_of(index, node->shift);
	for (mark = 0; mark < TREE_MARKS; mark++)
		if (mark_get(node, mark, offset))
			mark_clear(node, mark, offset, slots);
	for (i = 0; i < slots; i++) {
		assert(tree_order(slot_entry(node, offset + i)) == order);
		slot_store(tree, node, offset + i, i ? NULL : shadow);
	}
	node->count -= shadow ? slots - 1 : slots;
	tree->entries--;
	sub_live(tree, node, slots);
	/* May drop the shadow that was just stored. */
	limit_shadows(tree);
	shrink(tree);
}

/* ---- marks of a range ---- */

/*
 * Find the node and the first slot of the folio's entry that covers @index. Returns the number of
 * its slots; 0 if there is no such entry.
 */
static unsigned find_entry(
	struct tree *tree, uint64_t index, struct tree_node **found, unsigned *offset)
{
	struct tree_node *node = root_of(tree);
	unsigned slots;
	void *entry;

	if (!node || !covers(node, index))
		return 0;
	for (;;) {
		*offset = offset_of(index, node->shift);
		entry = slot_entry(node, *offset);
		if (!tree_is_node(entry))
			break;
		node = tree_to_node(entry);
	}
	if (!entry || tree_is_shadow(entry))
		return 0;
	slots = order_slots(tree_order(entry));
	*found = node;
	*offset &= ~(slots - 1);
	return slots;
}

void tree_mark_set_locked(struct tree *tree, uint64_t index, enum tree_mark mark)
{
	struct tree_node *node;
	unsigned offset, slots = find_entry(tree, index, &node, &offset);

	if (slots)
		mark_set(node, mark, offset, slots);
}

void tree_mark_clear_locked(struct tree *tree, uint64_t index, enum tree_mark mark)
{
	struct tree_node *node;
	unsigned offset, slots = find_entry(tree, index, &node, &offset);

	if (slots)
		mark_clear(node, mark, offset, slots);
}

bool tree_mark_test_locked(struct tree *tree, uint64_t index, enum tree_mark mark)
{
	struct tree_node *node;
	unsigned offset;

	return find_entry(tree, index, &node, &offset) && mark_get(node, mark, offset);
}

/*
 * As tree_next_locked, but from mark to mark: a node without a marked slot is not visited. It
 * descends from the root once for each node with marked entries.
 */
void *tree_next_marked_locked(
	struct tree *tree, uint64_t *index, uint64_t last, enum tree_mark mark)
{
	struct tree_node *node;
	uint64_t i = *index;
	unsigned offset;
	void *entry;

	while (i <= last && (node = root_of(tree)) && covers(node, i)) {
		/* A marked slot leads to a marked entry, unless that entry is before i. */
		for (;;) {
			offset = mark_next(node, mark, offset_of(i, node->shift));
			if (offset == TREE_SLOTS) {
				i = ((i >> node->shift >> TREE_SHIFT) + 1)
				    << TREE_SHIFT << node->shift;
				break;
			}
			if (offset != offset_of(i, node->shift))
				i = ((i >> node->shift & ~(uint64_t)LAST_OFFSET) + offset)
				    << node->shift;
			if (i > last)
				return NULL;
			entry = slot_entry(node, offset);
			if (!tree_is_node(entry)) {
				*index = i;
				return entry;
			}
			node = tree_to_node(entry);
		}
	}
	return NULL;
}

/*
 * Drop the shadows of @index .. @last below @node, whose first page is @base, and the nodes below
 * it that become empty. live does not change: no dropped slot was live. The recursion is as deep
 * as the tree.
 */
static void erase_shadows_below(
	struct tree *tree, struct tree_node *node, uint64_t base, uint64_t index, uint64_t last)
{
	uint64_t end = (last - base) >> node->shift;
	struct tree_node *child;
	unsigned offset;
	void *entry;

	offset = index > base ? (unsigned)((index - base) >> node->shift) : 0;
	for (; offset < TREE_SLOTS && offset <= end; offset++) {
		entry = slot_entry(node, offset);
		if (tree_is_node(entry)) {
			child = tree_to_node(entry);
			erase_shadows_below(
				tree, child, base + ((uint64_t)offset << node->shift), index, last);
			if (!child->count)
				unlink_node(tree, child); /* which also dequeues it */
		} else if (tree_is_shadow(entry)) {
			slot_store(tree, node, offset, NULL);
			node->count--;
		}
	}
}

/* A shadow is dropped if any index that it covers is in the range. */
void tree_erase_shadows_locked(struct tree *tree, uint64_t index, uint64_t last)
{
	struct tree_node *root = root_of(tree);

	if (!root || index > last || !covers(root, index))
		return;
	erase_shadows_below(tree, root, 0, index, last);
	prune(tree, root);
	shrink(tree);
}
