/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * quiet-memory.h - the page frames, tree nodes and open files of a quiet cache (quiet-cache.h).
 * Each frame is free, past the budget, or in a file; each node is free or in a tree; and the lists
 * and counts agree with that.
 */
#ifndef FOLIO_TESTS_QUIET_MEMORY_H
#define FOLIO_TESTS_QUIET_MEMORY_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/walk.h"
#include "cache/dirty.h"

/* ---- page frames ---- */

/* Page frames by what folio->queue is. */
struct census {
	uint64_t pages[QUEUE_AHEAD + 1], folios[QUEUE_AHEAD + 1];
};

/* A folio in a file is up to date, in the tree, and has the references of tree and dirty state. */
static inline void expect_cached(struct folio *folio)
{
	uint32_t flags = folio_u32_load_acquire(&folio->flags) &
			 ~(FOLIO_WRITTEN | FOLIO_WAITERS | FOLIO_CONTENDED);
	struct inode *inode = folio_ptr_load_acquire(&folio->owner);
	struct tree_place place;

	assert_int_equal(folio->type, FOLIO_TYPE_FILE);
	assert_int_equal(flags & ~FOLIO_DIRTY, FOLIO_UPTODATE);
	assert_int_equal(folio_ref_count(&folio->ref), flags & FOLIO_DIRTY ? 2 : 1);
	assert_non_null(inode);
	assert_int_equal(
		folio_u64_load_relaxed(pool_version(&inode->cache->pool, folio)) & VERSION_CHANGING,
		0);
	assert_ptr_equal(tree_walk_once(&inode->tree, folio->index, &place), entry_of(folio));
}

static inline struct census count_frames(const struct folio_cache *cache)
{
	const struct pool *pool = &cache->pool;
	struct census census = {.pages = {0}};
	uint32_t page = 0;

	while (page < pool->pages) {
		struct folio *folio = pool_folio(pool, page);
		uint8_t queue = folio_u8_load_relaxed(&folio->queue);

		assert_in_range(queue, POOL_QUEUE_BUDDY, QUEUE_AHEAD);
		census.pages[queue] += UINT64_C(1) << folio->order;
		census.folios[queue]++;
		page += UINT32_C(1) << folio->order;
		if (queue > POOL_QUEUE_OUT) {
			expect_cached(folio);
			continue;
		}
		assert_int_equal(folio->type, FOLIO_TYPE_FREE);
		assert_true(folio_ref_is_frozen(&folio->ref));
		assert_true(folio_u64_load_relaxed(pool_version(pool, folio)) & VERSION_CHANGING);
	}
	assert_int_equal(page, pool->pages);
	return census;
}

/* The length of a list of folios, all of which have @which as queue. */
static inline uint64_t list_length(
	const struct pool *pool, uint32_t page, uint8_t which, uint32_t *last)
{
	uint64_t n = 0;

	for (*last = POOL_NONE; page != POOL_NONE; page = pool_folio(pool, page)->next, n++) {
		assert_true(n < pool->pages);
		assert_int_equal(folio_u8_load_relaxed(&pool_folio(pool, page)->queue), which);
		*last = page;
	}
	return n;
}

static inline void expect_queue(const struct pool *pool, const struct queue *queue, uint8_t which,
	const struct census *census)
{
	uint32_t last;

	assert_int_equal(list_length(pool, queue->head, which, &last), census->folios[which]);
	assert_int_equal(queue->tail, last);
	assert_int_equal(queue->folios, census->folios[which]);
	assert_int_equal(queue->pages, census->pages[which]);
}

/* The queues' lock is held. Returns the number of pages that are in files. */
static inline uint64_t expect_frames(struct folio_cache *cache)
{
	const struct census census = count_frames(cache);
	const struct pool *pool = &cache->pool;
	uint64_t in, cached, buddies = 0, stocked = 0;
	uint32_t last;
	unsigned i;

	expect_queue(pool, &cache->queues.small, QUEUE_SMALL, &census);
	expect_queue(pool, &cache->queues.main, QUEUE_MAIN, &census);
	expect_queue(pool, &cache->queues.parked, QUEUE_PARKED, &census);
	expect_queue(pool, &cache->queues.unwritten, QUEUE_UNWRITTEN, &census);
	expect_queue(pool, &cache->queues.once, QUEUE_ONCE, &census);
	expect_queue(pool, &cache->queues.ahead, QUEUE_AHEAD, &census);
	for (i = 0; i <= FOLIO_ORDER_MAX; i++)
		buddies += list_length(pool, pool->head[i], POOL_QUEUE_BUDDY, &last);
	assert_int_equal(buddies, census.folios[POOL_QUEUE_BUDDY]);
	for (i = 0; i < pool->stock_count; i++)
		stocked += pool->stock[i].count;
	assert_int_equal(stocked, census.pages[POOL_QUEUE_STOCK]);
	assert_int_equal(list_length(pool, cache->out, POOL_QUEUE_OUT, &last),
		census.folios[POOL_QUEUE_OUT]);

	in = pool->pages - census.pages[POOL_QUEUE_OUT];
	cached = census.pages[QUEUE_SMALL] + census.pages[QUEUE_MAIN] + census.pages[QUEUE_PARKED] +
		 census.pages[QUEUE_UNWRITTEN] + census.pages[QUEUE_ONCE] +
		 census.pages[QUEUE_AHEAD];
	assert_int_equal(folio_u64_load_relaxed(&cache->pages), in);
	assert_int_equal(pool_free_pages(pool), in - cached);
	return cached;
}

/* ---- files and their trees ---- */

/* Walks through the open files: *at is 0 at first. */
static inline struct inode *next_open(const struct folio_cache *cache, uint64_t *at)
{
	while (*at < cache->inodes.slots) {
		struct inode *inode = cache->inodes.slot[(*at)++].value;

		if (inode)
			return inode;
	}
	return NULL;
}

/* Nodes, and those of them that have only shadows below. */
struct node_count {
	uint64_t nodes, shadow;
};

static inline void count_nodes(struct tree_node *node, struct node_count *count)
{
	unsigned i;

	count->nodes++;
	count->shadow += node->live == 0;
	for (i = 0; node->shift && i < TREE_SLOTS; i++) {
		void *entry = folio_ptr_load_relaxed(&node->slot[i]);

		if (tree_is_node(entry))
			count_nodes(tree_to_node(entry), count);
	}
}

/* Checks what a file has in its tree, adds its nodes, and returns the number of its pages. */
static inline uint64_t expect_tree(struct inode *inode, struct node_count *count)
{
	void *entry, *root = folio_ptr_load_relaxed(&inode->tree.root);
	uint64_t index, folios = 0, pages = 0, dirty = 0;

	for (index = 0; (entry = tree_next_locked(&inode->tree, &index, TREE_INDEX_MAX));
		index = folio_next_index(entry_folio(entry))) {
		folios++;
		pages += UINT64_C(1) << tree_order(entry);
	}
	assert_int_equal(inode->tree.entries, folios);
	assert_int_equal(folio_u64_load_relaxed(&inode->pages), pages);
	for (index = 0;
		(entry = tree_next_marked_locked(&inode->tree, &index, TREE_INDEX_MAX, TREE_DIRTY));
		index = folio_next_index(entry_folio(entry))) {
		assert_true(folio_u32_load_relaxed(&entry_folio(entry)->flags) & FOLIO_DIRTY);
		dirty += UINT64_C(1) << tree_order(entry);
	}
	assert_int_equal(share_has(&inode->share, SHARE_PAGES), dirty);
	assert_int_equal(share_has(&inode->share, SHARE_RUNS), 0);
	index = 0;
	assert_null(tree_next_marked_locked(&inode->tree, &index, TREE_INDEX_MAX, TREE_WRITEBACK));
	if (root)
		count_nodes(tree_root_node(root), count);
	/* The flusher finds the file if it must. */
	if (dirty)
		assert_int_equal(folio_u32_load_relaxed(&inode->dirty_listed), DIRTY_LISTED);
	return pages;
}

/* The pages and nodes of all files. @pages: how many frames are in files. */
static inline void expect_files(struct folio_cache *cache, uint64_t pages)
{
	const struct tree_budget *budget = &cache->tree_budget;
	uint64_t at = 0, files = 0, opens = 0, closed = 0, free_nodes = 0;
	struct node_count count = {0, 0};
	const struct tree_node *node;
	struct inode *inode;

	while ((inode = next_open(cache, &at))) {
		files++;
		opens += inode->opens;
		assert_true(inode->opens > 0 || inode->closed);
		if (inode->closed)
			closed += inode->pages > 0;
		assert_int_equal(inode->opening, 0);
		assert_false(inode->confirming);
		assert_true(inode->writeback_fence == UINT64_MAX);
		pages -= expect_tree(inode, &count);
	}
	assert_int_equal(pages, 0);
	assert_int_equal(cache->inodes.values, files);
	assert_int_equal(cache->files_open, opens);
	assert_int_equal(cache->closed.files, closed);
	assert_true(closed <= cache->closed.max);
	for (inode = cache->inodes_free; inode; inode = inode->next_free)
		assert_null(folio_ptr_load_relaxed(&inode->tree.root));
	for (node = budget->free; node; node = node->parent)
		free_nodes++;
	assert_int_equal(folio_u64_load_relaxed(&budget->nodes), count.nodes);
	assert_int_equal(folio_u64_load_relaxed(&budget->nodes_shadow), count.shadow);
	assert_int_equal(folio_u64_load_relaxed(&budget->allocated), count.nodes + free_nodes);
}

#endif
