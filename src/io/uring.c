/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * uring.c - a backend: io_uring, with one thread that owns the ring.
 *
 * Only that thread touches the ring. Callers append requests to a list and wake the thread if it
 * sleeps; the thread submits them, waits, and completes them. A caller could enter the ring itself
 * and save the wake-up, but then the kernel would run completion work on the caller's thread: its
 * epoll_wait would return EINTR without a signal, and its deferred reads would fail when it exits.
 * A single owner also lets the kernel omit locks and interrupts (IORING_SETUP_SINGLE_ISSUER,
 * IORING_SETUP_COOP_TASKRUN).
 *
 * The two sides of going to sleep, both under the lock:
 *
 *   thread                                     caller
 *   1. takes the list and sets asleep          A. appends to the list
 *   2. enters the ring, waits for one          B. if asleep: clears it and
 *   3. clears asleep                           C. writes the eventfd, which the ring reads
 *
 * If A comes before 1, 1 takes the request. If A comes after 1, C ends the wait of 2, even if C
 * comes before 2. Between 3 and 1 no caller writes the eventfd: the thread checks the list anyway.
 *
 * A request that fails in the ring for a reason that may not last is left to the threads of
 * io/threads.c, whose attempts may pause; so are all requests of a file that can only be read and
 * written by blocking. The ring has no loop that repeats a failure.
 *
 * A program may give up the system call that enters the ring after it has opened the cache
 * (seccomp). Then the kernel refuses the call, and from then on the thread leaves all requests to
 * the threads of io/threads.c (deny_ring). The requests that the kernel has by then complete all
 * the same: it posts their completions when the thread returns from any system call.
 * IORING_SETUP_DEFER_TASKRUN, which saves a few percent of processor time, would break this: there
 * only the refused call posts completions. Such a request could only be failed, its memory could
 * never be used again, and a write among them might reach the file after a later write.
 *
 * Neither buffers nor files are registered with the ring. Of some 17 microseconds of a miss, a
 * registered buffer saves the kernel about a third of one, a registered file a twentieth, and reads
 * that callers make themselves gain nothing. But the kernel would fill and pin all frames of the
 * budget at once, also those that are never used, and count them against RLIMIT_MEMLOCK, which is
 * 8 MiB for most programs.
 *
 * The device should not idle while the processor prepares its work. So the thread submits the
 * requests that a completion has caused before it runs the next completion, and begins a long list
 * with short batches unless the device has enough to do.
 */
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/deadline.h"
#include "base/descriptor.h"
#include "base/pause.h"
#include "base/spawn.h"
#include "io/attempt.h"
#include "io/file.h"
#include "io/space.h"
#include "io/ring.h"

/* The kernel allows 32768 entries; one is for the eventfd. */
#define DEPTH_MAX  32767

/* Bytes in one read or write; a longer one is transferred in part and then continued. */
#define LENGTH_MAX (1u << 30)

/* With this many requests, a device does not run out of work while the thread prepares more. */
#define BUSY       8

/* cookie[0] of a request: bytes done. cookie[1]: 1 if the attempt in flight is a direct one. */

struct uring {
	struct io_backend backend;
	unsigned depth; /* set at creation, never changed */
	unsigned batch; /* likewise; wake waiting callers when this many slots are free; 0: any */
	int event;
	pthread_t thread;

	struct io_uring ring; /* used by the thread only, like the rest of this group */
	uint64_t event_count; /* buffer for the read of the eventfd */
	bool event_armed;
	unsigned busy; /* requests prepared and not yet answered by the kernel */
	/* What the kernel has not taken from the ring yet, in order; count of its elements. */
	struct folio_io_request *prepared, **last_prepared;
	unsigned prepared_count;
	struct folio_io_request event_read; /* stands for the read of the eventfd in that list */
	unsigned tries;                     /* calls in a row that the kernel has refused */
	/* Atomic. */
	folio_u32 denied;  /* stored by the thread: 1 the ring is no longer entered */
	folio_ptr threads; /* stored under lock: see get_threads */

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t space; /* in_flight dropped below depth; the ring was set up */
	struct folio_io_request *first, **last;
	folio_u32 fresh;    /* first is not NULL; read without the lock as a hint */
	unsigned in_flight; /* from submit to the return of complete */
	unsigned waiting;   /* callers in submit */
	bool asleep;
	bool stop;
	int started; /* 1: not yet; then 0 or -errno */
};

/* There is an entry for each request in flight and for the eventfd, so one is always free. */
static struct io_uring_sqe *get_entry(struct uring *uring, struct folio_io_request *request)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);

	request->next = NULL;
	*uring->last_prepared = request;
	uring->last_prepared = &request->next;
	uring->prepared_count++;
	return sqe;
}

/*
 * Let the kernel take what is prepared, and wait for @wait completions. Entries that it does not
 * take stay in the ring for the next call. Returns a negative value on failure.
 */
static int enter(struct uring *uring, unsigned wait)
{
	int r = io_uring_submit_and_wait(&uring->ring, wait);
	unsigned left = io_uring_sq_ready(&uring->ring);

	/* It takes them in order. */
	for (; uring->prepared_count > left; uring->prepared_count--)
		uring->prepared = uring->prepared->next;
	if (!uring->prepared)
		uring->last_prepared = &uring->prepared;
	return r;
}

static void prepare(struct uring *uring, struct folio_io_request *request)
{
	struct io_uring_sqe *sqe = get_entry(uring, request);
	bool write = request->op == FOLIO_IO_WRITE;
	struct io_attempt attempt;

	io_attempt(&attempt, request, request->cookie[0], false);
	request->cookie[1] = attempt.direct;
	/*
	 * A single element may be attempt.rest.part, which does not outlive this function: pass its
	 * address and length by value. Several elements are always in the request's own vector.
	 */
	if (attempt.rest.count == 1) {
		const struct iovec *iov = attempt.rest.iov;
		unsigned len = iov->iov_len < LENGTH_MAX ? (unsigned)iov->iov_len : LENGTH_MAX;

		if (write)
			io_uring_prep_write(sqe, attempt.fd, iov->iov_base, len, attempt.offset);
		else
			io_uring_prep_read(sqe, attempt.fd, iov->iov_base, len, attempt.offset);
	} else if (write) {
		io_uring_prep_writev(
			sqe, attempt.fd, attempt.rest.iov, attempt.rest.count, attempt.offset);
	} else {
		io_uring_prep_readv(
			sqe, attempt.fd, attempt.rest.iov, attempt.rest.count, attempt.offset);
	}
	io_uring_sqe_set_data(sqe, request);
	uring->busy++;
}

/*
 * The context of folio_io_threads, which is created for the first request that a thread must run;
 * NULL if it cannot be created.
 */
static void *get_threads(struct uring *uring)
{
	/* acquire: pairs with the store below; else it could be used before it is set up. */
	void *threads = folio_ptr_load_acquire(&uring->threads);

	if (threads)
		return threads;
	pthread_mutex_lock(&uring->lock);
	threads = folio_ptr_load_relaxed(&uring->threads);
	if (!threads && folio_io_threads.create(&threads, uring->depth) == 0)
		folio_ptr_store_release(&uring->threads, threads);
	pthread_mutex_unlock(&uring->lock);
	return threads;
}

/* True if a request is not for the ring. */
static bool is_for_threads(struct uring *uring, const struct folio_io_request *request)
{
	const struct io_file *file = request->handle;

	return file->blocks || folio_u32_load_relaxed(&uring->denied);
}

/*
 * Let a thread run a request, from its beginning, that the ring cannot complete: io_file_run may
 * wait and pause. If no thread can be created, this one runs it; the ring waits in the meantime.
 */
static void hand_over(struct uring *uring, struct folio_io_request *request)
{
	void *threads = get_threads(uring);

	if (threads)
		folio_io_threads.submit(threads, &request, 1);
	else
		request->complete(request, io_file_run(request));
}

/* @count requests are no longer in flight here. */
static void release(struct uring *uring, unsigned count)
{
	bool space;

	pthread_mutex_lock(&uring->lock);
	uring->in_flight -= count;
	space = uring->waiting && uring->depth - uring->in_flight >= uring->batch;
	pthread_mutex_unlock(&uring->lock);
	if (space)
		pthread_cond_broadcast(&uring->space);
}

/*
 * Leave all requests to threads from now on: those that the kernel has not taken yet, and all that
 * come. The ring is never entered again, so what is in it is not started.
 */
static void deny_ring(struct uring *uring)
{
	struct folio_io_request *request = uring->prepared, *next;
	unsigned count = 0;

	folio_u32_store_relaxed(&uring->denied, 1);
	uring->prepared = NULL;
	uring->prepared_count = 0;
	for (; request; request = next) {
		next = request->next;
		if (request == &uring->event_read) {
			uring->event_armed = false;
			continue;
		}
		uring->busy--;
		hand_over(uring, request);
		count++;
	}
	release(uring, count);
}

/*
 * Start the requests that callers have submitted. @asleep: the thread is about to wait in the ring,
 * and must be woken from now on. Returns true if the thread must end.
 */
static bool take(struct uring *uring, bool asleep)
{
	struct folio_io_request *request, *next;
	/*
	 * Each call of io_uring_submit notifies the device, which costs more than a request: make
	 * few calls if it is busy.
	 */
	bool busy = uring->busy >= BUSY + io_uring_cq_ready(&uring->ring);
	unsigned batch = busy ? 2 * BUSY : 1, handed_over = 0;
	bool stop;

	pthread_mutex_lock(&uring->lock);
	request = uring->first;
	uring->first = NULL;
	uring->last = &uring->first;
	folio_u32_store_relaxed(&uring->fresh, 0);
	uring->asleep = asleep;
	stop = uring->stop;
	pthread_mutex_unlock(&uring->lock);

	for (; request; request = next) {
		next = request->next;
		if (is_for_threads(uring, request)) {
			hand_over(uring, request);
			handed_over++;
			continue;
		}
		request->cookie[0] = 0;
		prepare(uring, request);
		if (uring->prepared_count >= batch) {
			enter(uring, 0);
			batch *= 2;
		}
	}
	if (!asleep && uring->prepared_count)
		enter(uring, 0);
	if (handed_over)
		release(uring, handed_over);
	return stop;
}

static void reap(struct uring *uring)
{
	struct folio_io_request *ended = NULL, **last_ended = &ended;
	struct folio_io_request *failed = NULL, **last_failed = &failed, *request;
	struct io_uring_cqe *cqe;
	unsigned head, seen = 0, count = 0;

	io_uring_for_each_cqe(&uring->ring, head, cqe)
	{
		ssize_t result = cqe->res;
		size_t done;

		seen++;
		request = io_uring_cqe_get_data(cqe);
		if (request == &uring->event_read) {
			uring->event_armed = false;
			continue;
		}
		uring->busy--;
		done = request->cookie[0];
		switch (io_judge(request, request->cookie[1], &done, &result)) {
		case IO_ENDED:
			request->cookie[0] = (uint64_t)result;
			*last_ended = request;
			last_ended = &request->next;
			count++;
			break;
		case IO_SHORT:
			if (!folio_u32_load_relaxed(&uring->denied)) {
				request->cookie[0] = done;
				prepare(uring, request);
				break;
			}
			/* fall through */
		case IO_FAILED:
			*last_failed = request;
			last_failed = &request->next;
			count++;
			break;
		}
	}
	*last_ended = *last_failed = NULL;
	io_uring_cq_advance(&uring->ring, seen);
	if (!count)
		return;

	while (ended) {
		request = ended;
		ended = request->next;
		request->complete(request, (ssize_t)request->cookie[0]);
		if (folio_u32_load_relaxed(&uring->fresh))
			take(uring, false);
	}
	while (failed) {
		request = failed;
		failed = request->next;
		hand_over(uring, request);
	}
	release(uring, count);
}

static void arm_event(struct uring *uring)
{
	struct io_uring_sqe *sqe = get_entry(uring, &uring->event_read);

	io_uring_prep_read(sqe, uring->event, &uring->event_count, sizeof(uring->event_count), 0);
	io_uring_sqe_set_data(sqe, &uring->event_read);
	uring->event_armed = true;
}

/* Wait in the ring for a completion. */
static void wait_in_ring(struct uring *uring)
{
	int r;

	if (!uring->event_armed)
		arm_event(uring);
	r = enter(uring, 1);
	/* No signal reaches this thread: EINTR does not last, and all entries have been taken. */
	if (r >= 0 || r == -EINTR || io_uring_cq_ready(&uring->ring)) {
		uring->tries = 0;
		return;
	}
	/* The kernel may be short of memory for a moment. */
	if ((r == -EAGAIN || r == -EBUSY) && io_pause(&uring->tries))
		return;
	deny_ring(uring);
}

/*
 * Wait for a completion of a request that the kernel had when it refused the ring, or for the
 * eventfd; as long as the kernel reads that, for its read.
 */
static void wait_outside(struct uring *uring)
{
	static const struct timespec pause = {.tv_nsec = 1000000};
	bool pending = uring->busy || uring->event_armed;
	struct pollfd fds[2] = {
		{.fd = pending ? uring->ring.ring_fd : -1, .events = POLLIN},
		{.fd = uring->event_armed ? -1 : uring->event, .events = POLLIN},
	};
	eventfd_t count;

	poll(fds, 2, -1);
	if (fds[1].revents & POLLIN)
		eventfd_read(uring->event, &count);
	else if (!(fds[0].revents & POLLIN))
		/* poll is refused as well, or was interrupted. */
		nanosleep(&pause, NULL);
}

static void *run(void *arg)
{
	struct uring *uring = arg;
	int error = ring_open(&uring->ring, uring->depth + 1);

	FOLIO_PAUSE(thread_started, NULL);
	pthread_mutex_lock(&uring->lock);
	uring->started = error;
	pthread_cond_signal(&uring->space);
	pthread_mutex_unlock(&uring->lock);
	if (error)
		return NULL;

	/*
	 * The read of the eventfd must end before the ring is destroyed: until then the kernel may
	 * write to event_count.
	 */
	while (!take(uring, true) || uring->event_armed) {
		FOLIO_PAUSE(ring_sleep, uring);
		if (folio_u32_load_relaxed(&uring->denied))
			wait_outside(uring);
		else
			wait_in_ring(uring);
		take(uring, false);
		reap(uring);
	}
	io_uring_queue_exit(&uring->ring);
	return NULL;
}

static void submit_to_ring(struct uring *uring, struct folio_io_request **requests, unsigned count)
{
	unsigned i = 0;
	bool wake;

	while (i < count) {
		pthread_mutex_lock(&uring->lock);
		while (uring->in_flight == uring->depth) {
			uring->waiting++;
			cond_wait_until(&uring->space, &uring->lock, NULL);
			uring->waiting--;
		}
		while (i < count && uring->in_flight < uring->depth) {
			requests[i]->next = NULL;
			*uring->last = requests[i];
			uring->last = &requests[i]->next;
			uring->in_flight++;
			i++;
		}
		folio_u32_store_relaxed(&uring->fresh, 1);
		wake = uring->asleep;
		uring->asleep = false;
		pthread_mutex_unlock(&uring->lock);
		if (wake) {
			FOLIO_PAUSE(ring_wake, uring);
			eventfd_write(uring->event, 1);
		}
	}
}

static void uring_submit(void *context, struct folio_io_request **requests, unsigned count)
{
	struct uring *uring = context;
	unsigned i, n;

	for (i = 0; i < count; i += n) {
		bool for_threads = is_for_threads(uring, requests[i]);
		void *threads = for_threads ? get_threads(uring) : NULL;

		for (n = 1; i + n < count; n++)
			if (is_for_threads(uring, requests[i + n]) != for_threads)
				break;
		if (threads)
			folio_io_threads.submit(threads, requests + i, n);
		else
			submit_to_ring(uring, requests + i, n);
	}
}

static void uring_destroy(void *context)
{
	struct uring *uring = context;
	void *threads;

	pthread_mutex_lock(&uring->lock);
	uring->stop = true;
	pthread_mutex_unlock(&uring->lock);
	eventfd_write(uring->event, 1);
	pthread_join(uring->thread, NULL);
	threads = folio_ptr_load_relaxed(&uring->threads);
	if (threads)
		folio_io_threads.destroy(threads);
	pthread_cond_destroy(&uring->space);
	pthread_mutex_destroy(&uring->lock);
	close(uring->event);
	free(uring);
}

static void uring_stat(void *context, struct folio_io_stat *stat)
{
	struct uring *uring = context;

	io_file_stat(context, stat);
	if (folio_u32_load_relaxed(&uring->denied))
		stat->name = folio_io_threads.name;
}

static int uring_create(void **context, unsigned depth)
{
	struct uring *uring;
	int error;

	if (depth == 0)
		return -EINVAL;
	uring = calloc(1, sizeof(*uring));
	if (!uring)
		return -ENOMEM;
	uring->depth = depth < DEPTH_MAX ? depth : DEPTH_MAX;
	uring->batch = uring->depth / 8;
	uring->last = &uring->first;
	uring->last_prepared = &uring->prepared;
	uring->started = 1;
	pthread_mutex_init(&uring->lock, NULL);
	pthread_cond_init(&uring->space, NULL);
	uring->event = descriptor_above_stdio(eventfd(0, EFD_CLOEXEC));
	if (uring->event < 0) {
		error = -errno;
		goto fail;
	}
	/* The thread sets up the ring: IORING_SETUP_SINGLE_ISSUER binds it to its creator. */
	error = spawn_thread(&uring->thread, "folio-uring", run, uring);
	if (error)
		goto fail_event;
	pthread_mutex_lock(&uring->lock);
	while (uring->started == 1)
		cond_wait_until(&uring->space, &uring->lock, NULL);
	pthread_mutex_unlock(&uring->lock);
	error = uring->started;
	if (!error) {
		*context = uring;
		return 0;
	}
	pthread_join(uring->thread, NULL);
fail_event:
	close(uring->event);
fail:
	pthread_cond_destroy(&uring->space);
	pthread_mutex_destroy(&uring->lock);
	free(uring);
	return error;
}

const struct folio_io_ops folio_io_uring = {
	.size = sizeof(struct folio_io_ops),
	.name = "io_uring",
	.create = uring_create,
	.destroy = uring_destroy,
	.open = io_file_open,
	.close = io_file_close,
	.getattr = io_file_getattr,
	.read = io_file_read,
	.submit = uring_submit,
	.sync = io_file_sync,
	.truncate = io_file_truncate,
	.punch = io_file_punch,
	.features = FOLIO_IO_CAN_PROBE,
	.open_fd = io_file_open_fd,
	.stat = uring_stat,
	.direct = io_file_direct_use,
	.flush = io_file_flush,
	.extents = io_space_extents,
	.allocate = io_space_allocate,
};
