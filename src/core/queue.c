/* SPDX-License-Identifier: BSD-2-Clause */
/* queue.c - the lists of folios that may be evicted, and their lock. */
#include "core/queue.h"

#include "base/compiler.h"
#include "core/heat.h"

/*
 * Folios that leave the queue of those that were read ahead, for each one that enters it. There are
 * as many pages in the largest folio, so the queue is too large only after the budget has shrunk.
 */
#define AHEAD_LEAVE (1u << FOLIO_ORDER_MAX)

void queues_init(struct queues *queues)
{
	pthread_mutex_init(&queues->lock, NULL);
	pthread_mutex_init(&queues->turn, NULL);
	queues->small = queues->main = queues->parked = queues->unwritten = queues->once =
		queues->ahead = (struct queue){.head = POOL_NONE, .tail = POOL_NONE};
	queues->ahead_max = queues->ahead_age = 0;
}

void queues_destroy(struct queues *queues)
{
	pthread_mutex_destroy(&queues->turn);
	pthread_mutex_destroy(&queues->lock);
}

/*
 * Waiters form a line: the first waits for lock, the others wait for turn. A thread that passes the
 * lock on after holding it for long waits for turn, too, and so goes to the end of the line.
 */
static void queues_lock_in_turn(struct queues *queues)
{
	pthread_mutex_lock(&queues->turn);
	pthread_mutex_lock(&queues->lock);
	pthread_mutex_unlock(&queues->turn);
}

void queues_lock(struct queues *queues)
{
	if (unlikely(pthread_mutex_trylock(&queues->lock)))
		queues_lock_in_turn(queues);
}

void queues_pass(struct queues *queues)
{
	queues_unlock(queues);
	queues_lock_in_turn(queues);
}

static struct queue *queue_of(struct queues *queues, uint8_t which)
{
	switch (which) {
	case QUEUE_SMALL:
		return &queues->small;
	case QUEUE_MAIN:
		return &queues->main;
	case QUEUE_PARKED:
		return &queues->parked;
	case QUEUE_ONCE:
		return &queues->once;
	case QUEUE_AHEAD:
		return &queues->ahead;
	default:
		return &queues->unwritten;
	}
}

static void push(struct queues *queues, struct pool *pool, struct folio *folio, uint8_t which)
{
	struct queue *queue = queue_of(queues, which);
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

/* Put a folio where it is evicted next. */
static void push_tail(struct queues *queues, struct pool *pool, struct folio *folio, uint8_t which)
{
	struct queue *queue = queue_of(queues, which);
	uint32_t page = pool_page(pool, folio);

	folio->next = POOL_NONE;
	folio->prev = queue->tail;
	if (queue->tail != POOL_NONE)
		pool_folio(pool, queue->tail)->next = page;
	else
		queue->head = page;
	queue->tail = page;
	queue->pages += UINT64_C(1) << folio->order;
	queue->folios++;
	folio_u8_store_relaxed(&folio->queue, which);
}

void queue_unlink(struct queues *queues, struct pool *pool, struct folio *folio)
{
	struct queue *queue = queue_of(queues, folio_u8_load_relaxed(&folio->queue));

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
	folio_u8_store_relaxed(&folio->queue, QUEUE_NONE);
}

void queue_move(struct queues *queues, struct pool *pool, struct folio *folio, uint8_t which)
{
	queue_unlink(queues, pool, folio);
	push(queues, pool, folio, which);
}

void queue_put_back(struct queues *queues, struct pool *pool, struct folio *folio, uint8_t which)
{
	/* A thread that drops the folio clears owner before it takes this lock to unlink it. */
	if (folio_ptr_load_relaxed(&folio->owner))
		push(queues, pool, folio, which);
}

uint8_t queue_entered(const struct folio *folio)
{
	if (folio->refault == REFAULT_ONCE)
		return QUEUE_ONCE;
	if (heat_is_unused(folio_u32_load_relaxed(&folio->heat)))
		return QUEUE_AHEAD;
	return folio->refault == REFAULT_NEWCOMER || folio->refault == REFAULT_TRIAL ? QUEUE_MAIN
										     : QUEUE_SMALL;
}

/*
 * The oldest folio that was read ahead goes where it would be if it had been read on demand; or, if
 * no reader has come, it is evicted next. The lock is held.
 */
static void end_wait(struct queues *queues, struct pool *pool)
{
	struct folio *folio = pool_folio(pool, queues->ahead.tail);
	uint8_t next = queue_entered(folio);

	queue_unlink(queues, pool, folio);
	if (next != QUEUE_AHEAD) {
		push(queues, pool, folio, next);
		return;
	}
	/* That no reader came says nothing about trials. */
	if (folio->refault == REFAULT_TRIAL)
		folio->refault = REFAULT_REFUSED;
	push_tail(queues, pool, folio, QUEUE_SMALL);
}

void queues_age(struct queues *queues, struct pool *pool, uint64_t evicted)
{
	struct queue *ahead = &queues->ahead;

	queues->ahead_age += evicted * ahead->pages;
	while (ahead->folios) {
		uint64_t pages = UINT64_C(1) << pool_folio(pool, ahead->tail)->order;

		if (queues->ahead_age < 2 * queues->ahead_max * pages)
			return;
		queues->ahead_age -= 2 * queues->ahead_max * pages;
		end_wait(queues, pool);
	}
	queues->ahead_age = 0;
}

void queue_insert(
	struct queues *queues, struct pool *pool, struct folio *const *folios, unsigned count)
{
	unsigned i, left;

	queues_lock(queues);
	for (i = 0; i < count; i++)
		queue_put_back(queues, pool, folios[i], queue_entered(folios[i]));
	for (left = count * AHEAD_LEAVE; left > 0 && queues->ahead.pages > queues->ahead_max;
		left--)
		end_wait(queues, pool);
	queues_unlock(queues);
}

void queue_remove(struct queues *queues, struct pool *pool, struct folio *folio)
{
	queues_lock(queues);
	if (folio_u8_load_relaxed(&folio->queue) != QUEUE_NONE)
		queue_unlink(queues, pool, folio);
	queues_unlock(queues);
}
