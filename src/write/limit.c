/* SPDX-License-Identifier: BSD-2-Clause */
/* limit.c - refusing writes that the file can never take. */
#include "write/limit.h"

#include <errno.h>

#include "cache/identity.h"
#include "cache/inode.h"

#define WINDOW (UINT64_C(1) << 20) /* bytes that may be written without another query */

int limit_query(struct inode *inode, uint64_t offset, uint64_t len, uint64_t *can)
{
	struct folio_io_attr attr;
	uint64_t limit, end = offset + len;

	*can = len;
	/* Without an answer the write is accepted, and write-back reports what happens to it. */
	if (!len || identity_attr(inode->cache, inode_write_handle(inode), FOLIO_IO_ATTR_LIMIT,
			    &attr) < 0)
		return 0;
	if (!(attr.fields & FOLIO_IO_ATTR_LIMIT)) {
		folio_u64_store_relaxed(&inode->writable_to, UINT64_MAX);
		return 0;
	}
	limit = attr.limit;
	/*
	 * Write-back writes pages to the end of the file. If the file is longer than the limit by
	 * now, the page that contains the limit can no longer be written.
	 */
	if (folio_u64_load_relaxed(&inode->size) > limit)
		limit &= ~(uint64_t)(FOLIO_PAGE_SIZE - 1);
	folio_u64_store_relaxed(&inode->writable_to, limit > end + WINDOW ? end + WINDOW : limit);
	if (end <= limit)
		return 0;
	if (offset >= limit)
		return attr.limit_error == ENOSPC ? -ENOSPC : -EFBIG;
	*can = limit - offset;
	return 0;
}
