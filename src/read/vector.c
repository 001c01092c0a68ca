/* SPDX-License-Identifier: BSD-2-Clause */
/* vector.c - reads into several buffers. */
#include "read/vector.h"

#include <errno.h>
#include <string.h>
#include <sys/types.h>

#include <folio/iovec.h>

#include "read/read.h"

/* A place in the program's buffers. */
struct cursor {
	const struct iovec *iov;
	size_t in; /* bytes of that element before the place */
};

/* Copy @len bytes to the place, and move it on. So many bytes follow it. */
static void scatter(struct cursor *cursor, const char *from, size_t len)
{
	while (len) {
		size_t n = cursor->iov->iov_len - cursor->in;

		if (n > len)
			n = len;
		/* An element of no bytes may have no address. */
		if (n)
			memcpy((char *)cursor->iov->iov_base + cursor->in, from, n);
		from += n;
		len -= n;
		cursor->in += n;
		if (cursor->in == cursor->iov->iov_len)
			*cursor = (struct cursor){.iov = cursor->iov + 1};
	}
}

/*
 * As read_by_tree, for @len bytes, which the buffers at @cursor have. A page that belongs to
 * several buffers is copied once, so that all its bytes are of one moment.
 */
static enum page_verdict read_vector(
	struct read_op *op, struct cursor cursor, size_t len, uint64_t offset, size_t *done)
{
	char page[FOLIO_PAGE_SIZE];
	enum page_verdict verdict;
	size_t want, copied;

	for (*done = 0; *done < len; *done += copied) {
		uint64_t at = offset + *done;
		size_t page_left = FOLIO_PAGE_SIZE - (at & (FOLIO_PAGE_SIZE - 1));
		size_t left = len - *done;

		while (cursor.in == cursor.iov->iov_len)
			cursor = (struct cursor){.iov = cursor.iov + 1};
		want = cursor.iov->iov_len - cursor.in;
		if (want < left && want >= page_left)
			want -= (at + want) & (FOLIO_PAGE_SIZE - 1);
		if (want == left || want >= page_left) {
			op->later = left - want;
			verdict = read_on(
				op, (char *)cursor.iov->iov_base + cursor.in, want, at, &copied);
			cursor.in += copied;
		} else {
			want = page_left < left ? page_left : left;
			op->later = left - want;
			verdict = read_on(op, page, want, at, &copied);
			scatter(&cursor, page, copied);
		}
		/* The end of the file, or an error. */
		if (copied < want) {
			*done += copied;
			return *done ? PAGE_READY : verdict;
		}
	}
	return PAGE_READY;
}

ssize_t folio_file_readv(struct folio_file *file, const struct iovec *iov, unsigned count,
	uint64_t offset, unsigned flags)
{
	struct call call;
	struct read_op op = {.call = &call, .file = file};
	enum page_verdict verdict;
	size_t len, done;
	int r;

	if (!file || !vector_length(iov, count, &len) || offset > INT64_MAX - len ||
		flags & ~READ_FLAGS)
		return -EINVAL;
	r = call_begin(&call, file->cache, file->cache_id, flags & FOLIO_READ_NOWAIT);
	if (r)
		return r;
	call.once = flags & FOLIO_READ_ONCE || streams_once(&file->streams);
	verdict = read_vector(&op, (struct cursor){.iov = iov}, len, offset, &done);
	return done ? (ssize_t)done : verdict_errno(verdict, &call, 0);
}
