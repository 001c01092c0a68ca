/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * request.h - the requests of a completion queue (folio/queue.h).
 *
 * A request moves through these states; all changes are made with the lock of the queue held:
 *
 *   FREE      not in use
 *   RUNNING   the thread that began it, or one that reaps, runs it without the lock (run.c)
 *   WAITING   attached to a folio; the end of a fill, a lock or a write-back makes it READY
 *   STALLED   has no request slot; in order of arrival
 *   READY     the next thread that reaps runs it
 *   QUEUED    for a helper
 *   HELPED    a helper runs it
 *   ENDED     has its result, to be reaped
 *
 * No thread polls: each state but READY and ENDED, for which the descriptor is readable, has a
 * thread or an event that ends it. Only one STALLED request at a time is tried, the probe: when a
 * slot becomes free, it becomes READY; when it has got on, the next one does. If other calls take
 * each slot first, it becomes QUEUED: a helper reads a page for it.
 *
 * Lock order: see cache/types.h. The lock of the queue is the innermost of all. So watches and
 * waiters, which are called with their own locks held, may take it; and no thread that holds it
 * attaches or detaches a watch, or awaits a slot.
 */
#ifndef FOLIO_SRC_ASYNC_REQUEST_H
#define FOLIO_SRC_ASYNC_REQUEST_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include <folio/queue.h>

#include "core/watch.h"
#include "cache/types.h"

enum request_state {
	REQUEST_FREE,
	REQUEST_RUNNING,
	REQUEST_WAITING,
	REQUEST_STALLED,
	REQUEST_READY,
	REQUEST_QUEUED,
	REQUEST_HELPED,
	REQUEST_ENDED,
};

/* As the probe, a request finds no slot so often; then a helper reads its page without one. */
#define REQUEST_TRIES 16

enum request_kind { REQUEST_READ, REQUEST_GET, REQUEST_WRITE, REQUEST_SYNC };

/* A list in order of arrival. */
struct request_list {
	struct request *first, *last;
};

/* A request's place in one list. */
struct request_place {
	struct request_list *list; /* NULL: in none */
	struct request *next, *prev;
};

struct request {
	/* Set by the call that begins it. */
	struct folio_queue *queue;
	struct folio_file *file;
	enum request_kind kind;
	uint64_t data;
	char *buf;
	size_t len;
	uint64_t offset; /* of a get, that of its page */
	struct folio_range range;
	bool whole; /* a sync of all pages */
	unsigned flags;
	struct timespec deadline; /* with timeout_ms */

	/* Used by the thread that runs it. */
	struct watch watch;
	size_t done;            /* bytes */
	uint64_t single_before; /* as in struct read_op */
	/*
	 * Of a get that has ended, the result. Of a read, a page that a helper has got for it: it
	 * stays pinned until the read continues.
	 */
	struct folio *folio;
	void *page;
	ssize_t result;

	/* Guarded by the lock of the queue. */
	enum request_state state;
	struct request_place place; /* in the list of its state */
	struct request_place age;   /* in queue->all */
	bool woken;                 /* RUNNING, and the watch has been called */
	bool cancelled, expired;    /* it ends when it is run next */
	bool probe;                 /* it was STALLED, and is tried again */
	unsigned tries;             /* as the probe, without a slot */
	bool singly; /* the fill that it waited for failed: read pages one at a time */
	int error;   /* what it waited for has failed: -errno */
};

struct folio_queue {
	/* Set at creation. */
	struct folio_cache *cache;
	uint64_t cache_id;
	int fd;
	struct request *requests;
	uint32_t size; /* requests */
	struct slot_waiter waiter;
	bool timed; /* the timer runs */
	pthread_t timer;

	pthread_mutex_t lock;
	/* Guarded by lock. */
	struct request_list free, ready, stalled, ended;
	struct request_list fetches; /* QUEUED: a helper waits for memory */
	struct request_list jobs;    /* QUEUED: writes and syncs */
	struct request_list all;     /* not FREE, the oldest first */
	bool signalled;              /* fd is readable */
	bool probing;                /* there is a probe */
	bool awaiting;               /* waiter is attached, or about to be */
	bool closing;
	bool timer_idle;  /* the timer waits for a request */
	unsigned fetched; /* requests that have a page from a helper */
	unsigned helpers, idle;
	pthread_t helper[FOLIO_QUEUE_HELPERS];
	pthread_cond_t work;  /* for helpers */
	pthread_cond_t clock; /* for the timer */
};

/* ---- lists; the lock of the queue is held ---- */

static inline struct request_place *request_place_of(
	struct request *request, const struct request_list *list)
{
	return list == &request->queue->all ? &request->age : &request->place;
}

static inline void request_push(struct request_list *list, struct request *request)
{
	struct request_place *place = request_place_of(request, list);

	*place = (struct request_place){.list = list, .prev = list->last};
	if (list->last)
		request_place_of(list->last, list)->next = request;
	else
		list->first = request;
	list->last = request;
}

static inline void request_push_front(struct request_list *list, struct request *request)
{
	struct request_place *place = request_place_of(request, list);

	*place = (struct request_place){.list = list, .next = list->first};
	if (list->first)
		request_place_of(list->first, list)->prev = request;
	else
		list->last = request;
	list->first = request;
}

/* Take a request out of the list that @place, one of its own, is in; if it is in one. */
static inline void request_take(struct request *request, struct request_place *place)
{
	struct request_list *list = place->list;

	if (!list)
		return;
	if (place->prev)
		request_place_of(place->prev, list)->next = place->next;
	else
		list->first = place->next;
	if (place->next)
		request_place_of(place->next, list)->prev = place->prev;
	else
		list->last = place->prev;
	place->list = NULL;
}

static inline struct request *request_pop(struct request_list *list)
{
	struct request *request = list->first;

	if (request)
		request_take(request, request_place_of(request, list));
	return request;
}

/* ---- run.c ---- */

/*
 * Begin a request like @given: one that is FREE becomes RUNNING. NULL: there is none. *wait: others
 * are STALLED, so a request for the device must not overtake them.
 */
struct request *request_begin(struct folio_queue *queue, const struct request *given, bool *wait);

/* End it, without an entry: it becomes FREE. The lock is held. */
void request_end(struct request *request);

/*
 * Run a read or get that is RUNNING, as far as it goes without waiting. Returns true if it has its
 * result, and is still RUNNING; else it is in another state, or in the hands of another thread.
 */
bool request_run(struct request *request);

/* Set a new request, which is RUNNING, behind those that are STALLED. */
void request_wait_turn(struct request *request);

/* Make the descriptor readable. The lock is held. */
void request_signal(struct folio_queue *queue);

/* Make a request READY, from whatever list it is in. The lock is held. */
void request_ready(struct request *request);

/* Called when a slot is free; struct slot_waiter. */
void request_slot_freed(struct slot_waiter *waiter);

/*
 * Set @reason, a flag of the request, so that it ends soon. Returns false if it has ended, or ends
 * by itself because a helper runs it. The lock is held.
 */
bool request_stop(struct request *request, bool *reason);

/* ---- helper.c ---- */

/*
 * Queue a request for the helpers. Returns 0; or -ENOMEM: there is no helper, and none can be
 * started; the request stays as it is. The lock is held.
 */
int helper_queue(struct request *request, struct request_list *list);

/* Start the timer of a new queue. Returns 0 or -ENOMEM. */
int timer_start(struct folio_queue *queue);

/* Stop the threads of a queue, after what they run. */
void helpers_stop(struct folio_queue *queue);

#endif
