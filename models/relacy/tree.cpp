/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tree - a reader walks the tree while it grows, shrinks and loses nodes, which another tree uses
 * at once. Does it find the stored entries, never the entry of another index or tree, and nothing
 * after an erase has returned?
 *
 * This is src/core/tree.c itself, with src/core/directory.c and the walks of src/core/walk.h and
 * walk.c, with two slots a node, so that two entries make the tree grow and shrink by two levels.
 * Index 0 is stored before the readers start, and stays. One thread stores another entry, which
 * has its contents by then, and erases it; then it stores one in a second tree, in a node that the
 * first one has lost. In a second run the old entry is erased, and nodes that are new to the
 * readers take over as the root. Runs are made without directories, and with a tree's own one;
 * tree_directory and those after it have larger ones. Readers walk to any index, and check the
 * place that they found again, as a look-up does, possibly after they have learned that the erase
 * has returned.
 *
 * All executions with at most three preemptions, one reader (two preemptions without directories,
 * and for a part of the mapped arrays); random ones with two readers, and with a thread of its own
 * for the second tree.
 */
#define TREE_SHIFT 1
#define WALK_TRIES 1
#include "model.h"

#include <sys/mman.h>
#include <unistd.h>

static scenario stored("a reader found an entry that was stored concurrently");
static scenario erased("a reader saw that the place of an entry has changed");
static scenario over("a reader knew of an erase");
static scenario taken_over("a reader found an entry in nodes that took over as root");
static scenario again("a walk began again");
static scenario reused("the second tree used a node of the first");
static scenario replaced("a reader met the change of a directory");
static scenario array_reused("the second tree used the directory of the first");
static scenario lowered("a tree became a leaf and lost its directory");
static scenario cleared("the second tree used the nodes of a tree that was cleared");
static scenario covered("the second tree used the nodes that a large entry took the place of");

/* Parts of C that are not C++. Nodes hold atomics, which must be constructed and destroyed. */
#define _Alignas alignas
#define _Alignof alignof
#define _Static_assert static_assert
#define aligned_alloc(align, size) node_new()
#define memset(to, byte, size)     ((void)0)
#define malloc(size)               directory_new()
#define free(what)                 memory_delete(what)
#define calloc(count, size)        slots_new(size)
#define mmap(at, size, ...)        slots_new(size)
#define munmap(slot, size)         memory_delete(slot)
#define madvise(at, size, what)    slots_return(at)
#define DIRECTORY_SLOTS_OWN        slots_own
#define DIRECTORY_SLOTS_MIN        slots_min
#define DIRECTORY_MAPPED(bytes)    slots_mapped

/* So many slots has a tree's own directory: 0 or 1. */
static unsigned slots_own;
/* And the smallest other one: with more than the tree has, there is none. */
static unsigned slots_min;
/* Do arrays go back to the system? */
static bool slots_mapped;

static struct tree_node *node_new();
static void memory_delete(struct tree_node *node);
static struct directory *directory_new();
static void memory_delete(struct directory *directory);
static folio_ptr *slots_new(size_t bytes);
static void memory_delete(folio_ptr *slot);
static int slots_return(void *memory);

#include "core/walk.h"

static enum tree_mark operator++(enum tree_mark &mark, int)
{
	enum tree_mark old = mark;

	mark = (enum tree_mark)(mark + 1);
	return old;
}

#include "core/tree.c"
#include "core/directory.c"
#include "core/walk.c"

#undef aligned_alloc
#undef memset
#undef malloc
#undef free
#undef calloc
#undef mmap
#undef munmap
#undef madvise

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

static void memory_delete(struct tree_node *node)
{
	node->~tree_node();
}

/* Directories and their arrays. What the system takes back reads as NULL, in no order. */
#define ARRAYS      4
#define ARRAY_SLOTS 8
static struct directory directory_memory[ARRAYS];
static char array_memory[ARRAYS][ARRAY_SLOTS * sizeof(folio_ptr)] __attribute__((aligned(64)));
static unsigned directory_count, array_count;

static struct directory *directory_new()
{
	CLAIM(directory_count < ARRAYS, "the model has too few directories");
	return &directory_memory[directory_count++];
}

static void memory_delete(struct directory *)
{
}

static folio_ptr *slots_new(size_t bytes)
{
	folio_ptr *slot = (folio_ptr *)array_memory[array_count++];

	CLAIM(array_count <= ARRAYS, "the model has too few arrays");
	CLAIM(bytes <= sizeof(array_memory[0]), "the model has too small arrays");
	for (unsigned i = 0; i < ARRAY_SLOTS; i++) {
		::new (&slot[i]) folio_ptr();
		folio_ptr_store_relaxed(&slot[i], NULL);
	}
	return slot;
}

static void memory_delete(folio_ptr *slot)
{
	for (unsigned i = 0; i < ARRAY_SLOTS; i++)
		slot[i].~folio_ptr();
}

static int slots_return(void *memory)
{
	folio_ptr *slot = (folio_ptr *)memory;

	for (unsigned i = 0; i < ARRAY_SLOTS; i++)
		folio_ptr_store_relaxed(&slot[i], NULL);
	return 0;
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

/* Has the tree another directory than its own? */
static bool larger(struct tree *tree)
{
	return directory_of(tree) != &tree->own;
}

/* The threads: one that stores and erases, readers, and perhaps one for the second tree. */
template <int readers, bool takes_over, bool own, bool third = false>
struct tree_readers
    : rl::test_suite<tree_readers<readers, takes_over, own, third>, readers + 1 + third> {
	enum { LAST = 4 };

	struct tree tree, second;
	struct tree_budget budget;
	folio_u32 erased_all;  /* set by the storing thread when it is done */
	rl::var<int> contents; /* of the page that is stored and erased */

	void before()
	{
		node_count = directory_count = array_count = 0;
		slots_own = own;
		slots_min = 1024;
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

/*
 * A tree with a directory. One thread stores an entry in a leaf that is there, and one past the
 * directory's end, so that a larger one takes its place; the second tree takes the old one. No node
 * leaves a tree. The reader walks once.
 */
template <bool mapped> struct tree_directory : rl::test_suite<tree_directory<mapped>, 2> {
	enum { LAST = 4, PAST = 8 };

	struct tree tree, second;
	struct tree_budget budget;
	rl::var<int> contents; /* of the page that is stored in a leaf */

	void store(struct tree *into, uint64_t index, void *entry)
	{
		CLAIM(!tree_store_locked(into, index, 0, entry), "not stored");
	}

	void before()
	{
		node_count = directory_count = array_count = 0;
		slots_own = 1;
		slots_min = 4;
		slots_mapped = mapped;
		PLAIN_STORE(contents, 0);
		CLAIM(!tree_budget_init(&budget, UINT64_MAX, UINT64_MAX), "no lock");
		CLAIM(!tree_init(&tree, &budget) && !tree_init(&second, &budget), "no lock");
		store(&tree, 0, entry_at(0));
		store(&tree, LAST, entry_at(LAST));
		CLAIM(larger(&tree), "the tree has no directory");
	}

	void write()
	{
		PLAIN_STORE(contents, 1);
		store(&tree, 1, entry_at(1));
		store(&tree, PAST, entry_at(PAST));
		store(&second, LAST, foreign_at(LAST));
		CLAIM(larger(&second) && array_count == 2, "the array is not used again");
		array_reused.reached();
	}

	void read(uint64_t index)
	{
		struct tree_place place;
		void *entry = tree_walk_once(&tree, index, &place);

		if (!tree_unchanged(&tree, &place)) {
			replaced.reached();
			return;
		}
		CLAIM(!entry || entry == entry_at(index), "found the entry of another index");
		CLAIM(entry || index == 1 || index >= PAST, "a stored entry is not found");
		if (index == 1 && entry)
			CLAIM(PLAIN_LOAD(contents) == 1, "found, but wrong contents");
	}

	void thread(unsigned index)
	{
		static const uint64_t indexes[] = {0, 1, LAST, PAST};

		if (index == 0)
			write();
		else
			read(indexes[rl::rand(4)]);
	}

	/* Without tree_destroy: Relacy has a limit on the steps of an execution. */
	void after()
	{
		directory_drop(&tree);
		directory_drop(&second);
		tree_budget_destroy(&budget);
		pthread_mutex_destroy(&tree.lock);
		pthread_mutex_destroy(&second.lock);
	}
};

/*
 * A tree loses its directory, and the second tree gets one at any time: perhaps the same. Each has
 * a thread, the reader another one.
 */
template <bool mapped> struct tree_hands_over : rl::test_suite<tree_hands_over<mapped>, 3> {
	enum { LAST = 4 };

	struct tree tree, second;
	struct tree_budget budget;

	void before()
	{
		node_count = directory_count = array_count = 0;
		slots_own = 1;
		slots_min = 1024;
		slots_mapped = mapped;
		CLAIM(!tree_budget_init(&budget, UINT64_MAX, UINT64_MAX), "no lock");
		CLAIM(!tree_init(&tree, &budget) && !tree_init(&second, &budget), "no lock");
		CLAIM(!tree_store_locked(&second, LAST, 0, foreign_at(LAST)), "not stored");
		slots_min = 4;
		CLAIM(!tree_store_locked(&tree, LAST, 0, entry_at(LAST)), "not stored");
		CLAIM(larger(&tree) && !larger(&second), "a wrong tree has it");
	}

	void thread(unsigned index)
	{
		struct tree_place place;
		void *entry;

		if (index == 0) {
			directory_drop(&tree);
		} else if (index == 1) {
			directory_grow(&second, LAST);
			if (array_count == 1)
				array_reused.reached();
		} else {
			entry = tree_walk_once(&tree, LAST, &place);
			if (!tree_unchanged(&tree, &place))
				replaced.reached();
			else
				CLAIM(entry == entry_at(LAST), "found the entry of another index");
		}
	}

	void after()
	{
		directory_drop(&second);
		tree_budget_destroy(&budget);
		pthread_mutex_destroy(&tree.lock);
		pthread_mutex_destroy(&second.lock);
	}
};

/*
 * A tree with a root of level 1 has a directory, and loses it when it becomes a leaf. The second
 * tree takes it, and the nodes that have left.
 */
template <bool mapped> struct tree_lowers : rl::test_suite<tree_lowers<mapped>, 2> {
	enum { LAST = 2 };

	struct tree tree, second;
	struct tree_budget budget;

	void store(struct tree *into, uint64_t index, void *entry)
	{
		CLAIM(!tree_store_locked(into, index, 0, entry), "not stored");
	}

	void before()
	{
		node_count = directory_count = array_count = 0;
		slots_own = 1;
		slots_min = 2;
		slots_mapped = mapped;
		CLAIM(!tree_budget_init(&budget, UINT64_MAX, UINT64_MAX), "no lock");
		CLAIM(!tree_init(&tree, &budget) && !tree_init(&second, &budget), "no lock");
		store(&tree, 0, entry_at(0));
		store(&tree, LAST, entry_at(LAST));
		CLAIM(larger(&tree), "the tree has no directory");
	}

	void write()
	{
		tree_erase_locked(&tree, LAST, 0, NULL);
		CLAIM(!larger(&tree), "the tree is a leaf, and has a directory");
		lowered.reached();
		store(&second, LAST, foreign_at(LAST));
		CLAIM(larger(&second) && array_count == 1, "the array is not used again");
	}

	void read(uint64_t index)
	{
		struct tree_place place;
		void *entry = tree_walk_once(&tree, index, &place);

		if (!tree_unchanged(&tree, &place)) {
			replaced.reached();
			return;
		}
		CLAIM(!entry || entry == entry_at(index), "found the entry of another index");
		CLAIM(entry || index, "a stored entry is not found");
	}

	void thread(unsigned index)
	{
		if (index == 0)
			write();
		else
			read(rl::rand(2) * LAST);
	}

	void after()
	{
		directory_drop(&second);
		tree_budget_destroy(&budget);
		pthread_mutex_destroy(&tree.lock);
		pthread_mutex_destroy(&second.lock);
	}
};

/*
 * A large entry takes the place of a node of level 1, below which there is only a shadow: its leaf
 * leaves the directory, too, and the second tree takes it. With @own, the tree has its own
 * directory alone.
 */
template <bool own> struct tree_covers : rl::test_suite<tree_covers<own>, 2> {
	enum { COVERED = own ? 0 : 4, OTHER = own ? 4 : 0, ORDER = 2 };

	struct tree tree, second;
	struct tree_budget budget;

	static void *large()
	{
		return (void *)((uintptr_t)entry_at(COVERED) | ORDER << 2);
	}

	void before()
	{
		node_count = directory_count = array_count = 0;
		slots_own = 1;
		slots_min = own ? 1024 : 4;
		slots_mapped = false;
		CLAIM(!tree_budget_init(&budget, UINT64_MAX, UINT64_MAX), "no lock");
		CLAIM(!tree_init(&tree, &budget) && !tree_init(&second, &budget), "no lock");
		CLAIM(!tree_store_locked(&tree, 0, 0, entry_at(0)), "not stored");
		CLAIM(!tree_store_locked(&tree, 4, 0, entry_at(4)), "not stored");
		tree_erase_locked(&tree, COVERED, 0, tree_shadow(1));
		CLAIM(larger(&tree) == !own, "the tree has the wrong directory");
	}

	void write()
	{
		unsigned had = node_count;

		CLAIM(!tree_store_locked(&tree, COVERED, ORDER, large()), "not stored");
		CLAIM(!tree_store_locked(&second, 0, 0, foreign_at(0)), "not stored");
		CLAIM(!tree_store_locked(&second, 2, 0, foreign_at(2)), "not stored");
		if (node_count == had + 1)
			covered.reached();
	}

	void read()
	{
		struct tree_place place;
		void *entry = tree_walk_once(&tree, COVERED, &place);

		if (!tree_unchanged(&tree, &place))
			replaced.reached();
		else
			CLAIM(entry == large() || entry == tree_shadow(1),
				"found the entry of another index");
	}

	void thread(unsigned index)
	{
		if (index == 0)
			write();
		else
			read();
	}

	void after()
	{
		directory_drop(&tree);
		directory_drop(&second);
		tree_budget_destroy(&budget);
		pthread_mutex_destroy(&tree.lock);
		pthread_mutex_destroy(&second.lock);
	}
};

/*
 * A tree is cleared, and the second one takes its nodes. With @own, it has its own directory alone;
 * with @low, its root is a leaf.
 */
template <bool own, bool low> struct tree_clears : rl::test_suite<tree_clears<own, low>, 2> {
	struct tree tree, second;
	struct tree_budget budget;

	void before()
	{
		node_count = directory_count = array_count = 0;
		slots_own = 1;
		slots_min = own ? 1024 : 2;
		slots_mapped = false;
		CLAIM(!tree_budget_init(&budget, UINT64_MAX, UINT64_MAX), "no lock");
		CLAIM(!tree_init(&tree, &budget) && !tree_init(&second, &budget), "no lock");
		CLAIM(!tree_store_locked(&tree, 0, 0, entry_at(0)), "not stored");
		if (!low)
			CLAIM(!tree_store_locked(&tree, 2, 0, entry_at(2)), "not stored");
		CLAIM(larger(&tree) == !own, "the tree has the wrong directory");
	}

	void write()
	{
		tree_clear(&tree);
		CLAIM(!tree_store_locked(&second, 2, 0, foreign_at(2)), "not stored");
		CLAIM(!tree_store_locked(&second, 0, 0, foreign_at(0)), "not stored");
		cleared.reached();
	}

	void read()
	{
		struct tree_place place;
		void *entry = tree_walk_once(&tree, 0, &place);

		if (!tree_unchanged(&tree, &place))
			replaced.reached();
		else
			CLAIM(!entry || entry == entry_at(0), "found the entry of another index");
	}

	void thread(unsigned index)
	{
		if (index == 0)
			write();
		else
			read();
	}

	void after()
	{
		directory_drop(&second);
		tree_budget_destroy(&budget);
		pthread_mutex_destroy(&tree.lock);
		pthread_mutex_destroy(&second.lock);
	}
};

int main()
{
	model m("tree");

	m.bound<struct tree_readers<1, false, false>>(2);
	m.bound<struct tree_readers<1, false, true>>(3);
	m.bound<struct tree_readers<1, true, false>>(2);
	m.bound<struct tree_readers<1, true, true>>(3);
	m.bound<struct tree_directory<true>>(2);
	m.bound<struct tree_directory<false>>(3);
	m.bound<struct tree_hands_over<true>>(3);
	m.bound<struct tree_hands_over<false>>(3);
	m.bound<struct tree_lowers<true>>(2);
	m.bound<struct tree_lowers<false>>(3);
	m.bound<struct tree_clears<true, true>>(3);
	m.bound<struct tree_clears<true, false>>(3);
	m.bound<struct tree_clears<false, false>>(3);
	m.bound<struct tree_covers<false>>(3);
	m.bound<struct tree_covers<true>>(3);
	m.random<struct tree_readers<2, false, false>>(100000);
	m.random<struct tree_readers<2, false, true>>(100000);
	m.random<struct tree_readers<1, false, false, true>>(100000);
	m.random<struct tree_readers<1, false, true, true>>(100000);
	return m.result();
}
