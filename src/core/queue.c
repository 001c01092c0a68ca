/* SPDX-License-Identifier: BSD-2-Clause */
/* queue.c - the lists of folios that may be evicted, and their lock. */
#include "core/queue.h"

#include "base/compiler.h"

void queues_init(struct queues *queues)
{
	pthread_mutex_init(&queues->lock, NULL);
	pthread_mutex_init(&queues->turn, NULL);
	queues->small = queues->main = queues->parked = queues->unwritten = queues->once =
		(struct queue){.head = POOL_NONE, .tail = POOL_NONE};
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
	switch (folio->refault) {
	case REFAULT_NEWCOMER:
	case REFAULT_TRIAL:
		return QUEUE_MAIN;
	case REFAULT_ONCE:
		return QUEUE_ONCE;
	default:
		return QUEUE_SMALL;
	}
}

void queue_insert(
	struct queues *queues, struct pool *pool, struct folio *const *folios, unsigned count)
{
	unsigned i;

	queues_lock(queues);
	for (i = 0; i < count; i++)
		queue_put_back(queues, pool, folios[i], queue_entered(folios[i]));
	queues_unlock(queues);
}

void queue_remove(struct queues *queues, struct pool *pool, struct folio *folio)
{
	queues_lock(queues);
	if (folio_u8_load_relaxed(&folio->queue) != QUEUE_NONE)
		queue_unlink(queues, pool, folio);
	queues_unlock(queues);
}
