/* SPDX-License-Identifier: BSD-2-Clause */
/* attempt.c - a request, as one or more system calls. */
#include "io/attempt.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "io/file.h"

bool io_pause(unsigned *tries)
{
	struct timespec pause = {.tv_nsec = 1000000L << *tries};

	if (++*tries == IO_TRIES)
		return false;
	nanosleep(&pause, NULL);
	return true;
}

enum io_verdict io_judge(
	const struct folio_io_request *request, bool direct, size_t *done, ssize_t *result)
{
	size_t wanted = io_length(request->iov, request->iov_count);
	struct folio_io_attr attr = {.struct_size = 0};
	int error;

	if (*result == -EINTR || *result == -EAGAIN || (*result == -EINVAL && direct))
		return IO_FAILED;
	if (*result < 0)
		return IO_ENDED;
	*done += (size_t)*result;
	if (request->op == FOLIO_IO_WRITE) {
		/* If the device is full, the attempt at the rest returns the error. */
		if (*done != wanted && *result != 0)
			return IO_SHORT;
		*result = *done == wanted ? (ssize_t)*done : -EIO;
		return IO_ENDED;
	}
	if (*result == 0 || *done == wanted) {
		*result = (ssize_t)*done;
		return IO_ENDED;
	}
	if (!direct || *done % IO_ALIGN == 0)
		return IO_SHORT;
	/*
	 * A direct read that stops inside a block has usually reached the end of the file, and a
	 * direct read cannot continue there. The file may have grown since.
	 */
	error = io_file_getattr(NULL, request->handle, &attr);
	if (!error && request->offset + *done < attr.size)
		return IO_FAILED;
	*result = error ? error : (ssize_t)*done;
	return IO_ENDED;
}

size_t io_length(const struct iovec *iov, unsigned count)
{
	size_t length = 0;
	unsigned i;

	for (i = 0; i < count; i++)
		length += iov[i].iov_len;
	return length;
}

void io_rest(struct io_rest *rest, const struct iovec *iov, unsigned count, size_t done)
{
	while (count && done >= iov->iov_len) {
		done -= iov->iov_len;
		iov++;
		count--;
	}
	rest->iov = iov;
	rest->count = count;
	if (count && done) {
		rest->part.iov_base = (char *)iov->iov_base + done;
		rest->part.iov_len = iov->iov_len - done;
		rest->iov = &rest->part;
		rest->count = 1;
	}
}

/*
 * Remove the part that direct I/O cannot write: the end of the last element, after its last whole
 * block. Returns false if nothing is left.
 */
static bool cut_to_blocks(struct io_rest *rest)
{
	const struct iovec *last = &rest->iov[rest->count - 1];

	if (last->iov_len % IO_ALIGN == 0)
		return true;
	if (rest->count > 1) {
		rest->count--;
		return true;
	}
	rest->part = *last;
	rest->part.iov_len -= last->iov_len % IO_ALIGN;
	rest->iov = &rest->part;
	return rest->part.iov_len != 0;
}

void io_attempt(struct io_attempt *attempt, const struct folio_io_request *request, size_t done,
	bool buffered)
{
	struct io_file *file = request->handle;

	attempt->fd = file->fd;
	attempt->direct = io_file_direct(file);
	attempt->offset = request->offset + done;
	io_rest(&attempt->rest, request->iov, request->iov_count, done);
	if (!buffered) {
		if (request->op != FOLIO_IO_WRITE || !attempt->direct || !attempt->rest.count)
			return;
		/*
		 * Inside a block (an earlier attempt was short), or only a partial block is left:
		 * write through the buffered descriptor.
		 */
		if (attempt->offset % IO_ALIGN == 0 && cut_to_blocks(&attempt->rest))
			return;
		io_rest(&attempt->rest, request->iov, request->iov_count, done);
	}
	attempt->fd = file->buffered;
	attempt->direct = false;
}

static ssize_t transfer(const struct io_attempt *attempt, uint32_t op)
{
	int count = attempt->rest.count < IOV_MAX ? (int)attempt->rest.count : IOV_MAX;
	ssize_t result;

	if (op == FOLIO_IO_WRITE)
		result = pwritev(attempt->fd, attempt->rest.iov, count, (off_t)attempt->offset);
	else
		result = preadv(attempt->fd, attempt->rest.iov, count, (off_t)attempt->offset);
	return result < 0 ? -errno : result;
}

ssize_t io_file_run(const struct folio_io_request *request)
{
	struct io_file *file = request->handle;
	unsigned tries = 0, refusals = 0;
	size_t done = 0, furthest = 0;
	struct io_attempt attempt;
	enum io_verdict verdict;
	bool buffered = false;
	ssize_t result;

	for (;;) {
		io_attempt(&attempt, request, done, buffered);
		result = transfer(&attempt, request->op);
		verdict = io_judge(request, attempt.direct, &done, &result);
		if (done > furthest) {
			furthest = done;
			tries = refusals = 0;
		}
		if (verdict == IO_ENDED) {
			if (buffered && result >= 0)
				io_file_set_buffered(file);
			return result;
		}
		if (verdict == IO_SHORT)
			continue;
		if (result == -EINTR || result == -EAGAIN) {
			if (!io_pause(&tries))
				return result;
			continue;
		}
		/* Refused, or stopped inside a block: from the last complete block on. */
		done -= done % IO_ALIGN;
		if (++refusals < 2)
			continue;
		if (file->buffered >= 0)
			buffered = true;
		else if (!io_file_set_buffered(file))
			return result < 0 ? result : -EIO;
	}
}

ssize_t io_file_run_masked(const struct folio_io_request *request)
{
	static const struct timespec none = {.tv_sec = 0};
	sigset_t all, before, limit, pending;
	ssize_t result;

	sigfillset(&all);
	sigemptyset(&limit);
	sigaddset(&limit, SIGXFSZ);
	sigemptyset(&pending);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	/* One that the program has left pending stays so. */
	if (sigismember(&before, SIGXFSZ))
		sigpending(&pending);
	result = io_file_run(request);
	if (result == -EFBIG && !sigismember(&pending, SIGXFSZ))
		sigtimedwait(&limit, NULL, &none);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return result;
}
