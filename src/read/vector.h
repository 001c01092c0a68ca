/* SPDX-License-Identifier: BSD-2-Clause */
/* vector.h - the buffers of a read or write of several. */
#ifndef FOLIO_SRC_READ_VECTOR_H
#define FOLIO_SRC_READ_VECTOR_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#ifndef IOV_MAX
#define IOV_MAX 1024 /* of Linux (UIO_MAXIOV) */
#endif

/* *len: the bytes of all buffers. False if there are too many, or one is none, or @iov is. */
static inline bool vector_length(const struct iovec *iov, unsigned count, size_t *len)
{
	unsigned i;

	*len = 0;
	if (count > IOV_MAX || (!iov && count))
		return false;
	for (i = 0; i < count; i++) {
		if ((!iov[i].iov_base && iov[i].iov_len) || iov[i].iov_len > INT64_MAX - *len)
			return false;
		*len += iov[i].iov_len;
	}
	return true;
}

#endif
