/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * evict.c - choosing folios, and taking them out of the cache: isolate, freeze, erase, release.
 *
 * The first race is between an evictor and a thread that pins the folio:
 *
 *   evictor                                          look-up by pin (read/lookup.c)
 *   A  queue lock: pick a folio, try_get (now two    1  load the slot
 *      references: the tree's, the evictor's),       2  try_get
 *      unlink                                        3  load the slot again: the same entry?
 *   B  tree lock: is the folio still in the tree?
 *      (owner is set; it changes under this lock)
 *   C  try_freeze at exactly 2
 *   D  version to odd
 *   E  erase, leave a shadow; owner = NULL
 *   F  return the frozen folio to the pool
 *
 *   2 before C   C fails, and the folio stays.
 *   C before 2   2 fails.
 *
 * So a pin that passed step 3 is never on a folio that eviction has taken. A reader that copies
 * takes no reference. Step D invalidates its copy (core/version.h), and comes before the frame is
 * reused.
 *
 * The count of 2 is exact only because B is checked under the tree lock. For a folio that is no
 * longer in the tree, 2 may be the evictor and a pin.
 *
 * A pin that is published writes no count. So between A and B the evictor holds the folios of its
 * batch, issues one barrier and looks for pins of them (core/publish.h, H2 to H4); a folio of which
 * a pin is published stays. After D the odd version keeps new ones out, and the hold ends.
 *
 * The second race is between an evictor and a thread that drops pages (invalidate, close):
 *
 *   evictor                                          dropping thread (cache/drop.c)
 *   A to F, as above                                 a  tree lock: erase, owner = NULL
 *                                                    b  queue lock: unlink, if it is queued
 *                                                    c  put the tree's reference
 *
 * While the evictor has the folio isolated, b finds it in no queue. If a comes before B, B fails.
 * The evictor queues a folio that it did not take again only if owner is set, which it checks under
 * the queue lock (queue_put_back). If it finds the NULL of a, which it does if it comes after b, it
 * does not queue the folio. Otherwise b comes later, finds the folio queued and unlinks it. The
 * evictor's reference may be the last one; then the evictor's put releases the folio.
 *
 * A pinned folio is recognized by its reference count, which is only a hint here. If it comes to
 * the tail of the main queue, it is parked: it moves to a side queue. A scan examines parked folios
 * and others by turns, so its cost does not depend on how many are parked; and since each one moves
 * from the tail to the head, the next scan continues where this one ended. Only a caller that would
 * otherwise report that everything is pinned examines all of them. A scan visits each folio at most
 * four times (scan_begin), so it terminates in bounded time even if everything is pinned.
 *
 * A dirty folio has one more reference, but will be evictable without help from the program: it is
 * treated like a clean one, and if that would be evicted, it is set aside and written (set_aside).
 */
#include "evict/evict.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/pause.h"
#include "core/heat.h"
#include "core/walk.h"
#include "cache/dirty.h"
#include "cache/account.h"
#include "cache/limbo.h"
#include "cache/publish.h"
#include "evict/bounds.h"
#include "evict/limits.h"
#include "evict/once.h"
#include "evict/refault.h"
#include "evict/scan.h"

/* Folios of a side queue that a scan examines where there are no others. */
#define SCAN_ASIDE 64

/* How many of the @aside folios of a side queue a scan examines. */
static uint64_t scan_aside(uint64_t aside, uint64_t others, bool all)
{
	return all || aside < others + SCAN_ASIDE ? aside : others + SCAN_ASIDE;
}

/*
 * The bound on a caller's effort. Each folio is examined at most four times: as hot, as warm, as
 * cold, and again if it was read in the meantime, or is to be parked or adopted (once_adopt).
 * Without @all, no more folios of a side queue are examined than there are others, and SCAN_ASIDE.
 */
static struct scan scan_begin(struct folio_cache *cache, bool all)
{
	struct queues *queues = &cache->queues;
	uint64_t others;
	struct scan scan;

	queues_lock(queues);
	others = queues->small.folios + queues->main.folios + queues->once.folios +
		 queues->ahead.folios;
	scan = (struct scan){
		.parked = scan_aside(queues->parked.folios, others, all),
		.unwritten = scan_aside(queues->unwritten.folios, others, all),
		.floors = !all && bounds_any_floor(cache),
	};
	queues_unlock(queues);
	scan.looks = 4 * (others + scan.parked + scan.unwritten) + EVICT_BATCH;
	return scan;
}

/*
 * The queue whose tail a scan examines next, or NULL. The side queues take turns with the others.
 * Newcomers that wait for write-back do so while they and the small queue have more than its part.
 * They take none of that part from the small queue: pages that were read ahead would be evicted
 * before they are read (evict_headroom). Pages of accesses that leave the hot set unchanged come
 * first, except for @once of them.
 */
static struct queue *next_queue(
	struct queues *queues, struct scan *scan, uint64_t small_most, uint64_t once)
{
	struct queue *small = &queues->small, *main = &queues->main;
	bool newcomers = small->pages + queues->unwritten.pages > small_most || !main->folios;
	struct queue *queue = small->pages > small_most || !main->folios ? small : main;

	if (queues->once.pages > once)
		return &queues->once;
	/* Only if there is nothing else: what windows have is bounded when it is queued. */
	if (!queue->folios)
		queue = &queues->ahead;

	if (scan->parked && queues->parked.folios && (scan->looks % 2 == 0 || !queue->folios)) {
		scan->parked--;
		return &queues->parked;
	}
	if (newcomers && scan->unwritten && queues->unwritten.folios &&
		(scan->looks / 2 % 2 == 0 || !queue->folios)) {
		scan->unwritten--;
		return &queues->unwritten;
	}
	if (queue->folios)
		return queue;
	return queues->once.folios ? &queues->once : NULL;
}

/* The folio that a scan examines next, or NULL. */
static struct folio *next_folio(struct folio_cache *cache, struct scan *scan)
{
	struct queue *queue;

	if (scan->own)
		return bounds_next(cache, scan);
	queue = next_queue(&cache->queues, scan, refault_small_target(&cache->evict),
		once_part(&cache->evict));
	return queue ? pool_folio(&cache->pool, queue->tail) : NULL;
}

/*
 * True if a folio at the tail of a queue stays because it was used. It moves to the head of the
 * main queue if it was there, or if it is hot; else it gets a second chance in the small queue.
 * @small: it comes from the small queue.
 */
static bool keep_used(struct folio_cache *cache, struct folio *folio, bool small)
{
	uint32_t word = folio_u32_load_relaxed(&folio->heat), heat = word & HEAT_MASK;

	if (heat != HEAT_HOT && heat != HEAT_WARM)
		return false;
	heat_set(&cache->pool, folio, word - (small ? heat - HEAT_COLD : 1));
	if (small && heat == HEAT_WARM) {
		queue_move(&cache->queues, &cache->pool, folio, QUEUE_SMALL);
		return true;
	}
	if (folio->refault == REFAULT_TRIAL)
		refault_end_trial(&cache->evict, true);
	folio->refault = REFAULT_NONE;
	queue_move(&cache->queues, &cache->pool, folio, QUEUE_MAIN);
	return true;
}

/*
 * An isolated folio: unlinked, with a reference of the evictor. queue: where it belongs. own: it
 * makes space for its own file, which says nothing about the queues. held: no pin is published, and
 * none will be until the hold ends.
 */
struct victim {
	struct folio *folio;
	uint8_t queue;
	bool own;
	bool held;
};

/* The queue that a folio returns to if it is not taken. @small: it is one of the newcomers. */
static uint8_t queue_kept(const struct folio *folio, bool small)
{
	if (folio->refault == REFAULT_ONCE)
		return QUEUE_ONCE;
	return small ? QUEUE_SMALL : QUEUE_MAIN;
}

/*
 * A folio that would be evicted if it were not dirty waits in a side queue until it has been
 * written. Requests that, but only once: if the write fails, scans must not repeat it all the time.
 *
 * The inode remains that of the file while the queues are locked: a close that frees it has each
 * folio unlinked after it has cleared the owner. After that it may be set up again, for another
 * file, at any time. If the file is closed and its pages stay, it has nothing to write.
 */
static void set_aside(struct queues *queues, struct pool *pool, struct folio *folio)
{
	uint8_t queue = folio_u8_load_relaxed(&folio->queue);
	/* acquire: as the first load of evict_one. */
	struct inode *inode = folio_ptr_load_acquire(&folio->owner);

	if (queue != QUEUE_UNWRITTEN && queue != QUEUE_PARKED && inode)
		dirty_request_visit(inode);
	queue_move(queues, pool, folio,
		queue == QUEUE_MAIN || queue == QUEUE_PARKED ? QUEUE_PARKED : QUEUE_UNWRITTEN);
}

/*
 * Step A, for up to EVICT_BATCH folios or @pages pages. Returns the number of isolated folios. If
 * it is not 0, the caller is counted as busy (progress_begin).
 */
static unsigned isolate(struct folio_cache *cache, struct victim *victim, uint64_t pages,
	struct scan *scan, struct stats_shard *shard)
{
	struct queues *queues = &cache->queues;
	struct pool *pool = &cache->pool;
	uint64_t found = 0, counted = 0;
	unsigned n = 0, looked = 0;

	queues_lock(queues);
	while (scan->looks > 0 && found < pages && n < EVICT_BATCH) {
		struct folio *folio;
		uint8_t queue;
		bool small;
		uint32_t dirty;

		if (++looked % SCAN_LOCKED == 0)
			queues_pass(queues);
		folio = next_folio(cache, scan);
		if (!folio)
			break;
		scan->looks--;
		queue = folio_u8_load_relaxed(&folio->queue);
		small = queue != QUEUE_MAIN && queue != QUEUE_PARKED;
		dirty = folio_u32_load_relaxed(&folio->flags) & (FOLIO_DIRTY | FOLIO_WRITEBACK);
		/*
		 * A queued folio is in a tree, which has one reference, and the dirty state has
		 * one. Any other is a pin, or a fill that has not ended yet.
		 */
		if (folio_ref_count(&folio->ref) > (dirty ? 2 : 1)) {
			stats_add(shard, STAT_EVICT_BUSY, 1);
			/*
			 * A pinned folio of the small queue moves to the main queue. Most pins are
			 * short: it is parked only if it is also pinned when it comes to the tail
			 * there.
			 */
			queue_move(queues, pool, folio,
				queue_kept(folio, small) == QUEUE_SMALL ? QUEUE_MAIN
									: QUEUE_PARKED);
			continue;
		}
		if (once_adopt(cache, folio) || keep_used(cache, folio, small))
			continue;
		if (scan->floors && bounds_keep(folio)) {
			queue_move(queues, pool, folio, QUEUE_PARKED);
			continue;
		}
		if (dirty) {
			set_aside(queues, pool, folio);
			continue;
		}
		/* Fails if another thread has the folio frozen. */
		if (!folio_ref_try_get(&folio->ref)) {
			queue_move(queues, pool, folio, queue_kept(folio, small));
			continue;
		}
		if (folio->refault == REFAULT_TRIAL) {
			if (!scan->own)
				refault_end_trial(&cache->evict, false);
			/* Also if the folio stays because it is pinned in the meantime. */
			folio->refault = REFAULT_NONE;
		}
		victim[n].folio = folio;
		victim[n].queue = queue_kept(folio, small);
		victim[n].own = scan->own != NULL;
		if (folio->refault != REFAULT_ONCE && !scan->own) {
			refault_count(&cache->evict, !small, UINT64_C(1) << folio->order);
			counted += UINT64_C(1) << folio->order;
		}
		/*
		 * Under the queue lock: a thread that finds the queues without these folios also
		 * finds this thread busy, and knows that they may come back.
		 */
		if (n++ == 0)
			progress_begin(&cache->progress);
		found += UINT64_C(1) << folio->order;
		queue_unlink(queues, pool, folio);
	}
	queues_age(queues, pool, counted);
	limits_fit(cache);
	queues_unlock(queues);
	return n;
}

/* The shadow that a folio leaves, which is about to be evicted. */
static void *shadow_of(struct folio_cache *cache, const struct victim *victim)
{
	const struct folio *folio = victim->folio;
	bool main = victim->queue == QUEUE_MAIN || folio->refault == REFAULT_REFUSED;
	uint64_t now;

	if (folio->refault == REFAULT_ONCE)
		return once_former(cache, folio);
	if (victim->own)
		return NULL;
	now = folio_u64_fetch_add_relaxed(&cache->evict.clock, UINT64_C(1) << folio->order);
	return refault_shadow(now, main);
}

/*
 * Hold the folios of a batch, and look for published pins of them. Returns false if the kernel has
 * refused the barrier: none is held then.
 */
static bool hold(struct folio_cache *cache, struct victim *victim, unsigned n)
{
	struct pool *pool = &cache->pool;
	struct publish_set set;
	unsigned i;

	for (i = 0; i < n; i++)
		victim[i].held = publish_hold(pool_version(pool, victim[i].folio));
	publish_scan(pool, true, &set);
	for (i = 0; i < n; i++) {
		if (!victim[i].held || !publish_has(&set, pool, victim[i].folio))
			continue;
		publish_unhold(pool_version(pool, victim[i].folio));
		victim[i].held = false;
	}
	return !set.unknown;
}

/*
 * Put the evictor's reference to a folio that stays. Returns true if the next scan may evict the
 * folio: it has lost its other references since, or its published pin, or another freezer had it.
 */
static bool put_kept(const struct victim *victim, bool looked)
{
	bool pinned = !victim->held && (!looked || publish_count(victim->folio) > 0);

	return progress_put(victim->folio) && !pinned;
}

/*
 * Steps B to E for one folio. Returns true if the folio was taken. The inode may be closed in the
 * meantime: its memory remains an inode (cache/types.h), and the folio has another owner then.
 * @floors: not if its file needs it for its floor; other folios of it have been taken since.
 */
static bool evict_one(struct folio_cache *cache, const struct victim *victim, bool floors)
{
	struct folio *folio = victim->folio;
	struct inode *inode = folio_ptr_load_acquire(&folio->owner);
	uint64_t pages = UINT64_C(1) << folio->order;
	bool taken = false;

	if (!victim->held)
		return false;
	if (!inode)
		goto unhold;
	tree_lock(&inode->tree);
	if (folio_ptr_load_relaxed(&folio->owner) == inode && !(floors && bounds_keep(folio)) &&
		folio_ref_try_freeze(&folio->ref, 2)) {
		FOLIO_PAUSE(evict_frozen, folio);
		pool_change_begin(&cache->pool, folio);
		FOLIO_PAUSE(evict_broken, folio);
		tree_erase_locked(
			&inode->tree, folio->index, folio->order, shadow_of(cache, victim));
		inode_account_locked(inode, -(int64_t)pages);
		folio_ptr_store_relaxed(&folio->owner, NULL);
		taken = true;
	}
	tree_unlock(&inode->tree);
unhold:
	publish_unhold(pool_version(&cache->pool, folio));
	return taken;
}

uint64_t evict_batch(struct folio_cache *cache, uint64_t pages, struct scan *scan, bool direct,
	uint32_t *ends, struct stats_shard *shard)
{
	struct victim victim[EVICT_BATCH];
	uint64_t freed = 0, unused = 0;
	unsigned i, n, kept = 0;
	bool again = false, looked;

	limbo_look(cache);
	n = isolate(cache, victim, pages, scan, shard);
	FOLIO_PAUSE(evict_isolated, NULL);
	if (!n)
		return 0;
	/*
	 * These pages have not been read for long, so their nodes are not in the CPU's caches.
	 * Prefetch all of them first: the cache misses are then served in parallel.
	 */
	for (i = 0; i < n; i++) {
		struct folio *folio = victim[i].folio;
		struct inode *inode = folio_ptr_load_acquire(&folio->owner);

		if (inode)
			tree_prefetch(&inode->tree, folio_index(folio));
	}
	looked = hold(cache, victim, n);
	for (i = 0; i < n; i++) {
		struct folio *folio = victim[i].folio;

		if (evict_one(cache, &victim[i], scan->floors)) {
			FOLIO_PAUSE(evict_erased, folio);
			freed += UINT64_C(1) << folio->order;
			unused += heat_unused_pages(folio);
			pool_free(&cache->pool, folio);
		} else {
			victim[kept++] = victim[i];
		}
	}
	if (kept) {
		queues_lock(&cache->queues);
		for (i = 0; i < kept; i++)
			queue_put_back(
				&cache->queues, &cache->pool, victim[i].folio, victim[i].queue);
		queues_unlock(&cache->queues);
		FOLIO_PAUSE(evict_requeued, NULL);
		/* This may be the last reference; no lock is held. */
		for (i = 0; i < kept; i++)
			again |= put_kept(&victim[i], looked);
		stats_add(shard, STAT_EVICT_BUSY, kept);
	}
	/* Before progress_end: a thread that waited for it finds the evictions counted. */
	stats_add(shard, STAT_EVICTIONS, freed);
	stats_add(shard, STAT_READAHEAD_UNUSED, unused);
	if (direct)
		stats_add(shard, STAT_EVICTIONS_DIRECT, freed);
	progress_end(&cache->progress, freed || again);
	if (freed && !again)
		++*ends;
	return freed;
}

/* evict_until by one scan, with scan_begin(@all). */
static bool scan_until(
	struct folio_cache *cache, uint64_t pages, bool all, bool direct, struct stats_shard *shard)
{
	struct scan scan = scan_begin(cache, all);
	uint32_t ends = 0;

	while (pool_free_pages(&cache->pool) < pages && scan.looks > 0) {
		uint64_t before = scan.looks;

		if (evict_batch(cache, pages, &scan, direct, &ends, shard) == 0 &&
			scan.looks == before)
			break;
	}
	return pool_free_pages(&cache->pool) >= pages;
}

bool evict_until(struct folio_cache *cache, uint64_t pages, bool direct, struct stats_shard *shard)
{
	return scan_until(cache, pages, false, direct, shard);
}

/* Wake the evictor, unless it runs. */
static void wake_evictor(struct evict *evict)
{
	uint32_t asleep = 0;

	if (folio_u32_load_relaxed(&evict->wakeup) == 0 &&
		folio_u32_cas_relaxed(&evict->wakeup, &asleep, 1))
		futex_wake(&evict->wakeup, 1);
}

/*
 * Take a free folio of 2^*order pages; with @smaller, of the largest order available up to that.
 * *order: the last order tried. Returns NULL if none is free. The caller is counted as busy before
 * the pages leave the pool, so that no thread finds the pool empty and their taker idle. If the
 * pool is empty, it is not counted: callers that find no page must not wait for each other.
 */
static struct folio *alloc_order(struct folio_cache *cache, unsigned *order, bool smaller)
{
	struct folio *folio;

	if (!pool_free_pages(&cache->pool)) {
		*order = smaller ? 0 : *order;
		return NULL;
	}
	progress_begin(&cache->progress);
	while (!(folio = pool_alloc(&cache->pool, *order)) && smaller && *order > 0)
		--*order;
	if (!folio)
		progress_end(&cache->progress, false);
	return folio;
}

/*
 * How many pages a thread evicts at a time that needs 2^@order of them. Once pins are published,
 * each batch costs a membarrier, which interrupts the other processors: then more, but no more than
 * a sixty-fourth of the budget.
 */
static uint64_t batch_pages(const struct folio_cache *cache, unsigned order)
{
	uint64_t pages = UINT64_C(1) << order;
	uint64_t more = folio_u64_load_relaxed(&cache->evict.pages) / 64;

	if (likely(!publish_in_use()))
		return pages;
	if (more > EVICT_BATCH)
		more = EVICT_BATCH;
	return pages < more ? more : pages;
}

/*
 * One bounded attempt to evict on the calling thread. *seen: raised by what this attempt alone has
 * released.
 */
static struct folio *alloc_evicting(
	struct call *call, unsigned *order, bool smaller, bool all, uint32_t *seen)
{
	struct folio_cache *cache = call->cache;
	struct scan scan = scan_begin(cache, all);

	for (;;) {
		uint64_t before = scan.looks;
		uint64_t freed = evict_batch(
			cache, batch_pages(cache, *order), &scan, true, seen, call->shard);
		struct folio *folio = alloc_order(cache, order, smaller);

		if (folio) {
			folio_u32_store_relaxed(&cache->evict.stuck, 0);
			return folio;
		}
		if (scan.looks == 0 || (freed == 0 && scan.looks == before))
			return NULL;
	}
}

int evict_alloc(struct call *call, struct page_request request, struct folio **result)
{
	struct folio_cache *cache = call->cache;
	struct evict *evict = &cache->evict;
	unsigned order = request.order;
	bool smaller = request.smaller_ok;
	struct folio *folio;
	bool all = false;
	int r;

	limits_refresh(cache);
	if (smaller && order > folio_u32_load_relaxed(&evict->order_max))
		order = folio_u32_load_relaxed(&evict->order_max);
	folio = alloc_order(cache, &order, smaller);
	/* Do not wake an evictor whose last pass found everything pinned. */
	if (pool_free_pages(&cache->pool) < folio_u64_load_relaxed(&evict->low) &&
		!folio_u32_load_relaxed(&evict->stuck))
		wake_evictor(evict);
	if (folio || request.effort == EVICT_NOTHING) {
		*result = folio;
		return folio ? 0 : -ENOMEM;
	}
	for (;;) {
		uint32_t seen = progress_seen(&cache->progress);

		*result = alloc_evicting(call, &order, smaller, all, &seen);
		if (*result)
			return 0;
		/*
		 * The dirty state has a reference to the folio. Once the folio is written, it can
		 * be evicted.
		 */
		dirty_request_flush(cache);
		r = request.effort == EVICT_WAIT
			    ? progress_wait(&cache->progress, seen, call->until)
			    : -ENOMEM;
		if (r && (all || r != -ENOMEM))
			break;
		/* If no thread releases a page: is one among the parked that were not examined? */
		all = r != 0;
	}
	if (r == -ENOMEM)
		stats_add(call->shard, STAT_OUT_OF_MEMORY, 1);
	return r;
}

bool reclaim_nodes(
	struct folio_cache *cache, bool direct, uint32_t *ends, struct stats_shard *shard)
{
	struct scan scan = scan_begin(cache, true);
	uint64_t wanted, freed = 0, half = scan.looks / 2;

	queues_lock(&cache->queues);
	wanted = (cache->queues.small.pages + cache->queues.main.pages + cache->queues.once.pages +
			 cache->queues.ahead.pages) /
			 8 +
		 1;
	queues_unlock(&cache->queues);
	while (tree_nodes_are_short(&cache->tree_budget) && freed < wanted && scan.looks > 0) {
		uint64_t before = scan.looks, n;

		/* First pages that no file keeps for its floor. */
		scan.floors = before > half && bounds_any_floor(cache);
		n = evict_batch(cache, wanted - freed, &scan, direct, ends, shard);
		if (n == 0 && scan.looks == before)
			break;
		freed += n;
	}
	return freed > 0 || !tree_nodes_are_short(&cache->tree_budget);
}

int evict_for_nodes(struct call *call)
{
	struct folio_cache *cache = call->cache;
	uint32_t seen = progress_seen(&cache->progress);
	int r;

	if (reclaim_nodes(cache, true, &seen, call->shard))
		return deadline_passed(call->until) ? -ETIMEDOUT : 0;
	dirty_request_flush(cache);
	r = progress_wait(&cache->progress, seen, call->until);
	if (r == -ENOMEM)
		stats_add(call->shard, STAT_OUT_OF_MEMORY, 1);
	return r;
}

void evict_nodes_later(struct folio_cache *cache)
{
	if (tree_nodes_are_short(&cache->tree_budget))
		wake_evictor(&cache->evict);
}

void evict_reserve(struct folio_cache *cache, uint64_t pages, struct stats_shard *shard)
{
	/*
	 * At most a quarter of what is not parked: if that is little, the cached pages may be
	 * needed as much as the pages that are about to be read.
	 */
	uint64_t most = folio_u64_load_relaxed(&cache->evict.pages) / 4;

	if (pages > most)
		pages = most ? most : 1;
	if (pool_free_pages(&cache->pool) >= pages)
		return;
	scan_until(cache, pages, false, true, shard);
	/* The caller may not wait. If no thread releases a page, only this scan can find one. */
	if (!pool_free_pages(&cache->pool) &&
		!progress_expected(&cache->progress, progress_seen(&cache->progress)))
		scan_until(cache, 1, true, true, shard);
}
