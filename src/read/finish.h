/* SPDX-License-Identifier: BSD-2-Clause */
/* finish.h - the end of a fill. */
#ifndef FOLIO_SRC_READ_FINISH_H
#define FOLIO_SRC_READ_FINISH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include <folio/io.h>

#include "read/op.h"

/* Folios that one read of the backend fills: a part of one file, without a gap. */
#define FILL_FOLIOS FOLIO_IO_IOV_MAX

struct fill {
	struct folio_io_request request;
	struct inode *inode;
	uint64_t disk_size; /* of the inode, when the fill began */
	uint32_t count;
	uint64_t pages;
	struct iovec iov[FILL_FOLIOS];
	struct folio *folio[FILL_FOLIOS];
};

/*
 * End the fill of a folio whose contents are up to date; @valid bytes of it belong to the file.
 * @size: 0; or the folio is dirty, and the file has at least @size bytes from here on; then
 * @sequence is the number of the change (dirty_sequence_locked). Returns false, with @size, if the
 * folio has left the tree since: then only threads that have a reference may use it.
 */
bool fill_publish(
	struct inode *inode, struct folio *folio, uint64_t valid, uint64_t size, uint64_t sequence);

/*
 * End a fill whose read returned @result: bytes, or -errno. Returns the verdict on the first folio.
 * @keep: if that is PAGE_READY, the caller keeps the filler's reference to the first folio, as its
 * holder (progress_hold).
 */
enum page_verdict fill_finish(struct call *call, struct fill *fill, ssize_t result, bool keep);

/*
 * The same for all folios of a fill. @failed: PAGE_READY, and the read returned @done bytes; else
 * the verdict on all folios, with the error of @call.
 */
enum page_verdict fill_finish_folios(
	struct call *call, struct fill *fill, enum page_verdict failed, uint64_t done, bool keep);

/*
 * The verdict that a failed fill has stored in the folio, for threads that waited for it. *error:
 * with PAGE_FAILED, -errno.
 */
enum page_verdict fill_verdict(const struct folio *folio, int *error);

#endif
