/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * io-uring.c - a backend: io_uring, with one thread that owns the ring.
 *
 * Nobody but that thread touches the ring. Callers put requests into a list and wake it if it
 * sleeps; it submits what it finds, waits, and completes. A caller could enter the ring by itself
 * and save the wake-up, but then the kernel does the work of completing on the caller's thread: its
 * epoll_wait would end early with EINTR for no signal, and reads that were put off would fail when
 * it exits. With one owner the kernel, too, can leave out locks and interrupts
 * (IORING_SETUP_SINGLE_ISSUER, IORING_SETUP_DEFER_TASKRUN).
 *
 * The two sides of falling asleep, both under the lock:
 *
 *   thread                                     caller
 *   1. takes the list and sets asleep          A. appends to the list
 *   2. enters the ring, waits for one          B. if asleep: clears it and
 *   3. clears asleep                           C. writes the eventfd, which the ring reads
 *
 * A before 1: it is taken. A after 1: C ends the wait of 2, also when it comes before 2. Between 3
 * and 1 nobody writes: the thread looks at the list by itself.
 *
 * A device should not idle while the processor prepares its work, so the thread hands over what
 * callers submit in answer to one completion before it goes on to the next, and begins a long list
 * with short batches unless the device has enough to do.
 */
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "io.h"

/* The kernel's limit of entries is 32768; one is for the eventfd. */
#define DEPTH_MAX      32767

/* Of one read or write; a longer one comes back short and is continued. */
#define LENGTH_MAX     (1u << 30)

/* A device that has so many requests does not run out of work while the thread prepares more. */
#define BUSY           8

/* cookie[0] of a request: bytes so far. cookie[1]: how the attempt in flight was made. */
#define ATTEMPT_DIRECT 1u
#define ATTEMPT_ASYNC  2u /* by a worker thread of the kernel, which may block */

struct uring {
	unsigned depth; /* set at creation, never changed */
	unsigned batch; /* so is this: the room for which waiting callers are woken */
	int event;
	pthread_t thread;

	struct io_uring ring; /* the thread's own, as the rest of this group */
	uint64_t event_count; /* where the read of the eventfd goes */
	bool event_armed;
	unsigned busy; /* requests that were prepared and not answered */

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t room;  /* in_flight went below depth; the ring was set up */
	struct folio_io_request *first, **last;
	folio_u32 fresh;    /* first is not NULL; read without the lock as a hint */
	unsigned in_flight; /* from submit to the return of complete */
	unsigned waiting;   /* callers in submit */
	bool asleep;
	bool stop;
	int started; /* 1: not yet; then 0 or -errno */
};

/* There is an entry for each request in flight and for the eventfd, so one is always free. */
static void prepare(struct uring *uring, struct folio_io_request *request)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
	bool write = request->op == FOLIO_IO_WRITE;
	struct io_attempt attempt;

	io_attempt(&attempt, request, request->cookie[0]);
	if (attempt.direct)
		request->cookie[1] |= ATTEMPT_DIRECT;
	/* Of one element, which may be attempt's own, the kernel is told where; of more, the request's own vector. */
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
	if (request->cookie[1] & ATTEMPT_ASYNC)
		sqe->flags |= IOSQE_ASYNC;
	io_uring_sqe_set_data(sqe, request);
	uring->busy++;
}

/*
 * Judge what the kernel answered. Returns true when the request is finished; cookie[0] is the
 * result then.
 */
static bool finish(struct uring *uring, struct folio_io_request *request, int answer)
{
	bool direct = request->cookie[1] & ATTEMPT_DIRECT;
	size_t done = request->cookie[0];
	ssize_t result = answer;

	if (!io_file_repeat(request->handle, request->op, request->offset,
		    io_length(request->iov, request->iov_count), direct, &done, &result)) {
		request->cookie[0] = (uint64_t)result;
		return true;
	}
	/* What would have blocked must be allowed to, or it is asked in a circle. */
	request->cookie[0] = done;
	request->cookie[1] = answer == -EAGAIN ? ATTEMPT_ASYNC : 0;
	prepare(uring, request);
	return false;
}

/*
 * Start what callers have submitted. @asleep: the caller is going to wait in the ring, and has to
 * be woken from now on. Returns true when the thread is to end.
 */
static bool take(struct uring *uring, bool asleep)
{
	struct folio_io_request *request, *next;
	/* Each call is a kick for the device, which costs more than a request: a busy one gets few. */
	bool busy = uring->busy >= BUSY + io_uring_cq_ready(&uring->ring);
	unsigned batch = busy ? 2 * BUSY : 1;
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
		request->cookie[0] = 0;
		request->cookie[1] = 0;
		prepare(uring, request);
		/* What the kernel does not take here stays in the ring for the next time. */
		if (io_uring_sq_ready(&uring->ring) >= batch) {
			io_uring_submit(&uring->ring);
			batch *= 2;
		}
	}
	if (!asleep && io_uring_sq_ready(&uring->ring))
		io_uring_submit(&uring->ring);
	return stop;
}

static void reap(struct uring *uring)
{
	struct folio_io_request *finished = NULL, **last = &finished, *request;
	struct io_uring_cqe *cqe;
	unsigned head, seen = 0, count = 0;
	bool room;

	io_uring_for_each_cqe(&uring->ring, head, cqe)
	{
		seen++;
		request = io_uring_cqe_get_data(cqe);
		if (!request) {
			uring->event_armed = false;
			continue;
		}
		uring->busy--;
		if (finish(uring, request, cqe->res)) {
			*last = request;
			last = &request->next;
			count++;
		}
	}
	*last = NULL;
	io_uring_cq_advance(&uring->ring, seen);
	if (!count)
		return;

	while (finished) {
		request = finished;
		finished = request->next;
		request->complete(request, (ssize_t)request->cookie[0]);
		if (folio_u32_load_relaxed(&uring->fresh))
			take(uring, false);
	}

	pthread_mutex_lock(&uring->lock);
	uring->in_flight -= count;
	room = uring->waiting && uring->depth - uring->in_flight >= uring->batch;
	pthread_mutex_unlock(&uring->lock);
	if (room)
		pthread_cond_broadcast(&uring->room);
}

static void arm_event(struct uring *uring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);

	io_uring_prep_read(sqe, uring->event, &uring->event_count, sizeof(uring->event_count), 0);
	io_uring_sqe_set_data(sqe, NULL);
	uring->event_armed = true;
}

/* Does the system take requests, and not only make the ring? 0 or -errno. */
static int try_enter(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	int r;

	io_uring_prep_nop(io_uring_get_sqe(ring));
	do
		r = io_uring_submit_and_wait(ring, 1);
	while (r == -EINTR);
	if (r >= 0)
		r = io_uring_peek_cqe(ring, &cqe);
	if (!r)
		io_uring_cqe_seen(ring, cqe);
	return r;
}

static int setup(struct uring *uring)
{
	static const unsigned flags[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, /* Linux 6.1 */
		IORING_SETUP_COOP_TASKRUN,                               /* Linux 5.19 */
		0,
	};
	struct io_uring_probe *probe;
	unsigned i;
	int error = -EINVAL;

	for (i = 0; error == -EINVAL && i < sizeof(flags) / sizeof(flags[0]); i++)
		error = io_uring_queue_init(uring->depth + 1, &uring->ring, flags[i]);
	if (error)
		return error;

	probe = io_uring_get_probe_ring(&uring->ring);
	if (!probe || !io_uring_opcode_supported(probe, IORING_OP_READ) ||
		!io_uring_opcode_supported(probe, IORING_OP_WRITE))
		error = -ENOSYS;
	io_uring_free_probe(probe);
	if (!error)
		error = try_enter(&uring->ring);
	if (error) {
		io_uring_queue_exit(&uring->ring);
		return error;
	}
	/* Saves the kernel a look-up. It does not matter if it refuses. */
	io_uring_register_ring_fd(&uring->ring);
	return 0;
}

static void *run(void *arg)
{
	static const struct timespec pause = {.tv_nsec = 1000000};
	struct uring *uring = arg;
	int error = setup(uring);

	pthread_mutex_lock(&uring->lock);
	uring->started = error;
	pthread_cond_signal(&uring->room);
	pthread_mutex_unlock(&uring->lock);
	if (error)
		return NULL;

	/*
	 * The eventfd's read must have ended before the ring goes: the kernel writes what it read
	 * to memory.
	 */
	while (!take(uring, true) || uring->event_armed) {
		if (!uring->event_armed)
			arm_event(uring);
		/*
		 * The kernel may be out of memory for a moment. What it did not take is still in
		 * the ring and is offered again. Nothing else goes wrong here, unless the program
		 * denies itself the call after it opened the cache.
		 */
		error = io_uring_submit_and_wait(&uring->ring, 1);
		if (error < 0 && error != -EINTR && !io_uring_cq_ready(&uring->ring))
			nanosleep(&pause, NULL);
		take(uring, false);
		reap(uring);
	}
	io_uring_queue_exit(&uring->ring);
	return NULL;
}

static void uring_submit(void *context, struct folio_io_request **requests, unsigned count)
{
	struct uring *uring = context;
	unsigned i = 0;
	bool wake;

	while (i < count) {
		pthread_mutex_lock(&uring->lock);
		while (uring->in_flight == uring->depth) {
			uring->waiting++;
			pthread_cond_wait(&uring->room, &uring->lock);
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
		if (wake)
			eventfd_write(uring->event, 1);
	}
}

static void uring_destroy(void *context)
{
	struct uring *uring = context;

	pthread_mutex_lock(&uring->lock);
	uring->stop = true;
	pthread_mutex_unlock(&uring->lock);
	eventfd_write(uring->event, 1);
	pthread_join(uring->thread, NULL);
	pthread_cond_destroy(&uring->room);
	pthread_mutex_destroy(&uring->lock);
	close(uring->event);
	free(uring);
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
	uring->batch = uring->depth < 8 ? 1 : uring->depth / 8;
	uring->last = &uring->first;
	uring->started = 1;
	pthread_mutex_init(&uring->lock, NULL);
	pthread_cond_init(&uring->room, NULL);
	uring->event = eventfd(0, EFD_CLOEXEC);
	if (uring->event < 0) {
		error = -errno;
		goto fail;
	}
	/* The ring is set up by its owner: the kernel holds it to that. */
	error = io_thread_start(&uring->thread, "folio-uring", run, uring);
	if (error)
		goto fail_event;
	pthread_mutex_lock(&uring->lock);
	while (uring->started == 1)
		pthread_cond_wait(&uring->room, &uring->lock);
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
	pthread_cond_destroy(&uring->room);
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
};
