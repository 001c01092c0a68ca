/* SPDX-License-Identifier: BSD-2-Clause */
/* reap.c - opening and closing a completion queue, and taking what has ended from it. */
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/deadline.h"
#include "base/descriptor.h"
#include "base/params.h"
#include "cache/inflight.h"
#include "cache/thread.h"
#include "async/request.h"

#define REQUESTS_DEFAULT 1024

/* ---- open and close ---- */

/* Returns how many requests the queue has, or 0: wrong parameters. */
static uint32_t requests_of(const struct folio_queue_params *params)
{
	struct folio_queue_params copy = {.requests = 0};

	if (params && !params_copy(&copy, sizeof(copy), params,
			      offsetof(struct folio_queue_params, requests)))
		return 0;
	if (copy.flags || copy.requests > FOLIO_QUEUE_REQUESTS)
		return 0;
	return copy.requests ? copy.requests : REQUESTS_DEFAULT;
}

static void queue_free(struct folio_queue *queue)
{
	pthread_cond_destroy(&queue->clock);
	pthread_cond_destroy(&queue->work);
	pthread_mutex_destroy(&queue->lock);
	free(queue->requests);
	free(queue);
}

/* A queue without its descriptor and threads, or NULL. */
static struct folio_queue *queue_new(struct folio_cache *cache, uint32_t size)
{
	struct folio_queue *queue = calloc(1, sizeof(*queue));
	uint32_t i;

	if (!queue)
		return NULL;
	queue->cache = cache;
	queue->cache_id = cache->id;
	queue->size = size;
	queue->waiter.freed = request_slot_freed;
	queue->requests = calloc(size, sizeof(*queue->requests));
	pthread_mutex_init(&queue->lock, NULL);
	pthread_cond_init(&queue->work, NULL);
	pthread_cond_init(&queue->clock, NULL);
	if (!queue->requests) {
		queue_free(queue);
		return NULL;
	}
	for (i = 0; i < size; i++) {
		queue->requests[i].queue = queue;
		request_push(&queue->free, &queue->requests[i]);
	}
	return queue;
}

int folio_queue_open(struct folio_cache *cache, const struct folio_queue_params *params,
	struct folio_queue **result)
{
	struct folio_queue *queue;
	uint32_t size;
	int r = 0;

	size = requests_of(params);
	if (!cache || !result || !size)
		return -EINVAL;
	if (!thread_enter(cache, cache->id))
		return -ESTALE;
	queue = queue_new(cache, size);
	if (!queue)
		return -ENOMEM;
	queue->fd = descriptor_above_stdio(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	if (queue->fd < 0)
		r = -errno;
	else if (cache->timeout_ms)
		r = timer_start(queue);
	if (r) {
		if (queue->fd >= 0)
			close(queue->fd);
		queue_free(queue);
		return r;
	}
	folio_u32_fetch_add_relaxed(&cache->completion_queues, 1);
	*result = queue;
	return 0;
}

int folio_queue_close(struct folio_queue *queue)
{
	struct folio_cache *cache;
	uint32_t i;

	if (!queue)
		return -EINVAL;
	cache = queue->cache;
	if (!thread_enter(cache, queue->cache_id))
		return -ESTALE;
	helpers_stop(queue);
	slot_unawait(cache, &queue->waiter);
	for (i = 0; i < queue->size; i++) {
		struct request *request = &queue->requests[i];

		/* After this, no other thread uses the request, and its state can be read. */
		watch_detach(&request->watch);
		if (request->state == REQUEST_FREE)
			continue;
		if (request->folio)
			folio_put(request->folio);
		folio_u32_fetch_sub_release(&request->file->requests, 1);
	}
	close(queue->fd);
	queue_free(queue);
	/* release: pairs with folio_cache_close. */
	folio_u32_fetch_sub_release(&cache->completion_queues, 1);
	return 0;
}

/* ---- reap and cancel ---- */

int folio_queue_fd(struct folio_queue *queue)
{
	if (!queue)
		return -EINVAL;
	return thread_enter(queue->cache, queue->cache_id) ? queue->fd : -ESTALE;
}

/* The entry of a request that has its result, which becomes FREE. The lock is held. */
static void end_with_entry(struct request *request, struct folio_queue_entry *entry)
{
	bool got = request->kind == REQUEST_GET && !request->result;

	*entry = (struct folio_queue_entry){
		.data = request->data,
		.result = request->result,
		.folio = got ? request->folio : NULL,
		.page = got ? request->page : NULL,
	};
	request_end(request);
}

/* Make the descriptor unreadable. The lock is held. */
static void reset_signal(struct folio_queue *queue)
{
	eventfd_t count;

	if (!queue->signalled)
		return;
	queue->signalled = false;
	eventfd_read(queue->fd, &count);
}

static unsigned reap(struct folio_queue *queue, struct folio_queue_entry *entries, unsigned max)
{
	struct request *request;
	unsigned n = 0;
	bool ended;

	pthread_mutex_lock(&queue->lock);
	reset_signal(queue);
	while (n < max) {
		request = request_pop(&queue->ended);
		if (request) {
			end_with_entry(request, &entries[n++]);
			continue;
		}
		request = request_pop(&queue->ready);
		if (!request)
			break;
		request->state = REQUEST_RUNNING;
		pthread_mutex_unlock(&queue->lock);
		/* A write or a sync is READY only if it was cancelled before a helper had it. */
		ended = request_run(request);
		pthread_mutex_lock(&queue->lock);
		if (ended)
			end_with_entry(request, &entries[n++]);
	}
	/* A request that went on may have made others ready, which were continued here as well. */
	if (queue->ended.first || queue->ready.first)
		request_signal(queue);
	else
		reset_signal(queue);
	pthread_mutex_unlock(&queue->lock);
	return n;
}

/* Wait for the descriptor. Returns 1; 0 if the time has passed; or -errno. */
static int wait_readable(struct folio_queue *queue, int timeout_ms, const struct timespec *until)
{
	struct pollfd poll_fd = {.fd = queue->fd, .events = POLLIN};
	struct timespec now, left = {0, 0};
	int r;

	if (timeout_ms >= 0 && !deadline_passed(until)) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		left.tv_sec = until->tv_sec - now.tv_sec;
		left.tv_nsec = until->tv_nsec - now.tv_nsec;
		if (left.tv_nsec < 0) {
			left.tv_nsec += 1000000000;
			left.tv_sec--;
		}
		if (left.tv_sec < 0)
			left = (struct timespec){0, 0};
	}
	r = ppoll(&poll_fd, 1, timeout_ms < 0 ? NULL : &left, NULL);
	return r < 0 ? -errno : r;
}

int folio_queue_reap(
	struct folio_queue *queue, struct folio_queue_entry *entries, unsigned max, int timeout_ms)
{
	struct timespec until = {0, 0};
	unsigned n;
	int r;

	if (!queue || !entries || !max || max > INT32_MAX || timeout_ms < -1)
		return -EINVAL;
	if (!thread_enter(queue->cache, queue->cache_id))
		return -ESTALE;
	if (timeout_ms > 0)
		until = deadline_in((uint32_t)timeout_ms);
	for (;;) {
		n = reap(queue, entries, max);
		if (n || !timeout_ms)
			return (int)n;
		r = wait_readable(queue, timeout_ms, &until);
		if (r <= 0)
			return r;
	}
}

int folio_queue_cancel(struct folio_queue *queue, uint64_t data)
{
	struct request *request;
	int count = 0;

	if (!queue)
		return -EINVAL;
	if (!thread_enter(queue->cache, queue->cache_id))
		return -ESTALE;
	pthread_mutex_lock(&queue->lock);
	for (request = queue->all.first; request; request = request->age.next) {
		if (request->data == data && !request->cancelled)
			count += request_stop(request, &request->cancelled);
	}
	pthread_mutex_unlock(&queue->lock);
	return count;
}
