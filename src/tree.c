/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tree.c - the side of the tree that stores: growth, shrinking, marks, shadows, and the walk of a
 * range.
 *
 * The life of a node:
 *
 *   charged, allocated     by a store that found out how many it needs, before it changes anything
 *   linked                 published with a release store in its parent's slot, or as the root
 *   live <-> queued        live: a folio is stored somewhere below. When the last one goes and
 *                          shadows are left, the node joins the queue of the tree's shadow nodes; a
 *                          store below takes it out again
 *   unlinked               its last slot became empty, or a store put a large entry in its place,
 *                          or it was a root whose only child takes over
 *   freed, uncharged       after a grace period
 *
 * What holds whenever nobody has the lock:
 *
 *   I1  No node is empty, and the root leads somewhere else than to a node in slot 0 alone: there
 *       are as few nodes as the content needs, and the same content makes the same tree.
 *   I2  count, live and the marks of a node follow from its slots and its children; a node is
 *       queued exactly when live is 0.
 *   I3  A queued node is younger in the queue than each of its children.
 *   I4  The budget's shadow nodes are within their limit, or this tree has none of them.
 *
 * What a reader may see. Nothing keeps a reader from standing in a node while the tree around it
 * changes, or while the node itself leaves the tree. Three facts make that harmless:
 *
 *   1. A node stands for the same indexes as long as anybody can reach it: growth puts nodes above
 *      the root and shrinking takes them away there; neither moves anything, and shift and offset
 *      are never changed. So whatever way led a reader to a slot, it is the slot for his index.
 *
 *   2. An entry is in the slots of one node, from its store to its erase: nodes are shared by the
 *      old and the new root, never copied. So erase, which clears these slots before it returns,
 *      clears the entry wherever any reader can have found it, and the reader's second look at the
 *      same slot notices.
 *
 *   3. A node that has left is empty and stays so, since stores start at the root; a reader in it
 *      finds nothing, which was true after he had set out. The one exception is a root that
 *      shrinking replaced: its slot 0 still leads to the child, which is part of the tree, so that
 *      readers who are on their way through it miss nothing that is stored. When the child leaves
 *      the tree later, they are still in the section in which they loaded the old root, and the
 *      child's grace period waits for them.
 *
 *     reader at index 0            writer
 *     loads the root: R
 *                                  erases the far page: R leads to slot 0 alone
 *                                  the child C becomes the root, R waits for its grace period
 *     loads R's slot 0: C          (an empty slot here would be a page lost that is stored)
 *                                  erases page 0: C is empty and leaves, too
 *     loads C's slot: empty        C is freed when the reader has left his section, not before
 *
 * A reader thus sees, for his index, what was stored there at some moment since he loaded the root.
 *
 * Order: every store to a slot or to the root is a release. It pairs with the acquire of each step
 * of tree_walk: for a node's word, its slots; for a folio's word, the folio as the storing thread
 * set it up. Stores of NULL publish nothing and would do with less; one rule is easier to keep than
 * two. That an erase is seen before the drop of the tree's reference is the business of the counter
 * (ref.h, R4).
 *
 * Shadow nodes. A node with live == 0 is there for shadows alone: it costs as much as 9 descriptors
 * and nobody evicts it. They are counted in the budget, whatever their level, and each tree keeps
 * its own in a queue by age, oldest first. A parent becomes such a node after the last of its
 * children did, and stops being one before any of them can become one again: that is I3. Hence the
 * oldest node has only shadows in its slots, and dropping it is emptying one node.
 *
 * Lock order: tree->lock is all there is here; grace_defer under it takes no lock that anybody
 * waits for. The budget is shared by trees under different locks, and atomic.
 */
#include "tree.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(TREE_SHIFT >= 1 && TREE_SHIFT <= 8, "count and live are 16 bits wide, slots beside");
_Static_assert(
	offsetof(struct tree_node, slot) == 64 || TREE_SHIFT > 6, "one line before the slots");

#define LAST_OFFSET (TREE_SLOTS - 1)

/*
 * Of the level where entries of @order live: what a slot is worth, and how many of them one fills.
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

/* Does the tree below this root reach that far? The index may be any, also past TREE_INDEX_MAX. */
static bool covers(const struct tree_node *root, uint64_t index)
{
	return !(index >> root->shift >> TREE_SHIFT);
}

/* relaxed: for the holder of the lock, who reads what he or a former holder stored. */
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

static void slot_store(struct tree_node *node, unsigned offset, void *entry)
{
	/* release: pairs with the acquire of tree_walk and tree_next. */
	folio_ptr_store_release(&node->slot[offset], entry);
}

/* What is above @node, its parent's slot or the root, gets another word. */
static void replace(struct tree *tree, struct tree_node *node, void *entry)
{
	if (node->parent)
		slot_store(node->parent, node->offset, entry);
	else
		/* release: as in slot_store */
		folio_ptr_store_release(
			&tree->root, entry ? tree_root_word(tree_to_node(entry)) : NULL);
}

/*
 * Marks: one bit a slot. A node's bit in its parent is set exactly when any bit of the node is, so
 * a search for marked entries goes down only where it will find one. Never read without the lock:
 * what is dirty is asked by those who are about to change it.
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

/* The first slot from @offset on that has the mark; TREE_SLOTS when none has. */
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

/*
 * Up to the first node that has the mark already: what is above has it, too.
 */
static void mark_set(struct tree_node *node, enum tree_mark mark, unsigned offset, unsigned slots)
{
	unsigned i;

	for (i = 0; i < slots; i++)
		mark_put(node, mark, offset + i, true);
	for (; node->parent && !mark_get(node->parent, mark, node->offset); node = node->parent)
		mark_put(node->parent, mark, node->offset, true);
}

/*
 * Up to the first node that keeps the mark for another slot. A node that is about to leave the tree
 * has cleared its marks in this way before, so unlinking has none to clear.
 */
static void mark_clear(struct tree_node *node, enum tree_mark mark, unsigned offset, unsigned slots)
{
	unsigned i;

	for (i = 0; i < slots; i++)
		mark_put(node, mark, offset + i, false);
	for (; node->parent && !mark_any(node, mark); node = node->parent)
		mark_put(node->parent, mark, node->offset, false);
}

/*
 * Nodes and their budget.
 */

/* After the grace period, or at once for a node that nobody has seen. */
static void node_free(struct tree_node *node)
{
	struct tree_budget *budget = node->budget;

	free(node);
	/* relaxed: a count that guards nothing. */
	folio_u64_fetch_sub_relaxed(&budget->nodes, 1);
}

static void node_free_deferred(struct grace_head *head)
{
	node_free(caa_container_of(head, struct tree_node, grace));
}

static struct tree_node *node_alloc(struct tree_budget *budget)
{
	/*
	 * Aligned to a line: the low bits of the word are free, and 8 slots share a line. Under the
	 * lock, as all of a store: a second look after an allocation without it would cost more.
	 */
	struct tree_node *node = aligned_alloc(_Alignof(struct tree_node), sizeof(*node));

	if (!node)
		return NULL;
	memset(node, 0, sizeof(*node));
	node->budget = budget;
	return node;
}

/*
 * @needed nodes, chained by their parent fields: a store changes the tree when it has all that it
 * needs, so that a failure has nothing to undo. Charged first, so that trees side by side do not
 * pass the limit together.
 */
static int nodes_reserve(struct tree_budget *budget, unsigned needed, struct tree_node **spare)
{
	struct tree_node *node;
	unsigned have;

	*spare = NULL;
	if (!needed)
		return 0;
	/* relaxed: the count is exact whatever the order, and says nothing about other memory. */
	if (folio_u64_fetch_add_relaxed(&budget->nodes, needed) + needed > budget->nodes_max) {
		folio_u64_fetch_sub_relaxed(&budget->nodes, needed);
		return -ENOMEM;
	}
	for (have = 0; have < needed; have++) {
		node = node_alloc(budget);
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
		node_free(node);
	}
	return -ENOMEM;
}

/*
 * A root has no parent and offset 0, which is how the node was allocated; others are placed later.
 */
static struct tree_node *spare_take(struct tree_node **spare, unsigned shift)
{
	struct tree_node *node = *spare;

	*spare = node->parent;
	node->parent = NULL;
	node->shift = (uint8_t)shift;
	return node;
}

/* At the young end. Its children are in the queue already (I3). */
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

/* A node that nothing leads to any more, but for readers who are on their way. */
static void retire(struct tree *tree, struct tree_node *node)
{
	if (node->queued)
		queue_remove(tree, node);
	grace_defer(&node->grace, node_free_deferred);
}

/* Take an empty node out. What is above may be empty after that: see prune. */
static void unlink_node(struct tree *tree, struct tree_node *node)
{
	assert(!node->count && !node->live);
	replace(tree, node, NULL);
	if (node->parent)
		node->parent->count--;
	retire(tree, node);
}

/*
 * Take @node and what is above it out, as far as it is empty: from the bottom up, each by itself.
 */
static void prune(struct tree *tree, struct tree_node *node)
{
	struct tree_node *parent;

	for (; node && !node->count; node = parent) {
		parent = node->parent;
		unlink_node(tree, node);
	}
}

/*
 * While the root leads to slot 0 and nowhere else, the child is root enough. The old root keeps its
 * slot for the readers that are in it (fact 3 above).
 */
static void shrink(struct tree *tree)
{
	struct tree_node *root;
	void *entry;

	while ((root = root_of(tree)) && root->count == 1) {
		entry = slot_entry(root, 0);
		if (!tree_is_node(entry))
			return;
		tree_to_node(entry)->parent = NULL;
		replace(tree, root, entry);
		retire(tree, root);
	}
}

/*
 * Free a sub-tree of nothing but shadows that a store has just put an entry in place of. The slots
 * are cleared for the readers in it: they find nothing rather than what was remembered of another
 * time.
 */
static void retire_shadows(struct tree *tree, struct tree_node *node)
{
	unsigned offset;
	void *entry;

	assert(!node->live);
	for (offset = 0; offset < TREE_SLOTS; offset++) {
		entry = slot_entry(node, offset);
		if (!entry)
			continue;
		/* Before the child's own grace period begins: nobody comes to it by this way. */
		slot_store(node, offset, NULL);
		if (tree_is_node(entry))
			retire_shadows(tree, tree_to_node(entry));
	}
	retire(tree, node);
}

/*
 * Forget the oldest shadows. Their node has no children, being older than any parent in the queue.
 */
static void drop_oldest(struct tree *tree)
{
	struct tree_node *node = tree->shadow_oldest;
	unsigned offset;

	for (offset = 0; offset < TREE_SLOTS; offset++) {
		if (!slot_entry(node, offset))
			continue;
		assert(tree_is_shadow(slot_entry(node, offset)));
		slot_store(node, offset, NULL);
	}
	/* What is above was there for more than this node, or is younger and empty now. */
	node->count = 0;
	prune(tree, node);
	shrink(tree);
}

/*
 * After a change that may have made shadow nodes. What this change has left goes last; where the
 * tree has nothing older, it is that. The load may miss what another tree does at the same moment:
 * that tree looks after its own.
 */
static void limit_shadows(struct tree *tree)
{
	struct tree_budget *budget = tree->budget;

	while (tree->shadow_oldest &&
		folio_u64_load_relaxed(&budget->nodes_shadow) > budget->nodes_shadow_max)
		drop_oldest(tree);
}

/*
 * The limit is a hard one: nodes that wait for their grace period are memory like the others, and
 * how long they wait is up to readers. So dropping shadows gives nothing at once to the store that
 * finds the budget used up, and it is done before that point.
 *
 * Near the limit, give the tree's oldest shadow nodes back, as many as are about to be taken. They
 * count until their grace period is over; the last eighth of the budget is what goes on being
 * handed out meanwhile. Returns true when the tree has changed.
 */
static bool make_room(struct tree *tree, unsigned needed)
{
	struct tree_budget *budget = tree->budget;
	uint64_t comfortable = budget->nodes_max - budget->nodes_max / 8;
	unsigned dropped;

	if (folio_u64_load_relaxed(&budget->nodes) + needed <= comfortable)
		return false;
	for (dropped = 0; dropped < needed && tree->shadow_oldest; dropped++)
		drop_oldest(tree);
	return dropped > 0;
}

int tree_init(struct tree *tree, struct tree_budget *budget)
{
	folio_ptr_store_relaxed(&tree->root, NULL);
	tree->budget = budget;
	tree->shadow_oldest = NULL;
	tree->shadow_newest = NULL;
	tree->entries = 0;
	return -pthread_mutex_init(&tree->lock, NULL);
}

/*
 * No grace period: nobody is on his way. Nodes unlinked before are not found here and wait for
 * theirs.
 */
static void destroy_below(struct tree *tree, struct tree_node *node)
{
	unsigned offset;
	void *entry;

	for (offset = 0; offset < TREE_SLOTS; offset++) {
		entry = slot_entry(node, offset);
		if (tree_is_node(entry))
			destroy_below(tree, tree_to_node(entry));
	}
	if (node->queued)
		queue_remove(tree, node);
	node_free(node);
}

void tree_destroy(struct tree *tree)
{
	struct tree_node *root = root_of(tree);

	if (root)
		destroy_below(tree, root);
	pthread_mutex_destroy(&tree->lock);
}

/*
 * Storing: look (plan), reserve (make_room, nodes_reserve), change (grow, descend, and the slots).
 * Only the last part changes what is stored, and it cannot fail.
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
 * For a store of @order at @index: what level the root has to have, at least. Aligned as it is, the
 * entry lies in the root's slot 0 only when its index is 0 or the root is higher than its level.
 */
static unsigned top_shift(uint64_t index, unsigned order)
{
	unsigned reach = root_shift(index + (UINT64_C(1) << order) - 1);
	unsigned level = order_shift(order);

	return reach > level ? reach : level;
}

/*
 * May an entry be stored, and how many nodes are missing on the way to its level? One of:
 *
 *   no tree yet            a node for each level from the root's down to the entry's
 *   the root is too low    it grows, a node a level. An entry at index 0 then lies over all of the
 *                          old tree, on the new root's own level; any other lies beside it, in a
 *                          slot of the new root that is empty, and needs a way down from there
 *   a way that ends early  a node for each level below the end, be it empty or a shadow; a folio at
 *                          the end covers the index: -EEXIST
 *   a way that is whole    none, when the slots hold no folio and no node with one below
 *
 * Only live is asked about what is below, so the answer costs no more for large entries than for
 * small ones.
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
 * Put nodes above the root until it reaches @top. Each leads to the old root in slot 0 before it is
 * published, so that readers find the same entries through either.
 */
static struct tree_node *grow(struct tree *tree, unsigned top, struct tree_node **spare)
{
	struct tree_node *root = root_of(tree), *above;
	enum tree_mark mark;

	if (!root) {
		root = spare_take(spare, top);
		/* release: as in slot_store */
		folio_ptr_store_release(&tree->root, tree_root_word(root));
	}
	while (root->shift < top) {
		above = spare_take(spare, root->shift + TREE_SHIFT);
		slot_store(above, 0, node_entry(root));
		above->count = 1;
		above->live = root->live > 0;
		for (mark = 0; mark < TREE_MARKS; mark++)
			mark_put(above, mark, 0, mark_any(root, mark));
		/*
		 * Those of them that the entry comes to lie under leave the queue again, see
		 * add_live.
		 */
		if (!above->live)
			queue_add(tree, above);
		root->parent = above;
		/* release: as in slot_store; after it, readers arrive through the new root. */
		folio_ptr_store_release(&tree->root, tree_root_word(above));
		root = above;
	}
	return root;
}

/*
 * Go down from @node to the level at @index, building what is missing. A shadow in the way is
 * dropped.
 */
static struct tree_node *descend(
	struct tree_node *node, uint64_t index, unsigned level, struct tree_node **spare)
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
		slot_store(node, offset, node_entry(child));
	}
	return node;
}

/*
 * @slots of @node have got a folio: tell those above for whom it is the first. They leave the
 * queue, the entry's node first; those that were just built are in no queue.
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
	 * Making room may take away nodes that were counted on; it takes no folios, so only the
	 * number changes.
	 */
	if (!err && needed && make_room(tree, needed))
		err = plan(tree, index, order, &needed);
	if (!err)
		err = nodes_reserve(tree->budget, needed, &spare);
	if (err)
		return err;

	node = grow(tree, top_shift(index, order), &spare);
	node = descend(node, index, order_shift(order), &spare);
	assert(!spare);
	offset = offset_of(index, node->shift);
	for (i = 0; i < order_slots(order); i++) {
		old = slot_entry(node, offset + i);
		/*
		 * The new word first, so that a sub-tree is retired when no new reader comes to it.
		 */
		slot_store(node, offset + i, entry);
		if (!old)
			node->count++;
		else if (tree_is_node(old))
			retire_shadows(tree, tree_to_node(old));
	}
	add_live(tree, node, order_slots(order));
	tree->entries++;
	/* Growth over a tree of shadows has made a queued node on each level in between. */
	limit_shadows(tree);
	return 0;
}

/*
 * The node on @level that has the slot for @index; NULL where the tree does not reach. For what the
 * caller knows to be there: the order tells the level, so nothing has to be looked at on the way.
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
 * @slots of @node have lost their folio. Up the path, as long as it was the last one: what is empty
 * leaves the tree, what has shadows left is queued, children before parents.
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
 * The slots are cleared before anything else happens to the node, so that fact 2 holds also when
 * the node stays, and fact 3 when it goes. The shadow is one of those stores: a reader finds the
 * entry, the shadow or nothing.
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
		slot_store(node, offset + i, i ? NULL : shadow);
	}
	node->count -= shadow ? slots - 1 : slots;
	tree->entries--;
	sub_live(tree, node, slots);
	/* May drop the very shadow that was stored above. */
	limit_shadows(tree);
	shrink(tree);
}

/*
 * No way up is needed, and none could be used: parent pointers are the lock's. At the end of a node
 * the walk starts again at the root, with an index that is larger. So it ends, whatever happens
 * beside it; and where the tree has become lower than the index, nothing is stored there. That also
 * keeps the index far from overflow, up to a @last of UINT64_MAX.
 */
void *tree_next(struct tree *tree, uint64_t *index, uint64_t last)
{
	struct tree_node *node;
	uint64_t i = *index;
	unsigned shift, offset;
	void *entry;

	while (i <= last) {
		/* acquire, here and below: as in tree_walk. */
		entry = folio_ptr_load_acquire(&tree->root);
		if (!entry)
			return NULL;
		node = tree_root_node(entry);
		shift = tree_root_shift(entry);
		if (i >> shift >> TREE_SHIFT)
			return NULL;
		for (;;) {
			offset = offset_of(i, shift);
			entry = folio_ptr_load_acquire(&node->slot[offset]);
			if (tree_is_node(entry)) {
				node = tree_to_node(entry);
				shift -= TREE_SHIFT;
				continue;
			}
			if (entry && !tree_is_shadow(entry)) {
				*index = i;
				return entry;
			}
			/* To the next slot: of a high node, a long way. */
			i = ((i >> shift) + 1) << shift;
			if (offset == LAST_OFFSET || i > last)
				break;
		}
	}
	return NULL;
}

/*
 * The node and the first slot of the folio's entry that covers @index. Returns its slots, 0 for no
 * entry.
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
 * As tree_next, but from mark to mark: a node without a marked slot is not visited. The way from
 * the root down is taken once for each node with marked entries.
 */
void *tree_next_marked_locked(
	struct tree *tree, uint64_t *index, uint64_t last, enum tree_mark mark)
{
	struct tree_node *node;
	uint64_t i = *index;
	unsigned offset;
	void *entry;

	while (i <= last && (node = root_of(tree)) && covers(node, i)) {
		/* A marked slot leads to a marked entry, unless that lies before i. */
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
 * Of @node, which begins at @base: drop the shadows of index .. last, and the nodes below that
 * become empty. Live counts do not change: nothing that is taken away was live. The depth of the
 * calls is that of the tree.
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
				unlink_node(tree, child); /* and out of the queue */
		} else if (tree_is_shadow(entry)) {
			slot_store(node, offset, NULL);
			node->count--;
		}
	}
}

/* A shadow goes when any index that it is found for is in the range: it stands for all of them. */
void tree_erase_shadows_locked(struct tree *tree, uint64_t index, uint64_t last)
{
	struct tree_node *root = root_of(tree);

	if (!root || index > last || !covers(root, index))
		return;
	erase_shadows_below(tree, root, 0, index, last);
	prune(tree, root);
	shrink(tree);
}
