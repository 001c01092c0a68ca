/* SPDX-License-Identifier: BSD-2-Clause */
/* helper.c - the threads of a completion queue. */
#include <errno.h>

#include "base/deadline.h"
#include "base/spawn.h"
#include "read/read.h"
#include "async/request.h"

/* ---- what they run ---- */

/* Wait for memory: get the page at which a read or a get continues. */
static void fetch(struct request *request)
{
	struct folio_queue *queue = request->queue;
	uint64_t index = (request->offset + request->done) >> FOLIO_PAGE_SHIFT;
	struct folio *folio = NULL;
	void *page = NULL;
	int r = get_slow(request->file, index, 0, &folio, &page);

	pthread_mutex_lock(&queue->lock);
	request->folio = folio;
	request->page = page;
	if (request->kind == REQUEST_GET) {
		request->result = r;
		request->state = REQUEST_ENDED;
		request_push(&queue->ended, request);
		request_signal(queue);
	} else {
		queue->fetched += folio != NULL;
		/* Past the end: the read finds that, too. */
		request->error = r == -ENODATA ? 0 : r;
		request_ready(request);
	}
	pthread_mutex_unlock(&queue->lock);
}

static ssize_t write_rest(struct request *request)
{
	size_t done = request->done;
	ssize_t r = folio_file_write(
		request->file, request->buf + done, request->len - done, request->offset + done);

	if (r < 0)
		return done ? (ssize_t)done : r;
	return (ssize_t)done + r;
}

static void work(struct request *request)
{
	struct folio_queue *queue = request->queue;
	ssize_t result;

	if (request->kind == REQUEST_WRITE)
		result = write_rest(request);
	else
		result = folio_file_sync(
			request->file, request->whole ? NULL : &request->range, request->flags);
	pthread_mutex_lock(&queue->lock);
	request->result = result;
	request->state = REQUEST_ENDED;
	request_push(&queue->ended, request);
	request_signal(queue);
	pthread_mutex_unlock(&queue->lock);
}

/* ---- helpers ---- */

/*
 * The next request for a helper, or NULL. Pages that were got for reads stay pinned until the reads
 * continue: there are no more of them than helpers. The lock is held.
 */
static struct request *next_request(struct folio_queue *queue)
{
	struct request *request = NULL;

	if (queue->fetched < FOLIO_QUEUE_HELPERS)
		request = request_pop(&queue->fetches);
	return request ? request : request_pop(&queue->jobs);
}

static void *run_helper(void *arg)
{
	struct folio_queue *queue = arg;

	pthread_mutex_lock(&queue->lock);
	while (!queue->closing) {
		struct request *request = next_request(queue);

		if (!request) {
			queue->idle++;
			pthread_cond_wait(&queue->work, &queue->lock);
			queue->idle--;
			continue;
		}
		request->state = REQUEST_HELPED;
		pthread_mutex_unlock(&queue->lock);
		if (request->kind == REQUEST_READ || request->kind == REQUEST_GET)
			fetch(request);
		else
			work(request);
		pthread_mutex_lock(&queue->lock);
	}
	pthread_mutex_unlock(&queue->lock);
	return NULL;
}

int helper_queue(struct request *request, struct request_list *list)
{
	struct folio_queue *queue = request->queue;

	/* Those that are idle may have been woken already, for other requests. */
	if (queue->helpers < FOLIO_QUEUE_HELPERS &&
		(!queue->idle || queue->jobs.first || queue->fetches.first) &&
		!spawn_thread(&queue->helper[queue->helpers], "folio-queue", run_helper, queue))
		queue->helpers++;
	if (!queue->helpers)
		return -ENOMEM;
	request->state = REQUEST_QUEUED;
	request_push(list, request);
	pthread_cond_signal(&queue->work);
	return 0;
}

/* ---- the timer ---- */

/* End the requests whose time has passed. Returns the deadline of the next one, or NULL. */
static const struct timespec *expire(struct folio_queue *queue)
{
	struct request *request;

	for (request = queue->all.first; request; request = request->age.next) {
		if (request->state == REQUEST_ENDED || request->expired)
			continue;
		if (!deadline_passed(&request->deadline))
			return &request->deadline;
		/* Else it is in a call that has a deadline of its own. */
		request_stop(request, &request->expired);
	}
	return NULL;
}

static void *run_timer(void *arg)
{
	struct folio_queue *queue = arg;

	pthread_mutex_lock(&queue->lock);
	while (!queue->closing) {
		const struct timespec *next = expire(queue);
		struct timespec until;

		/* The request may end before it. */
		if (next)
			until = *next;
		queue->timer_idle = !next;
		cond_wait_until(&queue->clock, &queue->lock, next ? &until : NULL);
		queue->timer_idle = false;
	}
	pthread_mutex_unlock(&queue->lock);
	return NULL;
}

int timer_start(struct folio_queue *queue)
{
	int r = spawn_thread(&queue->timer, "folio-timer", run_timer, queue);

	queue->timed = !r;
	return r;
}

void helpers_stop(struct folio_queue *queue)
{
	unsigned i;

	pthread_mutex_lock(&queue->lock);
	queue->closing = true;
	pthread_cond_broadcast(&queue->work);
	pthread_cond_broadcast(&queue->clock);
	pthread_mutex_unlock(&queue->lock);
	for (i = 0; i < queue->helpers; i++)
		pthread_join(queue->helper[i], NULL);
	if (queue->timed)
		pthread_join(queue->timer, NULL);
}
