/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * evict.c - queues, freeze, erase, release.
 *
 * The two sides of the race between an evictor and everybody who knows the folio:
 *
 *   evictor                                        look-up by pin (cache.c)
 *   A  queue lock: pick, try_get (2 references     1  load the slot
 *      now: the tree's and the evictor's), unlink  2  try_get
 *   B  tree lock: is the folio still in the tree?  3  load the slot again: the same entry?
 *      (owner says so, it changes under this lock)
 *   C  try_freeze at exactly 2                     If 2 comes before C, C fails and the folio stays. If C
 *   D  version to odd                              comes before 2, 2 fails. So a pin that passed step 3
 *   E  erase, leave a shadow; owner = NULL         is never on a folio that eviction took.
 *   F  give the frozen folio to the pool           A copying reader takes no reference: D is for him
 *                                                  (version.h), and comes before the frame is reused.
 *
 *   evictor                                        who drops pages (invalidate, close)
 *   as above                                       a  tree lock: erase, owner = NULL
 *                                                  b  queue lock: unlink if it is queued
 *                                                  c  drop the tree's reference
 *   While the evictor has the folio isolated, b finds it in no queue. If a comes before B, B fails and the
 *   evictor does not queue the folio again, since it looks at owner under the queue lock; then b, which comes
 *   after a, would find it queued or nobody queues it. The evictor's reference may be the last: it releases.
 *
 * The count of 2 is exact only because B is checked under the tree lock: with the folio out of the tree, 2
 * might be the evictor and a pin.
 *
 * Pinned folios are seen by their count (a hint) and move to the other end; the pass ends after each folio was
 * looked at a few times, so with everything pinned it returns in bounded time.
 */
#include "evict.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "cache.h"
#include "pause.h"

#define BATCH        32
/* Folios that are looked at before who waits for the queues is let in: some microseconds. */
#define LOOKS_LOCKED 256

/*
 * For who holds the queues for a few steps, and for who has waited. Who finds them taken waits in a row, of which the
 * first is at the lock and the others at the turn.
 */
static void queues_lock_in_turn(struct evict *evict)
{
	pthread_mutex_lock(&evict->turn);
	pthread_mutex_lock(&evict->lock);
	pthread_mutex_unlock(&evict->turn);
}

static void queues_lock(struct evict *evict)
{
	if (unlikely(pthread_mutex_trylock(&evict->lock)))
		queues_lock_in_turn(evict);
}

static void queues_unlock(struct evict *evict)
{
	pthread_mutex_unlock(&evict->lock);
}

/*
 * Let in whoever waits. To unlock and lock again is not enough, the thread that runs is faster than the one that is
 * woken: here it finds the turn taken, until the other has the lock.
 */
static void queues_pass(struct evict *evict)
{
	queues_unlock(evict);
	queues_lock_in_turn(evict);
}

static void queue_push(
	struct pool *pool, struct evict_queue *queue, struct folio *folio, uint8_t which)
{
	uint32_t page = pool_page(pool, folio);

	folio->prev = POOL_NONE;
	folio->next = queue->head;
	if (queue->head != POOL_NONE)
		pool_folio(pool, queue->head)->prev = page;
	else
		queue->tail = page;
	queue->head = page;
	queue->pages += UINT64_C(1) << folio->order;
	queue->folios++;
	folio_u8_store_relaxed(&folio->queue, which);
}

static void queue_unlink(struct pool *pool, struct evict_queue *queue, struct folio *folio)
{
	if (folio->next != POOL_NONE)
		pool_folio(pool, folio->next)->prev = folio->prev;
	else
		queue->tail = folio->prev;
	if (folio->prev != POOL_NONE)
		pool_folio(pool, folio->prev)->next = folio->next;
	else
		queue->head = folio->next;
	queue->pages -= UINT64_C(1) << folio->order;
	queue->folios--;
	folio_u8_store_relaxed(&folio->queue, EVICT_QUEUE_NONE);
}

static struct evict_queue *queue_of(struct evict *evict, uint8_t which)
{
	return which == EVICT_QUEUE_SMALL ? &evict->small : &evict->main;
}

static void queue_rotate(struct pool *pool, struct evict_queue *queue, struct folio *folio)
{
	uint8_t which = folio_u8_load_relaxed(&folio->queue);

	queue_unlink(pool, queue, folio);
	queue_push(pool, queue, folio, which);
}

/* The lock is held. owner: see the second race above. */
static void requeue(struct folio_cache *cache, struct folio *folio, uint8_t which)
{
	if (folio_ptr_load_relaxed(&folio->owner))
		queue_push(&cache->pool, queue_of(&cache->evict, which), folio, which);
}

void evict_insert(struct folio_cache *cache, struct folio *folio, bool refault)
{
	queues_lock(&cache->evict);
	requeue(cache, folio, refault ? EVICT_QUEUE_MAIN : EVICT_QUEUE_SMALL);
	queues_unlock(&cache->evict);
}

void evict_remove(struct folio_cache *cache, struct folio *folio)
{
	struct evict *evict = &cache->evict;
	uint8_t which;

	queues_lock(evict);
	which = folio_u8_load_relaxed(&folio->queue);
	if (which != EVICT_QUEUE_NONE)
		queue_unlink(&cache->pool, queue_of(evict, which), folio);
	queues_unlock(evict);
}

bool evict_is_refault(struct folio_cache *cache, const void *shadow)
{
	uint64_t now = folio_u64_load_relaxed(&cache->evict.clock);

	return now - tree_shadow_value(shadow) <= folio_u64_load_relaxed(&cache->evict.ghost_pages);
}

/* An isolated folio: unlinked, with a reference of the evictor, and where it came from. */
struct victim {
	struct folio *folio;
	uint8_t queue;
};

/*
 * Step A for up to BATCH folios or @pages pages. *looks: how many folios may still be looked at. Returns the number
 * isolated; if there are any, the caller is counted as busy.
 */
static unsigned isolate(struct folio_cache *cache, struct victim *victim, uint64_t pages,
	uint64_t *looks, struct stats_shard *shard)
{
	struct evict *evict = &cache->evict;
	struct pool *pool = &cache->pool;
	uint64_t small_target = folio_u64_load_relaxed(&evict->small_target);
	uint64_t found = 0, pinned = 0;
	unsigned n = 0, looked = 0;

	queues_lock(evict);
	while (n < BATCH && found<pages && * looks> 0) {
		/* A main queue of nothing but pins must not hide what the small one has. */
		bool small = evict->small.folios &&
			     (evict->small.pages > small_target || pinned >= evict->main.folios);
		struct evict_queue *queue = small ? &evict->small : &evict->main;
		struct folio *folio;
		uint32_t word, heat;

		if (!queue->folios)
			break;
		if (++looked % LOOKS_LOCKED == 0) {
			queues_pass(evict);
			continue;
		}
		--*looks;
		folio = pool_folio(pool, queue->tail);
		word = folio_u32_load_relaxed(&folio->heat);
		heat = word & HEAT_MASK;
		/* Queued means in a tree, whose reference is one; more is a pin, or a fill in flight. */
		if (folio_ref_count(&folio->ref) > 1) {
			stats_add(shard, STAT_EVICT_BUSY, 1);
			/*
			 * A pinned folio of the small queue goes to the main queue: with the small queue full of
			 * pins nothing behind it would be looked at.
			 */
			queue_unlink(pool, queue, folio);
			queue_push(pool, &evict->main, folio, EVICT_QUEUE_MAIN);
			pinned++;
			continue;
		}
		if (!small)
			pinned = 0;
		if (small && heat == HEAT_HOT) {
			folio_u32_store_relaxed(&folio->heat, word - (HEAT_HOT - HEAT_COLD));
			queue_unlink(pool, queue, folio);
			queue_push(pool, &evict->main, folio, EVICT_QUEUE_MAIN);
			continue;
		}
		if (!small && (heat == HEAT_HOT || heat == HEAT_WARM)) {
			folio_u32_store_relaxed(&folio->heat, word - 1);
			queue_rotate(pool, queue, folio);
			continue;
		}
		/* Fails where somebody else holds it frozen. */
		if (!folio_ref_try_get(&folio->ref)) {
			queue_rotate(pool, queue, folio);
			continue;
		}
		victim[n].folio = folio;
		victim[n].queue = small ? EVICT_QUEUE_SMALL : EVICT_QUEUE_MAIN;
		/* Under the lock: who finds the queues without them knows that they may come back. */
		if (n++ == 0)
			evict_busy_begin(evict);
		found += UINT64_C(1) << folio->order;
		queue_unlink(pool, queue, folio);
	}
	queues_unlock(evict);
	return n;
}

/* Steps B to E for one. The inode cannot go away: we are in a grace section. */
static bool take(struct folio_cache *cache, struct folio *folio)
{
	struct inode *inode = folio_ptr_load_acquire(&folio->owner);
	uint64_t pages = UINT64_C(1) << folio->order;
	bool taken = false;

	if (!inode)
		return false;
	tree_lock(&inode->tree);
	if (folio_ptr_load_relaxed(&folio->owner) == inode &&
		folio_ref_try_freeze(&folio->ref, 2)) {
		uint64_t now = folio_u64_fetch_add_relaxed(&cache->evict.clock, pages);

		FOLIO_PAUSE(evict_frozen, folio);
		version_break(&folio->version);
		FOLIO_PAUSE(evict_broken, folio);
		tree_erase_locked(&inode->tree, folio->index, folio->order, tree_shadow(now));
		inode_count_locked(inode, folio, -(int64_t)pages);
		folio_ptr_store_relaxed(&folio->owner, NULL);
		taken = true;
	}
	tree_unlock(&inode->tree);
	return taken;
}

/* One batch. Returns pages freed; *ends: incremented where it ended as busy. */
static uint64_t evict_batch(struct folio_cache *cache, uint64_t pages, uint64_t *looks, bool direct,
	uint32_t *ends, struct stats_shard *shard)
{
	struct victim victim[BATCH];
	uint64_t freed = 0;
	unsigned i, n, kept = 0;

	n = isolate(cache, victim, pages, looks, shard);
	FOLIO_PAUSE(evict_isolated, NULL);
	if (!n)
		return 0;
	grace_read_lock();
	/* Pages that nobody has wanted for long: their nodes are far away, and come beside each other. */
	for (i = 0; i < n; i++) {
		struct folio *folio = victim[i].folio;
		struct inode *inode = folio_ptr_load_acquire(&folio->owner);

		if (inode)
			tree_prefetch(&inode->tree, folio_index(folio));
	}
	for (i = 0; i < n; i++) {
		struct folio *folio = victim[i].folio;

		if (take(cache, folio)) {
			FOLIO_PAUSE(evict_erased, folio);
			freed += UINT64_C(1) << folio->order;
			pool_free(&cache->pool, folio);
		} else {
			victim[kept++] = victim[i];
		}
	}
	grace_read_unlock();
	if (kept) {
		queues_lock(&cache->evict);
		for (i = 0; i < kept; i++)
			requeue(cache, victim[i].folio, victim[i].queue);
		queues_unlock(&cache->evict);
		FOLIO_PAUSE(evict_requeued, NULL);
		/* Perhaps the last reference; no lock is held. */
		for (i = 0; i < kept; i++)
			folio_put(victim[i].folio);
		stats_add(shard, STAT_EVICT_BUSY, kept);
	}
	/* Before it ends: who has waited for that finds them counted. */
	stats_add(shard, STAT_EVICTIONS, freed);
	if (direct)
		stats_add(shard, STAT_EVICTIONS_DIRECT, freed);
	evict_busy_end(&cache->evict);
	++*ends;
	return freed;
}

/*
 * Each folio is looked at four times at most: as hot, as warm, as cold, and once more for those that were hit
 * meanwhile. That is the bound on a caller's effort.
 */
static uint64_t looks_limit(struct folio_cache *cache)
{
	uint64_t folios;

	queues_lock(&cache->evict);
	folios = cache->evict.small.folios + cache->evict.main.folios;
	queues_unlock(&cache->evict);
	return 4 * folios + BATCH;
}

/* Evict until @pages are free, or until the effort is spent. */
static bool evict_until(
	struct folio_cache *cache, uint64_t pages, bool direct, struct stats_shard *shard)
{
	uint64_t looks = looks_limit(cache);
	uint32_t ends = 0;

	while (pool_free_pages(&cache->pool) < pages && looks > 0) {
		uint64_t before = looks;

		if (evict_batch(cache, pages, &looks, direct, &ends, shard) == 0 && looks == before)
			break;
	}
	return pool_free_pages(&cache->pool) >= pages;
}

/* Wake the background thread, unless it runs. */
static void wake(struct evict *evict)
{
	uint32_t asleep = 0;

	if (folio_u32_load_relaxed(&evict->wakeup) == 0 &&
		folio_u32_cas_relaxed(&evict->wakeup, &asleep, 1))
		futex_wake(&evict->wakeup, 1);
}

static void busy_less(struct evict *evict)
{
	/* release: who sees the smaller number sees the progress as well. Pairs with evict_wait. */
	folio_u32_fetch_sub_release(&evict->busy, 1);
	/*
	 * seq_cst: pairs with the fence in evict_wait. Either the waiter sees the smaller number, or we see the
	 * waiter; without it both could miss each other and the waiter would sleep.
	 */
	folio_fence_seq_cst();
	if (unlikely(folio_u32_load_relaxed(&evict->waiters))) {
		folio_u32_fetch_add_release(&evict->ended, 1);
		futex_wake(&evict->ended, INT_MAX);
	}
}

void evict_busy_end(struct evict *evict)
{
	folio_u32_fetch_add_release(&evict->progress, 1);
	busy_less(evict);
}

void evict_busy_cancel(struct evict *evict)
{
	busy_less(evict);
}

/*
 * Everything was held at a pass that began at @seen. Waits until something was let go of: 0; or until nobody is busy: then it is
 * held by the program, and for how long is not ours to say: -ENOMEM; or until @until: -ETIMEDOUT.
 */
static int evict_wait(struct evict *evict, uint32_t seen, const struct timespec *until)
{
	uint32_t ended;
	bool idle, up = time_is_up(until);

	folio_u32_fetch_add_relaxed(&evict->waiters, 1);
	folio_fence_seq_cst();
	for (;;) {
		ended = folio_u32_load_acquire(&evict->ended);
		/* acquire: pairs with busy_less. Before progress, which is told before the number goes down. */
		idle = folio_u32_load_acquire(&evict->busy) == 0;
		if (folio_u32_load_acquire(&evict->progress) != seen || idle || up)
			break;
		up = !futex_wait_until(&evict->ended, ended, until);
	}
	folio_u32_fetch_sub_relaxed(&evict->waiters, 1);
	if (up)
		return -ETIMEDOUT;
	return folio_u32_load_relaxed(&evict->progress) != seen ? 0 : -ENOMEM;
}

void evict_settle(struct folio_cache *cache)
{
	struct evict *evict = &cache->evict;

	while (folio_u32_load_acquire(&evict->busy))
		evict_wait(evict, folio_u32_load_acquire(&evict->progress), NULL);
}

/*
 * Free pages, with the caller counted as busy before they leave the pool: nobody finds the pool empty and him idle.
 */
static struct folio *alloc_order(struct folio_cache *cache, unsigned *order, bool smaller)
{
	struct folio *folio;

	evict_busy_begin(&cache->evict);
	while (!(folio = pool_alloc(&cache->pool, *order)) && smaller && *order > 0)
		--*order;
	if (!folio)
		evict_busy_cancel(&cache->evict);
	return folio;
}

/* One bounded attempt on the calling thread. *seen: its own part in the progress is not progress. */
static struct folio *alloc_evicting(struct folio_cache *cache, unsigned *order, bool smaller,
	uint32_t *seen, struct stats_shard *shard)
{
	uint64_t looks = looks_limit(cache);

	for (;;) {
		uint64_t before = looks;
		uint64_t freed =
			evict_batch(cache, UINT64_C(1) << *order, &looks, true, seen, shard);
		struct folio *folio = alloc_order(cache, order, smaller);

		if (folio) {
			folio_u32_store_relaxed(&cache->evict.stuck, 0);
			return folio;
		}
		if (looks == 0 || (freed == 0 && looks == before))
			return NULL;
	}
}

int evict_alloc(struct folio_cache *cache, unsigned *order, bool smaller, enum evict_effort effort,
	const struct timespec *until, struct stats_shard *shard, struct folio **result)
{
	struct evict *evict = &cache->evict;
	struct folio *folio;
	int r;

	if (smaller && *order > folio_u32_load_relaxed(&evict->order_max))
		*order = folio_u32_load_relaxed(&evict->order_max);
	folio = alloc_order(cache, order, smaller);
	/* Unless it would find everything pinned. */
	if (pool_free_pages(&cache->pool) < folio_u64_load_relaxed(&evict->low) &&
		!folio_u32_load_relaxed(&evict->stuck))
		wake(evict);
	if (folio || effort == EVICT_NOTHING) {
		*result = folio;
		return folio ? 0 : -ENOMEM;
	}
	do {
		uint32_t seen = folio_u32_load_acquire(&evict->progress);

		*result = alloc_evicting(cache, order, smaller, &seen, shard);
		if (*result)
			return 0;
		/* What is dirty has a reference, too; when it is written, it can go. */
		writeback_kick(cache);
		r = effort == EVICT_WAIT ? evict_wait(evict, seen, until) : -ENOMEM;
	} while (!r);
	if (r == -ENOMEM)
		stats_add(shard, STAT_OUT_OF_MEMORY, 1);
	return r;
}

/* Evict an eighth of what there is. False when nothing could go. *ends as evict_batch's. */
static bool evict_part(
	struct folio_cache *cache, bool direct, uint32_t *ends, struct stats_shard *shard)
{
	uint64_t looks = looks_limit(cache), wanted, freed = 0;

	queues_lock(&cache->evict);
	wanted = (cache->evict.small.pages + cache->evict.main.pages) / 8 + 1;
	queues_unlock(&cache->evict);
	while (freed < wanted && looks > 0) {
		uint64_t before = looks;
		uint64_t n = evict_batch(cache, wanted - freed, &looks, direct, ends, shard);

		if (n == 0 && looks == before)
			break;
		freed += n;
	}
	return freed > 0;
}

/*
 * Are there nodes again, perhaps? Waits for a grace period first: they may have left their trees already. And one thread at a time
 * evicts: what it has evicted counts as nodes until the next grace period has ended, and others would go on. *ends as evict_batch's.
 */
static bool make_nodes(
	struct folio_cache *cache, bool direct, uint32_t *ends, struct stats_shard *shard)
{
	struct evict *evict = &cache->evict;
	uint32_t nobody = 0;
	bool freed;

	grace_barrier();
	/* relaxed: it guards nothing, it only keeps others from evicting as well. */
	if (!nodes_are_short(cache) || !folio_u32_cas_relaxed(&evict->making_nodes, &nobody, 1))
		return true;
	freed = evict_part(cache, direct, ends, shard);
	grace_barrier();
	folio_u32_store_relaxed(&evict->making_nodes, 0);
	return freed;
}

int evict_nodes(struct folio_cache *cache, const struct timespec *until, struct stats_shard *shard)
{
	struct evict *evict = &cache->evict;
	uint32_t seen = folio_u32_load_acquire(&evict->progress);
	int r;

	if (make_nodes(cache, true, &seen, shard))
		return time_is_up(until) ? -ETIMEDOUT : 0;
	writeback_kick(cache);
	r = evict_wait(evict, seen, until);
	if (r == -ENOMEM)
		stats_add(shard, STAT_OUT_OF_MEMORY, 1);
	return r;
}

void evict_nodes_later(struct folio_cache *cache)
{
	if (nodes_are_short(cache))
		wake(&cache->evict);
}

void evict_reserve(struct folio_cache *cache, uint64_t pages, struct stats_shard *shard)
{
	/* Never more than a part of a small budget: what is there may be wanted as much as what will come. */
	uint64_t most = folio_u64_load_relaxed(&cache->pages) / 4;

	if (pages > most)
		pages = most;
	if (pool_free_pages(&cache->pool) < pages)
		evict_until(cache, pages, true, shard);
}

uint64_t evict_room(const struct folio_cache *cache, uint64_t asked)
{
	const struct evict *evict = &cache->evict;
	uint64_t queue = folio_u64_load_relaxed(&evict->small_target), room = asked ? 0 : 1;
	uint64_t low = folio_u64_load_relaxed(&evict->low), free = pool_free_pages(&cache->pool);

	if (queue > asked && queue - asked > room)
		room = queue - asked;
	if (free > low && free - low > room)
		room = free - low;
	return room;
}

static void *background(void *arg)
{
	struct folio_cache *cache = arg;
	struct evict *evict = &cache->evict;
	struct stats_shard *shard = thread_enter(cache, cache->id);

	pthread_setname_np(pthread_self(), "folio-evict");
	folio_u32_store_release(&evict->started, shard ? 1 : 2);
	futex_wake(&evict->started, 1);
	if (!shard)
		return NULL;
	while (!folio_u32_load_acquire(&evict->stop)) {
		/*
		 * Wakers set wakeup from 0 to 1 after they saw few free pages, or nodes; it is cleared before
		 * those are looked at, so a wake that comes during the pass is not lost.
		 */
		folio_u32_exchange_acquire(&evict->wakeup, 0);
		if (pool_free_pages(&cache->pool) < folio_u64_load_relaxed(&evict->low)) {
			bool enough = evict_until(
				cache, folio_u64_load_relaxed(&evict->high), false, shard);

			folio_u32_store_relaxed(&evict->stuck,
				!enough && pool_free_pages(&cache->pool) <
						   folio_u64_load_relaxed(&evict->low));
		}
		if (nodes_are_short(cache)) {
			uint32_t ends = 0;

			make_nodes(cache, false, &ends, shard);
		}
		if (!folio_u32_load_acquire(&evict->stop))
			futex_wait(&evict->wakeup, 0);
	}
	return NULL;
}

void evict_set_budget(struct folio_cache *cache, uint64_t pages)
{
	struct evict *evict = &cache->evict;
	uint64_t low;
	unsigned order;

	folio_u64_store_relaxed(&evict->small_target, pages / 10);
	folio_u64_store_relaxed(&evict->ghost_pages, pages - pages / 10);
	/* Two batches at least, a sixty-fourth of the budget, 16 MiB at most; twice that where it stops. */
	low = pages / 64;
	if (low < 2 * BATCH)
		low = pages / 8 < 2 * BATCH ? pages / 8 : 2 * BATCH;
	if (low > 4096)
		low = 4096;
	folio_u64_store_relaxed(&evict->low, low);
	folio_u64_store_relaxed(&evict->high, 2 * low);
	/* A thirty-second of the budget. */
	order = FOLIO_ORDER_MAX;
	while (order > 0 && UINT64_C(32) << order > pages)
		order--;
	folio_u32_store_relaxed(&evict->order_max, order);
}

int evict_create(struct folio_cache *cache)
{
	struct evict *evict = &cache->evict;
	sigset_t all, old;
	int r;

	pthread_mutex_init(&evict->lock, NULL);
	pthread_mutex_init(&evict->turn, NULL);
	evict->small = evict->main = (struct evict_queue){.head = POOL_NONE, .tail = POOL_NONE};
	folio_u64_store_relaxed(&evict->clock, 0);
	folio_u32_store_relaxed(&evict->wakeup, 0);
	folio_u32_store_relaxed(&evict->stop, 0);
	folio_u32_store_relaxed(&evict->started, 0);
	folio_u32_store_relaxed(&evict->stuck, 0);
	folio_u32_store_relaxed(&evict->making_nodes, 0);
	folio_u32_store_relaxed(&evict->busy, 0);
	folio_u32_store_relaxed(&evict->progress, 0);
	folio_u32_store_relaxed(&evict->ended, 0);
	folio_u32_store_relaxed(&evict->waiters, 0);
	/* Signals are for the program's threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = -pthread_create(&evict->thread, NULL, background, cache);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	/* It may find no memory to make itself known; that is ours to tell. */
	while (!r && !folio_u32_load_acquire(&evict->started))
		futex_wait(&evict->started, 0);
	if (!r && folio_u32_load_relaxed(&evict->started) == 2) {
		pthread_join(evict->thread, NULL);
		r = -ENOMEM;
	}
	if (r) {
		pthread_mutex_destroy(&evict->turn);
		pthread_mutex_destroy(&evict->lock);
	}
	return r == -EAGAIN ? -ENOMEM : r;
}

void evict_destroy(struct folio_cache *cache)
{
	struct evict *evict = &cache->evict;

	folio_u32_store_release(&evict->stop, 1);
	folio_u32_store_release(&evict->wakeup, 1);
	futex_wake(&evict->wakeup, 1);
	pthread_join(evict->thread, NULL);
	pthread_mutex_destroy(&evict->turn);
	pthread_mutex_destroy(&evict->lock);
}
