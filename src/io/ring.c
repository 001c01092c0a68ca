/* SPDX-License-Identifier: BSD-2-Clause */
/* ring.c - sets up a ring of io_uring(7), if the kernel has all that io/uring.c needs. */
#include "io/ring.h"

#include <errno.h>

#include "base/descriptor.h"
#include "io/attempt.h"

/* Does the kernel accept requests, after it has set up the ring? Returns 0 or -errno. */
static int try_enter(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	unsigned tries = 0;
	int r;

	io_uring_prep_nop(io_uring_get_sqe(ring));
	do
		r = io_uring_submit_and_wait(ring, 1);
	while (r == -EINTR && io_pause(&tries));
	if (r >= 0)
		r = io_uring_peek_cqe(ring, &cqe);
	if (!r)
		io_uring_cqe_seen(ring, cqe);
	return r;
}

int ring_open(struct io_uring *ring, unsigned entries)
{
	static const unsigned flags[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN, /* Linux 6.0 */
		IORING_SETUP_COOP_TASKRUN,                              /* Linux 5.19 */
		0,
	};
	struct io_uring_probe *probe;
	unsigned i;
	int error = -EINVAL, fd;

	for (i = 0; error == -EINVAL && i < sizeof(flags) / sizeof(flags[0]); i++)
		error = io_uring_queue_init(entries, ring, flags[i]);
	if (error)
		return error;
	/* The copy is a descriptor of the same ring. */
	fd = descriptor_above_stdio(ring->ring_fd);
	if (fd < 0)
		error = -errno;
	ring->ring_fd = ring->enter_ring_fd = fd;

	probe = error ? NULL : io_uring_get_probe_ring(ring);
	if (!error && (!probe || !io_uring_opcode_supported(probe, IORING_OP_READ) ||
			      !io_uring_opcode_supported(probe, IORING_OP_WRITE)))
		error = -ENOSYS;
	io_uring_free_probe(probe);
	if (!error)
		error = try_enter(ring);
	if (error) {
		io_uring_queue_exit(ring);
		return error;
	}
	/* Saves the kernel a look-up on each call; optional, so ignore a failure. */
	io_uring_register_ring_fd(ring);
	return 0;
}
