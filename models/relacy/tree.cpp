/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tree - does a reader who walks the tree while it grows, shrinks and loses nodes find what is stored, nothing that is
 * not his, and nothing any more once an erase is over; and does no node go while he may stand in it?
 *
 * This is src/tree.c itself and tree_walk of src/tree.h, with two slots a node, so that two entries make
 * the tree grow and shrink by two levels. Index 0 is stored before the readers start and stays. One thread stores
 * another, which has contents by then, and erases it; in a second run the one that was there is erased,
 * and nodes that are new to the readers take over as the root. Readers walk to any index, inside a grace section, and look at the slot that they
 * found a second time, as a look-up does, after they may have been told that the erase is over.
 *
 * A grace period here begins when a node is deferred: sections that are open then are waited for, later ones
 * see all that came before. That is one of the things that liburcu may do, and the earliest.
 *
 * All executions with at most four preemptions, one reader; random ones with two.
 */
#define TREE_SHIFT 1
#include "model.h"

#define FOLIO_SRC_GRACE_H

static scenario stored("a reader found an entry that was stored beside him");
static scenario erased("a reader saw the slot of an entry change");
static scenario over("a reader knew of an erase");
static scenario taken_over("a reader found an entry in nodes that took over as root");
static scenario waited("a node waited for a reader");

/* In place of src/grace.h. */
struct grace_head {
	struct grace_head *next;
	void (*free_fn)(struct grace_head *);
	unsigned waits_for; /* threads whose sections were open */
};

static folio_u32 *grace_word;
static struct grace_head *grace_list;
static unsigned grace_open;

static void grace_read_lock()
{
	/* acquire: what came before the beginning of a grace period that does not wait for us is seen. */
	folio_u32_fetch_add_acquire(grace_word, 1);
	grace_open |= 1u << rl::thread_index();
}

/* Threads switch in what is called, and come here as well: the list is whole before anything is called. */
static void grace_end(unsigned done)
{
	struct grace_head **at = &grace_list, *head, *ended = NULL;

	while ((head = *at)) {
		head->waits_for &= ~done;
		if (head->waits_for) {
			at = &head->next;
			continue;
		}
		*at = head->next;
		head->next = ended;
		ended = head;
	}
	while ((head = ended)) {
		ended = head->next;
		head->free_fn(head);
	}
}

static void grace_read_unlock()
{
	folio_u32_fetch_add_acquire(grace_word, 1);
	grace_open &= ~(1u << rl::thread_index());
	grace_end(1u << rl::thread_index());
}

static void grace_defer(struct grace_head *head, void (*free_fn)(struct grace_head *))
{
	/* release: who opens a section after this sees what came before; who opened it before is waited for. */
	folio_u32_fetch_sub_release(grace_word, 1);
	head->free_fn = free_fn;
	head->waits_for = grace_open;
	if (grace_open)
		waited.reached();
	head->next = grace_list;
	grace_list = head;
	grace_end(0);
}

#define caa_container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

/* What of C is not C++. Nodes hold atomics, which have to be made and unmade. */
#define _Alignas alignas
#define _Alignof alignof
#define _Static_assert static_assert
#define aligned_alloc(align, size) node_new()
#define memset(to, byte, size)     ((void)0)
#define free(node)                 node_delete(node)

static struct tree_node *node_new();
static void node_delete(struct tree_node *node);

#include "tree.h"

static enum tree_mark operator++(enum tree_mark &mark, int)
{
	enum tree_mark old = mark;

	mark = (enum tree_mark)(mark + 1);
	return old;
}

#include "tree.c"

#undef aligned_alloc
#undef memset
#undef free

#define NODES 24
static char node_memory[NODES][sizeof(struct tree_node)] __attribute__((aligned(64)));
static unsigned node_count;

/* Memory is not used a second time: a reader in a freed node is reported, not fooled. */
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

/* Entries are words: an index in place of an address. */
static void *entry_at(uint64_t index)
{
	return (void *)(uintptr_t)((index + 1) << 6);
}

template <int readers, bool takes_over>
struct tree_readers : rl::test_suite<tree_readers<readers, takes_over>, readers + 1> {
	enum { LAST = 4 };

	struct tree tree;
	struct tree_budget budget;
	folio_u32 grace;
	folio_u32 erased_all;  /* the thread that stores tells that it is done */
	rl::var<int> contents; /* of the page that is stored and erased */

	void before()
	{
		node_count = 0;
		grace_list = NULL;
		grace_open = 0;
		grace_word = &grace;
		folio_u32_store_relaxed(&grace, 0);
		folio_u32_store_relaxed(&erased_all, 0);
		folio_u64_store_relaxed(&budget.nodes, 0);
		folio_u64_store_relaxed(&budget.nodes_shadow, 0);
		budget.nodes_max = UINT64_MAX;
		budget.nodes_shadow_max = UINT64_MAX;
		PLAIN_STORE(contents, 0);
		CLAIM(!tree_init(&tree, &budget), "no lock");
		store(takes_over ? LAST : 0);
	}

	void store(uint64_t index)
	{
		CLAIM(!tree_store_locked(&tree, index, 0, entry_at(index)), "not stored");
	}

	void write()
	{
		tree_lock(&tree);
		PLAIN_STORE(contents, 1);
		store(LAST);
		tree_erase_locked(&tree, LAST, 0, NULL);
		tree_unlock(&tree);
		folio_u32_store_release(&erased_all, 1);
	}

	/* What was built beside the readers becomes the root when the rest goes. */
	void write_other()
	{
		tree_lock(&tree);
		store(0);
		tree_erase_locked(&tree, LAST, 0, NULL);
		tree_unlock(&tree);
	}

	void read_other(uint64_t index)
	{
		folio_ptr *slot;
		void *entry;

		grace_read_lock();
		entry = tree_walk(&tree, index, &slot);
		CLAIM(!entry || entry == entry_at(index), "found the entry of another index");
		if (index == 0 && entry)
			taken_over.reached();
		grace_read_unlock();
	}

	void read(uint64_t index)
	{
		folio_ptr *slot;
		void *entry;

		grace_read_lock();
		entry = tree_walk(&tree, index, &slot);
		CLAIM(!entry || entry == entry_at(index), "found the entry of another index");
		CLAIM(entry || index, "what is stored is not found");
		if (index && entry) {
			CLAIM(PLAIN_LOAD(contents) == 1, "found, and not the contents");
			bool is_over = folio_u32_load_acquire(&erased_all);
			void *again = folio_ptr_load_relaxed(slot);

			stored.reached();
			if (is_over)
				over.reached();
			if (again != entry)
				erased.reached();
			CLAIM(!is_over || again != entry,
				"an erase is over and the slot has the entry");
		}
		grace_read_unlock();
	}

	void thread(unsigned index)
	{
		if (takes_over)
			index == 0 ? write_other() : read_other(rl::rand(2) * LAST);
		else
			index == 0 ? write() : read(rl::rand(2) * LAST);
	}

	void after()
	{
		CLAIM(!grace_list, "a node was never freed");
		tree_destroy(&tree);
		CLAIM(!budget.nodes.debug_value(), "a node is lost");
	}
};

int main()
{
	model m("tree");

	m.bound<struct tree_readers<1, false>>(4);
	m.bound<struct tree_readers<1, true>>(4);
	m.random<struct tree_readers<2, false>>(100000);
	return m.result();
}
