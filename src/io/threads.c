/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * threads.c - a backend: a pool of threads that call preadv and pwritev. Works everywhere.
 *
 * A request that finds no idle thread starts one, up to THREADS_MAX. Threads take requests in the
 * order of submission.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/deadline.h"
#include "base/spawn.h"
#include "io/attempt.h"
#include "io/file.h"
#include "io/space.h"

/* As many as a cache has runs of write-back: those of a slow file leave threads for the others. */
#define THREADS_MAX 64

struct threads {
	struct io_backend backend;
	unsigned depth; /* set at creation, never changed */
	unsigned max;

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t work;  /* first is not NULL, or stop */
	pthread_cond_t space; /* in_flight dropped below depth */
	struct folio_io_request *first, **last;
	unsigned in_flight; /* from submit to the return of complete */
	unsigned waiting;   /* callers in submit */
	unsigned idle;      /* threads that wait for work */
	unsigned count;     /* threads; thread[0 .. count - 1] */
	bool stop;
	pthread_t thread[THREADS_MAX];
};

static void *run(void *arg)
{
	struct threads *threads = arg;
	struct folio_io_request *request;
	ssize_t result;

	pthread_mutex_lock(&threads->lock);
	for (;;) {
		while (!threads->first && !threads->stop) {
			threads->idle++;
			cond_wait_until(&threads->work, &threads->lock, NULL);
			threads->idle--;
		}
		request = threads->first;
		if (!request)
			break;
		threads->first = request->next;
		if (!threads->first)
			threads->last = &threads->first;
		pthread_mutex_unlock(&threads->lock);

		result = io_file_run(request);
		request->complete(request, result);

		pthread_mutex_lock(&threads->lock);
		threads->in_flight--;
		if (threads->waiting)
			pthread_cond_signal(&threads->space);
	}
	pthread_mutex_unlock(&threads->lock);
	return NULL;
}

/* Called with the lock held. Submitters ignore a failure: at least one thread always runs. */
static int start_thread_locked(struct threads *threads)
{
	int error = spawn_thread(&threads->thread[threads->count], "folio-io", run, threads);

	if (!error)
		threads->count++;
	return error;
}

static void threads_submit(void *context, struct folio_io_request **requests, unsigned count)
{
	struct threads *threads = context;
	unsigned i;

	pthread_mutex_lock(&threads->lock);
	for (i = 0; i < count; i++) {
		while (threads->in_flight == threads->depth) {
			threads->waiting++;
			cond_wait_until(&threads->space, &threads->lock, NULL);
			threads->waiting--;
		}
		requests[i]->next = NULL;
		*threads->last = requests[i];
		threads->last = &requests[i]->next;
		threads->in_flight++;
		/* idle may include threads that were signalled but have not run: use in_flight. */
		if (threads->in_flight > threads->count && threads->count < threads->max)
			start_thread_locked(threads);
		if (threads->idle)
			pthread_cond_signal(&threads->work);
	}
	pthread_mutex_unlock(&threads->lock);
}

static void threads_destroy(void *context)
{
	struct threads *threads = context;
	unsigned i;

	pthread_mutex_lock(&threads->lock);
	threads->stop = true;
	pthread_cond_broadcast(&threads->work);
	pthread_mutex_unlock(&threads->lock);
	/* There are no more submitters, so count no longer changes. */
	for (i = 0; i < threads->count; i++)
		pthread_join(threads->thread[i], NULL);
	pthread_cond_destroy(&threads->space);
	pthread_cond_destroy(&threads->work);
	pthread_mutex_destroy(&threads->lock);
	free(threads);
}

static int threads_create(void **context, unsigned depth)
{
	struct threads *threads;
	int error;

	if (depth == 0)
		return -EINVAL;
	threads = calloc(1, sizeof(*threads));
	if (!threads)
		return -ENOMEM;
	threads->depth = depth;
	threads->max = depth < THREADS_MAX ? depth : THREADS_MAX;
	threads->last = &threads->first;
	pthread_mutex_init(&threads->lock, NULL);
	pthread_cond_init(&threads->work, NULL);
	pthread_cond_init(&threads->space, NULL);

	/* One thread always runs, because submit cannot fail. */
	pthread_mutex_lock(&threads->lock);
	error = start_thread_locked(threads);
	pthread_mutex_unlock(&threads->lock);
	if (error) {
		threads_destroy(threads);
		return error;
	}
	*context = threads;
	return 0;
}

const struct folio_io_ops folio_io_threads = {
	.size = sizeof(struct folio_io_ops),
	.name = "threads",
	.create = threads_create,
	.destroy = threads_destroy,
	.open = io_file_open,
	.close = io_file_close,
	.getattr = io_file_getattr,
	.read = io_file_read,
	.submit = threads_submit,
	.sync = io_file_sync,
	.truncate = io_file_truncate,
	.punch = io_file_punch,
	.features = FOLIO_IO_CAN_PROBE,
	.open_fd = io_file_open_fd,
	.stat = io_file_stat,
	.direct = io_file_direct_use,
	.flush = io_file_flush,
	.extents = io_space_extents,
	.allocate = io_space_allocate,
};
