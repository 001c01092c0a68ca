/* SPDX-License-Identifier: BSD-2-Clause */
/* run.c - running a request as far as it goes, and what lets it go on. */
#include <errno.h>
#include <sys/eventfd.h>

#include "base/pause.h"
#include "cache/call.h"
#include "cache/inflight.h"
#include "read/fill.h"
#include "read/finish.h"
#include "read/read.h"
#include "async/request.h"

/* ---- beginning and ending ---- */

/* The watch of a request: a fill, a lock or a write-back has ended. */
static void wait_ended(struct watch *watch, uint32_t flags)
{
	struct request *request = container_of(watch, struct request, watch);
	struct folio_queue *queue = request->queue;
	enum page_verdict verdict = PAGE_READY;
	int error = 0;

	if (flags & FOLIO_ERROR)
		verdict = fill_verdict(watch->folio, &error);
	pthread_mutex_lock(&queue->lock);
	request->error = verdict == PAGE_FAILED ? error : 0;
	request->singly = verdict == PAGE_READ_SINGLY;
	/* Else it is being run, or it is READY already, to be cancelled. */
	request->woken = true;
	if (request->state == REQUEST_WAITING)
		request_ready(request);
	pthread_mutex_unlock(&queue->lock);
}

struct request *request_begin(struct folio_queue *queue, const struct request *given, bool *wait)
{
	struct request *request;

	pthread_mutex_lock(&queue->lock);
	*wait = queue->stalled.first || queue->probing;
	request = request_pop(&queue->free);
	if (request) {
		*request = *given;
		request->queue = queue;
		request->watch.ended = wait_ended;
		request->state = REQUEST_RUNNING;
		if (queue->timed) {
			request->deadline = deadline_in(queue->cache->timeout_ms);
			if (queue->timer_idle)
				pthread_cond_signal(&queue->clock);
		}
		request_push(&queue->all, request);
		folio_u32_fetch_add_relaxed(&request->file->requests, 1);
	}
	pthread_mutex_unlock(&queue->lock);
	return request;
}

void request_end(struct request *request)
{
	struct folio_queue *queue = request->queue;

	request_take(request, &request->age);
	request->state = REQUEST_FREE;
	request_push(&queue->free, request);
	/* release: pairs with close_begin (api/open.c). */
	folio_u32_fetch_sub_release(&request->file->requests, 1);
}

void request_signal(struct folio_queue *queue)
{
	if (queue->signalled)
		return;
	queue->signalled = true;
	eventfd_write(queue->fd, 1);
}

void request_ready(struct request *request)
{
	request_take(request, &request->place);
	request->state = REQUEST_READY;
	request_push(&request->queue->ready, request);
	request_signal(request->queue);
}

bool request_stop(struct request *request, bool *reason)
{
	switch (request->state) {
	case REQUEST_WAITING:
	case REQUEST_STALLED:
	case REQUEST_QUEUED:
		request_ready(request);
		break;
	case REQUEST_HELPED:
		/* A read continues after the helper. */
		if (request->kind != REQUEST_READ)
			return false;
		break;
	case REQUEST_RUNNING:
	case REQUEST_READY:
		break;
	case REQUEST_FREE:
	case REQUEST_ENDED:
		return false;
	}
	*reason = true;
	return true;
}

/* ---- request slots ---- */

/* If no request is tried, and no slot awaited, try the first that is STALLED. The lock is held. */
static void try_next(struct folio_queue *queue)
{
	struct request *request = queue->stalled.first;

	if (!request || queue->probing || queue->awaiting)
		return;
	queue->probing = true;
	request->probe = true;
	request_ready(request);
}

void request_slot_freed(struct slot_waiter *waiter)
{
	struct folio_queue *queue = container_of(waiter, struct folio_queue, waiter);

	pthread_mutex_lock(&queue->lock);
	queue->awaiting = false;
	try_next(queue);
	pthread_mutex_unlock(&queue->lock);
}

/* A request that was the probe is no longer. The lock is held. */
static void end_probe(struct request *request)
{
	if (!request->probe)
		return;
	request->probe = false;
	request->queue->probing = false;
}

void request_wait_turn(struct request *request)
{
	struct folio_queue *queue = request->queue;

	pthread_mutex_lock(&queue->lock);
	request->state = REQUEST_STALLED;
	request_push(&queue->stalled, request);
	try_next(queue);
	pthread_mutex_unlock(&queue->lock);
}

/* ---- one step ---- */

enum step {
	STEP_ENDED,   /* it has its result */
	STEP_WATCHES, /* attached to a folio */
	STEP_STALLED, /* no request slot */
	STEP_FETCH,   /* a helper must wait for memory */
};

static enum step ended(struct request *request, ssize_t result)
{
	request->result = result;
	return STEP_ENDED;
}

/* What a call that does not wait, and has returned -EAGAIN, would have waited for. */
static enum step blocked(const struct call *call)
{
	switch (call->blocked) {
	case BLOCKED_FOLIO:
		return STEP_WATCHES;
	case BLOCKED_SLOT:
		return STEP_STALLED;
	case BLOCKED_MEMORY:
		break;
	}
	return STEP_FETCH;
}

/* Continue a read or a get. @failed: the fill of the page that it waited for has, with -errno. */
static enum step step(struct request *request, int failed)
{
	struct folio_file *file = request->file;
	struct call call;
	struct read_op op = {.call = &call, .file = file};
	enum page_verdict verdict;
	size_t done;
	int r;

	if (failed)
		return ended(request, request->done ? (ssize_t)request->done : failed);
	r = call_begin(&call, file->cache, file->cache_id, true);
	if (r)
		return ended(request, r);
	call.until = NULL;
	call.once = streams_once(&file->streams);
	call.watch = &request->watch;
	call.free_slots = true;
	op.single_before = request->single_before;
	if (request->kind == REQUEST_GET) {
		uint64_t index = request->offset >> FOLIO_PAGE_SHIFT;

		verdict = get_by_tree(&op, index, &request->folio);
		request->single_before = op.single_before;
		if (verdict == PAGE_FAILED && call.error == -EAGAIN)
			return blocked(&call);
		if (verdict == PAGE_READY)
			request->page = folio_page(request->folio, index);
		return ended(request, verdict_errno(verdict, &call, -ENODATA));
	}
	read_on(&op, request->buf + request->done, request->len - request->done,
		request->offset + request->done, &done);
	request->done += done;
	request->single_before = op.single_before;
	if (op.stopped && call.error == -EAGAIN)
		return blocked(&call);
	if (op.stopped && !request->done)
		return ended(request, call.error);
	return ended(request, (ssize_t)request->done);
}

/* Put the page that a helper has got for a read. */
static void put_fetched(struct request *request)
{
	struct folio_queue *queue = request->queue;

	if (request->kind != REQUEST_READ || !request->folio)
		return;
	folio_put(request->folio);
	request->folio = NULL;
	pthread_mutex_lock(&queue->lock);
	queue->fetched--;
	if (queue->fetches.first)
		pthread_cond_signal(&queue->work);
	pthread_mutex_unlock(&queue->lock);
}

/* Why a request ends now, or 0. The lock is held. */
static int stopped(const struct request *request)
{
	if (request->cancelled)
		return -ECANCELED;
	return request->expired ? -ETIMEDOUT : 0;
}

/*
 * After a step that did not end: set the request aside. The lock is held. Returns 0: another thread
 * may run it by now; 1: it can go on at once; or -errno, its result. *await: the caller must await
 * a slot for the queue.
 */
static int set_aside(struct request *request, enum step outcome, bool *await)
{
	struct folio_queue *queue = request->queue;
	int r = stopped(request);

	*await = false;
	if (r)
		return r;
	switch (outcome) {
	case STEP_ENDED:
		break;
	case STEP_WATCHES:
		if (request->woken)
			return 1;
		request->state = REQUEST_WAITING;
		break;
	case STEP_STALLED:
		/* Calls that do not check take each slot first: a helper needs none. */
		if (request->probe && ++request->tries >= REQUEST_TRIES &&
			!helper_queue(request, &queue->fetches))
			break;
		request->state = REQUEST_STALLED;
		if (request->probe)
			request_push_front(&queue->stalled, request);
		else
			request_push(&queue->stalled, request);
		end_probe(request);
		*await = !queue->awaiting && !queue->probing;
		queue->awaiting = queue->awaiting || *await;
		return 0;
	case STEP_FETCH:
		r = helper_queue(request, &queue->fetches);
		if (r)
			return r;
		break;
	}
	end_probe(request);
	try_next(queue);
	return 0;
}

bool request_run(struct request *request)
{
	struct folio_queue *queue = request->queue;

	for (;;) {
		enum step outcome;
		int failed, r;
		bool await;

		pthread_mutex_lock(&queue->lock);
		r = stopped(request);
		failed = request->error;
		request->error = 0;
		request->woken = false;
		if (request->singly)
			request->single_before =
				((request->offset + request->done) >> FOLIO_PAGE_SHIFT) +
				FILL_PAGES_MAX;
		request->singly = false;
		pthread_mutex_unlock(&queue->lock);
		outcome = r ? ended(request, r) : step(request, failed);
		FOLIO_PAUSE(async_stepped, NULL);
		put_fetched(request);
		pthread_mutex_lock(&queue->lock);
		r = outcome == STEP_ENDED ? -1 : set_aside(request, outcome, &await);
		if (r < 0) {
			end_probe(request);
			try_next(queue);
		}
		pthread_mutex_unlock(&queue->lock);
		if (outcome == STEP_ENDED)
			break;
		if (await && !slot_await(queue->cache, &queue->waiter))
			request_slot_freed(&queue->waiter);
		if (!r)
			return false;
		if (r < 0) {
			ended(request, r == -ENOMEM && request->done ? (ssize_t)request->done : r);
			break;
		}
	}
	/* If it ends early, its watch may still be attached, or be called at this moment. */
	watch_detach(&request->watch);
	return true;
}
