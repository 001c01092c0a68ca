/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * attempt.h - a request, as one or more system calls.
 *
 * An attempt is one system call that reads or writes the rest of a request, or a part of it. Most
 * requests need one. An attempt that ends early is continued by the next one. An attempt that fails
 * for a reason that may not last is repeated: a few times, with a pause before each. io_file_run
 * does all of this on the calling thread. The ring makes attempts itself, and leaves a request that
 * needs more than to be continued to a thread that calls io_file_run.
 */
#ifndef FOLIO_SRC_IO_ATTEMPT_H
#define FOLIO_SRC_IO_ATTEMPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <folio/io.h>

/* The rest of a vector: either its last elements, or the end of a single element. */
struct io_rest {
	const struct iovec *iov; /* into the vector, or &part */
	unsigned count;
	struct iovec part;
};

size_t io_length(const struct iovec *iov, unsigned count);

/*
 * Set @rest to elements of the vector after its first @done bytes: all of them, or only the end of
 * one, so that no memory is needed. Repeated calls cover the complete vector.
 */
void io_rest(struct io_rest *rest, const struct iovec *iov, unsigned count, size_t done);

/*
 * One attempt at the rest of a request after @done bytes, or at that part of it that one system
 * call through one descriptor can transfer. @buffered: without direct I/O; the handle has a second
 * descriptor.
 */
struct io_attempt {
	struct io_rest rest;
	uint64_t offset;
	int fd;
	bool direct;
};

void io_attempt(struct io_attempt *attempt, const struct folio_io_request *request, size_t done,
	bool buffered);

/* What an attempt means for its request. */
enum io_verdict {
	IO_ENDED,  /* the request has its result */
	IO_SHORT,  /* bytes were transferred: the next attempt transfers the rest */
	IO_FAILED, /* the attempt failed for a reason that may not last: io_file_run repeats it */
};

/*
 * Judge one attempt at @request.
 * @direct: whether the attempt was a direct one (io_attempt.direct).
 * @done: bytes of the request transferred before the attempt; updated.
 * @result: in: result of the attempt, bytes or -errno. Out, with IO_ENDED: result of the request.
 * An error after some bytes is an error: a partly read page is useless, and a partly written one is
 * written again.
 */
enum io_verdict io_judge(
	const struct folio_io_request *request, bool direct, size_t *done, ssize_t *result);

/* A call that fails with EINTR or EAGAIN is made so often, unless it succeeds before. */
#define IO_TRIES 8

/*
 * The last of *@tries calls in a row, of which there are IO_TRIES at most, is about to be counted:
 * it has failed for a reason that may not last. Returns true after a pause if the call is to be
 * repeated. A pause is twice as long as the one before it; together they take 127 ms.
 */
bool io_pause(unsigned *tries);

/*
 * Execute a request on the calling thread. Returns the result to pass to its complete.
 *
 * If a direct attempt is refused, an attempt at the same blocks is made again, and after a second
 * refusal one without direct I/O, through the second descriptor. Only if that one succeeds does the
 * file fall back to buffered I/O: then direct I/O was what could not be done. (A limit on the size
 * of files refuses such a write, too, and cuts it short without direct I/O.) A handle for reading
 * has no second descriptor; it falls back after the second refusal.
 */
ssize_t io_file_run(const struct folio_io_request *request);

/*
 * As io_file_run, for a thread of the program, which may have any signals: none interrupts the
 * request, and a write past RLIMIT_FSIZE sends no SIGXFSZ.
 */
ssize_t io_file_run_masked(const struct folio_io_request *request);

#endif
