/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * limit.h - refusing writes that the file can never take.
 *
 * No write past the end of a block device, past the limit of the file system or past RLIMIT_FSIZE
 * will ever succeed. Accepted into the cache, it would make each later sync fail. So it is refused
 * with the errno of pwrite(2), and cut where it straddles the limit.
 *
 * inode->writable_to is the offset up to which the backend was found to take writes. A write past
 * it queries the limit, and moves writable_to a window ahead: so writes that make a file longer
 * query once per window, others hardly ever, and a limit that has changed since is noticed. A limit
 * that is lowered below writable_to is noticed when write-back fails.
 */
#ifndef FOLIO_SRC_WRITE_LIMIT_H
#define FOLIO_SRC_WRITE_LIMIT_H

#include <stdint.h>

#include "cache/call.h"

/*
 * How many of the @len bytes at @offset the file can take (*can). Returns 0, or if that is none,
 * the error of such a write: -ENOSPC or -EFBIG. limit_query queries the backend.
 */
int limit_query(struct inode *inode, uint64_t offset, uint64_t len, uint64_t *can);

static inline int limit_check(struct inode *inode, uint64_t offset, uint64_t len, uint64_t *can)
{
	*can = len;
	/* relaxed: a number; one that is too old causes a query. */
	if (likely(offset + len <= folio_u64_load_relaxed(&inode->writable_to)))
		return 0;
	return limit_query(inode, offset, len, can);
}

#endif
