/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tree.c - mode tree: stores and erases of entries that identify themselves, concurrent with loads
 * and walks.
 *
 * The range of indexes is divided into cells. A cell holds one entry or none. The n-th entry of a
 * cell has an order and a position that are functions of the cell and n, and it carries both
 * numbers. So a reader can tell of any entry whether it belongs where it was found. Cells are
 * dense, sparse and very far apart, so that nodes are created and freed at every level and the root
 * grows and shrinks.
 *
 * Each cell has a word that its writers store under the tree's lock, in this order:
 *
 *   STORING(n)  tree_store  LIVE(n)  ...  ERASING(n)  tree_erase  EMPTY(n)
 *
 * A reader loads the word, looks up the index in the tree, and loads the word again. The two words
 * tell which entries it may have found, and, if both are LIVE(n), that it must have found this one.
 *
 * Nodes that leave a tree are used again at once, by any of the trees. So a reader that is held up
 * in one finds the entries of other cells, unless it notices.
 */
#include <errno.h>

#include "torture.h"

/*
 * Other threads may run at each step of a reader's walk in this file. (Inside of its own expansion
 * the name means the function.)
 */
#define folio_ptr_load_acquire(p) (pause_here(NULL), folio_ptr_load_acquire(p))
#include "core/walk.h"
#undef folio_ptr_load_acquire

enum count {
	COUNT_STORES,
	COUNT_NO_MEMORY,
	COUNT_EXISTS,
	COUNT_ERASES,
	COUNT_LOADS,
	COUNT_FOUND,
	COUNT_SHADOWS, /* found */
	COUNT_WALKED,  /* entries found by walks */
};

static const char *const count_names[] = {"stores", "stores without memory", "stores refused",
	"erases", "loads", "entries found", "shadows found", "entries walked over", NULL};

enum { HISTOGRAM_STALE };

static const char *const histogram_names[] = {
	"entries that the cell had since the one found", NULL};

#define TREES 3

enum phase { EMPTY, STORING, LIVE, ERASING };

struct cell {
	folio_u64 word; /* n << 2 | phase */
	/* Set once, at the beginning. */
	uint64_t base;
	uint32_t number;
	uint8_t order_max;
	/* Guarded by the tree's lock. */
	bool mark[TREE_MARKS];
};

/* Runs of cells: first index, number, largest order. */
static const struct {
	uint64_t base;
	unsigned cells;
	unsigned order_max;
} run[] = {
	{0, 320, 0},
	{UINT64_C(1) << 10, 64, 3},
	{UINT64_C(1) << 14, 24, 6},
	{UINT64_C(1) << 18, 12, 9},
	{UINT64_C(1) << 24, 6, 13},
	{UINT64_C(1) << 31, 4, 2},
	{UINT64_C(1) << 40, 4, 1},
	{(UINT64_C(1) << 52) - 2, 2, 0},
};
#define RUNS  (sizeof(run) / sizeof(run[0]))
#define CELLS (320 + 64 + 24 + 12 + 6 + 4 + 4 + 2)

static struct tree tree[TREES];
static struct cell cell[TREES][CELLS];
static struct tree_budget budget;

#define NODES_MAX (TREE_SHIFT == 6 ? 160 : 900)

/* ---- entries ---- */

static uint64_t cell_hash(const struct cell *c, uint64_t n)
{
	return mix64(n << 16 ^ c->number);
}

static unsigned order_of(const struct cell *c, uint64_t n)
{
	return (unsigned)(cell_hash(c, n) % (c->order_max + 1u));
}

static uint64_t index_of(const struct cell *c, uint64_t n)
{
	unsigned order = order_of(c, n);
	uint64_t positions = UINT64_C(1) << (c->order_max - order);

	return c->base + ((cell_hash(c, n) >> 32) % positions << order);
}

static bool covers(const struct cell *c, uint64_t n, uint64_t index)
{
	return index >> order_of(c, n) == index_of(c, n) >> order_of(c, n);
}

#define ENTRY_N_BITS 44

static void *entry_of(const struct cell *c, uint64_t n)
{
	return (void *)(((uint64_t)c->number << ENTRY_N_BITS | n) << 6 | order_of(c, n) << 2);
}

static void *shadow_of(const struct cell *c, uint64_t n)
{
	return tree_shadow((uint64_t)c->number << ENTRY_N_BITS | n);
}

static uint64_t entry_n(uint64_t value)
{
	return value & ((UINT64_C(1) << ENTRY_N_BITS) - 1);
}

static struct cell *any_cell(struct rng *rng, unsigned t)
{
	return &cell[t][rng_below(rng, CELLS)];
}

/* ---- readers ---- */

/* Checks that the entry @found belongs at @index and may have been there between the two words. */
static void check_entry(struct worker *worker, const struct cell *c, uint64_t index, void *found,
	uint64_t before, uint64_t after, const char *how)
{
	uint64_t value = (uint64_t)(uintptr_t)found >> 6, n = entry_n(value);

	if (tree_is_node(found) || value >> ENTRY_N_BITS != c->number || n == 0 ||
		tree_order(found) != order_of(c, n) || !covers(c, n, index)) {
		violation(VIOLATION_TREE_FOREIGN, "%s of index %#lx found %#lx", how,
			(unsigned long)index, (unsigned long)(uintptr_t)found);
		return;
	}
	if (n < before >> 2 || (n == before >> 2 && (before & 3) == EMPTY))
		violation(VIOLATION_TREE_ERASED,
			"%s of index %#lx found entry %lu of cell %u, which was at %lu, phase %lu",
			how, (unsigned long)index, (unsigned long)n, c->number,
			(unsigned long)(before >> 2), (unsigned long)(before & 3));
	if (n > after >> 2)
		violation(VIOLATION_TREE_EARLY,
			"%s of index %#lx found entry %lu of cell %u, which is at %lu", how,
			(unsigned long)index, (unsigned long)n, c->number,
			(unsigned long)(after >> 2));
	else
		histogram_add(&worker->histogram[HISTOGRAM_STALE], (after >> 2) - n);
}

static void op_load(struct worker *worker, unsigned t)
{
	struct cell *c = any_cell(&worker->rng, t);
	uint64_t before, after, index;
	void *found;

	/* acquire: sees what the writer did to the tree before it stored the word. */
	before = folio_u64_load_acquire(&c->word);
	/* An index that has an entry, or any index in the cell. */
	if (before >> 2 && !rng_one_in(&worker->rng, 4))
		index = index_of(c, before >> 2) +
			rng_below(&worker->rng, UINT64_C(1) << order_of(c, before >> 2));
	else
		index = c->base + rng_below(&worker->rng, UINT64_C(1) << c->order_max);
	found = tree_load(&tree[t], index);
	/* Not reordered before the loads of the tree, which are acquires. */
	after = folio_u64_load_acquire(&c->word);
	worker_add(worker, COUNT_LOADS, 1);
	if (found && !tree_is_shadow(found)) {
		worker_add(worker, COUNT_FOUND, 1);
		check_entry(worker, c, index, found, before, after, "load");
		return;
	}
	if (before == after && (before & 3) == LIVE && covers(c, before >> 2, index))
		violation(VIOLATION_TREE_MISSED,
			"index %#lx has entry %lu of cell %u, a load found %#lx",
			(unsigned long)index, (unsigned long)(before >> 2), c->number,
			(unsigned long)(uintptr_t)found);
	if (found) {
		worker_add(worker, COUNT_SHADOWS, 1);
		if (tree_is_node(found) || tree_shadow_value(found) >> ENTRY_N_BITS != c->number ||
			entry_n(tree_shadow_value(found)) > after >> 2)
			violation(VIOLATION_TREE_FOREIGN, "index %#lx of cell %u has shadow %#lx",
				(unsigned long)index, c->number, (unsigned long)(uintptr_t)found);
	}
}

/* The cell whose number an entry carries. */
static struct cell *cell_of(unsigned t, const void *entry)
{
	uint64_t number = (uint64_t)(uintptr_t)entry >> 6 >> ENTRY_N_BITS;

	if (number < t * CELLS || number >= (t + 1) * CELLS)
		return NULL;
	return &cell[t][number - t * CELLS];
}

/* A walk finds entries in order, including one cell's entry that is stored throughout. */
static void op_walk(struct worker *worker, unsigned t)
{
	struct cell *must = any_cell(&worker->rng, t);
	uint64_t before = folio_u64_load_acquire(&must->word), after;
	uint64_t must_index = before >> 2 ? index_of(must, before >> 2) : must->base;
	uint64_t back = UINT64_C(1) << rng_below(&worker->rng, 20);
	uint64_t index = must_index > back ? must_index - back : 0, last = must_index + back,
		 from = index;
	unsigned steps = 256;
	bool found = false;
	void *entry;

	while (steps-- > 0 && (entry = tree_next(&tree[t], &index, last))) {
		struct cell *c = cell_of(t, entry);

		worker_add(worker, COUNT_WALKED, 1);
		if (index < from || index > last || !c) {
			violation(VIOLATION_TREE_FOREIGN,
				"a walk at %#lx to %#lx found %#lx at %#lx", (unsigned long)from,
				(unsigned long)last, (unsigned long)(uintptr_t)entry,
				(unsigned long)index);
			break;
		}
		check_entry(worker, c, index, entry, c == must ? before : 0,
			folio_u64_load_acquire(&c->word), "walk");
		found |= c == must;
		index = from = (index | ((UINT64_C(1) << tree_order(entry)) - 1)) + 1;
		/* The walk may have ended before it reached the cell. */
		if (!steps)
			found = true;
		if (index > last)
			break;
	}
	after = folio_u64_load_acquire(&must->word);
	if (!found && before == after && (before & 3) == LIVE)
		violation(VIOLATION_TREE_MISSED, "a walk to %#lx missed entry %lu of cell %u",
			(unsigned long)last, (unsigned long)(before >> 2), must->number);
}

/* ---- writers: the tree's lock is held ---- */

static void word_store(struct cell *c, uint64_t n, enum phase phase)
{
	/*
	 * release: after the changes of the tree. Later changes are ordered by the tree's own
	 * releases.
	 */
	folio_u64_store_release(&c->word, n << 2 | phase);
}

static void store_locked(struct worker *worker, unsigned t, struct cell *c, uint64_t n)
{
	int r;

	word_store(c, n, STORING);
	r = tree_store_locked(&tree[t], index_of(c, n), order_of(c, n), entry_of(c, n));
	if (r == 0) {
		word_store(c, n, LIVE);
		worker_add(worker, COUNT_STORES, 1);
	} else {
		word_store(c, n, EMPTY);
		worker_add(worker, COUNT_NO_MEMORY, 1);
		if (r != -ENOMEM)
			violation(VIOLATION_TREE_RESULT, "a store in the empty cell %u returned %d",
				c->number, r);
	}
	c->mark[TREE_DIRTY] = c->mark[TREE_WRITEBACK] = false;
}

static void erase_locked(struct worker *worker, unsigned t, struct cell *c, uint64_t n, bool shadow)
{
	word_store(c, n, ERASING);
	tree_erase_locked(
		&tree[t], index_of(c, n), order_of(c, n), shadow ? shadow_of(c, n) : NULL);
	word_store(c, n, EMPTY);
	worker_add(worker, COUNT_ERASES, 1);
}

static void marks_locked(struct worker *worker, unsigned t, struct cell *c, uint64_t n)
{
	enum tree_mark mark = (enum tree_mark)rng_below(&worker->rng, TREE_MARKS);
	uint64_t index = index_of(c, n), at = index;
	void *entry;

	if (tree_mark_test_locked(&tree[t], index, mark) != c->mark[mark])
		violation(VIOLATION_TREE_RESULT, "mark %d of cell %u has changed", mark, c->number);
	c->mark[mark] = rng_one_in(&worker->rng, 2);
	if (c->mark[mark])
		tree_mark_set_locked(&tree[t], index, mark);
	else
		tree_mark_clear_locked(&tree[t], index, mark);
	entry = tree_next_marked_locked(&tree[t], &at, index, mark);
	if (c->mark[mark] ? entry != entry_of(c, n) : entry != NULL)
		violation(VIOLATION_TREE_RESULT, "the walk over mark %d found %#lx at cell %u",
			mark, (unsigned long)(uintptr_t)entry, c->number);
}

static void op_write(struct worker *worker, unsigned t)
{
	unsigned changes = 1 + (unsigned)rng_below(&worker->rng, 4);

	tree_lock(&tree[t]);
	while (changes-- > 0) {
		struct cell *c = any_cell(&worker->rng, t);
		uint64_t word = folio_u64_load_relaxed(&c->word), n = word >> 2;

		if ((word & 3) == EMPTY) {
			if (n < (UINT64_C(1) << ENTRY_N_BITS) - 2)
				store_locked(worker, t, c, n + 1);
		} else if (rng_one_in(&worker->rng, 8)) {
			if (tree_store_locked(&tree[t], index_of(c, n), order_of(c, n),
				    entry_of(c, n)) != -EEXIST)
				violation(VIOLATION_TREE_RESULT,
					"a second store in cell %u succeeded", c->number);
			worker_add(worker, COUNT_EXISTS, 1);
		} else if (rng_one_in(&worker->rng, 3)) {
			marks_locked(worker, t, c, n);
		} else {
			erase_locked(worker, t, c, n, rng_one_in(&worker->rng, 2));
		}
	}
	tree_unlock(&tree[t]);
}

/* Stores or erases a complete run at once, so that branches of the tree come and go. */
static void op_run(struct worker *worker, unsigned t)
{
	unsigned r = (unsigned)rng_below(&worker->rng, RUNS), first = 0, i;
	bool store = rng_one_in(&worker->rng, 2), shadow = rng_one_in(&worker->rng, 2);

	for (i = 0; i < r; i++)
		first += run[i].cells;
	tree_lock(&tree[t]);
	for (i = first; i < first + run[r].cells; i++) {
		struct cell *c = &cell[t][i];
		uint64_t word = folio_u64_load_relaxed(&c->word);

		if (store && (word & 3) == EMPTY)
			store_locked(worker, t, c, (word >> 2) + 1);
		else if (!store && (word & 3) == LIVE)
			erase_locked(worker, t, c, word >> 2, shadow);
	}
	if (!store && rng_one_in(&worker->rng, 2)) {
		uint64_t last = run[r].base + ((uint64_t)run[r].cells << run[r].order_max) - 1;
		uint64_t index = run[r].base + rng_below(&worker->rng, last - run[r].base + 1);
		void *entry;

		tree_erase_shadows_locked(&tree[t], run[r].base, last);
		entry = tree_load(&tree[t], index);
		if (entry)
			violation(VIOLATION_TREE_RESULT,
				"index %#lx has %#lx after all entries were erased",
				(unsigned long)index, (unsigned long)(uintptr_t)entry);
	}
	tree_unlock(&tree[t]);
}

static void tree_operation(struct worker *worker)
{
	unsigned t = (unsigned)rng_below(&worker->rng, TREES);
	uint64_t choice = rng_below(&worker->rng, 256);

	if (choice < 160)
		op_load(worker, t);
	else if (choice < 180)
		op_walk(worker, t);
	else if (choice < 253)
		op_write(worker, t);
	else
		op_run(worker, t);
	if (choice % 32 == 0)
		pause_here(NULL);
}

/* ---- begin and end ---- */

static int tree_open(void)
{
	unsigned t, r, i, n;

	/*
	 * Fewer nodes than all cells need, so that stores fail with -ENOMEM and shadows find no
	 * space.
	 */
	if (tree_budget_init(&budget, NODES_MAX, NODES_MAX / 8))
		return -1;
	for (t = 0; t < TREES; t++) {
		if (tree_init(&tree[t], &budget))
			return -1;
		for (r = 0, n = 0; r < RUNS; r++) {
			for (i = 0; i < run[r].cells; i++, n++)
				cell[t][n] = (struct cell){.number = t * CELLS + n,
					.order_max = (uint8_t)run[r].order_max,
					.base = run[r].base + ((uint64_t)i << run[r].order_max)};
		}
	}
	return 0;
}

static void tree_begin(struct worker *worker)
{
}

static void tree_end(struct worker *worker)
{
}

static void tree_close(void)
{
	struct worker worker = {.number = WORKERS_MAX};
	unsigned t, i;
	uint64_t left;

	for (t = 0; t < TREES; t++) {
		tree_lock(&tree[t]);
		for (i = 0; i < CELLS; i++) {
			uint64_t word = folio_u64_load_relaxed(&cell[t][i].word);

			if ((word & 3) == LIVE)
				erase_locked(&worker, t, &cell[t][i], word >> 2, false);
		}
		tree_erase_shadows_locked(&tree[t], 0, UINT64_MAX);
		if (tree[t].entries || folio_ptr_load_relaxed(&tree[t].root))
			violation(VIOLATION_LEAK, "an empty tree has %lu entries and root %#lx",
				(unsigned long)tree[t].entries,
				(unsigned long)(uintptr_t)folio_ptr_load_relaxed(&tree[t].root));
		tree_unlock(&tree[t]);
	}
	left = folio_u64_load_relaxed(&budget.nodes);
	if (left || folio_u64_load_relaxed(&budget.nodes_shadow))
		violation(VIOLATION_LEAK, "%lu nodes left, %lu of shadows", (unsigned long)left,
			(unsigned long)folio_u64_load_relaxed(&budget.nodes_shadow));
	for (t = 0; t < TREES; t++)
		tree_destroy(&tree[t]);
	tree_budget_destroy(&budget);
}

const struct mode mode_tree = {
	.name = "tree",
	.counts = count_names,
	.histograms = histogram_names,
	.open = tree_open,
	.begin = tree_begin,
	.operation = tree_operation,
	.end = tree_end,
	.close = tree_close,
};
