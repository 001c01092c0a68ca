/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tree-suite.h - the tests of the tree, for any fan-out.
 *
 * Compiled twice: by unit/tree.c for the tree as it is, and by unit/tree-small.c with
 * -DTREE_SHIFT=2 for a tree compiled likewise, in which a few dozen entries cross as many borders
 * of nodes as millions do in the real one.
 *
 * The random tests compare the tree with a model that cannot be wrong: a flat array with the entry,
 * the shadow and the marks of every page. The model also computes how many nodes there must be:
 * those on the path to something, and no others. Whatever else the tree maintains (counts, queue,
 * marks of inner nodes) is recomputed from its slots by survey().
 *
 * Entries are words with no folio behind them: the tree never reads a folio.
 */
#ifndef FOLIO_TESTS_TREE_SUITE_H
#define FOLIO_TESTS_TREE_SUITE_H

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <folio/atomic.h>

/*
 * Before each load of a look-up (tree_walk is inline, so its loads are compiled here) a test may do
 * what another thread would do while this one is held up. See test_held_up.
 */
static __thread unsigned step_countdown; /* 0: nothing is left to do */
static void (*step_do)(void);

static inline void step(void)
{
	if (__builtin_expect(step_countdown != 0, 0) && --step_countdown == 0)
		step_do();
}

#define folio_ptr_load_acquire(p) (step(), folio_ptr_load_acquire(p))
#define folio_u64_load_acquire(p) (step(), folio_u64_load_acquire(p))
#define folio_u64_load_relaxed(p) (step(), folio_u64_load_relaxed(p))

#include "base/compiler.h"

/* As well before and after each rare condition: between the plain loads from a directory, too. */
static inline bool stepped(bool is)
{
	step();
	return is;
}

#undef unlikely
#define unlikely(x) (step(), stepped(x))

#include "core/directory.h"
#include "core/walk.h"

/*
 * Four windows of pages, in which everything happens: at both ends of the range, around 4 GiB, and
 * around page 2^32. Page numbers in tests count through all of them.
 */
#define HUGE         ((size_t)2 << 20)
#define WINDOW_PAGES 4096u
#define WINDOWS      4u
#define PAGES        (WINDOW_PAGES * WINDOWS)
/* The largest order that the random tests store. */
#define ORDERS       11u

static const uint64_t window_base[WINDOWS] = {0, (UINT64_C(1) << 20) - WINDOW_PAGES / 2,
	(UINT64_C(1) << 32) - WINDOW_PAGES / 2, TREE_INDEX_MAX + 1 - WINDOW_PAGES};

static uint64_t index_of(unsigned page)
{
	return window_base[page / WINDOW_PAGES] + page % WINDOW_PAGES;
}

/* A unique entry: it names its first page and the store that made it. */
static void *entry_make(unsigned page, unsigned order, uint64_t generation)
{
	return (void *)(uintptr_t)((generation << 20 | (page + 1)) << 6 | order << 2);
}

static unsigned entry_page(const void *entry)
{
	return (unsigned)((uintptr_t)entry >> 6 & 0xfffff) - 1;
}

static uint64_t entry_generation(const void *entry)
{
	return (uintptr_t)entry >> 26;
}

static bool entry_covers(const void *entry, unsigned page)
{
	return entry_page(entry) >> tree_order(entry) == page >> tree_order(entry);
}

static uint64_t seed;

static uint64_t random_next(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static unsigned random_below(uint64_t *state, unsigned limit)
{
	return (unsigned)(random_next(state) % limit);
}

static unsigned scaled(unsigned work)
{
	const char *scale = getenv("FOLIO_TEST_SCALE");
	double factor = scale ? atof(scale) : 1;

	return factor * work > 1 ? (unsigned)(factor * work) : 1;
}

/*
 * An allocator of nodes that fails on command. A test sets how many allocations are left before one
 * fails (negative: none fails), and from then on one in alloc_fail_every fails.
 */
static folio_u64 alloc_calls, alloc_bytes;
static folio_u64 outstanding; /* of malloc, calloc and aligned_alloc, not freed */
static uint64_t alloc_fail_at, alloc_fail_every;

void *aligned_alloc(size_t alignment, size_t size)
{
	uint64_t call = folio_u64_fetch_add_relaxed(&alloc_calls, 1) + 1;
	void *memory;

	if (alloc_fail_at && call >= alloc_fail_at &&
		(call - alloc_fail_at) % alloc_fail_every == 0) {
		errno = ENOMEM;
		return NULL;
	}
	folio_u64_fetch_add_relaxed(&alloc_bytes, size);
	folio_u64_fetch_add_relaxed(&outstanding, 1);
	return posix_memalign(&memory, alignment, size) ? NULL : memory;
}

/*
 * Arrays of directories: small ones come from calloc, those of a page of the system or more from
 * mmap. One of so many fails (0: none), also of the heads, which come from malloc. After the end of
 * an array there is a word that must stay, and that no walk may find.
 */
#define GUARD entry_make(PAGES - 1, 0, 0)

static unsigned heads_fail, arrays_fail;
static folio_u64 mapped_bytes;

static void directories_fail(unsigned heads, unsigned arrays)
{
	heads_fail = heads;
	arrays_fail = arrays;
}

static size_t page_bytes(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

#ifdef SANITIZE_THREAD
#define DIRECTORIES_FAIL false /* TSan calls these functions before it can check their callers */
#else
#define DIRECTORIES_FAIL true
#if defined(__SANITIZE_ADDRESS__)
#define REAL(name) __interceptor_##name
#else
#define REAL(name) __libc_##name
#endif

extern void *REAL(malloc)(size_t size);
extern void *REAL(calloc)(size_t count, size_t size);
extern void REAL(free)(void *memory);

static bool fails(unsigned one_of)
{
	static uint64_t random;

	if (!one_of || random_below(&random, one_of))
		return false;
	errno = ENOMEM;
	return true;
}

static void *guarded(void *memory, size_t size)
{
	if (memory && size % sizeof(void *) == 0)
		*(void **)((char *)memory + size) = GUARD;
	return memory;
}

void *malloc(size_t size)
{
	if (size == sizeof(struct directory) && fails(heads_fail))
		return NULL;
	folio_u64_fetch_add_relaxed(&outstanding, 1);
	return REAL(malloc)(size);
}

void *calloc(size_t count, size_t size)
{
	if (count == 1 && fails(arrays_fail))
		return NULL;
	folio_u64_fetch_add_relaxed(&outstanding, 1);
	return count == 1 ? guarded(REAL(calloc)(1, size + sizeof(void *)), size)
			  : REAL(calloc)(count, size);
}

void free(void *memory)
{
	folio_u64_fetch_sub_relaxed(&outstanding, memory != NULL);
	REAL(free)(memory);
}

void *mmap(void *address, size_t len, int protection, int flags, int fd, off_t offset)
{
	void *memory;

	if (flags != (MAP_PRIVATE | MAP_ANONYMOUS))
		return (void *)syscall(SYS_mmap, address, len, protection, flags, fd, offset);
	if (fails(arrays_fail))
		return MAP_FAILED;
	folio_u64_fetch_add_relaxed(&mapped_bytes, len);
	memory = (void *)syscall(
		SYS_mmap, address, len + page_bytes(), protection, flags, fd, offset);
	return memory == MAP_FAILED ? memory : guarded(memory, len);
}

int munmap(void *address, size_t len)
{
	assert_int_equal(((uintptr_t)address | len) % page_bytes(), 0);
	folio_u64_fetch_sub_relaxed(&mapped_bytes, len);
	return (int)syscall(SYS_munmap, address, len + page_bytes());
}
#endif

/* Memory for which huge pages were requested. */
static uint64_t huge_bytes;
/* What directories have given back to the system, unless it refuses. */
static folio_u64 returned_bytes;
static bool return_fails;

int madvise(void *address, size_t length, int advice)
{
	if (advice == MADV_DONTNEED) {
		assert_int_equal((uintptr_t)address % page_bytes(), 0);
		assert_int_equal(length % page_bytes(), 0);
		if (return_fails) {
			errno = EINVAL;
			return -1;
		}
		folio_u64_fetch_add_relaxed(&returned_bytes, length);
		return (int)syscall(SYS_madvise, address, length, advice);
	}
	assert_int_equal(advice, MADV_HUGEPAGE);
	assert_int_equal((uintptr_t)address % HUGE, 0);
	assert_int_equal(length % HUGE, 0);
	huge_bytes += length;
	return 0;
}

/* The @nth allocation from now fails (0: none), and then one in @every. */
static void alloc_fail(uint64_t nth, uint64_t every)
{
	alloc_fail_every = every;
	alloc_fail_at = nth ? folio_u64_load_relaxed(&alloc_calls) + nth : 0;
}

/* The parts of a tree, counted from its slots; whatever else the tree maintains must agree. */
struct survey {
	uint64_t nodes, shadow_nodes;
	uint64_t blocks, mirrored; /* slots of level 1 in use; of those, in the directory */
};

/* A slot of level 1, whose first page is @index, is mirrored if the directory reaches so far. */
static void survey_block(struct tree *tree, uint64_t index, void *entry, struct survey *found)
{
	struct directory *directory = directory_of(tree);
	uint64_t block = index >> TREE_SHIFT;

	found->blocks++;
	if (block >= directory->slots)
		return;
	found->mirrored++;
	assert_ptr_equal(folio_ptr_load_relaxed(&directory->slot[block]), entry);
}

/*
 * The smallest directory but a tree's own one of one slot, and the smallest one with pages that the
 * system can take back.
 */
#define SLOTS_MIN 8u

static uint64_t slots_mapped(void)
{
	return page_bytes() / sizeof(folio_ptr);
}

/*
 * The directory has what @found has of the tree, and nothing else. It has its size for a reason,
 * and nothing past its end.
 */
static void survey_directory(struct tree *tree, const struct survey *found)
{
	struct directory *directory = directory_of(tree);
	void *root = folio_ptr_load_relaxed(&tree->root);
	uint64_t i, mirrored = 0;

	assert_int_equal(tree->blocks, found->blocks);
	assert_int_equal(tree->own.slots, 1);
	assert_ptr_equal(tree->own.slot, &tree->own_slot);
	if (directory == &tree->own) {
		void *own = folio_ptr_load_relaxed(&tree->own_slot);

		/* What block 0 has: all of a root that is a leaf. */
		if (root && tree_root_shift(root) < TREE_SHIFT)
			assert_ptr_equal(tree_to_node(own), tree_root_node(root));
		else
			assert_int_equal(!!own, found->mirrored);
		return;
	}
	assert_true(directory->slots >= SLOTS_MIN);
	assert_int_equal(directory->slots & (directory->slots - 1), 0);
	assert_true(tree_root_shift(root) >= TREE_SHIFT);
	/* At most 128 bytes for each slot of level 1. */
	assert_true(sizeof(folio_ptr) * directory->slots <= 128 * found->blocks);
	for (i = 0; i < directory->slots; i++)
		mirrored += !!folio_ptr_load_relaxed(&directory->slot[i]);
	assert_int_equal(mirrored, found->mirrored);
	if (!DIRECTORIES_FAIL)
		return;
	assert_ptr_equal(folio_ptr_load_relaxed(&directory->slot[i]), GUARD);
	assert_ptr_not_equal(tree_load(tree, i << TREE_SHIFT), GUARD);
}

static bool survey_below(
	struct tree *tree, struct tree_node *node, uint64_t base, struct survey *found)
{
	unsigned offset, count = 0, live = 0, mark;
	struct tree_node *child;
	uint64_t index;
	void *entry;

	found->nodes++;
	for (offset = 0; offset < TREE_SLOTS; offset++) {
		entry = folio_ptr_load_relaxed(&node->slot[offset]);
		index = base + ((uint64_t)offset << node->shift);
		count += !!entry;
		if (entry && node->shift == TREE_SHIFT)
			survey_block(tree, index, entry, found);
		if (!tree_is_node(entry)) {
			if (entry && !tree_is_shadow(entry))
				live++;
			else
				for (mark = 0; mark < TREE_MARKS; mark++)
					assert_false(
						node->mark[mark][offset / 64] >> offset % 64 & 1);
			continue;
		}
		child = tree_to_node(entry);
		assert_ptr_equal(child->parent, node);
		assert_int_equal(child->offset, offset);
		assert_int_equal(child->shift + TREE_SHIFT, node->shift);
		live += survey_below(tree, child, index, found);
		for (mark = 0; mark < TREE_MARKS; mark++) {
			uint64_t any = 0;
			unsigned word;

			for (word = 0; word < (TREE_SLOTS + 63) / 64; word++)
				any |= child->mark[mark][word];
			assert_int_equal(node->mark[mark][offset / 64] >> offset % 64 & 1, !!any);
		}
	}
	assert_int_not_equal(count, 0);
	assert_int_equal(node->count, count);
	assert_int_equal(node->live, live);
	assert_int_equal(node->queued, !live);
	found->shadow_nodes += !live;
	return live > 0;
}

static struct survey survey(struct tree *tree)
{
	void *root = folio_ptr_load_relaxed(&tree->root);
	struct tree_node *node, *later, *older = NULL;
	struct survey found = {0};
	uint64_t queued = 0;

	if (root) {
		node = tree_root_node(root);
		assert_int_equal(tree_root_shift(root), node->shift);
		assert_null(node->parent);
		assert_int_equal(node->offset, 0);
		survey_below(tree, node, 0, &found);
		/* As low as possible. */
		assert_false(
			node->count == 1 && tree_is_node(folio_ptr_load_relaxed(&node->slot[0])));
	}
	for (node = tree->shadow_oldest; node; older = node, node = node->newer) {
		queued++;
		assert_ptr_equal(node->older, older);
		assert_true(node->queued);
		if (!node->parent || !node->parent->queued)
			continue;
		for (later = node->newer; later && later != node->parent;)
			later = later->newer;
		assert_non_null(later); /* a parent is younger than its child */
	}
	assert_ptr_equal(tree->shadow_newest, older);
	assert_int_equal(queued, found.shadow_nodes);
	survey_directory(tree, &found);
	return found;
}

/* A tree and its budget. */
struct fixture {
	struct tree_budget budget;
	struct tree tree;
};

static void fixture_init(struct fixture *f, uint64_t nodes_max, uint64_t nodes_shadow_max)
{
	assert_int_equal(tree_budget_init(&f->budget, nodes_max, nodes_shadow_max), 0);
	assert_int_equal(tree_init(&f->tree, &f->budget), 0);
	tree_lock(&f->tree);
}

/* All nodes are free, empty and as they were when they were new. */
static void budget_destroy(struct tree_budget *budget)
{
	static const struct tree_node none;
	uint64_t free_nodes = 0;
	struct tree_node *node;
	unsigned i;

	assert_int_equal(folio_u64_load_relaxed(&budget->nodes), 0);
	assert_int_equal(folio_u64_load_relaxed(&budget->nodes_shadow), 0);
	assert_int_equal(folio_u64_load_relaxed(&budget->directory_bytes), 0);
	for (node = budget->free; node; node = node->parent) {
		for (i = 0; i < TREE_SLOTS; i++)
			assert_null(folio_ptr_load_relaxed(&node->slot[i]));
		assert_memory_equal(node->mark, none.mark, sizeof(none.mark));
		assert_int_equal(node->count + node->live + node->offset + node->queued, 0);
		free_nodes++;
	}
	assert_int_equal(folio_u64_load_relaxed(&budget->allocated), free_nodes);
	tree_budget_destroy(budget);
}

static void fixture_destroy(struct fixture *f)
{
	tree_unlock(&f->tree);
	tree_destroy(&f->tree);
	budget_destroy(&f->budget);
}

/* The number of linked nodes. */
static uint64_t fixture_nodes(struct fixture *f)
{
	struct survey found = survey(&f->tree);

	assert_int_equal(folio_u64_load_relaxed(&f->budget.nodes), found.nodes);
	assert_int_equal(folio_u64_load_relaxed(&f->budget.nodes_shadow), found.shadow_nodes);
	return found.nodes;
}

static void *load(struct fixture *f, uint64_t index)
{
	struct tree_place place;
	void *entry, *walked;

	entry = tree_load(&f->tree, index);
	walked = tree_walk(&f->tree, index, &place);
	assert_ptr_equal(walked, entry);
	if (place.slot)
		assert_true(tree_still(&f->tree, &place, entry));
	else
		assert_null(entry);
	return entry;
}

static uint64_t entry_end(uint64_t index, const void *entry)
{
	return (index | ((UINT64_C(1) << tree_order(entry)) - 1)) + 1;
}

static unsigned level_shift(unsigned order)
{
	return order / TREE_SHIFT * TREE_SHIFT;
}

/* The shift of the lowest root that reaches @last. */
static unsigned reach_shift(uint64_t last)
{
	unsigned shift = 0;

	while (last >> shift >> TREE_SHIFT)
		shift += TREE_SHIFT;
	return shift;
}

static void test_empty(void **state)
{
	static const uint64_t far[] = {
		0, 1, TREE_SLOTS, UINT64_C(1) << 40, TREE_INDEX_MAX, UINT64_MAX};
	struct fixture f;
	uint64_t index;
	unsigned i;

	fixture_init(&f, UINT64_MAX, UINT64_MAX);
	for (i = 0; i < sizeof(far) / sizeof(*far); i++) {
		assert_null(load(&f, far[i]));
		index = far[i];
		assert_null(tree_next_locked(&f.tree, &index, UINT64_MAX));
		assert_null(tree_next_marked_locked(&f.tree, &index, UINT64_MAX, TREE_DIRTY));
		assert_int_equal(index, far[i]);
		tree_mark_set_locked(&f.tree, far[i], TREE_DIRTY);
		tree_mark_clear_locked(&f.tree, far[i], TREE_DIRTY);
		assert_false(tree_mark_test_locked(&f.tree, far[i], TREE_DIRTY));
	}
	tree_erase_shadows_locked(&f.tree, 0, UINT64_MAX);
	assert_int_equal(f.tree.entries, 0);
	assert_int_equal(fixture_nodes(&f), 0);
	fixture_destroy(&f);
}

/*
 * One entry of every order, at both ends of the range and between: found on all its pages and no
 * others.
 */
static void test_orders(void **state)
{
	struct fixture f;
	unsigned order, place;

	fixture_init(&f, UINT64_MAX, UINT64_MAX);
	for (order = 0; order <= TREE_ORDER_MAX; order++) {
		uint64_t pages = UINT64_C(1) << order, i;
		uint64_t places[] = {0, pages, pages * 3, pages << 20, TREE_INDEX_MAX + 1 - pages};
		void *entry = entry_make(1, order, 1);

		for (place = 0; place < sizeof(places) / sizeof(*places); place++) {
			uint64_t index = places[place], at = 0;
			unsigned top = reach_shift(index + pages - 1), level = level_shift(order);

			assert_int_equal(tree_store_locked(&f.tree, index, order, entry), 0);
			assert_int_equal(f.tree.entries, 1);
			for (i = 0; i < pages; i += i + 1 < pages / 2 && i > 2 ? i : 1)
				assert_ptr_equal(load(&f, index + i), entry);
			assert_ptr_equal(load(&f, index + pages - 1), entry);
			assert_null(load(&f, index + pages));
			assert_null(load(&f, index - 1));
			assert_ptr_equal(tree_next_locked(&f.tree, &at, UINT64_MAX), entry);
			assert_int_equal(at, index);
			at = index + pages / 2;
			assert_ptr_equal(tree_next_locked(&f.tree, &at, UINT64_MAX), entry);
			assert_int_equal(at, index + pages / 2);
			at = entry_end(at, entry);
			assert_int_equal(at, index + pages);
			assert_null(tree_next_locked(&f.tree, &at, UINT64_MAX));
			/*
			 * One node on each level, from the one that the order needs to the one that
			 * reaches.
			 */
			top = top > level ? top : level;
			assert_int_equal(survey(&f.tree).nodes, (top - level) / TREE_SHIFT + 1);
			tree_erase_locked(&f.tree, index, order, NULL);
			assert_null(load(&f, index));
			assert_null(folio_ptr_load_relaxed(&f.tree.root));
			assert_int_equal(f.tree.entries, 0);
		}
	}
	assert_int_equal(fixture_nodes(&f), 0);
	fixture_destroy(&f);
}

static void test_invalid(void **state)
{
	struct fixture f;

	fixture_init(&f, UINT64_MAX, UINT64_MAX);
	assert_int_equal(
		tree_store_locked(&f.tree, TREE_INDEX_MAX + 1, 0, entry_make(0, 0, 1)), -EINVAL);
	assert_int_equal(tree_store_locked(&f.tree, UINT64_MAX, 0, entry_make(0, 0, 1)), -EINVAL);
	assert_int_equal(tree_store_locked(&f.tree, 1, 1, entry_make(0, 1, 1)), -EINVAL);
	assert_int_equal(tree_store_locked(&f.tree, 256, 9, entry_make(0, 9, 1)), -EINVAL);
	assert_int_equal(
		tree_store_locked(&f.tree, 0, TREE_ORDER_MAX + 1, entry_make(0, 0, 1)), -EINVAL);
	assert_int_equal(fixture_nodes(&f), 0);
	fixture_destroy(&f);
}

/* Nothing can be stored over a folio, whatever the orders, and a refused store leaves no trace. */
static void test_exists(void **state)
{
	struct fixture f;
	unsigned order, other;

	fixture_init(&f, UINT64_MAX, UINT64_MAX);
	for (order = 0; order <= ORDERS; order++) {
		uint64_t index = UINT64_C(3) << ORDERS, inside = index + (UINT64_C(1) << order) - 1;
		void *entry = entry_make(1, order, 1);
		uint64_t nodes;

		assert_int_equal(tree_store_locked(&f.tree, index, order, entry), 0);
		nodes = survey(&f.tree).nodes;
		for (other = 0; other <= ORDERS; other++) {
			uint64_t start = inside >> other << other;

			assert_int_equal(
				tree_store_locked(&f.tree, start, other, entry_make(2, other, 1)),
				-EEXIST);
			assert_int_equal(survey(&f.tree).nodes, nodes);
			assert_ptr_equal(load(&f, index), entry);
			assert_ptr_equal(load(&f, inside), entry);
			assert_null(load(&f, inside + 1));
			assert_null(load(&f, index - 1));
		}
		tree_erase_locked(&f.tree, index, order, NULL);
	}
	/* Over all of a tree that is lower than the level of the entry. */
	assert_int_equal(tree_store_locked(&f.tree, 0, 0, entry_make(0, 0, 1)), 0);
	assert_int_equal(tree_store_locked(&f.tree, 0, ORDERS, entry_make(0, ORDERS, 1)), -EEXIST);
	assert_int_equal(fixture_nodes(&f), 1);
	fixture_destroy(&f);
}

/* The word of a root keeps every bit of an address that an allocator may tag: of the top byte. */
static void test_tagged_root(void **state)
{
	static struct tree_node node;
	unsigned bit;

	(void)state;
	for (node.shift = 0; node.shift < 52; node.shift += TREE_SHIFT)
		for (bit = 48; bit < 64; bit++) {
			uintptr_t tag = (uintptr_t)1 << bit;
			void *word = (void *)((uintptr_t)tree_root_word(&node) ^ tag);

			assert_int_equal((uintptr_t)tree_root_node(word), (uintptr_t)&node ^ tag);
			assert_int_equal(tree_root_shift(word), node.shift);
		}
}

/* The root rises for a far page and comes down after it. */
static void test_grow_and_shrink(void **state)
{
	void *near = entry_make(0, 0, 1), *far = entry_make(1, 0, 1);
	struct tree_node *leaf;
	struct fixture f;
	unsigned bit;

	fixture_init(&f, UINT64_MAX, UINT64_MAX);
	assert_int_equal(tree_store_locked(&f.tree, 0, 0, near), 0);
	tree_mark_set_locked(&f.tree, 0, TREE_WRITEBACK);
	leaf = tree_root_node(folio_ptr_load_relaxed(&f.tree.root));
	for (bit = TREE_SHIFT; bit < 52; bit++) {
		uint64_t index = UINT64_C(1) << bit, at = 1;
		unsigned top = reach_shift(index);

		assert_int_equal(tree_store_locked(&f.tree, index, 0, far), 0);
		assert_int_equal(tree_root_node(folio_ptr_load_relaxed(&f.tree.root))->shift, top);
		assert_int_equal(survey(&f.tree).nodes, 1 + top / TREE_SHIFT * 2);
		assert_ptr_equal(load(&f, 0), near);
		assert_ptr_equal(load(&f, index), far);
		assert_ptr_equal(tree_next_locked(&f.tree, &at, UINT64_MAX), far);
		assert_int_equal(at, index);
		/* The mark was copied to the new root. */
		at = 0;
		assert_ptr_equal(
			tree_next_marked_locked(&f.tree, &at, UINT64_MAX, TREE_WRITEBACK), near);
		tree_erase_locked(&f.tree, index, 0, NULL);
		assert_ptr_equal(tree_root_node(folio_ptr_load_relaxed(&f.tree.root)), leaf);
		assert_ptr_equal(load(&f, 0), near);
		assert_null(load(&f, index));
	}
	assert_true(tree_mark_test_locked(&f.tree, 0, TREE_WRITEBACK));
	assert_int_equal(fixture_nodes(&f), 1);
	tree_erase_locked(&f.tree, 0, 0, NULL);
	assert_int_equal(fixture_nodes(&f), 0);
	fixture_destroy(&f);
}

static void test_next(void **state)
{
	void *small = entry_make(1, 0, 1), *large = entry_make(2, 5, 1),
	     *last = entry_make(3, 0, 1);
	struct fixture f;
	uint64_t at;

	fixture_init(&f, UINT64_MAX, UINT64_MAX);
	assert_int_equal(tree_store_locked(&f.tree, 7, 0, small), 0);
	assert_int_equal(tree_store_locked(&f.tree, 64, 5, large), 0);
	assert_int_equal(tree_store_locked(&f.tree, TREE_INDEX_MAX, 0, last), 0);
	at = 0;
	assert_null(tree_next_locked(&f.tree, &at, 6));
	assert_int_equal(at, 0);
	assert_ptr_equal(tree_next_locked(&f.tree, &at, 7), small);
	assert_int_equal(at, 7);
	at = 8;
	assert_null(tree_next_locked(&f.tree, &at, 63));
	assert_ptr_equal(tree_next_locked(&f.tree, &at, 64), large);
	assert_int_equal(at, 64);
	at = 80;
	assert_ptr_equal(tree_next_locked(&f.tree, &at, 80), large);
	assert_int_equal(at, 80);
	at = entry_end(at, large);
	assert_int_equal(at, 96);
	assert_ptr_equal(tree_next_locked(&f.tree, &at, UINT64_MAX), last);
	assert_int_equal(at, TREE_INDEX_MAX);
	at = TREE_INDEX_MAX + 1;
	assert_null(tree_next_locked(&f.tree, &at, UINT64_MAX));
	at = UINT64_MAX;
	assert_null(tree_next_locked(&f.tree, &at, UINT64_MAX));
	at = 9;
	assert_null(tree_next_locked(&f.tree, &at, 8));
	/* A shadow is not a folio. */
	tree_erase_locked(&f.tree, 7, 0, tree_shadow(1));
	tree_erase_locked(&f.tree, 64, 5, tree_shadow(2));
	at = 0;
	assert_ptr_equal(tree_next_locked(&f.tree, &at, UINT64_MAX), last);
	fixture_destroy(&f);
}

static void test_marks(void **state)
{
	void *small = entry_make(1, 0, 1), *large = entry_make(2, 5, 1), *far = entry_make(3, 9, 1);
	struct fixture f;
	unsigned i;
	uint64_t at;

	fixture_init(&f, UINT64_MAX, UINT64_MAX);
	assert_int_equal(tree_store_locked(&f.tree, 7, 0, small), 0);
	assert_int_equal(tree_store_locked(&f.tree, 64, 5, large), 0);
	assert_int_equal(tree_store_locked(&f.tree, 1 << 20, 9, far), 0);

	/* Set through any page of the entry, and seen on all of them. */
	tree_mark_set_locked(&f.tree, 70, TREE_DIRTY);
	for (i = 0; i < 32; i++)
		assert_true(tree_mark_test_locked(&f.tree, 64 + i, TREE_DIRTY));
	assert_false(tree_mark_test_locked(&f.tree, 64, TREE_WRITEBACK));
	assert_false(tree_mark_test_locked(&f.tree, 63, TREE_DIRTY));
	assert_false(tree_mark_test_locked(&f.tree, 96, TREE_DIRTY));
	assert_false(tree_mark_test_locked(&f.tree, 7, TREE_DIRTY));
	tree_mark_set_locked(&f.tree, (1 << 20) + 511, TREE_DIRTY);
	survey(&f.tree);

	at = 0;
	assert_ptr_equal(tree_next_marked_locked(&f.tree, &at, UINT64_MAX, TREE_DIRTY), large);
	assert_int_equal(at, 64);
	at = 95;
	assert_ptr_equal(tree_next_marked_locked(&f.tree, &at, UINT64_MAX, TREE_DIRTY), large);
	assert_int_equal(at, 95);
	at = entry_end(at, large);
	assert_null(tree_next_marked_locked(&f.tree, &at, (1 << 20) - 1, TREE_DIRTY));
	assert_ptr_equal(tree_next_marked_locked(&f.tree, &at, 1 << 20, TREE_DIRTY), far);
	assert_int_equal(at, 1 << 20);
	at = entry_end(at, far);
	assert_null(tree_next_marked_locked(&f.tree, &at, UINT64_MAX, TREE_DIRTY));

	tree_mark_clear_locked(&f.tree, 64, TREE_DIRTY);
	for (i = 0; i < 32; i++)
		assert_false(tree_mark_test_locked(&f.tree, 64 + i, TREE_DIRTY));
	assert_true(tree_mark_test_locked(&f.tree, 1 << 20, TREE_DIRTY));
	survey(&f.tree);

	/* Erase clears the marks, also on the path up. */
	tree_mark_set_locked(&f.tree, 1 << 20, TREE_WRITEBACK);
	tree_erase_locked(&f.tree, 1 << 20, 9, tree_shadow(1));
	at = 0;
	assert_null(tree_next_marked_locked(&f.tree, &at, UINT64_MAX, TREE_DIRTY));
	assert_null(tree_next_marked_locked(&f.tree, &at, UINT64_MAX, TREE_WRITEBACK));
	survey(&f.tree);
	/* A shadow takes no mark. */
	tree_mark_set_locked(&f.tree, 1 << 20, TREE_DIRTY);
	assert_false(tree_mark_test_locked(&f.tree, 1 << 20, TREE_DIRTY));
	fixture_destroy(&f);
}

static void test_shadows(void **state)
{
	uint64_t base = UINT64_C(1) << 30, at = 0;
	struct fixture f;
	unsigned order;

	fixture_init(&f, UINT64_MAX, UINT64_MAX);
	for (order = 0; order <= ORDERS; order++) {
		uint64_t slot = UINT64_C(1) << level_shift(order);

		assert_int_equal(
			tree_store_locked(&f.tree, base, order, entry_make(1, order, 1)), 0);
		tree_erase_locked(&f.tree, base, order, tree_shadow(order + 5));
		assert_true(tree_is_shadow(load(&f, base)));
		assert_int_equal(tree_shadow_value(load(&f, base)), order + 5);
		/* In the first slot, which may stand for many pages, and in that slot only. */
		assert_ptr_equal(load(&f, base + slot - 1), tree_shadow(order + 5));
		assert_null(load(&f, base + slot));
		assert_null(tree_next_locked(&f.tree, &at, UINT64_MAX));
		assert_int_equal(f.tree.entries, 0);
		/* Only a shadow in the tree. */
		assert_int_equal(survey(&f.tree).shadow_nodes, survey(&f.tree).nodes);
		/* The next store, on a higher level or on the same, replaces it and its nodes. */
	}
	/* A store below the shadow's level drops it. */
	assert_int_equal(tree_store_locked(&f.tree, base, ORDERS, entry_make(1, ORDERS, 1)), 0);
	tree_erase_locked(&f.tree, base, ORDERS, tree_shadow(9));
	assert_int_equal(tree_store_locked(&f.tree, base + 1, 0, entry_make(1, 0, 1)), 0);
	assert_null(load(&f, base));
	assert_null(load(&f, base + 2));
	assert_int_equal(survey(&f.tree).shadow_nodes, 0);
	/* A store next to a shadow leaves it. */
	tree_erase_locked(&f.tree, base + 1, 0, tree_shadow(3));
	assert_int_equal(tree_store_locked(&f.tree, base, 0, entry_make(1, 0, 1)), 0);
	assert_ptr_equal(load(&f, base + 1), tree_shadow(3));
	tree_erase_locked(&f.tree, base, 0, NULL);
	/* A low tree of shadows under an entry that covers all of it. */
	tree_erase_shadows_locked(&f.tree, 0, UINT64_MAX);
	assert_int_equal(fixture_nodes(&f), 0);
	assert_int_equal(tree_store_locked(&f.tree, 1, 0, entry_make(1, 0, 1)), 0);
	tree_erase_locked(&f.tree, 1, 0, tree_shadow(3));
	assert_int_equal(tree_store_locked(&f.tree, 0, ORDERS, entry_make(1, ORDERS, 1)), 0);
	assert_ptr_equal(load(&f, 1), entry_make(1, ORDERS, 1));
	assert_int_equal(fixture_nodes(&f), 1);
	tree_erase_locked(&f.tree, 0, ORDERS, NULL);
	assert_int_equal(fixture_nodes(&f), 0);
	/* A low tree of shadows under a root that grows for something else. */
	assert_int_equal(tree_store_locked(&f.tree, 1, 0, entry_make(1, 0, 1)), 0);
	tree_erase_locked(&f.tree, 1, 0, tree_shadow(3));
	assert_int_equal(tree_store_locked(&f.tree, base, 0, entry_make(1, 0, 1)), 0);
	assert_ptr_equal(load(&f, 1), tree_shadow(3));
	assert_int_equal(survey(&f.tree).shadow_nodes, reach_shift(base) / TREE_SHIFT);
	fixture_destroy(&f);
}

/* Only shadows that the range touches are dropped, whatever its size. */
static void test_erase_shadows(void **state)
{
	static const uint64_t place[] = {
		3, 64, 65, UINT64_C(1) << 20, UINT64_C(1) << 45, TREE_INDEX_MAX};
	static const unsigned places = sizeof(place) / sizeof(*place);
	struct fixture f;
	unsigned i, j;

	fixture_init(&f, UINT64_MAX, UINT64_MAX);
	for (i = 0; i < places; i++) {
		for (j = 0; j < places; j++) {
			assert_int_equal(
				tree_store_locked(&f.tree, place[j], 0, entry_make(j, 0, 1)), 0);
			tree_erase_locked(&f.tree, place[j], 0, tree_shadow(j));
		}
		tree_erase_shadows_locked(&f.tree, place[i] + 1, UINT64_MAX);
		for (j = 0; j < places; j++)
			assert_ptr_equal(load(&f, place[j]), j <= i ? tree_shadow(j) : NULL);
		if (i)
			tree_erase_shadows_locked(&f.tree, place[0] + 1, place[i] - 1);
		for (j = 0; j < places; j++)
			assert_ptr_equal(
				load(&f, place[j]), j == 0 || j == i ? tree_shadow(j) : NULL);
		tree_erase_shadows_locked(&f.tree, place[i] + 1, place[i]); /* empty */
		assert_ptr_equal(load(&f, place[i]), tree_shadow(i));
		tree_erase_shadows_locked(&f.tree, place[i], place[i]);
		survey(&f.tree);
		tree_erase_shadows_locked(&f.tree, place[0], place[0]);
		assert_null(folio_ptr_load_relaxed(&f.tree.root));
	}
	/* A folio stays. */
	assert_int_equal(tree_store_locked(&f.tree, 64, 5, entry_make(1, 5, 1)), 0);
	tree_erase_shadows_locked(&f.tree, 0, UINT64_MAX);
	assert_ptr_equal(load(&f, 95), entry_make(1, 5, 1));
	/*
	 * The shadow of a large page is dropped if the range touches any page for which tree_load
	 * returns it.
	 */
	assert_int_equal(
		tree_store_locked(&f.tree, 1 << ORDERS, ORDERS, entry_make(2, ORDERS, 1)), 0);
	tree_erase_locked(&f.tree, 1 << ORDERS, ORDERS, tree_shadow(1));
	i = (1 << ORDERS) + (1 << level_shift(ORDERS)) - 1;
	assert_ptr_equal(load(&f, i), tree_shadow(1));
	tree_erase_shadows_locked(&f.tree, i, i);
	assert_null(load(&f, 1 << ORDERS));
	fixture_destroy(&f);
}

/*
 * Leaves 1, 3, 5.. have only shadows, each next to a live leaf, so that no inner node has only
 * shadows.
 */
static void shadow_leaf(struct fixture *f, unsigned leaf)
{
	uint64_t index = (uint64_t)leaf * TREE_SLOTS;

	assert_int_equal(
		tree_store_locked(&f->tree, index - TREE_SLOTS, 0, entry_make(leaf, 0, 1)), 0);
	assert_int_equal(tree_store_locked(&f->tree, index, 0, entry_make(leaf, 0, 1)), 0);
	tree_erase_locked(&f->tree, index, 0, tree_shadow(leaf));
}

static void test_shadow_limit(void **state)
{
	struct fixture f, other;

	fixture_init(&f, UINT64_MAX, 2);
	shadow_leaf(&f, 1);
	shadow_leaf(&f, 3);
	assert_int_equal(folio_u64_load_relaxed(&f.budget.nodes_shadow), 2);
	/* The oldest is dropped. */
	shadow_leaf(&f, 5);
	assert_null(load(&f, TREE_SLOTS));
	assert_ptr_equal(load(&f, 3 * TREE_SLOTS), tree_shadow(3));
	assert_ptr_equal(load(&f, 5 * TREE_SLOTS), tree_shadow(5));
	/* Age counts from the time when the node became one: 3 is young again. */
	assert_int_equal(tree_store_locked(&f.tree, 3 * TREE_SLOTS + 1, 0, entry_make(1, 0, 1)), 0);
	tree_erase_locked(&f.tree, 3 * TREE_SLOTS + 1, 0, tree_shadow(33));
	shadow_leaf(&f, 7);
	assert_null(load(&f, 5 * TREE_SLOTS));
	assert_ptr_equal(load(&f, 3 * TREE_SLOTS), tree_shadow(3));
	assert_ptr_equal(load(&f, 3 * TREE_SLOTS + 1), tree_shadow(33));
	assert_ptr_equal(load(&f, 7 * TREE_SLOTS), tree_shadow(7));
	survey(&f.tree);

	/* Another tree of the same budget has nothing older to drop: its shadow is not kept. */
	assert_int_equal(tree_init(&other.tree, &f.budget), 0);
	assert_int_equal(tree_store_locked(&other.tree, 0, 0, entry_make(1, 0, 1)), 0);
	tree_erase_locked(&other.tree, 0, 0, tree_shadow(1));
	assert_null(folio_ptr_load_relaxed(&other.tree.root));
	assert_ptr_equal(load(&f, 7 * TREE_SLOTS), tree_shadow(7));
	/* In an existing node it costs nothing. */
	assert_int_equal(tree_store_locked(&other.tree, 0, 0, entry_make(1, 0, 1)), 0);
	assert_int_equal(tree_store_locked(&other.tree, 1, 0, entry_make(1, 0, 1)), 0);
	tree_erase_locked(&other.tree, 0, 0, tree_shadow(1));
	assert_ptr_equal(tree_load(&other.tree, 0), tree_shadow(1));
	assert_int_equal(folio_u64_load_relaxed(&f.budget.nodes_shadow), 2);
	tree_destroy(&other.tree);
	fixture_destroy(&f);
}

/*
 * A store that needs n nodes when only 0 .. n-1 are available; first by the budget, then by the
 * allocator.
 */
static void test_no_memory(void **state)
{
	static const struct {
		uint64_t first, index;
		unsigned order;
	} cases[] = {
		{TREE_INDEX_MAX, TREE_INDEX_MAX, 0}, /* into an empty tree */
		{0, TREE_INDEX_MAX, 0},
		{3, UINT64_C(1) << 30, 9},
		{UINT64_C(1) << 30, 0, 0},
		{0, UINT64_C(1) << ORDERS, ORDERS},
	};
	unsigned c, by_budget;
	struct fixture f;

	for (c = 0; c < sizeof(cases) / sizeof(*cases) * 2; c++) {
		uint64_t first = cases[c / 2].first, index = cases[c / 2].index, nodes, failed = 0;
		void *entry = entry_make(1, cases[c / 2].order, 1), *there = NULL;
		int err;

		by_budget = c % 2;
		fixture_init(&f, UINT64_MAX, UINT64_MAX);
		if (first != index) {
			there = entry_make(2, 0, 1);
			assert_int_equal(tree_store_locked(&f.tree, first, 0, there), 0);
			tree_mark_set_locked(&f.tree, first, TREE_DIRTY);
		}
		nodes = survey(&f.tree).nodes;
		for (;;) {
			if (by_budget)
				f.budget.nodes_max = nodes + failed;
			else
				/* What the attempt before has allocated is free now. */
				alloc_fail(failed ? 2 : 1, 1);
			err = tree_store_locked(&f.tree, index, cases[c / 2].order, entry);
			alloc_fail(0, 0);
			if (!err)
				break;
			failed++;
			assert_true(failed < 2 * 53);
			assert_int_equal(err, -ENOMEM);
			assert_int_equal(survey(&f.tree).nodes, nodes);
			assert_int_equal(folio_u64_load_relaxed(&f.budget.nodes), nodes);
			assert_int_equal(f.tree.entries, !!there);
			if (first != index) {
				assert_null(load(&f, index));
				assert_true(tree_mark_test_locked(&f.tree, first, TREE_DIRTY));
			}
			assert_ptr_equal(load(&f, first), there);
		}
		assert_ptr_equal(load(&f, index), entry);
		/* It failed once for each node that it needed. */
		assert_int_equal(fixture_nodes(&f), nodes + failed);
		assert_int_not_equal(failed, 0);
		fixture_destroy(&f);
	}
}

/* Store pages one leaf apart from @*next on, until @nodes exist, or the store fails. */
static int store_nodes(struct fixture *f, uint64_t nodes, uint64_t *next)
{
	int err = 0;

	while (!err && folio_u64_load_relaxed(&f->budget.allocated) < nodes)
		err = tree_store_locked(&f->tree, (*next)++ << TREE_SHIFT, 0, entry_make(1, 0, 1));
	return err;
}

/*
 * Nodes come in chunks: few allocations, and no more memory than a thirty-second of what is in use.
 * The chunks of a large cache are huge pages. If a chunk cannot be allocated, a node can.
 */
static void test_chunks(void **state)
{
	const uint64_t size = sizeof(struct tree_node), nodes = 34 * HUGE / size;
	uint64_t calls, bytes, next = 0, i;
	struct fixture f;

	(void)state;
	for (i = 0; i < 2; i++) {
		calls = folio_u64_load_relaxed(&alloc_calls);
		bytes = folio_u64_load_relaxed(&alloc_bytes);
		next = huge_bytes = 0;
		fixture_init(&f, UINT64_MAX, UINT64_MAX);
		f.budget.huge_pages = i;
		assert_int_equal(store_nodes(&f, nodes, &next), 0);
		calls = folio_u64_load_relaxed(&alloc_calls) - calls;
		bytes = folio_u64_load_relaxed(&alloc_bytes) - bytes;
		/* 64 single nodes; then each chunk multiplies their number by 33/32. */
		assert_true(calls < 64 + 32 * 12);
		assert_true(bytes <= (nodes + 64) * size * 33 / 32);
		assert_int_equal(huge_bytes > 0, i);

		/* Every second allocation fails: the one of a chunk, but not the one of a node. */
		alloc_fail(1, 2);
		assert_int_equal(store_nodes(&f, nodes + 2 * HUGE / size, &next), 0);
		alloc_fail(0, 0);
		fixture_destroy(&f);
	}
}

/* The last chunk before the budget's limit ends there. */
static void test_chunk_at_limit(void **state)
{
	const uint64_t nodes = 1000;
	uint64_t bytes = folio_u64_load_relaxed(&alloc_bytes), next = 0;
	struct fixture f;

	(void)state;
	fixture_init(&f, nodes, nodes);
	assert_int_equal(store_nodes(&f, UINT64_MAX, &next), -ENOMEM);
	assert_true(
		folio_u64_load_relaxed(&alloc_bytes) - bytes <= nodes * sizeof(struct tree_node));
	fixture_destroy(&f);
}

/* If the budget is used up, shadow nodes are reclaimed for folios, oldest first. */
static void test_shadows_reclaimed(void **state)
{
	uint64_t nodes, index = UINT64_C(1) << 30;
	void *entry = entry_make(1, 0, 1);
	struct fixture f;

	fixture_init(&f, UINT64_MAX, UINT64_MAX);
	shadow_leaf(&f, 1);
	shadow_leaf(&f, 3);
	nodes = fixture_nodes(&f);
	f.budget.nodes_max = nodes * 8;
	assert_int_equal(tree_store_locked(&f.tree, 5 * TREE_SLOTS, 0, entry), 0);
	assert_ptr_equal(load(&f, TREE_SLOTS), tree_shadow(1));
	tree_erase_locked(&f.tree, 5 * TREE_SLOTS, 0, NULL);
	assert_int_equal(fixture_nodes(&f), nodes);

	f.budget.nodes_max = UINT64_MAX;
	/*
	 * The path to this page: two nodes on each level above the old root, except the top, which
	 * they share.
	 */
	assert_int_equal(tree_store_locked(&f.tree, index, 0, entry), 0);
	nodes = fixture_nodes(&f) - nodes;
	tree_erase_locked(&f.tree, index, 0, NULL);
	f.budget.nodes_max = fixture_nodes(&f) + nodes - 1;
	assert_int_equal(tree_store_locked(&f.tree, index, 0, entry), 0);
	assert_ptr_equal(load(&f, index), entry);
	assert_null(load(&f, TREE_SLOTS));
	assert_true(folio_u64_load_relaxed(&f.budget.nodes) <= f.budget.nodes_max);
	fixture_destroy(&f);
}

/* Reclaiming drops nodes that the store had counted on. */
static void test_reclaim_during_store(void **state)
{
	uint64_t base = UINT64_C(1) << 40, way = 2 * (52 / TREE_SHIFT + 1), nodes;
	struct fixture f;
	unsigned i;

	fixture_init(&f, UINT64_MAX, UINT64_MAX);
	for (i = 0; i < 20 * way; i++)
		assert_int_equal(tree_store_locked(
					 &f.tree, (uint64_t)i * TREE_SLOTS, 0, entry_make(i, 0, 1)),
			0);
	assert_int_equal(tree_store_locked(&f.tree, base, 0, entry_make(1, 0, 1)), 0);
	tree_erase_locked(&f.tree, base, 0, tree_shadow(1));
	nodes = fixture_nodes(&f);
	f.budget.nodes_max = nodes;
	/*
	 * A neighbouring leaf: one node is missing, until the leaf of the shadow and all nodes
	 * above it are gone.
	 */
	assert_int_equal(tree_store_locked(&f.tree, base + TREE_SLOTS, 0, entry_make(1, 0, 1)), 0);
	assert_null(load(&f, base));
	assert_ptr_equal(load(&f, base + TREE_SLOTS), entry_make(1, 0, 1));
	assert_int_equal(fixture_nodes(&f), nodes);
	fixture_destroy(&f);
}

/*
 * A reader is held up before each load of its look-up in turn, while a writer does all of its work.
 * This needs no threads: step() runs the writer between the loads of the reader.
 */
static struct {
	struct fixture f;
	struct tree other; /* of the same budget */
	void *near, *far, *large;
	unsigned scene;
	uint64_t slots; /* of the tree's directory, where a test needs one */
	uint64_t block; /* the reader's */
	struct directory *directory;
} held;

#define HELD_FAR (UINT64_C(1) << 40)

enum { SHRINK, GROW, ERASE, REBUILD, COVER, REUSE, REUSE_FIRST, REUSE_ALL, SCENES };

static void held_setup(void)
{
	struct tree *tree = &held.f.tree;

	assert_int_equal(tree_store_locked(tree, 0, 0, held.near), 0);
	if (held.scene != GROW && held.scene != REUSE_ALL)
		assert_int_equal(tree_store_locked(tree, HELD_FAR, 0, held.far), 0);
	if (held.scene == COVER)
		tree_erase_locked(tree, HELD_FAR, 0, tree_shadow(1));
}

static void held_writer(void)
{
	struct tree *tree = &held.f.tree;

	switch (held.scene) {
	case SHRINK:
	case ERASE:
		tree_erase_locked(tree, HELD_FAR, 0, NULL);
		break;
	case GROW:
		assert_int_equal(tree_store_locked(tree, HELD_FAR, 0, held.far), 0);
		break;
	case REBUILD:
		/* Down to an empty tree, and up again with other nodes. */
		tree_erase_locked(tree, HELD_FAR, 0, NULL);
		tree_erase_locked(tree, 0, 0, NULL);
		assert_int_equal(tree_store_locked(tree, HELD_FAR, 5, held.large), 0);
		break;
	case COVER:
		/*
		 * ORDERS is some levels up, or at least many slots: the nodes of the shadow are
		 * dropped.
		 */
		assert_int_equal(tree_store_locked(tree, HELD_FAR, ORDERS, held.large), 0);
		break;
	case REUSE:
		/* The nodes are those of another tree at once, with another page. */
		tree_erase_locked(tree, HELD_FAR, 0, NULL);
		assert_int_equal(tree_store_locked(&held.other, 0, 0, held.large), 0);
		assert_int_equal(tree_store_locked(&held.other, HELD_FAR, 0, held.large), 0);
		break;
	case REUSE_FIRST:
	case REUSE_ALL:
		/* The leaf in the tree's own directory; in the second case it is the root. */
		tree_erase_locked(tree, 0, 0, NULL);
		assert_int_equal(tree_store_locked(&held.other, 0, 0, held.large), 0);
		break;
	}
}

/*
 * What the look-up may find if the writer did everything just before one of its loads. Nodes have
 * left the tree, so that the look-up begins again; in GROW, where none has, it finds the same.
 */
static void held_check(void *entry, const struct tree_place *place)
{
	switch (held.scene) {
	case SHRINK:
	case GROW:
		assert_ptr_equal(entry, held.near);
		break;
	case ERASE:
	case REUSE:
	case REUSE_FIRST:
	case REUSE_ALL:
		assert_null(entry);
		break;
	case REBUILD:
	case COVER:
		assert_ptr_equal(entry, held.large);
		break;
	}
	/* The second look finds the same: nothing has happened since the first one. */
	if (entry)
		assert_true(tree_still(&held.f.tree, place, entry));
}

static void held_clear(void)
{
	struct tree *tree = &held.f.tree;
	uint64_t at = 0;
	void *entry;

	for (; (entry = tree_next_locked(tree, &at, UINT64_MAX)); at = 0)
		tree_erase_locked(tree, at, tree_order(entry), NULL);
	tree_erase_shadows_locked(tree, 0, UINT64_MAX);
	tree_clear(&held.other);
}

static void test_held_up(void **state)
{
	struct tree_place place;
	unsigned at;
	void *entry;
	bool done;

	step_do = held_writer;
	for (held.scene = 0; held.scene < SCENES; held.scene++) {
		unsigned order = held.scene == COVER ? ORDERS : held.scene == REBUILD ? 5 : 0;
		bool first = held.scene == SHRINK || held.scene == GROW ||
			     held.scene == REUSE_FIRST || held.scene == REUSE_ALL;
		uint64_t index = first ? 0 : HELD_FAR;

		held.near = entry_make(1, 0, 1);
		held.far = entry_make(2, 0, 1);
		held.large = entry_make(3, order, 1);
		fixture_init(&held.f, UINT64_MAX, UINT64_MAX);
		assert_int_equal(tree_init(&held.other, &held.f.budget), 0);
		for (at = 1, done = false; !done; at++) {
			held_setup();
			step_countdown = at;
			entry = tree_walk(&held.f.tree, index, &place);
			done = step_countdown > 0;
			step_countdown = 0;
			if (!done) {
				held_check(entry, &place);
			} else if (index == HELD_FAR && held.scene != COVER) {
				/* Held up between the first look and the second. */
				assert_ptr_equal(entry, held.far);
				held_writer();
				assert_false(tree_still(&held.f.tree, &place, held.far));
			}
			held_clear();
		}
		/*
		 * It was held up at least before the loads of the generation, of the root and of a
		 * slot.
		 */
		assert_true(at > 4);
		assert_int_equal(fixture_nodes(&held.f), 0);
		tree_destroy(&held.other);
		fixture_destroy(&held.f);
	}
}

/* Store a page in each of the blocks @first .. @end - 1. */
static void store_blocks(struct tree *tree, uint64_t first, uint64_t end)
{
	for (; first < end; first++)
		assert_int_equal(tree_store_locked(tree, first << TREE_SHIFT, 0,
					 entry_make((unsigned)first % PAGES, 0, 1)),
			0);
}

static void erase_blocks(struct fixture *f, uint64_t first, uint64_t end)
{
	for (; first < end; first++)
		tree_erase_locked(&f->tree, first << TREE_SHIFT, 0, NULL);
}

/* Has the tree its own directory? */
static bool has_own(struct tree *tree)
{
	return directory_of(tree) == &tree->own;
}

/* The slots of the tree's directory; 0: it is its own. */
static uint64_t directory_slots(struct fixture *f)
{
	uint64_t slots = has_own(&f->tree) ? 0 : directory_of(&f->tree)->slots;

	survey(&f->tree);
	assert_int_equal(
		folio_u64_load_relaxed(&f->budget.directory_bytes), slots * sizeof(folio_ptr));
	return slots;
}

/* So many blocks from 0 on, that the directory has @slots. */
static uint64_t blocks_for(uint64_t slots)
{
	return slots / 2 + 1;
}

/* What the tree of the blocks 0 .. @blocks - 1 has now, if it had @before with one more or less. */
static uint64_t slots_expected(uint64_t before, uint64_t blocks)
{
	uint64_t most = before, slots = SLOTS_MIN;

	if (blocks < 2)
		return 0; /* its root is a leaf */
	if (before < blocks)
		most = 2 * blocks - 1;
	else if (before > 16 * blocks)
		most = 8 * blocks;
	while (2 * slots <= most)
		slots *= 2;
	return slots;
}

/*
 * A tree gets a larger directory when a block past its end is stored, a smaller one when less than
 * a sixteenth is in use, and has its own again when the root is a leaf. The pages of one that it no
 * longer needs go back to the system, if it has whole ones.
 */
static void test_directory(void **state)
{
	const uint64_t mapped = folio_u64_load_relaxed(&mapped_bytes);
	uint64_t blocks, slots = 0, before, returned = 0;
	struct fixture f;
	bool up = true;

	(void)state;
	folio_u64_store_relaxed(&returned_bytes, 0);
	fixture_init(&f, UINT64_MAX, UINT64_MAX);
	for (blocks = 1; blocks; blocks += up ? 1 : UINT64_MAX) {
		if (up)
			store_blocks(&f.tree, blocks - 1, blocks);
		else
			erase_blocks(&f, blocks, blocks + 1);
		before = slots;
		slots = slots_expected(before, blocks);
		if (before != slots) {
			assert_int_equal(directory_slots(&f), slots);
			if (before >= slots_mapped())
				returned += before * sizeof(folio_ptr);
		} else if (slots) {
			assert_int_equal(directory_of(&f.tree)->slots, slots);
		}
		assert_int_equal(folio_u64_load_relaxed(&returned_bytes), returned);
		if (up && slots < slots_mapped())
			assert_int_equal(folio_u64_load_relaxed(&mapped_bytes), mapped);
		if (blocks == 4 * slots_mapped())
			up = false;
	}
	assert_int_not_equal(returned, 0);
	assert_int_equal(directory_slots(&f), 0);
	fixture_destroy(&f);
}

/* An array for a block far away has at most 8 slots for each block. */
static void test_directory_density(void **state)
{
	unsigned log;

	(void)state;
	for (log = 4; log < 12; log++) {
		const uint64_t last = (UINT64_C(1) << log) - 1, few = (UINT64_C(1) << log) / 8 - 2;
		uint64_t slots;
		struct fixture f;

		fixture_init(&f, UINT64_MAX, UINT64_MAX);
		store_blocks(&f.tree, 0, few);
		slots = directory_slots(&f);
		store_blocks(&f.tree, last, last + 1);
		assert_int_equal(directory_slots(&f), slots);
		assert_ptr_equal(load(&f, last << TREE_SHIFT), entry_make((unsigned)last, 0, 1));
		erase_blocks(&f, last, last + 1);
		store_blocks(&f.tree, few, few + 1);
		store_blocks(&f.tree, last, last + 1);
		assert_int_equal(directory_slots(&f), UINT64_C(1) << log);
		fixture_destroy(&f);
	}
}

/*
 * A block far away was stored first: a directory reaches it when the tree is dense enough for that,
 * although the block is not stored again.
 */
static void test_directory_whole(void **state)
{
	unsigned log;

	(void)state;
	for (log = 6; log < 12; log++) {
		const uint64_t last = (UINT64_C(1) << log) - 1, eighth = (UINT64_C(1) << log) / 8;
		struct tree_place place;
		struct fixture f;

		fixture_init(&f, UINT64_MAX, UINT64_MAX);
		store_blocks(&f.tree, last, last + 1);
		store_blocks(&f.tree, 0, eighth);
		assert_true(directory_slots(&f) <= eighth);
		assert_null(tree_walk_directory(&f.tree, last << TREE_SHIFT, &place));
		store_blocks(&f.tree, eighth, eighth + 1);
		assert_int_equal(directory_slots(&f), UINT64_C(1) << log);
		assert_ptr_equal(tree_walk_directory(&f.tree, last << TREE_SHIFT, &place),
			entry_make((unsigned)last, 0, 1));
		fixture_destroy(&f);
	}
}

/* A new directory ends where the tree has its first block that is too far away. */
static void test_directory_short(void **state)
{
	unsigned log;

	(void)state;
	for (log = 6; log < 10; log++) {
		const uint64_t slots = UINT64_C(1) << log;
		struct fixture f;

		fixture_init(&f, UINT64_MAX, UINT64_MAX);
		store_blocks(&f.tree, slots, slots + 1);
		store_blocks(&f.tree, 0, slots / 8 - 1);
		store_blocks(&f.tree, slots - 1, slots);
		assert_int_equal(directory_slots(&f), slots);
		fixture_destroy(&f);
	}
}

/*
 * A tree of one level above its leaves gets a directory; it loses it when the root is a leaf, and
 * has its own.
 */
static void test_directory_level_1(void **state)
{
	void *near = entry_make(0, 0, 1), *large = entry_make(1, TREE_SHIFT, 1);
	struct directory *directory;
	struct tree_place place;
	struct fixture f;
	unsigned i;

	(void)state;
	fixture_init(&f, UINT64_MAX, UINT64_MAX);
	assert_int_equal(tree_store_locked(&f.tree, 0, 0, near), 0);
	assert_int_equal(directory_slots(&f), 0);
	for (i = 0; i < 3; i++) {
		assert_int_equal(tree_store_locked(&f.tree, TREE_SLOTS, TREE_SHIFT, large), 0);
		assert_int_equal(tree_root_shift(folio_ptr_load_relaxed(&f.tree.root)), TREE_SHIFT);
		assert_int_equal(directory_slots(&f), SLOTS_MIN);
		directory = directory_of(&f.tree);
		assert_ptr_equal(tree_walk(&f.tree, TREE_SLOTS + 1, &place), large);
		assert_ptr_equal(place.slot, &directory->slot[1]);
		/* By the directory alone; it ends before the last of these pages. */
		assert_ptr_equal(tree_walk_directory(&f.tree, 0, &place), near);
		assert_true(tree_still(&f.tree, &place, near));
		assert_null(tree_walk_directory(&f.tree, 1, &place));
		assert_null(tree_walk_directory(&f.tree, 2 * TREE_SLOTS, &place));
		assert_null(tree_walk_directory(&f.tree, SLOTS_MIN * TREE_SLOTS, &place));
		assert_null(tree_walk_directory(&f.tree, UINT64_MAX, &place));
		assert_ptr_equal(tree_walk(&f.tree, 0, &place), near);
		/* A shadow keeps the root where it is. */
		tree_erase_locked(&f.tree, TREE_SLOTS, TREE_SHIFT, i == 1 ? tree_shadow(1) : NULL);
		if (i == 1) {
			assert_int_equal(directory_slots(&f), SLOTS_MIN);
			assert_true(tree_still(&f.tree, &place, near));
			tree_erase_shadows_locked(&f.tree, TREE_SLOTS, TREE_SLOTS);
		}
		assert_int_equal(tree_root_shift(folio_ptr_load_relaxed(&f.tree.root)), 0);
		assert_int_equal(directory_slots(&f), 0);
		assert_false(tree_still(&f.tree, &place, near));
		assert_ptr_equal(tree_walk_directory(&f.tree, 0, &place), near);
		assert_null(tree_walk_directory(&f.tree, TREE_SLOTS, &place));
		assert_ptr_equal(load(&f, 0), near);
	}
	fixture_destroy(&f);
}

/* Large entries and shadows are in the directory, too, and what is above its level is not. */
static void directory_entries(uint64_t slots)
{
	const uint64_t at = (slots - 1) << TREE_SHIFT, first = (slots - TREE_SLOTS) << TREE_SHIFT;
	void *large = entry_make(3, TREE_SHIFT, 1), *top = entry_make(4, 2 * TREE_SHIFT, 1);
	struct tree_place place;
	struct fixture f;

	fixture_init(&f, UINT64_MAX, UINT64_MAX);
	store_blocks(&f.tree, 0, slots / 2);
	assert_int_equal(tree_store_locked(&f.tree, at, TREE_SHIFT, large), 0);
	assert_int_equal(directory_slots(&f), slots);
	assert_ptr_equal(tree_walk(&f.tree, at + 1, &place), large);
	assert_ptr_equal(place.slot, &directory_of(&f.tree)->slot[slots - 1]);
	tree_erase_locked(&f.tree, at, TREE_SHIFT, tree_shadow(7));
	assert_false(tree_still(&f.tree, &place, large));
	assert_ptr_equal(load(&f, at), tree_shadow(7));
	assert_int_equal(directory_slots(&f), slots);
	/* Leaves and shadows below an entry that takes the place of all of them. */
	store_blocks(&f.tree, slots - 2, slots - 1);
	tree_erase_locked(&f.tree, (slots - 2) << TREE_SHIFT, 0, tree_shadow(8));
	assert_ptr_equal(tree_walk(&f.tree, (slots - 2) << TREE_SHIFT, &place), tree_shadow(8));
	assert_int_equal(tree_store_locked(&f.tree, first, 2 * TREE_SHIFT, top), 0);
	assert_int_equal(directory_slots(&f), slots);
	assert_false(tree_unchanged(&f.tree, &place));
	assert_ptr_equal(load(&f, at), top);
	tree_erase_locked(&f.tree, first, 2 * TREE_SHIFT, NULL);
	assert_null(load(&f, at));
	fixture_destroy(&f);
}

static void test_directory_entries(void **state)
{
	(void)state;
	directory_entries(2 * TREE_SLOTS);
	directory_entries(slots_mapped());
}

/*
 * Without memory for a directory, or for a larger one, the tree has none, or the old one. What is
 * past its end is found as well, and not stored in it.
 */
static void directory_no_memory(uint64_t slots, unsigned heads, unsigned arrays)
{
	struct fixture f;
	unsigned first;

	fixture_init(&f, UINT64_MAX, UINT64_MAX);
	directories_fail(heads, arrays);
	store_blocks(&f.tree, 0, slots / 2);
	store_blocks(&f.tree, slots, slots + 1);
	assert_int_equal(directory_slots(&f), 0);
	erase_blocks(&f, slots, slots + 1);
	directories_fail(0, 0);
	store_blocks(&f.tree, slots / 2, slots);
	assert_int_equal(directory_slots(&f), slots);
	directories_fail(heads, arrays);
	store_blocks(&f.tree, slots, slots + 1);
	assert_int_equal(directory_slots(&f), slots);
	assert_ptr_equal(load(&f, slots << TREE_SHIFT), entry_make((unsigned)slots, 0, 1));
	directories_fail(0, 0);
	store_blocks(&f.tree, slots + 1, slots + 2);
	assert_int_equal(directory_slots(&f), slots * 2);
	fixture_destroy(&f);

	/* Too large, and no memory for a smaller one: its own, with block 0 or without. */
	slots *= 4;
	for (first = 0; first < 2; first++) {
		uint64_t many = slots - slots / 16;

		fixture_init(&f, UINT64_MAX, UINT64_MAX);
		directories_fail(heads, arrays);
		store_blocks(&f.tree, 0, slots - 1);
		directories_fail(0, 0);
		store_blocks(&f.tree, slots - 1, slots);
		assert_int_equal(directory_slots(&f), slots);
		directories_fail(heads, arrays);
		if (first)
			erase_blocks(&f, 0, many);
		else
			erase_blocks(&f, slots - many, slots);
		assert_int_equal(directory_slots(&f), slots);
		if (first)
			erase_blocks(&f, many, many + 1);
		else
			erase_blocks(&f, slots - many - 1, slots - many);
		assert_int_equal(directory_slots(&f), 0);
		assert_ptr_equal(load(&f, 0), first ? NULL : entry_make(0, 0, 1));
		directories_fail(0, 0);
		fixture_destroy(&f);
	}
}

static void test_directory_no_memory(void **state)
{
	const uint64_t outstanding_before = folio_u64_load_relaxed(&outstanding);
	unsigned i;

	(void)state;
	if (!DIRECTORIES_FAIL)
		return;
	for (i = 0; i < 4; i++)
		directory_no_memory(i / 2 ? slots_mapped() : 2 * SLOTS_MIN, i % 2, !(i % 2));
	assert_int_equal(folio_u64_load_relaxed(&outstanding), outstanding_before);
}

/*
 * An array is used again by another tree, and has nothing of the tree before: neither a small one,
 * nor a mapped one, also if the system does not take its pages. Nothing is left with the budget's
 * end.
 */
static void directory_reuse(uint64_t slots)
{
	const uint64_t mapped = folio_u64_load_relaxed(&mapped_bytes),
		       blocks = folio_u64_load_relaxed(&outstanding);
	struct fixture f, other;
	struct directory *directory;

	fixture_init(&f, UINT64_MAX, UINT64_MAX);
	store_blocks(&f.tree, 0, blocks_for(slots));
	assert_int_equal(directory_slots(&f), slots);
	directory = directory_of(&f.tree);
	tree_clear(&f.tree);
	assert_true(has_own(&f.tree));
	assert_int_equal(folio_u64_load_relaxed(&f.budget.directory_bytes), 0);
	/* A new one, which would be clear as well, is not available. */
	directories_fail(1, 1);
	assert_int_equal(tree_init(&other.tree, &f.budget), 0);
	store_blocks(&other.tree, slots * 3 / 4, slots);
	assert_ptr_equal(directory_of(&other.tree), directory);
	assert_int_equal(folio_u64_load_relaxed(&f.budget.directory_bytes), slots * 8);
	survey(&other.tree);
	assert_null(tree_load(&other.tree, 0));
	assert_null(tree_load(&other.tree, slots / 2 << TREE_SHIFT));
	directories_fail(0, 0);
	tree_destroy(&other.tree);
	fixture_destroy(&f);
	assert_int_equal(folio_u64_load_relaxed(&mapped_bytes), mapped);
	assert_int_equal(folio_u64_load_relaxed(&outstanding), blocks);
}

static void test_directory_reuse(void **state)
{
	uint64_t slots;

	(void)state;
	if (!DIRECTORIES_FAIL)
		return;
	for (slots = SLOTS_MIN; slots <= 2 * slots_mapped(); slots *= 2) {
		directory_reuse(slots);
		return_fails = true;
		directory_reuse(slots);
		return_fails = false;
	}
}

/*
 * A reader is held up before each load of its look-up in turn, also before the plain ones from the
 * directory, while another thread changes the tree, and a second tree takes the array or the leaf
 * and has another entry there.
 */
enum { REPLACE, DROP, LEAVE, FIRST, DIRECTORY_SCENES };

static void held_store(struct tree *tree, uint64_t block, void *entry)
{
	assert_int_equal(tree_store_locked(tree, block << TREE_SHIFT, tree_order(entry), entry), 0);
}

/* The second tree has blocks for an array of held.slots, but no array. */
static void held_directory_setup(bool large)
{
	const uint64_t slots = held.slots;

	held.block = held.scene == DROP ? 0 : slots / 2;
	held.near = entry_make(3, large ? TREE_SHIFT : 0, 1);
	held.far = entry_make(3, large ? TREE_SHIFT : 0, 2);
	fixture_init(&held.f, UINT64_MAX, UINT64_MAX);
	assert_int_equal(tree_init(&held.other, &held.f.budget), 0);
	if (held.scene == FIRST)
		directories_fail(1, 1);
	if (held.block)
		store_blocks(&held.f.tree, 0, held.block);
	held_store(&held.f.tree, held.block, held.near);
	if (!held.block)
		store_blocks(&held.f.tree, 1, blocks_for(slots));
	held.directory = directory_of(&held.f.tree);
	if (held.scene == FIRST)
		assert_true(has_own(&held.f.tree));
	else
		assert_int_equal(held.directory->slots, slots);
	directories_fail(1, 1);
	/* Block 0 comes first: for a leaf, the tree does not take a smaller array. */
	if (!held.block)
		held_store(&held.other, 0, held.far);
	store_blocks(&held.other, slots / 2 + 1, slots);
	directories_fail(0, 0);
	assert_true(has_own(&held.other));
}

static void held_directory_writer(void)
{
	const uint64_t slots = held.slots;
	struct tree *tree = &held.f.tree;

	switch (held.scene) {
	case REPLACE:
		/* No node leaves the tree. */
		store_blocks(tree, slots, slots + 1);
		assert_int_equal(directory_of(tree)->slots, slots * 2);
		break;
	case DROP:
		erase_blocks(&held.f, 1, blocks_for(slots));
		assert_true(has_own(tree));
		break;
	case LEAVE:
		tree_erase_locked(tree, held.block << TREE_SHIFT, tree_order(held.near), NULL);
		break;
	case FIRST:
		store_blocks(tree, slots / 2 + 1, slots / 2 + 2);
		assert_int_equal(directory_of(tree)->slots, slots);
		break;
	}
	if (held.block)
		held_store(&held.other, held.block, held.far);
	else
		store_blocks(&held.other, slots / 2, slots / 2 + 1);
	assert_int_equal(directory_of(&held.other)->slots, slots);
	if (held.scene == REPLACE || held.scene == DROP)
		assert_ptr_equal(directory_of(&held.other), held.directory);
	assert_ptr_equal(tree_load(&held.other, held.block << TREE_SHIFT), held.far);
	survey(tree);
	survey(&held.other);
}

static void held_directory_clear(void)
{
	tree_destroy(&held.other);
	fixture_destroy(&held.f);
}

/* Held up at each load of a look-up, and between the first look and the second. */
static void directory_held_up(bool large)
{
	uint64_t index;
	struct tree_place place;
	unsigned at;
	void *entry;
	bool done;

	for (at = 1, done = false; !done; at++) {
		held_directory_setup(large);
		index = held.block << TREE_SHIFT;
		step_countdown = at;
		entry = tree_walk(&held.f.tree, index, &place);
		done = step_countdown > 0;
		step_countdown = 0;
		if (done || held.scene != LEAVE)
			assert_ptr_equal(entry, held.near);
		else if (entry)
			/* No node has left with it: it was stored when the walk began. */
			assert_true(large && entry == held.near);
		if (entry)
			assert_int_equal(tree_still(&held.f.tree, &place, entry),
				done || held.scene != LEAVE);
		if (done) {
			/* Even if the other tree has the same entry there. */
			if (held.block)
				held.far = held.near;
			held_directory_writer();
			assert_false(tree_still(&held.f.tree, &place, held.near));
		}
		held_directory_clear();
	}
	/*
	 * Before the loads of the generation, the directory, its number of slots, their address,
	 * the slot, and the generation again; with a leaf, that of its slot, too.
	 */
	assert_true(at > (large ? 7 : 8));
}

static void test_directory_held_up(void **state)
{
	unsigned i;

	(void)state;
	if (!DIRECTORIES_FAIL)
		return;
	step_do = held_directory_writer;
	for (i = 0; i < 2; i++) {
		held.slots = i ? slots_mapped() : SLOTS_MIN;
		for (held.scene = 0; held.scene < DIRECTORY_SCENES; held.scene++) {
			directory_held_up(false);
			/* With a large entry in block 0, the root would not become a leaf. */
			if (held.scene != DROP)
				directory_held_up(true);
		}
	}
}

/* A tree that is dropped with all its contents. */
static void test_destroy(void **state)
{
	struct fixture f;
	unsigned i;

	fixture_init(&f, UINT64_MAX, UINT64_MAX);
	for (i = 0; i < 1000; i++) {
		assert_int_equal(
			tree_store_locked(&f.tree, (uint64_t)i * i * i * i, 0, entry_make(i, 0, 1)),
			0);
		if (i % 3 == 0)
			tree_erase_locked(
				&f.tree, (uint64_t)i * i * i * i, 0, i % 2 ? tree_shadow(i) : NULL);
	}
	survey(&f.tree);
	fixture_destroy(&f);
}

/*
 * The model.
 */
struct page {
	void *entry;           /* of the folio that covers it */
	void *shadow;          /* what tree_load finds when there is none */
	unsigned shadow_shift; /* the shadow is found on 2^shift pages */
	bool mark[TREE_MARKS];
};

struct model {
	struct fixture f;
	struct page page[PAGES];
	uint64_t entries;
	uint64_t generation;
	uint64_t random;
	bool lossy; /* shadows may be dropped by the tree */
};

static void model_drop_shadow(struct model *m, unsigned page)
{
	unsigned shift = m->page[page].shadow_shift, i;

	for (i = page >> shift << shift; i >> shift == page >> shift; i++)
		m->page[i].shadow = NULL;
}

static int model_store(struct model *m, unsigned page, unsigned order, void *entry)
{
	unsigned i;

	for (i = page; i < page + (1u << order); i++)
		if (m->page[i].entry)
			return -EEXIST;
	for (i = page; i < page + (1u << order); i++) {
		if (m->page[i].shadow)
			model_drop_shadow(m, i);
		m->page[i].entry = entry;
	}
	m->entries++;
	return 0;
}

static void model_erase(struct model *m, unsigned page, unsigned order, void *shadow)
{
	unsigned shift = level_shift(order), i, mark;

	for (i = page; i < page + (1u << order); i++) {
		m->page[i].entry = NULL;
		for (mark = 0; mark < TREE_MARKS; mark++)
			m->page[i].mark[mark] = false;
		if (shadow && i < page + (1u << shift)) {
			m->page[i].shadow = shadow;
			m->page[i].shadow_shift = shift;
		}
	}
	m->entries--;
}

/* The level on which something is stored for this page, -1 if nothing is. */
static int model_level(const struct page *page)
{
	if (page->entry)
		return (int)level_shift(tree_order(page->entry));
	return page->shadow ? (int)page->shadow_shift : -1;
}

/*
 * The nodes that the contents need: on every level up to the root's, one for each range that has
 * something.
 */
static struct survey model_survey(struct model *m)
{
	unsigned top = 0, shift, i, reach;
	struct survey needed = {0};
	bool any = false;

	for (i = 0; i < PAGES; i++) {
		int level = model_level(&m->page[i]);

		if (level < 0)
			continue;
		any = true;
		/* The pages of a shadow after its first add nothing. */
		reach = reach_shift(index_of(i));
		top = reach > top ? reach : top;
		top = (unsigned)level > top ? (unsigned)level : top;
	}
	for (shift = 0; any && shift <= top; shift += TREE_SHIFT) {
		uint64_t range = UINT64_MAX;
		bool live = true;

		for (i = 0; i < PAGES; i++) {
			int level = model_level(&m->page[i]);

			if (level < 0 || (unsigned)level > shift)
				continue;
			if (range != index_of(i) >> shift >> TREE_SHIFT) {
				needed.shadow_nodes += !live;
				range = index_of(i) >> shift >> TREE_SHIFT;
				needed.nodes++;
				live = false;
			}
			live = live || m->page[i].entry;
		}
		needed.shadow_nodes += !live;
	}
	return needed;
}

/* Compares every page, and all that the tree maintains. */
static void model_check(struct model *m)
{
	struct survey found, needed;
	unsigned i, mark;
	void *entry;

	for (i = 0; i < PAGES; i++) {
		struct page *page = &m->page[i];

		entry = tree_load(&m->f.tree, index_of(i));
		if (m->lossy && page->shadow && !entry)
			model_drop_shadow(m, i);
		assert_ptr_equal(entry, page->entry ? page->entry : page->shadow);
		for (mark = 0; mark < TREE_MARKS; mark++)
			assert_int_equal(tree_mark_test_locked(&m->f.tree, index_of(i), mark),
				page->mark[mark]);
	}
	found = survey(&m->f.tree);
	needed = model_survey(m);
	assert_int_equal(found.nodes, needed.nodes);
	assert_int_equal(found.shadow_nodes, needed.shadow_nodes);
	assert_int_equal(folio_u64_load_relaxed(&m->f.budget.nodes_shadow), needed.shadow_nodes);
	assert_true(needed.shadow_nodes <= m->f.budget.nodes_shadow_max);
	assert_true(folio_u64_load_relaxed(&m->f.budget.nodes) >= needed.nodes);
	assert_true(folio_u64_load_relaxed(&m->f.budget.nodes) <= m->f.budget.nodes_max);
	assert_int_equal(m->f.tree.entries, m->entries);
}

/* Walks a random range, by mark (or TREE_MARKS for all), and compares. */
static void model_check_walk(struct model *m, unsigned mark)
{
	unsigned from = random_below(&m->random, PAGES), to = random_below(&m->random, PAGES), i;
	uint64_t at = index_of(from),
		 last = random_below(&m->random, 8) ? index_of(to) : UINT64_MAX;
	void *entry;

	for (i = from; i < PAGES; i++) {
		if (!m->page[i].entry || (mark < TREE_MARKS && !m->page[i].mark[mark]))
			continue;
		if (index_of(i) > last)
			break;
		entry = mark < TREE_MARKS ? tree_next_marked_locked(&m->f.tree, &at, last, mark)
					  : tree_next_locked(&m->f.tree, &at, last);
		assert_ptr_equal(entry, m->page[i].entry);
		assert_int_equal(at, index_of(i));
		at = entry_end(at, entry);
		/* The next page of the model after the entry. */
		i |= (1u << tree_order(entry)) - 1;
	}
	entry = mark < TREE_MARKS ? tree_next_marked_locked(&m->f.tree, &at, last, mark)
				  : tree_next_locked(&m->f.tree, &at, last);
	assert_null(entry);
}

/* One random operation. The tree tends to @fullness, 0..100. */
static void model_step(struct model *m, unsigned fullness)
{
	unsigned page = random_below(&m->random, PAGES), what = random_below(&m->random, 100);
	unsigned order = random_below(&m->random, ORDERS + 1),
		 mark = random_below(&m->random, TREE_MARKS), i;
	void *entry = m->page[page].entry, *shadow;

	if (what < 60 && entry && random_below(&m->random, 100) >= fullness) {
		shadow = random_below(&m->random, 3) ? tree_shadow(++m->generation) : NULL;
		page = entry_page(entry);
		tree_erase_locked(&m->f.tree, index_of(page), tree_order(entry), shadow);
		model_erase(m, page, tree_order(entry), shadow);
	} else if (what < 65) {
		int err;

		/* Mostly small orders, or the first large ones leave no space. */
		order = random_below(&m->random, order + 1);
		page = page >> order << order;
		entry = entry_make(page, order, ++m->generation);
		err = tree_store_locked(&m->f.tree, index_of(page), order, entry);
		if (err != -ENOMEM)
			assert_int_equal(err, model_store(m, page, order, entry));
		else
			assert_true(m->f.budget.nodes_max < UINT64_MAX || alloc_fail_at);
	} else if (what < 85) {
		bool set = random_below(&m->random, 2);

		if (set)
			tree_mark_set_locked(&m->f.tree, index_of(page), mark);
		else
			tree_mark_clear_locked(&m->f.tree, index_of(page), mark);
		for (i = entry ? entry_page(entry) : PAGES; i < PAGES && m->page[i].entry == entry;
			i++)
			m->page[i].mark[mark] = set;
	} else if (what < 98) {
		model_check_walk(m, random_below(&m->random, TREE_MARKS + 1));
	} else {
		/* A range that begins and ends anywhere, mostly short. */
		unsigned to = page + random_below(&m->random, 1u << random_below(&m->random, 13));

		to = to < PAGES ? to : PAGES - 1;
		tree_erase_shadows_locked(&m->f.tree, index_of(page), index_of(to));
		for (i = page; i <= to; i++)
			if (m->page[i].shadow)
				model_drop_shadow(m, i);
	}
}

static void model_run(uint64_t nodes_max, uint64_t nodes_shadow_max, bool failing, unsigned steps)
{
	struct model *m = calloc(1, sizeof(*m));
	unsigned i, fullness = 50;

	assert_non_null(m);
	m->random = seed;
	m->lossy = nodes_max < UINT64_MAX || nodes_shadow_max < UINT64_MAX;
	fixture_init(&m->f, nodes_max, nodes_shadow_max);
	if (failing) {
		alloc_fail(1, 3);
		directories_fail(3, 3);
	}
	for (i = 0; i < steps; i++) {
		if (i % 1000 == 0)
			fullness = (i / 1000 % 4) * 30 + 5;
		model_step(m, fullness);
		/* The directory has what the tree has, after each operation. */
		survey(&m->f.tree);
		if (i % 100 == 0)
			model_check(m);
		if (i % 1000 == 999)
			assert_int_equal(folio_u64_load_relaxed(&m->f.budget.nodes),
				survey(&m->f.tree).nodes);
	}
	alloc_fail(0, 0);
	directories_fail(0, 0);
	model_check(m);
	/* Erases everything, by walks of the tree: no node is left. */
	for (;;) {
		uint64_t at = 0;
		void *entry = tree_next_locked(&m->f.tree, &at, UINT64_MAX);

		if (!entry)
			break;
		tree_erase_locked(&m->f.tree, at, tree_order(entry), NULL);
		model_erase(m, entry_page(entry), tree_order(entry), NULL);
	}
	model_check(m);
	tree_erase_shadows_locked(&m->f.tree, 0, UINT64_MAX);
	assert_int_equal(fixture_nodes(&m->f), 0);
	fixture_destroy(&m->f);
	free(m);
}

static void test_model(void **state)
{
	model_run(UINT64_MAX, UINT64_MAX, false, scaled(12000));
}

static void test_model_few_shadows(void **state)
{
	model_run(UINT64_MAX, 20, false, scaled(6000));
	model_run(UINT64_MAX, 0, false, scaled(2000));
}

static void test_model_few_nodes(void **state)
{
	model_run(150, UINT64_MAX, false, scaled(6000));
	model_run(60, 10, false, scaled(2000));
}

static void test_model_failing_allocator(void **state)
{
	model_run(UINT64_MAX, UINT64_MAX, true, scaled(6000));
}

/*
 * Readers and a writer. Some entries stay, all others come and go, the root rises and comes down.
 * Readers count violations, and the main thread demands zero.
 */
enum violation {
	LOST,      /* an entry that stayed was not found */
	FOREIGN,   /* found for a page where it was never stored, or never existed */
	STALE,     /* still in its slot after its erase had returned */
	BACKWARDS, /* a walk of a range that does not go forward */
	VIOLATIONS
};

struct race {
	struct fixture f;
	unsigned
		stay_step; /* every stay_step-th page of the first window has an entry that stays */
	folio_u64 generation[PAGES]; /* newest entry stored with this first page */
	folio_u64 dead[PAGES];       /* newest entry erased: the call has returned */
	folio_u64 violations[VIOLATIONS];
	folio_u64 rounds;
	folio_u32 stop;
};

#define RACE_PAGES 1024u

static void violated(struct race *race, enum violation what)
{
	folio_u64_fetch_add_relaxed(&race->violations[what], 1);
}

static bool stays(const struct race *race, unsigned page)
{
	return page < RACE_PAGES && page % race->stay_step == 0;
}

/* True if this word was ever in the tree for this page. */
static void race_check(struct race *race, unsigned page, void *entry)
{
	if (!entry || tree_is_shadow(entry)) {
		if (stays(race, page))
			violated(race, LOST);
		return;
	}
	if (tree_is_node(entry) || entry_page(entry) >= PAGES || !entry_covers(entry, page)) {
		violated(race, FOREIGN);
		return;
	}
	/*
	 * relaxed is enough: the store of the entry was a release, the load that found it an
	 * acquire.
	 */
	if (entry_generation(entry) > folio_u64_load_relaxed(&race->generation[entry_page(entry)]))
		violated(race, FOREIGN);
}

/* The two looks of a look-up, with a pause in which the writer may erase. */
static void race_look_twice(struct race *race, unsigned page)
{
	struct tree_place place;
	unsigned tries;
	void *entry = tree_walk(&race->f.tree, index_of(page), &place);

	race_check(race, page, entry);
	if (!entry || tree_is_shadow(entry))
		return;
	for (tries = 0; tries < 50; tries++)
		/* acquire: pairs with the release after the erase. */
		if (folio_u64_load_acquire(&race->dead[entry_page(entry)]) >=
			entry_generation(entry))
			break;
	if (tries < 50 && tree_still(&race->f.tree, &place, entry))
		violated(race, STALE);
}

static void race_walk(struct race *race)
{
	uint64_t index = 0, expected = 0;
	void *entry;

	for (;;) {
		uint64_t before = index;

		entry = tree_next(&race->f.tree, &index, window_base[0] + RACE_PAGES - 1);
		if (entry && index < before) {
			violated(race, BACKWARDS);
			return;
		}
		/* Entries that stay and were passed over. */
		while (expected < RACE_PAGES && (!entry || expected < index)) {
			if (stays(race, (unsigned)expected))
				violated(race, LOST);
			expected++;
		}
		if (!entry)
			return;
		race_check(race, (unsigned)index, entry);
		index = entry_end(index, entry);
		expected = index;
	}
}

static void *race_reader(void *argument)
{
	struct race *race = argument;
	uint64_t random = seed ^ (uintptr_t)&random;
	unsigned i;

	while (!folio_u32_load_acquire(&race->stop)) {
		unsigned looks = 1u << random_below(&random, 8);

		for (i = 0; i < looks; i++) {
			unsigned page = random_below(&random, RACE_PAGES);

			race_check(race, page, tree_load(&race->f.tree, page));
			race_look_twice(race, page);
			page = random_below(&random, race->stay_step)
				       ? page / race->stay_step * race->stay_step
				       : page + WINDOW_PAGES;
			race_check(race, page, tree_load(&race->f.tree, index_of(page)));
		}
		if (looks == 1)
			race_walk(race);
		folio_u64_fetch_add_relaxed(&race->rounds, 1);
	}
	return NULL;
}

static int race_store(struct race *race, void **stored, unsigned page, unsigned order)
{
	uint64_t generation = folio_u64_load_relaxed(&race->generation[page]) + 1;
	void *entry = entry_make(page, order, generation);
	unsigned i;
	int err;

	/* Before a reader can find it. */
	folio_u64_store_relaxed(&race->generation[page], generation);
	tree_lock(&race->f.tree);
	err = tree_store_locked(&race->f.tree, index_of(page), order, entry);
	tree_unlock(&race->f.tree);
	if (err)
		return err;
	for (i = page; i < page + (1u << order); i++)
		stored[i] = entry;
	return 0;
}

static void race_erase(struct race *race, void **stored, void *entry, void *shadow)
{
	unsigned page = entry_page(entry), i;

	tree_lock(&race->f.tree);
	tree_erase_locked(&race->f.tree, index_of(page), tree_order(entry), shadow);
	tree_unlock(&race->f.tree);
	/* release: pairs with the acquire of race_look_twice. */
	folio_u64_store_release(&race->dead[page], entry_generation(entry));
	for (i = page; i < page + (1u << tree_order(entry)); i++)
		stored[i] = NULL;
}

static void race_run(unsigned stay_step, uint64_t nodes_shadow_max, unsigned steps)
{
	struct race *race = calloc(1, sizeof(*race));
	void **stored = calloc(PAGES, sizeof(*stored));
	uint64_t random = seed + stay_step;
	pthread_t reader[2];
	unsigned i, page, order;

	assert_non_null(race);
	assert_non_null(stored);
	race->stay_step = stay_step;
	fixture_init(&race->f, UINT64_MAX, nodes_shadow_max);
	tree_unlock(&race->f.tree);
	for (page = 0; page < RACE_PAGES; page += stay_step)
		assert_int_equal(race_store(race, stored, page, 0), 0);
	for (i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&reader[i], NULL, race_reader, race), 0);
	/* Until there were enough operations, and both sides had their turns. */
	for (i = 0; i < steps || folio_u64_load_relaxed(&race->rounds) < 20; i++) {
		if (i >= steps)
			sched_yield();
		/* Sometimes empties or fills a stretch, so that nodes and levels come and go. */
		page = random_below(&random, 4) ? random_below(&random, RACE_PAGES)
						: WINDOW_PAGES + random_below(&random, RACE_PAGES);
		if (stored[page]) {
			if (!stays(race, page))
				race_erase(race, stored, stored[page],
					random_below(&random, 2) ? tree_shadow(1) : NULL);
		} else {
			order = random_below(&random, 6);
			while (race_store(race, stored, page >> order << order, order) == -EEXIST &&
				order)
				order--;
		}
		if (random_below(&random, 16) == 0) {
			unsigned far;

			/* Empty the second window: the root comes down. */
			for (far = WINDOW_PAGES; far < WINDOW_PAGES + RACE_PAGES; far++)
				if (stored[far])
					race_erase(race, stored, stored[far], NULL);
			tree_lock(&race->f.tree);
			tree_erase_shadows_locked(&race->f.tree,
				random_below(&random, 2) * window_base[1], UINT64_MAX);
			tree_unlock(&race->f.tree);
		}
	}
	folio_u32_store_release(&race->stop, 1);
	for (i = 0; i < 2; i++)
		pthread_join(reader[i], NULL);
	for (i = 0; i < VIOLATIONS; i++)
		assert_int_equal(folio_u64_load_relaxed(&race->violations[i]), 0);
	tree_lock(&race->f.tree);
	survey(&race->f.tree);
	fixture_destroy(&race->f);
	free(stored);
	free(race);
}

static void test_race(void **state)
{
	race_run(97, UINT64_MAX, scaled(20000));
}

/* One page stays, everything else in the tree comes and goes. */
static void test_race_sparse(void **state)
{
	race_run(RACE_PAGES, 5, scaled(20000));
}

/* Only growth and shrinking, as fast as possible, during look-ups of a page that stays. */
static void *root_reader(void *argument)
{
	struct race *race = argument;

	while (!folio_u32_load_acquire(&race->stop)) {
		unsigned i;

		for (i = 0; i < 100; i++)
			if (tree_load(&race->f.tree, 0) != entry_make(0, 0, 1))
				violated(race, LOST);
		folio_u64_fetch_add_relaxed(&race->rounds, 1);
	}
	return NULL;
}

static void test_race_root(void **state)
{
	struct race *race = calloc(1, sizeof(*race));
	unsigned i, steps = scaled(5000);
	pthread_t reader[2];

	assert_non_null(race);
	fixture_init(&race->f, UINT64_MAX, UINT64_MAX);
	assert_int_equal(tree_store_locked(&race->f.tree, 0, 0, entry_make(0, 0, 1)), 0);
	for (i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&reader[i], NULL, root_reader, race), 0);
	tree_unlock(&race->f.tree);
	for (i = 0; i < steps || folio_u64_load_relaxed(&race->rounds) < 1000; i++) {
		uint64_t far = UINT64_C(1) << (TREE_SHIFT + i % (52 - TREE_SHIFT));

		/* Readers whose walk fails several times wait for the lock. */
		tree_lock(&race->f.tree);
		assert_int_equal(tree_store_locked(&race->f.tree, far, 0, entry_make(1, 0, 1)), 0);
		tree_erase_locked(&race->f.tree, far, 0, NULL);
		tree_unlock(&race->f.tree);
	}
	folio_u32_store_release(&race->stop, 1);
	for (i = 0; i < 2; i++)
		pthread_join(reader[i], NULL);
	tree_lock(&race->f.tree);
	assert_int_equal(folio_u64_load_relaxed(&race->violations[LOST]), 0);
	assert_int_equal(fixture_nodes(&race->f), 1);
	fixture_destroy(&race->f);
	free(race);
}

/*
 * Two trees of one budget, each under its own lock: together they stay within it, and no node is
 * lost.
 */
struct sharer {
	pthread_t thread;
	struct tree_budget *budget;
	unsigned number, steps;
	uint64_t refused, exceeded;
};

static void *sharer_run(void *argument)
{
	struct sharer *sharer = argument;
	struct tree_budget *budget = sharer->budget;
	uint64_t random = seed + sharer->number;
	struct tree tree;
	unsigned i;

	if (tree_init(&tree, budget)) {
		sharer->exceeded++;
		return NULL;
	}
	for (i = 0; i < sharer->steps; i++) {
		unsigned page = random_below(&random, PAGES);
		int err;

		tree_lock(&tree);
		err = tree_store_locked(&tree, index_of(page), 0, entry_make(page, 0, 1));
		if (err == -ENOMEM)
			sharer->refused++;
		else if (err == -EEXIST)
			tree_erase_locked(&tree, index_of(page), 0, tree_shadow(1));
		tree_unlock(&tree);
		/* While a store tries, it may have charged nodes that it does not get. */
		if (folio_u64_load_relaxed(&budget->nodes) > budget->nodes_max + 2 * 2 * 52)
			sharer->exceeded++;
	}
	tree_destroy(&tree);
	return NULL;
}

static void test_shared_budget(void **state)
{
	/* A path to the far end for each, and a few more nodes. */
	struct tree_budget budget;
	struct sharer sharer[2];
	unsigned i;

	assert_int_equal(tree_budget_init(&budget, 20 + 2 * (52 / TREE_SHIFT + 1), 10), 0);
	for (i = 0; i < 2; i++) {
		sharer[i] = (struct sharer){.budget = &budget, .number = i, .steps = scaled(10000)};
		assert_int_equal(
			pthread_create(&sharer[i].thread, NULL, sharer_run, &sharer[i]), 0);
	}
	for (i = 0; i < 2; i++) {
		pthread_join(sharer[i].thread, NULL);
		assert_int_equal(sharer[i].exceeded, 0);
	}
	assert_int_not_equal(sharer[0].refused + sharer[1].refused, 0);
	budget_destroy(&budget);
}

/* Trees count as short of nodes before the last eighth is taken, and not sooner. */
static void test_short_of_nodes(void **state)
{
	struct tree_budget budget;

	(void)state;
	assert_int_equal(tree_budget_init(&budget, 64, 1), 0);
	folio_u64_store_relaxed(&budget.nodes, 64 - 64 / 8);
	assert_false(tree_nodes_are_short(&budget));
	folio_u64_store_relaxed(&budget.nodes, 64 - 64 / 8 + 1);
	assert_true(tree_nodes_are_short(&budget));
	tree_budget_destroy(&budget);
}

static int tree_suite_run(const char *name)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_orders),
		cmocka_unit_test(test_invalid),
		cmocka_unit_test(test_exists),
		cmocka_unit_test(test_tagged_root),
		cmocka_unit_test(test_grow_and_shrink),
		cmocka_unit_test(test_next),
		cmocka_unit_test(test_marks),
		cmocka_unit_test(test_shadows),
		cmocka_unit_test(test_erase_shadows),
		cmocka_unit_test(test_shadow_limit),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_chunks),
		cmocka_unit_test(test_chunk_at_limit),
		cmocka_unit_test(test_shadows_reclaimed),
		cmocka_unit_test(test_reclaim_during_store),
		cmocka_unit_test(test_held_up),
		cmocka_unit_test(test_directory),
		cmocka_unit_test(test_directory_density),
		cmocka_unit_test(test_directory_whole),
		cmocka_unit_test(test_directory_short),
		cmocka_unit_test(test_directory_level_1),
		cmocka_unit_test(test_directory_entries),
		cmocka_unit_test(test_directory_no_memory),
		cmocka_unit_test(test_directory_reuse),
		cmocka_unit_test(test_directory_held_up),
		cmocka_unit_test(test_destroy),
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_model_few_shadows),
		cmocka_unit_test(test_model_few_nodes),
		cmocka_unit_test(test_model_failing_allocator),
		cmocka_unit_test(test_race),
		cmocka_unit_test(test_race_sparse),
		cmocka_unit_test(test_race_root),
		cmocka_unit_test(test_shared_budget),
		cmocka_unit_test(test_short_of_nodes),
	};
	const char *given = getenv("FOLIO_SEED");

	seed = given ? strtoull(given, NULL, 0)
		     : (uint64_t)time(NULL) * 1000003 + (uint64_t)clock();
	printf("# %s: %u slots a node, FOLIO_SEED=%llu\n", name, TREE_SLOTS,
		(unsigned long long)seed);
	fflush(stdout);
	return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

#endif
