/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tree - a reader walks the tree while it grows, shrinks and loses nodes, which another tree uses
 * at once. Does it find the stored entries, never the entry of another index or tree, and nothing
 * after an erase has returned?
 *
 * This is src/core/tree.c itself and the walks of src/core/walk.h and walk.c, with two slots a
 * node, so that two entries make the tree grow and shrink by two levels. Index 0 is stored before
 * the readers start, and stays. One thread stores another entry, which has its contents by then,
 * and erases it; then it stores one in a second tree, in a node that the first one has lost. In a
 * second run the old entry is erased, and nodes that are new to the readers take over as the root.
 * Readers walk to any index, and check the place that they found again, as a look-up does, possibly
 * after they have learned that the erase has returned.
 *
 * All executions with at most three preemptions, one reader; random ones with two readers, and with
 * a thread of its own for the second tree.
 */
#define TREE_SHIFT 1
#define WALK_TRIES 1
#include "model.h"

static scenario stored("a reader found an entry that was stored concurrently");
static scenario erased("a reader saw that the place of an entry has changed");
static scenario over("a reader knew of an erase");
static scenario taken_over("a reader found an entry in nodes that took over as root");
static scenario again("a walk began again");
static scenario reused("the second tree used a node of the first");

/* Parts of C that are not C++. Nodes hold atomics, which must be constructed and destroyed. */
#define _Alignas alignas
#define _Alignof alignof
#define _Static_assert static_assert
#define aligned_alloc(align, size) node_new()
#define memset(to, byte, size)     ((void)0)
#define free(node)                 node_delete(node)

static struct tree_node *node_new();
static void node_delete(struct tree_node *node);

#include "core/walk.h"

static enum tree_mark operator++(enum tree_mark &mark, int)
{
	enum tree_mark old = mark;

	mark = (enum tree_mark)(mark + 1);
	return old;
}

#include "core/tree.c"
#include "core/walk.c"

#undef aligned_alloc
#undef memset
#undef free

#define NODES 24
static char node_memory[NODES][sizeof(struct tree_node)] __attribute__((aligned(64)));
static unsigned node_count;

static struct tree_node *node_new()
{
	struct tree_node *node = (struct tree_node *)node_memory[node_count++];

	CLAIM(node_count <= NODES, "the model has too few nodes");
	::new (node) struct tree_node();
	for (unsigned i = 0; i < TREE_SLOTS; i++)
		folio_ptr_store_relaxed(&node->slot[i], NULL);
	return node;
}

static void node_delete(struct tree_node *node)
{
	node->~tree_node();
}

/* Entries are words: an index in place of an address. Those of the second tree differ. */
static void *entry_at(uint64_t index)
{
	return (void *)(uintptr_t)((index + 1) << 6);
}

static void *foreign_at(uint64_t index)
{
	return (void *)(uintptr_t)((index + 1) << 6 | (uintptr_t)1 << 20);
}

/* The threads: one that stores and erases, readers, and perhaps one for the second tree. */
template <int readers, bool takes_over, bool third = false>
struct tree_readers
    : rl::test_suite<tree_readers<readers, takes_over, third>, readers + 1 + third> {
	enum { LAST = 4 };

	struct tree tree, second;
	struct tree_budget budget;
	folio_u32 erased_all;  /* set by the storing thread when it is done */
	rl::var<int> contents; /* of the page that is stored and erased */

	void before()
	{
		node_count = 0;
		folio_u32_store_relaxed(&erased_all, 0);
		PLAIN_STORE(contents, 0);
		CLAIM(!tree_budget_init(&budget, UINT64_MAX, UINT64_MAX), "no lock");
		CLAIM(!tree_init(&tree, &budget) && !tree_init(&second, &budget), "no lock");
		store(takes_over ? LAST : 0);
	}

	void store(uint64_t index)
	{
		CLAIM(!tree_store_locked(&tree, index, 0, entry_at(index)), "not stored");
	}

	void store_second()
	{
		unsigned had = node_count;

		/* No other thread uses this tree. */
		CLAIM(!tree_store_locked(&second, 0, 0, foreign_at(0)), "not stored");
		if (node_count == had)
			reused.reached();
	}

	void write()
	{
		tree_lock(&tree);
		PLAIN_STORE(contents, 1);
		store(LAST);
		tree_erase_locked(&tree, LAST, 0, NULL);
		tree_unlock(&tree);
		folio_u32_store_release(&erased_all, 1);
		if (!third)
			store_second();
	}

	/* The nodes built concurrently with the readers become the root when the others go. */
	void write_other()
	{
		tree_lock(&tree);
		store(0);
		tree_erase_locked(&tree, LAST, 0, NULL);
		tree_unlock(&tree);
		if (!third)
			store_second();
	}

	void *walk(uint64_t index, struct tree_place *place)
	{
		void *entry = tree_walk_once(&tree, index, place);

		if (tree_unchanged(&tree, place))
			return entry;
		again.reached();
		return tree_walk_again(&tree, index, place);
	}

	void read_other(uint64_t index)
	{
		struct tree_place place;
		void *entry = walk(index, &place);

		CLAIM(!entry || entry == entry_at(index), "found the entry of another index");
		if (index == 0 && entry)
			taken_over.reached();
	}

	void read(uint64_t index)
	{
		struct tree_place place;
		void *entry = walk(index, &place);

		CLAIM(!entry || entry == entry_at(index), "found the entry of another index");
		CLAIM(entry || index, "a stored entry is not found");
		if (index && entry) {
			CLAIM(PLAIN_LOAD(contents) == 1, "found, but wrong contents");
			bool is_over = folio_u32_load_acquire(&erased_all);
			bool still = tree_still(&tree, &place, entry);

			stored.reached();
			if (is_over)
				over.reached();
			if (!still)
				erased.reached();
			CLAIM(!is_over || !still,
				"the erase has returned and the place has the entry");
		}
	}

	/* A walk of the range finds index 0, which is stored throughout. */
	void read_range()
	{
		uint64_t index = 0;
		void *entry = tree_next(&tree, &index, LAST);

		CLAIM(entry == entry_at(0) && index == 0, "a stored entry is not found");
		index = 1;
		entry = tree_next(&tree, &index, LAST);
		CLAIM(!entry || entry == entry_at(LAST), "found the entry of another index");
	}

	void thread(unsigned index)
	{
		if (index > readers)
			store_second();
		else if (takes_over)
			index == 0 ? write_other() : read_other(rl::rand(2) * LAST);
		else if (index == 0)
			write();
		else if (readers > 1 && rl::rand(3) == 0)
			read_range();
		else
			read(rl::rand(2) * LAST);
	}

	void after()
	{
		tree_destroy(&tree);
		tree_destroy(&second);
		CLAIM(!budget.nodes.debug_value(), "a node is lost");
		tree_budget_destroy(&budget);
	}
};

int main()
{
	model m("tree");

	m.bound<struct tree_readers<1, false>>(3);
	m.bound<struct tree_readers<1, true>>(3);
	m.random<struct tree_readers<2, false>>(100000);
	m.random<struct tree_readers<1, false, true>>(100000);
	return m.result();
}
